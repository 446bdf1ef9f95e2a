#include "http/sandbox/timer.hpp"

#include <utility>

namespace slipway::sandbox {

timer::timer(std::size_t pending_max)
  : pending_max_{pending_max}, thread_{[this] {
      run();
    }} {
}

timer::~timer() {
  stop();
}

bool timer::after(millis delay, std::function<void()> what) {
  {
    const auto lock = std::lock_guard{mutex_};
    if (stopped_ || pending_.size() >= pending_max_)
      return false;
    pending_.emplace(steady::now() + delay, std::move(what));
  }
  changed_.notify_one();
  return true;
}

void timer::stop() {
  {
    const auto lock = std::lock_guard{mutex_};
    stopped_ = true;
  }
  changed_.notify_one();
  if (thread_.joinable())
    thread_.join();
  pending_.clear();
}

void timer::run() {
  auto lock = std::unique_lock{mutex_};
  while (!stopped_) {
    if (pending_.empty()) {
      changed_.wait(lock);
      continue;
    }
    const auto due = pending_.begin()->first;
    if (steady::now() < due) {
      changed_.wait_until(lock, due);
      continue;
    }
    auto what = std::move(pending_.begin()->second);
    pending_.erase(pending_.begin());
    lock.unlock();
    what();
    what = nullptr;
    lock.lock();
  }
}

} // namespace slipway::sandbox

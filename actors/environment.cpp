#include "actors/environment.hpp"

namespace slipway {

namespace {

/// What comes of a call that has ended is on its way to a JOURNAL by then.
constexpr auto quiet_for = millis{50};

} // namespace

bool server_load::is_idle() const {
  return outward.load() == 0 && journal_queue.load() == 0;
}

void server_load::ended(std::atomic<std::int64_t>& what) {
  what.fetch_sub(1);
  if (!draining_.load())
    return;
  auto guard = std::lock_guard{mutex_};
  changed_.notify_all();
}

bool server_load::drain(std::chrono::steady_clock::time_point until) {
  draining_ = true;
  auto guard = std::unique_lock{mutex_};
  for (;;) {
    if (!changed_.wait_until(guard, until, [this] {
          return is_idle();
        }))
      return false;
    if (!changed_.wait_for(guard, quiet_for, [this] {
          return !is_idle();
        }))
      return true;
    if (std::chrono::steady_clock::now() >= until)
      return false;
  }
}

} // namespace slipway

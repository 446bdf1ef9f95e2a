#pragma once

#include "actors/lifecycle/time.hpp"

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <map>
#include <mutex>
#include <thread>

namespace slipway::sandbox {

/// Runs things a while from now, one after the other, on a thread of its own.
class timer {
public:
  /// @param pending_max Things that may wait at once.
  explicit timer(std::size_t pending_max = 10'000);

  ~timer();

  timer(const timer&) = delete;
  timer& operator=(const timer&) = delete;

  /// @returns false when too much waits already, or after `stop`.
  bool after(millis delay, std::function<void()> what);

  /// Forgets what waits and joins the thread. Not from within `what`.
  void stop();

private:
  using steady = std::chrono::steady_clock;

  void run();

  std::size_t pending_max_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::multimap<steady::time_point, std::function<void()>> pending_;
  bool stopped_ = false;
  std::thread thread_;
};

} // namespace slipway::sandbox

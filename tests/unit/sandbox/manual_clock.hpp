#pragma once

#include "actors/lifecycle/time.hpp"

#include <atomic>

/// A clock that stands still until it is told to go on.
class manual_clock final : public slipway::clock {
public:
  [[nodiscard]] slipway::timestamp now() const noexcept override {
    return slipway::timestamp{slipway::millis{now_.load()}};
  }

  void advance(slipway::millis by) {
    now_ += by.count();
  }

private:
  // 2026-11-23T08:00:00Z
  std::atomic<std::int64_t> now_{1'795'420'800'000};
};

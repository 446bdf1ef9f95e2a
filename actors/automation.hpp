#pragma once

#include "actors/lifecycle/time.hpp"

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>

namespace slipway {

/// The main switch for outward effects, as it is stored.
struct automation_state {
  bool enabled = true;
  std::string reason; ///< For people; empty where nobody gave one.
  std::string by;     ///< Who switched it: a person, or `slipway`.
  timestamp since{};  ///< When it was switched.
  /// When the database was last found to be a restored one.
  std::optional<timestamp> restored_at;
  /// Grows with every change, over all servers.
  std::uint64_t change = 0;
};

/// The main switch as this server knows it: on until it learns otherwise. Read
/// by every actor before anything leaves; safe from any thread, without a lock
/// for those who read.
class automation {
public:
  automation() = default;

  automation(const automation&) = delete;

  automation& operator=(const automation&) = delete;

  /// Whether anything may leave.
  [[nodiscard]] bool enabled() const noexcept {
    return enabled_.load(std::memory_order_acquire);
  }

  /// Since when things have been allowed to leave, while they are.
  [[nodiscard]] timestamp since() const noexcept {
    return timestamp{millis{since_.load(std::memory_order_acquire)}};
  }

  /// What is older than this at the provider may be unknown to the database
  /// although it is in use. The beginning of time when nothing was restored.
  [[nodiscard]] timestamp restored_at() const noexcept {
    return timestamp{millis{restored_at_.load(std::memory_order_acquire)}};
  }

  /// Takes over what is stored, unless something newer is known: a reading may
  /// be overtaken by a change.
  /// @returns whether that switched it.
  bool learn(const automation_state& what) {
    auto guard = std::lock_guard{writing_};
    if (what.change < change_)
      return false;
    change_ = what.change;
    since_.store(what.since.time_since_epoch().count(),
                 std::memory_order_release);
    if (what.restored_at)
      restored_at_.store(what.restored_at->time_since_epoch().count(),
                         std::memory_order_release);
    return enabled_.exchange(what.enabled, std::memory_order_acq_rel)
           != what.enabled;
  }

private:
  std::atomic<bool> enabled_{true};
  std::atomic<std::int64_t> since_{0};
  std::atomic<std::int64_t> restored_at_{0};
  std::mutex writing_;
  std::uint64_t change_ = 0;
};

} // namespace slipway

#pragma once

#include "actors/lifecycle/ids.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>

namespace slipway {

/// Which subscriptions somebody watches, so that whoever changes one knows
/// without asking whether there is anybody to tell.
///
/// Thread: any. Costs one load of an atomic where nobody watches, and an
/// uncontended lock where somebody watches a neighbour in the same shard.
class audience {
public:
  [[nodiscard]] bool watches(subscription_id id) const {
    const auto& x = shard_of(id);
    if (x.watched.load(std::memory_order_acquire) == 0)
      return false;
    const auto guard = std::lock_guard{x.mutex};
    return x.seats.count(raw(id)) != 0;
  }

  /// Has the subscription watched for as long as it lives.
  class seat {
  public:
    seat() = default;

    seat(std::shared_ptr<audience> where, subscription_id id)
      : where_{std::move(where)}, id_{id} {
      where_->add(id_);
    }

    seat(seat&& other) noexcept
      : where_{std::move(other.where_)}, id_{other.id_} {
    }

    seat& operator=(seat&& other) noexcept {
      std::swap(where_, other.where_);
      std::swap(id_, other.id_);
      return *this;
    }

    ~seat() {
      if (where_)
        where_->remove(id_);
    }

  private:
    std::shared_ptr<audience> where_;
    subscription_id id_{};
  };

private:
  struct shard {
    std::atomic<std::uint32_t> watched{0}; ///< As many as `seats` has.
    mutable std::mutex mutex;
    std::unordered_map<std::uint64_t, std::uint32_t> seats;
  };

  static constexpr auto shards_count = std::size_t{256};

  /// Ids that are made one after the other shall not meet.
  [[nodiscard]] static std::size_t index_of(subscription_id id) noexcept {
    return static_cast<std::size_t>((raw(id) * 0x9E3779B97F4A7C15U) >> 56U);
  }

  [[nodiscard]] const shard& shard_of(subscription_id id) const noexcept {
    return shards_[index_of(id)];
  }

  void add(subscription_id id) {
    auto& x = shards_[index_of(id)];
    const auto guard = std::lock_guard{x.mutex};
    ++x.seats[raw(id)];
    x.watched.store(static_cast<std::uint32_t>(x.seats.size()),
                    std::memory_order_release);
  }

  void remove(subscription_id id) {
    auto& x = shards_[index_of(id)];
    const auto guard = std::lock_guard{x.mutex};
    const auto where = x.seats.find(raw(id));
    if (where != x.seats.end() && --where->second == 0)
      x.seats.erase(where);
    x.watched.store(static_cast<std::uint32_t>(x.seats.size()),
                    std::memory_order_release);
  }

  std::array<shard, shards_count> shards_;
};

} // namespace slipway

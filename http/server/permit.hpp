#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <utility>

namespace slipway::http {

/// Counts the requests being worked on. Lock-free; may be shared by several
/// servers.
class permit_gate {
public:
  explicit permit_gate(std::size_t max) noexcept : max_{max} {
  }

  /// Takes one permit. @returns false when all are taken.
  /// @param goes_first Whether one of the last eighth may be taken, which is
  /// kept for who must not wait behind everybody else.
  [[nodiscard]] bool try_take(bool goes_first) noexcept {
    const auto limit = goes_first ? max_ : max_ - max_ / 8;
    if (in_use_.fetch_add(1, std::memory_order_acq_rel) < limit)
      return true;
    in_use_.fetch_sub(1, std::memory_order_acq_rel);
    return false;
  }

  void give_back() noexcept {
    in_use_.fetch_sub(1, std::memory_order_acq_rel);
  }

  /// Permits taken right now.
  [[nodiscard]] std::size_t in_use() const noexcept {
    return in_use_.load(std::memory_order_relaxed);
  }

  [[nodiscard]] std::size_t max() const noexcept {
    return max_;
  }

private:
  std::atomic<std::size_t> in_use_{0};
  std::size_t max_;
};

/// One permit taken from a gate, given back on destruction; or none.
class permit {
public:
  permit() = default;

  /// Takes over a permit that was taken from `gate`.
  explicit permit(std::shared_ptr<permit_gate> gate) noexcept
    : gate_{std::move(gate)} {
  }

  permit(permit&& other) noexcept = default;

  permit& operator=(permit&& other) noexcept {
    if (this != &other) {
      release();
      gate_ = std::move(other.gate_);
    }
    return *this;
  }

  ~permit() {
    release();
  }

  void release() noexcept {
    if (auto gate = std::exchange(gate_, nullptr))
      gate->give_back();
  }

private:
  std::shared_ptr<permit_gate> gate_;
};

} // namespace slipway::http

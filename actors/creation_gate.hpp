#pragma once

#include <atomic>
#include <cstdint>

namespace slipway {

/// Whether a creation at the provider could begin at once. Whoever takes the
/// gate announces its creation along with its slot: one commit for both. This
/// is a hint: the PROVIDER keeps its pace whatever was taken here, and who has
/// to wait there has been announced a little early.
///
/// The PROVIDER opens and closes it, SUPERVISORs take it. Thread: any.
class creation_gate {
public:
  enum class width : std::uint8_t {
    closed = 0,
    one = 1, ///< For the next one.
    all = 2, ///< Nothing is to be kept apart.
  };

  void set(width x) noexcept {
    width_.store(x, std::memory_order_relaxed);
  }

  /// Whether whoever asks may go through.
  [[nodiscard]] bool take() noexcept {
    auto one = width::one;
    return width_.load(std::memory_order_relaxed) == width::all
           || width_.compare_exchange_strong(one, width::closed,
                                             std::memory_order_relaxed);
  }

private:
  std::atomic<width> width_{width::closed};
};

} // namespace slipway

#pragma once

#include <cstdint>

namespace slipway::bench {

/// How often `new` has been called in this program. For a single thread.
[[nodiscard]] std::uint64_t allocations() noexcept;

} // namespace slipway::bench

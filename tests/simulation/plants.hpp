#pragma once

#include <string_view>

/// Bugs that are planted to see whether the simulations find them.
namespace slipway::test {

/// Whether this one is in force.
[[nodiscard]] bool planted(std::string_view name) noexcept;

} // namespace slipway::test

#pragma once

#include <cstddef>
#include <cstdint>

namespace slipway::provider {

/// Who goes first when the budget is short. Smaller goes first.
enum class urgency : std::uint8_t {
  removal = 0,  ///< Cancelling, terminating, halting: money is being spent.
  creation = 1, ///< projectCreate and what leads up to it.
  step = 2,     ///< The other steps of a deployment.
  reader = 3,   ///< Somebody waits in front of a screen.
  watch = 4,    ///< Looks at deployments under way.
  upkeep = 5,   ///< Looks at what runs, sweeps, registrations.
};

inline constexpr std::size_t urgency_count = 6;

} // namespace slipway::provider

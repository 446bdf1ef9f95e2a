#pragma once

#include "config/settings.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace slipway::app {

/// What `slipway check` found out about one part.
struct finding {
  enum verdict : std::uint8_t {
    good,
    off,
    doubtful, ///< It works, and will not for long.
    bad,
  };
  std::string part;
  verdict state = good;
  std::string detail;
};

/// Asks everything that the configuration names whether it is there. Changes
/// nothing; every question is bounded in time.
[[nodiscard]] std::vector<finding>
check_connectivity(const config::settings& settings);

} // namespace slipway::app

#pragma once

#include "actors/lifecycle/time.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace slipway {

/// How long to wait after so many failures in a row: twice as long after each,
/// and then between half of that and all of it, so that neighbours do not march
/// in step.
/// @param failures One or more; 0 counts as one.
/// @param chance Any number, by whose lower bits the place in between is
/// chosen.
inline millis backoff_delay(millis initial, millis longest,
                            std::size_t failures, std::uint64_t chance) {
  constexpr auto doublings_max = std::size_t{16};
  const auto doublings
    = std::min(failures == 0 ? 0 : failures - 1, doublings_max);
  const auto whole = std::min(longest, initial * (1 << doublings));
  const auto half = whole / 2;
  return half + half * static_cast<std::int64_t>(chance % 1024) / 1024;
}

} // namespace slipway

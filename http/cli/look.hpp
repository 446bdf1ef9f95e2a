#pragma once

#include "actors/lifecycle/time.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace slipway::cli {

/// How things are to be written: decided once, from the terminal and the
/// arguments.
struct look {
  std::size_t width = 0; ///< Columns of the terminal; 0: no limit.
  bool colours = false;
  bool unicode = true; ///< Lines of trees and `…`; plain ASCII otherwise.
  bool utc = false;    ///< Times in UTC, not where the reader lives.
  timestamp now{};

  [[nodiscard]] std::string_view ellipsis() const noexcept {
    return unicode ? "…" : "...";
  }
};

enum class paint : std::uint8_t { none, good, busy, bad, faint, strong };

/// The text in colour, where there are colours. Call it on text that is safe
/// and has been cut: colours take no columns.
[[nodiscard]] std::string
painted(const look& how, paint colour, std::string_view text);

/// The colour of a status, an outcome or a level, whatever it is one of.
[[nodiscard]] paint paint_of(std::string_view status) noexcept;

/// `5m ago`, `in 3h`, `now`.
[[nodiscard]] std::string relative(timestamp at, timestamp now);

/// `2026-11-26 22:31:07Z`, or with another zone's offset.
/// @param rfc3339 As the server writes times; other text comes back as it is.
[[nodiscard]] std::string absolute(const look& how, std::string_view rfc3339);

/// `5m ago` of such a time; empty for other text.
[[nodiscard]] std::string ago(const look& how, std::string_view rfc3339);

/// `2026-11-26 22:31:07Z (5m ago)`; empty for no time.
[[nodiscard]] std::string both_times(const look& how, std::string_view rfc3339);

} // namespace slipway::cli

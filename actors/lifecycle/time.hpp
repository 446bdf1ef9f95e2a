#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace slipway {

using millis = std::chrono::milliseconds;

/// A point in time, UTC, with the precision that is stored and shown.
using timestamp = std::chrono::sys_time<millis>;

/// Where the time comes from. Handed in, so that tests and the simulation can
/// bring their own. Implementations are callable from any thread.
class clock {
public:
  virtual ~clock() = default;

  [[nodiscard]] virtual timestamp now() const noexcept = 0;
};

/// The wall clock of this machine.
class system_clock final : public clock {
public:
  [[nodiscard]] timestamp now() const noexcept override {
    return std::chrono::time_point_cast<millis>(
      std::chrono::system_clock::now());
  }
};

/// Formats as RFC 3339 in UTC with milliseconds: `2026-11-23T08:00:00.123Z`.
[[nodiscard]] std::string to_rfc3339(timestamp at);

/// Formats in Beijing time (UTC+8) as `yyyy-MM-dd HH:mm:ss`, the form of
/// Alipay's requests and notifications. Milliseconds are cut off.
[[nodiscard]] std::string to_beijing(timestamp at);

/// Parses `yyyy-MM-dd HH:mm:ss`, optionally with `.SSS`, as Beijing time.
/// @returns nothing when the text has another form or names no real date.
[[nodiscard]] std::optional<timestamp> parse_beijing(std::string_view text);

/// Parses RFC 3339 with `Z` or a numeric offset and up to nine digits of
/// fraction, of which three are kept.
/// @returns nothing when the text has another form or names no real date.
[[nodiscard]] std::optional<timestamp> parse_rfc3339(std::string_view text);

/// Formats a duration for people: `450ms`, `12s`, `3m 05s`, `2h 00m`.
[[nodiscard]] std::string to_words(millis length);

} // namespace slipway

#pragma once

#include "actors/lifecycle/time.hpp"
#include "config/settings.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// The small notations of the configuration. All functions are pure, and
/// callable from any thread.
namespace slipway::config {

/// Parses a whole number with a unit, `ms s m h d`: `450ms`, `31s`, `15d`.
/// @returns nothing on another form, or above 100 years.
[[nodiscard]] std::optional<millis> parse_duration(std::string_view text);

/// Formats in the largest unit that leaves no rest: `31s`, `15m`, `1500ms`.
[[nodiscard]] std::string format_duration(millis length);

/// Parses a whole number with a unit, `B KiB MiB GiB`, into bytes.
/// @returns nothing on another form, or above 2^40 bytes.
[[nodiscard]] std::optional<std::int64_t> parse_size(std::string_view text);

/// Formats in the largest unit that leaves no rest: `256KiB`, `1000B`.
[[nodiscard]] std::string format_size(std::int64_t bytes);

/// Parses a decimal integer with an optional minus and nothing around it.
[[nodiscard]] std::optional<std::int64_t> parse_integer(std::string_view text);

/// Parses `host:port`, an IPv6 address in brackets: `[::1]:8080`.
/// @returns nothing on another form; the host without brackets otherwise.
[[nodiscard]] std::optional<endpoint> parse_endpoint(std::string_view text);

/// Formats as `parse_endpoint` reads it.
[[nodiscard]] std::string format_endpoint(const endpoint& at);

/// A URL taken apart as far as the configuration has to look into it.
struct url_parts {
  std::string scheme; ///< In lower case.
  std::string host;   ///< Without brackets.
  std::optional<std::uint16_t> port;
  std::string path;  ///< With its slash; empty when there is none.
  std::string query; ///< Without the question mark.
  bool has_user_info = false;
  bool has_fragment = false;
};

/// Parses `scheme://host[:port][/path][?query]`, ASCII without blanks.
/// @returns nothing on another form.
[[nodiscard]] std::optional<url_parts> parse_url(std::string_view text);

/// Decodes base64 (the standard alphabet, padded or not, no blanks).
[[nodiscard]] std::optional<std::string> parse_base64(std::string_view text);

/// Tells whether the text is `name@domain` or `Words <name@domain>`.
[[nodiscard]] bool is_mailbox(std::string_view text);

/// Tells whether there is a control character in the text: below U+0020, or
/// U+007F.
[[nodiscard]] bool has_control(std::string_view text);

/// Splits at every separator and cuts blanks off the ends; no text, no parts.
[[nodiscard]] std::vector<std::string>
split(std::string_view text, char separator);

/// Finds the candidate that takes the fewest inserted, dropped, changed or
/// swapped characters to reach, whatever its case. The first one wins a tie.
/// @returns an empty text when there are no candidates.
[[nodiscard]] std::string
nearest(std::string_view text, const std::vector<std::string>& candidates);

/// Makes foreign text fit for one line of output: control characters become
/// `?`, and what exceeds `length_max` bytes is cut off at a character's end.
[[nodiscard]] std::string
one_line(std::string_view text, std::size_t length_max = 200);

} // namespace slipway::config

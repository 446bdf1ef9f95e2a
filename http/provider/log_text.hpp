#pragma once

#include "actors/lifecycle/time.hpp"

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

/// What becomes of a program's output before a browser sees it: first cleaned,
/// then redacted, then cut, in this order. A secret that colours split in two
/// is whole again after the cleaning, and one that lies across a cut is gone
/// before the cut. Pure.
namespace slipway::provider {

// -- time
// -------------------------------------------------------------------------

/// A point in time as log lines carry it: nanoseconds since 1970, UTC.
using nanos = std::int64_t;

inline constexpr nanos nanos_per_ms = 1'000'000;

/// Parses RFC 3339 as `parse_rfc3339` does, but keeps nine digits of fraction.
/// @returns nothing when the text has another form, or lies outside of the
///          years 1970 to 2261.
[[nodiscard]] std::optional<nanos> parse_nanos(std::string_view text);

/// Formats as RFC 3339 in UTC, with three, six or nine digits of fraction: as
/// many as it takes to lose nothing.
[[nodiscard]] std::string nanos_to_text(nanos at);

[[nodiscard]] constexpr nanos to_nanos(timestamp at) noexcept {
  return at.time_since_epoch().count() * nanos_per_ms;
}

// -- cleaning
// ---------------------------------------------------------------------

/// Leaves of a program's output what a terminal would show in the end.
///
/// Escape sequences (CSI, OSC, DCS and their like, also in their 8-bit forms)
/// go as a whole, a sequence of text without its end loses its beginning only.
/// What a carriage return overwrites is gone, so that a progress bar keeps its
/// last state; backspaces take back what stands before them. A tab becomes four
/// blanks, invalid UTF-8 becomes U+FFFD. All other control characters, and
/// those that turn the direction of text around, are removed.
/// @returns well-formed UTF-8 in which `\n` is the only control character.
[[nodiscard]] std::string clean_log_text(std::string_view raw);

/// What is kept of one line, in bytes; and of one message, in lines.
inline constexpr std::size_t log_line_bytes_max = 8 * 1024;
inline constexpr std::size_t log_message_lines_max = 200;

/// Cuts cleaned text into lines that have no control character at all. Blanks
/// at the ends of lines and empty lines at the end are dropped; what is cut off
/// is marked by `…`.
/// @returns at least one line, which may be empty.
[[nodiscard]] std::vector<std::string> split_log_text(std::string_view text);

/// `debug`, `info`, `warn` or `error`, whatever a program calls it; `info` when
/// it says nothing that we know.
[[nodiscard]] std::string_view log_level(std::string_view severity) noexcept;

// -- secrets
// ------------------------------------------------------------------------

/// Collects what one channel credential makes a secret: the text itself, the
/// same JSON written differently, and every text within it, also within texts
/// that are JSON themselves.
/// @param credential The decrypted JSON text.
void collect_secrets(std::string_view credential,
                     std::vector<std::string>& into);

/// Takes known secrets out of cleaned text: as they are, as JSON strings hold
/// them, percent-encoded, and in base64 at any offset. A secret of several
/// lines, such as a PEM key, is also found line by line. Wherever a secret
/// matches, all of it goes, also where several overlap.
///
/// Values shorter than `secret_bytes_min` are left alone: they would take half
/// of every text with them.
class redactor {
public:
  static constexpr std::size_t secret_bytes_min = 6;

  /// Of one line among the lines of a secret.
  static constexpr std::size_t part_bytes_min = 8;

  /// Knows no secrets.
  redactor() = default;

  explicit redactor(const std::vector<std::string>& secrets);

  /// The text with `***` in place of every secret.
  [[nodiscard]] std::string apply(std::string_view text) const;

  /// How many texts are looked for.
  [[nodiscard]] std::size_t size() const noexcept {
    return patterns_.size();
  }

private:
  [[nodiscard]] std::size_t
  match_at(std::string_view text, std::size_t where) const;

  std::vector<std::string> patterns_; ///< The longest first.
  /// By their first four bytes, and whether the first two occur at all.
  std::unordered_map<std::uint32_t, std::vector<std::uint32_t>> by_head_;
  std::bitset<65'536> heads_;
};

/// All of it: the lines that one message of a log comes to.
[[nodiscard]] std::vector<std::string>
make_log_lines(std::string_view raw, const redactor& secrets);

} // namespace slipway::provider

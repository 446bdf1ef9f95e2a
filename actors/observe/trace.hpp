#pragma once

#include "actors/lifecycle/ids.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// Where something that happens belongs: W3C trace contexts.
/// https://www.w3.org/TR/trace-context/
namespace slipway::trace {

/// Names a trace: 16 bytes, not all of them zero.
struct trace_id {
  std::uint64_t high = 0;
  std::uint64_t low = 0;

  bool operator==(const trace_id&) const = default;

  /// Whether it names anything.
  explicit operator bool() const noexcept {
    return (high | low) != 0;
  }
};

/// 32 hexadecimal digits in lower case.
[[nodiscard]] std::string to_text(trace_id id);

/// A span's 16 hexadecimal digits in lower case.
[[nodiscard]] std::string span_to_text(std::uint64_t span);

/// A place in a trace: the span that what comes next is part of.
struct context {
  trace_id trace;
  std::uint64_t span = 0;
  /// Whether spans are recorded. What is not sampled has an id for the log and
  /// nothing else.
  bool sampled = false;
  std::string state; ///< A `tracestate` to be passed on as it came.

  /// Whether spans belong here.
  explicit operator bool() const noexcept {
    return sampled && trace;
  }
};

/// Reads a `traceparent`: any version but ff, of which what version 00 knows is
/// taken.
/// @returns nothing for one that must be ignored.
[[nodiscard]] std::optional<context> parse_traceparent(std::string_view text);

/// Writes it in version 00.
[[nodiscard]] std::string to_traceparent(const context& from);

/// Reads the `tracestate` lines of one request, in their order.
/// @returns one line for whoever comes next, of at most 512 bytes (long members
///          leave first, then the last ones); empty when any of it is
///          malformed, since half of a state means nothing.
[[nodiscard]] std::string
read_tracestate(const std::vector<std::string_view>& lines);

/// What something was begun by, for logs and spans: plain data that travels
/// along.
struct origin {
  std::string request_id; ///< Empty: no request.
  context where;
};

} // namespace slipway::trace

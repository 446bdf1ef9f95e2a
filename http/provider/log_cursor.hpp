#pragma once

#include "actors/interfaces.hpp"
#include "http/provider/log_text.hpp"

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

/// Where a reader of logs stands. Pure.
namespace slipway::provider {

/// Behind the first `count` lines of the instant `at`, in one lane.
struct log_place {
  nanos at = 0;
  std::uint32_t count = 0;

  auto operator<=>(const log_place&) const = default;
};

/// Where a reader stands in each lane: one for the build and one for the deploy
/// lines of each deployment, and our own events.
///
/// One place for all of them would not do. Lines reach us late, and each lane
/// with a delay of its own; whoever reads on from the newest line of all would
/// miss what the other lanes have brought since.
struct log_cursor {
  /// The last event's number; 0: before the first.
  std::int64_t event = 0;
  /// What the reader has been told of trouble with the provider, see LOGBOOK.
  std::uint8_t told = 0;
  /// By `log_lane_id`. A lane that is missing: from its beginning.
  std::map<std::uint32_t, log_place> lanes;

  bool operator==(const log_cursor&) const = default;
};

/// Lanes that a cursor holds; of more, those that moved last.
inline constexpr std::size_t log_cursor_lanes_max = 64;

/// Stands for a lane in cursors: the same for the same deployment and source
/// for ever.
[[nodiscard]] std::uint32_t
log_lane_id(std::string_view deployment_id, log_source source);

/// An opaque text of `A-Z a-z 0-9 - _`, fit for a URL and for an event's id.
[[nodiscard]] std::string
encode_log_cursor(const log_cursor& from, subscription_id of);

/// @returns nothing for a text that `encode_log_cursor` never made for this
///          subscription.
[[nodiscard]] std::optional<log_cursor>
decode_log_cursor(std::string_view text, subscription_id of);

} // namespace slipway::provider

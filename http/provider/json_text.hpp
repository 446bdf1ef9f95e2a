#pragma once

#include <boost/json/value.hpp>

#include <optional>
#include <string_view>

namespace slipway::provider {

/// Parses JSON as the provider writes it, up to 256 levels deep.
///
/// A text may hold half of a UTF-16 pair (`"\ud83d"`), for instance where a log
/// line was cut in the middle of an emoji: JavaScript writes that without
/// hesitation, and strict parsers refuse all of the answer for it. Here such a
/// half reads as U+FFFD.
/// @returns nothing when it is no JSON, or invalid UTF-8.
[[nodiscard]] std::optional<boost::json::value>
parse_json(std::string_view text);

} // namespace slipway::provider

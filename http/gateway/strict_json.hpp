#pragma once

#include <boost/json/object.hpp>
#include <tl/expected.hpp>

#include <optional>
#include <string>
#include <string_view>

namespace slipway::gateway {

/// Parses one JSON object in which no object, however deep, names a member
/// twice: what is checked is then certainly what is used. Integers stay
/// integers (`8888.0` becomes a double).
/// @returns a sentence: not JSON, no object, nested deeper than 16, invalid
///          UTF-8, or `duplicate member "…"`.
[[nodiscard]] tl::expected<boost::json::object, std::string>
parse_object(std::string_view text);

/// The text of a member; nothing where it is missing or no string.
[[nodiscard]] std::optional<std::string>
text_of(const boost::json::object& from, std::string_view name);

/// A member that is an object; null where it is missing or none.
[[nodiscard]] const boost::json::object*
object_of(const boost::json::object& from, std::string_view name);

/// A member that is an integer (not a double, not a string); nothing otherwise.
[[nodiscard]] std::optional<std::int64_t>
integer_of(const boost::json::object& from, std::string_view name);

} // namespace slipway::gateway

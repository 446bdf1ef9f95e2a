#pragma once

#include <boost/json.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

/// INTERNAL: Looking into JSON that may hold anything.
namespace slipway::sandbox::railway {

/// Empty for what is no text.
[[nodiscard]] std::string
text_of(const boost::json::object& from, std::string_view name);

[[nodiscard]] std::optional<std::int64_t>
number_of(const boost::json::object& from, std::string_view name);

[[nodiscard]] bool
flag_of(const boost::json::object& from, std::string_view name);

/// An empty one for what is no object.
[[nodiscard]] const boost::json::object&
object_of(const boost::json::object& from, std::string_view name);

/// The object under a name, put there when there is none.
[[nodiscard]] boost::json::object&
object_in(boost::json::object& of, std::string_view name);

/// Lays a patch over a value: objects are merged member by member, null takes a
/// member away, and anything else takes the place of what was there.
[[nodiscard]] boost::json::value
merged(boost::json::value under, const boost::json::value& patch);

} // namespace slipway::sandbox::railway

#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include <cstdint>
#include <string>
#include <string_view>

/// What the server says, read without trust: a member that is missing or of
/// another type is no text, no number and no list.
namespace slipway::cli {

/// The member as text: texts as they are, numbers and truth values in words,
/// everything else empty.
[[nodiscard]] std::string
text_of(const boost::json::object& from, std::string_view name);

/// The member as text, as `text_of` has it.
[[nodiscard]] std::string text_of(const boost::json::value& from);

/// An empty object when the member is none.
[[nodiscard]] const boost::json::object&
object_of(const boost::json::object& from, std::string_view name);

/// An empty array when the member is none.
[[nodiscard]] const boost::json::array&
array_of(const boost::json::object& from, std::string_view name);

[[nodiscard]] bool
flag_of(const boost::json::object& from, std::string_view name);

/// 0 when the member is no whole number.
[[nodiscard]] std::int64_t
number_of(const boost::json::object& from, std::string_view name);

/// The objects of an array; anything else in it is an empty one.
[[nodiscard]] const boost::json::object&
as_object(const boost::json::value& from);

/// JSON over several lines, indented by two, fit for a terminal.
[[nodiscard]] std::string pretty(const boost::json::value& what);

} // namespace slipway::cli

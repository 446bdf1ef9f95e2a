#pragma once

#include "actors/lifecycle/time.hpp"
#include "http/sandbox/graphql.hpp"

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// INTERNAL: What objects that GraphQL sees are made of.
namespace slipway::sandbox::railway {

using graphql::object_ptr;
using graphql::resolved;

/// Answers one field of an object.
using getter
  = std::function<resolved(std::string_view, const boost::json::object&)>;

/// An object whose fields a function knows.
[[nodiscard]] object_ptr make(std::string type, getter get);

/// An object whose fields are all known beforehand; the rest is null.
[[nodiscard]] object_ptr record(std::string type, boost::json::object values);

[[nodiscard]] boost::json::value moment(timestamp at);

[[nodiscard]] boost::json::value moment(const std::optional<timestamp>& at);

/// Empty text is null.
[[nodiscard]] boost::json::value known(const std::string& value);

/// An object of a list, by its id.
using entry = std::pair<std::string, object_ptr>;

/// One page of `all` by Relay's rules.
[[nodiscard]] resolved
connection(const std::string& type, const std::vector<entry>& all,
           const boost::json::object& arguments);

} // namespace slipway::sandbox::railway

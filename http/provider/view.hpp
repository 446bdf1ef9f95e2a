#pragma once

#include <boost/json/parse_options.hpp>
#include <boost/json/value.hpp>

#include <string>
#include <string_view>
#include <vector>

/// Reading Railway's answers: whatever is missing or of another type reads as
/// nothing. Pure.
namespace slipway::provider {

/// A member that is a text; empty otherwise. Points into `of`.
[[nodiscard]] std::string_view
text_at(const boost::json::value& of, std::string_view name);

/// The same, fit for rows and logs.
[[nodiscard]] std::string
word_at(const boost::json::value& of, std::string_view name);

/// A member, or null.
[[nodiscard]] const boost::json::value&
value_at(const boost::json::value& of, std::string_view name);

/// For parsing and nesting of opaque configuration: what was let in at the door
/// must come out again.
[[nodiscard]] boost::json::parse_options deep_enough();

/// Whether a node is still there.
[[nodiscard]] bool is_live(const boost::json::value& node);

/// Calls `f` with each node of a connection.
template <class F>
void for_each_node(const boost::json::value& connection, F f) {
  const auto& edges = value_at(connection, "edges");
  if (!edges.is_array())
    return;
  for (const auto& edge : edges.get_array())
    if (const auto& node = value_at(edge, "node"); node.is_object())
      f(node);
}

/// Looking into an object that is no value would look into a copy of it.
const boost::json::value&
value_at(const boost::json::object& of, std::string_view name)
  = delete;

/// The first environment of a project: `production` where there is one.
[[nodiscard]] std::string environment_of(const boost::json::value& project);

/// One service of an environment, as last seen.
struct service_view {
  std::string id;
  std::string name;
  std::string domain;
  std::string deployment_id; ///< Of its latest deployment; empty: none.
  std::string status;        ///< As the provider spells it.
  bool stopped = false;      ///< `deploymentStopped`.
};

[[nodiscard]] std::vector<service_view>
services_of(const boost::json::value& environment);

} // namespace slipway::provider

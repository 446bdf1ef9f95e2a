#pragma once

#include "http/cli/look.hpp"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include <string>

/// What the server says, for people. Everything that is returned may go to a
/// terminal as it is, and ends with a line break unless it is empty.
namespace slipway::cli::views {

[[nodiscard]] std::string
subscriptions(const boost::json::array& rows, const look& how);

[[nodiscard]] std::string
subscription(const boost::json::object& one, const look& how);

/// One line about a subscription, for a question.
[[nodiscard]] std::string
in_a_line(const boost::json::object& one, const look& how);

[[nodiscard]] std::string
timeline(const boost::json::array& rows, const look& how);

[[nodiscard]] std::string
attention(const boost::json::array& rows, const look& how);

[[nodiscard]] std::string
stats(const boost::json::object& all, const look& how);

[[nodiscard]] std::string
callbacks(const boost::json::array& rows, const look& how);

[[nodiscard]] std::string
callback(const boost::json::object& one, const look& how);

[[nodiscard]] std::string
replay(const boost::json::object& result, const look& how);

[[nodiscard]] std::string
actors(const boost::json::array& rows, const look& how);

[[nodiscard]] std::string
automation(const boost::json::object& state, const look& how);

[[nodiscard]] std::string
audit(const boost::json::array& rows, const look& how);

[[nodiscard]] std::string
log_line(const boost::json::object& line, const look& how);

/// A change of a deployment.
[[nodiscard]] std::string
status_line(const boost::json::object& status, const look& how);

} // namespace slipway::cli::views

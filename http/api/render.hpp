#pragma once

#include "actors/queries.hpp"
#include "actors/record.hpp"
#include "http/api/context.hpp"

#include <boost/json/object.hpp>

/// Rows as JSON, in the contract's words.
namespace slipway::api {

[[nodiscard]] boost::json::value json_time(const std::optional<timestamp>& at);

/// Null when empty.
[[nodiscard]] boost::json::value json_text(const std::string& text);

[[nodiscard]] boost::json::object render_subscription(const record& row);

[[nodiscard]] boost::json::object
render_deployment(const record& row, std::int64_t queue_position);

[[nodiscard]] boost::json::object
render_order(const record& row, const lifecycle::order& order);

[[nodiscard]] boost::json::object
render_notification(const query::list_notifications::row& row,
                    const context& ctx, std::string_view locale);

} // namespace slipway::api

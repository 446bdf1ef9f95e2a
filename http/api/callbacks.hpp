#pragma once

#include "http/api/context.hpp"

#include <cstdint>
#include <optional>

namespace slipway::api {

/// The headers of a callback as the inbox keeps them, one a line. What
/// authenticates our own users is no part of a gateway's message.
[[nodiscard]] std::string keep_headers(const http::fields& headers);

/// The headers of a kept callback, as they came.
[[nodiscard]] client::header_list kept_headers(std::string_view lines);

/// An authentic callback, ready to be fed to its subscription.
struct callback_fact {
  order_ref order;
  lifecycle::event what;
};

/// Which fact an accepted reading tells, of which subscription.
/// @returns nothing where it means nothing to us, and `order_not_found` where
///          its order's number is not one of ours.
[[nodiscard]] tl::expected<std::optional<callback_fact>, std::string>
fact_of(const gateway::reading& from, timestamp at);

/// The inbox row of a message, without outcome and reason.
[[nodiscard]] callback_entry
entry_of(const gateway::inbound& message, const gateway::reading& from,
         std::string headers);

/// How many callbacks of gateways this process has answered since it started.
/// From any thread.
[[nodiscard]] std::uint64_t callbacks_answered() noexcept;

} // namespace slipway::api

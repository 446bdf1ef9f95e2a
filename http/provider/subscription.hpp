#pragma once

#include "http/client/websocket.hpp"

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

/// GraphQL subscriptions as `graphql-transport-ws` carries them.
namespace slipway::provider {

/// What to subscribe to, one subscription on a connection of its own.
struct subscription_request {
  std::string endpoint; ///< That of the queries, http or https.
  std::string token;    ///< Goes into the head of the upgrade request.
  std::string document; ///< GraphQL, `subscription …`.
  boost::json::object variables;
  millis connect_timeout{10'000};
  /// From the open connection to the other side's word that it is ready.
  millis ready_timeout{10'000};
  millis idle_timeout{60'000};
  std::size_t max_message_bytes = 4 * 1024 * 1024;
};

/// How a subscription ended.
enum class subscription_end : std::uint8_t {
  finished, ///< By us.
  complete, ///< The other side has nothing more to say.
  refused,  ///< The other side will not have it: an error, or no right to it.
  lost,     ///< No connection, or none any more.
};

/// `finished`, `complete`, `refused`, `lost`.
[[nodiscard]] std::string_view to_string(subscription_end end) noexcept;

/// What the owner is told. All run on the network's thread: hand on and return.
struct subscription_handlers {
  /// The other side has been asked for it and is ready. At most once.
  std::function<void()> started;
  /// The member `data` of one message; to be answered by `taken` in the end.
  std::function<void(boost::json::value)> next;
  /// Exactly once, and last of all; with a sentence for people.
  std::function<void(subscription_end, std::string)> ended;
};

/// One subscription. All members are callable from any thread. Dropping the
/// last reference ends it.
class subscription {
public:
  virtual ~subscription();

  /// One more of the messages has been dealt with: where too many have not,
  /// nothing more is read.
  virtual void taken() = 0;
};

/// Subscribes over a connection of its own.
/// @param network Outlives the subscription.
/// @returns never null.
[[nodiscard]] std::shared_ptr<subscription>
subscribe(client::websocket_network& network, subscription_request request,
          subscription_handlers handlers);

/// Where subscriptions go to, for an endpoint of queries: wss for https, ws for
/// http, the same path, and `source=slipway`. Empty for any other scheme.
[[nodiscard]] std::string subscription_url(std::string_view endpoint);

} // namespace slipway::provider

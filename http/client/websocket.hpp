#pragma once

#include "actors/lifecycle/time.hpp"
#include "http/client/outbound.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

/// Outgoing WebSockets.
namespace slipway::client {

/// Where to connect to, and what to put up with.
struct websocket_request {
  std::string url;     ///< Absolute, ws or wss.
  header_list headers; ///< Of the upgrade request.
  /// The sub-protocol that both sides have to agree on; empty: none.
  std::string protocol;
  /// For resolving, connecting, the TLS handshake and the upgrade together.
  /// Must be greater than zero.
  millis connect_timeout{10'000};
  /// Without a byte from the other side for so long, the connection counts as
  /// lost. After half of it the other side is pinged, so that a living one has
  /// something to answer.
  millis idle_timeout{60'000};
  /// A longer message ends the connection.
  std::size_t max_message_bytes = 1024 * 1024;
  /// Messages that may wait to be dealt with, see `websocket::taken`. While so
  /// many do, nothing more is read.
  std::size_t untaken_max = 16;
};

/// How a connection ended.
enum class websocket_end : std::uint8_t {
  finished,    ///< By us.
  refused,     ///< Never tried: a bad request, too many connections, stopping.
  unreachable, ///< No address, no connection, no TLS, or not in time.
  declined,    ///< There is a server, but it would not talk WebSocket with us.
  closed,      ///< By the other side, in good order.
  lost,        ///< Broken off, silent, or over its deadline.
  misbehaved,  ///< The other side broke the rules, or a limit.
};

/// `finished`, `refused`, `unreachable`, `declined`, `closed`, `lost`,
/// `misbehaved`.
[[nodiscard]] std::string_view to_string(websocket_end end) noexcept;

struct websocket_closure {
  websocket_end how = websocket_end::lost;
  /// The HTTP status for `declined`, the close code for `closed`, else 0.
  int code = 0;
  /// A sentence for people. Holds host and cause, never headers or a query.
  std::string message;
};

/// What the owner is told. All run on the client's thread, one at a time: hand
/// on and return, never block, never throw.
struct websocket_handlers {
  /// The connection stands. Called at most once.
  std::function<void()> opened;
  /// One message, text or binary.
  std::function<void(std::string)> received;
  /// The end, whoever brought it about. Called exactly once, and last of all.
  std::function<void(websocket_closure)> closed;
};

/// One connection. All members are callable from any thread, also from a
/// handler. Dropping the last reference closes.
class websocket {
public:
  virtual ~websocket();

  /// Queues a text message; ignored unless the connection stands. More than
  /// 256 KiB that the other side does not take are the connection's end.
  virtual void send(std::string text) = 0;

  /// One more of the messages received has been dealt with.
  virtual void taken() = 0;

  /// Gives the connection up (`lost`) after so long, unless called again
  /// before; nothing: never.
  virtual void set_deadline(std::optional<millis> after) = 0;

  /// Closes in good order, within 3 s.
  virtual void close() = 0;
};

/// Opens connections. Implementations: `websocket_client`, and fakes in tests.
class websocket_network {
public:
  virtual ~websocket_network();

  /// Starts to connect and returns at once. Callable from any thread.
  /// @returns never null.
  virtual std::shared_ptr<websocket>
  open(websocket_request request, websocket_handlers handlers) = 0;
};

struct websocket_client_options {
  /// Beyond it: `refused`.
  std::size_t connections_max = 128;
  /// Sent where a request brings none of its own.
  std::string user_agent = "slipway";
  /// PEM bundle instead of the system's, for private servers and for tests.
  std::string ca_file;
};

/// Beast over Asio, on one thread for all connections. Verifies certificates
/// and host names of wss; knows no proxies and no compression.
class websocket_client final : public websocket_network {
public:
  /// Starts the thread.
  /// @throws std::runtime_error when `ca_file` cannot be read.
  explicit websocket_client(websocket_client_options options = {});

  /// Stops, see `stop`.
  ~websocket_client() override;

  websocket_client(const websocket_client&) = delete;
  websocket_client& operator=(const websocket_client&) = delete;

  std::shared_ptr<websocket>
  open(websocket_request request, websocket_handlers handlers) override;

  /// Drops all connections (`finished`), calls what has to be called and joins
  /// the thread. Further requests are `refused`. Callable again without
  /// effect, but not from a handler.
  void stop();

  /// Connections that stand or are on their way. For metrics and tests.
  [[nodiscard]] std::size_t connections() const noexcept;

private:
  struct impl;

  std::shared_ptr<impl> impl_;
};

} // namespace slipway::client

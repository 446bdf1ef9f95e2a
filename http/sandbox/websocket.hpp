#pragma once

#include "actors/lifecycle/time.hpp"
#include "http/server/message.hpp"
#include "http/server/upgrade.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace slipway::sandbox {

struct websocket_options {
  /// Spoken where the client offers it; nothing is agreed on otherwise.
  std::string subprotocol;
  /// A longer message ends the connection.
  std::size_t message_bytes_max = 256 * 1024;
  /// More than this waiting for a slow reader ends the connection.
  std::size_t queue_bytes_max = 1024 * 1024;
  /// A client that says nothing for half of it is pinged, one that says nothing
  /// at all is thrown out.
  millis idle_timeout{60'000};
};

/// INTERNAL: A WebSocket that carries text, for `http::exchange::upgrade`. Its
/// handlers run on the connection's thread.
class websocket final : public http::upgraded,
                        public std::enable_shared_from_this<websocket> {
public:
  struct handlers {
    /// The handshake is over.
    std::function<void(const std::shared_ptr<websocket>&)> on_open;
    std::function<void(const std::shared_ptr<websocket>&, std::string_view)>
      on_text;
    /// Called once after `on_open`, whoever has ended it.
    std::function<void(const websocket*)> on_closed;
  };

  /// Whether a request wants to become a WebSocket, in the words of RFC 6455.
  [[nodiscard]] static bool is_wanted(const http::request& in);

  websocket(const http::request& in, websocket_options options, handlers react);

  ~websocket() override;

  /// Whether the subprotocol has been agreed on.
  [[nodiscard]] bool is_agreed() const noexcept;

  /// Queues a message. From any thread, once it is open.
  void send(std::string text);

  /// Ends it with a code of 1000 to 4999, after what has been queued. From any
  /// thread, once it is open.
  void end(std::uint16_t code, std::string reason);

  // -- http::upgraded ---------------------------------------------------------

  void begin(http::wire taken, std::function<void()> leave) override;

  void stop() override;

  void close() override;

private:
  struct impl;

  std::unique_ptr<impl> impl_;
};

} // namespace slipway::sandbox

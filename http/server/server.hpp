#pragma once

#include "actors/lifecycle/time.hpp"
#include "http/server/exchange.hpp"
#include "http/server/message.hpp"
#include "http/server/permit.hpp"
#include "http/server/router.hpp"
#include "http/server/tls.hpp"

#include <tl/expected.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace slipway::http {

/// Everything a server can be told. No limit is infinite.
struct server_options {
  /// An IP address or `localhost`.
  std::string host = "127.0.0.1";
  /// 0 means: any free port, see `server::port`.
  std::uint16_t port = 0;
  /// Threads that serve sockets, at least 1. A connection stays on one thread.
  std::size_t threads = 1;
  /// Beyond it a connection is accepted, answered 503 `overloaded` and closed:
  /// the client learns at once that it should go elsewhere or come again,
  /// whereas one left waiting in the kernel's backlog takes us for dead.
  std::size_t max_connections = 4096;
  /// Request line and header fields; beyond it 431 `headers_too_large`.
  std::size_t max_header_bytes = 16 * 1024;
  /// Beyond it 413 `body_too_large`.
  std::size_t max_body_bytes = 256 * 1024;
  /// Bodies that are still on their way in, all connections together; beyond
  /// it 503 `overloaded` before the body is read.
  std::size_t max_body_bytes_in_all = 64 * 1024 * 1024;
  /// Requests being worked on; beyond it 503 `overloaded` before the handler
  /// runs. Not used when `gate` is set.
  std::size_t max_in_flight = 1024;
  /// Event streams and upgraded connections open at once; beyond it 503
  /// `overloaded`.
  std::size_t max_streams = 1024;
  /// From the first byte of a request to the end of its head: 408.
  millis header_timeout{10'000};
  /// From the end of the head to the end of the body: 408.
  millis body_timeout{30'000};
  /// A connection without a request is closed after this.
  millis idle_timeout{60'000};
  /// A response must be taken over by the client's side within this.
  millis write_timeout{30'000};
  /// A request that nobody has answered within this gets 503 `timeout`.
  millis request_timeout{30'000};
  /// Shared between servers when set.
  std::shared_ptr<permit_gate> gate = nullptr;
  /// Seeds the request ids of our own; 0 means: from the system.
  std::uint64_t id_seed = 0;
  /// TLS on every connection, with what this one has at the moment the
  /// connection comes. A handshake has `header_timeout`, and its connection
  /// counts. Null means: no TLS.
  std::shared_ptr<tls_keeper> tls = nullptr;
};

/// Called on the server's threads; must not block.
struct server_hooks {
  /// After an answer has been handed to the socket.
  /// `route` is the route's name, or `-` when none was reached.
  /// `seconds` run from the request's last byte to the answer's. A handshake
  /// that fails is reported as an answer of 400, one that takes too long as
  /// 408, although nobody could be told.
  std::function<void(std::string_view route, int status, double seconds,
                     const request& in)>
    on_response = nullptr;
  /// Whether there is no room for one more request like this behind the
  /// server, although there are permits: 503 before the handler runs.
  std::function<bool(const request& in)> is_full = nullptr;
  /// After work was refused for want of room. `reason` is `in_flight`, `full`,
  /// `bodies`, `connections`, `streams` or `timeout`.
  std::function<void(std::string_view reason)> on_shed = nullptr;
  /// After the head and the body have been read and a route was found, before
  /// the handler runs: may set `trace`.
  std::function<void(request& in)> on_request = nullptr;
};

/// An HTTP/1.1 server on threads of its own: keep-alive, one request at a time
/// per connection (pipelined ones wait in the socket), every limit finite.
/// Thread-safe except for `start` and `stop`, which belong to one owner and
/// must not be called from a handler.
class server {
public:
  server(server_options options, router routes, server_hooks hooks = {});

  /// Stops without waiting for requests under way.
  ~server();

  server(const server&) = delete;
  server& operator=(const server&) = delete;

  /// Binds, listens, and serves from then on.
  /// @returns what was wrong with the address otherwise.
  [[nodiscard]] tl::expected<void, std::string> start();

  /// The port that is listened on; 0 before `start`.
  [[nodiscard]] std::uint16_t port() const noexcept;

  /// `http://HOST:PORT`, with `https` where it is, without a slash at the end.
  [[nodiscard]] std::string url() const;

  /// Stops accepting, closes idle connections and event streams, asks upgraded
  /// connections to leave, lets requests under way be answered for as long as
  /// `deadline`, then closes what is left and ends the threads. Later calls do
  /// nothing.
  void stop(millis deadline);

  /// Connections open right now.
  [[nodiscard]] std::size_t connections() const noexcept;

  /// The gate in use: the one handed in or the server's own.
  [[nodiscard]] const permit_gate& gate() const noexcept;

private:
  struct impl;

  std::shared_ptr<impl> impl_;
};

} // namespace slipway::http

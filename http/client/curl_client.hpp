#pragma once

#include "http/client/outbound.hpp"

#include <cstddef>
#include <memory>
#include <string>

namespace slipway::client {

struct curl_client_options {
  /// Requests on the wire at once.
  std::size_t in_flight_max = 256;
  /// Requests that wait for a slot. Beyond it: `refused`, at once.
  std::size_t queue_max = 1024;
  /// Connections to one host and port. Where each request takes one, those
  /// beyond wait inside libcurl, and cost half as much again.
  std::size_t connections_per_host = 64;
  /// Connections kept for reuse. With more open than these, one is closed after
  /// each request.
  std::size_t idle_connections_max = 64;
  /// Sent where a request brings none of its own.
  std::string user_agent = "slipway";
  /// PEM bundle instead of the system's, for private gateways and for tests.
  std::string ca_file;
  /// `HOST:PORT` that every request goes to instead of its URL's, past all
  /// proxies: for a server whose certificate bears another name than the
  /// address it is reached at. Empty: where the URL says.
  std::string connect_to;
};

/// libcurl's multi interface on one thread of its own. Verifies TLS, follows no
/// redirects, speaks http and https only (HTTP/2 where TLS negotiates it),
/// reuses connections, and honours the usual proxy variables.
class curl_client final : public outbound {
public:
  /// Starts the thread.
  explicit curl_client(curl_client_options options = {});

  /// Stops, see `stop`.
  ~curl_client() override;

  curl_client(const curl_client&) = delete;
  curl_client& operator=(const curl_client&) = delete;

  void send(http_request request, http_callback done) override;

  /// Gives up whatever is pending, calls every callback and joins the thread:
  /// what waits becomes `not_sent`, what is on the wire `in_doubt` (`not_sent`
  /// where nothing has left). Further requests are `refused`. Callable again
  /// without effect, but not from a callback.
  void stop();

  /// Requests on the wire and waiting. For metrics and tests.
  struct load {
    std::size_t in_flight = 0;
    std::size_t queued = 0;
  };

  [[nodiscard]] load current_load() const noexcept;

private:
  struct impl;

  std::unique_ptr<impl> impl_;
};

} // namespace slipway::client

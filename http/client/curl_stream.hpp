#pragma once

#include "actors/lifecycle/time.hpp"
#include "http/client/outbound.hpp"

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

/// Responses without an end, such as server-sent events.
namespace slipway::client {

struct stream_request {
  std::string url; ///< Absolute, http or https.
  header_list headers;
  /// For resolving, connecting and the TLS handshake.
  millis connect_timeout{10'000};
  /// Without a byte for so long (whole seconds), the connection counts as lost.
  millis silence_max{60'000};
  /// PEM bundle instead of the system's.
  std::string ca_file;
  /// @copydoc curl_client_options::connect_to
  std::string connect_to;
  /// Of an answer other than 200, so much is kept.
  std::size_t max_error_bytes = 64 * 1024;
};

/// How it ended.
struct stream_end {
  /// 0: there was no answer at all.
  int status = 0;
  /// Of an answer other than 200.
  std::string body;
  /// What went wrong on the wire, a sentence without headers or a query; empty
  /// when the other side ended it in order, or we did.
  std::string failure;
  /// Ended by us.
  bool stopped = false;
};

/// Reads one response as it comes; blocks until it ends. Verifies TLS, follows
/// no redirects, honours the usual proxy variables, but not for loopback.
/// @param take Called with each piece of the body of a 200; false: enough.
/// @param go_on Asked about once a second; false: enough.
[[nodiscard]] stream_end
read_stream(const stream_request& what,
            const std::function<bool(std::string_view)>& take,
            const std::function<bool()>& go_on);

} // namespace slipway::client

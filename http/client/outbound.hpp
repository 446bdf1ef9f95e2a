#pragma once

#include "actors/lifecycle/time.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

/// Outgoing HTTP.
namespace slipway::client {

/// Header fields in their order; names compare without regard to case.
using header_list = std::vector<std::pair<std::string, std::string>>;

/// The first value of a header, or nothing.
[[nodiscard]] std::optional<std::string_view>
find_header(const header_list& headers, std::string_view name) noexcept;

/// One request. `url` is absolute, http or https.
struct http_request {
  std::string method = "GET";
  std::string url;
  header_list headers;
  std::string body;
  /// For all of it, from the start of the transfer (waiting for a free slot
  /// counts too). Must be greater than zero.
  millis timeout{30'000};
  /// For resolving, connecting and the TLS handshake.
  millis connect_timeout{10'000};
  /// A longer response is given up: `failure_kind::too_large`.
  std::size_t max_response_bytes = 1024 * 1024;
};

/// A complete answer of any status.
struct http_response {
  int status = 0;
  header_list headers;
  std::string body;

  /// The first value of a header, or nothing.
  [[nodiscard]] std::optional<std::string_view>
  find(std::string_view name) const noexcept {
    return find_header(headers, name);
  }
};

/// How a request without a complete answer ended. Only `not_sent` and
/// `refused` prove that the other side has not acted.
enum class failure_kind : std::uint8_t {
  /// Provably nothing of it left: a bad request, no address, no connection, no
  /// TLS, or stopped before its turn.
  not_sent,
  /// It left, wholly or in part, and no complete answer came back. The other
  /// side may have acted.
  in_doubt,
  /// It was answered, with more than `max_response_bytes`.
  too_large,
  /// The queue was full, or the client is stopping. Nothing left.
  refused,
};

/// `not_sent`, `in_doubt`, `too_large`, `refused`.
[[nodiscard]] std::string_view to_string(failure_kind kind) noexcept;

struct http_failure {
  failure_kind kind = failure_kind::in_doubt;
  /// A sentence for people. Holds host and cause, never headers or a query.
  std::string message;
};

/// How a request ended.
class http_outcome {
public:
  http_outcome(http_response response) : value_{std::move(response)} {
  }

  http_outcome(http_failure failure) : value_{std::move(failure)} {
  }

  /// The answer, or nullptr.
  [[nodiscard]] const http_response* response() const noexcept {
    return std::get_if<http_response>(&value_);
  }

  /// @copydoc response
  [[nodiscard]] http_response* response() noexcept {
    return std::get_if<http_response>(&value_);
  }

  /// The failure, or nullptr.
  [[nodiscard]] const http_failure* failure() const noexcept {
    return std::get_if<http_failure>(&value_);
  }

private:
  std::variant<http_response, http_failure> value_;
};

/// What callers are told. Runs on the client's own thread, only `refused` on
/// the thread that called `send`, before it returns. Hand the outcome on and
/// return: never block, never throw, never hold a lock around `send` that it
/// takes.
using http_callback = std::function<void(http_outcome)>;

/// Sends requests. Implementations: `curl_client`, and imposters in tests.
class outbound {
public:
  virtual ~outbound() = default;

  /// Sends the request. Callable from any thread, also from a callback; returns
  /// at once. `done` is called exactly once.
  virtual void send(http_request request, http_callback done) = 0;
};

} // namespace slipway::client

#pragma once

#include "actors/observe/tracer.hpp"

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// The HTTP/1.1 server: sockets in, one exchange per request out.
namespace slipway::http {

/// What a request asks for. `other` is everything this server has no use for.
enum class method : std::uint8_t {
  get,
  head,
  post,
  put,
  delete_,
  patch,
  options,
  other,
};

/// The name as it stands on the wire: `GET`, `DELETE` …; `OTHER` for `other`.
[[nodiscard]] std::string_view to_string(method verb) noexcept;

/// Header fields in the order they came in, names spelt as they came in.
class fields {
public:
  using entry = std::pair<std::string, std::string>;

  fields() = default;

  fields(std::initializer_list<entry> entries) : entries_{entries} {
  }

  void add(std::string name, std::string value) {
    entries_.emplace_back(std::move(name), std::move(value));
  }

  /// The first value under this name, in any case of letters.
  [[nodiscard]] std::optional<std::string_view>
  find(std::string_view name) const noexcept;

  /// How often the name occurs, in any case of letters.
  [[nodiscard]] std::size_t count(std::string_view name) const noexcept;

  [[nodiscard]] const std::vector<entry>& entries() const noexcept {
    return entries_;
  }

  [[nodiscard]] auto begin() const noexcept {
    return entries_.begin();
  }

  [[nodiscard]] auto end() const noexcept {
    return entries_.end();
  }

  [[nodiscard]] std::size_t size() const noexcept {
    return entries_.size();
  }

  [[nodiscard]] bool empty() const noexcept {
    return entries_.empty();
  }

  void reserve(std::size_t n) {
    entries_.reserve(n);
  }

private:
  std::vector<entry> entries_;
};

/// One request, read to its end and checked: the path is decoded, normalised
/// UTF-8 without control characters, and the query's escapes are well-formed.
struct request {
  method verb = method::get;
  /// As it stood in the request line: `/api/a%20b?limit=5`.
  std::string target;
  /// Percent-decoded, without query, dot segments, doubled slashes and slash at
  /// the end: `/api/a b`. An encoded slash stays `%2F`.
  std::string path;
  fields headers;
  /// The body as received, chunks joined.
  std::string body;
  /// The peer's IP address.
  std::string remote;
  /// The X-Request-Id: the client's when it is 1 to 64 of `A-Z a-z 0-9 . _ -`,
  /// else one of our own.
  std::string id;
  /// What the `{…}` of the route stand for, in order.
  std::vector<std::string> params;
  /// Where its span belongs, where spans are wanted. Set by
  /// `server_hooks::on_request`.
  trace::tracer::entry trace;

  /// The n-th path parameter; empty when the route has fewer.
  [[nodiscard]] const std::string& param(std::size_t n) const noexcept;

  /// The first query parameter of this name, decoded (`+` is a blank). Nothing
  /// when there is none; empty text for `?name` and `?name=`.
  [[nodiscard]] std::optional<std::string> query(std::string_view name) const;

  /// The raw query, without the `?`; empty when there is none.
  [[nodiscard]] std::string_view query_string() const noexcept;
};

/// What is sent back. The server adds X-Request-Id, Content-Length, Date,
/// X-Content-Type-Options and, unless set here, `Cache-Control: no-store`.
/// A header with a CR, LF or NUL in it, or with an impossible name, is never
/// sent: the client gets 500 instead.
struct response {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers = {};
};

/// The JSON envelope of every failure:
/// `{"success":false,"message":…,"error":…,"requestId":…}`.
[[nodiscard]] response
error_response(int status, std::string_view error, std::string_view message,
               std::string_view request_id);

/// `text` as a JSON string with its quotes. Bytes that are no UTF-8 become
/// U+FFFD.
[[nodiscard]] std::string json_quote(std::string_view text);

} // namespace slipway::http

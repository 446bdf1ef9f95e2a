#pragma once

#include "actors/lifecycle/time.hpp"
#include "http/cli/access.hpp"
#include "http/cli/event_reader.hpp"
#include "http/client/curl_client.hpp"

#include <boost/json/object.hpp>
#include <tl/expected.hpp>

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace slipway::cli {

/// Parameters of a query; those without a value are left out.
using parameters = std::vector<std::pair<std::string, std::string>>;

/// Path segments that come from outside are to be encoded with this.
[[nodiscard]] std::string segment(std::string_view text);

/// Says what a failed answer means: the server's message, its code, the
/// request's id, and what can be done about it.
[[nodiscard]] refusal
explain(int status, std::string_view body, std::string_view role);

/// Calls of one server, one after the other, each within a time limit. Waits
/// and asks again by itself where the server says that it was too much (429),
/// and for reads also where it cannot just now (503).
class session {
public:
  /// @param waits How to wait; false: nobody reads any more.
  session(access to, millis timeout, std::function<bool(millis)> waits);

  /// @returns the envelope of a success.
  [[nodiscard]] tl::expected<boost::json::object, refusal>
  get(const std::string& path, const parameters& query = {});

  /// @copydoc get
  [[nodiscard]] tl::expected<boost::json::object, refusal>
  post(const std::string& path, const boost::json::object& body,
       const parameters& query = {});

  /// @copydoc get
  [[nodiscard]] tl::expected<boost::json::object, refusal>
  put(const std::string& path, const boost::json::object& body);

  /// Reads server-sent events, and comes back when a connection ends.
  /// @param last The id of the last event that is known, or nothing.
  /// @param take False: enough.
  /// @param go_on Asked about once a second; false: enough.
  [[nodiscard]] tl::expected<void, refusal>
  follow(const std::string& path, const parameters& query, std::string last,
         const std::function<bool(const server_event&)>& take,
         const std::function<bool()>& go_on);

private:
  [[nodiscard]] tl::expected<boost::json::object, refusal>
  call(const std::string& method, const std::string& path,
       const parameters& query, const boost::json::object* body);

  [[nodiscard]] std::string
  url_of(const std::string& path, const parameters& query) const;

  [[nodiscard]] client::header_list headers() const;

  access to_;
  millis timeout_;
  std::function<bool(millis)> waits_;
  client::curl_client client_;
};

} // namespace slipway::cli

#include "http/cli/session.hpp"

#include "http/cli/json_reading.hpp"
#include "http/client/curl_stream.hpp"
#include "http/crypto/form.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <future>
#include <memory>

namespace slipway::cli {

namespace json = boost::json;

namespace {

using steady = std::chrono::steady_clock;

constexpr auto connect_max = millis{10'000};

/// An answer of the server is not longer than this.
constexpr auto answer_max = std::size_t{64 * 1024 * 1024};

/// Heartbeats come every 15 seconds.
constexpr auto silence_max = millis{60'000};

constexpr auto tries_max = 5;

/// Of a stream: waited this long before the next connection, doubled each time
/// that one brings nothing.
constexpr auto pause_first = millis{1'000};
constexpr auto pause_max = millis{30'000};
constexpr auto lost_max = 8;

/// So long may a stay be that the server asks for.
constexpr auto stay_max = millis{10'000};

client::curl_client_options options_of(const access& to) {
  auto out = client::curl_client_options{};
  out.in_flight_max = 1;
  out.user_agent = "slipway-ops";
  out.ca_file = to.ca_file;
  out.connect_to = to.connect_to;
  return out;
}

/// `Retry-After` in seconds, or what suits without one.
millis stay_of(const client::http_response& answer) {
  auto seconds = 1;
  const auto text = answer.find("Retry-After").value_or("");
  std::from_chars(text.data(), text.data() + text.size(), seconds);
  return std::clamp(millis{seconds * 1'000}, millis{100}, stay_max);
}

std::string
hint_for(int status, std::string_view message, std::string_view role) {
  if (status == 401)
    return role.empty() ? "expected another token: --token-file FILE, "
                          "SLIPWAY_OPS_TOKEN, or none of them and --config FILE"
                        : "is --config that of this server?";
  if (status == 403)
    return role.empty() ? "expected a token of a role that may do this"
                        : "the token was made for the role " + std::string{role}
                            + "; --role NAME asks for another";
  if (status == 404 && message == "Subscription not found")
    return "`slipway ops list -q TEXT` finds subscriptions by any id, user, "
           "mail address or transaction";
  if (status == 429 || status == 503)
    return "try again in a while";
  return {};
}

} // namespace

std::string segment(std::string_view text) {
  // These two would be taken for a way up.
  if (text == "." || text == "..")
    return text == "." ? "%2E" : "%2E%2E";
  return crypto::percent_encode(text);
}

refusal explain(int status, std::string_view body, std::string_view role) {
  auto error = boost::system::error_code{};
  const auto read = json::parse(body, error);
  if (error || !read.is_object() || !read.get_object().contains("error"))
    return {exit_refused, "expected an answer of Slipway, found status "
                            + std::to_string(status)
                            + " of something else: is the URL right?"};
  const auto& envelope = read.get_object();
  const auto message = text_of(envelope, "message");
  auto out = message + " (" + std::to_string(status) + ' '
             + text_of(envelope, "error") + ')';
  if (const auto id = text_of(envelope, "requestId"); !id.empty())
    out += "\nrequest: " + id;
  if (const auto hint = hint_for(status, message, role); !hint.empty())
    out += "\nhint: " + hint;
  return {exit_refused, std::move(out)};
}

session::session(access to, millis timeout, std::function<bool(millis)> waits)
  : to_{std::move(to)}, timeout_{timeout}, waits_{std::move(waits)},
    client_{options_of(to_)} {
}

tl::expected<json::object, refusal>
session::get(const std::string& path, const parameters& query) {
  return call("GET", path, query, nullptr);
}

tl::expected<json::object, refusal>
session::post(const std::string& path, const json::object& body,
              const parameters& query) {
  return call("POST", path, query, &body);
}

tl::expected<json::object, refusal>
session::put(const std::string& path, const json::object& body) {
  return call("PUT", path, {}, &body);
}

std::string
session::url_of(const std::string& path, const parameters& query) const {
  auto out = to_.base + path;
  auto first = true;
  for (const auto& [name, value] : query) {
    if (value.empty())
      continue;
    out += std::exchange(first, false) ? '?' : '&';
    out += name + '=' + crypto::percent_encode(value);
  }
  return out;
}

client::header_list session::headers() const {
  return {{"Authorization", "Bearer " + to_.token().reveal()},
          {"Accept", "application/json"}};
}

tl::expected<json::object, refusal>
session::call(const std::string& method, const std::string& path,
              const parameters& query, const json::object* body) {
  const auto deadline = steady::now() + timeout_;
  for (auto tries = 1;; ++tries) {
    auto request = client::http_request{};
    request.method = method;
    request.url = url_of(path, query);
    request.headers = headers();
    if (body != nullptr) {
      request.headers.emplace_back("Content-Type", "application/json");
      request.body = json::serialize(*body);
    }
    request.timeout = std::max(
      millis{1}, std::chrono::ceil<millis>(deadline - steady::now()));
    request.connect_timeout = std::min(connect_max, request.timeout);
    request.max_response_bytes = answer_max;
    auto promise = std::make_shared<std::promise<client::http_outcome>>();
    auto answered = promise->get_future();
    client_.send(std::move(request), [promise](client::http_outcome outcome) {
      promise->set_value(std::move(outcome));
    });
    // The client calls back at the deadline at the latest.
    const auto outcome = answered.get();
    if (const auto* failure = outcome.failure()) {
      auto why = refusal{exit_unreachable,
                         to_.base + " is not reachable: " + failure->message};
      if (failure->kind == client::failure_kind::too_large)
        why = {exit_refused, failure->message};
      else if (failure->kind == client::failure_kind::in_doubt)
        why.message
          = to_.base + " has not answered: " + failure->message
            + (body == nullptr ? ""
                               : "\nhint: it may have been done all the same; "
                                 "look before you do it again");
      return tl::unexpected{std::move(why)};
    }
    const auto& answer = *outcome.response();
    // What was too much was not looked at; what is not possible now may have
    // been begun, so that only a question is asked again.
    const auto again
      = answer.status == 429 || (answer.status == 503 && body == nullptr);
    if (again && tries < tries_max) {
      const auto stay = stay_of(answer);
      if (steady::now() + stay < deadline && waits_(stay))
        continue;
    }
    if (answer.status < 200 || answer.status > 299)
      return tl::unexpected{explain(answer.status, answer.body, to_.role)};
    auto error = boost::system::error_code{};
    auto read = json::parse(answer.body, error);
    if (error || !read.is_object() || !read.get_object().contains("data"))
      return tl::unexpected{
        refusal{exit_refused, "expected an answer of Slipway, found something "
                              "else: is the URL right?"}};
    return std::move(read.get_object());
  }
}

tl::expected<void, refusal>
session::follow(const std::string& path, const parameters& query,
                std::string last,
                const std::function<bool(const server_event&)>& take,
                const std::function<bool()>& go_on) {
  auto reader = event_reader{};
  auto pause = pause_first;
  auto lost = 0;
  auto enough = false;
  for (;;) {
    auto request = client::stream_request{};
    request.url = url_of(path, query);
    request.headers = headers();
    request.headers.back().second = "text/event-stream";
    if (!last.empty())
      request.headers.emplace_back("Last-Event-ID", last);
    request.connect_timeout = std::min(connect_max, timeout_);
    request.silence_max = silence_max;
    request.ca_file = to_.ca_file;
    request.connect_to = to_.connect_to;
    reader.restart();
    auto opened = false;
    const auto end = client::read_stream(
      request,
      [&](std::string_view piece) {
        opened = true;
        for (const auto& event : reader.take(piece)) {
          last = event.id;
          if (!take(event)) {
            enough = true;
            return false;
          }
        }
        return !reader.overflowed();
      },
      go_on);
    if (enough || (end.stopped && !reader.overflowed()))
      return {};
    if (reader.overflowed())
      return tl::unexpected{
        refusal{exit_refused, "expected events of Slipway, found something "
                              "else: is the URL right?"}};
    const auto refused = end.status != 0 && end.status != 200;
    if (refused && end.status != 429 && end.status != 503)
      return tl::unexpected{explain(end.status, end.body, to_.role)};
    // A server that goes, or is busy: it will be back, but not for ever.
    lost = opened ? 0 : lost + 1;
    pause = opened ? pause_first : std::min(pause * 2, pause_max);
    if (lost >= lost_max) {
      if (refused)
        return tl::unexpected{explain(end.status, end.body, to_.role)};
      return tl::unexpected{refusal{
        exit_unreachable, to_.base + " is not reachable: " + end.failure}};
    }
    if (!waits_(pause))
      return {};
  }
}

} // namespace slipway::cli

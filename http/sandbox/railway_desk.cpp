#include "http/sandbox/railway_desk.hpp"

#include "http/crypto/digest.hpp"
#include "http/sandbox/railway_json.hpp"

#include <algorithm>

namespace slipway::sandbox::railway {

namespace json_ns = boost::json;

namespace {

/// Requests without a query string that get past Cloudflare in a second.
constexpr auto unnamed_per_second = std::int64_t{10};

/// Cloudflare's word for it, which is no JSON.
http::response blocked() {
  return {429, "text/plain", "error code: 1015", {}};
}

} // namespace

desk::desk(const railway_simulator_options& options,
           const graphql::schema& types, world& all)
  : options_{options}, types_{types}, all_{all}, window_start_{all.now()},
    second_start_{all.now()} {
}

// -- small parts --------------------------------------------------------------

std::string desk::trace_id() {
  auto result = all_.uuid();
  result.erase(std::remove(result.begin(), result.end(), '-'), result.end());
  return result;
}

std::int64_t desk::left() const noexcept {
  return std::max<std::int64_t>(0, all_.knobs.requests_per_hour - used_);
}

bool desk::take(std::int64_t& count, bool is_concerned) {
  if (count <= 0 || !is_concerned)
    return false;
  --count;
  return true;
}

http::response desk::with_budget(http::response x) const {
  const auto reset = std::chrono::duration_cast<std::chrono::seconds>(
    window_end().time_since_epoch());
  x.headers.emplace_back("X-RateLimit-Limit",
                         std::to_string(all_.knobs.requests_per_hour));
  x.headers.emplace_back("X-RateLimit-Remaining", std::to_string(left()));
  x.headers.emplace_back("X-RateLimit-Reset", std::to_string(reset.count()));
  return x;
}

http::response desk::gateway_page(int status, std::string_view text) {
  return {status,
          "text/html",
          "<html><body>" + std::string{text} + "</body></html>",
          {}};
}

http::response
desk::error(int status, std::string_view message, std::string_view code) {
  json_ns::object entry;
  entry["message"] = message;
  entry["extensions"]
    = json_ns::object{{"code", code}, {"traceId", trace_id()}};
  json_ns::object body;
  body["errors"] = json_ns::array{std::move(entry)};
  return with_budget(json(status, json_ns::serialize(body)));
}

http::response desk::throttled(std::int64_t seconds) {
  auto x = error(429, "Rate limit exceeded", "RATE_LIMITED");
  x.headers.emplace_back("Retry-After", std::to_string(seconds));
  return x;
}

http::response desk::opaque() {
  json_ns::object entry;
  entry["message"] = "Problem processing request";
  entry["traceId"] = trace_id();
  json_ns::object body;
  body["data"] = nullptr;
  body["errors"] = json_ns::array{std::move(entry)};
  return with_budget(json(200, json_ns::serialize(body)));
}

http::response desk::spoilt(http::response good) const {
  const auto& shape = all_.knobs.garbage_as;
  if (shape == "html200")
    return gateway_page(200, "<h1>Access denied</h1>");
  if (shape == "html502")
    return gateway_page(502, "Bad gateway");
  if (shape == "cloudflare")
    return blocked();
  good.body.resize(good.body.size() / 2);
  return good;
}

// -- answering ----------------------------------------------------------------

std::optional<http::response> desk::refuse_unread(const http::request& in) {
  auto& knobs = all_.knobs;
  const auto now = all_.now();
  if (knobs.down)
    return gateway_page(502, "Application failed to respond");
  if (now >= window_end()) {
    window_start_ = now;
    used_ = 0;
  }
  if (now >= second_start_ + std::chrono::seconds{1}) {
    second_start_ = now;
    second_used_ = 0;
    second_unnamed_ = 0;
  }
  // Who does not say where it comes from is held up in front of the house.
  if (in.query_string().empty() && ++second_unnamed_ > unnamed_per_second)
    return blocked();
  if (take(knobs.rate_limited, true))
    return throttled(1);
  ++second_used_;
  if (knobs.requests_per_second > 0 && second_used_ > knobs.requests_per_second)
    return throttled(1);
  if (left() == 0)
    return throttled(
      std::chrono::ceil<std::chrono::seconds>(window_end() - now).count());
  ++used_;
  return std::nullopt;
}

http::response desk::answer(const http::request& in) {
  if (auto refused = refuse_unread(in))
    return std::move(*refused);
  auto ec = json_ns::error_code{};
  const auto body = json_ns::parse(in.body, ec);
  const auto* asked = ec ? nullptr : body.if_object();
  const auto* query = asked == nullptr ? nullptr : asked->if_contains("query");
  if (query == nullptr || !query->is_string())
    return error(400, "The body must be JSON with a query.", "BAD_REQUEST");
  const auto header = in.headers.find("Authorization").value_or("");
  if (!header.empty() && header.substr(0, 7) != "Bearer ")
    return error(200, "Not Authorized", "UNAUTHENTICATED");
  graphql::request what;
  what.query = query->get_string();
  const auto name = text_of(*asked, "operationName");
  what.operation_name = name;
  if (const auto* variables = asked->if_contains("variables");
      variables != nullptr && !variables->is_null()) {
    if (!variables->is_object())
      return error(400, "variables must be an object.", "BAD_USER_INPUT");
    what.variables = variables->get_object();
  }
  const auto ready = graphql::prepare(types_, what);
  if (!ready)
    return with_budget(
      json(ready.error().status, json_ns::serialize(ready.error().body)));
  if (ready->kind() == graphql::operation_kind::subscription)
    return error(400, "Subscriptions are served over WebSocket only.",
                 "BAD_REQUEST");
  return perform(*ready, header);
}

http::response
desk::perform(const graphql::prepared& what, std::string_view authorization) {
  auto& knobs = all_.knobs;
  const auto is_mutation = what.kind() == graphql::operation_kind::mutation;
  std::vector<std::string_view> fields;
  for (const auto& each : what.roots())
    fields.push_back(each.name);
  // Reads that get lost cost nothing, so those have to be named.
  const auto may_be_lost = (is_mutation || !knobs.lost_for.empty())
                           && concerns(knobs.lost_for, fields);
  const auto may_be_opaque = concerns(knobs.opaque_for, fields);
  const auto may_be_spoilt = concerns(knobs.garbage_for, fields);
  const auto lost = [] {
    return gateway_page(504, "upstream request timeout");
  };
  if (take(knobs.lost_before, may_be_lost))
    return lost();
  if (!knobs.opaque_after && take(knobs.opaque_errors, may_be_opaque))
    return opaque();
  // Cloudflare stands before the house, the rest of the garbage comes out.
  if (knobs.garbage_as == "cloudflare" && take(knobs.garbage, may_be_spoilt))
    return blocked();
  auto done
    = with_budget(json(200, json_ns::serialize(run(what, authorization))));
  if (take(knobs.lost_answers, may_be_lost))
    return lost();
  if (knobs.opaque_after && take(knobs.opaque_errors, may_be_opaque))
    return opaque();
  if (take(knobs.garbage, may_be_spoilt))
    return spoilt(std::move(done));
  return done;
}

json_ns::object
desk::run(const graphql::prepared& what, std::string_view authorization,
          const std::function<std::optional<resolved>(const graph&)>& special) {
  const auto known
    = crypto::constant_time_equal(authorization, "Bearer " + options_.token);
  auto answers = graph{all_,
                       {options_.workspace_id, options_.account_token, left(),
                        to_rfc3339(window_end())}};
  return what.run(
    [&](bool is_mutation, std::string_view field,
        const json_ns::object& arguments) -> resolved {
      // Published templates can be read by everybody.
      const auto is_public = !is_mutation && field == "template";
      if (!known && !(is_public && authorization.empty()))
        return field_error{"Not Authorized", authorization == "Bearer "
                                               ? "UNAUTHENTICATED"
                                               : "INTERNAL_SERVER_ERROR"};
      if (special)
        if (auto answer = special(answers))
          return std::move(*answer);
      return answers.root(is_mutation, field, arguments);
    },
    trace_id());
}

} // namespace slipway::sandbox::railway

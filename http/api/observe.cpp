#include "http/api/observe.hpp"

#include "actors/observe/log.hpp"
#include "http/api/context.hpp"
#include "http/server/target.hpp"

#include <algorithm>

namespace slipway::api {

namespace {

/// The order that a path names, and with it its subscription.
std::string_view order_in(const http::request& in) {
  for (const auto& x : in.params)
    if (parse_order_ref(x))
      return x;
  return {};
}

subscription_id subscription_in(const http::request& in) {
  for (const auto& x : in.params) {
    if (const auto id = parse_subscription_id(x))
      return *id;
    if (const auto ref = parse_order_ref(x))
      return ref->subscription;
    if (const auto ref = parse_instance_ref(x))
      return ref->subscription;
  }
  return {};
}

} // namespace

trace::tracer::entry enter_trace(trace::tracer& with, const http::request& in) {
  auto parent = std::optional<std::string_view>{};
  auto state = std::vector<std::string_view>{};
  // Two of them are as good as none.
  if (in.headers.count("traceparent") == 1) {
    parent = in.headers.find("traceparent");
    if (in.headers.count("tracestate") > 0)
      for (const auto& [name, value] : in.headers)
        if (http::same_name(name, "tracestate"))
          state.emplace_back(value);
  }
  return with.enter(parent, state);
}

void trace_answer(trace::tracer& with, const http::request& in,
                  std::string_view route, int status, double seconds) {
  if (!in.trace.where)
    return;
  const auto now = with.now();
  const auto took = static_cast<std::uint64_t>(std::max(seconds, 0.0) * 1e9);
  auto name = std::string{to_string(in.verb)};
  name += ' ';
  name += route;
  auto x = with.begin(in.trace, std::move(name), now - std::min(took, now));
  x.set("http.request.method", std::string{to_string(in.verb)});
  x.set("http.route", std::string{route});
  x.set("http.response.status_code", static_cast<std::int64_t>(status));
  x.set("slipway.request_id", in.id);
  if (const auto id = subscription_in(in); raw(id) != 0)
    x.set("slipway.subscription_id", to_text(id));
  if (status >= 500)
    x.fail("status_" + std::to_string(status));
}

void log_answer(const http::request& in, std::string_view route, int status,
                double seconds) {
  // What is shed is counted; a line for each would make a flood of the load.
  const auto is_ours = status >= 500 && status != 503;
  const auto at = is_ours ? spdlog::level::warn : spdlog::level::debug;
  if (!spdlog::should_log(at))
    return;
  log::about{subscription_in(in)}
    .order(order_in(in))
    .request(in.id)
    .trace(in.trace.where.trace)
    .with("route", route)
    .with("status", std::int64_t{status})
    .with("duration_ms", seconds * 1000)
    .write(at, "{} {} -> {} in {:.1f} ms", to_string(in.verb),
           loggable_path(in.path), status, seconds * 1000);
}

} // namespace slipway::api

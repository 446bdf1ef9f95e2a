#include "http/api/events.hpp"

#include "http/api/context.hpp"
#include "http/api/problem.hpp"
#include "http/api/render.hpp"

#include <boost/json/serialize.hpp>

#include <charconv>

namespace slipway::api {

namespace json = boost::json;

namespace {

/// A browser comes back after between this and twice as long: when a server
/// goes, not all of them knock at the next one's door at once.
constexpr auto pause = std::uint32_t{2'000};

/// The revision that a browser has seen before it came back; 0: none, or
/// something that we have never said.
std::uint64_t seen_by(const http::request& in) {
  const auto text = in.headers.find("Last-Event-ID").value_or("");
  const auto* end = text.data() + text.size();
  auto out = std::uint64_t{0};
  const auto [stop, error] = std::from_chars(text.data(), end, out);
  return error == std::errc{} && stop == end ? out : 0;
}

/// Server-sent events of one reader.
class status_events final : public status_watcher {
public:
  status_events(exchange_ptr x, std::uint32_t retry)
    : x_{std::move(x)}, retry_{retry} {
  }

  void refuse(errc why) override {
    fail(*x_, problem_of(why));
    x_.reset();
  }

  bool open(std::string_view first) override {
    auto head = http::response{};
    head.content_type = "text/event-stream";
    head.headers = {{"Cache-Control", "no-store"}, {"X-Accel-Buffering", "no"}};
    head.body = "retry: " + std::to_string(retry_) + "\n\n";
    head.body += first;
    out_ = x_->start_stream(std::move(head));
    x_.reset();
    return out_ != nullptr;
  }

  bool write(std::string_view bytes) override {
    return out_ && out_->write(bytes);
  }

  [[nodiscard]] std::size_t waiting() const override {
    return out_ ? out_->waiting() : 0;
  }

  [[nodiscard]] bool gone() const override {
    return !out_ || !out_->is_open();
  }

private:
  exchange_ptr x_; ///< Until it is answered.
  std::uint32_t retry_;
  std::shared_ptr<http::stream> out_;
};

/// @param owner Of the subscription, who is let in to it.
void watch(const context_ptr& ctx, exchange_ptr x, subscription_id id,
           std::string owner) {
  const auto seen = seen_by(x->in());
  auto what = std::make_shared<status_events>(
    std::move(x), pause + ctx->env->chance() % pause);
  what->subscription = id;
  what->user_id = std::move(owner);
  what->seen = seen;
  ctx->send(status_watcher_ptr{std::move(what)});
}

void watch_own(const context_ptr& ctx, exchange_ptr x, const principal& who) {
  const auto id = parse_subscription_id(x->in().param(0));
  if (id)
    watch(ctx, std::move(x), *id, who.user_id);
  else
    fail(*x, problem_of(errc::not_found));
}

/// Operators look over the owner's shoulder, and count as one more of its
/// readers.
void watch_any(const context_ptr& ctx, exchange_ptr x, const principal&) {
  const auto id = parse_subscription_id(x->in().param(0));
  if (!id) {
    fail(*x, problem_of(errc::not_found));
    return;
  }
  ctx->ask(query::find_record{*id},
           [ctx, x](job<query::find_record>::reply found) {
             if (found)
               watch(ctx, x, found->value.id, found->value.user_id);
             else
               fail(*x, problem_of(found.error()));
           });
}

} // namespace

std::string
render_status_event(const record& row, std::int64_t queue_position) {
  auto out = std::string{"id: "};
  out += std::to_string(row.state.revision);
  out += "\nevent: status\ndata: ";
  out += json::serialize(render_deployment(row, queue_position));
  out += "\n\n";
  return out;
}

void add_event_routes(http::router& to, const context_ptr& ctx) {
  add_route(to, ctx, http::method::get,
            "/api/deployment/events/{subscriptionId}", "deployment_events",
            watch_own);
  add_route(to, ctx, http::method::get, "/api/ops/subscriptions/{id}/events",
            "ops_events", watch_any);
}

} // namespace slipway::api

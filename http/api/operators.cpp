#include "http/api/callbacks.hpp"
#include "http/api/context.hpp"
#include "http/api/problem.hpp"
#include "http/api/render.hpp"

#include <algorithm>
#include <array>

namespace slipway::api {

namespace json = boost::json;

using namespace lifecycle;

namespace {

json::object
render_stats(const context& ctx, const query::read_stats::found& found) {
  auto by_status = std::array<std::int64_t, 7>{};
  auto total = std::int64_t{0};
  auto active = std::int64_t{0};
  for (size_t i = 0; i < found.by_phase.size(); ++i) {
    const auto at = static_cast<phase>(i);
    if (at == phase::idle || at == phase::skipped)
      continue;
    const auto count = found.by_phase[i];
    total += count;
    by_status[static_cast<std::size_t>(to_deployment_status(at))] += count;
    if (holds_slot(at))
      active += count;
  }
  auto statuses = json::object{};
  for (size_t i = 0; i < by_status.size(); ++i)
    statuses[to_string(static_cast<deployment_status>(i))] = by_status[i];
  auto subscriptions = json::object{};
  for (size_t i = 0; i < found.by_status.size(); ++i)
    subscriptions[to_string(static_cast<subscription_status>(i))]
      = found.by_status[i];
  const auto count_of = [&](phase at) {
    return found.by_phase[static_cast<std::size_t>(at)];
  };
  return {
    {"total", total},
    {"byStatus", std::move(statuses)},
    {"running", count_of(phase::running)},
    {"failed", count_of(phase::failed)},
    {"active", active},
    {"queued", count_of(phase::queued)},
    {"skipped", count_of(phase::skipped)},
    // How many may be active at once; none without a provider.
    {"slots", ctx.env->max_concurrent},
    // Of all that came to an end; null before the first one did.
    {"successRate", found.completed == 0
                      ? json::value(nullptr)
                      : json::value(static_cast<double>(found.succeeded)
                                    / static_cast<double>(found.completed))},
    {"averageDeploymentMs", static_cast<std::int64_t>(found.average_ms)},
    {"p95DeploymentMs", static_cast<std::int64_t>(found.p95_ms)},
    {"subscriptions", std::move(subscriptions)},
    // Those that this server has answered since it started: two readings make a
    // rate.
    {"callbacks", callbacks_answered()},
  };
}

void read_stats(const context_ptr& ctx, exchange_ptr x, const principal&) {
  ctx->count(query::read_stats{},
             [ctx, x](job<query::read_stats>::reply found) {
               if (found)
                 succeed_unless_known(*x, render_stats(*ctx, *found));
               else
                 fail(*x, problem_of(found.error()));
             });
}

json::object render_attention(const query::list_attention::row& row) {
  const auto known = raw(row.subscription) != 0;
  return {
    {"subscriptionId",
     known ? json::value(to_text(row.subscription)) : json::value(nullptr)},
    {"instanceId", row.instance_seq == 0
                     ? json::value(nullptr)
                     : json::value(to_text(
                       instance_ref{row.subscription, row.instance_seq}))},
    {"kind", row.kind},
    {"reason", row.reason},
    {"since", to_rfc3339(row.since)},
    {"suggestedAction", row.suggested_action},
    {"callbackId", row.callback == 0
                     ? json::value(nullptr)
                     : json::value(std::to_string(row.callback))},
  };
}

void read_attention(const context_ptr& ctx, exchange_ptr x, const principal&) {
  const auto page = read_page(*x, 500);
  if (!page)
    return;
  ctx->ask(
    query::list_attention{ctx->now(), ctx->env->rules.deadline, page->limit},
    [x](job<query::list_attention>::reply rows) {
      if (!rows) {
        fail(*x, problem_of(rows.error()));
        return;
      }
      auto data = json::array{};
      for (const auto& row : *rows)
        data.push_back(render_attention(row));
      // The newest of each kind; settling them makes room for others.
      succeed_page(*x, std::move(data), {});
    });
}

// -- acts
// --------------------------------------------------------------------------

/// What an operator can do to a subscription besides a refund.
struct act {
  const char* name;    ///< In the audit trail.
  const char* summary; ///< What the operator did.
  event (*fact)(timestamp at);
  /// What people read once it is done.
  const char* done;
};

constexpr auto retry_act
  = act{"retry", "Retry requested by ",
        [](timestamp at) -> event {
          return retry_requested{at, actor_kind::operator_};
        },
        "The deployment starts over"};

constexpr auto cancel_act
  = act{"cancel", "Cancellation requested by ",
        [](timestamp at) -> event {
          return cancel_requested{at, actor_kind::operator_};
        },
        "Deployment cancelled successfully"};

constexpr auto terminate_act
  = act{"terminate", "Termination requested by ",
        [](timestamp at) -> event {
          return terminate_requested{at, actor_kind::operator_};
        },
        "Instance terminated, and nothing of it is left"};

void carry_out(const context_ptr& ctx, exchange_ptr x, const principal& who,
               const act& what) {
  const auto reason = read_reason(x);
  if (!reason)
    return;
  const auto id = parse_subscription_id(x->in().param(0));
  if (!id) {
    fail(*x, problem_of(errc::not_found));
    return;
  }
  auto cmd = std::make_shared<command>();
  cmd->subscription = *id;
  cmd->origin = origin_of(x->in());
  cmd->what = what.fact(ctx->now());
  cmd->act = history_entry{ctx->now(), history_kind::operator_,
                           what.summary + who.user_id + ": " + *reason,
                           what.name, "requested"};
  cmd->reply = std::make_shared<reply_slot>([x, &what](const outcome& end) {
    if (end.error != errc::none) {
      fail(*x, problem_of(end.error));
      return;
    }
    // `under_way`: the provider has not confirmed it yet.
    const auto waits = end.is == verdict::under_way && end.now != nullptr
                       && to_deployment_status(end.now->state.deployment.at)
                            == deployment_status::stopped;
    if (end.is != verdict::applied && end.is != verdict::already_applied
        && !waits) {
      fail(*x, problem_of(end.is));
      return;
    }
    succeed_with(*x,
                 {{"success", true},
                  {"message", waits ? "Under way; the provider has not "
                                      "confirmed it yet"
                                    : what.done},
                  {"data", render_deployment(*end.now, 0)}},
                 waits ? 202 : 200);
  });
  ctx->send(std::move(cmd));
}

void retry(const context_ptr& ctx, exchange_ptr x, const principal& who) {
  carry_out(ctx, std::move(x), who, retry_act);
}

void cancel(const context_ptr& ctx, exchange_ptr x, const principal& who) {
  carry_out(ctx, std::move(x), who, cancel_act);
}

void terminate(const context_ptr& ctx, exchange_ptr x, const principal& who) {
  carry_out(ctx, std::move(x), who, terminate_act);
}

void refund(const context_ptr& ctx, exchange_ptr x, const principal& who) {
  // Money that bought nothing first, then the present period's; or by name.
  const auto reason = read_reason(x);
  if (!reason)
    return;
  const auto id = parse_subscription_id(x->in().param(0));
  if (!id) {
    fail(*x, problem_of(errc::not_found));
    return;
  }
  auto body = body_reader{x};
  const auto named = body.text("orderId");
  if (!body)
    return;
  const auto order_id = parse_order_ref(named);
  if (!named.empty() && (!order_id || order_id->subscription != *id)) {
    x->fail(404, "order_not_found",
            "This subscription has no payment order with this orderId");
    return;
  }
  auto cmd = std::make_shared<command>();
  cmd->subscription = *id;
  cmd->origin = origin_of(x->in());
  cmd->what = refund_requested{ctx->now(), order_id ? order_id->seq : 0,
                               refund_cause::operator_};
  cmd->act
    = history_entry{ctx->now(), history_kind::operator_,
                    "Refund requested by " + who.user_id + ": " + *reason,
                    "refund", "requested"};
  cmd->reply = std::make_shared<reply_slot>([x](const outcome& end) {
    if (end.error != errc::none) {
      fail(*x, problem_of(end.error));
      return;
    }
    if (end.is != verdict::applied && end.is != verdict::already_applied) {
      fail(*x, problem_of(end.is));
      return;
    }
    const auto& orders = end.now->state.orders;
    const auto refunding
      = std::find_if(orders.rbegin(), orders.rend(), [](const order& o) {
          return o.status == order_status::refunding;
        });
    auto data = json::object{{"subscriptionId", to_text(end.now->id)}};
    if (refunding != orders.rend())
      data["order"] = render_order(*end.now, *refunding);
    // Requested; the proof comes from the gateway, later.
    succeed(*x, std::move(data));
  });
  ctx->send(std::move(cmd));
}

} // namespace

void add_operator_routes(http::router& to, const context_ptr& ctx) {
  add_route(to, ctx, http::method::get, "/api/deployment-monitor/stats",
            "deployment_stats", read_stats);
  add_route(to, ctx, http::method::get, "/api/deployment/attention",
            "attention", read_attention);
  add_route(to, ctx, http::method::post, "/api/ops/subscriptions/{id}/refund",
            "ops_refund", refund);
  add_route(to, ctx, http::method::post, "/api/ops/subscriptions/{id}/retry",
            "ops_retry", retry);
  add_route(to, ctx, http::method::post, "/api/ops/subscriptions/{id}/cancel",
            "ops_cancel", cancel);
  add_route(to, ctx, http::method::post,
            "/api/ops/subscriptions/{id}/terminate", "ops_terminate",
            terminate);
}

http::router make_admin_router(const context_ptr& ctx) {
  auto out = http::router{};
  out.add(
    http::method::get, "/healthz", "healthz",
    [](exchange_ptr x) {
      succeed(*x, json::object{{"status", "live"}});
    },
    http::admission::exempt);
  out.add(
    http::method::get, "/readyz", "readyz",
    [ctx](exchange_ptr x) {
      ctx->ask(query::ping{}, [ctx, x](job<query::ping>::reply done) {
        if (!done)
          fail(*x, problem_of(done.error()));
        else if (!ctx->recovered->load())
          fail(*x, {503, "recovering", "Looking what was under way"});
        else
          succeed(*x, json::object{{"status", "ready"}});
      });
    },
    http::admission::exempt);
  out.add(
    http::method::get, "/metrics", "metrics",
    [ctx](exchange_ptr x) {
      auto response = http::response{};
      response.content_type = "text/plain; version=0.0.4; charset=utf-8";
      response.body = ctx->env->metrics->expose();
      x->answer(std::move(response));
    },
    http::admission::exempt);
  return out;
}

} // namespace slipway::api

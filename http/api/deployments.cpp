#include "http/api/context.hpp"
#include "http/api/problem.hpp"
#include "http/api/render.hpp"

namespace slipway::api {

namespace json = boost::json;

using namespace lifecycle;

namespace {

void read_status(const context_ptr& ctx, exchange_ptr x, const principal& who) {
  const auto id = parse_subscription_id(x->in().param(0));
  if (!id) {
    fail(*x, problem_of(errc::not_found));
    return;
  }
  ctx->ask(query::find_record{*id},
           [x, user = who.user_id](job<query::find_record>::reply found) {
             if (!found)
               fail(*x, problem_of(found.error()));
             else if (found->value.user_id != user)
               fail(*x, problem_of(errc::not_found));
             else
               succeed_unless_known(
                 *x, render_deployment(found->value, found->queue_position));
           });
}

void read_progress(const context_ptr& ctx, exchange_ptr x,
                   const principal& who) {
  const auto missing = [](http::exchange& to) {
    to.fail(404, "not_found", "Instance not found");
  };
  const auto ref = parse_instance_ref(x->in().param(0));
  if (!ref) {
    missing(*x);
    return;
  }
  ctx->ask(query::find_record{ref->subscription},
           [x, missing, ref = *ref,
            user = who.user_id](job<query::find_record>::reply found) {
             if (!found && found.error() != errc::not_found) {
               fail(*x, problem_of(found.error()));
               return;
             }
             if (!found || found->value.user_id != user
                 || found->value.state.instance.seq != ref.seq) {
               missing(*x);
               return;
             }
             const auto progress = found->value.state.deployment.progress;
             succeed_unless_known(
               *x,
               json::object{{"instanceId", to_text(ref)},
                            {"progress", progress},
                            {"percentage", std::to_string(progress) + "%"}});
           });
}

/// The subscription that a body names, as retry and cancel want it. Answers
/// itself when there is none.
std::optional<subscription_id> subscription_in(const exchange_ptr& x) {
  auto body = body_reader{x};
  const auto text = body.text("subscriptionId");
  if (!body)
    return std::nullopt;
  if (text.empty()) {
    x->fail(400, "subscription_id_required", "Subscription ID is required");
    return std::nullopt;
  }
  const auto id = parse_subscription_id(text);
  // Whether it exists is nobody's business but its owner's.
  if (!id)
    fail(*x, problem_of(errc::forbidden));
  return id;
}

void fail_act(http::exchange& to, errc why) {
  fail(to, problem_of(why == errc::not_found ? errc::forbidden : why));
}

void retry(const context_ptr& ctx, exchange_ptr x, const principal& who) {
  const auto id = subscription_in(x);
  if (!id)
    return;
  auto by = origin_of(x->in());
  ctx->command_to(
    *id, retry_requested{ctx->now(), actor_kind::user}, who.user_id,
    std::move(by), [x = std::move(x)](const outcome& end) {
      if (end.error != errc::none)
        fail_act(*x, end.error);
      else if (end.is != verdict::applied)
        fail(*x, problem_of(end.is));
      else
        succeed(*x,
                json::object{{"subscriptionId", to_text(end.now->id)},
                             {"status", to_string(to_deployment_status(
                                          end.now->state.deployment.at))},
                             {"attempt", end.now->state.deployment.attempt}});
    });
}

void cancel(const context_ptr& ctx, exchange_ptr x, const principal& who) {
  const auto id = subscription_in(x);
  if (!id)
    return;
  auto by = origin_of(x->in());
  ctx->command_to(
    *id, cancel_requested{ctx->now(), actor_kind::user}, who.user_id,
    std::move(by), [x = std::move(x)](const outcome& end) {
      if (end.error != errc::none) {
        fail_act(*x, end.error);
        return;
      }
      // `under_way`: the provider has not confirmed it yet.
      const auto confirmed = end.is == verdict::applied;
      if (!confirmed && end.is != verdict::under_way) {
        fail(*x, problem_of(end.is));
        return;
      }
      succeed_with(
        *x,
        {{"success", true},
         {"message", confirmed ? "Deployment cancelled successfully"
                               : "The cancellation is under way"},
         {"data", json::object{{"subscriptionId", to_text(end.now->id)},
                               {"status", to_string(to_deployment_status(
                                            end.now->state.deployment.at))}}}},
        confirmed ? 200 : 202);
    });
}

} // namespace

void add_deployment_routes(http::router& to, const context_ptr& ctx) {
  add_route(to, ctx, http::method::get,
            "/api/deployment/status/{subscriptionId}", "deployment_status",
            read_status);
  add_route(to, ctx, http::method::get,
            "/api/deployment-monitor/progress/{instanceId}",
            "deployment_progress", read_progress);
  add_route(to, ctx, http::method::post, "/api/deployment/retry",
            "deployment_retry", retry);
  add_route(to, ctx, http::method::delete_, "/api/deployment/cancel",
            "deployment_cancel", cancel);
}

} // namespace slipway::api

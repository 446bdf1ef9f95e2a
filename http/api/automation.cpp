#include "actors/observe/log.hpp"
#include "http/api/context.hpp"
#include "http/api/problem.hpp"
#include "http/api/render.hpp"

namespace slipway::api {

namespace json = boost::json;

using namespace lifecycle;

namespace {

/// Of each kind of what is pending, so many are named.
constexpr auto pending_max = std::size_t{50};

json::object render_state(const automation_state& what) {
  return {
    {"enabled", what.enabled},
    {"reason", json_text(what.reason)},
    {"since", to_rfc3339(what.since)},
    {"by", json_text(what.by)},
    {"restoredAt", json_time(what.restored_at)},
  };
}

json::object render_pending(const query::list_pending::found& found) {
  auto phases = json::object{};
  auto deployments = std::int64_t{0};
  for (std::size_t i = 0; i < found.by_phase.size(); ++i) {
    const auto at = static_cast<phase>(i);
    if (found.by_phase[i] == 0 || at == phase::cancelling
        || at == phase::terminating)
      continue;
    deployments += found.by_phase[i];
    phases[to_string(at)] = found.by_phase[i];
  }
  auto items = json::array{};
  for (const auto& row : found.rows)
    items.push_back(json::object{
      {"kind", query::to_string(row.is)},
      {"subscriptionId", raw(row.subscription) == 0
                           ? json::value(nullptr)
                           : json::value(to_text(row.subscription))},
      {"summary", row.what},
      {"since", to_rfc3339(row.since)},
    });
  return {
    {"deployments", deployments},
    {"deploymentsByPhase", std::move(phases)},
    {"queued", found.by_phase[static_cast<std::size_t>(phase::queued)]},
    {"removals", found.removals},
    {"orphans", found.orphans},
    {"mails", found.mails},
    {"refunds", found.refunds},
    {"closes", found.closes},
    {"timers", found.timers},
    // The longest waiting of each kind; the numbers above count all of them.
    {"items", std::move(items)},
  };
}

json::array
render_changes(const std::vector<query::list_pending::change>& changes) {
  auto out = json::array{};
  for (const auto& x : changes)
    out.push_back(json::object{{"at", to_rfc3339(x.at)},
                               {"enabled", x.enabled},
                               {"by", x.by},
                               {"reason", json_text(x.why)}});
  return out;
}

/// Answers with the switch as it stands, and what hangs on it.
void answer(const context_ptr& ctx, const exchange_ptr& x,
            const automation_state& state) {
  ctx->ask(query::list_pending{ctx->now(), pending_max},
           [x, state](job<query::list_pending>::reply found) {
             if (!found) {
               fail(*x, problem_of(found.error()));
               return;
             }
             auto data = render_state(state);
             data["pending"] = render_pending(*found);
             data["changes"] = render_changes(found->changes);
             succeed(*x, std::move(data));
           });
}

/// This server need not wait for its next look.
void learn(const environment& env, const automation_state& state) {
  env.automation->learn(state);
  env.metrics->automation_enabled(env.automation->enabled());
}

void read(const context_ptr& ctx, exchange_ptr x, const principal&) {
  ctx->ask(query::read_automation{},
           [ctx, x](job<query::read_automation>::reply found) {
             if (!found) {
               fail(*x, problem_of(found.error()));
               return;
             }
             learn(*ctx->env, *found);
             answer(ctx, x, *found);
           });
}

void put(const context_ptr& ctx, exchange_ptr x, const principal& who) {
  auto body = body_reader{x};
  const auto enabled = body.boolean("enabled");
  auto reason = body.text("reason", 500);
  if (!body)
    return;
  if (!enabled) {
    x->fail(400, "invalid_request",
            "Expected {\"enabled\": true or false, \"reason\": \"…\"}");
    return;
  }
  ctx->ask(
    query::switch_automation{*enabled, who.user_id, reason, ctx->now()},
    [ctx, x, by = who.user_id](job<query::switch_automation>::reply done) {
      if (!done && done.error() == errc::conflict) {
        x->fail(409, "database_restored",
                "The database has just turned out to be a restored one: see "
                "what is pending first");
        return;
      }
      if (!done) {
        fail(*x, problem_of(done.error()));
        return;
      }
      log::about{}
        .begun_by(origin_of(x->in()))
        .warn("automation is switched {} by {}{}{}",
              done->enabled ? "on" : "off", by,
              done->reason.empty() ? "" : ": ", done->reason);
      learn(*ctx->env, *done);
      answer(ctx, x, *done);
    });
}

} // namespace

void add_automation_routes(http::router& to, const context_ptr& ctx) {
  add_route(to, ctx, http::method::get, "/api/ops/automation", "ops_automation",
            read);
  add_route(to, ctx, http::method::put, "/api/ops/automation",
            "ops_automation_put", put);
}

} // namespace slipway::api

#include "actors/observe/log.hpp"
#include "http/api/context.hpp"
#include "http/api/problem.hpp"
#include "http/api/render.hpp"

#include <caf/send.hpp>

#include <algorithm>

namespace slipway::api {

namespace json = boost::json;

using namespace lifecycle;

namespace {

constexpr auto supervisor_prefix = std::string_view{"supervisor:"};

std::optional<subscription_id> supervised_by(std::string_view actor) {
  if (actor.substr(0, supervisor_prefix.size()) != supervisor_prefix)
    return std::nullopt;
  return parse_subscription_id(actor.substr(supervisor_prefix.size()));
}

json::object render(const actor_view& x) {
  return {
    {"id", x.id},
    {"kind", x.kind},
    {"parent", json_text(x.parent)},
    {"state", x.state},
    {"mailboxDepth", x.mailbox_depth},
    {"restarts", x.restarts},
    {"lastFailure", json_text(x.last_failure)},
    {"lastFailureAt", json_time(x.failed_at)},
  };
}

/// One page: what is left of the tree behind the cursor, then supervisors.
void answer_page(const exchange_ptr& x, std::vector<actor_view> rows,
                 bool more) {
  const auto next = more && !rows.empty() ? rows.back().id : std::string{};
  auto data = json::array{};
  for (const auto& row : rows)
    data.push_back(render(row));
  succeed_page(*x, std::move(data), next);
}

void list_supervisors(const context_ptr& ctx, const exchange_ptr& x,
                      std::vector<actor_view> tree, subscription_id after,
                      std::size_t limit, bool troubled_only) {
  auto page = std::make_shared<roster>();
  page->after = after;
  page->limit = limit;
  page->troubled_only = troubled_only;
  page->done = [x, tree = std::move(tree)](roster& filled) mutable {
    std::move(filled.lines.begin(), filled.lines.end(),
              std::back_inserter(tree));
    answer_page(x, std::move(tree), filled.more);
  };
  caf::anon_send(ctx->env->registry(), std::move(page));
}

void list_actors(const context_ptr& ctx, exchange_ptr x, const principal&) {
  const auto page = read_page(*x, 500);
  if (!page)
    return;
  const auto shown = x->in().query("state").value_or("");
  if (!shown.empty() && shown != "troubled") {
    x->fail(400, "invalid_filter",
            "state must be troubled, for those that have failed");
    return;
  }
  const auto troubled_only = !shown.empty();
  const auto after = supervised_by(page->cursor);
  if (after) {
    list_supervisors(ctx, x, {}, *after, page->limit, troubled_only);
    return;
  }
  auto question = std::make_shared<tree_query>();
  question->done
    = {[ctx, x, limit = page->limit, cursor = page->cursor,
        troubled_only](std::vector<actor_view> tree) {
         if (!cursor.empty()) {
           const auto last
             = std::find_if(tree.begin(), tree.end(), [&](const auto& row) {
                 return row.id == cursor;
               });
           if (last == tree.end()) {
             fail(*x, problem_of(errc::invalid_cursor));
             return;
           }
           tree.erase(tree.begin(), last + 1);
         }
         if (troubled_only)
           tree.erase(std::remove_if(tree.begin(), tree.end(),
                                     [](const auto& row) {
                                       return row.last_failure.empty();
                                     }),
                      tree.end());
         if (tree.size() >= limit) {
           tree.resize(limit);
           answer_page(x, std::move(tree), true);
           return;
         }
         const auto room = limit - tree.size();
         list_supervisors(ctx, x, std::move(tree), subscription_id{}, room,
                          troubled_only);
       },
       {}};
  caf::anon_send(ctx->root, std::move(question));
}

/// Answers an order to an actor.
answer_once<errc> reply_to(const exchange_ptr& x, const char* message) {
  return {[x, message](errc why) {
            if (why == errc::not_found)
              x->fail(404, "not_found", "There is no such actor");
            else if (why != errc::none)
              fail(*x, problem_of(why));
            else
              succeed_with(*x,
                           {{"success", true},
                            {"message", message},
                            {"data", json::object{}}},
                           202);
          },
          errc::unavailable};
}

/// Loads a supervisor anew, also out of quarantine.
void restart_actor(const context_ptr& ctx, exchange_ptr x,
                   const principal& who) {
  const auto reason = read_reason(x);
  if (!reason)
    return;
  const auto id = supervised_by(x->in().param(0));
  if (!id) {
    x->fail(404, "not_found",
            "Only supervisors are restarted by hand: supervisor:ID");
    return;
  }
  log::about{*id}
    .begun_by(origin_of(x->in()))
    .warn("supervisor is restarted by {}: {}", who.user_id, *reason);
  auto note = query::note_history{};
  note.id = *id;
  note.entry
    = history_entry{ctx->now(), history_kind::operator_,
                    "Actor restarted by " + who.user_id + ": " + *reason,
                    "restart_actor", "requested"};
  // First who did it, then what was done.
  ctx->ask(std::move(note), [ctx, x, id](job<query::note_history>::reply done) {
    if (!done) {
      fail(*x, problem_of(done.error()));
      return;
    }
    auto order = std::make_shared<supervisor_order>();
    order->subscription = *id;
    order->done = reply_to(x, "The actor is loaded anew");
    caf::anon_send(ctx->env->registry(), std::move(order));
  });
}

/// For tests: a fault on demand.
void kill_actor(const context_ptr& ctx, exchange_ptr x, const principal&) {
  const auto actor = std::string{x->in().param(0)};
  auto done = reply_to(x, "The actor is killed");
  if (const auto id = supervised_by(actor)) {
    auto order = std::make_shared<supervisor_order>();
    order->is = supervisor_order::what::kill;
    order->subscription = *id;
    order->done = std::move(done);
    caf::anon_send(ctx->env->registry(), std::move(order));
    return;
  }
  auto order = std::make_shared<kill_order>();
  order->id = actor;
  order->done = std::move(done);
  caf::anon_send(ctx->root, std::move(order));
}

} // namespace

void add_actor_routes(http::router& to, const context_ptr& ctx) {
  add_route(to, ctx, http::method::get, "/api/ops/actors", "ops_actors",
            list_actors);
  add_route(to, ctx, http::method::post, "/api/ops/actors/{id}/restart",
            "ops_actor_restart", restart_actor);
  if (ctx->faults)
    add_route(to, ctx, http::method::post, "/api/ops/actors/{id}/kill",
              "ops_actor_kill", kill_actor);
}

} // namespace slipway::api

#include "http/api/callbacks.hpp"
#include "http/api/context.hpp"
#include "http/api/problem.hpp"
#include "http/api/render.hpp"
#include "http/crypto/encoding.hpp"
#include "http/crypto/text.hpp"

#include <array>

namespace slipway::api {

namespace json = boost::json;

using namespace lifecycle;

namespace {

json::object render_callback(const query::list_callbacks::row& row) {
  const auto known = raw(row.entry.subscription) != 0;
  return {
    {"id", std::to_string(row.id)},
    {"gateway", to_string(row.entry.gateway)},
    {"source", slipway::to_string(row.entry.source)},
    {"receivedAt", to_rfc3339(row.entry.received_at)},
    {"lastReceivedAt", to_rfc3339(row.last_received_at)},
    {"orderId", row.entry.order_id},
    {"subscriptionId", known ? json::value(to_text(row.entry.subscription))
                             : json::value(nullptr)},
    {"outcome", slipway::to_string(row.entry.outcome)},
    {"reason", row.entry.reason},
    {"repeats", row.repeats},
    {"settledAt", json_time(row.settled_at)},
    {"settledBy", json_text(row.settled_by)},
    {"settledReason", json_text(row.settled_why)},
  };
}

constexpr auto gateway_names
  = std::array{payment_gateway::alipay, payment_gateway::wechat};

constexpr auto outcomes
  = std::array{callback_outcome::applied, callback_outcome::repeated,
               callback_outcome::acknowledged, callback_outcome::contradicted,
               callback_outcome::forged};

/// One of `values` by its name, from a query parameter. Answers 400 itself.
template <class Values, class T>
bool read_choice(http::exchange& from, const char* name, const Values& values,
                 std::optional<T>& to) {
  const auto text = from.in().query(name);
  if (!text || text->empty())
    return true;
  auto known = std::string{};
  for (const auto x : values) {
    if (to_string(x) == *text)
      to = x;
    known += (known.empty() ? "" : ", ") + std::string{to_string(x)};
  }
  if (!to)
    from.fail(400, "invalid_filter",
              std::string{name} + " must be one of " + known);
  return to.has_value();
}

bool read_filters(http::exchange& from, query::list_callbacks& to) {
  to.order_id = from.in().query("orderId").value_or("");
  return read_choice(from, "gateway", gateway_names, to.gateway)
         && read_choice(from, "outcome", outcomes, to.outcome);
}

void read_callbacks(const context_ptr& ctx, exchange_ptr x, const principal&) {
  const auto page = read_page(*x);
  if (!page)
    return;
  const auto before = read_number_cursor(*x, page->cursor);
  if (!before)
    return;
  auto what = query::list_callbacks{};
  what.before = *before;
  what.limit = page->limit + 1;
  if (!read_filters(*x, what))
    return;
  ctx->ask(std::move(what),
           [x, limit = page->limit](job<query::list_callbacks>::reply rows) {
             if (!rows) {
               fail(*x, problem_of(rows.error()));
               return;
             }
             const auto next = cut_page(*rows, limit, number_cursor);
             auto data = json::array{};
             for (const auto& row : *rows)
               data.push_back(render_callback(row));
             succeed_page(*x, std::move(data), next);
           });
}

/// Finds the callback that the path names and hands it on; answers 404 itself.
template <class F>
void with_callback(const context_ptr& ctx, const exchange_ptr& x, F next) {
  const auto id = parse_row_id(x->in().param(0));
  if (!id) {
    x->fail(404, "not_found", "Callback not found");
    return;
  }
  ctx->ask(query::find_callback{*id},
           [x, next = std::move(next)](job<query::find_callback>::reply row) {
             if (row)
               next(std::move(*row));
             else if (row.error() == errc::not_found)
               x->fail(404, "not_found", "Callback not found");
             else
               fail(*x, problem_of(row.error()));
           });
}

void read_callback(const context_ptr& ctx, exchange_ptr x, const principal&) {
  with_callback(ctx, x, [x](const query::list_callbacks::row& row) {
    auto data = render_callback(row);
    data["headers"] = row.entry.headers;
    // The bytes as they came; those that are no UTF-8 in base64.
    const auto& body = row.entry.body;
    if (crypto::is_utf8(body))
      data["body"] = body;
    data["bodyBase64"] = crypto::base64_encode(body);
    succeed(*x, std::move(data));
  });
}

void settle_callback(const context_ptr& ctx, exchange_ptr x,
                     const principal& who) {
  const auto id = parse_row_id(x->in().param(0));
  const auto reason = read_reason(x);
  if (!reason)
    return;
  if (!id) {
    x->fail(404, "not_found", "Callback not found");
    return;
  }
  ctx->ask(query::settle_callback{*id, ctx->now(), who.user_id, *reason},
           [x](job<query::settle_callback>::reply row) {
             if (row)
               succeed(*x, render_callback(*row));
             else if (row.error() == errc::not_found)
               x->fail(404, "not_found",
                       "There is no contradicting callback with this id");
             else
               fail(*x, problem_of(row.error()));
           });
}

// -- replay
// ------------------------------------------------------------------------

/// What differs for people between two moments of a subscription.
json::array changes_between(const record& before, const record& after,
                            std::uint32_t order) {
  auto out = json::array{};
  const auto add = [&](const char* what, const json::value& from,
                       const json::value& to) {
    if (from != to)
      out.push_back(json::object{{"what", what}, {"from", from}, {"to", to}});
  };
  const auto& a = before.state;
  const auto& b = after.state;
  add("subscription.status", json::value(to_string(a.status)),
      json::value(to_string(b.status)));
  add("subscription.endDate", json_time(a.end_at), json_time(b.end_at));
  add("deployment.status",
      json::value(to_string(to_deployment_status(a.deployment.at))),
      json::value(to_string(to_deployment_status(b.deployment.at))));
  const auto* from = find_order(a, order);
  const auto* to = find_order(b, order);
  if (from != nullptr && to != nullptr) {
    add("order.status", json::value(to_string(from->status)),
        json::value(to_string(to->status)));
    add("order.transactionId", json_text(from->transaction_id),
        json_text(to->transaction_id));
    add("order.refundedAmount", json::value(format_amount(from->refunded)),
        json::value(format_amount(to->refunded)));
  }
  return out;
}

json::object
render_replay(bool dry, std::string_view verdict, json::array changes) {
  return {
    {"dryRun", dry}, {"verdict", verdict}, {"changes", std::move(changes)}};
}

/// A kept message read once more, by the same code and at the clock of its
/// arrival; nothing where it stays refused, which has been answered then.
std::optional<callback_fact>
read_again(const context_ptr& ctx, const exchange_ptr& x, bool dry,
           const query::list_callbacks::row& row) {
  if (row.entry.source == callback_source::query) {
    x->fail(409, "not_replayable",
            "This is an answer to a question of ours: it can be asked again by "
            "reading the order, but not replayed");
    return std::nullopt;
  }
  const auto headers = kept_headers(row.entry.headers);
  auto message = gateway::inbound{};
  message.from = row.entry.gateway == payment_gateway::alipay
                   ? gateway::protocol::alipay
                   : gateway::wechat_protocol_of(row.entry.body);
  message.refund = row.entry.source == callback_source::refund_notify;
  message.headers = &headers;
  message.body = row.entry.body;
  message.now = row.entry.received_at;
  const auto got = gateway::read(ctx->accounts, message);
  if (!gateway::is_authentic(got)
      || got.signature == gateway::signature_verdict::none_by_design) {
    x->fail(409, "not_authentic",
            "Not proven to come from the gateway, and never applied: "
              + (got.refused ? std::string{to_string(got.refused->reason)}
                             : std::string{"nothing is signed in it"}));
    return std::nullopt;
  }
  if (got.refused) {
    succeed(*x, render_replay(dry, to_string(got.refused->reason), {}));
    return std::nullopt;
  }
  auto fact = fact_of(got, ctx->now());
  if (!fact)
    succeed(*x, render_replay(dry, fact.error(), {}));
  else if (!*fact)
    succeed(*x, render_replay(dry, "nothing_to_do", {}));
  return fact ? std::move(*fact) : std::nullopt;
}

/// Tells what the fact would change, without changing anything.
void rehearse(const context_ptr& ctx, const exchange_ptr& x,
              const callback_fact& fact, const record& before) {
  auto made = decide(before.state, fact.what, ctx->env->rules);
  auto after = before;
  after.state = std::move(made.next);
  succeed(*x, render_replay(true, to_string(made.is),
                            changes_between(before, after, fact.order.seq)));
}

void apply(const context_ptr& ctx, const exchange_ptr& x,
           const callback_fact& fact, const record& before,
           const query::list_callbacks::row& row, const std::string& by) {
  auto cmd = std::make_shared<command>();
  cmd->subscription = fact.order.subscription;
  cmd->origin = origin_of(x->in());
  cmd->what = fact.what;
  auto entry = std::make_shared<callback_entry>(row.entry);
  entry->subscription = fact.order.subscription;
  entry->replayed = true;
  cmd->callback = std::move(entry);
  cmd->act
    = history_entry{ctx->now(), history_kind::operator_,
                    "Callback " + std::to_string(row.id) + " replayed by " + by,
                    "replay", "applied"};
  cmd->reply = std::make_shared<reply_slot>(
    [x, before, seq = fact.order.seq](const outcome& end) {
      if (end.error != errc::none)
        fail(*x, problem_of(end.error));
      else
        succeed(*x, render_replay(false, to_string(end.is),
                                  end.now == nullptr
                                    ? json::array{}
                                    : changes_between(before, *end.now, seq)));
    });
  ctx->send(std::move(cmd));
}

void replay(const context_ptr& ctx, exchange_ptr x, const principal& who) {
  const auto wanted = x->in().query("dryRun").value_or("false");
  if (wanted != "true" && wanted != "false") {
    x->fail(400, "invalid_request", "dryRun must be true or false");
    return;
  }
  const auto dry = wanted == "true";
  with_callback(
    ctx, x,
    [ctx, x, dry, by = who.user_id](const query::list_callbacks::row& row) {
      auto fact = read_again(ctx, x, dry, row);
      if (!fact)
        return;
      ctx->ask(query::find_record{fact->order.subscription},
               [ctx, x, dry, by, row,
                fact = *fact](job<query::find_record>::reply found) {
                 if (!found && found.error() == errc::not_found)
                   succeed(*x, render_replay(dry, "order_not_found", {}));
                 else if (!found)
                   fail(*x, problem_of(found.error()));
                 else if (dry)
                   rehearse(ctx, x, fact, found->value);
                 else
                   apply(ctx, x, fact, found->value, row, by);
               });
    });
}

} // namespace

void add_inbox_routes(http::router& to, const context_ptr& ctx) {
  add_route(to, ctx, http::method::get, "/api/ops/callbacks", "callback_list",
            read_callbacks);
  add_route(to, ctx, http::method::get, "/api/ops/callbacks/{id}",
            "callback_read", read_callback);
  add_route(to, ctx, http::method::post, "/api/ops/callbacks/{id}/replay",
            "callback_replay", replay);
  add_route(to, ctx, http::method::post, "/api/ops/callbacks/{id}/settle",
            "callback_settle", settle_callback);
}

} // namespace slipway::api

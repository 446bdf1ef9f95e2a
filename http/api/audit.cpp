#include "config/text.hpp"
#include "http/api/context.hpp"
#include "http/api/problem.hpp"
#include "http/api/render.hpp"
#include "http/gateway/strict_json.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <spdlog/spdlog.h>

namespace slipway::api {

namespace json = boost::json;

namespace {

constexpr auto subject_max = std::size_t{255};

constexpr auto reason_max = std::size_t{500};

constexpr auto detail_max = std::size_t{500};

/// What the path says that it is about; ids of ours in the form they have
/// everywhere.
std::string subject_of(const http::request& in) {
  if (in.params.empty())
    return {};
  if (const auto id = parse_subscription_id(in.param(0)))
    return to_text(*id);
  return config::one_line(in.param(0), subject_max);
}

/// What a body says besides the reason: `enabled: true`. Whether it makes
/// sense is for the act to judge.
std::string detail_of(const json::object& body) {
  auto out = std::string{};
  for (const auto& [name, value] : body) {
    if (name == "reason" || value.is_object() || value.is_array())
      continue;
    out += out.empty() ? "" : ", ";
    out.append(name).append(": ");
    out += value.is_string() ? std::string{value.get_string()}
                             : json::serialize(value);
  }
  return config::one_line(out, detail_max);
}

query::announce_act
announcement(const context& ctx, const http::request& in, const principal& who,
             const access_rule& what) {
  auto out = query::announce_act{};
  out.at = ctx.now();
  out.actor = who.user_id;
  out.role = to_string(who.role);
  out.act = what.act;
  out.subject_kind = what.subject;
  out.subject = subject_of(in);
  out.request_id = in.id;
  if (in.body.empty())
    return out;
  if (const auto body = gateway::parse_object(in.body)) {
    out.reason = config::one_line(
      gateway::text_of(*body, "reason").value_or(""), reason_max);
    out.detail = detail_of(*body);
  }
  return out;
}

/// What became of it, by the answer: `done`, `under_way`, or the error's code.
std::string outcome_of(const http::response& answer) {
  if (answer.status == 202)
    return "under_way";
  if (answer.status < 300)
    return "done";
  auto error = boost::system::error_code{};
  const auto body = json::parse(answer.body, error);
  if (!error && body.is_object())
    if (const auto code = gateway::text_of(body.get_object(), "error");
        code && !code->empty())
      return *code;
  return "refused";
}

/// An exchange that has its answer written down before it is given.
exchange_ptr
closing(const context_ptr& ctx, const exchange_ptr& x, std::int64_t row) {
  return http::make_exchange(x->in(), [ctx, x, row](http::response answer) {
    auto end
      = query::close_act{row, outcome_of(answer),
                         static_cast<std::int16_t>(answer.status), ctx->now()};
    ctx->ask(std::move(end), [x, row, answer = std::move(answer)](
                               job<query::close_act>::reply done) {
      // It is done whatever the trail says, and the trail says that it was
      // begun.
      if (!done)
        spdlog::error("audit: the outcome of act {} is not written down: {} "
                      "({})",
                      row, outcome_of(answer), to_string(done.error()));
      x->answer(answer);
    });
  });
}

json::object render_act(const query::list_acts::row& row) {
  const auto& what = row.what;
  return {
    {"id", std::to_string(row.id)},
    {"at", to_rfc3339(what.at)},
    {"actor", what.actor},
    {"role", what.role},
    {"act", what.act},
    {"subjectKind", what.subject_kind},
    {"subject", json_text(what.subject)},
    {"detail", json_text(what.detail)},
    {"reason", json_text(what.reason)},
    {"requestId", what.request_id},
    // Null: the server has died meanwhile, and it may have been done.
    {"outcome", json_text(row.outcome)},
    {"status",
     row.status == 0 ? json::value(nullptr) : json::value(row.status)},
    {"completedAt", json_time(row.done_at)},
  };
}

void list_audit(const context_ptr& ctx, exchange_ptr x, const principal&) {
  const auto page = read_page(*x);
  if (!page)
    return;
  const auto before = read_number_cursor(*x, page->cursor);
  if (!before)
    return;
  auto what = query::list_acts{};
  what.before = *before;
  what.limit = page->limit + 1;
  what.actor = x->in().query("actor").value_or("");
  what.subject = x->in().query("subject").value_or("");
  ctx->ask(std::move(what),
           [x, limit = page->limit](job<query::list_acts>::reply rows) {
             if (!rows) {
               fail(*x, problem_of(rows.error()));
               return;
             }
             const auto next = cut_page(*rows, limit, number_cursor);
             auto data = json::array{};
             for (const auto& row : *rows)
               data.push_back(render_act(row));
             succeed_page(*x, std::move(data), next);
           });
}

} // namespace

void carry_out_audited(const context_ptr& ctx, exchange_ptr x,
                       const principal& who, const access_rule& what,
                       context_handler act) {
  auto first = announcement(*ctx, x->in(), who, what);
  ctx->ask(std::move(first), [ctx, x = std::move(x), who, &what,
                              act](job<query::announce_act>::reply row) {
    if (row) {
      act(ctx, closing(ctx, x, *row), who);
    } else if (what.even_unwritten) {
      spdlog::error("audit: {} by {} is not written down: {}", what.act,
                    who.user_id, to_string(row.error()));
      act(ctx, x, who);
    } else {
      fail(*x, problem_of(row.error()));
    }
  });
}

void add_audit_routes(http::router& to, const context_ptr& ctx) {
  add_route(to, ctx, http::method::get, "/api/ops/audit", "ops_audit",
            list_audit);
}

} // namespace slipway::api

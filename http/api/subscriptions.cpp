#include "http/api/context.hpp"
#include "http/api/problem.hpp"
#include "http/api/render.hpp"

#include <algorithm>

namespace slipway::api {

namespace json = boost::json;

using namespace lifecycle;

namespace {

constexpr auto channels_max = std::size_t{32};

constexpr auto credential_bytes_max = std::size_t{16 * 1024};

bool is_channel_type(std::string_view name) {
  return !name.empty() && name.size() <= 64
         && std::all_of(name.begin(), name.end(), [](unsigned char c) {
              return std::isalnum(c) != 0 || c == '_' || c == '-' || c == '.';
            });
}

std::string plan_names(const context& ctx) {
  auto out = std::string{};
  for (const auto& [name, plan] : ctx.settings.plans)
    out += (out.empty() ? "" : ", ") + name;
  return out;
}

/// What a user has ordered, checked.
struct wish {
  std::string user_id;
  std::string plan_type;
  std::vector<std::pair<std::string, std::string>> credentials;
};

/// Of two ids made in the same millisecond one in four million is the same.
constexpr auto ids_tried = 4;

void place(const context_ptr& ctx, exchange_ptr x,
           const std::shared_ptr<const wish>& what, int tries = 1) {
  const auto& plan = ctx->settings.plans.at(what->plan_type);
  const auto at = ctx->now();
  const auto id = make_subscription_id(at, ctx->env->entropy->next());
  auto make = std::make_shared<creation>();
  make->user_id = what->user_id;
  make->plan = what->plan_type;
  make->currency = plan.currency;
  for (const auto& [type, value] : what->credentials) {
    auto sealed = ctx->keys->seal(value, to_text(id) + "/" + type);
    make->credentials.push_back({type, std::move(sealed.key_id),
                                 std::move(sealed.nonce),
                                 std::move(sealed.ciphertext)});
  }
  auto cmd = std::make_shared<command>();
  cmd->subscription = id;
  cmd->on_behalf_of = what->user_id;
  cmd->what = subscription_created{at, plan.amount_minor, plan.period_days};
  cmd->create = std::move(make);
  cmd->origin = origin_of(x->in());
  cmd->reply = std::make_shared<reply_slot>(
    [ctx, x = std::move(x), what, tries](const outcome& end) {
      const auto taken
        = end.error == errc::forbidden || end.error == errc::conflict
          || (end.error == errc::none && end.is != verdict::applied);
      if (taken && tries < ids_tried)
        place(ctx, x, what, tries + 1);
      else if (taken)
        fail(*x, problem_of(errc::unavailable));
      else if (end.error != errc::none)
        fail(*x, problem_of(end.error));
      else
        succeed(*x, render_subscription(*end.now), 201);
    });
  ctx->send(std::move(cmd));
}

void create(const context_ptr& ctx, exchange_ptr x, const principal& who) {
  auto body = body_reader{x};
  auto what = std::make_shared<wish>();
  what->user_id = who.user_id;
  what->plan_type = body.text("planType");
  auto credentials = body.raw_members("channelCredentials", channels_max,
                                      credential_bytes_max);
  if (!body)
    return;
  if (ctx->settings.plans.count(what->plan_type) == 0) {
    x->fail(400, "unknown_plan", "planType must be one of " + plan_names(*ctx));
    return;
  }
  for (auto& [type, value] : credentials) {
    if (!is_channel_type(type)) {
      x->fail(400, "invalid_channel_type",
              "Channel types are 1 to 64 letters, digits, '_', '-' and '.'");
      return;
    }
    // No environment variable can hold it.
    if (value.find("\\u0000") != std::string::npos) {
      x->fail(400, "invalid_credential",
              "Channel credentials must not hold NUL characters");
      return;
    }
    what->credentials.emplace_back(type, std::move(value));
  }
  place(ctx, std::move(x), what);
}

void read_one(const context_ptr& ctx, exchange_ptr x, const principal& who) {
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
               succeed(*x, render_subscription(found->value));
           });
}

void read_all(const context_ptr& ctx, exchange_ptr x, const principal& who) {
  const auto page = read_page(*x);
  if (!page)
    return;
  auto before = subscription_id{};
  if (!page->cursor.empty()) {
    const auto id = parse_subscription_id(page->cursor);
    if (!id) {
      x->fail(400, "invalid_cursor",
              "cursor must be what an earlier answer gave as nextCursor");
      return;
    }
    before = *id;
  }
  // One more than asked for tells whether there is a next page.
  ctx->ask(query::list_records{who.user_id, before, page->limit + 1},
           [x, limit = page->limit](job<query::list_records>::reply rows) {
             if (!rows) {
               fail(*x, problem_of(rows.error()));
               return;
             }
             const auto next = cut_page(*rows, limit, [](const record& row) {
               return to_text(row.id);
             });
             auto data = json::array{};
             for (const auto& row : *rows)
               data.push_back(render_subscription(row));
             succeed_page(*x, std::move(data), next);
           });
}

} // namespace

void add_plan_routes(http::router& to, const context_ptr& ctx) {
  to.add(http::method::get, "/api/plans", "plans", [ctx](exchange_ptr x) {
    using entry = std::pair<std::string, const config::plan_settings*>;
    auto plans = std::vector<entry>{};
    for (const auto& [name, plan] : ctx->settings.plans)
      plans.emplace_back(name, &plan);
    // As a price list: the cheapest first.
    std::stable_sort(plans.begin(), plans.end(), [](auto& a, auto& b) {
      return a.second->amount_minor < b.second->amount_minor;
    });
    auto data = json::array{};
    for (const auto& [name, plan] : plans)
      data.push_back({{"planType", name},
                      {"title", plan->title},
                      {"amount", format_amount(plan->amount_minor)},
                      {"currency", plan->currency},
                      {"periodDays", plan->period_days}});
    succeed(*x, std::move(data));
  });
}

void add_subscription_routes(http::router& to, const context_ptr& ctx) {
  add_route(to, ctx, http::method::post, "/api/subscriptions",
            "subscription_create", create);
  add_route(to, ctx, http::method::get, "/api/subscriptions",
            "subscription_list", read_all);
  add_route(to, ctx, http::method::get, "/api/subscriptions/{id}",
            "subscription_read", read_one);
}

} // namespace slipway::api

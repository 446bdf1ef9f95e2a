#include "http/api/context.hpp"
#include "http/api/problem.hpp"
#include "http/api/render.hpp"

#include <array>
#include <charconv>

namespace slipway::api {

namespace json = boost::json;

using namespace lifecycle;

namespace {

/// What an operator sees of a subscription besides what its user sees.
json::object render_found(const record& row) {
  auto out = render_subscription(row);
  out["userId"] = row.user_id;
  out["deployment"] = render_deployment(row, 0);
  out["phase"] = to_string(row.state.deployment.at);
  out["projectId"] = json_text(row.state.instance.project_id);
  auto orders = json::array{};
  for (const auto& x : row.state.orders)
    orders.push_back(render_order(row, x));
  out["orders"] = std::move(orders);
  return out;
}

/// Ids of ours are read as such; everything else is left to the database.
void read_text(query::search_records& to, const std::string& text) {
  if (const auto id = parse_subscription_id(text))
    to.id = *id;
  else if (const auto order = parse_order_ref(text))
    to.id = order->subscription;
  else if (const auto instance = parse_instance_ref(text))
    to.id = instance->subscription;
  else if (const auto project = parse_project_name(text))
    to.id = *project;
  else
    to.text = text;
}

/// A subscription's status or a deployment's. Answers 400 itself.
bool read_status(http::exchange& from, query::search_records& to) {
  const auto text = from.in().query("status").value_or("");
  if (text.empty())
    return true;
  auto known = std::string{};
  for (auto i = 0; i < 6; ++i) {
    const auto x = static_cast<subscription_status>(i);
    if (to_string(x) == text)
      to.status = x;
    known += (known.empty() ? "" : ", ") + std::string{to_string(x)};
  }
  for (std::uint8_t i = 0; i < phase_count; ++i) {
    const auto at = static_cast<phase>(i);
    if (to_string(to_deployment_status(at)) == text)
      to.phases.push_back(at);
  }
  for (auto i = 0; i < 7; ++i)
    known += ", " + std::string{to_string(static_cast<deployment_status>(i))};
  if (to.status || !to.phases.empty())
    return true;
  from.fail(400, "invalid_filter", "status must be one of " + known);
  return false;
}

void search(const context_ptr& ctx, exchange_ptr x, const principal&) {
  const auto page = read_page(*x);
  if (!page)
    return;
  auto what = query::search_records{};
  if (!page->cursor.empty()) {
    const auto before = parse_subscription_id(page->cursor);
    if (!before) {
      fail(*x, problem_of(errc::invalid_cursor));
      return;
    }
    what.before = *before;
  }
  what.limit = page->limit + 1;
  if (!read_status(*x, what))
    return;
  read_text(what, x->in().query("q").value_or(""));
  ctx->ask(std::move(what),
           [x, limit = page->limit](job<query::search_records>::reply rows) {
             if (!rows) {
               fail(*x, problem_of(rows.error()));
               return;
             }
             const auto next = cut_page(*rows, limit, [](const record& row) {
               return to_text(row.id);
             });
             auto data = json::array{};
             for (const auto& row : *rows)
               data.push_back(render_found(row));
             succeed_page(*x, std::move(data), next);
           });
}

void show(const context_ptr& ctx, exchange_ptr x, const principal&) {
  const auto id = parse_subscription_id(x->in().param(0));
  if (!id) {
    fail(*x, problem_of(errc::not_found));
    return;
  }
  ctx->ask(query::find_record{*id}, [x](job<query::find_record>::reply found) {
    if (!found) {
      fail(*x, problem_of(found.error()));
      return;
    }
    auto data = render_found(found->value);
    data["deployment"] = render_deployment(found->value, found->queue_position);
    succeed(*x, std::move(data));
  });
}

// -- the timeline
// ------------------------------------------------------------------

std::string to_cursor(const query::list_timeline::row& row) {
  return std::to_string(row.where.at.time_since_epoch().count()) + "-"
         + std::to_string(row.where.source) + "-"
         + std::to_string(row.where.id);
}

std::optional<query::list_timeline::place> read_cursor(std::string_view text) {
  auto out = query::list_timeline::place{};
  if (text.empty())
    return out;
  auto parts = std::array<std::int64_t, 3>{};
  const auto* at = text.data();
  const auto* end = at + text.size();
  for (auto& part : parts) {
    if (&part != parts.data() && (at == end || *at++ != '-'))
      return std::nullopt;
    const auto [stop, error] = std::from_chars(at, end, part);
    if (error != std::errc{} || part < 0)
      return std::nullopt;
    at = stop;
  }
  // Beyond this PostgreSQL knows no time.
  constexpr auto latest_ms = std::int64_t{253'402'300'799'000};
  if (at != end || parts[0] > latest_ms || parts[1] > 2)
    return std::nullopt;
  out.at = timestamp{millis{parts[0]}};
  out.source = static_cast<std::int16_t>(parts[1]);
  out.id = parts[2];
  return out;
}

void read_timeline(const context_ptr& ctx, exchange_ptr x, const principal&) {
  const auto page = read_page(*x, 1000);
  if (!page)
    return;
  const auto after = read_cursor(page->cursor);
  if (!after) {
    fail(*x, problem_of(errc::invalid_cursor));
    return;
  }
  const auto id = parse_subscription_id(x->in().param(0));
  if (!id) {
    fail(*x, problem_of(errc::not_found));
    return;
  }
  // An empty history means that there is no such subscription, at the start of
  // the list only.
  ctx->ask(query::list_timeline{*id, *after, page->limit + 1},
           [x, limit = page->limit, first = page->cursor.empty()](
             job<query::list_timeline>::reply rows) {
             if (!rows) {
               fail(*x, problem_of(rows.error()));
               return;
             }
             if (rows->empty() && first) {
               fail(*x, problem_of(errc::not_found));
               return;
             }
             const auto next = cut_page(*rows, limit, to_cursor);
             auto data = json::array{};
             for (const auto& row : *rows)
               data.push_back({{"at", to_rfc3339(row.where.at)},
                               {"kind", row.kind},
                               {"summary", row.summary},
                               {"operation", row.operation},
                               {"outcome", row.outcome}});
             succeed_page(*x, std::move(data), next);
           });
}

} // namespace

void add_search_routes(http::router& to, const context_ptr& ctx) {
  add_route(to, ctx, http::method::get, "/api/ops/subscriptions",
            "ops_subscriptions", search);
  add_route(to, ctx, http::method::get, "/api/ops/subscriptions/{id}",
            "ops_subscription", show);
  add_route(to, ctx, http::method::get, "/api/ops/subscriptions/{id}/timeline",
            "ops_timeline", read_timeline);
}

} // namespace slipway::api

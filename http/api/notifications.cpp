#include "http/api/context.hpp"
#include "http/api/problem.hpp"
#include "http/api/render.hpp"

namespace slipway::api {

namespace json = boost::json;

namespace {

void read_all(const context_ptr& ctx, exchange_ptr x, const principal& who) {
  const auto page = read_page(*x);
  if (!page)
    return;
  const auto before = read_number_cursor(*x, page->cursor);
  if (!before)
    return;
  ctx->ask(query::list_notifications{who.user_id, *before, page->limit + 1},
           [ctx, x, limit = page->limit,
            locale = who.locale](job<query::list_notifications>::reply rows) {
             if (!rows) {
               fail(*x, problem_of(rows.error()));
               return;
             }
             const auto next = cut_page(*rows, limit, number_cursor);
             auto data = json::array{};
             for (const auto& row : *rows)
               data.push_back(render_notification(row, *ctx, locale));
             succeed_page(*x, std::move(data), next);
           });
}

void mark_read(const context_ptr& ctx, exchange_ptr x, const principal& who) {
  const auto missing = [](http::exchange& to) {
    to.fail(404, "not_found", "Notification not found");
  };
  const auto id = parse_row_id(x->in().param(0));
  if (!id) {
    missing(*x);
    return;
  }
  ctx->ask(query::mark_notification_read{who.user_id, *id, ctx->now()},
           [ctx, x, missing, locale = who.locale](
             job<query::mark_notification_read>::reply row) {
             if (row)
               succeed(*x, render_notification(*row, *ctx, locale));
             else if (row.error() == errc::not_found)
               missing(*x);
             else
               fail(*x, problem_of(row.error()));
           });
}

} // namespace

void add_notification_routes(http::router& to, const context_ptr& ctx) {
  add_route(to, ctx, http::method::get, "/api/notifications",
            "notification_list", read_all);
  add_route(to, ctx, http::method::post, "/api/notifications/{id}/read",
            "notification_read", mark_read);
}

} // namespace slipway::api

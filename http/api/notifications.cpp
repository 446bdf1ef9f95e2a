#include "http/api/context.hpp"
#include "http/api/problem.hpp"
#include "http/api/render.hpp"

namespace slipway::api {

namespace json = boost::json;

namespace {

/// Steps of marking everything as read in one request: 20,000 notifications.
/// Who has more goes on with the cursor.
constexpr auto steps_max = 10;

constexpr auto wanted_preferences
  = "Expected {\"mail\":{\"progress\":true or false}}";

json::value cursor_or_null(std::int64_t next) {
  return next == 0 ? json::value(nullptr) : json::value(std::to_string(next));
}

/// `?unread=`. Answers 400 itself.
std::optional<bool> read_unread(http::exchange& from) {
  const auto text = from.in().query("unread").value_or("false");
  if (text == "true" || text == "false")
    return text == "true";
  from.fail(400, "invalid_filter", "unread must be true or false");
  return std::nullopt;
}

void read_all(const context_ptr& ctx, exchange_ptr x, const principal& who) {
  const auto page = read_page(*x);
  if (!page)
    return;
  const auto before = read_number_cursor(*x, page->cursor);
  if (!before)
    return;
  const auto unread = read_unread(*x);
  if (!unread)
    return;
  auto what = query::list_notifications{};
  what.user_id = who.user_id;
  what.before = *before;
  what.limit = page->limit;
  what.unread_only = *unread;
  ctx->ask(std::move(what), [ctx, x, locale = who.locale](
                              job<query::list_notifications>::reply found) {
    if (!found) {
      fail(*x, problem_of(found.error()));
      return;
    }
    auto data = json::array{};
    for (const auto& row : found->rows)
      data.push_back(render_notification(row, *ctx, locale));
    succeed_with(*x, {{"success", true},
                      {"data", std::move(data)},
                      {"nextCursor", cursor_or_null(found->next)},
                      {"unread", found->unread.count},
                      {"unreadAtLeast", found->unread.at_least}});
  });
}

void count(const context_ptr& ctx, exchange_ptr x, const principal& who) {
  auto what = query::count_unread{};
  what.user_id = who.user_id;
  ctx->ask(std::move(what), [x](job<query::count_unread>::reply found) {
    if (!found)
      fail(*x, problem_of(found.error()));
    else
      succeed(*x, json::object{{"unread", found->count},
                               {"atLeast", found->at_least}});
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

/// One step after the other, so that none holds a store for long.
void mark_more(const context_ptr& ctx, const exchange_ptr& x,
               query::mark_all_read what, std::int64_t marked, int steps) {
  auto step = what;
  ctx->ask(std::move(step), [ctx, x, what = std::move(what), marked, steps](
                              job<query::mark_all_read>::reply done) mutable {
    if (!done) {
      fail(*x, problem_of(done.error()));
      return;
    }
    marked += done->marked;
    if (done->next == 0 || steps + 1 == steps_max) {
      succeed_with(*x, {{"success", true},
                        {"data", json::object{{"marked", marked}}},
                        {"nextCursor", cursor_or_null(done->next)}});
      return;
    }
    what.before = done->next;
    mark_more(ctx, x, std::move(what), marked, steps + 1);
  });
}

void mark_all(const context_ptr& ctx, exchange_ptr x, const principal& who) {
  const auto before
    = read_number_cursor(*x, x->in().query("cursor").value_or(""));
  if (!before)
    return;
  auto what = query::mark_all_read{};
  what.user_id = who.user_id;
  what.before = *before;
  what.at = ctx->now();
  mark_more(ctx, x, std::move(what), 0, 0);
}

json::object render(const query::read_preferences::found& what) {
  return {{"mail", json::object{{"progress", what.mail_progress}}}};
}

void read_wishes(const context_ptr& ctx, exchange_ptr x, const principal& who) {
  ctx->ask(query::read_preferences{who.user_id},
           [x](job<query::read_preferences>::reply found) {
             if (found)
               succeed(*x, render(*found));
             else
               fail(*x, problem_of(found.error()));
           });
}

void write_wishes(const context_ptr& ctx, exchange_ptr x,
                  const principal& who) {
  auto body = body_reader{x};
  const auto members = body.raw_members("mail", 8, 64);
  if (!body)
    return;
  auto what = query::write_preferences{};
  what.user_id = who.user_id;
  what.at = ctx->now();
  // All that there is to wish for, so that a slip of the pen is no wish.
  if (members.size() != 1 || members[0].first != "progress"
      || (members[0].second != "true" && members[0].second != "false")) {
    x->fail(400, "invalid_preferences", wanted_preferences);
    return;
  }
  what.wanted.mail_progress = members[0].second == "true";
  ctx->ask(std::move(what), [x](job<query::write_preferences>::reply found) {
    if (found)
      succeed(*x, render(*found));
    else
      fail(*x, problem_of(found.error()));
  });
}

} // namespace

void add_notification_routes(http::router& to, const context_ptr& ctx) {
  add_route(to, ctx, http::method::get, "/api/notifications",
            "notification_list", read_all);
  add_route(to, ctx, http::method::get, "/api/notifications/unread-count",
            "notification_unread", count);
  add_route(to, ctx, http::method::post, "/api/notifications/read-all",
            "notification_read_all", mark_all);
  add_route(to, ctx, http::method::get, "/api/notifications/preferences",
            "preferences_read", read_wishes);
  add_route(to, ctx, http::method::put, "/api/notifications/preferences",
            "preferences_write", write_wishes);
  add_route(to, ctx, http::method::post, "/api/notifications/{id}/read",
            "notification_read", mark_read);
}

} // namespace slipway::api

#include "http/api/context.hpp"
#include "http/api/problem.hpp"

#include <boost/json/serialize.hpp>

#include <array>
#include <atomic>

namespace slipway::api {

namespace json = boost::json;

using namespace lifecycle;

namespace {

constexpr auto page_max = std::size_t{1'000};

/// A reader with more than this on its way gets the next line later.
constexpr auto busy_bytes = std::size_t{16 * 1024};

constexpr auto source_names
  = std::array<std::string_view, 3>{"build", "deploy", "event"};

/// Of which sources lines are wanted.
struct sources {
  bool build = true;
  bool deploy = true;
  bool event = true;
};

/// Reads `?type=`. Answers 400 itself.
std::optional<sources> read_type(http::exchange& from) {
  const auto type = from.in().query("type").value_or("all");
  if (type == "all")
    return sources{};
  if (type == "build" || type == "deploy" || type == "event")
    return sources{type == "build", type == "deploy", type == "event"};
  from.fail(400, "invalid_type",
            "type must be one of all, build, deploy, event");
  return std::nullopt;
}

/// Who reads.
enum class reader {
  owner,    ///< Of the subscription, and nobody else's.
  operator_ ///< Of any.
};

/// Finds the subscription that the path names and goes on with it, when it may
/// be read. Whether it exists is nobody's business but its owner's.
template <class F>
void with_readable(const context_ptr& ctx, const exchange_ptr& x,
                   const principal& who, reader as, F next) {
  const auto unknown = as == reader::owner ? errc::forbidden : errc::not_found;
  const auto id = parse_subscription_id(x->in().param(0));
  if (!id) {
    fail(*x, problem_of(unknown));
    return;
  }
  ctx->ask(query::find_record{*id}, [x, as, unknown, user = who.user_id,
                                     next = std::move(next)](
                                      job<query::find_record>::reply found) {
    if (found && (as == reader::operator_ || found->value.user_id == user))
      next(std::make_shared<const record>(std::move(found->value)));
    else if (found || found.error() == errc::not_found)
      fail(*x, problem_of(unknown));
    else
      fail(*x, problem_of(found.error()));
  });
}

json::object render_line(const log_line& from) {
  return {{"timestamp", from.at},
          {"source", source_names[static_cast<std::size_t>(from.source)]},
          {"level", from.level},
          {"message", from.message}};
}

json::value render_cursor(const std::string& cursor) {
  return cursor.empty() ? json::value(nullptr) : json::value(cursor);
}

void answer_page(http::exchange& to, json::array logs, const std::string& next,
                 const std::string& tail) {
  const auto count = logs.size();
  succeed(to, json::object{{"logs", std::move(logs)},
                           {"count", count},
                           {"nextCursor", render_cursor(next)},
                           {"tailCursor", render_cursor(tail)}});
}

// -- without a provider
// ------------------------------------------------------------

/// There is nothing but our own events.
void read_events(const context_ptr& ctx, const exchange_ptr& x,
                 const principal& who, reader as, const sources& wanted,
                 const page& bounds) {
  const auto after = read_number_cursor(*x, bounds.cursor);
  if (!after)
    return;
  with_readable(ctx, x, who, as, [=](const record_ptr& subject) {
    if (!wanted.event) {
      answer_page(*x, {}, {}, bounds.cursor);
      return;
    }
    ctx->ask(query::list_history{subject->id, *after, bounds.limit + 1},
             [x, bounds](job<query::list_history>::reply rows) {
               if (!rows) {
                 fail(*x, problem_of(rows.error()));
                 return;
               }
               const auto next = cut_page(*rows, bounds.limit, number_cursor);
               auto logs = json::array{};
               for (const auto& row : *rows)
                 logs.push_back(render_line({to_rfc3339(row.entry.at),
                                             log_source::event,
                                             std::string{level_of(row.entry)},
                                             row.entry.summary,
                                             {}}));
               answer_page(*x, std::move(logs), next,
                           rows->empty() ? bounds.cursor
                                         : number_cursor(rows->back()));
             });
  });
}

// -- streams
// -----------------------------------------------------------------------

/// Server-sent events of one follower. All but `on_closed`'s callback runs on
/// the LOGBOOK's thread.
class log_events {
public:
  explicit log_events(exchange_ptr x) : x_{std::move(x)} {
  }

  void refuse(errc why) {
    fail(*x_, problem_of(why));
  }

  follower_state state() const {
    if (*closed_)
      return follower_state::gone;
    return out_ && out_->waiting() > busy_bytes ? follower_state::busy
                                                : follower_state::ready;
  }

  bool take(const log_line& line) {
    auto event = std::string{"id: "};
    event += line.cursor;
    event += "\nevent: log\ndata: ";
    event += json::serialize(render_line(line));
    event += "\n\n";
    return write(std::move(event));
  }

  bool beat() {
    return out_ ? write(": \n\n") : open();
  }

private:
  bool open() {
    auto head = http::response{};
    head.content_type = "text/event-stream";
    head.headers = {{"Cache-Control", "no-store"}, {"X-Accel-Buffering", "no"}};
    // How soon a browser comes back.
    head.body = "retry: 3000\n\n";
    out_ = x_->start_stream(std::move(head));
    x_.reset();
    if (!out_)
      return false;
    out_->on_closed([closed = closed_] {
      *closed = true;
    });
    return true;
  }

  bool write(std::string bytes) {
    return out_ && out_->write(std::move(bytes));
  }

  exchange_ptr x_; ///< Until it is answered.
  std::shared_ptr<http::stream> out_;
  std::shared_ptr<std::atomic<bool>> closed_
    = std::make_shared<std::atomic<bool>>(false);
};

void stream_logs(const context_ptr& ctx, const exchange_ptr& x,
                 const principal& who, reader as) {
  const auto wanted = read_type(*x);
  if (!wanted)
    return;
  if (!ctx->env->logbook) {
    fail(*x, problem_of(verdict::provider_off));
    return;
  }
  // A browser that comes back repeats the address it came with first.
  auto cursor = std::string{x->in().headers.find("Last-Event-ID").value_or("")};
  if (cursor.empty())
    cursor = x->in().query("cursor").value_or("");
  with_readable(ctx, x, who, as, [=](const record_ptr& subject) {
    const auto events = std::make_shared<log_events>(x);
    auto what = std::make_shared<log_follower>();
    what->from.subject = subject;
    what->from.build = wanted->build;
    what->from.deploy = wanted->deploy;
    what->from.event = wanted->event;
    what->from.cursor = cursor;
    what->from.done = [events](tl::expected<log_page, errc> why) {
      events->refuse(why.error());
    };
    what->state = [events] {
      return events->state();
    };
    what->take = [events](const log_line& line) {
      return events->take(line);
    };
    what->beat = [events] {
      return events->beat();
    };
    ctx->send(std::move(what));
  });
}

// -- pages
// -------------------------------------------------------------------------

void read_logs(const context_ptr& ctx, const exchange_ptr& x,
               const principal& who, reader as) {
  const auto accepts = x->in().headers.find("Accept").value_or("");
  if (accepts.find("text/event-stream") != std::string_view::npos) {
    stream_logs(ctx, x, who, as);
    return;
  }
  const auto wanted = read_type(*x);
  if (!wanted)
    return;
  const auto bounds = read_page(*x, page_max);
  if (!bounds)
    return;
  if (!ctx->env->logbook) {
    read_events(ctx, x, who, as, *wanted, *bounds);
    return;
  }
  with_readable(ctx, x, who, as, [=](const record_ptr& subject) {
    auto what = std::make_shared<log_query>();
    what->subject = subject;
    what->build = wanted->build;
    what->deploy = wanted->deploy;
    what->event = wanted->event;
    what->limit = bounds->limit;
    what->cursor = bounds->cursor;
    what->done = [x](tl::expected<log_page, errc> got) {
      if (!got) {
        fail(*x, problem_of(got.error()));
        return;
      }
      auto logs = json::array{};
      logs.reserve(got->lines.size());
      for (const auto& line : got->lines)
        logs.push_back(render_line(line));
      answer_page(*x, std::move(logs), got->next_cursor, got->tail_cursor);
    };
    ctx->send(std::move(what));
  });
}

// -- handlers
// ----------------------------------------------------------------------

void read_own(const context_ptr& ctx, exchange_ptr x, const principal& who) {
  read_logs(ctx, x, who, reader::owner);
}

void stream_own(const context_ptr& ctx, exchange_ptr x, const principal& who) {
  stream_logs(ctx, x, who, reader::owner);
}

void read_any(const context_ptr& ctx, exchange_ptr x, const principal& who) {
  read_logs(ctx, x, who, reader::operator_);
}

void stream_any(const context_ptr& ctx, exchange_ptr x, const principal& who) {
  stream_logs(ctx, x, who, reader::operator_);
}

} // namespace

void add_log_routes(http::router& to, const context_ptr& ctx) {
  add_route(to, ctx, http::method::get, "/api/deployment/logs/{subscriptionId}",
            "deployment_logs", read_own);
  add_route(to, ctx, http::method::get,
            "/api/deployment/logs/{subscriptionId}/stream",
            "deployment_logs_stream", stream_own);
  add_route(to, ctx, http::method::get, "/api/ops/subscriptions/{id}/logs",
            "ops_logs", read_any);
  add_route(to, ctx, http::method::get,
            "/api/ops/subscriptions/{id}/logs/stream", "ops_logs_stream",
            stream_any);
}

} // namespace slipway::api

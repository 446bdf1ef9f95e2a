#pragma once

#include "actors/environment.hpp"
#include "actors/guardian.hpp"
#include "config/keyring.hpp"
#include "config/settings.hpp"
#include "http/api/access.hpp"
#include "http/api/auth.hpp"
#include "http/api/rate_limit.hpp"
#include "http/gateway/intake.hpp"
#include "http/mail/templates.hpp"
#include "http/payment/pay_order.hpp"
#include "http/server/router.hpp"

#include <boost/json/object.hpp>

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

namespace slipway::api {

using exchange_ptr = std::shared_ptr<http::exchange>;

/// How far this server has come with giving credentials a new key. One step at
/// a time.
struct key_rotation {
  std::mutex mutex;
  bool under_way = false;
  /// What lies before it has been looked at on this way through.
  query::list_stale_credentials::place after;
  /// Those of this way that could not be opened.
  std::int64_t failed = 0;
};

/// What all handlers share. Constant after construction but for the memory of
/// users, their rates and the rotation of keys; callable from any thread.
struct context {
  environment_ptr env;
  guardian_actor root;
  bool faults = false; ///< Whether operators may kill actors: for tests.
  config::settings settings;
  std::shared_ptr<const config::keyring> keys;
  std::unique_ptr<const token_verifier> tokens;
  /// How often users may ask. Null: as often as they want.
  std::unique_ptr<rate_limiter> rates;
  std::unique_ptr<key_rotation> rotation = std::make_unique<key_rotation>();
  gateway::accounts accounts;
  payment::order_words words;
  /// Null: the built-in templates.
  std::shared_ptr<const mail::template_store> templates;
  std::shared_ptr<std::atomic<bool>> recovered;

  // -- asking -----------------------------------------------------------------

  /// Sends a query to one of the stores, in turn.
  template <class Query, class F>
  void ask(Query what, F done) const {
    const auto turn = next_store.fetch_add(1, std::memory_order_relaxed);
    send(env->store_in_turn(turn), make_job(std::move(what), std::move(done)));
  }

  /// Sends a query that looks at many rows to the store for those.
  template <class Query, class F>
  void count(Query what, F done) const {
    send(env->counting_store(), make_job(std::move(what), std::move(done)));
  }

  /// Feeds a fact to a subscription and calls `done` with the outcome.
  void command_to(subscription_id id, lifecycle::event what,
                  std::string on_behalf_of, trace::origin by,
                  reply_slot::function done) const;

  void send(const store_actor& to, store_job_ptr what) const;

  void send(command_ptr what) const;

  void send(inbox_job_ptr what) const;

  void send(gateway_errand_ptr what) const;

  void send(log_query_ptr what) const;

  void send(log_follower_ptr what) const;

  void send(status_watcher_ptr what) const;

  [[nodiscard]] timestamp now() const {
    return env->clock->now();
  }

  [[nodiscard]] mail::template_set_ptr notice_templates() const {
    return templates == nullptr ? mail::builtin_templates()
                                : templates->current();
  }

  /// Keeps a sample of a message that was not proven to be a gateway's: so few
  /// in a second that nobody can fill the disk with them.
  /// @returns whether it was one of those; the others deserve no line in the
  ///          log, either.
  bool keep_forged(callback_entry what) const;

  /// Takes over mail address and locale of a token, once for each change.
  void remember(const principal& who) const;

  mutable std::atomic<std::size_t> next_store{0};
  mutable std::mutex users_mutex;
  mutable std::unordered_map<std::string, std::size_t> users;
  mutable std::mutex forged_mutex;
  mutable timestamp forged_at{}; ///< When the next sample may be kept.
};

using context_ptr = std::shared_ptr<const context>;

/// A handler behind a token.
using context_handler
  = void (*)(const context_ptr&, exchange_ptr, const principal&);

/// Adds a route that needs a token. Who is let in, and whether what he does is
/// an act for the audit trail, is up to its line in the table of access rules.
/// Whoever brings no valid token gets 401, one whose role is not enough 403,
/// and a user who comes too often 429.
/// @throws std::logic_error when the table has no such line, or lets anyone in.
void add_route(http::router& to, const context_ptr& ctx, http::method verb,
               std::string_view pattern, std::string name,
               context_handler handler);

/// INTERNAL: Has an operator's act done between two lines of the audit trail:
/// first who is about to do what, and behind it what became of that. Nothing is
/// done when the first one cannot be written.
void carry_out_audited(const context_ptr& ctx, exchange_ptr x,
                       const principal& who, const access_rule& what,
                       context_handler act);

/// What a request begins, for logs and spans.
[[nodiscard]] trace::origin origin_of(const http::request& in);

// -- requests
// --------------------------------------------------------------------

/// The members of a JSON body that handlers ask for. Wrong types and malformed
/// bodies are answered by the reader itself.
class body_reader {
public:
  /// Parses the body as one JSON object. On failure the exchange has been
  /// answered and the reader is false.
  explicit body_reader(const exchange_ptr& from);

  ~body_reader();

  explicit operator bool() const noexcept {
    return ok_;
  }

  /// A text member of at most `bytes_max` bytes; empty when it is missing or
  /// null. Answers 400 on another type, and makes the reader false.
  [[nodiscard]] std::string
  text(std::string_view name, std::size_t bytes_max = 256);

  /// A member that is true or false; nothing when it is missing or null.
  /// Answers 400 on another type, and makes the reader false.
  [[nodiscard]] std::optional<bool> boolean(std::string_view name);

  /// The members of an object member as JSON text, by name.
  [[nodiscard]] std::vector<std::pair<std::string, std::string>>
  raw_members(std::string_view name, std::size_t members_max,
              std::size_t bytes_max);

private:
  void fail(std::string_view message);

  struct impl;
  std::unique_ptr<impl> impl_;
  bool ok_ = false;
};

/// The `reason` that an operator's act needs, 1 to 500 bytes. Answers 400
/// itself.
[[nodiscard]] std::optional<std::string> read_reason(const exchange_ptr& from);

/// Page bounds from `?limit=` and `?cursor=`. Answers 400 itself.
struct page {
  std::size_t limit = 50;
  std::string cursor;
};

[[nodiscard]] std::optional<page>
read_page(http::exchange& from, std::size_t limit_max = 200);

/// Reads a cursor that is a positive number. Answers 400 itself.
[[nodiscard]] std::optional<std::int64_t>
read_number_cursor(http::exchange& from, const std::string& cursor);

/// A row's number in a path. @returns nothing when it is none.
[[nodiscard]] std::optional<std::int64_t> parse_row_id(std::string_view text);

// -- answers
// ----------------------------------------------------------------------

/// `{"success":true,"data":…}`
void succeed(http::exchange& to, boost::json::value data, int status = 200);

/// The same for what is asked for again and again: with an ETag, and without a
/// body (304) for whoever has it already.
void succeed_unless_known(http::exchange& to, boost::json::value data);

/// `{"success":true,"data":[…],"nextCursor":…}`
void succeed_page(http::exchange& to, boost::json::array data,
                  const std::string& next_cursor);

/// Cuts what was read one row longer than asked for, which tells whether there
/// is a next page.
/// @returns the cursor that `cursor_of` makes of the last row left; empty when
///          this is the last page.
template <class Rows, class F>
std::string cut_page(Rows& rows, std::size_t limit, F cursor_of) {
  if (rows.size() <= limit)
    return {};
  rows.resize(limit);
  return cursor_of(rows.back());
}

/// The cursor of rows that have a number.
inline constexpr auto number_cursor = [](const auto& row) {
  return std::to_string(row.id);
};

/// Any other envelope.
void succeed_with(http::exchange& to, boost::json::object envelope,
                  int status = 200);

// -- routes
// ------------------------------------------------------------------------

void add_plan_routes(http::router& to, const context_ptr& ctx);
void add_subscription_routes(http::router& to, const context_ptr& ctx);
void add_payment_routes(http::router& to, const context_ptr& ctx);
void add_callback_routes(http::router& to, const context_ptr& ctx);
void add_inbox_routes(http::router& to, const context_ptr& ctx);
void add_deployment_routes(http::router& to, const context_ptr& ctx);
void add_event_routes(http::router& to, const context_ptr& ctx);
void add_log_routes(http::router& to, const context_ptr& ctx);
void add_webhook_routes(http::router& to, const context_ptr& ctx);
void add_notification_routes(http::router& to, const context_ptr& ctx);
void add_mail_routes(http::router& to, const context_ptr& ctx);
void add_search_routes(http::router& to, const context_ptr& ctx);
void add_operator_routes(http::router& to, const context_ptr& ctx);
void add_actor_routes(http::router& to, const context_ptr& ctx);
void add_automation_routes(http::router& to, const context_ptr& ctx);
void add_audit_routes(http::router& to, const context_ptr& ctx);
void add_credential_routes(http::router& to, const context_ptr& ctx);

/// Everything on the public listener.
[[nodiscard]] http::router make_public_router(const context_ptr& ctx);

/// /healthz, /readyz and /metrics.
[[nodiscard]] http::router make_admin_router(const context_ptr& ctx);

/// A request's path as it may stand in a log: without the webhook's secret.
[[nodiscard]] std::string_view loggable_path(std::string_view path) noexcept;

/// Whether a route takes the gateways' callbacks, by its name in the metrics.
[[nodiscard]] constexpr bool is_callback_route(std::string_view name) noexcept {
  return name == "alipay_notify" || name == "wechat_notify"
         || name == "alipay_refund_notify" || name == "wechat_refund_notify";
}

} // namespace slipway::api

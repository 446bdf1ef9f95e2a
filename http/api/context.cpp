#include "http/api/context.hpp"

#include "http/api/description.hpp"
#include "http/api/etag.hpp"
#include "http/api/ops_page.hpp"
#include "http/api/problem.hpp"
#include "http/crypto/text.hpp"

#include <boost/json/serialize.hpp>
#include <caf/send.hpp>

#include <charconv>
#include <simdjson.h>
#include <stdexcept>

namespace slipway::api {

namespace {

namespace json = boost::json;

/// Users remembered before the memory starts over.
constexpr auto users_max = std::size_t{50'000};

constexpr auto depth_max = std::size_t{64};

/// Samples of forged messages: so many at once, then one in so long.
constexpr auto forged_burst = 20;

constexpr auto forged_pause = millis{1'000};

/// What a sample is cut to.
constexpr auto forged_body_max = std::size_t{8 * 1024};

constexpr auto forged_headers_max = std::size_t{4 * 1024};

/// Bearer tokens are compared without regard to case in the scheme only.
std::optional<std::string> bearer_token(const http::request& in) {
  if (in.headers.count("Authorization") != 1)
    return std::nullopt;
  const auto value = *in.headers.find("Authorization");
  constexpr auto scheme = std::string_view{"bearer "};
  if (value.size() <= scheme.size())
    return std::nullopt;
  for (size_t i = 0; i < scheme.size(); ++i)
    if (std::tolower(static_cast<unsigned char>(value[i])) != scheme[i])
      return std::nullopt;
  return std::string{value.substr(scheme.size())};
}

void unauthorized(http::exchange& to, std::string_view why) {
  auto response = http::error_response(401, "unauthorized", why, to.in().id);
  response.headers.emplace_back("WWW-Authenticate", "Bearer");
  to.answer(std::move(response));
}

} // namespace

void context::command_to(subscription_id id, lifecycle::event what,
                         std::string on_behalf_of, trace::origin by,
                         reply_slot::function done) const {
  auto cmd = std::make_shared<command>();
  cmd->subscription = id;
  cmd->what = std::move(what);
  cmd->on_behalf_of = std::move(on_behalf_of);
  cmd->origin = std::move(by);
  cmd->reply = std::make_shared<reply_slot>(std::move(done));
  send(std::move(cmd));
}

trace::origin origin_of(const http::request& in) {
  return {in.id, in.trace.where};
}

void context::send(const store_actor& to, store_job_ptr what) const {
  caf::anon_send(to, std::move(what));
}

void context::send(command_ptr what) const {
  caf::anon_send(env->registry(), std::move(what));
}

void context::send(inbox_job_ptr what) const {
  const auto where = std::hash<std::string>{}(what->entry.dedupe_key);
  caf::anon_send(env->journals[where % env->journals.size()](),
                 std::move(what));
}

void context::send(gateway_errand_ptr what) const {
  caf::anon_send(env->reconciler(), std::move(what));
}

void context::send(log_query_ptr what) const {
  caf::anon_send(env->logbook(), std::move(what));
}

void context::send(log_follower_ptr what) const {
  caf::anon_send(env->logbook(), std::move(what));
}

void context::send(status_watcher_ptr what) const {
  caf::anon_send(env->broadcaster(), std::move(what));
}

bool context::keep_forged(callback_entry what) const {
  {
    auto guard = std::lock_guard{forged_mutex};
    const auto at = what.received_at;
    forged_at = std::max(forged_at, at - forged_burst * forged_pause);
    if (forged_at > at)
      return false;
    forged_at += forged_pause;
  }
  what.outcome = callback_outcome::forged;
  what.body.resize(std::min(what.body.size(), forged_body_max));
  if (what.headers.size() > forged_headers_max)
    what.headers
      = crypto::to_valid_utf8(what.headers.substr(0, forged_headers_max));
  ask(query::keep_forged{std::move(what)}, [](job<query::keep_forged>::reply) {
    // A sample: the store has logged what went wrong, and the counter has
    // counted it anyway.
  });
  return true;
}

void context::remember(const principal& who) const {
  if (who.email.empty() && who.locale.empty())
    return;
  const auto mark = std::hash<std::string>{}(who.email + '\n' + who.locale);
  {
    auto guard = std::lock_guard{users_mutex};
    if (users.size() >= users_max)
      users.clear();
    auto& known = users[who.user_id];
    if (known == mark)
      return;
    known = mark;
  }
  ask(query::remember_user{who.user_id, who.email, who.locale, now()},
      [this, id = who.user_id](job<query::remember_user>::reply done) {
        if (done)
          return;
        // Not stored: the next request with this token tries again.
        auto guard = std::lock_guard{users_mutex};
        users.erase(id);
      });
}

namespace {

/// Those who look after everybody's subscriptions ask more often.
constexpr auto operator_rate_factor = std::uint32_t{10};

/// Answers 429 to whoever comes too often.
/// @returns whether it did.
bool is_too_often(const context& ctx, http::exchange& to,
                  const principal& who) {
  if (!ctx.rates)
    return false;
  const auto wait = ctx.rates->refuse(
    who.user_id, ctx.now(), who.role == role::user ? 1 : operator_rate_factor);
  if (!wait)
    return false;
  ctx.env->metrics->shed("user_rate");
  auto response = http::error_response(
    429, "rate_limited", "Too many requests, please try again a little later",
    to.in().id);
  const auto seconds = (wait->count() + 999) / 1000;
  response.headers.emplace_back("Retry-After", std::to_string(seconds));
  to.answer(std::move(response));
  return true;
}

/// Whether nothing is done after all.
bool is_rehearsal(const access_rule& rule, const http::request& in) {
  return rule.may_rehearse && in.query("dryRun") == "true";
}

void let_in(const context_ptr& ctx, const access_rule& rule,
            context_handler handler, exchange_ptr x) {
  const auto token = bearer_token(x->in());
  if (!token) {
    unauthorized(*x, "Expected the header Authorization: Bearer <token>");
    return;
  }
  const auto who = ctx->tokens->verify(*token, ctx->now());
  if (!who) {
    unauthorized(*x, who.error());
    return;
  }
  if (is_too_often(*ctx, *x, *who))
    return;
  ctx->remember(*who);
  if (!may(who->role, rule.needs)) {
    x->fail(403, "forbidden", refusal_of(rule.needs));
    return;
  }
  if (rule.act.empty() || is_rehearsal(rule, x->in()))
    handler(ctx, std::move(x), *who);
  else
    carry_out_audited(ctx, std::move(x), *who, rule, handler);
}

} // namespace

void add_route(http::router& to, const context_ptr& ctx, http::method verb,
               std::string_view pattern, std::string name,
               context_handler handler) {
  const auto& rule = access_rule_of(name);
  if (rule.needs == access::anyone)
    throw std::logic_error{"the route " + name + " is for anyone"};
  to.add(verb, pattern, std::move(name), [ctx, &rule, handler](exchange_ptr x) {
    let_in(ctx, rule, handler, std::move(x));
  });
}

// -- requests
// ---------------------------------------------------------------------

struct body_reader::impl {
  exchange_ptr from;
  simdjson::dom::parser parser;
  simdjson::dom::object root;
};

body_reader::~body_reader() = default;

body_reader::body_reader(const exchange_ptr& from)
  : impl_{std::make_unique<impl>()} {
  impl_->from = from;
  const auto& in = from->in();
  if (const auto type = in.headers.find("Content-Type")) {
    const auto essence = type->substr(0, type->find(';'));
    if (essence.find("application/json") == std::string_view::npos) {
      from->fail(415, "unsupported_media_type",
                 "Expected a body of type application/json");
      return;
    }
  }
  simdjson::dom::element root;
  if (impl_->parser.allocate(in.body.size(), depth_max) != simdjson::SUCCESS
      || impl_->parser.parse(in.body).get(root) != simdjson::SUCCESS) {
    from->fail(400, "malformed_json", "The body is not well-formed JSON");
    return;
  }
  if (root.get_object().get(impl_->root) != simdjson::SUCCESS) {
    from->fail(400, "malformed_json", "Expected a JSON object as the body");
    return;
  }
  ok_ = true;
}

void body_reader::fail(std::string_view message) {
  if (std::exchange(ok_, false))
    impl_->from->fail(400, "invalid_request", message);
}

std::string body_reader::text(std::string_view name, std::size_t bytes_max) {
  simdjson::dom::element value;
  if (!ok_ || impl_->root.at_key(name).get(value) != simdjson::SUCCESS
      || value.is_null())
    return {};
  std::string_view out;
  if (value.get_string().get(out) != simdjson::SUCCESS) {
    fail(std::string{name} + " must be a text");
    return {};
  }
  if (out.size() > bytes_max) {
    fail(std::string{name} + " must not be longer than "
         + std::to_string(bytes_max) + " bytes");
    return {};
  }
  for (unsigned char c : out)
    if (c < 0x20 || c == 0x7f) {
      fail(std::string{name} + " must not hold control characters");
      return {};
    }
  return std::string{out};
}

std::optional<bool> body_reader::boolean(std::string_view name) {
  simdjson::dom::element value;
  if (!ok_ || impl_->root.at_key(name).get(value) != simdjson::SUCCESS
      || value.is_null())
    return std::nullopt;
  auto out = false;
  if (value.get_bool().get(out) != simdjson::SUCCESS) {
    fail(std::string{name} + " must be true or false");
    return std::nullopt;
  }
  return out;
}

std::vector<std::pair<std::string, std::string>>
body_reader::raw_members(std::string_view name, std::size_t members_max,
                         std::size_t bytes_max) {
  auto out = std::vector<std::pair<std::string, std::string>>{};
  simdjson::dom::element value;
  if (!ok_ || impl_->root.at_key(name).get(value) != simdjson::SUCCESS
      || value.is_null())
    return out;
  simdjson::dom::object members;
  if (value.get_object().get(members) != simdjson::SUCCESS) {
    fail(std::string{name} + " must be an object");
    return out;
  }
  for (auto [key, member] : members) {
    auto text = std::string{simdjson::minify(member)};
    if (out.size() == members_max || text.size() > bytes_max) {
      fail(std::string{name} + " must not have more than "
           + std::to_string(members_max) + " members of "
           + std::to_string(bytes_max) + " bytes each");
      return {};
    }
    for (const auto& x : out)
      if (x.first == key) {
        fail(std::string{name} + " names a member twice");
        return {};
      }
    out.emplace_back(std::string{key}, std::move(text));
  }
  return out;
}

std::optional<std::string> read_reason(const exchange_ptr& from) {
  auto body = body_reader{from};
  auto out = body.text("reason", 500);
  if (!body)
    return std::nullopt;
  if (out.find_first_not_of(' ') == out.npos) {
    from->fail(400, "reason_required",
               "Expected a reason for the audit trail: {\"reason\":\"…\"}");
    return std::nullopt;
  }
  return out;
}

std::optional<page> read_page(http::exchange& from, std::size_t limit_max) {
  auto out = page{};
  if (const auto limit = from.in().query("limit")) {
    const auto [end, error] = std::from_chars(
      limit->data(), limit->data() + limit->size(), out.limit);
    if (error != std::errc{} || end != limit->data() + limit->size()
        || out.limit == 0 || out.limit > limit_max) {
      from.fail(400, "invalid_limit",
                "limit must be a number from 1 to "
                  + std::to_string(limit_max));
      return std::nullopt;
    }
  }
  out.cursor = from.in().query("cursor").value_or("");
  return out;
}

std::optional<std::int64_t> parse_row_id(std::string_view text) {
  auto out = std::int64_t{0};
  const auto* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, out);
  if (error != std::errc{} || stop != end || out <= 0)
    return std::nullopt;
  return out;
}

std::optional<std::int64_t>
read_number_cursor(http::exchange& from, const std::string& cursor) {
  if (cursor.empty())
    return 0;
  const auto out = parse_row_id(cursor);
  if (!out)
    from.fail(400, "invalid_cursor",
              "cursor must be what an earlier answer gave as nextCursor");
  return out;
}

// -- answers
// ------------------------------------------------------------------------

void succeed_with(http::exchange& to, json::object envelope, int status) {
  auto response = http::response{};
  response.status = status;
  response.body = json::serialize(envelope);
  to.answer(std::move(response));
}

void succeed(http::exchange& to, json::value data, int status) {
  succeed_with(to, {{"success", true}, {"data", std::move(data)}}, status);
}

void succeed_unless_known(http::exchange& to, json::value data) {
  auto response = http::response{};
  response.body = json::serialize(
    json::object{{"success", true}, {"data", std::move(data)}});
  auto tag = etag_of(response.body);
  if (is_known(to.in(), tag)) {
    response.status = 304;
    response.body.clear();
  }
  response.headers
    = {{"ETag", std::move(tag)}, {"Cache-Control", "private, no-cache"}};
  to.answer(std::move(response));
}

void succeed_page(http::exchange& to, json::array data,
                  const std::string& next_cursor) {
  succeed_with(
    to, {{"success", true},
         {"data", std::move(data)},
         {"nextCursor", next_cursor.empty() ? json::value(nullptr)
                                            : json::value(next_cursor)}});
}

http::router make_public_router(const context_ptr& ctx) {
  auto out = http::router{};
  add_description_routes(out, ctx->settings);
  add_plan_routes(out, ctx);
  add_subscription_routes(out, ctx);
  add_payment_routes(out, ctx);
  add_callback_routes(out, ctx);
  add_deployment_routes(out, ctx);
  add_event_routes(out, ctx);
  add_log_routes(out, ctx);
  add_webhook_routes(out, ctx);
  add_notification_routes(out, ctx);
  add_mail_routes(out, ctx);
  add_search_routes(out, ctx);
  add_operator_routes(out, ctx);
  add_actor_routes(out, ctx);
  add_automation_routes(out, ctx);
  add_audit_routes(out, ctx);
  add_credential_routes(out, ctx);
  add_inbox_routes(out, ctx);
  add_ops_page_routes(out);
  return out;
}

} // namespace slipway::api

#include "config/keys.hpp"

#include "config/text.hpp"

#include <openssl/crypto.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <limits>
#include <set>
#include <stdexcept>
#include <type_traits>

namespace slipway::config {

namespace {

namespace fs = std::filesystem;

// -- the table
// -----------------------------------------------------------------

constexpr auto ms = std::int64_t{1};
constexpr auto s = 1'000 * ms;
constexpr auto m = 60 * s;
constexpr auto h = 60 * m;
constexpr auto d = 24 * h;
constexpr auto kib = std::int64_t{1} << 10;
constexpr auto mib = kib << 10;

constexpr auto required = true;
constexpr auto optional = false;

#define AT(field)                                                              \
  [](settings& all, [[maybe_unused]] const std::string& plan) -> target {      \
    return &all.field;                                                         \
  }

constexpr key table[]{
  // -- [http]
  {"http", "listen",
   "Where the frontend, the gateways and the provider reach the server. Port 0 "
   "takes any free one.",
   kind::listen, 0, 0, "", optional, AT(http.listen)},
  {"http", "admin_listen",
   "Where /metrics, /healthz and /readyz are. Keep it away from the outside.",
   kind::listen, 0, 0, "", optional, AT(http.admin_listen)},
  {"http", "public_url",
   "How the outside reaches `listen`; base of the gateways' notify_url. Unset: "
   "built from `listen`, which only suits gateways on the same machine.",
   kind::base_url, 0, 0, "http https", optional, AT(http.public_url)},
  {"http", "tls_cert_file",
   "TLS on `listen`: the certificate and those between it and its root (PEM). "
   "Read again when the file changes. Unset: no TLS, for a proxy in front.",
   kind::existing_file, 0, 0, "", optional, AT(http.tls_cert_file)},
  {"http", "tls_key_file", "The private key of that certificate (PEM).",
   kind::existing_file, 0, 0, "", optional, AT(http.tls_key_file)},
  {"http", "admin_tls", "Whether `admin_listen` uses it as well.",
   kind::boolean, 0, 0, "", optional, AT(http.admin_tls)},
  {"http", "threads", "Threads that serve connections. 0: one per core.",
   kind::integer, 0, 256, "", optional, AT(http.threads)},
  {"http", "header_timeout",
   "A connection that has not sent its whole request head within this is "
   "closed.",
   kind::duration, 100 * ms, 10 * m, "", optional, AT(http.header_timeout)},
  {"http", "body_timeout", "The same for the body.", kind::duration, 100 * ms,
   10 * m, "", optional, AT(http.body_timeout)},
  {"http", "idle_timeout",
   "A kept-alive connection without a request is closed after this.",
   kind::duration, 100 * ms, 1 * h, "", optional, AT(http.idle_timeout)},
  {"http", "request_timeout",
   "A request that is not answered within this gets 503.", kind::duration,
   100 * ms, 10 * m, "", optional, AT(http.request_timeout)},
  {"http", "stop_timeout",
   "How long a stop waits for requests and calls under way.", kind::duration,
   100 * ms, 10 * m, "", optional, AT(http.stop_timeout)},
  // -- [database]
  {"database", "url",
   "The PostgreSQL server, or embedded:DIR for a private cluster in DIR. "
   "Unset: the variable DATABASE_URL.",
   kind::database_url, 0, 0, "", required, AT(database)},
  {"database", "journal_connections",
   "Connections that commit transitions, each with a batch of its own. 0: one "
   "for every two cores.",
   kind::integer, 0, 64, "", optional, AT(database.journal_connections)},
  {"database", "reader_connections",
   "Connections that serve reads. One more counts rows, for the metrics.",
   kind::integer, 1, 64, "", optional, AT(database.reader_connections)},
  {"database", "connect_timeout", "How long connecting may take.",
   kind::duration, 100 * ms, 5 * m, "", optional, AT(database.connect_timeout)},
  {"database", "lease",
   "A server that has not shown life in the database for this long is taken "
   "over by another one.",
   kind::duration, 1'000 * ms, 5 * m, "", optional, AT(database.lease)},
  {"database", "statement_timeout", "How long one statement may take.",
   kind::duration, 100 * ms, 10 * m, "", optional,
   AT(database.statement_timeout)},
  // -- [auth]
  {"auth", "hs256_secret_file",
   "The secret that users' tokens are signed with (HS256). 32 bytes or more "
   "are recommended.",
   kind::bytes_file, 16, 4'096, "", optional, AT(auth.hs256_secret)},
  {"auth", "jwks_file",
   "And/or the public keys that verify users' tokens (RS256, ES256, EdDSA).",
   kind::existing_file, 0, 0, "", optional, AT(auth.jwks_file)},
  {"auth", "issuer", "Where set, the `iss` that a token must carry.",
   kind::text, 1, 512, "", optional, AT(auth.issuer)},
  {"auth", "audience", "Where set, the `aud` that a token must carry.",
   kind::text, 1, 512, "", optional, AT(auth.audience)},
  // -- [secrets]
  {"secrets", "credential_keys",
   "The keys that protect channel credentials at rest, each id:file. The first "
   "one encrypts, all of them decrypt.",
   kind::credential_keys, 1, 32, "", required, AT(secrets.credential_keys)},
  // -- [plans.*]
  {"plans", "title", "What people read. Unset: the plan's name.", kind::text, 1,
   128, "", optional, AT(plans[plan].title)},
  {"plans", "amount", "What one period costs.", kind::amount, 1,
   amount_max_minor, "", required, AT(plans[plan].amount_minor)},
  {"plans", "currency", "In what currency, by its ISO 4217 code.",
   kind::currency, 0, 0, "", optional, AT(plans[plan].currency)},
  {"plans", "period_days", "How long a period is, in days.", kind::integer, 1,
   3'660, "", optional, AT(plans[plan].period_days)},
  {"plans", "priority", "Larger goes first when deployments queue up.",
   kind::integer, -1'000, 1'000, "", optional, AT(plans[plan].priority)},
  {"plans", "variables", "Handed to the instance as environment variables.",
   kind::variables, 0, 100, "", optional, AT(plans[plan].variables)},
  // -- [alipay]
  {"alipay", "app_id", "The app's id on the Alipay open platform.", kind::word,
   1, 64, "", required, AT(alipay->app_id)},
  {"alipay", "seller_id",
   "The merchant's user id (2088…). A callback that names another one is not "
   "believed.",
   kind::word, 1, 64, "", required, AT(alipay->seller_id)},
  {"alipay", "gateway_url", "Alipay's gateway.", kind::url, 0, 0, "http https",
   optional, AT(alipay->gateway_url)},
  {"alipay", "sign_type",
   "How messages are signed: RSA2 (SHA-256) or, for very old apps, RSA "
   "(SHA-1).",
   kind::choice, 0, 0, "RSA2 RSA", optional, AT(alipay->sign_type)},
  {"alipay", "return_url", "Where Alipay sends the payer's browser afterwards.",
   kind::url, 0, 0, "http https", optional, AT(alipay->return_url)},
  {"alipay", "app_private_key_file", "The app's private key.",
   kind::private_key_file, 0, 0, "bare", required, AT(alipay->app_private_key)},
  {"alipay", "alipay_public_key_file",
   "Alipay's public key (not the app's). Or the three certificates below.",
   kind::public_key_file, 0, 0, "", optional, AT(alipay->alipay_public_key)},
  {"alipay", "alipay_cert_file", "Certificate mode: Alipay's certificate.",
   kind::certificate_file, 0, 0, "", optional, AT(alipay->alipay_cert)},
  {"alipay", "app_cert_file", "Certificate mode: the app's certificate.",
   kind::certificate_file, 0, 0, "", optional, AT(alipay->app_cert)},
  {"alipay", "root_cert_file", "Certificate mode: Alipay's root certificates.",
   kind::certificate_file, 0, 0, "", optional, AT(alipay->root_cert)},
  // -- [wechat]
  {"wechat", "app_id", "The app id the merchant number is bound to (wx…).",
   kind::word, 1, 64, "", required, AT(wechat->app_id)},
  {"wechat", "mch_id", "The merchant number.", kind::word, 1, 64, "", required,
   AT(wechat->mch_id)},
  {"wechat", "gateway_url", "WeChat Pay's gateway.", kind::base_url, 0, 0,
   "http https", optional, AT(wechat->gateway_url)},
  {"wechat", "api_v2_key_file",
   "The APIv2 key, for callbacks in XML. This one, the next one or both.",
   kind::line_file, 32, 32, "", optional, AT(wechat->api_v2_key)},
  {"wechat", "v2_sign_type",
   "How v2 signs: HMAC-SHA256, or MD5 for old merchants. Never taken from a "
   "message.",
   kind::choice, 0, 0, "HMAC-SHA256 MD5", optional, AT(wechat->v2_sign_type)},
  {"wechat", "api_v3_key_file",
   "The APIv3 key. It needs the two keys below as well.", kind::line_file, 32,
   32, "", optional, AT(wechat->api_v3_key)},
  {"wechat", "merchant_serial",
   "Serial number of the merchant's API certificate.", kind::word, 1, 64, "",
   optional, AT(wechat->merchant_serial)},
  {"wechat", "merchant_private_key_file",
   "The private key of that certificate (apiclient_key.pem).",
   kind::private_key_file, 0, 0, "", optional,
   AT(wechat->merchant_private_key)},
  {"wechat", "platform_keys",
   "What WeChat Pay signs with, each serial:file, several at once: platform "
   "certificates by serial number, public keys by PUB_KEY_ID_…. Unset: the "
   "certificates are downloaded.",
   kind::platform_keys, 1, 32, "", optional, AT(wechat->platform_keys)},
  // -- [railway]
  {"railway", "endpoint", "Railway's GraphQL endpoint.", kind::url, 0, 0,
   "http https", optional, AT(railway->endpoint)},
  {"railway", "token_file", "A workspace token or account token of Railway.",
   kind::line_file, 1, 4'096, "", required, AT(railway->token)},
  {"railway", "workspace_id",
   "The workspace in which projects are created. Unset: the token's own.",
   kind::word, 1, 128, "", optional, AT(railway->workspace_id)},
  {"railway", "template_code",
   "What every instance is cloned from: a template by its code,", kind::word, 1,
   128, "", optional, AT(railway->template_code)},
  {"railway", "template_id", "or by its id,", kind::word, 1, 128, "", optional,
   AT(railway->template_id)},
  {"railway", "template_project_id",
   "or a project. Unset: the variable RAILWAY_TEMPLATE_PROJECT_ID.", kind::word,
   1, 128, "", optional, AT(railway->template_project_id)},
  {"railway", "template_service_id",
   "With template_project_id, its service. Unset: the variable "
   "RAILWAY_TEMPLATE_SERVICE_ID.",
   kind::word, 1, 128, "", optional, AT(railway->template_service_id)},
  {"railway", "webhook_secret_file",
   "The last part of the webhook's path, /api/railway/webhook/SECRET. Unset: "
   "no webhook, states are only polled.",
   kind::path_part_file, 1, 256, "", optional, AT(railway->webhook_secret)},
  {"railway", "register_webhook",
   "Whether Railway is told to post to our webhook, by a notification rule of "
   "the workspace. Needs http.public_url, workspace_id and "
   "webhook_secret_file.",
   kind::boolean, 0, 0, "", optional, AT(railway->register_webhook)},
  {"railway", "create_interval",
   "Time between two new projects. Railway refuses more than one per 30 s and "
   "token.",
   kind::duration, 0, 10 * m, "", optional, AT(railway->create_interval)},
  {"railway", "visibility_lag",
   "How long what was created may stay invisible: a creation whose answer was "
   "lost is looked for this long before it is made again.",
   kind::duration, 0, 10 * m, "", optional, AT(railway->visibility_lag)},
  {"railway", "requests_per_hour",
   "Railway's limit of requests per hour; depends on its plan.", kind::integer,
   1, 10'000'000, "", optional, AT(railway->requests_per_hour)},
  {"railway", "requests_per_second", "The most requests in one second.",
   kind::integer, 1, 10'000, "", optional, AT(railway->requests_per_second)},
  {"railway", "request_timeout", "How long one request may take.",
   kind::duration, 100 * ms, 10 * m, "", optional,
   AT(railway->request_timeout)},
  {"railway", "watch_interval",
   "Everything that runs is looked at once within this, if the budget allows.",
   kind::duration, 1 * s, 1 * d, "", optional, AT(railway->watch_interval)},
  {"railway", "sweep_interval",
   "How often new projects of our name are held against our rows, to find what "
   "a lost answer left behind.",
   kind::duration, 1 * s, 1 * d, "", optional, AT(railway->sweep_interval)},
  // -- [deployment]
  {"deployment", "max_concurrent",
   "Deployments at one time; the others queue up.", kind::integer, 1, 1'000, "",
   optional, AT(deployment.max_concurrent)},
  {"deployment", "attempts",
   "Attempts before a deployment has failed for good.", kind::integer, 1, 20,
   "", optional, AT(deployment.attempts)},
  {"deployment", "backoff_initial",
   "Pause after the first failed attempt; it doubles with each further one.",
   kind::duration, 1 * ms, 1 * h, "", optional, AT(deployment.backoff_initial)},
  {"deployment", "backoff_max", "The longest pause between two attempts.",
   kind::duration, 1 * ms, 1 * d, "", optional, AT(deployment.backoff_max)},
  {"deployment", "deadline", "Of one attempt.", kind::duration, 1 * s, 1 * d,
   "", optional, AT(deployment.deadline)},
  {"deployment", "priority_head_start",
   "In the queue, each step of a plan's priority counts as if it had been paid "
   "for so much earlier.",
   kind::duration, 0, 1 * d, "", optional, AT(deployment.priority_head_start)},
  {"deployment", "poll_interval",
   "How often a deployment under way is looked at.", kind::duration, 100 * ms,
   10 * m, "", optional, AT(deployment.poll_interval)},
  // -- [payment]
  {"payment", "order_ttl", "How long an order can be paid.", kind::duration,
   1 * s, 15 * d, "", optional, AT(payment.order_ttl)},
  {"payment", "late_payment",
   "What happens to money that arrives for a closed order.", kind::choice, 0, 0,
   "revive refund", optional, AT(payment.late_payment)},
  {"payment", "refund_failed_after",
   "Refund without being asked when a deployment failed for good this long "
   "ago, such as \"72h\". Unset: never.",
   kind::duration, 1 * s, 365 * d, "", optional,
   AT(payment.refund_failed_after)},
  {"payment", "ask_interval",
   "The longest pause between two looks at the gateway about an unpaid order: "
   "so late does a payment count whose callback is lost.",
   kind::duration, 1 * s, 10 * m, "", optional, AT(payment.ask_interval)},
  {"payment", "asks_per_second",
   "Orders that a gateway is asked about in a second, at most.", kind::integer,
   1, 1'000, "", optional, AT(payment.asks_per_second)},
  // -- [retention]
  {"retention", "callbacks",
   "Messages of the gateways leave when they are older than this, and nothing "
   "depends on them any more. A gateway that repeats one after that finds its "
   "order paid all the same. \"0\" keeps them for ever.",
   kind::duration, 90 * d, 3'650 * d, "0", optional, AT(retention.callbacks)},
  {"retention", "history",
   "The same for the history of subscriptions that are over. Of those that "
   "live "
   "only what repeats itself leaves.",
   kind::duration, 30 * d, 3'650 * d, "0", optional, AT(retention.history)},
  {"retention", "notifications", "The same for in-app notifications.",
   kind::duration, 1 * d, 3'650 * d, "0", optional,
   AT(retention.notifications)},
  {"retention", "mails", "The same for mails that were sent.", kind::duration,
   1 * d, 3'650 * d, "0", optional, AT(retention.mails)},
  // -- [mail]
  {"mail", "url",
   "The mail server: smtp://host:port (STARTTLS where the server offers it) or "
   "smtps://host:port.",
   kind::mail_url, 0, 0, "smtp smtps", required, AT(mail->url)},
  {"mail", "from", "The sender.", kind::mailbox, 0, 0, "", required,
   AT(mail->from)},
  {"mail", "username", "Where set, what to log in with.", kind::text, 1, 256,
   "", optional, AT(mail->username)},
  {"mail", "password_file", "The password that belongs to it.", kind::line_file,
   1, 4'096, "", optional, AT(mail->password)},
  {"mail", "require_tls",
   "Send nothing over a connection that is not encrypted.", kind::boolean, 0, 0,
   "", optional, AT(mail->require_tls)},
  {"mail", "timeout", "How long sending one message may take.", kind::duration,
   100 * ms, 10 * m, "", optional, AT(mail->timeout)},
  {"mail", "templates_dir",
   "A directory with templates of one's own, by the names of the built-in "
   "ones. "
   "Unset: only those.",
   kind::existing_dir, 0, 0, "", optional, AT(mail->templates_dir)},
  {"mail", "unsubscribe_url",
   "Where a person turns mails off, for List-Unsubscribe; {user} stands for "
   "the "
   "user's id. Unset: no such header.",
   kind::text, 1, 2'048, "", optional, AT(mail->unsubscribe_url)},
  // -- [limits]
  {"limits", "max_in_flight",
   "Requests being worked on; beyond it 503 with Retry-After. The last eighth "
   "is for callbacks alone.",
   kind::integer, 1, 1'000'000, "", optional, AT(limits.max_in_flight)},
  {"limits", "max_body", "The largest request body; beyond it 413.", kind::size,
   1 * kib, 64 * mib, "", optional, AT(limits.max_body_bytes)},
  {"limits", "max_header", "The largest request head; beyond it 431.",
   kind::size, 1 * kib, 1 * mib, "", optional, AT(limits.max_header_bytes)},
  {"limits", "max_connections",
   "Open connections; beyond it new ones have to wait.", kind::integer, 1,
   1'000'000, "", optional, AT(limits.max_connections)},
  {"limits", "max_watchers",
   "Browsers that watch a deployment live; beyond it 503. An eighth of "
   "max_connections is never theirs.",
   kind::integer, 1, 1'000'000, "", optional, AT(limits.max_watchers)},
  {"limits", "max_watchers_per_user", "Those of one user; beyond it 503.",
   kind::integer, 1, 1'000'000, "", optional, AT(limits.max_watchers_per_user)},
  {"limits", "user_requests_per_second",
   "Requests of one user in a second, over time; beyond it 429 with "
   "Retry-After. 0: no such limit.",
   kind::integer, 0, 1'000'000, "", optional,
   AT(limits.user_requests_per_second)},
  {"limits", "user_request_burst", "How many of them may come at once.",
   kind::integer, 1, 1'000'000, "", optional, AT(limits.user_request_burst)},
  {"limits", "max_resident",
   "Subscriptions in memory; beyond it whoever needs another one gets 503.",
   kind::integer, 100, 100'000'000, "", optional, AT(limits.max_resident)},
  {"limits", "max_journal_queue",
   "Changes on their way to the database; beyond it requests that change "
   "something get 503, and what can wait waits from half of it on.",
   kind::integer, 16, 1'000'000, "", optional, AT(limits.max_journal_queue)},
  // -- [log]
  {"log", "level", "The least important lines to write.", kind::choice, 0, 0,
   "trace debug info warn error", optional, AT(log.level)},
  {"log", "format", "Lines for people, or one JSON object per line.",
   kind::choice, 0, 0, "text json", optional, AT(log.format)},
  // -- [traces]
  {"traces", "endpoint",
   "Where spans go: OTLP over HTTP, such as http://127.0.0.1:4318/v1/traces.",
   kind::url, 0, 0, "http https", required, AT(traces->endpoint)},
  {"traces", "service_name", "The name under which they show.", kind::text, 1,
   128, "", optional, AT(traces->service_name)},
  {"traces", "sample_per_mille",
   "Of 1000 requests without a traceparent, so many are traced; those with one "
   "say it themselves.",
   kind::integer, 0, 1'000, "", optional, AT(traces->sample_per_mille)},
  {"traces", "timeout", "How long one export may take.", kind::duration,
   100 * ms, 1 * m, "", optional, AT(traces->timeout)},
};

#undef AT

// -- putting values into fields
// ------------------------------------------------

[[noreturn]] void bad_table(const key& which) {
  throw std::logic_error("the field of " + std::string{which.section} + '.'
                         + std::string{which.name} + " does not suit its kind");
}

void put_text(const key& which, target to, std::string text) {
  if (auto** plain = std::get_if<std::string*>(&to))
    **plain = std::move(text);
  else if (auto** hidden = std::get_if<secret*>(&to))
    **hidden = secret{std::move(text)};
  else
    bad_table(which);
}

template <class Field>
Field& field(const key& which, target to) {
  if (auto** at = std::get_if<Field*>(&to))
    return **at;
  bad_table(which);
}

void put_integer(const key& which, target to, std::int64_t number) {
  std::visit(
    [&](auto* at) {
      using field_type = std::remove_pointer_t<decltype(at)>;
      if constexpr (std::is_integral_v<
                      field_type> && !std::is_same_v<field_type, bool>)
        *at = static_cast<field_type>(number);
      else
        bad_table(which);
    },
    to);
}

// -- wording
// -------------------------------------------------------------------

std::string in_quotes(std::string_view text) {
  return '"' + one_line(text, 120) + '"';
}

std::string quoted_path(const fs::path& path) {
  return '"' + one_line(path.string(), 4'096) + '"';
}

/// Puts text between quotation marks the way TOML wants it.
std::string toml_text(std::string_view text) {
  auto result = std::string{'"'};
  for (auto c : text) {
    if (c == '"' || c == '\\')
      result += '\\';
    result += c;
  }
  return result + '"';
}

std::string alternatives(std::string_view words) {
  auto result = std::string{};
  const auto all = split(words, ' ');
  for (auto i = std::size_t{0}; i < all.size(); ++i) {
    if (i > 0)
      result += i + 1 == all.size() ? " or " : ", ";
    result += toml_text(all[i]);
  }
  return result;
}

std::string schemes(std::string_view words) {
  auto result = std::string{};
  for (const auto& word : split(words, ' '))
    result += (result.empty() ? "" : " or ") + word + "://";
  return result;
}

std::string bytes_between(const key& which) {
  if (which.low == which.high)
    return std::to_string(which.low) + " bytes";
  return std::to_string(which.low) + " to " + std::to_string(which.high)
         + " bytes";
}

/// What the content of a file has to be.
std::string content_expectation(const key& which) {
  switch (which.is) {
    case kind::line_file:
      return "one line of " + bytes_between(which);
    case kind::path_part_file:
      return "one line of " + bytes_between(which)
             + " out of letters, digits and - . _ ~";
    case kind::bytes_file:
      return bytes_between(which);
    case kind::private_key_file:
      return which.words == "bare"
               ? "an unencrypted private key (PEM or bare base64)"
               : "an unencrypted private key (PEM)";
    case kind::public_key_file:
      return "a public key (PEM or bare base64)";
    case kind::certificate_file:
      return "a certificate (PEM)";
    default:
      bad_table(which);
  }
}

/// Something that stands where a path belongs and looks as if it were the
/// secret itself.
bool looks_like_secret(std::string_view path) {
  if (has_control(path) || path.find("-----BEGIN") != std::string_view::npos
      || path.find("://") != std::string_view::npos)
    return true;
  if (const auto bytes = parse_base64(path); bytes && bytes->size() == 32)
    return true;
  const auto digit = [](char c) {
    return c >= '0' && c <= '9';
  };
  return path.size() >= 32 && path.find_first_of("/.") == std::string_view::npos
         && std::any_of(path.begin(), path.end(), digit);
}

// -- files
// ---------------------------------------------------------------------

constexpr auto secret_file_max = std::size_t{256} * 1024;

fs::path resolve(const fs::path& base, const std::string& path) {
  return (base / fs::path{path}).lexically_normal();
}

std::optional<std::string>
read_named_file(const fs::path& base, const std::string& path,
                std::string& problem) {
  if (looks_like_secret(path)) {
    const auto full = resolve(base, path);
    auto error = std::error_code{};
    if (!fs::exists(full, error)) {
      problem = "something that names no file and looks like the secret "
                "itself (not shown)";
      return std::nullopt;
    }
  }
  return read_file(resolve(base, path), secret_file_max, problem);
}

/// Cuts line ends off, but leaves bytes alone that are not text anyway.
std::string trim_line_end(std::string content) {
  const auto end = content.find_last_not_of("\r\n");
  const auto text = end == std::string::npos ? 0 : end + 1;
  if (!has_control(std::string_view{content}.substr(0, text)))
    content.resize(text);
  return content;
}

bool has_pem_block(std::string_view content, std::string_view label) {
  const auto begin = "-----BEGIN " + std::string{label} + "-----";
  const auto end = "-----END " + std::string{label} + "-----";
  const auto at = content.find(begin);
  return at != std::string_view::npos
         && content.find(end, at) != std::string_view::npos;
}

bool is_pem_private_key(std::string_view content) {
  return (has_pem_block(content, "PRIVATE KEY")
          || has_pem_block(content, "RSA PRIVATE KEY"))
         && content.find(",ENCRYPTED") == std::string_view::npos;
}

bool is_pem_public_key(std::string_view content) {
  return has_pem_block(content, "PUBLIC KEY")
         || has_pem_block(content, "RSA PUBLIC KEY");
}

/// Keys as the gateways' tools write them: base64 without any frame.
bool is_bare_key(std::string content) {
  const auto blank = [](char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
  };
  content.erase(std::remove_if(content.begin(), content.end(), blank),
                content.end());
  // Both kinds of key are an ASN.1 sequence.
  const auto bytes = parse_base64(content);
  return bytes && bytes->size() >= 64 && bytes->front() == '\x30';
}

/// Turns every `\n` of two characters into a line end.
std::string with_line_ends(std::string_view text) {
  auto result = std::string{};
  for (;;) {
    const auto at = std::min(text.find("\\n"), text.size());
    result.append(text.substr(0, at));
    if (at == text.size())
      return result;
    result += '\n';
    text.remove_prefix(at + 2);
  }
}

/// Says what is wrong with the content of a file, if anything.
/// @param content Line ends are cut off, where this is text.
std::optional<std::string>
content_problem(const key& which, std::string& content) {
  const auto in_bounds = [&] {
    const auto size = static_cast<std::int64_t>(content.size());
    return size >= which.low && size <= which.high;
  };
  const auto size_problem = [&]() -> std::optional<std::string> {
    if (content.empty())
      return "nothing in it";
    if (!in_bounds())
      return std::to_string(content.size()) + " bytes";
    return std::nullopt;
  };
  switch (which.is) {
    case kind::line_file:
      content = trim_line_end(std::move(content));
      if (has_control(content))
        return "control characters or several lines";
      return size_problem();
    case kind::path_part_file:
      content = trim_line_end(std::move(content));
      if (content.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmno"
                                    "pqrstuvwxyz0123456789-._~")
          != std::string::npos)
        return "other characters";
      return size_problem();
    case kind::bytes_file:
      content = trim_line_end(std::move(content));
      return size_problem();
    case kind::private_key_file:
      if (is_pem_private_key(content)
          || (which.words == "bare" && is_bare_key(content)))
        return std::nullopt;
      if (content.find("ENCRYPTED") != std::string::npos)
        return "an encrypted one";
      if (is_pem_public_key(content))
        return "a public key";
      return "something else";
    case kind::public_key_file:
      if (is_pem_public_key(content) || is_bare_key(content))
        return std::nullopt;
      if (is_pem_private_key(content))
        return "a private key";
      if (has_pem_block(content, "CERTIFICATE"))
        return "a certificate";
      return "something else";
    case kind::certificate_file:
      if (has_pem_block(content, "CERTIFICATE"))
        return std::nullopt;
      return "something else";
    default:
      bad_table(which);
  }
}

// -- lists of files
// ------------------------------------------------------------

struct named_file {
  std::string name;
  std::string path;
};

std::optional<named_file> parse_named_file(const std::string& entry) {
  const auto colon = entry.find(':');
  if (colon == std::string::npos || colon == 0 || colon + 1 == entry.size())
    return std::nullopt;
  auto result = named_file{entry.substr(0, colon), entry.substr(colon + 1)};
  const auto odd = [](char c) {
    const auto letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    return !letter && !(c >= '0' && c <= '9') && c != '-' && c != '_'
           && c != '.';
  };
  if (result.name.size() > 64
      || std::any_of(result.name.begin(), result.name.end(), odd))
    return std::nullopt;
  return result;
}

std::string entry_number(std::size_t index) {
  return "entry " + std::to_string(index + 1);
}

/// Takes 32 raw bytes or their base64, each with or without a line end.
std::optional<credential_key>
make_credential_key(const std::string& id, std::string content) {
  auto result = credential_key{id, {}};
  if (content.size() == result.bytes.size() + 1 && content.back() == '\n')
    content.pop_back();
  if (content.size() != result.bytes.size()) {
    auto decoded = parse_base64(trim_line_end(std::move(content)));
    if (!decoded || decoded->size() != result.bytes.size())
      return std::nullopt;
    content = std::move(*decoded);
  }
  std::copy(content.begin(), content.end(), result.bytes.begin());
  OPENSSL_cleanse(content.data(), content.size());
  return result;
}

std::optional<platform_key>
make_platform_key(const std::string& serial, std::string content) {
  if (!has_pem_block(content, "CERTIFICATE") && !is_pem_public_key(content))
    return std::nullopt;
  return platform_key{serial, std::move(content)};
}

/// Reads a list of `name:file` with unique names.
template <class Entry, class Make>
std::vector<fault>
store_files(const key& which, const std::vector<std::string>& entries,
            const fs::path& base, std::vector<Entry>& to,
            const std::string& content_words, Make make) {
  auto faults = std::vector<fault>{};
  const auto count = static_cast<std::int64_t>(entries.size());
  if (count < which.low || count > which.high) {
    faults.push_back({expectation(which), std::to_string(count) + " entries"});
    return faults;
  }
  auto result = std::vector<Entry>{};
  auto names = std::set<std::string>{};
  for (auto i = std::size_t{0}; i < entries.size(); ++i) {
    const auto parts = parse_named_file(entries[i]);
    if (!parts) {
      faults.push_back(
        {expectation(which), entry_number(i) + " of another form (not shown)"});
      continue;
    }
    if (!names.insert(parts->name).second) {
      faults.push_back(
        {"every name before the colon just once",
         entry_number(i) + " with " + in_quotes(parts->name) + " again"});
      continue;
    }
    auto problem = std::string{};
    auto content = read_named_file(base, parts->path, problem);
    if (!content) {
      faults.push_back({expectation(which), problem});
      continue;
    }
    auto made = make(parts->name, std::move(*content));
    if (!made) {
      faults.push_back(
        {content_words + " in the file of " + in_quotes(parts->name),
         "something else in " + quoted_path(resolve(base, parts->path))});
      continue;
    }
    result.push_back(std::move(*made));
  }
  if (faults.empty())
    to = std::move(result);
  return faults;
}

// -- texts
// ---------------------------------------------------------------------

/// The value in quotation marks, unless that could tell a secret.
std::string shown(const key& which, const std::string& text) {
  if (is_confidential(which) || text.find("-----BEGIN") != std::string::npos)
    return "another text (not shown)";
  const auto address = which.is == kind::url || which.is == kind::base_url
                       || which.is == kind::mail_url;
  if (address && text.find_first_of("@?") != std::string::npos)
    return "another text (not shown)";
  return in_quotes(text);
}

bool is_database_url(std::string_view text) {
  const auto mark = text.find("://");
  if (mark == std::string_view::npos
      || (text.substr(0, mark) != "postgresql"
          && text.substr(0, mark) != "postgres")
      || mark + 3 == text.size() || has_control(text)
      || text.find(' ') != std::string_view::npos)
    return false;
  auto rest = text.substr(mark + 3);
  rest = rest.substr(0, rest.find_first_of("/?"));
  if (const auto at = rest.rfind('@'); at != std::string_view::npos)
    rest = rest.substr(at + 1);
  // Several hosts are separated by commas; each may carry a port.
  for (const auto& host : split(rest, ',')) {
    const auto close = std::min(host.rfind(']'), host.size());
    const auto colon = host.find(':', close == host.size() ? 0 : close);
    if (colon == std::string::npos)
      continue;
    const auto port = parse_integer(host.substr(colon + 1));
    if (!port || *port < 1 || *port > std::numeric_limits<std::uint16_t>::max())
      return false;
  }
  return true;
}

bool store_database_url(const key& which, std::string text,
                        const fs::path& base, target to) {
  constexpr auto prefix = std::string_view{"embedded:"};
  auto& database = field<database_settings>(which, to);
  if (text.compare(0, prefix.size(), prefix) == 0) {
    if (text.size() == prefix.size() || has_control(text))
      return false;
    auto dir = resolve(base, text.substr(prefix.size()));
    // `./data/` and `./data` are the same place.
    if (!dir.has_filename())
      dir = dir.parent_path();
    database.embedded_dir = dir.string();
    database.url = secret{std::string{prefix} + database.embedded_dir};
    return true;
  }
  if (!is_database_url(text))
    return false;
  database.embedded_dir.clear();
  database.url = secret{std::move(text)};
  return true;
}

bool store_url(const key& which, std::string text, target to) {
  const auto parts = parse_url(text);
  const auto known = split(which.words, ' ');
  if (!parts || parts->has_user_info || parts->has_fragment
      || std::find(known.begin(), known.end(), parts->scheme) == known.end())
    return false;
  if (which.is == kind::mail_url
      && (!(parts->path.empty() || parts->path == "/")
          || !parts->query.empty()))
    return false;
  if (which.is == kind::base_url && text.find('?') != std::string::npos)
    return false;
  if (which.is != kind::url)
    while (text.back() == '/')
      text.pop_back();
  put_text(which, to, std::move(text));
  return true;
}

bool store_choice(const key& which, const std::string& text, target to) {
  const auto words = split(which.words, ' ');
  const auto at = std::find(words.begin(), words.end(), text);
  if (at == words.end())
    return false;
  if (auto** policy = std::get_if<late_payment_policy*>(&to))
    **policy = at == words.begin() ? late_payment_policy::revive
                                   : late_payment_policy::refund;
  else
    put_text(which, to, text);
  return true;
}

bool store_duration(const key& which, const std::string& text, target to) {
  if (auto** optional_field = std::get_if<std::optional<millis>*>(&to);
      optional_field != nullptr && which.words == "0" && text == "0") {
    (*optional_field)->reset();
    return true;
  }
  const auto length = parse_duration(text);
  if (!length || length->count() < which.low || length->count() > which.high)
    return false;
  if (auto** optional_field = std::get_if<std::optional<millis>*>(&to))
    **optional_field = *length;
  else
    field<millis>(which, to) = *length;
  return true;
}

bool store_number(const key& which, std::optional<std::int64_t> number,
                  target to) {
  if (!number || *number < which.low || *number > which.high)
    return false;
  put_integer(which, to, *number);
  return true;
}

bool store_plain(const key& which, const std::string& text, target to) {
  const auto size = static_cast<std::int64_t>(text.size());
  const auto graphic = [](char c) {
    return c > ' ' && c < 0x7f;
  };
  if (size < which.low || size > which.high || has_control(text)
      || (which.is == kind::word
          && !std::all_of(text.begin(), text.end(), graphic)))
    return false;
  put_text(which, to, text);
  return true;
}

/// Everything that is one text and no file.
bool store_text(const key& which, const std::string& text, const fs::path& base,
                target to) {
  switch (which.is) {
    case kind::text:
    case kind::word:
      return store_plain(which, text, to);
    case kind::url:
    case kind::base_url:
    case kind::mail_url:
      return store_url(which, text, to);
    case kind::database_url:
      return store_database_url(which, text, base, to);
    case kind::mailbox:
      if (!is_mailbox(text))
        return false;
      put_text(which, to, text);
      return true;
    case kind::listen: {
      const auto at = parse_endpoint(text);
      if (at)
        field<endpoint>(which, to) = *at;
      return at.has_value();
    }
    case kind::choice:
      return store_choice(which, text, to);
    case kind::currency:
      if (text.size() != 3
          || !std::all_of(text.begin(), text.end(), [](char c) {
               return c >= 'A' && c <= 'Z';
             }))
        return false;
      put_text(which, to, text);
      return true;
    case kind::amount:
      return store_number(which, parse_amount(text), to);
    case kind::duration:
      return store_duration(which, text, to);
    case kind::size:
      return store_number(which, parse_size(text), to);
    default:
      bad_table(which);
  }
}

std::vector<fault> store_directory(const key& which, const std::string& path,
                                   const fs::path& base, target to) {
  const auto full = resolve(base, path);
  auto problem = std::error_code{};
  if (!fs::is_directory(full, problem))
    return {{expectation(which), "no directory at " + quoted_path(full)}};
  put_text(which, to, full.string());
  return {};
}

std::vector<fault> store_file(const key& which, const std::string& path,
                              const fs::path& base, target to) {
  auto problem = std::string{};
  auto content = read_named_file(base, path, problem);
  if (!content)
    return {{expectation(which), problem}};
  const auto full = resolve(base, path).string();
  if (which.is == kind::existing_file) {
    put_text(which, to, full);
    return {};
  }
  if (const auto wrong = content_problem(which, *content))
    return {{content_expectation(which) + " in the file",
             *wrong + " in " + quoted_path(full)}};
  put_text(which, to, std::move(*content));
  return {};
}

bool is_variable_name(std::string_view name) {
  const auto odd = [](char c) {
    const auto letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    return !letter && !(c >= '0' && c <= '9') && c != '_';
  };
  return !name.empty() && name.size() <= 128
         && !(name.front() >= '0' && name.front() <= '9')
         && std::none_of(name.begin(), name.end(), odd);
}

std::vector<fault>
store_variables(const key& which,
                const std::map<std::string, std::string>& variables,
                target to) {
  auto faults = std::vector<fault>{};
  if (static_cast<std::int64_t>(variables.size()) > which.high)
    faults.push_back(
      {expectation(which), std::to_string(variables.size()) + " of them"});
  for (const auto& [name, value] : variables) {
    if (!is_variable_name(name))
      faults.push_back(
        {"variable names of letters, digits and _", in_quotes(name)});
    if (value.find('\0') != std::string::npos || value.size() > 32 * kib)
      faults.push_back({"variables of at most 32KiB without NUL",
                        "another value (not shown) for " + in_quotes(name)});
  }
  if (faults.empty())
    field<std::map<std::string, std::string>>(which, to) = variables;
  return faults;
}

} // namespace

// -- the table, seen from outside
// ----------------------------------------------

std::span<const key> keys() {
  return table;
}

const std::vector<std::string>& sections() {
  static const auto result = [] {
    auto names = std::vector<std::string>{};
    for (const auto& each : table)
      if (names.empty() || names.back() != each.section)
        names.emplace_back(each.section);
    return names;
  }();
  return result;
}

const key* find_key(std::string_view section, std::string_view name) {
  for (const auto& each : table)
    if (each.section == section && each.name == name)
      return &each;
  return nullptr;
}

std::string upper_case(std::string_view text) {
  auto result = std::string{text};
  std::transform(result.begin(), result.end(), result.begin(), [](char c) {
    return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  });
  return result;
}

std::string expectation(const key& which) {
  switch (which.is) {
    case kind::text:
      return "one line of text, at most " + std::to_string(which.high)
             + " bytes";
    case kind::word:
      return "at most " + std::to_string(which.high)
             + " ASCII characters without blanks";
    case kind::url:
      return "a URL with " + schemes(which.words)
             + " and a host, without a user or #";
    case kind::base_url:
      return "a URL with " + schemes(which.words)
             + " and a host, without a user, ? or #";
    case kind::mail_url:
      return "a URL with " + schemes(which.words)
             + ", a host, perhaps a port, and nothing else";
    case kind::database_url:
      return "postgresql://USER:PASSWORD@HOST:PORT/NAME or embedded:DIR";
    case kind::mailbox:
      return "an address such as \"Slipway <no-reply@example.com>\"";
    case kind::listen:
      return "host:port such as \"127.0.0.1:8080\", an IPv6 address in "
             "brackets";
    case kind::choice:
      return alternatives(which.words);
    case kind::currency:
      return "three upper-case letters such as \"CNY\"";
    case kind::amount:
      return "a decimal amount as text, from \"" + format_amount(which.low)
             + "\" to \"" + format_amount(which.high) + "\", such as \"99.00\"";
    case kind::duration:
      return "a duration as text (units ms s m h d) from \""
             + format_duration(millis{which.low}) + "\" to \""
             + format_duration(millis{which.high}) + "\", such as \""
             + (which.low >= d ? format_duration(millis{which.low}) : "30s")
             + (which.words == "0" ? "\", or \"0\" for no limit" : "\"");
    case kind::size:
      return "a size as text (units B KiB MiB GiB) from \""
             + format_size(which.low) + "\" to \"" + format_size(which.high)
             + "\", such as \"256KiB\"";
    case kind::integer:
      return "an integer from " + std::to_string(which.low) + " to "
             + std::to_string(which.high);
    case kind::boolean:
      return "true or false";
    case kind::line_file:
    case kind::path_part_file:
    case kind::bytes_file:
    case kind::private_key_file:
    case kind::public_key_file:
    case kind::certificate_file:
      return "the path of a readable file with " + content_expectation(which);
    case kind::existing_file:
      return "the path of a readable file";
    case kind::existing_dir:
      return "the path of a directory";
    case kind::credential_keys:
      return "a list of 1 to " + std::to_string(which.high)
             + " \"id:file\", each file with 32 random bytes (raw or base64)";
    case kind::platform_keys:
      return "a list of 1 to " + std::to_string(which.high)
             + " \"serial:file\", each file with a certificate or public key "
               "(PEM)";
    case kind::variables:
      return "a table of at most " + std::to_string(which.high)
             + " texts such as { TIER = \"pro\" }";
  }
  bad_table(which);
}

bool is_confidential(const key& which) {
  switch (which.is) {
    case kind::database_url:
    case kind::credential_keys:
    case kind::variables:
      return true;
    default:
      // What stands there may be the secret instead of its path.
      return names_content(which);
  }
}

bool names_content(const key& which) {
  switch (which.is) {
    case kind::line_file:
    case kind::path_part_file:
    case kind::bytes_file:
    case kind::private_key_file:
    case kind::public_key_file:
    case kind::certificate_file:
      return true;
    default:
      return false;
  }
}

std::string format_value(const key& which, target from) {
  struct printer {
    const key& which;

    std::string operator()(const std::string* at) const {
      return names_content(which) ? std::string{} : toml_text(*at);
    }
    std::string operator()(const secret*) const {
      return {};
    }
    std::string operator()(const endpoint* at) const {
      return toml_text(format_endpoint(*at));
    }
    std::string operator()(const database_settings*) const {
      return {};
    }
    std::string operator()(const late_payment_policy* at) const {
      return *at == late_payment_policy::revive ? "\"revive\"" : "\"refund\"";
    }
    std::string operator()(const millis* at) const {
      return toml_text(format_duration(*at));
    }
    std::string operator()(const std::optional<millis>* at) const {
      return toml_text(*at ? format_duration(**at) : std::string{});
    }
    std::string operator()(const bool* at) const {
      return *at ? "true" : "false";
    }
    std::string operator()(const minor_units* at) const {
      return toml_text(format_amount(*at));
    }
    std::string operator()(const std::size_t* at) const {
      return number(static_cast<std::int64_t>(*at));
    }
    std::string operator()(const std::uint32_t* at) const {
      return number(*at);
    }
    std::string operator()(const std::int32_t* at) const {
      return number(*at);
    }
    std::string operator()(const std::vector<credential_key>*) const {
      return {};
    }
    std::string operator()(const std::vector<platform_key>*) const {
      return {};
    }
    std::string operator()(const std::map<std::string, std::string>*) const {
      return {};
    }
    [[nodiscard]] std::string number(std::int64_t value) const {
      return which.is == kind::size ? toml_text(format_size(value))
                                    : std::to_string(value);
    }
  };
  return std::visit(printer{which}, from);
}

std::vector<key_info> known_keys() {
  auto initial = settings{};
  initial.alipay.emplace();
  initial.wechat.emplace();
  initial.railway.emplace();
  initial.mail.emplace();
  initial.traces.emplace();
  auto result = std::vector<key_info>{};
  for (const auto& each : table) {
    const auto plan = each.section == "plans";
    auto info = key_info{};
    info.section = plan ? "plans.*" : std::string{each.section};
    info.name = each.name;
    info.sentence = each.sentence;
    info.expected = expectation(each);
    if (!each.required)
      info.initial = format_value(each, each.at(initial, "*"));
    if (info.initial == "\"\"")
      info.initial.clear();
    info.environment = "SLIPWAY_" + upper_case(each.section)
                       + (plan ? "_*_" : "_") + upper_case(each.name);
    info.required = each.required;
    result.push_back(std::move(info));
  }
  return result;
}

// -- reading
// -------------------------------------------------------------------

std::optional<std::string>
read_file(const fs::path& path, std::size_t size_max, std::string& problem) {
  const auto name = quoted_path(path);
  auto error = std::error_code{};
  const auto status = fs::status(path, error);
  if (status.type() == fs::file_type::not_found) {
    problem = name + ", which does not exist";
    return std::nullopt;
  }
  if (error) {
    problem = name + ", which cannot be read: " + error.message();
    return std::nullopt;
  }
  // A pipe could keep us waiting for ever.
  if (status.type() != fs::file_type::regular) {
    problem = name + ", which is not a regular file";
    return std::nullopt;
  }
  errno = 0;
  auto in = std::ifstream{path, std::ios::binary};
  if (!in) {
    problem = name + ", which cannot be read: "
              + (errno != 0 ? std::strerror(errno) : "opening it failed");
    return std::nullopt;
  }
  // One byte more than allowed tells too large from just right.
  auto content = std::string(size_max + 1, '\0');
  in.read(content.data(), static_cast<std::streamsize>(content.size()));
  if (in.bad()) {
    problem = name + ", which cannot be read to its end";
    return std::nullopt;
  }
  content.resize(static_cast<std::size_t>(in.gcount()));
  if (content.empty()) {
    problem = name + ", which is empty";
    return std::nullopt;
  }
  if (content.size() > size_max) {
    problem = name + ", which is larger than "
              + format_size(static_cast<std::int64_t>(size_max));
    return std::nullopt;
  }
  return content;
}

std::vector<fault> store(const key& which, const raw_value& value,
                         const fs::path& base, target to) {
  switch (which.is) {
    case kind::integer: {
      const auto number = std::get<std::int64_t>(value);
      if (store_number(which, number, to))
        return {};
      return {{expectation(which), std::to_string(number)}};
    }
    case kind::boolean:
      field<bool>(which, to) = std::get<bool>(value);
      return {};
    case kind::credential_keys:
      return store_files(which, std::get<std::vector<std::string>>(value), base,
                         field<std::vector<credential_key>>(which, to),
                         "32 random bytes (raw or base64)",
                         make_credential_key);
    case kind::platform_keys:
      return store_files(which, std::get<std::vector<std::string>>(value), base,
                         field<std::vector<platform_key>>(which, to),
                         "a certificate or public key (PEM)",
                         make_platform_key);
    case kind::variables:
      return store_variables(
        which, std::get<std::map<std::string, std::string>>(value), to);
    case kind::line_file:
    case kind::path_part_file:
    case kind::bytes_file:
    case kind::private_key_file:
    case kind::public_key_file:
    case kind::certificate_file:
    case kind::existing_file:
      return store_file(which, std::get<std::string>(value), base, to);
    case kind::existing_dir:
      return store_directory(which, std::get<std::string>(value), base, to);
    default: {
      const auto& text = std::get<std::string>(value);
      if (store_text(which, text, base, to))
        return {};
      return {{expectation(which), shown(which, text)}};
    }
  }
}

std::vector<fault>
store_content(const key& which, const std::string& content, target to) {
  auto text = content;
  const auto pem = which.is == kind::private_key_file
                   || which.is == kind::public_key_file
                   || which.is == kind::certificate_file;
  // Many tools can't put line ends into a variable and write \n instead.
  if (pem && text.find('\n') == std::string::npos)
    text = with_line_ends(content);
  if (const auto wrong = content_problem(which, text))
    return {{content_expectation(which), *wrong}};
  put_text(which, to, std::move(text));
  return {};
}

} // namespace slipway::config

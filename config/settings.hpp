#pragma once

#include "actors/lifecycle/money.hpp"
#include "actors/lifecycle/time.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

/// Everything an operator can decide. One struct per section of the TOML file;
/// every default is the one in the documentation. Values are checked by
/// `load_settings`; nothing below is read from the outside a second time.
namespace slipway::config {

/// A secret in memory. Prints as `<secret>`, so that it cannot slip into a log.
class secret {
public:
  secret() = default;

  explicit secret(std::string value) : value_{std::move(value)} {
  }

  /// The secret itself. Do not log, do not store.
  [[nodiscard]] const std::string& reveal() const noexcept {
    return value_;
  }

  [[nodiscard]] bool empty() const noexcept {
    return value_.empty();
  }

private:
  std::string value_;
};

/// Where a listener binds.
struct endpoint {
  std::string host = "127.0.0.1";
  std::uint16_t port = 0; ///< 0 means: any free port.
};

struct http_settings {
  endpoint listen{"127.0.0.1", 8080};
  endpoint admin_listen{"127.0.0.1", 9464};
  /// Base of notify_url, without a slash at the end. Empty means: built from
  /// `listen`, which only suits gateways on the same machine.
  std::string public_url;
  /// TLS on `listen`: paths of PEM files, read again when they change. Both or
  /// neither.
  std::string tls_cert_file;
  std::string tls_key_file;
  /// The same certificate on `admin_listen` as well.
  bool admin_tls = false;
  /// Threads that serve sockets. 0 means: as many as the machine has cores.
  std::size_t threads = 0;
  /// A connection that has not sent its whole request head within this is
  /// closed.
  millis header_timeout{10'000};
  /// The same for the body.
  millis body_timeout{30'000};
  /// An idle keep-alive connection is closed after this.
  millis idle_timeout{60'000};
  /// A request that is not answered within this gets 503.
  millis request_timeout{30'000};
  /// What a stop waits for requests and for calls under way.
  millis stop_timeout{15'000};
};

struct database_settings {
  /// `postgresql://…`, or `embedded:DIR` for a private cluster in DIR.
  secret url;
  /// Directory of an embedded cluster; empty for a server of one's own.
  std::string embedded_dir;
  /// Connections that commit transitions, each with a batch of its own. 0: one
  /// for every two cores.
  std::size_t journal_connections = 0;
  /// Connections that serve reads.
  std::size_t reader_connections = 2;
  millis connect_timeout{5'000};
  millis statement_timeout{10'000};
  /// A server that has not shown life for this long is taken over.
  millis lease{5'000};
};

struct auth_settings {
  secret hs256_secret;
  std::string jwks_file;
  std::string issuer;
  std::string audience;
};

/// One key that protects channel credentials at rest (AES-256-GCM).
struct credential_key {
  std::string id;
  std::array<unsigned char, 32> bytes{};
};

struct secrets_settings {
  /// The first one encrypts, all of them decrypt.
  std::vector<credential_key> credential_keys;
};

struct plan_settings {
  std::string title;
  minor_units amount_minor = 0;
  std::string currency = "CNY";
  std::uint32_t period_days = 30;
  /// Larger goes first when deployments queue up.
  std::int32_t priority = 0;
  /// Handed to the instance as environment variables.
  std::map<std::string, std::string> variables;
};

struct alipay_settings {
  std::string app_id;
  std::string seller_id;
  std::string gateway_url = "https://openapi.alipay.com/gateway.do";
  /// `RSA2` (SHA-256) or, for very old apps, `RSA` (SHA-1). Never taken from a
  /// message.
  std::string sign_type = "RSA2";
  std::string return_url;
  secret app_private_key;        ///< PEM or bare base64 of PKCS#1/PKCS#8.
  std::string alipay_public_key; ///< PEM or bare base64; or from the cert.
  std::string alipay_cert;       ///< PEM, certificate mode.
  std::string app_cert;
  std::string root_cert;
};

struct platform_key {
  std::string serial; ///< Certificate serial or `PUB_KEY_ID_…`.
  std::string pem;    ///< Certificate or public key.
};

struct wechat_settings {
  std::string app_id;
  std::string mch_id;
  std::string gateway_url = "https://api.mch.weixin.qq.com";
  secret api_v2_key;
  /// `HMAC-SHA256` or `MD5`: how v2 messages are signed. Never taken from one.
  std::string v2_sign_type = "HMAC-SHA256";
  secret api_v3_key;
  std::string merchant_serial;
  secret merchant_private_key;
  std::vector<platform_key> platform_keys;
};

struct railway_settings {
  std::string endpoint = "https://backboard.railway.com/graphql/v2";
  secret token;
  std::string workspace_id;
  std::string template_code;
  std::string template_id;
  std::string template_project_id;
  std::string template_service_id;
  secret webhook_secret;
  /// Whether to have Railway post to our webhook by itself: a notification rule
  /// of the workspace.
  bool register_webhook = false;
  millis create_interval{31'000};
  /// What was created may stay invisible for so long: a creation whose answer
  /// was lost is looked for at least this long before it is made again.
  millis visibility_lag{30'000};
  std::uint32_t requests_per_hour = 10'000;
  std::uint32_t requests_per_second = 20;
  millis request_timeout{90'000};
  /// Everything that runs is looked at once within this, if the budget allows.
  millis watch_interval{600'000};
  /// How often new projects of our name are held against our rows.
  millis sweep_interval{300'000};
};

struct deployment_settings {
  std::uint32_t max_concurrent = 3;
  std::uint32_t attempts = 3;
  millis backoff_initial{5'000};
  millis backoff_max{300'000};
  /// Of one attempt.
  millis deadline{900'000};
  millis poll_interval{5'000};
  /// Each step of a plan's priority counts as if it had been paid for so much
  /// earlier.
  millis priority_head_start{600'000};
};

enum class late_payment_policy : std::uint8_t { revive, refund };

struct payment_settings {
  millis order_ttl{1'800'000};
  late_payment_policy late_payment = late_payment_policy::revive;
  /// Refund by itself when a deployment failed for good this long ago.
  std::optional<millis> refund_failed_after;
  /// The longest pause between two looks at the gateway about an unpaid order.
  millis ask_interval{45'000};
  /// Orders that a gateway is asked about in a second, at most.
  std::uint32_t asks_per_second = 30;
};

/// How long what is over is kept. Nothing: for ever.
struct retention_settings {
  std::optional<millis> callbacks{34'560'000'000};     // 400 days
  std::optional<millis> history{34'560'000'000};       // 400 days
  std::optional<millis> notifications{34'560'000'000}; // 400 days
  std::optional<millis> mails{7'776'000'000};          // 90 days
};

enum class mail_security : std::uint8_t { plain, starttls, tls };

struct mail_settings {
  std::string url; ///< `smtp://host:port` or `smtps://host:port`.
  std::string from = "Slipway <no-reply@localhost>";
  std::string username;
  secret password;
  /// STARTTLS is used where the server offers it; `true` demands it.
  bool require_tls = false;
  millis timeout{30'000};
  /// Directory whose files take the place of built-in templates. Empty: none.
  std::string templates_dir;
  /// Where a person turns mails off; `{user}` stands for the user's id.
  std::string unsubscribe_url;
};

struct limits_settings {
  std::size_t max_in_flight = 1024;
  std::size_t max_body_bytes = 256 * 1024;
  std::size_t max_header_bytes = 16 * 1024;
  std::size_t max_connections = 4096;
  /// Readers of live progress.
  std::size_t max_watchers = 2048;
  std::size_t max_watchers_per_user = 32;
  /// Requests of one user in a second, and how many may come at once. A rate of
  /// 0 turns this limit off.
  std::uint32_t user_requests_per_second = 20;
  std::uint32_t user_request_burst = 60;
  /// Subscriptions in memory at once.
  std::size_t max_resident = 100'000;
  /// Transitions on their way to the database.
  std::size_t max_journal_queue = 4096;
};

struct log_settings {
  std::string level = "info";  ///< trace debug info warn error
  std::string format = "text"; ///< text json
};

/// Spans for an OpenTelemetry collector.
struct traces_settings {
  std::string endpoint; ///< OTLP/HTTP, such as `http://host:4318/v1/traces`.
  std::string service_name = "slipway";
  /// Of 1000 requests without a sampled `traceparent`, so many are traced.
  std::uint32_t sample_per_mille = 1000;
  /// How long one export may take.
  millis timeout{10'000};
};

struct settings {
  http_settings http;
  database_settings database;
  auth_settings auth;
  secrets_settings secrets;
  std::map<std::string, plan_settings> plans;
  std::optional<alipay_settings> alipay;
  std::optional<wechat_settings> wechat;
  std::optional<railway_settings> railway;
  std::optional<mail_settings> mail;
  deployment_settings deployment;
  payment_settings payment;
  retention_settings retention;
  limits_settings limits;
  log_settings log;
  std::optional<traces_settings> traces;
};

} // namespace slipway::config

#define CAF_SUITE config_load_settings

#include "config/load_settings.hpp"

#include "config/keys.hpp"

#include <caf/test/unit_test.hpp>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <unistd.h>
#include <vector>

using namespace slipway;
using namespace slipway::config;

namespace fs = std::filesystem;

namespace {

constexpr auto jwt_secret = "jwt-secret-of-more-than-sixteen";
constexpr auto railway_token = "0f7c1f3e-5b6f-4a4e-9d0a-railwaytoken";
constexpr auto mail_password = "correct horse battery";
constexpr auto v2_key = "V2aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
constexpr auto v3_key = "V3bbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
constexpr auto hook = "hook-secret_1";
constexpr auto database_password = "db-pass-word";
const auto raw_key
  = std::string{"\x01\x02\n\0rawrawrawrawrawrawrawrawraw\n", 32};
constexpr auto base64_key = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY=";
constexpr auto base64_key_bytes = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef";

/// Text in the frame of a PEM file. The loader looks at no more than that.
std::string pem(const std::string& label) {
  return "-----BEGIN " + label + "-----\nTUlJU0VDUkVUQk9EWQ==\n-----END "
         + label + "-----\n";
}

constexpr auto pem_body = "TUlJU0VDUkVUQk9EWQ";

/// Base64 of an ASN.1 sequence, unframed, as Alipay's tool saves keys.
std::string bare_key() {
  auto result = std::string{"MIIB"};
  for (auto i = 0; i < 50; ++i)
    result += "Ba5e";
  return result;
}

struct fixture {
  fs::path dir;

  fixture() {
    auto name = (fs::temp_directory_path() / "slipway-config-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr)
      throw std::runtime_error("mkdtemp failed");
    dir = name;
    write("jwt.key", std::string{jwt_secret} + "\n");
    write("credential.key", raw_key);
    write("credential64.key", std::string{base64_key} + "\n");
    write("railway.token", std::string{railway_token} + "\r\n");
    write("railway.hook", hook);
    write("mail.password", std::string{mail_password} + "\n");
    write("v2.key", std::string{v2_key} + "\n");
    write("v3.key", v3_key);
    write("private.pem", pem("PRIVATE KEY"));
    write("rsa.pem", pem("RSA PRIVATE KEY"));
    write("encrypted.pem", pem("ENCRYPTED PRIVATE KEY"));
    write("public.pem", pem("PUBLIC KEY"));
    write("cert.pem", pem("CERTIFICATE"));
    write("bare.key", bare_key());
    write("empty", "");
    write("jwks.json", "{\"keys\":[]}");
  }

  ~fixture() {
    auto error = std::error_code{};
    fs::remove_all(dir, error);
  }

  void write(const fs::path& name, const std::string& content) const {
    fs::create_directories((dir / name).parent_path());
    std::ofstream{dir / name, std::ios::binary} << content;
  }

  /// The least that a configuration needs.
  static std::string least(const std::string& more = "") {
    return "[database]\n"
           "url = \"postgresql://slipway:db-pass-word@127.0.0.1/slipway\"\n"
           "[auth]\n"
           "hs256_secret_file = \"jwt.key\"\n"
           "[secrets]\n"
           "credential_keys = [\"k1:credential.key\"]\n"
           + more;
  }

  [[nodiscard]] fs::path file() const {
    return dir / "slipway.toml";
  }

  [[nodiscard]] tl::expected<settings, std::vector<mistake>>
  load(const std::string& toml, const environment& env = {}) const {
    write("slipway.toml", toml);
    return load_settings(file(), env);
  }

  /// Loads what has to be right.
  [[nodiscard]] settings
  good(const std::string& toml, const environment& env = {}) const {
    auto result = load(toml, env);
    if (!result) {
      for (const auto& each : result.error())
        CAF_ERROR(each.to_string());
      CAF_FAIL("expected no mistakes");
    }
    return std::move(*result);
  }

  /// Loads what has to be wrong. Every message is one line without a secret.
  [[nodiscard]] std::vector<mistake>
  bad(const std::string& toml, const environment& env = {}) const {
    const auto result = load(toml, env);
    if (result)
      CAF_FAIL("expected mistakes");
    for (const auto& each : result.error()) {
      const auto text = each.to_string();
      CAF_CHECK(text.find_first_of("\r\n") == std::string::npos);
      for (const auto* hidden :
           {jwt_secret, railway_token, mail_password, v2_key, v3_key, hook,
            database_password, base64_key, base64_key_bytes, pem_body,
            "Ba5eBa5e", "s3cr3t"})
        if (text.find(hidden) != std::string::npos)
          CAF_ERROR("shows a secret: " << text);
    }
    return result.error();
  }

  /// Loads what has just one mistake, and gives it as text from the key on.
  [[nodiscard]] std::string
  only(const std::string& toml, const environment& env = {}) const {
    const auto mistakes = bad(toml, env);
    if (mistakes.size() != 1)
      for (const auto& each : mistakes)
        CAF_ERROR("one of several: " << each.to_string());
    const auto text = mistakes.front().to_string();
    return text.substr(text.find(mistakes.front().key));
  }
};

bool has(const std::string& text, const std::string& part) {
  const auto found = text.find(part) != std::string::npos;
  if (!found)
    CAF_ERROR("\"" << part << "\" is not in: " << text);
  return found;
}

std::vector<std::string> keys_of(const std::vector<mistake>& mistakes) {
  auto result = std::vector<std::string>{};
  for (const auto& each : mistakes)
    result.push_back(each.key);
  return result;
}

bool about(const std::vector<mistake>& mistakes, const std::string& key) {
  const auto keys = keys_of(mistakes);
  const auto found = std::find(keys.begin(), keys.end(), key) != keys.end();
  if (!found)
    for (const auto& each : mistakes)
      CAF_ERROR("nothing about " << key << ", but: " << each.to_string());
  return found;
}

const auto alipay = std::string{"[alipay]\n"
                                "app_id = \"2021\"\n"
                                "seller_id = \"2088\"\n"
                                "app_private_key_file = \"private.pem\"\n"};
const auto wechat = std::string{"[wechat]\n"
                                "app_id = \"wx1\"\n"
                                "mch_id = \"19\"\n"};
const auto wechat_v3
  = wechat
    + "api_v3_key_file = \"v3.key\"\n"
      "merchant_serial = \"5157\"\n"
      "merchant_private_key_file = \"private.pem\"\n"
      "platform_keys = [\"71AB:cert.pem\", \"PUB_KEY_ID_1:public.pem\"]\n";
const auto railway = std::string{"[railway]\n"
                                 "token_file = \"railway.token\"\n"};
const auto mail = std::string{"[mail]\n"
                              "url = \"smtp://127.0.0.1:1025\"\n"
                              "from = \"Slipway <a@b.example>\"\n"};

} // namespace

CAF_TEST_FIXTURE_SCOPE(load_settings_tests, fixture)

// -- what is right
// ---------------------------------------------------------------

CAF_TEST(the least configuration gives the documented defaults) {
  const auto is = good(least());
  CAF_CHECK_EQUAL(is.http.listen.host, "127.0.0.1");
  CAF_CHECK_EQUAL(is.http.listen.port, 8080);
  CAF_CHECK_EQUAL(is.http.admin_listen.port, 9464);
  CAF_CHECK_EQUAL(is.http.public_url, "");
  CAF_CHECK_EQUAL(is.database.url.reveal(),
                  "postgresql://slipway:db-pass-word@127.0.0.1/slipway");
  CAF_CHECK_EQUAL(is.database.embedded_dir, "");
  CAF_CHECK_EQUAL(is.auth.hs256_secret.reveal(), jwt_secret);
  CAF_REQUIRE_EQUAL(is.secrets.credential_keys.size(), 1u);
  CAF_CHECK_EQUAL(is.secrets.credential_keys[0].id, "k1");
  CAF_CHECK(std::equal(raw_key.begin(), raw_key.end(),
                       is.secrets.credential_keys[0].bytes.begin(),
                       [](char x, unsigned char y) {
                         return static_cast<unsigned char>(x) == y;
                       }));
  CAF_CHECK(!is.alipay);
  CAF_CHECK(!is.wechat);
  CAF_CHECK(!is.railway);
  CAF_CHECK(!is.mail);
  CAF_CHECK_EQUAL(is.deployment.max_concurrent, 3u);
  CAF_CHECK(is.deployment.deadline == millis{900'000});
  CAF_CHECK(is.payment.order_ttl == millis{1'800'000});
  CAF_CHECK(is.payment.late_payment == late_payment_policy::revive);
  CAF_CHECK(is.retention.callbacks == 400 * std::chrono::hours{24});
  CAF_CHECK(is.retention.history == 400 * std::chrono::hours{24});
  CAF_CHECK(is.retention.notifications == 400 * std::chrono::hours{24});
  CAF_CHECK(is.retention.mails == 90 * std::chrono::hours{24});
  CAF_CHECK(!is.payment.refund_failed_after);
  CAF_CHECK_EQUAL(is.limits.max_body_bytes, 262'144u);
}

CAF_TEST(without plans there are the three default ones) {
  const auto plans = good(least()).plans;
  CAF_REQUIRE_EQUAL(plans.size(), 3u);
  CAF_CHECK_EQUAL(plans.at("BASIC").title, "基础版");
  CAF_CHECK_EQUAL(plans.at("BASIC").amount_minor, 2'900);
  CAF_CHECK_EQUAL(plans.at("BASIC").priority, 0);
  CAF_CHECK_EQUAL(plans.at("PRO").title, "专业版");
  CAF_CHECK_EQUAL(plans.at("PRO").amount_minor, 9'900);
  CAF_CHECK_EQUAL(plans.at("PRO").priority, 1);
  CAF_CHECK_EQUAL(plans.at("ENTERPRISE").title, "企业版");
  CAF_CHECK_EQUAL(plans.at("ENTERPRISE").amount_minor, 29'900);
  CAF_CHECK_EQUAL(plans.at("ENTERPRISE").priority, 2);
  for (const auto& [name, plan] : plans) {
    CAF_CHECK_EQUAL(plan.currency, "CNY");
    CAF_CHECK_EQUAL(plan.period_days, 30u);
    CAF_CHECK(plan.variables.empty());
  }
  CAF_CHECK_EQUAL(good(least("[plans]\n")).plans.size(), 3u);
}

CAF_TEST(where plans are given there are just those) {
  const auto plans = good(least("[plans.PRO]\n"
                                "amount = \"88.5\"\n"
                                "period_days = 365\n"
                                "variables = { TIER = \"pro\", N = \"2\" }\n"
                                "[plans.TEAM_2]\n"
                                "amount = \"1\"\n"
                                "currency = \"USD\"\n"
                                "priority = -5\n"
                                "[plans.TEAM_2.variables]\n"
                                "A = \"b\"\n"))
                       .plans;
  CAF_REQUIRE_EQUAL(plans.size(), 2u);
  CAF_CHECK_EQUAL(plans.at("PRO").title, "专业版");
  CAF_CHECK_EQUAL(plans.at("PRO").amount_minor, 8'850);
  CAF_CHECK_EQUAL(plans.at("PRO").period_days, 365u);
  CAF_CHECK_EQUAL(plans.at("PRO").variables.at("TIER"), "pro");
  CAF_CHECK_EQUAL(plans.at("TEAM_2").title, "TEAM_2");
  CAF_CHECK_EQUAL(plans.at("TEAM_2").amount_minor, 100);
  CAF_CHECK_EQUAL(plans.at("TEAM_2").currency, "USD");
  CAF_CHECK_EQUAL(plans.at("TEAM_2").priority, -5);
  CAF_CHECK_EQUAL(plans.at("TEAM_2").variables.at("A"), "b");
}

CAF_TEST(every key of the contract is taken) {
  const auto is = good(R"(
[http]
listen = "0.0.0.0:0"
admin_listen = "[::1]:9464"
public_url = "https://pay.example.com/base//"
tls_cert_file = "jwks.json"
tls_key_file = "jwt.key"
admin_tls = true
threads = 2
header_timeout = "1s"
body_timeout = "2s"
idle_timeout = "3s"
request_timeout = "4s"
[database]
url = "postgres://u:db-pass-word@h1:1,[::1]:2/db?sslmode=require"
journal_connections = 3
reader_connections = 4
connect_timeout = "5s"
statement_timeout = "6s"
[auth]
hs256_secret_file = "jwt.key"
jwks_file = "jwks.json"
issuer = "me"
audience = "you"
[secrets]
credential_keys = ["b:credential64.key", "a:credential.key"]
[railway]
endpoint = "http://127.0.0.1:1/graphql"
token_file = "railway.token"
workspace_id = "w"
template_code = "c"
template_id = "i"
template_project_id = "p"
template_service_id = "s"
webhook_secret_file = "railway.hook"
create_interval = "0ms"
requests_per_hour = 100
requests_per_second = 5
request_timeout = "7s"
[deployment]
max_concurrent = 9
attempts = 8
backoff_initial = "10ms"
backoff_max = "20ms"
deadline = "1s"
poll_interval = "100ms"
[payment]
order_ttl = "1s"
late_payment = "refund"
refund_failed_after = "72h"
[mail]
url = "smtps://mail.example.com/"
from = "a@b.example"
username = "me"
password_file = "mail.password"
require_tls = true
timeout = "8s"
templates_dir = "."
unsubscribe_url = "https://example.com/u/{user}"
[limits]
max_in_flight = 1
max_body = "1MiB"
max_header = "8KiB"
max_connections = 2
max_watchers = 3
max_watchers_per_user = 4
user_requests_per_second = 5
user_request_burst = 6
[log]
level = "debug"
format = "json"
[traces]
endpoint = "http://127.0.0.1:4318/v1/traces"
service_name = "pay"
sample_per_mille = 10
timeout = "9s"
)");
  CAF_CHECK(fs::path{is.http.tls_cert_file}.is_absolute());
  CAF_CHECK_EQUAL(fs::path{is.http.tls_key_file}.filename(), "jwt.key");
  CAF_CHECK(is.http.admin_tls);
  CAF_CHECK(fs::is_directory(is.mail->templates_dir));
  CAF_CHECK_EQUAL(is.mail->unsubscribe_url, "https://example.com/u/{user}");
  CAF_CHECK_EQUAL(is.limits.user_requests_per_second, 5u);
  CAF_CHECK_EQUAL(is.limits.user_request_burst, 6u);
  CAF_REQUIRE(is.traces.has_value());
  CAF_CHECK_EQUAL(is.traces->endpoint, "http://127.0.0.1:4318/v1/traces");
  CAF_CHECK_EQUAL(is.traces->service_name, "pay");
  CAF_CHECK_EQUAL(is.traces->sample_per_mille, 10u);
  CAF_CHECK(is.traces->timeout == millis{9'000});
  CAF_CHECK_EQUAL(is.http.listen.host, "0.0.0.0");
  CAF_CHECK_EQUAL(is.http.listen.port, 0);
  CAF_CHECK_EQUAL(is.http.admin_listen.host, "::1");
  CAF_CHECK_EQUAL(is.http.public_url, "https://pay.example.com/base");
  CAF_CHECK_EQUAL(is.http.threads, 2u);
  CAF_CHECK(is.http.header_timeout == millis{1'000});
  CAF_CHECK(is.http.body_timeout == millis{2'000});
  CAF_CHECK(is.http.idle_timeout == millis{3'000});
  CAF_CHECK(is.http.request_timeout == millis{4'000});
  CAF_CHECK_EQUAL(is.database.url.reveal(),
                  "postgres://u:db-pass-word@h1:1,[::1]:2/db?sslmode=require");
  CAF_CHECK_EQUAL(is.database.journal_connections, 3u);
  CAF_CHECK_EQUAL(is.database.reader_connections, 4u);
  CAF_CHECK(is.database.connect_timeout == millis{5'000});
  CAF_CHECK(is.database.statement_timeout == millis{6'000});
  CAF_CHECK_EQUAL(is.auth.jwks_file, (dir / "jwks.json").string());
  CAF_CHECK_EQUAL(is.auth.issuer, "me");
  CAF_CHECK_EQUAL(is.auth.audience, "you");
  CAF_REQUIRE_EQUAL(is.secrets.credential_keys.size(), 2u);
  CAF_CHECK_EQUAL(is.secrets.credential_keys[0].id, "b");
  const auto& bytes = is.secrets.credential_keys[0].bytes;
  CAF_CHECK_EQUAL(std::string(bytes.begin(), bytes.end()), base64_key_bytes);
  CAF_REQUIRE(is.railway.has_value());
  CAF_CHECK_EQUAL(is.railway->endpoint, "http://127.0.0.1:1/graphql");
  CAF_CHECK_EQUAL(is.railway->token.reveal(), railway_token);
  CAF_CHECK_EQUAL(is.railway->workspace_id, "w");
  CAF_CHECK_EQUAL(is.railway->template_code, "c");
  CAF_CHECK_EQUAL(is.railway->template_id, "i");
  CAF_CHECK_EQUAL(is.railway->template_project_id, "p");
  CAF_CHECK_EQUAL(is.railway->template_service_id, "s");
  CAF_CHECK_EQUAL(is.railway->webhook_secret.reveal(), hook);
  CAF_CHECK(is.railway->create_interval == millis{0});
  CAF_CHECK_EQUAL(is.railway->requests_per_hour, 100u);
  CAF_CHECK_EQUAL(is.railway->requests_per_second, 5u);
  CAF_CHECK(is.railway->request_timeout == millis{7'000});
  CAF_CHECK_EQUAL(is.deployment.max_concurrent, 9u);
  CAF_CHECK_EQUAL(is.deployment.attempts, 8u);
  CAF_CHECK(is.deployment.backoff_initial == millis{10});
  CAF_CHECK(is.deployment.backoff_max == millis{20});
  CAF_CHECK(is.deployment.deadline == millis{1'000});
  CAF_CHECK(is.deployment.poll_interval == millis{100});
  CAF_CHECK(is.payment.order_ttl == millis{1'000});
  CAF_CHECK(is.payment.late_payment == late_payment_policy::refund);
  CAF_REQUIRE(is.payment.refund_failed_after.has_value());
  CAF_CHECK(*is.payment.refund_failed_after == millis{259'200'000});
  CAF_REQUIRE(is.mail.has_value());
  CAF_CHECK_EQUAL(is.mail->url, "smtps://mail.example.com");
  CAF_CHECK_EQUAL(is.mail->from, "a@b.example");
  CAF_CHECK_EQUAL(is.mail->username, "me");
  CAF_CHECK_EQUAL(is.mail->password.reveal(), mail_password);
  CAF_CHECK(is.mail->require_tls);
  CAF_CHECK(is.mail->timeout == millis{8'000});
  CAF_CHECK_EQUAL(is.limits.max_in_flight, 1u);
  CAF_CHECK_EQUAL(is.limits.max_body_bytes, 1'048'576u);
  CAF_CHECK_EQUAL(is.limits.max_header_bytes, 8'192u);
  CAF_CHECK_EQUAL(is.limits.max_connections, 2u);
  CAF_CHECK_EQUAL(is.limits.max_watchers, 3u);
  CAF_CHECK_EQUAL(is.limits.max_watchers_per_user, 4u);
  CAF_CHECK_EQUAL(is.log.level, "debug");
  CAF_CHECK_EQUAL(is.log.format, "json");
}

CAF_TEST(the gateways take their keys from files) {
  const auto is = good(least(alipay + "alipay_public_key_file = \"bare.key\"\n"
                             + wechat_v3 + "api_v2_key_file = \"v2.key\"\n"));
  CAF_REQUIRE(is.alipay.has_value());
  CAF_CHECK_EQUAL(is.alipay->app_id, "2021");
  CAF_CHECK_EQUAL(is.alipay->seller_id, "2088");
  CAF_CHECK_EQUAL(is.alipay->sign_type, "RSA2");
  CAF_CHECK_EQUAL(is.alipay->app_private_key.reveal(), pem("PRIVATE KEY"));
  CAF_CHECK_EQUAL(is.alipay->alipay_public_key, bare_key());
  CAF_REQUIRE(is.wechat.has_value());
  CAF_CHECK_EQUAL(is.wechat->api_v2_key.reveal(), v2_key);
  CAF_CHECK_EQUAL(is.wechat->api_v3_key.reveal(), v3_key);
  CAF_CHECK_EQUAL(is.wechat->merchant_private_key.reveal(), pem("PRIVATE KEY"));
  CAF_REQUIRE_EQUAL(is.wechat->platform_keys.size(), 2u);
  CAF_CHECK_EQUAL(is.wechat->platform_keys[0].serial, "71AB");
  CAF_CHECK_EQUAL(is.wechat->platform_keys[0].pem, pem("CERTIFICATE"));
  CAF_CHECK_EQUAL(is.wechat->platform_keys[1].serial, "PUB_KEY_ID_1");

  const auto certs = good(least(alipay
                                + "sign_type = \"RSA\"\n"
                                  "alipay_cert_file = \"cert.pem\"\n"
                                  "app_cert_file = \"cert.pem\"\n"
                                  "root_cert_file = \"cert.pem\"\n"));
  CAF_CHECK_EQUAL(certs.alipay->sign_type, "RSA");
  CAF_CHECK_EQUAL(certs.alipay->root_cert, pem("CERTIFICATE"));
  CAF_CHECK_EQUAL(certs.alipay->alipay_public_key, "");

  const auto v2 = good(least(wechat + "api_v2_key_file = \"v2.key\"\n"));
  CAF_CHECK(v2.wechat->api_v3_key.empty());
}

CAF_TEST(an empty text means unset) {
  const auto is
    = good(least("[http]\npublic_url = \"\"\n"
                 "[payment]\nrefund_failed_after = \"\"\n"
                 + mail + "username = \"\"\npassword_file = \"\"\n" + alipay
                 + "alipay_public_key_file = \"public.pem\"\n"
                   "alipay_cert_file = \"\"\ngateway_url = \"\"\n"));
  CAF_CHECK(!is.payment.refund_failed_after);
  CAF_CHECK(is.mail->password.empty());
  CAF_CHECK_EQUAL(is.alipay->gateway_url,
                  "https://openapi.alipay.com/gateway.do");
  CAF_CHECK(has(only(least("[mail]\nurl = \"\"\nfrom = \"a@b\"\n")),
                "mail.url: expected a URL"));
}

// -- files
// -----------------------------------------------------------------------

CAF_TEST(relative paths start from the directory of the file) {
  write("etc/slipway.toml", "[database]\n"
                            "url = \"embedded:./data/\"\n"
                            "[auth]\n"
                            "hs256_secret_file = \"../jwt.key\"\n"
                            "[secrets]\n"
                            "credential_keys = [\"a:../credential.key\", \"b:"
                              + (dir / "credential64.key").string() + "\"]\n");
  const auto result = load_settings(dir / "etc/slipway.toml", {});
  CAF_REQUIRE(result.has_value());
  CAF_CHECK_EQUAL(result->database.embedded_dir, (dir / "etc/data").string());
  CAF_CHECK_EQUAL(result->database.url.reveal(),
                  "embedded:" + (dir / "etc/data").string());
  CAF_CHECK_EQUAL(result->auth.hs256_secret.reveal(), jwt_secret);
}

CAF_TEST(relative paths of variables start from the working directory) {
  const auto before = fs::current_path();
  write("work/jwt.key", "another secret in here");
  write("work/wk.key", raw_key);
  fs::current_path(dir / "work");
  const auto is
    = good(least(), {{"SLIPWAY_AUTH_HS256_SECRET_FILE", "jwt.key"},
                     {"SLIPWAY_SECRETS_CREDENTIAL_KEYS", "w:wk.key"},
                     {"SLIPWAY_DATABASE_URL", "embedded:db"}});
  // The configuration file itself may be named relatively as well.
  const auto relative = load_settings("../slipway.toml", {});
  fs::current_path(before);
  CAF_CHECK_EQUAL(is.auth.hs256_secret.reveal(), "another secret in here");
  CAF_CHECK_EQUAL(is.database.embedded_dir, (dir / "work/db").string());
  CAF_CHECK_EQUAL(is.secrets.credential_keys[0].id, "w");
  CAF_REQUIRE(relative.has_value());
  CAF_CHECK_EQUAL(relative->auth.hs256_secret.reveal(), jwt_secret);
}

CAF_TEST(a configuration that is not there or no file is one mistake) {
  for (const auto& path : {dir / "none.toml", dir, dir / "empty"}) {
    const auto result = load_settings(path, {});
    CAF_REQUIRE(!result.has_value());
    CAF_REQUIRE_EQUAL(result.error().size(), 1u);
    CAF_CHECK(has(result.error()[0].to_string(), path.string()));
  }
  CAF_CHECK(has(load_settings(dir / "none.toml", {}).error()[0].to_string(),
                "expected a readable TOML file, found "));
}

CAF_TEST(a file that cannot be read is named with its path) {
  fs::create_directories(dir / "folder");
  const auto with = [&](const std::string& name) {
    return only(least(railway + "template_id = \"i\"\nwebhook_secret_file = \""
                      + name + "\"\n"));
  };
  const auto missing = with("none.hook");
  CAF_CHECK(has(missing, "railway.webhook_secret_file: expected the path of "));
  CAF_CHECK(has(missing, (dir / "none.hook").string()));
  CAF_CHECK(has(missing, "does not exist"));
  CAF_CHECK(has(with("empty"), (dir / "empty").string()));
  CAF_CHECK(has(with("empty"), "is empty"));
  CAF_CHECK(has(with("folder"), "not a regular file"));
  CAF_CHECK(has(with("jwt.key/x"), "jwt.key/x"));
  write("large", std::string(300'000, 'x'));
  CAF_CHECK(has(with("large"), "larger than 256KiB"));
  if (geteuid() != 0) {
    fs::permissions(dir / "v2.key", fs::perms::none);
    CAF_CHECK(has(with("v2.key"), "cannot be read"));
  }
}

CAF_TEST(line ends are cut off a text but not off bytes) {
  const auto secret_of = [&](const std::string& content) {
    write("jwt.key", content);
    return good(least()).auth.hs256_secret.reveal();
  };
  CAF_CHECK_EQUAL(secret_of("0123456789abcdef"), "0123456789abcdef");
  CAF_CHECK_EQUAL(secret_of("0123456789abcdef\n"), "0123456789abcdef");
  CAF_CHECK_EQUAL(secret_of("0123456789abcdef\r\n"), "0123456789abcdef");
  CAF_CHECK_EQUAL(secret_of(" 0123456789abcdef "), " 0123456789abcdef ");
  const auto bytes = std::string{"\x01\x02\x03"} + "0123456789abcdef\n";
  CAF_CHECK_EQUAL(secret_of(bytes), bytes);
  // Raw keys keep their last byte even when it is a line end.
  CAF_CHECK_EQUAL(raw_key.back(), '\n');
  write("credential.key", raw_key + "\n");
  const auto is = good(least());
  CAF_CHECK_EQUAL(is.secrets.credential_keys[0].bytes[31], '\n');
}

CAF_TEST(the content of files is checked) {
  const auto found = [&](const std::string& section, const std::string& name,
                         const std::string& content) {
    write("it", content);
    return only(least(section + name + " = \"it\"\n"));
  };
  write("jwt.key", "fifteen bytes..");
  CAF_CHECK(has(only(least()), "expected 16 to 4096 bytes in the file, found "
                               "15 bytes in \""));
  write("jwt.key", jwt_secret);
  const auto token
    = found("[railway]\ntemplate_id = \"i\"\n", "token_file", "s3cr3t\nx\n");
  CAF_CHECK(has(token, "railway.token_file: expected one line of 1 to 4096 "
                       "bytes in the file, found control characters or "
                       "several lines"));
  CAF_CHECK(has(found("[railway]\ntemplate_id = \"i\"\n", "token_file", "\n"),
                "found nothing in it"));
  CAF_CHECK(has(
    found(railway + "template_id = \"i\"\n", "webhook_secret_file", "s3cr3t/x"),
    "letters, digits"));
  CAF_CHECK(has(found(wechat, "api_v2_key_file", "s3cr3t"),
                "expected one line of 32 bytes in the file, found 6 bytes"));
  const auto v3
    = wechat_v3.substr(wechat.size())
        .substr(std::string{"api_v3_key_file = \"v3.key\"\n"}.size());
  CAF_CHECK(has(found(wechat + v3, "api_v3_key_file", std::string(33, 'x')),
                "expected one line of 32 bytes in the file, found 33 bytes"));
}

CAF_TEST(keys are told apart from each other) {
  const auto rest
    = std::string{"[alipay]\napp_id = \"1\"\nseller_id = \"2\"\n"};
  const auto with = [&](const std::string& mine, const std::string& theirs) {
    return rest + "app_private_key_file = \"" + mine
           + "\"\nalipay_public_key_file = \"" + theirs + "\"\n";
  };
  CAF_CHECK(good(least(with("rsa.pem", "public.pem"))).alipay.has_value());
  CAF_CHECK(good(least(with("bare.key", "bare.key"))).alipay.has_value());
  CAF_CHECK(has(only(least(with("public.pem", "public.pem"))),
                "expected an unencrypted private key (PEM or bare base64) in "
                "the file, found a public key in \""));
  CAF_CHECK(has(only(least(with("encrypted.pem", "public.pem"))),
                "found an encrypted one"));
  CAF_CHECK(has(only(least(with("private.pem", "private.pem"))),
                "alipay.alipay_public_key_file: expected a public key (PEM or "
                "bare base64) in the file, found a private key"));
  CAF_CHECK(
    has(only(least(with("private.pem", "cert.pem"))), "found a certificate"));
  CAF_CHECK(
    has(only(least(with("jwt.key", "public.pem"))), "found something else"));
  // WeChat Pay has no bare keys.
  auto bare = wechat_v3;
  bare.replace(bare.find("private.pem"), 11, "bare.key");
  CAF_CHECK(has(only(least(bare)), "wechat.merchant_private_key_file: "));
}

// -- syntax
// ------------------------------------------------------------------------

CAF_TEST(a syntax error is one mistake with line and column) {
  const auto mistakes = bad("[http]\nlisten = \"x\n[what]\n");
  CAF_REQUIRE_EQUAL(mistakes.size(), 1u);
  CAF_CHECK_EQUAL(mistakes[0].key, "syntax");
  CAF_CHECK_EQUAL(mistakes[0].line, 2u);
  CAF_CHECK(mistakes[0].column > 0);
  CAF_CHECK(has(mistakes[0].to_string(),
                file().string() + ":2:" + std::to_string(mistakes[0].column)
                  + ": syntax: expected valid TOML, found "));
  CAF_CHECK(has(only("[http]\nthreads = 1\nthreads = 2\n"), "threads"));
}

CAF_TEST(a syntax error shows no secret) {
  for (const auto* line :
       {"token = s3cr3t", "token = s3cr3t\"", "token = \"s3cr3t", "s3cr3t",
        "token = ts3cr3t", "token = 's3cr3t", "token = [s3cr3t]",
        "token = truths3cr3t", "token = infs3cr3t"})
    CAF_CHECK(has(only(std::string{"[railway]\n"} + line + "\n"), "syntax: "));
  // A number beyond all bounds is quoted in full by the parser.
  const auto number = std::string(40, '7');
  CAF_CHECK(only("[wechat]\napi_v2_key = " + number + "\n").find("777777")
            == std::string::npos);
}

// -- unknown names
// -------------------------------------------------------------------

CAF_TEST(an unknown key names the nearest one) {
  const auto mistakes = bad(least("[http]\nlisen = \"127.0.0.1:1\"\n"));
  CAF_REQUIRE_EQUAL(mistakes.size(), 1u);
  CAF_CHECK_EQUAL(mistakes[0].to_string(),
                  file().string()
                    + ":8: http.lisen: expected a known key, found an unknown "
                      "one; the nearest known key is listen");
  CAF_CHECK(has(only(least("[deployment]\nmax_concurrency = 3\n")),
                "the nearest known key is max_concurrent"));
  CAF_CHECK(has(only(least("[plans.PRO]\namuont = \"1\"\n")),
                "plans.PRO.amuont: expected a known key, found an unknown one; "
                "the nearest known key is amount"));
  CAF_CHECK(has(only(least("[http]\norder_ttl = \"1m\"\n")),
                "order_ttl is a key of [payment]"));
}

CAF_TEST(an unknown section names the nearest one) {
  CAF_CHECK(has(only(least("[deploymnet]\nattempts = 1\n")),
                "[deploymnet]: expected a known section, found an unknown one; "
                "the nearest known section is [deployment]"));
  CAF_CHECK(has(only("listen = \"127.0.0.1:1\"\n" + least()),
                "listen: expected keys to stand in a section, found a key "
                "outside of any section; listen is a key of [http]"));
  CAF_CHECK(has(only("http = 1\n" + least()),
                "http: expected a section, [http], found an integer"));
  CAF_CHECK(has(only(least("[[log]]\nlevel = \"info\"\n")),
                "log: expected a section, [log], found a list"));
}

CAF_TEST(a secret in the configuration itself is refused unseen) {
  const auto with = [&](const std::string& name) {
    return name + " = \"s3cr3t\"\n";
  };
  const auto token
    = only(least(railway + "template_id = \"i\"\n" + with("token")));
  CAF_CHECK(has(token, "railway.token: expected token_file with the path of a "
                       "file, or the variable SLIPWAY_RAILWAY_TOKEN"));
  CAF_CHECK(has(only(least(mail + with("password"))), "password_file"));
  CAF_CHECK(
    has(only(least(railway + "template_id = \"i\"\n" + with("webhook_secret"))),
        "webhook_secret_file"));
  auto toml = least();
  toml.insert(toml.find("hs256_secret_file"), with("hs256_secret"));
  CAF_CHECK(has(only(toml), "auth.hs256_secret: expected hs256_secret_file"));
}

CAF_TEST(a secret in the place of its path is not shown) {
  CAF_CHECK(has(only(least("[railway]\ntemplate_id = \"i\"\ntoken_file = \""
                           + std::string{railway_token} + "\"\n")),
                "looks like the secret itself"));
  CAF_CHECK(has(only(least(wechat + "api_v2_key_file = \"" + v2_key + "0\"\n")),
                "looks like the secret itself"));
  auto toml = least();
  toml.replace(toml.find("credential.key"), 14, base64_key);
  CAF_CHECK(has(only(toml), "looks like the secret itself"));
  CAF_CHECK(has(only(least(alipay + "alipay_public_key_file = '''\n"
                           + pem("PUBLIC KEY") + "'''\n")),
                "looks like the secret itself"));
  toml = least();
  toml.replace(toml.find("k1:credential.key"), 17, base64_key);
  CAF_CHECK(has(only(toml), "entry 1 of another form"));
}

// -- types and bounds
// ------------------------------------------------------------------

CAF_TEST(a wrong type says which one is expected) {
  const auto mistakes = bad(least("[deployment]\nmax_concurrent = \"3\"\n"));
  CAF_REQUIRE_EQUAL(mistakes.size(), 1u);
  CAF_CHECK_EQUAL(mistakes[0].to_string(),
                  file().string()
                    + ":8: deployment.max_concurrent: expected an integer from "
                      "1 to 1000, found the text \"3\"");
  const auto is = [&](const std::string& toml, const std::string& expected) {
    return has(only(least(toml)), expected);
  };
  CAF_CHECK(is("[deployment]\nattempts = 1.5\n",
               "expected an integer from 1 to 20, found a floating-point"));
  CAF_CHECK(is("[deployment]\nattempts = true\n", "found true"));
  CAF_CHECK(is("[deployment]\ndeadline = 15\n",
               "expected a duration as text (units ms s m h d) from \"1s\" to "
               "\"1d\", such as \"30s\", found the integer 15"));
  CAF_CHECK(is("[limits]\nmax_body = 262144\n",
               "expected a size as text (units B KiB MiB GiB) from \"1KiB\" to "
               "\"64MiB\", such as \"256KiB\", found the integer 262144"));
  CAF_CHECK(is("[http]\nlisten = 8080\n", "found the integer 8080"));
  CAF_CHECK(is("[http]\nlisten = 08:00:00\n", "found a date or time"));
  CAF_CHECK(is("[http]\nlisten = [\"x\"]\n", "found a list"));
  CAF_CHECK(is("[http]\nlisten = { a = 1 }\n", "found a table"));
  CAF_CHECK(is(mail + "require_tls = \"true\"\n",
               "expected true or false, found the text \"true\""));
  CAF_CHECK(
    is("[plans.PRO]\namount = 99.00\n", "expected a decimal amount as text"));
  CAF_CHECK(is("[plans.PRO]\nvariables = [\"A=b\"]\n",
               "expected a table of at most 100 texts"));
  CAF_CHECK(is("[plans.PRO]\nvariables = { A = 1 }\n",
               "plans.PRO.variables.A: expected a text, found an integer"));
  CAF_CHECK(is("[plans]\nPRO = 1\n", "plans.PRO: expected a section"));
  CAF_CHECK(is(railway + "template_id = 1\n", "found the integer 1"));
  // Not even a number is shown where a secret could stand.
  const auto number
    = only(least("[railway]\ntemplate_id = \"i\"\ntoken_file = 123456\n"));
  CAF_CHECK(has(number, "found an integer"));
  CAF_CHECK(number.find("123456") == std::string::npos);
  auto toml = least();
  toml.replace(toml.find("[\"k1:credential.key\"]"), 21,
               "\"k1:credential.key\"");
  CAF_CHECK(has(only(toml), "secrets.credential_keys: expected a list of 1 to "
                            "32 \"id:file\", each file with 32 random bytes "
                            "(raw or base64), found a text"));
  toml = least();
  toml.replace(toml.find("[\"k1:"), 1, "[1, true, ");
  CAF_CHECK_EQUAL(bad(toml).size(), 2u);
}

CAF_TEST(every bound holds and the edges are inside) {
  struct bounds {
    const char* section;
    const char* name;
    std::vector<const char*> inside;
    std::vector<const char*> outside;
  };
  const auto all = std::vector<bounds>{
    {"http", "threads", {"0", "256"}, {"-1", "257"}},
    {"http",
     "header_timeout",
     {"\"100ms\"", "\"10m\""},
     {"\"99ms\"", "\"601s\""}},
    {"http",
     "body_timeout",
     {"\"100ms\"", "\"10m\""},
     {"\"99ms\"", "\"601s\""}},
    {"http", "idle_timeout", {"\"100ms\"", "\"1h\""}, {"\"99ms\"", "\"61m\""}},
    {"http", "request_timeout", {"\"1s\"", "\"10m\""}, {"\"0s\"", "\"1h\""}},
    {"deployment", "max_concurrent", {"1", "1000"}, {"0", "1001", "-3"}},
    {"deployment", "attempts", {"1", "20"}, {"0", "21"}},
    {"deployment",
     "deadline",
     {"\"1s\"", "\"24h\""},
     {"\"999ms\"", "\"25h\"", "\"-1s\""}},
    {"deployment",
     "poll_interval",
     {"\"100ms\"", "\"10m\""},
     {"\"99ms\"", "\"11m\"", "\"\\n5s\""}},
    {"payment",
     "order_ttl",
     {"\"1s\"", "\"15d\""},
     {"\"0s\"", "\"16d\"", "\"30\"", "\"30 m\"", "\"half an hour\""}},
    {"payment",
     "refund_failed_after",
     {"\"1s\"", "\"365d\""},
     {"\"0s\"", "\"366d\""}},
    {"retention",
     "callbacks",
     {"\"0\"", "\"90d\"", "\"3650d\""},
     {"\"89d\"", "\"3651d\"", "\"0s\"", "\"1\"", "\"for ever\""}},
    {"retention", "history", {"\"0\"", "\"30d\""}, {"\"29d\"", "\"-1d\""}},
    {"retention", "notifications", {"\"0\"", "\"1d\""}, {"\"23h\""}},
    {"retention", "mails", {"\"0\"", "\"1d\""}, {"\"23h\"", "\"0d\""}},
    {"payment",
     "late_payment",
     {"\"revive\"", "\"refund\""},
     {"\"Refund\"", "\"drop\""}},
    {"limits",
     "max_in_flight",
     {"1", "1000000"},
     {"0", "1000001", "9223372036854775807"}},
    {"limits",
     "max_body",
     {"\"1KiB\"", "\"64MiB\""},
     {"\"1023B\"", "\"65MiB\"", "\"1MB\""}},
    {"limits", "max_header", {"\"1KiB\"", "\"1MiB\""}, {"\"0B\"", "\"1GiB\""}},
    {"limits", "max_connections", {"1", "1000000"}, {"0", "1000001"}},
    {"limits", "max_watchers", {"1", "1000000"}, {"0", "1000001"}},
    {"limits", "max_watchers_per_user", {"1", "1000000"}, {"0", "1000001"}},
    {"log", "level", {"\"trace\"", "\"error\""}, {"\"loud\"", "\"INFO\""}},
    {"log", "format", {"\"text\"", "\"json\""}, {"\"xml\""}},
    {"http",
     "listen",
     {"\"[::]:0\"", "\"localhost:1\""},
     {"\"8080\"", "\":80\"", "\"::1:80\"", "\"127.0.0.1:70000\""}},
    {"http",
     "public_url",
     {"\"http://a\"", "\"https://a:1/b\""},
     {"\"a.example\"", "\"ftp://a\"", "\"https://\"", "\"https://a?b\"",
      "\"https://a#b\"", "\"https://u:s3cr3t@a\"", "\"https://a b\""}},
    {"plans.PRO",
     "amount",
     {"\"0.01\"", "\"100000000.00\"", "\"99\""},
     {"\"0\"", "\"0.00\"", "\"-1\"", "\"1.234\"", "\"1e3\"", "\"100000000.01\"",
      "\" 1\""}},
    {"plans.PRO",
     "currency",
     {"\"CNY\"", "\"USD\""},
     {"\"cny\"", "\"CN\"", "\"CNYY\"", "\"C1Y\""}},
    {"plans.PRO", "period_days", {"1", "3660"}, {"0", "3661"}},
    {"plans.PRO", "priority", {"-1000", "1000"}, {"-1001", "1001"}},
    {"plans.PRO", "title", {"\"x\""}, {"\"a\\nb\""}},
  };
  for (const auto& each : all) {
    const auto toml = [&](const char* value) {
      return least(std::string{"["} + each.section + "]\n" + each.name + " = "
                   + value + "\n");
    };
    for (const auto* value : each.inside)
      static_cast<void>(good(toml(value)));
    for (const auto* value : each.outside)
      CAF_CHECK(has(only(toml(value)), std::string{each.section} + '.'
                                         + each.name + ": expected "));
  }
}

CAF_TEST(urls without a host or with another scheme or a user are refused) {
  const auto mistakes
    = bad(least("[alipay]\n"
                "app_id = \"has blank\"\n"
                "seller_id = \"2088\"\n"
                "gateway_url = \"openapi.alipay.com\"\n"
                "return_url = \"javascript:alert(1)\"\n"
                "app_private_key_file = \"private.pem\"\n"
                "alipay_public_key_file = \"public.pem\"\n"
                "[railway]\n"
                "token_file = \"railway.token\"\n"
                "template_id = \"i\"\n"
                "endpoint = \"https://u:s3cr3t@a/graphql\"\n"
                "[mail]\n"
                "url = \"smtp://me:s3cr3t@mail.example.com\"\n"
                "from = \"nobody\"\n"));
  CAF_CHECK_EQUAL(mistakes.size(), 6u);
  CAF_CHECK(about(mistakes, "alipay.app_id"));
  CAF_CHECK(about(mistakes, "alipay.gateway_url"));
  CAF_CHECK(about(mistakes, "alipay.return_url"));
  CAF_CHECK(about(mistakes, "railway.endpoint"));
  CAF_CHECK(about(mistakes, "mail.url"));
  CAF_CHECK(about(mistakes, "mail.from"));
  for (const auto* url : {"http://a", "smtp://", "smtp://a:x", "smtp://a/b"})
    CAF_CHECK(has(only(least(std::string{"[mail]\nfrom = \"a@b\"\nurl = \""}
                             + url + "\"\n")),
                  "mail.url: expected a URL with smtp:// or smtps://"));
}

CAF_TEST(the database is a url or an embedded directory) {
  const auto with = [&](const std::string& url) {
    auto toml = least();
    const auto at = toml.find("postgresql");
    return toml.replace(at, toml.find('"', at) - at, url);
  };
  for (const auto* url :
       {"postgresql://127.0.0.1:5432/slipway", "postgres://u@h/db",
        "postgresql:///db?host=/run/postgresql", "embedded:./data",
        "embedded:/var/lib/slipway/db", "postgresql://h1:1,h2:2/db"})
    static_cast<void>(good(with(url)));
  for (const auto* url :
       {"host=127.0.0.1 password=s3cr3t", "mysql://u:s3cr3t@h/db", "embedded:",
        "postgresql://", "postgresql:u", "postgresql://u:s3cr3t@h:x/db",
        "postgresql://u:s3cr3t@h:0/db", "postgresql://u:s3 cr3t@h/db"})
    CAF_CHECK(has(only(with(url)), "database.url: expected postgresql://USER:"
                                   "PASSWORD@HOST:PORT/NAME or embedded:DIR, "
                                   "found another text (not shown)"));
}

CAF_TEST(plans have upper case names and variables proper ones) {
  CAF_CHECK(has(only(least("[plans.pro]\namount = \"1\"\n")),
                "plans.pro: expected a plan named with 1 to 32 of A-Z 0-9 _"));
  CAF_CHECK(
    has(only(least("[plans." + std::string(33, 'A') + "]\namount = \"1\"\n")),
        "expected a plan named"));
  CAF_CHECK(has(only(least("[plans.TEAM]\ntitle = \"x\"\n")),
                "plans.TEAM.amount: expected a decimal amount"));
  const auto mistakes = bad(least(
    "[plans.PRO]\nvariables = { \"A-B\" = \"s3cr3t\", 1A = \"x\", OK = \"y\" "
    "}\n"));
  CAF_CHECK_EQUAL(mistakes.size(), 2u);
}

CAF_TEST(credential keys have different ids and 32 bytes) {
  const auto with = [&](const std::string& list) {
    auto toml = least();
    toml.replace(toml.find("[\"k1:credential.key\"]"), 21, list);
    return toml;
  };
  CAF_CHECK(has(only(with("[]")), "secrets.credential_keys: expected a list of "
                                  "1 to 32 \"id:file\""));
  CAF_CHECK(has(only(with("[\"a:credential.key\", \"a:credential64.key\"]")),
                "just once, found entry 2 with \"a\" again"));
  write("short.key", "s3cr3t");
  CAF_CHECK(has(only(with("[\"a:short.key\"]")),
                "expected 32 random bytes (raw or base64) in the file of "
                "\"a\", found something else in \""
                  + (dir / "short.key").string()));
  CAF_CHECK(has(only(with("[\"a:none.key\"]")), (dir / "none.key").string()));
  // Each entry is looked at, whatever the others are like.
  CAF_CHECK_EQUAL(
    bad(with("[\"a:none.key\", \"b:short.key\", \":x\", \"c:\", \"d e:f\", "
             "\"nocolon\", \"g:credential.key\"]"))
      .size(),
    6u);
}

// -- what has to be there and to fit together
// ----------------------------------------

CAF_TEST(an empty configuration lacks what is required) {
  const auto mistakes = bad("# nothing\n");
  CAF_CHECK_EQUAL(mistakes.size(), 3u);
  CAF_CHECK(about(mistakes, "database.url"));
  CAF_CHECK(about(mistakes, "auth.hs256_secret_file"));
  CAF_CHECK(about(mistakes, "secrets.credential_keys"));
  CAF_CHECK_EQUAL(mistakes[0].line, 0u);
  CAF_CHECK(has(mistakes[0].to_string(), file().string() + ": "));
}

CAF_TEST(a present section lacks what it requires) {
  auto mistakes = bad(least("[alipay]\n[wechat]\n[railway]\n[mail]\n"));
  for (const auto* key :
       {"alipay.app_id", "alipay.seller_id", "alipay.app_private_key_file",
        "alipay.alipay_public_key_file", "wechat.app_id", "wechat.mch_id",
        "wechat.api_v3_key_file", "railway.token_file", "railway.template_code",
        "mail.url", "mail.from"})
    CAF_CHECK(about(mistakes, key));
  CAF_CHECK_EQUAL(mistakes.size(), 11u);
  // Something missing is blamed on the line of its section.
  CAF_CHECK_EQUAL(mistakes.front().line, 7u);
  CAF_CHECK_EQUAL(mistakes.back().line, 10u);
  CAF_CHECK(has(mistakes.front().to_string(), "SLIPWAY_ALIPAY_APP_ID"));

  mistakes = bad(least(alipay + "app_cert_file = \"cert.pem\"\n"));
  CAF_CHECK_EQUAL(mistakes.size(), 2u);
  CAF_CHECK(about(mistakes, "alipay.alipay_cert_file"));
  CAF_CHECK(about(mistakes, "alipay.root_cert_file"));

  mistakes = bad(least(wechat + "api_v3_key_file = \"v3.key\"\n"));
  // The platform's keys can be fetched.
  CAF_CHECK_EQUAL(mistakes.size(), 2u);
  CAF_CHECK(about(mistakes, "wechat.merchant_serial"));
  CAF_CHECK(about(mistakes, "wechat.merchant_private_key_file"));

  CAF_CHECK(has(only(least(railway)), "template_code, template_id, or"));
  CAF_CHECK(has(only(least(railway + "template_project_id = \"p\"\n")),
                "railway.template_service_id: "));
  CAF_CHECK(has(only(least(railway + "template_service_id = \"s\"\n")),
                "railway.template_project_id: "));
  for (const auto* with :
       {"template_code = \"c\"\n", "template_id = \"i\"\n",
        "template_project_id = \"p\"\ntemplate_service_id = \"s\"\n"})
    CAF_CHECK(good(least(railway + with)).railway.has_value());

  CAF_CHECK(
    has(only(least(mail + "username = \"me\"\n")), "mail.password_file: "));
  CAF_CHECK(has(only(least(mail + "password_file = \"mail.password\"\n")),
                "mail.username: "));
}

CAF_TEST(something wrong is not called missing as well) {
  CAF_CHECK(has(only(least(railway + "template_code = \"a b\"\n")),
                "railway.template_code: expected at most 128 ASCII"));
  CAF_CHECK(
    has(only(least("[mail]\nurl = 1\nfrom = \"a@b\"\n")), "mail.url: "));
  auto toml = least();
  toml.replace(toml.find("jwt.key"), 7, "none.key");
  CAF_CHECK(has(only(toml), "none.key"));
}

CAF_TEST(one of two ways to verify tokens is enough) {
  auto toml = least();
  toml.replace(toml.find("hs256_secret_file = \"jwt.key\""), 29,
               "jwks_file = \"jwks.json\"");
  CAF_CHECK(good(toml).auth.hs256_secret.empty());
  toml.replace(toml.find("jwks.json"), 9, "none.json");
  CAF_CHECK(has(only(toml), "auth.jwks_file: expected the path of a readable "
                            "file, found \""
                              + (dir / "none.json").string()));
}

CAF_TEST(the longest pause is no shorter than the first) {
  CAF_CHECK(has(only(least("[deployment]\nbackoff_initial = \"10s\"\n"
                           "backoff_max = \"9s\"\n")),
                "deployment.backoff_max: expected backoff_max to be at least "
                "backoff_initial, found 9s and 10s"));
  CAF_CHECK(has(only(least("[deployment]\nbackoff_initial = \"6m\"\n")),
                "deployment.backoff_initial: expected backoff_max"));
  static_cast<void>(good(least("[deployment]\nbackoff_initial = \"10s\"\n"
                               "backoff_max = \"10s\"\n")));
}

CAF_TEST(the listeners are different ones) {
  CAF_CHECK(has(only(least("[http]\nlisten = \"127.0.0.1:9464\"\n")),
                "http.listen: expected listen and admin_listen to be "
                "different"));
  static_cast<void>(good(least("[http]\nlisten = \"127.0.0.1:0\"\n"
                               "admin_listen = \"127.0.0.1:0\"\n")));
}

CAF_TEST(tls needs a certificate and its key) {
  CAF_CHECK_EQUAL(
    keys_of(bad(least("[http]\ntls_cert_file = \"jwks.json\"\n"))),
    std::vector<std::string>{"http.tls_key_file"});
  CAF_CHECK_EQUAL(keys_of(bad(least("[http]\ntls_key_file = \"jwt.key\"\n"))),
                  std::vector<std::string>{"http.tls_cert_file"});
  CAF_CHECK_EQUAL(keys_of(bad(least("[http]\nadmin_tls = true\n"))),
                  std::vector<std::string>{"http.admin_tls"});
}

CAF_TEST(a directory has to be one) {
  const auto mistakes
    = bad(least("[mail]\nurl = \"smtp://127.0.0.1:25\"\nfrom = \"a@b\"\n"
                "templates_dir = \"jwt.key\"\n"));
  CAF_REQUIRE(mistakes.size() == 1);
  CAF_CHECK_EQUAL(mistakes[0].key, "mail.templates_dir");
  CAF_CHECK_EQUAL(mistakes[0].expected, "the path of a directory");
}

CAF_TEST(every mistake is told at once in the order of the lines) {
  const auto mistakes
    = bad("[nonsense]\n"
          "[http]\n"
          "listen = 1\n"
          "threads = \"x\"\n"
          "[database]\n"
          "url = \"x\"\n"
          "[deployment]\n"
          "attempts = 99\n"
          "poll_interval = \"soon\"\n"
          "[mail]\n"
          "url = \"smtp://127.0.0.1:1025\"\n"
          "password = \"s3cr3t\"\n",
          {{"SLIPWAY_LIMITS_MAX_BODY", "x"}, {"SLIPWAY_LOG_LEVLE", "info"}});
  const auto expected = std::vector<std::string>{
    "[nonsense]",
    "http.listen",
    "http.threads",
    "database.url",
    "deployment.attempts",
    "deployment.poll_interval",
    "mail.from",
    "mail.password",
    "secrets.credential_keys",
    "auth.hs256_secret_file",
    "SLIPWAY_LOG_LEVLE",
    "SLIPWAY_LIMITS_MAX_BODY",
  };
  CAF_CHECK_EQUAL(keys_of(mistakes), expected);
}

// -- the environment
// -------------------------------------------------------------------

CAF_TEST(a variable takes the place of any key) {
  const auto is
    = good(least("[http]\nlisten = 1\n[deployment]\nmax_concurrent = 4\n"),
           {{"SLIPWAY_DEPLOYMENT_MAX_CONCURRENT", "5"},
            {"SLIPWAY_HTTP_LISTEN", "127.0.0.1:0"},
            {"SLIPWAY_HTTP_PUBLIC_URL", "https://pay.example.com/"},
            {"SLIPWAY_DATABASE_URL", "postgresql://other/db"},
            {"SLIPWAY_PAYMENT_LATE_PAYMENT", "refund"},
            {"SLIPWAY_PAYMENT_ORDER_TTL", "2s"},
            {"SLIPWAY_LIMITS_MAX_BODY", "1MiB"},
            {"SLIPWAY_SECRETS_CREDENTIAL_KEYS",
             "x:" + (dir / "credential64.key").string()
               + ", y:" + (dir / "credential.key").string()},
            {"SLIPWAY_MAIL_URL", "smtp://127.0.0.1:25"},
            {"SLIPWAY_MAIL_FROM", "a@b"},
            {"SLIPWAY_MAIL_REQUIRE_TLS", "true"}});
  CAF_CHECK_EQUAL(is.deployment.max_concurrent, 5u);
  CAF_CHECK_EQUAL(is.http.listen.port, 0);
  CAF_CHECK_EQUAL(is.http.public_url, "https://pay.example.com");
  CAF_CHECK_EQUAL(is.database.url.reveal(), "postgresql://other/db");
  CAF_CHECK(is.payment.late_payment == late_payment_policy::refund);
  CAF_CHECK(is.payment.order_ttl == millis{2'000});
  CAF_CHECK_EQUAL(is.limits.max_body_bytes, 1'048'576u);
  CAF_REQUIRE_EQUAL(is.secrets.credential_keys.size(), 2u);
  CAF_CHECK_EQUAL(is.secrets.credential_keys[1].id, "y");
  CAF_REQUIRE(is.mail.has_value());
  CAF_CHECK(is.mail->require_tls);
}

CAF_TEST(every key can be given by a variable) {
  // With a value that suits no key, each variable must be complained about by
  // its own name, so that each is known.
  for (const auto& each : keys()) {
    const auto plan = std::string{each.section == "plans" ? "PRO_" : ""};
    const auto name = "SLIPWAY_" + upper_case(each.section) + "_" + plan
                      + upper_case(each.name);
    const auto mistakes = bad(least(), {{name, "\n"}});
    CAF_CHECK(about(mistakes, name));
    for (const auto& what : mistakes)
      if (what.key == name) {
        CAF_CHECK_EQUAL(what.file, "environment");
        CAF_CHECK(what.found.find("unknown") == std::string::npos);
      }
  }
}

CAF_TEST(the environment alone is enough) {
  const auto is
    = good("# nothing\n", {{"SLIPWAY_DATABASE_URL", "embedded:/x"},
                           {"SLIPWAY_AUTH_HS256_SECRET", jwt_secret},
                           {"SLIPWAY_SECRETS_CREDENTIAL_KEYS",
                            "k:" + (dir / "credential.key").string()}});
  CAF_CHECK_EQUAL(is.auth.hs256_secret.reveal(), jwt_secret);
}

CAF_TEST(a variable can give a secret itself) {
  const auto is = good(
    least("[wechat]\napi_v3_key_file = \"does not matter\"\n"),
    {{"SLIPWAY_AUTH_HS256_SECRET", "sixteen bytes..."},
     {"SLIPWAY_RAILWAY_TOKEN", railway_token},
     {"SLIPWAY_RAILWAY_TEMPLATE_CODE", "c"},
     {"SLIPWAY_RAILWAY_WEBHOOK_SECRET", hook},
     {"SLIPWAY_MAIL_URL", "smtp://127.0.0.1:25"},
     {"SLIPWAY_MAIL_FROM", "a@b"},
     {"SLIPWAY_MAIL_USERNAME", "me"},
     {"SLIPWAY_MAIL_PASSWORD", mail_password},
     {"SLIPWAY_ALIPAY_APP_ID", "1"},
     {"SLIPWAY_ALIPAY_SELLER_ID", "2"},
     {"SLIPWAY_ALIPAY_APP_PRIVATE_KEY", bare_key()},
     {"SLIPWAY_ALIPAY_ALIPAY_PUBLIC_KEY",
      "-----BEGIN PUBLIC KEY-----\\nAAAA\\n-----END PUBLIC KEY-----\\n"},
     {"SLIPWAY_WECHAT_APP_ID", "3"},
     {"SLIPWAY_WECHAT_MCH_ID", "4"},
     {"SLIPWAY_WECHAT_API_V2_KEY", v2_key},
     {"SLIPWAY_WECHAT_API_V3_KEY", v3_key},
     {"SLIPWAY_WECHAT_MERCHANT_SERIAL", "5"},
     {"SLIPWAY_WECHAT_MERCHANT_PRIVATE_KEY", pem("PRIVATE KEY")},
     {"SLIPWAY_WECHAT_PLATFORM_KEYS", "6:" + (dir / "cert.pem").string()}});
  CAF_CHECK_EQUAL(is.auth.hs256_secret.reveal(), "sixteen bytes...");
  CAF_CHECK_EQUAL(is.railway->token.reveal(), railway_token);
  CAF_CHECK_EQUAL(is.railway->webhook_secret.reveal(), hook);
  CAF_CHECK_EQUAL(is.mail->password.reveal(), mail_password);
  CAF_CHECK_EQUAL(is.alipay->app_private_key.reveal(), bare_key());
  CAF_CHECK_EQUAL(is.alipay->alipay_public_key,
                  "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC "
                  "KEY-----\n");
  CAF_CHECK_EQUAL(is.wechat->api_v2_key.reveal(), v2_key);
  CAF_CHECK_EQUAL(is.wechat->api_v3_key.reveal(), v3_key);
  CAF_CHECK_EQUAL(is.wechat->merchant_private_key.reveal(), pem("PRIVATE KEY"));
}

CAF_TEST(secrets in variables are checked and never shown) {
  CAF_CHECK(has(only(least(), {{"SLIPWAY_AUTH_HS256_SECRET", "s3cr3t"}}),
                "SLIPWAY_AUTH_HS256_SECRET: expected 16 to 4096 bytes, found 6 "
                "bytes"));
  CAF_CHECK(has(only(least(wechat), {{"SLIPWAY_WECHAT_API_V2_KEY", "s3cr3t"}}),
                "SLIPWAY_WECHAT_API_V2_KEY: expected one line of 32 bytes"));
  CAF_CHECK(has(only(least(railway + "template_id = \"i\"\n"),
                     {{"SLIPWAY_RAILWAY_TOKEN", "s3cr3t\ns3cr3t"}}),
                "SLIPWAY_RAILWAY_TOKEN: expected one line"));
  CAF_CHECK(has(only(least(), {{"SLIPWAY_DATABASE_URL", "x://u:s3cr3t@h"}}),
                "SLIPWAY_DATABASE_URL: expected postgresql://"));
  CAF_CHECK(has(only(least(), {{"SLIPWAY_PLANS_PRO_VARIABLES", "s3cr3t"}}),
                "SLIPWAY_PLANS_PRO_VARIABLES: expected NAME=text"));
  CAF_CHECK(has(only(least(railway + "template_id = \"i\"\n"),
                     {{"SLIPWAY_RAILWAY_TOKEN", railway_token},
                      {"SLIPWAY_RAILWAY_TOKEN_FILE", "railway.token"}}),
                "expected one of SLIPWAY_RAILWAY_TOKEN and "
                "SLIPWAY_RAILWAY_TOKEN_FILE, found both"));
}

CAF_TEST(variables of plans change and add plans) {
  auto plans = good(least(), {{"SLIPWAY_PLANS_PRO_AMOUNT", "88.00"},
                              {"SLIPWAY_PLANS_PRO_PERIOD_DAYS", "31"},
                              {"SLIPWAY_PLANS_PRO_VARIABLES", "A=b,C=d=e"},
                              {"SLIPWAY_PLANS_BIG_TEAM_AMOUNT", "500"}})
                 .plans;
  CAF_CHECK_EQUAL(plans.size(), 4u);
  CAF_CHECK_EQUAL(plans.at("PRO").amount_minor, 8'800);
  CAF_CHECK_EQUAL(plans.at("PRO").title, "专业版");
  CAF_CHECK_EQUAL(plans.at("PRO").period_days, 31u);
  CAF_CHECK_EQUAL(plans.at("PRO").variables.at("C"), "d=e");
  CAF_CHECK_EQUAL(plans.at("BIG_TEAM").amount_minor, 50'000);
  CAF_CHECK_EQUAL(plans.at("BIG_TEAM").title, "BIG_TEAM");
  plans = good(least("[plans.ONE]\namount = \"1\"\n"),
               {{"SLIPWAY_PLANS_ONE_AMOUNT", "2"}})
            .plans;
  CAF_CHECK_EQUAL(plans.size(), 1u);
  CAF_CHECK_EQUAL(plans.at("ONE").amount_minor, 200);
  CAF_CHECK(has(only(least(), {{"SLIPWAY_PLANS_PRO_AMOUNT", "0"}}),
                "SLIPWAY_PLANS_PRO_AMOUNT: expected a decimal amount"));
  CAF_CHECK(has(only(least(), {{"SLIPWAY_PLANS_pro_AMOUNT", "1"}}),
                "expected a plan named"));
}

CAF_TEST(an unknown variable of a known section names the nearest one) {
  const auto mistakes
    = bad(least(), {{"SLIPWAY_DEPLOYMENT_MAX_CONCURENT", "5"}});
  CAF_REQUIRE_EQUAL(mistakes.size(), 1u);
  CAF_CHECK_EQUAL(mistakes[0].to_string(),
                  "environment: SLIPWAY_DEPLOYMENT_MAX_CONCURENT: expected a "
                  "known key, found an unknown one; the nearest known variable "
                  "is SLIPWAY_DEPLOYMENT_MAX_CONCURRENT");
  CAF_CHECK(has(only(least(), {{"SLIPWAY_PLANS_PRO_AMUONT", "5"}}),
                "SLIPWAY_PLANS_PRO_AMOUNT"));
  CAF_CHECK(has(only(least(), {{"SLIPWAY_RAILWAY_TOKN", "s3cr3t"}}),
                "SLIPWAY_RAILWAY_TOKEN"));
}

CAF_TEST(other variables are none of our business) {
  static_cast<void>(good(least(), {{"SLIPWAY_BUILD_DIR", "x"},
                                   {"SLIPWAY_HTTP", "x"},
                                   {"SLIPWAY_", "x"},
                                   {"SLIPWAY_HTTPS_PROXY", "x"},
                                   {"HTTP_LISTEN", "x"},
                                   {"slipway_http_listen", "x"}}));
}

CAF_TEST(a wrong value of a variable says its name) {
  CAF_CHECK(has(only(least(), {{"SLIPWAY_DEPLOYMENT_ATTEMPTS", "many"}}),
                "SLIPWAY_DEPLOYMENT_ATTEMPTS: expected an integer from 1 to "
                "20, found \"many\""));
  CAF_CHECK(has(only(least(), {{"SLIPWAY_DEPLOYMENT_ATTEMPTS", "21"}}),
                "expected an integer from 1 to 20, found 21"));
  CAF_CHECK(has(only(least(mail), {{"SLIPWAY_MAIL_REQUIRE_TLS", "yes"}}),
                "expected true or false, found \"yes\""));
  CAF_CHECK(has(only(least(), {{"SLIPWAY_HTTP_PUBLIC_URL", "here"}}),
                "SLIPWAY_HTTP_PUBLIC_URL: expected a URL"));
}

CAF_TEST(an empty variable unsets a key and turns nothing on) {
  const auto is = good(least("[payment]\nrefund_failed_after = \"1h\"\n"),
                       {{"SLIPWAY_PAYMENT_REFUND_FAILED_AFTER", ""},
                        {"SLIPWAY_MAIL_URL", ""},
                        {"SLIPWAY_RAILWAY_TOKEN", ""},
                        {"SLIPWAY_DEPLOYMENT_ATTEMPTS", ""},
                        {"SLIPWAY_PLANS_TEAM_TITLE", ""}});
  CAF_CHECK(!is.payment.refund_failed_after);
  CAF_CHECK(!is.mail);
  CAF_CHECK(!is.railway);
  CAF_CHECK_EQUAL(is.deployment.attempts, 3u);
  CAF_CHECK_EQUAL(is.plans.size(), 3u);
  CAF_CHECK(has(only(least(mail), {{"SLIPWAY_MAIL_URL", ""}}),
                "SLIPWAY_MAIL_URL: expected a URL"));
  // An empty one of the pair leaves the other one alone, in either order.
  for (const auto* text : {"", "sixteen bytes..."}) {
    const auto file = text[0] == '\0' ? (dir / "jwt.key").string() : "";
    CAF_CHECK(!good(least(), {{"SLIPWAY_AUTH_HS256_SECRET", text},
                              {"SLIPWAY_AUTH_HS256_SECRET_FILE", file}})
                 .auth.hs256_secret.empty());
  }
}

CAF_TEST(what is kept for ever has no age) {
  const auto is = good(least("[retention]\ncallbacks = \"0\"\n"
                             "history = \"2000d\"\nmails = \"\"\n"));
  CAF_CHECK(!is.retention.callbacks);
  CAF_CHECK(is.retention.history == 2'000 * std::chrono::hours{24});
  // Empty is unset, here as everywhere.
  CAF_CHECK(is.retention.mails == 90 * std::chrono::hours{24});
}

CAF_TEST(the variables of the seed stand behind everything else) {
  auto toml = least();
  const auto at = toml.find("url = ");
  toml.erase(at, toml.find('\n', at) + 1 - at);
  const auto seeds
    = environment{{"DATABASE_URL", "postgresql://seed/db"},
                  {"RAILWAY_TEMPLATE_PROJECT_ID", "seed-project"},
                  {"RAILWAY_TEMPLATE_SERVICE_ID", "seed-service"}};
  auto is = good(toml, seeds);
  CAF_CHECK_EQUAL(is.database.url.reveal(), "postgresql://seed/db");
  CAF_CHECK(!is.railway);

  is = good(toml + railway, seeds);
  CAF_REQUIRE(is.railway.has_value());
  CAF_CHECK_EQUAL(is.railway->template_project_id, "seed-project");
  CAF_CHECK_EQUAL(is.railway->template_service_id, "seed-service");

  is = good(least(railway
                  + "template_project_id = \"mine\"\n"
                    "template_service_id = \"\"\n"),
            seeds);
  CAF_CHECK_EQUAL(is.railway->template_project_id, "mine");
  CAF_CHECK_EQUAL(is.railway->template_service_id, "seed-service");
  CAF_CHECK_EQUAL(is.database.url.reveal(),
                  "postgresql://slipway:db-pass-word@127.0.0.1/slipway");

  auto both = seeds;
  both["SLIPWAY_DATABASE_URL"] = "postgresql://ours/db";
  is = good(toml, both);
  CAF_CHECK_EQUAL(is.database.url.reveal(), "postgresql://ours/db");
  CAF_CHECK(has(only(toml, {{"DATABASE_URL", "x:s3cr3t"}}),
                "DATABASE_URL: expected postgresql://"));
  CAF_CHECK(has(only(toml, {{"DATABASE_URL", ""}}), "database.url: "));
}

CAF_TEST(the environment of the process is copied) {
  setenv("SLIPWAY_TEST_OF_ENVIRONMENT", "a=b", 1);
  const auto env = process_environment();
  unsetenv("SLIPWAY_TEST_OF_ENVIRONMENT");
  CAF_REQUIRE(env.count("SLIPWAY_TEST_OF_ENVIRONMENT") == 1);
  CAF_CHECK_EQUAL(env.at("SLIPWAY_TEST_OF_ENVIRONMENT"), "a=b");
  CAF_CHECK(env.count("") == 0);
}

CAF_TEST_FIXTURE_SCOPE_END()

CAF_TEST(a mistake is one line) {
  CAF_CHECK_EQUAL((mistake{"a.toml", "b.c", "d", "e", 3, 4}.to_string()),
                  "a.toml:3:4: b.c: expected d, found e");
  CAF_CHECK_EQUAL((mistake{"a.toml", "b.c", "d", "e", 3}.to_string()),
                  "a.toml:3: b.c: expected d, found e");
  CAF_CHECK_EQUAL((mistake{"a.toml", "b.c", "d"}.to_string()),
                  "a.toml: b.c: expected d");
  CAF_CHECK_EQUAL((mistake{"a\nb", "c\rd", "e\nf", "g\nh"}.to_string()),
                  "a?b: c?d: expected e?f, found g?h");
}

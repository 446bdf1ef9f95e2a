#include "http/app/sandbox.hpp"

#include "config/load_settings.hpp"
#include "http/api/auth.hpp"
#include "http/app/server.hpp"
#include "http/client/curl_client.hpp"
#include "http/crypto/digest.hpp"
#include "http/crypto/encoding.hpp"
#include "http/crypto/rsa.hpp"
#include "http/mail/templates.hpp"
#include "http/sandbox/alipay_simulator.hpp"
#include "http/sandbox/mailbox_simulator.hpp"
#include "http/sandbox/railway_simulator.hpp"
#include "http/sandbox/shop.hpp"
#include "http/sandbox/wechat_simulator.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <unistd.h>
#include <utility>

namespace slipway::app {

namespace {

namespace fs = std::filesystem;

constexpr auto app_id = "2021000000000000";

constexpr auto seller_id = "2088000000000000";

constexpr auto wechat_app_id = "wx0000000000000000";

constexpr auto wechat_mch_id = "1900000001";

constexpr auto wechat_merchant_serial
  = "3775B6A45ACD588826D15E583A95F5DD00000001";

constexpr auto wechat_public_key_id
  = "PUB_KEY_ID_0119000000012026112300000000000001";

constexpr auto workspace_id = "sandbox-workspace";

/// Tokens of the sandbox are good for so long.
constexpr auto token_life = std::chrono::hours{24 * 30};

using text_or_error = tl::expected<std::string, std::string>;

/// Reads a file, or makes it with what `make` gives: secrets survive a restart
/// on the same data.
template <class F>
text_or_error keep(const fs::path& file, F make) {
  if (auto in = std::ifstream{file, std::ios::binary}) {
    auto text = std::ostringstream{};
    text << in.rdbuf();
    return text.str();
  }
  text_or_error made = make();
  if (!made)
    return made;
  const auto old_mask = umask(0077);
  auto out = std::ofstream{file, std::ios::binary};
  out << *made;
  out.close();
  umask(old_mask);
  if (!out)
    return tl::unexpected{file.string() + ": cannot be written"};
  return made;
}

text_or_error private_key() {
  auto pair = crypto::generate_rsa_key();
  if (!pair)
    return tl::unexpected{pair.error()};
  return std::move(pair->private_pem);
}

text_or_error public_half(const std::string& private_pem) {
  auto key = crypto::rsa_private_key::parse(private_pem);
  if (!key)
    return tl::unexpected{key.error()};
  return key->public_key().to_pem();
}

/// A port that nobody uses right now.
tl::expected<std::uint16_t, std::string> free_port() {
  const auto fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  auto address = sockaddr_in{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto length = socklen_t{sizeof(address)};
  auto* raw = reinterpret_cast<sockaddr*>(&address);
  const auto good = fd >= 0 && bind(fd, raw, sizeof(address)) == 0
                    && getsockname(fd, raw, &length) == 0;
  if (fd >= 0)
    close(fd);
  if (!good)
    return tl::unexpected{std::string{"no free port on 127.0.0.1"}};
  return ntohs(address.sin_port);
}

/// What the mails of each kind look like, with made-up facts.
std::vector<slipway::sandbox::mail_preview> mail_previews() {
  auto out = std::vector<slipway::sandbox::mail_preview>{};
  for (const auto& kind : mail::template_kinds())
    for (const auto in : mail::languages) {
      const auto locale = mail::to_tag(in);
      auto shown = mail::render_notice(mail::sample_facts(kind), locale);
      out.push_back({std::string{kind.name}, std::string{locale},
                     std::move(shown.mail_subject), std::move(shown.mail_text),
                     std::move(shown.mail_html)});
    }
  return out;
}

std::string loopback_url(std::uint16_t port) {
  return "http://127.0.0.1:" + std::to_string(port) + "/";
}

} // namespace

struct sandbox::impl {
  sandbox_options options;
  fs::path dir;
  bool dir_is_ours = false;
  system_clock clock;
  std::unique_ptr<client::curl_client> network;
  std::unique_ptr<slipway::sandbox::alipay_simulator> alipay;
  std::unique_ptr<slipway::sandbox::wechat_simulator> wechat;
  std::unique_ptr<slipway::sandbox::railway_simulator> railway;
  std::unique_ptr<slipway::sandbox::mailbox_simulator> mailbox;
  std::unique_ptr<app::server> server;
  std::string user_token;
  std::string operator_token;
  std::string admin_token;

  tl::expected<void, std::string> make_dir() {
    auto error = std::error_code{};
    if (options.data_dir.empty()) {
      auto name = (fs::temp_directory_path(error) / "slipway-XXXXXX").string();
      if (mkdtemp(name.data()) == nullptr)
        return tl::unexpected{std::string{"no temporary directory"}};
      dir = name;
      dir_is_ours = true;
      // The cluster's own user has to get through.
      fs::permissions(dir,
                      fs::perms::owner_all | fs::perms::group_exec
                        | fs::perms::others_exec,
                      error);
    } else {
      dir = fs::absolute(options.data_dir, error);
    }
    fs::create_directories(dir / "keys", error);
    if (error)
      return tl::unexpected{dir.string() + ": " + error.message()};
    return {};
  }

  tl::expected<void, std::string> start() {
    if (auto done = make_dir(); !done)
      return done;
    const auto keys = dir / "keys";
    auto settings = config::settings{};
    auto trouble = std::string{};
    const auto need = [&](text_or_error value) {
      if (value)
        return std::move(*value);
      if (trouble.empty())
        trouble = value.error();
      return std::string{};
    };
    const auto random_text = [](std::size_t bytes) {
      return [bytes]() -> text_or_error {
        auto made = crypto::random_bytes(bytes);
        if (!made)
          return tl::unexpected{made.error()};
        return crypto::hex_encode(*made);
      };
    };
    const auto app_key = need(keep(keys / "app.pem", private_key));
    const auto alipay_key = need(keep(keys / "alipay.pem", private_key));
    const auto jwt = need(keep(keys / "jwt.key", random_text(32)));
    const auto credentials = need(keep(keys / "credentials.key", [] {
      return crypto::random_bytes(32);
    }));
    const auto railway_token = need(keep(keys / "railway", random_text(16)));
    const auto webhook_secret
      = need(keep(keys / "railway.webhook", random_text(24)));
    const auto merchant_key = need(keep(keys / "merchant.pem", private_key));
    const auto wechat_key = need(keep(keys / "wechat.pem", private_key));
    const auto v2_key = need(keep(keys / "wechat.v2", random_text(16)));
    const auto v3_key = need(keep(keys / "wechat.v3", random_text(16)));
    if (!trouble.empty())
      return tl::unexpected{trouble};
    const auto app_public = need(public_half(app_key));
    const auto alipay_public = need(public_half(alipay_key));
    const auto merchant_public = need(public_half(merchant_key));
    if (!trouble.empty())
      return tl::unexpected{trouble};
    if (credentials.size() != 32)
      return tl::unexpected{(keys / "credentials.key").string()
                            + ": expected 32 bytes"};

    if (options.port == 0) {
      const auto port = free_port();
      if (!port)
        return tl::unexpected{port.error()};
      options.port = *port;
    }
    const auto public_url = "http://127.0.0.1:" + std::to_string(options.port);

    network = std::make_unique<client::curl_client>();
    auto pay = slipway::sandbox::alipay_simulator_options{};
    pay.app_id = app_id;
    pay.seller_id = seller_id;
    pay.alipay_private_key = alipay_key;
    pay.app_public_key = app_public;
    alipay = std::make_unique<slipway::sandbox::alipay_simulator>(
      std::move(pay), clock, *network);
    if (auto done = alipay->start(); !done)
      return tl::unexpected{"Alipay: " + done.error()};
    auto till = slipway::sandbox::wechat_simulator_options{};
    till.app_id = wechat_app_id;
    till.mch_id = wechat_mch_id;
    till.api_v2_key = v2_key;
    till.api_v3_key = v3_key;
    till.merchant_serial = wechat_merchant_serial;
    till.merchant_certificate = merchant_public;
    till.refund_notify_url = public_url + "/api/payment/wechat/refund-notify";
    till.platform_keys.push_back({wechat_public_key_id, wechat_key, ""});
    wechat = std::make_unique<slipway::sandbox::wechat_simulator>(
      std::move(till), clock, *network);
    if (auto done = wechat->start(); !done)
      return tl::unexpected{"WeChat Pay: " + done.error()};
    auto cloud = slipway::sandbox::railway_simulator_options{};
    cloud.token = railway_token;
    cloud.workspace_id = workspace_id;
    railway = std::make_unique<slipway::sandbox::railway_simulator>(
      std::move(cloud), clock);
    if (auto done = railway->start(); !done)
      return tl::unexpected{"Railway: " + done.error()};
    auto post = slipway::sandbox::mailbox_simulator_options{};
    post.previews = mail_previews;
    mailbox = std::make_unique<slipway::sandbox::mailbox_simulator>(
      std::move(post), clock);
    if (auto done = mailbox->start(); !done)
      return tl::unexpected{"mailbox: " + done.error()};

    settings.http.listen.port = options.port;
    settings.http.admin_listen.port = 0;
    settings.http.public_url = public_url;
    settings.database.embedded_dir = (dir / "database").string();
    settings.auth.hs256_secret = config::secret{jwt};
    auto key = config::credential_key{};
    key.id = "sandbox";
    std::copy(credentials.begin(), credentials.end(), key.bytes.begin());
    settings.secrets.credential_keys.push_back(key);
    settings.plans = config::default_plans();
    settings.alipay.emplace();
    settings.alipay->app_id = app_id;
    settings.alipay->seller_id = seller_id;
    settings.alipay->gateway_url = alipay->gateway_url();
    settings.alipay->app_private_key = config::secret{app_key};
    settings.alipay->alipay_public_key = alipay_public;
    settings.alipay->return_url = public_url + "/shop";
    settings.wechat = wechat->settings();
    settings.wechat->merchant_private_key = config::secret{merchant_key};
    settings.railway.emplace();
    settings.railway->endpoint = railway->endpoint();
    settings.railway->token = config::secret{railway_token};
    settings.railway->workspace_id = workspace_id;
    settings.railway->template_code = "slipway-demo";
    // The way in for Railway's webhooks; the rule that has them sent is
    // Slipway's to register, and the simulator posts to whatever address it
    // names.
    settings.railway->webhook_secret = config::secret{webhook_secret};
    settings.railway->register_webhook = true;
    settings.railway->create_interval = millis{600};
    settings.railway->visibility_lag = millis{2'000};
    settings.mail.emplace();
    settings.mail->url = mailbox->smtp_url();
    settings.mail->from = "Slipway <no-reply@slipway.example>";
    // Whoever tries things out has one user for everything.
    settings.limits.user_requests_per_second = 0;
    settings.deployment.poll_interval = millis{500};
    settings.deployment.backoff_initial = millis{1'000};
    settings.deployment.backoff_max = millis{10'000};
    settings.deployment.deadline = millis{120'000};

    const auto token_of = [this, secret = settings.auth.hs256_secret](
                            const slipway::sandbox::shop_visitor& visitor) {
      auto who = api::principal{};
      who.user_id = visitor.user_id;
      who.email = visitor.email;
      who.locale = visitor.locale;
      return api::make_hs256_token(secret, who, clock.now() + token_life);
    };
    auto pages = slipway::sandbox::shop_options{};
    pages.token = token_of;
    pages.visitor = {"demo-user", "demo@example.com", "zh-CN"};
    pages.alipay_url = loopback_url(alipay->port());
    pages.wechat_url = loopback_url(wechat->port());
    pages.railway_url = loopback_url(railway->port());
    pages.mailbox_url = loopback_url(mailbox->web_port());
    user_token = token_of(pages.visitor);
    auto staff = api::principal{};
    staff.user_id = "demo-operator";
    staff.role = api::role::operator_;
    operator_token = api::make_hs256_token(settings.auth.hs256_secret, staff,
                                           clock.now() + token_life);
    auto chief = api::principal{};
    chief.user_id = "demo-admin";
    chief.role = api::role::admin;
    admin_token = api::make_hs256_token(settings.auth.hs256_secret, chief,
                                        clock.now() + token_life);

    auto started = app::server::start(
      std::move(settings), false, [pages](http::router& routes) {
        slipway::sandbox::add_shop(routes, pages);
      });
    if (!started)
      return tl::unexpected{started.error()};
    server = std::move(*started);
    return {};
  }

  void stop(millis deadline) {
    if (server)
      server->stop(deadline);
    if (alipay)
      alipay->stop();
    if (wechat)
      wechat->stop();
    if (railway)
      railway->stop();
    if (mailbox)
      mailbox->stop();
    if (network)
      network->stop();
  }

  ~impl() {
    stop(millis{0});
    server.reset();
    if (!dir_is_ours)
      return;
    auto error = std::error_code{};
    fs::remove_all(dir, error);
    if (error)
      spdlog::warn("{} could not be removed: {}", dir.string(),
                   error.message());
  }
};

sandbox::sandbox(std::unique_ptr<impl> state) : impl_{std::move(state)} {
}

sandbox::~sandbox() = default;

tl::expected<std::unique_ptr<sandbox>, std::string>
sandbox::start(sandbox_options options) {
  auto state = std::make_unique<impl>();
  state->options = std::move(options);
  if (auto done = state->start(); !done)
    return tl::unexpected{done.error()};
  return std::unique_ptr<sandbox>{new sandbox{std::move(state)}};
}

void sandbox::stop(millis deadline) {
  impl_->stop(deadline);
}

bool sandbox::healthy() {
  return impl_->server->healthy();
}

std::string sandbox::banner() const {
  const auto cloud = slipway::sandbox::railway_simulator_options{};
  return "\nSlipway sandbox is ready\n"
         "  try it          "
         + impl_->server->url()
         + "/shop\n"
           "  API             "
         + impl_->server->url()
         + "\n"
           "  admin           "
         + impl_->server->admin_url()
         + "\n"
           "  Alipay          "
         + loopback_url(impl_->alipay->port())
         + "\n"
           "  WeChat Pay      "
         + loopback_url(impl_->wechat->port())
         + "\n"
           "  Railway         "
         + loopback_url(impl_->railway->port())
         + "\n"
           "  its template    project "
         + cloud.template_project_id + " service " + cloud.template_service_id
         + "\n"
           "  mailbox         "
         + loopback_url(impl_->mailbox->web_port())
         + "\n"
           "  data            "
         + impl_->dir.string()
         + (impl_->dir_is_ours ? " (removed at the end)" : "")
         + "\n"
           "  user token      "
         + impl_->user_token
         + "\n"
           "  operator token  "
         + impl_->operator_token
         + "\n"
           "  admin token     "
         + impl_->admin_token + "\n\n";
}

} // namespace slipway::app

#include "http/app/check.hpp"

#include "http/api/auth.hpp"
#include "http/client/curl_client.hpp"
#include "http/payment/accounts.hpp"
#include "http/provider/answer.hpp"
#include "http/server/tls.hpp"
#include "persistence/embedded.hpp"
#include "persistence/migrate.hpp"

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <curl/curl.h>

#include <future>

namespace slipway::app {

namespace {

constexpr auto timeout = millis{10'000};

finding check_database(const config::settings& settings) {
  auto out = finding{"database", finding::bad, {}};
  auto cluster = std::unique_ptr<embedded_cluster>{};
  auto options = pg::connection_options{};
  options.application_name = "slipway check";
  if (!settings.database.embedded_dir.empty()) {
    auto embedded = embedded_options{};
    embedded.dir = settings.database.embedded_dir;
    auto started = embedded_cluster::start(std::move(embedded));
    if (!started) {
      out.detail = started.error();
      return out;
    }
    cluster = std::move(*started);
    options.url = cluster->url();
  } else {
    options.url = settings.database.url.reveal();
  }
  auto db = pg::connection::open(options);
  if (!db) {
    out.detail = to_string(db.error());
    return out;
  }
  const auto version = schema_version(*db);
  if (!version) {
    out.detail = to_string(version.error());
    return out;
  }
  const auto newest = schema_migrations().back().version;
  if (*version > newest) {
    out.detail = "schema version " + std::to_string(*version)
                 + " is newer than this program's " + std::to_string(newest);
    return out;
  }
  out.state = finding::good;
  out.detail = "schema version " + std::to_string(*version);
  if (*version < newest)
    out.detail += ", " + std::to_string(newest - *version)
                  + " migration(s) to be applied";
  return out;
}

/// Whether somebody listens at the URL's host and port.
finding check_listening(std::string part, const std::string& url) {
  auto out = finding{std::move(part), finding::bad, {}};
  auto* handle = curl_easy_init();
  if (handle == nullptr) {
    out.detail = "libcurl could not be started";
    return out;
  }
  // Connecting speaks no protocol yet, so http stands for all of them.
  auto target = url;
  if (const auto scheme = target.find("://"); scheme != std::string::npos) {
    const auto name = target.substr(0, scheme);
    const auto* port = name == "https"   ? ":443"
                       : name == "smtps" ? ":465"
                       : name == "smtp"  ? ":25"
                                         : ":80";
    auto host = target.substr(scheme + 3);
    host = host.substr(0, host.find('/'));
    const auto bracket = host.rfind(']');
    const auto colon = host.rfind(':');
    if (colon == std::string::npos
        || (bracket != std::string::npos && colon < bracket))
      host += port;
    target = "http://" + host;
  }
  curl_easy_setopt(handle, CURLOPT_URL, target.c_str());
  curl_easy_setopt(handle, CURLOPT_CONNECT_ONLY, 1L);
  curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(handle, CURLOPT_CONNECTTIMEOUT_MS,
                   static_cast<long>(timeout.count()));
  const auto code = curl_easy_perform(handle);
  if (code == CURLE_OK) {
    out.state = finding::good;
    out.detail = "reachable at " + url;
  } else {
    out.detail = url + ": " + curl_easy_strerror(code);
  }
  curl_easy_cleanup(handle);
  return out;
}

/// Whether the keys of one gateway fit, and whether it can be reached.
finding
check_gateway(std::string part, config::settings only, const std::string& url) {
  if (const auto opened = payment::open_accounts(only); !opened)
    return {std::move(part), finding::bad, opened.error()};
  return check_listening(std::move(part), url);
}

finding check_alipay(const config::settings& settings) {
  auto only = config::settings{};
  only.alipay = settings.alipay;
  return check_gateway("alipay", std::move(only), settings.alipay->gateway_url);
}

finding check_wechat(const config::settings& settings) {
  auto only = config::settings{};
  only.wechat = settings.wechat;
  return check_gateway("wechat", std::move(only), settings.wechat->gateway_url);
}

finding check_railway(const config::railway_settings& settings) {
  auto out = finding{"railway", finding::bad, {}};
  auto client = client::curl_client{};
  auto request = client::http_request{};
  request.method = "POST";
  request.url = settings.endpoint + "?source=slipway";
  request.headers = {{"Content-Type", "application/json"},
                     {"Authorization", "Bearer " + settings.token.reveal()}};
  request.body = boost::json::serialize(boost::json::object{
    {"query", "query { apiToken { workspaces { id name } } }"}});
  request.timeout = timeout;
  auto promise = std::promise<provider::answer>{};
  auto future = promise.get_future();
  client.send(std::move(request), [&](client::http_outcome outcome) {
    promise.set_value(provider::read_answer(outcome));
  });
  const auto got = future.get();
  if (got.is == provider::answer_class::ok) {
    out.state = finding::good;
    out.detail = "token accepted at " + settings.endpoint;
  } else {
    out.detail = settings.endpoint + ": " + std::string{to_string(got.is)}
                 + ", " + got.message;
  }
  return out;
}

/// The files have been found good already, or this is a race that is lost.
finding check_tls(const config::http_settings& settings) {
  if (settings.tls_cert_file.empty())
    return {"tls", finding::off, "no http.tls_cert_file"};
  const auto files
    = http::tls_files{settings.tls_cert_file, settings.tls_key_file};
  const auto opened = http::tls_keeper::open(files);
  if (!opened)
    return {"tls", finding::bad, to_string(opened.error(), files)};
  const auto& certificate = **opened;
  const auto now = http::tls_keeper::clock::now();
  const auto whose = "the certificate of " + certificate.subject();
  if (const auto notice = http::expiry_notice(certificate.valid_until(), now))
    return {"tls",
            certificate.valid_until() <= now ? finding::bad : finding::doubtful,
            whose + " " + *notice};
  return {"tls", finding::good, whose};
}

} // namespace

std::vector<finding> check_connectivity(const config::settings& settings) {
  auto out = std::vector<finding>{};
  out.push_back({"config", finding::good,
                 std::to_string(settings.plans.size()) + " plan(s)"});
  // Whoever asks has made sure that they are right.
  const auto keys = api::describe_keys(settings.auth);
  out.push_back(
    {"auth", keys ? finding::good : finding::bad, keys ? *keys : keys.error()});
  out.push_back(check_tls(settings.http));
  out.push_back(check_database(settings));
  out.push_back(settings.alipay
                  ? check_alipay(settings)
                  : finding{"alipay", finding::off, "no [alipay]"});
  out.push_back(settings.wechat
                  ? check_wechat(settings)
                  : finding{"wechat", finding::off, "no [wechat]"});
  out.push_back(settings.railway
                  ? check_railway(*settings.railway)
                  : finding{"railway", finding::off,
                            "no [railway]: deployments are skipped"});
  out.push_back(settings.mail ? check_listening("mail", settings.mail->url)
                              : finding{"mail", finding::off, "no [mail]"});
  return out;
}

} // namespace slipway::app

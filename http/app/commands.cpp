#include "http/app/commands.hpp"

#include "config/keys.hpp"
#include "config/load_settings.hpp"
#include "http/api/auth.hpp"
#include "http/app/check.hpp"
#include "http/app/sandbox.hpp"
#include "http/app/server.hpp"
#include "http/app/verify.hpp"
#include "http/mail/templates.hpp"
#include "http/mail/unsubscribe.hpp"
#include "http/server/tls.hpp"
#include "persistence/automation.hpp"
#include "persistence/embedded.hpp"
#include "persistence/migrate.hpp"

#include <spdlog/spdlog.h>
#include <sys/resource.h>

#include <csignal>
#include <cstdio>
#include <ctime>
#include <optional>
#include <string>
#include <vector>

namespace slipway::app {

namespace {

sigset_t stop_signals() {
  auto out = sigset_t{};
  sigemptyset(&out);
  sigaddset(&out, SIGTERM);
  sigaddset(&out, SIGINT);
  return out;
}

/// Keeps the signals for `wait_for_stop`. Called before any thread starts,
/// since threads inherit it.
void hold_signals() {
  const auto signals = stop_signals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
}

/// Connections are descriptors, and many systems give few of them to whoever
/// does not ask.
void raise_descriptors() {
  auto limit = rlimit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
    return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

/// Returns at the first signal; from then on the next one kills. Returns as
/// well when the server cannot go on.
/// @returns the exit code.
template <class Server>
int wait_for_stop(Server& server) {
  const auto signals = stop_signals();
  const auto second = timespec{1, 0};
  auto which = -1;
  while (which < 0) {
    which = sigtimedwait(&signals, nullptr, &second);
    if (which < 0 && !server.healthy()) {
      spdlog::critical(
        "the embedded database has died; start again to recover");
      return exit_failure;
    }
  }
  std::signal(SIGTERM, SIG_DFL);
  std::signal(SIGINT, SIG_DFL);
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
  spdlog::info("signal {}, stopping", which);
  return exit_ok;
}

/// Loads the configuration, or prints every mistake on its own line.
std::optional<config::settings> load(const std::string& file) {
  auto loaded = config::load_settings(file, config::process_environment());
  if (loaded)
    return std::move(*loaded);
  for (const auto& mistake : loaded.error())
    std::fprintf(stderr, "%s\n", mistake.to_string().c_str());
  return std::nullopt;
}

/// What is wrong with the configuration beyond its form, or asked for and not
/// possible, one line each.
std::vector<std::string> unsupported(const config::settings& settings) {
  auto out = std::vector<std::string>{};
  if (const auto keys = api::describe_keys(settings.auth); !keys)
    out.push_back("auth.jwks_file: " + keys.error());
  if (settings.alipay || settings.wechat)
    for (const auto& [name, plan] : settings.plans)
      if (plan.currency != "CNY")
        out.push_back("plans." + name
                      + ".currency: expected CNY, since Alipay and WeChat Pay "
                        "charge nothing else, found "
                      + plan.currency);
  return out;
}

/// What is wrong with the certificate of the listeners, as a line.
std::optional<std::string> unusable(const config::http_settings& settings) {
  if (settings.tls_cert_file.empty())
    return std::nullopt;
  const auto opened
    = http::tls_keeper::open({settings.tls_cert_file, settings.tls_key_file});
  if (opened)
    return std::nullopt;
  const auto& why = opened.error();
  const auto of_key = why.of == http::tls_fault::key;
  return std::string{of_key ? "http.tls_key_file" : "http.tls_cert_file"}
         + ": expected " + why.expected + ", found " + why.found + " in "
         + (of_key ? settings.tls_key_file : settings.tls_cert_file);
}

/// Mistakes in what [mail] points to, one line each.
std::vector<std::string>
mistakes_of_mail(const std::string& file, const config::settings& settings) {
  auto out = std::vector<std::string>{};
  if (!settings.mail)
    return out;
  const auto& url = settings.mail->unsubscribe_url;
  if (!url.empty())
    if (const auto wrong = mail::check_unsubscribe_url(url))
      out.push_back(file + ": mail.unsubscribe_url: " + *wrong);
  if (!settings.mail->templates_dir.empty())
    if (auto made = mail::template_set::load(settings.mail->templates_dir);
        !made)
      for (auto& line : made.error())
        out.push_back(std::move(line));
  return out;
}

/// Loads what the server is to run with; prints what is in the way.
std::optional<config::settings> load_for_serving(const std::string& file) {
  auto settings = load(file);
  if (!settings)
    return std::nullopt;
  auto missing = unsupported(*settings);
  if (auto line = unusable(settings->http))
    missing.push_back(std::move(*line));
  for (const auto& line : missing)
    std::fprintf(stderr, "%s: %s\n", file.c_str(), line.c_str());
  const auto wrong = mistakes_of_mail(file, *settings);
  for (const auto& line : wrong)
    std::fprintf(stderr, "%s\n", line.c_str());
  if (!missing.empty() || !wrong.empty())
    return std::nullopt;
  return settings;
}

} // namespace

int run_server(const std::string& config_file, bool faults) {
  hold_signals();
  raise_descriptors();
  auto settings = load_for_serving(config_file);
  if (!settings)
    return exit_usage;
  set_up_logging(settings->log);
  if ((settings->alipay || settings->wechat)
      && settings->http.public_url.empty())
    spdlog::warn("http.public_url is not set: the payment gateways are told to "
                 "call back at http.listen, which they can only reach on this "
                 "machine");
  if (settings->wechat && settings->payment.order_ttl < std::chrono::minutes{1})
    spdlog::warn("payment.order_ttl: WeChat Pay itself takes no order that "
                 "expires within a minute");
  const auto patience = settings->http.stop_timeout;
  auto started = server::start(std::move(*settings), faults);
  if (!started) {
    spdlog::error("{}", started.error());
    return exit_failure;
  }
  spdlog::info("serving on {}, admin on {}", (*started)->url(),
               (*started)->admin_url());
  const auto code = wait_for_stop(**started);
  (*started)->stop(patience);
  spdlog::info("stopped");
  return code;
}

int run_sandbox(const sandbox_arguments& arguments) {
  hold_signals();
  set_up_logging({});
  auto started = sandbox::start({arguments.data_dir, arguments.port});
  if (!started) {
    spdlog::error("{}", started.error());
    return exit_failure;
  }
  std::fputs((*started)->banner().c_str(), stdout);
  std::fflush(stdout);
  const auto code = wait_for_stop(**started);
  (*started)->stop(config::http_settings{}.stop_timeout);
  spdlog::info("stopped");
  return code;
}

int run_migrate(const std::string& config_file) {
  auto settings = load(config_file);
  if (!settings)
    return exit_usage;
  set_up_logging(settings->log);
  auto cluster = std::unique_ptr<embedded_cluster>{};
  auto options = pg::connection_options{};
  options.application_name = "slipway migrate";
  options.statement_timeout = millis{600'000};
  if (!settings->database.embedded_dir.empty()) {
    auto embedded = embedded_options{};
    embedded.dir = settings->database.embedded_dir;
    auto started = embedded_cluster::start(std::move(embedded));
    if (!started) {
      spdlog::error("{}", started.error());
      return exit_failure;
    }
    cluster = std::move(*started);
    options.url = cluster->url();
  } else {
    options.url = settings->database.url.reveal();
  }
  auto db = pg::connection::open(options);
  if (!db) {
    spdlog::error("database: {}", to_string(db.error()));
    return exit_failure;
  }
  const auto report = migrate(*db, schema_migrations(), millis{60'000});
  if (!report) {
    spdlog::error("migration: {}", to_string(report.error()));
    return exit_failure;
  }
  const auto reading = read_automation(*db);
  if (!reading) {
    spdlog::error("main switch: {}", to_string(reading.error()));
    return exit_failure;
  }
  std::printf("schema version %d, %zu migration(s) applied\n", report->to,
              report->applied.size());
  if (!reading->state.enabled)
    std::printf("automation is off: %s\n", reading->state.reason.c_str());
  return exit_ok;
}

int run_check(const std::string& config_file) {
  auto settings = load_for_serving(config_file);
  if (!settings)
    return exit_usage;
  set_up_logging(settings->log);
  auto good = true;
  for (const auto& x : check_connectivity(*settings)) {
    std::printf("%-9s %-8s %s\n", x.part.c_str(),
                x.state == finding::good       ? "ok"
                : x.state == finding::off      ? "off"
                : x.state == finding::doubtful ? "WARNING"
                                               : "FAILED",
                x.detail.c_str());
    good = good && x.state != finding::bad;
  }
  return good ? exit_ok : exit_failure;
}

int run_verify(const std::vector<std::string>& files) {
  // A message, its keys and its certificates, with a lot to spare.
  constexpr std::size_t file_max = 1024 * 1024;
  auto problem = std::string{};
  for (const auto& file : files) {
    const auto text = config::read_file(file, file_max, problem);
    auto line = text
                  ? verify_message(file, *text)
                  : verify_unreadable(
                    file, "expected a file with one message, found " + problem);
    line += '\n';
    if (std::fputs(line.c_str(), stdout) < 0)
      return exit_failure;
  }
  return std::fflush(stdout) == 0 ? exit_ok : exit_failure;
}

} // namespace slipway::app

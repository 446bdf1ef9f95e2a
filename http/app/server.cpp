#include "http/app/server.hpp"

#include "actors/broadcaster.hpp"
#include "actors/dispatcher.hpp"
#include "actors/environment.hpp"
#include "actors/guardian.hpp"
#include "actors/observe/log.hpp"
#include "actors/observe/tracer.hpp"
#include "actors/observer.hpp"
#include "actors/pruner.hpp"
#include "actors/registry.hpp"
#include "config/keyring.hpp"
#include "http/api/context.hpp"
#include "http/api/events.hpp"
#include "http/api/observe.hpp"
#include "http/app/commands.hpp"
#include "http/client/curl_client.hpp"
#include "http/client/websocket.hpp"
#include "http/mail/notifier.hpp"
#include "http/mail/templates.hpp"
#include "http/payment/accounts.hpp"
#include "http/payment/reconciler.hpp"
#include "http/provider/janitor.hpp"
#include "http/provider/logbook.hpp"
#include "http/provider/railway.hpp"
#include "http/provider/watcher.hpp"
#include "http/server/server.hpp"
#include "http/telemetry/exporter.hpp"
#include "persistence/automation.hpp"
#include "persistence/embedded.hpp"
#include "persistence/journal.hpp"
#include "persistence/lease.hpp"
#include "persistence/migrate.hpp"
#include "persistence/store.hpp"

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/scoped_actor.hpp>
#include <caf/send.hpp>
#include <spdlog/spdlog.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <future>
#include <sched.h>
#include <thread>
#include <unistd.h>
#include <utility>

namespace slipway::app {

namespace {

/// A migration may rewrite a table.
constexpr auto migration_timeout = millis{600'000};

constexpr auto migration_lock_wait = millis{60'000};

constexpr auto start_patience = millis{30'000};

pg::connection_options
connection_options(const config::settings& settings, const std::string& url,
                   const char* name) {
  auto out = pg::connection_options{};
  out.url = url;
  out.application_name = std::string{"slipway "} + name;
  out.connect_timeout = settings.database.connect_timeout;
  out.statement_timeout = settings.database.statement_timeout;
  return out;
}

lifecycle::rules rules_of(const config::settings& settings) {
  auto out = lifecycle::rules{};
  out.provider = settings.railway.has_value();
  out.attempts = settings.deployment.attempts;
  out.backoff_initial = settings.deployment.backoff_initial;
  out.backoff_max = settings.deployment.backoff_max;
  out.deadline = settings.deployment.deadline;
  out.revive_late_payment
    = settings.payment.late_payment == config::late_payment_policy::revive;
  out.refund_failed_after = settings.payment.refund_failed_after;
  out.ask_interval = settings.payment.ask_interval;
  return out;
}

/// How long a server that has gone is remembered.
constexpr auto servers_kept = millis{30LL * 24 * 3'600'000};

pruner_options pruner_options_of(const config::retention_settings& settings) {
  auto out = pruner_options{};
  const auto keep
    = [&out](query::prunable what, const std::optional<millis>& length) {
        if (length)
          out.keep[what] = *length;
      };
  keep(query::prunable::callbacks, settings.callbacks);
  keep(query::prunable::history, settings.history);
  keep(query::prunable::notifications, settings.notifications);
  keep(query::prunable::mails, settings.mails);
  keep(query::prunable::orphans, settings.history);
  keep(query::prunable::servers, servers_kept);
  return out;
}

std::string host_name() {
  char name[256] = {};
  return gethostname(name, sizeof(name) - 1) == 0 ? name : "localhost";
}

/// For tests: ends the process without a word at one commit. The variable
/// SLIPWAY_CRASH_AT says which: `before:N` or `after:N`, counted from 1 over
/// all JOURNALs.
std::function<void(bool durable)> make_crash_point() {
  static auto commits = std::atomic<int>{0};
  const auto* where = std::getenv("SLIPWAY_CRASH_AT");
  if (where == nullptr)
    return nullptr;
  const auto text = std::string{where};
  const auto after = text.starts_with("after:");
  const auto number = std::atoi(text.substr(text.find(':') + 1).c_str());
  return [after, number, mine = 0](bool durable) mutable {
    if (!durable)
      mine = ++commits;
    if (durable == after && mine == number)
      raise(SIGKILL);
  };
}

/// What a lost server still has to say is written within this, or never.
constexpr auto last_words = millis{500};

/// Ends the process on the spot, once what was logged is written.
[[noreturn]] void end_process(int code) {
  log::drain(last_words);
  std::_Exit(code);
}

/// Nanoseconds since 1970 that never go back, however the clock is set.
std::function<std::uint64_t()> span_clock() {
  const auto wall = std::chrono::duration_cast<std::chrono::nanoseconds>(
    std::chrono::system_clock::now().time_since_epoch());
  return [wall, start = std::chrono::steady_clock::now()] {
    return static_cast<std::uint64_t>(
      (wall
       + std::chrono::duration_cast<std::chrono::nanoseconds>(
         std::chrono::steady_clock::now() - start))
        .count());
  };
}

/// The right-hand side of Message-IDs: that of the sender's address.
std::string domain_of(const std::string& mailbox) {
  const auto at = mailbox.rfind('@');
  if (at == std::string::npos)
    return "slipway.local";
  auto out = mailbox.substr(at + 1);
  if (const auto end = out.find('>'); end != std::string::npos)
    out.resize(end);
  return out;
}

} // namespace

struct server::impl {
  config::settings settings;
  bool faults = false;
  std::function<void(http::router&)> add_routes;
  std::unique_ptr<embedded_cluster> cluster;
  std::string database_url;
  std::unique_ptr<slipway::lease> lease;
  system_clock clock;
  system_entropy entropy;
  slipway::metrics metrics;
  // All of this is null unless somebody wants spans. The collector has a client
  // of its own, so that it can be in nobody's way.
  std::unique_ptr<client::curl_client> collector;
  std::unique_ptr<telemetry::exporter> spans;
  std::unique_ptr<trace::tracer> tracer;
  std::shared_ptr<const config::keyring> keys;
  std::shared_ptr<client::curl_client> network;
  std::shared_ptr<client::websocket_client> sockets; ///< Null without provider.
  payment::opened_accounts opened;
  payment::order_words words;
  std::shared_ptr<mail::template_store> templates; ///< Null without mail.
  std::unique_ptr<caf::actor_system_config> actor_config;
  std::unique_ptr<caf::actor_system> actors;
  std::shared_ptr<environment> env;
  automation_state automation; ///< As it was at the start.
  guardian_actor root;
  // Nobody but the server itself speaks to these.
  actor_slot<observer_actor> observing;
  actor_slot<pruner_actor> pruning;
  actor_slot<provider::caller_actor> calling; ///< Null without a provider.
  actor_slot<janitor_actor> keeper;           ///< Null without a provider.
  std::shared_ptr<std::atomic<bool>> recovered
    = std::make_shared<std::atomic<bool>>(false);
  std::shared_ptr<api::context> context;
  std::shared_ptr<http::tls_keeper> certificate; ///< Null without TLS.
  std::unique_ptr<http::server> listener;
  std::unique_ptr<http::server> admin;
  bool stopped = false;
  std::atomic<bool> stopping = false;
  /// Nothing is begun outside any more.
  std::atomic<bool> draining = false;

  // Two threads each for sockets and actors are enough for small machines, and
  // more than cores would only get into each other's way.
  [[nodiscard]] std::size_t threads() const {
    return std::max(std::size_t{2}, static_cast<std::size_t>(
                                      std::thread::hardware_concurrency()));
  }

  tl::expected<void, std::string> start_database() {
    if (!settings.database.embedded_dir.empty()) {
      auto options = embedded_options{};
      options.dir = settings.database.embedded_dir;
      auto started = embedded_cluster::start(std::move(options));
      if (!started)
        return tl::unexpected{started.error()};
      cluster = std::move(*started);
      database_url = cluster->url();
    } else {
      database_url = settings.database.url.reveal();
    }
    auto options = connection_options(settings, database_url, "migration");
    options.statement_timeout = migration_timeout;
    auto db = pg::connection::open(options);
    if (!db)
      return tl::unexpected{"database: " + to_string(db.error())};
    const auto report = migrate(*db, schema_migrations(), migration_lock_wait);
    if (!report)
      return tl::unexpected{"migration: " + to_string(report.error())};
    if (!report->applied.empty())
      spdlog::info("database migrated from version {} to {}", report->from,
                   report->to);
    auto reading = read_automation(*db);
    if (!reading)
      return tl::unexpected{"main switch: " + to_string(reading.error())};
    automation = std::move(reading->state);
    if (!automation.enabled)
      spdlog::warn("automation is off, nothing leaves: {}", automation.reason);
    auto holding = lease_options{};
    holding.connection = connection_options(settings, database_url, "lease");
    // A renewal that hangs must not outlast the lease.
    const auto patience = std::max(settings.database.lease / 5, millis{200});
    holding.connection.connect_timeout
      = std::min(holding.connection.connect_timeout, patience);
    holding.connection.statement_timeout
      = std::min(holding.connection.statement_timeout, patience);
    holding.connection.grace = patience / 2;
    holding.name = host_name() + ":" + std::to_string(getpid());
    holding.length = settings.database.lease;
    holding.renew_every = settings.database.lease / 5;
    holding.process = this_process();
    holding.on_lost = [] {
      // Whatever it still has in mind belongs to somebody else by now.
      end_process(exit_lease_lost);
    };
    auto taken = lease::take(std::move(holding));
    if (!taken)
      return tl::unexpected{"lease: " + to_string(taken.error())};
    lease = std::move(*taken);
    return {};
  }

  tl::expected<void, std::string> open_accounts() {
    auto made = payment::open_accounts(settings);
    if (!made)
      return tl::unexpected{made.error()};
    opened = std::move(*made);
    words.plans = settings.plans;
    words.public_url
      = settings.http.public_url.empty()
          ? (settings.http.tls_cert_file.empty() ? "http://" : "https://")
              + settings.http.listen.host + ":"
              + std::to_string(settings.http.listen.port)
          : settings.http.public_url;
    if (settings.alipay)
      words.return_url = settings.alipay->return_url;
    return {};
  }

  void start_tracing() {
    if (!settings.traces)
      return;
    auto wire = client::curl_client_options{};
    wire.in_flight_max = 2;
    wire.queue_max = 2;
    wire.connections_per_host = 2;
    wire.idle_connections_max = 2;
    collector = std::make_unique<client::curl_client>(wire);
    auto out = telemetry::exporter_options{};
    out.endpoint = settings.traces->endpoint;
    out.of = {settings.traces->service_name, SLIPWAY_VERSION,
              host_name() + ":" + std::to_string(getpid())};
    out.timeout = settings.traces->timeout;
    out.network = collector.get();
    out.count = [m = &metrics](telemetry::span_fate what, std::size_t n) {
      if (what == telemetry::span_fate::exported)
        m->spans_exported(static_cast<double>(n));
      else
        m->spans_dropped(to_string(what), static_cast<double>(n));
    };
    spans = std::make_unique<telemetry::exporter>(std::move(out));
    auto with = trace::tracer_options{};
    with.sample_per_mille = settings.traces->sample_per_mille;
    with.random = &entropy;
    with.now = span_clock();
    with.sink = spans.get();
    tracer = std::make_unique<trace::tracer>(std::move(with));
  }

  tl::expected<void, std::string> open_templates() {
    if (!settings.mail)
      return {};
    auto made = mail::template_store::open(settings.mail->templates_dir);
    if (!made)
      return tl::unexpected{"mail.templates_dir: " + made.error().front()};
    templates = std::move(*made);
    return {};
  }

  void make_environment() {
    env = std::make_shared<environment>();
    env->clock = &clock;
    env->entropy = &entropy;
    env->metrics = &metrics;
    env->tracer = tracer.get();
    env->is_recovered = [flag = recovered] {
      return flag->load();
    };
    env->rules = rules_of(settings);
    for (const auto& [name, plan] : settings.plans) {
      auto& own = env->plan_rules[name] = env->rules;
      own.head_start = settings.deployment.priority_head_start * plan.priority;
    }
    env->limits.resident_max = settings.limits.max_resident;
    env->limits.journal_queue_max = settings.limits.max_journal_queue;
    env->automation->learn(automation);
    metrics.automation_enabled(env->automation->enabled());
    env->mail = settings.mail.has_value();
    env->holds_lease = [this] {
      return !draining && lease->holds();
    };
    // Without a provider what waits in the queue goes on waiting.
    env->max_concurrent
      = settings.railway ? settings.deployment.max_concurrent : 0;
    env->journals.resize(settings.database.journal_connections != 0
                           ? settings.database.journal_connections
                           : threads() / 2);
    // And one for what looks at many rows.
    env->stores.resize(settings.database.reader_connections + 1);
  }

  // -- the parts, as the GUARDIAN starts them
  // ---------------------------------------------------------------------------

  /// A part that lives in `where`.
  /// @param spawn `handle(bool again)`.
  template <class Handle, class Spawn>
  static child_spec part(std::string id, std::string kind,
                         actor_slot<Handle> where, Spawn spawn) {
    auto out = child_spec{};
    out.id = std::move(id);
    out.kind = std::move(kind);
    out.start = [where, spawn = std::move(spawn)](bool again) mutable {
      auto made = spawn(again);
      where.set(made);
      return caf::actor_cast<caf::actor>(made);
    };
    return out;
  }

  /// The same for one that works by ticks.
  template <class Handle, class Spawn>
  static child_spec ticking(std::string id, std::string kind,
                            actor_slot<Handle> where, Spawn spawn) {
    return part(std::move(id), std::move(kind), std::move(where),
                [spawn = std::move(spawn)](bool again) {
                  auto made = spawn(again);
                  caf::anon_send(made, tick{});
                  return made;
                });
  }

  /// For parts that supervisors have told what they want.
  std::function<void()> tell_supervisors() {
    return [this] {
      caf::anon_send(env->registry(), parts_restarted{});
    };
  }

  group_spec database_parts() {
    auto out = group_spec{"database", {}};
    const auto fenced = [this] {
      lease->lost();
    };
    for (std::size_t i = 0; i < env->journals.size(); ++i)
      out.children.push_back(part("journal-" + std::to_string(i), "journal",
                                  env->journals[i], [this, fenced](bool) {
                                    auto options = journal_options{};
                                    options.connection = connection_options(
                                      settings, database_url, "journal");
                                    options.connection.plans_for_all = true;
                                    options.server = lease->server();
                                    options.on_fenced = fenced;
                                    if (faults)
                                      options.at_commit = make_crash_point();
                                    return actors->spawn<caf::detached>(
                                      journal, &metrics, std::move(options));
                                  }));
    for (std::size_t i = 0; i < env->stores.size(); ++i)
      out.children.push_back(part(
        "store-" + std::to_string(i), "store", env->stores[i],
        [this, fenced](bool) {
          return actors->spawn<caf::detached>(
            store, &metrics,
            store_options{connection_options(settings, database_url, "store"),
                          lease->server(), fenced});
        }));
    return out;
  }

  group_spec subscription_parts() {
    auto out = group_spec{"subscriptions", {}};
    out.children.push_back(
      ticking("registry", "registry", env->registry, [this](bool again) {
        return actors->spawn(registry, environment_ptr{env}, recovered, again);
      }));
    out.children.push_back(
      ticking("dispatcher", "dispatcher", env->dispatcher, [this](bool) {
        return actors->spawn(dispatcher, environment_ptr{env});
      }));
    return out;
  }

  group_spec provider_parts() {
    auto out = group_spec{"railway", {}};
    if (!settings.railway)
      return out;
    out.children.push_back(part("caller", "caller", calling, [this](bool) {
      return actors->spawn(
        provider::caller, environment_ptr{env},
        provider::caller_options{*settings.railway, network});
    }));
    out.children.push_back(
      part("watcher", "watcher", env->watcher, [this](bool) {
        return actors->spawn(
          provider::watcher, environment_ptr{env},
          provider::watcher_options{
            *settings.railway, settings.deployment.poll_interval, calling});
      }));
    out.children.back().restarted = tell_supervisors();
    out.children.push_back(
      part("provider", "provider", env->provider, [this](bool again) {
        auto options = provider::railway_options{};
        options.settings = *settings.railway;
        options.plans = settings.plans;
        options.poll_interval = settings.deployment.poll_interval;
        options.caller = calling;
        options.keys = keys;
        options.again = again;
        return actors->spawn(provider::railway, environment_ptr{env},
                             std::move(options));
      }));
    out.children.back().restarted = tell_supervisors();
    out.children.push_back(
      part("logbook", "logbook", env->logbook, [this](bool) {
        auto options = provider::logbook_options{};
        options.settings = *settings.railway;
        options.caller = calling;
        options.sockets = sockets;
        options.keys = keys;
        return actors->spawn(provider::logbook, environment_ptr{env},
                             std::move(options));
      }));
    out.children.push_back(part("janitor", "janitor", keeper, [this](bool) {
      auto options = provider::janitor_options{};
      options.settings = *settings.railway;
      options.caller = calling;
      if (settings.railway->register_webhook)
        options.webhook_url = settings.http.public_url + "/api/railway/webhook/"
                              + settings.railway->webhook_secret.reveal();
      return actors->spawn(provider::janitor, environment_ptr{env},
                           std::move(options));
    }));
    return out;
  }

  group_spec payment_parts() {
    auto out = group_spec{"payments", {}};
    out.children.push_back(
      ticking("reconciler", "reconciler", env->reconciler, [this](bool) {
        auto options = payment::reconciler_options{};
        options.accounts = opened.accounts;
        options.wechat_keys = opened.wechat_keys;
        options.network = network;
        options.words = words;
        options.asks_per_second = settings.payment.asks_per_second;
        return actors->spawn(payment::reconciler, environment_ptr{env},
                             std::move(options));
      }));
    return out;
  }

  group_spec mail_parts() {
    auto out = group_spec{"mail", {}};
    if (!settings.mail)
      return out;
    out.children.push_back(
      ticking("notifier", "notifier", env->notifier, [this](bool) {
        auto options = mail::notifier_options{};
        options.plans = settings.plans;
        options.domain = domain_of(settings.mail->from);
        options.templates = templates;
        options.unsubscribe_url = settings.mail->unsubscribe_url;
        options.send = [sender = mail::smtp_sender{*settings.mail}](
                         const mail::mail_message& message) {
          return sender.send(message);
        };
        return actors->spawn<caf::detached>(
          mail::notifier, environment_ptr{env}, std::move(options));
      }));
    return out;
  }

  /// Readers are kept from taking the connections that everybody needs.
  [[nodiscard]] std::size_t watchers_max() const {
    const auto connections = settings.limits.max_connections;
    return std::min(settings.limits.max_watchers,
                    std::max(connections - connections / 8, std::size_t{1}));
  }

  group_spec reader_parts() {
    auto out = group_spec{"readers", {}};
    out.children.push_back(
      ticking("broadcaster", "broadcaster", env->broadcaster, [this](bool) {
        auto options = broadcaster_options{};
        options.render = api::render_status_event;
        options.watchers_max = watchers_max();
        options.watchers_each_max = settings.limits.max_watchers_per_user;
        return actors->spawn(broadcaster, environment_ptr{env},
                             std::move(options));
      }));
    return out;
  }

  group_spec operator_parts() {
    auto out = group_spec{"operators", {}};
    out.children.push_back(
      ticking("observer", "observer", observing, [this](bool) {
        return actors->spawn(observer, environment_ptr{env});
      }));
    out.children.push_back(part("pruner", "pruner", pruning, [this](bool) {
      return actors->spawn(pruner, environment_ptr{env},
                           pruner_options_of(settings.retention));
    }));
    return out;
  }

  /// Whether everything that it was told before is done.
  bool wait_for_guardian() {
    auto ready = std::make_shared<std::promise<void>>();
    auto answered = ready->get_future();
    auto question = std::make_shared<tree_query>();
    question->done = {[ready](const std::vector<actor_view>&) {
                        ready->set_value();
                      },
                      {}};
    caf::anon_send(root, std::move(question));
    return answered.wait_for(start_patience) == std::future_status::ready;
  }

  tl::expected<void, std::string> start_actors() {
    actor_config = std::make_unique<caf::actor_system_config>();
    actor_config->set("scheduler.max-threads", threads());
    // One queue: on few cores workers that steal spend more time on looking for
    // work than on working.
    actor_config->set("scheduler.policy", caf::atom("sharing"));
    actors = std::make_unique<caf::actor_system>(*actor_config);
    make_environment();
    auto options = guardian_options{};
    // In the order in which they need each other.
    options.groups = {database_parts(), subscription_parts(), provider_parts(),
                      payment_parts(),  mail_parts(),         reader_parts(),
                      operator_parts()};
    options.give_up = [](const std::string& why) {
      // Whoever starts us again finds everything in the database.
      spdlog::critical("{}; the server ends", why);
      end_process(exit_failure);
    };
    root = actors->spawn(guardian, environment_ptr{env}, std::move(options));
    caf::actor_cast<caf::strong_actor_ptr>(root)->get()->attach_functor(
      [this](const caf::error& why) {
        if (stopping)
          return;
        spdlog::critical("the guardian went down: {}", failure_text(why));
        end_process(exit_failure);
      });
    // It answers once all slots are filled; from then on the environment is
    // constant.
    if (!wait_for_guardian())
      return tl::unexpected{std::string{"the actors do not start"}};
    // Whoever was taken over before all parts were there has told nobody.
    caf::anon_send(env->registry(), parts_restarted{});
    if (env->rules.refund_failed_after)
      caf::anon_send(env->stores.front()(),
                     make_job(query::wake_failed{clock.now()},
                              [](job<query::wake_failed>::reply done) {
                                if (!done)
                                  spdlog::warn("deployments that failed before "
                                               "this start are not refunded "
                                               "by themselves: {}",
                                               to_string(done.error()));
                              }));
    return {};
  }

  tl::expected<void, std::string> open_certificate() {
    const auto files = http::tls_files{settings.http.tls_cert_file,
                                       settings.http.tls_key_file};
    if (files.certificate.empty())
      return {};
    auto opened = http::tls_keeper::open(files);
    if (!opened)
      return tl::unexpected{to_string(opened.error(), files)};
    certificate = std::move(*opened);
    certificate->watch();
    return {};
  }

  tl::expected<void, std::string> start_listeners() {
    context = std::make_shared<api::context>();
    context->recovered = recovered;
    context->root = root;
    context->faults = faults;
    context->env = env;
    context->settings = settings;
    context->keys = keys;
    auto tokens = api::make_verifier(settings.auth, clock.now());
    if (!tokens)
      return tl::unexpected{"auth.jwks_file: " + tokens.error()};
    context->tokens = std::move(*tokens);
    context->rates = std::make_unique<api::rate_limiter>(
      settings.limits.user_requests_per_second,
      settings.limits.user_request_burst);
    context->accounts = opened.accounts;
    context->words = words;
    context->templates = templates;
    auto options = http::server_options{};
    options.host = settings.http.listen.host;
    options.port = settings.http.listen.port;
    options.threads
      = settings.http.threads != 0 ? settings.http.threads : threads();
    options.max_connections = settings.limits.max_connections;
    options.max_header_bytes = settings.limits.max_header_bytes;
    options.max_body_bytes = settings.limits.max_body_bytes;
    options.max_body_bytes_in_all
      = std::max(options.max_body_bytes_in_all, 4 * options.max_body_bytes);
    // Those of logs have a bound of their own, and so have visits.
    options.max_streams += watchers_max();
    options.max_in_flight = settings.limits.max_in_flight;
    options.header_timeout = settings.http.header_timeout;
    options.body_timeout = settings.http.body_timeout;
    options.idle_timeout = settings.http.idle_timeout;
    options.request_timeout = settings.http.request_timeout;
    if (auto done = open_certificate(); !done)
      return done;
    options.tls = certificate;
    auto hooks = http::server_hooks{};
    if (tracer)
      hooks.on_request = [t = tracer.get()](http::request& in) {
        in.trace = api::enter_trace(*t, in);
      };
    hooks.on_response = [m = &metrics, t = tracer.get()](
                          std::string_view route, int status, double seconds,
                          const http::request& in) {
      m->http_request(route, status);
      if (api::is_callback_route(route))
        m->callback_seconds(seconds);
      if (t != nullptr)
        api::trace_answer(*t, in, route, status, seconds);
      api::log_answer(in, route, status, seconds);
    };
    hooks.is_full = [env = env](const http::request& in) {
      return in.verb != http::method::get && env->is_full();
    };
    hooks.on_shed = [m = &metrics](std::string_view reason) {
      m->shed(reason);
    };
    auto routes = api::make_public_router(context);
    if (add_routes)
      add_routes(routes);
    listener
      = std::make_unique<http::server>(options, std::move(routes), hooks);
    if (auto done = listener->start(); !done)
      return tl::unexpected{"http.listen: " + done.error()};
    options.host = settings.http.admin_listen.host;
    options.port = settings.http.admin_listen.port;
    options.threads = 1;
    options.tls = settings.http.admin_tls ? certificate : nullptr;
    admin = std::make_unique<http::server>(options,
                                           api::make_admin_router(context));
    if (auto done = admin->start(); !done)
      return tl::unexpected{"http.admin_listen: " + done.error()};
    return {};
  }

  /// Has all threads from here on, when something wakes them, wait for whoever
  /// runs to end its turn. A commit answers dozens at once: on a few cores
  /// each answer would take the processor from the thread that is about to give
  /// the next one, and back. PostgreSQL still goes ahead of us.
  static void take_turns() {
    const sched_param usual{};
    if (::sched_setscheduler(0, SCHED_BATCH, &usual) != 0)
      spdlog::debug("scheduled as everybody is: {}", std::strerror(errno));
  }

  tl::expected<void, std::string> start() {
    take_turns();
    metrics.started(static_cast<double>(clock.now().time_since_epoch().count())
                    / 1000);
    start_tracing();
    keys = std::make_shared<const config::keyring>(settings.secrets);
    network = std::make_shared<client::curl_client>();
    if (settings.railway)
      sockets = std::make_shared<client::websocket_client>();
    if (auto done = open_accounts(); !done)
      return done;
    if (auto done = open_templates(); !done)
      return done;
    if (auto done = start_database(); !done)
      return done;
    if (auto done = start_actors(); !done)
      return done;
    return start_listeners();
  }

  /// What was begun outside may end, and what came of it be written down.
  void drain(std::chrono::steady_clock::time_point until) {
    draining = true;
    if (!env->load->drain(until))
      spdlog::warn("{} call(s) under way are cut off; the next server looks "
                   "what became of them",
                   env->load->outward.load());
  }

  /// Everything that the stores have been asked so far is done afterwards.
  void drain_stores() {
    for (const auto& x : env->stores) {
      auto done = std::make_shared<std::promise<void>>();
      auto answered = done->get_future();
      caf::anon_send(x(),
                     make_job(query::ping{}, [done](job<query::ping>::reply) {
                       done->set_value();
                     }));
      if (answered.wait_for(settings.database.statement_timeout)
          != std::future_status::ready)
        spdlog::warn("the database does not answer, stopping all the same");
    }
  }

  void stop(millis deadline) {
    if (std::exchange(stopped, true))
      return;
    const auto until = std::chrono::steady_clock::now() + deadline;
    if (listener)
      // The rest of the time is for what these requests have begun.
      listener->stop(deadline * 2 / 3);
    if (env && root)
      drain(until);
    if (admin)
      admin->stop(millis{0});
    if (network)
      network->stop();
    if (sockets)
      sockets->stop();
    if (actors) {
      const auto end = [](const auto& slot) {
        if (auto handle = slot())
          caf::anon_send_exit(handle, caf::exit_reason::user_shutdown);
      };
      // Those who give work first, those who carry it out last: a mail that was
      // sent has to be marked as sent.
      stopping = true;
      caf::anon_send(root, stop_order{});
      // Once it answers it starts nobody any more, and the slots stay.
      if (!wait_for_guardian())
        spdlog::warn("the guardian does not answer, stopping all the same");
      end(observing);
      end(pruning);
      end(env->broadcaster);
      end(env->dispatcher);
      end(env->provider);
      end(keeper);
      end(env->watcher);
      end(env->logbook);
      end(calling);
      end(env->reconciler);
      end(env->notifier);
      end(env->registry);
      drain_stores();
      for (const auto& x : env->stores)
        end(x);
      for (const auto& x : env->journals)
        end(x);
      caf::anon_send_exit(root, caf::exit_reason::user_shutdown);
      root = nullptr;
      context.reset();
      actors->await_all_actors_done();
    }
    if (spans)
      spans->stop(std::clamp(std::chrono::duration_cast<millis>(
                               until - std::chrono::steady_clock::now()),
                             millis{200}, millis{2'000}));
    if (collector)
      collector->stop();
    lease.reset();
    if (cluster)
      if (auto done = cluster->stop(); !done)
        spdlog::warn("database: {}", done.error());
  }

  ~impl() {
    stop(millis{0});
    listener.reset();
    admin.reset();
    context.reset();
    env.reset();
    actors.reset();
  }
};

server::server(std::unique_ptr<impl> state) : impl_{std::move(state)} {
}

server::~server() = default;

tl::expected<std::unique_ptr<server>, std::string>
server::start(config::settings settings, bool faults,
              std::function<void(http::router&)> add_routes) {
  auto state = std::make_unique<impl>();
  state->settings = std::move(settings);
  state->faults = faults;
  state->add_routes = std::move(add_routes);
  if (auto done = state->start(); !done)
    return tl::unexpected{done.error()};
  return std::unique_ptr<server>{new server{std::move(state)}};
}

void server::stop(millis deadline) {
  impl_->stop(deadline);
}

bool server::healthy() {
  return !impl_->cluster || impl_->cluster->running();
}

std::string server::url() const {
  return impl_->listener->url();
}

std::string server::admin_url() const {
  return impl_->admin->url();
}

void set_up_logging(const config::log_settings& settings) {
  log::set_up(spdlog::level::from_str(settings.level),
              settings.format == "json" ? log::format::json : log::format::text,
              STDERR_FILENO);
}

} // namespace slipway::app

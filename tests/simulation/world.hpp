#pragma once

#include "actors/dispatcher.hpp"
#include "actors/registry.hpp"
#include "http/mail/mailer.hpp"
#include "http/mail/notifier.hpp"
#include "http/provider/railway.hpp"
#include "http/provider/watcher.hpp"
#include "tests/support/actor_fixture.hpp"
#include "tests/support/railway_model.hpp"

#include <atomic>
#include <cstdlib>

/// What all simulations share: the real actors under virtual time, a database
/// in memory that fails now and then, a provider that makes trouble, crashes,
/// and people who insist. Everything is drawn from one seed, and a seed replays
/// exactly.
namespace slipway::test {

struct simulated_world : test_coordinator_fixture<caf::actor_system_config> {
  std::uint64_t seed;
  std::mt19937_64 dice;
  slipway::metrics meters;
  virtual_clock time;
  seeded_entropy random;
  std::shared_ptr<memory_database> db = std::make_shared<memory_database>();
  railway_model railway;
  std::shared_ptr<const config::keyring> keys;
  std::shared_ptr<environment> env;
  std::vector<caf::actor> alive;
  std::shared_ptr<std::atomic<bool>> recovered;
  std::multimap<timestamp, std::function<void()>> script;
  std::map<std::string, int> mails;
  std::string flaw;
  bool kind = false;
  std::size_t crashes = 0;
  /// Whether anybody still listens to replies.
  std::shared_ptr<bool> open = std::make_shared<bool>(true);

  explicit simulated_world(std::uint64_t from)
    : seed{from}, dice{from}, time{sched.clock()}, random{from + 1},
      railway{from + 2, [this] {
                return time.now();
              }} {
    auto secrets = config::secrets_settings{};
    secrets.credential_keys.push_back({"test", {}});
    keys = std::make_shared<const config::keyring>(secrets);
    db->commit_fault = [this](const transition&) {
      if (kind)
        return commit_status::stored;
      const auto n = roll(1'000);
      return n < 4    ? commit_status::failed
             : n < 8  ? commit_status::in_doubt
             : n < 10 ? commit_status::conflict
                      : commit_status::stored;
    };
    db->in_doubt_stores = [this] {
      return roll(2) == 0;
    };
    db->query_fault = [this](const store_job&) {
      return !kind && roll(200) == 0 ? errc::database_down : errc::none;
    };
    db->stored = [this](const record& before, const transition& t) {
      if (t.next.state.revision != before.state.revision + 1)
        complain("a revision was skipped");
      watch(before.state, t);
    };
  }

  /// Subclasses call `end` in their own: it tells their actors.
  ~simulated_world() override {
    end();
  }

  /// The last thing that happens.
  void end() {
    kill_server();
    *open = false;
  }

  int roll(int sides) {
    return static_cast<int>(dice() % static_cast<std::uint64_t>(sides));
  }

  millis some(millis most) {
    return millis{static_cast<std::int64_t>(
      dice() % static_cast<std::uint64_t>(most.count() + 1))};
  }

  void complain(const std::string& what) {
    if (flaw.empty())
      flaw = what + " at +" + to_words(time.now() - day_one);
  }

  // -- what a simulation adds
  // -------------------------------------------------------

  /// Changes rules and limits before anything runs.
  virtual void set_up(environment&) {
    // nop
  }

  /// Changes what the provider's actors are told.
  virtual void set_up_provider(config::railway_settings&) {
    // nop
  }

  /// Spawns more actors; hand them to `keep`.
  virtual void add_actors() {
    // nop
  }

  /// Nothing of the server may call any more.
  virtual void sever() {
    // nop
  }

  /// When something is to happen outside, apart from the provider.
  [[nodiscard]] virtual std::optional<timestamp> next_outside() const {
    return std::nullopt;
  }

  virtual void run_outside() {
    // nop
  }

  /// Called with each transition once it is stored.
  virtual void watch(const state&, const transition&) {
    // nop
  }

  // -- the server
  // ------------------------------------------------------------------

  template <class Handle>
  Handle keep(Handle x) {
    alive.push_back(caf::actor_cast<caf::actor>(x));
    return x;
  }

  void start_server() {
    env = std::make_shared<environment>();
    env->clock = &time;
    env->entropy = &random;
    env->metrics = &meters;
    env->rules = make_rules();
    env->rules.deadline = 10min;
    env->max_concurrent = 2;
    env->mail = true;
    set_up(*env);
    db->rules = env->rules;
    for (auto i = 0; i < 2; ++i) {
      env->journals.push_back(keep(sys.spawn(memory_journal, db)));
      env->stores.push_back(keep(sys.spawn(memory_store, db)));
    }
    recovered = std::make_shared<std::atomic<bool>>(false);
    env->registry
      = keep(sys.spawn(registry, environment_ptr{env}, recovered, false));
    env->dispatcher = keep(sys.spawn(dispatcher, environment_ptr{env}));
    auto options = provider::railway_options{};
    options.settings.endpoint = "http://127.0.0.1/graphql/v2";
    options.settings.template_code = "web";
    options.settings.workspace_id = "ws";
    set_up_provider(options.settings);
    options.caller = keep(
      sys.spawn(provider::caller, environment_ptr{env},
                provider::caller_options{options.settings, railway.connect()}));
    options.keys = keys;
    env->watcher = keep(
      sys.spawn(provider::watcher, environment_ptr{env},
                provider::watcher_options{
                  options.settings, options.poll_interval, options.caller}));
    env->provider
      = keep(sys.spawn(provider::railway, environment_ptr{env}, options));
    auto post = mail::notifier_options{};
    post.send = [this](const mail::mail_message& what) {
      auto end = mail::send_outcome{};
      const auto n = kind ? 9 : roll(10);
      end.status = n == 0   ? mail::send_status::deferred
                   : n == 1 ? mail::send_status::in_doubt
                            : mail::send_status::sent;
      if (n != 0)
        ++mails[what.message_id];
      return end;
    };
    env->notifier = keep(sys.spawn(mail::notifier, environment_ptr{env}, post));
    add_actors();
    caf::anon_send(env->registry(), tick{});
    caf::anon_send(env->dispatcher(), tick{});
    caf::anon_send(env->notifier(), tick{});
  }

  registry_state& registry_of() {
    using impl = registry_actor::stateful_base<registry_state>;
    return deref<impl>(env->registry()).state;
  }

  dispatcher_state& dispatcher_of() {
    using impl = dispatcher_actor::stateful_base<dispatcher_state>;
    return deref<impl>(env->dispatcher()).state;
  }

  /// The power goes off: nothing of the server writes or calls any more.
  void kill_server() {
    if (!env)
      return;
    railway.sever();
    sever();
    ++db->server;
    for (auto& [id, x] : registry_of().entries)
      if (x.handle)
        alive.push_back(caf::actor_cast<caf::actor>(x.handle));
    for (auto& x : alive)
      caf::anon_send_exit(x, caf::exit_reason::kill);
    alive.clear();
    while (sched.try_run_once())
      ; // nop
    env->registry = nullptr;
    env->dispatcher = nullptr;
    env->provider = nullptr;
    env->watcher = nullptr;
    env->notifier = nullptr;
    env->reconciler = nullptr;
    env->journals.clear();
    env->stores.clear();
    env = nullptr;
  }

  void crash() {
    ++crashes;
    kill_server();
    start_server();
  }

  // -- the people
  // ----------------------------------------------------------------

  void later(millis after, std::function<void()> what) {
    script.emplace(time.now() + after, std::move(what));
  }

  /// Sends until it has been answered without an error.
  void insist(subscription_id whom, std::function<event()> what,
              std::function<void(const outcome&)> done = {}) {
    auto cmd = std::make_shared<command>();
    cmd->subscription = whom;
    cmd->what = what();
    if (std::holds_alternative<subscription_created>(cmd->what)) {
      auto made = std::make_shared<creation>();
      made->user_id = "user";
      made->plan = "PRO";
      made->currency = "CNY";
      const auto sealed
        = keys->seal("\"token\"", to_text(cmd->subscription) + "/TELEGRAM");
      made->credentials.push_back(
        {"TELEGRAM", sealed.key_id, sealed.nonce, sealed.ciphertext});
      cmd->create = made;
    }
    cmd->reply = std::make_shared<reply_slot>(
      [this, here = open, whom, what, done](const outcome& end) {
        if (!*here)
          return;
        if (end.error == errc::none) {
          if (done)
            done(end);
          return;
        }
        later(1s + some(5s), [this, whom, what, done] {
          insist(whom, what, done);
        });
      });
    caf::anon_send(env->registry(), std::move(cmd));
  }

  // -- time
  // ----------------------------------------------------------------------

  /// Runs one message of an actor that chance picks.
  bool run_one() {
    if (sched.jobs.size() > 1)
      std::swap(sched.jobs.front(), sched.jobs[dice() % sched.jobs.size()]);
    return sched.try_run_once();
  }

  void settle() {
    while (run_one())
      ; // nop
  }

  /// Goes to the next moment at which anything happens.
  void step() {
    auto at = time.now() + 1h;
    const auto now = time.now();
    if (!script.empty())
      at = std::min(at, script.begin()->first);
    if (const auto due = railway.next())
      at = std::min(at, *due);
    if (const auto due = next_outside())
      at = std::min(at, *due);
    auto left = std::chrono::nanoseconds{std::max(at - now, millis{0})};
    auto& clock = sched.clock();
    if (clock.has_pending_timeout())
      left = std::min(
        left, std::max(std::chrono::nanoseconds{0},
                       std::chrono::nanoseconds{clock.schedule().begin()->first
                                                - clock.now()}));
    // Milliseconds are the finest that anybody reads.
    left = std::chrono::ceil<millis>(left);
    clock.advance_time(left);
    railway.run();
    run_outside();
    while (!script.empty() && script.begin()->first <= time.now()) {
      auto what = std::move(script.begin()->second);
      script.erase(script.begin());
      what();
    }
    settle();
  }

  /// One number for all that happened, as far as it was written down.
  [[nodiscard]] std::uint64_t fingerprint(std::string_view more = {}) const {
    auto hash = std::uint64_t{1'469'598'103'934'665'603u};
    const auto mix = [&hash](std::string_view text) {
      for (unsigned char c : text)
        hash = (hash ^ c) * 1'099'511'628'211u;
    };
    for (const auto& x : db->history) {
      mix(to_rfc3339(x.entry.at));
      mix(x.entry.summary);
    }
    mix(std::to_string(railway.calls));
    mix(more);
    return hash;
  }
};

// -- playing many seeds
// --------------------------------------------------------------

inline std::uint64_t number(const char* name, std::uint64_t otherwise) {
  const auto* text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

inline void quiet() {
  spdlog::set_level(std::getenv("SLIPWAY_SIM_LOG") != nullptr
                      ? spdlog::level::debug
                      : spdlog::level::off);
}

/// The seeds of one quarter: one test may take 30 seconds at most.
struct seed_range {
  std::uint64_t first = 0;
  std::uint64_t end = 0;

  seed_range(std::uint64_t quarter, std::uint64_t otherwise) {
    const auto seeds = number("SLIPWAY_SIM_SEEDS", otherwise);
    first = number("SLIPWAY_SIM_SEED", 1) + seeds * quarter / 4;
    end = number("SLIPWAY_SIM_SEED", 1) + seeds * (quarter + 1) / 4;
  }

  [[nodiscard]] std::uint64_t count() const {
    return end - first;
  }
};

/// Says how to see it again.
inline void report(const simulated_world& world) {
  CAF_ERROR("seed " << world.seed << ": " << world.flaw
                    << " (replay: SLIPWAY_SIM_SEED=" << world.seed
                    << " SLIPWAY_SIM_SEEDS=1)");
  if (std::getenv("SLIPWAY_SIM_LOG") == nullptr)
    return;
  for (const auto& x : world.db->history)
    CAF_MESSAGE(to_rfc3339(x.entry.at)
                << " " << to_text(x.subscription) << " " << x.entry.summary);
}

} // namespace slipway::test

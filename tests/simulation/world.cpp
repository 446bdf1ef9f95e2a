#include "tests/simulation/world.hpp"

#include "http/mail/notifier.hpp"
#include "http/provider/railway.hpp"
#include "http/provider/watcher.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>

namespace slipway::test {

namespace {

/// Ends an actor before it looks at anything else that waits for it.
void cut_off(const caf::actor& whom) {
  caf::actor_cast<caf::abstract_actor*>(whom)->enqueue(
    nullptr, caf::make_message_id(caf::message_priority::high),
    caf::make_message(caf::exit_msg{whom.address(), caf::exit_reason::kill}),
    nullptr);
}

} // namespace

simulated_world::simulated_world(std::uint64_t from)
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
  db->silence_of = [this](std::int64_t who) -> std::optional<millis> {
    const auto lost = leases_lost_.find(who);
    if (lost == leases_lost_.end())
      return std::nullopt;
    return time.now() - lost->second;
  };
  db->in_doubt_stores = [this] {
    return roll(2) == 0;
  };
  db->query_fault = [this](const store_job&) {
    if (kind || roll(200) != 0)
      return errc::none;
    checks.excuse();
    return errc::database_down;
  };
  db->answer_lost = [this](const store_job&) {
    return !kind && roll(400) == 0;
  };
  db->postpone = [this](std::int64_t, std::function<void()> hand_out) {
    if (kind || roll(100) >= answers_late)
      return false;
    ++late;
    // Told to a server that has died meanwhile, it reaches nobody.
    later(some(3s), std::move(hand_out));
    return true;
  };
  db->stored = [this](const record& before, const transition& t) {
    checks.stored(before, t, db->server);
    watch(before.state, t);
  };
  railway.created = [this](const std::string& name) {
    checks.project_made(name);
  };
}

simulated_world::~simulated_world() {
  end();
}

void simulated_world::end() {
  while (!older.empty())
    bury(older.back());
  kill_server();
  *open = false;
  script.clear();
}

int simulated_world::roll(int sides) {
  return static_cast<int>(dice() % static_cast<std::uint64_t>(sides));
}

millis simulated_world::some(millis most) {
  return millis{static_cast<std::int64_t>(
    dice() % static_cast<std::uint64_t>(most.count() + 1))};
}

void simulated_world::complain(const std::string& what) {
  if (flaw.empty())
    flaw = what + " at +" + to_words(time.now() - day_one);
}

// -- servers
// -----------------------------------------------------------------------

mail::send_outcome
simulated_world::post(const server_ptr& from, const mail::mail_message& what) {
  auto end = mail::send_outcome{};
  // As the NOTIFIER is to ask before a mail leaves.
  if (servers_respect_leases && !from->leased) {
    ++withheld;
    return end;
  }
  const auto n = kind ? 9 : roll(10);
  end.status = n == 0   ? mail::send_status::deferred
               : n == 1 ? mail::send_status::in_doubt
                        : mail::send_status::sent;
  if (n == 0 || (n == 1 && roll(2) == 0))
    return end;
  checks.mailed(what);
  if (n == 1)
    checks.excuse();
  return end;
}

void simulated_world::start_server() {
  server = std::make_shared<simulated_server>();
  server->id = ++last_server_;
  server->env = std::make_shared<environment>();
  db->server = server->id;
  db->leases.insert(server->id);
  env = server->env;
  env->clock = &wall;
  env->entropy = &random;
  env->metrics = &meters;
  env->rules = make_rules();
  env->rules.deadline = 10min;
  env->max_concurrent = 2;
  env->mail = true;
  set_up(*env);
  db->rules = env->rules;
  env->holds_lease = [this, weak = std::weak_ptr{server}] {
    const auto here = weak.lock();
    const auto may = !servers_respect_leases || (here && here->leased);
    withheld += may ? 0 : 1;
    return may;
  };
  env->journals.resize(2);
  env->stores.resize(2);
  for (auto i = 0u; i < 2; ++i) {
    add_part("journal", env->journals[i], [this, id = server->id](bool) {
      return spawn_memory_journal(sys, db, id);
    });
    add_part("store", env->stores[i], [this, id = server->id](bool) {
      return spawn_memory_store(sys, db, id);
    });
  }
  server->recovered = std::make_shared<std::atomic<bool>>(false);
  // The parts are started again with what they were started with.
  const auto with = environment_ptr{env};
  add_ticking("registry", env->registry,
              [this, with, recovered = server->recovered](bool again) {
                return sys.spawn(registry, environment_ptr{with}, recovered,
                                 again);
              });
  add_ticking("dispatcher", env->dispatcher, [this, with](bool) {
    return sys.spawn(dispatcher, environment_ptr{with});
  });
  auto options = provider::railway_options{};
  options.settings.endpoint = "http://127.0.0.1/graphql/v2";
  options.settings.template_code = "web";
  options.settings.workspace_id = "ws";
  set_up_provider(options.settings);
  // Actors that change something outside ask for the lease before it leaves.
  // Here the wires ask for them, with the same question.
  const auto wire = railway.connect();
  const auto weak = std::weak_ptr{server};
  wire->may_act = [this, weak] {
    const auto here = weak.lock();
    const auto may = !servers_respect_leases || (here && here->leased);
    withheld += may ? 0 : 1;
    return may;
  };
  wire->left = [this, weak](const client::http_request& what) {
    const auto here = weak.lock();
    const auto name = what.body.find("mutation ") + 9;
    checks.left(here && here->leased,
                what.body.substr(name, what.body.find('(', name) - name));
  };
  server->plugs.emplace_back([wire] {
    wire->severed = true;
  });
  add_part("caller", options.caller,
           [this, with, settings = options.settings, wire](bool) {
             return sys.spawn(provider::caller, environment_ptr{with},
                              provider::caller_options{settings, wire});
           });
  options.keys = keys;
  add_part(
    "watcher", env->watcher,
    [this, with, options](bool) {
      return sys.spawn(provider::watcher, environment_ptr{with},
                       provider::watcher_options{options.settings,
                                                 options.poll_interval,
                                                 options.caller});
    },
    true);
  add_part(
    "provider", env->provider,
    [this, with, options](bool again) mutable {
      options.again = again;
      return sys.spawn(provider::railway, environment_ptr{with}, options);
    },
    true);
  auto post_office = mail::notifier_options{};
  post_office.send = [this, weak](const mail::mail_message& what) {
    const auto here = weak.lock();
    return here ? post(here, what) : mail::send_outcome{};
  };
  add_ticking("notifier", env->notifier, [this, with, post_office](bool) {
    return sys.spawn(mail::notifier, environment_ptr{with}, post_office);
  });
  add_actors();
  checks.started();
}

registry_state& simulated_world::registry_of(const environment& of) {
  using impl = registry_actor::stateful_base<registry_state>;
  return deref<impl>(of.registry()).state;
}

registry_state& simulated_world::registry_of() {
  return registry_of(*env);
}

dispatcher_state& simulated_world::dispatcher_of() {
  using impl = dispatcher_actor::stateful_base<dispatcher_state>;
  return deref<impl>(env->dispatcher()).state;
}

void simulated_world::kill(simulated_server& which) {
  which.gone = true;
  for (auto& plug : which.plugs)
    plug();
  which.leased = false;
  db->leases.erase(which.id);
  db->fenced.insert(which.id);
  auto& env = *which.env;
  if (which.has_registry)
    for (auto& [id, x] : registry_of(env).entries)
      if (x.handle)
        which.alive.push_back(caf::actor_cast<caf::actor>(x.handle));
  for (auto& x : which.alive) {
    asleep_.erase(x.id());
    cut_off(x);
  }
  which.alive.clear();
  which.parts.clear();
  while (run_one())
    ; // nop
  env.registry = nullptr;
  env.dispatcher = nullptr;
  env.provider = nullptr;
  env.watcher = nullptr;
  env.notifier = nullptr;
  env.reconciler = nullptr;
  env.journals.clear();
  env.stores.clear();
}

void simulated_world::kill_server() {
  power_off = false;
  if (!server)
    return;
  kill(*server);
  server = nullptr;
  env = nullptr;
}

void simulated_world::crash() {
  ++crashes;
  kill_server();
  start_server();
}

void simulated_world::lose_lease(bool paused) {
  ++losses;
  leases_lost_[server->id] = time.now();
  server->leased = false;
  db->leases.erase(server->id);
  db->fenced.insert(server->id);
  if (paused) {
    server->paused = true;
    for (const auto& x : server->alive)
      asleep_.insert(x.id());
    if (server->has_registry)
      for (const auto& [id, x] : registry_of().by_actor)
        asleep_.insert(id);
  }
  older.push_back(server);
  start_server();
}

void simulated_world::join_server() {
  older.push_back(server);
  start_server();
}

void simulated_world::wake(const server_ptr& who) {
  if (!who->paused || !who->env->registry)
    return;
  who->paused = false;
  for (const auto& x : who->alive)
    asleep_.erase(x.id());
  if (who->has_registry)
    for (const auto& [id, x] : registry_of(*who->env).by_actor)
      asleep_.erase(id);
}

void simulated_world::bury(const server_ptr& who) {
  const auto where = std::find(older.begin(), older.end(), who);
  if (where == older.end())
    return;
  const auto last = *where;
  older.erase(where);
  wake(last);
  kill(*last);
}

bool simulated_world::kill_one() {
  // In an order of its own: hash tables have none that repeats.
  auto supervisors = std::map<caf::actor_id, caf::actor>{};
  if (server->has_registry)
    for (const auto& [id, x] : registry_of().entries)
      if (x.handle)
        supervisors.emplace(x.handle.id(),
                            caf::actor_cast<caf::actor>(x.handle));
  const auto which = dice() % (supervisors.size() + server->parts.size());
  if (which >= supervisors.size()) {
    const auto part = which - supervisors.size();
    if (!server->parts[part].handle)
      return false;
    ++kills;
    kill_part(server, part);
    return true;
  }
  ++kills;
  const auto whom
    = std::next(supervisors.begin(), static_cast<std::ptrdiff_t>(which));
  cut_off(whom->second);
  return true;
}

void simulated_world::kill_part(const server_ptr& of, std::size_t which) {
  auto& x = of->parts[which];
  // What it had just sent may go out once more.
  if (x.name == "notifier" || x.name == "store")
    checks.excuse();
  of->has_registry = of->has_registry && x.name != "registry";
  std::erase(of->alive, x.handle);
  const auto last = std::exchange(x.handle, nullptr);
  cut_off(last);
  // At once: nobody looks into the state of a dead one.
  while (sched.prioritize(last))
    sched.run_once();
  later(50ms + some(5s), [this, weak = std::weak_ptr{of}, which] {
    const auto here = weak.lock();
    if (!here || here->gone)
      return;
    auto& x = here->parts[which];
    x.handle = x.start(true);
    here->alive.push_back(x.handle);
    if (here->paused)
      asleep_.insert(x.handle.id());
    here->has_registry = here->has_registry || x.name == "registry";
    if (x.is_told)
      caf::anon_send(here->env->registry(), parts_restarted{});
  });
}

void simulated_world::set_clock(millis ahead) {
  ++jumps;
  wall.ahead = ahead;
}

// -- the people
// --------------------------------------------------------------------

void simulated_world::later(millis after, std::function<void()> what) {
  script.emplace(time.now() + after, std::move(what));
}

void simulated_world::say(command_ptr what) {
  auto to = env;
  // Some still talk to a server that has lost its lease and does not know.
  for (const auto& x : older)
    if (!x->paused && roll(3) == 0)
      to = x->env;
  if (to)
    caf::anon_send(to->registry(), std::move(what));
}

void simulated_world::insist(subscription_id whom, std::function<event()> what,
                             std::function<void(const outcome&)> done) {
  auto cmd = std::make_shared<command>();
  cmd->subscription = whom;
  cmd->what = what();
  if (std::holds_alternative<cancel_requested>(cmd->what)
      || std::holds_alternative<terminate_requested>(cmd->what))
    checks.wished_away(whom);
  if (const auto* paid = std::get_if<payment_settled>(&cmd->what)) {
    // Gateways are answered once their message is kept, whatever it meant.
    cmd->callback = std::make_shared<callback_entry>();
    cmd->callback->gateway = paid->gateway;
    cmd->callback->subscription = whom;
    cmd->callback->dedupe_key = paid->transaction_id;
    cmd->callback->received_at = wall.now();
  }
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
    [this, here = open, whom, what, done,
     promise = checks.promised()](const outcome& end) {
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
  say(std::move(cmd));
}

// -- time
// --------------------------------------------------------------------------

bool simulated_world::run_one() {
  auto& jobs = sched.jobs;
  if (asleep_.empty()) {
    if (jobs.size() > 1)
      std::swap(jobs.front(), jobs[dice() % jobs.size()]);
    return sched.try_run_once();
  }
  auto awake = std::vector<std::size_t>{};
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    const auto* who = dynamic_cast<caf::scheduled_actor*>(jobs[i]);
    if (who == nullptr || asleep_.count(who->id()) == 0)
      awake.push_back(i);
  }
  if (awake.empty())
    return false;
  std::swap(jobs.front(), jobs[awake[dice() % awake.size()]]);
  return sched.try_run_once();
}

void simulated_world::settle() {
  while (run_one()) {
    after_message();
    if (power_off)
      crash();
  }
}

void simulated_world::step() {
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
    left = std::min(left,
                    std::max(std::chrono::nanoseconds{0},
                             std::chrono::nanoseconds{
                               clock.schedule().begin()->first - clock.now()}));
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
  look_on();
}

void simulated_world::look_on() {
  if (checks.flaw.empty() && time.now() - looked_ < 2s)
    return;
  looked_ = time.now();
  auto held = std::set<std::uint64_t>{};
  auto granting = std::size_t{0};
  if (env) {
    const auto& d = dispatcher_of();
    held.insert(d.held.begin(), d.held.end());
    granting = d.granting.size();
    checks.passed(live_projects(), held, granting, env->max_concurrent);
  }
  // What left a dying server or part may arrive when nobody looks for it any
  // more; that is found and removed later. Otherwise there is no excuse.
  if (checks.twins > 0 && crashes + losses + kills == 0)
    complain("two instances of one subscription are live");
  if (!checks.flaw.empty())
    complain(checks.flaw);
}

void simulated_world::calm_down() {
  kind = true;
  railway.faults = railway_faults::none();
}

std::map<std::string, std::size_t> simulated_world::live_projects() const {
  auto out = std::map<std::string, std::size_t>{};
  for (const auto& p : railway.projects)
    if (!p.deleted)
      ++out[p.name];
  return out;
}

void simulated_world::check_rest() {
  checks.ended(live_projects());
  if (!checks.flaw.empty())
    complain(checks.flaw);
  const auto& d = dispatcher_of();
  if (!d.held.empty() || !d.granting.empty())
    complain("the dispatcher has not got back its slots");
  for (const auto& x : railway.complaints)
    complain(x);
}

std::uint64_t simulated_world::fingerprint(std::string_view more) const {
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

// -- playing many seeds
// --------------------------------------------------------------

std::uint64_t number(const char* name, std::uint64_t otherwise) {
  const auto* text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

void quiet() {
  spdlog::set_level(std::getenv("SLIPWAY_SIM_LOG") != nullptr
                      ? spdlog::level::debug
                      : spdlog::level::off);
}

void report(const simulated_world& world) {
  if (std::getenv("SLIPWAY_SIM_LOG") == nullptr)
    return;
  for (const auto& x : world.db->history)
    CAF_MESSAGE(to_rfc3339(x.entry.at)
                << " " << to_text(x.subscription) << " " << x.entry.summary);
}

seeds::seeds(const char* test, std::uint64_t part, std::uint64_t parts,
             std::uint64_t otherwise, std::int64_t sharers)
  : test_{test}, length_{number("SLIPWAY_SIM_SECONDS", 0)},
    began_{std::chrono::steady_clock::now()}, told_{began_} {
  const auto first = number("SLIPWAY_SIM_SEED", 1);
  const auto all = number("SLIPWAY_SIM_SEEDS", otherwise);
  seed_ = first + all * part / parts - 1;
  end_ = first + all * (part + 1) / parts;
  if (length_.count() > 0) {
    // The parts keep out of each other's way.
    length_ = std::max(std::chrono::seconds{1}, length_ / sharers);
    seed_ = first + part * 1'000'000'000 - 1;
    end_ = ~std::uint64_t{0};
  }
}

bool seeds::next() {
  if (length_.count() > 0
      && std::chrono::steady_clock::now() - began_ > length_)
    return false;
  if (++seed_ >= end_)
    return false;
  ++played_;
  return true;
}

void seeds::played(const simulated_world& world, const std::string& what) {
  if (!world.flaw.empty()) {
    ++bad_;
    CAF_ERROR(what << "seed " << seed_ << ": " << world.flaw << " (replay: "
                   << "SLIPWAY_SIM_SEED=" << seed_ << " SLIPWAY_SIM_SEEDS=1 "
                   << caf::test::engine::path() << " -t '" << test_ << "')");
    report(world);
  }
  const auto now = std::chrono::steady_clock::now();
  if (length_.count() > 0 && now - told_ > std::chrono::seconds{10}) {
    told_ = now;
    std::cout << test_ << ": " << played_ << " seeds up to " << seed_ << ", "
              << bad_ << " failures" << std::endl;
  }
}

} // namespace slipway::test

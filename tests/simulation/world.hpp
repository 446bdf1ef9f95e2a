#pragma once

#include "actors/dispatcher.hpp"
#include "actors/registry.hpp"
#include "config/keyring.hpp"
#include "http/provider/caller.hpp"
#include "tests/simulation/invariants.hpp"
#include "tests/support/actor_fixture.hpp"
#include "tests/support/railway_model.hpp"

#include <atomic>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <unordered_set>
#include <vector>

/// What all simulations share: the real actors under virtual time, a database
/// in memory that fails now and then, a provider that makes trouble, crashes,
/// and people who insist. Everything is drawn from one seed, and a seed replays
/// exactly.
namespace slipway::test {

/// One server over the database: its actors and its wires.
struct simulated_server {
  std::int64_t id = 0;
  std::shared_ptr<environment> env;
  std::vector<caf::actor> alive;
  std::shared_ptr<std::atomic<bool>> recovered;
  /// Pulled when the power goes off: nothing of it may call any more.
  std::vector<std::function<void()>> plugs;
  bool leased = true; ///< Whether it may act.
  bool paused = false;
  bool gone = false; ///< The power is off.
  /// The supervisors are in its state, while there is one.
  bool has_registry = true;

  /// An actor that is started again when it goes down, as by the GUARDIAN.
  struct part {
    std::string name;
    std::function<caf::actor(bool again)> start;
    /// Whether supervisors have told it what they want.
    bool is_told = false;
    caf::actor handle;
  };

  std::vector<part> parts;
};

using server_ptr = std::shared_ptr<simulated_server>;

struct simulated_world : test_coordinator_fixture<caf::actor_system_config> {
  std::uint64_t seed;
  std::mt19937_64 dice;
  slipway::metrics meters;
  virtual_clock time;        ///< As it passes.
  adjusted_clock wall{time}; ///< As the servers read it.
  seeded_entropy random;
  std::shared_ptr<memory_database> db = std::make_shared<memory_database>();
  railway_model railway;
  std::shared_ptr<const config::keyring> keys;
  server_ptr server;                ///< The one that has the lease.
  std::vector<server_ptr> older;    ///< Those that have lost it and live on.
  std::shared_ptr<environment> env; ///< Of the one that has the lease.
  std::multimap<timestamp, std::function<void()>> script;
  invariants checks{*db, time, wall};
  std::string flaw;
  bool kind = false;
  std::size_t crashes = 0;
  std::size_t kills = 0;    ///< Single actors.
  std::size_t losses = 0;   ///< Leases.
  std::size_t jumps = 0;    ///< Of the wall clock.
  std::size_t late = 0;     ///< Answers of the store.
  std::size_t withheld = 0; ///< Calls for want of a lease.
  /// In percent of the store's answers: late ones.
  int answers_late = 3;
  /// Whether servers without a lease stop acting by themselves.
  bool servers_respect_leases = true;
  /// Ends the server after the job at hand.
  bool power_off = false;
  /// Whether anybody still listens to replies.
  std::shared_ptr<bool> open = std::make_shared<bool>(true);

  explicit simulated_world(std::uint64_t from);

  /// Subclasses call `end` in their own: it tells their actors.
  ~simulated_world() override;

  /// The last thing that happens.
  void end();

  int roll(int sides);
  millis some(millis most);
  void complain(const std::string& what);

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

  /// Spawns more actors of `server`; hand them to `keep`.
  virtual void add_actors() {
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

  /// Called after each message of an actor.
  virtual void after_message() {
    // nop
  }

  // -- servers
  // ---------------------------------------------------------------------

  template <class Handle>
  Handle keep(Handle x) {
    server->alive.push_back(caf::actor_cast<caf::actor>(x));
    return x;
  }

  /// Spawns a part of `server` into its slot.
  /// @param spawn `handle(bool again)`.
  template <class Handle, class Spawn>
  void add_part(std::string name, actor_slot<Handle> where, Spawn spawn,
                bool is_told = false) {
    auto x = simulated_server::part{};
    x.name = std::move(name);
    x.is_told = is_told;
    x.start = [where, spawn = std::move(spawn)](bool again) mutable {
      auto made = spawn(again);
      where.set(made);
      return caf::actor_cast<caf::actor>(made);
    };
    x.handle = x.start(false);
    server->alive.push_back(x.handle);
    server->parts.push_back(std::move(x));
  }

  /// The same for one that works by ticks.
  template <class Handle, class Spawn>
  void add_ticking(std::string name, actor_slot<Handle> where, Spawn spawn) {
    add_part(std::move(name), std::move(where),
             [spawn = std::move(spawn)](bool again) mutable {
               auto made = spawn(again);
               caf::anon_send(made, tick{});
               return made;
             });
  }

  void start_server();

  /// The power goes off: nothing of the server writes or calls any more.
  void kill_server();

  void crash();

  /// The present server loses its lease without knowing, and another one takes
  /// over.
  /// @param paused Whether it stands still meanwhile.
  void lose_lease(bool paused);

  /// Another server comes in, and both have a lease.
  void join_server();

  /// A server that stood still goes on.
  void wake(const server_ptr& who);

  /// The last of a server without a lease.
  void bury(const server_ptr& who);

  /// Ends single actors, parts and supervisors alike; whoever watches over them
  /// starts them anew.
  /// @returns whether there was one.
  bool kill_one();

  /// Ends a part and starts it again after a while.
  void kill_part(const server_ptr& of, std::size_t which);

  /// The wall clock is set.
  void set_clock(millis ahead);

  registry_state& registry_of(const environment& of);
  registry_state& registry_of();
  dispatcher_state& dispatcher_of();

  // -- the people
  // ----------------------------------------------------------------

  void later(millis after, std::function<void()> what);

  /// Sends until it has been answered without an error.
  void insist(subscription_id whom, std::function<event()> what,
              std::function<void(const outcome&)> done = {});

  /// Sends once, to some server that listens.
  void say(command_ptr what);

  // -- time
  // ----------------------------------------------------------------------

  /// Runs one message of an actor that chance picks.
  bool run_one();

  void settle();

  /// Goes to the next moment at which anything happens.
  void step();

  /// Faults of every kind end, so that everything can come to rest.
  void calm_down();

  /// What the invariants say of the end.
  void check_rest();

  [[nodiscard]] std::map<std::string, std::size_t> live_projects() const;

  /// One number for all that happened, as far as it was written down.
  [[nodiscard]] std::uint64_t fingerprint(std::string_view more = {}) const;

private:
  void kill(simulated_server& which);
  mail::send_outcome
  post(const server_ptr& from, const mail::mail_message& what);
  void look_on();

  std::unordered_set<caf::actor_id> asleep_;
  std::int64_t last_server_ = 0;
  timestamp looked_{};
  std::map<std::int64_t, timestamp> leases_lost_; ///< By server.
};

// -- playing many seeds
// --------------------------------------------------------------

std::uint64_t number(const char* name, std::uint64_t otherwise);

void quiet();

/// Says how to see it again.
void report(const simulated_world& world);

/// The seeds of a part of all; with SLIPWAY_SIM_SECONDS, fresh ones for that
/// long.
class seeds {
public:
  /// @param test What the names of all parts begin with.
  /// @param otherwise How many there are, unless SLIPWAY_SIM_SEEDS says so.
  /// @param sharers How many tests share SLIPWAY_SIM_SECONDS.
  seeds(const char* test, std::uint64_t part, std::uint64_t parts,
        std::uint64_t otherwise, std::int64_t sharers);

  /// @returns whether there is another one.
  bool next();

  [[nodiscard]] std::uint64_t seed() const {
    return seed_;
  }

  [[nodiscard]] std::uint64_t count() const {
    return played_;
  }

  /// What the last one came to. Prints how to see it again, and progress.
  /// @param what Where the seed does not tell everything.
  void played(const simulated_world& world, const std::string& what = {});

  [[nodiscard]] std::size_t bad() const {
    return bad_;
  }

private:
  std::string test_;
  std::uint64_t seed_ = 0;
  std::uint64_t end_ = 0;
  std::uint64_t played_ = 0;
  std::size_t bad_ = 0;
  std::chrono::seconds length_{0};
  std::chrono::steady_clock::time_point began_;
  std::chrono::steady_clock::time_point told_;
};

} // namespace slipway::test

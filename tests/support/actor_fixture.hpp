#pragma once

#include "actors/environment.hpp"
#include "tests/support/lifecycle_states.hpp"
#include "tests/support/memory_store.hpp"

#include <caf/test/dsl.hpp>

#include <random>

// Compiled once.
extern template class test_coordinator_fixture<caf::actor_system_config>;

namespace slipway::test {

/// The coordinator's virtual time as a calendar.
class virtual_clock final : public clock {
public:
  explicit virtual_clock(const caf::actor_clock& time)
    : time_{time}, start_{time.now()} {
  }

  [[nodiscard]] timestamp now() const noexcept override {
    return day_one + std::chrono::floor<millis>(time_.now() - start_);
  }

private:
  const caf::actor_clock& time_;
  caf::actor_clock::time_point start_;
};

class seeded_entropy final : public entropy {
public:
  explicit seeded_entropy(std::uint64_t seed) : random_{seed} {
  }

  [[nodiscard]] std::uint64_t next() noexcept override {
    return random_();
  }

private:
  std::mt19937_64 random_;
};

/// What a server reads: set forward and back while time itself goes on.
class adjusted_clock final : public clock {
public:
  explicit adjusted_clock(const clock& time) : time_{time} {
  }

  [[nodiscard]] timestamp now() const noexcept override {
    return time_.now() + ahead;
  }

  millis ahead{0};

private:
  const clock& time_;
};

/// Remembers what one neighbour was told.
struct probe_log {
  std::vector<subscription_id> wanted;
  std::vector<subscription_id> released;
  std::vector<record_ptr> steps;
  std::vector<bool> announced; ///< Of the same orders.
  std::vector<subscription_id> dropped;
  std::vector<command_ptr> commands;
  std::vector<idle_answer> idle;
  std::size_t nudges = 0;
};

using probe_ptr = std::shared_ptr<probe_log>;

// Neighbours that only listen. What they are never told fails the test.

dispatcher_actor spawn_probe_dispatcher(caf::actor_system& sys, probe_ptr log);

provider_actor spawn_probe_provider(caf::actor_system& sys, probe_ptr log);

notifier_actor spawn_probe_notifier(caf::actor_system& sys, probe_ptr log);

registry_actor spawn_probe_registry(caf::actor_system& sys, probe_ptr log);

/// What a command was answered, as plain data.
struct told {
  int times = 0;
  errc error = errc::none;
  verdict is = verdict::stale;
  std::optional<record> now;
};

using told_ptr = std::shared_ptr<told>;

reply_ptr listen(const told_ptr& to);

/// A system on the test coordinator with a database in memory. Subclasses fill
/// `env` with probes or with the real thing, and name the actors to stop.
struct actor_fixture : test_coordinator_fixture<caf::actor_system_config> {
  std::shared_ptr<memory_database> db = std::make_shared<memory_database>();
  slipway::metrics meters;
  virtual_clock time;
  seeded_entropy random{1};
  std::shared_ptr<environment> env = std::make_shared<environment>();
  probe_ptr log = std::make_shared<probe_log>();
  std::vector<caf::actor> to_stop;

  actor_fixture();

  ~actor_fixture();

  template <class Handle>
  Handle keep(Handle x) {
    to_stop.push_back(caf::actor_cast<caf::actor>(x));
    return x;
  }

  /// Switches the main switch, now.
  void automation(bool is_on);

  memory_journal_state& journal();

  memory_store_state& store();

  /// Lets time pass in small steps, messages in between.
  void pass(millis length, millis step = millis{50});

  command_ptr
  make_command(subscription_id id, event what, const told_ptr& to = nullptr);

  /// A stored subscription that got to a phase by itself, at the present time.
  record make_record(subscription_id id, phase at);
};

} // namespace slipway::test

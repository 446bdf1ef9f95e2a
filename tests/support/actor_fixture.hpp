#pragma once

#include "actors/environment.hpp"
#include "tests/support/lifecycle_states.hpp"
#include "tests/support/memory_store.hpp"

#include <caf/test/dsl.hpp>
#include <spdlog/spdlog.h>

#include <random>

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

inline dispatcher_actor::behavior_type
probe_dispatcher(dispatcher_actor::pointer, probe_ptr log) {
  return {
    [log](const slot_wanted& x) {
      log->wanted.push_back(x.subscription);
    },
    [log](const slot_released& x) {
      log->released.push_back(x.subscription);
    },
    [](const slots_read&) {
      CAF_FAIL("slots_read");
    },
    [](const grant_answered&) {
      CAF_FAIL("grant_answered");
    },
    [](const tick&) {
      // nop
    },
  };
}

inline provider_actor::behavior_type
probe_provider(provider_actor::pointer, probe_ptr log) {
  return {
    [log](const step_order& x) {
      log->steps.push_back(x.subject);
      log->announced.push_back(x.announced);
    },
    [log](const step_dropped& x) {
      log->dropped.push_back(x.subscription);
    },
    [](const continuation&) {
      CAF_FAIL("continuation");
    },
    [](const tick&) {
      // nop
    },
  };
}

inline notifier_actor::behavior_type
probe_notifier(notifier_actor::pointer, probe_ptr log) {
  return {
    [log](const mail_nudge&) {
      ++log->nudges;
    },
    [](const mails_read&) {
      CAF_FAIL("mails_read");
    },
    [](const tick&) {
      // nop
    },
  };
}

/// A REGISTRY that only listens.
inline registry_actor::behavior_type
probe_registry(registry_actor::pointer, probe_ptr log) {
  return {
    [log](command_ptr& x) {
      log->commands.push_back(std::move(x));
    },
    [](const record_loaded&) {
      CAF_FAIL("record_loaded");
    },
    [](const recovery_page&) {
      CAF_FAIL("recovery_page");
    },
    [](const timers_due&) {
      CAF_FAIL("timers_due");
    },
    [log](const idle_answer& x) {
      log->idle.push_back(x);
    },
    [](const restart_wish&) {
      CAF_FAIL("restart_wish");
    },
    [](const parts_restarted&) {
      CAF_FAIL("parts_restarted");
    },
    [](const roster_ptr&) {
      CAF_FAIL("roster_ptr");
    },
    [](const supervisor_order_ptr&) {
      CAF_FAIL("supervisor_order_ptr");
    },
    [](const tick&) {
      // nop
    },
  };
}

/// What a command was answered, as plain data.
struct told {
  int times = 0;
  errc error = errc::none;
  verdict is = verdict::stale;
  std::optional<record> now;
};

using told_ptr = std::shared_ptr<told>;

inline reply_ptr listen(const told_ptr& to) {
  return std::make_shared<reply_slot>([to](const outcome& end) {
    ++to->times;
    to->error = end.error;
    to->is = end.is;
    to->now = end.now != nullptr ? std::optional{*end.now} : std::nullopt;
  });
}

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

  actor_fixture() : time{sched.clock()} {
    spdlog::set_level(spdlog::level::off);
    env->clock = &time;
    env->entropy = &random;
    env->metrics = &meters;
    env->rules = make_rules();
    env->journals.push_back(
      keep(sys.spawn(memory_journal, db, std::int64_t{0})));
    env->stores.push_back(keep(sys.spawn(memory_store, db, std::int64_t{0})));
  }

  ~actor_fixture() {
    for (auto i = to_stop.rbegin(); i != to_stop.rend(); ++i)
      caf::anon_send_exit(*i, caf::exit_reason::kill);
    to_stop.clear();
    consume_messages();
  }

  template <class Handle>
  Handle keep(Handle x) {
    to_stop.push_back(caf::actor_cast<caf::actor>(x));
    return x;
  }

  /// Switches the main switch, now.
  void automation(bool is_on) {
    db->automation.since = time.now();
    db->automation.enabled = is_on;
    ++db->automation.change;
    env->automation->learn(db->automation);
  }

  memory_journal_state& journal() {
    using impl = journal_actor::stateful_base<memory_journal_state>;
    return deref<impl>(env->journals.front()()).state;
  }

  memory_store_state& store() {
    using impl = store_actor::stateful_base<memory_store_state>;
    return deref<impl>(env->stores.front()()).state;
  }

  /// Lets time pass in small steps, messages in between.
  void pass(millis length, millis step = millis{50}) {
    for (auto gone = millis{0}; gone < length; gone += step) {
      advance_time(std::min(step, length - gone));
      consume_messages();
    }
  }

  command_ptr
  make_command(subscription_id id, event what, const told_ptr& to = nullptr) {
    auto out = std::make_shared<command>();
    out->subscription = id;
    out->what = std::move(what);
    if (to)
      out->reply = listen(to);
    return out;
  }

  /// A stored subscription that got to a phase by itself, at the present time.
  record make_record(subscription_id id, phase at) {
    auto x = driver{};
    x.with = env->rules;
    x.at = time.now();
    auto made = paid_at(at);
    auto out = record{};
    out.id = id;
    out.user_id = "user-1";
    out.plan = "PRO";
    out.created_at = day_one;
    out.state = made.now;
    // No two subscriptions share a project.
    if (auto& project = out.state.instance.project_id; !project.empty())
      project = "p-" + std::to_string(raw(id));
    return out;
  }
};

} // namespace slipway::test

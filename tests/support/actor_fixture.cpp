#include "tests/support/actor_fixture.hpp"

#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

template class test_coordinator_fixture<caf::actor_system_config>;

namespace slipway::test {

namespace {

dispatcher_actor::behavior_type
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

provider_actor::behavior_type
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

notifier_actor::behavior_type
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

registry_actor::behavior_type
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

} // namespace

dispatcher_actor spawn_probe_dispatcher(caf::actor_system& sys, probe_ptr log) {
  return sys.spawn(probe_dispatcher, std::move(log));
}

provider_actor spawn_probe_provider(caf::actor_system& sys, probe_ptr log) {
  return sys.spawn(probe_provider, std::move(log));
}

notifier_actor spawn_probe_notifier(caf::actor_system& sys, probe_ptr log) {
  return sys.spawn(probe_notifier, std::move(log));
}

registry_actor spawn_probe_registry(caf::actor_system& sys, probe_ptr log) {
  return sys.spawn(probe_registry, std::move(log));
}

reply_ptr listen(const told_ptr& to) {
  return std::make_shared<reply_slot>([to](const outcome& end) {
    ++to->times;
    to->error = end.error;
    to->is = end.is;
    to->now = end.now != nullptr ? std::optional{*end.now} : std::nullopt;
  });
}

actor_fixture::actor_fixture() : time{sched.clock()} {
  spdlog::set_level(spdlog::level::off);
  env->clock = &time;
  env->entropy = &random;
  env->metrics = &meters;
  env->rules = make_rules();
  env->journals.push_back(keep(spawn_memory_journal(sys, db)));
  env->stores.push_back(keep(spawn_memory_store(sys, db)));
}

actor_fixture::~actor_fixture() {
  for (auto i = to_stop.rbegin(); i != to_stop.rend(); ++i)
    caf::anon_send_exit(*i, caf::exit_reason::kill);
  to_stop.clear();
  consume_messages();
}

void actor_fixture::automation(bool is_on) {
  db->automation.since = time.now();
  db->automation.enabled = is_on;
  ++db->automation.change;
  env->automation->learn(db->automation);
}

memory_journal_state& actor_fixture::journal() {
  using impl = journal_actor::stateful_base<memory_journal_state>;
  return deref<impl>(env->journals.front()()).state;
}

memory_store_state& actor_fixture::store() {
  using impl = store_actor::stateful_base<memory_store_state>;
  return deref<impl>(env->stores.front()()).state;
}

void actor_fixture::pass(millis length, millis step) {
  for (auto gone = millis{0}; gone < length; gone += step) {
    advance_time(std::min(step, length - gone));
    consume_messages();
  }
}

command_ptr actor_fixture::make_command(subscription_id id, event what,
                                        const told_ptr& to) {
  auto out = std::make_shared<command>();
  out->subscription = id;
  out->what = std::move(what);
  if (to)
    out->reply = listen(to);
  return out;
}

record actor_fixture::make_record(subscription_id id, phase at) {
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

} // namespace slipway::test

#include "actors/registry.hpp"

#include <caf/send.hpp>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

namespace slipway {

namespace {

using lifecycle::verdict;

void answer(command& what, errc why) {
  if (what.reply)
    what.reply->deliver({why, verdict::stale, nullptr});
}

} // namespace

void registry_state::route(command_ptr what) {
  const auto id = what->subscription;
  auto [where, fresh] = entries.try_emplace(raw(id));
  auto& x = where->second;
  x.used_at = env->clock->now();
  if (fresh && what->create) {
    // A subscription that is to be created has no row to load.
    auto row = record{};
    row.id = id;
    row.user_id = what->create->user_id;
    row.plan = what->create->plan;
    row.currency = what->create->currency;
    row.created_at = lifecycle::time_of(what->what);
    row.updated_at = row.created_at;
    spawn(id, x, std::move(row));
  } else if (fresh) {
    load(id);
  }
  if (x.is == presence::live) {
    hand_over(x, std::move(what));
    return;
  }
  if (what->reply && !what->control
      && x.waiting.size() >= env->limits.commands_waiting_max) {
    env->metrics->shed("registry_waiting");
    answer(*what, errc::overloaded);
    return;
  }
  x.waiting.push_back(std::move(what));
}

void registry_state::hand_over(entry& where, command_ptr what) {
  ++where.routed;
  self->send(where.handle, std::move(what));
}

void registry_state::load(subscription_id id) {
  to_load.push_back(id);
  load_more();
}

void registry_state::load_more() {
  while (loads < env->limits.loads_max && !to_load.empty()) {
    const auto id = to_load.front();
    to_load.pop_front();
    const auto where = entries.find(raw(id));
    if (where == entries.end() || where->second.is != presence::queued)
      continue;
    where->second.is = presence::loading;
    ++loads;
    self->send(
      env->store_of(id),
      make_job(query::claim_record{id}, [me = registry_actor{self}, id](
                                          job<query::claim_record>::reply row) {
        auto back = record_loaded{};
        back.subscription = id;
        if (row)
          back.value = std::make_shared<record>(std::move(*row));
        else
          back.error = row.error();
        caf::anon_send(me, std::move(back));
      }));
  }
}

void registry_state::loaded(record_loaded& what) {
  --loads;
  const auto where = entries.find(raw(what.subscription));
  if (where != entries.end() && where->second.is == presence::loading) {
    auto& x = where->second;
    if (what.value) {
      spawn(what.subscription, x, std::move(*what.value));
    } else if (x.failures > 0 && what.error != errc::not_found
               && what.error != errc::owned_elsewhere) {
      // It had work under way: answer who waits, but come back for it.
      for (auto& cmd : std::exchange(x.waiting, {}))
        answer(*cmd, what.error);
      back_off(what.subscription, x);
    } else {
      give_up(what.subscription, what.error);
    }
  }
  load_more();
}

void registry_state::give_up(subscription_id id, errc why) {
  const auto where = entries.find(raw(id));
  auto waiting = std::move(where->second.waiting);
  entries.erase(where);
  for (auto& what : waiting)
    answer(*what, why);
}

void registry_state::spawn(subscription_id id, entry& where, record row) {
  where.handle = self->spawn(supervisor, env, std::move(row));
  self->monitor(where.handle);
  by_actor.emplace(where.handle.id(), id);
  where.is = presence::live;
  where.routed = 0;
  for (auto& what : std::exchange(where.waiting, {}))
    hand_over(where, std::move(what));
}

void registry_state::recovered(recovery_page& what) {
  recovery_asked = false;
  if (what.error != errc::none) {
    if (!std::exchange(recovery_reported, true))
      spdlog::warn("recovery waits: {}", to_string(what.error));
    return; // The next tick asks again.
  }
  recovery_reported = false;
  for (auto& row : *what.rows) {
    auto [where, fresh] = entries.try_emplace(raw(row.id));
    if (fresh) {
      where->second.used_at = env->clock->now();
      spawn(row.id, where->second, std::move(row));
    }
  }
  recovered_rows += what.rows->size();
  if (what.rows->size() >= env->limits.page_rows) {
    ask_for_recovery();
    return;
  }
  if (recovered_rows > 0 || !recovered_flag->load())
    spdlog::info("took over {} subscriptions under way", recovered_rows);
  recovered_rows = 0;
  recovered_flag->store(true);
}

void registry_state::ask_for_recovery() {
  if (recovery_asked)
    return;
  recovery_asked = true;
  self->send(
    env->stores.front(),
    make_job(
      query::claim_orphans{env->limits.page_rows},
      [me = registry_actor{self}](job<query::claim_orphans>::reply rows) {
        auto back = recovery_page{};
        if (rows)
          back.rows = std::make_shared<std::vector<record>>(std::move(*rows));
        else
          back.error = rows.error();
        caf::anon_send(me, std::move(back));
      }));
}

void registry_state::ask_for_timers() {
  if (timers_asked)
    return;
  timers_asked = true;
  self->send(
    env->stores.back(),
    make_job(query::due_timers{env->clock->now(), env->limits.page_rows},
             [me = registry_actor{self}](job<query::due_timers>::reply ids) {
               auto back = timers_due{};
               if (ids)
                 back.ids = std::move(*ids);
               else
                 back.error = ids.error();
               caf::anon_send(me, std::move(back));
             }));
}

void registry_state::due(const timers_due& what) {
  timers_asked = false;
  const auto now = env->clock->now();
  for (auto id : what.ids) {
    auto cmd = std::make_shared<command>();
    cmd->subscription = id;
    cmd->what = lifecycle::woke{now, env->chance(), env->automation->since()};
    route(std::move(cmd));
  }
}

void registry_state::idle(const idle_answer& what) {
  const auto where = entries.find(raw(what.subscription));
  if (where == entries.end() || where->second.is != presence::live)
    return;
  // Commands may have gone its way since it answered: only when it has seen all
  // of them does it leave, so that none ends in a dead mailbox.
  if (where->second.routed != what.handled)
    return;
  by_actor.erase(where->second.handle.id());
  self->demonitor(where->second.handle.address());
  self->send(where->second.handle, leave_order{});
  entries.erase(where);
}

void registry_state::went_down(const caf::down_msg& what) {
  const auto known = by_actor.find(what.source.id());
  if (known == by_actor.end())
    return;
  const auto id = known->second;
  by_actor.erase(known);
  const auto where = entries.find(raw(id));
  if (where == entries.end())
    return;
  const auto reason = to_string(what.reason);
  spdlog::warn("supervisor of {} went down: {}", to_text(id), reason);
  env->metrics->actor_restarted(supervisor_state::name, "failure");
  where->second.handle = nullptr;
  back_off(id, where->second);
}

void registry_state::back_off(subscription_id id, entry& where) {
  where.is = presence::backoff;
  const auto doublings = std::min(where.failures, 16u);
  ++where.failures;
  auto delay = std::min(env->limits.restart_backoff_max,
                        env->limits.restart_backoff_initial * (1 << doublings));
  // Between half of it and all of it, so that neighbours do not march in step.
  delay = delay / 2 + delay / 2 * (env->chance() % 1024) / 1024;
  self->delayed_send(self, delay, restart_wish{id});
}

void registry_state::restart(subscription_id id) {
  const auto where = entries.find(raw(id));
  if (where == entries.end() || where->second.is != presence::backoff)
    return;
  where->second.is = presence::queued;
  load(id);
}

void registry_state::sweep() {
  const auto buckets = entries.bucket_count();
  if (buckets == 0)
    return;
  const auto now = env->clock->now();
  // A part of the table each time, so that a tick stays short.
  const auto part = buckets / 16 + 1;
  for (size_t i = 0; i < part; ++i) {
    sweep_bucket = (sweep_bucket + 1) % buckets;
    for (auto it = entries.begin(sweep_bucket); it != entries.end(sweep_bucket);
         ++it) {
      auto& x = it->second;
      if (x.is != presence::live || now - x.used_at < env->limits.linger)
        continue;
      x.failures = 0;
      self->send(x.handle, idle_question{});
    }
  }
}

void registry_state::stop(const caf::error& why) {
  // What is under way goes on in whoever loads it next.
  for (auto& [id, x] : entries)
    if (x.is == presence::live) {
      self->demonitor(x.handle.address());
      self->send_exit(x.handle, why);
    }
  entries.clear();
  self->quit(why);
}

void registry_state::on_tick() {
  ask_for_recovery();
  // While nothing may leave, timers wait in their rows.
  if (recovered_flag->load() && env->may_act())
    ask_for_timers();
  sweep();
  env->metrics->mailbox_depth(name,
                              static_cast<double>(self->mailbox().size()));
  self->delayed_send(self, env->limits.timer_scan, tick{});
}

registry_actor::behavior_type
registry(registry_actor::stateful_pointer<registry_state> self,
         environment_ptr env, std::shared_ptr<std::atomic<bool>> recovered) {
  auto& st = self->state;
  st.self = self;
  st.alive = alive_guard{env->metrics, registry_state::name};
  st.env = std::move(env);
  st.recovered_flag = std::move(recovered);
  self->set_down_handler([self](caf::down_msg& what) {
    self->state.went_down(what);
  });
  self->set_exit_handler([self](caf::exit_msg& what) {
    self->state.stop(what.reason);
  });
  return {
    [self](command_ptr& what) {
      self->state.route(std::move(what));
    },
    [self](record_loaded& what) {
      self->state.loaded(what);
    },
    [self](recovery_page& what) {
      self->state.recovered(what);
    },
    [self](const timers_due& what) {
      self->state.due(what);
    },
    [self](const idle_answer& what) {
      self->state.idle(what);
    },
    [self](const restart_wish& what) {
      self->state.restart(what.subscription);
    },
    [self](const tick&) {
      self->state.on_tick();
    },
  };
}

} // namespace slipway

#include "actors/registry.hpp"

#include "actors/backoff.hpp"
#include "actors/guardian.hpp"
#include "actors/observe/log.hpp"

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

/// Whether an end like this says something about the subscription, and not
/// about the database or somebody who kills.
bool is_fault(const caf::error& why) {
  if (why.category() != caf::atom("slipway"))
    return why != caf::exit_reason::kill
           && why != caf::exit_reason::user_shutdown;
  switch (static_cast<errc>(why.code())) {
    case errc::database_down:
    case errc::unavailable:
      return false;
    default:
      return true;
  }
}

std::string view_id(subscription_id id) {
  return "supervisor:" + to_text(id);
}

} // namespace

registry_state::~registry_state() {
  for (auto& [id, x] : entries)
    if (x.is == presence::live)
      caf::anon_send_exit(x.handle, caf::exit_reason::kill);
}

void registry_state::route(command_ptr what) {
  const auto id = what->subscription;
  if (entries.size() >= env->limits.resident_max && what->reply
      && !what->control && entries.count(raw(id)) == 0) {
    env->metrics->shed("resident");
    answer(*what, errc::overloaded);
    return;
  }
  auto [where, fresh] = entries.try_emplace(raw(id));
  auto& x = where->second;
  x.used_at = env->clock->now();
  if (x.is == presence::quarantined) {
    keep_for_later(what);
    answer(*what, errc::quarantined);
    return;
  }
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

void registry_state::keep_for_later(const command_ptr& what) {
  if (!what->callback)
    return;
  // The gateway is told to come again; should it give up, the message is there
  // and can be fed in by an operator.
  auto keep = std::make_shared<inbox_job>();
  keep->entry = *what->callback;
  keep->entry.outcome = callback_outcome::contradicted;
  keep->entry.reason = to_string(errc::quarantined);
  self->send(env->journal_of(what->subscription), std::move(keep));
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
    } else if (what.error == errc::internal
               || (x.ill && what.error != errc::not_found
                   && what.error != errc::owned_elsewhere)) {
      // It cannot be read, or had work under way: answer who waits, but come
      // back for it.
      note_failure(x, "cannot be loaded: " + std::string{to_string(what.error)},
                   what.error == errc::internal);
      for (auto& cmd : std::exchange(x.waiting, {})) {
        if (what.error == errc::internal)
          keep_for_later(cmd);
        answer(*cmd, what.error);
      }
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
  if (where.ill) {
    // It has to show that it works before it may leave.
    where.ill->changed_at = self->clock().now();
    where.used_at = env->clock->now();
  }
  for (auto& what : std::exchange(where.waiting, {}))
    hand_over(where, std::move(what));
}

void registry_state::recovered(recovery_page& what) {
  recovery_asked = false;
  if (what.error != errc::none) {
    if (!std::exchange(recovery_reported, true))
      spdlog::warn("recovery waits: {}", to_string(what.error));
    // A claim may have been made, and only its answer lost: those rows are ours
    // and in nobody's memory.
    if (!own_after)
      own_after = subscription_id{};
    return; // The next tick asks again.
  }
  recovery_reported = false;
  const auto now = env->clock->now();
  const auto full = what.rows->size() >= env->limits.page_rows;
  if (what.own)
    own_after = full ? std::optional{what.rows->back().id} : std::nullopt;
  for (auto& row : *what.rows) {
    // What only waits stays where it is: the queue and the timers are in the
    // database.
    if (lifecycle::can_wait(row.state.deployment.at))
      continue;
    auto [where, fresh] = entries.try_emplace(raw(row.id));
    if (fresh) {
      where->second.used_at = now;
      spawn(row.id, where->second, std::move(row));
    }
  }
  recovered_rows += what.rows->size();
  // Everything else is loaded when somebody asks for it, so that from here on
  // everybody can be served.
  const auto first = !recovered_flag->exchange(true);
  if (full || (what.own && !own_after)) {
    // What they have to write is written first where the database is behind.
    if (!env->is_behind())
      ask_for_recovery();
    return;
  }
  if (recovered_rows > 0 || first)
    spdlog::info("took over {} subscriptions under way", recovered_rows);
  recovered_rows = 0;
}

void registry_state::ask_for_recovery() {
  if (recovery_asked)
    return;
  recovery_asked = true;
  const auto done = [me = registry_actor{self}, own = own_after.has_value()](
                      tl::expected<std::vector<record>, errc> rows) {
    auto back = recovery_page{};
    back.own = own;
    if (rows)
      back.rows = std::make_shared<std::vector<record>>(std::move(*rows));
    else
      back.error = rows.error();
    caf::anon_send(me, std::move(back));
  };
  const auto limit = env->limits.page_rows;
  self->send(env->stores.front()(),
             own_after ? make_job(query::list_own{*own_after, limit}, done)
                       : make_job(query::claim_orphans{limit}, done));
}

void registry_state::ask_for_timers() {
  if (timers_asked || env->is_behind())
    return;
  timers_asked = true;
  self->send(
    env->stores.front()(),
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
  if (what.queued && entries.size() <= env->limits.resident_queued_max)
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
  auto reason = failure_text(what.reason);
  log::about{id}.actor(name).warn("supervisor of {} went down: {}", to_text(id),
                                  reason);
  env->metrics->actor_restarted(supervisor_state::name,
                                restart_reason(what.reason));
  where->second.handle = nullptr;
  note_failure(where->second, std::move(reason), is_fault(what.reason));
  back_off(id, where->second);
}

void registry_state::note_failure(entry& where, std::string reason,
                                  bool is_fault) {
  if (!where.ill)
    where.ill = std::make_unique<trouble>();
  auto& x = *where.ill;
  const auto passing = self->clock().now();
  // In a row: one of long ago says nothing of this one.
  if (is_fault) {
    if (!x.noted && passing - x.fault_at > env->limits.linger)
      x.faults = 0;
    x.fault_at = passing;
  }
  x.changed_at = passing;
  ++x.failures;
  ++x.restarts;
  x.faults += is_fault ? 1 : 0;
  x.reason = std::move(reason);
  x.failed_at = env->clock->now();
}

void registry_state::back_off(subscription_id id, entry& where) {
  if (where.ill->faults >= env->limits.quarantine_after) {
    quarantine(id, where);
    return;
  }
  where.is = presence::backoff;
  self->delayed_send(self,
                     backoff_delay(env->limits.restart_backoff_initial,
                                   env->limits.restart_backoff_max,
                                   where.ill->failures, env->chance()),
                     restart_wish{id});
}

void registry_state::quarantine(subscription_id id, entry& where) {
  where.is = presence::quarantined;
  log::about{id}.actor(name).error(
    "{} goes into quarantine after {} failures: {}", to_text(id),
    where.ill->failures, where.ill->reason);
  for (auto& cmd : std::exchange(where.waiting, {})) {
    keep_for_later(cmd);
    answer(*cmd, errc::quarantined);
  }
  where.ill->noted = true;
  self->send(
    env->store_of(id),
    make_job(query::note_quarantine{id, where.ill->failed_at,
                                    where.ill->failures, where.ill->reason},
             [id](job<query::note_quarantine>::reply done) {
               if (!done)
                 log::about{id}.actor(name).warn(
                   "its quarantine is not written down: {}",
                   to_string(done.error()));
             }));
  self->delayed_send(self, env->limits.quarantine_retry, restart_wish{id});
}

void registry_state::recover_from(entry& where, subscription_id id) {
  if (where.ill->noted)
    self->send(env->store_of(id),
               make_job(query::lift_quarantine{id},
                        [](job<query::lift_quarantine>::reply) {
                          // Lifted with the next one
                          // otherwise, or by the next server.
                        }));
  where.ill->failures = 0;
  where.ill->faults = 0;
  where.ill->noted = false;
}

void registry_state::restart(subscription_id id) {
  const auto where = entries.find(raw(id));
  if (where == entries.end()
      || (where->second.is != presence::backoff
          && where->second.is != presence::quarantined))
    return;
  where->second.is = presence::queued;
  load(id);
}

void registry_state::resume_all() {
  for (auto& [id, x] : entries)
    if (x.is == presence::live)
      self->send(x.handle, resume_order{});
}

actor_view
registry_state::view_of(subscription_id id, const entry& where) const {
  auto out = actor_view{};
  out.id = view_id(id);
  out.kind = supervisor_state::name;
  out.parent = name;
  switch (where.is) {
    case presence::queued:
    case presence::loading:
      out.state = "loading";
      break;
    case presence::live:
      out.state = "running";
      break;
    case presence::backoff:
      out.state = "restarting";
      break;
    case presence::quarantined:
      out.state = "quarantined";
      break;
  }
  out.mailbox_depth = where.waiting.size();
  if (where.ill) {
    out.restarts = where.ill->restarts;
    out.last_failure = where.ill->reason;
    out.failed_at = where.ill->failed_at;
  }
  return out;
}

void registry_state::fill(const roster_ptr& what) {
  auto ids = std::vector<std::uint64_t>{};
  for (const auto& [id, x] : entries)
    if (id > raw(what->after) && (!what->troubled_only || x.ill))
      ids.push_back(id);
  what->more = ids.size() > what->limit;
  const auto count = std::min(what->limit, ids.size());
  std::partial_sort(
    ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(count), ids.end());
  ids.resize(count);
  // All lines are there before anybody fills one in.
  for (auto id : ids)
    what->lines.push_back(view_of(subscription_id{id}, entries.at(id)));
  for (std::size_t i = 0; i < count; ++i)
    if (const auto& x = entries.at(ids[i]); x.is == presence::live)
      caf::anon_send(caf::actor_cast<caf::actor>(x.handle), roll_call{what, i});
}

void registry_state::obey(supervisor_order& what) {
  const auto where = entries.find(raw(what.subscription));
  if (where == entries.end()) {
    what.done(errc::not_found);
    return;
  }
  auto& x = where->second;
  switch (what.is) {
    case supervisor_order::what::kill:
      if (x.is == presence::live)
        caf::anon_send_exit(x.handle, caf::exit_reason::kill);
      break;
    case supervisor_order::what::restart:
      if (x.ill) {
        x.ill->failures = 0;
        x.ill->faults = 0;
      }
      if (x.is == presence::live)
        // As by a failure, and no failure of its own.
        caf::anon_send_exit(x.handle, caf::exit_reason::kill);
      else
        restart(what.subscription);
      break;
  }
  what.done(errc::none);
}

millis registry_state::linger() const {
  // The fuller it gets, the shorter nothing to do is put up with.
  const auto most = env->limits.resident_max;
  const auto half = most / 2;
  if (entries.size() <= half)
    return env->limits.linger;
  const auto room = most > entries.size() ? most - entries.size() : 0;
  return env->limits.linger * static_cast<std::int64_t>(room)
         / static_cast<std::int64_t>(std::max<std::size_t>(most - half, 1));
}

void registry_state::sweep() {
  const auto buckets = entries.bucket_count();
  if (buckets == 0)
    return;
  const auto now = env->clock->now();
  const auto patience = linger();
  // A part of the table each time, so that a tick stays short.
  const auto part = buckets / 16 + 1;
  for (size_t i = 0; i < part; ++i) {
    sweep_bucket = (sweep_bucket + 1) % buckets;
    for (auto it = entries.begin(sweep_bucket); it != entries.end(sweep_bucket);
         ++it) {
      auto& x = it->second;
      if (x.is != presence::live)
        continue;
      if (x.ill && (x.ill->failures > 0 || x.ill->noted)
          && self->clock().now() - x.ill->changed_at >= env->limits.linger)
        recover_from(x, subscription_id{it->first});
      if (now - x.used_at >= patience)
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
  // Nobody knows of the quarantines of the one before.
  if (std::exchange(lifts, false))
    self->send(env->stores.front()(),
               make_job(query::lift_quarantine{},
                        [](job<query::lift_quarantine>::reply) {
                          // With the end of this server otherwise.
                        }));
  ask_for_recovery();
  // While nothing may leave, timers wait in their rows.
  if (recovered_flag->load() && env->may_act())
    ask_for_timers();
  sweep();
  self->delayed_send(self, env->limits.timer_scan, tick{});
}

registry_actor::behavior_type
registry(registry_actor::stateful_pointer<registry_state> self,
         environment_ptr env, std::shared_ptr<std::atomic<bool>> recovered,
         bool again) {
  under_supervision(self);
  auto& st = self->state;
  st.self = self;
  st.alive = alive_guard{env->metrics, registry_state::name};
  st.env = std::move(env);
  st.recovered_flag = std::move(recovered);
  st.lifts = again;
  if (again)
    st.own_after = subscription_id{};
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
    [self](const parts_restarted&) {
      self->state.resume_all();
    },
    [self](const roster_ptr& what) {
      self->state.fill(what);
    },
    [self](const supervisor_order_ptr& what) {
      self->state.obey(*what);
    },
    [self](const tick&) {
      self->state.on_tick();
    },
  };
}

} // namespace slipway

#include "actors/dispatcher.hpp"

#include "actors/guardian.hpp"

#include <caf/send.hpp>
#include <spdlog/spdlog.h>

#include <algorithm>

namespace slipway {

using lifecycle::verdict;

namespace {

/// More than there are slots: the first in line may belong to another server,
/// or not be loadable, and must not keep the others waiting.
std::size_t waiting_max(std::uint32_t slots) {
  return slots == 0 ? 0 : slots * 2 + 16;
}

} // namespace

std::size_t dispatcher_state::used() const {
  return held.size() + granting.size();
}

bool dispatcher_state::has_room() const {
  return used() < env->max_concurrent && env->may_act();
}

void dispatcher_state::refresh() {
  if (reading) {
    read_again = true;
    return;
  }
  reading = true;
  self->send(
    env->stores.front()(),
    make_job(query::slots{waiting_max(env->max_concurrent),
                          std::exchange(count, false)},
             [me = dispatcher_actor{self}](job<query::slots>::reply found) {
               auto back = slots_read{};
               if (found)
                 back.value
                   = std::make_shared<query::slots::found>(std::move(*found));
               else
                 back.error = found.error();
               caf::anon_send(me, std::move(back));
             }));
}

void dispatcher_state::read(const slots_read& what) {
  reading = false;
  if (what.error == errc::none) {
    held.clear();
    for (auto id : what.value->held)
      if (granting.count(raw(id)) == 0)
        held.insert(raw(id));
    // The rows may have been read before these were taken.
    for (auto id : taken_meanwhile)
      held.insert(id);
    taken_meanwhile.clear();
    const auto& waiting = what.value->waiting;
    line.assign(waiting.begin(), waiting.end());
    line_read_at = env->clock->now();
    line_read_by = self->clock().now();
    line_is_whole = waiting.size() < waiting_max(env->max_concurrent);
    grant_in_line();
    if (what.value->queue_depth)
      set_depth(*what.value->queue_depth);
    const auto in_use = static_cast<double>(used());
    env->metrics->deploy_slots(in_use, env->max_concurrent - in_use);
  }
  // Somebody came while the rows were read, or a slot became free: only who
  // finds nobody in line has to read them once more.
  if (std::exchange(read_again, false)) {
    line_is_whole = false;
    if (line.empty() && has_room())
      refresh();
  }
}

void dispatcher_state::set_depth(std::int64_t now) {
  depth = std::max<std::int64_t>(now, 0);
  env->metrics->deploy_queue(static_cast<double>(depth));
}

void dispatcher_state::grant_in_line() {
  while (!line.empty() && has_room()) {
    const auto id = line.front();
    line.pop_front();
    // A grant that was under way when the rows were read may show up neither
    // here nor there: it counts until it has been answered.
    if (granting.count(raw(id)) == 0 && held.count(raw(id)) == 0)
      grant(id);
  }
}

void dispatcher_state::grant(subscription_id id) {
  granting.insert(raw(id));
  auto what = std::make_shared<command>();
  what->subscription = id;
  what->what = lifecycle::slot_granted{env->clock->now()};
  what->control = true;
  what->reply = std::make_shared<reply_slot>(
    [me = dispatcher_actor{self}, id](const outcome& end) {
      const auto taken
        = end.error == errc::none
          && (end.is == verdict::applied || end.is == verdict::already_applied);
      caf::anon_send(me, grant_answered{id, taken});
    });
  self->send(env->registry(), std::move(what));
}

void dispatcher_state::answered(const grant_answered& what) {
  granting.erase(raw(what.subscription));
  if (what.taken) {
    held.insert(raw(what.subscription));
    set_depth(depth - 1);
    if (reading)
      taken_meanwhile.insert(raw(what.subscription));
  }
  // A refused grant is looked at again by the next tick, not at once: whatever
  // stood in the way is hardly gone yet.
}

bool dispatcher_state::knows(subscription_id id) const {
  return granting.count(raw(id)) != 0 || held.count(raw(id)) != 0
         || std::find(line.begin(), line.end(), id) != line.end();
}

void dispatcher_state::wanted(const slot_wanted& what) {
  // Whoever comes back to memory says so once more.
  if (knows(what.subscription))
    return;
  line_is_whole = false;
  set_depth(depth + 1);
  // Whoever came to the queue after the reading stands behind all who were
  // there, but for a head start or an earlier payment.
  if (!what.rank || *what.rank < line_read_at)
    line.clear();
  // Its turn comes when a slot is free.
  if (has_room() && line.empty())
    refresh();
}

void dispatcher_state::released(subscription_id id) {
  held.erase(raw(id));
  taken_meanwhile.erase(raw(id));
  std::erase(line, id);
  // Who is first hardly changes within a moment, and reading it costs more than
  // granting.
  if (self->clock().now() - line_read_by < env->limits.line_age_max)
    grant_in_line();
  else
    line.clear();
  if (line.empty() && !line_is_whole)
    refresh();
}

void dispatcher_state::on_tick() {
  count = true;
  refresh();
  self->delayed_send(self, env->limits.slot_scan, tick{});
}

dispatcher_actor::behavior_type
dispatcher(dispatcher_actor::stateful_pointer<dispatcher_state> self,
           environment_ptr env) {
  under_supervision(self);
  auto& st = self->state;
  st.self = self;
  st.alive = alive_guard{env->metrics, dispatcher_state::name};
  st.env = std::move(env);
  return {
    [self](const slot_wanted& what) {
      self->state.wanted(what);
    },
    [self](const slot_released& what) {
      self->state.released(what.subscription);
    },
    [self](const slots_read& what) {
      self->state.read(what);
    },
    [self](const grant_answered& what) {
      self->state.answered(what);
    },
    [self](const tick&) {
      self->state.on_tick();
    },
  };
}

} // namespace slipway

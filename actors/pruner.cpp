#include "actors/pruner.hpp"

#include "actors/guardian.hpp"

#include <caf/send.hpp>
#include <spdlog/spdlog.h>

#include <utility>

namespace slipway {

void pruner_state::later(millis delay) {
  self->delayed_send(self, delay, tick{});
}

void pruner_state::on_tick() {
  // Until an operator has seen what a restored database holds, all of it stays.
  if (!env->may_act()) {
    at = options.keep.begin();
    after = 0;
    later(options.first_round);
    return;
  }
  if (at == options.keep.end()) {
    at = options.keep.begin();
    later(options.round);
    return;
  }
  auto what = query::prune{};
  what.what = at->first;
  what.after = after;
  what.before = env->clock->now() - at->second;
  what.limit = options.rows;
  self->send(
    env->counting_store(),
    make_job(what, [me = pruner_actor{self}](job<query::prune>::reply found) {
      auto back = pruned{};
      if (found)
        back.value = *found;
      else
        back.error = found.error();
      caf::anon_send(me, back);
    }));
}

void pruner_state::answered(const pruned& what) {
  if (what.error != errc::none) {
    // The store has said why. This table's turn comes again with the next
    // round.
    leave_table();
  } else {
    removed += what.value.removed;
    if (what.value.removed > 0)
      env->metrics->pruned_rows(query::to_string(at->first),
                                static_cast<double>(what.value.removed));
    after = what.value.next;
    if (after == 0)
      leave_table();
  }
  later(options.pause);
}

void pruner_state::leave_table() {
  if (removed > 0)
    spdlog::info("pruner: {} rows of {} were older than {}", removed,
                 query::to_string(at->first), to_words(at->second));
  removed = 0;
  after = 0;
  ++at;
}

pruner_actor::behavior_type
pruner(pruner_actor::stateful_pointer<pruner_state> self, environment_ptr env,
       pruner_options options) {
  under_supervision(self);
  auto& st = self->state;
  st.self = self;
  st.alive = alive_guard{env->metrics, pruner_state::name};
  st.env = std::move(env);
  st.options = std::move(options);
  st.at = st.options.keep.begin();
  self->delayed_send(self, st.options.first_round, tick{});
  return {
    [self](const tick&) {
      self->state.on_tick();
    },
    [self](const pruned& what) {
      self->state.answered(what);
    },
  };
}

} // namespace slipway

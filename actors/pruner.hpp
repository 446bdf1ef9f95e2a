#pragma once

#include "actors/environment.hpp"

#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <map>
#include <memory>

namespace slipway {

/// One step of the PRUNER has ended.
struct pruned {
  errc error = errc::none;
  query::prune::found value;
};

} // namespace slipway

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(slipway::pruned)

namespace slipway {

/// The PRUNER: has rows leave that are old and of no more use.
using pruner_actor = caf::typed_actor<
  // INTERNAL: The next step, or the next round.
  caf::reacts_to<tick>,
  // INTERNAL: The STORE's answer.
  caf::reacts_to<pruned>>;

struct pruner_options {
  /// How old each has to be. What is missing stays for ever.
  std::map<query::prunable, millis> keep;
  std::size_t rows = 500;     ///< Of one step.
  millis pause{200};          ///< Between two steps.
  millis round{3'600'000};    ///< Between two rounds.
  millis first_round{60'000}; ///< Not in everybody's way at the start.
};

/// State of the PRUNER actor. Walks through one table after the other in small
/// steps, so that nobody waits for it. It holds nothing that matters: after a
/// crash it walks from the beginning.
struct pruner_state {
  static inline const char* name = "pruner";

  pruner_actor::pointer self = nullptr;

  void on_tick();
  void answered(const pruned& what);

  environment_ptr env;
  pruner_options options;
  std::map<query::prunable, millis>::const_iterator at;
  std::int64_t after = 0;
  std::int64_t removed = 0; ///< From the present table, in this round.
  alive_guard alive;

private:
  void later(millis delay);
  void leave_table();
};

/// Spawns the PRUNER. It starts to work by itself.
pruner_actor::behavior_type
pruner(pruner_actor::stateful_pointer<pruner_state> self, environment_ptr env,
       pruner_options options);

} // namespace slipway

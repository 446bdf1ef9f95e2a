#pragma once

#include "actors/environment.hpp"

#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <cstdint>
#include <vector>

namespace slipway {

/// State of the SUPERVISOR actor. One transition is under way at most; commands
/// that come meanwhile wait in order.
struct supervisor_state {
  // -- actor facade
  // -------------------------------------------------------------

  /// The name of the SUPERVISOR actor in logs and metrics.
  static inline const char* name = "supervisor";

  /// Points back to the actor that owns this state.
  supervisor_actor::pointer self = nullptr;

  // -- behavior
  // -----------------------------------------------------------------

  /// Takes a command, now or after the ones before it.
  void receive(command_ptr what);

  /// Goes on after the journal's answer to the transition under way.
  void committed(const commit_result& what);

  /// A timer that was armed with this revision rang.
  void rang(std::uint64_t revision);

  /// Tells the registry when there is nothing to do.
  void answer_idle();

  /// Starts what a loaded state still owes.
  void start();

  /// Orders it anew: whoever was told has forgotten.
  void resume();

private:
  void process(command_ptr what);
  void refuse(command_ptr what, lifecycle::verdict why);
  void append(command_ptr what, lifecycle::decision made);
  /// Takes along what follows from the cause at once, and writes the history.
  /// @returns when the last of it was learnt.
  timestamp
  note_cause(transition& to, const command& what, lifecycle::decision& made);
  /// Whether the creation may be announced along with this grant.
  [[nodiscard]] bool
  can_announce(const command& what, const lifecycle::state& next) const;
  void
  trace_commit(const command& cause, const record& after, commit_status how);
  void release_effects();
  void run(lifecycle::effect what);
  void arm();
  void wait_for_cancellation(reply_ptr reply);
  void settle_cancel_waiters();
  void next();
  [[nodiscard]] bool is_idle() const;
  [[nodiscard]] const lifecycle::rules& rules() const;

public:
  /// Somebody who wants to hear of the provider's confirmation.
  struct cancel_waiter {
    reply_ptr reply;
    /// By the time that passes: no clock that is set back keeps anybody
    /// waiting.
    caf::actor_clock::time_point until{};
  };

  // -- member variables
  // -----------------------------------------------------------

  environment_ptr env;
  record current;
  std::uint64_t handled = 0; ///< Commands taken, for passivation.
  transition_ptr flight;     ///< Null when nothing is being committed.
  command_ptr flight_command;
  std::uint64_t flight_began = 0; ///< For its span, where there is one.
  /// Somebody has forgotten what was ordered, while something was in flight.
  bool resume_owed = false;
  std::vector<lifecycle::effect> effects;
  /// What is in flight announces the very step that it orders.
  bool step_announced = false;
  std::vector<command_ptr> waiting;
  std::vector<cancel_waiter> cancel_waiters;
  alive_guard alive;
};

/// Spawns the SUPERVISOR of one subscription.
/// @param current The row as stored; revision 0 for one that is to be created.
supervisor_actor::behavior_type
supervisor(supervisor_actor::stateful_pointer<supervisor_state> self,
           environment_ptr env, record current);

} // namespace slipway

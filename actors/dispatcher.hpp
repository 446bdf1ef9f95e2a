#pragma once

#include "actors/environment.hpp"

#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <unordered_set>

namespace slipway {

/// State of the DISPATCHER actor. The queue is in the database; this actor only
/// knows who holds a slot, and asks for the first in line when one is free.
/// What it believes is compared with the database at every tick, so that no
/// slot can leak.
struct dispatcher_state {
  // -- actor facade
  // -------------------------------------------------------------

  static inline const char* name = "dispatcher";

  dispatcher_actor::pointer self = nullptr;

  // -- behavior
  // -----------------------------------------------------------------

  /// Reads slots and queue, now or after the reading that is under way.
  void refresh();
  void read(const slots_read& what);
  void answered(const grant_answered& what);
  void released(subscription_id id);
  void on_tick();

  // -- member variables
  // -----------------------------------------------------------

  environment_ptr env;
  std::unordered_set<std::uint64_t> held;
  std::unordered_set<std::uint64_t> granting;
  /// Granted and taken while a reading was under way.
  std::unordered_set<std::uint64_t> taken_meanwhile;
  bool reading = false;
  bool read_again = false;
  alive_guard alive;

private:
  [[nodiscard]] std::size_t used() const;
  void grant(subscription_id id);
};

dispatcher_actor::behavior_type
dispatcher(dispatcher_actor::stateful_pointer<dispatcher_state> self,
           environment_ptr env);

} // namespace slipway

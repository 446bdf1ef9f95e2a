#pragma once

#include "actors/environment.hpp"

#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <deque>
#include <unordered_set>

namespace slipway {

/// State of the DISPATCHER actor. The queue is in the database; this actor only
/// knows who holds a slot and who is first in line, the latter for a moment
/// only. What it believes is compared with the database at every tick, so that
/// no slot can leak.
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
  void wanted(const slot_wanted& what);
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
  /// Who comes next, as read at `line_read_at`.
  std::deque<subscription_id> line;
  timestamp line_read_at{};                    ///< By the calendar…
  caf::actor_clock::time_point line_read_by{}; ///< …and the time that passes.
  bool line_is_whole = false; ///< Nobody stands behind it, as far as we know.
  bool reading = false;
  bool read_again = false;
  bool count = false; ///< The next reading counts the queue as well.
  /// How many wait, as far as we have been told since it was counted.
  std::int64_t depth = 0;
  alive_guard alive;

private:
  [[nodiscard]] std::size_t used() const;
  /// Whether it is in line, or past it.
  [[nodiscard]] bool knows(subscription_id id) const;
  /// Whether one more may be granted: who waits goes on waiting otherwise, and
  /// the next tick looks again.
  [[nodiscard]] bool has_room() const;
  void grant(subscription_id id);
  void grant_in_line();
  void set_depth(std::int64_t now);
};

dispatcher_actor::behavior_type
dispatcher(dispatcher_actor::stateful_pointer<dispatcher_state> self,
           environment_ptr env);

} // namespace slipway

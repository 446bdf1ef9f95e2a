#pragma once

#include "actors/environment.hpp"
#include "actors/supervisor.hpp"

#include <deque>
#include <unordered_map>

namespace slipway {

/// State of the REGISTRY actor.
///
/// A subscription is in memory while somebody needs it: commands bring it in,
/// the recovery brings in what was under way when a server died, due timers
/// bring in what waits for a time. A supervisor without work leaves again.
struct registry_state {
  // -- actor facade
  // -------------------------------------------------------------

  static inline const char* name = "registry";

  registry_actor::pointer self = nullptr;

  // -- behavior
  // -----------------------------------------------------------------

  void route(command_ptr what);
  void loaded(record_loaded& what);
  void recovered(recovery_page& what);
  void due(const timers_due& what);
  void idle(const idle_answer& what);
  void restart(subscription_id id);
  void went_down(const caf::down_msg& what);
  void on_tick();

  /// Takes all supervisors along.
  void stop(const caf::error& why);

  // -- member variables
  // -----------------------------------------------------------

  enum class presence : std::uint8_t {
    queued,  ///< To be loaded when one of the bounded loads is free.
    loading, ///< Asked for.
    live,    ///< There is a supervisor.
    backoff, ///< It failed; waits before it is loaded again.
  };

  struct entry {
    presence is = presence::queued;
    supervisor_actor handle;
    std::uint64_t routed = 0;
    std::uint32_t failures = 0; ///< In a row.
    timestamp used_at{};
    std::vector<command_ptr> waiting; ///< Until there is a supervisor.
  };

  environment_ptr env;
  std::unordered_map<std::uint64_t, entry> entries;
  std::unordered_map<caf::actor_id, subscription_id> by_actor;
  std::deque<subscription_id> to_load;
  std::size_t loads = 0;
  std::size_t recovered_rows = 0; ///< Of the takeover under way.
  bool recovery_asked = false;
  bool recovery_reported = false; ///< That it waits; said once.
  bool timers_asked = false;
  std::size_t sweep_bucket = 0;
  std::shared_ptr<std::atomic<bool>> recovered_flag;
  alive_guard alive;

private:
  void load(subscription_id id);
  void load_more();
  void spawn(subscription_id id, entry& where, record row);
  void hand_over(entry& where, command_ptr what);
  void give_up(subscription_id id, errc why);
  void back_off(subscription_id id, entry& where);
  void sweep();
  void ask_for_recovery();
  void ask_for_timers();
};

/// Spawns the REGISTRY. It starts to work at its first tick.
/// @param recovered Set once everything that was under way is in memory again.
registry_actor::behavior_type
registry(registry_actor::stateful_pointer<registry_state> self,
         environment_ptr env, std::shared_ptr<std::atomic<bool>> recovered);

} // namespace slipway

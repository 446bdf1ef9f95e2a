#pragma once

#include "actors/environment.hpp"
#include "actors/supervisor.hpp"

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

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
  void resume_all();
  void fill(const roster_ptr& what);
  void obey(supervisor_order& what);
  void on_tick();

  /// Goes with its supervisors: whoever comes next starts them from the
  /// database, and two of one subscription would only get into each other's
  /// way.
  ~registry_state();

  /// Takes all supervisors along.
  void stop(const caf::error& why);

  // -- member variables
  // -----------------------------------------------------------

  enum class presence : std::uint8_t {
    queued,  ///< To be loaded when one of the bounded loads is free.
    loading, ///< Asked for.
    live,    ///< There is a supervisor.
    backoff, ///< It failed; waits before it is loaded again.
    /// It failed again and again: a person is told, and it is tried once more
    /// after a long pause or when an operator says so.
    quarantined,
  };

  /// What has happened to one that failed. Few have.
  struct trouble {
    std::uint32_t failures = 0; ///< In a row.
    /// Of those, which were no fault of the database's absence.
    std::uint32_t faults = 0;
    std::uint32_t restarts = 0;
    std::string reason;    ///< Of the last one.
    timestamp failed_at{}; ///< By the calendar, for people.
    bool noted = false;    ///< As in quarantine, in the database.
    // By the time that passes.
    caf::actor_clock::time_point fault_at{};
    caf::actor_clock::time_point changed_at{}; ///< Failed, or came to live.
  };

  struct entry {
    presence is = presence::queued;
    supervisor_actor handle;
    std::uint64_t routed = 0;
    timestamp used_at{};
    std::unique_ptr<trouble> ill;     ///< Null for one that never failed.
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
  /// After a REGISTRY before this one went down: what this server owns already
  /// is loaded first, in pages behind this id.
  std::optional<subscription_id> own_after;
  bool lifts = false; ///< Lifts the quarantines of the one before.
  std::size_t sweep_bucket = 0;
  std::shared_ptr<std::atomic<bool>> recovered_flag;
  alive_guard alive;

private:
  void load(subscription_id id);
  void load_more();
  void spawn(subscription_id id, entry& where, record row);
  void hand_over(entry& where, command_ptr what);
  void give_up(subscription_id id, errc why);
  void note_failure(entry& where, std::string reason, bool is_fault);
  void back_off(subscription_id id, entry& where);
  void quarantine(subscription_id id, entry& where);
  void recover_from(entry& where, subscription_id id);
  void keep_for_later(const command_ptr& what);
  [[nodiscard]] millis linger() const;
  [[nodiscard]] actor_view
  view_of(subscription_id id, const entry& where) const;
  void sweep();
  void ask_for_recovery();
  void ask_for_timers();
};

/// Spawns the REGISTRY. It starts to work at its first tick.
/// @param recovered Set once the database has said what was under way: the
///        first page of it is in memory, the others follow.
/// @param again Whether one before it went down in this server.
registry_actor::behavior_type
registry(registry_actor::stateful_pointer<registry_state> self,
         environment_ptr env, std::shared_ptr<std::atomic<bool>> recovered,
         bool again = false);

} // namespace slipway

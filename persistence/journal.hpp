#pragma once

#include "actors/environment.hpp"
#include "persistence/journal_encode.hpp"
#include "persistence/session.hpp"

#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <functional>
#include <optional>
#include <unordered_set>
#include <utility>
#include <vector>

namespace slipway {

struct journal_options {
  pg::connection_options connection;
  /// Whose rows may be written.
  std::int64_t server = 0;
  /// Transitions and callbacks of one commit at most.
  std::size_t batch_max = 256;
  /// Called when the database says that this server owns nothing any more.
  std::function<void()> on_fenced = nullptr;
  /// For tests: called right before each commit, and right after it when it is
  /// durable and nobody has been told.
  std::function<void(bool durable)> at_commit = nullptr;
};

/// State of the JOURNAL actor: whatever has queued up since the last commit
/// goes into the next one. Latency is one commit, throughput many rows in it.
struct journal_state {
  // -- actor facade
  // -------------------------------------------------------------

  static inline const char* name = "journal";

  journal_actor::pointer self = nullptr;

  // -- behavior
  // -----------------------------------------------------------------

  void add(transition_ptr what);
  void add(inbox_job_ptr what);

  /// Writes everything that has been added, or else tells how it went before.
  void flush();

  // -- member variables
  // -----------------------------------------------------------

  metrics* meters = nullptr;
  journal_options options;
  std::optional<session> db;
  std::vector<transition_ptr> transitions;
  /// Whose transitions these are: a statement takes one of each.
  std::unordered_set<std::uint64_t> subscriptions;
  std::vector<inbox_job_ptr> inbox;
  /// What has been decided and not been told yet: those who wait are told while
  /// the database works on the next batch, because it should never wait for us.
  std::vector<std::pair<transition_ptr, commit_status>> answers;
  std::vector<std::pair<inbox_job_ptr, errc>> inbox_answers;
  bool flush_asked = false;
  alive_guard alive;

private:
  void ask_for_flush();
  tl::expected<std::vector<std::int64_t>, pg::error>
  write(const std::vector<transition_ptr>& some,
        const std::vector<inbox_job_ptr>& kept, bool callbacks_known);
  void
  commit(std::vector<transition_ptr> some, std::vector<inbox_job_ptr> kept);
  void tell();

  /// Has `types` be those of the database at the other end: another one may
  /// have come behind every new connection.
  tl::expected<void, pg::error> learn_types(pg::connection& on);

  journal_types types;
  std::uint64_t types_of = 0; ///< `session::opened` when they were read.
  pg::params update_params;
  pg::params insert_params;
  pg::params inbox_params;
};

/// Spawns a JOURNAL; detached.
journal_actor::behavior_type
journal(journal_actor::stateful_pointer<journal_state> self, metrics* meters,
        journal_options options);

} // namespace slipway

#pragma once

#include "actors/environment.hpp"
#include "persistence/session.hpp"

#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <functional>
#include <optional>

namespace slipway {

struct store_options {
  pg::connection_options connection;
  /// This server's row in `servers`: what it claims, it claims for that one.
  std::int64_t server = 0;
  /// Called when the database says that this server owns nothing any more.
  std::function<void()> on_fenced = nullptr;
  /// Claims, and credentials, that one query answers at most.
  std::size_t gather_max = 256;
};

/// State of the STORE actor: answers one query after the other on a connection
/// of its own.
struct store_state {
  static inline const char* name = "store";

  store_actor::pointer self = nullptr;

  /// Runs the query and calls its continuation, whatever happens. Claims and
  /// credentials wait for those who stand behind them in the mailbox.
  void run(const store_job_ptr& what);

  /// Answers everybody who has asked for a claim or for credentials so far.
  void answer_gathered();

  void ask_to_answer();
  void claim();
  void read_credentials();

  metrics* meters = nullptr;
  store_options options;
  std::optional<session> db;
  std::vector<store_job_ptr> claims;
  std::vector<store_job_ptr> credentials;
  bool gather_asked = false;
  alive_guard alive;
};

/// Spawns a STORE; detached.
store_actor::behavior_type
store(store_actor::stateful_pointer<store_state> self, metrics* meters,
      store_options options);

} // namespace slipway

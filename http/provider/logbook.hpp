#pragma once

#include "actors/environment.hpp"
#include "config/keyring.hpp"
#include "config/settings.hpp"
#include "http/client/websocket.hpp"
#include "http/provider/caller.hpp"

#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <cstddef>
#include <memory>

namespace slipway::provider {

/// What the LOGBOOK works with.
struct logbook_options {
  config::railway_settings settings; ///< Endpoint and token.
  actor_slot<caller_actor> caller;
  /// For live streams; null: everything is polled.
  std::shared_ptr<client::websocket_network> sockets;
  std::shared_ptr<const config::keyring> keys;

  // -- queries
  /// At work at once; so many more wait, and beyond that they are refused.
  std::size_t queries_max = 8;
  std::size_t queries_waiting_max = 64;
  /// From its arrival; what is known by then is the answer.
  millis query_patience{15'000};
  /// Lines that were read so lately are still the newest.
  millis fresh_for{2'000};

  // -- calls
  std::size_t answer_lines_max = 5'000;
  /// After an answer that was lost, perhaps since it was too long.
  std::size_t answer_lines_less = 500;
  millis call_timeout{20'000};
  millis call_wait{10'000}; ///< For the budget.

  // -- followers
  std::size_t followers_max = 512;
  std::size_t followers_each_max = 16; ///< Of one subscription.
  std::size_t streams_max = 64;        ///< Live streams at once.
  /// Of each log, where a follower brings no cursor.
  std::size_t tail_lines = 1'000;
  millis follower_age_max{3'600'000};
  millis beat_interval{15'000};
  /// Without a live stream; stretched up to five times while nothing comes.
  millis poll_interval{3'000};
  /// With one, should it be silent without a reason.
  millis check_interval{60'000};
  /// How often the row is read for a new deployment.
  millis row_interval{5'000};
  unsigned stream_tries = 12;
  millis stream_pause{300'000}; ///< After the last try.

  // -- memory
  std::size_t cache_bytes_max = 32 * 1024 * 1024;
  std::size_t lane_lines_max = 20'000;
  std::size_t lane_bytes_max = 4 * 1024 * 1024;
  /// A subscription that nobody reads is forgotten after this; its secrets are
  /// forgotten after `secrets_kept`.
  millis subject_kept{600'000};
  millis secrets_kept{60'000};
};

/// State of the LOGBOOK actor.
///
/// A reader sees lanes: the build and the deploy lines of the latest deployment
/// of each service of the subscription's environment, and our own events. Lines
/// of different lanes are merged by time. What is known of a lane is kept for a
/// while and shared by all its readers; whoever needs more has it loaded
/// through the CALLER, once for all who wait. While somebody follows, a live
/// stream adds to it what comes, and where there is none, polling does.
///
/// Nothing of a lane is kept before the subscription's secrets are known and
/// taken out. A lane that cannot be read leaves the others readable; the reader
/// is told in a line of its own, once for each reason.
class logbook_state {
public:
  static inline const char* name = "logbook";

  logbook_state();

  ~logbook_state();

  void
  start(logbook_actor::pointer self, environment_ptr env, logbook_options with);

  void receive(log_query_ptr what);

  void receive(log_follower_ptr what);

  void on_tick();

  /// For tests: live streams that stand or are on their way.
  [[nodiscard]] std::size_t streams() const;

  /// For tests: what all lanes take in memory, about.
  [[nodiscard]] std::size_t bytes() const;

private:
  struct impl;

  std::unique_ptr<impl> impl_;
};

/// Spawns the LOGBOOK.
logbook_actor::behavior_type
logbook(logbook_actor::stateful_pointer<logbook_state> self,
        environment_ptr env, logbook_options with);

} // namespace slipway::provider

#pragma once

#include "actors/environment.hpp"

#include <caf/actor.hpp>
#include <caf/actor_clock.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace slipway {

// -- what is kept alive
// ---------------------------------------------------------------

/// One actor under the GUARDIAN.
struct child_spec {
  std::string id;   ///< `journal-0`.
  std::string kind; ///< `journal`: stands for it in metrics.
  /// Spawns the actor, puts it into its slot and sets it going. Called on the
  /// GUARDIAN's thread, each time it has to be started.
  /// @param again Whether it is not the first time.
  std::function<caf::actor(bool again)> start;
  /// Called after it was started again.
  std::function<void()> restarted = nullptr;
};

/// Actors that fail together when one of them cannot be kept alive.
struct group_spec {
  std::string id;
  std::vector<child_spec> children;
};

/// How often something may fail. Sources: Erlang/OTP's supervisor behaviour
/// (intensity and period).
struct restart_limits {
  /// The delay before the first restart; doubled with each further one of the
  /// same child within the period, and shortened by chance to between half of
  /// it and all of it.
  millis backoff_initial{50};
  millis backoff_max{5'000};
  /// More failures of a child within the period take its whole group down.
  std::size_t child_max = 5;
  /// More group failures within the period end the server.
  std::size_t group_max = 3;
  millis period{60'000};
  /// How often children are asked for a sign of life.
  millis pulse_interval{1'000};
  /// One that has given none for this long is shown as `silent`.
  millis silent_after{10'000};
};

struct guardian_options {
  std::vector<group_spec> groups;
  restart_limits limits;
  /// Called once when failures do not stop: the server has to end.
  std::function<void(const std::string& why)> give_up;
};

// -- messages
// -------------------------------------------------------------------------

struct pulse;

struct pulse_answer {
  std::uint64_t serial = 0; ///< Of the child's present life.
  std::size_t mailbox_depth = 0;
};

/// What the GUARDIAN knows of the tree, without the supervisors.
struct tree_query {
  answer_once<std::vector<actor_view>> done;
};

using tree_query_ptr = std::shared_ptr<tree_query>;

/// Kills a child, as a fault would.
struct kill_order {
  std::string id;
  answer_once<errc> done; ///< errc::not_found for an unknown one.
};

using kill_order_ptr = std::shared_ptr<kill_order>;

/// INTERNAL: A child's backoff is over.
struct start_wish {
  std::size_t child = 0;
};

/// Ends the children, each group after the one before it.
struct stop_order {};

} // namespace slipway

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(slipway::pulse)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(slipway::pulse_answer)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(slipway::tree_query_ptr)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(slipway::kill_order_ptr)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(slipway::start_wish)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(slipway::stop_order)

namespace slipway {

/// The GUARDIAN: the root of the supervision tree. Keeps the server's parts
/// alive; the REGISTRY does the same for the supervisors of subscriptions.
using guardian_actor = caf::typed_actor<caf::reacts_to<tree_query_ptr>,
                                        caf::reacts_to<kill_order_ptr>,
                                        // Nothing is started any more.
                                        caf::reacts_to<stop_order>,
                                        // INTERNAL: A sign of life.
                                        caf::reacts_to<pulse_answer>,
                                        // INTERNAL: A child's backoff is over.
                                        caf::reacts_to<start_wish>,
                                        // INTERNAL: Asks for signs of life.
                                        caf::reacts_to<tick>>;

/// Asks an actor for a sign of life. Understood by every actor under
/// supervision, whatever its interface.
struct pulse {
  guardian_actor to;
  std::uint64_t serial = 0;
};

/// State of the GUARDIAN actor.
///
/// A child that goes down is started again by itself (one for one), with
/// growing pauses. One that fails too often takes its group down: all of it is
/// started anew. Groups that fail too often end the server, and whoever starts
/// that again finds everything in the database.
class guardian_state {
public:
  static inline const char* name = "guardian";

  void start(guardian_actor::pointer self, environment_ptr env,
             guardian_options options);

  void answer_tree(const tree_query& what) const;
  void kill(kill_order& what);
  void went_down(const caf::down_msg& what);
  void revive(std::size_t child);
  void beat(const pulse_answer& what);
  void on_tick();
  void stop();

private:
  struct child {
    const child_spec* spec = nullptr;
    std::size_t group = 0;
    caf::actor handle; ///< Null while it is down.
    std::uint64_t serial = 0;
    std::uint32_t restarts = 0;
    std::deque<caf::actor_clock::time_point> failures; ///< Within the period.
    std::string last_failure;
    std::optional<timestamp> failed_at;
    caf::actor_clock::time_point beat_at{};
    std::size_t mailbox_depth = 0;
  };

  void launch(std::size_t index, bool again);
  void failed(std::size_t index, const caf::error& why);
  void restart_later(std::size_t index);
  void restart_group(std::size_t group, const std::string& why);
  void forget(std::deque<caf::actor_clock::time_point>& failures) const;

  /// By the time that passes: a clock that is set changes nothing.
  [[nodiscard]] caf::actor_clock::time_point passing() const;
  void show_mailboxes() const;

  guardian_actor::pointer self_ = nullptr;
  environment_ptr env_;
  guardian_options options_;
  std::vector<child> children_;
  std::vector<std::deque<caf::actor_clock::time_point>> group_failures_;
  std::vector<std::uint32_t> group_restarts_;
  std::unordered_map<caf::actor_id, std::size_t> by_actor_;
  std::uint64_t last_serial_ = 0;
  bool stopping_ = false;
  alive_guard alive_;
};

/// Spawns the GUARDIAN, which starts its children in the given order at once.
guardian_actor::behavior_type
guardian(guardian_actor::stateful_pointer<guardian_state> self,
         environment_ptr env, guardian_options options);

/// In words of metrics: `killed`, `exception`, `database_down` …
[[nodiscard]] std::string restart_reason(const caf::error& why);

/// In words for people.
[[nodiscard]] std::string failure_text(const caf::error& why);

/// Puts an actor under supervision: it answers pulses and roll calls whatever
/// its interface is, and an exception that reaches it is its end and is told.
/// Called first in every behaviour function.
void under_supervision(caf::scheduled_actor* self);

} // namespace slipway

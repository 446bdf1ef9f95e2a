#pragma once

#include "actors/environment.hpp"

#include <caf/actor_clock.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

namespace slipway {

struct broadcaster_options {
  /// What readers are told of a row, as it is sent. Called once for each
  /// change, however many they are.
  std::function<std::string(const record&, std::int64_t queue_position)> render;
  /// What a reader is told where there is nothing to tell.
  std::string comment = ": \n\n";
  std::size_t watchers_max = 2'048;
  std::size_t watchers_each_max = 32; ///< Of one user.
  /// A reader that would leave more than this behind is dropped.
  std::size_t slow_bytes = 16 * 1'024;
  /// Subscriptions that the database is asked about at once.
  std::size_t page = 500;
  /// How often readers are looked after, and rows of other servers read.
  millis scan{1'000};
  /// How often rows of our own are read, too: a message may have been lost.
  millis own_scan{15'000};
  /// A reader that was told nothing for so long gets a comment.
  millis beat_every{15'000};
  /// A stream ends after between half of this and all of it; the reader comes
  /// again, with a token that is still good.
  millis age_max{3'600'000};
};

/// State of the BROADCASTER actor: who watches what.
///
/// What changes here is told by its SUPERVISOR, which looks at the audience
/// first. What another server changes is found by comparing revisions with the
/// database. A reader is let in by a look at the row that begins after its
/// subscription has become part of the audience: nothing falls in between.
///
/// It holds nothing that matters: when it goes down the streams end, and
/// browsers come again with the revision that they have seen last.
class broadcaster_state {
public:
  static inline const char* name = "broadcaster";

  broadcaster_state() = default;

  broadcaster_state(const broadcaster_state&) = delete;

  broadcaster_state& operator=(const broadcaster_state&) = delete;

  ~broadcaster_state();

  void start(broadcaster_actor::pointer self, environment_ptr env,
             broadcaster_options options);

  void receive(status_watcher_ptr who);
  void changed(const status_changed& what);
  void read(const changes_read& what);
  void on_tick();

private:
  using time_point = caf::actor_clock::time_point;

  struct watcher {
    status_watcher_ptr to;
    time_point beat_at{};
    time_point leaves_at{};
  };

  /// Something that is watched.
  struct subject {
    audience::seat seat;
    std::string user_id;        ///< Empty until it has been read.
    std::uint64_t revision = 0; ///< Of `latest`; 0: nothing is known.
    std::string latest;
    /// Has been told to us, and waits to be told with its place in the queue.
    record_ptr held;
    std::vector<watcher> watchers;
    std::vector<status_watcher_ptr> arriving;
    bool own = false;       ///< No other server changes it.
    bool queued = false;    ///< Waits in `wanted_`.
    bool looked_at = false; ///< Right now.
  };

  using subjects = std::unordered_map<std::uint64_t, subject>;

  /// Looks at a subscription, with others that wait for that.
  void want(std::uint64_t id, subject& s, bool soon);
  void look();
  void learn(const query::list_changes::row& row);
  /// Without its place: that could not be read, or it has moved on.
  void tell_held(subject& s);
  void tell(subject& s, const record& row, std::int64_t queue_position);
  void admit(subject& s);
  void refuse(subject& s, errc why);
  /// Writes, or has the reader dropped. @returns whether it stays.
  bool write(watcher& x, std::string_view bytes);
  /// Takes out whoever has left, and says what is to be said.
  void look_after(subject& s);
  void look_after_all();
  void let_go(const status_watcher& x);
  void leave_if_empty(std::uint64_t id);
  [[nodiscard]] time_point now() const;

  broadcaster_actor::pointer self_ = nullptr;
  environment_ptr env_;
  broadcaster_options options_;
  subjects subjects_;
  std::size_t watchers_ = 0; ///< Those that arrive included.
  std::unordered_map<std::string, std::size_t> of_user_;
  std::deque<std::uint64_t> wanted_;
  /// What is being looked at; as `query::list_changes::known`.
  std::vector<query::list_changes::known> looking_;
  time_point looked_after_at_{};
  time_point own_scan_at_{};
  alive_guard alive_;
};

/// Spawns the BROADCASTER. It has to be sent a tick.
broadcaster_actor::behavior_type
broadcaster(broadcaster_actor::stateful_pointer<broadcaster_state> self,
            environment_ptr env, broadcaster_options options);

} // namespace slipway

#pragma once

#include "actors/lifecycle/time.hpp"
#include "persistence/pg/connection.hpp"

#include <tl/expected.hpp>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

namespace slipway {

struct lease_options {
  pg::connection_options connection;
  std::string name; ///< Of this server, for people.
  /// A server that has not renewed for this long may be taken over.
  millis length{5'000};
  millis renew_every{1'000};
  /// What tells this process from all others on this machine; see
  /// `this_process`. Empty: cannot be said.
  std::string process = {};
  /// Called at most once, on the lease's thread or a detached actor's, when
  /// another server has taken over: this one can write nothing any more.
  std::function<void()> on_lost = nullptr;
};

/// Boot id, pid namespace, pid and start time of a process of this machine.
/// Equal texts mean the very same process. Empty where /proc does not tell.
[[nodiscard]] std::string this_process();

/// Whether the process is one of this machine, in our pid namespace, and has
/// ended. False where that cannot be known.
[[nodiscard]] bool is_known_dead(const std::string& process);

/// This server's row in `servers`: the right to own subscriptions. A thread of
/// its own renews it, and ends that of servers that are dead: those that have
/// not renewed for the length of a lease, and at once those whose process has
/// ended on this machine.
///
/// Ownership ends by being written down (`ended_at`). Every write of a server
/// goes through `slipway_fence`, so that one that was paused writes nothing
/// when it wakes after another one has taken over.
class lease {
public:
  /// Registers a server and ends those that are dead.
  [[nodiscard]] static tl::expected<std::unique_ptr<lease>, pg::error>
  take(lease_options options);

  /// Hands the lease over: what this server owned may be claimed at once.
  ~lease();

  lease(const lease&) = delete;

  lease& operator=(const lease&) = delete;

  /// The id of this server. A new one for every start.
  [[nodiscard]] std::int64_t server() const noexcept {
    return server_;
  }

  /// Whether nobody can have taken over: it was renewed less than its length
  /// ago. Reads the steady clock, which goes on while a process is paused.
  /// Thread: any.
  [[nodiscard]] bool holds() const noexcept;

  /// Somebody was refused by the fence. Thread: any.
  void lost();

private:
  lease(lease_options options, pg::connection db, std::int64_t server);

  void keep();
  [[nodiscard]] std::string renew();
  void held_since(std::chrono::steady_clock::time_point when) noexcept;

  lease_options options_;
  std::int64_t server_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stop_ = false;
  std::atomic<bool> lost_ = false;
  /// Steady clock, nanoseconds.
  std::atomic<std::int64_t> holds_until_{0};
  std::thread keeper_;
  std::unique_ptr<pg::connection> db_;
};

} // namespace slipway

#pragma once

#include "actors/lifecycle/time.hpp"
#include "persistence/pg/connection.hpp"

#include <tl/expected.hpp>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

namespace slipway {

struct lease_options {
  pg::connection_options connection;
  std::string name; ///< Of this server, for people.
  /// Rows of a server that has not renewed for this long may be taken over.
  millis length{5'000};
  millis renew_every{1'000};
};

/// This server's row in `servers`: the right to own subscriptions. A thread of
/// its own renews it. The session also holds an advisory lock, so that the
/// death of the process is known at once, without waiting for the lease.
class lease {
public:
  /// Registers a server and ends the leases of those whose session is gone.
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

private:
  lease(lease_options options, pg::connection db, std::int64_t server);

  void keep();

  lease_options options_;
  std::int64_t server_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stop_ = false;
  std::thread keeper_;
  std::unique_ptr<pg::connection> db_;
};

} // namespace slipway

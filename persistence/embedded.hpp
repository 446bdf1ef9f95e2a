#pragma once

#include "actors/lifecycle/time.hpp"

#include <sys/types.h>
#include <tl/expected.hpp>

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace slipway {

/// Where an embedded cluster lives and how long things may take.
struct embedded_options {
  /// Made when missing. Holds `pg` (the data), `postgres.log`, `lock`, and
  /// `run` (the socket) unless the path is too long for a socket.
  std::string dir;
  /// For the end of a predecessor, initialisation, start and recovery together.
  millis start_timeout{60'000};
  /// For a fast shutdown, before harder ones.
  millis stop_timeout{30'000};
  /// Further server settings, for example {"max_connections", "50"}. Durability
  /// is PostgreSQL's default unless changed here.
  std::vector<std::pair<std::string, std::string>> settings;
};

/// A private PostgreSQL cluster that runs as our child process, reachable
/// through a Unix socket only. Initialised on the first start; a start after
/// any kind of death of ours or of the cluster recovers. When we are root, the
/// cluster runs as the owner of its data, at first as `postgres` (or `nobody`).
///
/// When this process dies, the kernel tells the cluster to shut down. It does
/// so when the *thread* that called `start` ends: call it from a thread that
/// lives as long as the cluster, for example main's.
///
/// Thread: one at a time; forks, and is safe to use beside other threads.
class embedded_cluster {
public:
  /// Starts the cluster and makes the database `slipway` when it is missing.
  /// Blocks for at most about `start_timeout`.
  /// @returns a sentence that says what is wrong when it cannot: another server
  ///          uses the directory, PostgreSQL is not installed, no permission …
  [[nodiscard]] static tl::expected<std::unique_ptr<embedded_cluster>,
                                    std::string>
  start(embedded_options options);

  embedded_cluster(const embedded_cluster&) = delete;
  embedded_cluster& operator=(const embedded_cluster&) = delete;

  /// Stops the cluster.
  ~embedded_cluster();

  /// What libpq needs to connect to `slipway`; a keyword string without secret.
  [[nodiscard]] const std::string& url() const noexcept;

  /// The same for another database of the cluster.
  [[nodiscard]] std::string url_of(std::string_view database) const;

  /// Shuts down: fast, after `stop_timeout` immediately, then by force.
  /// Repeats do nothing. Close your connections first, they are cut off.
  /// @returns a sentence when the shutdown was not a clean one.
  tl::expected<void, std::string> stop();

  /// Whether the server process is there.
  [[nodiscard]] bool running();

  /// Process id of the server, 0 when it is stopped.
  [[nodiscard]] pid_t pid() const noexcept;

private:
  struct impl;

  explicit embedded_cluster(std::unique_ptr<impl> state) noexcept;

  std::unique_ptr<impl> impl_;
};

} // namespace slipway

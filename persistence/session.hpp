#pragma once

#include "actors/queries.hpp"
#include "persistence/pg/connection.hpp"

#include <chrono>
#include <optional>

namespace slipway {

/// A connection that comes back: opened on demand, opened again when it was
/// lost, and after a failed attempt not tried for a moment, so that those who
/// wait are answered at once instead of one time-out after the other.
///
/// Thread: one; belongs to a detached actor.
class session {
public:
  explicit session(pg::connection_options options)
    : options_{std::move(options)} {
  }

  /// @returns the connection, or null when there is none at the moment.
  [[nodiscard]] pg::connection* get();

  /// Gives the connection up when the error says that it is of no more use.
  /// @returns what to tell whoever asked.
  errc failed(const pg::error& why, const char* doing);

private:
  pg::connection_options options_;
  std::optional<pg::connection> connection_;
  std::chrono::steady_clock::time_point not_before_{};
  bool reported_ = false;
};

} // namespace slipway

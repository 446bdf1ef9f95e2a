#pragma once

#include "actors/queries.hpp"
#include "persistence/pg/connection.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace slipway {

/// A connection that comes back: opened on demand, opened again when it was
/// lost, and after a failed attempt not tried for a moment, so that those who
/// wait are answered at once instead of one time-out after the other.
///
/// Thread: one; belongs to a detached actor.
class session {
public:
  /// @param server Whose writes go through the fence.
  /// @param on_fenced Called when the fence has refused one.
  session(pg::connection_options options, std::int64_t server,
          std::function<void()> on_fenced)
    : options_{std::move(options)}, on_fenced_{std::move(on_fenced)} {
    fence_params_.add(server);
  }

  /// The command that goes ahead of all others in a transaction that writes:
  /// it refuses a server whose ownership has ended.
  [[nodiscard]] pg::command fence() const noexcept;

  /// Runs one statement that writes, behind the fence.
  [[nodiscard]] tl::expected<pg::result, pg::error>
  write(pg::connection& on, const pg::statement& what, const pg::params& with);

  /// @returns the connection, or null when there is none at the moment. From
  /// time to time it first has the server forget its plans: they are made once
  /// for each statement, and what was right for tables that had just been made
  /// reads all of them once they have grown.
  [[nodiscard]] pg::connection* get();

  /// Whether there is a connection that nothing is known to be wrong with: if
  /// not, `get` takes its time.
  [[nodiscard]] bool is_open() {
    return connection_ && connection_->alive();
  }

  /// How many connections have been opened so far.
  [[nodiscard]] std::uint64_t opened() const noexcept {
    return opened_;
  }

  /// Gives the connection up when the error says that it is of no more use.
  /// @returns what to tell whoever asked.
  errc failed(const pg::error& why, const char* doing);

private:
  /// Has plans made anew where it is time to.
  void refresh_plans(std::chrono::steady_clock::time_point now);

  pg::connection_options options_;
  pg::params fence_params_;
  std::function<void()> on_fenced_;
  std::optional<pg::connection> connection_;
  std::chrono::steady_clock::time_point not_before_{};
  std::chrono::steady_clock::time_point plans_until_{};
  std::chrono::milliseconds plans_for_{};
  std::uint64_t opened_ = 0;
  bool reported_ = false;
};

} // namespace slipway

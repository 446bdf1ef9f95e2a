#pragma once

#include "actors/lifecycle/time.hpp"
#include "persistence/pg/error.hpp"
#include "persistence/pg/params.hpp"
#include "persistence/pg/result.hpp"

#include <tl/expected.hpp>

#include <functional>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace slipway::pg {

/// A statement of the program. Prepared on its first use on a connection, with
/// the parameter types of that use; every later use must have the same types.
/// Meant for constants: name and SQL must outlive the connection, and a name
/// must not stand for two texts. Transactions are the business of `begin`,
/// `commit` and `rollback`, not of statements.
struct statement {
  const char* name;
  const char* sql;
  /// Whether it changes anything. Decides between `in_doubt` and
  /// `connection_lost` when the connection breaks while it is under way, so a
  /// write that claims to be a read is a bug.
  bool writes = true;
};

/// One step of a pipeline. Refers to both.
struct command {
  const statement* what;
  const params* with;
};

/// How to connect, and how long anything may take.
struct connection_options {
  /// A libpq URL or keyword string. Holds a password: never log it.
  std::string url;
  std::string application_name = "slipway";
  /// For name lookup, connecting and logging in together.
  millis connect_timeout{5'000};
  /// The server's limit for one statement. More than zero.
  millis statement_timeout{10'000};
  /// The server's limit for waiting on a lock; zero means: only the limit of
  /// the statement.
  millis lock_timeout{0};
  /// Whether a statement's plan serves all parameters (`plan_cache_mode`). For
  /// connections whose statements all have one right plan.
  bool plans_for_all = false;
  /// What the client waits beyond the statement's limit before it takes the
  /// server or the network for dead.
  millis grace{2'000};
  /// TCP: an idle connection is probed after `keepalive_idle`, then every
  /// `keepalive_interval`, and is dead after `keepalive_count` unanswered ones.
  millis keepalive_idle{30'000};
  millis keepalive_interval{10'000};
  int keepalive_count = 3;
  /// TCP: sent data that stays unacknowledged this long breaks the connection.
  millis tcp_user_timeout{15'000};
};

/// A connection to PostgreSQL. Its statements take no parallel workers:
/// counting many rows shall not take all processors from those who wait. None
/// is compiled (`jit`), which pays for long statements only. Every
/// call blocks, for a bounded time. When the connection breaks, or the server
/// does not answer in time, the call says `connection_lost` or `in_doubt` (or
/// `unavailable` when the server announced its end while a read was under way),
/// the object is dead, and the owner opens another one.
///
/// Thread: any, one at a time; meant for detached actors.
class connection {
public:
  /// Connects. Returns within `connect_timeout`.
  /// Errors: `unavailable` (starting, stopping, too many connections),
  /// `connection_lost` (nobody there, or no answer in time), `other` (bad URL,
  /// refused login, unknown database).
  [[nodiscard]] static tl::expected<connection, error>
  open(const connection_options& options);

  connection(connection&&) noexcept;
  connection& operator=(connection&&) noexcept;
  ~connection();

  /// Runs one statement, by itself or in the transaction that is open. A write
  /// without an open transaction is durable when this returns a result.
  [[nodiscard]] tl::expected<result, error>
  execute(const statement& what, const params& with = {});

  /// Runs the statements in one round trip and in ONE transaction of its own,
  /// unless one is open: all of them or none. The whole pipeline has the time
  /// of one statement.
  /// @param meanwhile called once they are sent, while the server works, and
  ///                  called again when they have to be sent again; not at all
  ///                  when they cannot be sent
  /// @returns one result for each, or the first error.
  [[nodiscard]] tl::expected<std::vector<result>, error>
  pipeline(std::span<const command> commands,
           const std::function<void()>& meanwhile = {});

  [[nodiscard]] tl::expected<std::vector<result>, error>
  pipeline(std::initializer_list<command> commands) {
    return pipeline(
      std::span<const command>{commands.begin(), commands.size()});
  }

  /// Runs SQL text, any number of statements. Without a transaction of its own
  /// the text is one transaction. Counts as a write.
  [[nodiscard]] tl::expected<void, error> script(const std::string& sql);

  [[nodiscard]] tl::expected<void, error> begin();

  /// Commits. `in_doubt` when the connection breaks before the answer. When
  /// the transaction had failed before, the server rolls back and this says so
  /// with kind `other` and SQLSTATE 25P02.
  [[nodiscard]] tl::expected<void, error> commit();

  [[nodiscard]] tl::expected<void, error> rollback();

  /// Changes the limits of the session, and the time the client waits.
  [[nodiscard]] tl::expected<void, error>
  set_timeouts(millis statement_timeout, millis lock_timeout);

  /// The server's limit for one statement, as it was set last.
  [[nodiscard]] millis statement_timeout() const noexcept;

  /// The server's limit for waiting on a lock, as it was set last.
  [[nodiscard]] millis lock_timeout() const noexcept;

  /// Whether calls make sense. False after a loss, and when the server has
  /// closed an idle connection by now. Does not block and does not ask the
  /// server.
  [[nodiscard]] bool alive() noexcept;

  /// Whether a transaction is open, failed or not.
  [[nodiscard]] bool in_transaction() const noexcept;

  /// The process id of the server's side of the connection, 0 when dead.
  [[nodiscard]] int backend_pid() const noexcept;

private:
  struct impl;

  explicit connection(std::unique_ptr<impl> state) noexcept;

  std::unique_ptr<impl> impl_;
};

} // namespace slipway::pg

#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace slipway::pg {

/// What an owner of a connection has to tell apart. The numbers are stable.
enum class error_kind : std::uint8_t {
  /// The connection is gone and nothing of the statement can have become
  /// durable: it was not sent, only read, or its transaction was never
  /// committed.
  connection_lost = 0,
  /// The connection was lost, or given up, after a write had been sent: it may
  /// have become durable, now or later. Reload, never assume.
  in_doubt = 1,
  /// 23505; `error::constraint` names the constraint.
  unique_violation = 2,
  /// 23514; `error::constraint` names the constraint.
  check_violation = 3,
  /// 23503; `error::constraint` names the constraint.
  foreign_key_violation = 4,
  /// 40001 and 40P01: the same transaction may succeed when tried again.
  serialization = 5,
  /// 57014 and 55P03: the server stopped the statement at its time limit or at
  /// the limit for waiting on a lock. Nothing was applied.
  timeout = 6,
  /// 57P01 to 57P05 and 53xxx: the server starts, stops, has no connection,
  /// memory or disk space left. Nothing was applied.
  unavailable = 7,
  /// Everything else: a mistake in a statement, in its values or in the setup.
  other = 8,
  /// SW001: this server's ownership has ended. Nothing was applied.
  fenced = 9,
};

/// Why a call failed.
struct error {
  error_kind kind = error_kind::other;
  /// The five characters of the server, empty when the client noticed first.
  std::string sqlstate;
  /// A sentence for people. Holds no values of rows and no password.
  std::string message;
  /// The violated constraint, where there is one.
  std::string constraint;
};

/// Sorts a SQLSTATE that arrived on a connection that is still usable. The
/// loss of the connection itself is judged by `connection`.
[[nodiscard]] error_kind kind_of(std::string_view sqlstate) noexcept;

/// Names a kind: `connection_lost`, `in_doubt` …
[[nodiscard]] std::string_view to_string(error_kind kind) noexcept;

/// For a log line: kind, SQLSTATE where there is one, and the message.
[[nodiscard]] std::string to_string(const error& what);

} // namespace slipway::pg

#include "persistence/pg/error.hpp"

namespace slipway::pg {

error_kind kind_of(std::string_view sqlstate) noexcept {
  if (sqlstate == "23505")
    return error_kind::unique_violation;
  if (sqlstate == "23514")
    return error_kind::check_violation;
  if (sqlstate == "23503")
    return error_kind::foreign_key_violation;
  // serialization_failure, deadlock_detected
  if (sqlstate == "40001" || sqlstate == "40P01")
    return error_kind::serialization;
  // statement_completion_unknown
  if (sqlstate == "40003")
    return error_kind::in_doubt;
  // query_canceled, lock_not_available
  if (sqlstate == "57014" || sqlstate == "55P03")
    return error_kind::timeout;
  // admin_shutdown, crash_shutdown, cannot_connect_now, database_dropped,
  // idle_session_timeout
  if (sqlstate.size() == 5 && sqlstate.starts_with("57P0") && sqlstate[4] >= '1'
      && sqlstate[4] <= '5')
    return error_kind::unavailable;
  // read_only_sql_transaction: a standby, such as the old primary after a
  // failover
  if (sqlstate == "25006")
    return error_kind::unavailable;
  // insufficient_resources: too_many_connections, disk_full, out_of_memory …
  if (sqlstate.size() == 5 && sqlstate.starts_with("53"))
    return error_kind::unavailable;
  // connection_exception
  if (sqlstate.size() == 5 && sqlstate.starts_with("08"))
    return error_kind::connection_lost;
  // Of our own making: slipway_fence.
  if (sqlstate == "SW001")
    return error_kind::fenced;
  return error_kind::other;
}

std::string_view to_string(error_kind kind) noexcept {
  switch (kind) {
    case error_kind::connection_lost:
      return "connection_lost";
    case error_kind::in_doubt:
      return "in_doubt";
    case error_kind::unique_violation:
      return "unique_violation";
    case error_kind::check_violation:
      return "check_violation";
    case error_kind::foreign_key_violation:
      return "foreign_key_violation";
    case error_kind::serialization:
      return "serialization";
    case error_kind::timeout:
      return "timeout";
    case error_kind::unavailable:
      return "unavailable";
    case error_kind::other:
      return "other";
    case error_kind::fenced:
      return "fenced";
  }
  return "unknown";
}

std::string to_string(const error& what) {
  std::string line{to_string(what.kind)};
  if (!what.sqlstate.empty()) {
    line += " (SQLSTATE ";
    line += what.sqlstate;
    line += ')';
  }
  line += ": ";
  line += what.message;
  return line;
}

} // namespace slipway::pg

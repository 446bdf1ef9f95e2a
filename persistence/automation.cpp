#include "persistence/automation.hpp"

#include <spdlog/spdlog.h>

#include <array>
#include <atomic>
#include <optional>
#include <vector>

namespace slipway {

namespace {

using pg::error;

#define STATE_COLUMNS                                                          \
  "a.enabled, a.reason, a.changed_by, a.since, a.restored_at, a.change"

#define IDENTITY_COLUMNS                                                       \
  ", a.written_in IS NULL, coalesce(a.xmin = a.written_in, false), "           \
  "a.system_identifier, a.database_oid, a.timeline, "                          \
  "h.system_identifier, h.database_oid, h.timeline FROM automation a, h"

#define DATABASE_OID                                                           \
  "(SELECT oid::bigint FROM pg_database WHERE datname = current_database())"

// The control file tells of a promotion only with its next checkpoint, the log
// at once.
#define LOG_TIMELINE                                                           \
  "('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer"

/// By the rights they need: any user of PostgreSQL has all of them, unless
/// somebody took them away.
constexpr auto readings = std::array{
  pg::statement{
    "automation_read",
    "WITH h AS (SELECT (SELECT system_identifier FROM pg_control_system()) "
    "AS system_identifier, " DATABASE_OID " AS database_oid, "
    "greatest((SELECT timeline_id FROM pg_control_checkpoint()), " LOG_TIMELINE
    ") AS timeline) SELECT " STATE_COLUMNS IDENTITY_COLUMNS,
    false},
  pg::statement{
    "automation_read_log",
    "WITH h AS (SELECT NULL::bigint AS system_identifier, " DATABASE_OID
    " AS database_oid, " LOG_TIMELINE
    " AS timeline) SELECT " STATE_COLUMNS IDENTITY_COLUMNS,
    false},
  pg::statement{
    "automation_read_rows",
    "WITH h AS (SELECT NULL::bigint AS system_identifier, " DATABASE_OID
    " AS database_oid, NULL::integer AS timeline) "
    "SELECT " STATE_COLUMNS IDENTITY_COLUMNS,
    false}};

constexpr auto readings_lack = std::array{
  "",
  "of the cluster only its timeline can be read (EXECUTE on "
  "pg_control_system() and pg_control_checkpoint() is missing)",
  "of the cluster nothing can be read (EXECUTE on pg_control_system(), "
  "pg_control_checkpoint() and pg_walfile_name() is missing): a restore of its "
  "files will not be noticed"};

#define NEXT_CHANGE                                                            \
  "greatest(a.change + 1, "                                                    \
  "(extract(epoch FROM clock_timestamp()) * 1000)::bigint)"

/// Whoever comes second finds another change, and nothing to do.
constexpr auto remember_statement
  = pg::statement{"automation_remember",
                  "UPDATE automation a SET "
                  "system_identifier = coalesce($2, a.system_identifier), "
                  "database_oid = $3, timeline = coalesce($4, a.timeline), "
                  "written_in = pg_current_xact_id()::xid "
                  "WHERE a.change = $1 RETURNING " STATE_COLUMNS,
                  true};

constexpr auto restored_statement
  = pg::statement{"automation_restored",
                  "WITH off AS (UPDATE automation a SET enabled = false, "
                  "reason = $5, changed_by = 'slipway', since = now(), "
                  "restored_at = now(), change = " NEXT_CHANGE ", "
                  "system_identifier = coalesce($2, a.system_identifier), "
                  "database_oid = $3, timeline = coalesce($4, a.timeline), "
                  "written_in = pg_current_xact_id()::xid "
                  "WHERE a.change = $1 RETURNING " STATE_COLUMNS
                  "), noted AS (INSERT INTO automation_changes (at, enabled, "
                  "changed_by, reason) SELECT since, enabled, changed_by, "
                  "reason FROM off) SELECT * FROM off",
                  true};

/// Without its row nobody knows: off.
constexpr auto missing_statement
  = pg::statement{"automation_missing",
                  "INSERT INTO automation AS a (enabled, reason, changed_by, "
                  "since, restored_at, change, written_in) VALUES (false, "
                  "'the row of the main switch was missing', 'slipway', now(), "
                  "now(), (extract(epoch FROM clock_timestamp()) * "
                  "1000)::bigint, pg_current_xact_id()::xid) "
                  "ON CONFLICT DO NOTHING RETURNING " STATE_COLUMNS,
                  true};

constexpr auto switch_statement
  = pg::statement{"automation_switch",
                  "WITH put AS (UPDATE automation a SET enabled = $1, "
                  "reason = $2, changed_by = $3, "
                  "since = CASE WHEN a.enabled = $1 THEN a.since ELSE $4 END, "
                  "change = " NEXT_CHANGE ", "
                  "written_in = pg_current_xact_id()::xid "
                  "RETURNING " STATE_COLUMNS
                  "), noted AS (INSERT INTO automation_changes (at, enabled, "
                  "changed_by, reason) SELECT $4, enabled, changed_by, reason "
                  "FROM put) SELECT * FROM put",
                  true};

automation_state state_of(const pg::result& rows) {
  auto out = automation_state{};
  out.enabled = rows.boolean(0, 0);
  out.reason = std::string{rows.text(0, 1)};
  out.by = std::string{rows.text(0, 2)};
  out.since = rows.time(0, 3);
  out.restored_at = rows.opt_time(0, 4);
  out.change = static_cast<std::uint64_t>(rows.int64(0, 5));
  return out;
}

/// Where the rows lie. What cannot be read is nothing.
struct identity {
  std::optional<std::int64_t> cluster;
  std::optional<std::int64_t> database;
  std::optional<std::int32_t> timeline;
  bool operator==(const identity&) const = default;
};

identity identity_of(const pg::result& rows, int column) {
  return {rows.opt_int64(0, column), rows.opt_int64(0, column + 1),
          rows.opt_int32(0, column + 2)};
}

template <class T>
bool differ(const std::optional<T>& was, const std::optional<T>& is) {
  return was && is && *was != *is;
}

/// What speaks for a restore, for people; empty when nothing does.
std::string
what_differs(const identity& was, const identity& is, bool written_here) {
  auto found = std::vector<std::string>{};
  const auto id = [](const auto& x) {
    // As pg_controldata prints them: without a sign.
    return std::to_string(static_cast<std::uint64_t>(*x));
  };
  if (differ(was.cluster, is.cluster))
    found.push_back("another cluster (system identifier " + id(is.cluster)
                    + ", before " + id(was.cluster) + ")");
  if (differ(was.database, is.database))
    found.push_back("another database (oid " + id(is.database) + ", before "
                    + id(was.database) + ")");
  if (differ(was.timeline, is.timeline))
    found.push_back("another timeline (" + std::to_string(*is.timeline)
                    + ", before " + std::to_string(*was.timeline)
                    + "): a recovery to a point in time, or a standby that was "
                      "promoted");
  if (!written_here)
    found.emplace_back("rows that were loaded from a dump, or written by hand");
  auto out = std::string{};
  for (const auto& x : found)
    out += (out.empty() ? "" : "; ") + x;
  return out;
}

tl::expected<pg::result, error> read_row(pg::connection& db) {
  static auto level = std::atomic<std::size_t>{0};
  for (;;) {
    const auto i = level.load();
    auto rows = db.execute(readings.at(i));
    // 42501: the right is missing.
    if (rows || rows.error().sqlstate != "42501" || i + 1 == readings.size())
      return rows;
    level.store(i + 1);
    spdlog::warn("automation: {}", readings_lack.at(i + 1));
  }
}

/// Does as the row is to be written; nothing when another server was faster.
tl::expected<std::optional<automation_state>, error>
write(pg::connection& db, const pg::statement& what, const pg::params& with) {
  auto rows = db.execute(what, with);
  if (!rows)
    return tl::unexpected{std::move(rows.error())};
  if (rows->empty())
    return std::nullopt;
  return state_of(*rows);
}

} // namespace

tl::expected<automation_reading, error> read_automation(pg::connection& db) {
  auto rows = read_row(db);
  if (!rows)
    return tl::unexpected{std::move(rows.error())};
  if (rows->empty()) {
    auto made = write(db, missing_statement, {});
    if (!made)
      return tl::unexpected{std::move(made.error())};
    if (!*made)
      return read_automation(db);
    spdlog::error("automation: off: {}", (*made)->reason);
    return automation_reading{**made, true};
  }
  auto out = automation_reading{state_of(*rows), false};
  constexpr auto state_columns = 6;
  const auto first = rows->boolean(0, state_columns);
  const auto written_here = rows->boolean(0, state_columns + 1);
  const auto was = identity_of(*rows, state_columns + 2);
  const auto is = identity_of(*rows, state_columns + 5);
  auto params = pg::params{};
  params.add(static_cast<std::int64_t>(out.state.change))
    .add(is.cluster)
    .add(is.database)
    .add(is.timeline);
  const auto differs
    = first ? std::string{} : what_differs(was, is, written_here);
  if (!differs.empty()) {
    const auto reason = "this may be a restored backup: " + differs
                        + ". See what is pending, then switch it on";
    params.add(reason);
    auto off = write(db, restored_statement, params);
    if (!off)
      return tl::unexpected{std::move(off.error())};
    if (!*off)
      return read_automation(db);
    spdlog::error("automation: off: {}", reason);
    return automation_reading{**off, true};
  }
  // What could not be read before, or has never been.
  const auto news
    = first || (is.cluster && !was.cluster) || (is.timeline && !was.timeline);
  if (news)
    if (auto done = write(db, remember_statement, params); !done)
      return tl::unexpected{std::move(done.error())};
  return out;
}

tl::expected<automation_state, error>
switch_automation(pg::connection& db, bool enabled, const std::string& by,
                  const std::string& why, timestamp at) {
  auto done = write(db, switch_statement,
                    pg::params{}.add(enabled).add(why).add(by).add(at));
  if (!done)
    return tl::unexpected{std::move(done.error())};
  if (!*done)
    return tl::unexpected{
      error{pg::error_kind::other, {}, "the main switch has no row", {}}};
  return **done;
}

} // namespace slipway

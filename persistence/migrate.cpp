#include "persistence/migrate.hpp"

#include <openssl/evp.h>
#include <spdlog/fmt/fmt.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>

namespace slipway {
namespace {

using pg::error;
using pg::error_kind;

constexpr pg::statement lock_statement{"migrate_lock",
                                       "SELECT pg_advisory_lock($1)", false};

constexpr pg::statement unlock_statement{
  "migrate_unlock", "SELECT pg_advisory_unlock($1)", false};

constexpr pg::statement table_statement{
  "migrate_table", "SELECT to_regclass('schema_migrations') IS NOT NULL",
  false};

constexpr pg::statement applied_statement{
  "migrate_applied",
  "SELECT version, name, checksum FROM schema_migrations ORDER BY version",
  false};

constexpr pg::statement last_statement{
  "migrate_last", "SELECT coalesce(max(version), 0) FROM schema_migrations",
  false};

constexpr pg::statement record_statement{
  "migrate_record",
  "INSERT INTO schema_migrations (version, name, checksum) "
  "VALUES ($1, $2, $3)",
  true};

tl::unexpected<error> refuse(std::string message) {
  return tl::unexpected(error{error_kind::other, {}, std::move(message), {}});
}

tl::expected<bool, error> has_table(pg::connection& db) {
  auto found = db.execute(table_statement);
  if (!found)
    return tl::unexpected(std::move(found.error()));
  return found->boolean(0, 0);
}

/// Compares what was applied with what we have.
/// @returns the version of the database.
tl::expected<int, error>
check_applied(pg::connection& db, const std::vector<migration>& migrations) {
  auto rows = db.execute(applied_statement);
  if (!rows)
    return tl::unexpected(std::move(rows.error()));
  const int known = static_cast<int>(migrations.size());
  if (!rows->empty()) {
    const int last = rows->int32(rows->rows() - 1, 0);
    if (last > known)
      return refuse(fmt::format(
        "the database was migrated by a newer Slipway: its schema has version "
        "{} ({}), this Slipway knows versions up to {}",
        last, rows->text(rows->rows() - 1, 1), known));
  }
  for (int row = 0; row < rows->rows(); ++row) {
    const int version = rows->int32(row, 0);
    if (version != row + 1)
      return refuse(fmt::format("the table schema_migrations is damaged: it "
                                "lists version {} where {} was expected",
                                version, row + 1));
    const migration& ours = migrations[static_cast<std::size_t>(row)];
    if (rows->text(row, 2) != checksum_of(ours))
      return refuse(fmt::format(
        "migration {} ({}) differs from the one that was applied to this "
        "database; a released migration must not change, add a new one",
        version, ours.name));
  }
  return rows->rows();
}

error blame(const migration& step, error what) {
  what.message = fmt::format("migration {} ({}) failed: {}", step.version,
                             step.name, what.message);
  return what;
}

tl::expected<void, error> apply(pg::connection& db, const migration& step) {
  if (auto begun = db.begin(); !begun)
    return tl::unexpected(blame(step, std::move(begun.error())));
  auto done = [&]() -> tl::expected<void, error> {
    if (auto ran = db.script(std::string{step.sql}); !ran)
      return ran;
    if (!db.in_transaction())
      return refuse("it ends its transaction");
    pg::params with;
    with.add(std::int32_t{step.version}).add(step.name).add(checksum_of(step));
    if (auto recorded = db.execute(record_statement, with); !recorded)
      return tl::unexpected(std::move(recorded.error()));
    return db.commit();
  }();
  if (done)
    return {};
  if (db.in_transaction()) {
    // The first error is the one to tell; a rollback that fails as well kills
    // the connection, and the transaction with it.
    if (auto undone = db.rollback(); !undone)
      spdlog::warn("rolling back migration {} failed: {}", step.version,
                   pg::to_string(undone.error()));
  }
  return tl::unexpected(blame(step, std::move(done.error())));
}

tl::expected<migration_report, error>
migrate_locked(pg::connection& db, const std::vector<migration>& migrations) {
  auto exists = has_table(db);
  if (!exists)
    return tl::unexpected(std::move(exists.error()));
  if (!*exists) {
    auto made = db.script("CREATE TABLE schema_migrations ("
                          "version int PRIMARY KEY, "
                          "name text NOT NULL, "
                          "checksum text NOT NULL, "
                          "applied_at timestamptz NOT NULL DEFAULT now())");
    if (!made)
      return tl::unexpected(std::move(made.error()));
  }
  auto version = check_applied(db, migrations);
  if (!version)
    return tl::unexpected(std::move(version.error()));
  migration_report report;
  report.from = *version;
  report.to = *version;
  for (const migration& step : migrations) {
    if (step.version <= *version)
      continue;
    if (auto applied = apply(db, step); !applied)
      return tl::unexpected(std::move(applied.error()));
    spdlog::info("applied migration {} ({})", step.version, step.name);
    report.to = step.version;
    report.applied.push_back(step.version);
  }
  return report;
}

tl::expected<void, error> lock(pg::connection& db, millis lock_wait) {
  const millis usual_statement = db.statement_timeout();
  const millis usual_lock = db.lock_timeout();
  // The server takes zero for "for ever".
  const millis wait = std::max(lock_wait, millis{1});
  const millis statement
    = std::max<millis>(usual_statement, wait + std::chrono::seconds{1});
  if (auto set = db.set_timeouts(statement, wait); !set)
    return set;
  pg::params key;
  key.add(migration_lock_key);
  auto locked = db.execute(lock_statement, key);
  if (!locked && locked.error().kind == error_kind::timeout)
    locked.error().message
      = "another server has been migrating this database for more than "
        + to_words(wait);
  if (db.alive()) {
    if (auto reset = db.set_timeouts(usual_statement, usual_lock);
        !reset && locked)
      return reset;
  }
  return locked.map([](auto&&) {});
}

} // namespace

std::optional<std::string>
check_migrations(const std::vector<migration>& migrations) {
  int expected = 1;
  for (const migration& step : migrations) {
    if (step.version < expected)
      return fmt::format("migration {} ({}) is there twice or out of order",
                         step.version, step.name);
    if (step.version > expected)
      return fmt::format("migration {} is missing before {} ({})", expected,
                         step.version, step.name);
    if (step.sql.find_first_not_of(" \t\r\n") == std::string_view::npos)
      return fmt::format("migration {} ({}) is empty", step.version, step.name);
    ++expected;
  }
  return std::nullopt;
}

std::string checksum_of(const migration& step) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  if (EVP_Digest(step.sql.data(), step.sql.size(), digest, &size, EVP_sha256(),
                 nullptr)
      != 1)
    return {};
  std::string text;
  for (unsigned int i = 0; i < size; ++i)
    text += fmt::format("{:02x}", digest[i]);
  return text;
}

tl::expected<migration_report, pg::error>
migrate(pg::connection& db, const std::vector<migration>& migrations,
        millis lock_wait) {
  if (auto wrong = check_migrations(migrations))
    return refuse("the migrations of this Slipway are numbered wrongly: "
                  + *wrong);
  if (!migrations.empty() && checksum_of(migrations.front()).empty())
    return refuse("OpenSSL offers no SHA-256, which the migrations need");
  if (auto locked = lock(db, lock_wait); !locked)
    return tl::unexpected(std::move(locked.error()));
  auto report = migrate_locked(db, migrations);
  if (!db.alive())
    return report; // The lock went with the session.
  pg::params key;
  key.add(migration_lock_key);
  if (auto unlocked = db.execute(unlock_statement, key); !unlocked && report)
    return tl::unexpected(std::move(unlocked.error()));
  return report;
}

tl::expected<int, pg::error> schema_version(pg::connection& db) {
  auto exists = has_table(db);
  if (!exists)
    return tl::unexpected(std::move(exists.error()));
  if (!*exists)
    return 0;
  auto last = db.execute(last_statement);
  if (!last)
    return tl::unexpected(std::move(last.error()));
  return last->int32(0, 0);
}

} // namespace slipway

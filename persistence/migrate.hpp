#pragma once

#include "actors/lifecycle/time.hpp"
#include "persistence/pg/connection.hpp"
#include "persistence/pg/error.hpp"

#include <tl/expected.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace slipway {

/// One step of the schema, from `persistence/schema/NNNN_what.sql`. Forward
/// only, and never changed once it was released.
struct migration {
  int version;
  std::string_view name;
  std::string_view sql;
};

/// The steps of this binary, ascending; generated from `persistence/schema`.
const std::vector<migration>& schema_migrations();

/// Key of the advisory lock that a migrating server holds.
inline constexpr std::int64_t migration_lock_key = 0x736c'6970'7761'7901;

/// What `migrate` found and did.
struct migration_report {
  int from = 0;             ///< Version before; 0 means: an empty database.
  int to = 0;               ///< Version now.
  std::vector<int> applied; ///< What this call applied, ascending.
};

/// Checks the numbering: 1, 2, 3 … in this order, each with SQL.
/// @returns what is wrong, or nothing.
[[nodiscard]] std::optional<std::string>
check_migrations(const std::vector<migration>& migrations);

/// SHA-256 of a migration's SQL in hexadecimal, as it is recorded; empty when
/// OpenSSL does not offer it.
[[nodiscard]] std::string checksum_of(const migration& step);

/// Brings the database to the last of `migrations`, each in a transaction of
/// its own, under an advisory lock: of two servers that start at once, one
/// waits and then finds nothing to do. Blocks; the limit of one migration is
/// the connection's `statement_timeout`.
/// @param lock_wait how long to wait for another server's migration.
/// @returns kind `timeout` when the other one takes longer, kind `other` when
///          the database was migrated by a newer Slipway, when an applied
///          migration has changed since, or when the numbering is wrong.
[[nodiscard]] tl::expected<migration_report, pg::error>
migrate(pg::connection& db, const std::vector<migration>& migrations,
        millis lock_wait);

/// The last migration that was applied; 0 for an empty database.
[[nodiscard]] tl::expected<int, pg::error> schema_version(pg::connection& db);

} // namespace slipway

#pragma once

#include "actors/automation.hpp"
#include "persistence/pg/connection.hpp"
#include "persistence/pg/error.hpp"

#include <tl/expected.hpp>

#include <string>

namespace slipway {

/// The main switch as it was read.
struct automation_reading {
  automation_state state;
  /// The database has just turned out to be a restored one: what switched it
  /// off is this reading.
  bool restored = false;
};

/// Reads the main switch. Where the database is another one than the row
/// remembers – another cluster, another database, another timeline, or rows
/// that were loaded from a dump –, it is switched off, and the row remembers
/// this database from then on. The first time ever it only remembers.
[[nodiscard]] tl::expected<automation_reading, pg::error>
read_automation(pg::connection& db);

/// Switches the main switch, and writes down who did and why.
[[nodiscard]] tl::expected<automation_state, pg::error>
switch_automation(pg::connection& db, bool enabled, const std::string& by,
                  const std::string& why, timestamp at);

} // namespace slipway

#pragma once

#include "actors/interfaces.hpp"
#include "persistence/pg/connection.hpp"

#include <cstdint>
#include <vector>

/// What the JOURNAL writes, as statements and their parameters. Pure: nothing
/// here talks to the database.
namespace slipway {

/// Transitions of different subscriptions.
using transition_batch = std::vector<const transition*>;

/// The numbers of the row types `journal_…` (migration 0011) in one database.
struct journal_types {
  std::uint32_t subscription = 0;
  std::uint32_t line = 0;
  std::uint32_t order = 0;
  std::uint32_t instance = 0;
  std::uint32_t notice = 0;
  std::uint32_t callback = 0;
  std::uint32_t creation = 0;
  std::uint32_t credential = 0;
};

/// Asks for them; one row, for `read_journal_types`.
extern const pg::statement find_journal_types;

[[nodiscard]] journal_types read_journal_types(const pg::result& from);

/// Writes transitions that make their row; returns the ids of the new ones.
extern const pg::statement insert_batch;

/// Keeps callbacks that move nothing.
extern const pg::statement keep_callbacks;

/// Writes transitions of rows that are there.
/// @param types Those of the database that it is sent to.
/// @param server Whose rows may be written.
/// @param callbacks_known Of some of their callbacks there is a row already,
///        which then says that it was applied; false: one that is there is a
///        violation of `callbacks_one_per_event`.
/// @returns the statement for these parameters, which gives the ids of those
///          that were where they were expected.
[[nodiscard]] const pg::statement&
encode_update(pg::params& to, const journal_types& types, std::int64_t server,
              const transition_batch& some, bool callbacks_known = false);

/// Fills the parameters of `insert_batch`.
void encode_insert(pg::params& to, const journal_types& types,
                   std::int64_t server, const transition_batch& some);

/// Fills the parameters of `keep_callbacks`. Deliveries of one event that met
/// here become one row.
void encode_inbox(pg::params& to, const journal_types& types,
                  const std::vector<inbox_job_ptr>& kept);

} // namespace slipway

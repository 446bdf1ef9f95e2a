#pragma once

#include "actors/queries.hpp"
#include "actors/record.hpp"
#include "persistence/pg/result.hpp"

#include <vector>

namespace slipway {

/// The columns that `read_records` expects, over `s` (subscriptions), `i` (its
/// latest instance) and `p` (its payments, one row each).
extern const char* const record_columns;

/// The joins that go with them, behind `FROM … s`.
extern const char* const record_joins;

/// Builds records from rows that are grouped by subscription, payments
/// ascending.
[[nodiscard]] std::vector<record> read_records(const pg::result& rows);

/// The columns that `read_order` expects, over `p` (payments).
extern const char* const order_columns;

/// Builds an order from the columns that begin at `column`.
[[nodiscard]] lifecycle::order
read_order(const pg::result& rows, int row, int column);

/// Builds a notice from the columns kind, instance_seq, public_url, error,
/// duration_ms, amount_minor, created_at, beginning at `column`.
[[nodiscard]] notice read_notice(const pg::result& rows, int row, int column);

} // namespace slipway

#pragma once

#include "actors/queries.hpp"
#include "persistence/pg/connection.hpp"

#include <tl/expected.hpp>

namespace slipway {

/// Deletes what is old and of no more use among the next rows of a table. Looks
/// at no more than `limit` rows, by an index: a step is short, however long the
/// past is.
[[nodiscard]] tl::expected<query::prune::found, pg::error>
prune(pg::connection& db, const query::prune& what);

} // namespace slipway

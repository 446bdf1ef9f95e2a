#include "persistence/prune.hpp"

namespace slipway {

namespace {

// Each statement says twice what it deletes: what is found in the page may have
// changed by the time it is deleted, so the conditions are on the row itself.
// Callbacks are walked by their numbers, which are in the order of time; events
// and notifications by their subscriptions, whose numbers are so as well; the
// rest is found by indexes of its own.

#define WALK_GOES_ON(rows)                                                     \
  " RETURNING x.id) SELECT (SELECT count(*) FROM gone), "                      \
  "(SELECT CASE WHEN count(*) < " rows " OR min(at) >= $2 THEN 0 "             \
  "ELSE max(id) END FROM page)"

// Subscriptions of one step: each of them has some rows.
#define SOME "($3 + 7) / 8"

#define WALKED_BY_SUBSCRIPTION(table)                                          \
  "WITH page AS (SELECT id, created_at AS at, updated_at, status, settled "    \
  "FROM subscriptions WHERE id > $1 ORDER BY id LIMIT " SOME                   \
  "), gone AS (DELETE FROM " table                                             \
  " x USING page s WHERE x.subscription_id = s.id AND s.settled AND "

// Never what a person still has to look at, nor the samples of forged ones,
// which are bounded otherwise; never the proof of the present period's payment,
// nor anything while money is on its way back.
constexpr auto callbacks_statement = pg::statement{
  "prune_callbacks",
  "WITH page AS (SELECT id, received_at AS at, subscription_id FROM callbacks "
  "WHERE id > $1 ORDER BY id LIMIT $3), gone AS (DELETE FROM callbacks x "
  "USING page p LEFT JOIN subscriptions s ON s.id = p.subscription_id "
  "WHERE x.id = p.id AND x.last_received_at < $2 "
  "AND x.outcome <> 4 AND (x.outcome <> 3 OR x.settled_at IS NOT NULL) "
  "AND (s.id IS NULL OR (s.settled "
  "AND NOT (s.status = 1 AND x.received_at >= s.start_at - interval '1 day') "
  "AND NOT EXISTS (SELECT 1 FROM payments y WHERE y.subscription_id = s.id "
  "AND y.status = 3)))" WALK_GOES_ON("$3"),
  true};

// All of it once the subscription is over and nothing has happened since; while
// it lives only what repeats itself: calls to the provider, and what was seen
// of instances.
constexpr auto history_statement
  = pg::statement{"prune_history",
                  WALKED_BY_SUBSCRIPTION(
                    "events") "x.at < $2 AND (x.kind = 1 OR x.operation "
                              "IN ('instance_observed', "
                              "'deployment_observed') "
                              "OR (s.status <> 1 AND s.updated_at < $2 "
                              "AND NOT EXISTS (SELECT 1 FROM instances i "
                              "WHERE i.subscription_id = s.id "
                              "AND i.deleted_at IS NULL)))" WALK_GOES_ON(SOME),
                  true};

constexpr auto notifications_statement
  = pg::statement{"prune_notifications",
                  WALKED_BY_SUBSCRIPTION(
                    "notifications") "x.created_at < $2" WALK_GOES_ON(SOME),
                  true};

// A mail that could not be delivered is a person's to look at for as long as
// the subscription is active.
constexpr auto mails_statement = pg::statement{
  "prune_mails",
  "WITH page AS (SELECT o.subscription_id, o.revision, o.kind FROM outbox o "
  "JOIN subscriptions s ON s.id = o.subscription_id "
  "WHERE o.status <> 0 AND o.done_at < $2 AND $1 >= 0 AND s.settled "
  "AND (o.status <> 2 OR s.status <> 1) ORDER BY o.done_at LIMIT $3), "
  "gone AS (DELETE FROM outbox x USING page p "
  "WHERE x.subscription_id = p.subscription_id AND x.revision = p.revision "
  "AND x.kind = p.kind AND x.status <> 0 RETURNING 1) "
  "SELECT count(*), CASE WHEN count(*) < $3 THEN 0 ELSE 1 END::bigint "
  "FROM gone",
  true};

constexpr auto orphans_statement = pg::statement{
  "prune_orphans",
  "WITH page AS (SELECT project_id FROM orphans WHERE gone_at < $2 "
  "AND $1 >= 0 ORDER BY gone_at LIMIT $3), "
  "gone AS (DELETE FROM orphans x USING page p "
  "WHERE x.project_id = p.project_id AND x.gone_at < $2 RETURNING 1) "
  "SELECT count(*), CASE WHEN count(*) < $3 THEN 0 ELSE 1 END::bigint "
  "FROM gone",
  true};

// Settled rows go on naming the server that wrote them last: whose name leads
// nowhere owns nothing. What is under way is taken over by that name.
constexpr auto servers_statement = pg::statement{
  "prune_servers",
  "WITH gone AS (DELETE FROM servers v WHERE v.id IN (SELECT w.id "
  "FROM servers w WHERE w.retired_at < $1 AND NOT EXISTS (SELECT 1 "
  "FROM quarantines q WHERE q.server = w.id) AND NOT EXISTS (SELECT 1 "
  "FROM subscriptions s WHERE NOT s.settled AND s.owner = w.id) LIMIT $2) "
  "AND v.retired_at < $1 RETURNING 1) SELECT count(*) FROM gone",
  true};

using found = query::prune::found;

tl::expected<found, pg::error>
walk(pg::connection& db, const pg::statement& how, const query::prune& what) {
  auto rows = db.execute(how, pg::params{}
                                .add(what.after)
                                .add(what.before)
                                .add(static_cast<std::int64_t>(what.limit)));
  if (!rows)
    return tl::unexpected{std::move(rows.error())};
  return found{rows->int64(0, 0), rows->int64(0, 1)};
}

tl::expected<found, pg::error>
prune_servers(pg::connection& db, const query::prune& what) {
  const auto limit = static_cast<std::int64_t>(what.limit);
  const auto params = pg::params{}.add(what.before).add(limit);
  auto gone = db.execute(servers_statement, params);
  if (!gone)
    return tl::unexpected{std::move(gone.error())};
  return found{gone->int64(0, 0), gone->int64(0, 0) == limit ? 1 : 0};
}

} // namespace

tl::expected<found, pg::error>
prune(pg::connection& db, const query::prune& what) {
  switch (what.what) {
    case query::prunable::callbacks:
      return walk(db, callbacks_statement, what);
    case query::prunable::history:
      return walk(db, history_statement, what);
    case query::prunable::notifications:
      return walk(db, notifications_statement, what);
    case query::prunable::mails:
      return walk(db, mails_statement, what);
    case query::prunable::orphans:
      return walk(db, orphans_statement, what);
    case query::prunable::servers:
      return prune_servers(db, what);
  }
  return found{};
}

} // namespace slipway

#include "persistence/store.hpp"

#include "actors/guardian.hpp"
#include "persistence/automation.hpp"
#include "persistence/prune.hpp"
#include "persistence/rows.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>

namespace slipway {

namespace {

using namespace query;

std::int64_t key(subscription_id id) {
  return static_cast<std::int64_t>(raw(id));
}

subscription_id to_id(std::int64_t value) {
  return subscription_id{static_cast<std::uint64_t>(value)};
}

std::int32_t rows_max(std::size_t limit) {
  return static_cast<std::int32_t>(limit);
}

/// An array whose size the planner does not see: a plan that is right for all
/// sizes is then kept, and not made anew for every small one.
#define SIZE_UNSEEN(param) "(SELECT " param ")::bigint[]"

/// Nobody works on a row without an owner, or whose owner has ended; of old
/// ones nothing is left but their number.
#define NOBODY_OWNS_IT                                                         \
  "(s.owner IS NULL OR NOT EXISTS (SELECT 1 FROM servers v "                   \
  "WHERE v.id = s.owner AND v.ended_at IS NULL))"

/// Those would stand in front of all others, and are tried anew by themselves.
#define NOT_QUARANTINED                                                        \
  "AND NOT EXISTS (SELECT 1 FROM quarantines q WHERE q.subscription_id = "     \
  "s.id)"

/// Nothing but an end that was proven takes an instance away from its
/// subscription.
#define IT_IS_THERE                                                            \
  "EXISTS (SELECT 1 FROM instances i WHERE i.subscription_id = s.id "          \
  "AND i.deleted_at IS NULL)"

/// How many deployments go first, counting this one; 0 when it is not queued.
#define PLACE_IN_QUEUE                                                         \
  "CASE WHEN s.phase = 2 THEN (SELECT count(*) FROM subscriptions q "          \
  "WHERE q.stage = 1 AND (q.queue_rank, q.id) <= (s.queue_rank, s.id)) "       \
  "ELSE 0 END"

/// Statements keep pointers to their text: these live as long as the program.
std::string
select_records(const char* extra, const char* from, const char* order) {
  return std::string{"SELECT "} + record_columns + extra + " FROM " + from
         + record_joins + order;
}

const auto find_sql = select_records(
  ", " PLACE_IN_QUEUE, "(SELECT * FROM subscriptions WHERE id = $1) s",
  "ORDER BY p.seq");

// The queue is gone through once, as far as the last of them stands: counting
// for each what goes ahead would be as many times the queue.
const auto changes_sql = select_records(
  ", s.place, coalesce(s.owner = $3, false)",
  "(WITH page AS MATERIALIZED (SELECT x.* "
  "FROM unnest($1::bigint[], $2::bigint[]) AS w (id, revision) "
  "JOIN subscriptions x ON x.id = w.id AND x.revision > w.revision), "
  "line AS MATERIALIZED (SELECT id, "
  "row_number() OVER (ORDER BY queue_rank, id) AS place FROM subscriptions "
  "WHERE stage = 1 AND EXISTS (SELECT FROM page WHERE phase = 2) "
  "AND (queue_rank, id) <= (SELECT queue_rank, id FROM page WHERE phase = 2 "
  "ORDER BY queue_rank DESC, id DESC LIMIT 1)) "
  "SELECT page.*, coalesce(line.place, 0) AS place "
  "FROM page LEFT JOIN line ON line.id = page.id) s",
  "ORDER BY s.id, p.seq");

const auto load_sql = select_records(
  ", coalesce(s.owner = $2, false), " NOBODY_OWNS_IT,
  "(SELECT * FROM subscriptions WHERE id = ANY (" SIZE_UNSEEN("$1") ")) s",
  "ORDER BY s.id, p.seq");

const auto list_sql = select_records(
  "",
  "(SELECT x.* FROM (SELECT subscription_id FROM user_subscriptions "
  "WHERE user_id = $1 AND ($2 = 0 OR subscription_id < $2) "
  "ORDER BY subscription_id DESC LIMIT $3) h "
  "JOIN subscriptions x ON x.id = h.subscription_id) s",
  "ORDER BY s.id DESC, p.seq");

const auto by_ids_sql = select_records(
  "", "(SELECT * FROM subscriptions WHERE id = ANY ($1) AND owner = $2) s",
  "ORDER BY s.id, p.seq");

const auto watched_sql = select_records(
  "",
  "(SELECT * FROM subscriptions s WHERE stage IN (3, 5) AND id > $1 AND "
  "(s.owner = $3 OR " NOBODY_OWNS_IT ") AND " IT_IS_THERE
  " ORDER BY id LIMIT $2) s",
  "ORDER BY s.id, p.seq");

const auto by_project_sql
  = select_records("",
                   "(SELECT s.* FROM instances o JOIN subscriptions s "
                   "ON s.id = o.subscription_id WHERE o.project_id = $1 "
                   "AND o.project_id <> '' AND o.deleted_at IS NULL) s",
                   "ORDER BY p.seq");

const auto match_sql
  = select_records("", "(SELECT * FROM subscriptions WHERE id = ANY ($1)) s",
                   "ORDER BY s.id, p.seq");

const auto watched_statement
  = pg::statement{"store_watched", watched_sql.c_str(), false};

const auto by_project_statement
  = pg::statement{"store_by_project", by_project_sql.c_str(), false};

const auto match_statement
  = pg::statement{"store_match", match_sql.c_str(), false};

// Whatever is searched for is searched for as a whole, by an index each.
constexpr auto found_ids_sql
  = "SELECT subscription_id FROM user_subscriptions WHERE user_id = $1 UNION "
    "SELECT h.subscription_id FROM users u JOIN user_subscriptions h "
    "ON h.user_id = u.id "
    "WHERE lower(u.email) = lower($1) AND u.email <> '' UNION "
    "SELECT subscription_id FROM payments WHERE gateway IN (0, 1) "
    "AND transaction_id = $1 UNION "
    "SELECT subscription_id FROM instances WHERE project_id = $1 "
    "AND project_id <> '' AND deleted_at IS NULL";

const auto search_sql = select_records(
  "",
  (std::string{"(SELECT * FROM subscriptions WHERE ($1 = '' OR id IN ("}
   + found_ids_sql
   + ")) AND ($2 = 0 OR id = $2) AND ($3::smallint IS NULL OR status = $3) "
     "AND (cardinality($4::smallint[]) = 0 OR phase = ANY ($4)) "
     "AND ($5 = 0 OR id < $5) ORDER BY id DESC LIMIT $6) s")
    .c_str(),
  "ORDER BY s.id DESC, p.seq");

const auto search_statement
  = pg::statement{"store_search", search_sql.c_str(), false};

const auto find_statement
  = pg::statement{"store_find", find_sql.c_str(), false};

const auto progress_statement
  = pg::statement{"store_changes", changes_sql.c_str(), false};

const auto load_statement
  = pg::statement{"store_load", load_sql.c_str(), false};

const auto list_statement
  = pg::statement{"store_list", list_sql.c_str(), false};

const auto by_ids_statement
  = pg::statement{"store_by_ids", by_ids_sql.c_str(), false};

// Remembers the last owner that was given up for its silence alone: of all
// others it is known that they have ended.
#define TAKES                                                                  \
  "owner = $2, epoch = s.epoch + 1, taken_from = CASE WHEN EXISTS ("           \
  "SELECT 1 FROM servers v WHERE v.id = s.owner AND v.process_ended) "         \
  "THEN s.taken_from ELSE s.owner END"

constexpr auto claim_statement
  = pg::statement{"store_claim",
                  "UPDATE subscriptions s SET " TAKES
                  " WHERE s.id = ANY ($1) AND " NOBODY_OWNS_IT
                  " RETURNING s.id, s.epoch, s.revision",
                  true};

constexpr auto dead_servers = pg::statement{
  "store_dead_servers",
  "SELECT id FROM servers WHERE retired_at IS NULL AND ended_at IS NOT NULL "
  "AND id <> $1",
  false};

constexpr auto claim_page = pg::statement{
  "store_claim_page",
  "WITH page AS (SELECT id FROM subscriptions WHERE NOT settled "
  "AND owner = ANY ($1) ORDER BY id LIMIT $3 FOR UPDATE SKIP LOCKED) "
  "UPDATE subscriptions s SET " TAKES " FROM page "
  "WHERE s.id = page.id RETURNING s.id",
  true};

// Rows that were locked, by a last commit or by another server's claim, were
// left out of the page: who still has some stays to be claimed from.
constexpr auto retire_servers = pg::statement{
  "store_retire",
  "UPDATE servers SET retired_at = now() WHERE id = ANY ($1) "
  // A commit that was past the fence may still land.
  "AND ended_at < now() - interval '1 min' "
  "AND NOT EXISTS (SELECT 1 FROM subscriptions s WHERE NOT s.settled "
  "AND s.owner = servers.id)",
  true};

constexpr auto last_silence_statement = pg::statement{
  "store_last_silence",
  "SELECT (extract(epoch FROM now() - v.ended_at) * 1000)::bigint "
  "FROM subscriptions s JOIN servers v ON v.id = s.taken_from "
  "WHERE s.id = $1 AND v.ended_at IS NOT NULL AND NOT v.process_ended",
  false};

constexpr auto forget_quarantines
  = pg::statement{"store_forget_quarantines",
                  "DELETE FROM quarantines q USING servers s "
                  "WHERE s.id = q.server AND s.ended_at IS NOT NULL",
                  true};

const auto own_sql = select_records(
  "",
  "(SELECT * FROM subscriptions WHERE NOT settled AND owner = $1 AND id > $2 "
  "ORDER BY id LIMIT $3) s",
  "ORDER BY s.id, p.seq");

const auto own_statement = pg::statement{"store_own", own_sql.c_str(), false};

constexpr auto note_quarantine_statement = pg::statement{
  "store_note_quarantine",
  "INSERT INTO quarantines (subscription_id, server, since, failures, reason) "
  "SELECT $1, $2, $3, $4, $5 FROM subscriptions WHERE id = $1 "
  "ON CONFLICT (subscription_id) DO UPDATE SET server = excluded.server, "
  "failures = excluded.failures, reason = excluded.reason",
  true};

constexpr auto lift_quarantine_statement
  = pg::statement{"store_lift_quarantine",
                  "DELETE FROM quarantines WHERE subscription_id = $1 "
                  "OR ($1 = 0 AND server = $2)",
                  true};

constexpr auto timers_statement = pg::statement{
  "store_timers",
  "SELECT s.id FROM subscriptions s WHERE s.wake_at <= $1 AND (s.owner = $2 "
  "OR " NOBODY_OWNS_IT ") " NOT_QUARANTINED " ORDER BY s.wake_at LIMIT $3",
  false};

constexpr auto move_timer_statement = pg::statement{
  "store_move_timer",
  "UPDATE subscriptions SET wake_at = $4 WHERE id = $1 AND revision = $2 "
  "AND owner = $3 AND wake_at IS DISTINCT FROM $4",
  true};

constexpr auto wake_failed_statement = pg::statement{
  "store_wake_failed",
  "UPDATE subscriptions SET wake_at = $1 WHERE stage = 4 AND status = 1 "
  "AND (wake_at IS NULL OR wake_at > $1)",
  true};

constexpr auto held_statement = pg::statement{
  "store_slots_held", "SELECT id FROM subscriptions WHERE stage = 2", false};

constexpr auto waiting_statement = pg::statement{
  "store_slots_waiting",
  "SELECT id FROM subscriptions s WHERE stage = 1 " NOT_QUARANTINED
  " ORDER BY queue_rank, id "
  "LIMIT $1",
  false};

constexpr auto depth_statement
  = pg::statement{"store_queue_depth",
                  "SELECT count(*) FROM subscriptions WHERE stage = 1", false};

// One that had gone and is there again is another one: found anew.
constexpr auto note_orphans_statement = pg::statement{
  "store_note_orphans",
  "INSERT INTO orphans AS o (project_id, name, subscription_id, reason, "
  "seen_at, last_seen_at) SELECT x.*, $5, $5 "
  "FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[]) AS x "
  // Several servers sweep, and meet their rows in one order.
  "ORDER BY 1 "
  "ON CONFLICT (project_id) DO UPDATE SET "
  "seen_at = CASE WHEN o.gone_at IS NULL THEN o.seen_at "
  "ELSE excluded.seen_at END, "
  "last_seen_at = greatest(o.last_seen_at, excluded.last_seen_at), reason = "
  "excluded.reason, "
  "subscription_id = excluded.subscription_id, gone_at = NULL, "
  "removed_by_us = false RETURNING project_id, seen_at",
  true};

constexpr auto note_history_statement = pg::statement{
  "store_note_history",
  "INSERT INTO events (subscription_id, revision, at, kind, operation, "
  "outcome, summary) SELECT id, revision, $2, $3, $4, $5, $6 "
  "FROM subscriptions WHERE id = $1",
  true};

constexpr auto close_orphan_statement
  = pg::statement{"store_close_orphan",
                  "UPDATE orphans SET gone_at = $2, removed_by_us = $3 "
                  "WHERE project_id = $1 AND gone_at IS NULL",
                  true};

constexpr auto close_vanished_statement = pg::statement{
  "store_close_vanished_orphans",
  "UPDATE orphans SET gone_at = $1 WHERE gone_at IS NULL AND last_seen_at < $1",
  true};

constexpr auto key_statement = pg::statement{
  "store_find_key",
  "SELECT p.subscription_id FROM payments p JOIN subscriptions s "
  "ON s.id = p.subscription_id WHERE p.idempotency_key = $2 "
  "AND s.user_id = $1 LIMIT 1",
  false};

constexpr auto credentials_statement = pg::statement{
  "store_credentials",
  "SELECT subscription_id, channel_type, key_id, nonce, ciphertext "
  "FROM channel_credentials WHERE subscription_id = ANY (" SIZE_UNSEEN(
    "$1") ") ORDER BY subscription_id, channel_type",
  false};

constexpr auto history_statement = pg::statement{
  "store_history",
  "SELECT id, at, kind, summary, operation, outcome FROM events "
  "WHERE subscription_id = $1 AND id > $2 ORDER BY id LIMIT $3",
  false};

#define NOTICE_NAMES                                                           \
  "(VALUES (0, 'PAYMENT_RECEIVED'), (1, 'DEPLOYMENT_SUCCESS'), "               \
  "(2, 'DEPLOYMENT_FAILED'), (3, 'REFUND_COMPLETED'), "                        \
  "(4, 'DEPLOYMENT_CANCELLED'), (5, 'INSTANCE_TERMINATED'), "                  \
  "(6, 'INSTANCE_DOWN'), (7, 'INSTANCE_RECOVERED'), "                          \
  "(8, 'INSTANCE_CHANGED'), (9, 'DEPLOYMENT_STARTED')) n (number, name)"

constexpr auto timeline_statement = pg::statement{"store_timeline", R"sql(
SELECT at, source, id, kind, summary, operation, outcome FROM (
  (SELECT at, 0::smallint AS source, id,
          CASE kind WHEN 0 THEN 'state' WHEN 1 THEN 'provider'
                    WHEN 2 THEN 'mail' ELSE 'operator' END AS kind,
          summary, operation, outcome
   FROM events WHERE subscription_id = $1)
  UNION ALL
  (SELECT received_at, 1::smallint, id, 'callback',
          CASE gateway WHEN 0 THEN 'Alipay' ELSE 'WeChat Pay' END
            || CASE source WHEN 0 THEN ' notifies of order '
                           WHEN 1 THEN ' notifies of a refund of order '
                           ELSE ' answers about order ' END
            || order_id
            || CASE WHEN reason = '' THEN '' ELSE ': ' || reason END
            || CASE WHEN repeats = 0 THEN ''
                    ELSE ', ' || repeats + 1 || ' deliveries' END,
          CASE source WHEN 0 THEN 'notify' WHEN 1 THEN 'refund_notify'
                      ELSE 'query' END,
          CASE outcome WHEN 0 THEN 'applied' WHEN 1 THEN 'repeated'
                       WHEN 2 THEN 'acknowledged' WHEN 3 THEN 'contradicted'
                       ELSE 'forged' END
   FROM callbacks WHERE subscription_id = $1)
  UNION ALL
  (SELECT created_at, 2::smallint, id, 'notification',
          'The user is told of ' || n.name, n.name, CASE WHEN read_at IS NULL THEN 'unread' ELSE 'read' END
   FROM notifications JOIN )sql" NOTICE_NAMES R"sql(
     ON n.number = kind
   WHERE subscription_id = $1)
) t WHERE (at, source, id) > ($2, $3, $4) ORDER BY at, source, id LIMIT $5
)sql",
                                                  false};

#define NOTICE_COLUMNS                                                         \
  "kind, instance_seq, public_url, error, duration_ms, amount_minor, "         \
  "created_at"

/// The newest notices of user $1, of those before $2 (0: of all). They lie with
/// their subscriptions.
#define NEWEST_NOTICES(columns, limit)                                         \
  "(SELECT n.* FROM user_subscriptions h CROSS JOIN LATERAL (SELECT " columns  \
  " FROM notifications x WHERE x.subscription_id = h.subscription_id "         \
  "AND ($2 = 0 OR x.id < $2) ORDER BY x.id DESC LIMIT " limit                  \
  ") n WHERE h.user_id = $1 ORDER BY n.id DESC LIMIT " limit ")"

#define NOTIFICATION_COLUMNS                                                   \
  "id, subscription_id, read_at, (SELECT plan FROM subscriptions s "           \
  "WHERE s.id = subscription_id), " NOTICE_COLUMNS

constexpr auto notifications_statement
  = pg::statement{"store_notifications",
                  "SELECT " NOTIFICATION_COLUMNS
                  " FROM " NEWEST_NOTICES("x.*", "$3") " page ORDER BY id DESC",
                  false};

// Unread ones have no index of their own: every notice would pay for it when it
// is stored, and again when it is read. The newest ones of the user are looked
// at instead, and never more than so many.
#define LOOKED_AT "WITH looked AS MATERIALIZED " NEWEST_NOTICES("x.*", "$4") " "

constexpr auto unread_statement = pg::statement{
  "store_unread",
  LOOKED_AT
  "SELECT u.*, l.last FROM (SELECT CASE WHEN count(*) = $4 THEN min(id) "
  "ELSE 0 END AS last FROM looked) l LEFT JOIN LATERAL ("
  "SELECT " NOTIFICATION_COLUMNS
  " FROM looked WHERE read_at IS NULL ORDER BY id DESC LIMIT $3) u ON true "
  "ORDER BY u.id DESC",
  false};

constexpr auto count_unread_statement = pg::statement{
  "store_count_unread",
  "SELECT least(count(*) FILTER (WHERE read_at IS NULL), $3), "
  "count(*) FILTER (WHERE read_at IS NULL) > $3 OR count(*) = $4 "
  "FROM " NEWEST_NOTICES("x.id, x.read_at", "$4") " looked",
  false};

constexpr auto mark_all_statement = pg::statement{
  "store_mark_all_read",
  LOOKED_AT
  ", marked AS (UPDATE notifications n SET read_at = $3 FROM looked l "
  "WHERE n.subscription_id = l.subscription_id AND n.id = l.id "
  "AND l.read_at IS NULL AND n.read_at IS NULL RETURNING n.id) "
  "SELECT (SELECT count(*) FROM marked), (SELECT CASE WHEN count(*) = $4 "
  "THEN min(id) ELSE 0 END FROM looked)",
  true};

constexpr auto read_preferences_statement
  = pg::statement{"store_read_preferences",
                  "SELECT mail_progress FROM users WHERE id = $1", false};

constexpr auto write_preferences_statement = pg::statement{
  "store_write_preferences",
  "INSERT INTO users AS u (id, created_at, updated_at, mail_progress) "
  "VALUES ($1, $2, $2, $3) ON CONFLICT (id) DO UPDATE SET "
  "mail_progress = excluded.mail_progress, updated_at = excluded.updated_at "
  "RETURNING mail_progress",
  true};

constexpr auto mark_read_statement = pg::statement{
  "store_mark_read",
  "UPDATE notifications n SET read_at = coalesce(read_at, $3) "
  "FROM user_subscriptions h WHERE h.user_id = $1 "
  "AND n.subscription_id = h.subscription_id AND n.id = $2 "
  "RETURNING id, n.subscription_id, read_at, (SELECT plan "
  "FROM subscriptions s WHERE s.id = n.subscription_id), " NOTICE_COLUMNS,
  true};

constexpr auto remember_statement = pg::statement{
  "store_remember_user",
  "INSERT INTO users AS u (id, email, locale, created_at, updated_at) "
  "VALUES ($1, $2, $3, $4, $4) ON CONFLICT (id) DO UPDATE SET "
  "email = coalesce(nullif(excluded.email, ''), u.email), "
  "locale = coalesce(nullif(excluded.locale, ''), u.locale), "
  "updated_at = excluded.updated_at "
  "WHERE (excluded.email <> '' AND excluded.email <> u.email) "
  "OR (excluded.locale <> '' AND excluded.locale <> u.locale)",
  true};

constexpr auto mails_statement = pg::statement{
  "store_mails",
  "SELECT o.subscription_id, o.revision, o.tries, u.email, u.locale, s.plan, "
  "o.kind, o.instance_seq, o.public_url, o.error, o.duration_ms, "
  "o.amount_minor, o.created_at, o.user_id, u.mail_progress, "
  "coalesce(b.reason, '') "
  "FROM outbox o JOIN subscriptions s ON s.id = o.subscription_id "
  "JOIN users u ON u.id = o.user_id "
  "LEFT JOIN bounces b ON b.address = lower(u.email) "
  "WHERE o.status = 0 AND o.next_at <= $1 AND (s.owner = $2 OR ("
  // Of those that nobody owns one server takes care.
  NOBODY_OWNS_IT " AND $2 = (SELECT min(v.id) FROM servers v "
  "WHERE v.ended_at IS NULL))) ORDER BY o.next_at LIMIT $3",
  false};

constexpr auto mark_mail_statement = pg::statement{
  "store_mark_mail",
  "WITH marked AS (UPDATE outbox SET status = $4, tries = tries + 1, "
  "next_at = $6, done_at = CASE WHEN $4 = 0 THEN NULL ELSE $5 END, "
  "detail = $7, sent_to = $11 "
  "WHERE subscription_id = $1 AND revision = $2 AND kind = $3 "
  "AND status = 0 RETURNING subscription_id, revision) "
  "INSERT INTO events (subscription_id, revision, at, kind, operation, "
  "outcome, summary) SELECT subscription_id, revision, $5, 2::smallint, $8, "
  "$9, $10 FROM marked",
  true};

// Which mail came back: the one that is named, or else the latest one that was
// sent to the address, of those who have it now. A mail that is named says
// where it was sent to; it may have been passed on from there.
constexpr auto note_bounce_statement = pg::statement{
  "store_note_bounce",
  "WITH named AS (SELECT subscription_id, revision, kind, lower(sent_to) AS at "
  "FROM outbox WHERE subscription_id = $1 AND revision = $2 AND kind = $3), "
  "place AS (SELECT coalesce(nullif((SELECT at FROM named), ''), lower($4)) "
  "AS address), "
  "people AS (SELECT u.id FROM place p JOIN users u "
  "ON lower(u.email) = p.address AND u.email <> '' LIMIT 20), "
  "latest AS (SELECT o.subscription_id, o.revision, o.kind FROM people "
  "CROSS JOIN LATERAL (SELECT subscription_id AS id FROM user_subscriptions "
  "WHERE user_id = people.id ORDER BY subscription_id DESC LIMIT 20) s "
  "JOIN outbox o ON o.subscription_id = s.id AND o.status = 1 "
  "JOIN place p ON lower(o.sent_to) = p.address "
  "WHERE NOT EXISTS (SELECT FROM named) ORDER BY o.done_at DESC LIMIT 1), "
  "found AS (SELECT subscription_id, revision, kind FROM named "
  "UNION ALL SELECT subscription_id, revision, kind FROM latest), "
  "marked AS (UPDATE outbox o SET status = 2, done_at = $5, detail = $6 "
  "FROM found f WHERE o.subscription_id = f.subscription_id "
  "AND o.revision = f.revision AND o.kind = f.kind AND o.status IN (0, 1) "
  "RETURNING o.subscription_id, o.revision, o.kind), "
  "kept AS (INSERT INTO bounces AS b (address, reason, since, reported_by, "
  "subscription_id) SELECT p.address, $6, $5, $7, "
  "coalesce((SELECT subscription_id FROM found), 0) FROM place p "
  "WHERE $8 AND p.address <> '' "
  "AND (EXISTS (SELECT FROM found) OR EXISTS (SELECT FROM people)) "
  "ON CONFLICT (address) DO UPDATE SET reason = excluded.reason, "
  "reported_by = excluded.reported_by RETURNING address), "
  "told AS (INSERT INTO events (subscription_id, revision, at, kind, "
  "operation, outcome, summary) SELECT m.subscription_id, m.revision, $5, "
  "2::smallint, n.name, 'undeliverable', "
  "'Mail ' || n.name || ' came back: ' || $6 "
  "FROM marked m JOIN " NOTICE_NAMES " ON n.number = m.kind) "
  "SELECT coalesce((SELECT address FROM kept), ''), "
  "coalesce((SELECT subscription_id FROM found), 0), "
  "EXISTS (SELECT FROM marked), "
  "EXISTS (SELECT FROM found) OR EXISTS (SELECT FROM people)",
  true};

constexpr auto bounces_statement = pg::statement{
  "store_bounces",
  "SELECT id, address, reason, since, reported_by, subscription_id "
  "FROM bounces WHERE $1 = 0 OR id < $1 ORDER BY id DESC LIMIT $2",
  false};

constexpr auto lift_bounce_statement = pg::statement{
  "store_lift_bounce",
  "DELETE FROM bounces WHERE address = lower($1) RETURNING id", true};

constexpr auto by_phase_statement = pg::statement{
  "store_by_phase",
  "SELECT phase, status, count(*) FROM subscriptions GROUP BY phase, status",
  false};

constexpr auto count_page_statement = pg::statement{
  "store_count_page",
  "SELECT status, count(*), max(id) FROM (SELECT id, status "
  "FROM subscriptions WHERE id > $1 ORDER BY id LIMIT $2) page GROUP BY status",
  false};

// The last thousand that came to run say how long it takes nowadays.
constexpr auto durations_statement = pg::statement{
  "store_durations",
  "SELECT coalesce(avg(ms), 0)::float8, "
  "coalesce(percentile_cont(0.95) WITHIN GROUP (ORDER BY ms), 0)::float8 "
  "FROM (SELECT (extract(epoch FROM completed_at - started_at) "
  "* 1000)::float8 AS ms FROM subscriptions WHERE phase = 8 "
  "AND started_at IS NOT NULL ORDER BY id DESC LIMIT 1000) recent",
  false};

constexpr auto attention_statement = pg::statement{"store_attention",
                                                   R"sql(
SELECT subscription, seq, kind, reason, since, action, callback FROM (
  (SELECT s.id AS subscription,
          coalesce((SELECT max(seq) FROM instances i
                    WHERE i.subscription_id = s.id), 0) AS seq,
          'deployment_failed' AS kind, s.error AS reason,
          s.phase_at AS since, 'retry' AS action, 0::bigint AS callback
   FROM subscriptions s WHERE s.stage = 4 ORDER BY s.id DESC LIMIT $3)
  UNION ALL
  (SELECT s.id, coalesce((SELECT max(seq) FROM instances i
                          WHERE i.subscription_id = s.id), 0),
          'instance_down', s.error, s.phase_at, 'retry', 0
   FROM subscriptions s WHERE s.stage = 5 AND s.status = 1
   ORDER BY s.id DESC LIMIT $3)
  UNION ALL
  (SELECT s.id, coalesce((SELECT max(seq) FROM instances i
                          WHERE i.subscription_id = s.id), 0),
          'refunded_running', 'the money went back, and the instance is there',
          s.updated_at, 'terminate', 0
   FROM subscriptions s WHERE s.stage IN (3, 5) AND s.status = 5
     AND EXISTS (SELECT 1 FROM instances i WHERE i.subscription_id = s.id
                 AND i.deleted_at IS NULL)
   ORDER BY s.id DESC LIMIT $3)
  UNION ALL
  (SELECT s.id, coalesce((SELECT max(seq) FROM instances i
                          WHERE i.subscription_id = s.id), 0), 'stuck',
          'not yet taken away at the provider'
            || CASE WHEN s.error = '' THEN '' ELSE ': ' || s.error END,
          s.phase_at, 'inspect', 0
   FROM subscriptions s WHERE s.stage = 6
     AND s.phase_at < $1 - $2 * interval '1 ms' LIMIT $3)
  UNION ALL
  (SELECT o.subscription_id, 0, 'orphan_project',
          'project ' || o.project_id || ' (' || o.name || '): ' || o.reason,
          o.seen_at, 'inspect', 0
   FROM orphans o WHERE o.gone_at IS NULL ORDER BY o.seen_at DESC LIMIT $3)
  UNION ALL
  (SELECT s.id, coalesce((SELECT max(seq) FROM instances i
                          WHERE i.subscription_id = s.id), 0)
            -- The one that is implied has no row yet: lifecycle/implied.hpp.
            + CASE WHEN s.started_at IS NOT NULL AND NOT EXISTS (
                     SELECT FROM instances i WHERE i.subscription_id = s.id
                       AND i.deleted_at IS NULL) THEN 1 ELSE 0 END, 'stuck',
          'past its deadline' || CASE WHEN s.error = '' THEN ''
                                      ELSE ': ' || s.error END,
          coalesce(s.deadline_at, s.phase_at), 'inspect', 0
   FROM subscriptions s WHERE s.stage = 2
     AND coalesce(s.deadline_at, s.phase_at) < $1 - $2 * interval '1 ms'
   LIMIT $3)
  UNION ALL
  (SELECT q.subscription_id, 0, 'quarantined',
          'failed ' || q.failures || ' times: ' || q.reason, q.since,
          'restart_actor', 0
   FROM quarantines q ORDER BY q.since DESC LIMIT $3)
  UNION ALL
  (SELECT p.subscription_id, 0, 'surplus_payment',
          'payment ' || p.transaction_id || ' bought no period'
            || CASE WHEN p.status = 3 THEN ' and is being refunded'
                    ELSE '' END,
          p.paid_at, CASE WHEN p.status = 3 THEN 'wait' ELSE 'refund' END, 0
   FROM payments p WHERE p.status IN (1, 3) AND NOT p.applied
     AND p.refund_error = ''
   ORDER BY p.subscription_id DESC LIMIT $3)
  UNION ALL
  (SELECT p.subscription_id, 0, 'refund_failed',
          'payment ' || p.transaction_id || ' was not refunded: '
            || p.refund_error, coalesce(p.asked_at, p.paid_at), 'refund', 0
   FROM payments p WHERE p.status = 1 AND p.refund_error <> ''
   ORDER BY p.subscription_id DESC LIMIT $3)
  UNION ALL
  (SELECT p.subscription_id, 0, 'refund_stuck',
          'the refund of payment ' || p.transaction_id
            || ' is not confirmed, the gateway was asked ' || p.asks
            || ' times', coalesce(p.asked_at, p.paid_at), 'inspect', 0
   FROM payments p WHERE p.status = 3 AND p.asks >= 8
   ORDER BY p.subscription_id DESC LIMIT $3)
  UNION ALL
  (SELECT p.subscription_id, 0, 'order_unsettled',
          'order ' || p.seq || ' has expired, and the gateway does not say '
            || 'whether it was paid', p.expires_at, 'inspect', 0
   FROM payments p
   WHERE p.status IN (0, 5) AND p.expires_at < $1 - interval '10 min'
   ORDER BY p.expires_at DESC LIMIT $3)
  UNION ALL
  (SELECT coalesce(k.subscription_id, 0), 0,
          CASE WHEN k.reason = 'order_not_found' THEN 'unknown_payment'
               ELSE 'payment_mismatch' END,
          k.reason || ' on order ' || k.order_id || ', '
            || k.repeats + 1 || ' deliveries', k.received_at, 'settle', k.id
   FROM callbacks k WHERE k.outcome = 3 AND k.settled_at IS NULL
   ORDER BY k.id DESC LIMIT $3)
  UNION ALL
  (SELECT o.subscription_id, o.instance_seq, 'undeliverable_mail', o.detail,
          coalesce(o.done_at, o.created_at), 'contact_user', 0
   FROM outbox o WHERE o.status = 2
   ORDER BY o.subscription_id DESC LIMIT $3)
  UNION ALL
  (SELECT 0, 0, 'automation_off',
          'nothing leaves' || CASE WHEN a.reason = '' THEN ''
                                   ELSE ': ' || a.reason END,
          a.since, 'switch_on', 0
   FROM automation a WHERE NOT a.enabled)
) all_of_it ORDER BY since DESC LIMIT $3
)sql",
                                                   false};

#define CALLBACK_COLUMNS                                                       \
  "id, gateway, source, received_at, last_received_at, repeats, order_id, "    \
  "coalesce(subscription_id, 0), outcome, reason, settled_at, settled_by, "    \
  "settled_why"

constexpr auto callback_columns = 13;

/// Whose order this is, by its number; 0 when it is none of ours.
std::int64_t owner_of(std::string_view order) {
  const auto ref = parse_order_ref(order);
  return ref ? key(ref->subscription) : 0;
}

/// One statement for each outcome, with and without an order: conditions that
/// may not apply would keep the server from using the index of those that do.
struct callbacks_listing {
  callbacks_listing(std::optional<callback_outcome> outcome, bool of_order)
    : name{"store_callbacks_"
           + (outcome ? std::string{to_string(*outcome)} : "authentic")
           + (of_order ? "_of_order" : "")},
      sql{
        "SELECT " CALLBACK_COLUMNS " FROM callbacks WHERE ($1 = 0 OR id < $1) "
        "AND ($3 IS NULL OR gateway = $3) AND outcome "
        + (outcome ? "= " + std::to_string(static_cast<int>(*outcome)) : "<> 4")
        // What belongs to a subscription is found by that one's index.
        + (of_order ? " AND order_id = $4 "
                      "AND (subscription_id = $5 OR subscription_id IS NULL)"
                    : "")
        + " ORDER BY id DESC LIMIT $2"} {
  }

  std::string name;
  std::string sql;
};

const callbacks_listing&
listing_of(std::optional<callback_outcome> outcome, bool of_order) {
  static const auto all = [] {
    auto out = std::vector<callbacks_listing>{};
    for (const auto by_order : {false, true}) {
      out.emplace_back(std::nullopt, by_order);
      for (std::size_t i = 0; i < callback_outcome_count; ++i)
        out.emplace_back(static_cast<callback_outcome>(i), by_order);
    }
    return out;
  }();
  const auto half = all.size() / 2;
  return all.at((of_order ? half : 0)
                + (outcome ? static_cast<std::size_t>(*outcome) + 1 : 0));
}

constexpr auto callback_statement = pg::statement{
  "store_callback",
  "SELECT " CALLBACK_COLUMNS ", headers, body, dedupe_key FROM callbacks "
  "WHERE id = $1",
  false};

// On the right of SET everything is as it was before.
constexpr auto settle_statement = pg::statement{
  "store_settle_callback",
  "UPDATE callbacks SET settled_at = coalesce(settled_at, $2), "
  "settled_by = CASE WHEN settled_at IS NULL THEN $3 ELSE settled_by END, "
  "settled_why = CASE WHEN settled_at IS NULL THEN $4 ELSE settled_why END "
  "WHERE id = $1 AND outcome = 3 RETURNING " CALLBACK_COLUMNS,
  true};

// One after the other: each has to see what the others have kept, or there
// would be more than there may be.
constexpr auto forged_turn
  = pg::statement{"store_forged_turn",
                  "SELECT pg_advisory_xact_lock(8316866959935960834)", true};

// The same bytes again share a row, or one impostor who repeats himself would
// drive out all others. No event of a gateway has a key like this.
constexpr auto forged_statement = pg::statement{"store_keep_forged", R"sql(
WITH kept AS (
  INSERT INTO callbacks AS k (gateway, source, dedupe_key, received_at,
    last_received_at, order_id, subscription_id, outcome, reason, headers, body)
  VALUES ($1, $2,
    'forged ' || encode(sha256(convert_to($5, 'UTF8') || $7), 'hex'), $3, $3,
    $4, NULL, 4, $5, $6, $7)
  ON CONFLICT (gateway, dedupe_key) DO UPDATE SET
    repeats = k.repeats + 1, last_received_at = excluded.last_received_at
  RETURNING xmax = 0 AS is_new
)
DELETE FROM callbacks WHERE outcome = 4 AND id <= (
  SELECT id FROM callbacks WHERE outcome = 4 ORDER BY id DESC
  OFFSET $8 - (SELECT count(*) FROM kept WHERE is_new) LIMIT 1)
)sql",
                                                true};

constexpr auto is_due_statement = pg::statement{
  "store_asks_due",
  // The first by its index: how many are due is something that the planner does
  // not know, and where it guesses many it reads all payments to find one.
  "SELECT coalesce((SELECT ask_at <= $2 FROM payments WHERE gateway = $1 "
  "AND ask_at IS NOT NULL ORDER BY ask_at LIMIT 1), false)",
  false};

const auto asks_sql
  = std::string{"SELECT p.subscription_id, s.currency, p.asks, "}
    + order_columns
    + " FROM payments p JOIN subscriptions s ON s.id = p.subscription_id "
      "WHERE p.gateway = $1 AND p.ask_at <= $2 "
      "AND ($5 OR p.status <> 3 OR p.asks > 0) AND (s.owner = $4 "
      "OR " NOBODY_OWNS_IT ") ORDER BY p.ask_at LIMIT $3 "
      "FOR UPDATE OF p SKIP LOCKED";

const auto asks_statement
  = pg::statement{"store_claim_asks", asks_sql.c_str(), true};

constexpr auto ask_soon_statement = pg::statement{
  "store_ask_soon",
  "UPDATE payments SET ask_at = $3 WHERE subscription_id = $1 AND seq = $2 "
  "AND status IN (0, 2, 5) AND (ask_at IS NULL OR ask_at > $3)",
  true};

constexpr auto asked_statement = pg::statement{
  "store_asked",
  "UPDATE payments p SET asks = p.asks + 1, asked_at = $1, ask_at = n.ask_at "
  "FROM unnest($2, $3, $4) AS n (subscription_id, seq, ask_at) "
  "WHERE p.subscription_id = n.subscription_id AND p.seq = n.seq",
  true};

// Of those that are under way, which are few.
constexpr auto pending_phases_statement
  = pg::statement{"store_pending_phases",
                  "SELECT phase, count(*) FROM subscriptions WHERE NOT settled "
                  "GROUP BY phase",
                  false};

// What a refund or an order waits for counts by the same partial indexes as in
// the lists below.
constexpr auto pending_counts_statement = pg::statement{
  "store_pending_counts",
  "SELECT (SELECT count(*) FROM orphans WHERE gone_at IS NULL), "
  "(SELECT count(*) FROM outbox WHERE status = 0), "
  "(SELECT count(*) FROM payments WHERE status = 3), "
  "(SELECT count(*) FROM payments WHERE status IN (0, 5) "
  "AND (status = 5 OR expires_at <= $1)), "
  "(SELECT count(*) FROM subscriptions WHERE wake_at <= $1)",
  false};

constexpr auto pending_statement = pg::statement{"store_pending", R"sql(
SELECT kind, subscription, what, since FROM (
  (SELECT 0::smallint AS kind, id AS subscription,
          CASE phase WHEN 2 THEN 'queued: gets a slot'
                     WHEN 3 THEN 'goes on: looks for its project, or creates it'
                     WHEN 4 THEN 'goes on: deploys the template'
                     WHEN 5 THEN 'goes on: waits for the template''s services'
                     WHEN 6 THEN 'goes on: services and public address'
                     WHEN 7 THEN 'goes on: is looked at until it runs'
                     WHEN 12 THEN 'tries again after a failed attempt'
                     ELSE 'stops what a failed attempt still builds' END AS what,
          phase_at AS since
   FROM subscriptions WHERE NOT settled AND phase NOT IN (10, 14)
   ORDER BY phase_at LIMIT $2)
  UNION ALL
  (SELECT 1::smallint, s.id,
          CASE s.phase WHEN 10 THEN 'cancelled: ' ELSE 'terminated: ' END
            || CASE WHEN coalesce(i.project_id, '') = ''
                    THEN 'whatever project carries its name'
                    ELSE 'project ' || i.project_id
                         || ' and whatever else carries its name' END,
          s.phase_at
   FROM subscriptions s
   LEFT JOIN instances i ON i.subscription_id = s.id AND i.deleted_at IS NULL
   WHERE NOT s.settled AND s.phase IN (10, 14)
   ORDER BY s.phase_at LIMIT $2)
  UNION ALL
  (SELECT 1::smallint, subscription_id,
          'project ' || project_id || ' (' || name || '): ' || reason, seen_at
   FROM orphans WHERE gone_at IS NULL ORDER BY seen_at LIMIT $2)
  UNION ALL
  (SELECT 2::smallint, o.subscription_id,
          (ARRAY['PAYMENT_RECEIVED', 'DEPLOYMENT_SUCCESS', 'DEPLOYMENT_FAILED',
                 'REFUND_COMPLETED', 'DEPLOYMENT_CANCELLED',
                 'INSTANCE_TERMINATED', 'INSTANCE_DOWN', 'INSTANCE_RECOVERED',
                 'INSTANCE_CHANGED'])[o.kind + 1] || ' to user ' || o.user_id,
          o.created_at
   FROM outbox o WHERE o.status = 0 ORDER BY o.created_at LIMIT $2)
  UNION ALL
  (SELECT 3::smallint, subscription_id,
          'order ' || seq || ', payment ' || transaction_id
            || CASE WHEN asks = 0 THEN ': the refund is requested'
                    ELSE ': the refund is asked about, and requested again '
                         || 'if the gateway has none' END,
          coalesce(asked_at, paid_at)
   FROM payments WHERE status = 3 ORDER BY paid_at LIMIT $2)
  UNION ALL
  (SELECT 4::smallint, subscription_id,
          'order ' || seq || ' is closed at its gateway if it is not paid',
          expires_at
   FROM payments WHERE status IN (0, 5) AND (status = 5 OR expires_at <= $1)
   ORDER BY expires_at LIMIT $2)
  UNION ALL
  (SELECT 5::smallint, id,
          'due: ' || concat_ws(', ',
            CASE WHEN status = 1 AND end_at <= $1
                 THEN 'the end of the period' END,
            CASE WHEN deadline_at <= $1 THEN 'the deadline of the attempt' END,
            CASE WHEN retry_at <= $1 THEN 'another try' END,
            CASE WHEN phase = 9 THEN 'a refund by rule' END),
          wake_at
   FROM subscriptions WHERE wake_at <= $1 ORDER BY wake_at LIMIT $2)
) all_of_it ORDER BY kind, since
)sql",
                                                 false};

constexpr auto changes_statement
  = pg::statement{"store_automation_changes",
                  "SELECT at, enabled, changed_by, reason "
                  "FROM automation_changes ORDER BY id DESC LIMIT 20",
                  false};

constexpr auto announce_act_statement = pg::statement{
  "store_announce_act",
  "INSERT INTO audit (at, actor, role, act, subject_kind, subject, detail, "
  "reason, request_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) "
  "RETURNING id",
  true};

constexpr auto close_act_statement = pg::statement{
  "store_close_act",
  "UPDATE audit SET outcome = $2, status = $3, done_at = $4 WHERE id = $1 "
  "AND outcome IS NULL",
  true};

#define SELECT_ACTS                                                            \
  "SELECT id, at, actor, role, act, subject_kind, subject, detail, reason, "   \
  "request_id, coalesce(outcome, ''), coalesce(status, 0::smallint), done_at " \
  "FROM audit WHERE ($1 = 0 OR id < $1) "

#define NEWEST_ACTS "ORDER BY id DESC LIMIT $2"

/// As with callbacks: one for each index.
constexpr auto acts_statement
  = pg::statement{"store_acts", SELECT_ACTS NEWEST_ACTS, false};

constexpr auto acts_of_actor_statement = pg::statement{
  "store_acts_of_actor", SELECT_ACTS "AND actor = $3 " NEWEST_ACTS, false};

constexpr auto acts_on_subject_statement = pg::statement{
  "store_acts_on_subject", SELECT_ACTS "AND subject = $3 " NEWEST_ACTS, false};

constexpr auto acts_of_actor_on_subject_statement = pg::statement{
  "store_acts_of_actor_on_subject",
  SELECT_ACTS "AND actor = $3 AND subject = $4 " NEWEST_ACTS, false};

#define STALE(comparison)                                                      \
  "FROM channel_credentials WHERE key_id " comparison " $1 "                   \
  "AND (key_id, subscription_id, channel_type) > ($2, $3, $4) "

#define STALE_COLUMNS                                                          \
  "key_id, subscription_id, channel_type, nonce, ciphertext "

#define STALE_ORDER "ORDER BY key_id, subscription_id, channel_type LIMIT $5"

// Below and above the first key, so that the index leads past the many rows
// that have it already.
constexpr auto stale_statement = pg::statement{
  "store_stale_credentials",
  "(SELECT " STALE_COLUMNS STALE("<") STALE_ORDER
  ") UNION ALL "
  "(SELECT " STALE_COLUMNS STALE(">") STALE_ORDER ") " STALE_ORDER,
  false};

constexpr auto count_stale_statement = pg::statement{
  "store_count_stale_credentials",
  "SELECT (SELECT count(*) " STALE("<") ") + (SELECT count(*) " STALE(">") ")",
  false};

constexpr auto replace_credentials_statement = pg::statement{
  "store_replace_credentials",
  "UPDATE channel_credentials c SET key_id = x.key_id, nonce = x.nonce, "
  "ciphertext = x.ciphertext FROM unnest($1::bigint[], $2::text[], "
  "$3::text[], $4::bytea[], $5::text[], $6::bytea[], $7::bytea[]) "
  "AS x (id, type, old_key, old_nonce, key_id, nonce, ciphertext) "
  "WHERE c.subscription_id = x.id AND c.channel_type = x.type "
  "AND c.key_id = x.old_key AND c.nonce = x.old_nonce",
  true};

constexpr auto ping_statement
  = pg::statement{"store_ping", "SELECT 1 FROM subscriptions LIMIT 0", false};

template <class T>
using answer = tl::expected<T, errc>;

/// One store's connection with the queries as functions.
class desk {
public:
  desk(session& db, std::int64_t server) : db_{db}, server_{server} {
  }

  answer<find_record::found> operator()(const find_record& q) {
    return with(find_statement, pg::params{}.add(key(q.id)),
                [](const pg::result& rows) -> answer<find_record::found> {
                  auto found = read_records(rows);
                  if (found.empty())
                    return tl::unexpected{errc::not_found};
                  return find_record::found{std::move(found.front()),
                                            rows.int64(0, rows.columns() - 1)};
                });
  }

  answer<list_changes::result> operator()(const list_changes& q) {
    auto ids = std::vector<std::int64_t>{};
    auto revisions = std::vector<std::int64_t>{};
    ids.reserve(q.of.size());
    revisions.reserve(q.of.size());
    for (const auto& x : q.of) {
      ids.push_back(key(x.id));
      revisions.push_back(static_cast<std::int64_t>(x.revision));
    }
    return with(progress_statement,
                pg::params{}.add_array(ids).add_array(revisions).add(server_),
                [](const pg::result& rows) -> answer<list_changes::result> {
                  auto out = list_changes::result{};
                  auto found = read_records(rows);
                  out.reserve(found.size());
                  auto row = 0;
                  for (auto& x : found) {
                    // Each record's first row, of as many as it has orders.
                    while (to_id(rows.int64(row, 0)) != x.id)
                      ++row;
                    out.push_back({std::move(x),
                                   rows.int64(row, rows.columns() - 2),
                                   rows.boolean(row, rows.columns() - 1)});
                  }
                  return out;
                });
  }

  answer<record> operator()(const claim_record& q) {
    return std::move(claim({q.id}).front());
  }

  /// Claims all of these at once: one query for the most part, and one commit
  /// where somebody else owned some of them before.
  /// @param ids Without repeats.
  std::vector<answer<record>> claim(const std::vector<subscription_id>& ids) {
    auto known = std::unordered_map<std::uint64_t, answer<record>>{};
    auto wanted = std::vector<std::int64_t>{};
    for (auto id : ids) {
      known.emplace(raw(id), tl::unexpected{errc::not_found});
      wanted.push_back(key(id));
    }
    // What was read may be out of date by the time it is ours: read again then.
    for (auto round = 0; round < 2 && !wanted.empty(); ++round)
      wanted = claim_round(std::move(wanted), round > 0, known);
    auto out = std::vector<answer<record>>{};
    out.reserve(ids.size());
    for (auto id : ids)
      out.push_back(std::move(known.at(raw(id))));
    return out;
  }

private:
  /// @returns those that have to be read again.
  std::vector<std::int64_t>
  claim_round(std::vector<std::int64_t> ids, bool claimed,
              std::unordered_map<std::uint64_t, answer<record>>& to) {
    // In one order, so that two servers do not lock each other out.
    std::sort(ids.begin(), ids.end());
    const auto fail = [&](const std::vector<std::int64_t>& whose, errc why) {
      for (auto id : whose)
        to.at(raw(to_id(id))) = tl::unexpected{why};
      return std::vector<std::int64_t>{};
    };
    auto free = std::vector<std::int64_t>{};
    auto read
      = with(load_statement, pg::params{}.add_array(ids).add(server_),
             [&](const pg::result& rows) -> answer<std::monostate> {
               auto first_rows = std::vector<int>{};
               for (auto i = 0; i < rows.rows(); ++i)
                 if (i == 0 || rows.int64(i, 0) != rows.int64(i - 1, 0))
                   first_rows.push_back(i);
               auto found = read_records(rows);
               for (size_t i = 0; i < found.size(); ++i) {
                 const auto id = found[i].id;
                 const auto mine
                   = rows.boolean(first_rows[i], rows.columns() - 2);
                 if (!mine && rows.boolean(first_rows[i], rows.columns() - 1)
                     && !claimed)
                   free.push_back(key(id));
                 else if (!mine) {
                   to.at(raw(id)) = tl::unexpected{errc::owned_elsewhere};
                   continue;
                 }
                 to.at(raw(id)) = std::move(found[i]);
               }
               return std::monostate{};
             });
    if (!read)
      return fail(ids, read.error());
    if (free.empty())
      return {};
    auto again = std::unordered_set<std::int64_t>{free.begin(), free.end()};
    auto done = with(
      claim_statement, pg::params{}.add_array(free).add(server_),
      [&](const pg::result& rows) -> answer<std::monostate> {
        for (auto i = 0; i < rows.rows(); ++i) {
          const auto id = rows.int64(i, 0);
          auto& row = *to.at(raw(to_id(id)));
          if (static_cast<std::int64_t>(row.state.revision) != rows.int64(i, 2))
            continue;
          row.epoch = static_cast<std::uint32_t>(rows.int32(i, 1));
          again.erase(id);
        }
        return std::monostate{};
      });
    if (!done)
      return fail(free, done.error());
    return {again.begin(), again.end()};
  }

public:
  answer<std::vector<record>> operator()(const claim_orphans& q) {
    auto dead = with(dead_servers, pg::params{}.add(server_), ids_of);
    if (!dead)
      return tl::unexpected{dead.error()};
    if (dead->empty())
      return std::vector<record>{};
    auto ids
      = with(claim_page,
             pg::params{}.add_array(*dead).add(server_).add(rows_max(q.limit)),
             ids_of);
    if (!ids)
      return tl::unexpected{ids.error()};
    if (ids->size() < q.limit) {
      // Whoever comes next tries them anew.
      auto lifted = with(forget_quarantines, pg::params{}, nothing_of);
      if (!lifted)
        return tl::unexpected{lifted.error()};
      auto done = with(retire_servers, pg::params{}.add_array(*dead), ids_of);
      if (!done)
        return tl::unexpected{done.error()};
    }
    if (ids->empty())
      return std::vector<record>{};
    return with(by_ids_statement, pg::params{}.add_array(*ids).add(server_),
                records_of);
  }

  answer<std::vector<record>> operator()(const list_own& q) {
    return with(
      own_statement,
      pg::params{}.add(server_).add(key(q.after)).add(rows_max(q.limit)),
      records_of);
  }

  answer<last_silence::result> operator()(const last_silence& q) {
    return with(last_silence_statement, pg::params{}.add(key(q.id)),
                [](const pg::result& rows) -> answer<last_silence::result> {
                  if (rows.empty())
                    return last_silence::result{};
                  return millis{rows.int64(0, 0)};
                });
  }

  answer<std::monostate> operator()(const note_quarantine& q) {
    return with(note_quarantine_statement,
                pg::params{}
                  .add(key(q.id))
                  .add(server_)
                  .add(q.at)
                  .add(static_cast<std::int32_t>(q.failures))
                  .add(q.reason),
                nothing_of);
  }

  answer<std::monostate> operator()(const lift_quarantine& q) {
    return with(lift_quarantine_statement,
                pg::params{}.add(key(q.id)).add(server_), nothing_of);
  }

  answer<std::vector<subscription_id>> operator()(const due_timers& q) {
    return with(timers_statement,
                pg::params{}.add(q.now).add(server_).add(rows_max(q.limit)),
                subscriptions_of);
  }

  answer<std::monostate> operator()(const move_timer& q) {
    return with(move_timer_statement,
                pg::params{}
                  .add(key(q.id))
                  .add(static_cast<std::int64_t>(q.revision))
                  .add(server_)
                  .add(q.wake_at),
                nothing_of);
  }

  answer<std::monostate> operator()(const ask_soon& q) {
    return with(ask_soon_statement,
                pg::params{}
                  .add(key(q.subscription))
                  .add(static_cast<std::int32_t>(q.order))
                  .add(q.at),
                nothing_of);
  }

  answer<std::monostate> operator()(const wake_failed& q) {
    return with(wake_failed_statement, pg::params{}.add(q.now), nothing_of);
  }

  answer<slots::found> operator()(const slots& q) {
    auto* connection = db_.get();
    if (connection == nullptr)
      return tl::unexpected{errc::database_down};
    const auto none = pg::params{};
    const auto limit = pg::params{}.add(rows_max(q.waiting_max));
    auto commands = std::vector<pg::command>{{&held_statement, &none},
                                             {&waiting_statement, &limit}};
    if (q.count)
      commands.push_back({&depth_statement, &none});
    auto rows = connection->pipeline(commands);
    if (!rows)
      return tl::unexpected{db_.failed(rows.error(), "slots")};
    auto found = slots::found{};
    found.held = *subscriptions_of((*rows)[0]);
    found.waiting = *subscriptions_of((*rows)[1]);
    if (q.count)
      found.queue_depth = (*rows)[2].int64(0, 0);
    return found;
  }

  answer<std::vector<record>> operator()(const list_watched& q) {
    return with(
      watched_statement,
      pg::params{}.add(key(q.after)).add(rows_max(q.limit)).add(server_),
      records_of);
  }

  answer<record> operator()(const find_by_project& q) {
    return with(by_project_statement, pg::params{}.add(q.project_id),
                [](const pg::result& rows) -> answer<record> {
                  auto found = read_records(rows);
                  if (found.empty())
                    return tl::unexpected{errc::not_found};
                  return std::move(found.front());
                });
  }

  answer<std::vector<record>> operator()(const match_records& q) {
    auto ids = std::vector<std::int64_t>{};
    ids.reserve(q.ids.size());
    for (auto id : q.ids)
      ids.push_back(key(id));
    return with(match_statement, pg::params{}.add_array(ids), records_of);
  }

  answer<std::vector<timestamp>> operator()(const note_orphans& q) {
    using project = note_orphans::project;
    return with(note_orphans_statement,
                pg::params{}
                  .add_array(q.of, &project::id)
                  .add_array(q.of, &project::name)
                  .add_array(q.of,
                             [](const project& x) {
                               return key(x.subscription);
                             })
                  .add_array(q.of, &project::reason)
                  .add(q.at),
                [&q](const pg::result& rows) -> answer<std::vector<timestamp>> {
                  auto seen = std::unordered_map<std::string_view, timestamp>{};
                  for (auto i = 0; i < rows.rows(); ++i)
                    seen.emplace(rows.text(i, 0), rows.time(i, 1));
                  auto out = std::vector<timestamp>{};
                  for (const auto& x : q.of)
                    out.push_back(seen.at(x.id));
                  return out;
                });
  }

  answer<std::monostate> operator()(const note_history& q) {
    return with(note_history_statement,
                pg::params{}
                  .add(key(q.id))
                  .add(q.entry.at)
                  .add(static_cast<std::int16_t>(q.entry.kind))
                  .add(q.entry.operation)
                  .add(q.entry.outcome)
                  .add(q.entry.summary),
                nothing_of);
  }

  answer<std::monostate> operator()(const close_orphan& q) {
    return with(close_orphan_statement,
                pg::params{}.add(q.project_id).add(q.at).add(q.removed_by_us),
                nothing_of);
  }

  answer<std::monostate> operator()(const close_vanished_orphans& q) {
    return with(close_vanished_statement, pg::params{}.add(q.at), nothing_of);
  }

  answer<std::vector<record>> operator()(const search_records& q) {
    auto status = std::optional<std::int16_t>{};
    if (q.status)
      status = static_cast<std::int16_t>(*q.status);
    auto phases = std::vector<std::int16_t>{};
    for (auto x : q.phases)
      phases.push_back(static_cast<std::int16_t>(x));
    return with(search_statement,
                pg::params{}
                  .add(q.text)
                  .add(key(q.id))
                  .add(status)
                  .add_array(phases)
                  .add(key(q.before))
                  .add(rows_max(q.limit)),
                records_of);
  }

  answer<list_timeline::result> operator()(const list_timeline& q) {
    return with(timeline_statement,
                pg::params{}
                  .add(key(q.id))
                  .add(q.after.at)
                  .add(q.after.source)
                  .add(q.after.id)
                  .add(rows_max(q.limit)),
                [](const pg::result& rows) -> answer<list_timeline::result> {
                  auto out = list_timeline::result{};
                  for (auto i = 0; i < rows.rows(); ++i)
                    out.push_back(timeline_row(rows, i));
                  return out;
                });
  }

  answer<std::vector<record>> operator()(const list_records& q) {
    return with(
      list_statement,
      pg::params{}.add(q.user_id).add(key(q.before)).add(rows_max(q.limit)),
      records_of);
  }

  answer<subscription_id> operator()(const find_key& q) {
    return with(key_statement, pg::params{}.add(q.user_id).add(q.key),
                [](const pg::result& rows) -> answer<subscription_id> {
                  if (rows.empty())
                    return tl::unexpected{errc::not_found};
                  return to_id(rows.int64(0, 0));
                });
  }

  answer<std::vector<sealed_credential>> operator()(const list_credentials& q) {
    return std::move(credentials({q.id}).front());
  }

  /// Those of all of these by one query.
  /// @param ids May repeat.
  std::vector<answer<std::vector<sealed_credential>>>
  credentials(const std::vector<subscription_id>& ids) {
    using list = std::vector<sealed_credential>;
    auto keys = std::vector<std::int64_t>{};
    for (auto id : ids)
      keys.push_back(key(id));
    auto found = with(
      credentials_statement, pg::params{}.add_array(keys),
      [](const pg::result& rows)
        -> answer<std::unordered_map<std::int64_t, list>> {
        auto out = std::unordered_map<std::int64_t, list>{};
        for (auto i = 0; i < rows.rows(); ++i)
          out[rows.int64(i, 0)].push_back(
            {std::string{rows.text(i, 1)}, std::string{rows.text(i, 2)},
             std::string{rows.bytes(i, 3)}, std::string{rows.bytes(i, 4)}});
        return out;
      });
    auto out = std::vector<answer<list>>{};
    for (auto id : keys) {
      if (!found)
        out.push_back(tl::unexpected{found.error()});
      else
        out.push_back((*found)[id]);
    }
    return out;
  }

  answer<list_history::result> operator()(const list_history& q) {
    return with(
      history_statement,
      pg::params{}.add(key(q.id)).add(q.after).add(rows_max(q.limit)),
      [](const pg::result& rows) -> answer<list_history::result> {
        auto out = list_history::result{};
        for (auto i = 0; i < rows.rows(); ++i)
          out.push_back(
            {rows.int64(i, 0),
             {rows.time(i, 1), static_cast<history_kind>(rows.int16(i, 2)),
              std::string{rows.text(i, 3)}, std::string{rows.text(i, 4)},
              std::string{rows.text(i, 5)}}});
        return out;
      });
  }

  answer<list_notifications::found> operator()(const list_notifications& q) {
    const auto unread = (*this)(count_unread{q.user_id, 1'000, q.scan_max});
    if (!unread)
      return tl::unexpected{unread.error()};
    // One more tells whether there is a next page.
    auto page
      = pg::params{}.add(q.user_id).add(q.before).add(rows_max(q.limit + 1));
    const auto read
      = [&](const pg::result& rows) -> answer<list_notifications::found> {
      auto out = list_notifications::found{};
      out.rows = notifications_of(rows);
      out.unread = *unread;
      if (out.rows.size() > q.limit) {
        out.rows.resize(q.limit);
        out.next = out.rows.back().id;
      } else if (q.unread_only) {
        out.next = rows.int64(0, rows.columns() - 1);
      }
      return out;
    };
    if (!q.unread_only)
      return with(notifications_statement, page, read);
    page.add(rows_max(q.scan_max));
    return with(unread_statement, page, read);
  }

  answer<count_unread::found> operator()(const count_unread& q) {
    return with(
      count_unread_statement,
      pg::params{}
        .add(q.user_id)
        .add(std::int64_t{0})
        .add(rows_max(q.count_max))
        .add(rows_max(q.scan_max)),
      [](const pg::result& rows) -> answer<count_unread::found> {
        return count_unread::found{rows.int64(0, 0), rows.boolean(0, 1)};
      });
  }

  answer<mark_all_read::found> operator()(const mark_all_read& q) {
    return with(
      mark_all_statement,
      pg::params{}.add(q.user_id).add(q.before).add(q.at).add(
        rows_max(q.scan_max)),
      [](const pg::result& rows) -> answer<mark_all_read::found> {
        return mark_all_read::found{rows.int64(0, 0), rows.int64(0, 1)};
      });
  }

  answer<read_preferences::found> operator()(const read_preferences& q) {
    return with(read_preferences_statement, pg::params{}.add(q.user_id),
                preferences_of);
  }

  answer<read_preferences::found> operator()(const write_preferences& q) {
    return with(
      write_preferences_statement,
      pg::params{}.add(q.user_id).add(q.at).add(q.wanted.mail_progress),
      preferences_of);
  }

  answer<list_notifications::row> operator()(const mark_notification_read& q) {
    return with(mark_read_statement,
                pg::params{}.add(q.user_id).add(q.id).add(q.at),
                [](const pg::result& rows) -> answer<list_notifications::row> {
                  auto found = notifications_of(rows);
                  if (found.empty())
                    return tl::unexpected{errc::not_found};
                  return std::move(found.front());
                });
  }

  answer<std::monostate> operator()(const remember_user& q) {
    return with(
      remember_statement,
      pg::params{}.add(q.user_id).add(q.email).add(q.locale).add(q.at),
      nothing_of);
  }

  answer<due_mails::result> operator()(const due_mails& q) {
    return with(mails_statement,
                pg::params{}.add(q.now).add(server_).add(rows_max(q.limit)),
                [](const pg::result& rows) -> answer<due_mails::result> {
                  auto out = due_mails::result{};
                  for (auto i = 0; i < rows.rows(); ++i) {
                    auto x = due_mails::row{};
                    x.subscription = to_id(rows.int64(i, 0));
                    x.revision = static_cast<std::uint64_t>(rows.int64(i, 1));
                    x.tries = static_cast<std::uint32_t>(rows.int32(i, 2));
                    x.email = std::string{rows.text(i, 3)};
                    x.locale = std::string{rows.text(i, 4)};
                    x.plan = std::string{rows.text(i, 5)};
                    x.what = read_notice(rows, i, 6);
                    x.user_id = std::string{rows.text(i, 13)};
                    x.wants_progress = rows.boolean(i, 14);
                    x.bounced = std::string{rows.text(i, 15)};
                    out.push_back(std::move(x));
                  }
                  return out;
                });
  }

  answer<note_bounce::found> operator()(const note_bounce& q) {
    const auto mail = q.mail.value_or(mail_ref{});
    return with(note_bounce_statement,
                pg::params{}
                  .add(key(mail.subscription))
                  .add(static_cast<std::int64_t>(mail.revision))
                  .add(static_cast<std::int16_t>(mail.kind))
                  .add(q.address)
                  .add(q.at)
                  .add(q.reason)
                  .add(q.by)
                  .add(q.permanent),
                [](const pg::result& rows) -> answer<note_bounce::found> {
                  if (!rows.boolean(0, 3))
                    return tl::unexpected{errc::not_found};
                  return note_bounce::found{std::string{rows.text(0, 0)},
                                            to_id(rows.int64(0, 1)),
                                            rows.boolean(0, 2)};
                });
  }

  answer<list_bounces::result> operator()(const list_bounces& q) {
    return with(bounces_statement,
                pg::params{}.add(q.before).add(rows_max(q.limit)),
                [](const pg::result& rows) -> answer<list_bounces::result> {
                  auto out = list_bounces::result{};
                  for (auto i = 0; i < rows.rows(); ++i)
                    out.push_back(
                      {rows.int64(i, 0), std::string{rows.text(i, 1)},
                       std::string{rows.text(i, 2)}, rows.time(i, 3),
                       std::string{rows.text(i, 4)}, to_id(rows.int64(i, 5))});
                  return out;
                });
  }

  answer<std::monostate> operator()(const lift_bounce& q) {
    return with(lift_bounce_statement, pg::params{}.add(q.address),
                [](const pg::result& rows) -> answer<std::monostate> {
                  if (rows.empty())
                    return tl::unexpected{errc::not_found};
                  return std::monostate{};
                });
  }

  answer<std::monostate> operator()(const mark_mail& q) {
    const auto template_name = std::string{to_string(q.kind)};
    auto result = std::string_view{};
    auto summary = std::string{};
    switch (q.status) {
      case mail_status::owed:
        result = "deferred";
        summary = "Mail " + template_name + " deferred: " + q.detail;
        break;
      case mail_status::sent:
        result = "sent";
        summary = "Mail " + template_name + " sent";
        break;
      case mail_status::undeliverable:
        result = "undeliverable";
        summary = "Mail " + template_name + " undeliverable: " + q.detail;
        break;
      case mail_status::no_address:
        result = "no_address";
        summary
          = "Mail " + template_name + " not sent: the user has no mail address";
        break;
      case mail_status::unwanted:
        result = "unwanted";
        summary
          = "Mail " + template_name + " not sent: the user does not want it";
        break;
    }
    return with(mark_mail_statement,
                pg::params{}
                  .add(key(q.subscription))
                  .add(static_cast<std::int64_t>(q.revision))
                  .add(static_cast<std::int16_t>(q.kind))
                  .add(static_cast<std::int16_t>(q.status))
                  .add(q.at)
                  .add(q.next_at)
                  .add(q.detail)
                  .add(template_name)
                  .add(result)
                  .add(summary)
                  .add(q.address),
                nothing_of);
  }

  answer<read_stats::found> operator()(const read_stats&) {
    auto* connection = db_.get();
    if (connection == nullptr)
      return tl::unexpected{errc::database_down};
    const auto none = pg::params{};
    auto rows = connection->pipeline(
      {{&by_phase_statement, &none}, {&durations_statement, &none}});
    if (!rows)
      return tl::unexpected{db_.failed(rows.error(), "stats")};
    auto found = read_stats::found{};
    found.by_phase.resize(lifecycle::phase_count);
    found.by_status.resize(6);
    const auto& counts = (*rows)[0];
    for (auto i = 0; i < counts.rows(); ++i) {
      const auto phase = static_cast<std::size_t>(counts.int16(i, 0));
      const auto status = static_cast<std::size_t>(counts.int16(i, 1));
      const auto count = counts.int64(i, 2);
      found.by_phase.at(phase) += count;
      found.by_status.at(status) += count;
      const auto at = static_cast<lifecycle::phase>(phase);
      if (at == lifecycle::phase::running) {
        found.succeeded += count;
        found.completed += count;
      } else if (at == lifecycle::phase::failed) {
        found.completed += count;
      }
    }
    found.average_ms = (*rows)[1].float8(0, 0);
    found.p95_ms = (*rows)[1].float8(0, 1);
    return found;
  }

  answer<count_page::found> operator()(const count_page& q) {
    return with(count_page_statement,
                pg::params{}.add(key(q.after)).add(rows_max(q.limit)),
                [&q](const pg::result& rows) -> answer<count_page::found> {
                  auto out = count_page::found{};
                  out.by_status.resize(6);
                  auto counted = std::int64_t{0};
                  auto last = std::int64_t{0};
                  for (auto i = 0; i < rows.rows(); ++i) {
                    const auto count = rows.int64(i, 1);
                    out.by_status.at(static_cast<size_t>(rows.int16(i, 0)))
                      = count;
                    counted += count;
                    last = std::max(last, rows.int64(i, 2));
                  }
                  if (counted == rows_max(q.limit))
                    out.next = to_id(last);
                  return out;
                });
  }

  answer<list_attention::result> operator()(const list_attention& q) {
    return with(attention_statement,
                pg::params{}
                  .add(q.now)
                  .add(static_cast<double>(q.stuck_after.count()))
                  .add(static_cast<std::int64_t>(q.limit)),
                [](const pg::result& rows) -> answer<list_attention::result> {
                  auto out = list_attention::result{};
                  for (auto i = 0; i < rows.rows(); ++i)
                    out.push_back(
                      {to_id(rows.int64(i, 0)),
                       static_cast<std::uint32_t>(rows.int32(i, 1)),
                       std::string{rows.text(i, 2)},
                       std::string{rows.text(i, 3)}, rows.time(i, 4),
                       std::string{rows.text(i, 5)}, rows.int64(i, 6)});
                  return out;
                });
  }

  answer<list_callbacks::result> operator()(const list_callbacks& q) {
    const auto of_order = !q.order_id.empty();
    const auto& listing = listing_of(q.outcome, of_order);
    auto params = pg::params{};
    params.add(q.before).add(rows_max(q.limit));
    params.add(q.gateway ? std::optional{static_cast<std::int16_t>(*q.gateway)}
                         : std::nullopt);
    if (of_order)
      params.add(q.order_id).add(owner_of(q.order_id));
    return with(pg::statement{listing.name.c_str(), listing.sql.c_str(), false},
                params,
                [](const pg::result& rows) -> answer<list_callbacks::result> {
                  auto out = list_callbacks::result{};
                  for (auto i = 0; i < rows.rows(); ++i)
                    out.push_back(read_callback(rows, i));
                  return out;
                });
  }

  answer<list_callbacks::row> operator()(const find_callback& q) {
    return with(callback_statement, pg::params{}.add(q.id),
                [](const pg::result& rows) -> answer<list_callbacks::row> {
                  if (rows.empty())
                    return tl::unexpected{errc::not_found};
                  auto x = read_callback(rows, 0);
                  x.entry.headers = std::string{rows.text(0, callback_columns)};
                  x.entry.body
                    = std::string{rows.bytes(0, callback_columns + 1)};
                  // Whoever feeds it in once more means this row.
                  x.entry.dedupe_key
                    = std::string{rows.text(0, callback_columns + 2)};
                  return x;
                });
  }

  answer<list_callbacks::row> operator()(const settle_callback& q) {
    return with(settle_statement,
                pg::params{}.add(q.id).add(q.at).add(q.by).add(q.why),
                [](const pg::result& rows) -> answer<list_callbacks::row> {
                  if (rows.empty())
                    return tl::unexpected{errc::not_found};
                  return read_callback(rows, 0);
                });
  }

  answer<std::monostate> operator()(const keep_forged& q) {
    if (q.keep == 0)
      return std::monostate{};
    auto* connection = db_.get();
    if (connection == nullptr)
      return tl::unexpected{errc::database_down};
    const auto none = pg::params{};
    const auto& x = q.entry;
    const auto params = pg::params{}
                          .add(static_cast<std::int16_t>(x.gateway))
                          .add(static_cast<std::int16_t>(x.source))
                          .add(x.received_at)
                          .add(x.order_id)
                          .add(x.reason)
                          .add(x.headers)
                          .add(pg::bytea{std::string_view{x.body}})
                          .add(static_cast<std::int64_t>(q.keep));
    auto done = connection->pipeline(
      {db_.fence(), {&forged_turn, &none}, {&forged_statement, &params}});
    if (!done)
      return tl::unexpected{db_.failed(done.error(), forged_statement.name)};
    return std::monostate{};
  }

  answer<claim_asks::result> operator()(const claim_asks& q) {
    const auto gateway = static_cast<std::int16_t>(q.gateway);
    // Mostly nothing is due, and that costs a look at an index.
    const auto due
      = with(is_due_statement, pg::params{}.add(gateway).add(q.now),
             [](const pg::result& rows) -> answer<bool> {
               return rows.boolean(0, 0);
             });
    if (!due)
      return tl::unexpected{due.error()};
    if (!*due)
      return claim_asks::result{};
    auto* connection = db_.get();
    if (connection == nullptr)
      return tl::unexpected{errc::database_down};
    auto taken = claim(db_, *connection, q, server_);
    if (taken)
      return std::move(*taken);
    // Without a connection there is no transaction, either.
    if (connection->alive() && connection->in_transaction())
      if (auto undone = connection->rollback(); !undone)
        spdlog::warn("{}: rolling back failed: {}", asks_statement.name,
                     to_string(undone.error()));
    return tl::unexpected{db_.failed(taken.error(), asks_statement.name)};
  }

  answer<automation_state> operator()(const query::read_automation&) {
    return direct("read_automation", [](pg::connection& db) {
      return slipway::read_automation(db).map([](auto&& x) {
        return std::move(x.state);
      });
    });
  }

  answer<automation_state> operator()(const query::switch_automation& q) {
    auto restored = false;
    auto seen = direct("read_automation", [&restored](pg::connection& db) {
      return slipway::read_automation(db).map([&restored](auto&& x) {
        restored = x.restored;
        return std::move(x.state);
      });
    });
    if (!seen)
      return seen;
    if (restored)
      return tl::unexpected{errc::conflict};
    return direct("switch_automation", [&q](pg::connection& db) {
      return slipway::switch_automation(db, q.enabled, q.by, q.why, q.at);
    });
  }

  answer<list_pending::found> operator()(const list_pending& q) {
    auto* connection = db_.get();
    if (connection == nullptr)
      return tl::unexpected{errc::database_down};
    const auto none = pg::params{};
    const auto now = pg::params{}.add(q.now);
    const auto bounds = pg::params{}.add(q.now).add(rows_max(q.limit));
    auto rows = connection->pipeline({{&pending_phases_statement, &none},
                                      {&pending_counts_statement, &now},
                                      {&pending_statement, &bounds},
                                      {&changes_statement, &none}});
    if (!rows)
      return tl::unexpected{db_.failed(rows.error(), "pending")};
    auto out = list_pending::found{};
    out.by_phase.resize(lifecycle::phase_count);
    const auto& phases = (*rows)[0];
    for (auto i = 0; i < phases.rows(); ++i)
      out.by_phase.at(static_cast<std::size_t>(phases.int16(i, 0)))
        = phases.int64(i, 1);
    const auto count_of = [&](lifecycle::phase at) {
      return out.by_phase[static_cast<std::size_t>(at)];
    };
    out.removals = count_of(lifecycle::phase::cancelling)
                   + count_of(lifecycle::phase::terminating);
    const auto& counts = (*rows)[1];
    out.orphans = counts.int64(0, 0);
    out.mails = counts.int64(0, 1);
    out.refunds = counts.int64(0, 2);
    out.closes = counts.int64(0, 3);
    out.timers = counts.int64(0, 4);
    const auto& list = (*rows)[2];
    for (auto i = 0; i < list.rows(); ++i)
      out.rows.push_back({static_cast<list_pending::kind>(list.int16(i, 0)),
                          to_id(list.int64(i, 1)), std::string{list.text(i, 2)},
                          list.time(i, 3)});
    const auto& changes = (*rows)[3];
    for (auto i = 0; i < changes.rows(); ++i)
      out.changes.push_back({changes.time(i, 0), changes.boolean(i, 1),
                             std::string{changes.text(i, 2)},
                             std::string{changes.text(i, 3)}});
    return out;
  }

  answer<query::prune::found> operator()(const query::prune& q) {
    return direct("prune", [this, &q](pg::connection& db) {
      const auto fence = db_.fence();
      auto passed = db.execute(*fence.what, *fence.with);
      return passed ? slipway::prune(db, q)
                    : tl::unexpected{std::move(passed.error())};
    });
  }

  answer<std::int64_t> operator()(const announce_act& q) {
    return with(announce_act_statement,
                pg::params{}
                  .add(q.at)
                  .add(q.actor)
                  .add(q.role)
                  .add(q.act)
                  .add(q.subject_kind)
                  .add(q.subject)
                  .add(q.detail)
                  .add(q.reason)
                  .add(q.request_id),
                [](const pg::result& rows) -> answer<std::int64_t> {
                  return rows.int64(0, 0);
                });
  }

  answer<std::monostate> operator()(const close_act& q) {
    return with(close_act_statement,
                pg::params{}.add(q.id).add(q.outcome).add(q.status).add(q.at),
                nothing_of);
  }

  answer<list_acts::result> operator()(const list_acts& q) {
    auto params = pg::params{};
    params.add(q.before).add(rows_max(q.limit));
    if (!q.actor.empty())
      params.add(q.actor);
    if (!q.subject.empty())
      params.add(q.subject);
    const auto& statement
      = q.actor.empty()
          ? (q.subject.empty() ? acts_statement : acts_on_subject_statement)
          : (q.subject.empty() ? acts_of_actor_statement
                               : acts_of_actor_on_subject_statement);
    return with(statement, params,
                [](const pg::result& rows) -> answer<list_acts::result> {
                  auto out = list_acts::result{};
                  for (auto i = 0; i < rows.rows(); ++i)
                    out.push_back(read_act(rows, i));
                  return out;
                });
  }

  answer<list_stale_credentials::found>
  operator()(const list_stale_credentials& q) {
    auto* connection = db_.get();
    if (connection == nullptr)
      return tl::unexpected{errc::database_down};
    auto place = pg::params{}
                   .add(q.key_id)
                   .add(q.after.key_id)
                   .add(key(q.after.subscription))
                   .add(q.after.type);
    auto bounds = place;
    bounds.add(static_cast<std::int64_t>(q.limit));
    auto rows = connection->pipeline(
      {{&stale_statement, &bounds}, {&count_stale_statement, &place}});
    if (!rows)
      return tl::unexpected{db_.failed(rows.error(), stale_statement.name)};
    auto out = list_stale_credentials::found{};
    const auto& list = (*rows)[0];
    for (auto i = 0; i < list.rows(); ++i)
      out.rows.push_back(
        {to_id(list.int64(i, 1)),
         {std::string{list.text(i, 2)}, std::string{list.text(i, 0)},
          std::string{list.bytes(i, 3)}, std::string{list.bytes(i, 4)}}});
    out.remaining = (*rows)[1].int64(0, 0);
    return out;
  }

  answer<std::int64_t> operator()(const replace_credentials& q) {
    using change = replace_credentials::change;
    const auto put = [&q](pg::params& to, auto projection) {
      to.add_array(q.rows, projection);
    };
    auto params = pg::params{};
    put(params, [](const change& x) {
      return key(x.subscription);
    });
    put(params, [](const change& x) -> std::string_view {
      return x.from.channel_type;
    });
    put(params, [](const change& x) -> std::string_view {
      return x.from.key_id;
    });
    put(params, [](const change& x) {
      return pg::bytea{std::string_view{x.from.nonce}};
    });
    put(params, [](const change& x) -> std::string_view {
      return x.to.key_id;
    });
    put(params, [](const change& x) {
      return pg::bytea{std::string_view{x.to.nonce}};
    });
    put(params, [](const change& x) {
      return pg::bytea{std::string_view{x.to.ciphertext}};
    });
    return with(replace_credentials_statement, params,
                [](const pg::result& rows) -> answer<std::int64_t> {
                  return rows.affected();
                });
  }

  answer<std::monostate> operator()(const ping&) {
    return with(ping_statement, pg::params{}, nothing_of);
  }

private:
  /// Begins a transaction, and leaves it open when it fails.
  static tl::expected<claim_asks::result, pg::error>
  claim(const session& of, pg::connection& db, const claim_asks& q,
        std::int64_t server) {
    if (auto begun = db.begin(); !begun)
      return tl::unexpected{std::move(begun.error())};
    const auto fence = of.fence();
    if (auto passed = db.execute(*fence.what, *fence.with); !passed)
      return tl::unexpected{std::move(passed.error())};
    auto rows
      = db.execute(asks_statement, pg::params{}
                                     .add(static_cast<std::int16_t>(q.gateway))
                                     .add(q.now)
                                     .add(rows_max(q.limit))
                                     .add(server)
                                     .add(q.unsent_refunds));
    if (!rows)
      return tl::unexpected{std::move(rows.error())};
    auto out = claim_asks::result{};
    for (auto i = 0; i < rows->rows(); ++i)
      out.push_back({to_id(rows->int64(i, 0)), std::string{rows->text(i, 1)},
                     read_order(*rows, i, 3),
                     static_cast<std::uint32_t>(rows->int32(i, 2))});
    if (!out.empty()) {
      auto params = pg::params{};
      params.add(q.now);
      params.add_array(out, [](const auto& x) {
        return key(x.subscription);
      });
      params.add_array(out, [](const auto& x) {
        return static_cast<std::int32_t>(x.order.seq);
      });
      params.add_array(out, [&q](const auto& x) {
        return lifecycle::next_ask(x.order, x.asks + 1, q.now, q.rules);
      });
      if (auto moved = db.execute(asked_statement, params); !moved)
        return tl::unexpected{std::move(moved.error())};
    }
    if (auto done = db.commit(); !done)
      return tl::unexpected{std::move(done.error())};
    return out;
  }

  static answer<std::monostate> nothing_of(const pg::result&) {
    return std::monostate{};
  }

  static answer<std::vector<record>> records_of(const pg::result& rows) {
    return read_records(rows);
  }

  static answer<std::vector<std::int64_t>> ids_of(const pg::result& rows) {
    auto out = std::vector<std::int64_t>{};
    for (auto i = 0; i < rows.rows(); ++i)
      out.push_back(rows.int64(i, 0));
    return out;
  }

  static answer<std::vector<subscription_id>>
  subscriptions_of(const pg::result& rows) {
    auto out = std::vector<subscription_id>{};
    for (auto i = 0; i < rows.rows(); ++i)
      out.push_back(to_id(rows.int64(i, 0)));
    return out;
  }

  static list_timeline::row timeline_row(const pg::result& rows, int i) {
    auto x = list_timeline::row{};
    x.where = {rows.time(i, 0), rows.int16(i, 1), rows.int64(i, 2)};
    x.kind = std::string{rows.text(i, 3)};
    x.summary = std::string{rows.text(i, 4)};
    x.operation = std::string{rows.text(i, 5)};
    x.outcome = std::string{rows.text(i, 6)};
    return x;
  }

  static list_callbacks::row read_callback(const pg::result& rows, int i) {
    auto x = list_callbacks::row{};
    x.id = rows.int64(i, 0);
    x.entry.gateway = static_cast<lifecycle::payment_gateway>(rows.int16(i, 1));
    x.entry.source = static_cast<callback_source>(rows.int16(i, 2));
    x.entry.received_at = rows.time(i, 3);
    x.last_received_at = rows.time(i, 4);
    x.repeats = static_cast<std::uint32_t>(rows.int32(i, 5));
    x.entry.order_id = std::string{rows.text(i, 6)};
    x.entry.subscription = to_id(rows.int64(i, 7));
    x.entry.outcome = static_cast<callback_outcome>(rows.int16(i, 8));
    x.entry.reason = std::string{rows.text(i, 9)};
    x.settled_at = rows.opt_time(i, 10);
    x.settled_by = std::string{rows.text(i, 11)};
    x.settled_why = std::string{rows.text(i, 12)};
    return x;
  }

  static list_acts::row read_act(const pg::result& rows, int i) {
    auto x = list_acts::row{};
    x.id = rows.int64(i, 0);
    x.what.at = rows.time(i, 1);
    x.what.actor = std::string{rows.text(i, 2)};
    x.what.role = std::string{rows.text(i, 3)};
    x.what.act = std::string{rows.text(i, 4)};
    x.what.subject_kind = std::string{rows.text(i, 5)};
    x.what.subject = std::string{rows.text(i, 6)};
    x.what.detail = std::string{rows.text(i, 7)};
    x.what.reason = std::string{rows.text(i, 8)};
    x.what.request_id = std::string{rows.text(i, 9)};
    x.outcome = std::string{rows.text(i, 10)};
    x.status = rows.int16(i, 11);
    x.done_at = rows.opt_time(i, 12);
    return x;
  }

  static std::vector<list_notifications::row>
  notifications_of(const pg::result& rows) {
    auto out = std::vector<list_notifications::row>{};
    for (auto i = 0; i < rows.rows(); ++i)
      // An outer join has a row even for none.
      if (const auto id = rows.opt_int64(i, 0))
        out.push_back({*id, to_id(rows.int64(i, 1)),
                       std::string{rows.opt_text(i, 3).value_or("")},
                       read_notice(rows, i, 4), rows.opt_time(i, 2)});
    return out;
  }

  /// Who was never heard of wants everything.
  static answer<read_preferences::found>
  preferences_of(const pg::result& rows) {
    auto out = read_preferences::found{};
    if (!rows.empty())
      out.mail_progress = rows.boolean(0, 0);
    return out;
  }

  /// Has somebody else use the connection.
  template <class F>
  auto direct(const char* name, F what)
    -> answer<typename std::invoke_result_t<F, pg::connection&>::value_type> {
    auto* connection = db_.get();
    if (connection == nullptr)
      return tl::unexpected{errc::database_down};
    auto out = what(*connection);
    if (!out)
      return tl::unexpected{db_.failed(out.error(), name)};
    return std::move(*out);
  }

  template <class F>
  auto with(const pg::statement& what, const pg::params& params, F read)
    -> decltype(read(std::declval<const pg::result&>())) {
    auto* connection = db_.get();
    if (connection == nullptr)
      return tl::unexpected{errc::database_down};
    auto rows = what.writes ? db_.write(*connection, what, params)
                            : connection->execute(what, params);
    if (!rows)
      return tl::unexpected{db_.failed(rows.error(), what.name)};
    return read(*rows);
  }

  session& db_;
  std::int64_t server_;
};

} // namespace

void store_state::run(const store_job_ptr& what) {
  const auto is_claim = std::holds_alternative<job<claim_record>>(*what);
  if (is_claim || std::holds_alternative<job<list_credentials>>(*what)) {
    auto& waiting = is_claim ? claims : credentials;
    waiting.push_back(what);
    if (waiting.size() >= options.gather_max)
      answer_gathered();
    else
      ask_to_answer();
    return;
  }
  // Nobody is overtaken.
  answer_gathered();
  std::visit(
    [this](auto& x) {
      x.done(desk{*db, options.server}(x.what));
    },
    *what);
}

void store_state::ask_to_answer() {
  // Goes to the end of the mailbox: everybody who waits there comes along.
  if (std::exchange(gather_asked, true))
    return;
  self->send(self, tick{});
}

void store_state::answer_gathered() {
  claim();
  read_credentials();
}

void store_state::read_credentials() {
  if (credentials.empty())
    return;
  const auto jobs = std::exchange(credentials, {});
  auto ids = std::vector<subscription_id>{};
  for (const auto& x : jobs)
    ids.push_back(std::get<job<list_credentials>>(*x).what.id);
  auto found = desk{*db, options.server}.credentials(ids);
  for (size_t i = 0; i < jobs.size(); ++i)
    std::get<job<list_credentials>>(*jobs[i]).done(std::move(found[i]));
}

void store_state::claim() {
  if (claims.empty())
    return;
  const auto jobs = std::exchange(claims, {});
  auto ids = std::vector<subscription_id>{};
  auto places = std::unordered_map<std::uint64_t, std::size_t>{};
  for (const auto& x : jobs) {
    const auto id = std::get<job<claim_record>>(*x).what.id;
    if (places.try_emplace(raw(id), ids.size()).second)
      ids.push_back(id);
  }
  auto found = desk{*db, options.server}.claim(ids);
  const auto all_differ = ids.size() == jobs.size();
  for (const auto& x : jobs) {
    auto& one = std::get<job<claim_record>>(*x);
    auto& its = found[places.at(raw(one.what.id))];
    if (all_differ)
      one.done(std::move(its));
    else
      one.done(its);
  }
}

store_actor::behavior_type
store(store_actor::stateful_pointer<store_state> self, metrics* meters,
      store_options options) {
  under_supervision(self);
  auto& st = self->state;
  st.self = self;
  st.alive = alive_guard{meters, store_state::name};
  st.meters = meters;
  st.db.emplace(options.connection, options.server, options.on_fenced);
  st.options = std::move(options);
  return {
    [self](const store_job_ptr& what) {
      self->state.run(what);
    },
    [self](const tick&) {
      self->state.gather_asked = false;
      self->state.answer_gathered();
    },
  };
}

} // namespace slipway

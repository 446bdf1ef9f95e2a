#include "persistence/journal_encode.hpp"

#include <array>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

namespace slipway {

namespace {

/// What a batch of transitions may hold besides rows and history. A statement
/// names only those parts that are there: each one costs, empty or not.
enum part_bit : unsigned {
  has_new_orders = 1,
  has_instances = 2,
  has_notices = 4,
  has_mails = 8, ///< Never without notices.
  has_callbacks = 16,
  has_known_orders = 32,    ///< They have a row.
  has_known_callbacks = 64, ///< Of some messages there is a row: never alone.
};

constexpr auto variants = std::size_t{128};

/// The rows of the next parameter.
std::string unnest(int& next, const char* type) {
  return "unnest($" + std::to_string(next++) + "::" + type + "[])";
}

// Everything of a batch is one statement: the rows that are still at the
// expected revision and still ours go on, and only with them what hangs on
// them. A transition that finds its row elsewhere writes nothing and takes no
// neighbour along.
std::string update_sql(unsigned parts) {
  auto next = 2; // $1 is the server.
  auto sql = std::string{R"sql(WITH changed AS (
  UPDATE subscriptions s SET
    status = n.status, start_at = n.start_at, end_at = n.end_at,
    phase = n.phase, phase_at = n.phase_at, attempt = n.attempt,
    attempt_limit = n.attempt_limit, tries = n.tries, progress = n.progress,
    intent_at = n.intent_at, queued_at = n.queued_at,
    started_at = n.started_at, deadline_at = n.deadline_at,
    retry_at = n.retry_at, completed_at = n.completed_at,
    workflow_id = n.workflow_id, deployment_id = n.deployment_id,
    error = n.error, ended_by = n.ended_by, revision = n.expected + 1,
    settled = n.settled, wake_at = n.wake_at, updated_at = n.updated_at,
    queue_rank = n.queue_rank
  FROM )sql"};
  sql += unnest(next, "journal_subscription");
  sql += R"sql( AS n
  WHERE s.id = n.id AND s.revision = n.expected AND s.owner = $1
    AND s.epoch = n.epoch
  RETURNING s.id, s.revision, s.user_id, s.start_at
), told AS (
  INSERT INTO events (subscription_id, revision, at, kind, operation, outcome,
    summary)
  SELECT o.id, c.revision, o.at, o.kind, o.operation, o.outcome, o.summary
  FROM )sql";
  sql += unnest(next, "journal_line");
  sql += R"sql( WITH ORDINALITY AS o
  JOIN changed c ON c.id = o.id
  ORDER BY o.ordinality
))sql";
  const auto known = std::to_string(next);
  if (parts & has_known_orders) {
    sql += R"sql(, paid AS (
  UPDATE payments p SET
    status = o.status, applied = o.applied, refunded_minor = o.refunded_minor,
    paid_at = o.paid_at, transaction_id = o.transaction_id,
    pay_code = o.pay_code, refund_seq = o.refund_seq,
    refund_minor = o.refund_minor, refund_for = o.refund_for,
    refund_error = o.refund_error, refunds_counted = o.refunds_counted,
    period_at = CASE WHEN p.applied THEN p.period_at
                     WHEN o.applied THEN c.start_at END,
    ask_at = CASE WHEN p.status = o.status THEN p.ask_at ELSE o.ask_at END,
    asks = CASE WHEN p.status = o.status THEN p.asks ELSE 0 END
  FROM )sql";
    sql += unnest(next, "journal_order");
    sql += R"sql( AS o
  JOIN changed c ON c.id = o.subscription_id
  WHERE p.subscription_id = o.subscription_id AND p.seq = o.seq
  RETURNING 1
))sql";
  }
  if (parts & has_new_orders) {
    sql += R"sql(, ordered AS (
  INSERT INTO payments (subscription_id, seq, gateway, method, status,
    applied, amount_minor, refunded_minor, created_at, expires_at, paid_at,
    transaction_id, idempotency_key, pay_code, refund_seq, refund_minor,
    refund_for, refund_error, refunds_counted, ask_at, period_at)
  SELECT o.*, CASE WHEN o.applied THEN c.start_at END
  FROM )sql";
    sql += unnest(next, "journal_order");
    sql += R"sql( AS o
  JOIN changed c ON c.id = o.subscription_id)sql";
    // Of one subscription only one is open at any moment.
    if (parts & has_known_orders)
      sql += "\n  WHERE (SELECT count(*) FROM paid) >= 0";
    sql += "\n)";
  }
  if (parts & has_instances) {
    sql += R"sql(, placed AS (
  INSERT INTO instances AS i (subscription_id, seq, status, project_id,
    environment_id, service_id, service_name, public_url, created_at,
    deleted_at, health, sleep_told)
  SELECT o.* FROM )sql";
    sql += unnest(next, "journal_instance");
    sql += R"sql( AS o
  JOIN changed c ON c.id = o.subscription_id
  ON CONFLICT (subscription_id, seq) DO UPDATE SET
    status = excluded.status, project_id = excluded.project_id,
    environment_id = excluded.environment_id,
    service_id = excluded.service_id, service_name = excluded.service_name,
    public_url = excluded.public_url, deleted_at = excluded.deleted_at,
    health = excluded.health, sleep_told = excluded.sleep_told
))sql";
  }
  if (parts & has_notices) {
    sql += R"sql(, notices AS (
  SELECT c.id, c.revision, c.user_id, o.*
  FROM )sql";
    sql += unnest(next, "journal_notice");
    sql += R"sql( AS o
  JOIN changed c ON c.id = o.subscription_id
), noted AS (
  INSERT INTO notifications (user_id, subscription_id, revision, kind,
    instance_seq, public_url, error, duration_ms, amount_minor, created_at)
  SELECT user_id, id, revision, kind, instance_seq, public_url, error,
    duration_ms, amount_minor, created_at FROM notices
))sql";
  }
  if (parts & has_mails) {
    sql += R"sql(, mailed AS (
  INSERT INTO outbox (user_id, subscription_id, revision, kind, instance_seq,
    public_url, error, duration_ms, amount_minor, created_at, next_at)
  SELECT user_id, id, revision, kind, instance_seq, public_url, error,
    duration_ms, amount_minor, created_at, created_at
  FROM notices WHERE by_mail
))sql";
  }
  if (parts & has_callbacks) {
    sql += R"sql(, given AS (
  SELECT * FROM )sql";
    sql += unnest(next, "journal_callback");
    sql += R"sql( AS o
), kept AS (
  INSERT INTO callbacks AS k (gateway, source, dedupe_key, received_at,
    last_received_at, order_id, subscription_id, outcome, reason, headers, body)
  SELECT o.gateway, o.source, o.dedupe_key, o.received_at, o.received_at,
    o.order_id, o.subscription_id, 0, o.reason, o.headers, o.body
  FROM given o JOIN changed c ON c.id = o.subscription_id)sql";
    if (parts & has_known_callbacks)
      sql += R"sql(
  ON CONFLICT (gateway, dedupe_key) DO UPDATE SET
    outcome = 0, reason = excluded.reason,
    (repeats, last_received_at) = (
      SELECT k.repeats + g.deliveries,
        CASE WHEN g.deliveries = 0 THEN k.last_received_at
             ELSE excluded.last_received_at END
      FROM given g WHERE g.gateway = excluded.gateway
        AND g.dedupe_key = excluded.dedupe_key))sql";
    sql += "\n)";
  }
  sql += " SELECT id FROM changed";
  // An order that has lost its row is not to be lost in silence as well.
  if (parts & has_known_orders)
    sql += R"sql( WHERE CASE (SELECT count(*) FROM paid)
  WHEN cardinality($)sql"
           + known + R"sql() THEN true
  WHEN (SELECT count(*) FROM unnest($)sql"
           + known + R"sql(::journal_order[]) o
        JOIN changed c ON c.id = o.subscription_id) THEN true
  ELSE slipway_missing('payments') END)sql";
  return sql;
}

/// Statements keep pointers to their text: these live as long as the program.
struct update_variant {
  std::string name;
  std::string sql;
  pg::statement statement;

  explicit update_variant(unsigned parts)
    : name{"journal_update_" + std::to_string(parts)}, sql{update_sql(parts)},
      statement{name.c_str(), sql.c_str(), true} {
  }
};

/// Few of them are ever used. Any thread.
const pg::statement& update_statement(unsigned parts) {
  struct place {
    std::once_flag once;
    std::unique_ptr<update_variant> made;
  };
  static auto all = std::array<place, variants>{};
  auto& x = all[parts];
  std::call_once(x.once, [&] {
    x.made = std::make_unique<update_variant>(parts);
  });
  return x.made->statement;
}

} // namespace

const pg::statement insert_batch{"journal_insert", R"sql(
WITH people AS (
  INSERT INTO users (id, created_at, updated_at)
  SELECT DISTINCT ON (o.user_id) o.user_id, o.created_at, o.created_at
  FROM unnest($2::journal_creation[]) AS o
  ON CONFLICT (id) DO NOTHING
), fresh AS (
  INSERT INTO subscriptions (id, owner, epoch, user_id, plan, currency,
    amount_minor, period_days, status, phase, phase_at, revision, settled,
    wake_at, created_at, updated_at)
  SELECT o.id, $1, o.epoch, o.user_id, o.plan, o.currency, o.amount_minor,
    o.period_days, o.status, o.phase, o.phase_at, o.revision, o.settled,
    o.wake_at, o.created_at, o.created_at
  FROM unnest($2::journal_creation[]) AS o
  ON CONFLICT (id) DO NOTHING
  RETURNING id, revision
), sealed AS (
  INSERT INTO channel_credentials (subscription_id, channel_type, key_id,
    nonce, ciphertext)
  SELECT o.* FROM unnest($3::journal_credential[]) AS o
  JOIN fresh f ON f.id = o.subscription_id
), told AS (
  INSERT INTO events (subscription_id, revision, at, kind, operation, outcome,
    summary)
  SELECT o.id, f.revision, o.at, o.kind, o.operation, o.outcome, o.summary
  FROM unnest($4::journal_line[]) WITH ORDINALITY AS o
  JOIN fresh f ON f.id = o.id
  ORDER BY o.ordinality
)
SELECT id FROM fresh
)sql",
                                 true};

// Once a callback was applied its row says so, however often it comes again.
// What an operator feeds in once more is no delivery.
const pg::statement keep_callbacks{"journal_inbox", R"sql(
WITH given AS (
  SELECT * FROM unnest($1::journal_callback[]) AS o
)
INSERT INTO callbacks AS k (gateway, source, dedupe_key, received_at,
  last_received_at, order_id, subscription_id, outcome, reason, headers, body,
  repeats)
SELECT o.gateway, o.source, o.dedupe_key, o.received_at, o.received_at,
  o.order_id, nullif(o.subscription_id, 0), o.outcome, o.reason, o.headers,
  o.body, greatest(o.deliveries - 1, 0)
FROM given o
ON CONFLICT (gateway, dedupe_key) DO UPDATE SET
  outcome = CASE WHEN k.outcome = 0 THEN k.outcome ELSE excluded.outcome END,
  reason = CASE WHEN k.outcome = 0 THEN k.reason ELSE excluded.reason END,
  (repeats, last_received_at) = (
    SELECT k.repeats + g.deliveries,
      CASE WHEN g.deliveries = 0 THEN k.last_received_at
           ELSE excluded.last_received_at END
    FROM given g WHERE g.gateway = excluded.gateway
      AND g.dedupe_key = excluded.dedupe_key)
)sql",
                                   true};

namespace {

template <class Enum>
std::int16_t number(Enum x) {
  return static_cast<std::int16_t>(x);
}

std::int64_t key(subscription_id id) {
  return static_cast<std::int64_t>(raw(id));
}

std::optional<std::string_view> null_if_empty(const std::string& text) {
  if (text.empty())
    return std::nullopt;
  return std::string_view{text};
}

/// A part of a transition with the subscription it belongs to.
template <class T>
struct part {
  subscription_id of;
  const T* what;
};

void add_history(pg::params& to, const journal_types& types,
                 const transition_batch& some) {
  auto lines = std::vector<part<history_entry>>{};
  for (const auto* t : some)
    for (const auto& x : t->history)
      lines.push_back({t->next.id, &x});
  to.add_rows(types.line, lines, [](pg::row_writer& row, const auto& x) {
    row.add(key(x.of))
      .add(x.what->at)
      .add(number(x.what->kind))
      .add(x.what->operation)
      .add(x.what->outcome)
      .add(x.what->summary);
  });
}

void add_subscriptions(pg::params& to, const journal_types& types,
                       const transition_batch& some) {
  const auto write = [](pg::row_writer& row, const transition* t) {
    const auto& s = t->next.state;
    const auto& d = s.deployment;
    row.add(key(t->next.id))
      .add(static_cast<std::int64_t>(t->expected_revision))
      .add(static_cast<std::int32_t>(t->next.epoch))
      .add(number(s.status))
      .add(s.start_at)
      .add(s.end_at)
      .add(number(d.at))
      .add(d.phase_at)
      .add(static_cast<std::int32_t>(d.attempt))
      .add(static_cast<std::int32_t>(d.attempt_limit))
      .add(static_cast<std::int32_t>(d.tries))
      .add(static_cast<std::int16_t>(d.progress))
      .add(d.intent_at)
      .add(d.queued_at)
      .add(d.started_at)
      .add(d.deadline_at)
      .add(d.retry_at)
      .add(d.completed_at)
      .add(d.workflow_id)
      .add(d.deployment_id)
      .add(d.error)
      .add(number(d.ended_by))
      .add(lifecycle::is_settled(d.at))
      .add(t->wake_at)
      .add(t->next.updated_at)
      .add(d.queue_rank);
  };
  to.add_rows(types.subscription, some, write);
}

/// An order with what its row holds besides.
struct changed_order {
  subscription_id of;
  const lifecycle::order* what;
  std::optional<timestamp> first_ask;
};

/// @param known  those that have a row already, or those that have none
void add_orders(pg::params& to, const journal_types& types,
                const transition_batch& some, bool known) {
  auto orders = std::vector<changed_order>{};
  for (const auto* t : some)
    for (size_t i = 0; i < t->next.state.orders.size(); ++i)
      if ((t->orders_changed >> i & 1) != 0 && (i < t->orders_known) == known)
        orders.push_back(
          {t->next.id, &t->next.state.orders[i],
           i < t->first_asks.size() ? t->first_asks[i] : std::nullopt});
  to.add_rows(types.order, orders, [](pg::row_writer& row, const auto& x) {
    const auto& o = *x.what;
    row.add(key(x.of))
      .add(static_cast<std::int32_t>(o.seq))
      .add(number(o.gateway))
      .add(number(o.method))
      .add(number(o.status))
      .add(o.applied)
      .add(o.amount)
      .add(o.refunded)
      .add(o.created_at)
      .add(o.expires_at)
      .add(o.paid_at)
      .add(null_if_empty(o.transaction_id))
      .add(null_if_empty(o.idempotency_key))
      .add(o.code)
      .add(static_cast<std::int32_t>(o.refund_seq))
      .add(o.refund_amount)
      .add(number(o.refund_for))
      .add(o.refund_error)
      .add(o.refunds_counted)
      .add(x.first_ask);
  });
}

/// Which of a transition's orders are written where.
unsigned parts_of_orders(const transition& t) {
  const auto known = t.orders_known < 64
                       ? (std::uint64_t{1} << t.orders_known) - 1
                       : ~std::uint64_t{0};
  return ((t.orders_changed & ~known) != 0 ? has_new_orders : 0u)
         | ((t.orders_changed & known) != 0 ? has_known_orders : 0u);
}

void add_instances(pg::params& to, const journal_types& types,
                   const transition_batch& some) {
  auto changed = std::vector<const transition*>{};
  for (const auto* t : some)
    if (t->instance_changed)
      changed.push_back(t);
  const auto write = [](pg::row_writer& row, const transition* t) {
    const auto& i = t->next.state.instance;
    row.add(key(t->next.id))
      .add(static_cast<std::int32_t>(i.seq))
      .add(number(i.status))
      .add(i.project_id)
      .add(i.environment_id)
      .add(i.service_id)
      .add(i.service_name)
      .add(i.public_url)
      .add(i.created_at)
      .add(i.deleted_at)
      .add(number(i.health))
      .add(i.sleep_told);
  };
  to.add_rows(types.instance, changed, write);
}

void add_notices(pg::params& to, const journal_types& types,
                 const transition_batch& some) {
  auto notices = std::vector<part<notice>>{};
  for (const auto* t : some)
    for (const auto& x : t->notices)
      notices.push_back({t->next.id, &x});
  to.add_rows(types.notice, notices, [](pg::row_writer& row, const auto& x) {
    const auto& n = *x.what;
    const auto duration = n.duration
                            ? std::optional<std::int64_t>{n.duration->count()}
                            : std::nullopt;
    row.add(key(x.of))
      .add(number(n.kind))
      .add(static_cast<std::int32_t>(n.instance_seq))
      .add(n.public_url)
      .add(n.error)
      .add(duration)
      .add(n.amount)
      .add(n.at)
      .add(n.by_mail);
  });
}

/// What an operator fed in once more is none.
std::int32_t deliveries_in(const callback_entry& x) {
  return x.replayed ? 0 : 1;
}

/// @param last how it fared in the end, after several deliveries
void write_callback(pg::row_writer& row, const callback_entry& x,
                    const callback_entry& last, std::int32_t deliveries) {
  row.add(number(x.gateway))
    .add(number(x.source))
    .add(x.dedupe_key)
    .add(x.received_at)
    .add(x.order_id)
    .add(key(x.subscription))
    .add(number(last.outcome))
    .add(last.reason)
    .add(x.headers)
    .add(pg::bytea{std::string_view{x.body}})
    .add(deliveries);
}

void add_callbacks(pg::params& to, const journal_types& types,
                   const transition_batch& some) {
  auto entries = std::vector<const callback_entry*>{};
  for (const auto* t : some)
    if (t->callback)
      entries.push_back(t->callback.get());
  to.add_rows(types.callback, entries,
              [](pg::row_writer& row, const callback_entry* x) {
                write_callback(row, *x, *x, deliveries_in(*x));
              });
}

/// Deliveries of one event that met in one batch are one row.
struct delivery {
  const callback_entry* entry;
  const callback_entry* last; ///< How it fared in the end.
  std::int32_t count;
};

} // namespace

const pg::statement find_journal_types{"journal_types", R"sql(
SELECT 'journal_subscription'::regtype::oid::bigint,
  'journal_line'::regtype::oid::bigint, 'journal_order'::regtype::oid::bigint,
  'journal_instance'::regtype::oid::bigint,
  'journal_notice'::regtype::oid::bigint,
  'journal_callback'::regtype::oid::bigint,
  'journal_creation'::regtype::oid::bigint,
  'journal_credential'::regtype::oid::bigint
)sql",
                                       false};

journal_types read_journal_types(const pg::result& from) {
  const auto column = [&](int i) {
    return static_cast<std::uint32_t>(from.int64(0, i));
  };
  return {column(0), column(1), column(2), column(3),
          column(4), column(5), column(6), column(7)};
}

const pg::statement&
encode_update(pg::params& to, const journal_types& types, std::int64_t server,
              const transition_batch& some, bool callbacks_known) {
  auto parts = 0u;
  for (const auto* t : some) {
    parts |= parts_of_orders(*t) | (t->instance_changed ? has_instances : 0u)
             | (!t->notices.empty() ? has_notices : 0u)
             | (t->callback ? has_callbacks : 0u);
    for (const auto& x : t->notices)
      parts |= x.by_mail ? has_mails : 0u;
  }
  if (callbacks_known && (parts & has_callbacks) != 0)
    parts |= has_known_callbacks;
  to.clear();
  to.add(server);
  add_subscriptions(to, types, some);
  add_history(to, types, some);
  if (parts & has_known_orders)
    add_orders(to, types, some, true);
  if (parts & has_new_orders)
    add_orders(to, types, some, false);
  if (parts & has_instances)
    add_instances(to, types, some);
  if (parts & has_notices)
    add_notices(to, types, some);
  if (parts & has_callbacks)
    add_callbacks(to, types, some);
  return update_statement(parts);
}

void encode_insert(pg::params& to, const journal_types& types,
                   std::int64_t server, const transition_batch& some) {
  to.clear();
  to.add(server);
  to.add_rows(types.creation, some,
              [](pg::row_writer& row, const transition* t) {
                const auto& r = t->next;
                row.add(key(r.id))
                  .add(static_cast<std::int32_t>(r.epoch))
                  .add(r.user_id)
                  .add(r.plan)
                  .add(r.currency)
                  .add(r.state.amount)
                  .add(static_cast<std::int32_t>(r.state.period_days))
                  .add(number(r.state.status))
                  .add(number(r.state.deployment.at))
                  .add(r.state.deployment.phase_at)
                  .add(static_cast<std::int64_t>(r.state.revision))
                  .add(lifecycle::is_settled(r.state.deployment.at))
                  .add(t->wake_at)
                  .add(r.created_at);
              });
  auto credentials = std::vector<part<sealed_credential>>{};
  for (const auto* t : some)
    if (t->create)
      for (const auto& x : t->create->credentials)
        credentials.push_back({t->next.id, &x});
  to.add_rows(types.credential, credentials,
              [](pg::row_writer& row, const auto& x) {
                row.add(key(x.of))
                  .add(x.what->channel_type)
                  .add(x.what->key_id)
                  .add(pg::bytea{std::string_view{x.what->nonce}})
                  .add(pg::bytea{std::string_view{x.what->ciphertext}});
              });
  add_history(to, types, some);
}

void encode_inbox(pg::params& to, const journal_types& types,
                  const std::vector<inbox_job_ptr>& kept) {
  auto deliveries = std::vector<delivery>{};
  auto known = std::unordered_map<std::string, size_t>{};
  for (const auto& x : kept) {
    auto name = std::to_string(number(x->entry.gateway)) + x->entry.dedupe_key;
    const auto [where, fresh]
      = known.try_emplace(std::move(name), deliveries.size());
    if (fresh) {
      deliveries.push_back({&x->entry, &x->entry, deliveries_in(x->entry)});
      continue;
    }
    auto& met = deliveries[where->second];
    if (met.entry->replayed)
      met.entry = &x->entry;
    met.last = &x->entry;
    met.count += deliveries_in(x->entry);
  }
  to.clear();
  to.add_rows(types.callback, deliveries,
              [](pg::row_writer& row, const delivery& x) {
                write_callback(row, *x.entry, *x.last, x.count);
              });
}

} // namespace slipway

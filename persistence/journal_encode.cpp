#include "persistence/journal_encode.hpp"

#include <array>
#include <memory>
#include <string>
#include <unordered_map>

namespace slipway {

namespace {

/// What a batch of transitions may hold besides rows and history. A statement
/// names only those parts that are there: each one costs, empty or not.
enum part_bit : unsigned {
  has_orders = 1,
  has_instances = 2,
  has_notices = 4,
  has_mails = 8, ///< Never without notices.
  has_callbacks = 16,
};

constexpr auto variants = std::size_t{32};

/// `unnest($4, $5, $6)` for the next so many parameters.
std::string unnest(int& next, int count) {
  auto out = std::string{"unnest("};
  for (auto i = 0; i < count; ++i)
    out += (i == 0 ? "$" : ", $") + std::to_string(next++);
  return out + ")";
}

// Everything of a batch is one statement: the rows that are still at the
// expected revision and still ours go on, and only with them what hangs on
// them. A transition that finds its row elsewhere writes nothing and takes no
// neighbour along. Orders go by their number: of one subscription only one is
// open at any moment, and the newer one comes last.
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
  sql += unnest(next, 26);
  sql += R"sql(
    AS n (id, expected, epoch, status, start_at, end_at, phase, phase_at,
          attempt, attempt_limit, tries, progress, intent_at, queued_at,
          started_at, deadline_at, retry_at, completed_at, workflow_id,
          deployment_id, error, ended_by, settled, wake_at, updated_at,
          queue_rank)
  WHERE s.id = n.id AND s.revision = n.expected AND s.owner = $1
    AND s.epoch = n.epoch
  RETURNING s.id, s.revision, s.user_id, s.start_at
), told AS (
  INSERT INTO events (subscription_id, revision, at, kind, operation, outcome,
    summary)
  SELECT o.id, c.revision, o.at, o.kind, o.operation, o.outcome, o.summary
  FROM )sql";
  sql += unnest(next, 6);
  sql += R"sql(
    WITH ORDINALITY AS o (id, at, kind, operation, outcome, summary, line)
  JOIN changed c ON c.id = o.id
  ORDER BY o.line
))sql";
  if (parts & has_orders) {
    sql += R"sql(, paid AS (
  INSERT INTO payments AS p (subscription_id, seq, gateway, method, status,
    applied, amount_minor, refunded_minor, created_at, expires_at, paid_at,
    transaction_id, idempotency_key, pay_code, refund_seq, refund_minor,
    refund_for, refund_error, refunds_counted, ask_at, period_at)
  SELECT o.*, CASE WHEN o.applied THEN c.start_at END
  FROM )sql";
    sql += unnest(next, 20);
    sql += R"sql(
    AS o (subscription_id, seq, gateway, method, status, applied, amount_minor,
          refunded_minor, created_at, expires_at, paid_at, transaction_id,
          idempotency_key, pay_code, refund_seq, refund_minor, refund_for,
          refund_error, refunds_counted, ask_at)
  JOIN changed c ON c.id = o.subscription_id
  ORDER BY o.subscription_id, o.seq
  ON CONFLICT (subscription_id, seq) DO UPDATE SET
    status = excluded.status, applied = excluded.applied,
    refunded_minor = excluded.refunded_minor, paid_at = excluded.paid_at,
    transaction_id = excluded.transaction_id, pay_code = excluded.pay_code,
    refund_seq = excluded.refund_seq, refund_minor = excluded.refund_minor,
    refund_for = excluded.refund_for, refund_error = excluded.refund_error,
    refunds_counted = excluded.refunds_counted,
    period_at = CASE WHEN p.applied THEN p.period_at ELSE excluded.period_at END,
    ask_at = CASE WHEN p.status = excluded.status THEN p.ask_at
                  ELSE excluded.ask_at END,
    asks = CASE WHEN p.status = excluded.status THEN p.asks ELSE 0 END
))sql";
  }
  if (parts & has_instances) {
    sql += R"sql(, placed AS (
  INSERT INTO instances AS i (subscription_id, seq, status, project_id,
    environment_id, service_id, service_name, public_url, created_at,
    deleted_at, health, sleep_told)
  SELECT o.* FROM )sql";
    sql += unnest(next, 12);
    sql += R"sql(
    AS o (subscription_id, seq, status, project_id, environment_id, service_id,
          service_name, public_url, created_at, deleted_at, health, sleep_told)
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
    sql += unnest(next, 9);
    sql += R"sql(
    AS o (subscription_id, kind, instance_seq, public_url, error, duration_ms,
          amount_minor, created_at, by_mail)
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
    sql += unnest(next, 10);
    sql += R"sql(
    AS o (gateway, source, dedupe_key, received_at, order_id, subscription_id,
          reason, headers, body, deliveries)
), kept AS (
  INSERT INTO callbacks AS k (gateway, source, dedupe_key, received_at,
    last_received_at, order_id, subscription_id, outcome, reason, headers, body)
  SELECT o.gateway, o.source, o.dedupe_key, o.received_at, o.received_at,
    o.order_id, o.subscription_id, 0, o.reason, o.headers, o.body
  FROM given o JOIN changed c ON c.id = o.subscription_id
  ON CONFLICT (gateway, dedupe_key) DO UPDATE SET
    outcome = 0, reason = excluded.reason,
    (repeats, last_received_at) = (
      SELECT k.repeats + g.deliveries,
        CASE WHEN g.deliveries = 0 THEN k.last_received_at
             ELSE excluded.last_received_at END
      FROM given g WHERE g.gateway = excluded.gateway
        AND g.dedupe_key = excluded.dedupe_key)
))sql";
  }
  return sql + " SELECT id FROM changed";
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

const pg::statement& update_statement(unsigned parts) {
  static const auto all = [] {
    auto out = std::array<std::unique_ptr<update_variant>, variants>{};
    for (auto i = 0u; i < variants; ++i)
      out[i] = std::make_unique<update_variant>(i);
    return out;
  }();
  return all[parts]->statement;
}

} // namespace

const pg::statement insert_batch{"journal_insert", R"sql(
WITH people AS (
  INSERT INTO users (id, created_at, updated_at)
  SELECT DISTINCT ON (o.id) o.id, o.at, o.at FROM unnest($3, $14) AS o (id, at)
  ON CONFLICT (id) DO NOTHING
), fresh AS (
  INSERT INTO subscriptions (id, owner, epoch, user_id, plan, currency,
    amount_minor, period_days, status, phase, phase_at, revision, settled,
    wake_at, created_at, updated_at)
  SELECT o.id, $1, o.epoch, o.user_id, o.plan, o.currency, o.amount_minor,
    o.period_days, o.status, o.phase, o.phase_at, o.revision, o.settled,
    o.wake_at, o.created_at, o.created_at
  FROM unnest($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $26)
    AS o (id, user_id, plan, currency, amount_minor, period_days, status,
          phase, phase_at, revision, settled, wake_at, created_at, epoch)
  ON CONFLICT (id) DO NOTHING
  RETURNING id, revision
), sealed AS (
  INSERT INTO channel_credentials (subscription_id, channel_type, key_id,
    nonce, ciphertext)
  SELECT o.* FROM unnest($15, $16, $17, $18, $19)
    AS o (subscription_id, channel_type, key_id, nonce, ciphertext)
  JOIN fresh f ON f.id = o.subscription_id
), told AS (
  INSERT INTO events (subscription_id, revision, at, kind, operation, outcome,
    summary)
  SELECT o.id, f.revision, o.at, o.kind, o.operation, o.outcome, o.summary
  FROM unnest($20, $21, $22, $23, $24, $25)
    AS o (id, at, kind, operation, outcome, summary)
  JOIN fresh f ON f.id = o.id
)
SELECT id FROM fresh
)sql",
                                 true};

// Once a callback was applied its row says so, however often it comes again.
// What an operator feeds in once more is no delivery.
const pg::statement keep_callbacks{"journal_inbox", R"sql(
WITH given AS (
  SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
    AS o (gateway, source, dedupe_key, received_at, order_id, subscription_id,
          outcome, reason, headers, body, deliveries)
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

void add_history(pg::params& to, const transition_batch& some) {
  auto lines = std::vector<part<history_entry>>{};
  for (const auto* t : some)
    for (const auto& x : t->history)
      lines.push_back({t->next.id, &x});
  to.add_array(lines, [](const auto& x) {
    return key(x.of);
  });
  to.add_array(lines, [](const auto& x) {
    return x.what->at;
  });
  to.add_array(lines, [](const auto& x) {
    return number(x.what->kind);
  });
  to.add_array(lines, [](const auto& x) {
    return std::string_view{x.what->operation};
  });
  to.add_array(lines, [](const auto& x) {
    return std::string_view{x.what->outcome};
  });
  to.add_array(lines, [](const auto& x) {
    return std::string_view{x.what->summary};
  });
}

void add_rows(pg::params& to, const transition_batch& some) {
  const auto column = [&](auto projection) {
    to.add_array(some, [&](const transition* t) {
      return projection(*t);
    });
  };
  const auto state = [&](auto projection) {
    to.add_array(some, [&](const transition* t) {
      return projection(t->next.state);
    });
  };
  const auto deployment = [&](auto projection) {
    to.add_array(some, [&](const transition* t) {
      return projection(t->next.state.deployment);
    });
  };
  column([](const auto& t) {
    return key(t.next.id);
  });
  column([](const auto& t) {
    return static_cast<std::int64_t>(t.expected_revision);
  });
  column([](const auto& t) {
    return static_cast<std::int32_t>(t.next.epoch);
  });
  state([](const auto& s) {
    return number(s.status);
  });
  state([](const auto& s) {
    return s.start_at;
  });
  state([](const auto& s) {
    return s.end_at;
  });
  deployment([](const auto& d) {
    return number(d.at);
  });
  deployment([](const auto& d) {
    return d.phase_at;
  });
  deployment([](const auto& d) {
    return static_cast<std::int32_t>(d.attempt);
  });
  deployment([](const auto& d) {
    return static_cast<std::int32_t>(d.attempt_limit);
  });
  deployment([](const auto& d) {
    return static_cast<std::int32_t>(d.tries);
  });
  deployment([](const auto& d) {
    return static_cast<std::int16_t>(d.progress);
  });
  deployment([](const auto& d) {
    return d.intent_at;
  });
  deployment([](const auto& d) {
    return d.queued_at;
  });
  deployment([](const auto& d) {
    return d.started_at;
  });
  deployment([](const auto& d) {
    return d.deadline_at;
  });
  deployment([](const auto& d) {
    return d.retry_at;
  });
  deployment([](const auto& d) {
    return d.completed_at;
  });
  deployment([](const auto& d) {
    return std::string_view{d.workflow_id};
  });
  deployment([](const auto& d) {
    return std::string_view{d.deployment_id};
  });
  deployment([](const auto& d) {
    return std::string_view{d.error};
  });
  deployment([](const auto& d) {
    return number(d.ended_by);
  });
  deployment([](const auto& d) {
    return lifecycle::is_settled(d.at);
  });
  column([](const auto& t) {
    return t.wake_at;
  });
  column([](const auto& t) {
    return t.next.updated_at;
  });
  deployment([](const auto& d) {
    return d.queue_rank;
  });
}

/// An order with what its row holds besides.
struct changed_order {
  subscription_id of;
  const lifecycle::order* what;
  std::optional<timestamp> first_ask;
};

void add_orders(pg::params& to, const transition_batch& some) {
  auto orders = std::vector<changed_order>{};
  for (const auto* t : some)
    for (size_t i = 0; i < t->next.state.orders.size(); ++i)
      if (t->orders_changed >> i & 1)
        orders.push_back(
          {t->next.id, &t->next.state.orders[i],
           i < t->first_asks.size() ? t->first_asks[i] : std::nullopt});
  const auto column = [&](auto projection) {
    to.add_array(orders, [&](const auto& x) {
      return projection(*x.what);
    });
  };
  to.add_array(orders, [](const auto& x) {
    return key(x.of);
  });
  column([](const auto& o) {
    return static_cast<std::int32_t>(o.seq);
  });
  column([](const auto& o) {
    return number(o.gateway);
  });
  column([](const auto& o) {
    return number(o.method);
  });
  column([](const auto& o) {
    return number(o.status);
  });
  column([](const auto& o) {
    return o.applied;
  });
  column([](const auto& o) {
    return o.amount;
  });
  column([](const auto& o) {
    return o.refunded;
  });
  column([](const auto& o) {
    return o.created_at;
  });
  column([](const auto& o) {
    return o.expires_at;
  });
  column([](const auto& o) {
    return o.paid_at;
  });
  column([](const auto& o) {
    return null_if_empty(o.transaction_id);
  });
  column([](const auto& o) {
    return null_if_empty(o.idempotency_key);
  });
  column([](const auto& o) {
    return std::string_view{o.code};
  });
  column([](const auto& o) {
    return static_cast<std::int32_t>(o.refund_seq);
  });
  column([](const auto& o) {
    return o.refund_amount;
  });
  column([](const auto& o) {
    return number(o.refund_for);
  });
  column([](const auto& o) {
    return std::string_view{o.refund_error};
  });
  column([](const auto& o) {
    return std::string_view{o.refunds_counted};
  });
  to.add_array(orders, [](const auto& x) {
    return x.first_ask;
  });
}

void add_instances(pg::params& to, const transition_batch& some) {
  auto instances = std::vector<part<lifecycle::instance>>{};
  for (const auto* t : some)
    if (t->instance_changed)
      instances.push_back({t->next.id, &t->next.state.instance});
  const auto column = [&](auto projection) {
    to.add_array(instances, [&](const auto& x) {
      return projection(*x.what);
    });
  };
  to.add_array(instances, [](const auto& x) {
    return key(x.of);
  });
  column([](const auto& i) {
    return static_cast<std::int32_t>(i.seq);
  });
  column([](const auto& i) {
    return number(i.status);
  });
  column([](const auto& i) {
    return std::string_view{i.project_id};
  });
  column([](const auto& i) {
    return std::string_view{i.environment_id};
  });
  column([](const auto& i) {
    return std::string_view{i.service_id};
  });
  column([](const auto& i) {
    return std::string_view{i.service_name};
  });
  column([](const auto& i) {
    return std::string_view{i.public_url};
  });
  column([](const auto& i) {
    return i.created_at;
  });
  column([](const auto& i) {
    return i.deleted_at;
  });
  column([](const auto& i) {
    return number(i.health);
  });
  column([](const auto& i) {
    return i.sleep_told;
  });
}

void add_notices(pg::params& to, const transition_batch& some) {
  auto notices = std::vector<part<notice>>{};
  for (const auto* t : some)
    for (const auto& x : t->notices)
      notices.push_back({t->next.id, &x});
  const auto column = [&](auto projection) {
    to.add_array(notices, [&](const auto& x) {
      return projection(*x.what);
    });
  };
  to.add_array(notices, [](const auto& x) {
    return key(x.of);
  });
  column([](const auto& n) {
    return number(n.kind);
  });
  column([](const auto& n) {
    return static_cast<std::int32_t>(n.instance_seq);
  });
  column([](const auto& n) {
    return std::string_view{n.public_url};
  });
  column([](const auto& n) {
    return std::string_view{n.error};
  });
  column([](const auto& n) {
    return n.duration ? std::optional<std::int64_t>{n.duration->count()}
                      : std::nullopt;
  });
  column([](const auto& n) {
    return n.amount;
  });
  column([](const auto& n) {
    return n.at;
  });
  column([](const auto& n) {
    return n.by_mail;
  });
}

/// What an operator fed in once more is none.
std::int32_t deliveries_in(const callback_entry& x) {
  return x.replayed ? 0 : 1;
}

void add_callbacks(pg::params& to, const transition_batch& some) {
  auto entries = std::vector<const callback_entry*>{};
  for (const auto* t : some)
    if (t->callback)
      entries.push_back(t->callback.get());
  const auto column = [&](auto projection) {
    to.add_array(entries, [&](const callback_entry* x) {
      return projection(*x);
    });
  };
  column([](const auto& c) {
    return number(c.gateway);
  });
  column([](const auto& c) {
    return number(c.source);
  });
  column([](const auto& c) {
    return std::string_view{c.dedupe_key};
  });
  column([](const auto& c) {
    return c.received_at;
  });
  column([](const auto& c) {
    return std::string_view{c.order_id};
  });
  column([](const auto& c) {
    return key(c.subscription);
  });
  column([](const auto& c) {
    return std::string_view{c.reason};
  });
  column([](const auto& c) {
    return std::string_view{c.headers};
  });
  column([](const auto& c) {
    return pg::bytea{std::string_view{c.body}};
  });
  column([](const auto& c) {
    return deliveries_in(c);
  });
}

/// Deliveries of one event that met in one batch are one row.
struct delivery {
  const callback_entry* entry;
  const callback_entry* last; ///< How it fared in the end.
  std::int32_t count;
};

} // namespace

const pg::statement& encode_update(pg::params& to, std::int64_t server,
                                   const transition_batch& some) {
  auto parts = 0u;
  for (const auto* t : some) {
    parts |= (t->orders_changed != 0 ? has_orders : 0u)
             | (t->instance_changed ? has_instances : 0u)
             | (!t->notices.empty() ? has_notices : 0u)
             | (t->callback ? has_callbacks : 0u);
    for (const auto& x : t->notices)
      parts |= x.by_mail ? has_mails : 0u;
  }
  to.clear();
  to.add(server);
  add_rows(to, some);
  add_history(to, some);
  if (parts & has_orders)
    add_orders(to, some);
  if (parts & has_instances)
    add_instances(to, some);
  if (parts & has_notices)
    add_notices(to, some);
  if (parts & has_callbacks)
    add_callbacks(to, some);
  return update_statement(parts);
}

void encode_insert(pg::params& to, std::int64_t server,
                   const transition_batch& some) {
  to.clear();
  to.add(server);
  const auto column = [&](auto projection) {
    to.add_array(some, [&](const transition* t) {
      return projection(t->next);
    });
  };
  column([](const auto& r) {
    return key(r.id);
  });
  column([](const auto& r) {
    return std::string_view{r.user_id};
  });
  column([](const auto& r) {
    return std::string_view{r.plan};
  });
  column([](const auto& r) {
    return std::string_view{r.currency};
  });
  column([](const auto& r) {
    return r.state.amount;
  });
  column([](const auto& r) {
    return static_cast<std::int32_t>(r.state.period_days);
  });
  column([](const auto& r) {
    return number(r.state.status);
  });
  column([](const auto& r) {
    return number(r.state.deployment.at);
  });
  column([](const auto& r) {
    return r.state.deployment.phase_at;
  });
  column([](const auto& r) {
    return static_cast<std::int64_t>(r.state.revision);
  });
  column([](const auto& r) {
    return lifecycle::is_settled(r.state.deployment.at);
  });
  to.add_array(some, [](const transition* t) {
    return t->wake_at;
  });
  column([](const auto& r) {
    return r.created_at;
  });
  auto credentials = std::vector<part<sealed_credential>>{};
  for (const auto* t : some)
    if (t->create)
      for (const auto& x : t->create->credentials)
        credentials.push_back({t->next.id, &x});
  to.add_array(credentials, [](const auto& x) {
    return key(x.of);
  });
  to.add_array(credentials, [](const auto& x) {
    return std::string_view{x.what->channel_type};
  });
  to.add_array(credentials, [](const auto& x) {
    return std::string_view{x.what->key_id};
  });
  to.add_array(credentials, [](const auto& x) {
    return pg::bytea{std::string_view{x.what->nonce}};
  });
  to.add_array(credentials, [](const auto& x) {
    return pg::bytea{std::string_view{x.what->ciphertext}};
  });
  add_history(to, some);
  column([](const auto& r) {
    return static_cast<std::int32_t>(r.epoch);
  });
}

void encode_inbox(pg::params& to, const std::vector<inbox_job_ptr>& kept) {
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
  const auto column = [&](auto projection) {
    to.add_array(deliveries, [&](const auto& x) {
      return projection(*x.entry);
    });
  };
  column([](const auto& c) {
    return number(c.gateway);
  });
  column([](const auto& c) {
    return number(c.source);
  });
  column([](const auto& c) {
    return std::string_view{c.dedupe_key};
  });
  column([](const auto& c) {
    return c.received_at;
  });
  column([](const auto& c) {
    return std::string_view{c.order_id};
  });
  column([](const auto& c) {
    return key(c.subscription);
  });
  to.add_array(deliveries, [](const auto& x) {
    return number(x.last->outcome);
  });
  to.add_array(deliveries, [](const auto& x) {
    return std::string_view{x.last->reason};
  });
  column([](const auto& c) {
    return std::string_view{c.headers};
  });
  column([](const auto& c) {
    return pg::bytea{std::string_view{c.body}};
  });
  to.add_array(deliveries, [](const auto& x) {
    return x.count;
  });
}

} // namespace slipway

#include "persistence/rows.hpp"

#include "actors/lifecycle/implied.hpp"

namespace slipway {

using namespace lifecycle;

#define ORDER_COLUMNS                                                          \
  "p.seq, p.gateway, p.method, p.status, p.applied, p.amount_minor, "          \
  "p.refunded_minor, p.created_at, p.expires_at, p.paid_at, "                  \
  "p.transaction_id, p.idempotency_key, p.pay_code, p.refund_seq, "            \
  "p.refund_minor, p.refund_for, p.refund_error, p.refunds_counted"

const char* const order_columns = ORDER_COLUMNS;

const char* const record_columns
  = "s.id, s.user_id, s.plan, s.currency, s.amount_minor, s.period_days, "
    "s.status, s.start_at, s.end_at, s.phase, s.phase_at, s.attempt, "
    "s.attempt_limit, s.tries, s.progress, s.intent_at, s.queued_at, "
    "s.started_at, s.deadline_at, s.retry_at, s.completed_at, s.workflow_id, "
    "s.deployment_id, s.error, s.ended_by, s.revision, s.epoch, s.created_at, "
    "s.updated_at, s.queue_rank, i.seq, i.status, i.project_id, "
    "i.environment_id, "
    "i.service_id, i.service_name, i.public_url, i.created_at, "
    "i.deleted_at, i.health, i.sleep_told, " ORDER_COLUMNS;

// One look into an index for each subscription, whatever the planner believes
// of tables that have grown since it was told. No subscription has more orders
// than that: transition::orders_changed.
const char* const record_joins
  = " LEFT JOIN LATERAL (SELECT * FROM instances WHERE subscription_id = s.id "
    "ORDER BY seq DESC LIMIT 1) i ON true "
    "LEFT JOIN LATERAL (SELECT * FROM payments WHERE subscription_id = s.id "
    "ORDER BY seq LIMIT 64) p ON true ";

namespace {

/// Reads column after column of one row.
class cursor {
public:
  cursor(const pg::result& rows, int row, int column = 0)
    : rows_{rows}, row_{row}, column_{column} {
  }

  std::int64_t int64() {
    return rows_.int64(row_, column_++);
  }

  std::uint32_t uint32() {
    return static_cast<std::uint32_t>(rows_.int32(row_, column_++));
  }

  template <class Enum>
  Enum number() {
    return static_cast<Enum>(rows_.int16(row_, column_++));
  }

  bool boolean() {
    return rows_.boolean(row_, column_++);
  }

  std::string text() {
    return std::string{rows_.text(row_, column_++)};
  }

  std::string text_or_empty() {
    return std::string{rows_.opt_text(row_, column_++).value_or("")};
  }

  timestamp time() {
    return rows_.time(row_, column_++);
  }

  std::optional<timestamp> opt_time() {
    return rows_.opt_time(row_, column_++);
  }

  [[nodiscard]] bool next_is_null() const {
    return rows_.is_null(row_, column_);
  }

  void skip(int columns) {
    column_ += columns;
  }

private:
  const pg::result& rows_;
  int row_;
  int column_;
};

constexpr auto subscription_columns = 30;

constexpr auto instance_columns = 11;

record read_subscription(cursor& in) {
  auto x = record{};
  auto& s = x.state;
  x.id = subscription_id{static_cast<std::uint64_t>(in.int64())};
  x.user_id = in.text();
  x.plan = in.text();
  x.currency = in.text();
  s.amount = in.int64();
  s.period_days = in.uint32();
  s.status = in.number<subscription_status>();
  s.start_at = in.opt_time();
  s.end_at = in.opt_time();
  auto& d = s.deployment;
  d.at = in.number<phase>();
  d.phase_at = in.time();
  d.attempt = in.uint32();
  d.attempt_limit = in.uint32();
  d.tries = in.uint32();
  d.progress = in.number<std::uint8_t>();
  d.intent_at = in.opt_time();
  d.queued_at = in.opt_time();
  d.started_at = in.opt_time();
  d.deadline_at = in.opt_time();
  d.retry_at = in.opt_time();
  d.completed_at = in.opt_time();
  d.workflow_id = in.text();
  d.deployment_id = in.text();
  d.error = in.text();
  d.ended_by = in.number<actor_kind>();
  s.revision = static_cast<std::uint64_t>(in.int64());
  x.epoch = in.uint32();
  x.created_at = in.time();
  x.updated_at = in.time();
  d.queue_rank = in.opt_time();
  return x;
}

instance read_instance(cursor& in) {
  auto x = instance{};
  if (in.next_is_null()) {
    in.skip(instance_columns);
    return x;
  }
  x.seq = in.uint32();
  x.status = in.number<instance_status>();
  x.project_id = in.text();
  x.environment_id = in.text();
  x.service_id = in.text();
  x.service_name = in.text();
  x.public_url = in.text();
  x.created_at = in.time();
  x.deleted_at = in.opt_time();
  x.health = in.number<instance_health>();
  x.sleep_told = in.boolean();
  return x;
}

order read_order_at(cursor in) {
  auto x = order{};
  x.seq = in.uint32();
  x.gateway = in.number<payment_gateway>();
  x.method = in.number<payment_method>();
  x.status = in.number<order_status>();
  x.applied = in.boolean();
  x.amount = in.int64();
  x.refunded = in.int64();
  x.created_at = in.time();
  x.expires_at = in.time();
  x.paid_at = in.opt_time();
  x.transaction_id = in.text_or_empty();
  x.idempotency_key = in.text_or_empty();
  x.code = in.text();
  x.refund_seq = in.uint32();
  x.refund_amount = in.int64();
  x.refund_for = in.number<refund_cause>();
  x.refund_error = in.text();
  x.refunds_counted = in.text();
  return x;
}

} // namespace

std::vector<record> read_records(const pg::result& rows) {
  auto out = std::vector<record>{};
  for (auto row = 0; row < rows.rows(); ++row) {
    auto in = cursor{rows, row};
    const auto id
      = subscription_id{static_cast<std::uint64_t>(rows.int64(row, 0))};
    if (out.empty() || out.back().id != id) {
      out.push_back(read_subscription(in));
      out.back().state.instance = read_instance(in);
      imply_instance(out.back().state);
    } else {
      in.skip(subscription_columns + instance_columns);
    }
    if (!in.next_is_null())
      out.back().state.orders.push_back(read_order_at(in));
  }
  return out;
}

order read_order(const pg::result& rows, int row, int column) {
  return read_order_at({rows, row, column});
}

notice read_notice(const pg::result& rows, int row, int column) {
  auto x = notice{};
  x.kind = static_cast<notice_kind>(rows.int16(row, column));
  x.instance_seq = static_cast<std::uint32_t>(rows.int32(row, column + 1));
  x.public_url = std::string{rows.text(row, column + 2)};
  x.error = std::string{rows.text(row, column + 3)};
  if (const auto ms = rows.opt_int64(row, column + 4))
    x.duration = millis{*ms};
  x.amount = rows.int64(row, column + 5);
  x.at = rows.time(row, column + 6);
  return x;
}

} // namespace slipway

#define CAF_SUITE persistence_schema

#include "tests/integration/persistence/world.hpp"

using namespace slipway;
using namespace slipway::test;

namespace {

constexpr auto check_violation = "23514 ";

constexpr auto unique_violation = "23505 ";

constexpr auto foreign_key_violation = "23503 ";

/// One paid subscription, and somebody who writes past the machine.
struct fixture : world {
  fixture() {
    auto x = paid(1);
    store(x.step(lifecycle::slot_granted{after(3'000)}));
    auto y = life{2};
    store(y.create());
    store(y.order());
  }

  std::string refusal(const std::string& sql) {
    return db.refusal(sql);
  }

  static std::string instance(int seq, int status, const char* deleted_at) {
    return "INSERT INTO instances (subscription_id, seq, status, created_at, "
           "deleted_at) VALUES (1, "
           + std::to_string(seq) + ", " + std::to_string(status) + ", now(), "
           + deleted_at + ")";
  }

  probe db{url};
};

} // namespace

CAF_TEST_FIXTURE_SCOPE(schema_tests, fixture)

CAF_TEST(two live instances are impossible) {
  CAF_CHECK_EQUAL(refusal(instance(2, 0, "NULL")),
                  unique_violation + std::string{"instances_one_live"});
  CAF_CHECK_EQUAL(refusal(instance(2, 4, "now()")), "");
}

CAF_TEST(an instance is deleted with a date or not at all) {
  CAF_CHECK_EQUAL(refusal(instance(2, 4, "NULL")),
                  check_violation + std::string{"instances_deleted"});
  CAF_CHECK_EQUAL(refusal(instance(2, 2, "now()")),
                  check_violation + std::string{"instances_deleted"});
}

CAF_TEST(an unpaid order cannot have bought anything) {
  CAF_CHECK_EQUAL(refusal("UPDATE payments SET applied = true "
                          "WHERE subscription_id = 2"),
                  check_violation + std::string{"payments_applied_is_paid"});
  CAF_CHECK_EQUAL(refusal("UPDATE payments SET applied = true, status = 2 "
                          "WHERE subscription_id = 2"),
                  check_violation + std::string{"payments_applied_is_paid"});
}

CAF_TEST(an order that is being closed is unpaid) {
  CAF_CHECK_EQUAL(
    refusal("UPDATE payments SET status = 5 WHERE subscription_id = 2"), "");
  CAF_CHECK_EQUAL(refusal("UPDATE payments SET applied = true "
                          "WHERE subscription_id = 2"),
                  check_violation + std::string{"payments_applied_is_paid"});
  CAF_CHECK_EQUAL(refusal("UPDATE payments SET status = 6, applied = false "
                          "WHERE subscription_id = 1"),
                  check_violation + std::string{"payments_status_check"});
}

CAF_TEST(a refund has a request that fits) {
  const auto set = [&](const std::string& what) {
    return refusal("UPDATE payments SET " + what
                   + " WHERE subscription_id = 1");
  };
  const auto asked_for
    = check_violation + std::string{"payments_refunding_was_asked_for"};
  CAF_CHECK_EQUAL(set("status = 3"), asked_for);
  CAF_CHECK_EQUAL(set("status = 3, refund_seq = 1"), asked_for);
  CAF_CHECK_EQUAL(set("status = 3, refund_seq = 1, refund_minor = 9900"), "");
  const auto fits = check_violation + std::string{"payments_refund_fits"};
  CAF_CHECK_EQUAL(set("refund_minor = 9901"), fits);
  CAF_CHECK_EQUAL(set("refund_seq = -1, status = 1"), fits);
  CAF_CHECK_EQUAL(set("refund_for = 5"), fits);
  CAF_CHECK_EQUAL(set("refund_for = 4"), "");
}

CAF_TEST(a paid order has its proof) {
  for (const auto* missing : {"paid_at", "transaction_id"})
    CAF_CHECK_EQUAL(refusal(std::string{"UPDATE payments SET "} + missing
                            + " = NULL WHERE subscription_id = 1"),
                    check_violation + std::string{"payments_paid_has_proof"});
}

CAF_TEST(one payment counts once) {
  CAF_CHECK_EQUAL(refusal("UPDATE payments SET status = 1, paid_at = now(), "
                          "transaction_id = 'tx-1' WHERE subscription_id = 2"),
                  unique_violation
                    + std::string{"payments_one_per_transaction"});
  // Another gateway numbers its payments by itself.
  CAF_CHECK_EQUAL(
    refusal("UPDATE payments SET status = 1, paid_at = now(), gateway = 1, "
            "transaction_id = 'tx-1' WHERE subscription_id = 2"),
    "");
}

CAF_TEST(an idempotency key makes one order) {
  const auto order = [](int seq) {
    return "INSERT INTO payments (subscription_id, seq, gateway, method, "
           "status, amount_minor, created_at, expires_at, idempotency_key) "
           "VALUES (2, "
           + std::to_string(seq) + ", 0, 0, 0, 9900, now(), now(), 'key')";
  };
  CAF_CHECK_EQUAL(refusal(order(2)), "");
  CAF_CHECK_EQUAL(refusal(order(3)),
                  unique_violation + std::string{"payments_one_per_key"});
}

CAF_TEST(no more goes back than was paid) {
  const auto refund = [](const char* amount) {
    return std::string{"UPDATE payments SET refunded_minor = "} + amount
           + " WHERE subscription_id = 1";
  };
  const auto refused = check_violation + std::string{"payments_check"};
  CAF_CHECK_EQUAL(refusal(refund("9900")), "");
  CAF_CHECK_EQUAL(refusal(refund("9901")), refused);
  CAF_CHECK_EQUAL(refusal(refund("-1")), refused);
}

CAF_TEST(an active subscription has a period) {
  CAF_CHECK_EQUAL(refusal("UPDATE subscriptions SET status = 1 WHERE id = 2"),
                  check_violation
                    + std::string{"subscriptions_active_was_paid"});
  CAF_CHECK_EQUAL(
    refusal("UPDATE subscriptions SET end_at = NULL WHERE id = 1"),
    check_violation + std::string{"subscriptions_period"});
}

CAF_TEST(numbers stay within what the machine knows) {
  const auto field = [&](const char* assignment) {
    return refusal(std::string{"UPDATE subscriptions SET "} + assignment
                   + " WHERE id = 1")
      .substr(0, 6);
  };
  CAF_CHECK_EQUAL(field("phase = 16"), check_violation);
  CAF_CHECK_EQUAL(field("phase = -1"), check_violation);
  CAF_CHECK_EQUAL(field("status = 6"), check_violation);
  CAF_CHECK_EQUAL(field("progress = 101"), check_violation);
  CAF_CHECK_EQUAL(field("amount_minor = 0"), check_violation);
  CAF_CHECK_EQUAL(field("period_days = 0"), check_violation);
  CAF_CHECK_EQUAL(field("revision = 0"), check_violation);
  for (std::uint8_t i = 0; i < lifecycle::phase_count; ++i)
    CAF_CHECK_EQUAL(field(("phase = " + std::to_string(i)).c_str()), "");
  const auto health = [&](int number) {
    return refusal("UPDATE instances SET health = " + std::to_string(number));
  };
  const auto refused = check_violation + std::string{"instances_health_check"};
  CAF_CHECK_EQUAL(health(-1), refused);
  CAF_CHECK_EQUAL(health(lifecycle::instance_health_count), refused);
  for (auto i = 0; i < lifecycle::instance_health_count; ++i)
    CAF_CHECK_EQUAL(health(i), "");
}

CAF_TEST(whoever waits for a slot has a place) {
  const auto set = [&](const std::string& what) {
    return refusal("UPDATE subscriptions SET " + what + " WHERE id = 1");
  };
  const auto refused
    = check_violation + std::string{"subscriptions_queued_has_rank"};
  CAF_CHECK_EQUAL(set("phase = 2"), "");
  CAF_CHECK_EQUAL(set("queue_rank = NULL"), refused);
  CAF_CHECK_EQUAL(set("queued_at = NULL"), refused);
  // What is being taken away has given it up.
  for (auto at : {10, 11, 14})
    CAF_CHECK_EQUAL(set("queue_rank = NULL, phase = " + std::to_string(at)),
                    "");
  CAF_CHECK_EQUAL(set("phase = 2"), refused);
}

CAF_TEST(no two live instances share a project) {
  // A second subscription with an instance of its own.
  const auto second
    = "INSERT INTO instances (subscription_id, seq, status, created_at, "
      "project_id) VALUES (2, 1, 0, now(), 'p')";
  CAF_CHECK_EQUAL(refusal("UPDATE instances SET project_id = 'p'"), "");
  const auto refused = unique_violation + std::string{"instances_by_project"};
  CAF_CHECK_EQUAL(refusal(second), refused);
  // One that is gone leaves it; those without one are as many as they like.
  CAF_CHECK_EQUAL(
    refusal("UPDATE instances SET status = 4, deleted_at = now()"), "");
  CAF_CHECK_EQUAL(refusal(second), "");
  CAF_CHECK_EQUAL(refusal("UPDATE instances SET status = 0, deleted_at = NULL "
                          "WHERE subscription_id = 1"),
                  refused);
  CAF_CHECK_EQUAL(refusal("UPDATE instances SET project_id = ''"), "");
  CAF_CHECK_EQUAL(refusal("UPDATE instances SET status = 0, deleted_at = NULL"),
                  "");
}

CAF_TEST(an orphan is one project and has a reason) {
  const auto orphan = [](const std::string& project, const char* reason) {
    return "INSERT INTO orphans (project_id, name, subscription_id, reason, "
           "seen_at, last_seen_at) VALUES ('"
           + project + "', 'slipway-1', 1, " + reason + ", now(), now())";
  };
  CAF_CHECK_EQUAL(refusal(orphan("", "'r'")),
                  check_violation + std::string{"orphans_project_id_check"});
  CAF_CHECK_EQUAL(refusal(orphan("p", "NULL")).substr(0, 6), "23502 ");
  CAF_CHECK_EQUAL(refusal(orphan("p", "'r'")), "");
  CAF_CHECK_EQUAL(refusal(orphan("p", "'r'")),
                  unique_violation + std::string{"orphans_pkey"});
  CAF_CHECK_EQUAL(
    probe{url}.count("orphans WHERE gone_at IS NULL AND NOT removed_by_us"), 1);
}

CAF_TEST(nothing hangs in the air) {
  CAF_CHECK_EQUAL(refusal("UPDATE subscriptions SET owner = 4711").substr(0, 6),
                  foreign_key_violation);
  CAF_CHECK_EQUAL(refusal("DELETE FROM users").substr(0, 6),
                  foreign_key_violation);
  CAF_CHECK_EQUAL(refusal("DELETE FROM subscriptions").substr(0, 6),
                  foreign_key_violation);
  CAF_CHECK_EQUAL(refusal("INSERT INTO channel_credentials VALUES "
                          "(99, 'T', 'k', 'n', 'c')")
                    .substr(0, 6),
                  foreign_key_violation);
}

CAF_TEST(one event of a gateway is one row and one notice is one row) {
  const auto callback
    = "INSERT INTO callbacks (gateway, dedupe_key, received_at, "
      "last_received_at, order_id, outcome, headers, body) "
      "VALUES (0, 'k', now(), now(), '', 0, '', '')";
  CAF_CHECK_EQUAL(refusal(callback), "");
  CAF_CHECK_EQUAL(refusal(callback),
                  unique_violation + std::string{"callbacks_one_per_event"});
  CAF_CHECK_EQUAL(
    refusal("INSERT INTO notifications (user_id, subscription_id, revision, "
            "kind, instance_seq, public_url, error, amount_minor, created_at) "
            "SELECT user_id, subscription_id, revision, kind, instance_seq, "
            "public_url, error, amount_minor, created_at FROM notifications"),
    unique_violation + std::string{"notifications_once"});
}

CAF_TEST_FIXTURE_SCOPE_END()

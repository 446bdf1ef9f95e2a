#define CAF_SUITE persistence_schema

#include "tests/integration/persistence/world.hpp"

using namespace slipway;
using namespace slipway::test;

namespace {

constexpr auto check_violation = "23514 ";

constexpr auto unique_violation = "23505 ";

constexpr auto foreign_key_violation = "23503 ";

constexpr auto out_of_range = "2202E ";

/// One paid subscription, and somebody who writes past the machine.
struct fixture : world {
  fixture() {
    auto x = paid(1);
    store(x.step(lifecycle::slot_granted{after(3'000)}));
    // What has no project yet has no row of its own, either.
    db.run(instance(1, 0, "NULL"));
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
  CAF_CHECK_EQUAL(refusal("UPDATE payments SET status = 6 "
                          "WHERE subscription_id = 2"),
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
  CAF_CHECK_EQUAL(set("refund_minor = 9901"),
                  check_violation + std::string{"payments_amounts_fit"});
  CAF_CHECK_EQUAL(set("refund_seq = -1, status = 1"),
                  check_violation + std::string{"payments_counts_check"});
  CAF_CHECK_EQUAL(set("refund_for = 5"),
                  check_violation + std::string{"payments_refund_for_check"});
  CAF_CHECK_EQUAL(set("refund_for = 4"), "");
}

CAF_TEST(a paid order has its proof) {
  const auto proof = check_violation + std::string{"payments_paid_has_proof"};
  CAF_CHECK_EQUAL(
    refusal("UPDATE payments SET paid_at = NULL WHERE subscription_id = 1"),
    proof);
  CAF_CHECK_EQUAL(refusal("UPDATE payments SET status = 1, paid_at = now() "
                          "WHERE subscription_id = 2"),
                  proof);
}

CAF_TEST(one payment counts once) {
  CAF_CHECK_EQUAL(refusal("UPDATE payments SET status = 1, paid_at = now(), "
                          "transaction_id = 'tx-1' WHERE subscription_id = 2"),
                  unique_violation
                    + std::string{"payments_one_per_transaction"});
  // Another gateway numbers its payments by itself.
  CAF_CHECK_EQUAL(
    refusal("UPDATE payments SET status = 1, paid_at = now(), gateway = 1, "
            "method = 3, transaction_id = 'tx-1' WHERE subscription_id = 2"),
    "");
}

CAF_TEST(an idempotency key makes one order) {
  const auto order = [](int seq) {
    return "INSERT INTO payments (subscription_id, seq, gateway, method, "
           "status, amount_minor, created_at, expires_at, idempotency_key) "
           "VALUES (2, "
           + std::to_string(seq) + ", 0, 0, 2, 9900, now(), now(), 'key')";
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
  const auto refused = check_violation + std::string{"payments_amounts_fit"};
  CAF_CHECK_EQUAL(refusal(refund("9899")), "");
  CAF_CHECK_EQUAL(refusal(refund("9901")), refused);
  CAF_CHECK_EQUAL(refusal(refund("-1")), refused);
}

CAF_TEST(an active subscription has a period) {
  CAF_CHECK_EQUAL(refusal("UPDATE subscriptions SET status = 1 WHERE id = 2"),
                  check_violation
                    + std::string{"subscriptions_bought_has_period"});
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
  // There is no stage for it.
  CAF_CHECK_EQUAL(field("phase = 16"), out_of_range);
  CAF_CHECK_EQUAL(field("phase = -1"), out_of_range);
  CAF_CHECK_EQUAL(field("status = 6"), check_violation);
  CAF_CHECK_EQUAL(field("progress = 101"), check_violation);
  CAF_CHECK_EQUAL(field("amount_minor = 0"), check_violation);
  CAF_CHECK_EQUAL(field("period_days = 0"), check_violation);
  CAF_CHECK_EQUAL(field("revision = 0"), check_violation);
  // With all that any of them needs.
  CAF_CHECK_EQUAL(
    field("completed_at = now(), retry_at = now(), progress = 100"), "");
  for (std::uint8_t i = 0; i < lifecycle::phase_count; ++i) {
    const auto settled
      = lifecycle::is_settled(static_cast<lifecycle::phase>(i));
    const auto phase = "phase = " + std::to_string(i) + ", settled = ";
    CAF_CHECK_EQUAL(field((phase + (settled ? "true" : "false")).c_str()), "");
    CAF_CHECK_EQUAL(refusal("UPDATE subscriptions SET " + phase
                            + (settled ? "false" : "true") + " WHERE id = 1"),
                    check_violation
                      + std::string{"subscriptions_settled_is_a_phase"});
  }
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
  for (auto at : {10, 14})
    CAF_CHECK_EQUAL(set("queue_rank = NULL, phase = " + std::to_string(at)),
                    "");
  CAF_CHECK_EQUAL(set("phase = 11, settled = true, completed_at = now()"), "");
  CAF_CHECK_EQUAL(set("phase = 2, settled = false"), refused);
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
  // Whose owner is not there is nobody's: old servers leave without asking.
  CAF_CHECK_EQUAL(refusal("UPDATE subscriptions SET owner = 4711"), "");
  CAF_CHECK_EQUAL(refusal("DELETE FROM users").substr(0, 6),
                  foreign_key_violation);
  CAF_CHECK_EQUAL(refusal("DELETE FROM subscriptions").substr(0, 6),
                  foreign_key_violation);
  CAF_CHECK_EQUAL(refusal("INSERT INTO channel_credentials VALUES "
                          "(99, 'T', 'k', 'n', 'c')")
                    .substr(0, 6),
                  foreign_key_violation);
}

CAF_TEST(one event of a gateway is one row) {
  const auto callback
    = "INSERT INTO callbacks (gateway, dedupe_key, received_at, "
      "last_received_at, order_id, outcome, headers, body) "
      "VALUES (0, 'k', now(), now(), '', 0, '', '')";
  CAF_CHECK_EQUAL(refusal(callback), "");
  CAF_CHECK_EQUAL(refusal(callback),
                  unique_violation + std::string{"callbacks_one_per_event"});
}

CAF_TEST(one order is open at a time) {
  CAF_CHECK_EQUAL(
    refusal("INSERT INTO payments (subscription_id, seq, gateway, method, "
            "status, amount_minor, created_at, expires_at) VALUES "
            "(2, 2, 0, 0, 0, 9900, now(), now())"),
    unique_violation + std::string{"payments_one_open"});
}

CAF_TEST(one payment buys one period and one period is bought once) {
  CAF_CHECK_EQUAL(probe{url}.count("payments p JOIN subscriptions s "
                                   "ON s.id = p.subscription_id "
                                   "WHERE p.applied AND p.period_at "
                                   "= s.start_at"),
                  1);
  CAF_CHECK_EQUAL(
    refusal("INSERT INTO payments (subscription_id, seq, gateway, method, "
            "status, applied, amount_minor, created_at, expires_at, paid_at, "
            "transaction_id, period_at) SELECT subscription_id, 2, 0, 0, 1, "
            "true, 9900, now(), now(), now(), 'tx-2', period_at FROM payments "
            "WHERE subscription_id = 1"),
    unique_violation + std::string{"payments_one_per_period"});
  CAF_CHECK_EQUAL(refusal("UPDATE payments SET period_at = now() "
                          "WHERE subscription_id = 2"),
                  check_violation + std::string{"payments_period_was_bought"});
}

CAF_TEST(money that came does not go away again) {
  const auto change = [&](const char* what) {
    return refusal(std::string{"UPDATE payments SET "} + what
                   + " WHERE subscription_id = 1");
  };
  const auto stays = check_violation + std::string{"payments_stay_paid"};
  for (const auto* what :
       {"transaction_id = 'tx-9'", "period_at = NULL, applied = false",
        "period_at = NULL", "period_at = now()", "amount_minor = 9901",
        "status = 0, applied = false, period_at = NULL, paid_at = NULL, "
        "transaction_id = NULL"})
    CAF_CHECK_EQUAL(change(what), stays);
  // Paid and not paid at once is no row at all.
  const auto proof = check_violation + std::string{"payments_paid_has_proof"};
  CAF_CHECK_EQUAL(change("status = 0, applied = false"), proof);
  CAF_CHECK_EQUAL(change("status = 2"), proof);
  CAF_CHECK_EQUAL(change("applied = false"),
                  check_violation + std::string{"payments_period_was_bought"});
  CAF_CHECK_EQUAL(change("status = 1, refunded_minor = 2"), "");
  CAF_CHECK_EQUAL(change("refunded_minor = 1"), stays);
  // A payment that bought nothing does not buy later on.
  CAF_CHECK_EQUAL(refusal("UPDATE payments SET status = 1, paid_at = now(), "
                          "transaction_id = 'tx-2' WHERE subscription_id = 2"),
                  "");
  CAF_CHECK_EQUAL(
    refusal("UPDATE payments SET applied = true WHERE subscription_id = 2"),
    stays);
}

CAF_TEST(neither fences nor owners go back) {
  db.run("INSERT INTO users (id, created_at, updated_at) "
         "VALUES ('other', now(), now()); "
         "UPDATE subscriptions SET epoch = epoch + 1");
  for (const auto* change : {"epoch = epoch - 1", "user_id = 'other'"})
    CAF_CHECK_EQUAL(refusal(std::string{"UPDATE subscriptions SET "} + change
                            + " WHERE id = 1"),
                    check_violation + std::string{"subscriptions_go_forward"});
}

CAF_TEST(what the machine knows to be impossible is refused) {
  struct {
    const char* change;
    const char* constraint;
  } const cases[]{
    {"subscriptions SET end_at = start_at WHERE id = 1",
     "subscriptions_period_has_length"},
    {"subscriptions SET status = 2 WHERE id = 2",
     "subscriptions_bought_has_period"},
    {"subscriptions SET status = 5 WHERE id = 2",
     "subscriptions_bought_has_period"},
    {"subscriptions SET status = 0 WHERE id = 1",
     "subscriptions_unpaid_is_idle"},
    {"subscriptions SET deadline_at = NULL WHERE id = 1",
     "subscriptions_attempt_has_deadline"},
    {"subscriptions SET started_at = NULL WHERE id = 1",
     "subscriptions_attempt_has_deadline"},
    {"subscriptions SET attempt = 0 WHERE id = 1",
     "subscriptions_attempt_within_limit"},
    {"subscriptions SET attempt = 9 WHERE id = 1",
     "subscriptions_attempt_within_limit"},
    {"subscriptions SET phase = 12 WHERE id = 1", "subscriptions_backoff_ends"},
    {"subscriptions SET phase = 8, settled = true, progress = 100 WHERE id = 1",
     "subscriptions_end_has_moment"},
    {"subscriptions SET phase = 9, settled = true WHERE id = 1",
     "subscriptions_end_has_moment"},
    {"subscriptions SET phase = 8, settled = true, completed_at = now() "
     "WHERE id = 1",
     "subscriptions_running_is_complete"},
    {"subscriptions SET tries = -1 WHERE id = 1", "subscriptions_counts_check"},
    {"subscriptions SET attempt_limit = -1 WHERE id = 2",
     "subscriptions_counts_check"},
    {"instances SET status = 2", "instances_running_has_project"},
    {"instances SET status = 1, project_id = 'p'",
     "instances_running_has_project"},
    {"payments SET method = 3 WHERE subscription_id = 2",
     "payments_method_of_gateway"},
    {"payments SET gateway = 1 WHERE subscription_id = 2",
     "payments_method_of_gateway"},
    {"payments SET status = 4 WHERE subscription_id = 1",
     "payments_refunded_in_full"},
    {"payments SET refunded_minor = 9900 WHERE subscription_id = 1",
     "payments_refunded_in_full"},
    {"payments SET refunded_minor = 1 WHERE subscription_id = 2",
     "payments_unpaid_gives_nothing_back"},
    {"payments SET refund_seq = 1 WHERE subscription_id = 2",
     "payments_unpaid_gives_nothing_back"},
    {"payments SET transaction_id = 'tx-2' WHERE subscription_id = 2",
     "payments_paid_has_proof"},
    {"payments SET paid_at = now() WHERE subscription_id = 2",
     "payments_paid_has_proof"},
    {"payments SET method = 6, gateway = 2 WHERE subscription_id = 2",
     "payments_method_of_gateway"},
    {"payments SET method = -1 WHERE subscription_id = 2",
     "payments_method_of_gateway"},
    {"payments SET asks = -1 WHERE subscription_id = 2",
     "payments_counts_check"},
    {"payments SET seq = 0 WHERE subscription_id = 2", "payments_counts_check"},
    {"payments SET refund_error = 'no' WHERE subscription_id = 2",
     "payments_failed_refund_is_paid"},
    {"automation SET the_only = false", "automation_the_only_check"},
  };
  for (const auto& x : cases)
    CAF_CHECK_EQUAL(refusal(std::string{"UPDATE "} + x.change),
                    check_violation + std::string{x.constraint});
  CAF_CHECK_EQUAL(
    refusal("INSERT INTO callbacks (gateway, dedupe_key, received_at, "
            "last_received_at, order_id, outcome, headers, body) "
            "VALUES (0, 'k', now(), now(), '', 5, '', '')"),
    check_violation + std::string{"callbacks_numbers_check"});
  CAF_CHECK_EQUAL(
    refusal("INSERT INTO outbox (subscription_id, revision, kind, user_id, "
            "instance_seq, public_url, error, amount_minor, created_at, "
            "next_at, status) VALUES (1, 1, 1, 'u', 1, '', '', 1, now(), "
            "now(), 1)"),
    check_violation + std::string{"outbox_done_has_moment"});
  CAF_CHECK_EQUAL(
    refusal("INSERT INTO orphans (project_id, name, subscription_id, reason, "
            "seen_at, last_seen_at, removed_by_us) VALUES ('p', 'n', 1, 'r', "
            "now(), now(), true)"),
    check_violation + std::string{"orphans_removed_is_gone"});
  CAF_CHECK_EQUAL(refusal("INSERT INTO automation (enabled, since, change) "
                          "VALUES (true, now(), 1)"),
                  unique_violation + std::string{"automation_pkey"});
}

CAF_TEST(all constraints hold for all rows) {
  CAF_CHECK_EQUAL(probe{url}.count("pg_constraint WHERE NOT convalidated"), 0);
}

CAF_TEST_FIXTURE_SCOPE_END()

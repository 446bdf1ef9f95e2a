#define CAF_SUITE persistence_prune

#include "persistence/prune.hpp"

#include "tests/integration/persistence/world.hpp"

using namespace slipway;
using namespace slipway::lifecycle;
using namespace slipway::test;

using namespace std::chrono_literals;

// Goal: what is over leaves, and nothing else does.

namespace {

using query::prunable;

struct fixture : world {
  /// Everything about it happened so many days before the others.
  void age(const std::string& table, const std::string& columns, int days,
           const std::string& where = "true") {
    auto set = std::string{};
    for (auto at = std::size_t{0}; at < columns.size();) {
      const auto end = std::min(columns.find(' ', at), columns.size());
      const auto name = columns.substr(at, end - at);
      set += (set.empty() ? "" : ", ") + name + " = " + name + " - interval '"
             + std::to_string(days) + " days'";
      at = end + 1;
    }
    db.run("UPDATE " + table + " SET " + set + " WHERE " + where);
  }

  /// Walks to the end. @returns how many rows left.
  std::int64_t prune(prunable what, std::size_t limit = 500) {
    auto removed = std::int64_t{0};
    auto step
      = query::prune{what, 0, after(0) - 400 * std::chrono::hours{24}, limit};
    for (auto i = 0; i < 1'000; ++i) {
      const auto found = must(first->ask(step));
      removed += found.removed;
      step.after = found.next;
      if (found.next == 0)
        return removed;
    }
    CAF_FAIL("it never ends");
  }

  callback_entry
  entry(std::uint64_t of, const std::string& key, callback_outcome is) {
    auto out = callback_entry{};
    out.dedupe_key = key;
    out.received_at = after(0);
    out.order_id = to_text(order_ref{subscription_id{of}, 1});
    out.subscription = subscription_id{of};
    out.outcome = is;
    out.headers = "A: b";
    out.body = "body";
    return out;
  }

  void keep(callback_entry what) {
    CAF_REQUIRE(wait_for(first->send(std::move(what))) == errc::none);
  }

  /// Paid, ran, and the period is over.
  life expired(std::uint64_t id) {
    auto x = paid(id);
    const auto n = std::to_string(id);
    store(x.step(slot_granted{after(3'000)}));
    store(x.step(project_ready{after(3'001), 1, "p-" + n, "e-1", false}));
    store(x.step(template_deployed{after(3'002), 1, ""}));
    store(
      x.step(configured{after(3'003), 1, "s-1", "web", "d-1", "https://x"}));
    store(x.step(deployment_observed{after(3'004), 1, condition::running, 100,
                                     "SUCCESS", "", 0}));
    store(x.step(woke{*x.now.state.end_at, 0}));
    return x;
  }

  void stop(life& x) {
    const auto at = *x.now.state.end_at + 1h;
    store(x.step(terminate_requested{at, actor_kind::operator_}));
    store(x.step(cancellation_confirmed{at + 1s}));
  }

  std::int64_t events(std::uint64_t of, const std::string& more = "") {
    return db.count("events WHERE subscription_id = " + std::to_string(of)
                    + more);
  }

  probe db{url};
};

} // namespace

CAF_TEST_FIXTURE_SCOPE(prune_tests, fixture)

CAF_TEST(callbacks leave when they are old and settled) {
  auto over = expired(1);
  keep(entry(1, "applied", callback_outcome::applied));
  keep(entry(1, "acknowledged", callback_outcome::acknowledged));
  keep(entry(1, "contradicted", callback_outcome::contradicted));
  keep(entry(1, "settled", callback_outcome::contradicted));
  keep(entry(1, "young", callback_outcome::applied));
  keep(entry(1, "repeated lately", callback_outcome::applied));
  must(first->ask(query::keep_forged{entry(1, "forged", {})}));
  db.run(
    "UPDATE callbacks SET settled_at = now() WHERE dedupe_key = 'settled'");
  age("callbacks", "received_at last_received_at", 401,
      "dedupe_key <> 'young'");
  db.run("UPDATE callbacks SET last_received_at = now() "
         "WHERE dedupe_key = 'repeated lately'");
  CAF_CHECK_EQUAL(prune(prunable::callbacks, 2), 3);
  CAF_CHECK_EQUAL(db.count("callbacks WHERE dedupe_key IN ('contradicted', "
                           "'young', 'repeated lately') OR outcome = 4"),
                  4);
  CAF_CHECK_EQUAL(prune(prunable::callbacks), 0);
}

CAF_TEST(callbacks of what is not settled or proves the present stay) {
  auto under_way = paid(1);
  keep(entry(1, "under way", callback_outcome::applied));
  auto over = expired(2);
  keep(entry(2, "refunding", callback_outcome::applied));
  store(over.step(refund_requested{after(9'000), 1, refund_cause::operator_}));
  auto active = expired(3);
  store(active.step(order_requested{*active.now.state.end_at + 1h,
                                    payment_gateway::alipay, payment_method::qr,
                                    *active.now.state.end_at + 2h, ""}));
  keep(entry(3, "former period", callback_outcome::applied));
  auto again = entry(3, "present period", callback_outcome::applied);
  again.received_at = *active.now.state.end_at + 1h;
  store(
    active.step(payment_settled{again.received_at, 2, payment_gateway::alipay,
                                "tx-again", 9'900, again.received_at}));
  keep(again);
  // All of it is long ago.
  age("callbacks", "received_at last_received_at", 500);
  age("subscriptions", "start_at end_at", 500);
  CAF_CHECK_EQUAL(prune(prunable::callbacks), 1);
  CAF_CHECK_EQUAL(db.count("callbacks WHERE dedupe_key = 'former period'"), 0);
}

CAF_TEST(a purged callback that is repeated buys nothing again) {
  auto x = expired(1);
  keep(entry(1, "applied", callback_outcome::applied));
  age("callbacks", "received_at last_received_at", 401);
  CAF_CHECK_EQUAL(prune(prunable::callbacks), 1);
  const auto made = decide(x.now.state,
                           payment_settled{after(0), 1, payment_gateway::alipay,
                                           "tx-1", 9'900, after(0)},
                           x.rules);
  CAF_CHECK(made.is == verdict::already_applied);
  keep(entry(1, "applied", callback_outcome::repeated));
  CAF_CHECK_EQUAL(db.count("callbacks WHERE outcome = 1"), 1);
}

CAF_TEST(history leaves with the subscription and repetitions before) {
  auto over = expired(1);
  stop(over);
  auto lives = expired(2);
  must(first->ask(
    query::note_history{subscription_id{2},
                        {after(0), history_kind::provider, "projectCreate: ok",
                         "projectCreate", "ok"}}));
  must(first->ask(query::note_history{
    subscription_id{2},
    {after(0), history_kind::operator_, "Retry requested", "retry", "ok"}}));
  auto under_way = paid(3);
  const auto kept = events(2);
  const auto three = events(3);
  age("subscriptions", "created_at", 401 + 31);
  age("events", "at", 401 + 31);
  // Something has happened to the first one since.
  CAF_CHECK_EQUAL(prune(prunable::history, 3), 2 + 1);
  CAF_CHECK_EQUAL(events(2), kept - 2);
  CAF_CHECK_EQUAL(events(2, " AND kind = 3"), 1);
  age("subscriptions", "updated_at", 401 + 31);
  const auto one = events(1);
  CAF_CHECK(one > 5);
  CAF_CHECK_EQUAL(prune(prunable::history, 3), one);
  CAF_CHECK_EQUAL(events(1), 0);
  // An instance is there: how it came to be stays.
  CAF_CHECK_EQUAL(events(2), kept - 2);
  CAF_CHECK_EQUAL(events(3), three);
  CAF_CHECK_EQUAL(prune(prunable::history), 0);
}

CAF_TEST(notifications and mails leave and owed ones do not ) {
  auto x = expired(1);
  auto y = paid(2);
  const auto told = db.count("notifications WHERE subscription_id = 1");
  CAF_REQUIRE(told >= 2);
  const auto owed = db.count("outbox WHERE status = 0");
  CAF_REQUIRE(owed >= 1);
  age("subscriptions", "created_at", 401);
  age("notifications", "created_at", 401);
  age("outbox", "created_at next_at", 401);
  CAF_CHECK_EQUAL(prune(prunable::notifications, 1), told);
  CAF_CHECK_EQUAL(db.count("notifications"), 1); // Under way.
  CAF_CHECK_EQUAL(prune(prunable::mails), 0);
  db.run("UPDATE outbox SET status = 1, done_at = next_at");
  CAF_CHECK_EQUAL(prune(prunable::mails, 1), owed);
}

CAF_TEST(an undeliverable mail stays as long as its subscription is active) {
  auto x = expired(1);
  db.run("UPDATE outbox SET status = 2, done_at = now() - interval '500 days'");
  db.run("UPDATE subscriptions SET status = 1");
  CAF_CHECK_EQUAL(prune(prunable::mails), 0);
  db.run("UPDATE subscriptions SET status = 2");
  CAF_CHECK(prune(prunable::mails) > 0);
}

CAF_TEST(orphans leave when they have gone long ago) {
  must(
    first->ask(query::note_orphans{{{"p-1", "sw-x", subscription_id{}, "why"},
                                    {"p-2", "sw-x", subscription_id{}, "why"}},
                                   after(0)}));
  must(first->ask(query::close_orphan{
    "p-1", after(0) - 500 * std::chrono::hours{24}, false}));
  CAF_CHECK_EQUAL(prune(prunable::orphans), 1);
  CAF_CHECK_EQUAL(db.count("orphans"), 1);
}

CAF_TEST(servers leave when nothing under way names them any more) {
  auto x = expired(1);
  stop(x);
  auto y = paid(2);
  db.run("UPDATE servers SET retired_at = now() - interval '900 days'");
  // The first names it and is settled; the second is under way.
  CAF_CHECK_EQUAL(prune(prunable::servers), 0);
  store(y.step(cancel_requested{after(5'000), actor_kind::user}));
  // The one that prunes must live: another one leaves.
  second = add("second");
  auto step = query::prune{prunable::servers, 0, after(0), 500};
  first->lose_lease();
  CAF_CHECK_EQUAL(must(second->ask(step)).removed, 1);
  CAF_CHECK_EQUAL(db.count("servers"), 1);
  // A row whose owner is not there is anybody's.
  CAF_CHECK_EQUAL(must(second->ask(query::claim_record{subscription_id{1}})).id,
                  subscription_id{1});
}

CAF_TEST_FIXTURE_SCOPE_END()

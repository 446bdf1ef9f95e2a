#define CAF_SUITE persistence_journal

#include "tests/integration/persistence/world.hpp"

using namespace slipway;
using namespace slipway::lifecycle;
using namespace slipway::test;

namespace {

struct fixture : world {
  /// Subscriptions first…first+count-1, created and with one order each.
  std::vector<life> ordered(std::uint64_t first_id, std::size_t count) {
    auto lives = std::vector<life>{};
    auto results = std::vector<std::future<commit_status>>{};
    for (std::size_t i = 0; i < count; ++i) {
      lives.emplace_back(first_id + i);
      results.push_back(first->send(lives.back().create()));
    }
    for (auto& x : results)
      CAF_REQUIRE(wait_for(std::move(x)) == commit_status::stored);
    results.clear();
    for (auto& x : lives)
      results.push_back(first->send(x.order()));
    for (auto& x : results)
      CAF_REQUIRE(wait_for(std::move(x)) == commit_status::stored);
    return lives;
  }

  /// The subscription by which the journal is held up.
  life blocker() {
    auto x = life{9'000'000};
    store(x.create());
    return x;
  }

  static callback_entry
  message(const std::string& event, callback_outcome outcome,
          const std::string& reason) {
    auto x = callback_entry{};
    x.gateway = payment_gateway::alipay;
    x.dedupe_key = event;
    x.received_at = after(2'000);
    x.order_id = "order-of-" + event;
    x.outcome = outcome;
    x.reason = reason;
    x.headers = "content-type: application/x-www-form-urlencoded";
    x.body = "a=1&b=\xff";
    return x;
  }

  double sample(const std::string& name) {
    const auto text = meters.expose();
    const auto at = text.find("\n" + name + " ");
    if (at == std::string::npos)
      return 0;
    return std::stod(text.substr(at + name.size() + 2));
  }
};

} // namespace

CAF_TEST_FIXTURE_SCOPE(journal_tests, fixture)

CAF_TEST(two hundred transitions go into one commit) {
  auto lives = ordered(1, 200);
  auto held_by = blocker();
  const auto commits = sample("slipway_journal_batch_size_count");
  const auto written = sample("slipway_journal_batch_size_sum");
  auto results = std::vector<std::future<commit_status>>{};
  {
    auto hold = held_up{*this, held_by};
    for (auto& x : lives)
      results.push_back(
        first->send(x.pay("tx-" + std::to_string(raw(x.now.id)))));
    hold.let_go();
  }
  for (auto& x : results)
    CAF_REQUIRE(wait_for(std::move(x)) == commit_status::stored);
  CAF_CHECK_EQUAL(sample("slipway_journal_batch_size_count") - commits, 2);
  CAF_CHECK_EQUAL(sample("slipway_journal_batch_size_sum") - written, 201);
  for (const auto& x : lives)
    check_equal(first->find(x.now.id), x.now);
  auto db = probe{url};
  CAF_CHECK_EQUAL(db.count("payments WHERE applied"), 200);
  CAF_CHECK_EQUAL(db.count("notifications WHERE kind = 0"), 200);
  CAF_CHECK_EQUAL(db.count("events"), 200 * 3 + 2);
}

CAF_TEST(who is stored is told while the next batch is written) {
  auto held_by = blocker();
  auto x = ordered(1, 1).front();
  auto lock = probe{url};
  must(lock.db().begin());
  must(lock.query("SELECT 1 FROM subscriptions WHERE id = 1 FOR UPDATE"));
  auto hold = held_up{*this, held_by};
  auto next = first->send(x.pay("tx-1")); // The only one of the next batch.
  hold.let_go();                          // Told although that one is blocked.
  CAF_CHECK(next.wait_for(std::chrono::seconds{0})
            == std::future_status::timeout);
  must(lock.db().rollback());
  CAF_CHECK(wait_for(std::move(next)) == commit_status::stored);
}

CAF_TEST(one that is out of date leaves its neighbours stored) {
  auto lives = ordered(1, 3);
  auto held_by = blocker();
  auto stale = lives[1];
  store(lives[1].step(order_closed{after(1'500), 1}));
  auto results = std::vector<std::future<commit_status>>{};
  {
    auto hold = held_up{*this, held_by};
    results.push_back(first->send(lives[0].pay("tx-1")));
    results.push_back(first->send(stale.pay("tx-2")));
    results.push_back(first->send(lives[2].pay("tx-3")));
    hold.let_go();
  }
  CAF_CHECK(wait_for(std::move(results[0])) == commit_status::stored);
  CAF_CHECK(wait_for(std::move(results[1])) == commit_status::conflict);
  CAF_CHECK(wait_for(std::move(results[2])) == commit_status::stored);
  for (const auto& x : lives)
    check_equal(first->find(x.now.id), x.now);
  auto db = probe{url};
  CAF_CHECK_EQUAL(db.count("notifications WHERE subscription_id = 2"), 0);
  CAF_CHECK_EQUAL(db.count("events WHERE subscription_id = 2"), 3);
}

CAF_TEST(of two transitions from the same revision only one is stored) {
  // Two supervisors of one subscription, one of which is given up already.
  auto x = paid(1);
  auto held_by = blocker();
  auto other = x;
  auto results = std::vector<std::future<commit_status>>{};
  {
    auto hold = held_up{*this, held_by};
    results.push_back(
      first->send(x.step(cancel_requested{after(3'000), actor_kind::user})));
    results.push_back(first->send(other.step(slot_granted{after(3'000)})));
    hold.let_go();
  }
  CAF_CHECK(wait_for(std::move(results[0])) == commit_status::stored);
  CAF_CHECK(wait_for(std::move(results[1])) == commit_status::conflict);
  check_equal(first->find(x.now.id), x.now);
  auto db = probe{url};
  CAF_CHECK_EQUAL(db.count("events WHERE subscription_id = 1"), 4);
  CAF_CHECK_EQUAL(db.count("instances"), 0);
}

CAF_TEST(a subscription is not created twice) {
  auto x = life{1};
  auto again = life{1, "somebody-else"};
  store(x.create());
  CAF_CHECK(first->write(again.create()) == commit_status::conflict);
  check_equal(first->find(x.now.id), x.now);
}

CAF_TEST(creation and later steps of others share a commit) {
  auto lives = ordered(1, 2);
  auto held_by = blocker();
  auto fresh = life{50, "user-50"};
  auto results = std::vector<std::future<commit_status>>{};
  {
    auto hold = held_up{*this, held_by};
    results.push_back(first->send(lives[0].pay("tx-1")));
    results.push_back(first->send(fresh.create()));
    results.push_back(first->send(lives[1].pay("tx-2")));
    hold.let_go();
  }
  for (auto& x : results)
    CAF_CHECK(wait_for(std::move(x)) == commit_status::stored);
  check_equal(first->find(fresh.now.id), fresh.now);
}

CAF_TEST(one payment on two orders fails alone) {
  auto lives = ordered(1, 4);
  auto held_by = blocker();
  store(lives[0].pay("tx-same"));
  auto results = std::vector<std::future<commit_status>>{};
  const auto before = lives[2].now;
  {
    auto hold = held_up{*this, held_by};
    results.push_back(first->send(lives[1].pay("tx-other")));
    results.push_back(first->send(lives[2].pay("tx-same")));
    results.push_back(first->send(lives[3].pay("tx-third")));
    hold.let_go();
  }
  CAF_CHECK(wait_for(std::move(results[0])) == commit_status::stored);
  CAF_CHECK(wait_for(std::move(results[1])) == commit_status::payment_taken);
  CAF_CHECK(wait_for(std::move(results[2])) == commit_status::stored);
  check_equal(first->find(lives[1].now.id), lives[1].now);
  check_equal(first->find(lives[2].now.id), before);
  check_equal(first->find(lives[3].now.id), lives[3].now);
}

CAF_TEST(text that the server cannot store fails alone) {
  auto lives = ordered(1, 2);
  auto held_by = blocker();
  auto results = std::vector<std::future<commit_status>>{};
  {
    auto hold = held_up{*this, held_by};
    results.push_back(first->send(lives[0].pay(std::string{"a\0b", 3})));
    results.push_back(first->send(lives[1].pay("tx-2")));
    hold.let_go();
  }
  CAF_CHECK(wait_for(std::move(results[0])) == commit_status::refused);
  CAF_CHECK(wait_for(std::move(results[1])) == commit_status::stored);
}

// -- the inbox ---------------------------------------------------------------

CAF_TEST(repeats share a row and are counted also within a batch) {
  auto held_by = blocker();
  auto results = std::vector<std::future<errc>>{};
  const auto send = [&](const std::string& event) {
    results.push_back(first->send(
      message(event, callback_outcome::contradicted, "amount_mismatch")));
  };
  {
    auto hold = held_up{*this, held_by};
    send("e1");
    send("e2");
    send("e1");
    send("e1");
    hold.let_go();
  }
  for (auto& x : results)
    CAF_CHECK(wait_for(std::move(x)) == errc::none);
  auto db = probe{url};
  CAF_CHECK_EQUAL(db.count("callbacks"), 2);
  CAF_CHECK_EQUAL(db.count("callbacks WHERE dedupe_key = 'e1' AND repeats = 2"),
                  1);
  CAF_CHECK_EQUAL(db.count("callbacks WHERE dedupe_key = 'e2' AND repeats = 0"),
                  1);
  auto later = message("e1", callback_outcome::contradicted, "other_reason");
  later.received_at = after(9'000);
  CAF_CHECK(wait_for(first->send(later)) == errc::none);
  auto row
    = must(db.query("SELECT repeats, received_at, last_received_at, order_id, "
                    "subscription_id IS NULL, outcome, reason, headers, body "
                    "FROM callbacks WHERE dedupe_key = 'e1'"));
  CAF_CHECK_EQUAL(row.int32(0, 0), 3);
  CAF_CHECK(row.time(0, 1) == after(2'000));
  CAF_CHECK(row.time(0, 2) == after(9'000));
  CAF_CHECK_EQUAL(std::string{row.text(0, 3)}, "order-of-e1");
  CAF_CHECK(row.boolean(0, 4));
  CAF_CHECK_EQUAL(row.int16(0, 5), 3);
  CAF_CHECK_EQUAL(std::string{row.text(0, 6)}, "other_reason");
  CAF_CHECK_EQUAL(std::string{row.text(0, 7)}, later.headers);
  CAF_CHECK(std::string{row.bytes(0, 8)} == later.body);
  // Several at once on a row that is there already.
  results.clear();
  {
    auto hold = held_up{*this, held_by};
    send("e1");
    send("e1");
    hold.let_go();
  }
  for (auto& x : results)
    CAF_CHECK(wait_for(std::move(x)) == errc::none);
  CAF_CHECK_EQUAL(db.count("callbacks WHERE dedupe_key = 'e1' AND repeats = 5"),
                  1);
}

CAF_TEST(the same event at two gateways is two rows) {
  auto other = message("e1", callback_outcome::acknowledged, "");
  other.gateway = payment_gateway::wechat;
  CAF_CHECK(wait_for(first->send(other)) == errc::none);
  CAF_CHECK(
    wait_for(first->send(message("e1", callback_outcome::acknowledged, "")))
    == errc::none);
  CAF_CHECK_EQUAL(probe{url}.count("callbacks WHERE repeats = 0"), 2);
}

CAF_TEST(what was applied stays applied however often it comes) {
  auto lives = ordered(1, 2);
  auto t = lives[0].pay("tx-1");
  auto entry = message("paid", callback_outcome::applied, "");
  entry.subscription = lives[0].now.id;
  t->callback = std::make_shared<callback_entry>(entry);
  store(t);
  auto db = probe{url};
  const auto applied = "callbacks WHERE outcome = 0 AND reason = '' "
                       "AND subscription_id = 1 AND repeats = ";
  CAF_CHECK_EQUAL(db.count(applied + std::string{"0"}), 1);
  entry.outcome = callback_outcome::repeated;
  entry.reason = "already_applied";
  CAF_CHECK(wait_for(first->send(entry)) == errc::none);
  CAF_CHECK_EQUAL(db.count(applied + std::string{"1"}), 1);
  entry.outcome = callback_outcome::contradicted;
  CAF_CHECK(wait_for(first->send(entry)) == errc::none);
  CAF_CHECK_EQUAL(db.count(applied + std::string{"2"}), 1);
  // The other way round a contradiction becomes applied: it comes again, and
  // then it fits.
  auto second_entry = message("late", callback_outcome::contradicted, "why");
  second_entry.subscription = lives[1].now.id;
  CAF_CHECK(wait_for(first->send(second_entry)) == errc::none);
  t = lives[1].pay("tx-2");
  t->callback = std::make_shared<callback_entry>(second_entry);
  store(t);
  CAF_CHECK_EQUAL(db.count("callbacks WHERE dedupe_key = 'late' "
                           "AND outcome = 0 AND reason <> 'contradicted' "
                           "AND repeats = 1"),
                  1);
}

CAF_TEST(a callback that has a row takes no neighbour along) {
  auto lives = ordered(1, 2);
  auto entry = message("late", callback_outcome::contradicted, "why");
  entry.subscription = lives[0].now.id;
  CAF_CHECK(wait_for(first->send(entry)) == errc::none);
  auto held_by = blocker();
  auto t = lives[0].pay("tx-1");
  t->callback = std::make_shared<callback_entry>(entry);
  auto u = lives[1].pay("tx-2");
  auto other = message("paid", callback_outcome::applied, "");
  other.subscription = lives[1].now.id;
  u->callback = std::make_shared<callback_entry>(other);
  auto hold = held_up{*this, held_by};
  auto first_stored = first->send(t);
  auto second_stored = first->send(u);
  hold.let_go();
  CAF_CHECK(wait_for(std::move(first_stored)) == commit_status::stored);
  CAF_CHECK(wait_for(std::move(second_stored)) == commit_status::stored);
  auto db = probe{url};
  CAF_CHECK_EQUAL(db.count("callbacks WHERE outcome = 0"), 2);
  CAF_CHECK_EQUAL(db.count("payments WHERE status = 1 AND applied"), 2);
}

CAF_TEST(an order without its row is refused and changes nothing) {
  auto lives = ordered(1, 2);
  auto db = probe{url};
  db.run("DELETE FROM payments WHERE subscription_id = 1");
  auto held_by = blocker();
  auto hold = held_up{*this, held_by};
  auto lost = first->send(lives[0].pay("tx-1"));
  auto kept = first->send(lives[1].pay("tx-2"));
  hold.let_go();
  CAF_CHECK(wait_for(std::move(lost)) == commit_status::refused);
  CAF_CHECK(wait_for(std::move(kept)) == commit_status::stored);
  CAF_CHECK_EQUAL(db.count("payments WHERE subscription_id < 3"), 1);
  CAF_CHECK_EQUAL(db.count("subscriptions WHERE id = 1 AND status = 0"), 1);
  CAF_CHECK_EQUAL(db.count("subscriptions WHERE id = 2 AND status = 1"), 1);
  // A neighbour that finds its row elsewhere has no order to be found, either.
  auto stale = lives[1];
  store(lives[1].step(slot_granted{after(3'000)}));
  auto held_again = life{9'000'001};
  store(held_again.create());
  auto third = ordered(3, 1);
  auto hold_again = held_up{*this, held_again};
  auto late = first->send(
    stale.step(refund_requested{after(4'000), 1, refund_cause::operator_}));
  auto paid = first->send(third[0].pay("tx-3"));
  hold_again.let_go();
  CAF_CHECK(wait_for(std::move(late)) == commit_status::conflict);
  CAF_CHECK(wait_for(std::move(paid)) == commit_status::stored);
}

CAF_TEST(one transition closes an order and opens the next one) {
  auto lives = ordered(1, 1);
  auto t = lives[0].order();
  CAF_REQUIRE_EQUAL(t->orders_known, 1u);
  CAF_REQUIRE_EQUAL(t->orders_changed, 3u);
  store(t);
  CAF_CHECK_EQUAL(probe{url}.count("payments WHERE seq = 1 AND status <> 0"),
                  1);
  CAF_CHECK_EQUAL(probe{url}.count("payments WHERE seq = 2 AND status = 0"), 1);
}

CAF_TEST(a callback is kept only with the transition that it caused) {
  auto lives = ordered(1, 1);
  auto stale = lives[0];
  store(lives[0].step(order_closed{after(1'500), 1}));
  auto t = stale.pay("tx-1");
  auto entry = message("paid", callback_outcome::applied, "");
  entry.subscription = stale.now.id;
  t->callback = std::make_shared<callback_entry>(entry);
  CAF_CHECK(first->write(t) == commit_status::conflict);
  CAF_CHECK_EQUAL(probe{url}.count("callbacks"), 0);
}

CAF_TEST(the applied callback and its repeat may meet in one batch) {
  auto lives = ordered(1, 1);
  auto held_by = blocker();
  auto entry = message("paid", callback_outcome::applied, "");
  entry.subscription = lives[0].now.id;
  auto t = lives[0].pay("tx-1");
  t->callback = std::make_shared<callback_entry>(entry);
  entry.outcome = callback_outcome::repeated;
  auto hold = held_up{*this, held_by};
  auto stored = first->send(t);
  auto kept = first->send(entry);
  hold.let_go();
  CAF_CHECK(wait_for(std::move(stored)) == commit_status::stored);
  CAF_CHECK(wait_for(std::move(kept)) == errc::none);
  CAF_CHECK_EQUAL(probe{url}.count("callbacks WHERE outcome = 0 "
                                   "AND repeats = 1"),
                  1);
}

// -- notices -----------------------------------------------------------------

CAF_TEST(notices are written once and mails only where asked) {
  auto lives = ordered(1, 1);
  auto& x = lives[0];
  const auto paid = x.pay("tx-1");
  CAF_REQUIRE_EQUAL(paid->notices.size(), 1u);
  store(paid);
  CAF_CHECK(first->write(paid) == commit_status::conflict);
  store(x.step(slot_granted{after(3'000)}));
  const auto failed
    = x.step(step_failed{after(4'000), 1, phase::creating_project, true, true,
                         true, millis{0}, "no such template", 1});
  store(failed);
  CAF_CHECK(first->write(failed) == commit_status::conflict);
  auto db = probe{url};
  CAF_CHECK_EQUAL(db.count("notifications"), 2);
  auto row = must(db.query(
    "SELECT o.revision, n.revision, o.kind, o.user_id, o.error, o.status, "
    "o.next_at, o.duration_ms IS NULL, o.amount_minor, o.instance_seq "
    "FROM outbox o JOIN notifications n USING (subscription_id, kind)"));
  CAF_REQUIRE_EQUAL(row.rows(), 1);
  CAF_CHECK_EQUAL(row.int64(0, 0), 5);
  CAF_CHECK_EQUAL(row.int64(0, 1), 5);
  CAF_CHECK_EQUAL(row.int16(0, 2), 2);
  CAF_CHECK_EQUAL(std::string{row.text(0, 3)}, "user-1");
  CAF_CHECK_EQUAL(std::string{row.text(0, 4)}, "no such template");
  CAF_CHECK_EQUAL(row.int16(0, 5), 0);
  CAF_CHECK(row.time(0, 6) == after(4'000));
  CAF_CHECK(row.boolean(0, 7));
  CAF_CHECK_EQUAL(row.int64(0, 8), 9'900);
  CAF_CHECK_EQUAL(row.int32(0, 9), 1);
}

CAF_TEST(the history keeps the order of what one transition did) {
  auto lives = ordered(1, 1);
  auto t = lives[0].pay("tx-1");
  t->history.clear();
  for (auto i = 0; i < 5; ++i)
    t->history.push_back({after(i), history_kind::provider,
                          "call " + std::to_string(i), "projectCreate", "ok"});
  store(t);
  const auto rows
    = must(first->ask(query::list_history{lives[0].now.id, 0, 100}));
  CAF_REQUIRE_EQUAL(rows.size(), 7u);
  for (auto i = 0; i < 5; ++i) {
    const auto& entry = rows[static_cast<std::size_t>(i) + 2].entry;
    CAF_CHECK_EQUAL(entry.summary, "call " + std::to_string(i));
    CAF_CHECK(entry.at == after(i));
    CAF_CHECK(entry.kind == history_kind::provider);
    CAF_CHECK_EQUAL(entry.outcome, "ok");
  }
  const auto page
    = must(first->ask(query::list_history{lives[0].now.id, rows[1].id, 2}));
  CAF_REQUIRE_EQUAL(page.size(), 2u);
  CAF_CHECK_EQUAL(page[0].id, rows[2].id);
}

CAF_TEST_FIXTURE_SCOPE_END()

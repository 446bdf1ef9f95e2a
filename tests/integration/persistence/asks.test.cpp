#define CAF_SUITE persistence_asks

#include "tests/integration/persistence/world.hpp"

#include <algorithm>
#include <map>
#include <set>

using namespace slipway;
using namespace slipway::lifecycle;
using namespace slipway::test;

namespace {

/// When the gateway is to be asked about an order, and how often it was.
struct asking {
  std::optional<timestamp> at;
  int asks = 0;
  std::optional<timestamp> asked_at;
};

struct fixture : world {
  static query::claim_asks
  due(timestamp now, std::size_t limit = 100,
      payment_gateway gateway = payment_gateway::alipay) {
    return {gateway, now, limit, rules{}};
  }

  query::claim_asks::result claim(timestamp now, std::size_t limit = 100) {
    return must(first->ask(due(now, limit)));
  }

  asking kept(std::uint64_t id, std::uint32_t seq = 1) {
    const auto row = must(
      db.query("SELECT ask_at, asks, asked_at FROM payments "
               "WHERE subscription_id = "
               + std::to_string(id) + " AND seq = " + std::to_string(seq)));
    CAF_REQUIRE_EQUAL(row.rows(), 1);
    return {row.opt_time(0, 0), row.int32(0, 1), row.opt_time(0, 2)};
  }

  /// A subscription with one order, due for the first time at 16'000.
  life ordered(std::uint64_t id) {
    auto x = life{id};
    store(x.create());
    store(x.order());
    return x;
  }

  static std::vector<std::uint64_t> ids(const query::claim_asks::result& from) {
    auto out = std::vector<std::uint64_t>{};
    for (const auto& x : from)
      out.push_back(raw(x.subscription));
    return out;
  }

  using list = std::vector<std::uint64_t>;

  /// Holds the claims of one store up between their two statements until the
  /// guard goes.
  class held_up {
  public:
    held_up(world& in, const std::string& server)
      : lock_{in.url}, watcher_{in.url}, server_{server} {
      must(lock_.query("SELECT pg_advisory_lock(4711)"));
      lock_.run(
        "CREATE OR REPLACE FUNCTION hold() RETURNS trigger AS $$ BEGIN "
        "IF current_setting('application_name') = '"
        + server
        + " store' THEN PERFORM pg_advisory_xact_lock_shared(4711); END IF; "
          "RETURN new; END $$ LANGUAGE plpgsql; "
          "CREATE OR REPLACE TRIGGER hold BEFORE UPDATE ON payments "
          "FOR EACH ROW EXECUTE FUNCTION hold()");
    }

    /// Until the store has taken its rows.
    void wait() {
      const auto held = "pg_stat_activity WHERE wait_event = 'advisory' "
                        "AND application_name = '"
                        + server_ + " store'";
      CAF_REQUIRE(eventually([&] {
        return watcher_.count(held) == 1;
      }));
    }

    void kill() {
      must(lock_.query("SELECT pg_terminate_backend(pid) FROM "
                       "pg_stat_activity WHERE application_name = '"
                       + server_ + " store'"));
    }

    void let_go() {
      must(lock_.query("SELECT pg_advisory_unlock(4711)"));
    }

  private:
    probe lock_;
    probe watcher_;
    std::string server_;
  };

  probe db{url};
};

} // namespace

CAF_TEST_FIXTURE_SCOPE(asks_tests, fixture)

CAF_TEST(an order is asked about from its first moment) {
  auto x = ordered(1);
  CAF_CHECK(kept(1).at == after(16'000));
  CAF_CHECK_EQUAL(kept(1).asks, 0);
  CAF_CHECK(!kept(1).asked_at);
  CAF_CHECK(claim(after(15'999)).empty());
  CAF_CHECK_EQUAL(kept(1).asks, 0);
  auto got = claim(after(16'000));
  CAF_REQUIRE_EQUAL(got.size(), 1u);
  CAF_CHECK(got[0].subscription == x.now.id);
  CAF_CHECK_EQUAL(got[0].currency, "CNY");
  CAF_CHECK_EQUAL(got[0].asks, 0u);
  CAF_CHECK(got[0].order == x.now.state.orders[0]);
  CAF_CHECK_EQUAL(kept(1).asks, 1);
  CAF_CHECK(kept(1).asked_at == after(16'000));
  CAF_CHECK(kept(1).at
            == next_ask(x.now.state.orders[0], 1, after(16'000), rules{}));
  // Once taken it is not due before that.
  CAF_CHECK(claim(after(16'000)).empty());
  CAF_CHECK(claim(*kept(1).at - millis{1}).empty());
  got = claim(*kept(1).at);
  CAF_REQUIRE_EQUAL(got.size(), 1u);
  CAF_CHECK_EQUAL(got[0].asks, 1u);
  CAF_CHECK_EQUAL(kept(1).asks, 2);
}

CAF_TEST(each field of an order comes along with a claim) {
  auto x = ordered(1);
  store(x.step(order_prepared{after(1'500), 1, "weixin://wxpay/支付?pr=1"}));
  store(x.pay("tx-1"));
  store(x.step(refund_requested{after(3'000), 0, refund_cause::operator_}));
  store(x.step(refund_failed{after(4'000), 1, 1, true, "余额不足"}));
  store(x.step(refund_requested{after(5'000), 0, refund_cause::operator_}));
  store(x.step(refund_observed{after(6'000), 1, std::nullopt, 100, "50300-1"}));
  const auto& order = x.now.state.orders[0];
  CAF_REQUIRE(order.status == order_status::refunding);
  CAF_REQUIRE_EQUAL(order.refund_seq, 2u);
  CAF_REQUIRE(!order.refunds_counted.empty());
  const auto got = claim(after(6'000));
  CAF_REQUIRE_EQUAL(got.size(), 1u);
  CAF_CHECK(got[0].order == order);
  check_equal(first->find(x.now.id), x.now);
}

CAF_TEST(a change of status starts anew and nothing else does) {
  auto x = ordered(1);
  CAF_REQUIRE_EQUAL(claim(after(16'000)).size(), 1u);
  const auto before = kept(1);
  // What leaves the status alone leaves the time alone.
  store(x.step(order_prepared{after(17'000), 1, "https://qr/1"}));
  CAF_CHECK(kept(1).at == before.at);
  CAF_CHECK_EQUAL(kept(1).asks, 1);
  CAF_CHECK(kept(1).asked_at == before.asked_at);
  // A newer order: the gateway is to be told at once.
  store(x.step(order_requested{after(20'000), payment_gateway::alipay,
                               payment_method::qr, after(1'820'000), ""}));
  CAF_CHECK(kept(1).at == after(20'000));
  CAF_CHECK_EQUAL(kept(1).asks, 0);
  CAF_CHECK(kept(1).asked_at == before.asked_at);
  CAF_CHECK(kept(1, 2).at == after(35'000));
  store(x.step(order_closed{after(21'000), 1}));
  // Its link works until it expires.
  CAF_CHECK(kept(1).at == after(36'000));
  // Neither does an order that another one's payment does not touch.
  store(x.pay("tx-1", 2));
  CAF_CHECK(kept(1).at == after(36'000));
  CAF_CHECK(!kept(1, 2).at);
  db.run("UPDATE payments SET ask_at = NULL WHERE seq = 1");
  store(x.step(refund_requested{after(30'000), 2, refund_cause::operator_}));
  CAF_CHECK(kept(1, 2).at == after(30'000));
  for (auto at : {30'000, 60'000, 120'000})
    CAF_REQUIRE_EQUAL(claim(after(at)).size(), 1u);
  CAF_CHECK_EQUAL(kept(1, 2).asks, 3);
  // A part of it that went back is no change, either.
  store(x.step(refund_observed{after(80'000), 2, 100, 0, ""}));
  CAF_CHECK_EQUAL(kept(1, 2).asks, 3);
  store(x.step(refund_failed{after(90'000), 2, 1, false, "why"}));
  CAF_CHECK(!kept(1, 2).at);
  CAF_CHECK_EQUAL(kept(1, 2).asks, 0);
  store(x.step(refund_requested{after(95'000), 2, refund_cause::operator_}));
  CAF_CHECK(kept(1, 2).at == after(95'000));
  store(x.step(refund_observed{after(99'000), 2, 9'900, 0, ""}));
  CAF_CHECK(!kept(1, 2).at);
}

CAF_TEST(the longest overdue come first and one gateway at a time) {
  for (const auto id : {1u, 2u, 3u, 4u})
    ordered(id);
  db.run("UPDATE payments SET ask_at = '2026-11-23T08:00:00Z'::timestamptz "
         "+ (9 - subscription_id) * interval '1 s'");
  auto y = life{5};
  store(y.create());
  store(y.step(order_requested{after(0), payment_gateway::wechat,
                               payment_method::native, after(1'800'000), ""}));
  CAF_CHECK((ids(claim(after(8'000), 2)) == list{4, 3}));
  CAF_CHECK((ids(claim(after(8'000), 2)) == list{2, 1}));
  CAF_CHECK(
    (ids(must(first->ask(due(after(20'000), 5, payment_gateway::wechat))))
     == list{5}));
}

CAF_TEST(the next time is the one that the machine says) {
  // Of every status, as often as may be, before and after its end, by SQL and
  // by the machine.
  const auto now = after(10'000'000);
  auto x = ordered(1);
  auto expected = std::map<std::uint32_t, std::optional<timestamp>>{};
  auto sql = std::string{};
  auto with = rules{};
  with.ask_interval = millis{20'000};
  auto seq = 1u;
  for (std::uint8_t status = 0; status < order_status_count; ++status)
    for (const auto asks : {0u, 1u, 2u, 3u, 5u, 9u, 40u})
      for (const auto age : {-10'000'000, -700'000, -16'000, -1, 0, 1, 15'000,
                             21'000, 1'800'000}) {
        auto about = order{};
        about.seq = ++seq;
        about.status = static_cast<order_status>(status);
        about.expires_at = now + millis{age};
        expected[seq] = next_ask(about, asks + 1, now, with);
        const auto number = std::to_string(seq);
        const auto paid = about.status == order_status::paid
                          || about.status == order_status::refunding
                          || about.status == order_status::refunded;
        const auto proof
          = paid ? "now(), 'tx-" + number + "'" : std::string{"NULL, NULL"};
        sql += "INSERT INTO payments (subscription_id, seq, gateway, method, "
               "status, amount_minor, created_at, expires_at, paid_at, "
               "transaction_id, refund_seq, refund_minor, asks, ask_at) "
               "VALUES (1, "
               + number + ", 1, 3, " + std::to_string(status)
               + ", 9900, now(), '" + to_rfc3339(about.expires_at) + "', "
               + proof + ", 1, 1, " + std::to_string(asks) + ", '"
               + to_rfc3339(now) + "');";
      }
  // Rows in every status at once are impossible: here they are wanted.
  db.run("ALTER TABLE payments DROP CONSTRAINT "
         "payments_unpaid_gives_nothing_back, "
         "DROP CONSTRAINT payments_refunded_in_full; "
         "DROP INDEX payments_one_open");
  db.run(sql);
  const auto got = must(
    first->ask(query::claim_asks{payment_gateway::wechat, now, 1'000, with}));
  CAF_CHECK_EQUAL(got.size(), expected.size());
  const auto rows = must(db.query("SELECT seq, ask_at, asked_at FROM payments "
                                  "WHERE seq > 1 ORDER BY seq"));
  CAF_REQUIRE_EQUAL(static_cast<std::size_t>(rows.rows()), expected.size());
  auto never = 0;
  auto wrong = 0;
  for (auto i = 0; i < rows.rows(); ++i) {
    const auto& next
      = expected.at(static_cast<std::uint32_t>(rows.int32(i, 0)));
    never += next ? 0 : 1;
    wrong += rows.opt_time(i, 1) == next && rows.time(i, 2) == now ? 0 : 1;
  }
  CAF_CHECK_EQUAL(wrong, 0);
  CAF_CHECK_GREATER(never, 0);
}

// -- several at once ---------------------------------------------------------

CAF_TEST(two servers never take the same order) {
  second = add("second");
  constexpr auto orders = 40;
  for (auto id = 1u; id <= orders; ++id)
    ordered(id);
  db.run("UPDATE subscriptions SET owner = NULL");
  auto now = after(16'000);
  for (auto round = 0; round < 20; ++round) {
    db.run("UPDATE payments SET ask_at = '" + to_rfc3339(now) + "'");
    auto seen = std::vector<std::uint64_t>{};
    // Who is met is skipped, so that it may take more than one look.
    CAF_REQUIRE(eventually([&] {
      auto answers = std::vector<std::future<job<query::claim_asks>::reply>>{};
      for (auto i = 0; i < 3; ++i)
        for (auto* by : {first.get(), second.get()})
          answers.push_back(by->send_query(due(now, 7)));
      for (auto& x : answers)
        for (const auto id : ids(must(wait_for(std::move(x)))))
          seen.push_back(id);
      return seen.size() >= orders;
    }));
    std::sort(seen.begin(), seen.end());
    CAF_CHECK(std::adjacent_find(seen.begin(), seen.end()) == seen.end());
    CAF_CHECK_EQUAL(seen.size(), std::size_t{orders});
    now += millis{1};
  }
}

CAF_TEST(what one server is about to take the other one leaves) {
  second = add("second");
  for (const auto id : {1u, 2u, 3u})
    ordered(id);
  // Who could not store an answer does not ask.
  CAF_CHECK(must(second->ask(due(after(16'000), 10))).empty());
  db.run("UPDATE subscriptions SET owner = NULL");
  auto hold = held_up{*this, "first"};
  auto one = first->send_query(due(after(16'000), 2));
  hold.wait();
  const auto two = must(second->ask(due(after(16'000), 10)));
  CAF_CHECK_EQUAL(two.size(), 1u);
  CAF_CHECK(must(second->ask(due(after(16'000), 10))).empty());
  hold.let_go();
  auto all = std::set<std::uint64_t>{};
  for (const auto id : ids(two))
    all.insert(id);
  for (const auto id : ids(must(wait_for(std::move(one)))))
    all.insert(id);
  CAF_CHECK((all == std::set<std::uint64_t>{1, 2, 3}));
  CAF_CHECK(claim(after(16'000)).empty());
}

CAF_TEST(an order that is being written is left for the next time) {
  ordered(1);
  ordered(2);
  auto lock = probe{url};
  must(lock.db().begin());
  must(lock.query("UPDATE payments SET refunded_minor = 0 "
                  "WHERE subscription_id = 1"));
  CAF_CHECK((ids(claim(after(16'000))) == list{2}));
  CAF_CHECK(claim(after(16'000)).empty());
  must(lock.db().rollback());
  CAF_CHECK((ids(claim(after(16'000))) == list{1}));
}

CAF_TEST(a payment that meets a claim has the last word) {
  auto x = ordered(1);
  auto hold = held_up{*this, "first"};
  auto asked = first->send_query(due(after(16'000)));
  hold.wait();
  auto paid = first->send(x.pay("tx-1"));
  const auto waits = "pg_stat_activity WHERE wait_event_type = 'Lock' "
                     "AND application_name = '"
                     + first->journal_name() + "'";
  CAF_REQUIRE(eventually([&] {
    return db.count(waits) == 1;
  }));
  hold.let_go();
  CAF_CHECK_EQUAL(must(wait_for(std::move(asked))).size(), 1u);
  CAF_CHECK(wait_for(std::move(paid)) == commit_status::stored);
  CAF_CHECK(!kept(1).at);
  CAF_CHECK_EQUAL(kept(1).asks, 0);
  check_equal(first->find(x.now.id), x.now);
}

// -- crashes -----------------------------------------------------------------

CAF_TEST(a server that dies after a claim delays the question) {
  second = add("second");
  auto x = ordered(1);
  CAF_REQUIRE_EQUAL(claim(after(16'000)).size(), 1u);
  first->lose_lease();
  const auto next = next_ask(x.now.state.orders[0], 1, after(16'000), rules{});
  CAF_REQUIRE(next);
  CAF_CHECK(must(second->ask(due(*next - millis{1}))).empty());
  CAF_CHECK((ids(must(second->ask(due(*next)))) == list{1}));
}

CAF_TEST(a claim that is cut off in the middle took nothing) {
  ordered(1);
  ordered(2);
  auto hold = held_up{*this, "first"};
  auto asked = first->send_query(due(after(16'000)));
  hold.wait();
  hold.kill();
  const auto refused = wait_for(std::move(asked));
  CAF_CHECK(!refused && refused.error() == errc::database_down);
  CAF_CHECK(kept(1).at == after(16'000));
  CAF_CHECK_EQUAL(kept(1).asks, 0);
  hold.let_go();
  // The store goes on with another connection, and finds both.
  auto got = query::claim_asks::result{};
  CAF_REQUIRE(eventually([&] {
    if (auto answer = first->ask(due(after(16'000))))
      got = std::move(*answer);
    return !got.empty();
  }));
  CAF_CHECK_EQUAL(got.size(), 2u);
}

CAF_TEST(a claim that takes too long leaves the connection usable) {
  ordered(1);
  caf::anon_send_exit(first->store, caf::exit_reason::user_shutdown);
  auto quick = pg::connection_options{};
  quick.url = url;
  quick.application_name = "first store";
  quick.statement_timeout = millis{1'000};
  quick.grace = millis{20'000};
  first->store = system.spawn<caf::detached>(
    slipway::store, &meters, store_options{quick, first->server});
  CAF_REQUIRE(first->ask(query::ping{}).has_value());
  const auto sessions = "pg_stat_activity WHERE datname = current_database() "
                        "AND application_name = 'first store' AND pid = ";
  const auto pid = must(db.query("SELECT max(pid) FROM pg_stat_activity WHERE "
                                 "datname = current_database() AND "
                                 "application_name = 'first store' "
                                 "AND query LIKE '%LIMIT 0%'"))
                     .int32(0, 0);
  auto hold = held_up{*this, "first"};
  const auto refused = first->ask(due(after(16'000)));
  CAF_CHECK(!refused && refused.error() == errc::unavailable);
  hold.let_go();
  CAF_CHECK(eventually([&] {
    const auto got = first->ask(due(after(16'000)));
    return got && got->size() == 1;
  }));
  CAF_CHECK_EQUAL(db.count(sessions + std::to_string(pid)), 1);
  CAF_CHECK_EQUAL(
    db.count("pg_stat_activity WHERE state LIKE 'idle in transaction%' "
             "AND datname = current_database()"),
    0);
}

CAF_TEST_FIXTURE_SCOPE_END()

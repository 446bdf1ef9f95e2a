#define CAF_SUITE persistence_callbacks

#include "tests/integration/persistence/world.hpp"

#include <algorithm>

using namespace slipway;
using namespace slipway::lifecycle;
using namespace slipway::test;

namespace {

struct fixture : world {
  static callback_entry
  message(const std::string& event, callback_outcome outcome,
          const std::string& reason = "") {
    auto x = callback_entry{};
    x.gateway = payment_gateway::wechat;
    x.source = callback_source::refund_notify;
    x.dedupe_key = event;
    x.received_at = after(2'000);
    x.order_id = "order-of-" + event;
    x.outcome = outcome;
    x.reason = reason;
    x.headers = "wechatpay-serial: 1";
    x.body = "{\"a\":\"\xff\"}";
    return x;
  }

  void keep(callback_entry what) {
    CAF_REQUIRE(wait_for(first->send(std::move(what))) == errc::none);
  }

  query::list_callbacks::result list(query::list_callbacks what = {}) {
    if (what.limit == 0)
      what.limit = 100;
    return must(first->ask(std::move(what)));
  }

  static std::string orders(const query::list_callbacks::result& rows) {
    auto out = std::string{};
    for (const auto& x : rows)
      out += (out.empty() ? "" : " ") + x.entry.order_id.substr(9);
    return out;
  }

  query::list_callbacks::row find(std::int64_t id) {
    return must(first->ask(query::find_callback{id}));
  }

  std::vector<std::string> attention() {
    auto out = std::vector<std::string>{};
    for (const auto& x : must(first->ask(
           query::list_attention{after(9'000), millis{60'000}, 100})))
      out.push_back(x.kind + " " + x.suggested_action);
    std::sort(out.begin(), out.end());
    return out;
  }

  using words = std::vector<std::string>;

  void forge(callback_entry what, std::size_t count = 200) {
    must(first->ask(query::keep_forged{std::move(what), count}));
  }

  probe db{url};
};

} // namespace

CAF_TEST_FIXTURE_SCOPE(callbacks_tests, fixture)

CAF_TEST(a callback is found as it came) {
  auto entry = message("e1", callback_outcome::contradicted, "why");
  entry.subscription = subscription_id{77};
  keep(entry);
  const auto listed = list();
  CAF_REQUIRE_EQUAL(listed.size(), 1u);
  const auto whole = find(listed[0].id);
  for (const auto* x : {&listed[0], &whole}) {
    CAF_CHECK(x->entry.gateway == payment_gateway::wechat);
    CAF_CHECK(x->entry.source == callback_source::refund_notify);
    CAF_CHECK(x->entry.received_at == after(2'000));
    CAF_CHECK(x->last_received_at == after(2'000));
    CAF_CHECK_EQUAL(x->repeats, 0u);
    CAF_CHECK_EQUAL(x->entry.order_id, "order-of-e1");
    CAF_CHECK(x->entry.subscription == subscription_id{77});
    CAF_CHECK(x->entry.outcome == callback_outcome::contradicted);
    CAF_CHECK_EQUAL(x->entry.reason, "why");
    CAF_CHECK(!x->settled_at);
    CAF_CHECK(x->settled_by.empty());
    CAF_CHECK(x->settled_why.empty());
  }
  CAF_CHECK(listed[0].entry.body.empty());
  CAF_CHECK_EQUAL(whole.entry.headers, entry.headers);
  CAF_CHECK(whole.entry.body == entry.body);
  // One that moved something knows as well where it came from.
  auto x = paid(1);
  auto t = x.step(refund_requested{after(3'000), 0, refund_cause::operator_});
  auto caused = message("e2", callback_outcome::applied);
  caused.source = callback_source::query;
  caused.subscription = x.now.id;
  t->callback = std::make_shared<callback_entry>(caused);
  store(t);
  CAF_CHECK(find(list()[0].id).entry.source == callback_source::query);
  const auto none = first->ask(query::find_callback{4'711});
  CAF_CHECK(!none && none.error() == errc::not_found);
}

CAF_TEST(the inbox is listed by gateway and outcome and order) {
  keep(message("a", callback_outcome::acknowledged));
  keep(message("b", callback_outcome::contradicted));
  auto ali = message("c", callback_outcome::contradicted);
  ali.gateway = payment_gateway::alipay;
  keep(ali);
  auto again = message("d", callback_outcome::repeated);
  again.order_id = "order-of-b";
  keep(again);
  auto forged = message("f", callback_outcome::forged);
  forged.order_id = "order-of-b";
  forge(forged);
  const auto by
    = [&](std::optional<payment_gateway> gateway,
          std::optional<callback_outcome> outcome, const std::string& order) {
        auto what = query::list_callbacks{};
        what.gateway = gateway;
        what.outcome = outcome;
        what.order_id = order;
        return orders(list(what));
      };
  constexpr auto any = std::nullopt;
  CAF_CHECK_EQUAL(by(any, any, ""), "b c b a");
  CAF_CHECK_EQUAL(by(payment_gateway::alipay, any, ""), "c");
  CAF_CHECK_EQUAL(by(payment_gateway::wechat, any, ""), "b b a");
  CAF_CHECK_EQUAL(by(any, callback_outcome::contradicted, ""), "c b");
  CAF_CHECK_EQUAL(by(any, callback_outcome::acknowledged, ""), "a");
  CAF_CHECK_EQUAL(by(any, callback_outcome::applied, ""), "");
  CAF_CHECK_EQUAL(by(any, callback_outcome::repeated, ""), "b");
  CAF_CHECK_EQUAL(by(any, callback_outcome::forged, ""), "b");
  CAF_CHECK_EQUAL(by(any, any, "order-of-b"), "b b");
  CAF_CHECK_EQUAL(by(any, callback_outcome::contradicted, "order-of-b"), "b");
  CAF_CHECK_EQUAL(by(any, callback_outcome::forged, "order-of-a"), "");
  CAF_CHECK_EQUAL(by(payment_gateway::alipay, any, "order-of-b"), "");
  // Pages go on where the last one ended.
  auto page = query::list_callbacks{};
  page.limit = 2;
  CAF_CHECK_EQUAL(orders(list(page)), "b c");
  page.before = list(page)[1].id;
  CAF_CHECK_EQUAL(orders(list(page)), "b a");
  page.outcome = callback_outcome::contradicted;
  CAF_CHECK_EQUAL(orders(list(page)), "b");
}

// -- replays -----------------------------------------------------------------

CAF_TEST(what is fed in once more is no delivery) {
  auto entry = message("e1", callback_outcome::contradicted, "why");
  keep(entry);
  keep(entry);
  auto replay = entry;
  replay.replayed = true;
  replay.received_at = after(8'000);
  replay.reason = "still why";
  keep(replay);
  auto row = find(list()[0].id);
  CAF_CHECK_EQUAL(row.repeats, 1u);
  CAF_CHECK(row.last_received_at == after(2'000));
  CAF_CHECK_EQUAL(row.entry.reason, "still why");
  CAF_CHECK_EQUAL(attention().size(), 1u);
  // Now it is known: out of attention by itself.
  replay.outcome = callback_outcome::repeated;
  replay.reason = "already_applied";
  keep(replay);
  row = find(list()[0].id);
  CAF_CHECK_EQUAL(row.repeats, 1u);
  CAF_CHECK(row.entry.outcome == callback_outcome::repeated);
  CAF_CHECK(attention().empty());
}

CAF_TEST(a replay that moves something is no delivery either) {
  auto x = life{1};
  store(x.create());
  store(x.order());
  auto entry = message("e1", callback_outcome::contradicted, "app_id_mismatch");
  entry.subscription = x.now.id;
  keep(entry);
  CAF_CHECK((attention() == words{"payment_mismatch settle"}));
  auto t = x.pay("tx-1");
  entry.replayed = true;
  entry.received_at = after(8'000);
  entry.reason.clear();
  t->callback = std::make_shared<callback_entry>(entry);
  store(t);
  auto row = find(list()[0].id);
  CAF_CHECK_EQUAL(row.repeats, 0u);
  CAF_CHECK(row.entry.outcome == callback_outcome::applied);
  CAF_CHECK(row.entry.received_at == after(2'000));
  CAF_CHECK(row.last_received_at == after(2'000));
  CAF_CHECK(attention().empty());
  // One that applied stays so.
  entry.outcome = callback_outcome::contradicted;
  keep(entry);
  row = find(list()[0].id);
  CAF_CHECK_EQUAL(row.repeats, 0u);
  CAF_CHECK(row.entry.outcome == callback_outcome::applied);
  entry.replayed = false;
  keep(entry);
  row = find(list()[0].id);
  CAF_CHECK_EQUAL(row.repeats, 1u);
  CAF_CHECK(row.last_received_at == after(8'000));
}

CAF_TEST(a replay and deliveries may meet in one batch) {
  auto held_by = life{9'000'000};
  store(held_by.create());
  auto replay = message("e1", callback_outcome::acknowledged, "replayed");
  replay.replayed = true;
  replay.received_at = after(8'000);
  const auto delivery
    = message("e1", callback_outcome::contradicted, "delivered");
  const auto round = [&](std::vector<callback_entry> all) {
    auto results = std::vector<std::future<errc>>{};
    auto hold = held_up{*this, held_by};
    for (auto& x : all)
      results.push_back(first->send(std::move(x)));
    hold.let_go();
    for (auto& x : results)
      CAF_CHECK(wait_for(std::move(x)) == errc::none);
    return find(list()[0].id);
  };
  auto row = round({replay, delivery, delivery});
  CAF_CHECK_EQUAL(row.repeats, 1u);
  CAF_CHECK(row.entry.received_at == after(2'000));
  CAF_CHECK_EQUAL(row.entry.reason, "delivered");
  row = round({delivery, replay});
  CAF_CHECK_EQUAL(row.repeats, 2u);
  CAF_CHECK(row.last_received_at == after(2'000));
  CAF_CHECK(row.entry.outcome == callback_outcome::acknowledged);
  // Only a replay, of which there is no row yet.
  replay.dedupe_key = "e2";
  row = round({replay});
  CAF_CHECK_EQUAL(row.repeats, 0u);
  CAF_CHECK(row.last_received_at == after(8'000));
}

// -- settling ----------------------------------------------------------------

CAF_TEST(a contradiction is settled once) {
  keep(message("e1", callback_outcome::contradicted, "order_not_found"));
  keep(message("e2", callback_outcome::contradicted, "amount_mismatch"));
  keep(message("e3", callback_outcome::acknowledged));
  CAF_CHECK((attention()
             == words{"payment_mismatch settle", "unknown_payment settle"}));
  const auto rows = list(); // The newest first.
  const auto settle
    = [&](std::int64_t id, int at, const char* by, const char* why) {
        return first->ask(query::settle_callback{id, after(at), by, why});
      };
  const auto done = must(settle(rows[1].id, 5'000, "anna", "talked to them"));
  CAF_CHECK_EQUAL(done.id, rows[1].id);
  CAF_CHECK(done.settled_at == after(5'000));
  CAF_CHECK_EQUAL(done.settled_by, "anna");
  CAF_CHECK_EQUAL(done.settled_why, "talked to them");
  CAF_CHECK_EQUAL(done.entry.reason, "amount_mismatch");
  CAF_CHECK((attention() == words{"unknown_payment settle"}));
  const auto again = must(settle(rows[1].id, 6'000, "bob", "me too"));
  CAF_CHECK(again.settled_at == after(5'000));
  CAF_CHECK_EQUAL(again.settled_by, "anna");
  CAF_CHECK_EQUAL(again.settled_why, "talked to them");
  CAF_CHECK(find(rows[1].id).settled_at == after(5'000));
  const auto listed = list();
  CAF_CHECK_EQUAL(listed[1].settled_by, "anna");
  // What does not contradict cannot be settled, nor what is not there.
  auto refused = settle(rows[0].id, 7'000, "anna", "why");
  CAF_CHECK(!refused && refused.error() == errc::not_found);
  CAF_CHECK(!find(rows[0].id).settled_at);
  refused = settle(4'711, 7'000, "anna", "why");
  CAF_CHECK(!refused && refused.error() == errc::not_found);
  // The same message again is settled already.
  keep(message("e2", callback_outcome::contradicted, "amount_mismatch"));
  CAF_CHECK((attention() == words{"unknown_payment settle"}));
  CAF_CHECK_EQUAL(find(rows[1].id).repeats, 1u);
}

// -- forged ones -------------------------------------------------------------

CAF_TEST(a flood of forged ones leaves a sample and nothing else out) {
  keep(message("mine", callback_outcome::contradicted, "amount_mismatch"));
  auto entry = message("", callback_outcome::forged, "bad_signature");
  for (auto i = 0; i < 60; ++i) {
    entry.body = "body " + std::to_string(i);
    entry.received_at = after(i);
    forge(entry, 10);
    CAF_CHECK_LESS_OR_EQUAL(db.count("callbacks WHERE outcome = 4"), 10);
  }
  auto what = query::list_callbacks{};
  what.outcome = callback_outcome::forged;
  const auto kept = list(what);
  CAF_REQUIRE_EQUAL(kept.size(), 10u);
  for (auto i = 0; i < 10; ++i) {
    const auto row = find(kept[static_cast<std::size_t>(i)].id);
    CAF_CHECK_EQUAL(row.entry.body, "body " + std::to_string(59 - i));
    CAF_CHECK(row.entry.received_at == after(59 - i));
    CAF_CHECK(row.entry.outcome == callback_outcome::forged);
    CAF_CHECK(row.entry.source == callback_source::refund_notify);
    CAF_CHECK_EQUAL(row.entry.headers, entry.headers);
  }
  // The inbox is what is authentic, and nobody has to look at the rest.
  CAF_CHECK_EQUAL(orders(list()), "mine");
  CAF_CHECK((attention() == words{"payment_mismatch settle"}));
  const auto refused = first->ask(
    query::settle_callback{kept[0].id, after(5'000), "anna", "why"});
  CAF_CHECK(!refused && refused.error() == errc::not_found);
}

CAF_TEST(the same forged bytes share a row and drive nobody out) {
  auto entry = message("", callback_outcome::forged, "bad_signature");
  for (auto i = 0; i < 3; ++i) {
    entry.body = "body " + std::to_string(i);
    forge(entry, 3);
  }
  for (auto i = 0; i < 20; ++i) {
    entry.body = "body 0";
    entry.received_at = after(3'000 + i);
    forge(entry, 3);
  }
  CAF_CHECK_EQUAL(db.count("callbacks"), 3);
  CAF_CHECK_EQUAL(db.count("callbacks WHERE repeats = 20 "
                           "AND last_received_at > received_at"),
                  1);
  // Another reason, or the other gateway, is another sample.
  entry.reason = "unknown_key";
  forge(entry, 10);
  entry.gateway = payment_gateway::alipay;
  forge(entry, 10);
  CAF_CHECK_EQUAL(db.count("callbacks"), 5);
  // The event that somebody pretended to be comes after all.
  auto real = message("e1", callback_outcome::acknowledged);
  real.body = "body 0";
  keep(real);
  CAF_CHECK_EQUAL(orders(list()), "e1");
}

CAF_TEST(forged ones from several servers at once stay bounded) {
  second = add("second");
  auto entry = message("", callback_outcome::forged, "bad_signature");
  auto answers = std::vector<std::future<job<query::keep_forged>::reply>>{};
  const auto send = [&](node& by, int body) {
    entry.body = "body " + std::to_string(body);
    answers.push_back(by.send_query(query::keep_forged{entry, 5}));
  };
  const auto all_kept = [&] {
    for (auto& x : answers)
      CAF_CHECK(wait_for(std::move(x)).has_value());
    answers.clear();
    CAF_CHECK_EQUAL(db.count("callbacks WHERE outcome = 4"), 5);
  };
  // Some the same, some not, so that old ones are written to as well.
  for (auto i = 0; i < 100; ++i) {
    send(*first, i % 3 == 0 ? i : i * 2);
    send(*second, i % 3 == 0 ? i : i * 2 + 1);
  }
  all_kept();
  // One is held up between its two halves; the other one has to see its row.
  auto lock = probe{url};
  must(lock.query("SELECT pg_advisory_lock(4711)"));
  db.run("CREATE FUNCTION hold() RETURNS trigger AS $$ BEGIN "
         "IF current_setting('application_name') = 'first store' "
         "THEN PERFORM pg_advisory_xact_lock_shared(4711); END IF; "
         "RETURN new; END $$ LANGUAGE plpgsql; "
         "CREATE TRIGGER hold BEFORE INSERT ON callbacks "
         "FOR EACH ROW EXECUTE FUNCTION hold()");
  const auto waiting = [&](const std::string& server) {
    return db.count("pg_stat_activity WHERE wait_event_type = 'Lock' "
                    "AND application_name = '"
                    + server + " store'")
           == 1;
  };
  send(*first, 1'001);
  CAF_REQUIRE(eventually([&] {
    return waiting("first");
  }));
  send(*second, 1'002);
  CAF_CHECK(eventually([&] {
    return waiting("second")
           || answers[1].wait_for(std::chrono::seconds{0})
                == std::future_status::ready;
  }));
  must(lock.query("SELECT pg_advisory_unlock(4711)"));
  all_kept();
}

CAF_TEST_FIXTURE_SCOPE_END()

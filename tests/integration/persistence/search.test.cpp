#define CAF_SUITE persistence_search

#include "tests/integration/persistence/world.hpp"

#include <algorithm>

using namespace slipway;
using namespace slipway::lifecycle;
using namespace slipway::test;

// Goal: an operator finds a subscription by whatever a user or a provider names
// it by, and reads all that happened to it in one order.

namespace {

struct fixture : world {
  using list = std::vector<std::uint64_t>;

  list search(const query::search_records& what) {
    auto out = list{};
    for (const auto& x : must(first->ask(what)))
      out.push_back(raw(x.id));
    return out;
  }

  list search(const std::string& text) {
    auto what = query::search_records{};
    what.text = text;
    what.limit = 10;
    return search(what);
  }

  life at_work(std::uint64_t id, const std::string& user = "user-1") {
    auto x = paid(id, user);
    store(x.step(slot_granted{after(3'000)}));
    store(x.step(
      project_ready{after(3'001), 1, "p-" + std::to_string(id), "env", false}));
    return x;
  }

  std::vector<query::list_timeline::row>
  timeline(subscription_id id, query::list_timeline::place from,
           std::size_t limit) {
    return must(first->ask(query::list_timeline{id, from, limit}));
  }
};

} // namespace

CAF_TEST_FIXTURE_SCOPE(search_tests, fixture)

CAF_TEST(whatever names a subscription finds it) {
  at_work(1);
  at_work(2, "user-2");
  paid(3, "user-2");
  must(first->ask(
    query::remember_user{"user-2", "b@example.com", "en", after(0)}));
  CAF_CHECK((search("user-2") == list{3, 2}));
  CAF_CHECK((search("b@example.com") == list{3, 2}));
  CAF_CHECK((search("tx-1") == list{1}));
  CAF_CHECK((search("p-2") == list{2}));
  // As a whole, and nothing by halves.
  for (const auto* unknown : {"user", "USER-2", "b@example", "tx-", "p", " "})
    CAF_CHECK(search(unknown).empty());
  CAF_CHECK((search("") == list{3, 2, 1}));
}

CAF_TEST(a project that is gone names nobody) {
  auto x = at_work(1);
  store(x.step(cancel_requested{after(4'000), actor_kind::user}));
  CAF_CHECK((search("p-1") == list{1}));
  store(x.step(cancellation_confirmed{after(5'000)}));
  CAF_CHECK(search("p-1").empty());
}

CAF_TEST(a search is narrowed and goes page by page) {
  for (auto id : {1u, 2u, 3u, 4u})
    paid(id);
  at_work(5);
  auto fresh = life{6};
  store(fresh.create());
  auto what = query::search_records{};
  what.limit = 2;
  CAF_CHECK((search(what) == list{6, 5}));
  what.before = subscription_id{5};
  CAF_CHECK((search(what) == list{4, 3}));
  what.before = subscription_id{3};
  CAF_CHECK((search(what) == list{2, 1}));
  what.before = subscription_id{1};
  CAF_CHECK(search(what).empty());
  what.before = {};
  what.limit = 10;
  what.status = subscription_status::pending;
  CAF_CHECK((search(what) == list{6}));
  what.status.reset();
  what.phases = {phase::deploying_template, phase::idle};
  CAF_CHECK((search(what) == list{6, 5}));
  what.phases = {phase::queued};
  CAF_CHECK((search(what) == list{4, 3, 2, 1}));
  what.phases.clear();
  what.id = subscription_id{4};
  CAF_CHECK((search(what) == list{4}));
  what.text = "tx-4";
  CAF_CHECK((search(what) == list{4}));
  what.text = "tx-3";
  CAF_CHECK(search(what).empty());
}

CAF_TEST(what is found is whole) {
  auto x = at_work(1);
  auto what = query::search_records{};
  what.limit = 1;
  const auto found = must(first->ask(what));
  CAF_REQUIRE_EQUAL(found.size(), 1u);
  check_equal(found[0], x.now);
}

CAF_TEST(a story is told in one order and to its end) {
  auto x = paid(1);
  auto other = paid(2);
  auto entry = callback_entry{};
  entry.outcome = callback_outcome::contradicted;
  entry.received_at = after(2'500);
  entry.dedupe_key = "n-1";
  entry.order_id = "order-1";
  entry.reason = "amount_mismatch";
  entry.subscription = x.now.id;
  CAF_CHECK(wait_for(first->send(entry)) == errc::none);
  auto t = x.step(slot_granted{after(3'000)});
  t->history.push_back({after(2'900), history_kind::provider,
                        "projectCreate: ok", "projectCreate", "ok"});
  store(t);
  must(first->ask(
    query::note_history{x.now.id,
                        {after(9'000), history_kind::provider,
                         "A project was removed", "projectDelete", "ok"}}));
  auto told = std::vector<std::string>{};
  for (const auto& row : timeline(x.now.id, {}, 100))
    told.push_back(row.kind + " " + row.operation + " " + row.outcome);
  CAF_CHECK(
    (told
     == std::vector<std::string>{
       "state subscription_created idle", "state order_requested idle",
       "state payment_settled queued", "notification PAYMENT_RECEIVED unread",
       "callback notify contradicted", "provider projectCreate ok",
       "state slot_granted creating_project", "provider projectDelete ok"}));
  // Page by page nothing is left out, and nothing comes twice.
  auto paged = std::vector<std::string>{};
  auto from = query::list_timeline::place{};
  for (auto i = 0; i < 20; ++i) {
    const auto page = timeline(x.now.id, from, 1);
    if (page.empty())
      break;
    paged.push_back(page[0].kind + " " + page[0].operation + " "
                    + page[0].outcome);
    from = page[0].where;
  }
  CAF_CHECK(paged == told);
  CAF_CHECK(timeline(subscription_id{4711}, {}, 10).empty());
}

CAF_TEST(every notice has its name in the story) {
  auto x = paid(1);
  auto db = probe{url};
  db.run("DELETE FROM notifications");
  for (std::size_t i = 0; i < notice_kind_count; ++i)
    db.run("INSERT INTO notifications (user_id, subscription_id, revision, "
           "kind, instance_seq, public_url, error, amount_minor, created_at) "
           "VALUES ('user-1', 1, 99, "
           + std::to_string(i) + ", 1, '', '', 0, now())");
  auto told = std::vector<std::string>{};
  for (const auto& row : timeline(x.now.id, {}, 100))
    if (row.kind == "notification")
      told.push_back(row.operation);
  CAF_REQUIRE_EQUAL(told.size(), notice_kind_count);
  for (std::size_t i = 0; i < told.size(); ++i)
    CAF_CHECK_EQUAL(told[i],
                    std::string{to_string(static_cast<notice_kind>(i))});
}

CAF_TEST(a line of history belongs to a subscription that is there) {
  auto x = paid(1);
  const auto line
    = history_entry{after(9'000), history_kind::provider,
                    "A project was removed", "projectDelete", "ok"};
  must(first->ask(query::note_history{x.now.id, line}));
  must(first->ask(query::note_history{subscription_id{4711}, line}));
  auto db = probe{url};
  CAF_CHECK_EQUAL(db.count("events WHERE operation = 'projectDelete'"), 1);
  const auto rows = must(first->ask(query::list_history{x.now.id, 0, 100}));
  CAF_REQUIRE_EQUAL(rows.size(), 4u);
  const auto& last = rows.back().entry;
  CAF_CHECK(last.at == after(9'000));
  CAF_CHECK(last.kind == history_kind::provider);
  CAF_CHECK_EQUAL(last.summary, "A project was removed");
  CAF_CHECK_EQUAL(last.operation, "projectDelete");
  CAF_CHECK_EQUAL(last.outcome, "ok");
  // It moves nothing.
  check_equal(first->find(x.now.id), x.now);
}

CAF_TEST_FIXTURE_SCOPE_END()

#define CAF_SUITE persistence_ownership

#include "tests/integration/persistence/world.hpp"

#include <algorithm>

using namespace slipway;
using namespace slipway::lifecycle;
using namespace slipway::test;

namespace {

struct fixture : world {
  /// The session of a server's lease.
  static std::string lease_session(const std::string& name) {
    return "pg_stat_activity WHERE datname = current_database() "
           "AND application_name = '"
           + name + "'";
  }

  static std::string lock_of(const node& x) {
    return "pg_locks WHERE locktype = 'advisory' AND granted "
           "AND classid = 1936419190 AND objsubid = 2 "
           "AND database = (SELECT oid FROM pg_database "
           "WHERE datname = current_database()) AND objid = "
           + std::to_string(x.server);
  }

  errc refused(node& by, subscription_id id) {
    const auto answer = by.ask(query::claim_record{id});
    return answer ? errc::none : answer.error();
  }
};

} // namespace

CAF_TEST_FIXTURE_SCOPE(ownership_tests, fixture)

CAF_TEST(a second server cannot write what the first one owns) {
  second = add("second");
  CAF_REQUIRE(first->server != second->server);
  auto x = paid(1);
  auto forged = x;
  CAF_CHECK(second->write(forged.step(slot_granted{after(3'000)}))
            == commit_status::conflict);
  CAF_CHECK(refused(*second, x.now.id) == errc::owned_elsewhere);
  CAF_CHECK(must(second->ask(query::claim_orphans{10})).empty());
  check_equal(first->find(x.now.id), x.now);
  store(x.step(slot_granted{after(3'000)}));
}

CAF_TEST(an epoch that has passed writes nothing) {
  auto x = paid(1);
  probe{url}.run("UPDATE subscriptions SET epoch = epoch + 1");
  auto forged = x;
  CAF_CHECK(first->write(forged.step(slot_granted{after(3'000)}))
            == commit_status::conflict);
  x.now.epoch += 1;
  check_equal(first->find(x.now.id), x.now);
  store(x.step(slot_granted{after(3'000)}));
}

CAF_TEST(after a takeover the first server can write nothing) {
  second = add("second");
  auto x = paid(1);
  auto y = life{2};
  store(y.create());
  first->lose_lease();
  auto taken = must(second->ask(query::claim_record{x.now.id}));
  CAF_CHECK_EQUAL(taken.epoch, x.now.epoch + 1);
  auto old = x;
  x.now.epoch = taken.epoch;
  check_equal(taken, x.now);
  const auto t = old.step(slot_granted{after(3'000)});
  t->callback = std::make_shared<callback_entry>();
  t->callback->dedupe_key = "late";
  t->callback->subscription = x.now.id;
  CAF_CHECK(first->write(t) == commit_status::conflict);
  check_equal(second->find(x.now.id), x.now);
  auto db = probe{url};
  CAF_CHECK_EQUAL(db.count("instances"), 0);
  CAF_CHECK_EQUAL(db.count("callbacks"), 0);
  CAF_CHECK_EQUAL(db.count("events WHERE subscription_id = 1"), 3);
  CAF_CHECK(second->write(x.step(slot_granted{after(3'000)}))
            == commit_status::stored);
  check_equal(second->find(x.now.id), x.now);
  // A claim of what is ours already changes nothing.
  CAF_CHECK_EQUAL(must(second->ask(query::claim_record{x.now.id})).epoch,
                  x.now.epoch);
  // What the second one did not take, the first one still writes.
  CAF_CHECK(first->write(y.order()) == commit_status::stored);
}

CAF_TEST(an unknown subscription cannot be claimed) {
  CAF_CHECK(refused(*first, subscription_id{4711}) == errc::not_found);
  const auto found = first->ask(query::find_record{subscription_id{4711}});
  CAF_CHECK(!found && found.error() == errc::not_found);
}

CAF_TEST(orphans are claimed page by page and only those under way) {
  second = add("second");
  auto waiting = std::vector<life>{};
  for (auto id = 1u; id <= 7; ++id)
    waiting.push_back(paid(id));
  auto settled = life{100};
  store(settled.create());
  CAF_CHECK(must(second->ask(query::claim_orphans{3})).empty());
  first->lose_lease();
  auto got = std::vector<record>{};
  auto sizes = std::vector<std::size_t>{};
  do {
    auto page = must(second->ask(query::claim_orphans{3}));
    sizes.push_back(page.size());
    std::move(page.begin(), page.end(), std::back_inserter(got));
  } while (sizes.back() == 3 && sizes.size() < 10);
  CAF_CHECK((sizes == std::vector<std::size_t>{3, 3, 1}));
  CAF_REQUIRE_EQUAL(got.size(), 7u);
  std::sort(got.begin(), got.end(), [](const auto& a, const auto& b) {
    return a.id < b.id;
  });
  for (auto i = 0u; i < 7; ++i) {
    waiting[i].now.epoch += 1;
    check_equal(got[i], waiting[i].now);
  }
  auto db = probe{url};
  CAF_CHECK_EQUAL(db.count("servers WHERE retired_at IS NOT NULL"), 1);
  CAF_CHECK(must(second->ask(query::claim_orphans{3})).empty());
  // What was settled is claimed when somebody asks for it.
  CAF_CHECK_EQUAL(must(second->ask(query::claim_record{settled.now.id})).epoch,
                  settled.now.epoch + 1);
}

CAF_TEST(an orphan that is locked for a moment is not forgotten) {
  second = add("second");
  auto x = paid(1);
  auto y = paid(2);
  first->lose_lease();
  // The dead server's last commit is still under way.
  auto lock = probe{url};
  must(lock.db().begin());
  must(lock.query("SELECT 1 FROM subscriptions WHERE id = 1 FOR UPDATE"));
  auto page = must(second->ask(query::claim_orphans{10}));
  CAF_REQUIRE_EQUAL(page.size(), 1u);
  CAF_CHECK(page[0].id == y.now.id);
  must(lock.db().rollback());
  page = must(second->ask(query::claim_orphans{10}));
  CAF_REQUIRE_EQUAL(page.size(), 1u);
  CAF_CHECK(page[0].id == x.now.id);
}

CAF_TEST(two servers that claim at once share the orphans) {
  second = add("second");
  auto third = add("third");
  for (auto id = 1u; id <= 20; ++id)
    paid(id);
  first->lose_lease();
  auto one = second->send_query(query::claim_orphans{100});
  auto two = third->send_query(query::claim_orphans{100});
  auto ids = std::vector<std::uint64_t>{};
  for (auto* answer : {&one, &two})
    for (const auto& x : must(wait_for(std::move(*answer))))
      ids.push_back(raw(x.id));
  // Whoever was skipped by one was taken by the other, and none by both.
  std::sort(ids.begin(), ids.end());
  CAF_CHECK(std::adjacent_find(ids.begin(), ids.end()) == ids.end());
  CAF_CHECK_EQUAL(ids.size(), 20u);
}

// -- the lease ---------------------------------------------------------------

CAF_TEST(a server whose session is gone is dead at once) {
  auto x = paid(1);
  auto db = probe{url};
  // Long before its lease would lapse: the row says 60 s.
  db.run("INSERT INTO servers (name, lease_until) "
         "VALUES ('crashed', now() + interval '1 hour')");
  db.run("UPDATE subscriptions SET owner = (SELECT id FROM servers "
         "WHERE name = 'crashed')");
  second = add("second");
  CAF_CHECK_EQUAL(
    db.count("servers WHERE name = 'crashed' AND lease_until <= now()"), 1);
  const auto page = must(second->ask(query::claim_orphans{10}));
  CAF_REQUIRE_EQUAL(page.size(), 1u);
  CAF_CHECK(page[0].id == x.now.id);
  // And the living one was left alone.
  CAF_CHECK_EQUAL(
    db.count("servers WHERE name = 'first' AND lease_until > now()"), 1);
}

CAF_TEST(a lease is renewed and its session comes back) {
  auto db = probe{url};
  CAF_CHECK_EQUAL(db.count(lock_of(*first)), 1);
  db.run("UPDATE servers SET lease_until = now(), retired_at = now()");
  CAF_CHECK(eventually([&] {
    return db.count("servers WHERE retired_at IS NULL "
                    "AND lease_until > now() + interval '30 s'")
           == 1;
  }));
  must(db.query("SELECT pg_terminate_backend(pid) FROM "
                + lease_session("first")));
  CAF_CHECK(eventually([&] {
    return db.count(lease_session("first")) == 1
           && db.count(lock_of(*first)) == 1;
  }));
}

CAF_TEST(a lock that is taken for a moment is asked for again) {
  // Like one that the server's own lost session still holds.
  auto db = probe{url};
  auto other = std::thread{[&] {
    auto rival = probe{url};
    must(rival.query("SELECT pg_advisory_lock(1936419190, "
                     + std::to_string(first->server) + ")"));
    // Ours is not alive by its lock now, and says so for a while.
    eventually([&] {
      return rival.count(lease_session("first")) == 1;
    });
    must(rival.query("SELECT pg_sleep(0.2)"));
  }};
  CAF_CHECK(eventually([&] {
    return db.count("pg_locks WHERE locktype = 'advisory' AND NOT granted")
           == 1;
  }));
  must(db.query("SELECT pg_terminate_backend(pid) FROM "
                + lease_session("first")));
  other.join();
  CAF_CHECK(eventually(
    [&] {
      return db.count(lock_of(*first)) == 1;
    },
    std::chrono::seconds{5}));
}

CAF_TEST(a lease that ends hands everything over) {
  auto db = probe{url};
  first->lose_lease();
  CAF_CHECK_EQUAL(db.count("servers WHERE lease_until <= now()"), 1);
  CAF_CHECK(eventually([&] {
    return db.count(lock_of(*first)) == 0;
  }));
}

CAF_TEST_FIXTURE_SCOPE_END()

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

  static std::string ended(const std::string& name) {
    return "servers WHERE ended_at IS NOT NULL AND name = '" + name + "'";
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

CAF_TEST(many are claimed by one commit) {
  second = add("second");
  auto lives = std::vector<life>{};
  for (auto i = 1u; i <= 40; ++i)
    lives.push_back(paid(i));
  // One of them stays with somebody else who lives.
  auto third = add("third");
  probe{url}.run("UPDATE subscriptions SET owner = (SELECT max(id) FROM "
                 "servers) WHERE id = 7");
  first->lose_lease();
  auto db = probe{url};
  // Until all of them have asked.
  db.run("BEGIN; LOCK TABLE subscriptions");
  auto asked = std::vector<std::future<job<query::claim_record>::reply>>{};
  const auto ask = [&](std::uint64_t id) {
    asked.push_back(
      second->send_query(query::claim_record{subscription_id{id}}));
  };
  for (auto i = 1u; i <= 40; ++i)
    ask(i);
  ask(4'711);
  ask(3); // Twice.
  db.run("COMMIT");
  auto found = std::vector<job<query::claim_record>::reply>{};
  for (auto& x : asked)
    found.push_back(wait_for(std::move(x)));
  for (size_t i = 0; i < lives.size(); ++i) {
    if (i == 6) {
      CAF_CHECK(!found[i] && found[i].error() == errc::owned_elsewhere);
      continue;
    }
    auto x = lives[i].now;
    x.epoch += 1;
    check_equal(must(found[i]), x);
  }
  CAF_CHECK(!found[40] && found[40].error() == errc::not_found);
  CAF_CHECK_EQUAL(must(found[41]).id, subscription_id{3});
  // The first ones may have gone ahead; all others came together, but for the
  // one that was asked for twice.
  CAF_CHECK(db.count("(SELECT DISTINCT xmin::text FROM subscriptions) x") <= 4);
  third->lose_lease();
  CAF_CHECK_EQUAL(must(second->ask(query::claim_record{subscription_id{7}})).id,
                  subscription_id{7});
}

CAF_TEST(whoever was given up for its silence may still be calling) {
  second = add("second");
  const auto x = paid(1).now.id;
  const auto y = paid(2).now.id;
  auto db = probe{url};
  const auto number = std::to_string(second->server);
  db.run("UPDATE subscriptions SET owner = " + number + " WHERE id = 2");
  db.run("UPDATE servers SET ended_at = now() - interval '7 s' WHERE id <> "
         + number);
  must(second->ask(query::claim_record{x}));
  const auto age = must(second->ask(query::last_silence{x}));
  CAF_REQUIRE(age);
  CAF_CHECK(*age >= std::chrono::seconds{7});
  CAF_CHECK(*age < std::chrono::minutes{5});
  CAF_CHECK(!must(second->ask(query::last_silence{y})));
  // Who stops by itself has made its last call: what is known of the one before
  // it stays known.
  auto third = add("third");
  second->lose_lease();
  must(third->ask(query::claim_record{x}));
  must(third->ask(query::claim_record{y}));
  CAF_CHECK(must(third->ask(query::last_silence{x})));
  CAF_CHECK(!must(third->ask(query::last_silence{y})));
  CAF_CHECK(!must(third->ask(query::last_silence{subscription_id{4'711}})));
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
  CAF_CHECK(first->write(t) == commit_status::failed);
  CAF_CHECK(*first->fenced);
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
  // Nor what the second one has not taken yet, nor anything new, nor by a
  // query.
  CAF_CHECK(first->write(y.order()) == commit_status::failed);
  CAF_CHECK(first->write(life{3}.create()) == commit_status::failed);
  auto entry = callback_entry{};
  entry.dedupe_key = "late, too";
  CAF_CHECK(wait_for(first->send(entry)) == errc::owned_elsewhere);
  CAF_CHECK(!first->ask(query::note_quarantine{x.now.id, after(0), 1, "x"}));
  CAF_CHECK_EQUAL(db.count("callbacks"), 0);
  CAF_CHECK_EQUAL(db.count("quarantines"), 0);
  CAF_CHECK_EQUAL(db.count("subscriptions"), 2);
  // Reading harms nobody.
  check_equal(first->find(x.now.id), x.now);
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
  // Its last commits may land for a while after its end.
  probe{url}.run("UPDATE servers SET ended_at = now() - interval '2 min' "
                 "WHERE ended_at IS NOT NULL");
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

CAF_TEST(a process that has ended on this machine is dead at once) {
  auto x = paid(1);
  auto db = probe{url};
  const auto me = this_process();
  CAF_REQUIRE(!me.empty());
  CAF_CHECK(!is_known_dead(me));
  // Long before its lease would lapse; its pid is somebody else's by now.
  db.run("INSERT INTO servers (name, process, lease_until) "
         "VALUES ('crashed', '"
         + me + "0', now() + interval '1 hour'), " + "('living', '" + me
         + "', now() + interval '1 hour'), " + "('elsewhere', 'x" + me
         + "0', now() + interval '1 hour'), "
         + "('unknown', '', now() + interval '1 hour')");
  db.run("UPDATE subscriptions SET owner = (SELECT id FROM servers "
         "WHERE name = 'crashed')");
  second = add("second");
  CAF_CHECK_EQUAL(db.count(ended("crashed")), 1);
  CAF_CHECK_EQUAL(db.count("servers WHERE ended_at IS NOT NULL"), 1);
  const auto page = must(second->ask(query::claim_orphans{10}));
  CAF_REQUIRE_EQUAL(page.size(), 1u);
  CAF_CHECK(page[0].id == x.now.id);
}

CAF_TEST(processes are told apart by all of their marks) {
  const auto me = this_process();
  for (const auto* text : {"", " ", "x", "a b c", "a b c d", "- - -"})
    CAF_CHECK(!is_known_dead(text));
  CAF_CHECK(!is_known_dead("other" + me));
  CAF_CHECK(is_known_dead(me + "1"));
  const auto start = me.rfind(' ');
  const auto pid = me.rfind(' ', start - 1);
  // Beyond any pid that Linux gives.
  CAF_CHECK(is_known_dead(me.substr(0, pid) + " 99999999" + me.substr(start)));
  CAF_CHECK(!is_known_dead(me.substr(0, pid) + " -1" + me.substr(start)));
  CAF_CHECK(
    !is_known_dead(me.substr(0, pid) + " 99999999999" + me.substr(start)));
}

CAF_TEST(a silent server is taken over after the length of a lease) {
  auto x = paid(1);
  auto db = probe{url};
  db.run("INSERT INTO servers (name, lease_until) "
         "VALUES ('silent', now() + interval '300 ms')");
  db.run("UPDATE subscriptions SET owner = (SELECT id FROM servers "
         "WHERE name = 'silent')");
  second = add("second", millis{300});
  CAF_CHECK(eventually([&] {
    return db.count(ended("silent")) == 1;
  }));
  CAF_CHECK_EQUAL(db.count("servers WHERE ended_at < lease_until"), 0);
  // The living ones renew, also with leases as short as that.
  CAF_CHECK_EQUAL(db.count(ended("first")), 0);
  CAF_CHECK_EQUAL(db.count(ended("second")), 0);
  CAF_CHECK(second->holds());
  CAF_CHECK_EQUAL(must(second->ask(query::claim_orphans{10})).size(), 1u);
}

CAF_TEST(a lease is renewed and its session comes back) {
  auto db = probe{url};
  db.run("UPDATE servers SET lease_until = now()");
  CAF_CHECK(eventually([&] {
    return db.count("servers WHERE lease_until > now() + interval '30 s'") == 1;
  }));
  must(db.query("SELECT pg_terminate_backend(pid) FROM "
                + lease_session("first")));
  CAF_CHECK(eventually([&] {
    return db.count(lease_session("first")) == 1;
  }));
  db.run("UPDATE servers SET lease_until = now()");
  CAF_CHECK(eventually([&] {
    return db.count("servers WHERE lease_until > now() + interval '30 s'") == 1;
  }));
  CAF_CHECK(!*first->lost);
  CAF_CHECK(first->holds());
}

CAF_TEST(a lease that another server has ended is lost for good) {
  auto x = paid(1);
  auto db = probe{url};
  CAF_CHECK(first->holds());
  db.run("UPDATE servers SET ended_at = now()");
  CAF_CHECK(eventually([&] {
    return first->lost->load();
  }));
  CAF_CHECK(!first->holds());
  CAF_CHECK(first->write(x.step(slot_granted{after(3'000)}))
            == commit_status::failed);
  // It does not come back by itself, and what it says at its end changes
  // nothing.
  first->lose_lease();
  CAF_CHECK_EQUAL(db.count(ended("first")), 1);
}

CAF_TEST(a lease that ends hands everything over) {
  auto db = probe{url};
  first->lose_lease();
  CAF_CHECK_EQUAL(
    db.count("servers WHERE lease_until <= now() AND ended_at IS NOT NULL"), 1);
}

// -- a REGISTRY that is started again
// --------------------------------------------------------------------

CAF_TEST(what is ours and under way is listed page by page) {
  second = add("second");
  auto mine = std::vector<life>{};
  for (auto id = 1u; id <= 5; ++id)
    mine.push_back(paid(id));
  auto settled = life{100};
  store(settled.create());
  auto page = must(first->ask(query::list_own{subscription_id{}, 3}));
  CAF_REQUIRE_EQUAL(page.size(), 3u);
  for (auto i = 0u; i < 3; ++i)
    check_equal(page[i], mine[i].now);
  page = must(first->ask(query::list_own{page.back().id, 3}));
  CAF_REQUIRE_EQUAL(page.size(), 2u);
  check_equal(page[1], mine[4].now);
  CAF_CHECK(must(second->ask(query::list_own{subscription_id{}, 3})).empty());
}

CAF_TEST(quarantine is written down until it is lifted or its server ends) {
  second = add("second");
  auto x = paid(1);
  auto y = paid(2);
  auto db = probe{url};
  must(first->ask(query::note_quarantine{x.now.id, after(1), 8, "first"}));
  must(first->ask(query::note_quarantine{x.now.id, after(2), 9, "again"}));
  must(first->ask(query::note_quarantine{y.now.id, after(3), 8, "other"}));
  must(first->ask(
    query::note_quarantine{subscription_id{4711}, after(4), 8, "unknown"}));
  auto seen = must(second->ask(query::list_attention{after(9), millis{0}, 10}));
  seen.erase(std::remove_if(seen.begin(), seen.end(),
                            [](const auto& row) {
                              return row.kind != "quarantined";
                            }),
             seen.end());
  CAF_REQUIRE_EQUAL(seen.size(), 2u);
  CAF_CHECK_EQUAL(seen[1].reason, "failed 9 times: again");
  CAF_CHECK(seen[1].since == after(1));
  must(first->ask(query::lift_quarantine{x.now.id}));
  CAF_CHECK_EQUAL(db.count("quarantines"), 1);
  first->lose_lease();
  must(second->ask(query::claim_orphans{10}));
  CAF_CHECK_EQUAL(db.count("quarantines"), 0);
}

CAF_TEST_FIXTURE_SCOPE_END()

#define CAF_SUITE persistence_outage

#include "tests/integration/persistence/world.hpp"

using namespace slipway;
using namespace slipway::lifecycle;
using namespace slipway::test;

namespace {

struct fixture : world {
  static callback_entry message(const std::string& event) {
    auto x = callback_entry{};
    x.dedupe_key = event;
    x.received_at = after(2'000);
    x.outcome = callback_outcome::acknowledged;
    return x;
  }

  /// Asks the store until its answer is not that the database is away.
  bool is_back() {
    return eventually([&] {
      return first->ask(query::ping{}).has_value();
    });
  }

  /// Reloads what the journal may or may not have written.
  void reload(life& x) {
    x.now = must(first->ask(query::claim_record{x.now.id}));
  }

  /// Writes what must be stored, as soon as the journal has its connection
  /// back, which is not the one that the store answers on.
  void store_when_back(const transition_ptr& what) {
    auto status = commit_status::failed;
    CAF_REQUIRE(eventually([&] {
      status = first->write(what);
      return status != commit_status::failed;
    }));
    CAF_REQUIRE(status == commit_status::stored);
  }
};

} // namespace

CAF_TEST_FIXTURE_SCOPE(outage_tests, fixture)

CAF_TEST(without a database everything is answered at once and comes back) {
  auto x = paid(1);
  auto before = x;
  postgres.stop();
  const auto watch = stopwatch{};
  const auto t = x.step(slot_granted{after(3'000)});
  for (auto i = 0; i < 20; ++i) {
    CAF_CHECK(first->write(t) == commit_status::failed);
    const auto found = first->ask(query::find_record{x.now.id});
    CAF_CHECK(!found && found.error() == errc::database_down);
    const auto slots = first->ask(query::slots{3});
    CAF_CHECK(!slots && slots.error() == errc::database_down);
    CAF_CHECK(wait_for(first->send(message("m"))) == errc::database_down);
  }
  CAF_CHECK_LESS(watch.read().count(), 3'000);
  postgres.start();
  CAF_REQUIRE(is_back());
  check_equal(first->find(x.now.id), before.now);
  CAF_CHECK(eventually([&] {
    return first->write(t) == commit_status::stored;
  }));
  check_equal(first->find(x.now.id), x.now);
  CAF_CHECK_EQUAL(probe{url}.count("callbacks"), 0);
}

CAF_TEST(a server that is killed in a commit leaves it in doubt) {
  auto x = paid(1);
  auto y = paid(2);
  const auto before = x.now;
  auto lock = probe{url};
  must(lock.db().begin());
  must(lock.query("SELECT 1 FROM subscriptions WHERE id = 1 FOR UPDATE"));
  auto result = first->send(x.step(slot_granted{after(3'000)}));
  {
    auto watcher = probe{url};
    const auto waits = "pg_stat_activity WHERE wait_event_type = 'Lock' "
                       "AND application_name = '"
                       + first->journal_name() + "'";
    CAF_REQUIRE(eventually([&] {
      return watcher.count(waits) == 1;
    }));
  }
  postgres.kill9();
  const auto status = wait_for(std::move(result));
  CAF_CHECK(status == commit_status::in_doubt
            || status == commit_status::failed);
  postgres.start();
  CAF_REQUIRE(is_back());
  reload(x);
  CAF_CHECK(x.now.state == before.state);
  CAF_CHECK_EQUAL(probe{url}.count("instances"), 0);
  store_when_back(x.step(slot_granted{after(4'000)}));
  check_equal(first->find(x.now.id), x.now);
  check_equal(first->find(y.now.id), y.now);
}

CAF_TEST(what was acknowledged before a crash is there after it) {
  // A stream of commits, and a blow in the middle of it.
  constexpr auto subscriptions = 50;
  auto lives = std::vector<life>{};
  for (auto id = 1; id <= subscriptions; ++id) {
    lives.push_back(paid(static_cast<std::uint64_t>(id)));
    store(lives.back().step(slot_granted{after(3'000)}));
  }
  auto acknowledged = std::vector<std::uint64_t>(subscriptions);
  auto sent = std::vector<std::uint64_t>(subscriptions);
  for (auto i = 0; i < subscriptions; ++i)
    acknowledged[i] = sent[i] = lives[i].now.state.revision;
  auto blow = std::promise<void>{};
  auto struck = blow.get_future();
  auto refused = 0;
  auto writer = std::thread{[&] {
    for (auto round = 0; round < 2'000 && refused == 0; ++round) {
      auto results = std::vector<std::future<commit_status>>{};
      for (auto i = 0; i < subscriptions; ++i) {
        results.push_back(first->send(
          lives[i].step(project_create_started{after(4'000 + round), 1})));
        sent[i] = lives[i].now.state.revision;
      }
      for (auto i = 0; i < subscriptions; ++i) {
        const auto status = results[i].get();
        if (status == commit_status::stored)
          acknowledged[i] = sent[i];
        else
          ++refused;
      }
      if (round == 20)
        blow.set_value();
    }
  }};
  struck.wait();
  postgres.kill9();
  writer.join();
  CAF_CHECK_GREATER(refused, 0);
  postgres.start();
  CAF_REQUIRE(is_back());
  auto db = probe{url};
  for (auto i = 0; i < subscriptions; ++i) {
    const auto stored = first->find(lives[i].now.id).state.revision;
    CAF_CHECK_GREATER_OR_EQUAL(stored, acknowledged[i]);
    CAF_CHECK_LESS_OR_EQUAL(stored, sent[i]);
    // History and state are one transaction.
    CAF_CHECK_EQUAL(
      db.count("events WHERE subscription_id = " + std::to_string(i + 1)),
      static_cast<std::int64_t>(stored));
    reload(lives[i]);
    store_when_back(lives[i].step(project_create_started{after(900'000), 1}));
  }
}

CAF_TEST(a lease outlives a restart of the database) {
  auto db = std::make_unique<probe>(url);
  const auto server = std::to_string(first->server);
  db.reset();
  postgres.stop();
  postgres.start();
  db = std::make_unique<probe>(url);
  // Like that of a neighbour who has not come back yet: not taken for dead
  // before he has had the time.
  db->run("INSERT INTO servers (name, lease_until) "
          "VALUES ('neighbour', now() - interval '1 s')");
  db->run("UPDATE servers SET lease_until = now() WHERE id = " + server);
  CAF_CHECK(eventually([&] {
    return db->count("servers WHERE id = " + server
                     + " AND lease_until > now() + interval '30 s'")
           == 1;
  }));
  db->run("UPDATE servers SET lease_until = now() WHERE id = " + server);
  CAF_CHECK(eventually([&] {
    return db->count("servers WHERE id = " + server
                     + " AND lease_until > now() + interval '30 s'")
           == 1;
  }));
  CAF_CHECK_EQUAL(db->count("servers WHERE ended_at IS NOT NULL"), 0);
}

CAF_TEST(a statement that hangs is given up and the next one works) {
  auto x = paid(1);
  auto quick = pg::connection_options{};
  quick.url = url;
  quick.application_name = "quick journal";
  quick.statement_timeout = millis{200};
  quick.grace = millis{500};
  caf::anon_send_exit(first->journal, caf::exit_reason::user_shutdown);
  first->journal = system.spawn<caf::detached>(
    journal, &meters, journal_options{quick, first->server, 256});
  auto lock = probe{url};
  must(lock.db().begin());
  must(lock.query("SELECT 1 FROM subscriptions WHERE id = 1 FOR UPDATE"));
  const auto t = x.step(slot_granted{after(3'000)});
  const auto watch = stopwatch{};
  const auto status = first->write(t);
  CAF_CHECK(status == commit_status::failed);
  CAF_CHECK_LESS(watch.read().count(), 5'000);
  must(lock.db().rollback());
  store_when_back(t);
}

CAF_TEST_FIXTURE_SCOPE_END()

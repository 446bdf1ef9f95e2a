#define CAF_SUITE pg_migrate

#include "tests/integration/pg/support.hpp"
#include "tests/support/postgres_fixture.hpp"

#include <caf/test/unit_test.hpp>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

using namespace slipway;
using namespace slipway::pg;
using namespace slipway::test;

namespace {

constexpr millis lock_wait{10'000};

struct fixture {
  template <class T>
  static void must(const tl::expected<T, error>& outcome) {
    if (!outcome)
      CAF_FAIL(to_string(outcome.error()));
  }

  std::int64_t number(const char* sql) {
    // Names stand for one text each, so the text is its own name.
    const statement what{sql, sql, false};
    auto row = db.execute(what);
    must(row);
    return row->int64(0, 0);
  }

  int version() {
    auto found = schema_version(db);
    must(found);
    return *found;
  }

  const std::vector<migration> two{
    {1, "one", "CREATE TABLE a (id int); INSERT INTO a VALUES (1);"},
    {2, "two", "ALTER TABLE a ADD COLUMN b text NOT NULL DEFAULT 'x';"},
  };
  std::string url = postgres_fixture::shared().database();
  connection db = postgres_fixture::connect(url);
};

} // namespace

CAF_TEST_FIXTURE_SCOPE(migrate_tests, fixture)

CAF_TEST(an empty database is brought up to date once) {
  CAF_CHECK_EQUAL(version(), 0);
  auto first = migrate(db, two, lock_wait);
  must(first);
  CAF_CHECK_EQUAL(first->from, 0);
  CAF_CHECK_EQUAL(first->to, 2);
  CAF_CHECK_EQUAL(first->applied, (std::vector<int>{1, 2}));
  CAF_CHECK_EQUAL(version(), 2);
  auto second = migrate(db, two, lock_wait);
  must(second);
  CAF_CHECK_EQUAL(second->from, 2);
  CAF_CHECK_EQUAL(second->to, 2);
  CAF_CHECK(second->applied.empty());
  CAF_CHECK_EQUAL(number("SELECT count(*) FROM a WHERE b = 'x'"), 1);
  CAF_CHECK_EQUAL(number("SELECT count(*) FROM schema_migrations WHERE name IN"
                         " ('one', 'two') AND length(checksum) = 64 AND"
                         " applied_at <= now()"),
                  2);
  CAF_CHECK_EQUAL(
    number("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"), 0);
}

CAF_TEST(later steps are added to earlier ones) {
  must(migrate(db, {two[0]}, lock_wait));
  CAF_CHECK_EQUAL(version(), 1);
  auto rest = migrate(db, two, lock_wait);
  must(rest);
  CAF_CHECK_EQUAL(rest->from, 1);
  CAF_CHECK_EQUAL(rest->applied, std::vector<int>{2});
}

CAF_TEST(two servers at once apply everything once) {
  // Both are held up until both wait for the lock.
  auto holder = postgres_fixture::connect(url);
  static constexpr statement take{"take", "SELECT pg_advisory_lock($1)", false};
  static constexpr statement give{"give", "SELECT pg_advisory_unlock($1)",
                                  false};
  params key;
  key.add(migration_lock_key);
  must(holder.execute(take, key));
  // What each of them applied, or why not.
  std::vector<std::string> applied(2);
  const auto run = [&](std::size_t which) {
    auto own = postgres_fixture::connect(url);
    const auto report = migrate(own, two, lock_wait);
    if (!report)
      applied[which] = to_string(report.error());
    else
      for (const int step : report->applied)
        applied[which] += std::to_string(step);
  };
  std::thread left{run, 0};
  std::thread right{run, 1};
  CAF_CHECK(eventually([this] {
    return number("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
                  " AND NOT granted")
           == 2;
  }));
  must(holder.execute(give, key));
  left.join();
  right.join();
  std::sort(applied.begin(), applied.end());
  CAF_CHECK_EQUAL(applied, (std::vector<std::string>{"", "12"}));
  CAF_CHECK_EQUAL(version(), 2);
}

CAF_TEST(waiting for another server has a limit) {
  auto holder = postgres_fixture::connect(url);
  static constexpr statement take{"take", "SELECT pg_advisory_lock($1)", false};
  params key;
  key.add(migration_lock_key);
  must(holder.execute(take, key));
  const stopwatch watch;
  const auto late = migrate(db, two, millis{100});
  CAF_CHECK(watch.read() < millis{5'000});
  CAF_CHECK_EQUAL(kind_in(late), "timeout");
  CAF_CHECK_EQUAL(message_in(late),
                  "another server has been migrating this database for more "
                  "than 100ms");
  CAF_CHECK(db.alive());
  CAF_CHECK_EQUAL(db.lock_timeout().count(), 0);
  CAF_CHECK_EQUAL(db.statement_timeout().count(), 10'000);
  CAF_CHECK_EQUAL(version(), 0);
}

CAF_TEST(an applied step must not change) {
  must(migrate(db, two, lock_wait));
  std::vector<migration> changed = two;
  changed[0].sql = "CREATE TABLE a (id bigint);";
  const auto refused = migrate(db, changed, lock_wait);
  CAF_CHECK_EQUAL(kind_in(refused), "other");
  CAF_CHECK_NOT_EQUAL(message_in(refused).find("migration 1 (one) differs"),
                      std::string::npos);
  CAF_CHECK_EQUAL(
    number("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"), 0);
}

CAF_TEST(a database of a newer Slipway is left alone) {
  must(migrate(db, two, lock_wait));
  const auto refused = migrate(db, {two[0]}, lock_wait);
  CAF_CHECK_EQUAL(kind_in(refused), "other");
  CAF_CHECK_EQUAL(message_in(refused),
                  "the database was migrated by a newer Slipway: its schema "
                  "has version 2 (two), this Slipway knows versions up to 1");
  CAF_CHECK_EQUAL(version(), 2);
}

CAF_TEST(a gap in the recorded versions is damage) {
  must(migrate(db, two, lock_wait));
  must(db.script("DELETE FROM schema_migrations WHERE version = 1"));
  const auto refused = migrate(db, two, lock_wait);
  CAF_CHECK_EQUAL(kind_in(refused), "other");
  CAF_CHECK_NOT_EQUAL(message_in(refused).find("damaged"), std::string::npos);
}

CAF_TEST(a failing step leaves nothing and can be repeated) {
  std::vector<migration> broken = two;
  broken.push_back({3, "three", "CREATE TABLE c (id int); SELECT 1 / 0;"});
  const auto failed = migrate(db, broken, lock_wait);
  CAF_CHECK_EQUAL(state_in(failed), "22012");
  CAF_CHECK_EQUAL(message_in(failed),
                  "migration 3 (three) failed: division by zero");
  CAF_CHECK(!db.in_transaction());
  CAF_CHECK_EQUAL(version(), 2);
  CAF_CHECK_EQUAL(number("SELECT count(*) FROM pg_class WHERE relname = 'c'"),
                  0);
  broken[2].sql = "CREATE TABLE c (id int);";
  auto repaired = migrate(db, broken, lock_wait);
  must(repaired);
  CAF_CHECK_EQUAL(repaired->applied, std::vector<int>{3});
}

CAF_TEST(a step must not end its transaction) {
  const auto refused
    = migrate(db, {{1, "one", "CREATE TABLE a (id int); COMMIT;"}}, lock_wait);
  CAF_CHECK_EQUAL(kind_in(refused), "other");
  CAF_CHECK_EQUAL(message_in(refused),
                  "migration 1 (one) failed: it ends its transaction");
  CAF_CHECK_EQUAL(version(), 0);
}

CAF_TEST(wrong numbers are refused before anything happens) {
  CAF_CHECK_EQUAL(kind_in(migrate(db, {two[1]}, lock_wait)), "other");
  CAF_CHECK_EQUAL(version(), 0);
}

CAF_TEST(the schema of this Slipway applies) {
  const auto& ours = schema_migrations();
  CAF_REQUIRE(!ours.empty());
  auto report = migrate(db, ours, lock_wait);
  must(report);
  CAF_CHECK_EQUAL(report->to, static_cast<int>(ours.size()));
  // And as a template, which the other tests use.
  auto copy
    = postgres_fixture::connect(postgres_fixture::shared().database(ours));
  auto version = schema_version(copy);
  must(version);
  CAF_CHECK_EQUAL(*version, report->to);
}

CAF_TEST_FIXTURE_SCOPE_END()

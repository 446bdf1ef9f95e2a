#define CAF_SUITE pg_connection

#include "tests/integration/pg/support.hpp"
#include "tests/support/postgres_fixture.hpp"

#include <caf/test/unit_test.hpp>

#include <string>
#include <utility>
#include <vector>

using namespace slipway;
using namespace slipway::pg;
using namespace slipway::test;

namespace {

struct fixture {
  fixture() {
    must(db.script("CREATE TABLE parent (id int PRIMARY KEY);"
                   "CREATE TABLE item ("
                   "  id int CONSTRAINT item_key PRIMARY KEY,"
                   "  amount int CONSTRAINT item_positive CHECK (amount > 0),"
                   "  parent int CONSTRAINT item_parent REFERENCES parent"
                   "    DEFERRABLE INITIALLY IMMEDIATE)"));
  }

  template <class T>
  static void must(const tl::expected<T, error>& outcome) {
    if (!outcome)
      CAF_FAIL(to_string(outcome.error()));
  }

  std::int64_t count(connection& with) {
    static constexpr statement all{"count", "SELECT count(*) FROM item", false};
    auto row = with.execute(all);
    must(row);
    return row->int64(0, 0);
  }

  std::int64_t count() {
    return count(db);
  }

  static params values(std::int32_t id, std::int32_t amount,
                       std::optional<std::int32_t> parent = std::nullopt) {
    params with;
    with.add(id).add(amount).add(parent);
    return with;
  }

  std::string url = postgres_fixture::shared().database();
  connection db = postgres_fixture::connect(url);
};

constexpr statement insert{
  "insert", "INSERT INTO item (id, amount, parent) VALUES ($1, $2, $3)"};

constexpr statement insert_returning{
  "insert_returning",
  "INSERT INTO item (id, amount, parent) VALUES ($1, $2, $3) RETURNING id"};

} // namespace

CAF_TEST_FIXTURE_SCOPE(connection_tests, fixture)

CAF_TEST(violations say which constraint) {
  must(db.execute(insert, values(1, 1)));
  const auto twice = db.execute(insert, values(1, 1));
  CAF_REQUIRE(!twice);
  CAF_CHECK_EQUAL(kind_in(twice), "unique_violation");
  CAF_CHECK_EQUAL(twice.error().constraint, "item_key");
  CAF_CHECK_EQUAL(twice.error().sqlstate, "23505");
  const auto negative = db.execute(insert, values(2, -1));
  CAF_CHECK_EQUAL(kind_in(negative), "check_violation");
  CAF_CHECK_EQUAL(negative.error().constraint, "item_positive");
  const auto orphan = db.execute(insert, values(2, 1, 99));
  CAF_CHECK_EQUAL(kind_in(orphan), "foreign_key_violation");
  CAF_CHECK_EQUAL(orphan.error().constraint, "item_parent");
  CAF_CHECK(db.alive());
  CAF_CHECK_EQUAL(count(), 1);
}

CAF_TEST(a message holds no values of rows) {
  static constexpr statement add{"add_parent",
                                 "INSERT INTO parent (id) VALUES ($1)"};
  params with;
  with.add(std::int32_t{424242});
  must(db.execute(add, with));
  const auto twice = db.execute(add, with);
  CAF_REQUIRE(!twice);
  CAF_CHECK_EQUAL(to_string(twice.error()).find("424242"), std::string::npos);
}

CAF_TEST(results count rows) {
  static constexpr statement many{
    "many", "INSERT INTO item (id, amount) SELECT n, 1 FROM"
            " generate_series(1, $1) AS s(n)"};
  static constexpr statement update{"update",
                                    "UPDATE item SET amount = 2 WHERE id > $1"};
  params with;
  with.add(std::int32_t{10});
  auto made = db.execute(many, with);
  must(made);
  CAF_CHECK_EQUAL(made->affected(), 10);
  CAF_CHECK_EQUAL(made->rows(), 0);
  CAF_CHECK(made->empty());
  with.clear();
  with.add(std::int32_t{7});
  auto changed = db.execute(update, with);
  must(changed);
  CAF_CHECK_EQUAL(changed->affected(), 3);
}

CAF_TEST(a mistake in a statement is other and leaves the connection) {
  static constexpr statement wrong{"wrong", "SELEC 1"};
  static constexpr statement missing{"missing", "SELECT * FROM no_such_table"};
  CAF_CHECK_EQUAL(kind_in(db.execute(wrong)), "other");
  CAF_CHECK_EQUAL(state_in(db.execute(wrong)), "42601");
  CAF_CHECK_EQUAL(state_in(db.execute(missing)), "42P01");
  CAF_CHECK(db.alive());
  CAF_CHECK_EQUAL(count(), 0);
}

CAF_TEST(text that is not UTF - 8 or holds zero bytes is refused) {
  static constexpr statement echo{"echo", "SELECT $1", false};
  params with;
  with.add("\xff\xfe");
  CAF_CHECK_EQUAL(state_in(db.execute(echo, with)), "22021");
  with.clear();
  with.add(std::string(1, '\0'));
  CAF_CHECK_EQUAL(state_in(db.execute(echo, with)), "22021");
  CAF_CHECK(db.alive());
}

CAF_TEST(the server stops a statement at its limit) {
  must(db.set_timeouts(millis{100}, millis{0}));
  static constexpr statement slow{
    "slow", "INSERT INTO item (id, amount) SELECT 1, 1 FROM pg_sleep(30)"};
  const stopwatch watch;
  const auto late = db.execute(slow);
  CAF_CHECK_EQUAL(kind_in(late), "timeout");
  CAF_CHECK_EQUAL(state_in(late), "57014");
  CAF_CHECK(watch.read() < millis{5'000});
  CAF_CHECK(db.alive());
  must(db.set_timeouts(millis{10'000}, millis{0}));
  CAF_CHECK_EQUAL(count(), 0);
}

CAF_TEST(waiting for a lock has a limit of its own) {
  must(db.execute(insert, values(1, 1)));
  auto other = postgres_fixture::connect(url);
  must(other.begin());
  must(other.script("UPDATE item SET amount = 5 WHERE id = 1"));
  must(db.set_timeouts(millis{10'000}, millis{50}));
  static constexpr statement update{"locked_update",
                                    "UPDATE item SET amount = 6 WHERE id = 1"};
  const auto late = db.execute(update);
  CAF_CHECK_EQUAL(kind_in(late), "timeout");
  CAF_CHECK_EQUAL(state_in(late), "55P03");
  must(other.rollback());
  must(db.execute(update));
}

CAF_TEST(a conflict of two transactions is worth another try) {
  must(db.script("INSERT INTO item VALUES (1, 1), (2, 1)"));
  auto other = postgres_fixture::connect(url);
  static constexpr statement update{
    "conflict", "UPDATE item SET amount = amount + 1 WHERE id = 1"};
  must(db.script("BEGIN ISOLATION LEVEL SERIALIZABLE"));
  must(other.script("BEGIN ISOLATION LEVEL SERIALIZABLE"));
  must(db.execute(update));
  CAF_CHECK_EQUAL(count(other), 2);
  must(db.commit());
  CAF_CHECK_EQUAL(kind_in(other.execute(update)), "serialization");
  must(other.rollback());
  must(other.execute(update));
}

CAF_TEST(transactions are all or nothing) {
  must(db.begin());
  CAF_CHECK(db.in_transaction());
  must(db.execute(insert, values(1, 1)));
  must(db.rollback());
  CAF_CHECK(!db.in_transaction());
  CAF_CHECK_EQUAL(count(), 0);
  must(db.begin());
  must(db.execute(insert, values(1, 1)));
  must(db.commit());
  CAF_CHECK_EQUAL(count(), 1);
}

CAF_TEST(committing a failed transaction is an error) {
  must(db.begin());
  must(db.execute(insert, values(1, 1)));
  CAF_CHECK_EQUAL(kind_in(db.execute(insert, values(1, 1))),
                  "unique_violation");
  CAF_CHECK(db.in_transaction());
  CAF_CHECK_EQUAL(state_in(db.commit()), "25P02");
  CAF_CHECK(!db.in_transaction());
  CAF_CHECK_EQUAL(count(), 0);
}

CAF_TEST(a failed commit is not in doubt) {
  must(db.begin());
  must(db.script("SET CONSTRAINTS ALL DEFERRED"));
  must(db.execute(insert, values(1, 1, 99)));
  CAF_CHECK_EQUAL(kind_in(db.commit()), "foreign_key_violation");
  CAF_CHECK(db.alive());
  CAF_CHECK_EQUAL(count(), 0);
}

CAF_TEST(a script runs several statements as one transaction) {
  must(db.script("INSERT INTO item VALUES (1, 1); INSERT INTO item VALUES (2, "
                 "1);"));
  CAF_CHECK_EQUAL(count(), 2);
  const auto failed = db.script("INSERT INTO item VALUES (3, 1);"
                                "INSERT INTO item VALUES (1, 1)");
  CAF_CHECK_EQUAL(kind_in(failed), "unique_violation");
  CAF_CHECK_EQUAL(count(), 2);
  CAF_CHECK_EQUAL(kind_in(db.script("COPY item FROM STDIN")), "in_doubt");
  CAF_CHECK(!db.alive());
}

CAF_TEST(a pipeline returns one result for each command) {
  static constexpr statement all{"all", "SELECT id FROM item ORDER BY id",
                                 false};
  const params none;
  const params first = values(1, 1);
  const params second = values(2, 1);
  const params third = values(3, 1);
  // Twice: the second time everything is prepared.
  for (int round = 0; round < 2; ++round) {
    auto results = db.pipeline({{&insert_returning, &first},
                                {&insert, &second},
                                {&insert_returning, &third},
                                {&all, &none}});
    must(results);
    CAF_REQUIRE_EQUAL(results->size(), 4U);
    CAF_CHECK_EQUAL((*results)[0].int32(0, 0), 1);
    CAF_CHECK_EQUAL((*results)[1].affected(), 1);
    CAF_CHECK_EQUAL((*results)[2].int32(0, 0), 3);
    CAF_CHECK_EQUAL((*results)[3].rows(), 3);
    CAF_CHECK_EQUAL((*results)[3].int32(2, 0), 3);
    CAF_CHECK(!db.in_transaction());
    CAF_CHECK_EQUAL(count(), 3);
    must(db.script("DELETE FROM item"));
  }
  auto nothing = db.pipeline({});
  must(nothing);
  CAF_CHECK(nothing->empty());
}

CAF_TEST(there is time for other things while a pipeline is carried out) {
  const params first = values(1, 1);
  const std::vector<command> one{{&insert, &first}};
  int calls = 0;
  must(db.pipeline(one, [&] {
    ++calls;
  }));
  CAF_CHECK_EQUAL(calls, 1);
  CAF_CHECK_EQUAL(count(), 1);
  // Nothing is under way where nothing could be sent.
  CAF_CHECK(!db.script("SELECT pg_terminate_backend(pg_backend_pid())"));
  CAF_CHECK(!db.pipeline(one, [&] {
    ++calls;
  }));
  CAF_CHECK_EQUAL(calls, 1);
}

CAF_TEST(a pipeline is all or nothing) {
  const params first = values(1, 1);
  const params second = values(2, 1);
  const params negative = values(3, -1);
  for (int round = 0; round < 2; ++round) {
    const auto failed = db.pipeline({{&insert, &first},
                                     {&insert, &negative},
                                     {&insert, &first},
                                     {&insert_returning, &second}});
    CAF_CHECK_EQUAL(kind_in(failed), "check_violation");
    CAF_CHECK(db.alive());
    CAF_CHECK(!db.in_transaction());
    CAF_CHECK_EQUAL(count(), 0);
  }
  // What the failed pipeline did not get to prepare is prepared now.
  must(db.pipeline({{&insert, &first}, {&insert_returning, &second}}));
  CAF_CHECK_EQUAL(count(), 2);
}

CAF_TEST(a pipeline may fail at its commit) {
  must(db.script("ALTER TABLE item ALTER CONSTRAINT item_parent"
                 " INITIALLY DEFERRED"));
  const params orphan = values(1, 1, 99);
  const params fine = values(2, 1);
  const auto failed
    = db.pipeline({{&insert, &orphan}, {&insert_returning, &fine}});
  CAF_CHECK_EQUAL(kind_in(failed), "foreign_key_violation");
  CAF_CHECK(db.alive());
  CAF_CHECK_EQUAL(count(), 0);
  // The same for a statement by itself, whose result comes before the commit.
  CAF_CHECK_EQUAL(kind_in(db.execute(insert_returning, orphan)),
                  "foreign_key_violation");
  CAF_CHECK(db.alive());
  CAF_CHECK_EQUAL(count(), 0);
  must(db.execute(insert, fine));
}

CAF_TEST(a pipeline inside of a transaction belongs to it) {
  const params first = values(1, 1);
  must(db.begin());
  must(db.pipeline({{&insert, &first}}));
  CAF_CHECK(db.in_transaction());
  must(db.rollback());
  CAF_CHECK_EQUAL(count(), 0);
}

CAF_TEST(large pipelines do not block each other) {
  // More than the buffers of a socket in both directions.
  static constexpr statement echo{"echo", "SELECT $1", false};
  params big;
  big.add(std::string(1'000'000, 'x'));
  const std::vector<command> commands(20, command{&echo, &big});
  auto results = db.pipeline(commands);
  must(results);
  CAF_REQUIRE_EQUAL(results->size(), 20U);
  for (const result& one : *results)
    CAF_CHECK_EQUAL(one.text(0, 0).size(), 1'000'000U);
}

CAF_TEST(statements the server has forgotten are prepared again) {
  must(db.execute(insert, values(1, 1)));
  must(db.script("DEALLOCATE ALL"));
  must(db.execute(insert, values(2, 1)));
  must(db.execute(insert_returning, values(3, 1)));
  must(db.script("DEALLOCATE ALL"));
  const params fourth = values(4, 1);
  const params fifth = values(5, 1);
  must(db.pipeline({{&insert, &fourth}, {&insert_returning, &fifth}}));
  CAF_CHECK_EQUAL(count(), 5);
  // Inside of a transaction the first failure is told, the next try works.
  must(db.script("DEALLOCATE ALL"));
  must(db.begin());
  CAF_CHECK_EQUAL(state_in(db.execute(insert, values(6, 1))), "26000");
  must(db.rollback());
  must(db.execute(insert, values(6, 1)));
}

CAF_TEST(the session has our settings) {
  connection_options options;
  options.url = url + " options='-c work_mem=123kB'";
  options.application_name = "slipway-journal";
  options.statement_timeout = millis{1'234};
  options.lock_timeout = millis{567};
  auto opened = connection::open(options);
  must(opened);
  static constexpr statement settings{
    "settings",
    "SELECT current_setting('statement_timeout'),"
    " current_setting('lock_timeout'), current_setting('TimeZone'),"
    " current_setting('application_name'), current_setting('work_mem'),"
    " pg_backend_pid()",
    false};
  auto row = opened->execute(settings);
  must(row);
  CAF_CHECK_EQUAL(row->text(0, 0), "1234ms");
  CAF_CHECK_EQUAL(row->text(0, 1), "567ms");
  CAF_CHECK_EQUAL(row->text(0, 2), "UTC");
  CAF_CHECK_EQUAL(row->text(0, 3), "slipway-journal");
  CAF_CHECK_EQUAL(row->text(0, 4), "123kB");
  CAF_CHECK_EQUAL(row->int32(0, 5), opened->backend_pid());
  CAF_CHECK_EQUAL(opened->statement_timeout().count(), 1'234);
  CAF_CHECK_EQUAL(opened->lock_timeout().count(), 567);
}

CAF_TEST(a refused login says why and is not a lost connection) {
  connection_options options;
  options.url = postgres_fixture::shared().cluster().url_of("no_such_db");
  const auto missing = connection::open(options);
  CAF_CHECK_EQUAL(kind_in(missing), "other");
  CAF_CHECK_EQUAL(state_in(missing), "3D000");
  CAF_CHECK_NOT_EQUAL(message_in(missing).find("no_such_db"),
                      std::string::npos);
  CAF_CHECK_EQUAL(message_in(missing).find("LOCATION"), std::string::npos);
  options.url = url + " user=nobody_here";
  CAF_CHECK_EQUAL(state_in(connection::open(options)), "28000");
}

CAF_TEST(too many connections are told apart) {
  must(db.script("CREATE ROLE crowd LOGIN CONNECTION LIMIT 1"));
  connection_options options;
  options.url = url + " user=crowd";
  auto first = connection::open(options);
  must(first);
  const auto second = connection::open(options);
  CAF_CHECK_EQUAL(kind_in(second), "unavailable");
  CAF_CHECK_EQUAL(state_in(second), "53300");
}

CAF_TEST(no message shows the password) {
  for (const std::string bad : {
         "postgresql://user:sesame@127.0.0.1:1/db",
         "postgresql://user:ses@me@127.0.0.1:1/db",
         "postgresql://user:sesame/x@127.0.0.1:1/db",
         "postgresql://user:sesame?x@127.0.0.1:1/db",
         "postgresql://user:x:sesame",
         "postgresql://user:sesame@127.0.0.1:sesame/db",
         "postgresql://user:sesame@127.0.0.1:1/db?no_such_key=sesame",
         "host=127.0.0.1 port=1 password=sesame",
         "host=127.0.0.1 port=1 password='sesame",
         "host=127.0.0.1 port=1 passwort=sesame",
         "sesame",
       }) {
    connection_options options;
    options.url = bad;
    options.connect_timeout = millis{2'000};
    const auto opened = connection::open(options);
    CAF_REQUIRE(!opened);
    CAF_CHECK_EQUAL(message_in(opened).find("sesame"), std::string::npos);
    CAF_CHECK_EQUAL(message_in(opened).find("me@"), std::string::npos);
    CAF_CHECK(!message_in(opened).empty());
  }
}

CAF_TEST_FIXTURE_SCOPE_END()

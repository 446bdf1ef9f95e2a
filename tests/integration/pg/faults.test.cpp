#define CAF_SUITE pg_faults

#include "persistence/pg/process.hpp"
#include "tests/integration/pg/support.hpp"
#include "tests/support/postgres_fixture.hpp"

#include <arpa/inet.h>
#include <caf/test/unit_test.hpp>
#include <netinet/in.h>
#include <sys/socket.h>

#include <chrono>
#include <future>
#include <signal.h>
#include <string>
#include <unistd.h>

using namespace slipway;
using namespace slipway::pg;
using namespace slipway::test;

namespace {

constexpr statement insert{"insert", "INSERT INTO item (id) VALUES ($1)"};

constexpr statement slow_insert{
  "slow_insert", "INSERT INTO item (id) SELECT 1 FROM pg_sleep(60)"};

constexpr statement slow_read{"slow_read",
                              "SELECT count(*) FROM item, pg_sleep(60)", false};

constexpr statement count_items{"count_items", "SELECT count(*) FROM item",
                                false};

struct fixture {
  fixture() {
    must(db.script("CREATE TABLE item (id int PRIMARY KEY)"));
  }

  template <class T>
  static void must(const tl::expected<T, error>& outcome) {
    if (!outcome)
      CAF_FAIL(to_string(outcome.error()));
  }

  static params id(std::int32_t number) {
    params with;
    with.add(number);
    return with;
  }

  connection open_patiently() {
    std::optional<connection> opened;
    const bool found = eventually([&] {
      connection_options options;
      options.url = url;
      auto attempt = connection::open(options);
      if (attempt)
        opened.emplace(std::move(*attempt));
      return opened.has_value();
    });
    if (!found)
      CAF_FAIL("the database did not come back");
    return std::move(*opened);
  }

  std::int64_t count() {
    auto again = open_patiently();
    auto row = again.execute(count_items);
    must(row);
    return row->int64(0, 0);
  }

  /// Waits until the server works on the statement of this backend.
  bool is_busy(int backend) {
    auto watcher = postgres_fixture::connect(url);
    static constexpr statement state{
      "state",
      "SELECT count(*) FROM pg_stat_activity"
      " WHERE pid = $1 AND wait_event = 'PgSleep'",
      false};
    params with;
    with.add(std::int32_t{backend});
    return eventually([&] {
      auto row = watcher.execute(state, with);
      return row && row->int64(0, 0) == 1;
    });
  }

  void terminate(int backend) {
    auto other = postgres_fixture::connect(url);
    static constexpr statement kill{"kill", "SELECT pg_terminate_backend($1)"};
    params with;
    with.add(std::int32_t{backend});
    must(other.execute(kill, with));
  }

  /// Kills a backend. The server then ends all others and recovers; returns
  /// once it is doing so, since before that it still takes connections.
  void crash(pid_t backend) {
    auto other = postgres_fixture::connect(url);
    static constexpr statement find{
      "find",
      "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'",
      false};
    auto row = other.execute(find);
    must(row);
    CAF_REQUIRE_EQUAL(row->rows(), 1);
    const pid_t checkpointer = row->int32(0, 0);
    ::kill(backend, SIGKILL);
    CAF_REQUIRE(wait_for(backend));
    CAF_REQUIRE(wait_for(checkpointer));
  }

  static bool wait_for(pid_t pid) {
    return wait_for_end(pid, std::chrono::steady_clock::now()
                               + std::chrono::seconds{20});
  }

  postgres_fixture& server = postgres_fixture::shared();
  std::string url = server.database();
  connection db = postgres_fixture::connect(url);
};

/// A port on 127.0.0.1 where connections are queued and never answered.
struct deaf_listener {
  deaf_listener() {
    sockaddr_in where{};
    where.sin_family = AF_INET;
    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(where);
    if (::bind(fd, reinterpret_cast<sockaddr*>(&where), size) != 0
        || ::listen(fd, 8) != 0
        || ::getsockname(fd, reinterpret_cast<sockaddr*>(&where), &size) != 0)
      CAF_FAIL("cannot listen");
    port = ntohs(where.sin_port);
  }

  ~deaf_listener() {
    ::close(fd);
  }

  int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int port = 0;
};

} // namespace

CAF_TEST_FIXTURE_SCOPE(faults_tests, fixture)

CAF_TEST(a server that was killed while idle is a lost connection) {
  must(db.execute(insert, id(1)));
  const pid_t backend = db.backend_pid();
  server.kill9();
  CAF_REQUIRE(wait_for(backend));
  CAF_CHECK(!db.alive());
  CAF_CHECK_EQUAL(kind_in(db.execute(insert, id(2))), "connection_lost");
  CAF_CHECK_EQUAL(kind_in(db.execute(count_items)), "connection_lost");
  CAF_CHECK_EQUAL(kind_in(db.begin()), "connection_lost");
  CAF_CHECK_EQUAL(kind_in(db.commit()), "connection_lost");
  CAF_CHECK_EQUAL(kind_in(db.script("SELECT 1")), "connection_lost");
  const params two = id(2);
  CAF_CHECK_EQUAL(kind_in(db.pipeline({{&insert, &two}})), "connection_lost");
  CAF_CHECK_EQUAL(db.backend_pid(), 0);
  CAF_CHECK(!db.in_transaction());
  server.start();
  CAF_CHECK_EQUAL(count(), 1);
}

CAF_TEST(a server that was shut down says goodbye) {
  must(db.execute(insert, id(1)));
  server.stop();
  CAF_CHECK(!db.alive());
  CAF_CHECK_EQUAL(kind_in(db.execute(insert, id(2))), "connection_lost");
  connection_options options;
  options.url = url;
  CAF_CHECK_EQUAL(kind_in(connection::open(options)), "connection_lost");
  server.start();
  CAF_CHECK_EQUAL(count(), 1);
}

CAF_TEST(a server that is killed during a write leaves it in doubt) {
  const pid_t backend = db.backend_pid();
  auto outcome = std::async(std::launch::async, [&] {
    return db.execute(slow_insert);
  });
  CAF_REQUIRE(is_busy(backend));
  server.kill9();
  ::kill(backend, SIGKILL); // It would go on sleeping for a while.
  const auto done = outcome.get();
  CAF_CHECK_EQUAL(kind_in(done), "in_doubt");
  CAF_CHECK(!db.alive());
  server.start();
  CAF_CHECK_EQUAL(count(), 0);
}

CAF_TEST(a read that was cut off is not in doubt) {
  const pid_t backend = db.backend_pid();
  auto outcome = std::async(std::launch::async, [&] {
    return db.execute(slow_read);
  });
  CAF_REQUIRE(is_busy(backend));
  crash(backend);
  CAF_CHECK_EQUAL(kind_in(outcome.get()), "connection_lost");
  CAF_CHECK(!db.alive());
  CAF_CHECK_EQUAL(count(), 0);
}

CAF_TEST(a write inside of a transaction is not in doubt before the commit) {
  must(db.begin());
  const pid_t backend = db.backend_pid();
  auto outcome = std::async(std::launch::async, [&] {
    return db.execute(slow_insert);
  });
  CAF_REQUIRE(is_busy(backend));
  crash(backend);
  CAF_CHECK_EQUAL(kind_in(outcome.get()), "connection_lost");
  CAF_CHECK_EQUAL(count(), 0);
}

CAF_TEST(a commit that gets no answer is in doubt) {
  // A deferred trigger makes the commit last.
  must(db.script("CREATE FUNCTION nap() RETURNS trigger LANGUAGE plpgsql AS"
                 " $$ BEGIN PERFORM pg_sleep(60); RETURN NULL; END $$;"
                 "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON item"
                 " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW"
                 " EXECUTE FUNCTION nap()"));
  const params one = id(1);
  for (const int way : {0, 1, 2, 3}) {
    db = open_patiently();
    const pid_t backend = db.backend_pid();
    if (way == 0) {
      must(db.begin());
      must(db.execute(insert, one));
    }
    auto outcome = std::async(std::launch::async, [&]() -> std::string {
      switch (way) {
        case 0:
          return kind_in(db.commit());
        case 1:
          return kind_in(db.execute(insert, one));
        case 2:
          return kind_in(db.pipeline({{&insert, &one}}));
        default:
          return kind_in(db.script("INSERT INTO item (id) VALUES (1)"));
      }
    });
    CAF_REQUIRE(is_busy(backend));
    crash(backend);
    CAF_CHECK_EQUAL(outcome.get(), "in_doubt");
    CAF_CHECK(!db.alive());
  }
  CAF_CHECK_EQUAL(count(), 0);
}

CAF_TEST(a backend that is told to end says so) {
  // Idle: nothing was sent.
  pid_t backend = db.backend_pid();
  terminate(backend);
  CAF_REQUIRE(wait_for(backend));
  CAF_CHECK(!db.alive());
  CAF_CHECK_EQUAL(kind_in(db.execute(insert, id(1))), "connection_lost");
  // Reading.
  db = open_patiently();
  backend = db.backend_pid();
  auto reading = std::async(std::launch::async, [&] {
    return db.execute(slow_read);
  });
  CAF_REQUIRE(is_busy(backend));
  terminate(backend);
  const auto read_cut = reading.get();
  CAF_CHECK_EQUAL(kind_in(read_cut), "unavailable");
  CAF_CHECK_EQUAL(state_in(read_cut), "57P01");
  CAF_CHECK(!db.alive());
  // Writing: the farewell does not say what became of it.
  db = open_patiently();
  backend = db.backend_pid();
  auto writing = std::async(std::launch::async, [&] {
    return db.execute(slow_insert);
  });
  CAF_REQUIRE(is_busy(backend));
  terminate(backend);
  const auto write_cut = writing.get();
  CAF_CHECK_EQUAL(kind_in(write_cut), "in_doubt");
  CAF_CHECK_EQUAL(state_in(write_cut), "57P01");
  CAF_CHECK(!db.alive());
  CAF_CHECK_EQUAL(count(), 0);
}

CAF_TEST(a backend that hangs costs a bounded time) {
  params big;
  big.add_array(std::vector<std::string>(20, std::string(1'000'000, 'x')));
  static constexpr statement swallow{"swallow", "SELECT cardinality($1)",
                                     false};
  for (const int way : {0, 1, 2, 3, 4}) {
    connection_options options;
    options.url = url;
    options.statement_timeout = millis{200};
    options.grace = millis{200};
    auto opened = connection::open(options);
    must(opened);
    must(opened->execute(count_items));
    const pid_t backend = opened->backend_pid();
    ::kill(backend, SIGSTOP);
    const params none;
    const params one = id(1);
    const stopwatch watch;
    std::string kind;
    switch (way) {
      case 0:
        kind = kind_in(opened->execute(count_items));
        break;
      case 1:
        kind = kind_in(opened->execute(insert, one));
        break;
      case 2:
        kind
          = kind_in(opened->pipeline({{&count_items, &none}, {&insert, &one}}));
        break;
      case 3:
        kind = kind_in(opened->script("INSERT INTO item (id) VALUES (1)"));
        break;
      default: // Too much for the socket: sending hangs as well.
        kind = kind_in(opened->execute(swallow, big));
    }
    const millis took = watch.read();
    ::kill(backend, SIGCONT);
    // Preparing an unknown statement comes first and writes nothing.
    const bool doubtful = way == 2 || way == 3;
    CAF_CHECK_EQUAL(kind, doubtful ? "in_doubt" : "connection_lost");
    CAF_CHECK(took >= millis{350});
    CAF_CHECK(took < millis{3'000});
    CAF_CHECK(!opened->alive());
    CAF_CHECK(wait_for(backend));
    must(db.script("DELETE FROM item"));
  }
  // Known by name, the write itself hangs.
  connection_options options;
  options.url = url;
  options.statement_timeout = millis{200};
  options.grace = millis{200};
  auto opened = connection::open(options);
  must(opened);
  must(opened->execute(insert, id(7)));
  const pid_t backend = opened->backend_pid();
  ::kill(backend, SIGSTOP);
  CAF_CHECK_EQUAL(kind_in(opened->execute(insert, id(8))), "in_doubt");
  ::kill(backend, SIGCONT);
  CAF_CHECK(wait_for(backend));
  CAF_CHECK(db.alive());
}

CAF_TEST(a server that hangs while connecting costs a bounded time) {
  connection_options options;
  options.url = url;
  options.connect_timeout = millis{300};
  const pid_t master = server.cluster().pid();
  ::kill(master, SIGSTOP);
  const stopwatch watch;
  const auto hung = connection::open(options);
  const millis took = watch.read();
  ::kill(master, SIGCONT);
  CAF_CHECK_EQUAL(kind_in(hung), "connection_lost");
  CAF_CHECK(took >= millis{250});
  CAF_CHECK(took < millis{3'000});
  CAF_CHECK_EQUAL(count(), 0);
}

CAF_TEST(an address that never answers costs a bounded time) {
  const deaf_listener listener;
  for (const std::string host : {"127.0.0.1", "localhost"}) {
    connection_options options;
    options.url = "postgresql://user:secret@" + host + ":"
                  + std::to_string(listener.port) + "/db";
    options.connect_timeout = millis{300};
    const stopwatch watch;
    CAF_CHECK_EQUAL(kind_in(connection::open(options)), "connection_lost");
    CAF_CHECK(watch.read() < millis{3'000});
  }
}

CAF_TEST(nobody there is a lost connection at once) {
  int port = 0;
  {
    const deaf_listener gone;
    port = gone.port;
  }
  for (const std::string host : {"127.0.0.1", "localhost"}) {
    connection_options options;
    options.url
      = "postgresql://user:secret@" + host + ":" + std::to_string(port) + "/db";
    const auto refused = connection::open(options);
    CAF_CHECK_EQUAL(kind_in(refused), "connection_lost");
    CAF_CHECK_NOT_EQUAL(message_in(refused).find("127.0.0.1"),
                        std::string::npos);
  }
}

CAF_TEST(a server that starts up is unavailable) {
  must(db.execute(insert, id(1)));
  // A crashed backend makes the server recover, which it says to newcomers.
  crash(db.backend_pid());
  bool seen_other = false;
  CAF_CHECK(eventually([&] {
    connection_options options;
    options.url = url;
    auto attempt = connection::open(options);
    if (attempt)
      return true;
    const std::string kind = kind_in(attempt);
    seen_other
      = seen_other || (kind != "unavailable" && kind != "connection_lost");
    return false;
  }));
  CAF_CHECK(!seen_other);
  CAF_CHECK_EQUAL(count(), 1);
}

CAF_TEST_FIXTURE_SCOPE_END()

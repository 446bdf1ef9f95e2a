#define CAF_SUITE pg_embedded

#include "persistence/embedded.hpp"

#include "persistence/pg/connection.hpp"
#include "persistence/pg/process.hpp"
#include "tests/integration/pg/support.hpp"

#include <caf/test/unit_test.hpp>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <grp.h>
#include <memory>
#include <optional>
#include <signal.h>
#include <string>
#include <unistd.h>

using namespace slipway;
using namespace slipway::test;

namespace fs = std::filesystem;

namespace {

constexpr pg::statement insert{"insert", "INSERT INTO item (id) VALUES ($1)"};
constexpr pg::statement total{"total", "SELECT count(*) FROM item", false};

using cluster_ptr = std::unique_ptr<embedded_cluster>;

pg::process_deadline soon() {
  return std::chrono::steady_clock::now() + std::chrono::seconds{30};
}

/// These also run in child processes, where the test macros are of no use.
bool add_item(const std::string& url, std::int32_t id) {
  pg::connection_options options;
  options.url = url;
  auto db = pg::connection::open(options);
  if (!db || !db->script("CREATE TABLE IF NOT EXISTS item (id int)"))
    return false;
  pg::params with;
  with.add(id);
  return db->execute(insert, with).has_value();
}

std::int64_t count_items(const std::string& url) {
  pg::connection_options options;
  options.url = url;
  auto db = pg::connection::open(options);
  if (!db)
    return -1;
  auto row = db->execute(total);
  return row ? row->int64(0, 0) : -1;
}

/// Runs `action` in a child process, which has no thread but its first.
template <class Action>
pid_t in_child(Action action) {
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0)
    ::_exit(action());
  return child;
}

int exit_code(pid_t child) {
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

struct fixture {
  fixture() {
    std::string name
      = "/tmp/slipway-test-" + std::to_string(::getpid()) + "-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr)
      CAF_FAIL("cannot make a directory");
    root = name;
    // Others may pass.
    ::chmod(name.c_str(), 0711);
  }

  ~fixture() {
    std::error_code code;
    fs::remove_all(root, code);
    if (code)
      CAF_ERROR("cannot remove " << root.string() << ": " << code.message());
  }

  embedded_options options(const fs::path& dir) const {
    embedded_options result;
    result.dir = dir.string();
    result.settings = {{"fsync", "off"}};
    return result;
  }

  cluster_ptr start(const fs::path& dir) {
    auto started = embedded_cluster::start(options(dir));
    if (!started)
      CAF_FAIL(started.error());
    return std::move(*started);
  }

  std::string failure(const fs::path& dir) {
    auto started = embedded_cluster::start(options(dir));
    return started ? "none" : started.error();
  }

  /// A server process that starts a cluster, stores a row, reports the
  /// cluster's process and then does nothing until it is killed.
  pid_t spawn_server(const fs::path& dir, pid_t& cluster) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0)
      CAF_FAIL("pipe");
    const pid_t server = in_child([&] {
      auto started = embedded_cluster::start(options(dir));
      if (!started || !add_item((*started)->url(), 1))
        return 1;
      const pid_t pid = (*started)->pid();
      if (::write(ends[1], &pid, sizeof(pid)) != sizeof(pid))
        return 1;
      for (;;)
        ::pause();
    });
    ::close(ends[1]);
    const auto got = ::read(ends[0], &cluster, sizeof(cluster));
    ::close(ends[0]);
    if (got != sizeof(cluster))
      CAF_FAIL("the server did not start");
    return server;
  }

  static bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
  }

  fs::path root;
  const bool is_root = ::geteuid() == 0;
};

} // namespace

CAF_TEST_FIXTURE_SCOPE(embedded_tests, fixture)

CAF_TEST(a clean stop and a restart keep the data) {
  const fs::path dir = root / "deep" / "data";
  auto cluster = start(dir);
  CAF_CHECK(cluster->running());
  CAF_CHECK_GREATER(cluster->pid(), 0);
  CAF_CHECK(add_item(cluster->url(), 1));
  const pid_t first = cluster->pid();
  auto stopped = cluster->stop();
  CAF_CHECK(stopped);
  CAF_CHECK(!cluster->running());
  CAF_CHECK_EQUAL(cluster->pid(), 0);
  CAF_CHECK(::kill(first, 0) != 0);
  CAF_CHECK(cluster->stop()); // Repeats do nothing.
  CAF_CHECK_EQUAL(count_items(cluster->url()), -1);
  cluster.reset();
  cluster = start(dir);
  CAF_CHECK_EQUAL(count_items(cluster->url()), 1);
  // The destructor stops as well.
  const pid_t second = cluster->pid();
  cluster.reset();
  CAF_CHECK(::kill(second, 0) != 0);
}

CAF_TEST(durability is what PostgreSQL makes of it by default) {
  embedded_options plain;
  plain.dir = (root / "data").string();
  auto cluster = embedded_cluster::start(plain);
  CAF_REQUIRE(cluster);
  pg::connection_options options;
  options.url = (*cluster)->url();
  auto db = pg::connection::open(options);
  CAF_REQUIRE(db);
  static constexpr pg::statement settings{
    "settings",
    "SELECT current_setting('fsync'), current_setting('synchronous_commit'),"
    " current_setting('full_page_writes'), current_setting('listen_addresses'),"
    " current_setting('server_encoding'), current_database()::text,"
    " current_setting('lc_collate')",
    false};
  auto row = db->execute(settings);
  CAF_REQUIRE(row);
  CAF_CHECK_EQUAL(row->text(0, 0), "on");
  CAF_CHECK_EQUAL(row->text(0, 1), "on");
  CAF_CHECK_EQUAL(row->text(0, 2), "on");
  CAF_CHECK_EQUAL(row->text(0, 3), "");
  CAF_CHECK_EQUAL(row->text(0, 4), "UTF8");
  CAF_CHECK_EQUAL(row->text(0, 5), "slipway");
  CAF_CHECK(row->text(0, 6) == "C.UTF-8" || row->text(0, 6) == "C");
  // Nobody else may come in.
  struct stat entry {};
  CAF_REQUIRE(::stat((root / "data" / "run").c_str(), &entry) == 0);
  CAF_CHECK_EQUAL(entry.st_mode & 07777U, 0700U);
  CAF_REQUIRE(::stat((root / "data" / "pg").c_str(), &entry) == 0);
  CAF_CHECK_EQUAL(entry.st_mode & 07777U, 0700U);
  CAF_CHECK_NOT_EQUAL(entry.st_uid, 0U);
}

CAF_TEST(a killed cluster recovers what was committed) {
  const fs::path dir = root / "data";
  auto cluster = start(dir);
  CAF_CHECK(add_item(cluster->url(), 1));
  CAF_CHECK(add_item(cluster->url(), 2));
  const pid_t killed = cluster->pid();
  ::kill(killed, SIGKILL);
  CAF_REQUIRE(pg::wait_for_end(killed, soon()));
  CAF_CHECK(!cluster->running());
  cluster.reset();
  cluster = start(dir);
  CAF_CHECK_NOT_EQUAL(cluster->pid(), killed);
  CAF_CHECK_EQUAL(count_items(cluster->url()), 2);
}

CAF_TEST(a second server on the same directory is refused) {
  const fs::path dir = root / "data";
  auto cluster = start(dir);
  const std::string same_process = failure(dir);
  CAF_CHECK(contains(same_process, "in use by another Slipway (process "
                                     + std::to_string(::getpid()) + ")"));
  const pid_t child = in_child([&] {
    return contains(failure(dir), "in use") ? 0 : 1;
  });
  CAF_CHECK_EQUAL(exit_code(child), 0);
  CAF_CHECK(cluster->running());
  CAF_CHECK(add_item(cluster->url(), 1));
}

CAF_TEST(the cluster ends by itself when its server is killed) {
  const fs::path dir = root / "data";
  pid_t orphan = 0;
  const pid_t server = spawn_server(dir, orphan);
  CAF_CHECK(::kill(orphan, 0) == 0);
  ::kill(server, SIGKILL);
  exit_code(server);
  CAF_CHECK(pg::wait_for_end(orphan, soon()));
  // A clean end, not a crash.
  CAF_CHECK(!fs::exists(dir / "pg" / "postmaster.pid"));
  auto cluster = start(dir);
  CAF_CHECK_EQUAL(count_items(cluster->url()), 1);
}

CAF_TEST(a server that starts at once after a kill waits for the old cluster) {
  const fs::path dir = root / "data";
  for (std::int64_t round = 1; round <= 3; ++round) {
    pid_t orphan = 0;
    const pid_t server = spawn_server(dir, orphan);
    ::kill(server, SIGKILL);
    exit_code(server);
    if (round == 2)
      ::kill(orphan, SIGKILL); // Both at once.
    auto cluster = start(dir);
    CAF_CHECK_NOT_EQUAL(cluster->pid(), orphan);
    CAF_CHECK_EQUAL(count_items(cluster->url()), round);
  }
}

CAF_TEST(a kill during the first start leaves nothing half made) {
  const fs::path dir = root / "data";
  const auto half_made = [&] {
    std::error_code code;
    for (const auto& entry : fs::directory_iterator{dir, code})
      if (entry.path().filename().string().starts_with("pg.new-"))
        return true;
    return false;
  };
  const pid_t server = in_child([&] {
    auto started = embedded_cluster::start(options(dir));
    return started ? 0 : 1;
  });
  CAF_REQUIRE(eventually(half_made));
  ::kill(server, SIGKILL);
  CAF_CHECK_EQUAL(exit_code(server), -1);
  CAF_CHECK(!fs::exists(dir / "pg"));
  auto cluster = start(dir);
  CAF_CHECK(add_item(cluster->url(), 1));
  CAF_CHECK(!half_made());
}

CAF_TEST(a lock that outlives a killed server is waited for) {
  const fs::path dir = root / "data";
  fs::create_directory(dir);
  std::array<int, 2> ends{};
  CAF_REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
  // As a server that is killed between fork and exec leaves it.
  const pid_t server = in_child([&] {
    const int file = ::open((dir / "lock").c_str(), O_RDWR | O_CREAT, 0600);
    const std::string own = std::to_string(::getpid()) + '\n';
    if (::flock(file, LOCK_EX | LOCK_NB) != 0
        || ::write(file, own.data(), own.size()) < 0)
      return 1;
    const pid_t left = ::fork();
    if (left == 0) {
      for (;;)
        ::pause();
    }
    return ::write(ends[1], &left, sizeof(left)) == sizeof(left) ? 0 : 1;
  });
  ::close(ends[1]);
  CAF_REQUIRE_EQUAL(exit_code(server), 0);
  pid_t left = 0;
  CAF_REQUIRE(::read(ends[0], &left, sizeof(left)) == sizeof(left));
  ::close(ends[0]);
  auto hasty = options(dir);
  hasty.start_timeout = std::chrono::milliseconds{100};
  const auto refused = embedded_cluster::start(hasty);
  ::kill(left, SIGKILL);
  CAF_REQUIRE(!refused);
  CAF_CHECK(contains(refused.error(), "before it was killed still holds"));
  auto cluster = start(dir);
  CAF_CHECK(add_item(cluster->url(), 1));
}

CAF_TEST(a living cluster of an earlier server is taken over) {
  const fs::path dir = root / "data";
  auto cluster = start(dir);
  CAF_CHECK(add_item(cluster->url(), 1));
  const std::string program
    = fs::read_symlink("/proc/" + std::to_string(cluster->pid()) + "/exe")
        .string();
  cluster.reset();
  // Started by hand, say: nobody tells it to stop.
  pg::process_options by_hand;
  const std::string data = (dir / "pg").string();
  by_hand.arguments = {program,
                       "-D",
                       data,
                       "-c",
                       "listen_addresses=",
                       "-c",
                       "unix_socket_directories=" + (dir / "run").string()};
  by_hand.environment = {"LC_ALL=C"};
  by_hand.directory = data;
  by_hand.death_signal = SIGINT; // Of this test, not of the server.
  struct stat entry {};
  CAF_REQUIRE(::stat(data.c_str(), &entry) == 0);
  by_hand.as = is_root ? pg::identity_of(entry.st_uid, entry.st_gid)
                       : pg::own_identity();
  const auto living = pg::start_process(by_hand);
  CAF_REQUIRE(living);
  cluster = start(dir);
  CAF_CHECK_EQUAL(cluster->pid(), *living);
  CAF_CHECK(cluster->running());
  CAF_CHECK_EQUAL(count_items(cluster->url()), 1);
  CAF_CHECK(cluster->stop());
  CAF_CHECK(!cluster->running());
  CAF_CHECK(pg::wait_for_end(*living, soon()));
  CAF_CHECK(pg::reap(*living).has_value());
}

CAF_TEST(the number of a dead server may belong to another process now) {
  const fs::path dir = root / "data";
  auto cluster = start(dir);
  CAF_CHECK(add_item(cluster->url(), 1));
  const pid_t killed = cluster->pid();
  ::kill(killed, SIGKILL);
  CAF_REQUIRE(pg::wait_for_end(killed, soon()));
  cluster.reset();
  // A process of the same user that has nothing to do with it.
  struct stat entry {};
  CAF_REQUIRE(::stat((dir / "pg").c_str(), &entry) == 0);
  pg::process_options other;
  other.arguments = {"/bin/sleep", "300"};
  other.directory = "/";
  other.death_signal = SIGKILL;
  other.as = is_root ? pg::identity_of(entry.st_uid, entry.st_gid)
                     : pg::own_identity();
  const auto sleeper = pg::start_process(other);
  CAF_REQUIRE(sleeper);
  const fs::path pid_file = dir / "pg" / "postmaster.pid";
  std::string text;
  {
    std::ifstream from{pid_file};
    std::string line;
    std::getline(from, line); // The number.
    text = std::to_string(*sleeper) + '\n';
    while (std::getline(from, line))
      text += line + '\n';
  }
  std::ofstream{pid_file, std::ios::trunc} << text;
  cluster = start(dir);
  CAF_CHECK_EQUAL(count_items(cluster->url()), 1);
  ::kill(*sleeper, SIGKILL);
  exit_code(*sleeper);
}

CAF_TEST(a path too long for a socket is no problem) {
  const fs::path dir = root / std::string(100, 'x') / std::string(60, 'y');
  auto cluster = start(dir);
  CAF_CHECK(add_item(cluster->url(), 1));
  const fs::path far = fs::read_symlink(dir / "run");
  CAF_CHECK(contains(cluster->url(), far.string()));
  struct stat entry {};
  CAF_REQUIRE(::stat(far.c_str(), &entry) == 0);
  CAF_CHECK_EQUAL(entry.st_mode & 07777U, 0700U);
  CAF_CHECK(cluster->stop());
  CAF_CHECK(!fs::exists(far));
  cluster.reset();
  // Nor is one that a killed server left behind.
  pid_t orphan = 0;
  const pid_t server = spawn_server(dir, orphan);
  const fs::path left = fs::read_symlink(dir / "run");
  ::kill(orphan, SIGKILL);
  ::kill(server, SIGKILL);
  exit_code(server);
  cluster = start(dir);
  CAF_CHECK_EQUAL(count_items(cluster->url()), 2);
  CAF_CHECK(!fs::exists(left));
}

CAF_TEST(odd characters in the path are no problem) {
  auto cluster = start(root / "a 'b' \"c\", d\\e %f");
  CAF_CHECK(add_item(cluster->url(), 1));
  cluster.reset();
  cluster = start(root / "with 'blanks' \"and\" \\quotes");
  CAF_CHECK(add_item(cluster->url(), 1));
}

CAF_TEST(something else in the place of the data is left alone) {
  const fs::path dir = root / "data";
  fs::create_directories(dir / "pg");
  std::ofstream{dir / "pg" / "precious.txt"} << "keep";
  CAF_CHECK(contains(failure(dir), "holds no PostgreSQL data"));
  CAF_CHECK(fs::exists(dir / "pg" / "precious.txt"));
  std::ofstream{root / "file"} << "a file";
  CAF_CHECK(contains(failure(root / "file"), "not a directory"));
  CAF_CHECK(contains(failure(""), "not set"));
}

CAF_TEST(data of a version that is not installed is named) {
  const fs::path dir = root / "data";
  fs::create_directories(dir / "pg");
  std::ofstream{dir / "pg" / "PG_VERSION"} << "12\n";
  const std::string message = failure(dir);
  CAF_CHECK(contains(message, "belongs to PostgreSQL 12"));
  CAF_CHECK(contains(message, "found: "));
}

CAF_TEST(a broken configuration is told in the words of PostgreSQL) {
  const fs::path dir = root / "data";
  embedded_options wrong = options(dir);
  wrong.settings = {{"max_connections", "many"}};
  auto started = embedded_cluster::start(wrong);
  CAF_REQUIRE(!started);
  CAF_CHECK(contains(started.error(), "did not start (exit status 1)"));
  CAF_CHECK(contains(started.error(), "max_connections"));
  // Nothing of it stays.
  auto cluster = start(dir);
  CAF_CHECK(add_item(cluster->url(), 1));
}

CAF_TEST(a cluster that hangs is stopped by force) {
  const fs::path dir = root / "data";
  embedded_options impatient = options(dir);
  impatient.stop_timeout = millis{100};
  auto cluster = embedded_cluster::start(impatient);
  CAF_REQUIRE(cluster);
  CAF_CHECK(add_item((*cluster)->url(), 1));
  const pid_t server = (*cluster)->pid();
  ::kill(server, SIGSTOP);
  const stopwatch watch;
  auto stopped = (*cluster)->stop();
  CAF_REQUIRE(!stopped);
  CAF_CHECK(contains(stopped.error(), "SIGKILL"));
  CAF_CHECK(watch.read() < millis{20'000});
  CAF_CHECK(::kill(server, 0) != 0);
  cluster->reset();
  auto again = start(dir);
  CAF_CHECK_EQUAL(count_items(again->url()), 1);
}

CAF_TEST(root hands the cluster to another user) {
  if (!is_root) {
    CAF_MESSAGE("not root: skipped");
    return;
  }
  // Made with mktemp, say: closed to everybody else.
  const fs::path dir = root / "data";
  CAF_REQUIRE(::mkdir(dir.c_str(), 0700) == 0);
  auto cluster = start(dir);
  struct stat entry {};
  CAF_REQUIRE(
    ::stat(("/proc/" + std::to_string(cluster->pid())).c_str(), &entry) == 0);
  CAF_CHECK_NOT_EQUAL(entry.st_uid, 0U);
  CAF_REQUIRE(::stat(dir.c_str(), &entry) == 0);
  CAF_CHECK_EQUAL(entry.st_uid, 0U);
  CAF_CHECK_EQUAL(entry.st_mode & 07777U, 0710U);
  CAF_CHECK(add_item(cluster->url(), 1));
  // Without any of our privileges.
  std::ifstream status{"/proc/" + std::to_string(cluster->pid()) + "/status"};
  std::string line;
  bool seen = false;
  while (std::getline(status, line)) {
    if (line.starts_with("CapEff:")) {
      seen = true;
      CAF_CHECK(line.find_first_not_of("0\t ", 7) == std::string::npos);
    }
  }
  CAF_CHECK(seen);
  cluster.reset();
  // A restored backup belongs to root.
  for (const auto& each : fs::recursive_directory_iterator{dir / "pg"})
    CAF_REQUIRE(::lchown(each.path().c_str(), 0, 0) == 0);
  CAF_REQUIRE(::chown((dir / "pg").c_str(), 0, 0) == 0);
  cluster = start(dir);
  CAF_CHECK_EQUAL(count_items(cluster->url()), 1);
}

CAF_TEST(a directory the other user cannot reach is named) {
  if (!is_root) {
    CAF_MESSAGE("not root: skipped");
    return;
  }
  const fs::path closed = root / "closed";
  CAF_REQUIRE(::mkdir(closed.c_str(), 0700) == 0);
  const std::string message = failure(closed / "data");
  CAF_CHECK(contains(message, "cannot enter " + closed.string()
                                + " (mode 0700, owner root)"));
  CAF_CHECK(!fs::exists(closed / "data" / "pg"));
}

CAF_TEST(an unprivileged user runs a cluster of its own) {
  const fs::path dir = root / "home";
  CAF_REQUIRE(::mkdir(dir.c_str(), 0700) == 0);
  pg::identity user = pg::own_identity();
  if (is_root) {
    const auto nobody = pg::identity_of("nobody");
    CAF_REQUIRE(nobody);
    user = *nobody;
    CAF_REQUIRE(::chown(dir.c_str(), user.user, user.group) == 0);
  }
  const auto as_user = [&](auto action) {
    return exit_code(in_child([&] {
      if (is_root
          && (::setgroups(user.groups.size(), user.groups.data()) != 0
              || ::setgid(user.group) != 0 || ::setuid(user.user) != 0))
        return 99;
      return action();
    }));
  };
  const auto twice = [&] {
    for (std::int64_t round = 1; round <= 2; ++round) {
      auto started = embedded_cluster::start(options(dir / "data"));
      if (!started) {
        std::fprintf(stderr, "%s\n", started.error().c_str());
        return 1;
      }
      if (!add_item((*started)->url(), 1)
          || count_items((*started)->url()) != round)
        return 2;
      if (!(*started)->stop())
        return 3;
    }
    return 0;
  };
  CAF_CHECK_EQUAL(as_user(twice), 0);
  if (!is_root)
    return;
  // Root runs it as its owner, and gives it back usable.
  {
    auto cluster = start(dir / "data");
    struct stat entry {};
    CAF_REQUIRE(
      ::stat(("/proc/" + std::to_string(cluster->pid())).c_str(), &entry) == 0);
    CAF_CHECK_EQUAL(entry.st_uid, user.user);
    CAF_CHECK_EQUAL(count_items(cluster->url()), 2);
  }
  const auto again = [&] {
    auto started = embedded_cluster::start(options(dir / "data"));
    if (!started)
      std::fprintf(stderr, "%s\n", started.error().c_str());
    return started && count_items((*started)->url()) == 2 ? 0 : 1;
  };
  CAF_CHECK_EQUAL(as_user(again), 0);
  // Data of somebody else is refused.
  { start(root / "data"); }
  CAF_REQUIRE(::chmod((root / "data").c_str(), 0777) == 0);
  CAF_REQUIRE(::chmod((root / "data" / "lock").c_str(), 0666) == 0);
  const auto refused = [&] {
    const std::string message = failure(root / "data");
    return contains(message, "belongs to the user postgres")
               && contains(message, "runs as nobody")
             ? 0
             : 1;
  };
  if (pg::identity_of("postgres"))
    CAF_CHECK_EQUAL(as_user(refused), 0);
}

CAF_TEST_FIXTURE_SCOPE_END()

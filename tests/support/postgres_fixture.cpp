#include "tests/support/postgres_fixture.hpp"

#include "persistence/pg/process.hpp"

#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <poll.h>
#include <signal.h>
#include <string_view>
#include <system_error>
#include <unistd.h>

namespace slipway::test {
namespace {

namespace fs = std::filesystem;

// The number of the process follows, so that a later one can clean up. Nobody
// else's directories begin so: what looks like a number there may be by chance.
constexpr std::string_view dir_prefix = "slipway-fixture-";

[[noreturn]] void give_up(const std::string& message) {
  std::fprintf(stderr, "postgres_fixture: %s\n", message.c_str());
  std::fflush(nullptr);
  std::_Exit(1);
}

/// Removes what test processes left behind that were killed.
void remove_leftovers(const fs::path& parent) {
  std::error_code code;
  for (fs::directory_iterator all{parent, code}, end; !code && all != end;
       all.increment(code)) {
    const std::string name = all->path().filename().string();
    if (!name.starts_with(dir_prefix))
      continue;
    pid_t owner = 0;
    const auto [rest, problem] = std::from_chars(
      name.data() + dir_prefix.size(), name.data() + name.size(), owner);
    if (problem != std::errc{} || *rest != '-' || owner <= 0
        || ::kill(owner, 0) == 0 || errno != ESRCH)
      continue;
    std::error_code ignored; // Somebody else's, or its cluster still stops.
    fs::remove_all(all->path(), ignored);
  }
}

} // namespace

postgres_fixture& postgres_fixture::shared() {
  static postgres_fixture instance;
  return instance;
}

postgres_fixture::postgres_fixture() {
  const fs::path parent = "/tmp";
  remove_leftovers(parent);
  dir_
    = (parent / dir_prefix).string() + std::to_string(::getpid()) + "-XXXXXX";
  if (::mkdtemp(dir_.data()) == nullptr)
    give_up("cannot make a directory in /tmp");
  start();
}

postgres_fixture::~postgres_fixture() {
  cluster_.reset();
  std::error_code code;
  fs::remove_all(dir_, code);
  if (code)
    std::fprintf(stderr, "postgres_fixture: cannot remove %s: %s\n",
                 dir_.c_str(), code.message().c_str());
}

void postgres_fixture::start() {
  cluster_.reset();
  embedded_options options;
  options.dir = dir_;
  options.settings = {{"fsync", "off"}, {"max_connections", "60"}};
  auto started = embedded_cluster::start(std::move(options));
  if (!started)
    give_up(started.error());
  cluster_ = std::move(*started);
}

void postgres_fixture::stop() {
  if (auto stopped = cluster_->stop(); !stopped)
    give_up(stopped.error());
}

void postgres_fixture::kill9() {
  const pid_t server = cluster_->pid();
  if (server == 0)
    give_up("the cluster is not running");
  ::kill(server, SIGKILL);
  if (!pg::wait_for_end(server, std::chrono::steady_clock::now()
                                  + std::chrono::seconds{10}))
    give_up("the server survived SIGKILL");
}

pg::connection postgres_fixture::connect(const std::string& url) {
  pg::connection_options options;
  options.url = url;
  options.application_name = "slipway-test";
  const auto until
    = std::chrono::steady_clock::now() + std::chrono::seconds{20};
  for (;;) {
    auto opened = pg::connection::open(options);
    if (opened)
      return std::move(*opened);
    // A server that recovers from a test's blow is worth waiting for.
    if (opened.error().kind != pg::error_kind::unavailable
        || std::chrono::steady_clock::now() >= until)
      give_up(pg::to_string(opened.error()));
    ::poll(nullptr, 0, 10);
  }
}

void postgres_fixture::make(const std::string& name, const std::string& from) {
  auto db = connect(cluster_->url_of("postgres"));
  if (auto made = db.script("CREATE DATABASE " + name + " TEMPLATE " + from);
      !made)
    give_up(pg::to_string(made.error()));
}

std::string postgres_fixture::database() {
  const std::string name = "t_" + std::to_string(++databases_);
  make(name, "template0");
  return cluster_->url_of(name);
}

std::string
postgres_fixture::database(const std::vector<migration>& migrations) {
  std::string key;
  for (const migration& step : migrations)
    key += checksum_of(step);
  auto& source = templates_[key];
  if (source.empty()) {
    const std::string name = "source_" + std::to_string(templates_.size());
    make(name, "template0");
    auto db = connect(cluster_->url_of(name));
    if (auto done = migrate(db, migrations, millis{10'000}); !done)
      give_up(pg::to_string(done.error()));
    source = name;
  }
  const std::string name = "t_" + std::to_string(++databases_);
  make(name, source);
  return cluster_->url_of(name);
}

} // namespace slipway::test

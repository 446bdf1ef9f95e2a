#include "persistence/lease.hpp"

#include <spdlog/spdlog.h>

#include <array>
#include <cerrno>
#include <climits>
#include <fstream>
#include <iterator>
#include <signal.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace slipway {

namespace {

constexpr auto register_server
  = pg::statement{"lease_register",
                  "INSERT INTO servers (name, process, lease_until) "
                  "VALUES ($1, $3, now() + $2 * interval '1 ms') RETURNING id",
                  true};

// After PostgreSQL itself was away everybody gets the time of a lease to renew,
// or whoever comes back first would take the others for dead.
constexpr auto end_silent = pg::statement{
  "lease_end_silent",
  "UPDATE servers SET ended_at = now() WHERE ended_at IS NULL AND id <> $1 "
  "AND greatest(lease_until, pg_postmaster_start_time() + $2 * interval '1 ms')"
  " < now()",
  true};

constexpr auto others
  = pg::statement{"lease_others",
                  "SELECT id, process FROM servers WHERE ended_at IS NULL "
                  "AND id <> $1 AND process <> ''",
                  false};

constexpr auto end_dead
  = pg::statement{"lease_end_dead",
                  "UPDATE servers SET ended_at = now(), process_ended = true "
                  "WHERE ended_at IS NULL AND id = ANY ($1)",
                  true};

constexpr auto renew_statement = pg::statement{
  "lease_renew",
  "UPDATE servers SET lease_until = now() + $2 * interval '1 ms' "
  "WHERE id = $1 AND ended_at IS NULL",
  true};

constexpr auto hand_over
  = pg::statement{"lease_end",
                  "UPDATE servers SET lease_until = now(), ended_at = now(), "
                  "process_ended = true WHERE id = $1 AND ended_at IS NULL",
                  true};

double in_ms(millis x) {
  return static_cast<double>(x.count());
}

/// Ends the servers that are dead, and says how many.
tl::expected<std::int64_t, pg::error>
bury(pg::connection& db, std::int64_t server, millis length) {
  auto silent
    = db.execute(end_silent, pg::params{}.add(server).add(in_ms(length)));
  if (!silent)
    return tl::unexpected{std::move(silent.error())};
  auto ended = static_cast<std::int64_t>(silent->affected());
  auto alive = db.execute(others, pg::params{}.add(server));
  if (!alive)
    return tl::unexpected{std::move(alive.error())};
  auto dead = std::vector<std::int64_t>{};
  for (auto i = 0; i < alive->rows(); ++i)
    if (is_known_dead(std::string{alive->text(i, 1)}))
      dead.push_back(alive->int64(i, 0));
  if (dead.empty())
    return ended;
  auto done = db.execute(end_dead, pg::params{}.add_array(dead));
  if (!done)
    return tl::unexpected{std::move(done.error())};
  return ended + static_cast<std::int64_t>(done->affected());
}

// -- processes of this machine
// --------------------------------------------------------

std::string first_line(const std::string& file) {
  auto in = std::ifstream{file};
  auto line = std::string{};
  std::getline(in, line);
  return line;
}

/// Where our processes live: boot and pid namespace.
std::string this_place() {
  auto target = std::array<char, 128>{};
  const auto length
    = readlink("/proc/self/ns/pid", target.data(), target.size());
  const auto boot = first_line("/proc/sys/kernel/random/boot_id");
  if (length <= 0 || boot.empty())
    return {};
  return boot + " "
         + std::string{target.data(), static_cast<std::size_t>(length)};
}

/// Clock ticks since the boot, as text; empty when there is no such process.
/// proc(5): field 22 of stat, counted behind the name, which may hold anything.
std::string start_of(const std::string& pid) {
  const auto stat = first_line("/proc/" + pid + "/stat");
  const auto name_end = stat.rfind(')');
  if (name_end == std::string::npos)
    return {};
  auto at = name_end + 1;
  for (auto field = 3; field < 22; ++field) {
    at = stat.find(' ', at + 1);
    if (at == std::string::npos)
      return {};
  }
  const auto end = stat.find(' ', at + 1);
  return stat.substr(at + 1, end - at - 1);
}

} // namespace

std::string this_process() {
  const auto place = this_place();
  const auto pid = std::to_string(getpid());
  const auto start = start_of(pid);
  if (place.empty() || start.empty())
    return {};
  return place + " " + pid + " " + start;
}

bool is_known_dead(const std::string& process) {
  const auto start_at = process.rfind(' ');
  if (start_at == std::string::npos || start_at == 0)
    return false;
  const auto pid_at = process.rfind(' ', start_at - 1);
  if (pid_at == std::string::npos
      || process.compare(0, pid_at, this_place()) != 0)
    return false;
  const auto pid = process.substr(pid_at + 1, start_at - pid_at - 1);
  auto number = pid_t{0};
  for (auto c : pid) {
    if (c < '0' || c > '9' || number > INT_MAX / 10 - 1)
      return false;
    number = number * 10 + (c - '0');
  }
  if (number <= 0)
    return false;
  if (kill(number, 0) != 0 && errno == ESRCH)
    return true;
  const auto start = start_of(pid);
  return !start.empty()
         && process.compare(start_at + 1, std::string::npos, start) != 0;
}

tl::expected<std::unique_ptr<lease>, pg::error>
lease::take(lease_options options) {
  auto db = pg::connection::open(options.connection);
  if (!db)
    return tl::unexpected{db.error()};
  const auto asked = std::chrono::steady_clock::now();
  auto row = db->execute(register_server, pg::params{}
                                            .add(options.name)
                                            .add(in_ms(options.length))
                                            .add(options.process));
  if (!row)
    return tl::unexpected{row.error()};
  const auto server = row->int64(0, 0);
  auto buried = bury(*db, server, options.length);
  if (!buried)
    return tl::unexpected{buried.error()};
  if (*buried > 0)
    spdlog::info("{} earlier server(s) found dead, taking over", *buried);
  auto out = std::unique_ptr<lease>{
    new lease{std::move(options), std::move(*db), server}};
  out->held_since(asked);
  return out;
}

lease::lease(lease_options options, pg::connection db, std::int64_t server)
  : options_{std::move(options)}, server_{server},
    db_{std::make_unique<pg::connection>(std::move(db))} {
  keeper_ = std::thread{[this] {
    keep();
  }};
}

lease::~lease() {
  {
    auto guard = std::lock_guard{mutex_};
    stop_ = true;
  }
  wake_.notify_all();
  keeper_.join();
  if (lost_)
    return;
  if (!db_ || !db_->alive()) {
    db_.reset();
    if (auto opened = pg::connection::open(options_.connection))
      db_ = std::make_unique<pg::connection>(std::move(*opened));
  }
  if (!db_) {
    spdlog::warn("lease: not handed over, it will lapse");
    return;
  }
  if (auto done = db_->execute(hand_over, pg::params{}.add(server_)); !done)
    spdlog::warn("lease: not handed over, it will lapse: {}",
                 to_string(done.error()));
}

bool lease::holds() const noexcept {
  return std::chrono::steady_clock::now().time_since_epoch()
         < std::chrono::nanoseconds{
           holds_until_.load(std::memory_order_relaxed)};
}

void lease::held_since(std::chrono::steady_clock::time_point when) noexcept {
  const auto until = std::chrono::nanoseconds{when.time_since_epoch()}
                     + std::chrono::nanoseconds{options_.length};
  holds_until_.store(until.count());
  // Somebody may have been refused meanwhile.
  if (lost_)
    holds_until_.store(0);
}

void lease::lost() {
  if (lost_.exchange(true))
    return;
  holds_until_.store(0);
  spdlog::critical("lease: lost, another server has taken over; nothing of "
                   "this one can be written any more");
  if (options_.on_lost)
    options_.on_lost();
}

std::string lease::renew() {
  if (!db_ || !db_->alive()) {
    db_.reset();
    auto opened = pg::connection::open(options_.connection);
    if (!opened)
      return to_string(opened.error());
    db_ = std::make_unique<pg::connection>(std::move(*opened));
  }
  // Counted from before the question, so that here it ends before it does
  // there.
  const auto asked = std::chrono::steady_clock::now();
  auto done = db_->execute(
    renew_statement, pg::params{}.add(server_).add(in_ms(options_.length)));
  if (!done)
    return to_string(done.error());
  if (done->affected() == 0) {
    lost();
    return {};
  }
  held_since(asked);
  auto buried = bury(*db_, server_, options_.length);
  if (!buried)
    return to_string(buried.error());
  if (*buried > 0)
    spdlog::warn("{} other server(s) found dead, taking over", *buried);
  return {};
}

void lease::keep() {
  auto reported = false;
  auto guard = std::unique_lock{mutex_};
  while (!lost_ && !wake_.wait_for(guard, options_.renew_every, [this] {
    return stop_;
  })) {
    guard.unlock();
    const auto trouble = renew();
    if (!trouble.empty() && !reported)
      spdlog::warn("lease: not renewed: {}", trouble);
    reported = !trouble.empty();
    guard.lock();
  }
}

} // namespace slipway

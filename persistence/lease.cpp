#include "persistence/lease.hpp"

#include <spdlog/spdlog.h>

namespace slipway {

namespace {

/// The first key of our advisory locks; the second is the server's id.
#define LOCK_SPACE "1936419190"

constexpr auto register_server
  = pg::statement{"lease_register",
                  "INSERT INTO servers (name, lease_until) "
                  "VALUES ($1, now() + $2 * interval '1 ms') RETURNING id",
                  true};

constexpr auto hold_lock = pg::statement{
  "lease_hold", "SELECT pg_try_advisory_lock(" LOCK_SPACE ", $1::int)", false};

// Whose lock nobody holds is dead, whatever its lease says.
constexpr auto bury_dead = pg::statement{
  "lease_bury",
  "UPDATE servers SET lease_until = least(lease_until, now()) "
  "WHERE retired_at IS NULL AND lease_until > now() AND id <> $1 "
  "AND NOT EXISTS (SELECT 1 FROM pg_locks l WHERE l.locktype = 'advisory' "
  "AND l.classid = " LOCK_SPACE " AND l.objid = servers.id::int "
  "AND l.database = (SELECT oid FROM pg_database "
  "WHERE datname = current_database()))",
  true};

constexpr auto renew = pg::statement{
  "lease_renew",
  "UPDATE servers SET lease_until = now() + $2 * interval '1 ms', "
  "retired_at = NULL WHERE id = $1",
  true};

constexpr auto hand_over = pg::statement{
  "lease_end", "UPDATE servers SET lease_until = now() WHERE id = $1", true};

} // namespace

tl::expected<std::unique_ptr<lease>, pg::error>
lease::take(lease_options options) {
  auto db = pg::connection::open(options.connection);
  if (!db)
    return tl::unexpected{db.error()};
  // Nobody sees the row before its lock is held: else it would look dead.
  if (auto done = db->begin(); !done)
    return tl::unexpected{done.error()};
  auto row = db->execute(register_server,
                         pg::params{}
                           .add(options.name)
                           .add(static_cast<double>(options.length.count())));
  if (!row)
    return tl::unexpected{row.error()};
  const auto server = row->int64(0, 0);
  if (auto held = db->execute(hold_lock, pg::params{}.add(server)); !held)
    return tl::unexpected{held.error()};
  if (auto done = db->commit(); !done)
    return tl::unexpected{done.error()};
  auto buried = db->execute(bury_dead, pg::params{}.add(server));
  if (!buried)
    return tl::unexpected{buried.error()};
  if (buried->affected() > 0)
    spdlog::info("{} earlier server(s) found dead, taking over",
                 buried->affected());
  return std::unique_ptr<lease>{
    new lease{std::move(options), std::move(*db), server}};
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
  if (db_ && db_->alive())
    if (auto done = db_->execute(hand_over, pg::params{}.add(server_)); !done)
      spdlog::warn("lease: not handed over, it will lapse: {}",
                   to_string(done.error()));
}

void lease::keep() {
  auto reported = false;
  auto holds_lock = true;
  auto guard = std::unique_lock{mutex_};
  while (!wake_.wait_for(guard, options_.renew_every, [this] {
    return stop_;
  })) {
    guard.unlock();
    auto trouble = std::string{};
    if (!db_ || !db_->alive()) {
      db_.reset();
      holds_lock = false;
      if (auto opened = pg::connection::open(options_.connection))
        db_ = std::make_unique<pg::connection>(std::move(*opened));
      else
        trouble = to_string(opened.error());
    }
    if (db_ && !holds_lock) {
      // Our own lost session may hold it until the database notices its end.
      auto held = db_->execute(hold_lock, pg::params{}.add(server_));
      if (!held)
        trouble = to_string(held.error());
      else
        holds_lock = held->boolean(0, 0);
    }
    if (db_ && trouble.empty()) {
      const auto length = static_cast<double>(options_.length.count());
      auto done = db_->execute(renew, pg::params{}.add(server_).add(length));
      if (!done)
        trouble = to_string(done.error());
      // Other servers that died meanwhile are found by their missing lock.
      else if (auto buried = db_->execute(bury_dead, pg::params{}.add(server_));
               !buried)
        trouble = to_string(buried.error());
    }
    if (!trouble.empty() && !reported)
      spdlog::warn("lease: not renewed: {}", trouble);
    reported = !trouble.empty();
    guard.lock();
  }
}

} // namespace slipway

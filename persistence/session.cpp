#include "persistence/session.hpp"

#include "actors/observe/log.hpp"

#include <algorithm>

namespace slipway {

using namespace std::chrono_literals;

namespace {

// The function is called only to refuse: a call costs more than the look.
constexpr auto fence_statement = pg::statement{
  "fence",
  "SELECT CASE WHEN NOT EXISTS (SELECT 1 FROM servers WHERE id = $1 "
  "AND ended_at IS NULL) THEN slipway_fence($1) END",
  true};

constexpr auto forget_plans
  = pg::statement{"forget_plans", "DISCARD PLANS", false};

/// How long plans are good for: twice as long each time, since a table grows
/// the less the longer it is there.
constexpr auto plans_min = 250ms;
constexpr auto plans_max = std::chrono::milliseconds{16s};

} // namespace

pg::command session::fence() const noexcept {
  return {&fence_statement, &fence_params_};
}

tl::expected<pg::result, pg::error>
session::write(pg::connection& on, const pg::statement& what,
               const pg::params& with) {
  auto done = on.pipeline({fence(), {&what, &with}});
  if (!done)
    return tl::unexpected{std::move(done.error())};
  return std::move(done->back());
}

pg::connection* session::get() {
  const auto now = std::chrono::steady_clock::now();
  if (connection_ && connection_->alive())
    refresh_plans(now);
  if (connection_ && connection_->alive())
    return &*connection_;
  connection_.reset();
  if (now < not_before_)
    return nullptr;
  auto opened = pg::connection::open(options_);
  if (!opened) {
    not_before_ = std::chrono::steady_clock::now() + 100ms;
    if (!std::exchange(reported_, true))
      log::about{}
        .actor(options_.application_name)
        .error("{}: no connection to the database: {}",
               options_.application_name, to_string(opened.error()));
    return nullptr;
  }
  if (std::exchange(reported_, false))
    log::about{}
      .actor(options_.application_name)
      .info("{}: the database is back", options_.application_name);
  connection_.emplace(std::move(*opened));
  ++opened_;
  plans_for_ = plans_min;
  plans_until_ = now + plans_for_;
  return &*connection_;
}

void session::refresh_plans(std::chrono::steady_clock::time_point now) {
  if (now < plans_until_ || connection_->in_transaction())
    return;
  plans_for_ = std::min(plans_for_ * 2, plans_max);
  plans_until_ = now + plans_for_;
  if (auto done = connection_->execute(forget_plans); !done)
    failed(done.error(), "forgetting plans");
}

errc session::failed(const pg::error& why, const char* doing) {
  // Who takes no writes is not, or no more, the server to be connected to.
  if (connection_ && (!connection_->alive() || why.sqlstate == "25006"))
    connection_.reset();
  switch (why.kind) {
    case pg::error_kind::connection_lost:
    case pg::error_kind::in_doubt:
    case pg::error_kind::unavailable:
      log::about{}
        .actor(options_.application_name)
        .warn("{}: {}: {}", options_.application_name, doing, to_string(why));
      return errc::database_down;
    case pg::error_kind::timeout:
    case pg::error_kind::serialization:
      log::about{}
        .actor(options_.application_name)
        .warn("{}: {}: {}", options_.application_name, doing, to_string(why));
      return errc::unavailable;
    case pg::error_kind::unique_violation:
    case pg::error_kind::check_violation:
    case pg::error_kind::foreign_key_violation:
      log::about{}
        .actor(options_.application_name)
        .error("{}: {}: {} ({})", options_.application_name, doing,
               to_string(why), why.constraint);
      return errc::conflict;
    case pg::error_kind::fenced:
      if (on_fenced_)
        on_fenced_();
      return errc::owned_elsewhere;
    case pg::error_kind::other:
      break;
  }
  log::about{}
    .actor(options_.application_name)
    .error("{}: {}: {}", options_.application_name, doing, to_string(why));
  return errc::internal;
}

} // namespace slipway

#include "actors/broadcaster.hpp"

#include "actors/guardian.hpp"

#include <caf/send.hpp>

#include <algorithm>
#include <utility>

namespace slipway {

namespace {

/// Readers that have left are looked for no more often than this, however many
/// are refused.
constexpr auto look_after_pause = millis{100};

} // namespace

broadcaster_state::~broadcaster_state() {
  if (env_)
    env_->metrics->watchers(0);
}

void broadcaster_state::start(broadcaster_actor::pointer self,
                              environment_ptr env,
                              broadcaster_options options) {
  self_ = self;
  alive_ = alive_guard{env->metrics, name};
  env_ = std::move(env);
  options_ = std::move(options);
  own_scan_at_ = now() + options_.own_scan;
}

broadcaster_state::time_point broadcaster_state::now() const {
  return self_->clock().now();
}

// -- readers
// ------------------------------------------------------------------------

void broadcaster_state::receive(status_watcher_ptr who) {
  const auto count = [&] {
    const auto where = of_user_.find(who->user_id);
    return where == of_user_.end() ? std::size_t{0} : where->second;
  };
  const auto is_full = [&] {
    return watchers_ >= options_.watchers_max
           || count() >= options_.watchers_each_max;
  };
  // A browser that loads its page again comes before we know that it has left.
  if (is_full() && looked_after_at_ + look_after_pause <= now())
    look_after_all();
  if (is_full()) {
    env_->metrics->shed(watchers_ >= options_.watchers_max ? "watchers"
                                                           : "user_watchers");
    who->refuse(errc::overloaded);
    return;
  }
  const auto id = raw(who->subscription);
  auto [where, fresh] = subjects_.try_emplace(id);
  auto& s = where->second;
  if (fresh)
    s.seat = audience::seat{env_->audience, who->subscription};
  ++watchers_;
  ++of_user_[who->user_id];
  s.arriving.push_back(std::move(who));
  want(id, s, true);
  look();
}

void broadcaster_state::let_go(const status_watcher& x) {
  --watchers_;
  const auto where = of_user_.find(x.user_id);
  if (where != of_user_.end() && --where->second == 0)
    of_user_.erase(where);
}

void broadcaster_state::leave_if_empty(std::uint64_t id) {
  const auto where = subjects_.find(id);
  if (where != subjects_.end() && where->second.watchers.empty()
      && where->second.arriving.empty())
    subjects_.erase(where);
}

void broadcaster_state::refuse(subject& s, errc why) {
  for (auto& x : std::exchange(s.arriving, {})) {
    let_go(*x);
    x->refuse(why);
  }
}

void broadcaster_state::admit(subject& s) {
  const auto at = now();
  for (auto& x : std::exchange(s.arriving, {})) {
    if (x->user_id != s.user_id) {
      let_go(*x);
      x->refuse(errc::not_found);
      continue;
    }
    if (!x->open(x->seen < s.revision ? s.latest : options_.comment)) {
      let_go(*x);
      continue;
    }
    const auto age = options_.age_max / 2
                     + options_.age_max / 2 * (env_->chance() % 1024) / 1024;
    s.watchers.push_back({std::move(x), at + options_.beat_every, at + age});
  }
}

bool broadcaster_state::write(watcher& x, std::string_view bytes) {
  // Whoever has taken everything gets anything.
  const auto waiting = x.to->waiting();
  if (waiting > 0 && waiting + bytes.size() > options_.slow_bytes) {
    env_->metrics->shed("slow_watcher");
    return false;
  }
  x.beat_at = now() + options_.beat_every;
  return x.to->write(bytes);
}

void broadcaster_state::look_after(subject& s) {
  const auto at = now();
  const auto leaves = [&](watcher& x) {
    const auto stays = !x.to->gone() && at < x.leaves_at
                       && (at < x.beat_at || write(x, options_.comment));
    if (!stays)
      let_go(*x.to);
    return !stays;
  };
  s.watchers.erase(std::remove_if(s.watchers.begin(), s.watchers.end(), leaves),
                   s.watchers.end());
}

void broadcaster_state::look_after_all() {
  looked_after_at_ = now();
  for (auto i = subjects_.begin(); i != subjects_.end();) {
    look_after(i->second);
    if (i->second.watchers.empty() && i->second.arriving.empty())
      i = subjects_.erase(i);
    else
      ++i;
  }
  env_->metrics->watchers(static_cast<double>(watchers_));
}

// -- what has changed
// ----------------------------------------------------------------------

void broadcaster_state::tell(subject& s, const record& row,
                             std::int64_t queue_position) {
  s.revision = row.state.revision;
  s.user_id = row.user_id;
  s.latest = options_.render(row, queue_position);
  const auto leaves = [&](watcher& x) {
    const auto stays = !x.to->gone() && write(x, s.latest);
    if (!stays)
      let_go(*x.to);
    return !stays;
  };
  s.watchers.erase(std::remove_if(s.watchers.begin(), s.watchers.end(), leaves),
                   s.watchers.end());
}

void broadcaster_state::tell_held(subject& s) {
  if (const auto held = std::exchange(s.held, nullptr))
    tell(s, *held, 0);
}

void broadcaster_state::changed(const status_changed& what) {
  const auto id = raw(what.now->id);
  const auto where = subjects_.find(id);
  if (where == subjects_.end())
    return;
  auto& s = where->second;
  s.own = true;
  if (what.now->state.revision <= s.revision)
    return;
  tell_held(s);
  if (what.now->state.deployment.at == lifecycle::phase::queued) {
    // Only the database knows how many go first.
    s.held = what.now;
    want(id, s, true);
    look();
    return;
  }
  tell(s, *what.now, 0);
  leave_if_empty(id);
}

void broadcaster_state::learn(const query::list_changes::row& row) {
  const auto where = subjects_.find(raw(row.value.id));
  if (where == subjects_.end())
    return;
  auto& s = where->second;
  s.own = row.own;
  const auto revision = row.value.state.revision;
  if (s.held && s.held->state.revision < revision)
    tell_held(s);
  else if (s.held && s.held->state.revision == revision)
    s.held = nullptr;
  if (revision > s.revision) {
    tell(s, row.value, row.queue_position);
  } else if (revision == s.revision) {
    // The place in the queue may be another one.
    s.latest = options_.render(row.value, row.queue_position);
  }
  admit(s);
}

// -- the database
// --------------------------------------------------------------------------

void broadcaster_state::want(std::uint64_t id, subject& s, bool soon) {
  // A scan has no use for what is being looked at; who arrives meanwhile has.
  if (s.queued || (s.looked_at && !soon))
    return;
  s.queued = true;
  if (soon)
    wanted_.push_front(id);
  else
    wanted_.push_back(id);
}

void broadcaster_state::look() {
  if (!looking_.empty())
    return;
  while (!wanted_.empty() && looking_.size() < options_.page) {
    const auto id = wanted_.front();
    wanted_.pop_front();
    const auto where = subjects_.find(id);
    if (where == subjects_.end())
      continue;
    auto& s = where->second;
    // One that left and came back stands there twice.
    if (!std::exchange(s.queued, false))
      continue;
    s.looked_at = true;
    // Whoever arrives has to see the row, changed or not.
    looking_.push_back(
      {subscription_id{id}, s.arriving.empty() ? s.revision : 0});
  }
  if (looking_.empty())
    return;
  auto what = query::list_changes{};
  what.of = looking_;
  self_->send(
    env_->stores.front()(),
    make_job(std::move(what), [me = broadcaster_actor{self_}](
                                job<query::list_changes>::reply found) {
      auto back = changes_read{};
      if (found)
        back.rows
          = std::make_shared<query::list_changes::result>(std::move(*found));
      else
        back.error = found.error();
      caf::anon_send(me, std::move(back));
    }));
}

void broadcaster_state::read(const changes_read& what) {
  const auto asked = std::exchange(looking_, {});
  if (what.rows)
    for (const auto& row : *what.rows)
      learn(row);
  for (const auto& x : asked) {
    const auto where = subjects_.find(raw(x.id));
    if (where == subjects_.end())
      continue;
    auto& s = where->second;
    s.looked_at = false;
    // Where it is looked at once more, that look brings its place.
    if (!s.queued)
      tell_held(s);
    if (!what.rows) {
      // Whoever watches already is told of the rest after the next scan.
      refuse(s, what.error);
    } else if (x.revision == 0) {
      // Those that exist have been learnt of.
      refuse(s, errc::not_found);
    }
    leave_if_empty(raw(x.id));
  }
  look();
}

void broadcaster_state::on_tick() {
  look_after_all();
  const auto all = own_scan_at_ <= now();
  if (all)
    own_scan_at_ = now() + options_.own_scan;
  for (auto& [id, s] : subjects_)
    if (all || !s.own)
      want(id, s, false);
  look();
  self_->delayed_send(self_, options_.scan, tick{});
}

broadcaster_actor::behavior_type
broadcaster(broadcaster_actor::stateful_pointer<broadcaster_state> self,
            environment_ptr env, broadcaster_options options) {
  under_supervision(self);
  self->state.start(self, std::move(env), std::move(options));
  return {
    [self](status_watcher_ptr& who) {
      self->state.receive(std::move(who));
    },
    [self](const status_changed& what) {
      self->state.changed(what);
    },
    [self](const changes_read& what) {
      self->state.read(what);
    },
    [self](const tick&) {
      self->state.on_tick();
    },
  };
}

} // namespace slipway

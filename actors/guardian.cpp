#include "actors/guardian.hpp"

#include "actors/backoff.hpp"
#include "actors/observe/log.hpp"

#include <caf/exit_reason.hpp>
#include <caf/message_view.hpp>
#include <caf/scheduled_actor.hpp>
#include <caf/send.hpp>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <map>
#include <string_view>
#include <utility>

namespace slipway {

namespace {

constexpr auto root_id = "slipway";

/// The text that came along with an error, if any.
std::string words_of(const caf::error& why) {
  auto out = std::string{};
  if (why.context().size() > 0 && why.context().match_element<std::string>(0))
    out = why.context().get_as<std::string>(0);
  return out;
}

} // namespace

std::string restart_reason(const caf::error& why) {
  if (why.category() == caf::atom("slipway"))
    return std::string{to_string(static_cast<errc>(why.code()))};
  if (why == caf::exit_reason::kill)
    return "killed";
  if (why == caf::sec::runtime_error)
    return "exception";
  if (why == caf::exit_reason::user_shutdown || !why)
    return "stopped";
  return "other";
}

std::string failure_text(const caf::error& why) {
  auto out = restart_reason(why);
  if (const auto words = words_of(why); !words.empty())
    out += ": " + words;
  else if (out == "other")
    out = caf::to_string(why);
  return out;
}

void under_supervision(caf::scheduled_actor* self) {
  self->set_exception_handler(
    [](caf::scheduled_actor*, std::exception_ptr& what) {
      auto words = std::string{"not a std::exception"};
      try {
        std::rethrow_exception(what);
      } catch (const std::exception& x) {
        words = x.what();
      } catch (...) {
        // Whatever it was, it ends here.
      }
      return caf::make_error(caf::sec::runtime_error, std::move(words));
    });
  self->set_default_handler(
    [](caf::scheduled_actor* who,
       caf::message_view& in) -> caf::result<caf::message> {
      auto& content = in.content();
      if (content.match_elements<pulse>()) {
        const auto& x = content.get_as<pulse>(0);
        caf::anon_send(x.to, pulse_answer{x.serial, who->mailbox().size()});
        return caf::message{};
      }
      if (content.match_elements<roll_call>()) {
        const auto& x = content.get_as<roll_call>(0);
        x.to->lines[x.line].mailbox_depth += who->mailbox().size();
        return caf::message{};
      }
      return caf::print_and_drop(who, in);
    });
}

void guardian_state::start(guardian_actor::pointer self, environment_ptr env,
                           guardian_options options) {
  self_ = self;
  alive_ = alive_guard{env->metrics, name};
  env_ = std::move(env);
  options_ = std::move(options);
  group_failures_.resize(options_.groups.size());
  group_restarts_.resize(options_.groups.size());
  for (std::size_t g = 0; g < options_.groups.size(); ++g)
    for (const auto& spec : options_.groups[g].children) {
      auto x = child{};
      x.spec = &spec;
      x.group = g;
      children_.push_back(std::move(x));
    }
  for (std::size_t i = 0; i < children_.size(); ++i)
    launch(i, false);
  on_tick();
}

void guardian_state::launch(std::size_t index, bool again) {
  auto& x = children_[index];
  x.handle = x.spec->start(again);
  x.serial = ++last_serial_;
  x.beat_at = passing();
  x.mailbox_depth = 0;
  by_actor_.emplace(x.handle.id(), index);
  // Tells at once where it is dead already.
  self_->monitor(x.handle);
  if (again && x.spec->restarted)
    x.spec->restarted();
}

caf::actor_clock::time_point guardian_state::passing() const {
  return self_->clock().now();
}

void guardian_state::forget(
  std::deque<caf::actor_clock::time_point>& failures) const {
  const auto now = passing();
  while (!failures.empty() && failures.front() + options_.limits.period < now)
    failures.pop_front();
}

void guardian_state::went_down(const caf::down_msg& what) {
  const auto known = by_actor_.find(what.source.id());
  if (known == by_actor_.end())
    return;
  const auto index = known->second;
  by_actor_.erase(known);
  children_[index].handle = nullptr;
  if (!stopping_)
    failed(index, what.reason);
}

void guardian_state::failed(std::size_t index, const caf::error& why) {
  auto& x = children_[index];
  x.last_failure = failure_text(why);
  x.failed_at = env_->clock->now();
  x.failures.push_back(passing());
  forget(x.failures);
  env_->metrics->actor_restarted(x.spec->kind, restart_reason(why));
  log::about{}
    .actor(x.spec->id)
    .error("{} went down: {}", x.spec->id, x.last_failure);
  if (x.failures.size() > options_.limits.child_max)
    restart_group(x.group, x.spec->id + " cannot be kept alive ("
                             + x.last_failure + ")");
  else
    restart_later(index);
}

void guardian_state::restart_later(std::size_t index) {
  auto& x = children_[index];
  const auto& limits = options_.limits;
  self_->delayed_send(self_,
                      backoff_delay(limits.backoff_initial, limits.backoff_max,
                                    x.failures.size(), env_->chance()),
                      start_wish{index});
}

void guardian_state::restart_group(std::size_t group, const std::string& why) {
  const auto& spec = options_.groups[group];
  auto& failures = group_failures_[group];
  failures.push_back(passing());
  forget(failures);
  if (failures.size() > options_.limits.group_max) {
    stopping_ = true;
    options_.give_up(spec.id + ": " + why);
    return;
  }
  spdlog::critical("{}: {}, starting all of it anew", spec.id, why);
  ++group_restarts_[group];
  for (std::size_t i = 0; i < children_.size(); ++i) {
    auto& x = children_[i];
    if (x.group != group)
      continue;
    x.failures.clear();
    if (x.handle) {
      by_actor_.erase(x.handle.id());
      self_->demonitor(x.handle.address());
      caf::anon_send_exit(x.handle, caf::exit_reason::kill);
      x.handle = nullptr;
      env_->metrics->actor_restarted(x.spec->kind, "group");
    }
    restart_later(i);
  }
}

void guardian_state::revive(std::size_t index) {
  auto& x = children_[index];
  if (stopping_ || x.handle)
    return;
  ++x.restarts;
  launch(index, true);
  log::about{}.actor(x.spec->id).info("{} was started again", x.spec->id);
}

void guardian_state::kill(kill_order& what) {
  for (auto& x : children_)
    if (x.spec->id == what.id) {
      if (x.handle)
        caf::anon_send_exit(x.handle, caf::exit_reason::kill);
      what.done(errc::none);
      return;
    }
  what.done(errc::not_found);
}

void guardian_state::beat(const pulse_answer& what) {
  for (auto& x : children_)
    if (x.serial == what.serial) {
      x.beat_at = passing();
      x.mailbox_depth = what.mailbox_depth;
      return;
    }
}

void guardian_state::show_mailboxes() const {
  auto depths = std::map<std::string_view, std::size_t>{};
  for (const auto& x : children_)
    depths[x.spec->kind] += x.mailbox_depth;
  for (const auto& [kind, depth] : depths)
    env_->metrics->mailbox_depth(kind, static_cast<double>(depth));
}

void guardian_state::on_tick() {
  if (stopping_)
    return;
  show_mailboxes();
  for (auto& x : children_)
    if (x.handle)
      caf::anon_send(x.handle, pulse{guardian_actor{self_}, x.serial});
  self_->delayed_send(self_, options_.limits.pulse_interval, tick{});
}

void guardian_state::answer_tree(const tree_query& what) const {
  auto out = std::vector<actor_view>{};
  auto root = actor_view{};
  root.id = root_id;
  root.kind = name;
  root.mailbox_depth = self_->mailbox().size();
  out.push_back(root);
  const auto now = passing();
  auto seen_group = options_.groups.size();
  for (const auto& x : children_) {
    const auto& group = options_.groups[x.group];
    if (std::exchange(seen_group, x.group) != x.group) {
      auto view = actor_view{};
      view.id = group.id;
      view.kind = "group";
      view.parent = root_id;
      view.restarts = group_restarts_[x.group];
      out.push_back(std::move(view));
    }
    auto view = actor_view{};
    view.id = x.spec->id;
    view.kind = x.spec->kind;
    view.parent = group.id;
    view.state = !x.handle                                        ? "restarting"
                 : x.beat_at + options_.limits.silent_after < now ? "silent"
                                                                  : "running";
    view.mailbox_depth = x.mailbox_depth;
    view.restarts = x.restarts;
    view.last_failure = x.last_failure;
    view.failed_at = x.failed_at;
    out.push_back(std::move(view));
  }
  what.done(std::move(out));
}

void guardian_state::stop() {
  stopping_ = true;
}

guardian_actor::behavior_type
guardian(guardian_actor::stateful_pointer<guardian_state> self,
         environment_ptr env, guardian_options options) {
  under_supervision(self);
  self->set_down_handler([self](caf::down_msg& what) {
    self->state.went_down(what);
  });
  self->state.start(self, std::move(env), std::move(options));
  return {
    [self](const tree_query_ptr& what) {
      self->state.answer_tree(*what);
    },
    [self](const kill_order_ptr& what) {
      self->state.kill(*what);
    },
    [self](const stop_order&) {
      self->state.stop();
    },
    [self](const pulse_answer& what) {
      self->state.beat(what);
    },
    [self](const start_wish& what) {
      self->state.revive(what.child);
    },
    [self](const tick&) {
      self->state.on_tick();
    },
  };
}

} // namespace slipway

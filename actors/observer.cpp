#include "actors/observer.hpp"

#include "actors/guardian.hpp"
#include "actors/observe/log.hpp"

#include <caf/send.hpp>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <map>

namespace slipway {

namespace {

/// What is counted in one go; an operator with more has other worries.
constexpr auto attention_max = std::size_t{1'000};

} // namespace

void observer_state::on_tick() {
  const auto store = env->counting_store();
  // Several servers agree on the main switch by looking at the same row.
  self->send(
    store,
    make_job(query::read_automation{},
             [env = env](job<query::read_automation>::reply found) {
               // Once a second the database is asked anyway.
               env->metrics->ready(found && env->is_recovered());
               if (!found)
                 return;
               if (env->automation->learn(*found))
                 spdlog::warn("automation is {}{}{}",
                              found->enabled ? "on" : "off",
                              found->reason.empty() ? "" : ": ", found->reason);
               env->metrics->automation_enabled(env->automation->enabled());
             }));
  if (count_at && self->clock().now() >= *count_at)
    count_rows();
  self->send(
    store,
    make_job(query::list_attention{env->clock->now(), env->rules.deadline,
                                   attention_max},
             [m = env->metrics](job<query::list_attention>::reply found) {
               if (!found)
                 return;
               auto counts = std::map<std::string, double>{};
               for (const auto& row : *found)
                 counts[row.kind] += 1;
               for (const auto* kind : attention_kinds)
                 m->attention(kind, counts[kind]);
             }));
  env->metrics->lease_held(env->holds_lease());
  env->metrics->log_lines_dropped(static_cast<double>(log::dropped()));
  self->delayed_send(self, interval, tick{});
}

void observer_state::count_rows() {
  count_at.reset();
  using reply = job<query::count_page>::reply;
  self->send(
    env->counting_store(),
    make_job(query::count_page{counted_to, stats_page},
             [this, me = observer_actor{self},
              begun = self->clock().now()](reply found) {
               auto page = std::make_shared<reply>(std::move(found));
               caf::anon_send(
                 me,
                 std::make_shared<std::function<void()>>([this, begun, page] {
                   const auto took = self->clock().now() - begun;
                   if (*page)
                     take_page(**page, took);
                   else // From where it was, once the database is back.
                     count_at = self->clock().now() + stats_interval;
                 }));
             }));
}

void observer_state::take_page(const query::count_page::found& page,
                               caf::actor_clock::duration_type took) {
  counts.resize(page.by_status.size());
  for (size_t i = 0; i < counts.size(); ++i)
    counts[i] += page.by_status[i];
  counted_to = page.next;
  const auto pause = took * stats_share;
  if (raw(counted_to) != 0) {
    self->delayed_send(self, pause,
                       std::make_shared<std::function<void()>>([this] {
                         count_rows();
                       }));
    return;
  }
  publish_counts();
  counts.clear();
  count_at = self->clock().now()
             + std::max<caf::actor_clock::duration_type>(stats_interval, pause);
}

void observer_state::publish_counts() {
  for (size_t i = 0; i < counts.size(); ++i)
    env->metrics->subscriptions(
      lifecycle::to_string(static_cast<lifecycle::subscription_status>(i)),
      static_cast<double>(counts[i]));
}

observer_actor::behavior_type
observer(observer_actor::stateful_pointer<observer_state> self,
         environment_ptr env) {
  under_supervision(self);
  auto& st = self->state;
  st.self = self;
  st.alive = alive_guard{env->metrics, observer_state::name};
  st.env = std::move(env);
  return {
    [self](const tick&) {
      self->state.on_tick();
    },
    [](const continuation& what) {
      (*what)();
    },
  };
}

} // namespace slipway

#include "actors/supervisor.hpp"

#include "actors/guardian.hpp"
#include "actors/lifecycle/implied.hpp"
#include "actors/observe/log.hpp"

#include <caf/send.hpp>

#include <algorithm>
#include <optional>
#include <utility>

namespace slipway {

namespace {

using lifecycle::effect;
using lifecycle::instance_health;
using lifecycle::phase;
using lifecycle::verdict;

/// How an authentic callback fared that moved nothing.
callback_outcome outcome_of(verdict why) {
  switch (why) {
    case verdict::applied:
      return callback_outcome::applied;
    case verdict::already_applied:
      return callback_outcome::repeated;
    case verdict::stale:
      return callback_outcome::acknowledged;
    default:
      return callback_outcome::contradicted;
  }
}

notice make_notice(notice_kind kind, const record& about, timestamp at) {
  const auto& s = about.state;
  auto what = notice{};
  what.kind = kind;
  what.instance_seq = s.instance.seq;
  what.amount = s.amount;
  what.at = at;
  switch (kind) {
    case notice_kind::payment_received:
      break;
    case notice_kind::deployment_success:
      what.public_url = s.instance.public_url;
      if (s.deployment.queued_at)
        what.duration = at - *s.deployment.queued_at;
      what.by_mail = true;
      break;
    case notice_kind::deployment_failed:
      what.error = s.deployment.error;
      what.by_mail = true;
      break;
    case notice_kind::refund_completed:
    case notice_kind::instance_terminated:
      what.by_mail = true;
      break;
    case notice_kind::deployment_cancelled:
    case notice_kind::deployment_started:
      break;
    case notice_kind::instance_down:
      what.error = s.deployment.error;
      what.by_mail = true;
      break;
    case notice_kind::instance_recovered:
      what.public_url = s.instance.public_url;
      what.by_mail = true;
      break;
    case notice_kind::instance_changed:
      what.public_url = s.instance.public_url;
      what.error = s.instance.health == instance_health::healthy
                     ? "redeployed"
                     : std::string{to_string(s.instance.health)};
      break;
  }
  return what;
}

/// The notice that an effect asks for, if it does.
std::optional<notice_kind> notice_of(effect what) {
  switch (what) {
    case effect::notify_paid:
      return notice_kind::payment_received;
    case effect::notify_running:
      return notice_kind::deployment_success;
    case effect::notify_failed:
      return notice_kind::deployment_failed;
    case effect::notify_refunded:
      return notice_kind::refund_completed;
    case effect::notify_cancelled:
      return notice_kind::deployment_cancelled;
    case effect::notify_terminated:
      return notice_kind::instance_terminated;
    case effect::notify_down:
      return notice_kind::instance_down;
    case effect::notify_recovered:
      return notice_kind::instance_recovered;
    case effect::notify_changed:
      return notice_kind::instance_changed;
    case effect::request_slot:
    case effect::release_slot:
    case effect::run_step:
      break;
  }
  return std::nullopt;
}

/// Tells of what went back just now, not of what went back before.
notice make_refund_notice(const lifecycle::state& before, const record& about,
                          timestamp at) {
  auto what = make_notice(notice_kind::refund_completed, about, at);
  what.amount = 0;
  for (const auto& x : about.state.orders)
    if (const auto* was = lifecycle::find_order(before, x.seq))
      what.amount += x.refunded - was->refunded;
  return what;
}

/// Whoever has waited in the queue for longer than this has gone to do
/// something else, and is told in-app that it goes on. For all others the
/// success or failure that follows is news enough: a notice is a row with three
/// indexes.
constexpr auto long_wait = millis{120'000};

/// Whether this is the moment in which a long wait in the queue ends.
bool has_waited_long(const lifecycle::state& before,
                     const lifecycle::state& after, timestamp at) {
  return before.deployment.at == phase::queued
         && after.deployment.at == phase::creating_project
         && at - before.deployment.phase_at >= long_wait;
}

bool is_being_taken_away(phase at) {
  return at == phase::cancelling || at == phase::terminating;
}

/// Whether nothing is under way: what comes next begins by itself.
bool is_at_rest(phase at) {
  switch (at) {
    case phase::idle:
    case phase::skipped:
    case phase::running:
    case phase::failed:
    case phase::stopped:
    case phase::lapsed:
      return true;
    case phase::queued:
    case phase::creating_project:
    case phase::deploying_template:
    case phase::awaiting_workflow:
    case phase::configuring:
    case phase::deploying:
    case phase::cancelling:
    case phase::backing_off:
    case phase::terminating:
    case phase::halting:
      return false;
  }
  return true;
}

/// Remembered for what the dice have left out.
const auto not_recorded = trace::context{{0, 1}, 0, false, {}};

/// Whether a project is about to be created at the provider.
bool is_announcement(const lifecycle::event& what) {
  return std::holds_alternative<lifecycle::project_create_started>(what);
}

/// Whether the caller wants to hear of the provider's confirmation.
bool wants_it_taken_away(const lifecycle::event& what) {
  return std::holds_alternative<lifecycle::cancel_requested>(what)
         || std::holds_alternative<lifecycle::terminate_requested>(what);
}

/// Hands a transition over so that it is answered exactly once: by the JOURNAL,
/// or `in_doubt` when it is dropped on the way there.
transition_ptr
make_ticket(const transition_ptr& what, std::shared_ptr<server_load> load) {
  load->journal_queue.fetch_add(1, std::memory_order_relaxed);
  // The supervisor keeps the transition, the ticket keeps it alive as well.
  return {what.get(), [what, load = std::move(load)](transition* t) {
            load->ended(load->journal_queue);
            if (!t->answered)
              caf::anon_send(t->from, commit_result{t->next.state.revision,
                                                    commit_status::in_doubt});
          }};
}

/// When many timers ring while the database is behind, each comes again after
/// between half a second and a whole one.
millis after_a_while(std::uint32_t chance) {
  return millis{500 + chance % 500};
}

/// Which orders differ, as bits by position.
std::uint64_t
changed_orders(const lifecycle::state& before, const lifecycle::state& after) {
  auto bits = std::uint64_t{0};
  for (size_t i = 0; i < after.orders.size(); ++i)
    if (i >= before.orders.size() || before.orders[i] != after.orders[i])
      bits |= std::uint64_t{1} << i;
  return bits;
}

} // namespace

const lifecycle::rules& supervisor_state::rules() const {
  return env->rules_of(current.plan);
}

void supervisor_state::receive(command_ptr what) {
  ++handled;
  if (!flight) {
    process(std::move(what));
    return;
  }
  // Only what somebody waits for is refused: facts from the provider and from
  // timers are few, and must not get lost.
  if (what->reply && !what->control
      && waiting.size() >= env->limits.commands_waiting_max) {
    env->metrics->shed("supervisor_mailbox");
    what->reply->deliver({errc::overloaded, verdict::stale, nullptr});
    return;
  }
  waiting.push_back(std::move(what));
}

void supervisor_state::process(command_ptr what) {
  if (!what->on_behalf_of.empty() && what->on_behalf_of != current.user_id) {
    if (what->reply)
      what->reply->deliver({errc::forbidden, verdict::stale, nullptr});
    return;
  }
  // What time decides waits in its row: the REGISTRY finds it due.
  if (std::holds_alternative<lifecycle::woke>(what->what) && !env->may_act())
    return;
  auto made = lifecycle::decide(current.state, what->what, rules());
  if (made.is != verdict::applied) {
    refuse(std::move(what), made.is);
    return;
  }
  if (can_announce(*what, made.next) && env->creations->take())
    what->then.push_back(lifecycle::project_create_started{
      lifecycle::time_of(what->what), made.next.deployment.attempt});
  append(std::move(what), std::move(made));
}

bool supervisor_state::can_announce(const command& what,
                                    const lifecycle::state& next) const {
  return std::holds_alternative<lifecycle::slot_granted>(what.what)
         && what.then.empty() && lifecycle::is_untouched(next)
         && current.created_at > env->automation->restored_at();
}

void supervisor_state::refuse(command_ptr what, verdict why) {
  if (what->callback) {
    // Nothing moves, but an authentic message is kept before it is answered.
    auto entry = *what->callback;
    entry.outcome = outcome_of(why);
    entry.reason = lifecycle::to_string(why);
    auto keep = std::make_shared<inbox_job>();
    keep->entry = std::move(entry);
    keep->done = {[reply = what->reply, why](errc error) {
                    if (reply)
                      reply->deliver({error, why, nullptr});
                  },
                  errc::unavailable};
    self->send(env->journal_of(current.id), std::move(keep));
    return;
  }
  if (why == verdict::already_applied
      && is_being_taken_away(current.state.deployment.at)
      && wants_it_taken_away(what->what) && what->reply) {
    if (cancel_waiters.size() < 16)
      wait_for_cancellation(std::move(what->reply));
    else
      what->reply->deliver({errc::none, verdict::under_way, &current});
    return;
  }
  if (std::holds_alternative<lifecycle::woke>(what->what)) {
    // Nothing is due, although the row says so: it was written under other
    // rules. Uncorrected, it would be found due for ever.
    self->send(
      env->store_of(current.id),
      make_job(query::move_timer{current.id, current.state.revision,
                                 lifecycle::wake_at(current.state, rules())},
               [](job<query::move_timer>::reply) {
                 // Where that fails the row is found due once more.
               }));
    arm();
  }
  if (what->reply)
    what->reply->deliver({errc::none, why, &current});
}

void supervisor_state::append(command_ptr what, lifecycle::decision made) {
  auto t = std::make_shared<transition>();
  const auto at = note_cause(*t, *what, made);
  t->expected_revision = current.state.revision;
  t->orders_changed = changed_orders(current.state, made.next);
  t->orders_known = current.state.orders.size();
  t->instance_changed = lifecycle::stores_instance(current.state, made.next);
  for (const auto& order : made.next.orders)
    t->first_asks.push_back(lifecycle::first_ask(order, at, rules()));
  t->wake_at = lifecycle::wake_at(made.next, rules());
  t->next = current;
  t->next.state = std::move(made.next);
  t->next.updated_at = at;
  for (auto x : made.effects)
    if (const auto kind = notice_of(x))
      t->notices.push_back(*kind == notice_kind::refund_completed
                             ? make_refund_notice(current.state, t->next, at)
                             : make_notice(*kind, t->next, at));
  if (has_waited_long(current.state, t->next.state, at))
    t->notices.push_back(
      make_notice(notice_kind::deployment_started, t->next, at));
  if (!env->mail)
    for (auto& x : t->notices)
      x.by_mail = false;
  t->callback = what->callback;
  t->create = what->create;
  t->from = self;
  effects = std::move(made.effects);
  flight = t;
  flight_command = std::move(what);
  if (env->tracer != nullptr)
    flight_began = env->tracer->now();
  self->send(env->journal_of(current.id), make_ticket(t, env->load));
}

timestamp supervisor_state::note_cause(transition& to, const command& what,
                                       lifecycle::decision& made) {
  to.history.reserve(what.calls.size() + what.then.size() + 2);
  for (const auto& call : what.calls)
    to.history.push_back({call.at, history_kind::provider,
                          call.message.empty()
                            ? call.operation + ": " + call.outcome
                            : call.operation + ": " + call.message,
                          call.operation, call.outcome});
  if (what.act)
    to.history.push_back(*what.act);
  const auto note
    = [&](const lifecycle::event& why, const lifecycle::state& before) {
        to.history.push_back(
          {lifecycle::time_of(why), history_kind::state,
           lifecycle::describe(why, before, made.next),
           std::string{lifecycle::name_of(why)},
           std::string{lifecycle::to_string(made.next.deployment.at)}});
      };
  note(what.what, current.state);
  auto at = lifecycle::time_of(what.what);
  auto further_facts = false;
  step_announced = false;
  for (const auto& x : what.then) {
    auto further = lifecycle::decide(made.next, x, rules());
    if (further.is != verdict::applied)
      break;
    // One commit, one revision.
    further.next.revision = made.next.revision;
    const auto before = std::exchange(made.next, std::move(further.next));
    note(x, before);
    step_announced = is_announcement(x);
    made.effects.insert(made.effects.end(), further.effects.begin(),
                        further.effects.end());
    further_facts = true;
    at = lifecycle::time_of(x);
  }
  if (!further_facts)
    return at;
  // Calls among the facts that they led to.
  std::stable_sort(to.history.begin(), to.history.end(),
                   [](const history_entry& a, const history_entry& b) {
                     return a.at < b.at;
                   });
  // Of the steps only the last one is to be taken, if there is one.
  std::erase(made.effects, effect::run_step);
  const auto& d = made.next.deployment;
  if (lifecycle::has_step(d.at) && !d.retry_at)
    made.effects.push_back(effect::run_step);
  return at;
}

void supervisor_state::committed(const commit_result& what) {
  if (!flight || what.revision != flight->next.state.revision)
    return;
  auto done = std::exchange(flight, nullptr);
  auto cause = std::exchange(flight_command, nullptr);
  if (env->tracer != nullptr)
    trace_commit(*cause, done->next, what.status);
  if (what.status == commit_status::payment_taken && cause->callback) {
    // The database has seen this transaction pay for another order: nothing was
    // written, and a person has to look.
    effects.clear();
    refuse(std::move(cause), verdict::conflicting_payment);
    if (resume_owed)
      resume();
    next();
    return;
  }
  if (what.status != commit_status::stored) {
    // The row may or may not have changed. Only the database knows, so we stop
    // believing our own memory and let the registry load it again.
    const auto error = what.status == commit_status::conflict ? errc::conflict
                       : what.status == commit_status::refused
                           || what.status == commit_status::payment_taken
                         ? errc::rejected
                         : errc::database_down;
    log::about{current.id}
      .begun_by(cause->origin)
      .actor(name)
      .warn("{} not stored ({}), reloading", lifecycle::name_of(cause->what),
            to_string(error));
    if (cause->reply)
      cause->reply->deliver({error, verdict::stale, nullptr});
    self->quit(caf::make_error(
      error, std::string{lifecycle::name_of(cause->what)} + " was not stored"));
    return;
  }
  log::about{current.id}
    .begun_by(cause->origin)
    .actor(name)
    .debug("{} -> {}", lifecycle::name_of(cause->what),
           lifecycle::to_string(done->next.state.deployment.at));
  current = std::move(done->next);
  if (env->audience->watches(current.id))
    self->send(env->broadcaster(),
               status_changed{std::make_shared<const record>(current)});
  release_effects();
  if (resume_owed)
    resume();
  const auto waits_for_provider
    = is_being_taken_away(current.state.deployment.at)
      && wants_it_taken_away(cause->what);
  if (cause->reply) {
    if (waits_for_provider)
      wait_for_cancellation(std::move(cause->reply));
    else
      cause->reply->deliver({errc::none, verdict::applied, &current});
  }
  settle_cancel_waiters();
  arm();
  next();
}

void supervisor_state::trace_commit(const command& cause, const record& after,
                                    commit_status how) {
  auto& tracer = *env->tracer;
  const auto before = tracer.journey(current.id);
  const auto rests = is_at_rest(after.state.deployment.at);
  const auto& given = cause.origin.where;
  if (!given && !before) {
    // What nobody asked for, and from which nothing follows, is no story.
    if (rests) {
      tracer.rest(current.id);
      return;
    }
    // Once it was said that this is not recorded, it stays said.
    if (given.trace || before.trace) {
      tracer.set_journey(current.id, given.trace ? given : before);
      return;
    }
  }
  auto own = std::string{lifecycle::name_of(cause.what)};
  auto x = given    ? tracer.begin(given, std::move(own),
                                   trace::span_kind::internal, flight_began)
           : before ? tracer.begin(before, std::move(own),
                                   trace::span_kind::internal, flight_began)
                    : tracer.begin_alone(std::move(own), flight_began);
  if (!x) {
    tracer.set_journey(current.id, not_recorded);
    return;
  }
  x.set("slipway.subscription_id", to_text(current.id));
  x.set("slipway.phase",
        std::string{lifecycle::to_string(after.state.deployment.at)});
  x.set("slipway.attempt",
        static_cast<std::int64_t>(after.state.deployment.attempt));
  x.set("slipway.revision", static_cast<std::int64_t>(after.state.revision));
  if (how != commit_status::stored) {
    x.fail("not_stored");
    return;
  }
  if (rests) {
    tracer.rest(current.id);
    return;
  }
  if (before && before.trace == x.where().trace) {
    // It may have been at rest.
    tracer.set_journey(current.id, before);
    return;
  }
  // From here on the work belongs to whoever has asked for it.
  if (before)
    x.add_link({before.trace, before.span});
  x.add_link(trace::tracer::anchor_of(current.id));
  tracer.set_journey(current.id, x.where());
  tracer.note_at_anchor(
    current.id, x.where(),
    std::holds_alternative<lifecycle::payment_settled>(cause.what));
}

void supervisor_state::wait_for_cancellation(reply_ptr reply) {
  if (!env->may_act()) {
    // The provider will not be asked any time soon.
    reply->deliver({errc::none, verdict::under_way, &current});
    return;
  }
  const auto patience = env->limits.cancel_patience;
  cancel_waiters.push_back({std::move(reply), self->clock().now() + patience});
  // Rings without a revision: only patience is looked at.
  self->delayed_send(self, patience, timer_rang{0});
}

void supervisor_state::settle_cancel_waiters() {
  if (cancel_waiters.empty()
      || is_being_taken_away(current.state.deployment.at))
    return;
  for (auto& waiter : std::exchange(cancel_waiters, {}))
    waiter.reply->deliver({errc::none, verdict::applied, &current});
}

void supervisor_state::release_effects() {
  for (auto x : std::exchange(effects, {}))
    run(x);
}

void supervisor_state::run(effect what) {
  switch (what) {
    case effect::request_slot:
      self->send(env->dispatcher(),
                 slot_wanted{current.id, current.state.deployment.queue_rank});
      if (current.state.deployment.at == phase::queued && is_idle())
        self->send(env->registry(), idle_answer{current.id, handled, true});
      return;
    case effect::release_slot:
      if (env->provider)
        self->send(env->provider(), step_dropped{current.id});
      self->send(env->dispatcher(), slot_released{current.id});
      return;
    case effect::run_step:
      if (env->provider)
        self->send(env->provider(),
                   step_order{std::make_shared<const record>(current),
                              std::exchange(step_announced, false)});
      return;
    case effect::notify_paid:
      env->metrics->notification("in_app", "created");
      return;
    case effect::notify_running:
      if (current.state.deployment.queued_at
          && current.state.deployment.completed_at)
        env->metrics->time_to_running(
          std::chrono::duration<double>(*current.state.deployment.completed_at
                                        - *current.state.deployment.queued_at)
            .count());
      [[fallthrough]];
    case effect::notify_failed:
    case effect::notify_refunded:
    case effect::notify_cancelled:
    case effect::notify_terminated:
    case effect::notify_down:
    case effect::notify_recovered:
    case effect::notify_changed:
      env->metrics->notification("in_app", "created");
      if (env->notifier)
        self->send(env->notifier(), mail_nudge{});
      return;
  }
}

void supervisor_state::arm() {
  const auto due = lifecycle::wake_at(current.state, rules());
  if (!due)
    return;
  const auto now = env->clock->now();
  if (*due > now + env->limits.timer_horizon)
    return;
  const auto delay = std::max(millis{1}, *due - now);
  self->delayed_send(self, delay, timer_rang{current.state.revision});
}

void supervisor_state::rang(std::uint64_t revision) {
  if (revision == 0) {
    // Whose patience is over is told that the cancellation is under way. They
    // came one after the other, and all are equally patient.
    const auto now = self->clock().now();
    auto still = std::vector<cancel_waiter>{};
    for (auto& waiter : std::exchange(cancel_waiters, {}))
      if (waiter.until <= now)
        waiter.reply->deliver({errc::none, verdict::under_way, &current});
      else
        still.push_back(std::move(waiter));
    cancel_waiters = std::move(still);
    return;
  }
  if (flight || revision != current.state.revision)
    return;
  if (env->is_behind()) {
    self->delayed_send(self, after_a_while(env->chance()),
                       timer_rang{revision});
    return;
  }
  auto what = std::make_shared<command>();
  what->subscription = current.id;
  what->what = lifecycle::woke{env->clock->now(), env->chance(),
                               env->automation->since()};
  process(std::move(what));
}

void supervisor_state::next() {
  while (!flight && !waiting.empty()) {
    auto first = std::move(waiting.front());
    waiting.erase(waiting.begin());
    process(std::move(first));
  }
}

bool supervisor_state::is_idle() const {
  if (flight || !waiting.empty() || !cancel_waiters.empty())
    return false;
  if (!lifecycle::can_wait(current.state.deployment.at))
    return false;
  const auto due = lifecycle::wake_at(current.state, rules());
  return !due || *due > env->clock->now() + env->limits.linger;
}

void supervisor_state::answer_idle() {
  if (is_idle())
    self->send(env->registry(), idle_answer{current.id, handled});
}

void supervisor_state::resume() {
  // What is being written may owe nothing new: then the old is ordered again
  // once it is written.
  if (flight) {
    resume_owed = true;
    return;
  }
  resume_owed = false;
  for (auto x : lifecycle::resume(current.state))
    run(x);
}

void supervisor_state::start() {
  // Work that an earlier server has begun: its trace has ended with it, and
  // this one's is linked to the same anchor.
  if (env->tracer != nullptr && current.state.revision != 0
      && !is_at_rest(current.state.deployment.at)
      && !env->tracer->journey(current.id).trace) {
    auto x = env->tracer->begin_alone("resumed");
    if (x) {
      x.set("slipway.subscription_id", to_text(current.id));
      x.set("slipway.phase",
            std::string{lifecycle::to_string(current.state.deployment.at)});
      x.add_link(trace::tracer::anchor_of(current.id));
      env->tracer->set_journey(current.id, x.where());
      env->tracer->note_at_anchor(current.id, x.where(), false);
    } else {
      env->tracer->set_journey(current.id, not_recorded);
    }
  }
  for (auto x : lifecycle::resume(current.state))
    run(x);
  arm();
}

supervisor_actor::behavior_type
supervisor(supervisor_actor::stateful_pointer<supervisor_state> self,
           environment_ptr env, record current) {
  under_supervision(self);
  auto& st = self->state;
  st.self = self;
  st.alive = alive_guard{env->metrics, supervisor_state::name};
  st.env = std::move(env);
  st.current = std::move(current);
  st.start();
  return {
    [self](command_ptr& what) {
      self->state.receive(std::move(what));
    },
    [self](const commit_result& what) {
      self->state.committed(what);
    },
    [self](const timer_rang& what) {
      self->state.rang(what.revision);
    },
    [self](const resume_order&) {
      self->state.resume();
    },
    [self](const idle_question&) {
      self->state.answer_idle();
    },
    [self](const leave_order&) {
      self->quit();
    },
  };
}

} // namespace slipway

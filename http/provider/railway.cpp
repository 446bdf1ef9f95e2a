#include "http/provider/railway.hpp"

#include "actors/guardian.hpp"
#include "actors/observe/log.hpp"
#include "http/provider/answer.hpp"
#include "http/provider/blueprint.hpp"
#include "http/provider/caller.hpp"
#include "http/provider/documents.hpp"
#include "http/provider/look.hpp"
#include "http/provider/variables.hpp"
#include "http/provider/view.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/parse_options.hpp>
#include <boost/json/serialize.hpp>
#include <caf/send.hpp>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <deque>
#include <map>
#include <set>
#include <unordered_map>
#include <utility>

namespace slipway::provider {

namespace {

namespace json = boost::json;

using lifecycle::phase;
using namespace std::chrono_literals;

/// A read without an answer is simply made again.
constexpr auto read_timeout_max = millis{30'000};

/// How long what has just been deployed goes unsaid for the sake of a first
/// look at it.
constexpr auto look_at_once_max = millis{2'000};

/// How often it is seen to what has become visible.
constexpr auto tick_interval = millis{5'000};

/// Pages of projects that a look-up reads at most: 5 000 projects, the newest
/// ones first.
constexpr auto pages_max = 50;

/// For how long a template that was read is deployed as it was.
constexpr auto template_age_max = std::chrono::seconds{60};

/// While nothing may leave, it is seen this often whether it may again.
constexpr auto switch_interval = millis{250};

/// What a workflow makes takes longer than the usual lag to become visible.
constexpr auto workflow_lags = 4;

/// Looks at a fresh project before its services or its domain count as missing.
constexpr auto looks_max = 4;

/// Who goes first. What leads up to a creation goes with it.
urgency urgency_of(phase at) {
  switch (at) {
    case phase::cancelling:
    case phase::terminating:
    case phase::halting:
      return urgency::removal;
    case phase::creating_project:
      return urgency::creation;
    case phase::idle:
    case phase::skipped:
    case phase::queued:
    case phase::deploying_template:
    case phase::awaiting_workflow:
    case phase::configuring:
    case phase::deploying:
    case phase::running:
    case phase::failed:
    case phase::stopped:
    case phase::backing_off:
    case phase::lapsed:
      return urgency::step;
  }
  return urgency::step;
}

/// Whether the call is one that the journal hears of before it leaves.
bool is_announced(const operation& what) {
  const auto field = std::string_view{what.field};
  return field == create_project.field || field == deploy_template.field
         || field == create_service.field;
}

/// Whether another attempt of ours could end differently.
bool is_permanent(answer_class x) {
  switch (x) {
    case answer_class::invalid:
    case answer_class::plan:
    case answer_class::auth:
    case answer_class::not_found:
      return true;
    case answer_class::ok:
    case answer_class::throttled:
    case answer_class::blocked:
    case answer_class::busy:
    case answer_class::duplicate:
    case answer_class::opaque:
    case answer_class::in_doubt:
    case answer_class::not_sent:
      return false;
  }
  return false;
}

/// Whether a creation that was answered so has certainly not happened, so that
/// nobody needs to look for it.
bool is_without_effect(answer_class x) {
  switch (x) {
    case answer_class::invalid:
    case answer_class::auth:
    case answer_class::not_found:
    case answer_class::throttled:
    case answer_class::blocked:
    case answer_class::plan:
    case answer_class::not_sent:
      return true;
    case answer_class::ok:
    case answer_class::busy:
    case answer_class::duplicate:
    case answer_class::opaque:
    case answer_class::in_doubt:
      return false;
  }
  return false;
}

} // namespace

struct railway_state::impl {
  /// A point of the time that passes: nobody sets it, as people do with clocks.
  using moment = caf::actor_clock::time_point;

  // -- work under way
  // -------------------------------------------------------------

  /// What is being done for one subscription.
  struct task {
    record_ptr subject;
    /// The phase in which it was ordered; the subject's may be a later one, see
    /// `untold`.
    phase ordered_in = phase::idle;
    /// Facts that are said along with what follows from them. The subject has
    /// come as far as they go.
    std::vector<lifecycle::event> untold;
    /// A stop waits until they are said.
    std::unique_ptr<outward_mark> unsaid;
    /// Continuations of an earlier task find another serial and do nothing.
    std::uint64_t serial = 0;
    std::vector<provider_call> calls;
    record_ptr again; ///< Ordered meanwhile: started when this one is over.
    int page = 0;
    /// When the last look began: what a slow answer shows is as old as that.
    timestamp look_began{};
    moment look_began_by{}; ///< The same, by the time that passes.
    int looks = 0;
    std::vector<std::pair<std::string, std::string>> found; ///< createdAt, id
    /// A call that changes something is on its way: nothing may overtake it.
    bool mutating = false;
    bool mutated = false;    ///< The last call was one that changes something.
    bool creates = false;    ///< …that had been announced before.
    bool gate_ready = false; ///< Nothing found: to be created at its turn.
    bool looked_at_gate = false;
    bool looked_for_surplus = false;
    bool domain_made = false;
    bool is_repeat = false; ///< Follows on another task of the same order.
    bool announced = false; ///< See `step_order::announced`.
    /// Until when the server that this was taken from can be calling, where it
    /// may live on.
    moment others_call_until{};
    /// When this task has announced what it creates: after its order was given.
    std::optional<timestamp> announced_at;
    bool asks_one_by_one = false; ///< The workflow without its services.
    bool first_go = false;        ///< There was nothing to look for.
    bool superseded = false;      ///< `again` is to begin once it is answered.
    /// Services deployed again in this step, with their new deployments.
    std::map<std::string, std::string> fresh;
    std::set<std::string> stopped; ///< Deployments cancelled in this step.
    /// Set once this task is over or superseded: none of its calls that waits
    /// for the budget may leave any more.
    withdrawal over = std::make_shared<std::atomic<bool>>(false);

    [[nodiscard]] const lifecycle::state& state() const {
      return subject->state;
    }

    [[nodiscard]] phase at() const {
      return subject->state.deployment.at;
    }

    [[nodiscard]] std::uint32_t attempt() const {
      return subject->state.deployment.attempt;
    }
  };

  provider_actor::pointer self = nullptr;
  environment_ptr env;
  railway_options options;
  std::unordered_map<std::uint64_t, task> tasks;
  std::uint64_t last_serial = 0;
  moment born{};
  /// When a change was last answered that may have happened although its task
  /// does not know. Forgotten once everything has become visible.
  std::unordered_map<std::uint64_t, moment> doubts;
  alive_guard alive;

  /// When the workflow was last looked at, before it was said that there is
  /// one.
  std::unordered_map<std::uint64_t, moment> workflow_looks;

  struct known_template {
    std::string id;
    json::value config;
    moment read_by{};
  };
  std::optional<known_template> last_template;

  // One creation at a time, and none sooner than the interval after the answer
  // to the one before: whatever the network did, the provider sees it kept.
  // Without an interval there is nothing to keep.
  timestamp next_create_at{};
  bool creating = false;
  bool gate_armed = false;
  std::deque<std::pair<subscription_id, std::uint64_t>> gate_queue;

  /// Steps that wait until anything may leave again, with what is to be noted
  /// along with their reports.
  struct parked_step {
    record_ptr subject;
    std::vector<provider_call> calls;
  };
  std::map<std::uint64_t, parked_step> parked;
  bool switch_armed = false;

  using deployment_ids = std::shared_ptr<std::vector<std::string>>;

  // -- plumbing
  // ---------------------------------------------------------------------

  [[nodiscard]] timestamp now() const {
    return env->clock->now();
  }

  [[nodiscard]] moment passing() const {
    return self->clock().now();
  }

  static void begin_look(task& t, timestamp at, moment by) {
    t.look_began = at;
    t.look_began_by = by;
  }

  /// Ends a task, and with it whatever of it has not left yet.
  void erase(subscription_id id) {
    const auto where = tasks.find(raw(id));
    if (where == tasks.end())
      return;
    *where->second.over = true;
    tasks.erase(where);
  }

  task* find(subscription_id id, std::uint64_t serial) {
    const auto where = tasks.find(raw(id));
    if (where == tasks.end() || where->second.serial != serial)
      return nullptr;
    return &where->second;
  }

  /// Runs `f(task&)` inside of the actor, if the task is still the same one.
  template <class F>
  continuation continue_with(subscription_id id, std::uint64_t serial, F f) {
    return std::make_shared<std::function<void()>>(
      [this, id, serial, f = std::move(f)] {
        if (auto* t = find(id, serial))
          f(*t);
      });
  }

  template <class F>
  void later(const task& t, millis delay, F f) {
    self->delayed_send(self, std::max(delay, millis{1}),
                       continue_with(t.subject->id, t.serial, std::move(f)));
  }

  /// Calls Railway and goes on with the answer. Reads are not noted in the
  /// history unless they fail: they would drown it.
  /// @param patience For how long at most; what is usual when that is shorter.
  template <class F>
  void call(task& t, const operation& what, json::object variables, F next,
            millis patience = millis::max()) {
    if (what.mutates && !env->may_act()) {
      if (std::string_view{what.field} == create_project.field)
        creating = false;
      hold_back(t);
      return;
    }
    auto out = std::make_shared<provider::call>();
    out->field = what.field;
    out->document = what.document;
    out->variables = std::move(variables);
    out->mutates = what.mutates;
    out->how = urgency_of(t.at());
    // Creations have been seen to take a minute, reads have not.
    out->timeout = std::min(
      patience, what.mutates ? options.settings.request_timeout
                             : std::min(options.settings.request_timeout,
                                        read_timeout_max));
    out->expires = now() + out->timeout;
    out->withdrawn = t.over;
    if (env->tracer != nullptr)
      out->trace = env->tracer->journey(t.subject->id);
    const auto id = t.subject->id;
    const auto serial = t.serial;
    t.mutating = what.mutates;
    t.mutated = what.mutates;
    t.creates = what.mutates && is_announced(what);
    out->done = [this, me = provider_actor{self}, id, serial, what,
                 next = std::move(next)](answer told) {
      auto got = std::make_shared<answer>(std::move(told));
      caf::anon_send(me, std::make_shared<std::function<void()>>(
                           [this, id, serial, what, next, got] {
                             answered(id, serial, what, *got, next);
                           }));
    };
    self->send(options.caller(), std::move(out));
  }

  template <class F>
  void answered(subscription_id id, std::uint64_t serial, const operation& what,
                answer& got, const F& next) {
    if (std::string_view{what.field} == create_project.field)
      open_gate();
    auto* t = find(id, serial);
    // What has succeeded as announced is in doubt, too: the report of it may
    // not be stored, and whoever comes next looks for something that is still
    // lagging.
    if (what.mutates && !is_without_effect(got.is)
        && (got.is != answer_class::ok || is_announced(what) || t == nullptr
            || t->superseded))
      doubts[raw(id)] = passing();
    if (t == nullptr)
      return;
    // It was held up on its last yards: no failure of the step.
    if (what.mutates && got.is == answer_class::not_sent && !env->may_act()
        && !t->superseded) {
      park(*t);
      return;
    }
    if (what.mutates || got.is != answer_class::ok)
      t->calls.push_back(
        {now(), what.field, std::string{to_string(got.is)}, got.message});
    t->mutating = false;
    if (t->superseded)
      succeed_task(*t, what, got);
    else
      next(*t, got);
  }

  // -- reporting
  // ----------------------------------------------------------------------

  command_ptr make_command(task& t, lifecycle::event what) {
    auto out = std::make_shared<command>();
    out->subscription = t.subject->id;
    out->what = std::move(what);
    out->calls = std::exchange(t.calls, {});
    return out;
  }

  /// The order that came meanwhile, with the announcement that it may have been
  /// given before, and with the project that nobody has been told of: whoever
  /// carries it out has to look for what came of that.
  static record_ptr take_again(task& t) {
    auto again = std::move(t.again);
    if (!again)
      return again;
    const auto& now = again->state;
    const auto intent
      = t.announced_at ? t.announced_at : t.state().deployment.intent_at;
    const auto lacks_intent = intent && !now.deployment.intent_at
                              && now.deployment.at == t.ordered_in
                              && now.deployment.attempt == t.attempt();
    const auto lacks_project = t.at() != t.ordered_in
                               && now.instance.seq == t.state().instance.seq
                               && now.instance.project_id.empty();
    if (!lacks_intent && !lacks_project)
      return again;
    auto out = std::make_shared<record>(*again);
    if (lacks_intent)
      out->state.deployment.intent_at = intent;
    if (lacks_project) {
      out->state.instance.project_id = t.state().instance.project_id;
      out->state.instance.environment_id = t.state().instance.environment_id;
    }
    return out;
  }

  /// Goes on from a fact that is said later, along with what follows from it.
  void take_as_told(task& t, lifecycle::event what) {
    auto next = std::make_shared<record>(*t.subject);
    next->state
      = lifecycle::decide(t.state(), what, env->rules_of(t.subject->plan)).next;
    t.subject = std::move(next);
    t.untold.push_back(std::move(what));
    if (!t.unsaid)
      t.unsaid = std::make_unique<outward_mark>(env->load);
  }

  /// Ends the step with what is known by now; something is.
  void tell(task& t) {
    auto last = std::move(t.untold.back());
    t.untold.pop_back();
    finish(t, std::move(last));
  }

  /// Reports the end of the step. The supervisor orders the next one.
  /// @param then What follows from it.
  void finish(task& t, lifecycle::event what,
              std::vector<lifecycle::event> then = {}) {
    auto facts = std::exchange(t.untold, {});
    facts.push_back(std::move(what));
    std::move(then.begin(), then.end(), std::back_inserter(facts));
    auto report = make_command(t, std::move(facts.front()));
    facts.erase(facts.begin());
    report->then = std::move(facts);
    auto again = take_again(t);
    const auto id = t.subject->id;
    erase(id);
    self->send(env->registry(), std::move(report));
    pump_gate();
    // Ordered anew by a supervisor that was restarted in between. Should the
    // report above reach it first, what comes of this one is stale there.
    if (again)
      begin(std::move(again), {}, true);
  }

  void finish_failed(task& t, const answer& got, std::string_view doing) {
    auto permanent = is_permanent(got.is);
    // Rights and rows lag behind their creation, so that early on a refusal
    // means little.
    const auto settles_at
      = t.state().deployment.phase_at + 3 * options.settings.visibility_lag;
    if ((got.is == answer_class::auth || got.is == answer_class::not_found)
        && t.at() != phase::creating_project
        && (t.state().deployment.tries < 5 || now() < settles_at))
      permanent = false;
    auto retry_after = got.retry_after;
    if (got.is == answer_class::throttled && retry_after == millis{0}) {
      retry_after = options.settings.create_interval;
      if (t.at() == phase::creating_project)
        next_create_at
          = std::max(next_create_at, now() + options.settings.create_interval);
    }
    auto reason = std::string{doing} + ": " + got.message;
    auto what = lifecycle::step_failed{};
    what.at = now();
    what.attempt = t.attempt();
    what.in = t.at();
    what.permanent = permanent;
    // What the API itself says of our document or of the account's plan, it
    // says to every attempt.
    what.hopeless = got.is == answer_class::plan
                    || (got.is == answer_class::invalid && !got.code.empty());
    // Only what was announced can be taken back, not what else has failed.
    what.without_effect = t.creates && is_without_effect(got.is);
    what.in_doubt = t.mutated && !is_without_effect(got.is);
    what.retry_after = retry_after;
    what.reason = std::move(reason);
    what.chance = env->chance();
    finish(t, std::move(what));
  }

  /// Makes an announcement durable, then goes on. When it cannot be stored, the
  /// supervisor is being restarted and will order the step again.
  template <class F>
  void announce(task& t, lifecycle::event what, F next) {
    // Never refused for want of room: nobody would start the step again.
    const auto gated
      = std::holds_alternative<lifecycle::project_create_started>(what);
    if (!gated && !env->may_act()) {
      hold_back(t);
      return;
    }
    auto report = make_command(t, std::move(what));
    report->control = true;
    report->reply = std::make_shared<reply_slot>(
      [this, me = provider_actor{self}, id = t.subject->id, serial = t.serial,
       gated, next = std::move(next)](const outcome& end) {
        const auto stored
          = end.error == errc::none && end.is == lifecycle::verdict::applied;
        caf::anon_send(me, std::make_shared<std::function<void()>>(
                             [this, id, serial, stored, gated, next] {
                               auto* t = find(id, serial);
                               if (t != nullptr && stored) {
                                 t->announced_at = now();
                                 next(*t);
                                 return;
                               }
                               // Nothing will be called after all.
                               if (gated)
                                 open_gate();
                               if (t != nullptr)
                                 abandon(*t);
                             }));
      });
    self->send(env->registry(), std::move(report));
  }

  /// Goes on with what was ordered while a change was on its way, and with what
  /// its answer taught us.
  void succeed_task(task& t, const operation& what, const answer& got) {
    auto calls = std::move(t.calls);
    const auto again = take_again(t);
    const auto id = t.subject->id;
    erase(id);
    pump_gate();
    if (!again)
      return;
    auto subject = std::make_shared<record>(*again);
    const auto& project = value_at(got.data, create_project.field);
    if (std::string_view{what.field} == create_project.field
        && got.is == answer_class::ok && !word_at(project, "id").empty()) {
      subject->state.instance.project_id = word_at(project, "id");
      subject->state.instance.environment_id = environment_of(project);
    }
    begin(std::move(subject), std::move(calls), true);
  }

  /// Another task waits for the answer to what has left; what has not left
  /// shall not.
  static void supersede(task& t) {
    t.superseded = true;
    *t.over = true;
  }

  void open_gate() {
    creating = false;
    next_create_at = now() + options.settings.create_interval;
    pump_gate();
  }

  /// Ends a task without a report.
  void abandon(task& t) {
    auto again = take_again(t);
    erase(t.subject->id);
    pump_gate();
    if (again)
      begin(std::move(again), {}, true);
  }

  // -- orders
  // ---------------------------------------------------------------------------

  void receive(record_ptr subject, bool announced) {
    parked.erase(raw(subject->id));
    if (subject->state.deployment.at != phase::deploying)
      stop_watching(subject->id);
    const auto where = tasks.find(raw(subject->id));
    if (where != tasks.end()) {
      auto& t = where->second;
      const auto same = t.ordered_in == subject->state.deployment.at
                        && t.attempt() == subject->state.deployment.attempt;
      // At work on just this: two of them could create twice.
      if (same) {
        t.again = std::move(subject);
        return;
      }
      // Something else now, a cancellation for example. What a creation on its
      // way has made must be there to be found.
      if (t.mutating) {
        t.again = std::move(subject);
        supersede(t);
        return;
      }
      if (!t.untold.empty()) {
        t.again = std::move(subject);
        auto calls = std::move(t.calls);
        begin(take_again(t), std::move(calls), true);
        return;
      }
    }
    begin(std::move(subject), {}, false, announced);
  }

  void begin(record_ptr subject, std::vector<provider_call> calls = {},
             bool is_repeat = false, bool announced = false) {
    erase(subject->id);
    // Looking at what is being deployed changes nothing.
    if (!env->may_act() && subject->state.deployment.at != phase::deploying) {
      const auto id = raw(subject->id);
      parked[id] = {std::move(subject), std::move(calls)};
      wait_for_switch();
      return;
    }
    auto& t = tasks[raw(subject->id)];
    t.subject = std::move(subject);
    t.ordered_in = t.at();
    t.calls = std::move(calls);
    t.serial = ++last_serial;
    t.is_repeat = is_repeat;
    t.announced = announced;
    // Announced by us or by others, and perhaps called.
    if (t.state().deployment.intent_at && !announced)
      hear_of_others(t);
    else
      take_step(t);
  }

  /// Goes on once it is known how long other servers may be calling.
  void hear_of_others(task& t) {
    using found = job<query::last_silence>::reply;
    self->send(env->store_of(t.subject->id),
               make_job(query::last_silence{t.subject->id},
                        [this, me = provider_actor{self}, id = t.subject->id,
                         serial = t.serial](const found& age) {
                          caf::anon_send(
                            me, continue_with(id, serial, [this, age](task& t) {
                              heard_of_others(t, age);
                            }));
                        }));
  }

  void heard_of_others(task& t, const job<query::last_silence>::reply& age) {
    if (!age) {
      later(t, look_again_after(), [this](task& t) {
        hear_of_others(t);
      });
      return;
    }
    if (*age)
      t.others_call_until
        = passing() - **age + options.settings.request_timeout;
    take_step(t);
  }

  void take_step(task& t) {
    switch (t.at()) {
      case phase::creating_project:
        create_project_step(t);
        return;
      case phase::deploying_template:
        deploy_template_step(t);
        return;
      case phase::awaiting_workflow:
        await_workflow_step(t);
        return;
      case phase::configuring:
        configure_step(t);
        return;
      case phase::deploying:
        hand_over(record_ptr{t.subject});
        return;
      case phase::cancelling:
      case phase::terminating:
        cancel_step(t);
        return;
      case phase::halting:
        halt_step(t);
        return;
      case phase::idle:
      case phase::skipped:
      case phase::queued:
      case phase::running:
      case phase::failed:
      case phase::stopped:
      case phase::backing_off:
      case phase::lapsed:
        break;
    }
    log::about{t.subject->id}.actor(name).error("provider: nothing to do in {}",
                                                lifecycle::to_string(t.at()));
    erase(t.subject->id);
  }

  // -- the main switch
  // ---------------------------------------------------------------------

  /// Parks a task whose next call would change something, as soon as whoever
  /// wanted to make it is through.
  void hold_back(const task& t) {
    later(t, millis{1}, [this](task& t) {
      park(t);
    });
  }

  /// Ends a task; its step begins anew once anything may leave again, and looks
  /// first.
  void park(task& t) {
    // What is known comes first; the step that follows waits like all others.
    if (!t.untold.empty()) {
      tell(t);
      return;
    }
    auto again = take_again(t);
    auto step
      = parked_step{again ? std::move(again) : t.subject, std::move(t.calls)};
    const auto id = step.subject->id;
    erase(id);
    parked[raw(id)] = std::move(step);
    wait_for_switch();
    pump_gate();
  }

  void wait_for_switch() {
    if (std::exchange(switch_armed, true))
      return;
    self->delayed_send(self, switch_interval,
                       std::make_shared<std::function<void()>>([this] {
                         switch_armed = false;
                         if (env->may_act())
                           go_on();
                         else
                           wait_for_switch();
                       }));
  }

  void go_on() {
    for (auto& [id, step] : std::exchange(parked, {}))
      if (tasks.count(id) == 0)
        begin(std::move(step.subject), std::move(step.calls), true);
    pump_gate();
  }

  // -- looking
  // ----------------------------------------------------------------------------

  /// Whether something announced may exist although it cannot be seen yet.
  /// What counts is when the last look began, not when it was answered.
  /// @param lags For how many times the usual lag to believe that.
  [[nodiscard]] bool may_be_invisible(const task& t, int lags = 1) const {
    const auto& intent = t.state().deployment.intent_at;
    if (!intent)
      return false;
    const auto lag = lags * options.settings.visibility_lag;
    // A call of the server before us may still have been on its way when we
    // were started, or for longer where it has not ended with its process.
    // Neither that nor what we called ourselves is measured by the clock on the
    // wall: set ahead, it would have us create twice.
    auto since = std::max(born, t.others_call_until);
    if (const auto doubt = doubts.find(raw(t.subject->id));
        doubt != doubts.end())
      since = std::max(since, doubt->second);
    if (t.look_began_by < since + lag)
      return true;
    // Announced by another server, while we were running already: clocks differ
    // a little. What lies further ahead is of a clock that was set back since.
    constexpr auto clocks_differ = 1min;
    return t.look_began < *intent + lag
           && *intent <= t.look_began + clocks_differ;
  }

  [[nodiscard]] millis look_again_after() const {
    return std::min(options.poll_interval, millis{3'000});
  }

  /// Pages through the projects, the newest first, and goes on with those of
  /// our name, the oldest first. Stops where projects are older than the
  /// subscription: ours cannot be among them.
  template <class F>
  void find_by_name(task& t, F next) {
    t.page = 0;
    begin_look(t, now(), passing());
    t.found.clear();
    find_page(t, {}, std::move(next));
  }

  template <class F>
  void find_page(task& t, std::string after, F next) {
    auto variables = json::object{};
    if (!options.settings.workspace_id.empty())
      variables["workspaceId"] = options.settings.workspace_id;
    if (!after.empty())
      variables["after"] = after;
    call(t, find_projects, std::move(variables),
         [this, next](task& t, answer& got) {
           if (got.is != answer_class::ok) {
             finish_failed(t, got, "looking for the project");
             return;
           }
           const auto name = project_name(t.subject->id);
           const auto& projects = value_at(got.data, "projects");
           auto older = false;
           for_each_node(projects, [&](const json::value& node) {
             const auto created = text_at(node, "createdAt");
             if (text_at(node, "name") == name && is_live(node))
               t.found.emplace_back(created, text_at(node, "id"));
             // An hour for clocks that differ.
             if (const auto at = parse_rfc3339(created))
               older = *at < t.subject->created_at - 1h;
           });
           const auto& info = value_at(projects, "pageInfo");
           const auto& more = value_at(info, "hasNextPage");
           const auto cursor = word_at(info, "endCursor");
           if (more.is_bool() && more.get_bool() && !cursor.empty() && !older
               && ++t.page < pages_max) {
             find_page(t, cursor, next);
             return;
           }
           std::sort(t.found.begin(), t.found.end());
           next(t);
         });
  }

  // -- creating_project
  // -------------------------------------------------------------------

  void create_project_step(task& t) {
    const auto& known = t.state().instance.project_id;
    if (known.empty()) {
      look_by_name(t);
      return;
    }
    // An earlier attempt has made it. Lists lag behind, the project does not.
    call(t, read_project, {{"id", known}}, [this, known](task& t, answer& got) {
      const auto& project = value_at(got.data, "project");
      const auto environment = environment_of(project);
      if (got.is == answer_class::ok && project.is_object() && is_live(project)
          && !environment.empty())
        finish(t, lifecycle::project_ready{now(), t.attempt(), known,
                                           environment, true});
      else if (got.is == answer_class::ok || got.is == answer_class::not_found
               || got.is == answer_class::auth)
        look_by_name(t);
      else
        finish_failed(t, got, "reading the project");
    });
  }

  /// Whether there can be nothing of it at the provider: nothing was ever
  /// announced, or not before this order, and the database has forgotten
  /// nothing since. An order that was given while an earlier one was worked on
  /// knows nothing of what came of that.
  [[nodiscard]] bool is_first_go(const task& t) const {
    return t.announced
           || (!t.is_repeat && lifecycle::is_untouched(t.state())
               && t.subject->created_at > env->automation->restored_at());
  }

  void look_by_name(task& t) {
    // First paid, first created: of slots that are granted at the same time the
    // commits may come in any order, and looking takes its time.
    const auto paid = [](const task& x) {
      return x.state().deployment.queued_at.value_or(timestamp::max());
    };
    const auto place = std::find_if(
      gate_queue.begin(), gate_queue.end(), [&](const auto& waiting) {
        const auto* other = find(waiting.first, waiting.second);
        return other != nullptr && paid(*other) > paid(t);
      });
    gate_queue.emplace(place, t.subject->id, t.serial);
    t.first_go = is_first_go(t);
    if (t.first_go) {
      t.gate_ready = true;
      pump_gate();
      return;
    }
    find_by_name(t, [this](task& t) {
      if (t.found.empty()) {
        create_or_wait(t);
        return;
      }
      // The oldest one is it; whatever else carries our name is surplus of a
      // creation that was believed lost.
      adopt(t);
    });
  }

  void adopt(task& t) {
    if (t.found.size() > 1) {
      const auto surplus = t.found.back().second;
      t.found.pop_back();
      log::about{t.subject->id}.actor(name).warn(
        "provider: removing surplus project {} of {}", surplus,
        to_text(t.subject->id));
      call(t, delete_project, {{"id", surplus}}, [this](task& t, answer& got) {
        if (got.is == answer_class::ok || got.is == answer_class::auth
            || got.is == answer_class::not_found)
          adopt(t);
        else
          finish_failed(t, got, "removing a surplus project");
      });
      return;
    }
    const auto id = t.found.front().second;
    call(t, read_project, {{"id", id}}, [this, id](task& t, answer& got) {
      if (got.is != answer_class::ok) {
        finish_failed(t, got, "reading the project");
        return;
      }
      const auto environment = environment_of(value_at(got.data, "project"));
      if (environment.empty()) {
        finish_failed(t,
                      {answer_class::opaque,
                       nullptr,
                       "the project has no environment yet",
                       {}},
                      "reading the project");
        return;
      }
      finish(
        t, lifecycle::project_ready{now(), t.attempt(), id, environment, true});
    });
  }

  void create_or_wait(task& t) {
    if (may_be_invisible(t)) {
      // That may last: nobody shall wait behind it.
      std::erase(gate_queue, std::pair{t.subject->id, t.serial});
      pump_gate();
      later(t, look_again_after(), [this](task& t) {
        create_project_step(t);
      });
      return;
    }
    t.gate_ready = true;
    pump_gate();
  }

  /// One gate for all, first come first served: Railway refuses more than one
  /// new project per 30 s.
  void pump_gate() {
    pass_through_gate();
    tell_gate();
  }

  /// Says whether a creation could begin at once.
  void tell_gate() {
    using width = creation_gate::width;
    const auto paced = options.settings.create_interval > millis{0};
    const auto free
      = !creating && gate_queue.empty() && next_create_at <= now();
    env->creations->set(!paced ? width::all
                        : free ? width::one
                               : width::closed);
  }

  void pass_through_gate() {
    // They keep their places.
    if (!env->may_act()) {
      if (!gate_queue.empty())
        wait_for_switch();
      return;
    }
    const auto paced = options.settings.create_interval > millis{0};
    while (!(creating && paced) && !gate_queue.empty()) {
      const auto at = now();
      // Further away only when the clock was set back.
      next_create_at
        = std::min(next_create_at, at + options.settings.create_interval);
      if (next_create_at > at) {
        if (!std::exchange(gate_armed, true))
          self->delayed_send(self, next_create_at - at,
                             std::make_shared<std::function<void()>>([this] {
                               gate_armed = false;
                               pump_gate();
                             }));
        return;
      }
      const auto [id, serial] = gate_queue.front();
      auto* t = find(id, serial);
      if (t != nullptr && !t->gate_ready)
        return; // Still looking; it pumps when it is done.
      gate_queue.pop_front();
      if (t == nullptr)
        continue; // Found, failed, cancelled or superseded meanwhile.
      if (t->state().deployment.intent_at && !t->announced
          && !t->looked_at_gate) {
        // It may have waited for long: look once more before it is created.
        t->looked_at_gate = true;
        find_by_name(*t, [this](task& t) {
          if (!t.found.empty()) {
            adopt(t);
            return;
          }
          gate_queue.emplace_front(t.subject->id, t.serial);
          pump_gate();
        });
        continue;
      }
      creating = true;
      if (std::exchange(t->announced, false)) {
        create(*t);
        continue;
      }
      announce(*t, lifecycle::project_create_started{at, t->attempt()},
               [this](task& t) {
                 create(t);
               });
    }
  }

  void create(task& t) {
    auto input = json::object{};
    input["name"] = project_name(t.subject->id);
    input["description"] = "Slipway subscription " + to_text(t.subject->id);
    if (!options.settings.workspace_id.empty())
      input["workspaceId"] = options.settings.workspace_id;
    call(t, create_project, {{"input", std::move(input)}},
         [this](task& t, answer& got) {
           const auto& project = value_at(got.data, "projectCreate");
           const auto id = word_at(project, "id");
           const auto environment = environment_of(project);
           if (got.is == answer_class::ok && !id.empty()
               && !environment.empty()) {
             auto ready = lifecycle::project_ready{now(), t.attempt(), id,
                                                   environment, false};
             // Into a project that is as new as that nothing was deployed, and
             // its announcement covers the template: who finds it looks.
             if (t.first_go && !clones_a_project() && env->may_act()) {
               take_as_told(t, std::move(ready));
               deploy_into_new(t);
             } else {
               finish(t, std::move(ready));
             }
             return;
           }
           if (got.is == answer_class::ok) {
             // Made, but not fully told: the look-up finds the rest.
             got.is = answer_class::opaque;
             got.message = "the answer lacks the project or its environment";
           }
           finish_failed(t, got, "creating the project");
         });
  }

  // -- deploying_template
  // -------------------------------------------------------------------

  [[nodiscard]] bool clones_a_project() const {
    return options.settings.template_code.empty()
           && options.settings.template_id.empty();
  }

  /// Nothing is stored in between: the creation and the template are one.
  void deploy_into_new(task& t) {
    with_template(t, [this](task& t, const known_template& from) {
      prepare_deployment(t, from, [this](task& t, auto id, auto config) {
        deploy(t, *id, std::move(*config));
      });
    });
  }

  void deploy_template_step(task& t) {
    begin_look(t, now(), passing());
    const auto& project = t.state().instance.project_id;
    call(t, read_project, {{"id", project}}, [this](task& t, answer& got) {
      if (got.is != answer_class::ok) {
        finish_failed(t, got, "reading the project");
        return;
      }
      const auto& project = value_at(got.data, "project");
      if (!is_live(project)) {
        fail_step(t, answer_class::invalid,
                  "the project was deleted at the provider",
                  "reading the project");
        return;
      }
      auto services = made_services_of(project);
      if (clones_a_project())
        read_blueprint(t, [this, services = std::move(services)](
                            task& t, const blueprint_ptr& from) {
          find_or_make_service(t, from, services);
        });
      else if (services.empty())
        wait_or(t, [this](task& t) {
          read_template(t, {});
        });
      else
        read_template(t, std::move(services));
    });
  }

  /// Goes on, unless what was announced may exist and not be visible yet: then
  /// the step looks again later.
  template <class F>
  void wait_or(task& t, F next, int lags = 1) {
    if (!may_be_invisible(t, lags)) {
      next(t);
      return;
    }
    later(t, look_again_after(), [this](task& t) {
      deploy_template_step(t);
    });
  }

  /// A failure that no answer of the provider tells.
  void
  fail_step(task& t, answer_class is, std::string why, std::string_view doing) {
    auto got = answer{};
    got.is = is;
    got.message = std::move(why);
    finish_failed(t, got, doing);
  }

  /// The template's services are there, all of them or some.
  void judge_made(task& t, const std::vector<made_service>& made,
                  std::size_t expected) {
    if (made.size() >= expected) {
      finish(t, lifecycle::template_deployed{now(), t.attempt(), {}});
      return;
    }
    // Made in part by a workflow that has failed; or by one that is still at
    // it, whose answer was lost. That one takes longer than to become visible.
    wait_or(
      t,
      [this, made](task& t) {
        log::about{t.subject->id}.actor(name).warn(
          "provider: removing {} services of {} that are not all", made.size(),
          to_text(t.subject->id));
        auto ids = std::make_shared<std::vector<std::string>>();
        for (const auto& x : made)
          ids->push_back(x.id);
        remove_services(t, ids, [this](task& t) {
          later(t, look_again_after(), [this](task& t) {
            deploy_template_step(t);
          });
        });
      },
      workflow_lags);
  }

  /// Removes one service after the other, then goes on.
  void remove_services(task& t, deployment_ids ids,
                       std::function<void(task&)> next) {
    if (ids->empty()) {
      next(t);
      return;
    }
    const auto id = ids->back();
    ids->pop_back();
    call(t, delete_service,
         {{"id", id}, {"environmentId", t.state().instance.environment_id}},
         [this, ids, next = std::move(next)](task& t, answer& got) {
           if (got.is == answer_class::ok || got.is == answer_class::auth
               || got.is == answer_class::not_found)
             remove_services(t, ids, next);
           else
             finish_failed(t, got, "removing a service");
         });
  }

  // -- deploying_template, from a project
  // ------------------------------------------------------

  using blueprint_ptr = std::shared_ptr<const blueprint>;

  /// Reads what is to be cloned: the service and its environment as they are
  /// now.
  void read_blueprint(task& t,
                      std::function<void(task&, const blueprint_ptr&)> next) {
    call(t, read_template_project,
         {{"id", options.settings.template_project_id}},
         [this, next = std::move(next)](task& t, answer& got) {
           if (got.is != answer_class::ok) {
             finish_failed(t, got, "reading the template project");
             return;
           }
           const auto& project = value_at(got.data, "project");
           auto from = std::make_shared<blueprint>();
           from->service_id = options.settings.template_service_id;
           for (const auto& x : made_services_of(project))
             if (x.id == from->service_id)
               from->service_name = x.name;
           auto environment = word_at(project, "baseEnvironmentId");
           if (environment.empty())
             environment = environment_of(project);
           if (!is_live(project) || from->service_name.empty()
               || environment.empty())
             fail_step(t, answer_class::invalid,
                       "the template project has no such service",
                       "reading the template project");
           else
             read_template_config(t, environment, std::move(from), next);
         });
  }

  void
  read_template_config(task& t, const std::string& environment,
                       std::shared_ptr<blueprint> from,
                       std::function<void(task&, const blueprint_ptr&)> next) {
    call(t, read_config, {{"id", environment}},
         [this, from = std::move(from), next = std::move(next)](task& t,
                                                                answer& got) {
           if (got.is != answer_class::ok) {
             finish_failed(t, got, "reading the template's configuration");
             return;
           }
           const auto& config
             = value_at(value_at(got.data, "environment"), "config");
           from->config = config;
           if (!value_at(value_at(config, "services"), from->service_id)
                  .is_object())
             fail_step(t, answer_class::invalid,
                       "the template's service has no configuration",
                       "reading the template's configuration");
           else
             next(t, from);
         });
  }

  void find_or_make_service(task& t, const blueprint_ptr& from,
                            const std::vector<made_service>& made) {
    auto ours = std::vector<made_service>{};
    for (const auto& x : made)
      if (x.name == from->service_name)
        ours.push_back(x);
    if (ours.empty()) {
      wait_or(t, [this, from](task& t) {
        announce(t, lifecycle::template_deploy_started{now(), t.attempt()},
                 [this, from](task& t) {
                   make_service(t, from);
                 });
      });
      return;
    }
    if (ours.size() == 1) {
      find_volumes(t, from, ours.front().id);
      return;
    }
    // Made twice, by a call that was believed lost: the one that has been
    // configured stays, else the oldest.
    call(t, read_config, {{"id", t.state().instance.environment_id}},
         [this, from](task& t, answer& got) {
           if (got.is != answer_class::ok) {
             finish_failed(t, got, "reading the configuration");
             return;
           }
           auto config = std::make_shared<json::value>(
             value_at(value_at(got.data, "environment"), "config"));
           remove_twins(t, from, std::move(config));
         });
  }

  void remove_twins(task& t, const blueprint_ptr& from,
                    std::shared_ptr<const json::value> config) {
    call(t, read_services, {{"id", t.state().instance.project_id}},
         [this, from, config = std::move(config)](task& t, answer& got) {
           if (got.is != answer_class::ok) {
             finish_failed(t, got, "reading the services");
             return;
           }
           auto all = made_services_of(value_at(got.data, "project"));
           std::erase_if(all, [&](const made_service& x) {
             return x.name != from->service_name;
           });
           for (auto& x : all) {
             x.template_service = from->service_id;
             x.in_use = is_patched(*config, x.id, to_text(t.subject->id));
           }
           auto surplus = std::make_shared<std::vector<std::string>>(
             surplus_of(std::move(all)));
           remove_services(t, surplus, [this](task& t) {
             later(t, look_again_after(), [this](task& t) {
               deploy_template_step(t);
             });
           });
         });
  }

  /// Without a source nothing is deployed: the variables come first.
  void make_service(task& t, const blueprint_ptr& from) {
    auto input = json::object{};
    input["projectId"] = t.state().instance.project_id;
    input["environmentId"] = t.state().instance.environment_id;
    input["name"] = from->service_name;
    call(t, create_service, {{"input", std::move(input)}},
         [this, from](task& t, answer& got) {
           const auto id
             = word_at(value_at(got.data, create_service.field), "id");
           if (got.is == answer_class::ok && !id.empty())
             find_volumes(t, from, id);
           else if (got.is == answer_class::duplicate)
             later(t, look_again_after(), [this](task& t) {
               deploy_template_step(t);
             });
           else
             finish_failed(t, got, "creating the service");
         });
  }

  using volume_ids = std::map<std::string, std::string>;

  void find_volumes(task& t, const blueprint_ptr& from, std::string service) {
    if (mounts_of(*from).empty()) {
      find_patch(t, from, std::move(service), {});
      return;
    }
    call(t, read_volumes, {{"id", t.state().instance.environment_id}},
         [this, from, service = std::move(service)](task& t, answer& got) {
           if (got.is != answer_class::ok) {
             finish_failed(t, got, "reading the volumes");
             return;
           }
           auto by_path = volume_ids{};
           for_each_node(
             value_at(value_at(got.data, "environment"), "volumeInstances"),
             [&](const json::value& node) {
               if (is_live(node) && text_at(node, "serviceId") == service)
                 by_path.emplace(text_at(node, "mountPath"),
                                 word_at(node, "volumeId"));
             });
           make_volumes(t, from, service, std::move(by_path));
         });
  }

  /// Volumes have to be there before the first deployment.
  void make_volumes(task& t, const blueprint_ptr& from,
                    const std::string& service, volume_ids by_path) {
    auto by_template = volume_ids{};
    for (const auto& mount : mounts_of(*from)) {
      const auto made = by_path.find(mount.path);
      if (made != by_path.end()) {
        by_template[mount.template_volume] = made->second;
        continue;
      }
      auto input = json::object{};
      input["projectId"] = t.state().instance.project_id;
      input["environmentId"] = t.state().instance.environment_id;
      input["serviceId"] = service;
      input["mountPath"] = mount.path;
      if (!mount.region.empty())
        input["region"] = mount.region;
      call(t, create_volume, {{"input", std::move(input)}},
           [this, from, service, by_path, path = mount.path](task& t,
                                                             answer& got) {
             auto id = word_at(value_at(got.data, create_volume.field), "id");
             if (got.is != answer_class::ok || id.empty()) {
               finish_failed(t, got, "creating a volume");
               return;
             }
             auto more = by_path;
             more.emplace(path, std::move(id));
             make_volumes(t, from, service, std::move(more));
           });
      return;
    }
    find_patch(t, from, service, std::move(by_template));
  }

  /// The change is made once: a second one would deploy a second time.
  void find_patch(task& t, const blueprint_ptr& from, std::string service,
                  volume_ids volumes) {
    call(t, read_config, {{"id", t.state().instance.environment_id}},
         [this, from, service = std::move(service),
          volumes = std::move(volumes)](task& t, answer& got) {
           if (got.is != answer_class::ok) {
             finish_failed(t, got, "reading the configuration");
             return;
           }
           if (is_patched(value_at(value_at(got.data, "environment"), "config"),
                          service, to_text(t.subject->id))) {
             finish(t, lifecycle::template_deployed{now(), t.attempt(), {}});
             return;
           }
           read_credentials(t, [this, from, service, volumes](
                                 task& t, const variable_map& variables) {
             commit(t, make_patch(*from, service, volumes, variables));
           });
         });
  }

  void commit(task& t, json::object patch) {
    call(t, commit_patch,
         {{"environmentId", t.state().instance.environment_id},
          {"patch", std::move(patch)},
          {"message", "Slipway subscription " + to_text(t.subject->id)}},
         [this](task& t, answer& got) {
           if (got.is != answer_class::ok)
             finish_failed(t, got, "configuring the service");
           else
             finish(t, lifecycle::template_deployed{now(), t.attempt(), {}});
         });
  }

  // -- deploying_template, from a template
  // -----------------------------------------------------

  void read_template(task& t, std::vector<made_service> made) {
    with_template(
      t, [this, made = std::move(made)](task& t, const known_template& from) {
        if (!made.empty()) {
          judge_made(t, made, services_in(from.config));
          return;
        }
        prepare_deployment(t, from, [this](task& t, auto id, auto config) {
          announce(t, lifecycle::template_deploy_started{now(), t.attempt()},
                   [this, id, config](task& t) {
                     deploy(t, *id, std::move(*config));
                   });
        });
      });
  }

  /// Goes on with the template filled in for this subscription.
  template <class F>
  void prepare_deployment(task& t, const known_template& from, F next) {
    auto id = std::make_shared<const std::string>(from.id);
    auto config = std::make_shared<json::value>(from.config);
    read_credentials(
      t, [id, config, next](task& t, const variable_map& variables) {
        fill_variables(*config, variables);
        next(t, id, config);
      });
  }

  /// Goes on with the template, read now or lately.
  void with_template(task& t,
                     std::function<void(task&, const known_template&)> next) {
    if (last_template
        && passing() - last_template->read_by < template_age_max) {
      next(t, *last_template);
      return;
    }
    const auto by_code = !options.settings.template_code.empty();
    auto variables = json::object{};
    if (by_code)
      variables["code"] = options.settings.template_code;
    else
      variables["id"] = options.settings.template_id;
    call(t, by_code ? template_by_code : template_by_id, std::move(variables),
         [this, next = std::move(next)](task& t, answer& got) {
           if (got.is != answer_class::ok) {
             finish_failed(t, got, "reading the template");
             return;
           }
           const auto& found = value_at(got.data, "template");
           auto config = value_at(found, "serializedConfig");
           // Some drafts carry it as text.
           if (config.is_string()) {
             auto error = boost::system::error_code{};
             config = json::parse(std::string_view{config.get_string().data(),
                                                   config.get_string().size()},
                                  error, {}, deep_enough());
           }
           if (!config.is_object() || text_at(found, "id").empty()) {
             fail_step(t, answer_class::invalid,
                       "the template has no configuration to deploy",
                       "reading the template");
             return;
           }
           last_template = known_template{word_at(found, "id"),
                                          std::move(config), passing()};
           next(t, *last_template);
         });
  }

  /// Goes on with everything that the instance is to be told.
  void read_credentials(task& t,
                        std::function<void(task&, const variable_map&)> next) {
    using found = job<query::list_credentials>::reply;
    self->send(
      env->store_of(t.subject->id),
      make_job(query::list_credentials{t.subject->id},
               [this, me = provider_actor{self}, id = t.subject->id,
                serial = t.serial, next = std::move(next)](found rows) {
                 auto shared = std::make_shared<found>(std::move(rows));
                 caf::anon_send(
                   me, continue_with(id, serial, [this, shared, next](task& t) {
                     fill(t, *shared, next);
                   }));
               }));
  }

  void fill(task& t, const job<query::list_credentials>::reply& rows,
            const std::function<void(task&, const variable_map&)>& next) {
    if (!rows) {
      fail_step(t, answer_class::not_sent,
                std::string{slipway::to_string(rows.error())},
                "reading the credentials");
      return;
    }
    const auto variables = variables_for(*t.subject, *rows);
    if (!variables)
      fail_step(t, answer_class::invalid, variables.error(),
                "decrypting the credentials");
    else
      next(t, *variables);
  }

  /// Collects what the instance is told, credentials in the clear.
  tl::expected<variable_map, std::string>
  variables_for(const record& subject,
                const std::vector<sealed_credential>& sealed) const {
    auto out = variable_map{};
    if (const auto plan = options.plans.find(subject.plan);
        plan != options.plans.end())
      out = plan->second.variables;
    out["SUBSCRIPTION_ID"] = to_text(subject.id);
    out["PLAN_TYPE"] = subject.plan;
    auto all = json::object{};
    for (const auto& x : sealed) {
      const auto opened
        = options.keys->open({x.key_id, x.nonce, x.ciphertext},
                             to_text(subject.id) + "/" + x.channel_type);
      if (!opened)
        return tl::unexpected{"credential " + x.channel_type + ": "
                              + opened.error()};
      auto error = boost::system::error_code{};
      auto value = json::parse(*opened, error, {}, deep_enough());
      if (error)
        return tl::unexpected{"credential " + x.channel_type
                              + ": stored text is no JSON"};
      // A bare string goes as it is, everything else as JSON text.
      out[channel_variable(x.channel_type)]
        = value.is_string()
            ? std::string{value.get_string().data(), value.get_string().size()}
            : *opened;
      all[x.channel_type] = std::move(value);
    }
    if (!all.empty())
      out["CHANNEL_CREDENTIALS"] = json::serialize(all);
    return out;
  }

  void deploy(task& t, const std::string& template_id, json::value config) {
    auto input = json::object{};
    input["templateId"] = template_id;
    input["serializedConfig"] = std::move(config);
    input["projectId"] = t.state().instance.project_id;
    input["environmentId"] = t.state().instance.environment_id;
    if (!options.settings.workspace_id.empty())
      input["workspaceId"] = options.settings.workspace_id;
    call(t, deploy_template, {{"input", std::move(input)}},
         [this, began = now()](task& t, answer& got) {
           if (got.is != answer_class::ok) {
             // Perhaps for what it says.
             last_template.reset();
             if (!t.untold.empty())
               take_as_told(
                 t, lifecycle::template_deploy_started{began, t.attempt()});
             finish_failed(t, got, "deploying the template");
             return;
           }
           const auto& payload = value_at(got.data, "templateDeployV2");
           auto made = lifecycle::template_deployed{
             now(), t.attempt(), word_at(payload, "workflowId")};
           if (made.workflow_id.empty())
             finish(t, std::move(made));
           else
             look_at_once(t, std::move(made));
         });
  }

  /// Where the workflow is over at once that is said along with its begin. What
  /// was deployed is not kept back for long.
  void look_at_once(task& t, lifecycle::template_deployed made) {
    auto variables
      = json::object{{"workflowId", made.workflow_id},
                     {"environmentId", t.state().instance.environment_id}};
    call(
      t, read_workflow_and_environment, std::move(variables),
      [this, made = std::move(made)](task& t, answer& got) {
        auto then = std::vector<lifecycle::event>{};
        if (got.is == answer_class::ok && is_complete(got)) {
          then.push_back(lifecycle::workflow_finished{now(), t.attempt()});
          for (auto& x : after_workflow(t, value_at(got.data, "environment")))
            then.push_back(std::move(x));
        } else {
          workflow_looks[raw(t.subject->id)] = passing();
        }
        finish(t, made, std::move(then));
      },
      look_at_once_max);
  }

  [[nodiscard]] static bool is_complete(const answer& got) {
    return text_at(value_at(got.data, read_workflow.field), "status")
           == "Complete";
  }

  [[nodiscard]] millis workflow_pause() const {
    return std::min(options.poll_interval, millis{1'000});
  }

  // -- awaiting_workflow
  // --------------------------------------------------------------------

  void await_workflow_step(task& t) {
    const auto looked = workflow_looks.find(raw(t.subject->id));
    if (looked != workflow_looks.end()) {
      const auto passed = passing() - looked->second;
      workflow_looks.erase(looked);
      if (passed < workflow_pause()) {
        later(t, std::chrono::duration_cast<millis>(workflow_pause() - passed),
              [this](task& t) {
                await_workflow_step(t);
              });
        return;
      }
    }
    // What it has made is asked for along with it, unless that was refused:
    // then it is not clear which of the two was.
    const auto both = !t.asks_one_by_one;
    auto variables
      = json::object{{"workflowId", t.state().deployment.workflow_id}};
    if (both)
      variables["environmentId"] = t.state().instance.environment_id;
    call(t, both ? read_workflow_and_environment : read_workflow,
         std::move(variables), [this, both](task& t, answer& got) {
           if (both && got.is != answer_class::ok && is_permanent(got.is)) {
             t.asks_one_by_one = true;
             await_workflow_step(t);
             return;
           }
           // Not every workflow can be polled; its services can be looked for.
           if (got.is == answer_class::auth) {
             finish(t, lifecycle::workflow_finished{now(), t.attempt()});
             return;
           }
           if (got.is != answer_class::ok
               && got.is != answer_class::not_found) {
             finish_failed(t, got, "waiting for the template");
             return;
           }
           const auto& workflow = value_at(got.data, read_workflow.field);
           const auto status = text_at(workflow, "status");
           if (is_complete(got)) {
             finish(t, lifecycle::workflow_finished{now(), t.attempt()},
                    after_workflow(t, value_at(got.data, "environment")));
             return;
           }
           if (status == "Error") {
             auto why = clean(text_at(workflow, "error"));
             finish_failed(t,
                           {answer_class::invalid,
                            nullptr,
                            why.empty() ? "the workflow failed" : why,
                            {}},
                           "deploying the template");
             return;
           }
           // Running, or not visible yet: the attempt's deadline bounds it.
           later(t, workflow_pause(), [this](task& t) {
             await_workflow_step(t);
           });
         });
  }

  /// Most of the time nothing is left to be configured: then that is said at
  /// once, and so is that it runs where it does already.
  std::vector<lifecycle::event>
  after_workflow(const task& t, const json::value& environment) {
    auto out = std::vector<lifecycle::event>{};
    const auto services = services_of(environment);
    if (services.size() != 1 || services.front().domain.empty()
        || needs_deployment(t, services.front()))
      return out;
    out.push_back(as_configured(t, services.front()));
    const auto seen = judge_deployment(services, {}, {});
    if (seen.is == deployment_view::running)
      out.push_back(lifecycle::deployment_observed{
        now(), t.attempt(), lifecycle::condition::running, 100,
        seen.about->status, "", env->chance()});
    return out;
  }

  // -- configuring
  // ----------------------------------------------------------------------------

  [[nodiscard]] lifecycle::configured
  as_configured(const task& t, const service_view& main) const {
    // What was deployed just now counts, even while the old one is shown.
    const auto fresh = t.fresh.find(main.id);
    return {now(),
            t.attempt(),
            main.id,
            main.name,
            fresh == t.fresh.end() ? main.deployment_id : fresh->second,
            "https://" + main.domain};
  }

  void look_again(task& t) {
    ++t.looks;
    later(t, std::min(options.poll_interval, millis{1'500}), [this](task& t) {
      configure_step(t);
    });
  }

  void configure_step(task& t) {
    call(t, read_environment, {{"id", t.state().instance.environment_id}},
         [this](task& t, answer& got) {
           if (got.is != answer_class::ok) {
             finish_failed(t, got, "reading the services");
             return;
           }
           configure(t, services_of(value_at(got.data, "environment")));
         });
  }

  void configure(task& t, const std::vector<service_view>& services) {
    if (services.empty()) {
      if (t.looks < looks_max * 10)
        look_again(t);
      else
        finish_failed(t,
                      {answer_class::invalid,
                       nullptr,
                       "the template created no service",
                       {}},
                      "reading the services");
      return;
    }
    if (services.size() > 1 && !t.looked_for_surplus) {
      t.looked_for_surplus = true;
      remove_surplus(t, services);
      return;
    }
    // The one that the world can reach stands for the instance.
    const auto with_domain = std::find_if(services.begin(), services.end(),
                                          [](const service_view& x) {
                                            return !x.domain.empty();
                                          });
    const auto& main
      = with_domain == services.end() ? services.front() : *with_domain;
    if (main.domain.empty()) {
      // The template may bring a domain that lags behind its service, and so
      // may the one that we have made.
      if (t.looks < (t.domain_made ? looks_max * 10 : looks_max))
        look_again(t);
      else
        make_domain(t, main);
      return;
    }
    for (const auto& x : services)
      if (needs_deployment(t, x)) {
        if (x.deployment_id.empty() && t.looks < looks_max * 2)
          look_again(t);
        else if (is_hanging(t, x))
          stop_hanging(t, x);
        else
          redeploy(t, x);
        return;
      }
    finish(t, as_configured(t, main));
  }

  /// A template that was deployed twice, by a call that was believed lost, has
  /// made everything twice.
  void remove_surplus(task& t, const std::vector<service_view>& services) {
    auto deployed = std::set<std::string>{};
    for (const auto& x : services)
      if (!x.deployment_id.empty())
        deployed.insert(x.id);
    call(t, read_services, {{"id", t.state().instance.project_id}},
         [this, deployed = std::move(deployed)](task& t, answer& got) {
           if (got.is != answer_class::ok) {
             finish_failed(t, got, "reading the services");
             return;
           }
           auto made = made_services_of(value_at(got.data, "project"));
           for (auto& x : made) {
             x.in_use = deployed.count(x.id) != 0;
             // Clones of a service know nothing of a template but its name.
             if (clones_a_project())
               x.template_service = x.name;
           }
           auto surplus = std::make_shared<std::vector<std::string>>(
             surplus_of(std::move(made)));
           if (!surplus->empty())
             log::about{t.subject->id}.actor(name).warn(
               "provider: removing {} surplus services of {}", surplus->size(),
               to_text(t.subject->id));
           remove_services(t, surplus, [this](task& t) {
             configure_step(t);
           });
         });
  }

  /// A service is deployed again when it has no deployment, or when the one it
  /// has failed in an earlier attempt.
  [[nodiscard]] bool
  needs_deployment(const task& t, const service_view& x) const {
    // Once is enough: the old one may be shown for a while, and should the new
    // one have failed as well, that is this attempt's failure.
    if (t.fresh.count(x.id) != 0)
      return false;
    if (x.deployment_id.empty() || is_hanging(t, x))
      return true;
    const auto is = read_status(x.status, x.stopped).is;
    if (is != status_meaning::failed && is != status_meaning::gone)
      return false;
    return t.attempt() > 1 || is == status_meaning::gone;
  }

  /// Whether this is the very deployment that an earlier attempt has given up.
  [[nodiscard]] bool is_hanging(const task& t, const service_view& x) const {
    return t.attempt() > 1 && !x.deployment_id.empty()
           && x.deployment_id == t.state().deployment.deployment_id
           && t.stopped.count(x.deployment_id) == 0
           && read_status(x.status, x.stopped).is
                == status_meaning::in_progress;
  }

  void stop_hanging(task& t, const service_view& x) {
    call(t, cancel_deployment, {{"id", x.deployment_id}},
         [this, x](task& t, answer&) {
           // Refused or not, the new one is what counts.
           t.stopped.insert(x.deployment_id);
           redeploy(t, x);
         });
  }

  void make_domain(task& t, const service_view& x) {
    if (!clones_a_project()) {
      make_domain(t, x.id, std::nullopt);
      return;
    }
    // The template's own domain stayed behind, but its port is the clone's.
    read_blueprint(t, [this, id = x.id](task& t, const blueprint_ptr& from) {
      make_domain(t, id, port_of(*from));
    });
  }

  void make_domain(task& t, const std::string& service,
                   std::optional<std::int64_t> port) {
    auto input = json::object{};
    input["environmentId"] = t.state().instance.environment_id;
    input["serviceId"] = service;
    if (port)
      input["targetPort"] = *port;
    call(t, create_domain, {{"input", std::move(input)}},
         [this](task& t, answer& got) {
           if (got.is != answer_class::ok
               && got.is != answer_class::duplicate) {
             finish_failed(t, got, "creating the domain");
             return;
           }
           // Read back: what counts is what the provider shows.
           t.domain_made = true;
           t.looks = 0;
           look_again(t);
         });
  }

  void redeploy(task& t, const service_view& x) {
    call(t, deploy_service,
         {{"environmentId", t.state().instance.environment_id},
          {"serviceId", x.id}},
         [this, id = x.id](task& t, answer& got) {
           if (got.is != answer_class::ok) {
             finish_failed(t, got, "deploying the service");
             return;
           }
           t.fresh[id] = word_at(got.data, deploy_service.field);
           t.looks = 0;
           look_again(t);
         });
  }

  // -- deploying
  // ------------------------------------------------------------------------------

  /// Looking is the WATCHER's.
  void hand_over(const record_ptr& subject) {
    erase(subject->id);
    pump_gate();
    if (env->watcher)
      self->send(env->watcher(), watch_order{subject});
  }

  /// Something else is done for it now, or nothing.
  void stop_watching(subscription_id id) {
    if (env->watcher)
      self->send(env->watcher(), watch_dropped{id});
  }

  // -- halting
  // ----------------------------------------------------------------------------

  /// Stops what a failed attempt still builds, until the provider shows that
  /// nothing of it is under way any more.
  void halt_step(task& t) {
    if (t.state().instance.environment_id.empty())
      find_what_to_halt(t);
    else
      halt_in(t, t.state().instance.environment_id);
  }

  /// An attempt that was given up before its project was heard of.
  void find_what_to_halt(task& t) {
    find_by_name(t, [this](task& t) {
      if (t.found.empty() && may_be_invisible(t)) {
        later(t, look_again_after(), [this](task& t) {
          find_what_to_halt(t);
        });
        return;
      }
      if (t.found.empty()) {
        finish(t, lifecycle::halted{now(), t.attempt(), env->chance()});
        return;
      }
      call(t, read_project, {{"id", t.found.front().second}},
           [this](task& t, answer& got) {
             const auto& project = value_at(got.data, "project");
             const auto environment = environment_of(project);
             if (got.is == answer_class::ok && !environment.empty())
               halt_in(t, environment);
             else if (got.is == answer_class::ok
                      || got.is == answer_class::not_found)
               finish(t, lifecycle::halted{now(), t.attempt(), env->chance()});
             else
               finish_failed(t, got, "reading the project");
           });
    });
  }

  void halt_in(task& t, const std::string& environment) {
    call(t, read_environment, {{"id", environment}},
         [this, environment](task& t, answer& got) {
           if (got.is != answer_class::ok
               && got.is != answer_class::not_found) {
             finish_failed(t, got, "reading what still builds");
             return;
           }
           auto building = in_progress_of(value_at(got.data, "environment"));
           if (building->empty()) {
             finish(t, lifecycle::halted{now(), t.attempt(), env->chance()});
             return;
           }
           stop_next(t, std::move(building), [this, environment](task& t) {
             later(t, std::min(options.poll_interval, millis{1'000}),
                   [this, environment](task& t) {
                     halt_in(t, environment);
                   });
           });
         });
  }

  // -- cancelling and terminating
  // -----------------------------------------------------------------------------

  void cancel_step(task& t) {
    const auto& instance = t.state().instance;
    if (!instance.project_id.empty() && !instance.deleted_at) {
      t.found = {{std::string{}, instance.project_id}};
      if (!instance.environment_id.empty())
        stop_deployments(t);
      else
        remove_found(t);
      return;
    }
    remove_by_name(t);
  }

  /// Removes what carries our name, until nothing does.
  void remove_by_name(task& t) {
    find_by_name(t, [this](task& t) {
      if (!t.found.empty()) {
        remove_found(t);
        return;
      }
      if (may_be_invisible(t)) {
        later(t, look_again_after(), [this](task& t) {
          remove_by_name(t);
        });
        return;
      }
      finish(t, lifecycle::cancellation_confirmed{now()});
    });
  }

  /// Builds go on and cost money while a project is being deleted.
  void stop_deployments(task& t) {
    call(t, read_environment, {{"id", t.state().instance.environment_id}},
         [this](task& t, answer& got) {
           // Refused or not: the deletion of the project is what counts, and is
           // confirmed.
           stop_next(t, in_progress_of(value_at(got.data, "environment")),
                     [this](task& t) {
                       remove_found(t);
                     });
         });
  }

  /// The deployments of an environment that are not at an end.
  static deployment_ids in_progress_of(const json::value& environment) {
    auto out = std::make_shared<std::vector<std::string>>();
    for (const auto& x : services_of(environment))
      if (!x.deployment_id.empty()
          && read_status(x.status, x.stopped).is == status_meaning::in_progress)
        out->push_back(x.deployment_id);
    return out;
  }

  /// Cancels one after the other, whatever comes of it, and goes on.
  void stop_next(task& t, deployment_ids ids, std::function<void(task&)> next) {
    if (ids->empty()) {
      next(t);
      return;
    }
    const auto id = ids->back();
    ids->pop_back();
    call(t, cancel_deployment, {{"id", id}},
         [this, ids, next = std::move(next)](task& t, answer&) {
           stop_next(t, ids, next);
         });
  }

  void remove_found(task& t) {
    const auto id = t.found.back().second;
    call(t, delete_project, {{"id", id}}, [this, id](task& t, answer&) {
      // Whatever the answer was: a second deletion is refused in several ways,
      // so the project itself is asked.
      confirm_removed(t, id);
    });
  }

  void confirm_removed(task& t, const std::string& id) {
    call(t, read_project, {{"id", id}}, [this](task& t, answer& got) {
      const auto gone = got.is == answer_class::not_found
                        || got.is == answer_class::auth
                        || (got.is == answer_class::ok
                            && !is_live(value_at(got.data, "project")))
                        || (got.is == answer_class::ok
                            && value_at(got.data, "project").is_null());
      if (!gone) {
        if (got.is == answer_class::ok)
          got = {answer_class::busy, nullptr, "the project is still there", {}};
        finish_failed(t, got, "deleting the project");
        return;
      }
      t.found.pop_back();
      if (!t.found.empty()) {
        remove_found(t);
        return;
      }
      // The list has the last word: "not authorized" may mean gone, or a token
      // that is no longer good, and there may be a second one of our name.
      remove_by_name(t);
    });
  }

  // -- time
  // -------------------------------------------------------------------------------------

  void drop(subscription_id id) {
    stop_watching(id);
    parked.erase(raw(id));
    workflow_looks.erase(raw(id));
    const auto where = tasks.find(raw(id));
    if (where == tasks.end())
      return;
    // What is on its way cannot be called back: whoever comes next has to wait
    // for its answer.
    if (where->second.mutating) {
      supersede(where->second);
      where->second.again = nullptr;
      return;
    }
    erase(id);
    pump_gate();
  }

  void on_tick() {
    const auto forgotten
      = passing() - workflow_lags * options.settings.visibility_lag;
    std::erase_if(doubts, [forgotten](const auto& x) {
      return x.second < forgotten;
    });
    const auto waited_for = passing() - workflow_pause();
    std::erase_if(workflow_looks, [waited_for](const auto& x) {
      return x.second < waited_for;
    });
    tell_gate();
    self->delayed_send(self, tick_interval, tick{});
  }
};

railway_state::railway_state() : impl_{std::make_unique<impl>()} {
}

railway_state::~railway_state() = default;

void railway_state::start(provider_actor::pointer self, environment_ptr env,
                          railway_options options) {
  impl_->self = self;
  impl_->alive = alive_guard{env->metrics, name};
  impl_->env = std::move(env);
  impl_->options = std::move(options);
  impl_->born = impl_->passing();
  if (impl_->options.again)
    impl_->born += impl_->options.settings.request_timeout;
  impl_->on_tick();
}

void railway_state::receive(const step_order& what) {
  impl_->receive(what.subject, what.announced);
}

void railway_state::drop(subscription_id id) {
  impl_->drop(id);
}

void railway_state::on_tick() {
  impl_->on_tick();
}

provider_actor::behavior_type
railway(provider_actor::stateful_pointer<railway_state> self,
        environment_ptr env, railway_options options) {
  under_supervision(self);
  self->state.start(self, std::move(env), std::move(options));
  return {
    [self](const step_order& what) {
      self->state.receive(what);
    },
    [self](const step_dropped& what) {
      self->state.drop(what.subscription);
    },
    [](const continuation& what) {
      (*what)();
    },
    [self](const tick&) {
      self->state.on_tick();
    },
  };
}

} // namespace slipway::provider

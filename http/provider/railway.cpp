#include "http/provider/railway.hpp"

#include "http/provider/answer.hpp"
#include "http/provider/caller.hpp"
#include "http/provider/documents.hpp"
#include "http/provider/variables.hpp"
#include "http/provider/view.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/parse_options.hpp>
#include <boost/json/serialize.hpp>
#include <caf/send.hpp>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <deque>
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

/// Pages of projects that a look-up reads at most: 5 000 projects, the newest
/// ones first.
constexpr auto pages_max = 50;

/// Looks at a fresh project before its services or its domain count as missing.
constexpr auto looks_max = 4;

/// Who goes first. What leads up to a creation goes with it.
urgency urgency_of(phase at) {
  switch (at) {
    case phase::cancelling:
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
      return urgency::step;
  }
  return urgency::step;
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
  // -- work under way
  // -------------------------------------------------------------

  /// What is being done for one subscription.
  struct task {
    record_ptr subject;
    /// Continuations of an earlier task find another serial and do nothing.
    std::uint64_t serial = 0;
    std::vector<provider_call> calls;
    record_ptr again; ///< Ordered meanwhile: started when this one is over.
    int page = 0;
    int looks = 0;
    std::vector<std::pair<std::string, std::string>> found; ///< createdAt, id
    bool watching = false;
    bool polling = false;
    /// A call that changes something is on its way: nothing may overtake it.
    bool mutating = false;
    bool mutated = false;    ///< The last call was one that changes something.
    bool gate_ready = false; ///< Nothing found: to be created at its turn.
    bool looked_at_gate = false;
    bool superseded = false; ///< `again` is to begin once it is answered.
    /// Services deployed again in this step, with their new deployments.
    std::map<std::string, std::string> fresh;
    std::set<std::string> stopped; ///< Deployments cancelled in this step.
    /// Set once this task is over or superseded: none of its calls that waits
    /// for the budget may leave any more.
    withdrawal over = std::make_shared<std::atomic<bool>>(false);
    timestamp poll_at{};
    std::string seen_status;
    std::uint8_t seen_progress = 0;

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
  timestamp born{};
  /// When a change was last answered that may have happened although its task
  /// does not know. Forgotten once everything has become visible.
  std::unordered_map<std::uint64_t, timestamp> doubts;
  alive_guard alive;

  // One creation at a time, and none sooner than the interval after the answer
  // to the one before: whatever the network did, the provider sees it kept.
  timestamp next_create_at{};
  bool creating = false;
  bool gate_armed = false;
  std::deque<std::pair<subscription_id, std::uint64_t>> gate_queue;

  // -- plumbing
  // ---------------------------------------------------------------------

  [[nodiscard]] timestamp now() const {
    return env->clock->now();
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
  template <class F>
  void call(task& t, const operation& what, json::object variables, F next) {
    auto out = std::make_shared<provider::call>();
    out->field = what.field;
    out->document = what.document;
    out->variables = std::move(variables);
    out->mutates = what.mutates;
    out->how = urgency_of(t.at());
    // Creations have been seen to take a minute, reads have not.
    out->timeout = what.mutates ? options.settings.request_timeout
                                : std::min(options.settings.request_timeout,
                                           read_timeout_max);
    out->expires = now() + out->timeout;
    out->withdrawn = t.over;
    const auto id = t.subject->id;
    const auto serial = t.serial;
    t.mutating = what.mutates;
    t.mutated = what.mutates;
    out->done = [this, me = provider_actor{self}, id, serial, what,
                 next = std::move(next)](answer told) {
      auto got = std::make_shared<answer>(std::move(told));
      caf::anon_send(me, std::make_shared<std::function<void()>>(
                           [this, id, serial, what, next, got] {
                             answered(id, serial, what, *got, next);
                           }));
    };
    self->send(options.caller, std::move(out));
  }

  template <class F>
  void answered(subscription_id id, std::uint64_t serial, const operation& what,
                answer& got, const F& next) {
    if (std::string_view{what.field} == create_project.field)
      open_gate();
    auto* t = find(id, serial);
    if (what.mutates && !is_without_effect(got.is)
        && (got.is != answer_class::ok || t == nullptr || t->superseded))
      doubts[raw(id)] = now();
    if (t == nullptr)
      return;
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

  /// Reports the end of the step. The supervisor orders the next one.
  void finish(task& t, lifecycle::event what) {
    auto report = make_command(t, std::move(what));
    auto again = std::move(t.again);
    const auto id = t.subject->id;
    erase(id);
    self->send(env->registry, std::move(report));
    pump_gate();
    // Ordered anew by a supervisor that was restarted in between. Should the
    // report above reach it first, what comes of this one is stale there.
    if (again)
      begin(std::move(again));
  }

  void finish_failed(task& t, const answer& got, std::string_view doing) {
    auto permanent = is_permanent(got.is);
    // Rights and rows lag behind their creation, so that early on a refusal
    // means little.
    if ((got.is == answer_class::auth || got.is == answer_class::not_found)
        && t.at() != phase::creating_project && t.state().deployment.tries < 5)
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
    what.without_effect = t.mutated && is_without_effect(got.is);
    what.in_doubt = t.mutated && !what.without_effect;
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
    self->send(env->registry, std::move(report));
  }

  /// Goes on with what was ordered while a change was on its way, and with what
  /// its answer taught us.
  void succeed_task(task& t, const operation& what, const answer& got) {
    auto calls = std::move(t.calls);
    const auto again = std::move(t.again);
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
    begin(std::move(subject), std::move(calls));
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
    auto again = std::move(t.again);
    erase(t.subject->id);
    pump_gate();
    if (again)
      begin(std::move(again));
  }

  // -- orders
  // ---------------------------------------------------------------------------

  void receive(record_ptr subject) {
    const auto where = tasks.find(raw(subject->id));
    if (where != tasks.end()) {
      auto& t = where->second;
      const auto same = t.at() == subject->state.deployment.at
                        && t.attempt() == subject->state.deployment.attempt;
      // At work on just this: two of them could create twice.
      if (same && !t.watching) {
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
    }
    begin(std::move(subject));
  }

  void begin(record_ptr subject, std::vector<provider_call> calls = {}) {
    erase(subject->id);
    auto& t = tasks[raw(subject->id)];
    t.subject = std::move(subject);
    t.calls = std::move(calls);
    t.serial = ++last_serial;
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
        watch_step(t);
        return;
      case phase::cancelling:
        cancel_step(t);
        return;
      case phase::idle:
      case phase::skipped:
      case phase::queued:
      case phase::running:
      case phase::failed:
      case phase::stopped:
      case phase::backing_off:
        break;
    }
    spdlog::error("provider: nothing to do for {} in {}",
                  to_text(t.subject->id), lifecycle::to_string(t.at()));
    erase(t.subject->id);
  }

  // -- looking
  // ----------------------------------------------------------------------------

  /// Whether something announced may exist although it cannot be seen yet.
  [[nodiscard]] bool may_be_invisible(const task& t) const {
    const auto& intent = t.state().deployment.intent_at;
    // A call of the server before us may still have been on its way when we
    // were started.
    if (!intent)
      return false;
    auto since = std::max(*intent, born);
    if (const auto doubt = doubts.find(raw(t.subject->id));
        doubt != doubts.end())
      since = std::max(since, doubt->second);
    return now() < since + options.settings.visibility_lag;
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
      spdlog::warn("provider: removing surplus project {} of {}", surplus,
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
    while (!creating && !gate_queue.empty()) {
      const auto at = now();
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
      if (t->state().deployment.intent_at && !t->looked_at_gate) {
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
             finish(t, lifecycle::project_ready{now(), t.attempt(), id,
                                                environment, false});
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

  void deploy_template_step(task& t) {
    const auto& project = t.state().instance.project_id;
    call(t, read_project, {{"id", project}}, [this](task& t, answer& got) {
      if (got.is != answer_class::ok) {
        finish_failed(t, got, "reading the project");
        return;
      }
      const auto& project = value_at(got.data, "project");
      if (!is_live(project)) {
        finish_failed(t,
                      {answer_class::invalid,
                       nullptr,
                       "the project was deleted at the provider",
                       {}},
                      "reading the project");
        return;
      }
      auto services = 0;
      for_each_node(value_at(project, "services"), [&](const json::value& s) {
        services += is_live(s) ? 1 : 0;
      });
      if (services > 0) {
        finish(t, lifecycle::template_deployed{now(), t.attempt(), {}});
        return;
      }
      if (may_be_invisible(t)) {
        later(t, look_again_after(), [this](task& t) {
          deploy_template_step(t);
        });
        return;
      }
      read_template(t);
    });
  }

  void read_template(task& t) {
    const auto by_code = !options.settings.template_code.empty();
    auto variables = json::object{};
    if (by_code)
      variables["code"] = options.settings.template_code;
    else
      variables["id"] = options.settings.template_id;
    call(t, by_code ? template_by_code : template_by_id, std::move(variables),
         [this](task& t, answer& got) {
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
             finish_failed(t,
                           {answer_class::invalid,
                            nullptr,
                            "the template has no configuration to deploy",
                            {}},
                           "reading the template");
             return;
           }
           read_credentials(t, word_at(found, "id"),
                            std::make_shared<json::value>(std::move(config)));
         });
  }

  void read_credentials(task& t, std::string template_id,
                        std::shared_ptr<json::value> config) {
    using found = job<query::list_credentials>::reply;
    self->send(
      env->store_of(t.subject->id),
      make_job(query::list_credentials{t.subject->id},
               [this, me = provider_actor{self}, id = t.subject->id,
                serial = t.serial, template_id, config](found rows) {
                 auto shared = std::make_shared<found>(std::move(rows));
                 caf::anon_send(
                   me,
                   continue_with(
                     id, serial, [this, template_id, config, shared](task& t) {
                       fill_and_deploy(t, template_id, *config, *shared);
                     }));
               }));
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

  void fill_and_deploy(task& t, const std::string& template_id,
                       const json::value& config,
                       const job<query::list_credentials>::reply& rows) {
    if (!rows) {
      finish_failed(t,
                    {answer_class::not_sent,
                     nullptr,
                     std::string{slipway::to_string(rows.error())},
                     {}},
                    "reading the credentials");
      return;
    }
    auto variables = variables_for(*t.subject, *rows);
    if (!variables) {
      finish_failed(t, {answer_class::invalid, nullptr, variables.error(), {}},
                    "decrypting the credentials");
      return;
    }
    auto filled = std::make_shared<json::value>(config);
    fill_variables(*filled, *variables);
    announce(t, lifecycle::template_deploy_started{now(), t.attempt()},
             [this, template_id, filled](task& t) {
               deploy(t, template_id, std::move(*filled));
             });
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
         [this](task& t, answer& got) {
           if (got.is != answer_class::ok) {
             finish_failed(t, got, "deploying the template");
             return;
           }
           const auto& payload = value_at(got.data, "templateDeployV2");
           finish(t, lifecycle::template_deployed{
                       now(), t.attempt(), word_at(payload, "workflowId")});
         });
  }

  // -- awaiting_workflow
  // --------------------------------------------------------------------

  void await_workflow_step(task& t) {
    call(t, read_workflow, {{"workflowId", t.state().deployment.workflow_id}},
         [this](task& t, answer& got) {
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
           const auto& workflow = value_at(got.data, "workflowStatus");
           const auto status = text_at(workflow, "status");
           if (status == "Complete") {
             finish(t, lifecycle::workflow_finished{now(), t.attempt()});
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
           later(t, std::min(options.poll_interval, millis{1'000}),
                 [this](task& t) {
                   await_workflow_step(t);
                 });
         });
  }

  // -- configuring
  // ----------------------------------------------------------------------------

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
    // The one that the world can reach stands for the instance.
    const auto with_domain = std::find_if(services.begin(), services.end(),
                                          [](const service_view& x) {
                                            return !x.domain.empty();
                                          });
    const auto& main
      = with_domain == services.end() ? services.front() : *with_domain;
    if (main.domain.empty()) {
      // The template may bring a domain that lags behind its service.
      if (t.looks < looks_max)
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
    // What was deployed just now counts, even while the old one is shown.
    const auto fresh = t.fresh.find(main.id);
    finish(t, lifecycle::configured{now(), t.attempt(), main.id, main.name,
                                    fresh == t.fresh.end() ? main.deployment_id
                                                           : fresh->second,
                                    "https://" + main.domain});
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
    auto input = json::object{};
    input["environmentId"] = t.state().instance.environment_id;
    input["serviceId"] = x.id;
    call(t, create_domain, {{"input", std::move(input)}},
         [this](task& t, answer& got) {
           if (got.is != answer_class::ok) {
             finish_failed(t, got, "creating the domain");
             return;
           }
           // Read back: what counts is what the provider shows.
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

  void watch_step(task& t) {
    t.watching = true;
    t.seen_progress = t.state().deployment.progress;
    poll(t);
  }

  void poll(task& t) {
    t.polling = true;
    call(t, read_environment, {{"id", t.state().instance.environment_id}},
         [this](task& t, answer& got) {
           t.polling = false;
           t.poll_at = now() + options.poll_interval;
           // Polls that fail are simply made again: the attempt's deadline
           // bounds them.
           if (got.is == answer_class::ok)
             observe(t, services_of(value_at(got.data, "environment")));
           else
             t.poll_at
               = now()
                 + std::max<millis>(got.retry_after, options.poll_interval);
         });
  }

  void observe(task& t, const std::vector<service_view>& services) {
    if (services.empty())
      return;
    const service_view* failed = nullptr;
    const service_view* slowest = nullptr;
    auto progress = std::uint8_t{100};
    auto all_running = true;
    for (const auto& x : services) {
      const auto means = read_status(x.status, x.stopped);
      if (means.is == status_meaning::failed
          || means.is == status_meaning::gone)
        failed = &x;
      all_running = all_running && means.is == status_meaning::running;
      if (slowest == nullptr || means.progress < progress) {
        slowest = &x;
        progress = means.progress;
      }
    }
    if (failed != nullptr) {
      const auto& expected = t.state().deployment.deployment_id;
      if (failed->id == t.state().instance.service_id && !expected.empty()
          && failed->deployment_id != expected)
        judge_expected(t, *failed);
      else
        explain_failure(t, *failed);
      return;
    }
    if (all_running) {
      finish(t, lifecycle::deployment_observed{now(),
                                               t.attempt(),
                                               lifecycle::condition::running,
                                               100,
                                               slowest->status,
                                               {},
                                               env->chance()});
      return;
    }
    refine_progress(t, *slowest, progress);
  }

  void
  report_progress(task& t, const std::string& status, std::uint8_t progress) {
    if (progress <= t.seen_progress)
      return;
    t.seen_progress = progress;
    self->send(env->registry,
               make_command(t, lifecycle::deployment_observed{
                                 now(),
                                 t.attempt(),
                                 lifecycle::condition::in_progress,
                                 progress,
                                 status,
                                 {},
                                 env->chance()}));
  }

  /// The provider gives no percentage; the steps it has begun make one.
  void refine_progress(task& t, const service_view& x, std::uint8_t progress) {
    if (x.status != "BUILDING" && x.status != "DEPLOYING") {
      report_progress(t, x.status, progress);
      return;
    }
    call(t, read_events, {{"id", x.deployment_id}},
         [this, status = x.status, progress](task& t, answer& got) {
           auto best = progress;
           for_each_node(value_at(got.data, "deploymentEvents"),
                         [&](const json::value& node) {
                           best = std::max(
                             best, progress_of_step(text_at(node, "step")));
                         });
           report_progress(t, status, best);
         });
  }

  /// The service shows another failed deployment than the one we wait for:
  /// either ours has been replaced, or the list lags behind. Ours decides.
  void judge_expected(task& t, service_view x) {
    const auto expected = t.state().deployment.deployment_id;
    t.polling = true;
    call(t, read_deployment, {{"id", expected}},
         [this, x = std::move(x), expected](task& t, answer& got) {
           t.polling = false;
           t.poll_at = now() + options.poll_interval;
           if (got.is != answer_class::ok)
             return;
           const auto& ours = value_at(got.data, "deployment");
           const auto& stopped = value_at(ours, "deploymentStopped");
           const auto is = read_status(text_at(ours, "status"),
                                       stopped.is_bool() && stopped.get_bool())
                             .is;
           if (is != status_meaning::failed && is != status_meaning::gone)
             return;
           auto judged = x;
           judged.deployment_id = expected;
           judged.status = word_at(ours, "status");
           explain_failure(t, judged);
         });
  }

  void explain_failure(task& t, const service_view& x) {
    t.watching = false; // Decided: nothing may start this over.
    call(t, read_events, {{"id", x.deployment_id}},
         [this, name = x.name, status = x.status](task& t, answer& got) {
           auto why = std::string{};
           for_each_node(value_at(got.data, "deploymentEvents"),
                         [&](const json::value& node) {
                           const auto text
                             = text_at(value_at(node, "payload"), "error");
                           if (!text.empty())
                             why = word_at(node, "step") + ": " + clean(text);
                         });
           auto reason = "service " + clean(name) + " is " + status
                         + (why.empty() ? std::string{} : " (" + why + ")");
           finish(t, lifecycle::deployment_observed{
                       now(), t.attempt(), lifecycle::condition::failed, 0,
                       status, std::move(reason), env->chance()});
         });
  }

  // -- cancelling
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
           auto ids = std::make_shared<std::vector<std::string>>();
           for (const auto& x : services_of(value_at(got.data, "environment")))
             if (!x.deployment_id.empty()
                 && read_status(x.status, x.stopped).is
                      == status_meaning::in_progress)
               ids->push_back(x.deployment_id);
           stop_next(t, std::move(ids));
         });
  }

  void stop_next(task& t, std::shared_ptr<std::vector<std::string>> ids) {
    if (ids->empty()) {
      remove_found(t);
      return;
    }
    const auto id = ids->back();
    ids->pop_back();
    call(t, cancel_deployment, {{"id", id}}, [this, ids](task& t, answer&) {
      // The deletion of the project is what counts, and is confirmed.
      stop_next(t, ids);
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
    const auto at = now();
    for (auto it = doubts.begin(); it != doubts.end();)
      it = it->second + options.settings.visibility_lag < at ? doubts.erase(it)
                                                             : std::next(it);
    auto due = std::vector<std::uint64_t>{};
    for (const auto& [id, t] : tasks)
      if (t.watching && !t.polling && t.poll_at <= at)
        due.push_back(id);
    for (auto id : due)
      if (const auto where = tasks.find(id); where != tasks.end())
        poll(where->second);
    self->delayed_send(self, std::min(options.poll_interval, millis{250}),
                       tick{});
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
  impl_->born = impl_->now();
  impl_->options = std::move(options);
  impl_->on_tick();
}

void railway_state::receive(const step_order& what) {
  impl_->receive(what.subject);
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

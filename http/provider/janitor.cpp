#include "http/provider/janitor.hpp"

#include "actors/guardian.hpp"
#include "actors/observe/log.hpp"
#include "http/provider/documents.hpp"
#include "http/provider/orphans.hpp"
#include "http/provider/view.hpp"

#include <boost/json/array.hpp>
#include <caf/send.hpp>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <deque>
#include <functional>
#include <map>
#include <set>
#include <utility>
#include <vector>

namespace slipway::provider {

namespace json = boost::json;

using namespace std::chrono_literals;

namespace {

/// How often to see whether a sweep is due.
constexpr auto tick_interval = millis{1'000};

/// The first sweep: not in everybody's way at the start.
constexpr auto first_sweep_after = millis{10'000};

/// Projects younger than this are what a sweep in between looks at.
constexpr auto young = 2h;

/// 20 000 projects; a sweep that would need more is not a whole one.
constexpr auto pages_max = 200;

constexpr auto registration_retry_initial = millis{10'000};

constexpr auto registration_retry_max = millis{3'600'000};

/// Those that tell of a change worth a look.
constexpr auto event_types = std::array<std::string_view, 9>{
  "Deployment.building", "Deployment.deploying", "Deployment.deployed",
  "Deployment.failed",   "Deployment.crashed",   "Deployment.oom_killed",
  "Deployment.slept",    "Deployment.resumed",   "Deployment.removed"};

bool is_our_rule(const json::value& rule, std::string_view url) {
  const auto& channels = value_at(rule, "channels");
  if (!channels.is_array())
    return false;
  const auto& list = channels.get_array();
  return std::any_of(list.begin(), list.end(), [&](const json::value& x) {
    const auto& config = value_at(x, "config");
    return text_at(config, "url") == url
           || text_at(config, "webhookUrl") == url;
  });
}

bool covers_events(const json::value& rule) {
  const auto& types = value_at(rule, "eventTypes");
  if (!types.is_array())
    return false;
  const auto& list = types.get_array();
  return std::all_of(
    event_types.begin(), event_types.end(), [&](std::string_view wanted) {
      return std::any_of(list.begin(), list.end(), [&](const json::value& x) {
        return x.is_string()
               && std::string_view{x.get_string().data(), x.get_string().size()}
                    == wanted;
      });
    });
}

} // namespace

struct janitor_state::impl {
  janitor_actor::pointer self = nullptr;
  environment_ptr env;
  janitor_options options;
  alive_guard alive;

  // The sweep under way.
  bool sweeping = false;
  bool whole = false;
  int page = 0;
  timestamp began{};
  std::vector<listed_project> found;
  struct noted {
    listed_project what;
    bool known = false; ///< Named after a subscription that we have.
    judgement is;
  };
  bool all_noted = false;   ///< Nothing that belongs to nobody was left out.
  std::deque<noted> untold; ///< Known, and new to us.
  std::vector<listed_project> seen_again; ///< To be removed.
  timestamp sweep_at{};
  timestamp whole_sweep_at{};
  /// Written down by us and not closed yet, so that each costs one query.
  std::set<std::string> open;
  std::set<std::string> seen; ///< By the sweep under way.

  // The webhook.
  timestamp register_at{};
  millis register_pause = registration_retry_initial;
  bool registering = false;
  bool registered = false;

  [[nodiscard]] timestamp now() const {
    return env->clock->now();
  }

  // -- plumbing
  // -----------------------------------------------------------------

  /// Calls Railway and goes on inside of the actor.
  template <class F>
  void call_railway(const operation& what, json::object variables, F next) {
    auto x = std::make_shared<call>();
    x->field = what.field;
    x->document = what.document;
    x->variables = std::move(variables);
    x->mutates = what.mutates;
    x->how = urgency::upkeep;
    x->timeout = options.settings.request_timeout;
    // The budget may keep it waiting: there is no hurry.
    x->expires = now() + 10min;
    x->done = [me = janitor_actor{self}, next = std::move(next)](answer got) {
      auto shared = std::make_shared<answer>(std::move(got));
      caf::anon_send(me,
                     std::make_shared<std::function<void()>>([next, shared] {
                       next(*shared);
                     }));
    };
    self->send(options.caller(), std::move(x));
  }

  /// Asks the STORE and goes on inside of the actor.
  template <class Query, class F>
  void ask(Query what, F next) {
    using reply = typename job<Query>::reply;
    // Nobody waits for us, and there may be thousands of projects.
    self->send(env->counting_store(),
               make_job(std::move(what), [me = janitor_actor{self},
                                          next = std::move(next)](reply got) {
                 auto shared = std::make_shared<reply>(std::move(got));
                 caf::anon_send(
                   me, std::make_shared<std::function<void()>>([next, shared] {
                     next(*shared);
                   }));
               }));
  }

  // -- the sweep
  // ----------------------------------------------------------------

  void begin_sweep() {
    sweeping = true;
    began = now();
    whole = whole_sweep_at <= began;
    all_noted = true;
    page = 0;
    found.clear();
    seen.clear();
    read_page({});
  }

  void end_sweep() {
    sweeping = false;
    sweep_at = now() + options.settings.sweep_interval;
  }

  void read_page(std::string after) {
    auto variables = json::object{};
    if (!options.settings.workspace_id.empty())
      variables["workspaceId"] = options.settings.workspace_id;
    if (!after.empty())
      variables["after"] = std::move(after);
    call_railway(find_projects, std::move(variables), [this](answer& got) {
      if (got.is != answer_class::ok) {
        spdlog::debug("janitor: projects cannot be listed now: {}",
                      got.message);
        end_sweep();
        return;
      }
      take_page(value_at(got.data, find_projects.field));
    });
  }

  void take_page(const json::value& projects) {
    auto old = false;
    for_each_node(projects, [&](const json::value& node) {
      const auto created = parse_rfc3339(text_at(node, "createdAt"));
      old = created && *created < began - young;
      const auto whose = parse_project_name(text_at(node, "name"));
      auto id = word_at(node, "id");
      if (whose && is_live(node) && !id.empty())
        found.push_back({std::move(id), word_at(node, "name"), *whose,
                         created.value_or(began)});
    });
    const auto& info = value_at(projects, "pageInfo");
    const auto& more = value_at(info, "hasNextPage");
    const auto cursor = word_at(info, "endCursor");
    const auto has_more = more.is_bool() && more.get_bool() && !cursor.empty();
    if (has_more && (whole || !old) && ++page < pages_max) {
      read_page(cursor);
      return;
    }
    whole = whole && !has_more;
    match();
  }

  /// Some at a time, written down before the next ones are looked at: all rows
  /// of a large workspace are more than we want to hold.
  void match() {
    constexpr auto at_once = std::size_t{500};
    if (found.empty()) {
      finish_sweep();
      return;
    }
    const auto end
      = found.begin()
        + static_cast<std::ptrdiff_t>(std::min(at_once, found.size()));
    auto some = std::vector<listed_project>(found.begin(), end);
    found.erase(found.begin(), end);
    auto ids = ids_of(some);
    ask(query::match_records{std::move(ids)},
        [this, some = std::move(some)](job<query::match_records>::reply& rows) {
          if (!rows) {
            end_sweep();
            return;
          }
          note(judge_some(some, *rows));
        });
  }

  static std::vector<subscription_id>
  ids_of(const std::vector<listed_project>& projects) {
    auto ids = std::vector<subscription_id>{};
    for (const auto& x : projects)
      ids.push_back(x.subscription);
    std::sort(ids.begin(), ids.end());
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
    return ids;
  }

  using rows_by_id = std::map<subscription_id, const record*>;

  static rows_by_id by_id(const std::vector<record>& rows) {
    auto out = rows_by_id{};
    for (const auto& x : rows)
      out[x.id] = &x;
    return out;
  }

  static const record* row_of(const listed_project& x, const rows_by_id& rows) {
    const auto row = rows.find(x.subscription);
    return row == rows.end() ? nullptr : row->second;
  }

  /// A restored database may not know the instance that a project is: what was
  /// there when it was restored is a person's to remove.
  [[nodiscard]] judgement
  judge_here(const listed_project& x, const record* row, timestamp at) const {
    const auto is = judge(x, row, at);
    if (is.is == judgement::remove
        && x.created_at < env->automation->restored_at())
      return {judgement::report, "older than the restored database, which may "
                                 "not know it; remove it by hand if nobody "
                                 "uses it"};
    return is;
  }

  /// @returns those that belong to nobody.
  std::vector<noted> judge_some(const std::vector<listed_project>& some,
                                const std::vector<record>& rows) {
    auto out = std::vector<noted>{};
    const auto known_rows = by_id(rows);
    for (const auto& x : some) {
      // Where the list has moved on between two pages it names one twice.
      if (!seen.insert(x.id).second)
        continue;
      const auto* known = row_of(x, known_rows);
      const auto is = judge_here(x, known, began);
      if (is.is == judgement::belongs)
        close(x.id, false);
      else
        out.push_back({x, known != nullptr, is});
    }
    return out;
  }

  void finish_sweep() {
    if (whole) {
      whole_sweep_at = began + options.whole_sweep_interval;
      // What was left out would count as gone.
      if (all_noted)
        ask(query::close_vanished_orphans{began},
            [](job<query::close_vanished_orphans>::reply&) {
              // The next whole sweep does it again.
            });
    }
    look_for_missing();
    end_sweep();
  }

  /// Somebody may have removed what we wait for a person to look at.
  void look_for_missing() {
    constexpr auto looks_max = 20;
    auto looks = 0;
    for (const auto& id : open) {
      if (seen.count(id) != 0 || ++looks > looks_max)
        continue;
      call_railway(read_project, {{"id", id}}, [this, id](answer& got) {
        const auto& project = value_at(got.data, read_project.field);
        // "Not authorized" does not mean the token: it has just listed
        // projects.
        if (got.is == answer_class::not_found || got.is == answer_class::auth
            || (got.is == answer_class::ok
                && (project.is_null() || !is_live(project))))
          close(id, false);
      });
    }
  }

  void close(const std::string& project, bool removed) {
    if (open.erase(project) == 0)
      return;
    ask(query::close_orphan{project, now(), removed},
        [this, project](job<query::close_orphan>::reply& done) {
          if (!done)
            open.insert(project); // Once more at the next sweep.
        });
  }

  /// Goes on once they are written down, and the new ones told of.
  void note(std::vector<noted> nobodys) {
    if (nobodys.empty()) {
      match();
      return;
    }
    auto what = query::note_orphans{{}, began};
    for (const auto& [x, known, is] : nobodys)
      what.of.push_back(
        {x.id, x.name, known ? x.subscription : subscription_id{}, is.reason});
    ask(std::move(what), [this, nobodys = std::move(nobodys)](
                           job<query::note_orphans>::reply& since) {
      if (since)
        take_noted(nobodys, *since);
      else // Another sweep finds them again.
        all_noted = false;
      tell_next();
    });
  }

  /// @param since when each was seen first
  void take_noted(const std::vector<noted>& nobodys,
                  const std::vector<timestamp>& since) {
    for (std::size_t i = 0; i < nobodys.size(); ++i) {
      const auto& [x, known, is] = nobodys[i];
      if (open.insert(x.id).second) {
        log::about{known ? x.subscription : subscription_id{}}.actor(name).warn(
          "janitor: project {} ({}) is {}", x.id, x.name, is.reason);
        if (known)
          untold.push_back(nobodys[i]);
      }
      // Reported first, removed when it is seen again.
      if (is.is == judgement::remove && since[i] < began)
        seen_again.push_back(x);
    }
  }

  /// One after the other, so that nobody waits for long behind them, and before
  /// anything is removed, so that stories are told in their order.
  void tell_next() {
    if (untold.empty()) {
      if (!seen_again.empty())
        confirm(std::exchange(seen_again, {}));
      match();
      return;
    }
    const auto x = std::move(untold.front());
    untold.pop_front();
    tell(x.what, "found", "Orphan project " + x.what.id + ": " + x.is.reason,
         [this] {
           tell_next();
         });
  }

  /// For the subscription's own story.
  void tell(const listed_project& x, const char* outcome, std::string what,
            std::function<void()> next = nullptr) {
    ask(query::note_history{x.subscription,
                            {now(), history_kind::provider, std::move(what),
                             delete_project.field, outcome}},
        [id = x.id, subscription = x.subscription,
         next = std::move(next)](job<query::note_history>::reply& done) {
          if (!done)
            log::about{subscription}.actor(name).warn(
              "janitor: what became of project {} is not in the history: {}",
              id, to_string(done.error()));
          if (next)
            next();
        });
  }

  // -- removing
  // -----------------------------------------------------------------

  /// The rows may have changed while we looked around: a retry uses what it
  /// finds.
  void confirm(std::vector<listed_project> again) {
    auto ids = ids_of(again);
    ask(
      query::match_records{std::move(ids)},
      [this, again = std::move(again)](job<query::match_records>::reply& rows) {
        if (!rows)
          return; // The next sweep finds them again.
        const auto known_rows = by_id(*rows);
        for (const auto& x : again)
          if (const auto* row = row_of(x, known_rows);
              row != nullptr
              && judge_here(x, row, now()).is == judgement::remove)
            remove(x);
      });
  }

  void remove(const listed_project& x) {
    // The next sweep finds it again.
    if (!env->may_act())
      return;
    call_railway(delete_project, {{"id", x.id}}, [this, x](answer&) {
      // A second deletion is refused in several ways: the project is asked.
      call_railway(read_project, {{"id", x.id}}, [this, x](answer& got) {
        const auto& project = value_at(got.data, read_project.field);
        const auto gone = got.is == answer_class::not_found
                          || got.is == answer_class::auth
                          || (got.is == answer_class::ok
                              && (project.is_null() || !is_live(project)));
        if (!gone)
          return; // The next sweep finds it again.
        log::about{x.subscription}.actor(name).warn(
          "janitor: project {} ({}) has been removed", x.id, x.name);
        tell(x, "ok", "Orphan project " + x.id + " removed");
        close(x.id, true);
      });
    });
  }

  // -- the webhook
  // --------------------------------------------------------------

  void look_for_rule() {
    registering = true;
    call_railway(read_rules, {{"workspaceId", options.settings.workspace_id}},
                 [this](answer& got) {
                   if (got.is != answer_class::ok) {
                     registration_failed(got);
                     return;
                   }
                   const auto& rules = value_at(got.data, read_rules.field);
                   if (rules.is_array())
                     for (const auto& rule : rules.get_array())
                       if (is_our_rule(rule, options.webhook_url)
                           && covers_events(rule)) {
                         registration_done("is registered already");
                         return;
                       }
                   make_rule();
                 });
  }

  void make_rule() {
    auto types = json::array{};
    for (auto type : event_types)
      types.push_back(json::value(type));
    auto input = json::object{};
    input["workspaceId"] = options.settings.workspace_id;
    input["eventTypes"] = std::move(types);
    input["channelConfigs"] = json::array{
      json::object{{"type", "webhook"}, {"url", options.webhook_url}}};
    call_railway(create_rule, {{"input", std::move(input)}},
                 [this](answer& got) {
                   if (got.is == answer_class::ok)
                     registration_done("has been registered");
                   else
                     registration_failed(got); // Looked for before it is made.
                 });
  }

  void registration_done(const char* how) {
    registering = false;
    registered = true;
    spdlog::info("janitor: the webhook {}", how);
  }

  void registration_failed(const answer& got) {
    registering = false;
    register_at = now() + register_pause;
    spdlog::warn("janitor: the webhook cannot be registered now ({}), next try "
                 "in {}; deployments are polled all the same",
                 got.message, to_words(register_pause));
    register_pause = std::min(register_pause * 2, registration_retry_max);
  }

  // -- time
  // ---------------------------------------------------------------------

  void on_tick() {
    const auto at = now();
    if (!sweeping && sweep_at <= at)
      begin_sweep();
    if (!options.webhook_url.empty() && !registered && !registering
        && register_at <= at && env->may_act())
      look_for_rule();
    self->delayed_send(self, tick_interval, tick{});
  }
};

janitor_state::janitor_state() : impl_{std::make_unique<impl>()} {
}

janitor_state::~janitor_state() = default;

void janitor_state::start(janitor_actor::pointer self, environment_ptr env,
                          janitor_options options) {
  impl_->self = self;
  impl_->alive = alive_guard{env->metrics, name};
  impl_->env = std::move(env);
  impl_->options = std::move(options);
  impl_->sweep_at
    = impl_->now()
      + std::min(first_sweep_after, impl_->options.settings.sweep_interval);
  impl_->on_tick();
}

void janitor_state::on_tick() {
  impl_->on_tick();
}

janitor_actor::behavior_type
janitor(janitor_actor::stateful_pointer<janitor_state> self,
        environment_ptr env, janitor_options options) {
  under_supervision(self);
  self->state.start(self, std::move(env), std::move(options));
  return {
    [](const continuation& what) {
      (*what)();
    },
    [self](const tick&) {
      self->state.on_tick();
    },
  };
}

} // namespace slipway::provider

#include "http/provider/watcher.hpp"

#include "actors/guardian.hpp"
#include "actors/observe/log.hpp"
#include "http/provider/documents.hpp"
#include "http/provider/look.hpp"

#include <boost/json/object.hpp>
#include <caf/send.hpp>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

namespace slipway::provider {

namespace {

namespace json = boost::json;

using lifecycle::instance_health;
using lifecycle::phase;
using namespace std::chrono_literals;

/// A deployment is looked at as often as configured while it is this young…
constexpr auto young_until = millis{60'000};

/// …and then less and less often, until it is this old…
constexpr auto old_from = millis{180'000};

/// …with this pause: together with the time that a document takes, an end is
/// noticed within 15 s.
constexpr auto old_pause = millis{10'000};

/// What comes to our ears within so long is looked at in one document.
constexpr auto gather_time = millis{250};

/// Hints make us look at one deployment so often at most.
constexpr auto hint_pause = millis{1'000};

/// The longest pause after looks that came to nothing.
constexpr auto failed_pause_max = millis{60'000};

/// Looks at an environment that may come to nothing before they get rarer.
constexpr auto fails_at_full_pace = std::uint32_t{3};

/// So many documents in a row have come to nothing: it is not their doing.
constexpr auto trouble_min = std::uint32_t{3};

/// A look without an answer is simply made again.
constexpr auto look_timeout = millis{30'000};

/// How long a look may wait for the budget.
constexpr auto look_patience = millis{60'000};

/// Steps of a deployment that nothing else is looked at with are a call of
/// their own, and only refine a number.
constexpr auto steps_pause = millis{10'000};

constexpr auto steps_per_look = std::size_t{4};

/// Failed calls that a report carries into the history.
constexpr auto calls_max = std::size_t{16};

/// A deployment that is gone is believed gone when it is seen twice: the one
/// that takes its place may not be visible yet.
constexpr auto removed_looks = 2;

/// A closer look that fails for reasons of the day is made again so often.
constexpr auto closer_looks_max = std::uint32_t{2};

// -- what runs
// -------------------------------------------------------------------------------

/// The first round begins so long after the start: not in everybody's way.
constexpr auto first_round_after = millis{10'000};

/// Rows of one page.
constexpr auto page_rows = std::size_t{200};

/// A page that could not be read is asked for again after this.
constexpr auto page_pause = millis{5'000};

/// Between two documents of a round, when it is not known how many there are.
constexpr auto unknown_group_pause = millis{1'000};

constexpr auto group_pause_max = millis{10'000};

/// What seems to be gone is looked at once more after this before it is told.
constexpr auto confirm_pause = millis{10'000};

/// An instance that cannot be read so often in a row is left to the next round.
constexpr auto instance_fails_max = std::uint32_t{3};

/// How long a look of a round may wait for the budget.
constexpr auto round_patience = millis{600'000};

/// Projects whose hints are remembered, and queries about them at a time.
constexpr auto hints_max = std::size_t{1'000};
constexpr auto queries_max = std::size_t{16};

/// Whether a project is there at all is asked of the list of all projects, so
/// often at most…
constexpr auto census_pause = millis{60'000};

/// …and of so many pages at most: 20 000 projects.
constexpr auto census_pages_max = 200;

/// A deployment whose environment could not be read so often in a row, and
/// whose project is older than any list lags behind, may have lost its project.
constexpr auto lost_fails = std::uint32_t{4};
constexpr auto lost_age = millis{120'000};

/// When more than so many are missing at once and none of ours is there, it is
/// the token that sees other projects now.
constexpr auto missing_at_once_max = std::size_t{3};

/// Whether the same call may well succeed a moment later.
bool is_passing(answer_class x) {
  switch (x) {
    case answer_class::throttled:
    case answer_class::blocked:
    case answer_class::busy:
    case answer_class::opaque:
    case answer_class::in_doubt:
    case answer_class::not_sent:
      return true;
    case answer_class::ok:
    case answer_class::invalid:
    case answer_class::auth:
    case answer_class::not_found:
    case answer_class::duplicate:
    case answer_class::plan:
      return false;
  }
  return false;
}

/// Whether what was asked for cannot be to blame.
bool is_nobodys_fault(answer_class x) {
  return x == answer_class::throttled || x == answer_class::blocked
         || x == answer_class::not_sent;
}

} // namespace

struct watcher_state::impl {
  // -- work under way
  // -------------------------------------------------------------------

  /// One document on its way.
  struct document {
    struct member {
      subscription_id id{};
      std::uint64_t serial = 0;
    };
    std::vector<member> members; ///< As many as looks.
    std::vector<look> looks;
    std::size_t line = 0;
    std::size_t wanted = 0; ///< Members that somebody still waits for.
    withdrawal over = std::make_shared<std::atomic<bool>>(false);
  };

  using document_ptr = std::shared_ptr<document>;

  /// Documents of one urgency.
  struct line {
    const std::size_t most; ///< Under way at once.
    const urgency how;
    const millis patience; ///< Waiting for the budget.
    std::size_t under_way = 0;
    std::uint32_t trouble = 0; ///< In a row that came to nothing.
    timestamp hold_until{};
  };

  /// One subscription that is looked at: its deployment until that is over, or
  /// its instance once.
  struct watch {
    record_ptr subject;
    /// Continuations of an earlier watch find another serial and do nothing.
    std::uint64_t serial = 0;
    timestamp due{};
    timestamp looked_at{}; ///< When the last look was handed on.
    bool looking = false;  ///< Until all that it needs has been answered.
    bool hinted = false;   ///< While looking: the answer may be too old.
    bool decided = false;  ///< The verdict is on its way.
    document_ptr within;
    withdrawal over = std::make_shared<std::atomic<bool>>(false);
    /// Shares a document with so many at most, itself included.
    std::size_t limit = batch_max;
    std::uint32_t fails = 0; ///< Looks in a row that came to nothing.
    std::uint32_t closer_fails = 0;
    int removed = 0; ///< Looks in a row that showed it so.
    std::uint8_t progress = 0;
    std::string status;
    std::vector<service_view> services; ///< As last seen.
    timestamp steps_at{};
    std::set<std::string>
      without_steps; ///< Deployments that have none to show.
    std::vector<provider_call> calls;

    // Of instances.
    bool runs = false;   ///< It came to run: an instance.
    bool urgent = false; ///< Somebody says that something happened to it.
    instance_health suspected = instance_health::unknown; ///< Seen once.

    /// Its environment cannot be read: to be looked for in the list of
    /// projects. An instance waits for that, a deployment is looked at
    /// meanwhile.
    bool missing = false;

    [[nodiscard]] const lifecycle::state& state() const {
      return subject->state;
    }

    [[nodiscard]] std::uint32_t attempt() const {
      return subject->state.deployment.attempt;
    }
  };

  /// What one look has shown, and what was asked to understand it.
  struct observation : seen_environment {
    closer_look closer;
    bool alone = false; ///< The only one of its document.
    bool steps_read = false;
    bool expected_read = false;
  };

  using observation_ptr = std::shared_ptr<observation>;

  watcher_actor::pointer self = nullptr;
  environment_ptr env;
  watcher_options options;
  std::unordered_map<std::uint64_t, watch> watches;
  std::uint64_t last_serial = 0;
  /// What is under way or urgent, and what has its round.
  std::array<line, 2> lines{{{documents_max, urgency::watch, look_patience},
                             {2, urgency::upkeep, round_patience}}};
  millis skew{0};
  timestamp last_now{};
  timestamp gathering_until{};
  timestamp armed = timestamp::max();
  alive_guard alive;

  /// Everything that runs, page by page.
  struct {
    bool ended = true;    ///< No page is left.
    bool reading = false; ///< A page is on its way.
    timestamp next_at{};  ///< The next round.
    timestamp read_at{};  ///< The next page, not sooner.
    timestamp began{};
    subscription_id after{};
    timestamp group_at{}; ///< When the group being filled is due.
    std::size_t in_group = 0;
    std::size_t looked_at = 0;
    std::size_t before = 0; ///< Instances of the round before.
  } round;

  /// Hints about projects of which nothing is looked at.
  struct awaited_hint {
    timestamp due{};      ///< max(): nothing is due.
    timestamp answered{}; ///< Not again within a second.
  };
  std::map<std::string, awaited_hint> hints;
  std::size_t queries = 0;

  /// The list of all projects, read when some seem to be missing.
  struct {
    bool reading = false;
    timestamp next_at{};
    int page = 0;
    bool any_of_ours = false;
    std::unordered_set<std::string> projects;
    std::vector<document::member> suspects;
  } census;

  // -- plumbing
  // ---------------------------------------------------------------------------

  [[nodiscard]] timestamp wall() const {
    return env->clock->now();
  }

  /// What everything here is timed by: goes on from where it was when the clock
  /// is set back, so that nobody has to wait for the lost time.
  timestamp now() {
    const auto at = wall();
    if (at + skew < last_now)
      skew = last_now - at;
    last_now = at + skew;
    return last_now;
  }

  watch* find(subscription_id id, std::uint64_t serial) {
    const auto where = watches.find(raw(id));
    if (where == watches.end() || where->second.serial != serial)
      return nullptr;
    return &where->second;
  }

  void erase(subscription_id id) {
    const auto where = watches.find(raw(id));
    if (where == watches.end())
      return;
    auto& w = where->second;
    *w.over = true;
    // A document that nobody waits for any more needs not leave.
    if (w.within && --w.within->wanted == 0)
      *w.within->over = true;
    watches.erase(where);
  }

  void arm(timestamp at) {
    if (armed <= at)
      return;
    armed = at;
    // Timers that have become stale change nothing.
    self->delayed_send(self, std::max<millis>(at - now(), 1ms),
                       std::make_shared<std::function<void()>>([this, at] {
                         if (armed == at)
                           armed = timestamp::max();
                         pump();
                       }));
  }

  /// Calls Railway and runs `next(answer&)` inside of the actor.
  template <class F>
  void ask(const line& by, const char* field, std::string document,
           json::object variables, withdrawal over, F next) {
    auto out = std::make_shared<call>();
    out->field = field;
    out->document = std::move(document);
    out->variables = std::move(variables);
    out->how = by.how;
    out->timeout = std::min(options.settings.request_timeout, look_timeout);
    out->expires = wall() + by.patience;
    out->withdrawn = std::move(over);
    out->done
      = [me = watcher_actor{self}, next = std::move(next)](answer told) {
          auto got = std::make_shared<answer>(std::move(told));
          caf::anon_send(
            me, std::make_shared<std::function<void()>>([next, got]() mutable {
              next(*got);
            }));
        };
    self->send(options.caller(), std::move(out));
  }

  /// The same for one watch, as long as it is wanted: `next(watch&, answer&)`.
  template <class F>
  void
  ask_for(watch& w, const operation& what, json::object variables, F next) {
    ask(line_of(w), what.field, what.document, std::move(variables), w.over,
        [this, id = w.subject->id, serial = w.serial, what,
         next = std::move(next)](answer& got) {
          auto* w = find(id, serial);
          if (w == nullptr || w->decided)
            return;
          if (got.is != answer_class::ok)
            note(*w, what.field, got);
          next(*w, got);
          pump();
        });
  }

  [[nodiscard]] static std::size_t number_of_line(const watch& w) {
    return w.runs && !w.urgent ? 1 : 0;
  }

  line& line_of(const watch& w) {
    return lines[number_of_line(w)];
  }

  /// For the history: only what failed, or it would drown in looks.
  void note(watch& w, const char* field, const answer& got) {
    auto x = provider_call{wall(), field, std::string{to_string(got.is)},
                           got.message};
    if (!w.calls.empty() && w.calls.back().operation == x.operation
        && w.calls.back().outcome == x.outcome)
      w.calls.back() = std::move(x);
    else if (w.calls.size() < calls_max)
      w.calls.push_back(std::move(x));
  }

  // -- when to look
  // -----------------------------------------------------------------------

  /// The pause between two looks.
  [[nodiscard]] millis pause_of(const watch& w) const {
    if (w.runs)
      return std::min(confirm_pause, options.settings.watch_interval);
    const auto young = options.poll_interval;
    const auto old = std::max(young, old_pause);
    const auto age = wall() - w.state().deployment.phase_at;
    const auto past = std::clamp(age, young_until, old_from) - young_until;
    return young
           + (old - young) * past.count() / (old_from - young_until).count();
  }

  /// The same after looks that came to nothing.
  [[nodiscard]] millis pause_after_failure(const watch& w) const {
    auto out = pause_of(w);
    for (auto i = fails_at_full_pace; i < w.fails && out < failed_pause_max;
         ++i)
      out *= 2;
    return std::max(std::min(out, failed_pause_max), pause_of(w));
  }

  /// What comes now and shortly after leaves together then.
  timestamp gather() {
    const auto at = now();
    if (gathering_until <= at)
      gathering_until = at + std::min(gather_time, options.poll_interval);
    return gathering_until;
  }

  /// Not sooner than a second after the last look.
  void bring_forward(watch& w) {
    if (w.decided)
      return;
    w.hinted = true;
    w.urgent = w.runs;
    if (w.looking)
      return;
    w.due = std::min(w.due, std::max(gather(), w.looked_at + hint_pause));
    arm(w.due);
  }

  /// A look is over and has decided nothing.
  void rest(watch& w) {
    const auto pause = pause_of(w);
    w.looking = false;
    w.due = std::max(w.looked_at + pause, now() + pause / 2);
    if (std::exchange(w.hinted, false))
      w.due = std::min(w.due, std::max(now(), w.looked_at + hint_pause));
  }

  void rest_after_failure(watch& w, millis at_least = 0ms) {
    ++w.fails;
    w.looking = false;
    w.hinted = false;
    w.due = now() + std::max(pause_after_failure(w), at_least);
  }

  // -- orders and hints
  // -------------------------------------------------------------------

  void order(record_ptr subject) {
    const auto& to = subject->state;
    if (to.deployment.at != phase::deploying) {
      log::about{subject->id}.actor(name).error(
        "watcher: nothing to look at in {}",
        lifecycle::to_string(to.deployment.at));
      erase(subject->id);
      return;
    }
    if (const auto known = watches.find(raw(subject->id));
        known != watches.end()) {
      auto& w = known->second;
      // Ordered anew by a supervisor that was started again: what we have told
      // may have been lost, what we see has not changed.
      if (!w.runs && !w.decided && w.attempt() == to.deployment.attempt
          && w.state().instance.environment_id == to.instance.environment_id) {
        w.progress = to.deployment.progress;
        w.status.clear();
        w.subject = std::move(subject);
        return;
      }
      erase(subject->id);
    }
    auto& w = watches[raw(subject->id)];
    w.serial = ++last_serial;
    w.progress = to.deployment.progress;
    w.due = gather();
    w.subject = std::move(subject);
    arm(w.due);
  }

  void drop(subscription_id id) {
    erase(id);
  }

  static bool is_about(const provider_hint& what, const watch& w) {
    const auto is = [](const std::string& given, const std::string& known) {
      return !given.empty() && given == known;
    };
    const auto& instance = w.state().instance;
    if (is(what.environment_id, instance.environment_id)
        || is(what.service_id, instance.service_id)
        || is(what.deployment_id, w.state().deployment.deployment_id)
        || is(what.project_id, instance.project_id))
      return true;
    return std::any_of(w.services.begin(), w.services.end(),
                       [&](const service_view& x) {
                         return is(what.service_id, x.id)
                                || is(what.deployment_id, x.deployment_id);
                       });
  }

  void take(const provider_hint& what) {
    auto is_known = false;
    for (auto& [id, w] : watches)
      if (is_about(what, w)) {
        bring_forward(w);
        is_known = true;
      }
    if (is_known || what.project_id.empty())
      return; // The next round sees what no project is named for.
    // A webhook may be called by many, and often: what is waited for already
    // and what there is no room for costs nothing.
    const auto at = now();
    if (hints.size() >= hints_max)
      std::erase_if(hints, [at](const auto& x) {
        return x.second.due == timestamp::max()
               && x.second.answered + hint_pause <= at;
      });
    auto known = hints.find(what.project_id);
    if (known == hints.end()) {
      if (hints.size() >= hints_max) {
        env->metrics->shed("provider_hints");
        return;
      }
      known = hints.emplace(what.project_id, awaited_hint{}).first;
      known->second.due = timestamp::max();
    }
    auto& x = known->second;
    if (x.due == timestamp::max())
      x.due = std::max(gather(), x.answered + hint_pause);
    arm(x.due);
  }

  // -- rounds
  // -----------------------------------------------------------------------------

  /// Asks the STORE and runs `next(reply&)` inside of the actor.
  template <class Query, class F>
  void query_store(Query what, F next) {
    using reply = typename job<Query>::reply;
    self->send(env->stores.front()(),
               make_job(std::move(what), [me = watcher_actor{self},
                                          next = std::move(next)](reply got) {
                 auto shared = std::make_shared<reply>(std::move(got));
                 caf::anon_send(me, std::make_shared<std::function<void()>>(
                                      [next, shared]() mutable {
                                        next(*shared);
                                      }));
               }));
  }

  /// Looks at an instance at `due`.
  watch& add_instance(record_ptr subject, timestamp due) {
    auto& w = watches[raw(subject->id)];
    w.serial = ++last_serial;
    w.runs = true;
    w.due = due;
    w.subject = std::move(subject);
    return w;
  }

  void run_hints() {
    const auto at = now();
    for (auto& [project, x] : hints) {
      if (queries >= queries_max)
        return; // An answer goes on.
      if (x.due > at)
        continue;
      x.due = timestamp::max();
      x.answered = at;
      ++queries;
      query_store(query::find_by_project{project},
                  [this](job<query::find_by_project>::reply& found) {
                    --queries;
                    if (found)
                      look_soon(std::make_shared<record>(std::move(*found)));
                    pump();
                  });
    }
  }

  void look_soon(record_ptr subject) {
    if (const auto known = watches.find(raw(subject->id));
        known != watches.end()) {
      bring_forward(known->second);
      return;
    }
    if (!can_be_looked_at(*subject))
      return;
    add_instance(std::move(subject), now()).urgent = true;
  }

  static bool can_be_looked_at(const record& x) {
    return lifecycle::is_watched(x.state)
           && !x.state.instance.environment_id.empty();
  }

  /// Those of the round under way that are still to be looked at.
  [[nodiscard]] std::size_t count_instances(bool waiting_only) const {
    return static_cast<std::size_t>(std::count_if(
      watches.begin(), watches.end(), [waiting_only](const auto& x) {
        return x.second.runs && !(waiting_only && x.second.looking);
      }));
  }

  void run_round() {
    const auto at = now();
    if (round.reading)
      return;
    if (round.ended) {
      if (at < round.next_at)
        return;
      round.ended = false;
      round.began = at;
      round.after = subscription_id{};
      round.group_at = at;
      round.in_group = 0;
      round.before = std::exchange(round.looked_at, 0);
    }
    // A page at a time, however many instances there are.
    if (at < round.read_at || count_instances(true) >= batch_max)
      return;
    round.reading = true;
    query_store(query::list_watched{round.after, page_rows},
                [this](job<query::list_watched>::reply& page) {
                  round.reading = false;
                  if (page)
                    take_page(*page);
                  else
                    round.read_at = now() + page_pause;
                  pump();
                });
  }

  /// Between two groups of a round, so that it fills its time. When there are
  /// more than the time before, the rest follows as fast as the budget allows.
  [[nodiscard]] millis group_pause() const {
    if (round.before == 0)
      return std::min(unknown_group_pause, tenths(1));
    const auto groups = [](std::size_t instances) {
      return static_cast<std::int64_t>((instances + batch_max - 1) / batch_max);
    };
    const auto groups_left = std::max(
      groups(round.before) - groups(round.looked_at), std::int64_t{1});
    const auto time_left
      = std::max<millis>(round.began + tenths(8) - round.group_at, 0ms);
    return std::min(time_left / groups_left, group_pause_max);
  }

  [[nodiscard]] millis tenths(int n) const {
    return options.settings.watch_interval * n / 10;
  }

  void take_page(std::vector<record>& page) {
    round.group_at = std::max(round.group_at, now());
    for (auto& x : page) {
      round.after = std::max(round.after, x.id);
      if (!can_be_looked_at(x) || watches.count(raw(x.id)) != 0)
        continue;
      if (round.in_group == batch_max) {
        round.group_at += group_pause();
        round.in_group = 0;
      }
      ++round.in_group;
      ++round.looked_at;
      add_instance(std::make_shared<record>(std::move(x)), round.group_at);
    }
    if (page.size() >= page_rows)
      return;
    round.ended = true;
    // So that everything is looked at once within the interval. The first round
    // was quick, and the second one is not: it has to follow at once.
    const auto soon = now() + std::min(page_pause, tenths(1));
    const auto is_first = round.before == 0 && round.looked_at > 0;
    round.next_at = is_first ? soon : std::max(soon, round.began + tenths(9));
  }

  // -- what seems to be missing
  // -----------------------------------------------------------

  /// A project counts as missing only when the list of projects, read with the
  /// same token, does not hold it either: a token that has been revoked must
  /// not look like a thousand deleted instances.
  void run_census() {
    if (census.reading || now() < census.next_at)
      return;
    census.suspects.clear();
    for (const auto& [id, w] : watches)
      if (w.missing)
        census.suspects.push_back({w.subject->id, w.serial});
    if (census.suspects.empty())
      return;
    census.reading = true;
    census.page = 0;
    census.any_of_ours = false;
    census.projects.clear();
    read_projects({});
  }

  void read_projects(const std::string& after) {
    auto variables = json::object{};
    if (!options.settings.workspace_id.empty())
      variables["workspaceId"] = options.settings.workspace_id;
    if (!after.empty())
      variables["after"] = after;
    ask(lines[1], find_projects.field, find_projects.document,
        std::move(variables), nullptr, [this](answer& got) {
          if (got.is == answer_class::ok)
            take_projects(value_at(got.data, find_projects.field));
          else
            end_census(false);
          pump();
        });
  }

  void take_projects(const json::value& projects) {
    for_each_node(projects, [this](const json::value& node) {
      if (!is_live(node))
        return;
      census.projects.insert(word_at(node, "id"));
      census.any_of_ours
        = census.any_of_ours || parse_project_name(text_at(node, "name"));
    });
    const auto& info = value_at(projects, "pageInfo");
    const auto& more = value_at(info, "hasNextPage");
    const auto cursor = word_at(info, "endCursor");
    if (!more.is_bool()) {
      end_census(false);
      return;
    }
    if (!more.get_bool()) {
      end_census(true);
      return;
    }
    if (cursor.empty() || ++census.page >= census_pages_max)
      end_census(false);
    else
      read_projects(cursor);
  }

  void end_census(bool whole) {
    census.reading = false;
    census.next_at = now() + census_pause;
    if (whole && !census.any_of_ours
        && census.suspects.size() > missing_at_once_max) {
      spdlog::error("watcher: {} projects are missing and none of ours is "
                    "there: is it still the same token?",
                    census.suspects.size());
      whole = false;
    }
    for (const auto& x : census.suspects) {
      auto* w = find(x.id, x.serial);
      if (w == nullptr)
        continue;
      const auto& project = w->state().instance.project_id;
      const auto is_gone = whole && census.projects.count(project) == 0;
      constexpr auto why = "its project is not there any more";
      if (w->runs) {
        if (is_gone)
          tell_health(*w, {instance_health::missing, {}, {}, why});
        erase(x.id); // Else the next round tells.
        continue;
      }
      const auto still = std::exchange(w->missing, false);
      if (is_gone && still && !w->decided)
        tell_verdict(*w, lifecycle::condition::failed, 0, w->status, why);
    }
    census.projects.clear();
  }

  // -- documents
  // --------------------------------------------------------------------------

  /// Those that leave in the next document: whoever has waited longest and who
  /// comes next, so that those who are looked at together stay together.
  std::vector<watch*> next_members(std::size_t of_line) {
    const auto at = now();
    auto waiting = std::vector<watch*>{};
    for (auto& [id, w] : watches) {
      if (w.looking || w.decided || (w.runs && w.missing)
          || number_of_line(w) != of_line)
        continue;
      const auto pause = pause_of(w);
      const auto is_soon = !w.runs && w.due <= at + pause / 2
                           && w.looked_at + std::min(hint_pause, pause) <= at;
      if (w.due <= at || is_soon)
        waiting.push_back(&w);
    }
    std::sort(waiting.begin(), waiting.end(),
              [](const watch* x, const watch* y) {
                return std::pair{x->due, raw(x->subject->id)}
                       < std::pair{y->due, raw(y->subject->id)};
              });
    if (waiting.empty() || waiting.front()->due > at)
      return {};
    auto out = std::vector<watch*>{};
    auto limit = batch_max;
    for (auto* w : waiting) {
      if (out.size() >= limit)
        break;
      if (w->limit <= out.size())
        continue;
      limit = std::min(limit, w->limit);
      out.push_back(w);
    }
    return out;
  }

  void pump() {
    run_hints();
    run_round();
    run_census();
    for (auto i = std::size_t{0}; i < lines.size(); ++i)
      pump(i);
    arm_all();
  }

  void pump(std::size_t of_line) {
    auto& x = lines[of_line];
    if (now() < x.hold_until)
      return;
    while (x.under_way < most_of(x)) {
      const auto members = next_members(of_line);
      if (members.empty())
        return;
      send(of_line, members);
    }
  }

  /// After trouble one goes first.
  [[nodiscard]] static std::size_t most_of(const line& x) {
    return x.trouble >= trouble_min ? std::size_t{1} : x.most;
  }

  /// For the next moment at which there is something to do by itself; whatever
  /// waits for an answer goes on with that.
  void arm_all() {
    auto next = timestamp::max();
    for (const auto& [id, w] : watches) {
      const auto& x = line_of(w);
      const auto waits = w.looking || w.decided || (w.runs && w.missing);
      if (!waits && x.under_way < most_of(x))
        next = std::min(next, std::max(w.due, x.hold_until));
      if (w.missing && !w.decided && !census.reading)
        next = std::min(next, census.next_at);
    }
    if (queries < queries_max)
      for (const auto& [project, x] : hints)
        next = std::min(next, x.due);
    if (!round.reading) {
      if (round.ended)
        next = std::min(next, round.next_at);
      else if (count_instances(true) < batch_max)
        next = std::min(next, round.read_at);
    }
    if (next != timestamp::max())
      arm(next);
  }

  void send(std::size_t by, const std::vector<watch*>& members) {
    auto out = std::make_shared<document>();
    out->line = by;
    out->wanted = members.size();
    for (auto* w : members) {
      auto& x = out->looks.emplace_back();
      x.environment_id = w->state().instance.environment_id;
      // Alone it is asked for as plainly as can be.
      if (members.size() > 1)
        x.steps_of = steps_wanted(*w);
      out->members.push_back({w->subject->id, w->serial});
      w->within = out;
      w->looking = true;
      w->hinted = false;
      w->looked_at = now();
    }
    auto made = make_look_document(out->looks);
    ++lines[by].under_way;
    ask(lines[by], read_environment.field, std::move(made.text),
        std::move(made.variables), out->over, [this, out](answer& got) {
          --lines[out->line].under_way;
          answered(*out, got);
          pump();
        });
  }

  /// Deployments of which we have seen that they are being made.
  static std::vector<std::string> steps_wanted(const watch& w) {
    auto out = std::vector<std::string>{};
    for (const auto& x : w.services)
      if (is_being_made(x) && !x.deployment_id.empty()
          && w.without_steps.count(x.deployment_id) == 0
          && out.size() < steps_per_look)
        out.push_back(x.deployment_id);
    return out;
  }

  void answered(const document& what, answer& got) {
    const auto each = [&](auto f) {
      for (auto i = std::size_t{0}; i < what.members.size(); ++i)
        if (auto* w = find(what.members[i].id, what.members[i].serial)) {
          w->within = nullptr;
          if (!w->decided)
            f(*w, i);
        }
    };
    if (got.is == answer_class::ok) {
      lines[what.line].trouble = 0;
      auto seen = read_looks(what.looks, got.data);
      each([&](watch& w, std::size_t i) {
        w.fails = 0;
        w.missing = false;
        w.limit = batch_max;
        auto o = std::make_shared<observation>();
        static_cast<seen_environment&>(*o) = std::move(seen[i]);
        o->alone = what.looks.size() == 1;
        for (const auto& id : what.looks[i].steps_of)
          o->steps_read = o->steps_read || o->steps.count(id) != 0;
        observe(w, o);
      });
      return;
    }
    each([&](watch& w, std::size_t) {
      note(w, read_environment.field, got);
    });
    if (what.looks.size() == 1) {
      if (is_passing(got.is))
        be_troubled(lines[what.line]);
      each([&](watch& w, std::size_t) {
        rest_unread(w, got);
      });
      return;
    }
    auto blamed = std::vector<bool>(what.looks.size(), false);
    auto blamed_steps = blamed;
    auto any = false;
    for (const auto& name : got.failed_fields)
      if (const auto field = find_look(name, what.looks)) {
        (field->steps ? blamed_steps : blamed)[field->look] = true;
        any = true;
      }
    if (!any)
      be_troubled(lines[what.line]);
    each([&](watch& w, std::size_t i) {
      if (blamed[i]) {
        rest_unread(w, got);
        return;
      }
      w.looking = false;
      w.due = now(); // No fault of its own.
      if (blamed_steps[i])
        w.without_steps.insert(what.looks[i].steps_of.begin(),
                               what.looks[i].steps_of.end());
      if (any)
        return;
      // Somebody in it, or the provider itself: halves tell.
      if (!is_nobodys_fault(got.is))
        w.limit = (what.looks.size() + 1) / 2;
      w.due += std::max<millis>(got.retry_after,
                                is_nobodys_fault(got.is) ? pause_of(w) : 0ms);
    });
  }

  /// When everything comes to nothing it is not looked at in ever smaller
  /// pieces, but less often.
  void be_troubled(line& x) {
    ++x.trouble;
    if (x.trouble < trouble_min)
      return;
    auto pause = hint_pause;
    for (auto i = trouble_min; i < x.trouble && pause < failed_pause_max; ++i)
      pause *= 2;
    x.hold_until = now() + std::min(pause, failed_pause_max);
  }

  /// An environment cannot be read, for itself.
  void rest_unread(watch& w, const answer& got) {
    w.limit = 1;
    const auto seems_gone
      = got.is == answer_class::auth || got.is == answer_class::not_found;
    if (w.runs && seems_gone) {
      w.looking = false;
      w.missing = true;
      return;
    }
    rest_after_failure(w, got.retry_after);
    if (w.runs && w.fails >= instance_fails_max)
      erase(w.subject->id);
    else
      w.missing = seems_gone && w.fails >= lost_fails
                  && w.state().instance.created_at + lost_age < wall();
  }

  // -- understanding
  // ----------------------------------------------------------------------

  void observe(watch& w, const observation_ptr& o) {
    if (w.runs && !o->there) {
      erase(w.subject->id); // The next round tells.
      return;
    }
    if (!w.runs && o->services.empty()) {
      rest(w); // Not visible yet.
      return;
    }
    // Known to be down, and asked about its replicas before.
    if (w.runs && !w.urgent
        && w.state().instance.health == instance_health::crashed)
      o->closer.replicas[w.state().deployment.deployment_id] = false;
    w.services = o->services;
    look_closer(w, o);
  }

  /// Asks for what the list does not say, one thing after the other.
  void look_closer(watch& w, const observation_ptr& o) {
    if (const auto crashed = wants_replicas(o->services, o->closer)) {
      ask_for(w, read_replicas, {{"id", *crashed}},
              [this, o, id = *crashed](watch& w, answer& got) {
                if (is_to_be_repeated(w, got))
                  return;
                o->closer.replicas[id]
                  = any_replica_runs(value_at(got.data, read_replicas.field));
                look_closer(w, o);
              });
      return;
    }
    if (wants_serving(o->services, o->closer, w.runs)) {
      ask_for(w, read_serving, {{"id", w.state().instance.environment_id}},
              [this, o](watch& w, answer& got) {
                if (is_to_be_repeated(w, got))
                  return;
                o->closer.serving
                  = serving_of(value_at(got.data, read_serving.field));
                look_closer(w, o);
              });
      return;
    }
    w.closer_fails = 0;
    if (w.runs)
      conclude_instance(w, *o);
    else
      conclude(w, o);
  }

  /// Whether a closer look has failed for reasons of the day, so that the whole
  /// is looked at again. What goes on failing counts as nothing to be seen.
  bool is_to_be_repeated(watch& w, const answer& got) {
    if (!is_passing(got.is) || ++w.closer_fails > closer_looks_max)
      return false;
    rest(w);
    return true;
  }

  void conclude(watch& w, const observation_ptr& o) {
    const auto seen = judge_deployment(o->services, o->closer, o->steps);
    if (seen.is != deployment_view::removed)
      w.removed = 0;
    switch (seen.is) {
      case deployment_view::nothing:
        rest(w);
        return;
      case deployment_view::in_progress:
        if (o->alone && !o->steps_read && wants_steps(w, *seen.about))
          read_steps(w, o);
        else
          tell_progress(w, seen);
        return;
      case deployment_view::running:
        tell_verdict(w, lifecycle::condition::running, 100, seen.about->status,
                     {});
        return;
      case deployment_view::removed:
      case deployment_view::failed:
        break;
    }
    const auto& expected = w.state().deployment.deployment_id;
    if (!o->expected_read && !expected.empty()
        && seen.about->id == w.state().instance.service_id
        && seen.about->deployment_id != expected) {
      judge_expected(w, o);
      return;
    }
    if (seen.is == deployment_view::removed && ++w.removed < removed_looks) {
      rest(w);
      return;
    }
    explain_failure(w, o, *seen.about);
  }

  /// What runs is looked at once; only what has changed is told. What seems to
  /// be gone is looked at twice: it may be on its way from one deployment to
  /// the next.
  void conclude_instance(watch& w, const observation& o) {
    const auto& s = w.state();
    auto seen = judge_instance(o.services, o.closer, s.instance.service_id);
    const auto is_same
      = seen.is == s.instance.health
        && (seen.deployment_id.empty()
            || seen.deployment_id == s.deployment.deployment_id);
    if (seen.is == instance_health::unknown || is_same) {
      leave(w);
      return;
    }
    const auto is_doubtful = seen.is == instance_health::removed
                             || seen.is == instance_health::ended;
    if (is_doubtful && seen.is != w.suspected) {
      w.suspected = seen.is;
      rest(w);
      return;
    }
    tell_health(w, std::move(seen));
    leave(w);
  }

  /// Looked at; once more if something happened meanwhile.
  void leave(watch& w) {
    if (!w.hinted) {
      erase(w.subject->id);
      return;
    }
    // From what is stored by then.
    const auto project = w.state().instance.project_id;
    erase(w.subject->id);
    take({project, {}, {}, {}});
  }

  [[nodiscard]] bool wants_steps(const watch& w, const service_view& x) {
    return is_being_made(x)
           && (x.status != w.status || w.steps_at + steps_pause <= now());
  }

  void read_steps(watch& w, const observation_ptr& o) {
    o->steps_read = true;
    const auto looks = std::vector<look>{{{}, steps_wanted(w)}};
    if (looks.front().steps_of.empty()) {
      conclude(w, o);
      return;
    }
    w.steps_at = now();
    auto made = make_look_document(looks);
    ask(line_of(w), read_events.field, std::move(made.text),
        std::move(made.variables), w.over,
        [this, id = w.subject->id, serial = w.serial, o, looks](answer& got) {
          auto* w = find(id, serial);
          if (w == nullptr || w->decided)
            return;
          if (got.is == answer_class::ok)
            o->steps = std::move(read_looks(looks, got.data).front().steps);
          else
            note(*w, read_events.field, got);
          conclude(*w, o);
          pump();
        });
  }

  /// The service shows another failed deployment than the one we wait for:
  /// either ours has been replaced, or the list lags behind. Ours decides.
  void judge_expected(watch& w, const observation_ptr& o) {
    const auto expected = w.state().deployment.deployment_id;
    ask_for(w, read_deployment, {{"id", expected}},
            [this, o, expected](watch& w, answer& got) {
              // One that is not there any more decides nothing.
              if (got.is != answer_class::ok
                  && got.is != answer_class::not_found) {
                rest(w);
                return;
              }
              o->expected_read = true;
              const auto& ours = value_at(got.data, read_deployment.field);
              if (!text_at(ours, "status").empty()) {
                const auto& main = w.state().instance.service_id;
                const auto& stopped = value_at(ours, "deploymentStopped");
                for (auto& x : o->services)
                  if (x.id == main) {
                    x.deployment_id = expected;
                    x.status = word_at(ours, "status");
                    x.stopped = stopped.is_bool() && stopped.get_bool();
                  }
              }
              look_closer(w, o);
            });
  }

  void
  explain_failure(watch& w, const observation_ptr& o, const service_view& x) {
    const auto known = o->steps.find(x.deployment_id);
    if (known != o->steps.end() || x.deployment_id.empty()) {
      tell_failure(
        w, x, known == o->steps.end() ? std::string{} : known->second.error);
      return;
    }
    // Decided: the answer only says why.
    ask_for(w, read_events, {{"id", x.deployment_id}},
            [this, o, x](watch& w, answer& got) {
              tell_failure(
                w, x, steps_of(value_at(got.data, read_events.field)).error);
            });
  }

  // -- telling
  // ----------------------------------------------------------------------------

  command_ptr
  make_command(watch& w, lifecycle::condition is, std::uint8_t progress,
               std::string status, std::string reason) {
    auto out = std::make_shared<command>();
    out->subscription = w.subject->id;
    out->what = lifecycle::deployment_observed{
      wall(),       w.attempt(),       is,
      progress,     std::move(status), std::move(reason),
      env->chance()};
    out->calls = std::exchange(w.calls, {});
    return out;
  }

  void tell_health(watch& w, health_view what) {
    auto report = std::make_shared<command>();
    report->subscription = w.subject->id;
    report->what = lifecycle::instance_observed{wall(),
                                                w.state().instance.seq,
                                                what.is,
                                                std::move(what.deployment_id),
                                                std::move(what.status),
                                                std::move(what.reason)};
    report->calls = std::exchange(w.calls, {});
    report->control = true;
    self->send(env->registry(), std::move(report));
  }

  /// The provider gives no percentage; statuses and steps make one, which never
  /// falls. A new status is told even so: somebody may have to act on it.
  void tell_progress(watch& w, const deployment_view& seen) {
    const auto& status = seen.about->status;
    const auto is_news = status != w.status;
    if (is_news && status == "NEEDS_APPROVAL")
      log::about{w.subject->id}.actor(name).warn(
        "watcher: the deployment of {} waits for an approval at the provider",
        to_text(w.subject->id));
    if (seen.progress > w.progress || is_news) {
      w.progress = std::max(w.progress, seen.progress);
      w.status = status;
      self->send(env->registry(),
                 make_command(w, lifecycle::condition::in_progress, w.progress,
                              status, {}));
    }
    rest(w);
  }

  void tell_failure(watch& w, const service_view& x, const std::string& why) {
    auto reason = "service " + clean(x.name) + " is " + x.status
                  + (x.stopped ? " and has stopped" : "")
                  + (why.empty() ? std::string{} : " (" + why + ")");
    tell_verdict(w, lifecycle::condition::failed, 0, x.status,
                 std::move(reason));
  }

  /// Told again until it has been taken or is of no use any more.
  void tell_verdict(watch& w, lifecycle::condition is, std::uint8_t progress,
                    std::string status, std::string reason) {
    w.looking = false;
    w.decided = true;
    auto report
      = make_command(w, is, progress, std::move(status), std::move(reason));
    report->control = true;
    report->reply = std::make_shared<reply_slot>(
      [this, me = watcher_actor{self}, id = w.subject->id,
       serial = w.serial](const outcome& end) {
        const auto taken = end.error == errc::none;
        caf::anon_send(me, std::make_shared<std::function<void()>>(
                             [this, id, serial, taken] {
                               settle(id, serial, taken);
                             }));
      });
    self->send(env->registry(), std::move(report));
  }

  void settle(subscription_id id, std::uint64_t serial, bool taken) {
    auto* w = find(id, serial);
    if (w == nullptr)
      return;
    if (taken) {
      erase(id);
      return;
    }
    w->decided = false;
    rest(*w);
    pump();
  }

  void on_tick() {
    pump();
  }
};

watcher_state::watcher_state() : impl_{std::make_unique<impl>()} {
}

watcher_state::~watcher_state() = default;

void watcher_state::start(watcher_actor::pointer self, environment_ptr env,
                          watcher_options options) {
  impl_->self = self;
  impl_->alive = alive_guard{env->metrics, name};
  impl_->env = std::move(env);
  impl_->options = std::move(options);
  impl_->round.next_at
    = impl_->now()
      + std::min(first_round_after, impl_->options.settings.watch_interval);
  impl_->arm_all();
}

void watcher_state::watch(const watch_order& what) {
  impl_->order(what.subject);
}

void watcher_state::drop(subscription_id id) {
  impl_->drop(id);
}

void watcher_state::take(const provider_hint& what) {
  impl_->take(what);
}

void watcher_state::on_tick() {
  impl_->on_tick();
}

watcher_actor::behavior_type
watcher(watcher_actor::stateful_pointer<watcher_state> self,
        environment_ptr env, watcher_options options) {
  under_supervision(self);
  self->state.start(self, std::move(env), std::move(options));
  return {
    [self](const watch_order& what) {
      self->state.watch(what);
    },
    [self](const watch_dropped& what) {
      self->state.drop(what.subscription);
    },
    [self](const provider_hint& what) {
      self->state.take(what);
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

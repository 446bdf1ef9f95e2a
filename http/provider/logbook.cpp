#include "http/provider/logbook.hpp"

#include "actors/guardian.hpp"
#include "actors/observe/log.hpp"
#include "http/provider/log_documents.hpp"
#include "http/provider/log_lines.hpp"
#include "http/provider/subscription.hpp"
#include "http/provider/view.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <caf/send.hpp>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

namespace slipway::provider {

namespace {

namespace json = boost::json;

using namespace std::chrono_literals;

/// How often the LOGBOOK looks after its readers.
constexpr auto tick_interval = millis{1'000};

/// How soon a follower is asked again whose last lines are still on their way.
constexpr auto busy_pause = millis{50};

/// Lines handed to one follower before others get their turn.
constexpr auto turn_lines = 256;

/// How long a follower's first lines may wait for all lanes to be read.
constexpr auto follower_patience = millis{10'000};

/// Lines that came late and wait for their follower; more are left out.
constexpr auto late_max = std::size_t{200};

/// Events read at once, and kept for one reader.
constexpr auto event_rows_max = std::size_t{500};
constexpr auto event_rows_kept = std::size_t{1'000};

/// After its end was seen first, a deployment's last lines may still come.
constexpr auto over_grace = millis{15'000};

/// Where the lines of an instance can begin, as far as clocks agree.
constexpr auto floor_margin = 600'000 * nanos_per_ms;

/// How long the services of an environment count as known: while something is
/// going on there, and otherwise.
constexpr auto view_ttl_busy = millis{5'000};
constexpr auto view_ttl_settled = millis{60'000};

/// After a failure, doubled with each further one.
constexpr auto trouble_pause = millis{2'000};
constexpr auto trouble_pause_max = millis{30'000};

/// What a live stream gives again of what there was before it began.
constexpr auto stream_backlog = 500;

/// Of a live stream, until the lane has been read once more.
constexpr auto early_lines_max = std::size_t{10'000};

/// A stream that lasted so long was a good one.
constexpr auto good_stream = millis{30'000};

constexpr auto subjects_max = std::size_t{4'096};

// -- what readers are told of trouble
// ---------------------------------------------------

/// Kept in cursors as a number: never renumber, only append.
enum class trouble_kind : std::uint8_t {
  none = 0,
  throttled = 1,
  missing = 2,
  forbidden = 3,
  silent = 4,
  failing = 5,
  refused = 6,
  slow = 7,
  secrets = 8,
};

trouble_kind kind_of(answer_class x) {
  switch (x) {
    case answer_class::throttled:
    case answer_class::blocked:
    case answer_class::not_sent:
      return trouble_kind::throttled;
    case answer_class::not_found:
      return trouble_kind::missing;
    case answer_class::auth:
      return trouble_kind::forbidden;
    case answer_class::in_doubt:
      return trouble_kind::silent;
    case answer_class::ok:
    case answer_class::opaque:
    case answer_class::busy:
      return trouble_kind::failing;
    case answer_class::invalid:
    case answer_class::plan:
    case answer_class::duplicate:
      return trouble_kind::refused;
  }
  return trouble_kind::failing;
}

std::string_view words_of(trouble_kind x) {
  switch (x) {
    case trouble_kind::none:
      return "";
    case trouble_kind::throttled:
      return "the provider takes no more requests for now";
    case trouble_kind::missing:
      return "the provider has none, or does not keep it any more";
    case trouble_kind::forbidden:
      return "the provider does not let us read it";
    case trouble_kind::silent:
      return "the provider does not answer";
    case trouble_kind::failing:
      return "the provider could not answer";
    case trouble_kind::refused:
      return "the provider refused the question";
    case trouble_kind::slow:
      return "the provider takes too long to answer";
    case trouble_kind::secrets:
      return "the credentials that have to be taken out of it cannot be read";
  }
  return "";
}

/// Something that could not be read.
struct trouble {
  trouble_kind is = trouble_kind::none;
  /// It is too early for there to be anything: nothing to tell.
  bool quiet = false;
  timestamp at{};
  timestamp until{}; ///< No other try before.
};

/// Whether a deployment is still being made.
bool is_being_made(std::string_view status) {
  return read_status(status, false).is == status_meaning::in_progress;
}

/// Whether it has only just been asked for.
bool has_not_begun(std::string_view status) {
  return status.empty()
         || (is_being_made(status) && status != "BUILDING"
             && status != "DEPLOYING");
}

/// Whether nothing more will come of this source.
bool is_over(std::string_view status, log_source source) {
  if (source == log_source::build)
    return !status.empty() && !is_being_made(status);
  return status == "FAILED" || status == "SKIPPED" || status == "REMOVED";
}

const operation& query_of(log_source source) {
  return source == log_source::build ? read_build_logs : read_deploy_logs;
}

const operation& stream_of(log_source source) {
  return source == log_source::build ? follow_build_logs : follow_deploy_logs;
}

} // namespace

struct logbook_state::impl {
  // -- what there is
  // -----------------------------------------------------------------

  /// A lane on its way to be read.
  struct load {
    std::uint64_t serial = 0;
    window_search search{0, no_end, 0};
    std::size_t limit = 0; ///< Of one answer.
    timestamp began{};
    bool newest_only = false;
    bool asked_for_less = false;
    std::uint64_t joins = 0; ///< The stream that waits for it.
    withdrawal withdrawn;
    std::shared_ptr<const redactor> secrets;
  };

  /// The live stream of a lane.
  struct upstream {
    enum class phase : std::uint8_t {
      none,    ///< There is none.
      opening, ///< Connecting, or not yet accepted.
      joining, ///< It brings lines; the lane is read once more before them.
      live,    ///< The lane is as new as the stream.
    };
    phase at = phase::none;
    std::uint64_t serial = 0;
    std::shared_ptr<subscription> line;
    timestamp since{};
    std::vector<raw_line> early;
    unsigned tries = 0;
    timestamp next_try{};
  };

  struct lane {
    std::uint32_t id = 0;
    std::string deployment;
    log_source source = log_source::build;
    std::string service;
    std::string status;   ///< Of the deployment, as last seen.
    bool present = false; ///< Of the latest deployment of a service.
    std::optional<timestamp> over_since;
    bool final = false; ///< Everything is here that there will ever be.
    log_shelf shelf;
    search_memory memory;
    std::size_t limit = 0;
    std::optional<load> loading;
    std::optional<trouble> wrong;
    unsigned failures = 0;
    /// What the last look at the newest lines only found, and when.
    log_place newest{};
    timestamp newest_at{};
    upstream up;
    timestamp poll_at{};
    millis poll_pause{0};

    [[nodiscard]] bool is_live() const {
      return up.at == upstream::phase::live;
    }
  };

  enum class secrets_state : std::uint8_t { unknown, loading, known, broken };

  /// One subscription that somebody reads, or did so lately.
  struct subject {
    subscription_id id{};
    record_ptr about;
    timestamp used_at{};
    std::vector<std::uint64_t> readers;

    secrets_state secrets_are = secrets_state::unknown;
    std::shared_ptr<const redactor> secrets;

    std::map<std::uint32_t, lane> lanes;
    bool view_known = false;
    bool view_loading = false;
    timestamp view_began{}; ///< When the look under way did.
    timestamp view_at{};
    std::string view_of; ///< The environment, or the deployment.
    std::optional<trouble> view_wrong;
    unsigned view_failures = 0;

    bool events_loading = false;
    std::optional<errc> events_wrong;
    timestamp row_at{};
    bool row_loading = false;
  };

  struct reader {
    std::uint64_t serial = 0;
    subscription_id of{};
    bool build = true;
    bool deploy = true;
    bool event = true;
    log_cursor at;
    timestamp begun{};
    timestamp until{}; ///< Of its patience.

    // Our events, read ahead.
    std::deque<query::list_history::row> rows;
    std::int64_t rows_upto = 0;
    bool rows_more = true;

    // A query.
    log_query_ptr query;
    std::size_t limit = 0;
    log_page page;

    // A follower.
    log_follower_ptr follower;
    bool from_tail = false;
    bool lanes_met = false;        ///< It has seen which lanes there are.
    std::set<std::uint32_t> tails; ///< Lanes to begin at their newest lines.
    std::deque<log_line> late;
    timestamp heard_at{};
    bool busy_armed = false;

    [[nodiscard]] bool wants(const lane& x) const {
      return x.present && (x.source == log_source::build ? build : deploy);
    }

    [[nodiscard]] bool wants_provider() const {
      return build || deploy;
    }
  };

  logbook_actor::pointer self = nullptr;
  environment_ptr env;
  logbook_options options;
  std::unordered_map<std::uint64_t, std::unique_ptr<subject>> subjects;
  std::map<std::uint64_t, std::unique_ptr<reader>> readers;
  std::deque<std::pair<log_query_ptr, log_cursor>> waiting;
  std::deque<timestamp> waiting_since;
  std::size_t queries = 0;
  std::size_t followers = 0;
  std::uint64_t last_serial = 0;
  std::uint64_t last_stream = 0;
  bool tick_armed = false;
  bool turn_armed = false;
  alive_guard alive;

  // -- plumbing
  // ------------------------------------------------------------------------

  [[nodiscard]] timestamp now() const {
    return env->clock->now();
  }

  subject* find_subject(subscription_id id) {
    const auto found = subjects.find(raw(id));
    return found == subjects.end() ? nullptr : found->second.get();
  }

  reader* find_reader(std::uint64_t serial) {
    const auto found = readers.find(serial);
    return found == readers.end() ? nullptr : found->second.get();
  }

  lane* find_lane(subscription_id id, std::uint32_t which) {
    auto* s = find_subject(id);
    if (s == nullptr)
      return nullptr;
    const auto found = s->lanes.find(which);
    return found == s->lanes.end() ? nullptr : &found->second;
  }

  /// Something to be run inside of the actor. Nothing of it may be touched from
  /// other threads, so whatever comes from there goes through one of these.
  template <class F>
  static continuation make(F f) {
    return std::make_shared<std::function<void()>>(std::move(f));
  }

  template <class F>
  void later(millis after, F f) {
    self->delayed_send(self, std::max(after, millis{1}), make(std::move(f)));
  }

  void arm_tick() {
    if (!std::exchange(tick_armed, true))
      self->delayed_send(self, tick_interval, tick{});
  }

  template <class Query, class F>
  void ask_store(subscription_id of, Query what, F next) {
    using reply = typename job<Query>::reply;
    self->send(env->store_of(of),
               make_job(std::move(what), [me = logbook_actor{self},
                                          next = std::move(next)](reply got) {
                 auto shared = std::make_shared<reply>(std::move(got));
                 caf::anon_send(me, make([next, shared] {
                                  next(*shared);
                                }));
               }));
  }

  template <class F>
  void ask_provider(const operation& what, json::object variables,
                    withdrawal withdrawn, F next) {
    auto x = std::make_shared<call>();
    x->field = what.field;
    x->document = what.document;
    x->variables = std::move(variables);
    x->how = urgency::reader;
    x->timeout = options.call_timeout;
    x->expires = now() + options.call_wait;
    x->withdrawn = std::move(withdrawn);
    x->done = [me = logbook_actor{self}, next = std::move(next)](answer got) {
      auto shared = std::make_shared<answer>(std::move(got));
      caf::anon_send(me, make([next, shared] {
                       next(*shared);
                     }));
    };
    self->send(options.caller(), std::move(x));
  }

  // -- readers come and go
  // -------------------------------------------------------------

  void receive(log_query_ptr what) {
    const auto from = read_cursor(*what);
    if (!from) {
      what->done(tl::unexpected{errc::invalid_cursor});
      return;
    }
    if (queries < options.queries_max) {
      begin(std::move(what), *from, now());
      return;
    }
    if (waiting.size() >= options.queries_waiting_max) {
      env->metrics->shed("log_queries");
      what->done(tl::unexpected{errc::overloaded});
      return;
    }
    waiting.emplace_back(std::move(what), *from);
    waiting_since.push_back(now());
    arm_tick();
  }

  void receive(log_follower_ptr what) {
    const auto from = read_cursor(what->from);
    if (!from) {
      what->from.done(tl::unexpected{errc::invalid_cursor});
      return;
    }
    auto& s = subject_of(what->from.subject);
    auto same = std::size_t{0};
    for (const auto x : s.readers)
      same += find_reader(x)->follower ? 1 : 0;
    if (followers >= options.followers_max
        || same >= options.followers_each_max) {
      env->metrics->shed("log_followers");
      what->from.done(tl::unexpected{errc::overloaded});
      return;
    }
    auto& r = add_reader(s, what->from, *from);
    r.from_tail = what->from.cursor.empty();
    r.until = r.begun + follower_patience;
    r.heard_at = r.begun;
    r.follower = std::move(what);
    ++followers;
    if (!r.follower->beat()) {
      remove(s, r);
      return;
    }
    pump(s, r);
  }

  static std::optional<log_cursor> read_cursor(const log_query& what) {
    if (what.cursor.empty())
      return log_cursor{};
    return decode_log_cursor(what.cursor, what.subject->id);
  }

  void begin(log_query_ptr what, const log_cursor& from, timestamp since) {
    ++queries;
    auto& s = subject_of(what->subject);
    auto& r = add_reader(s, *what, from);
    r.limit = std::max(what->limit, std::size_t{1});
    r.until = since + options.query_patience;
    r.query = std::move(what);
    pump(s, r);
  }

  subject& subject_of(const record_ptr& about) {
    auto& found = subjects[raw(about->id)];
    if (!found) {
      make_room();
      // Making room may have moved things, but never drops what it does not
      // know yet.
      auto& fresh = subjects[raw(about->id)];
      fresh = std::make_unique<subject>();
      fresh->id = about->id;
      fresh->about = about;
      fresh->row_at = now();
      fresh->used_at = now();
      return *fresh;
    }
    take_over(*found, about);
    found->used_at = now();
    return *found;
  }

  void make_room() {
    while (subjects.size() > subjects_max) {
      auto oldest = subjects.end();
      for (auto i = subjects.begin(); i != subjects.end(); ++i)
        if (i->second && i->second->readers.empty()
            && (oldest == subjects.end()
                || i->second->used_at < oldest->second->used_at))
          oldest = i;
      if (oldest == subjects.end())
        return;
      subjects.erase(oldest);
    }
  }

  reader&
  add_reader(subject& s, const log_query& what, const log_cursor& from) {
    auto made = std::make_unique<reader>();
    made->serial = ++last_serial;
    made->of = s.id;
    made->build = what.build;
    made->deploy = what.deploy;
    made->event = what.event;
    made->at = from;
    made->rows_upto = from.event;
    made->begun = now();
    s.readers.push_back(made->serial);
    arm_tick();
    return *readers.emplace(made->serial, std::move(made)).first->second;
  }

  void remove(subject& s, reader& r) {
    const auto was_query = r.query != nullptr;
    if (r.follower)
      --followers;
    std::erase(s.readers, r.serial);
    s.used_at = now();
    readers.erase(r.serial);
    withdraw_unread(s);
    if (was_query) {
      --queries;
      if (!waiting.empty() && !std::exchange(turn_armed, true))
        self->send(self, make([this] {
                     turn_armed = false;
                     begin_waiting();
                   }));
    } else {
      look_after_streams(s);
    }
  }

  void begin_waiting() {
    while (!waiting.empty() && queries < options.queries_max) {
      auto [what, from] = std::move(waiting.front());
      const auto since = waiting_since.front();
      waiting.pop_front();
      waiting_since.pop_front();
      begin(std::move(what), from, since);
    }
  }

  /// Calls that nobody waits for any more need not be made.
  void withdraw_unread(subject& s) {
    for (auto& [id, x] : s.lanes)
      if (x.loading && !is_wanted(s, x))
        x.loading->withdrawn->store(true);
  }

  bool is_wanted(subject& s, const lane& x) {
    return std::any_of(s.readers.begin(), s.readers.end(),
                       [&](std::uint64_t serial) {
                         return find_reader(serial)->wants(x);
                       });
  }

  bool is_followed(subject& s, const lane& x) {
    return std::any_of(s.readers.begin(), s.readers.end(),
                       [&](std::uint64_t serial) {
                         const auto* r = find_reader(serial);
                         return r->follower && r->wants(x);
                       });
  }

  bool has_followers(subject& s) {
    return std::any_of(s.readers.begin(), s.readers.end(),
                       [&](std::uint64_t serial) {
                         return find_reader(serial)->follower != nullptr;
                       });
  }

  // -- what the row says
  // ---------------------------------------------------------------

  void take_over(subject& s, const record_ptr& about) {
    if (about->state.revision < s.about->state.revision)
      return;
    const auto& was = s.about->state;
    const auto& is = about->state;
    if (is.instance.seq != was.instance.seq
        || is.instance.environment_id != was.instance.environment_id
        || is.deployment.deployment_id != was.deployment.deployment_id
        || is.deployment.attempt != was.deployment.attempt
        || lifecycle::is_settled(is.deployment.at)
             != lifecycle::is_settled(was.deployment.at))
      s.view_at = timestamp{}; // To be looked at anew.
    s.about = about;
  }

  void read_row(subject& s) {
    if (s.row_loading || now() < s.row_at + options.row_interval)
      return;
    s.row_loading = true;
    ask_store(s.id, query::find_record{s.id},
              [this, id = s.id](const job<query::find_record>::reply& got) {
                auto* s = find_subject(id);
                if (s == nullptr)
                  return;
                s->row_loading = false;
                s->row_at = now();
                if (!got)
                  return; // The store has said why; there is another time.
                take_over(*s, std::make_shared<const record>(got->value));
                wake(*s);
              });
  }

  // -- secrets
  // ------------------------------------------------------------------------

  void read_secrets(subject& s) {
    if (s.secrets_are == secrets_state::loading)
      return;
    s.secrets_are = secrets_state::loading;
    ask_store(
      s.id, query::list_credentials{s.id},
      [this, id = s.id](const job<query::list_credentials>::reply& got) {
        auto* s = find_subject(id);
        if (s == nullptr)
          return;
        if (got) {
          learn_secrets(*s, *got);
          wake(*s);
          return;
        }
        s->secrets_are = secrets_state::unknown;
        s->events_wrong = got.error();
        wake(*s);
      });
  }

  void learn_secrets(subject& s, const std::vector<sealed_credential>& sealed) {
    auto all = std::vector<std::string>{};
    all.push_back(options.settings.token.reveal());
    all.push_back(options.settings.webhook_secret.reveal());
    auto together = json::object{};
    auto broken = false;
    for (const auto& x : sealed) {
      const auto opened
        = options.keys->open({x.key_id, x.nonce, x.ciphertext},
                             to_text(s.id) + "/" + x.channel_type);
      if (!opened) {
        log::about{s.id}.actor(name).error("logbook: credential {}: {}",
                                           x.channel_type, opened.error());
        broken = true;
        continue;
      }
      collect_secrets(*opened, all);
      auto error = boost::system::error_code{};
      together[x.channel_type] = json::parse(*opened, error, {}, deep_enough());
    }
    // As CHANNEL_CREDENTIALS holds them.
    if (!together.empty())
      all.push_back(json::serialize(together));
    s.secrets = std::make_shared<const redactor>(all);
    s.secrets_are = broken ? secrets_state::broken : secrets_state::known;
  }

  // -- which lanes there are
  // -----------------------------------------------------------

  [[nodiscard]] static std::string view_key(const subject& s) {
    const auto& i = s.about->state.instance;
    if (i.status == lifecycle::instance_status::deleted)
      return {};
    return !i.environment_id.empty() ? i.environment_id
                                     : s.about->state.deployment.deployment_id;
  }

  [[nodiscard]] bool is_busy(const subject& s) const {
    return !lifecycle::is_settled(s.about->state.deployment.at);
  }

  /// @returns whether the lanes are known as well as they can be now.
  bool see_lanes(subject& s, const reader& r) {
    const auto key = view_key(s);
    if (key.empty()) {
      show_lanes(s, {});
      return true;
    }
    if (s.about->state.instance.environment_id.empty()) {
      fall_back(s);
      return true;
    }
    const auto ttl = is_busy(s) ? view_ttl_busy : view_ttl_settled;
    if (s.view_known && s.view_of == key && now() < s.view_at + ttl)
      return true;
    if (!s.view_loading && s.view_wrong
        && (now() < s.view_wrong->until
            || (r.query && s.view_wrong->at >= r.begun))) {
      fall_back(s);
      return true;
    }
    read_view(s, key);
    // Whoever follows goes on with what was known so far.
    return r.follower && r.lanes_met && s.view_of == key;
  }

  void read_view(subject& s, const std::string& key) {
    if (s.view_loading)
      return;
    s.view_loading = true;
    s.view_began = now();
    ask_provider(read_environment, {{"id", key}}, nullptr,
                 [this, id = s.id, key](const answer& got) {
                   if (auto* s = find_subject(id))
                     view_read(*s, key, got);
                 });
  }

  void view_read(subject& s, const std::string& key, const answer& got) {
    s.view_loading = false;
    const auto& environment = value_at(got.data, "environment");
    if (got.is == answer_class::ok && environment.is_object()) {
      s.view_wrong.reset();
      s.view_failures = 0;
      s.view_known = true;
      s.view_at = now();
      s.view_of = key;
      show_lanes(s, services_of(environment));
      look_after_streams(s);
    } else {
      s.view_wrong = fail(s, "environment", s.view_wrong, s.view_failures, got);
      // Where there is no service yet, there is nothing to miss.
      s.view_wrong->quiet = has_no_services_yet(s);
    }
    wake(s);
  }

  static bool has_no_services_yet(const subject& s) {
    return lifecycle::holds_slot(s.about->state.deployment.at)
           && s.about->state.deployment.deployment_id.empty();
  }

  /// The environment cannot be read: what was known, or what the row says.
  void fall_back(subject& s) {
    if (s.view_known && s.view_of == view_key(s))
      return;
    const auto& d = s.about->state.deployment;
    if (d.deployment_id.empty()) {
      show_lanes(s, {});
      return;
    }
    auto x = service_view{};
    x.id = s.about->state.instance.service_id;
    x.name = s.about->state.instance.service_name;
    x.deployment_id = d.deployment_id;
    x.status = is_busy(s) ? "BUILDING" : "SUCCESS";
    show_lanes(s, {x});
  }

  void show_lanes(subject& s, const std::vector<service_view>& services) {
    for (auto& [id, x] : s.lanes)
      x.present = false;
    for (const auto& service : services) {
      if (service.deployment_id.empty())
        continue;
      for (const auto source : {log_source::build, log_source::deploy}) {
        const auto id = log_lane_id(service.deployment_id, source);
        auto& x = s.lanes[id];
        if (x.deployment.empty()) {
          x.id = id;
          x.deployment = service.deployment_id;
          x.source = source;
          x.limit = options.answer_lines_max;
          x.poll_pause = options.poll_interval;
        }
        x.present = true;
        x.service = service.name;
        x.status = service.status;
        if (!is_over(service.status, source)) {
          x.over_since.reset();
          x.final = false;
        } else if (!x.over_since) {
          x.over_since = now();
        }
      }
    }
    for (auto& [id, x] : s.lanes)
      if (!x.present)
        hang_up(x);
    // Of deployments that are gone nobody reads any more.
    std::erase_if(s.lanes, [](const auto& x) {
      return !x.second.present && !x.second.loading;
    });
  }

  // -- reading a lane
  // ------------------------------------------------------------------

  /// Has the lines from some time on read, up to a known window or the present.
  void
  load_lane(subject& s, lane& x, nanos from, nanos until, bool newest_only) {
    if (x.loading || s.secrets_are != secrets_state::known)
      return;
    auto l = load{};
    l.serial = ++last_serial;
    l.began = now();
    l.newest_only = newest_only;
    l.withdrawn = std::make_shared<std::atomic<bool>>(false);
    l.secrets = s.secrets;
    if (x.up.at == upstream::phase::joining)
      l.joins = x.up.serial;
    l.limit = newest_only ? options.tail_lines : x.limit;
    const auto begin = to_nanos(s.about->state.instance.created_at);
    const auto floor = std::max(begin - floor_margin, nanos{0});
    l.search = newest_only ? window_search{0, no_end, l.limit}
                           : window_search{from,  until,    l.limit,
                                           floor, x.memory, to_nanos(now())};
    x.loading = std::move(l);
    ask_lines(s, x);
  }

  /// Has what is new behind a lane's last line read.
  void extend(subject& s, lane& x) {
    const auto* tail = x.shelf.tail();
    if (tail == nullptr) {
      load_lane(s, x, 0, no_end, true);
      return;
    }
    if (x.loading || s.secrets_are != secrets_state::known)
      return;
    const auto from
      = tail->lines().empty()
          ? tail->begin()
          : std::max(tail->begin(), tail->lines().back().at - unsettled_span);
    load_lane(s, x, from, no_end, false);
    // A guess has no place here: it is all or nothing.
    if (x.loading)
      x.loading->search = window_search{from, no_end, x.limit};
  }

  void ask_lines(subject& s, lane& x) {
    const auto q = x.loading->search.question();
    auto variables = json::object{{"id", x.deployment}, {"limit", q.limit}};
    if (q.start)
      variables["start"] = to_rfc3339(*q.start);
    if (q.end)
      variables["end"] = to_rfc3339(*q.end);
    ask_provider(query_of(x.source), std::move(variables), x.loading->withdrawn,
                 [this, id = s.id, which = x.id,
                  serial = x.loading->serial](const answer& got) {
                   auto* s = find_subject(id);
                   auto* x = find_lane(id, which);
                   if (x != nullptr && x->loading
                       && x->loading->serial == serial)
                     lines_read(*s, *x, got);
                 });
  }

  void lines_read(subject& s, lane& x, const answer& got) {
    auto& l = *x.loading;
    const auto& list = value_at(got.data, query_of(x.source).field);
    if (got.is != answer_class::ok || !list.is_array()) {
      if (l.withdrawn->load()) {
        // Somebody may have come after everybody had gone.
        x.loading.reset();
        wake(s);
        return;
      }
      // Perhaps it was more than we take: then less will do.
      if (got.is == answer_class::in_doubt && !l.asked_for_less
          && l.limit > options.answer_lines_less) {
        l.asked_for_less = true;
        l.limit = options.answer_lines_less;
        if (!l.newest_only)
          x.limit = l.limit;
        l.search = window_search{l.search.from(), l.search.until(), l.limit};
        ask_lines(s, x);
        return;
      }
      lines_failed(s, x, got);
      return;
    }
    const auto lines = read_log_answer(list, *l.secrets);
    x.wrong.reset();
    x.failures = 0;
    auto late = std::vector<log_place>{};
    const auto put = [&](nanos from, nanos until) {
      for (const auto p : x.shelf.put(from, until, lines.lines, now()))
        late.push_back(p);
    };
    const auto before = end_of(x);
    if (l.newest_only) {
      const auto full = lines.messages >= l.limit;
      const auto from = !full                          ? nanos{0}
                        : lines.oldest == lines.newest ? lines.oldest
                                                       : lines.oldest + 1;
      put(from, no_end);
      x.newest = {from, 0};
      x.newest_at = now();
    } else {
      const auto found = l.search.learn(lines);
      if (l.search.tail())
        put(*l.search.tail(), no_end);
      if (!found) {
        hand_on_late(s, x, late);
        ask_lines(s, x);
        return;
      }
      if (l.search.gave_up())
        log::about{s.id}.actor(name).warn(
          "logbook: {}: more lines within a millisecond than can be read",
          x.deployment);
      l.search.teach(x.memory);
      put(l.search.from(), l.search.until());
    }
    // Only what reaches up to the present can meet a stream.
    const auto joins
      = l.newest_only || l.search.until() == no_end ? l.joins : 0;
    x.loading.reset();
    hand_on_late(s, x, late);
    if (end_of(x) != before)
      x.poll_pause = options.poll_interval;
    else
      x.poll_pause = std::min(x.poll_pause + options.poll_interval,
                              5 * options.poll_interval);
    x.poll_at = now() + (x.is_live() ? options.check_interval : x.poll_pause);
    const auto* tail = x.shelf.tail();
    if (x.over_since && now() >= *x.over_since + over_grace && tail != nullptr
        && tail->filled_at >= *x.over_since + over_grace)
      x.final = true;
    if (joins != 0)
      join(s, x, joins);
    // It was under way already when the stream began.
    else if (x.up.at == upstream::phase::joining)
      extend(s, x);
    wake(s);
  }

  static log_place end_of(lane& x) {
    const auto* tail = x.shelf.tail();
    if (tail == nullptr || tail->lines().empty())
      return {};
    return tail->lines().back().place();
  }

  void lines_failed(subject& s, lane& x, const answer& got) {
    x.loading.reset();
    x.wrong = fail(s, query_of(x.source).field, x.wrong, x.failures, got);
    // Before a deployment has begun, and of a deploy log before there is
    // something to run, there may well be none.
    x.wrong->quiet
      = (x.wrong->is == trouble_kind::missing
         || x.wrong->is == trouble_kind::failing)
        && (has_not_begun(x.status)
            || (x.source == log_source::deploy && is_being_made(x.status)));
    x.poll_at = x.wrong->until;
    wake(s);
  }

  trouble
  fail(const subject& s, const char* what, const std::optional<trouble>& before,
       unsigned& failures, const answer& got) {
    auto out = trouble{};
    out.is = kind_of(got.is);
    out.at = now();
    const auto pause = std::min(
      trouble_pause * (1U << std::min(failures++, 8U)), trouble_pause_max);
    out.until = out.at + std::max(pause, got.retry_after);
    // Once for each reason, not once for each try.
    if (!before || before->is != out.is)
      log::about{s.id}.actor(name).write(
        out.is == trouble_kind::refused ? spdlog::level::warn
                                        : spdlog::level::info,
        "logbook: {}: {}: {}", what, to_string(got.is), got.message);
    return out;
  }

  /// Lines that stand before others that a follower has seen already: it gets
  /// them out of turn, for otherwise it would never see them.
  void hand_on_late(subject& s, lane& x, const std::vector<log_place>& late) {
    for (const auto& place : late) {
      auto behind = place;
      --behind.count;
      const auto found = x.shelf.find(behind, now());
      if (found.line == nullptr || found.line->place() != place)
        continue;
      for (const auto serial : s.readers) {
        auto* r = find_reader(serial);
        const auto at = r->at.lanes.find(x.id);
        if (r->follower && r->wants(x) && at != r->at.lanes.end()
            && place <= at->second && r->late.size() < late_max)
          r->late.push_back(make_line(s, x, *found.line));
      }
    }
  }

  // -- live streams
  // --------------------------------------------------------------------

  [[nodiscard]] std::size_t streams() const {
    auto n = std::size_t{0};
    for (const auto& [id, s] : subjects)
      for (const auto& [which, x] : s->lanes)
        n += x.up.at != upstream::phase::none ? 1 : 0;
    return n;
  }

  /// Opens what is followed, closes what is not.
  void look_after_streams(subject& s) {
    for (auto& [id, x] : s.lanes) {
      const auto wanted = !x.over_since && is_followed(s, x);
      if (!wanted) {
        hang_up(x);
        continue;
      }
      if (x.up.at == upstream::phase::none && options.sockets
          && s.secrets_are == secrets_state::known && now() >= x.up.next_try
          && streams() < options.streams_max)
        dial(s, x);
    }
  }

  void dial(subject& s, lane& x) {
    auto& up = x.up;
    up.at = upstream::phase::opening;
    up.serial = ++last_stream;
    up.since = now();
    up.early.clear();
    auto what = subscription_request{};
    what.endpoint = options.settings.endpoint;
    what.token = options.settings.token.reveal();
    what.document = stream_of(x.source).document;
    what.variables = {{"id", x.deployment}, {"limit", stream_backlog}};
    const auto me = logbook_actor{self};
    // Runs `f(subject&, lane&)` if the stream is still the lane's own.
    const auto inside
      = [this, me, id = s.id, which = x.id, serial = up.serial](auto f) {
          caf::anon_send(me, make([this, id, which, serial, f] {
                           auto* s = find_subject(id);
                           auto* x = find_lane(id, which);
                           if (x != nullptr && x->up.serial == serial
                               && x->up.at != upstream::phase::none)
                             f(*s, *x);
                         }));
        };
    up.line = subscribe(
      *options.sockets, std::move(what),
      {[this, inside] {
         inside([this](subject& s, lane& x) {
           stream_started(s, x);
         });
       },
       [this, inside](json::value data) {
         auto shared = std::make_shared<json::value>(std::move(data));
         inside([this, shared](subject& s, lane& x) {
           stream_brought(s, x, *shared);
         });
       },
       [this, inside](subscription_end how, const std::string& why) {
         inside([this, how, why](subject& s, lane& x) {
           stream_ended(s, x, how, why);
         });
       }});
  }

  void hang_up(lane& x) {
    if (x.up.at == upstream::phase::none)
      return;
    x.up.at = upstream::phase::none;
    x.up.line.reset();
    x.up.early.clear();
    // From here on polling has to do, beginning with what came at the end.
    x.poll_pause = options.poll_interval;
    x.poll_at = std::min(x.poll_at, now() + options.poll_interval);
  }

  /// From now on every line comes; those before have to be read.
  void stream_started(subject& s, lane& x) {
    x.up.at = upstream::phase::joining;
    if (!x.loading)
      extend(s, x);
  }

  void stream_brought(subject& s, lane& x, const json::value& data) {
    auto lines
      = read_log_answer(value_at(data, stream_of(x.source).field), *s.secrets)
          .lines;
    if (!x.is_live()) {
      auto& early = x.up.early;
      std::move(lines.begin(), lines.end(), std::back_inserter(early));
      if (early.size() > early_lines_max)
        stream_ended(s, x, subscription_end::lost, "too much at once");
      else
        x.up.line->taken();
      return;
    }
    add_live(s, x, std::move(lines), true);
    x.up.line->taken();
    wake(s);
  }

  /// The lane has been read once more after the stream began: between what is
  /// known and what the stream brings there is no gap.
  void join(subject& s, lane& x, std::uint64_t stream) {
    if (x.up.serial != stream || x.up.at != upstream::phase::joining)
      return;
    x.up.at = upstream::phase::live;
    x.up.since = now();
    x.poll_at = now() + options.check_interval;
    add_live(s, x, std::exchange(x.up.early, {}), false);
  }

  void
  add_live(subject& s, lane& x, std::vector<raw_line> lines, bool settled) {
    auto* tail = x.shelf.tail();
    if (tail == nullptr)
      return; // Evicted: it is read again when somebody wants it.
    auto late = std::vector<log_place>{};
    for (auto& line : lines) {
      auto place = log_place{};
      if (tail->add_live(std::move(line), x.up.serial, settled, place)
          == log_window::live::late)
        late.push_back(place);
    }
    tail->filled_at = now();
    tail->used_at = now();
    x.poll_at = now() + options.check_interval;
    hand_on_late(s, x, late);
  }

  void stream_ended(subject& s, lane& x, subscription_end how,
                    const std::string& why) {
    auto& up = x.up;
    if (up.at == upstream::phase::live && now() >= up.since + good_stream)
      up.tries = 0;
    const auto first = up.tries == 0;
    ++up.tries;
    if (how == subscription_end::refused || up.tries >= options.stream_tries) {
      up.tries = 0;
      up.next_try = now() + options.stream_pause;
    } else {
      up.next_try
        = now()
          + std::min(1'000ms * (1U << std::min(up.tries - 1, 3U)), 8'000ms);
    }
    if (first || up.tries == 0)
      log::about{s.id}.actor(name).info("logbook: {} stream of {}: {}: {}",
                                        query_of(x.source).field, x.deployment,
                                        to_string(how), why);
    hang_up(x);
    if (how == subscription_end::complete)
      s.view_at = timestamp{};
    wake(s);
  }

  /// Has followed lanes read that no stream keeps up to date, and now and then
  /// those that one does.
  void poll(subject& s) {
    for (auto& [id, x] : s.lanes)
      if (!x.final && !x.loading && now() >= x.poll_at && is_followed(s, x)
          && x.shelf.tail() != nullptr)
        extend(s, x);
  }

  // -- our own events
  // ------------------------------------------------------------------

  /// One query for all readers of a subscription.
  void read_events(subject& s) {
    if (s.events_loading)
      return;
    auto after = std::optional<std::int64_t>{};
    for (const auto serial : s.readers) {
      const auto* r = find_reader(serial);
      if (r->event && (r->follower || r->rows_more)
          && r->rows.size() < event_rows_kept)
        after = std::min(after.value_or(r->rows_upto), r->rows_upto);
    }
    if (!after)
      return;
    s.events_loading = true;
    ask_store(s.id, query::list_history{s.id, *after, event_rows_max},
              [this, id = s.id,
               after = *after](const job<query::list_history>::reply& got) {
                if (auto* s = find_subject(id))
                  events_read(*s, after, got);
              });
  }

  void events_read(subject& s, std::int64_t after,
                   const job<query::list_history>::reply& got) {
    s.events_loading = false;
    s.events_wrong.reset();
    if (!got) {
      s.events_wrong = got.error();
      wake(s);
      return;
    }
    const auto full = got->size() == event_rows_max;
    for (const auto serial : s.readers) {
      auto* r = find_reader(serial);
      // Who came meanwhile and begins earlier has to wait for the next one.
      if (!r->event || r->rows_upto < after)
        continue;
      auto stopped = false;
      for (const auto& row : *got) {
        if (row.id <= r->rows_upto)
          continue;
        if (r->rows.size() >= event_rows_kept) {
          stopped = true;
          break;
        }
        r->rows.push_back(row);
        r->rows_upto = row.id;
      }
      r->rows_more = full || stopped;
    }
    wake(s);
  }

  // -- merging
  // -------------------------------------------------------------------------

  /// What comes next for a reader.
  struct head {
    enum class kind : std::uint8_t { line, wait, end } is = kind::end;
    lane* from = nullptr; ///< Null: an event.
    const kept_line* line = nullptr;
  };

  head head_of(subject& s, reader& r, lane& x) {
    using kind = head::kind;
    const auto wrong = [&] {
      return x.wrong
             && (now() < x.wrong->until || (r.query && x.wrong->at >= r.begun));
    };
    if (r.tails.count(x.id) != 0) {
      if (!place_at_tail(s, r, x))
        return {wrong() ? kind::end : kind::wait, nullptr, nullptr};
      r.tails.erase(x.id);
    }
    const auto place = r.at.lanes[x.id];
    const auto found = x.shelf.find(place, now());
    if (found.line != nullptr)
      return {kind::line, &x, found.line};
    if (found.tail != nullptr) {
      if (x.final || x.is_live() || r.follower
          || found.tail->filled_at + options.fresh_for >= r.begun)
        return {kind::end, nullptr, nullptr};
      if (wrong())
        return {kind::end, nullptr, nullptr};
      extend(s, x);
      return {kind::wait, nullptr, nullptr};
    }
    if (wrong())
      return {kind::end, nullptr, nullptr};
    load_lane(s, x, found.from, found.until, false);
    return {kind::wait, nullptr, nullptr};
  }

  /// Finds where the newest lines of a lane begin.
  /// @returns false while that has to be read.
  bool place_at_tail(subject& s, reader& r, lane& x) {
    if (x.newest_at != timestamp{} && now() < x.newest_at + 10s) {
      r.at.lanes[x.id] = x.newest;
      return true;
    }
    const auto* tail = x.shelf.tail();
    if (tail != nullptr
        && (tail->begin() == 0 || tail->lines().size() >= options.tail_lines)) {
      const auto& lines = tail->lines();
      r.at.lanes[x.id]
        = lines.size() > options.tail_lines
            ? lines[lines.size() - options.tail_lines - 1].place()
            : log_place{tail->begin(), 0};
      return true;
    }
    if (!x.wrong || now() >= x.wrong->until)
      load_lane(s, x, 0, no_end, true);
    return false;
  }

  head peek(subject& s, reader& r) {
    using kind = head::kind;
    auto out = head{};
    auto waits = false;
    const auto patient = now() < r.until;
    if (r.wants_provider() && s.secrets_are == secrets_state::known)
      for (auto& [id, x] : s.lanes) {
        if (!r.wants(x))
          continue;
        const auto next = head_of(s, r, x);
        if (next.is == kind::wait)
          waits = waits || patient;
        else if (next.is == kind::line
                 && (out.is == kind::end
                     || std::pair{next.line->at, x.source}
                          < std::pair{out.line->at, out.from->source}))
          out = next;
      }
    if (r.event) {
      if (r.rows.empty() && r.rows_more && !s.events_wrong) {
        read_events(s);
        waits = waits || patient || r.query;
      }
      if (!r.rows.empty()
          && (out.is == kind::end
              || to_nanos(r.rows.front().entry.at) < out.line->at))
        out = {kind::line, nullptr, nullptr};
    }
    if (waits)
      return {kind::wait, nullptr, nullptr};
    return out;
  }

  [[nodiscard]] static bool has_several_services(const subject& s) {
    const std::string* first = nullptr;
    for (const auto& [id, x] : s.lanes) {
      if (!x.present || x.source != log_source::deploy)
        continue;
      if (first != nullptr && *first != x.deployment)
        return true;
      first = &x.deployment;
    }
    return false;
  }

  static log_line
  make_line(const subject& s, const lane& x, const kept_line& from) {
    auto out = log_line{};
    out.at = nanos_to_text(from.at);
    out.source = x.source;
    out.level = from.level;
    out.message = has_several_services(s) && !x.service.empty()
                    ? x.service + " | " + from.text
                    : from.text;
    return out;
  }

  log_line make_line(const subject& s, const query::list_history::row& row) {
    auto out = log_line{};
    out.at = to_rfc3339(row.entry.at);
    out.source = log_source::event;
    out.level = level_of(row.entry);
    const auto known = s.secrets ? s.secrets : std::make_shared<redactor>();
    for (const auto& x : make_log_lines(row.entry.summary, *known))
      out.message += (out.message.empty() ? "" : " ") + x;
    return out;
  }

  /// Takes what `peek` has found.
  log_line take(subject& s, reader& r, const head& next) {
    if (next.from != nullptr) {
      auto out = make_line(s, *next.from, *next.line);
      r.at.lanes[next.from->id] = next.line->place();
      return out;
    }
    auto out = make_line(s, r.rows.front());
    r.at.event = r.rows.front().id;
    r.rows.pop_front();
    return out;
  }

  [[nodiscard]] std::string cursor_of(const reader& r) const {
    return encode_log_cursor(r.at, r.of);
  }

  // -- telling of trouble
  // --------------------------------------------------------------

  /// What a reader has to know of; `none` when all is well, or nothing is to be
  /// expected yet.
  trouble_kind trouble_of(subject& s, const reader& r) {
    if (!r.wants_provider() || view_key(s).empty())
      return trouble_kind::none;
    if (s.secrets_are == secrets_state::broken)
      return trouble_kind::secrets;
    if (s.view_wrong)
      return s.view_wrong->quiet ? trouble_kind::none : s.view_wrong->is;
    // What a query has not been told by the end of its patience, and what a
    // follower has waited for as long.
    const auto slow = [&](timestamp since) {
      return r.query ? now() >= r.until : now() >= since + follower_patience;
    };
    if (s.view_loading && !s.view_known && slow(s.view_began))
      return trouble_kind::slow;
    for (const auto& [id, x] : s.lanes) {
      if (!r.wants(x) || x.final || x.is_live())
        continue;
      if (x.wrong && !x.wrong->quiet)
        return x.wrong->is;
      if (x.loading && (r.query || x.shelf.empty()) && slow(x.loading->began))
        return trouble_kind::slow;
    }
    return trouble_kind::none;
  }

  log_line make_trouble(const reader& r, trouble_kind what) {
    auto out = log_line{};
    out.at = to_rfc3339(now());
    out.source = log_source::event;
    out.level = "warn";
    out.message = "The provider's ";
    out.message += r.build && r.deploy ? "build and deploy log"
                   : r.build           ? "build log"
                                       : "deploy log";
    out.message += " cannot be read now: ";
    out.message += words_of(what);
    return out;
  }

  // -- serving readers
  // -----------------------------------------------------------------

  void wake(subject& s) {
    const auto all = s.readers;
    for (const auto serial : all)
      if (auto* r = find_reader(serial))
        pump(s, *r);
  }

  /// Goes on with a reader as far as is possible now. Ends queries.
  void pump(subject& s, reader& r) {
    if (!prepare(s, r))
      return;
    if (r.follower)
      serve(s, r);
    else
      fill(s, r);
  }

  /// @returns whether it is known what there is to be read.
  bool prepare(subject& s, reader& r) {
    const auto patient = now() < r.until;
    if (s.secrets_are == secrets_state::unknown && !s.events_wrong)
      read_secrets(s);
    if (s.secrets_are == secrets_state::loading)
      return false;
    if (r.query && s.events_wrong) {
      // Our own store is down: there is nothing to make do with.
      const auto why = *s.events_wrong;
      s.events_wrong.reset();
      refuse_query(s, r, why);
      return false;
    }
    if (!r.wants_provider() || s.secrets_are != secrets_state::known)
      return s.secrets_are != secrets_state::unknown;
    if (!see_lanes(s, r) && patient)
      return false;
    if (r.follower && !r.lanes_met) {
      r.lanes_met = true;
      // What comes to be later begins at its beginning.
      if (r.from_tail)
        for (const auto& [id, x] : s.lanes)
          if (x.present)
            r.tails.insert(id);
      look_after_streams(s);
    }
    return true;
  }

  void refuse_query(subject& s, reader& r, errc why) {
    const auto query = r.query;
    remove(s, r);
    query->done(tl::unexpected{why});
  }

  void fill(subject& s, reader& r) {
    using kind = head::kind;
    for (;;) {
      const auto next = peek(s, r);
      if (s.events_wrong && r.event) {
        const auto why = *s.events_wrong;
        s.events_wrong.reset();
        refuse_query(s, r, why);
        return;
      }
      if (next.is == kind::wait)
        return;
      if (next.is == kind::end) {
        finish(s, r, false);
        return;
      }
      if (r.page.lines.size() == r.limit) {
        finish(s, r, true);
        return;
      }
      r.page.lines.push_back(take(s, r, next));
    }
  }

  void finish(subject& s, reader& r, bool more) {
    if (!more) {
      const auto wrong = trouble_of(s, r);
      const auto told = static_cast<std::uint8_t>(wrong);
      if (wrong == trouble_kind::none) {
        r.at.told = 0;
      } else if (r.at.told != told) {
        // It is a line like any other, and may be the first of a next page.
        more = r.page.lines.size() == r.limit;
        if (!more) {
          r.at.told = told;
          r.page.lines.push_back(make_trouble(r, wrong));
        }
      }
    }
    r.page.tail_cursor = cursor_of(r);
    if (more)
      r.page.next_cursor = r.page.tail_cursor;
    const auto query = r.query;
    auto page = std::move(r.page);
    remove(s, r);
    query->done(std::move(page));
  }

  void serve(subject& s, reader& r) {
    using kind = head::kind;
    for (auto turn = 0;; ++turn) {
      if (turn == turn_lines) {
        come_back(r, millis{1});
        return;
      }
      const auto state = r.follower->state();
      if (state == follower_state::gone) {
        remove(s, r);
        return;
      }
      if (state == follower_state::busy) {
        come_back(r, busy_pause);
        return;
      }
      auto line = log_line{};
      if (!r.late.empty()) {
        line = std::move(r.late.front());
        r.late.pop_front();
      } else if (const auto next = peek(s, r); next.is == kind::line) {
        line = take(s, r, next);
      } else if (next.is == kind::wait || !tell_trouble(s, r, line)) {
        return;
      }
      line.cursor = cursor_of(r);
      r.heard_at = now();
      if (!r.follower->take(line)) {
        remove(s, r);
        return;
      }
    }
  }

  bool tell_trouble(subject& s, reader& r, log_line& line) {
    const auto wrong = trouble_of(s, r);
    const auto told = static_cast<std::uint8_t>(wrong);
    if (r.at.told == told)
      return false;
    r.at.told = told;
    if (wrong == trouble_kind::none)
      return false;
    line = make_trouble(r, wrong);
    return true;
  }

  void come_back(reader& r, millis after) {
    if (std::exchange(r.busy_armed, true))
      return;
    later(after, [this, serial = r.serial] {
      auto* r = find_reader(serial);
      if (r == nullptr)
        return;
      r->busy_armed = false;
      pump(*find_subject(r->of), *r);
    });
  }

  // -- from time to time
  // ---------------------------------------------------------------

  void on_tick() {
    tick_armed = false;
    refuse_late();
    auto all = std::vector<subscription_id>{};
    for (const auto& [id, s] : subjects)
      all.push_back(s->id);
    for (const auto id : all)
      if (auto* s = find_subject(id))
        look_after(*s);
    forget();
    if (!subjects.empty() || !waiting.empty())
      arm_tick();
  }

  /// Those whose patience ended before it was their turn.
  void refuse_late() {
    while (!waiting.empty()
           && now() >= waiting_since.front() + options.query_patience) {
      const auto what = std::move(waiting.front().first);
      waiting.pop_front();
      waiting_since.pop_front();
      env->metrics->shed("log_queries");
      what->done(tl::unexpected{errc::overloaded});
    }
  }

  void look_after(subject& s) {
    if (s.readers.empty())
      return;
    s.used_at = now();
    s.events_wrong.reset();
    if (has_followers(s)) {
      look_after_followers(s);
      if (!has_followers(s))
        return;
      read_row(s);
      read_events(s);
      look_after_streams(s);
      poll(s);
    }
    wake(s);
  }

  void look_after_followers(subject& s) {
    const auto all = s.readers;
    for (const auto serial : all) {
      auto* r = find_reader(serial);
      if (r == nullptr || !r->follower)
        continue;
      auto stays = r->follower->state() != follower_state::gone
                   && now() < r->begun + options.follower_age_max;
      if (stays && now() >= r->heard_at + options.beat_interval) {
        r->heard_at = now();
        stays = r->follower->beat();
      }
      if (!stays)
        remove(s, *r);
    }
  }

  void forget() {
    for (auto i = subjects.begin(); i != subjects.end();) {
      auto& s = *i->second;
      const auto idle = now() - s.used_at;
      if (!s.readers.empty() || s.view_loading || s.events_loading
          || s.row_loading || s.secrets_are == secrets_state::loading) {
        ++i;
      } else if (idle >= options.subject_kept) {
        i = subjects.erase(i);
      } else {
        if (idle >= options.secrets_kept && s.secrets) {
          s.secrets.reset();
          s.secrets_are = secrets_state::unknown;
        }
        ++i;
      }
    }
    trim_cache();
  }

  /// What was left alone for longest goes first; what streams add to, last.
  void trim_cache() {
    auto total = bytes();
    for (auto& [id, s] : subjects)
      for (auto& [which, x] : s->lanes)
        if (auto* tail = x.shelf.tail())
          tail->trim(options.lane_lines_max, options.lane_bytes_max);
    while (total > options.cache_bytes_max) {
      auto* oldest = static_cast<lane*>(nullptr);
      auto oldest_use = std::optional<timestamp>{};
      for (auto& [id, s] : subjects)
        for (auto& [which, x] : s->lanes)
          if (const auto used = x.shelf.oldest_use(x.is_live());
              used && (!oldest_use || *used < *oldest_use)) {
            oldest = &x;
            oldest_use = used;
          }
      if (oldest == nullptr)
        return;
      oldest->shelf.drop_oldest(oldest->is_live());
      oldest->final = oldest->final && oldest->shelf.tail() != nullptr;
      total = bytes();
    }
  }

  [[nodiscard]] std::size_t bytes() const {
    auto out = std::size_t{0};
    for (const auto& [id, s] : subjects)
      for (const auto& [which, x] : s->lanes)
        out += x.shelf.bytes();
    return out;
  }
};

logbook_state::logbook_state() : impl_{std::make_unique<impl>()} {
}

logbook_state::~logbook_state() = default;

void logbook_state::start(logbook_actor::pointer self, environment_ptr env,
                          logbook_options with) {
  impl_->self = self;
  impl_->env = std::move(env);
  impl_->options = std::move(with);
  impl_->alive = alive_guard{impl_->env->metrics, name};
}

void logbook_state::receive(log_query_ptr what) {
  impl_->receive(std::move(what));
}

void logbook_state::receive(log_follower_ptr what) {
  impl_->receive(std::move(what));
}

void logbook_state::on_tick() {
  impl_->on_tick();
}

std::size_t logbook_state::streams() const {
  return impl_->streams();
}

std::size_t logbook_state::bytes() const {
  return impl_->bytes();
}

logbook_actor::behavior_type
logbook(logbook_actor::stateful_pointer<logbook_state> self,
        environment_ptr env, logbook_options with) {
  under_supervision(self);
  self->state.start(self, std::move(env), std::move(with));
  return {
    [self](log_query_ptr& what) {
      self->state.receive(std::move(what));
    },
    [self](log_follower_ptr& what) {
      self->state.receive(std::move(what));
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

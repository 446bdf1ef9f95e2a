#include "http/provider/caller.hpp"

#include "actors/guardian.hpp"
#include "actors/observe/log.hpp"
#include "http/client/trace_header.hpp"
#include "http/provider/budget.hpp"

#include <boost/json/serialize.hpp>
#include <caf/send.hpp>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <deque>
#include <unordered_map>
#include <utility>

namespace slipway::provider {

namespace {

namespace json = boost::json;

using namespace std::chrono_literals;

/// Whether a call has become pointless is looked at so often while it waits.
constexpr auto sweep_interval = millis{1'000};

/// How often the budget is shown anew while it comes back by itself.
constexpr auto gauge_interval = millis{10'000};

/// Answers are a few kilobytes; batches and templates may have more.
constexpr auto response_bytes_max = std::size_t{8 * 1024 * 1024};

std::string with_source(std::string url) {
  url += url.find('?') == std::string::npos ? '?' : '&';
  return url + "source=slipway";
}

/// What the budget needs to know of an answer.
answer head_of(const answer& what) {
  auto out = answer{};
  out.is = what.is;
  out.message = what.message;
  out.retry_after = what.retry_after;
  out.rate = what.rate;
  out.spoken = what.spoken;
  out.cooldown = what.cooldown;
  return out;
}

/// Ends a call, once.
void end(metrics& counts, call& what, answer how) {
  if (!what.done)
    return;
  counts.provider_request(what.field, to_string(how.is));
  what.done(std::move(how));
}

continuation make(std::function<void()> what) {
  return std::make_shared<std::function<void()>>(std::move(what));
}

void end_unsent(metrics& counts, call& what, std::string why) {
  end(counts, what, {answer_class::not_sent, nullptr, std::move(why), {}});
}

} // namespace

struct caller_state::impl {
  caller_actor::pointer self = nullptr;
  environment_ptr env;
  caller_options options;
  std::string url;
  call_budget budget{1, 1};
  std::array<std::deque<call_ptr>, urgency_count> waiting;
  std::size_t waiting_count = 0;
  /// As JSON, see `quoted`.
  std::unordered_map<std::string, std::string> documents;
  timestamp armed = timestamp::max();
  bool gauge_armed = false;
  alive_guard alive;

  ~impl() {
    for (auto& line : waiting)
      for (auto& x : line)
        end_unsent(*env->metrics, *x, "the server is stopping");
  }

  [[nodiscard]] timestamp now() const {
    return env->clock->now();
  }

  // -- the queue
  // ---------------------------------------------------------------------------

  void receive(call_ptr what) {
    auto& line = waiting[static_cast<std::size_t>(what->how)];
    if (waiting_count >= waiting_max && !make_room(what->how)) {
      env->metrics->shed("provider_queue");
      end_unsent(*env->metrics, *what, "too many calls wait for the budget");
      return;
    }
    line.push_back(std::move(what));
    ++waiting_count;
    pump();
  }

  /// Gives up the least urgent call, the latest of those, if it is less urgent
  /// than `than`.
  bool make_room(urgency than) {
    for (auto i = urgency_count - 1; i > static_cast<std::size_t>(than); --i) {
      auto& line = waiting[i];
      if (line.empty())
        continue;
      auto victim = std::move(line.back());
      line.pop_back();
      --waiting_count;
      env->metrics->shed("provider_queue");
      end_unsent(*env->metrics, *victim, "more urgent calls need the budget");
      return true;
    }
    return false;
  }

  /// Whether a call is still worth sending; answered otherwise.
  bool is_good(call& what, timestamp at) {
    if (what.withdrawn && *what.withdrawn)
      end_unsent(*env->metrics, what, "withdrawn before it was sent");
    // Whoever asks looks at the main switch, too: this is the last line.
    else if (what.mutates && !env->may_act())
      end_unsent(*env->metrics, what, "nothing may be changed now");
    else if (what.expires < at)
      end_unsent(*env->metrics, what, "waited too long for the budget");
    else
      return true;
    return false;
  }

  /// Whoever waits for a call that will not leave is told soon, also while
  /// nobody may call.
  void sweep() {
    const auto at = now();
    for (auto& line : waiting) {
      const auto kept
        = std::remove_if(line.begin(), line.end(), [this, at](call_ptr& x) {
            return !is_good(*x, at);
          });
      waiting_count -= static_cast<std::size_t>(line.end() - kept);
      line.erase(kept, line.end());
    }
  }

  /// Lets leave what may leave.
  void pump() {
    const auto at = now();
    auto next_at = timestamp::max();
    for (auto i = std::size_t{0}; i < urgency_count;) {
      auto& line = waiting[i];
      if (line.empty()) {
        ++i;
        continue;
      }
      // A call must not leave when nobody waits for it any more.
      if (!is_good(*line.front(), at)) {
        line.pop_front();
        --waiting_count;
        continue;
      }
      const auto how = static_cast<urgency>(i);
      if (const auto free_at = budget.next(how, at); free_at > at) {
        next_at = std::min(next_at, free_at);
        ++i;
        continue;
      }
      auto next = std::move(line.front());
      line.pop_front();
      --waiting_count;
      budget.sent(how, at);
      send(std::move(next));
    }
    if (waiting_count > 0)
      arm(std::min(next_at, at + sweep_interval));
    show();
  }

  void arm(timestamp at) {
    if (armed <= at)
      return;
    armed = at;
    self->delayed_send(self, std::max<millis>(at - now(), 1ms),
                       make([this, at] {
                         if (armed == at)
                           armed = timestamp::max();
                         sweep();
                         pump();
                       }));
  }

  void show() {
    const auto left = budget.remaining(now());
    env->metrics->provider_budget_remaining(left);
    // What was spent comes back without anybody calling.
    if (left < budget.per_hour() && !std::exchange(gauge_armed, true))
      self->delayed_send(self, gauge_interval, make([this] {
                           gauge_armed = false;
                           show();
                         }));
  }

  /// A document as JSON: there are a few, and each leaves again and again.
  const std::string& quoted(const std::string& document) {
    constexpr auto kept_max = std::size_t{256};
    const auto where = documents.find(document);
    if (where != documents.end())
      return where->second;
    if (documents.size() >= kept_max)
      documents.clear();
    return documents.emplace(document, json::serialize(json::value(document)))
      .first->second;
  }

  std::string body_of(const call& what) {
    const auto& document = quoted(what.document);
    const auto variables = json::serialize(what.variables);
    auto out = std::string{};
    out.reserve(document.size() + variables.size() + 24);
    out += R"({"query":)";
    out += document;
    out += R"(,"variables":)";
    out += variables;
    out += '}';
    return out;
  }

  // -- the wire
  // ---------------------------------------------------------------------------

  void send(call_ptr what) {
    auto request = client::http_request{};
    request.method = "POST";
    request.url = url;
    request.headers
      = {{"Content-Type", "application/json"},
         {"Accept", "application/json"},
         {"Authorization", "Bearer " + options.settings.token.reveal()}};
    request.body = body_of(*what);
    request.timeout = what->timeout;
    request.max_response_bytes = response_bytes_max;
    auto span = std::shared_ptr<trace::span>{};
    if (env->tracer != nullptr && what->trace) {
      span = std::make_shared<trace::span>(
        env->tracer->begin(what->trace, what->field, trace::span_kind::client));
      span->set("slipway.provider", "railway");
      span->set("graphql.operation.name", what->field);
      span->set("http.request.method", "POST");
      client::add_trace(request.headers, span->where());
    }
    what->sent = true;
    // On the network's thread: understood there, so that no actor has to parse;
    // whoever asked is told even if this actor has ended meanwhile.
    options.network->send(
      std::move(request),
      [this, me = caller_actor{self}, env = env,
       mark
       = what->mutates ? std::make_shared<outward_mark>(env->load) : nullptr,
       what = what, span](client::http_outcome outcome) {
        auto got = read_answer(outcome);
        if (span) {
          if (const auto* response = outcome.response())
            span->set("http.response.status_code",
                      static_cast<std::int64_t>(response->status));
          span->set("slipway.outcome", std::string{to_string(got.is)});
          if (got.is != answer_class::ok)
            span->fail(std::string{to_string(got.is)});
          span->end();
        }
        caf::anon_send(me, make([this, head = head_of(got)] {
                         heard(head);
                       }));
        end(*env->metrics, *what, std::move(got));
      });
  }

  void heard(const answer& head) {
    const auto at = now();
    const auto before = budget.paused_until();
    budget.heard(head, at, env->chance());
    if (const auto until = budget.paused_until();
        until > at && until > before) {
      const auto level = head.is == answer_class::blocked ? spdlog::level::err
                                                          : spdlog::level::warn;
      log::about{}.actor(name).write(
        level, "provider: {} ({}), no calls until {}",
        head.is == answer_class::blocked ? "shut out" : "throttled",
        head.message, to_rfc3339(until));
    }
    pump();
  }
};

caller_state::caller_state() : impl_{std::make_unique<impl>()} {
}

caller_state::~caller_state() = default;

void caller_state::start(caller_actor::pointer self, environment_ptr env,
                         caller_options options) {
  impl_->self = self;
  impl_->alive = alive_guard{env->metrics, name};
  impl_->env = std::move(env);
  impl_->url = with_source(options.settings.endpoint);
  impl_->budget = call_budget{options.settings.requests_per_hour,
                              options.settings.requests_per_second};
  impl_->options = std::move(options);
  impl_->show(); // The whole budget, before the first call.
}

void caller_state::receive(call_ptr what) {
  impl_->receive(std::move(what));
}

caller_actor::behavior_type
caller(caller_actor::stateful_pointer<caller_state> self, environment_ptr env,
       caller_options options) {
  under_supervision(self);
  self->state.start(self, std::move(env), std::move(options));
  return {
    [self](call_ptr& what) {
      self->state.receive(std::move(what));
    },
    [](const continuation& what) {
      (*what)();
    },
  };
}

} // namespace slipway::provider

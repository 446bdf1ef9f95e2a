#include "actors/metrics.hpp"

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <array>
#include <charconv>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace slipway {

namespace {

using namespace prometheus;

using buckets = Histogram::BucketBoundaries;

const auto request_seconds
  = buckets{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
            0.1,    0.25,  0.5,    1,     2.5,  5,     10};

const auto running_seconds
  = buckets{1, 2.5, 5, 10, 20, 30, 60, 120, 180, 300, 600, 900, 1800, 3600};

const auto batch_sizes = buckets{1, 2, 4, 8, 16, 32, 64, 128, 256, 512};

/// A family's members by the values of their labels. The family's own look-up
/// builds a map and locks the family: dear for what is counted at every
/// request. Thread: any.
template <class T>
class members {
public:
  members(Family<T>& of, std::vector<std::string> labels)
    : family_{of}, labels_{std::move(labels)} {
  }

  /// @param values One for each label, without line breaks.
  template <class... Texts>
  T& of(const Texts&... values) {
    thread_local auto key = std::string{};
    key.clear();
    ((key.append(values) += '\n'), ...);
    auto guard = std::lock_guard{mutex_};
    if (const auto known = known_.find(key); known != known_.end())
      return *known->second;
    auto labels = Labels{};
    auto label = labels_.begin();
    ((labels[*label++] = std::string{values}), ...);
    auto& made = family_.Add(labels);
    known_.emplace(key, &made);
    return made;
  }

private:
  Family<T>& family_;
  std::vector<std::string> labels_;
  std::mutex mutex_;
  std::unordered_map<std::string, T*> known_;
};

} // namespace

struct metrics::impl {
  Registry registry;

  template <class T>
  Family<T>& family(const char* name, const char* help) {
    if constexpr (std::is_same_v<T, Counter>)
      return BuildCounter().Name(name).Help(help).Register(registry);
    else if constexpr (std::is_same_v<T, Gauge>)
      return BuildGauge().Name(name).Help(help).Register(registry);
    else
      return BuildHistogram().Name(name).Help(help).Register(registry);
  }

  members<Gauge> actors{
    family<Gauge>("slipway_actors", "Actors alive, by kind."), {"kind"}};
  Family<Counter>& restarts
    = family<Counter>("slipway_actor_restarts_total",
                      "Actors started again, by kind and reason.");
  Family<Gauge>& mailboxes = family<Gauge>(
    "slipway_mailbox_depth", "Messages that wait for actors of a kind.");
  Family<Gauge>& subscription_rows
    = family<Gauge>("slipway_subscriptions", "Subscriptions, by state.");
  Family<Gauge>& attention_rows
    = family<Gauge>("slipway_attention", "What waits for a person, by kind.");
  members<Counter> callbacks{
    family<Counter>("slipway_callbacks_total",
                    "Gateway callbacks, by gateway and outcome."),
    {"gateway", "outcome"}};
  Histogram& callback_time
    = family<Histogram>("slipway_callback_seconds",
                        "Gateway callback, request read to reply written.")
        .Add({}, request_seconds);
  Histogram& commit_time = family<Histogram>("slipway_journal_commit_seconds",
                                             "One commit of the journal.")
                             .Add({}, request_seconds);
  Histogram& commit_size = family<Histogram>("slipway_journal_batch_size",
                                             "Transitions in one commit.")
                             .Add({}, batch_sizes);
  Gauge& queue_depth = family<Gauge>("slipway_deploy_queue_depth",
                                     "Deployments that wait for a slot.")
                         .Add({});
  Family<Gauge>& slots
    = family<Gauge>("slipway_deploy_slots", "Deployment slots, by state.");
  Gauge& slots_used = slots.Add({{"state", "used"}});
  Gauge& slots_free = slots.Add({{"state", "free"}});
  Histogram& running_time
    = family<Histogram>("slipway_time_to_running_seconds",
                        "From the payment (or retry) to a running instance.")
        .Add({}, running_seconds);
  Family<Counter>& gateway_requests
    = family<Counter>("slipway_gateway_requests_total",
                      "Calls to payment gateways, by gateway, operation and "
                      "outcome.");
  members<Counter> provider_requests{
    family<Counter>("slipway_provider_requests_total",
                    "Calls to the provider, by operation and outcome."),
    {"operation", "outcome"}};
  Gauge& budget
    = family<Gauge>("slipway_provider_budget_remaining",
                    "Calls to the provider left in the current hour.")
        .Add({});
  members<Counter> notifications{
    family<Counter>("slipway_notifications_total",
                    "Notifications, by channel and outcome."),
    {"channel", "outcome"}};
  members<Counter> http_requests{
    family<Counter>("slipway_http_requests_total",
                    "HTTP requests, by route and status."),
    {"route", "status"}};
  Gauge& automation = family<Gauge>("slipway_automation_enabled",
                                    "Whether anything may leave: the main "
                                    "switch.")
                        .Add({});
  Gauge& is_ready
    = family<Gauge>("slipway_ready", "Whether the server can serve: the "
                                     "database answers, and what was under "
                                     "way has been looked at.")
        .Add({});
  Gauge& holds_lease
    = family<Gauge>("slipway_lease_held",
                    "Whether nobody can have taken over from this server.")
        .Add({});
  Counter& exported_spans
    = family<Counter>("slipway_spans_exported_total",
                      "Spans that the collector has taken.")
        .Add({});
  Family<Counter>& dropped_spans = family<Counter>(
    "slipway_spans_dropped_total", "Spans that nobody has taken, by reason.");
  Counter& dropped_lines
    = family<Counter>("slipway_log_lines_dropped_total",
                      "Lines left out of the log, since nobody read them in "
                      "time.")
        .Add({});
  Gauge& started_at
    = family<Gauge>("slipway_start_time_seconds",
                    "When this server started, in seconds since 1970.")
        .Add({});
  Family<Counter>& pruned = family<Counter>(
    "slipway_pruned_rows_total", "Rows that left for being old, by table.");
  Gauge& watching
    = family<Gauge>("slipway_watchers", "Readers of live progress.").Add({});
  Family<Counter>& sheds = family<Counter>(
    "slipway_shed_total", "Requests refused before work was done, by reason.");
};

metrics::metrics() : impl_{std::make_unique<impl>()} {
  // What an alert looks at has to exist before the first event.
  impl_->sheds.Add({{"reason", "in_flight"}});
  impl_->sheds.Add({{"reason", "slow_watcher"}});
  for (const auto* gateway : {"alipay", "wechat"})
    for (const auto* outcome : {"applied", "repeated", "acknowledged",
                                "contradicted", "forged", "probe", "error"})
      impl_->callbacks.of(gateway, outcome);
  impl_->restarts.Add({{"kind", "supervisor"}, {"reason", "failure"}});
  impl_->notifications.of("mail", "sent");
  impl_->provider_requests.of("projects", "ok");
  impl_->http_requests.of("plans", "200");
  impl_->automation.Set(1);
  for (const auto* reason : {"queue_full", "failed", "stopping"})
    impl_->dropped_spans.Add({{"reason", reason}});
  impl_->pruned.Add({{"table", "callbacks"}});
  for (const auto* kind : attention_kinds)
    impl_->attention_rows.Add({{"kind", kind}});
  for (const auto* kind : {"registry", "journal"})
    impl_->mailboxes.Add({{"kind", kind}});
}

metrics::~metrics() = default;

void metrics::actor_count(std::string_view kind, int change) {
  impl_->actors.of(kind).Increment(change);
}

void metrics::actor_restarted(std::string_view kind, std::string_view reason) {
  impl_->restarts
    .Add({{"kind", std::string{kind}}, {"reason", std::string{reason}}})
    .Increment();
}

void metrics::mailbox_depth(std::string_view kind, double messages) {
  impl_->mailboxes.Add({{"kind", std::string{kind}}}).Set(messages);
}

void metrics::callback(std::string_view gateway, std::string_view outcome) {
  impl_->callbacks.of(gateway, outcome).Increment();
}

void metrics::callback_seconds(double seconds) {
  impl_->callback_time.Observe(seconds);
}

void metrics::journal_commit(double seconds, double batch_size) {
  impl_->commit_time.Observe(seconds);
  impl_->commit_size.Observe(batch_size);
}

void metrics::deploy_queue(double depth) {
  impl_->queue_depth.Set(depth);
}

void metrics::deploy_slots(double used, double free) {
  impl_->slots_used.Set(used);
  impl_->slots_free.Set(free);
}

void metrics::time_to_running(double seconds) {
  impl_->running_time.Observe(seconds);
}

void metrics::gateway_request(std::string_view gateway,
                              std::string_view operation,
                              std::string_view outcome) {
  impl_->gateway_requests
    .Add({{"gateway", std::string{gateway}},
          {"operation", std::string{operation}},
          {"outcome", std::string{outcome}}})
    .Increment();
}

void metrics::provider_request(std::string_view operation,
                               std::string_view outcome) {
  impl_->provider_requests.of(operation, outcome).Increment();
}

void metrics::provider_budget_remaining(double requests) {
  impl_->budget.Set(requests);
}

void metrics::notification(std::string_view channel, std::string_view outcome) {
  impl_->notifications.of(channel, outcome).Increment();
}

void metrics::http_request(std::string_view route, int status) {
  auto text = std::array<char, 12>{};
  const auto end
    = std::to_chars(text.data(), text.data() + text.size(), status);
  impl_->http_requests
    .of(route, std::string_view{text.data(), static_cast<std::size_t>(
                                               end.ptr - text.data())})
    .Increment();
}

void metrics::watchers(double readers) {
  impl_->watching.Set(readers);
}

void metrics::shed(std::string_view reason) {
  impl_->sheds.Add({{"reason", std::string{reason}}}).Increment();
}

void metrics::subscriptions(std::string_view state, double rows) {
  impl_->subscription_rows.Add({{"state", std::string{state}}}).Set(rows);
}

void metrics::attention(std::string_view kind, double rows) {
  impl_->attention_rows.Add({{"kind", std::string{kind}}}).Set(rows);
}

void metrics::automation_enabled(bool is_on) {
  impl_->automation.Set(is_on ? 1 : 0);
}

void metrics::ready(bool is_ready) {
  impl_->is_ready.Set(is_ready ? 1 : 0);
}

void metrics::lease_held(bool is_held) {
  impl_->holds_lease.Set(is_held ? 1 : 0);
}

void metrics::started(double seconds) {
  impl_->started_at.Set(seconds);
}

void metrics::spans_exported(double spans) {
  impl_->exported_spans.Increment(spans);
}

void metrics::spans_dropped(std::string_view reason, double spans) {
  impl_->dropped_spans.Add({{"reason", std::string{reason}}}).Increment(spans);
}

void metrics::log_lines_dropped(double lines) {
  const auto more = lines - impl_->dropped_lines.Value();
  if (more > 0)
    impl_->dropped_lines.Increment(more);
}

void metrics::pruned_rows(std::string_view table, double rows) {
  impl_->pruned.Add({{"table", std::string{table}}}).Increment(rows);
}

std::string metrics::expose() const {
  return TextSerializer{}.Serialize(impl_->registry.Collect());
}

} // namespace slipway

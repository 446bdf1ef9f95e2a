#include "http/telemetry/exporter.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <iterator>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

namespace slipway::telemetry {

namespace {

using steady = std::chrono::steady_clock;

constexpr auto answer_bytes_max = std::size_t{64 * 1024};

/// Whether the same request may succeed later, as OTLP has it.
bool is_passing(int status) noexcept {
  return status == 429 || status == 502 || status == 503 || status == 504;
}

/// How one post ended.
struct verdict {
  bool taken = false;
  bool again = false;
  std::size_t rejected = 0; ///< Of what was taken.
  std::optional<millis> pause;
  std::string why;
};

verdict judge(const client::http_outcome& how) {
  auto out = verdict{};
  if (const auto* failure = how.failure()) {
    // Spans are doubled rather than lost: their ids tell.
    out.again = failure->kind == client::failure_kind::not_sent
                || failure->kind == client::failure_kind::in_doubt;
    out.why = failure->message;
    return out;
  }
  const auto* answer = how.response();
  if (answer->status >= 200 && answer->status < 300) {
    out.taken = true;
    out.rejected
      = static_cast<std::size_t>(read_rejected(answer->body).value_or(0));
    return out;
  }
  out.again = is_passing(answer->status);
  out.why = "status " + std::to_string(answer->status);
  if (const auto after = answer->find("Retry-After")) {
    auto seconds = std::int64_t{0};
    const auto* end = after->data() + after->size();
    if (const auto [stop, ec] = std::from_chars(after->data(), end, seconds);
        ec == std::errc{} && stop == end && seconds >= 0 && seconds < 86'400)
      out.pause = std::chrono::seconds{seconds};
  }
  return out;
}

} // namespace

std::string_view to_string(span_fate x) noexcept {
  switch (x) {
    case span_fate::exported:
      return "exported";
    case span_fate::queue_full:
      return "queue_full";
    case span_fate::failed:
      return "failed";
    case span_fate::stopping:
      return "stopping";
  }
  return "failed";
}

struct exporter::impl {
  /// Where threads meet. Shared: an answer may come when nobody waits for it
  /// any more.
  struct meeting {
    std::mutex mutex;
    std::condition_variable changed;
  };

  exporter_options options;
  std::shared_ptr<meeting> place = std::make_shared<meeting>();
  std::mutex& mutex = place->mutex;
  std::condition_variable& changed = place->changed;
  std::deque<trace::span_data> waiting; ///< Guarded.
  bool stopping = false;                ///< Guarded.
  steady::time_point until{};           ///< Guarded: of a stop.
  bool troubled = false;                ///< Of the thread.
  std::thread worker;

  void count(span_fate what, std::size_t spans) const {
    if (spans > 0 && options.count)
      options.count(what, spans);
  }

  void take(trace::span_data what) {
    auto fate = std::optional<span_fate>{};
    auto full_batch = false;
    {
      const auto guard = std::lock_guard{mutex};
      if (stopping)
        fate = span_fate::stopping;
      else if (waiting.size() >= options.queue_max)
        fate = span_fate::queue_full;
      else
        waiting.push_back(std::move(what));
      full_batch = waiting.size() == options.batch_max || waiting.size() == 1;
    }
    if (fate)
      count(*fate, 1);
    else if (full_batch)
      changed.notify_all();
  }

  [[nodiscard]] bool is_over(steady::time_point at) const {
    return stopping && at >= until;
  }

  void run() {
    auto guard = std::unique_lock{mutex};
    while (true) {
      changed.wait(guard, [this] {
        return stopping || !waiting.empty();
      });
      // Wait for company, but not for long.
      changed.wait_for(guard, options.interval, [this] {
        return stopping || waiting.size() >= options.batch_max;
      });
      if (is_over(steady::now()) || (stopping && waiting.empty()))
        break;
      auto batch = std::vector<trace::span_data>{};
      const auto n = std::min(waiting.size(), options.batch_max);
      const auto end = waiting.begin() + static_cast<std::ptrdiff_t>(n);
      batch.assign(std::make_move_iterator(waiting.begin()),
                   std::make_move_iterator(end));
      waiting.erase(waiting.begin(), end);
      guard.unlock();
      post(batch);
      guard.lock();
    }
    const auto left = waiting.size();
    waiting.clear();
    guard.unlock();
    count(span_fate::stopping, left);
  }

  /// Until when this thread may wait, at most `length`.
  [[nodiscard]] steady::time_point limit(millis length) {
    const auto guard = std::lock_guard{mutex};
    const auto at = steady::now() + length;
    return stopping ? std::min(at, until) : at;
  }

  void post(const std::vector<trace::span_data>& batch) {
    const auto body = to_otlp_json(options.of, batch);
    auto pause = options.pause;
    for (auto tries = 1U;; ++tries) {
      const auto how = post_once(body);
      if (how.taken) {
        const auto rejected = std::min(how.rejected, batch.size());
        count(span_fate::exported, batch.size() - rejected);
        count(span_fate::failed, rejected);
        if (std::exchange(troubled, false))
          spdlog::info("traces: the collector takes spans again");
        return;
      }
      if (!std::exchange(troubled, true))
        spdlog::warn("traces: spans cannot be exported and are dropped while "
                     "that lasts: {}",
                     how.why);
      if (!how.again || tries >= options.tries_max
          || !rest(std::min(std::max(how.pause.value_or(millis{0}), pause),
                            options.pause_max))) {
        count(span_fate::failed, batch.size());
        return;
      }
      pause *= 2;
    }
  }

  /// @returns whether there is still time after it.
  bool rest(millis length) {
    auto guard = std::unique_lock{mutex};
    changed.wait_for(guard, length, [this] {
      return stopping;
    });
    // Whoever stops wants an end, and no more pauses.
    return !stopping;
  }

  verdict post_once(const std::string& body) {
    auto request = client::http_request{};
    request.method = "POST";
    request.url = options.endpoint;
    request.headers = {{"Content-Type", "application/json"}};
    request.body = body;
    request.timeout = std::max(std::chrono::duration_cast<millis>(
                                 limit(options.timeout) - steady::now()),
                               millis{1});
    request.connect_timeout = request.timeout;
    request.max_response_bytes = answer_bytes_max;
    auto answer = std::make_shared<std::optional<verdict>>();
    const auto late = steady::now() + request.timeout + millis{1'000};
    options.network->send(
      std::move(request),
      [answer, where = place](const client::http_outcome& outcome) {
        auto is = judge(outcome);
        {
          const auto guard = std::lock_guard{where->mutex};
          *answer = std::move(is);
        }
        where->changed.notify_all();
      });
    auto guard = std::unique_lock{mutex};
    while (!*answer) {
      const auto end = stopping ? std::min(late, until) : late;
      if (changed.wait_until(guard, end) == std::cv_status::timeout
          && steady::now() >= end && !*answer)
        return {false, false, 0, {}, "no answer in time"};
    }
    return **answer;
  }

  void stop(millis patience) {
    {
      const auto guard = std::lock_guard{mutex};
      if (!stopping) {
        stopping = true;
        until = steady::now() + patience;
      }
    }
    changed.notify_all();
    if (worker.joinable())
      worker.join();
  }
};

exporter::exporter(exporter_options options) : impl_{std::make_unique<impl>()} {
  impl_->options = std::move(options);
  impl_->worker = std::thread{[this] {
    impl_->run();
  }};
}

exporter::~exporter() {
  stop(millis{0});
}

void exporter::take(trace::span_data what) noexcept {
  impl_->take(std::move(what));
}

void exporter::stop(millis patience) {
  impl_->stop(patience);
}

} // namespace slipway::telemetry

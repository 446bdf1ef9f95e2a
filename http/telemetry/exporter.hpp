#pragma once

#include "actors/lifecycle/time.hpp"
#include "actors/observe/tracer.hpp"
#include "http/client/outbound.hpp"
#include "http/telemetry/otlp.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace slipway::telemetry {

/// What became of spans.
enum class span_fate : std::uint8_t {
  exported,
  queue_full, ///< They came faster than the collector takes them.
  failed,     ///< The collector does not answer, or refuses them.
  stopping,   ///< The server has ended before they were sent.
};

/// `queue_full`, `failed`, `stopping`; `exported`.
[[nodiscard]] std::string_view to_string(span_fate x) noexcept;

struct exporter_options {
  std::string endpoint; ///< `http://host:4318/v1/traces`.
  resource of;
  /// Of one export, from its start to the collector's answer.
  millis timeout{10'000};
  /// Spans that wait. Beyond it what comes is left out.
  std::size_t queue_max = 8'192;
  /// Spans of one export.
  std::size_t batch_max = 512;
  /// The longest that a span waits for company.
  millis interval{1'000};
  /// An export that may be repeated is, so often.
  std::uint32_t tries_max = 3;
  /// The pause before it is; doubled each time. A collector may ask for more,
  /// up to `pause_max`.
  millis pause{500};
  millis pause_max{5'000};
  /// Handed in; a client of its own, so that a collector that hangs is in
  /// nobody's way. Outlives the exporter.
  client::outbound* network = nullptr;
  /// Counts. Called from any thread; must not block.
  std::function<void(span_fate, std::size_t spans)> count;
};

/// Takes spans from any thread and posts them to a collector, batch by batch,
/// one at a time. Whoever hands over a span waits for nothing but a short lock,
/// whatever the collector does.
class exporter final : public trace::span_sink {
public:
  /// Starts its thread.
  explicit exporter(exporter_options options);

  /// Stops at once, see `stop`.
  ~exporter() override;

  exporter(const exporter&) = delete;

  exporter& operator=(const exporter&) = delete;

  void take(trace::span_data what) noexcept override;

  /// Sends what waits for as long as `patience`, and ends the thread. What
  /// comes later is left out. Callable again without effect.
  void stop(millis patience);

private:
  struct impl;

  std::unique_ptr<impl> impl_;
};

} // namespace slipway::telemetry

#pragma once

#include "actors/observe/tracer.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// Spans on their way to an OpenTelemetry collector.
namespace slipway::telemetry {

/// What all spans of one server have in common.
struct resource {
  std::string service_name;
  std::string service_version;
  std::string instance_id; ///< Of this process.
};

/// The body of an OTLP/HTTP export, in JSON.
/// https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
[[nodiscard]] std::string
to_otlp_json(const resource& of, const std::vector<trace::span_data>& spans);

/// How many spans a collector says that it has not taken, in an answer that is
/// a success otherwise. @returns nothing when the answer says nothing of it.
[[nodiscard]] std::optional<std::uint64_t>
read_rejected(std::string_view answer);

} // namespace slipway::telemetry

#pragma once

#include "actors/observe/tracer.hpp"
#include "http/server/message.hpp"

#include <string_view>

namespace slipway::api {

/// Takes a request into the trace that its `traceparent` names, or begins one.
[[nodiscard]] trace::tracer::entry
enter_trace(trace::tracer& with, const http::request& in);

/// The span of a request that was answered just now.
/// @param route The route's name.
/// @param seconds From the request's last byte to the answer's.
void trace_answer(trace::tracer& with, const http::request& in,
                  std::string_view route, int status, double seconds);

/// The line of a request that was answered just now: at debug, and as a warning
/// where the trouble is ours.
void log_answer(const http::request& in, std::string_view route, int status,
                double seconds);

} // namespace slipway::api

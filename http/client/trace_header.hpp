#pragma once

#include "actors/observe/trace.hpp"
#include "http/client/outbound.hpp"

namespace slipway::client {

/// Tells the other side which span it is part of: `traceparent`, and the
/// `tracestate` that came with the trace. docs/decisions/0021 says who is told.
void add_trace(header_list& to, const trace::context& where);

} // namespace slipway::client

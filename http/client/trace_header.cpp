#include "http/client/trace_header.hpp"

namespace slipway::client {

void add_trace(header_list& to, const trace::context& where) {
  to.emplace_back("traceparent", trace::to_traceparent(where));
  if (!where.state.empty())
    to.emplace_back("tracestate", where.state);
}

} // namespace slipway::client

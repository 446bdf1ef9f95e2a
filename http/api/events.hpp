#pragma once

#include "actors/record.hpp"

#include <cstdint>
#include <string>

namespace slipway::api {

/// How a deployment stands as a server-sent event: what
/// `/api/deployment/status` answers as `data`, under the row's revision.
[[nodiscard]] std::string
render_status_event(const record& row, std::int64_t queue_position);

} // namespace slipway::api

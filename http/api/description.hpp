#pragma once

#include "config/settings.hpp"
#include "http/server/router.hpp"

namespace slipway::api {

/// GET /api/openapi.json, for everybody: what the API takes and answers, as
/// OpenAPI 3.1. The text is a file of http/api/openapi, told here which version
/// of the program it describes and where that is (`http.public_url`).
void add_description_routes(http::router& to, const config::settings& settings);

} // namespace slipway::api

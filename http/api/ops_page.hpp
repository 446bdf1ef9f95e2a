#pragma once

#include "http/server/router.hpp"

namespace slipway::api {

/// The operators' page at `/ops`: files, which need no token and tell nothing.
/// What they show comes from the API, with the token of whoever looks.
void add_ops_page_routes(http::router& to);

} // namespace slipway::api

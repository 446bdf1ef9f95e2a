#pragma once

#include "http/sandbox/graphql.hpp"

namespace slipway::sandbox {

/// The part of Railway's public schema that the simulator answers for, with
/// the names, arguments and nullability of the real one.
[[nodiscard]] tl::expected<graphql::schema, std::string> railway_schema();

} // namespace slipway::sandbox

#pragma once

#include "http/api/auth.hpp"

#include <cstdint>
#include <span>
#include <string_view>

namespace slipway::api {

/// Whom a route is for.
enum class access : std::uint8_t {
  anyone,    ///< No token; whoever proves himself does so in another way.
  user,      ///< Any valid token.
  viewer,    ///< Reads what belongs to others.
  operator_, ///< Acts on what belongs to others.
  admin,     ///< Reads the audit trail, and changes keys.
};

/// What a route of the public listener asks for.
struct access_rule {
  std::string_view route; ///< Its name in the metrics.
  access needs = access::admin;
  /// An operator's act by its name in the audit trail. Empty: none.
  std::string_view act = {};
  /// What the act is done to: `subscription`, `actor` … The path's parameter,
  /// where there is one, says which.
  std::string_view subject = {};
  /// With `?dryRun=true` nothing is done.
  bool may_rehearse = false;
  /// Goes on when the act cannot be written down: a fault on demand.
  bool even_unwritten = false;
};

/// The whole table: one line for each route, and none besides. A route that is
/// not in it cannot be served.
[[nodiscard]] std::span<const access_rule> access_rules() noexcept;

/// @throws std::logic_error when the table has no such route.
[[nodiscard]] const access_rule& access_rule_of(std::string_view route);

[[nodiscard]] bool may(role who, access needs) noexcept;

/// What to tell somebody who may not: which role is needed.
[[nodiscard]] std::string_view refusal_of(access needs) noexcept;

} // namespace slipway::api

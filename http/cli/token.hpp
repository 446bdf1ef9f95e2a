#pragma once

#include "actors/lifecycle/time.hpp"
#include "config/settings.hpp"

#include <string>

namespace slipway::cli {

/// What a token of the operators' says.
struct claims {
  std::string subject;
  std::string role; ///< viewer, operator or admin.
  timestamp issued_at{};
  timestamp expires_at{};
};

/// Signs a token with the shared secret, for the issuer and audience that the
/// server demands.
/// @pre `to.hs256_secret` is not empty.
[[nodiscard]] std::string
make_token(const config::auth_settings& to, const claims& what);

} // namespace slipway::cli

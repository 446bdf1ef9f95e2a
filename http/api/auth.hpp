#pragma once

#include "actors/lifecycle/time.hpp"
#include "config/settings.hpp"

#include <tl/expected.hpp>

#include <memory>
#include <string>
#include <string_view>

namespace slipway::api {

/// Who makes a request, as far as the token says so.
struct principal {
  std::string user_id; ///< `sub`
  std::string email;   ///< Empty when the token has none.
  std::string locale;  ///< Likewise.
  bool is_operator = false;
};

/// Checks tokens. Implementations are callable from any thread.
class token_verifier {
public:
  virtual ~token_verifier() = default;

  /// @param token The compact form, without `Bearer `.
  /// @returns the principal, or a sentence that says what is wrong, without the
  ///          token.
  [[nodiscard]] virtual tl::expected<principal, std::string>
  verify(const std::string& token, timestamp now) const = 0;
};

/// Checks JSON Web Tokens signed with HS256 under one shared secret. Issuer and
/// audience are checked where they are configured; `exp` is required.
[[nodiscard]] std::unique_ptr<token_verifier>
make_hs256_verifier(const config::auth_settings& settings);

/// Signs a token as `make_hs256_verifier` accepts it; for the sandbox.
[[nodiscard]] std::string
make_hs256_token(const config::secret& secret, const principal& who,
                 timestamp expires_at);

} // namespace slipway::api

#pragma once

#include "actors/lifecycle/time.hpp"
#include "config/settings.hpp"

#include <tl/expected.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace slipway::api {

/// What a token lets its bearer do, each one more than the one before it.
enum class role : std::uint8_t {
  user,      ///< Has subscriptions of his own.
  viewer,    ///< Also reads what operators read.
  operator_, ///< Also acts as operators do.
  admin,     ///< Also reads who did what, and changes keys.
};

/// As the claim `role` has it: `viewer`, `operator`, `admin`; `user` for users,
/// who need none.
[[nodiscard]] std::string_view to_string(role x) noexcept;

/// @returns `role::user` for any text that is no role of operators.
[[nodiscard]] role parse_role(std::string_view text) noexcept;

/// Who makes a request, as far as the token says so.
struct principal {
  std::string user_id; ///< `sub`
  std::string email;   ///< Empty when the token has none.
  std::string locale;  ///< Likewise.
  api::role role = api::role::user;
};

/// Checks tokens. Implementations are callable from any thread.
class token_verifier {
public:
  virtual ~token_verifier() = default;

  /// @param token The compact form, without `Bearer `.
  /// @returns the principal, or a sentence that says what is wrong, without the
  ///          token.
  [[nodiscard]] virtual tl::expected<principal, std::string>
  verify(std::string_view token, timestamp now) const = 0;
};

/// Checks JSON Web Tokens in compact form: HS256 under the shared secret, and
/// RS256, ES256 and EdDSA under the keys of the file, whichever is configured.
/// Issuer and audience are checked where they are configured; `exp` is
/// required. The file is looked at again while the server runs (`key_file`).
/// @returns a sentence on what is wrong with the file otherwise.
[[nodiscard]] tl::expected<std::unique_ptr<token_verifier>, std::string>
make_verifier(const config::auth_settings& settings, timestamp now);

/// The same for the secret alone, which cannot be wrong.
[[nodiscard]] std::unique_ptr<token_verifier>
make_hs256_verifier(const config::auth_settings& settings);

/// Reads the key file as `make_verifier` does.
/// @returns what there is, for people: `HS256, 2 keys: RS256 "a", EdDSA "b"`;
///          or a sentence on what is wrong with the file, with its path.
[[nodiscard]] tl::expected<std::string, std::string>
describe_keys(const config::auth_settings& settings);

/// Signs a token as `make_hs256_verifier` accepts it; for the sandbox.
[[nodiscard]] std::string
make_hs256_token(const config::secret& secret, const principal& who,
                 timestamp expires_at);

} // namespace slipway::api

#include "http/cli/token.hpp"

#include <cstdlib>
#include <jwt.h>
#include <memory>
#include <new>
#include <stdexcept>

namespace slipway::cli {

namespace {

struct jwt_deleter {
  void operator()(jwt_t* token) const noexcept {
    jwt_free(token);
  }
};

long seconds_of(timestamp at) {
  return static_cast<long>(
    std::chrono::floor<std::chrono::seconds>(at.time_since_epoch()).count());
}

} // namespace

std::string make_token(const config::auth_settings& to, const claims& what) {
  jwt_t* raw = nullptr;
  if (jwt_new(&raw) != 0)
    throw std::bad_alloc{};
  const auto owned = std::unique_ptr<jwt_t, jwt_deleter>{raw};
  const auto& key = to.hs256_secret.reveal();
  auto failed = jwt_add_grant(raw, "sub", what.subject.c_str());
  failed |= jwt_add_grant(raw, "role", what.role.c_str());
  failed |= jwt_add_grant_int(raw, "iat", seconds_of(what.issued_at));
  failed |= jwt_add_grant_int(raw, "exp", seconds_of(what.expires_at));
  if (!to.issuer.empty())
    failed |= jwt_add_grant(raw, "iss", to.issuer.c_str());
  if (!to.audience.empty())
    failed |= jwt_add_grant(raw, "aud", to.audience.c_str());
  failed |= jwt_set_alg(raw, JWT_ALG_HS256,
                        reinterpret_cast<const unsigned char*>(key.data()),
                        static_cast<int>(key.size()));
  auto* text = failed == 0 ? jwt_encode_str(raw) : nullptr;
  if (text == nullptr)
    throw std::runtime_error{"a token could not be signed"};
  auto out = std::string{text};
  std::free(text);
  return out;
}

} // namespace slipway::cli

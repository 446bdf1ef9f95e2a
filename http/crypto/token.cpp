#include "http/crypto/token.hpp"

#include "http/crypto/digest.hpp"
#include "http/crypto/encoding.hpp"

namespace slipway::crypto {

std::string sign_hs256_token(std::string_view key, std::string_view claims) {
  constexpr auto head = std::string_view{R"({"alg":"HS256","typ":"JWT"})"};
  const auto out = base64url_encode(head) + '.' + base64url_encode(claims);
  return out + '.' + base64url_encode(hmac_sha256(key, out));
}

} // namespace slipway::crypto

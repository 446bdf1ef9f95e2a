#pragma once

#include <string>
#include <string_view>

namespace slipway::crypto {

/// Signs claims with a shared secret, as a compact JSON Web Token (RFC 7519)
/// with HS256. Thread: any.
/// @param claims A JSON object as text.
[[nodiscard]] std::string
sign_hs256_token(std::string_view key, std::string_view claims);

} // namespace slipway::crypto

#pragma once

#include <tl/expected.hpp>

#include <string>
#include <string_view>

/// AES-256 in ECB mode with PKCS#7 padding, as WeChat Pay APIv2 seals refund
/// results. ECB proves nothing about who wrote a text and hides no repetition:
/// only for messages that a protocol defines so. Callable from any thread.
namespace slipway::crypto {

/// @param key 32 bytes.
/// @returns whole blocks of 16 bytes, one more where the text fills its last
///          one; a sentence on a key of another length.
[[nodiscard]] tl::expected<std::string, std::string>
aes_256_ecb_encrypt(std::string_view key, std::string_view text);

/// @param key 32 bytes.
/// @returns a sentence on a key of another length, on anything but one or more
///          whole blocks, and where the padding is wrong. A wrong key is
///          noticed by the padding alone, so 255 times out of 256.
[[nodiscard]] tl::expected<std::string, std::string>
aes_256_ecb_decrypt(std::string_view key, std::string_view sealed);

} // namespace slipway::crypto

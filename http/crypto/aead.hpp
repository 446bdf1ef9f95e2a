#pragma once

#include <tl/expected.hpp>

#include <cstddef>
#include <string>
#include <string_view>

namespace slipway::crypto {

inline constexpr std::size_t aes_256_key_size = 32;
inline constexpr std::size_t gcm_nonce_size = 12;
inline constexpr std::size_t gcm_tag_size = 16;

/// Encrypts with AES-256-GCM, as payment gateways do with what they send.
/// @param key 32 bytes.
/// @param nonce 12 bytes, never the same twice under one key.
/// @param associated_data Not hidden; to be told to `open_aes_256_gcm` too.
/// @returns the ciphertext with the 16 bytes of tag behind it, or a sentence on
///          a wrong length.
[[nodiscard]] tl::expected<std::string, std::string>
seal_aes_256_gcm(std::string_view key, std::string_view nonce,
                 std::string_view associated_data, std::string_view plaintext);

/// Decrypts what was encrypted so. Nothing of the text comes out unless the tag
/// is right.
/// @returns the text, or a sentence that says why not, without any of it.
[[nodiscard]] tl::expected<std::string, std::string>
open_aes_256_gcm(std::string_view key, std::string_view nonce,
                 std::string_view associated_data, std::string_view sealed);

} // namespace slipway::crypto

#pragma once

#include <optional>
#include <string>
#include <string_view>

/// Encodings, digests and signatures on top of OpenSSL. Everything here is
/// callable from any thread.
namespace slipway::crypto {

/// Encodes with the standard alphabet and padding, without line breaks.
[[nodiscard]] std::string base64_encode(std::string_view bytes);

/// Decodes base64 strictly: standard alphabet only, the padding complete, no
/// blanks or line breaks, no bits set behind the last byte. Every byte string
/// so has exactly one accepted form.
/// @returns nothing on any other text. The empty text decodes to no bytes.
[[nodiscard]] std::optional<std::string> base64_decode(std::string_view text);

/// Encodes with the URL alphabet and without padding (RFC 4648, section 5).
[[nodiscard]] std::string base64url_encode(std::string_view bytes);

/// Decodes unpadded base64url, as strictly as `base64_decode`.
[[nodiscard]] std::optional<std::string>
base64url_decode(std::string_view text);

/// Encodes as lower-case hex digits.
[[nodiscard]] std::string hex_encode(std::string_view bytes);

/// Decodes hex digits of either case.
/// @returns nothing on an odd length or another character.
[[nodiscard]] std::optional<std::string> hex_decode(std::string_view text);

} // namespace slipway::crypto

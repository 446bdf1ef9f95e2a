#pragma once

#include <tl/expected.hpp>

#include <cstddef>
#include <string>
#include <string_view>

namespace slipway::crypto {

/// The 32 raw bytes of SHA-256.
[[nodiscard]] std::string sha256(std::string_view bytes);

/// The 16 raw bytes of MD5. For identifiers that a gateway defines so, never
/// for security.
[[nodiscard]] std::string md5(std::string_view bytes);

/// The 32 raw bytes of HMAC-SHA-256.
[[nodiscard]] std::string
hmac_sha256(std::string_view key, std::string_view message);

/// Compares without telling by its duration where the first difference is.
/// Texts of different length are unequal; the lengths are no secret.
[[nodiscard]] bool
constant_time_equal(std::string_view a, std::string_view b) noexcept;

/// Bytes from the operating system's random source.
/// @returns the reason as a sentence where the source fails.
[[nodiscard]] tl::expected<std::string, std::string>
random_bytes(std::size_t count);

} // namespace slipway::crypto

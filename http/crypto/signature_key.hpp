#pragma once

#include <tl/expected.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace slipway::crypto {

/// Which signatures a key is for, in the words of JSON Web Algorithms.
enum class signature_kind : std::uint8_t {
  rs256, ///< RSASSA-PKCS1-v1_5 with SHA-256.
  es256, ///< ECDSA on P-256 with SHA-256; a signature is r and s.
  eddsa, ///< Ed25519.
};

/// `RS256`, `ES256`, `EdDSA`.
[[nodiscard]] std::string_view to_string(signature_kind x) noexcept;

/// A public key that was given by its numbers, parsed once and then used by any
/// number of threads. A copy shares the key. Numbers are big-endian bytes.
class signature_key {
public:
  /// @param modulus 2048 to 8192 bits.
  /// @param exponent Odd, 3 to 2^32.
  /// @returns a sentence on what was expected otherwise.
  [[nodiscard]] static tl::expected<signature_key, std::string>
  rsa(std::string_view modulus, std::string_view exponent);

  /// @param x, y A point of P-256, 32 bytes each.
  [[nodiscard]] static tl::expected<signature_key, std::string>
  p256(std::string_view x, std::string_view y);

  /// @param x The 32 bytes of the key.
  [[nodiscard]] static tl::expected<signature_key, std::string>
  ed25519(std::string_view x);

  /// The one kind of signatures that it verifies.
  [[nodiscard]] signature_kind kind() const noexcept;

  /// Verifies a raw signature. Any defect is `false`.
  [[nodiscard]] bool
  verify(std::string_view message, std::string_view signature) const noexcept;

  struct impl;

private:
  explicit signature_key(std::shared_ptr<const impl> state) noexcept;

  std::shared_ptr<const impl> state_;
};

} // namespace slipway::crypto

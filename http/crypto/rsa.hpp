#pragma once

#include <tl/expected.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace slipway::crypto {

/// The digest of an RSASSA-PKCS1-v1_5 signature.
enum class digest : std::uint8_t { sha1, sha256 };

/// An RSA public key, parsed once and then used by any number of threads. A
/// copy shares the key.
class rsa_public_key {
public:
  /// Parses PEM (`PUBLIC KEY`, `RSA PUBLIC KEY`, or the first `CERTIFICATE`)
  /// or the bare base64 of the same DER, with or without line breaks.
  /// @returns a sentence on what was found instead: no key, a private key, a
  ///          key of another kind, or fewer than 1024 bits.
  [[nodiscard]] static tl::expected<rsa_public_key, std::string>
  parse(std::string_view text);

  /// Verifies a raw (not base64) signature. Any defect is `false`.
  [[nodiscard]] bool verify(digest algorithm, std::string_view message,
                            std::string_view signature) const noexcept;

  /// The length of the modulus in bits.
  [[nodiscard]] int bits() const noexcept;

  /// `PUBLIC KEY` in PEM.
  [[nodiscard]] std::string to_pem() const;

  struct impl;

private:
  explicit rsa_public_key(std::shared_ptr<const impl> state) noexcept;

  std::shared_ptr<const impl> state_;
};

/// An RSA private key, parsed once and then used by any number of threads. A
/// copy shares the key.
class rsa_private_key {
public:
  /// Parses PEM (`PRIVATE KEY`, `RSA PRIVATE KEY`; not encrypted) or the bare
  /// base64 of the same DER, with or without line breaks.
  /// @returns a sentence on what was found instead, without any of the text.
  [[nodiscard]] static tl::expected<rsa_private_key, std::string>
  parse(std::string_view text);

  /// Signs; the result is raw (not base64) and the same for the same input.
  /// @returns the reason as a sentence where OpenSSL refuses.
  [[nodiscard]] tl::expected<std::string, std::string>
  sign(digest algorithm, std::string_view message) const;

  /// The other half.
  [[nodiscard]] rsa_public_key public_key() const;

  /// The length of the modulus in bits.
  [[nodiscard]] int bits() const noexcept;

  struct impl;

private:
  explicit rsa_private_key(std::shared_ptr<const impl> state) noexcept;

  std::shared_ptr<const impl> state_;
};

/// Both halves of a new key in PEM (`PRIVATE KEY` and `PUBLIC KEY`).
struct rsa_key_pair {
  std::string private_pem;
  std::string public_pem;
};

/// Makes a key, for the simulated gateways and for tests.
/// @param bits 2048 to 8192.
[[nodiscard]] tl::expected<rsa_key_pair, std::string>
generate_rsa_key(int bits = 2048);

} // namespace slipway::crypto

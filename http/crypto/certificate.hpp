#pragma once

#include "actors/lifecycle/time.hpp"

#include <tl/expected.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace slipway::crypto {

/// What payment gateways ask of an X.509 certificate.
struct certificate_facts {
  /// The issuer's name as in RFC 2253: reversed, comma separated, no blanks.
  std::string issuer;
  /// The serial number in decimal.
  std::string serial_decimal;
  /// The serial number in upper-case hex, two digits for each byte.
  std::string serial_hex;
  /// The object identifier of the algorithm that signed it, with dots.
  std::string signature_oid;
  /// `PUBLIC KEY` in PEM.
  std::string public_key_pem;
  /// When it begins and ends to be good.
  timestamp not_before{};
  timestamp not_after{};
};

/// Reads every certificate of a PEM bundle, in its order.
/// @returns a sentence where there is none or one can't be read.
[[nodiscard]] tl::expected<std::vector<certificate_facts>, std::string>
parse_certificates(std::string_view pem);

/// Makes a certificate that is signed with its own key (SHA-256 with RSA), for
/// the simulated gateways and for tests.
/// @param private_pem An RSA key, `PRIVATE KEY` in PEM, not encrypted.
/// @param common_name Subject and issuer; 1 to 64 characters of UTF-8.
/// @param serial_hex 1 to 40 hex digits, not all of them zero.
/// @param not_before From then on it is good.
/// @param not_after Until then; later than `not_before`.
/// @returns the `CERTIFICATE` in PEM, or a sentence on what was wrong.
[[nodiscard]] tl::expected<std::string, std::string>
make_certificate(std::string_view private_pem, std::string_view common_name,
                 std::string_view serial_hex, timestamp not_before,
                 timestamp not_after);

} // namespace slipway::crypto

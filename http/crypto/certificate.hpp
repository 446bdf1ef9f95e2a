#pragma once

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
};

/// Reads every certificate of a PEM bundle, in its order.
/// @returns a sentence where there is none or one can't be read.
[[nodiscard]] tl::expected<std::vector<certificate_facts>, std::string>
parse_certificates(std::string_view pem);

} // namespace slipway::crypto

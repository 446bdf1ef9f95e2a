#include "http/crypto/certificate.hpp"
#include "http/crypto/encoding.hpp"
#include "http/crypto/rsa.hpp"
#include "property.hpp"

using namespace slipway;
using fuzz::require;

extern "C" int
LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto text = fuzz::text_of(data, size);
  const auto found = crypto::parse_certificates(text);
  if (!found)
    require(!found.error().empty(), "a refusal says why");
  else
    require(!found->empty(), "success has a certificate");
  if (found)
    for (const auto& x : *found) {
      require(!x.serial_decimal.empty(), "a serial has digits");
      const auto is_negative = x.serial_hex.starts_with('-');
      require(crypto::hex_decode(
                std::string_view{x.serial_hex}.substr(is_negative ? 1 : 0))
                .has_value(),
              "and whole bytes of them");
      require(x.signature_oid.find_first_not_of("0123456789.")
                == std::string::npos,
              "an object identifier is numbers and dots");
    }
  // Any bytes may stand where a key is expected.
  if (auto key = crypto::rsa_public_key::parse(text)) {
    require(key->bits() >= 1024, "a short key is refused");
    require(!key->verify(crypto::digest::sha256, "text", "signature"),
            "nothing verifies by chance");
    auto again = crypto::rsa_public_key::parse(key->to_pem());
    require(again && again->to_pem() == key->to_pem(), "a key survives PEM");
  }
  if (auto key = crypto::rsa_private_key::parse(text))
    require(key->bits() >= 1024, "a short key is refused");
  return 0;
}

#define CAF_SUITE crypto.certificate

#include "http/crypto/certificate.hpp"

#include "http/crypto/rsa.hpp"

#include <caf/test/unit_test.hpp>

#include <string>

using namespace slipway;
using namespace slipway::crypto;
using namespace std::literals;

namespace {

const rsa_key_pair& pair() {
  static const auto result = generate_rsa_key().value();
  return result;
}

const auto begin = parse_rfc3339("2026-11-23T08:00:00Z").value();

// Behind 2050, where X.509 writes times in another way.
const auto end = parse_rfc3339("2056-11-23T08:00:00Z").value();

constexpr auto serial = "5157F09EFDC096DE15EBE81A47057A7232F1B8E1";

tl::expected<std::string, std::string>
make(std::string_view name = "Tenpay.com sign",
     std::string_view number = serial) {
  return make_certificate(pair().private_pem, name, number, begin, end);
}

} // namespace

CAF_TEST(a certificate says what it was made with) {
  const auto made = make();
  CAF_REQUIRE(made.has_value());
  const auto facts = parse_certificates(*made);
  CAF_REQUIRE(facts.has_value());
  CAF_REQUIRE_EQUAL(facts->size(), 1u);
  const auto& x = facts->front();
  CAF_CHECK_EQUAL(x.issuer, "CN=Tenpay.com sign");
  CAF_CHECK_EQUAL(x.serial_hex, serial);
  CAF_CHECK_EQUAL(x.signature_oid, "1.2.840.113549.1.1.11");
  CAF_CHECK_EQUAL(x.public_key_pem, pair().public_pem);
  CAF_CHECK(x.not_before == begin);
  CAF_CHECK(x.not_after == end);
}

CAF_TEST(its key verifies) {
  const auto key = rsa_public_key::parse(make().value());
  CAF_REQUIRE(key.has_value());
  const auto own = rsa_private_key::parse(pair().private_pem).value();
  const auto signature = own.sign(digest::sha256, "text").value();
  CAF_CHECK(key->verify(digest::sha256, "text", signature));
  CAF_CHECK(!key->verify(digest::sha256, "test", signature));
}

CAF_TEST(a name may be Chinese and a serial short or begin with zeros) {
  const auto named = parse_certificates(make("微信支付", "1").value()).value();
  CAF_CHECK_EQUAL(named.front().issuer, "CN=微信支付");
  CAF_CHECK_EQUAL(named.front().serial_decimal, "1");
  const auto zeros = parse_certificates(make("x", "00ff").value()).value();
  CAF_CHECK_EQUAL(zeros.front().serial_decimal, "255");
}

CAF_TEST(what cannot be a certificate is refused) {
  CAF_CHECK(!make("").has_value());
  CAF_CHECK(!make(std::string(65, 'a')).has_value());
  CAF_CHECK(make(std::string(64, 'a')).has_value());
  CAF_CHECK(!make("x", "").has_value());
  CAF_CHECK(!make("x", "0000").has_value());
  CAF_CHECK(!make("x", "12-4").has_value());
  CAF_CHECK(!make("x", std::string(41, '1')).has_value());
  CAF_CHECK(
    !make_certificate(pair().private_pem, "x", "1", end, begin).has_value());
  const auto keyless = make_certificate("nonsense", "x", "1", begin, end);
  CAF_REQUIRE(!keyless.has_value());
  CAF_CHECK_EQUAL(keyless.error(), "expected an RSA PRIVATE KEY in PEM without "
                                   "a passphrase");
}

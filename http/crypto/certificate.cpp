#include "http/crypto/certificate.hpp"

#include "http/crypto/openssl.hpp"

#include <openssl/bn.h>
#include <openssl/pem.h>

#include <array>
#include <utility>

namespace slipway::crypto {

using namespace openssl;

namespace {

constexpr std::size_t bundle_max = 1024 * 1024;

auto failed(std::string sentence) {
  return tl::make_unexpected(std::move(sentence));
}

int no_passphrase(char*, int, int, void*) {
  return -1;
}

using bignum_ptr = std::unique_ptr<BIGNUM, deleter<&BN_free>>;

std::string issuer_of(const X509* certificate) {
  bio_ptr bio{BIO_new(BIO_s_mem())};
  // RFC 2253, but with UTF-8 as it is rather than escaped byte by byte.
  constexpr unsigned long flags = XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB;
  if (!bio
      || X509_NAME_print_ex(bio.get(), X509_get_issuer_name(certificate), 0,
                            flags)
           < 0)
    return {};
  return content_of(bio.get());
}

std::string oid_of(const X509* certificate) {
  const X509_ALGOR* algorithm = nullptr;
  X509_get0_signature(nullptr, &algorithm, certificate);
  if (algorithm == nullptr)
    return {};
  const ASN1_OBJECT* object = nullptr;
  X509_ALGOR_get0(&object, nullptr, nullptr, algorithm);
  std::array<char, 256> buffer{};
  auto size
    = OBJ_obj2txt(buffer.data(), static_cast<int>(buffer.size()), object, 1);
  if (size <= 0 || static_cast<std::size_t>(size) >= buffer.size())
    return {};
  return std::string{buffer.data(), static_cast<std::size_t>(size)};
}

/// The public key in PEM whatever its kind, or nothing where OpenSSL does not
/// know the kind.
std::string public_key_of(X509* certificate) {
  auto* key = X509_get0_pubkey(certificate);
  bio_ptr bio{BIO_new(BIO_s_mem())};
  if (key == nullptr || !bio || PEM_write_bio_PUBKEY(bio.get(), key) != 1)
    return {};
  return content_of(bio.get());
}

tl::expected<certificate_facts, std::string> facts_of(X509* certificate) {
  certificate_facts facts;
  bignum_ptr serial{
    ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), nullptr)};
  if (!serial)
    return failed("the serial number can't be read: " + last_error());
  if (char* decimal = BN_bn2dec(serial.get())) {
    facts.serial_decimal = decimal;
    OPENSSL_free(decimal);
  }
  if (char* hex = BN_bn2hex(serial.get())) {
    facts.serial_hex = hex;
    OPENSSL_free(hex);
  }
  facts.issuer = issuer_of(certificate);
  facts.signature_oid = oid_of(certificate);
  facts.public_key_pem = public_key_of(certificate);
  if (facts.serial_decimal.empty() || facts.serial_hex.empty()
      || facts.signature_oid.empty())
    return failed("the certificate can't be read: " + last_error());
  return facts;
}

} // namespace

tl::expected<std::vector<certificate_facts>, std::string>
parse_certificates(std::string_view pem) {
  error_guard guard;
  if (pem.size() > bundle_max)
    return failed("expected certificates, found more than 1 MiB");
  std::vector<certificate_facts> result;
  auto bio = reader_of(pem);
  while (x509_ptr certificate{
    PEM_read_bio_X509(bio.get(), nullptr, &no_passphrase, nullptr)}) {
    auto facts = facts_of(certificate.get());
    if (!facts)
      return failed("certificate " + std::to_string(result.size() + 1) + ": "
                    + facts.error());
    result.push_back(std::move(*facts));
  }
  auto reason = ERR_GET_REASON(ERR_peek_last_error());
  if (reason != PEM_R_NO_START_LINE)
    return failed("certificate " + std::to_string(result.size() + 1)
                  + " can't be read: " + last_error());
  if (result.empty())
    return failed("expected at least one CERTIFICATE in PEM, found none");
  return result;
}

} // namespace slipway::crypto

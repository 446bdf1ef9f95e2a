#include "http/crypto/certificate.hpp"

#include "http/crypto/openssl.hpp"

#include <openssl/bn.h>
#include <openssl/pem.h>

#include <array>
#include <chrono>
#include <ctime>
#include <optional>
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

std::optional<timestamp> time_of(const ASN1_TIME* from) {
  auto parts = std::tm{};
  if (from == nullptr || ASN1_TIME_to_tm(from, &parts) != 1)
    return std::nullopt;
  using namespace std::chrono;
  const auto day = year{parts.tm_year + 1900}
                   / (static_cast<unsigned>(parts.tm_mon) + 1U)
                   / static_cast<unsigned>(parts.tm_mday);
  return timestamp{sys_days{day}} + hours{parts.tm_hour} + minutes{parts.tm_min}
         + seconds{parts.tm_sec};
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
  const auto begin = time_of(X509_get0_notBefore(certificate));
  const auto end = time_of(X509_get0_notAfter(certificate));
  if (!begin || !end)
    return failed("the certificate's times can't be read");
  facts.not_before = *begin;
  facts.not_after = *end;
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

namespace {

constexpr std::size_t common_name_max = 64;

constexpr std::size_t serial_digits_max = 40;

using integer_ptr = std::unique_ptr<ASN1_INTEGER, deleter<&ASN1_INTEGER_free>>;
using time_ptr = std::unique_ptr<ASN1_TIME, deleter<&ASN1_TIME_free>>;

/// The number that some hex digits mean, or nothing.
integer_ptr serial_of(std::string_view hex) {
  constexpr auto digits = std::string_view{"0123456789abcdefABCDEF"};
  if (hex.empty() || hex.size() > serial_digits_max
      || hex.find_first_not_of(digits) != std::string_view::npos
      || hex.find_first_not_of('0') == std::string_view::npos)
    return nullptr;
  BIGNUM* raw = nullptr;
  if (BN_hex2bn(&raw, std::string{hex}.c_str()) == 0)
    return nullptr;
  const bignum_ptr number{raw};
  return integer_ptr{BN_to_ASN1_INTEGER(number.get(), nullptr)};
}

time_ptr asn1_time(timestamp at) {
  const auto seconds
    = std::chrono::floor<std::chrono::seconds>(at).time_since_epoch();
  return time_ptr{ASN1_TIME_set(nullptr, std::time_t{seconds.count()})};
}

} // namespace

tl::expected<std::string, std::string>
make_certificate(std::string_view private_pem, std::string_view common_name,
                 std::string_view serial_hex, timestamp not_before,
                 timestamp not_after) {
  error_guard guard;
  const auto key_bio = reader_of(private_pem);
  const pkey_ptr key{
    PEM_read_bio_PrivateKey(key_bio.get(), nullptr, &no_passphrase, nullptr)};
  if (!key || EVP_PKEY_base_id(key.get()) != EVP_PKEY_RSA)
    return failed("expected an RSA PRIVATE KEY in PEM without a passphrase");
  const auto serial = serial_of(serial_hex);
  if (!serial)
    return failed("expected a serial number of 1 to 40 hex digits, not all of "
                  "them zero");
  if (common_name.empty() || common_name.size() > common_name_max * 4)
    return failed("expected a common name of 1 to 64 characters");
  if (not_after <= not_before)
    return failed("expected a certificate that ends after it begins");
  const auto begin = asn1_time(not_before);
  const auto end = asn1_time(not_after);
  const x509_ptr made{X509_new()};
  if (!made || !begin || !end)
    return failed("the certificate can't be made: " + last_error());
  auto* name = X509_get_subject_name(made.get());
  constexpr long version_3 = 2;
  const auto* text = reinterpret_cast<const unsigned char*>(common_name.data());
  if (X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, text,
                                 static_cast<int>(common_name.size()), -1, 0)
      != 1)
    return failed("expected a common name of 1 to 64 characters: "
                  + last_error());
  const bio_ptr out{BIO_new(BIO_s_mem())};
  if (!out || X509_set_version(made.get(), version_3) != 1
      || X509_set_serialNumber(made.get(), serial.get()) != 1
      || X509_set1_notBefore(made.get(), begin.get()) != 1
      || X509_set1_notAfter(made.get(), end.get()) != 1
      || X509_set_issuer_name(made.get(), name) != 1
      || X509_set_pubkey(made.get(), key.get()) != 1
      || X509_sign(made.get(), key.get(), EVP_sha256()) == 0
      || PEM_write_bio_X509(out.get(), made.get()) != 1)
    return failed("the certificate can't be made: " + last_error());
  return content_of(out.get());
}

} // namespace slipway::crypto

#define CAF_SUITE crypto.rsa

#include "http/crypto/rsa.hpp"

#include "http/crypto/certificate.hpp"
#include "http/crypto/encoding.hpp"

#include <caf/test/unit_test.hpp>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

using namespace slipway::crypto;

namespace {

/// Made once for the whole suite: making a key takes a while.
const rsa_key_pair& pair() {
  static const rsa_key_pair result = [] {
    auto made = generate_rsa_key();
    CAF_REQUIRE(made.has_value());
    return *made;
  }();
  return result;
}

rsa_private_key signer() {
  auto key = rsa_private_key::parse(pair().private_pem);
  CAF_REQUIRE(key.has_value());
  return *key;
}

/// The base64 between the PEM lines.
std::string bare(const std::string& pem) {
  auto begin = pem.find('\n') + 1;
  auto end = pem.find("-----END");
  return pem.substr(begin, end - begin);
}

std::string content(BIO* bio) {
  char* data = nullptr;
  auto size = BIO_get_mem_data(bio, &data);
  std::string result{data, static_cast<std::size_t>(size)};
  BIO_free(bio);
  return result;
}

EVP_PKEY* raw_key() {
  auto* bio = BIO_new_mem_buf(pair().private_pem.data(),
                              static_cast<int>(pair().private_pem.size()));
  auto* key = PEM_read_bio_PrivateKey(bio, nullptr, nullptr, nullptr);
  BIO_free(bio);
  return key;
}

/// Both halves in PKCS#1, and the public one in a certificate.
struct other_forms {
  std::string private_pkcs1;
  std::string public_pkcs1;
  std::string certificate;

  other_forms() {
    auto* key = raw_key();
    auto* out = BIO_new(BIO_s_mem());
    PEM_write_bio_PrivateKey_traditional(out, key, nullptr, nullptr, 0, nullptr,
                                         nullptr);
    private_pkcs1 = content(out);
    unsigned char* der = nullptr;
    auto size = i2d_PublicKey(key, &der);
    public_pkcs1 = "-----BEGIN RSA PUBLIC KEY-----\n"
                   + base64_encode({reinterpret_cast<char*>(der),
                                    static_cast<std::size_t>(size)});
    OPENSSL_free(der);
    for (std::size_t at = 31 + 64; at < public_pkcs1.size(); at += 65)
      public_pkcs1.insert(at, 1, '\n');
    public_pkcs1 += "\n-----END RSA PUBLIC KEY-----\n";
    auto* x509 = X509_new();
    ASN1_INTEGER_set(X509_get_serialNumber(x509), 4711);
    X509_gmtime_adj(X509_getm_notBefore(x509), 0);
    X509_gmtime_adj(X509_getm_notAfter(x509), 3600);
    X509_set_pubkey(x509, key);
    auto* name = X509_get_subject_name(x509);
    for (auto [field, value] : {std::pair{"C", "CN"}, std::pair{"O", "测试"},
                                std::pair{"CN", "slipway, test"}})
      X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8,
                                 reinterpret_cast<const unsigned char*>(value),
                                 -1, -1, 0);
    X509_set_issuer_name(x509, name);
    X509_sign(x509, key, EVP_sha256());
    out = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(out, x509);
    certificate = content(out);
    X509_free(x509);
    EVP_PKEY_free(key);
  }
};

const other_forms& forms() {
  static const other_forms result;
  return result;
}

} // namespace

CAF_TEST(a signature verifies with the other half only) {
  auto key = signer();
  auto other = rsa_private_key::parse(generate_rsa_key()->private_pem);
  CAF_REQUIRE(other.has_value());
  for (auto algorithm : {digest::sha1, digest::sha256}) {
    auto signature = key.sign(algorithm, "message");
    CAF_REQUIRE(signature.has_value());
    CAF_CHECK_EQUAL(signature->size(), 256u);
    CAF_CHECK(key.public_key().verify(algorithm, "message", *signature));
    CAF_CHECK(!key.public_key().verify(algorithm, "messagf", *signature));
    CAF_CHECK(!key.public_key().verify(algorithm, "", *signature));
    CAF_CHECK(!other->public_key().verify(algorithm, "message", *signature));
    auto wrong = algorithm == digest::sha1 ? digest::sha256 : digest::sha1;
    CAF_CHECK(!key.public_key().verify(wrong, "message", *signature));
  }
}

CAF_TEST(hostile signatures are merely false) {
  auto key = signer().public_key();
  auto good = *signer().sign(digest::sha256, "m");
  CAF_CHECK(!key.verify(digest::sha256, "m", ""));
  CAF_CHECK(!key.verify(digest::sha256, "m", std::string(256, '\0')));
  CAF_CHECK(!key.verify(digest::sha256, "m", std::string(256, '\xff')));
  CAF_CHECK(!key.verify(digest::sha256, "m", std::string(100'000, 'x')));
  CAF_CHECK(!key.verify(digest::sha256, "m", good.substr(1)));
  CAF_CHECK(!key.verify(digest::sha256, "m", good + '\0'));
  CAF_CHECK(!key.verify(digest::sha256, "m", '\0' + good));
  for (std::size_t at = 0; at < good.size(); at += 17) {
    auto broken = good;
    broken[at] = static_cast<char>(broken[at] ^ 1);
    CAF_CHECK(!key.verify(digest::sha256, "m", broken));
  }
  // The refusals above leave nothing behind.
  CAF_CHECK(key.verify(digest::sha256, "m", good));
}

CAF_TEST(signing is deterministic) {
  CAF_CHECK(signer().sign(digest::sha256, "m")
            == signer().sign(digest::sha256, "m"));
}

CAF_TEST(public keys are read in every usual form) {
  auto signature = *signer().sign(digest::sha256, "m");
  auto one_line = bare(pair().public_pem);
  std::erase(one_line, '\n');
  for (const auto& text : {
         pair().public_pem,
         bare(pair().public_pem),
         one_line,
         forms().public_pkcs1,
         bare(forms().public_pkcs1),
         forms().certificate,
         bare(forms().certificate),
         "text in front\n" + forms().certificate + forms().certificate,
       }) {
    auto key = rsa_public_key::parse(text);
    if (!key)
      CAF_FAIL(key.error());
    CAF_CHECK(key->verify(digest::sha256, "m", signature));
    CAF_CHECK_EQUAL(key->bits(), 2048);
    CAF_CHECK_EQUAL(key->to_pem(), pair().public_pem);
  }
}

CAF_TEST(private keys are read in every usual form) {
  for (const auto& text : {
         pair().private_pem,
         bare(pair().private_pem),
         forms().private_pkcs1,
         bare(forms().private_pkcs1),
       }) {
    auto key = rsa_private_key::parse(text);
    if (!key)
      CAF_FAIL(key.error());
    auto signature = key->sign(digest::sha256, "m");
    CAF_REQUIRE(signature.has_value());
    CAF_CHECK(signer().public_key().verify(digest::sha256, "m", *signature));
  }
}

CAF_TEST(what is no key is refused with a sentence that keeps the secret) {
  auto* ec = EVP_EC_gen("P-256");
  auto* bio = BIO_new(BIO_s_mem());
  PEM_write_bio_PUBKEY(bio, ec);
  auto ec_public = content(bio);
  bio = BIO_new(BIO_s_mem());
  PEM_write_bio_PKCS8PrivateKey(bio, ec, nullptr, nullptr, 0, nullptr, nullptr);
  auto ec_private = content(bio);
  EVP_PKEY_free(ec);
  auto* weak = EVP_RSA_gen(512);
  bio = BIO_new(BIO_s_mem());
  if (weak != nullptr)
    PEM_write_bio_PUBKEY(bio, weak);
  auto weak_public = content(bio);
  EVP_PKEY_free(weak);
  auto cut = pair().public_pem.substr(0, 200);
  for (const auto& text :
       {std::string{}, std::string{"  \n "}, std::string{"hunter2"},
        std::string{"hunter2="}, cut, ec_public, weak_public,
        pair().private_pem, base64_encode("no DER at all"),
        bare(pair().private_pem), std::string(70'000, 'A')}) {
    auto key = rsa_public_key::parse(text);
    CAF_CHECK(!key);
    if (!key) {
      CAF_CHECK(!key.error().empty());
      CAF_CHECK(key.error().find("hunter2") == std::string::npos);
    }
  }
  for (const auto& text :
       {std::string{}, std::string{"hunter2"}, ec_private, pair().public_pem,
        bare(pair().public_pem), forms().certificate,
        pair().private_pem.substr(0, 300),
        std::string{"-----BEGIN ENCRYPTED PRIVATE KEY-----\nhunter2\n-----END "
                    "ENCRYPTED PRIVATE KEY-----\n"}}) {
    auto key = rsa_private_key::parse(text);
    CAF_CHECK(!key);
    if (!key)
      CAF_CHECK(key.error().find("hunter2") == std::string::npos);
  }
}

CAF_TEST(one key serves many threads) {
  auto key = signer();
  auto signature = *key.sign(digest::sha256, "m");
  auto public_half = key.public_key();
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 500; ++i) {
        auto good = (i + t) % 2 == 0;
        if (public_half.verify(digest::sha256, good ? "m" : "n", signature)
            != good)
          ++wrong;
        if (i % 100 == 0 && key.sign(digest::sha256, "m") != signature)
          ++wrong;
      }
    });
  for (auto& thread : threads)
    thread.join();
  CAF_CHECK_EQUAL(wrong.load(), 0);
}

CAF_TEST(certificates tell issuer and serial) {
  auto facts = parse_certificates(forms().certificate + forms().certificate);
  CAF_REQUIRE(facts.has_value());
  CAF_REQUIRE_EQUAL(facts->size(), 2u);
  CAF_CHECK_EQUAL(facts->front().issuer, "CN=slipway\\, test,O=测试,C=CN");
  CAF_CHECK_EQUAL(facts->front().serial_decimal, "4711");
  CAF_CHECK_EQUAL(facts->front().serial_hex, "1267");
  CAF_CHECK_EQUAL(facts->front().signature_oid, "1.2.840.113549.1.1.11");
  CAF_CHECK_EQUAL(facts->front().public_key_pem, pair().public_pem);
  CAF_CHECK(!parse_certificates(""));
  CAF_CHECK(!parse_certificates(pair().public_pem));
  auto broken = forms().certificate;
  broken[100] = broken[100] == 'A' ? 'B' : 'A';
  broken.erase(200, 10);
  CAF_CHECK(!parse_certificates(forms().certificate + broken));
}

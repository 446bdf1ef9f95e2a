#include "http/crypto/rsa.hpp"

#include "http/crypto/encoding.hpp"
#include "http/crypto/openssl.hpp"

#include <openssl/core_names.h>
#include <openssl/decoder.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

namespace slipway::crypto {

using namespace openssl;

namespace {

constexpr int bits_min = 1024;
constexpr int bits_max = 16'384;
constexpr std::size_t text_max = 64 * 1024;

template <class T>
using result = tl::expected<T, std::string>;

auto failed(std::string sentence) {
  return tl::make_unexpected(std::move(sentence));
}

const unsigned char* bytes_of(std::string_view text) noexcept {
  return reinterpret_cast<const unsigned char*>(text.data());
}

/// Fetched once: a fetch takes locks and a look-up each time.
const EVP_MD* algorithm_of(digest value) noexcept {
  static const EVP_MD* const sha1 = EVP_MD_fetch(nullptr, "SHA1", nullptr);
  static const EVP_MD* const sha256 = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  switch (value) {
    case digest::sha1:
      return sha1;
    case digest::sha256:
      return sha256;
  }
  return nullptr;
}

constexpr std::size_t digest_count = 2;

std::size_t index_of(digest value) noexcept {
  return static_cast<std::size_t>(value);
}

/// One per thread, so that the hot path allocates no context for hashing.
EVP_MD_CTX* thread_md_ctx() noexcept {
  thread_local md_ctx_ptr context{EVP_MD_CTX_new()};
  return context.get();
}

struct hash_value {
  std::array<unsigned char, EVP_MAX_MD_SIZE> bytes{};
  unsigned int size = 0;
};

bool compute(digest algorithm, std::string_view message,
             hash_value& out) noexcept {
  auto* context = thread_md_ctx();
  return context != nullptr
         && EVP_DigestInit_ex2(context, algorithm_of(algorithm), nullptr) == 1
         && EVP_DigestUpdate(context, message.data(), message.size()) == 1
         && EVP_DigestFinal_ex(context, out.bytes.data(), &out.size) == 1;
}

/// A context that is ready to verify or to sign. It is never used itself, only
/// copied: a copy costs less than setting one up, and leaves the original
/// untouched, so that threads can share it.
pkey_ctx_ptr prepare(EVP_PKEY* key, digest algorithm, bool for_signing) {
  pkey_ctx_ptr context{EVP_PKEY_CTX_new_from_pkey(nullptr, key, nullptr)};
  if (!context)
    return nullptr;
  auto started = for_signing ? EVP_PKEY_sign_init(context.get())
                             : EVP_PKEY_verify_init(context.get());
  if (started != 1
      || EVP_PKEY_CTX_set_rsa_padding(context.get(), RSA_PKCS1_PADDING) != 1
      || EVP_PKEY_CTX_set_signature_md(context.get(), algorithm_of(algorithm))
           != 1)
    return nullptr;
  return context;
}

struct prepared_key {
  pkey_ptr key;
  std::array<pkey_ctx_ptr, digest_count> contexts;
};

result<prepared_key> prepare_all(pkey_ptr key, bool for_signing) {
  if (EVP_PKEY_is_a(key.get(), "RSA") != 1) {
    const char* name = EVP_PKEY_get0_type_name(key.get());
    return failed(std::string{"expected an RSA key, found one of type "}
                  + (name != nullptr ? name : "unknown"));
  }
  auto bits = EVP_PKEY_get_bits(key.get());
  if (bits < bits_min || bits > bits_max)
    return failed("expected an RSA key of " + std::to_string(bits_min) + " to "
                  + std::to_string(bits_max) + " bits, found "
                  + std::to_string(bits));
  prepared_key prepared;
  for (auto algorithm : {digest::sha1, digest::sha256}) {
    auto context = prepare(key.get(), algorithm, for_signing);
    if (!context)
      return failed("OpenSSL can't use the key: " + last_error());
    prepared.contexts[index_of(algorithm)] = std::move(context);
  }
  prepared.key = std::move(key);
  return prepared;
}

bool is_blank(char c) noexcept {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

bool contains(std::string_view text, std::string_view part) noexcept {
  return text.find(part) != std::string_view::npos;
}

/// The DER of a key given as bare base64, as the gateways' consoles show it.
result<std::string> der_of_base64(std::string_view text) {
  std::string digits;
  digits.reserve(text.size());
  std::copy_if(text.begin(), text.end(), std::back_inserter(digits),
               [](char c) {
                 return !is_blank(c);
               });
  if (digits.empty())
    return failed("expected a key, found nothing");
  auto der = base64_decode(digits);
  if (!der)
    return failed("expected a key in PEM or as base64, found neither");
  return std::move(*der);
}

/// Reads a key of any of the usual structures in DER.
pkey_ptr decode_der(std::string_view der, int selection) {
  EVP_PKEY* raw = nullptr;
  auto* context = OSSL_DECODER_CTX_new_for_pkey(&raw, "DER", nullptr, nullptr,
                                                selection, nullptr, nullptr);
  if (context == nullptr)
    return nullptr;
  const auto* data = bytes_of(der);
  auto size = der.size();
  auto done = OSSL_DECODER_from_data(context, &data, &size);
  OSSL_DECODER_CTX_free(context);
  pkey_ptr key{raw};
  // Bytes behind the key mean that something else was pasted.
  if (done != 1 || size != 0)
    return nullptr;
  return key;
}

int no_passphrase(char*, int, int, void*) {
  return -1;
}

/// The public key inside of a DER certificate.
pkey_ptr key_of_der_certificate(std::string_view der) {
  const auto* data = bytes_of(der);
  x509_ptr certificate{d2i_X509(nullptr, &data, static_cast<long>(der.size()))};
  if (!certificate || data != bytes_of(der) + der.size())
    return nullptr;
  return pkey_ptr{X509_get_pubkey(certificate.get())};
}

result<pkey_ptr> read_public(std::string_view text) {
  if (text.size() > text_max)
    return failed("expected a public key, found more than 64 KiB");
  if (contains(text, "PRIVATE KEY-----"))
    return failed("expected a public key or a certificate, found a private "
                  "key");
  if (contains(text, "-----BEGIN CERTIFICATE-----")
      || contains(text, "-----BEGIN TRUSTED CERTIFICATE-----")) {
    auto bio = reader_of(text);
    x509_ptr certificate{
      PEM_read_bio_X509(bio.get(), nullptr, &no_passphrase, nullptr)};
    if (!certificate)
      return failed("the certificate can't be read: " + last_error());
    pkey_ptr key{X509_get_pubkey(certificate.get())};
    if (!key)
      return failed("the certificate holds no usable key: " + last_error());
    return key;
  }
  if (contains(text, "-----BEGIN RSA PUBLIC KEY-----")) {
    // The PEM label has no decoder of its own in every build; the content is
    // PKCS#1 either way.
    auto bio = reader_of(text);
    char* label = nullptr;
    char* header = nullptr;
    unsigned char* data = nullptr;
    long size = 0;
    if (PEM_read_bio(bio.get(), &label, &header, &data, &size) != 1)
      return failed("the public key can't be read: " + last_error());
    auto key = decode_der(
      {reinterpret_cast<const char*>(data), static_cast<std::size_t>(size)},
      EVP_PKEY_PUBLIC_KEY);
    OPENSSL_free(label);
    OPENSSL_free(header);
    OPENSSL_free(data);
    if (!key)
      return failed("the public key can't be read: " + last_error());
    return key;
  }
  if (contains(text, "-----BEGIN ")) {
    auto bio = reader_of(text);
    pkey_ptr key{
      PEM_read_bio_PUBKEY(bio.get(), nullptr, &no_passphrase, nullptr)};
    if (!key)
      return failed("expected a PUBLIC KEY or a CERTIFICATE in PEM: "
                    + last_error());
    return key;
  }
  auto der = der_of_base64(text);
  if (!der)
    return failed(std::move(der.error()));
  if (auto key = decode_der(*der, EVP_PKEY_PUBLIC_KEY))
    return key;
  if (auto key = key_of_der_certificate(*der))
    return key;
  return failed("the base64 text is no public key and no certificate in DER");
}

result<pkey_ptr> read_private(std::string_view text) {
  if (text.size() > text_max)
    return failed("expected a private key, found more than 64 KiB");
  if (contains(text, "-----BEGIN ")) {
    if (contains(text, "ENCRYPTED"))
      return failed("the private key is encrypted; expected one without a "
                    "passphrase");
    if (!contains(text, "PRIVATE KEY-----"))
      return failed("expected a PRIVATE KEY in PEM, found something else");
    auto bio = reader_of(text);
    pkey_ptr key{
      PEM_read_bio_PrivateKey(bio.get(), nullptr, &no_passphrase, nullptr)};
    if (!key)
      return failed("the private key can't be read: " + last_error());
    return key;
  }
  auto der = der_of_base64(text);
  if (!der)
    return failed(std::move(der.error()));
  auto key = decode_der(*der, EVP_PKEY_KEYPAIR);
  OPENSSL_cleanse(der->data(), der->size());
  if (!key)
    return failed("the base64 text is no private key in PKCS#8 or PKCS#1");
  return key;
}

std::string public_pem_of(EVP_PKEY* key) {
  bio_ptr bio{BIO_new(BIO_s_mem())};
  if (!bio || PEM_write_bio_PUBKEY(bio.get(), key) != 1)
    return {};
  return content_of(bio.get());
}

std::string private_pem_of(EVP_PKEY* key) {
  bio_ptr bio{BIO_new(BIO_s_mem())};
  if (!bio
      || PEM_write_bio_PKCS8PrivateKey(bio.get(), key, nullptr, nullptr, 0,
                                       nullptr, nullptr)
           != 1)
    return {};
  return content_of(bio.get());
}

} // namespace

// -- public half
// ---------------------------------------------------------------

struct rsa_public_key::impl {
  prepared_key prepared;
};

rsa_public_key::rsa_public_key(std::shared_ptr<const impl> state) noexcept
  : state_{std::move(state)} {
}

tl::expected<rsa_public_key, std::string>
rsa_public_key::parse(std::string_view text) {
  error_guard guard;
  auto key = read_public(text);
  if (!key)
    return failed(std::move(key.error()));
  auto prepared = prepare_all(std::move(*key), false);
  if (!prepared)
    return failed(std::move(prepared.error()));
  return rsa_public_key{
    std::make_shared<const impl>(impl{std::move(*prepared)})};
}

bool rsa_public_key::verify(digest algorithm, std::string_view message,
                            std::string_view signature) const noexcept {
  error_guard guard;
  hash_value hash;
  if (!compute(algorithm, message, hash))
    return false;
  pkey_ctx_ptr context{
    EVP_PKEY_CTX_dup(state_->prepared.contexts[index_of(algorithm)].get())};
  return context
         && EVP_PKEY_verify(context.get(), bytes_of(signature),
                            signature.size(), hash.bytes.data(), hash.size)
              == 1;
}

int rsa_public_key::bits() const noexcept {
  return EVP_PKEY_get_bits(state_->prepared.key.get());
}

std::string rsa_public_key::to_pem() const {
  return public_pem_of(state_->prepared.key.get());
}

// -- private half
// --------------------------------------------------------------

struct rsa_private_key::impl {
  prepared_key prepared;
  rsa_public_key public_half;
};

rsa_private_key::rsa_private_key(std::shared_ptr<const impl> state) noexcept
  : state_{std::move(state)} {
}

tl::expected<rsa_private_key, std::string>
rsa_private_key::parse(std::string_view text) {
  error_guard guard;
  auto key = read_private(text);
  if (!key)
    return failed(std::move(key.error()));
  auto prepared = prepare_all(std::move(*key), true);
  if (!prepared)
    return failed(std::move(prepared.error()));
  auto public_half = rsa_public_key::parse(public_pem_of(prepared->key.get()));
  if (!public_half)
    return failed("the private key has no usable public half: "
                  + public_half.error());
  return rsa_private_key{std::make_shared<const impl>(
    impl{std::move(*prepared), std::move(*public_half)})};
}

tl::expected<std::string, std::string>
rsa_private_key::sign(digest algorithm, std::string_view message) const {
  error_guard guard;
  hash_value hash;
  if (!compute(algorithm, message, hash))
    return failed("OpenSSL can't compute a digest: " + last_error());
  pkey_ctx_ptr context{
    EVP_PKEY_CTX_dup(state_->prepared.contexts[index_of(algorithm)].get())};
  auto size
    = static_cast<std::size_t>(EVP_PKEY_get_size(state_->prepared.key.get()));
  std::string signature(size, '\0');
  if (!context
      || EVP_PKEY_sign(context.get(),
                       reinterpret_cast<unsigned char*>(signature.data()),
                       &size, hash.bytes.data(), hash.size)
           != 1)
    return failed("OpenSSL can't sign: " + last_error());
  signature.resize(size);
  return signature;
}

rsa_public_key rsa_private_key::public_key() const {
  return state_->public_half;
}

int rsa_private_key::bits() const noexcept {
  return EVP_PKEY_get_bits(state_->prepared.key.get());
}

tl::expected<rsa_key_pair, std::string> generate_rsa_key(int bits) {
  error_guard guard;
  if (bits < 2048 || bits > 8192)
    return failed("expected a length of 2048 to 8192 bits, found "
                  + std::to_string(bits));
  pkey_ptr key{EVP_RSA_gen(static_cast<unsigned int>(bits))};
  if (!key)
    return failed("OpenSSL can't make a key: " + last_error());
  rsa_key_pair pair{private_pem_of(key.get()), public_pem_of(key.get())};
  if (pair.private_pem.empty() || pair.public_pem.empty())
    return failed("OpenSSL can't write the new key: " + last_error());
  return pair;
}

} // namespace slipway::crypto

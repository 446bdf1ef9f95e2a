#include "http/crypto/signature_key.hpp"

#include "http/crypto/openssl.hpp"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/param_build.h>

#include <utility>

namespace slipway::crypto {

using namespace openssl;

namespace {

using bignum_ptr = std::unique_ptr<BIGNUM, deleter<&BN_free>>;
using builder_ptr
  = std::unique_ptr<OSSL_PARAM_BLD, deleter<&OSSL_PARAM_BLD_free>>;
using params_ptr = std::unique_ptr<OSSL_PARAM, deleter<&OSSL_PARAM_free>>;
using ecdsa_ptr = std::unique_ptr<ECDSA_SIG, deleter<&ECDSA_SIG_free>>;

constexpr auto modulus_bits_min = 2'048;

constexpr auto modulus_bits_max = 8'192;

/// Larger ones are of no use, and make each verification dear.
constexpr auto exponent_bits_max = 33;

constexpr auto coordinate_size = std::size_t{32};

const unsigned char* bytes(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

bignum_ptr number_of(std::string_view big_endian) {
  return bignum_ptr{
    BN_bin2bn(bytes(big_endian), static_cast<int>(big_endian.size()), nullptr)};
}

/// Makes a public key of what the builder has; null where OpenSSL refuses.
pkey_ptr make_key(const char* type, OSSL_PARAM_BLD* from) {
  const auto params = params_ptr{OSSL_PARAM_BLD_to_param(from)};
  const auto context
    = pkey_ctx_ptr{EVP_PKEY_CTX_new_from_name(nullptr, type, nullptr)};
  EVP_PKEY* made = nullptr;
  if (!params || !context || EVP_PKEY_fromdata_init(context.get()) != 1
      || EVP_PKEY_fromdata(context.get(), &made, EVP_PKEY_PUBLIC_KEY,
                           params.get())
           != 1)
    return nullptr;
  return pkey_ptr{made};
}

/// r and s, 32 bytes each, in the form that OpenSSL reads.
std::string to_der(std::string_view signature) {
  const auto owner = ecdsa_ptr{ECDSA_SIG_new()};
  auto r = number_of(signature.substr(0, coordinate_size));
  auto s = number_of(signature.substr(coordinate_size));
  if (!owner || !r || !s || ECDSA_SIG_set0(owner.get(), r.get(), s.get()) != 1)
    return {};
  // The signature owns them now.
  static_cast<void>(r.release());
  static_cast<void>(s.release());
  unsigned char* out = nullptr;
  const auto size = i2d_ECDSA_SIG(owner.get(), &out);
  if (size <= 0)
    return {};
  auto result
    = std::string{reinterpret_cast<char*>(out), static_cast<std::size_t>(size)};
  OPENSSL_free(out);
  return result;
}

} // namespace

struct signature_key::impl {
  signature_kind kind = signature_kind::rs256;
  pkey_ptr key;
};

std::string_view to_string(signature_kind x) noexcept {
  switch (x) {
    case signature_kind::rs256:
      return "RS256";
    case signature_kind::es256:
      return "ES256";
    case signature_kind::eddsa:
      return "EdDSA";
  }
  return "?";
}

signature_key::signature_key(std::shared_ptr<const impl> state) noexcept
  : state_{std::move(state)} {
}

signature_kind signature_key::kind() const noexcept {
  return state_->kind;
}

tl::expected<signature_key, std::string>
signature_key::rsa(std::string_view modulus, std::string_view exponent) {
  const auto guard = error_guard{};
  const auto n = modulus.size() <= std::size_t{modulus_bits_max} / 8 + 1
                   ? number_of(modulus)
                   : nullptr;
  const auto bits = n ? BN_num_bits(n.get()) : modulus_bits_max + 1;
  if (bits < modulus_bits_min || bits > modulus_bits_max)
    return tl::unexpected{"expected a modulus of 2048 to 8192 bits, found "
                          + (n ? std::to_string(bits) : std::string{"more"})
                          + " bits"};
  const auto e = exponent.size() <= 8 ? number_of(exponent) : nullptr;
  if (!e || BN_num_bits(e.get()) > exponent_bits_max || BN_is_odd(e.get()) == 0
      || BN_is_one(e.get()) != 0 || BN_is_odd(n.get()) == 0)
    return tl::unexpected{
      std::string{"expected an odd modulus and an odd exponent from 3 to "
                  "2^32, found others"}};
  const auto builder = builder_ptr{OSSL_PARAM_BLD_new()};
  if (!builder
      || OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_N, n.get())
           != 1
      || OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_E, e.get())
           != 1)
    return tl::unexpected{"OpenSSL failed: " + last_error()};
  auto made = make_key("RSA", builder.get());
  if (!made)
    return tl::unexpected{"OpenSSL takes no such RSA key: " + last_error()};
  return signature_key{
    std::make_shared<const impl>(impl{signature_kind::rs256, std::move(made)})};
}

tl::expected<signature_key, std::string>
signature_key::p256(std::string_view x, std::string_view y) {
  const auto guard = error_guard{};
  if (x.size() != coordinate_size || y.size() != coordinate_size)
    return tl::unexpected{"expected x and y of 32 bytes each, found "
                          + std::to_string(x.size()) + " and "
                          + std::to_string(y.size())};
  // Uncompressed.
  auto point = std::string{'\4'};
  point.append(x).append(y);
  const auto builder = builder_ptr{OSSL_PARAM_BLD_new()};
  if (!builder
      || OSSL_PARAM_BLD_push_utf8_string(
           builder.get(), OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0)
           != 1
      || OSSL_PARAM_BLD_push_octet_string(
           builder.get(), OSSL_PKEY_PARAM_PUB_KEY, point.data(), point.size())
           != 1)
    return tl::unexpected{"OpenSSL failed: " + last_error()};
  auto made = make_key("EC", builder.get());
  const auto check = pkey_ctx_ptr{
    made ? EVP_PKEY_CTX_new_from_pkey(nullptr, made.get(), nullptr) : nullptr};
  if (!check || EVP_PKEY_public_check(check.get()) != 1)
    return tl::unexpected{
      std::string{"expected a point of P-256, found x and y of none"}};
  return signature_key{
    std::make_shared<const impl>(impl{signature_kind::es256, std::move(made)})};
}

tl::expected<signature_key, std::string>
signature_key::ed25519(std::string_view x) {
  const auto guard = error_guard{};
  if (x.size() != coordinate_size)
    return tl::unexpected{"expected x of 32 bytes, found "
                          + std::to_string(x.size())};
  auto made = pkey_ptr{
    EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, bytes(x), x.size())};
  if (!made)
    return tl::unexpected{"OpenSSL takes no such Ed25519 key: " + last_error()};
  return signature_key{
    std::make_shared<const impl>(impl{signature_kind::eddsa, std::move(made)})};
}

bool signature_key::verify(std::string_view message,
                           std::string_view signature) const noexcept {
  const auto guard = error_guard{};
  auto converted = std::string{};
  if (state_->kind == signature_kind::es256) {
    if (signature.size() != 2 * coordinate_size)
      return false;
    converted = to_der(signature);
    signature = converted;
  }
  if (signature.empty())
    return false;
  // Ed25519 has its digest in itself.
  const auto* digest
    = state_->kind == signature_kind::eddsa ? nullptr : EVP_sha256();
  const auto context = md_ctx_ptr{EVP_MD_CTX_new()};
  return context
         && EVP_DigestVerifyInit(context.get(), nullptr, digest, nullptr,
                                 state_->key.get())
              == 1
         && EVP_DigestVerify(context.get(), bytes(signature), signature.size(),
                             bytes(message), message.size())
              == 1;
}

} // namespace slipway::crypto

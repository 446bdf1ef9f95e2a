#pragma once

#include "http/crypto/digest.hpp"
#include "http/crypto/encoding.hpp"
#include "http/crypto/openssl.hpp"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include <stdexcept>
#include <string>
#include <vector>

/// Whoever issues tokens: keys of every kind and signatures with them.
namespace slipway::test {

namespace openssl = crypto::openssl;

inline std::string b64(std::string_view text) {
  return crypto::base64url_encode(text);
}

inline void must_be(bool what) {
  if (!what)
    throw std::runtime_error{"OpenSSL failed in a test"};
}

class issuer {
public:
  static issuer rsa(std::string kid, unsigned bits = 2048) {
    return {"RS256", std::move(kid),
            EVP_PKEY_Q_keygen(nullptr, nullptr, "RSA",
                              static_cast<std::size_t>(bits))};
  }

  static issuer ec(std::string kid, const char* curve = "P-256") {
    return {"ES256", std::move(kid),
            EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", curve)};
  }

  static issuer ed(std::string kid) {
    return {"EdDSA", std::move(kid),
            EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519")};
  }

  /// The public key, with `more` members: `"use":"sig"`.
  [[nodiscard]] std::string jwk(const std::string& more = {}) const {
    auto out = std::string{"{"};
    if (!kid.empty())
      out += R"("kid":")" + kid + R"(",)";
    if (alg == "RS256")
      out += R"("kty":"RSA","n":")" + b64(number(OSSL_PKEY_PARAM_RSA_N))
             + R"(","e":")" + b64(number(OSSL_PKEY_PARAM_RSA_E)) + '"';
    else if (alg == "ES256")
      out += R"("kty":"EC","crv":"P-256","x":")" + b64(coordinate("qx"))
             + R"(","y":")" + b64(coordinate("qy")) + '"';
    else
      out += R"("kty":"OKP","crv":"Ed25519","x":")" + b64(raw()) + '"';
    return out + (more.empty() ? "" : ",") + more + "}";
  }

  /// A raw signature in the form of JSON Web Signatures.
  [[nodiscard]] std::string sign(std::string_view text) const {
    const auto context = openssl::md_ctx_ptr{EVP_MD_CTX_new()};
    must_be(EVP_DigestSignInit(context.get(), nullptr,
                               alg == "EdDSA" ? nullptr : EVP_sha256(), nullptr,
                               key.get())
            == 1);
    const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
    auto size = std::size_t{0};
    must_be(EVP_DigestSign(context.get(), nullptr, &size, bytes, text.size())
            == 1);
    auto out = std::string(size, '\0');
    must_be(EVP_DigestSign(context.get(),
                           reinterpret_cast<unsigned char*>(out.data()), &size,
                           bytes, text.size())
            == 1);
    out.resize(size);
    return alg == "ES256" ? plain(out) : out;
  }

  [[nodiscard]] std::string
  token_with(const std::string& head, const std::string& claims) const {
    const auto text = b64(head) + "." + b64(claims);
    return text + "." + b64(sign(text));
  }

  [[nodiscard]] std::string token(const std::string& claims) const {
    return token_with(head(), claims);
  }

  [[nodiscard]] std::string head() const {
    auto out = R"({"alg":")" + alg + '"';
    if (!kid.empty())
      out += R"(,"kid":")" + kid + '"';
    return out + "}";
  }

  /// The public key as people pass it on.
  [[nodiscard]] std::string pem() const {
    const auto out = openssl::bio_ptr{BIO_new(BIO_s_mem())};
    must_be(PEM_write_bio_PUBKEY(out.get(), key.get()) == 1);
    return openssl::content_of(out.get());
  }

  std::string alg;
  std::string kid;

private:
  issuer(std::string algorithm, std::string id, EVP_PKEY* made)
    : alg{std::move(algorithm)}, kid{std::move(id)}, key{made} {
    must_be(made != nullptr);
  }

  [[nodiscard]] std::string number(const char* name) const {
    BIGNUM* value = nullptr;
    must_be(EVP_PKEY_get_bn_param(key.get(), name, &value) == 1);
    auto out = std::string(static_cast<std::size_t>(BN_num_bytes(value)), '\0');
    BN_bn2bin(value, reinterpret_cast<unsigned char*>(out.data()));
    BN_free(value);
    return out;
  }

  [[nodiscard]] std::string coordinate(const char* name) const {
    auto out = number(name);
    return std::string(32 - out.size(), '\0') + out;
  }

  [[nodiscard]] std::string raw() const {
    auto size = std::size_t{32};
    auto out = std::string(size, '\0');
    must_be(EVP_PKEY_get_raw_public_key(
              key.get(), reinterpret_cast<unsigned char*>(out.data()), &size)
            == 1);
    return out;
  }

  /// r and s of the form that OpenSSL writes.
  static std::string plain(const std::string& der) {
    const auto* at = reinterpret_cast<const unsigned char*>(der.data());
    auto* parsed = d2i_ECDSA_SIG(nullptr, &at, static_cast<long>(der.size()));
    must_be(parsed != nullptr);
    auto out = std::string(64, '\0');
    auto* to = reinterpret_cast<unsigned char*>(out.data());
    BN_bn2binpad(ECDSA_SIG_get0_r(parsed), to, 32);
    BN_bn2binpad(ECDSA_SIG_get0_s(parsed), to + 32, 32);
    ECDSA_SIG_free(parsed);
    return out;
  }

  openssl::pkey_ptr key;
};

/// A key set of these keys.
inline std::string key_set_of(const std::vector<std::string>& keys) {
  auto out = std::string{R"({"keys":[)"};
  for (const auto& x : keys)
    out += (out.back() == '[' ? "" : ",") + x;
  return out + "]}";
}

} // namespace slipway::test

#include "http/crypto/digest.hpp"

#include "http/crypto/openssl.hpp"

#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <array>
#include <climits>
#include <stdexcept>

namespace slipway::crypto {

namespace {

const unsigned char* bytes_of(std::string_view text) noexcept {
  return reinterpret_cast<const unsigned char*>(text.data());
}

/// Fetching an algorithm takes locks and a look-up, so it happens once.
const EVP_MD* fetched(const char* name) {
  auto* algorithm = EVP_MD_fetch(nullptr, name, nullptr);
  if (algorithm == nullptr)
    throw std::runtime_error{std::string{"OpenSSL offers no "} + name};
  return algorithm;
}

std::string digest_of(const EVP_MD* algorithm, std::string_view bytes) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> buffer{};
  unsigned int size = 0;
  if (EVP_Digest(bytes.data(), bytes.size(), buffer.data(), &size, algorithm,
                 nullptr)
      != 1)
    throw std::runtime_error{"OpenSSL can't compute a digest: "
                             + openssl::last_error()};
  return std::string{reinterpret_cast<const char*>(buffer.data()), size};
}

} // namespace

std::string sha256(std::string_view bytes) {
  static const EVP_MD* const algorithm = fetched("SHA256");
  return digest_of(algorithm, bytes);
}

std::string md5(std::string_view bytes) {
  static const EVP_MD* const algorithm = fetched("MD5");
  return digest_of(algorithm, bytes);
}

std::string hmac_sha256(std::string_view key, std::string_view message) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> buffer{};
  unsigned int size = 0;
  // An empty key is a valid one, but its pointer must not be null.
  const void* key_data = key.empty() ? "" : key.data();
  if (HMAC(EVP_sha256(), key_data, static_cast<int>(key.size()),
           bytes_of(message), message.size(), buffer.data(), &size)
      == nullptr)
    throw std::runtime_error{"OpenSSL can't compute an HMAC: "
                             + openssl::last_error()};
  return std::string{reinterpret_cast<const char*>(buffer.data()), size};
}

bool constant_time_equal(std::string_view a, std::string_view b) noexcept {
  return a.size() == b.size()
         && (a.empty() || CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0);
}

tl::expected<std::string, std::string> random_bytes(std::size_t count) {
  if (count > INT_MAX)
    return tl::make_unexpected(
      std::string{"can't draw more than 2 GiB of random bytes at once"});
  openssl::error_guard guard;
  std::string result(count, '\0');
  if (count > 0
      && RAND_bytes(reinterpret_cast<unsigned char*>(result.data()),
                    static_cast<int>(count))
           != 1)
    return tl::make_unexpected("the random source of OpenSSL failed: "
                               + openssl::last_error());
  return result;
}

} // namespace slipway::crypto

#include "config/keyring.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include <algorithm>
#include <array>
#include <memory>
#include <set>
#include <stdexcept>
#include <utility>

namespace slipway::config {

namespace {

constexpr auto nonce_size = std::size_t{12};
constexpr auto tag_size = std::size_t{16};
/// OpenSSL counts in int.
constexpr auto size_max = std::size_t{1} << 30;

using cipher_context
  = std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)>;

cipher_context make_context() {
  return {EVP_CIPHER_CTX_new(), &EVP_CIPHER_CTX_free};
}

unsigned char* bytes(std::string& text) {
  return reinterpret_cast<unsigned char*>(text.data());
}

const unsigned char* bytes(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

[[noreturn]] void fail() {
  throw std::runtime_error("OpenSSL failed to encrypt with AES-256-GCM");
}

} // namespace

void openssl_random(unsigned char* to, std::size_t count) {
  if (count > size_max || RAND_bytes(to, static_cast<int>(count)) != 1)
    throw std::runtime_error("OpenSSL's generator gave no random bytes");
}

keyring::keyring(const secrets_settings& from, random_source random)
  : random_{std::move(random)} {
  if (from.credential_keys.empty())
    throw std::invalid_argument("a keyring needs at least one key");
  auto ids = std::set<std::string>{};
  for (const auto& each : from.credential_keys)
    if (!ids.insert(each.id).second)
      throw std::invalid_argument("a keyring needs keys of different ids");
  // Copied at once: growing would leave keys behind in freed memory.
  keys_ = from.credential_keys;
}

keyring::~keyring() {
  for (auto& each : keys_)
    OPENSSL_cleanse(each.bytes.data(), each.bytes.size());
}

sealed keyring::seal(std::string_view plaintext,
                     std::string_view associated_data) const {
  if (plaintext.size() > size_max || associated_data.size() > size_max)
    throw std::length_error("what is sealed at once is at most 1 GiB");
  const auto& with = keys_.front();
  auto result = sealed{with.id, std::string(nonce_size, '\0'),
                       std::string(plaintext.size() + tag_size, '\0')};
  random_(bytes(result.nonce), nonce_size);
  const auto context = make_context();
  auto* out = bytes(result.ciphertext);
  auto* tag = out + plaintext.size();
  auto written = 0;
  if (!context
      || EVP_EncryptInit_ex(context.get(), EVP_aes_256_gcm(), nullptr,
                            with.bytes.data(), bytes(result.nonce))
           != 1
      || EVP_EncryptUpdate(context.get(), nullptr, &written,
                           bytes(associated_data),
                           static_cast<int>(associated_data.size()))
           != 1
      || EVP_EncryptUpdate(context.get(), out, &written, bytes(plaintext),
                           static_cast<int>(plaintext.size()))
           != 1
      || static_cast<std::size_t>(written) != plaintext.size()
      || EVP_EncryptFinal_ex(context.get(), tag, &written) != 1
      || EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_GCM_GET_TAG,
                             static_cast<int>(tag_size), tag)
           != 1)
    fail();
  return result;
}

tl::expected<std::string, std::string>
keyring::open(const sealed& from, std::string_view associated_data) const {
  const auto with
    = std::find_if(keys_.begin(), keys_.end(), [&](const auto& each) {
        return each.id == from.key_id;
      });
  if (with == keys_.end())
    return tl::make_unexpected("no credential key has the id \"" + from.key_id
                               + "\" it was sealed with");
  if (from.nonce.size() != nonce_size)
    return tl::make_unexpected("expected a nonce of 12 bytes, found "
                               + std::to_string(from.nonce.size()) + " bytes");
  if (from.ciphertext.size() < tag_size
      || from.ciphertext.size() - tag_size > size_max
      || associated_data.size() > size_max)
    return tl::make_unexpected("expected a ciphertext of 16 bytes to 1 GiB, "
                               "found "
                               + std::to_string(from.ciphertext.size())
                               + " bytes");
  auto tag = from.ciphertext.substr(from.ciphertext.size() - tag_size);
  auto result = std::string(from.ciphertext.size() - tag_size, '\0');
  const auto context = make_context();
  auto written = 0;
  if (!context
      || EVP_DecryptInit_ex(context.get(), EVP_aes_256_gcm(), nullptr,
                            with->bytes.data(), bytes(from.nonce))
           != 1
      || EVP_DecryptUpdate(context.get(), nullptr, &written,
                           bytes(associated_data),
                           static_cast<int>(associated_data.size()))
           != 1
      || EVP_DecryptUpdate(context.get(), bytes(result), &written,
                           bytes(from.ciphertext),
                           static_cast<int>(result.size()))
           != 1
      || EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_GCM_SET_TAG,
                             static_cast<int>(tag_size), tag.data())
           != 1) {
    OPENSSL_cleanse(result.data(), result.size());
    return tl::make_unexpected(
      std::string{"OpenSSL failed to decrypt with AES-256-GCM"});
  }
  auto rest = std::array<unsigned char, tag_size>{};
  if (EVP_DecryptFinal_ex(context.get(), rest.data(), &written) != 1) {
    // Unverified text must not lie around.
    OPENSSL_cleanse(result.data(), result.size());
    return tl::make_unexpected("the text was not sealed with the key \""
                               + from.key_id
                               + "\" for this purpose, or it was changed");
  }
  return result;
}

} // namespace slipway::config

#include "http/crypto/aead.hpp"

#include "http/crypto/openssl.hpp"

#include <openssl/crypto.h>

#include <array>
#include <utility>

namespace slipway::crypto {

using namespace openssl;

namespace {

/// OpenSSL counts in int.
constexpr std::size_t size_max = std::size_t{1} << 30;

using cipher_ptr
  = std::unique_ptr<EVP_CIPHER_CTX, deleter<&EVP_CIPHER_CTX_free>>;

auto failed(std::string sentence) {
  return tl::make_unexpected(std::move(sentence));
}

const unsigned char* bytes_of(std::string_view text) noexcept {
  return reinterpret_cast<const unsigned char*>(text.data());
}

unsigned char* bytes_of(std::string& text) noexcept {
  return reinterpret_cast<unsigned char*>(text.data());
}

/// What is wrong with the lengths; empty where nothing is.
std::string length_problem(std::string_view key, std::string_view nonce,
                           std::string_view associated_data) {
  if (key.size() != aes_256_key_size)
    return "expected a key of 32 bytes, found " + std::to_string(key.size());
  if (nonce.size() != gcm_nonce_size)
    return "expected a nonce of 12 bytes, found "
           + std::to_string(nonce.size());
  if (associated_data.size() > size_max)
    return "the associated data is longer than 1 GiB";
  return {};
}

} // namespace

tl::expected<std::string, std::string>
seal_aes_256_gcm(std::string_view key, std::string_view nonce,
                 std::string_view associated_data, std::string_view plaintext) {
  error_guard guard;
  if (auto problem = length_problem(key, nonce, associated_data);
      !problem.empty())
    return failed(std::move(problem));
  if (plaintext.size() > size_max)
    return failed("the text is longer than 1 GiB");
  auto result = std::string(plaintext.size() + gcm_tag_size, '\0');
  auto* out = bytes_of(result);
  auto* tag = out + plaintext.size();
  auto written = 0;
  cipher_ptr context{EVP_CIPHER_CTX_new()};
  if (!context
      || EVP_EncryptInit_ex(context.get(), EVP_aes_256_gcm(), nullptr,
                            bytes_of(key), bytes_of(nonce))
           != 1
      || EVP_EncryptUpdate(context.get(), nullptr, &written,
                           bytes_of(associated_data),
                           static_cast<int>(associated_data.size()))
           != 1
      || EVP_EncryptUpdate(context.get(), out, &written, bytes_of(plaintext),
                           static_cast<int>(plaintext.size()))
           != 1
      || static_cast<std::size_t>(written) != plaintext.size()
      || EVP_EncryptFinal_ex(context.get(), tag, &written) != 1
      || EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_GCM_GET_TAG,
                             static_cast<int>(gcm_tag_size), tag)
           != 1)
    return failed("OpenSSL can't encrypt with AES-256-GCM: " + last_error());
  return result;
}

tl::expected<std::string, std::string>
open_aes_256_gcm(std::string_view key, std::string_view nonce,
                 std::string_view associated_data, std::string_view sealed) {
  error_guard guard;
  if (auto problem = length_problem(key, nonce, associated_data);
      !problem.empty())
    return failed(std::move(problem));
  if (sealed.size() < gcm_tag_size || sealed.size() > size_max)
    return failed("expected a ciphertext of 16 bytes to 1 GiB, found "
                  + std::to_string(sealed.size()) + " bytes");
  auto text_size = sealed.size() - gcm_tag_size;
  auto tag = std::string{sealed.substr(text_size)};
  auto result = std::string(text_size, '\0');
  auto written = 0;
  cipher_ptr context{EVP_CIPHER_CTX_new()};
  if (!context
      || EVP_DecryptInit_ex(context.get(), EVP_aes_256_gcm(), nullptr,
                            bytes_of(key), bytes_of(nonce))
           != 1
      || EVP_DecryptUpdate(context.get(), nullptr, &written,
                           bytes_of(associated_data),
                           static_cast<int>(associated_data.size()))
           != 1
      || EVP_DecryptUpdate(context.get(), bytes_of(result), &written,
                           bytes_of(sealed), static_cast<int>(text_size))
           != 1
      || EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_GCM_SET_TAG,
                             static_cast<int>(gcm_tag_size), tag.data())
           != 1) {
    OPENSSL_cleanse(result.data(), result.size());
    return failed("OpenSSL can't decrypt with AES-256-GCM: " + last_error());
  }
  std::array<unsigned char, gcm_tag_size> rest{};
  if (EVP_DecryptFinal_ex(context.get(), rest.data(), &written) != 1) {
    // Unverified text must not lie around.
    OPENSSL_cleanse(result.data(), result.size());
    return failed("the tag is wrong: encrypted with another key or nonce, for "
                  "another purpose, or changed");
  }
  return result;
}

} // namespace slipway::crypto

#include "http/crypto/aes_ecb.hpp"

#include "http/crypto/openssl.hpp"

#include <climits>
#include <cstddef>

namespace slipway::crypto {

namespace {

using cipher_ctx_ptr
  = std::unique_ptr<EVP_CIPHER_CTX, openssl::deleter<&EVP_CIPHER_CTX_free>>;

constexpr std::size_t key_size = 32;
constexpr std::size_t block_size = 16;

auto failed(std::string sentence) {
  return tl::make_unexpected(std::move(sentence));
}

tl::expected<std::string, std::string>
run(bool encrypts, std::string_view key, std::string_view input) {
  if (key.size() != key_size)
    return failed("the key has " + std::to_string(key.size())
                  + " bytes; expected 32");
  if (input.size() > INT_MAX - block_size)
    return failed("more than 2 GiB can't be sealed at once");
  openssl::error_guard guard;
  cipher_ctx_ptr context{EVP_CIPHER_CTX_new()};
  const auto* bytes = reinterpret_cast<const unsigned char*>(input.data());
  const auto* key_bytes = reinterpret_cast<const unsigned char*>(key.data());
  std::string result(input.size() + block_size, '\0');
  auto* out = reinterpret_cast<unsigned char*>(result.data());
  int written = 0;
  int last = 0;
  if (context == nullptr
      || EVP_CipherInit_ex(context.get(), EVP_aes_256_ecb(), nullptr, key_bytes,
                           nullptr, encrypts ? 1 : 0)
           != 1
      || EVP_CIPHER_CTX_set_padding(context.get(), 1) != 1
      || (!input.empty()
          && EVP_CipherUpdate(context.get(), out, &written, bytes,
                              static_cast<int>(input.size()))
               != 1))
    return failed("OpenSSL refuses AES-256-ECB: " + openssl::last_error());
  if (EVP_CipherFinal_ex(context.get(), out + written, &last) != 1)
    return failed("the padding is wrong: another key, or damaged");
  result.resize(static_cast<std::size_t>(written + last));
  return result;
}

} // namespace

tl::expected<std::string, std::string>
aes_256_ecb_encrypt(std::string_view key, std::string_view text) {
  return run(true, key, text);
}

tl::expected<std::string, std::string>
aes_256_ecb_decrypt(std::string_view key, std::string_view sealed) {
  if (sealed.empty() || sealed.size() % block_size != 0)
    return failed("found " + std::to_string(sealed.size())
                  + " bytes; expected whole blocks of 16, at least one");
  return run(false, key, sealed);
}

} // namespace slipway::crypto

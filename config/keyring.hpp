#pragma once

#include "config/settings.hpp"

#include <tl/expected.hpp>

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace slipway::config {

/// A text that only the keyring can read again. None of it is confidential.
struct sealed {
  std::string key_id;
  std::string nonce;      ///< 12 bytes.
  std::string ciphertext; ///< As long as the text, and 16 bytes of tag.
};

/// Fills a range with random bytes. Called from whichever thread seals.
using random_source = std::function<void(unsigned char*, std::size_t)>;

/// Takes bytes from OpenSSL's generator.
/// @throws std::runtime_error when it has none to give.
void openssl_random(unsigned char* to, std::size_t count);

/// Protects channel credentials at rest: AES-256-GCM under the first key, while
/// all keys still open what they have sealed. All members are const, and
/// callable from any thread as far as the random source is.
class keyring {
public:
  /// @throws std::invalid_argument when there is no key, or an id twice.
  explicit keyring(const secrets_settings& from,
                   random_source random = openssl_random);

  keyring(const keyring&) = delete;
  keyring& operator=(const keyring&) = delete;
  keyring(keyring&&) = delete;
  keyring& operator=(keyring&&) = delete;

  /// Wipes the keys.
  ~keyring();

  /// The id of the first key.
  [[nodiscard]] const std::string& sealing_id() const noexcept {
    return keys_.front().id;
  }

  /// Encrypts under the first key with a fresh nonce.
  /// @param plaintext What to hide, at most 1 GiB.
  /// @param associated_data Not hidden, but `open` must be told the same: what
  ///        the text belongs to, so that a row cannot be put into another's
  ///        place. At most 1 GiB.
  /// @throws std::length_error beyond these limits.
  /// @throws std::runtime_error when OpenSSL fails.
  [[nodiscard]] sealed
  seal(std::string_view plaintext, std::string_view associated_data) const;

  /// Decrypts what `seal` made.
  /// @returns the text, or a sentence that says why not.
  [[nodiscard]] tl::expected<std::string, std::string>
  open(const sealed& from, std::string_view associated_data) const;

private:
  std::vector<credential_key> keys_;
  random_source random_;
};

} // namespace slipway::config

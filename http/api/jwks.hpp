#pragma once

#include "actors/lifecycle/time.hpp"
#include "http/crypto/signature_key.hpp"

#include <tl/expected.hpp>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace slipway::api {

/// Public keys that verify tokens. Constant after it was parsed; callable from
/// any thread.
class key_set {
public:
  struct entry {
    std::string id; ///< `kid`; may be empty.
    crypto::signature_key key;
  };

  /// Reads a JSON Web Key Set (RFC 7517). Keys for other uses (`use: enc`),
  /// of types and for algorithms that are not ours are left out, as the
  /// standard has it; one that is ours and broken, a secret or private one, and
  /// two that cannot be told apart are mistakes, and so is a set without any of
  /// ours.
  /// @returns a sentence: what was expected and what was found in which key.
  [[nodiscard]] static tl::expected<key_set, std::string>
  parse(std::string_view text);

  /// Whether a key of any kind has this id.
  [[nodiscard]] bool knows(std::string_view id) const;

  /// Whether one of the keys that a token names has signed the message: the
  /// one of its id and kind, or, where it names none, any of its kind.
  [[nodiscard]] bool
  verify(std::string_view id, crypto::signature_kind kind,
         std::string_view message, std::string_view signature) const;

  /// Whether a key has this id (or, where that is empty, any) and this kind.
  [[nodiscard]] bool
  fits(std::string_view id, crypto::signature_kind kind) const;

  [[nodiscard]] const std::vector<entry>& entries() const noexcept {
    return entries_;
  }

  /// `2 keys: RS256 "a", EdDSA "b"`, for people.
  [[nodiscard]] std::string describe() const;

private:
  std::vector<entry> entries_;
};

/// A key set in a file that is looked at again while the server runs: every
/// few seconds, and sooner when a token names a key that is not there. A file
/// that cannot be read, or is no key set, changes nothing and is logged once.
/// Callable from any thread; a look reads a small file on the caller's.
class key_file {
public:
  using keys_ptr = std::shared_ptr<const key_set>;

  /// How often the file is looked at.
  static constexpr auto interval = millis{5'000};

  /// How often at most because of keys that are not there.
  static constexpr auto forced_interval = millis{1'000};

  /// Reads the file.
  /// @returns a sentence on what is wrong with it, with its path.
  [[nodiscard]] static tl::expected<std::unique_ptr<key_file>, std::string>
  open(std::string path, timestamp now);

  /// The keys as they are now.
  [[nodiscard]] keys_ptr keys(timestamp now) const;

  /// The keys after one more look, if there has not been one just now.
  [[nodiscard]] keys_ptr look_again(timestamp now) const;

private:
  /// What tells that a file is another one, or was written to.
  struct mark {
    std::uint64_t device = 0;
    std::uint64_t inode = 0;
    std::int64_t size = -1;
    std::int64_t changed_ns = 0;
    bool operator==(const mark&) const = default;
  };

  explicit key_file(std::string path) : path_{std::move(path)} {
  }

  /// @pre `mutex_` is held.
  void look(timestamp now) const;

  std::string path_;
  mutable std::atomic<keys_ptr> keys_;
  /// Milliseconds since 1970.
  mutable std::atomic<std::int64_t> due_at_{0};
  mutable std::atomic<std::int64_t> forced_at_{0};
  mutable std::mutex mutex_;
  mutable mark seen_;
  /// Written to so shortly before the look that one more change could have the
  /// same mark.
  mutable bool fresh_ = false;
  mutable std::string content_;
};

} // namespace slipway::api

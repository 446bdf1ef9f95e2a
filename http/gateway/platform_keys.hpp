#pragma once

#include "actors/lifecycle/time.hpp"
#include "config/settings.hpp"
#include "http/crypto/rsa.hpp"

#include <tl/expected.hpp>

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace slipway::gateway {

/// A certificate of WeChat Pay as `GET /v3/certificates` hands it out.
struct platform_certificate {
  /// As WeChat Pay writes it, leading zeros and all.
  std::string serial;
  std::string pem;
  crypto::rsa_public_key key;
  timestamp effective_at{};
  timestamp expires_at{};
};

/// Reads a certificate's key and period of validity and checks its serial.
/// @returns a sentence where the PEM holds no certificate with an RSA key, or
///          one of another serial.
[[nodiscard]] tl::expected<platform_certificate, std::string>
read_platform_certificate(std::string_view serial, std::string_view pem);

/// Whether the serial names a public key rather than a certificate. Those are
/// never downloaded.
[[nodiscard]] bool is_public_key_id(std::string_view serial) noexcept;

/// The keys that WeChat Pay signs with, by serial: those that are configured,
/// and those downloaded since. Several are good at once, as during a rotation
/// or on the way from certificates to a public key. Callable from any thread.
class platform_keys {
public:
  /// Parses what is configured; may be nothing.
  /// @returns a sentence on the first one that is wrong.
  [[nodiscard]] static tl::expected<std::shared_ptr<platform_keys>, std::string>
  make(const std::vector<config::platform_key>& configured);

  platform_keys(const platform_keys&) = delete;
  platform_keys& operator=(const platform_keys&) = delete;

  /// The key with exactly this serial, where it is valid at `now`. Public keys
  /// always are, certificates from their first to their last moment.
  [[nodiscard]] std::optional<crypto::rsa_public_key>
  find(std::string_view serial, timestamp now) const;

  /// Replaces what was downloaded before. What has expired at `now` is left
  /// out; what is configured stays, and wins.
  void put(std::vector<platform_certificate> downloaded, timestamp now);

  /// The serial that requests should ask to be answered with: the configured
  /// `PUB_KEY_ID_…`, else a certificate's; empty where there is none.
  [[nodiscard]] std::string public_key_id() const;

  /// Every serial, the configured ones first.
  [[nodiscard]] std::vector<std::string> serials() const;

  /// Whether anything downloaded is held, expired or not.
  [[nodiscard]] bool has_downloaded() const;

private:
  struct entry {
    std::string serial;
    crypto::rsa_public_key key;
    timestamp effective_at;
    timestamp expires_at;
  };

  using entries = std::vector<entry>;

  explicit platform_keys(entries configured);

  [[nodiscard]] std::shared_ptr<const entries> downloaded() const;

  /// Fixed for good, so that reading it needs no lock.
  const entries configured_;
  mutable std::mutex mutex_;
  /// Guarded by `mutex_`.
  std::shared_ptr<const entries> downloaded_
    = std::make_shared<const entries>();
};

} // namespace slipway::gateway

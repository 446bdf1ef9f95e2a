#pragma once

#include "actors/lifecycle/time.hpp"

#include <tl/expected.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

struct ssl_ctx_st;

namespace slipway::http {

/// Where a listener has its certificate from, both in PEM.
struct tls_files {
  /// The server's certificate first, then those between it and its root.
  std::string certificate;
  /// The private key of the first one, not encrypted.
  std::string key;
};

/// What is wrong with one of the two files. Never quotes a key.
struct tls_fault {
  enum file : std::uint8_t { certificate, key };
  file of = certificate;
  std::string expected;
  std::string found;
};

/// `FILE: expected …, found …`
[[nodiscard]] std::string
to_string(const tls_fault& what, const tls_files& files);

/// How often the files are looked at.
inline constexpr auto tls_look_interval = millis{2'000};

/// A certificate that ends sooner is warned of, once a day.
inline constexpr auto tls_expiry_notice = std::chrono::hours{14 * 24};

/// A certificate with its key, and new ones when the files change: connections
/// that come later get the new one, those that are there stay as they are. What
/// is offered: TLS 1.2 and 1.3 with forward secrecy, no renegotiation, ALPN
/// `http/1.1`, tickets that end with the certificate. Thread-safe; may be
/// shared by several servers.
class tls_keeper {
public:
  using clock = std::chrono::system_clock;

  /// What came of a look at the files.
  enum class outcome : std::uint8_t {
    same,    ///< They are as they were.
    taken,   ///< They have changed, and are in use.
    waiting, ///< They do not fit, and may still be in the middle of a change.
    refused, ///< They do not fit and have not changed since; said once.
  };

  /// Reads both files.
  /// @returns what is wrong when they cannot be used. An expired certificate
  ///          can: `valid_until` tells.
  [[nodiscard]] static tl::expected<std::shared_ptr<tls_keeper>, tls_fault>
  open(tls_files files);

  tls_keeper(const tls_keeper&) = delete;
  tls_keeper& operator=(const tls_keeper&) = delete;

  /// Ends the watch.
  ~tls_keeper();

  /// Looks at the files from now on, on a thread of its own: a slow disk does
  /// not hold up connections. Later calls do nothing.
  void watch(millis every = tls_look_interval);

  /// Looks at the files once. What is wrong with new ones is logged when they
  /// are still so at the second look: whoever changes two files changes one
  /// first.
  outcome look(clock::time_point now = clock::now());

  /// What a handshake is to use.
  [[nodiscard]] std::shared_ptr<ssl_ctx_st> current() const;

  /// When the certificate in use ends.
  [[nodiscard]] clock::time_point valid_until() const;

  /// Whom it names, for people.
  [[nodiscard]] std::string subject() const;

private:
  struct impl;

  explicit tls_keeper(std::unique_ptr<impl> state);

  std::unique_ptr<impl> impl_;
};

/// Says when a certificate ends where that is soon: `expires on 2026-12-01, in
/// 5 day(s)` or `expired on …`. Nothing where it is not.
[[nodiscard]] std::optional<std::string>
expiry_notice(tls_keeper::clock::time_point valid_until,
              tls_keeper::clock::time_point now);

} // namespace slipway::http

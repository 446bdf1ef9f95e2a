#pragma once

#include "http/crypto/rsa.hpp"
#include "persistence/embedded.hpp"
#include "persistence/pg/connection.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

/// Everything around the server that a benchmark needs: a database, keys, a
/// configuration, the server itself as a child process, tokens and
/// notifications. Whatever fails here throws `failure`: the run is worthless
/// then, and everything that was started has to be stopped.
namespace slipway::bench {

struct failure : std::runtime_error {
  using runtime_error::runtime_error;
};

[[noreturn]] void give_up(const std::string& why);

/// A directory that is removed at the end.
class scratch {
public:
  scratch();
  ~scratch();

  scratch(const scratch&) = delete;
  scratch& operator=(const scratch&) = delete;

  /// Writes a file and returns its path.
  std::string write(const std::string& name, std::string_view content) const;

  [[nodiscard]] const std::string& dir() const noexcept {
    return dir_;
  }

private:
  std::string dir_;
};

/// The keys of the merchant, of Alipay and of the tokens' issuer.
struct key_set {
  key_set();

  crypto::rsa_key_pair app;
  crypto::rsa_key_pair alipay;
  crypto::rsa_private_key alipay_signs;
  std::string token_secret;
  std::string credential_key;
};

/// A token for a user, good for a day.
[[nodiscard]] std::string
make_token(const key_set& keys, const std::string& user);

/// A signed TRADE_SUCCESS for an order, as form body.
[[nodiscard]] std::string
make_notification(const key_set& keys, const std::string& order_id,
                  std::uint64_t number);

/// A PostgreSQL cluster of our own, or one that somebody has given us.
class database {
public:
  /// @param url an empty database; no text for a cluster of our own with
  ///            PostgreSQL's default durability.
  explicit database(std::string url);

  /// Makes an empty database. Whoever used the last one has to be gone.
  /// @returns how to connect to it.
  std::string make();

  /// The first column of the first row.
  [[nodiscard]] static std::int64_t
  count(const std::string& url, const std::string& sql);

private:
  // Apart from the keys: PostgreSQL runs as another user when we are root.
  scratch place_;
  std::unique_ptr<embedded_cluster> cluster_;
  std::string url_;
  int made_ = 0;
};

/// An endpoint that takes connections and never says a word.
class silent_endpoint {
public:
  silent_endpoint();
  ~silent_endpoint();

  silent_endpoint(const silent_endpoint&) = delete;
  silent_endpoint& operator=(const silent_endpoint&) = delete;

  [[nodiscard]] std::uint16_t port() const noexcept {
    return port_;
  }

private:
  int socket_;
  std::uint16_t port_ = 0;
};

/// The server under test.
class server_process {
public:
  /// Starts it and waits until it is ready.
  /// @param provider_port of a Railway that is configured, 0 for none.
  server_process(const std::string& binary, const scratch& in,
                 const key_set& keys, const std::string& database_url,
                 std::uint16_t provider_port);
  /// Stops it, after a while by force.
  ~server_process();

  server_process(const server_process&) = delete;
  server_process& operator=(const server_process&) = delete;

  [[nodiscard]] std::uint16_t port() const noexcept {
    return port_;
  }

  [[nodiscard]] pid_t pid() const noexcept {
    return pid_;
  }

  /// A sample of /metrics, 0 when it is not there.
  [[nodiscard]] double metric(const std::string& name) const;

  /// VmRSS in bytes.
  [[nodiscard]] std::int64_t resident_bytes() const;

  /// User and system time so far.
  [[nodiscard]] std::chrono::duration<double> cpu_time() const;

private:
  [[noreturn]] void not_ready(const std::string& why);

  pid_t pid_ = 0;
  std::uint16_t port_;
  std::uint16_t admin_port_;
  std::string log_;
};

/// `2 cores, 24 GB of memory, x86_64`.
[[nodiscard]] std::string describe_machine();

} // namespace slipway::bench

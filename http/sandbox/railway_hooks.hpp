#pragma once

#include "http/client/curl_client.hpp"
#include "http/sandbox/delivery.hpp"
#include "http/sandbox/railway_world.hpp"

#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <random>

namespace slipway::sandbox::railway {

/// INTERNAL: Posts what becomes of deployments to the webhooks of the
/// notification rules: once each, never again when nobody answers.
///
/// `told` belongs to whoever holds the world; everything is sent on threads of
/// its own, with a queue that has an end.
class hooks {
public:
  /// @param all Must outlive the hooks, as `time` must.
  /// @param seed Decides which ones get lost.
  hooks(const world& all, std::string workspace_id, const clock& time,
        std::uint64_t seed);

  /// Stops.
  ~hooks();

  hooks(const hooks&) = delete;
  hooks& operator=(const hooks&) = delete;

  /// Something has become of a deployment.
  void
  told(const project& of, const service& in, const deployment& x, change what);

  /// Whether there is anybody to be told.
  [[nodiscard]] bool needed() const;

  /// What was sent, lost ones included; oldest first. From any thread.
  [[nodiscard]] std::deque<delivery> sent() const;

  /// Forgets what waits.
  void stop();

private:
  /// What came back. Shared with those who bring it.
  struct record {
    std::mutex mutex;
    std::deque<delivery> all;
  };

  [[nodiscard]] std::string write(const project& of, const service& in,
                                  const deployment& x, change what) const;
  void open();

  const world& all_;
  std::string workspace_id_;
  const clock& time_;
  std::mt19937_64 random_;
  std::shared_ptr<record> record_;
  // Threads are started for the first message only.
  std::optional<client::curl_client> network_;
  std::optional<courier> courier_;
};

} // namespace slipway::sandbox::railway

#pragma once

#include "actors/lifecycle/time.hpp"

#include <tl/expected.hpp>

#include <cstdint>
#include <memory>
#include <string>

namespace slipway::app {

struct sandbox_options {
  /// Holds the cluster and the keys; kept from one start to the next. Empty: a
  /// temporary directory that is removed at the end.
  std::string data_dir;
  std::uint16_t port = 8080; ///< 0 means: any free port.
};

/// A server with a world of its own: simulated Alipay, Railway and mailbox on
/// loopback, speaking the real protocols. The server does not know.
class sandbox {
public:
  [[nodiscard]] static tl::expected<std::unique_ptr<sandbox>, std::string>
  start(sandbox_options options);

  sandbox(const sandbox&) = delete;

  sandbox& operator=(const sandbox&) = delete;

  ~sandbox();

  void stop(millis deadline);

  /// @copydoc server::healthy
  [[nodiscard]] bool healthy();

  /// What a person needs to try it: addresses and tokens, one a line.
  [[nodiscard]] std::string banner() const;

private:
  struct impl;

  explicit sandbox(std::unique_ptr<impl> state);

  std::unique_ptr<impl> impl_;
};

} // namespace slipway::app

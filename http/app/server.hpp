#pragma once

#include "config/settings.hpp"
#include "http/server/router.hpp"

#include <tl/expected.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace slipway::app {

/// The whole server: database, actors and listeners, wired.
class server {
public:
  /// Starts everything; when it returns, requests are served. Blocks for as
  /// long as the database takes. Call it from a thread that outlives the
  /// server: an embedded cluster ends with the thread that started it.
  /// @param faults Whether operators may kill actors: for tests only.
  /// @param add_routes What the public listener serves besides the API; for
  ///        the sandbox.
  /// @returns a sentence that says what is wrong when it cannot.
  [[nodiscard]] static tl::expected<std::unique_ptr<server>, std::string>
  start(config::settings settings, bool faults = false,
        std::function<void(http::router&)> add_routes = nullptr);

  server(const server&) = delete;

  server& operator=(const server&) = delete;

  /// Stops, see `stop`.
  ~server();

  /// Stops accepting, lets what is under way end within `deadline`, hands the
  /// lease over and closes the database. Later calls do nothing.
  void stop(millis deadline);

  /// Whether what cannot come back by itself is still there: the embedded
  /// cluster, for whoever has one. Callable from the thread that started it.
  [[nodiscard]] bool healthy();

  [[nodiscard]] std::string url() const;

  [[nodiscard]] std::string admin_url() const;

private:
  struct impl;

  explicit server(std::unique_ptr<impl> state);

  std::unique_ptr<impl> impl_;
};

/// Sets spdlog up as configured: one line per entry on standard error.
void set_up_logging(const config::log_settings& settings);

} // namespace slipway::app

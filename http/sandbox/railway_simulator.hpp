#pragma once

#include "actors/lifecycle/time.hpp"
#include "http/sandbox/page.hpp"

#include <tl/expected.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace slipway::sandbox {

/// How long the simulated provider takes over things.
struct railway_stages {
  millis workflow{1'000};
  millis queued{300};
  millis initializing{300};
  millis building{1'500};
  millis deploying{1'000};
  millis removing{300};
};

struct railway_simulator_options {
  listen_options listen;
  /// The workspace token that requests must carry.
  std::string token;
  std::string workspace_id;
  /// Of the published template.
  std::string template_code = "slipway-demo";
  /// A project that exists from the start, to be cloned from: a service with
  /// several variables, a domain, a volume, and fields that nobody knows.
  /// Empty: there is none.
  std::string template_project_id = "5ca1ab1e-0000-4000-8000-000000000001";
  /// Its service.
  std::string template_service_id = "5ca1ab1e-0000-4000-8000-000000000002";
  railway_stages stages;
  /// Between two new projects. The real one is 30 s.
  millis create_cooldown{500};
  std::uint32_t requests_per_hour = 10'000;
  /// Answer `me`, which the real API refuses to workspace tokens.
  bool account_token = false;
  /// Live projects; beyond it the plan's limit is reached.
  std::size_t projects_max = 5'000;
  /// Seeds ids and secrets; 0 means: from the system.
  std::uint64_t seed = 0;
};

/// Railway's public GraphQL API at `POST /graphql/v2`: documents are checked
/// against the real schema's part that is known here, and everything moves on
/// with the clock: what is due happens, in its order, when somebody looks. Logs
/// can be followed over WebSocket (`graphql-transport-ws`) at the same path,
/// and the webhooks of notification rules are posted; where there are such
/// listeners, somebody looks all the time.
///
/// For people and scripts: `/` shows switches and everything that exists,
/// `GET`/`PUT /sandbox/railway` are the switches as JSON
/// (`railway_switches.hpp` explains each), `GET /sandbox/railway/state` is all
/// the rest. `POST /sandbox/railway/deployments/{id}/{deed}` does what happens
/// behind everybody's back: `crash`, `degrade` (one replica of several
/// crashes), `sleep`, `wake`, `stop`, `remove`, `redeploy`, `release` (what
/// hangs goes on) and `log` (`{"message","severity","build"}` adds a line);
/// `POST /sandbox/railway/projects/{id}/delete` and `…/services/{id}/delete`
/// delete.
class railway_simulator {
public:
  /// @param time Must outlive the simulator.
  railway_simulator(railway_simulator_options options, const clock& time);

  /// Stops.
  ~railway_simulator();

  /// @returns what is wrong with the options or the address otherwise.
  [[nodiscard]] tl::expected<void, std::string> start();

  void stop();

  [[nodiscard]] std::uint16_t port() const noexcept;

  /// `http://HOST:PORT/graphql/v2`.
  [[nodiscard]] std::string endpoint() const;

private:
  struct impl;

  std::shared_ptr<impl> impl_;
};

} // namespace slipway::sandbox

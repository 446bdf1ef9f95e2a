#pragma once

#include "actors/lifecycle/machine.hpp"
#include "http/provider/view.hpp"

#include <boost/json/object.hpp>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// Looking at environments, many in one document, and what is seen there. Pure.
namespace slipway::provider {

// -- asking
// -----------------------------------------------------------------------------

/// One environment that is to be read, with the steps of some deployments.
struct look {
  std::string environment_id;        ///< Empty: the steps only.
  std::vector<std::string> steps_of; ///< Deployments.
};

struct look_document {
  std::string text;
  boost::json::object variables;
};

/// Makes one document of several looks, told apart by aliases: `e3` is the
/// environment of the fourth one, `s3_0` the steps of its first deployment.
/// What needs one field only is asked for plainly.
[[nodiscard]] look_document make_look_document(const std::vector<look>& looks);

/// What one field of such a document is about.
struct look_field {
  std::size_t look = 0;
  bool steps = false; ///< Of a deployment, and not the environment itself.
};

/// Finds the look that an alias belongs to; in a plain document every name
/// belongs to the one field.
[[nodiscard]] std::optional<look_field>
find_look(std::string_view field, const std::vector<look>& looks);

// -- seeing
// -----------------------------------------------------------------------------

/// How far a deployment's steps have come.
struct steps_view {
  std::uint8_t progress = 0; ///< Of the furthest step; 0: unknown.
  std::string error;         ///< Of the last step that has one, with its name.
};

/// Reads a connection of `deploymentEvents`.
[[nodiscard]] steps_view steps_of(const boost::json::value& connection);

/// What one look has shown.
struct seen_environment {
  bool there = false; ///< The environment was in the answer.
  std::vector<service_view> services;
  std::map<std::string, steps_view> steps; ///< By deployment.
};

/// Reads `data` of an answer to `make_look_document(looks)`.
[[nodiscard]] std::vector<seen_environment>
read_looks(const std::vector<look>& looks, const boost::json::value& data);

// -- looking closer
// ---------------------------------------------------------------------

/// What the list of services does not say, by what was asked besides.
struct closer_look {
  /// Whether any replica runs of a deployment that has crashed.
  std::map<std::string, bool> replicas;
  /// By service: the deployment that serves, if not the latest. A service that
  /// is missing has none.
  std::optional<std::map<std::string, std::string>> serving;
};

/// A deployment that has to be asked whether some of its replicas run.
[[nodiscard]] std::optional<std::string>
wants_replicas(const std::vector<service_view>& services,
               const closer_look& known);

/// Reads `deployment(id){instances{status}}`.
[[nodiscard]] bool any_replica_runs(const boost::json::value& deployment);

/// Whether it has to be asked which deployments serve.
/// @param running After it came to run a failed deployment means that the one
///                before goes on.
[[nodiscard]] bool wants_serving(const std::vector<service_view>& services,
                                 const closer_look& known, bool running);

/// Reads `environment(id){serviceInstances{…{serviceId activeDeployments}}}`.
[[nodiscard]] std::map<std::string, std::string>
serving_of(const boost::json::value& environment);

// -- judging
// ----------------------------------------------------------------------------

/// Whether its deployment's steps say how far it has come.
[[nodiscard]] bool is_being_made(const service_view& x);

/// What a deployment under way has come to, over all of its services.
struct deployment_view {
  enum kind : std::uint8_t {
    nothing, ///< No service is to be seen.
    in_progress,
    running,
    removed, ///< The latest deployment was taken away and none serves.
    failed,
  };
  kind is = nothing;
  std::uint8_t progress = 0; ///< The least of all services.
  /// The one that has failed, or that is furthest behind.
  const service_view* about = nullptr; ///< Points into what was handed in.
};

/// @param steps Refine the progress of services that are built or started.
[[nodiscard]] deployment_view
judge_deployment(const std::vector<service_view>& services,
                 const closer_look& known,
                 const std::map<std::string, steps_view>& steps);

/// What an instance that came to run is now.
struct health_view {
  /// `unknown` while it is changing: nothing to be said.
  lifecycle::instance_health is = lifecycle::instance_health::unknown;
  std::string deployment_id; ///< The one that serves; empty: unknown.
  std::string status;        ///< As the provider spells it.
  std::string reason;        ///< For people; empty while all is well.
};

/// @param main The service that stands for the instance.
[[nodiscard]] health_view
judge_instance(const std::vector<service_view>& services,
               const closer_look& known, std::string_view main);

} // namespace slipway::provider

#pragma once

#include "http/provider/variables.hpp"

#include <boost/json/value.hpp>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// What an instance is cloned from, and what came of it. Pure.
namespace slipway::provider {

/// One service of a template project, with the configuration of its environment
/// as the provider gave it. That stays opaque: it may know fields that we do
/// not.
struct blueprint {
  std::string service_id;   ///< In the template project.
  std::string service_name; ///< The clone's too.
  boost::json::value config;
};

/// A volume that the template's service has, and its clone needs.
struct volume_mount {
  std::string template_volume; ///< The id that must not get into the clone.
  std::string path;
  std::string region; ///< Empty: the default one.
};

[[nodiscard]] std::vector<volume_mount> mounts_of(const blueprint& from);

/// The port behind the domain of the template's service, where it names one.
[[nodiscard]] std::optional<std::int64_t> port_of(const blueprint& from);

/// The one change that makes an empty service a clone: everything that the
/// template's environment says of its service and of the environment itself,
/// with our variables in it. What belongs to the template alone stays behind:
/// its domains and its other services; volumes go by their new ids.
/// @param volumes New ids by those of the template.
[[nodiscard]] boost::json::object
make_patch(const blueprint& from, const std::string& service_id,
           const std::map<std::string, std::string>& volumes,
           const variable_map& variables);

/// Whether such a change has been made for this subscription already.
/// @param config The configuration of the clone's environment.
[[nodiscard]] bool
is_patched(const boost::json::value& config, std::string_view service_id,
           std::string_view subscription);

/// How many services a template makes.
[[nodiscard]] std::size_t services_in(const boost::json::value& config);

/// A service as it was found in a project.
struct made_service {
  std::string id;
  std::string name;
  std::string template_service; ///< Which one of the template; may be empty.
  std::string created_at;       ///< RFC 3339.
  bool in_use = false;          ///< It has been configured, or deployed.
};

/// The live services of a project.
[[nodiscard]] std::vector<made_service>
made_services_of(const boost::json::value& project);

/// Those that are there a second time, because the template was deployed twice:
/// all but one of each, which is the oldest of those in use, else the oldest.
/// Without the template's key nothing is surplus.
[[nodiscard]] std::vector<std::string>
surplus_of(std::vector<made_service> services);

} // namespace slipway::provider

#pragma once

#include "http/sandbox/delivery.hpp"
#include "http/sandbox/railway_world.hpp"

#include <deque>

/// INTERNAL: What people and scripts see of the simulated provider.
namespace slipway::sandbox::railway {

/// Something that can be done to a deployment by hand.
struct deed {
  std::string_view name;
  std::string_view label;
  world::outcome<bool> (world::*run)(const std::string&);
  /// Whether it makes sense.
  bool (*fits)(const deployment&);
};

/// Does one of the deeds, `redeploy` among them.
/// @returns nothing where there is no such deed.
[[nodiscard]] std::optional<world::outcome<bool>>
perform(world& all, std::string_view name, const std::string& deployment_id);

/// What there is to be shown beside the world.
struct surroundings {
  const switches& initial;
  std::string workspace_id;
  std::int64_t requests = 0; ///< Of this hour.
  std::int64_t left = 0;
  timestamp resets_at = {};
  std::size_t sockets = 0;
  /// Webhooks that were sent, lost ones included; oldest first.
  std::deque<delivery> told = {};
};

/// The page's body.
[[nodiscard]] std::string to_html(const world& all, const surroundings& around);

/// The same for scripts.
[[nodiscard]] boost::json::object
to_json(const world& all, const surroundings& around);

} // namespace slipway::sandbox::railway

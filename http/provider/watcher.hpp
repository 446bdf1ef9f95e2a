#pragma once

#include "actors/environment.hpp"
#include "config/settings.hpp"
#include "http/provider/caller.hpp"

#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <memory>

namespace slipway::provider {

/// What the WATCHER works with.
struct watcher_options {
  config::railway_settings settings;
  /// Between two looks at a young deployment; older ones are looked at less
  /// often, but so often that nobody waits for more than 15 s.
  millis poll_interval{5'000};
  actor_slot<caller_actor> caller;
};

/// State of the WATCHER actor.
///
/// Looks at many environments in one document. A look that comes to nothing is
/// simply made again: what bounds a deployment is its attempt's deadline, and
/// what runs is looked at again in the next round. Where one item spoils a
/// document, it is found and looked at alone.
///
/// A verdict is told until the supervisor has taken it, refused it as stale, or
/// had us stop looking.
class watcher_state {
public:
  static inline const char* name = "watcher";

  /// Environments in one document.
  static constexpr auto batch_max = std::size_t{25};

  /// Documents about deployments that are under way at once.
  static constexpr auto documents_max = std::size_t{4};

  watcher_state();

  ~watcher_state();

  void start(watcher_actor::pointer self, environment_ptr env,
             watcher_options options);

  void watch(const watch_order& what);

  void drop(subscription_id id);

  void take(const provider_hint& what);

  void on_tick();

private:
  struct impl;

  std::unique_ptr<impl> impl_;
};

/// Spawns the WATCHER.
watcher_actor::behavior_type
watcher(watcher_actor::stateful_pointer<watcher_state> self,
        environment_ptr env, watcher_options options);

} // namespace slipway::provider

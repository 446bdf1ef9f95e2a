#pragma once

#include "actors/environment.hpp"
#include "config/keyring.hpp"
#include "config/settings.hpp"
#include "http/provider/caller.hpp"

#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <memory>

namespace slipway::provider {

/// What the PROVIDER works with.
struct railway_options {
  config::railway_settings settings;
  std::map<std::string, config::plan_settings> plans;
  millis poll_interval{5'000};
  actor_slot<caller_actor> caller;
  /// Whether a PROVIDER before it went down in this server: calls of that one
  /// may still be on their way.
  bool again = false;
  std::shared_ptr<const config::keyring> keys;
};

/// State of the PROVIDER actor for Railway.
///
/// Railway knows no idempotency keys, so every creation is announced in the
/// journal before it is called, under a name that follows from the
/// subscription's id, and whoever comes after a crash or a lost answer looks
/// before it creates: for as long as what was created may stay invisible.
class railway_state {
public:
  static inline const char* name = "provider";

  railway_state();

  ~railway_state();

  void start(provider_actor::pointer self, environment_ptr env,
             railway_options options);

  void receive(const step_order& what);

  void drop(subscription_id id);

  void on_tick();

private:
  struct impl;

  std::unique_ptr<impl> impl_;
};

/// Spawns the PROVIDER for Railway.
provider_actor::behavior_type
railway(provider_actor::stateful_pointer<railway_state> self,
        environment_ptr env, railway_options options);

} // namespace slipway::provider

#pragma once

#include "actors/environment.hpp"
#include "config/settings.hpp"
#include "http/provider/caller.hpp"

#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <memory>
#include <string>

namespace slipway::provider {

/// What the JANITOR works with.
struct janitor_options {
  config::railway_settings settings;
  actor_slot<caller_actor> caller;
  /// Our webhook, its secret included; empty: it is not registered.
  std::string webhook_url;
  /// A whole sweep reads every project; the others read the new ones only.
  millis whole_sweep_interval{6 * 3'600'000};
};

/// State of the JANITOR actor.
///
/// A creation whose answer was lost may show up after we have stopped looking
/// for it. What carries a name of ours and belongs to no instance is written
/// down when it is first seen, which brings it to the operators' attention, and
/// removed when the next sweep finds it again, if it is provably ours: its
/// subscription is in our database and has no use for it.
class janitor_state {
public:
  static inline const char* name = "janitor";

  janitor_state();

  ~janitor_state();

  void start(janitor_actor::pointer self, environment_ptr env,
             janitor_options options);

  void on_tick();

private:
  struct impl;

  std::unique_ptr<impl> impl_;
};

/// Spawns the JANITOR.
janitor_actor::behavior_type
janitor(janitor_actor::stateful_pointer<janitor_state> self,
        environment_ptr env, janitor_options options);

} // namespace slipway::provider

#pragma once

#include "actors/environment.hpp"

#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

namespace slipway {

/// The OBSERVER: counts rows for the gauges, every now and then.
using observer_actor = caf::typed_actor<
  // INTERNAL: Counts.
  caf::reacts_to<tick>>;

struct observer_state {
  static inline const char* name = "observer";

  void on_tick();

  observer_actor::pointer self = nullptr;
  environment_ptr env;
  millis interval{1'000};
  /// Counting all rows costs more than looking at what needs attention: it is
  /// done at every so many ticks.
  std::uint32_t stats_every = 15;
  std::uint32_t ticks = 0;
  alive_guard alive;
};

observer_actor::behavior_type
observer(observer_actor::stateful_pointer<observer_state> self,
         environment_ptr env);

} // namespace slipway

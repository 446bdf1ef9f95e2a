#pragma once

#include "actors/environment.hpp"

#include <caf/actor_clock.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <optional>

namespace slipway {

/// The OBSERVER: counts rows for the gauges, every now and then.
using observer_actor = caf::typed_actor<
  // INTERNAL: Counts.
  caf::reacts_to<tick>,
  // INTERNAL: All rows are counted.
  caf::reacts_to<continuation>>;

struct observer_state {
  static inline const char* name = "observer";

  void on_tick();
  void count_rows();

  observer_actor::pointer self = nullptr;
  environment_ptr env;
  millis interval{1'000};
  /// Counting all rows costs more than looking at what needs attention: it is
  /// done once in so long, and takes no more than one part in so many of the
  /// time.
  millis stats_interval{15'000};
  std::uint32_t stats_share = 20;
  /// None while they are being counted.
  std::optional<caf::actor_clock::time_point> count_at
    = caf::actor_clock::time_point{};
  alive_guard alive;
};

observer_actor::behavior_type
observer(observer_actor::stateful_pointer<observer_state> self,
         environment_ptr env);

} // namespace slipway

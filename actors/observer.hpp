#pragma once

#include "actors/environment.hpp"

#include <caf/actor_clock.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <cstdint>
#include <optional>
#include <vector>

namespace slipway {

/// The OBSERVER: counts rows for the gauges, every now and then.
using observer_actor = caf::typed_actor<
  // INTERNAL: Counts.
  caf::reacts_to<tick>,
  // INTERNAL: A page of rows is counted, or the next one is to be.
  caf::reacts_to<continuation>>;

struct observer_state {
  static inline const char* name = "observer";

  void on_tick();

  /// Counts the page behind `counted_to`, and so on to the last one.
  void count_rows();

  observer_actor::pointer self = nullptr;
  environment_ptr env;
  millis interval{1'000};
  /// Counting all rows costs more than looking at what needs attention: it is
  /// done once in so long, so many rows at a time, and takes no more than one
  /// part in so many of the time.
  millis stats_interval{15'000};
  std::size_t stats_page = 20'000;
  std::uint32_t stats_share = 50;
  /// None while they are being counted.
  std::optional<caf::actor_clock::time_point> count_at
    = caf::actor_clock::time_point{};
  subscription_id counted_to{};
  std::vector<std::int64_t> counts; ///< By status, of the pages so far.
  alive_guard alive;

private:
  void take_page(const query::count_page::found& page,
                 caf::actor_clock::duration_type took);
  void publish_counts();
};

observer_actor::behavior_type
observer(observer_actor::stateful_pointer<observer_state> self,
         environment_ptr env);

} // namespace slipway

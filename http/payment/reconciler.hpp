#pragma once

#include "actors/environment.hpp"
#include "http/client/outbound.hpp"
#include "http/gateway/intake.hpp"
#include "http/payment/pay_order.hpp"

#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <memory>

namespace slipway::payment {

/// What the RECONCILER works with.
struct reconciler_options {
  gateway::accounts accounts;
  /// WeChat Pay's keys, which are fetched anew from time to time; null where
  /// there is no APIv3 account.
  std::shared_ptr<gateway::platform_keys> wechat_keys;
  std::shared_ptr<client::outbound> network;
  order_words words;
  /// Of one call to a gateway.
  millis request_timeout{10'000};
  /// Orders asked about in a second, for each gateway; so many may also be
  /// saved up.
  std::uint32_t asks_per_second = 30;
  /// Orders at work at once, for each gateway.
  std::size_t in_flight_max = 32;
  /// Errands that wait for their turn, for each gateway; more are refused.
  std::size_t errands_max = 256;
  /// An order that was asked about is not asked about again for this.
  millis ask_again_after{5'000};
  /// An unpaid order is asked about again so soon when nothing came of asking:
  /// one bad answer must not cost a whole pause.
  millis ask_retry{15'000};
  /// Whoever reads an order waits no longer for the gateway's word.
  millis ask_patience{3'000};
  /// How often WeChat Pay's certificates are fetched (sooner than 12 h), and
  /// how soon again after a failure or for an unknown serial.
  millis keys_interval{39'600'000};
  millis keys_retry{300'000};
  /// The same while there is no key at all, and so nothing to believe.
  millis keys_urgent{15'000};
};

/// State of the RECONCILER actor.
///
/// What is due stands in the database (`query::claim_asks`), so that neither a
/// crash nor a thousand open orders are a reason to forget or to hurry: each
/// gateway gets as many asks as its budget allows, the longest overdue first.
/// An answer becomes a command for the order's supervisor, and is only then
/// forgotten here. A refund's request leaves once; from then on the gateway is
/// asked, and it leaves again only when the gateway says that it has none.
class reconciler_state {
public:
  static inline const char* name = "reconciler";

  reconciler_state();

  ~reconciler_state();

  void start(reconciler_actor::pointer self, environment_ptr env,
             reconciler_options options);

  void receive(gateway_errand_ptr what);

  void on_tick();

private:
  struct impl;

  std::unique_ptr<impl> impl_;
};

/// Spawns the RECONCILER.
reconciler_actor::behavior_type
reconciler(reconciler_actor::stateful_pointer<reconciler_state> self,
           environment_ptr env, reconciler_options options);

} // namespace slipway::payment

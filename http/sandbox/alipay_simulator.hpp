#pragma once

#include "actors/lifecycle/money.hpp"
#include "actors/lifecycle/time.hpp"
#include "http/sandbox/delivery.hpp"
#include "http/sandbox/page.hpp"

#include <tl/expected.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace slipway::client {
class outbound;
}

namespace slipway::sandbox {

struct alipay_simulator_options {
  listen_options listen;
  std::string app_id;
  std::string seller_id;
  /// Alipay's own key: signs notifications and responses. PEM or base64.
  std::string alipay_private_key;
  /// The app's key: verifies requests. PEM or base64.
  std::string app_public_key;
  /// Pauses between the deliveries of a notification; one delivery more than
  /// there are pauses. The real ladder is 4m 10m 10m 1h 2h 6h 15h.
  std::vector<millis> retry_ladder
    = {millis{1'000},  millis{2'000},  millis{3'000}, millis{5'000},
       millis{10'000}, millis{20'000}, millis{30'000}};
  /// Of one delivery.
  millis notify_timeout{5'000};
  /// How notifications are delivered; see `set_delivery`.
  delivery_plan delivery;
  /// The oldest trades are forgotten beyond it.
  std::size_t trades_max = 10'000;
  /// Seeds the numbers that are made up; 0 means: from the system.
  std::uint64_t seed = 0;
};

/// Alipay's gateway: `/gateway.do` with the page methods
/// (`alipay.trade.page.pay`, `alipay.trade.wap.pay`) and the JSON methods
/// (`alipay.trade.precreate`, `.query`, `.close`, `.refund`,
/// `.fastpay.refund.query`), a cashier's page, and notifications that are
/// signed and repeated until the merchant says `success`. Listens on loopback
/// only.
///
/// For people and scripts: `/` lists the trades with what can be done to them,
/// `GET /sandbox/trades` too. `POST /sandbox/trades/{no}/pay` pays one
/// (`?notify=false` loses the notification), `…/close`, `…/refund` (form:
/// `amount=9.90`) act as Alipay's own console, `…/notify` tells everything once
/// more, `…/duplicate` (`copies=100`) does so many times at once. `…/delivery`
/// and `POST /sandbox/delivery` set the plan: see `read_plan`.
/// `POST /sandbox/unclear` (`count=1&money=moved|stayed`): see
/// `unclear_refunds`.
class alipay_simulator {
public:
  /// @param time Must outlive the simulator.
  /// @param out Posts the notifications. Must outlive the simulator.
  alipay_simulator(alipay_simulator_options options, const clock& time,
                   client::outbound& out);

  /// Stops.
  ~alipay_simulator();

  /// Reads the keys and listens. @returns what is wrong otherwise.
  [[nodiscard]] tl::expected<void, std::string> start();

  void stop();

  // -- what happens outside, for tests; callable from any thread

  /// How the callbacks of all orders without a plan of their own are delivered.
  void set_delivery(delivery_plan plan);

  /// The same of one order, which need not be known yet.
  void set_delivery(const std::string& order, delivery_plan plan);

  /// The next refunds are answered with `fund_change=N`, although the money has
  /// moved, or with `false` because it has not.
  void unclear_refunds(std::size_t count, bool money_moves = true);

  /// The buyer pays. @returns false when it is unknown or closed.
  bool pay(const std::string& order);

  /// Everything about the order is told once more, now, whatever the plan.
  /// @returns false when it is unknown.
  bool deliver_now(const std::string& order, std::size_t copies = 1);

  /// A refund in Alipay's console; all that is left by default.
  /// @returns false when it is unknown, unpaid, or there is not as much left.
  bool refund_by_hand(const std::string& order,
                      std::optional<minor_units> amount = std::nullopt);

  /// The latest deliveries, the oldest first.
  [[nodiscard]] std::vector<delivery>
  deliveries(const std::string& order) const;

  [[nodiscard]] std::uint16_t port() const noexcept;

  /// `http://HOST:PORT/gateway.do`.
  [[nodiscard]] std::string gateway_url() const;

private:
  struct impl;

  std::shared_ptr<impl> impl_;
};

} // namespace slipway::sandbox

#pragma once

#include "actors/lifecycle/time.hpp"
#include "http/sandbox/page.hpp"

#include <tl/expected.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
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
  /// The oldest trades are forgotten beyond it.
  std::size_t trades_max = 10'000;
  /// Seeds the numbers that are made up; 0 means: from the system.
  std::uint64_t seed = 0;
};

/// Alipay's gateway: `/gateway.do` with the page methods
/// (`alipay.trade.page.pay`, `alipay.trade.wap.pay`) and the JSON methods
/// (`alipay.trade.precreate`, `.query`, `.close`, `.refund`,
/// `.fastpay.refund.query`), a cashier's page, and notifications that are
/// signed and repeated until the merchant says `success`.
///
/// For people and scripts: `/` lists the trades, `GET /sandbox/trades` too,
/// `POST /sandbox/trades/{no}/pay` pays one (`?notify=false` loses the
/// notification), `POST /sandbox/trades/{no}/notify` sends it once more.
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

  [[nodiscard]] std::uint16_t port() const noexcept;

  /// `http://HOST:PORT/gateway.do`.
  [[nodiscard]] std::string gateway_url() const;

private:
  struct impl;

  std::shared_ptr<impl> impl_;
};

} // namespace slipway::sandbox

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
#include <string_view>
#include <vector>

namespace slipway::client {
class outbound;
}

namespace slipway::config {
struct wechat_settings;
}

namespace slipway::sandbox {

/// A key of WeChat Pay's own, which signs answers and callbacks.
struct wechat_platform_key {
  /// `PUB_KEY_ID_…`, or the certificate's serial number: 40 hex digits.
  std::string serial;
  std::string private_key; ///< PEM or base64.
  std::string certificate; ///< PEM; empty for a `PUB_KEY_ID_…`.
};

/// How the next refunds end.
enum class wechat_refund_outcome : std::uint8_t { success, abnormal, closed };

/// What goes wrong with a request.
enum class wechat_trouble : std::uint8_t {
  none,
  frequency_limited, ///< 429; not carried out.
  system_error,      ///< 500; not carried out.
  answer_lost,       ///< Carried out, and a 502 of some proxy comes back.
  unsigned_answer,   ///< Carried out and answered without a signature.
  wrong_signature,   ///< Carried out and answered with a wrong one.
};

struct wechat_simulator_options {
  listen_options listen;
  std::string app_id;
  std::string mch_id;
  std::string api_v2_key; ///< 32 bytes.
  std::string api_v3_key; ///< 32 bytes.
  /// The serial number that requests of v3 name.
  std::string merchant_serial;
  /// Verifies requests of v3: certificate or public key. PEM or base64.
  std::string merchant_certificate;
  /// At least one. The first one signs what names none.
  std::vector<wechat_platform_key> platform_keys;
  /// The merchant platform's setting for refunds that name no address; empty
  /// means: none is told.
  std::string refund_notify_url;
  /// Pauses between the deliveries of a callback; one delivery more than there
  /// are pauses. The real ladder is 15s 15s 30s 3m 10m 20m 30m 30m 30m 60m 3h
  /// 3h 3h 6h 6h.
  std::vector<millis> retry_ladder
    = {millis{1'000},  millis{1'000},  millis{1'500},  millis{2'000},
       millis{3'000},  millis{4'000},  millis{5'000},  millis{5'000},
       millis{5'000},  millis{8'000},  millis{10'000}, millis{10'000},
       millis{10'000}, millis{20'000}, millis{20'000}};
  /// Of one delivery.
  millis notify_timeout{5'000};
  /// How callbacks are delivered; see `set_delivery`.
  delivery_plan delivery;
  /// From a refund's request to its end.
  millis refund_duration{500};
  /// Whether callbacks of v2 say how they are signed. Often they do not.
  bool v2_names_sign_type = false;
  /// The oldest orders are forgotten beyond it.
  std::size_t orders_max = 10'000;
  /// Seeds the numbers that are made up; 0 means: from the system.
  std::uint64_t seed = 0;
};

/// WeChat Pay's API, both versions, for one merchant, with a page where the
/// buyer pays and callbacks that are signed, encrypted, and repeated until the
/// merchant has taken them. Listens on loopback only.
///
/// v3: `/v3/pay/transactions/{native|h5|jsapi}`, queries, close, refunds,
/// certificates. Each request's signature is checked; each answer is signed
/// with the key that its `Wechatpay-Serial` names. v2: `/pay/unifiedorder`,
/// `/pay/orderquery`, `/pay/closeorder`, `/secapi/pay/refund`,
/// `/pay/refundquery`. `notify_url` may be http for this machine, unlike the
/// real one's.
///
/// The buyer: `/pay/{order}`. The QR code's `weixin://wxpay/bizpayurl?pr=…` is
/// `/bizpayurl?pr=…` here.
///
/// For people and scripts: `/` lists the orders with what can be done to them,
/// `GET /sandbox/trades` too. `POST /sandbox/trades/{no}/pay` pays one
/// (`?notify=false` loses the callback), `…/close`, `…/refund` (form:
/// `amount=9.90&outcome=SUCCESS|ABNORMAL|CLOSED`) act as the merchant
/// platform, `…/notify` tells everything once more, `…/duplicate`
/// (`copies=100`) does so many times at once. `…/delivery` and
/// `POST /sandbox/delivery` set the plan: see `read_plan`.
/// `POST /sandbox/trouble` (`what=system_error&count=1`) and
/// `POST /sandbox/refunds` (`outcome=ABNORMAL`): see `trouble_next` and
/// `set_refund_outcome`.
class wechat_simulator {
public:
  /// @param time Must outlive the simulator.
  /// @param out Posts the callbacks. Must outlive the simulator.
  wechat_simulator(wechat_simulator_options options, const clock& time,
                   client::outbound& out);

  /// Stops.
  ~wechat_simulator();

  /// Reads the keys and listens. @returns what is wrong otherwise.
  [[nodiscard]] tl::expected<void, std::string> start();

  void stop();

  [[nodiscard]] std::uint16_t port() const noexcept;

  /// `http://HOST:PORT`: the gateway_url of a merchant.
  [[nodiscard]] std::string url() const;

  /// What the merchant configures, but for its own private key.
  [[nodiscard]] config::wechat_settings settings() const;

  // -- what happens outside, for tests; callable from any thread

  /// How the callbacks of all orders without a plan of their own are delivered.
  void set_delivery(delivery_plan plan);

  /// The same of one order, which need not be known yet.
  void set_delivery(const std::string& order, delivery_plan plan);

  /// The buyer pays. @returns false when it is unknown, closed or too late.
  bool pay(const std::string& order);

  /// Everything about the order is told once more, now, whatever the plan.
  /// @returns false when it is unknown.
  bool deliver_now(const std::string& order, std::size_t copies = 1);

  /// A refund on the merchant platform; all that is left by default.
  /// @returns false when it is unknown, unpaid, or there is not as much left.
  bool refund_by_hand(const std::string& order,
                      std::optional<minor_units> amount = std::nullopt);

  /// How refunds end from now on.
  void set_refund_outcome(wechat_refund_outcome outcome);

  /// What goes wrong with the next requests of the API.
  void trouble_next(wechat_trouble what, std::size_t count = 1);

  /// Adds a key: a platform certificate about to follow, or a public key.
  /// @returns what is wrong with it.
  [[nodiscard]] tl::expected<void, std::string>
  add_platform_key(const wechat_platform_key& key);

  /// Signs callbacks, and answers to requests that name no key, with this one
  /// from now on. @returns false when there is none of this serial.
  bool use_platform_key(std::string_view serial);

  /// Callbacks are signed with all keys in turn, as in the weeks of a change.
  void mix_platform_keys(bool mix);

  /// The latest deliveries, the oldest first.
  [[nodiscard]] std::vector<delivery>
  deliveries(const std::string& order) const;

private:
  struct impl;

  std::shared_ptr<impl> impl_;
};

} // namespace slipway::sandbox

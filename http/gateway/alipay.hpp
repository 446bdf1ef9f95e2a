#pragma once

#include "actors/lifecycle/money.hpp"
#include "actors/lifecycle/time.hpp"
#include "config/settings.hpp"
#include "http/crypto/form.hpp"
#include "http/crypto/rsa.hpp"

#include <tl/expected.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

/// What the payment gateways say and want to hear, as pure functions: no I/O
/// and no clock.
namespace slipway::gateway {

/// What became of a message's signature.
enum class signature_verdict : std::uint8_t {
  valid,
  /// Well-formed, and not made by the gateway's key over this message.
  invalid,
  /// None, or an empty one.
  missing,
  /// Not base64.
  malformed,
  /// Valid by the configured algorithm, but the message names another.
  valid_under_configured_type,
  /// The message was refused before its signature was looked at.
  not_evaluated,
};

/// The enumerator's name.
[[nodiscard]] std::string_view to_string(signature_verdict verdict) noexcept;

/// Why a message is refused.
enum class reject_reason : std::uint8_t {
  // -- not authentic
  // -----------------------------------------------------------
  malformed_body,
  duplicate_parameter,
  sign_missing,
  sign_malformed,
  sign_type_not_allowed,
  sign_mismatch,
  // -- authentic, and in contradiction to us
  // -----------------------------------
  app_id_mismatch,
  seller_id_mismatch,
  malformed_field,
  amount_malformed,
  order_not_found,
  amount_mismatch,
  currency_mismatch,
  trade_no_missing,
  unknown_status,
};

/// The enumerator's name; the stable word for logs, metrics and the inbox.
[[nodiscard]] std::string_view to_string(reject_reason reason) noexcept;

struct rejection {
  /// `valid` where the message is authentic.
  signature_verdict signature = signature_verdict::not_evaluated;
  reject_reason reason = reject_reason::malformed_body;
  /// For people: what was found and what was expected.
  std::string sentence;
};

/// `trade_status` of a notification.
enum class alipay_trade_status : std::uint8_t {
  wait_buyer_pay,
  trade_success,
  trade_finished,
  trade_closed,
  /// Anything else, or none.
  unknown,
};

/// A notification that Alipay has signed. Authentic, not yet believed.
struct verified_notification {
  std::string app_id;
  std::string seller_id;
  std::string order_id; ///< out_trade_no
  std::string trade_no; ///< Alipay's own number of the payment.
  alipay_trade_status status = alipay_trade_status::unknown;
  std::string trade_status; ///< As received.
  std::string notify_id;    ///< The same for every delivery of one event.
  std::string notify_type;  ///< `trade_status_sync` for everything on trades.
  /// total_amount in fen; nothing when it is missing or no amount.
  std::optional<minor_units> total_amount_minor;
  /// refund_fee in fen where it is greater than zero: the total refunded so
  /// far.
  std::optional<minor_units> refunded_minor;
  /// refund_fee was there and is no amount.
  bool refund_fee_malformed = false;
  std::string out_biz_no;               ///< Our number of that refund.
  std::optional<timestamp> gmt_payment; ///< When it was paid.
  std::optional<timestamp> notify_time; ///< When Alipay sent this.
  /// Every parameter, decoded, in the order received.
  crypto::form_fields fields;
};

/// What we know of the order a notification names.
struct expected_order {
  bool known = false;
  minor_units amount_minor = 0;
  std::string currency = "CNY";
};

/// What a notification amounts to.
enum class notification_action : std::uint8_t {
  /// Paid (TRADE_SUCCESS, TRADE_FINISHED). Again and again for the same
  /// payment.
  payment_settled,
  /// To be acknowledged, nothing else: WAIT_BUYER_PAY, or a message of another
  /// type than trade_status_sync.
  noop,
  /// Closed without having been paid.
  closed,
  /// `refunded_minor` in all has been refunded; the order was paid before.
  refund,
  /// Changes nothing; a person has to look.
  reject,
};

/// The enumerator's name.
[[nodiscard]] std::string_view to_string(notification_action action) noexcept;

/// A notification's meaning with its data.
struct judgement {
  notification_action action = notification_action::reject;
  /// Where the action is `reject`.
  std::optional<rejection> refused;
  std::string order_id;
  std::string trade_no;
  minor_units amount_minor = 0;
  std::optional<timestamp> paid_at; ///< gmt_payment, else notify_time.
  std::optional<minor_units> refunded_minor;
  std::string out_biz_no;
  std::string notify_id;
  std::string trade_status;
};

/// Which page the payer is sent to.
enum class pay_method : std::uint8_t {
  page, ///< alipay.trade.page.pay, desktop browsers
  wap,  ///< alipay.trade.wap.pay, phones
};

/// An order to be paid on Alipay's own page.
struct page_order {
  std::string order_id; ///< 1 to 64 letters, digits, `_`.
  minor_units amount_minor = 0;
  std::string subject; ///< UTF-8.
  std::string notify_url;
  std::string return_url; ///< May be empty.
  timestamp created_at;   ///< Goes into the signed `timestamp`.
  timestamp expires_at;   ///< Not payable after this.
};

/// The Alipay codec of one app. Immutable: callable from any thread.
class alipay {
public:
  /// Parses the keys and certificates once.
  /// @returns a sentence on the first setting that is wrong.
  [[nodiscard]] static tl::expected<alipay, std::string>
  make(const config::alipay_settings& settings);

  /// The signed link to send the payer's browser to. The same order gives the
  /// same link.
  /// @returns a sentence where the order can't be expressed (number, amount,
  ///          subject), or no app_private_key is configured.
  [[nodiscard]] tl::expected<std::string, std::string>
  pay_url(pay_method method, const page_order& order) const;

  /// Checks the form and the signature of a notification's exact body bytes.
  [[nodiscard]] tl::expected<verified_notification, rejection>
  verify(std::string_view raw_body) const;

  /// Checks what needs no order: app, seller, the form of amounts and numbers,
  /// a known status. Of a message that is not about a trade only the app.
  [[nodiscard]] std::optional<rejection>
  check_identity(const verified_notification& notification) const;

  /// `check_identity`, then the order's existence and amount, then what the
  /// notification amounts to.
  [[nodiscard]] judgement judge(const verified_notification& notification,
                                const expected_order& order) const;

  /// The certificate numbers in use; empty in key mode.
  [[nodiscard]] const std::string& app_cert_sn() const noexcept {
    return app_cert_sn_;
  }

  /// @copydoc app_cert_sn
  [[nodiscard]] const std::string& root_cert_sn() const noexcept {
    return root_cert_sn_;
  }

private:
  alipay() = default;

  std::string app_id_;
  std::string seller_id_;
  std::string gateway_url_;
  std::string sign_type_;
  std::string app_cert_sn_;
  std::string root_cert_sn_;
  crypto::digest digest_ = crypto::digest::sha256;
  std::optional<crypto::rsa_public_key> alipay_key_;
  std::optional<crypto::rsa_private_key> app_key_;
};

/// What the notification amounts to by its status alone. Only for one that
/// `alipay::check_identity` has passed.
[[nodiscard]] notification_action
action_of(const verified_notification& notification) noexcept;

/// Alipay's number of a certificate: lower-hex MD5 over issuer and serial.
/// @returns a sentence where the PEM holds none.
[[nodiscard]] tl::expected<std::string, std::string>
alipay_cert_sn(std::string_view pem);

/// The same for a bundle of roots: those signed with RSA, joined with `_`.
[[nodiscard]] tl::expected<std::string, std::string>
alipay_root_cert_sn(std::string_view pem);

} // namespace slipway::gateway

#pragma once

#include "actors/lifecycle/machine.hpp"
#include "http/client/outbound.hpp"

#include <tl/expected.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

/// What the payment gateways say and want to hear, in words that are the same
/// for all of them. Pure functions: no I/O, no clock, no randomness; callable
/// from any thread.
namespace slipway::gateway {

// -- what comes in: callbacks
// ------------------------------------------------------

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
  /// Valid, but only by a weaker algorithm than the configured one.
  valid_but_weak,
  /// Valid, but older or newer than the clock allows: a replay.
  valid_but_stale,
  /// Names a way of signing that we do not know.
  unsupported,
  /// The message was refused before its signature was looked at.
  not_evaluated,
  /// The protocol signs nothing here (refund results of WeChat Pay v2).
  none_by_design,
};

inline constexpr std::size_t signature_verdict_count = 10;

/// The enumerator's name.
[[nodiscard]] std::string_view to_string(signature_verdict verdict) noexcept;

/// Why a message is refused.
enum class reject_reason : std::uint8_t {
  // -- not authentic
  malformed_body,
  duplicate_parameter,
  sign_missing,
  sign_malformed,
  sign_type_not_allowed,
  sign_mismatch,
  header_missing,   ///< One that the signature needs.
  header_duplicate, ///< One of those twice.
  header_malformed,
  timestamp_out_of_range,
  unsupported_signature_type,
  unknown_serial,
  signtest_probe, ///< WeChat Pay tests whether we check: no attack.
  malformed_xml,
  doctype_forbidden,
  duplicate_element,
  malformed_message,
  return_code_fail, ///< A transport error of v2: unsigned, says nothing.
  decrypt_failed,
  // -- authentic, and in contradiction to us
  malformed_resource,
  duplicate_member,
  app_id_mismatch,
  seller_id_mismatch,
  mch_id_mismatch,
  malformed_field,
  amount_malformed,
  order_not_found,
  amount_mismatch,
  currency_mismatch,
  trade_no_missing,
  unknown_status,
};

inline constexpr std::size_t reject_reason_count = 31;

/// The enumerator's name; the stable word for logs, metrics and the inbox.
[[nodiscard]] std::string_view to_string(reject_reason reason) noexcept;

struct rejection {
  reject_reason reason = reject_reason::malformed_body;
  /// For people: what was found and what was expected. Bounded, no secrets.
  std::string sentence;
};

/// What a message tells us, once it is believed.
enum class meaning : std::uint8_t {
  /// To be acknowledged, nothing else: an unpaid trade, an event of a type that
  /// is nothing to us.
  nothing,
  /// The order has been paid. Again and again for the same payment.
  payment,
  /// Closed without having been paid.
  closed,
  /// Money went back.
  refund,
  /// A refund could not be paid out; a person has to act at the gateway.
  refund_abnormal,
  /// A refund was given up by the gateway: the money is still ours.
  refund_closed,
};

inline constexpr std::size_t meaning_count = 6;

/// The enumerator's name.
[[nodiscard]] std::string_view to_string(meaning is) noexcept;

/// A gateway's message about one order, whatever the protocol.
struct notification {
  lifecycle::payment_gateway gateway = lifecycle::payment_gateway::alipay;
  meaning is = meaning::nothing;
  /// The same for every delivery of one event; empty where there is none.
  std::string event_id;
  std::string order_id;       ///< Our number, `out_trade_no`.
  std::string transaction_id; ///< The gateway's own number of the payment.
  /// Of a payment: what was ordered, whatever coupons paid of it. In fen.
  minor_units amount = 0;
  std::string currency = "CNY";
  std::optional<timestamp> paid_at;
  /// Of a refund: our number of it (out_request_no, out_refund_no); empty where
  /// the gateway does not say.
  std::string refund_id;
  /// Of a refund: this one's amount where the gateway names that (WeChat Pay).
  std::optional<minor_units> refund_amount;
  /// Of a refund: everything refunded so far where it names that (Alipay).
  std::optional<minor_units> refunded_total;
  /// The gateway's own word: `TRADE_SUCCESS`, `TRANSACTION.SUCCESS`.
  std::string word;
};

/// What could be read from a message.
struct reading {
  signature_verdict signature = signature_verdict::not_evaluated;
  /// Set: the message changes nothing. It is authentic where `is_authentic`,
  /// and then `what` holds as much as could be read.
  std::optional<rejection> refused;
  notification what;
};

/// Whether the gateway itself said so: its signature is valid, or, where the
/// protocol has none, the message could be decrypted with the shared key.
[[nodiscard]] inline bool is_authentic(const reading& x) noexcept {
  return x.signature == signature_verdict::valid
         || (x.signature == signature_verdict::none_by_design
             && (!x.refused
                 || x.refused->reason > reject_reason::decrypt_failed));
}

// -- what goes out: requests
// ------------------------------------------------------
//
// Each request has a function that writes it and one that reads its answer.
// Whoever sends it hands in the time and the nonce.

/// What makes two equal requests differ.
struct stamp {
  timestamp now{};
  /// 32 letters and digits, random.
  std::string nonce;
};

/// An order to be paid.
struct pay_order {
  std::string order_id; ///< 6 to 32 letters, digits, `_`.
  lifecycle::payment_method method = lifecycle::payment_method::page;
  minor_units amount = 0;
  std::string currency = "CNY";
  std::string subject; ///< UTF-8, cut to what the gateway takes.
  std::string notify_url;
  std::string return_url; ///< May be empty.
  timestamp created_at{};
  timestamp expires_at{}; ///< Not payable after this.
  std::string payer_id;   ///< jsapi: the payer's openid.
  std::string payer_ip;   ///< h5: the payer's address.
};

/// How the payer gets to pay. Only what the method calls for is set.
struct payment_link {
  std::string pay_url;   ///< page, wap, h5: where to send the browser.
  std::string qr_code;   ///< qr, native: the text of the QR code.
  std::string prepay_id; ///< jsapi.
  bool operator==(const payment_link&) const = default;
};

/// Money to be given back.
struct refund_order {
  std::string order_id;
  std::string transaction_id;
  std::string refund_id; ///< The same for every repetition of one refund.
  minor_units amount = 0;
  minor_units total = 0; ///< What was paid.
  std::string currency = "CNY";
  std::string reason; ///< For the payer; UTF-8; may be empty.
  std::string notify_url;
};

/// Why an answer cannot be used.
enum class failure : std::uint8_t {
  /// Not proven to come from the gateway. Nothing is known.
  forged,
  /// The gateway has trouble, or may have: ask, or repeat the same later.
  unclear,
  /// Too many requests: later.
  limited,
  /// Refused by a rule, and will be again: `code` says which.
  refused,
};

[[nodiscard]] std::string_view to_string(failure kind) noexcept;

struct call_failure {
  failure kind = failure::unclear;
  std::string code;     ///< The gateway's, `ACQ.TRADE_NOT_EXIST`; may be empty.
  std::string sentence; ///< For people; bounded, no secrets.
};

enum class trade_state : std::uint8_t {
  absent, ///< The gateway knows no such order (yet): nobody has paid.
  unpaid,
  paid,
  closed,   ///< Cannot be paid any more.
  refunded, ///< Was paid; some or all of it went back.
};

[[nodiscard]] std::string_view to_string(trade_state is) noexcept;

/// What the gateway says about an order it was asked about.
struct trade {
  trade_state is = trade_state::absent;
  std::string order_id;
  std::string transaction_id;
  std::optional<minor_units> amount;
  std::string currency = "CNY";
  std::optional<timestamp> paid_at;
  std::string word; ///< The gateway's own, `TRADE_SUCCESS`.
};

/// What became of closing an order.
enum class close_end : std::uint8_t {
  closed, ///< Or closed before.
  absent, ///< The gateway knows no such order (yet).
  paid,   ///< Too late: to be asked about.
};

[[nodiscard]] std::string_view to_string(close_end is) noexcept;

enum class refund_state : std::uint8_t {
  /// The gateway has proven that the money went back.
  done,
  /// Accepted, not paid out yet: ask again later.
  processing,
  /// Never received, or received and failed: may be sent again.
  absent,
  /// Could not be paid out; a person has to act at the gateway.
  abnormal,
  /// Given up by the gateway.
  closed,
};

[[nodiscard]] std::string_view to_string(refund_state is) noexcept;

struct refund_report {
  refund_state is = refund_state::processing;
  std::string refund_id;
  std::optional<minor_units> amount; ///< Of this refund.
  std::optional<minor_units> total;  ///< Refunded in all, where it says so.
  std::string word;                  ///< The gateway's own.
};

/// One merchant's account at one gateway, as requests. Immutable.
class merchant {
public:
  using request = tl::expected<client::http_request, std::string>;

  template <class T>
  using answer = tl::expected<T, call_failure>;

  virtual ~merchant() = default;

  /// Whether the method exists at this gateway.
  [[nodiscard]] virtual bool
  takes(lifecycle::payment_method method) const noexcept = 0;

  /// Whether the gateway has to be called before the payer can pay. Where not,
  /// `link` knows it all.
  [[nodiscard]] virtual bool
  has_to_call(lifecycle::payment_method method) const noexcept = 0;

  /// The link of a method that needs no call. The same order gives the same
  /// link.
  /// @returns a sentence where the order cannot be expressed.
  [[nodiscard]] virtual tl::expected<payment_link, std::string>
  link(const pay_order& order) const = 0;

  [[nodiscard]] virtual request
  create_request(const pay_order& order, const stamp& with) const = 0;
  [[nodiscard]] virtual answer<payment_link>
  read_create(const pay_order& order, const client::http_response& from,
              timestamp now) const = 0;

  [[nodiscard]] virtual request
  query_request(std::string_view order_id, const stamp& with) const = 0;
  [[nodiscard]] virtual answer<trade>
  read_query(std::string_view order_id, const client::http_response& from,
             timestamp now) const = 0;

  [[nodiscard]] virtual request
  close_request(std::string_view order_id, const stamp& with) const = 0;
  [[nodiscard]] virtual answer<close_end>
  read_close(std::string_view order_id, const client::http_response& from,
             timestamp now) const = 0;

  [[nodiscard]] virtual request
  refund_request(const refund_order& order, const stamp& with) const = 0;
  [[nodiscard]] virtual answer<refund_report>
  read_refund(const refund_order& order, const client::http_response& from,
              timestamp now) const = 0;

  [[nodiscard]] virtual request
  refund_query_request(const refund_order& order, const stamp& with) const = 0;
  [[nodiscard]] virtual answer<refund_report>
  read_refund_query(const refund_order& order,
                    const client::http_response& from, timestamp now) const = 0;
};

} // namespace slipway::gateway

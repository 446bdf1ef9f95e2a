#include "http/crypto/encoding.hpp"
#include "http/gateway/alipay.hpp"
#include "http/gateway/alipay_detail.hpp"

#include <initializer_list>
#include <utility>

namespace slipway::gateway {

using alipay_detail::in_quotes;
using alipay_detail::is_reference;

namespace {

constexpr std::string_view trade_notify_type = "trade_status_sync";

/// `trade_status` of a notification.
enum class status : std::uint8_t {
  wait_buyer_pay,
  trade_success,
  trade_finished,
  trade_closed,
  unknown,
};

status status_of(std::string_view text) noexcept {
  if (text == "WAIT_BUYER_PAY")
    return status::wait_buyer_pay;
  if (text == "TRADE_SUCCESS")
    return status::trade_success;
  if (text == "TRADE_FINISHED")
    return status::trade_finished;
  if (text == "TRADE_CLOSED")
    return status::trade_closed;
  return status::unknown;
}

std::string value_of(const crypto::form_fields& fields, std::string_view name) {
  const auto* value = crypto::find_field(fields, name);
  return value != nullptr ? *value : std::string{};
}

/// Only what may be stored and shown.
std::string
reference_of(const crypto::form_fields& fields, std::string_view name) {
  auto value = value_of(fields, name);
  return is_reference(value) ? value : std::string{};
}

bool is_about_a_trade(const crypto::form_fields& fields) {
  auto type = value_of(fields, "notify_type");
  return type.empty() || type == trade_notify_type;
}

meaning meaning_of(status is, bool refunded) noexcept {
  switch (is) {
    case status::trade_success:
    case status::trade_finished:
      return refunded ? meaning::refund : meaning::payment;
    case status::trade_closed:
      return refunded ? meaning::refund : meaning::closed;
    case status::wait_buyer_pay:
    case status::unknown:
      break;
  }
  return meaning::nothing;
}

/// As much as can be read of an authentic message.
notification notification_of(const crypto::form_fields& fields) {
  notification result;
  result.gateway = lifecycle::payment_gateway::alipay;
  result.event_id = reference_of(fields, "notify_id");
  if (!is_about_a_trade(fields))
    return result;
  result.order_id = reference_of(fields, "out_trade_no");
  result.transaction_id = reference_of(fields, "trade_no");
  result.word = reference_of(fields, "trade_status");
  result.amount = parse_amount(value_of(fields, "total_amount")).value_or(0);
  // Old messages carry refund_fee=0.00 without any refund.
  if (auto sum = parse_amount(value_of(fields, "refund_fee")); sum && *sum > 0)
    result.refunded_total = *sum;
  result.is
    = meaning_of(status_of(result.word), result.refunded_total.has_value());
  if (result.is != meaning::refund)
    result.refunded_total.reset();
  else
    result.refund_id = reference_of(fields, "out_biz_no");
  if (result.is == meaning::payment || result.is == meaning::refund)
    result.paid_at = parse_beijing(value_of(fields, "gmt_payment"));
  if (result.is == meaning::payment && !result.paid_at)
    result.paid_at = parse_beijing(value_of(fields, "notify_time"));
  return result;
}

} // namespace

reading alipay::read_notification(std::string_view body) const {
  using enum signature_verdict;
  reading result;
  auto refuse = [&result](signature_verdict signature, reject_reason reason,
                          std::string sentence) {
    result.signature = signature;
    result.refused = rejection{reason, std::move(sentence)};
    // What is refused means nothing.
    result.what.is = meaning::nothing;
    return std::move(result);
  };

  // -- is it Alipay's? --------------------------------------------------------

  auto fields = crypto::decode_form(body);
  if (!fields) {
    auto reason = fields.error() == crypto::form_error::duplicate_name
                    ? reject_reason::duplicate_parameter
                    : reject_reason::malformed_body;
    return refuse(not_evaluated, reason,
                  "the body is no form: "
                    + std::string{to_string(fields.error())});
  }
  const auto* sign = crypto::find_field(*fields, "sign");
  if (sign == nullptr || sign->empty())
    return refuse(missing, reject_reason::sign_missing,
                  "the message carries no sign");
  auto signature = crypto::base64_decode(*sign);
  if (!signature)
    return refuse(malformed, reject_reason::sign_malformed,
                  "the sign is no base64");
  auto content = alipay_detail::sign_string_of(*fields, [](const auto& field) {
    return field.first == "sign" || field.first == "sign_type";
  });
  auto genuine = alipay_key_->verify(digest_, content, *signature);
  // Tells a downgrade from a forgery; it is refused either way.
  auto weak = !genuine && digest_ != crypto::digest::sha1
              && alipay_key_->verify(crypto::digest::sha1, content, *signature);
  // sign_type is not signed: it must agree with ours, it never decides.
  if (const auto* type = crypto::find_field(*fields, "sign_type");
      type != nullptr && *type != sign_type_)
    return refuse(genuine ? valid_under_configured_type
                  : weak  ? valid_but_weak
                          : invalid,
                  reject_reason::sign_type_not_allowed,
                  "sign_type is " + in_quotes(*type) + "; expected "
                    + sign_type_);
  if (weak)
    return refuse(valid_but_weak, reject_reason::sign_type_not_allowed,
                  "the sign was made by RSA; expected " + sign_type_);
  if (!genuine)
    return refuse(invalid, reject_reason::sign_mismatch,
                  "the sign was not made by Alipay's key over this message");

  // -- is it ours, and can it be true? ----------------------------------------

  result.what = notification_of(*fields);
  auto contradict = [&refuse](reject_reason reason, std::string sentence) {
    return refuse(valid, reason, std::move(sentence));
  };
  if (auto app_id = value_of(*fields, "app_id"); app_id != app_id_)
    return contradict(reject_reason::app_id_mismatch,
                      "app_id is " + in_quotes(app_id) + "; expected "
                        + app_id_);
  result.signature = valid;
  if (!is_about_a_trade(*fields))
    return result;
  if (auto seller_id = value_of(*fields, "seller_id"); seller_id != seller_id_)
    return contradict(reject_reason::seller_id_mismatch,
                      "seller_id is " + in_quotes(seller_id) + "; expected "
                        + seller_id_);
  for (auto name : {"out_trade_no", "trade_no", "out_biz_no", "notify_id"})
    if (auto value = value_of(*fields, name); !is_reference(value))
      return contradict(reject_reason::malformed_field,
                        std::string{name} + " is " + in_quotes(value)
                          + "; expected up to 128 bytes of UTF-8 without "
                            "control characters");
  if (result.what.order_id.empty())
    return contradict(reject_reason::order_not_found,
                      "the message names no order");
  auto total_text = value_of(*fields, "total_amount");
  auto total = parse_amount(total_text);
  if (!total)
    return contradict(reject_reason::amount_malformed,
                      "total_amount is " + in_quotes(total_text)
                        + "; expected yuan with up to two decimals");
  auto refund_text = value_of(*fields, "refund_fee");
  auto refunded = parse_amount(refund_text);
  if (!refund_text.empty() && !refunded)
    return contradict(reject_reason::amount_malformed,
                      "refund_fee is " + in_quotes(refund_text)
                        + "; expected yuan with up to two decimals");
  if (refunded.value_or(0) > *total)
    return contradict(reject_reason::amount_mismatch,
                      "refund_fee is greater than total_amount");
  auto status_text = value_of(*fields, "trade_status");
  if (status_of(status_text) == status::unknown)
    return contradict(reject_reason::unknown_status,
                      "trade_status is " + in_quotes(status_text)
                        + "; expected WAIT_BUYER_PAY, TRADE_SUCCESS, "
                          "TRADE_FINISHED or TRADE_CLOSED");
  if (result.what.transaction_id.empty()
      && (result.what.is == meaning::payment
          || result.what.is == meaning::refund))
    return contradict(reject_reason::trade_no_missing,
                      "the message says that money moved, without a trade_no");
  return result;
}

} // namespace slipway::gateway

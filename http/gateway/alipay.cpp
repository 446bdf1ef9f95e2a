#include "http/gateway/alipay.hpp"

#include "http/crypto/certificate.hpp"
#include "http/crypto/digest.hpp"
#include "http/crypto/encoding.hpp"
#include "http/crypto/text.hpp"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

namespace slipway::gateway {

namespace {

constexpr std::size_t order_id_max = 64;
constexpr std::size_t reference_max = 128;
constexpr std::size_t subject_max = 256; // characters
constexpr std::string_view trade_notify_type = "trade_status_sync";

auto failed(std::string sentence) {
  return tl::make_unexpected(std::move(sentence));
}

auto refused(signature_verdict signature, reject_reason reason,
             std::string sentence) {
  return tl::make_unexpected(rejection{signature, reason, std::move(sentence)});
}

std::string quoted(std::string_view text) {
  constexpr std::size_t shown_max = 80;
  auto cut = text.size() > shown_max;
  return crypto::json_quote(text.substr(0, shown_max)) + (cut ? "…" : "");
}

std::string value_of(const crypto::form_fields& fields, std::string_view name) {
  const auto* value = crypto::find_field(fields, name);
  return value != nullptr ? *value : std::string{};
}

/// Joins `name=value` with `&`, sorted by name in byte order, values raw.
/// @param skip says which names to leave out.
template <class Skip>
std::string sign_string_of(const crypto::form_fields& fields, Skip skip) {
  std::vector<const std::pair<std::string, std::string>*> sorted;
  sorted.reserve(fields.size());
  std::size_t size = 0;
  for (const auto& field : fields) {
    if (skip(field))
      continue;
    sorted.push_back(&field);
    size += field.first.size() + field.second.size() + 2;
  }
  std::sort(sorted.begin(), sorted.end(), [](const auto* a, const auto* b) {
    return a->first < b->first;
  });
  std::string result;
  result.reserve(size);
  for (const auto* field : sorted) {
    if (!result.empty())
      result += '&';
    result += field->first;
    result += '=';
    result += field->second;
  }
  return result;
}

alipay_trade_status status_of(std::string_view text) noexcept {
  if (text == "WAIT_BUYER_PAY")
    return alipay_trade_status::wait_buyer_pay;
  if (text == "TRADE_SUCCESS")
    return alipay_trade_status::trade_success;
  if (text == "TRADE_FINISHED")
    return alipay_trade_status::trade_finished;
  if (text == "TRADE_CLOSED")
    return alipay_trade_status::trade_closed;
  return alipay_trade_status::unknown;
}

bool is_about_a_trade(const verified_notification& notification) noexcept {
  return notification.notify_type.empty()
         || notification.notify_type == trade_notify_type;
}

/// A number or name that we store and show.
bool is_reference(std::string_view text) noexcept {
  return text.size() <= reference_max && crypto::is_utf8(text)
         && !crypto::has_control(text);
}

verified_notification notification_of(crypto::form_fields fields) {
  verified_notification result;
  result.app_id = value_of(fields, "app_id");
  result.seller_id = value_of(fields, "seller_id");
  result.order_id = value_of(fields, "out_trade_no");
  result.trade_no = value_of(fields, "trade_no");
  result.trade_status = value_of(fields, "trade_status");
  result.status = status_of(result.trade_status);
  result.notify_id = value_of(fields, "notify_id");
  result.notify_type = value_of(fields, "notify_type");
  result.out_biz_no = value_of(fields, "out_biz_no");
  result.total_amount_minor = parse_amount(value_of(fields, "total_amount"));
  result.gmt_payment = parse_beijing(value_of(fields, "gmt_payment"));
  result.notify_time = parse_beijing(value_of(fields, "notify_time"));
  // Old messages carry refund_fee=0.00 without any refund.
  if (auto text = value_of(fields, "refund_fee"); !text.empty()) {
    auto amount = parse_amount(text);
    if (!amount)
      result.refund_fee_malformed = true;
    else if (*amount > 0)
      result.refunded_minor = *amount;
  }
  result.fields = std::move(fields);
  return result;
}

bool is_order_id(std::string_view text) noexcept {
  return !text.empty() && text.size() <= order_id_max
         && std::all_of(text.begin(), text.end(), [](char c) {
              return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z')
                     || (c >= 'a' && c <= 'z') || c == '_';
            });
}

/// The number of code points of well-formed UTF-8.
std::size_t characters_in(std::string_view text) noexcept {
  return static_cast<std::size_t>(
    std::count_if(text.begin(), text.end(), [](char c) {
      return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
    }));
}

std::string cert_sn_of(const crypto::certificate_facts& certificate) {
  return crypto::hex_encode(
    crypto::md5(certificate.issuer + certificate.serial_decimal));
}

constexpr std::array<std::string_view, 6> verdict_names{
  "valid",
  "invalid",
  "missing",
  "malformed",
  "valid_under_configured_type",
  "not_evaluated",
};

static_assert(verdict_names.size()
              == static_cast<std::size_t>(signature_verdict::not_evaluated)
                   + 1);

constexpr std::array<std::string_view, 15> reason_names{
  "malformed_body",    "duplicate_parameter",   "sign_missing",
  "sign_malformed",    "sign_type_not_allowed", "sign_mismatch",
  "app_id_mismatch",   "seller_id_mismatch",    "malformed_field",
  "amount_malformed",  "order_not_found",       "amount_mismatch",
  "currency_mismatch", "trade_no_missing",      "unknown_status",
};

static_assert(reason_names.size()
              == static_cast<std::size_t>(reject_reason::unknown_status) + 1);

constexpr std::array<std::string_view, 5> action_names{
  "payment_settled", "noop", "closed", "refund", "reject",
};

static_assert(action_names.size()
              == static_cast<std::size_t>(notification_action::reject) + 1);

} // namespace

std::string_view to_string(signature_verdict verdict) noexcept {
  return verdict_names[static_cast<std::size_t>(verdict)];
}

std::string_view to_string(reject_reason reason) noexcept {
  return reason_names[static_cast<std::size_t>(reason)];
}

std::string_view to_string(notification_action action) noexcept {
  return action_names[static_cast<std::size_t>(action)];
}

tl::expected<std::string, std::string> alipay_cert_sn(std::string_view pem) {
  auto certificates = crypto::parse_certificates(pem);
  if (!certificates)
    return failed(std::move(certificates.error()));
  return cert_sn_of(certificates->front());
}

tl::expected<std::string, std::string>
alipay_root_cert_sn(std::string_view pem) {
  // Only RSA counts: the bundle also holds SM2 and EC roots.
  constexpr std::string_view rsa_oids = "1.2.840.113549.1.1";
  auto certificates = crypto::parse_certificates(pem);
  if (!certificates)
    return failed(std::move(certificates.error()));
  std::string result;
  for (const auto& certificate : *certificates) {
    if (!certificate.signature_oid.starts_with(rsa_oids))
      continue;
    if (!result.empty())
      result += '_';
    result += cert_sn_of(certificate);
  }
  if (result.empty())
    return failed("none of the root certificates is signed with RSA");
  return result;
}

tl::expected<alipay, std::string>
alipay::make(const config::alipay_settings& settings) {
  alipay result;
  if (settings.app_id.empty())
    return failed("alipay.app_id is empty; expected the number of the app");
  if (settings.seller_id.empty())
    return failed("alipay.seller_id is empty; expected the merchant's 2088… "
                  "number");
  result.app_id_ = settings.app_id;
  result.seller_id_ = settings.seller_id;
  result.gateway_url_ = settings.gateway_url;
  result.sign_type_ = settings.sign_type;
  if (settings.sign_type == "RSA2")
    result.digest_ = crypto::digest::sha256;
  else if (settings.sign_type == "RSA")
    result.digest_ = crypto::digest::sha1;
  else
    return failed("alipay.sign_type is " + quoted(settings.sign_type)
                  + "; expected RSA2 or RSA");
  const auto& key_text = settings.alipay_cert.empty()
                           ? settings.alipay_public_key
                           : settings.alipay_cert;
  if (key_text.empty())
    return failed("expected alipay_public_key_file or alipay_cert_file, found "
                  "neither");
  auto key = crypto::rsa_public_key::parse(key_text);
  if (!key)
    return failed("the key of Alipay: " + key.error());
  result.alipay_key_ = std::move(*key);
  if (!settings.app_private_key.empty()) {
    auto app_key
      = crypto::rsa_private_key::parse(settings.app_private_key.reveal());
    if (!app_key)
      return failed("alipay.app_private_key_file: " + app_key.error());
    result.app_key_ = std::move(*app_key);
  }
  // Certificate mode: the gateway demands both numbers in every request.
  if (settings.app_cert.empty() != settings.root_cert.empty())
    return failed("certificate mode takes app_cert_file and root_cert_file; "
                  "found only one of them");
  if (!settings.app_cert.empty()) {
    auto app_sn = alipay_cert_sn(settings.app_cert);
    if (!app_sn)
      return failed("alipay.app_cert_file: " + app_sn.error());
    auto root_sn = alipay_root_cert_sn(settings.root_cert);
    if (!root_sn)
      return failed("alipay.root_cert_file: " + root_sn.error());
    result.app_cert_sn_ = std::move(*app_sn);
    result.root_cert_sn_ = std::move(*root_sn);
  }
  return result;
}

tl::expected<std::string, std::string>
alipay::pay_url(pay_method method, const page_order& order) const {
  if (!app_key_)
    return failed("alipay.app_private_key_file is not configured; expected "
                  "the key that signs requests");
  if (!is_order_id(order.order_id))
    return failed("the order number is " + quoted(order.order_id)
                  + "; expected 1 to 64 letters, digits or _");
  if (order.amount_minor < 1 || order.amount_minor > amount_max_minor)
    return failed("the amount is " + format_amount(order.amount_minor)
                  + "; expected 0.01 to 100000000.00");
  if (order.subject.empty() || !crypto::is_utf8(order.subject)
      || crypto::has_control(order.subject)
      || characters_in(order.subject) > subject_max)
    return failed("the subject is " + quoted(order.subject)
                  + "; expected 1 to 256 characters of UTF-8 without control "
                    "characters");
  if (order.expires_at <= order.created_at)
    return failed("the order expires before it is created");
  auto product
    = method == pay_method::page ? "FAST_INSTANT_TRADE_PAY" : "QUICK_WAP_WAY";
  auto api_method = method == pay_method::page ? "alipay.trade.page.pay"
                                               : "alipay.trade.wap.pay";
  // Signed exactly as it is sent, so it is written once and by hand.
  std::string content
    = "{\"out_trade_no\":" + crypto::json_quote(order.order_id)
      + ",\"total_amount\":\"" + format_amount(order.amount_minor)
      + "\",\"subject\":" + crypto::json_quote(order.subject)
      + ",\"product_code\":\"" + product + "\",\"time_expire\":\""
      + to_beijing(order.expires_at) + "\"}";
  crypto::form_fields fields{
    {"app_id", app_id_},
    {"method", api_method},
    {"format", "JSON"},
    {"charset", "utf-8"},
    {"sign_type", sign_type_},
    {"timestamp", to_beijing(order.created_at)},
    {"version", "1.0"},
    {"notify_url", order.notify_url},
    {"return_url", order.return_url},
    {"app_cert_sn", app_cert_sn_},
    {"alipay_root_cert_sn", root_cert_sn_},
    {"biz_content", std::move(content)},
  };
  // Requests are signed over what is not empty, sign_type included.
  std::erase_if(fields, [](const auto& field) {
    return field.second.empty();
  });
  auto signature
    = app_key_->sign(digest_, sign_string_of(fields, [](const auto&) {
                       return false;
                     }));
  if (!signature)
    return failed(std::move(signature.error()));
  fields.emplace_back("sign", crypto::base64_encode(*signature));
  auto url = gateway_url_;
  auto separator = url.find('?') == std::string::npos ? '?' : '&';
  for (const auto& [name, value] : fields) {
    url += separator;
    url += name;
    url += '=';
    url += crypto::percent_encode(value);
    separator = '&';
  }
  return url;
}

tl::expected<verified_notification, rejection>
alipay::verify(std::string_view raw_body) const {
  using enum signature_verdict;
  auto fields = crypto::decode_form(raw_body);
  if (!fields) {
    auto reason = fields.error() == crypto::form_error::duplicate_name
                    ? reject_reason::duplicate_parameter
                    : reject_reason::malformed_body;
    return refused(not_evaluated, reason,
                   "the body is no form: "
                     + std::string{to_string(fields.error())});
  }
  const auto* sign = crypto::find_field(*fields, "sign");
  if (sign == nullptr || sign->empty())
    return refused(missing, reject_reason::sign_missing,
                   "the message carries no sign");
  auto signature = crypto::base64_decode(*sign);
  if (!signature)
    return refused(malformed, reject_reason::sign_malformed,
                   "the sign is no base64");
  auto content = sign_string_of(*fields, [](const auto& field) {
    return field.first == "sign" || field.first == "sign_type";
  });
  auto genuine = alipay_key_->verify(digest_, content, *signature);
  // sign_type is not signed: it must agree with ours, it never decides.
  if (const auto* type = crypto::find_field(*fields, "sign_type");
      type != nullptr && *type != sign_type_)
    return refused(genuine ? valid_under_configured_type : invalid,
                   reject_reason::sign_type_not_allowed,
                   "sign_type is " + quoted(*type) + "; expected "
                     + sign_type_);
  if (!genuine)
    return refused(invalid, reject_reason::sign_mismatch,
                   "the sign was not made by Alipay's key over this message");
  return notification_of(std::move(*fields));
}

std::optional<rejection>
alipay::check_identity(const verified_notification& notification) const {
  auto contradiction = [](reject_reason reason, std::string sentence) {
    return rejection{signature_verdict::valid, reason, std::move(sentence)};
  };
  if (notification.app_id != app_id_)
    return contradiction(reject_reason::app_id_mismatch,
                         "app_id is " + quoted(notification.app_id)
                           + "; expected " + app_id_);
  if (!is_about_a_trade(notification))
    return std::nullopt;
  if (notification.seller_id != seller_id_)
    return contradiction(reject_reason::seller_id_mismatch,
                         "seller_id is " + quoted(notification.seller_id)
                           + "; expected " + seller_id_);
  for (auto [name, value] : {std::pair{"out_trade_no", &notification.order_id},
                             std::pair{"trade_no", &notification.trade_no},
                             std::pair{"out_biz_no", &notification.out_biz_no},
                             std::pair{"notify_id", &notification.notify_id}})
    if (!is_reference(*value))
      return contradiction(reject_reason::malformed_field,
                           std::string{name} + " is " + quoted(*value)
                             + "; expected up to 128 bytes of UTF-8 without "
                               "control characters");
  if (notification.order_id.empty())
    return contradiction(reject_reason::order_not_found,
                         "the message names no order");
  if (!notification.total_amount_minor)
    return contradiction(
      reject_reason::amount_malformed,
      "total_amount is " + quoted(value_of(notification.fields, "total_amount"))
        + "; expected yuan with up to two decimals");
  if (notification.refund_fee_malformed)
    return contradiction(reject_reason::amount_malformed,
                         "refund_fee is "
                           + quoted(value_of(notification.fields, "refund_fee"))
                           + "; expected yuan with up to two decimals");
  if (notification.refunded_minor.value_or(0)
      > *notification.total_amount_minor)
    return contradiction(reject_reason::amount_mismatch,
                         "refund_fee is greater than total_amount");
  if (notification.status == alipay_trade_status::unknown)
    return contradiction(reject_reason::unknown_status,
                         "trade_status is " + quoted(notification.trade_status)
                           + "; expected WAIT_BUYER_PAY, TRADE_SUCCESS, "
                             "TRADE_FINISHED or TRADE_CLOSED");
  auto action = action_of(notification);
  if (notification.trade_no.empty()
      && (action == notification_action::payment_settled
          || action == notification_action::refund))
    return contradiction(reject_reason::trade_no_missing,
                         "the message says that money moved, without a "
                         "trade_no");
  return std::nullopt;
}

notification_action
action_of(const verified_notification& notification) noexcept {
  if (!is_about_a_trade(notification))
    return notification_action::noop;
  switch (notification.status) {
    case alipay_trade_status::wait_buyer_pay:
      return notification_action::noop;
    case alipay_trade_status::trade_success:
    case alipay_trade_status::trade_finished:
      return notification.refunded_minor ? notification_action::refund
                                         : notification_action::payment_settled;
    case alipay_trade_status::trade_closed:
      return notification.refunded_minor ? notification_action::refund
                                         : notification_action::closed;
    case alipay_trade_status::unknown:
      return notification_action::reject;
  }
  return notification_action::reject;
}

judgement alipay::judge(const verified_notification& notification,
                        const expected_order& order) const {
  judgement result;
  result.order_id = notification.order_id;
  result.trade_no = notification.trade_no;
  result.amount_minor = notification.total_amount_minor.value_or(0);
  result.paid_at = notification.gmt_payment ? notification.gmt_payment
                                            : notification.notify_time;
  result.refunded_minor = notification.refunded_minor;
  result.out_biz_no = notification.out_biz_no;
  result.notify_id = notification.notify_id;
  result.trade_status = notification.trade_status;
  auto reject = [&result](reject_reason reason, std::string sentence) {
    result.refused
      = rejection{signature_verdict::valid, reason, std::move(sentence)};
    return result;
  };
  if (auto contradiction = check_identity(notification)) {
    result.refused = std::move(contradiction);
    return result;
  }
  if (is_about_a_trade(notification)) {
    if (!order.known)
      return reject(reject_reason::order_not_found,
                    "there is no order " + quoted(notification.order_id));
    if (order.currency != "CNY")
      return reject(reject_reason::currency_mismatch,
                    "the order is in " + order.currency
                      + "; Alipay's total_amount is in CNY");
    if (order.amount_minor != *notification.total_amount_minor)
      return reject(
        reject_reason::amount_mismatch,
        "total_amount is " + format_amount(*notification.total_amount_minor)
          + "; the order is over " + format_amount(order.amount_minor));
  }
  result.action = action_of(notification);
  return result;
}

} // namespace slipway::gateway

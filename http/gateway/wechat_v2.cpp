#include "http/gateway/wechat_v2.hpp"

#include "http/crypto/aes_ecb.hpp"
#include "http/crypto/digest.hpp"
#include "http/crypto/encoding.hpp"
#include "http/crypto/text.hpp"
#include "http/gateway/xml.hpp"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

namespace slipway::gateway {

namespace {

using crypto::form_fields;
using lifecycle::payment_method;

constexpr std::size_t key_size = 32;
constexpr std::size_t order_id_min = 6;
constexpr std::size_t order_id_max = 32;
constexpr std::size_t reference_max = 128;
constexpr std::size_t subject_max = 127; // bytes
constexpr std::size_t url_max = 256;
constexpr std::size_t link_max = 1024;
constexpr int refunds_max = 50; // of one order, by the gateway's rules

constexpr std::string_view no_refunds
  = "WeChat Pay v2 takes refunds only from a client with the merchant's "
    "certificate, which is not supported; refund in the merchant's console or "
    "configure APIv3";

auto failed(std::string sentence) {
  return tl::make_unexpected(std::move(sentence));
}

auto failed(failure kind, std::string sentence, std::string code = {}) {
  return tl::make_unexpected(
    call_failure{kind, std::move(code), std::move(sentence)});
}

std::string in_quotes(std::string_view text) {
  constexpr std::size_t shown_max = 80;
  auto cut = text.size() > shown_max;
  return crypto::json_quote(text.substr(0, shown_max)) + (cut ? "…" : "");
}

/// The value of a field; empty where there is none, which means the same here.
std::string_view value_of(const form_fields& fields, std::string_view name) {
  const auto* value = crypto::find_field(fields, name);
  return value != nullptr ? std::string_view{*value} : std::string_view{};
}

std::string text_of(const form_fields& fields, std::string_view name) {
  return std::string{value_of(fields, name)};
}

std::string upper_hex(std::string_view bytes) {
  auto result = crypto::hex_encode(bytes);
  for (auto& c : result)
    if (c >= 'a' && c <= 'f')
      c = static_cast<char>(c - 'a' + 'A');
  return result;
}

bool is_digits(std::string_view text) noexcept {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return c >= '0' && c <= '9';
  });
}

/// Fen: digits without a zero in front, and nothing else.
std::optional<minor_units> fen_of(std::string_view text) {
  constexpr std::size_t digits_max = 11;
  if (!is_digits(text) || text.size() > digits_max
      || (text.size() > 1 && text.front() == '0'))
    return std::nullopt;
  minor_units result = 0;
  for (auto c : text)
    result = result * 10 + (c - '0');
  if (result > amount_max_minor)
    return std::nullopt;
  return result;
}

/// `yyyyMMddHHmmss`, Beijing time.
std::string compact_beijing(timestamp at) {
  auto text = to_beijing(at);
  std::erase_if(text, [](char c) {
    return c < '0' || c > '9';
  });
  return text;
}

std::optional<timestamp> parse_compact_beijing(std::string_view text) {
  if (text.size() != 14 || !is_digits(text))
    return std::nullopt;
  auto part = [text](std::size_t at, std::size_t size) {
    return std::string{text.substr(at, size)};
  };
  return parse_beijing(part(0, 4) + '-' + part(4, 2) + '-' + part(6, 2) + ' '
                       + part(8, 2) + ':' + part(10, 2) + ':' + part(12, 2));
}

bool is_order_id(std::string_view text) noexcept {
  return text.size() >= order_id_min && text.size() <= order_id_max
         && std::all_of(text.begin(), text.end(), [](char c) {
              return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z')
                     || (c >= 'a' && c <= 'z') || c == '_' || c == '-';
            });
}

/// A number or name that we store and show.
bool is_reference(std::string_view text) noexcept {
  return text.size() <= reference_max && !crypto::has_control(text);
}

std::string_view cut_to(std::string_view text, std::size_t bytes) noexcept {
  if (text.size() <= bytes)
    return text;
  while (bytes > 0 && (static_cast<unsigned char>(text[bytes]) & 0xc0) == 0x80)
    --bytes;
  return text.substr(0, bytes);
}

/// The value where it is a reference, else nothing: for what is kept of
/// messages that are refused.
std::string reference_of(const form_fields& fields, std::string_view name) {
  const auto value = value_of(fields, name);
  return is_reference(value) ? std::string{value} : std::string{};
}

/// `fee_type`, where none means yuan. The string that is signed marks no end of
/// a value, so a `fee_type` could be hidden in the value before it; then the
/// currency is what stands there.
std::string_view currency_of(const form_fields& fields) {
  constexpr std::string_view hidden = "&fee_type=";
  if (auto named = value_of(fields, "fee_type"); !named.empty())
    return named;
  for (const auto& [name, value] : fields)
    if (auto at = value.find(hidden); at != std::string::npos) {
      auto rest = std::string_view{value}.substr(at + hidden.size());
      return rest.substr(0, rest.find('&'));
    }
  return "CNY";
}

constexpr std::array<std::string_view, 2> sign_type_names{"HMAC-SHA256", "MD5"};

static_assert(sign_type_names.size()
              == static_cast<std::size_t>(v2_sign_type::md5) + 1);

std::string_view trade_type_of(payment_method method) noexcept {
  switch (method) {
    case payment_method::native:
      return "NATIVE";
    case payment_method::h5:
      return "MWEB";
    case payment_method::jsapi:
      return "JSAPI";
    case payment_method::page:
    case payment_method::wap:
    case payment_method::qr:
      break;
  }
  return {};
}

/// A refusal of what could not even be read as XML of the right form.
reading unread(rejection why, bool is_signed) {
  reading result;
  result.signature = signature_verdict::not_evaluated;
  // XML all right, of which no form has one certain sign.
  if (why.reason == reject_reason::duplicate_element
      || why.reason == reject_reason::malformed_message)
    result.signature = is_signed ? signature_verdict::invalid
                                 : signature_verdict::none_by_design;
  result.refused = std::move(why);
  result.what.gateway = lifecycle::payment_gateway::wechat;
  return result;
}

/// The first of these fields that can't be a number or name, as a rejection.
std::optional<rejection>
check_references(const form_fields& fields,
                 std::initializer_list<std::string_view> names) {
  for (auto name : names)
    if (auto value = value_of(fields, name); !is_reference(value))
      return rejection{reject_reason::malformed_field,
                       std::string{name} + " is " + in_quotes(value)
                         + "; expected up to 128 bytes without control "
                           "characters"};
  return std::nullopt;
}

rejection not_an_amount(const form_fields& fields, std::string_view name) {
  return {reject_reason::amount_malformed, std::string{name} + " is "
                                             + in_quotes(value_of(fields, name))
                                             + "; expected fen, as digits"};
}

/// What is wrong with an authentic payment result, given what it says.
std::optional<rejection>
check_payment(const form_fields& fields, notification& what) {
  using enum reject_reason;
  if (auto wrong = check_references(fields, {"out_trade_no", "transaction_id"}))
    return wrong;
  const auto result_code = value_of(fields, "result_code");
  if (result_code == "FAIL")
    return std::nullopt;
  if (result_code != "SUCCESS")
    return rejection{unknown_status, "result_code is " + in_quotes(result_code)
                                       + "; expected SUCCESS or FAIL"};
  if (what.order_id.empty())
    return rejection{order_not_found, "the message names no order"};
  const auto amount = fen_of(value_of(fields, "total_fee"));
  if (!amount)
    return not_an_amount(fields, "total_fee");
  what.amount = *amount;
  if (what.currency != "CNY")
    return rejection{currency_mismatch, "fee_type is "
                                          + in_quotes(currency_of(fields))
                                          + "; expected CNY"};
  if (what.transaction_id.empty())
    return rejection{trade_no_missing, "the message says that money moved, "
                                       "without a transaction_id"};
  what.is = meaning::payment;
  return std::nullopt;
}

/// The same for a refund result.
std::optional<rejection>
check_refund(const form_fields& fields, notification& what) {
  using enum reject_reason;
  if (auto wrong = check_references(fields, {"out_trade_no", "transaction_id",
                                             "refund_id", "out_refund_no"}))
    return wrong;
  if (what.order_id.empty())
    return rejection{order_not_found, "the message names no order"};
  if (what.transaction_id.empty())
    return rejection{trade_no_missing, "the message says that money moved, "
                                       "without a transaction_id"};
  if (what.refund_id.empty() || what.event_id.empty())
    return rejection{malformed_field, "refund_id or out_refund_no is missing"};
  const auto total = fen_of(value_of(fields, "total_fee"));
  if (!total)
    return not_an_amount(fields, "total_fee");
  what.amount = *total;
  const auto refunded = fen_of(value_of(fields, "refund_fee"));
  if (!refunded || *refunded == 0)
    return not_an_amount(fields, "refund_fee");
  what.refund_amount = *refunded;
  if (*refunded > *total)
    return rejection{amount_mismatch, "refund_fee is greater than total_fee"};
  if (what.word == "SUCCESS")
    what.is = meaning::refund;
  else if (what.word == "CHANGE")
    what.is = meaning::refund_abnormal;
  else if (what.word == "REFUNDCLOSE")
    what.is = meaning::refund_closed;
  else
    return rejection{unknown_status, "refund_status is " + in_quotes(what.word)
                                       + "; expected SUCCESS, CHANGE or "
                                         "REFUNDCLOSE"};
  return std::nullopt;
}

/// The refusal by a rule that a signed answer holds, if it holds one.
std::optional<call_failure> business_failure(const form_fields& fields) {
  const auto result_code = value_of(fields, "result_code");
  if (result_code == "SUCCESS")
    return std::nullopt;
  const auto code = value_of(fields, "err_code");
  if (result_code != "FAIL" || code.empty())
    return call_failure{failure::unclear,
                        {},
                        "result_code is " + in_quotes(result_code)
                          + " and err_code is " + in_quotes(code)
                          + "; expected SUCCESS, or FAIL with a code"};
  auto kind = failure::refused;
  if (code == "SYSTEMERROR" || code == "BIZERR_NEED_RETRY")
    kind = failure::unclear;
  else if (code == "FREQUENCY_LIMITED")
    kind = failure::limited;
  return call_failure{kind, std::string{cut_to(code, reference_max)},
                      "WeChat Pay answers " + in_quotes(code) + ": "
                        + in_quotes(value_of(fields, "err_code_des"))};
}

std::optional<trade_state> trade_state_of(std::string_view word) noexcept {
  if (word == "SUCCESS")
    return trade_state::paid;
  if (word == "REFUND")
    return trade_state::refunded;
  if (word == "CLOSED" || word == "REVOKED")
    return trade_state::closed;
  if (word == "NOTPAY" || word == "USERPAYING" || word == "PAYERROR"
      || word == "ACCEPT")
    return trade_state::unpaid;
  return std::nullopt;
}

std::optional<refund_state> refund_state_of(std::string_view word) noexcept {
  if (word == "SUCCESS")
    return refund_state::done;
  if (word == "PROCESSING")
    return refund_state::processing;
  if (word == "CHANGE")
    return refund_state::abnormal;
  if (word == "REFUNDCLOSE")
    return refund_state::closed;
  return std::nullopt;
}

tl::expected<void, std::string> check_order_id(std::string_view order_id) {
  if (!is_order_id(order_id))
    return failed("the order number is " + in_quotes(order_id)
                  + "; expected 6 to 32 letters, digits, _ or -");
  return {};
}

tl::expected<void, std::string>
check_order(const pay_order& order, timestamp now) {
  if (auto valid = check_order_id(order.order_id); !valid)
    return valid;
  if (trade_type_of(order.method).empty())
    return failed("WeChat Pay offers native, h5 and jsapi, no other method");
  if (order.currency != "CNY")
    return failed("the order is in " + in_quotes(order.currency)
                  + "; WeChat Pay takes CNY");
  if (order.amount < 1 || order.amount > amount_max_minor)
    return failed("the amount is " + format_amount(order.amount)
                  + "; expected 0.01 to 100000000.00");
  if (order.subject.empty() || !crypto::is_utf8(order.subject)
      || crypto::has_control(order.subject))
    return failed("the subject is " + in_quotes(order.subject)
                  + "; expected UTF-8 without control characters");
  if (order.notify_url.empty() || order.notify_url.size() > url_max
      || order.notify_url.find('?') != std::string::npos)
    return failed("notify_url is " + in_quotes(order.notify_url)
                  + "; expected up to 256 bytes without a query");
  if (order.expires_at <= now || order.expires_at <= order.created_at)
    return failed("the order has expired");
  if (order.method == payment_method::jsapi && order.payer_id.empty())
    return failed("jsapi needs the payer's openid");
  if (order.method == payment_method::h5 && order.payer_ip.empty())
    return failed("h5 needs the payer's address");
  return {};
}

} // namespace

std::string_view to_string(v2_sign_type type) noexcept {
  return sign_type_names[static_cast<std::size_t>(type)];
}

std::optional<v2_sign_type> v2_sign_type_of(std::string_view name) noexcept {
  for (auto type : {v2_sign_type::hmac_sha256, v2_sign_type::md5})
    if (name == to_string(type))
      return type;
  return std::nullopt;
}

std::string
v2_sign(const form_fields& fields, std::string_view key, v2_sign_type type) {
  std::vector<const std::pair<std::string, std::string>*> sorted;
  sorted.reserve(fields.size());
  for (const auto& field : fields)
    if (field.first != "sign" && !field.second.empty())
      sorted.push_back(&field);
  std::sort(sorted.begin(), sorted.end(), [](const auto* a, const auto* b) {
    return a->first < b->first;
  });
  std::string content;
  for (const auto* field : sorted) {
    content += field->first;
    content += '=';
    content += field->second;
    content += '&';
  }
  content += "key=";
  content += key;
  switch (type) {
    case v2_sign_type::hmac_sha256:
      return upper_hex(crypto::hmac_sha256(key, content));
    case v2_sign_type::md5:
      return upper_hex(crypto::md5(content));
  }
  return {};
}

std::string v2_refund_key(std::string_view key) {
  return crypto::hex_encode(crypto::md5(key));
}

std::string v2_reply(bool success, std::string_view message) {
  constexpr std::string_view section_end = "]]>";
  std::string text = crypto::to_valid_utf8(message.empty() ? "OK" : message);
  std::replace_if(
    text.begin(), text.end(),
    [](char c) {
      return crypto::has_control({&c, 1});
    },
    ' ');
  for (auto at = text.find(section_end); at != std::string::npos;
       at = text.find(section_end))
    text.replace(at, section_end.size(), "]] >");
  return std::string{"<xml><return_code><![CDATA["}
         + (success ? "SUCCESS" : "FAIL")
         + "]]></return_code><return_msg><![CDATA[" + text
         + "]]></return_msg></xml>";
}

tl::expected<wechat_v2, std::string>
wechat_v2::make(const config::wechat_settings& settings, v2_sign_type type) {
  if (settings.app_id.empty())
    return failed("wechat.app_id is empty; expected the number of the app");
  if (settings.mch_id.empty())
    return failed("wechat.mch_id is empty; expected the merchant number");
  if (settings.gateway_url.empty())
    return failed("wechat.gateway_url is empty");
  if (settings.api_v2_key.reveal().size() != key_size)
    return failed("wechat.api_v2_key_file holds "
                  + std::to_string(settings.api_v2_key.reveal().size())
                  + " bytes; expected the APIv2 key of 32");
  wechat_v2 result;
  result.app_id_ = settings.app_id;
  result.mch_id_ = settings.mch_id;
  result.gateway_url_ = settings.gateway_url;
  result.key_ = settings.api_v2_key;
  result.type_ = type;
  return result;
}

bool wechat_v2::is_genuine(const form_fields& fields) const {
  return crypto::constant_time_equal(value_of(fields, "sign"),
                                     v2_sign(fields, key_.reveal(), type_));
}

std::optional<rejection>
wechat_v2::check_identity(const form_fields& fields) const {
  if (auto app_id = value_of(fields, "appid"); app_id != app_id_)
    return rejection{reject_reason::app_id_mismatch,
                     "appid is " + in_quotes(app_id) + "; expected " + app_id_};
  if (auto mch_id = value_of(fields, "mch_id"); mch_id != mch_id_)
    return rejection{reject_reason::mch_id_mismatch,
                     "mch_id is " + in_quotes(mch_id) + "; expected "
                       + mch_id_};
  return std::nullopt;
}

reading wechat_v2::read_notification(std::string_view body) const {
  using enum reject_reason;
  auto fields = parse_flat_xml(body, "xml");
  if (!fields)
    return unread(std::move(fields.error()), true);
  reading result;
  result.what.gateway = lifecycle::payment_gateway::wechat;
  auto refuse = [&result](signature_verdict signature, reject_reason reason,
                          std::string sentence) {
    result.signature = signature;
    result.refused = rejection{reason, std::move(sentence)};
    return result;
  };
  const auto return_code = value_of(*fields, "return_code");
  if (value_of(*fields, "sign").empty()) {
    if (return_code == "FAIL")
      return refuse(signature_verdict::missing, return_code_fail,
                    "an unsigned error of transport: "
                      + in_quotes(value_of(*fields, "return_msg")));
    return refuse(signature_verdict::missing, sign_missing,
                  "the message carries no sign");
  }
  const auto genuine = is_genuine(*fields);
  // Tells a downgrade from a forgery; it is refused either way.
  const auto weak = !genuine && type_ != v2_sign_type::md5
                    && crypto::constant_time_equal(
                      value_of(*fields, "sign"),
                      v2_sign(*fields, key_.reveal(), v2_sign_type::md5));
  // The type has been agreed on with the order: a message may only confirm it.
  if (auto type = value_of(*fields, "sign_type");
      !type.empty() && type != to_string(type_))
    return refuse(genuine ? signature_verdict::valid_under_configured_type
                  : weak  ? signature_verdict::valid_but_weak
                          : signature_verdict::invalid,
                  sign_type_not_allowed,
                  "sign_type is " + in_quotes(type) + "; expected "
                    + std::string{to_string(type_)});
  if (weak)
    return refuse(signature_verdict::valid_but_weak, sign_type_not_allowed,
                  "the sign was made by MD5; expected "
                    + std::string{to_string(type_)});
  if (!genuine)
    return refuse(signature_verdict::invalid, sign_mismatch,
                  "the sign was not made with our key over this message by "
                    + std::string{to_string(type_)});
  result.signature = signature_verdict::valid;
  auto& what = result.what;
  what.order_id = reference_of(*fields, "out_trade_no");
  what.transaction_id = reference_of(*fields, "transaction_id");
  what.event_id = what.transaction_id;
  what.amount = fen_of(value_of(*fields, "total_fee")).value_or(0);
  if (auto currency = currency_of(*fields); is_reference(currency))
    what.currency = currency;
  else
    what.currency.clear();
  what.paid_at = parse_compact_beijing(value_of(*fields, "time_end"));
  what.word = reference_of(*fields, "result_code");
  if (return_code != "SUCCESS")
    return refuse(signature_verdict::valid, return_code_fail,
                  "return_code is " + in_quotes(return_code)
                    + "; expected SUCCESS");
  result.refused = check_identity(*fields);
  if (!result.refused)
    result.refused = check_payment(*fields, what);
  return result;
}

reading wechat_v2::read_refund_notification(std::string_view body) const {
  using enum reject_reason;
  auto outer = parse_flat_xml(body, "xml");
  if (!outer)
    return unread(std::move(outer.error()), false);
  reading result;
  result.signature = signature_verdict::none_by_design;
  result.what.gateway = lifecycle::payment_gateway::wechat;
  auto refuse = [&result](reject_reason reason, std::string sentence) {
    result.refused = rejection{reason, std::move(sentence)};
    return result;
  };
  if (auto code = value_of(*outer, "return_code"); code != "SUCCESS")
    return refuse(return_code_fail,
                  "return_code is " + in_quotes(code) + "; expected SUCCESS");
  const auto info = value_of(*outer, "req_info");
  if (info.empty())
    return refuse(malformed_message, "the message carries no req_info");
  const auto sealed = crypto::base64_decode(info);
  if (!sealed)
    return refuse(decrypt_failed, "req_info is no base64");
  auto text
    = crypto::aes_256_ecb_decrypt(v2_refund_key(key_.reveal()), *sealed);
  if (!text)
    return refuse(decrypt_failed, "req_info: " + text.error());
  // One wrong key in 256 passes the padding, and any rearrangement of blocks
  // does: what is no message of ours then proves nothing either.
  auto fields = parse_flat_xml(*text, "root");
  if (!fields)
    return refuse(fields.error().reason == doctype_forbidden ? doctype_forbidden
                                                             : decrypt_failed,
                  "req_info: " + fields.error().sentence);
  auto& what = result.what;
  what.order_id = reference_of(*fields, "out_trade_no");
  what.transaction_id = reference_of(*fields, "transaction_id");
  what.refund_id = reference_of(*fields, "out_refund_no");
  what.event_id = reference_of(*fields, "refund_id");
  what.word = reference_of(*fields, "refund_status");
  result.refused = check_identity(*outer);
  if (!result.refused)
    result.refused = check_refund(*fields, what);
  return result;
}

boost::json::object wechat_v2::jsapi_parameters(std::string_view prepay_id,
                                                const stamp& with) const {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(
    with.now.time_since_epoch());
  auto fields = form_fields{{"appId", app_id_},
                            {"timeStamp", std::to_string(seconds.count())},
                            {"nonceStr", with.nonce},
                            {"package", "prepay_id=" + std::string{prepay_id}},
                            {"signType", std::string{to_string(type_)}}};
  fields.emplace_back("paySign", v2_sign(fields, key_.reveal(), type_));
  auto result = boost::json::object{};
  for (const auto& [name, value] : fields)
    result[name] = value;
  return result;
}

bool wechat_v2::takes(payment_method method) const noexcept {
  return !trade_type_of(method).empty();
}

bool wechat_v2::has_to_call(payment_method method) const noexcept {
  return takes(method);
}

tl::expected<payment_link, std::string>
wechat_v2::link(const pay_order& order) const {
  return failed("WeChat Pay has to be called before order "
                + in_quotes(order.order_id) + " can be paid");
}

merchant::request
wechat_v2::signed_request(std::string_view path, form_fields fields,
                          const stamp& with) const {
  fields.insert(fields.begin(), {
                                  {"appid", app_id_},
                                  {"mch_id", mch_id_},
                                  {"nonce_str", with.nonce},
                                  {"sign_type", std::string{to_string(type_)}},
                                });
  std::erase_if(fields, [](const auto& field) {
    return field.second.empty();
  });
  auto sign = v2_sign(fields, key_.reveal(), type_);
  fields.emplace_back("sign", std::move(sign));
  client::http_request result;
  result.method = "POST";
  result.url = gateway_url_ + std::string{path};
  result.headers = {
    {"Content-Type", "text/xml; charset=utf-8"},
    {"Accept", "text/xml"},
  };
  result.body = write_flat_xml("xml", fields);
  return result;
}

merchant::answer<form_fields>
wechat_v2::opened(const client::http_response& from,
                  std::string_view order_id) const {
  constexpr int http_ok = 200;
  constexpr int http_too_many = 429;
  if (from.status != http_ok)
    return failed(from.status == http_too_many ? failure::limited
                                               : failure::unclear,
                  "WeChat Pay answers with HTTP status "
                    + std::to_string(from.status) + "; expected 200");
  auto fields = parse_flat_xml(from.body, "xml");
  if (!fields)
    return failed(failure::forged,
                  "the answer is no message: " + fields.error().sentence);
  const auto return_code = value_of(*fields, "return_code");
  auto transport_error = [&] {
    return failed(failure::unclear,
                  "WeChat Pay answers return_code " + in_quotes(return_code)
                    + ": " + in_quotes(value_of(*fields, "return_msg")));
  };
  if (value_of(*fields, "sign").empty()) {
    if (return_code == "FAIL")
      return transport_error();
    return failed(failure::forged, "the answer carries no sign");
  }
  if (auto type = value_of(*fields, "sign_type");
      !type.empty() && type != to_string(type_))
    return failed(failure::forged, "the answer is signed by " + in_quotes(type)
                                     + "; expected "
                                     + std::string{to_string(type_)});
  if (!is_genuine(*fields))
    return failed(failure::forged,
                  "the sign was not made with our key over this answer by "
                    + std::string{to_string(type_)});
  if (return_code != "SUCCESS")
    return transport_error();
  if (auto wrong = check_identity(*fields))
    return failed(failure::forged, std::move(wrong->sentence));
  if (auto found = value_of(*fields, "out_trade_no");
      !found.empty() && found != order_id)
    return failed(failure::forged, "the answer is about order "
                                     + in_quotes(found) + "; expected "
                                     + in_quotes(order_id));
  return fields.value();
}

merchant::request
wechat_v2::create_request(const pay_order& order, const stamp& with) const {
  if (auto valid = check_order(order, with.now); !valid)
    return failed(std::move(valid.error()));
  const auto is_h5 = order.method == payment_method::h5;
  std::string scene;
  if (is_h5) {
    scene = "{\"h5_info\":{\"type\":\"Wap\"";
    if (!order.return_url.empty())
      scene += ",\"wap_url\":" + crypto::json_quote(order.return_url);
    scene += "}}";
  }
  const auto is_native = order.method == payment_method::native;
  return signed_request(
    "/pay/unifiedorder",
    {
      {"body", std::string{cut_to(order.subject, subject_max)}},
      {"out_trade_no", order.order_id},
      {"fee_type", order.currency},
      {"total_fee", std::to_string(order.amount)},
      // Mandatory, although just h5 compares it with the payer's.
      {"spbill_create_ip",
       order.payer_ip.empty() ? "127.0.0.1" : order.payer_ip},
      {"time_start", compact_beijing(order.created_at)},
      {"time_expire", compact_beijing(order.expires_at)},
      {"notify_url", order.notify_url},
      {"trade_type", std::string{trade_type_of(order.method)}},
      {"product_id", is_native ? order.order_id : std::string{}},
      {"openid",
       order.method == payment_method::jsapi ? order.payer_id : std::string{}},
      {"scene_info", std::move(scene)},
    },
    with);
}

merchant::answer<payment_link>
wechat_v2::read_create(const pay_order& order,
                       const client::http_response& from, timestamp) const {
  auto fields = opened(from, order.order_id);
  if (!fields)
    return tl::make_unexpected(std::move(fields.error()));
  if (auto bad = business_failure(*fields))
    return tl::make_unexpected(std::move(*bad));
  const auto wanted = trade_type_of(order.method);
  if (auto type = value_of(*fields, "trade_type"); type != wanted)
    return failed(failure::forged, "the answer is about a payment by "
                                     + in_quotes(type) + "; expected "
                                     + std::string{wanted});
  const auto is_h5 = order.method == payment_method::h5;
  const auto is_native = order.method == payment_method::native;
  const auto name = is_native ? "code_url" : is_h5 ? "mweb_url" : "prepay_id";
  auto value = text_of(*fields, name);
  if (value.empty() || value.size() > link_max || crypto::has_control(value)
      || (is_h5 && !value.starts_with("https://")
          && !value.starts_with("http://")))
    return failed(failure::unclear, std::string{name} + " is "
                                      + in_quotes(value)
                                      + "; expected how to pay");
  payment_link result;
  if (is_native) {
    result.qr_code = std::move(value);
  } else if (is_h5) {
    result.pay_url = std::move(value);
    if (!order.return_url.empty())
      result.pay_url
        += (result.pay_url.find('?') == std::string::npos ? "?" : "&")
           + ("redirect_url=" + crypto::percent_encode(order.return_url));
  } else {
    result.prepay_id = std::move(value);
  }
  return result;
}

merchant::request
wechat_v2::query_request(std::string_view order_id, const stamp& with) const {
  if (auto valid = check_order_id(order_id); !valid)
    return failed(std::move(valid.error()));
  return signed_request("/pay/orderquery",
                        {{"out_trade_no", std::string{order_id}}}, with);
}

merchant::answer<trade>
wechat_v2::read_query(std::string_view order_id,
                      const client::http_response& from, timestamp) const {
  auto fields = opened(from, order_id);
  if (!fields)
    return tl::make_unexpected(std::move(fields.error()));
  trade result;
  result.order_id = order_id;
  if (auto bad = business_failure(*fields)) {
    result.word = bad->code;
    if (bad->code == "ORDERNOTEXIST") {
      result.is = trade_state::absent;
      return result;
    }
    if (bad->code == "ORDERCLOSED") {
      result.is = trade_state::closed;
      return result;
    }
    return tl::make_unexpected(std::move(*bad));
  }
  if (value_of(*fields, "out_trade_no") != order_id)
    return failed(failure::forged,
                  "the answer names no order; expected " + in_quotes(order_id));
  result.word = text_of(*fields, "trade_state");
  const auto state = trade_state_of(result.word);
  if (!state)
    return failed(failure::unclear, "trade_state is " + in_quotes(result.word)
                                      + "; expected one of those documented");
  result.is = *state;
  result.transaction_id = reference_of(*fields, "transaction_id");
  result.currency = currency_of(*fields);
  result.amount = fen_of(value_of(*fields, "total_fee"));
  result.paid_at = parse_compact_beijing(value_of(*fields, "time_end"));
  const auto has_money
    = *state == trade_state::paid || *state == trade_state::refunded;
  if (!is_reference(result.transaction_id) || !is_reference(result.currency)
      || (has_money && (result.transaction_id.empty() || !result.amount)))
    return failed(failure::unclear,
                  "the order is said to be paid, with transaction_id "
                    + in_quotes(result.transaction_id) + " and total_fee "
                    + in_quotes(value_of(*fields, "total_fee"))
                    + "; expected a number and fen");
  return result;
}

merchant::request
wechat_v2::close_request(std::string_view order_id, const stamp& with) const {
  if (auto valid = check_order_id(order_id); !valid)
    return failed(std::move(valid.error()));
  return signed_request("/pay/closeorder",
                        {{"out_trade_no", std::string{order_id}}}, with);
}

merchant::answer<close_end>
wechat_v2::read_close(std::string_view order_id,
                      const client::http_response& from, timestamp) const {
  auto fields = opened(from, order_id);
  if (!fields)
    return tl::make_unexpected(std::move(fields.error()));
  auto bad = business_failure(*fields);
  if (!bad || bad->code == "ORDERCLOSED")
    return close_end::closed;
  if (bad->code == "ORDERNOTEXIST")
    return close_end::absent;
  if (bad->code == "ORDERPAID")
    return close_end::paid;
  return tl::make_unexpected(std::move(*bad));
}

merchant::request
wechat_v2::refund_request(const refund_order&, const stamp&) const {
  return failed(std::string{no_refunds});
}

merchant::answer<refund_report>
wechat_v2::read_refund(const refund_order&, const client::http_response&,
                       timestamp) const {
  return failed(failure::refused, std::string{no_refunds});
}

merchant::request wechat_v2::refund_query_request(const refund_order& order,
                                                  const stamp& with) const {
  if (order.refund_id.empty() || !is_reference(order.refund_id))
    return failed("the number of the refund is " + in_quotes(order.refund_id)
                  + "; expected up to 128 bytes without control characters");
  return signed_request("/pay/refundquery",
                        {{"out_refund_no", order.refund_id}}, with);
}

merchant::answer<refund_report>
wechat_v2::read_refund_query(const refund_order& order,
                             const client::http_response& from,
                             timestamp) const {
  auto fields = opened(from, order.order_id);
  if (!fields)
    return tl::make_unexpected(std::move(fields.error()));
  refund_report result;
  result.refund_id = order.refund_id;
  if (auto bad = business_failure(*fields)) {
    if (bad->code != "REFUNDNOTEXIST")
      return tl::make_unexpected(std::move(*bad));
    result.is = refund_state::absent;
    result.word = bad->code;
    return result;
  }
  if (value_of(*fields, "out_trade_no") != order.order_id)
    return failed(failure::forged, "the answer names no order; expected "
                                     + in_quotes(order.order_id));
  // The refunds are numbered: out_refund_no_0, refund_fee_0 …
  for (int i = 0; i < refunds_max; ++i) {
    const auto suffix = "_" + std::to_string(i);
    if (value_of(*fields, "out_refund_no" + suffix) != order.refund_id)
      continue;
    result.word = text_of(*fields, "refund_status" + suffix);
    result.amount = fen_of(value_of(*fields, "refund_fee" + suffix));
    const auto state = refund_state_of(result.word);
    if (!state || !result.amount)
      return failed(failure::unclear,
                    "refund_status is " + in_quotes(result.word)
                      + " and refund_fee "
                      + in_quotes(value_of(*fields, "refund_fee" + suffix))
                      + "; expected a status as documented and fen");
    result.is = *state;
    return result;
  }
  return failed(failure::unclear, "the answer does not name refund "
                                    + in_quotes(order.refund_id));
}

} // namespace slipway::gateway

#include "http/gateway/wechat_v3.hpp"

#include "http/crypto/aead.hpp"
#include "http/crypto/encoding.hpp"
#include "http/crypto/form.hpp"
#include "http/crypto/text.hpp"
#include "http/gateway/strict_json.hpp"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <utility>

namespace slipway::gateway {

namespace json = boost::json;

namespace {

constexpr std::string_view signature_type = "WECHATPAY2-SHA256-RSA2048";
constexpr std::string_view probe_prefix = "WECHATPAY/SIGNTEST/";
constexpr std::string_view algorithm_name = "AEAD_AES_256_GCM";
/// A message this old, or this far ahead, is refused.
constexpr millis clock_limit{300'000};

constexpr std::size_t order_id_min = 6;
constexpr std::size_t order_id_max = 32;
constexpr std::size_t refund_id_max = 64;
constexpr std::size_t reference_max = 128;
constexpr std::size_t description_max = 127; // bytes, on the safe side
constexpr std::size_t reason_max = 80;       // bytes, on the safe side
constexpr std::size_t url_max = 256;
constexpr std::size_t link_max = 2048;
constexpr std::size_t certificates_max = 32;

auto failed(std::string sentence) {
  return tl::make_unexpected(std::move(sentence));
}

auto failed_call(failure kind, std::string sentence, std::string code = {}) {
  return tl::make_unexpected(
    call_failure{kind, std::move(code), std::move(sentence)});
}

/// The longest beginning of well-formed UTF-8 that fits.
std::string_view cut(std::string_view text, std::size_t bytes_max) noexcept {
  if (text.size() <= bytes_max)
    return text;
  auto size = bytes_max;
  while (size > 0 && (static_cast<unsigned char>(text[size]) & 0xc0) == 0x80)
    --size;
  return text.substr(0, size);
}

std::string in_quotes(std::string_view text, std::size_t shown_max = 80) {
  return crypto::json_quote(cut(text, shown_max))
         + (text.size() > shown_max ? "…" : "");
}

bool is_digit(char c) noexcept {
  return c >= '0' && c <= '9';
}

bool is_alnum(char c) noexcept {
  return is_digit(c) || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/// One or more letters, digits and what else is allowed.
bool consists_of(std::string_view text, std::size_t size_max,
                 std::string_view also) noexcept {
  return !text.empty() && text.size() <= size_max
         && std::all_of(text.begin(), text.end(), [also](char c) {
              return is_alnum(c) || also.find(c) != std::string_view::npos;
            });
}

bool is_order_id(std::string_view text) noexcept {
  return text.size() >= order_id_min && consists_of(text, order_id_max, "_-|*");
}

bool is_refund_id(std::string_view text) noexcept {
  return consists_of(text, refund_id_max, "_-|*@");
}

/// A number or name that we store and show.
bool is_reference(std::string_view text) noexcept {
  return text.size() <= reference_max && crypto::is_utf8(text)
         && !crypto::has_control(text);
}

bool is_url(std::string_view text) noexcept {
  return (text.starts_with("https://") || text.starts_with("http://"))
         && crypto::is_utf8(text) && !crypto::has_control(text)
         && text.find(' ') == std::string_view::npos;
}

bool same_name(std::string_view a, std::string_view b) noexcept {
  auto lower = [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [&](char x, char y) {
                      return lower(x) == lower(y);
                    });
}

std::string unix_seconds(timestamp at) {
  return std::to_string(
    std::chrono::floor<std::chrono::seconds>(at.time_since_epoch()).count());
}

/// RFC 3339 in Beijing time.
std::string to_time_expire(timestamp at) {
  auto text = to_beijing(at);
  if (auto blank = text.find(' '); blank != std::string::npos)
    text[blank] = 'T';
  return text + "+08:00";
}

// -- the headers of a signed message

struct signed_headers {
  std::string_view timestamp;
  std::string_view nonce;
  std::string_view serial;
  std::string signature; ///< Decoded.
};

signature_check refusal(signature_verdict signature, reject_reason reason,
                        std::string sentence) {
  return {signature, rejection{reason, std::move(sentence)}};
}

auto refused(signature_verdict signature, reject_reason reason,
             std::string sentence) {
  return tl::make_unexpected(refusal(signature, reason, std::move(sentence)));
}

/// Digits, and perhaps a minus in front: a number, however far from any clock.
bool is_integer(std::string_view text) noexcept {
  if (text.starts_with('-'))
    text.remove_prefix(1);
  return !text.empty() && std::all_of(text.begin(), text.end(), is_digit);
}

/// All that can be said before a key is needed.
tl::expected<signed_headers, signature_check>
read_headers(const client::header_list& headers) {
  using enum signature_verdict;
  constexpr std::array<std::string_view, 5> names{
    "Wechatpay-Timestamp", "Wechatpay-Nonce", "Wechatpay-Signature",
    "Wechatpay-Serial", "Wechatpay-Signature-Type"};
  constexpr std::size_t needed = 4;
  std::array<const std::string*, names.size()> values{};
  for (const auto& [name, value] : headers)
    for (std::size_t i = 0; i < names.size(); ++i)
      if (same_name(name, names[i])) {
        if (values[i] != nullptr)
          return refused(invalid, reject_reason::header_duplicate,
                         "the header " + std::string{names[i]}
                           + " comes twice; expected it once");
        values[i] = &value;
      }
  for (std::size_t i = 0; i < needed; ++i)
    if (values[i] == nullptr || values[i]->empty())
      return refused(missing, reject_reason::header_missing,
                     "the header " + std::string{names[i]}
                       + " is missing or empty");
  const auto& [stamped, nonce, signature, serial, type] = values;
  if (type != nullptr && !type->empty() && *type != signature_type)
    return refused(unsupported, reject_reason::unsupported_signature_type,
                   "Wechatpay-Signature-Type is " + in_quotes(*type)
                     + "; expected " + std::string{signature_type});
  if (!is_integer(*stamped))
    return refused(not_evaluated, reject_reason::header_malformed,
                   "Wechatpay-Timestamp is " + in_quotes(*stamped)
                     + "; expected seconds since 1970");
  // A line feed would make one text of several messages.
  if (crypto::has_control(*nonce))
    return refused(not_evaluated, reject_reason::header_malformed,
                   "Wechatpay-Nonce holds a control character");
  if (signature->starts_with(probe_prefix))
    return refused(invalid, reject_reason::signtest_probe,
                   "WeChat Pay tests whether signatures are checked");
  auto raw = crypto::base64_decode(*signature);
  if (!raw)
    return refused(malformed, reject_reason::sign_malformed,
                   "Wechatpay-Signature is no base64");
  return signed_headers{*stamped, *nonce, *serial, std::move(*raw)};
}

/// Whether the time stamp lies within the limit around `now`.
bool is_timely(std::string_view stamped, timestamp now) noexcept {
  // More digits than these are further away than any clock can be.
  constexpr std::size_t digits_max = 12;
  if (auto first = stamped.find_first_not_of('0');
      first != std::string_view::npos)
    stamped.remove_prefix(first);
  if (stamped.size() > digits_max
      || !std::all_of(stamped.begin(), stamped.end(), is_digit))
    return false;
  std::int64_t seconds = 0;
  for (auto c : stamped)
    seconds = seconds * 10 + (c - '0');
  auto distance = now.time_since_epoch() - std::chrono::seconds{seconds};
  return distance < clock_limit && distance > -clock_limit;
}

signature_check
check_with(const crypto::rsa_public_key& key, const signed_headers& headers,
           std::string_view body, timestamp now) {
  std::string message;
  message.reserve(headers.timestamp.size() + headers.nonce.size() + body.size()
                  + 3);
  message += headers.timestamp;
  message += '\n';
  message += headers.nonce;
  message += '\n';
  message += body;
  message += '\n';
  if (!key.verify(crypto::digest::sha256, message, headers.signature))
    return refusal(signature_verdict::invalid, reject_reason::sign_mismatch,
                   "the signature was not made by the key "
                     + in_quotes(headers.serial) + " over this message");
  if (!is_timely(headers.timestamp, now))
    return refusal(signature_verdict::valid_but_stale,
                   reject_reason::timestamp_out_of_range,
                   "Wechatpay-Timestamp is " + in_quotes(headers.timestamp)
                     + "; expected less than 300 s from " + unix_seconds(now));
  return {signature_verdict::valid, std::nullopt};
}

signature_check unknown_serial(std::string_view serial) {
  return {signature_verdict::invalid,
          rejection{reject_reason::unknown_serial,
                    "Wechatpay-Serial is " + in_quotes(serial)
                      + "; no valid key of WeChat Pay has this serial"}};
}

// -- what is encrypted

rejection not_json(const std::string& sentence, std::string_view what,
                   reject_reason otherwise) {
  return {sentence.starts_with("duplicate member")
            ? reject_reason::duplicate_member
            : otherwise,
          std::string{what} + ": " + sentence};
}

/// Decrypts `{algorithm, nonce, associated_data, ciphertext}`.
tl::expected<std::string, rejection>
open_resource(const json::object& resource, const config::secret& key) {
  auto refuse = [](reject_reason reason, std::string sentence) {
    return tl::make_unexpected(rejection{reason, std::move(sentence)});
  };
  auto algorithm = text_of(resource, "algorithm");
  auto nonce = text_of(resource, "nonce");
  auto ciphertext = text_of(resource, "ciphertext");
  if (!algorithm || !nonce || !ciphertext)
    return refuse(reject_reason::malformed_resource,
                  "expected the texts algorithm, nonce and ciphertext");
  // Empty and absent mean the same.
  std::string associated_data;
  if (const auto* given = resource.if_contains("associated_data");
      given != nullptr && !given->is_null()) {
    if (!given->is_string())
      return refuse(reject_reason::malformed_resource,
                    "associated_data is no text");
    associated_data = given->get_string();
  }
  if (*algorithm != algorithm_name)
    return refuse(reject_reason::decrypt_failed,
                  "the algorithm is " + in_quotes(*algorithm) + "; expected "
                    + std::string{algorithm_name});
  if (key.empty())
    return refuse(reject_reason::decrypt_failed,
                  "wechat.api_v3_key_file is not configured; expected the key "
                  "that decrypts this");
  auto sealed = crypto::base64_decode(*ciphertext);
  if (!sealed)
    return refuse(reject_reason::decrypt_failed, "the ciphertext is no base64");
  auto text
    = crypto::open_aes_256_gcm(key.reveal(), *nonce, associated_data, *sealed);
  if (!text)
    return refuse(reject_reason::decrypt_failed, std::move(text.error()));
  return std::move(*text);
}

/// An amount in fen: an integer, greater than zero.
std::optional<minor_units>
fen_of(const json::object& from, std::string_view name) {
  auto value = integer_of(from, name);
  if (!value || *value < 1 || *value > amount_max_minor)
    return std::nullopt;
  return value;
}

std::optional<timestamp>
time_of(const json::object& from, std::string_view name) {
  auto text = text_of(from, name);
  return text ? parse_rfc3339(*text) : std::nullopt;
}

/// Takes over a text that may be stored and shown.
/// @returns whether it is one, or is not there at all.
bool take(const json::object& from, std::string_view name, std::string& to) {
  const auto* found = from.if_contains(name);
  if (found == nullptr || found->is_null())
    return true;
  if (!found->is_string())
    return false;
  auto text = std::string_view{found->get_string()};
  if (!is_reference(text))
    return false;
  to = text;
  return true;
}

enum class event_kind { payment, refund, nothing };

event_kind event_kind_of(std::string_view type) noexcept {
  if (type == "TRANSACTION.SUCCESS")
    return event_kind::payment;
  if (type == "REFUND.SUCCESS" || type == "REFUND.ABNORMAL"
      || type == "REFUND.CLOSED")
    return event_kind::refund;
  return event_kind::nothing;
}

/// The merchant's own numbers, which every message has to name.
struct identity {
  std::string_view app_id;
  std::string_view mch_id;
};

using verdict = std::optional<rejection>;

verdict contradiction(reject_reason reason, std::string sentence) {
  return rejection{reason, std::move(sentence)};
}

/// Checks that a text is ours.
verdict check_ours(const json::object& from, std::string_view name,
                   std::string_view ours, reject_reason reason) {
  auto found = text_of(from, name);
  if (found && *found == ours)
    return std::nullopt;
  return contradiction(reason, std::string{name} + " is "
                                 + (found ? in_quotes(*found) : "missing")
                                 + "; expected " + std::string{ours});
}

/// Takes over all texts; says which is none that can be.
verdict take_references(
  const json::object& from,
  std::initializer_list<std::pair<std::string_view, std::string*>> members) {
  verdict result;
  for (const auto& [name, to] : members)
    if (!take(from, name, *to) && !result)
      result = contradiction(reject_reason::malformed_field,
                             std::string{name}
                               + " is no text of up to 128 bytes without "
                                 "control characters");
  return result;
}

/// Reads `TRANSACTION.*`. Everything that can be read is, before anything is
/// refused.
verdict
read_payment(const json::object& from, const identity& us, notification& into) {
  auto malformed
    = take_references(from, {{"out_trade_no", &into.order_id},
                             {"transaction_id", &into.transaction_id}});
  into.paid_at = time_of(from, "success_time");
  const auto* amount = object_of(from, "amount");
  auto total = amount == nullptr ? std::nullopt : fen_of(*amount, "total");
  into.amount = total.value_or(0);
  auto currency_fits
    = amount == nullptr || take(*amount, "currency", into.currency);
  if (auto wrong
      = check_ours(from, "mchid", us.mch_id, reject_reason::mch_id_mismatch))
    return wrong;
  if (auto wrong
      = check_ours(from, "appid", us.app_id, reject_reason::app_id_mismatch))
    return wrong;
  if (malformed)
    return malformed;
  if (into.order_id.empty())
    return contradiction(reject_reason::order_not_found,
                         "the message names no out_trade_no");
  auto state = text_of(from, "trade_state");
  if (!state)
    return contradiction(reject_reason::unknown_status,
                         "trade_state is missing");
  if (*state != "SUCCESS")
    return std::nullopt;
  if (!total)
    return contradiction(reject_reason::amount_malformed,
                         "amount.total is no integer of 1 to 10000000000 fen");
  if (!currency_fits || into.currency != "CNY")
    return contradiction(
      reject_reason::currency_mismatch,
      "amount.currency is "
        + (currency_fits ? in_quotes(into.currency) : std::string{"malformed"})
        + "; expected CNY");
  if (into.transaction_id.empty())
    return contradiction(reject_reason::trade_no_missing,
                         "the message says that money moved, without a "
                         "transaction_id");
  into.is = meaning::payment;
  return std::nullopt;
}

/// Reads `REFUND.*`, which name no appid.
verdict read_refund_event(const json::object& from, const identity& us,
                          notification& into) {
  auto malformed
    = take_references(from, {{"out_trade_no", &into.order_id},
                             {"transaction_id", &into.transaction_id},
                             {"out_refund_no", &into.refund_id}});
  const auto* amount = object_of(from, "amount");
  auto total = amount == nullptr ? std::nullopt : fen_of(*amount, "total");
  into.amount = total.value_or(0);
  into.refund_amount
    = amount == nullptr ? std::nullopt : fen_of(*amount, "refund");
  auto currency_fits
    = amount == nullptr || take(*amount, "currency", into.currency);
  if (auto wrong
      = check_ours(from, "mchid", us.mch_id, reject_reason::mch_id_mismatch))
    return wrong;
  if (malformed)
    return malformed;
  if (into.order_id.empty())
    return contradiction(reject_reason::order_not_found,
                         "the message names no out_trade_no");
  if (into.refund_id.empty())
    return contradiction(reject_reason::malformed_field,
                         "the message names no out_refund_no");
  auto status = text_of(from, "refund_status");
  if (!status)
    return contradiction(reject_reason::unknown_status,
                         "refund_status is missing");
  // Only what is inside says what happened.
  if (into.word != "REFUND." + *status)
    return std::nullopt;
  if (!total || !into.refund_amount)
    return contradiction(reject_reason::amount_malformed,
                         "amount.total and amount.refund are not both integers "
                         "of 1 to 10000000000 fen");
  if (*into.refund_amount > *total)
    return contradiction(reject_reason::amount_mismatch,
                         "amount.refund is greater than amount.total");
  if (!currency_fits || into.currency != "CNY")
    return contradiction(
      reject_reason::currency_mismatch,
      "amount.currency is "
        + (currency_fits ? in_quotes(into.currency) : std::string{"malformed"})
        + "; expected CNY");
  if (into.transaction_id.empty())
    return contradiction(reject_reason::trade_no_missing,
                         "the message is on money that moved, without a "
                         "transaction_id");
  into.is = *status == "SUCCESS"    ? meaning::refund
            : *status == "ABNORMAL" ? meaning::refund_abnormal
                                    : meaning::refund_closed;
  return std::nullopt;
}

// -- answers

std::string_view path_of(lifecycle::payment_method method) noexcept {
  switch (method) {
    case lifecycle::payment_method::native:
      return "/v3/pay/transactions/native";
    case lifecycle::payment_method::h5:
      return "/v3/pay/transactions/h5";
    case lifecycle::payment_method::jsapi:
      return "/v3/pay/transactions/jsapi";
    case lifecycle::payment_method::page:
    case lifecycle::payment_method::wap:
    case lifecycle::payment_method::qr:
      break;
  }
  return {};
}

std::string order_path(std::string_view order_id) {
  return "/v3/pay/transactions/out-trade-no/"
         + crypto::percent_encode(order_id);
}

tl::unexpected<std::string> wrong_order_id(std::string_view order_id) {
  return failed("the order number is " + in_quotes(order_id)
                + "; expected 6 to 32 letters, digits, _ - | or *");
}

tl::unexpected<std::string> wrong_refund_id(std::string_view refund_id) {
  return failed("the number of the refund is " + in_quotes(refund_id)
                + "; expected 1 to 64 letters, digits, _ - | * or @");
}

tl::unexpected<call_failure>
wrong_status(int status, std::string_view expected) {
  return failed_call(failure::unclear,
                     "WeChat Pay answered " + std::to_string(status)
                       + "; expected " + std::string{expected});
}

/// The object of a 200 that is proven to be WeChat Pay's.
tl::expected<json::object, call_failure>
object_in(const client::http_response& from) {
  if (from.status != 200)
    return wrong_status(from.status, "200");
  auto object = parse_object(from.body);
  if (!object)
    return failed_call(failure::unclear,
                       "the answer can't be read: " + object.error());
  return std::move(*object);
}

/// Nothing where the member is the text asked about.
std::optional<call_failure>
not_asked_for(const json::object& from, std::string_view name,
              std::string_view asked) {
  auto found = text_of(from, name);
  if (found && *found == asked)
    return std::nullopt;
  return call_failure{failure::forged,
                      {},
                      "the answer is about another " + std::string{name} + ", "
                        + (found ? in_quotes(*found) : "missing")
                        + "; expected " + in_quotes(asked)};
}

bool is_one_of(std::string_view code,
               std::initializer_list<std::string_view> codes) noexcept {
  return std::find(codes.begin(), codes.end(), code) != codes.end();
}

/// Whether a rule refused the call with one of these codes, signed.
bool refused_with(const call_failure& how,
                  std::initializer_list<std::string_view> codes) noexcept {
  return how.kind == failure::refused && is_one_of(how.code, codes);
}

std::optional<trade_state> trade_state_of(std::string_view word) noexcept {
  if (word == "SUCCESS")
    return trade_state::paid;
  if (word == "REFUND")
    return trade_state::refunded;
  // PAYERROR: this attempt failed, the order may still be paid.
  if (is_one_of(word, {"NOTPAY", "USERPAYING", "ACCEPT", "PAYERROR"}))
    return trade_state::unpaid;
  if (is_one_of(word, {"CLOSED", "REVOKED"}))
    return trade_state::closed;
  return std::nullopt;
}

std::optional<refund_state> refund_state_of(std::string_view word) noexcept {
  if (word == "SUCCESS")
    return refund_state::done;
  if (word == "PROCESSING")
    return refund_state::processing;
  if (word == "ABNORMAL")
    return refund_state::abnormal;
  if (word == "CLOSED")
    return refund_state::closed;
  return std::nullopt;
}

} // namespace

// -- construction
// --------------------------------------------------------------

tl::expected<wechat_v3, std::string>
wechat_v3::make(const config::wechat_settings& settings,
                std::shared_ptr<platform_keys> keys) {
  if (!consists_of(settings.app_id, 32, ""))
    return failed("wechat.app_id is " + in_quotes(settings.app_id)
                  + "; expected the app's wx… number");
  if (!consists_of(settings.mch_id, 32, ""))
    return failed("wechat.mch_id is " + in_quotes(settings.mch_id)
                  + "; expected the merchant's number");
  if (!is_url(settings.gateway_url) || settings.gateway_url.ends_with('/'))
    return failed("wechat.gateway_url is " + in_quotes(settings.gateway_url)
                  + "; expected https://… without a slash at the end");
  if (!settings.api_v3_key.empty()
      && settings.api_v3_key.reveal().size() != crypto::aes_256_key_size)
    return failed("wechat.api_v3_key_file holds "
                  + std::to_string(settings.api_v3_key.reveal().size())
                  + " bytes; expected the 32 of an APIv3 key");
  if (!keys)
    return failed("the keys of WeChat Pay are missing");
  wechat_v3 result;
  result.app_id_ = settings.app_id;
  result.mch_id_ = settings.mch_id;
  result.gateway_url_ = settings.gateway_url;
  result.api_v3_key_ = settings.api_v3_key;
  result.keys_ = std::move(keys);
  if (!settings.merchant_private_key.empty()) {
    if (!consists_of(settings.merchant_serial, 64, ""))
      return failed("wechat.merchant_serial is "
                    + in_quotes(settings.merchant_serial)
                    + "; expected the serial of the merchant's certificate");
    auto key
      = crypto::rsa_private_key::parse(settings.merchant_private_key.reveal());
    if (!key)
      return failed("wechat.merchant_private_key_file: " + key.error());
    result.merchant_serial_ = settings.merchant_serial;
    result.merchant_key_ = std::move(*key);
  }
  return result;
}

// -- notifications
// -------------------------------------------------------------

signature_check wechat_v3::check(const client::header_list& headers,
                                 std::string_view body, timestamp now) const {
  auto read = read_headers(headers);
  if (!read)
    return std::move(read.error());
  auto key = keys_->find(read->serial, now);
  if (!key)
    return unknown_serial(read->serial);
  return check_with(*key, *read, body, now);
}

reading
wechat_v3::read_notification(const client::header_list& headers,
                             std::string_view body, timestamp now) const {
  reading result;
  result.what.gateway = lifecycle::payment_gateway::wechat;
  auto checked = check(headers, body, now);
  result.signature = checked.signature;
  result.refused = std::move(checked.refused);
  if (result.refused)
    return result;
  auto envelope = parse_object(body);
  if (!envelope) {
    result.refused
      = not_json(envelope.error(), "the body", reject_reason::malformed_body);
    return result;
  }
  result.refused
    = take_references(*envelope, {{"id", &result.what.event_id},
                                  {"event_type", &result.what.word}});
  if (result.refused)
    return result;
  if (result.what.word.empty()) {
    result.refused = rejection{reject_reason::malformed_body,
                               "the body names no event_type"};
    return result;
  }
  auto about = event_kind_of(result.what.word);
  if (about == event_kind::nothing)
    return result;
  const auto* resource = object_of(*envelope, "resource");
  if (resource == nullptr) {
    result.refused = rejection{reject_reason::malformed_resource,
                               "the body holds no resource"};
    return result;
  }
  auto text = open_resource(*resource, api_v3_key_);
  if (!text) {
    text.error().sentence = "the resource: " + text.error().sentence;
    result.refused = std::move(text.error());
    return result;
  }
  auto content = parse_object(*text);
  if (!content) {
    result.refused = not_json(content.error(), "the decrypted resource",
                              reject_reason::malformed_resource);
    return result;
  }
  const identity us{app_id_, mch_id_};
  result.refused = about == event_kind::payment
                     ? read_payment(*content, us, result.what)
                     : read_refund_event(*content, us, result.what);
  return result;
}

// -- requests
// ------------------------------------------------------------------

merchant::request
wechat_v3::signed_request(std::string_view method, std::string_view target,
                          std::string body, const stamp& with) const {
  if (!merchant_key_)
    return failed("wechat.merchant_private_key_file is not configured; "
                  "expected the key that signs requests");
  if (!consists_of(with.nonce, 32, ""))
    return failed("the nonce is no text of 1 to 32 letters and digits");
  auto at = unix_seconds(with.now);
  std::string message{method};
  for (std::string_view part :
       {std::string_view{"\n"}, target, std::string_view{"\n"},
        std::string_view{at}, std::string_view{"\n"},
        std::string_view{with.nonce}, std::string_view{"\n"},
        std::string_view{body}, std::string_view{"\n"}})
    message += part;
  auto signature = merchant_key_->sign(crypto::digest::sha256, message);
  if (!signature)
    return failed(std::move(signature.error()));
  client::http_request result;
  result.method = method;
  result.url = gateway_url_ + std::string{target};
  result.headers = {
    {"Authorization", std::string{signature_type} + " mchid=\"" + mch_id_
                        + "\",serial_no=\"" + merchant_serial_
                        + "\",timestamp=\"" + at + "\",nonce_str=\""
                        + with.nonce + "\",signature=\""
                        + crypto::base64_encode(*signature) + "\""},
    {"Accept", "application/json"},
    {"User-Agent", "Slipway"},
  };
  if (method != "GET")
    result.headers.emplace_back("Content-Type", "application/json");
  // Asks to be answered with this key rather than with a certificate.
  if (auto serial = keys_->public_key_id(); is_public_key_id(serial))
    result.headers.emplace_back("Wechatpay-Serial", std::move(serial));
  result.body = std::move(body);
  return result;
}

std::optional<call_failure>
wechat_v3::failure_of(const client::http_response& from, timestamp now) const {
  auto status = std::to_string(from.status);
  auto is_error = from.status >= 400;
  auto checked = check(from.headers, from.body, now);
  if (checked.refused) {
    // Whoever stands in between may refuse, too: that proves nothing.
    auto unsigned_answer = checked.signature == signature_verdict::missing;
    auto succeeded = from.status >= 200 && from.status < 300;
    auto kind = !unsigned_answer || succeeded ? failure::forged
                : from.status == 429          ? failure::limited
                                              : failure::unclear;
    return call_failure{kind,
                        {},
                        "the answer " + status
                          + " is not proven to be WeChat Pay's: "
                          + checked.refused->sentence};
  }
  if (!is_error)
    return std::nullopt;
  std::string code;
  std::string message;
  if (auto body = parse_object(from.body)) {
    (void)take(*body, "code", code);
    message = text_of(*body, "message").value_or("");
  }
  auto kind = failure::refused;
  if (from.status == 429
      || is_one_of(code, {"FREQUENCY_LIMITED", "FREQUENCY_LIMIT_EXCEED",
                          "RATELIMIT_EXCEEDED", "RATELIMIT_EXCEED"}))
    kind = failure::limited;
  else if (from.status >= 500
           || is_one_of(
             code, {"SYSTEM_ERROR", "SYSTEMERROR", "BANK_ERROR", "BANKERROR"}))
    kind = failure::unclear;
  return call_failure{
    kind, code,
    "WeChat Pay answered " + status + " "
      + (code.empty() ? "without a code" : code)
      + (message.empty() ? "" : ": " + in_quotes(message, 200))};
}

// -- certificates
// --------------------------------------------------------------

merchant::request wechat_v3::certificates_request(const stamp& with) const {
  return signed_request("GET", "/v3/certificates", {}, with);
}

merchant::answer<std::vector<platform_certificate>>
wechat_v3::read_certificates(const client::http_response& from,
                             timestamp now) const {
  auto headers = read_headers(from.headers);
  auto bootstrapping = from.status == 200 && headers
                       && !is_public_key_id(headers->serial)
                       && !keys_->find(headers->serial, now);
  if (!bootstrapping)
    if (auto how = failure_of(from, now))
      return tl::make_unexpected(std::move(*how));
  if (from.status != 200)
    return wrong_status(from.status, "200");
  // Before the signature is checked, nothing in here proves anything.
  auto unusable = [&](std::string sentence) {
    return failed_call(bootstrapping ? failure::forged : failure::unclear,
                       std::move(sentence));
  };
  if (api_v3_key_.empty())
    return failed_call(failure::refused,
                       "wechat.api_v3_key_file is not configured; expected the "
                       "key that decrypts certificates");
  auto body = parse_object(from.body);
  if (!body)
    return unusable("the certificates can't be read: " + body.error());
  const auto* found = body->if_contains("data");
  const auto* data = found == nullptr ? nullptr : found->if_array();
  if (data == nullptr || data->empty() || data->size() > certificates_max)
    return unusable("expected data to be a list of 1 to 32 certificates");
  std::vector<platform_certificate> result;
  for (const auto& each : *data) {
    auto nth = "certificate " + std::to_string(result.size() + 1) + ": ";
    const auto* entry = each.if_object();
    const auto* sealed
      = entry == nullptr ? nullptr : object_of(*entry, "encrypt_certificate");
    if (sealed == nullptr)
      return unusable(nth + "there is no encrypt_certificate");
    auto serial = text_of(*entry, "serial_no");
    auto effective_at = time_of(*entry, "effective_time");
    auto expires_at = time_of(*entry, "expire_time");
    if (!serial || !effective_at || !expires_at)
      return unusable(nth
                      + "expected the texts serial_no, effective_time and "
                        "expire_time");
    auto pem = open_resource(*sealed, api_v3_key_);
    if (!pem)
      return unusable(nth + pem.error().sentence);
    auto certificate = read_platform_certificate(*serial, *pem);
    if (!certificate)
      return unusable(nth + certificate.error());
    certificate->effective_at = *effective_at;
    certificate->expires_at = *expires_at;
    result.push_back(std::move(*certificate));
  }
  if (bootstrapping) {
    auto signer
      = std::find_if(result.begin(), result.end(), [&](const auto& each) {
          return each.serial == headers->serial && each.effective_at <= now
                 && now <= each.expires_at;
        });
    auto checked = signer == result.end()
                     ? unknown_serial(headers->serial)
                     : check_with(signer->key, *headers, from.body, now);
    if (checked.refused)
      return unusable("the certificates are not proven to be WeChat Pay's: "
                      + checked.refused->sentence);
  }
  return result;
}

// -- payments
// ------------------------------------------------------------------

tl::expected<json::object, std::string>
wechat_v3::jsapi_parameters(std::string_view prepay_id,
                            const stamp& with) const {
  if (!merchant_key_)
    return failed("wechat.merchant_private_key_file is not configured; "
                  "expected the key that signs payments");
  if (!consists_of(with.nonce, 32, ""))
    return failed("the nonce is no text of 1 to 32 letters and digits");
  if (prepay_id.empty() || !is_reference(prepay_id))
    return failed("the prepay_id is " + in_quotes(prepay_id)
                  + "; expected 1 to 128 bytes without control characters");
  auto at = unix_seconds(with.now);
  auto package = "prepay_id=" + std::string{prepay_id};
  auto signature = merchant_key_->sign(crypto::digest::sha256,
                                       app_id_ + '\n' + at + '\n' + with.nonce
                                         + '\n' + package + '\n');
  if (!signature)
    return failed(std::move(signature.error()));
  json::object result;
  result.emplace("appId", app_id_);
  result.emplace("timeStamp", at);
  result.emplace("nonceStr", with.nonce);
  result.emplace("package", package);
  result.emplace("signType", "RSA");
  result.emplace("paySign", crypto::base64_encode(*signature));
  return result;
}

bool wechat_v3::takes(lifecycle::payment_method method) const noexcept {
  return !path_of(method).empty();
}

bool wechat_v3::has_to_call(lifecycle::payment_method) const noexcept {
  return true;
}

tl::expected<payment_link, std::string>
wechat_v3::link(const pay_order&) const {
  return failed("WeChat Pay has to be called before an order can be paid");
}

merchant::request
wechat_v3::create_request(const pay_order& order, const stamp& with) const {
  auto path = path_of(order.method);
  if (path.empty())
    return failed("WeChat Pay takes native, h5 and jsapi only");
  if (!is_order_id(order.order_id))
    return wrong_order_id(order.order_id);
  if (order.amount < 1 || order.amount > amount_max_minor)
    return failed("the amount is " + format_amount(order.amount)
                  + "; expected 0.01 to 100000000.00");
  if (order.currency != "CNY")
    return failed("the currency is " + in_quotes(order.currency)
                  + "; expected CNY");
  if (order.subject.empty() || !crypto::is_utf8(order.subject)
      || crypto::has_control(order.subject))
    return failed("the subject is " + in_quotes(order.subject)
                  + "; expected UTF-8 without control characters");
  if (!is_url(order.notify_url) || order.notify_url.size() > url_max
      || order.notify_url.find('?') != std::string::npos)
    return failed("the notify_url is " + in_quotes(order.notify_url)
                  + "; expected a URL of up to 256 bytes without a query");
  if (order.expires_at <= with.now)
    return failed("the order has expired already");
  std::string extra;
  if (order.method == lifecycle::payment_method::jsapi) {
    if (order.payer_id.empty() || !is_reference(order.payer_id))
      return failed("the payer's openid is " + in_quotes(order.payer_id)
                    + "; jsapi expects 1 to 128 bytes without control "
                      "characters");
    extra
      = ",\"payer\":{\"openid\":" + crypto::json_quote(order.payer_id) + '}';
  } else if (order.method == lifecycle::payment_method::h5) {
    if (!consists_of(order.payer_ip, 45, ".:"))
      return failed("the payer's address is " + in_quotes(order.payer_ip)
                    + "; h5 expects an IPv4 or IPv6 address");
    extra = ",\"scene_info\":{\"payer_client_ip\":"
            + crypto::json_quote(order.payer_ip)
            + ",\"h5_info\":{\"type\":\"Wap\"}}";
  }
  // Signed exactly as it is sent, so it is written once and by hand.
  auto body = "{\"appid\":" + crypto::json_quote(app_id_) + ",\"mchid\":"
              + crypto::json_quote(mch_id_) + ",\"description\":"
              + crypto::json_quote(cut(order.subject, description_max))
              + ",\"out_trade_no\":" + crypto::json_quote(order.order_id)
              + ",\"notify_url\":" + crypto::json_quote(order.notify_url)
              + ",\"amount\":{\"total\":" + std::to_string(order.amount)
              + ",\"currency\":\"CNY\"},\"time_expire\":\""
              + to_time_expire(order.expires_at) + '"' + extra + '}';
  return signed_request("POST", path, std::move(body), with);
}

merchant::answer<payment_link>
wechat_v3::read_create(const pay_order& order,
                       const client::http_response& from, timestamp now) const {
  if (auto how = failure_of(from, now))
    return tl::make_unexpected(std::move(*how));
  auto body = object_in(from);
  if (!body)
    return tl::make_unexpected(std::move(body.error()));
  payment_link result;
  std::string_view name;
  std::string* to = nullptr;
  switch (order.method) {
    case lifecycle::payment_method::native:
      name = "code_url";
      to = &result.qr_code;
      break;
    case lifecycle::payment_method::h5:
      name = "h5_url";
      to = &result.pay_url;
      break;
    case lifecycle::payment_method::jsapi:
      name = "prepay_id";
      to = &result.prepay_id;
      break;
    case lifecycle::payment_method::page:
    case lifecycle::payment_method::wap:
    case lifecycle::payment_method::qr:
      return failed_call(failure::refused,
                         "WeChat Pay takes native, h5 and jsapi only");
  }
  auto text = text_of(*body, name).value_or("");
  if (text.empty() || text.size() > link_max || crypto::has_control(text)
      || (order.method == lifecycle::payment_method::h5 && !is_url(text)))
    return failed_call(failure::unclear, "the answer's " + std::string{name}
                                           + " is missing or malformed");
  *to = std::move(text);
  return result;
}

merchant::request
wechat_v3::query_request(std::string_view order_id, const stamp& with) const {
  if (!is_order_id(order_id))
    return wrong_order_id(order_id);
  return signed_request("GET", order_path(order_id) + "?mchid=" + mch_id_, {},
                        with);
}

merchant::answer<trade>
wechat_v3::read_query(std::string_view order_id,
                      const client::http_response& from, timestamp now) const {
  trade result;
  result.order_id = order_id;
  if (auto how = failure_of(from, now)) {
    if (!refused_with(*how, {"ORDER_NOT_EXIST", "ORDERNOTEXIST"}))
      return tl::make_unexpected(std::move(*how));
    result.is = trade_state::absent;
    result.word = how->code;
    return result;
  }
  auto body = object_in(from);
  if (!body)
    return tl::make_unexpected(std::move(body.error()));
  for (auto [name, ours] : {std::pair{"out_trade_no", order_id},
                            std::pair{"mchid", std::string_view{mch_id_}},
                            std::pair{"appid", std::string_view{app_id_}}})
    if (auto other = not_asked_for(*body, name, ours))
      return tl::make_unexpected(std::move(*other));
  auto word = text_of(*body, "trade_state").value_or("");
  auto state = trade_state_of(word);
  if (!state)
    return failed_call(failure::unclear,
                       "trade_state is " + in_quotes(word)
                         + "; expected one of the known states");
  result.is = *state;
  result.word = std::move(word);
  result.paid_at = time_of(*body, "success_time");
  const auto* amount = object_of(*body, "amount");
  if (amount != nullptr)
    result.amount = fen_of(*amount, "total");
  auto readable
    = take(*body, "transaction_id", result.transaction_id)
      && (amount == nullptr || take(*amount, "currency", result.currency));
  auto was_paid
    = *state == trade_state::paid || *state == trade_state::refunded;
  if (!readable
      || (was_paid && (!result.amount || result.transaction_id.empty())))
    return failed_call(failure::unclear,
                       "the answer says " + result.word
                         + " without a readable transaction_id and amount");
  return result;
}

merchant::request
wechat_v3::close_request(std::string_view order_id, const stamp& with) const {
  if (!is_order_id(order_id))
    return wrong_order_id(order_id);
  return signed_request("POST", order_path(order_id) + "/close",
                        "{\"mchid\":" + crypto::json_quote(mch_id_) + '}',
                        with);
}

merchant::answer<close_end>
wechat_v3::read_close(std::string_view, const client::http_response& from,
                      timestamp now) const {
  auto how = failure_of(from, now);
  if (!how) {
    if (from.status == 204 || from.status == 200)
      return close_end::closed;
    return wrong_status(from.status, "204");
  }
  if (refused_with(*how, {"ORDER_CLOSED", "ORDERCLOSED"}))
    return close_end::closed;
  if (refused_with(*how, {"ORDER_NOT_EXIST", "ORDERNOTEXIST"}))
    return close_end::absent;
  if (refused_with(*how, {"ORDERPAID", "ORDER_PAID"}))
    return close_end::paid;
  // Some say so in words only; whoever is told asks about the order then.
  if (refused_with(*how, {"INVALID_REQUEST"})
      && how->sentence.find("已支付") != std::string::npos)
    return close_end::paid;
  // Being paid at this moment: neither closed nor refused for good.
  if (refused_with(*how, {"USERPAYING", "USER_PAYING"}))
    how->kind = failure::unclear;
  return tl::make_unexpected(std::move(*how));
}

// -- refunds
// -------------------------------------------------------------------

merchant::request
wechat_v3::refund_request(const refund_order& order, const stamp& with) const {
  if (!is_refund_id(order.refund_id))
    return wrong_refund_id(order.refund_id);
  if (!is_order_id(order.order_id))
    return wrong_order_id(order.order_id);
  if (!is_reference(order.transaction_id))
    return failed("the transaction_id is " + in_quotes(order.transaction_id)
                  + "; expected up to 128 bytes without control characters");
  if (order.amount < 1 || order.amount > order.total
      || order.total > amount_max_minor)
    return failed("the refund is " + format_amount(order.amount)
                  + "; expected 0.01 to the order's "
                  + format_amount(order.total));
  if (order.currency != "CNY")
    return failed("the currency is " + in_quotes(order.currency)
                  + "; expected CNY");
  if (!crypto::is_utf8(order.reason) || crypto::has_control(order.reason))
    return failed("the reason is no UTF-8 without control characters");
  if (!order.notify_url.empty()
      && (!is_url(order.notify_url) || order.notify_url.size() > url_max
          || order.notify_url.find('?') != std::string::npos))
    return failed("the notify_url is " + in_quotes(order.notify_url)
                  + "; expected a URL of up to 256 bytes without a query");
  auto body = std::string{'{'};
  if (order.transaction_id.empty())
    body += "\"out_trade_no\":" + crypto::json_quote(order.order_id);
  else
    body += "\"transaction_id\":" + crypto::json_quote(order.transaction_id);
  body += ",\"out_refund_no\":" + crypto::json_quote(order.refund_id);
  if (!order.reason.empty())
    body += ",\"reason\":" + crypto::json_quote(cut(order.reason, reason_max));
  if (!order.notify_url.empty())
    body += ",\"notify_url\":" + crypto::json_quote(order.notify_url);
  body += ",\"amount\":{\"refund\":" + std::to_string(order.amount)
          + ",\"total\":" + std::to_string(order.total)
          + ",\"currency\":\"CNY\"}}";
  return signed_request("POST", "/v3/refund/domestic/refunds", std::move(body),
                        with);
}

merchant::answer<refund_report>
wechat_v3::read_refund_object(const refund_order& order,
                              const client::http_response& from) const {
  auto body = object_in(from);
  if (!body)
    return tl::make_unexpected(std::move(body.error()));
  if (auto other = not_asked_for(*body, "out_refund_no", order.refund_id))
    return tl::make_unexpected(std::move(*other));
  if (auto other = not_asked_for(*body, "out_trade_no", order.order_id))
    return tl::make_unexpected(std::move(*other));
  if (!order.transaction_id.empty())
    if (auto other
        = not_asked_for(*body, "transaction_id", order.transaction_id))
      return tl::make_unexpected(std::move(*other));
  // Not promised here; where it is told it has to be ours.
  if (body->contains("mchid"))
    if (auto other = not_asked_for(*body, "mchid", mch_id_))
      return tl::make_unexpected(std::move(*other));
  auto word = text_of(*body, "status").value_or("");
  auto state = refund_state_of(word);
  if (!state)
    return failed_call(failure::unclear,
                       "the refund's status is " + in_quotes(word)
                         + "; expected one of the known states");
  const auto* amount = object_of(*body, "amount");
  refund_report result;
  result.is = *state;
  result.refund_id = order.refund_id;
  result.amount = amount == nullptr ? std::nullopt : fen_of(*amount, "refund");
  result.word = std::move(word);
  if (!result.amount)
    return failed_call(failure::unclear, "the answer says " + result.word
                                           + " without a readable amount");
  return result;
}

merchant::answer<refund_report>
wechat_v3::read_refund(const refund_order& order,
                       const client::http_response& from, timestamp now) const {
  if (auto how = failure_of(from, now))
    return tl::make_unexpected(std::move(*how));
  return read_refund_object(order, from);
}

merchant::request wechat_v3::refund_query_request(const refund_order& order,
                                                  const stamp& with) const {
  if (!is_refund_id(order.refund_id))
    return wrong_refund_id(order.refund_id);
  return signed_request("GET",
                        "/v3/refund/domestic/refunds/"
                          + crypto::percent_encode(order.refund_id),
                        {}, with);
}

merchant::answer<refund_report>
wechat_v3::read_refund_query(const refund_order& order,
                             const client::http_response& from,
                             timestamp now) const {
  if (auto how = failure_of(from, now)) {
    if (!refused_with(*how, {"RESOURCE_NOT_EXISTS", "RESOURCE_NOT_EXIST"}))
      return tl::make_unexpected(std::move(*how));
    refund_report result;
    result.is = refund_state::absent;
    result.refund_id = order.refund_id;
    result.word = how->code;
    return result;
  }
  return read_refund_object(order, from);
}

} // namespace slipway::gateway

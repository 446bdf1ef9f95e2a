#include "http/crypto/encoding.hpp"
#include "http/crypto/text.hpp"
#include "http/gateway/alipay.hpp"
#include "http/gateway/alipay_detail.hpp"

#include <utility>

namespace slipway::gateway {

using alipay_detail::in_quotes;
using alipay_detail::is_order_id;
using lifecycle::payment_method;

namespace {

constexpr std::size_t text_max = 256; // characters, of subject and reason

auto failed(std::string sentence) {
  return tl::make_unexpected(std::move(sentence));
}

/// The first characters of well-formed UTF-8.
std::string_view cut(std::string_view text, std::size_t characters) noexcept {
  for (std::size_t i = 0; i < text.size(); ++i)
    if ((static_cast<unsigned char>(text[i]) & 0xc0) != 0x80
        && characters-- == 0)
      return text.substr(0, i);
  return text;
}

/// A reason as people type it, made fit: refunds do not fail over a line break.
std::string fit(std::string_view text) {
  auto result = crypto::to_valid_utf8(text);
  for (auto& c : result)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
      c = ' ';
  return std::string{cut(result, text_max)};
}

/// A sentence on what Alipay would refuse, or nothing.
std::optional<std::string> problem_with(const pay_order& order) {
  if (!is_order_id(order.order_id))
    return "the order number is " + in_quotes(order.order_id)
           + "; expected 1 to 64 letters, digits or _";
  if (order.amount < 1 || order.amount > amount_max_minor)
    return "the amount is " + format_amount(order.amount)
           + "; expected 0.01 to 100000000.00";
  if (order.currency != "CNY")
    return "the currency is " + in_quotes(order.currency)
           + "; Alipay takes CNY";
  if (order.subject.empty() || !crypto::is_utf8(order.subject)
      || crypto::has_control(order.subject))
    return "the subject is " + in_quotes(order.subject)
           + "; expected UTF-8 without control characters";
  if (order.expires_at <= order.created_at)
    return "the order expires before it is created";
  return std::nullopt;
}

std::optional<std::string> problem_with(const refund_order& order) {
  if (!is_order_id(order.order_id))
    return "the order number is " + in_quotes(order.order_id)
           + "; expected 1 to 64 letters, digits or _";
  if (!is_order_id(order.refund_id))
    return "the refund number is " + in_quotes(order.refund_id)
           + "; expected 1 to 64 letters, digits or _";
  return std::nullopt;
}

// Contents are signed exactly as they are sent, so they are written once and by
// hand.

std::string content_of(const pay_order& order, std::string_view product_code) {
  auto result
    = "{\"out_trade_no\":" + crypto::json_quote(order.order_id)
      + ",\"total_amount\":\"" + format_amount(order.amount)
      + "\",\"subject\":" + crypto::json_quote(cut(order.subject, text_max));
  if (!product_code.empty())
    result += ",\"product_code\":" + crypto::json_quote(product_code);
  return result + ",\"time_expire\":\"" + to_beijing(order.expires_at) + "\"}";
}

std::string naming(std::string_view order_id) {
  return "{\"out_trade_no\":" + crypto::json_quote(order_id) + "}";
}

} // namespace

// -- signing
// -------------------------------------------------------------------

tl::expected<crypto::form_fields, std::string>
alipay::signed_fields(std::string_view api_method, timestamp at,
                      std::string_view notify_url, std::string_view return_url,
                      std::string content) const {
  if (!app_key_)
    return failed("alipay.app_private_key_file is not configured; expected "
                  "the key that signs requests");
  crypto::form_fields fields{
    {"app_id", app_id_},
    {"method", std::string{api_method}},
    {"format", "JSON"},
    {"charset", "utf-8"},
    {"sign_type", sign_type_},
    {"timestamp", to_beijing(at)},
    {"version", "1.0"},
    {"notify_url", std::string{notify_url}},
    {"return_url", std::string{return_url}},
    {"app_cert_sn", app_cert_sn_},
    {"alipay_root_cert_sn", root_cert_sn_},
    {"biz_content", std::move(content)},
  };
  // Requests are signed over what is not empty, sign_type included.
  std::erase_if(fields, [](const auto& field) {
    return field.second.empty();
  });
  auto text = alipay_detail::sign_string_of(fields, [](const auto&) {
    return false;
  });
  auto signature = app_key_->sign(digest_, text);
  if (!signature)
    return failed(std::move(signature.error()));
  fields.emplace_back("sign", crypto::base64_encode(*signature));
  return fields;
}

std::string alipay::url_with(const crypto::form_fields& fields) const {
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

merchant::request
alipay::call(std::string_view api_method, timestamp at,
             std::string_view notify_url, std::string content) const {
  auto fields
    = signed_fields(api_method, at, notify_url, {}, std::move(content));
  if (!fields)
    return failed(std::move(fields.error()));
  // charset stands in the URL: it says how the body is to be decoded.
  crypto::form_fields query;
  crypto::form_fields body;
  for (auto& field : *fields)
    (field.first == "biz_content" ? body : query).push_back(std::move(field));
  client::http_request result;
  result.method = "POST";
  result.url = url_with(query);
  result.headers = {
    {"Content-Type", "application/x-www-form-urlencoded;charset=utf-8"},
    {"Accept", "application/json"},
  };
  result.body = crypto::encode_form(body);
  return result;
}

// -- what to call
// --------------------------------------------------------------

bool alipay::takes(payment_method method) const noexcept {
  return method == payment_method::page || method == payment_method::wap
         || method == payment_method::qr;
}

bool alipay::has_to_call(payment_method method) const noexcept {
  return method == payment_method::qr;
}

tl::expected<payment_link, std::string>
alipay::link(const pay_order& order) const {
  if (!takes(order.method) || has_to_call(order.method))
    return failed("there is no link for the method "
                  + std::string{to_string(order.method)}
                  + "; expected page or wap");
  if (auto problem = problem_with(order))
    return failed(std::move(*problem));
  auto page = order.method == payment_method::page;
  auto fields = signed_fields(
    page ? "alipay.trade.page.pay" : "alipay.trade.wap.pay", order.created_at,
    order.notify_url, order.return_url,
    content_of(order, page ? "FAST_INSTANT_TRADE_PAY" : "QUICK_WAP_WAY"));
  if (!fields)
    return failed(std::move(fields.error()));
  payment_link result;
  result.pay_url = url_with(*fields);
  return result;
}

merchant::request
alipay::create_request(const pay_order& order, const stamp& with) const {
  if (!has_to_call(order.method))
    return failed("nothing has to be called for the method "
                  + std::string{to_string(order.method)} + "; expected qr");
  if (auto problem = problem_with(order))
    return failed(std::move(*problem));
  return call("alipay.trade.precreate", with.now, order.notify_url,
              content_of(order, ""));
}

merchant::request
alipay::query_request(std::string_view order_id, const stamp& with) const {
  if (!is_order_id(order_id))
    return failed("the order number is " + in_quotes(order_id)
                  + "; expected 1 to 64 letters, digits or _");
  return call("alipay.trade.query", with.now, {}, naming(order_id));
}

merchant::request
alipay::close_request(std::string_view order_id, const stamp& with) const {
  if (!is_order_id(order_id))
    return failed("the order number is " + in_quotes(order_id)
                  + "; expected 1 to 64 letters, digits or _");
  return call("alipay.trade.close", with.now, {}, naming(order_id));
}

merchant::request
alipay::refund_request(const refund_order& order, const stamp& with) const {
  if (auto problem = problem_with(order))
    return failed(std::move(*problem));
  if (order.amount < 1 || order.amount > amount_max_minor
      || order.amount > order.total)
    return failed("the amount to refund is " + format_amount(order.amount)
                  + "; expected 0.01 to the " + format_amount(order.total)
                  + " paid");
  if (order.currency != "CNY")
    return failed("the currency is " + in_quotes(order.currency)
                  + "; Alipay takes CNY");
  auto content
    = "{\"out_trade_no\":" + crypto::json_quote(order.order_id)
      + ",\"refund_amount\":\"" + format_amount(order.amount)
      + "\",\"out_request_no\":" + crypto::json_quote(order.refund_id);
  if (auto reason = fit(order.reason); !reason.empty())
    content += ",\"refund_reason\":" + crypto::json_quote(reason);
  return call("alipay.trade.refund", with.now, {}, content + "}");
}

merchant::request alipay::refund_query_request(const refund_order& order,
                                               const stamp& with) const {
  if (auto problem = problem_with(order))
    return failed(std::move(*problem));
  return call("alipay.trade.fastpay.refund.query", with.now, {},
              "{\"out_trade_no\":" + crypto::json_quote(order.order_id)
                + ",\"out_request_no\":" + crypto::json_quote(order.refund_id)
                + "}");
}

} // namespace slipway::gateway

#include "http/crypto/encoding.hpp"
#include "http/crypto/text.hpp"
#include "http/sandbox/page.hpp"
#include "http/sandbox/wechat_core.hpp"

#include <boost/json.hpp>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <utility>

/// Version 3 of the API: JSON, signed both ways.
namespace slipway::sandbox::wechat {

namespace {

namespace json_ns = boost::json;

constexpr auto scheme = std::string_view{"WECHATPAY2-SHA256-RSA2048"};

constexpr auto clock_skew_max = std::chrono::seconds{300};

/// What is answered when all is well.
struct reply {
  int status = 200;
  json_ns::object body = {}; ///< Nothing is written at 204.
};

using outcome = tl::expected<reply, refusal>;

refusal sign_error(std::string message) {
  return {401, "SIGN_ERROR", std::move(message)};
}

std::string header(const http::request& in, std::string_view name) {
  return std::string{in.headers.find(name).value_or("")};
}

std::optional<std::int64_t> parse_integer(std::string_view text) {
  auto value = std::int64_t{0};
  const auto* end = text.data() + text.size();
  const auto [rest, ec] = std::from_chars(text.data(), end, value);
  if (ec != std::errc{} || rest != end || text.empty())
    return std::nullopt;
  return value;
}

/// `mchid="…",nonce_str="…"` as fields; nothing when it has another form.
std::optional<fields> parse_authorization(std::string_view text) {
  if (text.substr(0, scheme.size()) != scheme)
    return std::nullopt;
  text.remove_prefix(scheme.size());
  fields result;
  while (!text.empty()) {
    while (!text.empty() && (text.front() == ' ' || text.front() == ','))
      text.remove_prefix(1);
    const auto equals = text.find("=\"");
    const auto end
      = equals == std::string_view::npos ? equals : text.find('"', equals + 2);
    if (end == std::string_view::npos)
      return std::nullopt;
    const auto name = std::string{text.substr(0, equals)};
    const auto value = std::string{text.substr(equals + 2, end - equals - 2)};
    if (!result.emplace(name, value).second)
      return std::nullopt;
    text.remove_prefix(end + 1);
  }
  return result;
}

/// Whether the merchant has signed it. @returns why not.
std::optional<refusal> check_signature(const http::request& in, core& all) {
  if (in.headers.count("Authorization") != 1)
    return sign_error("Http头缺少Authorization (missing, or there twice)");
  const auto parts = parse_authorization(header(in, "Authorization"));
  if (!parts)
    return sign_error("Http头Authorization值格式错误，请参考《微信支付商户REST"
                      "API签名规则》");
  for (const auto* name :
       {"mchid", "nonce_str", "timestamp", "serial_no", "signature"})
    if (get(*parts, name).empty())
      return sign_error(std::string{"Authorization 缺少 (lacks) "} + name);
  if (get(*parts, "mchid") != all.options.mch_id)
    return sign_error("商户号不存在 (no such mchid)");
  if (get(*parts, "serial_no") != all.options.merchant_serial)
    return sign_error("商户证书序列号有误 (no such serial_no)");
  const auto at = parse_integer(get(*parts, "timestamp"));
  const auto now = std::chrono::floor<std::chrono::seconds>(all.time.now())
                     .time_since_epoch()
                     .count();
  if (!at || *at < now - clock_skew_max.count()
      || *at > now + clock_skew_max.count())
    return sign_error("Http头Authorization中的timestamp与发起请求的时间不得超过"
                      "5分钟");
  const auto message = std::string{http::to_string(in.verb)} + "\n" + in.target
                       + "\n" + get(*parts, "timestamp") + "\n"
                       + get(*parts, "nonce_str") + "\n" + in.body + "\n";
  const auto raw = crypto::base64_decode(get(*parts, "signature"));
  if (!raw || !all.merchant->verify(crypto::digest::sha256, message, *raw))
    return sign_error("签名错误，请检查后再试 (the signature is not of this "
                      "request)");
  return std::nullopt;
}

/// What every request has to carry besides its signature.
std::optional<refusal> check_headers(const http::request& in, core& all) {
  const auto accept = header(in, "Accept");
  if (accept.find("application/json") == std::string::npos
      && accept.find("*/*") == std::string::npos)
    return param_error("Accept", "Http头Accept应为application/json");
  if (header(in, "User-Agent").empty())
    return param_error("User-Agent", "Http头缺少User-Agent");
  if (in.verb == http::method::post
      && header(in, "Content-Type").rfind("application/json", 0) != 0)
    return param_error("Content-Type",
                       "Http头Content-Type应为application/json");
  const auto serial = header(in, "Wechatpay-Serial");
  if (!serial.empty() && all.keys.find(serial) == nullptr)
    return param_error("Wechatpay-Serial",
                       "Wechatpay-Serial不存在 (no such key)");
  return std::nullopt;
}

/// Reads members, and keeps what was wrong first.
class params {
public:
  params(const json_ns::object& from, std::optional<refusal>& bad,
         std::string path = "")
    : from_{from}, bad_{bad}, path_{std::move(path)} {
  }

  /// Text of up to `most` characters; `least` 0 means that it may be missing.
  std::string text(std::string_view name, std::size_t least, std::size_t most) {
    const auto* value = from_.if_contains(name);
    if (value == nullptr) {
      if (least > 0)
        wrong(name, "必填 (missing)");
      return "";
    }
    const auto* is = value->if_string();
    if (is == nullptr) {
      wrong(name, "应为字符串 (expected a string)");
      return "";
    }
    auto result = std::string{is->data(), is->size()};
    if (!crypto::is_utf8(result) || count_characters(result) < least
        || count_characters(result) > most)
      wrong(name,
            "长度应为 " + std::to_string(least) + "–" + std::to_string(most));
    return result;
  }

  minor_units amount(std::string_view name) {
    const auto* value = from_.if_contains(name);
    const auto* is = value == nullptr ? nullptr : value->if_int64();
    if (is == nullptr || *is < 1 || *is > amount_max_minor) {
      wrong(name, "应为正整数，单位为分 (expected an integer of fen)");
      return 0;
    }
    return *is;
  }

  const json_ns::object& object(std::string_view name) {
    static const json_ns::object none;
    const auto* value = from_.if_contains(name);
    const auto* is = value == nullptr ? nullptr : value->if_object();
    if (is == nullptr) {
      wrong(name, "应为对象 (expected an object)");
      return none;
    }
    return *is;
  }

  [[nodiscard]] bool has(std::string_view name) const {
    return from_.contains(name);
  }

  void wrong(std::string_view name, std::string issue) {
    if (!bad_)
      bad_ = param_error(path_ + "/" + std::string{name}, std::move(issue));
  }

private:
  const json_ns::object& from_;
  std::optional<refusal>& bad_;
  std::string path_;
};

/// CNY, where it is said at all.
void check_currency(params& amount, bool required) {
  if (const auto text = amount.text("currency", required ? 1 : 0, 16);
      !text.empty() && text != "CNY")
    amount.wrong("currency", "应为 CNY");
}

void check_notify_url(params& from, const std::string& url) {
  if (!is_notify_url(url))
    from.wrong("notify_url",
               "应为不带参数的 https 地址 (expected https without a query)");
}

/// RFC 3339 in seconds, a minute to 90 days ahead.
std::optional<timestamp> read_expiry(params& from, timestamp now) {
  constexpr auto least = std::chrono::minutes{1};
  constexpr auto most = std::chrono::hours{24 * 90};
  if (!from.has("time_expire"))
    return std::nullopt;
  const auto text = from.text("time_expire", 20, 25);
  const auto at = parse_rfc3339(text);
  if (!at || text.find('.') != std::string::npos)
    from.wrong("time_expire", "应为 yyyy-MM-DDTHH:mm:ss+08:00");
  else if (*at < now + least || *at > now + most)
    from.wrong("time_expire",
               "应在1分钟后、90天内 (expected a minute to 90 days ahead)");
  return at;
}

/// An entry of the API: its own part. Called with the lock held.
using entry = std::function<outcome(core&, const http::request&,
                                    const json_ns::object& body)>;

// -- orders -------------------------------------------------------------------

outcome
create(core& all, const http::request& in, const json_ns::object& body) {
  const auto& kind = in.param(0);
  std::optional<refusal> bad;
  auto from = params{body, bad};
  order asked;
  if (kind == "native")
    asked.trade_type = "NATIVE";
  else if (kind == "h5")
    asked.trade_type = "MWEB";
  else if (kind == "jsapi")
    asked.trade_type = "JSAPI";
  else
    return tl::unexpected{refusal{404, "NOT_FOUND", "没有该接口"}};
  const auto app_id = from.text("appid", 1, 32);
  const auto mch_id = from.text("mchid", 1, 32);
  asked.description = from.text("description", 1, 127);
  asked.number = from.text("out_trade_no", 6, 32);
  asked.attach = from.text("attach", 0, 128);
  asked.notify_url = from.text("notify_url", 1, 256);
  if (!is_order_number(asked.number))
    from.wrong("out_trade_no", "只能是数字、大小写字母_-|*，6–32个字符");
  check_notify_url(from, asked.notify_url);
  auto amount = params{from.object("amount"), bad, "/amount"};
  asked.total = amount.amount("total");
  check_currency(amount, false);
  asked.expires = read_expiry(from, all.time.now());
  if (kind == "jsapi") {
    auto payer = params{from.object("payer"), bad, "/payer"};
    asked.openid = payer.text("openid", 1, 128);
  }
  if (kind == "h5") {
    auto scene = params{from.object("scene_info"), bad, "/scene_info"};
    (void)scene.text("payer_client_ip", 1, 45);
    auto h5 = params{scene.object("h5_info"), bad, "/scene_info/h5_info"};
    (void)h5.text("type", 1, 32);
  }
  if (bad)
    return tl::unexpected{std::move(*bad)};
  if (mch_id != all.options.mch_id)
    return tl::unexpected{param_error("/mchid", "商户号与签名的商户号不一致")};
  if (app_id != all.options.app_id)
    return tl::unexpected{refusal{400, "APPID_MCHID_NOT_MATCH",
                                  "appid和mch_id不匹配，请检查后再试"}};
  const auto made = all.books.place(std::move(asked), all.time.now());
  if (!made)
    return tl::unexpected{made.error()};
  const auto& x = **made;
  if (kind == "native")
    return reply{200, {{"code_url", "weixin://wxpay/bizpayurl?pr=" + x.code}}};
  if (kind == "h5")
    return reply{200, {{"h5_url", all.base_url + h5_path(x)}}};
  return reply{200, {{"prepay_id", x.prepay_id}}};
}

json_ns::object describe(const core& all, const order& x) {
  json_ns::object result{
    {"appid", all.options.app_id},
    {"mchid", all.options.mch_id},
    {"out_trade_no", x.number},
    {"trade_state", to_string(x.state)},
    {"trade_state_desc", words_of(x.state)},
    {"attach", x.attach},
    {"promotion_detail", json_ns::array{}},
    {"payer", json_ns::object{}},
    {"amount", {{"total", x.total}, {"currency", "CNY"}}},
  };
  if (x.paid) {
    result["transaction_id"] = x.transaction_id;
    result["trade_type"] = x.trade_type;
    result["bank_type"] = "OTHERS";
    result["success_time"] = beijing_rfc3339(*x.paid);
    result["payer"] = {{"openid", payer_of(x)}};
    result["amount"] = {{"total", x.total},
                        {"payer_total", x.total},
                        {"currency", "CNY"},
                        {"payer_currency", "CNY"}};
  }
  return result;
}

outcome query(core& all, const http::request& in, const order* x) {
  const auto mch_id = in.query("mchid");
  if (!mch_id || *mch_id != all.options.mch_id)
    return tl::unexpected{
      param_error("mchid", "商户号与签名的商户号不一致 (mchid in the query)")};
  if (x == nullptr)
    return tl::unexpected{refusal{404, "ORDER_NOT_EXIST", "订单不存在"}};
  return reply{200, describe(all, *x)};
}

outcome close(core& all, const http::request& in, const json_ns::object& body) {
  std::optional<refusal> bad;
  auto from = params{body, bad};
  const auto mch_id = from.text("mchid", 1, 32);
  if (bad)
    return tl::unexpected{std::move(*bad)};
  if (mch_id != all.options.mch_id)
    return tl::unexpected{param_error("/mchid", "商户号与签名的商户号不一致")};
  auto* x = all.books.find(in.param(0));
  if (x == nullptr)
    return tl::unexpected{refusal{404, "ORDER_NOT_EXIST", "订单不存在"}};
  if (auto done = all.books.close(*x); !done)
    return tl::unexpected{done.error()};
  return reply{204};
}

// -- refunds ------------------------------------------------------------------

json_ns::object describe(const order& x, const refund& back) {
  json_ns::object result{
    {"refund_id", back.id},
    {"out_refund_no", back.number},
    {"transaction_id", x.transaction_id},
    {"out_trade_no", x.number},
    {"channel", "ORIGINAL"},
    {"user_received_account", "支付用户零钱"},
    {"create_time", beijing_rfc3339(back.created)},
    {"status", to_string(back.status)},
    {"funds_account", "AVAILABLE"},
    {"promotion_detail", json_ns::array{}},
    {"amount",
     {{"total", x.total},
      {"refund", back.amount},
      {"from", json_ns::array{}},
      {"payer_total", x.total},
      {"payer_refund", back.amount},
      {"settlement_refund", back.amount},
      {"settlement_total", x.total},
      {"discount_refund", 0},
      {"currency", "CNY"},
      {"refund_fee", 0}}},
  };
  if (back.done)
    result["success_time"] = beijing_rfc3339(*back.done);
  return result;
}

outcome
give_back(core& all, const http::request&, const json_ns::object& body) {
  std::optional<refusal> bad;
  auto from = params{body, bad};
  const auto transaction = from.text("transaction_id", 0, 32);
  const auto number = from.text("out_trade_no", 0, 32);
  if (transaction.empty() == number.empty())
    from.wrong("transaction_id", "transaction_id与out_trade_no二选一 (one of "
                                 "the two)");
  refund asked;
  asked.number = from.text("out_refund_no", 1, 64);
  if (!is_refund_number(asked.number))
    from.wrong("out_refund_no", "只能是数字、大小写字母_-|*@，1–64个字符");
  asked.reason = from.text("reason", 0, 80);
  asked.notify_url = from.text("notify_url", 0, 256);
  if (asked.notify_url.empty())
    asked.notify_url = all.options.refund_notify_url;
  else
    check_notify_url(from, asked.notify_url);
  auto amount = params{from.object("amount"), bad, "/amount"};
  asked.amount = amount.amount("refund");
  const auto total = amount.amount("total");
  check_currency(amount, true);
  if (bad)
    return tl::unexpected{std::move(*bad)};
  const auto* x = number.empty() ? all.books.find_transaction(transaction)
                                 : all.books.find(number);
  asked.order_no = x == nullptr ? std::string{} : x->number;
  const auto made = all.give_back(std::move(asked), total);
  if (!made)
    return tl::unexpected{made.error()};
  return reply{200, describe(*x, **made)};
}

outcome
refund_query(core& all, const http::request& in, const json_ns::object&) {
  const auto* back = all.books.find_refund(in.param(0));
  const auto* x = back == nullptr ? nullptr : all.books.find(back->order_no);
  if (x == nullptr)
    return tl::unexpected{refusal{404, "RESOURCE_NOT_EXISTS", "退款单不存在"}};
  return reply{200, describe(*x, *back)};
}

// -- certificates -------------------------------------------------------------

outcome certificates(core& all, const http::request&, const json_ns::object&) {
  json_ns::array data;
  for (const auto& each : all.keys.all()) {
    if (each->certificate.empty())
      continue;
    const auto nonce = all.random->letters(12);
    const auto sealed = encrypt_gcm(all.options.api_v3_key, nonce,
                                    "certificate", each->certificate);
    if (!sealed)
      return tl::unexpected{refusal{500, "SYSTEM_ERROR", sealed.error()}};
    data.push_back({{"serial_no", each->serial},
                    {"effective_time", beijing_rfc3339(each->not_before)},
                    {"expire_time", beijing_rfc3339(each->not_after)},
                    {"encrypt_certificate",
                     {{"algorithm", "AEAD_AES_256_GCM"},
                      {"nonce", nonce},
                      {"associated_data", "certificate"},
                      {"ciphertext", *sealed}}}});
  }
  if (data.empty())
    return tl::unexpected{
      refusal{404, "RESOURCE_NOT_EXISTS",
              "无可用的平台证书，请在商户平台-API安全申请使用微信支付公钥"}};
  return reply{200, {{"data", std::move(data)}}};
}

// -- the way in and out -------------------------------------------------------

http::response error_of(const refusal& why) {
  json_ns::object body{{"code", why.code}, {"message", why.message}};
  if (!why.field.empty())
    body["detail"] = {{"field", why.field},
                      {"issue", why.message},
                      {"location", why.field.front() == '/' ? "body" : "head"}};
  return json(why.status, json_ns::serialize(body));
}

/// Signs an answer with the key that the request names, else the current one.
http::response sign_answer(core& all, const http::request& in, http::response x,
                           wechat_trouble trouble) {
  x.headers.emplace_back("Request-ID", all.random->letters(32));
  if (trouble == wechat_trouble::unsigned_answer)
    return x;
  auto with = all.keys.find(header(in, "Wechatpay-Serial"));
  if (with == nullptr)
    with = all.keys.current();
  const auto at
    = std::to_string(std::chrono::floor<std::chrono::seconds>(all.time.now())
                       .time_since_epoch()
                       .count());
  const auto nonce = all.random->letters(32);
  auto message = at + "\n" + nonce + "\n" + x.body + "\n";
  if (trouble == wechat_trouble::wrong_signature)
    message += "?";
  x.headers.emplace_back("Wechatpay-Nonce", nonce);
  x.headers.emplace_back("Wechatpay-Serial", with->serial);
  x.headers.emplace_back("Wechatpay-Signature", sign(*with, message));
  x.headers.emplace_back("Wechatpay-Signature-Type", std::string{scheme});
  x.headers.emplace_back("Wechatpay-Timestamp", at);
  return x;
}

http::response answer(core& all, const http::request& in, const entry& run) {
  if (auto why = check_signature(in, all))
    return sign_answer(all, in, error_of(*why), wechat_trouble::none);
  if (auto why = check_headers(in, all))
    return sign_answer(all, in, error_of(*why), wechat_trouble::none);
  auto body = json_ns::value(json_ns::object{});
  if (in.verb == http::method::post) {
    auto ec = json_ns::error_code{};
    body = json_ns::parse(in.body, ec);
    if (ec || !body.is_object())
      return sign_answer(all, in,
                         error_of(param_error("/", "请求体不是JSON对象")),
                         wechat_trouble::none);
  }
  const auto trouble = all.take_trouble();
  if (trouble == wechat_trouble::frequency_limited)
    return sign_answer(
      all, in, error_of({429, "FREQUENCY_LIMITED", "频率超限，请降低请求频率"}),
      trouble);
  if (trouble == wechat_trouble::system_error)
    return sign_answer(
      all, in,
      error_of({500, "SYSTEM_ERROR", "系统异常，请用相同参数重新调用"}),
      trouble);
  const auto done = run(all, in, body.get_object());
  if (trouble == wechat_trouble::answer_lost)
    return {502, "text/html", "<html>502 Bad Gateway</html>"};
  if (!done)
    return sign_answer(all, in, error_of(done.error()), trouble);
  return sign_answer(all, in,
                     done->status == 204
                       ? http::response{204, "application/json", ""}
                       : json(done->status, json_ns::serialize(done->body)),
                     trouble);
}

} // namespace

void add_v3(http::router& routes, core& all) {
  using http::method;
  const auto add
    = [&](method verb, std::string_view pattern, std::string name, entry run) {
        routes.add(verb, pattern, std::move(name),
                   [to = &all, run = std::move(run)](auto x) {
                     const auto lock = std::lock_guard{to->mutex};
                     x->answer(answer(*to, x->in(), run));
                   });
      };
  add(method::post, "/v3/pay/transactions/{kind}", "create", create);
  add(method::get, "/v3/pay/transactions/out-trade-no/{no}", "query",
      [](core& core, const http::request& in, const json_ns::object&) {
        return query(core, in, core.books.find(in.param(0)));
      });
  add(method::get, "/v3/pay/transactions/id/{id}", "query",
      [](core& core, const http::request& in, const json_ns::object&) {
        return query(core, in, core.books.find_transaction(in.param(0)));
      });
  add(method::post, "/v3/pay/transactions/out-trade-no/{no}/close", "close",
      close);
  add(method::post, "/v3/refund/domestic/refunds", "refund", give_back);
  add(method::get, "/v3/refund/domestic/refunds/{no}", "refund query",
      refund_query);
  add(method::get, "/v3/certificates", "certificates", certificates);
}

} // namespace slipway::sandbox::wechat

#include "http/crypto/digest.hpp"
#include "http/crypto/text.hpp"
#include "http/sandbox/page.hpp"
#include "http/sandbox/wechat_core.hpp"

#include <array>
#include <charconv>
#include <utility>

/// Version 2 of the API: XML, signed with a shared key.
namespace slipway::sandbox::wechat {

namespace {

/// A request that has been read and is the merchant's.
struct call {
  fields all;
  v2_sign_type sign_type = v2_sign_type::md5;
};

using outcome = tl::expected<fields, refusal>;

using entry = outcome (*)(core&, const call&);

http::response xml(fields body) {
  return {200, "text/xml; charset=utf-8", write_xml(body)};
}

/// Not even a request: nothing of it is signed.
http::response transport_failure(std::string why) {
  return xml({{"return_code", "FAIL"}, {"return_msg", std::move(why)}});
}

/// The same in the words of v2.
std::string v2_code(const std::string& code) {
  static constexpr auto words
    = std::array<std::pair<std::string_view, std::string_view>, 6>{
      {{"ORDER_NOT_EXIST", "ORDERNOTEXIST"},
       {"ORDER_CLOSED", "ORDERCLOSED"},
       {"RESOURCE_NOT_EXISTS", "REFUNDNOTEXIST"},
       {"SYSTEM_ERROR", "SYSTEMERROR"},
       {"PARAM_ERROR", "PARAM_ERROR"},
       {"FREQUENCY_LIMITED", "FREQUENCY_LIMITED"}}};
  for (const auto& [v3, v2] : words)
    if (v3 == code)
      return std::string{v2};
  return code;
}

/// Integer fen.
std::optional<minor_units> parse_fee(const std::string& text) {
  auto value = minor_units{0};
  const auto* end = text.data() + text.size();
  const auto [rest, ec] = std::from_chars(text.data(), end, value);
  if (ec != std::errc{} || rest != end || value < 1 || value > amount_max_minor)
    return std::nullopt;
  return value;
}

refusal lacks(const std::string& name) {
  return {400, "LACK_PARAMS", "缺少必填参数 " + name, name};
}

std::optional<refusal>
check_present(const call& in, std::initializer_list<const char*> names) {
  for (const auto* name : names)
    if (get(in.all, name).empty())
      return lacks(name);
  return std::nullopt;
}

order* find_order(core& all, const call& in) {
  const auto id = get(in.all, "transaction_id");
  return id.empty() ? all.books.find(get(in.all, "out_trade_no"))
                    : all.books.find_transaction(id);
}

tl::unexpected<refusal> no_order() {
  return tl::unexpected{refusal{404, "ORDER_NOT_EXIST", "此交易订单号不存在"}};
}

// -- orders -------------------------------------------------------------------

std::optional<refusal> read_order(core& all, const call& in, order& to) {
  if (auto bad
      = check_present(in, {"body", "out_trade_no", "total_fee",
                           "spbill_create_ip", "notify_url", "trade_type"}))
    return bad;
  to.version = api::v2;
  to.sign_type = in.sign_type;
  to.number = get(in.all, "out_trade_no");
  to.description = get(in.all, "body");
  to.attach = get(in.all, "attach");
  to.notify_url = get(in.all, "notify_url");
  to.trade_type = get(in.all, "trade_type");
  to.openid = get(in.all, "openid");
  if (!is_order_number(to.number))
    return param_error("out_trade_no",
                       "out_trade_no 无效 (6 to 32 characters)");
  if (!crypto::is_utf8(to.description)
      || count_characters(to.description) > 127)
    return param_error("body", "body 过长 (up to 127 characters)");
  if (count_characters(to.attach) > 127)
    return param_error("attach", "attach 过长 (up to 127 characters)");
  if (!is_notify_url(to.notify_url))
    return param_error("notify_url", "notify_url 应为不带参数的 https 地址");
  const auto total = parse_fee(get(in.all, "total_fee"));
  if (!total)
    return param_error("total_fee", "total_fee 应为正整数，单位为分");
  to.total = *total;
  if (const auto type = get(in.all, "fee_type"); !type.empty() && type != "CNY")
    return param_error("fee_type", "fee_type 应为 CNY");
  if (to.trade_type == "JSAPI") {
    if (to.openid.empty())
      return lacks("openid");
  } else if (to.trade_type == "NATIVE") {
    if (get(in.all, "product_id").empty())
      return lacks("product_id");
  } else if (to.trade_type == "MWEB") {
    if (get(in.all, "scene_info").empty())
      return lacks("scene_info");
  } else {
    return param_error("trade_type", "trade_type 应为 NATIVE、JSAPI、MWEB");
  }
  if (const auto at = get(in.all, "time_expire"); !at.empty()) {
    to.expires = parse_beijing_digits(at);
    if (!to.expires || *to.expires < all.time.now() + std::chrono::minutes{1})
      return param_error("time_expire",
                         "time_expire 应为 yyyyMMddHHmmss，1 分钟后");
  }
  return std::nullopt;
}

outcome unified_order(core& all, const call& in) {
  order asked;
  if (auto bad = read_order(all, in, asked))
    return tl::unexpected{std::move(*bad)};
  const auto made = all.books.place(std::move(asked), all.time.now());
  if (!made)
    return tl::unexpected{made.error()};
  const auto& x = **made;
  auto result
    = fields{{"trade_type", x.trade_type}, {"prepay_id", x.prepay_id}};
  if (x.trade_type == "NATIVE")
    result["code_url"] = "weixin://wxpay/bizpayurl?pr=" + x.code;
  if (x.trade_type == "MWEB")
    result["mweb_url"] = all.base_url + h5_path(x);
  return result;
}

outcome order_query(core& all, const call& in) {
  const auto* x = find_order(all, in);
  if (x == nullptr)
    return no_order();
  auto result = fields{{"out_trade_no", x->number},
                       {"trade_state", std::string{to_string(x->state)}},
                       {"trade_state_desc", std::string{words_of(x->state)}},
                       {"attach", x->attach},
                       {"total_fee", std::to_string(x->total)}};
  if (x->paid)
    result.insert({{"transaction_id", x->transaction_id},
                   {"openid", payer_of(*x)},
                   {"is_subscribe", "N"},
                   {"trade_type", x->trade_type},
                   {"bank_type", "OTHERS"},
                   {"fee_type", "CNY"},
                   {"cash_fee", std::to_string(x->total)},
                   {"time_end", beijing_digits(*x->paid)}});
  return result;
}

outcome close_order(core& all, const call& in) {
  auto* x = all.books.find(get(in.all, "out_trade_no"));
  if (x == nullptr)
    return no_order();
  if (auto done = all.books.close(*x); !done)
    return tl::unexpected{done.error()};
  return fields{};
}

// -- refunds ------------------------------------------------------------------

outcome give_back(core& all, const call& in) {
  if (auto bad
      = check_present(in, {"out_refund_no", "total_fee", "refund_fee"}))
    return tl::unexpected{std::move(*bad)};
  const auto* x = find_order(all, in);
  if (x == nullptr)
    return no_order();
  refund asked;
  asked.version = api::v2;
  asked.number = get(in.all, "out_refund_no");
  asked.order_no = x->number;
  asked.reason = get(in.all, "refund_desc");
  asked.notify_url = get(in.all, "notify_url");
  if (asked.notify_url.empty())
    asked.notify_url = all.options.refund_notify_url;
  else if (!is_notify_url(asked.notify_url))
    return tl::unexpected{
      param_error("notify_url", "notify_url 应为不带参数的 https 地址")};
  const auto total = parse_fee(get(in.all, "total_fee"));
  const auto amount = parse_fee(get(in.all, "refund_fee"));
  if (!is_refund_number(asked.number))
    return tl::unexpected{param_error("out_refund_no", "out_refund_no 无效")};
  if (!total || !amount)
    return tl::unexpected{
      param_error("refund_fee", "total_fee、refund_fee 应为正整数，单位为分")};
  asked.amount = *amount;
  const auto made = all.give_back(std::move(asked), *total);
  if (!made)
    return tl::unexpected{made.error()};
  const auto& back = **made;
  return fields{{"transaction_id", x->transaction_id},
                {"out_trade_no", x->number},
                {"out_refund_no", back.number},
                {"refund_id", back.id},
                {"refund_fee", std::to_string(back.amount)},
                {"total_fee", std::to_string(x->total)},
                {"cash_fee", std::to_string(x->total)}};
}

outcome refund_query(core& all, const call& in) {
  auto numbers = std::vector<std::string>{};
  const auto* one = all.books.find_refund(get(in.all, "out_refund_no"));
  if (one == nullptr)
    one = all.books.find_refund_id(get(in.all, "refund_id"));
  const auto* x
    = one != nullptr ? all.books.find(one->order_no) : find_order(all, in);
  if (one != nullptr)
    numbers.push_back(one->number);
  else if (x != nullptr)
    numbers = x->refunds;
  if (x == nullptr || numbers.empty())
    return tl::unexpected{
      refusal{404, "RESOURCE_NOT_EXISTS", "退款订单查询失败"}};
  auto result = fields{{"transaction_id", x->transaction_id},
                       {"out_trade_no", x->number},
                       {"total_fee", std::to_string(x->total)},
                       {"cash_fee", std::to_string(x->total)},
                       {"refund_count", std::to_string(numbers.size())}};
  auto n = std::size_t{0};
  for (const auto& number : numbers) {
    const auto* back = all.books.find_refund(number);
    if (back == nullptr)
      continue;
    const auto end = "_" + std::to_string(n++);
    auto status = std::string{to_string(back->status)};
    if (back->status == refund_status::abnormal)
      status = "CHANGE";
    if (back->status == refund_status::closed)
      status = "REFUNDCLOSE";
    result.insert({{"out_refund_no" + end, back->number},
                   {"refund_id" + end, back->id},
                   {"refund_channel" + end, "ORIGINAL"},
                   {"refund_fee" + end, std::to_string(back->amount)},
                   {"refund_status" + end, std::move(status)},
                   {"refund_recv_accout" + end, "支付用户零钱"}});
    if (back->done)
      result["refund_success_time" + end] = to_beijing(*back->done);
  }
  return result;
}

// -- the way in and out -------------------------------------------------------

/// Reads a request and checks whose it is. @returns why it is nobody's.
tl::expected<call, std::string> read(core& all, const std::string& body) {
  auto parsed = read_xml(body);
  if (!parsed)
    return tl::unexpected{"XML格式错误: " + parsed.error()};
  call result;
  result.all = std::move(*parsed);
  for (const auto* name : {"appid", "mch_id", "nonce_str", "sign"})
    if (get(result.all, name).empty())
      return tl::unexpected{std::string{"缺少参数 "} + name};
  const auto type = get(result.all, "sign_type");
  if (type == "HMAC-SHA256")
    result.sign_type = v2_sign_type::hmac_sha256;
  else if (!type.empty() && type != "MD5")
    return tl::unexpected{std::string{"sign_type 应为 MD5、HMAC-SHA256"}};
  if (get(result.all, "nonce_str").size() > 32)
    return tl::unexpected{std::string{"nonce_str 过长 (up to 32)"}};
  if (get(result.all, "mch_id") != all.options.mch_id)
    return tl::unexpected{std::string{"mch_id不存在"}};
  if (get(result.all, "appid") != all.options.app_id)
    return tl::unexpected{std::string{"appid不存在"}};
  const auto wanted
    = sign_v2(result.all, result.sign_type, all.options.api_v2_key);
  if (!crypto::constant_time_equal(wanted, get(result.all, "sign")))
    return tl::unexpected{std::string{"签名错误"}};
  return result;
}

http::response answer(core& all, const http::request& in, entry run) {
  const auto asked = read(all, in.body);
  if (!asked)
    return transport_failure(asked.error());
  const auto trouble = all.take_trouble();
  auto done = outcome{};
  if (trouble == wechat_trouble::frequency_limited)
    done = tl::unexpected{refusal{429, "FREQUENCY_LIMITED", "频率超限"}};
  else if (trouble == wechat_trouble::system_error)
    done = tl::unexpected{refusal{500, "SYSTEM_ERROR", "系统错误"}};
  else
    done = run(all, *asked);
  if (trouble == wechat_trouble::answer_lost)
    return {502, "text/html", "<html>502 Bad Gateway</html>"};
  auto body = done ? std::move(*done) : fields{};
  body.insert({{"return_code", "SUCCESS"},
               {"return_msg", "OK"},
               {"appid", all.options.app_id},
               {"mch_id", all.options.mch_id},
               {"nonce_str", all.random->letters(32)},
               {"result_code", done ? "SUCCESS" : "FAIL"}});
  if (!done) {
    body["err_code"] = v2_code(done.error().code);
    body["err_code_des"] = done.error().message;
  }
  if (trouble != wechat_trouble::unsigned_answer) {
    body["sign"] = sign_v2(body, asked->sign_type, all.options.api_v2_key);
    if (trouble == wechat_trouble::wrong_signature)
      body["sign"].front() = body["sign"].front() == 'A' ? 'B' : 'A';
  }
  return xml(std::move(body));
}

} // namespace

void add_v2(http::router& routes, core& all) {
  const auto add = [&](std::string_view path, std::string name, entry run) {
    routes.add(http::method::post, path, std::move(name),
               [to = &all, run](auto x) {
                 const auto lock = std::lock_guard{to->mutex};
                 x->answer(answer(*to, x->in(), run));
               });
  };
  add("/pay/unifiedorder", "unifiedorder", unified_order);
  add("/pay/orderquery", "orderquery", order_query);
  add("/pay/closeorder", "closeorder", close_order);
  add("/secapi/pay/refund", "refund v2", give_back);
  add("/pay/refundquery", "refundquery", refund_query);
}

} // namespace slipway::sandbox::wechat

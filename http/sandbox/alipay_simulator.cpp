#include "http/sandbox/alipay_simulator.hpp"

#include "actors/lifecycle/money.hpp"
#include "http/crypto/encoding.hpp"
#include "http/crypto/form.hpp"
#include "http/crypto/rsa.hpp"
#include "http/sandbox/console.hpp"

#include <boost/json.hpp>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <random>

namespace slipway::sandbox {

namespace {

namespace json_ns = boost::json;

using fields = std::map<std::string, std::string>;

/// `a=1&b=2` over all that is not empty, in byte order of the names.
std::string sign_string(const fields& from,
                        std::initializer_list<std::string_view> without) {
  std::string result;
  for (const auto& [name, value] : from) {
    if (value.empty()
        || std::find(without.begin(), without.end(), name) != without.end())
      continue;
    if (!result.empty())
      result += '&';
    result += name;
    result += '=';
    result += value;
  }
  return result;
}

std::string get(const fields& from, const std::string& name) {
  const auto i = from.find(name);
  return i == from.end() ? std::string{} : i->second;
}

std::string text_of(const json_ns::object& from, std::string_view name) {
  const auto* value = from.if_contains(name);
  if (value == nullptr)
    return "";
  if (const auto* text = value->if_string())
    return {text->data(), text->size()};
  // Some clients send amounts as numbers. The real gateway takes that.
  return value->is_number() ? json_ns::serialize(*value) : std::string{};
}

bool is_order_number(std::string_view text) {
  return !text.empty() && text.size() <= 64
         && std::all_of(text.begin(), text.end(), [](char c) {
              return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z')
                     || (c >= 'A' && c <= 'Z') || c == '_';
            });
}

/// `30m`, `2h`, `1d`; `1c` (end of the day) counts as a day here.
std::optional<millis> parse_timeout(std::string_view text) {
  if (text.size() < 2 || text.size() > 6)
    return std::nullopt;
  auto n = std::int64_t{0};
  for (const auto c : text.substr(0, text.size() - 1)) {
    if (c < '0' || c > '9')
      return std::nullopt;
    n = n * 10 + (c - '0');
  }
  switch (text.back()) {
    case 'm':
      return std::chrono::minutes{n};
    case 'h':
      return std::chrono::hours{n};
    case 'd':
    case 'c':
      return std::chrono::hours{24 * n};
    default:
      return std::nullopt;
  }
}

enum class trade_status : std::uint8_t { waiting, paid, closed };

std::string_view to_string(trade_status status) {
  switch (status) {
    case trade_status::waiting:
      return "WAIT_BUYER_PAY";
    case trade_status::paid:
      return "TRADE_SUCCESS";
    case trade_status::closed:
      break;
  }
  return "TRADE_CLOSED";
}

struct refund {
  minor_units amount = 0;
  timestamp at{};
};

/// Something that the merchant is told, as it is.
struct event {
  fields what;
  bool is_refund = false;
};

struct trade {
  std::string out_trade_no;
  std::string trade_no;
  std::string subject;
  std::string body;
  std::string passback;
  std::string notify_url;
  std::string return_url;
  std::string product; ///< `page`, `wap`, `precreate`.
  std::string qr;
  /// A code that nobody has scanned by then is good for nothing.
  timestamp qr_until{};
  minor_units amount = 0;
  minor_units refunded = 0;
  trade_status status = trade_status::waiting;
  /// False for a QR code that nobody has scanned: Alipay knows no trade then.
  bool exists = true;
  timestamp created;
  std::optional<timestamp> expires;
  std::optional<timestamp> paid;
  std::optional<timestamp> closed;
  /// By out_request_no.
  std::map<std::string, refund> refunds;
  std::vector<event> events;
  std::deque<delivery> deliveries;
};

/// An unscanned code lives so long.
constexpr auto qr_life = millis{2LL * 60 * 60 * 1000};

/// Events that a trade remembers: its payment, its end, and refunds.
constexpr auto events_kept = std::size_t{64};

/// What the gateway says in JSON.
struct verdict {
  std::string code;
  std::string message;
  std::string sub_code = {};
  std::string sub_message = {};
};

const auto ok = verdict{"10000", "Success"};

verdict business(std::string sub_code, std::string sub_message) {
  return {"40004", "Business Failed", std::move(sub_code),
          std::move(sub_message)};
}

verdict invalid(std::string sub_code, std::string sub_message) {
  return {"40002", "Invalid Arguments", std::move(sub_code),
          std::move(sub_message)};
}

json_ns::object to_json(const verdict& x) {
  json_ns::object result;
  result["code"] = x.code;
  result["msg"] = x.message;
  if (!x.sub_code.empty()) {
    result["sub_code"] = x.sub_code;
    result["sub_msg"] = x.sub_message;
  }
  return result;
}

http::response error_page(const verdict& why, std::string_view detail) {
  auto body = std::string{"<div class=\"card narrow\"><h1 class=\"bad\">"
                          "无法支付 <small>Payment impossible</small></h1><p>"};
  body += escape(why.sub_message.empty() ? why.message : why.sub_message);
  body += "</p><dl><dt>code</dt><dd>" + escape(why.code)
          + "</dd><dt>sub_code</dt><dd>" + escape(why.sub_code) + "</dd></dl>";
  if (!detail.empty())
    body += "<pre class=\"dim\">" + escape(detail) + "</pre>";
  body += "</div>";
  return page(400, "无法支付", body);
}

} // namespace

struct alipay_simulator::impl final : console_host,
                                      std::enable_shared_from_this<impl> {
  impl(alipay_simulator_options given, const clock& clock_in,
       client::outbound& outbound)
    : options{std::move(given)}, time{clock_in}, out{outbound},
      plans{options.delivery, options.trades_max} {
    auto seed = options.seed;
    if (seed == 0)
      seed = std::random_device{}();
    random.seed(seed);
  }

  // -- life -------------------------------------------------------------------

  tl::expected<void, std::string> start() {
    auto own = crypto::rsa_private_key::parse(options.alipay_private_key);
    if (!own)
      return tl::unexpected{"sandbox: alipay_private_key: " + own.error()};
    auto app = crypto::rsa_public_key::parse(options.app_public_key);
    if (!app)
      return tl::unexpected{"sandbox: app_public_key: " + app.error()};
    if (auto local = check_loopback(options.listen); !local)
      return local;
    alipay_key.emplace(std::move(*own));
    app_key.emplace(std::move(*app));
    mail.emplace(options.retry_ladder, options.notify_timeout, time, out,
                 [weak = weak_from_this()](const std::string& no, delivery x) {
                   if (auto self = weak.lock())
                     self->delivered(no, std::move(x));
                 });
    http::router routes;
    add_style(routes);
    add_console(routes, "支付宝 · Alipay", "simulated Alipay", *this);
    const auto to = [this](void (impl::*run)(http::exchange&)) {
      return [this, run](std::shared_ptr<http::exchange> x) {
        (this->*run)(*x);
      };
    };
    using http::method;
    routes.add(method::get, "/gateway.do", "gateway", to(&impl::gateway))
      .add(method::post, "/gateway.do", "gateway", to(&impl::gateway))
      .add(method::get, "/qr/{code}", "qr", to(&impl::scan))
      .add(method::post, "/cashier/pay", "pay", to(&impl::cashier_pay))
      .add(method::get, "/cashier/{no}", "cashier", to(&impl::cashier))
      .add(method::post, "/cashier/cancel", "cancel", to(&impl::cashier_cancel))
      .add(method::post, "/sandbox/unclear", "unclear",
           to(&impl::switch_unclear));
    server.emplace(server_for(options.listen), std::move(routes));
    return server->start();
  }

  void stop() {
    if (server)
      server->stop(millis{500});
    if (mail)
      mail->stop();
  }

  // -- making things up -------------------------------------------------------

  std::string digits(std::size_t count) {
    std::string result;
    while (result.size() < count)
      result += static_cast<char>('0' + random() % 10);
    return result;
  }

  std::string date_digits(timestamp at) const {
    std::string result;
    for (const auto c : to_beijing(at).substr(0, 10))
      if (c != '-')
        result += c;
    return result;
  }

  std::string new_notify_id(timestamp now) {
    static constexpr auto hex = std::string_view{"0123456789abcdef"};
    auto result = date_digits(now);
    while (result.size() < 34)
      result += hex[random() % 16];
    return result;
  }

  static std::string
  sign(const crypto::rsa_private_key& key, std::string_view text) {
    const auto raw = key.sign(crypto::digest::sha256, text);
    if (!raw) {
      spdlog::error("sandbox alipay: cannot sign: {}", raw.error());
      return "";
    }
    return crypto::base64_encode(*raw);
  }

  // -- trades -----------------------------------------------------------------

  /// Expiry shows when somebody looks.
  trade* find(const std::string& out_trade_no) {
    const auto i = trades.find(out_trade_no);
    if (i == trades.end())
      return nullptr;
    auto& x = i->second;
    if (x.status == trade_status::waiting && x.expires
        && time.now() > *x.expires) {
      x.status = trade_status::closed;
      x.closed = x.expires;
    }
    return &x;
  }

  trade* find_by_either(const json_ns::object& biz) {
    const auto no = text_of(biz, "out_trade_no");
    if (!no.empty())
      return find(no);
    const auto trade_no = text_of(biz, "trade_no");
    for (auto& [key, x] : trades)
      if (!trade_no.empty() && x.trade_no == trade_no)
        return find(key);
    return nullptr;
  }

  /// Takes over or finds again the order that a request describes.
  tl::expected<trade*, verdict>
  admit(const fields& all, const json_ns::object& biz) {
    const auto no = text_of(biz, "out_trade_no");
    if (!is_order_number(no))
      return tl::unexpected{
        invalid("isv.invalid-parameter",
                "out_trade_no 无效 (1 to 64 letters, digits, _)")};
    const auto amount = parse_amount(text_of(biz, "total_amount"));
    if (!amount || *amount < 1)
      return tl::unexpected{invalid("isv.invalid-parameter",
                                    "total_amount 无效 (0.01 to 100000000)")};
    const auto subject = text_of(biz, "subject");
    if (subject.empty())
      return tl::unexpected{
        invalid("isv.missing-parameter", "缺少 subject (subject is missing)")};
    if (auto* known = find(no)) {
      if (known->amount != *amount || known->subject != subject)
        return tl::unexpected{
          business("ACQ.CONTEXT_INCONSISTENT",
                   "交易信息被篡改 (the order is known with other contents)")};
      return known;
    }
    trade made;
    made.out_trade_no = no;
    made.amount = *amount;
    made.subject = subject;
    made.body = text_of(biz, "body");
    made.passback = text_of(biz, "passback_params");
    made.notify_url = get(all, "notify_url");
    made.return_url = get(all, "return_url");
    made.created = time.now();
    made.trade_no = date_digits(made.created) + "2200" + digits(16);
    if (const auto at = text_of(biz, "time_expire"); !at.empty()) {
      made.expires = parse_beijing(at);
      if (!made.expires)
        return tl::unexpected{
          invalid("isv.invalid-parameter",
                  "time_expire 无效 (yyyy-MM-dd HH:mm:ss is expected)")};
    } else if (const auto in = text_of(biz, "timeout_express"); !in.empty()) {
      const auto length = parse_timeout(in);
      if (!length)
        return tl::unexpected{
          invalid("isv.invalid-parameter", "timeout_express 无效")};
      made.expires = made.created + *length;
    }
    if (order.size() >= options.trades_max) {
      trades.erase(order.front());
      order.pop_front();
    }
    order.push_back(no);
    return &trades.emplace(no, std::move(made)).first->second;
  }

  // -- notifications ----------------------------------------------------------

  /// The trade as it is now, without what changes with each delivery.
  fields about(const trade& x) const {
    const auto amount = format_amount(x.amount);
    json_ns::array bills;
    bills.push_back({{"amount", amount}, {"fundChannel", "ALIPAYACCOUNT"}});
    fields result = {
      {"notify_type", "trade_status_sync"},
      {"app_id", options.app_id},
      {"auth_app_id", options.app_id},
      {"charset", "utf-8"},
      {"version", "1.0"},
      {"sign_type", "RSA2"},
      {"trade_no", x.trade_no},
      {"out_trade_no", x.out_trade_no},
      {"buyer_id", "2088622998765432"},
      {"buyer_logon_id", "sli***@sandbox.com"},
      {"seller_id", options.seller_id},
      {"seller_email", "merchant@sandbox.com"},
      {"trade_status", std::string{to_string(x.status)}},
      {"total_amount", amount},
      {"receipt_amount", amount},
      {"invoice_amount", amount},
      {"buyer_pay_amount", amount},
      {"point_amount", "0.00"},
      {"subject", x.subject},
      {"gmt_create", to_beijing(x.created)},
      {"fund_bill_list", json_ns::serialize(bills)},
    };
    if (!x.body.empty())
      result["body"] = x.body;
    if (!x.passback.empty())
      result["passback_params"] = x.passback;
    if (x.paid)
      result["gmt_payment"] = to_beijing(*x.paid);
    if (x.closed)
      result["gmt_close"] = to_beijing(*x.closed);
    return result;
  }

  /// Under a notify_id of its own, and with whatever the plan falsifies.
  callback write(const trade& x, const event& from, const delivery_plan& plan) {
    auto what = from.what;
    what["notify_id"] = new_notify_id(time.now());
    if (plan.wrong_amount)
      for (const auto* name : {"total_amount", "receipt_amount",
                               "invoice_amount", "buyer_pay_amount"})
        what[name] = format_amount(x.amount + 1);
    if (plan.wrong_app)
      for (const auto* name : {"app_id", "auth_app_id"})
        what[name] = "2021999999999999";
    callback result;
    result.order_no = x.out_trade_no;
    result.id = what["notify_id"];
    result.event = what["trade_status"];
    result.url = x.notify_url;
    result.is_refund = from.is_refund;
    result.write = [key = *alipay_key, what](timestamp now, bool probe) {
      auto all = what;
      all["notify_time"] = to_beijing(now);
      auto text = sign_string(all, {"sign", "sign_type"});
      if (probe)
        text += '?';
      all["sign"] = sign(key, text);
      const auto form = crypto::form_fields{all.begin(), all.end()};
      return callback::message{
        {{"Content-Type", "application/x-www-form-urlencoded; charset=utf-8"}},
        crypto::encode_form(form)};
    };
    result.is_understood = [](int status, std::string_view body) {
      return status == 200 && body == "success";
    };
    return result;
  }

  /// Something has happened: the merchant is told as planned.
  void tell(trade& x, event what, const delivery_plan& plan) {
    mail->post(write(x, what, plan), plan);
    x.events.push_back(std::move(what));
    if (x.events.size() > events_kept)
      x.events.erase(x.events.begin());
  }

  void tell(trade& x, event what) {
    tell(x, std::move(what), plans.of(x.out_trade_no));
  }

  /// Everything that has happened, once more and now.
  void tell_again(trade& x, std::size_t copies) {
    auto plan = plans.of(x.out_trade_no);
    const auto reversed = plan.refund_first;
    plan.lose = false;
    plan.delay = millis{0};
    plan.refund_first = false;
    plan.copies = copies;
    if (x.events.empty()) {
      mail->post(write(x, {about(x)}, plan), plan);
      return;
    }
    auto all = x.events;
    if (reversed)
      std::reverse(all.begin(), all.end());
    for (const auto& each : all)
      mail->post(write(x, each, plan), plan);
  }

  void delivered(const std::string& no, delivery what) {
    const auto lock = std::lock_guard{mutex};
    if (auto* x = find(no))
      remember(x->deliveries, std::move(what));
  }

  // -- the gateway ------------------------------------------------------------

  struct call {
    fields all;
    json_ns::object biz;
  };

  struct failure {
    verdict why;
    std::string detail;
    std::string method = {};
  };

  /// Checks what all methods have in common, the signature above all.
  tl::expected<call, failure> read(const http::request& in) {
    call result;
    auto made = check(in, result);
    if (!made)
      return result;
    made->method = get(result.all, "method");
    return tl::unexpected{std::move(*made)};
  }

  std::optional<failure> check(const http::request& in, call& result) {
    for (const auto part : {in.query_string(), std::string_view{in.body}}) {
      auto decoded = crypto::decode_form(part);
      if (!decoded)
        return failure{invalid("isv.invalid-parameter", "参数无法解析"),
                       std::string{to_string(decoded.error())}};
      for (auto& [name, value] : *decoded)
        if (!result.all.emplace(name, value).second)
          return failure{invalid("isv.invalid-parameter", "参数重复"), name};
    }
    const auto& all = result.all;
    for (const auto* name : {"app_id", "method", "sign", "sign_type", "charset",
                             "timestamp", "version", "biz_content"})
      if (get(all, name).empty())
        return failure{verdict{"40001", "Missing Required Arguments",
                               std::string{"isv.missing-"} + name,
                               std::string{"缺少参数 "} + name},
                       ""};
    if (get(all, "app_id") != options.app_id)
      return failure{invalid("isv.invalid-app-id", "无效的 app_id"), ""};
    if (get(all, "sign_type") != "RSA2")
      return failure{
        invalid("isv.invalid-signature-type", "sign_type 应为 RSA2"), ""};
    const auto signed_text = sign_string(all, {"sign"});
    const auto signature = crypto::base64_decode(get(all, "sign"));
    if (!signature
        || !app_key->verify(crypto::digest::sha256, signed_text, *signature))
      return failure{
        invalid("isv.invalid-signature",
                "验签出错，请检查签名字符串或应用公钥 (invalid signature)"),
        signed_text};
    if (!parse_beijing(get(all, "timestamp")))
      return failure{invalid("isv.invalid-timestamp", "timestamp 无效"), ""};
    auto ec = json_ns::error_code{};
    const auto biz = json_ns::parse(get(all, "biz_content"), ec);
    if (ec || !biz.is_object())
      return failure{
        invalid("isv.invalid-parameter", "biz_content 不是 JSON 对象"), ""};
    result.biz = biz.get_object();
    return std::nullopt;
  }

  static bool is_page(std::string_view method) {
    return method == "alipay.trade.page.pay"
           || method == "alipay.trade.wap.pay";
  }

  void gateway(http::exchange& x) {
    auto asked = read(x.in());
    if (!asked) {
      const auto& [why, detail, method] = asked.error();
      if (method.empty() || is_page(method))
        x.answer(error_page(why, detail));
      else
        x.answer(signed_answer(method, to_json(why)));
      return;
    }
    const auto method = get(asked->all, "method");
    if (is_page(method))
      x.answer(show_cashier(*asked, method));
    else
      x.answer(signed_answer(method, run(method, *asked)));
  }

  http::response
  signed_answer(std::string method, const json_ns::object& node) const {
    std::replace(method.begin(), method.end(), '.', '_');
    const auto text = json_ns::serialize(node);
    auto body = "{" + http::json_quote(method + "_response") + ":" + text
                + ",\"sign\":" + http::json_quote(sign(*alipay_key, text))
                + "}";
    return json(200, std::move(body));
  }

  json_ns::object run(const std::string& method, const call& asked) {
    const auto lock = std::unique_lock{mutex};
    if (method == "alipay.trade.precreate")
      return precreate(asked);
    if (method == "alipay.trade.query")
      return query(asked.biz);
    if (method == "alipay.trade.close")
      return close(asked.biz);
    if (method == "alipay.trade.refund")
      return run_refund(asked.biz);
    if (method == "alipay.trade.fastpay.refund.query")
      return refund_query(asked.biz);
    return to_json(invalid("isv.invalid-method", "不存在的方法名"));
  }

  json_ns::object precreate(const call& asked) {
    const auto no = text_of(asked.biz, "out_trade_no");
    const auto fresh = trades.count(no) == 0;
    auto made = admit(asked.all, asked.biz);
    if (!made)
      return to_json(made.error());
    auto& x = **made;
    if (x.status == trade_status::closed)
      return to_json(business("ACQ.TRADE_HAS_CLOSE", "交易已经关闭"));
    if (x.status != trade_status::waiting)
      return to_json(business("ACQ.TRADE_HAS_SUCCESS", "交易已被支付"));
    const auto now = time.now();
    if (fresh) {
      x.exists = false;
      x.product = "precreate";
    }
    if (x.qr.empty() || now > x.qr_until) {
      x.qr = "b" + digits(24);
      x.qr_until = now + qr_life;
    }
    auto result = to_json(ok);
    result["out_trade_no"] = x.out_trade_no;
    result["qr_code"] = server->url() + "/qr/" + x.qr;
    return result;
  }

  json_ns::object query(const json_ns::object& biz) {
    const auto* x = find_by_either(biz);
    if (x == nullptr || !x->exists)
      return to_json(business("ACQ.TRADE_NOT_EXIST", "交易不存在"));
    auto result = to_json(ok);
    const auto amount = format_amount(x->amount);
    result["trade_no"] = x->trade_no;
    result["out_trade_no"] = x->out_trade_no;
    result["buyer_logon_id"] = "sli***@sandbox.com";
    result["trade_status"] = to_string(x->status);
    result["total_amount"] = amount;
    if (x->paid) {
      result["buyer_pay_amount"] = amount;
      result["receipt_amount"] = amount;
      result["invoice_amount"] = amount;
      result["point_amount"] = "0.00";
      result["send_pay_date"] = to_beijing(*x->paid);
      result["buyer_user_id"] = "2088622998765432";
    }
    return result;
  }

  json_ns::object close(const json_ns::object& biz) {
    auto* x = find_by_either(biz);
    if (x == nullptr || !x->exists)
      return to_json(business("ACQ.TRADE_NOT_EXIST", "交易不存在"));
    if (x->status == trade_status::paid)
      return to_json(business("ACQ.REASON_TRADE_STATUS_INVALID",
                              "交易状态不合法 (already paid)"));
    shut(*x);
    auto result = to_json(ok);
    result["trade_no"] = x->trade_no;
    result["out_trade_no"] = x->out_trade_no;
    return result;
  }

  /// Closes what has not been paid. Of the products here only the page for
  /// phones tells the merchant.
  void shut(trade& x) {
    if (x.status != trade_status::waiting)
      return;
    x.status = trade_status::closed;
    x.closed = time.now();
    if (x.product == "wap" && x.exists)
      tell(x, {about(x)});
  }

  /// Gives money back. The trade is paid, and there is enough left.
  void give_back(trade& x, const std::string& number, minor_units amount) {
    const auto now = time.now();
    x.refunds.emplace(number, refund{amount, now});
    x.refunded += amount;
    if (x.refunded == x.amount) {
      x.status = trade_status::closed;
      x.closed = now;
    }
    auto what = about(x);
    what["out_biz_no"] = number;
    what["refund_fee"] = format_amount(x.refunded);
    what["gmt_refund"] = to_beijing(now) + ".000";
    tell(x, {std::move(what), true});
  }

  json_ns::object run_refund(const json_ns::object& biz) {
    auto* x = find_by_either(biz);
    if (x == nullptr || !x->exists)
      return to_json(business("ACQ.TRADE_NOT_EXIST", "交易不存在"));
    const auto amount = parse_amount(text_of(biz, "refund_amount"));
    if (!amount || *amount < 1)
      return to_json(invalid("isv.invalid-parameter", "refund_amount 无效"));
    auto number = text_of(biz, "out_request_no");
    if (number.empty() && *amount != x->amount)
      return to_json(
        invalid("isv.missing-parameter", "部分退款须有 out_request_no"));
    if (number.empty())
      number = x->out_trade_no;
    const auto known = x->refunds.find(number);
    if (known != x->refunds.end() && known->second.amount != *amount)
      return to_json(
        business("ACQ.DISCORDANT_REPEAT_REQUEST", "请求信息不一致"));
    auto moved = known == x->refunds.end();
    auto at = moved ? time.now() : known->second.at;
    if (moved) {
      if (!x->paid || x->status == trade_status::waiting)
        return to_json(business("ACQ.TRADE_STATUS_ERROR", "交易状态不合法"));
      if (x->refunded + *amount > x->amount)
        return to_json(
          business("ACQ.REFUND_AMT_NOT_EQUAL_TOTAL", "退款金额超限"));
      const auto unclear = unclear_left > 0;
      if (unclear)
        --unclear_left;
      if (!unclear || unclear_moves)
        give_back(*x, number, *amount);
      moved = !unclear;
    }
    auto result = to_json(ok);
    result["trade_no"] = x->trade_no;
    result["out_trade_no"] = x->out_trade_no;
    result["buyer_logon_id"] = "sli***@sandbox.com";
    result["fund_change"] = moved ? "Y" : "N";
    result["refund_fee"] = format_amount(x->refunded);
    result["gmt_refund_pay"] = to_beijing(at);
    return result;
  }

  json_ns::object refund_query(const json_ns::object& biz) {
    const auto* x = find_by_either(biz);
    if (x == nullptr || !x->exists)
      return to_json(business("ACQ.TRADE_NOT_EXIST", "交易不存在"));
    auto result = to_json(ok);
    result["trade_no"] = x->trade_no;
    result["out_trade_no"] = x->out_trade_no;
    // No refund under this number: the answer just says nothing about one.
    const auto i = x->refunds.find(text_of(biz, "out_request_no"));
    if (i != x->refunds.end()) {
      result["out_request_no"] = i->first;
      result["refund_amount"] = format_amount(i->second.amount);
      result["total_amount"] = format_amount(x->amount);
      result["refund_status"] = "REFUND_SUCCESS";
      result["gmt_refund_pay"] = to_beijing(i->second.at);
    }
    return result;
  }

  // -- the cashier ------------------------------------------------------------

  http::response show_cashier(const call& asked, std::string_view method) {
    const auto product = text_of(asked.biz, "product_code");
    const auto* wanted = method == "alipay.trade.page.pay"
                           ? "FAST_INSTANT_TRADE_PAY"
                           : "QUICK_WAP_WAY";
    if (product != wanted)
      return error_page(invalid("isv.invalid-parameter",
                                std::string{"product_code 应为 "} + wanted),
                        "");
    const auto lock = std::lock_guard{mutex};
    const auto made = admit(asked.all, asked.biz);
    if (!made)
      return error_page(made.error(), "");
    if ((**made).product.empty())
      (**made).product = method == "alipay.trade.wap.pay" ? "wap" : "page";
    return cashier_page(**made);
  }

  static std::string facts(const trade& x) {
    return "<p>" + escape(x.subject) + "</p><p class=\"amount\">¥ "
           + format_amount(x.amount) + "</p><dl><dt>订单号 Order</dt><dd>"
           + escape(x.out_trade_no) + "</dd><dt>交易号 Trade</dt><dd>"
           + escape(x.trade_no) + "</dd></dl>";
  }

  static std::string way_back(const trade& x) {
    if (!is_web(x.return_url))
      return "";
    return "<p><a class=\"button\" href=\"" + escape(x.return_url)
           + "\" rel=\"noreferrer\">返回商家 Back to the merchant</a></p>";
  }

  static http::response cashier_page(const trade& x) {
    auto body = std::string{"<div class=\"card narrow\">"};
    switch (x.status) {
      case trade_status::waiting:
        body
          += "<h1>支付宝 收银台 <small>Alipay cashier</small></h1>" + facts(x);
        if (x.expires)
          body += "<p class=\"dim\">请在 " + to_beijing(*x.expires)
                  + "（北京时间）前付款<br>Please pay before "
                  + to_rfc3339(*x.expires) + "</p>";
        body += "<form method=\"post\" action=\"/cashier/pay\">"
                "<input type=\"hidden\" name=\"trade\" value=\""
                + escape(x.out_trade_no)
                + "\"><button class=\"main\">确认付款 / Pay now</button></form>"
                  "<form method=\"post\" action=\"/cashier/cancel\">"
                  "<input type=\"hidden\" name=\"trade\" value=\""
                + escape(x.out_trade_no)
                + "\"><button>取消 / Cancel</button></form>";
        break;
      case trade_status::paid:
        body += "<h1 class=\"good\">支付成功 <small>Paid</small></h1>"
                + facts(x) + way_back(x);
        break;
      case trade_status::closed:
        body += "<h1 class=\"bad\">交易已关闭 <small>This trade is closed"
                "</small></h1>"
                + facts(x) + way_back(x);
        break;
    }
    body += "</div>";
    return page(200, "支付宝 收银台", body);
  }

  static http::response no_such_trade() {
    return error_page(
      business("ACQ.TRADE_NOT_EXIST", "交易不存在 (there is no such trade)"),
      "");
  }

  void scan(http::exchange& x) {
    const auto lock = std::lock_guard{mutex};
    for (auto& [no, each] : trades) {
      if (each.qr.empty() || each.qr != x.in().param(0))
        continue;
      auto& found = *find(no);
      if (!found.exists
          && (found.status == trade_status::closed
              || time.now() > found.qr_until)) {
        x.answer(error_page(business("ACQ.TRADE_HAS_CLOSE",
                                     "二维码已失效 (this code is too old)"),
                            ""));
        return;
      }
      found.exists = true;
      x.answer(cashier_page(found));
      return;
    }
    x.answer(no_such_trade());
  }

  static std::string form_trade(const http::request& in) {
    const auto form = crypto::decode_form(in.body);
    if (!form)
      return "";
    const auto* no = crypto::find_field(*form, "trade");
    return no == nullptr ? "" : *no;
  }

  /// @returns whether it is paid now; nothing when there is no such trade.
  std::optional<bool> pay(const std::string& no, const delivery_plan* plan) {
    auto* x = find(no);
    if (x == nullptr)
      return std::nullopt;
    if (x->status == trade_status::closed)
      return false;
    if (x->status == trade_status::waiting) {
      x->status = trade_status::paid;
      x->exists = true;
      x->paid = time.now();
      tell(*x, {about(*x)}, plan == nullptr ? plans.of(no) : *plan);
    }
    return true;
  }

  /// The page of a trade that is known already, for people at the console.
  void cashier(http::exchange& x) {
    const auto lock = std::lock_guard{mutex};
    const auto* found = find(x.in().param(0));
    x.answer(found == nullptr || !found->exists ? no_such_trade()
                                                : cashier_page(*found));
  }

  void cashier_pay(http::exchange& x) {
    const auto lock = std::lock_guard{mutex};
    const auto no = form_trade(x.in());
    if (!pay(no, nullptr)) {
      x.answer(no_such_trade());
      return;
    }
    x.answer(cashier_page(*find(no)));
  }

  void cashier_cancel(http::exchange& x) {
    const auto lock = std::lock_guard{mutex};
    const auto* found = find(form_trade(x.in()));
    if (found == nullptr) {
      x.answer(no_such_trade());
      return;
    }
    x.answer(
      page(200, "已取消",
           "<div class=\"card narrow\"><h1>已取消，未付款 <small>Cancelled, "
           "nothing was paid</small></h1>"
             + facts(*found) + way_back(*found) + "</div>"));
  }

  // -- for people and scripts -------------------------------------------------

  static console_order show(const trade& x, const delivery_plan& plan) {
    console_order result;
    result.number = x.out_trade_no;
    result.transaction = x.trade_no;
    result.subject = x.subject;
    result.product = x.product;
    result.pay_path = x.exists ? "/cashier/" + x.out_trade_no : "/qr/" + x.qr;
    result.notify_url = x.notify_url;
    result.amount = x.amount;
    result.refunded = x.refunded;
    result.status = to_string(x.status);
    if (x.status == trade_status::paid)
      result.mood = tone::good;
    else if (x.status == trade_status::closed)
      result.mood = tone::bad;
    else if (!x.exists)
      result.status = "NOT_SCANNED";
    result.created = x.created;
    result.paid = x.paid;
    for (const auto& [number, each] : x.refunds)
      result.refunds.push_back(
        {number, each.amount, "REFUND_SUCCESS", each.at});
    result.deliveries = x.deliveries;
    result.plan = plan;
    result.can_pay = x.status == trade_status::waiting;
    result.can_close = result.can_pay && x.exists;
    result.can_refund = x.paid && x.refunded < x.amount;
    return result;
  }

  std::vector<console_order> console_orders() override {
    const auto lock = std::lock_guard{mutex};
    std::vector<console_order> result;
    for (auto i = order.rbegin(); i != order.rend(); ++i)
      if (const auto* each = find(*i))
        result.push_back(show(*each, plans.of(*i)));
    return result;
  }

  std::optional<console_order> console_find(const std::string& no) override {
    const auto lock = std::lock_guard{mutex};
    const auto* found = find(no);
    if (found == nullptr)
      return std::nullopt;
    return show(*found, plans.of(no));
  }

  delivery_plan console_plan() override {
    const auto lock = std::lock_guard{mutex};
    return plans.all();
  }

  std::string console_switches() override {
    const auto lock = std::lock_guard{mutex};
    return "<details><summary>退款结果不明 Unclear refunds <small>"
           + std::to_string(unclear_left)
           + "</small></summary><form method=\"post\" "
             "action=\"/sandbox/unclear\"><p>"
             "<input class=\"short\" name=\"count\" value=\""
           + std::to_string(unclear_left)
           + "\"> fund_change=N <select name=\"money\"><option value=\"moved\">"
             "已退 money moved</option><option value=\"stayed\">未退 money "
             "stayed"
             "</option></select> <button class=\"small\">设定 Set</button></p>"
             "</form></details>";
  }

  void switch_unclear(http::exchange& x) {
    const auto form = crypto::decode_form(x.in().body);
    const auto* count = form ? crypto::find_field(*form, "count") : nullptr;
    const auto* money = form ? crypto::find_field(*form, "money") : nullptr;
    if (count == nullptr || count->empty() || count->size() > 3
        || count->find_first_not_of("0123456789") != std::string::npos) {
      x.fail(400, "bad_form", "count: expected 0 to 999");
      return;
    }
    const auto lock = std::lock_guard{mutex};
    unclear_left = std::stoul(*count);
    unclear_moves = money == nullptr || *money != "stayed";
    x.answer(see_other("/"));
  }

  tl::expected<void, console_refusal>
  perform(const console_command& what) override {
    const auto lock = std::lock_guard{mutex};
    if (what.action == console_action::plan) {
      if (what.order.empty())
        plans.set(what.plan);
      else
        plans.set(what.order, what.plan);
      return {};
    }
    auto* x = find(what.order);
    if (x == nullptr)
      return refused(404, "not_found", "There is no such trade.");
    switch (what.action) {
      case console_action::pay:
        if (!*pay(what.order, what.own_plan ? &what.plan : nullptr))
          return refused(409, "closed", "The trade is closed.");
        break;
      case console_action::close:
        if (x->status == trade_status::paid)
          return refused(409, "paid", "The trade is paid.");
        shut(*x);
        break;
      case console_action::refund:
        return refund_by_hand(*x, what);
      case console_action::notify:
        tell_again(*x, 1);
        break;
      case console_action::duplicate:
        tell_again(*x, what.copies);
        break;
      case console_action::plan:
        break;
    }
    return {};
  }

  tl::expected<void, console_refusal>
  refund_by_hand(trade& x, const console_command& what) {
    const auto left = x.amount - x.refunded;
    const auto amount = what.amount.value_or(left);
    if (!x.paid || left == 0)
      return refused(409, "not_refundable",
                     "The trade is not paid, or refunded already.");
    if (amount > left)
      return refused(409, "too_much",
                     "Only " + format_amount(left) + " is left of it.");
    give_back(x, "console" + digits(20), amount);
    return {};
  }

  static tl::unexpected<console_refusal>
  refused(int status, std::string code, std::string sentence) {
    return tl::unexpected{
      console_refusal{status, std::move(code), std::move(sentence)}};
  }

  alipay_simulator_options options;
  const clock& time;
  client::outbound& out;
  std::optional<crypto::rsa_private_key> alipay_key;
  std::optional<crypto::rsa_public_key> app_key;
  std::mutex mutex;
  std::map<std::string, trade> trades;
  std::deque<std::string> order;
  std::mt19937_64 random;
  delivery_plans plans;
  /// Refunds still to be answered with `fund_change=N`.
  std::size_t unclear_left = 0;
  bool unclear_moves = true;
  std::optional<courier> mail;
  std::optional<http::server> server;
};

alipay_simulator::alipay_simulator(alipay_simulator_options options,
                                   const clock& time, client::outbound& out)
  : impl_{std::make_shared<impl>(std::move(options), time, out)} {
}

alipay_simulator::~alipay_simulator() {
  impl_->stop();
}

tl::expected<void, std::string> alipay_simulator::start() {
  return impl_->start();
}

void alipay_simulator::stop() {
  impl_->stop();
}

void alipay_simulator::set_delivery(delivery_plan plan) {
  const auto lock = std::lock_guard{impl_->mutex};
  impl_->plans.set(plan);
}

void alipay_simulator::set_delivery(const std::string& order,
                                    delivery_plan plan) {
  const auto lock = std::lock_guard{impl_->mutex};
  impl_->plans.set(order, plan);
}

void alipay_simulator::unclear_refunds(std::size_t count, bool money_moves) {
  const auto lock = std::lock_guard{impl_->mutex};
  impl_->unclear_left = count;
  impl_->unclear_moves = money_moves;
}

bool alipay_simulator::pay(const std::string& order) {
  const auto lock = std::lock_guard{impl_->mutex};
  return impl_->pay(order, nullptr).value_or(false);
}

bool alipay_simulator::deliver_now(const std::string& order,
                                   std::size_t copies) {
  console_command what;
  what.action = console_action::duplicate;
  what.order = order;
  what.copies = copies;
  return impl_->perform(what).has_value();
}

bool alipay_simulator::refund_by_hand(const std::string& order,
                                      std::optional<minor_units> amount) {
  console_command what;
  what.action = console_action::refund;
  what.order = order;
  what.amount = amount;
  return impl_->perform(what).has_value();
}

std::vector<delivery>
alipay_simulator::deliveries(const std::string& order) const {
  const auto lock = std::lock_guard{impl_->mutex};
  const auto* found = impl_->find(order);
  if (found == nullptr)
    return {};
  return {found->deliveries.begin(), found->deliveries.end()};
}

std::uint16_t alipay_simulator::port() const noexcept {
  return impl_->server ? impl_->server->port() : std::uint16_t{0};
}

std::string alipay_simulator::gateway_url() const {
  return impl_->server ? impl_->server->url() + "/gateway.do" : std::string{};
}

} // namespace slipway::sandbox

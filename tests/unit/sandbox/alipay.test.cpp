#define CAF_SUITE sandbox.alipay

#include "http/client/curl_client.hpp"
#include "http/crypto/encoding.hpp"
#include "http/crypto/form.hpp"
#include "http/crypto/rsa.hpp"
#include "http/sandbox/alipay_simulator.hpp"
#include "tests/unit/http_server/loopback.hpp"
#include "tests/unit/sandbox/manual_clock.hpp"

#include <boost/json.hpp>
#include <caf/test/unit_test.hpp>

#include <map>
#include <mutex>

using namespace slipway;
using namespace slipway::sandbox;
using namespace std::literals;
using loopback::eventually;
using loopback::fetch;
namespace json = boost::json;

namespace {

using fields = std::map<std::string, std::string>;

/// Two keys for all tests: making them takes a while.
const crypto::rsa_key_pair& key(bool alipay) {
  static const auto app = crypto::generate_rsa_key().value();
  static const auto gateway = crypto::generate_rsa_key().value();
  return alipay ? gateway : app;
}

std::string join(const fields& from, const std::vector<std::string>& without) {
  std::string result;
  for (const auto& [name, value] : from) {
    if (std::find(without.begin(), without.end(), name) != without.end())
      continue;
    result += (result.empty() ? "" : "&") + name + "=" + value;
  }
  return result;
}

/// Takes notifications and says `fail` the first times.
struct shop {
  std::mutex mutex;
  std::vector<fields> notified;
  int failures = 0;
  std::unique_ptr<http::server> web;

  shop() {
    http::router routes;
    routes.add(http::method::post, "/notify", "notify", [this](auto x) {
      const auto lock = std::lock_guard{mutex};
      const auto form = crypto::decode_form(x->in().body).value();
      notified.emplace_back(form.begin(), form.end());
      const auto bad = failures > 0;
      failures -= bad ? 1 : 0;
      x->answer({200, "text/plain", bad ? "fail" : "success", {}});
    });
    web = std::make_unique<http::server>(http::server_options{},
                                         std::move(routes));
    CAF_REQUIRE(web->start().has_value());
  }

  std::size_t count() {
    const auto lock = std::lock_guard{mutex};
    return notified.size();
  }

  fields at(std::size_t i) {
    const auto lock = std::lock_guard{mutex};
    return notified.at(i);
  }

  std::string id(std::size_t i) {
    return at(i).at("notify_id");
  }
};

struct fixture {
  manual_clock time;
  client::curl_client out;
  shop merchant;
  alipay_simulator_options options;
  std::unique_ptr<alipay_simulator> aut;

  fixture() {
    options.app_id = "2021000000000001";
    options.seller_id = "2088000000000001";
    options.alipay_private_key = key(true).private_pem;
    options.app_public_key = key(false).public_pem;
    options.retry_ladder = {5ms, 5ms, 5ms};
    options.seed = 9;
    restart();
  }

  void restart() {
    aut = std::make_unique<alipay_simulator>(options, time, out);
    const auto started = aut->start();
    CAF_REQUIRE(started.has_value());
  }

  static std::string sign(const std::string& text) {
    const auto app
      = crypto::rsa_private_key::parse(key(false).private_pem).value();
    return crypto::base64_encode(
      app.sign(crypto::digest::sha256, text).value());
  }

  static bool is_signed(const std::string& text, const std::string& signature) {
    const auto alipay
      = crypto::rsa_public_key::parse(key(true).public_pem).value();
    const auto raw = crypto::base64_decode(signature);
    return raw && alipay.verify(crypto::digest::sha256, text, *raw);
  }

  [[nodiscard]] fields request(std::string method, json::object biz) const {
    fields result{{"app_id", options.app_id},
                  {"method", std::move(method)},
                  {"format", "JSON"},
                  {"charset", "utf-8"},
                  {"sign_type", "RSA2"},
                  {"timestamp", to_beijing(time.now())},
                  {"version", "1.0"},
                  {"biz_content", json::serialize(biz)},
                  {"notify_url", merchant.web->url() + "/notify"},
                  {"return_url", "https://shop.example/back?a=1&b=2"}};
    result["sign"] = sign(join(result, {}));
    return result;
  }

  static std::string form(const fields& all) {
    return crypto::encode_form({all.begin(), all.end()});
  }

  static json::object
  order(std::string_view no = "order_1", std::string_view amount = "99.00") {
    return {{"out_trade_no", no},
            {"total_amount", amount},
            {"subject", "专业版 <Pro>"},
            {"product_code", "FAST_INSTANT_TRADE_PAY"},
            {"time_expire", "2026-11-23 16:30:00"},
            {"passback_params", "a%3D1"}};
  }

  loopback::answer open(const fields& all) {
    return fetch(aut->port(), "GET", "/gateway.do?" + form(all));
  }

  loopback::answer pay(std::string_view no = "order_1") {
    return fetch(aut->port(), "POST", "/cashier/pay",
                 "trade=" + std::string{no});
  }

  /// Calls a JSON method, checks its signature, and returns its node.
  json::object call(const std::string& method, json::object biz) {
    auto all = request(method, std::move(biz));
    // As the SDKs do it: all in the link but biz_content.
    const auto content = all.extract("biz_content");
    const auto x = fetch(aut->port(), "POST", "/gateway.do?" + form(all),
                         form({{"biz_content", content.mapped()}}));
    auto name = method;
    std::replace(name.begin(), name.end(), '.', '_');
    const auto start = "{\"" + name + "_response\":";
    const auto end = x.body.rfind(",\"sign\":");
    CAF_REQUIRE_EQUAL(x.body.substr(0, start.size()), start);
    const auto node = x.body.substr(start.size(), end - start.size());
    const auto body = json::parse(x.body);
    CAF_CHECK(is_signed(node, std::string{body.at("sign").as_string()}));
    return json::parse(node).as_object();
  }

  /// Of a notification; by value, since that is a copy.
  std::string field(std::size_t i, const std::string& name) {
    return merchant.at(i).at(name);
  }

  std::size_t field_count(std::size_t i, const std::string& name) {
    return merchant.at(i).count(name);
  }

  json::value trade(std::size_t i = 0) {
    return json::parse(fetch(aut->port(), "GET", "/sandbox/trades").body)
      .at("data")
      .at(i);
  }

  static std::string text(const json::value& x) {
    return std::string{x.as_string()};
  }
};

} // namespace

CAF_TEST_FIXTURE_SCOPE(alipay_tests, fixture)

CAF_TEST(a signed link shows the cashier) {
  const auto x = open(request("alipay.trade.page.pay", order()));
  CAF_CHECK_EQUAL(x.status, 200);
  CAF_CHECK(x.has("¥ 99.00"));
  CAF_CHECK(x.has("专业版 &lt;Pro&gt;"));
  CAF_CHECK(x.has("确认付款 / Pay now"));
  CAF_CHECK(x.has("2026-11-23 16:30:00"));
  CAF_CHECK(x.header("Content-Security-Policy").find("default-src 'none'")
            == 0);
  CAF_CHECK_EQUAL(fetch(aut->port(), "GET", "/style.css").status, 200);
  // A form that submits itself is as good as a link.
  const auto all = request("alipay.trade.page.pay", order());
  CAF_CHECK_EQUAL(fetch(aut->port(), "POST", "/gateway.do", form(all)).status,
                  200);
  auto phone = order("order_2");
  phone["product_code"] = "QUICK_WAP_WAY";
  CAF_CHECK_EQUAL(open(request("alipay.trade.wap.pay", phone)).status, 200);
  CAF_CHECK_EQUAL(open(request("alipay.trade.page.pay", phone)).status, 400);
}

CAF_TEST(a bad signature is refused and says over what) {
  auto all = request("alipay.trade.page.pay", order());
  all["biz_content"] = json::serialize(order("order_1", "0.01"));
  const auto x = open(all);
  CAF_CHECK_EQUAL(x.status, 400);
  CAF_CHECK(x.has("isv.invalid-signature"));
  CAF_CHECK(x.has("app_id=2021000000000001&amp;biz_content="));
  CAF_CHECK(!x.has("Pay now"));
  all = request("alipay.trade.page.pay", order());
  all.erase("sign");
  CAF_CHECK(open(all).has("isv.missing-sign"));
  all = request("alipay.trade.page.pay", order());
  all["app_id"] = "other";
  CAF_CHECK(open(all).has("isv.invalid-app-id"));
  CAF_CHECK(fetch(aut->port(), "GET",
                  "/gateway.do?" + form(request("alipay.trade.query", {}))
                    + "&method=alipay.trade.page.pay")
              .has("isv.invalid-parameter"));
}

CAF_TEST(bad orders are refused) {
  const auto refused = [&](std::string_view name, json::value value) {
    auto biz = order();
    biz[name] = std::move(value);
    return open(request("alipay.trade.page.pay", biz)).status == 400;
  };
  CAF_CHECK(refused("out_trade_no", ""));
  CAF_CHECK(refused("out_trade_no", "a-b"));
  CAF_CHECK(refused("out_trade_no", json::value(std::string(65, 'a'))));
  CAF_CHECK(refused("total_amount", "0"));
  CAF_CHECK(refused("total_amount", "1.001"));
  CAF_CHECK(refused("subject", ""));
  CAF_CHECK(refused("time_expire", "soon"));
  CAF_CHECK(open(request("alipay.trade.page.pay", order())).status == 200);
  CAF_CHECK(refused("total_amount", "98.00"));
}

CAF_TEST(a payment is told to the merchant with a good signature) {
  open(request("alipay.trade.page.pay", order()));
  time.advance(61s);
  const auto x = pay();
  CAF_CHECK_EQUAL(x.status, 200);
  CAF_CHECK(x.has("支付成功"));
  CAF_CHECK(x.has("href=\"https://shop.example/back?a=1&amp;b=2\""));
  CAF_REQUIRE(eventually([&] {
    return merchant.count() == 1;
  }));
  auto told = merchant.at(0);
  CAF_CHECK(is_signed(join(told, {"sign", "sign_type"}), told["sign"]));
  CAF_CHECK_EQUAL(told["notify_type"], "trade_status_sync");
  CAF_CHECK_EQUAL(told["trade_status"], "TRADE_SUCCESS");
  CAF_CHECK_EQUAL(told["out_trade_no"], "order_1");
  CAF_CHECK_EQUAL(told["total_amount"], "99.00");
  CAF_CHECK_EQUAL(told["app_id"], options.app_id);
  CAF_CHECK_EQUAL(told["seller_id"], options.seller_id);
  CAF_CHECK_EQUAL(told["sign_type"], "RSA2");
  CAF_CHECK_EQUAL(told["subject"], "专业版 <Pro>");
  CAF_CHECK_EQUAL(told["gmt_create"], "2026-11-23 16:00:00");
  CAF_CHECK_EQUAL(told["gmt_payment"], "2026-11-23 16:01:01");
  CAF_CHECK_EQUAL(told["notify_time"], "2026-11-23 16:01:01");
  CAF_CHECK_EQUAL(told["passback_params"], "a%3D1");
  CAF_CHECK_EQUAL(told["fund_bill_list"],
                  R"([{"amount":"99.00","fundChannel":"ALIPAYACCOUNT"}])");
  // Paying twice is paying once.
  CAF_CHECK(pay().has("支付成功"));
  CAF_CHECK(eventually([&] {
    return trade().at("deliveries").as_array().size() == 1;
  }));
  CAF_CHECK_EQUAL(merchant.count(), 1u);
  CAF_CHECK_EQUAL(text(trade().at("status")), "TRADE_SUCCESS");
}

CAF_TEST(a notification is repeated until the merchant says success) {
  merchant.failures = 2;
  open(request("alipay.trade.page.pay", order()));
  pay();
  CAF_REQUIRE(eventually([&] {
    return trade().at("deliveries").as_array().size() == 3;
  }));
  std::this_thread::sleep_for(30ms);
  CAF_CHECK_EQUAL(merchant.count(), 3u);
  CAF_CHECK_EQUAL(merchant.id(0), merchant.id(2));
  const auto told = trade().at("deliveries");
  CAF_CHECK_EQUAL(text(told.at(0).at("body")), "fail");
  CAF_CHECK_EQUAL(text(told.at(2).at("body")), "success");
  CAF_CHECK_EQUAL(told.at(2).at("attempt").as_int64(), 3);
}

CAF_TEST(a notification is given up at the end of the ladder) {
  merchant.failures = 100;
  open(request("alipay.trade.page.pay", order()));
  pay();
  CAF_REQUIRE(eventually([&] {
    return trade().at("deliveries").as_array().size() == 4;
  }));
  std::this_thread::sleep_for(30ms);
  CAF_CHECK_EQUAL(merchant.count(), 4u);
  // By hand it is a new event.
  merchant.failures = 0;
  fetch(aut->port(), "POST", "/sandbox/trades/order_1/notify");
  CAF_REQUIRE(eventually([&] {
    return merchant.count() == 5;
  }));
  CAF_CHECK_NOT_EQUAL(merchant.id(4), merchant.id(0));
}

CAF_TEST(trades can be asked about and closed) {
  auto asked = call("alipay.trade.query", {{"out_trade_no", "order_1"}});
  CAF_CHECK_EQUAL(text(asked["code"]), "40004");
  CAF_CHECK_EQUAL(text(asked["sub_code"]), "ACQ.TRADE_NOT_EXIST");
  open(request("alipay.trade.page.pay", order()));
  asked = call("alipay.trade.query", {{"out_trade_no", "order_1"}});
  CAF_CHECK_EQUAL(text(asked["code"]), "10000");
  CAF_CHECK_EQUAL(text(asked["trade_status"]), "WAIT_BUYER_PAY");
  const auto trade_no = text(asked["trade_no"]);
  CAF_CHECK_EQUAL(trade_no.size(), 28u);
  CAF_CHECK_EQUAL(
    text(call("alipay.trade.close", {{"trade_no", trade_no}})["code"]),
    "10000");
  asked = call("alipay.trade.query", {{"trade_no", trade_no}});
  CAF_CHECK_EQUAL(text(asked["trade_status"]), "TRADE_CLOSED");
  CAF_CHECK(pay().has("交易已关闭"));
  open(request("alipay.trade.page.pay", order("order_2")));
  fetch(aut->port(), "POST", "/sandbox/trades/order_2/pay?notify=false");
  asked = call("alipay.trade.query", {{"out_trade_no", "order_2"}});
  CAF_CHECK_EQUAL(text(asked["trade_status"]), "TRADE_SUCCESS");
  CAF_CHECK_EQUAL(text(asked["total_amount"]), "99.00");
  CAF_CHECK_EQUAL(text(asked["send_pay_date"]), "2026-11-23 16:00:00");
  CAF_CHECK_EQUAL(
    text(call("alipay.trade.close", {{"out_trade_no", "order_2"}})["sub_code"]),
    "ACQ.REASON_TRADE_STATUS_INVALID");
  CAF_CHECK_EQUAL(merchant.count(), 0u);
  CAF_CHECK_EQUAL(text(call("alipay.trade.dance", {})["sub_code"]),
                  "isv.invalid-method");
}

CAF_TEST(a program that signs badly gets a signed refusal) {
  auto all = request("alipay.trade.query", {{"out_trade_no", "order_1"}});
  all["biz_content"] = "{}";
  const auto x = fetch(aut->port(), "POST", "/gateway.do", form(all));
  CAF_CHECK_EQUAL(x.status, 200);
  CAF_CHECK(x.has("alipay_trade_query_response"));
  CAF_CHECK(x.has("isv.invalid-signature"));
}

CAF_TEST(an order is not payable after its time) {
  open(request("alipay.trade.page.pay", order()));
  time.advance(30min + 1ms);
  CAF_CHECK(pay().has("交易已关闭"));
  CAF_CHECK_EQUAL(text(call("alipay.trade.query",
                            {{"out_trade_no", "order_1"}})["trade_status"]),
                  "TRADE_CLOSED");
  CAF_CHECK_EQUAL(
    fetch(aut->port(), "POST", "/sandbox/trades/order_1/pay").status, 409);
  CAF_CHECK_EQUAL(merchant.count(), 0u);
}

CAF_TEST(a code becomes a trade when it is scanned) {
  auto made = call("alipay.trade.precreate", order());
  CAF_CHECK_EQUAL(text(made["code"]), "10000");
  const auto link = text(made["qr_code"]);
  CAF_CHECK_EQUAL(
    text(call("alipay.trade.query", {{"out_trade_no", "order_1"}})["sub_code"]),
    "ACQ.TRADE_NOT_EXIST");
  const auto path = link.substr(link.find("/qr/"));
  CAF_CHECK(fetch(aut->port(), "GET", path).has("Pay now"));
  CAF_CHECK_EQUAL(text(call("alipay.trade.query",
                            {{"out_trade_no", "order_1"}})["trade_status"]),
                  "WAIT_BUYER_PAY");
  CAF_CHECK_EQUAL(fetch(aut->port(), "GET", "/qr/nope").status, 400);
}

CAF_TEST(money goes back in parts and once per number) {
  open(request("alipay.trade.page.pay", order()));
  const auto refund = [&](std::string_view amount, std::string_view number) {
    return call("alipay.trade.refund", {{"out_trade_no", "order_1"},
                                        {"refund_amount", amount},
                                        {"out_request_no", number}});
  };
  CAF_CHECK_EQUAL(text(refund("9.00", "r0")["sub_code"]),
                  "ACQ.TRADE_STATUS_ERROR");
  pay();
  auto x = refund("9.00", "r1");
  CAF_CHECK_EQUAL(text(x["fund_change"]), "Y");
  CAF_CHECK_EQUAL(text(x["refund_fee"]), "9.00");
  x = refund("9.00", "r1");
  CAF_CHECK_EQUAL(text(x["fund_change"]), "N");
  CAF_CHECK_EQUAL(text(refund("8.00", "r1")["sub_code"]),
                  "ACQ.DISCORDANT_REPEAT_REQUEST");
  CAF_CHECK_EQUAL(text(refund("90.01", "r2")["sub_code"]),
                  "ACQ.REFUND_AMT_NOT_EQUAL_TOTAL");
  x = call("alipay.trade.fastpay.refund.query",
           {{"out_trade_no", "order_1"}, {"out_request_no", "r1"}});
  CAF_CHECK_EQUAL(text(x["refund_status"]), "REFUND_SUCCESS");
  x = call("alipay.trade.fastpay.refund.query",
           {{"out_trade_no", "order_1"}, {"out_request_no", "r9"}});
  CAF_CHECK(!x.contains("refund_status"));
  CAF_REQUIRE(eventually([&] {
    return merchant.count() == 2;
  }));
  refund("90.00", "r2");
  CAF_REQUIRE(eventually([&] {
    return merchant.count() == 3;
  }));
  auto part = merchant.at(1);
  auto rest = merchant.at(2);
  CAF_CHECK_EQUAL(part["trade_status"], "TRADE_SUCCESS");
  CAF_CHECK_EQUAL(part["refund_fee"], "9.00");
  CAF_CHECK_EQUAL(part["out_biz_no"], "r1");
  CAF_CHECK_EQUAL(rest["trade_status"], "TRADE_CLOSED");
  CAF_CHECK_EQUAL(rest["refund_fee"], "99.00");
  CAF_CHECK_EQUAL(rest["gmt_refund"], "2026-11-23 16:00:00.000");
  CAF_CHECK(is_signed(join(rest, {"sign", "sign_type"}), rest["sign"]));
}

CAF_TEST(notifications get lost and come after all) {
  aut->set_delivery({.lose = true});
  open(request("alipay.trade.page.pay", order()));
  pay();
  CAF_REQUIRE(eventually([&] {
    return aut->deliveries("order_1").size() == 1;
  }));
  CAF_CHECK(aut->deliveries("order_1").at(0).lost);
  std::this_thread::sleep_for(30ms);
  CAF_CHECK_EQUAL(merchant.count(), 0u);
  CAF_CHECK_EQUAL(text(call("alipay.trade.query",
                            {{"out_trade_no", "order_1"}})["trade_status"]),
                  "TRADE_SUCCESS");
  CAF_CHECK(aut->deliver_now("order_1"));
  CAF_REQUIRE(eventually([&] {
    return merchant.count() == 1;
  }));
  auto told = merchant.at(0);
  CAF_CHECK(is_signed(join(told, {"sign", "sign_type"}), told["sign"]));
  CAF_CHECK_EQUAL(told["trade_status"], "TRADE_SUCCESS");
  CAF_CHECK(!aut->deliver_now("nope"));
}

CAF_TEST(a notification comes late and many times) {
  aut->set_delivery("order_1", {.delay = 60ms, .copies = 100});
  open(request("alipay.trade.page.pay", order()));
  const auto start = std::chrono::steady_clock::now();
  CAF_CHECK(aut->pay("order_1"));
  CAF_REQUIRE(eventually([&] {
    return merchant.count() > 0;
  }));
  CAF_CHECK(std::chrono::steady_clock::now() - start >= 60ms);
  CAF_REQUIRE(eventually([&] {
    return aut->deliveries("order_1").size() == 100;
  }));
  CAF_CHECK_EQUAL(merchant.count(), 100u);
  CAF_CHECK_EQUAL(merchant.id(0), merchant.id(99));
}

CAF_TEST(a refund is told before its payment) {
  aut->set_delivery({.refund_first = true});
  open(request("alipay.trade.page.pay", order()));
  pay();
  std::this_thread::sleep_for(30ms);
  CAF_CHECK_EQUAL(merchant.count(), 0u);
  CAF_CHECK(aut->refund_by_hand("order_1", 900));
  CAF_REQUIRE(eventually([&] {
    return merchant.count() == 2;
  }));
  CAF_CHECK_EQUAL(field_count(0, "refund_fee"), 1u);
  CAF_CHECK_EQUAL(field_count(1, "refund_fee"), 0u);
  CAF_CHECK_EQUAL(field(1, "trade_status"), "TRADE_SUCCESS");
}

CAF_TEST(notifications that contradict are well signed) {
  for (const auto* no : {"o1", "o2", "o3"})
    open(request("alipay.trade.page.pay", order(no)));
  aut->set_delivery("o1", {.wrong_amount = true});
  aut->set_delivery("o2", {.wrong_app = true});
  aut->set_delivery("o3", {.probe = true});
  auto seen = std::size_t{0};
  for (const auto* no : {"o1", "o2", "o3"}) {
    pay(no);
    ++seen;
    CAF_REQUIRE(eventually([&] {
      return merchant.count() >= seen;
    }));
  }
  CAF_REQUIRE(eventually([&] {
    return merchant.count() == 4;
  }));
  const auto good = [&](std::size_t i) {
    auto x = merchant.at(i);
    return is_signed(join(x, {"sign", "sign_type"}), x["sign"]);
  };
  CAF_CHECK(good(0));
  CAF_CHECK_EQUAL(field(0, "total_amount"), "99.01");
  CAF_CHECK(good(1));
  CAF_CHECK_NOT_EQUAL(field(1, "app_id"), options.app_id);
  CAF_CHECK(!good(2));
  CAF_CHECK(good(3));
}

CAF_TEST(refunds in the console of Alipay are told like others) {
  open(request("alipay.trade.page.pay", order()));
  CAF_CHECK(!aut->refund_by_hand("order_1"));
  pay();
  CAF_CHECK(aut->refund_by_hand("order_1", 900));
  CAF_CHECK(!aut->refund_by_hand("order_1", 9001));
  CAF_CHECK(aut->refund_by_hand("order_1"));
  CAF_CHECK(!aut->refund_by_hand("order_1"));
  CAF_REQUIRE(eventually([&] {
    return merchant.count() == 3;
  }));
  CAF_CHECK_EQUAL(field(2, "refund_fee"), "99.00");
  CAF_CHECK_EQUAL(field(2, "trade_status"), "TRADE_CLOSED");
  CAF_CHECK_EQUAL(trade().at("refunds").as_array().size(), 2u);
}

CAF_TEST(a refund may be unclear with or without the money) {
  open(request("alipay.trade.page.pay", order()));
  pay();
  const auto refund = [&](std::string_view number) {
    return text(call("alipay.trade.refund", {{"out_trade_no", "order_1"},
                                             {"refund_amount", "9.00"},
                                             {"out_request_no", number}})
                  .at("fund_change"));
  };
  const auto is_done = [&](std::string_view number) {
    return call("alipay.trade.fastpay.refund.query",
                {{"out_trade_no", "order_1"}, {"out_request_no", number}})
      .contains("refund_status");
  };
  aut->unclear_refunds(1);
  CAF_CHECK_EQUAL(refund("r1"), "N");
  CAF_CHECK(is_done("r1"));
  CAF_CHECK_EQUAL(refund("r2"), "Y");
  aut->unclear_refunds(1, false);
  CAF_CHECK_EQUAL(refund("r3"), "N");
  CAF_CHECK(!is_done("r3"));
  CAF_CHECK_EQUAL(refund("r3"), "Y");
  CAF_CHECK(is_done("r3"));
  CAF_CHECK_EQUAL(
    fetch(aut->port(), "POST", "/sandbox/unclear", "count=1&money=stayed")
      .status,
    303);
  CAF_CHECK_EQUAL(refund("r4"), "N");
  CAF_CHECK(!is_done("r4"));
  CAF_CHECK_EQUAL(
    fetch(aut->port(), "POST", "/sandbox/unclear", "count=-1").status, 400);
}

CAF_TEST(a code that nobody scans is good for two hours) {
  auto biz = order();
  biz.erase("time_expire");
  const auto link = text(call("alipay.trade.precreate", biz).at("qr_code"));
  const auto path = link.substr(link.find("/qr/"));
  time.advance(2h + 1ms);
  CAF_CHECK_EQUAL(fetch(aut->port(), "GET", path).status, 400);
  CAF_CHECK_EQUAL(
    text(call("alipay.trade.query", {{"out_trade_no", "order_1"}})["sub_code"]),
    "ACQ.TRADE_NOT_EXIST");
  CAF_CHECK_EQUAL(
    text(call("alipay.trade.close", {{"out_trade_no", "order_1"}})["sub_code"]),
    "ACQ.TRADE_NOT_EXIST");
  const auto fresh = text(call("alipay.trade.precreate", biz).at("qr_code"));
  CAF_CHECK_NOT_EQUAL(fresh, link);
  CAF_CHECK(
    fetch(aut->port(), "GET", fresh.substr(fresh.find("/qr/"))).has("Pay now"));
}

CAF_TEST(closing the page for phones is told) {
  auto phone = order();
  phone["product_code"] = "QUICK_WAP_WAY";
  open(request("alipay.trade.wap.pay", phone));
  open(request("alipay.trade.page.pay", order("order_2")));
  for (const auto* no : {"order_1", "order_2"})
    CAF_CHECK_EQUAL(
      text(call("alipay.trade.close", {{"out_trade_no", no}})["code"]),
      "10000");
  CAF_REQUIRE(eventually([&] {
    return merchant.count() == 1;
  }));
  CAF_CHECK_EQUAL(field(0, "out_trade_no"), "order_1");
  CAF_CHECK_EQUAL(field(0, "trade_status"), "TRADE_CLOSED");
  CAF_CHECK_EQUAL(field_count(0, "refund_fee"), 0u);
}

CAF_TEST(the console shows trades and does what its buttons say) {
  auto biz = order();
  biz["subject"] = "<script>alert(1)</script>";
  open(request("alipay.trade.page.pay", biz));
  const auto home = [&] {
    return fetch(aut->port(), "GET", "/");
  };
  const auto press = [&](const std::string& form) {
    return fetch(aut->port(), "POST", "/console", "order=order_1&" + form)
      .status;
  };
  CAF_CHECK(home().has("&lt;script&gt;"));
  CAF_CHECK(!home().has("<script>"));
  CAF_CHECK(fetch(aut->port(), "GET", "/cashier/order_1").has("Pay now"));
  CAF_CHECK_EQUAL(press("do=pay&lose=on"), 303);
  CAF_CHECK_EQUAL(press("do=close"), 409);
  CAF_CHECK_EQUAL(press("do=notify"), 303);
  CAF_REQUIRE(eventually([&] {
    return merchant.count() == 1;
  }));
  CAF_CHECK_EQUAL(press("do=duplicate&copies=7"), 303);
  CAF_REQUIRE(eventually([&] {
    return merchant.count() == 8;
  }));
  CAF_CHECK_EQUAL(press("do=refund&amount=1.50"), 303);
  CAF_REQUIRE(eventually([&] {
    return merchant.count() == 9;
  }));
  CAF_CHECK(home().has("REFUND_SUCCESS"));
  CAF_CHECK_EQUAL(press("do=delivery&lose=on"), 303);
  CAF_CHECK(home().has("丢失 lost"));
  open(request("alipay.trade.page.pay", order("order_2")));
  CAF_CHECK_EQUAL(
    fetch(aut->port(), "POST", "/console", "order=order_2&do=close").status,
    303);
  CAF_CHECK_EQUAL(text(trade().at("status")), "TRADE_CLOSED");
}

CAF_TEST(only this machine can reach it) {
  options.listen.host = "0.0.0.0";
  alipay_simulator open_to_all{options, time, out};
  CAF_CHECK(!open_to_all.start().has_value());
}

CAF_TEST(cancelling leaves the order as it is) {
  open(request("alipay.trade.page.pay", order()));
  const auto x = fetch(aut->port(), "POST", "/cashier/cancel", "trade=order_1");
  CAF_CHECK(x.has("已取消"));
  CAF_CHECK_EQUAL(text(trade().at("status")), "WAIT_BUYER_PAY");
  CAF_CHECK(fetch(aut->port(), "GET", "/").has("order_1"));
  CAF_CHECK(pay("nope").has("ACQ.TRADE_NOT_EXIST"));
  CAF_CHECK_EQUAL(fetch(aut->port(), "POST", "/sandbox/trades/nope/pay").status,
                  404);
}

CAF_TEST(a return address that is no web address becomes no link) {
  auto all = request("alipay.trade.page.pay", order());
  all["return_url"] = "javascript:alert(1)";
  all.erase("sign");
  all["sign"] = sign(join(all, {}));
  CAF_CHECK_EQUAL(open(all).status, 200);
  CAF_CHECK(!pay().has("javascript"));
}

CAF_TEST(the oldest trades are forgotten) {
  options.trades_max = 2;
  restart();
  for (const auto* no : {"o1", "o2", "o3"})
    open(request("alipay.trade.page.pay", order(no)));
  CAF_CHECK_EQUAL(text(trade(0).at("outTradeNo")), "o3");
  CAF_CHECK(pay("o1").has("ACQ.TRADE_NOT_EXIST"));
  CAF_CHECK(pay("o2").has("支付成功"));
}

CAF_TEST(bad keys are an error with a sentence) {
  options.app_public_key = "nonsense";
  alipay_simulator broken{options, time, out};
  const auto started = broken.start();
  CAF_REQUIRE(!started.has_value());
  CAF_CHECK_EQUAL(started.error().find("sandbox: app_public_key: "), 0u);
}

CAF_TEST_FIXTURE_SCOPE_END()

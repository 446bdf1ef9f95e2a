#define CAF_SUITE gateway.alipay_calls

#include "tests/unit/gateway/alipay_world.hpp"

#include <algorithm>
#include <random>
#include <tuple>

using namespace alipay_world;
using lifecycle::payment_method;

namespace {

const auto noon = *parse_rfc3339("2026-11-23T04:00:00Z");

constexpr auto query_method = "alipay.trade.query";

std::string node_name(std::string api_method) {
  std::replace(api_method.begin(), api_method.end(), '.', '_');
  return api_method + "_response";
}

pay_order qr_order() {
  auto result = an_order();
  result.method = payment_method::qr;
  return result;
}

refund_order a_refund() {
  refund_order result;
  result.order_id = "S20261123_1";
  result.transaction_id = "T1";
  result.refund_id = "R1";
  result.amount = 1'050;
  result.total = 9'900;
  result.reason = "太慢 \"slow\"\n& more";
  result.notify_url = "https://pay.example.com/api/payment/alipay/notify";
  return result;
}

struct calls : fixture {
  /// A request as the gateway would check it, with its contents.
  [[nodiscard]] std::pair<params, json::object>
  seen(const merchant::request& made) const {
    if (!made)
      CAF_FAIL(made.error());
    CAF_CHECK_EQUAL(made->method, "POST");
    auto type = client::find_header(made->headers, "content-type");
    CAF_CHECK_EQUAL(type.value_or(""),
                    "application/x-www-form-urlencoded;charset=utf-8");
    auto fields = query_of(made->url);
    CAF_CHECK(crypto::find_field(fields, "biz_content") == nullptr);
    CAF_CHECK(crypto::find_field(fields, "sign") != nullptr);
    auto body = crypto::decode_form(made->body);
    CAF_REQUIRE(body.has_value());
    CAF_REQUIRE(body->size() == 1 && body->front().first == "biz_content");
    auto content = parse_object(body->front().second);
    CAF_REQUIRE(content.has_value());
    fields.push_back(body->front());
    return {checked(fields, app_pair.public_pem), *content};
  }

  /// A signed answer.
  [[nodiscard]] client::http_response
  answer(std::string_view api_method, const std::string& node,
         crypto::digest digest = crypto::digest::sha256) const {
    return {200,
            {{"Content-Type", "text/html;charset=utf-8"}},
            "{\"" + node_name(std::string{api_method}) + "\":" + node
              + ",\"sign\":\"" + sign(node, digest) + "\"}"};
  }

  [[nodiscard]] client::http_response
  answer(std::string_view api_method, const json::object& node) const {
    return answer(api_method, json::serialize(node));
  }

  [[nodiscard]] std::string refusal(const std::string& body) const {
    auto got = codec().read_response(query_method, body);
    if (got)
      return "use";
    CAF_CHECK(!got.error().sentence.empty());
    CAF_CHECK(got.error().decision != response_decision::use);
    return std::string{to_string(got.error().signature)} + ' '
           + std::string{to_string(got.error().decision)} + ' '
           + std::string{to_string(got.error().reason)};
  }

  [[nodiscard]] auto query(const client::http_response& from) const {
    return codec().read_query("S1", from, noon);
  }
};

json::object done(json::object more) {
  json::object result{{"code", "10000"}, {"msg", "Success"}};
  for (auto& [name, value] : more)
    result[name] = value;
  return result;
}

json::object error(std::string_view code, std::string_view sub_code) {
  return {{"code", code},
          {"msg", "Business Failed"},
          {"sub_code", sub_code},
          {"sub_msg", "交易不存在"}};
}

json::object paid_trade() {
  return done({{"out_trade_no", "S1"},
               {"trade_no", "T1"},
               {"total_amount", "99.00"},
               {"buyer_pay_amount", "1.00"},
               {"trade_status", "TRADE_SUCCESS"},
               {"send_pay_date", "2026-11-23 16:00:00"}});
}

template <class T>
failure kind_of(const merchant::answer<T>& got) {
  if (got)
    CAF_FAIL("expected a failure");
  CAF_CHECK(!got.error().sentence.empty());
  return got.error().kind;
}

} // namespace

// -- vectors
// -------------------------------------------------------------------

CAF_TEST(every recorded answer is judged as expected) {
  auto all = vectors_of("response");
  CAF_CHECK(all.size() >= 7);
  for (const auto& vector : all) {
    CAF_MESSAGE(text(vector, "id"));
    auto codec = alipay::make(settings_of(vector));
    if (!codec)
      CAF_FAIL(codec.error());
    const auto& expect = vector.at("expect").as_object();
    auto body = body_of(vector);
    auto api_method = text(vector.at("request").as_object(), "api_method");
    auto got = codec->read_response(api_method, body);
    if (got) {
      CAF_CHECK_EQUAL("valid", text(expect, "signature"));
      CAF_CHECK_EQUAL("use", text(expect, "decision"));
      for (auto name : {"code", "sub_code"})
        if (expect.contains(name))
          CAF_CHECK_EQUAL(text(*got, name), text(expect, name));
      continue;
    }
    CAF_CHECK_EQUAL(to_string(got.error().signature),
                    text(expect, "signature"));
    CAF_CHECK_EQUAL(to_string(got.error().decision), text(expect, "decision"));
    // And no call believes it.
    auto from = client::http_response{200, {}, body};
    auto kind = kind_of(codec->read_query("SHOP20270115000001", from, noon));
    CAF_CHECK(kind
              == (text(expect, "decision") == "reject" ? failure::forged
                                                       : failure::unclear));
  }
}

CAF_TEST_FIXTURE_SCOPE(alipay_call_tests, calls)

// -- links
// ---------------------------------------------------------------------

CAF_TEST(a link is deterministic and says everything once) {
  auto order = an_order();
  order.method = payment_method::wap;
  auto link = codec().link(order);
  CAF_REQUIRE(link.has_value());
  CAF_CHECK(link == codec().link(order));
  CAF_CHECK(link->qr_code.empty() && link->prepay_id.empty());
  const auto& url = link->pay_url;
  CAF_CHECK(url.starts_with("https://openapi.alipay.com/gateway.do?app_id="));
  auto all = checked(query_of(url), app_pair.public_pem);
  CAF_CHECK_EQUAL(all["method"], "alipay.trade.wap.pay");
  CAF_CHECK_EQUAL(all["timestamp"], "2026-11-23 16:00:00");
  CAF_CHECK_EQUAL(all["charset"], "utf-8");
  CAF_CHECK_EQUAL(all["sign_type"], "RSA2");
  CAF_CHECK_EQUAL(all["version"], "1.0");
  CAF_CHECK_EQUAL(all["return_url"], order.return_url);
  CAF_CHECK_EQUAL(all["notify_url"], order.notify_url);
  auto content = *parse_object(all["biz_content"]);
  CAF_CHECK_EQUAL(text(content, "out_trade_no"), "S20261123_1");
  CAF_CHECK_EQUAL(text(content, "total_amount"), "99.00");
  CAF_CHECK_EQUAL(text(content, "subject"), order.subject);
  CAF_CHECK_EQUAL(text(content, "product_code"), "QUICK_WAP_WAY");
  CAF_CHECK_EQUAL(text(content, "time_expire"), "2026-11-23 16:30:00");
  order.method = payment_method::page;
  auto page
    = checked(query_of(codec().link(order)->pay_url), app_pair.public_pem);
  CAF_CHECK_EQUAL(page["method"], "alipay.trade.page.pay");
}

CAF_TEST(without a return address there is no such parameter) {
  auto order = an_order();
  order.return_url.clear();
  auto all
    = checked(query_of(codec().link(order)->pay_url), app_pair.public_pem);
  CAF_CHECK_EQUAL(all.count("return_url"), 0u);
}

CAF_TEST(a gateway address may bring a query of its own) {
  settings.gateway_url = "http://127.0.0.1:1/gateway.do?shop=1";
  auto link = codec().link(an_order());
  CAF_REQUIRE(link.has_value());
  CAF_CHECK(
    link->pay_url.starts_with("http://127.0.0.1:1/gateway.do?shop=1&app_id="));
}

CAF_TEST(an order that Alipay would refuse is not expressed) {
  auto refused = [this](auto change) {
    auto order = an_order();
    change(order);
    auto link = codec().link(order);
    order.method = payment_method::qr;
    auto call = codec().create_request(order, {noon, ""});
    CAF_CHECK_EQUAL(link.has_value(), call.has_value());
    if (!link)
      CAF_CHECK(!link.error().empty());
    return !link;
  };
  CAF_CHECK(!refused([](auto&) {}));
  CAF_CHECK(refused([](auto& o) {
    o.order_id = "";
  }));
  CAF_CHECK(refused([](auto& o) {
    o.order_id = "a-b";
  }));
  CAF_CHECK(refused([](auto& o) {
    o.order_id = std::string(65, 'a');
  }));
  CAF_CHECK(!refused([](auto& o) {
    o.order_id = std::string(64, 'a');
  }));
  CAF_CHECK(refused([](auto& o) {
    o.amount = 0;
  }));
  CAF_CHECK(refused([](auto& o) {
    o.amount = -1;
  }));
  CAF_CHECK(refused([](auto& o) {
    o.amount = amount_max_minor + 1;
  }));
  CAF_CHECK(!refused([](auto& o) {
    o.amount = amount_max_minor;
  }));
  CAF_CHECK(refused([](auto& o) {
    o.currency = "USD";
  }));
  CAF_CHECK(refused([](auto& o) {
    o.subject = "";
  }));
  CAF_CHECK(refused([](auto& o) {
    o.subject = "a\nb";
  }));
  CAF_CHECK(refused([](auto& o) {
    o.subject = "\xff";
  }));
  CAF_CHECK(refused([](auto& o) {
    o.expires_at = o.created_at;
  }));
  settings.app_private_key = {};
  CAF_CHECK(refused([](auto&) {}));
  CAF_CHECK(!codec().query_request("S1", {noon, ""}));
}

CAF_TEST(a long subject is cut between characters) {
  auto order = an_order();
  order.subject.clear();
  for (auto i = 0; i < 300; ++i)
    order.subject += "版";
  auto all
    = checked(query_of(codec().link(order)->pay_url), app_pair.public_pem);
  CAF_CHECK_EQUAL(text(*parse_object(all["biz_content"]), "subject"),
                  order.subject.substr(0, 256 * 3));
}

CAF_TEST(each method has its own way) {
  const auto made = codec();
  for (auto method : {payment_method::page, payment_method::wap}) {
    CAF_CHECK(made.takes(method) && !made.has_to_call(method));
    auto order = an_order();
    order.method = method;
    CAF_CHECK(!made.create_request(order, {noon, ""}));
  }
  CAF_CHECK(made.takes(payment_method::qr));
  CAF_CHECK(made.has_to_call(payment_method::qr));
  CAF_CHECK(!made.link(qr_order()));
  for (auto method :
       {payment_method::native, payment_method::h5, payment_method::jsapi}) {
    CAF_CHECK(!made.takes(method));
    auto order = an_order();
    order.method = method;
    CAF_CHECK(!made.link(order));
    CAF_CHECK(!made.create_request(order, {noon, ""}));
  }
}

// -- requests
// ------------------------------------------------------------------

CAF_TEST(requests are signed and say what is asked) {
  auto [all, content] = seen(codec().create_request(qr_order(), {noon, ""}));
  auto common = params{{"app_id", settings.app_id},
                       {"format", "JSON"},
                       {"charset", "utf-8"},
                       {"sign_type", "RSA2"},
                       {"timestamp", "2026-11-23 12:00:00"},
                       {"version", "1.0"}};
  auto without_common = [&common](params x) {
    x.erase("sign");
    x.erase("biz_content");
    for (const auto& [name, value] : common)
      CAF_CHECK(x.extract(name).mapped() == value);
    return x;
  };
  CAF_CHECK((without_common(all)
             == params{{"method", "alipay.trade.precreate"},
                       {"notify_url", an_order().notify_url}}));
  CAF_CHECK((content
             == json::object{{"out_trade_no", "S20261123_1"},
                             {"total_amount", "99.00"},
                             {"subject", an_order().subject},
                             {"time_expire", "2026-11-23 16:30:00"}}));

  std::tie(all, content) = seen(codec().query_request("S1", {noon, ""}));
  CAF_CHECK((without_common(all) == params{{"method", "alipay.trade.query"}}));
  CAF_CHECK((content == json::object{{"out_trade_no", "S1"}}));

  std::tie(all, content) = seen(codec().close_request("S1", {noon, ""}));
  CAF_CHECK((without_common(all) == params{{"method", "alipay.trade.close"}}));
  CAF_CHECK((content == json::object{{"out_trade_no", "S1"}}));

  std::tie(all, content) = seen(codec().refund_request(a_refund(), {noon, ""}));
  CAF_CHECK((without_common(all) == params{{"method", "alipay.trade.refund"}}));
  CAF_CHECK((content
             == json::object{{"out_trade_no", "S20261123_1"},
                             {"refund_amount", "10.50"},
                             {"out_request_no", "R1"},
                             {"refund_reason", "太慢 \"slow\" & more"}}));

  std::tie(all, content)
    = seen(codec().refund_query_request(a_refund(), {noon, ""}));
  CAF_CHECK((without_common(all)
             == params{{"method", "alipay.trade.fastpay.refund.query"}}));
  CAF_CHECK((content
             == json::object{{"out_trade_no", "S20261123_1"},
                             {"out_request_no", "R1"}}));
}

CAF_TEST(a request moves with the clock alone) {
  auto one = codec().query_request("S1", {noon, "x"});
  auto same = codec().query_request("S1", {noon, "y"});
  auto later = codec().query_request("S1", {noon + millis{1'000}, "x"});
  CAF_CHECK_EQUAL(one->url, same->url);
  CAF_CHECK_EQUAL(one->body, later->body);
  CAF_CHECK(one->url != later->url);
}

CAF_TEST(calls go to the configured gateway and carry certificate numbers) {
  for (const auto& vector : vectors_of("computation")) {
    const auto& given = vector.at("config").as_object();
    const auto& expect = vector.at("expect").as_object();
    settings.alipay_cert = text(given, "alipay_cert_pem");
    settings.app_cert = text(given, "app_cert_pem");
    settings.root_cert = text(given, "alipay_root_cert_pem");
    settings.gateway_url = "http://127.0.0.1:1/gateway.do?shop=1";
    auto made = codec().query_request("S1", {noon, ""});
    CAF_CHECK(
      made->url.starts_with("http://127.0.0.1:1/gateway.do?shop=1&app_id="));
    settings.gateway_url = "http://127.0.0.1:1/gateway.do";
    auto [all, content] = seen(codec().query_request("S1", {noon, ""}));
    CAF_CHECK_EQUAL(all["app_cert_sn"], text(expect, "app_cert_sn"));
    CAF_CHECK_EQUAL(all["alipay_root_cert_sn"],
                    text(expect, "alipay_root_cert_sn"));
  }
}

CAF_TEST(what cannot be asked is not asked) {
  for (auto id : {"", "a-b", "a\"b", "a b"}) {
    CAF_CHECK(!codec().query_request(id, {noon, ""}));
    CAF_CHECK(!codec().close_request(id, {noon, ""}));
  }
  auto refused = [this](auto change) {
    auto order = a_refund();
    change(order);
    return !codec().refund_request(order, {noon, ""});
  };
  CAF_CHECK(!refused([](auto&) {}));
  CAF_CHECK(!refused([](auto& o) {
    o.amount = o.total;
  }));
  CAF_CHECK(refused([](auto& o) {
    o.amount = o.total + 1;
  }));
  CAF_CHECK(refused([](auto& o) {
    o.amount = 0;
  }));
  CAF_CHECK(refused([](auto& o) {
    o.refund_id = "";
  }));
  CAF_CHECK(refused([](auto& o) {
    o.order_id = "x/y";
  }));
  CAF_CHECK(refused([](auto& o) {
    o.currency = "USD";
  }));
  // A reason is no ground: it is made fit, or left out.
  CAF_CHECK(!refused([](auto& o) {
    o.reason = "\xff";
  }));
  auto order = a_refund();
  order.reason.clear();
  auto [all, content] = seen(codec().refund_request(order, {noon, ""}));
  CAF_CHECK(!content.contains("refund_reason"));
  order.refund_id = "";
  CAF_CHECK(!codec().refund_query_request(order, {noon, ""}));
}

// -- whose answer it is
// --------------------------------------------------------

CAF_TEST(an answer is verified on the bytes received) {
  // Blanks, escapes and the order of members stay as they are.
  const std::string node
    = R"({ "sub":{"a":[1,{"b":"}"}]},"code" :"10000", "text":"\"}{\\" })";
  auto signature = sign(node);
  auto body = "\r\n{ \"sign\" : \"" + signature
              + "\" ,\t\"alipay_trade_query_response\" : " + node
              + " , \"n\":-1.5e3 , \"t\":true,\"l\":[ [],{} ] }\n";
  CAF_CHECK_EQUAL(refusal(body), "use");
  auto got = codec().read_response(query_method, body);
  CAF_CHECK_EQUAL(text(*got, "code"), "10000");
  CAF_CHECK_EQUAL(text(*got, "text"), "\"}{\\");
  // A slash of base64 may be escaped.
  std::string escaped;
  for (auto c : signature)
    escaped += c == '/' ? std::string{"\\/"} : std::string{c};
  CAF_CHECK_EQUAL(refusal("{\"alipay_trade_query_response\":" + node
                          + ",\"sign\":\"" + escaped + "\"}"),
                  "use");
  // The same value, written anew, is not what was signed.
  CAF_CHECK_EQUAL(refusal("{\"alipay_trade_query_response\":"
                          + json::serialize(json::parse(node)) + ",\"sign\":\""
                          + signature + "\"}"),
                  "invalid reject sign_mismatch");
}

CAF_TEST(what is not proven is refused with the reason) {
  const auto good = answer(query_method, paid_trade()).body;
  const auto node = json::serialize(paid_trade());
  const auto name = std::string{"alipay_trade_query_response"};
  const auto as_sign = [](const std::string& x) {
    return ",\"sign\":" + x + "}";
  };
  CAF_CHECK_EQUAL(refusal(good), "use");
  CAF_CHECK_EQUAL(refusal(""), "not_evaluated reject malformed_body");
  CAF_CHECK_EQUAL(refusal("<html>"), "not_evaluated reject malformed_body");
  CAF_CHECK_EQUAL(refusal("[]"), "not_evaluated reject malformed_body");
  CAF_CHECK_EQUAL(refusal("{}"), "not_evaluated reject malformed_body");
  CAF_CHECK_EQUAL(refusal(good + "x"), "not_evaluated reject malformed_body");
  CAF_CHECK_EQUAL(refusal(good.substr(0, good.size() - 1)),
                  "not_evaluated reject malformed_body");
  const auto start = "{\"" + name + "\":" + node;
  CAF_CHECK_EQUAL(refusal(start + "}"), "missing reject sign_missing");
  CAF_CHECK_EQUAL(refusal(start + as_sign("\"\"")),
                  "missing reject sign_missing");
  CAF_CHECK_EQUAL(refusal(start + as_sign("\"*\"")),
                  "malformed reject sign_malformed");
  CAF_CHECK_EQUAL(refusal(start + as_sign("null")),
                  "malformed reject sign_malformed");
  CAF_CHECK_EQUAL(refusal(start + as_sign("[\"" + sign(node) + "\"]")),
                  "malformed reject sign_malformed");
  CAF_CHECK_EQUAL(refusal(start + as_sign("\"AAAA\"")),
                  "invalid reject sign_mismatch");
  // The algorithm is configured, it is not chosen by who answers.
  CAF_CHECK_EQUAL(
    refusal(answer(query_method, node, crypto::digest::sha1).body),
    "invalid reject sign_mismatch");
  // The answer to another call.
  CAF_CHECK_EQUAL(refusal(answer("alipay.trade.close", node).body),
                  "not_evaluated reject malformed_body");
  // A name is only itself: no other writing of it is found.
  CAF_CHECK_EQUAL(refusal("{\"\\u0061" + name.substr(1) + "\":" + node
                          + as_sign('"' + sign(node) + '"')),
                  "not_evaluated reject malformed_body");
  // Signed, and of no use to us: encrypted.
  CAF_CHECK_EQUAL(refusal(answer(query_method, "\"AAAA\"").body),
                  "valid reject malformed_message");
}

CAF_TEST(what is there twice is refused whichever is signed) {
  const auto node = json::serialize(paid_trade());
  const std::string forged = R"({"code":"10000","total_amount":"0.01"})";
  const auto signature = ",\"sign\":\"" + sign(node) + "\"";
  const std::string name = "\"alipay_trade_query_response\":";
  CAF_CHECK_EQUAL(
    refusal("{" + name + forged + "," + name + node + signature + "}"),
    "invalid reject duplicate_member");
  CAF_CHECK_EQUAL(
    refusal("{" + name + node + "," + name + forged + signature + "}"),
    "valid reject duplicate_member");
  CAF_CHECK_EQUAL(refusal("{" + name + node
                          + ",\"\\u0061lipay_trade_query_response\":" + forged
                          + signature + "}"),
                  "valid reject duplicate_member");
  CAF_CHECK_EQUAL(refusal("{" + name + node + signature + signature + "}"),
                  "valid reject duplicate_member");
  const std::string inside = R"({"code":"10000","code":"40004"})";
  CAF_CHECK_EQUAL(refusal(answer(query_method, inside).body),
                  "valid reject duplicate_member");
  CAF_CHECK_EQUAL(refusal("{" + name + node + ",\"error_response\":" + forged
                          + signature + "}"),
                  "not_evaluated reject malformed_body");
}

CAF_TEST(an error without signature proves nothing) {
  const auto node = json::serialize(error("40004", "ACQ.TRADE_NOT_EXIST"));
  const auto body = "{\"error_response\":" + node + "}";
  CAF_CHECK_EQUAL(refusal(body),
                  "missing treat_as_unknown_failure sign_missing");
  CAF_CHECK(codec().read_response(query_method, body).error().code
            == "ACQ.TRADE_NOT_EXIST");
  auto got = query({200, {}, body});
  CAF_CHECK(kind_of(got) == failure::unclear);
  CAF_CHECK_EQUAL(got.error().code, "ACQ.TRADE_NOT_EXIST");
  CAF_CHECK(kind_of(codec().read_close("S1", {200, {}, body}, noon))
            == failure::unclear);
  // In the place of an answer it is a forgery.
  got = query({200, {}, "{\"alipay_trade_query_response\":" + node + "}"});
  CAF_CHECK(kind_of(got) == failure::forged);
  CAF_CHECK_EQUAL(got.error().code, "");
  // Signed it counts, and wrongly signed it does not.
  got = query(
    {200,
     {},
     "{\"error_response\":" + node + ",\"sign\":\"" + sign(node) + "\"}"});
  CAF_CHECK(got && got->is == trade_state::absent);
  got = query(
    {200,
     {},
     "{\"error_response\":" + node + ",\"sign\":\"" + sign("x") + "\"}"});
  CAF_CHECK(kind_of(got) == failure::forged);
}

CAF_TEST(garbage is told from trouble by the status) {
  CAF_CHECK(kind_of(query({200, {}, "<html>"})) == failure::forged);
  CAF_CHECK(kind_of(query({200, {}, ""})) == failure::forged);
  CAF_CHECK(kind_of(query({502, {}, "<html>"})) == failure::unclear);
  CAF_CHECK(kind_of(query({403, {}, ""})) == failure::unclear);
  CAF_CHECK(kind_of(query({429, {}, "slow down"})) == failure::limited);
  auto bad = answer(query_method, paid_trade());
  bad.body.replace(bad.body.find("99.00"), 5, "98.00");
  bad.status = 502;
  CAF_CHECK(kind_of(query(bad)) == failure::forged);
}

CAF_TEST(another certificate of Alipay is told from a forgery) {
  for (const auto& vector : vectors_of("computation")) {
    const auto& given = vector.at("config").as_object();
    const auto number = text(vector.at("expect").as_object(), "alipay_cert_sn");
    settings.alipay_cert = text(given, "alipay_cert_pem");
    auto body = [this](const std::string& sn) {
      const auto node = json::serialize(paid_trade());
      return "{\"alipay_trade_query_response\":" + node
             + ",\"alipay_cert_sn\":\"" + sn + "\",\"sign\":\"" + sign(node)
             + "\"}";
    };
    CAF_CHECK_EQUAL(refusal(body("0123456789abcdef0123456789abcdef")),
                    "invalid reject unknown_serial");
    auto got = query({200, {}, body("0123456789abcdef0123456789abcdef")});
    CAF_CHECK(kind_of(got) == failure::forged);
    CAF_CHECK(got.error().sentence.find("changed its certificate")
              != std::string::npos);
    // Ours is named, and its key did not sign.
    CAF_CHECK_EQUAL(refusal(body(number)), "invalid reject sign_mismatch");
    // With a key alone there is no number to compare with.
    settings.alipay_cert.clear();
    CAF_CHECK_EQUAL(refusal(body("x")), "use");
  }
}

CAF_TEST(no flipped bit of an answer gets through) {
  const auto made = codec();
  const auto body = answer(query_method, paid_trade()).body;
  const auto right = *made.read_response(query_method, body);
  std::mt19937_64 random{20261123};
  std::size_t accepted = 0;
  for (auto i = 0; i < 6'000; ++i) {
    auto changed = body;
    for (auto flips = 1 + random() % 3; flips > 0; --flips)
      changed[random() % body.size()] ^= static_cast<char>(1 << random() % 8);
    switch (random() % 8) {
      case 0:
        changed.resize(random() % body.size());
        break;
      case 1: {
        auto from = random() % body.size();
        changed.insert(random() % body.size(), body.substr(from, 40));
        break;
      }
      default:
        break;
    }
    auto got = made.read_response(query_method, changed);
    if (!got)
      continue;
    ++accepted;
    CAF_CHECK(*got == right);
  }
  CAF_CHECK(accepted < 60);
}

// -- what it means
// -------------------------------------------------------------

CAF_TEST(a code to scan comes from precreate) {
  constexpr auto method = "alipay.trade.precreate";
  auto read = [this](const json::object& node) {
    return codec().read_create(qr_order(), answer(method, node), noon);
  };
  auto good = done(
    {{"out_trade_no", "S20261123_1"}, {"qr_code", "https://qr.alipay.com/b"}});
  auto got = read(good);
  CAF_REQUIRE(got.has_value());
  CAF_CHECK_EQUAL(got->qr_code, "https://qr.alipay.com/b");
  CAF_CHECK(got->pay_url.empty());
  auto other = good;
  other["out_trade_no"] = "S20261123_2";
  CAF_CHECK(kind_of(read(other)) == failure::forged);
  other.erase("out_trade_no");
  CAF_CHECK(kind_of(read(other)) == failure::forged);
  auto without = good;
  without["qr_code"] = "";
  CAF_CHECK(kind_of(read(without)) == failure::unclear);
  without["qr_code"] = std::string(1'025, 'x');
  CAF_CHECK(kind_of(read(without)) == failure::unclear);
  auto refused = read(error("40004", "ACQ.TRADE_HAS_SUCCESS"));
  CAF_CHECK(kind_of(refused) == failure::refused);
  CAF_CHECK_EQUAL(refused.error().code, "ACQ.TRADE_HAS_SUCCESS");
}

CAF_TEST(a query tells the state of a trade) {
  auto got = query(answer(query_method, paid_trade()));
  CAF_REQUIRE(got.has_value());
  CAF_CHECK(got->is == trade_state::paid);
  CAF_CHECK_EQUAL(got->order_id, "S1");
  CAF_CHECK_EQUAL(got->transaction_id, "T1");
  CAF_CHECK(got->amount == 9'900);
  CAF_CHECK_EQUAL(got->currency, "CNY");
  CAF_CHECK(got->paid_at == parse_rfc3339("2026-11-23T08:00:00Z"));
  CAF_CHECK_EQUAL(got->word, "TRADE_SUCCESS");
  auto state = [this](std::string_view status, bool with_date) {
    auto node = paid_trade();
    node["trade_status"] = status;
    if (!with_date)
      node.erase("send_pay_date");
    auto result = query(answer(query_method, node));
    return result ? std::string{to_string(result->is)}
                  : std::string{to_string(result.error().kind)};
  };
  CAF_CHECK_EQUAL(state("TRADE_FINISHED", true), "paid");
  CAF_CHECK_EQUAL(state("TRADE_SUCCESS", false), "paid");
  CAF_CHECK_EQUAL(state("WAIT_BUYER_PAY", false), "unpaid");
  CAF_CHECK_EQUAL(state("TRADE_CLOSED", false), "closed");
  CAF_CHECK_EQUAL(state("TRADE_CLOSED", true), "refunded");
  CAF_CHECK_EQUAL(state("TRADE_PENDING", true), "unclear");
  CAF_CHECK_EQUAL(state("", true), "unclear");
  // A payment without number or amount proves too little.
  for (auto name : {"trade_no", "total_amount"}) {
    auto node = paid_trade();
    node.erase(name);
    CAF_CHECK(kind_of(query(answer(query_method, node))) == failure::unclear);
    node[name] = 99.5;
    CAF_CHECK(kind_of(query(answer(query_method, node))) == failure::unclear);
  }
  auto unpaid
    = done({{"out_trade_no", "S1"}, {"trade_status", "WAIT_BUYER_PAY"}});
  CAF_CHECK(query(answer(query_method, unpaid))->is == trade_state::unpaid);
  unpaid["code"] = "10003";
  unpaid.erase("trade_status");
  CAF_CHECK(query(answer(query_method, unpaid))->is == trade_state::unpaid);
}

CAF_TEST(an answer about another order is a forgery) {
  auto node = paid_trade();
  node["out_trade_no"] = "S2";
  CAF_CHECK(kind_of(query(answer(query_method, node))) == failure::forged);
  node.erase("out_trade_no");
  CAF_CHECK(kind_of(query(answer(query_method, node))) == failure::forged);
  node["out_trade_no"] = 1;
  CAF_CHECK(kind_of(query(answer(query_method, node))) == failure::forged);
  // An error may leave it out, and must not name another.
  auto absent = error("40004", "ACQ.TRADE_NOT_EXIST");
  CAF_CHECK(query(answer(query_method, absent))->is == trade_state::absent);
  absent["out_trade_no"] = "S1";
  CAF_CHECK(query(answer(query_method, absent))->is == trade_state::absent);
  absent["out_trade_no"] = "S2";
  CAF_CHECK(kind_of(query(answer(query_method, absent))) == failure::forged);
}

CAF_TEST(errors tell whether to come again) {
  auto kind = [this](std::string_view code, std::string_view sub_code) {
    auto got = query(answer(query_method, error(code, sub_code)));
    auto result = kind_of(got);
    CAF_CHECK_EQUAL(got.error().code, sub_code.empty() ? code : sub_code);
    return result;
  };
  CAF_CHECK(kind("20000", "isp.unknow-error") == failure::unclear);
  CAF_CHECK(kind("20001", "aop.invalid-auth-token") == failure::refused);
  CAF_CHECK(kind("40001", "isv.missing-method") == failure::refused);
  CAF_CHECK(kind("40002", "isv.invalid-signature") == failure::refused);
  CAF_CHECK(kind("40002", "isp.unknow-error") == failure::unclear);
  CAF_CHECK(kind("40004", "ACQ.SYSTEM_ERROR") == failure::unclear);
  CAF_CHECK(kind("40004", "aop.ACQ.SYSTEM_ERROR") == failure::unclear);
  CAF_CHECK(kind("40004", "ACQ.INVALID_PARAMETER") == failure::refused);
  CAF_CHECK(kind("40005", "isv.app-call-limited") == failure::limited);
  CAF_CHECK(kind("40006", "") == failure::refused);
  CAF_CHECK(kind("50000", "") == failure::unclear);
  // Only as a business error it says that there is no trade.
  CAF_CHECK(kind("20000", "ACQ.TRADE_NOT_EXIST") == failure::unclear);
  CAF_CHECK(kind_of(query(answer(query_method, json::object{})))
            == failure::unclear);
}

CAF_TEST(closing ends in one of three ways) {
  constexpr auto method = "alipay.trade.close";
  auto read = [this](const json::object& node) {
    auto got = codec().read_close("S1", answer(method, node), noon);
    return got ? std::string{to_string(*got)}
               : std::string{to_string(got.error().kind)};
  };
  CAF_CHECK_EQUAL(read(done({{"out_trade_no", "S1"}, {"trade_no", "T1"}})),
                  "closed");
  CAF_CHECK_EQUAL(read(done({{"out_trade_no", "S2"}})), "forged");
  CAF_CHECK_EQUAL(read(done({})), "forged");
  CAF_CHECK_EQUAL(read(error("40004", "ACQ.TRADE_HAS_CLOSE")), "closed");
  CAF_CHECK_EQUAL(read(error("40004", "ACQ.TRADE_NOT_EXIST")), "absent");
  CAF_CHECK_EQUAL(read(error("40004", "ACQ.TRADE_HAS_SUCCESS")), "paid");
  CAF_CHECK_EQUAL(read(error("40004", "ACQ.TRADE_HAS_FINISHED")), "paid");
  CAF_CHECK_EQUAL(read(error("40004", "ACQ.TRADE_STATUS_ERROR")), "paid");
  CAF_CHECK_EQUAL(read(error("40004", "ACQ.REASON_TRADE_STATUS_INVALID")),
                  "paid");
  CAF_CHECK_EQUAL(read(error("40004", "ACQ.SYSTEM_ERROR")), "unclear");
  CAF_CHECK_EQUAL(read(error("40002", "ACQ.TRADE_HAS_CLOSE")), "refused");
  CAF_CHECK_EQUAL(read(error("20000", "")), "unclear");
  CAF_CHECK(kind_of(codec().read_close("S1", {200, {}, "{}"}, noon))
            == failure::forged);
}

CAF_TEST(money is back only where Alipay says that it moved) {
  constexpr auto method = "alipay.trade.refund";
  auto read = [this](const json::object& node) {
    return codec().read_refund(a_refund(), answer(method, node), noon);
  };
  auto good = done({{"out_trade_no", "S20261123_1"},
                    {"trade_no", "T1"},
                    {"fund_change", "Y"},
                    {"refund_fee", "20.50"}});
  auto got = read(good);
  CAF_REQUIRE(got.has_value());
  CAF_CHECK(got->is == refund_state::done);
  CAF_CHECK_EQUAL(got->refund_id, "R1");
  CAF_CHECK(!got->amount);
  CAF_CHECK(got->total == 2'050);
  CAF_CHECK_EQUAL(got->word, "Y");
  auto changed = good;
  changed["fund_change"] = "N";
  CAF_CHECK(read(changed)->is == refund_state::processing);
  changed.erase("fund_change");
  CAF_CHECK(read(changed)->is == refund_state::processing);
  changed["fund_change"] = true;
  CAF_CHECK(read(changed)->is == refund_state::processing);
  changed = good;
  changed.erase("refund_fee");
  CAF_CHECK(read(changed)->is == refund_state::done);
  CAF_CHECK(!read(changed)->total);
  changed["refund_fee"] = "1e3";
  CAF_CHECK(kind_of(read(changed)) == failure::unclear);
  // Less in all than this one alone.
  changed["refund_fee"] = "10.49";
  CAF_CHECK(kind_of(read(changed)) == failure::unclear);
  changed = good;
  changed["out_trade_no"] = "S1";
  CAF_CHECK(kind_of(read(changed)) == failure::forged);
  changed.erase("out_trade_no");
  CAF_CHECK(kind_of(read(changed)) == failure::forged);
  auto refused = read(error("40004", "ACQ.SELLER_BALANCE_NOT_ENOUGH"));
  CAF_CHECK(kind_of(refused) == failure::refused);
  CAF_CHECK_EQUAL(refused.error().code, "ACQ.SELLER_BALANCE_NOT_ENOUGH");
  CAF_CHECK(kind_of(read(error("40004", "ACQ.SYSTEM_ERROR")))
            == failure::unclear);
}

CAF_TEST(a refund is asked about by its own number) {
  constexpr auto method = "alipay.trade.fastpay.refund.query";
  auto read = [this](const json::object& node) {
    return codec().read_refund_query(a_refund(), answer(method, node), noon);
  };
  auto good = done({{"out_trade_no", "S20261123_1"},
                    {"out_request_no", "R1"},
                    {"refund_amount", "10.50"},
                    {"total_amount", "99.00"},
                    {"refund_status", "REFUND_SUCCESS"}});
  auto got = read(good);
  CAF_REQUIRE(got.has_value());
  CAF_CHECK(got->is == refund_state::done);
  CAF_CHECK_EQUAL(got->refund_id, "R1");
  CAF_CHECK(got->amount == 1'050);
  CAF_CHECK(!got->total);
  CAF_CHECK_EQUAL(got->word, "REFUND_SUCCESS");
  auto changed = good;
  changed["refund_status"] = "REFUND_PROCESSING";
  CAF_CHECK(read(changed)->is == refund_state::processing);
  changed["refund_status"] = "";
  CAF_CHECK(kind_of(read(changed)) == failure::unclear);
  changed.erase("refund_status");
  CAF_CHECK(read(changed)->is == refund_state::absent);
  CAF_CHECK(read(done({}))->is == refund_state::absent);
  CAF_CHECK(kind_of(read(done({{"out_trade_no", "S1"}}))) == failure::forged);
  for (auto name : {"out_trade_no", "out_request_no"}) {
    changed = good;
    changed[name] = "other";
    CAF_CHECK(kind_of(read(changed)) == failure::forged);
    changed.erase(name);
    CAF_CHECK(kind_of(read(changed)) == failure::forged);
  }
  changed = good;
  changed["refund_amount"] = "10.505";
  CAF_CHECK(kind_of(read(changed)) == failure::unclear);
  changed.erase("refund_amount");
  CAF_CHECK(!read(changed)->amount);
  CAF_CHECK(kind_of(read(error("40004", "ACQ.TRADE_NOT_EXIST")))
            == failure::refused);
  CAF_CHECK(kind_of(read(error("20000", ""))) == failure::unclear);
}

CAF_TEST_FIXTURE_SCOPE_END()

#define CAF_SUITE gateway.alipay

#include "http/gateway/alipay.hpp"

#include "http/crypto/encoding.hpp"

#include <caf/test/unit_test.hpp>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

// Header-only use of Boost.JSON: the product's library does not link it.
#include <boost/json/src.hpp>

using namespace slipway;
using namespace slipway::gateway;

namespace {

namespace json = boost::json;

json::object read_vector(const std::filesystem::path& path) {
  std::ifstream file{path};
  std::ostringstream text;
  text << file.rdbuf();
  auto value = json::parse(text.str());
  return value.as_object();
}

std::string text_of(const json::object& object, std::string_view name) {
  const auto* value = object.if_contains(name);
  if (value == nullptr || !value->is_string())
    return {};
  return std::string{value->as_string()};
}

const std::filesystem::path& vector_dir() {
  static const std::filesystem::path result
    = std::filesystem::path{SLIPWAY_TEST_DATA} / "vectors";
  return result;
}

config::alipay_settings settings_of(const json::object& vector) {
  const auto& given = vector.at("config").as_object();
  config::alipay_settings settings;
  settings.app_id = text_of(given, "app_id");
  settings.seller_id = text_of(given, "seller_id");
  settings.sign_type = text_of(given, "sign_type");
  settings.alipay_public_key = text_of(given, "alipay_public_key_pem");
  settings.alipay_cert = text_of(given, "alipay_cert_pem");
  settings.app_cert = text_of(given, "app_cert_pem");
  settings.root_cert = text_of(given, "alipay_root_cert_pem");
  return settings;
}

/// The words of the vectors for what we call an action.
std::set<std::string_view> decisions_of(notification_action action) {
  switch (action) {
    case notification_action::payment_settled:
      // Whether it is a repeat is for the subscription to know.
      return {"credit", "ack_duplicate"};
    case notification_action::noop:
      return {"ack_noop"};
    case notification_action::closed:
      return {"close"};
    case notification_action::refund:
      return {"record_refund"};
    case notification_action::reject:
      return {"reject"};
  }
  return {};
}

/// Made once for the whole suite: making a key takes a while.
const crypto::rsa_key_pair& pair_number(std::size_t index) {
  static const std::array<crypto::rsa_key_pair, 2> pairs{
    *crypto::generate_rsa_key(), *crypto::generate_rsa_key()};
  return pairs[index];
}

/// A merchant and a gateway with keys of their own.
struct fixture {
  crypto::rsa_key_pair app_pair = pair_number(0);
  crypto::rsa_key_pair alipay_pair = pair_number(1);
  config::alipay_settings settings = [this] {
    config::alipay_settings result;
    result.app_id = "2021000000000009";
    result.seller_id = "2088000000000009";
    result.app_private_key = config::secret{app_pair.private_pem};
    result.alipay_public_key = alipay_pair.public_pem;
    return result;
  }();

  alipay codec() const {
    auto made = alipay::make(settings);
    if (!made)
      CAF_FAIL(made.error());
    return *made;
  }

  std::map<std::string, std::string> payment() const {
    return {
      {"app_id", settings.app_id},
      {"seller_id", settings.seller_id},
      {"out_trade_no", "S1"},
      {"trade_no", "T1"},
      {"trade_status", "TRADE_SUCCESS"},
      {"total_amount", "99.00"},
      {"notify_type", "trade_status_sync"},
      {"notify_id", "N1"},
      {"notify_time", "2026-11-23 16:00:05"},
      {"gmt_payment", "2026-11-23 16:00:00"},
      {"subject", "专业版 & more"},
    };
  }

  /// Signs as the gateway does and encodes as a form.
  std::string
  signed_body(const std::map<std::string, std::string>& params,
              crypto::digest digest = crypto::digest::sha256) const {
    std::string content;
    crypto::form_fields fields;
    for (const auto& [name, value] : params) {
      if (!content.empty())
        content += '&';
      content += name + '=' + value;
      fields.emplace_back(name, value);
    }
    auto key = *crypto::rsa_private_key::parse(alipay_pair.private_pem);
    fields.emplace_back("sign_type", "RSA2");
    fields.emplace_back("sign",
                        crypto::base64_encode(*key.sign(digest, content)));
    return crypto::encode_form(fields);
  }

  judgement judged(const std::map<std::string, std::string>& params,
                   expected_order order = {true, 9'900, "CNY"}) const {
    auto notification = codec().verify(signed_body(params));
    if (!notification)
      CAF_FAIL(notification.error().sentence);
    return codec().judge(*notification, order);
  }

  std::string
  reason_for(const std::string& name, const std::string& value) const {
    auto params = payment();
    params[name] = value;
    auto result = judged(params);
    if (result.action != notification_action::reject)
      return std::string{to_string(result.action)};
    CAF_REQUIRE(result.refused.has_value());
    CAF_CHECK(result.refused->signature == signature_verdict::valid);
    CAF_CHECK(!result.refused->sentence.empty());
    return std::string{to_string(result.refused->reason)};
  }
};

page_order an_order() {
  page_order order;
  order.order_id = "S20261123_1";
  order.amount_minor = 9'900;
  order.subject = "专业版 “30 天” & 50%+";
  order.notify_url = "https://pay.example.com/api/payment/alipay/notify";
  order.return_url = "https://pay.example.com/done?x=1";
  order.created_at = *parse_rfc3339("2026-11-23T08:00:00.900Z");
  order.expires_at = *parse_rfc3339("2026-11-23T08:30:00Z");
  return order;
}

/// Checks a link as the gateway would and returns its parameters.
crypto::form_fields
checked_link(const std::string& url, const std::string& public_pem) {
  auto fields = crypto::decode_form(url.substr(url.find('?') + 1));
  CAF_REQUIRE(fields.has_value());
  std::map<std::string, std::string> sorted(fields->begin(), fields->end());
  auto sign = sorted.extract("sign");
  CAF_REQUIRE(!sign.empty());
  std::string content;
  for (const auto& [name, value] : sorted) {
    CAF_CHECK(!value.empty());
    content += (content.empty() ? "" : "&") + name + '=' + value;
  }
  auto raw = crypto::base64_decode(sign.mapped());
  CAF_REQUIRE(raw.has_value());
  auto key = crypto::rsa_public_key::parse(public_pem);
  CAF_REQUIRE(key.has_value());
  CAF_CHECK(key->verify(crypto::digest::sha256, content, *raw));
  return *fields;
}

} // namespace

// -- vectors
// -------------------------------------------------------------------

CAF_TEST(every recorded notification is judged as expected) {
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator{vector_dir()}) {
    auto vector = read_vector(entry.path());
    if (text_of(vector, "gateway") != "alipay"
        || text_of(vector, "kind") != "notify")
      continue;
    ++count;
    auto id = text_of(vector, "id");
    CAF_MESSAGE(id);
    auto codec = alipay::make(settings_of(vector));
    if (!codec)
      CAF_FAIL(codec.error());
    auto body = crypto::base64_decode(text_of(vector, "body_base64"));
    CAF_REQUIRE(body.has_value());
    const auto& expect = vector.at("expect").as_object();
    auto notification = codec->verify(*body);
    if (!notification) {
      CAF_CHECK_EQUAL(to_string(notification.error().signature),
                      text_of(expect, "signature"));
      CAF_CHECK_EQUAL(text_of(expect, "decision"), "reject");
      CAF_CHECK_EQUAL(to_string(notification.error().reason),
                      text_of(expect, "reason"));
      continue;
    }
    CAF_CHECK_EQUAL(text_of(expect, "signature"), "valid");
    const auto& given = vector.at("order").as_object();
    expected_order order;
    order.known = text_of(given, "out_trade_no") == notification->order_id;
    order.amount_minor = *parse_amount(text_of(given, "total_amount"));
    auto result = codec->judge(*notification, order);
    auto decision = text_of(expect, "decision");
    CAF_MESSAGE(to_string(result.action) << " for " << decision);
    CAF_CHECK_EQUAL(decisions_of(result.action).count(decision), 1u);
    if (result.action == notification_action::reject) {
      CAF_REQUIRE(result.refused.has_value());
      CAF_CHECK_EQUAL(to_string(result.refused->reason),
                      text_of(expect, "reason"));
    }
  }
  CAF_CHECK(count >= 28);
}

CAF_TEST(the recorded link of the official SDK verifies by the same rules) {
  auto vector = read_vector(vector_dir() / "alipay-request-page-pay.json");
  const auto& request = vector.at("request").as_object();
  const auto& given = vector.at("config").as_object();
  auto recorded = checked_link(text_of(request, "url"),
                               text_of(given, "app_public_key_pem"));
  // Ours differs in key, time and order, not in its parameters: the SDK's
  // advertises itself and leaves out format, whose only value is JSON.
  fixture f;
  auto order = an_order();
  order.subject = "测试商品 “红富士”苹果 5kg & 包邮 50%+";
  order.order_id = "SHOP20270115000001";
  order.amount_minor = 8'888;
  order.notify_url = "https://shop.example.com/notify/alipay";
  order.return_url = "https://shop.example.com/return";
  order.created_at = *parse_beijing("2026-11-23 06:05:29");
  order.expires_at = *parse_beijing("2027-01-15 16:30:00");
  f.settings.app_id = text_of(given, "app_id");
  auto ours = checked_link(*f.codec().pay_url(pay_method::page, order),
                           f.app_pair.public_pem);
  std::map<std::string, std::string> a(recorded.begin(), recorded.end());
  std::map<std::string, std::string> b(ours.begin(), ours.end());
  a.erase("alipay_sdk");
  a.erase("sign");
  b.erase("format");
  b.erase("sign");
  CAF_CHECK(a == b);
}

CAF_TEST(certificate numbers are those of the official SDKs) {
  auto vector = read_vector(vector_dir() / "alipay-cert-sn.json");
  const auto& given = vector.at("config").as_object();
  const auto& expect = vector.at("expect").as_object();
  CAF_CHECK(alipay_cert_sn(text_of(given, "app_cert_pem"))
            == text_of(expect, "app_cert_sn"));
  CAF_CHECK(alipay_cert_sn(text_of(given, "alipay_cert_pem"))
            == text_of(expect, "alipay_cert_sn"));
  CAF_CHECK(alipay_root_cert_sn(text_of(given, "alipay_root_cert_pem"))
            == text_of(expect, "alipay_root_cert_sn"));
  CAF_CHECK(!alipay_cert_sn("nothing"));
  // In certificate mode both numbers go into the link.
  fixture f;
  f.settings.alipay_public_key.clear();
  f.settings.alipay_cert = text_of(given, "alipay_cert_pem");
  f.settings.app_cert = text_of(given, "app_cert_pem");
  f.settings.root_cert = text_of(given, "alipay_root_cert_pem");
  auto link = checked_link(*f.codec().pay_url(pay_method::page, an_order()),
                           f.app_pair.public_pem);
  CAF_REQUIRE(crypto::find_field(link, "app_cert_sn") != nullptr);
  CAF_CHECK_EQUAL(*crypto::find_field(link, "app_cert_sn"),
                  text_of(expect, "app_cert_sn"));
  CAF_REQUIRE(crypto::find_field(link, "alipay_root_cert_sn") != nullptr);
  CAF_CHECK_EQUAL(*crypto::find_field(link, "alipay_root_cert_sn"),
                  text_of(expect, "alipay_root_cert_sn"));
}

// -- links
// ---------------------------------------------------------------------

CAF_TEST_FIXTURE_SCOPE(alipay_tests, fixture)

CAF_TEST(a link is deterministic and says everything once) {
  auto url = codec().pay_url(pay_method::wap, an_order());
  CAF_REQUIRE(url.has_value());
  CAF_CHECK(url == codec().pay_url(pay_method::wap, an_order()));
  CAF_CHECK(url->starts_with("https://openapi.alipay.com/gateway.do?"));
  auto link = checked_link(*url, app_pair.public_pem);
  std::map<std::string, std::string> params(link.begin(), link.end());
  CAF_CHECK_EQUAL(params["method"], "alipay.trade.wap.pay");
  CAF_CHECK_EQUAL(params["timestamp"], "2026-11-23 16:00:00");
  CAF_CHECK_EQUAL(params["charset"], "utf-8");
  CAF_CHECK_EQUAL(params["sign_type"], "RSA2");
  CAF_CHECK_EQUAL(params["version"], "1.0");
  CAF_CHECK_EQUAL(params["return_url"], an_order().return_url);
  auto content = json::parse(params["biz_content"]).as_object();
  CAF_CHECK_EQUAL(text_of(content, "out_trade_no"), "S20261123_1");
  CAF_CHECK_EQUAL(text_of(content, "total_amount"), "99.00");
  CAF_CHECK_EQUAL(text_of(content, "subject"), an_order().subject);
  CAF_CHECK_EQUAL(text_of(content, "product_code"), "QUICK_WAP_WAY");
  CAF_CHECK_EQUAL(text_of(content, "time_expire"), "2026-11-23 16:30:00");
}

CAF_TEST(without a return address there is no such parameter) {
  auto order = an_order();
  order.return_url.clear();
  auto link = checked_link(*codec().pay_url(pay_method::page, order),
                           app_pair.public_pem);
  CAF_CHECK(crypto::find_field(link, "return_url") == nullptr);
}

CAF_TEST(a gateway address may bring a query of its own) {
  settings.gateway_url = "http://127.0.0.1:1/gateway.do?shop=1";
  auto url = codec().pay_url(pay_method::page, an_order());
  CAF_REQUIRE(url.has_value());
  CAF_CHECK(url->starts_with("http://127.0.0.1:1/gateway.do?shop=1&app_id="));
}

CAF_TEST(an order that Alipay would refuse gives no link) {
  auto refused = [this](auto change) {
    auto order = an_order();
    change(order);
    return !codec().pay_url(pay_method::page, order);
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
    o.amount_minor = 0;
  }));
  CAF_CHECK(refused([](auto& o) {
    o.amount_minor = -1;
  }));
  CAF_CHECK(refused([](auto& o) {
    o.amount_minor = amount_max_minor + 1;
  }));
  CAF_CHECK(!refused([](auto& o) {
    o.amount_minor = amount_max_minor;
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
    o.subject = std::string(257, 'x');
  }));
  CAF_CHECK(refused([](auto& o) {
    o.expires_at = o.created_at;
  }));
  settings.app_private_key = {};
  CAF_CHECK(!codec().pay_url(pay_method::page, an_order()));
}

CAF_TEST(wrong settings are told apart) {
  auto wrong = [this](auto change) {
    auto changed = settings;
    change(changed);
    auto made = alipay::make(changed);
    return !made && !made.error().empty();
  };
  CAF_CHECK(!wrong([](auto&) {}));
  CAF_CHECK(wrong([](auto& s) {
    s.app_id.clear();
  }));
  CAF_CHECK(wrong([](auto& s) {
    s.seller_id.clear();
  }));
  CAF_CHECK(wrong([](auto& s) {
    s.sign_type = "MD5";
  }));
  CAF_CHECK(wrong([](auto& s) {
    s.alipay_public_key.clear();
  }));
  CAF_CHECK(wrong([](auto& s) {
    s.alipay_public_key = "x";
  }));
  CAF_CHECK(wrong([](auto& s) {
    s.app_private_key = config::secret{"x"};
  }));
  CAF_CHECK(wrong([](auto& s) {
    s.app_cert = "x";
  }));
}

// -- notifications
// -------------------------------------------------------------

CAF_TEST(a payment brings its data along) {
  auto result = judged(payment());
  CAF_CHECK(result.action == notification_action::payment_settled);
  CAF_CHECK(!result.refused);
  CAF_CHECK_EQUAL(result.order_id, "S1");
  CAF_CHECK_EQUAL(result.trade_no, "T1");
  CAF_CHECK_EQUAL(result.amount_minor, 9'900);
  CAF_CHECK_EQUAL(result.notify_id, "N1");
  CAF_CHECK_EQUAL(result.trade_status, "TRADE_SUCCESS");
  CAF_CHECK(result.paid_at == parse_rfc3339("2026-11-23T08:00:00Z"));
  CAF_CHECK(!result.refunded_minor);
  auto params = payment();
  params.erase("gmt_payment");
  CAF_CHECK(judged(params).paid_at == parse_rfc3339("2026-11-23T08:00:05Z"));
}

CAF_TEST(refunds are recognised by an amount above zero) {
  auto params = payment();
  params["refund_fee"] = "0.00";
  CAF_CHECK(judged(params).action == notification_action::payment_settled);
  params["refund_fee"] = "1.50";
  params["out_biz_no"] = "R1";
  auto partial = judged(params);
  CAF_CHECK(partial.action == notification_action::refund);
  CAF_CHECK(partial.refunded_minor == 150);
  CAF_CHECK_EQUAL(partial.out_biz_no, "R1");
  params["trade_status"] = "TRADE_CLOSED";
  params["refund_fee"] = "99";
  CAF_CHECK(judged(params).action == notification_action::refund);
  CAF_CHECK(judged(params).refunded_minor == 9'900);
  params["refund_fee"] = "99.01";
  CAF_CHECK(judged(params).action == notification_action::reject);
}

CAF_TEST(what contradicts us is refused with its reason) {
  CAF_CHECK_EQUAL(reason_for("app_id", "2021000000000001"), "app_id_mismatch");
  CAF_CHECK_EQUAL(reason_for("app_id", ""), "app_id_mismatch");
  CAF_CHECK_EQUAL(reason_for("seller_id", "2088000000000001"),
                  "seller_id_mismatch");
  CAF_CHECK_EQUAL(reason_for("total_amount", "98.99"), "amount_mismatch");
  CAF_CHECK_EQUAL(reason_for("total_amount", "99.01"), "amount_mismatch");
  CAF_CHECK_EQUAL(reason_for("total_amount", "99.001"), "amount_malformed");
  CAF_CHECK_EQUAL(reason_for("total_amount", "9.9e1"), "amount_malformed");
  CAF_CHECK_EQUAL(reason_for("total_amount", " 99.00"), "amount_malformed");
  CAF_CHECK_EQUAL(reason_for("total_amount", ""), "amount_malformed");
  CAF_CHECK_EQUAL(reason_for("refund_fee", "-1"), "amount_malformed");
  CAF_CHECK_EQUAL(reason_for("trade_status", "TRADE_PENDING"),
                  "unknown_status");
  CAF_CHECK_EQUAL(reason_for("trade_status", ""), "unknown_status");
  CAF_CHECK_EQUAL(reason_for("trade_no", ""), "trade_no_missing");
  CAF_CHECK_EQUAL(reason_for("trade_no", std::string("T\0", 2)),
                  "malformed_field");
  CAF_CHECK_EQUAL(reason_for("out_trade_no", "\xff"), "malformed_field");
  CAF_CHECK_EQUAL(reason_for("out_trade_no", ""), "order_not_found");
  CAF_CHECK_EQUAL(reason_for("total_amount", "99"), "payment_settled");
  CAF_CHECK_EQUAL(reason_for("trade_status", "TRADE_FINISHED"),
                  "payment_settled");
  CAF_CHECK_EQUAL(reason_for("trade_status", "TRADE_CLOSED"), "closed");
  CAF_CHECK_EQUAL(reason_for("trade_status", "WAIT_BUYER_PAY"), "noop");
  auto foreign = judged(payment(), {true, 9'900, "USD"});
  CAF_REQUIRE(foreign.refused.has_value());
  CAF_CHECK(foreign.refused->reason == reject_reason::currency_mismatch);
  auto unknown = judged(payment(), {});
  CAF_REQUIRE(unknown.refused.has_value());
  CAF_CHECK(unknown.refused->reason == reject_reason::order_not_found);
}

CAF_TEST(a message on something else than a trade is only acknowledged) {
  auto params = payment();
  params["notify_type"] = "servicemarket_order_notify";
  params.erase("out_trade_no");
  params.erase("total_amount");
  CAF_CHECK(judged(params, {}).action == notification_action::noop);
  params["app_id"] = "other";
  CAF_CHECK(judged(params, {}).action == notification_action::reject);
}

CAF_TEST(identity needs no order) {
  auto notification = codec().verify(signed_body(payment()));
  CAF_REQUIRE(notification.has_value());
  CAF_CHECK(!codec().check_identity(*notification));
  CAF_CHECK(notification->total_amount_minor == 9'900);
  notification->seller_id = "another";
  auto contradiction = codec().check_identity(*notification);
  CAF_REQUIRE(contradiction.has_value());
  CAF_CHECK(contradiction->reason == reject_reason::seller_id_mismatch);
}

CAF_TEST(no single changed byte gets through) {
  auto body = signed_body(payment());
  CAF_REQUIRE(codec().verify(body).has_value());
  auto original = *crypto::decode_form(body);
  std::size_t accepted = 0;
  for (std::size_t at = 0; at < body.size(); ++at) {
    auto changed = body;
    changed[at] = static_cast<char>(changed[at] ^ 1);
    auto result = codec().verify(changed);
    if (!result)
      continue;
    // Another spelling of the same fields is all that may pass.
    ++accepted;
    std::sort(result->fields.begin(), result->fields.end());
    auto expected = original;
    std::sort(expected.begin(), expected.end());
    CAF_CHECK(result->fields == expected);
  }
  CAF_CHECK(accepted < body.size() / 20);
}

CAF_TEST(what is no signed form is refused with the reason) {
  auto reason = [this](std::string_view body) {
    auto result = codec().verify(body);
    CAF_REQUIRE(!result);
    return std::string{to_string(result.error().signature)} + ' '
           + std::string{to_string(result.error().reason)};
  };
  auto body = signed_body(payment());
  CAF_CHECK_EQUAL(reason(""), "missing sign_missing");
  CAF_CHECK_EQUAL(reason("sign=&a=b"), "missing sign_missing");
  CAF_CHECK_EQUAL(reason("sign=%"), "not_evaluated malformed_body");
  CAF_CHECK_EQUAL(reason(body + "&sign=AAAA"),
                  "not_evaluated duplicate_parameter");
  CAF_CHECK_EQUAL(reason(body + "&total_amount=0.01"),
                  "not_evaluated duplicate_parameter");
  CAF_CHECK_EQUAL(reason("sign=***"), "malformed sign_malformed");
  CAF_CHECK_EQUAL(reason("sign=AAAA"), "invalid sign_mismatch");
  CAF_CHECK_EQUAL(reason(body + "&extra=1"), "invalid sign_mismatch");
  // SHA-1 is never accepted where SHA-256 is configured.
  CAF_CHECK_EQUAL(reason(signed_body(payment(), crypto::digest::sha1)),
                  "invalid sign_mismatch");
  std::string many;
  for (int i = 0; i < 300; ++i)
    many += "f" + std::to_string(i) + "=&";
  CAF_CHECK_EQUAL(reason(many), "not_evaluated malformed_body");
  // Fields without a value take part in the sign string.
  auto params = payment();
  params["body"] = "";
  CAF_CHECK(codec().verify(signed_body(params)).has_value());
}

CAF_TEST_FIXTURE_SCOPE_END()

#define CAF_SUITE gateway.wechat_v2

#include "http/gateway/wechat_v2.hpp"

#include "http/crypto/aes_ecb.hpp"
#include "http/crypto/encoding.hpp"
#include "http/gateway/xml.hpp"

#include <boost/json/parse.hpp>
#include <caf/test/unit_test.hpp>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <random>
#include <set>
#include <sstream>

using namespace slipway;
using namespace slipway::gateway;

namespace {

namespace json = boost::json;

using fields = crypto::form_fields;
using lifecycle::payment_method;

std::string text_of(const json::object& object, std::string_view name) {
  const auto* value = object.if_contains(name);
  if (value == nullptr || !value->is_string())
    return {};
  return std::string{value->as_string()};
}

/// Every recorded message of v2 of one kind.
std::vector<json::object> vectors(std::string_view kind) {
  std::vector<json::object> result;
  const auto folder = std::filesystem::path{SLIPWAY_TEST_DATA} / "vectors";
  for (const auto& entry : std::filesystem::directory_iterator{folder}) {
    std::ifstream file{entry.path()};
    std::ostringstream text;
    text << file.rdbuf();
    auto value = json::parse(text.str());
    if (value.is_object() && text_of(value.as_object(), "kind") == kind
        && text_of(value.as_object(), "gateway") == "wechat-v2")
      result.push_back(value.as_object());
  }
  return result;
}

wechat_v2 codec_of(const json::object& vector) {
  const auto& given = vector.at("config").as_object();
  config::wechat_settings settings;
  settings.app_id = text_of(given, "appid");
  settings.mch_id = text_of(given, "mch_id");
  settings.api_v2_key = config::secret{text_of(given, "api_v2_key")};
  auto type = v2_sign_type_of(text_of(given, "sign_type"));
  CAF_REQUIRE(type.has_value());
  auto made = wechat_v2::make(settings, *type);
  if (!made)
    CAF_FAIL(made.error());
  return *made;
}

std::string body_of(const json::object& vector) {
  auto body = crypto::base64_decode(text_of(vector, "body_base64"));
  CAF_REQUIRE(body.has_value());
  return *body;
}

struct verdict {
  std::string decision;
  std::string reason;
};

/// What the server makes of a reading, given the order that is recorded.
verdict judge(const reading& message, const json::object& order) {
  if (message.refused)
    return {"reject", std::string{to_string(message.refused->reason)}};
  const auto& what = message.what;
  if (what.is == meaning::nothing)
    return {"ack_noop", ""};
  if (what.order_id != text_of(order, "out_trade_no"))
    return {"reject", "order_not_found"};
  if (what.amount != order.at("total_fee").as_int64())
    return {"reject", "amount_mismatch"};
  if (what.currency != text_of(order, "fee_type"))
    return {"reject", "currency_mismatch"};
  if (what.is == meaning::payment)
    return {text_of(order, "status") == "NOTPAY" ? "credit" : "ack_duplicate",
            ""};
  const auto* known = order.if_contains("refunds");
  CAF_REQUIRE(known != nullptr);
  for (const auto& entry : known->as_array()) {
    const auto& refund = entry.as_object();
    if (text_of(refund, "out_refund_no") != what.refund_id)
      continue;
    if (refund.at("refund_fee").as_int64() != what.refund_amount)
      return {"reject", "amount_mismatch"};
    return {what.is == meaning::refund            ? "record_refund"
            : what.is == meaning::refund_abnormal ? "refund_abnormal"
                                                  : "refund_closed",
            ""};
  }
  return {"reject", "refund_not_found"};
}

void check_vector(const json::object& vector, const reading& message) {
  CAF_MESSAGE(text_of(vector, "id"));
  const auto& expect = vector.at("expect").as_object();
  CAF_CHECK_EQUAL(to_string(message.signature), text_of(expect, "signature"));
  auto found = judge(message, vector.at("order").as_object());
  CAF_CHECK_EQUAL(found.decision, text_of(expect, "decision"));
  auto reason = text_of(expect, "reason");
  if (reason == "malformed_or_mismatch")
    CAF_CHECK(found.reason == "decrypt_failed"
              || found.reason.starts_with("malformed")
              || found.reason.ends_with("mismatch")
              || found.reason == "decrypt_failed");
  else
    CAF_CHECK_EQUAL(found.reason, reason);
  const auto& reply = expect.at("reply").as_object();
  if (found.decision == "reject")
    CAF_CHECK(text_of(reply, "body").find("CDATA[FAIL]") != std::string::npos);
  else
    CAF_CHECK_EQUAL(v2_reply(true, ""), text_of(reply, "body"));
}

constexpr std::string_view key = "CPBxRTvFNOHgt7vB9QTXYlcYBOO3CrAL";

struct fixture {
  config::wechat_settings settings = [] {
    config::wechat_settings result;
    result.app_id = "wx8888888888888888";
    result.mch_id = "1900000001";
    result.gateway_url = "http://127.0.0.1:1";
    result.api_v2_key = config::secret{std::string{key}};
    return result;
  }();
  v2_sign_type type = v2_sign_type::hmac_sha256;
  stamp with{*parse_rfc3339("2026-11-23T08:00:00Z"), std::string(32, 'n')};

  wechat_v2 codec() const {
    auto made = wechat_v2::make(settings, type);
    if (!made)
      CAF_FAIL(made.error());
    return *made;
  }

  static fields of(const std::map<std::string, std::string>& message) {
    return {message.begin(), message.end()};
  }

  std::string signed_xml(const std::map<std::string, std::string>& message,
                         v2_sign_type by) const {
    auto result = of(message);
    auto sign = v2_sign(result, key, by);
    result.emplace_back("sign", sign);
    return write_flat_xml("xml", result);
  }

  std::string
  signed_xml(const std::map<std::string, std::string>& message) const {
    return signed_xml(message, type);
  }

  std::map<std::string, std::string> payment() const {
    return {
      {"return_code", "SUCCESS"},      {"result_code", "SUCCESS"},
      {"appid", settings.app_id},      {"mch_id", settings.mch_id},
      {"nonce_str", "5K8264ILTKCH16"}, {"openid", "oUpF8uMuAJO"},
      {"out_trade_no", "S20261123_1"}, {"transaction_id", "4200002000"},
      {"trade_type", "NATIVE"},        {"bank_type", "OTHERS"},
      {"total_fee", "9900"},           {"cash_fee", "9900"},
      {"time_end", "20261123160000"},
    };
  }

  /// The reason for which a payment with this field is refused, or its meaning.
  std::string
  reason_for(const std::string& name, const std::string& value) const {
    auto message = payment();
    if (value == "absent")
      message.erase(name);
    else
      message[name] = value;
    auto result = codec().read_notification(signed_xml(message));
    CAF_CHECK(result.signature == signature_verdict::valid);
    CAF_CHECK(is_authentic(result));
    if (!result.refused)
      return std::string{to_string(result.what.is)};
    CAF_CHECK(!result.refused->sentence.empty());
    CAF_CHECK(result.what.is == meaning::nothing);
    CAF_CHECK_EQUAL(result.refused->sentence.find(key), std::string::npos);
    return std::string{to_string(result.refused->reason)};
  }

  std::map<std::string, std::string> refund() const {
    return {
      {"out_refund_no", "R1"},
      {"out_trade_no", "S20261123_1"},
      {"refund_fee", "1000"},
      {"refund_id", "5000040894"},
      {"refund_status", "SUCCESS"},
      {"total_fee", "9900"},
      {"transaction_id", "4200002000"},
      {"success_time", "2026-11-23 16:00:00"},
      {"refund_recv_accout", "支付用户零钱"},
    };
  }

  std::string sealed_xml(const std::string& text) const {
    auto sealed = crypto::aes_256_ecb_encrypt(v2_refund_key(key), text);
    CAF_REQUIRE(sealed.has_value());
    return write_flat_xml("xml", {
                                   {"return_code", "SUCCESS"},
                                   {"appid", settings.app_id},
                                   {"mch_id", settings.mch_id},
                                   {"nonce_str", "TeqClE3i0mvn3DrK"},
                                   {"req_info", crypto::base64_encode(*sealed)},
                                 });
  }

  std::string
  sealed_xml(const std::map<std::string, std::string>& message) const {
    return sealed_xml(write_flat_xml("root", of(message)));
  }

  pay_order an_order(payment_method method = payment_method::native) const {
    pay_order order;
    order.order_id = "S20261123_1";
    order.method = method;
    order.amount = 9'900;
    order.subject = "专业版 “30 天” <&>";
    order.notify_url = "https://pay.example.com/api/payment/wechat/notify";
    order.created_at = with.now;
    order.expires_at = with.now + std::chrono::minutes{30};
    if (method == payment_method::jsapi)
      order.payer_id = "oUpF8uMuAJO";
    if (method == payment_method::h5)
      order.payer_ip = "203.0.113.7";
    return order;
  }

  /// Reads a request as the gateway does.
  std::map<std::string, std::string>
  checked(const merchant::request& request, const std::string& path) const {
    if (!request)
      CAF_FAIL(request.error());
    CAF_CHECK_EQUAL(request->method, "POST");
    CAF_CHECK_EQUAL(request->url, settings.gateway_url + path);
    auto parsed = parse_flat_xml(request->body, "xml");
    CAF_REQUIRE(parsed.has_value());
    const auto* sign = crypto::find_field(*parsed, "sign");
    CAF_REQUIRE(sign != nullptr);
    CAF_CHECK_EQUAL(*sign, v2_sign(*parsed, key, type));
    std::map<std::string, std::string> result(parsed->begin(), parsed->end());
    CAF_CHECK_EQUAL(result["appid"], settings.app_id);
    CAF_CHECK_EQUAL(result["mch_id"], settings.mch_id);
    CAF_CHECK_EQUAL(result["nonce_str"], with.nonce);
    CAF_CHECK_EQUAL(result["sign_type"], to_string(type));
    for (const auto& [name, value] : result)
      CAF_CHECK(!value.empty());
    return result;
  }

  client::http_response answered(std::string body, int status = 200) const {
    client::http_response result;
    result.status = status;
    result.body = std::move(body);
    return result;
  }

  client::http_response
  answered(std::map<std::string, std::string> message) const {
    message.insert({{"return_code", "SUCCESS"},
                    {"result_code", "SUCCESS"},
                    {"appid", settings.app_id},
                    {"mch_id", settings.mch_id},
                    {"nonce_str", "x"}});
    return answered(signed_xml(message));
  }

  client::http_response
  refused_with(const std::string& code, std::string about = "because") const {
    return answered({{"result_code", "FAIL"},
                     {"err_code", code},
                     {"err_code_des", std::move(about)}});
  }

  /// The kind of the failure, or `answered`.
  template <class T>
  std::string kind_of(const merchant::answer<T>& answer) const {
    if (answer)
      return "answered";
    CAF_CHECK(!answer.error().sentence.empty());
    CAF_CHECK(answer.error().sentence.size() < 500);
    CAF_CHECK_EQUAL(answer.error().sentence.find(key), std::string::npos);
    return std::string{to_string(answer.error().kind)};
  }

  refund_order a_refund() const {
    refund_order order;
    order.order_id = "S20261123_1";
    order.transaction_id = "4200002000";
    order.refund_id = "R1";
    order.amount = 1'000;
    order.total = 9'900;
    return order;
  }
};

} // namespace

// -- vectors
// -------------------------------------------------------------------

CAF_TEST(every recorded payment result is judged as expected) {
  auto all = vectors("notify");
  for (const auto& vector : all)
    check_vector(vector, codec_of(vector).read_notification(body_of(vector)));
  CAF_CHECK(all.size() >= 27);
}

CAF_TEST(every recorded refund result is judged as expected) {
  auto all = vectors("refund-notify");
  for (const auto& vector : all)
    check_vector(vector,
                 codec_of(vector).read_refund_notification(body_of(vector)));
  CAF_CHECK(all.size() >= 4);
}

CAF_TEST(every recorded sign is computed as expected) {
  std::size_t count = 0;
  for (const auto& vector : vectors("computation")) {
    const auto& from = vector.at("intermediate").as_object();
    fields given;
    for (const auto& [name, value] : from.at("fields").as_object())
      given.emplace_back(name, value.as_string());
    auto secret = text_of(vector.at("config").as_object(), "api_v2_key");
    for (const auto& [name, sign] : vector.at("expect").as_object()) {
      auto type = v2_sign_type_of(name);
      CAF_REQUIRE(type.has_value());
      CAF_CHECK_EQUAL(v2_sign(given, secret, *type), sign.as_string().c_str());
      ++count;
    }
  }
  CAF_CHECK(count >= 2);
}

// -- notifications
// -------------------------------------------------------------

CAF_TEST_FIXTURE_SCOPE(wechat_v2_tests, fixture)

CAF_TEST(a payment says what was paid) {
  for (auto by : {v2_sign_type::hmac_sha256, v2_sign_type::md5}) {
    type = by;
    auto result = codec().read_notification(signed_xml(payment()));
    CAF_CHECK(result.signature == signature_verdict::valid);
    CAF_CHECK(!result.refused);
    const auto& what = result.what;
    CAF_CHECK(what.gateway == lifecycle::payment_gateway::wechat);
    CAF_CHECK(what.is == meaning::payment);
    CAF_CHECK_EQUAL(what.event_id, "4200002000");
    CAF_CHECK_EQUAL(what.transaction_id, "4200002000");
    CAF_CHECK_EQUAL(what.order_id, "S20261123_1");
    CAF_CHECK_EQUAL(what.amount, 9'900);
    CAF_CHECK_EQUAL(what.currency, "CNY");
    CAF_CHECK(what.paid_at == parse_rfc3339("2026-11-23T08:00:00Z"));
    CAF_CHECK_EQUAL(what.word, "SUCCESS");
  }
}

CAF_TEST(the configured type holds whatever a message says) {
  auto read = [this](v2_sign_type configured, v2_sign_type made,
                     const std::string& named) {
    type = configured;
    auto message = payment();
    if (!named.empty())
      message["sign_type"] = named;
    auto result = codec().read_notification(signed_xml(message, made));
    CAF_CHECK_EQUAL(is_authentic(result), !result.refused.has_value());
    return std::string{to_string(result.signature)} + ' '
           + (result.refused ? std::string{to_string(result.refused->reason)}
                             : "taken");
  };
  using enum v2_sign_type;
  CAF_CHECK_EQUAL(read(hmac_sha256, hmac_sha256, "HMAC-SHA256"), "valid taken");
  CAF_CHECK_EQUAL(read(hmac_sha256, hmac_sha256, ""), "valid taken");
  CAF_CHECK_EQUAL(read(md5, md5, "MD5"), "valid taken");
  // Weaker than agreed on, said openly or not.
  for (auto named : {"MD5", "", "HMAC-SHA256", "RSA"})
    CAF_CHECK_EQUAL(read(hmac_sha256, md5, named),
                    "valid_but_weak sign_type_not_allowed");
  // Stronger than agreed on is not what was agreed on.
  CAF_CHECK_EQUAL(read(md5, hmac_sha256, ""), "invalid sign_mismatch");
  CAF_CHECK_EQUAL(read(md5, hmac_sha256, "HMAC-SHA256"),
                  "invalid sign_type_not_allowed");
  for (auto lie : {"MD5", "RSA", "hmac-sha256", "HMAC-SHA256 "})
    CAF_CHECK_EQUAL(read(hmac_sha256, hmac_sha256, lie),
                    "valid_under_configured_type sign_type_not_allowed");
}

CAF_TEST(what contradicts us is authentic and refused) {
  CAF_CHECK_EQUAL(reason_for("attach", "&<>"), "payment");
  CAF_CHECK_EQUAL(reason_for("appid", "wx1"), "app_id_mismatch");
  CAF_CHECK_EQUAL(reason_for("appid", "absent"), "app_id_mismatch");
  CAF_CHECK_EQUAL(reason_for("mch_id", "1900000002"), "mch_id_mismatch");
  CAF_CHECK_EQUAL(reason_for("mch_id", "absent"), "mch_id_mismatch");
  CAF_CHECK_EQUAL(reason_for("out_trade_no", "absent"), "order_not_found");
  CAF_CHECK_EQUAL(reason_for("out_trade_no", "a\nb"), "malformed_field");
  CAF_CHECK_EQUAL(reason_for("out_trade_no", std::string(129, 'a')),
                  "malformed_field");
  CAF_CHECK_EQUAL(reason_for("transaction_id", "absent"), "trade_no_missing");
  CAF_CHECK_EQUAL(reason_for("transaction_id", "\x7f"), "malformed_field");
  CAF_CHECK_EQUAL(reason_for("return_code", "FAIL"), "return_code_fail");
  CAF_CHECK_EQUAL(reason_for("return_code", "absent"), "return_code_fail");
  CAF_CHECK_EQUAL(reason_for("result_code", "FAIL"), "nothing");
  CAF_CHECK_EQUAL(reason_for("result_code", "absent"), "unknown_status");
  CAF_CHECK_EQUAL(reason_for("result_code", "success"), "unknown_status");
  for (auto bad :
       {"absent", "", "99.00", "-1", "+1", " 9900", "9900 ", "1e3", "09900",
        "0x10", "10000000001", "99999999999999999999999", "٩٩٠٠", "9,900"})
    CAF_CHECK_EQUAL(reason_for("total_fee", bad), "amount_malformed");
  CAF_CHECK_EQUAL(reason_for("total_fee", "10000000000"), "payment");
  CAF_CHECK_EQUAL(reason_for("fee_type", "CNY"), "payment");
  CAF_CHECK_EQUAL(reason_for("fee_type", ""), "payment");
  CAF_CHECK_EQUAL(reason_for("fee_type", "USD"), "currency_mismatch");
  CAF_CHECK_EQUAL(reason_for("fee_type", "cny"), "currency_mismatch");
  CAF_CHECK_EQUAL(reason_for("time_end", "yesterday"), "payment");
}

CAF_TEST(a currency does not vanish in the value before it) {
  auto message = payment();
  message["device_info"] = "1";
  message["fee_type"] = "USD";
  auto sign = v2_sign(of(message), key, type);
  message.erase("fee_type");
  message["device_info"] = "1&fee_type=USD";
  // The same string is signed, so the sign is right for both.
  CAF_CHECK_EQUAL(v2_sign(of(message), key, type), sign);
  auto result = codec().read_notification(signed_xml(message));
  CAF_REQUIRE(result.refused.has_value());
  CAF_CHECK(result.refused->reason == reject_reason::currency_mismatch);
  CAF_CHECK_EQUAL(result.what.currency, "USD");
}

CAF_TEST(no flipped bit makes another message valid) {
  std::minstd_rand random{20261123};
  auto body = signed_xml(payment());
  CAF_REQUIRE(!codec().read_notification(body).refused);
  for (int round = 0; round < 5000; ++round) {
    auto flipped = body;
    for (auto n = 1 + random() % 2; n > 0; --n)
      flipped[random() % flipped.size()]
        ^= static_cast<char>(1 << (random() % 8));
    if (flipped == body)
      continue;
    auto result = codec().read_notification(flipped);
    if (is_authentic(result))
      CAF_FAIL("believed: " << flipped);
    CAF_CHECK(result.refused.has_value());
    CAF_CHECK(result.what.is == meaning::nothing);
  }
}

CAF_TEST(nothing cut short is valid) {
  auto body = signed_xml(payment());
  for (std::size_t size = 0; size < body.size(); ++size) {
    auto result = codec().read_notification(body.substr(0, size));
    CAF_CHECK(!is_authentic(result));
    CAF_CHECK(result.refused.has_value());
  }
}

CAF_TEST(an unsigned message is missing its sign before anything else) {
  for (std::string sign : {"", "<sign></sign>", "<sign/>"}) {
    auto result = codec().read_notification(
      "<xml><appid>other</appid><sign_type>none</sign_type>" + sign + "</xml>");
    CAF_CHECK(result.signature == signature_verdict::missing);
    CAF_REQUIRE(result.refused.has_value());
    CAF_CHECK(result.refused->reason == reject_reason::sign_missing);
  }
}

CAF_TEST(a refund result opens with our key) {
  auto result = codec().read_refund_notification(sealed_xml(refund()));
  CAF_CHECK(result.signature == signature_verdict::none_by_design);
  CAF_CHECK(is_authentic(result));
  CAF_CHECK(!result.refused);
  const auto& what = result.what;
  CAF_CHECK(what.gateway == lifecycle::payment_gateway::wechat);
  CAF_CHECK(what.is == meaning::refund);
  CAF_CHECK_EQUAL(what.event_id, "5000040894");
  CAF_CHECK_EQUAL(what.refund_id, "R1");
  CAF_CHECK_EQUAL(what.order_id, "S20261123_1");
  CAF_CHECK_EQUAL(what.transaction_id, "4200002000");
  CAF_CHECK_EQUAL(what.amount, 9'900);
  CAF_CHECK(what.refund_amount == 1'000);
  CAF_CHECK(!what.refunded_total);
  CAF_CHECK_EQUAL(what.word, "SUCCESS");
}

CAF_TEST(a refund result that contradicts us is refused) {
  auto reason = [this](const std::string& name, const std::string& value) {
    auto message = refund();
    if (value == "absent")
      message.erase(name);
    else
      message[name] = value;
    auto result = codec().read_refund_notification(sealed_xml(message));
    CAF_CHECK(result.signature == signature_verdict::none_by_design);
    CAF_CHECK(is_authentic(result));
    if (!result.refused)
      return std::string{to_string(result.what.is)};
    CAF_CHECK(result.what.is == meaning::nothing);
    return std::string{to_string(result.refused->reason)};
  };
  CAF_CHECK_EQUAL(reason("refund_status", "SUCCESS"), "refund");
  CAF_CHECK_EQUAL(reason("refund_status", "CHANGE"), "refund_abnormal");
  CAF_CHECK_EQUAL(reason("refund_status", "REFUNDCLOSE"), "refund_closed");
  CAF_CHECK_EQUAL(reason("refund_status", "DONE"), "unknown_status");
  CAF_CHECK_EQUAL(reason("refund_status", "absent"), "unknown_status");
  CAF_CHECK_EQUAL(reason("out_trade_no", "absent"), "order_not_found");
  CAF_CHECK_EQUAL(reason("transaction_id", "absent"), "trade_no_missing");
  CAF_CHECK_EQUAL(reason("out_refund_no", "absent"), "malformed_field");
  CAF_CHECK_EQUAL(reason("refund_id", "absent"), "malformed_field");
  CAF_CHECK_EQUAL(reason("refund_id", "a\tb"), "malformed_field");
  CAF_CHECK_EQUAL(reason("total_fee", "1.0"), "amount_malformed");
  CAF_CHECK_EQUAL(reason("refund_fee", "absent"), "amount_malformed");
  CAF_CHECK_EQUAL(reason("refund_fee", "0"), "amount_malformed");
  CAF_CHECK_EQUAL(reason("refund_fee", "9900"), "refund");
  CAF_CHECK_EQUAL(reason("refund_fee", "9901"), "amount_mismatch");
  auto sealed = sealed_xml(refund());
  settings.app_id = "wx1";
  auto result = codec().read_refund_notification(sealed);
  CAF_REQUIRE(result.refused.has_value());
  CAF_CHECK(result.refused->reason == reject_reason::app_id_mismatch);
}

CAF_TEST(what does not open is not authentic) {
  auto reason = [this](const std::string& body) {
    auto result = codec().read_refund_notification(body);
    CAF_CHECK(!is_authentic(result));
    CAF_REQUIRE(result.refused.has_value());
    return std::string{to_string(result.signature)} + ' '
           + std::string{to_string(result.refused->reason)};
  };
  auto outer = [](const std::string& info) {
    return "<xml><return_code>SUCCESS</return_code><req_info>" + info
           + "</req_info></xml>";
  };
  CAF_CHECK_EQUAL(reason(outer("")), "none_by_design malformed_message");
  CAF_CHECK_EQUAL(reason("<xml/>"), "none_by_design return_code_fail");
  CAF_CHECK_EQUAL(reason("<xml><return_code>FAIL</return_code></xml>"),
                  "none_by_design return_code_fail");
  CAF_CHECK_EQUAL(reason("<xml><a/><a/></xml>"),
                  "none_by_design duplicate_element");
  CAF_CHECK_EQUAL(reason("<!DOCTYPE xml><xml/>"),
                  "not_evaluated doctype_forbidden");
  CAF_CHECK_EQUAL(reason("<xml>"), "not_evaluated malformed_xml");
  for (auto info : {"*", "AAAA", "QUJD\nREVG", "AAAAAAAAAAAAAAAAAAAAAA=="})
    CAF_CHECK_EQUAL(reason(outer(info)), "none_by_design decrypt_failed");
  // Inside the same rules hold; the gateway seals nothing that breaks them.
  CAF_CHECK_EQUAL(reason(sealed_xml(std::string{"<root>"})),
                  "none_by_design decrypt_failed");
  CAF_CHECK_EQUAL(reason(sealed_xml(std::string{"<xml/>"})),
                  "none_by_design decrypt_failed");
  CAF_CHECK_EQUAL(reason(sealed_xml(std::string{"<root><a/><a/></root>"})),
                  "none_by_design decrypt_failed");
  CAF_CHECK_EQUAL(reason(sealed_xml(std::string{
                    "<!DOCTYPE r [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>"
                    "<root><a>&x;</a></root>"})),
                  "none_by_design doctype_forbidden");
  auto sealed = sealed_xml(refund());
  settings.api_v2_key = config::secret{std::string(32, 'k')};
  auto end = reason(sealed);
  CAF_CHECK_EQUAL(end, "none_by_design decrypt_failed");
}

CAF_TEST(a damaged block of a refund result is never taken for another amount) {
  std::minstd_rand random{20261123};
  auto text = write_flat_xml("root", of(refund()));
  auto sealed = *crypto::aes_256_ecb_encrypt(v2_refund_key(key), text);
  for (int round = 0; round < 2000; ++round) {
    auto damaged = sealed;
    damaged[random() % damaged.size()]
      ^= static_cast<char>(1 << (random() % 8));
    auto body = "<xml><return_code>SUCCESS</return_code><appid>"
                + settings.app_id + "</appid><mch_id>" + settings.mch_id
                + "</mch_id><req_info>" + crypto::base64_encode(damaged)
                + "</req_info></xml>";
    auto result = codec().read_refund_notification(body);
    CAF_CHECK(result.refused.has_value());
  }
}

CAF_TEST(replies are those documented to the byte) {
  CAF_CHECK_EQUAL(v2_reply(true, ""),
                  "<xml><return_code><![CDATA[SUCCESS]]></return_code>"
                  "<return_msg><![CDATA[OK]]></return_msg></xml>");
  CAF_CHECK_EQUAL(v2_reply(false, "签名失败"),
                  "<xml><return_code><![CDATA[FAIL]]></return_code>"
                  "<return_msg><![CDATA[签名失败]]></return_msg></xml>");
  for (std::string text : {"]]>", "]]]]>>", "a\x01\xff", "<a>&"}) {
    auto parsed = parse_flat_xml(v2_reply(false, text), "xml");
    CAF_REQUIRE(parsed.has_value());
    CAF_CHECK_EQUAL(*crypto::find_field(*parsed, "return_code"), "FAIL");
  }
}

// -- requests
// ------------------------------------------------------------------

CAF_TEST(wrong settings are told apart) {
  auto wrong = [this](auto change) {
    auto changed = settings;
    change(changed);
    auto made = wechat_v2::make(changed, type);
    return !made && !made.error().empty()
           && made.error().find(key) == std::string::npos;
  };
  CAF_CHECK(!wrong([](auto&) {}));
  CAF_CHECK(wrong([](auto& s) {
    s.app_id.clear();
  }));
  CAF_CHECK(wrong([](auto& s) {
    s.mch_id.clear();
  }));
  CAF_CHECK(wrong([](auto& s) {
    s.gateway_url.clear();
  }));
  CAF_CHECK(wrong([](auto& s) {
    s.api_v2_key = config::secret{};
  }));
  CAF_CHECK(wrong([](auto& s) {
    s.api_v2_key = config::secret{std::string{key} + "x"};
  }));
}

CAF_TEST(an order is made by a signed call) {
  for (auto by : {v2_sign_type::hmac_sha256, v2_sign_type::md5}) {
    type = by;
    auto sent
      = checked(codec().create_request(an_order(), with), "/pay/unifiedorder");
    CAF_CHECK_EQUAL(sent["trade_type"], "NATIVE");
    CAF_CHECK_EQUAL(sent["out_trade_no"], "S20261123_1");
    CAF_CHECK_EQUAL(sent["product_id"], "S20261123_1");
    CAF_CHECK_EQUAL(sent["total_fee"], "9900");
    CAF_CHECK_EQUAL(sent["fee_type"], "CNY");
    CAF_CHECK_EQUAL(sent["body"], an_order().subject);
    CAF_CHECK_EQUAL(sent["notify_url"], an_order().notify_url);
    CAF_CHECK_EQUAL(sent["time_start"], "20261123160000");
    CAF_CHECK_EQUAL(sent["time_expire"], "20261123163000");
    CAF_CHECK_EQUAL(sent["spbill_create_ip"], "127.0.0.1");
    CAF_CHECK_EQUAL(sent.count("openid"), 0u);
    CAF_CHECK_EQUAL(sent.count("scene_info"), 0u);
  }
  CAF_CHECK(codec().create_request(an_order(), with)->body
            == codec().create_request(an_order(), with)->body);
  auto sent
    = checked(codec().create_request(an_order(payment_method::jsapi), with),
              "/pay/unifiedorder");
  CAF_CHECK_EQUAL(sent["trade_type"], "JSAPI");
  CAF_CHECK_EQUAL(sent["openid"], "oUpF8uMuAJO");
  auto order = an_order(payment_method::h5);
  order.return_url = "https://pay.example.com/done?x=\"1\"";
  order.subject = std::string(126, 'x') + "专业";
  sent = checked(codec().create_request(order, with), "/pay/unifiedorder");
  CAF_CHECK_EQUAL(sent["trade_type"], "MWEB");
  CAF_CHECK_EQUAL(sent["spbill_create_ip"], "203.0.113.7");
  CAF_CHECK_EQUAL(sent["body"], std::string(126, 'x'));
  auto scene = json::parse(sent["scene_info"]).at("h5_info").as_object();
  CAF_CHECK_EQUAL(text_of(scene, "type"), "Wap");
  CAF_CHECK_EQUAL(text_of(scene, "wap_url"), order.return_url);
}

CAF_TEST(what the gateway would refuse is not sent) {
  auto refused
    = [this](auto change, payment_method method = payment_method::native) {
        auto order = an_order(method);
        change(order);
        auto request = codec().create_request(order, with);
        return !request && !request.error().empty();
      };
  CAF_CHECK(!refused([](auto&) {}));
  for (auto id : {"", "a", "12345", "a b c d",
                  "123456789012345678901234567890123", "order/1", "专业专业"})
    CAF_CHECK(refused([id](auto& o) {
      o.order_id = id;
    }));
  for (auto amount : {minor_units{0}, minor_units{-1}, amount_max_minor + 1})
    CAF_CHECK(refused([amount](auto& o) {
      o.amount = amount;
    }));
  for (auto method :
       {payment_method::page, payment_method::wap, payment_method::qr})
    CAF_CHECK(refused([](auto&) {}, method));
  for (auto subject : {"", "a\nb", "\xff"})
    CAF_CHECK(refused([subject](auto& o) {
      o.subject = subject;
    }));
  for (auto url : {"", "https://pay.example.com/notify?a=1"})
    CAF_CHECK(refused([url](auto& o) {
      o.notify_url = url;
    }));
  CAF_CHECK(refused([](auto& o) {
    o.currency = "USD";
  }));
  CAF_CHECK(refused([this](auto& o) {
    o.expires_at = with.now;
  }));
  CAF_CHECK(refused(
    [](auto& o) {
      o.payer_id.clear();
    },
    payment_method::jsapi));
  CAF_CHECK(refused(
    [](auto& o) {
      o.payer_ip.clear();
    },
    payment_method::h5));
  CAF_CHECK(!codec().query_request("a b", with));
  CAF_CHECK(!codec().close_request("", with));
  CAF_CHECK(!codec().refund_query_request({}, with));
}

CAF_TEST(every method needs a call) {
  for (auto method :
       {payment_method::native, payment_method::h5, payment_method::jsapi}) {
    CAF_CHECK(codec().takes(method));
    CAF_CHECK(codec().has_to_call(method));
    CAF_CHECK(!codec().link(an_order(method)));
  }
  for (auto method :
       {payment_method::page, payment_method::wap, payment_method::qr}) {
    CAF_CHECK(!codec().takes(method));
    CAF_CHECK(!codec().has_to_call(method));
  }
}

CAF_TEST(a created order says how to pay) {
  auto native = codec().read_create(
    an_order(),
    answered({{"trade_type", "NATIVE"}, {"code_url", "weixin://wxpay/x?p=1"}}),
    with.now);
  CAF_REQUIRE(native.has_value());
  CAF_CHECK_EQUAL(native->qr_code, "weixin://wxpay/x?p=1");
  CAF_CHECK(native->pay_url.empty() && native->prepay_id.empty());
  auto jsapi = codec().read_create(
    an_order(payment_method::jsapi),
    answered({{"trade_type", "JSAPI"}, {"prepay_id", "wx2016"}}), with.now);
  CAF_REQUIRE(jsapi.has_value());
  CAF_CHECK_EQUAL(jsapi->prepay_id, "wx2016");
  auto order = an_order(payment_method::h5);
  auto answer = answered({{"trade_type", "MWEB"},
                          {"mweb_url", "https://wx.tenpay.com/x?prepay_id=1"}});
  auto h5 = codec().read_create(order, answer, with.now);
  CAF_REQUIRE(h5.has_value());
  CAF_CHECK_EQUAL(h5->pay_url, "https://wx.tenpay.com/x?prepay_id=1");
  order.return_url = "https://pay.example.com/done?x=1";
  h5 = codec().read_create(order, answer, with.now);
  CAF_REQUIRE(h5.has_value());
  CAF_CHECK_EQUAL(h5->pay_url,
                  "https://wx.tenpay.com/x?prepay_id=1&redirect_url="
                  "https%3A%2F%2Fpay.example.com%2Fdone%3Fx%3D1");
  auto bad = [this](std::map<std::string, std::string> message,
                    payment_method method = payment_method::native) {
    return kind_of(codec().read_create(an_order(method),
                                       answered(std::move(message)), with.now));
  };
  CAF_CHECK_EQUAL(bad({{"trade_type", "NATIVE"}}), "unclear");
  CAF_CHECK_EQUAL(bad({{"trade_type", "JSAPI"}, {"code_url", "weixin://"}}),
                  "forged");
  CAF_CHECK_EQUAL(bad({{"trade_type", "MWEB"}, {"mweb_url", "javascript:1"}},
                      payment_method::h5),
                  "unclear");
  CAF_CHECK_EQUAL(kind_of(codec().read_create(
                    an_order(), refused_with("ORDERPAID"), with.now)),
                  "refused");
}

CAF_TEST(the page inside WeChat is given signed parameters) {
  const auto got = codec().jsapi_parameters("wx2016", with);
  auto signed_ones = crypto::form_fields{};
  for (const auto& [name, value] : got)
    if (name != "paySign")
      signed_ones.emplace_back(name, value.as_string());
  CAF_CHECK_EQUAL(signed_ones.size(), 5u);
  CAF_CHECK_EQUAL(text_of(got, "package"), "prepay_id=wx2016");
  CAF_CHECK_EQUAL(text_of(got, "timeStamp"), "1795420800");
  CAF_CHECK_EQUAL(text_of(got, "signType"), to_string(type));
  CAF_CHECK_EQUAL(text_of(got, "paySign"),
                  v2_sign(signed_ones, settings.api_v2_key.reveal(), type));
}

CAF_TEST(an answer that nothing proves is forged) {
  const std::map<std::string, std::string> paid{
    {"out_trade_no", "S20261123_1"},
    {"trade_state", "SUCCESS"},
    {"transaction_id", "4200002000"},
    {"total_fee", "9900"}};
  auto kind = [this](const client::http_response& from) {
    return kind_of(codec().read_query("S20261123_1", from, with.now));
  };
  CAF_CHECK_EQUAL(kind(answered(paid)), "answered");
  auto with_field = [&](const std::string& name, const std::string& value) {
    auto message = paid;
    message[name] = value;
    return answered(message);
  };
  CAF_CHECK_EQUAL(kind(with_field("appid", "wx1")), "forged");
  CAF_CHECK_EQUAL(kind(with_field("mch_id", "1")), "forged");
  CAF_CHECK_EQUAL(kind(with_field("out_trade_no", "S20261123_2")), "forged");
  CAF_CHECK_EQUAL(kind(with_field("out_trade_no", "")), "forged");
  CAF_CHECK_EQUAL(kind(with_field("sign_type", "MD5")), "forged");
  // Without a sign just an error of transport is heard, and proves nothing.
  CAF_CHECK_EQUAL(kind(answered("<xml><return_code>FAIL</return_code>"
                                "<return_msg>签名错误</return_msg></xml>")),
                  "unclear");
  CAF_CHECK_EQUAL(kind(answered("<xml><return_code>SUCCESS</return_code>"
                                "<trade_state>SUCCESS</trade_state></xml>")),
                  "forged");
  CAF_CHECK_EQUAL(kind(answered("<xml></xml>")), "forged");
  CAF_CHECK_EQUAL(kind(answered("")), "forged");
  CAF_CHECK_EQUAL(kind(answered("<html>")), "forged");
  auto genuine = answered(paid);
  CAF_CHECK_EQUAL(kind(answered(genuine.body, 502)), "unclear");
  CAF_CHECK_EQUAL(kind(answered(genuine.body, 429)), "limited");
  CAF_CHECK_EQUAL(kind(answered(signed_xml(payment(), v2_sign_type::md5))),
                  "forged");
  std::minstd_rand random{20261123};
  for (int round = 0; round < 1000; ++round) {
    auto flipped = genuine;
    flipped.body[random() % flipped.body.size()]
      ^= static_cast<char>(1 << (random() % 8));
    auto end = kind(flipped);
    CAF_CHECK(end == "forged" || end == "unclear");
  }
}

CAF_TEST(an order that is asked about has a state) {
  auto ask = [this](std::map<std::string, std::string> message) {
    message.insert({{"out_trade_no", "S20261123_1"},
                    {"transaction_id", "4200002000"},
                    {"total_fee", "9900"},
                    {"time_end", "20261123160000"}});
    return codec().read_query("S20261123_1", answered(message), with.now);
  };
  auto state = [&ask](const std::string& word) {
    auto result = ask({{"trade_state", word}});
    return result ? std::string{to_string(result->is)}
                  : std::string{to_string(result.error().kind)};
  };
  checked(codec().query_request("S20261123_1", with), "/pay/orderquery");
  CAF_CHECK_EQUAL(state("SUCCESS"), "paid");
  CAF_CHECK_EQUAL(state("REFUND"), "refunded");
  CAF_CHECK_EQUAL(state("CLOSED"), "closed");
  CAF_CHECK_EQUAL(state("REVOKED"), "closed");
  for (auto word : {"NOTPAY", "USERPAYING", "PAYERROR", "ACCEPT"})
    CAF_CHECK_EQUAL(state(word), "unpaid");
  CAF_CHECK_EQUAL(state("success"), "unclear");
  CAF_CHECK_EQUAL(state(""), "unclear");
  auto paid = ask({{"trade_state", "SUCCESS"}});
  CAF_REQUIRE(paid.has_value());
  CAF_CHECK_EQUAL(paid->order_id, "S20261123_1");
  CAF_CHECK_EQUAL(paid->transaction_id, "4200002000");
  CAF_CHECK(paid->amount == 9'900);
  CAF_CHECK_EQUAL(paid->currency, "CNY");
  CAF_CHECK(paid->paid_at == parse_rfc3339("2026-11-23T08:00:00Z"));
  CAF_CHECK_EQUAL(paid->word, "SUCCESS");
  auto dollars = ask({{"trade_state", "SUCCESS"}, {"fee_type", "USD"}});
  CAF_REQUIRE(dollars.has_value());
  CAF_CHECK_EQUAL(dollars->currency, "USD");
  CAF_CHECK(!ask({{"trade_state", "SUCCESS"}, {"transaction_id", ""}}));
  CAF_CHECK(!ask({{"trade_state", "SUCCESS"}, {"total_fee", "99.00"}}));
  auto fails = [this](const std::string& code) {
    auto result
      = codec().read_query("S20261123_1", refused_with(code), with.now);
    return result ? std::string{to_string(result->is)} : kind_of(result);
  };
  CAF_CHECK_EQUAL(fails("ORDERNOTEXIST"), "absent");
  CAF_CHECK_EQUAL(fails("ORDERCLOSED"), "closed");
  CAF_CHECK_EQUAL(fails("SYSTEMERROR"), "unclear");
  CAF_CHECK_EQUAL(fails("FREQUENCY_LIMITED"), "limited");
  CAF_CHECK_EQUAL(fails("NOAUTH"), "refused");
  CAF_CHECK_EQUAL(fails(""), "unclear");
  auto result
    = codec().read_query("S20261123_1", refused_with("NOAUTH"), with.now);
  CAF_CHECK_EQUAL(result.error().code, "NOAUTH");
}

CAF_TEST(an order is closed or too late or unknown) {
  checked(codec().close_request("S20261123_1", with), "/pay/closeorder");
  auto end = [this](const client::http_response& from) {
    auto result = codec().read_close("S20261123_1", from, with.now);
    return result ? std::string{to_string(*result)} : kind_of(result);
  };
  CAF_CHECK_EQUAL(end(answered(std::map<std::string, std::string>{})),
                  "closed");
  CAF_CHECK_EQUAL(end(answered({{"out_trade_no", "S20261123_1"}})), "closed");
  CAF_CHECK_EQUAL(end(answered({{"out_trade_no", "S20261123_2"}})), "forged");
  CAF_CHECK_EQUAL(end(refused_with("ORDERCLOSED")), "closed");
  CAF_CHECK_EQUAL(end(refused_with("ORDERPAID")), "paid");
  CAF_CHECK_EQUAL(end(refused_with("ORDERNOTEXIST")), "absent");
  CAF_CHECK_EQUAL(end(refused_with("SYSTEMERROR")), "unclear");
  CAF_CHECK_EQUAL(end(refused_with("REQUIRE_POST_METHOD")), "refused");
}

CAF_TEST(refunds are not started here and still can be asked about) {
  auto request = codec().refund_request(a_refund(), with);
  CAF_REQUIRE(!request);
  CAF_CHECK(request.error().find("certificate") != std::string::npos);
  CAF_CHECK_EQUAL(
    kind_of(codec().read_refund(
      a_refund(), answered(std::map<std::string, std::string>{}), with.now)),
    "refused");
  auto sent = checked(codec().refund_query_request(a_refund(), with),
                      "/pay/refundquery");
  CAF_CHECK_EQUAL(sent["out_refund_no"], "R1");
  auto state = [this](std::map<std::string, std::string> message) {
    message.insert({{"out_trade_no", "S20261123_1"},
                    {"refund_count", "2"},
                    {"out_refund_no_0", "R0"},
                    {"refund_status_0", "SUCCESS"},
                    {"refund_fee_0", "5"},
                    {"out_refund_no_1", "R1"},
                    {"refund_status_1", "PROCESSING"},
                    {"refund_fee_1", "1000"}});
    auto result
      = codec().read_refund_query(a_refund(), answered(message), with.now);
    if (!result)
      return kind_of(result);
    CAF_CHECK(result->amount == 1'000);
    CAF_CHECK_EQUAL(result->refund_id, "R1");
    return std::string{to_string(result->is)};
  };
  CAF_CHECK_EQUAL(state({}), "processing");
  CAF_CHECK_EQUAL(state({{"refund_status_1", "SUCCESS"}}), "done");
  CAF_CHECK_EQUAL(state({{"refund_status_1", "CHANGE"}}), "abnormal");
  CAF_CHECK_EQUAL(state({{"refund_status_1", "REFUNDCLOSE"}}), "closed");
  CAF_CHECK_EQUAL(state({{"refund_status_1", "?"}}), "unclear");
  CAF_CHECK_EQUAL(state({{"refund_fee_1", "10.00"}}), "unclear");
  CAF_CHECK_EQUAL(state({{"out_refund_no_1", "R2"}}), "unclear");
  CAF_CHECK_EQUAL(state({{"out_trade_no", "S20261123_2"}}), "forged");
  auto absent = codec().read_refund_query(
    a_refund(), refused_with("REFUNDNOTEXIST"), with.now);
  CAF_REQUIRE(absent.has_value());
  CAF_CHECK(absent->is == refund_state::absent);
  CAF_CHECK_EQUAL(kind_of(codec().read_refund_query(
                    a_refund(), refused_with("SYSTEMERROR"), with.now)),
                  "unclear");
}

CAF_TEST_FIXTURE_SCOPE_END()

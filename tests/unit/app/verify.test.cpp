#define CAF_SUITE app.verify

#include "http/app/verify.hpp"

#include "http/crypto/aead.hpp"
#include "http/crypto/aes_ecb.hpp"
#include "http/crypto/encoding.hpp"
#include "http/crypto/form.hpp"
#include "http/crypto/rsa.hpp"
#include "http/gateway/wechat_v2.hpp"
#include "http/gateway/xml.hpp"

#include <boost/json.hpp>
#include <caf/test/unit_test.hpp>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

using namespace slipway;

namespace {

namespace json = boost::json;

const auto vector_folder = std::filesystem::path{SLIPWAY_TEST_DATA} / "vectors";

std::string content_of(const std::filesystem::path& path) {
  auto in = std::ifstream{path, std::ios::binary};
  auto out = std::ostringstream{};
  out << in.rdbuf();
  return out.str();
}

json::object recorded(std::string_view id) {
  return json::parse(content_of(vector_folder / (std::string{id} + ".json")))
    .as_object();
}

std::string text_in(const json::object& from, std::string_view name) {
  const auto* found = from.if_contains(name);
  return found != nullptr && found->is_string()
           ? std::string{found->get_string()}
           : std::string{};
}

/// What verify says of a file, as an object.
json::object said(const json::object& file) {
  const auto line = app::verify_message("file.json", json::serialize(file));
  CAF_REQUIRE_EQUAL(std::count(line.begin(), line.end(), '\n'), 0);
  return json::parse(line).as_object();
}

/// `signature decision reason status` of a file.
std::string words(const json::object& file) {
  const auto out = said(file);
  if (out.contains("error"))
    return "error: " + text_in(out, "error");
  auto result = text_in(out, "signature");
  for (auto name : {"decision", "reason"})
    result
      += " " + (out.at(name).is_null() ? std::string{"-"} : text_in(out, name));
  const auto& reply = out.at("reply");
  return result + " "
         + (reply.is_null()
              ? std::string{"-"}
              : std::to_string(reply.as_object().at("status").as_int64()));
}

/// Puts other bytes into a file.
void set_body(json::object& file, const std::string& body) {
  file["body_base64"] = crypto::base64_encode(body);
  file.erase("body_sha256");
  file.erase("body_utf8");
}

// -- messages of our own, signed with keys of our own
// ---------------------------------------------------------------

struct key_pair {
  key_pair() {
    auto made = crypto::generate_rsa_key(2048);
    CAF_REQUIRE(made.has_value());
    public_pem = made->public_pem;
    private_pem = made->private_pem;
  }

  std::string sign(crypto::digest with, std::string_view text) const {
    const auto key = crypto::rsa_private_key::parse(private_pem);
    CAF_REQUIRE(key.has_value());
    return crypto::base64_encode(*key->sign(with, text));
  }

  std::string public_pem;
  std::string private_pem;
};

const key_pair& our_key() {
  static const auto key = key_pair{};
  return key;
}

using fields = crypto::form_fields;

void set(fields& of, std::string_view name, std::string_view value) {
  for (auto& [key, to] : of)
    if (key == name) {
      to = value;
      return;
    }
  of.emplace_back(name, value);
}

/// A recorded notification of Alipay with some fields changed, signed again.
json::object alipay(const fields& changes, std::string_view sign_type = "RSA2",
                    std::string_view id = "alipay-rsa2-valid") {
  auto file = recorded(id);
  auto form
    = crypto::decode_form(*crypto::base64_decode(text_in(file, "body_base64")));
  CAF_REQUIRE(form.has_value());
  for (const auto& [name, value] : changes)
    set(*form, name, value);
  set(*form, "sign_type", sign_type);
  auto sorted = *form;
  std::sort(sorted.begin(), sorted.end());
  auto content = std::string{};
  for (const auto& [name, value] : sorted)
    if (name != "sign" && name != "sign_type")
      content += (content.empty() ? "" : "&") + name + "=" + value;
  set(*form, "sign",
      our_key().sign(sign_type == "RSA" ? crypto::digest::sha1
                                        : crypto::digest::sha256,
                     content));
  set_body(file, crypto::encode_form(*form));
  file["config"].as_object()["alipay_public_key_pem"] = our_key().public_pem;
  return file;
}

/// The same of WeChat Pay v2. An empty value takes the field away.
json::object
v2(const fields& changes, std::string_view id = "wxv2-hmac-valid",
   gateway::v2_sign_type type = gateway::v2_sign_type::hmac_sha256) {
  auto file = recorded(id);
  auto message = gateway::parse_flat_xml(
    *crypto::base64_decode(text_in(file, "body_base64")), "xml");
  CAF_REQUIRE(message.has_value());
  for (const auto& [name, value] : changes)
    set(*message, name, value);
  std::erase_if(*message, [](const auto& x) {
    return x.second.empty();
  });
  const auto key = text_in(file.at("config").as_object(), "api_v2_key");
  set(*message, "sign", gateway::v2_sign(*message, key, type));
  set_body(file, gateway::write_flat_xml("xml", *message));
  return file;
}

/// The same of a refund result of v2.
json::object v2_refund(const fields& changes) {
  auto file = recorded("wxv2-refund-valid");
  const auto key = gateway::v2_refund_key(
    text_in(file.at("config").as_object(), "api_v2_key"));
  auto outer = gateway::parse_flat_xml(
    *crypto::base64_decode(text_in(file, "body_base64")), "xml");
  auto inner = gateway::parse_flat_xml(
    *crypto::aes_256_ecb_decrypt(
      key, *crypto::base64_decode(*crypto::find_field(*outer, "req_info"))),
    "root");
  CAF_REQUIRE(inner.has_value());
  for (const auto& [name, value] : changes)
    set(*inner, name, value);
  set(*outer, "req_info",
      crypto::base64_encode(*crypto::aes_256_ecb_encrypt(
        key, gateway::write_flat_xml("root", *inner))));
  set_body(file, gateway::write_flat_xml("xml", *outer));
  return file;
}

constexpr std::string_view our_serial = "PUB_KEY_ID_0119000000012026010100001";

/// Signs a file's body by v3.
json::object v3_signed(json::object file, const std::string& body,
                       std::string_view part = "request") {
  set_body(file, body);
  const auto stamp = std::to_string(file.at("clock").as_int64());
  const auto nonce = std::string{"0123456789abcdef"};
  auto headers = json::array{};
  const auto add = [&](std::string_view name, std::string_view value) {
    headers.push_back(json::array{name, value});
  };
  add("Host", "localhost");
  add("Wechatpay-Timestamp", stamp);
  add("Wechatpay-Nonce", nonce);
  add("Wechatpay-Serial", our_serial);
  add("Wechatpay-Signature",
      our_key().sign(crypto::digest::sha256,
                     stamp + "\n" + nonce + "\n" + body + "\n"));
  file[part].as_object()["headers"] = std::move(headers);
  file["config"].as_object()["wechatpay_public_keys"]
    = json::object{{our_serial, our_key().public_pem}};
  return file;
}

/// A notification of v3 of our own: `resource` goes in encrypted.
json::object v3(std::string_view event, const json::object& resource,
                std::string_view id = "wxv3-valid-platform-cert") {
  auto file = recorded(id);
  const auto key = text_in(file.at("config").as_object(), "api_v3_key");
  const auto sealed = crypto::seal_aes_256_gcm(key, "0123456789ab", "x",
                                               json::serialize(resource));
  CAF_REQUIRE(sealed.has_value());
  const auto body = json::object{
    {"id", "EV-1"},
    {"event_type", event},
    {"resource", json::object{{"algorithm", "AEAD_AES_256_GCM"},
                              {"ciphertext", crypto::base64_encode(*sealed)},
                              {"associated_data", "x"},
                              {"nonce", "0123456789ab"}}}};
  return v3_signed(std::move(file), json::serialize(body));
}

constexpr std::string_view v3_transaction = "4200002000202701151234567899";

json::object v3_payment() {
  return {{"appid", "wx8888888888888888"},
          {"mchid", "1900000001"},
          {"out_trade_no", "SHOP20270115000003"},
          {"transaction_id", v3_transaction},
          {"trade_state", "SUCCESS"},
          {"success_time", "2027-01-15T15:59:58+08:00"},
          {"amount", json::object{{"total", 8888}, {"currency", "CNY"}}}};
}

json::object v3_refund(std::string_view status, std::string_view number) {
  return {{"mchid", "1900000001"},
          {"out_trade_no", "SHOP20270115000003"},
          {"transaction_id", v3_transaction},
          {"out_refund_no", number},
          {"refund_status", status},
          {"amount", json::object{{"total", 8888}, {"refund", 1000}}}};
}

json::object& order_of(json::object& file) {
  return file["order"].as_object();
}

/// Whether the reasons mean the same: ours may be called otherwise.
bool same_reason(std::string_view found, std::string_view wanted) {
  if (wanted == "mchid_mismatch")
    return found == "mch_id_mismatch";
  if (wanted == "duplicate_response_node")
    return found == "duplicate_member";
  if (wanted == "malformed_or_mismatch")
    return found == wanted || found.starts_with("malformed")
           || found == "decrypt_failed";
  return found == wanted
         // A failure that is good as a diagnosis has a reason, too.
         || (wanted.empty() && found == "sign_missing");
}

/// What is answered to a message that is not proven to be the gateway's.
int forged_status(std::string_view gateway) {
  return gateway == "wechat-v3" ? 401 : 400;
}

} // namespace

CAF_TEST(recorded messages are judged as recorded) {
  auto checked = 0;
  for (const auto& entry : std::filesystem::directory_iterator{vector_folder}) {
    const auto file = json::parse(content_of(entry.path())).as_object();
    const auto& expect = file.at("expect").as_object();
    const auto out = said(file);
    CAF_MESSAGE(json::serialize(out));
    CAF_REQUIRE(!out.contains("error"));
    CAF_CHECK_EQUAL(text_in(out, "id"), text_in(file, "id"));
    if (const auto signature = text_in(expect, "signature"); !signature.empty())
      CAF_CHECK_EQUAL(text_in(out, "signature"), signature);
    CAF_CHECK_EQUAL(text_in(out, "decision"), text_in(expect, "decision"));
    CAF_CHECK(same_reason(text_in(out, "reason"), text_in(expect, "reason")));
    ++checked;
    const auto* wanted = expect.if_contains("reply");
    CAF_CHECK_EQUAL(out.at("reply").is_null(), wanted == nullptr);
    if (wanted == nullptr)
      continue;
    const auto& reply = out.at("reply").as_object();
    const auto name = text_in(file, "gateway");
    const auto forged = text_in(out, "decision") == "reject"
                        && text_in(out, "signature") != "valid"
                        && text_in(out, "signature") != "none_by_design";
    CAF_CHECK_EQUAL(reply.at("status").as_int64(),
                    forged ? forged_status(name)
                           : wanted->as_object().at("status").as_int64());
    const auto body = text_in(reply, "body");
    if (forged && name == "alipay")
      CAF_CHECK_EQUAL(body, "Invalid signature");
    else if (name == "wechat-v2" && text_in(out, "decision") == "reject")
      CAF_CHECK(body.find("<return_code><![CDATA[FAIL]]></return_code>")
                != std::string::npos);
    else
      CAF_CHECK_EQUAL(body, text_in(wanted->as_object(), "body"));
  }
  CAF_CHECK(checked >= 118);
}

CAF_TEST(a line has its members in order and stays one line) {
  auto file = recorded("wxv3-valid-platform-cert");
  file["id"] = "a \"b\"\n\x01 支付";
  CAF_CHECK_EQUAL(app::verify_message("x", json::serialize(file)),
                  R"({"id":"a \"b\"\n\u0001 支付","signature":"valid",)"
                  R"("decision":"credit","reason":null,)"
                  R"("reply":{"status":204,"body":""}})");
  const auto unread = app::verify_unreadable("bad \xff name", "why");
  CAF_CHECK_EQUAL(unread, "{\"id\":\"bad \xef\xbf\xbd name\","
                          "\"error\":\"why\"}");
}

CAF_TEST(another form is told with what was expected) {
  const auto error_of = [](std::string_view text) {
    const auto out = json::parse(app::verify_message("f.json", text));
    CAF_CHECK_EQUAL(text_in(out.as_object(), "id"), "f.json");
    return text_in(out.as_object(), "error");
  };
  CAF_CHECK(error_of("").starts_with("expected one message as a JSON object"));
  CAF_CHECK(error_of("[]").starts_with("expected one message"));
  CAF_CHECK(error_of(R"({"id":"a","id":"b"})").find("duplicate member")
            != std::string::npos);
  CAF_CHECK_EQUAL(error_of("{}"), "id: expected a text");
  const auto change = [&](std::string_view name, json::value value) {
    auto file = recorded("wxv3-valid-platform-cert");
    file[name] = std::move(value);
    return words(file);
  };
  CAF_CHECK_EQUAL(change("gateway", "paypal"),
                  "error: gateway: expected alipay, wechat-v2 or wechat-v3");
  CAF_CHECK_EQUAL(change("kind", nullptr),
                  "error: kind: expected notify, refund-notify, response, "
                  "request or computation");
  CAF_CHECK_EQUAL(change("clock", nullptr),
                  "error: clock: expected Unix seconds");
  CAF_CHECK(change("clock", 9223372036854775807).starts_with("error: clock"));
  CAF_CHECK(change("clock", "now").starts_with("error: clock"));
  CAF_CHECK(change("body_base64", "%").starts_with("error: body_base64"));
  CAF_CHECK(change("body_sha256", "00").starts_with("error: body_sha256"));
  CAF_CHECK(change("request", 1).starts_with("error: request"));
  CAF_CHECK(change("request", json::object{{"headers", json::array{1}}})
              .starts_with("error: request.headers"));
  CAF_CHECK(change("config", json::object{}).starts_with("error: config"));
  CAF_CHECK(change("order", "none").starts_with("error: order"));
  auto file = recorded("wxv3-refund-success");
  order_of(file)["trade_state"] = "PERHAPS";
  CAF_CHECK(words(file).starts_with("error: order.status"));
  file = recorded("wxv3-refund-success");
  order_of(file)["refunds"] = json::array{json::object{{"amount", 1}}};
  CAF_CHECK(words(file).starts_with("error: order.refunds[0]"));
  file = recorded("wxv2-md5-valid");
  order_of(file)["total_fee"] = "8888";
  CAF_CHECK(words(file).starts_with("error: order.total_fee"));
  order_of(file)["total_fee"] = 18446744073709551615U;
  CAF_CHECK(words(file).starts_with("error: order.total_fee"));
  file = recorded("wxv2-md5-valid");
  order_of(file)["sign_type"] = "SHA-1";
  CAF_CHECK(words(file).starts_with("error: order.sign_type"));
}

CAF_TEST(no secret of the configuration is repeated) {
  for (auto id : {"wxv2-md5-valid", "wxv3-valid-platform-cert"}) {
    auto file = recorded(id);
    for (auto name : {"api_v2_key", "api_v3_key"}) {
      file["config"].as_object()[name] = "not so secret";
      const auto line = app::verify_message("x", json::serialize(file));
      CAF_CHECK_EQUAL(line.find("not so secret"), std::string::npos);
    }
  }
}

CAF_TEST(the order decides about payments) {
  CAF_CHECK_EQUAL(words(alipay({})), "valid credit - 200");
  auto file = alipay({});
  file["order"] = nullptr;
  CAF_CHECK_EQUAL(words(file), "valid reject order_not_found 200");
  file = alipay({{"total_amount", "88.87"}});
  CAF_CHECK_EQUAL(words(file), "valid reject amount_mismatch 200");
  file = alipay({{"total_amount", "99999999999999999999.00"}});
  CAF_CHECK_EQUAL(words(file), "valid reject amount_malformed 200");
  file = alipay({{"app_id", "2021000000000002"}});
  CAF_CHECK_EQUAL(words(file), "valid reject app_id_mismatch 200");
  // Paid already, by another payment or by one that is not named.
  file = alipay({});
  order_of(file)["status"] = "TRADE_FINISHED";
  CAF_CHECK_EQUAL(words(file), "valid ack_duplicate - 200");
  order_of(file)["trade_no"] = "2027";
  CAF_CHECK_EQUAL(words(file), "valid reject conflicting_payment 200");
  // Money for a closed order is never dropped.
  file = alipay({});
  order_of(file)["status"] = "TRADE_CLOSED";
  CAF_CHECK_EQUAL(words(file), "valid credit - 200");
  file = alipay({{"trade_status", "TRADE_CLOSED"}});
  order_of(file)["status"] = "TRADE_SUCCESS";
  CAF_CHECK_EQUAL(words(file), "valid ack_noop - 200");
}

CAF_TEST(no message chooses the signing algorithm) {
  // Alipay, configured for RSA2: a weaker one proves nothing.
  auto found = said(alipay({}, "RSA"));
  CAF_CHECK_EQUAL(text_in(found, "decision"), "reject");
  CAF_CHECK(text_in(found, "signature") != "valid");
  CAF_CHECK_EQUAL(text_in(found.at("reply").as_object(), "body"),
                  "Invalid signature");
  // The other way round it is no better.
  auto file = alipay({});
  file["config"].as_object()["sign_type"] = "RSA";
  CAF_CHECK_EQUAL(text_in(said(file), "decision"), "reject");
  // v2: the order's type counts.
  using enum gateway::v2_sign_type;
  CAF_CHECK_EQUAL(words(v2({})), "valid credit - 200");
  for (auto named : {"", "MD5", "HMAC-SHA256"}) {
    file = v2({{"sign_type", named}}, "wxv2-hmac-valid", md5);
    found = said(file);
    CAF_CHECK_EQUAL(text_in(found, "decision"), "reject");
    CAF_CHECK(text_in(found, "signature") != "valid");
    CAF_CHECK_EQUAL(found.at("reply").as_object().at("status"), 400);
  }
  file = v2({});
  file["config"].as_object()["sign_type"] = "MD5";
  CAF_CHECK_EQUAL(words(file), "valid credit - 200");
  order_of(file)["sign_type"] = "MD5";
  CAF_CHECK_EQUAL(text_in(said(file), "decision"), "reject");
}

CAF_TEST(amounts that no order can have are refused) {
  for (auto fee : {"18446744073709560504", "-8888", "+8888", "08888", "8888 ",
                   "8.888e3", "0x22b8"})
    CAF_CHECK_EQUAL(words(v2({{"total_fee", fee}})),
                    "valid reject amount_malformed 200");
  for (const auto& total :
       {json::value(8888.0), json::value("8888"), json::value(-8888),
        json::value(18446744073709551615U), json::value(nullptr)}) {
    auto resource = v3_payment();
    resource["amount"].as_object()["total"] = total;
    CAF_CHECK_EQUAL(words(v3("TRANSACTION.SUCCESS", resource)),
                    "valid reject amount_malformed 400");
  }
}

CAF_TEST(refunds of Alipay are counted once) {
  const auto paid = [](json::object file) {
    order_of(file)["status"] = "TRADE_SUCCESS";
    order_of(file)["trade_no"] = "2027011522001400001400000001";
    return file;
  };
  const auto part = fields{{"refund_fee", "20.00"},
                           {"out_biz_no", "REFUND-1"},
                           {"gmt_refund", "2027-01-15 16:00:00"}};
  auto file = paid(alipay(part));
  CAF_CHECK_EQUAL(words(file), "valid record_refund - 200");
  auto refund
    = json::object{{"out_request_no", "REFUND-1"}, {"amount", "20.00"}};
  order_of(file)["refunds"] = json::array{refund};
  CAF_CHECK_EQUAL(words(file), "valid record_refund - 200");
  refund["status"] = "REFUND_SUCCESS";
  order_of(file)["refunds"] = json::array{refund};
  CAF_CHECK_EQUAL(words(file), "valid ack_duplicate - 200");
  refund["amount"] = "88.89";
  order_of(file)["refunds"] = json::array{refund};
  CAF_CHECK(words(file).starts_with("error: order.refunds[0]"));
  CAF_CHECK_EQUAL(words(paid(alipay({{"refund_fee", "88.89"}}))),
                  "valid reject amount_mismatch 200");
  // The money never came, as far as we know: it has to come again.
  CAF_CHECK_EQUAL(words(alipay(part)), "valid reject not_paid 200");
  // Refunded in full and therefore closed.
  file = recorded("alipay-refund-full");
  order_of(file)["status"] = "TRADE_CLOSED";
  CAF_CHECK_EQUAL(words(file), "valid ack_duplicate - 200");
}

CAF_TEST(unsigned refunds have to agree with what is known) {
  CAF_CHECK_EQUAL(words(v2_refund({})), "none_by_design record_refund - 200");
  for (const auto& [name, value] :
       fields{{"out_refund_no", "REFUND-8"},
              {"refund_fee", "1001"},
              {"total_fee", "8889"},
              {"transaction_id", "4200002000202701151234567891"}})
    CAF_CHECK_EQUAL(words(v2_refund({{name, value}})),
                    "none_by_design reject malformed_or_mismatch 200");
  CAF_CHECK_EQUAL(words(v2_refund({{"out_trade_no", "SHOP20270115000009"}})),
                  "none_by_design reject order_not_found 200");
  CAF_CHECK_EQUAL(words(v2_refund({{"refund_status", "CHANGE"}})),
                  "none_by_design refund_abnormal - 200");
  CAF_CHECK_EQUAL(words(v2_refund({{"refund_status", "REFUNDCLOSE"}})),
                  "none_by_design refund_closed - 200");
  auto file = v2_refund({});
  order_of(file)["refunds"] = json::array{};
  CAF_CHECK_EQUAL(words(file),
                  "none_by_design reject malformed_or_mismatch 200");
  // A payment's message says nothing at the address for refunds.
  file = recorded("wxv2-md5-valid");
  file["kind"] = "refund-notify";
  CAF_CHECK_EQUAL(text_in(said(file), "decision"), "reject");
}

CAF_TEST(messages of v3 count for what is inside) {
  CAF_CHECK_EQUAL(words(v3("TRANSACTION.SUCCESS", v3_payment())),
                  "valid credit - 204");
  auto file = v3("TRANSACTION.SUCCESS", v3_payment());
  order_of(file)["trade_state"] = "CLOSED";
  CAF_CHECK_EQUAL(words(file), "valid credit - 204");
  order_of(file)["trade_state"] = "SUCCESS";
  order_of(file)["transaction_id"] = v3_transaction;
  CAF_CHECK_EQUAL(words(file), "valid ack_duplicate - 204");
  order_of(file)["transaction_id"] = "1";
  CAF_CHECK_EQUAL(words(file), "valid reject conflicting_payment 400");
  file = v3("TRANSACTION.SUCCESS", v3_payment());
  order_of(file)["amount"].as_object()["currency"] = "USD";
  CAF_CHECK_EQUAL(words(file), "valid reject currency_mismatch 400");
  // Signed, and nothing in it.
  file = v3_signed(recorded("wxv3-valid-platform-cert"),
                   R"({"id":"EV-1","event_type":"TRANSACTION.SUCCESS"})");
  CAF_CHECK_EQUAL(words(file), "valid reject malformed_resource 400");
  file = v3_signed(recorded("wxv3-valid-platform-cert"), "");
  CAF_CHECK_EQUAL(words(file), "valid reject malformed_body 400");
  // A host that looks like home opens no door.
  file = recorded("wxv3-wrong-key");
  file["request"].as_object()["headers"].as_array().push_back(
    json::array{"Host", "localhost"});
  CAF_CHECK_EQUAL(words(file), "invalid reject sign_mismatch 401");
  file["request"].as_object()["headers"]
    = json::array{json::array{"Host", "localhost"}};
  CAF_CHECK_EQUAL(words(file), "missing reject header_missing 401");
  // The clock is the file's.
  file = v3("TRANSACTION.SUCCESS", v3_payment());
  file["clock"] = file["clock"].as_int64() + 300;
  CAF_CHECK_EQUAL(words(file),
                  "valid_but_stale reject timestamp_out_of_range 401");
}

CAF_TEST(refunds of v3 are matched by their numbers) {
  const auto of = [](std::string_view event, std::string_view status,
                     std::string_view number) {
    return v3(event, v3_refund(status, number), "wxv3-refund-success");
  };
  auto file = of("REFUND.SUCCESS", "SUCCESS", "REFUND-3");
  CAF_CHECK_EQUAL(words(file), "valid record_refund - 204");
  order_of(file)["refunds"] = json::array{json::object{
    {"out_refund_no", "REFUND-3"}, {"amount", 1000}, {"status", "SUCCESS"}}};
  CAF_CHECK_EQUAL(words(file), "valid ack_duplicate - 204");
  // The second one of two.
  file = of("REFUND.CLOSED", "CLOSED", "REFUND-4");
  order_of(file)["refunds"].as_array().push_back(
    json::object{{"out_refund_no", "REFUND-4"}, {"amount", 1000}});
  CAF_CHECK_EQUAL(words(file), "valid refund_closed - 204");
  // None of ours that failed is nothing to us.
  CAF_CHECK_EQUAL(words(of("REFUND.ABNORMAL", "ABNORMAL", "REFUND-4")),
                  "valid ack_noop - 204");
  CAF_CHECK_EQUAL(words(of("REFUND.SUCCESS", "CLOSED", "REFUND-3")),
                  "valid ack_noop - 204");
  auto resource = v3_refund("SUCCESS", "REFUND-3");
  resource["mchid"] = "1900000002";
  CAF_CHECK_EQUAL(words(v3("REFUND.SUCCESS", resource, "wxv3-refund-success")),
                  "valid reject mch_id_mismatch 400");
}

CAF_TEST(answers are used only when they are proven) {
  // The certificates prove themselves to who has the key.
  auto file = recorded("wxv3-response-certificates");
  file["config"].as_object().erase("platform_certificates");
  CAF_CHECK_EQUAL(words(file), "valid use - -");
  CAF_CHECK_EQUAL(said(file).at("computed"),
                  json::value(json::object{
                    {"serials", file.at("expect").as_object().at("serials")}}));
  file["config"].as_object()["api_v3_key"] = std::string(32, 'x');
  CAF_CHECK_EQUAL(words(file), "invalid reject unknown_serial -");
  // An unsigned success is forged, an unsigned failure proves nothing.
  file = recorded("wxv3-response-unsigned-200");
  file["response"].as_object()["status"] = 502;
  CAF_CHECK_EQUAL(words(file),
                  "missing treat_as_unknown_failure header_missing -");
  file = v3_signed(recorded("wxv3-response-native-valid"), R"({"a":1,"a":2})",
                   "response");
  CAF_CHECK_EQUAL(words(file), "valid reject duplicate_member -");
  // v2.
  file = v2({});
  file["kind"] = "response";
  file["response"] = json::object{{"status", 200}};
  CAF_CHECK_EQUAL(words(file), "valid use - -");
  file["order"].as_object()["sign_type"] = "MD5";
  CAF_CHECK_EQUAL(words(file), "invalid reject sign_type_not_allowed -");
  set_body(file, "<xml><return_code>FAIL</return_code></xml>");
  CAF_CHECK_EQUAL(words(file),
                  "missing treat_as_unknown_failure return_code_fail -");
  set_body(file, "<xml><return_code>SUCCESS</return_code></xml>");
  CAF_CHECK_EQUAL(words(file), "missing reject sign_missing -");
  set_body(file, "<!DOCTYPE xml><xml></xml>");
  CAF_CHECK_EQUAL(words(file), "not_evaluated reject doctype_forbidden -");
  file = recorded("alipay-response-valid");
  file["request"].as_object().erase("api_method");
  CAF_CHECK(words(file).starts_with("error: request.api_method"));
}

CAF_TEST(requests are checked with our own public half) {
  auto file = recorded("alipay-request-page-pay");
  CAF_CHECK_EQUAL(words(file), "valid - - -");
  auto& url = file["request"].as_object()["url"];
  url = std::string{url.as_string()} + "&subject=x";
  CAF_CHECK_EQUAL(words(file), "invalid - sign_mismatch -");
  url = "https://openapi.alipay.com/gateway.do";
  CAF_CHECK_EQUAL(words(file), "missing - sign_missing -");
  file = recorded("wxv3-request-native");
  CAF_CHECK_EQUAL(words(file), "valid - - -");
  file["request"].as_object()["path"] = "/v3/pay/transactions/h5";
  CAF_CHECK_EQUAL(words(file), "invalid - sign_mismatch -");
  file["request"].as_object()["headers"]
    = json::array{json::array{"Authorization", "Bearer x"}};
  CAF_CHECK_EQUAL(words(file), "unsupported - unsupported_signature_type -");
  file["config"].as_object().erase("merchant_certificate_pem");
  CAF_CHECK(words(file).starts_with("error: config.merchant_certificate_pem"));
  file = v2({});
  file["kind"] = "request";
  CAF_CHECK_EQUAL(words(file), "valid - - -");
}

CAF_TEST(computations tell a difference) {
  auto file = recorded("wxv2-kat-official");
  CAF_CHECK_EQUAL(words(file), "not_evaluated - - -");
  file["expect"].as_object()["MD5"] = "00";
  CAF_CHECK_EQUAL(words(file), "not_evaluated - MD5 is not the expected one -");
  file["intermediate"].as_object()["fields"].as_object()["appid"] = 1;
  CAF_CHECK(words(file).starts_with("error: intermediate.fields.appid"));
  file.erase("intermediate");
  CAF_CHECK(words(file).starts_with("error: nothing to compute"));
}

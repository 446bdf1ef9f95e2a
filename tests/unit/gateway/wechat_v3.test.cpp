#define CAF_SUITE gateway.wechat_v3

#include "http/gateway/wechat_v3.hpp"

#include "http/crypto/aead.hpp"
#include "http/crypto/certificate.hpp"
#include "http/crypto/encoding.hpp"
#include "http/crypto/text.hpp"
#include "http/gateway/strict_json.hpp"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <caf/test/unit_test.hpp>

#include <array>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <set>
#include <sstream>

using namespace slipway;
using namespace slipway::gateway;
using lifecycle::payment_method;

namespace {

namespace json = boost::json;

timestamp at_second(std::int64_t seconds) {
  return timestamp{std::chrono::seconds{seconds}};
}

// -- vectors

std::vector<json::object> vectors_of_kind(std::string_view kind) {
  std::vector<json::object> result;
  const auto folder = std::filesystem::path{SLIPWAY_TEST_DATA} / "vectors";
  for (const auto& entry : std::filesystem::directory_iterator{folder}) {
    std::ifstream file{entry.path()};
    std::ostringstream text;
    text << file.rdbuf();
    auto vector = json::parse(text.str()).as_object();
    if (text_of(vector, "gateway") == "wechat-v3"
        && text_of(vector, "kind") == kind)
      result.push_back(std::move(vector));
  }
  return result;
}

std::string member(const json::object& from, std::string_view name) {
  return text_of(from, name).value_or("");
}

client::header_list headers_of(const json::object& message) {
  client::header_list result;
  if (const auto* list = message.if_contains("headers"))
    for (const auto& pair : list->as_array())
      result.emplace_back(std::string{pair.at(0).as_string()},
                          std::string{pair.at(1).as_string()});
  return result;
}

std::string body_of(const json::object& vector) {
  auto body = crypto::base64_decode(member(vector, "body_base64"));
  CAF_REQUIRE(body.has_value());
  return *body;
}

timestamp clock_of(const json::object& vector) {
  return at_second(*integer_of(vector, "clock"));
}

/// Made once for the whole suite: making a key takes a while.
const crypto::rsa_key_pair& pair_number(std::size_t index) {
  static const std::array<crypto::rsa_key_pair, 4> pairs{
    *crypto::generate_rsa_key(), *crypto::generate_rsa_key(),
    *crypto::generate_rsa_key(), *crypto::generate_rsa_key()};
  return pairs[index];
}

config::wechat_settings settings_of(const json::object& vector) {
  const auto& given = vector.at("config").as_object();
  config::wechat_settings result;
  result.app_id = text_of(given, "appid").value_or("wx8888888888888888");
  result.mch_id = member(given, "mchid");
  result.api_v3_key = config::secret{member(given, "api_v3_key")};
  if (auto serial = text_of(given, "merchant_serial")) {
    result.merchant_serial = *serial;
    // The recorded key is not at hand: its certificate checks instead.
    result.merchant_private_key = config::secret{pair_number(0).private_pem};
  }
  for (auto name : {"platform_certificates", "wechatpay_public_keys"})
    if (const auto* list = object_of(given, name))
      for (const auto& [serial, pem] : *list)
        result.platform_keys.push_back(
          {std::string{serial}, std::string{pem.as_string()}});
  return result;
}

wechat_v3 codec_of(const config::wechat_settings& settings) {
  auto keys = platform_keys::make(settings.platform_keys);
  if (!keys)
    CAF_FAIL(keys.error());
  auto result = wechat_v3::make(settings, *keys);
  if (!result)
    CAF_FAIL(result.error());
  return *result;
}

/// Our word for a reason of the vectors.
std::string reason_word(const std::string& theirs) {
  return theirs == "mchid_mismatch" ? "mch_id_mismatch" : theirs;
}

/// What whoever knows the order makes of a reading: decision and reason.
std::pair<std::string, std::string>
decide(const reading& from, const json::object& order) {
  if (from.refused)
    return {"reject", std::string{to_string(from.refused->reason)}};
  const auto& what = from.what;
  if (what.is == meaning::nothing)
    return {"ack_noop", ""};
  if (what.order_id != member(order, "out_trade_no"))
    return {"reject", "order_not_found"};
  if (what.amount != integer_of(order.at("amount").as_object(), "total"))
    return {"reject", "amount_mismatch"};
  switch (what.is) {
    case meaning::payment:
      return {member(order, "trade_state") == "NOTPAY" ? "credit"
                                                       : "ack_duplicate",
              ""};
    case meaning::refund:
      return {"record_refund", ""};
    case meaning::refund_abnormal:
      return {"refund_abnormal", ""};
    case meaning::refund_closed:
      return {"refund_closed", ""};
    case meaning::nothing:
    case meaning::closed:
      break;
  }
  return {"reject", "unexpected"};
}

// -- a merchant and a gateway with keys of their own

const std::string serial_a = "5157F09EFDC096DE15EBE81A47057A7232F1B8E1";
const std::string serial_b = "0A57F09EFDC096DE15EBE81A47057A7232F1B8E2";
const std::string key_id = "PUB_KEY_ID_0119000000012026010100000000000001";
const std::string v3_key = "lyQ98PtsyFzcBxYOYHvtVv8Vnyltd1da";
const std::string nonce = "593BEC0C930BF1AFEB40B4A08C8FB242";

struct fixture {
  const crypto::rsa_key_pair& merchant_pair = pair_number(0);
  const timestamp now = at_second(1'800'000'000);

  config::wechat_settings settings = [this] {
    config::wechat_settings result;
    result.app_id = "wx8888888888888888";
    result.mch_id = "1900000001";
    result.gateway_url = "http://127.0.0.1:8181";
    result.api_v3_key = config::secret{v3_key};
    result.merchant_serial = "3775B6A45ACD588826D15E583A95F5DD00000001";
    result.merchant_private_key = config::secret{merchant_pair.private_pem};
    result.platform_keys = {{serial_a, pair_number(1).public_pem}};
    return result;
  }();

  wechat_v3 codec() const {
    return codec_of(settings);
  }

  stamp with() const {
    return {now, nonce};
  }

  static std::string certificate(const std::string& serial, std::size_t key) {
    auto made = crypto::make_certificate(
      pair_number(key).private_pem, "Tenpay.com sign", serial,
      at_second(1'790'000'000), at_second(1'900'000'000));
    if (!made)
      CAF_FAIL(made.error());
    return *made;
  }

  /// Signs as the gateway does.
  client::header_list
  signed_headers(const std::string& body, std::string at = "1799999998",
                 const std::string& serial = serial_a,
                 std::size_t key = 1) const {
    auto signer = *crypto::rsa_private_key::parse(pair_number(key).private_pem);
    auto signature = signer.sign(crypto::digest::sha256,
                                 at + '\n' + nonce + '\n' + body + '\n');
    return {{"Content-Type", "application/json; charset=utf-8"},
            {"Wechatpay-Nonce", nonce},
            {"Wechatpay-Serial", serial},
            {"Wechatpay-Signature", crypto::base64_encode(*signature)},
            {"Wechatpay-Signature-Type", "WECHATPAY2-SHA256-RSA2048"},
            {"Wechatpay-Timestamp", std::move(at)}};
  }

  client::http_response answer(int status, const std::string& body) const {
    return {status, signed_headers(body), body};
  }

  client::http_response refusal(int status, const std::string& code,
                                const std::string& message = "no") const {
    return answer(status, "{\"code\":" + crypto::json_quote(code)
                            + ",\"message\":" + crypto::json_quote(message)
                            + "}");
  }

  static json::object resource(const std::string& plaintext,
                               const std::string& associated = "transaction") {
    auto sealed
      = crypto::seal_aes_256_gcm(v3_key, "fdasflkja484", associated, plaintext);
    CAF_REQUIRE(sealed.has_value());
    json::object result;
    result["algorithm"] = "AEAD_AES_256_GCM";
    result["ciphertext"] = crypto::base64_encode(*sealed);
    result["associated_data"] = associated;
    result["nonce"] = "fdasflkja484";
    return result;
  }

  static json::object
  envelope(const std::string& type, const std::string& plaintext) {
    json::object result;
    result["id"] = "EV-1";
    result["event_type"] = type;
    result["resource"] = resource(plaintext);
    return result;
  }

  static json::object payment() {
    return json::parse(R"({
      "mchid": "1900000001", "appid": "wx8888888888888888",
      "out_trade_no": "SHOP20270115000003",
      "transaction_id": "4200002000202701151234567899",
      "trade_type": "NATIVE", "trade_state": "SUCCESS",
      "success_time": "2027-01-15T15:59:58+08:00",
      "payer": {"openid": "o1"},
      "amount": {"total": 8888, "payer_total": 8000, "currency": "CNY"}
    })")
      .as_object();
  }

  static json::object refund() {
    return json::parse(R"({
      "mchid": "1900000001", "out_trade_no": "SHOP20270115000003",
      "transaction_id": "4200002000202701151234567899",
      "out_refund_no": "SHOP20270115000003r1", "refund_id": "5000000038",
      "refund_status": "SUCCESS",
      "success_time": "2027-01-15T15:59:59+08:00",
      "amount": {"total": 8888, "refund": 1000, "payer_total": 8888,
                 "payer_refund": 1000}
    })")
      .as_object();
  }

  reading read_body(const std::string& body) const {
    return codec().read_notification(signed_headers(body), body, now);
  }

  reading read_event(const std::string& type, const json::object& plain) const {
    return read_body(json::serialize(envelope(type, json::serialize(plain))));
  }

  /// `signature reason`, or `signature meaning`.
  static std::string words(const reading& from) {
    auto result = std::string{to_string(from.signature)} + ' ';
    if (!from.refused)
      return result + std::string{to_string(from.what.is)};
    CAF_CHECK(!from.refused->sentence.empty());
    CAF_CHECK(from.refused->sentence.size() < 400);
    CAF_CHECK(from.what.is == meaning::nothing);
    return result + std::string{to_string(from.refused->reason)};
  }

  std::string payment_with(std::string_view name, const json::value& to) const {
    auto plain = payment();
    plain[name] = to;
    return words(read_event("TRANSACTION.SUCCESS", plain));
  }

  std::string refund_with(std::string_view name, const json::value& to) const {
    auto plain = refund();
    plain[name] = to;
    return words(read_event("REFUND.SUCCESS", plain));
  }

  pay_order order(payment_method method = payment_method::native) const {
    pay_order result;
    result.order_id = "SHOP20270115000003";
    result.method = method;
    result.amount = 8'888;
    result.subject = "专业版 “30 天” & 50%+";
    result.notify_url = "https://pay.example.com/api/payment/wechat/notify";
    result.created_at = now;
    result.expires_at = now + std::chrono::minutes{30};
    result.payer_id = "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o";
    result.payer_ip = "203.0.113.7";
    return result;
  }

  static refund_order refund_of_order() {
    refund_order result;
    result.order_id = "SHOP20270115000003";
    result.transaction_id = "4200002000202701151234567899";
    result.refund_id = "SHOP20270115000003r1";
    result.amount = 1'000;
    result.total = 8'888;
    result.reason = "取消";
    result.notify_url
      = "https://pay.example.com/api/payment/wechat/refund-notify";
    return result;
  }

  /// Checks the Authorization header as the gateway would.
  /// @returns the request's path and query.
  std::string
  checked(const merchant::request& made, const std::string& method) const {
    if (!made)
      CAF_FAIL(made.error());
    CAF_CHECK_EQUAL(made->method, method);
    CAF_REQUIRE(made->url.starts_with(settings.gateway_url + "/v3/"));
    auto target = made->url.substr(settings.gateway_url.size());
    std::map<std::string, std::string> headers;
    for (const auto& [name, value] : made->headers)
      CAF_CHECK(headers.emplace(name, value).second);
    CAF_CHECK_EQUAL(headers["Accept"], "application/json");
    CAF_CHECK(!headers["User-Agent"].empty());
    CAF_CHECK_EQUAL(headers.count("Content-Type"), method == "GET" ? 0u : 1u);
    auto expected = "WECHATPAY2-SHA256-RSA2048 mchid=\"1900000001\","
                    "serial_no=\"3775B6A45ACD588826D15E583A95F5DD00000001\","
                    "timestamp=\"1800000000\",nonce_str=\""
                    + nonce + "\",signature=\"";
    const auto& authorization = headers["Authorization"];
    CAF_REQUIRE(authorization.starts_with(expected));
    CAF_REQUIRE(authorization.ends_with('"'));
    auto raw = crypto::base64_decode(authorization.substr(
      expected.size(), authorization.size() - expected.size() - 1));
    CAF_REQUIRE(raw.has_value());
    auto key = *crypto::rsa_public_key::parse(merchant_pair.public_pem);
    CAF_CHECK(key.verify(crypto::digest::sha256,
                         method + '\n' + target + "\n1800000000\n" + nonce
                           + '\n' + made->body + '\n',
                         *raw));
    return target;
  }

  template <class T>
  static std::string why(const merchant::answer<T>& from) {
    if (from)
      return "none";
    CAF_CHECK(!from.error().sentence.empty());
    CAF_CHECK(from.error().sentence.size() < 700);
    auto result = std::string{to_string(from.error().kind)};
    return from.error().code.empty() ? result
                                     : result + ' ' + from.error().code;
  }

  template <class T>
  static std::string why(const tl::expected<T, std::string>& from) {
    return from ? "none" : from.error();
  }

  /// One answer as every call reads it.
  std::vector<std::string>
  everywhere(const client::http_response& from, const wechat_v3& by) const {
    return {
      why(by.read_create(order(), from, now)),
      why(by.read_query("SHOP20270115000003", from, now)),
      why(by.read_close("SHOP20270115000003", from, now)),
      why(by.read_refund(refund_of_order(), from, now)),
      why(by.read_refund_query(refund_of_order(), from, now)),
      why(by.read_certificates(from, now)),
    };
  }

  void check_everywhere(const client::http_response& from,
                        std::string_view expected) const {
    for (const auto& each : everywhere(from, codec()))
      CAF_CHECK_EQUAL(each, expected);
  }

  std::string trade_with(const json::object& changes) const {
    json::object trade = payment();
    for (const auto& [name, value] : changes)
      trade[name] = value;
    auto result = codec().read_query("SHOP20270115000003",
                                     answer(200, json::serialize(trade)), now);
    return result ? std::string{to_string(result->is)} : why(result);
  }

  static json::object refund_answer() {
    return json::parse(R"({
      "refund_id": "5000000038", "out_refund_no": "SHOP20270115000003r1",
      "transaction_id": "4200002000202701151234567899",
      "out_trade_no": "SHOP20270115000003", "channel": "ORIGINAL",
      "status": "SUCCESS", "create_time": "2027-01-15T15:59:00+08:00",
      "amount": {"total": 8888, "refund": 1000, "currency": "CNY"}
    })")
      .as_object();
  }

  std::string refund_answer_with(const json::object& changes) const {
    auto body = refund_answer();
    for (const auto& [name, value] : changes)
      body[name] = value;
    auto from = answer(200, json::serialize(body));
    auto result = codec().read_refund(refund_of_order(), from, now);
    auto again = codec().read_refund_query(refund_of_order(), from, now);
    CAF_CHECK_EQUAL(why(result), why(again));
    if (!result)
      return why(result);
    CAF_CHECK(result->is == again->is);
    return std::string{to_string(result->is)};
  }

  /// `GET /v3/certificates` answered with these, signed with one of them.
  client::http_response
  certificates(const std::vector<std::pair<std::string, std::size_t>>& list,
               const std::string& signer, std::size_t key,
               const std::string& until = "2030-01-01T00:00:00+08:00") const {
    json::array data;
    for (const auto& [serial, number] : list) {
      json::object entry;
      entry["serial_no"] = serial;
      entry["effective_time"] = "2026-11-23T13:00:00+08:00";
      entry["expire_time"] = until;
      entry["encrypt_certificate"]
        = resource(certificate(serial, number), "certificate");
      data.push_back(std::move(entry));
    }
    json::object body;
    body["data"] = std::move(data);
    auto text = json::serialize(body);
    return {200, signed_headers(text, "1799999998", signer, key), text};
  }
};

} // namespace

// -- vectors
// -------------------------------------------------------------------

CAF_TEST(every recorded notification is read as expected) {
  const auto vectors = vectors_of_kind("notify");
  for (const auto& vector : vectors) {
    CAF_MESSAGE(member(vector, "id"));
    auto result
      = codec_of(settings_of(vector))
          .read_notification(headers_of(vector.at("request").as_object()),
                             body_of(vector), clock_of(vector));
    const auto& expect = vector.at("expect").as_object();
    CAF_CHECK_EQUAL(to_string(result.signature), member(expect, "signature"));
    CAF_CHECK_EQUAL(is_authentic(result),
                    member(expect, "signature") == "valid");
    auto [decision, reason] = decide(result, vector.at("order").as_object());
    CAF_CHECK_EQUAL(decision, member(expect, "decision"));
    CAF_CHECK_EQUAL(reason, reason_word(member(expect, "reason")));
    if (result.signature == signature_verdict::valid) {
      auto envelope = *parse_object(body_of(vector));
      CAF_CHECK_EQUAL(result.what.event_id, member(envelope, "id"));
      CAF_CHECK_EQUAL(result.what.word, member(envelope, "event_type"));
    }
  }
  CAF_CHECK(vectors.size() >= 41);
}

CAF_TEST(every recorded answer is used or refused as expected) {
  const auto vectors = vectors_of_kind("response");
  for (const auto& vector : vectors) {
    CAF_MESSAGE(member(vector, "id"));
    auto settings = settings_of(vector);
    auto codec = codec_of(settings);
    const auto& given = vector.at("response").as_object();
    const auto& expect = vector.at("expect").as_object();
    client::http_response from;
    from.status = static_cast<int>(*integer_of(given, "status"));
    from.headers = headers_of(given);
    from.body = body_of(vector);
    auto now = clock_of(vector);
    auto checked = codec.check(from.headers, from.body, now);
    CAF_CHECK_EQUAL(to_string(checked.signature), member(expect, "signature"));
    CAF_CHECK_EQUAL(checked.refused
                      ? std::string{to_string(checked.refused->reason)}
                      : std::string{},
                    member(expect, "reason"));
    pay_order order;
    order.method = payment_method::native;
    auto created = codec.read_create(order, from, now);
    if (member(expect, "decision") == "reject") {
      CAF_CHECK_EQUAL(fixture::why(created), "forged");
    } else if (member(expect, "decision") == "treat_as_unknown_failure") {
      CAF_CHECK_EQUAL(fixture::why(created), "unclear");
    } else if (auto code = text_of(expect, "code")) {
      CAF_REQUIRE(!created);
      CAF_CHECK_EQUAL(created.error().code, *code);
      CAF_CHECK(created.error().kind == failure::refused);
    } else if (from.status == 204) {
      auto closed = codec.read_close("SHOP20270115000003", from, now);
      CAF_REQUIRE(closed.has_value());
      CAF_CHECK(*closed == close_end::closed);
    } else if (const auto* serials = expect.if_contains("serials")) {
      // With the certificates known, and with none at all.
      for (auto known : {true, false}) {
        if (!known)
          settings.platform_keys.clear();
        auto keys = *platform_keys::make(settings.platform_keys);
        auto certificates
          = wechat_v3::make(settings, keys)->read_certificates(from, now);
        if (!certificates)
          CAF_FAIL(certificates.error().sentence);
        CAF_REQUIRE_EQUAL(certificates->size(), serials->as_array().size());
        for (std::size_t i = 0; i < certificates->size(); ++i)
          CAF_CHECK_EQUAL((*certificates)[i].serial,
                          std::string{serials->at(i).as_string()});
        keys->put(*certificates, now);
        auto later = wechat_v3::make(settings, keys)
                       ->check(from.headers, from.body, now);
        CAF_CHECK(later.signature == signature_verdict::valid);
      }
    } else {
      if (!created)
        CAF_FAIL(created.error().sentence);
      CAF_CHECK_EQUAL(created->qr_code,
                      member(*parse_object(from.body), "code_url"));
    }
  }
  CAF_CHECK(vectors.size() >= 5);
}

CAF_TEST(every recorded request is written as expected) {
  const auto vectors = vectors_of_kind("request");
  for (const auto& vector : vectors) {
    CAF_MESSAGE(member(vector, "id"));
    const auto& given = vector.at("request").as_object();
    const auto& more = vector.at("intermediate").as_object();
    const auto& expect = vector.at("expect").as_object();
    auto settings = settings_of(vector);
    auto body = body_of(vector);
    auto fields = *parse_object(body);
    pay_order order;
    order.method = payment_method::native;
    order.order_id = member(fields, "out_trade_no");
    order.amount = *integer_of(fields.at("amount").as_object(), "total");
    order.subject = member(fields, "description");
    order.notify_url = member(fields, "notify_url");
    order.expires_at = *parse_rfc3339(member(fields, "time_expire"));
    auto made = codec_of(settings).create_request(
      order, {clock_of(vector), member(more, "nonce_str")});
    if (!made)
      CAF_FAIL(made.error());
    CAF_CHECK_EQUAL(made->method, member(given, "method"));
    CAF_CHECK_EQUAL(made->url, settings.gateway_url + member(given, "path"));
    CAF_CHECK_EQUAL(made->body, body);
    // All but the signature, which is by another key.
    auto until_signature = [](std::string_view text) {
      return std::string{text.substr(0, text.find("signature=\""))};
    };
    auto authorization = client::find_header(made->headers, "Authorization");
    CAF_REQUIRE(authorization.has_value());
    CAF_CHECK_EQUAL(until_signature(*authorization),
                    until_signature(member(expect, "authorization")));
    for (const auto& [name, value] : headers_of(given)) {
      auto ours = client::find_header(made->headers, name);
      CAF_REQUIRE(ours.has_value());
      if (name != "Authorization" && value != "required")
        CAF_CHECK_EQUAL(*ours, value);
    }
    // The recorded signature is good for what we wrote.
    auto certificate = crypto::rsa_public_key::parse(
      member(vector.at("config").as_object(), "merchant_certificate_pem"));
    CAF_REQUIRE(certificate.has_value());
    auto raw = crypto::base64_decode(member(expect, "signature_base64"));
    CAF_REQUIRE(raw.has_value());
    auto path = made->url.substr(settings.gateway_url.size());
    CAF_CHECK(certificate->verify(
      crypto::digest::sha256,
      made->method + '\n' + path + '\n'
        + std::to_string(*integer_of(vector, "clock")) + '\n'
        + member(more, "nonce_str") + '\n' + made->body + '\n',
      *raw));
  }
  CAF_CHECK(vectors.size() >= 1);
}

// -- notifications
// -------------------------------------------------------------

CAF_TEST_FIXTURE_SCOPE(wechat_v3_tests, fixture)

CAF_TEST(a payment is read whole) {
  auto result = read_event("TRANSACTION.SUCCESS", payment());
  CAF_CHECK_EQUAL(words(result), "valid payment");
  CAF_CHECK(is_authentic(result));
  const auto& what = result.what;
  CAF_CHECK(what.gateway == lifecycle::payment_gateway::wechat);
  CAF_CHECK_EQUAL(what.event_id, "EV-1");
  CAF_CHECK_EQUAL(what.order_id, "SHOP20270115000003");
  CAF_CHECK_EQUAL(what.transaction_id, "4200002000202701151234567899");
  CAF_CHECK_EQUAL(what.amount, 8'888);
  CAF_CHECK_EQUAL(what.currency, "CNY");
  CAF_CHECK(what.paid_at == at_second(1'799'999'998));
  CAF_CHECK_EQUAL(what.word, "TRANSACTION.SUCCESS");
  CAF_CHECK(what.refund_id.empty());
  CAF_CHECK(!what.refund_amount);
}

CAF_TEST(refunds are read whole) {
  for (auto [status, expected] :
       {std::pair{"SUCCESS", "valid refund"},
        std::pair{"ABNORMAL", "valid refund_abnormal"},
        std::pair{"CLOSED", "valid refund_closed"}}) {
    auto plain = refund();
    plain["refund_status"] = status;
    auto result = read_event(std::string{"REFUND."} + status, plain);
    CAF_CHECK_EQUAL(words(result), expected);
    const auto& what = result.what;
    CAF_CHECK_EQUAL(what.order_id, "SHOP20270115000003");
    CAF_CHECK_EQUAL(what.transaction_id, "4200002000202701151234567899");
    CAF_CHECK_EQUAL(what.refund_id, "SHOP20270115000003r1");
    CAF_CHECK(what.refund_amount == 1'000);
    CAF_CHECK_EQUAL(what.amount, 8'888);
    CAF_CHECK(!what.refunded_total);
    CAF_CHECK(!what.paid_at);
  }
}

CAF_TEST(what contradicts us is refused as authentic with what could be read) {
  CAF_CHECK_EQUAL(payment_with("mchid", "1900009999"), "valid mch_id_mismatch");
  CAF_CHECK_EQUAL(payment_with("mchid", 1900000001), "valid mch_id_mismatch");
  CAF_CHECK_EQUAL(payment_with("appid", "wx1"), "valid app_id_mismatch");
  CAF_CHECK_EQUAL(payment_with("appid", nullptr), "valid app_id_mismatch");
  CAF_CHECK_EQUAL(payment_with("out_trade_no", nullptr),
                  "valid order_not_found");
  CAF_CHECK_EQUAL(payment_with("out_trade_no", 7), "valid malformed_field");
  CAF_CHECK_EQUAL(payment_with("out_trade_no", "a\nb"),
                  "valid malformed_field");
  CAF_CHECK_EQUAL(
    payment_with("out_trade_no", json::value(std::string(129, 'x'))),
    "valid malformed_field");
  CAF_CHECK_EQUAL(payment_with("transaction_id", ""), "valid trade_no_missing");
  CAF_CHECK_EQUAL(payment_with("trade_state", nullptr), "valid unknown_status");
  CAF_CHECK_EQUAL(payment_with("amount", nullptr), "valid amount_malformed");
  for (const auto* amount :
       {R"({"currency":"CNY"})", R"({"total":"8888"})", R"({"total":8888.0})",
        R"({"total":0})", R"({"total":-1})", R"({"total":10000000001})",
        R"({"total":18446744073709551615})", R"({"total":null})"})
    CAF_CHECK_EQUAL(payment_with("amount", json::parse(amount)),
                    "valid amount_malformed");
  for (const auto* amount :
       {R"({"total":8888,"currency":"USD"})", R"({"total":8888,"currency":1})",
        R"({"total":8888,"currency":""})"})
    CAF_CHECK_EQUAL(payment_with("amount", json::parse(amount)),
                    "valid currency_mismatch");
  auto plain = payment();
  plain["mchid"] = "1900009999";
  auto result = read_event("TRANSACTION.SUCCESS", plain);
  CAF_CHECK(is_authentic(result));
  CAF_CHECK_EQUAL(result.what.order_id, "SHOP20270115000003");
  CAF_CHECK_EQUAL(result.what.amount, 8'888);
  CAF_CHECK_EQUAL(result.what.event_id, "EV-1");
}

CAF_TEST(refunds that contradict us are refused) {
  CAF_CHECK_EQUAL(refund_with("mchid", "1"), "valid mch_id_mismatch");
  CAF_CHECK_EQUAL(refund_with("out_trade_no", nullptr),
                  "valid order_not_found");
  CAF_CHECK_EQUAL(refund_with("out_refund_no", nullptr),
                  "valid malformed_field");
  CAF_CHECK_EQUAL(refund_with("out_refund_no", "\x7f"),
                  "valid malformed_field");
  CAF_CHECK_EQUAL(refund_with("refund_status", nullptr),
                  "valid unknown_status");
  CAF_CHECK_EQUAL(refund_with("transaction_id", nullptr),
                  "valid trade_no_missing");
  CAF_CHECK_EQUAL(refund_with("amount", json::parse(R"({"total":8888})")),
                  "valid amount_malformed");
  CAF_CHECK_EQUAL(refund_with("amount", json::parse(R"({"refund":8888})")),
                  "valid amount_malformed");
  CAF_CHECK_EQUAL(
    refund_with("amount", json::parse(R"({"total":1000,"refund":1001})")),
    "valid amount_mismatch");
  CAF_CHECK_EQUAL(
    refund_with("amount",
                json::parse(R"({"total":9,"refund":9,"currency":"USD"})")),
    "valid currency_mismatch");
}

CAF_TEST(what is optional may be missing) {
  CAF_CHECK_EQUAL(payment_with("success_time", nullptr), "valid payment");
  CAF_CHECK_EQUAL(payment_with("success_time", "soon"), "valid payment");
  CAF_CHECK_EQUAL(payment_with("payer", nullptr), "valid payment");
  CAF_CHECK_EQUAL(payment_with("amount", json::parse(R"({"total":1})")),
                  "valid payment");
  CAF_CHECK_EQUAL(refund_with("appid", "another"), "valid refund");
  auto body = envelope("TRANSACTION.SUCCESS", json::serialize(payment()));
  body.erase("id");
  auto result = read_body(json::serialize(body));
  CAF_CHECK_EQUAL(words(result), "valid payment");
  CAF_CHECK(result.what.event_id.empty());
}

CAF_TEST(only what is inside says what happened) {
  for (const auto* state :
       {"NOTPAY", "REFUND", "CLOSED", "USERPAYING", "PAYERROR", "NEW", ""})
    CAF_CHECK_EQUAL(payment_with("trade_state", state), "valid nothing");
  for (const auto* status : {"PROCESSING", "ABNORMAL", "CLOSED", "NEW", ""})
    CAF_CHECK_EQUAL(refund_with("refund_status", status), "valid nothing");
  // An unpaid trade of someone else still is someone else's.
  auto plain = payment();
  plain["trade_state"] = "NOTPAY";
  plain["mchid"] = "1";
  CAF_CHECK_EQUAL(words(read_event("TRANSACTION.SUCCESS", plain)),
                  "valid mch_id_mismatch");
}

CAF_TEST(an event of another type is nothing to us whatever it holds) {
  CAF_CHECK_EQUAL(words(read_body(R"({"event_type":"NEW.THING"})")),
                  "valid nothing");
  auto result
    = read_body(R"({"id":"E","event_type":"PAYSCORE.USER_PAID","resource":1})");
  CAF_CHECK_EQUAL(words(result), "valid nothing");
  CAF_CHECK_EQUAL(result.what.event_id, "E");
  CAF_CHECK_EQUAL(result.what.word, "PAYSCORE.USER_PAID");
}

CAF_TEST(an envelope that is none is refused with the reason) {
  auto reason = [this](const std::string& body) {
    return words(read_body(body));
  };
  CAF_CHECK_EQUAL(reason(""), "valid malformed_body");
  CAF_CHECK_EQUAL(reason("[]"), "valid malformed_body");
  CAF_CHECK_EQUAL(reason("{}"), "valid malformed_body");
  CAF_CHECK_EQUAL(reason("{\"event_type\":\"\xff\"}"), "valid malformed_body");
  CAF_CHECK_EQUAL(reason(R"({"event_type":7})"), "valid malformed_field");
  CAF_CHECK_EQUAL(reason(R"({"event_type":"A","id":7})"),
                  "valid malformed_field");
  CAF_CHECK_EQUAL(reason(R"({"event_type":"A","event_type":"B"})"),
                  "valid duplicate_member");
  CAF_CHECK_EQUAL(reason(R"({"event_type":"TRANSACTION.SUCCESS"})"),
                  "valid malformed_resource");
  auto with = [&](std::string_view name, const json::value& to) {
    auto body = envelope("TRANSACTION.SUCCESS", json::serialize(payment()));
    body["resource"].as_object()[name] = to;
    return reason(json::serialize(body));
  };
  CAF_CHECK_EQUAL(with("algorithm", "AES"), "valid decrypt_failed");
  CAF_CHECK_EQUAL(with("algorithm", nullptr), "valid malformed_resource");
  CAF_CHECK_EQUAL(with("nonce", "short"), "valid decrypt_failed");
  CAF_CHECK_EQUAL(with("nonce", "fdasflkja485"), "valid decrypt_failed");
  CAF_CHECK_EQUAL(with("nonce", 1), "valid malformed_resource");
  CAF_CHECK_EQUAL(with("ciphertext", "***"), "valid decrypt_failed");
  CAF_CHECK_EQUAL(with("ciphertext", ""), "valid decrypt_failed");
  CAF_CHECK_EQUAL(with("ciphertext", nullptr), "valid malformed_resource");
  CAF_CHECK_EQUAL(with("associated_data", "refund"), "valid decrypt_failed");
  CAF_CHECK_EQUAL(with("associated_data", nullptr), "valid decrypt_failed");
  CAF_CHECK_EQUAL(with("associated_data", 1), "valid malformed_resource");
  CAF_CHECK_EQUAL(with("more", "of it"), "valid payment");
  auto inside = [&](const std::string& plain) {
    return reason(json::serialize(envelope("REFUND.SUCCESS", plain)));
  };
  CAF_CHECK_EQUAL(inside("not json"), "valid malformed_resource");
  CAF_CHECK_EQUAL(inside(""), "valid malformed_resource");
  CAF_CHECK_EQUAL(inside(R"({"a":{"b":1,"b":1}})"), "valid duplicate_member");
}

CAF_TEST(without the APIv3 key nothing can be read and that is said) {
  settings.api_v3_key = {};
  auto result = read_event("TRANSACTION.SUCCESS", payment());
  CAF_CHECK_EQUAL(words(result), "valid decrypt_failed");
  CAF_CHECK(result.refused->sentence.find("api_v3_key_file")
            != std::string::npos);
  CAF_CHECK_EQUAL(result.what.event_id, "EV-1");
}

// -- headers, signature and clock
// ---------------------------------------------

CAF_TEST(the clock is read to the millisecond on both sides) {
  auto body = json::serialize(
    envelope("TRANSACTION.SUCCESS", json::serialize(payment())));
  auto at = [&](millis from_stamp) {
    return words(
      codec().read_notification(signed_headers(body, "1799999998"), body,
                                at_second(1'799'999'998) + from_stamp));
  };
  CAF_CHECK_EQUAL(at(millis{0}), "valid payment");
  CAF_CHECK_EQUAL(at(millis{299'999}), "valid payment");
  CAF_CHECK_EQUAL(at(millis{-299'999}), "valid payment");
  CAF_CHECK_EQUAL(at(millis{300'000}),
                  "valid_but_stale timestamp_out_of_range");
  CAF_CHECK_EQUAL(at(millis{-300'000}),
                  "valid_but_stale timestamp_out_of_range");
  CAF_CHECK(!is_authentic(codec().read_notification(
    signed_headers(body, "1799999998"), body, now + millis{300'000})));
}

CAF_TEST(a time stamp is digits and overflows nothing) {
  auto body = json::serialize(
    envelope("TRANSACTION.SUCCESS", json::serialize(payment())));
  auto stamped = [&](const std::string& text) {
    return words(
      codec().read_notification(signed_headers(body, text), body, now));
  };
  CAF_CHECK_EQUAL(stamped("1800000000"), "valid payment");
  CAF_CHECK_EQUAL(stamped("0001800000000"), "valid payment");
  for (const auto* text :
       {"0", "000", "-1", "-1800000000", "-9223372036854775808",
        "9223372036854775807", "9223372036854775808", "18446744073709551616",
        "18446744075509551616", "1800000000000", "999999999999",
        "99999999999999999999999999999999999999"})
    CAF_CHECK_EQUAL(stamped(text), "valid_but_stale timestamp_out_of_range");
  for (const auto* text :
       {"now", "-", "+1800000000", " 1800000000", "1800000000 ", "1800000000.0",
        "1.8e9", "0x6B49D200", "1800000000,1", "--1800000000"})
    CAF_CHECK_EQUAL(stamped(text), "not_evaluated header_malformed");
}

CAF_TEST(each header is needed exactly once) {
  auto body = json::serialize(
    envelope("TRANSACTION.SUCCESS", json::serialize(payment())));
  const auto headers = signed_headers(body);
  auto read = [&](const client::header_list& with) {
    return words(codec().read_notification(with, body, now));
  };
  CAF_CHECK_EQUAL(read(headers), "valid payment");
  CAF_CHECK_EQUAL(read({}), "missing header_missing");
  for (std::size_t i = 1; i < headers.size(); ++i) {
    const auto& name = headers[i].first;
    CAF_MESSAGE(name);
    auto optional = name == "Wechatpay-Signature-Type";
    auto less = headers;
    less.erase(less.begin() + static_cast<std::ptrdiff_t>(i));
    CAF_CHECK_EQUAL(read(less),
                    optional ? "valid payment" : "missing header_missing");
    auto empty = headers;
    empty[i].second.clear();
    CAF_CHECK_EQUAL(read(empty),
                    optional ? "valid payment" : "missing header_missing");
    for (const auto& value : {headers[i].second, std::string{"other"}}) {
      auto twice = headers;
      twice.emplace_back(name, value);
      CAF_CHECK_EQUAL(read(twice), "invalid header_duplicate");
      twice.back().first = std::string{name};
      for (auto& c : twice.back().first)
        if (c >= 'A' && c <= 'Z')
          c = static_cast<char>(c - 'A' + 'a');
      CAF_CHECK_EQUAL(read(twice), "invalid header_duplicate");
    }
  }
  auto changed = [&](std::string_view name, const std::string& value) {
    auto with = headers;
    for (auto& [each, to] : with)
      if (each == name)
        to = value;
    return read(with);
  };
  CAF_CHECK_EQUAL(
    changed("Wechatpay-Signature-Type", "WECHATPAY2-SM2-WITH-SM3"),
    "unsupported unsupported_signature_type");
  CAF_CHECK_EQUAL(changed("Wechatpay-Signature", "***"),
                  "malformed sign_malformed");
  CAF_CHECK_EQUAL(changed("Wechatpay-Signature", "AAAA"),
                  "invalid sign_mismatch");
  // As published: not even base64.
  CAF_CHECK_EQUAL(changed("Wechatpay-Signature", "WECHATPAY/SIGNTEST/abc"),
                  "invalid signtest_probe");
  CAF_CHECK_EQUAL(changed("Wechatpay-Serial", serial_b),
                  "invalid unknown_serial");
  CAF_CHECK_EQUAL(changed("Wechatpay-Serial", settings.merchant_serial),
                  "invalid unknown_serial");
  CAF_CHECK_EQUAL(changed("Wechatpay-Nonce", nonce + "\nx"),
                  "not_evaluated header_malformed");
}

CAF_TEST(the nonce and the body cannot trade a line) {
  // Both are signed as the same bytes.
  auto body = json::serialize(
    envelope("TRANSACTION.SUCCESS", json::serialize(payment())));
  auto longer = "x\n" + body;
  auto headers = signed_headers(longer);
  for (auto& [name, value] : headers)
    if (name == "Wechatpay-Nonce")
      value += "\nx";
  CAF_CHECK(!is_authentic(codec().read_notification(headers, body, now)));
}

CAF_TEST(no changed bit gets through) {
  auto body = json::serialize(
    envelope("TRANSACTION.SUCCESS", json::serialize(payment())));
  const auto headers = signed_headers(body);
  const auto by = codec();
  CAF_REQUIRE(is_authentic(by.read_notification(headers, body, now)));
  std::mt19937 random{20261123};
  auto flip = [&](std::string text, std::size_t at) {
    text[at] = static_cast<char>(text[at] ^ (1 << random() % 8));
    return text;
  };
  std::size_t tried = 0;
  for (std::size_t i = 1; i < headers.size(); ++i)
    for (std::size_t at = 0; at < headers[i].second.size(); ++at) {
      auto changed = headers;
      changed[i].second = flip(headers[i].second, at);
      auto result = by.read_notification(changed, body, now);
      CAF_CHECK(result.refused.has_value());
      CAF_CHECK(!is_authentic(result));
      ++tried;
    }
  for (auto i = 0; i < 500; ++i) {
    auto result
      = by.read_notification(headers, flip(body, random() % body.size()), now);
    CAF_CHECK(result.refused.has_value());
    CAF_CHECK(!is_authentic(result));
    ++tried;
  }
  for (const auto& other : {body + " ", body.substr(1), std::string{}})
    CAF_CHECK(!is_authentic(by.read_notification(headers, other, now)));
  CAF_CHECK(tried > 900);
}

CAF_TEST(an expired certificate signs nothing any more) {
  settings.platform_keys = {{serial_a, certificate(serial_a, 1)}};
  auto body = json::serialize(
    envelope("TRANSACTION.SUCCESS", json::serialize(payment())));
  auto at = [&](std::int64_t second) {
    auto when = at_second(second);
    return words(codec().read_notification(
      signed_headers(body, std::to_string(second)), body, when));
  };
  CAF_CHECK_EQUAL(at(1'789'999'999), "invalid unknown_serial");
  CAF_CHECK_EQUAL(at(1'790'000'000), "valid payment");
  CAF_CHECK_EQUAL(at(1'900'000'000), "valid payment");
  CAF_CHECK_EQUAL(at(1'900'000'001), "invalid unknown_serial");
}

// -- settings
// ------------------------------------------------------------------

CAF_TEST(settings are checked) {
  auto complaint = [this](auto change) {
    auto changed = settings;
    change(changed);
    auto result = wechat_v3::make(changed, *platform_keys::make({}));
    return result ? std::string{"none"} : result.error();
  };
  auto mentions = [](const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
  };
  CAF_CHECK_EQUAL(complaint([](auto&) {}), "none");
  CAF_CHECK(mentions(complaint([](auto& x) {
                       x.app_id = "";
                     }),
                     "app_id"));
  CAF_CHECK(mentions(complaint([](auto& x) {
                       x.mch_id = "1\"";
                     }),
                     "mch_id"));
  CAF_CHECK(mentions(complaint([](auto& x) {
                       x.gateway_url += "/";
                     }),
                     "gateway_url"));
  CAF_CHECK(mentions(complaint([](auto& x) {
                       x.gateway_url = "";
                     }),
                     "gateway_url"));
  CAF_CHECK(mentions(complaint([](auto& x) {
                       x.api_v3_key = config::secret{"short"};
                     }),
                     "holds 5 bytes; expected the 32"));
  CAF_CHECK(mentions(complaint([](auto& x) {
                       x.merchant_serial = "";
                     }),
                     "merchant_serial"));
  auto bad_key = complaint([](auto& x) {
    x.merchant_private_key = config::secret{"my secret"};
  });
  CAF_CHECK(mentions(bad_key, "merchant_private_key_file"));
  CAF_CHECK(!mentions(bad_key, "my secret"));
  CAF_CHECK(!wechat_v3::make(settings, nullptr));
}

CAF_TEST(without the merchant key every request says so) {
  settings.merchant_private_key = {};
  settings.merchant_serial.clear();
  auto by = codec();
  for (const auto& made : {by.create_request(order(), with()),
                           by.query_request("SHOP20270115000003", with()),
                           by.close_request("SHOP20270115000003", with()),
                           by.refund_request(refund_of_order(), with()),
                           by.refund_query_request(refund_of_order(), with()),
                           by.certificates_request(with())})
    CAF_CHECK(why(made).starts_with(
      "wechat.merchant_private_key_file is not configured"));
  CAF_CHECK(why(by.jsapi_parameters("wx1", with()))
              .starts_with("wechat.merchant_private_key_file"));
  // Reading needs none.
  CAF_CHECK_EQUAL(words(read_event("TRANSACTION.SUCCESS", payment())),
                  "valid payment");
}

// -- requests
// ------------------------------------------------------------------

CAF_TEST(the methods are those of WeChat Pay) {
  auto by = codec();
  for (auto method :
       {payment_method::native, payment_method::h5, payment_method::jsapi}) {
    CAF_CHECK(by.takes(method));
    CAF_CHECK(by.has_to_call(method));
    CAF_CHECK(!by.link(order(method)).has_value());
  }
  for (auto method :
       {payment_method::page, payment_method::wap, payment_method::qr}) {
    CAF_CHECK(!by.takes(method));
    CAF_CHECK(!by.create_request(order(method), with()).has_value());
    CAF_CHECK_EQUAL(why(by.read_create(order(method), answer(200, "{}"), now)),
                    "refused");
  }
}

CAF_TEST(orders are written for each method) {
  auto by = codec();
  auto native = by.create_request(order(), with());
  CAF_CHECK_EQUAL(checked(native, "POST"), "/v3/pay/transactions/native");
  CAF_CHECK_EQUAL(native->body,
                  "{\"appid\":\"wx8888888888888888\",\"mchid\":\"1900000001\","
                  "\"description\":\"专业版 “30 天” & 50%+\","
                  "\"out_trade_no\":\"SHOP20270115000003\",\"notify_url\":"
                  "\"https://pay.example.com/api/payment/wechat/notify\","
                  "\"amount\":{\"total\":8888,\"currency\":\"CNY\"},"
                  "\"time_expire\":\"2027-01-15T16:30:00+08:00\"}");
  auto h5 = by.create_request(order(payment_method::h5), with());
  CAF_CHECK_EQUAL(checked(h5, "POST"), "/v3/pay/transactions/h5");
  CAF_CHECK_EQUAL(
    json::serialize(parse_object(h5->body)->at("scene_info")),
    R"({"payer_client_ip":"203.0.113.7","h5_info":{"type":"Wap"}})");
  auto jsapi = by.create_request(order(payment_method::jsapi), with());
  CAF_CHECK_EQUAL(checked(jsapi, "POST"), "/v3/pay/transactions/jsapi");
  CAF_CHECK_EQUAL(json::serialize(parse_object(jsapi->body)->at("payer")),
                  R"({"openid":"oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"})");
  CAF_CHECK(!client::find_header(native->headers, "Wechatpay-Serial"));
}

CAF_TEST(in public key mode requests ask for answers by that key) {
  settings.platform_keys.push_back({key_id, pair_number(2).public_pem});
  auto by = codec();
  for (const auto& made : {by.create_request(order(), with()),
                           by.query_request("SHOP20270115000003", with()),
                           by.certificates_request(with())}) {
    CAF_REQUIRE(made.has_value());
    auto serial = client::find_header(made->headers, "Wechatpay-Serial");
    CAF_REQUIRE(serial.has_value());
    CAF_CHECK_EQUAL(*serial, key_id);
  }
  // Both kinds of keys are good at the same time.
  auto body = std::string{R"({"code_url":"weixin://wxpay/x"})"};
  CAF_CHECK_EQUAL(why(by.read_create(order(), answer(200, body), now)), "none");
  client::http_response from{200, signed_headers(body, "1800000001", key_id, 2),
                             body};
  CAF_CHECK_EQUAL(why(by.read_create(order(), from, now)), "none");
}

CAF_TEST(an order that cannot be expressed is refused with a sentence) {
  auto complaint
    = [this](auto change, payment_method method = payment_method::native) {
        auto changed = order(method);
        change(changed);
        return why(codec().create_request(changed, with()));
      };
  auto mentions = [](const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
  };
  CAF_CHECK_EQUAL(complaint([](auto&) {}), "none");
  for (const auto* id : {"", "short", "a b c d", "SHOP/../1", "订单订单订单",
                         "S12345678901234567890123456789012"})
    CAF_CHECK(mentions(complaint([&](auto& x) {
                         x.order_id = id;
                       }),
                       "the order number"));
  CAF_CHECK_EQUAL(complaint([](auto& x) {
                    x.order_id = "S_-|*1";
                  }),
                  "none");
  for (auto amount : {minor_units{0}, minor_units{-1}, amount_max_minor + 1})
    CAF_CHECK(mentions(complaint([&](auto& x) {
                         x.amount = amount;
                       }),
                       "the amount"));
  CAF_CHECK(mentions(complaint([](auto& x) {
                       x.currency = "USD";
                     }),
                     "the currency"));
  for (const auto* subject : {"", "a\nb", "\xff"})
    CAF_CHECK(mentions(complaint([&](auto& x) {
                         x.subject = subject;
                       }),
                       "the subject"));
  CAF_CHECK(mentions(complaint([](auto& x) {
                       x.notify_url += "?a=b";
                     }),
                     "the notify_url"));
  CAF_CHECK(mentions(complaint([](auto& x) {
                       x.notify_url = "ftp://x";
                     }),
                     "the notify_url"));
  // The simulated gateways live on plain http.
  CAF_CHECK_EQUAL(complaint([](auto& x) {
                    x.notify_url = "http://127.0.0.1:8080/notify";
                  }),
                  "none");
  CAF_CHECK(mentions(complaint([this](auto& x) {
                       x.expires_at = now;
                     }),
                     "expired"));
  CAF_CHECK(mentions(complaint(
                       [](auto& x) {
                         x.payer_id = "";
                       },
                       payment_method::jsapi),
                     "openid"));
  CAF_CHECK(mentions(complaint(
                       [](auto& x) {
                         x.payer_ip = "\"}";
                       },
                       payment_method::h5),
                     "address"));
  CAF_CHECK(
    mentions(why(codec().create_request(order(), {now, "a\"b"})), "the nonce"));
}

CAF_TEST(a long subject is cut between characters) {
  auto long_order = order();
  long_order.subject.clear();
  for (auto i = 0; i < 100; ++i)
    long_order.subject += "专";
  auto made = codec().create_request(long_order, with());
  CAF_REQUIRE(made.has_value());
  auto description = *text_of(*parse_object(made->body), "description");
  CAF_CHECK_EQUAL(description.size(), 126u);
  CAF_CHECK(crypto::is_utf8(description));
}

CAF_TEST(queries and closes and refunds are written) {
  auto by = codec();
  auto query = by.query_request("SHOP20270115000003", with());
  CAF_CHECK_EQUAL(checked(query, "GET"),
                  "/v3/pay/transactions/out-trade-no/SHOP20270115000003"
                  "?mchid=1900000001");
  CAF_CHECK(query->body.empty());
  // What is signed is what goes out, escapes and all.
  CAF_CHECK_EQUAL(checked(by.query_request("S_-|*1", with()), "GET"),
                  "/v3/pay/transactions/out-trade-no/S_-%7C%2A1"
                  "?mchid=1900000001");
  auto close = by.close_request("SHOP20270115000003", with());
  CAF_CHECK_EQUAL(checked(close, "POST"),
                  "/v3/pay/transactions/out-trade-no/SHOP20270115000003/close");
  CAF_CHECK_EQUAL(close->body, R"({"mchid":"1900000001"})");
  auto refund = by.refund_request(refund_of_order(), with());
  CAF_CHECK_EQUAL(checked(refund, "POST"), "/v3/refund/domestic/refunds");
  CAF_CHECK_EQUAL(
    refund->body,
    "{\"transaction_id\":\"4200002000202701151234567899\","
    "\"out_refund_no\":\"SHOP20270115000003r1\",\"reason\":\"取消\","
    "\"notify_url\":"
    "\"https://pay.example.com/api/payment/wechat/refund-notify\","
    "\"amount\":{\"refund\":1000,\"total\":8888,\"currency\":\"CNY\"}}");
  auto bare = refund_of_order();
  bare.transaction_id.clear();
  bare.reason.clear();
  bare.notify_url.clear();
  auto short_one = by.refund_request(bare, with());
  CAF_REQUIRE(short_one.has_value());
  CAF_CHECK_EQUAL(
    short_one->body,
    "{\"out_trade_no\":\"SHOP20270115000003\","
    "\"out_refund_no\":\"SHOP20270115000003r1\","
    "\"amount\":{\"refund\":1000,\"total\":8888,\"currency\":\"CNY\"}}");
  auto asked = by.refund_query_request(refund_of_order(), with());
  CAF_CHECK_EQUAL(checked(asked, "GET"),
                  "/v3/refund/domestic/refunds/SHOP20270115000003r1");
  CAF_CHECK_EQUAL(checked(by.certificates_request(with()), "GET"),
                  "/v3/certificates");
  CAF_CHECK(!by.query_request("a/b", with()).has_value());
  CAF_CHECK(!by.close_request("", with()).has_value());
}

CAF_TEST(a refund that cannot be expressed is refused with a sentence) {
  auto complaint = [this](auto change) {
    auto changed = refund_of_order();
    change(changed);
    return why(codec().refund_request(changed, with()));
  };
  CAF_CHECK_EQUAL(complaint([](auto&) {}), "none");
  CAF_CHECK(complaint([](auto& x) {
              x.refund_id = "";
            })
            != "none");
  CAF_CHECK(complaint([](auto& x) {
              x.refund_id = "a/b";
            })
            != "none");
  CAF_CHECK(complaint([](auto& x) {
              x.order_id = "x";
            })
            != "none");
  CAF_CHECK(complaint([](auto& x) {
              x.transaction_id = "\n";
            })
            != "none");
  CAF_CHECK(complaint([](auto& x) {
              x.amount = 0;
            })
            != "none");
  CAF_CHECK(complaint([](auto& x) {
              x.amount = x.total + 1;
            })
            != "none");
  CAF_CHECK(complaint([](auto& x) {
              x.currency = "USD";
            })
            != "none");
  CAF_CHECK(complaint([](auto& x) {
              x.reason = "\xff";
            })
            != "none");
  CAF_CHECK(complaint([](auto& x) {
              x.notify_url = "x";
            })
            != "none");
}

CAF_TEST(the page inside WeChat gets signed parameters) {
  auto made = codec().jsapi_parameters("wx26112221580621e9", with());
  if (!made)
    CAF_FAIL(made.error());
  CAF_CHECK_EQUAL(made->size(), 6u);
  CAF_CHECK_EQUAL(member(*made, "appId"), settings.app_id);
  CAF_CHECK_EQUAL(member(*made, "timeStamp"), "1800000000");
  CAF_CHECK_EQUAL(member(*made, "nonceStr"), nonce);
  CAF_CHECK_EQUAL(member(*made, "package"), "prepay_id=wx26112221580621e9");
  CAF_CHECK_EQUAL(member(*made, "signType"), "RSA");
  auto raw = crypto::base64_decode(member(*made, "paySign"));
  CAF_REQUIRE(raw.has_value());
  auto key = *crypto::rsa_public_key::parse(merchant_pair.public_pem);
  CAF_CHECK(key.verify(crypto::digest::sha256,
                       settings.app_id + "\n1800000000\n" + nonce
                         + "\nprepay_id=wx26112221580621e9\n",
                       *raw));
  CAF_CHECK(!codec().jsapi_parameters("", with()).has_value());
  CAF_CHECK(!codec().jsapi_parameters("a\nb", with()).has_value());
}

// -- answers
// -------------------------------------------------------------------

CAF_TEST(an answer that is not proven proves nothing) {
  auto body = json::serialize(payment());
  // Nothing signed.
  check_everywhere({200, {}, body}, "forged");
  check_everywhere({204, {}, ""}, "forged");
  check_everywhere({429, {}, R"({"code":"ORDER_NOT_EXIST"})"}, "limited");
  for (auto status : {301, 400, 401, 403, 404, 413, 500, 502, 503})
    for (const auto* code :
         {"ORDER_NOT_EXIST", "ORDERPAID", "ORDER_CLOSED", "RESOURCE_NOT_EXISTS",
          "PARAM_ERROR", "FREQUENCY_LIMITED"})
      check_everywhere({status, {}, "{\"code\":\"" + std::string{code} + "\"}"},
                       "unclear");
  // Signed wrongly, too early, too late, by an unknown key.
  for (auto status : {200, 204, 404, 429, 500}) {
    check_everywhere(
      {status, signed_headers(body, "1799999998", serial_a, 2), body},
      "forged");
    check_everywhere({status, signed_headers(body), body + " "}, "forged");
    check_everywhere({status, signed_headers(body, "1799999700"), body},
                     "forged");
    check_everywhere({status, signed_headers(body, "1800000300"), body},
                     "forged");
    check_everywhere({status, signed_headers(body, "1799999998", key_id), body},
                     "forged");
    auto probe = signed_headers(body);
    for (auto& [name, value] : probe)
      if (name == "Wechatpay-Signature")
        value = "WECHATPAY/SIGNTEST/" + value;
    check_everywhere({status, probe, body}, "forged");
  }
}

CAF_TEST(a signed refusal means what its code says) {
  check_everywhere(refusal(400, "PARAM_ERROR"), "refused PARAM_ERROR");
  check_everywhere(refusal(401, "SIGN_ERROR"), "refused SIGN_ERROR");
  check_everywhere(refusal(403, "NO_AUTH"), "refused NO_AUTH");
  check_everywhere(refusal(429, "FREQUENCY_LIMITED"),
                   "limited FREQUENCY_LIMITED");
  check_everywhere(refusal(403, "FREQUENCY_LIMITED"),
                   "limited FREQUENCY_LIMITED");
  check_everywhere(refusal(500, "SYSTEM_ERROR"), "unclear SYSTEM_ERROR");
  check_everywhere(refusal(400, "SYSTEM_ERROR"), "unclear SYSTEM_ERROR");
  check_everywhere(refusal(503, "ORDER_NOT_EXIST"), "unclear ORDER_NOT_EXIST");
  check_everywhere(answer(400, "no json"), "refused");
  check_everywhere(answer(400, R"({"code":7})"), "refused");
  check_everywhere(answer(400, R"({"code":"A","code":"B"})"), "refused");
  auto by = codec();
  auto created = by.read_create(
    order(), refusal(400, "OUT_TRADE_NO_USED", std::string(5'000, 'x')), now);
  CAF_CHECK_EQUAL(why(created), "refused OUT_TRADE_NO_USED");
}

CAF_TEST(a created order says how to pay) {
  auto by = codec();
  auto native = by.read_create(
    order(), answer(200, R"({"code_url":"weixin://wxpay/bizpayurl?pr=1"})"),
    now);
  CAF_REQUIRE(native.has_value());
  CAF_CHECK(*native == (payment_link{"", "weixin://wxpay/bizpayurl?pr=1", ""}));
  auto h5 = by.read_create(
    order(payment_method::h5),
    answer(200, R"({"h5_url":"https://wx.tenpay.com/cgi-bin/x?a=1"})"), now);
  CAF_REQUIRE(h5.has_value());
  CAF_CHECK(*h5
            == (payment_link{"https://wx.tenpay.com/cgi-bin/x?a=1", "", ""}));
  auto jsapi = by.read_create(order(payment_method::jsapi),
                              answer(200, R"({"prepay_id":"wx26"})"), now);
  CAF_REQUIRE(jsapi.has_value());
  CAF_CHECK(*jsapi == (payment_link{"", "", "wx26"}));
  for (const auto* body :
       {"{}", R"({"code_url":""})", R"({"code_url":7})", "[]", "",
        R"({"code_url":"a\u0000b"})", R"({"code_url":"a","code_url":"b"})",
        R"({"prepay_id":"wx26"})"})
    CAF_CHECK_EQUAL(why(by.read_create(order(), answer(200, body), now)),
                    "unclear");
  CAF_CHECK_EQUAL(
    why(by.read_create(order(payment_method::h5),
                       answer(200, R"({"h5_url":"javascript:x"})"), now)),
    "unclear");
  CAF_CHECK_EQUAL(
    why(by.read_create(order(), answer(202, R"({"code_url":"x"})"), now)),
    "unclear");
}

CAF_TEST(a queried order has one of the known states) {
  for (auto [word, expected] :
       {std::pair{"SUCCESS", "paid"}, std::pair{"REFUND", "refunded"},
        std::pair{"NOTPAY", "unpaid"}, std::pair{"USERPAYING", "unpaid"},
        std::pair{"ACCEPT", "unpaid"}, std::pair{"PAYERROR", "unpaid"},
        std::pair{"CLOSED", "closed"}, std::pair{"REVOKED", "closed"},
        std::pair{"NEW", "unclear"}, std::pair{"", "unclear"}})
    CAF_CHECK_EQUAL(trade_with({{"trade_state", word}}), expected);
  auto paid = codec().read_query("SHOP20270115000003",
                                 answer(200, json::serialize(payment())), now);
  CAF_REQUIRE(paid.has_value());
  CAF_CHECK(paid->is == trade_state::paid);
  CAF_CHECK_EQUAL(paid->order_id, "SHOP20270115000003");
  CAF_CHECK_EQUAL(paid->transaction_id, "4200002000202701151234567899");
  CAF_CHECK(paid->amount == 8'888);
  CAF_CHECK_EQUAL(paid->currency, "CNY");
  CAF_CHECK(paid->paid_at == at_second(1'799'999'998));
  CAF_CHECK_EQUAL(paid->word, "SUCCESS");
  // Unpaid there is neither payment nor amount.
  CAF_CHECK_EQUAL(trade_with({{"trade_state", "NOTPAY"},
                              {"amount", nullptr},
                              {"transaction_id", nullptr}}),
                  "unpaid");
  for (const auto* state : {"SUCCESS", "REFUND"}) {
    CAF_CHECK_EQUAL(trade_with({{"trade_state", state}, {"amount", nullptr}}),
                    "unclear");
    CAF_CHECK_EQUAL(trade_with({{"trade_state", state},
                                {"amount", json::parse(R"({"total":1.5})")}}),
                    "unclear");
    CAF_CHECK_EQUAL(
      trade_with({{"trade_state", state}, {"transaction_id", nullptr}}),
      "unclear");
  }
}

CAF_TEST(an answer about another order is forged) {
  CAF_CHECK_EQUAL(trade_with({{"out_trade_no", "SHOP20270115000004"}}),
                  "forged");
  CAF_CHECK_EQUAL(trade_with({{"out_trade_no", nullptr}}), "forged");
  CAF_CHECK_EQUAL(trade_with({{"mchid", "1900009999"}}), "forged");
  CAF_CHECK_EQUAL(trade_with({{"appid", "wx1"}}), "forged");
  CAF_CHECK_EQUAL(refund_answer_with({{"out_refund_no", "other"}}), "forged");
  CAF_CHECK_EQUAL(refund_answer_with({{"out_trade_no", "other"}}), "forged");
  CAF_CHECK_EQUAL(refund_answer_with({{"transaction_id", "1"}}), "forged");
  CAF_CHECK_EQUAL(refund_answer_with({{"mchid", "1900009999"}}), "forged");
  CAF_CHECK_EQUAL(refund_answer_with({{"mchid", "1900000001"}}), "done");
}

CAF_TEST(an order that is not known is absent) {
  auto by = codec();
  for (const auto* code : {"ORDER_NOT_EXIST", "ORDERNOTEXIST"}) {
    auto asked = by.read_query("SHOP20270115000003", refusal(404, code), now);
    CAF_REQUIRE(asked.has_value());
    CAF_CHECK(asked->is == trade_state::absent);
    CAF_CHECK_EQUAL(asked->order_id, "SHOP20270115000003");
  }
  // Of the order, not of its refund.
  CAF_CHECK_EQUAL(why(by.read_refund(refund_of_order(),
                                     refusal(404, "RESOURCE_NOT_EXISTS"), now)),
                  "refused RESOURCE_NOT_EXISTS");
  CAF_CHECK_EQUAL(why(by.read_query("SHOP20270115000003",
                                    refusal(404, "RESOURCE_NOT_EXISTS"), now)),
                  "refused RESOURCE_NOT_EXISTS");
}

CAF_TEST(closing ends in one of three ways) {
  auto end = [this](const client::http_response& from) {
    auto result = codec().read_close("SHOP20270115000003", from, now);
    return result ? std::string{to_string(*result)} : why(result);
  };
  CAF_CHECK_EQUAL(end(answer(204, "")), "closed");
  CAF_CHECK_EQUAL(end(answer(200, "{}")), "closed");
  CAF_CHECK_EQUAL(end(answer(202, "{}")), "unclear");
  CAF_CHECK_EQUAL(end(refusal(400, "ORDER_CLOSED")), "closed");
  CAF_CHECK_EQUAL(end(refusal(404, "ORDER_NOT_EXIST")), "absent");
  CAF_CHECK_EQUAL(end(refusal(400, "ORDERPAID", "该订单已支付")), "paid");
  CAF_CHECK_EQUAL(end(refusal(400, "INVALID_REQUEST", "订单已支付")), "paid");
  CAF_CHECK_EQUAL(end(refusal(400, "INVALID_REQUEST", "x")),
                  "refused INVALID_REQUEST");
  CAF_CHECK_EQUAL(end(refusal(202, "ORDERPAID")), "unclear");
  CAF_CHECK_EQUAL(end(refusal(400, "USERPAYING")), "unclear USERPAYING");
}

CAF_TEST(a refund has one of the known states) {
  for (auto [word, expected] :
       {std::pair{"SUCCESS", "done"}, std::pair{"PROCESSING", "processing"},
        std::pair{"ABNORMAL", "abnormal"}, std::pair{"CLOSED", "closed"},
        std::pair{"NEW", "unclear"}, std::pair{"", "unclear"}})
    CAF_CHECK_EQUAL(refund_answer_with({{"status", word}}), expected);
  CAF_CHECK_EQUAL(refund_answer_with({{"status", nullptr}}), "unclear");
  CAF_CHECK_EQUAL(refund_answer_with({{"amount", nullptr}}), "unclear");
  auto by = codec();
  auto from = answer(200, json::serialize(refund_answer()));
  auto done = by.read_refund(refund_of_order(), from, now);
  CAF_REQUIRE(done.has_value());
  CAF_CHECK_EQUAL(done->refund_id, "SHOP20270115000003r1");
  CAF_CHECK(done->amount == 1'000);
  CAF_CHECK_EQUAL(done->word, "SUCCESS");
  auto absent = by.read_refund_query(refund_of_order(),
                                     refusal(404, "RESOURCE_NOT_EXISTS"), now);
  CAF_REQUIRE(absent.has_value());
  CAF_CHECK(absent->is == refund_state::absent);
  // Without the payment's number the order's is enough.
  auto bare = refund_of_order();
  bare.transaction_id.clear();
  CAF_CHECK(by.read_refund(bare, from, now).has_value());
  CAF_CHECK_EQUAL(
    why(by.read_refund(refund_of_order(), refusal(403, "NOT_ENOUGH"), now)),
    "refused NOT_ENOUGH");
}

// -- certificates
// --------------------------------------------------------------

CAF_TEST(the first certificates prove themselves by the APIv3 key) {
  settings.platform_keys.clear();
  auto keys = *platform_keys::make({});
  auto by = *wechat_v3::make(settings, keys);
  auto from = certificates({{serial_a, 1}, {serial_b, 2}}, serial_b, 2);
  auto read = by.read_certificates(from, now);
  if (!read)
    CAF_FAIL(read.error().sentence);
  CAF_REQUIRE_EQUAL(read->size(), 2u);
  CAF_CHECK_EQUAL((*read)[1].serial, serial_b);
  CAF_CHECK((*read)[1].expires_at == *parse_rfc3339("2029-12-31T16:00:00Z"));
  CAF_CHECK(!keys->has_downloaded());
  keys->put(*read, now);
  CAF_CHECK(by.check(from.headers, from.body, now).signature
            == signature_verdict::valid);
  // And once more, now with the key known.
  CAF_CHECK_EQUAL(why(by.read_certificates(from, now)), "none");
}

CAF_TEST(certificates of someone else are forged) {
  settings.platform_keys.clear();
  auto by = codec();
  auto reason = [&](const client::http_response& from) {
    return why(by.read_certificates(from, now));
  };
  CAF_CHECK_EQUAL(reason(certificates({{serial_a, 1}}, serial_a, 1)), "none");
  // Signed by another key, under another serial, by nobody, about nothing.
  CAF_CHECK_EQUAL(reason(certificates({{serial_a, 1}}, serial_a, 2)), "forged");
  CAF_CHECK_EQUAL(reason(certificates({{serial_a, 1}}, serial_b, 1)), "forged");
  CAF_CHECK_EQUAL(reason(certificates({{serial_a, 1}}, key_id, 1)), "forged");
  CAF_CHECK_EQUAL(reason(certificates({}, serial_a, 1)), "forged");
  auto naked = certificates({{serial_a, 1}}, serial_a, 1);
  naked.headers.clear();
  CAF_CHECK_EQUAL(reason(naked), "forged");
  auto changed = certificates({{serial_a, 1}}, serial_a, 1);
  changed.body += ' ';
  CAF_CHECK_EQUAL(reason(changed), "forged");
  // One that has expired does not vouch for itself.
  CAF_CHECK_EQUAL(reason(certificates({{serial_a, 1}}, serial_a, 1,
                                      "2027-01-01T00:00:00+08:00")),
                  "forged");
  // A replay.
  auto good = certificates({{serial_a, 1}}, serial_a, 1);
  CAF_CHECK_EQUAL(why(by.read_certificates(good, now + millis{300'000})),
                  "forged");
  // Encrypted with another key: whoever did it is not WeChat Pay.
  settings.api_v3_key = config::secret{"ZyQ98PtsyFzcBxYOYHvtVv8Vnyltd1da"};
  CAF_CHECK_EQUAL(why(codec().read_certificates(good, now)), "forged");
  settings.api_v3_key = {};
  auto without = codec().read_certificates(good, now);
  CAF_CHECK_EQUAL(why(without), "refused");
  CAF_CHECK(without.error().sentence.find("api_v3_key_file")
            != std::string::npos);
}

CAF_TEST(certificates by a known key still have to make sense) {
  auto by = codec();
  auto good = certificates({{serial_b, 2}}, serial_a, 1);
  auto read = by.read_certificates(good, now);
  CAF_REQUIRE(read.has_value());
  CAF_CHECK_EQUAL(read->front().serial, serial_b);
  // Its serial is not the one it is filed under.
  auto body = *parse_object(good.body);
  body["data"].as_array()[0].as_object()["serial_no"] = serial_a;
  CAF_CHECK_EQUAL(
    why(by.read_certificates(answer(200, json::serialize(body)), now)),
    "unclear");
  for (const auto* text : {"{}", R"({"data":[]})", R"({"data":[1]})",
                           R"({"data":[{"encrypt_certificate":{}}]})", "[]"})
    CAF_CHECK_EQUAL(why(by.read_certificates(answer(200, text), now)),
                    "unclear");
  CAF_CHECK_EQUAL(why(by.read_certificates(answer(204, ""), now)), "unclear");
}

CAF_TEST_FIXTURE_SCOPE_END()

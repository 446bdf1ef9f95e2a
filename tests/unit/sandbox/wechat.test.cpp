#define CAF_SUITE sandbox.wechat

#include "config/settings.hpp"
#include "http/client/curl_client.hpp"
#include "http/crypto/certificate.hpp"
#include "http/crypto/digest.hpp"
#include "http/crypto/encoding.hpp"
#include "http/crypto/form.hpp"
#include "http/crypto/rsa.hpp"
#include "http/sandbox/wechat_simulator.hpp"
#include "tests/unit/http_server/loopback.hpp"
#include "tests/unit/sandbox/manual_clock.hpp"

#include <boost/json.hpp>
#include <caf/test/unit_test.hpp>
#include <openssl/evp.h>

#include <algorithm>
#include <map>
#include <mutex>

using namespace slipway;
using namespace slipway::sandbox;
using namespace std::literals;
using loopback::eventually;
using loopback::fetch;
namespace json = boost::json;

namespace {

constexpr auto public_serial = "PUB_KEY_ID_0119000000012026010100000000000001";
constexpr auto certificate_serial = "0A57F09EFDC096DE15EBE81A47057A7232F1B8E2";
constexpr auto merchant_serial = "5157F09EFDC096DE15EBE81A47057A7232F1B8E1";
constexpr auto v2_key = "CPBxRTvFNOHgt7vB9QTXYlcYBOO3CrAL";
constexpr auto v3_key = "lyQ98PtsyFzcBxYOYHvtVv8Vnyltd1da";

enum class whose { merchant, public_key, certificate };

/// Keys for all tests: making them takes a while.
const crypto::rsa_key_pair& key(whose of) {
  static const auto merchant = crypto::generate_rsa_key().value();
  static const auto first = crypto::generate_rsa_key().value();
  static const auto second = crypto::generate_rsa_key().value();
  return of == whose::merchant     ? merchant
         : of == whose::public_key ? first
                                   : second;
}

std::string platform_certificate() {
  return crypto::make_certificate(key(whose::certificate).private_pem,
                                  "Tenpay.com sign", certificate_serial,
                                  parse_rfc3339("2026-11-01T00:00:00Z").value(),
                                  parse_rfc3339("2031-11-01T00:00:00Z").value())
    .value();
}

bool verify(whose by, const std::string& text, const std::string& signature) {
  const auto known = crypto::rsa_public_key::parse(key(by).public_pem).value();
  const auto raw = crypto::base64_decode(signature);
  return raw && known.verify(crypto::digest::sha256, text, *raw);
}

const unsigned char* bytes(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

/// What AES-256-GCM or ECB hides; nothing when it has been tampered with.
std::optional<std::string>
decrypt(const EVP_CIPHER* how, const std::string& secret,
        const std::string& nonce, const std::string& also, std::string sealed) {
  const auto is_gcm = how == EVP_aes_256_gcm();
  auto tag = std::string{};
  if (is_gcm) {
    if (sealed.size() < 16)
      return std::nullopt;
    tag = sealed.substr(sealed.size() - 16);
    sealed.resize(sealed.size() - 16);
  }
  auto* x = EVP_CIPHER_CTX_new();
  auto plain = std::string(sealed.size() + 16, '\0');
  auto* to = reinterpret_cast<unsigned char*>(plain.data());
  auto n = 0;
  auto rest = 0;
  EVP_DecryptInit_ex(x, how, nullptr, bytes(secret),
                     is_gcm ? bytes(nonce) : nullptr);
  if (is_gcm)
    EVP_DecryptUpdate(x, nullptr, &n, bytes(also),
                      static_cast<int>(also.size()));
  EVP_DecryptUpdate(x, to, &n, bytes(sealed), static_cast<int>(sealed.size()));
  if (is_gcm)
    EVP_CIPHER_CTX_ctrl(x, EVP_CTRL_GCM_SET_TAG, 16, tag.data());
  const auto good = EVP_DecryptFinal_ex(x, to + n, &rest) == 1;
  EVP_CIPHER_CTX_free(x);
  if (!good)
    return std::nullopt;
  plain.resize(static_cast<std::size_t>(n + rest));
  return plain;
}

std::string text(const json::value& x) {
  return std::string{x.as_string()};
}

std::int64_t number(const json::value& x) {
  return x.as_int64();
}

using fields = std::map<std::string, std::string>;

/// Flat XML as the simulator writes it, without a parser worth the name.
fields parse_xml(const std::string& xml) {
  fields result;
  auto at = xml.find('>') + 1;
  while (xml.compare(at, 2, "</") != 0) {
    const auto end = xml.find('>', at);
    const auto name = xml.substr(at + 1, end - at - 1);
    const auto stop = xml.find("</" + name + ">", end);
    CAF_REQUIRE(stop != std::string::npos);
    auto value = xml.substr(end + 1, stop - end - 1);
    if (value.rfind("<![CDATA[", 0) == 0)
      value = value.substr(9, value.size() - 12);
    CAF_CHECK(result.emplace(name, value).second);
    at = stop + name.size() + 3;
  }
  return result;
}

std::string write_xml(const fields& from) {
  auto result = "<xml>"s;
  for (const auto& [name, value] : from)
    result += "<" + name + "><![CDATA[" + value + "]]></" + name + ">";
  return result + "</xml>";
}

std::string sign_v2(const fields& from, bool hmac) {
  std::string all;
  for (const auto& [name, value] : from)
    if (name != "sign" && !value.empty())
      all += name + "=" + value + "&";
  all += "key="s + v2_key;
  auto result = crypto::hex_encode(hmac ? crypto::hmac_sha256(v2_key, all)
                                        : crypto::md5(all));
  std::transform(result.begin(), result.end(), result.begin(), [](char c) {
    return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
  });
  return result;
}

/// One callback as it came in.
struct told {
  http::fields headers;
  std::string body;

  [[nodiscard]] std::string header(std::string_view name) const {
    return std::string{headers.find(name).value_or("")};
  }

  [[nodiscard]] bool is_signed(whose by) const {
    return verify(by,
                  header("Wechatpay-Timestamp") + "\n"
                    + header("Wechatpay-Nonce") + "\n" + body + "\n",
                  header("Wechatpay-Signature"));
  }

  [[nodiscard]] json::object outer() const {
    return json::parse(body).as_object();
  }

  /// The decrypted resource.
  [[nodiscard]] json::object inner() const {
    const auto sealed = outer().at("resource").as_object();
    const auto plain
      = decrypt(EVP_aes_256_gcm(), v3_key, text(sealed.at("nonce")),
                text(sealed.at("associated_data")),
                crypto::base64_decode(text(sealed.at("ciphertext"))).value());
    CAF_REQUIRE(plain.has_value());
    return json::parse(*plain).as_object();
  }

  [[nodiscard]] std::string event() const {
    return text(outer().at("event_type"));
  }
};

/// Takes callbacks and refuses the first ones.
struct shop {
  std::mutex mutex;
  std::vector<told> all;
  int failures = 0;
  int good_status = 204;
  std::string good_body;
  std::unique_ptr<http::server> web;

  shop() {
    http::router routes;
    routes.add(http::method::post, "/notify", "notify", [this](auto x) {
      const auto lock = std::lock_guard{mutex};
      all.push_back({x->in().headers, x->in().body});
      const auto bad = failures > 0;
      failures -= bad ? 1 : 0;
      if (bad)
        x->answer({500, "application/json", R"({"code":"FAIL"})", {}});
      else
        x->answer({good_status, "text/xml", good_body, {}});
    });
    auto options = http::server_options{};
    web = std::make_unique<http::server>(options, std::move(routes));
    CAF_REQUIRE(web->start().has_value());
  }

  std::size_t count() {
    const auto lock = std::lock_guard{mutex};
    return all.size();
  }

  told at(std::size_t i) {
    const auto lock = std::lock_guard{mutex};
    return all.at(i);
  }

  bool has(std::size_t wanted) {
    return eventually([&] {
      return count() >= wanted;
    });
  }
};

struct fixture {
  manual_clock time;
  client::curl_client out;
  shop merchant;
  wechat_simulator_options options;
  std::unique_ptr<wechat_simulator> aut;
  int nonces = 0;

  fixture() {
    options.app_id = "wx8888888888888888";
    options.mch_id = "1900000001";
    options.api_v2_key = v2_key;
    options.api_v3_key = v3_key;
    options.merchant_serial = merchant_serial;
    options.merchant_certificate = key(whose::merchant).public_pem;
    options.platform_keys
      = {{public_serial, key(whose::public_key).private_pem, ""},
         {certificate_serial, key(whose::certificate).private_pem,
          platform_certificate()}};
    options.retry_ladder = {5ms, 5ms, 5ms};
    options.refund_duration = 1ms;
    options.seed = 9;
    restart();
  }

  void restart() {
    aut = std::make_unique<wechat_simulator>(options, time, out);
    const auto started = aut->start();
    CAF_REQUIRE(started.has_value());
  }

  [[nodiscard]] std::string notify_url() const {
    return merchant.web->url() + "/notify";
  }

  // -- v3 ---------------------------------------------------------------------

  [[nodiscard]] std::string now_seconds() const {
    return std::to_string(time.now().time_since_epoch().count() / 1000);
  }

  loopback::headers
  sign(const std::string& verb, const std::string& target,
       const std::string& body, const std::string& serial = public_serial) {
    const auto nonce = "nonce" + std::to_string(++nonces);
    const auto own
      = crypto::rsa_private_key::parse(key(whose::merchant).private_pem)
          .value();
    const auto raw = own
                       .sign(crypto::digest::sha256,
                             verb + "\n" + target + "\n" + now_seconds() + "\n"
                               + nonce + "\n" + body + "\n")
                       .value();
    return {{"Authorization",
             "WECHATPAY2-SHA256-RSA2048 mchid=\"" + options.mch_id
               + "\",nonce_str=\"" + nonce + "\",timestamp=\"" + now_seconds()
               + "\",serial_no=\"" + options.merchant_serial + "\",signature=\""
               + crypto::base64_encode(raw) + "\""},
            {"Accept", "application/json"},
            {"Content-Type", "application/json"},
            {"User-Agent", "test"},
            {"Wechatpay-Serial", serial}};
  }

  static bool is_signed(const loopback::answer& x, whose by) {
    return verify(by,
                  x.header("Wechatpay-Timestamp") + "\n"
                    + x.header("Wechatpay-Nonce") + "\n" + x.body + "\n",
                  x.header("Wechatpay-Signature"));
  }

  /// A request whose answer is signed as it should be.
  loopback::answer call(const std::string& verb, const std::string& target,
                        const json::object& body = {}) {
    const auto sent = verb == "POST" ? json::serialize(body) : ""s;
    auto x = fetch(aut->port(), verb, target, sent, sign(verb, target, sent));
    CAF_CHECK_EQUAL(x.header("Wechatpay-Serial"), public_serial);
    CAF_CHECK(is_signed(x, whose::public_key));
    return x;
  }

  static json::object read(const loopback::answer& x) {
    return json::parse(x.body).as_object();
  }

  static std::string code(const loopback::answer& x) {
    return std::to_string(x.status) + " " + text(read(x).at("code"));
  }

  json::object order(std::string_view no = "order_1", int total = 9900) {
    return {{"appid", options.app_id},
            {"mchid", options.mch_id},
            {"description", "专业版 <Pro>"},
            {"out_trade_no", no},
            {"attach", "a&b"},
            {"notify_url", notify_url()},
            {"time_expire", "2026-11-23T16:30:00+08:00"},
            {"amount", {{"total", total}, {"currency", "CNY"}}}};
  }

  loopback::answer
  create(const json::object& body, const std::string& kind = "native") {
    return call("POST", "/v3/pay/transactions/" + kind, body);
  }

  void make(std::string_view no = "order_1") {
    CAF_REQUIRE_EQUAL(create(order(no)).status, 200);
  }

  json::object query(const std::string& no = "order_1") {
    return read(call("GET", "/v3/pay/transactions/out-trade-no/" + no
                              + "?mchid=" + options.mch_id));
  }

  loopback::answer close(const std::string& no = "order_1") {
    return call("POST", "/v3/pay/transactions/out-trade-no/" + no + "/close",
                {{"mchid", options.mch_id}});
  }

  loopback::answer
  refund(int amount, std::string_view number = "r1",
         std::string_view order = "order_1", int total = 9900) {
    return call(
      "POST", "/v3/refund/domestic/refunds",
      {{"out_trade_no", order},
       {"out_refund_no", number},
       {"reason", "退订"},
       {"notify_url", notify_url()},
       {"amount",
        {{"refund", amount}, {"total", total}, {"currency", "CNY"}}}});
  }

  json::value trade(std::size_t i = 0) {
    return json::parse(fetch(aut->port(), "GET", "/sandbox/trades").body)
      .at("data")
      .at(i);
  }

  loopback::answer post(const std::string& path, const std::string& form = "") {
    return fetch(aut->port(), "POST", path, form);
  }

  // -- v2 ---------------------------------------------------------------------

  [[nodiscard]] fields order_v2(const std::string& no = "order_1") const {
    return {{"body", "专业版 <Pro>"},     {"out_trade_no", no},
            {"total_fee", "9900"},        {"spbill_create_ip", "127.0.0.1"},
            {"notify_url", notify_url()}, {"trade_type", "NATIVE"},
            {"product_id", "PRO"},        {"attach", "a&b"}};
  }

  fields call_v2(const std::string& path, fields all, bool hmac = true) {
    all["appid"] = options.app_id;
    all["mch_id"] = options.mch_id;
    all["nonce_str"] = "nonce" + std::to_string(++nonces);
    if (hmac)
      all["sign_type"] = "HMAC-SHA256";
    all["sign"] = sign_v2(all, hmac);
    auto x = parse_xml(post(path, write_xml(all)).body);
    CAF_CHECK_EQUAL(x["return_code"], "SUCCESS");
    CAF_CHECK_EQUAL(x["sign"], sign_v2(x, hmac));
    return x;
  }

  void shop_of_v2() {
    merchant.good_status = 200;
    merchant.good_body = "<xml><return_code><![CDATA[SUCCESS]]></return_code>"
                         "<return_msg><![CDATA[OK]]></return_msg></xml>";
  }
};

} // namespace

CAF_TEST_FIXTURE_SCOPE(wechat_tests, fixture)

CAF_TEST(each kind of order has its link) {
  auto x = create(order());
  CAF_REQUIRE_EQUAL(x.status, 200);
  const auto link = text(read(x).at("code_url"));
  CAF_CHECK_EQUAL(link.substr(0, 28), "weixin://wxpay/bizpayurl?pr=");
  CAF_CHECK_EQUAL(link.size(), 37u);
  CAF_CHECK(fetch(aut->port(), "GET", "/bizpayurl?pr=" + link.substr(28))
              .has("立即支付 / Pay now"));
  auto jsapi = order("order_2");
  CAF_CHECK_EQUAL(code(create(jsapi, "jsapi")), "400 PARAM_ERROR");
  jsapi["payer"] = {{"openid", "oUpF8uMuAJO"}};
  x = create(jsapi, "jsapi");
  CAF_REQUIRE_EQUAL(x.status, 200);
  CAF_CHECK_EQUAL(text(read(x).at("prepay_id")).substr(0, 2), "wx");
  CAF_CHECK(fetch(aut->port(), "GET", "/pay/order_2").has("Pay now"));
  auto h5 = order("order_3");
  CAF_CHECK_EQUAL(code(create(h5, "h5")), "400 PARAM_ERROR");
  h5["scene_info"]
    = {{"payer_client_ip", "127.0.0.1"}, {"h5_info", {{"type", "Wap"}}}};
  x = create(h5, "h5");
  CAF_REQUIRE_EQUAL(x.status, 200);
  const auto page = text(read(x).at("h5_url"));
  CAF_CHECK_EQUAL(page.find(aut->url() + "/"), 0u);
  const auto path = page.substr(aut->url().size());
  CAF_CHECK(fetch(aut->port(), "GET", path).has("¥ 99.00"));
  CAF_CHECK_EQUAL(fetch(aut->port(), "GET", path + "x").status, 404);
  CAF_CHECK_EQUAL(code(create(order("order_4"), "app")), "404 NOT_FOUND");
}

CAF_TEST(requests that the merchant has not signed are refused) {
  const auto target = "/v3/pay/transactions/native"s;
  const auto body = json::serialize(order());
  const auto status
    = [&](const loopback::headers& with, const std::string& sent) {
        const auto x = fetch(aut->port(), "POST", target, sent, with);
        CAF_CHECK(is_signed(x, whose::public_key));
        return code(x);
      };
  const auto good = sign("POST", target, body);
  CAF_CHECK_EQUAL(status({}, body), "401 SIGN_ERROR");
  CAF_CHECK_EQUAL(status(good, body + " "), "401 SIGN_ERROR");
  CAF_CHECK_EQUAL(status(sign("GET", target, body), body), "401 SIGN_ERROR");
  CAF_CHECK_EQUAL(status(sign("POST", target + "?a", body), body),
                  "401 SIGN_ERROR");
  const auto changed = [&](std::string_view what, std::string_view by) {
    auto result = good;
    auto& value = result.front().second;
    const auto at = value.find(what);
    CAF_REQUIRE(at != std::string::npos);
    value.replace(at, what.size(), by);
    return result;
  };
  CAF_CHECK_EQUAL(status(changed(options.mch_id, "1900000002"), body),
                  "401 SIGN_ERROR");
  CAF_CHECK_EQUAL(status(changed(merchant_serial, certificate_serial), body),
                  "401 SIGN_ERROR");
  CAF_CHECK_EQUAL(status(changed("RSA2048", "RSA1024"), body),
                  "401 SIGN_ERROR");
  CAF_CHECK_EQUAL(status(changed("nonce_str", "nonce"), body),
                  "401 SIGN_ERROR");
  auto twice = good;
  twice.push_back(good.front());
  CAF_CHECK_EQUAL(status(twice, body), "401 SIGN_ERROR");
  time.advance(301s);
  CAF_CHECK_EQUAL(status(good, body), "401 SIGN_ERROR");
  CAF_CHECK_EQUAL(text(query().at("code")), "ORDER_NOT_EXIST");
}

CAF_TEST(requests have to carry what the real one wants) {
  const auto target = "/v3/pay/transactions/native"s;
  const auto body = json::serialize(order());
  for (const auto* name : {"Accept", "Content-Type", "User-Agent"}) {
    auto with = sign("POST", target, body);
    with.erase(std::find_if(with.begin(), with.end(), [&](const auto& x) {
      return x.first == name;
    }));
    CAF_CHECK_EQUAL(code(fetch(aut->port(), "POST", target, body, with)),
                    "400 PARAM_ERROR");
  }
  CAF_CHECK_EQUAL(code(fetch(aut->port(), "POST", target, body,
                             sign("POST", target, body, "PUB_KEY_ID_9"))),
                  "400 PARAM_ERROR");
  CAF_CHECK_EQUAL(
    code(fetch(aut->port(), "POST", target, "[]", sign("POST", target, "[]"))),
    "400 PARAM_ERROR");
}

CAF_TEST(bad orders are refused with the member that is wrong) {
  const auto field = [&](std::string_view name, json::value value) {
    auto body = order();
    body[name] = std::move(value);
    const auto x = create(body);
    CAF_CHECK_EQUAL(code(x), "400 PARAM_ERROR");
    return text(read(x).at("detail").at("field"));
  };
  CAF_CHECK_EQUAL(field("out_trade_no", "o1234"), "/out_trade_no");
  CAF_CHECK_EQUAL(field("out_trade_no", json::value(std::string(33, 'a'))),
                  "/out_trade_no");
  CAF_CHECK_EQUAL(field("out_trade_no", "order.1"), "/out_trade_no");
  CAF_CHECK_EQUAL(field("out_trade_no", 1234567), "/out_trade_no");
  CAF_CHECK_EQUAL(field("description", ""), "/description");
  CAF_CHECK_EQUAL(field("description", json::value(std::string(128, 'a'))),
                  "/description");
  CAF_CHECK_EQUAL(field("attach", json::value(std::string(129, 'a'))),
                  "/attach");
  CAF_CHECK_EQUAL(field("notify_url", "http://shop.example/notify"),
                  "/notify_url");
  CAF_CHECK_EQUAL(field("notify_url", "https://shop.example/notify?a=1"),
                  "/notify_url");
  CAF_CHECK_EQUAL(field("notify_url", "http://127.0.0.1.example/"),
                  "/notify_url");
  CAF_CHECK_EQUAL(field("amount", {{"total", 0}}), "/amount/total");
  CAF_CHECK_EQUAL(field("amount", {{"total", "9900"}}), "/amount/total");
  CAF_CHECK_EQUAL(field("amount", {{"total", 99.5}}), "/amount/total");
  CAF_CHECK_EQUAL(field("amount", {{"total", 1}, {"currency", "USD"}}),
                  "/amount/currency");
  CAF_CHECK_EQUAL(field("amount", 9900), "/amount");
  CAF_CHECK_EQUAL(field("time_expire", "2026-11-23 16:30:00"), "/time_expire");
  CAF_CHECK_EQUAL(field("time_expire", "2026-11-23T16:00:30+08:00"),
                  "/time_expire");
  CAF_CHECK_EQUAL(field("time_expire", "2027-11-23T16:00:00+08:00"),
                  "/time_expire");
  CAF_CHECK_EQUAL(field("mchid", "1900000002"), "/mchid");
  auto other = order();
  other["appid"] = "wx9";
  CAF_CHECK_EQUAL(code(create(other)), "400 APPID_MCHID_NOT_MATCH");
  auto wide = order("order_2");
  auto description = ""s;
  for (auto i = 0; i < 127; ++i)
    description += "版";
  wide["description"] = description;
  wide["notify_url"] = "https://shop.example/notify";
  CAF_CHECK_EQUAL(create(wide).status, 200);
}

CAF_TEST(an order asked for again is the same unless its contents differ) {
  const auto first = text(read(create(order())).at("code_url"));
  CAF_CHECK_EQUAL(text(read(create(order())).at("code_url")), first);
  CAF_CHECK_EQUAL(code(create(order("order_1", 1))), "403 OUT_TRADE_NO_USED");
  make("order_2");
  CAF_CHECK(aut->pay("order_1"));
  CAF_CHECK_EQUAL(code(create(order())), "400 ORDERPAID");
  CAF_CHECK_EQUAL(close("order_2").status, 204);
  CAF_CHECK_EQUAL(code(create(order("order_2"))), "400 ORDER_CLOSED");
}

CAF_TEST(answers are signed with the key that the request names) {
  make();
  const auto target
    = "/v3/pay/transactions/out-trade-no/order_1?mchid=" + options.mch_id;
  auto x = fetch(aut->port(), "GET", target, "",
                 sign("GET", target, "", certificate_serial));
  CAF_CHECK_EQUAL(x.status, 200);
  CAF_CHECK_EQUAL(x.header("Wechatpay-Serial"), certificate_serial);
  CAF_CHECK(is_signed(x, whose::certificate));
  CAF_CHECK(!is_signed(x, whose::public_key));
  auto with = sign("GET", target, "");
  with.pop_back();
  x = fetch(aut->port(), "GET", target, "", with);
  CAF_CHECK_EQUAL(x.header("Wechatpay-Serial"), public_serial);
  CAF_CHECK(aut->use_platform_key(certificate_serial));
  CAF_CHECK(!aut->use_platform_key("nope"));
  x = fetch(aut->port(), "GET", target, "", with);
  CAF_CHECK_EQUAL(x.header("Wechatpay-Serial"), certificate_serial);
  CAF_CHECK(is_signed(x, whose::certificate));
  CAF_CHECK_EQUAL(x.header("Wechatpay-Signature-Type"),
                  "WECHATPAY2-SHA256-RSA2048");
}

CAF_TEST(a payment is told to the merchant signed and encrypted) {
  make();
  time.advance(61s);
  auto page = fetch(aut->port(), "GET", "/pay/order_1");
  CAF_CHECK(page.has("专业版 &lt;Pro&gt;"));
  CAF_CHECK(page.has("2026-11-23 16:30:00"));
  page = post("/cashier", "order=order_1&do=pay&redirect=https%3A%2F%2Fa.b%2F");
  CAF_CHECK(page.has("支付成功"));
  CAF_CHECK(page.has("href=\"https://a.b/\""));
  CAF_REQUIRE(merchant.has(1));
  const auto x = merchant.at(0);
  CAF_CHECK(x.is_signed(whose::public_key));
  CAF_CHECK(!x.is_signed(whose::certificate));
  CAF_CHECK_EQUAL(x.header("Wechatpay-Serial"), public_serial);
  CAF_CHECK_EQUAL(x.header("Wechatpay-Timestamp"), now_seconds());
  CAF_CHECK_EQUAL(x.event(), "TRANSACTION.SUCCESS");
  CAF_CHECK_EQUAL(text(x.outer().at("resource_type")), "encrypt-resource");
  const auto inner = x.inner();
  CAF_CHECK_EQUAL(text(inner.at("appid")), options.app_id);
  CAF_CHECK_EQUAL(text(inner.at("mchid")), options.mch_id);
  CAF_CHECK_EQUAL(text(inner.at("out_trade_no")), "order_1");
  CAF_CHECK_EQUAL(text(inner.at("trade_state")), "SUCCESS");
  CAF_CHECK_EQUAL(text(inner.at("trade_type")), "NATIVE");
  CAF_CHECK_EQUAL(text(inner.at("attach")), "a&b");
  CAF_CHECK_EQUAL(text(inner.at("success_time")), "2026-11-23T16:01:01+08:00");
  CAF_CHECK_EQUAL(text(inner.at("transaction_id")).size(), 28u);
  CAF_CHECK_EQUAL(number(inner.at("amount").at("total")), 9900);
  CAF_CHECK_EQUAL(text(inner.at("amount").at("currency")), "CNY");
  // Paying twice is paying once.
  CAF_CHECK(post("/cashier", "order=order_1&do=pay").has("支付成功"));
  CAF_CHECK(eventually([&] {
    return aut->deliveries("order_1").size() == 1;
  }));
  const auto done = aut->deliveries("order_1").at(0);
  CAF_CHECK_EQUAL(done.answer, 204);
  CAF_CHECK(done.understood);
  std::this_thread::sleep_for(30ms);
  CAF_CHECK_EQUAL(merchant.count(), 1u);
}

CAF_TEST(orders can be asked about and closed) {
  CAF_CHECK_EQUAL(text(query().at("code")), "ORDER_NOT_EXIST");
  CAF_CHECK_EQUAL(code(close()), "404 ORDER_NOT_EXIST");
  make();
  CAF_CHECK_EQUAL(text(query().at("trade_state")), "NOTPAY");
  CAF_CHECK(!query().contains("transaction_id"));
  CAF_CHECK_EQUAL(
    code(call("GET", "/v3/pay/transactions/out-trade-no/order_1")),
    "400 PARAM_ERROR");
  CAF_CHECK_EQUAL(close().status, 204);
  CAF_CHECK_EQUAL(text(query().at("trade_state")), "CLOSED");
  CAF_CHECK_EQUAL(code(close()), "400 ORDER_CLOSED");
  CAF_CHECK(!aut->pay("order_1"));
  CAF_CHECK(post("/cashier", "order=order_1&do=pay").has("订单已关闭"));
  make("order_2");
  CAF_CHECK(aut->pay("order_2"));
  const auto x = query("order_2");
  CAF_CHECK_EQUAL(text(x.at("trade_state")), "SUCCESS");
  CAF_CHECK_EQUAL(number(x.at("amount").at("total")), 9900);
  CAF_CHECK_EQUAL(code(close("order_2")), "400 ORDERPAID");
  const auto same
    = read(call("GET", "/v3/pay/transactions/id/" + text(x.at("transaction_id"))
                         + "?mchid=" + options.mch_id));
  CAF_CHECK_EQUAL(text(same.at("out_trade_no")), "order_2");
}

CAF_TEST(time_expire limits paying and closes nothing) {
  make();
  time.advance(30min + 1s);
  CAF_CHECK(!aut->pay("order_1"));
  CAF_CHECK_EQUAL(text(query().at("trade_state")), "NOTPAY");
  CAF_CHECK(fetch(aut->port(), "GET", "/pay/order_1").has("订单已关闭"));
  CAF_CHECK_EQUAL(post("/sandbox/trades/order_1/pay").status, 409);
  CAF_CHECK_EQUAL(close().status, 204);
}

CAF_TEST(links grow old) {
  auto body = order();
  body.erase("time_expire");
  const auto link = text(read(create(body)).at("code_url"));
  auto phone = body;
  phone["out_trade_no"] = "order_2";
  phone["scene_info"]
    = {{"payer_client_ip", "127.0.0.1"}, {"h5_info", {{"type", "Wap"}}}};
  const auto page
    = text(read(create(phone, "h5")).at("h5_url")).substr(aut->url().size());
  const auto scan = "/bizpayurl?pr=" + link.substr(28);
  time.advance(5min + 1s);
  CAF_CHECK_EQUAL(fetch(aut->port(), "GET", page).status, 410);
  CAF_CHECK_EQUAL(fetch(aut->port(), "GET", scan).status, 200);
  time.advance(2h);
  CAF_CHECK_EQUAL(fetch(aut->port(), "GET", scan).status, 410);
  create(phone, "h5");
  CAF_CHECK_EQUAL(fetch(aut->port(), "GET", page).status, 200);
}

CAF_TEST(money goes back in parts and once per number) {
  make();
  CAF_CHECK_EQUAL(code(refund(100)), "400 INVALID_REQUEST");
  CAF_CHECK(aut->pay("order_1"));
  CAF_REQUIRE(merchant.has(1));
  CAF_CHECK_EQUAL(code(refund(100, "r1", "order_9")),
                  "404 RESOURCE_NOT_EXISTS");
  CAF_CHECK_EQUAL(code(refund(100, "r1", "order_1", 9901)),
                  "400 INVALID_REQUEST");
  auto x = refund(900);
  CAF_REQUIRE_EQUAL(x.status, 200);
  CAF_CHECK_EQUAL(text(read(x).at("status")), "PROCESSING");
  const auto id = text(read(x).at("refund_id"));
  CAF_REQUIRE(merchant.has(2));
  CAF_CHECK_EQUAL(text(read(refund(900)).at("refund_id")), id);
  CAF_CHECK_EQUAL(code(refund(901)), "400 INVALID_REQUEST");
  CAF_CHECK_EQUAL(code(refund(9001, "r2")), "400 INVALID_REQUEST");
  x = call("GET", "/v3/refund/domestic/refunds/r1");
  CAF_CHECK_EQUAL(text(read(x).at("status")), "SUCCESS");
  CAF_CHECK_EQUAL(number(read(x).at("amount").at("refund")), 900);
  CAF_CHECK_EQUAL(code(call("GET", "/v3/refund/domestic/refunds/r9")),
                  "404 RESOURCE_NOT_EXISTS");
  CAF_CHECK_EQUAL(text(query().at("trade_state")), "REFUND");
  const auto told = merchant.at(1);
  CAF_CHECK(told.is_signed(whose::public_key));
  CAF_CHECK_EQUAL(told.event(), "REFUND.SUCCESS");
  const auto inner = told.inner();
  CAF_CHECK(!inner.contains("appid"));
  CAF_CHECK_EQUAL(text(inner.at("mchid")), options.mch_id);
  CAF_CHECK_EQUAL(text(inner.at("out_refund_no")), "r1");
  CAF_CHECK_EQUAL(text(inner.at("refund_id")), id);
  CAF_CHECK_EQUAL(text(inner.at("refund_status")), "SUCCESS");
  CAF_CHECK_EQUAL(number(inner.at("amount").at("refund")), 900);
  CAF_CHECK_EQUAL(number(inner.at("amount").at("total")), 9900);
  std::this_thread::sleep_for(20ms);
  CAF_CHECK_EQUAL(merchant.count(), 2u);
}

CAF_TEST(bad refunds are refused) {
  make();
  CAF_CHECK(aut->pay("order_1"));
  const auto status = [&](std::string_view name, json::value value) {
    json::object body{
      {"out_trade_no", "order_1"},
      {"out_refund_no", "r1"},
      {"amount", {{"refund", 1}, {"total", 9900}, {"currency", "CNY"}}}};
    body[name] = std::move(value);
    return code(call("POST", "/v3/refund/domestic/refunds", body));
  };
  CAF_CHECK_EQUAL(status("transaction_id", "42"), "400 PARAM_ERROR");
  CAF_CHECK_EQUAL(status("out_trade_no", ""), "400 PARAM_ERROR");
  CAF_CHECK_EQUAL(status("out_refund_no", "a b"), "400 PARAM_ERROR");
  CAF_CHECK_EQUAL(status("notify_url", "http://shop.example/"),
                  "400 PARAM_ERROR");
  CAF_CHECK_EQUAL(status("amount", {{"refund", 1}, {"total", 9900}}),
                  "400 PARAM_ERROR");
}

CAF_TEST(a refund may end badly) {
  for (const auto* no : {"order_1", "order_2"}) {
    make(no);
    CAF_CHECK(aut->pay(no));
  }
  CAF_REQUIRE(merchant.has(2));
  aut->set_refund_outcome(wechat_refund_outcome::abnormal);
  refund(9900, "r1", "order_1");
  CAF_REQUIRE(merchant.has(3));
  CAF_CHECK_EQUAL(merchant.at(2).event(), "REFUND.ABNORMAL");
  CAF_CHECK_EQUAL(text(merchant.at(2).inner().at("refund_status")), "ABNORMAL");
  CAF_CHECK_EQUAL(code(refund(1, "r3", "order_1")), "400 INVALID_REQUEST");
  aut->set_refund_outcome(wechat_refund_outcome::closed);
  refund(9900, "r2", "order_2");
  CAF_REQUIRE(merchant.has(4));
  CAF_CHECK_EQUAL(merchant.at(3).event(), "REFUND.CLOSED");
  CAF_CHECK(!merchant.at(3).inner().contains("success_time"));
  // What has been given up can be refunded once more.
  CAF_CHECK_EQUAL(refund(9900, "r4", "order_2").status, 200);
}

CAF_TEST(a refund without an address is told where the platform says) {
  options.refund_notify_url = notify_url();
  restart();
  make();
  CAF_CHECK(aut->pay("order_1"));
  call("POST", "/v3/refund/domestic/refunds",
       {{"out_trade_no", "order_1"},
        {"out_refund_no", "r1"},
        {"amount", {{"refund", 1}, {"total", 9900}, {"currency", "CNY"}}}});
  CAF_REQUIRE(merchant.has(2));
  CAF_CHECK_EQUAL(merchant.at(1).event(), "REFUND.SUCCESS");
  // On the platform itself.
  CAF_CHECK(aut->refund_by_hand("order_1", 2));
  CAF_REQUIRE(merchant.has(3));
  CAF_CHECK_EQUAL(number(merchant.at(2).inner().at("amount").at("refund")), 2);
  CAF_CHECK(!aut->refund_by_hand("order_1", 9898));
  CAF_CHECK(aut->refund_by_hand("order_1"));
  CAF_REQUIRE(merchant.has(4));
  CAF_CHECK_EQUAL(number(merchant.at(3).inner().at("amount").at("refund")),
                  9897);
}

CAF_TEST(platform certificates can be downloaded and change) {
  const auto x = read(call("GET", "/v3/certificates"));
  CAF_REQUIRE_EQUAL(x.at("data").as_array().size(), 1u);
  const auto one = x.at("data").at(0);
  CAF_CHECK_EQUAL(text(one.at("serial_no")), certificate_serial);
  CAF_CHECK_EQUAL(text(one.at("effective_time")), "2026-11-01T08:00:00+08:00");
  const auto sealed = one.at("encrypt_certificate");
  const auto plain = decrypt(
    EVP_aes_256_gcm(), v3_key, text(sealed.at("nonce")), "certificate",
    crypto::base64_decode(text(sealed.at("ciphertext"))).value());
  CAF_REQUIRE(plain.has_value());
  CAF_CHECK_EQUAL(*plain, platform_certificate());
  make();
  CAF_CHECK(aut->use_platform_key(certificate_serial));
  CAF_CHECK(aut->pay("order_1"));
  CAF_REQUIRE(merchant.has(1));
  CAF_CHECK_EQUAL(merchant.at(0).header("Wechatpay-Serial"),
                  certificate_serial);
  CAF_CHECK(merchant.at(0).is_signed(whose::certificate));
  // Both in turn.
  aut->mix_platform_keys(true);
  CAF_CHECK(aut->deliver_now("order_1", 10));
  CAF_REQUIRE(merchant.has(11));
  auto by_certificate = 0;
  for (auto i = std::size_t{1}; i < 11; ++i)
    by_certificate += merchant.at(i).is_signed(whose::certificate) ? 1 : 0;
  CAF_CHECK_EQUAL(by_certificate, 5);
  CAF_CHECK(!aut
               ->add_platform_key(
                 {public_serial, key(whose::public_key).private_pem, ""})
               .has_value());
  CAF_CHECK(!aut
               ->add_platform_key({"5157F0", key(whose::public_key).private_pem,
                                   platform_certificate()})
               .has_value());
}

CAF_TEST(a callback is repeated until it is understood) {
  merchant.failures = 2;
  make();
  CAF_CHECK(aut->pay("order_1"));
  CAF_REQUIRE(eventually([&] {
    return aut->deliveries("order_1").size() == 3;
  }));
  std::this_thread::sleep_for(30ms);
  CAF_CHECK_EQUAL(merchant.count(), 3u);
  CAF_CHECK_EQUAL(text(merchant.at(0).outer().at("id")),
                  text(merchant.at(2).outer().at("id")));
  CAF_CHECK_NOT_EQUAL(merchant.at(0).header("Wechatpay-Nonce"),
                      merchant.at(2).header("Wechatpay-Nonce"));
  const auto all = aut->deliveries("order_1");
  CAF_CHECK_EQUAL(all[0].answer, 500);
  CAF_CHECK(!all[0].understood);
  CAF_CHECK_EQUAL(all[2].attempt, 3u);
  merchant.failures = 100;
  make("order_2");
  CAF_CHECK(aut->pay("order_2"));
  CAF_REQUIRE(eventually([&] {
    return aut->deliveries("order_2").size() == 4;
  }));
  std::this_thread::sleep_for(30ms);
  CAF_CHECK_EQUAL(merchant.count(), 7u);
}

CAF_TEST(callbacks get lost and come after all) {
  aut->set_delivery({.lose = true});
  make();
  CAF_CHECK(aut->pay("order_1"));
  CAF_REQUIRE(eventually([&] {
    return aut->deliveries("order_1").size() == 1;
  }));
  CAF_CHECK(aut->deliveries("order_1").at(0).lost);
  std::this_thread::sleep_for(30ms);
  CAF_CHECK_EQUAL(merchant.count(), 0u);
  CAF_CHECK_EQUAL(text(query().at("trade_state")), "SUCCESS");
  CAF_CHECK(aut->deliver_now("order_1"));
  CAF_REQUIRE(merchant.has(1));
  CAF_CHECK(merchant.at(0).is_signed(whose::public_key));
  // One order is an exception.
  aut->set_delivery("order_2", {});
  make("order_2");
  CAF_CHECK(aut->pay("order_2"));
  CAF_REQUIRE(merchant.has(2));
  CAF_CHECK(!aut->deliver_now("order_9"));
}

CAF_TEST(a callback comes late) {
  aut->set_delivery("order_1", {.delay = 60ms});
  make();
  const auto start = std::chrono::steady_clock::now();
  CAF_CHECK(aut->pay("order_1"));
  CAF_REQUIRE(merchant.has(1));
  CAF_CHECK(std::chrono::steady_clock::now() - start >= 60ms);
}

CAF_TEST(a hundred deliveries at once) {
  aut->set_delivery({.copies = 100});
  make();
  CAF_CHECK(aut->pay("order_1"));
  CAF_REQUIRE(merchant.has(100));
  CAF_REQUIRE(eventually([&] {
    return aut->deliveries("order_1").size() == 100;
  }));
  for (const auto& each : aut->deliveries("order_1"))
    CAF_CHECK(each.understood);
  CAF_CHECK_EQUAL(text(merchant.at(0).outer().at("id")),
                  text(merchant.at(99).outer().at("id")));
  std::this_thread::sleep_for(30ms);
  CAF_CHECK_EQUAL(merchant.count(), 100u);
}

CAF_TEST(a refund is told before its payment) {
  aut->set_delivery({.refund_first = true});
  make();
  CAF_CHECK(aut->pay("order_1"));
  std::this_thread::sleep_for(30ms);
  CAF_CHECK_EQUAL(merchant.count(), 0u);
  refund(100);
  CAF_REQUIRE(merchant.has(2));
  CAF_CHECK_EQUAL(merchant.at(0).event(), "REFUND.SUCCESS");
  CAF_CHECK_EQUAL(merchant.at(1).event(), "TRANSACTION.SUCCESS");
}

CAF_TEST(callbacks that contradict are well signed) {
  make();
  make("order_2");
  aut->set_delivery("order_1", {.wrong_amount = true});
  aut->set_delivery("order_2", {.wrong_app = true});
  CAF_CHECK(aut->pay("order_1"));
  CAF_REQUIRE(merchant.has(1));
  CAF_CHECK(merchant.at(0).is_signed(whose::public_key));
  CAF_CHECK_EQUAL(number(merchant.at(0).inner().at("amount").at("total")),
                  9901);
  CAF_CHECK(aut->pay("order_2"));
  CAF_REQUIRE(merchant.has(2));
  CAF_CHECK(merchant.at(1).is_signed(whose::public_key));
  CAF_CHECK_NOT_EQUAL(text(merchant.at(1).inner().at("appid")), options.app_id);
  // The truth can still be told.
  aut->set_delivery("order_1", {});
  CAF_CHECK(aut->deliver_now("order_1"));
  CAF_REQUIRE(merchant.has(3));
  CAF_CHECK_EQUAL(number(merchant.at(2).inner().at("amount").at("total")),
                  9900);
}

CAF_TEST(a probe goes ahead of the real one) {
  aut->set_delivery({.probe = true});
  merchant.failures = 1;
  make();
  CAF_CHECK(aut->pay("order_1"));
  CAF_REQUIRE(merchant.has(2));
  const auto probe = merchant.at(0);
  CAF_CHECK_EQUAL(
    probe.header("Wechatpay-Signature").find("WECHATPAY/SIGNTEST/"), 0u);
  CAF_CHECK(!probe.is_signed(whose::public_key));
  CAF_CHECK(merchant.at(1).is_signed(whose::public_key));
  CAF_REQUIRE(eventually([&] {
    return aut->deliveries("order_1").size() == 2;
  }));
  CAF_CHECK(aut->deliveries("order_1").at(0).probe);
}

CAF_TEST(the API has its troubles) {
  make();
  const auto target
    = "/v3/pay/transactions/out-trade-no/order_1?mchid=" + options.mch_id;
  const auto ask = [&] {
    return fetch(aut->port(), "GET", target, "", sign("GET", target, ""));
  };
  aut->trouble_next(wechat_trouble::frequency_limited, 2);
  CAF_CHECK_EQUAL(code(ask()), "429 FREQUENCY_LIMITED");
  CAF_CHECK_EQUAL(code(ask()), "429 FREQUENCY_LIMITED");
  CAF_CHECK_EQUAL(ask().status, 200);
  aut->trouble_next(wechat_trouble::system_error);
  CAF_CHECK_EQUAL(code(ask()), "500 SYSTEM_ERROR");
  aut->trouble_next(wechat_trouble::unsigned_answer);
  CAF_CHECK_EQUAL(ask().header("Wechatpay-Signature"), "");
  aut->trouble_next(wechat_trouble::wrong_signature);
  auto x = ask();
  CAF_CHECK_EQUAL(x.status, 200);
  CAF_CHECK(!is_signed(x, whose::public_key));
  // An answer that was lost: the order is there all the same.
  const auto body = json::serialize(order("order_2"));
  const auto place = "/v3/pay/transactions/native"s;
  aut->trouble_next(wechat_trouble::answer_lost);
  x = fetch(aut->port(), "POST", place, body, sign("POST", place, body));
  CAF_CHECK_EQUAL(x.status, 502);
  CAF_CHECK_EQUAL(text(query("order_2").at("trade_state")), "NOTPAY");
  CAF_CHECK_EQUAL(post("/sandbox/trouble", "what=system_error&count=1").status,
                  303);
  CAF_CHECK_EQUAL(code(ask()), "500 SYSTEM_ERROR");
  CAF_CHECK_EQUAL(post("/sandbox/trouble", "what=fire&count=1").status, 400);
}

CAF_TEST(v2 takes orders in XML) {
  shop_of_v2();
  auto x = call_v2("/pay/unifiedorder", order_v2());
  CAF_CHECK_EQUAL(x["result_code"], "SUCCESS");
  CAF_CHECK_EQUAL(x["code_url"].substr(0, 28), "weixin://wxpay/bizpayurl?pr=");
  x = call_v2("/pay/orderquery", {{"out_trade_no", "order_1"}}, false);
  CAF_CHECK_EQUAL(x["trade_state"], "NOTPAY");
  x = call_v2("/pay/orderquery", {{"out_trade_no", "order_9"}});
  CAF_CHECK_EQUAL(x["result_code"], "FAIL");
  CAF_CHECK_EQUAL(x["err_code"], "ORDERNOTEXIST");
  CAF_CHECK(aut->pay("order_1"));
  x = call_v2("/pay/orderquery", {{"out_trade_no", "order_1"}});
  CAF_CHECK_EQUAL(x["trade_state"], "SUCCESS");
  CAF_CHECK_EQUAL(x["total_fee"], "9900");
  CAF_CHECK_EQUAL(x["time_end"], "20261123160000");
  x = call_v2("/pay/closeorder", {{"out_trade_no", "order_1"}});
  CAF_CHECK_EQUAL(x["err_code"], "ORDERPAID");
  x = call_v2("/pay/unifiedorder", order_v2());
  CAF_CHECK_EQUAL(x["err_code"], "ORDERPAID");
  call_v2("/pay/unifiedorder", order_v2("order_2"));
  x = call_v2("/pay/closeorder", {{"out_trade_no", "order_2"}});
  CAF_CHECK_EQUAL(x["result_code"], "SUCCESS");
  x = call_v2("/pay/closeorder", {{"out_trade_no", "order_2"}});
  CAF_CHECK_EQUAL(x["err_code"], "ORDERCLOSED");
  auto phone = order_v2("order_3");
  phone["trade_type"] = "MWEB";
  x = call_v2("/pay/unifiedorder", phone);
  CAF_CHECK_EQUAL(x["err_code"], "LACK_PARAMS");
  phone["scene_info"] = "{}";
  x = call_v2("/pay/unifiedorder", phone);
  CAF_CHECK_EQUAL(x["mweb_url"].find(aut->url()), 0u);
  auto bad = order_v2("order_4");
  bad["total_fee"] = "99.00";
  x = call_v2("/pay/unifiedorder", bad);
  CAF_CHECK_EQUAL(x["err_code"], "PARAM_ERROR");
  aut->trouble_next(wechat_trouble::system_error);
  x = call_v2("/pay/orderquery", {{"out_trade_no", "order_1"}});
  CAF_CHECK_EQUAL(x["err_code"], "SYSTEMERROR");
}

CAF_TEST(v2 refuses what is not signed or not XML) {
  auto all = order_v2();
  all["appid"] = options.app_id;
  all["mch_id"] = options.mch_id;
  all["nonce_str"] = "n";
  const auto says = [&](const std::string& body) {
    auto x = parse_xml(post("/pay/unifiedorder", body).body);
    CAF_CHECK_EQUAL(x.count("sign"), 0u);
    return x["return_code"] + " " + x["return_msg"];
  };
  CAF_CHECK_EQUAL(says(write_xml(all)), "FAIL 缺少参数 sign");
  all["sign"] = sign_v2(all, true);
  CAF_CHECK_EQUAL(says(write_xml(all)), "FAIL 签名错误");
  all["sign"] = sign_v2(all, false);
  const auto good = write_xml(all);
  CAF_CHECK_EQUAL(says("<!DOCTYPE xml>" + good).find("FAIL XML"), 0u);
  CAF_CHECK_EQUAL(says(good + good).find("FAIL XML"), 0u);
  CAF_CHECK_EQUAL(says("<xml><a>1</a><a>2</a></xml>").find("FAIL XML"), 0u);
  CAF_CHECK_EQUAL(says("<xml><a><b>1</b></a></xml>").find("FAIL XML"), 0u);
  CAF_CHECK_EQUAL(says("<xml><a>&x;</a></xml>").find("FAIL XML"), 0u);
  CAF_CHECK_EQUAL(says("").find("FAIL XML"), 0u);
  all["total_fee"] = "1";
  CAF_CHECK_EQUAL(says(write_xml(all)), "FAIL 签名错误");
}

CAF_TEST(v2 tells payments and refunds in its own way) {
  shop_of_v2();
  call_v2("/pay/unifiedorder", order_v2());
  call_v2("/pay/unifiedorder", order_v2("order_2"), false);
  merchant.failures = 1;
  CAF_CHECK(aut->pay("order_1"));
  CAF_REQUIRE(merchant.has(2));
  auto x = parse_xml(merchant.at(1).body);
  CAF_CHECK(merchant.at(0).body == merchant.at(1).body);
  CAF_CHECK_EQUAL(merchant.at(1).header("Content-Type"), "text/xml");
  CAF_CHECK_EQUAL(x.count("sign_type"), 0u);
  CAF_CHECK_EQUAL(x["sign"], sign_v2(x, true));
  CAF_CHECK_EQUAL(x["result_code"], "SUCCESS");
  CAF_CHECK_EQUAL(x["out_trade_no"], "order_1");
  CAF_CHECK_EQUAL(x["total_fee"], "9900");
  CAF_CHECK_EQUAL(x["attach"], "a&b");
  CAF_CHECK_EQUAL(x["mch_id"], options.mch_id);
  CAF_CHECK(aut->pay("order_2"));
  CAF_REQUIRE(merchant.has(3));
  x = parse_xml(merchant.at(2).body);
  CAF_CHECK_EQUAL(x["sign"], sign_v2(x, false));
  x = call_v2("/secapi/pay/refund", {{"out_trade_no", "order_1"},
                                     {"out_refund_no", "r1"},
                                     {"total_fee", "9900"},
                                     {"refund_fee", "900"},
                                     {"notify_url", notify_url()}});
  CAF_CHECK_EQUAL(x["result_code"], "SUCCESS");
  const auto id = x["refund_id"];
  CAF_REQUIRE(merchant.has(4));
  x = parse_xml(merchant.at(3).body);
  CAF_CHECK_EQUAL(x.count("sign"), 0u);
  const auto plain
    = decrypt(EVP_aes_256_ecb(), crypto::hex_encode(crypto::md5(v2_key)), "",
              "", crypto::base64_decode(x["req_info"]).value());
  CAF_REQUIRE(plain.has_value());
  CAF_CHECK_EQUAL(plain->substr(0, 6), "<root>");
  auto info = parse_xml(*plain);
  CAF_CHECK_EQUAL(info["refund_id"], id);
  CAF_CHECK_EQUAL(info["out_refund_no"], "r1");
  CAF_CHECK_EQUAL(info["refund_fee"], "900");
  CAF_CHECK_EQUAL(info["refund_status"], "SUCCESS");
  CAF_CHECK_EQUAL(info["success_time"], "2026-11-23 16:00:00");
  x = call_v2("/pay/refundquery", {{"out_trade_no", "order_1"}});
  CAF_CHECK_EQUAL(x["refund_count"], "1");
  CAF_CHECK_EQUAL(x["out_refund_no_0"], "r1");
  CAF_CHECK_EQUAL(x["refund_fee_0"], "900");
  CAF_CHECK_EQUAL(x["refund_status_0"], "SUCCESS");
  x = call_v2("/pay/refundquery", {{"out_refund_no", "r9"}});
  CAF_CHECK_EQUAL(x["err_code"], "REFUNDNOTEXIST");
}

CAF_TEST(callbacks of v2 may name their signature) {
  shop_of_v2();
  options.v2_names_sign_type = true;
  restart();
  call_v2("/pay/unifiedorder", order_v2());
  CAF_CHECK(aut->pay("order_1"));
  CAF_REQUIRE(merchant.has(1));
  auto x = parse_xml(merchant.at(0).body);
  CAF_CHECK_EQUAL(x["sign_type"], "HMAC-SHA256");
  CAF_CHECK_EQUAL(x["sign"], sign_v2(x, true));
}

CAF_TEST(plain success is no answer for v2) {
  merchant.good_status = 200;
  merchant.good_body = "success";
  call_v2("/pay/unifiedorder", order_v2());
  CAF_CHECK(aut->pay("order_1"));
  CAF_REQUIRE(eventually([&] {
    return aut->deliveries("order_1").size() == 4;
  }));
}

CAF_TEST(the console shows orders and does what its buttons say) {
  auto body = order();
  body["description"] = "<script>alert('x')</script>";
  create(body);
  merchant.good_status = 200;
  merchant.good_body = "<img src=x>\xff";
  auto home = fetch(aut->port(), "GET", "/");
  CAF_CHECK(home.has("&lt;script&gt;alert(&#39;x&#39;)"));
  CAF_CHECK(!home.has("<script>"));
  CAF_CHECK(home.has("NOTPAY"));
  CAF_CHECK(home.has("Pay, lose callbacks"));
  CAF_CHECK(home.header("Content-Security-Policy").find("default-src 'none'")
            == 0);
  const auto press = [&](const std::string& form) {
    return post("/console", "order=order_1&" + form).status;
  };
  CAF_CHECK_EQUAL(press("do=pay&lose=on"), 303);
  CAF_REQUIRE(eventually([&] {
    return aut->deliveries("order_1").size() == 1;
  }));
  CAF_CHECK(fetch(aut->port(), "GET", "/").has("丢失 lost"));
  CAF_CHECK_EQUAL(merchant.count(), 0u);
  CAF_CHECK_EQUAL(press("do=notify"), 303);
  CAF_REQUIRE(merchant.has(1));
  CAF_CHECK_EQUAL(press("do=duplicate&copies=100"), 303);
  CAF_REQUIRE(merchant.has(101));
  CAF_CHECK_EQUAL(press("do=refund&amount=9.00&outcome=CLOSED"), 303);
  CAF_REQUIRE(merchant.has(102));
  CAF_CHECK_EQUAL(merchant.at(101).event(), "REFUND.CLOSED");
  CAF_CHECK_EQUAL(press("do=refund&amount=9.00"), 303);
  CAF_REQUIRE(merchant.has(103));
  CAF_REQUIRE(eventually([&] {
    return aut->deliveries("order_1").size() == 104;
  }));
  home = fetch(aut->port(), "GET", "/");
  CAF_CHECK(home.has("#1 ×101"));
  CAF_CHECK(home.has("&lt;img src=x&gt;\xEF\xBF\xBD"));
  CAF_CHECK(!home.has("<img"));
  CAF_CHECK_EQUAL(press("do=close"), 409);
  CAF_CHECK_EQUAL(press("do=refund&amount=91.00"), 409);
  CAF_CHECK_EQUAL(press("do=refund&amount=-1"), 400);
  CAF_CHECK_EQUAL(press("do=dance"), 400);
  CAF_CHECK_EQUAL(press("do=delivery&delay=soon"), 400);
  CAF_CHECK_EQUAL(press("do=delivery&copies=501"), 400);
  CAF_CHECK_EQUAL(press("do=delivery&delay=250ms&copies=3&probe=on"), 303);
  CAF_CHECK(fetch(aut->port(), "GET", "/").has("late by 250ms"));
  CAF_CHECK_EQUAL(post("/console", "order=nope&do=pay").status, 404);
}

CAF_TEST(scripts can do all of it) {
  make();
  CAF_CHECK_EQUAL(post("/sandbox/trades/order_1/delivery", "lose=true").status,
                  200);
  const auto x = post("/sandbox/trades/order_1/pay");
  CAF_CHECK_EQUAL(x.status, 200);
  CAF_CHECK_EQUAL(text(json::parse(x.body).at("data").at("status")), "SUCCESS");
  CAF_REQUIRE(eventually([&] {
    return trade().at("deliveries").as_array().size() == 1;
  }));
  CAF_CHECK(trade().at("deliveries").at(0).at("lost").as_bool());
  CAF_CHECK_EQUAL(post("/sandbox/delivery", "copies=2").status, 200);
  make("order_2");
  CAF_CHECK_EQUAL(post("/sandbox/trades/order_2/pay?notify=false").status, 200);
  std::this_thread::sleep_for(20ms);
  CAF_CHECK_EQUAL(merchant.count(), 0u);
  CAF_CHECK_EQUAL(post("/sandbox/trades/order_2/notify").status, 200);
  CAF_REQUIRE(merchant.has(1));
  CAF_CHECK_EQUAL(post("/sandbox/trades/order_2/refund", "amount=1.00").status,
                  200);
  CAF_REQUIRE(merchant.has(3));
  CAF_CHECK_EQUAL(text(trade().at("refunds").at(0).at("amount")), "1.00");
  make("order_3");
  CAF_CHECK_EQUAL(post("/sandbox/trades/order_3/close").status, 200);
  CAF_CHECK_EQUAL(text(query("order_3").at("trade_state")), "CLOSED");
  CAF_CHECK_EQUAL(post("/sandbox/trades/order_9/pay").status, 404);
  CAF_CHECK_EQUAL(post("/sandbox/refunds", "outcome=ABNORMAL").status, 303);
  CAF_CHECK_EQUAL(post("/sandbox/refunds", "outcome=x").status, 400);
}

CAF_TEST(leaving leaves the order as it is) {
  make();
  CAF_CHECK(post("/cashier", "order=order_1&do=leave").has("Left, nothing"));
  CAF_CHECK_EQUAL(text(query().at("trade_state")), "NOTPAY");
  CAF_CHECK(
    !post("/cashier", "order=order_1&do=leave&redirect=javascript%3Aalert(1)")
       .has("javascript"));
  CAF_CHECK_EQUAL(post("/cashier", "order=nope&do=pay").status, 404);
}

CAF_TEST(the oldest orders are forgotten) {
  options.orders_max = 2;
  restart();
  for (const auto* no : {"order_1", "order_2", "order_3"})
    make(no);
  CAF_CHECK_EQUAL(text(query("order_1").at("code")), "ORDER_NOT_EXIST");
  CAF_CHECK_EQUAL(text(query("order_3").at("trade_state")), "NOTPAY");
}

CAF_TEST(the settings of the merchant are handed out) {
  const auto x = aut->settings();
  CAF_CHECK_EQUAL(x.app_id, options.app_id);
  CAF_CHECK_EQUAL(x.gateway_url, aut->url());
  CAF_CHECK_EQUAL(x.merchant_serial, merchant_serial);
  CAF_REQUIRE_EQUAL(x.platform_keys.size(), 2u);
  CAF_CHECK_EQUAL(x.platform_keys[0].serial, public_serial);
  CAF_CHECK_EQUAL(x.platform_keys[0].pem, key(whose::public_key).public_pem);
  CAF_CHECK_EQUAL(x.platform_keys[1].pem, platform_certificate());
}

CAF_TEST(bad options are an error with a sentence) {
  const auto error = [&](const wechat_simulator_options& with) {
    wechat_simulator broken{with, time, out};
    const auto started = broken.start();
    CAF_REQUIRE(!started.has_value());
    return started.error();
  };
  auto with = options;
  with.listen.host = "0.0.0.0";
  CAF_CHECK_EQUAL(error(with), "sandbox: expected a loopback address "
                               "(127.0.0.1, ::1), found 0.0.0.0");
  with = options;
  with.api_v3_key = "short";
  CAF_CHECK_EQUAL(error(with),
                  "sandbox: expected api_v2_key and api_v3_key of 32 bytes");
  with = options;
  with.merchant_certificate = "nonsense";
  CAF_CHECK_EQUAL(error(with).find("sandbox: merchant_certificate: "), 0u);
  with = options;
  with.platform_keys.clear();
  CAF_CHECK_EQUAL(error(with), "sandbox: expected at least one platform key");
}

CAF_TEST_FIXTURE_SCOPE_END()

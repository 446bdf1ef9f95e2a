#pragma once

#include "http/crypto/encoding.hpp"
#include "http/crypto/form.hpp"
#include "http/gateway/alipay.hpp"
#include "http/gateway/strict_json.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <caf/test/unit_test.hpp>

#include <array>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <vector>

/// A merchant and an Alipay of the tests' own.
namespace alipay_world {

using namespace slipway;
using namespace slipway::gateway;

namespace json = boost::json;

using params = std::map<std::string, std::string>;

inline std::string text(const json::object& object, std::string_view name) {
  return text_of(object, name).value_or("");
}

// -- vectors ------------------------------------------------------------------

/// Every recorded message of Alipay of that kind.
inline std::vector<json::object> vectors_of(std::string_view kind) {
  std::vector<json::object> result;
  const auto folder = std::filesystem::path{SLIPWAY_TEST_DATA} / "vectors";
  for (const auto& entry : std::filesystem::directory_iterator{folder}) {
    std::ifstream file{entry.path()};
    std::ostringstream all;
    all << file.rdbuf();
    auto value = json::parse(all.str());
    if (!value.is_object())
      continue; // The index.
    auto& vector = value.as_object();
    if (text(vector, "gateway") == "alipay" && text(vector, "kind") == kind)
      result.push_back(std::move(vector));
  }
  return result;
}

inline config::alipay_settings settings_of(const json::object& vector) {
  const auto& given = vector.at("config").as_object();
  config::alipay_settings settings;
  settings.app_id = text(given, "app_id");
  settings.seller_id = text(given, "seller_id");
  settings.sign_type = text(given, "sign_type");
  settings.alipay_public_key = text(given, "alipay_public_key_pem");
  settings.alipay_cert = text(given, "alipay_cert_pem");
  settings.app_cert = text(given, "app_cert_pem");
  settings.root_cert = text(given, "alipay_root_cert_pem");
  return settings;
}

inline std::string body_of(const json::object& vector) {
  auto body = crypto::base64_decode(text(vector, "body_base64"));
  CAF_REQUIRE(body.has_value());
  return *body;
}

// -- keys ---------------------------------------------------------------------

/// Made once for the whole suite: making a key takes a while.
inline const crypto::rsa_key_pair& pair_number(std::size_t index) {
  static const std::array<crypto::rsa_key_pair, 2> pairs{
    *crypto::generate_rsa_key(), *crypto::generate_rsa_key()};
  return pairs[index];
}

inline std::string joined(const params& all) {
  std::string result;
  for (const auto& [name, value] : all)
    result += (result.empty() ? "" : "&") + name + '=' + value;
  return result;
}

/// Checks a request as the gateway would and returns its parameters.
inline params
checked(const crypto::form_fields& fields, const std::string& public_pem,
        crypto::digest digest = crypto::digest::sha256) {
  params all(fields.begin(), fields.end());
  CAF_CHECK_EQUAL(all.size(), fields.size());
  auto unsigned_ones = all;
  auto sign = unsigned_ones.extract("sign");
  CAF_REQUIRE(!sign.empty());
  for (const auto& [name, value] : unsigned_ones)
    CAF_CHECK(!value.empty());
  auto raw = crypto::base64_decode(sign.mapped());
  CAF_REQUIRE(raw.has_value());
  auto key = crypto::rsa_public_key::parse(public_pem);
  CAF_REQUIRE(key.has_value());
  CAF_CHECK(key->verify(digest, joined(unsigned_ones), *raw));
  return all;
}

inline crypto::form_fields query_of(const std::string& url) {
  auto fields = crypto::decode_form(url.substr(url.find('?') + 1));
  CAF_REQUIRE(fields.has_value());
  return *fields;
}

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

  [[nodiscard]] alipay codec() const {
    auto made = alipay::make(settings);
    if (!made)
      CAF_FAIL(made.error());
    return *made;
  }

  /// As the gateway signs, in base64.
  [[nodiscard]] std::string
  sign(std::string_view content,
       crypto::digest digest = crypto::digest::sha256) const {
    auto key = *crypto::rsa_private_key::parse(alipay_pair.private_pem);
    return crypto::base64_encode(*key.sign(digest, content));
  }
};

inline pay_order an_order() {
  pay_order order;
  order.order_id = "S20261123_1";
  order.amount = 9'900;
  order.subject = "专业版 “30 天” & 50%+";
  order.notify_url = "https://pay.example.com/api/payment/alipay/notify";
  order.return_url = "https://pay.example.com/done?x=1";
  order.created_at = *parse_rfc3339("2026-11-23T08:00:00.900Z");
  order.expires_at = *parse_rfc3339("2026-11-23T08:30:00Z");
  return order;
}

} // namespace alipay_world

#include "recorded.hpp"

#include "http/crypto/encoding.hpp"

#include <boost/json/array.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace slipway::fuzz {

namespace json = boost::json;

namespace {

[[noreturn]] void give_up(const std::string& why) {
  std::fprintf(stderr, "%s\n", why.c_str());
  std::exit(2);
}

std::string text_of(const json::object& from, std::string_view name) {
  const auto* found = from.if_contains(name);
  return found != nullptr && found->is_string()
           ? std::string{found->get_string()}
           : std::string{};
}

const json::object& object_of(const json::object& from, std::string_view name) {
  static const json::object none;
  const auto* found = from.if_contains(name);
  return found != nullptr && found->is_object() ? found->get_object() : none;
}

message message_of(json::object file) {
  message result;
  result.id = text_of(file, "id");
  result.kind = text_of(file, "kind");
  const auto& request = object_of(file, "request");
  const auto& from
    = result.kind == "response" ? object_of(file, "response") : request;
  result.api_method = text_of(request, "api_method");
  if (const auto* headers = from.if_contains("headers");
      headers != nullptr && headers->is_array())
    for (const auto& header : headers->get_array())
      result.headers.emplace_back(header.at(0).as_string(),
                                  header.at(1).as_string());
  auto body = crypto::base64_decode(text_of(file, "body_base64"));
  if (!body)
    give_up(result.id + ": body_base64 is no base64");
  result.body = std::move(*body);
  result.file = std::move(file);
  return result;
}

const json::object&
account_of(const std::vector<message>& all, std::string_view id) {
  auto found = std::find_if(all.begin(), all.end(), [id](const auto& x) {
    return x.id == id;
  });
  if (found == all.end())
    give_up("no recorded message " + std::string{id});
  return object_of(found->file, "config");
}

} // namespace

std::vector<message> recorded(std::string_view gateway) {
  const auto folder = std::filesystem::path{SLIPWAY_TEST_DATA} / "vectors";
  std::vector<message> result;
  for (const auto& entry : std::filesystem::directory_iterator{folder}) {
    std::ifstream file{entry.path()};
    std::ostringstream text;
    text << file.rdbuf();
    auto value = json::parse(text.str());
    if (value.is_object() && text_of(value.get_object(), "gateway") == gateway)
      result.push_back(message_of(std::move(value.get_object())));
  }
  if (result.empty())
    give_up("no recorded messages of " + std::string{gateway});
  std::sort(result.begin(), result.end(), [](const auto& a, const auto& b) {
    return a.id < b.id;
  });
  return result;
}

config::alipay_settings alipay_account() {
  const auto all = recorded("alipay");
  const auto& given = account_of(all, "alipay-rsa2-valid");
  config::alipay_settings result;
  result.app_id = text_of(given, "app_id");
  result.seller_id = text_of(given, "seller_id");
  result.alipay_public_key = text_of(given, "alipay_public_key_pem");
  return result;
}

config::wechat_settings wechat_account() {
  const auto v2 = recorded("wechat-v2");
  const auto v3 = recorded("wechat-v3");
  const auto& given = account_of(v3, "wxv3-valid-pubkey-mode");
  config::wechat_settings result;
  result.app_id = text_of(given, "appid");
  result.mch_id = text_of(given, "mchid");
  result.api_v2_key
    = config::secret{text_of(account_of(v2, "wxv2-md5-valid"), "api_v2_key")};
  result.api_v3_key = config::secret{text_of(given, "api_v3_key")};
  for (auto name : {"wechatpay_public_keys", "platform_certificates"})
    for (const auto& [serial, pem] : object_of(given, name))
      result.platform_keys.push_back(
        {std::string{serial}, std::string{pem.as_string()}});
  return result;
}

timestamp recorded_now() {
  return timestamp{std::chrono::seconds{1'800'000'000}};
}

const crypto::rsa_key_pair& own_keys() {
  static const auto result = [] {
    auto made = crypto::generate_rsa_key();
    if (!made)
      give_up(made.error());
    return *made;
  }();
  return result;
}

const crypto::rsa_private_key& own_key() {
  static const auto result = [] {
    auto parsed = crypto::rsa_private_key::parse(own_keys().private_pem);
    if (!parsed)
      give_up(parsed.error());
    return *parsed;
  }();
  return result;
}

} // namespace slipway::fuzz

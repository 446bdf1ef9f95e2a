// Writes what the fuzzers start from: the recorded messages, each in the form
// that its fuzzer reads. usage: fuzz_seeds FOLDER

#include "http/crypto/aead.hpp"
#include "http/crypto/encoding.hpp"
#include "http/gateway/strict_json.hpp"
#include "recorded.hpp"

#include <boost/json/value.hpp>

#include <cstdio>
#include <filesystem>
#include <fstream>

using namespace slipway;

namespace {

std::filesystem::path root;
std::size_t written = 0;

void put(const std::string& fuzzer, const std::string& name,
         const std::string& text) {
  const auto folder = root / fuzzer;
  std::filesystem::create_directories(folder);
  std::ofstream file{folder / name, std::ios::binary};
  file << text;
  file.close();
  if (!file) {
    std::fprintf(stderr, "can't write %s\n", (folder / name).c_str());
    std::exit(1);
  }
  ++written;
}

/// Every PEM among what an account was configured with.
void put_certificates(const fuzz::message& from, const boost::json::value& x,
                      int& count) {
  if (const auto* text = x.if_string();
      text != nullptr && text->starts_with("-----BEGIN"))
    put("certificates", from.id + '-' + std::to_string(++count),
        std::string{*text});
  if (const auto* object = x.if_object())
    for (const auto& [name, member] : *object)
      put_certificates(from, member, count);
}

std::string text_of(const fuzz::message& from, std::string_view group,
                    std::string_view name) {
  const auto* found = gateway::object_of(from.file, group);
  return found == nullptr ? std::string{}
                          : gateway::text_of(*found, name).value_or("");
}

/// What WeChat Pay v3 encrypted in a notification; empty where it was nothing.
std::string plaintext_of(const fuzz::message& from) {
  const auto body = gateway::parse_object(from.body);
  const auto* resource = body ? gateway::object_of(*body, "resource") : nullptr;
  if (resource == nullptr)
    return {};
  auto member = [resource](std::string_view name) {
    return gateway::text_of(*resource, name).value_or("");
  };
  const auto sealed = crypto::base64_decode(member("ciphertext"));
  return crypto::open_aes_256_gcm(text_of(from, "config", "api_v3_key"),
                                  member("nonce"), member("associated_data"),
                                  sealed.value_or(""))
    .value_or("");
}

} // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: fuzz_seeds FOLDER\n");
    return 2;
  }
  root = argv[1];
  for (const auto& x : fuzz::recorded("alipay")) {
    int count = 0;
    put_certificates(x, x.file.at("config"), count);
    if (x.kind == "notify") {
      put("alipay", x.id, x.body);
      put("form", x.id, x.body);
      put("base64", x.id, text_of(x, "intermediate", "sign_base64"));
    } else if (x.kind == "response") {
      put("alipay_response", x.id, x.body);
      put("alipay_response", x.id + "-node",
          text_of(x, "intermediate", "signed_bytes_utf8"));
      put("json", x.id, x.body);
    }
  }
  for (const auto& x : fuzz::recorded("wechat-v2")) {
    if (x.kind == "computation")
      continue;
    put("xml", x.id, x.body);
    if (x.kind == "notify") {
      put("wechat_v2", x.id, x.body);
    } else {
      put("wechat_v2_refund", x.id, x.body);
      put("wechat_v2_refund", x.id + "-text",
          text_of(x, "intermediate", "plaintext_utf8"));
    }
  }
  for (const auto& x : fuzz::recorded("wechat-v3")) {
    int count = 0;
    put_certificates(x, x.file.at("config"), count);
    if (x.kind != "notify" && x.kind != "response")
      continue;
    std::string text;
    for (const auto& [name, value] : x.headers)
      text += name + ": " + value + '\n';
    put("wechat_v3", x.id, text + '\n' + x.body);
    put("json", x.id, x.body);
    if (auto plain = plaintext_of(x); !plain.empty()) {
      put("json", x.id + "-text", plain);
      const auto is_refund = plain.find("refund_status") != std::string::npos;
      put("wechat_v3", x.id + "-text", (is_refund ? '\1' : '\0') + plain);
    }
  }
  // A planted mistake has to be found, not to be handed over.
  put("planted_xml", "good", "<xml><a>1</a><b>2</b><c>3</c></xml>");
  put("planted_form", "good", "a=1&b=%32&c=3");
  std::printf("%zu seeds\n", written);
  return written > 0 ? 0 : 1;
}

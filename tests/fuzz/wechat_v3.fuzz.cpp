#include "http/gateway/wechat_v3.hpp"

#include "http/crypto/aead.hpp"
#include "http/crypto/encoding.hpp"
#include "http/gateway/strict_json.hpp"
#include "mutate.hpp"
#include "property.hpp"
#include "recorded.hpp"

#include <set>

using namespace slipway;
using namespace slipway::gateway;
using fuzz::require;

namespace {

constexpr std::string_view own_serial = "PUB_KEY_ID_OWN";
constexpr std::string_view order_id = "SHOP20270115000003";

constexpr std::string_view events[]
  = {"TRANSACTION.SUCCESS", "REFUND.SUCCESS", "REFUND.ABNORMAL",
     "REFUND.CLOSED", "SOMETHING.ELSE"};

/// `Name: value` lines, an empty one, the body.
struct packet {
  client::header_list headers;
  std::string_view body;
};

packet packet_of(std::string_view text) {
  packet result;
  while (true) {
    const auto end = text.find('\n');
    const auto line = text.substr(0, end);
    if (end == std::string_view::npos)
      return result;
    text.remove_prefix(end + 1);
    if (line.empty())
      break;
    const auto colon = line.find(": ");
    result.headers.emplace_back(
      line.substr(0, colon),
      colon == std::string_view::npos ? "" : line.substr(colon + 2));
  }
  result.body = text;
  return result;
}

std::string header_of(const packet& from, std::string_view name) {
  return std::string{client::find_header(from.headers, name).value_or("")};
}

/// What WeChat Pay signs.
std::string content_of(const packet& from) {
  return header_of(from, "Wechatpay-Timestamp") + '\n'
         + header_of(from, "Wechatpay-Nonce") + '\n' + std::string{from.body}
         + '\n';
}

/// The same with who signed and the signature, of which each text has just one.
std::string proof_of(const packet& from) {
  return content_of(from) + header_of(from, "Wechatpay-Serial") + '\n'
         + header_of(from, "Wechatpay-Signature");
}

wechat_v3 codec_of(const config::wechat_settings& settings) {
  return *wechat_v3::make(settings,
                          *platform_keys::make(settings.platform_keys));
}

refund_order a_refund() {
  refund_order order;
  order.order_id = order_id;
  order.refund_id = "R1";
  return order;
}

struct account {
  config::wechat_settings settings = fuzz::wechat_account();
  wechat_v3 recorded = codec_of(settings);
  wechat_v3 own = [this] {
    auto changed = settings;
    changed.platform_keys
      = {{std::string{own_serial}, fuzz::own_keys().public_pem}};
    return codec_of(changed);
  }();
  std::set<std::string> said;

  account() {
    for (const auto& x : fuzz::recorded("wechat-v3")) {
      const packet from{x.headers, x.body};
      if (recorded.check(x.headers, x.body, fuzz::recorded_now()).signature
          == signature_verdict::valid)
        said.insert(proof_of(from));
    }
    require(!said.empty(), "something valid has been recorded");
  }

  void feed(std::string_view text) const {
    const auto now = fuzz::recorded_now();
    const auto from = packet_of(text);
    const auto read = recorded.read_notification(from.headers, from.body, now);
    fuzz::check(read);
    const auto checked = recorded.check(from.headers, from.body, now);
    require((checked.signature == signature_verdict::valid) == !checked.refused,
            "what is not valid is refused");
    require((read.signature == signature_verdict::valid)
              == (checked.signature == signature_verdict::valid),
            "a notification is checked like everything else");
    if (checked.signature == signature_verdict::valid)
      require(said.count(proof_of(from)) != 0,
              "nothing is valid that was never signed");
    const client::http_response answer{200, from.headers,
                                       std::string{from.body}};
    answered(recorded, answer, [&checked](const auto& x) {
      require(!x || checked.signature == signature_verdict::valid,
              "no answer counts that was never signed");
    });
    // And what lies behind signature and encryption.
    if (text.empty() || !parse_object(text.substr(1)))
      return;
    notified(
      events[static_cast<unsigned char>(text.front()) % std::size(events)],
      text.substr(1));
    answered(own, signed_by_us(std::string{text.substr(1)}), [](const auto& x) {
      require(x || !x.error().sentence.empty(), "a failure says why");
    });
  }

  void notified(std::string_view event, std::string_view plain) const {
    constexpr std::string_view nonce = "abcdefghijkl";
    const auto sealed = crypto::seal_aes_256_gcm(settings.api_v3_key.reveal(),
                                                 nonce, "transaction", plain);
    require(sealed.has_value(), "every text can be sealed");
    const auto message = signed_by_us(
      "{\"id\":\"EV-1\",\"create_time\":\"2027-01-15T16:00:00+08:00\","
      "\"resource_type\":\"encrypt-resource\",\"event_type\":\""
      + std::string{event}
      + "\",\"summary\":\"x\",\"resource\":{\"algorithm\":\"AEAD_AES_256_GCM\","
        "\"original_type\":\"transaction\",\"associated_data\":\"transaction\","
        "\"nonce\":\""
      + std::string{nonce} + "\",\"ciphertext\":\""
      + crypto::base64_encode(*sealed) + "\"}}");
    const auto read = own.read_notification(message.headers, message.body,
                                            fuzz::recorded_now());
    fuzz::check(read);
    require(read.signature == signature_verdict::valid,
            "what is signed is valid");
    require(!read.refused
              || read.refused->reason != reject_reason::decrypt_failed,
            "what was sealed with the key opens");
  }

  static client::http_response signed_by_us(std::string body) {
    client::http_response result{
      200,
      {{"Wechatpay-Timestamp", "1800000000"},
       {"Wechatpay-Nonce", "N"},
       {"Wechatpay-Serial", std::string{own_serial}}},
      std::move(body)};
    auto sign = fuzz::own_key().sign(crypto::digest::sha256,
                                     content_of({result.headers, result.body}));
    require(sign.has_value(), "every text can be signed");
    result.headers.emplace_back("Wechatpay-Signature",
                                crypto::base64_encode(*sign));
    return result;
  }

  template <class Check>
  static void answered(const wechat_v3& by, const client::http_response& answer,
                       Check check) {
    const auto now = fuzz::recorded_now();
    pay_order order;
    order.order_id = order_id;
    order.method = lifecycle::payment_method::native;
    check(by.read_create(order, answer, now));
    check(by.read_query(order_id, answer, now));
    check(by.read_close(order_id, answer, now));
    check(by.read_refund(a_refund(), answer, now));
    check(by.read_refund_query(a_refund(), answer, now));
  }
};

} // namespace

extern "C" std::size_t
LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                        std::size_t max_size, unsigned int seed) {
  return fuzz::mutate(
    data, size, max_size, seed,
    [](std::string_view text) {
      auto from = packet_of(text);
      from.headers.emplace_back("", from.body);
      return std::optional{std::move(from.headers)};
    },
    [](const crypto::form_fields& fields) {
      std::string head;
      std::string body;
      for (const auto& [name, value] : fields)
        if (name.empty())
          body = value;
        else
          head += name + ": " + value + '\n';
      return head + '\n' + body;
    });
}

extern "C" int
LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const account ours;
  ours.feed(fuzz::text_of(data, size));
  return 0;
}

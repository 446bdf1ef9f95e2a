#include "http/crypto/encoding.hpp"
#include "http/gateway/alipay.hpp"
#include "http/gateway/strict_json.hpp"
#include "property.hpp"
#include "recorded.hpp"

#include <boost/json/serialize.hpp>

#include <set>

using namespace slipway;
using namespace slipway::gateway;
using fuzz::require;

namespace {

constexpr std::string_view methods[]
  = {"alipay.trade.query", "alipay.trade.precreate"};

constexpr std::string_view order_id = "SHOP20270115000001";

refund_order a_refund() {
  refund_order order;
  order.order_id = order_id;
  order.refund_id = "R1";
  return order;
}

/// What was signed with the signature, of which each text has just one.
std::string proof_of(const boost::json::object& node, std::string_view body) {
  const auto whole = parse_object(body);
  require(whole.has_value(), "what is used is JSON");
  return boost::json::serialize(node) + text_of(*whole, "sign").value_or("");
}

struct account {
  alipay recorded = *alipay::make(fuzz::alipay_account());
  alipay own = [] {
    auto settings = fuzz::alipay_account();
    settings.alipay_public_key = fuzz::own_keys().public_pem;
    return *alipay::make(settings);
  }();
  std::set<std::string> said;

  account() {
    for (const auto& x : fuzz::recorded("alipay"))
      if (x.kind == "response")
        if (auto read = recorded.read_response(x.api_method, x.body))
          said.insert(proof_of(*read, x.body));
    require(!said.empty(), "something valid has been recorded");
  }

  void feed(std::string_view body) const {
    for (auto method : methods) {
      const auto read = recorded.read_response(method, body);
      if (read) {
        require(said.count(proof_of(*read, body)) != 0,
                "nothing is used that was never signed");
      } else {
        require(read.error().decision != response_decision::use,
                "a refusal is none");
        require(!read.error().sentence.empty(), "a refusal says why");
      }
    }
    // And what lies behind a valid signature.
    const auto object = parse_object(body);
    if (!object || !body.starts_with('{') || !body.ends_with('}'))
      return;
    auto sign = fuzz::own_key().sign(crypto::digest::sha256, body);
    require(sign.has_value(), "every text can be signed");
    for (std::string name :
         {"query", "close", "refund", "precreate", "fastpay_refund_query"}) {
      const client::http_response answer{
        200,
        {},
        "{\"alipay_trade_" + name + "_response\":" + std::string{body}
          + ",\"sign\":\"" + crypto::base64_encode(*sign) + "\"}"};
      const auto now = fuzz::recorded_now();
      auto said_why = [](const auto& x) {
        require(x || !x.error().sentence.empty(), "a failure says why");
      };
      if (name == "query") {
        const auto read = own.read_response("alipay.trade.query", answer.body);
        // Nested one deeper than on its own.
        if (read)
          require(boost::json::serialize(*read)
                    == boost::json::serialize(*object),
                  "what is signed is what is used");
        else
          require(read.error().signature != signature_verdict::invalid,
                  "what is signed is valid");
        said_why(own.read_query(order_id, answer, now));
      } else if (name == "close") {
        said_why(own.read_close(order_id, answer, now));
      } else if (name == "refund") {
        said_why(own.read_refund(a_refund(), answer, now));
      } else if (name == "precreate") {
        pay_order order;
        order.order_id = order_id;
        order.method = lifecycle::payment_method::qr;
        said_why(own.read_create(order, answer, now));
      } else {
        said_why(own.read_refund_query(a_refund(), answer, now));
      }
    }
  }
};

} // namespace

extern "C" int
LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const account ours;
  ours.feed(fuzz::text_of(data, size));
  return 0;
}

#include "http/gateway/wechat_v2.hpp"

#include "http/gateway/xml.hpp"
#include "mutate.hpp"
#include "property.hpp"
#include "recorded.hpp"

#include <set>

using namespace slipway;
using namespace slipway::gateway;
using fuzz::require;

namespace {

constexpr std::string_view order_id = "SHOP20270115000002";

pay_order an_order() {
  pay_order order;
  order.order_id = order_id;
  order.method = lifecycle::payment_method::native;
  return order;
}

refund_order a_refund() {
  refund_order order;
  order.order_id = order_id;
  order.refund_id = "R1";
  return order;
}

/// An account with one of the two types, and all that was ever signed with it.
class account {
public:
  explicit account(v2_sign_type type)
    : type_{type}, settings_{fuzz::wechat_account()}, codec_{*wechat_v2::make(
                                                        settings_, type)} {
    for (const auto& x : fuzz::recorded("wechat-v2"))
      if (x.kind == "notify" && is_valid(codec_.read_notification(x.body)))
        said_.insert(content_of(x.body));
    require(!said_.empty(), "something valid has been recorded");
  }

  void feed(std::string_view body) const {
    const auto read = codec_.read_notification(body);
    fuzz::check(read);
    const auto genuine = is_valid(read);
    if (genuine)
      require(said_.count(content_of(body)) != 0,
              "nothing is valid that was never signed");
    const client::http_response answer{200, {}, std::string{body}};
    answered(answer, [genuine](const auto& x) {
      require(!x || genuine, "no answer counts that was never signed");
    });
    // And what lies behind a valid sign.
    auto fields = parse_flat_xml(body, "xml");
    if (!fields)
      return;
    std::erase_if(*fields, [](const auto& field) {
      return field.first == "sign" || field.first == "sign_type";
    });
    fields->emplace_back(
      "sign", v2_sign(*fields, settings_.api_v2_key.reveal(), type_));
    const auto text = write_flat_xml("xml", *fields);
    if (text.size() > 64 * 1024 || fields->size() > 256)
      return;
    const auto behind = codec_.read_notification(text);
    fuzz::check(behind);
    require(behind.signature == signature_verdict::valid,
            "what is signed is valid");
    answered({200, {}, text}, [](const auto& x) {
      require(x || !x.error().sentence.empty(), "a failure says why");
    });
  }

private:
  static bool is_valid(const reading& x) {
    return x.signature == signature_verdict::valid
           || x.signature == signature_verdict::valid_under_configured_type;
  }

  /// What is signed, and the sign.
  static std::string content_of(std::string_view body) {
    auto fields = parse_flat_xml(body, "xml");
    require(fields.has_value(), "what is valid is XML");
    return fuzz::joined(std::move(*fields), false, {});
  }

  template <class Check>
  void answered(const client::http_response& answer, Check check) const {
    const auto now = fuzz::recorded_now();
    check(codec_.read_create(an_order(), answer, now));
    check(codec_.read_query(order_id, answer, now));
    check(codec_.read_close(order_id, answer, now));
    check(codec_.read_refund_query(a_refund(), answer, now));
  }

  v2_sign_type type_;
  config::wechat_settings settings_;
  wechat_v2 codec_;
  std::set<std::string> said_;
};

} // namespace

extern "C" std::size_t
LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                        std::size_t max_size, unsigned int seed) {
  return fuzz::mutate(
    data, size, max_size, seed,
    [](std::string_view text) {
      return parse_flat_xml(text, "xml");
    },
    [](const crypto::form_fields& fields) {
      return write_flat_xml("xml", fields);
    });
}

extern "C" int
LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const account hmac{v2_sign_type::hmac_sha256};
  static const account md5{v2_sign_type::md5};
  hmac.feed(fuzz::text_of(data, size));
  md5.feed(fuzz::text_of(data, size));
  return 0;
}

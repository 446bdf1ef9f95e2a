#include "http/crypto/aes_ecb.hpp"
#include "http/crypto/encoding.hpp"
#include "http/gateway/wechat_v2.hpp"
#include "http/gateway/xml.hpp"
#include "property.hpp"
#include "recorded.hpp"

using namespace slipway;
using namespace slipway::gateway;
using fuzz::require;

namespace {

struct account {
  config::wechat_settings settings = fuzz::wechat_account();
  wechat_v2 codec = *wechat_v2::make(settings, v2_sign_type::md5);
  std::string key = v2_refund_key(settings.api_v2_key.reveal());

  void check(const reading& x) const {
    fuzz::check(x);
    require(x.signature == signature_verdict::none_by_design
              || x.signature == signature_verdict::not_evaluated,
            "a refund result has no signature");
    if (!x.refused) {
      require(x.what.refund_amount > 0, "a refund has an amount");
      require(x.what.refund_amount <= x.what.amount,
              "no more is refunded than was paid");
      require(!x.what.refund_id.empty(), "a refund has a number");
    }
  }

  void feed(std::string_view text) const {
    check(codec.read_refund_notification(text));
    // The same as what is encrypted in a message.
    const auto sealed = crypto::aes_256_ecb_encrypt(key, text);
    require(sealed.has_value(), "every text can be sealed");
    const auto body
      = write_flat_xml("xml", {
                                {"return_code", "SUCCESS"},
                                {"appid", settings.app_id},
                                {"mch_id", settings.mch_id},
                                {"req_info", crypto::base64_encode(*sealed)},
                              });
    const auto read = codec.read_refund_notification(body);
    check(read);
    const auto is_message = parse_flat_xml(text, "root").has_value();
    require(!is_message || body.size() > 64 * 1024 || !read.refused
              || read.refused->reason != reject_reason::decrypt_failed,
            "what was sealed with the key opens");
    require(is_message || !is_authentic(read),
            "what is authentic is a message");
  }
};

} // namespace

extern "C" int
LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const account ours;
  ours.feed(fuzz::text_of(data, size));
  return 0;
}

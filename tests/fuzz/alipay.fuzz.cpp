#include "http/gateway/alipay.hpp"

#include "http/crypto/encoding.hpp"
#include "mutate.hpp"
#include "property.hpp"
#include "recorded.hpp"

#include <set>

using namespace slipway;
using namespace slipway::gateway;
using fuzz::require;

namespace {

bool is_valid(const reading& x) {
  return x.signature == signature_verdict::valid
         || x.signature == signature_verdict::valid_under_configured_type;
}

/// What Alipay signs of a notification.
std::string content_of(const crypto::form_fields& fields) {
  return fuzz::joined(fields, true, {"sign", "sign_type"});
}

/// The same with the signature, of which each text has just one.
std::string proof_of(const crypto::form_fields& fields) {
  return fuzz::joined(fields, true, {"sign_type"});
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
      if (x.kind == "notify" && is_valid(recorded.read_notification(x.body)))
        said.insert(proof_of(*crypto::decode_form(x.body)));
    require(!said.empty(), "something valid has been recorded");
  }

  void feed(std::string_view body) const {
    const auto read = recorded.read_notification(body);
    fuzz::check(read);
    auto fields = crypto::decode_form(body);
    if (is_valid(read))
      require(fields && said.count(proof_of(*fields)) != 0,
              "nothing is valid that was never signed");
    if (!fields || fields->empty() || fields->size() > 200)
      return;
    // And what lies behind a valid signature.
    std::erase_if(*fields, [](const auto& field) {
      return field.first == "sign" || field.first == "sign_type";
    });
    auto sign
      = fuzz::own_key().sign(crypto::digest::sha256, content_of(*fields));
    require(sign.has_value(), "every text can be signed");
    fields->emplace_back("sign", crypto::base64_encode(*sign));
    fields->emplace_back("sign_type", "RSA2");
    const auto behind = own.read_notification(crypto::encode_form(*fields));
    fuzz::check(behind);
    require(behind.signature == signature_verdict::valid,
            "what is signed is valid");
  }
};

} // namespace

extern "C" std::size_t
LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                        std::size_t max_size, unsigned int seed) {
  return fuzz::mutate(
    data, size, max_size, seed,
    [](std::string_view text) {
      return crypto::decode_form(text);
    },
    crypto::encode_form);
}

extern "C" int
LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const account ours;
  ours.feed(fuzz::text_of(data, size));
  return 0;
}

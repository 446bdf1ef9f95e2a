#include "http/crypto/encoding.hpp"
#include "property.hpp"

using namespace slipway;
using fuzz::require;

extern "C" int
LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto text = fuzz::text_of(data, size);
  if (auto bytes = crypto::base64_decode(text))
    require(crypto::base64_encode(*bytes) == text,
            "every byte string has one base64");
  if (auto bytes = crypto::base64url_decode(text))
    require(crypto::base64url_encode(*bytes) == text,
            "every byte string has one base64url");
  if (auto bytes = crypto::hex_decode(text)) {
    require(bytes->size() * 2 == text.size(), "two digits make a byte");
    auto again = crypto::hex_decode(crypto::hex_encode(*bytes));
    require(again && *again == *bytes, "hex survives");
  }
  auto base64 = crypto::base64_decode(crypto::base64_encode(text));
  require(base64 && *base64 == text, "every byte string survives base64");
  auto base64url = crypto::base64url_decode(crypto::base64url_encode(text));
  require(base64url && *base64url == text,
          "every byte string survives base64url");
  return 0;
}

#include "property.hpp"

using namespace slipway;
using fuzz::require;

extern "C" int
LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto text = fuzz::text_of(data, size);
  if (auto fields = crypto::decode_form(text)) {
    require(!fuzz::has_duplicate(*fields), "no name occurs twice");
    require(fields->size() <= 256, "no more fields than the limit");
    for (const auto& [name, value] : *fields)
      require(name.size() + value.size() <= text.size(),
              "decoding makes nothing longer");
    auto again = crypto::decode_form(crypto::encode_form(*fields));
    require(again && *again == *fields, "what is encoded is decoded again");
  }
  auto whole = crypto::percent_decode(crypto::percent_encode(text));
  require(whole && *whole == text, "every text survives percent encoding");
  if (auto decoded = crypto::percent_decode(text)) {
    auto again = crypto::percent_decode(crypto::percent_encode(*decoded));
    require(again && *again == *decoded, "and so does what was decoded");
  }
  return 0;
}

#define CAF_SUITE crypto.aead

#include "http/crypto/aead.hpp"

#include "http/crypto/encoding.hpp"

#include <caf/test/unit_test.hpp>

#include <string>

using namespace slipway::crypto;

namespace {

const std::string key = "lyQ98PtsyFzcBxYOYHvtVv8Vnyltd1da";
const std::string nonce = "fdasflkja484";

std::string unhex(std::string_view text) {
  auto bytes = hex_decode(text);
  CAF_REQUIRE(bytes.has_value());
  return *bytes;
}

} // namespace

CAF_TEST(the known answer of the GCM specification) {
  // Test case 16 of McGrew and Viega.
  auto k = unhex("feffe9928665731c6d6a8f9467308308"
                 "feffe9928665731c6d6a8f9467308308");
  auto iv = unhex("cafebabefacedbaddecaf888");
  auto text = unhex("d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d"
                    "8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657"
                    "ba637b39");
  auto with = unhex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
  auto expected = std::string{"522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c9"
                              "7598a2bd2555d1aa8cb08e48590dbb3da7b08b105682883"
                              "8c5f61e6393ba7a0abcc9f662"
                              "76fc6ece0f4e1768cddf8853bb2d551b"};
  auto sealed = seal_aes_256_gcm(k, iv, with, text);
  CAF_REQUIRE(sealed.has_value());
  CAF_CHECK_EQUAL(hex_encode(*sealed), expected);
  auto opened = open_aes_256_gcm(k, iv, with, *sealed);
  CAF_REQUIRE(opened.has_value());
  CAF_CHECK(*opened == text);
}

CAF_TEST(what was sealed can be opened whatever its length) {
  const auto binary = std::string{"\0\xff\n", 3};
  for (const auto& text :
       {std::string{}, std::string{"x"}, binary, std::string(100'000, 'x')})
    for (const auto& with : {std::string{}, std::string{"transaction"}}) {
      auto sealed = seal_aes_256_gcm(key, nonce, with, text);
      CAF_REQUIRE(sealed.has_value());
      CAF_CHECK_EQUAL(sealed->size(), text.size() + gcm_tag_size);
      auto opened = open_aes_256_gcm(key, nonce, with, *sealed);
      CAF_REQUIRE(opened.has_value());
      CAF_CHECK(*opened == text);
    }
}

CAF_TEST(no changed bit gets through) {
  auto sealed
    = *seal_aes_256_gcm(key, nonce, "transaction", "{\"total\":8888}");
  for (std::size_t at = 0; at < sealed.size(); ++at)
    for (auto bit = 0; bit < 8; ++bit) {
      auto changed = sealed;
      changed[at] = static_cast<char>(changed[at] ^ (1 << bit));
      CAF_CHECK(!open_aes_256_gcm(key, nonce, "transaction", changed));
    }
  for (std::size_t size = 0; size < sealed.size(); ++size)
    CAF_CHECK(
      !open_aes_256_gcm(key, nonce, "transaction", sealed.substr(0, size)));
  CAF_CHECK(!open_aes_256_gcm(key, nonce, "transaction", sealed + '\0'));
}

CAF_TEST(key and nonce and associated data have to be the same) {
  auto sealed = *seal_aes_256_gcm(key, nonce, "transaction", "text");
  auto other = key;
  other.back() = 'b';
  CAF_CHECK(!open_aes_256_gcm(other, nonce, "transaction", sealed));
  CAF_CHECK(!open_aes_256_gcm(key, "fdasflkja485", "transaction", sealed));
  CAF_CHECK(!open_aes_256_gcm(key, nonce, "refund", sealed));
  CAF_CHECK(!open_aes_256_gcm(key, nonce, "", sealed));
  CAF_CHECK(open_aes_256_gcm(key, nonce, "transaction", sealed).has_value());
}

CAF_TEST(wrong lengths are named and tell no secret) {
  auto sentence = [](const auto& result) {
    return result ? std::string{"none"} : result.error();
  };
  CAF_CHECK_EQUAL(sentence(seal_aes_256_gcm("short", nonce, "", "x")),
                  "expected a key of 32 bytes, found 5");
  CAF_CHECK_EQUAL(sentence(open_aes_256_gcm(key + "x", nonce, "", key)),
                  "expected a key of 32 bytes, found 33");
  CAF_CHECK_EQUAL(sentence(seal_aes_256_gcm(key, "n", "", "x")),
                  "expected a nonce of 12 bytes, found 1");
  CAF_CHECK_EQUAL(sentence(open_aes_256_gcm(key, nonce + "x", "", key)),
                  "expected a nonce of 12 bytes, found 13");
  CAF_CHECK_EQUAL(sentence(open_aes_256_gcm(key, nonce, "", "x")),
                  "expected a ciphertext of 16 bytes to 1 GiB, found 1 bytes");
}

#define CAF_SUITE crypto.aes_ecb

#include "http/crypto/aes_ecb.hpp"

#include "http/crypto/encoding.hpp"

#include <caf/test/unit_test.hpp>

#include <random>

using namespace slipway::crypto;

namespace {

/// NIST SP 800-38A, F.1.5.
const std::string nist_key = *hex_decode("603deb1015ca71be2b73aef0857d7781"
                                         "1f352c073b6108d72d9810a30914dff4");
const std::string nist_text = *hex_decode("6bc1bee22e409f96e93d7e117393172a"
                                          "ae2d8a571e03ac9c9eb76fac45af8e51");
const std::string nist_sealed = *hex_decode("f3eed1bdb5d2a03c064b5a7e3db181f8"
                                            "591ccb10d410ed26dc5ba74a31362870");

} // namespace

CAF_TEST(the blocks are those of the standard and one of padding follows) {
  auto sealed = aes_256_ecb_encrypt(nist_key, nist_text);
  CAF_REQUIRE(sealed.has_value());
  CAF_CHECK_EQUAL(sealed->size(), 48u);
  CAF_CHECK_EQUAL(hex_encode(sealed->substr(0, 32)), hex_encode(nist_sealed));
  CAF_CHECK(aes_256_ecb_decrypt(nist_key, *sealed) == nist_text);
}

CAF_TEST(what is sealed opens again whatever its length) {
  std::minstd_rand random{20261123};
  for (std::size_t size = 0; size < 100; ++size) {
    std::string text(size, '\0');
    for (auto& c : text)
      c = static_cast<char>(random() & 0xff);
    auto sealed = aes_256_ecb_encrypt(nist_key, text);
    CAF_REQUIRE(sealed.has_value());
    CAF_CHECK_EQUAL(sealed->size(), (size / 16 + 1) * 16);
    CAF_CHECK(aes_256_ecb_decrypt(nist_key, *sealed) == text);
  }
}

CAF_TEST(text that fills its blocks without any padding is refused) {
  CAF_CHECK(!aes_256_ecb_decrypt(nist_key, nist_sealed));
}

CAF_TEST(other lengths of key and text are refused in a sentence) {
  for (std::size_t size : {0u, 16u, 31u, 33u}) {
    CAF_CHECK(!aes_256_ecb_encrypt(std::string(size, 'k'), "text"));
    CAF_CHECK(!aes_256_ecb_decrypt(std::string(size, 'k'), nist_sealed));
  }
  for (std::size_t size : {0u, 1u, 15u, 17u, 31u}) {
    auto opened = aes_256_ecb_decrypt(nist_key, std::string(size, 'x'));
    CAF_REQUIRE(!opened);
    CAF_CHECK(!opened.error().empty());
  }
}

CAF_TEST(another key is noticed by the padding nearly always) {
  int noticed = 0;
  for (int i = 0; i < 256; ++i) {
    auto key = nist_key;
    key[0] = static_cast<char>(i);
    auto sealed = *aes_256_ecb_encrypt(nist_key, "some text");
    if (key != nist_key && !aes_256_ecb_decrypt(key, sealed))
      ++noticed;
  }
  CAF_CHECK(noticed > 245);
}

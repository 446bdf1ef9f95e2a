#define CAF_SUITE crypto.encoding

#include "http/crypto/encoding.hpp"

#include "http/crypto/digest.hpp"

#include <caf/test/unit_test.hpp>

#include <set>
#include <string>

using namespace slipway::crypto;

// Goal: known answers, and strictness. The signature of a callback is base64
// from a stranger; whatever two decoders could read differently must be
// refused.

CAF_TEST(base64 gives the answers of RFC 4648) {
  CAF_CHECK_EQUAL(base64_encode(""), "");
  CAF_CHECK_EQUAL(base64_encode("f"), "Zg==");
  CAF_CHECK_EQUAL(base64_encode("fo"), "Zm8=");
  CAF_CHECK_EQUAL(base64_encode("foo"), "Zm9v");
  CAF_CHECK_EQUAL(base64_encode("foob"), "Zm9vYg==");
  CAF_CHECK_EQUAL(base64_encode("fooba"), "Zm9vYmE=");
  CAF_CHECK_EQUAL(base64_encode("foobar"), "Zm9vYmFy");
  CAF_CHECK_EQUAL(base64_encode("\xfb\xff\xfe"), "+//+");
  CAF_CHECK_EQUAL(base64url_encode("\xfb\xff\xfe"), "-__-");
  CAF_CHECK_EQUAL(base64url_encode("f"), "Zg");
}

CAF_TEST(every byte string survives base64) {
  std::string bytes;
  for (int i = 0; i < 600; ++i) {
    auto text = base64_encode(bytes);
    CAF_REQUIRE(base64_decode(text) == bytes);
    CAF_REQUIRE(base64url_decode(base64url_encode(bytes)) == bytes);
    bytes += static_cast<char>(i * 7 + i / 256);
  }
}

CAF_TEST(base64 refuses what is not canonical) {
  for (auto text : {
         "Zg",          // no padding
         "Zg=",         // half of it
         "Zg===",       // too much of it
         "Zg==Zg==",    // padding in the middle
         "=",           // nothing but padding
         "====",        // the same, four of it
         "Z===",        // a lone digit
         "Zh==",        // bits behind the last byte
         "Zm9=",        // the same with two bytes
         "Zm9v ",       // blank at the end
         " Zm9v",       // blank in front
         "Zm 9v",       // blank inside
         "Zm9v\n",      // line break
         "Zm9v\nZm9v",  // line break inside
         "Zm-_",        // URL alphabet
         "Zm9v\xff===", // not ASCII
       })
    CAF_CHECK(!base64_decode(text));
  using namespace std::string_view_literals;
  CAF_CHECK(!base64_decode("Zm9\0"sv));
  CAF_CHECK(base64_decode("") == "");
  CAF_CHECK(!base64url_decode("Zg=="));
  CAF_CHECK(!base64url_decode("Zh"));
  CAF_CHECK(!base64url_decode("Z"));
  CAF_CHECK(!base64url_decode("+/+/"));
}

CAF_TEST(no two base64 texts decode to the same bytes) {
  // All groups with two digits and full padding: 4096 texts, 256 values.
  constexpr std::string_view alphabet
    = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::set<std::string> seen;
  for (auto a : alphabet)
    for (auto b : alphabet)
      if (auto bytes = base64_decode(std::string{a, b, '=', '='})) {
        CAF_REQUIRE_EQUAL(bytes->size(), 1u);
        CAF_CHECK(seen.insert(*bytes).second);
      }
  CAF_CHECK_EQUAL(seen.size(), 256u);
}

CAF_TEST(hex is written in lower case and read in both) {
  using namespace std::string_literals;
  CAF_CHECK_EQUAL(hex_encode("\x00\x7f\xff"s), "007fff");
  CAF_CHECK(hex_decode("007fFF") == "\x00\x7f\xff"s);
  CAF_CHECK(!hex_decode("0"));
  CAF_CHECK(!hex_decode("0g"));
  CAF_CHECK(!hex_decode("0x"));
  CAF_CHECK(!hex_decode(" 0"));
}

CAF_TEST(digests give their known answers) {
  CAF_CHECK_EQUAL(
    hex_encode(sha256("abc")),
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CAF_CHECK_EQUAL(
    hex_encode(sha256("")),
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CAF_CHECK_EQUAL(hex_encode(md5("abc")), "900150983cd24fb0d6963f7d28e17f72");
  // RFC 4231, case 2, and the empty key.
  CAF_CHECK_EQUAL(
    hex_encode(hmac_sha256("Jefe", "what do ya want for nothing?")),
    "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  CAF_CHECK_EQUAL(
    hex_encode(hmac_sha256("", "")),
    "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

CAF_TEST(texts compare by content and length) {
  using namespace std::string_view_literals;
  CAF_CHECK(constant_time_equal("", ""));
  CAF_CHECK(constant_time_equal("abc", "abc"));
  CAF_CHECK(!constant_time_equal("abc", "abd"));
  CAF_CHECK(!constant_time_equal("abc", "ab"));
  CAF_CHECK(!constant_time_equal("abc", "abc\0"sv));
}

CAF_TEST(random bytes differ each time) {
  auto a = random_bytes(32);
  auto b = random_bytes(32);
  CAF_REQUIRE(a && b);
  CAF_CHECK_EQUAL(a->size(), 32u);
  CAF_CHECK(*a != *b);
  CAF_CHECK(random_bytes(0) == std::string{});
}

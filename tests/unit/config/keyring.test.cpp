#define CAF_SUITE config_keyring

#include "config/keyring.hpp"

#include <caf/test/unit_test.hpp>

#include <cstring>
#include <stdexcept>
#include <string>

using namespace slipway::config;

namespace {

credential_key make_key(const std::string& id, unsigned char first) {
  auto result = credential_key{id, {}};
  for (auto& each : result.bytes)
    each = first++;
  return result;
}

/// Counts up, so that what comes out is known.
random_source counting(unsigned char from = 0) {
  return [next = from](unsigned char* to, std::size_t count) mutable {
    for (auto i = std::size_t{0}; i < count; ++i)
      to[i] = next++;
  };
}

std::string hex(const std::string& bytes) {
  auto result = std::string{};
  for (auto c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    result += "0123456789abcdef"[byte >> 4];
    result += "0123456789abcdef"[byte & 15];
  }
  return result;
}

template <class Error, class Call>
bool throws(Call call) {
  try {
    call();
  } catch (const Error&) {
    return true;
  }
  return false;
}

const auto old_key = make_key("2026-10", 1);
const auto new_key = make_key("2026-11", 100);

} // namespace

CAF_TEST(what was sealed can be opened) {
  const auto ring = keyring{secrets_settings{{new_key}}};
  const auto binary = std::string{"\0\xff\n", 3};
  for (const auto& text : {std::string{}, std::string{"{\"token\":\"x\"}"},
                           binary, std::string(100'000, 'x')}) {
    const auto box = ring.seal(text, "sub-1/TELEGRAM");
    CAF_CHECK_EQUAL(box.key_id, "2026-11");
    CAF_CHECK_EQUAL(box.nonce.size(), 12u);
    CAF_CHECK_EQUAL(box.ciphertext.size(), text.size() + 16);
    const auto opened = ring.open(box, "sub-1/TELEGRAM");
    CAF_REQUIRE(opened.has_value());
    CAF_CHECK(*opened == text);
  }
}

CAF_TEST(the cipher is AES 256 GCM as others know it) {
  // Test case 14 of the GCM specification: a key, a nonce and 16 bytes of
  // zeros.
  const auto zeros = credential_key{"z", {}};
  const auto ring
    = keyring{secrets_settings{{zeros}}, [](unsigned char* to, std::size_t n) {
                std::memset(to, 0, n);
              }};
  const auto box = ring.seal(std::string(16, '\0'), "");
  CAF_CHECK_EQUAL(hex(box.ciphertext), "cea7403d4d606b6e074ec5d3baf39d18"
                                       "d0d1c8a799996bf0265b98b5d48ab919");
  // Test case 13: no text at all.
  CAF_CHECK_EQUAL(hex(ring.seal("", "").ciphertext),
                  "530f8afbc74536b9a963b4f1c4cb738b");
}

CAF_TEST(every nonce is fresh) {
  const auto ring = keyring{secrets_settings{{new_key}}, counting()};
  const auto one = ring.seal("same", "for");
  const auto other = ring.seal("same", "for");
  CAF_CHECK_EQUAL(hex(one.nonce), "000102030405060708090a0b");
  CAF_CHECK_EQUAL(hex(other.nonce), "0c0d0e0f1011121314151617");
  CAF_CHECK(one.ciphertext != other.ciphertext);
  const auto real = keyring{secrets_settings{{new_key}}};
  CAF_CHECK(real.seal("a", "").nonce != real.seal("a", "").nonce);
}

CAF_TEST(the first key seals and all of them open) {
  const auto before = keyring{secrets_settings{{old_key}}};
  const auto box = before.seal("hello", "for");
  const auto after = keyring{secrets_settings{{new_key, old_key}}};
  CAF_CHECK_EQUAL(after.seal("hello", "for").key_id, "2026-11");
  CAF_CHECK_EQUAL(after.open(box, "for").value_or("refused"), "hello");
}

CAF_TEST(an unknown key is named) {
  const auto box = keyring{secrets_settings{{old_key}}}.seal("hello", "for");
  const auto opened = keyring{secrets_settings{{new_key}}}.open(box, "for");
  CAF_REQUIRE(!opened.has_value());
  CAF_CHECK(opened.error().find("\"2026-10\"") != std::string::npos);
}

CAF_TEST(another key under the same id does not open) {
  auto impostor = new_key;
  impostor.id = old_key.id;
  const auto box = keyring{secrets_settings{{old_key}}}.seal("hello", "for");
  const auto opened = keyring{secrets_settings{{impostor}}}.open(box, "for");
  CAF_CHECK(!opened.has_value());
}

CAF_TEST(every changed bit is noticed) {
  const auto ring = keyring{secrets_settings{{new_key}}};
  const auto box = ring.seal("hello", "for");
  for (auto i = std::size_t{0}; i < box.ciphertext.size() * 8; ++i) {
    auto changed = box;
    changed.ciphertext[i / 8]
      = static_cast<char>(changed.ciphertext[i / 8] ^ (1 << (i % 8)));
    const auto opened = ring.open(changed, "for");
    CAF_REQUIRE(!opened.has_value());
    CAF_CHECK(opened.error().find("hello") == std::string::npos);
  }
  for (auto i = std::size_t{0}; i < box.nonce.size() * 8; ++i) {
    auto changed = box;
    changed.nonce[i / 8]
      = static_cast<char>(changed.nonce[i / 8] ^ (1 << (i % 8)));
    CAF_CHECK(!ring.open(changed, "for").has_value());
  }
}

CAF_TEST(a text opens only for what it was sealed for) {
  const auto ring = keyring{secrets_settings{{new_key}}};
  const auto box = ring.seal("hello", "sub-1/TELEGRAM");
  for (const auto* other : {"", "sub-2/TELEGRAM", "sub-1/TELEGRAM "})
    CAF_CHECK(!ring.open(box, other).has_value());
}

CAF_TEST(what was cut off is refused) {
  const auto ring = keyring{secrets_settings{{new_key}}};
  const auto box = ring.seal("hello", "for");
  for (auto size = std::size_t{0}; size < box.ciphertext.size(); ++size) {
    auto cut = box;
    cut.ciphertext.resize(size);
    CAF_CHECK(!ring.open(cut, "for").has_value());
  }
  for (auto size : {0u, 11u, 13u, 16u}) {
    auto odd = box;
    odd.nonce.resize(size);
    const auto opened = ring.open(odd, "for");
    CAF_REQUIRE(!opened.has_value());
    CAF_CHECK(opened.error().find("12 bytes") != std::string::npos);
  }
}

CAF_TEST(a keyring needs keys and different ids) {
  const auto make = [](const std::vector<credential_key>& keys) {
    return [keys] {
      const auto ring = keyring{secrets_settings{keys}};
    };
  };
  CAF_CHECK(!throws<std::invalid_argument>(make({old_key, new_key})));
  CAF_CHECK(throws<std::invalid_argument>(make({})));
  CAF_CHECK(throws<std::invalid_argument>(make({old_key, old_key})));
}

CAF_TEST(a random source without bytes stops the sealing) {
  const auto ring
    = keyring{secrets_settings{{new_key}}, [](unsigned char*, std::size_t) {
                throw std::runtime_error("no bytes");
              }};
  CAF_CHECK(throws<std::runtime_error>([&] {
    static_cast<void>(ring.seal("hello", "for"));
  }));
}

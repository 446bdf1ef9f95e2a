#define CAF_SUITE gateway.platform_keys

#include "http/gateway/platform_keys.hpp"

#include "http/crypto/certificate.hpp"

#include <caf/test/unit_test.hpp>

#include <array>
#include <atomic>
#include <string>
#include <thread>
#include <vector>

using namespace slipway;
using namespace slipway::gateway;

namespace {

const std::string first_serial = "5157F09EFDC096DE15EBE81A47057A7232F1B8E1";
const std::string zero_serial = "0A57F09EFDC096DE15EBE81A47057A7232F1B8E2";
const std::string zeros_serial = "000000EFDC096DE15EBE81A47057A7232F1B8E23";
const std::string key_id = "PUB_KEY_ID_0119000000012026010100000000000001";

const timestamp now = *parse_rfc3339("2026-11-23T08:00:00Z");
constexpr auto day = std::chrono::hours{24};

/// Made once for the whole suite: making a key takes a while.
const crypto::rsa_key_pair& pair_number(std::size_t index) {
  static const std::array<crypto::rsa_key_pair, 2> pairs{
    *crypto::generate_rsa_key(), *crypto::generate_rsa_key()};
  return pairs[index];
}

std::string certificate(const std::string& serial, timestamp from,
                        timestamp until, std::size_t key = 0) {
  auto made = crypto::make_certificate(pair_number(key).private_pem,
                                       "Tenpay.com sign", serial, from, until);
  if (!made)
    CAF_FAIL(made.error());
  return *made;
}

std::string certificate(const std::string& serial) {
  return certificate(serial, now - day, now + day);
}

platform_certificate downloaded(const std::string& serial, timestamp from,
                                timestamp until, std::size_t key = 0) {
  auto result
    = read_platform_certificate(serial, certificate(serial, from, until, key));
  if (!result)
    CAF_FAIL(result.error());
  return *result;
}

std::shared_ptr<platform_keys>
make(const std::vector<config::platform_key>& configured) {
  auto result = platform_keys::make(configured);
  if (!result)
    CAF_FAIL(result.error());
  return *result;
}

std::string complaint(const std::vector<config::platform_key>& configured) {
  auto result = platform_keys::make(configured);
  return result ? std::string{"none"} : result.error();
}

bool mentions(const std::string& text, std::string_view part) {
  if (text.find(part) != std::string::npos)
    return true;
  CAF_MESSAGE("in: " << text);
  return false;
}

} // namespace

CAF_TEST(keys are found by their exact serial) {
  auto keys = make({{first_serial, certificate(first_serial)},
                    {zero_serial, certificate(zero_serial)},
                    {zeros_serial, certificate(zeros_serial)},
                    {key_id, pair_number(1).public_pem}});
  for (const auto& serial : {first_serial, zero_serial, zeros_serial}) {
    auto found = keys->find(serial, now);
    CAF_REQUIRE(found.has_value());
    CAF_CHECK_EQUAL(found->to_pem(), pair_number(0).public_pem);
  }
  auto found = keys->find(key_id, now);
  CAF_REQUIRE(found.has_value());
  CAF_CHECK_EQUAL(found->to_pem(), pair_number(1).public_pem);
  // A leading zero is part of the name, and so is the case.
  for (const auto& other :
       {zero_serial.substr(1), "0" + first_serial, std::string{},
        std::string{"5157f09efdc096de15ebe81a47057a7232f1b8e1"}, key_id + "1",
        zeros_serial.substr(6)})
    CAF_CHECK(!keys->find(other, now).has_value());
  CAF_CHECK(keys->serials()
            == (std::vector{first_serial, zero_serial, zeros_serial, key_id}));
}

CAF_TEST(certificates count from their first to their last moment) {
  auto keys = make({{first_serial, certificate(first_serial)},
                    {key_id, pair_number(1).public_pem}});
  auto valid_at = [&](timestamp at) {
    return keys->find(first_serial, at).has_value();
  };
  CAF_CHECK(valid_at(now - day));
  CAF_CHECK(valid_at(now + day));
  CAF_CHECK(!valid_at(now - day - millis{1}));
  CAF_CHECK(!valid_at(now + day + millis{1}));
  // A public key has no end.
  CAF_CHECK(keys->find(key_id, now + 10'000 * day).has_value());
}

CAF_TEST(what is configured is checked) {
  CAF_CHECK_EQUAL(complaint({}), "none");
  CAF_CHECK(mentions(complaint({{zero_serial, certificate(first_serial)}}),
                     "the certificate's serial is " + first_serial
                       + "; expected " + zero_serial));
  CAF_CHECK(mentions(complaint({{first_serial, "nothing"}}), first_serial));
  CAF_CHECK(mentions(complaint({{first_serial, pair_number(0).private_pem}}),
                     "found a private key"));
  CAF_CHECK(mentions(complaint({{"", pair_number(0).public_pem}}),
                     "expected a serial"));
  CAF_CHECK(mentions(complaint({{"a\nb", pair_number(0).public_pem}}),
                     "expected a serial"));
  CAF_CHECK(mentions(complaint({{key_id, certificate(first_serial)}}),
                     "expected a PUBLIC KEY"));
  CAF_CHECK(mentions(complaint({{key_id, pair_number(0).public_pem},
                                {key_id, pair_number(1).public_pem}}),
                     "configured twice"));
  // A certificate's bare key cannot be checked against the serial.
  CAF_CHECK_EQUAL(complaint({{first_serial, pair_number(0).public_pem}}),
                  "none");
}

CAF_TEST(downloads replace each other and leave what is configured) {
  auto keys = make({{first_serial, certificate(first_serial)}});
  CAF_CHECK(!keys->has_downloaded());
  keys->put({downloaded(zero_serial, now - day, now + day),
             downloaded("AB", now - 2 * day, now - day),
             downloaded("CD", now + day, now + 2 * day)},
            now);
  CAF_CHECK(keys->has_downloaded());
  CAF_CHECK(keys->serials()
            == (std::vector<std::string>{first_serial, zero_serial, "CD"}));
  CAF_CHECK(keys->find(zero_serial, now).has_value());
  CAF_CHECK(!keys->find("AB", now).has_value());
  // Not yet, then yes, then no longer.
  CAF_CHECK(!keys->find("CD", now).has_value());
  CAF_CHECK(keys->find("CD", now + day).has_value());
  CAF_CHECK(!keys->find("CD", now + 3 * day).has_value());
  keys->put({downloaded("EF", now - day, now + day)}, now);
  CAF_CHECK(!keys->find(zero_serial, now).has_value());
  CAF_CHECK(keys->find("EF", now).has_value());
  CAF_CHECK(keys->find(first_serial, now).has_value());
  keys->put({}, now);
  CAF_CHECK(!keys->has_downloaded());
  CAF_CHECK(keys->find(first_serial, now).has_value());
}

CAF_TEST(what is configured wins over a download of the same serial) {
  auto keys = make({{first_serial, certificate(first_serial)}});
  keys->put({downloaded(first_serial, now - day, now + 9 * day, 1)}, now);
  CAF_CHECK_EQUAL(keys->find(first_serial, now)->to_pem(),
                  pair_number(0).public_pem);
  // Once it has expired the download, which is newer, is all there is.
  CAF_CHECK_EQUAL(keys->find(first_serial, now + 2 * day)->to_pem(),
                  pair_number(1).public_pem);
  CAF_CHECK_EQUAL(keys->serials().size(), 1u);
}

CAF_TEST(requests ask for the public key where there is one) {
  CAF_CHECK_EQUAL(make({})->public_key_id(), "");
  CAF_CHECK_EQUAL(
    make({{first_serial, certificate(first_serial)}})->public_key_id(),
    first_serial);
  CAF_CHECK_EQUAL(make({{first_serial, certificate(first_serial)},
                        {key_id, pair_number(1).public_pem}})
                    ->public_key_id(),
                  key_id);
  auto keys = make({});
  keys->put({downloaded("AB", now - 2 * day, now + day),
             downloaded("CD", now - day, now + 2 * day)},
            now);
  CAF_CHECK_EQUAL(keys->public_key_id(), "CD");
  CAF_CHECK(is_public_key_id(key_id));
  CAF_CHECK(!is_public_key_id(first_serial));
}

CAF_TEST(a public key is never downloaded) {
  auto keys = make({});
  auto fake = downloaded("AB", now - day, now + day);
  fake.serial = key_id;
  keys->put({fake}, now);
  CAF_CHECK(!keys->find(key_id, now).has_value());
}

CAF_TEST(the period of a certificate is read from it) {
  auto from = *parse_rfc3339("2024-02-29T23:59:58Z");
  auto until = *parse_rfc3339("2051-01-01T00:00:01Z"); // GeneralizedTime
  auto found = downloaded(first_serial, from, until);
  CAF_CHECK(found.effective_at == from);
  CAF_CHECK(found.expires_at == until);
  CAF_CHECK(!read_platform_certificate(first_serial, "nothing"));
  CAF_CHECK(!read_platform_certificate("", certificate(first_serial)));
  CAF_CHECK(!read_platform_certificate(zero_serial, certificate(first_serial)));
}

CAF_TEST(readers meanwhile see the old or the new keys) {
  auto keys = make({{first_serial, certificate(first_serial)}});
  const auto one = downloaded("AB", now - day, now + day);
  const auto other = downloaded("CD", now - day, now + day);
  keys->put({one}, now);
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0};
  std::vector<std::thread> readers;
  for (auto i = 0; i < 3; ++i)
    readers.emplace_back([&] {
      while (!stop) {
        if (!keys->find(first_serial, now))
          ++wrong;
        if (keys->serials().size() != 2)
          ++wrong;
      }
    });
  for (auto i = 0; i < 2'000; ++i)
    keys->put({i % 2 == 0 ? other : one}, now);
  stop = true;
  for (auto& each : readers)
    each.join();
  CAF_CHECK_EQUAL(wrong.load(), 0);
}

#define CAF_SUITE provider.log_cursor

#include "http/provider/log_cursor.hpp"

#include "http/crypto/encoding.hpp"

#include <caf/test/unit_test.hpp>

#include <random>

using namespace slipway;
using namespace slipway::provider;

namespace {

const auto mine = subscription_id{12'345};
const auto yours = subscription_id{12'346};

log_cursor some() {
  auto out = log_cursor{};
  out.event = 77;
  out.told = 3;
  out.lanes[1] = {1'795'420'800'000'000'001, 2};
  out.lanes[0xffff'ffff] = {0, 0};
  return out;
}

} // namespace

CAF_TEST(cursors come back as they went) {
  for (const auto& x : {log_cursor{}, some()}) {
    const auto text = encode_log_cursor(x, mine);
    CAF_CHECK(!text.empty());
    CAF_CHECK(text.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                     "abcdefghijklmnopqrstuvwxyz0123456789-_")
              == std::string::npos);
    CAF_CHECK(decode_log_cursor(text, mine) == x);
  }
  auto random = std::mt19937_64{3};
  for (auto round = 0; round < 500; ++round) {
    auto x = log_cursor{};
    x.event = static_cast<std::int64_t>(random() >> (1 + random() % 63));
    x.told = static_cast<std::uint8_t>(random());
    for (auto i = random() % (log_cursor_lanes_max + 1); i > 0; --i)
      x.lanes[static_cast<std::uint32_t>(random())]
        = {static_cast<nanos>(random() >> (1 + random() % 63)),
           static_cast<std::uint32_t>(random())};
    const auto text = encode_log_cursor(x, mine);
    if (decode_log_cursor(text, mine) != x)
      CAF_FAIL("round " << round);
    // Short enough for a URL.
    CAF_CHECK(text.size() < 2'500);
  }
}

CAF_TEST(of too many lanes those stay that moved last) {
  auto x = log_cursor{};
  for (auto i = 0U; i < 100; ++i)
    x.lanes[i] = {static_cast<nanos>(1'000 - i), 1};
  const auto back = decode_log_cursor(encode_log_cursor(x, mine), mine);
  CAF_REQUIRE(back.has_value());
  CAF_CHECK_EQUAL(back->lanes.size(), log_cursor_lanes_max);
  CAF_CHECK_EQUAL(back->lanes.count(0), 1u);
  CAF_CHECK_EQUAL(back->lanes.count(99), 0u);
}

CAF_TEST(what was never handed out is no cursor) {
  const auto text = encode_log_cursor(some(), mine);
  CAF_CHECK(!decode_log_cursor(text, yours));
  for (const auto* x : {"", "1", "17", "abc", "AQ", "AQAAAA", "!", "AA=="})
    CAF_CHECK(!decode_log_cursor(x, mine));
  CAF_CHECK(!decode_log_cursor(text + "A", mine));
  CAF_CHECK(!decode_log_cursor(text.substr(1), mine));
  CAF_CHECK(!decode_log_cursor(std::string(5'000, 'A'), mine));
  for (std::size_t i = 0; i < text.size(); ++i) {
    auto other = text;
    other[i] = other[i] == 'A' ? 'B' : 'A';
    CAF_CHECK(!decode_log_cursor(other, mine));
    CAF_CHECK(!decode_log_cursor(text.substr(0, i), mine));
  }
  auto random = std::mt19937{5};
  for (auto round = 0; round < 2'000; ++round) {
    auto bytes = std::string{"\x01"};
    for (auto i = random() % 60; i > 0; --i)
      bytes += static_cast<char>(random());
    CAF_CHECK(!decode_log_cursor(crypto::base64url_encode(bytes), mine));
  }
}

CAF_TEST(lanes are told apart) {
  CAF_CHECK(log_lane_id("d-1", log_source::build)
            != log_lane_id("d-1", log_source::deploy));
  CAF_CHECK(log_lane_id("d-1", log_source::build)
            != log_lane_id("d-2", log_source::build));
  // They are in cursors that people keep.
  CAF_CHECK_EQUAL(log_lane_id("d-1", log_source::build), 288101050u);
}

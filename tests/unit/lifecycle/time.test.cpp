#define CAF_SUITE lifecycle.time

#include "actors/lifecycle/time.hpp"

#include <caf/test/unit_test.hpp>

#include <random>

using namespace slipway;

namespace {

std::int64_t ms(const std::optional<timestamp>& at) {
  return at ? at->time_since_epoch().count() : -1;
}

} // namespace

CAF_TEST(known moments have known texts) {
  const auto at = timestamp{millis{1'767'600'000'123}};
  CAF_CHECK_EQUAL(to_rfc3339(at), "2026-01-05T08:00:00.123Z");
  CAF_CHECK_EQUAL(to_beijing(at), "2026-01-05 16:00:00");
  CAF_CHECK_EQUAL(to_rfc3339(timestamp{}), "1970-01-01T00:00:00.000Z");
  CAF_CHECK_EQUAL(to_rfc3339(timestamp{millis{-1}}),
                  "1969-12-31T23:59:59.999Z");
}

CAF_TEST(rfc 3339 is read with every offset and fraction) {
  const auto at = std::int64_t{1'767'600'000'123};
  for (auto text :
       {"2026-01-05T08:00:00.123Z", "2026-01-05t08:00:00.123z",
        "2026-01-05 08:00:00.123Z", "2026-01-05T16:00:00.123+08:00",
        "2026-01-05T02:30:00.123-05:30", "2026-01-05T08:00:00.123456789Z",
        "2026-01-05T08:00:00.123999999Z"})
    CAF_CHECK_EQUAL(ms(parse_rfc3339(text)), at);
  CAF_CHECK_EQUAL(ms(parse_rfc3339("2026-01-05T08:00:00Z")), at - 123);
  CAF_CHECK_EQUAL(ms(parse_rfc3339("2026-01-05T08:00:00.1Z")), at - 23);
  CAF_CHECK_EQUAL(ms(parse_rfc3339("2026-01-05T08:00:00.12Z")), at - 3);
}

CAF_TEST(leap years have their day) {
  CAF_CHECK(parse_rfc3339("2024-02-29T00:00:00Z"));
  CAF_CHECK(parse_rfc3339("2000-02-29T00:00:00Z"));
  CAF_CHECK(!parse_rfc3339("2023-02-29T00:00:00Z"));
  CAF_CHECK(!parse_rfc3339("2100-02-29T00:00:00Z"));
  CAF_CHECK_EQUAL(ms(parse_rfc3339("2024-03-01T00:00:00Z"))
                    - ms(parse_rfc3339("2024-02-28T00:00:00Z")),
                  2 * 86'400'000);
  CAF_CHECK(parse_beijing("2024-02-29 00:00:00"));
  CAF_CHECK(!parse_beijing("2025-02-29 00:00:00"));
}

CAF_TEST(what is no date is refused) {
  for (auto text : {"",
                    "2026",
                    "2026-01-05",
                    "2026-01-05T08:00Z",
                    "2026-01-05T08:00:00",
                    "2026-13-01T00:00:00Z",
                    "2026-00-01T00:00:00Z",
                    "2026-01-00T00:00:00Z",
                    "2026-01-32T00:00:00Z",
                    "2026-04-31T00:00:00Z",
                    "2026-01-05T24:00:00Z",
                    "2026-01-05T08:60:00Z",
                    "2026-01-05T08:00:60Z",
                    "2026-01-05T08:00:00.Z",
                    "2026-01-05T08:00:00.1234567890Z",
                    "2026-01-05T08:00:00+8:00",
                    "2026-01-05T08:00:00+0800",
                    "2026-01-05T08:00:00+24:00",
                    "2026-01-05T08:00:00+08:60",
                    "2026-01-05T08:00:00ZZ",
                    "2026-01-05T08:00:00Z ",
                    " 2026-01-05T08:00:00Z",
                    "2026-1-5T08:00:00Z",
                    "26-01-05T08:00:00Z",
                    "-026-01-05T08:00:00Z",
                    "2026-01-05X08:00:00Z",
                    "2026/01/05T08:00:00Z"})
    if (parse_rfc3339(text))
      CAF_ERROR("took " << text);
  for (auto text : {"", "2026-01-05T08:00:00", "2026-01-05 08:00:00Z",
                    "2026-01-05 08:00:00.1234", "2026-02-30 08:00:00",
                    "2026-01-05 08:00:00 "})
    if (parse_beijing(text))
      CAF_ERROR("took " << text);
  CAF_CHECK(parse_beijing("2026-01-05 16:00:00"));
}

CAF_TEST(beijing is eight hours ahead and has no other time) {
  CAF_CHECK_EQUAL(ms(parse_beijing("2026-01-05 16:00:00")), 1'767'600'000'000);
  CAF_CHECK_EQUAL(ms(parse_beijing("2026-01-05 16:00:00.123")),
                  1'767'600'000'123);
  CAF_CHECK_EQUAL(ms(parse_beijing("2026-07-05 00:30:00")),
                  ms(parse_rfc3339("2026-07-04T16:30:00Z")));
}

CAF_TEST(texts come back as the moments they stand for) {
  auto random = std::mt19937_64{7};
  for (auto i = 0; i < 20'000; ++i) {
    const auto at = timestamp{
      millis{static_cast<std::int64_t>(random() % 4'000'000'000'000)}};
    CAF_REQUIRE(parse_rfc3339(to_rfc3339(at)) == at);
    const auto second = std::chrono::floor<std::chrono::seconds>(at);
    CAF_REQUIRE(parse_beijing(to_beijing(at)) == timestamp{second});
  }
}

CAF_TEST(durations have words) {
  using namespace std::chrono_literals;
  CAF_CHECK_EQUAL(to_words(0ms), "0ms");
  CAF_CHECK_EQUAL(to_words(450ms), "450ms");
  CAF_CHECK_EQUAL(to_words(12s), "12s");
  CAF_CHECK_EQUAL(to_words(59'999ms), "59s");
  CAF_CHECK_EQUAL(to_words(3min + 5s), "3m 05s");
  CAF_CHECK_EQUAL(to_words(2h), "2h 00m");
  CAF_CHECK_EQUAL(to_words(49h + 7min), "49h 07m");
}

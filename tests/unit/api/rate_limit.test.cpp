#define CAF_SUITE api.rate_limit

#include "http/api/rate_limit.hpp"

#include <caf/test/unit_test.hpp>

#include <atomic>
#include <thread>
#include <vector>

using namespace slipway;
using namespace slipway::api;

namespace {

const timestamp day_one = *parse_rfc3339("2026-11-23T08:00:00.000Z");

timestamp after(std::int64_t ms) {
  return day_one + millis{ms};
}

/// How many of these come through at once.
int let_in(rate_limiter& by, const std::string& user, timestamp at, int tries,
           std::uint32_t factor = 1) {
  auto out = 0;
  for (auto i = 0; i < tries; ++i)
    out += by.refuse(user, at, factor) ? 0 : 1;
  return out;
}

} // namespace

CAF_TEST(so many at once and so many over time) {
  auto by = rate_limiter{20, 60};
  CAF_CHECK_EQUAL(let_in(by, "u", after(0), 100), 60);
  CAF_CHECK_EQUAL(let_in(by, "u", after(0), 100), 0);
  CAF_CHECK_EQUAL(let_in(by, "u", after(49), 100), 0);
  CAF_CHECK_EQUAL(let_in(by, "u", after(50), 100), 1);
  CAF_CHECK_EQUAL(let_in(by, "u", after(1'050), 100), 20);
  // Whoever keeps to the rate is never refused.
  for (auto i = 1; i <= 1'000; ++i)
    CAF_REQUIRE_EQUAL(let_in(by, "u", after(1'050 + i * 50), 1), 1);
  // Nobody saves up more than the burst.
  CAF_CHECK_EQUAL(let_in(by, "u", after(10'000'000), 100), 60);
}

CAF_TEST(the wait is as long as it takes) {
  auto by = rate_limiter{1, 1};
  CAF_CHECK(!by.refuse("u", after(0)));
  CAF_CHECK(by.refuse("u", after(0)) == millis{1'000});
  CAF_CHECK(by.refuse("u", after(400)) == millis{600});
  // Being refused costs nothing.
  CAF_CHECK(by.refuse("u", after(999)) == millis{1});
  CAF_CHECK(!by.refuse("u", after(1'000)));
}

CAF_TEST(users do not disturb one another and operators have more) {
  auto by = rate_limiter{2, 3};
  CAF_CHECK_EQUAL(let_in(by, "one", after(0), 10), 3);
  CAF_CHECK_EQUAL(let_in(by, "other", after(0), 10), 3);
  CAF_CHECK_EQUAL(let_in(by, "op", after(0), 100, 10), 30);
  CAF_CHECK_EQUAL(let_in(by, "op", after(1'000), 100, 10), 20);
}

CAF_TEST(a rate of zero is no limit and remembers nobody) {
  auto by = rate_limiter{0, 1};
  CAF_CHECK_EQUAL(let_in(by, "u", after(0), 10'000), 10'000);
  CAF_CHECK_EQUAL(by.size(), 0u);
}

CAF_TEST(a clock that goes back neither gives nor takes) {
  auto by = rate_limiter{1, 2};
  CAF_CHECK_EQUAL(let_in(by, "u", after(10'000), 5), 2);
  CAF_CHECK_EQUAL(let_in(by, "u", after(0), 5), 0);
  CAF_CHECK_EQUAL(let_in(by, "u", after(1'000), 5), 1);
}

CAF_TEST(memory is bounded and those who came last are remembered) {
  auto by = rate_limiter{1, 1, 1'024};
  CAF_CHECK(!by.refuse("busy", after(0)));
  for (auto i = 0; i < 100'000; ++i) {
    static_cast<void>(by.refuse("u" + std::to_string(i), after(0)));
    CAF_REQUIRE(by.refuse("busy", after(0)));
  }
  CAF_CHECK(by.size() <= 1'024);
  CAF_CHECK(by.size() > 900);
}

CAF_TEST(many threads get no more than the burst together) {
  auto by = rate_limiter{1, 500};
  auto in = std::atomic<int>{0};
  auto threads = std::vector<std::thread>{};
  for (auto t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (auto i = 0; i < 1'000; ++i) {
        in += by.refuse("u", after(0)) ? 0 : 1;
        static_cast<void>(
          by.refuse(std::to_string(t) + "-" + std::to_string(i), after(0)));
      }
    });
  for (auto& x : threads)
    x.join();
  CAF_CHECK_EQUAL(in.load(), 500);
}

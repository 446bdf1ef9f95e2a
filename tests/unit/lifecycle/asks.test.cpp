#define CAF_SUITE lifecycle.asks

#include "tests/support/lifecycle_states.hpp"

#include <caf/test/unit_test.hpp>

using namespace slipway;
using namespace slipway::test;

namespace {

constexpr auto ttl = millis{30min};

order make_order(order_status status) {
  auto out = order{};
  out.seq = 1;
  out.amount = price;
  out.status = status;
  out.created_at = day_one;
  out.expires_at = day_one + ttl;
  return out;
}

/// When the gateway is asked about an order that comes to its status at
/// `since` and stays there, as it never answers. Until `until`, or for good.
std::vector<timestamp> asks_of(const order& about, timestamp since,
                               const rules& with, timestamp until) {
  auto out = std::vector<timestamp>{};
  auto next = first_ask(about, since, with);
  while (next && *next <= until) {
    out.push_back(*next);
    next = next_ask(about, static_cast<std::uint32_t>(out.size()), *next, with);
  }
  return out;
}

std::vector<millis>
pauses(const std::vector<timestamp>& asks, timestamp since) {
  auto out = std::vector<millis>{};
  for (auto at : asks) {
    out.push_back(at - since);
    since = at;
  }
  return out;
}

using times = std::vector<millis>;

} // namespace

CAF_TEST(an open order is asked about soon and then at even pauses) {
  const auto about = make_order(order_status::pending);
  const auto asks = asks_of(about, day_one, rules{}, day_one + 4min);
  CAF_CHECK(pauses(asks, day_one) == (times{15s, 30s, 45s, 45s, 45s, 45s}));
}

CAF_TEST(the end of an order is not slept through) {
  const auto about = make_order(order_status::pending);
  const auto asks = asks_of(about, day_one, rules{}, day_one + ttl);
  CAF_REQUIRE(asks.size() > 2);
  CAF_CHECK(asks.back() == about.expires_at);
  const auto last = asks[asks.size() - 2];
  CAF_CHECK(last < about.expires_at);
  CAF_CHECK(about.expires_at - last <= 45s);
  // A single order costs about as many calls as it lives minutes, and a few.
  CAF_CHECK(asks.size() <= 45);
}

CAF_TEST(an order that expired is asked about less and less often) {
  const auto about = make_order(order_status::pending);
  auto asks = asks_of(about, day_one, rules{}, about.expires_at + 2h);
  asks.erase(asks.begin(),
             std::find(asks.begin(), asks.end(), about.expires_at) + 1);
  CAF_CHECK(pauses(asks, about.expires_at)
            == (times{15s, 15s, 30s, 1min, 2min, 4min, 8min, 15min, 15min,
                      15min, 15min, 15min, 15min}));
}

CAF_TEST(an order that expired while nobody could ask is asked about at once) {
  const auto about = make_order(order_status::pending);
  // Opened with hardly any time.
  auto brief = about;
  brief.expires_at = day_one + 2s;
  CAF_CHECK(first_ask(brief, day_one, rules{}) == brief.expires_at);
  // Asked late, after a night without power: not before the next quarter.
  CAF_CHECK(next_ask(about, 7, about.expires_at + 8h, rules{})
            == about.expires_at + 8h + 15min);
}

/// Whether an order that can still be paid is never out of sight for long.
bool in_sight(const std::vector<timestamp>& asks, const order& about) {
  auto before = about.created_at;
  for (const auto at : asks) {
    if (before >= about.expires_at)
      return true;
    if (at - before > 45s)
      return false;
    before = at;
  }
  return before >= about.expires_at;
}

CAF_TEST(a replaced order is closed at the gateway at once) {
  const auto about = make_order(order_status::closing);
  const auto asks = asks_of(about, day_one, rules{}, day_one + 1h);
  CAF_REQUIRE(!asks.empty());
  CAF_CHECK(asks.front() == day_one);
  // Its link works until it expires, whatever the gateway knows of it.
  CAF_CHECK(in_sight(asks, about));
}

CAF_TEST(a refund is asked for at once and never given up) {
  auto about = make_order(order_status::refunding);
  about.refund_seq = 1;
  const auto asks = asks_of(about, day_one, rules{}, day_one + 1h);
  CAF_CHECK(pauses(asks, day_one)
            == (times{0s, 30s, 1min, 2min, 4min, 8min, 15min, 15min}));
  const auto week
    = asks_of(about, day_one, rules{}, day_one + std::chrono::days{7});
  CAF_CHECK(week.back() > day_one + std::chrono::days{7} - 15min);
  // Of use to nobody more often than that.
  CAF_CHECK(next_ask(about, chance_max, day_one, rules{}) == day_one + 15min);
}

CAF_TEST(a closed order gets some last looks) {
  const auto about = make_order(order_status::closed);
  const auto year = day_one + std::chrono::days{365};
  const auto looks = times{10min, 20min, 30min, 2h, 9h};
  auto asks = asks_of(about, about.expires_at + 1ms, rules{}, year);
  CAF_CHECK(pauses(asks, about.expires_at) == looks);
  CAF_CHECK(!next_ask(about, 5, about.expires_at + 12h, rules{}));
  CAF_CHECK(!next_ask(about, chance_max, year, rules{}));
  // A look that comes late does not put off the others.
  CAF_CHECK(next_ask(about, 1, about.expires_at + 25min, rules{})
            == about.expires_at + 30min);
  // One that was closed before it expired may be opened by its link.
  asks = asks_of(about, day_one, rules{}, year);
  CAF_CHECK(in_sight(asks, about));
  asks.erase(asks.begin(),
             std::find(asks.begin(), asks.end(), about.expires_at) + 1);
  CAF_CHECK(pauses(asks, about.expires_at) == looks);
}

CAF_TEST(there is nothing to ask about money that is here or back) {
  for (auto status : {order_status::paid, order_status::refunded}) {
    const auto about = make_order(status);
    CAF_CHECK(!first_ask(about, day_one, rules{}));
    for (auto asks : {0u, 1u, 2u, 9u})
      CAF_CHECK(!next_ask(about, asks, day_one, rules{}));
  }
}

CAF_TEST(an order paid at any moment is asked about within a minute) {
  // Whatever the pause that is configured, up to the one that is promised, and
  // with an asker that comes around once a second.
  for (auto interval : {millis{1s}, millis{15s}, millis{20s}, millis{45s}}) {
    auto with = rules{};
    with.ask_interval = interval;
    const auto about = make_order(order_status::pending);
    auto asks = std::vector<timestamp>{};
    auto next = first_ask(about, day_one, with);
    while (next && *next <= about.expires_at + 60s) {
      asks.push_back(*next + 999ms);
      next = next_ask(about, static_cast<std::uint32_t>(asks.size()),
                      asks.back(), with);
    }
    auto worst = millis{0};
    for (auto paid = day_one; paid <= about.expires_at; paid += 100ms) {
      const auto asked = std::lower_bound(asks.begin(), asks.end(), paid);
      CAF_REQUIRE(asked != asks.end());
      worst = std::max(worst, *asked - paid);
    }
    CAF_CHECK(worst <= 60s);
    CAF_CHECK(worst <= std::max(interval, millis{15s}) + 1s);
  }
}

CAF_TEST(the next time is always in the future and never far) {
  auto bad = 0;
  for (auto interval : {millis{1s}, millis{15s}, millis{45s}, millis{10min}}) {
    auto with = rules{};
    with.ask_interval = interval;
    for (std::uint8_t i = 0; i < order_status_count; ++i) {
      const auto about = make_order(static_cast<order_status>(i));
      for (auto asks : {0u, 1u, 2u, 3u, 5u, 40u, 1'000u, chance_max})
        for (auto gone = millis{-1s}; gone < 2 * ttl; gone += 777ms) {
          const auto now = day_one + gone;
          const auto next = next_ask(about, asks, now, with);
          if (!next)
            continue;
          bad += *next <= now ? 1 : 0;
          if (about.status != order_status::pending) {
            bad += *next > now + 3h ? 1 : 0;
          } else if (now < about.expires_at) {
            bad += *next > about.expires_at ? 1 : 0;
            bad += *next - now > std::max(interval, millis{15s}) ? 1 : 0;
          } else {
            bad += *next - now > 15min ? 1 : 0;
          }
        }
    }
  }
  CAF_CHECK_EQUAL(bad, 0);
}

CAF_TEST(a shorter pause than the first one holds from the beginning) {
  auto with = rules{};
  with.ask_interval = 5s;
  const auto about = make_order(order_status::pending);
  const auto asks = asks_of(about, day_one, with, day_one + 20s);
  CAF_CHECK(pauses(asks, day_one) == (times{5s, 5s, 5s, 5s}));
}

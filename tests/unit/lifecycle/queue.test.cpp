#define CAF_SUITE lifecycle.queue

#include "tests/support/lifecycle_states.hpp"

#include <caf/test/unit_test.hpp>

#include <map>
#include <random>

using namespace slipway;
using namespace slipway::test;

// Goal: who paid first is served first, dearer plans are served earlier, and
// nobody waits for ever. The place in the queue is decided here, the queue
// itself is the database's.

namespace {

driver with_order() {
  auto x = driver{};
  x.create();
  x.open_order();
  return x;
}

verdict settle(driver& x, timestamp paid_at) {
  return x.feed(
    payment_settled{x.at, 1, payment_gateway::alipay, "t-1", price, paid_at});
}

/// The longest time by which a gateway's clock is believed.
constexpr auto belief = std::chrono::hours{1};

} // namespace

CAF_TEST(the place is that of the payment) {
  auto x = with_order();
  x.at += 2min;
  const auto paid = x.at - 90s;
  settle(x, paid);
  CAF_CHECK(x.d().queue_rank == paid);
  CAF_CHECK(x.d().queued_at == x.at);
}

CAF_TEST(a clock that is wrong buys an hour at most) {
  const auto rank_of = [](millis earlier) {
    auto x = with_order();
    x.at += 3h;
    settle(x, x.at - earlier);
    return *x.d().queue_rank - x.at;
  };
  CAF_CHECK(rank_of(millis{0}) == millis{0});
  CAF_CHECK(rank_of(belief - 1ms) == -belief + 1ms);
  CAF_CHECK(rank_of(belief) == -belief);
  CAF_CHECK(rank_of(belief + 1ms) == -belief);
  CAF_CHECK(rank_of(std::chrono::days{10'000}) == -belief);
  // And one that is ahead costs nothing.
  CAF_CHECK(rank_of(-1ms) == millis{0});
  CAF_CHECK(rank_of(-std::chrono::days{10'000}) == millis{0});
}

CAF_TEST(a dearer plan has a head start) {
  auto x = with_order();
  x.with.head_start = 10min;
  settle(x, x.at - 30s);
  CAF_CHECK(x.d().queue_rank == x.at - 30s - 10min);
  // It is not part of what a clock is believed for.
  auto y = with_order();
  y.with.head_start = 10min;
  settle(y, y.at - 24h);
  CAF_CHECK(y.d().queue_rank == y.at - belief - 10min);
}

CAF_TEST(a retry ranks at its own time) {
  for (auto at : {phase::failed, phase::stopped, phase::lapsed}) {
    auto x = paid_at(at);
    x.with.head_start = 7min;
    x.at += 5h;
    CAF_CHECK(x.retry() == verdict::applied);
    CAF_CHECK(x.d().queue_rank == x.at - 7min);
    CAF_CHECK(x.d().queued_at == x.at);
  }
}

CAF_TEST(later attempts keep their place) {
  auto x = paid_at(phase::queued);
  const auto rank = x.d().queue_rank;
  CAF_REQUIRE(rank.has_value());
  for (auto i = 0; i < 2; ++i) {
    x.advance_to(phase::deploying);
    x.fail(true, chance_max);
    x.halt();
    x.at = std::max(x.at, *x.d().retry_at) + 1h;
    x.wake();
    CAF_CHECK(x.d().at == phase::queued);
    CAF_CHECK(x.d().queue_rank == rank);
  }
  // Also under other rules: it has been earned.
  x.with.head_start = 1h;
  x.advance_to(phase::running);
  CAF_CHECK(x.d().queue_rank == rank);
}

CAF_TEST(nothing that happens in the queue moves anybody) {
  auto x = paid_at(phase::queued);
  const auto rank = x.d().queue_rank;
  x.at += 1min;
  x.open_order();
  x.pay();
  x.retry();
  x.wake();
  x.see_total(1, price / 2);
  x.at = *x.now.end_at;
  x.wake();
  CAF_CHECK(x.d().at == phase::queued);
  CAF_CHECK(x.d().queue_rank == rank);
}

CAF_TEST(a cancellation gives the place up) {
  auto x = paid_at(phase::queued);
  x.cancel();
  CAF_CHECK(!x.d().queue_rank);
  x.at += 1h;
  x.retry();
  CAF_CHECK(x.d().queue_rank == x.at);
}

// Goal: no starvation. Whoever waits is overtaken only by those who began to
// wait before a fixed time had passed, however many come in later, whatever
// their plan, whatever becomes of their attempts, and whatever their gateways'
// clocks say.
CAF_TEST(nobody who waits is overtaken without bound) {
  auto overtaken = 0;
  auto waits = 0;
  for (auto seed = 1u; seed <= 60; ++seed) {
    auto random = std::mt19937_64{seed};
    const auto roll = [&random](std::uint32_t sides) {
      return static_cast<std::uint32_t>(random() % sides);
    };
    const auto head_starts = std::vector<millis>{0s, 10min, 30min};
    const auto bound = belief + head_starts.back();
    auto all = std::vector<driver>{};
    auto began = std::vector<timestamp>{};
    auto queued_since = std::map<std::size_t, timestamp>{};
    auto now = day_one;
    for (auto step = 0; step < 2'000; ++step) {
      now += millis{roll(30'000)};
      for (auto& x : all)
        x.at = now;
      // They come in faster than they are served.
      if (all.size() < 400 && roll(2) == 0) {
        all.push_back(with_order());
        auto& x = all.back();
        x.at = now;
        x.with.attempts = 4;
        x.with.deadline = 24h;
        x.with.head_start
          = head_starts[roll(static_cast<std::uint32_t>(head_starts.size()))];
        settle(x, now - millis{roll(2) * roll(20'000'000)});
        began.push_back(now);
        queued_since[all.size() - 1] = now;
        CAF_REQUIRE(x.d().at == phase::queued);
      }
      // Timers: failed ones come back.
      for (auto i = std::size_t{0}; i < all.size(); ++i)
        if (all[i].d().at == phase::backing_off && all[i].d().retry_at <= now) {
          all[i].wake();
          CAF_REQUIRE(all[i].d().at == phase::queued);
          queued_since[i] = now;
        }
      if (roll(3) != 0 || queued_since.empty())
        continue;
      // The first in line, as the database sorts them.
      const auto first
        = std::min_element(
            queued_since.begin(), queued_since.end(),
            [&](const auto& a, const auto& b) {
              return std::pair{*all[a.first].d().queue_rank, a.first}
                     < std::pair{*all[b.first].d().queue_rank, b.first};
            })
            ->first;
      for (const auto& [i, since] : queued_since) {
        if (i == first)
          continue;
        ++waits;
        const auto overtakes = began[first] > began[i];
        overtaken += overtakes ? 1 : 0;
        if (overtakes && began[first] > began[i] + bound)
          CAF_FAIL("seed " << seed << ": overtaken by one that came "
                           << (began[first] - began[i]).count() << " ms later");
      }
      queued_since.erase(first);
      auto& x = all[first];
      x.feed(slot_granted{now});
      if (roll(3) != 0) {
        x.fail(true, static_cast<std::uint32_t>(random()));
      } else if (roll(4) == 0) {
        // Given up and begun anew: behind all who wait as long as that allows.
        x.cancel();
        x.confirm();
        x.retry();
        began[first] = now;
        queued_since[first] = now;
      }
    }
  }
  CAF_MESSAGE(waits << " times somebody waited, " << overtaken
                    << " times behind somebody who came later");
  // The plans mean something.
  CAF_CHECK(overtaken > 1'000);
}

// The bound is reached: a head start is not more than it says, nor less.
CAF_TEST(a head start is worth exactly its time) {
  auto cheap = with_order();
  settle(cheap, cheap.at);
  const auto overtakes = [&](millis later) {
    auto dear = with_order();
    dear.with.head_start = 10min;
    dear.at = cheap.at + later;
    settle(dear, dear.at);
    return *dear.d().queue_rank < *cheap.d().queue_rank;
  };
  CAF_CHECK(overtakes(10min - 1ms));
  CAF_CHECK(!overtakes(10min));
}

#define CAF_SUITE provider.budget

#include "http/provider/budget.hpp"

#include <caf/test/unit_test.hpp>

#include <algorithm>
#include <deque>
#include <random>
#include <vector>

using namespace slipway;
using namespace slipway::provider;
using namespace std::chrono_literals;

namespace {

const auto start = timestamp{std::chrono::days{20'000}};

constexpr auto everybody = std::array<urgency, urgency_count>{
  urgency::removal, urgency::creation, urgency::step,
  urgency::reader,  urgency::watch,    urgency::upkeep};

answer heard_of(answer_class is, millis retry_after = 0ms) {
  auto out = answer{};
  out.is = is;
  out.retry_after = retry_after;
  out.spoken = is != answer_class::blocked && is != answer_class::in_doubt
               && is != answer_class::not_sent;
  return out;
}

answer said(std::optional<std::uint64_t> limit,
            std::optional<std::uint64_t> remaining, std::string reset = {}) {
  auto out = heard_of(answer_class::ok);
  out.rate = {limit, remaining, std::move(reset)};
  return out;
}

const auto good = heard_of(answer_class::ok);

/// A budget with its clock, and a list of what left.
struct bench {
  explicit bench(std::uint32_t per_hour, std::uint32_t per_second = 1'000)
    : budget{per_hour, per_second} {
  }

  bool may(urgency how) {
    return budget.next(how, now) <= now;
  }

  /// Sends one if it may leave, answered at once.
  bool try_send(urgency how, const answer& with = good) {
    if (!may(how))
      return false;
    budget.sent(how, now);
    sent.push_back(now);
    budget.heard(with, now, 0);
    return true;
  }

  /// As many as may leave now.
  int flood(urgency how, int most = 100'000) {
    auto n = 0;
    while (n < most && try_send(how))
      ++n;
    return n;
  }

  /// How long a call has to wait if nothing else happens: asks again whenever
  /// it is told to.
  millis wait(urgency how) {
    const auto began = now;
    auto asked = 0;
    for (auto at = budget.next(how, now); at > now;
         at = budget.next(how, now)) {
      CAF_REQUIRE(++asked < 10'000);
      now = at;
    }
    return now - began;
  }

  call_budget budget;
  timestamp now = start;
  std::vector<timestamp> sent;
};

/// The most that any stretch of this length holds.
std::size_t most_within(const std::vector<timestamp>& times, millis length) {
  auto most = std::size_t{0};
  auto first = std::size_t{0};
  for (auto i = std::size_t{0}; i < times.size(); ++i) {
    while (times[i] - times[first] >= length)
      ++first;
    most = std::max(most, i - first + 1);
  }
  return most;
}

} // namespace

// -- the hour and the second
// -------------------------------------------------------------

CAF_TEST(an hour holds what it holds) {
  auto x = bench{100};
  CAF_CHECK_EQUAL(x.flood(urgency::removal), 100);
  CAF_CHECK_EQUAL(x.budget.remaining(x.now), 0u);
  // All of them left at once: an hour later all of them may again, and the edge
  // may cost as much as one slice.
  const auto waited = x.wait(urgency::removal);
  CAF_CHECK(waited >= 1h);
  CAF_CHECK(waited <= 1h + 10s);
  CAF_CHECK_EQUAL(x.flood(urgency::removal), 100);
}

CAF_TEST(the hour rolls) {
  auto x = bench{60};
  // One each minute for two hours: never refused, never more than 60 left out.
  for (auto i = 0; i < 120; ++i) {
    if (i < 60)
      CAF_CHECK_EQUAL(x.budget.remaining(x.now),
                      60u - static_cast<unsigned>(i));
    if (!x.try_send(urgency::removal))
      CAF_CHECK(x.wait(urgency::removal) <= 10s);
    x.now += 1min;
  }
}

CAF_TEST(a second holds what it holds) {
  auto x = bench{100'000, 5};
  CAF_CHECK_EQUAL(x.flood(urgency::removal), 5);
  const auto waited = x.wait(urgency::removal);
  CAF_CHECK(waited > 1s);
  CAF_CHECK(waited < 1'010ms);
  for (auto i = 0; i < 1'000; ++i) {
    x.flood(urgency::removal);
    x.now += 37ms;
  }
  CAF_CHECK_EQUAL(most_within(x.sent, 1'000ms), 5u);
  CAF_CHECK(x.sent.size() > 175);
}

CAF_TEST(nothing is nothing at all) {
  auto x = bench{0, 0};
  CAF_CHECK_EQUAL(x.flood(urgency::removal), 1);
  CAF_CHECK(x.wait(urgency::removal) >= 1h);
}

// -- shares
// ------------------------------------------------------------------------------

CAF_TEST(the less urgent leave a share to the more urgent) {
  // Spent by the urgent; who stops where?
  auto stops = std::array<std::uint32_t, urgency_count>{};
  auto x = bench{1'000};
  for (auto i = 0u; i <= 1'000; ++i) {
    for (auto how : everybody)
      if (x.may(how))
        stops[static_cast<std::size_t>(how)] = 1'000 - i;
    x.try_send(urgency::removal);
  }
  const auto left = [&stops](urgency how) {
    return stops[static_cast<std::size_t>(how)];
  };
  CAF_CHECK_EQUAL(left(urgency::removal), 1u);
  CAF_CHECK_EQUAL(left(urgency::creation), 21u);
  CAF_CHECK_EQUAL(left(urgency::step), 21u);
  CAF_CHECK_EQUAL(left(urgency::reader), 51u);
  CAF_CHECK_EQUAL(left(urgency::watch), 101u);
  CAF_CHECK_EQUAL(left(urgency::upkeep), 351u);
}

CAF_TEST(even the smallest budget lets everybody through at last) {
  for (auto per_hour : {1u, 2u, 3u, 10u, 100u})
    for (auto how : everybody) {
      auto x = bench{per_hour};
      CAF_CHECK(x.try_send(how));
      x.flood(urgency::removal);
      CAF_CHECK(x.wait(how) <= 2h);
      CAF_CHECK(x.try_send(how));
    }
}

CAF_TEST(watching spreads over the hour) {
  for (auto per_hour : {100u, 1'000u, 10'000u})
    for (auto how : {urgency::watch, urgency::upkeep}) {
      auto x = bench{per_hour};
      auto within = std::vector<std::size_t>{};
      auto longest = millis{0};
      for (auto hour = 0; hour < 3; ++hour)
        for (auto part = 0; part < 6; ++part) {
          const auto end = start + hour * 1h + (part + 1) * 10min;
          const auto before = x.sent.size();
          while (x.now < end) {
            const auto since = x.now;
            x.wait(how);
            longest = std::max(longest, x.now - since);
            if (x.now < end)
              x.try_send(how);
          }
          x.now = end;
          within.push_back(x.sent.size() - before);
        }
      // Never more than half in the first ten minutes, and never a long stop.
      CAF_CHECK(within.front() < per_hour * 3 / 10);
      CAF_CHECK(*std::min_element(within.begin(), within.end()) > 0);
      const auto share = millis{3'600'000} / per_hour;
      CAF_CHECK(longest <= 7 * share + 10s);
      // It is used, too.
      CAF_CHECK(most_within(x.sent, 1h) > per_hour * 3 / 10);
      CAF_CHECK(x.budget.remaining(x.now) > per_hour / 10);
    }
}

CAF_TEST(a look that comes once in a while waits for nothing) {
  auto x = bench{1'000};
  for (auto i = 0; i < 360; ++i) {
    CAF_CHECK(x.try_send(urgency::watch));
    x.now += 10s;
  }
}

CAF_TEST(whoever watches does not hold up whoever creates) {
  auto x = bench{1'000};
  for (auto i = 0; i < 36'000; ++i) {
    x.flood(urgency::upkeep, 1);
    x.flood(urgency::watch, 1);
    x.now += 100ms;
  }
  CAF_CHECK(x.budget.remaining(x.now) > 100);
  CAF_CHECK(x.flood(urgency::step) > 80);
  CAF_CHECK_EQUAL(x.flood(urgency::removal), 20);
}

// -- what the provider says
// --------------------------------------------------------------

CAF_TEST(the reset is read in all of its forms) {
  CAF_CHECK(read_reset("30", start) == start + 30s);
  CAF_CHECK(read_reset("0", start) == start);
  CAF_CHECK(read_reset("86400", start) == start + 24h);
  CAF_CHECK(read_reset("1760000000", start)
            == timestamp{std::chrono::seconds{1'760'000'000}});
  CAF_CHECK(read_reset("1760000000123", start)
            == timestamp{millis{1'760'000'000'123}});
  CAF_CHECK(read_reset("2026-11-23T08:00:00Z", start)
            == parse_rfc3339("2026-11-23T08:00:00Z"));
  CAF_CHECK(read_reset("2026-11-23T08:00:00.5+08:00", start)
            == parse_rfc3339("2026-11-23T08:00:00.5+08:00"));
  for (auto text :
       {"", "soon", "-1", "1.5", "86401", "999999999", " 30", "99999999999999",
        "99999999999999999999999999", "2026-11-23", "2026-13-23T08:00:00Z"})
    CAF_CHECK(!read_reset(text, start));
}

CAF_TEST(what remains by their count includes the calls of others) {
  auto x = bench{1'000};
  x.budget.heard(said(1'000, 200, "1800"), x.now, 0);
  CAF_CHECK_EQUAL(x.budget.remaining(x.now), 200u);
  CAF_CHECK(x.may(urgency::watch));
  CAF_CHECK(!x.may(urgency::upkeep));
  CAF_CHECK_EQUAL(x.flood(urgency::removal), 200);
  // Until they count anew.
  CAF_CHECK(x.wait(urgency::removal) == 30min);
  CAF_CHECK_EQUAL(x.budget.remaining(x.now), 800u);
}

CAF_TEST(calls of our own are not counted twice) {
  auto x = bench{1'000};
  for (auto i = 0u; i < 400; ++i)
    CAF_CHECK(x.try_send(urgency::removal, said(1'000, 1'000 - i, "1800")));
  CAF_CHECK_EQUAL(x.budget.remaining(x.now), 600u);
  // More than we know of remains: we count by the rolling hour, they do not.
  x.budget.heard(said(1'000, 1'000, "3600"), x.now, 0);
  CAF_CHECK_EQUAL(x.budget.remaining(x.now), 600u);
}

CAF_TEST(nothing left is waited for as long as they say) {
  const auto until = [](std::string reset) {
    auto x = bench{1'000};
    x.budget.heard(said(1'000, 0, std::move(reset)), x.now, 0);
    CAF_CHECK_EQUAL(x.budget.remaining(x.now), 0u);
    CAF_CHECK(!x.may(urgency::removal));
    return x.wait(urgency::removal);
  };
  CAF_CHECK(until("90") == 90s);
  CAF_CHECK(until(to_rfc3339(start + 20min)) == 20min);
  // Not longer than an hour, and a minute when they do not say.
  CAF_CHECK(until("86400") == 1h);
  CAF_CHECK(until("") == 1min);
  CAF_CHECK(until("soon") == 1min);
}

CAF_TEST(a smaller limit is learnt and a larger one is not taken) {
  auto x = bench{10'000, 10'000};
  x.budget.heard(said(1'000, 1'000, "3600"), x.now, 0);
  CAF_CHECK_EQUAL(x.budget.per_hour(), 1'000u);
  CAF_CHECK_EQUAL(x.flood(urgency::removal), 1'000);
  CAF_CHECK(x.wait(urgency::removal) >= 1h);
  x.budget.heard(said(100'000, 100'000, "3600"), x.now, 0);
  CAF_CHECK_EQUAL(x.budget.per_hour(), 10'000u);
  CAF_CHECK_EQUAL(x.flood(urgency::removal), 10'000);
}

CAF_TEST(limits of the second are not taken for those of the hour) {
  auto x = bench{10'000};
  for (auto reset : {"", "1", "60"})
    x.budget.heard(said(50, 0, reset), x.now, 0);
  x.budget.heard(said(0, std::nullopt), x.now, 0);
  CAF_CHECK_EQUAL(x.budget.per_hour(), 10'000u);
  CAF_CHECK(x.may(urgency::upkeep));
  x.budget.heard(said(50, 49, "3600"), x.now, 0);
  CAF_CHECK_EQUAL(x.budget.per_hour(), 50u);
}

// -- being left alone
// --------------------------------------------------------------------

CAF_TEST(a throttle is waited out) {
  auto x = bench{1'000};
  CAF_CHECK(x.try_send(urgency::step, heard_of(answer_class::throttled, 7s)));
  for (auto how : everybody)
    CAF_CHECK(!x.may(how));
  CAF_CHECK(x.wait(urgency::removal) == 7s);
  CAF_CHECK(x.may(urgency::step));
}

CAF_TEST(a throttle without a delay grows and is bounded) {
  auto x = bench{1'000'000};
  auto last = millis{0};
  for (auto i = 0; i < 20; ++i) {
    CAF_CHECK(x.try_send(urgency::step, heard_of(answer_class::throttled)));
    const auto waited = x.wait(urgency::step);
    CAF_CHECK(waited >= last);
    CAF_CHECK(i == 0 ? waited == 2'500ms : waited <= 5min);
    last = waited;
  }
  CAF_CHECK(last == 150s); // Half of the most is left to chance, here 0.
  x.try_send(urgency::step);
  CAF_CHECK(x.try_send(urgency::step, heard_of(answer_class::throttled)));
  CAF_CHECK(x.wait(urgency::step) == 2'500ms);
}

CAF_TEST(chance spreads the pauses) {
  for (auto [chance, pause] : std::vector<std::pair<std::uint32_t, millis>>{
         {0u, 2'500ms}, {UINT32_MAX, 5'000ms}, {UINT32_MAX / 2, 3'749ms}}) {
    auto x = bench{1'000};
    x.budget.sent(urgency::step, x.now);
    x.budget.heard(heard_of(answer_class::throttled), x.now, chance);
    CAF_CHECK(x.wait(urgency::step) == pause);
  }
}

CAF_TEST(answers to what was under way count as one) {
  auto x = bench{1'000};
  for (auto i = 0; i < 10; ++i)
    x.budget.sent(urgency::step, x.now);
  for (auto i = 0; i < 10; ++i)
    x.budget.heard(heard_of(answer_class::throttled), x.now + i * 100ms, 0);
  x.now += 1s;
  CAF_CHECK(x.wait(urgency::step) == 1'500ms);
  auto y = bench{1'000};
  for (auto i = 0; i < 10; ++i)
    y.budget.sent(urgency::step, y.now);
  for (auto i = 0; i < 10; ++i)
    y.budget.heard(heard_of(answer_class::blocked), y.now, 0);
  CAF_CHECK(y.wait(urgency::step) == 60s);
  // A longer wish among them counts.
  y.budget.sent(urgency::step, y.now);
  y.budget.sent(urgency::step, y.now);
  y.budget.heard(heard_of(answer_class::throttled, 2s), y.now, 0);
  y.budget.heard(heard_of(answer_class::throttled, 40s), y.now, 0);
  CAF_CHECK(y.wait(urgency::step) == 40s);
}

CAF_TEST(creating too quickly is nobody elses matter) {
  auto x = bench{1'000};
  auto told = heard_of(answer_class::throttled, 31s);
  told.cooldown = true;
  CAF_CHECK(x.try_send(urgency::creation, told));
  for (auto how : everybody)
    CAF_CHECK(x.may(how));
}

CAF_TEST(a block stops everybody and doubles up to half an hour) {
  auto x = bench{1'000};
  for (auto pause : {1min, 2min, 4min, 8min, 16min, 30min, 30min}) {
    CAF_CHECK(x.try_send(urgency::watch, heard_of(answer_class::blocked)));
    for (auto how : everybody)
      CAF_CHECK(!x.may(how));
    CAF_CHECK(x.budget.paused_until() == x.now + pause);
    CAF_CHECK(x.wait(urgency::removal) == pause);
    x.now += 10min; // Watching has its own pace as well.
  }
  CAF_CHECK(x.try_send(urgency::removal));
  CAF_CHECK(x.try_send(urgency::removal, heard_of(answer_class::blocked)));
  CAF_CHECK(x.wait(urgency::removal) == 1min);
  CAF_CHECK(
    x.try_send(urgency::removal, heard_of(answer_class::blocked, 20min)));
  CAF_CHECK(x.wait(urgency::removal) == 20min);
}

CAF_TEST(nobody can make us stop for days) {
  for (auto is : {answer_class::blocked, answer_class::throttled}) {
    auto x = bench{1'000};
    x.try_send(urgency::step, heard_of(is, millis{999'999'000}));
    CAF_CHECK(x.wait(urgency::step) == 1h);
  }
}

CAF_TEST(what says nothing ends no block) {
  auto x = bench{1'000};
  x.try_send(urgency::removal, heard_of(answer_class::blocked));
  x.wait(urgency::removal);
  x.try_send(urgency::removal, heard_of(answer_class::in_doubt));
  x.try_send(urgency::removal, heard_of(answer_class::not_sent));
  x.try_send(urgency::removal, heard_of(answer_class::blocked));
  CAF_CHECK(x.wait(urgency::removal) == 2min);
  // An error of the API is as good as a success: we were let in.
  x.try_send(urgency::removal, heard_of(answer_class::auth));
  x.try_send(urgency::removal, heard_of(answer_class::blocked));
  CAF_CHECK(x.wait(urgency::removal) == 1min);
}

CAF_TEST(the first call after a pause goes alone) {
  for (auto is : {answer_class::blocked, answer_class::throttled}) {
    auto x = bench{1'000};
    x.try_send(urgency::removal, heard_of(is));
    x.wait(urgency::removal);
    x.budget.sent(urgency::step, x.now);
    CAF_CHECK(!x.may(urgency::removal));
    x.now += 20s;
    CAF_CHECK(!x.may(urgency::removal));
    x.budget.heard(good, x.now, 0);
    CAF_CHECK(x.may(urgency::removal));
    CAF_CHECK(x.flood(urgency::removal, 10) == 10);
  }
  // Should nobody ever hear of it, the others wait a while, not for ever.
  auto x = bench{1'000};
  x.try_send(urgency::removal, heard_of(answer_class::blocked));
  x.wait(urgency::removal);
  x.budget.sent(urgency::step, x.now);
  CAF_CHECK(x.wait(urgency::removal) == 2min);
}

// -- the clock
// ---------------------------------------------------------------------------

CAF_TEST(a clock that is set back forgets nothing and holds nobody up) {
  auto x = bench{100};
  CAF_CHECK_EQUAL(x.flood(urgency::removal), 100);
  x.now += 30min;
  CAF_CHECK(!x.may(urgency::removal));
  x.now -= 24h;
  CAF_CHECK(!x.may(urgency::removal));
  CAF_CHECK_EQUAL(x.budget.remaining(x.now), 0u);
  const auto waited = x.wait(urgency::removal);
  CAF_CHECK(waited >= 30min);
  CAF_CHECK(waited <= 31min);
  auto y = bench{100};
  y.try_send(urgency::removal, heard_of(answer_class::blocked));
  y.now -= 24h;
  CAF_CHECK(y.wait(urgency::removal) == 60s);
}

// -- anything at all
// --------------------------------------------------------------------

namespace {

answer any_answer(std::mt19937_64& dice, timestamp now) {
  auto out = answer{};
  const auto n = dice() % 100;
  out.is = n < 70   ? answer_class::ok
           : n < 78 ? answer_class::opaque
           : n < 84 ? answer_class::in_doubt
           : n < 88 ? answer_class::not_sent
           : n < 96 ? answer_class::throttled
           : n < 97 ? answer_class::blocked
                    : answer_class::auth;
  out.cooldown = out.is == answer_class::throttled && dice() % 2 == 0;
  out.spoken = out.is != answer_class::blocked
               && out.is != answer_class::in_doubt
               && out.is != answer_class::not_sent;
  if (dice() % 3 == 0)
    out.retry_after = millis{static_cast<std::int64_t>(dice() % 100'000)};
  if (dice() % 4 == 0)
    out.rate.limit = 100 + dice() % 3'000;
  if (dice() % 10 == 0)
    out.rate.remaining = dice() % 2'000;
  switch (dice() % 6) {
    case 0:
      out.rate.reset = std::to_string(dice() % 3'600);
      break;
    case 1:
      out.rate.reset = to_rfc3339(now + millis{dice() % 3'600'000});
      break;
    case 2:
      out.rate.reset = "garbage";
      break;
    default:
      break;
  }
  return out;
}

} // namespace

CAF_TEST(whatever happens the promises hold) {
  for (auto seed = std::uint64_t{1}; seed <= 60; ++seed) {
    auto dice = std::mt19937_64{seed};
    const auto per_hour = static_cast<std::uint32_t>(1 + dice() % 3'000);
    const auto per_second = static_cast<std::uint32_t>(1 + dice() % 20);
    auto budget = call_budget{per_hour, per_second};
    auto now = start;
    auto real = start; // The clock may be set back, time may not.
    auto times = std::vector<timestamp>{};
    auto under_way = std::deque<timestamp>{};
    const auto pace = 10 + dice() % 5'000;
    const auto kind = dice() % 2 == 0;
    for (auto i = 0; i < 15'000; ++i) {
      const auto passed = millis{static_cast<std::int64_t>(dice() % pace)};
      now += passed;
      real += passed;
      if (dice() % 2'000 == 0)
        now -= millis{static_cast<std::int64_t>(dice() % 7'200'000)};
      while (!under_way.empty() && under_way.front() <= real) {
        under_way.pop_front();
        budget.heard(kind ? good : any_answer(dice, now), now,
                     static_cast<std::uint32_t>(dice()));
      }
      const auto how = everybody[dice() % urgency_count];
      // What one hour has seen, counted anew and exactly.
      const auto hour
        = times.end() - std::upper_bound(times.begin(), times.end(), real - 1h);
      const auto at = budget.next(how, now);
      if (at > now)
        continue;
      const auto unused
        = static_cast<std::int64_t>(per_hour) - static_cast<std::int64_t>(hour);
      const auto tenth = static_cast<std::int64_t>(per_hour / 10);
      if (how == urgency::watch && unused <= tenth)
        CAF_FAIL("seed " << seed << ": watching at " << unused << " of "
                         << per_hour);
      if (how == urgency::upkeep && unused <= 3 * tenth)
        CAF_FAIL("seed " << seed << ": upkeep at " << unused << " of "
                         << per_hour);
      budget.sent(how, now);
      times.push_back(real);
      under_way.push_back(real
                          + millis{static_cast<std::int64_t>(dice() % 3'000)});
      std::sort(under_way.begin(), under_way.end());
    }
    if (most_within(times, 1h) > per_hour)
      CAF_FAIL("seed " << seed << ": " << most_within(times, 1h)
                       << " in an hour of " << per_hour);
    if (most_within(times, 1s) > per_second)
      CAF_FAIL("seed " << seed << ": " << most_within(times, 1s)
                       << " in a second of " << per_second);
    CAF_CHECK(times.size() > 10);
    // And then it is quiet: everybody gets through.
    while (!under_way.empty()) {
      under_way.pop_front();
      budget.heard(any_answer(dice, now), now, 7);
    }
    for (auto how : everybody) {
      auto asked = 0;
      const auto began = now;
      for (auto at = budget.next(how, now); at > now;
           at = budget.next(how, now)) {
        if (++asked > 1'000)
          CAF_FAIL("seed " << seed << ": asks for ever");
        now = at;
      }
      if (now - began > 3h)
        CAF_FAIL("seed " << seed << ": waits for " << to_words(now - began));
    }
  }
}

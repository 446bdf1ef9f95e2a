#define CAF_SUITE lifecycle.halting

#include "tests/support/lifecycle_states.hpp"

#include <caf/test/unit_test.hpp>

using namespace slipway;
using namespace slipway::test;

// Goal: the limit of deployments at work is a limit on what the provider really
// builds. A failed attempt keeps its slot until nothing of it is built any
// more, or until nobody can wait for that any longer.

namespace {

/// The four phases in which something may be building.
const auto building
  = std::vector<phase>{phase::deploying_template, phase::awaiting_workflow,
                       phase::configuring, phase::deploying};

/// Fails for good, whatever attempts are left.
verdict give_up(driver& x, phase in) {
  auto what = step_failed{};
  what.at = x.at;
  what.attempt = x.attempt();
  what.in = in;
  what.hopeless = true;
  what.reason = "no such template";
  return x.feed(what);
}

} // namespace

CAF_TEST(an attempt that may be building is halted first) {
  for (auto at : building) {
    auto x = paid_at(at);
    x.at += 10s;
    const auto progress = x.d().progress;
    CAF_CHECK(x.fail(true) == verdict::applied);
    CAF_CHECK(x.d().at == phase::halting);
    CAF_CHECK(x.effects == std::vector<effect>{effect::run_step});
    CAF_CHECK_EQUAL(x.attempt(), 1u);
    CAF_CHECK_EQUAL(x.d().error, "no luck");
    CAF_CHECK(x.d().deadline_at == x.at + x.with.halt_patience);
    CAF_CHECK(x.d().phase_at == x.at);
    CAF_CHECK_EQUAL(x.d().progress, progress);
    CAF_CHECK(wake_at(x.now, x.with) == x.at + x.with.halt_patience);
    CAF_CHECK(resume(x.now) == std::vector<effect>{effect::run_step});
    x.at += 3s;
    CAF_CHECK(x.halt() == verdict::applied);
    CAF_CHECK(x.effects == std::vector<effect>{effect::release_slot});
    CAF_CHECK(x.d().at == phase::backing_off);
    CAF_CHECK_EQUAL(x.attempt(), 2u);
    CAF_CHECK_EQUAL(x.d().error, "no luck");
    CAF_CHECK(!x.d().deadline_at);
    CAF_CHECK(!x.d().started_at);
    CAF_CHECK_EQUAL(x.d().progress, 0);
  }
}

CAF_TEST(before anything can be building there is nothing to halt) {
  auto x = paid_at(phase::creating_project);
  x.fail(true);
  CAF_CHECK(x.d().at == phase::backing_off);
  CAF_CHECK(x.effects == std::vector<effect>{effect::release_slot});
}

CAF_TEST(a project that was announced may have its template already) {
  for (const auto without_effect : {false, true}) {
    auto x = paid_at(phase::creating_project);
    x.feed(project_create_started{x.at, x.attempt()});
    auto what = step_failed{};
    what.at = x.at;
    what.attempt = x.attempt();
    what.in = phase::creating_project;
    what.permanent = true;
    what.without_effect = without_effect;
    what.reason = "no luck";
    x.feed(what);
    CAF_CHECK(x.d().at
              == (without_effect ? phase::backing_off : phase::halting));
  }
}

CAF_TEST(whatever ends an attempt it is halted) {
  auto by_provider = paid_at(phase::deploying);
  by_provider.feed(deployment_observed{by_provider.at, 1, condition::failed, 0,
                                       "FAILED", "exit code 1", 0});
  CAF_CHECK(by_provider.d().at == phase::halting);
  CAF_CHECK_EQUAL(by_provider.d().error, "exit code 1");
  for (auto at : building) {
    auto by_time = paid_at(at);
    by_time.at = *by_time.d().deadline_at;
    by_time.wake();
    CAF_CHECK(by_time.d().at == phase::halting);
    CAF_CHECK(by_time.effects == std::vector<effect>{effect::run_step});
    CAF_CHECK(by_time.d().error.find(to_string(at)) != std::string::npos);
    // Its time for halting begins only now.
    CAF_CHECK(by_time.d().deadline_at
              == by_time.at + by_time.with.halt_patience);
  }
}

CAF_TEST(only its own proof or the end of patience frees the slot) {
  auto x = paid_at(phase::halting);
  const auto before = x.now;
  CAF_CHECK(x.feed(halted{x.at, x.attempt() + 1, 0}) == verdict::stale);
  CAF_CHECK(x.feed(halted{x.at, 0, 0}) == verdict::stale);
  // Late words on the attempt that has failed.
  CAF_CHECK(
    x.feed(deployment_observed{x.at, 1, condition::running, 100, "S", {}, 0})
    == verdict::stale);
  CAF_CHECK(x.feed(configured{x.at, 1, "s", "w", "d", "u"}) == verdict::stale);
  CAF_CHECK(x.feed(template_deployed{x.at, 1, "w"}) == verdict::stale);
  CAF_CHECK(x.feed(slot_granted{x.at}) == verdict::already_applied);
  CAF_CHECK(x.confirm() == verdict::stale);
  CAF_CHECK(x.retry() == verdict::under_way);
  CAF_CHECK(x.now == before);
  x.at = *x.d().deadline_at - 1ms;
  CAF_CHECK(x.wake() == verdict::already_applied);
  CAF_CHECK(x.now == before);
  x.at += 1ms;
  CAF_CHECK(x.wake() == verdict::applied);
  CAF_CHECK(x.d().at == phase::backing_off);
  CAF_CHECK(x.effects == std::vector<effect>{effect::release_slot});
  CAF_CHECK_EQUAL(x.d().error, "no luck");
  CAF_CHECK(x.halt() == verdict::stale);
}

CAF_TEST(a halt that fails is tried again and keeps the reason) {
  auto x = paid_at(phase::halting);
  const auto deadline = x.d().deadline_at;
  for (auto i = 1u; i <= 3; ++i) {
    auto what = step_failed{};
    what.at = x.at;
    what.attempt = x.attempt();
    what.in = phase::halting;
    what.permanent = i == 2;
    what.hopeless = i == 3;
    what.reason = "throttled";
    what.chance = chance_max;
    CAF_CHECK(x.feed(what) == verdict::applied);
    CAF_CHECK(x.effects.empty());
    CAF_CHECK(x.d().at == phase::halting);
    CAF_CHECK_EQUAL(x.d().tries, i);
    CAF_CHECK_EQUAL(x.d().error, "no luck");
    CAF_CHECK(x.d().deadline_at == deadline);
    CAF_CHECK_EQUAL(x.d().attempt_limit, 3u);
    CAF_REQUIRE(x.d().retry_at > x.at);
    CAF_CHECK(resume(x.now).empty());
    CAF_CHECK(wake_at(x.now, x.with) == x.d().retry_at);
    x.at = *x.d().retry_at;
    CAF_CHECK(x.wake() == verdict::applied);
    CAF_CHECK(x.effects == std::vector<effect>{effect::run_step});
    CAF_CHECK_EQUAL(x.d().error, "no luck");
  }
  // However long the provider wants to be left alone: patience ends.
  x.fail(false, 0, 1h);
  CAF_CHECK(wake_at(x.now, x.with) == deadline);
  x.at = *deadline;
  x.wake();
  CAF_CHECK(x.d().at == phase::backing_off);
  CAF_CHECK_EQUAL(x.d().error, "no luck");
}

CAF_TEST(the last attempt ends after it was halted) {
  for (auto by_time : {false, true}) {
    auto x = paid_at(phase::queued);
    for (auto i = 1u; i <= 3; ++i) {
      x.advance_to(phase::configuring);
      CAF_REQUIRE_EQUAL(x.attempt(), i);
      x.fail(true);
      CAF_CHECK_EQUAL(count(x.effects, effect::notify_failed), 0);
      CAF_CHECK(x.d().at == phase::halting);
      CAF_CHECK(!x.d().completed_at);
      if (by_time) {
        x.at = *x.d().deadline_at;
        x.wake();
      } else {
        x.halt();
      }
    }
    CAF_CHECK(x.d().at == phase::failed);
    CAF_CHECK(
      x.effects
      == (std::vector<effect>{effect::release_slot, effect::notify_failed}));
    CAF_CHECK_EQUAL(x.d().error, "no luck");
    CAF_CHECK(x.d().completed_at == x.at);
    CAF_CHECK(x.d().ended_by == actor_kind::provider);
    CAF_CHECK(x.now.instance.status == instance_status::failed);
  }
}

CAF_TEST(what is hopeless ends for good and is halted all the same) {
  for (auto at : building) {
    auto x = paid_at(at);
    CAF_CHECK(give_up(x, at) == verdict::applied);
    CAF_CHECK(x.d().at == phase::halting);
    CAF_CHECK_EQUAL(count(x.effects, effect::release_slot), 0);
    CAF_CHECK(x.halt() == verdict::applied);
    CAF_CHECK(x.d().at == phase::failed);
    CAF_CHECK_EQUAL(x.attempt(), 1u);
    CAF_CHECK_EQUAL(x.d().error, "no such template");
    // A person can have all attempts anew.
    CAF_CHECK(x.retry() == verdict::applied);
    CAF_CHECK_EQUAL(x.d().attempt_limit, 4u);
  }
  auto x = paid_at(phase::creating_project);
  give_up(x, phase::creating_project);
  CAF_CHECK(x.d().at == phase::failed);
  CAF_CHECK_EQUAL(x.attempt(), 1u);
}

CAF_TEST(what was deployed and not seen yet is not taken for missing) {
  for (auto at : building)
    for (auto by_time : {false, true}) {
      auto x = paid_at(at);
      CAF_REQUIRE(!x.d().intent_at);
      x.at = by_time ? *x.d().deadline_at : x.at + 10s;
      if (by_time)
        x.wake();
      else
        x.fail(true);
      // In the first of them nothing has been deployed; in the last one the
      // services have been seen.
      const auto unseen
        = at == phase::awaiting_workflow || at == phase::configuring;
      const auto expected
        = unseen ? std::optional<timestamp>{x.at} : std::nullopt;
      CAF_CHECK(x.d().intent_at == expected);
      // The next attempt still knows when it gets there.
      x.advance_to(phase::deploying_template);
      CAF_CHECK_EQUAL(x.attempt(), 2u);
      CAF_CHECK(x.d().intent_at == expected);
      x.advance_to(phase::awaiting_workflow);
      CAF_CHECK(!x.d().intent_at);
    }
}

CAF_TEST(a cancellation takes over from a halt and keeps the slot) {
  for (auto by_refund : {false, true}) {
    auto x = paid_at(phase::halting);
    if (by_refund)
      x.see_total(1, price);
    else
      x.cancel();
    CAF_CHECK(x.d().at == phase::cancelling);
    CAF_CHECK_EQUAL(count(x.effects, effect::release_slot), 0);
    CAF_CHECK_EQUAL(count(x.effects, effect::run_step), 1);
    CAF_CHECK(!x.d().deadline_at);
    CAF_CHECK(x.halt() == verdict::stale);
  }
}

CAF_TEST(attempts back off after a halt like others) {
  auto x = paid_at(phase::queued);
  auto delays = std::vector<millis>{};
  for (auto i = 0; i < 2; ++i) {
    x.advance_to(phase::deploying);
    x.fail(true);
    x.feed(halted{x.at, x.attempt(), chance_max});
    delays.push_back(*x.d().retry_at - x.at);
  }
  CAF_CHECK(delays == (std::vector<millis>{5s, 10s}));
  // And by the end of patience, too.
  auto y = paid_at(phase::halting);
  y.at = *y.d().deadline_at;
  y.feed(woke{y.at, chance_max});
  CAF_CHECK(y.d().retry_at == y.at + 5s);
}

CAF_TEST(the history says what is being stopped and why) {
  auto x = paid_at(phase::deploying);
  auto before = x.now;
  const auto words = [&](const event& what) {
    before = x.now;
    x.feed(what);
    return describe(what, before, x.now);
  };
  const auto failed = deployment_observed{
    x.at, 1, condition::failed, 0, "FAILED", "exit code 1", 0};
  CAF_CHECK_EQUAL(words(failed), "Attempt 1 failed: exit code 1; stopping what "
                                 "still builds");
  auto again = step_failed{};
  again.attempt = 1;
  again.in = phase::halting;
  again.reason = "throttled";
  CAF_CHECK_EQUAL(words(again),
                  "Step halting failed (try 1), will try again: throttled");
  CAF_CHECK_EQUAL(words(halted{x.at, 1, 0}),
                  "Attempt 1 failed: exit code 1; next: attempt 2 of 3");
}

CAF_TEST(an attempt is not to blame for time in which nothing could happen) {
  for (auto at : all_phases()) {
    if (!works(at) || leaves(at))
      continue;
    auto x = paid_at(at);
    const auto deadline = *x.d().deadline_at;
    const auto length
      = at == phase::halting ? x.with.halt_patience : x.with.deadline;
    // Switched off in between, and on again long after the deadline.
    x.at = deadline + 1h;
    const auto on = x.at;
    x.at += 1s;
    CAF_CHECK(x.feed(woke{x.at, 0, on}) == verdict::applied);
    CAF_CHECK(x.d().at == at);
    CAF_CHECK(x.effects.empty());
    CAF_CHECK(x.d().deadline_at == on + length);
    CAF_CHECK(wake_at(x.now, x.with) == on + length);
    // Once: from then on it is the attempt's own time.
    x.at = on + length;
    CAF_CHECK(x.feed(woke{x.at, 0, on}) == verdict::applied);
    CAF_CHECK(x.d().at != at);
  }
}

CAF_TEST(an attempt that began when all was well has its own deadline) {
  auto x = paid_at(phase::deploying);
  const auto on = *x.d().started_at - 1s;
  x.at = *x.d().deadline_at;
  CAF_CHECK(x.feed(woke{x.at, 0, on}) == verdict::applied);
  CAF_CHECK(x.d().at == phase::halting);
}

CAF_TEST(a retry that was due meanwhile is made along with it) {
  auto x = paid_at(phase::creating_project);
  x.fail(false, chance_max);
  CAF_REQUIRE(x.d().retry_at.has_value());
  x.at = *x.d().deadline_at + 1h;
  CAF_CHECK(x.feed(woke{x.at, 0, x.at}) == verdict::applied);
  CAF_CHECK(x.d().at == phase::creating_project);
  CAF_CHECK(x.effects == std::vector<effect>{effect::run_step});
  CAF_CHECK(x.d().deadline_at == x.at + x.with.deadline);
}

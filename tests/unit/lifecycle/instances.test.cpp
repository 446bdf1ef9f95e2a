#define CAF_SUITE lifecycle.instances

#include "tests/support/lifecycle_states.hpp"

#include <caf/test/unit_test.hpp>

using namespace slipway;
using namespace slipway::test;

// Goal: what becomes of an instance after it came to run is known, shown, and
// told once; it never moves the money, and nothing is taken for gone that is
// not.

namespace {

using effects = std::vector<effect>;
using health = instance_health;

/// Came to run an hour ago, as deployment `d-1`.
driver running() {
  auto out = paid_at(phase::running);
  CAF_REQUIRE(out.d().at == phase::running);
  CAF_REQUIRE_EQUAL(out.d().deployment_id, "d-1");
  CAF_REQUIRE(out.now.instance.health == health::healthy);
  out.at += 1h;
  return out;
}

/// An instance in this condition, told of already.
driver seen_as(health is) {
  auto out = running();
  if (is != health::healthy)
    CAF_REQUIRE(out.observe(is) == verdict::applied);
  out.at += 1h;
  return out;
}

const auto ups
  = std::vector<health>{health::healthy, health::sleeping, health::degraded};

/// Down, and still there.
const auto downs
  = std::vector<health>{health::crashed, health::ended, health::removed};

} // namespace

CAF_TEST(what does not run any more has lapsed) {
  for (auto is : {health::crashed, health::ended, health::removed}) {
    auto x = running();
    const auto before = x.now;
    CAF_CHECK(x.observe(is, "d-1", "exit code 137") == verdict::applied);
    CAF_CHECK(x.effects == effects{effect::notify_down});
    CAF_CHECK(x.d().at == phase::lapsed);
    CAF_CHECK(x.d().phase_at == x.at);
    CAF_CHECK_EQUAL(x.d().error, "exit code 137");
    CAF_CHECK(x.d().ended_by == actor_kind::provider);
    CAF_CHECK(x.now.instance.status == instance_status::failed);
    CAF_CHECK(x.now.instance.health == is);
    // It is all still there, by all that we know.
    CAF_CHECK(!x.now.instance.deleted_at);
    CAF_CHECK_EQUAL(x.now.instance.public_url, "https://web.example");
    CAF_CHECK_EQUAL(x.d().deployment_id, "d-1");
    CAF_CHECK(x.d().completed_at == before.deployment.completed_at);
    CAF_CHECK_EQUAL(x.attempt(), before.deployment.attempt);
    CAF_CHECK(x.now.status == subscription_status::active);
    CAF_CHECK(x.now.end_at == before.end_at);
    CAF_CHECK(to_deployment_status(x.d().at) == deployment_status::failed);
    // Nothing is under way for it, and it is looked at further on.
    CAF_CHECK(!holds_slot(x.d().at));
    CAF_CHECK(resume(x.now).empty());
    CAF_CHECK(is_watched(x.now));
    CAF_CHECK(wake_at(x.now, x.with) == x.now.end_at);
    // Told once, whatever else becomes of it while it is down.
    for (auto also : downs)
      if (also != is) {
        auto y = x;
        CAF_CHECK(y.observe(also, "d-1", "gone") == verdict::applied);
        CAF_CHECK(y.effects.empty());
        CAF_CHECK(y.d().at == phase::lapsed);
        CAF_CHECK(y.d().phase_at == x.d().phase_at);
        CAF_CHECK_EQUAL(y.d().error, "gone");
        CAF_CHECK(y.now.instance.health == also);
      }
    CAF_CHECK(x.observe(is, "d-1", "exit code 137")
              == verdict::already_applied);
  }
}

CAF_TEST(what runs again has recovered) {
  for (auto down : downs)
    for (auto up : ups) {
      auto x = seen_as(down);
      CAF_CHECK(x.observe(up) == verdict::applied);
      CAF_CHECK(x.effects == effects{effect::notify_recovered});
      CAF_CHECK(x.d().at == phase::running);
      CAF_CHECK(x.d().phase_at == x.at);
      CAF_CHECK(x.d().ended_by == actor_kind::nobody);
      CAF_CHECK(x.d().error.empty());
      CAF_CHECK_EQUAL(x.d().progress, 100);
      CAF_CHECK(x.now.instance.status == instance_status::running);
      CAF_CHECK(x.now.instance.health == up);
      // That it sleeps is said by saying that it is back.
      CAF_CHECK(x.now.instance.sleep_told == (up == health::sleeping));
    }
}

CAF_TEST(no change is no news) {
  for (auto is : all_healths()) {
    if (is == health::unknown || is == health::missing)
      continue;
    auto x = seen_as(is);
    const auto before = x.now;
    CAF_CHECK(x.observe(is) == verdict::already_applied);
    CAF_CHECK(x.observe(is, "d-1") == verdict::already_applied);
    CAF_CHECK(x.now == before);
    CAF_CHECK(x.effects.empty());
  }
}

CAF_TEST(an instance that falls asleep is told of once) {
  auto x = running();
  CAF_CHECK(x.observe(health::sleeping) == verdict::applied);
  CAF_CHECK(x.effects == effects{effect::notify_changed});
  CAF_CHECK(x.d().at == phase::running);
  for (auto i = 0; i < 5; ++i) {
    x.at += 1h;
    CAF_CHECK(x.observe(health::healthy) == verdict::applied);
    CAF_CHECK(x.effects.empty());
    CAF_CHECK(x.observe(health::sleeping) == verdict::applied);
    CAF_CHECK(x.effects.empty());
  }
  // Another deployment may have been meant to stay awake.
  CAF_CHECK(x.observe(health::healthy, "d-2") == verdict::applied);
  CAF_CHECK(!x.now.instance.sleep_told);
  CAF_CHECK(x.observe(health::sleeping, "d-2") == verdict::applied);
  CAF_CHECK(x.effects == effects{effect::notify_changed});
  // And so may one that was deployed again by us.
  x.observe(health::crashed);
  x.retry();
  x.advance_to(phase::running);
  CAF_CHECK(!x.now.instance.sleep_told);
}

CAF_TEST(some replicas that crash are told of and all of them are down) {
  auto x = running();
  CAF_CHECK(x.observe(health::degraded, "d-1", "1 of 2 has crashed")
            == verdict::applied);
  CAF_CHECK(x.effects == effects{effect::notify_changed});
  CAF_CHECK(x.d().at == phase::running);
  CAF_CHECK_EQUAL(x.d().error, "1 of 2 has crashed");
  CAF_CHECK(x.now.instance.status == instance_status::running);
  CAF_CHECK(x.observe(health::healthy) == verdict::applied);
  CAF_CHECK(x.effects.empty());
  CAF_CHECK(x.d().error.empty());
  x.observe(health::degraded);
  CAF_CHECK(x.observe(health::crashed) == verdict::applied);
  CAF_CHECK(x.effects == effects{effect::notify_down});
}

CAF_TEST(somebody else deploys again) {
  auto x = running();
  CAF_CHECK(x.observe(health::healthy, "d-2") == verdict::applied);
  CAF_CHECK(x.effects == effects{effect::notify_changed});
  CAF_CHECK(x.d().at == phase::running);
  CAF_CHECK_EQUAL(x.d().deployment_id, "d-2");
  CAF_CHECK(x.observe(health::healthy, "d-2") == verdict::already_applied);
  // One look without a number takes nothing back.
  CAF_CHECK(x.observe(health::healthy) == verdict::already_applied);
  CAF_CHECK_EQUAL(x.d().deployment_id, "d-2");
  // One that crashes at once is down, and that is all there is to say.
  CAF_CHECK(x.observe(health::crashed, "d-3") == verdict::applied);
  CAF_CHECK(x.effects == effects{effect::notify_down});
  CAF_CHECK_EQUAL(x.d().deployment_id, "d-3");
  CAF_CHECK(x.observe(health::crashed, "d-4") == verdict::applied);
  CAF_CHECK(x.effects.empty());
  CAF_CHECK_EQUAL(x.d().deployment_id, "d-4");
  CAF_CHECK(x.observe(health::healthy, "d-5") == verdict::applied);
  CAF_CHECK(x.effects == effects{effect::notify_recovered});
}

CAF_TEST(the first deployment that we hear of is nobody elses) {
  auto x = paid_at(phase::configuring);
  x.feed(configured{x.at, 1, "s-1", "web", {}, "https://web.example"});
  x.advance_to(phase::running);
  CAF_REQUIRE(x.d().deployment_id.empty());
  CAF_CHECK(x.observe(health::healthy, "d-1") == verdict::applied);
  CAF_CHECK(x.effects.empty());
  CAF_CHECK_EQUAL(x.d().deployment_id, "d-1");
  const auto known = x.now;
  const auto what
    = instance_observed{x.at, 1, health::healthy, "d-2", "SUCCESS", {}};
  CAF_CHECK(x.feed(what) == verdict::applied);
  CAF_CHECK(x.effects == effects{effect::notify_changed});
  CAF_CHECK_EQUAL(describe(what, known, x.now),
                  "Instance is healthy (provider: SUCCESS), redeployed outside "
                  "of Slipway as d-2");
}

CAF_TEST(a project that is missing is an instance that is deleted) {
  for (auto from : {health::healthy, health::crashed}) {
    auto x = seen_as(from);
    const auto was_down = x.d().at == phase::lapsed;
    CAF_CHECK(x.observe(health::missing, {}, "the project is gone")
              == verdict::applied);
    CAF_CHECK(x.effects
              == (was_down ? effects{} : effects{effect::notify_down}));
    CAF_CHECK(x.d().at == phase::lapsed);
    const auto& i = x.now.instance;
    CAF_CHECK(i.status == instance_status::deleted);
    CAF_CHECK(i.deleted_at == x.at);
    CAF_CHECK(i.health == health::missing);
    CAF_CHECK(i.public_url.empty());
    CAF_CHECK(x.d().deployment_id.empty());
    CAF_CHECK_EQUAL(x.d().error, "the project is gone");
    CAF_CHECK(x.now.status == subscription_status::active);
    // There is nothing to look at any more, and nothing to take away.
    CAF_CHECK(!is_watched(x.now));
    const auto before = x.now;
    for (auto is : all_healths())
      CAF_CHECK(x.observe(is, "d-9") == verdict::stale);
    CAF_CHECK(x.terminate() == verdict::nothing_to_terminate);
    CAF_CHECK(x.cancel() == verdict::nothing_to_cancel);
    CAF_CHECK(x.now == before);
    // Whoever deploys again gets another one.
    CAF_CHECK(x.retry() == verdict::applied);
    x.advance_to(phase::creating_project);
    CAF_CHECK_EQUAL(x.now.instance.seq, 2u);
    CAF_CHECK(x.now.instance.project_id.empty());
    x.advance_to(phase::running);
    CAF_CHECK(x.d().at == phase::running);
  }
}

CAF_TEST(what is seen counts for the instance that was looked at) {
  auto x = running();
  x.terminate();
  x.confirm();
  x.retry();
  x.advance_to(phase::running);
  CAF_REQUIRE_EQUAL(x.now.instance.seq, 2u);
  const auto before = x.now;
  for (auto seq : {0u, 1u, 3u})
    for (auto is : all_healths())
      CAF_CHECK(x.feed(instance_observed{x.at, seq, is, "d-1", "X", "late"})
                == verdict::stale);
  CAF_CHECK(x.now == before);
  CAF_CHECK(x.observe(health::crashed) == verdict::applied);
}

CAF_TEST(only what came to run is looked at) {
  for (auto at : all_phases()) {
    auto x = paid_at(at);
    CAF_REQUIRE(x.d().at == at);
    const auto watched = at == phase::running || at == phase::lapsed;
    CAF_CHECK(is_watched(x.now) == watched);
    const auto before = x.now;
    for (auto is : {health::removed, health::missing, health::sleeping}) {
      auto y = x;
      CAF_CHECK(y.observe(is, "d-2")
                == (watched ? verdict::applied : verdict::stale));
      if (!watched)
        CAF_CHECK(y.now == before);
    }
    // Nobody learns anything from a look that saw nothing.
    CAF_CHECK(x.observe(health::unknown, "d-2") == verdict::stale);
  }
}

CAF_TEST(an instance that is down can be deployed again) {
  auto x = paid_at(phase::lapsed);
  CAF_CHECK(x.cancel() == verdict::nothing_to_cancel);
  CAF_CHECK(x.retry() == verdict::applied);
  CAF_CHECK(x.effects == effects{effect::request_slot});
  CAF_CHECK_EQUAL(x.d().progress, 0);
  CAF_CHECK(!x.d().completed_at);
  CAF_CHECK(x.d().error.empty());
  x.advance_to(phase::creating_project);
  // In the project that there is; the deployment that crashed is known.
  CAF_CHECK_EQUAL(x.now.instance.seq, 1u);
  CAF_CHECK_EQUAL(x.now.instance.project_id, "p-1");
  CAF_CHECK_EQUAL(x.d().deployment_id, "d-1");
  CAF_CHECK(x.now.instance.status == instance_status::initializing);
  // Nobody says that it has crashed while it is being built.
  CAF_CHECK(x.now.instance.health == health::unknown);
  x.advance_to(phase::running);
  CAF_CHECK(x.now.instance.health == health::healthy);
}

CAF_TEST(another period brings back what is down and leaves what runs) {
  auto down = paid_at(phase::lapsed);
  down.renew();
  CAF_CHECK(down.now.status == subscription_status::active);
  CAF_CHECK(down.d().at == phase::queued);
  CAF_CHECK_EQUAL(count(down.effects, effect::request_slot), 1);
  auto up = paid_at(phase::running);
  up.observe(health::sleeping);
  up.renew();
  CAF_CHECK(up.now.status == subscription_status::active);
  CAF_CHECK(up.d().at == phase::running);
  CAF_CHECK(up.now.instance.health == health::sleeping);
}

CAF_TEST(money that goes back does not hide an instance) {
  for (auto at : {phase::running, phase::lapsed}) {
    auto x = paid_at(at);
    x.see_total(1, price);
    CAF_CHECK(x.d().at == at);
    CAF_CHECK(is_watched(x.now));
    CAF_CHECK(x.observe(health::missing) == verdict::applied);
  }
}

CAF_TEST(the history says what was seen) {
  auto x = running();
  const auto words = [&](const instance_observed& what) {
    const auto before = x.now;
    CAF_REQUIRE(x.feed(what) == verdict::applied);
    return describe(what, before, x.now);
  };
  CAF_CHECK_EQUAL(
    words({x.at, 1, health::crashed, "d-1", "CRASHED", "exit code 137"}),
    "Instance is crashed (provider: CRASHED): exit code 137");
  CAF_CHECK_EQUAL(words({x.at, 1, health::healthy, "d-2", "SUCCESS", {}}),
                  "Instance is healthy (provider: SUCCESS), redeployed outside "
                  "of Slipway as d-2");
  CAF_CHECK_EQUAL(words({x.at, 1, health::missing, {}, {}, {}}),
                  "Instance is missing");
}

#define CAF_SUITE lifecycle.termination

#include "tests/support/lifecycle_states.hpp"

#include <caf/test/unit_test.hpp>

using namespace slipway;
using namespace slipway::test;

// Goal: whatever is to be taken away is really gone before anybody says so, and
// whoever pays meanwhile gets an instance.

namespace {

using effects = std::vector<effect>;

/// Expired, with an order open for another period.
driver expired(phase at) {
  auto x = paid_at(at);
  x.at = *x.now.end_at;
  x.wake();
  CAF_REQUIRE(x.now.status == subscription_status::expired);
  x.open_order();
  return x;
}

/// Failed for good, and left something at the provider.
driver failed_with_a_project() {
  auto out = paid_at(phase::deploying);
  auto what = step_failed{};
  what.at = out.at;
  what.attempt = out.attempt();
  what.in = phase::deploying;
  what.hopeless = true;
  what.reason = "no such image";
  out.feed(what);
  out.halt();
  return out;
}

verdict renew(driver& x) {
  return x.pay(2, "t-2");
}

} // namespace

CAF_TEST(what came to run or failed is terminated without a slot) {
  for (auto at : {phase::running, phase::lapsed, phase::failed}) {
    auto x = at == phase::failed ? failed_with_a_project() : paid_at(at);
    CAF_REQUIRE(x.d().at == at);
    x.at += 1h;
    const auto before = x.now;
    CAF_CHECK(x.terminate() == verdict::applied);
    CAF_CHECK(x.d().at == phase::terminating);
    CAF_CHECK(x.effects == effects{effect::run_step});
    CAF_CHECK(x.d().ended_by == actor_kind::operator_);
    CAF_CHECK(x.d().phase_at == x.at);
    CAF_CHECK(x.d().error.empty());
    CAF_CHECK(!holds_slot(x.d().at));
    CAF_CHECK(has_step(x.d().at));
    CAF_CHECK(!is_settled(x.d().at));
    CAF_CHECK(to_deployment_status(x.d().at) == deployment_status::stopped);
    // Nothing is gone before it is confirmed.
    CAF_CHECK(x.now.instance == before.instance);
    CAF_CHECK(x.now.status == subscription_status::active);
    // It has no deadline, and a restart goes on with it.
    CAF_CHECK(!x.d().deadline_at);
    CAF_CHECK(wake_at(x.now, x.with) == x.now.end_at);
    CAF_CHECK(resume(x.now) == effects{effect::run_step});
    x.at += 1min;
    CAF_CHECK(x.confirm() == verdict::applied);
    CAF_CHECK(x.d().at == phase::stopped);
    CAF_CHECK(x.effects
              == (effects{effect::release_slot, effect::notify_terminated}));
    CAF_CHECK(x.now.instance.status == instance_status::deleted);
    CAF_CHECK(x.now.instance.deleted_at == x.at);
    CAF_CHECK(x.now.instance.health == instance_health::unknown);
    CAF_CHECK(x.now.instance.public_url.empty());
    CAF_CHECK(x.d().completed_at == x.at);
    CAF_CHECK(x.d().ended_by == actor_kind::operator_);
    CAF_CHECK(x.d().deployment_id.empty());
    CAF_CHECK(x.now.status == subscription_status::active);
    CAF_CHECK(x.confirm() == verdict::stale);
  }
}

CAF_TEST(under way a termination is a cancellation and keeps the slot) {
  for (auto at : all_phases()) {
    if (!works(at) || leaves(at))
      continue;
    auto x = paid_at(at);
    x.at += 1s;
    CAF_CHECK(x.terminate() == verdict::applied);
    CAF_CHECK(x.d().at == phase::cancelling);
    CAF_CHECK(x.effects == effects{effect::run_step});
    CAF_CHECK(x.d().ended_by == actor_kind::operator_);
    CAF_CHECK(x.confirm() == verdict::applied);
    CAF_CHECK(x.effects
              == (effects{effect::release_slot, effect::notify_cancelled}));
    CAF_CHECK(x.d().at == phase::stopped);
  }
  // In the queue there is nothing at the provider to wait for.
  auto x = paid_at(phase::queued);
  CAF_CHECK(x.terminate() == verdict::applied);
  CAF_CHECK(x.d().at == phase::stopped);
  CAF_CHECK(x.effects
            == (effects{effect::release_slot, effect::notify_cancelled}));
}

CAF_TEST(what is not there cannot be terminated) {
  for (auto at : {phase::idle, phase::skipped, phase::stopped, phase::failed}) {
    // This one failed before it had a project.
    auto x = paid_at(at);
    const auto before = x.now;
    CAF_CHECK(x.terminate() == verdict::nothing_to_terminate);
    CAF_CHECK(x.now == before);
    CAF_CHECK(x.effects.empty());
  }
  // What may have been created and was never seen has to be looked for.
  auto x = paid_at(phase::creating_project);
  x.feed(project_create_started{x.at, x.attempt()});
  while (x.d().at != phase::failed)
    if (x.d().at == phase::creating_project)
      x.fail(true);
    else
      x.advance_to(phase::creating_project);
  CAF_REQUIRE(x.now.instance.project_id.empty());
  CAF_CHECK(x.terminate() == verdict::applied);
  CAF_CHECK(x.d().at == phase::terminating);
  CAF_CHECK(x.d().intent_at.has_value());
  x.confirm();
  CAF_CHECK(!x.d().intent_at);
}

CAF_TEST(saying it twice is saying it once) {
  for (auto at : {phase::terminating, phase::cancelling}) {
    auto x = paid_at(at);
    const auto before = x.now;
    x.at += 1h;
    CAF_CHECK(x.terminate() == verdict::already_applied);
    CAF_CHECK(x.terminate(actor_kind::user) == verdict::already_applied);
    CAF_CHECK(x.cancel()
              == (at == phase::cancelling ? verdict::already_applied
                                          : verdict::nothing_to_cancel));
    CAF_CHECK(x.retry() == verdict::under_way);
    CAF_CHECK(
      x.feed(slot_granted{x.at})
      == (at == phase::cancelling ? verdict::already_applied : verdict::stale));
    CAF_CHECK(x.observe(instance_health::missing) == verdict::stale);
    CAF_CHECK(x.now == before);
  }
}

CAF_TEST(a removal is tried until it is confirmed) {
  auto x = paid_at(phase::terminating);
  for (auto i = 1u; i <= 50; ++i) {
    auto what = step_failed{};
    what.at = x.at;
    what.attempt = x.attempt();
    what.in = phase::terminating;
    what.permanent = i % 3 == 1;
    what.hopeless = i % 3 == 2;
    what.reason = "refused";
    what.chance = chance_max;
    CAF_CHECK(x.feed(what) == verdict::applied);
    CAF_CHECK(x.effects.empty());
    CAF_CHECK(x.d().at == phase::terminating);
    CAF_CHECK_EQUAL(x.d().tries, i);
    CAF_CHECK_EQUAL(x.d().error, "refused");
    CAF_CHECK(x.d().retry_at <= x.at + x.with.backoff_max);
    CAF_CHECK(wake_at(x.now, x.with) == x.d().retry_at);
    CAF_CHECK(resume(x.now).empty());
    x.at = *x.d().retry_at;
    CAF_CHECK(x.wake() == verdict::applied);
    CAF_CHECK(x.effects == effects{effect::run_step});
    CAF_CHECK(resume(x.now) == effects{effect::run_step});
  }
  CAF_CHECK(!x.now.instance.deleted_at);
  CAF_CHECK(x.confirm() == verdict::applied);
  CAF_CHECK(x.now.instance.deleted_at == x.at);
}

CAF_TEST(the end of a period does not end a removal) {
  auto x = paid_at(phase::terminating);
  x.at = *x.now.end_at;
  CAF_CHECK(x.wake() == verdict::applied);
  CAF_CHECK(x.now.status == subscription_status::expired);
  CAF_CHECK(x.d().at == phase::terminating);
  CAF_CHECK(x.confirm() == verdict::applied);
  CAF_CHECK(x.d().at == phase::stopped);
}

CAF_TEST(whoever pays during a removal gets another instance) {
  for (auto at : {phase::terminating, phase::cancelling}) {
    auto x = expired(at);
    const auto was = x.attempt();
    CAF_CHECK(renew(x) == verdict::applied);
    CAF_CHECK(x.effects == effects{effect::notify_paid});
    CAF_CHECK(x.now.status == subscription_status::active);
    CAF_CHECK(x.d().at == at);
    const auto paid_at = x.at;
    x.at += 2h;
    CAF_CHECK(x.confirm() == verdict::applied);
    CAF_CHECK(x.d().at == phase::queued);
    CAF_CHECK_EQUAL(count(x.effects, effect::release_slot), 1);
    CAF_CHECK_EQUAL(count(x.effects, effect::request_slot), 1);
    // By the time of its payment, not by that of the confirmation.
    CAF_CHECK(x.d().queue_rank == paid_at);
    CAF_CHECK(x.d().queued_at == x.at);
    CAF_CHECK_EQUAL(x.attempt(), was + 1);
    CAF_CHECK_EQUAL(x.d().attempt_limit, was + 3);
    CAF_CHECK_EQUAL(x.d().progress, 0);
    CAF_CHECK(!x.d().completed_at);
    CAF_CHECK(x.d().ended_by == actor_kind::nobody);
    CAF_CHECK(x.now.instance.status == instance_status::deleted);
    x.advance_to(phase::running);
    CAF_CHECK(x.d().at == phase::running);
    CAF_CHECK_EQUAL(x.now.instance.seq, 2u);
  }
}

CAF_TEST(times do not say what came first) {
  // A payment whose callback came in before the operator's wish, and was
  // decided after it.
  auto late = expired(phase::running);
  late.at += 5s;
  late.terminate();
  late.at -= 5s;
  renew(late);
  late.at += 1min;
  late.confirm();
  CAF_CHECK(late.d().at == phase::queued);
  // Both at once.
  auto same = expired(phase::running);
  same.terminate();
  renew(same);
  same.confirm();
  CAF_CHECK(same.d().at == phase::queued);
  // The other way round: the wish was for what the payment had kept.
  auto early = expired(phase::running);
  early.at += 5s;
  renew(early);
  early.at -= 5s;
  early.terminate();
  early.at += 1min;
  early.confirm();
  CAF_CHECK(early.d().at == phase::stopped);
}

CAF_TEST(an earlier payment starts nothing anew) {
  for (auto at : {phase::terminating, phase::cancelling}) {
    auto x = paid_at(at);
    x.at += 1min;
    // A repetition is no payment, nor is one that buys nothing.
    x.pay();
    x.confirm();
    CAF_CHECK(x.d().at == phase::stopped);
    CAF_CHECK_EQUAL(count(x.effects, effect::request_slot), 0);
  }
}

CAF_TEST(a removal that began again forgets who paid before it) {
  auto x = expired(phase::terminating);
  renew(x);
  x.confirm();
  CAF_REQUIRE(x.d().at == phase::queued);
  x.advance_to(phase::deploying);
  x.cancel();
  CAF_CHECK(!x.d().queue_rank);
  x.confirm();
  CAF_CHECK(x.d().at == phase::stopped);
}

CAF_TEST(money that went back meanwhile starts nothing anew) {
  auto x = expired(phase::terminating);
  renew(x);
  x.see_total(2, price);
  CAF_CHECK(x.now.status == subscription_status::refunded);
  CAF_CHECK(x.d().at == phase::terminating);
  x.confirm();
  CAF_CHECK(x.d().at == phase::stopped);
}

CAF_TEST(without a provider nothing starts anew) {
  auto x = expired(phase::terminating);
  renew(x);
  x.with.provider = false;
  x.confirm();
  CAF_CHECK(x.d().at == phase::stopped);
  CAF_CHECK(x.now.status == subscription_status::active);
  x.with.provider = true;
  CAF_CHECK(x.retry() == verdict::applied);
}

CAF_TEST(a refund ends what is under way and leaves what runs to a person) {
  for (auto at : {phase::running, phase::lapsed, phase::terminating}) {
    auto x = paid_at(at);
    x.see_total(1, price);
    CAF_CHECK(x.d().at == at);
    CAF_CHECK(x.effects == effects{effect::notify_refunded});
    CAF_CHECK(x.terminate()
              == (at == phase::terminating ? verdict::already_applied
                                           : verdict::applied));
    CAF_CHECK(x.confirm() == verdict::applied);
    CAF_CHECK(x.d().at == phase::stopped);
  }
}

CAF_TEST(the history says who ended it and what was confirmed) {
  auto x = paid_at(phase::running);
  const auto words = [&](const event& what) {
    const auto before = x.now;
    CAF_REQUIRE(x.feed(what) == verdict::applied);
    return describe(what, before, x.now);
  };
  CAF_CHECK_EQUAL(words(terminate_requested{x.at, actor_kind::operator_}),
                  "Termination requested by operator");
  CAF_CHECK_EQUAL(words(cancellation_confirmed{x.at}),
                  "The provider has confirmed that nothing is left");
}

#define CAF_SUITE lifecycle.deployment

#include "tests/support/lifecycle_states.hpp"

#include <caf/test/unit_test.hpp>

using namespace slipway;
using namespace slipway::test;

CAF_TEST(a kind provider leads from payment to running) {
  auto x = paid_at(phase::queued);
  auto seen = std::vector<phase>{x.d().at};
  auto progress = std::vector<int>{x.d().progress};
  while (!is_settled(x.d().at)) {
    x.at += 1s;
    CAF_REQUIRE(x.feed(x.progress_event()) == verdict::applied);
    seen.push_back(x.d().at);
    progress.push_back(x.d().progress);
  }
  CAF_CHECK(seen
            == (std::vector<phase>{phase::queued, phase::creating_project,
                                   phase::deploying_template,
                                   phase::awaiting_workflow, phase::configuring,
                                   phase::deploying, phase::running}));
  CAF_CHECK(std::is_sorted(progress.begin(), progress.end()));
  CAF_CHECK_EQUAL(progress.back(), 100);
  const auto& i = x.now.instance;
  CAF_CHECK_EQUAL(i.seq, 1u);
  CAF_CHECK(i.status == instance_status::running);
  CAF_CHECK_EQUAL(i.project_id, "p-1");
  CAF_CHECK_EQUAL(i.public_url, "https://web.example");
  CAF_CHECK(
    x.effects
    == (std::vector<effect>{effect::release_slot, effect::notify_running}));
}

CAF_TEST(services that are in place need no workflow) {
  auto x = paid_at(phase::deploying_template);
  x.feed(template_deployed{x.at, x.attempt(), {}});
  CAF_CHECK(x.d().at == phase::configuring);
}

CAF_TEST(an announcement stays until its end is known) {
  auto x = paid_at(phase::creating_project);
  CAF_CHECK(x.feed(project_create_started{x.at, x.attempt()})
            == verdict::applied);
  CAF_CHECK(x.d().intent_at == x.at);
  CAF_CHECK(x.effects.empty());
  // Not knowing how it ended keeps it, over attempts, too.
  x.fail(false);
  CAF_CHECK(x.d().intent_at.has_value());
  x.at = *x.d().deadline_at;
  x.feed(woke{x.at, 0});
  // Its template may be building already.
  CAF_CHECK(x.d().at == phase::halting);
  CAF_CHECK(x.d().intent_at.has_value());
  x.halt();
  CAF_CHECK(x.d().at == phase::backing_off);
  CAF_CHECK(x.d().intent_at.has_value());
  x.advance_to(phase::creating_project);
  CAF_CHECK(x.d().intent_at.has_value());
  x.advance_to(phase::deploying_template);
  CAF_CHECK(!x.d().intent_at.has_value());
}

CAF_TEST(a project that was found keeps the announcement) {
  for (const auto adopted : {true, false}) {
    auto x = paid_at(phase::creating_project);
    x.feed(project_create_started{x.at, x.attempt()});
    x.at += 1s;
    CAF_CHECK(x.feed(project_ready{x.at, x.attempt(), "p-1", "e-1", adopted})
              == verdict::applied);
    CAF_CHECK(x.d().at == phase::deploying_template);
    // Whoever made it may have gone on to the template just now; we have not.
    CAF_CHECK(x.d().intent_at
              == (adopted ? std::optional{x.at} : std::nullopt));
  }
}

CAF_TEST(a template that may have been deployed is remembered) {
  auto x = paid_at(phase::deploying_template);
  x.feed(template_deploy_started{x.at, x.attempt()});
  const auto announced = x.at;
  x.at = *x.d().deadline_at;
  x.feed(woke{x.at, 0});
  CAF_CHECK(x.d().at == phase::halting);
  CAF_CHECK(x.d().intent_at == announced);
  x.advance_to(phase::deploying_template);
  CAF_CHECK_EQUAL(x.attempt(), 2u);
  CAF_CHECK(x.d().intent_at == announced);
  x.advance_to(phase::awaiting_workflow);
  CAF_CHECK(!x.d().intent_at);
}

CAF_TEST(attempts run out and the user is told once) {
  auto x = paid_at(phase::queued);
  auto told = 0;
  auto attempts = std::vector<std::uint32_t>{};
  while (x.d().at != phase::failed) {
    x.advance_to(phase::deploying);
    attempts.push_back(x.attempt());
    x.feed(deployment_observed{x.at, x.attempt(), condition::failed, 0,
                               "FAILED", "exit code 1", 0});
    CAF_CHECK(x.d().at == phase::halting);
    CAF_CHECK(x.effects == std::vector<effect>{effect::run_step});
    CAF_CHECK(x.halt() == verdict::applied);
    told += count(x.effects, effect::notify_failed);
    CAF_CHECK_EQUAL(count(x.effects, effect::release_slot), 1);
  }
  CAF_CHECK(attempts == (std::vector<std::uint32_t>{1, 2, 3}));
  CAF_CHECK_EQUAL(told, 1);
  CAF_CHECK_EQUAL(x.d().error, "exit code 1");
  CAF_CHECK(x.now.instance.status == instance_status::failed);
  CAF_CHECK(x.feed(retry_requested{x.at, actor_kind::user})
            == verdict::applied);
  CAF_CHECK_EQUAL(x.attempt(), 4u);
  CAF_CHECK_EQUAL(x.d().attempt_limit, 6u);
  x.advance_to(phase::running);
  // The instance that failed before is taken up again.
  CAF_CHECK_EQUAL(x.now.instance.seq, 1u);
  CAF_CHECK(x.d().error.empty());
}

CAF_TEST(backoff grows to its limit and chance spreads it) {
  auto x = paid_at(phase::creating_project);
  x.with.deadline = 24h;
  auto cap = x.with.backoff_initial;
  for (auto i = 0; i < 10; ++i) {
    auto none = x;
    none.fail(false, 0);
    CAF_CHECK(*none.d().retry_at == none.at);
    auto half = x;
    half.fail(false, chance_max / 2);
    CAF_CHECK(*half.d().retry_at - half.at <= cap / 2);
    CAF_CHECK(*half.d().retry_at - half.at >= cap / 2 - 1ms);
    x.fail(false, chance_max);
    CAF_CHECK(*x.d().retry_at - x.at == cap);
    cap = std::min(cap * 2, x.with.backoff_max);
  }
  // The provider's word goes above ours.
  x.fail(false, chance_max, 90s);
  CAF_CHECK(*x.d().retry_at == x.at + 90s);
}

CAF_TEST(attempts back off longer each time) {
  auto x = paid_at(phase::creating_project);
  auto delays = std::vector<millis>{};
  for (auto i = 0; i < 2; ++i) {
    x.fail(true, chance_max);
    delays.push_back(*x.d().retry_at - x.at);
    x.at = *x.d().retry_at;
    x.feed(woke{x.at, 0});
    x.feed(slot_granted{x.at});
  }
  CAF_CHECK(delays == (std::vector<millis>{5s, 10s}));
}

CAF_TEST(the queue forgets a cancelled deployment that left nothing) {
  auto x = paid_at(phase::queued);
  CAF_CHECK(x.feed(cancel_requested{x.at, actor_kind::user})
            == verdict::applied);
  CAF_CHECK(x.d().at == phase::stopped);
  CAF_CHECK(
    x.effects
    == (std::vector<effect>{effect::release_slot, effect::notify_cancelled}));
  CAF_CHECK(x.feed(slot_granted{x.at}) == verdict::stale);
}

CAF_TEST(a cancellation from the queue looks for what may be left) {
  auto x = paid_at(phase::deploying_template);
  x.fail(true);
  x.halt();
  CAF_REQUIRE(x.d().at == phase::backing_off);
  x.feed(cancel_requested{x.at, actor_kind::user});
  CAF_CHECK(x.d().at == phase::cancelling);
  CAF_CHECK(x.effects == std::vector<effect>{effect::run_step});

  auto y = paid_at(phase::creating_project);
  y.feed(project_create_started{y.at, y.attempt()});
  y.fail(true);
  y.feed(cancel_requested{y.at, actor_kind::user});
  CAF_CHECK(y.d().at == phase::cancelling);
}

CAF_TEST(a cancellation is tried until it is confirmed) {
  auto x = paid_at(phase::cancelling);
  for (auto i = 0; i < 50; ++i) {
    CAF_CHECK(x.fail(true) == verdict::applied);
    CAF_CHECK(x.d().at == phase::cancelling);
    x.at = *x.d().retry_at;
    CAF_CHECK(x.feed(woke{x.at, 0}) == verdict::applied);
    CAF_CHECK(x.effects == std::vector<effect>{effect::run_step});
  }
  CAF_CHECK(x.now.instance.status != instance_status::deleted);
  CAF_CHECK(x.feed(cancellation_confirmed{x.at}) == verdict::applied);
  CAF_CHECK(x.d().at == phase::stopped);
  CAF_CHECK(x.now.instance.status == instance_status::deleted);
  CAF_CHECK(x.now.instance.deleted_at == x.at);
  CAF_CHECK(x.now.instance.public_url.empty());
  CAF_CHECK(!x.d().intent_at);
  CAF_CHECK(
    x.effects
    == (std::vector<effect>{effect::release_slot, effect::notify_cancelled}));
}

CAF_TEST(whoever deploys again after a cancellation gets another instance) {
  auto x = paid_at(phase::stopped);
  CAF_CHECK(x.feed(retry_requested{x.at, actor_kind::user})
            == verdict::applied);
  x.feed(slot_granted{x.at});
  CAF_CHECK_EQUAL(x.now.instance.seq, 2u);
  CAF_CHECK(x.now.instance.project_id.empty());
  CAF_CHECK(!x.now.instance.deleted_at);
  CAF_CHECK(x.d().deployment_id.empty());
  x.advance_to(phase::running);
  CAF_CHECK(x.d().at == phase::running);
}

CAF_TEST(what the provider reports moves forward only) {
  auto x = paid_at(phase::deploying);
  const auto report = [&](std::uint8_t progress) {
    return x.feed(deployment_observed{
      x.at, x.attempt(), condition::in_progress, progress, "BUILDING", {}, 0});
  };
  CAF_CHECK(report(60) == verdict::applied);
  CAF_CHECK(report(50) == verdict::already_applied);
  CAF_CHECK(report(60) == verdict::already_applied);
  CAF_CHECK(report(255) == verdict::applied);
  CAF_CHECK_EQUAL(x.d().progress, 99);
}

CAF_TEST(every phase has its place in the outside world) {
  using ds = deployment_status;
  const auto expected = std::vector<ds>{
    ds::pending,  ds::pending,  ds::pending,     ds::creating,
    ds::creating, ds::creating, ds::configuring, ds::deploying,
    ds::running,  ds::failed,   ds::stopped,     ds::stopped,
    ds::pending,  ds::failed,   ds::stopped,     ds::deploying};
  for (auto at : all_phases())
    CAF_CHECK(to_deployment_status(at) == expected[static_cast<size_t>(at)]);
}

CAF_TEST(what each phase asks for is written down twice) {
  for (auto at : all_phases()) {
    CAF_CHECK(holds_slot(at) == works(at));
    CAF_CHECK(has_step(at) == has_work(at));
    CAF_CHECK(is_settled(at) == !is_under_way(at));
    auto s = state{};
    s.deployment.at = at;
    const auto ran = at == phase::running || at == phase::lapsed;
    CAF_CHECK(!is_watched(s));
    s.instance.seq = 1;
    CAF_CHECK(is_watched(s) == ran);
    s.instance.deleted_at = day_one;
    CAF_CHECK(!is_watched(s));
  }
  for (auto is : all_healths())
    CAF_CHECK(is_up(is) == serves(is));
}

CAF_TEST(names are known for every value) {
  for (auto at : all_phases())
    CAF_CHECK(!to_string(at).empty() && to_string(at) != "?");
  for (std::uint8_t i = 0; i < verdict_count; ++i)
    CAF_CHECK(to_string(static_cast<verdict>(i)) != "?");
  for (auto i = 0; i < 6; ++i) {
    CAF_CHECK(to_string(static_cast<subscription_status>(i)) != "?");
    CAF_CHECK(to_string(static_cast<payment_method>(i)) != "?");
    CAF_CHECK(to_string(static_cast<order_status>(i)) != "?");
  }
  for (std::uint8_t i = 0; i < effect_count; ++i)
    CAF_CHECK(to_string(static_cast<effect>(i)) != "?");
  for (auto i = 0; i < 5; ++i) {
    CAF_CHECK(to_string(static_cast<refund_cause>(i)) != "?");
    CAF_CHECK(to_string(static_cast<instance_status>(i)) != "?");
    CAF_CHECK(to_string(static_cast<actor_kind>(i)) != "?");
  }
  // Stored in PostgreSQL and promised to clients.
  CAF_CHECK_EQUAL(to_string(subscription_status::active), "ACTIVE");
  CAF_CHECK_EQUAL(to_string(order_status::refunding), "REFUNDING");
  // As long as the gateway has not closed it, it can be paid.
  CAF_CHECK_EQUAL(to_string(order_status::closing), "PENDING");
  CAF_CHECK_EQUAL(static_cast<int>(order_status::closing), 5);
  CAF_CHECK_EQUAL(to_string(refund_cause::late_payment), "late_payment");
  CAF_CHECK_EQUAL(static_cast<int>(refund_cause::deployment_failed), 4);
  CAF_CHECK_EQUAL(to_string(phase::backing_off), "backing_off");
  CAF_CHECK_EQUAL(static_cast<int>(phase::backing_off), 12);
  CAF_CHECK_EQUAL(to_string(phase::lapsed), "lapsed");
  CAF_CHECK_EQUAL(static_cast<int>(phase::lapsed), 13);
  CAF_CHECK_EQUAL(to_string(phase::terminating), "terminating");
  CAF_CHECK_EQUAL(static_cast<int>(phase::terminating), 14);
  CAF_CHECK_EQUAL(to_string(phase::halting), "halting");
  CAF_CHECK_EQUAL(static_cast<int>(phase::halting), 15);
  const auto healths = std::vector<std::string_view>{
    "unknown", "healthy", "sleeping", "degraded",
    "crashed", "ended",   "removed",  "missing"};
  for (auto is : all_healths())
    CAF_CHECK_EQUAL(to_string(is), healths[static_cast<size_t>(is)]);
  CAF_CHECK_EQUAL(to_string(verdict::nothing_to_terminate),
                  "nothing_to_terminate");
  CAF_CHECK_EQUAL(to_string(effect::notify_changed), "notify_changed");
  CAF_CHECK_EQUAL(name_of(terminate_requested{}), "terminate_requested");
  CAF_CHECK_EQUAL(name_of(halted{}), "halted");
  CAF_CHECK_EQUAL(name_of(instance_observed{}), "instance_observed");
}

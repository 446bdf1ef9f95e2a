#define CAF_SUITE lifecycle.histories

#include "tests/support/lifecycle_states.hpp"

#include <caf/test/unit_test.hpp>

#include <random>

using namespace slipway;
using namespace slipway::test;

// Goal: crashes, repetitions and reordering lose nothing. The world around the
// machine is a bag of messages from which chance draws; a crash empties it, and
// what `resume` names is all that is left. When the world turns kind, every
// history has to come to rest.

namespace {

struct world {
  std::mt19937_64 random;
  driver x;
  std::vector<event> bag;
  std::uint64_t entered_running = 0;
  std::uint64_t entered_failed = 0;
  std::uint64_t told_running = 0;
  std::uint64_t told_failed = 0;
  std::uint64_t told_paid = 0;
  int at_work = 0; ///< Steps ordered and not ended, as slots.
  int crashes = 0;

  explicit world(std::uint64_t seed) : random{seed} {
    x.with.attempts = 1 + roll(3);
    x.with.deadline = 5min;
  }

  std::uint32_t roll(std::uint32_t sides) {
    return static_cast<std::uint32_t>(random() % sides);
  }

  void perform(const std::vector<effect>& effects, bool kind) {
    for (auto e : effects)
      if (e == effect::request_slot || e == effect::run_step)
        answer(kind);
  }

  /// What the outside makes of the present step.
  void answer(bool kind) {
    const auto& d = x.d();
    if (kind || roll(3) != 0) {
      bag.push_back(x.progress_event());
      if (!kind && roll(4) == 0)
        bag.push_back(bag.back());
    }
    if (kind || !works(d.at))
      return;
    if (roll(3) == 0)
      bag.push_back(project_create_started{x.at, d.attempt});
    if (roll(3) == 0)
      bag.push_back(template_deploy_started{x.at, d.attempt});
    if (roll(3) == 0) {
      auto failed = step_failed{};
      failed.at = x.at;
      failed.attempt = d.attempt;
      failed.in = d.at;
      failed.permanent = roll(2) == 0;
      failed.without_effect = roll(2) == 0;
      failed.hopeless = roll(20) == 0;
      failed.reason = "chance";
      failed.chance = static_cast<std::uint32_t>(random());
      bag.push_back(failed);
    }
    if (roll(4) == 0)
      bag.push_back(
        deployment_observed{x.at, d.attempt, static_cast<condition>(roll(3)),
                            static_cast<std::uint8_t>(roll(256)), "X", "chance",
                            static_cast<std::uint32_t>(random())});
  }

  void feed(const event& what, bool kind) {
    const auto before = x.now;
    const auto is = x.feed(what);
    if (is == verdict::applied) {
      const auto from = before.deployment.at;
      const auto to = x.d().at;
      entered_running += from != to && to == phase::running;
      entered_failed += from != to && to == phase::failed;
      told_running += count(x.effects, effect::notify_running);
      told_failed += count(x.effects, effect::notify_failed);
      told_paid += count(x.effects, effect::notify_paid);
      CAF_REQUIRE(x.now.revision == before.revision + 1);
    }
    perform(x.effects, kind);
  }

  void step() {
    x.at += millis{roll(5'000)};
    switch (roll(12)) {
      case 0:
        // A crash: whatever was on its way is gone.
        bag.clear();
        ++crashes;
        perform(resume(x.now), false);
        return;
      case 1:
        if (const auto due = wake_at(x.now);
            due && *due < x.at + std::chrono::hours{2})
          x.at = std::max(x.at, *due);
        feed(woke{x.at, static_cast<std::uint32_t>(random())}, false);
        return;
      case 2:
        feed(cancel_requested{x.at, actor_kind::user}, false);
        return;
      case 3:
        feed(retry_requested{x.at, actor_kind::operator_}, false);
        return;
      case 4:
        feed(order_requested{x.at,
                             payment_gateway::alipay,
                             payment_method::page,
                             x.at + 30min,
                             {}},
             false);
        return;
      case 5:
        if (!x.now.orders.empty()) {
          const auto seq
            = 1 + roll(static_cast<std::uint32_t>(x.now.orders.size()));
          feed(payment_settled{x.at, seq, payment_gateway::alipay,
                               "t-" + std::to_string(seq), price, x.at},
               false);
        }
        return;
      default:
        if (bag.empty())
          return;
        // In any order, and once more by and by.
        std::swap(bag[roll(static_cast<std::uint32_t>(bag.size()))],
                  bag.back());
        const auto what = bag.back();
        if (roll(5) != 0)
          bag.pop_back();
        feed(what, false);
    }
  }

  bool calm_down() {
    bag.clear();
    perform(resume(x.now), true);
    for (auto i = 0; i < 200; ++i) {
      if (is_settled(x.d().at))
        return true;
      if (!bag.empty()) {
        const auto what = bag.front();
        bag.erase(bag.begin());
        feed(what, true);
        continue;
      }
      const auto due = wake_at(x.now);
      if (!due)
        return false;
      x.at = std::max(x.at, *due);
      feed(woke{x.at, 0}, true);
    }
    return false;
  }
};

} // namespace

CAF_TEST(every history comes to rest and tells each turn once) {
  auto crashes = 0;
  auto endings = std::vector<int>(phase_count);
  for (auto seed = 1u; seed <= 5'000; ++seed) {
    auto w = world{seed};
    w.feed(subscription_created{w.x.at, price, 30}, false);
    for (auto i = 0; i < 120; ++i)
      w.step();
    const auto rests = w.calm_down();
    crashes += w.crashes;
    ++endings[static_cast<size_t>(w.x.d().at)];
    auto applied = std::uint64_t{0};
    for (const auto& o : w.x.now.orders)
      applied += o.applied ? 1 : 0;
    if (!rests || w.told_running != w.entered_running
        || w.told_failed != w.entered_failed || w.told_paid != applied)
      CAF_FAIL("seed " << seed << " ends in " << to_string(w.x.d().at));
    // Once at rest, nothing of what is still on its way moves the deployment.
    const auto at = w.x.d().at;
    for (const auto& late : std::vector<event>{
           slot_granted{w.x.at}, cancellation_confirmed{w.x.at},
           project_ready{w.x.at, w.x.attempt(), "p", "e", false},
           deployment_observed{w.x.at, w.x.attempt(), condition::failed, 0, "",
                               "", 0}})
      w.feed(late, true);
    if (w.x.d().at != at)
      CAF_FAIL("seed " << seed << " leaves " << to_string(at));
  }
  CAF_MESSAGE("5000 histories, " << crashes << " crashes, ended running "
                                 << endings[8] << ", failed " << endings[9]
                                 << ", stopped " << endings[11] << ", idle "
                                 << endings[0]);
  CAF_CHECK(endings[8] > 100);
  CAF_CHECK(endings[9] > 100);
  CAF_CHECK(endings[11] > 100);
}

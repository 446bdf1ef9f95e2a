#define CAF_SUITE simulation.hour

#include "tests/simulation/world.hpp"

using namespace slipway;
using namespace slipway::test;

// Goal: with two hundred deployments under way all the time, the calls of a
// whole hour stay within what Railway's Pro plan allows, and a deployment that
// has finished is noticed soon, with webhooks and without. The actors are the
// real ones under virtual time.

namespace {

constexpr auto at_once = std::size_t{200};

constexpr auto customers = std::size_t{380};

constexpr auto hourly = std::uint32_t{10'000};

struct busy_hour final : simulated_world {
  bool webhooks = false;
  /// Two hundred at once need creations that come faster than Railway's; once
  /// they are there, its own pace is kept.
  bool crowded = false;
  std::size_t finished = 0;
  std::size_t most = 0;      ///< Under way in the middle of the hour…
  std::size_t least = 9'999; ///< …at most and at least.
  millis slowest{0};         ///< From the end of a deployment to our knowledge.

  busy_hour(std::uint64_t from, bool with_webhooks)
    : simulated_world{from}, webhooks{with_webhooks} {
    kind = true;
    railway.faults = railway_faults::none();
    railway.build_min = 30min;
    railway.build_more = 2h;
    if (webhooks)
      railway.ended = [this](const std::string& environment) {
        provider_hint hint;
        hint.environment_id = environment;
        later(some(2s), [this, hint] {
          caf::anon_send(env->watcher(), hint);
        });
      };
  }

  ~busy_hour() override {
    end();
  }

  void set_up(environment& to) override {
    to.max_concurrent = at_once;
    to.rules.deadline = 2h;
  }

  void set_up_provider(config::railway_settings& to) override {
    to.create_interval = crowded ? 31s : millis{0};
    to.requests_per_hour = hourly;
    to.requests_per_second = 50;
  }

  void watch(const state& before, const transition& t) override {
    if (before.deployment.at == phase::running
        || t.next.state.deployment.at != phase::running)
      return;
    ++finished;
    for (const auto* p : railway.live(project_name(t.next.id))) {
      const auto late
        = time.now() - p->services.back().deployments.back().ends_at;
      slowest = std::max<millis>(slowest, late);
    }
  }

  void buy(std::size_t who) {
    const auto id = make_subscription_id(
      day_one + millis{static_cast<int>(who)}, random.next());
    insist(
      id,
      [this] {
        return subscription_created{time.now(), price, 30};
      },
      [this, id, who](const outcome&) {
        insist(
          id,
          [this] {
            return order_requested{time.now(), payment_gateway::alipay,
                                   payment_method::page, time.now() + 30min,
                                   "key"};
          },
          [this, id, who](const outcome&) {
            insist(id, [this, who] {
              return payment_settled{time.now(),
                                     1,
                                     payment_gateway::alipay,
                                     "t-" + std::to_string(who),
                                     price,
                                     time.now()};
            });
          });
      });
  }

  /// The most calls within any sixty minutes.
  [[nodiscard]] std::size_t most_in_an_hour() const {
    auto out = std::size_t{0};
    auto first = std::size_t{0};
    const auto& all = railway.arrivals;
    for (auto i = std::size_t{0}; i < all.size(); ++i) {
      while (all[i] - all[first] >= 1h)
        ++first;
      out = std::max(out, i + 1 - first);
    }
    return out;
  }

  void play() {
    railway.create_cooldown = millis{0};
    start_server();
    later(5min, [this] {
      crowded = true;
      railway.create_cooldown = 30s;
      crash();
    });
    for (auto i = std::size_t{0}; i < customers; ++i)
      later(millis{static_cast<int>(i) * 20}, [this, i] {
        buy(i);
      });
    const auto end = time.now() + 90min;
    while (flaw.empty() && time.now() < end) {
      step();
      const auto since = time.now() - day_one;
      if (since > 10min && since < 70min) {
        const auto n = dispatcher_of().held.size();
        most = std::max(most, n);
        least = std::min(least, n);
      }
    }
  }
};

void check(bool webhooks, millis patience) {
  quiet();
  auto world = busy_hour{7, webhooks};
  world.play();
  CAF_MESSAGE(world.finished << " finished, at most " << world.most
                             << " under way, noticed after "
                             << world.slowest.count() << " ms at most, "
                             << world.most_in_an_hour()
                             << " calls in the busiest hour");
  for (const auto& [name, times] : world.railway.asked)
    CAF_MESSAGE(name << ": " << times);
  CAF_CHECK_EQUAL(world.flaw, "");
  CAF_CHECK_EQUAL(world.most, at_once);
  CAF_CHECK(world.least >= at_once - 10);
  CAF_CHECK(world.finished >= 50);
  CAF_CHECK(world.slowest <= patience);
  CAF_CHECK(world.most_in_an_hour() <= hourly);
  for (const auto& x : world.railway.complaints)
    CAF_ERROR(x);
}

} // namespace

CAF_TEST(two hundred under way are noticed within 15 s and within the budget) {
  check(false, 15s);
}

CAF_TEST(with webhooks a finished deployment is noticed within 5 s) {
  check(true, 5s);
}

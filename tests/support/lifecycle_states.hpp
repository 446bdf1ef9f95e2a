#pragma once

#include "actors/lifecycle/machine.hpp"

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

/// States and events of the lifecycle, made to order for tests.
namespace slipway::test {

using namespace lifecycle;
using namespace std::chrono_literals;

/// Some Monday. Every test begins here.
inline constexpr auto day_one = timestamp{millis{1'767'600'000'000}};

inline constexpr auto price = minor_units{9'900};

inline constexpr auto chance_max = std::numeric_limits<std::uint32_t>::max();

inline rules make_rules() {
  auto out = rules{};
  out.attempts = 3;
  out.backoff_initial = 5s;
  out.backoff_max = 60s;
  out.deadline = 15min;
  out.orders_max = 4;
  return out;
}

inline const std::vector<phase>& all_phases() {
  static const auto phases = [] {
    auto out = std::vector<phase>{};
    for (std::uint8_t i = 0; i < phase_count; ++i)
      out.push_back(static_cast<phase>(i));
    return out;
  }();
  return phases;
}

/// Whether a provider works in this phase, written down a second time: the
/// machine's own list is under test.
inline bool works(phase at) {
  return at == phase::creating_project || at == phase::deploying_template
         || at == phase::awaiting_workflow || at == phase::configuring
         || at == phase::deploying || at == phase::cancelling;
}

inline int count(const std::vector<effect>& effects, effect what) {
  return static_cast<int>(std::count(effects.begin(), effects.end(), what));
}

/// Feeds events into a machine one after the other.
struct driver {
  state now;
  rules with = make_rules();
  timestamp at = day_one;
  std::vector<effect> effects; ///< Of the last event.
  verdict is = verdict::applied;

  verdict feed(const event& what) {
    auto made = decide(now, what, with);
    now = std::move(made.next);
    effects = std::move(made.effects);
    is = made.is;
    return is;
  }

  [[nodiscard]] const deployment& d() const {
    return now.deployment;
  }

  [[nodiscard]] std::uint32_t attempt() const {
    return now.deployment.attempt;
  }

  verdict create() {
    return feed(subscription_created{at, price, 30});
  }

  verdict open_order(std::string key = {}) {
    return feed(order_requested{at, payment_gateway::alipay,
                                payment_method::page, at + 30min,
                                std::move(key)});
  }

  verdict pay(std::uint32_t seq = 1, std::string transaction = "t-1",
              minor_units amount = price) {
    return feed(payment_settled{at, seq, payment_gateway::alipay,
                                std::move(transaction), amount, at});
  }

  /// The event by which the provider ends the step of the current phase.
  [[nodiscard]] event progress_event() const {
    switch (d().at) {
      case phase::queued:
        return slot_granted{at};
      case phase::creating_project:
        return project_ready{at, attempt(), "p-1", "e-1", false};
      case phase::deploying_template:
        return template_deployed{at, attempt(), "w-1"};
      case phase::awaiting_workflow:
        return workflow_finished{at, attempt()};
      case phase::configuring:
        return configured{at,    attempt(), "s-1",
                          "web", "d-1",     "https://web.example"};
      case phase::deploying:
        return deployment_observed{
          at, attempt(), condition::running, 100, "SUCCESS", {}, 0};
      case phase::cancelling:
        return cancellation_confirmed{at};
      default:
        return woke{wake_at(now).value_or(at), 0};
    }
  }

  /// Goes on as a kind provider lets us, until `to`.
  void advance_to(phase to) {
    for (auto i = 0; i < 12 && d().at != to; ++i) {
      at += 1s;
      feed(progress_event());
    }
  }

  verdict fail(bool permanent, std::uint32_t chance = 0,
               millis retry_after = millis{0}) {
    auto what = step_failed{};
    what.at = at;
    what.attempt = attempt();
    what.in = d().at;
    what.permanent = permanent;
    what.retry_after = retry_after;
    what.reason = "no luck";
    what.chance = chance;
    return feed(what);
  }
};

/// A machine that has been paid for and got to `to` by itself.
inline driver paid_at(phase to) {
  auto out = driver{};
  if (to == phase::skipped)
    out.with.provider = false;
  out.create();
  if (to == phase::idle)
    return out;
  out.open_order();
  out.pay();
  switch (to) {
    case phase::skipped:
    case phase::queued:
      break;
    case phase::failed:
      out.advance_to(phase::creating_project);
      while (out.d().at != phase::failed) {
        if (works(out.d().at))
          out.fail(true);
        else
          out.advance_to(phase::creating_project);
      }
      break;
    case phase::backing_off:
      out.advance_to(phase::creating_project);
      out.fail(true);
      break;
    case phase::cancelling:
      out.advance_to(phase::deploying);
      out.feed(cancel_requested{out.at, actor_kind::user});
      break;
    case phase::stopped:
      out.advance_to(phase::deploying);
      out.feed(cancel_requested{out.at, actor_kind::user});
      out.feed(cancellation_confirmed{out.at});
      break;
    default:
      out.advance_to(to);
  }
  return out;
}

} // namespace slipway::test

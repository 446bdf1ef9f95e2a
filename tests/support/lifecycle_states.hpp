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

/// Whether sanitizers make everything slow: such a build looks for undefined
/// behaviour, and large searches are thinned out.
#if defined(__SANITIZE_ADDRESS__)
inline constexpr auto slow_build = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
inline constexpr auto slow_build = true;
#else
inline constexpr auto slow_build = false;
#endif
#else
inline constexpr auto slow_build = false;
#endif

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
  out.halt_patience = 90s;
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

inline const std::vector<instance_health>& all_healths() {
  static const auto healths = [] {
    auto out = std::vector<instance_health>{};
    for (std::uint8_t i = 0; i < instance_health_count; ++i)
      out.push_back(static_cast<instance_health>(i));
    return out;
  }();
  return healths;
}

// What follows is written down a second time: the machine's own lists are under
// test.

/// Whether something may be building at the provider in this phase.
inline bool builds(phase at) {
  return at == phase::deploying_template || at == phase::awaiting_workflow
         || at == phase::configuring || at == phase::deploying;
}

/// Whoever has announced a project goes on to its template before anything of
/// it is heard.
inline bool builds(const deployment& what) {
  return builds(what.at)
         || (what.at == phase::creating_project && what.intent_at);
}

/// Whether an attempt is being made in this phase.
inline bool in_attempt(phase at) {
  return at == phase::creating_project || builds(at);
}

/// Whether the instance is being taken away in this phase.
inline bool leaves(phase at) {
  return at == phase::cancelling || at == phase::terminating;
}

/// Whether a slot is held in this phase.
inline bool works(phase at) {
  return in_attempt(at) || at == phase::halting || at == phase::cancelling;
}

/// Whether the provider has a step to carry out in this phase.
inline bool has_work(phase at) {
  return works(at) || at == phase::terminating;
}

/// Whether a deployment waits or is at work in this phase.
inline bool is_under_way(phase at) {
  return has_work(at) || at == phase::queued || at == phase::backing_off;
}

/// Whether an instance in this condition serves its user.
inline bool serves(instance_health x) {
  return x == instance_health::unknown || x == instance_health::healthy
         || x == instance_health::sleeping || x == instance_health::degraded;
}

inline int count(const std::vector<effect>& effects, effect what) {
  return static_cast<int>(std::count(effects.begin(), effects.end(), what));
}

/// Whether the gateway has had money on it.
inline bool has_money(const order& x) {
  return x.status == order_status::paid || x.status == order_status::refunding
         || x.status == order_status::refunded;
}

/// Whether nothing more is to happen at the gateway.
inline bool is_done(const order& x) {
  return x.status == order_status::closed || x.status == order_status::paid
         || x.status == order_status::refunded;
}

/// The payment that pays for the present period, or null: the one of the
/// period's first moment. Tests settle payments when they are made.
inline const order* buyer(const state& s) {
  for (const auto& o : s.orders)
    if (o.applied && o.paid_at && s.start_at && *o.paid_at >= *s.start_at)
      return &o;
  return nullptr;
}

/// What is wrong with the money in a state, or null.
inline const char* money_flaw_in(const state& s) {
  auto pending = 0;
  auto applied = 0;
  auto buyers = 0;
  for (const auto& o : s.orders) {
    const auto paid = has_money(o);
    pending += o.status == order_status::pending ? 1 : 0;
    applied += o.applied ? 1 : 0;
    buyers += o.applied && s.start_at && *o.paid_at >= *s.start_at ? 1 : 0;
    if (o.seq != static_cast<std::uint32_t>(&o - s.orders.data()) + 1)
      return "a gap between orders";
    if (paid == o.transaction_id.empty() || paid != o.paid_at.has_value())
      return "money without a transaction, or the other way round";
    if (!paid && (o.applied || o.refunded != 0 || o.refund_seq != 0))
      return "money that never came does something";
    if (o.refunded < 0 || o.refunded > o.amount)
      return "more went back than came";
    if ((o.refunded == o.amount) != (o.status == order_status::refunded))
      return "refunded is what went back in full";
    if (o.status == order_status::refunding
        && (o.refund_seq == 0 || o.refund_amount <= 0
            || o.refund_amount > o.amount || o.refund_for == refund_cause::none
            || !o.refund_error.empty()))
      return "a refund that cannot be asked for";
    if (!o.refund_error.empty() && o.status != order_status::paid)
      return "a failure of nothing";
    if (o.status == order_status::paid && !o.applied && o.refund_error.empty())
      return "money that bought nothing is kept, and nobody knows";
    // Whatever waits for the gateway's word has a time at which to ask.
    const auto asks = !paid || o.status == order_status::refunding;
    if (first_ask(o, day_one, make_rules()).has_value() != asks)
      return "nobody asks the gateway, or in vain";
  }
  if (pending > 1)
    return "two open orders";
  if ((s.status == subscription_status::pending) && applied != 0)
    return "paid and still pending";
  if (buyers > 1)
    return "two payments for one period";
  const auto* present = buyer(s);
  if (present != nullptr)
    for (const auto& o : s.orders)
      if (o.applied && o.seq > present->seq)
        return "an older payment pays for a newer period";
  if (s.status == subscription_status::active
      && (present == nullptr || present->status == order_status::refunded))
    return "active without money";
  if (s.status == subscription_status::refunded
      && (present == nullptr || present->status != order_status::refunded))
    return "refunded, and the money is here";
  if (s.status == subscription_status::expired
      && (present == nullptr || present->status == order_status::refunded))
    return "expired without having been paid for";
  return nullptr;
}

/// What an event must not have done to an order, or null.
inline const char*
flaw_between(const order& a, const order& b, const event& what) {
  using os = order_status;
  if (a.seq != b.seq || a.gateway != b.gateway || a.method != b.method
      || a.amount != b.amount || a.idempotency_key != b.idempotency_key
      || a.created_at != b.created_at || a.expires_at != b.expires_at)
    return "an order was rewritten";
  if (has_money(a)
      && (!has_money(b) || a.transaction_id != b.transaction_id
          || a.paid_at != b.paid_at || a.applied != b.applied))
    return "money was forgotten";
  if (!has_money(a) && has_money(b)
      && !std::holds_alternative<payment_settled>(what))
    return "money out of nothing";
  if (a.code != b.code
      && (!std::holds_alternative<order_prepared>(what)
          || a.status != os::pending))
    return "another code";
  if (b.refunded < a.refunded
      || (b.refunded != a.refunded
          && !std::holds_alternative<refund_observed>(what)))
    return "refunded without proof, or taken back";
  if (!b.refunds_counted.starts_with(a.refunds_counted)
      || (b.refunds_counted != a.refunds_counted && b.refunded == a.refunded))
    return "the counted refunds";
  const auto* failed = std::get_if<refund_failed>(&what);
  const auto started = a.status != os::refunding && b.status == os::refunding;
  if (b.refund_seq != a.refund_seq) {
    const auto first = started && a.refund_seq == 0;
    const auto spent = failed != nullptr && failed->spent
                       && failed->order == a.seq && a.refund_seq != 0;
    if ((!first && !spent) || b.refund_seq != a.refund_seq + 1)
      return "the number of the refund";
  }
  if (started
        ? b.refund_amount != b.amount - b.refunded
        : b.refund_amount != a.refund_amount || b.refund_for != a.refund_for)
    return "the amount of the refund";
  if (a.status == b.status)
    return nullptr;
  auto allowed = false;
  switch (b.status) {
    case os::pending:
      break;
    case os::closing:
      allowed = a.status == os::pending
                && std::holds_alternative<order_requested>(what);
      break;
    case os::closed:
      allowed = (a.status == os::pending || a.status == os::closing)
                && std::holds_alternative<order_closed>(what);
      break;
    case os::paid:
      allowed = a.status == os::refunding ? failed != nullptr : !has_money(a);
      break;
    case os::refunding:
      allowed = a.status == os::paid
                  ? std::holds_alternative<refund_requested>(what)
                      || std::holds_alternative<woke>(what)
                  : !has_money(a);
      break;
    case os::refunded:
      allowed = has_money(a) && std::holds_alternative<refund_observed>(what);
      break;
  }
  return allowed ? nullptr : "a way that is not there";
}

/// What an event must not have done to the money, or null.
inline const char*
money_flaw_between(const state& before, const event& what, const state& after) {
  const auto n = before.orders.size();
  if (after.orders.size() < n || after.orders.size() > n + 1)
    return "orders vanished";
  if (after.orders.size() > n
      && (!std::holds_alternative<order_requested>(what)
          || after.orders.back().status != order_status::pending))
    return "an order out of nothing";
  for (auto i = std::size_t{0}; i < n; ++i)
    if (const auto* flaw
        = flaw_between(before.orders[i], after.orders[i], what))
      return flaw;
  return nullptr;
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

  verdict close(std::uint32_t seq) {
    return feed(order_closed{at, seq});
  }

  /// Somebody wants the money back; 0: whichever it is.
  verdict refund(std::uint32_t seq = 0) {
    return feed(refund_requested{at, seq, refund_cause::operator_});
  }

  /// The gateway says how much went back in total.
  verdict see_total(std::uint32_t seq, minor_units total, std::string id = {}) {
    return feed(refund_observed{at, seq, total, 0, std::move(id)});
  }

  /// The gateway says what one refund amounts to.
  verdict see_portion(std::uint32_t seq, minor_units portion, std::string id) {
    return feed(refund_observed{at, seq, std::nullopt, portion, std::move(id)});
  }

  verdict fail_refund(std::uint32_t seq, std::uint32_t refund_seq, bool spent) {
    return feed(refund_failed{at, seq, refund_seq, spent, "no balance"});
  }

  [[nodiscard]] const order& o(std::uint32_t seq) const {
    return now.orders.at(seq - 1);
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
      case phase::terminating:
        return cancellation_confirmed{at};
      case phase::halting:
        return halted{at, attempt(), 0};
      default:
        return woke{wake_at(now, with).value_or(at), 0};
    }
  }

  /// Goes on as a kind provider lets us, until `to`.
  void advance_to(phase to) {
    for (auto i = 0; i < 12 && d().at != to; ++i) {
      at += 1s;
      feed(progress_event());
    }
  }

  verdict cancel(actor_kind by = actor_kind::user) {
    return feed(cancel_requested{at, by});
  }

  verdict terminate(actor_kind by = actor_kind::operator_) {
    return feed(terminate_requested{at, by});
  }

  verdict confirm() {
    return feed(cancellation_confirmed{at});
  }

  verdict retry() {
    return feed(retry_requested{at, actor_kind::user});
  }

  verdict halt() {
    return feed(halted{at, attempt(), 0});
  }

  verdict wake() {
    return feed(woke{at, 0});
  }

  /// The provider shows the instance that there is in this condition.
  verdict observe(instance_health is, std::string deployment_id = {},
                  std::string reason = {}) {
    return feed(instance_observed{at, now.instance.seq, is,
                                  std::move(deployment_id), "X",
                                  std::move(reason)});
  }

  /// Another period is paid for, once this one is over.
  void renew() {
    at = *now.end_at;
    wake();
    open_order();
    const auto seq = static_cast<std::uint32_t>(now.orders.size());
    pay(seq, "t-" + std::to_string(seq));
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
    case phase::halting:
      out.advance_to(phase::deploying);
      out.fail(true);
      break;
    case phase::cancelling:
      out.advance_to(phase::deploying);
      out.cancel();
      break;
    case phase::stopped:
      out.advance_to(phase::deploying);
      out.cancel();
      out.confirm();
      break;
    case phase::lapsed:
      out.advance_to(phase::running);
      out.at += 1h;
      out.observe(instance_health::crashed, {}, "exit code 137");
      break;
    case phase::terminating:
      out.advance_to(phase::running);
      out.at += 1h;
      out.terminate();
      break;
    default:
      out.advance_to(to);
  }
  return out;
}

} // namespace slipway::test

#include "tests/support/lifecycle_states.hpp"

#include <algorithm>
#include <utility>

namespace slipway::test {

rules make_rules() {
  auto out = rules{};
  out.attempts = 3;
  out.backoff_initial = 5s;
  out.backoff_max = 60s;
  out.deadline = 15min;
  out.halt_patience = 90s;
  out.orders_max = 4;
  return out;
}

const std::vector<phase>& all_phases() {
  static const auto phases = [] {
    auto out = std::vector<phase>{};
    for (std::uint8_t i = 0; i < phase_count; ++i)
      out.push_back(static_cast<phase>(i));
    return out;
  }();
  return phases;
}

const std::vector<instance_health>& all_healths() {
  static const auto healths = [] {
    auto out = std::vector<instance_health>{};
    for (std::uint8_t i = 0; i < instance_health_count; ++i)
      out.push_back(static_cast<instance_health>(i));
    return out;
  }();
  return healths;
}

bool builds(phase at) {
  return at == phase::deploying_template || at == phase::awaiting_workflow
         || at == phase::configuring || at == phase::deploying;
}

bool builds(const deployment& what) {
  return builds(what.at)
         || (what.at == phase::creating_project && what.intent_at);
}

bool in_attempt(phase at) {
  return at == phase::creating_project || builds(at);
}

bool leaves(phase at) {
  return at == phase::cancelling || at == phase::terminating;
}

bool works(phase at) {
  return in_attempt(at) || at == phase::halting || at == phase::cancelling;
}

bool has_work(phase at) {
  return works(at) || at == phase::terminating;
}

bool is_under_way(phase at) {
  return has_work(at) || at == phase::queued || at == phase::backing_off;
}

bool serves(instance_health x) {
  return x == instance_health::unknown || x == instance_health::healthy
         || x == instance_health::sleeping || x == instance_health::degraded;
}

int count(const std::vector<effect>& effects, effect what) {
  return static_cast<int>(std::count(effects.begin(), effects.end(), what));
}

bool has_money(const order& x) {
  return x.status == order_status::paid || x.status == order_status::refunding
         || x.status == order_status::refunded;
}

bool is_done(const order& x) {
  return x.status == order_status::closed || x.status == order_status::paid
         || x.status == order_status::refunded;
}

const order* buyer(const state& s) {
  for (const auto& o : s.orders)
    if (o.applied && o.paid_at && s.start_at && *o.paid_at >= *s.start_at)
      return &o;
  return nullptr;
}

const char* money_flaw_in(const state& s) {
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

const char* flaw_between(const order& a, const order& b, const event& what) {
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

const char*
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

verdict driver::feed(const event& what) {
  auto made = decide(now, what, with);
  now = std::move(made.next);
  effects = std::move(made.effects);
  is = made.is;
  return is;
}

const deployment& driver::d() const {
  return now.deployment;
}

std::uint32_t driver::attempt() const {
  return now.deployment.attempt;
}

verdict driver::create() {
  return feed(subscription_created{at, price, 30});
}

verdict driver::open_order(std::string key) {
  return feed(order_requested{at, payment_gateway::alipay, payment_method::page,
                              at + 30min, std::move(key)});
}

verdict
driver::pay(std::uint32_t seq, std::string transaction, minor_units amount) {
  return feed(payment_settled{at, seq, payment_gateway::alipay,
                              std::move(transaction), amount, at});
}

verdict driver::close(std::uint32_t seq) {
  return feed(order_closed{at, seq});
}

verdict driver::refund(std::uint32_t seq) {
  return feed(refund_requested{at, seq, refund_cause::operator_});
}

verdict
driver::see_total(std::uint32_t seq, minor_units total, std::string id) {
  return feed(refund_observed{at, seq, total, 0, std::move(id)});
}

verdict
driver::see_portion(std::uint32_t seq, minor_units portion, std::string id) {
  return feed(refund_observed{at, seq, std::nullopt, portion, std::move(id)});
}

verdict
driver::fail_refund(std::uint32_t seq, std::uint32_t refund_seq, bool spent) {
  return feed(refund_failed{at, seq, refund_seq, spent, "no balance"});
}

const order& driver::o(std::uint32_t seq) const {
  return now.orders.at(seq - 1);
}

event driver::progress_event() const {
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

void driver::advance_to(phase to) {
  for (auto i = 0; i < 12 && d().at != to; ++i) {
    at += 1s;
    feed(progress_event());
  }
}

verdict driver::cancel(actor_kind by) {
  return feed(cancel_requested{at, by});
}

verdict driver::terminate(actor_kind by) {
  return feed(terminate_requested{at, by});
}

verdict driver::confirm() {
  return feed(cancellation_confirmed{at});
}

verdict driver::retry() {
  return feed(retry_requested{at, actor_kind::user});
}

verdict driver::halt() {
  return feed(halted{at, attempt(), 0});
}

verdict driver::wake() {
  return feed(woke{at, 0});
}

verdict driver::observe(instance_health is, std::string deployment_id,
                        std::string reason) {
  return feed(instance_observed{at, now.instance.seq, is,
                                std::move(deployment_id), "X",
                                std::move(reason)});
}

void driver::renew() {
  at = *now.end_at;
  wake();
  open_order();
  const auto seq = static_cast<std::uint32_t>(now.orders.size());
  pay(seq, "t-" + std::to_string(seq));
}

verdict driver::fail(bool permanent, std::uint32_t chance, millis retry_after) {
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

driver paid_at(phase to) {
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

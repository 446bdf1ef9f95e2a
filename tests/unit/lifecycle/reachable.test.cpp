#define CAF_SUITE lifecycle.reachable

#include "tests/support/lifecycle_states.hpp"

#include <caf/test/unit_test.hpp>

#include <deque>
#include <unordered_set>

using namespace slipway;
using namespace slipway::test;

// Goal: whatever happens, in whatever order, the state makes sense and
// something is going to happen next. All states that a small alphabet of
// events can reach are visited, times and numbers that only grow set aside.

namespace {

/// Where the alphabet is rich. Both at once would be too many states.
enum class focus { deployment, money };

/// What is explored.
struct plan {
  rules with = make_rules();
  focus on = focus::deployment;

  explicit plan(focus where) : on{where} {
    with.attempts = where == focus::deployment ? 2 : 1;
    with.orders_max = slow_build ? 1 : 2;
    with.orders_total_max = with.orders_max;
  }
};

/// What tells two states apart as far as decisions are concerned.
std::string key_of(const state& s, timestamp at, const rules& with) {
  auto out = std::string{};
  const auto put = [&out](auto x) {
    out += std::to_string(static_cast<int>(x));
    out += ',';
  };
  const auto when = [&](const std::optional<timestamp>& x) {
    put(!x ? 0 : *x <= at ? 1 : 2);
  };
  put(s.status);
  when(s.end_at);
  for (const auto& o : s.orders) {
    put(o.status);
    put(o.applied);
    if (o.status == order_status::pending)
      put(o.code.empty());
    // Nothing depends on what it went through once all of it is back.
    if (o.status == order_status::paid || o.status == order_status::refunding) {
      put(o.refunded);
      put(std::min(o.refund_seq, 2u));
      put(o.refund_error.empty());
      out += o.refunds_counted;
    }
  }
  const auto& d = s.deployment;
  if (with.refund_failed_after && d.at == phase::failed)
    when(*d.completed_at + *with.refund_failed_after);
  out += '|';
  put(d.at);
  put(d.attempt_limit - d.attempt);
  put(std::min(d.tries, 2u));
  put(d.progress);
  put(d.intent_at.has_value());
  put(d.queued_at.has_value());
  // It counts for the order of the queue, and decides but here.
  if (leaves(d.at))
    put(d.queue_rank.has_value());
  put(d.started_at.has_value());
  put(d.completed_at.has_value());
  when(d.deadline_at);
  when(d.retry_at);
  put(d.workflow_id.empty());
  out += d.deployment_id;
  put(d.ended_by);
  const auto& i = s.instance;
  put(std::min(i.seq, 2u));
  put(i.status);
  put(i.project_id.empty());
  put(i.service_id.empty());
  put(i.deleted_at.has_value());
  // What is not looked at may be in any condition.
  if (d.at == phase::running || d.at == phase::lapsed) {
    put(i.health);
    put(i.sleep_told);
  }
  return out;
}

/// What a gateway and people say about money.
void add_money(std::vector<event>& out, const state& s, timestamp at,
               focus on) {
  const auto rich = on == focus::money;
  out.push_back(order_requested{
    at, payment_gateway::alipay, payment_method::page, at + 30min, {}});
  out.push_back(refund_requested{at, 0, refund_cause::operator_});
  for (const auto& o : s.orders) {
    const auto seq = o.seq;
    out.push_back(payment_settled{at, seq, payment_gateway::alipay,
                                  "t-" + std::to_string(seq), price, at});
    out.push_back(order_closed{at, seq});
    out.push_back(refund_observed{at, seq, price, 0, {}});
    out.push_back(refund_failed{at, seq, o.refund_seq, false, "no balance"});
    if (!rich)
      continue;
    out.push_back(order_prepared{at, seq, "c"});
    out.push_back(refund_observed{at, seq, std::nullopt, price / 2, "r-1"});
    out.push_back(refund_observed{at, seq, std::nullopt, price / 3, "r-2"});
    out.push_back(refund_requested{at, seq, refund_cause::operator_});
    out.push_back(refund_failed{at, seq, o.refund_seq, true, "closed"});
  }
}

/// What matters of the deployment where the money is looked at: one way to
/// each of its ends.
void add_few(std::vector<event>& out, const state& s, timestamp at) {
  auto x = driver{};
  x.now = s;
  x.at = at;
  const auto attempt = s.deployment.attempt;
  if (s.deployment.at == phase::creating_project) {
    auto failed = step_failed{};
    failed.at = at;
    failed.attempt = attempt;
    failed.in = s.deployment.at;
    failed.hopeless = true;
    failed.reason = "no luck";
    out.push_back(failed);
  }
  if (s.deployment.at == phase::deploying_template)
    out.push_back(template_deployed{at, attempt, {}});
  else if (!is_settled(s.deployment.at))
    out.push_back(x.progress_event());
  if (s.deployment.at == phase::deploying)
    out.push_back(cancel_requested{at, actor_kind::user});
  if (s.deployment.at == phase::running)
    out.push_back(terminate_requested{at, actor_kind::operator_});
  out.push_back(retry_requested{at, actor_kind::user});
  out.push_back(woke{at, chance_max});
}

std::vector<event> alphabet(const state& s, timestamp at, focus on) {
  auto out = std::vector<event>{};
  const auto attempt = s.deployment.attempt;
  out.push_back(subscription_created{at, price, 30});
  add_money(out, s, at, on);
  if (on == focus::money) {
    add_few(out, s, at);
    return out;
  }
  out.push_back(slot_granted{at});
  out.push_back(project_create_started{at, attempt});
  out.push_back(project_ready{at, attempt, "p-1", "e-1", false});
  out.push_back(template_deploy_started{at, attempt});
  out.push_back(template_deployed{at, attempt, "w-1"});
  out.push_back(template_deployed{at, attempt, ""});
  out.push_back(workflow_finished{at, attempt});
  out.push_back(
    configured{at, attempt, "s-1", "web", "d-1", "https://web.example"});
  out.push_back(deployment_observed{
    at, attempt, condition::in_progress, 60, "BUILDING", {}, chance_max});
  out.push_back(deployment_observed{
    at, attempt, condition::running, 100, "SUCCESS", {}, chance_max});
  out.push_back(deployment_observed{at, attempt, condition::failed, 0, "FAILED",
                                    "broken", chance_max});
  for (auto how = 0; how < 4; ++how) {
    auto x = step_failed{};
    x.at = at;
    x.attempt = attempt;
    x.in = s.deployment.at;
    x.permanent = how == 1;
    x.without_effect = how == 2;
    x.hopeless = how == 3;
    x.reason = "no luck";
    x.chance = chance_max;
    out.push_back(x);
  }
  out.push_back(retry_requested{at, actor_kind::user});
  out.push_back(cancel_requested{at, actor_kind::user});
  out.push_back(terminate_requested{at, actor_kind::operator_});
  out.push_back(cancellation_confirmed{at});
  out.push_back(halted{at, attempt, chance_max});
  out.push_back(woke{at, chance_max});
  for (auto is : {instance_health::healthy, instance_health::sleeping,
                  instance_health::crashed, instance_health::missing})
    out.push_back(
      instance_observed{at, s.instance.seq, is, {}, "X", "as it is"});
  out.push_back(instance_observed{
    at, s.instance.seq, instance_health::healthy, "d-2", "X", {}});
  return out;
}

/// What is wrong with a state, or null.
const char* flaw_in(const state& s, const rules& with) {
  if (const auto* flaw = money_flaw_in(s))
    return flaw;
  const auto& d = s.deployment;
  const auto& i = s.instance;
  if ((s.status == subscription_status::pending) != !s.start_at
      || s.start_at.has_value() != s.end_at.has_value())
    return "the period";
  if ((s.status == subscription_status::pending) != (d.at == phase::idle))
    return "a deployment without a payment, or the other way round";
  if (d.at == phase::skipped && with.provider)
    return "skipped in spite of the provider";
  const auto in_run = d.at != phase::idle && d.at != phase::skipped;
  if (in_run && (d.attempt == 0 || d.attempt > d.attempt_limit))
    return "the attempt";
  if (in_run && !d.queued_at)
    return "never queued";
  const auto has_deadline = works(d.at) && !leaves(d.at);
  if (d.deadline_at.has_value() != has_deadline)
    return "the deadline";
  if (has_deadline && !d.started_at)
    return "at work since when?";
  if (d.retry_at && !has_work(d.at) && d.at != phase::backing_off)
    return "a retry of nothing";
  if (d.at == phase::backing_off && !d.retry_at)
    return "backs off for ever";
  if ((d.at == phase::queued || d.at == phase::backing_off || has_deadline)
      && !d.queue_rank)
    return "without a place in the queue";
  if ((i.status == instance_status::deleted) != i.deleted_at.has_value())
    return "deleted";
  if (i.deleted_at && !i.public_url.empty())
    return "deleted, and somebody is sent there";
  if (d.at == phase::running
      && (i.project_id.empty() || i.environment_id.empty()
          || i.service_id.empty() || i.status != instance_status::running
          || !serves(i.health) || i.health == instance_health::unknown
          || d.progress != 100 || !d.completed_at || i.deleted_at))
    return "running";
  if (d.at == phase::lapsed
      && (serves(i.health) || i.project_id.empty() || d.progress != 100
          || !d.completed_at || d.ended_by != actor_kind::provider
          || i.status
               != (i.health == instance_health::missing
                     ? instance_status::deleted
                     : instance_status::failed)))
    return "lapsed";
  // The health is that of the instance that ran; nothing else has one.
  if (i.health != instance_health::unknown && d.at != phase::running
      && d.at != phase::lapsed && d.at != phase::queued
      && d.at != phase::terminating && d.at != phase::stopped
      && d.at != phase::skipped && d.at != phase::cancelling)
    return "the health of what never ran";
  if (i.sleep_told && i.seq == 0)
    return "told of nothing";
  if (builds(d.at) && (i.project_id.empty() || i.deleted_at))
    return "at work on no project";
  if (d.at == phase::halting
      && ((i.project_id.empty() && !d.intent_at) || i.deleted_at
          || d.error.empty()))
    return "halts nothing, or for no reason";
  if (d.at == phase::deploying && i.service_id.empty())
    return "deploying no service";
  if (d.at == phase::awaiting_workflow && d.workflow_id.empty())
    return "waits for no workflow";
  if (d.at == phase::cancelling && d.ended_by != actor_kind::user
      && d.ended_by != actor_kind::operator_
      && !(d.ended_by == actor_kind::slipway
           && s.status == subscription_status::refunded))
    return "cancelled by nobody";
  if (d.at == phase::terminating
      && (d.ended_by != actor_kind::operator_ || i.deleted_at))
    return "takes nothing away, or for nobody";
  if (s.status == subscription_status::refunded && !is_settled(d.at)
      && !leaves(d.at))
    return "builds for money that went back";
  if (d.at == phase::stopped && i.seq != 0 && !i.deleted_at)
    return "stopped, and the instance lives";
  if (d.at == phase::stopped && d.intent_at)
    return "stopped, and something may be there";
  if (d.at == phase::failed && (d.error.empty() || !d.completed_at))
    return "failed without a reason";
  if (!is_settled(d.at) && resume(s).empty() && !wake_at(s, with))
    return "stuck";
  return nullptr;
}

/// What a kind gateway says when it is asked about this order.
std::optional<event> answer_about(const order& o, timestamp at) {
  switch (o.status) {
    case order_status::pending:
    case order_status::closing:
      return order_closed{at, o.seq};
    case order_status::refunding:
      return refund_observed{at, o.seq, std::nullopt, o.amount - o.refunded,
                             "ours-" + std::to_string(o.refund_seq)};
    default:
      return std::nullopt;
  }
}

/// Whether a kind world brings it to rest; what is wrong, or null.
const char* comes_to_rest(driver x) {
  for (auto seq = 1u; seq <= x.now.orders.size(); ++seq) {
    if (const auto answer = answer_about(x.o(seq), x.at))
      if (x.feed(*answer) != verdict::applied)
        return "a gateway's answer is refused";
    if (!is_done(x.o(seq)))
      return "an order never comes to an end";
  }
  for (auto i = 0; i < 40; ++i) {
    if (is_settled(x.d().at))
      return flaw_in(x.now, x.with);
    const auto owed = resume(x.now);
    if (owed.empty()) {
      const auto due = wake_at(x.now, x.with);
      if (!due)
        return "nothing is going to happen";
      x.at = std::max(x.at, *due);
      x.feed(woke{x.at, 0});
    } else {
      x.feed(x.progress_event());
    }
  }
  return "never comes to rest";
}

struct node {
  state now;
  timestamp at;
};

void explore(const plan& what, std::size_t at_least) {
  const auto& with = what.with;
  auto seen = std::unordered_set<std::string>{};
  auto open = std::deque<node>{{state{}, day_one}};
  auto applied = std::size_t{0};
  auto flaws = std::size_t{0};
  const auto complain = [&flaws](const std::string& what) {
    if (++flaws <= 5)
      CAF_ERROR(what);
  };
  // The row comes to be first: nothing reaches a supervisor before.
  open.front().now
    = decide(state{}, subscription_created{day_one, price, 30}, with).next;
  seen.insert(key_of(open.front().now, day_one, with));
  while (!open.empty()) {
    const auto from = std::move(open.front());
    open.pop_front();
    const auto due = wake_at(from.now, with);
    auto events = alphabet(from.now, from.at + 1s, what.on);
    if (due)
      events.push_back(woke{std::max(*due, from.at + 1s), chance_max});
    for (const auto& e : events) {
      auto made = decide(from.now, e, with);
      if (made.is != verdict::applied)
        continue;
      ++applied;
      const auto at = time_of(e);
      const auto where = " after " + std::string{name_of(e)} + " in "
                         + std::string{to_string(from.now.deployment.at)} + ", "
                         + std::string{to_string(from.now.status)};
      if (const auto* flaw = money_flaw_between(from.now, e, made.next))
        complain(flaw + where);
      if (describe(e, from.now, made.next).empty())
        complain("no words" + where);
      if (!seen.insert(key_of(made.next, at, with)).second)
        continue;
      if (const auto* flaw = flaw_in(made.next, with))
        complain(flaw + where);
      auto x = driver{};
      x.now = made.next;
      x.with = with;
      x.at = at;
      if (const auto* flaw = comes_to_rest(std::move(x)))
        complain(flaw + where);
      open.push_back({std::move(made.next), at});
    }
  }
  CAF_MESSAGE(seen.size() << " states, " << applied << " transitions");
  CAF_CHECK_EQUAL(flaws, 0u);
  CAF_CHECK(seen.size() > (slow_build ? at_least / 1'000 : at_least));
}

} // namespace

CAF_TEST(every state that can be reached makes sense and goes on) {
  explore(plan{focus::deployment}, 100'000);
}

CAF_TEST(so it is where late money goes back) {
  auto what = plan{focus::deployment};
  what.with.revive_late_payment = false;
  explore(what, 100'000);
}

CAF_TEST(so it is without a provider) {
  auto what = plan{focus::deployment};
  what.with.provider = false;
  explore(what, 50);
}

CAF_TEST(so it is with all that can happen to money) {
  explore(plan{focus::money}, 100'000);
}

CAF_TEST(so it is where the money for failed deployments goes back) {
  auto what = plan{focus::money};
  what.with.revive_late_payment = false;
  what.with.refund_failed_after = 1h;
  explore(what, 100'000);
}

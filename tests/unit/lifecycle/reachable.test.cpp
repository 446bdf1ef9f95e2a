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

rules small_rules() {
  auto out = make_rules();
  out.attempts = 2;
  out.orders_max = 2;
  out.orders_total_max = 2;
  return out;
}

/// What tells two states apart as far as decisions are concerned.
std::string key_of(const state& s, timestamp at) {
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
    put(o.refunded == 0 ? 0 : o.refunded == o.amount ? 2 : 1);
    when(o.expires_at);
  }
  const auto& d = s.deployment;
  out += '|';
  put(d.at);
  put(d.attempt_limit - d.attempt);
  put(std::min(d.tries, 2u));
  put(d.progress);
  put(d.intent_at.has_value());
  put(d.queued_at.has_value());
  put(d.started_at.has_value());
  put(d.completed_at.has_value());
  when(d.deadline_at);
  when(d.retry_at);
  put(d.workflow_id.empty());
  put(d.deployment_id.empty());
  put(d.ended_by);
  const auto& i = s.instance;
  put(std::min(i.seq, 2u));
  put(i.status);
  put(i.project_id.empty());
  put(i.service_id.empty());
  put(i.deleted_at.has_value());
  return out;
}

std::vector<event> alphabet(const state& s, timestamp at) {
  auto out = std::vector<event>{};
  const auto attempt = s.deployment.attempt;
  out.push_back(subscription_created{at, price, 30});
  out.push_back(order_requested{
    at, payment_gateway::alipay, payment_method::page, at + 30min, {}});
  for (auto seq = 1u; seq <= s.orders.size(); ++seq) {
    out.push_back(payment_settled{at, seq, payment_gateway::alipay,
                                  "t-" + std::to_string(seq), price, at});
    out.push_back(order_closed{at, seq});
    out.push_back(refund_observed{at, seq, price / 2});
    out.push_back(refund_observed{at, seq, price});
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
  out.push_back(cancellation_confirmed{at});
  out.push_back(woke{at, chance_max});
  return out;
}

/// What is wrong with a state, or null.
const char* flaw_in(const state& s, bool provider) {
  const auto& d = s.deployment;
  const auto& i = s.instance;
  auto applied = 0;
  auto kept = 0; // Applied and not given back.
  auto pending = 0;
  for (const auto& o : s.orders) {
    applied += o.applied ? 1 : 0;
    kept += o.applied && o.status != order_status::refunded ? 1 : 0;
    pending += o.status == order_status::pending ? 1 : 0;
  }
  if (s.status == subscription_status::active && kept == 0)
    return "active without money";
  if (s.status == subscription_status::pending && applied != 0)
    return "paid and still pending";
  if (s.status == subscription_status::refunded && kept != 0 && applied == kept)
    return "refunded, and nothing went back";
  if (pending > 1)
    return "two open orders";
  if ((s.status == subscription_status::pending) != !s.start_at
      || s.start_at.has_value() != s.end_at.has_value())
    return "the period";
  if ((s.status == subscription_status::pending) != (d.at == phase::idle))
    return "a deployment without a payment, or the other way round";
  if (d.at == phase::skipped && provider)
    return "skipped in spite of the provider";
  const auto in_run = d.at != phase::idle && d.at != phase::skipped;
  if (in_run && (d.attempt == 0 || d.attempt > d.attempt_limit))
    return "the attempt";
  if (in_run && !d.queued_at)
    return "never queued";
  if (d.deadline_at.has_value() != (works(d.at) && d.at != phase::cancelling))
    return "the deadline";
  if (works(d.at) && d.at != phase::cancelling && !d.started_at)
    return "at work since when?";
  if (d.retry_at && !works(d.at) && d.at != phase::backing_off)
    return "a retry of nothing";
  if (d.at == phase::backing_off && !d.retry_at)
    return "backs off for ever";
  if ((i.status == instance_status::deleted) != i.deleted_at.has_value())
    return "deleted";
  if (d.at == phase::running
      && (i.project_id.empty() || i.environment_id.empty()
          || i.service_id.empty() || i.status != instance_status::running
          || d.progress != 100 || !d.completed_at || i.deleted_at))
    return "running";
  if ((d.at == phase::deploying_template || d.at == phase::awaiting_workflow
       || d.at == phase::configuring || d.at == phase::deploying)
      && (i.project_id.empty() || i.deleted_at))
    return "at work on no project";
  if (d.at == phase::deploying && i.service_id.empty())
    return "deploying no service";
  if (d.at == phase::awaiting_workflow && d.workflow_id.empty())
    return "waits for no workflow";
  if (d.at == phase::cancelling && d.ended_by != actor_kind::user
      && !(d.ended_by == actor_kind::slipway
           && s.status == subscription_status::refunded))
    return "cancelled by nobody";
  if (s.status == subscription_status::refunded && !is_settled(d.at)
      && d.at != phase::cancelling)
    return "builds for money that went back";
  if (d.at == phase::stopped && i.seq != 0 && !i.deleted_at)
    return "stopped, and the instance lives";
  if (d.at == phase::failed && (d.error.empty() || !d.completed_at))
    return "failed without a reason";
  if (!is_settled(d.at) && resume(s).empty() && !wake_at(s))
    return "stuck";
  return nullptr;
}

/// Whether a kind world brings it to rest.
bool comes_to_rest(driver x) {
  for (auto i = 0; i < 40; ++i) {
    if (is_settled(x.d().at))
      return true;
    const auto owed = resume(x.now);
    if (owed.empty()) {
      const auto due = wake_at(x.now);
      if (!due)
        return false;
      x.at = std::max(x.at, *due);
      x.feed(woke{x.at, 0});
    } else {
      x.feed(x.progress_event());
    }
  }
  return false;
}

struct node {
  state now;
  timestamp at;
};

void explore(bool provider, bool revive) {
  auto with = small_rules();
  with.provider = provider;
  with.revive_late_payment = revive;
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
  seen.insert(key_of(open.front().now, day_one));
  while (!open.empty()) {
    const auto from = std::move(open.front());
    open.pop_front();
    const auto due = wake_at(from.now);
    auto events = alphabet(from.now, from.at + 1s);
    if (due)
      events.push_back(woke{std::max(*due, from.at + 1s), chance_max});
    for (const auto& e : events) {
      auto made = decide(from.now, e, with);
      if (made.is != verdict::applied)
        continue;
      ++applied;
      const auto at = time_of(e);
      if (const auto* flaw = flaw_in(made.next, provider))
        complain(std::string{flaw} + " after " + std::string{name_of(e)}
                 + " in " + std::string{to_string(from.now.deployment.at)});
      if (describe(e, from.now, made.next).empty())
        complain("no words for " + std::string{name_of(e)});
      if (!seen.insert(key_of(made.next, at)).second)
        continue;
      auto x = driver{};
      x.now = made.next;
      x.with = with;
      x.at = at;
      if (!comes_to_rest(std::move(x)))
        complain("never comes to rest after " + std::string{name_of(e)});
      open.push_back({std::move(made.next), at});
    }
  }
  CAF_MESSAGE((provider ? "with" : "without")
              << " a provider: " << seen.size() << " states, " << applied
              << " transitions");
  CAF_CHECK_EQUAL(flaws, 0u);
  CAF_CHECK(seen.size() > (provider ? 10'000u : 50u));
}

} // namespace

CAF_TEST(every state that can be reached makes sense and goes on) {
  explore(true, true);
}

CAF_TEST(so it is where late money waits for a person) {
  explore(true, false);
}

CAF_TEST(so it is without a provider) {
  explore(false, true);
}

#define CAF_SUITE lifecycle.grid

#include "tests/support/lifecycle_states.hpp"

#include <caf/test/unit_test.hpp>

#include <iostream>

using namespace slipway;
using namespace slipway::test;

// Goal: the promises of `decide` hold for every state and every event, not for
// those that a test's author thought of. The grid also holds states that no
// history leads to: a rule must not depend on luck.

namespace {

constexpr auto t0 = day_one + 1h;

/// How the instance stands that came to run.
void put_instance(state& s, phase at, bool last, bool retry) {
  auto& d = s.deployment;
  auto& i = s.instance;
  // Not every service tells the number of its deployment.
  if (last)
    d.deployment_id = "d-1";
  if (i.seq == 0)
    return;
  if (at == phase::running) {
    i.status = instance_status::running;
    i.health = retry ? instance_health::sleeping : instance_health::healthy;
    i.sleep_told = retry;
  } else if (at == phase::lapsed) {
    i.status = instance_status::failed;
    i.health = retry ? instance_health::missing : instance_health::crashed;
    d.error = "exit code 137";
    if (retry) {
      i.status = instance_status::deleted;
      i.deleted_at = day_one;
    }
  }
}

/// One corner of the grid, consistent in itself.
state make_state(phase at, subscription_status status, order_status paid,
                 bool last, bool project, bool intent, bool retry) {
  auto s = state{};
  s.revision = 7;
  s.status = status;
  s.amount = price;
  s.period_days = 30;
  if (status != subscription_status::pending) {
    s.start_at = day_one;
    s.end_at = day_one + std::chrono::days{30};
  }
  auto o = order{};
  o.seq = 1;
  o.amount = price;
  o.status = paid;
  o.created_at = day_one;
  o.expires_at = t0 + 10min;
  o.idempotency_key = "key-1";
  if (has_money(o)) {
    o.transaction_id = "t-1";
    o.paid_at = day_one;
    o.applied = status != subscription_status::pending;
    if (!o.applied || paid == order_status::refunding) {
      o.refund_seq = 1;
      o.refund_amount = price;
      o.refund_for = refund_cause::operator_;
    }
    if (!o.applied && paid == order_status::paid)
      o.refund_error = "no balance";
    if (paid == order_status::refunded)
      o.refunded = price;
  }
  s.orders.push_back(o);
  auto& d = s.deployment;
  d.at = at;
  d.phase_at = day_one;
  if (at != phase::idle && at != phase::skipped) {
    d.attempt = last ? 3 : 1;
    d.attempt_limit = 3;
    d.queued_at = day_one;
    // What is being taken away has none, unless it was paid for meanwhile.
    if (!leaves(at) || last)
      d.queue_rank = day_one - 5min;
  }
  if (has_work(at)) {
    d.started_at = day_one;
    d.progress = 50;
    if (!leaves(at))
      d.deadline_at = t0 + 14min;
    if (retry) {
      d.retry_at = t0 + 5s;
      d.tries = 2;
    }
  }
  if (at == phase::halting)
    d.error = "broken";
  if (at == phase::backing_off)
    d.retry_at = t0 + 5s;
  const auto ran
    = at == phase::running || at == phase::lapsed || at == phase::terminating;
  if (ran || at == phase::failed || at == phase::stopped) {
    d.completed_at = day_one;
    d.progress = ran ? 100 : 50;
  }
  if (intent)
    d.intent_at = day_one;
  if (project || works(at)) {
    s.instance.seq = 1;
    s.instance.created_at = day_one;
  }
  if (project) {
    s.instance.project_id = "p-1";
    s.instance.environment_id = "e-1";
  }
  if (at == phase::stopped && project) {
    s.instance.status = instance_status::deleted;
    s.instance.deleted_at = day_one;
  }
  if (at != phase::idle && at != phase::skipped)
    put_instance(s, at, last, retry);
  return s;
}

/// How the money of one order can stand.
struct money {
  order_status status = order_status::pending;
  bool applied = false;
  std::uint32_t refund_seq = 0;
  minor_units refunded = 0;
};

order make_order(std::uint32_t seq, const money& what, timestamp paid_at) {
  auto o = order{};
  o.seq = seq;
  o.amount = price;
  o.status = what.status;
  o.created_at = paid_at;
  o.expires_at = t0 + 10min;
  o.idempotency_key = "key-" + std::to_string(seq);
  if (what.status == order_status::pending)
    o.code = "c-1";
  if (!has_money(o))
    return o;
  o.transaction_id = "t-" + std::to_string(seq);
  o.paid_at = paid_at;
  o.applied = what.applied;
  o.refunded = what.refunded;
  if (what.refunded != 0)
    o.refunds_counted = "r-1 ";
  o.refund_seq = what.refund_seq;
  if (what.refund_seq != 0) {
    o.refund_amount = price - what.refunded;
    o.refund_for = refund_cause::operator_;
    if (what.status == order_status::paid)
      o.refund_error = "no balance";
  }
  return o;
}

std::vector<money> make_moneys() {
  using os = order_status;
  auto out = std::vector<money>{{os::pending}, {os::closing}, {os::closed}};
  for (auto applied : {true, false}) {
    for (auto seq : {1u, 2u})
      for (auto back : {minor_units{0}, price / 2}) {
        out.push_back({os::paid, applied, seq, back});
        out.push_back({os::refunding, applied, seq, back});
      }
    for (auto seq : {0u, 1u})
      out.push_back({os::refunded, applied, seq, price});
  }
  for (auto back : {minor_units{0}, price / 2})
    out.push_back({os::paid, true, 0, back});
  return out;
}

/// One or two orders, in all ways that make sense where the subscription
/// stands. The second one is the newer one.
std::vector<std::vector<order>> make_ledgers(subscription_status status) {
  auto out = std::vector<std::vector<order>>{};
  const auto all = make_moneys();
  const auto consider = [&](std::vector<order> orders) {
    auto s = state{};
    s.status = status;
    s.start_at = day_one;
    s.orders = std::move(orders);
    if (money_flaw_in(s) == nullptr)
      out.push_back(std::move(s.orders));
  };
  const auto earlier = day_one - std::chrono::days{40};
  for (const auto& a : all) {
    consider({make_order(1, a, day_one)});
    // The half of them will do for what was before.
    if (a.refund_seq == 2 || (a.refunded != 0 && a.refunded != price))
      continue;
    for (const auto& b : all)
      consider({make_order(1, a, a.applied && b.applied ? earlier : day_one),
                make_order(2, b, day_one)});
  }
  return out;
}

/// Every event in every variation that could matter.
std::vector<event>
make_events(timestamp at, std::initializer_list<std::uint32_t> attempts) {
  auto out = std::vector<event>{};
  out.push_back(subscription_created{at, price, 30});
  for (auto key : {"", "key-1", "key-2"})
    for (auto method : {payment_method::page, payment_method::wap})
      out.push_back(
        order_requested{at, payment_gateway::alipay, method, at + 30min, key});
  for (auto seq : {0u, 1u, 2u, 9u})
    for (auto gateway : {payment_gateway::alipay, payment_gateway::wechat})
      for (auto amount : {price, price - 1, price + 1, minor_units{0}})
        for (auto transaction : {"t-1", "t-2", "t-3"})
          out.push_back(
            payment_settled{at, seq, gateway, transaction, amount, at});
  for (auto seq : {0u, 1u, 2u, 9u}) {
    out.push_back(order_closed{at, seq});
    out.push_back(refund_requested{at, seq, refund_cause::operator_});
    for (auto code : {"", "c-1", "c-2"})
      out.push_back(order_prepared{at, seq, code});
    for (auto back : {minor_units{-1}, minor_units{0}, price / 2, price,
                      price + 1, std::numeric_limits<minor_units>::max(),
                      std::numeric_limits<minor_units>::min()}) {
      out.push_back(refund_observed{at, seq, back, 0, {}});
      out.push_back(refund_observed{at, seq, back, price, "r-1"});
      for (auto id : {"r-1", "r-11", "-1"})
        out.push_back(refund_observed{at, seq, std::nullopt, back, id});
    }
    // Ours, with what the gateway says of the payment it belongs to.
    for (auto [transaction, amount] :
         {std::pair{"", minor_units{0}}, std::pair{"t-1", price},
          std::pair{"t-2", minor_units{0}}, std::pair{"", price - 1}}) {
      out.push_back(
        refund_observed{at, seq, price, 0, {}, 1, transaction, amount});
      for (auto portion : {price / 2, price})
        out.push_back(refund_observed{at, seq, std::nullopt, portion, "ours", 1,
                                      transaction, amount});
    }
    for (auto number : {0u, 1u, 2u})
      for (auto spent : {false, true})
        out.push_back(refund_failed{at, seq, number, spent, "no luck"});
  }
  out.push_back(slot_granted{at});
  for (auto attempt : attempts) {
    out.push_back(project_create_started{at, attempt});
    out.push_back(project_ready{at, attempt, "p-2", "e-2", false});
    out.push_back(template_deploy_started{at, attempt});
    out.push_back(template_deployed{at, attempt, "w-1"});
    out.push_back(template_deployed{at, attempt, ""});
    out.push_back(workflow_finished{at, attempt});
    out.push_back(
      configured{at, attempt, "s-1", "web", "d-1", "https://web.example"});
    for (auto is :
         {condition::in_progress, condition::running, condition::failed})
      for (auto progress :
           {std::uint8_t{10}, std::uint8_t{80}, std::uint8_t{255}})
        out.push_back(deployment_observed{at, attempt, is, progress, "X",
                                          "broken", chance_max});
    for (auto in : all_phases())
      for (auto how = 0; how < 5; ++how) {
        auto x = step_failed{};
        x.at = at;
        x.attempt = attempt;
        x.in = in;
        x.permanent = how == 1;
        x.without_effect = how == 2;
        x.hopeless = how == 3;
        x.retry_after = how == 4 ? millis{31'000} : millis{0};
        x.reason = "no luck";
        x.chance = chance_max;
        out.push_back(x);
      }
  }
  for (auto attempt : attempts)
    out.push_back(halted{at, attempt, chance_max});
  for (auto by : {actor_kind::user, actor_kind::operator_}) {
    out.push_back(retry_requested{at, by});
    out.push_back(cancel_requested{at, by});
    out.push_back(terminate_requested{at, by});
  }
  for (auto seq : {0u, 1u, 2u})
    for (auto is : all_healths())
      for (auto id : {"", "d-1", "d-2"})
        out.push_back(instance_observed{at, seq, is, id, "X",
                                        serves(is) ? "" : "exit code 1"});
  out.push_back(cancellation_confirmed{at});
  for (auto later : {millis{0}, millis{5s}, millis{10min}, millis{14min},
                     millis{std::chrono::days{31}}})
    out.push_back(woke{at + later, chance_max});
  return out;
}

std::vector<state> make_states() {
  auto out = std::vector<state>{};
  for (auto at : all_phases())
    for (auto status = 0; status < 6; ++status)
      for (std::uint8_t paid = 0; paid < order_status_count; ++paid)
        for (auto bits = 0; bits < 16; ++bits)
          out.push_back(make_state(at, static_cast<subscription_status>(status),
                                   static_cast<order_status>(paid),
                                   (bits & 1) != 0, (bits & 2) != 0,
                                   (bits & 4) != 0, (bits & 8) != 0));
  return out;
}

/// Few ways in which the deployment can stand, and all in which the money can.
std::vector<state> make_money_states() {
  auto out = std::vector<state>{};
  for (auto status :
       {subscription_status::pending, subscription_status::active,
        subscription_status::expired, subscription_status::cancelled,
        subscription_status::refunded}) {
    const auto ledgers = make_ledgers(status);
    for (auto at :
         {phase::idle, phase::queued, phase::deploying, phase::running,
          phase::failed, phase::stopped, phase::lapsed, phase::terminating})
      for (const auto& orders : ledgers) {
        out.push_back(make_state(at, status, order_status::pending, false, true,
                                 false, false));
        out.back().orders = orders;
      }
  }
  return out;
}

const std::vector<state>& deployment_states() {
  static const auto all = make_states();
  return all;
}

const std::vector<state>& money_states() {
  static const auto all = make_money_states();
  return all;
}

std::string words(const order& o) {
  return std::string{to_string(o.status)} + (o.applied ? " applied" : "")
         + " refund " + std::to_string(o.refund_seq) + " of "
         + std::to_string(o.refunded);
}

std::string name(const state& s, const event& what) {
  return std::string{name_of(what)} + " in "
         + std::string{to_string(s.deployment.at)} + ", "
         + std::string{to_string(s.status)} + ", order "
         + words(s.orders.front())
         + (s.orders.size() > 1 ? " and " + words(s.orders.back()) : "")
         + ", attempt " + std::to_string(s.deployment.attempt) + ", project '"
         + s.instance.project_id + "', intent "
         + std::to_string(s.deployment.intent_at.has_value()) + ", retry "
         + std::to_string(s.deployment.retry_at.has_value()) + ", rank "
         + std::to_string(s.deployment.queue_rank.has_value()) + ", health "
         + std::string{to_string(s.instance.health)};
}

/// Collects what is wrong, and shows the first few: millions of checks would
/// drown the log.
struct complaints {
  std::size_t total = 0;

  void operator()(const std::string& what) {
    if (++total <= 5)
      CAF_ERROR(what);
  }
};

/// Calls `f(state)` for the whole grid.
template <class F>
void for_all_states(F f) {
  for (const auto* all : {&deployment_states(), &money_states()})
    for (const auto& s : *all)
      f(s);
}

/// Calls `f(state, event, decision)` over the whole grid, or for such events
/// only.
template <class... Events, class F>
std::size_t for_all(const rules& with, F f) {
  auto n = std::size_t{0};
  const auto visit
    = [&](const std::vector<state>& states, const std::vector<event>& events) {
        // Not a divisor of anything that the grid is made of.
        const auto stride = std::size_t{slow_build ? 7 : 1};
        for (auto i = std::size_t{0}; i < states.size(); i += stride)
          for (const auto& e : events) {
            const auto& s = states[i];
            if (sizeof...(Events) != 0
                && !(std::holds_alternative<Events>(e) || ...))
              continue;
            f(s, e, decide(s, e, with));
            ++n;
          }
      };
  static const auto all = make_events(t0, {0, 1, 2, 3, 4});
  visit(deployment_states(), all);
  // The attempt has been tried out above.
  static const auto few = make_events(t0, {1});
  visit(money_states(), few);
  return n;
}

bool is_woke(const event& what) {
  return std::holds_alternative<woke>(what);
}

/// Finds an order without the machine's help.
const order* order_at(const state& s, std::uint32_t seq) {
  for (const auto& o : s.orders)
    if (o.seq == seq)
      return &o;
  return nullptr;
}

int applied_orders(const state& s) {
  return static_cast<int>(
    std::count_if(s.orders.begin(), s.orders.end(), [](const order& o) {
      return o.applied;
    }));
}

/// Whether the money for the present period is to go back.
bool goes_back(const state& s) {
  const auto* last = static_cast<const order*>(nullptr);
  for (const auto& o : s.orders)
    if (o.applied)
      last = &o;
  return last != nullptr && last->status == order_status::refunding;
}

minor_units went_back(const state& s) {
  auto out = minor_units{0};
  for (const auto& o : s.orders)
    out += o.refunded;
  return out;
}

std::vector<rules> all_rules() {
  auto out = std::vector<rules>(3, make_rules());
  out[1].provider = false;
  out[2].revive_late_payment = false;
  // Ten minutes after t0.
  out[2].refund_failed_after = 70min;
  out[2].head_start = 10min;
  return out;
}

} // namespace

CAF_TEST(an applied event moves the revision and nothing else moves at all) {
  auto bad = complaints{};
  for (const auto& with : all_rules()) {
    const auto n = for_all(
      with, [&](const state& s, const event& e, const decision& made) {
        if (made.is == verdict::applied) {
          if (made.next.revision != s.revision + 1)
            bad("revision: " + name(s, e));
          auto same = made.next;
          same.revision = s.revision;
          if (same == s)
            bad("applied without a change: " + name(s, e));
          if (describe(e, s, made.next).empty())
            bad("no words for: " + name(s, e));
        } else {
          if (made.next != s || !made.effects.empty())
            bad("refused and yet changed: " + name(s, e));
        }
      });
    CAF_MESSAGE(n << " decisions");
  }
  CAF_CHECK_EQUAL(bad.total, 0u);
}

CAF_TEST(a repeated event never has its effects twice) {
  // What may well happen again: another order without a key, a refund of
  // whatever there is, an announcement of a second call, a second failure of
  // the same step. None has effects.
  const auto repeatable = [](const event& e) {
    if (const auto* x = std::get_if<order_requested>(&e))
      return x->idempotency_key.empty();
    return std::holds_alternative<project_create_started>(e)
           || std::holds_alternative<template_deploy_started>(e)
           || std::holds_alternative<step_failed>(e);
  };
  auto bad = complaints{};
  for (const auto& with : all_rules())
    for_all(with, [&](const state& s, const event& e, const decision& made) {
      if (made.is != verdict::applied)
        return;
      const auto again = decide(made.next, e, with);
      if (again.is != verdict::applied)
        return;
      // A timer may ring often: each time it does one thing that is due.
      if (is_woke(e)) {
        auto left = again;
        for (auto i = 0; i < 3 && left.is == verdict::applied; ++i)
          left = decide(left.next, e, with);
        if (left.is == verdict::applied)
          bad("never comes to rest: " + name(s, e));
        return;
      }
      if (!repeatable(e) || !again.effects.empty())
        bad("applied twice: " + name(s, e));
    });
  CAF_CHECK_EQUAL(bad.total, 0u);
}

CAF_TEST(progress never falls within an attempt) {
  auto bad = complaints{};
  // How far the outside world sees it; nothing, where it has come to an end.
  const auto stage = [](phase at) {
    const auto is = to_deployment_status(at);
    return is == deployment_status::failed || is == deployment_status::stopped
             ? std::optional<int>{}
             : static_cast<int>(is);
  };
  for_all(
    make_rules(), [&](const state& s, const event& e, const decision& made) {
      const auto& before = s.deployment;
      const auto& after = made.next.deployment;
      if (after.progress > 100)
        bad("beyond 100: " + name(s, e));
      if (after.attempt == before.attempt && after.progress < before.progress)
        bad("fell: " + name(s, e));
      if (after.attempt == before.attempt && stage(after.at)
          && stage(after.at) < stage(before.at))
        bad("went back: " + name(s, e));
      if (after.progress == 100 && before.progress < 100
          && after.at != phase::running)
        bad("100 without running: " + name(s, e));
      if (after.progress == 100
          && (in_attempt(after.at) || after.at == phase::queued
              || after.at == phase::backing_off || after.at == phase::halting))
        bad("100 and yet to run: " + name(s, e));
      if (after.attempt < before.attempt)
        bad("an attempt was taken back: " + name(s, e));
      if (after.attempt > after.attempt_limit)
        bad("beyond the last attempt: " + name(s, e));
    });
  CAF_CHECK_EQUAL(bad.total, 0u);
}

CAF_TEST(slots and steps are ordered exactly where phases change) {
  auto bad = complaints{};
  for (const auto& with : all_rules())
    for_all(with, [&](const state& s, const event& e, const decision& made) {
      if (made.is != verdict::applied)
        return;
      const auto from = s.deployment.at;
      const auto to = made.next.deployment.at;
      const auto left_queue
        = (from == phase::queued || from == phase::backing_off)
          && to == phase::stopped;
      // What is dropped at the provider is released along with it.
      const auto gone = from == phase::terminating && to != from;
      const auto release = (works(from) && !works(to)) || left_queue || gone;
      if (count(made.effects, effect::release_slot) != int{release})
        bad("release_slot: " + name(s, e));
      const auto tried_again
        = s.deployment.retry_at && !made.next.deployment.retry_at && from == to;
      const auto run = has_work(to) && (from != to || tried_again);
      if (count(made.effects, effect::run_step) != int{run})
        bad("run_step: " + name(s, e));
      const auto request = to == phase::queued && from != phase::queued;
      if (count(made.effects, effect::request_slot) != int{request})
        bad("request_slot: " + name(s, e));
      if (holds_slot(to) != works(to))
        bad("holds_slot: " + name(s, e));
      if (has_step(to) != has_work(to))
        bad("has_step: " + name(s, e));
      if (is_settled(to) == is_under_way(to))
        bad("is_settled: " + name(s, e));
    });
  CAF_CHECK_EQUAL(bad.total, 0u);
}

CAF_TEST(a slot is free when nothing is built any more and not before) {
  auto bad = complaints{};
  auto halted_ones = 0;
  const auto with = make_rules();
  for_all(with, [&](const state& s, const event& e, const decision& made) {
    const auto from = s.deployment.at;
    const auto to = made.next.deployment.at;
    const auto* told = std::get_if<step_failed>(&e);
    // What is known to have come to nothing is not being built.
    const auto was_building
      = builds(from)
        || (builds(s.deployment) && !(told != nullptr && told->without_effect));
    if (was_building && !works(to) && to != phase::running
        && made.is == verdict::applied)
      bad("the slot was left to what builds: " + name(s, e));
    if (to == phase::halting && from != to) {
      ++halted_ones;
      if (!was_building || made.next.deployment.attempt != s.deployment.attempt
          || made.next.deployment.error.empty()
          || made.next.deployment.deadline_at != time_of(e) + with.halt_patience
          || made.next.deployment.retry_at)
        bad("halted badly: " + name(s, e));
    }
    if (from != phase::halting || from == to)
      return;
    const auto* proof = std::get_if<halted>(&e);
    const auto proven
      = proof != nullptr && proof->attempt == s.deployment.attempt;
    const auto* late = std::get_if<woke>(&e);
    const auto given_up
      = late != nullptr && late->at >= *s.deployment.deadline_at;
    if (to == phase::cancelling)
      return; // Which keeps the slot.
    if (!proven && !given_up)
      bad("the slot was given back without proof: " + name(s, e));
    const auto last = s.deployment.attempt == s.deployment.attempt_limit;
    if (to != (last ? phase::failed : phase::backing_off)
        || made.next.deployment.error != s.deployment.error
        || made.next.deployment.deadline_at)
      bad("ended badly: " + name(s, e));
  });
  CAF_CHECK_EQUAL(bad.total, 0u);
  CAF_CHECK(halted_ones > 0);
}

CAF_TEST(an instance is deleted with proof or never was) {
  auto bad = complaints{};
  auto deleted = 0;
  const auto with = make_rules();
  for_all(with, [&](const state& s, const event& e, const decision& made) {
    const auto& i = made.next.instance;
    if ((i.status == instance_status::deleted) != i.deleted_at.has_value())
      bad("deleted in half: " + name(s, e));
    if (s.instance.deleted_at && i.seq == s.instance.seq
        && i.deleted_at != s.instance.deleted_at)
      bad("came back: " + name(s, e));
    if (s.instance.deleted_at || !i.deleted_at)
      return;
    ++deleted;
    const auto from = s.deployment.at;
    const auto* seen = std::get_if<instance_observed>(&e);
    const auto missed = seen != nullptr && seen->is == instance_health::missing;
    const auto proven
      = std::holds_alternative<cancellation_confirmed>(e) && leaves(from);
    const auto never_was = s.instance.project_id.empty()
                           && !s.deployment.intent_at && !works(from);
    if (!missed && !proven && !never_was)
      bad("deleted without proof: " + name(s, e));
    if (i.deleted_at != time_of(e) || !i.public_url.empty()
        || i.health
             != (missed ? instance_health::missing : instance_health::unknown)
        || made.next.deployment.intent_at
        || (!never_was && !made.next.deployment.deployment_id.empty()))
      bad("something of it is left: " + name(s, e));
  });
  CAF_CHECK_EQUAL(bad.total, 0u);
  CAF_CHECK(deleted > 0);
}

CAF_TEST(a place in the queue is earned once and kept) {
  auto bad = complaints{};
  const auto with = all_rules().back();
  for_all(with, [&](const state& s, const event& e, const decision& made) {
    const auto from = s.deployment.at;
    const auto& before = s.deployment.queue_rank;
    const auto& d = made.next.deployment;
    auto expected = before;
    if (made.is == verdict::applied) {
      const auto begins = d.at == phase::queued && from != phase::queued
                          && from != phase::backing_off;
      if (const auto* paid = std::get_if<payment_settled>(&e);
          paid != nullptr && (begins || leaves(from))
          && made.next.status != s.status)
        expected = paid->paid_at - with.head_start;
      else if (std::holds_alternative<retry_requested>(e))
        expected = t0 - with.head_start;
      else if (from != d.at && (leaves(d.at) || d.at == phase::stopped)
               && !leaves(from))
        expected = std::nullopt;
    }
    if (d.queue_rank != expected)
      bad("its place: " + name(s, e));
    if (d.at == phase::queued && !d.queue_rank)
      bad("queued nowhere: " + name(s, e));
  });
  CAF_CHECK_EQUAL(bad.total, 0u);
}

CAF_TEST(the user is told once of every turn) {
  auto bad = complaints{};
  for (const auto& with : all_rules())
    for_all(with, [&](const state& s, const event& e, const decision& made) {
      const auto from = s.deployment.at;
      const auto to = made.next.deployment.at;
      if (count(made.effects, effect::notify_failed)
          != int{to == phase::failed && from != phase::failed})
        bad("notify_failed: " + name(s, e));
      if (count(made.effects, effect::notify_running)
          != int{to == phase::running && from == phase::deploying})
        bad("notify_running: " + name(s, e));
      if (count(made.effects, effect::notify_down)
          != int{to == phase::lapsed && from != phase::lapsed})
        bad("notify_down: " + name(s, e));
      if (count(made.effects, effect::notify_recovered)
          != int{to == phase::running && from == phase::lapsed})
        bad("notify_recovered: " + name(s, e));
      const auto left_queue
        = (from == phase::queued || from == phase::backing_off)
          && to == phase::stopped;
      if (count(made.effects, effect::notify_cancelled)
          != int{left_queue || (from == phase::cancelling && to != from)})
        bad("notify_cancelled: " + name(s, e));
      if (count(made.effects, effect::notify_terminated)
          != int{from == phase::terminating && to != from})
        bad("notify_terminated: " + name(s, e));
      if (count(made.effects, effect::notify_changed) != 0
          && (!std::holds_alternative<instance_observed>(e)
              || from != phase::running || to != from))
        bad("notify_changed: " + name(s, e));
      if (count(made.effects, effect::notify_paid)
          != applied_orders(made.next) - applied_orders(s))
        bad("notify_paid: " + name(s, e));
      if (count(made.effects, effect::notify_refunded)
          != int{went_back(made.next) > went_back(s)})
        bad("notify_refunded: " + name(s, e));
    });
  CAF_CHECK_EQUAL(bad.total, 0u);
}

CAF_TEST(money is never lost or invented) {
  auto bad = complaints{};
  auto sound = std::size_t{0};
  const auto* last = static_cast<const state*>(nullptr);
  auto was_sound = false;
  for (const auto& with : all_rules())
    for_all(with, [&](const state& s, const event& e, const decision& made) {
      if (last != &s) {
        last = &s;
        was_sound = money_flaw_in(s) == nullptr;
        sound += was_sound ? 1 : 0;
      }
      if (made.is != verdict::applied)
        return;
      if (const auto* flaw = money_flaw_between(s, e, made.next))
        bad(std::string{flaw} + ": " + name(s, e));
      // What makes sense goes on making sense.
      if (was_sound)
        if (const auto* flaw = money_flaw_in(made.next))
          bad(std::string{flaw} + " after " + name(s, e));
      // Only money makes it active, and only one payment at a time.
      const auto became_active = made.next.status == subscription_status::active
                                 && s.status != subscription_status::active;
      const auto bought = applied_orders(made.next) - applied_orders(s);
      if (bought != int{became_active})
        bad("activation: " + name(s, e));
      if (became_active
          && (!std::holds_alternative<payment_settled>(e)
              || made.next.start_at != t0
              || made.next.end_at != t0 + std::chrono::days{30}))
        bad("activated by something else: " + name(s, e));
      // What happens to the deployment never takes an activation back.
      if (s.status == subscription_status::active
          && made.next.status != subscription_status::active
          && !std::holds_alternative<refund_observed>(e) && !is_woke(e))
        bad("deactivated: " + name(s, e));
    });
  CAF_MESSAGE(sound << " of the states make sense");
  CAF_CHECK_EQUAL(bad.total, 0u);
  CAF_CHECK(sound > 3 * (slow_build ? 500u : 5'000u));
}

CAF_TEST(payments are judged alike in every phase) {
  auto bad = complaints{};
  for (const auto& with : all_rules())
    for_all<payment_settled>(with, [&](const state& s, const event& e,
                                       const decision& made) {
      const auto* x = std::get_if<payment_settled>(&e);
      if (x == nullptr)
        return;
      const auto* o = order_at(s, x->order);
      const auto* other = order_at(s, 3 - x->order);
      auto expected = verdict::applied;
      if (o == nullptr)
        expected = verdict::unknown_order;
      else if (x->gateway != o->gateway)
        expected = verdict::gateway_mismatch;
      else if (x->amount != o->amount)
        expected = verdict::amount_mismatch;
      else if (other != nullptr && other->transaction_id == x->transaction_id)
        expected = verdict::conflicting_payment;
      else if (!o->transaction_id.empty())
        expected = x->transaction_id == o->transaction_id
                     ? verdict::already_applied
                     : verdict::conflicting_payment;
      if (made.is != expected) {
        bad(name(s, e) + " is " + std::string{to_string(made.is)});
        return;
      }
      if (made.is != verdict::applied)
        return;
      const auto& paid = made.next.orders[o->seq - 1];
      const auto payable = s.status == subscription_status::pending
                           || s.status == subscription_status::expired;
      // An order that a newer one has replaced and outlived buys nothing.
      const auto outlived = o->seq == 1 && other != nullptr && other->applied;
      const auto counts
        = payable && !outlived
          && (o->status == order_status::pending || with.revive_late_payment);
      if (paid.applied != counts || paid.transaction_id != x->transaction_id
          || paid.paid_at != t0)
        bad("kept badly: " + name(s, e));
      if (counts && paid.status != order_status::paid)
        bad("not paid: " + name(s, e));
      if (!counts
          && (paid.status != order_status::refunding || paid.refund_seq != 1
              || paid.refund_amount != price
              || paid.refund_for
                   != (payable ? refund_cause::late_payment
                               : refund_cause::surplus_payment)))
        bad("money that buys nothing is kept: " + name(s, e));
      if (!counts
          && (made.next.status != s.status
              || made.next.deployment != s.deployment || !made.effects.empty()))
        bad("surplus money moved something: " + name(s, e));
      if (!counts)
        return;
      const auto at = s.deployment.at;
      const auto& d = made.next.deployment;
      if (at == phase::running || is_under_way(at)) {
        // It goes on; where it is being taken away, it starts anew afterwards.
        auto same = s.deployment;
        if (leaves(at))
          same.queue_rank = t0 - with.head_start;
        if (d != same)
          bad("a payment disturbed what is under way: " + name(s, e));
      } else if (d.at != (with.provider ? phase::queued : phase::skipped)
                 || (with.provider
                     && (d.attempt != s.deployment.attempt + 1
                         || d.attempt_limit != d.attempt + 2 || d.progress != 0
                         || d.queued_at != t0 || d.completed_at
                         || !d.error.empty()))) {
        bad("deployment after payment: " + name(s, e));
      }
    });
  CAF_CHECK_EQUAL(bad.total, 0u);
}

CAF_TEST(what the gateway says of orders has one answer) {
  auto bad = complaints{};
  for_all<order_closed, order_prepared, refund_failed>(
    make_rules(), [&](const state& s, const event& e, const decision& made) {
      auto expected = verdict::applied;
      if (const auto* x = std::get_if<order_closed>(&e)) {
        const auto* o = order_at(s, x->order);
        if (o == nullptr)
          expected = verdict::unknown_order;
        else if (o->status != order_status::pending
                 && o->status != order_status::closing)
          expected = verdict::already_applied;
      } else if (const auto* y = std::get_if<order_prepared>(&e)) {
        const auto* o = order_at(s, y->order);
        if (o == nullptr)
          expected = verdict::unknown_order;
        else if (o->code == y->code)
          expected = verdict::already_applied;
        else if (o->status != order_status::pending)
          expected = verdict::stale;
      } else if (const auto* z = std::get_if<refund_failed>(&e)) {
        const auto* o = order_at(s, z->order);
        if (o == nullptr)
          expected = verdict::unknown_order;
        else if (o->status != order_status::refunding
                 || o->refund_seq != z->refund_seq)
          expected = verdict::stale;
      } else {
        return;
      }
      if (made.is != expected)
        bad(name(s, e) + " is " + std::string{to_string(made.is)});
      else if (made.is == verdict::applied
               && (made.next.status != s.status
                   || made.next.deployment != s.deployment
                   || !made.effects.empty()))
        bad("more than an order was moved: " + name(s, e));
    });
  CAF_CHECK_EQUAL(bad.total, 0u);
}

CAF_TEST(refunds are counted once and end what they paid for) {
  auto bad = complaints{};
  for_all<refund_observed>(make_rules(), [&](const state& s, const event& e,
                                             const decision& made) {
    const auto* x = std::get_if<refund_observed>(&e);
    if (x == nullptr)
      return;
    const auto* o = order_at(s, x->order);
    auto expected = verdict::applied;
    auto total = minor_units{0};
    if (o == nullptr) {
      expected = verdict::unknown_order;
    } else if (!has_money(*o)) {
      expected = verdict::not_paid;
    } else {
      // There is but one whose number is known.
      const auto known = x->refund_id == "r-1" && !o->refunds_counted.empty();
      if (!x->transaction_id.empty() && x->transaction_id != o->transaction_id)
        expected = verdict::conflicting_payment;
      else if (x->amount != 0 && x->amount != o->amount)
        expected = verdict::amount_mismatch;
      else if (!x->total && x->refund_seq != 0 && x->refund_seq == o->refund_seq
               && x->portion != o->refund_amount)
        expected = verdict::amount_mismatch;
      else if (!x->total && known)
        expected = verdict::already_applied;
      else if (x->total ? *x->total > o->amount
                        : x->portion > o->amount - o->refunded)
        expected = verdict::amount_mismatch;
      else if (x->total ? *x->total <= o->refunded : x->portion <= 0)
        expected = verdict::already_applied;
      else
        total = x->total ? *x->total : o->refunded + x->portion;
    }
    if (made.is != expected) {
      bad(name(s, e) + " is " + std::string{to_string(made.is)});
      return;
    }
    if (made.is != verdict::applied)
      return;
    const auto& back = made.next.orders[o->seq - 1];
    const auto whole = total == o->amount;
    if (back.refunded != total
        || back.status != (whole ? order_status::refunded : o->status))
      bad("counted badly: " + name(s, e));
    if (!x->refund_id.empty()
        && (" " + back.refunds_counted).find(" " + x->refund_id + " ")
             == std::string::npos)
      bad("its number was not kept: " + name(s, e));
    const auto* newer = order_at(s, o->seq + 1);
    const auto ends
      = whole && o->applied && (newer == nullptr || !newer->applied);
    const auto at = s.deployment.at;
    const auto under_way
      = works(at) || at == phase::queued || at == phase::backing_off;
    if (ends) {
      if (made.next.status != subscription_status::refunded)
        bad("not ended: " + name(s, e));
      const auto to = made.next.deployment.at;
      if (under_way && to != phase::cancelling && to != phase::stopped)
        bad("builds on: " + name(s, e));
    } else if (made.next.status != s.status) {
      bad("ended: " + name(s, e));
    }
    if ((!ends || !under_way) && made.next.deployment != s.deployment)
      bad("the deployment was moved: " + name(s, e));
  });
  CAF_CHECK_EQUAL(bad.total, 0u);
}

CAF_TEST(a wish for a refund finds the money that there is) {
  auto bad = complaints{};
  for_all<refund_requested>(
    make_rules(), [&](const state& s, const event& e, const decision& made) {
      const auto* x = std::get_if<refund_requested>(&e);
      if (x == nullptr)
        return;
      const auto* o = order_at(s, x->order);
      if (x->order == 0) {
        // Of no use first, then what pays for the period; the newest of each.
        for (const auto& i : s.orders)
          if (!i.applied
              && (i.status == order_status::paid
                  || i.status == order_status::refunding))
            o = &i;
        if (o == nullptr)
          for (const auto& i : s.orders)
            if (i.applied)
              o = &i;
      }
      auto expected = verdict::applied;
      if (o == nullptr)
        expected
          = x->order == 0 ? verdict::nothing_to_refund : verdict::unknown_order;
      else if (o->status == order_status::refunding)
        expected = verdict::already_applied;
      else if (o->status != order_status::paid)
        expected = verdict::nothing_to_refund;
      if (made.is != expected) {
        bad(name(s, e) + " is " + std::string{to_string(made.is)});
        return;
      }
      if (made.is != verdict::applied)
        return;
      const auto& back = made.next.orders[o->seq - 1];
      if (back.status != order_status::refunding
          || back.refund_for != refund_cause::operator_
          || back.refund_amount != o->amount - o->refunded
          || back.refund_seq != std::max(o->refund_seq, 1u))
        bad("asked for badly: " + name(s, e));
      // Nothing ends before the gateway has proven it.
      if (made.next.status != s.status || made.next.deployment != s.deployment
          || !made.effects.empty())
        bad("something else was moved: " + name(s, e));
    });
  CAF_CHECK_EQUAL(bad.total, 0u);
}

CAF_TEST(what the provider says of other phases and attempts is stale) {
  auto bad = complaints{};
  const auto check = [&](const state& s, const event& e, const decision& made,
                         phase in, std::uint32_t attempt) {
    const auto current
      = s.deployment.at == in && s.deployment.attempt == attempt;
    if (!current && made.is != verdict::stale)
      bad(name(s, e) + " is " + std::string{to_string(made.is)});
    if (current && made.is == verdict::stale)
      bad(name(s, e) + " was ignored");
  };
  for_all(make_rules(),
          [&](const state& s, const event& e, const decision& made) {
            if (const auto* a = std::get_if<project_create_started>(&e))
              check(s, e, made, phase::creating_project, a->attempt);
            else if (const auto* b = std::get_if<project_ready>(&e))
              check(s, e, made, phase::creating_project, b->attempt);
            else if (const auto* c = std::get_if<template_deploy_started>(&e))
              check(s, e, made, phase::deploying_template, c->attempt);
            else if (const auto* d = std::get_if<template_deployed>(&e))
              check(s, e, made, phase::deploying_template, d->attempt);
            else if (const auto* f = std::get_if<workflow_finished>(&e))
              check(s, e, made, phase::awaiting_workflow, f->attempt);
            else if (const auto* g = std::get_if<configured>(&e))
              check(s, e, made, phase::configuring, g->attempt);
            else if (const auto* h = std::get_if<deployment_observed>(&e))
              check(s, e, made, phase::deploying, h->attempt);
            else if (const auto* k = std::get_if<halted>(&e))
              check(s, e, made, phase::halting, k->attempt);
            else if (std::holds_alternative<cancellation_confirmed>(e))
              check(s, e, made,
                    s.deployment.at == phase::terminating ? phase::terminating
                                                          : phase::cancelling,
                    s.deployment.attempt);
            else if (const auto* i = std::get_if<step_failed>(&e);
                     i != nullptr && has_work(i->in))
              check(s, e, made, i->in, i->attempt);
            else if (i != nullptr && made.is != verdict::stale)
              bad("no step at all: " + name(s, e));
          });
  CAF_CHECK_EQUAL(bad.total, 0u);
}

CAF_TEST(a step that failed is tried again and an attempt is not ) {
  auto bad = complaints{};
  const auto with = make_rules();
  for_all<step_failed>(with, [&](const state& s, const event& e,
                                 const decision& made) {
    const auto* x = std::get_if<step_failed>(&e);
    if (x == nullptr || made.is != verdict::applied)
      return;
    const auto& before = s.deployment;
    const auto& after = made.next.deployment;
    const auto over = in_attempt(before.at) && (x->hopeless || x->permanent);
    const auto last = x->hopeless || before.attempt == 3;
    const auto was_building
      = builds(before.at) || (builds(before) && !x->without_effect);
    const auto expected = !over          ? before.at
                          : was_building ? phase::halting
                          : last         ? phase::failed
                                         : phase::backing_off;
    if (after.at != expected)
      bad("went elsewhere: " + name(s, e));
    // What was deployed and not seen yet is announced to the next attempt.
    const auto unseen = over
                        && (before.at == phase::awaiting_workflow
                            || before.at == phase::configuring);
    const auto undone = x->without_effect && before.at != phase::halting;
    const auto expected_intent = unseen   ? std::optional{t0}
                                 : undone ? std::nullopt
                                          : before.intent_at;
    if (after.intent_at != expected_intent)
      bad("the intent: " + name(s, e));
    // What is being halted has failed for its own reason.
    if (after.error != (before.at == phase::halting ? "broken" : "no luck"))
      bad("no reason kept: " + name(s, e));
    if (after.attempt
        != before.attempt + (after.at == phase::backing_off ? 1 : 0))
      bad("attempt: " + name(s, e));
    if (after.attempt_limit
        != (over && x->hopeless ? before.attempt : before.attempt_limit))
      bad("the last attempt: " + name(s, e));
    const auto again = after.at == before.at || after.at == phase::backing_off;
    if (after.retry_at.has_value() != again
        || (again
            && (*after.retry_at < t0 + x->retry_after
                || *after.retry_at > t0 + with.backoff_max)))
      bad("the next try: " + name(s, e));
    if (after.tries != (after.at == before.at ? before.tries + 1 : 0))
      bad("tries: " + name(s, e));
    if (after.at == before.at && after.deadline_at != before.deadline_at)
      bad("the deadline moved: " + name(s, e));
  });
  CAF_CHECK_EQUAL(bad.total, 0u);
}

CAF_TEST(every wish has one answer per phase) {
  auto bad = complaints{};
  for (const auto& with : all_rules())
    for_all<retry_requested, cancel_requested, terminate_requested>(
      with, [&](const state& s, const event& e, const decision& made) {
        const auto at = s.deployment.at;
        const auto under_way = is_under_way(at);
        const auto may_exist
          = s.deployment.intent_at
            || (!s.instance.project_id.empty() && !s.instance.deleted_at);
        const auto check_end = [&](phase to, actor_kind by) {
          const auto& d = made.next.deployment;
          if (d.at != to || d.deadline_at || d.retry_at || d.ended_by != by
              || d.tries != 0 || !d.error.empty() || d.phase_at != t0)
            bad("ended badly: " + name(s, e));
          if (d.intent_at != s.deployment.intent_at)
            bad("an intent was forgotten: " + name(s, e));
        };
        // Under way both wishes are the same, and the slot is kept.
        const auto ends_at
          = works(at) || may_exist ? phase::cancelling : phase::stopped;
        if (const auto* x = std::get_if<retry_requested>(&e)) {
          auto expected = verdict::applied;
          if (s.status != subscription_status::active || goes_back(s))
            expected = verdict::not_paid;
          else if (at == phase::running)
            expected = verdict::already_running;
          else if (under_way)
            expected = verdict::under_way;
          else if (!with.provider)
            expected = verdict::provider_off;
          if (made.is != expected)
            bad(name(s, e) + " is " + std::string{to_string(made.is)});
          else if (expected == verdict::applied) {
            const auto& d = made.next.deployment;
            if (d.at != phase::queued || d.attempt != s.deployment.attempt + 1
                || d.attempt_limit != d.attempt + 2 || d.progress != 0
                || !d.error.empty() || d.queued_at != x->at)
              bad("not a fresh run: " + name(s, e));
          }
        } else if (const auto* y = std::get_if<cancel_requested>(&e)) {
          auto expected = under_way && at != phase::terminating
                            ? verdict::applied
                            : verdict::nothing_to_cancel;
          if (at == phase::cancelling)
            expected = verdict::already_applied;
          if (made.is != expected)
            bad(name(s, e) + " is " + std::string{to_string(made.is)});
          else if (expected == verdict::applied)
            check_end(ends_at, y->by);
        } else if (const auto* z = std::get_if<terminate_requested>(&e)) {
          auto expected = verdict::applied;
          if (leaves(at))
            expected = verdict::already_applied;
          else if (!under_way && !may_exist)
            expected = verdict::nothing_to_terminate;
          if (made.is != expected)
            bad(name(s, e) + " is " + std::string{to_string(made.is)});
          else if (expected == verdict::applied)
            check_end(under_way ? ends_at : phase::terminating, z->by);
        }
      });
  CAF_CHECK_EQUAL(bad.total, 0u);
}

CAF_TEST(what is seen of an instance has one meaning) {
  auto bad = complaints{};
  auto seen = 0;
  for (const auto& with : all_rules())
    for_all<instance_observed>(
      with, [&](const state& s, const event& e, const decision& made) {
        const auto* x = std::get_if<instance_observed>(&e);
        if (x == nullptr)
          return;
        const auto& known = s.deployment.deployment_id;
        const auto was_up = s.deployment.at == phase::running;
        const auto another
          = !x->deployment_id.empty() && x->deployment_id != known;
        const auto redeployed = another && !known.empty();
        auto expected = verdict::applied;
        if ((!was_up && s.deployment.at != phase::lapsed) || x->instance == 0
            || x->instance != s.instance.seq || s.instance.deleted_at
            || x->is == instance_health::unknown)
          expected = verdict::stale;
        else if (x->is == s.instance.health && !another)
          expected = verdict::already_applied;
        if (made.is != expected) {
          bad(name(s, e) + " is " + std::string{to_string(made.is)});
          return;
        }
        if (made.is != verdict::applied)
          return;
        ++seen;
        const auto is_up = serves(x->is);
        const auto news = is_up != was_up;
        const auto told = s.instance.sleep_told && !redeployed;
        const auto sleeps = x->is == instance_health::sleeping;
        auto effects = std::vector<effect>{};
        if (news)
          effects.push_back(is_up ? effect::notify_recovered
                                  : effect::notify_down);
        else if (is_up
                 && (redeployed || x->is == instance_health::degraded
                     || (sleeps && !told)))
          effects.push_back(effect::notify_changed);
        if (made.effects != effects)
          bad("told otherwise: " + name(s, e));
        auto i = s.instance;
        auto d = s.deployment;
        i.health = x->is;
        i.sleep_told = told || sleeps;
        d.error = x->reason;
        if (another)
          d.deployment_id = x->deployment_id;
        if (news) {
          d.at = is_up ? phase::running : phase::lapsed;
          d.phase_at = t0;
          d.ended_by = is_up ? actor_kind::nobody : actor_kind::provider;
          d.tries = 0;
          i.status = is_up ? instance_status::running : instance_status::failed;
        }
        if (x->is == instance_health::missing) {
          i.status = instance_status::deleted;
          i.deleted_at = t0;
          i.public_url.clear();
          d.deployment_id.clear();
          d.workflow_id.clear();
          d.intent_at.reset();
        }
        if (made.next.instance != i || made.next.deployment != d)
          bad("kept badly: " + name(s, e));
        // Nothing that happens to an instance is about the money.
        if (made.next.orders != s.orders || made.next.status != s.status
            || made.next.end_at != s.end_at)
          bad("the subscription was moved: " + name(s, e));
      });
  CAF_CHECK_EQUAL(bad.total, 0u);
  CAF_CHECK(seen > 0);
}

CAF_TEST(what is gone starts anew only for whoever has paid meanwhile) {
  auto bad = complaints{};
  for (const auto& with : all_rules())
    for_all<cancellation_confirmed>(
      with, [&](const state& s, const event& e, const decision& made) {
        if (made.is != verdict::applied)
          return;
        const auto& d = made.next.deployment;
        const auto anew = s.deployment.queue_rank && with.provider
                          && s.status == subscription_status::active;
        if (d.at != (anew ? phase::queued : phase::stopped))
          bad("after the end: " + name(s, e));
        if (anew ? d.attempt != s.deployment.attempt + 1 || d.completed_at
                     || d.queued_at != t0
                     || d.queue_rank != s.deployment.queue_rank
                     || d.ended_by != actor_kind::nobody
                 : d.attempt != s.deployment.attempt || d.completed_at != t0
                     || d.ended_by != s.deployment.ended_by)
          bad("ended badly: " + name(s, e));
      });
  CAF_CHECK_EQUAL(bad.total, 0u);
}

CAF_TEST(timers ring when something is due and not before) {
  auto bad = complaints{};
  for (const auto& with : all_rules())
    for_all_states([&](const state& s) {
      const auto due = wake_at(s, with);
      const auto far = t0 + std::chrono::days{1'000};
      if (!due) {
        if (decide(s, woke{far, chance_max}, with).is == verdict::applied)
          bad("nobody would have woken: " + name(s, woke{}));
        return;
      }
      if (decide(s, woke{*due - 1ms, chance_max}, with).is == verdict::applied)
        bad("early: " + name(s, woke{}));
      const auto made = decide(s, woke{*due, chance_max}, with);
      if (made.is != verdict::applied) {
        bad("nothing to do at wake_at: " + name(s, woke{}));
        return;
      }
      const auto next = wake_at(made.next, with);
      if (next && *next <= *due)
        bad("rings for ever: " + name(s, woke{}));
    });
  CAF_CHECK_EQUAL(bad.total, 0u);
}

CAF_TEST(time alone closes no order and refunds but failed deployments) {
  auto bad = complaints{};
  auto refunds = 0;
  for (const auto& with : all_rules())
    for_all<woke>(with, [&](const state& s, const event& e,
                            const decision& made) {
      const auto* x = std::get_if<woke>(&e);
      if (x == nullptr)
        return;
      const auto due = with.refund_failed_after
                       && s.deployment.at == phase::failed
                       && x->at >= day_one + *with.refund_failed_after
                       && s.status == subscription_status::active;
      const auto* present = static_cast<const order*>(nullptr);
      for (const auto& o : s.orders)
        if (o.applied)
          present = &o;
      for (size_t i = 0; i < s.orders.size(); ++i) {
        const auto& a = s.orders[i];
        const auto& b = made.next.orders[i];
        const auto goes = due && present == &a && a.status == order_status::paid
                          && a.refund_seq == 0;
        refunds += goes ? 1 : 0;
        if (goes ? b.status != order_status::refunding
                     || b.refund_for != refund_cause::deployment_failed
                 : a != b)
          bad("order " + std::to_string(a.seq) + ": " + name(s, e));
      }
    });
  CAF_CHECK_EQUAL(bad.total, 0u);
  CAF_CHECK(refunds > 0);
}

CAF_TEST(whatever is under way is owed or has a time) {
  auto bad = complaints{};
  const auto stuck = [](const state& s) {
    return !is_settled(s.deployment.at) && resume(s).empty()
           && !wake_at(s, make_rules());
  };
  for_all(
    make_rules(), [&](const state& s, const event& e, const decision& made) {
      if (stuck(made.next))
        bad("stuck after " + name(s, e));
      const auto owed = resume(made.next);
      const auto at = made.next.deployment.at;
      const auto step = has_work(at) && !made.next.deployment.retry_at ? 1 : 0;
      if (count(owed, effect::run_step) != step
          || count(owed, effect::request_slot) != int{at == phase::queued}
          || owed.size() > 1)
        bad("owed after " + name(s, e));
    });
  CAF_CHECK_EQUAL(bad.total, 0u);
}

CAF_TEST(the deadline ends an attempt and never a removal) {
  auto bad = complaints{};
  const auto with = make_rules();
  const auto late = woke{t0 + 14min, chance_max};
  for (const auto& s : deployment_states()) {
    const auto made = decide(s, late, with);
    const auto at = s.deployment.at;
    const auto& d = made.next.deployment;
    if (leaves(at) && d.at != at)
      bad("a removal was given up: " + name(s, late));
    if (!works(at) || leaves(at))
      continue;
    const auto last = s.deployment.attempt == 3;
    const auto was_building = builds(s.deployment);
    if (d.at
        != (was_building ? phase::halting
            : last       ? phase::failed
                         : phase::backing_off))
      bad("the deadline passed: " + name(s, late));
    if (at == phase::halting ? d.error != "broken"
                             : d.error.find("15m 00s") == std::string::npos)
      bad("no reason: " + d.error);
    if (was_building ? d.deadline_at != late.at + with.halt_patience
                     : d.deadline_at.has_value())
      bad("the deadline: " + name(s, late));
  }
  CAF_CHECK_EQUAL(bad.total, 0u);
}

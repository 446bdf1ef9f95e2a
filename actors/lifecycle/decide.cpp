#include "actors/lifecycle/machine.hpp"

#include <algorithm>
#include <limits>

namespace slipway::lifecycle {

namespace {

template <class... Fs>
struct overload : Fs... {
  using Fs::operator()...;
};

template <class... Fs>
overload(Fs...) -> overload<Fs...>;

decision refuse(const state& now, verdict why) {
  return {why, now, {}};
}

decision apply(state next, std::vector<effect> effects = {}) {
  ++next.revision;
  return {verdict::applied, std::move(next), std::move(effects)};
}

order* order_of(state& now, std::uint32_t seq) {
  if (seq == 0 || seq > now.orders.size())
    return nullptr;
  return &now.orders[seq - 1];
}

/// Full jitter: a random part of an exponentially growing cap.
millis
backoff(const rules& with, std::uint32_t failures, std::uint32_t chance) {
  auto cap = with.backoff_initial;
  for (auto i = 1u; i < failures && cap < with.backoff_max; ++i)
    cap *= 2;
  cap = std::min(cap, with.backoff_max);
  const auto share = static_cast<std::uint64_t>(cap.count()) * chance
                     / std::numeric_limits<std::uint32_t>::max();
  return millis{static_cast<std::int64_t>(share)};
}

void raise(deployment& what, std::uint8_t progress) {
  what.progress = std::max(what.progress, progress);
}

/// Enters a phase of the current attempt: whatever the last step left over is
/// gone.
void enter(deployment& what, phase to, timestamp at) {
  what.at = to;
  what.phase_at = at;
  what.tries = 0;
  what.retry_at.reset();
  what.error.clear();
}

void enqueue(deployment& what, timestamp at) {
  enter(what, phase::queued, at);
  what.progress = 0;
  what.started_at.reset();
  what.deadline_at.reset();
  what.completed_at.reset();
}

/// Starts a new run with all of its attempts.
/// @param rank Its place in the queue.
void start_over(deployment& what, timestamp at, timestamp rank,
                const rules& with) {
  ++what.attempt;
  what.attempt_limit = what.attempt + with.attempts - 1;
  what.queued_at = at;
  what.queue_rank = rank;
  what.error.clear();
  what.ended_by = actor_kind::nobody;
  enqueue(what, at);
}

decision fail_for_good(state next, timestamp at, const std::string& reason) {
  auto& d = next.deployment;
  enter(d, phase::failed, at);
  d.completed_at = at;
  d.deadline_at.reset();
  d.error = reason;
  d.ended_by = actor_kind::provider;
  if (next.instance.seq != 0)
    next.instance.status = instance_status::failed;
  return apply(std::move(next), {effect::release_slot, effect::notify_failed});
}

/// The current attempt is over; another one follows where one is left.
decision end_attempt(state next, timestamp at, const std::string& reason,
                     std::uint32_t chance, const rules& with) {
  auto& d = next.deployment;
  if (d.attempt >= d.attempt_limit)
    return fail_for_good(std::move(next), at, reason);
  const auto left = d.attempt_limit - d.attempt;
  const auto failed_so_far = with.attempts > left ? with.attempts - left : 1;
  ++d.attempt;
  enter(d, phase::backing_off, at);
  d.progress = 0;
  d.started_at.reset();
  d.deadline_at.reset();
  d.error = reason;
  d.retry_at = at + backoff(with, failed_so_far, chance);
  if (next.instance.seq != 0)
    next.instance.status = instance_status::initializing;
  return apply(std::move(next), {effect::release_slot});
}

/// Whether the provider may be building something. Who creates a project goes
/// on to its template before anything of it is heard.
bool may_be_building(const deployment& what) {
  switch (what.at) {
    case phase::creating_project:
      return what.intent_at.has_value();
    case phase::deploying_template:
    case phase::awaiting_workflow:
    case phase::configuring:
    case phase::deploying:
      return true;
    default:
      return false;
  }
}

/// The current attempt has failed. Its slot is free only once nothing of it is
/// being built any more: the limit is on real work.
decision fail_attempt(state next, timestamp at, const std::string& reason,
                      std::uint32_t chance, const rules& with) {
  auto& d = next.deployment;
  if (!may_be_building(d))
    return end_attempt(std::move(next), at, reason, chance, with);
  // The template was accepted, and nobody has seen its services yet: the next
  // attempt must not take them for missing and deploy them once more.
  if (d.at == phase::awaiting_workflow || d.at == phase::configuring)
    d.intent_at = at;
  enter(d, phase::halting, at);
  d.error = reason;
  d.deadline_at = at + with.halt_patience;
  return apply(std::move(next), {effect::run_step});
}

/// A fact about a step counts only in that step of the same attempt.
bool is_current(const state& now, phase in, std::uint32_t attempt) {
  return now.deployment.at == in && now.deployment.attempt == attempt;
}

/// Nothing of the instance is left at the provider.
void mark_deleted(instance& what, timestamp at) {
  if (what.seq == 0 || what.deleted_at)
    return;
  what.status = instance_status::deleted;
  what.deleted_at = at;
  what.public_url.clear();
  // What is not there is neither well nor ill.
  if (what.health != instance_health::missing)
    what.health = instance_health::unknown;
}

/// Whether anything of this instance may exist at the provider.
bool may_exist_at_provider(const state& now) {
  if (now.deployment.intent_at)
    return true;
  return now.instance.seq != 0 && !now.instance.deleted_at
         && !now.instance.project_id.empty();
}

/// Whether it is being taken away already.
bool is_leaving(phase at) {
  return at == phase::cancelling || at == phase::terminating;
}

/// Begins to take away whatever there is at the provider.
/// @param to The phase in which that happens, where there may be something.
std::vector<effect>
take_away(state& next, phase to, actor_kind by, timestamp at) {
  auto& d = next.deployment;
  const auto traces = holds_slot(d.at) || may_exist_at_provider(next);
  enter(d, traces ? to : phase::stopped, at);
  d.ended_by = by;
  d.deadline_at.reset();
  // Only a payment from now on earns another place in the queue.
  d.queue_rank.reset();
  if (traces)
    return {effect::run_step};
  d.completed_at = at;
  mark_deleted(next.instance, at);
  return {effect::release_slot, to == phase::cancelling
                                  ? effect::notify_cancelled
                                  : effect::notify_terminated};
}

/// Ends a deployment that is queued or under way.
/// @returns the effects, none when there is nothing to end.
std::vector<effect> cancel(state& next, actor_kind by, timestamp at) {
  if (is_settled(next.deployment.at) || is_leaving(next.deployment.at))
    return {};
  return take_away(next, phase::cancelling, by, at);
}

// -- money
// ---------------------------------------------------------------------

decision on(const state& now, const subscription_created& x, const rules&) {
  if (now.revision != 0)
    return refuse(now, verdict::already_applied);
  auto next = now;
  next.amount = x.amount;
  next.period_days = x.period_days;
  next.deployment.phase_at = x.at;
  return apply(std::move(next));
}

decision on(const state& now, const order_requested& x, const rules& with) {
  if (!x.idempotency_key.empty())
    for (const auto& o : now.orders)
      if (o.idempotency_key == x.idempotency_key)
        return refuse(now, o.gateway == x.gateway && o.method == x.method
                             ? verdict::already_applied
                             : verdict::idempotency_mismatch);
  if (now.status != subscription_status::pending
      && now.status != subscription_status::expired)
    return refuse(now, verdict::not_payable);
  // Those of a day, so that nobody is shut out for good.
  const auto recent
    = std::count_if(now.orders.begin(), now.orders.end(), [&](const order& o) {
        return !o.paid_at && o.created_at + std::chrono::hours{24} > x.at;
      });
  if (static_cast<std::size_t>(recent) >= with.orders_max
      || now.orders.size() >= with.orders_total_max)
    return refuse(now, verdict::too_many_orders);
  auto next = now;
  // One open order at a time: a newer one replaces the others. Should one of
  // those be paid nevertheless, the money counts (see payment_settled).
  for (auto& o : next.orders)
    if (o.status == order_status::pending)
      o.status = order_status::closing;
  auto fresh = order{};
  fresh.seq = static_cast<std::uint32_t>(next.orders.size() + 1);
  fresh.gateway = x.gateway;
  fresh.method = x.method;
  fresh.amount = now.amount;
  fresh.created_at = x.at;
  fresh.expires_at = x.expires_at;
  fresh.idempotency_key = x.idempotency_key;
  next.orders.push_back(std::move(fresh));
  return apply(std::move(next));
}

/// The payment that bought the present period, or null.
const order* present_payment(const state& now) {
  for (auto i = now.orders.rbegin(); i != now.orders.rend(); ++i)
    if (i->applied)
      return &*i;
  return nullptr;
}

/// Whether money on `paid` buys the period, given where the subscription
/// stands.
bool buys_period(const state& now, const order& paid, const rules& with) {
  if (now.status != subscription_status::pending
      && now.status != subscription_status::expired)
    return false;
  // A newer order has bought since: this one was for a period that is over, and
  // the newest payment is always the present one.
  if (const auto* present = present_payment(now);
      present != nullptr && present->seq > paid.seq)
    return false;
  return paid.status == order_status::pending || with.revive_late_payment;
}

/// Whether the gateway holds money on this order.
bool has_money(const order& x) {
  return x.status == order_status::paid || x.status == order_status::refunding
         || x.status == order_status::refunded;
}

/// Whether nobody has paid this order, as far as we know.
bool is_unpaid(const order& x) {
  return !has_money(x);
}

/// What is left of the payment is to go back.
void start_refund(order& what, refund_cause why) {
  what.status = order_status::refunding;
  what.refund_amount = what.amount - what.refunded;
  what.refund_for = why;
  what.refund_error.clear();
  if (what.refund_seq == 0)
    what.refund_seq = 1;
}

decision on(const state& now, const order_prepared& x, const rules&) {
  const auto* known = find_order(now, x.order);
  if (known == nullptr)
    return refuse(now, verdict::unknown_order);
  if (known->code == x.code)
    return refuse(now, verdict::already_applied);
  if (known->status != order_status::pending)
    return refuse(now, verdict::stale);
  auto next = now;
  order_of(next, x.order)->code = x.code;
  return apply(std::move(next));
}

/// Who paid first goes first, even when we learn of it late. A gateway's clock
/// does not buy anybody more than an hour.
timestamp rank_of(const payment_settled& x, const rules& with) {
  return std::clamp(x.paid_at, x.at - std::chrono::hours{1}, x.at)
         - with.head_start;
}

decision on(const state& now, const payment_settled& x, const rules& with) {
  const auto* known = find_order(now, x.order);
  if (known == nullptr)
    return refuse(now, verdict::unknown_order);
  if (known->gateway != x.gateway)
    return refuse(now, verdict::gateway_mismatch);
  if (known->amount != x.amount)
    return refuse(now, verdict::amount_mismatch);
  for (const auto& o : now.orders)
    if (o.seq != x.order && o.transaction_id == x.transaction_id)
      return refuse(now, verdict::conflicting_payment);
  if (has_money(*known))
    return refuse(now, known->transaction_id == x.transaction_id
                         ? verdict::already_applied
                         : verdict::conflicting_payment);
  auto next = now;
  auto& paid = *order_of(next, x.order);
  paid.applied = buys_period(now, *known, with);
  paid.status = order_status::paid;
  paid.transaction_id = x.transaction_id;
  paid.paid_at = x.paid_at;
  if (!paid.applied) {
    // Money that buys nothing is not ours: it goes back without being asked
    // for. A period in advance would be a purchase that nobody has made.
    const auto late = now.status == subscription_status::pending
                      || now.status == subscription_status::expired;
    start_refund(paid, late ? refund_cause::late_payment
                            : refund_cause::surplus_payment);
    return apply(std::move(next));
  }
  next.status = subscription_status::active;
  next.start_at = x.at;
  next.end_at = x.at + std::chrono::days{now.period_days};
  // Activation does not wait for the deployment, and never depends on it.
  auto effects = std::vector<effect>{effect::notify_paid};
  auto& d = next.deployment;
  // A renewal finds the instance running, or under way, or brings it back.
  if (is_settled(d.at) && d.at != phase::running) {
    if (with.provider) {
      start_over(d, x.at, rank_of(x, with), with);
      effects.push_back(effect::request_slot);
    } else {
      enter(d, phase::skipped, x.at);
      d.completed_at = x.at;
    }
  } else if (is_leaving(d.at)) {
    // It starts anew once nothing is left of what is being taken away.
    d.queue_rank = rank_of(x, with);
  }
  return apply(std::move(next), std::move(effects));
}

decision on(const state& now, const order_closed& x, const rules&) {
  const auto* known = find_order(now, x.order);
  if (known == nullptr)
    return refuse(now, verdict::unknown_order);
  if (known->status != order_status::pending
      && known->status != order_status::closing)
    return refuse(now, verdict::already_applied);
  auto next = now;
  order_of(next, x.order)->status = order_status::closed;
  return apply(std::move(next));
}

/// What a person means who does not name the order: money that is of no use
/// first, then the present period's.
const order* refundable(const state& now) {
  for (auto i = now.orders.rbegin(); i != now.orders.rend(); ++i)
    // One that is on its way back is what was meant the time before: whoever
    // says it twice must not get at the money that is of use.
    if (!i->applied
        && (i->status == order_status::paid
            || i->status == order_status::refunding))
      return &*i;
  return present_payment(now);
}

decision on(const state& now, const refund_requested& x, const rules&) {
  const auto* known = x.order == 0 ? refundable(now) : find_order(now, x.order);
  if (known == nullptr)
    return refuse(now, x.order == 0 ? verdict::nothing_to_refund
                                    : verdict::unknown_order);
  if (known->status == order_status::refunding)
    return refuse(now, verdict::already_applied);
  if (known->status != order_status::paid)
    return refuse(now, verdict::nothing_to_refund);
  auto next = now;
  start_refund(*order_of(next, known->seq), x.cause);
  return apply(std::move(next));
}

decision on(const state& now, const refund_observed& x, const rules&) {
  const auto* known = find_order(now, x.order);
  if (known == nullptr)
    return refuse(now, verdict::unknown_order);
  if (is_unpaid(*known))
    // Money cannot go back that never came: the payment's own notification is
    // still on its way. Refused, so that the gateway comes again.
    return refuse(now, verdict::not_paid);
  if (!x.transaction_id.empty() && x.transaction_id != known->transaction_id)
    return refuse(now, verdict::conflicting_payment);
  if (x.amount != 0 && x.amount != known->amount)
    return refuse(now, verdict::amount_mismatch);
  if (!x.total && x.refund_seq != 0 && x.refund_seq == known->refund_seq
      && x.portion != known->refund_amount)
    return refuse(now, verdict::amount_mismatch);
  const auto mark = x.refund_id + " ";
  const auto counted
    = !x.refund_id.empty()
      && (" " + known->refunds_counted).find(" " + mark) != std::string::npos;
  if (!x.total && counted)
    return refuse(now, verdict::already_applied);
  // Whatever number a gateway sends: sums of it must not overflow.
  if (x.total ? *x.total > known->amount
              : x.portion > known->amount - known->refunded)
    return refuse(now, verdict::amount_mismatch);
  const auto refunded = x.total ? *x.total : known->refunded + x.portion;
  if (refunded <= known->refunded)
    return refuse(now, verdict::already_applied);
  auto next = now;
  auto& back = *order_of(next, x.order);
  back.refunded = refunded;
  if (!x.refund_id.empty() && !counted)
    back.refunds_counted += mark;
  auto effects = std::vector<effect>{effect::notify_refunded};
  if (back.refunded < back.amount)
    return apply(std::move(next), std::move(effects));
  back.status = order_status::refunded;
  back.refund_error.clear();
  // Only the payment for the current period ends the subscription.
  if (present_payment(next) == &back) {
    next.status = subscription_status::refunded;
    // Nothing is built for money that went back.
    for (auto also : cancel(next, actor_kind::slipway, x.at))
      effects.push_back(also);
  }
  return apply(std::move(next), std::move(effects));
}

decision on(const state& now, const refund_failed& x, const rules&) {
  const auto* known = find_order(now, x.order);
  if (known == nullptr)
    return refuse(now, verdict::unknown_order);
  if (known->status != order_status::refunding
      || known->refund_seq != x.refund_seq)
    return refuse(now, verdict::stale);
  auto next = now;
  auto& kept = *order_of(next, x.order);
  kept.status = order_status::paid;
  kept.refund_error = x.reason;
  if (x.spent)
    ++kept.refund_seq;
  return apply(std::move(next));
}

// -- deployment
// -----------------------------------------------------------------

decision on(const state& now, const slot_granted& x, const rules& with) {
  if (holds_slot(now.deployment.at))
    return refuse(now, verdict::already_applied);
  if (now.deployment.at != phase::queued)
    return refuse(now, verdict::stale);
  auto next = now;
  auto& d = next.deployment;
  enter(d, phase::creating_project, x.at);
  d.started_at = x.at;
  d.deadline_at = x.at + with.deadline;
  // The id of the last deployment stays: that one is known to have failed.
  d.workflow_id.clear();
  raise(d, 5);
  if (next.instance.seq == 0 || next.instance.deleted_at) {
    const auto seq = next.instance.seq + 1;
    next.instance = {};
    next.instance.seq = seq;
    next.instance.created_at = x.at;
  }
  next.instance.status = instance_status::initializing;
  // Whatever it suffered from is what this attempt is to mend.
  next.instance.health = instance_health::unknown;
  return apply(std::move(next), {effect::run_step});
}

/// Records that a call without an idempotency key is about to leave.
decision
announce(const state& now, phase in, std::uint32_t attempt, timestamp at) {
  if (!is_current(now, in, attempt))
    return refuse(now, verdict::stale);
  auto next = now;
  next.deployment.intent_at = at;
  return apply(std::move(next));
}

decision on(const state& now, const project_create_started& x, const rules&) {
  return announce(now, phase::creating_project, x.attempt, x.at);
}

decision on(const state& now, const template_deploy_started& x, const rules&) {
  return announce(now, phase::deploying_template, x.attempt, x.at);
}

decision on(const state& now, const project_ready& x, const rules&) {
  if (!is_current(now, phase::creating_project, x.attempt))
    return refuse(now, verdict::stale);
  auto next = now;
  auto& d = next.deployment;
  // An intent for the template outlives the attempt that announced it. Whoever
  // announced this creation may have gone on to the template, and later than
  // the announcement tells, before it was heard of: who finds the project looks
  // for that, too.
  if (now.instance.project_id.empty() && d.intent_at) {
    if (x.adopted)
      d.intent_at = x.at;
    else
      d.intent_at.reset();
  }
  enter(d, phase::deploying_template, x.at);
  raise(d, 12);
  next.instance.project_id = x.project_id;
  next.instance.environment_id = x.environment_id;
  return apply(std::move(next), {effect::run_step});
}

decision on(const state& now, const template_deployed& x, const rules&) {
  if (!is_current(now, phase::deploying_template, x.attempt))
    return refuse(now, verdict::stale);
  auto next = now;
  auto& d = next.deployment;
  d.intent_at.reset();
  d.workflow_id = x.workflow_id;
  // No workflow to wait for when the services were found in place.
  enter(d,
        x.workflow_id.empty() ? phase::configuring : phase::awaiting_workflow,
        x.at);
  raise(d, 20);
  return apply(std::move(next), {effect::run_step});
}

decision on(const state& now, const workflow_finished& x, const rules&) {
  if (!is_current(now, phase::awaiting_workflow, x.attempt))
    return refuse(now, verdict::stale);
  auto next = now;
  enter(next.deployment, phase::configuring, x.at);
  raise(next.deployment, 32);
  return apply(std::move(next), {effect::run_step});
}

decision on(const state& now, const configured& x, const rules&) {
  if (!is_current(now, phase::configuring, x.attempt))
    return refuse(now, verdict::stale);
  auto next = now;
  auto& d = next.deployment;
  enter(d, phase::deploying, x.at);
  raise(d, 42);
  d.deployment_id = x.deployment_id;
  next.instance.service_id = x.service_id;
  next.instance.service_name = x.service_name;
  next.instance.public_url = x.public_url;
  next.instance.status = instance_status::deploying;
  return apply(std::move(next), {effect::run_step});
}

decision on(const state& now, const deployment_observed& x, const rules& with) {
  if (!is_current(now, phase::deploying, x.attempt))
    return refuse(now, verdict::stale);
  auto next = now;
  auto& d = next.deployment;
  switch (x.is) {
    case condition::in_progress:
      raise(d, std::min<std::uint8_t>(x.progress, 99));
      if (d.progress == now.deployment.progress)
        return refuse(now, verdict::already_applied);
      return apply(std::move(next));
    case condition::running:
      enter(d, phase::running, x.at);
      d.progress = 100;
      d.completed_at = x.at;
      d.deadline_at.reset();
      next.instance.status = instance_status::running;
      next.instance.health = instance_health::healthy;
      next.instance.sleep_told = false;
      return apply(std::move(next),
                   {effect::release_slot, effect::notify_running});
    case condition::failed:
      return fail_attempt(std::move(next), x.at, x.reason, x.chance, with);
  }
  return refuse(now, verdict::stale);
}

decision on(const state& now, const step_failed& x, const rules& with) {
  if (!is_current(now, x.in, x.attempt) || !has_step(x.in))
    return refuse(now, verdict::stale);
  auto next = now;
  auto& d = next.deployment;
  // What is being halted was announced by the attempt that has failed.
  if (x.without_effect && x.in != phase::halting)
    d.intent_at.reset();
  else if (x.in_doubt && d.intent_at)
    d.intent_at = x.at; // A slow call takes effect late.
  const auto ends = x.in == phase::halting || is_leaving(x.in);
  if (!ends) {
    // No other attempt can help: this one was the last.
    if (x.hopeless)
      d.attempt_limit = d.attempt;
    if (x.hopeless || x.permanent)
      return fail_attempt(std::move(next), x.at, x.reason, x.chance, with);
  }
  // Taking away is never given up: money is spent until it is confirmed.
  ++d.tries;
  // What is being halted has failed for a reason of its own.
  if (x.in != phase::halting)
    d.error = x.reason;
  d.retry_at = x.at + std::max(x.retry_after, backoff(with, d.tries, x.chance));
  return apply(std::move(next));
}

decision on(const state& now, const halted& x, const rules& with) {
  if (!is_current(now, phase::halting, x.attempt))
    return refuse(now, verdict::stale);
  const auto reason = now.deployment.error;
  return end_attempt(now, x.at, reason, x.chance, with);
}

decision on(const state& now, const retry_requested& x, const rules& with) {
  if (now.status != subscription_status::active)
    return refuse(now, verdict::not_paid);
  if (const auto* payment = present_payment(now);
      payment != nullptr && payment->status == order_status::refunding)
    return refuse(now, verdict::not_paid);
  switch (now.deployment.at) {
    case phase::running:
      return refuse(now, verdict::already_running);
    case phase::queued:
    case phase::creating_project:
    case phase::deploying_template:
    case phase::awaiting_workflow:
    case phase::configuring:
    case phase::deploying:
    case phase::cancelling:
    case phase::backing_off:
    case phase::terminating:
    case phase::halting:
      return refuse(now, verdict::under_way);
    case phase::idle:
    case phase::skipped:
    case phase::failed:
    case phase::stopped:
    case phase::lapsed:
      break;
  }
  if (!with.provider)
    return refuse(now, verdict::provider_off);
  auto next = now;
  start_over(next.deployment, x.at, x.at - with.head_start, with);
  return apply(std::move(next), {effect::request_slot});
}

decision cancel_now(state next, actor_kind by, timestamp at) {
  auto effects = cancel(next, by, at);
  return apply(std::move(next), std::move(effects));
}

decision on(const state& now, const cancel_requested& x, const rules&) {
  if (now.deployment.at == phase::cancelling)
    return refuse(now, verdict::already_applied);
  if (is_settled(now.deployment.at) || is_leaving(now.deployment.at))
    return refuse(now, verdict::nothing_to_cancel);
  return cancel_now(now, x.by, x.at);
}

decision on(const state& now, const terminate_requested& x, const rules&) {
  const auto at = now.deployment.at;
  if (is_leaving(at))
    return refuse(now, verdict::already_applied);
  auto next = now;
  // Under way it is what a cancellation is, and keeps its slot.
  if (!is_settled(at))
    return cancel_now(std::move(next), x.by, x.at);
  if (!may_exist_at_provider(now))
    return refuse(now, verdict::nothing_to_terminate);
  auto effects = take_away(next, phase::terminating, x.by, x.at);
  return apply(std::move(next), std::move(effects));
}

decision
on(const state& now, const cancellation_confirmed& x, const rules& with) {
  const auto at = now.deployment.at;
  if (!is_leaving(at))
    return refuse(now, verdict::stale);
  auto next = now;
  auto& d = next.deployment;
  // Whoever has paid meanwhile has paid for an instance. Times do not tell:
  // what happened first need not have the earlier one.
  const auto paid_meanwhile = d.queue_rank
                              && now.status == subscription_status::active
                              && with.provider;
  enter(d, phase::stopped, x.at);
  d.completed_at = x.at;
  d.intent_at.reset();
  d.workflow_id.clear();
  d.deployment_id.clear();
  mark_deleted(next.instance, x.at);
  auto effects = std::vector<effect>{
    effect::release_slot, at == phase::cancelling ? effect::notify_cancelled
                                                  : effect::notify_terminated};
  if (paid_meanwhile) {
    start_over(d, x.at, *now.deployment.queue_rank, with);
    effects.push_back(effect::request_slot);
  }
  return apply(std::move(next), std::move(effects));
}

// -- after it came to run
// --------------------------------------------------------

decision on(const state& now, const instance_observed& x, const rules&) {
  if (!is_watched(now) || x.instance != now.instance.seq
      || x.is == instance_health::unknown)
    return refuse(now, verdict::stale);
  const auto& known = now.deployment.deployment_id;
  const auto another = !x.deployment_id.empty() && x.deployment_id != known;
  // The first one that we hear of is ours: services may come without.
  const auto redeployed = another && !known.empty();
  if (x.is == now.instance.health && !another)
    return refuse(now, verdict::already_applied);
  auto next = now;
  auto& d = next.deployment;
  auto& instance = next.instance;
  auto effects = std::vector<effect>{};
  instance.health = x.is;
  if (another)
    d.deployment_id = x.deployment_id;
  if (redeployed)
    instance.sleep_told = false;
  const auto was_up = d.at == phase::running;
  if (was_up && !is_up(x.is)) {
    enter(d, phase::lapsed, x.at);
    d.ended_by = actor_kind::provider;
    instance.status = instance_status::failed;
    effects.push_back(effect::notify_down);
  } else if (!was_up && is_up(x.is)) {
    enter(d, phase::running, x.at);
    d.ended_by = actor_kind::nobody;
    instance.status = instance_status::running;
    effects.push_back(effect::notify_recovered);
  } else if (was_up && (redeployed || x.is == instance_health::degraded)) {
    effects.push_back(effect::notify_changed);
  }
  if (x.is == instance_health::sleeping && !instance.sleep_told) {
    // Some sleep and wake up all day: that is said once.
    instance.sleep_told = true;
    if (effects.empty())
      effects.push_back(effect::notify_changed);
  }
  d.error = x.reason;
  if (x.is == instance_health::missing) {
    mark_deleted(instance, x.at);
    d.intent_at.reset();
    d.workflow_id.clear();
    d.deployment_id.clear();
  }
  return apply(std::move(next), std::move(effects));
}

// -- time
// ------------------------------------------------------------------------

/// When the money goes back by itself, if it does. Once: what a refund has come
/// to nothing for is a person's to look at.
std::optional<timestamp> refund_due_at(const state& now, const rules& with) {
  if (!with.refund_failed_after || now.deployment.at != phase::failed
      || now.status != subscription_status::active
      || !now.deployment.completed_at)
    return std::nullopt;
  const auto* payment = present_payment(now);
  if (payment == nullptr || payment->status != order_status::paid
      || payment->refund_seq != 0)
    return std::nullopt;
  return *now.deployment.completed_at + *with.refund_failed_after;
}

/// A deadline that has passed while nothing was allowed to happen begins anew
/// with the moment from which it was.
std::optional<timestamp>
allowed_until(const deployment& what, const woke& x, const rules& with) {
  if (!holds_slot(what.at) || !what.deadline_at || *what.deadline_at > x.at)
    return std::nullopt;
  const auto length
    = what.at == phase::halting ? with.halt_patience : with.deadline;
  const auto until = x.working_since + length;
  if (until <= *what.deadline_at || until <= x.at)
    return std::nullopt;
  return until;
}

decision on(const state& now, const woke& x, const rules& with) {
  auto next = now;
  auto changed = false;
  // Expired orders are not closed here: the gateway has the last word on them.
  if (const auto due = refund_due_at(now, with); due && *due <= x.at) {
    start_refund(*order_of(next, present_payment(now)->seq),
                 refund_cause::deployment_failed);
    changed = true;
  }
  if (next.status == subscription_status::active && next.end_at
      && *next.end_at <= x.at) {
    next.status = subscription_status::expired;
    changed = true;
  }
  auto& d = next.deployment;
  if (const auto later = allowed_until(d, x, with)) {
    d.deadline_at = later;
    changed = true;
  }
  if (holds_slot(d.at) && d.deadline_at && *d.deadline_at <= x.at) {
    if (d.at == phase::halting) {
      const auto failed_for = d.error;
      return end_attempt(std::move(next), x.at, failed_for, x.chance, with);
    }
    const auto reason = "not finished within " + to_words(with.deadline)
                        + ", stopped in step " + std::string{to_string(d.at)}
                        + (d.error.empty() ? std::string{} : ": " + d.error);
    return fail_attempt(std::move(next), x.at, reason, x.chance, with);
  }
  if (d.retry_at && *d.retry_at <= x.at) {
    d.retry_at.reset();
    if (d.at == phase::backing_off) {
      enqueue(d, x.at);
      return apply(std::move(next), {effect::request_slot});
    }
    return apply(std::move(next), {effect::run_step});
  }
  if (!changed)
    return refuse(now, verdict::already_applied);
  return apply(std::move(next));
}

} // namespace

decision decide(const state& now, const event& what, const rules& with) {
  return std::visit(
    [&](const auto& x) {
      return on(now, x, with);
    },
    what);
}

std::vector<effect> resume(const state& now) {
  if (now.deployment.at == phase::queued)
    return {effect::request_slot};
  if (has_step(now.deployment.at) && !now.deployment.retry_at)
    return {effect::run_step};
  return {};
}

std::optional<timestamp> wake_at(const state& now, const rules& with) {
  auto first = std::optional<timestamp>{};
  const auto consider = [&first](const std::optional<timestamp>& at) {
    if (at && (!first || *at < *first))
      first = at;
  };
  consider(refund_due_at(now, with));
  if (now.status == subscription_status::active)
    consider(now.end_at);
  if (holds_slot(now.deployment.at))
    consider(now.deployment.deadline_at);
  consider(now.deployment.retry_at);
  return first;
}

bool holds_slot(phase at) noexcept {
  switch (at) {
    case phase::creating_project:
    case phase::deploying_template:
    case phase::awaiting_workflow:
    case phase::configuring:
    case phase::deploying:
    case phase::cancelling:
    case phase::halting:
      return true;
    case phase::idle:
    case phase::skipped:
    case phase::queued:
    case phase::running:
    case phase::failed:
    case phase::stopped:
    case phase::backing_off:
    case phase::lapsed:
    case phase::terminating:
      return false;
  }
  return false;
}

bool has_step(phase at) noexcept {
  return holds_slot(at) || at == phase::terminating;
}

bool is_settled(phase at) noexcept {
  return !has_step(at) && at != phase::queued && at != phase::backing_off;
}

bool can_wait(phase at) noexcept {
  return !has_step(at);
}

bool is_untouched(const state& now) noexcept {
  const auto& d = now.deployment;
  return d.attempt == 1 && d.tries == 0 && !d.intent_at && now.instance.seq <= 1
         && now.instance.project_id.empty();
}

bool is_watched(const state& now) noexcept {
  return (now.deployment.at == phase::running
          || now.deployment.at == phase::lapsed)
         && now.instance.seq != 0 && !now.instance.deleted_at;
}

bool is_up(instance_health x) noexcept {
  switch (x) {
    case instance_health::unknown:
    case instance_health::healthy:
    case instance_health::sleeping:
    case instance_health::degraded:
      return true;
    case instance_health::crashed:
    case instance_health::ended:
    case instance_health::removed:
    case instance_health::missing:
      return false;
  }
  return false;
}

deployment_status to_deployment_status(phase at) noexcept {
  switch (at) {
    case phase::idle:
    case phase::skipped:
    case phase::queued:
    case phase::backing_off:
      return deployment_status::pending;
    case phase::creating_project:
    case phase::deploying_template:
    case phase::awaiting_workflow:
      return deployment_status::creating;
    case phase::configuring:
      return deployment_status::configuring;
    case phase::deploying:
    case phase::halting:
      return deployment_status::deploying;
    case phase::running:
      return deployment_status::running;
    case phase::failed:
    case phase::lapsed:
      return deployment_status::failed;
    case phase::cancelling:
    case phase::stopped:
    case phase::terminating:
      return deployment_status::stopped;
  }
  return deployment_status::pending;
}

const order* find_order(const state& now, std::uint32_t seq) noexcept {
  if (seq == 0 || seq > now.orders.size())
    return nullptr;
  return &now.orders[seq - 1];
}

timestamp time_of(const event& what) noexcept {
  return std::visit(
    [](const auto& x) {
      return x.at;
    },
    what);
}

} // namespace slipway::lifecycle

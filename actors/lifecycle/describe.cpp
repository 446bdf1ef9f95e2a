#include "actors/lifecycle/machine.hpp"

#include <array>

namespace slipway::lifecycle {

namespace {

template <std::size_t N, class Enum>
std::string_view
look_up(const std::array<std::string_view, N>& names, Enum x) noexcept {
  const auto index = static_cast<std::size_t>(x);
  return index < N ? names[index] : std::string_view{"?"};
}

constexpr auto subscription_status_names = std::array<std::string_view, 6>{
  "PENDING", "ACTIVE", "EXPIRED", "SUSPENDED", "CANCELLED", "REFUNDED"};

constexpr auto gateway_names
  = std::array<std::string_view, 2>{"ALIPAY", "WECHAT"};

constexpr auto method_names = std::array<std::string_view, 6>{
  "page", "wap", "qr", "native", "h5", "jsapi"};

constexpr auto order_status_names
  = std::array<std::string_view, order_status_count>{
    // Until the gateway has closed it, it can be paid.
    "PENDING", "PAID", "CLOSED", "REFUNDING", "REFUNDED", "PENDING"};

constexpr auto refund_cause_names = std::array<std::string_view, 5>{
  "none", "operator", "late_payment", "surplus_payment", "deployment_failed"};

constexpr auto phase_names
  = std::array<std::string_view, phase_count>{"idle",
                                              "skipped",
                                              "queued",
                                              "creating_project",
                                              "deploying_template",
                                              "awaiting_workflow",
                                              "configuring",
                                              "deploying",
                                              "running",
                                              "failed",
                                              "cancelling",
                                              "stopped",
                                              "backing_off",
                                              "lapsed",
                                              "terminating",
                                              "halting"};

constexpr auto deployment_status_names = std::array<std::string_view, 7>{
  "pending", "creating", "configuring", "deploying",
  "running", "failed",   "stopped"};

constexpr auto instance_status_names = std::array<std::string_view, 5>{
  "INITIALIZING", "DEPLOYING", "RUNNING", "FAILED", "DELETED"};

constexpr auto instance_health_names
  = std::array<std::string_view, instance_health_count>{
    "unknown", "healthy", "sleeping", "degraded",
    "crashed", "ended",   "removed",  "missing"};

constexpr auto actor_kind_names = std::array<std::string_view, 5>{
  "nobody", "user", "operator", "provider", "slipway"};

constexpr auto verdict_names
  = std::array<std::string_view, verdict_count>{"applied",
                                                "already_applied",
                                                "stale",
                                                "order_not_found",
                                                "amount_mismatch",
                                                "gateway_mismatch",
                                                "conflicting_payment",
                                                "not_payable",
                                                "idempotency_mismatch",
                                                "too_many_orders",
                                                "not_paid",
                                                "already_running",
                                                "under_way",
                                                "nothing_to_cancel",
                                                "provider_off",
                                                "nothing_to_refund",
                                                "nothing_to_terminate"};

constexpr auto effect_names = std::array<std::string_view, effect_count>{
  "request_slot",      "release_slot",  "run_step",         "notify_paid",
  "notify_running",    "notify_failed", "notify_refunded",  "notify_cancelled",
  "notify_terminated", "notify_down",   "notify_recovered", "notify_changed"};

constexpr auto event_names
  = std::array<std::string_view, std::variant_size_v<event>>{
    "subscription_created",
    "order_requested",
    "order_prepared",
    "payment_settled",
    "order_closed",
    "refund_requested",
    "refund_observed",
    "refund_failed",
    "slot_granted",
    "project_create_started",
    "project_ready",
    "template_deploy_started",
    "template_deployed",
    "workflow_finished",
    "configured",
    "deployment_observed",
    "step_failed",
    "retry_requested",
    "cancel_requested",
    "cancellation_confirmed",
    "woke",
    "terminate_requested",
    "halted",
    "instance_observed"};

struct sentence {
  const state& before;
  const state& after;

  std::string attempt() const {
    return "attempt " + std::to_string(after.deployment.attempt) + " of "
           + std::to_string(after.deployment.attempt_limit);
  }

  /// What became of a failure: another try, another attempt, or the end.
  std::string failure(const std::string& reason) const {
    const auto& d = after.deployment;
    switch (d.at) {
      case phase::failed:
        return "Deployment failed for good: " + reason;
      case phase::backing_off:
        return "Attempt " + std::to_string(before.deployment.attempt)
               + " failed: " + reason + "; next: " + attempt();
      case phase::halting:
        if (before.deployment.at != phase::halting)
          return "Attempt " + std::to_string(d.attempt) + " failed: " + reason
                 + "; stopping what still builds";
        [[fallthrough]];
      default:
        return "Step " + std::string{to_string(d.at)} + " failed (try "
               + std::to_string(d.tries) + "), will try again: " + reason;
    }
  }

  std::string operator()(const subscription_created& x) const {
    return "Subscription created, " + format_amount(x.amount) + " for "
           + std::to_string(x.period_days) + " days";
  }

  std::string operator()(const order_requested& x) const {
    return "Payment order " + std::to_string(after.orders.size())
           + " opened at " + std::string{to_string(x.gateway)} + " ("
           + std::string{to_string(x.method)} + "), "
           + format_amount(after.amount);
  }

  std::string operator()(const payment_settled& x) const {
    const auto* paid = find_order(after, x.order);
    auto out = "Payment of " + format_amount(x.amount) + " received from "
               + std::string{to_string(x.gateway)} + ", transaction "
               + x.transaction_id;
    if (paid == nullptr || !paid->applied)
      return out + "; it bought nothing and goes back ("
             + (paid == nullptr ? "?"
                                : std::string{to_string(paid->refund_for)})
             + ")";
    out += "; subscription active until " + to_rfc3339(*after.end_at);
    if (after.deployment.at == phase::skipped)
      out += "; deployment skipped: no provider is configured";
    return out;
  }

  std::string operator()(const order_prepared& x) const {
    return "Payment order " + std::to_string(x.order)
           + " is known to the gateway";
  }

  std::string operator()(const order_closed& x) const {
    return "Payment order " + std::to_string(x.order)
           + " closed at the gateway, unpaid";
  }

  std::string operator()(const refund_requested& x) const {
    for (const auto& o : after.orders)
      if (const auto* was = find_order(before, o.seq);
          was != nullptr && was->status != o.status)
        return "Refund of " + format_amount(o.refund_amount)
               + " requested on order " + std::to_string(o.seq) + " ("
               + std::string{to_string(o.refund_for)} + ")";
    return "Refund requested on order " + std::to_string(x.order);
  }

  std::string operator()(const refund_observed& x) const {
    const auto* back = find_order(after, x.order);
    return "Refunded "
           + format_amount(back == nullptr ? x.portion : back->refunded)
           + " in total on order " + std::to_string(x.order);
  }

  std::string operator()(const refund_failed& x) const {
    return "Refund failed on order " + std::to_string(x.order) + ": "
           + x.reason;
  }

  std::string operator()(const slot_granted&) const {
    return "Deployment started, " + attempt();
  }

  std::string operator()(const project_create_started&) const {
    return "Creating the project";
  }

  std::string operator()(const project_ready& x) const {
    return std::string{x.adopted ? "Project found" : "Project created"} + ": "
           + x.project_id;
  }

  std::string operator()(const template_deploy_started&) const {
    return "Deploying the template";
  }

  std::string operator()(const template_deployed& x) const {
    return x.workflow_id.empty() ? "Services are already in place"
                                 : "Template accepted by the provider";
  }

  std::string operator()(const workflow_finished&) const {
    return "Services created";
  }

  std::string operator()(const configured& x) const {
    return "Service " + x.service_name + " configured"
           + (x.public_url.empty() ? std::string{} : " at " + x.public_url);
  }

  std::string operator()(const deployment_observed& x) const {
    switch (x.is) {
      case condition::running:
        return "Instance is running"
               + (after.instance.public_url.empty()
                    ? std::string{}
                    : " at " + after.instance.public_url);
      case condition::failed:
        return failure(x.reason);
      case condition::in_progress:
        break;
    }
    return "Provider reports " + x.provider_status + ", "
           + std::to_string(after.deployment.progress) + "%";
  }

  std::string operator()(const step_failed& x) const {
    return failure(x.reason);
  }

  std::string operator()(const retry_requested& x) const {
    return "Retry requested by " + std::string{to_string(x.by)} + ", "
           + attempt();
  }

  std::string operator()(const cancel_requested& x) const {
    return "Cancellation requested by " + std::string{to_string(x.by)};
  }

  std::string operator()(const cancellation_confirmed&) const {
    return before.deployment.at == phase::terminating
             ? "The provider has confirmed that nothing is left"
             : "Cancellation confirmed by the provider";
  }

  std::string operator()(const terminate_requested& x) const {
    return "Termination requested by " + std::string{to_string(x.by)};
  }

  std::string operator()(const halted&) const {
    return failure(before.deployment.error);
  }

  std::string operator()(const instance_observed& x) const {
    auto out = "Instance is " + std::string{to_string(x.is)};
    if (!x.provider_status.empty())
      out += " (provider: " + x.provider_status + ")";
    const auto& known = before.deployment.deployment_id;
    if (!known.empty() && known != after.deployment.deployment_id
        && !after.deployment.deployment_id.empty())
      out += ", redeployed outside of Slipway as "
             + after.deployment.deployment_id;
    return x.reason.empty() ? out : out + ": " + x.reason;
  }

  std::string operator()(const woke&) const {
    const auto was = before.deployment.at;
    const auto is = after.deployment.at;
    if (was != is) {
      if (is == phase::queued)
        return "Waiting for a slot, " + attempt();
      return failure(after.deployment.error);
    }
    if (before.deployment.retry_at && !after.deployment.retry_at)
      return "Trying step " + std::string{to_string(is)} + " again";
    if (before.status != after.status)
      return "Subscription period is over";
    return "The deployment has failed for good: the payment goes back";
  }
};

} // namespace

std::string_view to_string(subscription_status x) noexcept {
  return look_up(subscription_status_names, x);
}

std::string_view to_string(payment_gateway x) noexcept {
  return look_up(gateway_names, x);
}

std::string_view to_string(payment_method x) noexcept {
  return look_up(method_names, x);
}

std::string_view to_string(order_status x) noexcept {
  return look_up(order_status_names, x);
}

std::string_view to_string(refund_cause x) noexcept {
  return look_up(refund_cause_names, x);
}

std::string_view to_string(phase x) noexcept {
  return look_up(phase_names, x);
}

std::string_view to_string(deployment_status x) noexcept {
  return look_up(deployment_status_names, x);
}

std::string_view to_string(instance_status x) noexcept {
  return look_up(instance_status_names, x);
}

std::string_view to_string(instance_health x) noexcept {
  return look_up(instance_health_names, x);
}

std::string_view to_string(actor_kind x) noexcept {
  return look_up(actor_kind_names, x);
}

std::string_view to_string(verdict x) noexcept {
  return look_up(verdict_names, x);
}

std::string_view to_string(effect x) noexcept {
  return look_up(effect_names, x);
}

std::string_view name_of(const event& what) noexcept {
  return event_names[what.index()];
}

std::string
describe(const event& what, const state& before, const state& after) {
  return std::visit(sentence{before, after}, what);
}

} // namespace slipway::lifecycle

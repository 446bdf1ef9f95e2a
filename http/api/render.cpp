#include "http/api/render.hpp"

#include "http/mail/notifier.hpp"

namespace slipway::api {

namespace json = boost::json;

using namespace lifecycle;

json::value json_time(const std::optional<timestamp>& at) {
  return at ? json::value(to_rfc3339(*at)) : json::value(nullptr);
}

json::value json_text(const std::string& text) {
  return text.empty() ? json::value(nullptr) : json::value(text);
}

namespace {

json::value instance_id(const record& row) {
  const auto seq = row.state.instance.seq;
  return seq == 0 ? json::value(nullptr)
                  : json::value(to_text(instance_ref{row.id, seq}));
}

/// One sentence on where the deployment stands.
std::string message_of(const record& row, std::int64_t queue_position) {
  const auto health = row.state.instance.health;
  switch (row.state.deployment.at) {
    case phase::idle:
      return "Waiting for the payment";
    case phase::skipped:
      return "Deployment skipped: no provider is configured";
    case phase::queued:
      return queue_position > 0 ? "Waiting for a free slot, position "
                                    + std::to_string(queue_position)
                                : "Waiting for a free slot";
    case phase::backing_off:
      return "The last attempt failed; the next one starts soon";
    case phase::creating_project:
      return "Creating the project";
    case phase::deploying_template:
      return "Deploying the template";
    case phase::awaiting_workflow:
      return "Creating the services";
    case phase::configuring:
      return "Configuring the services";
    case phase::deploying:
      return "Building and starting";
    case phase::running:
      switch (health) {
        case instance_health::sleeping:
          return "Asleep, wakes up with the next visitor";
        case instance_health::degraded:
          return "Running, some replicas have crashed";
        default:
          return "Running";
      }
    case phase::failed:
      return "Deployment failed";
    case phase::cancelling:
      return "Cancelling";
    case phase::stopped:
      return "Stopped";
    case phase::lapsed:
      return "The instance is down (" + std::string{to_string(health)} + ")";
    case phase::terminating:
      return "Being taken away";
    case phase::halting:
      return "The attempt failed, stopping what still builds";
  }
  return {};
}

} // namespace

json::object render_subscription(const record& row) {
  const auto& s = row.state;
  return {
    {"subscriptionId", to_text(row.id)},
    {"planType", row.plan},
    {"status", to_string(s.status)},
    {"amount", format_amount(s.amount)},
    {"currency", row.currency},
    {"periodDays", s.period_days},
    {"startDate", json_time(s.start_at)},
    {"endDate", json_time(s.end_at)},
    {"instanceId", instance_id(row)},
    {"deploymentStatus", to_string(to_deployment_status(s.deployment.at))},
    {"publicUrl", json_text(s.instance.public_url)},
    {"createdAt", to_rfc3339(row.created_at)},
    {"updatedAt", to_rfc3339(row.updated_at)},
  };
}

json::object render_deployment(const record& row, std::int64_t queue_position) {
  const auto& s = row.state;
  const auto& d = s.deployment;
  return {
    {"subscriptionId", to_text(row.id)},
    {"instanceId", instance_id(row)},
    {"status", to_string(to_deployment_status(d.at))},
    {"instanceStatus", s.instance.seq == 0
                         ? json::value(nullptr)
                         : json::value(to_string(s.instance.status))},
    {"health", s.instance.health == instance_health::unknown
                 ? json::value(nullptr)
                 : json::value(to_string(s.instance.health))},
    {"progress", d.progress},
    {"attempt", d.attempt},
    {"queuePosition", d.at == phase::queued && queue_position > 0
                        ? json::value(queue_position)
                        : json::value(nullptr)},
    {"publicUrl", json_text(s.instance.public_url)},
    {"message", message_of(row, queue_position)},
    {"startedAt", json_time(d.started_at)},
    {"completedAt", json_time(d.completed_at)},
    {"error", json_text(d.error)},
  };
}

json::object render_order(const record& row, const order& order) {
  return {
    {"orderId", to_text(order_ref{row.id, order.seq})},
    {"subscriptionId", to_text(row.id)},
    {"gateway", to_string(order.gateway)},
    {"method", to_string(order.method)},
    {"amount", format_amount(order.amount)},
    {"currency", row.currency},
    {"status", to_string(order.status)},
    {"transactionId", json_text(order.transaction_id)},
    {"refundedAmount", format_amount(order.refunded)},
    {"createdAt", to_rfc3339(order.created_at)},
    {"expiresAt", to_rfc3339(order.expires_at)},
    {"paidAt", json_time(order.paid_at)},
  };
}

json::object render_notification(const query::list_notifications::row& row,
                                 const context& ctx, std::string_view locale) {
  const auto& what = row.what;
  const auto words = ctx.notice_templates()->render_words(
    mail::facts_of(what, row.subscription, row.plan, ctx.settings.plans),
    locale);
  auto data = json::object{{"subscriptionId", to_text(row.subscription)}};
  if (what.instance_seq != 0)
    data["instanceId"]
      = to_text(instance_ref{row.subscription, what.instance_seq});
  switch (what.kind) {
    case notice_kind::payment_received:
    case notice_kind::refund_completed:
      data["amount"] = format_amount(what.amount);
      break;
    case notice_kind::deployment_success:
    case notice_kind::instance_recovered:
      data["publicUrl"] = what.public_url;
      break;
    case notice_kind::deployment_failed:
    case notice_kind::instance_down:
      data["error"] = what.error;
      break;
    case notice_kind::instance_changed:
      data["publicUrl"] = what.public_url;
      data["change"] = what.error;
      break;
    case notice_kind::deployment_cancelled:
    case notice_kind::deployment_started:
    case notice_kind::instance_terminated:
      break;
  }
  return {
    {"id", std::to_string(row.id)},
    {"type", slipway::to_string(what.kind)},
    {"title", words.title},
    {"message", words.message},
    {"data", std::move(data)},
    {"createdAt", to_rfc3339(what.at)},
    {"readAt", json_time(row.read_at)},
  };
}

} // namespace slipway::api

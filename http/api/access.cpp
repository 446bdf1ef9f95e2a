#include "http/api/access.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <string>

namespace slipway::api {

namespace {

constexpr auto rules = std::to_array<access_rule>({
  {"plans", access::anyone},
  {"openapi", access::anyone},
  // The page is nothing without a token, which it asks for.
  {"ops_page", access::anyone},
  {"ops_page_file", access::anyone},
  // The gateways sign what they send; the provider's address is a secret.
  {"alipay_notify", access::anyone},
  {"alipay_refund_notify", access::anyone},
  {"wechat_notify", access::anyone},
  {"wechat_refund_notify", access::anyone},
  {"railway_webhook", access::anyone},

  {"subscription_create", access::user},
  {"subscription_list", access::user},
  {"subscription_read", access::user},
  {"payment_create", access::user},
  {"payment_read", access::user},
  {"deployment_status", access::user},
  {"deployment_progress", access::user},
  {"deployment_retry", access::user},
  {"deployment_cancel", access::user},
  {"deployment_events", access::user},
  {"deployment_logs", access::user},
  {"deployment_logs_stream", access::user},
  {"notification_list", access::user},
  {"notification_read", access::user},
  {"notification_unread", access::user},
  {"notification_read_all", access::user},
  {"preferences_read", access::user},
  {"preferences_write", access::user},

  {"deployment_stats", access::viewer},
  {"attention", access::viewer},
  {"ops_subscriptions", access::viewer},
  {"ops_subscription", access::viewer},
  {"ops_timeline", access::viewer},
  {"ops_events", access::viewer},
  {"ops_logs", access::viewer},
  {"ops_logs_stream", access::viewer},
  {"callback_list", access::viewer},
  {"callback_read", access::viewer},
  {"ops_actors", access::viewer},
  {"ops_automation", access::viewer},
  {"template_list", access::viewer},
  {"template_preview", access::viewer},
  {"bounce_list", access::viewer},

  {"ops_retry", access::operator_, "retry", "subscription"},
  {"ops_cancel", access::operator_, "cancel", "subscription"},
  {"ops_refund", access::operator_, "refund", "subscription"},
  {"ops_terminate", access::operator_, "terminate", "subscription"},
  {"callback_replay", access::operator_, "replay", "callback", true},
  {"callback_settle", access::operator_, "settle", "callback"},
  {"bounce_note", access::operator_, "note_bounce", "mail"},
  {"bounce_lift", access::operator_, "lift_bounce", "mail"},
  {"ops_automation_put", access::operator_, "automation", "automation"},
  {"ops_actor_restart", access::operator_, "restart_actor", "actor"},
  {"ops_actor_kill", access::operator_, "kill_actor", "actor", false, true},

  {"ops_audit", access::admin},
  {"ops_rotate_credentials", access::admin, "rotate_keys", "credentials"},
});

} // namespace

std::span<const access_rule> access_rules() noexcept {
  return rules;
}

const access_rule& access_rule_of(std::string_view route) {
  const auto found
    = std::find_if(rules.begin(), rules.end(), [route](const access_rule& x) {
        return x.route == route;
      });
  if (found == rules.end())
    throw std::logic_error{"nobody has said who may use the route "
                           + std::string{route}};
  return *found;
}

bool may(role who, access needs) noexcept {
  switch (needs) {
    case access::anyone:
    case access::user:
      return true;
    case access::viewer:
      return who >= role::viewer;
    case access::operator_:
      return who >= role::operator_;
    case access::admin:
      return who >= role::admin;
  }
  return false;
}

std::string_view refusal_of(access needs) noexcept {
  switch (needs) {
    case access::anyone:
    case access::user:
      break;
    case access::viewer:
      return "This needs an operator's token: the role viewer, operator or "
             "admin";
    case access::operator_:
      return "This needs an operator's token: the role operator or admin";
    case access::admin:
      return "This needs an administrator's token: the role admin";
  }
  return "This needs a token";
}

} // namespace slipway::api

#include "http/cli/views.hpp"

#include "http/cli/actor_tree.hpp"
#include "http/cli/json_reading.hpp"
#include "http/cli/safe_text.hpp"
#include "http/cli/table.hpp"

#include <array>
#include <cstdio>
#include <utility>

namespace slipway::cli::views {

namespace json = boost::json;

namespace {

cell said(std::string text) {
  const auto colour = paint_of(text);
  return {std::move(text), colour};
}

std::string or_else(std::string text, const char* otherwise) {
  return text.empty() ? otherwise : std::move(text);
}

/// `99.00 CNY`
std::string money(const json::object& from, std::string_view name) {
  const auto amount = text_of(from, name);
  return amount.empty() ? amount : amount + ' ' + text_of(from, "currency");
}

std::string percent(const json::object& from, std::string_view name) {
  const auto* found = from.if_contains(name);
  if (found == nullptr || !found->is_number())
    return "none yet";
  auto out = std::array<char, 32>{};
  std::snprintf(out.data(), out.size(), "%.1f%%",
                100 * found->to_number<double>());
  return out.data();
}

std::string nothing(const look& how, const char* what) {
  return painted(how, paint::faint, what) + '\n';
}

/// The members of an object as `a 1, b 2`, those of nothing left out.
std::string counts(const json::object& from) {
  auto out = std::string{};
  for (const auto& [name, value] : from)
    if (const auto text = text_of(value); !text.empty() && text != "0")
      out += (out.empty() ? "" : ", ") + std::string{name} + ' ' + text;
  return out;
}

void add_callback(sheet& to, const json::object& one, const look& how) {
  to.add("Callback", text_of(one, "id"));
  to.add("Gateway", text_of(one, "gateway"));
  to.add("Came by", text_of(one, "source"));
  const auto outcome = text_of(one, "outcome");
  to.add("Outcome", outcome, paint_of(outcome));
  to.add("Reason", text_of(one, "reason"));
  to.add("Order", text_of(one, "orderId"));
  to.add("Subscription", text_of(one, "subscriptionId"));
  to.add("Received", both_times(how, text_of(one, "receivedAt")));
  if (number_of(one, "repeats") > 0) {
    to.add("Repeats", text_of(one, "repeats"));
    to.add("Last", both_times(how, text_of(one, "lastReceivedAt")));
  }
  to.add("Settled", both_times(how, text_of(one, "settledAt")));
  to.add("Settled by", text_of(one, "settledBy"));
  to.add("Because", text_of(one, "settledReason"));
}

} // namespace

std::string subscriptions(const json::array& rows, const look& how) {
  if (rows.empty())
    return nothing(how, "No subscription is like that.");
  auto out = table{{{"SUBSCRIPTION"},
                    {"PLAN", 4},
                    {"STATUS"},
                    {"DEPLOYMENT"},
                    {"UPDATED", 0, true},
                    {"USER", 8, true},
                    {"URL", 16, true},
                    {"ERROR", 16, true}}};
  for (const auto& row : rows) {
    const auto& x = as_object(row);
    out.add({{text_of(x, "subscriptionId")},
             {text_of(x, "planType")},
             said(text_of(x, "status")),
             said(text_of(x, "deploymentStatus")),
             {ago(how, text_of(x, "updatedAt"))},
             {text_of(x, "userId")},
             {text_of(x, "publicUrl")},
             {text_of(object_of(x, "deployment"), "error"), paint::bad}});
  }
  return out.render(how);
}

std::string subscription(const json::object& one, const look& how) {
  const auto& deployment = object_of(one, "deployment");
  const auto status = text_of(one, "status");
  const auto state = text_of(deployment, "status");
  const auto health = text_of(deployment, "health");
  auto out = sheet{};
  out.add("Subscription", text_of(one, "subscriptionId"));
  out.add("User", text_of(one, "userId"));
  out.add("Plan", text_of(one, "planType") + ", " + money(one, "amount")
                    + " for " + text_of(one, "periodDays") + " days");
  out.add("Status", status, paint_of(status));
  out.add("Begins", both_times(how, text_of(one, "startDate")));
  out.add("Ends", both_times(how, text_of(one, "endDate")));
  out.add("Created", both_times(how, text_of(one, "createdAt")));
  out.add("Updated", both_times(how, text_of(one, "updatedAt")));
  out.add("Deployment", state, paint_of(state));
  out.add("Phase", text_of(one, "phase"));
  out.add("Progress", text_of(deployment, "progress") + "%, attempt "
                        + text_of(deployment, "attempt"));
  out.add("In the queue", text_of(deployment, "queuePosition"));
  out.add("Message", text_of(deployment, "message"));
  out.add("Error", text_of(deployment, "error"), paint::bad);
  out.add("Started", both_times(how, text_of(deployment, "startedAt")));
  out.add("Completed", both_times(how, text_of(deployment, "completedAt")));
  out.add("Instance", text_of(one, "instanceId"));
  out.add("Health", health, paint_of(health));
  out.add("Project", text_of(one, "projectId"));
  out.add("URL", text_of(one, "publicUrl"));
  auto text = out.render(how);
  const auto& orders = array_of(one, "orders");
  if (orders.empty())
    return text;
  auto list = table{{{"ORDER"},
                     {"STATUS"},
                     {"AMOUNT", 0, false, true},
                     {"GATEWAY"},
                     {"METHOD", 0, true},
                     {"PAID", 0, true},
                     {"REFUNDED", 0, true, true},
                     {"TRANSACTION", 12, true}}};
  for (const auto& row : orders) {
    const auto& x = as_object(row);
    const auto refunded = text_of(x, "refundedAmount");
    list.add({{text_of(x, "orderId")},
              said(text_of(x, "status")),
              {money(x, "amount")},
              {text_of(x, "gateway")},
              {text_of(x, "method")},
              {ago(how, text_of(x, "paidAt"))},
              {refunded == "0.00" ? std::string{} : refunded},
              {text_of(x, "transactionId")}});
  }
  return text + '\n' + list.render(how);
}

std::string in_a_line(const json::object& one, const look& how) {
  auto text = text_of(one, "subscriptionId") + "  " + text_of(one, "planType")
              + "  " + text_of(one, "userId") + "  " + text_of(one, "status")
              + "  " + text_of(one, "deploymentStatus") + "  "
              + text_of(one, "publicUrl");
  text = printable(text);
  text.erase(text.find_last_not_of(' ') + 1);
  return (how.width == 0 ? text : fit(text, how.width, how.ellipsis())) + '\n';
}

std::string timeline(const json::array& rows, const look& how) {
  auto out = table{{{"AT"},
                    {"", 0, true},
                    {"KIND"},
                    {"SUMMARY", 24},
                    {"OPERATION", 0, true},
                    {"OUTCOME", 0, true}}};
  for (const auto& row : rows) {
    const auto& x = as_object(row);
    const auto at = text_of(x, "at");
    out.add({{absolute(how, at)},
             {ago(how, at), paint::faint},
             {text_of(x, "kind")},
             {text_of(x, "summary")},
             {text_of(x, "operation")},
             said(text_of(x, "outcome"))});
  }
  return out.render(how);
}

std::string attention(const json::array& rows, const look& how) {
  if (rows.empty())
    return nothing(how, "Nothing waits for a person.");
  auto out = table{{{"KIND"},
                    {"SUBSCRIPTION"},
                    {"SINCE"},
                    {"CALLBACK", 0, true},
                    {"REASON", 20},
                    {"SUGGESTED", 20, true}}};
  for (const auto& row : rows) {
    const auto& x = as_object(row);
    out.add({{text_of(x, "kind"), paint::bad},
             {or_else(text_of(x, "subscriptionId"), "-")},
             {ago(how, text_of(x, "since"))},
             {text_of(x, "callbackId")},
             {text_of(x, "reason")},
             {text_of(x, "suggestedAction")}});
  }
  return out.render(how);
}

std::string stats(const json::object& all, const look& how) {
  auto out = sheet{};
  out.add("Deployments", or_else(counts(object_of(all, "byStatus")), "none"));
  out.add("At work", text_of(all, "active"));
  out.add("Queued", text_of(all, "queued"));
  out.add("Succeeded", percent(all, "successRate"));
  out.add("Time to run", to_words(millis{number_of(all, "averageDeploymentMs")})
                           + " on average, "
                           + to_words(millis{number_of(all, "p95DeploymentMs")})
                           + " for 95%");
  out.add("Subscriptions",
          or_else(counts(object_of(all, "subscriptions")), "none"));
  return out.render(how);
}

std::string callbacks(const json::array& rows, const look& how) {
  if (rows.empty())
    return nothing(how, "No callback is like that.");
  auto out = table{{{"CALLBACK", 0, false, true},
                    {"GATEWAY"},
                    {"OUTCOME"},
                    {"RECEIVED"},
                    {"REPEATS", 0, true, true},
                    {"ORDER", 0},
                    {"REASON", 16, true},
                    {"SETTLED", 0, true}}};
  for (const auto& row : rows) {
    const auto& x = as_object(row);
    const auto repeats = text_of(x, "repeats");
    out.add({{text_of(x, "id")},
             {text_of(x, "gateway")},
             said(text_of(x, "outcome")),
             {ago(how, text_of(x, "receivedAt"))},
             {repeats == "0" ? std::string{} : repeats},
             {or_else(text_of(x, "orderId"), "-")},
             {text_of(x, "reason")},
             {ago(how, text_of(x, "settledAt"))}});
  }
  return out.render(how);
}

std::string callback(const json::object& one, const look& how) {
  auto out = sheet{};
  add_callback(out, one, how);
  auto text = out.render(how);
  const auto part = [&](const char* title, const std::string& what) {
    if (what.empty())
      return;
    text += '\n' + painted(how, paint::strong, title) + '\n'
            + printable_lines(what);
    if (!text.ends_with('\n'))
      text += '\n';
  };
  part("Headers", text_of(one, "headers"));
  if (one.contains("body"))
    part("Body", text_of(one, "body"));
  else
    part("Body (in base64: it is no UTF-8)", text_of(one, "bodyBase64"));
  return text;
}

std::string replay(const json::object& result, const look& how) {
  auto out = sheet{};
  const auto verdict = text_of(result, "verdict");
  out.add(flag_of(result, "dryRun") ? "It would be" : "It is", verdict,
          paint_of(verdict));
  auto text = out.render(how);
  const auto& changes = array_of(result, "changes");
  if (changes.empty())
    return text + "Nothing changes.\n";
  auto list = table{{{"WHAT"}, {"FROM"}, {"TO"}}};
  for (const auto& row : changes) {
    const auto& x = as_object(row);
    list.add({{text_of(x, "what")},
              {or_else(text_of(x, "from"), "-")},
              said(or_else(text_of(x, "to"), "-"))});
  }
  return text + list.render(how);
}

std::string actors(const json::array& rows, const look& how) {
  if (rows.empty())
    return nothing(how, "No actor is like that.");
  auto out = table{{{"ACTOR"},
                    {"STATE"},
                    {"MAILBOX", 0, true, true},
                    {"RESTARTS", 0, true, true},
                    {"FAILED", 0, true},
                    {"LAST FAILURE", 16, true}}};
  for (const auto& line : tree_of(rows, how.unicode)) {
    const auto& x = *line.actor;
    const auto restarts = text_of(x, "restarts");
    out.add({{line.lead + text_of(x, "id")},
             said(text_of(x, "state")),
             {text_of(x, "mailboxDepth")},
             {restarts, restarts == "0" ? paint::none : paint::busy},
             {ago(how, text_of(x, "lastFailureAt"))},
             {text_of(x, "lastFailure"), paint::bad}});
  }
  return out.render(how);
}

std::string automation(const json::object& state, const look& how) {
  auto out = sheet{};
  const auto on = flag_of(state, "enabled");
  out.add("Automation", on ? "on" : "off", on ? paint::good : paint::bad);
  out.add("Since", both_times(how, text_of(state, "since")));
  out.add("By", text_of(state, "by"));
  out.add("Reason", text_of(state, "reason"));
  out.add("Restored", both_times(how, text_of(state, "restoredAt")));
  const auto& pending = object_of(state, "pending");
  if (!pending.empty()) {
    auto counted = pending;
    counted.erase("deploymentsByPhase");
    counted.erase("items");
    out.add("Pending", or_else(counts(counted), "nothing"));
    out.add("By phase", counts(object_of(pending, "deploymentsByPhase")));
  }
  auto text = out.render(how);
  const auto& changes = array_of(state, "changes");
  if (!changes.empty()) {
    auto list = table{
      {{"SWITCHED"}, {"", 0, true}, {"TO"}, {"BY"}, {"REASON", 16, true}}};
    for (const auto& row : changes) {
      const auto& x = as_object(row);
      const auto at = text_of(x, "at");
      list.add({{absolute(how, at)},
                {ago(how, at), paint::faint},
                said(flag_of(x, "enabled") ? "on" : "off"),
                {text_of(x, "by")},
                {text_of(x, "reason")}});
    }
    text += '\n' + list.render(how);
  }
  const auto& items = array_of(pending, "items");
  if (items.empty())
    return text;
  auto list = table{{{"PENDING"}, {"SUBSCRIPTION"}, {"SINCE"}, {"WHAT", 20}}};
  for (const auto& row : items) {
    const auto& x = as_object(row);
    list.add({{text_of(x, "kind")},
              {or_else(text_of(x, "subscriptionId"), "-")},
              {ago(how, text_of(x, "since"))},
              {text_of(x, "summary")}});
  }
  return text + '\n' + list.render(how);
}

std::string audit(const json::array& rows, const look& how) {
  if (rows.empty())
    return nothing(how, "Nothing has been done yet.");
  auto out = table{{{"AT"},
                    {"", 0, true},
                    {"WHO", 8},
                    {"ROLE", 0, true},
                    {"ACT"},
                    {"SUBJECT"},
                    {"OUTCOME"},
                    {"REASON", 16, true},
                    {"REQUEST", 8, true}}};
  for (const auto& row : rows) {
    const auto& x = as_object(row);
    const auto at = text_of(x, "at");
    out.add({{absolute(how, at)},
             {ago(how, at), paint::faint},
             {text_of(x, "actor")},
             {text_of(x, "role")},
             {text_of(x, "act")},
             {or_else(text_of(x, "subject"), "-")},
             said(text_of(x, "outcome")),
             {text_of(x, "reason")},
             {text_of(x, "requestId")}});
  }
  return out.render(how);
}

std::string log_line(const json::object& line, const look& how) {
  const auto level = printable(text_of(line, "level"));
  auto source = printable(text_of(line, "source"));
  source.append(source.size() < 6 ? 6 - source.size() : 0, ' ');
  auto text
    = painted(how, paint::faint, absolute(how, text_of(line, "timestamp")))
      + "  " + source + "  ";
  if (!level.empty() && level != "info")
    text += painted(how, paint_of(level), level) + "  ";
  return text + printable(text_of(line, "message")) + '\n';
}

std::string status_line(const json::object& status, const look& how) {
  const auto state = printable(text_of(status, "status"));
  auto progress = printable(text_of(status, "progress")) + '%';
  progress.insert(0, progress.size() < 4 ? 4 - progress.size() : 0, ' ');
  auto text = painted(how, paint::faint, absolute(how, to_rfc3339(how.now)))
              + "  " + progress + "  " + painted(how, paint_of(state), state);
  text.append(state.size() < 11 ? 11 - state.size() : 0, ' ');
  text += "  " + printable(text_of(status, "message"));
  if (const auto error = text_of(status, "error"); !error.empty())
    text += ": " + painted(how, paint::bad, printable(error));
  if (const auto url = text_of(status, "publicUrl");
      !url.empty() && state == "running")
    text += "  " + printable(url);
  return text + '\n';
}

} // namespace slipway::cli::views

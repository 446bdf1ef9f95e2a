#pragma once

#include "http/provider/caller.hpp"
#include "http/provider/log_text.hpp"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// Railway as far as logs go, and a CALLER that leads there.
namespace slipway::test {

struct railway_logs {
  struct line {
    provider::nanos at = 0;
    std::string message;
    std::string severity = "info";
  };

  struct deployment {
    std::string status = "SUCCESS";
    std::vector<line> build; ///< Oldest first.
    std::vector<line> deploy;
  };

  struct service {
    std::string id;
    std::string name;
    std::string deployment_id;
  };

  /// What was asked for.
  struct asked {
    std::string field;
    std::string id;
    std::size_t limit = 0;
    std::string start;
    std::string end;
  };

  std::map<std::string, std::vector<service>> environments;
  std::map<std::string, deployment> deployments;
  std::vector<asked> calls;
  std::vector<provider::call_ptr> kept; ///< All that ever came.

  /// Which calls wait for `release`.
  std::function<bool(const provider::call&)> hold;
  /// Answers in place of the model where it says something.
  std::function<std::optional<provider::answer>(const provider::call&)> says;
  std::deque<provider::call_ptr> held;

  void receive(const provider::call_ptr& x) {
    const auto text = [&](const char* name) {
      const auto* found = x->variables.if_contains(name);
      return found != nullptr && found->is_string()
               ? std::string{found->get_string().c_str()}
               : std::string{};
    };
    const auto* limit = x->variables.if_contains("limit");
    calls.push_back({x->field, text("id"),
                     limit == nullptr ? 0 : limit->to_number<std::size_t>(),
                     text("start"), text("end")});
    kept.push_back(x);
    if (hold && hold(*x))
      held.push_back(x);
    else
      x->done(answer(*x));
  }

  void release() {
    const auto x = std::move(held.front());
    held.pop_front();
    x->done(answer(*x));
  }

  void release_all() {
    while (!held.empty())
      release();
  }

  [[nodiscard]] std::size_t count(std::string_view field) const {
    return static_cast<std::size_t>(
      std::count_if(calls.begin(), calls.end(), [&](const asked& x) {
        return x.field == field;
      }));
  }

  provider::answer answer(const provider::call& x) {
    if (x.withdrawn && x.withdrawn->load())
      return fail(provider::answer_class::not_sent, "withdrawn");
    if (says)
      if (auto scripted = says(x))
        return std::move(*scripted);
    const auto id = std::string{x.variables.at("id").as_string().c_str()};
    auto out = provider::answer{};
    if (x.field == "environment") {
      const auto found = environments.find(id);
      if (found == environments.end())
        return fail(provider::answer_class::not_found, "no such environment");
      out.data = boost::json::object{{"environment", environment(id)}};
      return out;
    }
    const auto found = deployments.find(id);
    if (found == deployments.end())
      return fail(provider::answer_class::not_found, "no such deployment");
    const auto& lines
      = x.field == "buildLogs" ? found->second.build : found->second.deploy;
    out.data = boost::json::object{{x.field, some(lines, x.variables)}};
    return out;
  }

  static provider::answer fail(provider::answer_class is, std::string message) {
    auto out = provider::answer{};
    out.is = is;
    out.message = std::move(message);
    return out;
  }

  static boost::json::array render(const std::vector<line>& lines) {
    auto out = boost::json::array{};
    for (const auto& x : lines)
      out.push_back({{"timestamp", provider::nanos_to_text(x.at)},
                     {"severity", x.severity},
                     {"message", x.message}});
    return out;
  }

private:
  boost::json::object environment(const std::string& id) {
    auto edges = boost::json::array{};
    for (const auto& x : environments[id]) {
      auto node = boost::json::object{
        {"serviceId", x.id}, {"serviceName", x.name}, {"domains", nullptr}};
      if (x.deployment_id.empty())
        node["latestDeployment"] = nullptr;
      else
        node["latestDeployment"]
          = {{"id", x.deployment_id},
             {"status", deployments[x.deployment_id].status},
             {"deploymentStopped", false}};
      edges.push_back(boost::json::object{{"node", std::move(node)}});
    }
    return {
      {"id", id},
      {"serviceInstances", boost::json::object{{"edges", std::move(edges)}}}};
  }

  /// The newest lines of the span, one more than asked for; times count in
  /// milliseconds.
  static boost::json::array
  some(const std::vector<line>& from, const boost::json::object& variables) {
    const auto time = [&](const char* name) -> std::optional<timestamp> {
      const auto* found = variables.if_contains(name);
      if (found == nullptr)
        return std::nullopt;
      return parse_rfc3339(found->as_string().c_str());
    };
    const auto start = time("start");
    const auto end = time("end");
    const auto limit = variables.at("limit").to_number<std::size_t>();
    auto out = std::vector<line>{};
    for (const auto& x : from) {
      const auto at = timestamp{millis{x.at / provider::nanos_per_ms}};
      if ((!start || at >= *start) && (!end || at <= *end))
        out.push_back(x);
    }
    if (out.size() > limit + 1)
      out.erase(out.begin(),
                out.end() - static_cast<std::ptrdiff_t>(limit + 1));
    return render(out);
  }
};

struct railway_caller_state {
  static inline const char* name = "railway-caller";
};

inline provider::caller_actor::behavior_type
railway_caller(provider::caller_actor::stateful_pointer<railway_caller_state>,
               std::shared_ptr<railway_logs> to) {
  return {
    [to](const provider::call_ptr& x) {
      to->receive(x);
    },
    [](const continuation&) {
      // nop
    },
  };
}

} // namespace slipway::test

#pragma once

#include "http/provider/watcher.hpp"
#include "tests/support/actor_fixture.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include <deque>

/// What the WATCHER is tested with: Railway as far as looking goes, and the
/// line to it in a test's hand.
namespace slipway::test {

using namespace slipway::provider;

namespace json = boost::json;

// -- Railway, as far as looking goes
// ------------------------------------------------------

struct rails {
  struct service {
    std::string id;
    std::string deployment;
    std::string status;
    bool stopped = false;
    std::string active; ///< Another deployment that serves.
  };

  std::map<std::string, std::vector<service>> environments;
  std::map<std::string, json::value> steps;       ///< By deployment.
  std::map<std::string, std::string> deployments; ///< Besides the latest ones.
  std::map<std::string, std::vector<std::string>> replicas;
  std::set<std::string> broken;      ///< Ids that answer with an error.
  std::vector<std::string> projects; ///< Ids; all of them have names of ours.
  bool projects_are_others = false;
  std::size_t page = 100;
  bool revoked = false; ///< The token is no good any more.

  static json::value edges(json::array nodes) {
    auto out = json::array{};
    for (auto& x : nodes)
      out.push_back(json::object{{"node", std::move(x)}});
    return json::object{{"edges", std::move(out)}};
  }

  static json::object of_deployment(const std::string& id,
                                    const std::string& status, bool stopped) {
    return {{"id", id}, {"status", status}, {"deploymentStopped", stopped}};
  }

  /// One field, or nothing: an error.
  std::optional<json::value>
  read(const std::string& field, const std::string& id) const {
    if (revoked || broken.count(id) != 0)
      return std::nullopt;
    if (field == "deploymentEvents") {
      const auto known = steps.find(id);
      return known == steps.end() ? edges({}) : known->second;
    }
    if (field == "deployment") {
      auto status = std::string{};
      for (const auto& [env, services] : environments)
        for (const auto& x : services)
          if (x.deployment == id)
            status = x.status;
      if (const auto known = deployments.find(id); known != deployments.end())
        status = known->second;
      if (status.empty())
        return std::nullopt;
      auto out = of_deployment(id, status, false);
      auto list = json::array{};
      if (const auto known = replicas.find(id); known != replicas.end())
        for (const auto& x : known->second)
          list.push_back(json::object{{"status", x}});
      out["instances"] = std::move(list);
      return out;
    }
    const auto known = environments.find(id);
    if (known == environments.end())
      return std::nullopt;
    auto nodes = json::array{};
    for (const auto& x : known->second) {
      auto active = json::array{};
      if (!x.active.empty())
        active.push_back(of_deployment(x.active, "SUCCESS", false));
      nodes.push_back(json::object{
        {"serviceId", x.id},
        {"serviceName", "web"},
        {"activeDeployments", std::move(active)},
        {"latestDeployment",
         x.deployment.empty()
           ? json::value{nullptr}
           : json::value(of_deployment(x.deployment, x.status, x.stopped))}});
    }
    return json::object{{"id", id}, {"serviceInstances", edges(nodes)}};
  }

  /// The name of a plain document's field.
  static std::string field_of(std::string_view query) {
    const auto open = query.find("{\n  ");
    const auto from = open + 4;
    return std::string{query.substr(from, query.find('(', from) - from)};
  }

  [[nodiscard]] json::value list(const json::object& variables) const {
    auto from = std::size_t{0};
    if (const auto* after = variables.if_contains("after"))
      from = std::stoul(std::string{after->as_string()});
    auto nodes = json::array{};
    auto i = from;
    for (; i < projects.size() && i < from + page; ++i)
      nodes.push_back(json::object{
        {"id", projects[i]},
        {"name", projects_are_others
                   ? "theirs"
                   : project_name(make_subscription_id(day_one, i))},
        {"createdAt", to_rfc3339(day_one)},
        {"deletedAt", nullptr}});
    auto out = edges(std::move(nodes));
    out.as_object()["pageInfo"] = json::object{
      {"hasNextPage", i < projects.size()}, {"endCursor", std::to_string(i)}};
    return out;
  }

  [[nodiscard]] client::http_response
  answer(std::string_view query, const json::object& variables) const {
    if (query.find("  projects(") != std::string_view::npos) {
      if (revoked)
        return {200, {}, R"({"errors":[{"message":"Not Authorized"}]})"};
      return {200,
              {},
              json::serialize(json::object{
                {"data", json::object{{"projects", list(variables)}}}})};
    }
    auto data = json::object{};
    auto errors = json::array{};
    const auto put = [&](const std::string& name, const std::string& field,
                         const std::string& id) {
      if (auto found = read(field, id))
        data[name] = std::move(*found);
      else
        errors.push_back(
          json::object{{"message", "Not Authorized"},
                       {"path", json::array{json::value(name)}}});
    };
    if (query.starts_with("query Watch("))
      for (const auto& [name, id] : variables)
        put(std::string{name},
            name[0] == 'e' ? "environment" : "deploymentEvents",
            std::string{id.as_string()});
    else
      put(field_of(query), field_of(query),
          std::string{variables.at("id").as_string()});
    if (!errors.empty())
      return {200,
              {},
              json::serialize(json::object{{"data", nullptr},
                                           {"errors", std::move(errors)}})};
    return {200, {}, json::serialize(json::object{{"data", std::move(data)}})};
  }
};

inline json::value steps_to(std::initializer_list<const char*> names,
                            const char* error = nullptr) {
  auto nodes = json::array{};
  for (const auto* x : names)
    nodes.push_back(json::object{
      {"step", x},
      {"payload",
       json::object{{"error", error != nullptr && x == *(names.end() - 1)
                                ? json::value(error)
                                : json::value{nullptr}}}}});
  return rails::edges(std::move(nodes));
}

// -- the line
// ----------------------------------------------------------------------------

/// What the WATCHER wanted to be sent.
struct board {
  struct sent {
    std::string field;
    std::vector<std::string> environments;
    std::vector<std::string> steps;
    bool plain = false;
    call_ptr what;
    timestamp at{};
  };

  static sent read(const call_ptr& x) {
    auto out = sent{};
    out.field = x->field;
    out.what = x;
    out.plain = !x->document.starts_with("query Watch(");
    if (x->field == "projects")
      return out;
    for (const auto& [name, id] : x->variables) {
      const auto steps
        = out.plain ? x->field == "deploymentEvents" : name[0] == 's';
      (steps ? out.steps : out.environments)
        .push_back(std::string{id.as_string()});
    }
    return out;
  }

  void take(call_ptr x) {
    log.push_back(read(x));
    log.back().at = now();
    waiting.push_back(std::move(x));
    if (!hold)
      release();
  }

  /// Answers the oldest that waits.
  void release() {
    auto x = std::move(waiting.front());
    waiting.pop_front();
    auto outcome = says ? says(*x) : std::nullopt;
    if (!outcome)
      outcome = world.answer(x->document, x->variables);
    x->done(read_answer(*outcome));
  }

  /// Looks at environments, by their number of environments.
  [[nodiscard]] std::vector<std::size_t> sizes() const {
    auto out = std::vector<std::size_t>{};
    for (const auto& x : log)
      if (x.field == "environment")
        out.push_back(x.environments.size());
    return out;
  }

  [[nodiscard]] std::size_t count(std::string_view field) const {
    return static_cast<std::size_t>(
      std::count_if(log.begin(), log.end(), [field](const sent& x) {
        return x.field == field;
      }));
  }

  /// When an environment was looked at.
  [[nodiscard]] std::vector<timestamp> times(const std::string& env) const {
    auto out = std::vector<timestamp>{};
    for (const auto& x : log)
      if (std::find(x.environments.begin(), x.environments.end(), env)
          != x.environments.end())
        out.push_back(x.at);
    return out;
  }

  rails world;
  std::function<timestamp()> now;
  std::function<std::optional<client::http_outcome>(const call&)> says;
  bool hold = false;
  std::deque<call_ptr> waiting;
  std::vector<sent> log;
};

inline caller_actor::behavior_type
board_caller(caller_actor::pointer, std::shared_ptr<board> to) {
  return {
    [to](call_ptr& x) {
      to->take(std::move(x));
    },
    [](const continuation&) {
      CAF_FAIL("continuation");
    },
  };
}

inline client::http_outcome opaque() {
  return client::http_response{
    200, {}, R"({"errors":[{"message":"Problem processing request"}]})"};
}

struct watcher_fixture : actor_fixture {
  std::shared_ptr<board> line = std::make_shared<board>();
  watcher_options options;

  watcher_fixture() {
    line->now = [this] {
      return time.now();
    };
    env->registry = keep(spawn_probe_registry(sys, log));
    options.caller = keep(sys.spawn(board_caller, line));
    start();
  }

  ~watcher_fixture() {
    stop();
  }

  void start() {
    env->watcher = sys.spawn(watcher, environment_ptr{env}, options);
    consume_messages();
  }

  void stop() {
    if (!env->watcher)
      return;
    caf::anon_send_exit(env->watcher(), caf::exit_reason::kill);
    env->watcher = nullptr;
    consume_messages();
  }

  // -- what is watched

  static std::string name(const char* kind, int n) {
    return kind + std::string{"-"} + std::to_string(n);
  }

  static subscription_id id_of(int n) {
    return make_subscription_id(day_one, static_cast<std::uint64_t>(n));
  }

  /// The nth subscription, which has just begun to deploy.
  record_ptr subject(int n, std::uint32_t attempt = 1) {
    auto out = make_record(id_of(n), phase::deploying);
    auto& d = out.state.deployment;
    d.phase_at = time.now();
    d.attempt = attempt;
    d.progress = 40;
    d.deployment_id = name("dep", n);
    out.state.instance.project_id = name("proj", n);
    out.state.instance.environment_id = name("env", n);
    out.state.instance.service_id = name("svc", n);
    return std::make_shared<record>(std::move(out));
  }

  rails::service& show(int n, const std::string& status) {
    auto& services = line->world.environments[name("env", n)];
    if (services.empty())
      services.push_back({name("svc", n), name("dep", n), status, false, {}});
    services.front().status = status;
    return services.front();
  }

  rails::service& order(int n, const std::string& status = "BUILDING") {
    auto& out = show(n, status);
    caf::anon_send(env->watcher(), watch_order{subject(n)});
    consume_messages();
    return out;
  }

  void order_many(int from, int to, const std::string& status = "BUILDING") {
    for (auto n = from; n <= to; ++n)
      order(n, status);
  }

  void drop(int n) {
    caf::anon_send(env->watcher(), watch_dropped{id_of(n)});
    consume_messages();
  }

  void hint(provider_hint what) {
    caf::anon_send(env->watcher(), std::move(what));
    consume_messages();
  }

  void hint_at(int n) {
    hint({{}, name("env", n), {}, {}});
  }

  // -- what was told

  struct report {
    int n = 0;
    deployment_observed what;
    command_ptr by;
  };

  std::vector<report> reports(int n = 0) {
    auto out = std::vector<report>{};
    for (const auto& x : log->commands)
      if (const auto* what = std::get_if<deployment_observed>(&x->what)) {
        auto who = 0;
        for (auto i = 1; i < 1'000 && who == 0; ++i)
          if (x->subscription == id_of(i))
            who = i;
        if (n == 0 || n == who)
          out.push_back({who, *what, x});
      }
    return out;
  }

  /// The only verdict on the nth.
  deployment_observed verdict_on(int n) {
    auto out = std::vector<deployment_observed>{};
    for (const auto& x : reports(n))
      if (x.what.is != condition::in_progress)
        out.push_back(x.what);
    CAF_REQUIRE_EQUAL(out.size(), 1u);
    return out.front();
  }

  bool is_open(int n) {
    for (const auto& x : reports(n))
      if (x.what.is != condition::in_progress)
        return false;
    return true;
  }

  /// The supervisor took it.
  void settle_all() {
    for (const auto& x : log->commands)
      if (x->reply)
        x->reply->deliver({errc::none, verdict::applied, nullptr});
    log->commands.clear();
    consume_messages();
  }
};

} // namespace slipway::test

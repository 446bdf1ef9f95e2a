#include "tests/support/railway_model.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include <algorithm>

namespace slipway::test {

namespace {

namespace json = boost::json;

using namespace std::chrono_literals;

std::string text(const json::value& of, std::string_view name) {
  const auto* found
    = of.is_object() ? of.get_object().if_contains(name) : nullptr;
  return found != nullptr && found->is_string()
           ? std::string{found->get_string().data(), found->get_string().size()}
           : std::string{};
}

client::http_response reply(const json::value& body, int status = 200) {
  return {status, {}, json::serialize(body)};
}

client::http_response data(const char* field, json::value value) {
  return reply(json::object{{"data", json::object{{field, std::move(value)}}}});
}

client::http_response error(const char* message, int status = 200) {
  return reply(
    json::object{
      {"data", nullptr},
      {"errors",
       json::array{json::object{
         {"message", message},
         {"extensions", json::object{{"code", "INTERNAL_SERVER_ERROR"}}}}}}},
    status);
}

json::array one_node(json::object node) {
  return {json::object{{"node", std::move(node)}}};
}

json::object environments_of(const railway_model::project& p) {
  return {{"edges", one_node({{"id", p.environment}, {"name", "production"}})}};
}

} // namespace

railway_model::railway_model(std::uint64_t seed, std::function<timestamp()> now)
  : random_{seed}, now_{std::move(now)} {
}

void railway_model::wire::send(client::http_request request,
                               client::http_callback done) {
  if (severed)
    return;
  if (to_.leaves)
    to_.leaves(request.body);
  if (request.body.find("mutation ") != std::string::npos) {
    if (may_act && !may_act()) {
      done(client::http_failure{client::failure_kind::not_sent,
                                "the lease is lost"});
      return;
    }
    if (left)
      left(request);
  }
  to_.arrive(std::move(request), std::move(done), shared_from_this());
}

std::shared_ptr<railway_model::wire> railway_model::connect() {
  current_ = std::make_shared<wire>(*this);
  return current_;
}

void railway_model::sever() {
  current_->severed = true;
}

std::optional<timestamp> railway_model::next() const {
  if (events_.empty())
    return std::nullopt;
  return events_.begin()->first;
}

void railway_model::run() {
  while (!events_.empty() && events_.begin()->first <= now_()) {
    auto what = std::move(events_.begin()->second);
    events_.erase(events_.begin());
    what();
  }
}

std::vector<const railway_model::project*>
railway_model::live(std::string_view name) const {
  auto out = std::vector<const project*>{};
  for (const auto& p : projects)
    if (!p.deleted && p.name == name)
      out.push_back(&p);
  return out;
}

void railway_model::at(timestamp when, std::function<void()> what) {
  events_.emplace(when, std::move(what));
}

int railway_model::roll(int sides) {
  return static_cast<int>(random_() % static_cast<std::uint64_t>(sides));
}

millis railway_model::some(millis most) {
  return millis{static_cast<std::int64_t>(
    random_() % static_cast<std::uint64_t>(most.count() + 1))};
}

std::string railway_model::fresh(std::string_view prefix) {
  return std::string{prefix} + "-" + std::to_string(++last_id_);
}

railway_model::project* railway_model::find(std::string_view id) {
  for (auto& p : projects)
    if (p.id == id || p.environment == id)
      return &p;
  return nullptr;
}

/// A request has left: it takes effect later, and the answer comes later still,
/// or one of the two does not happen.
void railway_model::arrive(client::http_request request,
                           client::http_callback done,
                           std::shared_ptr<wire> over) {
  using client::failure_kind;
  ++calls;
  const auto began = now_();
  arrivals.push_back(began);
  auto dice = roll(100);
  const auto hit = [&dice](int percent) {
    dice -= percent;
    return dice < 0;
  };
  const auto tell = [over, done](client::http_outcome outcome) {
    if (!over->severed)
      done(std::move(outcome));
  };
  const auto fail = [this, tell](timestamp when, failure_kind kind) {
    at(when, [tell, kind] {
      tell(client::http_failure{kind, "the wire broke"});
    });
  };
  const auto timeout = began + request.timeout;
  if (hit(faults.not_sent)) {
    fail(began + some(2s), failure_kind::not_sent);
    return;
  }
  if (hit(faults.lost_before)) {
    fail(timeout, failure_kind::in_doubt);
    return;
  }
  if (hit(faults.opaque_before)) {
    at(began + some(500ms), [tell] {
      tell(error("Problem processing request"));
    });
    return;
  }
  if (hit(faults.throttled)) {
    at(began + some(500ms), [tell] {
      auto out = error("Rate limit exceeded", 429);
      out.headers.emplace_back("Retry-After", "3");
      tell(std::move(out));
    });
    return;
  }
  if (hit(faults.blocked)) {
    at(began + some(500ms), [tell] {
      tell(client::http_response{429, {}, "error code: 1015"});
    });
    return;
  }
  const auto lost = hit(faults.lost_after);
  const auto opaque = hit(faults.opaque_after);
  const auto slow = hit(faults.slow);
  const auto effect_at = began + 20ms + some(slow ? faults.slow_max : 200ms);
  const auto reply_at = effect_at + some(slow ? 20s : 200ms);
  at(effect_at, [this, body = std::move(request.body), lost, opaque, reply_at,
                 timeout, tell, fail] {
    auto response = answer(body);
    if (lost || reply_at >= timeout)
      fail(std::max(timeout, now_()), failure_kind::in_doubt);
    else
      at(reply_at, [tell, opaque, response = std::move(response)] {
        tell(opaque ? error("Problem processing request") : response);
      });
  });
}

railway_model::deployment
railway_model::start_deployment(const std::string& environment) {
  auto out = deployment{};
  out.id = fresh("dep");
  out.visible_at = now_() + some(faults.lag_max) / 4;
  out.ends_at = now_() + build_min + some(build_more);
  out.fails = roll(100) < faults.build_fails;
  if (roll(100) < faults.build_hangs)
    out.ends_at = now_() + 24h;
  if (ended)
    at(out.ends_at, [this, environment] {
      ended(environment);
    });
  return out;
}

/// Many fields in one document, told apart by aliases: `  e0: environment(…`.
/// All of them are non-null, so that one error leaves no data at all.
client::http_response
railway_model::answer_all(const std::string& query, const json::value& v) {
  auto found = json::object{};
  auto errors = json::array{};
  for (auto at = query.find("\n  ");
       at != std::string::npos && query[at + 3] != '}';
       at = query.find("\n  ", at + 1)) {
    const auto colon = query.find(": ", at);
    const auto open = query.find('(', at);
    if (colon == std::string::npos || open == std::string::npos || colon > open
        || query.rfind("fragment", at) != std::string::npos)
      break;
    const auto alias = query.substr(at + 3, colon - at - 3);
    const auto field = query.substr(colon + 2, open - colon - 2);
    const auto one
      = json::parse(answer(json::serialize(json::object{
                             {"query", "\n  " + field + "("},
                             {"variables", json::object{{"id", v.at(alias)}}}}))
                      .body);
    if (const auto* wrong = one.as_object().if_contains("errors")) {
      auto x = wrong->at(0);
      x.as_object()["path"] = json::array{json::value(alias)};
      errors.push_back(std::move(x));
      continue;
    }
    found[alias] = one.at("data").at(field);
  }
  if (errors.empty())
    return reply(json::object{{"data", std::move(found)}});
  return reply(json::object{{"data", nullptr}, {"errors", std::move(errors)}});
}

client::http_response railway_model::answer(const std::string& body) {
  const auto call = json::parse(body);
  const auto query = text(call, "query");
  if (query.starts_with("query Watch("))
    return answer_all(query, call.at("variables"));
  const auto& v = call.at("variables");
  const auto asks = [&query](std::string_view field) {
    return query.find("  " + std::string{field} + "(") != std::string::npos;
  };
  const auto t = now_();
  const auto name_at = query.find(' ') + 1;
  ++asked[query.substr(name_at, query.find('(') - name_at)];
  mutations += query.find("mutation") != std::string::npos ? 1 : 0;

  if (asks("projects")) {
    auto edges = json::array{};
    for (auto p = projects.rbegin(); p != projects.rend(); ++p)
      if (!p->deleted && p->visible_at <= t)
        edges.push_back(json::object{
          {"node", json::object{{"id", p->id},
                                {"name", p->name},
                                {"createdAt", to_rfc3339(p->created_at)},
                                {"deletedAt", nullptr}}}});
    return data("projects",
                json::object{{"edges", std::move(edges)},
                             {"pageInfo", json::object{{"hasNextPage", false},
                                                       {"endCursor", ""}}}});
  }
  if (asks("projectCreate")) {
    if (t - last_create_ < create_cooldown)
      return error("You are creating projects too quickly: 1 project per 30 "
                   "seconds");
    last_create_ = t;
    auto p = project{};
    p.id = fresh("proj");
    p.environment = fresh("env");
    p.name = text(v.at("input"), "name");
    p.created_at = t;
    p.visible_at = t + some(faults.lag_max);
    projects.push_back(p);
    if (created)
      created(p.name);
    return data(
      "projectCreate",
      json::object{{"id", p.id}, {"environments", environments_of(p)}});
  }
  if (asks("project")) {
    auto* p = find(text(v, "id"));
    if (p == nullptr)
      return error("Project not found");
    if (p->deleted)
      return error("Not Authorized");
    auto edges = json::array{};
    for (const auto& s : p->services)
      if (s.visible_at <= t)
        edges.push_back(json::object{
          {"node", json::object{
                     {"id", s.id}, {"name", "web"}, {"deletedAt", nullptr}}}});
    return data(
      "project",
      json::object{{"id", p->id},
                   {"deletedAt", nullptr},
                   {"environments", environments_of(*p)},
                   {"services", json::object{{"edges", std::move(edges)}}}});
  }
  if (asks("projectDelete")) {
    auto* p = find(text(v, "id"));
    if (p == nullptr || p->deleted)
      return error("Not Authorized");
    p->deleted = true;
    return data("projectDelete", true);
  }
  if (asks("template"))
    return data("template",
                json::object{
                  {"id", "tmpl-1"},
                  {"serializedConfig",
                   json::object{
                     {"services",
                      json::object{{"svc", json::object{{"name", "web"}}}}}}}});
  if (asks("templateDeployV2")) {
    const auto& input = v.at("input");
    auto* p = find(text(input, "projectId"));
    if (p == nullptr || p->deleted)
      return error("Not Authorized");
    if (++p->templates > 1 && !p->workflow_fails)
      complaints.push_back("two templates in " + p->name);
    p->subscription = text(input.at("serializedConfig")
                             .at("services")
                             .at("svc")
                             .at("variables")
                             .at("SUBSCRIPTION_ID"),
                           "value");
    p->workflow = fresh("wf");
    p->workflow_ends_at = t + 1s + some(10s);
    p->workflow_fails = roll(100) < faults.workflow_fails;
    if (!p->workflow_fails) {
      auto s = service{};
      s.id = fresh("svc");
      s.visible_at = t + some(faults.lag_max);
      s.deployments.push_back(start_deployment(p->environment));
      p->services.push_back(std::move(s));
    }
    return data("templateDeployV2", json::object{{"projectId", p->id},
                                                 {"workflowId", p->workflow}});
  }
  if (asks("workflowStatus")) {
    auto status = "NotFound";
    for (const auto& p : projects)
      if (!p.workflow.empty() && p.workflow == text(v, "workflowId"))
        status = p.workflow_ends_at > t ? "Running"
                 : p.workflow_fails     ? "Error"
                                        : "Complete";
    auto both = json::object{
      {"workflowStatus", json::object{{"status", status}, {"error", nullptr}}}};
    if (asks("environment")) {
      auto other = answer(json::serialize(json::object{
        {"query", "\n  environment("},
        {"variables", json::object{{"id", v.at("environmentId")}}}}));
      const auto told = json::parse(other.body);
      if (told.as_object().contains("errors"))
        return other;
      both["environment"] = told.at("data").at("environment");
    }
    return reply(json::object{{"data", std::move(both)}});
  }
  const auto status_of = [t](const deployment& d) {
    if (d.cancelled)
      return "REMOVED";
    if (d.ends_at > t)
      return "BUILDING";
    return d.fails ? "FAILED" : "SUCCESS";
  };
  if (asks("environment")) {
    auto* p = find(text(v, "id"));
    if (p == nullptr || p->deleted)
      return error("Not Authorized");
    auto edges = json::array{};
    for (const auto& s : p->services) {
      if (s.visible_at > t)
        continue;
      auto latest = json::value{nullptr};
      for (const auto& d : s.deployments)
        if (d.visible_at <= t)
          latest = json::object{{"id", d.id},
                                {"status", status_of(d)},
                                {"deploymentStopped", false}};
      auto domains = json::array{};
      if (!s.domain.empty())
        domains.push_back(json::object{{"domain", s.domain}});
      edges.push_back(json::object{
        {"node",
         json::object{
           {"serviceId", s.id},
           {"serviceName", "web"},
           {"domains", json::object{{"serviceDomains", std::move(domains)},
                                    {"customDomains", json::array{}}}},
           {"latestDeployment", std::move(latest)}}}});
    }
    return data("environment",
                json::object{{"id", p->environment},
                             {"serviceInstances",
                              json::object{{"edges", std::move(edges)}}}});
  }
  if (asks("serviceDomainCreate")) {
    const auto& input = v.at("input");
    auto* p = find(text(input, "environmentId"));
    if (p == nullptr || p->deleted)
      return error("Not Authorized");
    for (auto& s : p->services)
      if (s.id == text(input, "serviceId")) {
        if (!s.domain.empty())
          return error("Domain already exists");
        s.domain = s.id + ".up.example";
        return data("serviceDomainCreate", json::object{{"domain", s.domain}});
      }
    return error("Service not found");
  }
  if (asks("serviceInstanceDeployV2")) {
    auto* p = find(text(v, "environmentId"));
    if (p == nullptr || p->deleted)
      return error("Not Authorized");
    for (auto& s : p->services)
      if (s.id == text(v, "serviceId")) {
        if (s.deployments.back().ends_at > t && !s.deployments.back().cancelled)
          return error("Cannot redeploy yet, please wait for the original "
                       "deployment to finish building");
        s.deployments.push_back(start_deployment(p->environment));
        return data("serviceInstanceDeployV2",
                    json::value(s.deployments.back().id));
      }
    return error("Service not found");
  }
  if (asks("deploymentEvents"))
    return data("deploymentEvents", json::object{{"edges", json::array{}}});
  for (auto& p : projects)
    for (auto& s : p.services)
      for (auto& d : s.deployments)
        if (d.id == text(v, "id")) {
          if (asks("deploymentCancel")) {
            d.cancelled = true;
            return data("deploymentCancel", true);
          }
          if (asks("deployment"))
            return data("deployment",
                        json::object{{"id", d.id},
                                     {"status", status_of(d)},
                                     {"deploymentStopped", false}});
        }
  if (asks("deployment") || asks("deploymentCancel"))
    return error("Deployment not found");
  complaints.push_back("an unknown document: " + query);
  return error("Cannot query field", 400);
}

} // namespace slipway::test

#pragma once

#include "http/sandbox/railway_simulator.hpp"
#include "tests/unit/http_server/loopback.hpp"
#include "tests/unit/sandbox/manual_clock.hpp"

#include <boost/json.hpp>
#include <caf/test/unit_test.hpp>

#include <memory>
#include <string>
#include <string_view>

/// A simulated Railway on a clock that is moved by hand, and what tests say to
/// it.
namespace railway_test {

using namespace slipway;
using namespace slipway::sandbox;
using namespace std::literals;
using loopback::fetch;
namespace json = boost::json;

struct fixture {
  manual_clock time;
  railway_simulator_options options;
  std::unique_ptr<railway_simulator> aut;

  fixture() {
    options.token = "token-1";
    options.workspace_id = "ws-1";
    options.seed = 42;
    options.create_cooldown = 0ms;
    options.template_project_id.clear();
    restart();
  }

  void restart() {
    aut = std::make_unique<railway_simulator>(options, time);
    const auto started = aut->start();
    CAF_REQUIRE(started.has_value());
  }

  loopback::answer post(const json::object& body,
                        const std::string& authorization = "Bearer token-1") {
    loopback::headers headers{{"Content-Type", "application/json"}};
    if (!authorization.empty())
      headers.emplace_back("Authorization", authorization);
    return fetch(aut->port(), "POST", "/graphql/v2?source=test",
                 json::serialize(body), headers);
  }

  json::value ask(std::string_view query, json::object variables = {}) {
    const auto x = post({{"query", query}, {"variables", variables}});
    auto ec = json::error_code{};
    auto result = json::parse(x.body, ec);
    CAF_CHECK(!ec);
    return result;
  }

  /// The data, which must have come without errors.
  json::value data(std::string_view query, json::object variables = {}) {
    auto all = ask(query, std::move(variables));
    if (all.as_object().contains("errors"))
      CAF_ERROR(json::serialize(all));
    return all.at("data");
  }

  std::string error(std::string_view query, json::object variables = {}) {
    const auto all = ask(query, std::move(variables));
    const auto* errors = all.as_object().if_contains("errors");
    return errors == nullptr
             ? ""
             : std::string{errors->at(0).at("message").as_string()};
  }

  void set(const json::object& switches) {
    CAF_CHECK_EQUAL(
      fetch(aut->port(), "PUT", "/sandbox/railway", json::serialize(switches))
        .status,
      200);
  }

  struct place {
    std::string project;
    std::string environment;
  };

  static std::string text(const json::value& x) {
    return std::string{x.as_string()};
  }

  place create(std::string_view name = "sub-1") {
    const auto made
      = data("mutation C($input: ProjectCreateInput!) { "
             "projectCreate(input: $input) { id environments { "
             "edges { node { id name } } } } }",
             {{"input", {{"name", name}, {"workspaceId", "ws-1"}}}});
    const auto& x = made.at("projectCreate");
    const auto& environment = x.at("environments").at("edges").at(0).at("node");
    CAF_CHECK_EQUAL(text(environment.at("name")), "production");
    return {text(x.at("id")), text(environment.at("id"))};
  }

  /// @returns the workflow's id.
  std::string deploy(const place& into, json::object extra = {}) {
    auto found = data("query T($code: String!) { template(code: $code) { id "
                      "serializedConfig } }",
                      {{"code", "slipway-demo"}});
    auto& config = found.at("template").at("serializedConfig").as_object();
    auto& services = config.at("services").as_object();
    auto& variables = services.begin()->value().at("variables").as_object();
    for (auto& each : extra)
      variables[each.key()] = {{"value", each.value()}};
    const auto done
      = data("mutation D($input: TemplateDeployV2Input!) { "
             "templateDeployV2(input: $input) { projectId workflowId } }",
             {{"input",
               {{"templateId", found.at("template").at("id")},
                {"projectId", into.project},
                {"environmentId", into.environment},
                {"workspaceId", "ws-1"},
                {"serializedConfig", config}}}});
    CAF_CHECK_EQUAL(text(done.at("templateDeployV2").at("projectId")),
                    into.project);
    return text(done.at("templateDeployV2").at("workflowId"));
  }

  std::string workflow(const std::string& id) {
    return text(data("query W($id: String!) { workflowStatus(workflowId: $id) "
                     "{ status error } }",
                     {{"id", id}})
                  .at("workflowStatus")
                  .at("status"));
  }

  json::value instance(const place& in) {
    auto all
      = data("query E($id: String!) { environment(id: $id) { id "
             "serviceInstances { edges { node { id serviceId serviceName "
             "domains { serviceDomains { domain targetPort } customDomains { "
             "domain } } latestDeployment { id status deploymentStopped } } } "
             "} } }",
             {{"id", in.environment}});
    const auto& edges
      = all.at("environment").at("serviceInstances").at("edges").as_array();
    return edges.empty() ? json::value(nullptr) : edges.front().at("node");
  }

  std::string status(const std::string& deployment) {
    return text(data("query S($id: String!) { deployment(id: $id) { status } }",
                     {{"id", deployment}})
                  .at("deployment")
                  .at("status"));
  }

  /// Without asking the API, which may be in trouble.
  std::size_t count_projects() {
    const auto all
      = json::parse(fetch(aut->port(), "GET", "/sandbox/railway/state").body);
    return all.at("projects").as_array().size();
  }

  /// A service with nothing in it. @returns its id.
  std::string
  add_service(const place& where, std::string_view name = "gateway") {
    return text(data("mutation S($input: ServiceCreateInput!) { "
                     "serviceCreate(input: $input) { id } }",
                     {{"input",
                       {{"projectId", where.project},
                        {"environmentId", where.environment},
                        {"name", name}}}})
                  .at("serviceCreate")
                  .at("id"));
  }

  /// @returns what was wrong with the patch.
  std::string commit(const place& where, const json::object& patch) {
    return error("mutation C($e: String!, $patch: EnvironmentConfig) { "
                 "environmentPatchCommit(environmentId: $e, patch: $patch, "
                 "commitMessage: \"test\") }",
                 {{"e", where.environment}, {"patch", patch}});
  }

  json::value configuration(const place& where) {
    return data("query C($id: String!) { environment(id: $id) { "
                "config(decryptVariables: true) } }",
                {{"id", where.environment}})
      .at("environment")
      .at("config");
  }

  /// Does something to a deployment by hand.
  void act(const std::string& deployment, const std::string& deed,
           int expected = 303, std::string_view body = "") {
    CAF_CHECK_EQUAL(
      fetch(aut->port(), "POST",
            "/sandbox/railway/deployments/" + deployment + "/" + deed, body)
        .status,
      expected);
  }

  /// A service that is being deployed since just now.
  struct running {
    place where;
    std::string service;
    std::string deployment;
  };

  running launch(std::string_view name = "sub-1") {
    running result;
    result.where = create(name);
    deploy(result.where);
    time.advance(options.stages.workflow);
    const auto x = instance(result.where);
    result.service = text(x.at("serviceId"));
    result.deployment = text(x.at("latestDeployment").at("id"));
    return result;
  }
};

/// From the beginning of a deployment to its success.
inline constexpr auto whole
  = 3'100ms; // queued, initializing, building, deploying

} // namespace railway_test

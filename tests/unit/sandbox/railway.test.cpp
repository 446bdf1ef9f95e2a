#define CAF_SUITE sandbox.railway

#include "tests/unit/sandbox/railway_fixture.hpp"

#include <set>

using namespace railway_test;

CAF_TEST_FIXTURE_SCOPE(railway_tests, fixture)

CAF_TEST(a template becomes a running service step by step) {
  const auto where = create();
  CAF_CHECK(instance(where).is_null());
  const auto id = deploy(where, {{"SUBSCRIPTION_ID", "sub-77"}});
  CAF_CHECK_EQUAL(workflow(id), "Running");
  CAF_CHECK(instance(where).is_null());
  time.advance(1'000ms);
  CAF_CHECK_EQUAL(workflow(id), "Complete");
  const auto x = instance(where);
  CAF_CHECK_EQUAL(text(x.at("serviceName")), "app");
  const auto domain
    = text(x.at("domains").at("serviceDomains").at(0).at("domain"));
  CAF_CHECK_EQUAL(domain.substr(0, 15), "app-production-");
  CAF_CHECK_EQUAL(domain.substr(19), ".up.railway.app.localhost");
  CAF_CHECK(x.at("domains").at("customDomains").as_array().empty());
  const auto made = text(x.at("latestDeployment").at("id"));
  auto seen = std::vector<std::string>{};
  for (auto t = 0ms; t <= whole; t += 100ms) {
    const auto now = status(made);
    if (seen.empty() || seen.back() != now)
      seen.push_back(now);
    time.advance(100ms);
  }
  CAF_CHECK_EQUAL(
    seen, (std::vector<std::string>{"QUEUED", "INITIALIZING", "BUILDING",
                                    "DEPLOYING", "SUCCESS"}));
  const auto variables
    = data("query V($p: String!, $e: String!, $s: String) { "
           "variables(projectId: $p, environmentId: $e, serviceId: $s) }",
           {{"p", where.project},
            {"e", where.environment},
            {"s", x.at("serviceId")}})
        .at("variables");
  CAF_CHECK_EQUAL(text(variables.at("SUBSCRIPTION_ID")), "sub-77");
  CAF_CHECK_EQUAL(text(variables.at("PORT")), "8080");
  CAF_CHECK_EQUAL(text(variables.at("APP_SECRET")).size(), 32u);
  CAF_CHECK_EQUAL(text(variables.at("RAILWAY_PUBLIC_DOMAIN")), domain);
}

CAF_TEST(events appear while a deployment goes on) {
  const auto x = launch();
  const auto steps = [&] {
    auto all = data("query E($id: String!) { deploymentEvents(id: $id, first: "
                    "50) { edges { node { step completedAt payload { error } } "
                    "} } }",
                    {{"id", x.deployment}});
    auto result = std::string{};
    for (const auto& edge : all.at("deploymentEvents").at("edges").as_array()) {
      const auto& node = edge.at("node");
      result += text(node.at("step"));
      result += node.at("completedAt").is_null() ? "? " : "! ";
    }
    return result;
  };
  CAF_CHECK_EQUAL(steps(), "");
  time.advance(700ms);
  CAF_CHECK_EQUAL(steps(), "SNAPSHOT_CODE! BUILD_IMAGE? ");
  time.advance(whole - 800ms);
  CAF_CHECK_EQUAL(steps(),
                  "SNAPSHOT_CODE! BUILD_IMAGE! PUBLISH_IMAGE! "
                  "CREATE_CONTAINER! CONFIGURE_NETWORK! HEALTHCHECK? ");
  time.advance(200ms);
  CAF_CHECK_EQUAL(steps(),
                  "SNAPSHOT_CODE! BUILD_IMAGE! PUBLISH_IMAGE! "
                  "CREATE_CONTAINER! CONFIGURE_NETWORK! HEALTHCHECK! ");
}

CAF_TEST(every deployment can be made to fail) {
  struct wanted {
    std::string_view kind;
    std::string_view status;
  };
  for (const auto& [kind, ending] :
       {wanted{"build", "FAILED"}, wanted{"deploy", "FAILED"},
        wanted{"crash", "CRASHED"}}) {
    set({{"failNext", kind}});
    const auto x = launch();
    time.advance(whole);
    CAF_CHECK_EQUAL(status(x.deployment), ending);
    // Once only.
    const auto next
      = text(data("mutation R($id: String!) { deploymentRedeploy(id: $id) { id "
                  "} }",
                  {{"id", x.deployment}})
               .at("deploymentRedeploy")
               .at("id"));
    time.advance(whole);
    CAF_CHECK_EQUAL(status(next), "SUCCESS");
  }
  set({{"failNext", "workflow"}});
  const auto where = create("w");
  const auto id = deploy(where);
  time.advance(1'000ms);
  CAF_CHECK_EQUAL(workflow(id), "Error");
  CAF_CHECK(instance(where).is_null());
}

CAF_TEST(failures last as long as they are told to) {
  set({{"failNext", "build"}, {"failCount", 2}});
  auto x = launch("a");
  time.advance(whole);
  CAF_CHECK_EQUAL(status(x.deployment), "FAILED");
  x = launch("b");
  time.advance(whole);
  CAF_CHECK_EQUAL(status(x.deployment), "FAILED");
  x = launch("c");
  time.advance(whole);
  CAF_CHECK_EQUAL(status(x.deployment), "SUCCESS");
  const auto now
    = json::parse(fetch(aut->port(), "GET", "/sandbox/railway").body);
  CAF_CHECK(now.at("failNext").is_null());
}

CAF_TEST(deployments can be cancelled stopped restarted and replaced) {
  const auto x = launch();
  time.advance(700ms);
  const auto act = [&](std::string_view field, const std::string& id) {
    return data("mutation M($id: String!) { done: " + std::string{field}
                  + "(id: $id) }",
                {{"id", id}})
      .at("done")
      .as_bool();
  };
  CAF_CHECK_EQUAL(
    error("mutation R($id: String!) { deploymentRedeploy(id: $id) "
          "{ id } }",
          {{"id", x.deployment}}),
    "Cannot redeploy yet, please wait for the original "
    "deployment to finish building");
  CAF_CHECK(act("deploymentCancel", x.deployment));
  CAF_CHECK_EQUAL(status(x.deployment), "REMOVING");
  time.advance(300ms);
  CAF_CHECK_EQUAL(status(x.deployment), "REMOVED");
  const auto second
    = text(data("mutation D($e: String!, $s: String!) { "
                "serviceInstanceDeployV2(environmentId: $e, serviceId: $s) }",
                {{"e", x.where.environment}, {"s", x.service}})
             .at("serviceInstanceDeployV2"));
  time.advance(whole);
  CAF_CHECK_EQUAL(status(second), "SUCCESS");
  CAF_CHECK(act("deploymentStop", second));
  CAF_CHECK(
    instance(x.where).at("latestDeployment").at("deploymentStopped").as_bool());
  CAF_CHECK(act("deploymentRestart", second));
  CAF_CHECK_EQUAL(status(second), "DEPLOYING");
  time.advance(1'000ms);
  CAF_CHECK_EQUAL(status(second), "SUCCESS");
  CAF_CHECK(data("mutation R($e: String!, $s: String!) { "
                 "serviceInstanceRedeploy(environmentId: $e, serviceId: $s) }",
                 {{"e", x.where.environment}, {"s", x.service}})
              .at("serviceInstanceRedeploy")
              .as_bool());
  // The old one serves until the new one is up.
  CAF_CHECK_EQUAL(status(second), "SUCCESS");
  time.advance(whole);
  CAF_CHECK_EQUAL(status(second), "REMOVED");
  const auto third = text(instance(x.where).at("latestDeployment").at("id"));
  CAF_CHECK_EQUAL(fetch(aut->port(), "POST",
                        "/sandbox/railway/deployments/" + third + "/crash")
                    .status,
                  303);
  CAF_CHECK_EQUAL(status(third), "CRASHED");
  CAF_CHECK(act("deploymentRemove", third));
  time.advance(300ms);
  CAF_CHECK_EQUAL(status(third), "REMOVED");
  CAF_CHECK_EQUAL(error("{ deployment(id: \"nope\") { id } }"),
                  "Deployment not found");
}

CAF_TEST(variables are merged or replaced and deploy unless told not to) {
  const auto x = launch();
  time.advance(whole);
  const auto upsert = [&](json::object variables, bool replace, bool skip) {
    data("mutation U($input: VariableCollectionUpsertInput!) { "
         "variableCollectionUpsert(input: $input) }",
         {{"input",
           {{"projectId", x.where.project},
            {"environmentId", x.where.environment},
            {"serviceId", x.service},
            {"variables", std::move(variables)},
            {"replace", replace},
            {"skipDeploys", skip}}}});
  };
  const auto variables = [&] {
    return data("query V($p: String!, $e: String!, $s: String) { v: "
                "variables(projectId: $p, environmentId: $e, serviceId: $s) }",
                {{"p", x.where.project},
                 {"e", x.where.environment},
                 {"s", x.service}})
      .at("v")
      .as_object();
  };
  upsert({{"A", "1"}}, false, true);
  CAF_CHECK(variables().contains("PORT"));
  CAF_CHECK_EQUAL(text(variables().at("A")), "1");
  CAF_CHECK_EQUAL(text(instance(x.where).at("latestDeployment").at("id")),
                  x.deployment);
  upsert({{"B", "2"}}, true, false);
  CAF_CHECK(!variables().contains("PORT"));
  CAF_CHECK(!variables().contains("A"));
  CAF_CHECK_NOT_EQUAL(text(instance(x.where).at("latestDeployment").at("id")),
                      x.deployment);
}

CAF_TEST(projects are listed newest first and page by page) {
  std::set<std::string> ids;
  for (auto i = 0; i < 5; ++i) {
    ids.insert(create("sub-" + std::to_string(i)).project);
    time.advance(1ms);
  }
  const auto query
    = "query P($after: String) { projects(workspaceId: \"ws-1\", first: 2, "
      "after: $after, orderBy: CREATED_AT_DESC) { edges { cursor node { id "
      "name deletedAt } } pageInfo { hasNextPage hasPreviousPage endCursor } } "
      "}";
  auto names = std::string{};
  json::value after = nullptr;
  for (auto i = 0; i < 3; ++i) {
    const auto page = data(query, {{"after", after}}).at("projects");
    for (const auto& edge : page.at("edges").as_array()) {
      names += text(edge.at("node").at("name")) + " ";
      ids.erase(text(edge.at("node").at("id")));
    }
    CAF_CHECK_EQUAL(page.at("pageInfo").at("hasNextPage").as_bool(), i < 2);
    CAF_CHECK_EQUAL(page.at("pageInfo").at("hasPreviousPage").as_bool(), i > 0);
    after = page.at("pageInfo").at("endCursor");
  }
  CAF_CHECK_EQUAL(names, "sub-4 sub-3 sub-2 sub-1 sub-0 ");
  CAF_CHECK(ids.empty());
  CAF_CHECK_EQUAL(error("{ projects(after: \"bad\") { edges { cursor } } }"),
                  "Invalid cursor");
  CAF_CHECK_EQUAL(
    error("{ projects(workspaceId: \"other\") { edges { cursor } } }"),
    "Not Authorized");
}

CAF_TEST(a deleted project is gone and cannot be deleted twice) {
  const auto x = launch();
  const auto id = json::object{{"id", x.where.project}};
  CAF_CHECK(data("mutation D($id: String!) { projectDelete(id: $id) }", id)
              .at("projectDelete")
              .as_bool());
  CAF_CHECK_EQUAL(
    error("mutation D($id: String!) { projectDelete(id: $id) }", id),
    "Not Authorized");
  CAF_CHECK_EQUAL(
    error("query P($id: String!) { project(id: $id) { id } }", id),
    "Project not found");
  CAF_CHECK_EQUAL(error("query S($id: String!) { deployment(id: $id) { id } }",
                        {{"id", x.deployment}}),
                  "Deployment not found");
  CAF_CHECK(data("{ projects { edges { cursor } } }")
              .at("projects")
              .at("edges")
              .as_array()
              .empty());
  CAF_CHECK_EQUAL(data("{ projects(includeDeleted: true) { edges { node { id "
                       "deletedAt services { edges { cursor } } } } } }")
                    .at("projects")
                    .at("edges")
                    .as_array()
                    .size(),
                  1u);
  const auto later = launch("later");
  data("mutation D($id: String!) { projectScheduleDelete(id: $id) }",
       {{"id", later.where.project}});
  CAF_CHECK(!data("query P($id: String!) { project(id: $id) { deletedAt } }",
                  {{"id", later.where.project}})
               .at("project")
               .at("deletedAt")
               .is_null());
}

CAF_TEST(new projects need a pause between them) {
  options.create_cooldown = 500ms;
  restart();
  create("a");
  const auto query = "mutation { projectCreate(input: {name: \"b\"}) { id } }";
  CAF_CHECK(error(query).find("creating projects too quickly")
            != std::string::npos);
  time.advance(500ms);
  CAF_CHECK_EQUAL(error(query), "");
  CAF_CHECK_EQUAL(
    error("mutation { projectCreate(input: {workspaceId: \"x\"}) { id } }"),
    "Not Authorized");
}

CAF_TEST(logs can be limited and filtered) {
  const auto x = launch();
  time.advance(whole);
  const auto lines = [&](std::string_view field, std::string_view arguments) {
    auto all = data("query L($id: String!) { l: " + std::string{field}
                      + "(deploymentId: $id" + std::string{arguments}
                      + ") { timestamp message severity tags { serviceId } "
                        "attributes { key value } } }",
                    {{"id", x.deployment}});
    return all.at("l").as_array();
  };
  const auto built = lines("buildLogs", "");
  CAF_CHECK_EQUAL(built.size(), 4u);
  CAF_CHECK_EQUAL(text(built.back().at("message")),
                  "=== Successfully Built! ===");
  CAF_CHECK(text(built.at(1).at("message")).find('\x1b') != std::string::npos);
  CAF_CHECK_EQUAL(text(built.front().at("tags").at("serviceId")), x.service);
  CAF_CHECK_EQUAL(text(built.front().at("timestamp")).size(), 30u);
  CAF_CHECK_EQUAL(lines("deploymentLogs", ", filter: \"listening\"").size(),
                  1u);
  // One line more than asked for, as the real one does.
  CAF_CHECK_EQUAL(lines("deploymentLogs", ", limit: 1").size(), 2u);
  CAF_CHECK_EQUAL(
    lines("deploymentLogs", ", startDate: \"2030-01-01T00:00:00Z\"").size(),
    0u);
  CAF_CHECK_EQUAL(error("{ buildLogs(deploymentId: \"" + x.deployment
                        + "\", startDate: \"soon\") { message } }"),
                  "A date must be RFC 3339.");
}

CAF_TEST(deployments can be listed by status) {
  const auto x = launch();
  time.advance(whole);
  data("mutation D($e: String!, $s: String!) { serviceInstanceDeployV2("
       "environmentId: $e, serviceId: $s) }",
       {{"e", x.where.environment}, {"s", x.service}});
  const auto count = [&](json::object input) {
    input["projectId"] = x.where.project;
    return data("query L($input: DeploymentListInput!) { deployments(input: "
                "$input, first: 10) { edges { node { id status service { id "
                "project { id name } } environment { name } instances { status "
                "} } } } }",
                {{"input", input}})
      .at("deployments")
      .at("edges")
      .as_array()
      .size();
  };
  CAF_CHECK_EQUAL(count({}), 2u);
  CAF_CHECK_EQUAL(count({{"status", {{"in", json::array{"SUCCESS"}}}}}), 1u);
  CAF_CHECK_EQUAL(count({{"status", {{"notIn", json::array{"SUCCESS"}}}}}), 1u);
  CAF_CHECK_EQUAL(count({{"serviceId", "nope"}}), 0u);
}

CAF_TEST(every other field of the schema can be read) {
  const auto x = launch();
  time.advance(whole);
  const auto all = data(
    "query All($p: String!, $e: String!, $s: String!) { "
    "project(id: $p) { baseEnvironment { id } baseEnvironmentId "
    "botPrEnvironments createdAt description expiredAt isPublic isTempProject "
    "name prDeploys primaryEnvironmentId subscriptionType updatedAt workspace "
    "{ id name plan createdAt projectCount apiTokenRateLimit { remainingPoints "
    "resetsAt } projects { edges { node { id } } } } workspaceId services { "
    "edges { node { icon isRestricted templateId templateServiceId deployments "
    "{ edges { node { canRedeploy canRollback meta staticUrl url "
    "statusUpdatedAt suggestAddServiceDomain snapshotId } } } serviceInstances "
    "{ edges { node { id } } } } } } } "
    "environment(id: $e, projectId: $p) { canAccess createdAt deletedAt "
    "isEphemeral unmergedChangesCount updatedAt deployments { edges { node { "
    "id } } } } "
    "environments(projectId: $p) { edges { node { name projectId } } } "
    "service(id: $s) { name createdAt project { name } } "
    "serviceInstance(environmentId: $e, serviceId: $s) { activeDeployments { "
    "id } buildCommand builder cronSchedule healthcheckPath isUpdatable "
    "numReplicas region restartPolicyMaxRetries restartPolicyType source { "
    "image repo } startCommand service { id } } "
    "domains(projectId: $p, environmentId: $e, serviceId: $s) { serviceDomains "
    "{ ... on Domain { domain serviceId } id syncStatus suffix } customDomains "
    "{ id } } "
    "apiToken { workspaces { id name } } "
    "workspace(workspaceId: \"ws-1\") { name } "
    "template(code: \"slipway-demo\") { name status languages tags } "
    "workflowStatus(workflowId: \"nope\") { status error } }",
    {{"p", x.where.project}, {"e", x.where.environment}, {"s", x.service}});
  CAF_CHECK_EQUAL(text(all.at("workflowStatus").at("status")), "NotFound");
  CAF_CHECK_EQUAL(
    all.at("serviceInstance").at("activeDeployments").as_array().size(), 1u);
  CAF_CHECK_EQUAL(
    text(all.at("domains").at("serviceDomains").at(0).at("serviceId")),
    x.service);
  CAF_CHECK_EQUAL(error("{ me { id } }"), "Not Authorized");
  options.account_token = true;
  restart();
  CAF_CHECK_EQUAL(text(data("{ me { name workspaces { id } } }")
                         .at("me")
                         .at("workspaces")
                         .at(0)
                         .at("id")),
                  "ws-1");
}

CAF_TEST(documents that do not fit get 400) {
  const auto x = post({{"query", "{ projects { edges { node { nope } } } }"}});
  CAF_CHECK_EQUAL(x.status, 400);
  CAF_CHECK(x.has("GRAPHQL_VALIDATION_FAILED"));
  CAF_CHECK_EQUAL(
    post({{"query", "mutation { templateDeployV2(input: {}) { projectId } }"}})
      .status,
    400);
  const auto bad = post({{"query", "query P($id: String!) { project(id: $id) { "
                                   "id } }"},
                         {"variables", {{"id", 5}}}});
  CAF_CHECK_EQUAL(bad.status, 400);
  CAF_CHECK(bad.has("BAD_USER_INPUT"));
  CAF_CHECK_EQUAL(post({{"nothing", 1}}).status, 400);
  CAF_CHECK_EQUAL(error("mutation { templateDeployV2(input: {templateId: "
                        "\"x\", serializedConfig: {}}) { projectId } }"),
                  "Template not found");
}

CAF_TEST(only the token opens the door) {
  const auto body
    = json::object{{"query", "{ projects { edges { cursor } } }"}};
  for (const auto* header : {"", "Bearer wrong", "Bearer ", "Basic abc"}) {
    const auto x = post(body, header);
    CAF_CHECK_EQUAL(x.status, 200);
    CAF_CHECK(x.has("Not Authorized"));
    CAF_CHECK(!x.has("edges"));
  }
  CAF_CHECK(post(body, "Bearer ").has("UNAUTHENTICATED"));
  // Published templates are for everybody, but not for a wrong token.
  const auto open
    = json::object{{"query", "{ template(code: \"slipway-demo\") { id } }"}};
  CAF_CHECK(!post(open, "").has("errors"));
  CAF_CHECK(post(open, "Bearer wrong").has("Not Authorized"));
}

CAF_TEST(trouble can be switched on) {
  const auto query
    = json::object{{"query", "{ projects { edges { cursor } } }"}};
  set({{"opaqueErrors", 1}});
  const auto opaque = post(query);
  CAF_CHECK_EQUAL(opaque.status, 200);
  CAF_CHECK(opaque.has("Problem processing request"));
  set({{"rateLimited", 1}});
  const auto limited = post(query);
  CAF_CHECK_EQUAL(limited.status, 429);
  CAF_CHECK_EQUAL(limited.header("Retry-After"), "1");
  set({{"lostAnswers", 1}});
  CAF_CHECK_EQUAL(post(query).status, 200);
  CAF_CHECK_EQUAL(
    post({{"query", "mutation { projectCreate(input: {name: \"lost\"}) { id } "
                    "}"}})
      .status,
    504);
  CAF_CHECK_EQUAL(text(data("{ projects { edges { node { name } } } }")
                         .at("projects")
                         .at("edges")
                         .at(0)
                         .at("node")
                         .at("name")),
                  "lost");
  set({{"slowMs", 80}});
  const auto before = std::chrono::steady_clock::now();
  CAF_CHECK_EQUAL(post(query).status, 200);
  CAF_CHECK(std::chrono::steady_clock::now() - before >= 80ms);
  set({{"slowMs", 0}, {"down", true}});
  CAF_CHECK_EQUAL(post(query).status, 502);
  set({{"down", false}});
  CAF_CHECK_EQUAL(post(query).status, 200);
  const auto wrong = fetch(aut->port(), "PUT", "/sandbox/railway",
                           R"({"down":true,"failNext":"maybe"})");
  CAF_CHECK_EQUAL(wrong.status, 400);
  CAF_CHECK_EQUAL(post(query).status, 200);
  CAF_CHECK_EQUAL(
    fetch(aut->port(), "PUT", "/sandbox/railway", R"({"x":1})").status, 400);
}

CAF_TEST(the budget is counted and renewed by the hour) {
  options.requests_per_hour = 2;
  restart();
  const auto query
    = json::object{{"query", "{ projects { edges { cursor } } }"}};
  const auto first = post(query);
  CAF_CHECK_EQUAL(first.header("X-RateLimit-Limit"), "2");
  CAF_CHECK_EQUAL(first.header("X-RateLimit-Remaining"), "1");
  CAF_CHECK_EQUAL(first.header("X-RateLimit-Reset"), "1795424400");
  CAF_CHECK_EQUAL(post(query).header("X-RateLimit-Remaining"), "0");
  time.advance(60s);
  const auto out = post(query);
  CAF_CHECK_EQUAL(out.status, 429);
  CAF_CHECK_EQUAL(out.header("Retry-After"), "3540");
  time.advance(3'540s);
  CAF_CHECK_EQUAL(post(query).status, 200);
}

CAF_TEST(the page shows what exists and hides what is secret) {
  const auto x = launch("<b>name</b>");
  time.advance(whole);
  const auto secret = text(
    data("query V($p: String!, $e: String!, $s: String) { v: "
         "variables(projectId: $p, environmentId: $e, serviceId: $s) }",
         {{"p", x.where.project}, {"e", x.where.environment}, {"s", x.service}})
      .at("v")
      .at("APP_SECRET"));
  const auto page = fetch(aut->port(), "GET", "/");
  CAF_CHECK_EQUAL(page.status, 200);
  CAF_CHECK(page.has("&lt;b&gt;name&lt;/b&gt;"));
  CAF_CHECK(!page.has("<b>name</b>"));
  CAF_CHECK(page.has("APP_SECRET"));
  CAF_CHECK(!page.has(secret));
  CAF_CHECK(page.has("SUCCESS"));
  CAF_CHECK(page.header("Content-Security-Policy").find("default-src 'none'")
            == 0);
  const auto saved = fetch(aut->port(), "POST", "/sandbox/railway",
                           "failNext=crash&failCount=0&opaqueErrors=0&"
                           "lostAnswers=3&rateLimited=0&slowMs=0&down=on");
  CAF_CHECK_EQUAL(saved.status, 303);
  const auto now
    = json::parse(fetch(aut->port(), "GET", "/sandbox/railway").body);
  CAF_CHECK_EQUAL(text(now.at("failNext")), "crash");
  CAF_CHECK_EQUAL(now.at("failCount").as_int64(), 1);
  CAF_CHECK_EQUAL(now.at("lostAnswers").as_int64(), 3);
  CAF_CHECK(now.at("down").as_bool());
  // A box that is not ticked is not sent.
  CAF_CHECK(!now.at("webhooks").as_bool());
  CAF_CHECK_EQUAL(
    fetch(aut->port(), "POST", "/sandbox/railway", "failNext=maybe").status,
    400);
}

CAF_TEST(every switch is on the page and keeps what it is told) {
  const auto before
    = json::parse(fetch(aut->port(), "GET", "/sandbox/railway").body)
        .as_object();
  const auto page = fetch(aut->port(), "GET", "/");
  auto other = json::object{};
  for (const auto& each : before) {
    const auto name = std::string{each.key()};
    CAF_CHECK(page.has("name=\"" + name + "\""));
    const auto& value = each.value();
    if (value.is_bool())
      other[name] = !value.as_bool();
    else if (value.is_int64())
      other[name] = value.as_int64() + 7;
    else if (name == "failNext")
      other[name] = "deploy";
    else if (name == "hangIn")
      other[name] = "BUILDING";
    else if (name == "garbageAs")
      other[name] = "cloudflare";
    else
      other[name] = "projectCreate";
  }
  set(other);
  auto after = json::parse(fetch(aut->port(), "GET", "/sandbox/railway").body);
  CAF_CHECK_EQUAL(json::serialize(after), json::serialize(other));
  for (const auto* wrong :
       {R"({"slowMs":-1})", R"({"webhookLoss":101})", R"({"hangIn":"SUCCESS"})",
        R"({"garbageAs":null})", R"({"lostFor":"a b"})", R"({"down":1})",
        R"({"slowBuilds":0})", R"({"failNext":7})", R"([])"})
    CAF_CHECK_EQUAL(fetch(aut->port(), "PUT", "/sandbox/railway", wrong).status,
                    400);
  after = json::parse(fetch(aut->port(), "GET", "/sandbox/railway").body);
  CAF_CHECK_EQUAL(json::serialize(after), json::serialize(other));
  // A count of nothing calls it off.
  set({{"failCount", 0}, {"hangIn", nullptr}});
  after = json::parse(fetch(aut->port(), "GET", "/sandbox/railway").body);
  CAF_CHECK(after.at("failNext").is_null());
  CAF_CHECK_EQUAL(after.at("hangCount").as_int64(), 0);
}

CAF_TEST(builds can be slow and deployments hang) {
  set({{"slowBuilds", 10}});
  const auto slow = launch("slow");
  set({{"slowBuilds", 1}});
  time.advance(whole);
  CAF_CHECK_EQUAL(status(slow.deployment), "BUILDING");
  time.advance(options.stages.building * 9);
  CAF_CHECK_EQUAL(status(slow.deployment), "SUCCESS");
  for (const auto* where : {"WAITING", "NEEDS_APPROVAL", "QUEUED",
                            "INITIALIZING", "BUILDING", "DEPLOYING"}) {
    set({{"hangIn", where}});
    const auto x = launch(where);
    time.advance(1h);
    CAF_CHECK_EQUAL(status(x.deployment), where);
    const auto other = launch("other");
    time.advance(whole);
    CAF_CHECK_EQUAL(status(other.deployment), "SUCCESS");
    act(x.deployment, "release");
    CAF_CHECK_NOT_EQUAL(status(x.deployment), where);
    time.advance(whole);
    CAF_CHECK_EQUAL(status(x.deployment), "SUCCESS");
    act(x.deployment, "release", 409);
  }
  set({{"hangIn", "REMOVING"}});
  const auto x = launch("stays");
  time.advance(whole);
  act(x.deployment, "remove");
  time.advance(1h);
  CAF_CHECK_EQUAL(status(x.deployment), "REMOVING");
  act(x.deployment, "release");
  CAF_CHECK_EQUAL(status(x.deployment), "REMOVED");
}

CAF_TEST(a step that hangs is open until it is let go) {
  set({{"hangIn", "BUILDING"}});
  const auto x = launch();
  time.advance(1h);
  const auto last = [&] {
    const auto all
      = data("query E($id: String!) { deploymentEvents(id: $id, first: 50) { "
             "edges { node { step createdAt completedAt } } } }",
             {{"id", x.deployment}})
          .at("deploymentEvents")
          .at("edges")
          .as_array();
    return all.back().at("node");
  };
  CAF_CHECK_EQUAL(text(last().at("step")), "BUILD_IMAGE");
  CAF_CHECK(last().at("completedAt").is_null());
  act(x.deployment, "release");
  CAF_CHECK_EQUAL(text(last().at("step")), "CREATE_CONTAINER");
}

CAF_TEST(what is cancelled in the middle stops speaking) {
  const auto x = launch();
  time.advance(700ms);
  CAF_CHECK(data("mutation M($id: String!) { deploymentCancel(id: $id) }",
                 {{"id", x.deployment}})
              .at("deploymentCancel")
              .as_bool());
  time.advance(1h);
  const auto all
    = data("query E($id: String!) { deploymentEvents(id: $id, first: 50) { "
           "edges { node { step completedAt } } } buildLogs(deploymentId: $id) "
           "{ message } deploymentLogs(deploymentId: $id) { message } }",
           {{"id", x.deployment}});
  const auto& steps = all.at("deploymentEvents").at("edges").as_array();
  CAF_CHECK_EQUAL(steps.size(), 2u);
  CAF_CHECK(steps.back().at("node").at("completedAt").is_null());
  CAF_CHECK_EQUAL(all.at("buildLogs").as_array().size(), 2u);
  CAF_CHECK(all.at("deploymentLogs").as_array().empty());
}

CAF_TEST(things happen to what runs behind everybodys back) {
  const auto x = launch();
  time.advance(whole);
  const auto replicas = [&](const std::string& id) {
    const auto all
      = data("query R($id: String!) { deployment(id: $id) { status "
             "deploymentStopped instances { id status } } }",
             {{"id", id}})
          .at("deployment");
    auto result = text(all.at("status"));
    result += all.at("deploymentStopped").as_bool() ? " stopped" : "";
    for (const auto& each : all.at("instances").as_array())
      result += " " + text(each.at("status"));
    return result;
  };
  CAF_CHECK_EQUAL(replicas(x.deployment), "SUCCESS RUNNING");
  act(x.deployment, "sleep");
  CAF_CHECK_EQUAL(replicas(x.deployment), "SLEEPING");
  act(x.deployment, "crash", 409);
  act(x.deployment, "wake");
  CAF_CHECK_EQUAL(replicas(x.deployment), "SUCCESS RUNNING");
  act(x.deployment, "degrade");
  CAF_CHECK_EQUAL(replicas(x.deployment), "CRASHED CRASHED RUNNING");
  data("mutation M($id: String!) { deploymentRestart(id: $id) }",
       {{"id", x.deployment}});
  CAF_CHECK_EQUAL(replicas(x.deployment),
                  "DEPLOYING INITIALIZING INITIALIZING");
  time.advance(1'000ms);
  CAF_CHECK_EQUAL(replicas(x.deployment), "SUCCESS RUNNING RUNNING");
  act(x.deployment, "crash");
  CAF_CHECK_EQUAL(replicas(x.deployment), "CRASHED CRASHED CRASHED");
  act(x.deployment, "redeploy");
  const auto second = text(instance(x.where).at("latestDeployment").at("id"));
  CAF_CHECK_NOT_EQUAL(second, x.deployment);
  time.advance(whole);
  act(second, "stop");
  CAF_CHECK_EQUAL(replicas(second), "SUCCESS stopped EXITED");
  act(second, "sleep", 409);
  act(second, "remove");
  time.advance(300ms);
  CAF_CHECK_EQUAL(replicas(second), "REMOVED stopped");
  act(second, "dance", 404);
  act("nope", "crash", 409);
  CAF_CHECK_EQUAL(
    fetch(aut->port(), "POST",
          "/sandbox/railway/projects/" + x.where.project + "/delete")
      .status,
    303);
  CAF_CHECK_EQUAL(error("query S($id: String!) { project(id: $id) { id } }",
                        {{"id", x.where.project}}),
                  "Project not found");
}

CAF_TEST(a process may end well or not start at all) {
  set({{"failNext", "exit"}});
  auto x = launch("ends");
  time.advance(whole);
  CAF_CHECK_EQUAL(status(x.deployment), "SUCCESS");
  CAF_CHECK(
    instance(x.where).at("latestDeployment").at("deploymentStopped").as_bool());
  set({{"failNext", "skip"}});
  x = launch("skipped");
  time.advance(options.stages.queued);
  CAF_CHECK_EQUAL(status(x.deployment), "SKIPPED");
}

CAF_TEST(lines are ordered to the nanosecond) {
  const auto x = launch();
  time.advance(whole);
  for (auto i = 0; i < 3; ++i)
    act(x.deployment, "log", 303,
        R"({"message":"\u001b[31mline )" + std::to_string(i)
          + R"(","severity":"error"})");
  act(x.deployment, "log", 303, R"({"message":"late","build":true})");
  act(x.deployment, "log", 400, "no");
  act(x.deployment, "log", 409,
      R"({"message":")" + std::string(20'000, 'x') + R"("})");
  const auto lines = [&](std::string_view from) {
    return data("query L($id: String!, $from: DateTime) { deploymentLogs("
                "deploymentId: $id, startDate: $from) { timestamp message "
                "severity } }",
                {{"id", x.deployment}, {"from", from}})
      .at("deploymentLogs")
      .as_array();
  };
  const auto all = lines("2026-01-01T00:00:00Z");
  for (auto i = std::size_t{1}; i < all.size(); ++i)
    CAF_CHECK(text(all[i - 1].at("timestamp")) < text(all[i].at("timestamp")));
  CAF_CHECK_EQUAL(text(all.back().at("message")), "\x1b[31mline 2");
  CAF_CHECK_EQUAL(text(all.back().at("severity")), "error");
  // From a line on means: with it, and without those before it.
  const auto rest = lines(text(all[all.size() - 2].at("timestamp")));
  CAF_CHECK_EQUAL(rest.size(), 2u);
  CAF_CHECK_EQUAL(text(data("query B($id: String!) { buildLogs(deploymentId: "
                            "$id, limit: 1) { message } }",
                            {{"id", x.deployment}})
                         .at("buildLogs")
                         .as_array()
                         .back()
                         .at("message")),
                  "late");
}

CAF_TEST(there is a project to be cloned from) {
  options = {};
  options.token = "token-1";
  options.workspace_id = "ws-1";
  options.seed = 42;
  restart();
  const auto of
    = data("query P($id: String!) { project(id: $id) { baseEnvironmentId "
           "description environments { edges { node { id name } } } services { "
           "edges { node { id name createdAt templateServiceId } } } } }",
           {{"id", options.template_project_id}})
        .at("project");
  CAF_CHECK(!of.at("description").is_null());
  const auto& service = of.at("services").at("edges").at(0).at("node");
  CAF_CHECK_EQUAL(text(service.at("id")), options.template_service_id);
  const auto config = [&](bool open) {
    return data(
             "query C($id: String!, $open: Boolean) { environment(id: $id) { "
             "config(decryptVariables: $open) } }",
             {{"id", of.at("baseEnvironmentId")}, {"open", open}})
      .at("environment")
      .at("config");
  };
  const auto all = config(true);
  const auto& x = all.at("services").at(options.template_service_id);
  CAF_CHECK_EQUAL(text(x.at("source").at("image")),
                  "ghcr.io/slipway-demo/gateway:2.1.0");
  CAF_CHECK_EQUAL(text(x.at("variables").at("GREETING").at("value")), "hello");
  CAF_CHECK_EQUAL(text(x.at("variables").at("GREETING").at("audience").at(0)),
                  "everybody");
  CAF_CHECK_EQUAL(text(x.at("variables").at("APP_SECRET").at("value")).size(),
                  32u);
  CAF_CHECK_EQUAL(x.at("quota").at("burst").as_int64(), 1'000);
  const auto& mounts = x.at("volumeMounts").as_object();
  CAF_REQUIRE_EQUAL(mounts.size(), 1u);
  CAF_CHECK_EQUAL(text(mounts.begin()->value().at("mountPath")), "/data");
  CAF_CHECK(all.at("volumes").as_object().contains(mounts.begin()->key()));
  const auto& domains = x.at("networking").at("serviceDomains").as_object();
  CAF_REQUIRE_EQUAL(domains.size(), 1u);
  CAF_CHECK_EQUAL(domains.begin()->value().at("port").as_int64(), 8080);
  CAF_CHECK(domains.begin()->key().find("gateway-production-") == 0);
  CAF_CHECK(all.as_object().contains("retentionPolicy"));
  const auto closed = json::serialize(config(false));
  CAF_CHECK(closed.find("hello") == std::string::npos);
  CAF_CHECK(closed.find(text(x.at("variables").at("APP_SECRET").at("value")))
            == std::string::npos);
  // It runs, as a project does that was made by hand.
  time.advance(whole);
  CAF_CHECK_EQUAL(text(instance({"", text(of.at("baseEnvironmentId"))})
                         .at("latestDeployment")
                         .at("status")),
                  "SUCCESS");
}

CAF_TEST(a patch makes an empty service a running one) {
  const auto where = create();
  const auto service = add_service(where);
  CAF_CHECK(instance(where).at("latestDeployment").is_null());
  CAF_CHECK_EQUAL(
    error("mutation D($e: String!, $s: String!) { serviceInstanceDeployV2("
          "environmentId: $e, serviceId: $s) }",
          {{"e", where.environment}, {"s", service}}),
    "Cannot redeploy without a snapshot");
  const auto volume
    = text(data("mutation V($input: VolumeCreateInput!) { volumeCreate(input: "
                "$input) { id name } }",
                {{"input",
                  {{"projectId", where.project},
                   {"environmentId", where.environment},
                   {"serviceId", service},
                   {"mountPath", "/data"}}}})
             .at("volumeCreate")
             .at("id"));
  const auto mounted
    = data("query V($id: String!) { environment(id: $id) { volumeInstances { "
           "edges { node { mountPath serviceId state volumeId volume { id name "
           "} service { name } } } } } }",
           {{"id", where.environment}})
        .at("environment")
        .at("volumeInstances")
        .at("edges")
        .as_array();
  CAF_REQUIRE_EQUAL(mounted.size(), 1u);
  CAF_CHECK_EQUAL(text(mounted.at(0).at("node").at("volumeId")), volume);
  CAF_CHECK_EQUAL(text(mounted.at(0).at("node").at("serviceId")), service);
  auto config = json::parse(R"({
    "source": {"image": "example/app:1", "pullPolicy": ["always"]},
    "deploy": {"startCommand": "/run", "numReplicas": 2, "later": null},
    "networking": {"serviceDomains": {"<hasDomain>": {"port": 9000}},
                   "tcpProxies": {}},
    "variables": {"A": {"value": "1", "note": {"of": "mine"}},
                  "B": {"value": "${{secret(8)}}"}},
    "neverHeardOf": {"deep": [1, {"er": true}], "ratio": 0.25}})")
                  .as_object();
  config["volumeMounts"]
    = json::object{{volume, json::object{{"mountPath", "/var/data"}}}};
  CAF_CHECK_EQUAL(commit(where, {{"services", {{service, config}}}}), "");
  time.advance(whole);
  const auto x = instance(where);
  CAF_CHECK_EQUAL(text(x.at("latestDeployment").at("status")), "SUCCESS");
  CAF_CHECK_EQUAL(
    x.at("domains").at("serviceDomains").at(0).at("targetPort").as_int64(),
    9000);
  const auto shown = configuration(where).at("services").at(service);
  CAF_CHECK_EQUAL(json::serialize(shown.at("neverHeardOf")),
                  json::serialize(config.at("neverHeardOf")));
  CAF_CHECK_EQUAL(json::serialize(shown.at("source")),
                  json::serialize(config.at("source")));
  CAF_CHECK(!shown.at("deploy").as_object().contains("later"));
  CAF_CHECK_EQUAL(text(shown.at("variables").at("A").at("note").at("of")),
                  "mine");
  CAF_CHECK_EQUAL(text(shown.at("variables").at("B").at("value")).size(), 8u);
  CAF_CHECK_EQUAL(text(shown.at("volumeMounts").at(volume).at("mountPath")),
                  "/var/data");
  // The same once more changes nothing, and so deploys nothing.
  const auto first = text(x.at("latestDeployment").at("id"));
  config["variables"].as_object().erase("B");
  config["networking"].as_object().erase("serviceDomains");
  CAF_CHECK_EQUAL(commit(where, {{"services", {{service, config}}}}), "");
  CAF_CHECK_EQUAL(text(instance(where).at("latestDeployment").at("id")), first);
  // Null takes away, and anything that changes is deployed.
  CAF_CHECK_EQUAL(commit(where, {{"services",
                                  {{service,
                                    {{"variables", {{"A", nullptr}}},
                                     {"volumeMounts", {{volume, nullptr}}}}}}},
                                 {"sharedVariables", {{"S", {{"value", "s"}}}}},
                                 {"somethingElse", {{"x", 1}}}}),
                  "");
  const auto after = configuration(where);
  CAF_CHECK(!after.at("services")
               .at(service)
               .at("variables")
               .as_object()
               .contains("A"));
  CAF_CHECK(
    after.at("services").at(service).at("volumeMounts").as_object().empty());
  CAF_CHECK_EQUAL(text(after.at("sharedVariables").at("S").at("value")), "s");
  CAF_CHECK_EQUAL(after.at("somethingElse").at("x").as_int64(), 1);
  CAF_CHECK_NOT_EQUAL(text(instance(where).at("latestDeployment").at("id")),
                      first);
}

CAF_TEST(a patch is done as a whole or not at all) {
  const auto where = create();
  const auto one = add_service(where, "one");
  const auto other = launch("other");
  time.advance(whole);
  const auto taken = text(instance(other.where)
                            .at("domains")
                            .at("serviceDomains")
                            .at(0)
                            .at("domain"));
  const auto before = json::serialize(configuration(where));
  const auto good = json::object{{"source", {{"image", "a/b"}}}};
  const auto refuse = [&](json::object services) {
    return commit(where, {{"services", services},
                          {"sharedVariables", {{"S", {{"value", "s"}}}}}});
  };
  CAF_CHECK_EQUAL(refuse({{one, good}, {"nope", good}}), "Service not found");
  CAF_CHECK_EQUAL(refuse({{one, good}, {other.service, good}}),
                  "Service not found");
  CAF_CHECK_EQUAL(
    refuse({{one, {{"networking", {{"serviceDomains", {{taken, {}}}}}}}}}),
    "Domain " + taken + " is already in use");
  CAF_CHECK_EQUAL(
    refuse({{one, {{"volumeMounts", {{"nope", {{"mountPath", "/x"}}}}}}}}),
    "Volume not found");
  CAF_CHECK_EQUAL(refuse({{one, {{"big", std::string(300'000, 'x')}}}}),
                  "The configuration of a service is too large.");
  CAF_CHECK_EQUAL(commit({"", "nope"}, {}), "Environment not found");
  CAF_CHECK_EQUAL(json::serialize(configuration(where)), before);
  CAF_CHECK(instance(where).at("latestDeployment").is_null());
  // A service can be taken away the same way.
  CAF_CHECK_EQUAL(refuse({{one, {{"isDeleted", true}}}}), "");
  CAF_CHECK(instance(where).is_null());
}

CAF_TEST(a service comes with its source and goes with its deployments) {
  const auto where = create();
  const auto made
    = data("mutation S($input: ServiceCreateInput!) { serviceCreate(input: "
           "$input) { id name projectId templateServiceId } }",
           {{"input",
             {{"projectId", where.project},
              {"environmentId", where.environment},
              {"name", "one"},
              {"source", {{"image", "a/b:1"}}},
              {"variables", {{"X", "y"}}}}}})
        .at("serviceCreate");
  const auto id = text(made.at("id"));
  CAF_CHECK_EQUAL(text(made.at("name")), "one");
  time.advance(whole);
  const auto up = text(instance(where).at("latestDeployment").at("id"));
  CAF_CHECK_EQUAL(status(up), "SUCCESS");
  data("mutation V($input: VolumeCreateInput!) { volumeCreate(input: $input) { "
       "id } }",
       {{"input",
         {{"projectId", where.project},
          {"serviceId", id},
          {"mountPath", "/data"}}}});
  const auto remove = [&] {
    return error(
      "mutation D($id: String!, $e: String) { serviceDelete(id: $id, "
      "environmentId: $e) }",
      {{"id", id}, {"e", where.environment}});
  };
  CAF_CHECK_EQUAL(remove(), "");
  CAF_CHECK_EQUAL(remove(), "Service not found");
  CAF_CHECK(instance(where).is_null());
  CAF_CHECK_EQUAL(
    error("query S($id: String!) { deployment(id: $id) { id } }", {{"id", up}}),
    "Deployment not found");
  const auto left
    = data("query V($id: String!) { environment(id: $id) { volumeInstances { "
           "edges { node { serviceId volumeId } } } } }",
           {{"id", where.environment}})
        .at("environment")
        .at("volumeInstances")
        .at("edges")
        .as_array();
  CAF_REQUIRE_EQUAL(left.size(), 1u);
  CAF_CHECK(left.at(0).at("node").at("serviceId").is_null());
  CAF_CHECK_EQUAL(
    error("mutation D($id: String!) { volumeDelete(volumeId: $id) }",
          {{"id", left.at(0).at("node").at("volumeId")}}),
    "");
  CAF_CHECK_EQUAL(
    error("mutation S($input: ServiceCreateInput!) { serviceCreate(input: "
          "$input) { id } }",
          {{"input", {{"projectId", "nope"}}}}),
    "Project not found");
}

CAF_TEST(what a template holds arrives unchanged) {
  options.template_project_id = railway_simulator_options{}.template_project_id;
  restart();
  const auto made
    = data("mutation G($input: TemplateGenerateInput!) { "
           "templateGenerate(input: $input) { id code status serializedConfig "
           "} }",
           {{"input", {{"projectId", options.template_project_id}}}})
        .at("templateGenerate");
  CAF_CHECK_EQUAL(text(made.at("status")), "UNPUBLISHED");
  const auto listed
    = data("query W($id: String!) { workspaceTemplates(workspaceId: $id) { "
           "edges { node { id serializedConfig } } } }",
           {{"id", "ws-1"}})
        .at("workspaceTemplates")
        .at("edges")
        .as_array();
  CAF_REQUIRE_EQUAL(listed.size(), 2u);
  const auto where = create();
  for (const auto& edge : listed) {
    const auto& of = edge.at("node");
    data("mutation D($input: TemplateDeployV2Input!) { templateDeployV2(input: "
         "$input) { workflowId } }",
         {{"input",
           {{"templateId", of.at("id")},
            {"projectId", where.project},
            {"environmentId", where.environment},
            {"serializedConfig", of.at("serializedConfig")}}}});
  }
  time.advance(options.stages.workflow);
  const auto clones = configuration(where);
  for (const auto& edge : listed) {
    const auto& of = edge.at("node").at("serializedConfig").at("services");
    const auto& wanted = of.as_object().begin()->value();
    auto found = 0;
    for (const auto& each : clones.at("services").as_object())
      if (each.value().at("source") == wanted.at("source")) {
        ++found;
        CAF_CHECK(each.value().at("quota") == wanted.at("quota"));
        CAF_CHECK_EQUAL(each.value().at("volumeMounts").as_object().size(),
                        wanted.at("volumeMounts").as_object().size());
      }
    CAF_CHECK_EQUAL(found, 1);
  }
  // Each has a volume and a domain of its own.
  CAF_CHECK_EQUAL(clones.at("volumes").as_object().size(), 1u);
  CAF_CHECK(json::serialize(made).find("<hasDomain>") != std::string::npos);
}

CAF_TEST(notification rules are kept) {
  const auto rules = [&] {
    return data(
             "query R($w: String!) { notificationRules(workspaceId: $w) { id "
             "eventTypes projectId severities channels { id config } } }",
             {{"w", "ws-1"}})
      .at("notificationRules")
      .as_array();
  };
  CAF_CHECK(rules().empty());
  const auto input = json::object{
    {"workspaceId", "ws-1"},
    {"eventTypes", json::array{"Deployment.failed", "Deployment.deployed"}},
    {"channelConfigs",
     json::array{json::object{{"type", "webhook"},
                              {"url", "http://127.0.0.1:1/x"},
                              {"more", json::object{{"a", 1}}}}}}};
  const auto query = "mutation R($input: CreateNotificationRuleInput!) { "
                     "notificationRuleCreate(input: $input) { id workspaceId } "
                     "}";
  const auto id = text(
    data(query, {{"input", input}}).at("notificationRuleCreate").at("id"));
  const auto all = rules();
  CAF_REQUIRE_EQUAL(all.size(), 1u);
  CAF_CHECK_EQUAL(json::serialize(all.at(0).at("eventTypes")),
                  R"(["Deployment.failed","Deployment.deployed"])");
  CAF_CHECK_EQUAL(json::serialize(all.at(0).at("channels").at(0).at("config")),
                  json::serialize(input.at("channelConfigs").at(0)));
  auto other = input;
  other["workspaceId"] = "ws-2";
  CAF_CHECK_EQUAL(error(query, {{"input", other}}), "Not Authorized");
  other = input;
  other["channelConfigs"] = json::array{json::object{{"url", "x"}}};
  CAF_CHECK_EQUAL(error(query, {{"input", other}}), "A channel needs a type.");
  const auto remove = [&] {
    return error("mutation D($id: String!) { notificationRuleDelete(id: $id) }",
                 {{"id", id}});
  };
  CAF_CHECK_EQUAL(remove(), "");
  CAF_CHECK_EQUAL(remove(), "NotificationRule not found");
  CAF_CHECK(rules().empty());
  for (auto i = 0; i < 50; ++i)
    CAF_CHECK_EQUAL(error(query, {{"input", input}}), "");
  CAF_CHECK(error(query, {{"input", input}}).find("limit")
            != std::string::npos);
}

CAF_TEST(one document reads many environments or none) {
  const auto a = launch("a");
  const auto b = launch("b");
  const auto query
    = "query Watch($e0: String!, $e1: String!, $d0: String!) { e0: "
      "environment(id: $e0) { ...F } e1: environment(id: $e1) { ...F } v0: "
      "deploymentEvents(id: $d0, first: 50) { edges { node { step } } } } "
      "fragment F on Environment { id serviceInstances { edges { node { "
      "serviceName activeDeployments { id } latestDeployment { id status "
      "deploymentStopped instances { status } } } } } }";
  const auto good = data(query, {{"e0", a.where.environment},
                                 {"e1", b.where.environment},
                                 {"d0", a.deployment}});
  CAF_CHECK_EQUAL(text(good.at("e1").at("id")), b.where.environment);
  CAF_CHECK_EQUAL(good.at("v0").at("edges").as_array().size(), 2u);
  const auto bad = ask(
    query, {{"e0", a.where.environment}, {"e1", "nope"}, {"d0", a.deployment}});
  CAF_CHECK(bad.at("data").is_null());
  CAF_CHECK_EQUAL(json::serialize(bad.at("errors").at(0).at("path")),
                  R"(["e1"])");
  CAF_CHECK_EQUAL(text(bad.at("errors").at(0).at("message")),
                  "Environment not found");
}

CAF_TEST(what is new takes its time to be seen) {
  set({{"lagListsMs", 5'000}, {"lagByIdMs", 2'000}});
  const auto where = create("late");
  const auto listed = [&] {
    return data("{ projects { edges { node { name deletedAt } } } }")
      .at("projects")
      .at("edges")
      .as_array();
  };
  const auto by_id = [&] {
    return error("query P($id: String!) { project(id: $id) { id } }",
                 {{"id", where.project}});
  };
  // The project is there for whoever writes.
  const auto flow = deploy(where);
  CAF_CHECK_EQUAL(workflow(flow), "NotFound");
  CAF_CHECK_EQUAL(by_id(), "Project not found");
  CAF_CHECK(listed().empty());
  time.advance(2'000ms);
  CAF_CHECK_EQUAL(by_id(), "");
  CAF_CHECK_EQUAL(workflow(flow), "Complete");
  CAF_CHECK(listed().empty());
  CAF_CHECK(instance(where).is_null());
  CAF_CHECK(configuration(where).at("services").as_object().empty());
  time.advance(3'000ms);
  CAF_CHECK_EQUAL(listed().size(), 1u);
  time.advance(1'000ms);
  const auto x = instance(where);
  CAF_CHECK_EQUAL(text(x.at("serviceName")), "app");
  const auto first = text(x.at("latestDeployment").at("id"));
  // A newer deployment hides behind the old one.
  const auto second
    = text(data("mutation D($e: String!, $s: String!) { "
                "serviceInstanceDeployV2(environmentId: $e, serviceId: $s) }",
                {{"e", where.environment}, {"s", x.at("serviceId")}})
             .at("serviceInstanceDeployV2"));
  const auto look = [&] {
    return error("query S($id: String!) { deployment(id: $id) { id } }",
                 {{"id", second}});
  };
  CAF_CHECK_EQUAL(look(), "Deployment not found");
  time.advance(2'000ms);
  CAF_CHECK_EQUAL(look(), "");
  CAF_CHECK_EQUAL(text(instance(where).at("latestDeployment").at("id")), first);
  time.advance(3'000ms);
  CAF_CHECK_EQUAL(text(instance(where).at("latestDeployment").at("id")),
                  second);
  // What has gone stays to be seen as long.
  CAF_CHECK_EQUAL(error("mutation D($id: String!) { projectDelete(id: $id) }",
                        {{"id", where.project}}),
                  "");
  CAF_CHECK_EQUAL(by_id(), "");
  CAF_CHECK_EQUAL(listed().size(), 1u);
  CAF_CHECK(listed().at(0).at("node").at("deletedAt").is_null());
  time.advance(2'000ms);
  CAF_CHECK_EQUAL(by_id(), "Project not found");
  CAF_CHECK_EQUAL(listed().size(), 1u);
  time.advance(3'000ms);
  CAF_CHECK(listed().empty());
}

CAF_TEST(a new project is nobodys for a while) {
  set({{"authLagMs", 3'000}});
  const auto where = create();
  const auto upsert = [&] {
    return error("mutation U($input: VariableCollectionUpsertInput!) { "
                 "variableCollectionUpsert(input: $input) }",
                 {{"input",
                   {{"projectId", where.project},
                    {"environmentId", where.environment},
                    {"variables", json::object{}}}}});
  };
  const auto read = [&] {
    return error("query E($id: String!) { environment(id: $id) { id } }",
                 {{"id", where.environment}});
  };
  CAF_CHECK_EQUAL(upsert(), "Not Authorized");
  CAF_CHECK_EQUAL(read(), "Not Authorized");
  CAF_CHECK_EQUAL(commit(where, {}), "Not Authorized");
  time.advance(3'000ms);
  CAF_CHECK_EQUAL(upsert(), "");
  CAF_CHECK_EQUAL(read(), "");
}

CAF_TEST(creating can be doubled refused and slowed down) {
  set({{"duplicateServices", 1}});
  const auto twice = create("twice");
  CAF_CHECK_EQUAL(workflow(deploy(twice)), "Running");
  time.advance(options.stages.workflow);
  CAF_CHECK_EQUAL(configuration(twice).at("services").as_object().size(), 2u);
  const auto once = launch("once");
  CAF_CHECK_EQUAL(configuration(once.where).at("services").as_object().size(),
                  1u);
  time.advance(whole);
  set({{"busy", 3}});
  const auto redeploy = [&] {
    return error("mutation R($id: String!) { deploymentRedeploy(id: $id) { id "
                 "} }",
                 {{"id", once.deployment}});
  };
  CAF_CHECK(redeploy().find("Cannot redeploy yet") == 0);
  const auto at
    = json::object{{"e", once.where.environment}, {"s", once.service}};
  CAF_CHECK_EQUAL(error("mutation D($e: String!, $s: String!) { "
                        "serviceInstanceDeployV2(environmentId: $e, serviceId: "
                        "$s) }",
                        at),
                  "operation is already in progress");
  const auto domain = [&] {
    return error("mutation D($input: ServiceDomainCreateInput!) { "
                 "serviceDomainCreate(input: $input) { domain } }",
                 {{"input",
                   {{"environmentId", once.where.environment},
                    {"serviceId", once.service}}}});
  };
  CAF_CHECK_EQUAL(domain(),
                  "Failed to create service domain, please try again");
  CAF_CHECK_EQUAL(domain(), "");
  CAF_CHECK_EQUAL(redeploy(), "");
  set({{"uniqueNames", true}});
  CAF_CHECK_EQUAL(
    error("mutation { projectCreate(input: {name: \"once\"}) { id "
          "} }"),
    "A project named \"once\" already exists");
  CAF_CHECK_EQUAL(
    error("mutation S($input: ServiceCreateInput!) { serviceCreate(input: "
          "$input) { id } }",
          {{"input", {{"projectId", once.where.project}, {"name", "app"}}}}),
    "A service named \"app\" already exists");
  const auto make = [&] {
    return error("mutation { projectCreate(input: {}) { id } }");
  };
  set({{"cooldownMs", 30'000}});
  time.advance(30'000ms);
  create("fresh");
  CAF_CHECK(make().find("too quickly") != std::string::npos);
  set({{"cooldown", false}});
  CAF_CHECK_EQUAL(make(), "");
  set({{"cooldown", true}, {"volumeCooldownMs", 1'000}});
  const auto volume = [&] {
    return error(
      "mutation V($input: VolumeCreateInput!) { volumeCreate(input: "
      "$input) { id } }",
      {{"input", {{"projectId", once.where.project}, {"mountPath", "/data"}}}});
  };
  CAF_CHECK_EQUAL(volume(), "");
  CAF_CHECK(volume().find("Whoa there pal") == 0);
  time.advance(1'000ms);
  CAF_CHECK_EQUAL(volume(), "");
}

CAF_TEST(answers get lost before and after the deed) {
  const auto make = json::object{
    {"query", "mutation { projectCreate(input: {name: \"p\"}) { id } }"}};
  const auto read
    = json::object{{"query", "{ projects { edges { cursor } } }"}};
  set({{"lostBefore", 1}});
  CAF_CHECK_EQUAL(post(read).status, 200);
  CAF_CHECK_EQUAL(post(make).status, 504);
  CAF_CHECK_EQUAL(count_projects(), 0u);
  set({{"lostAnswers", 1}});
  CAF_CHECK_EQUAL(post(make).status, 504);
  CAF_CHECK_EQUAL(count_projects(), 1u);
  // By name reads get lost, too, and others do not.
  set({{"lostAnswers", 1}, {"lostFor", "projects"}});
  CAF_CHECK_EQUAL(post(make).status, 200);
  CAF_CHECK_EQUAL(post(read).status, 504);
  CAF_CHECK_EQUAL(post(read).status, 200);
  set({{"lostBefore", 1}, {"lostFor", "projectDelete"}});
  CAF_CHECK_EQUAL(post(make).status, 200);
  CAF_CHECK_EQUAL(count_projects(), 3u);
}

CAF_TEST(one field can be made to fail obscurely) {
  const auto make = json::object{
    {"query", "mutation { a: projectCreate(input: {name: \"p\"}) { id } }"}};
  set({{"opaqueErrors", 2}, {"opaqueFor", "projectCreate"}});
  CAF_CHECK_EQUAL(count_projects(), 0u);
  const auto x = post(make);
  CAF_CHECK_EQUAL(x.status, 200);
  const auto body = json::parse(x.body);
  CAF_CHECK(body.at("data").is_null());
  CAF_CHECK_EQUAL(text(body.at("errors").at(0).at("message")),
                  "Problem processing request");
  CAF_CHECK(!body.at("errors").at(0).as_object().contains("path"));
  CAF_CHECK_EQUAL(count_projects(), 0u);
  set({{"opaqueAfter", true}});
  CAF_CHECK(post(make).has("Problem processing request"));
  CAF_CHECK_EQUAL(count_projects(), 1u);
  CAF_CHECK(!post(make).has("errors"));
}

CAF_TEST(answers can be garbage) {
  const auto make = json::object{
    {"query", "mutation { projectCreate(input: {name: \"p\"}) { id } }"}};
  const auto ask_as = [&](std::string_view shape) {
    set(
      {{"garbage", 1}, {"garbageAs", shape}, {"garbageFor", "projectCreate"}});
    const auto unharmed
      = post({{"query", "{ projects { edges { cursor } } }"}});
    CAF_CHECK(unharmed.has("\"data\""));
    return post(make);
  };
  const auto is_json = [](const loopback::answer& x) {
    auto ec = json::error_code{};
    json::parse(x.body, ec);
    return !ec;
  };
  auto x = ask_as("html200");
  CAF_CHECK_EQUAL(x.status, 200);
  CAF_CHECK(!is_json(x));
  CAF_CHECK_EQUAL(count_projects(), 1u);
  x = ask_as("html502");
  CAF_CHECK_EQUAL(x.status, 502);
  CAF_CHECK_EQUAL(count_projects(), 2u);
  x = ask_as("truncated");
  CAF_CHECK_EQUAL(x.status, 200);
  CAF_CHECK_EQUAL(x.header("Content-Type"), "application/json");
  CAF_CHECK(!x.body.empty());
  CAF_CHECK(!is_json(x));
  CAF_CHECK_EQUAL(count_projects(), 3u);
  x = ask_as("cloudflare");
  CAF_CHECK_EQUAL(x.status, 429);
  CAF_CHECK_EQUAL(x.body, "error code: 1015");
  CAF_CHECK_EQUAL(x.header("X-RateLimit-Limit"), "");
  CAF_CHECK_EQUAL(count_projects(), 3u);
  CAF_CHECK_EQUAL(post(make).status, 200);
}

CAF_TEST(there is a limit for each second and for strangers) {
  const auto query
    = json::object{{"query", "{ projects { edges { cursor } } }"}};
  set({{"requestsPerSecond", 2}});
  CAF_CHECK_EQUAL(post(query).status, 200);
  CAF_CHECK_EQUAL(post(query).status, 200);
  const auto x = post(query);
  CAF_CHECK_EQUAL(x.status, 429);
  CAF_CHECK_EQUAL(x.header("Retry-After"), "1");
  time.advance(1'000ms);
  CAF_CHECK_EQUAL(post(query).status, 200);
  set({{"requestsPerSecond", 0}, {"requestsPerHour", 4}});
  CAF_CHECK_EQUAL(post(query).header("X-RateLimit-Remaining"), "0");
  CAF_CHECK_EQUAL(post(query).status, 429);
  set({{"requestsPerHour", 1'000}});
  const auto unnamed = [&] {
    return fetch(aut->port(), "POST", "/graphql/v2", json::serialize(query),
                 {{"Authorization", "Bearer token-1"}});
  };
  for (auto i = 0; i < 10; ++i)
    CAF_CHECK_EQUAL(unnamed().status, 200);
  CAF_CHECK_EQUAL(unnamed().body, "error code: 1015");
  CAF_CHECK_EQUAL(post(query).status, 200);
  time.advance(1'000ms);
  CAF_CHECK_EQUAL(unnamed().status, 200);
}

CAF_TEST(scripts see everything at once) {
  const auto x = launch("seen");
  const auto state
    = json::parse(fetch(aut->port(), "GET", "/sandbox/railway/state").body);
  CAF_CHECK(state.at("requests").as_int64() > 0);
  CAF_CHECK_EQUAL(state.at("requests").as_int64() + state.at("left").as_int64(),
                  10'000);
  const auto& project = state.at("projects").at(0);
  CAF_CHECK_EQUAL(text(project.at("id")), x.where.project);
  CAF_CHECK(project.at("deletedAt").is_null());
  const auto& service = project.at("services").at(0);
  CAF_CHECK_EQUAL(text(service.at("id")), x.service);
  CAF_CHECK_EQUAL(text(service.at("deployments").at(0).at("id")), x.deployment);
  CAF_CHECK_EQUAL(text(service.at("deployments").at(0).at("status")), "QUEUED");
  CAF_CHECK_EQUAL(fetch(aut->port(), "POST",
                        "/sandbox/railway/services/" + x.service + "/delete")
                    .status,
                  303);
  CAF_CHECK(
    json::parse(fetch(aut->port(), "GET", "/sandbox/railway/state").body)
      .at("projects")
      .at(0)
      .at("services")
      .as_array()
      .empty());
}

CAF_TEST_FIXTURE_SCOPE_END()

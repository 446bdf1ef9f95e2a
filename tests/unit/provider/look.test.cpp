#define CAF_SUITE provider.look

#include "http/provider/look.hpp"

#include "http/provider/documents.hpp"

#include <boost/json/parse.hpp>
#include <caf/test/unit_test.hpp>

using namespace slipway;
using namespace slipway::provider;

using lifecycle::instance_health;

namespace {

namespace json = boost::json;

service_view
service(std::string id, std::string status, std::string deployment = "d") {
  auto out = service_view{};
  out.id = std::move(id);
  out.name = "web";
  out.deployment_id = std::move(deployment);
  out.status = std::move(status);
  return out;
}

service_view stopped(service_view x) {
  x.stopped = true;
  return x;
}

std::size_t count(const std::string& text, std::string_view part) {
  auto n = std::size_t{0};
  for (auto at = text.find(part); at != std::string::npos;
       at = text.find(part, at + 1))
    ++n;
  return n;
}

json::value environment(const std::string& id) {
  return json::parse(
    R"({"id":")" + id + R"(","serviceInstances":{"edges":[{"node":)"
    + R"({"serviceId":"svc-)" + id + R"(","serviceName":"web",)"
    + R"("latestDeployment":{"id":"dep-)" + id
    + R"(","status":"BUILDING","deploymentStopped":false}}}]}})");
}

const auto steps_json = json::parse(
  R"({"edges":[{"node":{"step":"BUILD_IMAGE","payload":{"error":null}}},)"
  R"({"node":{"step":"PUBLISH_IMAGE","payload":{"error":"no\nroom"}}},)"
  R"({"node":{"step":"SNAPSHOT_CODE"}}]})");

deployment_view
judge(const std::vector<service_view>& services, const closer_look& known = {},
      const std::map<std::string, steps_view>& steps = {}) {
  return judge_deployment(services, known, steps);
}

} // namespace

// -- asking
// -----------------------------------------------------------------------------

CAF_TEST(one environment is asked for plainly) {
  const auto looks = std::vector<look>{{"env-1", {}}};
  const auto got = make_look_document(looks);
  CAF_CHECK_EQUAL(got.text, read_environment.document);
  CAF_CHECK_EQUAL(json::value(got.variables), json::parse(R"({"id":"env-1"})"));
  const auto data
    = json::value(json::object{{"environment", environment("env-1")}});
  const auto seen = read_looks(looks, data);
  CAF_REQUIRE_EQUAL(seen.size(), 1u);
  CAF_REQUIRE_EQUAL(seen[0].services.size(), 1u);
  CAF_CHECK_EQUAL(seen[0].services[0].id, "svc-env-1");
  CAF_CHECK(seen[0].steps.empty());
}

CAF_TEST(the steps of one deployment are asked for plainly) {
  const auto looks = std::vector<look>{{{}, {"dep-1"}}};
  const auto got = make_look_document(looks);
  CAF_CHECK_EQUAL(got.text, read_events.document);
  CAF_CHECK_EQUAL(json::value(got.variables), json::parse(R"({"id":"dep-1"})"));
  const auto seen = read_looks(
    looks, json::value(json::object{{"deploymentEvents", steps_json}}));
  CAF_CHECK(seen[0].services.empty());
  CAF_CHECK_EQUAL(seen[0].steps.at("dep-1").error, "PUBLISH_IMAGE: no room");
}

CAF_TEST(many are asked for in one document) {
  const auto looks = std::vector<look>{
    {"env-1", {}}, {"env-2", {"dep-a", "dep-b"}}, {{}, {"dep-c"}}};
  const auto got = make_look_document(looks);
  for (auto part :
       {"query Watch($e0: String!, $e1: String!, $s1_0: String!, $s1_1: "
        "String!, $s2_0: String!) {",
        "e0: environment(id: $e0) { ...Seen }",
        "e1: environment(id: $e1) { ...Seen }",
        "s1_1: deploymentEvents(id: $s1_1, first: 50) { ...Steps }",
        "fragment Seen on Environment {",
        "fragment Steps on QueryDeploymentEventsConnection {"})
    if (count(got.text, part) != 1)
      CAF_ERROR(part << " is in there " << count(got.text, part) << " times");
  CAF_CHECK_EQUAL(count(got.text, "e2:"), 0u);
  CAF_CHECK_EQUAL(json::value(got.variables),
                  json::parse(R"({"e0":"env-1","e1":"env-2","s1_0":"dep-a",)"
                              R"("s1_1":"dep-b","s2_0":"dep-c"})"));
  const auto data = json::value(json::object{{"e0", environment("env-1")},
                                             {"e1", environment("env-2")},
                                             {"s1_0", json::object{}},
                                             {"s1_1", steps_json},
                                             {"s2_0", steps_json}});
  const auto seen = read_looks(looks, data);
  CAF_REQUIRE_EQUAL(seen.size(), 3u);
  CAF_CHECK_EQUAL(seen[0].services.at(0).id, "svc-env-1");
  CAF_CHECK_EQUAL(seen[1].services.at(0).deployment_id, "dep-env-2");
  CAF_CHECK_EQUAL(int{seen[1].steps.at("dep-a").progress}, 0);
  CAF_CHECK_EQUAL(int{seen[1].steps.at("dep-b").progress}, 74);
  CAF_CHECK(seen[2].services.empty());
  CAF_CHECK_EQUAL(int{seen[2].steps.at("dep-c").progress}, 74);
}

CAF_TEST(no fragment is left unused) {
  const auto environments
    = make_look_document({{"env-1", {}}, {"env-2", {}}}).text;
  CAF_CHECK_EQUAL(count(environments, "fragment Seen"), 1u);
  CAF_CHECK_EQUAL(count(environments, "fragment Steps"), 0u);
  const auto steps = make_look_document({{{}, {"d-1", "d-2"}}}).text;
  CAF_CHECK_EQUAL(count(steps, "fragment Seen"), 0u);
  CAF_CHECK_EQUAL(count(steps, "fragment Steps"), 1u);
}

CAF_TEST(an answer that lacks something shows nothing there) {
  const auto looks = std::vector<look>{{"env-1", {"d"}}, {"env-2", {}}};
  for (auto text : {"{}", "null", R"({"e0":null,"e1":17,"s0_0":[]})"}) {
    const auto seen = read_looks(looks, json::parse(text));
    CAF_REQUIRE_EQUAL(seen.size(), 2u);
    CAF_CHECK(seen[0].services.empty());
    CAF_CHECK(seen[1].services.empty());
  }
}

CAF_TEST(an alias names its look) {
  const auto looks = std::vector<look>{{"env-1", {}}, {"env-2", {"d"}}};
  const auto is = [&looks](std::string_view name, std::size_t at, bool steps) {
    const auto found = find_look(name, looks);
    return found && found->look == at && found->steps == steps;
  };
  CAF_CHECK(is("e0", 0, false));
  CAF_CHECK(is("e1", 1, false));
  CAF_CHECK(is("s1_0", 1, true));
  for (auto name : {"", "e", "e2", "e1x", "s1", "s2_0", "x0", "environment",
                    "e99999999999999999999999"})
    CAF_CHECK(!find_look(name, looks));
  // In a plain document there is only one to blame.
  const auto plain = std::vector<look>{{"env-1", {}}};
  CAF_CHECK(find_look("environment", plain)->look == 0);
  CAF_CHECK(!find_look("environment", plain)->steps);
}

// -- looking closer
// ---------------------------------------------------------------------

CAF_TEST(a crashed deployment is asked for its replicas once) {
  const auto services = std::vector<service_view>{
    service("a", "SUCCESS", "d-a"), service("b", "CRASHED", "d-b"),
    service("c", "CRASHED", "d-c")};
  auto known = closer_look{};
  CAF_CHECK(wants_replicas(services, known) == "d-b");
  known.replicas["d-b"] = false;
  CAF_CHECK(wants_replicas(services, known) == "d-c");
  known.replicas["d-c"] = true;
  CAF_CHECK(!wants_replicas(services, known));
}

CAF_TEST(a replica that runs is enough) {
  const auto runs = [](const char* text) {
    return any_replica_runs(json::parse(text));
  };
  CAF_CHECK(
    runs(R"({"instances":[{"status":"CRASHED"},{"status":"RUNNING"}]})"));
  CAF_CHECK(!runs(R"({"instances":[{"status":"CRASHED"},)"
                  R"({"status":"RESTARTING"},{"status":"EXITED"}]})"));
  for (auto text : {R"({"instances":[]})", R"({"instances":null})", "{}",
                    "null", R"({"instances":[17]})"})
    CAF_CHECK(!runs(text));
}

CAF_TEST(who serves is asked where the latest does not ) {
  const auto wants = [](const char* status, bool running) {
    return wants_serving({service("a", "SUCCESS"), service("b", status)}, {},
                         running);
  };
  for (auto status : {"SKIPPED", "REMOVED"}) {
    CAF_CHECK(wants(status, false));
    CAF_CHECK(wants(status, true));
  }
  // A failed deployment is the failure of what is under way, and none of what
  // runs already.
  for (auto status : {"FAILED", ""}) {
    CAF_CHECK(!wants(status, false));
    CAF_CHECK(wants(status, true));
  }
  for (auto status : {"SUCCESS", "BUILDING", "CRASHED", "REMOVING", "NEW"}) {
    CAF_CHECK(!wants(status, false));
    CAF_CHECK(!wants(status, true));
  }
  auto known = closer_look{};
  known.serving.emplace();
  CAF_CHECK(!wants_serving({service("a", "SKIPPED")}, known, false));
}

CAF_TEST(what serves is found among the active ones) {
  const auto got = serving_of(json::parse(
    R"({"serviceInstances":{"edges":[)"
    R"({"node":{"serviceId":"a","activeDeployments":[)"
    R"({"id":"d1","status":"CRASHED"},{"id":"d2","status":"SUCCESS"},)"
    R"({"id":"d3","status":"SUCCESS"}]}},)"
    R"({"node":{"serviceId":"b","activeDeployments":[]}},)"
    R"({"node":{"serviceId":"c","activeDeployments":[)"
    R"({"id":"d4","status":"SLEEPING"}]}},)"
    R"({"node":{"serviceId":"d","activeDeployments":[)"
    R"({"id":"d5","status":"SUCCESS","deploymentStopped":true}]}},)"
    R"({"node":{"serviceId":"e"}}]}})"));
  CAF_CHECK(got
            == (std::map<std::string, std::string>{{"a", "d2"}, {"c", "d4"}}));
}

// -- judging what is under way
// ------------------------------------------------------------

CAF_TEST(one service is judged by its status) {
  using v = deployment_view;
  for (auto [status, is, progress] :
       std::vector<std::tuple<const char*, v::kind, int>>{
         {"SUCCESS", v::running, 100},
         {"SLEEPING", v::running, 100},
         {"FAILED", v::failed, 0},
         {"CRASHED", v::failed, 0},
         {"SKIPPED", v::failed, 0},
         {"REMOVED", v::removed, 0},
         {"REMOVING", v::in_progress, 42},
         {"QUEUED", v::in_progress, 42},
         {"WAITING", v::in_progress, 42},
         {"NEEDS_APPROVAL", v::in_progress, 43},
         {"INITIALIZING", v::in_progress, 45},
         {"BUILDING", v::in_progress, 50},
         {"DEPLOYING", v::in_progress, 78},
         {"", v::in_progress, 42},
         {"SOMETHING_NEW", v::in_progress, 42}}) {
    const auto got = judge({service("a", status)});
    if (got.is != is || got.progress != progress)
      CAF_ERROR(status << " is " << int{got.is} << ", " << int{got.progress});
  }
  CAF_CHECK(judge({stopped(service("a", "SUCCESS"))}).is == v::failed);
  CAF_CHECK(judge({}).is == v::nothing);
}

CAF_TEST(all services have to run and one failure is enough) {
  using v = deployment_view;
  const auto of = [](std::vector<const char*> statuses) {
    auto services = std::vector<service_view>{};
    for (const auto* x : statuses)
      services.push_back(service(x, x));
    const auto got = judge(services);
    return std::tuple{got.is, int{got.progress}, got.about->status};
  };
  using t = std::tuple<v::kind, int, std::string>;
  CAF_CHECK(of({"SUCCESS", "SLEEPING"}) == (t{v::running, 100, "SUCCESS"}));
  CAF_CHECK(of({"SUCCESS", "DEPLOYING", "BUILDING"})
            == (t{v::in_progress, 50, "BUILDING"}));
  CAF_CHECK(of({"BUILDING", "SUCCESS"}) == (t{v::in_progress, 50, "BUILDING"}));
  CAF_CHECK(of({"SUCCESS", "FAILED", "BUILDING"})
            == (t{v::failed, 0, "FAILED"}));
  CAF_CHECK(of({"BUILDING", "CRASHED"}) == (t{v::failed, 0, "CRASHED"}));
  CAF_CHECK(of({"SUCCESS", "REMOVED"}) == (t{v::removed, 0, "REMOVED"}));
  CAF_CHECK(of({"REMOVED", "FAILED"}) == (t{v::failed, 0, "FAILED"}));
  CAF_CHECK(of({"FAILED", "REMOVED"}) == (t{v::failed, 0, "FAILED"}));
}

CAF_TEST(steps refine the progress of the service that is furthest behind) {
  auto steps = std::map<std::string, steps_view>{};
  steps["d-a"].progress = 74;
  const auto a = service("a", "BUILDING", "d-a");
  const auto b = service("b", "BUILDING", "d-b");
  CAF_CHECK_EQUAL(int{judge({a}, {}, steps).progress}, 74);
  CAF_CHECK_EQUAL(int{judge({a, b}, {}, steps).progress}, 50);
  CAF_CHECK_EQUAL(judge({a, b}, {}, steps).about->id, "b");
  steps["d-b"].progress = 58;
  CAF_CHECK_EQUAL(int{judge({a, b}, {}, steps).progress}, 58);
  // Steps never take away, and say nothing once they are over.
  steps["d-a"].progress = 10;
  CAF_CHECK_EQUAL(int{judge({a}, {}, steps).progress}, 50);
  steps["d-a"].progress = 92;
  CAF_CHECK_EQUAL(
    int{judge({service("a", "QUEUED", "d-a")}, {}, steps).progress}, 42);
}

CAF_TEST(a crash with replicas left is no failure) {
  using v = deployment_view;
  auto known = closer_look{};
  known.replicas["d"] = true;
  CAF_CHECK(judge({service("a", "CRASHED")}, known).is == v::running);
  known.replicas["d"] = false;
  CAF_CHECK(judge({service("a", "CRASHED")}, known).is == v::failed);
}

CAF_TEST(what was skipped leaves the one before it in charge) {
  using v = deployment_view;
  for (auto status : {"SKIPPED", "REMOVED"}) {
    auto known = closer_look{};
    known.serving.emplace();
    CAF_CHECK(judge({service("a", status)}, known).is
              == (status == std::string{"SKIPPED"} ? v::failed : v::removed));
    known.serving->emplace("b", "d-0");
    CAF_CHECK(judge({service("a", status)}, known).is != v::running);
    known.serving->emplace("a", "d-0");
    CAF_CHECK(judge({service("a", status)}, known).is == v::running);
    CAF_CHECK(judge({service("a", "FAILED")}, known).is == v::failed);
  }
}

// -- judging what runs
// --------------------------------------------------------------------

CAF_TEST(an instance is what its service is) {
  using h = instance_health;
  auto known = closer_look{};
  known.serving.emplace();
  for (auto [status, is] :
       std::vector<std::pair<const char*, h>>{{"SUCCESS", h::healthy},
                                              {"SLEEPING", h::sleeping},
                                              {"CRASHED", h::crashed},
                                              {"REMOVED", h::removed},
                                              {"SKIPPED", h::removed},
                                              {"FAILED", h::crashed},
                                              {"", h::removed},
                                              {"BUILDING", h::unknown},
                                              {"DEPLOYING", h::unknown},
                                              {"REMOVING", h::unknown},
                                              {"NEEDS_APPROVAL", h::unknown},
                                              {"SOMETHING_NEW", h::unknown}}) {
    const auto got = judge_instance({service("a", status)}, known, "a");
    if (got.is != is)
      CAF_ERROR(status << " is " << lifecycle::to_string(got.is));
    CAF_CHECK(got.reason.empty()
              == (is == h::healthy || is == h::sleeping || is == h::unknown));
  }
  CAF_CHECK(judge_instance({stopped(service("a", "SUCCESS"))}, known, "a").is
            == h::ended);
}

CAF_TEST(a deployment that came to nothing leaves the one before it in charge) {
  auto known = closer_look{};
  for (auto status : {"FAILED", "SKIPPED", "REMOVED", ""}) {
    known.serving.reset();
    CAF_CHECK(judge_instance({service("a", status)}, known, "a").is
              == instance_health::unknown);
    known.serving.emplace();
    known.serving->emplace("a", "d-0");
    const auto got = judge_instance({service("a", status)}, known, "a");
    CAF_CHECK(got.is == instance_health::healthy);
    CAF_CHECK_EQUAL(got.deployment_id, "d-0");
  }
}

CAF_TEST(replicas make the difference between degraded and crashed) {
  auto known = closer_look{};
  known.replicas["d"] = true;
  const auto got = judge_instance({service("a", "CRASHED")}, known, "a");
  CAF_CHECK(got.is == instance_health::degraded);
  CAF_CHECK_EQUAL(got.deployment_id, "d");
  CAF_CHECK_EQUAL(got.reason, "service web is CRASHED");
}

CAF_TEST(of several services the gravest is told with the deployment of ours) {
  using h = instance_health;
  const auto main = service("a", "SUCCESS", "d-a");
  const auto with = [&](const char* status) {
    auto known = closer_look{};
    known.serving.emplace();
    return judge_instance({main, service("b", status, "d-b")}, known, "a");
  };
  CAF_CHECK(with("SUCCESS").is == h::healthy);
  CAF_CHECK(with("SLEEPING").is == h::healthy);
  CAF_CHECK(with("CRASHED").is == h::crashed);
  CAF_CHECK(with("REMOVED").is == h::removed);
  CAF_CHECK(with("BUILDING").is == h::unknown);
  for (auto status : {"SUCCESS", "SLEEPING", "CRASHED", "REMOVED"})
    CAF_CHECK_EQUAL(with(status).deployment_id, "d-a");
  CAF_CHECK(
    judge_instance({service("a", "SLEEPING"), service("b", "SUCCESS")}, {}, "a")
      .is
    == h::sleeping);
  CAF_CHECK(
    judge_instance({service("b", "BUILDING"), service("a", "CRASHED")}, {}, "a")
      .is
    == h::crashed);
}

CAF_TEST(an instance without its service was removed) {
  for (const auto& services :
       {std::vector<service_view>{},
        std::vector<service_view>{service("b", "SUCCESS")}}) {
    const auto got = judge_instance(services, {}, "a");
    CAF_CHECK(got.is == instance_health::removed);
    CAF_CHECK(!got.reason.empty());
    CAF_CHECK_EQUAL(got.deployment_id, "");
  }
}

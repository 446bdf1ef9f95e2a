#define CAF_SUITE sandbox.railway_hooks

#include "http/server/server.hpp"
#include "tests/unit/sandbox/railway_fixture.hpp"

#include <algorithm>
#include <mutex>

using namespace railway_test;
using loopback::eventually;

namespace {

/// Takes in what is posted.
struct listener {
  std::mutex mutex;
  std::vector<json::value> got;
  std::unique_ptr<http::server> door;

  explicit listener(int status) {
    http::router routes;
    routes.add(http::method::post, "/hook/{secret}", "hook",
               [this, status](auto x) {
                 {
                   const auto lock = std::lock_guard{mutex};
                   if (x->in().param(0) == "s3cret")
                     got.push_back(json::parse(x->in().body));
                 }
                 x->answer({status, "text/plain", "", {}});
               });
    door = std::make_unique<http::server>(http::server_options{},
                                          std::move(routes));
    CAF_REQUIRE(door->start().has_value());
  }

  std::size_t size() {
    const auto lock = std::lock_guard{mutex};
    return got.size();
  }

  std::vector<json::value> take() {
    const auto lock = std::lock_guard{mutex};
    return std::exchange(got, {});
  }
};

struct hooked : fixture {
  listener ear{200};

  /// A rule for these types. @returns its id.
  std::string
  listen(std::vector<std::string_view> types, json::object more = {}) {
    more["workspaceId"] = "ws-1";
    auto& names = more["eventTypes"] = json::array{};
    for (const auto each : types)
      names.as_array().emplace_back("Deployment." + std::string{each});
    more["channelConfigs"]
      = json::array{json::object{{"type", "email"}},
                    json::object{{"type", "webhook"},
                                 {"url", ear.door->url() + "/hook/s3cret"}}};
    return text(data("mutation R($input: CreateNotificationRuleInput!) { "
                     "notificationRuleCreate(input: $input) { id } }",
                     {{"input", more}})
                  .at("notificationRuleCreate")
                  .at("id"));
  }

  /// The next `n` messages, as `type:status`, in the order of their letters.
  std::vector<std::string> told(std::size_t n) {
    CAF_CHECK(eventually([&] {
      return ear.size() >= n;
    }));
    std::vector<std::string> result;
    for (const auto& each : ear.take())
      result.push_back(text(each.at("type")).substr(11) + ":"
                       + text(each.at("details").at("status")));
    std::sort(result.begin(), result.end());
    return result;
  }

  /// Waits until so many have been sent or lost, in all.
  json::array sent(std::size_t n) {
    json::array result;
    CAF_CHECK(eventually([&] {
      result
        = json::parse(fetch(aut->port(), "GET", "/sandbox/railway/state").body)
            .at("webhooks")
            .as_array();
      return result.size() >= n;
    }));
    return result;
  }

  using list = std::vector<std::string>;

  static inline const auto all = std::vector<std::string_view>{
    "building", "deploying", "deployed", "failed",    "crashed",
    "slept",    "resumed",   "removed",  "redeployed"};
};

} // namespace

CAF_TEST_FIXTURE_SCOPE(railway_hooks_tests, hooked)

CAF_TEST(every change is told when it happens) {
  listen(all);
  const auto x = launch();
  // Nobody asks for anything from here on: it is told all the same.
  time.advance(600ms);
  CAF_CHECK_EQUAL(told(1), (list{"building:BUILDING"}));
  time.advance(1'500ms);
  CAF_CHECK_EQUAL(told(1), (list{"deploying:DEPLOYING"}));
  time.advance(1'000ms);
  CAF_CHECK_EQUAL(told(1), (list{"deployed:SUCCESS"}));
  act(x.deployment, "sleep");
  CAF_CHECK_EQUAL(told(1), (list{"slept:SLEEPING"}));
  act(x.deployment, "wake");
  CAF_CHECK_EQUAL(told(1), (list{"resumed:SUCCESS"}));
  act(x.deployment, "crash");
  CAF_CHECK_EQUAL(told(1), (list{"crashed:CRASHED"}));
  set({{"failNext", "build"}});
  act(x.deployment, "redeploy");
  CAF_CHECK_EQUAL(told(1), (list{"redeployed:QUEUED"}));
  // What has been missed is told in one go.
  time.advance(whole);
  CAF_CHECK_EQUAL(told(2), (list{"building:BUILDING", "failed:FAILED"}));
  act(x.deployment, "remove");
  time.advance(300ms);
  CAF_CHECK_EQUAL(told(1), (list{"removed:REMOVED"}));
}

CAF_TEST(a message says where it happened) {
  listen({"failed"});
  set({{"failNext", "deploy"}});
  const auto x = launch("sub-9");
  time.advance(whole);
  CAF_CHECK(eventually([&] {
    return ear.size() == 1;
  }));
  const auto body = ear.take().front();
  CAF_CHECK_EQUAL(text(body.at("type")), "Deployment.failed");
  CAF_CHECK_EQUAL(text(body.at("severity")), "CRITICAL");
  CAF_CHECK_EQUAL(text(body.at("details").at("id")), x.deployment);
  const auto& where = body.at("resource");
  CAF_CHECK_EQUAL(text(where.at("workspace").at("id")), "ws-1");
  CAF_CHECK_EQUAL(text(where.at("project").at("id")), x.where.project);
  CAF_CHECK_EQUAL(text(where.at("project").at("name")), "sub-9");
  CAF_CHECK_EQUAL(text(where.at("environment").at("id")), x.where.environment);
  CAF_CHECK(!where.at("environment").at("isEphemeral").as_bool());
  CAF_CHECK_EQUAL(text(where.at("service").at("id")), x.service);
  CAF_CHECK_EQUAL(text(where.at("deployment").at("id")), x.deployment);
  // The moment is that of the change, not that of the telling.
  CAF_CHECK_EQUAL(text(body.at("timestamp")), to_rfc3339(time.now()));
}

CAF_TEST(a rule hears what it asked for and falls silent when deleted) {
  const auto first = launch("first");
  const auto other = launch("other");
  const auto id = listen({"deployed"}, {{"projectId", other.where.project}});
  listen({"deployed"}, {{"severities", json::array{"CRITICAL"}}});
  time.advance(whole);
  CAF_CHECK_EQUAL(told(1), (list{"deployed:SUCCESS"}));
  data("mutation D($id: String!) { notificationRuleDelete(id: $id) }",
       {{"id", id}});
  act(other.deployment, "redeploy");
  time.advance(whole);
  CAF_CHECK_EQUAL(status(other.deployment), "REMOVED");
  CAF_CHECK_EQUAL(status(first.deployment), "SUCCESS");
  // A rule for everything hears the next one; nothing else came before it.
  listen({"slept"});
  act(first.deployment, "sleep");
  CAF_CHECK_EQUAL(told(1), (list{"slept:SLEEPING"}));
  CAF_CHECK_EQUAL(sent(2).size(), 2u);
}

CAF_TEST(webhooks can be off lost doubled late and lying) {
  listen({"slept", "resumed"});
  const auto x = launch();
  time.advance(whole);
  set({{"webhooks", false}});
  act(x.deployment, "sleep");
  set({{"webhooks", true}, {"webhookLoss", 100}});
  act(x.deployment, "wake");
  auto all_sent = sent(1);
  CAF_REQUIRE_EQUAL(all_sent.size(), 1u);
  CAF_CHECK(all_sent.at(0).at("lost").as_bool());
  CAF_CHECK_EQUAL(text(all_sent.at(0).at("type")), "Deployment.resumed");
  CAF_CHECK_EQUAL(ear.size(), 0u);
  set({{"webhookLoss", 0}, {"webhookDoubled", true}});
  act(x.deployment, "sleep");
  CAF_CHECK_EQUAL(told(2), (list{"slept:SLEEPING", "slept:SLEEPING"}));
  set({{"webhookDoubled", false}, {"webhookLies", true}});
  act(x.deployment, "wake");
  CAF_CHECK_EQUAL(told(1), (list{"failed:SUCCESS"}));
  set({{"webhookLies", false}, {"webhookLateMs", 60}});
  const auto before = std::chrono::steady_clock::now();
  act(x.deployment, "sleep");
  CAF_CHECK_EQUAL(told(1), (list{"slept:SLEEPING"}));
  CAF_CHECK(std::chrono::steady_clock::now() - before >= 60ms);
  // About half of many.
  set({{"webhookLateMs", 0}, {"webhookLoss", 50}});
  for (auto i = 0; i < 40; ++i)
    act(x.deployment, i % 2 == 0 ? "wake" : "sleep");
  all_sent = sent(45);
  // The one from above is among them; answers come in any order.
  auto lost = std::size_t{0};
  for (const auto& each : all_sent)
    lost += each.at("lost").as_bool() ? 1 : 0;
  --lost;
  CAF_CHECK(lost > 5 && lost < 35);
  CAF_CHECK_EQUAL(ear.size(), 40 - lost);
  CAF_CHECK(fetch(aut->port(), "GET", "/").has("Deployment.slept"));
}

CAF_TEST(nobody answers and nothing comes again) {
  listen({"slept"});
  const auto x = launch();
  time.advance(whole);
  ear.door->stop(0ms);
  act(x.deployment, "sleep");
  const auto all_sent = sent(1);
  CAF_CHECK_EQUAL(all_sent.at(0).at("answer").as_int64(), 0);
  CAF_CHECK(!all_sent.at(0).at("lost").as_bool());
  aut->stop();
}

CAF_TEST_FIXTURE_SCOPE_END()

#define CAF_SUITE provider.watcher

#include "tests/unit/provider/watcher_world.hpp"

using namespace slipway;
using namespace slipway::test;

CAF_TEST_FIXTURE_SCOPE(watcher_tests, watcher_fixture)

// -- looking
// -----------------------------------------------------------------------------

CAF_TEST(a lone deployment is looked at plainly and reported as it moves) {
  order(1, "INITIALIZING");
  CAF_CHECK(line->log.empty());
  pass(300ms);
  CAF_REQUIRE_EQUAL(line->log.size(), 1u);
  const auto& first = line->log.front();
  CAF_CHECK(first.plain);
  CAF_CHECK(first.environments == std::vector<std::string>{"env-1"});
  CAF_CHECK(first.what->how == urgency::watch);
  CAF_CHECK(!first.what->mutates);
  CAF_CHECK(first.what->expires > first.at);
  CAF_CHECK(first.what->timeout == 30s);
  CAF_REQUIRE_EQUAL(reports().size(), 1u);
  const auto told = reports().front();
  CAF_CHECK(told.what.is == condition::in_progress);
  CAF_CHECK_EQUAL(told.what.attempt, 1u);
  CAF_CHECK_EQUAL(int{told.what.progress}, 45);
  CAF_CHECK_EQUAL(told.what.provider_status, "INITIALIZING");
  CAF_CHECK(told.what.at == first.at);
  // The same again is no news.
  pass(11s);
  CAF_CHECK_EQUAL(line->log.size(), 3u);
  CAF_CHECK_EQUAL(reports().size(), 1u);
  show(1, "DEPLOYING");
  pass(6s);
  CAF_CHECK_EQUAL(reports().size(), 2u);
  CAF_CHECK_EQUAL(int{reports().back().what.progress}, 78);
}

CAF_TEST(a verdict is told once and then nothing is looked at) {
  order(1, "SUCCESS");
  pass(300ms);
  const auto told = verdict_on(1);
  CAF_CHECK(told.is == condition::running);
  CAF_CHECK_EQUAL(int{told.progress}, 100);
  CAF_CHECK_EQUAL(told.provider_status, "SUCCESS");
  CAF_CHECK(told.reason.empty());
  CAF_CHECK(reports().front().by->control);
  pass(1min);
  hint_at(1);
  pass(1min);
  CAF_CHECK_EQUAL(line->log.size(), 1u);
  CAF_CHECK_EQUAL(reports().size(), 1u);
  settle_all();
  pass(1min);
  CAF_CHECK_EQUAL(line->log.size(), 1u);
}

CAF_TEST(a verdict that was not taken is found out anew) {
  order(1, "SUCCESS");
  pass(300ms);
  reports().front().by->reply->deliver(
    {errc::database_down, verdict::stale, nullptr});
  log->commands.clear();
  pass(6s);
  CAF_CHECK_EQUAL(line->log.size(), 2u);
  CAF_CHECK(verdict_on(1).is == condition::running);
  // Whoever lost it without a word has not taken it, either.
  log->commands.clear();
  pass(6s);
  CAF_CHECK(verdict_on(1).is == condition::running);
  // What is of no use any more is not told again.
  reports().front().by->reply->deliver({errc::none, verdict::stale, nullptr});
  log->commands.clear();
  pass(1min);
  CAF_CHECK(reports().empty());
}

CAF_TEST(many are looked at in few documents) {
  order_many(1, 60);
  pass(300ms);
  CAF_CHECK(line->sizes() == (std::vector<std::size_t>{25, 25, 10}));
  CAF_CHECK(!line->log.front().plain);
  CAF_CHECK_EQUAL(reports().size(), 60u);
  for (auto n = 1; n <= 60; ++n)
    CAF_CHECK_EQUAL(int{reports(n).back().what.progress}, 50);
}

CAF_TEST(
  four documents are under way at most and who waited longest goes first) {
  line->hold = true;
  order_many(1, 130);
  pass(300ms);
  CAF_CHECK(line->sizes() == (std::vector<std::size_t>{25, 25, 25, 25}));
  pass(30s);
  CAF_CHECK_EQUAL(line->log.size(), 4u);
  line->release();
  consume_messages();
  CAF_REQUIRE_EQUAL(line->log.size(), 5u);
  // Those who were not in the first four, before anybody's second time.
  auto fifth = line->log.back().environments;
  for (auto n = 1; n <= 100; ++n)
    CAF_CHECK_EQUAL(std::count(fifth.begin(), fifth.end(), name("env", n)), 0);
}

CAF_TEST(the pause grows with age up to ten seconds) {
  order(1, "INITIALIZING");
  pass(10min);
  const auto times = line->times("env-1");
  for (auto i = std::size_t{1}; i < times.size(); ++i) {
    const auto age = times[i - 1] - times.front();
    const auto pause = times[i] - times[i - 1];
    CAF_CHECK(pause <= 10'100ms);
    CAF_CHECK(pause >= 4'900ms);
    if (age < 55s)
      CAF_CHECK(pause <= 5'100ms);
    if (age > 185s)
      CAF_CHECK(pause >= 9'900ms);
  }
  CAF_CHECK(times.size() < 75);
}

CAF_TEST(a slower pace that was asked for is kept) {
  stop();
  options.poll_interval = 30s;
  start();
  order(1, "INITIALIZING");
  pass(10min);
  CAF_CHECK_EQUAL(line->times("env-1").size(), 20u);
}

CAF_TEST(those who are watched at the same time come to be looked at together) {
  order(1, "QUEUED");
  pass(3s);
  order(2, "QUEUED");
  pass(1s);
  order(3, "QUEUED");
  pass(20s);
  line->log.clear();
  pass(30s);
  for (auto size : line->sizes())
    CAF_CHECK_EQUAL(size, 3u);
  CAF_CHECK(line->sizes().size() <= 7);
}

CAF_TEST(nothing is asked for while nothing is watched) {
  pass(1h, 10s);
  order(1);
  drop(1);
  pass(1h, 10s);
  CAF_CHECK(line->log.empty());
}

// -- orders
// ----------------------------------------------------------------------------

CAF_TEST(what was dropped is withdrawn and its answer ignored) {
  line->hold = true;
  order(1, "SUCCESS");
  pass(300ms);
  const auto lone = line->log.back().what->withdrawn;
  CAF_CHECK(!*lone);
  drop(1);
  CAF_CHECK(*lone);
  line->release();
  pass(1min);
  CAF_CHECK(log->commands.empty());
  // A document leaves as long as anybody in it is wanted.
  order(2, "SUCCESS");
  order(3, "SUCCESS");
  pass(300ms);
  const auto shared = line->log.back().what->withdrawn;
  drop(2);
  CAF_CHECK(!*shared);
  drop(3);
  CAF_CHECK(*shared);
  line->release();
  pass(1min);
  CAF_CHECK(log->commands.empty());
}

CAF_TEST(an order for another attempt begins anew) {
  line->hold = true;
  order(1, "SUCCESS");
  pass(300ms);
  auto next = std::make_shared<record>(*subject(1, 2));
  next->state.instance.environment_id = "env-2";
  show(2, "BUILDING");
  caf::anon_send(env->watcher(), watch_order{next});
  consume_messages();
  line->release(); // About the attempt before.
  consume_messages();
  CAF_CHECK(log->commands.empty());
  line->hold = false;
  pass(1s);
  CAF_REQUIRE_EQUAL(reports().size(), 1u);
  CAF_CHECK_EQUAL(reports().back().what.attempt, 2u);
  CAF_CHECK_EQUAL(line->times("env-2").size(), 1u);
}

CAF_TEST(an order that is repeated changes nothing but what is told) {
  order(1, "DEPLOYING");
  pass(1s);
  CAF_CHECK_EQUAL(reports().size(), 1u);
  const auto looks = line->count("environment");
  // A supervisor that was started again from what is stored.
  caf::anon_send(env->watcher(), watch_order{subject(1)});
  consume_messages();
  pass(1s);
  CAF_CHECK_EQUAL(line->count("environment"), looks);
  pass(5s);
  CAF_CHECK_EQUAL(reports().size(), 2u);
  CAF_CHECK_EQUAL(int{reports().back().what.progress}, 78);
  // After a verdict it is found out anew: the report may have been lost.
  show(1, "SUCCESS");
  pass(6s);
  const auto lost = reports().back();
  CAF_CHECK(lost.what.is == condition::running);
  caf::anon_send(env->watcher(), watch_order{subject(1)});
  pass(1s);
  CAF_CHECK_EQUAL(reports().size(), 4u);
  // And the late answer to the first one ends nothing.
  lost.by->reply->deliver({errc::database_down, verdict::stale, nullptr});
  pass(1min);
  CAF_CHECK_EQUAL(reports().size(), 4u);
}

// -- hints
// -----------------------------------------------------------------------------

CAF_TEST(a hint brings the look forward by any of its ids) {
  order(1);
  auto& other = line->world.environments["env-1"];
  other.push_back({"svc-x", "dep-x", "BUILDING", false, {}});
  pass(2s);
  auto looks = line->times("env-1").size();
  for (const auto& by :
       {provider_hint{{}, "env-1", {}, {}}, provider_hint{{}, {}, "svc-1", {}},
        provider_hint{{}, {}, "svc-x", {}}, provider_hint{{}, {}, {}, "dep-1"},
        provider_hint{{}, {}, {}, "dep-x"}, provider_hint{"proj-1", {}, {}, {}},
        provider_hint{"?", "?", "?", "dep-1"}}) {
    hint(by);
    pass(300ms);
    CAF_CHECK_EQUAL(line->times("env-1").size(), looks + 1);
    looks = line->times("env-1").size();
    pass(1s);
  }
  for (const auto& by : {provider_hint{}, provider_hint{"?", "?", "?", "?"},
                         provider_hint{"env-1", {}, {}, {}}}) {
    hint(by);
    pass(300ms);
    CAF_CHECK_EQUAL(line->times("env-1").size(), looks);
    pass(1s);
    looks = line->times("env-1").size();
  }
}

CAF_TEST(hints that come together are looked at together) {
  order_many(1, 20, "QUEUED");
  pass(2s);
  line->log.clear();
  for (auto n = 1; n <= 20; ++n) {
    hint_at(n);
    pass(10ms, 10ms);
  }
  pass(500ms);
  CAF_CHECK(line->sizes() == std::vector<std::size_t>{20});
  CAF_CHECK(line->log.front().at - time.now() < 1s);
}

CAF_TEST(a flood of hints is no flood of calls) {
  order_many(1, 3, "QUEUED");
  pass(2s);
  line->log.clear();
  for (auto i = 0; i < 500; ++i) {
    hint_at(1 + i % 3);
    pass(20ms, 20ms);
  }
  // Ten seconds: once a second each, in one document.
  CAF_CHECK(line->sizes().size() <= 11);
  for (auto n = 1; n <= 3; ++n) {
    const auto times = line->times(name("env", n));
    for (auto i = std::size_t{1}; i < times.size(); ++i)
      CAF_CHECK(times[i] - times[i - 1] >= 1s);
    CAF_CHECK(times.size() >= 9);
  }
}

CAF_TEST(a hint during a look makes for another one) {
  order(1);
  line->hold = true;
  pass(300ms);
  CAF_CHECK_EQUAL(line->count("environment"), 1u);
  // Answered as it was before the hint.
  auto x = line->waiting.front();
  hint_at(1);
  line->release();
  line->hold = false;
  show(1, "SUCCESS");
  pass(1'200ms);
  CAF_CHECK(verdict_on(1).is == condition::running);
}

// -- looks that come to nothing
// --------------------------------------------------------------

CAF_TEST(who spoils a document is looked at alone and the others at once) {
  order_many(1, 5, "QUEUED");
  line->world.broken.insert("env-3");
  pass(300ms);
  CAF_CHECK(line->sizes() == (std::vector<std::size_t>{5, 4}));
  CAF_CHECK(line->log[1].at - line->log[0].at < 100ms);
  CAF_CHECK_EQUAL(reports().size(), 4u);
  pass(30s);
  for (auto i = std::size_t{2}; i < line->log.size(); ++i) {
    const auto& x = line->log[i];
    const auto about_it = x.environments == std::vector<std::string>{"env-3"};
    CAF_CHECK_EQUAL(x.environments.size(), about_it ? 1u : 4u);
    CAF_CHECK_EQUAL(x.plain, about_it);
  }
  CAF_CHECK(line->times("env-3").size() > 2);
  // Once it is well again it joins the others.
  line->world.broken.clear();
  pass(2min);
  line->log.clear();
  pass(30s);
  CAF_CHECK_EQUAL(line->log.back().environments.size(), 5u);
}

CAF_TEST(steps that spoil a document are left out of it) {
  order_many(1, 3, "BUILDING");
  pass(1s);
  line->log.clear();
  line->world.broken.insert("dep-2");
  pass(5s);
  CAF_REQUIRE(line->log.size() >= 2);
  CAF_CHECK_EQUAL(line->log[0].steps.size(), 3u);
  CAF_CHECK(line->log[1].steps == (std::vector<std::string>{"dep-1", "dep-3"}));
  CAF_CHECK_EQUAL(line->log[1].environments.size(), 3u);
  show(2, "SUCCESS");
  pass(6s);
  CAF_CHECK(verdict_on(2).is == condition::running);
}

CAF_TEST(an error without a name is found by halves) {
  order_many(1, 25, "QUEUED");
  line->says = [](const provider::call& x) {
    for (const auto& [name, id] : x.variables)
      if (id == "env-13")
        return std::optional{opaque()};
    return std::optional<client::http_outcome>{};
  };
  pass(15s);
  CAF_CHECK_EQUAL(reports().size(), 24u);
  CAF_CHECK(line->log.size() < 20);
  pass(1min);
  line->log.clear();
  pass(1min);
  // The others share their documents again.
  for (const auto& x : line->log)
    CAF_CHECK(x.environments == std::vector<std::string>{"env-13"}
              || x.environments.size() == 24u);
}

CAF_TEST(when everything comes to nothing it is looked at less often) {
  order_many(1, 200, "QUEUED");
  for (auto outcome :
       {opaque(),
        client::http_outcome{client::http_response{502, {}, "<html>"}},
        client::http_outcome{
          client::http_failure{client::failure_kind::not_sent, "no"}}}) {
    line->log.clear();
    line->says = [outcome](const provider::call&) {
      return std::optional{outcome};
    };
    pass(10min, 100ms);
    CAF_CHECK(line->log.size() < 60);
    CAF_CHECK(line->log.size() > 5);
    // And is back soon after.
    line->says = nullptr;
    for (auto n = 1; n <= 200; ++n)
      show(n, outcome.response() == nullptr       ? "DEPLOYING"
              : outcome.response()->status == 200 ? "INITIALIZING"
                                                  : "BUILDING");
    log->commands.clear();
    pass(90s, 100ms);
    for (auto n = 1; n <= 200; ++n)
      CAF_CHECK_EQUAL(reports(n).size(), 1u);
  }
}

CAF_TEST(a lone one that cannot be read is looked at again and again) {
  order(1, "QUEUED");
  line->world.broken.insert("env-1");
  line->world.projects = {"proj-1"};
  pass(10min);
  const auto times = line->times("env-1");
  CAF_CHECK(times.size() > 10);
  CAF_CHECK(times.size() < 40);
  for (auto i = std::size_t{1}; i < times.size(); ++i)
    CAF_CHECK(times[i] - times[i - 1] <= 61s);
  line->world.broken.clear();
  show(1, "SUCCESS");
  pass(61s);
  CAF_CHECK(verdict_on(1).is == condition::running);
  // The history hears of it, once.
  const auto calls = reports().back().by->calls;
  CAF_REQUIRE_EQUAL(calls.size(), 1u);
  CAF_CHECK_EQUAL(calls.front().operation, "environment");
  CAF_CHECK_EQUAL(calls.front().outcome, "auth");
}

CAF_TEST(a deployment whose project has gone has failed) {
  order(1, "QUEUED");
  order(2, "QUEUED");
  line->world.projects = {"proj-1", "proj-3"};
  pass(1s);
  line->world.broken = {"env-1", "env-2"};
  pass(2min);
  // Lists lag behind: not while it may just not be listed yet.
  CAF_CHECK_EQUAL(line->count("projects"), 0u);
  CAF_CHECK(is_open(2));
  pass(3min);
  const auto told = verdict_on(2);
  CAF_CHECK(told.is == condition::failed);
  CAF_CHECK_EQUAL(told.reason, "its project is not there any more");
  CAF_CHECK(is_open(1));
  CAF_CHECK(line->count("projects") < 5);
  // And is looked at meanwhile, as long as it is listed.
  line->world.broken.clear();
  show(1, "SUCCESS");
  pass(61s);
  CAF_CHECK(verdict_on(1).is == condition::running);
}

CAF_TEST(a clock that is set back holds up nothing) {
  struct crooked final : slipway::clock {
    [[nodiscard]] timestamp now() const noexcept override {
      return of->now() - back;
    }
    const slipway::clock* of = nullptr;
    millis back{0};
  };
  auto clock = crooked{};
  clock.of = &time;
  stop();
  env->clock = &clock;
  start();
  order(1, "QUEUED");
  pass(6s);
  CAF_CHECK_EQUAL(line->count("environment"), 2u);
  clock.back = 2h;
  // One look may be late, by the pause that was under way.
  pass(16s);
  CAF_CHECK(line->count("environment") >= 4u);
  show(1, "SUCCESS");
  pass(6s);
  CAF_CHECK(verdict_on(1).is == condition::running);
  CAF_CHECK(verdict_on(1).at < time.now() - 1h); // As the clock shows it.
  stop();
}

CAF_TEST(a wish to be left alone is respected) {
  order(1, "QUEUED");
  line->says = [](const provider::call&) {
    return std::optional<client::http_outcome>{client::http_response{
      429, {{"Retry-After", "40"}}, R"({"errors":[{"message":"x"}]})"}};
  };
  pass(39s);
  CAF_CHECK_EQUAL(line->log.size(), 1u);
  pass(5s);
  CAF_CHECK_EQUAL(line->log.size(), 2u);
}

// -- what is seen
// ----------------------------------------------------------------------------

CAF_TEST(several services run only together and fail one by one) {
  order(1, "SUCCESS");
  auto& services = line->world.environments["env-1"];
  services.push_back({"svc-b", "dep-b", "DEPLOYING", false, {}});
  services.push_back({"svc-c", "dep-c", "BUILDING", false, {}});
  pass(300ms);
  CAF_CHECK_EQUAL(int{reports().back().what.progress}, 50);
  services[2].status = "SUCCESS";
  pass(6s);
  CAF_CHECK_EQUAL(int{reports().back().what.progress}, 78);
  services[1].status = "SLEEPING";
  pass(6s);
  CAF_CHECK(verdict_on(1).is == condition::running);
  order(2, "SUCCESS");
  line->world.environments["env-2"].push_back(
    {"svc-y", "dep-y", "FAILED", false, {}});
  pass(1s);
  const auto told = verdict_on(2);
  CAF_CHECK(told.is == condition::failed);
  CAF_CHECK_EQUAL(told.provider_status, "FAILED");
  CAF_CHECK_EQUAL(told.reason, "service web is FAILED");
}

CAF_TEST(a failure is told with the step that failed) {
  line->world.steps["dep-1"]
    = steps_to({"SNAPSHOT_CODE", "BUILD_IMAGE"}, "exit\n1");
  order(1, "FAILED");
  pass(300ms);
  CAF_CHECK_EQUAL(verdict_on(1).reason,
                  "service web is FAILED (BUILD_IMAGE: exit 1)");
  // Without the steps it is told all the same.
  line->world.broken.insert("dep-2");
  order(2, "FAILED");
  pass(300ms);
  CAF_CHECK_EQUAL(verdict_on(2).reason, "service web is FAILED");
  // In a document the steps have come along: no call more.
  line->world.steps["dep-3"] = line->world.steps["dep-1"];
  order_many(3, 4, "BUILDING");
  pass(1s);
  show(3, "FAILED");
  line->log.clear();
  pass(6s);
  CAF_CHECK_EQUAL(verdict_on(3).reason,
                  "service web is FAILED (BUILD_IMAGE: exit 1)");
  CAF_CHECK_EQUAL(line->count("deploymentEvents"), 0u);
}

CAF_TEST(a crash is no failure while a replica runs) {
  line->world.replicas["dep-1"] = {"CRASHED", "RUNNING"};
  order(1, "CRASHED");
  pass(300ms);
  CAF_CHECK(verdict_on(1).is == condition::running);
  line->world.replicas["dep-2"] = {"CRASHED", "EXITED"};
  order(2, "CRASHED");
  pass(300ms);
  CAF_CHECK(verdict_on(2).is == condition::failed);
  CAF_CHECK_EQUAL(line->count("deployment"), 2u);
  // Nobody knows: none runs.
  line->world.broken.insert("dep-3");
  order(3, "CRASHED");
  pass(300ms);
  CAF_CHECK(verdict_on(3).is == condition::failed);
}

CAF_TEST(a closer look that fails for reasons of the day is made again) {
  line->world.replicas["dep-1"] = {"RUNNING"};
  auto asked = 0;
  line->says = [&asked](const provider::call& x) {
    return x.field == "deployment" && ++asked < 3
             ? std::optional{opaque()}
             : std::optional<client::http_outcome>{};
  };
  order(1, "CRASHED");
  pass(1s);
  CAF_CHECK(is_open(1));
  pass(15s);
  CAF_CHECK(verdict_on(1).is == condition::running);
  // Not for ever.
  asked = -1'000;
  order(2, "CRASHED");
  pass(1min);
  CAF_CHECK(verdict_on(2).is == condition::failed);
  CAF_CHECK_EQUAL(asked, -997);
}

CAF_TEST(what was skipped leaves the deployment before it in charge) {
  order(1, "SKIPPED");
  show(1, "SKIPPED").active = "dep-0";
  pass(300ms);
  CAF_CHECK(verdict_on(1).is == condition::running);
  order(2, "SKIPPED");
  pass(300ms);
  CAF_CHECK(verdict_on(2).is == condition::failed);
  CAF_CHECK_EQUAL(verdict_on(2).provider_status, "SKIPPED");
}

CAF_TEST(what was removed may have a successor that is not visible yet) {
  order(1, "REMOVED");
  pass(300ms);
  CAF_CHECK(is_open(1));
  auto& x = show(1, "SUCCESS");
  x.deployment = "dep-new";
  pass(6s);
  CAF_CHECK(verdict_on(1).is == condition::running);
  order(2, "REMOVED");
  pass(6s);
  CAF_CHECK(verdict_on(2).is == condition::failed);
  CAF_CHECK_EQUAL(verdict_on(2).provider_status, "REMOVED");
  // Twice in a row, and not now and then.
  order(3, "REMOVED");
  pass(300ms);
  show(3, "BUILDING");
  pass(5s);
  show(3, "REMOVED");
  pass(5s);
  CAF_CHECK(is_open(3));
}

CAF_TEST(a deployment on its way out is waited for) {
  order(1, "REMOVING");
  pass(30s);
  CAF_CHECK(is_open(1));
  show(1, "SUCCESS");
  pass(6s);
  CAF_CHECK(verdict_on(1).is == condition::running);
}

CAF_TEST(another failed deployment than ours does not decide) {
  // The list lags behind: ours is being built.
  order(1, "FAILED").deployment = "dep-old";
  line->world.deployments["dep-1"] = "BUILDING";
  pass(6s);
  CAF_CHECK(is_open(1));
  CAF_CHECK_EQUAL(int{reports(1).back().what.progress}, 50);
  line->world.deployments["dep-1"] = "SUCCESS";
  pass(6s);
  CAF_CHECK(verdict_on(1).is == condition::running);
  // Ours has failed as well, and is the one that is told of.
  line->world.deployments["dep-2"] = "FAILED";
  line->world.steps["dep-2"] = steps_to({"HEALTHCHECK"}, "timeout");
  order(2, "CRASHED").deployment = "dep-old";
  pass(1s);
  CAF_CHECK_EQUAL(verdict_on(2).reason,
                  "service web is FAILED (HEALTHCHECK: timeout)");
  // Ours is not there any more: what is shown counts. It says so in two ways.
  line->says = [](const provider::call& x) {
    return x.field == "deployment"
             ? std::optional<client::http_outcome>{client::http_response{
               200, {}, R"({"errors":[{"message":"Deployment not found"}]})"}}
             : std::nullopt;
  };
  order(3, "FAILED").deployment = "dep-old";
  pass(1s);
  CAF_CHECK(verdict_on(3).is == condition::failed);
  // A question without an answer decides nothing.
  line->says = [](const provider::call& x) {
    return x.field == "deployment" ? std::optional{opaque()} : std::nullopt;
  };
  order(4, "FAILED").deployment = "dep-old";
  pass(20s);
  CAF_CHECK(is_open(4));
}

CAF_TEST(an approval that is waited for is shown) {
  order(1, "QUEUED");
  pass(300ms);
  CAF_CHECK_EQUAL(int{reports().back().what.progress}, 42);
  show(1, "NEEDS_APPROVAL");
  pass(6s);
  CAF_CHECK_EQUAL(reports().back().what.provider_status, "NEEDS_APPROVAL");
  CAF_CHECK_EQUAL(int{reports().back().what.progress}, 43);
  pass(5min);
  CAF_CHECK(is_open(1));
  CAF_CHECK_EQUAL(reports().size(), 2u);
}

CAF_TEST(a status that nobody knows moves nothing) {
  order(1, "DEPLOYING");
  pass(300ms);
  show(1, "TELEPORTING");
  pass(6s);
  CAF_CHECK(is_open(1));
  CAF_CHECK_EQUAL(int{reports().back().what.progress}, 78);
}

CAF_TEST(services that are not visible yet are waited for) {
  line->world.environments["env-1"] = {};
  caf::anon_send(env->watcher(), watch_order{subject(1)});
  pass(11s);
  CAF_CHECK(line->count("environment") >= 2u);
  CAF_CHECK(reports().empty());
}

CAF_TEST(progress comes from the steps and never falls) {
  order(1, "BUILDING");
  line->world.steps["dep-1"] = steps_to({"SNAPSHOT_CODE", "BUILD_IMAGE"});
  pass(300ms);
  CAF_CHECK_EQUAL(int{reports().back().what.progress}, 58);
  CAF_CHECK_EQUAL(reports().size(), 1u);
  line->world.steps["dep-1"] = steps_to({"PUBLISH_IMAGE"});
  pass(16s);
  CAF_CHECK_EQUAL(int{reports().back().what.progress}, 74);
  line->world.steps.clear();
  show(1, "INITIALIZING");
  pass(11s);
  CAF_CHECK_EQUAL(int{reports().back().what.progress}, 74);
  // Alone they cost a call: not with every look.
  CAF_CHECK(line->count("deploymentEvents") < line->count("environment"));
}

CAF_TEST(in a document the steps come along) {
  order_many(1, 3, "BUILDING");
  line->world.steps["dep-2"] = steps_to({"PUBLISH_IMAGE"});
  show(3, "QUEUED");
  pass(6s);
  CAF_CHECK_EQUAL(int{reports(1).back().what.progress}, 50);
  CAF_CHECK_EQUAL(int{reports(2).back().what.progress}, 74);
  CAF_CHECK_EQUAL(int{reports(3).back().what.progress}, 42);
  CAF_CHECK_EQUAL(line->count("deploymentEvents"), 0u);
  CAF_CHECK(line->log.back().steps
            == (std::vector<std::string>{"dep-1", "dep-2"}));
}

CAF_TEST_FIXTURE_SCOPE_END()

// -- an hour
// -----------------------------------------------------------------------------

namespace {

/// The real CALLER on a wire that takes its time.
struct busy_hour : watcher_fixture {
  struct slow_wire final : client::outbound {
    void
    send(client::http_request request, client::http_callback done) override {
      times.push_back(now());
      const auto body = json::parse(request.body).as_object();
      auto out = world->answer(std::string{body.at("query").as_string()},
                               body.at("variables").as_object());
      out.headers
        = {{"X-RateLimit-Limit", "10000"},
           {"X-RateLimit-Remaining", std::to_string(10'000 - times.size())},
           {"X-RateLimit-Reset", to_rfc3339(day_one + 2h)}};
      pending.emplace(now() + 200ms + millis{static_cast<int>(dice() % 1'000)},
                      std::pair{std::move(done), std::move(out)});
    }

    void run() {
      while (!pending.empty() && pending.begin()->first <= now()) {
        auto x = std::move(pending.begin()->second);
        pending.erase(pending.begin());
        x.first(std::move(x.second));
      }
    }

    rails* world = nullptr;
    std::function<timestamp()> now;
    std::minstd_rand dice{7};
    std::vector<timestamp> times;
    std::multimap<timestamp,
                  std::pair<client::http_callback, client::http_response>>
      pending;
  };

  std::shared_ptr<slow_wire> wire = std::make_shared<slow_wire>();
  std::minstd_rand dice{1};
  std::map<int, timestamp> ends; ///< Those under way.
  std::vector<millis> noticed;
  int last = 0;

  busy_hour() {
    stop();
    wire->world = &line->world;
    wire->now = line->now;
    auto with = caller_options{};
    with.network = wire;
    options.caller = keep(sys.spawn(caller, environment_ptr{env}, with));
    start();
  }

  void play(bool with_hints) {
    const auto begun = time.now();
    auto told = std::set<int>{};
    for (auto at = 0ms; at < 1h; at += 50ms) {
      while (ends.size() < 200) {
        ends[++last] = time.now() + 1min
                       + millis{static_cast<int>(dice() % (30 * 60 * 1'000))};
        order(last, "BUILDING");
      }
      for (const auto& [n, end] : ends)
        if (end <= time.now() && told.insert(n).second) {
          show(n, "SUCCESS");
          if (with_hints)
            hint_at(n);
        }
      wire->run();
      pass(50ms);
      for (const auto& x : reports())
        if (x.what.is == condition::running) {
          noticed.push_back(time.now() - ends.at(x.n));
          ends.erase(x.n);
        }
      settle_all();
    }
    CAF_CHECK(noticed.size() > 300);
    CAF_MESSAGE(noticed.size()
                << " ended, noticed after "
                << to_words(*std::max_element(noticed.begin(), noticed.end()))
                << " at most; " << wire->times.size() << " calls in "
                << to_words(time.now() - begun));
  }

  millis slowest() {
    return *std::max_element(noticed.begin(), noticed.end());
  }
};

} // namespace

CAF_TEST_FIXTURE_SCOPE(busy_hour_tests, busy_hour)

CAF_TEST(
  two hundred deployments stay within the hour and none is noticed late) {
  play(false);
  CAF_CHECK(wire->times.size() < 6'500);
  CAF_CHECK(slowest() < 15s);
}

CAF_TEST(with webhooks none is noticed later than after five seconds) {
  play(true);
  CAF_CHECK(wire->times.size() < 6'500);
  CAF_CHECK(slowest() < 5s);
}

CAF_TEST_FIXTURE_SCOPE_END()

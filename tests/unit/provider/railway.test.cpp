#define CAF_SUITE provider.railway

#include "http/provider/railway.hpp"

#include "http/provider/view.hpp"
#include "tests/support/actor_fixture.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include <algorithm>

using namespace slipway;
using namespace slipway::lifecycle;
using namespace slipway::provider;
using namespace slipway::test;
using namespace std::chrono_literals;

namespace {

namespace json = boost::json;

constexpr auto lag = 10s;

/// The line to Railway in a test's hand: calls wait until they are answered.
using line = std::vector<call_ptr>;

caller_actor::behavior_type
held_caller(caller_actor::pointer, std::shared_ptr<line> to) {
  return {
    [to](call_ptr& x) {
      to->push_back(std::move(x));
    },
    [](const continuation&) {
      CAF_FAIL("continuation");
    },
  };
}

/// A PROVIDER between what it orders from Railway and what it reports.
struct fixture : actor_fixture {
  std::shared_ptr<line> calls = std::make_shared<line>();
  provider_actor provider;
  subscription_id id = make_subscription_id(day_one, 1);

  fixture() {
    env->registry = keep(spawn_probe_registry(sys, log));
    auto options = railway_options{};
    options.settings.template_code = "code";
    options.settings.create_interval = millis{0};
    options.settings.visibility_lag = lag;
    options.caller = keep(sys.spawn(held_caller, calls));
    provider = keep(sys.spawn(railway, environment_ptr{env}, options));
    consume_messages();
    // What it does not know of its own past is over.
    pass(lag);
  }

  record at(phase x) {
    auto out = make_record(id, x);
    out.state.deployment.intent_at.reset();
    return out;
  }

  void order(const record& what, bool announced = false) {
    caf::anon_send(provider,
                   step_order{std::make_shared<record>(what), announced});
    consume_messages();
  }

  /// The only call that waits.
  call_ptr call(std::string_view field) {
    CAF_REQUIRE_EQUAL(calls->size(), 1u);
    CAF_REQUIRE_EQUAL(calls->front()->field, field);
    auto out = calls->front();
    calls->clear();
    return out;
  }

  void answer(const call_ptr& what, provider::answer with) {
    what->done(std::move(with));
    consume_messages();
  }

  static provider::answer data(const char* text) {
    return {answer_class::ok, json::parse(text), ""};
  }

  static provider::answer created() {
    return data(R"({"projectCreate":{"id":"p","environments":)"
                R"({"edges":[{"node":{"id":"e","name":"n"}}]}}})");
  }

  static provider::answer read_template() {
    return data(R"({"template":{"id":"t","serializedConfig":)"
                R"({"services":{"s":{"name":"web"}}}}})");
  }

  static provider::answer deployed() {
    return data(R"({"templateDeployV2":{"projectId":"p","workflowId":"w"}})");
  }

  static provider::answer still_working() {
    return data(R"({"workflowStatus":{"status":"Running"}})");
  }

  static provider::answer building() {
    return data(R"({"environment":{"id":"e","serviceInstances":{"edges":[)"
                R"({"node":{"serviceId":"s","serviceName":"web","domains":)"
                R"({"serviceDomains":[],"customDomains":[]},)"
                R"("latestDeployment":{"id":"d","status":"BUILDING",)"
                R"("deploymentStopped":false}}}]}}})");
  }

  static provider::answer in_doubt() {
    return {answer_class::in_doubt, nullptr, "no answer"};
  }

  /// The project as it is as long as its template does not show.
  static provider::answer empty_project() {
    return data(R"({"project":{"id":"p","deletedAt":null,"environments":)"
                R"({"edges":[{"node":{"id":"e","name":"n"}}]},)"
                R"("services":{"edges":[]}}})");
  }

  provider::answer listed_project() const {
    const auto text
      = R"({"projects":{"edges":[{"node":{"id":"p","name":")" + project_name(id)
        + R"(","createdAt":"2025-01-01T00:00:00.000Z","deletedAt":null}}],)"
          R"("pageInfo":{"hasNextPage":false,"endCursor":null}}})";
    return data(text.c_str());
  }

  static provider::answer no_projects() {
    return data(R"({"projects":{"edges":[],)"
                R"("pageInfo":{"hasNextPage":false,"endCursor":null}}})");
  }

  template <class Event>
  std::size_t count() {
    return static_cast<std::size_t>(std::count_if(
      log->commands.begin(), log->commands.end(), [](const command_ptr& x) {
        return std::holds_alternative<Event>(x->what);
      }));
  }

  /// Takes the announcement that waits, as the journal would.
  template <class Event = project_create_started>
  void store_announcement(record& of) {
    const auto where = std::find_if(
      log->commands.begin(), log->commands.end(), [](const command_ptr& x) {
        return std::holds_alternative<Event>(x->what);
      });
    CAF_REQUIRE(where != log->commands.end());
    const auto what = *where;
    log->commands.erase(where);
    of.state.deployment.intent_at = time.now();
    what->reply->deliver({errc::none, verdict::applied, &of});
    consume_messages();
  }

  /// Orders a first creation and answers it: the template is read next.
  void create(record& x) {
    order(x);
    store_announcement(x);
    answer(call("projectCreate"), created());
  }

  /// The same, and the template is on its way.
  call_ptr create_and_deploy(record& x) {
    create(x);
    answer(call("template"), read_template());
    return call("templateDeployV2");
  }

  /// Takes the only command that waits: its facts in their order.
  std::vector<event> report() {
    CAF_REQUIRE_EQUAL(log->commands.size(), 1u);
    auto out = std::move(log->commands.front()->then);
    out.insert(out.begin(), log->commands.front()->what);
    log->commands.clear();
    return out;
  }

  /// Takes facts as the SUPERVISOR would.
  void learn(record& of, const std::vector<event>& facts) {
    for (const auto& x : facts) {
      auto made = decide(of.state, x, env->rules);
      CAF_CHECK(made.is == verdict::applied);
      of.state = std::move(made.next);
    }
  }

  record cancelled(record x) {
    learn(x, {cancel_requested{time.now(), actor_kind::user}});
    CAF_REQUIRE(x.state.deployment.at == phase::cancelling);
    return x;
  }

  /// A removal begins with the environment that is known: nothing is looked up.
  void check_removal_of_known() {
    const auto look = call("environment");
    CAF_CHECK_EQUAL(json::serialize(look->variables), R"({"id":"e"})");
    answer(look, data(R"({"environment":{"id":"e"}})"));
    const auto removal = call("projectDelete");
    CAF_CHECK_EQUAL(json::serialize(removal->variables), R"({"id":"p"})");
    CAF_CHECK(log->commands.empty());
  }

  /// However often nothing shows of a template that is in doubt, it is neither
  /// announced nor deployed until the lag since `from` is over.
  void check_wait_for_template(timestamp from) {
    while (time.now() < from + lag) {
      answer(call("project"), empty_project());
      CAF_CHECK(calls->empty());
      CAF_CHECK(log->commands.empty());
      pass(3s);
    }
    answer(call("project"), empty_project());
  }
};

std::string names_of(const std::vector<event>& facts) {
  auto out = std::string{};
  for (const auto& x : facts)
    out.append(out.empty() ? "" : " ").append(name_of(x));
  return out;
}

} // namespace

CAF_TEST_FIXTURE_SCOPE(railway_tests, fixture)

CAF_TEST(a first creation is announced and then called) {
  auto x = at(phase::creating_project);
  order(x);
  CAF_CHECK(calls->empty()); // Nothing was ever announced: no look.
  store_announcement(x);
  answer(call("projectCreate"), created());
  // It is told along with what comes of the template, and a stop waits for
  // that.
  CAF_CHECK(log->commands.empty());
  CAF_CHECK_EQUAL(env->load->outward.load(), 1);
  call("template");
}

CAF_TEST(what was announced with its slot is called at once) {
  auto x = at(phase::creating_project);
  x.state.deployment.intent_at = time.now();
  order(x, true);
  call("projectCreate");
  CAF_CHECK_EQUAL(count<project_create_started>(), 0u);
}

CAF_TEST(an order that waited looks for what was announced meanwhile) {
  const auto stale = at(phase::creating_project);
  auto x = stale;
  order(x);
  store_announcement(x);
  const auto creation = call("projectCreate");
  // By a supervisor that began anew with what it had read before.
  order(stale);
  CAF_CHECK(calls->empty());
  answer(creation, in_doubt());
  CAF_CHECK_EQUAL(count<step_failed>(), 1u);
  // It may be there and not be shown yet: however often nothing is found, it is
  // neither announced nor made again.
  const auto over = time.now() + lag;
  while (time.now() < over) {
    answer(call("projects"), no_projects());
    CAF_CHECK_EQUAL(count<project_create_started>(), 0u);
    pass(3s);
  }
  answer(call("projects"), no_projects());
  answer(call("projects"), no_projects()); // Once more at its turn.
  CAF_CHECK(calls->empty());
  CAF_CHECK_EQUAL(count<project_create_started>(), 1u);
}

CAF_TEST(an order that waited finds what was made meanwhile) {
  const auto stale = at(phase::creating_project);
  auto x = stale;
  order(x);
  store_announcement(x);
  const auto creation = call("projectCreate");
  order(stale);
  answer(creation, in_doubt());
  answer(call("projects"), listed_project());
  answer(call("project"), empty_project());
  CAF_CHECK_EQUAL(count<project_ready>(), 1u);
  CAF_CHECK_EQUAL(count<project_create_started>(), 0u);
}

CAF_TEST(a cancellation waits for a creation and knows what it made) {
  auto x = at(phase::creating_project);
  order(x);
  store_announcement(x);
  const auto creation = call("projectCreate");
  auto cancelled = x;
  cancelled.state.deployment.at = phase::cancelling;
  order(cancelled);
  CAF_CHECK(calls->empty());
  answer(creation, created());
  CAF_REQUIRE_EQUAL(calls->size(), 1u);
  CAF_CHECK_EQUAL(calls->front()->field, "environment");
  CAF_CHECK_EQUAL(count<project_ready>(), 0u);
}

CAF_TEST(a first creation and its template are told in one) {
  auto x = at(phase::creating_project);
  const auto deployment = create_and_deploy(x);
  const auto& input = deployment->variables.at("input");
  CAF_CHECK_EQUAL(text_at(input, "templateId"), "t");
  CAF_CHECK_EQUAL(text_at(input, "projectId"), "p");
  CAF_CHECK_EQUAL(text_at(input, "environmentId"), "e");
  pass(1s);
  answer(deployment, deployed());
  CAF_CHECK(log->commands.empty());
  answer(
    call("workflowStatus"),
    data(R"({"workflowStatus":{"status":"Complete"},"environment":{"id":"e",)"
         R"("serviceInstances":{"edges":[{"node":{"serviceId":"s",)"
         R"("serviceName":"web","domains":{"serviceDomains":)"
         R"([{"domain":"web.example"}],"customDomains":[]},)"
         R"("latestDeployment":{"id":"d","status":"SUCCESS",)"
         R"("deploymentStopped":false}}}]}}})"));
  CAF_CHECK(calls->empty());
  CAF_REQUIRE_EQUAL(log->commands.size(), 1u);
  const auto noted = log->commands.front()->calls;
  CAF_REQUIRE_EQUAL(noted.size(), 2u);
  CAF_CHECK_EQUAL(noted[0].operation, "projectCreate");
  CAF_CHECK_EQUAL(noted[1].operation, "templateDeployV2");
  const auto facts = report();
  CAF_CHECK_EQUAL(
    names_of(facts),
    "project_ready template_deployed workflow_finished configured "
    "deployment_observed");
  CAF_CHECK_EQUAL(env->load->outward.load(), 0);
  const auto& ready = std::get<project_ready>(facts[0]);
  CAF_CHECK_EQUAL(ready.project_id, "p");
  CAF_CHECK_EQUAL(ready.environment_id, "e");
  CAF_CHECK(!ready.adopted);
  // Each has the time at which it was learnt.
  CAF_CHECK(time_of(facts[0]) == time.now() - 1s);
  CAF_CHECK(time_of(facts[1]) == time.now());
  CAF_CHECK_EQUAL(std::get<template_deployed>(facts[1]).workflow_id, "w");
  learn(x, facts);
  CAF_CHECK(x.state.deployment.at == phase::running);
}

CAF_TEST(a template whose answer was lost is looked for before it comes again) {
  auto x = at(phase::creating_project);
  const auto deployment = create_and_deploy(x);
  pass(1s);
  answer(deployment, in_doubt());
  const auto facts = report();
  CAF_CHECK_EQUAL(names_of(facts),
                  "project_ready template_deploy_started step_failed");
  const auto& failed = std::get<step_failed>(facts.back());
  CAF_CHECK(failed.in == phase::deploying_template);
  CAF_CHECK(failed.in_doubt);
  CAF_CHECK(!failed.without_effect);
  learn(x, facts);
  CAF_CHECK(x.state.deployment.intent_at == time.now());
  const auto lost = time.now();
  order(x);
  check_wait_for_template(lost);
  CAF_CHECK_EQUAL(count<template_deploy_started>(), 0u);
  answer(call("template"), read_template());
  CAF_CHECK(calls->empty());
  CAF_CHECK_EQUAL(count<template_deploy_started>(), 1u);
}

CAF_TEST(a template that has not left is not looked for) {
  auto x = at(phase::creating_project);
  const auto deployment = create_and_deploy(x);
  answer(deployment, {answer_class::not_sent, nullptr, "no room"});
  const auto facts = report();
  CAF_CHECK_EQUAL(names_of(facts),
                  "project_ready template_deploy_started step_failed");
  const auto& failed = std::get<step_failed>(facts.back());
  CAF_CHECK(failed.in == phase::deploying_template);
  CAF_CHECK(failed.without_effect);
  CAF_CHECK(!failed.in_doubt);
  learn(x, facts);
  CAF_CHECK(x.state.deployment.at == phase::deploying_template);
  CAF_CHECK(!x.state.deployment.intent_at);
}

CAF_TEST(a template that cannot be read leaves its project behind) {
  auto x = at(phase::creating_project);
  create(x);
  answer(call("template"), {answer_class::busy, nullptr, "later"});
  const auto facts = report();
  CAF_CHECK_EQUAL(names_of(facts), "project_ready step_failed");
  const auto& failed = std::get<step_failed>(facts.back());
  CAF_CHECK(failed.in == phase::deploying_template);
  CAF_CHECK(!failed.in_doubt);
  learn(x, facts);
  CAF_CHECK_EQUAL(x.state.instance.project_id, "p");
  CAF_CHECK(!x.state.deployment.intent_at);
  CAF_CHECK(x.state.deployment.retry_at.has_value());
}

CAF_TEST(credentials that cannot be read leave their project behind) {
  auto x = at(phase::creating_project);
  create(x);
  db->query_fault = [](const store_job& what) {
    return std::holds_alternative<job<query::list_credentials>>(what)
             ? errc::database_down
             : errc::none;
  };
  answer(call("template"), read_template());
  CAF_CHECK(calls->empty());
  const auto facts = report();
  CAF_CHECK_EQUAL(names_of(facts), "project_ready step_failed");
  CAF_CHECK(!std::get<step_failed>(facts.back()).in_doubt);
  learn(x, facts);
  CAF_CHECK_EQUAL(x.state.instance.project_id, "p");
  CAF_CHECK(!x.state.deployment.intent_at);
}

CAF_TEST(a cancellation waits for a template and knows its project) {
  auto x = at(phase::creating_project);
  const auto deployment = create_and_deploy(x);
  order(cancelled(x));
  CAF_CHECK(calls->empty());
  CAF_CHECK(*deployment->withdrawn);
  answer(deployment, deployed());
  CAF_CHECK(log->commands.empty());
  check_removal_of_known();
}

CAF_TEST(a cancellation while the template is read begins at once) {
  auto x = at(phase::creating_project);
  create(x);
  const auto reading = call("template");
  order(cancelled(x));
  CAF_CHECK(*reading->withdrawn);
  answer(reading, read_template());
  check_removal_of_known();
}

CAF_TEST(a cancellation while credentials are read begins at once) {
  auto x = at(phase::creating_project);
  create(x);
  store().hold = true;
  answer(call("template"), read_template());
  CAF_REQUIRE_EQUAL(store().answers.size(), 1u);
  auto credentials = std::exchange(store().answers, {});
  store().hold = false;
  order(cancelled(x));
  credentials.front()();
  consume_messages();
  check_removal_of_known();
}

CAF_TEST(an order that waited for a template reads the known project) {
  auto x = at(phase::creating_project);
  create(x);
  const auto reading = call("template");
  order(x);
  CAF_CHECK(calls->empty());
  answer(reading, read_template());
  const auto deployment = call("templateDeployV2");
  // By yet another supervisor.
  order(x);
  CAF_CHECK(calls->empty());
  CAF_CHECK(!*deployment->withdrawn);
  answer(deployment, deployed());
  order(x);
  answer(call("workflowStatus"), still_working());
  const auto facts = report();
  CAF_CHECK_EQUAL(names_of(facts), "project_ready template_deployed");
  const auto look = call("project");
  CAF_CHECK_EQUAL(json::serialize(look->variables), R"({"id":"p"})");
  answer(look, empty_project());
  CAF_CHECK(calls->empty());
  // Should that have been lost, this leads to the template as well.
  const auto found = report();
  CAF_CHECK_EQUAL(names_of(found), "project_ready");
  CAF_CHECK(std::get<project_ready>(found.front()).adopted);
  learn(x, found);
  CAF_CHECK(x.state.deployment.intent_at == time.now());
  order(x);
  check_wait_for_template(time.now());
  CAF_CHECK_EQUAL(count<template_deploy_started>(), 1u);
}

CAF_TEST(an order that waited for a template knows what was announced) {
  const auto stale = at(phase::creating_project);
  auto x = stale;
  const auto deployment = create_and_deploy(x);
  // By a supervisor that began anew with what it had read before.
  order(stale);
  answer(deployment, in_doubt());
  CAF_CHECK_EQUAL(names_of(report()),
                  "project_ready template_deploy_started step_failed");
  // Neither of its ways to the project needs to show it yet.
  const auto over = time.now() + lag;
  while (time.now() < over) {
    answer(call("project"), {answer_class::not_found, nullptr, "not found"});
    answer(call("projects"), no_projects());
    CAF_CHECK(calls->empty());
    CAF_CHECK(log->commands.empty());
    pass(3s);
  }
  answer(call("project"), empty_project());
  const auto facts = report();
  CAF_CHECK_EQUAL(names_of(facts), "project_ready");
  CAF_CHECK_EQUAL(std::get<project_ready>(facts.front()).project_id, "p");
}

CAF_TEST(the main switch comes between a creation and its template) {
  auto x = at(phase::creating_project);
  create(x);
  const auto reading = call("template");
  automation(false);
  answer(reading, read_template());
  pass(1ms);
  CAF_CHECK(calls->empty());
  const auto facts = report();
  CAF_CHECK_EQUAL(names_of(facts), "project_ready");
  learn(x, facts);
  CAF_CHECK(x.state.deployment.at == phase::deploying_template);
  CAF_CHECK(!x.state.deployment.retry_at);
  order(x);
  pass(lag);
  CAF_CHECK(calls->empty());
  automation(true);
  pass(250ms);
  // It looks first, as always.
  answer(call("project"), empty_project());
  CAF_CHECK(calls->empty());
  store_announcement<template_deploy_started>(x);
  call("templateDeployV2");
}

CAF_TEST(a creation that the main switch outran is all there is to tell) {
  auto x = at(phase::creating_project);
  order(x);
  store_announcement(x);
  const auto creation = call("projectCreate");
  automation(false);
  answer(creation, created());
  CAF_CHECK(calls->empty());
  CAF_CHECK_EQUAL(names_of(report()), "project_ready");
}

CAF_TEST(a template that the main switch held up has not failed) {
  auto x = at(phase::creating_project);
  const auto deployment = create_and_deploy(x);
  automation(false);
  answer(deployment, {answer_class::not_sent, nullptr, "automation is off"});
  CAF_CHECK(calls->empty());
  const auto facts = report();
  CAF_CHECK_EQUAL(names_of(facts), "project_ready");
  learn(x, facts);
  CAF_CHECK_EQUAL(x.state.instance.project_id, "p");
  CAF_CHECK(!x.state.deployment.intent_at);
  automation(true);
  order(x);
  call("project");
}

CAF_TEST(the template of a project that was found may not show yet) {
  auto x = at(phase::creating_project);
  // Announced by a server that may have gone on to the template.
  x.state.deployment.intent_at = time.now();
  order(x);
  answer(call("projects"), listed_project());
  answer(call("project"), empty_project());
  const auto facts = report();
  CAF_CHECK_EQUAL(names_of(facts), "project_ready");
  learn(x, facts);
  const auto found = time.now();
  CAF_CHECK(x.state.deployment.intent_at == found);
  order(x);
  check_wait_for_template(found);
  answer(call("template"), read_template());
  store_announcement<template_deploy_started>(x);
  call("templateDeployV2");
}

CAF_TEST(a creation that took long does not shorten the wait for its template) {
  auto x = at(phase::creating_project);
  // Another server announced it; its creation took as long as the lag, and then
  // its process ended, the template just sent.
  x.state.deployment.intent_at = time.now() - lag;
  order(x);
  answer(call("projects"), listed_project());
  answer(call("project"), empty_project());
  learn(x, report());
  order(x);
  check_wait_for_template(time.now());
}

CAF_TEST(an attempt that is given up in the middle is halted) {
  auto x = at(phase::creating_project);
  const auto deployment = create_and_deploy(x);
  // The deadline.
  learn(x, {woke{*x.state.deployment.deadline_at, 0}});
  CAF_CHECK(x.state.deployment.at == phase::halting);
  order(x);
  CAF_CHECK(calls->empty());
  answer(deployment, deployed());
  CAF_CHECK(log->commands.empty());
  const auto look = call("environment");
  CAF_CHECK_EQUAL(json::serialize(look->variables), R"({"id":"e"})");
}

CAF_TEST(what nobody has heard of is found to be halted) {
  auto x = at(phase::creating_project);
  x.state.deployment.intent_at = time.now();
  learn(x, {woke{*x.state.deployment.deadline_at, 0}});
  CAF_REQUIRE(x.state.deployment.at == phase::halting);
  order(x);
  // It may be there and not be shown yet.
  const auto over = time.now() + lag;
  while (time.now() < over) {
    answer(call("projects"), no_projects());
    CAF_CHECK(log->commands.empty());
    pass(3s);
  }
  answer(call("projects"), listed_project());
  answer(call("project"), empty_project());
  answer(call("environment"), building());
  answer(call("deploymentCancel"), data(R"({"deploymentCancel":true})"));
  CAF_CHECK(log->commands.empty());
  pass(1s);
  answer(call("environment"), data(R"({"environment":{"id":"e",)"
                                   R"("serviceInstances":{"edges":[]}}})"));
  CAF_CHECK_EQUAL(names_of(report()), "halted");
}

CAF_TEST(an attempt that has made nothing is halted once that is certain) {
  auto x = at(phase::creating_project);
  x.state.deployment.intent_at = time.now();
  learn(x, {woke{*x.state.deployment.deadline_at, 0}});
  order(x);
  const auto over = time.now() + lag;
  while (time.now() < over) {
    answer(call("projects"), no_projects());
    CAF_CHECK(log->commands.empty());
    pass(3s);
  }
  answer(call("projects"), no_projects());
  CAF_CHECK(calls->empty());
  CAF_CHECK_EQUAL(names_of(report()), "halted");
}

CAF_TEST_FIXTURE_SCOPE_END()

#define CAF_SUITE provider.railway

#include "http/provider/railway.hpp"

#include "tests/support/actor_fixture.hpp"

#include <boost/json/parse.hpp>

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
    env->registry = keep(sys.spawn(probe_registry, log));
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
  void store_announcement(record& of) {
    const auto where = std::find_if(
      log->commands.begin(), log->commands.end(), [](const command_ptr& x) {
        return std::holds_alternative<project_create_started>(x->what);
      });
    CAF_REQUIRE(where != log->commands.end());
    const auto what = *where;
    log->commands.erase(where);
    of.state.deployment.intent_at = time.now();
    what->reply->deliver({errc::none, verdict::applied, &of});
    consume_messages();
  }
};

} // namespace

CAF_TEST_FIXTURE_SCOPE(railway_tests, fixture)

CAF_TEST(a first creation is announced and then called) {
  auto x = at(phase::creating_project);
  order(x);
  CAF_CHECK(calls->empty()); // Nothing was ever announced: no look.
  store_announcement(x);
  const auto creation = call("projectCreate");
  answer(creation, data(R"({"projectCreate":{"id":"p","environments":)"
                        R"({"edges":[{"node":{"id":"e","name":"n"}}]}}})"));
  CAF_CHECK_EQUAL(count<project_ready>(), 1u);
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
  answer(creation, {answer_class::in_doubt, nullptr, "no answer"});
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
  answer(creation, {answer_class::in_doubt, nullptr, "no answer"});
  const auto text
    = R"({"projects":{"edges":[{"node":{"id":"p","name":")" + project_name(id)
      + R"(","createdAt":"2025-01-01T00:00:00.000Z","deletedAt":null}}],)"
        R"("pageInfo":{"hasNextPage":false,"endCursor":null}}})";
  answer(call("projects"), data(text.c_str()));
  answer(call("project"),
         data(R"({"project":{"id":"p","deletedAt":null,"environments":)"
              R"({"edges":[{"node":{"id":"e","name":"n"}}]}}})"));
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
  answer(creation, data(R"({"projectCreate":{"id":"p","environments":)"
                        R"({"edges":[{"node":{"id":"e","name":"n"}}]}}})"));
  CAF_REQUIRE_EQUAL(calls->size(), 1u);
  CAF_CHECK_EQUAL(calls->front()->field, "environment");
  CAF_CHECK_EQUAL(count<project_ready>(), 0u);
}

CAF_TEST_FIXTURE_SCOPE_END()

#define CAF_SUITE provider.watcher_rounds

#include "tests/unit/provider/watcher_world.hpp"

#include <set>

using namespace slipway;
using namespace slipway::test;

using lifecycle::instance_health;

namespace {

struct fixture : watcher_fixture {
  fixture() {
    stop();
    options.settings.watch_interval = 10min;
    log->commands.clear();
    start();
  }

  ~fixture() {
    stop();
  }

  /// The nth runs, as far as we know, and its project is there.
  void run(int n, instance_health health = instance_health::healthy,
           const std::string& status = "SUCCESS") {
    auto x = *subject(n);
    x.state.deployment.at
      = lifecycle::is_up(health) ? phase::running : phase::lapsed;
    x.state.instance.health = health;
    db->put(x);
    show(n, status);
    line->world.projects.push_back(name("proj", n));
  }

  void run_many(int from, int to) {
    for (auto n = from; n <= to; ++n)
      run(n);
  }

  /// What is stored of the nth.
  void store_as(int n, instance_health health) {
    auto x = *db->find(id_of(n));
    x.state.deployment.at
      = lifecycle::is_up(health) ? phase::running : phase::lapsed;
    x.state.instance.health = health;
    db->put(x);
  }

  struct told {
    int n = 0;
    instance_observed what;
    command_ptr by;
  };

  /// Taken from the log.
  std::vector<told> take_told() {
    auto out = std::vector<told>{};
    for (const auto& x : log->commands)
      if (const auto* what = std::get_if<instance_observed>(&x->what)) {
        auto who = 1;
        while (who < 1'000 && x->subscription != id_of(who))
          ++who;
        out.push_back({who, *what, x});
      }
    log->commands.clear();
    return out;
  }

  told only_told() {
    auto all = take_told();
    CAF_CHECK_EQUAL(all.size(), 1u);
    return all.front();
  }

  /// A whole round and a little more.
  void pass_round() {
    pass(11min, 250ms);
  }

  void hint_project(int n) {
    hint({name("proj", n), {}, {}, {}});
  }
};

} // namespace

CAF_TEST_FIXTURE_SCOPE(watcher_rounds_tests, fixture)

// -- rounds
// -----------------------------------------------------------------------------

CAF_TEST(everything that runs is looked at within the interval) {
  run_many(1, 130);
  pass(70min, 250ms);
  auto longest = millis{0};
  for (auto n = 1; n <= 130; ++n) {
    const auto times = line->times(name("env", n));
    CAF_REQUIRE(times.size() >= 6);
    CAF_CHECK(times.size() <= 9);
    for (auto i = std::size_t{1}; i < times.size(); ++i)
      longest = std::max(longest, times[i] - times[i - 1]);
  }
  CAF_CHECK(longest <= 10min);
  for (const auto& x : line->log) {
    CAF_CHECK(x.environments.size() <= 25);
    CAF_CHECK(x.steps.empty());
    CAF_CHECK(x.what->how == urgency::upkeep);
  }
  // Six documents a round.
  CAF_CHECK(line->log.size() <= 9 * 6);
  CAF_CHECK(take_told().empty());
}

CAF_TEST(a round is spread and not at once) {
  run_many(1, 200);
  pass(12min, 250ms);
  // The first one is quick, to know what there is.
  auto at = line->log.front().at;
  CAF_CHECK(at - day_one <= 11s);
  line->log.clear();
  pass(10min, 250ms);
  CAF_REQUIRE(line->log.size() >= 8);
  for (auto i = std::size_t{1}; i < 8; ++i)
    CAF_CHECK(line->log[i].at - line->log[i - 1].at >= 9s);
}

CAF_TEST(more than a page is read and what begins to run is found) {
  run_many(1, 450);
  pass_round();
  for (auto n = 1; n <= 450; ++n)
    CAF_CHECK(!line->times(name("env", n)).empty());
  run(451);
  pass_round();
  CAF_CHECK(!line->times("env-451").empty());
}

CAF_TEST(
  two documents are under way at most and a slow budget holds up the pages) {
  run_many(1, 700);
  line->hold = true;
  pass(20min, 250ms);
  CAF_CHECK_EQUAL(line->log.size(), 2u);
  // Two pages at most stand by.
  CAF_CHECK(store().queries < 10);
  line->hold = false;
  line->release();
  line->release();
  pass(20min, 250ms);
  CAF_CHECK(!line->times("env-700").empty());
}

CAF_TEST(a page that cannot be read is asked for again) {
  run(1);
  db->query_fault = [](const store_job&) {
    return errc::database_down;
  };
  pass(1min, 250ms);
  CAF_CHECK(line->log.empty());
  db->query_fault = nullptr;
  pass(10s);
  CAF_CHECK(!line->times("env-1").empty());
}

CAF_TEST(a deployment under way is not looked at twice) {
  run(1);
  order(1, "BUILDING");
  pass(2min);
  for (const auto& x : line->log)
    CAF_CHECK(x.what->how == urgency::watch);
}

// -- what is told
// ----------------------------------------------------------------------------

CAF_TEST(a crash is told once) {
  run(1);
  run(2);
  pass_round();
  show(1, "CRASHED");
  pass_round();
  const auto told = only_told();
  CAF_CHECK_EQUAL(told.n, 1);
  CAF_CHECK_EQUAL(told.what.instance, 1u);
  CAF_CHECK(told.what.is == instance_health::crashed);
  CAF_CHECK_EQUAL(told.what.deployment_id, "dep-1");
  CAF_CHECK_EQUAL(told.what.provider_status, "CRASHED");
  CAF_CHECK_EQUAL(told.what.reason, "service web is CRASHED");
  CAF_CHECK(told.by->control);
  // Once it is stored it is no news, and costs no closer look.
  store_as(1, instance_health::crashed);
  line->log.clear();
  pass_round();
  CAF_CHECK(take_told().empty());
  CAF_CHECK_EQUAL(line->count("deployment"), 0u);
  // A recovery is.
  show(1, "SUCCESS");
  pass_round();
  CAF_CHECK(only_told().what.is == instance_health::healthy);
}

CAF_TEST(replicas and sleep are told apart from a crash) {
  run(1, instance_health::healthy, "CRASHED");
  line->world.replicas["dep-1"] = {"RUNNING", "CRASHED"};
  run(2, instance_health::healthy, "SLEEPING");
  pass_round();
  // Nobody stores it here, so that each round tells it again.
  const auto all = take_told();
  auto whose = std::set<int>{};
  for (const auto& x : all) {
    whose.insert(x.n);
    CAF_CHECK(
      x.what.is
      == (x.n == 1 ? instance_health::degraded : instance_health::sleeping));
  }
  CAF_CHECK(whose == std::set<int>({1, 2}));
}

CAF_TEST(what seems to be gone is looked at twice) {
  run(1, instance_health::healthy, "REMOVED");
  run(2, instance_health::healthy, "SUCCESS");
  show(2, "SUCCESS").stopped = true;
  pass(15s, 50ms);
  // Not yet: its successor may be on its way.
  CAF_CHECK(take_told().empty());
  show(1, "SUCCESS").deployment = "dep-new";
  pass(10s);
  const auto all = take_told();
  CAF_CHECK_EQUAL(all.size(), 2u);
  for (const auto& x : all) {
    CAF_CHECK(
      x.what.is
      == (x.n == 1 ? instance_health::healthy : instance_health::ended));
    CAF_CHECK_EQUAL(x.what.deployment_id, x.n == 1 ? "dep-new" : "dep-2");
  }
  show(1, "REMOVED");
  store_as(2, instance_health::ended);
  auto known = *db->find(id_of(1));
  known.state.deployment.deployment_id = "dep-new";
  db->put(known);
  pass_round();
  CAF_CHECK(only_told().what.is == instance_health::removed);
}

CAF_TEST(a new deployment is told when it serves and not before) {
  run(1, instance_health::healthy, "BUILDING");
  show(1, "BUILDING").deployment = "dep-new";
  pass_round();
  CAF_CHECK(take_told().empty());
  // It comes to nothing, and the one before goes on.
  show(1, "FAILED").active = "dep-1";
  pass_round();
  CAF_CHECK(take_told().empty());
  show(1, "SUCCESS");
  pass_round();
  const auto told = only_told();
  CAF_CHECK(told.what.is == instance_health::healthy);
  CAF_CHECK_EQUAL(told.what.deployment_id, "dep-new");
}

// -- hints
// -----------------------------------------------------------------------------

CAF_TEST(a hint makes us look at what runs at once) {
  run_many(1, 3);
  pass(1min);
  line->log.clear();
  show(2, "CRASHED");
  hint({"proj-2", "env-2", "svc-2", "dep-2"});
  pass(1s);
  CAF_REQUIRE(!line->log.empty());
  CAF_CHECK(line->log.front().environments
            == std::vector<std::string>{"env-2"});
  CAF_CHECK(line->log.front().what->how == urgency::watch);
  CAF_CHECK(only_told().what.is == instance_health::crashed);
  // It is gone from memory, and comes back with the next hint.
  store_as(2, instance_health::crashed);
  show(2, "SUCCESS");
  hint_project(2);
  pass(1s);
  CAF_CHECK(only_told().what.is == instance_health::healthy);
}

CAF_TEST(a hint about one of a round brings it forward) {
  run_many(1, 130);
  pass(12min, 250ms);
  line->log.clear();
  // In the middle of the second round.
  pass(15s);
  const auto before = line->times("env-130").size();
  hint({{}, "env-130", {}, {}});
  hint_project(130);
  pass(1s);
  CAF_CHECK(line->times("env-130").size() > before);
}

CAF_TEST(hints about nothing of ours cost next to nothing) {
  run(1);
  pass(1min);
  line->log.clear();
  const auto queries = store().queries;
  hint({"proj-x", "env-x", {}, {}});
  hint({{}, "env-x", {}, {}});
  hint({});
  pass(2s);
  CAF_CHECK(line->log.empty());
  CAF_CHECK_EQUAL(store().queries, queries + 1);
}

CAF_TEST(a flood of hints is a trickle of looks) {
  run(1);
  pass(1min);
  line->log.clear();
  const auto queries = store().queries;
  for (auto i = 0; i < 500; ++i) {
    hint_project(1);
    pass(20ms, 20ms);
  }
  CAF_CHECK(line->log.size() <= 11);
  CAF_CHECK(line->log.size() >= 8);
  CAF_CHECK(store().queries - queries <= 11);
  // As many projects as anybody may name: bounded, and the next round is there.
  for (auto i = 0; i < 5'000; ++i)
    hint({"proj-x" + std::to_string(i), {}, {}, {}});
  pass(5s);
  CAF_CHECK(store().queries - queries <= 1'020);
  pass(5s);
  hint_project(1);
  line->log.clear();
  pass(2s);
  CAF_CHECK_EQUAL(line->log.size(), 1u);
}

CAF_TEST(a hint during a look makes for another one of what is stored then) {
  run(1);
  pass(1min);
  line->log.clear();
  line->hold = true;
  hint_project(1);
  pass(1s);
  CAF_REQUIRE_EQUAL(line->waiting.size(), 1u);
  hint_project(1);
  pass(2s);
  line->release();
  line->hold = false;
  show(1, "CRASHED");
  pass(3s);
  CAF_CHECK(only_told().what.is == instance_health::crashed);
}

// -- what is missing
// ---------------------------------------------------------------------

CAF_TEST(a project that no list holds is missing) {
  run_many(1, 60);
  line->world.page = 20;
  line->world.broken.insert("env-7");
  std::erase(line->world.projects, "proj-7");
  pass(2min, 250ms);
  // Nobody stores it here, so that the second round tells it again.
  const auto all = take_told();
  CAF_REQUIRE(!all.empty() && all.size() <= 2);
  const auto& told = all.front();
  CAF_CHECK_EQUAL(told.n, 7);
  CAF_CHECK(told.what.is == instance_health::missing);
  CAF_CHECK(!told.what.reason.empty());
  CAF_CHECK_EQUAL(told.what.deployment_id, "");
  CAF_REQUIRE_EQUAL(told.by->calls.size(), 1u);
  CAF_CHECK_EQUAL(told.by->calls.front().outcome, "auth");
  // The others of its document were looked at all the same.
  CAF_CHECK_EQUAL(line->count("projects"), 3 * all.size());
  for (auto n = 1; n <= 25; ++n)
    CAF_CHECK(!line->times(name("env", n)).empty());
}

CAF_TEST(a project that the list holds is not missing) {
  run_many(1, 2);
  line->world.broken.insert("env-1");
  pass_round();
  CAF_CHECK(line->count("projects") > 0);
  CAF_CHECK(take_told().empty());
}

CAF_TEST(a token that is no good any more looks like nothing) {
  run_many(1, 60);
  line->world.revoked = true;
  pass(1h, 250ms);
  CAF_CHECK(take_told().empty());
  CAF_CHECK(line->count("projects") > 0);
  CAF_CHECK(line->log.size() < 100);
  line->world.revoked = false;
  show(3, "CRASHED");
  pass(12min, 250ms);
  CAF_CHECK_EQUAL(only_told().n, 3);
}

CAF_TEST(a token that sees others projects looks like nothing) {
  run_many(1, 10);
  for (auto n = 1; n <= 10; ++n)
    line->world.broken.insert(name("env", n));
  line->world.projects = {"p-1", "p-2"};
  line->world.projects_are_others = true;
  pass_round();
  CAF_CHECK(line->count("projects") > 0);
  CAF_CHECK(take_told().empty());
  // One or two may well be all that we had.
  for (auto n = 3; n <= 10; ++n)
    db->rows.erase(raw(id_of(n)));
  pass_round();
  CAF_CHECK_EQUAL(take_told().size(), 2u);
}

CAF_TEST(a list that was not read to its end proves nothing) {
  run(1);
  line->world.broken.insert("env-1");
  line->world.projects.clear();
  for (auto i = 0; i < 50; ++i)
    line->world.projects.push_back("p-" + std::to_string(i));
  line->world.page = 20;
  auto pages = 0;
  line->says = [&pages](const provider::call& x) {
    return x.field == "projects" && ++pages > 2
             ? std::optional{opaque()}
             : std::optional<client::http_outcome>{};
  };
  pass_round();
  CAF_CHECK(pages > 2);
  CAF_CHECK(take_told().empty());
}

CAF_TEST(an instance that cannot be read for other reasons is left for the next round) {
  run(1);
  line->says = [](const provider::call&) {
    return std::optional{opaque()};
  };
  pass(9min, 250ms);
  CAF_MESSAGE(line->log.size() << " calls");
  CAF_CHECK(line->log.size() <= 6);
  CAF_CHECK_EQUAL(line->count("projects"), 0u);
  line->says = nullptr;
  show(1, "CRASHED");
  pass_round();
  const auto all = take_told();
  CAF_REQUIRE(!all.empty());
  for (const auto& x : all)
    CAF_CHECK(x.what.is == instance_health::crashed);
}

CAF_TEST(what is taken away is not looked at any more) {
  run(1);
  line->hold = true;
  pass(11s);
  CAF_REQUIRE_EQUAL(line->log.size(), 1u);
  const auto over = line->log.front().what->withdrawn;
  drop(1);
  CAF_CHECK(*over);
  show(1, "CRASHED");
  line->release();
  pass(1min);
  CAF_CHECK(take_told().empty());
}

CAF_TEST_FIXTURE_SCOPE_END()

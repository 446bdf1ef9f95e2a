#define CAF_SUITE actors.guardian

#include "actors/guardian.hpp"

#include "tests/support/actor_fixture.hpp"

using namespace slipway;
using namespace slipway::test;

using namespace std::chrono_literals;

// Goal: what goes down comes back by itself and with pauses, takes its group
// along when it cannot be kept alive, and ends the server when that does not
// help; and everything is counted and shown.

namespace {

/// A part that can be made to fail.
struct part_state {
  static inline const char* name = "part";
};

store_actor::behavior_type
part(store_actor::stateful_pointer<part_state> self, bool fails_at_once) {
  under_supervision(self);
  if (fails_at_once)
    throw std::runtime_error{"cannot begin"};
  return {
    [](store_job_ptr&) {
      throw std::runtime_error{"thrown"};
    },
    [](const tick&) {
      // nop
    },
  };
}

struct fixture : actor_fixture {
  guardian_actor aut;
  std::vector<std::string> started;
  std::vector<std::string> told;
  std::map<std::string, actor_slot<store_actor>> slots;
  std::map<std::string, bool> broken;
  std::vector<std::string> given_up;

  fixture() {
    start({{"first", {"a", "b"}}, {"second", {"c"}}});
  }

  ~fixture() {
    caf::anon_send_exit(aut, caf::exit_reason::kill);
    for (auto& [id, x] : slots)
      if (x)
        caf::anon_send_exit(x(), caf::exit_reason::kill);
    consume_messages();
    aut = nullptr;
  }

  child_spec make(const std::string& id) {
    auto out = child_spec{};
    out.id = id;
    out.kind = "part";
    out.start = [this, id](bool again) {
      started.push_back(id + (again ? " again" : ""));
      slots[id] = sys.spawn(part, broken[id]);
      return caf::actor_cast<caf::actor>(slots[id]());
    };
    out.restarted = [this, id] {
      told.push_back(id);
    };
    return out;
  }

  void start(
    const std::vector<std::pair<std::string, std::vector<std::string>>>& what) {
    auto options = guardian_options{};
    for (const auto& [id, children] : what) {
      auto group = group_spec{id, {}};
      for (const auto& child : children)
        group.children.push_back(make(child));
      options.groups.push_back(std::move(group));
    }
    options.give_up = [this](const std::string& why) {
      given_up.push_back(why);
    };
    aut = sys.spawn(guardian, environment_ptr{env}, std::move(options));
    consume_messages();
  }

  void kill(const std::string& id) {
    caf::anon_send_exit(slots[id](), caf::exit_reason::kill);
    consume_messages();
  }

  void make_throw(const std::string& id) {
    caf::anon_send(slots[id](),
                   make_job(query::ping{}, [](job<query::ping>::reply) {}));
    consume_messages();
  }

  std::map<std::string, actor_view> tree() {
    auto out = std::map<std::string, actor_view>{};
    auto what = std::make_shared<tree_query>();
    what->done = {[&out](const std::vector<actor_view>& rows) {
                    for (const auto& row : rows)
                      out[row.id] = row;
                  },
                  {}};
    caf::anon_send(aut, std::move(what));
    consume_messages();
    return out;
  }

  std::size_t count(const std::string& what) const {
    return static_cast<std::size_t>(
      std::count(started.begin(), started.end(), what));
  }

  bool shows(const std::string& line) const {
    return meters.expose().find(line) != std::string::npos;
  }
};

} // namespace

CAF_TEST_FIXTURE_SCOPE(guardian_tests, fixture)

CAF_TEST(children start in order and the tree names them) {
  CAF_CHECK((started == std::vector<std::string>{"a", "b", "c"}));
  const auto all = tree();
  CAF_REQUIRE_EQUAL(all.size(), 6u);
  CAF_CHECK_EQUAL(all.at("slipway").parent, "");
  CAF_CHECK_EQUAL(all.at("first").parent, "slipway");
  CAF_CHECK_EQUAL(all.at("b").parent, "first");
  CAF_CHECK_EQUAL(all.at("c").parent, "second");
  CAF_CHECK_EQUAL(all.at("c").kind, "part");
  for (const auto& [id, x] : all) {
    CAF_CHECK_EQUAL(x.state, "running");
    CAF_CHECK_EQUAL(x.restarts, 0u);
    CAF_CHECK(x.last_failure.empty());
  }
}

CAF_TEST(a child that is killed comes back alone) {
  const auto other = slots["b"]();
  kill("a");
  CAF_CHECK(tree().at("a").state == "restarting");
  pass(50ms, 5ms);
  CAF_CHECK((started == std::vector<std::string>{"a", "b", "c", "a again"}));
  CAF_CHECK((told == std::vector<std::string>{"a"}));
  CAF_CHECK(slots["b"]() == other);
  const auto x = tree().at("a");
  CAF_CHECK_EQUAL(x.state, "running");
  CAF_CHECK_EQUAL(x.restarts, 1u);
  CAF_CHECK_EQUAL(x.last_failure, "killed");
  CAF_CHECK(x.failed_at.has_value());
  CAF_CHECK_EQUAL(tree().at("b").restarts, 0u);
  CAF_CHECK(shows("slipway_actor_restarts_total{kind=\"part\","
                  "reason=\"killed\"} 1"));
}

CAF_TEST(an exception is an end that says what was thrown) {
  make_throw("c");
  pass(50ms, 5ms);
  const auto x = tree().at("c");
  CAF_CHECK_EQUAL(x.last_failure, "exception: thrown");
  CAF_CHECK_EQUAL(x.state, "running");
  CAF_CHECK(shows("reason=\"exception\"} 1"));
}

CAF_TEST(what waits in the mailbox of one that dies is answered) {
  auto answers = std::vector<errc>{};
  const auto ask = [&] {
    caf::anon_send(slots["c"](),
                   make_job(query::ping{}, [&](job<query::ping>::reply x) {
                     answers.push_back(x ? errc::none : x.error());
                   }));
  };
  ask();
  ask();
  consume_messages();
  // And what is sent to a dead one.
  ask();
  consume_messages();
  CAF_CHECK((answers
             == std::vector<errc>{errc::unavailable, errc::unavailable,
                                  errc::unavailable}));
}

CAF_TEST(pauses grow with each failure and shrink with time) {
  // Half of the pause at least, all of it at most.
  auto pause = 50ms;
  for (auto i = 0; i < 4; ++i) {
    const auto before = started.size();
    kill("a");
    pass(pause / 2 - 1ms, 1ms);
    CAF_CHECK_EQUAL(started.size(), before);
    pass(pause / 2 + 2ms, 1ms);
    CAF_CHECK_EQUAL(started.size(), before + 1);
    pause *= 2;
  }
  pass(61s, 1s);
  const auto before = started.size();
  kill("a");
  pass(51ms, 1ms);
  CAF_CHECK_EQUAL(started.size(), before + 1);
  CAF_CHECK(given_up.empty());
}

CAF_TEST(one that cannot be kept alive takes its group down and only that) {
  const auto neighbour = slots["b"]();
  const auto other = slots["c"]();
  for (auto i = 0; i < 6; ++i) {
    kill("a");
    pass(4s, 50ms);
  }
  // Five restarts by itself, the sixth together with its neighbour.
  CAF_CHECK_EQUAL(count("a again"), 6u);
  CAF_CHECK_EQUAL(count("b again"), 1u);
  CAF_CHECK_EQUAL(count("c again"), 0u);
  CAF_CHECK(slots["b"]() != neighbour);
  CAF_CHECK(slots["c"]() == other);
  CAF_CHECK_EQUAL(tree().at("first").restarts, 1u);
  CAF_CHECK_EQUAL(tree().at("second").restarts, 0u);
  CAF_CHECK(tree().at("b").state == "running");
  CAF_CHECK(shows("reason=\"group\"} 1"));
  CAF_CHECK(given_up.empty());
}

CAF_TEST(failures that do not stop end the server once) {
  broken["a"] = true;
  kill("a");
  pass(200s, 100ms);
  CAF_REQUIRE_EQUAL(given_up.size(), 1u);
  CAF_CHECK(given_up[0].find("cannot begin") != std::string::npos);
  const auto before = started.size();
  pass(60s, 1s);
  CAF_CHECK_EQUAL(started.size(), before);
}

CAF_TEST(one that heals in time is kept) {
  broken["a"] = true;
  kill("a");
  pass(2s, 50ms);
  broken["a"] = false;
  pass(10s, 50ms);
  CAF_CHECK(tree().at("a").state == "running");
  CAF_CHECK(given_up.empty());
}

CAF_TEST(a stop starts nothing any more) {
  caf::anon_send(aut, stop_order{});
  consume_messages();
  kill("a");
  kill("c");
  pass(30s, 1s);
  CAF_CHECK_EQUAL(started.size(), 3u);
  CAF_CHECK(given_up.empty());
}

CAF_TEST(a child can be killed by its name) {
  auto answers = std::vector<errc>{};
  const auto order = [&](const std::string& id) {
    auto what = std::make_shared<kill_order>();
    what->id = id;
    what->done = {[&](errc x) {
                    answers.push_back(x);
                  },
                  errc::unavailable};
    caf::anon_send(aut, std::move(what));
    consume_messages();
  };
  order("b");
  order("nobody");
  pass(60ms, 5ms);
  CAF_CHECK((answers == std::vector<errc>{errc::none, errc::not_found}));
  CAF_CHECK_EQUAL(count("b again"), 1u);
}

CAF_TEST(who gives no sign of life is shown as silent) {
  CAF_CHECK(tree().at("c").state == "running");
  auto rows = std::map<std::string, actor_view>{};
  auto what = std::make_shared<tree_query>();
  what->done = {[&rows](const std::vector<actor_view>& all) {
                  for (const auto& row : all)
                    rows[row.id] = row;
                },
                {}};
  // Time goes on, and nobody gets to run but the guardian.
  for (auto i = 0; i < 12; ++i) {
    sched.clock().advance_time(1s);
    while (sched.prioritize(aut))
      sched.run_once();
  }
  caf::anon_send(aut, std::move(what));
  while (sched.prioritize(aut))
    sched.run_once();
  CAF_REQUIRE(!rows.empty());
  CAF_CHECK_EQUAL(rows.at("c").state, "silent");
  consume_messages();
  pass(1s, 100ms);
  CAF_CHECK(tree().at("c").state == "running");
}

CAF_TEST_FIXTURE_SCOPE_END()

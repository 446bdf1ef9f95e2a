#define CAF_SUITE actors.pruner

#include "actors/pruner.hpp"

#include "tests/support/actor_fixture.hpp"

using namespace slipway;
using namespace slipway::test;

namespace {

using query::prunable;

struct fixture : actor_fixture {
  pruner_options options;
  std::vector<query::prune> steps;

  fixture() {
    options.keep
      = {{prunable::callbacks, 400 * 24h}, {prunable::mails, 90 * 24h}};
    db->pruning = [this](const query::prune& what) {
      steps.push_back(what);
      // Callbacks need three steps, mails one.
      auto out = query::prune::found{};
      if (what.what == prunable::callbacks) {
        out.removed = 2;
        out.next = what.after < 20 ? what.after + 10 : 0;
      }
      return out;
    };
  }

  void start() {
    keep(sys.spawn(pruner, environment_ptr{env}, options));
    consume_messages();
  }
};

} // namespace

CAF_TEST_FIXTURE_SCOPE(pruner_tests, fixture)

CAF_TEST(one table after the other is walked in small steps) {
  start();
  pass(59s, 1s);
  CAF_CHECK(steps.empty());
  pass(1s);
  CAF_REQUIRE_EQUAL(steps.size(), 1u);
  CAF_CHECK(steps[0].what == prunable::callbacks);
  CAF_CHECK_EQUAL(steps[0].after, 0);
  CAF_CHECK_EQUAL(steps[0].limit, options.rows);
  CAF_CHECK(steps[0].before == time.now() - 400 * 24h);
  pass(5s);
  CAF_REQUIRE_EQUAL(steps.size(), 4u);
  CAF_CHECK_EQUAL(steps[1].after, 10);
  CAF_CHECK_EQUAL(steps[2].after, 20);
  CAF_CHECK(steps[3].what == prunable::mails);
  CAF_CHECK_EQUAL(steps[3].after, 0);
  CAF_CHECK(
    meters.expose().find("slipway_pruned_rows_total{table=\"callbacks\"}"
                         " 6")
    != std::string::npos);
  pass(50min, 1s);
  CAF_CHECK_EQUAL(steps.size(), 4u);
  pass(11min, 1s);
  CAF_CHECK_EQUAL(steps.size(), 8u);
}

CAF_TEST(what is kept for ever is not asked about) {
  options.keep.clear();
  start();
  pass(2h, 1min);
  CAF_CHECK(steps.empty());
}

CAF_TEST(a step that fails ends its table for this round) {
  db->query_fault = [this](const store_job& what) {
    const auto* step = std::get_if<job<query::prune>>(&what);
    return step != nullptr && step->what.what == prunable::callbacks
             ? errc::database_down
             : errc::none;
  };
  start();
  pass(2min, 1s);
  CAF_REQUIRE_EQUAL(steps.size(), 1u);
  CAF_CHECK(steps[0].what == prunable::mails);
  db->query_fault = nullptr;
  pass(61min, 1s);
  CAF_CHECK_EQUAL(steps.size(), 5u);
}

CAF_TEST(nothing leaves while automation is off) {
  automation(false);
  start();
  pass(3h, 1min);
  CAF_CHECK(steps.empty());
  automation(true);
  pass(2min, 1s);
  CAF_CHECK_EQUAL(steps.size(), 4u);
}

CAF_TEST_FIXTURE_SCOPE_END()

#define CAF_SUITE actors.automation

#include "actors/automation.hpp"

#include "actors/observer.hpp"
#include "tests/support/actor_fixture.hpp"

#include <string>

using namespace slipway;
using namespace slipway::lifecycle;
using namespace slipway::test;

namespace {

automation_state put(bool enabled, std::uint64_t change, millis since) {
  auto out = automation_state{};
  out.enabled = enabled;
  out.change = change;
  out.since = day_one + since;
  return out;
}

} // namespace

CAF_TEST(it is on until it learns otherwise) {
  auto it = automation{};
  CAF_CHECK(it.enabled());
  CAF_CHECK(it.since() == timestamp{});
  CAF_CHECK(it.restored_at() == timestamp{});
  CAF_CHECK(!it.learn(put(true, 1, 1s)));
  CAF_CHECK(it.since() == day_one + 1s);
}

CAF_TEST(what was read before a change does not undo it) {
  auto it = automation{};
  CAF_CHECK(it.learn(put(false, 5, 5s)));
  CAF_CHECK(!it.learn(put(true, 4, 4s)));
  CAF_CHECK(!it.enabled());
  CAF_CHECK(it.since() == day_one + 5s);
  CAF_CHECK(!it.learn(put(false, 5, 5s)));
  CAF_CHECK(it.learn(put(true, 6, 6s)));
  CAF_CHECK(it.enabled());
}

CAF_TEST(when the database was restored is remembered) {
  auto it = automation{};
  auto restored = put(false, 1, 1s);
  restored.restored_at = day_one;
  it.learn(restored);
  restored.enabled = true;
  ++restored.change;
  it.learn(restored);
  CAF_CHECK(it.restored_at() == day_one);
}

CAF_TEST_FIXTURE_SCOPE(observer_tests, actor_fixture)

CAF_TEST(what another server has switched is learnt within a second) {
  const auto aut = keep(sys.spawn(observer, environment_ptr{env}));
  self->send(aut, tick{});
  consume_messages();
  CAF_CHECK(env->may_act());
  CAF_CHECK(meters.expose().find("\nslipway_automation_enabled 1")
            != std::string::npos);
  db->automation = put(false, 7, 0s);
  pass(1s);
  CAF_CHECK(!env->may_act());
  CAF_CHECK(meters.expose().find("\nslipway_automation_enabled 0")
            != std::string::npos);
  // Without a database it stays as it is.
  db->query_fault = [](const store_job&) {
    return errc::database_down;
  };
  db->automation = put(true, 8, 0s);
  pass(3s);
  CAF_CHECK(!env->may_act());
  db->query_fault = nullptr;
  pass(1s);
  CAF_CHECK(env->may_act());
}

CAF_TEST(subscriptions are counted a page at a time) {
  const auto shown = [&](const char* status) {
    const auto text = meters.expose();
    const auto name
      = std::string{"\nslipway_subscriptions{state=\""} + status + "\"} ";
    const auto where = text.find(name);
    return where == std::string::npos
             ? -1
             : std::stoi(text.substr(where + name.size()));
  };
  auto pages = 0;
  const auto add = [&](std::uint64_t id, phase at) {
    db->rows[id].value = make_record(subscription_id{id}, at);
  };
  for (auto id = std::uint64_t{1}; id <= 5; ++id)
    add(id, phase::running);
  db->query_fault = [&](const store_job& what) {
    const auto* x = std::get_if<job<query::count_page>>(&what);
    if (x == nullptr)
      return errc::none;
    CAF_CHECK_EQUAL(x->what.limit, 2u);
    // Nothing is shown before the last one, and a page that fails is read
    // again.
    CAF_CHECK_EQUAL(shown("ACTIVE"), -1);
    return ++pages == 2 ? errc::database_down : errc::none;
  };
  const auto counter = keep(sys.spawn(observer, environment_ptr{env}));
  using impl = observer_actor::stateful_base<observer_state>;
  deref<impl>(counter).state.stats_page = 2;
  self->send(counter, tick{});
  pass(1s);
  CAF_CHECK_EQUAL(pages, 2);
  pass(20s);
  CAF_CHECK_EQUAL(pages, 4);
  CAF_CHECK_EQUAL(shown("ACTIVE"), 5);
  // The next count begins anew.
  db->query_fault = nullptr;
  add(6, phase::running);
  pass(20s);
  CAF_CHECK_EQUAL(shown("ACTIVE"), 6);
}

CAF_TEST_FIXTURE_SCOPE_END()

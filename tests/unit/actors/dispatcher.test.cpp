#define CAF_SUITE actors.dispatcher

#include "actors/dispatcher.hpp"

#include "tests/support/actor_fixture.hpp"

using namespace slipway;
using namespace slipway::test;

namespace {

struct fixture : actor_fixture {
  dispatcher_actor aut;

  fixture() {
    env->max_concurrent = 3;
    env->registry = keep(spawn_probe_registry(sys, log));
    aut = keep(sys.spawn(dispatcher, environment_ptr{env}));
    env->dispatcher = aut;
    consume_messages();
  }

  void queue(std::uint64_t id, millis after) {
    auto row = make_record(subscription_id{id}, phase::queued);
    // The rank decides, not since when it waits.
    row.state.deployment.queue_rank = day_one + after;
    row.state.deployment.queued_at = day_one - after;
    db->put(std::move(row));
  }

  void set(std::uint64_t id, phase at) {
    db->rows[id].value.state.deployment.at = at;
  }

  void want(std::uint64_t id) {
    self->send(aut, slot_wanted{subscription_id{id}});
    consume_messages();
  }

  /// The granted ones since the last call, in their order.
  std::vector<std::uint64_t> granted() {
    auto out = std::vector<std::uint64_t>{};
    for (auto& x : log->commands) {
      CAF_CHECK(std::holds_alternative<slot_granted>(x->what));
      out.push_back(raw(x->subscription));
      grants.push_back(std::move(x));
    }
    log->commands.clear();
    return out;
  }

  void answer(std::uint64_t id, errc error, verdict is, bool take) {
    if (take)
      set(id, phase::creating_project);
    for (auto& x : grants)
      if (x && raw(x->subscription) == id) {
        x->reply->deliver({error, is, nullptr});
        x = nullptr;
        break;
      }
    consume_messages();
  }

  void take(std::uint64_t id) {
    answer(id, errc::none, verdict::applied, true);
  }

  std::vector<command_ptr> grants;
};

using ids = std::vector<std::uint64_t>;

} // namespace

CAF_TEST_FIXTURE_SCOPE(dispatcher_tests, fixture)

CAF_TEST(slots go to the first in line and never beyond the limit) {
  for (auto i = 1u; i <= 6; ++i)
    queue(i, millis{1'000 - i}); // The last one has waited longest.
  want(1);
  CAF_CHECK(granted() == (ids{6, 5, 4}));
  // Grants under way count: nobody else gets one.
  want(2);
  want(3);
  pass(3s);
  CAF_CHECK(granted().empty());
  for (auto i : {6u, 5u, 4u})
    take(i);
  self->send(aut, tick{});
  consume_messages();
  pass(3s);
  CAF_CHECK(granted().empty());
}

CAF_TEST(a freed slot goes on at once) {
  for (auto i = 1u; i <= 4; ++i)
    queue(i, millis{i});
  want(1);
  for (auto i : granted())
    take(i);
  CAF_CHECK(granted().empty());
  set(2, phase::running);
  self->send(aut, slot_released{subscription_id{2}});
  consume_messages();
  // No time has passed.
  CAF_CHECK(granted() == ids{4});
}

CAF_TEST(who is known has nothing read anew) {
  for (auto i = 1u; i <= 6; ++i)
    queue(i, millis{i});
  want(1);
  CAF_CHECK(granted() == (ids{1, 2, 3}));
  take(1);
  take(2);
  auto readings = 0;
  db->query_fault = [&readings](const store_job& what) {
    readings += std::holds_alternative<job<query::slots>>(what) ? 1 : 0;
    return errc::none;
  };
  // At work, about to be, and in line: all of them have come back to memory.
  for (auto i : {1u, 3u, 5u})
    want(i);
  set(1, phase::running);
  self->send(aut, slot_released{subscription_id{1}});
  consume_messages();
  CAF_CHECK(granted() == ids{4});
  CAF_CHECK_EQUAL(readings, 0);
}

CAF_TEST(nobody gets a slot while automation is off) {
  automation(false);
  queue(1, 1ms);
  want(1);
  pass(5s);
  CAF_CHECK(granted().empty());
  self->send(aut, tick{});
  consume_messages();
  automation(true);
  // Nobody has to ask again.
  pass(1s);
  CAF_CHECK(granted() == ids{1});
}

CAF_TEST(a refused grant is not counted) {
  queue(1, 1ms);
  queue(2, 2ms);
  queue(3, 3ms);
  queue(4, 4ms);
  want(1);
  CAF_CHECK(granted() == (ids{1, 2, 3}));
  // Cancelled before the grant reached it.
  set(1, phase::stopped);
  answer(1, errc::none, verdict::stale, false);
  answer(2, errc::unavailable, verdict::stale, false);
  take(3);
  self->send(aut, tick{});
  consume_messages();
  CAF_CHECK(granted() == (ids{2, 4}));
}

CAF_TEST(a dropped grant is made again) {
  queue(1, 1ms);
  want(1);
  CAF_CHECK(granted() == ids{1});
  grants.clear(); // The supervisor died with it.
  consume_messages();
  self->send(aut, tick{});
  consume_messages();
  CAF_CHECK(granted() == ids{1});
}

CAF_TEST(an error of the store passes) {
  queue(1, 1ms);
  db->query_fault = [](const store_job&) {
    return errc::database_down;
  };
  self->send(aut, tick{});
  consume_messages();
  pass(5s);
  CAF_CHECK(granted().empty());
  db->query_fault = nullptr;
  pass(env->limits.slot_scan);
  CAF_CHECK(granted() == ids{1});
}

CAF_TEST(slots that the database knows of are counted after a restart) {
  for (auto i = 1u; i <= 5; ++i)
    queue(i, millis{i});
  set(4, phase::deploying);
  set(5, phase::cancelling);
  want(1);
  CAF_CHECK(granted() == ids{1});
}

CAF_TEST(what is halted holds its slot and what is terminated needs none) {
  for (auto i = 1u; i <= 6; ++i)
    queue(i, millis{i});
  set(4, phase::halting);
  set(5, phase::terminating);
  set(6, phase::lapsed);
  want(1);
  // Three slots, one of them halted.
  CAF_CHECK(granted() == (ids{1, 2}));
  for (auto i : {1u, 2u})
    take(i);
  // A removal ends: it had no slot to give.
  set(5, phase::stopped);
  self->send(aut, slot_released{subscription_id{5}});
  consume_messages();
  CAF_CHECK(granted().empty());
  // The halt ends: now there is one.
  set(4, phase::backing_off);
  self->send(aut, slot_released{subscription_id{4}});
  consume_messages();
  CAF_CHECK(granted() == ids{3});
}

CAF_TEST(one with an earlier rank overtakes those who wait longer) {
  for (auto i = 1u; i <= 4; ++i)
    queue(i, millis{10 * i});
  want(1);
  for (auto i : granted())
    take(i);
  queue(5, 35ms);
  want(5);
  CAF_CHECK(granted().empty());
  set(1, phase::running);
  self->send(aut, slot_released{subscription_id{1}});
  consume_messages();
  CAF_CHECK(granted() == ids{5});
  const auto position = [this](std::uint64_t id) {
    return db->run(query::find_record{subscription_id{id}})->queue_position;
  };
  CAF_CHECK_EQUAL(position(5), 1);
  CAF_CHECK_EQUAL(position(4), 2);
  CAF_CHECK_EQUAL(position(1), 0);
}

CAF_TEST(wishes during a reading are read afterwards) {
  store().hold = true;
  want(1);
  queue(1, 1ms);
  want(1);
  want(1);
  CAF_CHECK_EQUAL(store().queries, 1u);
  store().release();
  consume_messages();
  CAF_CHECK_EQUAL(store().queries, 2u);
  store().release();
  consume_messages();
  CAF_CHECK(granted() == ids{1});
}

CAF_TEST(a reading that is out of date grants no slot twice) {
  env->max_concurrent = 1;
  queue(2, 2ms);
  want(2);
  CAF_CHECK(granted() == ids{2});
  // One that has waited longer comes back from its backoff, and is read
  // while the first one is not yet at work…
  queue(1, 1ms);
  store().hold = true;
  want(1);
  // …but that is so by the time the reading arrives.
  take(2);
  store().hold = false;
  store().release();
  consume_messages();
  CAF_CHECK(granted().empty());
}

CAF_TEST_FIXTURE_SCOPE_END()

#define CAF_SUITE actors.registry

#include "actors/registry.hpp"

#include "tests/support/actor_fixture.hpp"

#include <tuple>

using namespace slipway;
using namespace slipway::test;

namespace {

constexpr auto id = subscription_id{77};

struct fixture : actor_fixture {
  registry_actor aut;
  std::shared_ptr<std::atomic<bool>> recovered
    = std::make_shared<std::atomic<bool>>(false);

  fixture() {
    env->dispatcher = keep(spawn_probe_dispatcher(sys, log));
    env->provider = keep(spawn_probe_provider(sys, log));
    env->notifier = keep(spawn_probe_notifier(sys, log));
    aut = sys.spawn(registry, environment_ptr{env}, recovered, false);
    env->registry = aut;
  }

  ~fixture() {
    for (auto& [key, x] : state().entries)
      if (x.handle)
        caf::anon_send_exit(x.handle, caf::exit_reason::kill);
    caf::anon_send_exit(aut, caf::exit_reason::kill);
    consume_messages();
    aut = nullptr;
    // The handle back to the registry would keep it alive for ever.
    env->registry = nullptr;
  }

  registry_state& state() {
    using impl = registry_actor::stateful_base<registry_state>;
    return deref<impl>(aut).state;
  }

  bool is_live(subscription_id who = id) {
    const auto where = state().entries.find(raw(who));
    return where != state().entries.end()
           && where->second.is == registry_state::presence::live;
  }

  told_ptr send(event what, subscription_id who = id) {
    auto to = std::make_shared<told>();
    self->send(aut, make_command(who, std::move(what), to));
    return to;
  }

  told_ptr ask(subscription_id who = id) {
    return send(retry_requested{time.now(), actor_kind::user}, who);
  }

  void start() {
    self->send(aut, tick{});
    consume_messages();
  }
};

} // namespace

CAF_TEST_FIXTURE_SCOPE(registry_tests, fixture)

CAF_TEST(a subscription is loaded once and commands keep their order) {
  db->put(make_record(id, phase::stopped));
  store().hold = true;
  const auto first = send(retry_requested{time.now(), actor_kind::user});
  const auto second = send(cancel_requested{time.now(), actor_kind::user});
  const auto third = send(retry_requested{time.now(), actor_kind::user});
  consume_messages();
  CAF_CHECK_EQUAL(store().queries, 1u);
  CAF_CHECK_EQUAL(first->times, 0);
  store().hold = false;
  store().release();
  consume_messages();
  CAF_CHECK(first->is == verdict::applied);
  CAF_CHECK(second->is == verdict::applied);
  CAF_CHECK(third->is == verdict::applied);
  CAF_CHECK_EQUAL(third->now->state.deployment.attempt, 3u);
  CAF_CHECK(is_live());
  CAF_CHECK_EQUAL(store().queries, 1u);
}

CAF_TEST(a creation needs no row) {
  auto to = std::make_shared<told>();
  auto cmd = make_command(id, subscription_created{time.now(), price, 30}, to);
  auto made = std::make_shared<creation>();
  made->user_id = "user-1";
  made->plan = "PRO";
  made->currency = "CNY";
  made->credentials.push_back({"TELEGRAM", "k", "n", "c"});
  cmd->create = made;
  self->send(aut, std::move(cmd));
  consume_messages();
  CAF_CHECK(to->is == verdict::applied);
  CAF_CHECK_EQUAL(store().queries, 0u);
  CAF_REQUIRE(db->find(id) != nullptr);
  CAF_CHECK_EQUAL(db->find(id)->user_id, "user-1");
  CAF_CHECK_EQUAL(db->credentials[raw(id)].size(), 1u);
}

CAF_TEST(a creation under an id that is taken is told apart) {
  const auto create = [&](const char* user) {
    auto to = std::make_shared<told>();
    auto cmd
      = make_command(id, subscription_created{time.now(), price, 30}, to);
    auto what = std::make_shared<creation>();
    what->user_id = user;
    what->plan = "PRO";
    what->currency = "CNY";
    cmd->on_behalf_of = user;
    cmd->create = std::move(what);
    self->send(aut, std::move(cmd));
    consume_messages();
    return to;
  };
  CAF_CHECK(create("user-1")->is == verdict::applied);
  const auto other = create("user-2");
  CAF_CHECK(other->error == errc::forbidden);
  CAF_CHECK(!other->now);
  CAF_CHECK(create("user-1")->is != verdict::applied);
}

CAF_TEST(who waits in the queue leaves memory where there are many) {
  env->limits.resident_queued_max = 1;
  const auto pay = [&](std::uint64_t n) {
    auto x = driver{};
    x.create();
    x.open_order();
    auto row = record{};
    row.id = subscription_id{n};
    row.user_id = "user-1";
    row.plan = "PRO";
    row.state = x.now;
    db->put(std::move(row));
    const auto to
      = send(payment_settled{time.now(), 1, payment_gateway::alipay,
                             "t-" + std::to_string(n), price, time.now()},
             subscription_id{n});
    consume_messages();
    CAF_CHECK(to->is == verdict::applied);
  };
  pay(1);
  CAF_CHECK(is_live(subscription_id{1}));
  pay(2);
  CAF_CHECK(!is_live(subscription_id{2}));
  // It comes back for its turn.
  const auto turn = send(slot_granted{time.now()}, subscription_id{2});
  consume_messages();
  CAF_CHECK(turn->is == verdict::applied);
  CAF_CHECK(is_live(subscription_id{2}));
}

CAF_TEST(what cannot be loaded is answered so and forgotten) {
  const auto unknown = ask();
  consume_messages();
  CAF_CHECK(unknown->error == errc::not_found);
  CAF_CHECK(state().entries.empty());
  db->put(make_record(id, phase::stopped));
  for (auto why : {errc::database_down, errc::owned_elsewhere}) {
    db->query_fault = [why](const store_job&) {
      return why;
    };
    const auto to = ask();
    consume_messages();
    CAF_CHECK_EQUAL(to->times, 1);
    CAF_CHECK(to->error == why);
    CAF_CHECK(state().entries.empty());
  }
  db->query_fault = nullptr;
  const auto to = ask();
  consume_messages();
  CAF_CHECK(to->is == verdict::applied);
}

CAF_TEST(loads are bounded and nobody is forgotten) {
  env->limits.loads_max = 2;
  for (auto i = 1u; i <= 6; ++i)
    db->put(make_record(subscription_id{i}, phase::stopped));
  store().hold = true;
  auto all = std::vector<told_ptr>{};
  for (auto i = 1u; i <= 6; ++i)
    all.push_back(ask(subscription_id{i}));
  consume_messages();
  CAF_CHECK_EQUAL(store().queries, 2u);
  for (auto i = 0; i < 5; ++i) {
    store().release();
    consume_messages();
  }
  for (const auto& x : all)
    CAF_CHECK(x->is == verdict::applied);
  CAF_CHECK_EQUAL(state().loads, 0u);
}

CAF_TEST(waiting commands are bounded) {
  env->limits.commands_waiting_max = 2;
  db->put(make_record(id, phase::stopped));
  store().hold = true;
  const auto a = ask();
  const auto b = ask();
  const auto c = ask();
  consume_messages();
  CAF_CHECK(c->error == errc::overloaded);
  store().release();
  consume_messages();
  CAF_CHECK_EQUAL(a->times + b->times, 2);
}

CAF_TEST(a failed supervisor comes back after a backoff and serves again) {
  db->put(make_record(id, phase::stopped));
  db->commit_fault = [](const transition&) {
    return commit_status::failed;
  };
  const auto broken = ask();
  consume_messages();
  CAF_CHECK(broken->error == errc::database_down);
  CAF_CHECK(!is_live());
  // What comes meanwhile waits for it.
  db->commit_fault = nullptr;
  const auto waiting = ask();
  consume_messages();
  CAF_CHECK_EQUAL(waiting->times, 0);
  pass(env->limits.restart_backoff_initial + 10ms, 10ms);
  CAF_CHECK_EQUAL(waiting->times, 1);
  CAF_CHECK(waiting->is == verdict::applied);
  CAF_CHECK(is_live());
  CAF_CHECK(meters.expose().find("slipway_actor_restarts_total")
            != std::string::npos);
}

CAF_TEST(backoffs grow while the failure lasts and the row is never lost) {
  db->put(make_record(id, phase::configuring));
  start(); // Not an orphan: owned by this server.
  db->commit_fault = [](const transition&) {
    return commit_status::failed;
  };
  send(workflow_finished{time.now(), 1});
  auto failed = step_failed{};
  failed.at = time.now();
  failed.attempt = 1;
  failed.in = phase::configuring;
  failed.reason = "x";
  self->send(aut, make_command(id, failed));
  consume_messages();
  CAF_CHECK(!is_live());
  db->query_fault = [](const store_job& what) {
    return std::holds_alternative<job<query::claim_record>>(what)
             ? errc::database_down
             : errc::none;
  };
  pass(60s);
  CAF_CHECK(state().entries.count(raw(id)) == 1);
  CAF_CHECK(state().entries[raw(id)].ill->failures > 5);
  CAF_CHECK(state().entries[raw(id)].ill->failures < 30);
  db->query_fault = nullptr;
  db->commit_fault = nullptr;
  const auto steps = log->steps.size();
  pass(env->limits.restart_backoff_max + 1s);
  CAF_CHECK(is_live());
  // What it owed is ordered again.
  CAF_CHECK(log->steps.size() > steps);
  const auto to = ask();
  consume_messages();
  CAF_CHECK(to->is == verdict::under_way);
}

CAF_TEST(a poisoned subscription does not touch its neighbours) {
  const auto other = subscription_id{78};
  db->put(make_record(id, phase::stopped));
  db->put(make_record(other, phase::stopped));
  db->commit_fault = [](const transition& t) {
    return t.next.id == id ? commit_status::failed : commit_status::stored;
  };
  for (auto i = 0; i < 20; ++i) {
    const auto bad = ask();
    const auto good
      = send(i % 2 == 0 ? event{retry_requested{time.now(), actor_kind::user}}
                        : event{cancel_requested{time.now(), actor_kind::user}},
             other);
    consume_messages();
    pass(1s);
    CAF_CHECK(good->is == verdict::applied);
    CAF_CHECK(bad->times <= 1);
  }
}

// -- quarantine
// ----------------------------------------------------------------------

CAF_TEST(one that fails again and again is put into quarantine) {
  const auto other = subscription_id{78};
  db->put(make_record(id, phase::stopped));
  db->put(make_record(other, phase::stopped));
  db->commit_fault = [](const transition& t) {
    return t.next.id == id ? commit_status::refused : commit_status::stored;
  };
  start();
  auto last = told_ptr{};
  for (auto i = 0; i < 60 && db->quarantines.empty(); ++i) {
    last = ask();
    pass(2s);
  }
  CAF_REQUIRE_EQUAL(db->quarantines.size(), 1u);
  const auto& noted = db->quarantines.at(raw(id));
  CAF_CHECK_EQUAL(noted.failures, env->limits.quarantine_after);
  CAF_CHECK(noted.reason.find("rejected") != std::string::npos);
  // At once, and without touching the database.
  const auto queries = store().queries;
  last = ask();
  consume_messages();
  CAF_CHECK(last->error == errc::quarantined);
  CAF_CHECK_EQUAL(store().queries, queries);
  // The neighbour does not notice.
  const auto good = ask(other);
  consume_messages();
  CAF_CHECK(good->is == verdict::applied);
  // What a gateway says meanwhile is kept.
  auto paid
    = make_command(id,
                   payment_settled{time.now(), 1, payment_gateway::alipay,
                                   "t-1", price, time.now()},
                   last);
  paid->callback = std::make_shared<callback_entry>();
  paid->callback->dedupe_key = "kept";
  self->send(aut, paid);
  consume_messages();
  CAF_CHECK(last->error == errc::quarantined);
  CAF_REQUIRE_EQUAL(db->callbacks.size(), 1u);
  CAF_CHECK_EQUAL(db->callbacks[0].reason, "quarantined");
  // Once what was wrong has been mended it comes back by itself.
  db->commit_fault = nullptr;
  pass(env->limits.quarantine_retry + 1s, 1s);
  last = ask();
  consume_messages();
  CAF_CHECK(last->is == verdict::applied);
  pass(env->limits.linger + 20s, 1s);
  CAF_CHECK(db->quarantines.empty());
}

CAF_TEST(an operator lets one out of quarantine) {
  db->put(make_record(id, phase::stopped));
  db->query_fault = [](const store_job& what) {
    return std::holds_alternative<job<query::claim_record>>(what)
             ? errc::internal
             : errc::none;
  };
  start();
  auto last = ask();
  pass(60s);
  CAF_REQUIRE_EQUAL(db->quarantines.size(), 1u);
  CAF_CHECK(last->error == errc::internal);
  auto answers = std::vector<errc>{};
  const auto order = [&](subscription_id whom) {
    auto what = std::make_shared<supervisor_order>();
    what->subscription = whom;
    what->done = {[&](errc x) {
                    answers.push_back(x);
                  },
                  errc::unavailable};
    self->send(aut, std::move(what));
    consume_messages();
  };
  db->query_fault = nullptr;
  order(id);
  order(subscription_id{4711});
  CAF_CHECK((answers == std::vector<errc>{errc::none, errc::not_found}));
  last = ask();
  consume_messages();
  CAF_CHECK(last->is == verdict::applied);
  // It counts as well once it has shown that it works.
  CAF_CHECK_EQUAL(db->quarantines.size(), 1u);
  pass(env->limits.linger + 20s, 1s);
  CAF_CHECK(db->quarantines.empty());
}

CAF_TEST(the absence of the database puts nobody into quarantine) {
  db->put(make_record(id, phase::creating_project));
  db->commit_fault = [](const transition&) {
    return commit_status::failed;
  };
  db->server = 2;
  start();
  for (auto i = 0; i < 100; ++i) {
    send(cancel_requested{time.now(), actor_kind::user});
    pass(6s, 500ms);
  }
  CAF_CHECK(db->quarantines.empty());
  CAF_CHECK(state().entries.at(raw(id)).ill->failures > 20);
  db->commit_fault = nullptr;
  pass(env->limits.restart_backoff_max + 1s);
  CAF_CHECK(is_live());
}

// -- a REGISTRY that goes down
// --------------------------------------------------------------------

CAF_TEST(a registry that dies is followed by one that goes on) {
  env->limits.page_rows = 3;
  for (auto i = 1u; i <= 7; ++i)
    db->put(make_record(subscription_id{i}, phase::creating_project));
  db->server = 2;
  start();
  CAF_CHECK_EQUAL(state().entries.size(), 7u);
  CAF_CHECK_EQUAL(log->steps.size(), 7u);
  auto supervisors = std::vector<supervisor_actor>{};
  for (auto& [key, x] : state().entries)
    supervisors.push_back(x.handle);
  // Whoever waits for it is answered.
  const auto waiting
    = send(cancel_requested{time.now(), actor_kind::user}, subscription_id{9});
  caf::anon_send_exit(aut, caf::exit_reason::kill);
  consume_messages();
  CAF_CHECK_EQUAL(waiting->times, 1);
  // Its supervisors went with it.
  for (auto& x : supervisors) {
    const auto to = std::make_shared<told>();
    self->send(x, make_command(id, retry_requested{time.now()}, to));
    consume_messages();
    CAF_CHECK(to->error == errc::unavailable);
  }
  aut = sys.spawn(registry, environment_ptr{env}, recovered, true);
  env->registry = aut;
  start();
  CAF_CHECK_EQUAL(state().entries.size(), 7u);
  CAF_CHECK_EQUAL(log->steps.size(), 14u);
  // They are this server's already: nobody else has written meanwhile.
  CAF_CHECK_EQUAL(db->find(subscription_id{3})->epoch, 1u);
}

CAF_TEST(a takeover whose answer is lost is made up for) {
  db->put(make_record(id, phase::cancelling));
  db->put(make_record(subscription_id{78}, phase::creating_project));
  db->server = 2;
  // It is claimed, and nobody hears of it.
  CAF_REQUIRE_EQUAL(db->run(query::claim_orphans{10})->size(), 2u);
  db->query_fault = [](const store_job& what) {
    return std::holds_alternative<job<query::claim_orphans>>(what)
             ? errc::database_down
             : errc::none;
  };
  start();
  CAF_CHECK(state().entries.empty());
  pass(env->limits.timer_scan);
  CAF_CHECK_EQUAL(state().entries.size(), 2u);
  CAF_CHECK_EQUAL(log->steps.size(), 2u);
}

CAF_TEST(parts that were started again are told anew what is owed) {
  db->put(make_record(id, phase::creating_project));
  db->put(make_record(subscription_id{78}, phase::configuring));
  db->put(make_record(subscription_id{79}, phase::queued));
  db->server = 2;
  start();
  CAF_CHECK_EQUAL(log->steps.size(), 2u);
  self->send(aut, parts_restarted{});
  consume_messages();
  CAF_CHECK_EQUAL(log->steps.size(), 4u);
}

CAF_TEST(a page of supervisors shows those in trouble) {
  for (auto i = 1u; i <= 5; ++i)
    db->put(make_record(subscription_id{i}, phase::creating_project));
  db->server = 2;
  start();
  caf::anon_send_exit(state().entries.at(3).handle, caf::exit_reason::kill);
  consume_messages();
  const auto ask_for
    = [&](std::uint64_t after, std::size_t limit, bool troubled) {
        auto rows = std::make_shared<std::vector<actor_view>>();
        auto more = std::make_shared<bool>();
        auto what = std::make_shared<roster>();
        what->after = subscription_id{after};
        what->limit = limit;
        what->troubled_only = troubled;
        what->done = [rows, more](roster& x) {
          *rows = x.lines;
          *more = x.more;
        };
        self->send(aut, std::move(what));
        consume_messages();
        return std::pair{*rows, *more};
      };
  auto [rows, more] = ask_for(0, 4, false);
  CAF_REQUIRE_EQUAL(rows.size(), 4u);
  CAF_CHECK(more);
  CAF_CHECK_EQUAL(rows[2].state, "restarting");
  CAF_CHECK_EQUAL(rows[2].last_failure, "killed");
  CAF_CHECK_EQUAL(rows[2].restarts, 1u);
  CAF_CHECK_EQUAL(rows[3].state, "running");
  CAF_CHECK_EQUAL(rows[3].parent, "registry");
  std::tie(rows, more) = ask_for(4, 4, false);
  CAF_CHECK_EQUAL(rows.size(), 1u);
  CAF_CHECK(!more);
  pass(1s);
  std::tie(rows, more) = ask_for(0, 4, true);
  CAF_REQUIRE_EQUAL(rows.size(), 1u);
  CAF_CHECK_EQUAL(rows[0].id, "supervisor:" + to_text(subscription_id{3}));
  CAF_CHECK_EQUAL(rows[0].state, "running");
}

// -- bounds
// ------------------------------------------------------------------------

CAF_TEST(memory has a ceiling and makes room by itself) {
  env->limits.resident_max = 10;
  for (auto i = 1u; i <= 12; ++i)
    db->put(make_record(subscription_id{i}, phase::stopped));
  start();
  auto answers = std::vector<told_ptr>{};
  for (auto i = 1u; i <= 12; ++i)
    answers.push_back(
      send(cancel_requested{time.now(), actor_kind::user}, subscription_id{i}));
  consume_messages();
  CAF_CHECK_EQUAL(state().entries.size(), 10u);
  CAF_CHECK(answers[9]->error == errc::none);
  CAF_CHECK(answers[10]->error == errc::overloaded);
  CAF_CHECK(answers[11]->error == errc::overloaded);
  // Those in memory are served all the same.
  const auto known
    = send(cancel_requested{time.now(), actor_kind::user}, subscription_id{1});
  consume_messages();
  CAF_CHECK(known->error == errc::none);
  // Full as it is, it does not wait for as long as usual.
  pass(20s, 1s);
  CAF_CHECK(state().entries.size() < 10u);
  const auto late
    = send(cancel_requested{time.now(), actor_kind::user}, subscription_id{12});
  consume_messages();
  CAF_CHECK(late->error == errc::none);
}

CAF_TEST(timers and recovery wait while the database is behind) {
  env->limits.page_rows = 2;
  for (auto i = 1u; i <= 5; ++i)
    db->put(make_record(subscription_id{i}, phase::creating_project));
  db->server = 2;
  env->load->journal_queue = 4'000;
  start();
  // The first page says what there is; the others can wait.
  CAF_CHECK(recovered->load());
  CAF_CHECK_EQUAL(state().entries.size(), 2u);
  env->load->journal_queue = 0;
  pass(env->limits.timer_scan);
  CAF_CHECK_EQUAL(state().entries.size(), 5u);
}

CAF_TEST(a settled subscription leaves memory and returns) {
  db->put(make_record(id, phase::stopped));
  start();
  send(cancel_requested{time.now(), actor_kind::user});
  consume_messages();
  CAF_CHECK(is_live());
  pass(env->limits.linger + 20s, 1s);
  CAF_CHECK(state().entries.empty());
  CAF_CHECK(state().by_actor.empty());
  const auto to = ask();
  consume_messages();
  CAF_CHECK(to->is == verdict::applied);
  // The queue is in the database: what waits there leaves as well.
  pass(env->limits.linger + 20s, 1s);
  CAF_CHECK(state().entries.empty());
  // At work it stays.
  const auto granted = send(slot_granted{time.now()});
  consume_messages();
  CAF_CHECK(granted->is == verdict::applied);
  pass(env->limits.linger + 20s, 1s);
  CAF_CHECK(is_live());
}

CAF_TEST(no command is lost while a supervisor is leaving) {
  db->put(make_record(id, phase::stopped));
  send(cancel_requested{time.now(), actor_kind::user});
  consume_messages();
  const auto handle = state().entries[raw(id)].handle;
  // The supervisor answers the question while a command is on its way to the
  // registry, where it arrives ahead of the answer.
  self->send(handle, idle_question{});
  const auto racing = send(retry_requested{time.now(), actor_kind::user});
  CAF_REQUIRE(sched.prioritize(handle));
  CAF_REQUIRE(sched.try_run_once());
  consume_messages();
  CAF_CHECK_EQUAL(racing->times, 1);
  CAF_CHECK(racing->is == verdict::applied);
  CAF_CHECK(is_live());
}

CAF_TEST(what a dead server left is taken over page by page) {
  env->limits.page_rows = 3;
  for (auto i = 1u; i <= 7; ++i) {
    db->put(make_record(subscription_id{i}, phase::creating_project));
    db->put(make_record(subscription_id{i + 100}, phase::running));
    db->put(make_record(subscription_id{i + 200}, phase::queued));
  }
  db->server = 2;
  db->query_fault = [](const store_job&) {
    return errc::database_down;
  };
  start();
  CAF_CHECK(!recovered->load());
  db->query_fault = nullptr;
  pass(env->limits.timer_scan);
  CAF_CHECK(recovered->load());
  // What only waits stays where it is, and is ours.
  CAF_CHECK_EQUAL(state().entries.size(), 7u);
  CAF_CHECK_EQUAL(log->steps.size(), 7u);
  CAF_CHECK_EQUAL(db->find(subscription_id{207})->epoch, 1u);
  // What ran before can be written by this one.
  const auto to = send(cancel_requested{time.now(), actor_kind::user},
                       subscription_id{103});
  const auto waiting = send(cancel_requested{time.now(), actor_kind::user},
                            subscription_id{203});
  consume_messages();
  CAF_CHECK(to->is == verdict::nothing_to_cancel);
  CAF_CHECK(waiting->is == verdict::applied);
  CAF_CHECK_EQUAL(db->find(subscription_id{103})->epoch, 1u);
  CAF_CHECK_EQUAL(db->find(subscription_id{203})->epoch, 1u);
}

CAF_TEST(removals and halts of a dead server go on) {
  const auto all = all_phases();
  for (auto at : all)
    db->put(make_record(subscription_id{100 + static_cast<unsigned>(at)}, at));
  db->server = 2;
  start();
  for (auto at : all)
    CAF_CHECK_EQUAL(is_live(subscription_id{100 + static_cast<unsigned>(at)}),
                    has_work(at));
  // Each goes on with its own step.
  auto steps = std::vector<phase>{};
  for (const auto& x : log->steps)
    steps.push_back(x->state.deployment.at);
  for (auto at : all)
    CAF_CHECK_EQUAL(std::count(steps.begin(), steps.end(), at),
                    int{has_work(at)});
}

CAF_TEST(an instance that is down leaves memory and comes back) {
  db->put(make_record(id, phase::lapsed));
  start();
  const auto seen = instance_observed{
    time.now(), 1, instance_health::healthy, {}, "SUCCESS", {}};
  const auto to = send(seen);
  consume_messages();
  CAF_CHECK(to->is == verdict::applied);
  CAF_CHECK(is_live());
  pass(env->limits.linger * 3, 1s);
  CAF_CHECK(state().entries.empty());
  CAF_CHECK(db->find(id)->state.deployment.at == phase::running);
}

CAF_TEST(timers beyond memory are found in the database) {
  auto row = make_record(id, phase::running);
  row.state.end_at = time.now() + 30min;
  db->put(row);
  start();
  CAF_CHECK(state().entries.empty());
  pass(30min - 2s, 1s);
  CAF_CHECK(db->find(id)->state.status == subscription_status::active);
  pass(4s, 1s);
  CAF_CHECK(db->find(id)->state.status == subscription_status::expired);
}

CAF_TEST(a failed deployment is refunded when its time is up) {
  env->rules.refund_failed_after = 30min;
  db->rules = env->rules;
  auto row = make_record(id, phase::failed);
  row.state.deployment.completed_at = time.now();
  db->put(row);
  start();
  CAF_CHECK(state().entries.empty());
  pass(30min - 2s, 1s);
  CAF_CHECK(db->find(id)->state.orders[0].status == order_status::paid);
  pass(4s, 1s);
  CAF_CHECK(db->find(id)->state.orders[0].status == order_status::refunding);
}

CAF_TEST_FIXTURE_SCOPE_END()

#define CAF_SUITE actors.supervisor

#include "actors/supervisor.hpp"

#include "tests/support/actor_fixture.hpp"

using namespace slipway;
using namespace slipway::test;

namespace {

constexpr auto id = subscription_id{77};

struct fixture : actor_fixture {
  supervisor_actor aut;

  fixture() {
    env->registry = keep(spawn_probe_registry(sys, log));
    env->dispatcher = keep(spawn_probe_dispatcher(sys, log));
    env->provider = keep(spawn_probe_provider(sys, log));
    env->notifier = keep(spawn_probe_notifier(sys, log));
    env->mail = true;
  }

  ~fixture() {
    stop();
  }

  void stop() {
    if (aut)
      caf::anon_send_exit(aut, caf::exit_reason::kill);
    aut = nullptr;
    consume_messages();
  }

  void spawn(record row) {
    db->put(row);
    aut = sys.spawn(supervisor, environment_ptr{env}, std::move(row));
    self->monitor(aut);
    consume_messages();
  }

  void spawn(phase at) {
    spawn(make_record(id, at));
  }

  /// Waits for payment, with one order open.
  void spawn_unpaid() {
    auto x = driver{};
    x.create();
    x.open_order();
    auto row = record{};
    row.id = id;
    row.user_id = "user-1";
    row.plan = "PRO";
    row.state = x.now;
    spawn(std::move(row));
  }

  told_ptr send(event what, std::string on_behalf_of = {}) {
    auto to = std::make_shared<told>();
    auto cmd = make_command(id, std::move(what), to);
    cmd->on_behalf_of = std::move(on_behalf_of);
    self->send(aut, std::move(cmd));
    return to;
  }

  event paid() {
    return payment_settled{time.now(), 1,     payment_gateway::alipay,
                           "t-1",      price, time.now()};
  }

  void hold() {
    journal().hold = true;
  }

  void let_go() {
    journal().hold = false;
    self->send(env->journals.front()(), tick{});
    consume_messages();
  }

  bool is_down() {
    auto down = false;
    self->receive(
      [&](const caf::down_msg&) {
        down = true;
      },
      caf::after(caf::timespan{0}) >>
        [] {
          // nop
        });
    return down;
  }

  supervisor_state& state() {
    using impl = supervisor_actor::stateful_base<supervisor_state>;
    return deref<impl>(aut).state;
  }
};

} // namespace

CAF_TEST_FIXTURE_SCOPE(supervisor_tests, fixture)

CAF_TEST(a first creation is announced with its slot where it may begin) {
  spawn(phase::queued);
  const auto before = state().current.state.revision;
  env->creations->set(creation_gate::width::one);
  send(slot_granted{time.now()});
  consume_messages();
  CAF_REQUIRE_EQUAL(log->steps.size(), 1u);
  CAF_CHECK(log->announced.back());
  const auto row = state().current;
  CAF_CHECK_EQUAL(row.state.revision, before + 1);
  CAF_CHECK(row.state.deployment.at == phase::creating_project);
  CAF_CHECK(row.state.deployment.intent_at == time.now());
  // There was room for one.
  CAF_CHECK(!env->creations->take());
  // Whoever comes next knows nothing of what was called meanwhile.
  stop();
  spawn(row);
  CAF_REQUIRE_EQUAL(log->steps.size(), 2u);
  CAF_CHECK(!log->announced.back());
}

CAF_TEST(a creation is announced at its turn where others go first) {
  spawn(phase::queued);
  send(slot_granted{time.now()});
  consume_messages();
  CAF_REQUIRE_EQUAL(log->steps.size(), 1u);
  CAF_CHECK(!log->announced.back());
  CAF_CHECK(!state().current.state.deployment.intent_at);
}

CAF_TEST(what may be there already is looked for before it is announced) {
  auto row = make_record(id, phase::queued);
  row.state.deployment.attempt = 2;
  spawn(row);
  env->creations->set(creation_gate::width::all);
  send(slot_granted{time.now()});
  consume_messages();
  CAF_REQUIRE_EQUAL(log->steps.size(), 1u);
  CAF_CHECK(!log->announced.back());
  CAF_CHECK(!state().current.state.deployment.intent_at);
}

CAF_TEST(replies and effects wait until the transition is durable) {
  spawn_unpaid();
  hold();
  const auto to = send(paid());
  consume_messages();
  CAF_CHECK_EQUAL(to->times, 0);
  CAF_CHECK(log->wanted.empty());
  CAF_CHECK(db->find(id)->state.status == subscription_status::pending);
  let_go();
  CAF_CHECK_EQUAL(to->times, 1);
  CAF_CHECK(to->error == errc::none);
  CAF_CHECK(to->is == verdict::applied);
  CAF_REQUIRE(to->now.has_value());
  CAF_CHECK(to->now->state.status == subscription_status::active);
  CAF_CHECK_EQUAL(log->wanted.size(), 1u);
  CAF_REQUIRE_EQUAL(db->notices.size(), 1u);
  CAF_CHECK(db->notices[0].what.kind == notice_kind::payment_received);
  CAF_CHECK_EQUAL(db->history.size(), 1u);
}

CAF_TEST(what follows from a fact at once is one commit with it) {
  spawn(phase::creating_project);
  const auto revision = db->find(id)->state.revision;
  log->steps.clear();
  const auto to = std::make_shared<told>();
  auto cmd
    = make_command(id, project_ready{time.now(), 1, "p-1", "e-1", false}, to);
  cmd->then
    = {template_deploy_started{time.now(), 1},
       template_deployed{time.now(), 1, "w-1"},
       // Of another attempt: it stops here.
       workflow_finished{time.now(), 2}, workflow_finished{time.now(), 1}};
  self->send(aut, std::move(cmd));
  consume_messages();
  CAF_CHECK(to->is == verdict::applied);
  const auto& now = db->find(id)->state;
  CAF_CHECK(now.deployment.at == phase::awaiting_workflow);
  CAF_CHECK_EQUAL(now.deployment.workflow_id, "w-1");
  CAF_CHECK_EQUAL(now.instance.project_id, "p-1");
  CAF_CHECK_EQUAL(now.revision, revision + 1);
  CAF_CHECK_EQUAL(db->history.size(), 3u);
  // Only the last step is to be taken.
  CAF_REQUIRE_EQUAL(log->steps.size(), 1u);
  CAF_CHECK(log->steps[0]->state == now);
}

CAF_TEST(a chain that ends orders no step) {
  spawn(phase::awaiting_workflow);
  log->steps.clear();
  auto cmd = make_command(id, workflow_finished{time.now(), 1},
                          std::make_shared<told>());
  cmd->then = {configured{time.now(), 1, "s-1", "web", "d-1", "https://x"},
               deployment_observed{time.now(), 1, condition::running, 100,
                                   "SUCCESS", "", 1}};
  self->send(aut, std::move(cmd));
  consume_messages();
  CAF_CHECK(db->find(id)->state.deployment.at == phase::running);
  CAF_CHECK(log->steps.empty());
  CAF_CHECK_EQUAL(log->released.size(), 1u);
  CAF_REQUIRE_EQUAL(db->notices.size(), 1u);
  CAF_CHECK(db->notices[0].what.kind == notice_kind::deployment_success);
  CAF_CHECK_EQUAL(db->notices[0].what.public_url, "https://x");
}

CAF_TEST(a chain that ends in a failure goes on when its time has come) {
  spawn(phase::creating_project);
  log->steps.clear();
  const auto ready = time.now();
  pass(2s);
  auto failed = step_failed{};
  failed.at = time.now();
  failed.attempt = 1;
  failed.in = phase::deploying_template;
  failed.in_doubt = true;
  failed.reason = "no answer";
  failed.retry_after = 31s;
  auto cmd = make_command(id, project_ready{ready, 1, "p-1", "e-1", false});
  cmd->then = {template_deploy_started{ready + 1s, 1}, failed};
  cmd->calls = {{ready, "projectCreate", "ok", ""},
                {failed.at, "templateDeployV2", "in_doubt", "no answer"}};
  const auto lines = db->history.size();
  self->send(aut, std::move(cmd));
  consume_messages();
  // Each call goes with what it led to.
  auto told = std::string{};
  for (auto i = lines; i < db->history.size(); ++i)
    told += db->history[i].entry.operation + " ";
  CAF_CHECK_EQUAL(told, "projectCreate project_ready template_deploy_started "
                        "templateDeployV2 step_failed ");
  const auto row = *db->find(id);
  CAF_CHECK(row.updated_at == failed.at);
  CAF_CHECK(row.state.deployment.at == phase::deploying_template);
  CAF_CHECK(row.state.deployment.intent_at == failed.at);
  CAF_CHECK(row.state.deployment.retry_at == failed.at + 31s);
  CAF_CHECK(log->steps.empty());
  pass(30s);
  CAF_CHECK(log->steps.empty());
  pass(2s);
  CAF_REQUIRE_EQUAL(log->steps.size(), 1u);
  CAF_CHECK(log->steps[0]->state.deployment.at == phase::deploying_template);
  CAF_CHECK(!log->announced.back());
}

CAF_TEST(a chain that ends an attempt is halted at once) {
  spawn(phase::creating_project);
  log->steps.clear();
  auto failed = step_failed{};
  failed.at = time.now();
  failed.attempt = 1;
  failed.in = phase::deploying_template;
  failed.permanent = true;
  auto cmd
    = make_command(id, project_ready{time.now(), 1, "p-1", "e-1", false});
  cmd->then = {template_deploy_started{time.now(), 1}, failed};
  self->send(aut, std::move(cmd));
  consume_messages();
  CAF_REQUIRE_EQUAL(log->steps.size(), 1u);
  CAF_CHECK(log->steps[0]->state.deployment.at == phase::halting);
  CAF_CHECK(log->released.empty());
}

CAF_TEST(nothing follows from what does not apply) {
  spawn(phase::creating_project);
  const auto to = std::make_shared<told>();
  auto cmd
    = make_command(id, project_ready{time.now(), 2, "p-1", "e-1", false}, to);
  cmd->then = {project_ready{time.now(), 1, "p-1", "e-1", false}};
  self->send(aut, std::move(cmd));
  consume_messages();
  CAF_CHECK(to->is == verdict::stale);
  CAF_CHECK(db->find(id)->state.deployment.at == phase::creating_project);
}

CAF_TEST(a commit that fails releases nothing and ends the supervisor) {
  for (auto [end, error] :
       {std::pair{commit_status::conflict, errc::conflict},
        std::pair{commit_status::failed, errc::database_down},
        std::pair{commit_status::in_doubt, errc::database_down}}) {
    spawn_unpaid();
    db->commit_fault = [end = end](const transition&) {
      return end;
    };
    const auto to = send(paid());
    const auto behind = send(order_closed{time.now(), 1});
    consume_messages();
    CAF_CHECK_EQUAL(to->times, 1);
    CAF_CHECK(to->error == error);
    CAF_CHECK(!to->now);
    CAF_CHECK(log->wanted.empty());
    CAF_CHECK(is_down());
    // Whoever stood behind is told, too.
    CAF_CHECK_EQUAL(behind->times, 1);
    CAF_CHECK(behind->error == errc::unavailable);
    db->commit_fault = nullptr;
    stop();
  }
}

CAF_TEST(commands behind a flight are taken in their order) {
  spawn_unpaid();
  hold();
  const auto first = send(paid());
  const auto second = send(paid());
  const auto third = send(refund_observed{time.now(), 1, price, 0, {}});
  const auto fourth = send(retry_requested{time.now(), actor_kind::user});
  consume_messages();
  CAF_CHECK_EQUAL(journal().waiting.size(), 1u);
  let_go();
  CAF_CHECK(first->is == verdict::applied);
  CAF_CHECK(second->is == verdict::already_applied);
  CAF_CHECK(third->is == verdict::applied);
  CAF_CHECK(fourth->is == verdict::not_paid);
  for (const auto& x : {first, second, third, fourth})
    CAF_CHECK_EQUAL(x->times, 1);
}

CAF_TEST(a full queue refuses what waits and keeps what only informs) {
  env->limits.commands_waiting_max = 2;
  spawn_unpaid();
  hold();
  send(paid());
  const auto a = send(paid());
  const auto b = send(paid());
  const auto c = send(paid());
  // A fact without anybody waiting for it.
  self->send(aut,
             make_command(id, refund_observed{time.now(), 1, price, 0, {}}));
  consume_messages();
  CAF_CHECK_EQUAL(c->times, 1);
  CAF_CHECK(c->error == errc::overloaded);
  CAF_CHECK_EQUAL(a->times + b->times, 0);
  let_go();
  CAF_CHECK_EQUAL(a->times + b->times, 2);
  CAF_CHECK(db->find(id)->state.status == subscription_status::refunded);
  CAF_CHECK(meters.expose().find("supervisor_mailbox") != std::string::npos);
}

CAF_TEST(a stranger is refused and changes nothing) {
  spawn(phase::deploying);
  const auto before = *db->find(id);
  const auto to
    = send(cancel_requested{time.now(), actor_kind::user}, "user-2");
  consume_messages();
  CAF_CHECK(to->error == errc::forbidden);
  CAF_CHECK(!to->now);
  CAF_CHECK(db->find(id)->state == before.state);
  const auto mine
    = send(cancel_requested{time.now(), actor_kind::user}, "user-1");
  consume_messages();
  CAF_CHECK(db->find(id)->state.deployment.at == phase::cancelling);
}

CAF_TEST(a callback that moves nothing is kept before it is answered) {
  spawn_unpaid();
  hold();
  auto to = std::make_shared<told>();
  auto what = payment_settled{time.now(), 1,         payment_gateway::alipay,
                              "t-1",      price - 1, time.now()};
  auto cmd = make_command(id, what, to);
  cmd->callback = std::make_shared<callback_entry>();
  cmd->callback->dedupe_key = "n-1";
  self->send(aut, std::move(cmd));
  consume_messages();
  CAF_CHECK_EQUAL(to->times, 0);
  let_go();
  CAF_CHECK_EQUAL(to->times, 1);
  CAF_CHECK(to->is == verdict::amount_mismatch);
  CAF_REQUIRE_EQUAL(db->callbacks.size(), 1u);
  CAF_CHECK(db->callbacks[0].outcome == callback_outcome::contradicted);
  CAF_CHECK_EQUAL(db->callbacks[0].reason, "amount_mismatch");
  // One that does move is written along with what it moves.
  auto again = std::make_shared<told>();
  cmd = make_command(id, paid(), again);
  cmd->callback = std::make_shared<callback_entry>();
  self->send(aut, std::move(cmd));
  consume_messages();
  CAF_CHECK(again->is == verdict::applied);
  CAF_CHECK_EQUAL(db->callbacks.size(), 2u);
  CAF_CHECK(db->callbacks[1].outcome == callback_outcome::applied);
}

CAF_TEST(a transaction that paid for another order is a case for a person) {
  spawn_unpaid();
  db->commit_fault = [](const transition&) {
    return commit_status::payment_taken;
  };
  auto to = std::make_shared<told>();
  auto cmd = make_command(id, paid(), to);
  cmd->callback = std::make_shared<callback_entry>();
  cmd->callback->dedupe_key = "n-1";
  self->send(aut, std::move(cmd));
  consume_messages();
  CAF_CHECK_EQUAL(to->times, 1);
  CAF_CHECK(to->is == verdict::conflicting_payment);
  CAF_REQUIRE_EQUAL(db->callbacks.size(), 1u);
  CAF_CHECK(db->callbacks[0].outcome == callback_outcome::contradicted);
  CAF_CHECK(log->wanted.empty());
  // It goes on as before: a payment of its own counts.
  CAF_CHECK(!is_down());
  db->commit_fault = nullptr;
  CAF_CHECK(send(paid()) != nullptr);
  consume_messages();
  CAF_CHECK(db->find(id)->state.status == subscription_status::active);
}

CAF_TEST(a cancellation is answered when the provider has confirmed it) {
  spawn(phase::deploying);
  const auto to = send(cancel_requested{time.now(), actor_kind::user});
  const auto too = send(cancel_requested{time.now(), actor_kind::user});
  consume_messages();
  CAF_CHECK_EQUAL(to->times + too->times, 0);
  CAF_REQUIRE_EQUAL(log->steps.size(), 2u); // Loaded, then cancelled.
  CAF_CHECK(log->steps.back()->state.deployment.at == phase::cancelling);
  self->send(aut, make_command(id, cancellation_confirmed{time.now()}));
  consume_messages();
  CAF_CHECK(to->is == verdict::applied && to->times == 1);
  CAF_CHECK(too->is == verdict::applied && too->times == 1);
  CAF_CHECK(to->now->state.deployment.at == phase::stopped);
  CAF_CHECK_EQUAL(log->dropped.size(), 1u);
  CAF_CHECK_EQUAL(log->released.size(), 1u);
}

CAF_TEST(what is owed is ordered anew once nothing is in flight) {
  spawn(phase::deploying);
  const auto before = log->steps.size();
  hold();
  // Progress: it is stored, and orders nothing.
  self->send(
    aut,
    make_command(
      id, deployment_observed{
            time.now(), 1, condition::in_progress, 90, "DEPLOYING", {}, 0}));
  consume_messages();
  self->send(aut, resume_order{});
  consume_messages();
  CAF_CHECK_EQUAL(log->steps.size(), before);
  let_go();
  CAF_REQUIRE_EQUAL(log->steps.size(), before + 1);
  CAF_CHECK_EQUAL(log->steps.back()->state.deployment.progress,
                  db->find(id)->state.deployment.progress);
  // Once.
  self->send(aut, resume_order{});
  consume_messages();
  CAF_CHECK_EQUAL(log->steps.size(), before + 2);
}

CAF_TEST(a transition that is dropped on its way is in doubt) {
  spawn_unpaid();
  hold();
  const auto to = send(paid());
  consume_messages();
  CAF_CHECK_EQUAL(to->times, 0);
  CAF_CHECK_EQUAL(env->load->journal_queue.load(), 1);
  caf::anon_send_exit(env->journals.front()(), caf::exit_reason::kill);
  consume_messages();
  CAF_CHECK_EQUAL(to->times, 1);
  CAF_CHECK(to->error == errc::database_down);
  CAF_CHECK(is_down());
  CAF_CHECK_EQUAL(env->load->journal_queue.load(), 0);
}

CAF_TEST(patience with a cancellation ends) {
  spawn(phase::deploying);
  const auto to = send(cancel_requested{time.now(), actor_kind::user});
  consume_messages();
  pass(env->limits.cancel_patience - 100ms);
  CAF_CHECK_EQUAL(to->times, 0);
  pass(200ms);
  CAF_CHECK_EQUAL(to->times, 1);
  CAF_CHECK(to->is == verdict::under_way);
  CAF_CHECK(db->find(id)->state.deployment.at == phase::cancelling);
}

CAF_TEST(patience ends for whoever joins a cancellation later) {
  spawn(phase::deploying);
  send(cancel_requested{time.now(), actor_kind::user});
  consume_messages();
  pass(env->limits.cancel_patience + 1s);
  const auto late = send(cancel_requested{time.now(), actor_kind::user});
  consume_messages();
  pass(env->limits.cancel_patience + 1s);
  CAF_CHECK_EQUAL(late->times, 1);
  CAF_CHECK(late->is == verdict::under_way);
}

CAF_TEST(patience ends for whoever joins after a restart) {
  spawn(phase::cancelling);
  const auto to = send(cancel_requested{time.now(), actor_kind::user});
  consume_messages();
  pass(env->limits.cancel_patience + 1s);
  CAF_CHECK_EQUAL(to->times, 1);
}

CAF_TEST(a termination is answered when the provider has confirmed it) {
  for (auto from : {phase::running, phase::lapsed}) {
    spawn(from);
    const auto steps = log->steps.size();
    const auto to
      = send(terminate_requested{time.now(), actor_kind::operator_});
    const auto too
      = send(terminate_requested{time.now(), actor_kind::operator_});
    // Whoever wants to cancel hears that this is something else.
    const auto cancel = send(cancel_requested{time.now(), actor_kind::user});
    consume_messages();
    CAF_CHECK_EQUAL(to->times + too->times, 0);
    CAF_CHECK(cancel->is == verdict::nothing_to_cancel);
    CAF_REQUIRE_EQUAL(log->steps.size(), steps + 1);
    CAF_CHECK(log->steps.back()->state.deployment.at == phase::terminating);
    // No slot is asked for, and none is given back yet.
    CAF_CHECK(log->wanted.empty());
    CAF_CHECK(log->released.empty());
    CAF_CHECK(db->find(id)->state.instance.status != instance_status::deleted);
    self->send(aut, make_command(id, cancellation_confirmed{time.now()}));
    consume_messages();
    CAF_CHECK(to->is == verdict::applied && to->times == 1);
    CAF_CHECK(too->is == verdict::applied && too->times == 1);
    CAF_CHECK(to->now->state.deployment.at == phase::stopped);
    CAF_CHECK(to->now->state.instance.status == instance_status::deleted);
    CAF_CHECK_EQUAL(log->dropped.size(), 1u);
    log->dropped.clear();
    log->released.clear();
    stop();
  }
}

CAF_TEST(patience with a termination ends) {
  spawn(phase::running);
  const auto to = send(terminate_requested{time.now(), actor_kind::operator_});
  consume_messages();
  pass(env->limits.cancel_patience - 100ms);
  CAF_CHECK_EQUAL(to->times, 0);
  // One that joins has patience of its own.
  const auto too = send(terminate_requested{time.now(), actor_kind::operator_});
  consume_messages();
  pass(200ms);
  CAF_CHECK_EQUAL(to->times, 1);
  CAF_CHECK(to->is == verdict::under_way);
  CAF_CHECK_EQUAL(too->times, 0);
  pass(env->limits.cancel_patience);
  CAF_CHECK_EQUAL(too->times, 1);
  CAF_CHECK(too->is == verdict::under_way);
  CAF_CHECK(db->find(id)->state.deployment.at == phase::terminating);
}

CAF_TEST(a termination of what is under way is answered like a cancellation) {
  spawn(phase::deploying);
  const auto to = send(terminate_requested{time.now(), actor_kind::operator_});
  const auto too = send(cancel_requested{time.now(), actor_kind::user});
  consume_messages();
  CAF_CHECK(db->find(id)->state.deployment.at == phase::cancelling);
  CAF_CHECK_EQUAL(to->times + too->times, 0);
  self->send(aut, make_command(id, cancellation_confirmed{time.now()}));
  consume_messages();
  CAF_CHECK(to->is == verdict::applied && to->times == 1);
  CAF_CHECK(too->is == verdict::applied && too->times == 1);
  // Where nothing is there it is answered at once.
  const auto none
    = send(terminate_requested{time.now(), actor_kind::operator_});
  consume_messages();
  CAF_CHECK(none->is == verdict::nothing_to_terminate);
}

CAF_TEST(whoever waits for a removal is told although it starts anew) {
  auto row = make_record(id, phase::running);
  row.state.status = subscription_status::expired;
  row.state.orders.push_back(row.state.orders.front());
  auto& fresh = row.state.orders.back();
  fresh.seq = 2;
  fresh.status = order_status::pending;
  fresh.applied = false;
  fresh.transaction_id.clear();
  fresh.paid_at.reset();
  spawn(std::move(row));
  const auto to = send(terminate_requested{time.now(), actor_kind::operator_});
  consume_messages();
  const auto paid = send(payment_settled{time.now(), 2, payment_gateway::alipay,
                                         "t-2", price, time.now()});
  consume_messages();
  CAF_CHECK(paid->is == verdict::applied);
  CAF_CHECK_EQUAL(to->times, 0);
  CAF_CHECK(log->wanted.empty());
  self->send(aut, make_command(id, cancellation_confirmed{time.now()}));
  consume_messages();
  CAF_CHECK(to->is == verdict::applied && to->times == 1);
  CAF_CHECK(db->find(id)->state.deployment.at == phase::queued);
  CAF_CHECK_EQUAL(log->wanted.size(), 1u);
  CAF_CHECK_EQUAL(log->dropped.size(), 1u);
}

CAF_TEST(a failed attempt gives its slot back when it is halted) {
  spawn(phase::deploying);
  CAF_REQUIRE_EQUAL(log->steps.size(), 1u);
  self->send(
    aut, make_command(id, deployment_observed{time.now(), 1, condition::failed,
                                              0, "FAILED", "exit code 1", 0}));
  consume_messages();
  CAF_CHECK(db->find(id)->state.deployment.at == phase::halting);
  CAF_CHECK(log->released.empty());
  CAF_REQUIRE_EQUAL(log->steps.size(), 2u);
  CAF_CHECK(log->steps.back()->state.deployment.at == phase::halting);
  self->send(aut, make_command(id, halted{time.now(), 1, chance_max}));
  consume_messages();
  CAF_CHECK(db->find(id)->state.deployment.at == phase::backing_off);
  CAF_CHECK_EQUAL(log->released.size(), 1u);
}

CAF_TEST(patience with a halt ends) {
  env->limits.timer_horizon = 5min;
  spawn(phase::halting);
  const auto until = *db->find(id)->state.deployment.deadline_at;
  pass(until - time.now() - 10ms, 1s);
  CAF_CHECK(db->find(id)->state.deployment.at == phase::halting);
  CAF_CHECK(log->released.empty());
  pass(10ms);
  CAF_CHECK(db->find(id)->state.deployment.at == phase::backing_off);
  CAF_CHECK_EQUAL(db->find(id)->state.deployment.error, "no luck");
  CAF_CHECK_EQUAL(log->released.size(), 1u);
}

CAF_TEST(a plan may have rules of its own) {
  auto dear = env->rules;
  dear.head_start = 10min;
  dear.attempts = 7;
  dear.deadline = 20s;
  env->plan_rules["PRO"] = dear;
  spawn_unpaid();
  send(paid());
  consume_messages();
  const auto& d = db->find(id)->state.deployment;
  CAF_CHECK(d.queue_rank == time.now() - 10min);
  CAF_CHECK_EQUAL(d.attempt_limit, 7u);
  self->send(aut, make_command(id, slot_granted{time.now()}));
  consume_messages();
  // Its timers are armed by them, too.
  pass(20s - 10ms, 1s);
  CAF_CHECK(db->find(id)->state.deployment.at == phase::creating_project);
  pass(10ms);
  CAF_CHECK(db->find(id)->state.deployment.at == phase::backing_off);
  stop();
  // Others keep the common ones.
  auto row = record{};
  auto x = driver{};
  x.create();
  x.open_order();
  row.id = id;
  row.user_id = "user-1";
  row.plan = "BASIC";
  row.state = x.now;
  spawn(std::move(row));
  send(paid());
  consume_messages();
  CAF_CHECK(db->find(id)->state.deployment.queue_rank == time.now());
  CAF_CHECK_EQUAL(db->find(id)->state.deployment.attempt_limit, 3u);
}

CAF_TEST(timers ring for the state that armed them) {
  env->rules.deadline = 30s;
  spawn(phase::queued);
  self->send(aut, make_command(id, slot_granted{time.now()}));
  consume_messages();
  const auto deadline = *db->find(id)->state.deployment.deadline_at;
  pass(deadline - time.now() - 10ms);
  CAF_CHECK(db->find(id)->state.deployment.at == phase::creating_project);
  pass(10ms);
  CAF_CHECK(db->find(id)->state.deployment.at == phase::backing_off);
  CAF_CHECK_EQUAL(log->released.size(), 1u);
  const auto revision = db->find(id)->state.revision;
  // One of another revision does nothing.
  self->send(aut, timer_rang{revision - 1});
  self->send(aut, timer_rang{revision + 1});
  consume_messages();
  CAF_CHECK_EQUAL(db->find(id)->state.revision, revision);
  pass(6s);
  CAF_CHECK(db->find(id)->state.deployment.at == phase::queued);
  CAF_CHECK_EQUAL(log->wanted.size(), 2u);
}

CAF_TEST(a step that failed is ordered again when its time has come) {
  spawn(phase::creating_project);
  CAF_REQUIRE_EQUAL(log->steps.size(), 1u);
  auto failed = step_failed{};
  failed.at = time.now();
  failed.attempt = 1;
  failed.in = phase::creating_project;
  failed.chance = chance_max;
  failed.reason = "throttled";
  failed.retry_after = 31s;
  self->send(aut, make_command(id, failed));
  consume_messages();
  CAF_REQUIRE(db->find(id)->state.deployment.retry_at == time.now() + 31s);
  pass(30s);
  CAF_CHECK_EQUAL(log->steps.size(), 1u);
  pass(2s);
  CAF_CHECK_EQUAL(log->steps.size(), 2u);
}

CAF_TEST(what a loaded state owes is done at once) {
  spawn(phase::queued);
  CAF_CHECK_EQUAL(log->wanted.size(), 1u);
  stop();
  spawn(phase::configuring);
  CAF_CHECK_EQUAL(log->steps.size(), 1u);
  stop();
  // A removal and a halt go on, whoever ordered them.
  auto steps = log->steps.size();
  for (auto at : {phase::terminating, phase::cancelling, phase::halting}) {
    spawn(at);
    CAF_REQUIRE_EQUAL(log->steps.size(), ++steps);
    CAF_CHECK(log->steps.back()->state.deployment.at == at);
    stop();
  }
  for (auto at : {phase::running, phase::lapsed, phase::failed}) {
    spawn(at);
    CAF_CHECK_EQUAL(log->wanted.size(), 1u);
    CAF_CHECK_EQUAL(log->steps.size(), steps);
    stop();
  }
}

CAF_TEST(nobody who waits is left without an answer when it is killed) {
  spawn(phase::deploying);
  const auto cancelled = send(cancel_requested{time.now(), actor_kind::user});
  consume_messages();
  hold();
  const auto in_flight = send(cancellation_confirmed{time.now()});
  const auto waiting = send(retry_requested{time.now(), actor_kind::user});
  consume_messages();
  const auto in_mailbox = send(retry_requested{time.now(), actor_kind::user});
  stop();
  for (const auto& x : {cancelled, in_flight, waiting, in_mailbox}) {
    CAF_CHECK_EQUAL(x->times, 1);
    CAF_CHECK(x->error == errc::unavailable);
  }
}

CAF_TEST(only a supervisor without work says that it is idle) {
  const auto ask = [&](phase at) {
    log->idle.clear();
    spawn(at);
    self->send(aut, idle_question{});
    consume_messages();
    const auto idle = !log->idle.empty();
    stop();
    return idle;
  };
  for (auto at : all_phases()) {
    // The queue is in the database. A pause between two attempts is short here.
    const auto waits = at == phase::idle || at == phase::skipped
                       || at == phase::running || at == phase::failed
                       || at == phase::stopped || at == phase::lapsed
                       || at == phase::queued;
    if (ask(at) != waits)
      CAF_ERROR("in " << to_string(at));
  }
}

CAF_TEST(the notices of an ending go out by mail once) {
  spawn(phase::deploying);
  self->send(
    aut, make_command(
           id, deployment_observed{
                 time.now(), 1, condition::running, 100, "SUCCESS", {}, 0}));
  consume_messages();
  CAF_REQUIRE_EQUAL(db->notices.size(), 1u);
  CAF_CHECK(db->notices[0].what.kind == notice_kind::deployment_success);
  CAF_CHECK(db->notices[0].what.by_mail);
  CAF_CHECK_EQUAL(db->notices[0].what.public_url, "https://web.example");
  CAF_CHECK(db->notices[0].what.duration.has_value());
  CAF_CHECK_EQUAL(log->nudges, 1u);
}

CAF_TEST(whoever has waited for long is told that it goes on) {
  for (const auto wait : {119, 120}) {
    stop();
    auto row = make_record(id, phase::queued);
    row.state.deployment.phase_at = time.now() - millis{wait * 1'000};
    db->notices.clear();
    spawn(row);
    send(slot_granted{time.now()});
    consume_messages();
    CAF_CHECK_EQUAL(db->notices.size(), wait == 120 ? 1u : 0u);
    for (const auto& x : db->notices) {
      CAF_CHECK(x.what.kind == notice_kind::deployment_started);
      CAF_CHECK(!x.what.by_mail);
    }
  }
}

CAF_TEST(every turn in the life of an instance has its notice) {
  using kind = notice_kind;
  using health = instance_health;
  struct turn {
    phase from;
    event what;
    kind is;
    bool by_mail;
    std::string url;
    std::string error;
  };
  const auto url = std::string{"https://web.example"};
  const auto seen = [](health is, std::string deployment_id = {}) {
    return instance_observed{
      day_one, 1, is, std::move(deployment_id), "X", "exit code 137"};
  };
  const auto turns = std::vector<turn>{
    {phase::running,
     seen(health::crashed),
     kind::instance_down,
     true,
     {},
     "exit code 137"},
    {phase::running,
     seen(health::missing),
     kind::instance_down,
     true,
     {},
     "exit code 137"},
    {phase::lapsed,
     seen(health::healthy),
     kind::instance_recovered,
     true,
     url,
     {}},
    {phase::running, seen(health::sleeping), kind::instance_changed, false, url,
     "sleeping"},
    {phase::running, seen(health::degraded), kind::instance_changed, false, url,
     "degraded"},
    {phase::running, seen(health::healthy, "d-2"), kind::instance_changed,
     false, url, "redeployed"},
    {phase::running, seen(health::degraded, "d-2"), kind::instance_changed,
     false, url, "degraded"},
    {phase::terminating,
     cancellation_confirmed{day_one},
     kind::instance_terminated,
     true,
     {},
     {}},
    {phase::cancelling,
     cancellation_confirmed{day_one},
     kind::deployment_cancelled,
     false,
     {},
     {}},
    {phase::queued,
     cancel_requested{day_one, actor_kind::user},
     kind::deployment_cancelled,
     false,
     {},
     {}},
  };
  for (auto mail : {true, false})
    for (const auto& x : turns) {
      env->mail = mail;
      db->notices.clear();
      log->nudges = 0;
      spawn(x.from);
      self->send(aut, make_command(id, x.what));
      consume_messages();
      CAF_REQUIRE_EQUAL(db->notices.size(), 1u);
      const auto& told = db->notices[0].what;
      CAF_CHECK(told.kind == x.is);
      CAF_CHECK_EQUAL(told.by_mail, x.by_mail && mail);
      CAF_CHECK_EQUAL(told.public_url, x.url);
      CAF_CHECK_EQUAL(told.error, x.error);
      CAF_CHECK_EQUAL(told.instance_seq, x.from == phase::queued ? 0u : 1u);
      CAF_CHECK(told.at == day_one);
      CAF_CHECK(!told.duration);
      CAF_CHECK_EQUAL(log->nudges, 1u);
      stop();
    }
}

CAF_TEST(an instance that recovers did not take that long to come to run) {
  const auto counted = [this] {
    const auto text = meters.expose();
    const auto name = std::string{"slipway_time_to_running_seconds_count "};
    const auto where = text.find(name);
    return where == std::string::npos
             ? -1
             : std::stoi(text.substr(where + name.size()));
  };
  spawn(phase::lapsed);
  self->send(
    aut, make_command(
           id, instance_observed{
                 time.now(), 1, instance_health::healthy, {}, "SUCCESS", {}}));
  consume_messages();
  CAF_CHECK(db->find(id)->state.deployment.at == phase::running);
  const auto before = counted();
  stop();
  spawn(phase::deploying);
  self->send(
    aut, make_command(
           id, deployment_observed{
                 time.now(), 1, condition::running, 100, "SUCCESS", {}, 0}));
  consume_messages();
  CAF_CHECK_EQUAL(before, 0);
  CAF_CHECK_EQUAL(counted(), 1);
}

CAF_TEST(what is seen of an instance is durable and needs nobody) {
  spawn(phase::running);
  hold();
  const auto to = send(instance_observed{
    time.now(), 1, instance_health::crashed, "d-1", "CRASHED", "exit code 1"});
  consume_messages();
  CAF_CHECK_EQUAL(to->times, 0);
  let_go();
  CAF_CHECK(to->is == verdict::applied);
  CAF_CHECK(db->find(id)->state.deployment.at == phase::lapsed);
  CAF_CHECK(log->steps.empty());
  CAF_CHECK(log->wanted.empty());
  CAF_CHECK(log->released.empty());
  CAF_REQUIRE(!db->history.empty());
  CAF_CHECK_EQUAL(db->history.back().entry.summary,
                  "Instance is crashed (provider: CRASHED): exit code 1");
  CAF_CHECK_EQUAL(db->history.back().entry.outcome, "lapsed");
}

CAF_TEST(what time decides waits while automation is off) {
  spawn(phase::backing_off);
  const auto due = *db->find(id)->state.deployment.retry_at;
  automation(false);
  pass(due - time.now() + 1min, 1s);
  CAF_CHECK(db->find(id)->state.deployment.at == phase::backing_off);
  // The REGISTRY may have sent it before it was switched off.
  send(woke{time.now(), 0});
  consume_messages();
  CAF_CHECK(db->find(id)->state.deployment.at == phase::backing_off);
  automation(true);
  send(woke{time.now(), 0});
  consume_messages();
  CAF_CHECK(db->find(id)->state.deployment.at == phase::queued);
}

CAF_TEST(an attempt is not over for the time in which automation was off) {
  spawn(phase::creating_project);
  automation(false);
  pass(1h, 1s);
  automation(true);
  const auto on = time.now();
  send(woke{on, 0, env->automation->since()});
  consume_messages();
  CAF_CHECK(db->find(id)->state.deployment.at == phase::creating_project);
  CAF_CHECK(db->find(id)->state.deployment.deadline_at
            == on + env->rules.deadline);
  // From then on it counts.
  pass(env->rules.deadline, 1s);
  send(woke{time.now(), 0, env->automation->since()});
  consume_messages();
  CAF_CHECK(db->find(id)->state.deployment.at == phase::backing_off);
}

CAF_TEST(payments count and people are answered while automation is off) {
  automation(false);
  spawn_unpaid();
  const auto pays = send(paid());
  consume_messages();
  CAF_CHECK_EQUAL(pays->times, 1);
  CAF_CHECK(pays->is == verdict::applied);
  CAF_CHECK_EQUAL(log->wanted.size(), 1u);
  stop();
  spawn(phase::deploying);
  const auto cancels = send(cancel_requested{time.now(), actor_kind::user});
  consume_messages();
  // Nobody waits for a provider that is not asked.
  CAF_CHECK_EQUAL(cancels->times, 1);
  CAF_CHECK(cancels->is == verdict::under_way);
  CAF_CHECK(db->find(id)->state.deployment.at == phase::cancelling);
  const auto again = send(cancel_requested{time.now(), actor_kind::user});
  consume_messages();
  CAF_CHECK_EQUAL(again->times, 1);
  CAF_CHECK(again->is == verdict::under_way);
}

CAF_TEST_FIXTURE_SCOPE_END()

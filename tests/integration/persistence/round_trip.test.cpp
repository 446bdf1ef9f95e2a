#define CAF_SUITE persistence_round_trip

#include "tests/integration/persistence/world.hpp"

#include <set>

using namespace slipway;
using namespace slipway::lifecycle;
using namespace slipway::test;

namespace {

/// Takes steps, and after each compares what is stored with what is in memory.
struct fixture : world {
  void take(life& x, const event& what) {
    take(x, x.step(what));
  }

  void take(life& x, const transition_ptr& t) {
    store(t);
    const auto stored = first->find(x.now.id);
    check_equal(stored, x.now);
    const auto& s = stored.state;
    const auto& d = s.deployment;
    phases.insert(d.at);
    if (s.instance.seq != 0)
      healths.insert(s.instance.health);
    const auto note = [this](const char* name, bool is_set) {
      (is_set ? seen_set : seen_unset).insert(name);
    };
    note("start_at", s.start_at.has_value());
    note("end_at", s.end_at.has_value());
    note("intent_at", d.intent_at.has_value());
    note("queued_at", d.queued_at.has_value());
    note("queue_rank", d.queue_rank.has_value());
    note("head start", d.queue_rank < d.queued_at);
    note("started_at", d.started_at.has_value());
    note("deadline_at", d.deadline_at.has_value());
    note("retry_at", d.retry_at.has_value());
    note("completed_at", d.completed_at.has_value());
    note("workflow_id", !d.workflow_id.empty());
    note("deployment_id", !d.deployment_id.empty());
    note("error", !d.error.empty());
    note("ended_by", d.ended_by != actor_kind::nobody);
    note("tries", d.tries != 0);
    note("instance", s.instance.seq != 0);
    note("deleted_at", s.instance.deleted_at.has_value());
    note("public_url", !s.instance.public_url.empty());
    note("sleep_told", s.instance.sleep_told);
    for (const auto& o : s.orders) {
      note("paid_at", o.paid_at.has_value());
      note("transaction_id", !o.transaction_id.empty());
      note("idempotency_key", !o.idempotency_key.empty());
      note("applied", o.applied);
      note("refunded", o.refunded != 0);
      note("code", !o.code.empty());
      note("refund_seq", o.refund_seq != 0);
      note("refund_amount", o.refund_amount != 0);
      note("refund_error", !o.refund_error.empty());
      note("refunds_counted", !o.refunds_counted.empty());
      statuses.insert(o.status);
      causes.insert(o.refund_for);
    }
  }

  /// From the payment to a project with its template on the way.
  void deploy_up_to_workflow(life& x, std::uint32_t attempt, int at) {
    take(x, slot_granted{after(at)});
    take(x, project_create_started{after(at + 1), attempt});
    const auto project = "prj-" + std::to_string(raw(x.now.id)) + "-"
                         + std::to_string(x.now.state.instance.seq);
    take(x, project_ready{after(at + 2), attempt, project, "env-1", false});
    take(x, template_deploy_started{after(at + 3), attempt});
    take(x, template_deployed{after(at + 4), attempt, "wf-1"});
  }

  void deploy(life& x, std::uint32_t attempt, int at) {
    deploy_up_to_workflow(x, attempt, at);
    take(x, workflow_finished{after(at + 5), attempt});
    take(x, configured{after(at + 6), attempt, "svc-1", "web", "dep-1",
                       "https://一.example.com"});
    take(x, deployment_observed{after(at + 7), attempt, condition::in_progress,
                                71, "BUILDING", "", 0});
    take(x, deployment_observed{after(at + 8), attempt, condition::running, 100,
                                "SUCCESS", "", 0});
  }

  void buy(life& x) {
    take(x, x.create());
    take(x, x.order());
    take(x, x.pay("tx-" + std::to_string(raw(x.now.id))));
  }

  void see(life& x, int at, instance_health is, std::string id = "",
           std::string reason = "") {
    take(x, instance_observed{after(at), x.now.state.instance.seq, is,
                              std::move(id), "X", std::move(reason)});
  }

  std::set<phase> phases;
  std::set<instance_health> healths;
  std::set<order_status> statuses;
  std::set<refund_cause> causes;
  std::set<std::string> seen_set;
  std::set<std::string> seen_unset;
};

} // namespace

CAF_TEST_FIXTURE_SCOPE(round_trip_tests, fixture)

CAF_TEST(every transition of every phase comes back as it went in) {
  // A long life: replaced orders, attempts that fail, cancelled, retried.
  auto x = life{1};
  take(x, x.create());
  take(x, x.order("key-1"));
  take(x, order_prepared{after(1'200), 1, "https://qr.alipay.com/二维码"});
  take(x, order_requested{after(1'500), payment_gateway::wechat,
                          payment_method::native, after(1'801'500), ""});
  CAF_CHECK(x.now.state.orders[0].status == order_status::closing);
  take(x, order_closed{after(1'600), 2});
  take(x, x.pay("tx-1"));
  // Money for the second one as well, which goes back by itself.
  take(x, payment_settled{after(2'100), 2, payment_gateway::wechat, "tx-1b",
                          9'900, after(2'050)});
  CAF_CHECK(x.now.state.orders[1].status == order_status::refunding);
  take(x, refund_failed{after(2'200), 2, 1, true, "余额不足 NOT_ENOUGH"});
  take(x, refund_requested{after(2'300), 2, refund_cause::operator_});
  take(x, refund_observed{after(2'400), 2, std::nullopt, 400, "50300-1"});
  take(x, refund_observed{after(2'500), 2, std::nullopt, 9'500, "50300-2"});
  CAF_CHECK(x.now.state.orders[1].status == order_status::refunded);
  deploy_up_to_workflow(x, 1, 10'000);
  take(x, step_failed{after(11'000), 1, phase::awaiting_workflow, false, false,
                      false, millis{700}, "HTTP 502", 77});
  take(x, woke{after(20'000), 5});
  take(x, step_failed{after(21'000), 1, phase::awaiting_workflow, true, true,
                      false, millis{0}, "template is broken", 99});
  CAF_CHECK(x.now.state.deployment.at == phase::halting);
  take(x, step_failed{after(22'000), 1, phase::halting, false, false, false,
                      millis{700}, "HTTP 502", 77});
  take(x, woke{after(30'000), 5});
  take(x, halted{after(31'000), 1, 99});
  CAF_CHECK(x.now.state.deployment.at == phase::backing_off);
  take(x, woke{after(400'000), 5});
  take(x, slot_granted{after(400'001)});
  take(x, step_failed{after(400'100), 2, phase::creating_project, false, false,
                      true, millis{0}, "no such template", 1});
  // What the first attempt has deployed was never seen.
  CAF_CHECK(x.now.state.deployment.at == phase::halting);
  take(x, halted{after(400'200), 2, 1});
  CAF_CHECK(x.now.state.deployment.at == phase::failed);
  take(x, retry_requested{after(500'000), actor_kind::operator_});
  take(x, slot_granted{after(500'001)});
  take(x, cancel_requested{after(500'002), actor_kind::user});
  take(x, cancellation_confirmed{after(500'003)});
  CAF_CHECK(x.now.state.deployment.at == phase::stopped);
  take(x, retry_requested{after(600'000), actor_kind::user});
  deploy(x, 4, 600'100);
  CAF_CHECK(x.now.state.deployment.at == phase::running);
  CAF_CHECK_EQUAL(x.now.state.instance.seq, 2u);
  take(x, refund_observed{after(700'000), 1, 100, 0, ""});
  take(x, refund_observed{after(700'001), 1, 9'900, 0, ""});
  CAF_CHECK(x.now.state.status == subscription_status::refunded);
  // One without a provider, whose period ends.
  auto rules = lifecycle::rules{};
  rules.provider = false;
  auto y = life{2, "user-2", rules};
  buy(y);
  CAF_CHECK(y.now.state.deployment.at == phase::skipped);
  take(y, woke{*y.now.state.end_at, 0});
  CAF_CHECK(y.now.state.status == subscription_status::expired);
  // Money that comes when the period is over, and is not wanted any more.
  y.rules.revive_late_payment = false;
  take(y, y.order());
  take(y, order_requested{after(2'600'000), payment_gateway::alipay,
                          payment_method::wap, after(4'000'000), ""});
  take(y, order_closed{after(2'600'001), 2});
  take(y, y.pay("tx-2-late", 2));
  CAF_CHECK(y.now.state.orders[1].refund_for == refund_cause::late_payment);
  // And one whose attempt ran out of time.
  auto z = life{3};
  buy(z);
  take(z, slot_granted{after(3'000)});
  take(z, woke{after(3'000 + 900'000), 1});
  CAF_CHECK(z.now.state.deployment.at == phase::backing_off);
  // And what becomes of one that came to run, on a dearer plan.
  rules = lifecycle::rules{};
  rules.head_start = millis{600'000};
  auto w = life{4, "user-1", rules};
  buy(w);
  deploy(w, 1, 10'000);
  see(w, 20'000, instance_health::sleeping);
  see(w, 21'000, instance_health::healthy);
  see(w, 22'000, instance_health::degraded, "dep-2", "1 of 2 副本 has crashed");
  see(w, 23'000, instance_health::crashed, "", "exit code 137");
  CAF_CHECK(w.now.state.deployment.at == phase::lapsed);
  see(w, 24'000, instance_health::ended);
  see(w, 25'000, instance_health::sleeping);
  see(w, 26'000, instance_health::removed, "", "removed");
  take(w, terminate_requested{after(30'000), actor_kind::operator_});
  CAF_CHECK(w.now.state.deployment.at == phase::terminating);
  take(w, step_failed{after(31'000), 1, phase::terminating, false, false, false,
                      millis{700}, "HTTP 502", 77});
  take(w, woke{after(40'000), 5});
  take(w, cancellation_confirmed{after(41'000)});
  take(w, retry_requested{after(50'000), actor_kind::user});
  deploy(w, 2, 51'000);
  see(w, 60'000, instance_health::missing, "", "the project is gone");
  CAF_CHECK(w.now.state.instance.status == instance_status::deleted);
  // Nothing was left out.
  CAF_CHECK_EQUAL(healths.size(), std::size_t{instance_health_count});
  CAF_CHECK_EQUAL(phases.size(), std::size_t{phase_count});
  CAF_CHECK_EQUAL(statuses.size(), std::size_t{order_status_count});
  CAF_CHECK_EQUAL(causes.count(refund_cause::surplus_payment), 1u);
  CAF_CHECK_EQUAL(causes.count(refund_cause::operator_), 1u);
  for (const auto& name : seen_set)
    CAF_CHECK_EQUAL(name + (seen_unset.count(name) ? "" : " never unset"),
                    name);
  for (const auto& name : seen_unset)
    CAF_CHECK_EQUAL(name + (seen_set.count(name) ? "" : " never set"), name);
}

CAF_TEST(values that the machine does not reach yet are kept as well) {
  auto x = life{1};
  buy(x);
  const auto write = [&](auto change) {
    auto t = x.step(project_create_started{after(4'000), 1});
    change(t->next.state);
    x.now = t->next;
    t->orders_changed = 1;
    t->instance_changed = true;
    take(x, t);
  };
  take(x, slot_granted{after(3'000)});
  // The database refuses that anything is deployed before it is paid for.
  for (auto i = 1; i < 6; ++i)
    write([i](state& s) {
      s.status = static_cast<subscription_status>(i);
    });
  for (auto i = 0; i < 5; ++i)
    write([i](state& s) {
      s.deployment.ended_by = static_cast<actor_kind>(i);
    });
  for (auto i = 0; i < 5; ++i)
    write([i](state& s) {
      s.orders[0].status = order_status::refunding;
      s.orders[0].refund_seq = 2'000'000'000;
      s.orders[0].refund_amount = s.orders[0].amount;
      s.orders[0].refund_for = static_cast<refund_cause>(i);
    });
  for (std::uint8_t i = 0; i < instance_health_count; ++i)
    write([i](state& s) {
      s.instance.health = static_cast<instance_health>(i);
      s.instance.sleep_told = i % 2 == 1;
    });
  write([](state& s) {
    s.deployment.error = std::string(20'000, 'x') + "\n\t'\"\\ 错误";
    s.deployment.attempt = 2'000'000'000;
    s.deployment.attempt_limit = 2'000'000'000;
  });
}

CAF_TEST(a creation brings user credentials and history along) {
  auto x = life{7, "user-7"};
  const auto bytes = std::string{"\0\1\xff raw", 7};
  auto t = x.create({{"FEISHU", "2026-11", "nonce-1", bytes},
                     {"DISCORD", "2026-10", "nonce-2", "b"}});
  take(x, t);
  const auto kept = must(first->ask(query::list_credentials{x.now.id}));
  CAF_REQUIRE_EQUAL(kept.size(), 2u);
  CAF_CHECK_EQUAL(kept[0].channel_type, "DISCORD");
  CAF_CHECK_EQUAL(kept[1].channel_type, "FEISHU");
  CAF_CHECK_EQUAL(kept[1].key_id, "2026-11");
  CAF_CHECK_EQUAL(kept[1].nonce, "nonce-1");
  CAF_CHECK(kept[1].ciphertext == bytes);
  const auto history = must(first->ask(query::list_history{x.now.id, 0, 10}));
  CAF_REQUIRE_EQUAL(history.size(), 1u);
  CAF_CHECK_EQUAL(history[0].entry.operation, "subscription_created");
  CAF_CHECK_EQUAL(history[0].entry.summary, t->history[0].summary);
  CAF_CHECK(history[0].entry.at == day_one);
  CAF_CHECK_EQUAL(probe{url}.count("users WHERE id = 'user-7'"), 1);
}

CAF_TEST(a subscription goes on right after it was created) {
  // The registry makes the record without reading it back.
  auto x = life{8};
  CAF_CHECK_EQUAL(x.now.epoch, record{}.epoch);
  store(x.create());
  CAF_CHECK(first->write(x.order()) == commit_status::stored);
}

CAF_TEST_FIXTURE_SCOPE_END()

#define CAF_SUITE persistence_store

#include "tests/integration/persistence/world.hpp"

#include <algorithm>

using namespace slipway;
using namespace slipway::lifecycle;
using namespace slipway::test;

namespace {

struct fixture : world {
  template <class T>
  static std::vector<std::uint64_t> ids(const std::vector<T>& from) {
    auto out = std::vector<std::uint64_t>{};
    for (const auto& x : from)
      if constexpr (std::is_same_v<T, record>)
        out.push_back(raw(x.id));
      else
        out.push_back(raw(x));
    return out;
  }

  using list = std::vector<std::uint64_t>;

  life queued(std::uint64_t id, int at, millis head_start = millis{0}) {
    auto rules = lifecycle::rules{};
    rules.head_start = head_start;
    auto x = life{id, "user-1", rules};
    store(x.create());
    store(x.order());
    store(
      x.step(payment_settled{after(at), 1, payment_gateway::alipay,
                             "tx-" + std::to_string(id), 9'900, after(at)}));
    return x;
  }

  void run(life& x, int at) {
    store(x.step(slot_granted{after(at)}));
    store(x.step(project_ready{
      after(at + 1), 1, "p-" + std::to_string(raw(x.now.id)), "e", false}));
    store(x.step(template_deployed{after(at + 2), 1, ""}));
    store(x.step(configured{after(at + 3), 1, "s", "web", "d", "https://x"}));
    store(x.step(deployment_observed{after(at + 1'000), 1, condition::running,
                                     100, "SUCCESS", "", 0}));
  }

  void fail(life& x, int at) {
    store(x.step(slot_granted{after(at)}));
    store(x.step(step_failed{after(at + 1), 1, phase::creating_project, true,
                             true, true, millis{0}, "no such template", 1}));
  }

  /// What needs attention, as "kind of subscription" sorted.
  std::vector<std::string> attention(timestamp now) {
    auto out = std::vector<std::string>{};
    for (const auto& x :
         must(first->ask(query::list_attention{now, millis{60'000}, 100})))
      out.push_back(x.kind + " " + std::to_string(raw(x.subscription)) + " "
                    + x.suggested_action);
    std::sort(out.begin(), out.end());
    return out;
  }
};

} // namespace

CAF_TEST_FIXTURE_SCOPE(store_tests, fixture)

CAF_TEST(subscriptions of a user come newest first in pages) {
  for (const auto id : {5u, 1u, 3u, 2u, 4u})
    paid(id, id == 3 ? "other" : "user-1");
  auto x = life{6};
  store(x.create());
  const auto page = [&](std::uint64_t before, std::size_t limit) {
    return must(first->ask(
      query::list_records{"user-1", subscription_id{before}, limit}));
  };
  CAF_CHECK((ids(page(0, 10)) == list{6, 5, 4, 2, 1}));
  CAF_CHECK((ids(page(0, 2)) == list{6, 5}));
  CAF_CHECK((ids(page(5, 2)) == list{4, 2}));
  CAF_CHECK((ids(page(1, 2)) == list{}));
  check_equal(page(0, 1)[0], x.now);
  CAF_CHECK_EQUAL(page(0, 10)[1].state.orders.size(), 1u);
  CAF_CHECK(must(first->ask(query::list_records{"nobody", {}, 5})).empty());
}

CAF_TEST(slots are counted and the queue keeps its order) {
  auto late = queued(1, 9'000);
  auto early = queued(2, 3'000);
  auto same_time = queued(3, 9'000);
  auto at_work = queued(4, 2'000);
  store(at_work.step(slot_granted{after(10'000)}));
  auto waits = queued(5, 2'000);
  store(waits.step(slot_granted{after(10'000)}));
  store(waits.step(step_failed{after(10'001), 1, phase::creating_project, true,
                               true, false, millis{0}, "x", 1}));
  CAF_REQUIRE(waits.now.state.deployment.at == phase::backing_off);
  auto found = must(first->ask(query::slots{10, true}));
  CAF_CHECK((ids(found.held) == list{4}));
  CAF_CHECK((ids(found.waiting) == list{2, 1, 3}));
  CAF_CHECK_EQUAL(found.queue_depth.value_or(-1), 3);
  found = must(first->ask(query::slots{2, true}));
  CAF_CHECK((ids(found.waiting) == list{2, 1}));
  CAF_CHECK_EQUAL(found.queue_depth.value_or(-1), 3);
  const auto position = [&](const life& x) {
    return must(first->ask(query::find_record{x.now.id})).queue_position;
  };
  CAF_CHECK_EQUAL(position(early), 1);
  CAF_CHECK_EQUAL(position(late), 2);
  CAF_CHECK_EQUAL(position(same_time), 3);
  CAF_CHECK_EQUAL(position(at_work), 0);
}

CAF_TEST(what has changed since is read with whose it is) {
  auto mine = queued(1, 3'000);
  auto ahead = queued(2, 2'000);
  auto theirs = queued(3, 4'000);
  auto unpaid = life{4};
  store(unpaid.create());
  second = add("second");
  const auto ask = [&](node& of, std::vector<query::list_changes::known> what) {
    return must(of.ask(query::list_changes{std::move(what)}));
  };
  const auto known = [](const life& x, std::uint64_t less = 0) {
    return query::list_changes::known{x.now.id, x.now.state.revision - less};
  };
  CAF_CHECK(ask(*first, {}).empty());
  CAF_CHECK(
    ask(*first, {known(mine), known(ahead), known(theirs), known(unpaid)})
      .empty());
  CAF_CHECK(ask(*first, {{subscription_id{4711}, 0}}).empty());
  // Nothing is known of one, the last step of two, and the fourth is known.
  const auto found
    = ask(*first,
          {known(theirs, 1), {mine.now.id, 0}, known(ahead), known(unpaid, 1)});
  CAF_REQUIRE_EQUAL(found.size(), 3u);
  check_equal(found[0].value, mine.now);
  check_equal(found[1].value, theirs.now);
  check_equal(found[2].value, unpaid.now);
  CAF_CHECK_EQUAL(found[0].queue_position, 2);
  CAF_CHECK_EQUAL(found[1].queue_position, 3);
  CAF_CHECK_EQUAL(found[2].queue_position, 0);
  for (const auto& x : found)
    CAF_CHECK(x.own);
  for (const auto& x : ask(*second, {{mine.now.id, 0}, {unpaid.now.id, 0}}))
    CAF_CHECK(!x.own);
  // As many orders as there are make one row.
  CAF_CHECK(mine.now.state.orders.size() == 1);
  CAF_CHECK(ask(*first, {{mine.now.id, 0}})[0].value.state.orders.size() == 1);
}

CAF_TEST(the queue goes by rank) {
  // Paid later, and of a plan that goes before the others.
  auto cheap = queued(1, 3'000);
  auto dear = queued(2, 8'000, millis{5'001});
  auto equal = queued(3, 8'000, millis{5'000});
  CAF_CHECK((ids(must(first->ask(query::slots{10})).waiting) == list{2, 1, 3}));
  const auto position = [&](const life& x) {
    return must(first->ask(query::find_record{x.now.id})).queue_position;
  };
  CAF_CHECK_EQUAL(position(dear), 1);
  CAF_CHECK_EQUAL(position(cheap), 2);
  CAF_CHECK_EQUAL(position(equal), 3);
  // A second attempt comes back to its place.
  store(dear.step(slot_granted{after(9'000)}));
  store(dear.step(step_failed{after(9'001), 1, phase::creating_project, true,
                              true, false, millis{0}, "x", 0}));
  store(dear.step(woke{after(60'000), 0}));
  CAF_REQUIRE(dear.now.state.deployment.at == phase::queued);
  CAF_CHECK((ids(must(first->ask(query::slots{1})).waiting) == list{2}));
}

CAF_TEST(what is halted holds a slot and what is terminated holds none) {
  auto halting = queued(1, 2'000);
  store(halting.step(slot_granted{after(3'000)}));
  store(halting.step(project_ready{after(3'001), 1, "p-1", "e", false}));
  store(halting.step(step_failed{after(3'002), 1, phase::deploying_template,
                                 true, true, false, millis{0}, "x", 0}));
  CAF_REQUIRE(halting.now.state.deployment.at == phase::halting);
  auto leaving = queued(2, 2'000);
  run(leaving, 3'000);
  auto down = queued(3, 2'000);
  run(down, 3'000);
  store(leaving.step(terminate_requested{after(9'000), actor_kind::operator_}));
  store(down.step(instance_observed{after(9'000), 1, instance_health::crashed,
                                    "", "CRASHED", "exit code 1"}));
  CAF_REQUIRE(leaving.now.state.deployment.at == phase::terminating);
  CAF_CHECK((ids(must(first->ask(query::slots{10})).held) == list{1}));
  // A dead server's removals and halts are taken over; what is down is left.
  second = add("second");
  first->lose_lease();
  auto taken = ids(must(second->ask(query::claim_orphans{10})));
  std::sort(taken.begin(), taken.end());
  CAF_CHECK((taken == list{1, 2}));
}

CAF_TEST(timers are found when they are due) {
  // The end of a period, the deadline of an attempt, and an order, for whose
  // end nobody wakes.
  auto second_due = paid(1);
  auto first_due = paid(2);
  store(first_due.step(slot_granted{after(5'000 - 900'000)}));
  auto never = life{3};
  store(never.create());
  store(never.order());
  const auto month = 30LL * 24 * 3'600'000;
  const auto due = [&](node& by, timestamp now, std::size_t limit) {
    return ids(must(by.ask(query::due_timers{now, limit})));
  };
  CAF_CHECK(due(*first, after(4'999), 10).empty());
  CAF_CHECK((due(*first, after(5'000), 10) == list{2}));
  CAF_CHECK((due(*first, after(2'000 + month - 1), 10) == list{2}));
  CAF_CHECK((due(*first, after(2'000 + month), 10) == list{2, 1}));
  CAF_CHECK((due(*first, after(2'000 + month), 1) == list{2}));
  store(first_due.step(cancel_requested{after(4'000), actor_kind::user}));
  store(first_due.step(cancellation_confirmed{after(4'500)}));
  CAF_CHECK((due(*first, after(2'000 + month - 1), 10) == list{}));
  CAF_CHECK((due(*first, after(2'000 + month), 1) == list{1}));
  // Another server leaves them alone, until their owner is dead.
  second = add("second");
  CAF_CHECK(due(*second, after(2'000 + month), 10).empty());
  first->lose_lease();
  CAF_CHECK((due(*second, after(2'000 + month), 10) == list{1, 2}));
}

CAF_TEST(users are remembered and not forgotten) {
  const auto remember = [&](const char* email, const char* locale, int at) {
    must(first->ask(query::remember_user{"user-1", email, locale, after(at)}));
  };
  auto db = probe{url};
  const auto is
    = [&](const std::string& email, const std::string& locale, int at) {
        const auto row
          = must(db.query("SELECT email, locale, updated_at FROM users"));
        CAF_REQUIRE_EQUAL(row.rows(), 1);
        CAF_CHECK_EQUAL(std::string{row.text(0, 0)}, email);
        CAF_CHECK_EQUAL(std::string{row.text(0, 1)}, locale);
        CAF_CHECK(row.time(0, 2) == after(at));
      };
  remember("a@example.com", "", 1);
  is("a@example.com", "", 1);
  remember("", "zh-CN", 2);
  is("a@example.com", "zh-CN", 2);
  remember("a@example.com", "zh-CN", 3);
  is("a@example.com", "zh-CN", 2);
  remember("b@example.com", "", 4);
  is("b@example.com", "zh-CN", 4);
  // A subscription of a user who is known leaves the row alone.
  auto x = life{1};
  store(x.create());
  is("b@example.com", "zh-CN", 4);
}

CAF_TEST(notifications are listed and read by their user only) {
  paid(1);
  paid(2);
  paid(3, "other");
  const auto all
    = must(first->ask(query::list_notifications{"user-1", 0, 10})).rows;
  CAF_REQUIRE_EQUAL(all.size(), 2u);
  CAF_CHECK(all[0].subscription == subscription_id{2});
  CAF_CHECK(all[0].what.kind == notice_kind::payment_received);
  CAF_CHECK_EQUAL(all[0].what.amount, 9'900);
  CAF_CHECK(all[0].what.at == after(2'000));
  CAF_CHECK(!all[0].read_at);
  const auto older
    = must(first->ask(query::list_notifications{"user-1", all[0].id, 10})).rows;
  CAF_REQUIRE_EQUAL(older.size(), 1u);
  CAF_CHECK_EQUAL(older[0].id, all[1].id);
  const auto stolen = first->ask(
    query::mark_notification_read{"other", all[0].id, after(5'000)});
  CAF_CHECK(!stolen && stolen.error() == errc::not_found);
  auto read = must(first->ask(
    query::mark_notification_read{"user-1", all[0].id, after(6'000)}));
  CAF_CHECK(read.read_at == after(6'000));
  read = must(first->ask(
    query::mark_notification_read{"user-1", all[0].id, after(7'000)}));
  CAF_CHECK(read.read_at == after(6'000));
}

CAF_TEST(notifications of several subscriptions are one list) {
  // Each of them has one from paying, in turn, and one of its own later on.
  auto lives = std::vector<life>{};
  for (auto id : {1, 2, 3})
    lives.push_back(queued(static_cast<std::uint64_t>(id), 2'000));
  for (auto i : {1, 0, 2})
    run(lives[static_cast<std::size_t>(i)], 3'000);
  auto told = std::vector<std::int64_t>{};
  auto of = std::vector<std::uint64_t>{};
  for (auto before = std::int64_t{0};;) {
    const auto page
      = must(first->ask(query::list_notifications{"user-1", before, 2}));
    CAF_CHECK_EQUAL(page.unread.count, 6);
    for (const auto& x : page.rows) {
      told.push_back(x.id);
      of.push_back(raw(x.subscription));
    }
    before = page.next;
    if (before == 0)
      break;
  }
  CAF_CHECK((of == std::vector<std::uint64_t>{3, 1, 2, 3, 2, 1}));
  CAF_CHECK(std::is_sorted(told.rbegin(), told.rend()));
  // Marked from the third one downwards, and then all.
  auto marked
    = must(first->ask(query::mark_all_read{"user-1", told[2], after(5'000)}));
  CAF_CHECK_EQUAL(marked.marked, 3);
  const auto unread
    = must(first->ask(query::list_notifications{"user-1", 0, 10, true}));
  CAF_REQUIRE_EQUAL(unread.rows.size(), 3u);
  CAF_CHECK_EQUAL(unread.rows[2].id, told[2]);
  marked = must(first->ask(query::mark_all_read{"user-1", 0, after(6'000)}));
  CAF_CHECK_EQUAL(marked.marked, 3);
}

CAF_TEST(mails are owed until they are marked) {
  must(first->ask(
    query::remember_user{"user-1", "a@example.com", "en", after(0)}));
  auto x = queued(1, 2'000);
  run(x, 3'000);
  auto y = queued(2, 2'000);
  fail(y, 10'000);
  const auto due = [&](node& by, int at) {
    return must(by.ask(query::due_mails{after(at), 10}));
  };
  CAF_CHECK(due(*first, 3'999).empty());
  auto mails = due(*first, 20'000);
  CAF_REQUIRE_EQUAL(mails.size(), 2u);
  const auto& mail = mails[0];
  CAF_CHECK(mail.subscription == x.now.id);
  CAF_CHECK_EQUAL(mail.revision, x.now.state.revision);
  CAF_CHECK_EQUAL(mail.email, "a@example.com");
  CAF_CHECK_EQUAL(mail.locale, "en");
  CAF_CHECK_EQUAL(mail.plan, "PRO");
  CAF_CHECK_EQUAL(mail.tries, 0u);
  CAF_CHECK(mail.what.kind == notice_kind::deployment_success);
  CAF_CHECK_EQUAL(mail.what.public_url, "https://x");
  CAF_CHECK(mail.what.duration == millis{4'711});
  CAF_CHECK(mails[1].what.kind == notice_kind::deployment_failed);
  CAF_CHECK_EQUAL(mails[1].what.error, "no such template");
  CAF_CHECK(!mails[1].what.duration);
  const auto mark = [&](std::size_t which, query::mail_status status, int at,
                        int next, const char* detail) {
    must(first->ask(query::mark_mail{
      mails[which].subscription, mails[which].revision, mails[which].what.kind,
      status, after(at), after(next), detail, "a@example.com"}));
  };
  mark(0, query::mail_status::owed, 20'000, 30'000, "451 later");
  CAF_CHECK_EQUAL(due(*first, 29'999).size(), 1u);
  CAF_CHECK_EQUAL(due(*first, 30'000).size(), 2u);
  const auto later = due(*first, 30'000);
  CAF_CHECK_EQUAL(later[1].tries, 1u);
  mark(0, query::mail_status::sent, 30'000, 30'000, "250 ok");
  mark(1, query::mail_status::undeliverable, 30'001, 30'001, "550 unknown");
  CAF_CHECK(due(*first, 1'000'000).empty());
  // A second word on a mail that is done changes nothing.
  mark(0, query::mail_status::owed, 40'000, 40'000, "again");
  CAF_CHECK(due(*first, 1'000'000).empty());
  auto outcomes = std::vector<std::string>{};
  for (const auto& row :
       must(first->ask(query::list_history{x.now.id, 0, 100})))
    if (row.entry.kind == history_kind::mail)
      outcomes.push_back(row.entry.operation + " " + row.entry.outcome);
  CAF_CHECK((outcomes
             == std::vector<std::string>{"DEPLOYMENT_SUCCESS deferred",
                                         "DEPLOYMENT_SUCCESS sent"}));
  CAF_CHECK((attention(after(50'000))
             == std::vector<std::string>{"deployment_failed 2 retry",
                                         "undeliverable_mail 2 contact_user"}));
}

CAF_TEST(mails of another living server are left to it) {
  auto x = queued(1, 2'000);
  fail(x, 3'000);
  second = add("second");
  CAF_CHECK(must(second->ask(query::due_mails{after(9'000), 10})).empty());
  first->lose_lease();
  CAF_CHECK_EQUAL(must(second->ask(query::due_mails{after(9'000), 10})).size(),
                  1u);
}

CAF_TEST(everything that needs a person is found) {
  CAF_CHECK(attention(after(0)).empty());
  auto failed = queued(1, 2'000);
  fail(failed, 3'000);
  // At work since long before its deadline.
  auto stuck = queued(2, 2'000);
  store(stuck.step(slot_granted{after(3'000)}));
  // Paid twice: the second payment buys nothing.
  auto twice = life{3};
  store(twice.create());
  store(twice.order());
  store(twice.step(order_requested{after(1'500), payment_gateway::alipay,
                                   payment_method::qr, after(1'801'000), ""}));
  store(twice.pay("tx-3a", 2));
  store(twice.pay("tx-3b", 1));
  CAF_REQUIRE(!twice.now.state.orders[0].applied);
  CAF_REQUIRE(twice.now.state.orders[0].status == order_status::refunding);
  auto entry = callback_entry{};
  entry.outcome = callback_outcome::contradicted;
  entry.received_at = after(4'000);
  entry.dedupe_key = "unknown";
  entry.order_id = "foreign";
  entry.reason = "order_not_found";
  CAF_CHECK(wait_for(first->send(entry)) == errc::none);
  entry.dedupe_key = "wrong";
  entry.order_id = "ours";
  entry.reason = "amount_mismatch";
  entry.subscription = failed.now.id;
  CAF_CHECK(wait_for(first->send(entry)) == errc::none);
  entry.dedupe_key = "fine";
  entry.outcome = callback_outcome::acknowledged;
  CAF_CHECK(wait_for(first->send(entry)) == errc::none);
  const auto base = std::vector<std::string>{
    "deployment_failed 1 retry", "payment_mismatch 1 settle",
    "surplus_payment 3 wait", "unknown_payment 0 settle"};
  CAF_CHECK(attention(after(903'000)) == base);
  auto with_stuck = base;
  with_stuck.push_back("stuck 2 inspect");
  std::sort(with_stuck.begin(), with_stuck.end());
  CAF_CHECK(attention(after(903'000 + 60'001)) == with_stuck);
  // Its instance has no row before it has a project.
  for (const auto& x : must(first->ask(
         query::list_attention{after(963'001), millis{60'000}, 100})))
    if (x.kind == "stuck")
      CAF_CHECK_EQUAL(x.instance_seq, 1u);
  const auto rows
    = must(first->ask(query::list_attention{after(5'000), millis{0}, 2}));
  CAF_REQUIRE_EQUAL(rows.size(), 2u);
  CAF_CHECK(rows[0].since >= rows[1].since);
  for (const auto& x :
       must(first->ask(query::list_attention{after(5'000), millis{0}, 10})))
    if (x.kind == "deployment_failed") {
      CAF_CHECK_EQUAL(x.reason, "no such template");
      CAF_CHECK_EQUAL(x.instance_seq, 1u);
      CAF_CHECK(x.since == after(3'001));
    }
}

CAF_TEST(a refund that fails needs a person until it is made) {
  const auto only = [&](timestamp now, const std::string& what) {
    auto expected = std::vector<std::string>{};
    if (!what.empty())
      expected.push_back(what);
    CAF_CHECK(attention(now) == expected);
  };
  const auto reason = [&] {
    return must(
      first->ask(query::list_attention{after(9'000), millis{60'000}, 100}))[0];
  };
  auto x = paid(1);
  store(x.step(refund_requested{after(3'000), 0, refund_cause::operator_}));
  only(after(3'000), "");
  store(x.step(refund_failed{after(4'000), 1, 1, false, "NOT_ENOUGH"}));
  only(after(4'000), "refund_failed 1 refund");
  CAF_CHECK_EQUAL(reason().reason, "payment tx-1 was not refunded: NOT_ENOUGH");
  CAF_CHECK(reason().since == after(1'900));
  // The failure came with an answer, which is when it was.
  auto db = probe{url};
  db.run("UPDATE payments SET asked_at = '2026-11-23T08:00:03.623Z'");
  CAF_CHECK(reason().since == after(3'500));
  store(x.step(refund_requested{after(5'000), 1, refund_cause::operator_}));
  only(after(5'000), "");
  store(x.step(refund_observed{after(6'000), 1, 9'900, 0, ""}));
  only(after(6'000), "");
}

CAF_TEST(a refund that is never confirmed needs a person) {
  auto x = paid(1);
  store(x.step(refund_requested{after(3'000), 0, refund_cause::operator_}));
  const auto claim = [&](timestamp now) {
    return must(first->ask(
                  query::claim_asks{payment_gateway::alipay, now, 10, rules{}}))
      .size();
  };
  auto now = after(3'000);
  for (auto i = 0; i < 8; ++i) {
    CAF_CHECK(attention(now).empty());
    now += std::chrono::minutes{15};
    CAF_REQUIRE_EQUAL(claim(now), 1u);
  }
  CAF_CHECK((attention(now)
             == std::vector<std::string>{"refund_stuck 1 "
                                         "inspect"}));
  const auto row
    = must(first->ask(query::list_attention{now, millis{60'000}, 100}))[0];
  CAF_CHECK(row.since == now);
  CAF_CHECK_EQUAL(row.reason, "the refund of payment tx-1 is not confirmed, "
                              "the gateway was asked 8 times");
  store(x.step(refund_observed{now, 1, 9'900, 0, ""}));
  CAF_CHECK(attention(now).empty());
}

CAF_TEST(money that is too much is there until it went back) {
  auto x = life{1};
  store(x.create());
  store(x.order());
  store(x.step(order_requested{after(1'500), payment_gateway::alipay,
                               payment_method::qr, after(1'801'000), ""}));
  store(x.pay("tx-1", 1));
  CAF_CHECK(attention(after(2'000)).empty());
  store(x.pay("tx-2", 2));
  const auto surplus = [&] {
    auto out = std::string{};
    for (const auto& row :
         must(first->ask(query::list_attention{after(3'000), millis{0}, 100})))
      if (row.kind == "surplus_payment")
        out += row.reason + ": " + row.suggested_action;
    return out;
  };
  CAF_CHECK_EQUAL(surplus(), "payment tx-2 bought no period and is being "
                             "refunded: wait");
  store(x.step(refund_failed{after(4'000), 2, 1, false, "NOT_ENOUGH"}));
  // One line for one thing.
  CAF_CHECK((attention(after(4'000))
             == std::vector<std::string>{"refund_failed 1 refund"}));
  store(x.step(refund_requested{after(5'000), 0, refund_cause::operator_}));
  store(x.step(refund_observed{after(6'000), 2, 9'900, 0, ""}));
  CAF_CHECK(attention(after(6'000)).empty());
}

CAF_TEST(an order of which the gateway says nothing needs a person) {
  auto x = life{1};
  store(x.create());
  store(x.order()); // Expires at 1'801'000.
  auto y = life{2};
  store(y.create());
  store(y.order());
  store(y.step(order_requested{after(1'500), payment_gateway::alipay,
                               payment_method::qr, after(9'000'000), ""}));
  CAF_REQUIRE(y.now.state.orders[0].status == order_status::closing);
  CAF_CHECK(attention(after(2'401'000)).empty());
  CAF_CHECK((attention(after(2'401'001))
             == std::vector<std::string>{"order_unsettled 1 inspect",
                                         "order_unsettled 2 inspect"}));
  for (const auto& row : must(first->ask(
         query::list_attention{after(2'500'000), millis{60'000}, 100})))
    CAF_CHECK(row.since == after(1'801'000));
  store(x.step(order_closed{after(2'500'000), 1}));
  CAF_CHECK((attention(after(2'500'000))
             == std::vector<std::string>{"order_unsettled 2 inspect"}));
  store(y.pay("tx-2", 1));
  CAF_CHECK(attention(after(2'500'000)).empty());
}

CAF_TEST(stats count phases and how long it takes) {
  auto x = queued(1, 2'000);
  run(x, 3'000);
  auto y = queued(2, 2'000);
  run(y, 3'000);
  auto z = queued(3, 2'000);
  fail(z, 3'000);
  queued(4, 2'000);
  auto fresh = life{5};
  store(fresh.create());
  const auto found = must(first->ask(query::read_stats{}));
  CAF_REQUIRE_EQUAL(found.by_phase.size(), std::size_t{phase_count});
  CAF_CHECK_EQUAL(found.by_phase[8], 2);
  CAF_CHECK_EQUAL(found.by_phase[9], 1);
  CAF_CHECK_EQUAL(found.by_phase[2], 1);
  CAF_CHECK_EQUAL(found.by_phase[0], 1);
  CAF_REQUIRE_EQUAL(found.by_status.size(), 6u);
  CAF_CHECK_EQUAL(found.by_status[0], 1);
  CAF_CHECK_EQUAL(found.by_status[1], 4);
  CAF_CHECK_EQUAL(found.completed, 3);
  CAF_CHECK_EQUAL(found.succeeded, 2);
  CAF_CHECK_EQUAL(found.average_ms, 1'000);
  CAF_CHECK_EQUAL(found.p95_ms, 1'000);
}

CAF_TEST(pages of a count add up) {
  for (auto i = 1; i <= 3; ++i)
    queued(static_cast<std::uint64_t>(i), 2'000);
  for (auto i = 4; i <= 6; ++i)
    store(life{static_cast<std::uint64_t>(i)}.create());
  auto by_status = std::vector<std::int64_t>(6);
  auto pages = 0;
  auto page = query::count_page::found{};
  do {
    page = must(first->ask(query::count_page{page.next, 4}));
    CAF_REQUIRE_EQUAL(page.by_status.size(), by_status.size());
    for (size_t i = 0; i < by_status.size(); ++i)
      by_status[i] += page.by_status[i];
    ++pages;
  } while (raw(page.next) != 0 && pages < 10);
  CAF_CHECK_EQUAL(pages, 2);
  CAF_CHECK_EQUAL(by_status[0], 3);
  CAF_CHECK_EQUAL(by_status[1], 3);
}

CAF_TEST(an empty database answers everything) {
  CAF_CHECK(raw(must(first->ask(query::count_page{{}, 5})).next) == 0);
  CAF_CHECK(first->ask(query::ping{}).has_value());
  CAF_CHECK_EQUAL(must(first->ask(query::read_stats{})).average_ms, 0);
  CAF_CHECK(must(first->ask(query::slots{3})).held.empty());
  CAF_CHECK(must(first->ask(query::claim_orphans{3})).empty());
  CAF_CHECK(must(first->ask(query::due_mails{day_one, 3})).empty());
}

CAF_TEST_FIXTURE_SCOPE_END()

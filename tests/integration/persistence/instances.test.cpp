#define CAF_SUITE persistence_instances

#include "actors/metrics.hpp"
#include "tests/integration/persistence/world.hpp"

#include <algorithm>
#include <set>

using namespace slipway;
using namespace slipway::lifecycle;
using namespace slipway::test;
using namespace std::chrono_literals;

// Goal: what came to run is found again by its id, by its project and page by
// page; what lies at the provider without belonging there is written down; and
// whatever of it needs a person is listed until it is done.

namespace {

struct fixture : world {
  using list = std::vector<std::uint64_t>;

  static list ids(const std::vector<record>& from) {
    auto out = list{};
    for (const auto& x : from)
      out.push_back(raw(x.id));
    return out;
  }

  static std::string project_of(std::uint64_t id) {
    return "p-" + std::to_string(id);
  }

  /// At work since 3 s, with a project.
  life at_work(std::uint64_t id) {
    auto x = paid(id);
    store(x.step(slot_granted{after(3'000)}));
    store(x.step(project_ready{after(3'001), 1, project_of(id), "env", false}));
    return x;
  }

  life running(std::uint64_t id) {
    auto x = at_work(id);
    store(x.step(template_deployed{after(3'002), 1, ""}));
    store(x.step(configured{after(3'003), 1, "s", "web", "d", "https://x"}));
    store(x.step(deployment_observed{after(4'000), 1, condition::running, 100,
                                     "SUCCESS", "", 0}));
    return x;
  }

  void see(life& x, int at, instance_health is, std::string reason = "") {
    store(x.step(instance_observed{after(at), x.now.state.instance.seq, is, "",
                                   "X", std::move(reason)}));
  }

  list watched(node& by, std::uint64_t after_id, std::size_t limit) {
    return ids(
      must(by.ask(query::list_watched{subscription_id{after_id}, limit})));
  }

  tl::expected<record, errc> in_project(const std::string& project) {
    return first->ask(query::find_by_project{project});
  }

  timestamp note(const std::string& project, int at,
                 std::uint64_t subscription = 0, std::string reason = "why") {
    return must(first->ask(query::note_orphans{
                  {{project, "slipway-" + project,
                    subscription_id{subscription}, std::move(reason)}},
                  after(at)}))
      .at(0);
  }

  void close(const std::string& project, int at, bool by_us) {
    must(first->ask(query::close_orphan{project, after(at), by_us}));
  }

  std::vector<query::list_attention::row> rows(timestamp now) {
    return must(first->ask(query::list_attention{now, millis{60'000}, 100}));
  }

  /// What needs attention, as "kind of subscription", sorted.
  std::vector<std::string> attention(timestamp now) {
    auto out = std::vector<std::string>{};
    for (const auto& x : rows(now))
      out.push_back(x.kind + " " + std::to_string(raw(x.subscription)) + " "
                    + x.suggested_action);
    std::sort(out.begin(), out.end());
    return out;
  }

  using lines = std::vector<std::string>;

  probe db{url};
};

} // namespace

CAF_TEST_FIXTURE_SCOPE(instances_tests, fixture)

CAF_TEST(what came to run is listed page by page) {
  for (auto id : {9u, 4u, 7u, 2u})
    running(id);
  auto down = running(5);
  see(down, 9'000, instance_health::crashed, "exit code 137");
  // None of these is looked at.
  at_work(1);
  auto leaving = running(3);
  store(leaving.step(terminate_requested{after(9'000), actor_kind::operator_}));
  auto gone = running(6);
  store(gone.step(terminate_requested{after(9'000), actor_kind::operator_}));
  store(gone.step(cancellation_confirmed{after(9'001)}));
  auto missing = running(8);
  see(missing, 9'000, instance_health::missing);
  CAF_CHECK((watched(*first, 0, 10) == list{2, 4, 5, 7, 9}));
  CAF_CHECK((watched(*first, 0, 2) == list{2, 4}));
  CAF_CHECK((watched(*first, 4, 2) == list{5, 7}));
  CAF_CHECK((watched(*first, 7, 2) == list{9}));
  CAF_CHECK((watched(*first, 9, 2) == list{}));
  // Whole, as they are stored.
  const auto found
    = must(first->ask(query::list_watched{subscription_id{4}, 1}));
  CAF_REQUIRE_EQUAL(found.size(), 1u);
  check_equal(found[0], down.now);
}

CAF_TEST(another instance of the same subscription is looked at again) {
  auto x = running(1);
  see(x, 9'000, instance_health::missing);
  CAF_CHECK(watched(*first, 0, 10).empty());
  store(x.step(retry_requested{after(10'000), actor_kind::user}));
  store(x.step(slot_granted{after(11'000)}));
  store(x.step(project_ready{after(11'001), 2, "p-1b", "env", false}));
  store(x.step(template_deployed{after(11'002), 2, ""}));
  store(x.step(configured{after(11'003), 2, "s", "web", "d", "https://x"}));
  store(x.step(deployment_observed{after(12'000), 2, condition::running, 100,
                                   "SUCCESS", "", 0}));
  CAF_CHECK((watched(*first, 0, 10) == list{1}));
}

CAF_TEST(a server looks at its own and at nobodys) {
  running(1);
  running(2);
  second = add("second");
  CAF_CHECK((watched(*second, 0, 10) == list{}));
  // One that came to run long ago, under a server that has gone.
  db.run("UPDATE subscriptions SET owner = NULL WHERE id = 2");
  CAF_CHECK((watched(*second, 0, 10) == list{2}));
  CAF_CHECK((watched(*first, 0, 10) == list{1, 2}));
  first->lose_lease();
  CAF_CHECK((watched(*second, 0, 10) == list{1, 2}));
}

CAF_TEST(a project leads to its subscription) {
  auto x = running(1);
  auto y = at_work(2);
  check_equal(must(in_project("p-1")), x.now);
  check_equal(must(in_project("p-2")), y.now);
  for (const auto* unknown : {"", "p", "p-3", "P-1"}) {
    const auto found = in_project(unknown);
    CAF_CHECK(!found && found.error() == errc::not_found);
  }
  // One that has none yet is not the one with the empty name.
  auto z = paid(3);
  store(z.step(slot_granted{after(3'000)}));
  CAF_CHECK(!in_project(""));
  // A project that is gone leads nowhere; the next one leads here.
  store(x.step(terminate_requested{after(9'000), actor_kind::operator_}));
  CAF_CHECK(in_project("p-1").has_value());
  store(x.step(cancellation_confirmed{after(9'001)}));
  const auto gone = in_project("p-1");
  CAF_CHECK(!gone && gone.error() == errc::not_found);
  store(x.step(retry_requested{after(10'000), actor_kind::user}));
  store(x.step(slot_granted{after(11'000)}));
  store(x.step(project_ready{after(11'001), 2, "p-1b", "env", false}));
  check_equal(must(in_project("p-1b")), x.now);
  CAF_CHECK(!in_project("p-1"));
}

CAF_TEST(what is known of many is told at once) {
  auto x = running(1);
  auto y = paid(2);
  paid(3);
  const auto match = [&](std::vector<subscription_id> which) {
    return must(first->ask(query::match_records{std::move(which)}));
  };
  auto found = match({subscription_id{2}, subscription_id{4711},
                      subscription_id{1}, subscription_id{2}});
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) {
    return a.id < b.id;
  });
  CAF_REQUIRE_EQUAL(found.size(), 2u);
  check_equal(found[0], x.now);
  check_equal(found[1], y.now);
  CAF_CHECK(match({}).empty());
  CAF_CHECK(match({subscription_id{4711}}).empty());
  // Whoever owns them: the provider's projects are everybody's.
  second = add("second");
  CAF_CHECK_EQUAL(
    must(second->ask(query::match_records{{subscription_id{1}}})).size(), 1u);
}

CAF_TEST(an orphan is first seen once) {
  CAF_CHECK(note("a", 1'000) == after(1'000));
  CAF_CHECK(note("b", 2'000, 7) == after(2'000));
  CAF_CHECK(note("a", 3'000, 8, "why now") == after(1'000));
  const auto row = must(db.query(
    "SELECT name, subscription_id, reason, seen_at, last_seen_at, "
    "gone_at IS NULL, removed_by_us FROM orphans WHERE project_id = 'a'"));
  CAF_REQUIRE_EQUAL(row.rows(), 1);
  CAF_CHECK_EQUAL(std::string{row.text(0, 0)}, "slipway-a");
  CAF_CHECK_EQUAL(row.int64(0, 1), 8);
  CAF_CHECK_EQUAL(std::string{row.text(0, 2)}, "why now");
  CAF_CHECK(row.time(0, 3) == after(1'000));
  CAF_CHECK(row.time(0, 4) == after(3'000));
  CAF_CHECK(row.boolean(0, 5));
  CAF_CHECK(!row.boolean(0, 6));
  CAF_CHECK_EQUAL(db.count("orphans WHERE subscription_id = 7"), 1);
}

CAF_TEST(several orphans are written down at once) {
  note("b", 1'000);
  note("c", 1'000);
  close("c", 2'000, true);
  auto what = query::note_orphans{{}, after(3'000)};
  for (const auto* id : {"d", "c", "b", "a"})
    what.of.push_back({id, "it's \"" + std::string{id} + "\", \\{NULL}",
                       subscription_id{7}, "of " + std::string{id}});
  // The answers stand in the order of the question.
  CAF_CHECK(
    must(first->ask(std::move(what)))
    == (std::vector{after(3'000), after(3'000), after(1'000), after(3'000)}));
  CAF_CHECK_EQUAL(db.count("orphans WHERE gone_at IS NULL AND last_seen_at = "
                           "'2026-11-23T08:00:03.123Z' AND reason = 'of ' || "
                           "project_id AND subscription_id = 7"),
                  4);
  // The name stays that of the first time.
  const auto names
    = must(db.query("SELECT name FROM orphans ORDER BY project_id"));
  CAF_CHECK_EQUAL(std::string{names.text(0, 0)}, "it's \"a\", \\{NULL}");
  CAF_CHECK_EQUAL(std::string{names.text(1, 0)}, "slipway-b");
  CAF_CHECK(must(first->ask(query::note_orphans{{}, after(4'000)})).empty());
}

CAF_TEST(an orphan that has gone is done with) {
  note("a", 1'000);
  note("b", 1'000);
  close("a", 5'000, true);
  close("unknown", 5'000, true);
  const auto gone = [&](const std::string& project) {
    const auto row = must(db.query("SELECT gone_at, removed_by_us FROM orphans "
                                   "WHERE project_id = '"
                                   + project + "'"));
    CAF_REQUIRE_EQUAL(row.rows(), 1);
    return std::pair{row.opt_time(0, 0), row.boolean(0, 1)};
  };
  CAF_CHECK(gone("a") == (std::pair{std::optional{after(5'000)}, true}));
  CAF_CHECK(gone("b") == (std::pair{std::optional<timestamp>{}, false}));
  CAF_CHECK_EQUAL(db.count("orphans"), 2);
  // Whoever closes it later changes nothing.
  close("a", 6'000, false);
  CAF_CHECK(gone("a") == (std::pair{std::optional{after(5'000)}, true}));
  // One that is there again is another one.
  CAF_CHECK(note("a", 9'000) == after(9'000));
  CAF_CHECK(gone("a") == (std::pair{std::optional<timestamp>{}, false}));
  close("a", 9'500, false);
  CAF_CHECK(gone("a") == (std::pair{std::optional{after(9'500)}, false}));
}

CAF_TEST(what a whole sweep has not found any more has gone) {
  note("a", 1'000);
  note("b", 1'000);
  note("c", 1'000);
  close("c", 2'000, true);
  // The next sweep begins at 10 s and finds the second one only.
  note("b", 10'000);
  note("d", 10'001);
  must(first->ask(query::close_vanished_orphans{after(10'000)}));
  CAF_CHECK_EQUAL(db.count("orphans WHERE gone_at IS NULL"), 2);
  CAF_CHECK_EQUAL(
    db.count("orphans WHERE gone_at IS NULL AND project_id IN ('b', 'd')"), 2);
  CAF_CHECK_EQUAL(db.count("orphans WHERE project_id = 'a' AND NOT "
                           "removed_by_us AND gone_at = "
                           "'2026-11-23T08:00:10.123Z'"),
                  1);
  // What we removed stays so.
  CAF_CHECK_EQUAL(db.count("orphans WHERE project_id = 'c' AND removed_by_us "
                           "AND gone_at = '2026-11-23T08:00:02.123Z'"),
                  1);
}

// -- attention ----------------------------------------------------------------

CAF_TEST(an instance that is down needs a person until it runs again) {
  auto x = running(1);
  CAF_CHECK(attention(after(9'000)).empty());
  see(x, 10'000, instance_health::crashed, "exit code 137");
  CAF_CHECK((attention(after(11'000)) == lines{"instance_down 1 retry"}));
  const auto row = rows(after(11'000))[0];
  CAF_CHECK_EQUAL(row.reason, "exit code 137");
  CAF_CHECK_EQUAL(row.instance_seq, 1u);
  CAF_CHECK(row.since == after(10'000));
  see(x, 12'000, instance_health::healthy);
  CAF_CHECK(attention(after(13'000)).empty());
  // Deployed again it is not down, either.
  see(x, 14'000, instance_health::removed, "removed");
  store(x.step(retry_requested{after(15'000), actor_kind::operator_}));
  CAF_CHECK(attention(after(16'000)).empty());
}

CAF_TEST(nobody is asked to retry what nobody pays for) {
  auto x = running(1);
  see(x, 10'000, instance_health::crashed);
  store(x.step(woke{*x.now.state.end_at, 0}));
  CAF_REQUIRE(x.now.state.status == subscription_status::expired);
  CAF_CHECK(attention(*x.now.state.end_at).empty());
}

CAF_TEST(an instance whose money went back is to be taken away) {
  auto up = running(1);
  auto down = running(2);
  auto missing = running(3);
  see(down, 9'000, instance_health::crashed);
  see(missing, 9'000, instance_health::missing);
  for (auto* x : {&up, &down, &missing}) {
    store(x->step(refund_observed{after(10'000), 1, 9'900, 0, ""}));
    CAF_REQUIRE(x->now.state.status == subscription_status::refunded);
  }
  // Where nothing is left there is nothing to do.
  CAF_CHECK(
    (attention(after(11'000))
     == lines{"refunded_running 1 terminate", "refunded_running 2 terminate"}));
  for (const auto& row : rows(after(11'000))) {
    CAF_CHECK_EQUAL(row.instance_seq, 1u);
    CAF_CHECK(row.since == after(10'000));
    CAF_CHECK_EQUAL(row.reason,
                    "the money went back, and the instance is there");
  }
  store(up.step(terminate_requested{after(12'000), actor_kind::operator_}));
  CAF_CHECK(
    (attention(after(12'000)) == lines{"refunded_running 2 terminate"}));
  store(down.step(terminate_requested{after(12'000), actor_kind::operator_}));
  CAF_CHECK(attention(after(12'000)).empty());
  store(down.step(cancellation_confirmed{after(13'000)}));
  CAF_CHECK(attention(after(13'000)).empty());
}

CAF_TEST(a removal that is never confirmed needs a person) {
  auto x = running(1);
  store(x.step(terminate_requested{after(10'000), actor_kind::operator_}));
  CAF_CHECK(attention(after(70'000)).empty());
  CAF_CHECK((attention(after(70'001)) == lines{"stuck 1 inspect"}));
  auto row = rows(after(70'001))[0];
  CAF_CHECK_EQUAL(row.reason, "not yet taken away at the provider");
  CAF_CHECK(row.since == after(10'000));
  CAF_CHECK_EQUAL(row.instance_seq, 1u);
  store(x.step(step_failed{after(71'000), 1, phase::terminating, false, false,
                           false, millis{0}, "HTTP 502", 0}));
  row = rows(after(71'000))[0];
  CAF_CHECK_EQUAL(row.reason, "not yet taken away at the provider: HTTP 502");
  store(x.step(cancellation_confirmed{after(72'000)}));
  CAF_CHECK(attention(after(200'000)).empty());
}

CAF_TEST(a halt that does not end is past its deadline) {
  auto x = at_work(1);
  store(x.step(step_failed{after(4'000), 1, phase::deploying_template, true,
                           false, false, millis{0}, "no such image", 0}));
  CAF_REQUIRE(x.now.state.deployment.at == phase::halting);
  const auto deadline = *x.now.state.deployment.deadline_at;
  CAF_CHECK(attention(deadline + 60s).empty());
  CAF_CHECK((attention(deadline + 60s + 1ms) == lines{"stuck 1 inspect"}));
  const auto found = rows(deadline + 61s);
  CAF_CHECK_EQUAL(found[0].reason, "past its deadline: no such image");
}

CAF_TEST(an orphan needs a person until it has gone) {
  note("a", 1'000, 7, "no subscription of that number");
  note("b", 2'000, 0, "named like ours");
  CAF_CHECK((attention(after(3'000))
             == lines{"orphan_project 0 inspect", "orphan_project 7 inspect"}));
  const auto found = rows(after(3'000));
  CAF_CHECK_EQUAL(found[1].reason,
                  "project a (slipway-a): no subscription of that number");
  CAF_CHECK(found[1].since == after(1'000));
  CAF_CHECK_EQUAL(found[1].instance_seq, 0u);
  close("a", 4'000, true);
  CAF_CHECK((attention(after(4'000)) == lines{"orphan_project 0 inspect"}));
  must(first->ask(query::close_vanished_orphans{after(5'000)}));
  CAF_CHECK(attention(after(5'000)).empty());
}

CAF_TEST(whatever needs attention is counted) {
  auto down = running(1);
  see(down, 9'000, instance_health::crashed);
  auto back = running(2);
  store(back.step(refund_observed{after(10'000), 1, 9'900, 0, ""}));
  auto leaving = running(3);
  store(leaving.step(terminate_requested{after(9'000), actor_kind::operator_}));
  note("a", 1'000);
  auto kinds = std::set<std::string>{};
  for (const auto& x : rows(after(1'000'000))) {
    kinds.insert(x.kind);
    CAF_CHECK_EQUAL(std::count(std::begin(attention_kinds),
                               std::end(attention_kinds), x.kind),
                    1);
  }
  CAF_CHECK((kinds
             == std::set<std::string>{"instance_down", "refunded_running",
                                      "stuck", "orphan_project"}));
}

// -- indexes ------------------------------------------------------------------

CAF_TEST(the indexes are those that the questions use) {
  running(1);
  // With enough rows that a look at all of them would be dearer.
  db.run(
    "INSERT INTO subscriptions (id, user_id, plan, currency, amount_minor, "
    "period_days, status, phase, phase_at, revision, settled, created_at, "
    "updated_at, start_at, end_at, queued_at, queue_rank, attempt, "
    "attempt_limit, progress, started_at, deadline_at, completed_at) "
    "SELECT n, 'user-1', 'PRO', 'CNY', 9900, 30, CASE WHEN n % 500 = 3 THEN 5 "
    "ELSE 1 END, CASE n % 500 WHEN 1 THEN 8 WHEN 2 THEN 13 WHEN 3 THEN 8 "
    "WHEN 4 THEN 14 WHEN 5 THEN 2 WHEN 6 THEN 15 ELSE 11 END, now(), 1, "
    "n % 500 NOT IN (4, 5, 6), now(), now(), now(), "
    "now() + interval '30 days', now(), now(), 1, 1, 100, now(), now(), now() "
    "FROM generate_series(10, 20000) n; "
    "INSERT INTO instances (subscription_id, seq, status, created_at, "
    "project_id, environment_id) SELECT n, 1, 2, now(), 'q-' || n, 'e' "
    "FROM generate_series(10, 20000) n; "
    "INSERT INTO orphans SELECT 'o-' || n, 'x', 0, 'r', now(), now(), "
    "CASE WHEN n % 500 <> 0 THEN now() END FROM generate_series(1, 20000) n; "
    "ANALYZE subscriptions; ANALYZE instances; ANALYZE orphans");
  const auto uses = [&](const std::string& sql, const std::string& index) {
    const auto plan = must(db.query("EXPLAIN " + sql));
    auto text = std::string{};
    for (auto i = 0; i < plan.rows(); ++i)
      text += std::string{plan.text(i, 0)} + "\n";
    CAF_CHECK_EQUAL(text.find(index) != std::string::npos ? index : text,
                    index);
  };
  const auto from = std::string{"SELECT id FROM subscriptions s WHERE "};
  uses(from + "stage IN (3, 5) AND id > 7 ORDER BY id LIMIT 25",
       "subscriptions_watched");
  uses(from + "stage = 1 ORDER BY queue_rank, id LIMIT 10",
       "subscriptions_queue");
  uses(from + "stage = 2", "subscriptions_by_stage");
  uses(from + "stage = 4 ORDER BY id DESC LIMIT 100", "subscriptions_by_stage");
  uses(from + "NOT settled AND owner = 1 AND id > 7 ORDER BY id LIMIT 100",
       "subscriptions_unsettled");
  uses(from + "stage = 6 AND phase_at < now() LIMIT 100",
       "subscriptions_by_stage");
  uses(from + "stage IN (3, 5) AND status = 5 ORDER BY id DESC LIMIT 100",
       "subscriptions_refunded_running");
  uses("SELECT 1 FROM instances WHERE project_id = 'q-77' "
       "AND project_id <> '' AND deleted_at IS NULL",
       "instances_by_project");
  uses("SELECT 1 FROM orphans WHERE gone_at IS NULL ORDER BY seen_at DESC "
       "LIMIT 100",
       "orphans_there");
}

CAF_TEST_FIXTURE_SCOPE_END()

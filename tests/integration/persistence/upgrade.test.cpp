#define CAF_SUITE persistence_upgrade

#include "tests/integration/persistence/world.hpp"

using namespace slipway;
using namespace slipway::lifecycle;
using namespace slipway::test;
using namespace std::chrono_literals;

namespace {

/// A database as an earlier version left it.
struct fixture {
  /// @param version Of the schema, the first one by default.
  explicit fixture(std::size_t version = 1)
    : from{version}, url{postgres.database(
                       {schema_migrations().begin(),
                        schema_migrations().begin()
                          + static_cast<std::ptrdiff_t>(version)})} {
    spdlog::set_level(spdlog::level::off);
  }

  ~fixture() {
    server.reset();
    system.await_all_actors_done();
  }

  void upgrade() {
    const auto done
      = must(migrate(db.db(), schema_migrations(), millis{10'000}));
    CAF_CHECK_EQUAL(done.from, static_cast<int>(from));
    CAF_CHECK_EQUAL(done.to, static_cast<int>(schema_migrations().size()));
    upgraded_at = must(db.query("SELECT applied_at FROM schema_migrations "
                                "WHERE version = 2"))
                    .time(0, 0);
    server = std::make_unique<node>(system, meters, url, "upgraded");
  }

  /// @param more columns of the deployment, or nothing.
  void subscription(int id, int status, int phase, const std::string& columns,
                    const std::string& values) {
    const auto number = std::to_string(id);
    db.run(
      "INSERT INTO users VALUES ('u" + number
      + "', '', '', now(), now()); "
        "INSERT INTO subscriptions (id, user_id, plan, currency, "
        "amount_minor, period_days, status, phase, phase_at, revision, "
        "settled, created_at, updated_at"
      + columns + ") VALUES (" + number + ", 'u" + number
      + "', 'PRO', 'CNY', 9900, 30, " + std::to_string(status) + ", "
      + std::to_string(phase) + ", now(), 3, "
      + (is_settled(static_cast<lifecycle::phase>(phase)) ? "true" : "false")
      + ", now(), now()" + values + ")");
  }

  void order(int id, int seq, int status, const std::string& expires) {
    const auto is_paid = status == 1 || status == 4;
    db.run("INSERT INTO payments (subscription_id, seq, gateway, method, "
           "status, amount_minor, created_at, expires_at, paid_at, "
           "transaction_id) VALUES ("
           + std::to_string(id) + ", " + std::to_string(seq) + ", 0, 2, "
           + std::to_string(status) + ", 9900, now(), now() + interval '"
           + expires + "', "
           + (is_paid ? "now(), 'tx-" + std::to_string(id) + "-"
                          + std::to_string(seq) + "'"
                      : std::string{"NULL, NULL"})
           + ")");
  }

  /// What is due so long after the upgrade, and not asked about before.
  std::vector<std::pair<std::uint64_t, std::uint32_t>>
  due_within(std::chrono::seconds time) {
    // The database is finer than a millisecond.
    const auto now = upgraded_at + time + millis{1};
    auto out = std::vector<std::pair<std::uint64_t, std::uint32_t>>{};
    for (const auto& x : must(server->ask(
           query::claim_asks{payment_gateway::alipay, now, 100, rules{}})))
      out.emplace_back(raw(x.subscription), x.order.seq);
    return out;
  }

  std::size_t from;
  postgres_fixture& postgres = postgres_fixture::shared();
  std::string url;
  probe db{url};
  metrics meters;
  caf::actor_system_config config;
  caf::actor_system system{config};
  std::unique_ptr<node> server;
  timestamp upgraded_at{};
};

} // namespace

CAF_TEST_FIXTURE_SCOPE(upgrade_tests, fixture)

CAF_TEST(orders of the first version are asked about) {
  subscription(1, 0, 0, "", "");
  order(1, 1, 2, "-3 hours");
  order(1, 2, 2, "20 min"); // Replaced, and payable at the gateway until then.
  order(1, 3, 0, "30 min");
  subscription(2, 1, 8, ", start_at, end_at",
               ", now(), now() + interval '30 days'");
  order(2, 1, 2, "-40 days");
  order(2, 2, 1, "-39 days");
  order(2, 3, 4, "-38 days");
  upgrade();
  const auto found = server->find(subscription_id{1});
  CAF_REQUIRE_EQUAL(found.state.orders.size(), 3u);
  for (const auto& x : found.state.orders) {
    auto expected = lifecycle::order{};
    expected.seq = x.seq;
    expected.method = payment_method::qr;
    expected.status = x.seq == 3 ? order_status::pending : order_status::closed;
    expected.amount = 9'900;
    expected.created_at = x.created_at;
    expected.expires_at = x.expires_at;
    CAF_CHECK(x == expected);
  }
  using orders = std::vector<std::pair<std::uint64_t, std::uint32_t>>;
  // What can be paid at once; then the past, once each.
  CAF_CHECK((due_within(0s) == orders{{1, 3}}));
  CAF_CHECK_EQUAL(db.count("payments WHERE ask_at IS NOT NULL"), 4);
  CAF_CHECK_EQUAL(
    db.count("payments WHERE ask_at IS NOT NULL AND status IN (1, 4)"), 0);
  CAF_CHECK_EQUAL(db.count("payments WHERE status = 2 AND seq = 2 "
                           "AND ask_at = expires_at + interval '10 min'"),
                  1);
  db.run("UPDATE payments SET ask_at = NULL WHERE status = 0");
  CAF_CHECK((due_within(10s) == orders{{1, 1}, {2, 1}}));
  CAF_CHECK((due_within(40min) == orders{{1, 2}}));
  // The far past is done with; what has just expired is looked at some more.
  CAF_CHECK_EQUAL(db.count("payments WHERE ask_at IS NOT NULL "
                           "AND expires_at < now() - interval '1 day'"),
                  0);
  CAF_CHECK_EQUAL(db.count("payments WHERE ask_at IS NOT NULL"), 2);
}

CAF_TEST(nobody wakes for the end of an order any more) {
  const auto wakes = [](const char* at) {
    return std::string{", now() + interval '"} + at + "'";
  };
  // With a payable order only: woke for its end.
  subscription(1, 0, 0, ", wake_at", wakes("20 min"));
  order(1, 1, 0, "20 min");
  // Expired, with an order for another period.
  subscription(2, 2, 8, ", start_at, end_at, wake_at",
               wakes("-40 days") + wakes("-10 days") + wakes("20 min"));
  order(2, 1, 0, "20 min");
  // At the end of the period, of an attempt, of a pause.
  subscription(3, 1, 8, ", start_at, end_at, wake_at",
               wakes("0 s") + wakes("30 days") + wakes("30 days"));
  subscription(4, 1, 3, ", start_at, end_at, deadline_at, wake_at",
               wakes("0 s") + wakes("30 days") + wakes("15 min")
                 + wakes("15 min"));
  subscription(5, 1, 12, ", start_at, end_at, deadline_at, retry_at, wake_at",
               wakes("0 s") + wakes("30 days") + wakes("1 min") + wakes("5 min")
                 + wakes("5 min"));
  // Never.
  subscription(6, 0, 0, "", "");
  upgrade();
  const auto expected = [&](int id) {
    return wake_at(
      server->find(subscription_id{static_cast<unsigned>(id)}).state, rules{});
  };
  const auto rows
    = must(db.query("SELECT id::int, wake_at FROM subscriptions ORDER BY id"));
  CAF_REQUIRE_EQUAL(rows.rows(), 6);
  for (auto i = 0; i < rows.rows(); ++i)
    CAF_CHECK(rows.opt_time(i, 1) == expected(rows.int32(i, 0)));
  CAF_CHECK(!rows.opt_time(0, 1));
  CAF_CHECK(!rows.opt_time(1, 1));
  CAF_CHECK(rows.opt_time(2, 1).has_value());
}

CAF_TEST(callbacks of the first version are listed and can be settled) {
  db.run("INSERT INTO callbacks (gateway, dedupe_key, received_at, "
         "last_received_at, order_id, outcome, reason, headers, body) VALUES "
         "(0, 'a', now(), now(), 'o', 3, 'amount_mismatch', 'h', 'b'), "
         "(0, 'b', now(), now(), 'o', 0, '', 'h', 'b')");
  upgrade();
  auto what = query::list_callbacks{};
  what.limit = 10;
  what.outcome = callback_outcome::contradicted;
  const auto rows = must(server->ask(what));
  CAF_REQUIRE_EQUAL(rows.size(), 1u);
  CAF_CHECK(rows[0].entry.source == callback_source::notify);
  CAF_CHECK(!rows[0].settled_at);
  const auto attention = [&] {
    return must(
             server->ask(query::list_attention{day_one, millis{60'000}, 100}))
      .size();
  };
  CAF_CHECK_EQUAL(attention(), 1u);
  CAF_CHECK(must(server->ask(
                   query::settle_callback{rows[0].id, day_one, "anna", "done"}))
              .settled_at
            == day_one);
  CAF_CHECK_EQUAL(attention(), 0u);
}

CAF_TEST(the indexes are those that the questions use) {
  upgrade();
  // With enough rows that a look at all of them would be dearer.
  subscription(1, 0, 0, "", "");
  db.run("INSERT INTO payments (subscription_id, seq, gateway, method, status, "
         "amount_minor, created_at, expires_at) SELECT 1, n, 0, 2, 2, 9900, "
         "now(), now() FROM generate_series(1, 5000) n; "
         "INSERT INTO callbacks (gateway, dedupe_key, received_at, "
         "last_received_at, order_id, outcome, headers, body) "
         "SELECT 0, n::text, now(), now(), 'o' || n, "
         "CASE WHEN n % 1000 = 0 THEN 4 ELSE 0 END, '', '' "
         "FROM generate_series(1, 5000) n; "
         "ANALYZE payments; ANALYZE callbacks");
  const auto uses = [&](const std::string& sql, const std::string& index) {
    const auto plan = must(db.query("EXPLAIN " + sql));
    auto text = std::string{};
    for (auto i = 0; i < plan.rows(); ++i)
      text += std::string{plan.text(i, 0)} + "\n";
    CAF_CHECK_EQUAL(text.find(index) != std::string::npos ? index : text,
                    index);
  };
  uses("SELECT 1 FROM payments WHERE gateway = 0 AND ask_at <= now() "
       "ORDER BY ask_at LIMIT 10 FOR UPDATE SKIP LOCKED",
       "payments_to_ask");
  uses("SELECT 1 FROM payments WHERE status IN (0, 5) AND expires_at < now()",
       "payments_unsettled");
  uses("SELECT 1 FROM payments WHERE status = 3 AND asks >= 8",
       "payments_refunding");
  uses("SELECT 1 FROM payments WHERE status = 1 AND refund_error <> ''",
       "payments_refund_failed");
  uses("SELECT 1 FROM payments WHERE status IN (1, 3) AND NOT applied",
       "payments_surplus");
  uses("SELECT id FROM callbacks WHERE outcome = 4 ORDER BY id DESC OFFSET 199 "
       "LIMIT 1",
       "callbacks_by_outcome");
  uses("SELECT id FROM callbacks WHERE outcome = 3 AND settled_at IS NULL "
       "ORDER BY id DESC LIMIT 10",
       "callbacks_contradicting");
  const auto of_order = std::string{
    "SELECT id FROM callbacks WHERE order_id = 'o7' AND (subscription_id = 1 "
    "OR subscription_id IS NULL) AND outcome <> 4 ORDER BY id DESC LIMIT 10"};
  uses(of_order, "callbacks_by_order");
  uses(of_order, "callbacks_by_subscription");
}

CAF_TEST_FIXTURE_SCOPE_END()

namespace {

/// As the second version left it, with a row in every phase that it knew.
struct second_version : fixture {
  static constexpr auto phases = 13;

  second_version() : fixture{2} {
    for (auto i = 0; i < phases; ++i)
      put(static_cast<phase>(i));
  }

  static subscription_id id_of(phase at) {
    return subscription_id{1u + static_cast<unsigned>(at)};
  }

  /// How that version left a row in this phase: the machine's own words.
  static state make_state(phase at) {
    auto s = state{};
    s.revision = 3;
    s.amount = 9'900;
    s.deployment.at = at;
    s.deployment.phase_at = after(7'000);
    if (at == phase::idle)
      return s;
    s.status = subscription_status::active;
    s.start_at = after(1'000);
    s.end_at = after(1'000) + std::chrono::days{30};
    if (at == phase::skipped)
      return s;
    auto& d = s.deployment;
    d.attempt = 2;
    d.attempt_limit = 3;
    d.queued_at = after(2'000 + 100 * static_cast<int>(at));
    const auto attempted
      = at >= phase::creating_project && at <= phase::deploying;
    if (attempted || at == phase::cancelling) {
      d.started_at = after(6'000);
      d.progress = 42;
    }
    if (attempted)
      d.deadline_at = after(900'000);
    if (at == phase::backing_off)
      d.retry_at = after(9'000);
    if (at == phase::running)
      d.progress = 100;
    if (at == phase::running || at == phase::failed || at == phase::stopped)
      d.completed_at = after(8'000);
    if (at == phase::running || at == phase::deploying)
      d.deployment_id = "dep-1";
    if (at == phase::queued || at == phase::backing_off)
      return s;
    auto& i = s.instance;
    i.seq = 1;
    i.created_at = after(6'000);
    i.project_id = "prj-" + std::to_string(static_cast<int>(at));
    i.environment_id = "env";
    if (at == phase::running) {
      i.status = instance_status::running;
      i.public_url = "https://x";
    } else if (at == phase::failed) {
      i.status = instance_status::failed;
    } else if (at == phase::stopped) {
      i.status = instance_status::deleted;
      i.deleted_at = after(8'000);
    }
    return s;
  }

  void put(phase at) {
    const auto s = make_state(at);
    const auto& d = s.deployment;
    const auto when = [](const std::optional<timestamp>& x) {
      return x ? "'" + to_rfc3339(*x) + "'" : std::string{"NULL"};
    };
    const auto number = [](auto x) {
      return std::to_string(static_cast<int>(x));
    };
    const auto id = std::to_string(raw(id_of(at)));
    subscription(
      static_cast<int>(raw(id_of(at))), static_cast<int>(s.status),
      static_cast<int>(at),
      ", start_at, end_at, attempt, attempt_limit, progress, queued_at, "
      "started_at, deadline_at, retry_at, completed_at, deployment_id",
      ", " + when(s.start_at) + ", " + when(s.end_at) + ", " + number(d.attempt)
        + ", " + number(d.attempt_limit) + ", " + number(d.progress) + ", "
        + when(d.queued_at) + ", " + when(d.started_at) + ", "
        + when(d.deadline_at) + ", " + when(d.retry_at) + ", "
        + when(d.completed_at) + ", '" + d.deployment_id + "'");
    db.run("UPDATE subscriptions SET phase_at = " + when(d.phase_at)
           + " WHERE id = " + id);
    const auto& i = s.instance;
    if (i.seq != 0)
      db.run("INSERT INTO instances (subscription_id, seq, status, project_id, "
             "environment_id, public_url, created_at, deleted_at) VALUES ("
             + id + ", 1, " + number(i.status) + ", '" + i.project_id + "', '"
             + i.environment_id + "', '" + i.public_url + "', "
             + when(i.created_at) + ", " + when(i.deleted_at) + ")");
  }

  /// Whether such a row waits for a slot, or may wait for it again.
  static bool may_wait(phase at) {
    return at == phase::queued || at == phase::backing_off
           || (at >= phase::creating_project && at <= phase::deploying);
  }

  life taken(phase at) {
    auto x = life{raw(id_of(at))};
    x.now = must(server->ask(query::claim_record{id_of(at)}));
    return x;
  }

  void write(const transition_ptr& what) {
    CAF_REQUIRE(server->write(what) == commit_status::stored);
  }
};

} // namespace

CAF_TEST_FIXTURE_SCOPE(second_version_tests, second_version)

CAF_TEST(rows in every phase of the second version mean what they meant) {
  upgrade();
  for (auto i = 0; i < phases; ++i) {
    const auto at = static_cast<phase>(i);
    auto expected = make_state(at);
    if (may_wait(at))
      expected.deployment.queue_rank = expected.deployment.queued_at;
    auto as_expected = server->find(id_of(at));
    const auto stored = as_expected;
    as_expected.state = expected;
    check_equal(stored, as_expected);
  }
}

CAF_TEST(what waited goes on waiting in its order) {
  subscription(20, 1, 2, ", start_at, end_at, queued_at, attempt",
               ", now(), now(), '2026-11-23T08:00:00Z', 1");
  upgrade();
  const auto found = must(server->ask(query::slots{10}));
  CAF_REQUIRE_EQUAL(found.waiting.size(), 2u);
  CAF_CHECK(found.waiting[0] == subscription_id{20});
  CAF_CHECK(found.waiting[1] == id_of(phase::queued));
  CAF_CHECK_EQUAL(found.held.size(), 6u);
  // One that failed before the upgrade comes back to where it was.
  auto x = taken(phase::backing_off);
  write(x.step(woke{after(10'000), 0}));
  check_equal(server->find(x.now.id), x.now);
  CAF_CHECK(x.now.state.deployment.queue_rank
            == x.now.state.deployment.queued_at);
}

CAF_TEST(what ran before is looked at and told of as it is) {
  upgrade();
  const auto rows = must(server->ask(query::list_watched{{}, 10}));
  CAF_REQUIRE_EQUAL(rows.size(), 1u);
  CAF_CHECK(rows[0].id == id_of(phase::running));
  CAF_CHECK(is_watched(rows[0].state));
  auto x = taken(phase::running);
  // That it is well is no news, and it is known by then.
  const auto well = x.step(instance_observed{
    after(20'000), 1, instance_health::healthy, "dep-1", "SUCCESS", ""});
  CAF_CHECK(well->notices.empty());
  write(well);
  const auto down = x.step(instance_observed{
    after(30'000), 1, instance_health::crashed, "dep-1", "CRASHED", "137"});
  CAF_CHECK_EQUAL(down->notices.size(), 1u);
  write(down);
  check_equal(server->find(x.now.id), x.now);
}

CAF_TEST(what was being cancelled ends and does not come back) {
  upgrade();
  auto x = taken(phase::cancelling);
  write(x.step(cancellation_confirmed{after(20'000)}));
  CAF_CHECK(x.now.state.deployment.at == phase::stopped);
  check_equal(server->find(x.now.id), x.now);
}

CAF_TEST(what was being built is halted when it fails) {
  upgrade();
  auto x = taken(phase::deploying);
  write(x.step(deployment_observed{after(20'000), 2, condition::failed, 0,
                                   "FAILED", "exit code 1", 0}));
  CAF_CHECK(x.now.state.deployment.at == phase::halting);
  check_equal(server->find(x.now.id), x.now);
  write(x.step(halted{after(21'000), 2, 0}));
  write(x.step(woke{after(22'000), 0}));
  CAF_CHECK(x.now.state.deployment.at == phase::queued);
  check_equal(server->find(x.now.id), x.now);
}

CAF_TEST(whose subscriptions are whose is known of former ones) {
  upgrade();
  const auto id = id_of(phase::running);
  const auto user = server->find(id).user_id;
  const auto mine = must(server->ask(query::list_records{user, {}, 10}));
  CAF_REQUIRE_EQUAL(mine.size(), 1u);
  CAF_CHECK(mine[0].id == id);
}

CAF_TEST_FIXTURE_SCOPE_END()

#define CAF_SUITE persistence_automation

#include "persistence/automation.hpp"

#include "tests/integration/persistence/world.hpp"

using namespace slipway;
using namespace slipway::test;

// Goal: a database that was restored from a backup is noticed, whatever way it
// was restored in, and an ordinary restart is not.

namespace {

struct fixture {
  automation_reading read(const std::string& of) {
    auto db = postgres_fixture::connect(of);
    return must(read_automation(db));
  }

  automation_reading read() {
    return read(url);
  }

  automation_state put(bool enabled, const std::string& why = "") {
    auto db = postgres_fixture::connect(url);
    return must(switch_automation(db, enabled, "op-1", why, after(0)));
  }

  void run(const std::string& sql) {
    probe{url}.run(sql);
  }

  /// As `COPY` would do when a dump is loaded.
  void load_anew() {
    run("CREATE TABLE dump AS SELECT * FROM automation; "
        "TRUNCATE automation; INSERT INTO automation SELECT * FROM dump; "
        "DROP TABLE dump");
  }

  std::int64_t changes() {
    return probe{url}.count("automation_changes");
  }

  postgres_fixture& postgres = postgres_fixture::shared();
  std::string url = postgres.database(schema_migrations());
};

bool says(const automation_reading& what, const std::string& part) {
  return what.state.reason.find(part) != std::string::npos;
}

} // namespace

CAF_TEST_FIXTURE_SCOPE(automation_tests, fixture)

CAF_TEST(the first start ever is on and every further one) {
  for (auto i = 0; i < 3; ++i) {
    const auto seen = read();
    CAF_CHECK(seen.state.enabled);
    CAF_CHECK(!seen.restored);
    CAF_CHECK_EQUAL(seen.state.reason, "");
  }
  CAF_CHECK_EQUAL(changes(), 0);
  run("VACUUM automation");
  run("VACUUM FULL automation");
  run("VACUUM FREEZE automation");
  CAF_CHECK(read().state.enabled);
}

CAF_TEST(who switched it and why is kept) {
  read();
  const auto off = put(false, "maintenance");
  CAF_CHECK(!off.enabled);
  CAF_CHECK_EQUAL(off.reason, "maintenance");
  CAF_CHECK_EQUAL(off.by, "op-1");
  CAF_CHECK(off.since == after(0));
  CAF_CHECK(!read().state.enabled);
  CAF_CHECK(!read().restored);
  const auto on = put(true);
  CAF_CHECK(on.enabled);
  CAF_CHECK(on.change > off.change);
  CAF_CHECK(read().state.enabled);
  CAF_CHECK_EQUAL(changes(), 2);
}

CAF_TEST(rows that were loaded from a dump are a restored database) {
  read();
  load_anew();
  const auto first = read();
  CAF_CHECK(first.restored);
  CAF_CHECK(!first.state.enabled);
  CAF_CHECK(says(first, "loaded from a dump"));
  CAF_CHECK(first.state.restored_at.has_value());
  CAF_CHECK_EQUAL(first.state.by, "slipway");
  // Noticed once, and off until somebody says so.
  const auto second = read();
  CAF_CHECK(!second.restored);
  CAF_CHECK(!second.state.enabled);
  CAF_CHECK_EQUAL(changes(), 1);
  CAF_CHECK(put(true).enabled);
  const auto third = read();
  CAF_CHECK(third.state.enabled);
  CAF_CHECK(third.state.restored_at == first.state.restored_at);
}

CAF_TEST(another database of the same cluster is a restored one) {
  read();
  const auto copy = postgres.database();
  const auto name = [](const std::string& of) {
    return std::string{
      must(probe{of}.query("SELECT current_database()::text")).text(0, 0)};
  };
  const auto target = name(copy);
  auto admin = probe{postgres.database()};
  admin.run("DROP DATABASE " + target);
  admin.run("CREATE DATABASE " + target + " TEMPLATE " + name(url));
  const auto seen = read(copy);
  CAF_CHECK(seen.restored);
  CAF_CHECK(says(seen, "another database (oid "));
  // The files were copied: the rows are as they were written.
  CAF_CHECK(!says(seen, "dump"));
  CAF_CHECK(read().state.enabled);
}

CAF_TEST(another cluster or timeline is a restored database) {
  read();
  run("UPDATE automation SET system_identifier = 1, timeline = 7, "
      "written_in = pg_current_xact_id()::xid");
  const auto seen = read();
  CAF_CHECK(seen.restored);
  CAF_CHECK(says(seen, "another cluster (system identifier "));
  CAF_CHECK(says(seen, ", before 1)"));
  CAF_CHECK(says(seen, "another timeline (1, before 7)"));
  CAF_CHECK(!says(seen, "another database"));
  CAF_CHECK(!says(seen, "dump"));
}

CAF_TEST(what is restored beneath a running server wins over what it knew) {
  auto known = automation{};
  known.learn(read().state);
  run("CREATE TABLE dump AS SELECT * FROM automation");
  known.learn(put(false));
  known.learn(put(true));
  run("TRUNCATE automation; INSERT INTO automation SELECT * FROM dump");
  CAF_CHECK(known.learn(read().state));
  CAF_CHECK(!known.enabled());
}

CAF_TEST(without its row it is off) {
  read();
  run("DELETE FROM automation");
  const auto seen = read();
  CAF_CHECK(!seen.state.enabled);
  CAF_CHECK(says(seen, "missing"));
  CAF_CHECK(!read().state.enabled);
  CAF_CHECK(put(true).enabled);
}

CAF_TEST(a change by hand is taken for what it may be) {
  read();
  run("UPDATE automation SET enabled = true");
  CAF_CHECK(read().restored);
  // The documented way.
  run("UPDATE automation SET enabled = true, reason = 'by hand', "
      "changed_by = 'dba', since = now(), change = change + 1, "
      "written_in = pg_current_xact_id()::xid");
  CAF_CHECK(read().state.enabled);
}

CAF_TEST(two servers that notice it at once write it down once) {
  read();
  load_anew();
  auto first = std::async(std::launch::async, [this] {
    return read();
  });
  auto second = std::async(std::launch::async, [this] {
    return read();
  });
  CAF_CHECK(!wait_for(std::move(first)).state.enabled);
  CAF_CHECK(!wait_for(std::move(second)).state.enabled);
  CAF_CHECK_EQUAL(changes(), 1);
}

CAF_TEST_FIXTURE_SCOPE_END()

// Rights are taken away from everybody, so this one comes last.
CAF_TEST_FIXTURE_SCOPE(automation_rights, fixture)

CAF_TEST(an owner without rights on the cluster sees what can be seen) {
  run("DROP ROLE IF EXISTS plain; CREATE ROLE plain; "
      "GRANT ALL ON ALL TABLES IN SCHEMA public TO plain; "
      "GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO plain");
  auto db = postgres_fixture::connect(url);
  must(db.script("SET ROLE plain"));
  // Any user may read them as PostgreSQL comes.
  auto seen = must(read_automation(db));
  CAF_CHECK(seen.state.enabled);
  CAF_CHECK_EQUAL(
    probe{url}.count("automation WHERE system_identifier IS NOT NULL "
                     "AND timeline IS NOT NULL AND database_oid IS NOT NULL"),
    1);
  run("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC; "
      "REVOKE EXECUTE ON FUNCTION pg_walfile_name(pg_lsn) FROM PUBLIC");
  seen = must(read_automation(db));
  CAF_CHECK(seen.state.enabled);
  CAF_CHECK(!seen.restored);
  load_anew();
  run("GRANT ALL ON automation TO plain");
  seen = must(read_automation(db));
  CAF_CHECK(seen.restored);
  CAF_CHECK(says(seen, "loaded from a dump"));
  CAF_CHECK(!says(seen, "cluster"));
  must(db.script("RESET ROLE"));
  run("DROP OWNED BY plain; DROP ROLE plain; "
      "GRANT EXECUTE ON FUNCTION pg_control_system() TO PUBLIC; "
      "GRANT EXECUTE ON FUNCTION pg_walfile_name(pg_lsn) TO PUBLIC");
}

CAF_TEST_FIXTURE_SCOPE_END()

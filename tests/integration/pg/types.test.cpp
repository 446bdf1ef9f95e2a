#define CAF_SUITE pg_types

#include "tests/integration/pg/support.hpp"
#include "tests/support/postgres_fixture.hpp"

#include <caf/test/unit_test.hpp>
#include <sys/wait.h>

#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <unistd.h>
#include <vector>

using namespace slipway;
using namespace slipway::pg;
using namespace slipway::test;
using namespace std::string_literals;

namespace {

struct fixture {
  connection db
    = postgres_fixture::connect(postgres_fixture::shared().database());

  result run(const statement& what, const params& with = {}) {
    auto done = db.execute(what, with);
    if (!done)
      CAF_FAIL(to_string(done.error()));
    return std::move(*done);
  }
};

timestamp at(std::int64_t ms) {
  return timestamp{millis{ms}};
}

/// Runs `action` in a child process.
/// @returns whether it was aborted.
template <class Action>
bool aborts(Action action) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(2);
    action();
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

} // namespace

CAF_TEST_FIXTURE_SCOPE(types_tests, fixture)

CAF_TEST(every type comes back as it was sent) {
  static constexpr statement echo{
    "echo", "SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9", false};
  const std::string text = "支付 ✓ 🚢 naïve \\ ' \" \n";
  const std::string bytes = "\0\x01\xff\\x"s;
  params with;
  with.add(std::int16_t{-32768})
    .add(std::int32_t{2147483647})
    .add(std::numeric_limits<std::int64_t>::min())
    .add(true)
    .add(-0.125)
    .add(text)
    .add(at(1'795'420'800'123))
    .add(bytea{bytes})
    .add(json{R"({"b": [1, "é"], "a": null})"});
  const result row = run(echo, with);
  CAF_REQUIRE_EQUAL(row.rows(), 1);
  CAF_CHECK_EQUAL(row.columns(), 9);
  CAF_CHECK_EQUAL(row.int16(0, 0), -32768);
  CAF_CHECK_EQUAL(row.int32(0, 1), 2147483647);
  CAF_CHECK_EQUAL(row.int64(0, 2), std::numeric_limits<std::int64_t>::min());
  CAF_CHECK_EQUAL(row.boolean(0, 3), true);
  CAF_CHECK_EQUAL(row.float8(0, 4), -0.125);
  CAF_CHECK_EQUAL(row.text(0, 5), text);
  CAF_CHECK(row.time(0, 6) == at(1'795'420'800'123));
  CAF_CHECK_EQUAL(row.bytes(0, 7), bytes);
  CAF_CHECK_EQUAL(row.json_text(0, 8), R"({"a": null, "b": [1, "é"]})");
}

CAF_TEST(a null comes back as nothing) {
  static constexpr statement echo{
    "echo_null", "SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9", false};
  params with;
  with.add_null<std::int16_t>()
    .add(std::optional<std::int32_t>{})
    .add(std::optional<std::int64_t>{})
    .add(std::optional<bool>{})
    .add(std::optional<double>{})
    .add(std::optional<std::string>{})
    .add(std::optional<timestamp>{})
    .add(std::optional<bytea>{})
    .add(std::optional<json>{});
  const result row = run(echo, with);
  for (int column = 0; column < 9; ++column)
    CAF_CHECK(row.is_null(0, column));
  CAF_CHECK(!row.opt_int16(0, 0));
  CAF_CHECK(!row.opt_int32(0, 1));
  CAF_CHECK(!row.opt_int64(0, 2));
  CAF_CHECK(!row.opt_boolean(0, 3));
  CAF_CHECK(!row.opt_float8(0, 4));
  CAF_CHECK(!row.opt_text(0, 5));
  CAF_CHECK(!row.opt_time(0, 6));
  CAF_CHECK(!row.opt_bytes(0, 7));
  CAF_CHECK(!row.opt_json_text(0, 8));
  // The same statement with values.
  params values;
  values.add(std::int16_t{1})
    .add(std::optional<std::int32_t>{2})
    .add(std::optional<std::int64_t>{3})
    .add(std::optional<bool>{true})
    .add(std::optional<double>{0.5})
    .add(std::optional<std::string>{""})
    .add(std::optional<timestamp>{at(0)})
    .add(std::optional<bytea>{bytea{std::string_view{}}})
    .add(std::optional<json>{json{"5"}});
  const result full = run(echo, values);
  CAF_CHECK(full.opt_int16(0, 0) == 1);
  CAF_CHECK(full.opt_int32(0, 1) == 2);
  CAF_CHECK(full.opt_int64(0, 2) == 3);
  CAF_CHECK(full.opt_boolean(0, 3) == true);
  CAF_CHECK(full.opt_float8(0, 4) == 0.5);
  CAF_CHECK(full.opt_text(0, 5) == "");
  CAF_CHECK(full.opt_time(0, 6) == at(0));
  CAF_CHECK(full.opt_bytes(0, 7) == "");
  CAF_CHECK(full.opt_json_text(0, 8) == "5");
}

CAF_TEST(the server sees what we mean) {
  static constexpr statement seen{
    "seen",
    "SELECT $1::text, to_char($2 AT TIME ZONE 'UTC', 'YYYY-MM-DD "
    "HH24:MI:SS.MS'),"
    " encode($3, 'hex'), $4 ->> 'k', current_setting('TimeZone'),"
    " current_setting('client_encoding')",
    false};
  params with;
  with.add(1.5)
    .add(*parse_rfc3339("2026-11-23T08:00:00.123Z"))
    .add(bytea{"\x00\xab"s})
    .add(json{R"({"k":"中"})"});
  const result row = run(seen, with);
  CAF_CHECK_EQUAL(row.text(0, 0), "1.5");
  CAF_CHECK_EQUAL(row.text(0, 1), "2026-11-23 08:00:00.123");
  CAF_CHECK_EQUAL(row.text(0, 2), "00ab");
  CAF_CHECK_EQUAL(row.text(0, 3), "中");
  CAF_CHECK_EQUAL(row.text(0, 4), "UTC");
  CAF_CHECK_EQUAL(row.text(0, 5), "UTF8");
}

CAF_TEST(times of any age survive) {
  static constexpr statement echo{"echo_time", "SELECT $1", false};
  for (const std::int64_t ms : {0LL, -1LL, 946'684'799'999LL,
                                -2'208'988'800'000LL, 253'402'300'799'999LL}) {
    params with;
    with.add(at(ms));
    CAF_CHECK(run(echo, with).time(0, 0) == at(ms));
  }
  static constexpr statement fractions{
    "fractions",
    "SELECT '2000-01-01 00:00:00.123999Z'::timestamptz,"
    " '1999-12-31 23:59:59.999999Z'::timestamptz,"
    " '2000-01-01 00:00:01'::timestamp",
    false};
  const result row = run(fractions);
  CAF_CHECK(row.time(0, 0) == at(946'684'800'123));
  CAF_CHECK(row.time(0, 1) == at(946'684'799'999));
  CAF_CHECK(row.time(0, 2) == at(946'684'801'000));
}

CAF_TEST(doubles keep their odd values) {
  static constexpr statement echo{"echo_double", "SELECT $1", false};
  params with;
  with.add(std::numeric_limits<double>::quiet_NaN());
  CAF_CHECK(std::isnan(run(echo, with).float8(0, 0)));
  with.clear();
  with.add(-std::numeric_limits<double>::infinity());
  CAF_CHECK(run(echo, with).float8(0, 0)
            == -std::numeric_limits<double>::infinity());
}

CAF_TEST(several arrays become rows) {
  static constexpr statement rows{
    "rows",
    "SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9) WITH ORDINALITY"
    " AS t(a, b, c, d, e, f, g, h, i, n) ORDER BY n",
    false};
  params with;
  with.add_array(std::vector<std::int16_t>{1, 2, 3})
    .add_array(std::vector<std::int32_t>{10, 20, 30})
    .add_array(std::vector<std::int64_t>{100, 200, 300})
    .add_array(std::vector<bool>{true, false, true})
    .add_array(std::vector<double>{0.5, 1.5, 2.5})
    .add_array(std::vector<std::string>{"", "é", "🚢"})
    .add_array(std::vector<timestamp>{at(1), at(2), at(3)})
    .add_array(std::vector<bytea>{bytea{"a"}, bytea{"\0"s}, bytea{""}})
    .add_array(std::vector<json>{json{"1"}, json{"[2]"}, json{R"("三")"}});
  const result all = run(rows, with);
  CAF_REQUIRE_EQUAL(all.rows(), 3);
  for (int row = 0; row < 3; ++row) {
    CAF_CHECK_EQUAL(all.int16(row, 0), row + 1);
    CAF_CHECK_EQUAL(all.int32(row, 1), 10 * (row + 1));
    CAF_CHECK_EQUAL(all.int64(row, 2), 100 * (row + 1));
    CAF_CHECK_EQUAL(all.boolean(row, 3), row != 1);
    CAF_CHECK_EQUAL(all.float8(row, 4), row + 0.5);
    CAF_CHECK(all.time(row, 6) == at(row + 1));
    CAF_CHECK_EQUAL(all.int64(row, 9), row + 1);
  }
  CAF_CHECK_EQUAL(all.text(0, 5), "");
  CAF_CHECK_EQUAL(all.text(1, 5), "é");
  CAF_CHECK_EQUAL(all.text(2, 5), "🚢");
  CAF_CHECK_EQUAL(all.bytes(1, 7), "\0"s);
  CAF_CHECK_EQUAL(all.bytes(2, 7), "");
  CAF_CHECK_EQUAL(all.json_text(1, 8), "[2]");
  CAF_CHECK_EQUAL(all.json_text(2, 8), R"("三")");
}

CAF_TEST(an array of a row type becomes rows) {
  CAF_REQUIRE(db.script("CREATE TYPE some_row AS (a smallint, b integer, "
                        "c bigint, d boolean, e double precision, f text, "
                        "g timestamptz, h bytea, i jsonb)"));
  static constexpr statement number{
    "number", "SELECT 'some_row'::regtype::oid::bigint", false};
  const auto type = static_cast<std::uint32_t>(run(number).int64(0, 0));
  static constexpr statement rows{
    "typed_rows",
    "SELECT o.* FROM unnest($1::some_row[]) WITH ORDINALITY AS o "
    "ORDER BY o.ordinality",
    false};
  params with;
  with.add_rows(type, std::vector<int>{0, 1}, [](row_writer& row, int i) {
    const auto some = [i](auto value) {
      return i == 0 ? std::optional{value} : std::nullopt;
    };
    row.add(some(std::int16_t{-1}))
      .add(some(std::int32_t{10}))
      .add(some(std::int64_t{100}))
      .add(some(true))
      .add(some(0.5))
      .add(some("🚢"s))
      .add(some(at(7)))
      .add(some(bytea{"\0x"s}))
      .add(some(json{"[2]"}));
  });
  const result all = run(rows, with);
  CAF_REQUIRE_EQUAL(all.rows(), 2);
  CAF_CHECK_EQUAL(all.int16(0, 0), -1);
  CAF_CHECK_EQUAL(all.int32(0, 1), 10);
  CAF_CHECK_EQUAL(all.int64(0, 2), 100);
  CAF_CHECK(all.boolean(0, 3));
  CAF_CHECK_EQUAL(all.float8(0, 4), 0.5);
  CAF_CHECK_EQUAL(all.text(0, 5), "🚢");
  CAF_CHECK(all.time(0, 6) == at(7));
  CAF_CHECK_EQUAL(all.bytes(0, 7), "\0x"s);
  CAF_CHECK_EQUAL(all.json_text(0, 8), "[2]");
  for (int column = 0; column < 9; ++column)
    CAF_CHECK(all.is_null(1, column));
  with.clear();
  with.add_rows(type, std::vector<int>{}, [](row_writer&, int) {});
  CAF_CHECK_EQUAL(run(rows, with).rows(), 0);
}

CAF_TEST(a row of another shape is refused) {
  CAF_REQUIRE(db.script("CREATE TYPE small_row AS (a smallint, b text)"));
  static constexpr statement number{
    "small_number", "SELECT 'small_row'::regtype::oid::bigint", false};
  const auto type = static_cast<std::uint32_t>(run(number).int64(0, 0));
  static constexpr statement rows{
    "small_rows", "SELECT o.* FROM unnest($1::small_row[]) AS o", false};
  params with;
  with.add_rows(type, std::vector<int>{1}, [](row_writer& row, int) {
    row.add(std::int16_t{1});
  });
  CAF_CHECK(!db.execute(rows, with)); // A column is missing.
  with.clear();
  with.add_rows(type, std::vector<int>{1}, [](row_writer& row, int) {
    row.add(std::int32_t{1}).add("x");
  });
  CAF_CHECK(!db.execute(rows, with)); // A column of another type.
}

CAF_TEST(arrays may hold nulls of every type) {
  static constexpr statement rows{
    "null_rows",
    "SELECT * FROM unnest($1, $2, $3, $4, $5, $6) WITH ORDINALITY"
    " AS t(a, b, c, d, e, f, n) ORDER BY n",
    false};
  params with;
  with.add_array(std::vector<std::optional<std::int64_t>>{std::nullopt, 2})
    .add_array(std::vector<std::optional<std::string>>{"x", std::nullopt})
    .add_array(std::vector<std::optional<timestamp>>{std::nullopt, at(2)})
    .add_array(std::vector<std::optional<json>>{json{"1"}, std::nullopt})
    .add_array(std::vector<std::optional<bytea>>{bytea{"x"}, std::nullopt})
    .add_array(std::vector<std::optional<bool>>{std::nullopt, std::nullopt});
  const result all = run(rows, with);
  CAF_REQUIRE_EQUAL(all.rows(), 2);
  CAF_CHECK(!all.opt_int64(0, 0));
  CAF_CHECK_EQUAL(all.int64(1, 0), 2);
  CAF_CHECK_EQUAL(all.text(0, 1), "x");
  CAF_CHECK(!all.opt_text(1, 1));
  CAF_CHECK(!all.opt_time(0, 2));
  CAF_CHECK(all.time(1, 2) == at(2));
  CAF_CHECK_EQUAL(all.json_text(0, 3), "1");
  CAF_CHECK(!all.opt_json_text(1, 3));
  CAF_CHECK(all.is_null(1, 4));
  CAF_CHECK(all.is_null(0, 5));
  CAF_CHECK(all.is_null(1, 5));
}

CAF_TEST(empty arrays are empty) {
  static constexpr statement sizes{"sizes",
                                   "SELECT cardinality($1), cardinality($2),"
                                   " (SELECT count(*) FROM unnest($1, $2))",
                                   false};
  params with;
  with.add_array(std::vector<std::string>{})
    .add_array(std::vector<std::int64_t>{});
  const result row = run(sizes, with);
  CAF_CHECK_EQUAL(row.int32(0, 0), 0);
  CAF_CHECK_EQUAL(row.int32(0, 1), 0);
  CAF_CHECK_EQUAL(row.int64(0, 2), 0);
}

CAF_TEST(a large batch arrives whole) {
  static constexpr statement total{
    "total",
    "SELECT count(*), sum(a)::bigint, sum(length(b)) FROM"
    " unnest($1, $2) AS t(a, b)",
    false};
  std::vector<std::int64_t> numbers;
  std::vector<std::string> texts;
  std::int64_t sum = 0;
  std::int64_t size = 0;
  for (std::int64_t i = 0; i < 50'000; ++i) {
    numbers.push_back(i);
    texts.push_back(std::string(static_cast<std::size_t>(i % 100), 'y'));
    sum += i;
    size += i % 100;
  }
  params with;
  with.add_array(numbers).add_array(texts);
  const result row = run(total, with);
  CAF_CHECK_EQUAL(row.int64(0, 0), 50'000);
  CAF_CHECK_EQUAL(row.int64(0, 1), sum);
  CAF_CHECK_EQUAL(row.int64(0, 2), size);
}

CAF_TEST(reading a column as another type aborts) {
  static constexpr statement some{"some", "SELECT 1, NULL::int, 'x'", false};
  const result row = run(some);
  CAF_CHECK(aborts([&] {
    static_cast<void>(row.int64(0, 0));
  }));
  CAF_CHECK(aborts([&] {
    static_cast<void>(row.text(0, 0));
  }));
  CAF_CHECK(aborts([&] {
    static_cast<void>(row.int32(0, 1));
  }));
  CAF_CHECK(aborts([&] {
    static_cast<void>(row.int32(1, 0));
  }));
  CAF_CHECK(aborts([&] {
    static_cast<void>(row.int32(0, 3));
  }));
  CAF_CHECK(aborts([&] {
    static_cast<void>(row.bytes(0, 2));
  }));
  CAF_CHECK(!aborts([&] {
    static_cast<void>(row.int32(0, 0));
  }));
}

CAF_TEST(a statement keeps the types it was prepared with) {
  static constexpr statement echo{"echo_one", "SELECT $1", false};
  params number;
  number.add(std::int32_t{1});
  run(echo, number);
  params text;
  text.add("1");
  CAF_CHECK(aborts([&] {
    static_cast<void>(db.execute(echo, text));
  }));
}

CAF_TEST_FIXTURE_SCOPE_END()

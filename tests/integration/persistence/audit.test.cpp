#define CAF_SUITE persistence_audit

#include "tests/integration/persistence/world.hpp"

#include <algorithm>

using namespace slipway;
using namespace slipway::test;

// Goal: who did what stays as it was written, and credentials get another key
// row by row without one of them getting lost.

namespace {

query::announce_act act(const std::string& actor, const std::string& what,
                        const std::string& subject) {
  auto out = query::announce_act{};
  out.at = after(5);
  out.actor = actor;
  out.role = "operator";
  out.act = what;
  out.subject_kind = "subscription";
  out.subject = subject;
  out.detail = "orderId: o1";
  out.reason = "O'Neil asked: \"please\" %s; DROP TABLE audit";
  out.request_id = "request-1";
  return out;
}

query::list_acts newest(std::size_t limit = 100) {
  auto out = query::list_acts{};
  out.limit = limit;
  return out;
}

struct fixture : world {
  std::int64_t announce(const query::announce_act& what) {
    return must(first->ask(what));
  }

  void close(std::int64_t id, const std::string& outcome, std::int16_t status) {
    must(first->ask(query::close_act{id, outcome, status, after(9)}));
  }

  std::vector<query::list_acts::row> list(query::list_acts what = newest()) {
    return must(first->ask(std::move(what)));
  }

  // -- credentials

  sealed_credential credential(const std::string& type, const std::string& key,
                               const std::string& text) {
    return {type, key, std::string(12, 'n'), text + std::string(16, 't')};
  }

  void subscribe(std::uint64_t id, std::vector<sealed_credential> with) {
    auto x = life{id, "user-" + std::to_string(id)};
    store(x.create(std::move(with)));
  }

  query::list_stale_credentials::found
  stale(const std::string& key, std::size_t limit = 100,
        query::list_stale_credentials::place from = {}) {
    auto what = query::list_stale_credentials{};
    what.key_id = key;
    what.after = std::move(from);
    what.limit = limit;
    return must(first->ask(std::move(what)));
  }

  static query::replace_credentials
  with_key(const query::list_stale_credentials::found& rows,
           const std::string& key) {
    auto out = query::replace_credentials{};
    for (const auto& x : rows.rows) {
      auto to = x.what;
      to.key_id = key;
      to.nonce = std::string(12, 'N');
      to.ciphertext = key + " " + x.what.ciphertext;
      out.rows.push_back({x.subscription, x.what, std::move(to)});
    }
    return out;
  }

  probe db{url};
};

query::list_stale_credentials::place
place_of(const query::list_stale_credentials::row& x) {
  return {x.what.key_id, x.subscription, x.what.channel_type};
}

} // namespace

CAF_TEST_FIXTURE_SCOPE(audit_tests, fixture)

CAF_TEST(an act is announced and closed once) {
  const auto what = act("op-1", "refund", "s-1");
  const auto id = announce(what);
  auto rows = list();
  CAF_REQUIRE_EQUAL(rows.size(), 1u);
  CAF_CHECK_EQUAL(rows[0].id, id);
  CAF_CHECK(rows[0].what.at == what.at);
  CAF_CHECK_EQUAL(rows[0].what.actor, what.actor);
  CAF_CHECK_EQUAL(rows[0].what.role, what.role);
  CAF_CHECK_EQUAL(rows[0].what.act, what.act);
  CAF_CHECK_EQUAL(rows[0].what.subject_kind, what.subject_kind);
  CAF_CHECK_EQUAL(rows[0].what.subject, what.subject);
  CAF_CHECK_EQUAL(rows[0].what.detail, what.detail);
  CAF_CHECK_EQUAL(rows[0].what.reason, what.reason);
  CAF_CHECK_EQUAL(rows[0].what.request_id, what.request_id);
  // Announced and no more: nobody knows.
  CAF_CHECK_EQUAL(rows[0].outcome, "");
  CAF_CHECK_EQUAL(rows[0].status, 0);
  CAF_CHECK(!rows[0].done_at);
  close(id, "done", 200);
  close(id, "not_paid", 409);
  rows = list();
  CAF_CHECK_EQUAL(rows[0].outcome, "done");
  CAF_CHECK_EQUAL(rows[0].status, 200);
  CAF_CHECK(rows[0].done_at == after(9));
}

CAF_TEST(the list goes by actor and subject page by page and newest first) {
  for (auto i = 0; i < 12; ++i)
    announce(
      act(i % 2 == 0 ? "op-1" : "op-2", "retry", "s-" + std::to_string(i % 3)));
  const auto all = list();
  CAF_REQUIRE_EQUAL(all.size(), 12u);
  CAF_CHECK(
    std::is_sorted(all.begin(), all.end(), [](const auto& x, const auto& y) {
      return x.id > y.id;
    }));
  auto what = newest(5);
  auto seen = std::vector<std::int64_t>{};
  for (;;) {
    const auto page = list(what);
    if (page.empty())
      break;
    for (const auto& x : page)
      seen.push_back(x.id);
    what.before = page.back().id;
  }
  CAF_CHECK_EQUAL(seen.size(), 12u);
  what = newest();
  what.actor = "op-2";
  CAF_CHECK_EQUAL(list(what).size(), 6u);
  what.subject = "s-1";
  const auto both = list(what);
  CAF_CHECK_EQUAL(both.size(), 2u);
  for (const auto& x : both) {
    CAF_CHECK_EQUAL(x.what.actor, "op-2");
    CAF_CHECK_EQUAL(x.what.subject, "s-1");
  }
  what.actor.clear();
  CAF_CHECK_EQUAL(list(what).size(), 4u);
  what.subject = "nothing";
  CAF_CHECK(list(what).empty());
}

CAF_TEST(nobody changes what is written) {
  const auto id = announce(act("op-1", "retry", "s-1"));
  const auto row = " WHERE id = " + std::to_string(id);
  CAF_CHECK_EQUAL(db.refusal("UPDATE audit SET actor = 'other'" + row),
                  "23514 audit_is_told_once");
  CAF_CHECK_EQUAL(db.refusal("UPDATE audit SET reason = 'other'" + row),
                  "23514 audit_is_told_once");
  CAF_CHECK_EQUAL(db.refusal("DELETE FROM audit" + row), "23514 audit_stays");
  close(id, "done", 200);
  CAF_CHECK_EQUAL(db.refusal("UPDATE audit SET outcome = 'other'" + row),
                  "23514 audit_is_told_once");
  CAF_CHECK_EQUAL(db.refusal("DELETE FROM audit" + row), "23514 audit_stays");
  CAF_CHECK_EQUAL(list()[0].outcome, "done");
}

CAF_TEST(a server whose ownership has ended announces nothing) {
  second = add("second");
  db.run("UPDATE servers SET ended_at = now() WHERE id = "
         + std::to_string(first->server));
  const auto done = first->ask(act("op-1", "retry", "s-1"));
  CAF_CHECK(!done);
  CAF_CHECK(*first->fenced);
  CAF_CHECK_EQUAL(db.count("audit"), 0);
}

CAF_TEST(credentials of other keys are found page by page) {
  // Keys that sort before and after the first one.
  for (auto i = 1; i <= 4; ++i)
    subscribe(static_cast<std::uint64_t>(i),
              {credential("A", "old", "a"), credential("B", "new", "b"),
               credential("C", "ancient", "c")});
  CAF_CHECK_EQUAL(stale("new").remaining, 8);
  auto seen = std::vector<query::list_stale_credentials::place>{};
  auto from = query::list_stale_credentials::place{};
  for (auto page = stale("new", 3); !page.rows.empty();
       page = stale("new", 3, from)) {
    CAF_CHECK_EQUAL(page.remaining, 8 - static_cast<std::int64_t>(seen.size()));
    for (const auto& x : page.rows) {
      CAF_CHECK(x.what.key_id != "new");
      CAF_CHECK_EQUAL(x.what.nonce, std::string(12, 'n'));
      seen.push_back(place_of(x));
    }
    from = seen.back();
    CAF_REQUIRE(seen.size() <= 8u);
  }
  CAF_CHECK_EQUAL(seen.size(), 8u);
  // Every one of them once.
  for (std::size_t i = 1; i < seen.size(); ++i)
    CAF_CHECK(!(seen[i] == seen[i - 1]));
  // With the first key below and above all others.
  CAF_CHECK_EQUAL(stale("ancient").rows.size(), 8u);
  CAF_CHECK_EQUAL(stale("old").rows.size(), 8u);
  CAF_CHECK_EQUAL(stale("zzz").rows.size(), 12u);
}

CAF_TEST(a row that has changed meanwhile is left alone) {
  subscribe(1, {credential("A", "old", "a"), credential("B", "old", "b")});
  const auto found = stale("new");
  CAF_REQUIRE_EQUAL(found.rows.size(), 2u);
  // Somebody else was faster with one of them.
  db.run("UPDATE channel_credentials SET nonce = 'other-nonce!' "
         "WHERE channel_type = 'A'");
  CAF_CHECK_EQUAL(must(first->ask(with_key(found, "new"))), 1);
  // Twice the same changes nothing.
  CAF_CHECK_EQUAL(must(first->ask(with_key(found, "new"))), 0);
  const auto rows
    = must(first->ask(query::list_credentials{subscription_id{1}}));
  CAF_REQUIRE_EQUAL(rows.size(), 2u);
  CAF_CHECK_EQUAL(rows[0].key_id, "old");
  CAF_CHECK_EQUAL(rows[0].ciphertext, "a" + std::string(16, 't'));
  CAF_CHECK_EQUAL(rows[1].key_id, "new");
  CAF_CHECK_EQUAL(rows[1].nonce, std::string(12, 'N'));
  CAF_CHECK_EQUAL(rows[1].ciphertext, "new b" + std::string(16, 't'));
  CAF_CHECK_EQUAL(stale("new").remaining, 1);
}

CAF_TEST(two servers that change the same rows at once do it once) {
  second = add("second");
  for (auto i = 1; i <= 50; ++i)
    subscribe(static_cast<std::uint64_t>(i), {credential("A", "old", "a")});
  const auto found = stale("new");
  auto one = first->send_query(with_key(found, "new"));
  auto other = second->send_query(with_key(found, "new"));
  const auto a = wait_for(std::move(one));
  const auto b = wait_for(std::move(other));
  // One of two that lock each other out is told to come again.
  CAF_CHECK(a.has_value() || b.has_value());
  CAF_CHECK_EQUAL(a.value_or(0) + b.value_or(0), 50);
  CAF_CHECK_EQUAL(stale("new").remaining, 0);
}

CAF_TEST(the index leads past the rows that have the first key) {
  db.run("INSERT INTO users VALUES ('u', '', '', now(), now()); "
         "INSERT INTO subscriptions (id, user_id, plan, currency, "
         "amount_minor, period_days, status, phase, phase_at, revision, "
         "settled, created_at, updated_at) SELECT i, 'u', 'PRO', 'CNY', 9900, "
         "30, 0, 0, now(), 1, true, now(), now() "
         "FROM generate_series(1, 20000) i; "
         "INSERT INTO channel_credentials SELECT i, 'A', "
         "CASE WHEN i % 4000 = 0 THEN 'old' ELSE 'new' END, 'n', 'c' "
         "FROM generate_series(1, 20000) i; ANALYZE channel_credentials");
  CAF_CHECK_EQUAL(stale("new").remaining, 5);
  const auto plan = must(db.query(
    "EXPLAIN SELECT key_id FROM channel_credentials WHERE key_id > 'new' "
    "AND (key_id, subscription_id, channel_type) > ('', 0, '') "
    "ORDER BY key_id, subscription_id, channel_type LIMIT 200"));
  auto text = std::string{};
  for (auto i = 0; i < plan.rows(); ++i)
    text.append(plan.text(i, 0)).append("\n");
  CAF_CHECK(text.find("channel_credentials_by_key") != std::string::npos);
  CAF_CHECK(text.find("Index Cond: ((key_id > 'new'") != std::string::npos);
}

CAF_TEST_FIXTURE_SCOPE_END()

#define CAF_SUITE persistence_mails

#include "tests/integration/persistence/world.hpp"

#include <algorithm>

// Goal: what comes back marks the mail that it is about and the address it went
// to, and nothing else; what people are asked for unread ones costs the same
// however many notifications they have.

using namespace slipway;
using namespace slipway::lifecycle;
using namespace slipway::test;

namespace {

using query::mail_status;

struct fixture : world {
  /// A deployment that has failed: a mail is owed for it.
  life failed(std::uint64_t id, const std::string& user) {
    auto x = life{id, user};
    store(x.create());
    store(x.order());
    store(
      x.step(payment_settled{after(2'000), 1, payment_gateway::alipay,
                             "tx-" + std::to_string(id), 9'900, after(2'000)}));
    store(x.step(slot_granted{after(3'000)}));
    store(x.step(step_failed{after(3'001), 1, phase::creating_project, true,
                             true, true, millis{0}, "no such template", 1}));
    return x;
  }

  void know(const std::string& user, const std::string& email, int at = 0) {
    must(first->ask(query::remember_user{user, email, "en", after(at)}));
  }

  std::vector<query::due_mails::row> due() {
    return must(first->ask(query::due_mails{after(1'000'000), 100}));
  }

  void sent(const query::due_mails::row& mail, const std::string& to,
            int at = 9'000) {
    must(first->ask(query::mark_mail{mail.subscription, mail.revision,
                                     mail.what.kind, mail_status::sent,
                                     after(at), after(at), "", to}));
  }

  job<query::note_bounce>::reply
  bounce(const std::optional<query::mail_ref>& mail, const std::string& address,
         bool permanent = true) {
    return first->ask(query::note_bounce{
      mail, address, permanent, "550 no such user", "op-1", after(20'000)});
  }

  static query::mail_ref ref(const query::due_mails::row& mail) {
    return {mail.subscription, mail.revision, mail.what.kind};
  }

  std::vector<std::string> attention() {
    auto out = std::vector<std::string>{};
    for (const auto& x : must(first->ask(
           query::list_attention{after(30'000), millis{60'000}, 100})))
      if (x.kind == "undeliverable_mail")
        out.push_back(std::to_string(raw(x.subscription)) + " " + x.reason);
    std::sort(out.begin(), out.end());
    return out;
  }

  /// Writes that many notices of a user, the oldest first.
  /// Of three subscriptions of the user, in turn.
  void notices(const std::string& user, int count, const std::string& read) {
    const auto subscription = "1000 * length('" + user + "') + i % 3";
    const auto numbers
      = " FROM generate_series(1, " + std::to_string(count) + ") i";
    auto db = probe{url};
    db.run("INSERT INTO user_subscriptions SELECT DISTINCT '" + user + "', "
           + subscription + numbers);
    db.run("INSERT INTO notifications (user_id, subscription_id, revision, "
           "kind, instance_seq, public_url, error, amount_minor, created_at, "
           "read_at) SELECT '"
           + user + "', " + subscription
           + ", 1000 + i, 0, 1, '', '', 9900, now(), CASE WHEN " + read
           + " THEN now() END" + numbers + " ORDER BY i");
  }

  query::list_notifications::found
  unread(const std::string& user, std::int64_t before, std::size_t limit,
         std::size_t scan) {
    return must(
      first->ask(query::list_notifications{user, before, limit, true, scan}));
  }
};

} // namespace

CAF_TEST_FIXTURE_SCOPE(mails_tests, fixture)

CAF_TEST(a mail that comes back is undeliverable and its address is shunned) {
  know("user-1", "User@Example.com");
  const auto x = failed(1, "user-1");
  const auto other = failed(2, "user-1");
  auto mails = due();
  CAF_REQUIRE_EQUAL(mails.size(), 2u);
  CAF_CHECK_EQUAL(mails[0].user_id, "user-1");
  CAF_CHECK(mails[0].wants_progress);
  CAF_CHECK(mails[0].bounced.empty());
  sent(mails[0], "User@Example.com");
  // Passed on from there: the address is the one that it was sent to.
  const auto found = must(bounce(ref(mails[0]), "elsewhere@forward.example"));
  CAF_CHECK_EQUAL(found.address, "user@example.com");
  CAF_CHECK(found.subscription == mails[0].subscription);
  CAF_CHECK(found.marked);
  const auto mark = std::to_string(raw(mails[0].subscription));
  CAF_CHECK((attention()
             == std::vector<std::string>{mark
                                         + " 550 no such "
                                           "user"}));
  auto told = std::vector<std::string>{};
  for (const auto& row :
       must(first->ask(query::list_history{mails[0].subscription, 0, 100})))
    if (row.entry.kind == history_kind::mail)
      told.push_back(row.entry.outcome + " " + row.entry.summary);
  CAF_REQUIRE_EQUAL(told.size(), 2u);
  CAF_CHECK_EQUAL(told[1], "undeliverable Mail DEPLOYMENT_FAILED came back: "
                           "550 no such user");
  // The next mail to that address knows.
  mails = due();
  CAF_REQUIRE_EQUAL(mails.size(), 1u);
  CAF_CHECK_EQUAL(mails[0].bounced, "550 no such user");
  // Told again, nothing moves.
  auto again = query::mail_ref{found.subscription, x.now.state.revision,
                               notice_kind::deployment_failed};
  if (mails[0].subscription == x.now.id)
    again.revision = other.now.state.revision;
  CAF_CHECK(!must(bounce(again, "")).marked);
  const auto listed = must(first->ask(query::list_bounces{0, 10}));
  CAF_REQUIRE_EQUAL(listed.size(), 1u);
  CAF_CHECK_EQUAL(listed[0].address, "user@example.com");
  CAF_CHECK_EQUAL(listed[0].reported_by, "op-1");
  CAF_CHECK(listed[0].since == after(20'000));
  // Another address, and mail goes out again.
  know("user-1", "new@example.com", 1);
  CAF_CHECK(due()[0].bounced.empty());
  know("user-1", "user@example.com", 2);
  CAF_CHECK(!due()[0].bounced.empty());
  must(first->ask(query::lift_bounce{"USER@example.com"}));
  CAF_CHECK(due()[0].bounced.empty());
  const auto gone = first->ask(query::lift_bounce{"user@example.com"});
  CAF_CHECK(!gone && gone.error() == errc::not_found);
}

CAF_TEST(an address alone finds the latest mail that went there) {
  know("user-1", "a@example.com");
  know("user-2", "A@Example.com");
  know("user-3", "b@example.com");
  failed(1, "user-1");
  failed(2, "user-2");
  failed(3, "user-3");
  for (const auto& mail : due())
    sent(mail, raw(mail.subscription) == 3 ? "b@example.com" : "a@example.com",
         9'000 + static_cast<int>(raw(mail.subscription)));
  const auto found = must(bounce(std::nullopt, "a@EXAMPLE.com"));
  CAF_CHECK_EQUAL(found.address, "a@example.com");
  CAF_CHECK(found.subscription == subscription_id{2});
  CAF_CHECK(found.marked);
  CAF_CHECK((attention() == std::vector<std::string>{"2 550 no such user"}));
  // A user without any mail is one of ours as well.
  know("user-4", "c@example.com");
  const auto bare = must(bounce(std::nullopt, "c@example.com"));
  CAF_CHECK_EQUAL(bare.address, "c@example.com");
  CAF_CHECK(!bare.marked);
}

CAF_TEST(what is none of ours is not kept) {
  know("user-1", "a@example.com");
  failed(1, "user-1");
  const auto mail = due()[0];
  for (const auto& reply :
       {bounce(std::nullopt, "nobody@example.com"), bounce(std::nullopt, ""),
        bounce(query::mail_ref{subscription_id{9}, 1,
                               notice_kind::deployment_failed},
               ""),
        bounce(query::mail_ref{mail.subscription, mail.revision,
                               notice_kind::deployment_success},
               "")})
    CAF_CHECK(!reply && reply.error() == errc::not_found);
  CAF_CHECK(must(first->ask(query::list_bounces{0, 10})).empty());
  CAF_CHECK(attention().empty());
}

CAF_TEST(a full mailbox loses the mail and keeps the address) {
  know("user-1", "a@example.com");
  failed(1, "user-1");
  const auto mail = due()[0];
  sent(mail, "a@example.com");
  const auto found = must(bounce(ref(mail), "a@example.com", false));
  CAF_CHECK(found.address.empty());
  CAF_CHECK(found.marked);
  CAF_CHECK_EQUAL(attention().size(), 1u);
  CAF_CHECK(must(first->ask(query::list_bounces{0, 10})).empty());
}

CAF_TEST(people say what they want to be told) {
  const auto wants = [&](const char* user) {
    return must(first->ask(query::read_preferences{user})).mail_progress;
  };
  CAF_CHECK(wants("user-1"));
  failed(1, "user-1");
  CAF_CHECK(wants("user-1"));
  auto off = query::read_preferences::found{};
  off.mail_progress = false;
  for (const auto* user : {"user-1", "never-heard-of"}) {
    CAF_CHECK(!must(first->ask(query::write_preferences{user, off, after(1)}))
                 .mail_progress);
    CAF_CHECK(!wants(user));
  }
  CAF_CHECK(!due()[0].wants_progress);
  // What a token says changes nothing about it.
  know("user-1", "a@example.com", 5);
  CAF_CHECK(!wants("user-1"));
  CAF_CHECK(wants("user-2"));
  must(first->ask(query::write_preferences{
    "user-1", query::read_preferences::found{}, after(2)}));
  CAF_CHECK(wants("user-1"));
}

CAF_TEST(a mail that is not wanted is over without being a trouble) {
  know("user-1", "a@example.com");
  failed(1, "user-1");
  const auto mail = due()[0];
  must(first->ask(query::mark_mail{mail.subscription, mail.revision,
                                   mail.what.kind, mail_status::unwanted,
                                   after(1), after(1), "", ""}));
  CAF_CHECK(due().empty());
  CAF_CHECK(attention().empty());
}

CAF_TEST(unread ones are found page by page) {
  notices("user-1", 100, "i % 10 <> 0"); // Ten are unread.
  notices("other-1x", 5, "false");
  const auto first_page = unread("user-1", 0, 4, 1'000);
  CAF_REQUIRE_EQUAL(first_page.rows.size(), 4u);
  CAF_CHECK_EQUAL(first_page.unread.count, 10);
  CAF_CHECK(!first_page.unread.at_least);
  CAF_CHECK_EQUAL(first_page.next, first_page.rows.back().id);
  auto seen = std::vector<std::int64_t>{};
  auto next = std::int64_t{0};
  auto pages = 0;
  do {
    const auto page = unread("user-1", next, 4, 1'000);
    for (const auto& row : page.rows) {
      CAF_CHECK(!row.read_at);
      CAF_CHECK(seen.empty() || row.id < seen.back());
      seen.push_back(row.id);
    }
    next = page.next;
  } while (next != 0 && ++pages < 20);
  CAF_CHECK_EQUAL(seen.size(), 10u);
  // Steps over what is read end somewhere, and go on from there.
  seen.clear();
  next = 0;
  pages = 0;
  auto empty = 0;
  do {
    const auto page = unread("user-1", next, 4, 7);
    empty += page.rows.empty() ? 1 : 0;
    for (const auto& row : page.rows)
      seen.push_back(row.id);
    next = page.next;
  } while (next != 0 && ++pages < 100);
  CAF_CHECK_EQUAL(seen.size(), 10u);
  CAF_CHECK(empty > 0);
  const auto all = must(
    first->ask(query::list_notifications{"user-1", 0, 99, false, 1'000}));
  CAF_CHECK_EQUAL(all.rows.size(), 99u);
  CAF_CHECK_EQUAL(all.next, all.rows.back().id);
  CAF_CHECK_EQUAL(
    must(first->ask(query::list_notifications{"user-1", 0, 100, false, 1'000}))
      .next,
    0);
  CAF_CHECK(unread("nobody", 0, 4, 10).rows.empty());
  CAF_CHECK_EQUAL(unread("nobody", 0, 4, 10).next, 0);
}

CAF_TEST(unread ones are counted up to a bound and that is said) {
  notices("user-1", 100, "i % 2 = 0");
  const auto count = [&](std::size_t count_max, std::size_t scan) {
    return must(first->ask(query::count_unread{"user-1", count_max, scan}));
  };
  CAF_CHECK_EQUAL(count(1'000, 1'000).count, 50);
  CAF_CHECK(!count(1'000, 1'000).at_least);
  CAF_CHECK_EQUAL(count(49, 1'000).count, 49);
  CAF_CHECK(count(49, 1'000).at_least);
  CAF_CHECK(!count(50, 1'000).at_least);
  // Of the newest twenty.
  CAF_CHECK_EQUAL(count(1'000, 20).count, 10);
  CAF_CHECK(count(1'000, 20).at_least);
}

CAF_TEST(all are marked as read step by step) {
  notices("user-1", 25, "i % 5 = 0");
  notices("other-1x", 5, "false");
  auto marked = std::int64_t{0};
  auto steps = 0;
  auto next = std::int64_t{0};
  do {
    const auto step = must(
      first->ask(query::mark_all_read{"user-1", next, after(7'000), 10}));
    marked += step.marked;
    next = step.next;
    ++steps;
  } while (next != 0 && steps < 10);
  CAF_CHECK_EQUAL(marked, 20);
  CAF_CHECK_EQUAL(steps, 3);
  CAF_CHECK(unread("user-1", 0, 10, 100).rows.empty());
  CAF_CHECK_EQUAL(unread("other-1x", 0, 10, 100).rows.size(), 5u);
  // Those that were read before keep their time.
  CAF_CHECK_EQUAL(probe{url}.count("notifications WHERE user_id = 'user-1' AND "
                                   "read_at = '"
                                   + to_rfc3339(after(7'000)) + "'"),
                  20);
  CAF_CHECK_EQUAL(
    must(first->ask(query::mark_all_read{"user-1", 0, after(8'000), 100}))
      .marked,
    0);
}

CAF_TEST_FIXTURE_SCOPE_END()

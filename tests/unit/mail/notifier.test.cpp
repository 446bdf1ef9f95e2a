#define CAF_SUITE mail.notifier

#include "http/mail/notifier.hpp"

#include "tests/support/actor_fixture.hpp"

using namespace slipway;
using namespace slipway::test;

namespace {

constexpr auto id = subscription_id{77};

struct fixture : actor_fixture {
  std::vector<mail::mail_message> sent;
  notifier_actor aut;

  fixture() {
    db->put(make_record(id, phase::running));
    auto options = mail::notifier_options{};
    options.domain = "example.com";
    options.unsubscribe_url = "https://example.com/off?user={user}";
    options.send = [this](const mail::mail_message& what) {
      sent.push_back(what);
      return mail::send_outcome{mail::send_status::sent, 250, "ok"};
    };
    aut = sys.spawn(mail::notifier, environment_ptr{env}, std::move(options));
  }

  ~fixture() {
    caf::anon_send_exit(aut, caf::exit_reason::kill);
    consume_messages();
  }

  /// How the mail about this ended.
  query::mail_status owe(notice_kind kind) {
    db->notices.clear();
    sent.clear();
    auto what = notice{};
    what.kind = kind;
    what.at = time.now();
    what.by_mail = true;
    auto kept = memory_database::kept_notice{};
    kept.subscription = id;
    kept.revision = 7;
    kept.what = what;
    kept.next_at = what.at;
    db->notices.push_back(kept);
    self->send(aut, mail_nudge{});
    consume_messages();
    return db->notices[0].mail;
  }
};

} // namespace

CAF_TEST_FIXTURE_SCOPE(notifier_tests, fixture)

CAF_TEST(mails about progress say where to turn them off) {
  CAF_CHECK(owe(notice_kind::deployment_success) == query::mail_status::sent);
  CAF_REQUIRE_EQUAL(sent.size(), 1u);
  CAF_CHECK_EQUAL(sent[0].message_id, to_text(id) + ".7.1@example.com");
  CAF_CHECK_EQUAL(sent[0].unsubscribe_url,
                  "https://example.com/off?user=" + db->find(id)->user_id);
  CAF_CHECK(sent[0].one_click);
  for (const auto kind :
       {notice_kind::refund_completed, notice_kind::deployment_failed,
        notice_kind::payment_received, notice_kind::instance_down}) {
    CAF_CHECK(owe(kind) == query::mail_status::sent);
    CAF_REQUIRE_EQUAL(sent.size(), 1u);
    CAF_CHECK(sent[0].unsubscribe_url.empty());
    CAF_CHECK(!sent[0].one_click);
  }
}

CAF_TEST(who does not want to hear of progress is told of money and failures) {
  db->wants_progress = false;
  CAF_CHECK(owe(notice_kind::deployment_success)
            == query::mail_status::unwanted);
  CAF_CHECK(sent.empty());
  CAF_CHECK(owe(notice_kind::instance_recovered)
            == query::mail_status::unwanted);
  CAF_CHECK(owe(notice_kind::refund_completed) == query::mail_status::sent);
  CAF_CHECK_EQUAL(sent.size(), 1u);
}

CAF_TEST(nothing is sent to an address that mails come back from) {
  db->bounced = "550 no such user";
  for (const auto kind :
       {notice_kind::deployment_success, notice_kind::refund_completed}) {
    CAF_CHECK(owe(kind) == query::mail_status::undeliverable);
    CAF_CHECK(sent.empty());
  }
  db->bounced.clear();
  CAF_CHECK(owe(notice_kind::deployment_success) == query::mail_status::sent);
}

CAF_TEST_FIXTURE_SCOPE_END()

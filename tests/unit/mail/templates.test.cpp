#define CAF_SUITE mail.templates

#include "http/mail/templates.hpp"

#include <caf/test/unit_test.hpp>

#include <string>

using namespace slipway::mail;

namespace {

notice_facts success() {
  notice_facts facts;
  facts.kind = notice_kind::deployment_success;
  facts.instance_name = "slipway-abc";
  facts.public_url = "https://abc.up.railway.app/?a=1&b=2";
  facts.duration = "1m 40s";
  return facts;
}

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != text.npos;
}

} // namespace

CAF_TEST(the language follows the locale) {
  CAF_CHECK(language_of("zh-CN") == language::zh_cn);
  CAF_CHECK(language_of("zh") == language::zh_cn);
  CAF_CHECK(language_of("ZH_TW") == language::zh_cn);
  CAF_CHECK(language_of("") == language::zh_cn);
  CAF_CHECK(language_of("en") == language::en);
  CAF_CHECK(language_of("en-US") == language::en);
  CAF_CHECK(language_of("fr") == language::en);
  CAF_CHECK(language_of("z") == language::en);
}

CAF_TEST(success is told in the words of the guide) {
  auto zh = render_notice(success(), "zh-CN");
  CAF_CHECK_EQUAL(zh.title, "实例部署成功");
  CAF_CHECK_EQUAL(zh.message, "您的实例 slipway-abc 已成功部署");
  CAF_CHECK_EQUAL(zh.mail_subject, "实例部署成功: slipway-abc");
  for (const auto* text : {&zh.mail_text, &zh.mail_html}) {
    CAF_CHECK(contains(*text, "slipway-abc"));
    CAF_CHECK(contains(*text, "https://abc.up.railway.app/?a=1&"));
    CAF_CHECK(contains(*text, "1m 40s"));
    CAF_CHECK(!contains(*text, "{{"));
    CAF_CHECK(!contains(*text, "}}"));
  }
  CAF_CHECK(contains(zh.mail_html, "lang=\"zh-CN\""));
  CAF_CHECK(contains(zh.mail_html,
                     "<a href=\"https://abc.up.railway.app/?a=1&amp;b=2\""));
  auto en = render_notice(success(), "en");
  CAF_CHECK_EQUAL(en.message, "Your instance slipway-abc has been deployed");
  CAF_CHECK(contains(en.mail_html, "lang=\"en\""));
  CAF_CHECK(contains(en.mail_text, "Deployed in: 1m 40s\n"));
}

CAF_TEST(failure is told with its reason) {
  notice_facts facts;
  facts.kind = notice_kind::deployment_failed;
  facts.instance_name = "slipway-abc";
  facts.error = "build failed";
  auto zh = render_notice(facts, "zh");
  CAF_CHECK_EQUAL(zh.title, "实例部署失败");
  CAF_CHECK_EQUAL(zh.message, "您的实例 slipway-abc 部署失败: build failed");
  CAF_CHECK(contains(zh.mail_text, "build failed"));
  CAF_CHECK(contains(zh.mail_html, "build failed"));
  CAF_CHECK(!contains(zh.mail_html, "<a "));
  auto en = render_notice(facts, "en");
  CAF_CHECK_EQUAL(
    en.message,
    "Your instance slipway-abc could not be deployed: build failed");
}

CAF_TEST(a payment is told with plan and price) {
  notice_facts facts;
  facts.kind = notice_kind::payment_received;
  facts.plan_title = "专业版";
  facts.amount = "99.00";
  facts.currency = "CNY";
  facts.order_id = "S1";
  auto zh = render_notice(facts, "");
  CAF_CHECK_EQUAL(zh.title, "已收到付款");
  CAF_CHECK_EQUAL(zh.message, "我们已收到您为专业版支付的 ¥99.00");
  CAF_CHECK(contains(zh.mail_text, "S1"));
  facts.currency = "USD";
  CAF_CHECK(
    contains(render_notice(facts, "en").message, "99.00 USD for 专业版"));
}

CAF_TEST(a refund is told with plan and price) {
  notice_facts facts;
  facts.kind = notice_kind::refund_completed;
  facts.plan_title = "专业版";
  facts.amount = "99.00";
  facts.currency = "CNY";
  auto zh = render_notice(facts, "zh-CN");
  CAF_CHECK_EQUAL(zh.title, "退款已完成");
  CAF_CHECK_EQUAL(zh.message, "您为专业版支付的款项已退回 ¥99.00");
  CAF_CHECK_EQUAL(zh.mail_subject, "退款已完成: ¥99.00");
  for (const auto* text : {&zh.mail_text, &zh.mail_html}) {
    CAF_CHECK(contains(*text, "已退回 ¥99.00，"));
    CAF_CHECK(contains(*text, "专业版"));
    CAF_CHECK(contains(*text, "到账时间"));
    CAF_CHECK(!contains(*text, "{{"));
  }
  CAF_CHECK(contains(zh.mail_text, "金额：¥99.00\n"));
  facts.currency = "USD";
  auto en = render_notice(facts, "en");
  CAF_CHECK_EQUAL(en.title, "Refund completed");
  CAF_CHECK_EQUAL(en.message,
                  "99.00 USD of your payment for 专业版 has been refunded");
  CAF_CHECK_EQUAL(en.mail_subject, "Refund completed: 99.00 USD");
  CAF_CHECK(contains(en.mail_text, "Amount: 99.00 USD\n"));
  CAF_CHECK(contains(en.mail_html, "lang=\"en\""));
  CAF_CHECK(!contains(en.mail_html, "<a "));
}

CAF_TEST(what comes from outside stays text) {
  auto facts = success();
  facts.instance_name = "<script>\"{{public_url}}\"&'\r\nBcc: x";
  auto result = render_notice(facts, "en");
  CAF_CHECK(!contains(result.mail_html, "<script>"));
  CAF_CHECK(contains(result.mail_html,
                     "&lt;script&gt;&quot;{{public_url}}&quot;&amp;&#39;"));
  CAF_CHECK(contains(result.mail_text, "<script>\"{{public_url}}\"&'  Bcc: x"));
  CAF_CHECK(result.mail_subject.find_first_of("\r\n") == std::string::npos);
  CAF_CHECK(result.message.find_first_of("\r\n") == std::string::npos);
}

CAF_TEST(only web addresses become links) {
  for (auto url : {"javascript:alert(1)", "data:text/html,x", "//evil.example",
                   "ftp://a/", "https://", "https://a b/", "https://a\"b/",
                   "javascript://https://x", "HTTPS"}) {
    auto facts = success();
    facts.public_url = url;
    auto result = render_notice(facts, "en");
    CAF_CHECK(!contains(result.mail_html, "<a "));
    CAF_CHECK(contains(result.mail_text, url));
  }
  auto facts = success();
  facts.public_url = "http://127.0.0.1:8080/";
  CAF_CHECK(contains(render_notice(facts, "en").mail_html,
                     "<a href=\"http://127.0.0.1:8080/\""));
}

CAF_TEST(what is unknown is left out) {
  auto facts = success();
  facts.public_url.clear();
  facts.duration.clear();
  auto result = render_notice(facts, "en");
  CAF_CHECK(!contains(result.mail_html, "<a "));
  CAF_CHECK(!contains(result.mail_text, "URL"));
  CAF_CHECK(!contains(result.mail_text, "Deployed in"));
}

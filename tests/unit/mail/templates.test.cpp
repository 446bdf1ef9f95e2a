#define CAF_SUITE mail.templates

#include "http/mail/templates.hpp"

#include <caf/test/unit_test.hpp>

#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <vector>

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

/// A directory of one's own templates.
struct folder {
  std::filesystem::path path;

  folder() {
    auto form
      = (std::filesystem::temp_directory_path() / "slipway-XXXXXX").string();
    CAF_REQUIRE(mkdtemp(form.data()) != nullptr);
    path = form;
  }

  ~folder() {
    std::filesystem::remove_all(path);
  }

  void write(const std::string& name, const std::string& text) const {
    std::ofstream{path / name, std::ios::binary} << text;
  }

  /// The mistakes, one a line, without the directory.
  [[nodiscard]] std::string mistakes() const {
    const auto made = template_set::load(path.string());
    auto out = std::string{};
    if (!made)
      for (const auto& line : made.error()) {
        const auto prefix = path.string() + '/';
        CAF_CHECK(line.starts_with(prefix));
        out += line.substr(prefix.size()) + '\n';
      }
    return out;
  }
};

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

namespace {

/// What a notice says in one language.
struct wording {
  notice_kind kind;
  std::string change; ///< Or the reason.
  std::string_view locale;
  std::string title;
  std::string message;
  std::string subject;
  std::string accent;
};

constexpr auto red = "#dc2626";

constexpr auto green = "#16a34a";

constexpr auto blue = "#2563eb";

const auto turns = std::vector<wording>{
  {notice_kind::deployment_cancelled, "", "zh-CN", "部署已取消",
   "您的实例 slipway-abc 的部署已取消", "部署已取消: slipway-abc", blue},
  {notice_kind::deployment_cancelled, "", "en", "Deployment cancelled",
   "The deployment of your instance slipway-abc has been cancelled",
   "Deployment cancelled: slipway-abc", blue},
  {notice_kind::instance_terminated, "", "zh-CN", "实例已终止",
   "您的实例 slipway-abc 已被终止并删除", "实例已终止: slipway-abc", blue},
  {notice_kind::instance_terminated, "", "en", "Instance terminated",
   "Your instance slipway-abc has been terminated and deleted",
   "Instance terminated: slipway-abc", blue},
  {notice_kind::instance_down, "exit code 137", "zh-CN", "实例已停止运行",
   "您的实例 slipway-abc 已停止运行: exit code 137",
   "实例已停止运行: slipway-abc", red},
  {notice_kind::instance_down, "exit code 137", "en", "Instance is down",
   "Your instance slipway-abc is down: exit code 137",
   "Instance is down: slipway-abc", red},
  {notice_kind::instance_recovered, "", "zh-CN", "实例已恢复运行",
   "您的实例 slipway-abc 已恢复运行", "实例已恢复运行: slipway-abc", green},
  {notice_kind::instance_recovered, "", "en", "Instance is running again",
   "Your instance slipway-abc is running again",
   "Instance is running again: slipway-abc", green},
  {notice_kind::instance_changed, "sleeping", "zh-CN", "实例已休眠",
   "您的实例 slipway-abc 因没有访问已休眠，下次访问时会自动唤醒",
   "实例已休眠: slipway-abc", blue},
  {notice_kind::instance_changed, "sleeping", "en", "Instance is asleep",
   "Your instance slipway-abc sleeps for want of visitors and wakes up with "
   "the next one",
   "Instance is asleep: slipway-abc", blue},
  {notice_kind::instance_changed, "degraded", "zh-CN", "实例部分副本异常",
   "您的实例 slipway-abc 的部分副本已崩溃，其余副本仍在运行",
   "实例部分副本异常: slipway-abc", red},
  {notice_kind::instance_changed, "degraded", "en", "Instance is degraded",
   "Some replicas of your instance slipway-abc have crashed, the others run",
   "Instance is degraded: slipway-abc", red},
  {notice_kind::instance_changed, "redeployed", "zh-CN", "实例已重新部署",
   "您的实例 slipway-abc 已在云端被重新部署", "实例已重新部署: slipway-abc",
   blue},
  {notice_kind::instance_changed, "redeployed", "en", "Instance redeployed",
   "Your instance slipway-abc has been redeployed at the provider",
   "Instance redeployed: slipway-abc", blue},
};

} // namespace

CAF_TEST(what becomes of an instance is told in both languages) {
  for (const auto& x : turns) {
    auto facts = success();
    facts.kind = x.kind;
    facts.error = x.change;
    const auto told = render_notice(facts, x.locale);
    CAF_CHECK_EQUAL(told.title, x.title);
    CAF_CHECK_EQUAL(told.message, x.message);
    CAF_CHECK_EQUAL(told.mail_subject, x.subject);
    for (const auto* text : {&told.mail_text, &told.mail_html}) {
      CAF_CHECK(contains(*text, x.title));
      CAF_CHECK(contains(*text, "slipway-abc"));
      CAF_CHECK(!contains(*text, "{{"));
      CAF_CHECK(!contains(*text, "}}"));
    }
    CAF_CHECK(contains(told.mail_html, x.accent));
    CAF_CHECK(
      contains(told.mail_html, "lang=\"" + std::string{x.locale} + "\""));
    // Nobody is sent to what does not run, and everybody to what does.
    const auto runs = x.kind == notice_kind::instance_recovered
                      || x.kind == notice_kind::instance_changed;
    CAF_CHECK_EQUAL(contains(told.mail_html, "<a href=\"https://abc."), runs);
    CAF_CHECK_EQUAL(contains(told.mail_text, "https://abc."), runs);
    // A reason is words for people; a change is a word for us.
    const auto down = x.kind == notice_kind::instance_down;
    CAF_CHECK_EQUAL(contains(told.mail_text, "exit code 137"), down);
    CAF_CHECK_EQUAL(contains(told.mail_html, "exit code 137"), down);
    if (x.kind == notice_kind::instance_changed && x.locale == "zh-CN")
      CAF_CHECK(!contains(told.mail_text, x.change));
  }
}

CAF_TEST(every notice has words of its own in each language) {
  auto seen = std::set<std::string>{};
  for (const auto* locale : {"zh-CN", "en"})
    for (auto i = 0; i <= static_cast<int>(notice_kind::deployment_started);
         ++i) {
      auto facts = success();
      facts.kind = static_cast<notice_kind>(i);
      const auto told = render_notice(facts, locale);
      CAF_CHECK(seen.insert(told.title).second);
      CAF_CHECK(!told.message.empty());
      CAF_CHECK(!told.mail_subject.empty());
    }
}

CAF_TEST(what an instance is down for stays text and one line) {
  notice_facts facts;
  facts.kind = notice_kind::instance_down;
  facts.instance_name = "slipway-abc";
  facts.error = "<b>\r\nBcc: x";
  const auto told = render_notice(facts, "en");
  CAF_CHECK(!contains(told.mail_html, "<b>"));
  CAF_CHECK(told.message.find_first_of("\r\n") == std::string::npos);
  CAF_CHECK(contains(told.mail_text, "<b>  Bcc: x"));
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

CAF_TEST(every template renders in every language) {
  CAF_CHECK(template_kinds().size() >= 12u);
  for (const auto& kind : template_kinds())
    for (const auto in : languages) {
      const auto locale = to_tag(in);
      for (const auto full : {true, false}) {
        auto facts = sample_facts(kind);
        if (!full) {
          facts = {};
          facts.kind = kind.kind;
          facts.error = kind.change;
        }
        const auto told = builtin_templates()->render(facts, locale);
        for (const auto* text : {&told.title, &told.message, &told.mail_subject,
                                 &told.mail_text, &told.mail_html}) {
          CAF_CHECK(!text->empty());
          CAF_CHECK(!contains(*text, "{{"));
          CAF_CHECK(!contains(*text, "}}"));
        }
        CAF_CHECK(contains(told.mail_text, told.title));
        CAF_CHECK(contains(told.mail_html, told.title));
        CAF_CHECK(contains(told.mail_html, "</html>"));
        CAF_CHECK(!contains(told.mail_html, "<exit"));
        const auto brief = builtin_templates()->render_words(facts, locale);
        CAF_CHECK_EQUAL(brief.title, told.title);
        CAF_CHECK_EQUAL(brief.message, told.message);
      }
    }
}

CAF_TEST(templates are found by name and by what changed) {
  CAF_CHECK(find_template("deployment_success") != nullptr);
  CAF_CHECK(find_template("DEPLOYMENT_SUCCESS")
            == find_template("deployment_success"));
  CAF_CHECK(find_template("layout") == nullptr);
  CAF_CHECK(find_template("deployment_succes") == nullptr);
  CAF_CHECK(find_template("") == nullptr);
}

CAF_TEST(a subject is one line and not too long) {
  const auto own = folder{};
  own.write("deployment_failed.en.txt", "title: Failed\nmessage: m\n"
                                        "subject: {{error}}\n\nbody\n");
  const auto made = template_set::load(own.path.string());
  CAF_REQUIRE(made.has_value());
  auto facts = notice_facts{};
  facts.kind = notice_kind::deployment_failed;
  facts.error = "a\r\nBcc: x";
  CAF_CHECK_EQUAL((*made)->render(facts, "en").mail_subject, "a  Bcc: x");
  facts.error.clear();
  for (auto i = 0; i < 300; ++i)
    facts.error += "部";
  const auto subject = (*made)->render(facts, "en").mail_subject;
  CAF_CHECK(subject.size() <= 210u);
  CAF_CHECK(subject.ends_with("部…"));
}

CAF_TEST(files take the places of the built - in ones one by one) {
  const auto own = folder{};
  own.write("payment_received.en.txt",
            "\xef\xbb\xbftitle: Thanks!\r\nmessage: {{price}} came\r\n"
            "subject: We got {{price}}\r\n\r\nHello,\r\n"
            "{{price}} for {{plan_title}} ({{subscription_id}}).\r\n");
  own.write("layout.en.txt", "[{{content}}]\n");
  own.write("README", "nobody reads {{this}}");
  own.write(".payment_received.en.txt.swp", "{{");
  const auto made = template_set::load(own.path.string());
  if (!made)
    CAF_FAIL(made.error().front());
  CAF_CHECK_EQUAL((*made)->replaced(), 2u);
  CAF_CHECK((*made)->is_replaced("layout.en.txt"));
  CAF_CHECK(!(*made)->is_replaced("layout.zh-CN.txt"));
  auto facts = sample_facts(*find_template("payment_received"));
  const auto en = (*made)->render(facts, "en");
  CAF_CHECK_EQUAL(en.title, "Thanks!");
  CAF_CHECK_EQUAL(en.message, "¥99.00 came");
  CAF_CHECK_EQUAL(en.mail_subject, "We got ¥99.00");
  CAF_CHECK_EQUAL(en.mail_text,
                  "[Hello,\n¥99.00 for 专业版 (sub_0123456789abc).]\n");
  // The HTML is another file.
  CAF_CHECK(contains(en.mail_html, "Thank you."));
  CAF_CHECK(contains(en.mail_html, "Thanks!"));
  const auto zh = (*made)->render(facts, "zh-CN");
  CAF_CHECK_EQUAL(zh.mail_text, render_notice(facts, "zh-CN").mail_text);
}

CAF_TEST(mistakes in files are told all at once) {
  const auto own = folder{};
  own.write("payment_recieved.en.txt", "");
  CAF_CHECK_EQUAL(own.mistakes(),
                  "payment_recieved.en.txt:1: no template has this name; "
                  "expected one of the built-in ones, such as "
                  "payment_received.en.txt\n");
  std::filesystem::remove(own.path / "payment_recieved.en.txt");
  own.write("deployment_failed.en.txt",
            "title: x\nsubjcet: y\n\nbody {{price}}\n");
  own.write("deployment_failed.en.html", "<p>\n\n{{eror}}</p>");
  const auto told = own.mistakes();
  CAF_CHECK(
    contains(told, "deployment_failed.en.txt:2: expected \"title: …\""));
  CAF_CHECK(contains(told, "deployment_failed.en.txt:1: no message; expected a "
                           "line \"message: …\""));
  CAF_CHECK(contains(told, "deployment_failed.en.txt:1: no subject"));
  CAF_CHECK(
    contains(told, "deployment_failed.en.txt:4: unknown name \"price\""));
  CAF_CHECK(contains(told,
                     "deployment_failed.en.html:3: unknown name \"eror\"; "
                     "expected one of error, instance_name"));
  own.write("deployment_failed.en.html", "a\nb\x01");
  own.write("deployment_failed.en.txt",
            "title: x\ntitle: y\nmessage:\nsubject: z\n\n");
  const auto more = own.mistakes();
  CAF_CHECK(contains(more, "html:2: expected text in UTF-8 without control"));
  CAF_CHECK(contains(more, "txt:2: title stands there twice"));
  CAF_CHECK(contains(more, "txt:3: message is empty"));
  CAF_CHECK(contains(more, "no text; expected the mail's"));
  own.write("deployment_failed.en.html", std::string(70'000, 'x'));
  CAF_CHECK(contains(own.mistakes(), "expected a template of at most 65536"));
  const auto gone = template_set::load((own.path / "none").string());
  CAF_REQUIRE(!gone);
  CAF_CHECK(contains(gone.error().front(), "expected a readable directory"));
}

CAF_TEST(files are read again when they change and the last good ones stay) {
  const auto own = folder{};
  const auto text = [](const std::string& title) {
    return "title: " + title + "\nmessage: m\nsubject: s\n\nbody\n";
  };
  own.write("instance_down.en.txt", text("One"));
  const auto opened
    = template_store::open(own.path.string(), slipway::millis{0});
  CAF_REQUIRE(opened.has_value());
  auto& store = **opened;
  const auto title = [&] {
    return store.current()
      ->render(sample_facts(*find_template("instance_down")), "en")
      .title;
  };
  CAF_CHECK_EQUAL(title(), "One");
  const auto kept = store.current();
  store.look();
  CAF_CHECK(store.current() == kept);
  own.write("instance_down.en.txt", text("Two two"));
  store.look();
  CAF_CHECK_EQUAL(title(), "Two two");
  own.write("instance_down.en.txt", text("{{oops}}"));
  store.look();
  CAF_CHECK_EQUAL(title(), "Two two");
  CAF_REQUIRE_EQUAL(store.faults().size(), 1u);
  CAF_CHECK(
    contains(store.faults()[0], "instance_down.en.txt:1: unknown name"));
  std::filesystem::remove(own.path / "instance_down.en.txt");
  store.look();
  CAF_CHECK_EQUAL(title(), "Instance is down");
  CAF_CHECK(store.faults().empty());
  // What somebody still renders with is not taken away.
  CAF_CHECK_EQUAL(
    kept->render(sample_facts(*find_template("instance_down")), "en").title,
    "One");
  own.write("instance_down.en.txt", "nothing");
  CAF_CHECK(!template_store::open(own.path.string(), slipway::millis{0}));
}

CAF_TEST(money and what no longer runs is always mailed) {
  for (const auto& kind : template_kinds()) {
    const auto may_be_off = is_progress(kind.kind);
    const auto required
      = std::set<std::string_view>{"payment_received", "refund_completed",
                                   "deployment_failed", "instance_terminated",
                                   "instance_down"}
          .count(kind.name)
        != 0;
    CAF_CHECK_EQUAL(may_be_off, !required);
  }
}

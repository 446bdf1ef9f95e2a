#define CAF_SUITE sandbox.mailbox

#include "http/sandbox/mailbox_simulator.hpp"
#include "http/sandbox/mime.hpp"
#include "tests/unit/http_server/loopback.hpp"
#include "tests/unit/sandbox/manual_clock.hpp"

#include <boost/json.hpp>
#include <caf/test/unit_test.hpp>

using namespace slipway;
using namespace slipway::sandbox;
using namespace std::literals;
using loopback::client;
using loopback::fetch;
namespace json = boost::json;

namespace {

constexpr auto mail = "From: Slipway <no-reply@localhost>\r\n"
                      "To: user@example.com\r\n"
                      "Subject: =?utf-8?B?6YOo572y?=\r\n"
                      " =?utf-8?Q?=E6=88=90=E5=8A=9F_ok?=\r\n"
                      "Message-ID: <sub-1.3@slipway>\r\n"
                      "MIME-Version: 1.0\r\n"
                      "Content-Type: multipart/alternative;\r\n"
                      " boundary=\"b 1\"\r\n"
                      "\r\n"
                      "preamble\r\n"
                      "--b 1\r\n"
                      "Content-Type: text/plain; charset=utf-8\r\n"
                      "Content-Transfer-Encoding: quoted-printable\r\n"
                      "\r\n"
                      "=E4=BD=A0=E5=A5=BD, a very long=\r\n"
                      " line\r\n"
                      "..dots stay\r\n"
                      "--b 1\r\n"
                      "Content-Type: text/html; charset=utf-8\r\n"
                      "Content-Transfer-Encoding: base64\r\n"
                      "\r\n"
                      "PHA+5L2g5aW9PC9wPjxz\r\n"
                      "Y3JpcHQ+eDwvc2NyaXB0Pg==\r\n"
                      "--b 1--\r\n"sv;

struct fixture {
  manual_clock time;
  mailbox_simulator_options options;
  std::unique_ptr<mailbox_simulator> aut;

  fixture() {
    restart();
  }

  void restart() {
    aut = std::make_unique<mailbox_simulator>(options, time);
    const auto started = aut->start();
    CAF_REQUIRE(started.has_value());
  }

  /// One line there, one (last) line back.
  static std::string say(client& c, const std::string& line) {
    c.send(line + "\r\n");
    return answer(c);
  }

  static std::string answer(client& c) {
    auto line = c.until("\r\n");
    while (line.size() > 3 && line[3] == '-')
      line = c.until("\r\n");
    return line.substr(0, 3);
  }

  std::string deliver(std::string_view text, std::string_view to = "a@b.c") {
    auto c = client{aut->smtp_port()};
    answer(c);
    say(c, "EHLO test");
    say(c, "MAIL FROM:<no-reply@localhost>");
    say(c, "RCPT TO:<" + std::string{to} + ">");
    if (say(c, "DATA") != "354")
      return "no data";
    // Dots at the start of a line are doubled.
    auto stuffed = std::string{};
    auto at_start = true;
    for (const auto x : text) {
      if (at_start && x == '.')
        stuffed += '.';
      stuffed += x;
      at_start = x == '\n';
    }
    c.send(stuffed);
    return say(c, ".");
  }

  json::array list() {
    return json::parse(fetch(aut->web_port(), "GET", "/sandbox/mails").body)
      .at("data")
      .as_array();
  }

  loopback::answer get(std::string_view path) {
    return fetch(aut->web_port(), "GET", path);
  }
};

} // namespace

CAF_TEST_FIXTURE_SCOPE(mailbox_tests, fixture)

CAF_TEST(a mail is taken and shown) {
  CAF_CHECK_EQUAL(deliver(mail, "user@example.com"), "250");
  const auto all = list();
  CAF_REQUIRE_EQUAL(all.size(), 1u);
  const auto& x = all.front();
  CAF_CHECK_EQUAL(x.at("subject").as_string(), "部署成功 ok");
  CAF_CHECK_EQUAL(x.at("messageId").as_string(), "<sub-1.3@slipway>");
  CAF_CHECK_EQUAL(x.at("from").as_string(), "no-reply@localhost");
  CAF_CHECK_EQUAL(x.at("to").at(0).as_string(), "user@example.com");
  CAF_CHECK_EQUAL(x.at("text").as_string(),
                  "你好, a very long line\r\n..dots stay");
  CAF_CHECK_EQUAL(x.at("html").as_string(), "<p>你好</p><script>x</script>");
  CAF_CHECK(get("/").has("<a href=\"/mails/1\">部署成功 ok</a>"));
  const auto page = get("/mails/1");
  CAF_CHECK(page.has("<h1>部署成功 ok</h1>"));
  CAF_CHECK(page.has("你好, a very long line"));
  CAF_CHECK(page.has("<iframe sandbox=\"\""));
  CAF_CHECK(!page.has("<script>"));
  const auto html = get("/mails/1/html");
  CAF_CHECK_EQUAL(html.body, "<p>你好</p><script>x</script>");
  CAF_CHECK(html.header("Content-Security-Policy").find("sandbox")
            != std::string::npos);
  CAF_CHECK(get("/mails/1/source").has("=?utf-8?B?6YOo572y?="));
  CAF_CHECK_EQUAL(get("/mails/2").status, 404);
  CAF_CHECK_EQUAL(get("/mails/x").status, 404);
  CAF_CHECK_EQUAL(fetch(aut->web_port(), "DELETE", "/sandbox/mails").status,
                  204);
  CAF_CHECK(list().empty());
}

CAF_TEST(the dialog keeps its order) {
  auto c = client{aut->smtp_port()};
  CAF_CHECK_EQUAL(answer(c), "220");
  CAF_CHECK_EQUAL(say(c, "MAIL FROM:<a@b.c>"), "503");
  CAF_CHECK_EQUAL(say(c, "HELO x"), "250");
  CAF_CHECK_EQUAL(say(c, "RCPT TO:<a@b.c>"), "503");
  CAF_CHECK_EQUAL(say(c, "mail from:<> BODY=8BITMIME"), "250");
  CAF_CHECK_EQUAL(say(c, "MAIL FROM:<a@b.c>"), "503");
  CAF_CHECK_EQUAL(say(c, "DATA"), "503");
  CAF_CHECK_EQUAL(say(c, "RCPT TO:nobody"), "501");
  CAF_CHECK_EQUAL(say(c, "RCPT TO:<>"), "501");
  CAF_CHECK_EQUAL(say(c, "RCPT TO:<a@b.c>"), "250");
  CAF_CHECK_EQUAL(say(c, "RSET"), "250");
  CAF_CHECK_EQUAL(say(c, "DATA"), "503");
  CAF_CHECK_EQUAL(say(c, "NOOP"), "250");
  CAF_CHECK_EQUAL(say(c, "VRFY x"), "502");
  CAF_CHECK_EQUAL(say(c, "MAIL a@b.c"), "501");
  CAF_CHECK_EQUAL(say(c, "QUIT"), "221");
  CAF_CHECK(c.closes());
}

CAF_TEST(any name and password will do) {
  auto c = client{aut->smtp_port()};
  answer(c);
  c.send("EHLO x\r\n");
  CAF_CHECK(c.until("250 SIZE 2097152\r\n").find("250-AUTH PLAIN LOGIN")
            != std::string::npos);
  CAF_CHECK_EQUAL(say(c, "AUTH PLAIN AGEAYg=="), "235");
  CAF_CHECK_EQUAL(say(c, "AUTH PLAIN"), "334");
  CAF_CHECK_EQUAL(say(c, "AGEAYg=="), "235");
  CAF_CHECK_EQUAL(say(c, "AUTH LOGIN"), "334");
  CAF_CHECK_EQUAL(say(c, "YQ=="), "334");
  CAF_CHECK_EQUAL(say(c, "Yg=="), "235");
  CAF_CHECK_EQUAL(say(c, "AUTH CRAM-MD5"), "504");
}

CAF_TEST(commands may come all at once) {
  auto c = client{aut->smtp_port()};
  c.send("EHLO x\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<d@e.f>\r\nDATA\r\n"
         "Subject: one\r\n\r\nhi\r\n.\r\nMAIL FROM:<a@b.c>\r\n"
         "RCPT TO:<d@e.f>\r\nDATA\r\nSubject: two\r\n\r\nhi\r\n.\r\nQUIT\r\n");
  CAF_CHECK(!c.until("221 Bye\r\n").empty());
  const auto all = list();
  CAF_REQUIRE_EQUAL(all.size(), 2u);
  CAF_CHECK_EQUAL(all[0].at("subject").as_string(), "two");
  CAF_CHECK_EQUAL(all[1].at("subject").as_string(), "one");
}

CAF_TEST(limits hold) {
  options.mail_bytes_max = 1'000;
  options.mails_max = 3;
  options.sessions_max = 1;
  restart();
  CAF_CHECK_EQUAL(
    deliver("Subject: large\r\n\r\n" + std::string(990, 'x') + "\r\n"), "552");
  for (auto i = 0; i < 5; ++i) {
    auto text = std::string{"Subject: s"};
    text += std::to_string(i);
    CAF_CHECK(loopback::eventually([&] {
      return deliver(text + "\r\n\r\nhi\r\n") == "250";
    }));
  }
  const auto all = list();
  CAF_REQUIRE_EQUAL(all.size(), 3u);
  CAF_CHECK_EQUAL(all.back().at("subject").as_string(), "s2");
  // The one session, once the last one has gone.
  auto a = std::unique_ptr<client>{};
  CAF_REQUIRE(loopback::eventually([&] {
    a = std::make_unique<client>(aut->smtp_port());
    return answer(*a) == "220";
  }));
  {
    auto b = client{aut->smtp_port()};
    CAF_CHECK_EQUAL(answer(b), "421");
  }
  say(*a, "EHLO x");
  CAF_CHECK_EQUAL(say(*a, "MAIL FROM:<a@b.c> SIZE=1001"), "552");
  CAF_CHECK_EQUAL(say(*a, std::string(70'000, 'x')), "500");
  CAF_CHECK(a->closes());
}

CAF_TEST(silence is not waited for) {
  options.idle_timeout = 50ms;
  restart();
  auto c = client{aut->smtp_port()};
  CAF_CHECK_EQUAL(answer(c), "220");
  CAF_CHECK(c.closes());
}

CAF_TEST(mails can be made to fail) {
  const auto put = [&](std::string_view body) {
    return fetch(aut->web_port(), "PUT", "/sandbox/mails", body).status;
  };
  CAF_CHECK_EQUAL(put(R"({"defer":1})"), 200);
  CAF_CHECK_EQUAL(deliver(mail), "451");
  CAF_CHECK_EQUAL(put(R"({"reject":1})"), 200);
  CAF_CHECK_EQUAL(deliver(mail), "550");
  CAF_CHECK_EQUAL(deliver(mail), "250");
  CAF_CHECK_EQUAL(put(R"({"x":1})"), 400);
  CAF_CHECK_EQUAL(put("[]"), 400);
}

CAF_TEST(a hostile mail is harmless) {
  CAF_CHECK_EQUAL(deliver("Subject: <img src=x onerror=alert(1)>\r\n"
                          "X-\xff\xfe: \x01\r\n"
                          "Content-Type: multipart/mixed; boundary=b\r\n\r\n"
                          "--b\r\nContent-Type: multipart/mixed; "
                          "boundary=b\r\n\r\n--b\r\n\r\n\xff\xfe</pre>\r\n"),
                  "250");
  CAF_CHECK(!get("/").has("<img"));
  CAF_CHECK(!get("/mails/1").has("<img"));
  CAF_CHECK_EQUAL(get("/mails/1").status, 200);
  CAF_CHECK_EQUAL(list().size(), 1u);
}

CAF_TEST(mails can be looked at before there are any) {
  CAF_CHECK(!get("/").has("/previews"));
  CAF_CHECK_EQUAL(get("/previews/x/en").status, 404);
  options.previews = [] {
    return std::vector<mail_preview>{
      {"failed", "en", "It <failed>", "The <text>", "<p>The HTML</p>"}};
  };
  restart();
  CAF_CHECK(get("/").has("<a href=\"/previews\">"));
  CAF_CHECK(get("/previews").has("<a href=\"/previews/failed/en\">failed</a>"));
  CAF_CHECK(get("/previews").has("It &lt;failed&gt;"));
  const auto page = get("/previews/failed/en");
  CAF_CHECK(page.has("The &lt;text&gt;"));
  CAF_CHECK(page.has("src=\"/previews/failed/en/html\""));
  const auto html = get("/previews/failed/en/html");
  CAF_CHECK(html.has("<p>The HTML</p>"));
  CAF_CHECK(html.header("Content-Security-Policy").find("default-src 'none'")
            != std::string::npos);
  CAF_CHECK_EQUAL(get("/previews/failed/zh-CN").status, 404);
  options.previews = nullptr;
}

CAF_TEST(mails of many forms are read) {
  CAF_CHECK_EQUAL(read_mail("").text, "");
  CAF_CHECK_EQUAL(read_mail("Subject: a\n\nplain\n").text, "plain\n");
  CAF_CHECK_EQUAL(read_mail("Content-Type: text/html; charset=iso-8859-1\r\n"
                            "Content-Transfer-Encoding: 8bit\r\n\r\n\xe9")
                    .html,
                  "é");
  CAF_CHECK_EQUAL(read_mail("Content-Type: text/plain; charset=\"gbk\"\r\n"
                            "Content-Transfer-Encoding: base64\r\n\r\nxOO6ww==")
                    .text,
                  "你好");
  const auto x
    = read_mail("Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n"
                "Content-Type: application/pdf\r\nContent-Disposition: "
                "attachment; filename=\"a.pdf\"\r\n\r\nPDF\r\n--x\r\n\r\n"
                "hello\r\n--x--\r\nepilogue");
  CAF_CHECK_EQUAL(x.text, "hello");
  CAF_REQUIRE_EQUAL(x.attachments.size(), 1u);
  CAF_CHECK_EQUAL(x.attachments.front(), "application/pdf a.pdf");
}

CAF_TEST(encoded words are decoded) {
  CAF_CHECK_EQUAL(decode_words("plain"), "plain");
  CAF_CHECK_EQUAL(decode_words("a =?utf-8?q?=C3=A9_b?= c"), "a é b c");
  CAF_CHECK_EQUAL(decode_words("=?UTF-8?B?5L2g?= =?UTF-8?B?5aW9?="), "你好");
  CAF_CHECK_EQUAL(decode_words("=?gb2312?B?xOO6ww==?="), "你好");
  CAF_CHECK_EQUAL(decode_words("=?utf-8?B?bro"), "=?utf-8?B?bro");
  CAF_CHECK_EQUAL(decode_words("=? =?="), "=? =?=");
}

CAF_TEST_FIXTURE_SCOPE_END()

#define CAF_SUITE mail.smtp

#include "http/mail/mailer.hpp"
#include "tests/support/socket_server.hpp"

#include <caf/test/unit_test.hpp>

#include <algorithm>
#include <chrono>
#include <map>
#include <mutex>
#include <string>
#include <vector>

using namespace slipway;
using namespace slipway::mail;
using slipway::test::socket_connection;
using slipway::test::socket_server;

// Goal: `in_doubt` exactly when the whole content has left and the verdict is
// missing. Before that a mail is certainly not sent and may be sent again.

namespace {

using steady = std::chrono::steady_clock;

constexpr std::string_view hang = "hang";
constexpr std::string_view drop = "drop";

/// A server that answers each command from a table: a reply, `hang` or `drop`.
struct smtp_script {
  std::map<std::string, std::string> replies{
    {"connect", "220 test ESMTP\r\n"},
    {"EHLO", "250-test\r\n250-SIZE 1000000\r\n250 8BITMIME\r\n"},
    {"MAIL", "250 2.1.0 Ok\r\n"},
    {"RCPT", "250 2.1.5 Ok\r\n"},
    {"DATA", "354 go on\r\n"},
    {"content", "250 2.0.0 Ok: queued as 4711\r\n"},
    {"QUIT", "221 bye\r\n"},
  };
  std::mutex mutex;
  std::vector<std::string> commands;
  std::string content;

  /// @returns whether to go on.
  bool answer(socket_connection& connection, const std::string& step) {
    auto entry = replies.find(step);
    auto reply = entry == replies.end() ? "502 unknown\r\n" : entry->second;
    if (reply == drop)
      return false;
    if (reply == hang) {
      connection.wait_for_close();
      return false;
    }
    connection.write(reply);
    return true;
  }

  void serve(socket_connection& connection) {
    if (!answer(connection, "connect"))
      return;
    for (;;) {
      auto line = connection.read_until("\r\n");
      if (line.empty())
        return;
      auto verb = line.substr(0, 4);
      {
        std::lock_guard guard{mutex};
        commands.push_back(line.substr(0, line.size() - 2));
      }
      if (!answer(connection, verb))
        return;
      if (verb == "DATA" && replies["DATA"].starts_with("354")) {
        auto text = connection.read_until("\r\n.\r\n");
        {
          std::lock_guard guard{mutex};
          content = text;
        }
        if (!answer(connection, "content"))
          return;
      }
    }
  }

  std::string command(std::string_view verb) {
    std::lock_guard guard{mutex};
    for (const auto& line : commands)
      if (line.starts_with(verb))
        return line;
    return {};
  }
};

mail_message a_mail() {
  mail_message message;
  message.to = "张三 <user@example.com>";
  message.subject = "实例部署成功";
  message.text = ".starts with a dot\n..\n.\nends\n";
  message.html = "<p>hello</p>";
  message.message_id = "1.2.3@slipway.local";
  message.date = *parse_rfc3339("2026-11-23T08:00:00Z");
  return message;
}

config::mail_settings settings_for(const socket_server& server) {
  config::mail_settings settings;
  settings.url = "smtp://" + server.address();
  settings.from = "Slipway <no-reply@example.com>";
  settings.timeout = millis{3'000};
  return settings;
}

struct attempt {
  send_outcome outcome;
  steady::duration took;
};

/// Sends one mail to a server with the script, changed in one step.
attempt attempt_with(const std::string& step, std::string_view reply,
                     millis timeout = millis{3'000}) {
  smtp_script script;
  if (!step.empty())
    script.replies[step] = reply;
  socket_server server{[&script](socket_connection& connection) {
    script.serve(connection);
  }};
  auto settings = settings_for(server);
  settings.timeout = timeout;
  auto begin = steady::now();
  auto outcome = smtp_sender{settings}.send(a_mail());
  CAF_MESSAGE(step << " " << to_string(outcome.status) << ": "
                   << outcome.message);
  CAF_CHECK(!outcome.message.empty());
  CAF_CHECK(outcome.message.find_first_of("\r\n") == std::string::npos);
  return {outcome, steady::now() - begin};
}

std::string status_after(const std::string& step, std::string_view reply) {
  return std::string{to_string(attempt_with(step, reply).outcome.status)};
}

} // namespace

CAF_TEST(a mail arrives as it was built) {
  smtp_script script;
  socket_server server{[&script](socket_connection& connection) {
    script.serve(connection);
  }};
  smtp_sender sender{settings_for(server), "mx.example.com"};
  auto outcome = sender.send(a_mail());
  CAF_CHECK(outcome.status == send_status::sent);
  CAF_CHECK_EQUAL(outcome.code, 250);
  CAF_CHECK_EQUAL(outcome.message, "250 2.0.0 Ok: queued as 4711");
  CAF_CHECK_EQUAL(script.command("EHLO"), "EHLO mx.example.com");
  CAF_CHECK(
    script.command("MAIL").starts_with("MAIL FROM:<no-reply@example.com>"));
  CAF_CHECK_EQUAL(script.command("RCPT"), "RCPT TO:<user@example.com>");
  std::lock_guard guard{script.mutex};
  // Undo the doubling of dots at the start of lines, drop the final one.
  auto content = script.content.substr(0, script.content.size() - 3);
  for (std::size_t at = 0; (at = content.find("\r\n..", at)) != content.npos;)
    content.erase(at += 2, 1);
  auto expected = build_mail("Slipway <no-reply@example.com>", a_mail());
  CAF_REQUIRE(expected.has_value());
  CAF_CHECK_EQUAL(content, *expected);
}

CAF_TEST(a permanent refusal of the mail is final) {
  CAF_CHECK_EQUAL(status_after("RCPT", "550 5.1.1 No such user\r\n"),
                  "rejected");
  CAF_CHECK_EQUAL(status_after("MAIL", "550 5.7.1 Not you\r\n"), "rejected");
  CAF_CHECK_EQUAL(status_after("DATA", "554 5.5.1 No\r\n"), "rejected");
  CAF_CHECK_EQUAL(status_after("content", "554 5.7.1 Spam\r\n"), "rejected");
  auto result = attempt_with("RCPT", "550-5.1.1 No\r\n550 such user\r\n");
  CAF_CHECK_EQUAL(result.outcome.code, 550);
  CAF_CHECK_EQUAL(result.outcome.message, "550-5.1.1 No such user");
}

CAF_TEST(a temporary refusal is to be tried again) {
  for (auto step : {"connect", "MAIL", "RCPT", "DATA", "content"})
    CAF_CHECK_EQUAL(status_after(step, "421 4.3.2 Later\r\n"), "deferred");
  auto result = attempt_with("content", "452 4.3.1 Full\r\n");
  CAF_CHECK_EQUAL(result.outcome.code, 452);
}

CAF_TEST(trouble with us or the server does not condemn the mail) {
  CAF_CHECK_EQUAL(status_after("connect", "554 No service\r\n"), "deferred");
  CAF_CHECK_EQUAL(status_after("MAIL", "530 5.7.0 Must log in\r\n"),
                  "deferred");
  auto no_smtp = attempt_with("connect", "HTTP/1.1 400 What\r\n", millis{300});
  CAF_CHECK(no_smtp.outcome.status == send_status::deferred);
}

CAF_TEST(before the content has left nothing is in doubt) {
  for (auto step : {"connect", "EHLO", "MAIL", "RCPT", "DATA"}) {
    CAF_CHECK_EQUAL(status_after(step, drop), "deferred");
    auto hung = attempt_with(step, hang, millis{300});
    CAF_CHECK(hung.outcome.status == send_status::deferred);
    CAF_CHECK(hung.took < std::chrono::milliseconds{2'500});
  }
}

CAF_TEST(after it has left the missing verdict is in doubt) {
  CAF_CHECK_EQUAL(status_after("content", drop), "in_doubt");
  auto hung = attempt_with("content", hang, millis{300});
  CAF_CHECK(hung.outcome.status == send_status::in_doubt);
  CAF_CHECK(hung.took >= std::chrono::milliseconds{250});
  CAF_CHECK(hung.took < std::chrono::milliseconds{2'500});
}

CAF_TEST(a server that hangs on the good bye has still taken the mail) {
  auto hung = attempt_with("QUIT", hang);
  CAF_CHECK(hung.outcome.status == send_status::sent);
  CAF_CHECK(hung.took < std::chrono::milliseconds{3'500});
  CAF_CHECK_EQUAL(status_after("QUIT", drop), "sent");
  CAF_CHECK_EQUAL(status_after("QUIT", "500 What\r\n"), "sent");
}

CAF_TEST(without a server the mail is deferred) {
  config::mail_settings settings;
  settings.url
    = "smtp://127.0.0.1:" + std::to_string(slipway::test::closed_port());
  settings.timeout = millis{2'000};
  auto outcome = smtp_sender{settings}.send(a_mail());
  CAF_CHECK(outcome.status == send_status::deferred);
  for (auto url : {"", "http://127.0.0.1/", "nonsense", "smtp://"}) {
    settings.url = url;
    CAF_CHECK(smtp_sender{settings}.send(a_mail()).status
              == send_status::deferred);
  }
}

CAF_TEST(what can not be expressed is rejected without a connection) {
  smtp_script script;
  socket_server server{[&script](socket_connection& connection) {
    script.serve(connection);
  }};
  smtp_sender sender{settings_for(server)};
  auto message = a_mail();
  message.to = "a@b\r\nRCPT TO:<c@d>";
  CAF_CHECK(sender.send(message).status == send_status::rejected);
  message = a_mail();
  message.subject = "a\nBcc: x@example.com";
  CAF_CHECK(sender.send(message).status == send_status::rejected);
  CAF_CHECK_EQUAL(server.accepted(), 0);
}

CAF_TEST(where TLS is demanded nothing goes in the clear) {
  smtp_script script;
  socket_server server{[&script](socket_connection& connection) {
    script.serve(connection);
  }};
  auto settings = settings_for(server);
  settings.require_tls = true;
  auto outcome = smtp_sender{settings}.send(a_mail());
  CAF_CHECK(outcome.status == send_status::deferred);
  CAF_CHECK(script.command("MAIL").empty());
}

CAF_TEST(an offered STARTTLS is used) {
  smtp_script script;
  script.replies["EHLO"] = "250-test\r\n250 STARTTLS\r\n";
  script.replies["STAR"] = "220 go\r\n";
  socket_server server{[&script](socket_connection& connection) {
    script.serve(connection);
  }};
  // The server then speaks no TLS, so the mail must not go out at all.
  auto outcome = smtp_sender{settings_for(server)}.send(a_mail());
  CAF_CHECK(outcome.status == send_status::deferred);
  CAF_CHECK_EQUAL(script.command("STAR"), "STARTTLS");
  CAF_CHECK(script.command("MAIL").empty());
}

CAF_TEST(a user name logs in and a wrong password only defers) {
  smtp_script script;
  script.replies["EHLO"] = "250-test\r\n250 AUTH PLAIN\r\n";
  script.replies["AUTH"] = "334 \r\n";
  socket_server server{[&script](socket_connection& connection) {
    script.serve(connection);
  }};
  auto settings = settings_for(server);
  settings.username = "user";
  settings.password = config::secret{"hunter2"};
  smtp_sender sender{settings};
  auto outcome = sender.send(a_mail());
  CAF_CHECK_EQUAL(script.command("AUTH"), "AUTH PLAIN");
  CAF_CHECK_EQUAL(script.command("AHV"), "AHVzZXIAaHVudGVyMg==");
  CAF_CHECK(outcome.status == send_status::deferred);
  script.replies["AHVz"] = "235 2.7.0 Welcome\r\n";
  CAF_CHECK(sender.send(a_mail()).status == send_status::sent);
  script.replies["AHVz"] = "535 5.7.8 Wrong password\r\n";
  outcome = sender.send(a_mail());
  CAF_CHECK(outcome.status == send_status::deferred);
  CAF_CHECK_EQUAL(outcome.code, 535);
  CAF_CHECK(outcome.message.find("hunter2") == std::string::npos);
}

#define CAF_SUITE mail.message

#include "http/crypto/encoding.hpp"
#include "http/mail/mailer.hpp"
#include "http/mail/unsubscribe.hpp"

#include <caf/test/unit_test.hpp>

#include <string>
#include <vector>

using namespace slipway;
using namespace slipway::mail;

namespace {

mail_message a_mail() {
  mail_message message;
  message.to = "user@example.com";
  message.subject = "Instance deployed";
  message.text = "Hello\nYour instance runs.\n";
  message.message_id = "sub1.7.mail@slipway.local";
  message.date = *parse_rfc3339("2026-11-03T08:05:09.500Z");
  message.language = "en";
  return message;
}

std::string built(const mail_message& message,
                  std::string_view from = "Slipway <no-reply@example.com>") {
  auto mail = build_mail(from, message);
  if (!mail)
    CAF_FAIL(mail.error());
  return *mail;
}

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != text.npos;
}

/// The value of a header, unfolded.
std::string header(const std::string& mail, const std::string& name) {
  auto at = mail.find("\r\n" + name + ": ");
  CAF_REQUIRE(at != mail.npos);
  at += name.size() + 4;
  std::string value;
  for (;;) {
    auto end = mail.find("\r\n", at);
    value += mail.substr(at, end - at);
    if (mail[end + 2] != ' ')
      return value;
    at = end + 2;
  }
}

/// Decodes RFC 2047 words in base64.
std::string decoded_words(std::string text) {
  std::string result;
  for (std::string_view rest = text; !rest.empty();) {
    if (rest.starts_with(' '))
      rest.remove_prefix(1);
    CAF_REQUIRE(rest.starts_with("=?UTF-8?B?"));
    auto end = rest.find("?=");
    CAF_REQUIRE(end != rest.npos && end + 2 <= 75);
    auto bytes = crypto::base64_decode(rest.substr(10, end - 10));
    CAF_REQUIRE(bytes.has_value());
    result += *bytes;
    rest.remove_prefix(end + 2);
  }
  return result;
}

std::string decoded_quoted(std::string_view text) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '=') {
      result += text[i];
    } else if (text.substr(i, 3) == "=\r\n") {
      i += 2;
    } else {
      result += *crypto::hex_decode(text.substr(i + 1, 2));
      i += 2;
    }
  }
  return result;
}

/// Decodes the content behind a part's headers.
std::string content_of(std::string_view part) {
  auto at = part.find("\r\n\r\n");
  auto head = part.substr(0, at);
  auto body = part.substr(at + 4);
  if (contains(head, "quoted-printable"))
    return decoded_quoted(body);
  CAF_REQUIRE(contains(head, "base64"));
  std::string digits;
  for (auto c : body)
    if (c != '\r' && c != '\n')
      digits += c;
  auto bytes = crypto::base64_decode(digits);
  CAF_REQUIRE(bytes.has_value());
  return *bytes;
}

void check_lines(const std::string& mail) {
  std::size_t begin = 0;
  CAF_CHECK(mail.ends_with("\r\n"));
  while (begin < mail.size()) {
    auto end = mail.find("\r\n", begin);
    auto line = mail.substr(begin, end - begin);
    CAF_CHECK(line.size() <= 98);
    CAF_CHECK(line.find_first_of("\r\n") == line.npos);
    for (auto c : line)
      CAF_CHECK(static_cast<unsigned char>(c) < 0x80);
    begin = end + 2;
  }
}

} // namespace

CAF_TEST(a plain mail has all its headers) {
  auto mail = built(a_mail());
  CAF_CHECK_EQUAL(mail, "Date: Tue, 03 Nov 2026 08:05:09 +0000\r\n"
                        "From: \"Slipway\" <no-reply@example.com>\r\n"
                        "To: <user@example.com>\r\n"
                        "Subject: Instance deployed\r\n"
                        "Message-ID: <sub1.7.mail@slipway.local>\r\n"
                        "MIME-Version: 1.0\r\n"
                        "Auto-Submitted: auto-generated\r\n"
                        "Content-Language: en\r\n"
                        "Content-Type: text/plain; charset=utf-8\r\n"
                        "Content-Transfer-Encoding: quoted-printable\r\n"
                        "\r\n"
                        "Hello\r\n"
                        "Your instance runs.\r\n");
  CAF_CHECK_EQUAL(mail, built(a_mail()));
}

CAF_TEST(a mail with HTML has two parts that say the same) {
  auto message = a_mail();
  message.html = "<p>实例 = \"x\"</p>\n<p>" + std::string(2'000, 'y') + "</p>";
  message.text = "您的实例已成功部署\n第二行 \n.\n..\n";
  auto mail = built(message);
  check_lines(mail);
  CAF_CHECK(header(mail, "Content-Type").starts_with("multipart/alternative"));
  auto at = mail.find("boundary=\"") + 10;
  auto boundary = "--" + mail.substr(at, mail.find('"', at) - at);
  auto first = mail.find("\r\n" + boundary + "\r\n");
  auto second = mail.find("\r\n" + boundary + "\r\n", first + 1);
  auto end = mail.find("\r\n" + boundary + "--\r\n");
  CAF_REQUIRE(first != mail.npos && second != mail.npos && end != mail.npos);
  auto head = boundary.size() + 4;
  auto text = mail.substr(first + head, second + 2 - first - head);
  auto html = mail.substr(second + head, end + 2 - second - head);
  CAF_CHECK(text.starts_with("Content-Type: text/plain; charset=utf-8\r\n"));
  CAF_CHECK(html.starts_with("Content-Type: text/html; charset=utf-8\r\n"));
  CAF_CHECK_EQUAL(content_of(text),
                  "您的实例已成功部署\r\n第二行 \r\n.\r\n..\r\n");
  CAF_CHECK_EQUAL(content_of(html), "<p>实例 = \"x\"</p>\r\n<p>"
                                      + std::string(2'000, 'y') + "</p>\r\n");
}

CAF_TEST(subjects are encoded and folded where they must be) {
  auto message = a_mail();
  message.subject = "实例部署成功: 我的实例";
  CAF_CHECK_EQUAL(decoded_words(header(built(message), "Subject")),
                  message.subject);
  message.subject.clear();
  for (int i = 0; i < 60; ++i)
    message.subject += i % 3 == 0 ? "é" : "实😀";
  auto mail = built(message);
  check_lines(mail);
  CAF_CHECK_EQUAL(decoded_words(header(mail, "Subject")), message.subject);
  message.subject = "=?UTF-8?B?ZmFrZQ==?=";
  CAF_CHECK_EQUAL(decoded_words(header(built(message), "Subject")),
                  message.subject);
  message.subject = std::string(300, 'a');
  mail = built(message);
  check_lines(mail);
  CAF_CHECK_EQUAL(decoded_words(header(mail, "Subject")), message.subject);
}

CAF_TEST(names of mailboxes are quoted or encoded) {
  auto message = a_mail();
  message.to = "O \"Neil\\, <b@example.com>";
  CAF_CHECK_EQUAL(header(built(message), "To"),
                  "\"O \\\"Neil\\\\,\" <b@example.com>");
  message.to = "张三 <z@example.com>";
  auto to = header(built(message), "To");
  CAF_CHECK(to.ends_with(" <z@example.com>"));
  CAF_CHECK_EQUAL(decoded_words(to.substr(0, to.rfind(" <"))), "张三");
}

CAF_TEST(nothing can be injected) {
  auto refused = [](auto change) {
    auto message = a_mail();
    change(message);
    auto mail = build_mail("s@example.com", message);
    if (!mail) {
      CAF_CHECK(mail.error().find_first_of("\r\n") == std::string::npos);
      return true;
    }
    return false;
  };
  CAF_CHECK(!refused([](auto&) {}));
  for (auto bad : {"\r\nBcc: x@example.com", "\nX: y", "\r", "\x01"}) {
    CAF_CHECK(refused([bad](auto& m) {
      m.subject += bad;
    }));
    CAF_CHECK(refused([bad](auto& m) {
      m.to += bad;
    }));
    CAF_CHECK(refused([bad](auto& m) {
      m.to = std::string{"Name"} + bad + " <user@example.com>";
    }));
    CAF_CHECK(refused([bad](auto& m) {
      m.message_id += bad;
    }));
    CAF_CHECK(refused([bad](auto& m) {
      m.language += bad;
    }));
    CAF_CHECK(!build_mail(std::string{"s@example.com"} + bad, a_mail()));
  }
  CAF_CHECK(refused([](auto& m) {
    m.subject += std::string(1, '\0');
  }));
  CAF_CHECK(refused([](auto& m) {
    m.subject = "\xff";
  }));
  CAF_CHECK(refused([](auto& m) {
    m.message_id = "a b@c";
  }));
  CAF_CHECK(refused([](auto& m) {
    m.message_id = "no-at-sign";
  }));
  CAF_CHECK(refused([](auto& m) {
    m.message_id = "a@b>";
  }));
}

CAF_TEST(addresses are checked) {
  for (auto good : {"a@b", "first.last+tag@mail.example.com", "<a@example.com>",
                    "\"N, M\" <a@example.com>", " A B < a@example.com >"}) {
    auto address = bare_address(good);
    if (std::string_view{good}.find("< ") != std::string_view::npos)
      CAF_CHECK(!address); // Blanks are no part of an address.
    else
      CAF_CHECK(address.has_value());
  }
  CAF_CHECK(bare_address("Slipway <no-reply@example.com>")
            == "no-reply@example.com");
  for (auto bad : {"",           "a",     "@b",
                   "a@",         "a@b@c", "a b@c",
                   "a@b c",      "a,b@c", "a@b,c@d",
                   "a@b>",       "<a@b",  "a@b> <c@d",
                   ".a@b",       "a.@b",  "a..b@c",
                   "a@b..c",     "a@.b",  "用户@example.com",
                   "a@例子.com", "a;b@c", "a@[127.0.0.1]",
                   "a@b\r\n"})
    CAF_CHECK(!bare_address(bad));
  CAF_CHECK(!bare_address(std::string(250, 'a') + "@example.com"));
}

CAF_TEST(text survives whatever its line ends and bytes) {
  auto message = a_mail();
  message.text = "a\rb\r\nc\n\nd \t\nFrom x\n=\xff=3D";
  CAF_CHECK_EQUAL(content_of(built(message)),
                  "a\r\nb\r\nc\r\n\r\nd \t\r\nFrom x\r\n="
                  "\xef\xbf\xbd=3D\r\n");
  message.text.clear();
  CAF_CHECK_EQUAL(content_of(built(message)), "\r\n");
  for (std::size_t length = 70; length < 80; ++length) {
    message.text = std::string(length, 'x') + " = \n";
    auto mail = built(message);
    check_lines(mail);
    CAF_CHECK_EQUAL(content_of(mail), std::string(length, 'x') + " = \r\n");
  }
}

CAF_TEST(a mail says where to turn it off) {
  auto message = a_mail();
  CAF_CHECK(!contains(built(message), "List-Unsubscribe"));
  message.unsubscribe_url = "https://example.com/off?user=a%26b";
  auto mail = built(message);
  CAF_CHECK_EQUAL(header(mail, "List-Unsubscribe"),
                  "<https://example.com/off?user=a%26b>");
  CAF_CHECK(!contains(mail, "List-Unsubscribe-Post"));
  message.one_click = true;
  mail = built(message);
  CAF_CHECK_EQUAL(header(mail, "List-Unsubscribe-Post"),
                  "List-Unsubscribe=One-Click");
  for (const auto& bad :
       {std::string{"javascript:x"}, std::string{"https://"},
        std::string{"https://a>\r\nBcc: x"}, std::string{"https://a b"},
        std::string{"https://a/ü"}, "https://a/" + std::string(900, 'x')}) {
    message.unsubscribe_url = bad;
    const auto refused = build_mail("s@example.com", message);
    CAF_CHECK(!refused);
  }
}

CAF_TEST(the address to turn mails off says whose) {
  const auto* pattern = "https://example.com/off/{user}?u={user}";
  CAF_CHECK(!check_unsubscribe_url(pattern));
  CAF_CHECK_EQUAL(
    unsubscribe_url_for(pattern, "a b&<>\r\n"),
    "https://example.com/off/a%20b%26%3C%3E%0D%0A?u=a%20b%26%3C%3E"
    "%0D%0A");
  CAF_CHECK(is_unsubscribe_url(unsubscribe_url_for(pattern, "a b&<>\r\n")));
  CAF_CHECK(is_one_click(pattern));
  CAF_CHECK(!is_one_click("http://example.com/{user}"));
  CAF_CHECK(!is_one_click("https://example.com/"));
  CAF_CHECK(!is_one_click("mailto:off@example.com?subject={user}"));
  CAF_CHECK(!check_unsubscribe_url("mailto:off@example.com?subject={user}"));
  // Rather no header than one that is cut.
  CAF_CHECK(unsubscribe_url_for(pattern, std::string(500, 'x')).empty());
  for (const auto* bad : {"", "example.com/off", "ftp://example.com/",
                          "https://exa mple.com/", "https://example.com/{usr}"})
    CAF_CHECK(check_unsubscribe_url(bad).has_value());
}

#include "http/crypto/digest.hpp"
#include "http/crypto/encoding.hpp"
#include "http/crypto/text.hpp"
#include "http/mail/mailer.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>

// Builds mail as RFC 5322, 2045 and 2047 want it. Everything is deterministic:
// the same mail gives the same bytes, so that an attempt can be repeated.

namespace slipway::mail {

namespace {

constexpr std::size_t address_max = 254;
constexpr std::size_t header_text_max = 2'048;
constexpr std::size_t line_max = 76;
/// Plain header text longer than this is encoded, since only encoded words can
/// be folded anywhere.
constexpr std::size_t plain_header_max = 60;

auto failed(std::string sentence) {
  return tl::make_unexpected(std::move(sentence));
}

bool is_ascii(std::string_view text) noexcept {
  return std::all_of(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x80;
  });
}

bool is_alphanumeric(char c) noexcept {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z')
         || (c >= 'a' && c <= 'z');
}

/// A dot-atom of RFC 5322: words without special characters between dots.
bool is_dot_atom(std::string_view text, std::string_view marks) noexcept {
  auto after_dot = true;
  for (auto c : text) {
    if (c == '.') {
      if (after_dot)
        return false;
      after_dot = true;
    } else if (is_alphanumeric(c) || marks.find(c) != marks.npos) {
      after_dot = false;
    } else {
      return false;
    }
  }
  return !after_dot;
}

bool is_address(std::string_view text) noexcept {
  auto at = text.rfind('@');
  return text.size() <= address_max && at != text.npos && at <= 64
         && is_dot_atom(text.substr(0, at), "!#$%&'*+-/=?^_`{|}~")
         && is_dot_atom(text.substr(at + 1), "-");
}

std::string_view trimmed(std::string_view text) noexcept {
  auto begin = text.find_first_not_of(" \t");
  if (begin == text.npos)
    return {};
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

/// For sentences: what was found, cut and harmless.
std::string shown(std::string_view text) {
  constexpr std::size_t shown_max = 80;
  return crypto::json_quote(text.substr(0, shown_max));
}

struct mailbox {
  std::string name;
  std::string address;
};

tl::expected<mailbox, std::string> parse_mailbox(std::string_view text) {
  mailbox result;
  if (crypto::has_control(text) || !crypto::is_utf8(text)
      || text.size() > header_text_max)
    return failed("the address " + shown(text)
                  + " holds control characters, is not UTF-8 or is too long");
  auto open = text.rfind('<');
  if (open == text.npos) {
    result.address = trimmed(text);
  } else {
    auto end = trimmed(text.substr(open + 1));
    if (!end.ends_with('>'))
      return failed("the address " + shown(text)
                    + " does not end with >; expected Name <address>");
    result.address = end.substr(0, end.size() - 1);
    auto name = trimmed(text.substr(0, open));
    if (name.size() >= 2 && name.starts_with('"') && name.ends_with('"'))
      name = name.substr(1, name.size() - 2);
    result.name = name;
  }
  if (!is_address(result.address))
    return failed("the address " + shown(text)
                  + " is none that mail can be sent to; expected "
                    "someone@example.com in ASCII");
  return result;
}

/// One code point of well-formed UTF-8.
std::string_view first_character(std::string_view text) noexcept {
  std::size_t size = 1;
  while (size < text.size()
         && (static_cast<unsigned char>(text[size]) & 0xc0) == 0x80)
    ++size;
  return text.substr(0, size);
}

/// RFC 2047: encoded words of at most 75 bytes, split between characters.
std::string encoded_words(std::string_view text) {
  constexpr std::size_t content_max = 45; // 60 digits of base64
  std::string result;
  while (!text.empty()) {
    std::size_t size = 0;
    while (size < text.size()) {
      auto next = first_character(text.substr(size)).size();
      if (size + next > content_max)
        break;
      size += next;
    }
    if (!result.empty())
      result += "\r\n ";
    result += "=?UTF-8?B?" + crypto::base64_encode(text.substr(0, size)) + "?=";
    text.remove_prefix(size);
  }
  return result;
}

/// A text for an unstructured header.
std::string header_text(std::string_view text) {
  auto plain = is_ascii(text) && text.size() <= plain_header_max
               && text.find("=?") == text.npos && trimmed(text) == text;
  return plain ? std::string{text} : encoded_words(text);
}

std::string header_mailbox(const mailbox& box) {
  auto address = '<' + box.address + '>';
  if (box.name.empty())
    return address;
  if (!is_ascii(box.name) || box.name.size() > plain_header_max
      || box.name.find("=?") != box.name.npos)
    return encoded_words(box.name) + "\r\n " + address;
  std::string quoted = "\"";
  for (auto c : box.name) {
    if (c == '"' || c == '\\')
      quoted += '\\';
    quoted += c;
  }
  return quoted + "\" " + address;
}

std::string header_date(timestamp at) {
  constexpr std::array<const char*, 7> weekdays{"Sun", "Mon", "Tue", "Wed",
                                                "Thu", "Fri", "Sat"};
  constexpr std::array<const char*, 12> months{"Jan", "Feb", "Mar", "Apr",
                                               "May", "Jun", "Jul", "Aug",
                                               "Sep", "Oct", "Nov", "Dec"};
  auto day = std::chrono::floor<std::chrono::days>(at);
  std::chrono::year_month_day date{day};
  std::chrono::weekday weekday{day};
  std::chrono::hh_mm_ss time{std::chrono::floor<std::chrono::seconds>(at)
                             - day};
  std::array<char, 64> buffer{};
  std::snprintf(
    buffer.data(), buffer.size(), "%s, %02u %s %04d %02d:%02d:%02d +0000",
    weekdays[weekday.c_encoding()], static_cast<unsigned>(date.day()),
    months[static_cast<unsigned>(date.month()) - 1],
    static_cast<int>(date.year()), static_cast<int>(time.hours().count()),
    static_cast<int>(time.minutes().count()),
    static_cast<int>(time.seconds().count()));
  return buffer.data();
}

/// Valid UTF-8 with CRLF at the end of each line, the last one included.
std::string canonical(std::string_view text) {
  std::string result;
  auto valid = crypto::to_valid_utf8(text);
  result.reserve(valid.size() + valid.size() / 16);
  for (std::size_t i = 0; i < valid.size(); ++i) {
    if (valid[i] == '\r' || valid[i] == '\n') {
      if (valid[i] == '\r' && i + 1 < valid.size() && valid[i + 1] == '\n')
        ++i;
      result += "\r\n";
    } else {
      result += valid[i];
    }
  }
  if (!result.ends_with("\r\n"))
    result += "\r\n";
  return result;
}

/// RFC 2045, section 6.7. The text has CRLF line ends.
std::string quoted_printable(std::string_view text) {
  constexpr std::string_view digits = "0123456789ABCDEF";
  std::string result;
  while (!text.empty()) {
    auto end = text.find("\r\n");
    auto line = text.substr(0, end);
    text.remove_prefix(end == text.npos ? text.size() : end + 2);
    std::size_t column = 0;
    for (std::size_t i = 0; i < line.size(); ++i) {
      auto c = line[i];
      auto last = i + 1 == line.size();
      auto plain = (c > ' ' && c <= '~' && c != '=')
                   || ((c == ' ' || c == '\t') && !last);
      std::size_t width = plain ? 1 : 3;
      // One column stays free for the = of a soft line break.
      if (column + width > line_max - 1) {
        result += "=\r\n";
        column = 0;
      }
      if (plain) {
        result += c;
      } else {
        result += '=';
        result += digits[static_cast<unsigned char>(c) >> 4];
        result += digits[static_cast<unsigned char>(c) & 15];
      }
      column += width;
    }
    result += "\r\n";
  }
  return result;
}

std::string base64_lines(std::string_view text) {
  auto digits = crypto::base64_encode(text);
  std::string result;
  for (std::size_t at = 0; at < digits.size(); at += line_max)
    result += digits.substr(at, line_max) + "\r\n";
  return result;
}

/// The headers of one part and its content, in the shorter encoding.
std::string part(std::string_view type, std::string_view text) {
  auto lines = canonical(text);
  auto quoted = quoted_printable(lines);
  auto digits = base64_lines(lines);
  auto as_quoted = quoted.size() <= digits.size();
  return "Content-Type: " + std::string{type}
         + "; charset=utf-8\r\nContent-Transfer-Encoding: "
         + (as_quoted ? "quoted-printable" : "base64") + "\r\n\r\n"
         + (as_quoted ? quoted : digits);
}

bool is_message_id(std::string_view text) noexcept {
  constexpr std::string_view marks = "!#$%&'*+-/=?^_`{|}~";
  auto at = text.find('@');
  return text.size() <= 200 && at != text.npos
         && is_dot_atom(text.substr(0, at), marks)
         && is_dot_atom(text.substr(at + 1), marks);
}

bool is_language_tag(std::string_view text) noexcept {
  return text.size() <= 35 && std::all_of(text.begin(), text.end(), [](char c) {
           return is_alphanumeric(c) || c == '-';
         });
}

} // namespace

bool is_unsubscribe_url(std::string_view url) noexcept {
  auto known = false;
  for (const auto* scheme : {"https://", "http://", "mailto:"})
    known |= url.starts_with(scheme) && url != scheme;
  return known && url.size() <= unsubscribe_url_max
         && std::all_of(url.begin(), url.end(), [](char c) {
              return c > ' ' && c <= '~' && c != '<' && c != '>' && c != '"'
                     && c != '\\' && c != '{' && c != '}';
            });
}

tl::expected<std::string, std::string> bare_address(std::string_view text) {
  auto box = parse_mailbox(text);
  if (!box)
    return failed(std::move(box.error()));
  return std::move(box->address);
}

tl::expected<std::string, std::string>
build_mail(std::string_view from, const mail_message& message) {
  auto sender = parse_mailbox(from);
  if (!sender)
    return failed("the sender: " + sender.error());
  auto receiver = parse_mailbox(message.to);
  if (!receiver)
    return failed("the receiver: " + receiver.error());
  if (crypto::has_control(message.subject) || !crypto::is_utf8(message.subject)
      || message.subject.size() > header_text_max)
    return failed("the subject " + shown(message.subject)
                  + " holds control characters, is not UTF-8 or is too long");
  if (!is_message_id(message.message_id))
    return failed("the Message-ID " + shown(message.message_id)
                  + " has a bad form; expected local@domain");
  if (!is_language_tag(message.language))
    return failed("the language " + shown(message.language)
                  + " is no language tag");
  auto result = "Date: " + header_date(message.date)
                + "\r\nFrom: " + header_mailbox(*sender)
                + "\r\nTo: " + header_mailbox(*receiver)
                + "\r\nSubject: " + header_text(message.subject)
                + "\r\nMessage-ID: <" + message.message_id
                + ">\r\nMIME-Version: 1.0\r\nAuto-Submitted: auto-generated"
                  "\r\n";
  if (!message.language.empty())
    result += "Content-Language: " + message.language + "\r\n";
  if (!message.unsubscribe_url.empty()) {
    if (!is_unsubscribe_url(message.unsubscribe_url))
      return failed("the address " + shown(message.unsubscribe_url)
                    + " to turn mails off is none; expected an http, https or "
                      "mailto URL in printable ASCII");
    result += "List-Unsubscribe: <" + message.unsubscribe_url + ">\r\n";
    if (message.one_click)
      result += "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n";
  }
  if (message.html.empty())
    return result + part("text/plain", message.text);
  // Neither encoding can produce a line that starts with "--=_".
  auto boundary
    = "=_"
      + crypto::hex_encode(crypto::sha256(message.message_id)).substr(0, 32);
  result += "Content-Type: multipart/alternative;\r\n boundary=\"" + boundary
            + "\"\r\n\r\n";
  result += "--" + boundary + "\r\n" + part("text/plain", message.text);
  result += "--" + boundary + "\r\n" + part("text/html", message.html);
  result += "--" + boundary + "--\r\n";
  return result;
}

} // namespace slipway::mail

#include "http/sandbox/mime.hpp"

#include "http/crypto/encoding.hpp"
#include "http/sandbox/page.hpp"

#include <algorithm>
#include <array>
#include <iconv.h>
#include <optional>

namespace slipway::sandbox {

namespace {

constexpr auto nesting_max = 8;

constexpr auto parts_max = 64;

std::string lower(std::string_view text) {
  auto result = std::string{text};
  for (auto& c : result)
    if (c >= 'A' && c <= 'Z')
      c = static_cast<char>(c - 'A' + 'a');
  return result;
}

std::string_view trim(std::string_view text) {
  constexpr auto blank = std::string_view{" \t\r\n"};
  const auto from = text.find_first_not_of(blank);
  if (from == std::string_view::npos)
    return {};
  return text.substr(from, text.find_last_not_of(blank) - from + 1);
}

/// Any charset the system knows to UTF-8.
std::string from_charset(const std::string& bytes, const std::string& charset) {
  const auto name = lower(charset);
  if (name.empty() || name == "utf-8" || name == "us-ascii")
    return to_utf8(bytes);
  const auto converter = ::iconv_open("UTF-8", charset.c_str());
  if (converter == reinterpret_cast<iconv_t>(-1))
    return to_utf8(bytes);
  std::string result;
  auto in = bytes;
  auto* from = in.data();
  auto left = in.size();
  auto chunk = std::array<char, 4096>{};
  while (left > 0) {
    auto* to = chunk.data();
    auto room = chunk.size();
    const auto done = ::iconv(converter, &from, &left, &to, &room);
    result.append(chunk.data(), chunk.size() - room);
    if (done == static_cast<std::size_t>(-1) && room == chunk.size()) {
      // A byte that means nothing in this charset.
      result += "\xEF\xBF\xBD";
      ++from;
      --left;
    }
  }
  ::iconv_close(converter);
  return result;
}

std::optional<char> hex_byte(std::string_view digits) {
  const auto bytes = crypto::hex_decode(digits);
  if (!bytes || bytes->size() != 1)
    return std::nullopt;
  return bytes->front();
}

/// @param is_word In a header, `_` is a blank.
std::string decode_quoted(std::string_view text, bool is_word) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '_' && is_word) {
      result += ' ';
    } else if (text[i] != '=') {
      result += text[i];
    } else if (text.substr(i + 1, 2) == "\r\n") {
      i += 2;
    } else if (text.substr(i + 1, 1) == "\n") {
      i += 1;
    } else if (const auto byte = hex_byte(text.substr(i + 1, 2))) {
      result += *byte;
      i += 2;
    } else {
      result += '=';
    }
  }
  return result;
}

std::string decode_base64(std::string_view text) {
  std::string tight;
  for (const auto c : text)
    if (trim({&c, 1}) != "")
      tight += c;
  auto bytes = crypto::base64_decode(tight);
  return bytes ? std::move(*bytes) : std::string{text};
}

using header_list = std::vector<std::pair<std::string, std::string>>;

/// Cuts the headers off. What is left is the body.
header_list take_headers(std::string_view& text) {
  header_list result;
  while (!text.empty()) {
    const auto end = text.find('\n');
    auto line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (!line.empty() && line.back() == '\r')
      line.remove_suffix(1);
    if (line.empty())
      break;
    if ((line.front() == ' ' || line.front() == '\t') && !result.empty()) {
      result.back().second += ' ';
      result.back().second += trim(line);
      continue;
    }
    const auto colon = line.find(':');
    if (colon != std::string_view::npos)
      result.emplace_back(trim(line.substr(0, colon)),
                          trim(line.substr(colon + 1)));
  }
  return result;
}

std::string value_of(const header_list& from, std::string_view name) {
  for (const auto& [key, value] : from)
    if (lower(key) == lower(name))
      return value;
  return "";
}

/// `boundary` of `multipart/mixed; boundary="x y"`.
std::string parameter(std::string_view value, std::string_view name) {
  auto rest = value;
  while (!rest.empty()) {
    const auto semicolon = rest.find(';');
    if (semicolon == std::string_view::npos)
      break;
    rest = trim(rest.substr(semicolon + 1));
    const auto equals = rest.find('=');
    if (equals == std::string_view::npos)
      break;
    const auto is_it = lower(trim(rest.substr(0, equals))) == name;
    rest = trim(rest.substr(equals + 1));
    if (!rest.empty() && rest.front() == '"') {
      const auto close = rest.find('"', 1);
      const auto inner
        = rest.substr(1, close == std::string_view::npos ? close : close - 1);
      if (is_it)
        return std::string{inner};
      rest = close == std::string_view::npos ? std::string_view{}
                                             : rest.substr(close + 1);
    } else if (is_it) {
      return std::string{trim(rest.substr(0, rest.find(';')))};
    }
  }
  return "";
}

/// The parts between the lines that start with the boundary.
std::vector<std::string_view>
split(std::string_view body, const std::string& boundary) {
  std::vector<std::string_view> result;
  const auto mark = "--" + boundary;
  auto from = std::string_view::npos;
  for (std::size_t at = 0; at < body.size();) {
    const auto end = std::min(body.find('\n', at), body.size());
    if (body.compare(at, mark.size(), mark) == 0) {
      if (from != std::string_view::npos) {
        auto part = body.substr(from, at - from);
        // The line break before a boundary belongs to the boundary.
        if (!part.empty() && part.back() == '\n')
          part.remove_suffix(1);
        if (!part.empty() && part.back() == '\r')
          part.remove_suffix(1);
        result.push_back(part);
      }
      if (body.compare(at + mark.size(), 2, "--") == 0
          || result.size() >= parts_max)
        return result;
      from = end + 1;
    }
    at = end + 1;
  }
  if (from < body.size())
    result.push_back(body.substr(from));
  return result;
}

void read_part(const header_list& headers, std::string_view body,
               mail_content& to, int depth) {
  auto type_line = value_of(headers, "Content-Type");
  if (type_line.empty())
    type_line = "text/plain; charset=us-ascii";
  const auto type = lower(trim(type_line.substr(0, type_line.find(';'))));
  const auto boundary = parameter(type_line, "boundary");
  if (type.rfind("multipart/", 0) == 0 && !boundary.empty()
      && depth < nesting_max) {
    for (auto part : split(body, boundary)) {
      const auto inner = take_headers(part);
      read_part(inner, part, to, depth + 1);
    }
    return;
  }
  const auto disposition = lower(value_of(headers, "Content-Disposition"));
  auto* target = type == "text/plain"  ? &to.text
                 : type == "text/html" ? &to.html
                                       : nullptr;
  if (target == nullptr || !target->empty()
      || disposition.rfind("attachment", 0) == 0) {
    to.attachments.push_back(
      type + " "
      + parameter(value_of(headers, "Content-Disposition"), "filename"));
    return;
  }
  const auto encoding = lower(value_of(headers, "Content-Transfer-Encoding"));
  const auto bytes = encoding == "base64" ? decode_base64(body)
                     : encoding == "quoted-printable"
                       ? decode_quoted(body, false)
                       : std::string{body};
  *target = from_charset(bytes, parameter(type_line, "charset"));
}

} // namespace

std::string mail_content::header(std::string_view name) const {
  return value_of(headers, name);
}

std::string decode_words(std::string_view text) {
  std::string result;
  auto after_word = false;
  while (!text.empty()) {
    const auto start = text.find("=?");
    const auto plain = text.substr(0, start);
    if (start == std::string_view::npos) {
      result += plain;
      break;
    }
    // =?charset?encoding?text?=
    const auto first = text.find('?', start + 2);
    const auto second
      = first == std::string_view::npos ? first : text.find('?', first + 1);
    const auto end
      = second == std::string_view::npos ? second : text.find("?=", second + 1);
    if (end == std::string_view::npos || second != first + 2) {
      result += text.substr(0, start + 2);
      text.remove_prefix(start + 2);
      after_word = false;
      continue;
    }
    // Blanks between two encoded words do not count.
    if (!after_word || !trim(plain).empty())
      result += plain;
    const auto charset = std::string{text.substr(start + 2, first - start - 2)};
    const auto encoding = text[first + 1];
    const auto body = text.substr(second + 1, end - second - 1);
    const auto bytes = encoding == 'B' || encoding == 'b'
                         ? decode_base64(body)
                         : decode_quoted(body, true);
    result += from_charset(bytes, charset.substr(0, charset.find('*')));
    text.remove_prefix(end + 2);
    after_word = true;
  }
  return to_utf8(result);
}

mail_content read_mail(std::string_view raw) {
  mail_content result;
  const auto headers = take_headers(raw);
  read_part(headers, raw, result, 0);
  for (const auto& [name, value] : headers)
    result.headers.emplace_back(to_utf8(name), decode_words(value));
  return result;
}

} // namespace slipway::sandbox

#include "http/server/target.hpp"

#include "actors/observe/text.hpp"

#include <algorithm>
#include <vector>

namespace slipway::http {

namespace {

constexpr int hex_value(char c) noexcept {
  if (c >= '0' && c <= '9')
    return c - '0';
  if (c >= 'a' && c <= 'f')
    return c - 'a' + 10;
  if (c >= 'A' && c <= 'F')
    return c - 'A' + 10;
  return -1;
}

constexpr bool is_control(char c) noexcept {
  const auto byte = static_cast<unsigned char>(c);
  return byte < 0x20 || byte == 0x7F;
}

/// Nothing to decode and nothing to normalise: the common case.
bool is_plain(std::string_view path) noexcept {
  auto before = '\0';
  for (const auto c : path) {
    if (c == '%' || is_control(c) || static_cast<unsigned char>(c) >= 0x80)
      return false;
    if (before == '/' && (c == '/' || c == '.'))
      return false;
    before = c;
  }
  return path == "/" || before != '/';
}

const char* check_query(std::string_view query) {
  const auto decoded = percent_decode(query, plus::is_blank);
  if (!decoded)
    return "The query has a malformed percent escape.";
  if (decoded->find('\0') != std::string::npos)
    return "The query holds a NUL byte.";
  if (!is_utf8(*decoded))
    return "The query is not UTF-8.";
  return nullptr;
}

const char* normalise(std::string_view raw, std::string& path) {
  std::vector<std::string> segments;
  while (!raw.empty()) {
    raw.remove_prefix(1); // The slash.
    const auto end = std::min(raw.find('/'), raw.size());
    auto segment = percent_decode(raw.substr(0, end), plus::is_plus);
    raw.remove_prefix(end);
    if (!segment)
      return "The path has a malformed percent escape.";
    if (std::any_of(segment->begin(), segment->end(), is_control))
      return "The path holds a control character.";
    if (!is_utf8(*segment))
      return "The path is not UTF-8.";
    if (segment->empty() || *segment == ".")
      continue;
    if (*segment == "..") {
      if (segments.empty())
        return "The path leads out of the root.";
      segments.pop_back();
      continue;
    }
    // A slash that came encoded is no separator.
    for (auto at = segment->find('/'); at != std::string::npos;
         at = segment->find('/', at))
      segment->replace(at, 1, "%2F");
    segments.push_back(std::move(*segment));
  }
  path.clear();
  for (const auto& segment : segments) {
    path += '/';
    path += segment;
  }
  if (path.empty())
    path.assign(1, '/');
  return nullptr;
}

} // namespace

std::optional<std::string> percent_decode(std::string_view text, plus sign) {
  std::string result;
  result.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+' && sign == plus::is_blank) {
      result += ' ';
    } else if (text[i] != '%') {
      result += text[i];
    } else {
      if (i + 2 >= text.size())
        return std::nullopt;
      const auto high = hex_value(text[i + 1]);
      const auto low = hex_value(text[i + 2]);
      if (high < 0 || low < 0)
        return std::nullopt;
      result += static_cast<char>(high * 16 + low);
      i += 2;
    }
  }
  return result;
}

std::size_t utf8_length(std::string_view text) noexcept {
  return observe::utf8_length(text);
}

bool is_utf8(std::string_view text) noexcept {
  while (!text.empty()) {
    const auto n = utf8_length(text);
    if (n == 0)
      return false;
    text.remove_prefix(n);
  }
  return true;
}

const char* read_target(std::string_view target, std::string& path) {
  if (target == "*") {
    path.assign(1, '*');
    return nullptr;
  }
  target = target.substr(0, target.find('#'));
  if (!target.empty() && target.front() != '/') {
    const auto scheme = target.find("://");
    if (scheme == std::string_view::npos || scheme == 0)
      return "The request target must be a path.";
    const auto slash = target.find_first_of("/?", scheme + 3);
    target = slash == std::string_view::npos ? std::string_view{}
                                             : target.substr(slash);
  }
  const auto mark = target.find('?');
  if (mark != std::string_view::npos)
    if (const auto* why = check_query(target.substr(mark + 1)))
      return why;
  const auto raw = target.substr(0, mark);
  if (raw.empty()) {
    path.assign(1, '/');
    return nullptr;
  }
  if (is_plain(raw)) {
    path = raw;
    return nullptr;
  }
  return normalise(raw, path);
}

} // namespace slipway::http

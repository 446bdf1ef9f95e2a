#include "http/crypto/text.hpp"

#include <algorithm>
#include <cstddef>

namespace slipway::crypto {

namespace {

/// The length of the well-formed UTF-8 sequence that the text starts with, or 0
/// (Unicode 15, table 3-7).
std::size_t sequence_length(std::string_view text) noexcept {
  auto at = [text](std::size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U;
  };
  auto in = [](unsigned value, unsigned low, unsigned high) {
    return value >= low && value <= high;
  };
  auto first = at(0);
  if (text.empty())
    return 0;
  if (first < 0x80)
    return 1;
  if (in(first, 0xc2, 0xdf))
    return in(at(1), 0x80, 0xbf) ? 2 : 0;
  if (in(first, 0xe0, 0xef)) {
    auto low = first == 0xe0 ? 0xa0U : 0x80U;
    auto high = first == 0xed ? 0x9fU : 0xbfU;
    return in(at(1), low, high) && in(at(2), 0x80, 0xbf) ? 3 : 0;
  }
  if (in(first, 0xf0, 0xf4)) {
    auto low = first == 0xf0 ? 0x90U : 0x80U;
    auto high = first == 0xf4 ? 0x8fU : 0xbfU;
    return in(at(1), low, high) && in(at(2), 0x80, 0xbf)
               && in(at(3), 0x80, 0xbf)
             ? 4
             : 0;
  }
  return 0;
}

bool is_control(char c) noexcept {
  return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
}

void append_json_control(char c, std::string& out) {
  constexpr std::string_view digits = "0123456789abcdef";
  switch (c) {
    case '\b':
      out += "\\b";
      break;
    case '\f':
      out += "\\f";
      break;
    case '\n':
      out += "\\n";
      break;
    case '\r':
      out += "\\r";
      break;
    case '\t':
      out += "\\t";
      break;
    default:
      out += "\\u00";
      out += digits[static_cast<unsigned char>(c) >> 4];
      out += digits[static_cast<unsigned char>(c) & 15];
  }
}

} // namespace

std::string html_escape(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (auto c : text) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      case '\'':
        result += "&#39;";
        break;
      default:
        result += c;
    }
  }
  return result;
}

std::string json_escape(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  while (!text.empty()) {
    auto length = sequence_length(text);
    auto c = text.front();
    if (length == 0) {
      result += "\xef\xbf\xbd";
      length = 1;
    } else if (length > 1) {
      result += text.substr(0, length);
    } else if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      append_json_control(c, result);
    } else {
      result += c;
    }
    text.remove_prefix(length);
  }
  return result;
}

std::string json_quote(std::string_view text) {
  return '"' + json_escape(text) + '"';
}

bool is_utf8(std::string_view text) noexcept {
  while (!text.empty()) {
    auto length = sequence_length(text);
    if (length == 0)
      return false;
    text.remove_prefix(length);
  }
  return true;
}

std::string to_valid_utf8(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  while (!text.empty()) {
    auto length = sequence_length(text);
    if (length == 0) {
      result += "\xef\xbf\xbd";
      length = 1;
    } else {
      result += text.substr(0, length);
    }
    text.remove_prefix(length);
  }
  return result;
}

bool has_control(std::string_view text) noexcept {
  return std::any_of(text.begin(), text.end(), is_control);
}

} // namespace slipway::crypto

#include "http/cli/safe_text.hpp"

#include <array>
#include <cstdio>
#include <utf8proc.h>

namespace slipway::cli {

namespace {

/// Takes the next character off the front; -1 for a byte that belongs to none.
utf8proc_int32_t next(std::string_view& text, std::string_view& bytes) {
  auto out = utf8proc_int32_t{-1};
  const auto size
    = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                       static_cast<utf8proc_ssize_t>(text.size()), &out);
  const auto taken = size > 0 ? static_cast<std::size_t>(size) : 1;
  bytes = text.substr(0, taken);
  text.remove_prefix(taken);
  return size > 0 ? out : -1;
}

/// Whether a terminal, or the reader, could take it for more than itself.
bool is_order(utf8proc_int32_t c) {
  // What holds emoji and Indic letters together.
  if (c == 0x200c || c == 0x200d)
    return false;
  switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return true;
    default:
      return false;
  }
}

std::string spelt_out(utf8proc_int32_t c) {
  if (c == '\n')
    return "\\n";
  if (c == '\r')
    return "\\r";
  if (c == '\t')
    return "\\t";
  auto out = std::array<char, 16>{};
  std::snprintf(out.data(), out.size(), c < 0x100 ? "\\x%02x" : "\\u{%x}",
                static_cast<unsigned>(c));
  return out.data();
}

constexpr auto replacement = std::string_view{"\xEF\xBF\xBD"};

std::string made_safe(std::string_view text, bool lines) {
  auto out = std::string{};
  out.reserve(text.size());
  auto bytes = std::string_view{};
  while (!text.empty()) {
    const auto c = next(text, bytes);
    if (c < 0)
      out += replacement;
    else if (lines && c == '\n')
      out += '\n';
    else if (lines && c == '\t')
      out += "  ";
    else if (is_order(c))
      out += spelt_out(c);
    else
      out += bytes;
  }
  return out;
}

std::size_t columns_of(utf8proc_int32_t c) {
  // A byte that is no character is shown as one of width one.
  return c < 0 ? 1 : static_cast<std::size_t>(utf8proc_charwidth(c));
}

} // namespace

std::string printable(std::string_view text) {
  return made_safe(text, false);
}

std::string printable_lines(std::string_view text) {
  return made_safe(text, true);
}

std::string printable_json(std::string_view text) {
  auto out = std::string{};
  out.reserve(text.size());
  auto bytes = std::string_view{};
  while (!text.empty()) {
    const auto c = next(text, bytes);
    if (c < 0) {
      out += replacement;
      continue;
    }
    // Between its strings JSON has line breaks of its own, and within them
    // there are none.
    if (c == '\n' || !is_order(c)) {
      out += bytes;
      continue;
    }
    auto escape = std::array<char, 16>{};
    const auto code = static_cast<unsigned>(c);
    if (code < 0x10000)
      std::snprintf(escape.data(), escape.size(), "\\u%04x", code);
    else
      std::snprintf(escape.data(), escape.size(), "\\u%04x\\u%04x",
                    0xd800 + ((code - 0x10000) >> 10),
                    0xdc00 + ((code - 0x10000) & 0x3ff));
    out += escape.data();
  }
  return out;
}

std::size_t width_of(std::string_view text) {
  auto out = std::size_t{0};
  auto bytes = std::string_view{};
  while (!text.empty())
    out += columns_of(next(text, bytes));
  return out;
}

std::string
fit(std::string_view text, std::size_t columns, std::string_view ellipsis) {
  if (width_of(text) <= columns)
    return std::string{text};
  const auto tail = width_of(ellipsis);
  if (columns < tail)
    return {};
  const auto room = columns - tail;
  auto kept = std::size_t{0}; // Bytes up to the last end of a character.
  auto used = std::size_t{0};
  auto at = std::size_t{0};
  auto state = utf8proc_int32_t{0};
  auto last = utf8proc_int32_t{-1};
  auto rest = text;
  auto bytes = std::string_view{};
  while (!rest.empty()) {
    const auto c = next(rest, bytes);
    if (last < 0 || c < 0 || utf8proc_grapheme_break_stateful(last, c, &state))
      kept = at;
    used += columns_of(c);
    if (used > room)
      break;
    at += bytes.size();
    last = c;
  }
  return std::string{text.substr(0, kept)} + std::string{ellipsis};
}

} // namespace slipway::cli

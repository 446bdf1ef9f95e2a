#include "actors/observe/text.hpp"

namespace slipway::observe {

namespace {

constexpr auto hex = std::string_view{"0123456789abcdef"};

constexpr auto replacement = std::string_view{"\xEF\xBF\xBD"};

void append_unicode_escape(std::string& to, unsigned code) {
  to += "\\u";
  for (auto shift = 12; shift >= 0; shift -= 4)
    to += hex[(code >> static_cast<unsigned>(shift)) & 0x0FU];
}

/// What a two- or three-byte character stands for, when it must not be shown:
/// C1 controls (a terminal's escape sequences among them) and the separators
/// that some readers end a line at. 0 otherwise.
unsigned hidden_code(std::string_view character) {
  const auto at = [&](std::size_t i) {
    return static_cast<unsigned>(static_cast<unsigned char>(character[i]));
  };
  if (character.size() == 2 && at(0) == 0xC2 && at(1) < 0xA0)
    return at(1);
  if (character.size() == 3 && at(0) == 0xE2 && at(1) == 0x80
      && (at(2) == 0xA8 || at(2) == 0xA9))
    return 0x2000U + (at(2) & 0x3FU);
  return 0;
}

template <bool Quotes>
void append(std::string& to, std::string_view text) {
  while (!text.empty()) {
    const auto c = static_cast<unsigned char>(text.front());
    auto taken = std::size_t{1};
    if (c >= 0x80) {
      const auto n = utf8_length(text);
      if (n == 0) {
        to += replacement;
      } else if (const auto code = hidden_code(text.substr(0, n)); code != 0) {
        append_unicode_escape(to, code);
        taken = n;
      } else {
        to.append(text.data(), n);
        taken = n;
      }
    } else if (c == '\n') {
      to += "\\n";
    } else if (c == '\r') {
      to += "\\r";
    } else if (c == '\t') {
      to += "\\t";
    } else if (c < 0x20 || c == 0x7F) {
      append_unicode_escape(to, c);
    } else {
      if (Quotes && (c == '"' || c == '\\'))
        to += '\\';
      to += static_cast<char>(c);
    }
    text.remove_prefix(taken);
  }
}

} // namespace

std::size_t utf8_length(std::string_view text) noexcept {
  const auto at = [&](std::size_t i) -> unsigned {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U;
  };
  const auto follows = [&](std::size_t i) {
    return (at(i) & 0xC0U) == 0x80U;
  };
  const auto first = at(0);
  if (text.empty())
    return 0;
  if (first < 0x80)
    return 1;
  if (first >= 0xC2 && first <= 0xDF)
    return follows(1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    if (!follows(1) || !follows(2) || (first == 0xE0 && at(1) < 0xA0)
        || (first == 0xED && at(1) > 0x9F))
      return 0;
    return 3;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    if (!follows(1) || !follows(2) || !follows(3)
        || (first == 0xF0 && at(1) < 0x90) || (first == 0xF4 && at(1) > 0x8F))
      return 0;
    return 4;
  }
  return 0;
}

void append_escaped(std::string& to, std::string_view text) {
  append<true>(to, text);
}

void append_printable(std::string& to, std::string_view text) {
  append<false>(to, text);
}

std::string quoted(std::string_view text) {
  auto out = std::string{};
  out.reserve(text.size() + 2);
  out += '"';
  append_escaped(out, text);
  out += '"';
  return out;
}

} // namespace slipway::observe

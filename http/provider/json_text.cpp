#include "http/provider/json_text.hpp"

#include "http/provider/view.hpp"

#include <boost/json/parser.hpp>

#include <array>
#include <string>

namespace slipway::provider {

namespace {

namespace json = boost::json;

/// The UTF-16 unit that `\uXXXX` at `i` stands for; nothing where there is
/// none.
std::optional<unsigned> unit_at(std::string_view text, std::size_t i) {
  if (i + 6 > text.size() || text[i] != '\\' || text[i + 1] != 'u')
    return std::nullopt;
  auto out = 0U;
  for (const auto c : text.substr(i + 2, 4)) {
    const auto digit = c >= '0' && c <= '9'   ? c - '0'
                       : c >= 'a' && c <= 'f' ? c - 'a' + 10
                       : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                              : -1;
    if (digit < 0)
      return std::nullopt;
    out = out << 4U | static_cast<unsigned>(digit);
  }
  return out;
}

/// Replaces halves of pairs; whole pairs stay.
std::string mended(std::string_view text) {
  auto out = std::string{text};
  for (std::size_t i = 0; i + 1 < out.size();) {
    if (out[i] != '\\') {
      ++i;
      continue;
    }
    const auto unit = unit_at(out, i);
    if (!unit) {
      i += 2; // The escaped character may be a backslash itself.
      continue;
    }
    if (*unit >= 0xd800 && *unit <= 0xdbff) {
      const auto second = unit_at(out, i + 6);
      if (second && *second >= 0xdc00 && *second <= 0xdfff) {
        i += 12;
        continue;
      }
    }
    if (*unit >= 0xd800 && *unit <= 0xdfff)
      out.replace(i + 2, 4, "fffd");
    i += 6;
  }
  return out;
}

std::optional<json::value> parse(std::string_view text) {
  // What is half read lies here; the value itself in memory of its own.
  auto stack = std::array<unsigned char, 4096>{};
  auto parser = json::parser{{}, deep_enough(), stack.data(), stack.size()};
  auto error = json::error_code{};
  parser.write(text.data(), text.size(), error);
  if (error)
    return std::nullopt;
  return parser.release();
}

} // namespace

std::optional<json::value> parse_json(std::string_view text) {
  if (auto out = parse(text))
    return out;
  if (text.find("\\u") == std::string_view::npos)
    return std::nullopt;
  return parse(mended(text));
}

} // namespace slipway::provider

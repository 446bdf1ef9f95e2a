#include "actors/observe/trace.hpp"

#include <algorithm>
#include <array>

namespace slipway::trace {

namespace {

constexpr auto version_digits = std::size_t{2};

constexpr auto trace_digits = std::size_t{32};

constexpr auto span_digits = std::size_t{16};

/// `00-` trace `-` span `-` flags.
constexpr auto length_00
  = version_digits + 1 + trace_digits + 1 + span_digits + 1 + 2;

constexpr auto members_max = std::size_t{32};

constexpr auto state_bytes_max = std::size_t{512};

/// Members longer than that leave first.
constexpr auto long_member = std::size_t{128};

void append_hex(std::string& to, std::uint64_t value, std::size_t digits) {
  static constexpr auto hex = std::string_view{"0123456789abcdef"};
  for (auto i = digits; i-- > 0;)
    to += hex[(value >> (4 * i)) & 0x0FU];
}

/// Lower case only, as the specification wants it.
std::optional<std::uint64_t> read_hex(std::string_view text) {
  auto value = std::uint64_t{0};
  for (const auto c : text) {
    auto digit = 0U;
    if (c >= '0' && c <= '9')
      digit = static_cast<unsigned>(c - '0');
    else if (c >= 'a' && c <= 'f')
      digit = static_cast<unsigned>(c - 'a') + 10;
    else
      return std::nullopt;
    value = value << 4U | digit;
  }
  return value;
}

bool is_lower(char c) noexcept {
  return c >= 'a' && c <= 'z';
}

bool is_digit(char c) noexcept {
  return c >= '0' && c <= '9';
}

bool is_key_rest(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    return is_lower(c) || is_digit(c) || c == '_' || c == '-' || c == '*'
           || c == '/';
  });
}

/// `key`, or `tenant@system`.
bool is_key(std::string_view key) {
  const auto at = key.find('@');
  if (at == std::string_view::npos)
    return !key.empty() && key.size() <= 256 && is_lower(key.front())
           && is_key_rest(key.substr(1));
  const auto tenant = key.substr(0, at);
  const auto system = key.substr(at + 1);
  return !tenant.empty() && tenant.size() <= 241
         && (is_lower(tenant.front()) || is_digit(tenant.front()))
         && is_key_rest(tenant.substr(1)) && !system.empty()
         && system.size() <= 14 && is_lower(system.front())
         && is_key_rest(system.substr(1));
}

bool is_value(std::string_view value) {
  return !value.empty() && value.size() <= 256 && value.back() != ' '
         && std::all_of(value.begin(), value.end(), [](char c) {
              return c >= 0x20 && c <= 0x7e && c != ',' && c != '=';
            });
}

std::string_view without_blanks(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t'))
    text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t'))
    text.remove_suffix(1);
  return text;
}

} // namespace

std::string to_text(trace_id id) {
  auto out = std::string{};
  out.reserve(trace_digits);
  append_hex(out, id.high, 16);
  append_hex(out, id.low, 16);
  return out;
}

std::string span_to_text(std::uint64_t span) {
  auto out = std::string{};
  out.reserve(span_digits);
  append_hex(out, span, span_digits);
  return out;
}

std::optional<context> parse_traceparent(std::string_view text) {
  if (text.size() < length_00 || text[2] != '-' || text[35] != '-'
      || text[52] != '-')
    return std::nullopt;
  const auto version = read_hex(text.substr(0, 2));
  if (!version || *version == 0xff)
    return std::nullopt;
  // Later versions may append, behind one more dash.
  if (text.size() > length_00 && (*version == 0 || text[length_00] != '-'))
    return std::nullopt;
  const auto high = read_hex(text.substr(3, 16));
  const auto low = read_hex(text.substr(19, 16));
  const auto span = read_hex(text.substr(36, span_digits));
  const auto flags = read_hex(text.substr(53, 2));
  if (!high || !low || !span || !flags || *span == 0)
    return std::nullopt;
  auto out = context{{*high, *low}, *span, (*flags & 1U) != 0, {}};
  if (!out.trace)
    return std::nullopt;
  return out;
}

std::string to_traceparent(const context& from) {
  auto out = std::string{"00-"};
  out.reserve(length_00);
  append_hex(out, from.trace.high, 16);
  append_hex(out, from.trace.low, 16);
  out += '-';
  append_hex(out, from.span, span_digits);
  out += from.sampled ? "-01" : "-00";
  return out;
}

std::string read_tracestate(const std::vector<std::string_view>& lines) {
  auto members = std::vector<std::string_view>{};
  auto keys = std::vector<std::string_view>{};
  auto bytes = std::size_t{0};
  for (auto rest : lines) {
    for (auto more = true; more;) {
      const auto comma = rest.find(',');
      more = comma != std::string_view::npos;
      const auto member = without_blanks(rest.substr(0, comma));
      if (more)
        rest.remove_prefix(comma + 1);
      if (member.empty())
        continue; // Allowed.
      const auto equals = member.find('=');
      if (equals == std::string_view::npos)
        return {};
      const auto key = member.substr(0, equals);
      if (!is_key(key) || !is_value(member.substr(equals + 1))
          || std::find(keys.begin(), keys.end(), key) != keys.end()
          || members.size() == members_max)
        return {};
      keys.push_back(key);
      members.push_back(member);
      bytes += member.size() + 1;
    }
  }
  for (auto i = members.size(); i-- > 0 && bytes > state_bytes_max + 1;)
    if (members[i].size() > long_member) {
      bytes -= members[i].size() + 1;
      members.erase(members.begin() + static_cast<std::ptrdiff_t>(i));
    }
  while (bytes > state_bytes_max + 1) {
    bytes -= members.back().size() + 1;
    members.pop_back();
  }
  auto out = std::string{};
  for (const auto member : members) {
    if (!out.empty())
      out += ',';
    out += member;
  }
  return out;
}

} // namespace slipway::trace

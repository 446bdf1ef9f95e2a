#include "config/text.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <utility>

namespace slipway::config {

namespace {

struct unit {
  std::string_view name;
  std::int64_t factor;
};

// Largest first, so that formatting finds the shortest form.
constexpr auto time_units = std::array<unit, 5>{{{"d", 86'400'000},
                                                 {"h", 3'600'000},
                                                 {"m", 60'000},
                                                 {"s", 1'000},
                                                 {"ms", 1}}};

constexpr auto size_units = std::array<unit, 4>{
  {{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}};

constexpr auto time_max = std::int64_t{36'525} * 86'400'000;
constexpr auto size_max = std::int64_t{1} << 40;

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool is_alnum(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

template <std::size_t Count>
std::optional<std::int64_t>
parse_quantity(std::string_view text, const std::array<unit, Count>& units,
               std::int64_t max) {
  const auto digits = static_cast<std::size_t>(
    std::find_if_not(text.begin(), text.end(), is_digit) - text.begin());
  const auto number = parse_integer(text.substr(0, digits));
  if (!number)
    return std::nullopt;
  for (const auto& candidate : units) {
    if (candidate.name != text.substr(digits))
      continue;
    if (*number > max / candidate.factor)
      return std::nullopt;
    return *number * candidate.factor;
  }
  return std::nullopt;
}

template <std::size_t Count>
std::string
format_quantity(std::int64_t amount, const std::array<unit, Count>& units) {
  for (const auto& candidate : units)
    if (amount != 0 && amount % candidate.factor == 0)
      return std::to_string(amount / candidate.factor)
             + std::string{candidate.name};
  return std::to_string(amount) + std::string{units.back().name};
}

std::optional<std::uint16_t> parse_port(std::string_view text) {
  if (text.size() > 5 || !std::all_of(text.begin(), text.end(), is_digit))
    return std::nullopt;
  const auto number = parse_integer(text);
  if (!number || *number > std::numeric_limits<std::uint16_t>::max())
    return std::nullopt;
  return static_cast<std::uint16_t>(*number);
}

bool is_ipv6(const std::string& text) {
  auto bytes = in6_addr{};
  return inet_pton(AF_INET6, text.c_str(), &bytes) == 1;
}

bool is_ipv4_or_name(const std::string& text) {
  if (text.empty() || text.size() > 253)
    return false;
  const auto numeric = std::all_of(text.begin(), text.end(), [](char c) {
    return is_digit(c) || c == '.';
  });
  if (numeric) {
    auto bytes = in_addr{};
    return inet_pton(AF_INET, text.c_str(), &bytes) == 1;
  }
  auto label = std::size_t{0};
  for (auto i = std::size_t{0}; i < text.size(); ++i) {
    const auto c = text[i];
    if (c == '.') {
      if (label == 0 || text[i - 1] == '-')
        return false;
      label = 0;
    } else if (is_alnum(c) || c == '_' || (c == '-' && label > 0)) {
      if (++label > 63)
        return false;
    } else {
      return false;
    }
  }
  return text.back() != '-';
}

/// Splits `host`, `host:port`, `[v6]` and `[v6]:port`.
struct authority {
  std::string host;
  std::optional<std::string_view> port;
};

std::optional<authority> parse_authority(std::string_view text) {
  auto result = authority{};
  auto rest = text;
  if (!text.empty() && text.front() == '[') {
    const auto close = text.find(']');
    if (close == std::string_view::npos)
      return std::nullopt;
    result.host = text.substr(1, close - 1);
    if (!is_ipv6(result.host))
      return std::nullopt;
    rest = text.substr(close + 1);
    if (!rest.empty() && rest.front() != ':')
      return std::nullopt;
  } else {
    const auto colon = std::min(text.find(':'), text.size());
    result.host = text.substr(0, colon);
    if (!is_ipv4_or_name(result.host))
      return std::nullopt;
    rest = text.substr(colon);
  }
  if (!rest.empty())
    result.port = rest.substr(1);
  return result;
}

} // namespace

std::optional<std::int64_t> parse_integer(std::string_view text) {
  auto number = std::int64_t{0};
  const auto* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  if (text.empty() || error != std::errc{} || stop != end)
    return std::nullopt;
  return number;
}

std::optional<millis> parse_duration(std::string_view text) {
  const auto count = parse_quantity(text, time_units, time_max);
  if (!count)
    return std::nullopt;
  return millis{*count};
}

std::string format_duration(millis length) {
  return format_quantity(length.count(), time_units);
}

std::optional<std::int64_t> parse_size(std::string_view text) {
  return parse_quantity(text, size_units, size_max);
}

std::string format_size(std::int64_t bytes) {
  return format_quantity(bytes, size_units);
}

std::optional<endpoint> parse_endpoint(std::string_view text) {
  const auto parts = parse_authority(text);
  if (!parts || !parts->port)
    return std::nullopt;
  const auto port = parse_port(*parts->port);
  if (!port)
    return std::nullopt;
  return endpoint{parts->host, *port};
}

std::string format_endpoint(const endpoint& at) {
  const auto v6 = at.host.find(':') != std::string::npos;
  return (v6 ? '[' + at.host + ']' : at.host) + ':' + std::to_string(at.port);
}

std::optional<url_parts> parse_url(std::string_view text) {
  const auto graphic = std::all_of(text.begin(), text.end(), [](char c) {
    return c > ' ' && c < 0x7f && c != '"' && c != '<' && c != '>' && c != '\\';
  });
  const auto mark = text.find("://");
  if (!graphic || mark == std::string_view::npos || mark == 0)
    return std::nullopt;
  auto result = url_parts{};
  for (auto c : text.substr(0, mark)) {
    if (!is_alnum(c) && c != '+' && c != '-' && c != '.')
      return std::nullopt;
    result.scheme += lower(c);
  }
  auto rest = text.substr(mark + 3);
  if (const auto hash = rest.find('#'); hash != std::string_view::npos) {
    result.has_fragment = true;
    rest = rest.substr(0, hash);
  }
  if (const auto ask = rest.find('?'); ask != std::string_view::npos) {
    result.query = rest.substr(ask + 1);
    rest = rest.substr(0, ask);
  }
  if (const auto slash = rest.find('/'); slash != std::string_view::npos) {
    result.path = rest.substr(slash);
    rest = rest.substr(0, slash);
  }
  if (const auto at = rest.rfind('@'); at != std::string_view::npos) {
    result.has_user_info = true;
    rest = rest.substr(at + 1);
  }
  const auto parts = parse_authority(rest);
  if (!parts)
    return std::nullopt;
  result.host = parts->host;
  if (parts->port) {
    result.port = parse_port(*parts->port);
    if (!result.port || *result.port == 0)
      return std::nullopt;
  }
  return result;
}

std::optional<std::string> parse_base64(std::string_view text) {
  auto padding = std::size_t{0};
  while (padding < 2 && !text.empty() && text.back() == '=') {
    text.remove_suffix(1);
    ++padding;
  }
  const auto rest = text.size() % 4;
  if (rest == 1 || (padding != 0 && rest + padding != 4))
    return std::nullopt;
  auto result = std::string{};
  auto bits = std::uint32_t{0};
  auto count = 0;
  for (auto c : text) {
    auto value = std::uint32_t{0};
    if (c >= 'A' && c <= 'Z')
      value = static_cast<std::uint32_t>(c - 'A');
    else if (c >= 'a' && c <= 'z')
      value = static_cast<std::uint32_t>(c - 'a' + 26);
    else if (is_digit(c))
      value = static_cast<std::uint32_t>(c - '0' + 52);
    else if (c == '+')
      value = 62;
    else if (c == '/')
      value = 63;
    else
      return std::nullopt;
    bits = (bits << 6 | value) & 0xffffff;
    count += 6;
    if (count >= 8) {
      count -= 8;
      result += static_cast<char>(bits >> count & 0xff);
    }
  }
  // What is left over carries no byte and must be zero.
  if ((bits & ((1u << count) - 1)) != 0)
    return std::nullopt;
  return result;
}

bool is_mailbox(std::string_view text) {
  if (has_control(text))
    return false;
  if (const auto open = text.rfind('<'); open != std::string_view::npos) {
    if (text.back() != '>')
      return false;
    text = text.substr(open + 1, text.size() - open - 2);
  }
  const auto at = text.find('@');
  if (at == std::string_view::npos || at == 0 || at + 1 == text.size()
      || text.size() > 254)
    return false;
  const auto odd = [](char c) {
    return c == ' ' || c == '@' || c == '<' || c == '>' || c == ',' || c == ';';
  };
  const auto name = text.substr(0, at);
  return std::none_of(name.begin(), name.end(), odd)
         && is_ipv4_or_name(std::string{text.substr(at + 1)});
}

bool has_control(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte < 0x20 || byte == 0x7f;
  });
}

std::vector<std::string> split(std::string_view text, char separator) {
  auto result = std::vector<std::string>{};
  if (text.empty())
    return result;
  for (;;) {
    const auto end = std::min(text.find(separator), text.size());
    auto part = text.substr(0, end);
    while (!part.empty() && part.front() == ' ')
      part.remove_prefix(1);
    while (!part.empty() && part.back() == ' ')
      part.remove_suffix(1);
    result.emplace_back(part);
    if (end == text.size())
      return result;
    text.remove_prefix(end + 1);
  }
}

namespace {

/// The number of inserted, dropped, changed or swapped characters.
std::size_t distance(std::string_view from, std::string_view to) {
  auto before = std::vector<std::size_t>(to.size() + 1);
  auto last = before;
  auto now = before;
  for (auto j = std::size_t{0}; j <= to.size(); ++j)
    last[j] = j;
  for (auto i = std::size_t{1}; i <= from.size(); ++i) {
    now[0] = i;
    for (auto j = std::size_t{1}; j <= to.size(); ++j) {
      const auto same = lower(from[i - 1]) == lower(to[j - 1]);
      now[j]
        = std::min({last[j] + 1, now[j - 1] + 1, last[j - 1] + (same ? 0 : 1)});
      if (i > 1 && j > 1 && lower(from[i - 1]) == lower(to[j - 2])
          && lower(from[i - 2]) == lower(to[j - 1]))
        now[j] = std::min(now[j], before[j - 2] + 1);
    }
    before = std::exchange(last, now);
  }
  return last[to.size()];
}

} // namespace

std::string
nearest(std::string_view text, const std::vector<std::string>& candidates) {
  auto result = std::string{};
  auto best = std::numeric_limits<std::size_t>::max();
  // The cost grows with the product of the lengths; no key is that long.
  text = text.substr(0, 128);
  for (const auto& candidate : candidates) {
    const auto far = distance(text, candidate);
    if (far < best) {
      best = far;
      result = candidate;
    }
  }
  return result;
}

std::string one_line(std::string_view text, std::size_t length_max) {
  const auto cut = text.size() > length_max;
  if (cut) {
    auto end = length_max;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80)
      --end;
    text = text.substr(0, end);
  }
  auto result = std::string{text};
  std::replace_if(
    result.begin(), result.end(),
    [](char c) {
      return has_control({&c, 1});
    },
    '?');
  return cut ? result + "…" : result;
}

} // namespace slipway::config

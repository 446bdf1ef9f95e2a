#include "actors/lifecycle/time.hpp"

#include <cstdio>

namespace slipway {

namespace {

using namespace std::chrono;

constexpr auto beijing_offset = hours{8};

struct civil {
  int year;
  unsigned month;
  unsigned day;
  unsigned hour;
  unsigned minute;
  unsigned second;
  unsigned millisecond;
};

civil split(timestamp at) {
  const auto day = floor<days>(at);
  const auto date = year_month_day{day};
  const auto time = hh_mm_ss{at - day};
  return {static_cast<int>(date.year()),
          static_cast<unsigned>(date.month()),
          static_cast<unsigned>(date.day()),
          static_cast<unsigned>(time.hours().count()),
          static_cast<unsigned>(time.minutes().count()),
          static_cast<unsigned>(time.seconds().count()),
          static_cast<unsigned>(time.subseconds().count())};
}

std::optional<timestamp> join(const civil& x) {
  const auto date = year_month_day{year{x.year}, month{x.month}, day{x.day}};
  if (!date.ok() || x.hour > 23 || x.minute > 59 || x.second > 59)
    return std::nullopt;
  return sys_days{date} + hours{x.hour} + minutes{x.minute} + seconds{x.second}
         + milliseconds{x.millisecond};
}

/// Reads exactly `count` decimal digits off the front of `text`.
bool take_digits(std::string_view& text, size_t count, unsigned& out) {
  if (text.size() < count)
    return false;
  out = 0;
  for (size_t i = 0; i < count; ++i) {
    if (text[i] < '0' || text[i] > '9')
      return false;
    out = out * 10 + static_cast<unsigned>(text[i] - '0');
  }
  text.remove_prefix(count);
  return true;
}

bool take(std::string_view& text, char expected) {
  if (text.empty() || text.front() != expected)
    return false;
  text.remove_prefix(1);
  return true;
}

/// Reads `yyyy-MM-dd?HH:mm:ss` where `?` is one of `separators`, and a fraction
/// of a second of at most `digits_max` digits where there is one.
std::optional<civil>
take_civil(std::string_view& text, std::string_view separators,
           size_t digits_max) {
  auto x = civil{};
  auto year_digits = 0u;
  if (!take_digits(text, 4, year_digits) || !take(text, '-')
      || !take_digits(text, 2, x.month) || !take(text, '-')
      || !take_digits(text, 2, x.day))
    return std::nullopt;
  if (text.empty() || separators.find(text.front()) == std::string_view::npos)
    return std::nullopt;
  text.remove_prefix(1);
  if (!take_digits(text, 2, x.hour) || !take(text, ':')
      || !take_digits(text, 2, x.minute) || !take(text, ':')
      || !take_digits(text, 2, x.second))
    return std::nullopt;
  x.year = static_cast<int>(year_digits);
  if (take(text, '.')) {
    auto digits = size_t{0};
    auto scale = 100u;
    while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9') {
      x.millisecond += static_cast<unsigned>(text[digits] - '0') * scale;
      scale /= 10;
      ++digits;
    }
    if (digits == 0 || digits > digits_max)
      return std::nullopt;
    text.remove_prefix(digits);
  }
  return x;
}

} // namespace

std::string to_rfc3339(timestamp at) {
  const auto x = split(at);
  char buffer[40];
  std::snprintf(buffer, sizeof(buffer), "%04d-%02u-%02uT%02u:%02u:%02u.%03uZ",
                x.year, x.month, x.day, x.hour, x.minute, x.second,
                x.millisecond);
  return buffer;
}

std::string to_beijing(timestamp at) {
  const auto x = split(at + beijing_offset);
  char buffer[40];
  std::snprintf(buffer, sizeof(buffer), "%04d-%02u-%02u %02u:%02u:%02u", x.year,
                x.month, x.day, x.hour, x.minute, x.second);
  return buffer;
}

std::optional<timestamp> parse_beijing(std::string_view text) {
  const auto x = take_civil(text, " ", 3);
  if (!x || !text.empty())
    return std::nullopt;
  const auto local = join(*x);
  if (!local)
    return std::nullopt;
  return *local - beijing_offset;
}

std::optional<timestamp> parse_rfc3339(std::string_view text) {
  const auto x = take_civil(text, "Tt ", 9);
  if (!x || text.empty())
    return std::nullopt;
  const auto local = join(*x);
  if (!local)
    return std::nullopt;
  const auto sign = text.front();
  text.remove_prefix(1);
  if ((sign == 'Z' || sign == 'z') && text.empty())
    return local;
  auto offset_hours = 0u;
  auto offset_minutes = 0u;
  if ((sign != '+' && sign != '-') || !take_digits(text, 2, offset_hours)
      || !take(text, ':') || !take_digits(text, 2, offset_minutes)
      || !text.empty() || offset_hours > 23 || offset_minutes > 59)
    return std::nullopt;
  const auto offset = hours{offset_hours} + minutes{offset_minutes};
  return sign == '+' ? *local - offset : *local + offset;
}

std::string to_words(millis length) {
  const auto total = length.count();
  char buffer[48];
  if (total < 1'000)
    std::snprintf(buffer, sizeof(buffer), "%lldms",
                  static_cast<long long>(total));
  else if (total < 60'000)
    std::snprintf(buffer, sizeof(buffer), "%llds",
                  static_cast<long long>(total / 1'000));
  else if (total < 3'600'000)
    std::snprintf(buffer, sizeof(buffer), "%lldm %02llds",
                  static_cast<long long>(total / 60'000),
                  static_cast<long long>(total / 1'000 % 60));
  else
    std::snprintf(buffer, sizeof(buffer), "%lldh %02lldm",
                  static_cast<long long>(total / 3'600'000),
                  static_cast<long long>(total / 60'000 % 60));
  return buffer;
}

} // namespace slipway

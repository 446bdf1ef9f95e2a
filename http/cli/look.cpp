#include "http/cli/look.hpp"

#include "http/cli/safe_text.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <optional>

namespace slipway::cli {

namespace {

using namespace std::chrono_literals;

/// No sooner than RFC 3339 has no word for it.
std::optional<timestamp> read(std::string_view rfc3339) {
  return parse_rfc3339(rfc3339);
}

template <std::size_t N>
bool is_one_of(std::string_view text,
               const std::array<std::string_view, N>& words) {
  return std::find(words.begin(), words.end(), text) != words.end();
}

constexpr auto good_words = std::array<std::string_view, 12>{
  "running", "ACTIVE", "RUNNING",   "applied", "PAID", "ok",
  "online",  "done",   "succeeded", "on",      "up",   "acknowledged"};

constexpr auto busy_words = std::array<std::string_view, 18>{
  "pending",   "creating",  "configuring",  "deploying", "PENDING",
  "queued",    "REFUNDING", "INITIALIZING", "DEPLOYING", "starting",
  "requested", "repeated",  "warn",         "warning",   "sleeping",
  "degraded",  "retry",     "backing_off"};

constexpr auto bad_words = std::array<std::string_view, 16>{
  "failed",      "FAILED",    "forged",  "contradicted", "error", "quarantined",
  "crashed",     "SUSPENDED", "refused", "down",         "dead",  "rejected",
  "unavailable", "off",       "fatal",   "removed"};

constexpr auto faint_words = std::array<std::string_view, 7>{
  "stopped", "CANCELLED", "EXPIRED", "CLOSED", "DELETED", "REFUNDED", "debug"};

} // namespace

std::string painted(const look& how, paint colour, std::string_view text) {
  if (!how.colours || colour == paint::none || text.empty())
    return std::string{text};
  const auto* code = "";
  switch (colour) {
    case paint::none:
      break;
    case paint::good:
      code = "\x1b[32m";
      break;
    case paint::busy:
      code = "\x1b[33m";
      break;
    case paint::bad:
      code = "\x1b[31m";
      break;
    case paint::faint:
      code = "\x1b[2m";
      break;
    case paint::strong:
      code = "\x1b[1m";
      break;
  }
  return code + std::string{text} + "\x1b[0m";
}

paint paint_of(std::string_view status) noexcept {
  if (is_one_of(status, good_words))
    return paint::good;
  if (is_one_of(status, busy_words))
    return paint::busy;
  if (is_one_of(status, bad_words))
    return paint::bad;
  if (is_one_of(status, faint_words))
    return paint::faint;
  return paint::none;
}

std::string relative(timestamp at, timestamp now) {
  const auto past = at <= now;
  const auto length = past ? now - at : at - now;
  auto words = std::string{};
  if (length < 1s)
    return "now";
  if (length < 1min)
    words = std::to_string(length / 1s) + "s";
  else if (length < 1h)
    words = std::to_string(length / 1min) + "m";
  else if (length < 48h)
    words = std::to_string(length / 1h) + "h";
  else
    words = std::to_string(length / 24h) + "d";
  return past ? words + " ago" : "in " + words;
}

std::string absolute(const look& how, std::string_view rfc3339) {
  const auto at = read(rfc3339);
  if (!at)
    return printable(rfc3339);
  const auto seconds = static_cast<std::time_t>(
    std::chrono::floor<std::chrono::seconds>(at->time_since_epoch()).count());
  auto parts = std::tm{};
  if (how.utc)
    gmtime_r(&seconds, &parts);
  else
    localtime_r(&seconds, &parts);
  auto out = std::array<char, 64>{};
  if (std::strftime(out.data(), out.size(), "%Y-%m-%d %H:%M:%S", &parts) == 0)
    return printable(rfc3339);
  auto text = std::string{out.data()};
  const auto minutes = parts.tm_gmtoff / 60;
  if (minutes == 0)
    return text + 'Z';
  std::snprintf(out.data(), out.size(), "%c%02ld:%02ld",
                minutes < 0 ? '-' : '+', std::labs(minutes) / 60,
                std::labs(minutes) % 60);
  return text + out.data();
}

std::string ago(const look& how, std::string_view rfc3339) {
  const auto at = read(rfc3339);
  return at ? relative(*at, how.now) : std::string{};
}

std::string both_times(const look& how, std::string_view rfc3339) {
  const auto at = read(rfc3339);
  if (!at)
    return printable(rfc3339);
  return absolute(how, rfc3339) + " (" + relative(*at, how.now) + ")";
}

} // namespace slipway::cli

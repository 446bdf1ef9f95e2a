#include "http/api/rate_limit.hpp"

#include <algorithm>
#include <cmath>
#include <functional>

namespace slipway::api {

namespace {

/// Sums of fractions miss what they should be by less than this.
constexpr auto rounding = 1e-6;

} // namespace

rate_limiter::rate_limiter(std::uint32_t per_second, std::uint32_t burst,
                           std::size_t remembered)
  : per_second_{static_cast<double>(per_second)},
    burst_{static_cast<double>(std::max(burst, std::uint32_t{1}))},
    remembered_{std::max(remembered / part_count, std::size_t{1})} {
}

std::optional<millis> rate_limiter::refuse(std::string_view user, timestamp now,
                                           std::uint32_t factor) {
  if (per_second_ == 0)
    return std::nullopt;
  const auto per_second = per_second_ * factor;
  const auto burst = burst_ * factor;
  auto& in = parts_[std::hash<std::string_view>{}(user) % part_count];
  const auto guard = std::lock_guard{in.mutex};
  const auto known = in.by_user.find(user);
  if (known == in.by_user.end()) {
    if (in.by_use.size() >= remembered_) {
      in.by_user.erase(in.by_use.front().user);
      in.by_use.pop_front();
    }
    in.by_use.push_back({std::string{user}, burst, now});
    in.by_user.emplace(in.by_use.back().user, std::prev(in.by_use.end()));
  } else {
    in.by_use.splice(in.by_use.end(), in.by_use, known->second);
  }
  auto& mine = in.by_use.back();
  // A clock that went back gives nothing, and takes nothing.
  const auto passed
    = std::chrono::duration<double>(std::max(now - mine.at, millis{0})).count();
  mine.tokens = std::min(burst, mine.tokens + passed * per_second);
  mine.at = now;
  // Fractions of a second leave fractions of a token behind.
  if (mine.tokens > 1 - rounding) {
    mine.tokens = std::max(mine.tokens - 1, 0.0);
    return std::nullopt;
  }
  const auto wait = std::ceil((1 - mine.tokens) / per_second * 1000 - rounding);
  return std::max(millis{static_cast<std::int64_t>(wait)}, millis{1});
}

std::size_t rate_limiter::size() const {
  auto out = std::size_t{0};
  for (const auto& x : parts_) {
    const auto guard = std::lock_guard{x.mutex};
    out += x.by_use.size();
  }
  return out;
}

} // namespace slipway::api

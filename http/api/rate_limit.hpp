#pragma once

#include "actors/lifecycle/time.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <list>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

namespace slipway::api {

/// A token bucket for each user: so many requests in a second over time, and so
/// many at once. Users who have not come for the longest time make room for
/// others. Callable from any thread; those that ask for different users hardly
/// ever meet.
class rate_limiter {
public:
  /// Users remembered at once, all parts together.
  static constexpr auto users_max = std::size_t{65'536};

  /// @param per_second 0: everybody is let in.
  /// @param burst At least 1.
  rate_limiter(std::uint32_t per_second, std::uint32_t burst,
               std::size_t remembered = users_max);

  rate_limiter(const rate_limiter&) = delete;
  rate_limiter& operator=(const rate_limiter&) = delete;

  /// Lets a request in, or not.
  /// @param factor By how much rate and burst of this user are larger.
  /// @returns how long to wait otherwise; more than zero.
  [[nodiscard]] std::optional<millis>
  refuse(std::string_view user, timestamp now, std::uint32_t factor = 1);

  /// Users remembered right now.
  [[nodiscard]] std::size_t size() const;

private:
  struct bucket {
    std::string user;
    double tokens = 0;
    timestamp at{};
  };

  struct part {
    mutable std::mutex mutex;
    std::list<bucket> by_use; ///< The last one came last.
    std::unordered_map<std::string_view, std::list<bucket>::iterator> by_user;
  };

  static constexpr auto part_count = std::size_t{32};

  double per_second_;
  double burst_;
  std::size_t remembered_; ///< In each part.
  std::array<part, part_count> parts_;
};

} // namespace slipway::api

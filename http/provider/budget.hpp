#pragma once

#include "actors/lifecycle/time.hpp"
#include "http/provider/answer.hpp"
#include "http/provider/urgency.hpp"

#include <array>
#include <cstdint>
#include <deque>
#include <optional>
#include <string_view>

namespace slipway::provider {

/// Understands X-RateLimit-Reset: seconds from now, seconds or milliseconds
/// since 1970, or RFC 3339.
/// @returns nothing for everything else.
[[nodiscard]] std::optional<timestamp>
read_reset(std::string_view text, timestamp now);

/// The one budget of a token: answers when a call may leave. Pure: reads no
/// clock, draws no chance, sends nothing.
///
/// Promises, for whoever sends only when `next` allows it:
/// - never more than so many calls in any hour, nor in any second;
/// - watching and upkeep leave a share of the hour to those who remove and
///   create, and spread over the hour instead of burning it at once;
/// - nobody calls while the provider wants to be left alone, and afterwards one
///   call goes first and alone;
/// - every wait ends.
///
/// A clock that is set back makes it neither forget what was spent nor wait for
/// the lost time. After a restart it begins anew: what the provider says
/// remains, in its headers, counts then.
class call_budget {
public:
  /// Both at least 1.
  call_budget(std::uint32_t per_hour, std::uint32_t per_second);

  /// When a call of this urgency may leave: not later than `now` means at once.
  /// A later moment is the one to ask again at: other calls and answers move
  /// it.
  [[nodiscard]] timestamp next(urgency how, timestamp now);

  /// A call leaves. It counts even if it never arrives.
  void sent(urgency how, timestamp now);

  /// A call has ended.
  /// @param chance random, for jitter.
  void heard(const answer& what, timestamp now, std::uint32_t chance);

  /// How many calls are left of the hour.
  [[nodiscard]] std::uint32_t remaining(timestamp now);

  /// Calls that an hour has: as configured, or less where the provider says so.
  [[nodiscard]] std::uint32_t per_hour() const noexcept;

  /// Until when nobody may call, in the past if anybody may.
  [[nodiscard]] timestamp paused_until() const noexcept;

private:
  /// The hour is counted in slices. A slice counts until all of it is older
  /// than an hour, so that the count errs on the careful side.
  static constexpr auto slice = millis{10'000};
  static constexpr auto slices = std::size_t{361};

  /// Time as we count it: goes on from where it was when the clock is set back.
  timestamp steady(timestamp now);

  [[nodiscard]] std::uint64_t spent(timestamp at) const noexcept;

  /// What a call of this urgency may find spent at most, plus one.
  [[nodiscard]] std::uint64_t ceiling(urgency how) const noexcept;

  /// The first moment at which less than `most` is spent, if nobody calls.
  [[nodiscard]] timestamp
  when_below(std::uint64_t most, timestamp at) const noexcept;

  void learn(const rate_headers& said, timestamp at);

  std::uint32_t per_hour_;
  std::uint32_t per_second_;
  std::optional<std::uint32_t> said_per_hour_;

  millis skew_{0};
  timestamp last_{};

  /// Ring by slice number; `newest_` is the number of the newest one.
  std::array<std::uint32_t, slices> counts_{};
  std::int64_t newest_ = 0;
  std::uint64_t counted_ = 0;    ///< All slices together.
  std::deque<timestamp> recent_; ///< The last calls, `per_second_` at most.

  /// Calls that we do not know of, by what the provider says remains.
  std::uint64_t foreign_ = 0;
  timestamp foreign_until_{};

  std::array<timestamp, urgency_count> paced_{}; ///< The last one of each.
  std::uint32_t in_flight_ = 0;
  std::uint32_t throttles_ = 0; ///< In a row.
  std::uint32_t blocks_ = 0;    ///< In a row.
  timestamp throttled_until_{};
  timestamp blocked_until_{};
};

} // namespace slipway::provider

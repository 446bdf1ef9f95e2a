#include "http/provider/budget.hpp"

#include <algorithm>
#include <cctype>
#include <charconv>

namespace slipway::provider {

namespace {

using namespace std::chrono_literals;

/// What each urgency leaves to the more urgent ones, in percent of the hour.
/// Two percent are for removals alone: what cannot be removed costs money.
constexpr auto left_to_others
  = std::array<std::uint32_t, urgency_count>{0, 2, 2, 5, 10, 35};

/// Over which time what is left to an urgency would be spent at the present
/// pace; zero: at once. The pause between two calls grows as the budget
/// shrinks, so that nobody who watches ever has to stop for long.
constexpr auto spread_over
  = std::array<millis, urgency_count>{0ms, 0ms, 0ms, 0ms, 30min, 60min};

/// Two sends a second apart, by a clock that cuts off after milliseconds.
constexpr auto second = millis{1'001};

constexpr auto throttled_pause_first = millis{5'000};
constexpr auto throttled_pause_max = millis{300'000};
constexpr auto blocked_pause_first = millis{60'000};
constexpr auto blocked_pause_max = millis{1'800'000};

/// Nobody can make us stop for longer at a time.
constexpr auto asked_pause_max = millis{3'600'000};

/// After a pause the first call goes alone. Should its answer never come, the
/// next one goes after this.
constexpr auto lone_call_max = millis{120'000};

/// What remains by the provider's count is believed for so long when it does
/// not say when it counts anew.
constexpr auto unknown_reset = millis{60'000};

/// The smallest plan has this many calls an hour. Smaller limits are those of
/// the second, unless their end is far.
constexpr auto hourly_limit_min = std::uint64_t{100};

/// `initial`, doubled with each time in a row, and half of it left to chance.
millis growing(millis initial, millis most, std::uint32_t times,
               std::uint32_t chance) {
  auto whole = initial;
  for (auto i = std::uint32_t{1}; i < times && whole < most; ++i)
    whole *= 2;
  whole = std::min(whole, most);
  const auto half = whole / 2;
  return half
         + millis{static_cast<std::int64_t>(
           static_cast<std::uint64_t>(half.count()) * chance / UINT32_MAX)};
}

std::int64_t number_of(timestamp at, millis slice) {
  return at.time_since_epoch() / slice;
}

} // namespace

std::optional<timestamp> read_reset(std::string_view text, timestamp now) {
  if (text.empty())
    return std::nullopt;
  const auto is_number
    = std::all_of(text.begin(), text.end(), [](unsigned char c) {
        return std::isdigit(c) != 0;
      });
  if (!is_number)
    return parse_rfc3339(text);
  auto value = std::int64_t{0};
  const auto* end = text.data() + text.size();
  const auto read = std::from_chars(text.data(), end, value);
  // A day ahead is the longest window that makes sense; 2001 is long gone.
  constexpr auto ahead_max = std::int64_t{86'400};
  constexpr auto epoch_min = std::int64_t{1'000'000'000};
  constexpr auto epoch_millis_min = epoch_min * 1'000;
  constexpr auto epoch_millis_max = epoch_millis_min * 10;
  if (read.ec != std::errc{} || value > epoch_millis_max)
    return std::nullopt;
  if (value <= ahead_max)
    return now + std::chrono::seconds{value};
  if (value < epoch_min)
    return std::nullopt;
  return value < epoch_millis_min ? timestamp{std::chrono::seconds{value}}
                                  : timestamp{millis{value}};
}

call_budget::call_budget(std::uint32_t per_hour, std::uint32_t per_second)
  : per_hour_{std::max(per_hour, 1u)}, per_second_{std::max(per_second, 1u)} {
}

timestamp call_budget::steady(timestamp now) {
  if (now + skew_ < last_)
    skew_ = last_ - now;
  const auto at = now + skew_;
  last_ = at;
  const auto number = number_of(at, slice);
  if (counted_ == 0 || number - newest_ >= static_cast<std::int64_t>(slices)) {
    counts_.fill(0);
    counted_ = 0;
    newest_ = number;
  }
  while (newest_ < number) {
    auto& oldest = counts_[static_cast<std::size_t>(++newest_) % slices];
    counted_ -= oldest;
    oldest = 0;
  }
  return at;
}

std::uint64_t call_budget::spent(timestamp at) const noexcept {
  return counted_ + (at < foreign_until_ ? foreign_ : 0);
}

std::uint32_t call_budget::per_hour() const noexcept {
  return said_per_hour_ ? std::min(*said_per_hour_, per_hour_) : per_hour_;
}

std::uint64_t call_budget::ceiling(urgency how) const noexcept {
  const auto all = std::uint64_t{per_hour()};
  return all - all * left_to_others[static_cast<std::size_t>(how)] / 100;
}

timestamp
call_budget::when_below(std::uint64_t most, timestamp at) const noexcept {
  if (spent(at) < most)
    return at;
  auto left = counted_;
  // As soon as enough of our own is old, or when the provider counts anew.
  auto renewed = std::max(at, foreign_until_);
  auto is_renewed = left < most;
  for (auto i = std::size_t{1}; i <= slices; ++i) {
    const auto number = newest_ - static_cast<std::int64_t>(slices - i);
    const auto count
      = number < 0 ? 0u : counts_[static_cast<std::size_t>(number) % slices];
    if (count == 0)
      continue;
    left -= count;
    const auto gone = timestamp{slice * (number + std::int64_t{slices})};
    if (gone < foreign_until_ ? left + foreign_ < most : left < most)
      return is_renewed ? std::min(renewed, gone) : gone;
    if (!is_renewed && left < most) {
      renewed = std::max(renewed, gone);
      is_renewed = true;
    }
  }
  return renewed;
}

timestamp call_budget::next(urgency how, timestamp now) {
  const auto at = steady(now);
  auto out = std::max({at, throttled_until_, blocked_until_});
  if ((throttles_ > 0 || blocks_ > 0) && in_flight_ > 0 && !recent_.empty()
      && at < recent_.back() + lone_call_max)
    out = std::max(out, at + 1s);
  if (recent_.size() >= per_second_)
    out = std::max(out, recent_[recent_.size() - per_second_] + second);
  const auto most = ceiling(how);
  const auto is_spent = spent(at);
  if (is_spent >= most) {
    out = std::max(out, when_below(most, at));
  } else if (const auto over = spread_over[static_cast<std::size_t>(how)];
             over > 0ms) {
    const auto gap = over / static_cast<std::int64_t>(most - is_spent);
    out = std::max(out, paced_[static_cast<std::size_t>(how)] + gap);
  }
  return out - skew_;
}

void call_budget::sent(urgency how, timestamp now) {
  const auto at = steady(now);
  ++counts_[static_cast<std::size_t>(newest_) % slices];
  ++counted_;
  recent_.push_back(at);
  if (recent_.size() > per_second_)
    recent_.pop_front();
  paced_[static_cast<std::size_t>(how)] = at;
  ++in_flight_;
}

void call_budget::learn(const rate_headers& said, timestamp at) {
  const auto reset = read_reset(said.reset, at - skew_);
  const auto ends = reset ? std::optional{*reset + skew_} : std::nullopt;
  const auto is_short = !ends || *ends <= at + 1min;
  if (said.limit && *said.limit < hourly_limit_min && is_short)
    return; // The limit of something else than the hour.
  if (said.limit && *said.limit > 0)
    said_per_hour_ = static_cast<std::uint32_t>(
      std::min<std::uint64_t>(*said.limit, UINT32_MAX));
  if (!said.remaining)
    return;
  const auto all = std::uint64_t{per_hour()};
  const auto left = all > counted_ ? all - counted_ : 0;
  foreign_ = left > *said.remaining ? left - *said.remaining : 0;
  foreign_until_
    = ends ? std::min(*ends, at + asked_pause_max) : at + unknown_reset;
}

void call_budget::heard(const answer& what, timestamp now,
                        std::uint32_t chance) {
  const auto at = steady(now);
  if (in_flight_ > 0)
    --in_flight_;
  learn(what.rate, at);
  const auto asked = std::min(what.retry_after, asked_pause_max);
  if (what.is == answer_class::blocked) {
    // Those who were under way when it began count as one with it.
    if (at >= blocked_until_) {
      auto pause = blocked_pause_first;
      for (auto i = std::uint32_t{0}; i < blocks_; ++i)
        pause = std::min(pause * 2, blocked_pause_max);
      ++blocks_;
      blocked_until_ = at + pause;
    }
    blocked_until_ = std::max(blocked_until_, at + asked);
    return;
  }
  if (!what.spoken)
    return; // Says nothing of whether we are welcome.
  if (at >= blocked_until_)
    blocks_ = 0;
  if (what.is == answer_class::throttled && !what.cooldown) {
    if (at >= throttled_until_) {
      ++throttles_;
      throttled_until_
        = at
          + (asked > 0ms ? asked
                         : growing(throttled_pause_first, throttled_pause_max,
                                   throttles_, chance));
    }
    throttled_until_ = std::max(throttled_until_, at + asked);
    return;
  }
  if (at >= throttled_until_)
    throttles_ = 0;
}

std::uint32_t call_budget::remaining(timestamp now) {
  const auto is_spent = spent(steady(now));
  const auto all = std::uint64_t{per_hour()};
  return static_cast<std::uint32_t>(all > is_spent ? all - is_spent : 0);
}

timestamp call_budget::paused_until() const noexcept {
  return std::max(throttled_until_, blocked_until_) - skew_;
}

} // namespace slipway::provider

#include "actors/lifecycle/machine.hpp"

#include <algorithm>
#include <array>

namespace slipway::lifecycle {

namespace {

constexpr auto shortest = millis{15'000};

/// Of a gateway that does not answer, or takes its time.
constexpr auto longest = millis{900'000};

/// Looks at a closed order, counted from its expiry: for money that was on its
/// way. One look that fails is not the last one.
constexpr auto last_looks
  = std::array{millis{600'000}, millis{1'800'000}, millis{3'600'000},
               millis{10'800'000}, millis{43'200'000}};

millis pause_after(std::uint32_t asks, millis from) {
  auto out = from;
  for (auto i = 0u; i < asks && out < longest; ++i)
    out *= 2;
  return std::min(out, longest);
}

/// The next look at an order that can be paid no more.
std::optional<timestamp> next_look(const order& about, timestamp now) {
  for (const auto after : last_looks)
    if (about.expires_at + after > now)
      return about.expires_at + after;
  return std::nullopt;
}

/// While the payer may still hold a link that works, whatever its status here:
/// a gateway knows nothing of an order that nobody has opened yet, and can
/// neither close it nor keep it from being paid.
timestamp next_of_payable(const order& about, std::uint32_t asks, timestamp now,
                          const rules& with) {
  const auto first = std::min(shortest, with.ask_interval);
  const auto next
    = now
      + std::min(pause_after(asks, first), std::max(first, with.ask_interval));
  // Its end is not to be slept through.
  return std::min(next, about.expires_at);
}

} // namespace

std::optional<timestamp>
first_ask(const order& about, timestamp at, const rules& with) noexcept {
  switch (about.status) {
    case order_status::pending:
      return std::min(at + std::min(shortest, with.ask_interval),
                      about.expires_at);
    case order_status::closing:
    case order_status::refunding:
      return at;
    case order_status::closed:
      return at < about.expires_at ? next_of_payable(about, 0, at, with)
                                   : next_look(about, at);
    case order_status::paid:
    case order_status::refunded:
      return std::nullopt;
  }
  return std::nullopt;
}

std::optional<timestamp> next_ask(const order& about, std::uint32_t asks,
                                  timestamp now, const rules& with) noexcept {
  const auto first = std::min(shortest, with.ask_interval);
  switch (about.status) {
    case order_status::pending:
    case order_status::closing:
      if (now < about.expires_at)
        return next_of_payable(about, asks, now, with);
      // The gateway has not answered since: less and less often.
      return now + std::clamp(now - about.expires_at, first, longest);
    case order_status::refunding:
      return now + pause_after(asks, first);
    case order_status::closed:
      return now < about.expires_at ? next_of_payable(about, asks, now, with)
                                    : next_look(about, now);
    case order_status::paid:
    case order_status::refunded:
      return std::nullopt;
  }
  return std::nullopt;
}

} // namespace slipway::lifecycle

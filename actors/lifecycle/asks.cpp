#include "actors/lifecycle/machine.hpp"

#include <algorithm>
#include <array>

namespace slipway::lifecycle {

namespace {

constexpr auto shortest = millis{15'000};

/// Of a gateway that does not answer, or takes its time.
constexpr auto longest = millis{900'000};

/// After an order was closed the gateway is looked at some more, for money that
/// was on its way: after ten minutes, half an hour, an hour, three hours, and
/// half a day. One look that fails is not the last one.
constexpr auto last_looks
  = std::array{millis{600'000}, millis{1'200'000}, millis{1'800'000},
               millis{7'200'000}, millis{32'400'000}};

millis pause_after(std::uint32_t asks, millis from) {
  auto out = from;
  for (auto i = 0u; i < asks && out < longest; ++i)
    out *= 2;
  return std::min(out, longest);
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
      return at + last_looks.front();
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
    case order_status::pending: {
      // The gateway has not answered since: less and less often.
      if (now >= about.expires_at)
        return now + std::clamp(now - about.expires_at, first, longest);
      const auto next = now
                        + std::min(pause_after(asks, first),
                                   std::max(first, with.ask_interval));
      // Its end is not to be slept through.
      return std::min(next, about.expires_at);
    }
    case order_status::closing:
    case order_status::refunding:
      return now + pause_after(asks, first);
    case order_status::closed:
      return asks < last_looks.size() ? std::optional{now + last_looks[asks]}
                                      : std::nullopt;
    case order_status::paid:
    case order_status::refunded:
      return std::nullopt;
  }
  return std::nullopt;
}

} // namespace slipway::lifecycle

#pragma once

#include "actors/lifecycle/time.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace slipway {

/// Identifies a subscription: 41 bits of milliseconds since 2024 and 22 random
/// bits, so that ids made one after the other lie together in every index.
enum class subscription_id : std::uint64_t {};

[[nodiscard]] constexpr std::uint64_t raw(subscription_id id) noexcept {
  return static_cast<std::uint64_t>(id);
}

/// Where randomness comes from. Handed in, so that tests and the simulation can
/// bring a seeded one. Implementations are callable from any thread.
class entropy {
public:
  virtual ~entropy() = default;

  [[nodiscard]] virtual std::uint64_t next() noexcept = 0;
};

/// Randomness from the operating system's generator, one engine per thread.
class system_entropy final : public entropy {
public:
  [[nodiscard]] std::uint64_t next() noexcept override;
};

[[nodiscard]] subscription_id
make_subscription_id(timestamp at, std::uint64_t random);

// -- what the outside sees
// ------------------------------------------------------
//
// All of these names are computed from the subscription's id, never looked up:
// a callback finds its subscription, and a crash finds its project, without a
// query. The alphabet is Crockford's base 32 in lower case.

/// `sub_` and 13 characters.
[[nodiscard]] std::string to_text(subscription_id id);

[[nodiscard]] std::optional<subscription_id>
parse_subscription_id(std::string_view text);

/// Names one payment order of a subscription.
struct order_ref {
  subscription_id subscription{};
  std::uint32_t seq = 0; ///< Counts from 1.
  bool operator==(const order_ref&) const = default;
};

/// The gateways' `out_trade_no`: `sw`, 13 characters and 3 for the number. Fits
/// Alipay (64 of letters, digits, `_`) and WeChat Pay (6 to 32).
[[nodiscard]] std::string to_text(order_ref ref);

[[nodiscard]] std::optional<order_ref> parse_order_ref(std::string_view text);

/// The largest `seq` that an order's name can carry.
inline constexpr std::uint32_t order_seq_max = 32 * 32 * 32 - 1;

/// Names one instance of a subscription; there is at most one live at a time.
struct instance_ref {
  subscription_id subscription{};
  std::uint32_t seq = 0; ///< Counts from 1.
  bool operator==(const instance_ref&) const = default;
};

/// `ins_`, 13 characters and 3 for the number.
[[nodiscard]] std::string to_text(instance_ref ref);

[[nodiscard]] std::optional<instance_ref>
parse_instance_ref(std::string_view text);

/// The deterministic name of the subscription's project at the provider:
/// `sub-` and 13 characters, lower case, fit for a DNS label.
[[nodiscard]] std::string project_name(subscription_id id);

/// Whose project has this name; nothing when it is none of ours.
[[nodiscard]] std::optional<subscription_id>
parse_project_name(std::string_view text);

} // namespace slipway

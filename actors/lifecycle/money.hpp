#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace slipway {

/// An amount in the currency's minor unit (fen for CNY). Never a float.
using minor_units = std::int64_t;

/// The largest amount of one order that both gateways take: 100 000 000.00.
inline constexpr minor_units amount_max_minor = 10'000'000'000;

/// Parses a decimal with one or two or no digits behind the point: `99`,
/// `99.9`, `99.00`. No sign, blanks, exponent or thousands separators.
/// @returns nothing on another form or above `amount_max_minor`.
[[nodiscard]] std::optional<minor_units> parse_amount(std::string_view text);

/// Formats with two digits behind the point: `99.00`.
[[nodiscard]] std::string format_amount(minor_units amount);

} // namespace slipway

#include "actors/lifecycle/money.hpp"

namespace slipway {

std::optional<minor_units> parse_amount(std::string_view text) {
  const auto point = text.find('.');
  const auto whole = text.substr(0, point);
  const auto fraction = point == std::string_view::npos
                          ? std::string_view{}
                          : text.substr(point + 1);
  if (whole.empty() || whole.size() > 9)
    return std::nullopt;
  if (point != std::string_view::npos
      && (fraction.empty() || fraction.size() > 2))
    return std::nullopt;
  auto amount = minor_units{0};
  for (auto c : whole) {
    if (c < '0' || c > '9')
      return std::nullopt;
    amount = amount * 10 + (c - '0');
  }
  auto cents = minor_units{0};
  for (auto c : fraction) {
    if (c < '0' || c > '9')
      return std::nullopt;
    cents = cents * 10 + (c - '0');
  }
  if (fraction.size() == 1)
    cents *= 10;
  amount = amount * 100 + cents;
  if (amount > amount_max_minor)
    return std::nullopt;
  return amount;
}

std::string format_amount(minor_units amount) {
  const auto negative = amount < 0;
  // Negating through unsigned is defined for the smallest value, too.
  auto rest = negative ? ~static_cast<std::uint64_t>(amount) + 1
                       : static_cast<std::uint64_t>(amount);
  const auto cents = rest % 100;
  auto text = std::to_string(rest / 100) + '.';
  text += static_cast<char>('0' + cents / 10);
  text += static_cast<char>('0' + cents % 10);
  return negative ? '-' + text : text;
}

} // namespace slipway

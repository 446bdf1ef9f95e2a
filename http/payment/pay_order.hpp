#pragma once

#include "actors/record.hpp"
#include "config/settings.hpp"
#include "http/gateway/protocol.hpp"

#include <map>
#include <string>

/// Payment orders on their way to the gateways.
namespace slipway::payment {

/// What a gateway is told of an order besides the order itself.
struct order_words {
  std::map<std::string, config::plan_settings> plans;
  /// Base of the gateways' notify_url, without a slash at the end.
  std::string public_url;
  /// Where Alipay sends the payer's browser afterwards; may be empty.
  std::string return_url;
};

/// The order as a gateway is told of it. Follows from the row alone, so that a
/// repeated request is the very same one.
[[nodiscard]] gateway::pay_order
pay_order_of(const record& row, const lifecycle::order& order,
             const order_words& with);

/// The moment and a nonce of 32 letters and digits.
[[nodiscard]] gateway::stamp make_stamp(timestamp now, entropy& from);

} // namespace slipway::payment

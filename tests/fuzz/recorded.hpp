#pragma once

#include "config/settings.hpp"
#include "http/client/outbound.hpp"
#include "http/crypto/rsa.hpp"

#include <boost/json/object.hpp>

#include <string>
#include <string_view>
#include <vector>

/// The messages that the gateways have been seen to send (tests/data/vectors)
/// and the accounts that they were sent to.
namespace slipway::fuzz {

struct message {
  std::string id;
  std::string kind; ///< notify, refund-notify, response …
  std::string api_method;
  client::header_list headers;
  std::string body;
  boost::json::object file;
};

/// All messages of `alipay`, `wechat-v2` or `wechat-v3`; ends the process where
/// there are none.
[[nodiscard]] std::vector<message> recorded(std::string_view gateway);

/// The account of most messages, with the gateway's recorded keys.
[[nodiscard]] config::alipay_settings alipay_account();
[[nodiscard]] config::wechat_settings wechat_account();

/// The moment at which the messages were received.
[[nodiscard]] timestamp recorded_now();

/// A gateway of our own making, for what lies behind a valid signature. Drawn
/// once for each process.
[[nodiscard]] const crypto::rsa_key_pair& own_keys();
[[nodiscard]] const crypto::rsa_private_key& own_key();

} // namespace slipway::fuzz

#pragma once

#include "config/settings.hpp"
#include "http/gateway/intake.hpp"

#include <tl/expected.hpp>

#include <memory>
#include <string>

namespace slipway::payment {

/// The merchant's accounts as configured, and WeChat Pay's keys, which live on.
struct opened_accounts {
  gateway::accounts accounts;
  /// Null without an APIv3 account.
  std::shared_ptr<gateway::platform_keys> wechat_keys;
};

/// Parses keys and certificates once.
/// @returns a sentence on the first setting that is wrong.
[[nodiscard]] tl::expected<opened_accounts, std::string>
open_accounts(const config::settings& settings);

} // namespace slipway::payment

#include "http/payment/accounts.hpp"

#include <utility>

namespace slipway::payment {

namespace {

template <class T>
std::shared_ptr<const T> share(T what) {
  return std::make_shared<const T>(std::move(what));
}

} // namespace

tl::expected<opened_accounts, std::string>
open_accounts(const config::settings& settings) {
  auto out = opened_accounts{};
  if (settings.alipay) {
    auto made = gateway::alipay::make(*settings.alipay);
    if (!made)
      return tl::unexpected{"alipay: " + made.error()};
    out.accounts.ali = share(std::move(*made));
  }
  if (!settings.wechat)
    return out;
  const auto& wechat = *settings.wechat;
  if (!wechat.api_v3_key.empty()) {
    auto keys = gateway::platform_keys::make(wechat.platform_keys);
    if (!keys)
      return tl::unexpected{"wechat.platform_keys: " + keys.error()};
    auto made = gateway::wechat_v3::make(wechat, *keys);
    if (!made)
      return tl::unexpected{"wechat: " + made.error()};
    out.wechat_keys = std::move(*keys);
    out.accounts.v3 = share(std::move(*made));
  }
  if (!wechat.api_v2_key.empty()) {
    auto made = gateway::wechat_v2::make(
      wechat, gateway::v2_sign_type_of(wechat.v2_sign_type)
                .value_or(gateway::v2_sign_type::hmac_sha256));
    if (!made)
      return tl::unexpected{"wechat: " + made.error()};
    out.accounts.v2 = share(std::move(*made));
  }
  return out;
}

} // namespace slipway::payment

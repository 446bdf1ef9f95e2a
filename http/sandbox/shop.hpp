#pragma once

#include "http/server/router.hpp"

#include <functional>
#include <string>
#include <string_view>

namespace slipway::sandbox {

/// Whom the shop's pages act for.
struct shop_visitor {
  std::string user_id; ///< 1 to 64 bytes, none of them a control character.
  std::string email;   ///< Up to 254 bytes; empty: none.
  std::string locale;  ///< `zh-CN` or `en`.
};

struct shop_options {
  /// Makes a user's token, never an operator's. Called from any thread.
  std::function<std::string(const shop_visitor&)> token;
  /// Whoever does not say who they are.
  shop_visitor visitor;
  // The rest of the sandbox, for links: `http://HOST:PORT/`.
  std::string alipay_url;
  std::string wechat_url;
  std::string railway_url;
  std::string mailbox_url;
};

/// Adds the pages of a shop that sells what the API sells: `/shop` and its
/// files, and `/`, which leads there. They call nothing but the public API,
/// save for one thing that only a sandbox may have: `GET /sandbox/shop` tells
/// where the simulators are and hands out a token, and
/// `POST /sandbox/shop/visitors` (`{"userId", "email", "locale"}`, each
/// optional) hands out one for whoever the visitor wants to be. Both refuse
/// (403 `not_local`) to be called by another name than one of this machine's
/// loopback: a foreign page that has its name resolved to 127.0.0.1 gets no
/// token.
void add_shop(http::router& routes, shop_options options);

/// INTERNAL: Whether a Host header names this machine's loopback, with any
/// port.
[[nodiscard]] bool is_loopback_name(std::string_view host) noexcept;

} // namespace slipway::sandbox

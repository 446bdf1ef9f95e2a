#pragma once

#include "actors/lifecycle/time.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace slipway::mail {

/// The languages there are templates for.
enum class language : std::uint8_t { zh_cn, en };

/// `zh…` and the empty locale are Chinese, everything else is English.
[[nodiscard]] language language_of(std::string_view locale) noexcept;

/// The tag of a language: `zh-CN`, `en`.
[[nodiscard]] std::string_view to_tag(language value) noexcept;

enum class notice_kind : std::uint8_t {
  deployment_success,
  deployment_failed,
  payment_received,
  refund_completed,
  deployment_cancelled,
  instance_terminated,
  instance_down,
  instance_recovered,
  instance_changed,
};

/// What a notice speaks about. Plain text, nothing escaped.
struct notice_facts {
  notice_kind kind = notice_kind::deployment_success;
  std::string instance_name;
  std::string public_url; ///< May be empty.
  std::string duration;   ///< In words, such as `1m 40s`. May be empty.
  /// Why a deployment failed or an instance is down; what has changed:
  /// `sleeping`, `degraded` or `redeployed`.
  std::string error;
  std::string plan_title;
  std::string amount;   ///< `99.00`
  std::string currency; ///< `CNY`
  std::string order_id;
};

/// One notice, for the in-app list and for mail.
struct notice {
  std::string title;
  std::string message;
  std::string mail_subject;
  std::string mail_text;
  std::string mail_html;
};

/// Writes a notice in the language of the locale. Pure; everything from
/// outside is escaped in the HTML, and only http and https URLs become links.
[[nodiscard]] notice
render_notice(const notice_facts& facts, std::string_view locale);

} // namespace slipway::mail

#pragma once

#include <optional>
#include <string>
#include <string_view>

/// Where people turn mails off (RFC 2369, RFC 8058).
namespace slipway::mail {

/// What is wrong with `mail.unsubscribe_url`, in one line; nothing where it can
/// be used.
[[nodiscard]] std::optional<std::string>
check_unsubscribe_url(std::string_view pattern);

/// The pattern with `{user}` filled in, escaped. Empty where that would be
/// longer than a header can carry.
/// @pre `check_unsubscribe_url` has nothing against it.
[[nodiscard]] std::string
unsubscribe_url_for(std::string_view pattern, std::string_view user_id);

/// Whether a POST to it can turn mails off by itself: https, and it says whose.
[[nodiscard]] bool is_one_click(std::string_view pattern) noexcept;

} // namespace slipway::mail

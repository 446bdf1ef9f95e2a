#include "http/mail/unsubscribe.hpp"

#include "http/crypto/form.hpp"
#include "http/mail/mailer.hpp"

#include <algorithm>

namespace slipway::mail {

namespace {

constexpr auto user_mark = std::string_view{"{user}"};

} // namespace

std::optional<std::string> check_unsubscribe_url(std::string_view pattern) {
  if (is_unsubscribe_url(unsubscribe_url_for(pattern, "u")))
    return std::nullopt;
  auto out = std::string{
    "expected an http, https or mailto URL in printable ASCII, such as "
    "https://example.com/unsubscribe?user={user}, of at most "};
  out += std::to_string(unsubscribe_url_max);
  out += " bytes";
  return out;
}

std::string
unsubscribe_url_for(std::string_view pattern, std::string_view user_id) {
  const auto user = crypto::percent_encode(user_id);
  auto out = std::string{};
  for (;;) {
    const auto at = pattern.find(user_mark);
    out += pattern.substr(0, at);
    if (out.size() > unsubscribe_url_max)
      return {};
    if (at == pattern.npos)
      return out;
    out += user;
    pattern.remove_prefix(at + user_mark.size());
  }
}

bool is_one_click(std::string_view pattern) noexcept {
  return pattern.starts_with("https://")
         && pattern.find(user_mark) != pattern.npos;
}

} // namespace slipway::mail

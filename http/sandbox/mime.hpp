#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// INTERNAL: Reading mails: what a person would want to see of one.
namespace slipway::sandbox {

struct mail_content {
  /// Unfolded and decoded (RFC 2047), in order.
  std::vector<std::pair<std::string, std::string>> headers;
  /// The first text/plain part, as UTF-8.
  std::string text;
  /// The first text/html part, as UTF-8.
  std::string html;
  /// Types and names of whatever else there is.
  std::vector<std::string> attachments;

  /// The first header of this name, in any case of letters; empty if none.
  [[nodiscard]] std::string header(std::string_view name) const;
};

/// Takes a mail apart. Never fails: what cannot be read stays as it is.
[[nodiscard]] mail_content read_mail(std::string_view raw);

/// Decodes the encoded words of a header: `=?utf-8?B?5L2g?=`.
[[nodiscard]] std::string decode_words(std::string_view text);

} // namespace slipway::sandbox

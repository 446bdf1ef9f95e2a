#pragma once

#include "actors/queries.hpp"

#include <tl/expected.hpp>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// Mails that come back after the mail server had taken them over (RFC 3464).
namespace slipway::mail {

/// What a report says of one recipient.
struct returned_mail {
  std::string recipient; ///< The address we wrote to, where it is told.
  std::string
    message_id;        ///< Of our mail, without angle brackets. May be empty.
  bool failed = false; ///< It will not arrive; else delayed, relayed …
  bool permanent = false; ///< …and the address is at fault, not the weather.
  std::string action;     ///< `failed`, `delayed` … as it stands there.
  std::string reason;     ///< Status and diagnostics for people. One line.
};

/// Whether a body of this type is a report or a mail that may hold one.
[[nodiscard]] bool is_report_type(std::string_view content_type);

/// Reads a delivery status notification. What it costs is bounded, whatever the
/// body: 16 parts, 4 levels, 20 recipients.
/// @param content_type `message/delivery-status`, `multipart/report` with its
///        boundary, or `message/rfc822` for the whole mail that brought it.
/// @returns a sentence that says what was expected where it is none.
[[nodiscard]] tl::expected<std::vector<returned_mail>, std::string>
read_delivery_status(std::string_view content_type, std::string_view body);

/// Which mail of ours has this Message-ID; nothing where none can have it.
[[nodiscard]] std::optional<query::mail_ref>
parse_message_id(std::string_view text);

} // namespace slipway::mail

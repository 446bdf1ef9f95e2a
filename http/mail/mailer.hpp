#pragma once

#include "actors/lifecycle/time.hpp"
#include "config/settings.hpp"

#include <tl/expected.hpp>

#include <cstdint>
#include <string>
#include <string_view>

/// Outgoing mail.
namespace slipway::mail {

/// One mail to one person. All texts are UTF-8.
struct mail_message {
  std::string to; ///< `someone@example.com` or `Name <someone@example.com>`.
  std::string subject;
  std::string text;
  std::string html; ///< Empty: a plain text mail.
  /// Without the angle brackets, `local@domain`. The same for every attempt at
  /// one mail, so that a repeat can be recognised.
  std::string message_id;
  timestamp date;
  /// A language tag for Content-Language, or empty.
  std::string language;
  /// Where this person turns such mails off, or empty: `is_unsubscribe_url`.
  std::string unsubscribe_url;
  /// A POST there does it by itself (RFC 8058).
  bool one_click = false;
};

/// What a header line can carry.
inline constexpr std::size_t unsubscribe_url_max = 900;

/// Whether List-Unsubscribe can carry it: http, https or mailto, in printable
/// ASCII, not too long.
[[nodiscard]] bool is_unsubscribe_url(std::string_view url) noexcept;

/// How an attempt to send ended.
enum class send_status : std::uint8_t {
  /// The server has taken it over.
  sent,
  /// The server will never take it (5xx), or the message can't be expressed.
  rejected,
  /// Not this time: 4xx, no connection, no TLS. Certainly not sent.
  deferred,
  /// The content left and the server's word on it did not come back.
  in_doubt,
};

/// The enumerator's name.
[[nodiscard]] std::string_view to_string(send_status status) noexcept;

struct send_outcome {
  send_status status = send_status::deferred;
  /// The reply code of the server's last word, or 0.
  int code = 0;
  /// For people: the server's reply where there is one. One line.
  std::string message;
};

/// Builds the mail as it goes over the wire: CRLF lines of at most 76 bytes of
/// content, multipart/alternative where there is HTML, no dot-stuffing.
/// @param from the sender's mailbox.
/// @returns a sentence where an address, the subject or the Message-ID can't
///          be expressed; control characters are never let through.
[[nodiscard]] tl::expected<std::string, std::string>
build_mail(std::string_view from, const mail_message& message);

/// The bare address of `Name <address>` or `address`.
/// @returns a sentence where it is none that SMTP can carry.
[[nodiscard]] tl::expected<std::string, std::string>
bare_address(std::string_view mailbox);

/// Sends mail over SMTP with libcurl: smtp, smtps, STARTTLS where the server
/// offers it (always, with `require_tls`). Without state: callable from any
/// thread, one connection for each mail.
class smtp_sender {
public:
  /// @param helo the name to greet servers with; empty: this machine's.
  /// @param ca_file PEM bundle instead of the system's, or empty.
  explicit smtp_sender(config::mail_settings settings, std::string helo = {},
                       std::string ca_file = {});

  /// Sends; blocks for at most the configured timeout.
  [[nodiscard]] send_outcome send(const mail_message& message) const;

private:
  config::mail_settings settings_;
  std::string helo_;
  std::string ca_file_;
};

} // namespace slipway::mail

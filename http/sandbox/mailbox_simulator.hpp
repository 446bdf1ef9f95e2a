#pragma once

#include "actors/lifecycle/time.hpp"
#include "http/sandbox/page.hpp"

#include <tl/expected.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace slipway::sandbox {

/// A mail as it would look like.
struct mail_preview {
  std::string name; ///< Of its template.
  std::string locale;
  std::string subject;
  std::string text;
  std::string html;
};

struct mailbox_simulator_options {
  /// Where mails are taken.
  listen_options smtp;
  /// Where they are shown.
  listen_options web;
  /// The oldest mails are dropped beyond it.
  std::size_t mails_max = 500;
  /// Of one mail; a larger one is refused with 552.
  std::size_t mail_bytes_max = 2 * 1024 * 1024;
  std::size_t sessions_max = 64;
  /// A client that says nothing for so long is let go.
  millis idle_timeout{30'000};
  /// Mails to be shown at `/previews`; empty: there is no such page. Called on
  /// a thread of the pages'.
  std::function<std::vector<mail_preview>()> previews;
};

/// A mailbox that takes everything: an SMTP server (EHLO, AUTH PLAIN and LOGIN
/// with any password, SIZE, PIPELINING; no TLS) and pages to read in.
///
/// For people and scripts: `/` lists the mails, `/mails/{n}` shows one,
/// `/previews` what the mails of each kind look like,
/// `GET /sandbox/mails` gives all as JSON, `DELETE` forgets them, and
/// `PUT /sandbox/mails` with `{"defer": n, "reject": n}` lets the next mails
/// fail, for now (451) or for good (550).
class mailbox_simulator {
public:
  /// @param time Must outlive the simulator.
  mailbox_simulator(mailbox_simulator_options options, const clock& time);

  /// Stops.
  ~mailbox_simulator();

  [[nodiscard]] tl::expected<void, std::string> start();

  void stop();

  [[nodiscard]] std::uint16_t smtp_port() const noexcept;
  [[nodiscard]] std::uint16_t web_port() const noexcept;

  /// `smtp://HOST:PORT`.
  [[nodiscard]] std::string smtp_url() const;

  /// `http://HOST:PORT`.
  [[nodiscard]] std::string web_url() const;

private:
  struct impl;

  std::shared_ptr<impl> impl_;
};

} // namespace slipway::sandbox

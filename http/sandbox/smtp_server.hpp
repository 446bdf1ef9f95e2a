#pragma once

#include "actors/lifecycle/time.hpp"

#include <tl/expected.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

/// INTERNAL: The receiving end of SMTP.
namespace slipway::sandbox {

struct smtp_envelope {
  std::string from;
  std::vector<std::string> to;
  /// Headers and body, CRLF lines, dots undone.
  std::string data;
};

struct smtp_server_options {
  std::string host = "127.0.0.1";
  std::uint16_t port = 0;
  std::size_t mail_bytes_max = 2 * 1024 * 1024;
  std::size_t sessions_max = 64;
  millis idle_timeout{30'000};
};

/// What to say to a mail: `250 Ok`, or a refusal. Runs on the server's thread.
using smtp_receiver = std::function<std::string(smtp_envelope)>;

/// Takes mails on a thread of its own.
class smtp_server {
public:
  smtp_server(smtp_server_options options, smtp_receiver receive);
  ~smtp_server();

  smtp_server(const smtp_server&) = delete;
  smtp_server& operator=(const smtp_server&) = delete;

  [[nodiscard]] tl::expected<void, std::string> start();

  void stop();

  [[nodiscard]] std::uint16_t port() const noexcept;

private:
  struct impl;

  std::shared_ptr<impl> impl_;
};

} // namespace slipway::sandbox

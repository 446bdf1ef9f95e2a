#pragma once

#include "http/server/server.hpp"

#include <tl/expected.hpp>

#include <cstdint>
#include <string>
#include <string_view>

/// The outside world on loopback, for trying Slipway out: gateways, provider
/// and mailbox that speak the real protocols. Slipway itself does not know.
namespace slipway::sandbox {

/// Where a simulator listens.
struct listen_options {
  std::string host = "127.0.0.1";
  std::uint16_t port = 0; ///< 0 means: any free port.
};

/// INTERNAL: A simulator of a gateway moves "money" for whoever asks: it is
/// for this machine alone. @returns a sentence on any other address.
[[nodiscard]] tl::expected<void, std::string>
check_loopback(const listen_options& where);

/// INTERNAL: The limits of a simulator's server.
[[nodiscard]] http::server_options server_for(const listen_options& where);

/// INTERNAL: A page in the sandbox's looks, with a policy that lets in nothing
/// from anywhere else. `title` is escaped here, `body` is HTML already.
[[nodiscard]] http::response
page(int status, std::string_view title, std::string_view body);

/// INTERNAL: Adds the style sheet that `page` links to.
void add_style(http::router& routes);

/// INTERNAL: Sends the browser on after a form.
[[nodiscard]] http::response see_other(std::string where);

/// INTERNAL: JSON text as an answer.
[[nodiscard]] http::response json(int status, std::string text);

/// INTERNAL: Escapes for HTML; bytes that are no UTF-8 become U+FFFD.
[[nodiscard]] std::string escape(std::string_view text);

/// INTERNAL: Bytes that are no UTF-8 become U+FFFD.
[[nodiscard]] std::string to_utf8(std::string_view text);

} // namespace slipway::sandbox

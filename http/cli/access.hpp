#pragma once

#include "actors/lifecycle/time.hpp"
#include "config/load_settings.hpp"
#include "config/settings.hpp"
#include "http/cli/arguments.hpp"

#include <tl/expected.hpp>

#include <functional>
#include <string>

namespace slipway::cli {

/// Why something was not done.
struct refusal {
  int exit_code = exit_refused;
  std::string message; ///< For people, perhaps several lines; may be foreign.
};

/// Where the server is and what opens it.
struct access {
  std::string base; ///< `https://host:port`, without a slash at the end.
  /// `HOST:PORT` where the address differs from the certificate's name.
  std::string connect_to;
  std::string ca_file; ///< Empty: the system's.
  /// The token for a call that begins now: one that is made here lives for
  /// minutes only, and is made anew for each.
  std::function<config::secret()> token;
  std::string role;    ///< Of a token made here; empty otherwise.
  std::string warning; ///< What the caller should know; usually empty.
};

/// Finds both from the arguments, the configuration and the environment
/// (SLIPWAY_OPS_URL, SLIPWAY_OPS_TOKEN). Reads files, connects to nothing.
/// @param time Has to outlive what is returned.
[[nodiscard]] tl::expected<access, refusal>
find_access(const connection_arguments& given, const config::environment& env,
            const clock& time);

/// Loads the configuration; a mistake in it is a refusal with a line for each.
[[nodiscard]] tl::expected<config::settings, refusal>
load_configuration(const std::string& file, const config::environment& env);

/// A name that a certificate (PEM) is valid for, to be connected to as: its
/// first DNS name, else its first address. A wildcard gets a word.
/// @returns an empty text when there is none.
[[nodiscard]] std::string certified_name(const std::string& pem);

/// Whether a certificate (PEM) is valid for this name or address.
[[nodiscard]] bool
is_certified(const std::string& pem, const std::string& host);

} // namespace slipway::cli

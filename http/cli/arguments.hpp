#pragma once

#include "actors/lifecycle/time.hpp"

#include <cstddef>
#include <cstdint>
#include <string>

/// The operators' calls from a shell: `slipway ops …`.
namespace slipway::cli {

/// What a call ends with.
inline constexpr int exit_ok = 0;
/// The server refuses it, or it has failed, or the answer to a question was no.
inline constexpr int exit_refused = 1;
/// The command line or the configuration is wrong.
inline constexpr int exit_usage = 2;
/// The server cannot be reached, or has not answered.
inline constexpr int exit_unreachable = 3;

/// Where the server is, and who asks.
struct connection_arguments {
  std::string config; ///< The server's configuration file.
  std::string url;    ///< Instead of the configuration's address.
  std::string ca_file;
  std::string token_file;
  std::string as; ///< The subject of a token made here.
  std::string role = "operator";
  millis timeout{30'000};
};

enum class ops_command : std::uint8_t {
  none,
  list,
  show,
  timeline,
  watch,
  logs,
  retry,
  cancel,
  refund,
  terminate,
  callbacks,
  callback,
  replay,
  settle,
  attention,
  stats,
  actors,
  restart,
  automation,
  audit,
  rotate_keys,
  token,
};

/// Everything that stands behind `slipway ops`.
struct ops_arguments {
  ops_command command = ops_command::none;
  connection_arguments connection;

  bool json = false;
  bool jsonl = false;
  bool utc = false;
  bool yes = false; ///< Ask nothing.

  std::string id;     ///< Of a subscription, a callback, an actor.
  std::string reason; ///< For the history.
  bool dry_run = false;

  // Lists.
  std::string query;
  std::string status;
  std::string gateway;
  std::string outcome;
  std::string order;
  std::string cursor;
  std::string kind;
  std::size_t limit = 0; ///< 0: what suits the list.
  bool all = false;
  bool troubled = false;

  // logs and watch.
  std::string log_type = "all";
  bool follow = false;

  bool body_only = false; ///< callback --body
  std::string switch_to;  ///< on, off, or empty to look.

  // token
  std::string token_for;
  std::string token_role = "operator";
  millis token_life{3'600'000};
};

} // namespace slipway::cli

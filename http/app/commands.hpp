#pragma once

#include <cstdint>
#include <string>
#include <vector>

/// What the command line can do. Every function blocks until it is done and
/// returns the exit code.
namespace slipway::app {

inline constexpr int exit_ok = 0;
inline constexpr int exit_failure = 1;
/// The configuration or the command line is wrong.
inline constexpr int exit_usage = 2;
/// Another server has taken over: this one was dead for all that could be seen.
inline constexpr int exit_lease_lost = 3;

struct sandbox_arguments {
  std::string data_dir;
  std::uint16_t port = 8080;
};

/// Serves until SIGTERM or SIGINT, drains, and returns. A second signal ends
/// the process at once.
/// @param faults Whether operators may kill actors: for tests only.
[[nodiscard]] int
run_server(const std::string& config_file, bool faults = false);

[[nodiscard]] int run_sandbox(const sandbox_arguments& arguments);

[[nodiscard]] int run_migrate(const std::string& config_file);

[[nodiscard]] int run_check(const std::string& config_file);

/// Prints one line of JSON for each file, see `verify_message`.
/// @returns `exit_ok` whatever the verdicts, and whatever the files hold;
///          `exit_failure` where stdout takes no more.
[[nodiscard]] int run_verify(const std::vector<std::string>& files);

} // namespace slipway::app

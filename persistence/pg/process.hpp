#pragma once

#include <sys/types.h>
#include <tl/expected.hpp>

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// Child processes for an embedded cluster. Linux only.
namespace slipway::pg {

using process_deadline = std::chrono::steady_clock::time_point;

/// As whom a child runs.
struct identity {
  /// Whether to leave root. Otherwise the rest only describes ourselves.
  bool drop = false;
  uid_t user = 0;
  gid_t group = 0;
  std::vector<gid_t> groups;
  std::string name;
};

/// Ourselves.
[[nodiscard]] identity own_identity();

/// The user with this name, to drop to; nothing when there is none.
[[nodiscard]] std::optional<identity> identity_of(const std::string& name);

/// The user with this number, to drop to. Needs no entry in the user database.
[[nodiscard]] identity identity_of(uid_t user, gid_t group);

struct process_options {
  /// The program's path and its arguments.
  std::vector<std::string> arguments;
  /// Whole environment, `NAME=value`.
  std::vector<std::string> environment;
  std::string directory;
  identity as;
  /// Open for writing; takes standard output and standard error.
  int output = -1;
  /// What the child gets from the kernel when the thread that started it ends;
  /// 0 for nothing.
  int death_signal = 0;
};

/// At which step a child could not become the program.
enum class process_step : unsigned char { fork, privileges, directory, exec };

struct process_failure {
  process_step step;
  int code; ///< errno
};

/// Starts a program in a session of its own, with default signal handling and
/// no open files but the three standard ones. Safe beside other threads.
[[nodiscard]] tl::expected<pid_t, process_failure>
start_process(const process_options& options);

/// Waits until a child, or any process, has ended. A child is not reaped.
/// @returns false when the deadline has passed.
[[nodiscard]] bool wait_for_end(pid_t pid, process_deadline until);

/// Reaps a child that has ended.
/// @returns its status as waitpid gives it, nothing when it still runs.
[[nodiscard]] std::optional<int> reap(pid_t pid);

/// For people: `exit status 1`, `signal 9`.
[[nodiscard]] std::string describe_status(int status);

/// Runs a program to its end as ourselves and returns its standard output and
/// error, at most 64 KiB; nothing when it cannot be run, fails, or does not end
/// in time.
[[nodiscard]] std::optional<std::string>
output_of(std::vector<std::string> arguments, process_deadline until);

} // namespace slipway::pg

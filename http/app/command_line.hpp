#pragma once

#include "http/app/commands.hpp"
#include "http/cli/arguments.hpp"

#include <CLI/App.hpp>

#include <string>
#include <vector>

namespace slipway::app {

/// The command line as a tree, and what was read from it. Help, the manual page
/// and the shells' completion follow from the tree as well.
class command_line {
public:
  explicit command_line(std::string version);

  // The tree points into this.
  command_line(const command_line&) = delete;
  command_line& operator=(const command_line&) = delete;

  /// Parses and does what was asked for; blocks until it is done.
  /// @param faults Whether operators may kill actors: for tests only.
  /// @returns the exit code.
  [[nodiscard]] int run(int argc, const char* const* argv, bool faults = false);

  [[nodiscard]] const CLI::App& root() const noexcept {
    return root_;
  }

private:
  [[nodiscard]] int do_it(bool faults);

  CLI::App root_;
  CLI::App* serve_;
  CLI::App* migrate_;
  CLI::App* check_;
  CLI::App* verify_;
  CLI::App* ops_;
  CLI::App* completion_;
  CLI::App* manual_;

  std::string config_;
  bool sandboxed_ = false;
  sandbox_arguments sandbox_;
  std::vector<std::string> messages_;
  cli::ops_arguments calls_;
  std::string shell_;
};

} // namespace slipway::app

#pragma once

#include "http/cli/arguments.hpp"

#include <CLI/App.hpp>

namespace slipway::cli {

/// Adds `ops` and everything behind it to the command line.
/// @param to Filled when the command line is parsed; has to outlive it.
/// @returns the command itself.
CLI::App* add_ops(CLI::App& root, ops_arguments& to);

} // namespace slipway::cli

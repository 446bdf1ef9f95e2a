#pragma once

#include "actors/lifecycle/time.hpp"
#include "config/load_settings.hpp"
#include "http/cli/arguments.hpp"

namespace slipway::cli {

/// Does what was asked for: calls the server, prints the answer. Blocks until
/// it is done.
/// @returns one of the exit codes of `arguments.hpp`.
[[nodiscard]] int run_ops(const ops_arguments& what,
                          const config::environment& env, const clock& time);

} // namespace slipway::cli

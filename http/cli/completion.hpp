#pragma once

#include <CLI/App.hpp>

#include <string>
#include <string_view>

/// The command line told to shells and to `man`, from the tree that parses it.
namespace slipway::cli {

/// A script that completes commands, options, their choices and files.
/// @param shell bash, zsh or fish.
[[nodiscard]] std::string
completion_script(const CLI::App& root, std::string_view shell);

/// The manual page, for `man`.
[[nodiscard]] std::string manual_page(const CLI::App& root);

} // namespace slipway::cli

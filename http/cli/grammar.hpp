#pragma once

#include <CLI/App.hpp>
#include <CLI/Formatter.hpp>
#include <CLI/Option.hpp>

#include <string>
#include <vector>

/// What the tree of the command line says about itself, for help, manual and
/// completion.
namespace slipway::cli {

/// What stands for the option's value: `FILE`, `{on,off}`; empty for a flag.
[[nodiscard]] std::string value_words(const CLI::Option& option);

/// The values that the option can have, where there is a fixed choice.
[[nodiscard]] std::vector<std::string> choices_of(const CLI::Option& option);

/// `-f`, `--follow`, in this order; nothing for a positional argument.
[[nodiscard]] std::vector<std::string> names_of(const CLI::Option& option);

[[nodiscard]] bool takes_value(const CLI::Option& option);

/// Whether the value is a path, `FILE` or `DIR`.
[[nodiscard]] bool takes_path(const CLI::Option& option);

[[nodiscard]] bool takes_directory(const CLI::Option& option);

/// A command with the words that lead to it.
struct command_node {
  std::string path; ///< `ops list`; empty for the root.
  const CLI::App* app = nullptr;
  std::vector<const CLI::App*> below;
  std::vector<const CLI::Option*> options;
  std::vector<const CLI::Option*> positionals;
};

/// All commands, each before those behind it. What is hidden is left out.
[[nodiscard]] std::vector<command_node> commands_of(const CLI::App& root);

/// Help without CLI11's names of types.
class help_format final : public CLI::Formatter {
public:
  [[nodiscard]] std::string
  make_option_opts(const CLI::Option* option) const override;

  [[nodiscard]] std::string
  make_description(const CLI::App* app) const override;
};

} // namespace slipway::cli

#pragma once

#include "config/settings.hpp"

#include <tl/expected.hpp>

#include <cstddef>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace slipway::config {

/// One thing in the configuration that has to be put right. Holds no secret.
struct mistake {
  /// The configuration file, or `environment`.
  std::string file;
  /// `section.key`, or the variable's name; `syntax` when it is no TOML.
  std::string key;
  std::string expected;
  std::string found{};
  std::size_t line = 0;   ///< 0 means: no line to name.
  std::size_t column = 0; ///< 0 means: no column to name.

  /// Formats as one line, `FILE:LINE: KEY: expected …, found …`.
  [[nodiscard]] std::string to_string() const;
};

/// Variables by their names.
using environment = std::map<std::string, std::string>;

/// Copies the variables of this process. Call it before threads are started
/// that change them.
[[nodiscard]] environment process_environment();

/// The plans that are sold where the configuration names none: BASIC, PRO and
/// ENTERPRISE.
[[nodiscard]] std::map<std::string, plan_settings> default_plans();

/// Reads the configuration and every file that it names.
///
/// A variable `SLIPWAY_<SECTION>_<KEY>` takes the place of a key, in lists and
/// tables with commas between the entries. For every `x_file` that names a
/// secret or a key, `SLIPWAY_<SECTION>_<X>` can give the content itself. An
/// empty text means that a key is unset. Relative paths start from the
/// directory of the file, those of variables from the working directory.
///
/// @param file The TOML file.
/// @param env The variables, usually `process_environment()`.
/// @returns the settings, or every mistake at once: those of the file by line,
///          then those of the environment.
[[nodiscard]] tl::expected<settings, std::vector<mistake>>
load_settings(const std::filesystem::path& file, const environment& env);

} // namespace slipway::config

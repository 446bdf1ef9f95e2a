#pragma once

#include "config/settings.hpp"

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

/// The table of everything that can be configured. Adding a key is one line in
/// keys.cpp; reading, checking, the environment, the example file and the
/// documentation follow from it.
namespace slipway::config {

/// What a key takes. Says which shape the value has in TOML, what is checked,
/// and how mistakes are worded.
enum class kind : std::uint8_t {
  text,             ///< One line; bounds are bytes.
  word,             ///< ASCII without blanks; bounds are bytes.
  url,              ///< `words` are the schemes.
  base_url,         ///< A URL without query; slashes at its end are cut off.
  mail_url,         ///< A URL of nothing but scheme, host and port.
  database_url,     ///< `postgresql://…` or `embedded:DIR`.
  mailbox,          ///< `Words <name@domain>`.
  listen,           ///< `host:port`.
  choice,           ///< One of `words`.
  currency,         ///< Three letters.
  amount,           ///< `99.00`, more than nothing.
  duration,         ///< `31s`; bounds are milliseconds.
  size,             ///< `256KiB`; bounds are bytes.
  integer,          ///< Bounds are bounds.
  boolean,          ///< `true` or `false`.
  line_file,        ///< File of a one-line secret; bounds are bytes.
  path_part_file,   ///< The same, and fit to stand in a URL's path.
  bytes_file,       ///< File of any bytes; bounds are bytes.
  private_key_file, ///< PEM, or bare base64 where `words` says `bare`.
  public_key_file,  ///< PEM or bare base64.
  certificate_file, ///< PEM.
  existing_file,    ///< The path itself is kept; the file has to be there.
  existing_dir,     ///< The same for a directory.
  credential_keys,  ///< List of `id:file`, 32 bytes each.
  platform_keys,    ///< List of `serial:file`, PEM each.
  variables,        ///< Table of names and texts.
};

/// Where a value ends up.
using target = std::variant<
  std::string*, secret*, endpoint*, database_settings*, late_payment_policy*,
  millis*, std::optional<millis>*, std::size_t*, std::uint32_t*, std::int32_t*,
  minor_units*, bool*, std::vector<credential_key>*, std::vector<platform_key>*,
  std::map<std::string, std::string>*>;

/// One key of one section.
struct key {
  std::string_view section;
  std::string_view name;
  std::string_view sentence; ///< What it decides, for the documentation.
  kind is;
  std::int64_t low; ///< Bounds, both inclusive, in the unit of `kind`.
  std::int64_t high;
  std::string_view words;
  bool required; ///< Wherever its section is present.
  /// Finds the field. `plan` names the plan and is ignored elsewhere.
  target (*at)(settings& all, const std::string& plan);
};

/// All keys, those of one section together, in the order of the example.
[[nodiscard]] std::span<const key> keys();

/// All sections in the order of the example.
[[nodiscard]] const std::vector<std::string>& sections();

/// Finds a key by its section and name.
[[nodiscard]] const key*
find_key(std::string_view section, std::string_view name);

/// Names a section or key the way environment variables do: in upper case.
[[nodiscard]] std::string upper_case(std::string_view text);

/// Says what the key takes: `a duration from 100ms to 10m, such as "5s"`.
[[nodiscard]] std::string expectation(const key& which);

/// Tells whether the value must never be shown.
[[nodiscard]] bool is_confidential(const key& which);

/// Tells whether the value names a file whose content is what counts. Such a
/// key, `x_file`, can be given directly by the environment variable `…_X`.
[[nodiscard]] bool names_content(const key& which);

/// Formats the value that a field has, as TOML. Empty for a secret.
[[nodiscard]] std::string format_value(const key& which, target from);

/// For the documentation: one key in words.
struct key_info {
  std::string section; ///< `plans.*` stands for every plan.
  std::string name;
  std::string sentence;
  std::string expected;
  std::string initial;     ///< As TOML; empty when there is no default.
  std::string environment; ///< The variable that overrides it.
  bool required = false;
};

/// All keys in words, in the order of the example.
[[nodiscard]] std::vector<key_info> known_keys();

/// A value as it came in, already of the right shape.
using raw_value
  = std::variant<std::string, std::int64_t, bool, std::vector<std::string>,
                 std::map<std::string, std::string>>;

/// What is wrong with a value.
struct fault {
  std::string expected;
  std::string found; ///< Never a secret.
};

/// Checks a value and puts it where it belongs.
/// @param which The key.
/// @param value The value; its shape must suit the key's kind. Not empty.
/// @param base The directory that relative paths start from.
/// @param to Where to put it. Untouched when anything is wrong.
/// @returns everything that is wrong with it.
[[nodiscard]] std::vector<fault>
store(const key& which, const raw_value& value,
      const std::filesystem::path& base, target to);

/// The same for a secret that stands in the environment itself.
/// @pre `names_content(which)`
[[nodiscard]] std::vector<fault>
store_content(const key& which, const std::string& content, target to);

/// Reads a regular file of at most `size_max` bytes.
/// @param problem Set to what is wrong when nothing is returned, naming the
///        path: `"/a/b", which does not exist`.
[[nodiscard]] std::optional<std::string>
read_file(const std::filesystem::path& path, std::size_t size_max,
          std::string& problem);

} // namespace slipway::config

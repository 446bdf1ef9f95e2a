#pragma once

#include <tl/expected.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// The language of templates: a strict part of Mustache.
///
/// `{{name}}` inserts a value, escaped for where it goes; `{{#name}}…{{/name}}`
/// stays where the value is not empty, `{{^name}}…{{/name}}` where it is;
/// `{{! … }}` is for the reader. A line with nothing on it but one of the last
/// three is left out. `{{{name}}}` inserts what is HTML already. Values are
/// never looked at again: a `{{` in one of them is text. docs/NOTIFICATIONS.md.
namespace slipway::mail {

enum class output : std::uint8_t { text, html };

/// Names and what they stand for. Few: they are looked through one by one.
using values = std::vector<std::pair<std::string_view, std::string>>;

/// The value of a name; empty where there is none.
[[nodiscard]] const std::string&
value_of(const values& given, std::string_view name) noexcept;

/// The names that a template may use.
struct known_names {
  std::vector<std::string_view> plain;
  /// Those that are HTML already, for `{{{name}}}`; text elsewhere.
  std::vector<std::string_view> markup;
  /// Web addresses: the only ones an href or src may start with.
  std::vector<std::string_view> addresses;
  /// Of letters, digits and `_` only: may stand anywhere in an address.
  std::vector<std::string_view> codes;

  [[nodiscard]] bool contains(std::string_view name) const noexcept;
};

/// What is wrong with a template.
struct template_fault {
  std::size_t line = 1;
  std::string what; ///< What is wrong and what was expected. One line.
};

/// A template that has been looked at from one end to the other. Immutable.
class compiled_template {
public:
  compiled_template() = default;

  /// In HTML, values are only taken where escaping makes them harmless: in text
  /// and in quoted attributes, but not in style, event handlers or scripts.
  /// @param first_line The number of the source's first line, for faults.
  [[nodiscard]] static tl::expected<compiled_template, template_fault>
  parse(std::string_view source, output kind, const known_names& names,
        std::size_t first_line = 1);

  [[nodiscard]] std::string render(const values& given) const;

private:
  enum class op : std::uint8_t { literal, value, markup, if_there, if_not };

  struct node {
    op is = op::literal;
    std::string text;    ///< The literal, or the name.
    std::size_t end = 0; ///< Of a section: the node behind it.
  };

  std::vector<node> nodes_;
  output kind_ = output::text;
};

} // namespace slipway::mail

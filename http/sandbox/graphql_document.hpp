#pragma once

#include "http/sandbox/graphql.hpp"

#include <optional>

/// INTERNAL: What a GraphQL document says.
namespace slipway::sandbox::graphql {

struct location {
  std::size_t line = 1;
  std::size_t column = 1;
};

enum class value_kind : std::uint8_t {
  variable,
  integer,
  real,
  text,
  boolean,
  null,
  enumerator,
  list,
  object,
};

/// A value as written.
struct literal {
  value_kind kind = value_kind::null;
  std::string text;
  std::vector<literal> items = {};
  std::vector<std::pair<std::string, literal>> members = {};
  location at = {};

  friend bool operator==(const literal& a, const literal& b) {
    return a.kind == b.kind && a.text == b.text && a.items == b.items
           && a.members == b.members;
  }
};

struct argument {
  std::string name;
  literal value;
  location at;
};

struct directive {
  std::string name;
  std::vector<argument> arguments;
  location at;
};

enum class selection_kind : std::uint8_t { field, spread, inline_fragment };

struct selection {
  selection_kind kind = selection_kind::field;
  std::string alias;
  std::string name; ///< Of the field or fragment.
  std::string condition;
  std::vector<argument> arguments;
  std::vector<directive> directives;
  std::vector<selection> children;
  location at;

  [[nodiscard]] const std::string& key() const noexcept {
    return alias.empty() ? name : alias;
  }
};

struct variable_def {
  std::string name;
  type_ref type;
  std::optional<literal> fallback;
  location at;
};

struct operation {
  std::string name;
  operation_kind kind = operation_kind::query;
  std::vector<variable_def> variables;
  std::vector<directive> directives;
  std::vector<selection> selections;
  location at;
};

struct fragment {
  std::string name;
  std::string condition;
  std::vector<selection> selections;
  location at;
};

struct document {
  std::vector<operation> operations;
  std::vector<fragment> fragments;

  [[nodiscard]] const fragment* find(std::string_view name) const noexcept;
};

/// Something wrong with a document.
struct problem {
  std::string message;
  location at = {};
  std::string code = "GRAPHQL_VALIDATION_FAILED";
};

/// `Query`, `Mutation` or `Subscription`.
[[nodiscard]] std::string_view root_type(operation_kind kind) noexcept;

[[nodiscard]] tl::expected<document, problem>
parse_document(std::string_view text, std::size_t depth_max);

/// The type definitions of an SDL text.
[[nodiscard]] tl::expected<std::vector<type_def>, problem>
parse_types(std::string_view text);

/// A literal without variables, types not looked at.
[[nodiscard]] boost::json::value to_json(const literal& value);

/// Everything that is wrong with one operation.
[[nodiscard]] std::vector<problem>
validate(const schema& types, const document& doc);

} // namespace slipway::sandbox::graphql

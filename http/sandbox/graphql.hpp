#pragma once

#include <boost/json.hpp>
#include <tl/expected.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

/// A small GraphQL server side: documents are parsed, validated against a
/// schema, and executed against objects of our own. Everything a document may
/// hold but unions and directives other than `@include` and `@skip`.
namespace slipway::sandbox::graphql {

/// `Int`, `[Log!]!` and so on.
struct type_ref {
  std::string name; ///< Empty for a list.
  std::shared_ptr<const type_ref> item = nullptr;
  bool non_null = false;

  [[nodiscard]] bool is_list() const noexcept {
    return item != nullptr;
  }

  /// The name inside all lists.
  [[nodiscard]] const std::string& base() const noexcept {
    return item == nullptr ? name : item->base();
  }

  [[nodiscard]] std::string to_string() const;
};

/// An argument, or a field of an input object.
struct input_def {
  std::string name;
  type_ref type;
  bool has_default = false;
  boost::json::value fallback = nullptr;

  [[nodiscard]] bool required() const noexcept {
    return type.non_null && !has_default;
  }
};

struct field_def {
  std::string name;
  type_ref type;
  std::vector<input_def> arguments = {};
};

enum class type_kind : std::uint8_t {
  scalar,
  enumeration,
  input,
  object,
  interface,
};

struct type_def {
  type_kind kind = type_kind::scalar;
  std::string name;
  std::vector<std::string> interfaces = {};
  std::vector<field_def> fields = {};
  std::vector<input_def> inputs = {};
  std::vector<std::string> values = {};

  [[nodiscard]] const field_def* field(std::string_view name) const noexcept;

  [[nodiscard]] bool is_leaf() const noexcept {
    return kind == type_kind::scalar || kind == type_kind::enumeration;
  }
};

class schema {
public:
  /// Reads type definitions (SDL without descriptions, unions, extensions).
  /// `Query`, `Mutation` and `Subscription` are the roots.
  [[nodiscard]] static tl::expected<schema, std::string>
  parse(std::string_view text);

  [[nodiscard]] const type_def* find(std::string_view name) const noexcept;

private:
  std::map<std::string, type_def, std::less<>> types_;
};

class object;

using object_ptr = std::shared_ptr<const object>;

/// Why a field has no value.
struct field_error {
  std::string message;
  std::string code = "INTERNAL_SERVER_ERROR";
};

/// What a field is: a leaf (or list of leaves), an object (null when empty), a
/// list of objects, or an error.
using resolved = std::variant<boost::json::value, object_ptr,
                              std::vector<object_ptr>, field_error>;

/// Something with fields.
class object {
public:
  virtual ~object();

  /// The name of its type in the schema.
  [[nodiscard]] virtual std::string_view type() const = 0;

  /// A field that the schema knows, with arguments that fit.
  [[nodiscard]] virtual resolved
  get(std::string_view field, const boost::json::object& arguments) const = 0;
};

enum class operation_kind : std::uint8_t { query, mutation, subscription };

/// The fields of `Query`, `Mutation` and `Subscription`.
using root_resolver
  = std::function<resolved(bool is_mutation, std::string_view field,
                           const boost::json::object& arguments)>;

struct request {
  std::string_view query;
  /// Empty when the document has one operation only.
  std::string_view operation_name = {};
  boost::json::object variables = {};
};

struct result {
  /// 400 when the document or its variables are not valid, else 200.
  int status = 200;
  boost::json::object body;
  bool is_mutation = false;
};

struct limits {
  std::size_t document_bytes = 256 * 1024;
  std::size_t depth = 32;
  std::size_t fields = 50'000;
};

/// A field at the top of an operation.
struct root_field {
  std::string name;
  /// Filled in and checked. Without those that do not fit: such a field answers
  /// with an error when it is run.
  boost::json::object arguments;
};

/// One operation that has passed parsing and validation, to be run as often as
/// there is something to say.
class prepared {
public:
  [[nodiscard]] operation_kind kind() const noexcept;

  /// Those at the top, in their order; what `@skip` leaves out is not there.
  [[nodiscard]] const std::vector<root_field>& roots() const noexcept;

  /// @param trace_id Goes into the errors of fields.
  /// @returns `data`, and `errors` where there are some.
  [[nodiscard]] boost::json::object
  run(const root_resolver& root, std::string_view trace_id) const;

private:
  struct state;

  friend tl::expected<prepared, result>
  prepare(const schema& types, const request& asked, const limits& max);

  explicit prepared(std::shared_ptr<const state> from);

  std::shared_ptr<const state> state_;
};

/// Parses and validates one operation.
/// @param types Must outlive what is returned.
/// @returns the answer that says what is wrong otherwise.
[[nodiscard]] tl::expected<prepared, result>
prepare(const schema& types, const request& asked, const limits& max = {});

/// Parses, validates and runs one operation; subscriptions are refused.
/// @param trace_id Goes into the errors of fields.
[[nodiscard]] result
execute(const schema& types, const request& asked, const root_resolver& root,
        std::string_view trace_id, const limits& max = {});

} // namespace slipway::sandbox::graphql

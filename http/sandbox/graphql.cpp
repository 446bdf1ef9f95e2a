#include "http/sandbox/graphql.hpp"

#include "http/sandbox/graphql_document.hpp"

#include <algorithm>
#include <set>

namespace slipway::sandbox::graphql {

namespace json = boost::json;

// -- types --------------------------------------------------------------------

std::string type_ref::to_string() const {
  auto result = name;
  if (item != nullptr) {
    result += '[';
    result += item->to_string();
    result += ']';
  }
  if (non_null)
    result += '!';
  return result;
}

const field_def* type_def::field(std::string_view wanted) const noexcept {
  for (const auto& x : fields)
    if (x.name == wanted)
      return &x;
  return nullptr;
}

tl::expected<schema, std::string> schema::parse(std::string_view text) {
  auto types = parse_types(text);
  if (!types)
    return tl::unexpected{"line " + std::to_string(types.error().at.line) + ": "
                          + types.error().message};
  schema result;
  for (const auto* name : {"Int", "Float", "String", "Boolean", "ID"})
    result.types_[name] = {type_kind::scalar, name};
  for (auto& x : *types) {
    const auto name = x.name;
    if (!result.types_.emplace(name, std::move(x)).second)
      return tl::unexpected{"type " + name + " is defined twice"};
  }
  for (const auto& [name, type] : result.types_) {
    auto used = std::vector<std::string>{};
    for (const auto& field : type.fields) {
      used.push_back(field.type.base());
      for (const auto& each : field.arguments)
        used.push_back(each.type.base());
    }
    for (const auto& each : type.inputs)
      used.push_back(each.type.base());
    for (const auto& each : used)
      if (result.find(each) == nullptr)
        return tl::unexpected{"type " + name + " uses " + each
                              + ", which is not defined"};
  }
  return result;
}

const type_def* schema::find(std::string_view name) const noexcept {
  const auto i = types_.find(name);
  return i == types_.end() ? nullptr : &i->second;
}

object::~object() {
  // nop
}

namespace {

json::object error_json(const problem& x) {
  json::object at;
  at["line"] = x.at.line;
  at["column"] = x.at.column;
  json::object result;
  result["message"] = x.message;
  result["locations"] = json::array{std::move(at)};
  result["extensions"] = json::object{{"code", x.code}};
  return result;
}

result refused(const std::vector<problem>& why) {
  result all;
  all.status = 400;
  json::array errors;
  for (const auto& x : why)
    errors.push_back(error_json(x));
  all.body["errors"] = std::move(errors);
  return all;
}

// -- values -------------------------------------------------------------------

/// A JSON value as a value of a type. @returns what is wrong with it.
tl::expected<json::value, std::string>
coerce(const schema& types, const json::value& from, const type_ref& type) {
  if (from.is_null()) {
    if (type.non_null)
      return tl::unexpected{"Expected non-nullable type \"" + type.to_string()
                            + "\" not to be null."};
    return json::value(nullptr);
  }
  if (type.is_list()) {
    json::array items;
    if (const auto* list = from.if_array()) {
      for (const auto& x : *list) {
        auto item = coerce(types, x, *type.item);
        if (!item)
          return item;
        items.push_back(std::move(*item));
      }
    } else {
      auto item = coerce(types, from, *type.item);
      if (!item)
        return item;
      items.push_back(std::move(*item));
    }
    return json::value(std::move(items));
  }
  const auto* named = types.find(type.name);
  const auto wrong = [&] {
    return tl::unexpected{type.name + " cannot represent the value "
                          + json::serialize(from) + "."};
  };
  if (named == nullptr)
    return wrong();
  if (named->kind == type_kind::enumeration) {
    const auto* text = from.if_string();
    if (text == nullptr
        || std::find(named->values.begin(), named->values.end(),
                     std::string_view{text->data(), text->size()})
             == named->values.end())
      return wrong();
    return from;
  }
  if (named->kind == type_kind::scalar) {
    const auto& name = named->name;
    const auto whole = from.is_int64() || from.is_uint64();
    auto good = true;
    if (name == "Int")
      good = from.is_int64() && from.get_int64() >= INT32_MIN
             && from.get_int64() <= INT32_MAX;
    else if (name == "Float")
      good = from.is_number();
    else if (name == "Boolean")
      good = from.is_bool();
    else if (name == "ID")
      good = from.is_string() || whole;
    else if (name == "String" || name == "DateTime")
      good = from.is_string();
    if (!good)
      return wrong();
    return from;
  }
  const auto* members = from.if_object();
  if (members == nullptr)
    return wrong();
  json::object result;
  for (const auto& each : *members)
    if (std::none_of(named->inputs.begin(), named->inputs.end(),
                     [&](const input_def& x) {
                       return each.key() == std::string_view{x.name};
                     }))
      return tl::unexpected{"Field \"" + std::string{each.key()}
                            + "\" is not defined by type \"" + named->name
                            + "\"."};
  for (const auto& each : named->inputs) {
    const auto* given = members->if_contains(each.name);
    if (given == nullptr) {
      if (each.required())
        return tl::unexpected{"Field \"" + each.name + "\" of required type \""
                              + each.type.to_string() + "\" was not provided."};
      if (each.has_default)
        result[each.name] = each.fallback;
      continue;
    }
    auto value = coerce(types, *given, each.type);
    if (!value)
      return value;
    result[each.name] = std::move(*value);
  }
  return json::value(std::move(result));
}

tl::expected<json::object, problem>
coerce_variables(const schema& types, const operation& what,
                 const json::object& given) {
  json::object result;
  for (const auto& x : what.variables) {
    const auto* value = given.if_contains(x.name);
    if (value == nullptr) {
      if (x.fallback)
        result[x.name] = to_json(*x.fallback);
      else if (x.type.non_null)
        return tl::unexpected{
          problem{"Variable \"$" + x.name + "\" of required type \""
                    + x.type.to_string() + "\" was not provided.",
                  x.at, "BAD_USER_INPUT"}};
      continue;
    }
    auto coerced = coerce(types, *value, x.type);
    if (!coerced)
      return tl::unexpected{
        problem{"Variable \"$" + x.name + "\" got invalid value "
                  + json::serialize(*value) + "; " + coerced.error(),
                x.at, "BAD_USER_INPUT"}};
    result[x.name] = std::move(*coerced);
  }
  return result;
}

/// A literal with its variables put in; nothing for one that was not given.
std::optional<json::value>
fill(const literal& x, const json::object& variables) {
  if (x.kind == value_kind::variable) {
    const auto* value = variables.if_contains(x.text);
    if (value == nullptr)
      return std::nullopt;
    return *value;
  }
  if (x.kind == value_kind::list) {
    json::array items;
    for (const auto& item : x.items)
      items.push_back(fill(item, variables).value_or(nullptr));
    return json::value(std::move(items));
  }
  if (x.kind == value_kind::object) {
    json::object members;
    for (const auto& [key, member] : x.members)
      if (auto value = fill(member, variables))
        members[key] = std::move(*value);
    return json::value(std::move(members));
  }
  return to_json(x);
}

// -- execution ----------------------------------------------------------------

class executor {
public:
  executor(const schema& types, const document& doc,
           const json::object& variables, const limits& max)
    : types_{types}, doc_{doc}, variables_{variables}, max_{max} {
  }

  json::object run(const operation& what, const root_resolver& root,
                   std::string_view trace_id) {
    trace_id_ = trace_id;
    const auto is_mutation = what.kind == operation_kind::mutation;
    json::object result;
    auto data = select(*types_.find(root_type(what.kind)), {&what.selections},
                       [&](std::string_view field, const json::object& args) {
                         return root(is_mutation, field, args);
                       });
    result["data"] = data ? std::move(*data) : json::value(nullptr);
    if (!errors_.empty())
      result["errors"] = std::move(errors_);
    return result;
  }

  std::vector<root_field> roots(const operation& what) {
    const auto* type = types_.find(root_type(what.kind));
    std::vector<collected> all;
    std::set<std::string> visited;
    collect(*type, what.selections, all, visited);
    std::vector<root_field> result;
    for (const auto& x : all) {
      root_field made;
      made.name = x.first->name;
      if (const auto* field = type->field(made.name))
        static_cast<void>(fill_arguments(*field, *x.first, made.arguments));
      result.push_back(std::move(made));
    }
    return result;
  }

private:
  using selections = std::vector<const std::vector<selection>*>;

  using getter = std::function<resolved(std::string_view, const json::object&)>;

  /// One entry of the answer with everything that was asked under its name.
  struct collected {
    const selection* first = nullptr;
    selections children;
  };

  [[nodiscard]] bool is_wanted(const selection& x) const {
    for (const auto& each : x.directives) {
      const auto on = fill(each.arguments.front().value, variables_);
      const auto yes = on && on->is_bool() && on->get_bool();
      if (yes == (each.name == "skip"))
        return false;
    }
    return true;
  }

  [[nodiscard]] static bool
  applies(const type_def& on, const std::string& condition) {
    return condition.empty() || condition == on.name
           || std::find(on.interfaces.begin(), on.interfaces.end(), condition)
                != on.interfaces.end();
  }

  void collect(const type_def& on, const std::vector<selection>& all,
               std::vector<collected>& to, std::set<std::string>& visited) {
    for (const auto& x : all) {
      if (!is_wanted(x))
        continue;
      if (x.kind == selection_kind::inline_fragment) {
        if (applies(on, x.condition))
          collect(on, x.children, to, visited);
        continue;
      }
      if (x.kind == selection_kind::spread) {
        const auto* from = doc_.find(x.name);
        if (from != nullptr && visited.insert(x.name).second
            && applies(on, from->condition))
          collect(on, from->selections, to, visited);
        continue;
      }
      auto i = std::find_if(to.begin(), to.end(), [&](const collected& y) {
        return y.first->key() == x.key();
      });
      if (i == to.end()) {
        to.push_back({&x, {}});
        i = std::prev(to.end());
      }
      if (!x.children.empty())
        i->children.push_back(&x.children);
    }
  }

  std::optional<json::value>
  select(const type_def& on, const selections& what, const getter& get) {
    std::vector<collected> all;
    std::set<std::string> visited;
    for (const auto* x : what)
      collect(on, *x, all, visited);
    json::object result;
    for (const auto& x : all) {
      const auto& key = x.first->key();
      if (x.first->name == "__typename") {
        result[key] = on.name;
        continue;
      }
      const auto* field = on.field(x.first->name);
      path_.emplace_back(json::string{key});
      auto value = complete(field->type, ask(*field, *x.first, get), x.children,
                            on.name + "." + field->name, *x.first);
      path_.pop_back();
      if (!value)
        return std::nullopt;
      result[key] = std::move(*value);
    }
    return json::value(std::move(result));
  }

  resolved
  ask(const field_def& field, const selection& from, const getter& get) {
    if (++fields_ > max_.fields)
      return field_error{"The query is too complex.", "BAD_REQUEST"};
    json::object arguments;
    if (auto wrong = fill_arguments(field, from, arguments))
      return std::move(*wrong);
    return get(field.name, arguments);
  }

  /// @returns what is wrong with them.
  std::optional<field_error>
  fill_arguments(const field_def& field, const selection& from,
                 json::object& arguments) const {
    for (const auto& def : field.arguments) {
      const auto i = std::find_if(from.arguments.begin(), from.arguments.end(),
                                  [&](const argument& x) {
                                    return x.name == def.name;
                                  });
      auto given = i == from.arguments.end() ? std::optional<json::value>{}
                                             : fill(i->value, variables_);
      if (!given) {
        if (def.required())
          return field_error{"Argument \"" + def.name + "\" of required type \""
                               + def.type.to_string() + "\" was not provided.",
                             "BAD_USER_INPUT"};
        if (def.has_default)
          arguments[def.name] = def.fallback;
        continue;
      }
      auto fit = coerce(types_, *given, def.type);
      if (!fit)
        return field_error{"Argument \"" + def.name + "\" has invalid value; "
                             + fit.error(),
                           "BAD_USER_INPUT"};
      arguments[def.name] = std::move(*fit);
    }
    return std::nullopt;
  }

  void
  report(const std::string& message, const std::string& code, location at) {
    problem x;
    x.message = message;
    x.at = at;
    x.code = code;
    auto entry = error_json(x);
    entry["path"] = path_;
    entry["extensions"].get_object()["traceId"] = trace_id_;
    errors_.push_back(std::move(entry));
  }

  /// Nothing means: null, and the parent cannot bear it.
  std::optional<json::value> nothing(const type_ref& type) const {
    if (type.non_null)
      return std::nullopt;
    return json::value(nullptr);
  }

  std::optional<json::value>
  complete(const type_ref& type, resolved what, const selections& children,
           const std::string& where, const selection& from) {
    if (const auto* error = std::get_if<field_error>(&what)) {
      report(error->message, error->code, from.at);
      return nothing(type);
    }
    if (auto* leaf = std::get_if<json::value>(&what)) {
      if (leaf->is_null() && type.non_null) {
        report("Cannot return null for non-nullable field " + where + ".",
               "INTERNAL_SERVER_ERROR", from.at);
        return std::nullopt;
      }
      return std::move(*leaf);
    }
    if (const auto* one = std::get_if<object_ptr>(&what))
      return complete_object(type, *one, children, where, from);
    json::array items;
    auto n = std::size_t{0};
    for (const auto& each : std::get<std::vector<object_ptr>>(what)) {
      path_.emplace_back(n++);
      auto item = complete_object(*type.item, each, children, where, from);
      path_.pop_back();
      if (!item)
        return nothing(type);
      items.push_back(std::move(*item));
    }
    return json::value(std::move(items));
  }

  std::optional<json::value>
  complete_object(const type_ref& type, const object_ptr& what,
                  const selections& children, const std::string& where,
                  const selection& from) {
    if (what == nullptr) {
      if (type.non_null)
        report("Cannot return null for non-nullable field " + where + ".",
               "INTERNAL_SERVER_ERROR", from.at);
      return nothing(type);
    }
    auto result = select(*types_.find(what->type()), children,
                         [&](std::string_view field, const json::object& args) {
                           return what->get(field, args);
                         });
    return result ? std::move(result) : nothing(type);
  }

  const schema& types_;
  const document& doc_;
  const json::object& variables_;
  limits max_;
  std::string_view trace_id_ = {};
  json::array path_;
  json::array errors_;
  std::size_t fields_ = 0;
};

} // namespace

struct prepared::state {
  const schema& types;
  document doc;
  std::size_t chosen = 0;
  json::object variables;
  limits max;
  std::vector<root_field> roots = {};

  [[nodiscard]] const operation& what() const {
    return doc.operations[chosen];
  }
};

prepared::prepared(std::shared_ptr<const state> from)
  : state_{std::move(from)} {
}

operation_kind prepared::kind() const noexcept {
  return state_->what().kind;
}

const std::vector<root_field>& prepared::roots() const noexcept {
  return state_->roots;
}

json::object
prepared::run(const root_resolver& root, std::string_view trace_id) const {
  const auto& x = *state_;
  return executor{x.types, x.doc, x.variables, x.max}.run(x.what(), root,
                                                          trace_id);
}

tl::expected<prepared, result>
prepare(const schema& types, const request& asked, const limits& max) {
  const auto refuse = [](const std::vector<problem>& why) {
    return tl::unexpected{refused(why)};
  };
  if (asked.query.size() > max.document_bytes)
    return refuse({{"The document is too large.", {}, "BAD_REQUEST"}});
  auto doc = parse_document(asked.query, max.depth);
  if (!doc)
    return refuse({doc.error()});
  const auto problems = validate(types, *doc);
  if (!problems.empty())
    return refuse(problems);
  auto chosen = doc->operations.size();
  for (auto i = std::size_t{0}; i < doc->operations.size(); ++i)
    if (asked.operation_name.empty()
          ? doc->operations.size() == 1
          : doc->operations[i].name == asked.operation_name)
      chosen = i;
  if (chosen == doc->operations.size())
    return refuse(
      {{asked.operation_name.empty()
          ? std::
            string{"Must provide operation name if query contains multiple "
                   "operations."}
          : "Unknown operation named \"" + std::string{asked.operation_name}
              + "\".",
        {},
        "BAD_REQUEST"}});
  auto variables
    = coerce_variables(types, doc->operations[chosen], asked.variables);
  if (!variables)
    return refuse({variables.error()});
  auto made = std::make_shared<prepared::state>(prepared::state{
    types, std::move(*doc), chosen, std::move(*variables), max, {}});
  made->roots
    = executor{types, made->doc, made->variables, max}.roots(made->what());
  return prepared{std::move(made)};
}

result
execute(const schema& types, const request& asked, const root_resolver& root,
        std::string_view trace_id, const limits& max) {
  const auto ready = prepare(types, asked, max);
  if (!ready)
    return ready.error();
  if (ready->kind() == operation_kind::subscription)
    return refused(
      {{"Subscriptions are served over WebSocket only.", {}, "BAD_REQUEST"}});
  result all;
  all.is_mutation = ready->kind() == operation_kind::mutation;
  all.body = ready->run(root, trace_id);
  return all;
}

} // namespace slipway::sandbox::graphql

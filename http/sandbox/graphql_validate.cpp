#include "http/sandbox/graphql_document.hpp"

#include <algorithm>
#include <charconv>
#include <set>

namespace slipway::sandbox::graphql {

namespace {

std::string in_quotes(std::string_view text) {
  return '"' + std::string{text} + '"';
}

bool same_arguments(const selection& a, const selection& b) {
  return a.arguments.size() == b.arguments.size()
         && std::all_of(
           a.arguments.begin(), a.arguments.end(), [&](const argument& x) {
             return std::any_of(b.arguments.begin(), b.arguments.end(),
                                [&](const argument& y) {
                                  return x.name == y.name && x.value == y.value;
                                });
           });
}

/// A variable at a place that wants a type.
struct use {
  std::string name;
  type_ref wanted;
  bool has_default = false;
  location at;
};

/// What a selection set draws in.
struct draws {
  std::vector<use> uses;
  std::set<std::string> spreads;
};

class validator {
public:
  validator(const schema& types, const document& doc)
    : types_{types}, doc_{doc} {
  }

  std::vector<problem> run() {
    check_names();
    for (const auto& x : doc_.fragments)
      check_fragment(x);
    check_cycles();
    std::set<std::string> used;
    for (const auto& x : doc_.operations)
      check_operation(x, used);
    for (const auto& x : doc_.fragments)
      if (used.count(x.name) == 0)
        say("Fragment " + in_quotes(x.name) + " is never used.", x.at);
    return std::move(problems_);
  }

private:
  void say(std::string message, location at) {
    if (problems_.size() < 20)
      problems_.push_back({std::move(message), at});
  }

  void check_names() {
    std::set<std::string> seen;
    for (const auto& x : doc_.operations) {
      if (x.name.empty() && doc_.operations.size() > 1)
        say("This anonymous operation must be the only defined operation.",
            x.at);
      if (!x.name.empty() && !seen.insert(x.name).second)
        say("There can be only one operation named " + in_quotes(x.name) + ".",
            x.at);
    }
    if (doc_.operations.empty())
      say("The document holds no operation.", {});
    seen.clear();
    for (const auto& x : doc_.fragments)
      if (!seen.insert(x.name).second)
        say("There can be only one fragment named " + in_quotes(x.name) + ".",
            x.at);
  }

  void check_fragment(const fragment& x) {
    auto& drawn = fragments_[x.name];
    if (const auto* on = composite(x.condition, x.at))
      check_selections(*on, x.selections, drawn);
  }

  const type_def* composite(const std::string& name, location at) {
    const auto* type = types_.find(name);
    if (type == nullptr) {
      say("Unknown type " + in_quotes(name) + ".", at);
      return nullptr;
    }
    if (type->kind != type_kind::object && type->kind != type_kind::interface) {
      say("Fragment cannot condition on non composite type " + in_quotes(name)
            + ".",
          at);
      return nullptr;
    }
    return type;
  }

  void check_cycles() {
    for (const auto& x : doc_.fragments) {
      std::set<std::string> reached;
      reach(x.name, reached);
      if (reached.count(x.name) != 0)
        say("Cannot spread fragment " + in_quotes(x.name) + " within itself.",
            x.at);
    }
  }

  /// Everything that is spread from within this fragment, at any depth.
  void reach(const std::string& from, std::set<std::string>& to) {
    const auto i = fragments_.find(from);
    if (i == fragments_.end())
      return;
    for (const auto& next : i->second.spreads)
      if (to.insert(next).second)
        reach(next, to);
  }

  void check_operation(const operation& x, std::set<std::string>& used) {
    const auto* root = types_.find(root_type(x.kind));
    if (root == nullptr) {
      say("The schema has no such operations.", x.at);
      return;
    }
    if (x.kind == operation_kind::subscription
        && (x.selections.size() != 1
            || x.selections.front().kind != selection_kind::field))
      say("Subscription " + in_quotes(x.name)
            + " must select only one top level field.",
          x.at);
    draws drawn;
    check_directives(x.directives, drawn);
    check_selections(*root, x.selections, drawn);
    auto all = drawn.spreads;
    for (const auto& each : drawn.spreads)
      reach(each, all);
    auto uses = drawn.uses;
    for (const auto& each : all) {
      used.insert(each);
      const auto i = fragments_.find(each);
      if (i != fragments_.end())
        uses.insert(uses.end(), i->second.uses.begin(), i->second.uses.end());
    }
    check_variables(x, uses);
  }

  void check_variables(const operation& x, const std::vector<use>& uses) {
    std::set<std::string> seen;
    for (const auto& each : x.variables) {
      const auto name = "$" + each.name;
      if (!seen.insert(each.name).second)
        say("There can be only one variable named " + in_quotes(name) + ".",
            each.at);
      const auto* type = types_.find(each.type.base());
      if (type == nullptr)
        say("Unknown type " + in_quotes(each.type.base()) + ".", each.at);
      else if (!type->is_leaf() && type->kind != type_kind::input)
        say("Variable " + in_quotes(name) + " cannot be non-input type "
              + in_quotes(each.type.to_string()) + ".",
            each.at);
      else if (each.fallback) {
        draws none;
        check_value(*each.fallback, each.type, false, none);
      }
      if (std::none_of(uses.begin(), uses.end(), [&](const use& y) {
            return y.name == each.name;
          }))
        say("Variable " + in_quotes(name) + " is never used.", each.at);
    }
    for (const auto& each : uses) {
      const auto i = std::find_if(x.variables.begin(), x.variables.end(),
                                  [&](const variable_def& y) {
                                    return y.name == each.name;
                                  });
      if (i == x.variables.end()) {
        say("Variable " + in_quotes("$" + each.name) + " is not defined.",
            each.at);
        continue;
      }
      auto given = i->type;
      // A default makes up for a null that cannot happen then.
      if (i->fallback && i->fallback->kind != value_kind::null)
        given.non_null = true;
      auto wanted = each.wanted;
      if (each.has_default)
        wanted.non_null = false;
      if (!fits(given, wanted))
        say("Variable " + in_quotes("$" + each.name) + " of type "
              + in_quotes(i->type.to_string())
              + " used in position expecting type "
              + in_quotes(each.wanted.to_string()) + ".",
            each.at);
    }
  }

  static bool fits(const type_ref& given, const type_ref& wanted) {
    if (wanted.non_null && !given.non_null)
      return false;
    if (wanted.is_list() != given.is_list())
      return false;
    return wanted.is_list() ? fits(*given.item, *wanted.item)
                            : given.name == wanted.name;
  }

  // -- selections -------------------------------------------------------------

  void check_selections(const type_def& on, const std::vector<selection>& all,
                        draws& drawn) {
    for (const auto& x : all) {
      check_directives(x.directives, drawn);
      switch (x.kind) {
        case selection_kind::field:
          check_field(on, x, drawn);
          break;
        case selection_kind::inline_fragment:
          if (x.condition.empty())
            check_selections(on, x.children, drawn);
          else if (const auto* type = composite(x.condition, x.at))
            if (overlap(on, *type, x.at))
              check_selections(*type, x.children, drawn);
          break;
        case selection_kind::spread:
          drawn.spreads.insert(x.name);
          if (const auto* to = doc_.find(x.name); to == nullptr)
            say("Unknown fragment " + in_quotes(x.name) + ".", x.at);
          else if (const auto* type = types_.find(to->condition))
            overlap(on, *type, x.at);
          break;
      }
    }
    std::map<std::string, const selection*> keys;
    std::set<std::string> visited;
    check_merge(all, keys, visited);
  }

  bool overlap(const type_def& on, const type_def& condition, location at) {
    const auto has = [](const type_def& x, const std::string& name) {
      return std::find(x.interfaces.begin(), x.interfaces.end(), name)
             != x.interfaces.end();
    };
    if (on.name == condition.name || has(on, condition.name)
        || has(condition, on.name))
      return true;
    say("Fragment cannot be spread here as objects of type "
          + in_quotes(on.name) + " can never be of type "
          + in_quotes(condition.name) + ".",
        at);
    return false;
  }

  /// One name in the answer can only stand for one thing.
  void check_merge(const std::vector<selection>& all,
                   std::map<std::string, const selection*>& keys,
                   std::set<std::string>& visited) {
    for (const auto& x : all) {
      if (x.kind == selection_kind::inline_fragment) {
        check_merge(x.children, keys, visited);
      } else if (x.kind == selection_kind::spread) {
        const auto* to = doc_.find(x.name);
        if (to != nullptr && visited.insert(x.name).second)
          check_merge(to->selections, keys, visited);
      } else {
        const auto [i, fresh] = keys.emplace(x.key(), &x);
        if (!fresh
            && (i->second->name != x.name || !same_arguments(*i->second, x)))
          say("Fields " + in_quotes(x.key())
                + " conflict because they differ in field or arguments. Use "
                  "different aliases on the fields to fetch both.",
              x.at);
      }
    }
  }

  void check_field(const type_def& on, const selection& x, draws& drawn) {
    if (x.name == "__typename") {
      if (!x.arguments.empty() || !x.children.empty())
        say("Field \"__typename\" takes no arguments and no selection.", x.at);
      return;
    }
    const auto* field = on.field(x.name);
    if (field == nullptr) {
      say("Cannot query field " + in_quotes(x.name) + " on type "
            + in_quotes(on.name) + ".",
          x.at);
      return;
    }
    check_arguments(x, on.name + "." + x.name, field->arguments, x.arguments,
                    drawn);
    const auto* type = types_.find(field->type.base());
    if (type == nullptr)
      return;
    if (type->is_leaf()) {
      if (!x.children.empty())
        say("Field " + in_quotes(x.name)
              + " must not have a selection since type "
              + in_quotes(field->type.to_string()) + " has no subfields.",
            x.at);
    } else if (x.children.empty()) {
      say("Field " + in_quotes(x.name) + " of type "
            + in_quotes(field->type.to_string())
            + " must have a selection of subfields. Did you mean "
            + in_quotes(x.name + " { ... }") + "?",
          x.at);
    } else {
      check_selections(*type, x.children, drawn);
    }
  }

  void check_arguments(const selection& x, const std::string& where,
                       const std::vector<input_def>& known,
                       const std::vector<argument>& given, draws& drawn) {
    std::set<std::string> seen;
    for (const auto& each : given) {
      if (!seen.insert(each.name).second)
        say("There can be only one argument named " + in_quotes(each.name)
              + ".",
            each.at);
      const auto i
        = std::find_if(known.begin(), known.end(), [&](const input_def& y) {
            return y.name == each.name;
          });
      if (i == known.end())
        say("Unknown argument " + in_quotes(each.name) + " on field "
              + in_quotes(where) + ".",
            each.at);
      else
        check_value(each.value, i->type, i->has_default, drawn);
    }
    for (const auto& each : known)
      if (each.required() && seen.count(each.name) == 0)
        say("Field " + in_quotes(x.name) + " argument " + in_quotes(each.name)
              + " of type " + in_quotes(each.type.to_string())
              + " is required, but it was not provided.",
            x.at);
  }

  void check_directives(const std::vector<directive>& all, draws& drawn) {
    for (const auto& x : all) {
      if (x.name != "include" && x.name != "skip") {
        say("Unknown directive " + in_quotes("@" + x.name) + ".", x.at);
        continue;
      }
      if (x.arguments.size() != 1 || x.arguments.front().name != "if")
        say("Directive " + in_quotes("@" + x.name)
              + " argument \"if\" of type \"Boolean!\" is required.",
            x.at);
      else
        check_value(x.arguments.front().value, {"Boolean", nullptr, true},
                    false, drawn);
    }
  }

  // -- values -----------------------------------------------------------------

  void check_value(const literal& x, const type_ref& type, bool has_default,
                   draws& drawn) {
    if (x.kind == value_kind::variable) {
      drawn.uses.push_back({x.text, type, has_default, x.at});
      return;
    }
    if (x.kind == value_kind::null) {
      if (type.non_null)
        say("Expected value of type " + in_quotes(type.to_string())
              + ", found null.",
            x.at);
      return;
    }
    if (type.is_list()) {
      // A single value stands for a list of one.
      if (x.kind != value_kind::list)
        check_value(x, *type.item, false, drawn);
      for (const auto& item : x.items)
        if (x.kind == value_kind::list)
          check_value(item, *type.item, false, drawn);
      return;
    }
    const auto* named = types_.find(type.name);
    if (named == nullptr)
      return;
    switch (named->kind) {
      case type_kind::scalar:
        check_scalar(x, type, drawn);
        break;
      case type_kind::enumeration:
        if (x.kind != value_kind::enumerator
            || std::find(named->values.begin(), named->values.end(), x.text)
                 == named->values.end())
          say("Value " + in_quotes(x.text) + " does not exist in "
                + in_quotes(type.name) + " enum.",
              x.at);
        break;
      case type_kind::input:
        check_input(x, *named, drawn);
        break;
      case type_kind::object:
      case type_kind::interface:
        break;
    }
  }

  void check_scalar(const literal& x, const type_ref& type, draws& drawn) {
    const auto is = [&](std::initializer_list<value_kind> kinds) {
      return std::find(kinds.begin(), kinds.end(), x.kind) != kinds.end();
    };
    auto good = true;
    if (type.name == "Int") {
      auto n = std::int32_t{0};
      const auto* end = x.text.data() + x.text.size();
      const auto read = std::from_chars(x.text.data(), end, n);
      good = is({value_kind::integer}) && read.ec == std::errc{};
    } else if (type.name == "Float") {
      good = is({value_kind::integer, value_kind::real});
    } else if (type.name == "Boolean") {
      good = is({value_kind::boolean});
    } else if (type.name == "ID") {
      good = is({value_kind::text, value_kind::integer});
    } else if (type.name == "String" || type.name == "DateTime") {
      good = is({value_kind::text});
    } else {
      draw(x, drawn);
    }
    if (!good)
      say(type.name + " cannot represent this value: " + in_quotes(x.text)
            + ".",
          x.at);
  }

  /// Variables within a value of a type of its own (JSON) fit anything.
  void draw(const literal& x, draws& drawn) {
    const auto inner = [&](const literal& y) {
      if (y.kind == value_kind::variable)
        free_uses(y, drawn);
      else
        draw(y, drawn);
    };
    for (const auto& item : x.items)
      inner(item);
    for (const auto& [key, member] : x.members)
      inner(member);
  }

  void free_uses(const literal& y, draws& drawn) {
    for (const auto& op : doc_.operations)
      for (const auto& def : op.variables)
        if (def.name == y.text) {
          drawn.uses.push_back({y.text, def.type, false, y.at});
          return;
        }
    drawn.uses.push_back({y.text, {"JSON", nullptr, false}, false, y.at});
  }

  void check_input(const literal& x, const type_def& type, draws& drawn) {
    if (x.kind != value_kind::object) {
      say("Expected value of type " + in_quotes(type.name) + ", found "
            + in_quotes(x.text) + ".",
          x.at);
      return;
    }
    std::set<std::string> seen;
    for (const auto& each : x.members) {
      const auto& key = each.first;
      if (!seen.insert(key).second)
        say("There can be only one input field named " + in_quotes(key) + ".",
            x.at);
      const auto i = std::find_if(type.inputs.begin(), type.inputs.end(),
                                  [&](const input_def& y) {
                                    return y.name == key;
                                  });
      if (i == type.inputs.end())
        say("Field " + in_quotes(key) + " is not defined by type "
              + in_quotes(type.name) + ".",
            x.at);
      else
        check_value(each.second, i->type, i->has_default, drawn);
    }
    for (const auto& each : type.inputs)
      if (each.required() && seen.count(each.name) == 0)
        say("Field " + in_quotes(type.name + "." + each.name)
              + " of required type " + in_quotes(each.type.to_string())
              + " was not provided.",
            x.at);
  }

  const schema& types_;
  const document& doc_;
  std::map<std::string, draws> fragments_;
  std::vector<problem> problems_;
};

} // namespace

std::vector<problem> validate(const schema& types, const document& doc) {
  return validator{types, doc}.run();
}

} // namespace slipway::sandbox::graphql

#include "http/cli/grammar.hpp"

#include <CLI/CLI.hpp>

#include <utility>

namespace slipway::cli {

namespace {

/// CLI11 writes `NAME:WHAT IS CHECKED`, either of which may be missing.
std::pair<std::string, std::string> type_of(const CLI::Option& option) {
  const auto all = option.get_type_name();
  const auto colon = all.find(':');
  if (colon == std::string::npos)
    return {all, {}};
  return {all.substr(0, colon), all.substr(colon + 1)};
}

void walk(const CLI::App& at, const std::string& path,
          std::vector<command_node>& out) {
  auto node = command_node{path, &at, {}, {}, {}};
  for (const auto* option : at.get_options()) {
    if (option->get_group().empty())
      continue;
    if (names_of(*option).empty())
      node.positionals.push_back(option);
    else
      node.options.push_back(option);
  }
  for (const auto* sub : at.get_subcommands([](const CLI::App* x) {
         return !x->get_name().empty() && !x->get_group().empty();
       }))
    node.below.push_back(sub);
  const auto below = node.below;
  out.push_back(std::move(node));
  for (const auto* sub : below)
    walk(*sub, path.empty() ? sub->get_name() : path + ' ' + sub->get_name(),
         out);
}

} // namespace

std::string value_words(const CLI::Option& option) {
  if (!takes_value(option))
    return {};
  const auto [name, check] = type_of(option);
  return name.empty() ? check : name;
}

std::vector<std::string> choices_of(const CLI::Option& option) {
  const auto check = type_of(option).second;
  auto out = std::vector<std::string>{};
  if (!check.starts_with('{') || !check.ends_with('}'))
    return out;
  auto rest = check.substr(1, check.size() - 2);
  while (!rest.empty()) {
    const auto comma = rest.find(',');
    out.push_back(rest.substr(0, comma));
    rest = comma == std::string::npos ? std::string{} : rest.substr(comma + 1);
  }
  return out;
}

std::vector<std::string> names_of(const CLI::Option& option) {
  auto out = std::vector<std::string>{};
  for (const auto& name : option.get_snames())
    out.push_back('-' + name);
  for (const auto& name : option.get_lnames())
    out.push_back("--" + name);
  return out;
}

bool takes_value(const CLI::Option& option) {
  return option.get_items_expected_max() > 0;
}

bool takes_path(const CLI::Option& option) {
  const auto words = value_words(option);
  return words == "FILE" || words == "DIR";
}

bool takes_directory(const CLI::Option& option) {
  return value_words(option) == "DIR";
}

std::vector<command_node> commands_of(const CLI::App& root) {
  auto out = std::vector<command_node>{};
  walk(root, {}, out);
  return out;
}

std::string help_format::make_option_opts(const CLI::Option* option) const {
  auto out = std::string{};
  if (const auto words = value_words(*option);
      !words.empty() && words != option->get_name(true))
    out += ' ' + words;
  if (const auto text = option->get_default_str();
      takes_value(*option) && !text.empty())
    out += " (" + text + ')';
  if (option->get_required())
    out += " REQUIRED";
  return out;
}

std::string help_format::make_description(const CLI::App* app) const {
  return app->get_description().empty() ? std::string{}
                                        : app->get_description() + "\n";
}

} // namespace slipway::cli

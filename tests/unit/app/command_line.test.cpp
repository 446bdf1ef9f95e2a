#define CAF_SUITE app.command_line

#include "http/app/command_line.hpp"

#include "http/cli/completion.hpp"
#include "http/cli/grammar.hpp"

#include <CLI/CLI.hpp>
#include <caf/test/unit_test.hpp>

#include <fstream>
#include <set>
#include <sstream>
#include <string>

using namespace slipway;

// Goal: help, manual and completion know every command and every option, since
// all of them come from the tree that parses.

namespace {

std::string content_of(const std::string& path) {
  auto in = std::ifstream{path, std::ios::binary};
  auto out = std::ostringstream{};
  out << in.rdbuf();
  return out.str();
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

} // namespace

CAF_TEST(the manual page in packaging is the one that is printed) {
  const auto line = app::command_line{"0"};
  // When it is not: `slipway manual > packaging/slipway.1`.
  CAF_CHECK_EQUAL(content_of(SLIPWAY_SOURCE_DIR "/packaging/slipway.1"),
                  cli::manual_page(line.root()));
}

CAF_TEST(every command tells what it is for and how it is used) {
  const auto line = app::command_line{"0"};
  const auto all = cli::commands_of(line.root());
  CAF_CHECK(all.size() > 25);
  for (const auto& at : all) {
    CAF_MESSAGE(at.path);
    CAF_CHECK(!at.app->get_description().empty());
    if (!at.path.empty())
      CAF_CHECK(has(at.app->get_footer(), "Examples:\n"));
    for (const auto* option : at.options)
      CAF_CHECK(!option->get_description().empty());
    for (const auto* argument : at.positionals)
      CAF_CHECK(!argument->get_description().empty());
  }
}

CAF_TEST(every operators command takes what reaches a server) {
  const auto line = app::command_line{"0"};
  for (const auto& at : cli::commands_of(line.root())) {
    if (!at.path.starts_with("ops ") || at.path == "ops token")
      continue;
    CAF_MESSAGE(at.path);
    auto names = std::set<std::string>{};
    for (const auto* option : at.options)
      for (const auto& name : cli::names_of(*option))
        names.insert(name);
    for (const auto* name :
         {"--config", "--url", "--ca", "--token-file", "--as", "--role",
          "--timeout", "--json", "--jsonl", "--utc", "--help"})
      CAF_CHECK(names.count(name) == 1);
  }
}

CAF_TEST(the scripts of all shells know every command and every option) {
  const auto line = app::command_line{"0"};
  for (const auto* shell : {"bash", "zsh", "fish"}) {
    const auto script = cli::completion_script(line.root(), shell);
    CAF_MESSAGE(shell);
    for (const auto& at : cli::commands_of(line.root())) {
      if (!at.path.empty())
        CAF_CHECK(has(script, "'" + at.path + "'"));
      for (const auto* option : at.options)
        for (const auto& name : option->get_lnames())
          CAF_CHECK(has(script, std::string{shell} == "fish" ? " -l " + name
                                                             : "--" + name));
    }
  }
}

CAF_TEST(what the parser checks is what is offered) {
  const auto line = app::command_line{"0"};
  for (const auto& at : cli::commands_of(line.root()))
    if (at.path == "ops token")
      for (const auto* option : at.options)
        if (option->check_lname("role"))
          CAF_CHECK_EQUAL(
            cli::choices_of(*option),
            (std::vector<std::string>{"viewer", "operator", "admin"}));
}

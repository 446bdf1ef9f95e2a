#include "http/app/command_line.hpp"

#include "actors/lifecycle/time.hpp"
#include "config/load_settings.hpp"
#include "config/text.hpp"
#include "http/cli/commands.hpp"
#include "http/cli/completion.hpp"
#include "http/cli/grammar.hpp"
#include "http/cli/ops.hpp"

#include <CLI/CLI.hpp>

#include <cstdio>
#include <functional>
#include <memory>
#include <utility>

namespace slipway::app {

namespace {

int print(const std::string& text) {
  return std::fputs(text.c_str(), stdout) >= 0 && std::fflush(stdout) == 0
           ? exit_ok
           : exit_failure;
}

} // namespace

command_line::command_line(std::string version)
  : root_{"Takes a subscription from payment to a running instance",
          "slipway"} {
  auto format = std::make_shared<cli::help_format>();
  format->column_width(34);
  // Those that are added inherit it.
  root_.formatter(std::move(format));
  root_.set_version_flag("--version", std::move(version),
                         "Print the version and exit");
  root_.require_subcommand(1);
  root_.footer("`slipway COMMAND --help` tells more about each.");

  const auto with_config = [this](CLI::App* command, bool required) {
    auto* option
      = command
          ->add_option("--config", config_, "The configuration file (TOML)")
          ->type_name("FILE");
    if (required)
      option->required();
    return option;
  };

  serve_ = root_.add_subcommand("serve", "Runs the server");
  serve_->footer("Examples:\n"
                 "  slipway serve --config slipway.toml\n"
                 "  slipway serve --sandbox --port 8080");
  auto* serve_config = with_config(serve_, false);
  auto* sandbox_flag
    = serve_->add_flag("--sandbox", sandboxed_,
                       "Everything embedded: a private PostgreSQL, simulated "
                       "Alipay, WeChat Pay, Railway and mailbox on loopback");
  sandbox_flag->excludes(serve_config);
  serve_
    ->add_option("--data-dir", sandbox_.data_dir,
                 "Where the sandbox keeps its data (a temporary directory "
                 "otherwise)")
    ->type_name("DIR")
    ->needs(sandbox_flag);
  serve_
    ->add_option("--port", sandbox_.port,
                 "Port of the sandbox's API, 0 for any free one")
    ->type_name("PORT")
    ->needs(sandbox_flag)
    ->check(CLI::Range(0, 65535))
    ->capture_default_str();

  migrate_
    = root_.add_subcommand("migrate", "Brings the database schema up to date");
  migrate_->footer("Examples:\n  slipway migrate --config slipway.toml");
  with_config(migrate_, true);

  check_ = root_.add_subcommand(
    "check", "Checks the configuration and what it connects to");
  check_->footer("Examples:\n  slipway check --config slipway.toml");
  with_config(check_, true);

  verify_ = root_.add_subcommand(
    "verify", "Checks recorded messages of the payment gateways offline, the "
              "way the server does");
  verify_->footer(
    "Each FILE is one message in JSON with its own clock, keys and order;\n"
    "prints one line of JSON each. A file that cannot be read or is of "
    "another\n"
    "form gets a line that says so. Exits with 0 whatever the verdicts.\n"
    "\n"
    "Examples:\n"
    "  slipway verify message.json");
  verify_->add_option("FILE", messages_, "Recorded messages")->type_name("");

  ops_ = cli::add_ops(root_, calls_);

  completion_ = root_.add_subcommand(
    "completion", "Prints a script that completes commands in a shell");
  completion_->footer(
    "Examples:\n"
    "  source <(slipway completion bash)\n"
    "  slipway completion zsh > \"${fpath[1]}/_slipway\"\n"
    "  slipway completion fish > ~/.config/fish/completions/slipway.fish");
  completion_->add_option("SHELL", shell_, "Which shell")
    ->required()
    ->check(CLI::IsMember(std::vector<std::string>{"bash", "zsh", "fish"}))
    ->type_name("");

  manual_ = root_.add_subcommand("manual", "Prints the manual page");
  manual_->footer("Examples:\n  slipway manual | man -l -");
}

int command_line::run(int argc, const char* const* argv, bool faults) {
  try {
    root_.parse(argc, argv);
  } catch (const CLI::RequiredError& e) {
    const auto& at = *ops_ ? *ops_ : root_;
    const auto extra = at.remaining();
    if (extra.empty() || !at.get_subcommands().empty()) {
      root_.exit(e);
      return exit_usage;
    }
    auto known = std::vector<std::string>{};
    for (const auto* sub :
         at.get_subcommands(std::function<bool(const CLI::App*)>{}))
      known.push_back(sub->get_name());
    std::fprintf(stderr,
                 "expected a command, found %s; the nearest one is %s\n"
                 "Run with --help for more information.\n",
                 config::one_line(extra.front()).c_str(),
                 config::nearest(extra.front(), known).c_str());
    return exit_usage;
  } catch (const CLI::ParseError& e) {
    // Help and version are no mistakes; all others end the same way.
    return root_.exit(e) == 0 ? exit_ok : exit_usage;
  }
  return do_it(faults);
}

int command_line::do_it(bool faults) {
  if (*migrate_)
    return run_migrate(config_);
  if (*check_)
    return run_check(config_);
  if (*verify_) {
    if (!messages_.empty())
      return run_verify(messages_);
    std::fputs("slipway verify: expected at least one FILE\n", stderr);
    return exit_usage;
  }
  if (*ops_)
    return cli::run_ops(calls_, config::process_environment(), system_clock{});
  if (*completion_)
    return print(cli::completion_script(root_, shell_));
  if (*manual_)
    return print(cli::manual_page(root_));
  if (sandboxed_)
    return run_sandbox(sandbox_);
  if (config_.empty()) {
    std::fputs("slipway serve: expected --config FILE or --sandbox\n", stderr);
    return exit_usage;
  }
  return run_server(config_, faults);
}

} // namespace slipway::app

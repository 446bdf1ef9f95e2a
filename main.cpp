// The command line: what to do, and the exit code that tells how it went.

#include "http/app/commands.hpp"

#include <CLI/CLI.hpp>

#include <string>
#include <vector>

int main(int argc, char** argv) {
  using namespace slipway::app;
  auto cli = CLI::App{"Takes a subscription from payment to a running instance",
                      "slipway"};
  cli.set_version_flag("--version", std::string{SLIPWAY_VERSION});
  cli.require_subcommand(1);

  auto config = std::string{};
  const auto with_config = [&](CLI::App* command, bool required) {
    auto* option = command->add_option("--config", config,
                                       "The configuration file (TOML)");
    if (required)
      option->required();
    return option;
  };

  auto* serve = cli.add_subcommand("serve", "Runs the server");
  auto sandboxed = false;
  auto sandbox = sandbox_arguments{};
  auto* serve_config = with_config(serve, false);
  auto* sandbox_flag
    = serve->add_flag("--sandbox", sandboxed,
                      "Everything embedded: a private PostgreSQL, simulated "
                      "Alipay, WeChat Pay, Railway and mailbox on "
                      "loopback");
  sandbox_flag->excludes(serve_config);
  serve
    ->add_option("--data-dir", sandbox.data_dir,
                 "Where the sandbox keeps its data (a temporary directory "
                 "otherwise)")
    ->needs(sandbox_flag);
  serve
    ->add_option("--port", sandbox.port,
                 "Port of the sandbox's API, 0 for any free one")
    ->needs(sandbox_flag)
    ->check(CLI::Range(0, 65535))
    ->capture_default_str();

  auto* migrate
    = cli.add_subcommand("migrate", "Brings the database schema up to date");
  with_config(migrate, true);

  auto* check = cli.add_subcommand(
    "check", "Checks the configuration and what it connects to");
  with_config(check, true);

  auto* verify = cli.add_subcommand(
    "verify",
    "Checks recorded messages of the payment gateways offline, the way the "
    "server does. Each FILE is one message in JSON with its own clock, keys "
    "and order; prints one line of JSON each. A file that cannot be read or is "
    "of another form gets a line that says so. Exits with 0 whatever the "
    "verdicts");
  auto messages = std::vector<std::string>{};
  verify->add_option("FILE", messages, "Recorded messages");

  CLI11_PARSE(cli, argc, argv);

  if (*migrate)
    return run_migrate(config);
  if (*check)
    return run_check(config);
  if (*verify) {
    if (!messages.empty())
      return run_verify(messages);
    std::fputs("slipway verify: expected at least one FILE\n", stderr);
    return exit_usage;
  }
  if (sandboxed)
    return run_sandbox(sandbox);
  if (config.empty()) {
    std::fputs("slipway serve: expected --config FILE or --sandbox\n", stderr);
    return exit_usage;
  }
#ifdef SLIPWAY_FAULTS
  return run_server(config, true);
#else
  return run_server(config);
#endif
}

#include "http/cli/commands.hpp"

#include "config/text.hpp"

#include <CLI/CLI.hpp>

#include <string>
#include <vector>

namespace slipway::cli {

namespace {

using namespace std::chrono_literals;

const auto subscription_statuses = std::vector<std::string>{
  "PENDING",  "ACTIVE",  "EXPIRED",  "SUSPENDED",   "CANCELLED",
  "REFUNDED", "pending", "creating", "configuring", "deploying",
  "running",  "failed",  "stopped"};

const auto roles = std::vector<std::string>{"viewer", "operator", "admin"};

/// A length of time between two bounds, written the way the configuration does.
CLI::Option* add_duration(CLI::App* to, const std::string& name, millis& field,
                          millis low, millis high, const std::string& words) {
  return to
    ->add_option_function<std::string>(
      name,
      [&field, name, low, high](const std::string& text) {
        const auto read = config::parse_duration(text);
        if (!read || *read < low || *read > high)
          throw CLI::ValidationError{
            name, "expected a duration from " + config::format_duration(low)
                    + " to " + config::format_duration(high) + ", such as "
                    + config::format_duration(field) + ", found "
                    + config::one_line(text)};
        field = *read;
      },
      words)
    ->type_name("DURATION")
    ->default_str(config::format_duration(field));
}

/// What every call takes, on `ops` itself and behind each of its commands.
void add_common(CLI::App* to, ops_arguments& all) {
  auto& at = all.connection;
  to->add_option("--config", at.config,
                 "The server's configuration: where it listens, and the "
                 "secret to make a token with")
    ->type_name("FILE")
    ->group("Connection");
  to->add_option("--url", at.url,
                 "Where the server is, instead of the configuration's address")
    ->type_name("URL")
    ->group("Connection");
  to->add_option("--ca", at.ca_file,
                 "Certificates (PEM) to trust instead of the system's")
    ->check(CLI::ExistingFile)
    ->type_name("")
    ->group("Connection");
  to->add_option("--token-file", at.token_file,
                 "A file with the token to bring along")
    ->type_name("FILE")
    ->group("Connection");
  to->add_option("--as", at.as,
                 "Who acts, where the token is made from the configuration "
                 "(cli:USER otherwise)")
    ->type_name("NAME")
    ->group("Connection");
  to->add_option("--role", at.role, "The role of such a token")
    ->check(CLI::IsMember(roles))
    ->type_name("")
    ->capture_default_str()
    ->group("Connection");
  add_duration(to, "--timeout", at.timeout, 100ms, 10min,
               "How long a call may take")
    ->group("Connection");
  auto* json
    = to->add_flag("--json", all.json, "The server's data as one JSON document")
        ->group("Output");
  to->add_flag("--jsonl", all.jsonl,
               "The same with one JSON text a line; lists are not gathered")
    ->excludes(json)
    ->group("Output");
  to->add_flag("--utc", all.utc, "Times in UTC instead of this place's")
    ->group("Output");
}

class tree {
public:
  tree(CLI::App* ops, ops_arguments& to) : ops_{ops}, to_{to} {
  }

  void grow() {
    group_ = "Looking";
    add_list();
    add_show();
    add_timeline();
    add_watch();
    add_logs();
    add_attention();
    add_stats();
    group_ = "Acting";
    add_act(ops_command::retry, "retry", "Starts the deployment over",
            "slipway ops retry ID --reason 'the template is fixed'");
    add_act(ops_command::cancel, "cancel", "Stops a deployment under way",
            "slipway ops cancel ID --reason 'ordered by mistake'");
    auto* refund
      = add_act(ops_command::refund, "refund",
                "Gives money back: what bought nothing first, then what the "
                "present period has cost",
                "slipway ops refund ID --reason 'ticket 4711'\n"
                "  slipway ops refund ID --order ORDER --reason 'paid twice'");
    refund->add_option("--order", to_.order, "The order to give back")
      ->type_name("ORDER");
    add_act(ops_command::terminate, "terminate",
            "Deletes the instance at the provider, and proves it",
            "slipway ops terminate ID --reason 'abuse, ticket 4712'");
    group_ = "Callbacks of the payment gateways";
    add_callbacks();
    group_ = "The server itself";
    add_actors();
    add_automation();
    add_audit();
    add_rotate_keys();
    add_token();
  }

private:
  CLI::App* add(ops_command command, const char* name, const char* words,
                const std::string& examples) {
    auto* out = ops_->add_subcommand(name, words);
    out->group(group_);
    out->footer("Examples:\n  " + examples);
    out->final_callback([&all = to_, command] {
      all.command = command;
    });
    return out;
  }

  void add_id(CLI::App* to, const char* name, const char* words) {
    to->add_option(name, to_.id, words)->required()->type_name("");
  }

  void add_subscription(CLI::App* to) {
    add_id(to, "ID", "The subscription's id");
  }

  void add_reason(CLI::App* to, bool asked = true) {
    to->add_option("--reason", to_.reason,
                   asked ? "Why, for the history (asked for at a terminal)"
                         : "Why, for the history")
      ->type_name("TEXT");
  }

  void add_yes(CLI::App* to) {
    to->add_flag("-y,--yes", to_.yes,
                 "Do not ask (nobody is asked without a terminal)");
  }

  /// @param paged Whether the server gives it page by page.
  void add_bounds(CLI::App* to, const char* usual) {
    auto* limit
      = to->add_option("--limit", to_.limit,
                       std::string{"So many rows ("} + usual + " otherwise)")
          ->check(CLI::Range(std::size_t{1}, std::size_t{200'000}))
          ->type_name("N")
          ->group("List");
    to->add_flag("--all", to_.all, "All of them, page after page")
      ->excludes(limit)
      ->group("List");
    to->add_option("--cursor", to_.cursor, "Where an earlier call stopped")
      ->type_name("CURSOR")
      ->group("List");
  }

  void add_list() {
    auto* out = add(ops_command::list, "list", "Finds subscriptions",
                    "slipway ops list --status failed --config slipway.toml\n"
                    "  slipway ops list -q somebody@example.com\n"
                    "  slipway ops list --all --jsonl | jq .subscriptionId");
    out
      ->add_option("-q,--query", to_.query,
                   "An id of ours, a user, a mail address, a transaction, a "
                   "project")
      ->type_name("TEXT");
    out
      ->add_option("--status", to_.status,
                   "Status of the subscription, or of its deployment")
      ->check(CLI::IsMember(subscription_statuses))
      ->type_name("");
    add_bounds(out, "50");
    add_common(out, to_);
  }

  void add_show() {
    auto* out = add(ops_command::show, "show", "Shows one subscription",
                    "slipway ops show ID --config slipway.toml\n"
                    "  slipway ops show ID --json | jq .deployment");
    add_subscription(out);
    add_common(out, to_);
  }

  void add_timeline() {
    auto* out = add(ops_command::timeline, "timeline",
                    "Tells the whole story of a subscription, oldest first",
                    "slipway ops timeline ID --config slipway.toml\n"
                    "  slipway ops timeline ID --json | "
                    "jq '.[] | select(.kind == \"provider\")'");
    add_subscription(out);
    add_bounds(out, "all");
    add_common(out, to_);
  }

  void add_watch() {
    auto* out
      = add(ops_command::watch, "watch",
            "Follows a deployment until it runs, has failed or has stopped",
            "slipway ops watch ID --config slipway.toml\n"
            "  slipway ops retry ID --reason again && slipway ops watch ID");
    add_subscription(out);
    out->add_flag("-f,--follow", to_.follow, "Go on after that, until Ctrl-C");
    add_common(out, to_);
  }

  void add_logs() {
    auto* out = add(ops_command::logs, "logs",
                    "Shows the lines of build, deployment and our own events",
                    "slipway ops logs ID --config slipway.toml\n"
                    "  slipway ops logs ID --type build\n"
                    "  slipway ops logs ID --follow");
    add_subscription(out);
    out->add_option("--type", to_.log_type, "Of which source")
      ->check(CLI::IsMember(
        std::vector<std::string>{"all", "build", "deploy", "event"}))
      ->type_name("")
      ->capture_default_str();
    out->add_option("--cursor", to_.cursor, "Where an earlier call stopped")
      ->type_name("CURSOR");
    out->add_flag("-f,--follow", to_.follow, "Go on live, until Ctrl-C");
    add_common(out, to_);
  }

  void add_attention() {
    auto* out = add(ops_command::attention, "attention",
                    "Lists what waits for a person",
                    "slipway ops attention --config slipway.toml\n"
                    "  slipway ops attention --json | jq length");
    add_common(out, to_);
  }

  void add_stats() {
    auto* out
      = add(ops_command::stats, "stats", "Counts deployments and subscriptions",
            "slipway ops stats --config slipway.toml\n"
            "  slipway ops stats --json | jq .successRate");
    add_common(out, to_);
  }

  CLI::App* add_act(ops_command command, const char* name, const char* words,
                    const std::string& examples) {
    auto* out = add(command, name, words, examples);
    add_subscription(out);
    add_reason(out);
    if (command != ops_command::retry)
      add_yes(out);
    add_common(out, to_);
    return out;
  }

  void add_callbacks() {
    auto* out = add(ops_command::callbacks, "callbacks",
                    "Lists what the payment gateways have sent",
                    "slipway ops callbacks --outcome contradicted\n"
                    "  slipway ops callbacks --order ORDER --json");
    out->add_option("--gateway", to_.gateway, "From which gateway")
      ->check(CLI::IsMember(std::vector<std::string>{"ALIPAY", "WECHAT"}))
      ->type_name("");
    out->add_option("--outcome", to_.outcome, "What has become of them")
      ->check(CLI::IsMember(std::vector<std::string>{
        "applied", "repeated", "acknowledged", "contradicted", "forged"}))
      ->type_name("");
    out->add_option("--order", to_.order, "About which order")
      ->type_name("ORDER");
    add_bounds(out, "50");
    add_common(out, to_);

    out = add(ops_command::callback, "callback",
              "Shows one callback with its headers and its body",
              "slipway ops callback 42 --config slipway.toml\n"
              "  slipway ops callback 42 --body > body.xml");
    add_id(out, "CALLBACK", "The callback's number");
    out->add_flag("--body", to_.body_only,
                  "The body alone, byte for byte (made safe at a terminal)");
    add_common(out, to_);

    out = add(ops_command::replay, "replay",
              "Feeds a callback in again, as if it had just come",
              "slipway ops replay 42 --dry-run\n"
              "  slipway ops replay 42 --yes");
    add_id(out, "CALLBACK", "The callback's number");
    out->add_flag("-n,--dry-run", to_.dry_run,
                  "Tell what would change, and change nothing");
    add_yes(out);
    add_common(out, to_);

    out = add(ops_command::settle, "settle",
              "Takes a contradicting callback out of attention",
              "slipway ops settle 42 --reason 'paid back by hand'");
    add_id(out, "CALLBACK", "The callback's number");
    add_reason(out);
    add_common(out, to_);
  }

  void add_actors() {
    auto* out = add(ops_command::actors, "actors",
                    "Shows the parts of the server as a tree",
                    "slipway ops actors --config slipway.toml\n"
                    "  slipway ops actors --troubled");
    out->add_flag("--troubled", to_.troubled, "Those only that have failed");
    add_bounds(out, "200");
    add_common(out, to_);

    out = add(ops_command::restart, "restart",
              "Loads a subscription's supervisor anew, also out of quarantine",
              "slipway ops restart supervisor:ID --reason 'row repaired'");
    add_id(out, "ACTOR", "supervisor:ID, or the subscription's id alone");
    add_reason(out);
    add_common(out, to_);
  }

  void add_automation() {
    auto* out = add(ops_command::automation, "automation",
                    "Shows the main switch for everything that leaves the "
                    "server, or sets it",
                    "slipway ops automation --config slipway.toml\n"
                    "  slipway ops automation off --reason 'provider is down'");
    out->add_option("SWITCH", to_.switch_to, "on or off; nothing to look")
      ->check(CLI::IsMember(std::vector<std::string>{"on", "off"}))
      ->type_name("");
    add_reason(out);
    add_yes(out);
    add_common(out, to_);
  }

  void add_audit() {
    auto* out = add(
      ops_command::audit, "audit", "Lists who has done what, newest first",
      "slipway ops audit --role admin --config slipway.toml\n"
      "  slipway ops audit --role admin --all --jsonl > audit.jsonl");
    add_bounds(out, "50");
    add_common(out, to_);
  }

  void add_rotate_keys() {
    auto* out
      = add(ops_command::rotate_keys, "rotate-keys",
            "Encrypts all channel credentials anew under the first of "
            "secrets.credential_keys",
            "slipway ops rotate-keys --role admin --config slipway.toml --yes");
    add_reason(out, false);
    add_yes(out);
    add_common(out, to_);
  }

  void add_token() {
    auto* out
      = add(ops_command::token, "token",
            "Signs a token with the configuration's secret and prints it",
            "slipway ops token --for alice --role viewer --expires 8h "
            "--config slipway.toml > alice.token");
    out
      ->add_option("--config", to_.connection.config,
                   "The server's configuration, whose secret signs")
      ->type_name("FILE");
    out->add_option("--for", to_.token_for, "Whose it is: its sub")
      ->required()
      ->check([](const std::string& text) {
        return text.empty() || text.size() > 255 || config::has_control(text)
                 ? "expected 1 to 255 printable characters"
                 : "";
      })
      ->type_name("NAME");
    out->add_option("--role", to_.token_role, "What it opens")
      ->check(CLI::IsMember(roles))
      ->type_name("")
      ->capture_default_str();
    add_duration(out, "--expires", to_.token_life, 1s, 365 * 24h,
                 "How long it is good for");
  }

  CLI::App* ops_;
  ops_arguments& to_;
  std::string group_;
};

} // namespace

CLI::App* add_ops(CLI::App& root, ops_arguments& to) {
  auto* ops = root.add_subcommand(
    "ops", "The operators' calls of a running server, from a shell");
  ops->require_subcommand(1);
  ops->footer(
    "Exit codes: 0 done, 1 refused or failed, 2 a wrong command line or\n"
    "configuration, 3 the server cannot be reached or does not answer.\n"
    "\n"
    "The server is found by --url, SLIPWAY_OPS_URL or --config; the token is\n"
    "--token-file, SLIPWAY_OPS_TOKEN, or made for five minutes from the\n"
    "configuration's auth.hs256_secret_file.\n"
    "\n"
    "Examples:\n"
    "  slipway ops attention --config slipway.toml\n"
    "  slipway ops list --status failed --config slipway.toml\n"
    "  slipway ops retry ID --reason 'fixed' --config slipway.toml");
  // Behind `ops` itself as well as behind each of its commands.
  add_common(ops, to);
  tree{ops, to}.grow();
  return ops;
}

} // namespace slipway::cli

#include "http/cli/ops.hpp"

#include "http/cli/access.hpp"
#include "http/cli/console.hpp"
#include "http/cli/json_reading.hpp"
#include "http/cli/safe_text.hpp"
#include "http/cli/session.hpp"
#include "http/cli/token.hpp"
#include "http/cli/views.hpp"
#include "http/crypto/encoding.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <limits>
#include <utility>

namespace slipway::cli {

namespace json = boost::json;

namespace {

using done = tl::expected<void, refusal>;

constexpr auto subscriptions_path = "/api/ops/subscriptions";

/// A list is not read further than this: whoever wants more takes --jsonl,
/// which keeps nothing.
constexpr auto rows_max = std::size_t{200'000};

/// Without a stream of logs, they are asked for this often.
constexpr auto log_pause = millis{2'000};

std::string subscription_path(const std::string& id, const char* tail = "") {
  return subscriptions_path + ("/" + segment(id)) + tail;
}

using view = std::string (*)(const json::array&, const look&);

/// A list of the server's, and how much of it suits a person.
struct list_of {
  std::string path;
  parameters filters;
  std::size_t page_max;
  std::size_t usual; ///< Rows where nothing else is said; 0: all.
  view show;
};

class run {
public:
  run(const ops_arguments& what, console& out, session& server)
    : what_{what}, out_{out}, server_{server} {
  }

  done go();

private:
  // -- answers
  // ------------------------------------------------------------------------

  done gone() const {
    if (out_.trouble() == EPIPE)
      return tl::unexpected{refusal{exit_refused, {}}};
    return tl::unexpected{
      refusal{exit_refused, std::string{"standard output: "}
                              + std::strerror(out_.trouble())}};
  }

  done print(const std::string& text) {
    if (out_.print(text))
      return {};
    return gone();
  }

  bool for_programs() const {
    return what_.json || what_.jsonl;
  }

  done print_json(const json::value& data) {
    return print(
      (what_.jsonl ? printable_json(json::serialize(data)) : pretty(data))
      + '\n');
  }

  /// Data for programs, or the view of it for people.
  template <class View>
  done show(const json::value& data, View view) {
    if (for_programs())
      return print_json(data);
    return print(view(as_object(data), out_.how()));
  }

  /// What an act brought: the server's message, where it has one.
  done print_act(const json::object& envelope, const std::string& otherwise) {
    if (for_programs())
      return print_json(envelope.at("data"));
    const auto message = text_of(envelope, "message");
    return print(printable(message.empty() ? otherwise : message) + '\n');
  }

  // -- lists
  // --------------------------------------------------------------------------

  /// Reads pages until there are no more, or `wanted` rows are there (0: all).
  /// @param take Called with each page.
  /// @returns the cursor of what was left; empty at the end.
  template <class Take>
  tl::expected<std::string, refusal>
  read_pages(const list_of& from, std::size_t wanted, Take take) {
    auto cursor = what_.cursor;
    auto count = std::size_t{0};
    for (;;) {
      const auto limit
        = wanted == 0 ? from.page_max : std::min(wanted - count, from.page_max);
      auto query = from.filters;
      query.emplace_back("limit", std::to_string(limit));
      query.emplace_back("cursor", cursor);
      auto page = server_.get(from.path, query);
      if (!page)
        return tl::unexpected{std::move(page.error())};
      auto next = text_of(*page, "nextCursor");
      auto* rows = page->at("data").if_array();
      if (rows == nullptr)
        return tl::unexpected{
          refusal{exit_refused, "expected a list, found something else: is the "
                                "URL right?"}};
      count += rows->size();
      if (auto taken = take(*rows); !taken)
        return tl::unexpected{std::move(taken.error())};
      if (next.empty() || (wanted != 0 && count >= wanted))
        return next;
      if (next == cursor)
        return tl::unexpected{refusal{
          exit_refused, "the list does not go on: its cursor stays " + next}};
      cursor = std::move(next);
    }
  }

  done list(const list_of& from) {
    const auto wanted = what_.all          ? 0
                        : what_.limit != 0 ? what_.limit
                                           : from.usual;
    if (what_.jsonl) {
      const auto next
        = read_pages(from, wanted, [this](json::array& rows) -> done {
            auto text = std::string{};
            for (const auto& row : rows)
              text += printable_json(json::serialize(row)) + '\n';
            return print(text);
          });
      if (!next)
        return tl::unexpected{next.error()};
      tell_rest(*next);
      return {};
    }
    auto all = json::array{};
    const auto next
      = read_pages(from, wanted, [&all](json::array& rows) -> done {
          for (auto& row : rows)
            all.push_back(std::move(row));
          if (all.size() <= rows_max)
            return {};
          return tl::unexpected{refusal{
            exit_refused, "the list is longer than " + std::to_string(rows_max)
                            + " rows: take --jsonl, or filters"}};
        });
    if (!next)
      return tl::unexpected{next.error()};
    const auto printed
      = what_.json ? print_json(all) : print(from.show(all, out_.how()));
    if (printed)
      tell_rest(*next);
    return printed;
  }

  void tell_rest(const std::string& next) const {
    if (!next.empty())
      out_.complain("there is more: --all, or --cursor " + next);
  }

  // -- acts
  // ---------------------------------------------------------------------------

  /// The reason for the history; whoever forgot it at a terminal is asked.
  tl::expected<std::string, refusal> reason() const {
    auto text = what_.reason;
    if (text.empty() && out_.can_ask())
      text = out_.ask("Reason, for the history:");
    if (text.find_first_not_of(' ') == std::string::npos)
      return tl::unexpected{
        refusal{exit_usage, "expected --reason TEXT, for the history"}};
    return text;
  }

  /// At a terminal what cannot be taken back is asked about; a script that
  /// names it has decided.
  done confirm(const std::string& question) const {
    if (what_.yes || !out_.can_ask() || out_.confirm(question))
      return {};
    return tl::unexpected{refusal{exit_refused, "nothing was done"}};
  }

  /// The same about a subscription, which is shown first.
  done confirm_on(const std::string& question) {
    if (what_.yes || !out_.can_ask())
      return {};
    const auto found = server_.get(subscription_path(what_.id));
    if (!found)
      return tl::unexpected{found.error()};
    return confirm(views::in_a_line(as_object(found->at("data")), out_.how())
                   + question);
  }

  done act(const char* name, const std::string& question) {
    const auto why = reason();
    if (!why)
      return tl::unexpected{why.error()};
    if (!question.empty())
      if (auto sure = confirm_on(question); !sure)
        return sure;
    auto body = json::object{{"reason", *why}};
    if (!what_.order.empty())
      body["orderId"] = what_.order;
    auto answer = server_.post(subscription_path(what_.id) + '/' + name, body);
    if (!answer)
      return tl::unexpected{std::move(answer.error())};
    return print_act(*answer, "Requested");
  }

  done replay() {
    const auto path = "/api/ops/callbacks/" + segment(what_.id) + "/replay";
    const auto call = [&](bool dry) {
      return server_.post(path, {}, {{"dryRun", dry ? "true" : "false"}});
    };
    if (!what_.dry_run && !what_.yes && out_.can_ask()) {
      const auto rehearsed = call(true);
      if (!rehearsed)
        return tl::unexpected{rehearsed.error()};
      const auto text
        = views::replay(as_object(rehearsed->at("data")), out_.how());
      std::fputs(text.c_str(), stderr);
      if (auto sure = confirm("Replay callback " + what_.id + "?"); !sure)
        return sure;
    }
    const auto answer = call(what_.dry_run);
    if (!answer)
      return tl::unexpected{answer.error()};
    return show(answer->at("data"), views::replay);
  }

  done settle() {
    const auto why = reason();
    if (!why)
      return tl::unexpected{why.error()};
    const auto answer
      = server_.post("/api/ops/callbacks/" + segment(what_.id) + "/settle",
                     {{"reason", *why}});
    if (!answer)
      return tl::unexpected{answer.error()};
    return show(answer->at("data"), views::callback);
  }

  done restart() {
    const auto why = reason();
    if (!why)
      return tl::unexpected{why.error()};
    // The subscription's id is as good a name of its supervisor.
    const auto actor = what_.id.find(':') == std::string::npos
                         ? "supervisor:" + what_.id
                         : what_.id;
    const auto answer = server_.post(
      "/api/ops/actors/" + segment(actor) + "/restart", {{"reason", *why}});
    if (!answer)
      return tl::unexpected{answer.error()};
    return print_act(*answer, "Restarted");
  }

  done automation() {
    constexpr auto path = "/api/ops/automation";
    if (what_.switch_to.empty()) {
      const auto answer = server_.get(path);
      if (!answer)
        return tl::unexpected{answer.error()};
      return show(answer->at("data"), views::automation);
    }
    const auto why = reason();
    if (!why)
      return tl::unexpected{why.error()};
    const auto on = what_.switch_to == "on";
    if (!what_.yes && out_.can_ask()) {
      const auto now = server_.get(path);
      if (!now)
        return tl::unexpected{now.error()};
      const auto text
        = views::automation(as_object(now->at("data")), out_.how());
      std::fputs(text.c_str(), stderr);
      if (auto sure = confirm(on ? "Switch on? All that is pending leaves."
                                 : "Switch off? Nothing leaves any more.");
          !sure)
        return sure;
    }
    const auto answer = server_.put(path, {{"enabled", on}, {"reason", *why}});
    if (!answer)
      return tl::unexpected{answer.error()};
    return show(answer->at("data"), views::automation);
  }

  done rotate_keys();

  // -- watching
  // -----------------------------------------------------------------------

  done watch();

  done logs();

  done print_log(const json::object& line) {
    if (for_programs())
      return print(printable_json(json::serialize(line)) + '\n');
    return print(views::log_line(line, out_.how()));
  }

  /// Prints what is there, and returns the cursor of its end.
  tl::expected<std::string, refusal> print_logs(std::string cursor);

  done follow_logs(std::string cursor);

  done show_callback();

  const ops_arguments& what_;
  console& out_;
  session& server_;
};

/// A path that this server may not know yet.
refusal explain_missing(refusal why, bool is_missing, const char* what) {
  if (is_missing)
    why.message += std::string{"\nhint: this server has no "} + what
                   + ", it is older than this command";
  return why;
}

bool says_missing(const refusal& why) {
  return why.message.find("(404 not_found)") != std::string::npos;
}

done run::rotate_keys() {
  if (auto sure = confirm("Encrypt all channel credentials anew, under the "
                          "first of secrets.credential_keys?");
      !sure)
    return sure;
  const auto why
    = what_.reason.empty() ? std::string{"keys rotated"} : what_.reason;
  auto rotated = std::int64_t{0};
  auto before = std::numeric_limits<std::int64_t>::max();
  auto failures = json::array{};
  auto last = json::object{};
  for (;;) {
    const auto answer
      = server_.post("/api/ops/credentials/rotate", {{"reason", why}});
    if (!answer) {
      out_.progress({});
      return tl::unexpected{explain_missing(
        answer.error(), says_missing(answer.error()), "rotation of keys")};
    }
    last = as_object(answer->at("data"));
    const auto now = number_of(last, "rotated");
    const auto remaining = number_of(last, "remaining");
    rotated += now;
    for (const auto& x : array_of(last, "failures"))
      failures.push_back(x);
    out_.progress(std::to_string(rotated) + " rotated, "
                  + std::to_string(remaining) + " to go");
    if (remaining <= 0)
      break;
    // Asking for ever helps nobody.
    if (now <= 0 && remaining >= before) {
      out_.progress({});
      return tl::unexpected{
        refusal{exit_refused,
                std::to_string(remaining)
                  + " credentials cannot be rotated: is the key that they were "
                    "encrypted with still among secrets.credential_keys?"}};
    }
    before = remaining;
  }
  out_.progress({});
  last["rotated"] = rotated;
  const auto failed = number_of(last, "failed");
  const auto printed
    = for_programs()
        ? print_json(last)
        : print(std::to_string(rotated) + " credentials are now under the key "
                + printable(text_of(last, "keyId")) + '\n');
  if (!printed || failed <= 0)
    return printed;
  auto message = std::to_string(failed)
                 + " credentials cannot be rotated: is the key that they were "
                   "encrypted with still among secrets.credential_keys?";
  for (const auto& x : failures)
    message += '\n' + text_of(as_object(x), "subscriptionId") + ' '
               + text_of(as_object(x), "channelType") + ": "
               + text_of(as_object(x), "reason");
  return tl::unexpected{refusal{exit_refused, std::move(message)}};
}

done run::watch() {
  auto end = done{};
  const auto followed = server_.follow(
    subscription_path(what_.id, "/events"), {}, {},
    [&](const server_event& event) {
      if (event.name != "status")
        return true;
      auto error = boost::system::error_code{};
      const auto data = json::parse(event.data, error);
      if (error || !data.is_object())
        return true;
      const auto& status = data.get_object();
      end = for_programs() ? print(printable_json(json::serialize(data)) + '\n')
                           : print(views::status_line(status, out_.how()));
      if (!end)
        return false;
      const auto state = text_of(status, "status");
      if (what_.follow
          || (state != "running" && state != "failed" && state != "stopped"))
        return true;
      if (state != "running")
        end = tl::unexpected{
          refusal{exit_refused, "the deployment has " + state}};
      return false;
    },
    [this] {
      return out_.is_read();
    });
  return followed ? end : followed;
}

tl::expected<std::string, refusal> run::print_logs(std::string cursor) {
  const auto path = subscription_path(what_.id, "/logs");
  for (;;) {
    const auto page = server_.get(
      path, {{"type", what_.log_type == "all" ? "" : what_.log_type},
             {"limit", "1000"},
             {"cursor", cursor}});
    if (!page)
      return tl::unexpected{page.error()};
    const auto& data = as_object(page->at("data"));
    for (const auto& line : array_of(data, "logs"))
      if (auto printed = print_log(as_object(line)); !printed)
        return tl::unexpected{printed.error()};
    const auto tail = text_of(data, "tailCursor");
    auto next = text_of(data, "nextCursor");
    if (next.empty() || next == cursor)
      return tail.empty() ? cursor : tail;
    cursor = std::move(next);
  }
}

done run::follow_logs(std::string cursor) {
  auto end = done{};
  const auto followed = server_.follow(
    subscription_path(what_.id, "/logs/stream"),
    {{"type", what_.log_type == "all" ? "" : what_.log_type},
     {"cursor", cursor}},
    {},
    [&](const server_event& event) {
      if (event.name != "log")
        return true;
      auto error = boost::system::error_code{};
      const auto data = json::parse(event.data, error);
      if (!error && data.is_object())
        end = print_log(data.get_object());
      cursor = event.id;
      return end.has_value();
    },
    [this] {
      return out_.is_read();
    });
  if (followed)
    return end;
  if (followed.error().message.find("provider_not_configured")
      == std::string::npos)
    return followed;
  // Without a provider there are our own events only, and no stream of them.
  while (out_.wait(log_pause)) {
    auto next = print_logs(cursor);
    if (!next)
      return tl::unexpected{std::move(next.error())};
    cursor = std::move(*next);
  }
  return {};
}

done run::logs() {
  auto cursor = print_logs(what_.cursor);
  if (!cursor)
    return tl::unexpected{std::move(cursor.error())};
  if (!what_.follow)
    return {};
  return follow_logs(std::move(*cursor));
}

done run::show_callback() {
  const auto answer = server_.get("/api/ops/callbacks/" + segment(what_.id));
  if (!answer)
    return tl::unexpected{answer.error()};
  const auto& data = answer->at("data");
  if (!what_.body_only)
    return show(data, views::callback);
  const auto body
    = crypto::base64_decode(text_of(as_object(data), "bodyBase64"));
  if (!body)
    return tl::unexpected{
      refusal{exit_refused, "expected the body in base64, found something "
                            "else"}};
  // Byte for byte into a file; a terminal gets nothing that it would obey.
  return print(out_.is_terminal() ? printable_lines(*body) + '\n' : *body);
}

done run::go() {
  const auto get_and_show
    = [this](const std::string& path,
             std::string (*view)(const json::object&, const look&)) -> done {
    const auto answer = server_.get(path);
    if (!answer)
      return tl::unexpected{answer.error()};
    return show(answer->at("data"), view);
  };
  switch (what_.command) {
    case ops_command::list:
      return list({subscriptions_path,
                   {{"q", what_.query}, {"status", what_.status}},
                   200,
                   50,
                   views::subscriptions});
    case ops_command::show:
      return get_and_show(subscription_path(what_.id), views::subscription);
    case ops_command::timeline:
      return list({subscription_path(what_.id, "/timeline"),
                   {},
                   1000,
                   0,
                   views::timeline});
    case ops_command::watch:
      return watch();
    case ops_command::logs:
      return logs();
    case ops_command::retry:
      return act("retry", {});
    case ops_command::cancel:
      return act("cancel", "Cancel its deployment?");
    case ops_command::refund:
      return act("refund", what_.order.empty()
                             ? "Give its money back?"
                             : "Give the money of " + what_.order + " back?");
    case ops_command::terminate:
      return act("terminate", "Delete its instance at the provider, with all "
                              "data in it?");
    case ops_command::callbacks:
      return list({"/api/ops/callbacks",
                   {{"gateway", what_.gateway},
                    {"outcome", what_.outcome},
                    {"orderId", what_.order}},
                   200,
                   50,
                   views::callbacks});
    case ops_command::callback:
      return show_callback();
    case ops_command::replay:
      return replay();
    case ops_command::settle:
      return settle();
    case ops_command::attention:
      return list(
        {"/api/deployment/attention", {}, 500, 500, views::attention});
    case ops_command::stats:
      return get_and_show("/api/deployment-monitor/stats", views::stats);
    case ops_command::actors:
      return list({"/api/ops/actors",
                   {{"state", what_.troubled ? "troubled" : ""}},
                   500,
                   200,
                   views::actors});
    case ops_command::restart:
      return restart();
    case ops_command::automation:
      return automation();
    case ops_command::audit: {
      auto listed = list({"/api/ops/audit", {}, 200, 50, views::audit});
      if (!listed)
        listed = tl::unexpected{explain_missing(
          listed.error(), says_missing(listed.error()), "audit trail")};
      return listed;
    }
    case ops_command::rotate_keys:
      return rotate_keys();
    case ops_command::none:
    case ops_command::token:
      break;
  }
  return tl::unexpected{refusal{exit_usage, "expected a command: --help"}};
}

/// A token without a call.
tl::expected<std::string, refusal>
make_one(const ops_arguments& what, const config::environment& env,
         const clock& time) {
  if (what.connection.config.empty())
    return tl::unexpected{
      refusal{exit_usage, "token: expected --config FILE, whose secret signs "
                          "it"}};
  const auto settings = load_configuration(what.connection.config, env);
  if (!settings)
    return tl::unexpected{settings.error()};
  if (settings->auth.hs256_secret.empty())
    return tl::unexpected{
      refusal{exit_usage, what.connection.config
                            + ": there is no auth.hs256_secret_file to make a "
                              "token with"}};
  auto claims = cli::claims{};
  claims.subject = what.token_for;
  claims.role = what.token_role;
  claims.issued_at = time.now();
  claims.expires_at = claims.issued_at + what.token_life;
  return make_token(settings->auth, claims);
}

int fail(const console& out, const refusal& why) {
  if (!why.message.empty())
    out.complain(why.message);
  return why.exit_code;
}

} // namespace

int run_ops(const ops_arguments& what, const config::environment& env,
            const clock& time) {
  auto out = console{env, what.utc, time};
  if (what.command == ops_command::token) {
    const auto made = make_one(what, env, time);
    if (!made)
      return fail(out, made.error());
    return out.print(*made + '\n') ? exit_ok : exit_refused;
  }
  auto found = find_access(what.connection, env, time);
  if (!found)
    return fail(out, found.error());
  if (!found->warning.empty())
    out.complain("warning: " + found->warning);
  auto server = session{std::move(*found), what.connection.timeout,
                        [&out](millis length) {
                          return out.wait(length);
                        }};
  const auto end = run{what, out, server}.go();
  return end ? exit_ok : fail(out, end.error());
}

} // namespace slipway::cli

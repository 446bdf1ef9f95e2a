#pragma once

#include "http/provider/log_cursor.hpp"
#include "http/provider/logbook.hpp"
#include "tests/support/actor_fixture.hpp"
#include "tests/support/fake_websocket.hpp"
#include "tests/support/railway_logs.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include <optional>
#include <set>
#include <string>
#include <vector>

/// A LOGBOOK with a Railway of lines, sockets of paper and a store in memory.
namespace slipway::test {

using provider::answer_class;
using provider::nanos;

namespace json = boost::json;

inline constexpr auto ms = provider::nanos_per_ms;

using texts = std::vector<std::string>;

/// What a query was answered.
struct heard {
  int times = 0;
  errc error = errc::none;
  log_page page;

  [[nodiscard]] texts messages() const {
    auto out = texts{};
    for (const auto& x : page.lines)
      out.push_back(x.message);
    return out;
  }
};

using heard_ptr = std::shared_ptr<heard>;

/// Somebody who follows.
struct watching {
  follower_state state = follower_state::ready;
  std::vector<log_line> lines;
  int beats = 0;
  errc refused = errc::none;
  bool dropped = false; ///< By the LOGBOOK.
  /// Busy after so many lines without a pause.
  std::optional<std::size_t> room;

  [[nodiscard]] texts messages() const {
    auto out = texts{};
    for (const auto& x : lines)
      out.push_back(x.message);
    return out;
  }
};

using watching_ptr = std::shared_ptr<watching>;

/// What to ask for.
struct wanted_logs {
  bool build = true;
  bool deploy = true;
  bool event = true;
  std::size_t limit = 100;
};

struct logbook_fixture : actor_fixture {
  std::shared_ptr<railway_logs> railway = std::make_shared<railway_logs>();
  std::shared_ptr<fake_websockets> sockets
    = std::make_shared<fake_websockets>();
  provider::logbook_options options;
  subscription_id id = make_subscription_id(day_one, 1);
  std::shared_ptr<config::keyring> keys;

  logbook_fixture() {
    auto secrets = config::secrets_settings{};
    secrets.credential_keys.push_back({"k1", {}});
    keys = std::make_shared<config::keyring>(secrets);
    options.settings.endpoint = "https://railway.test/graphql/v2";
    options.settings.token = config::secret{"railway-token"};
    options.caller = keep(sys.spawn(railway_caller, railway));
    options.sockets = sockets;
    options.keys = keys;
    put(phase::running, "env-1", "d-1");
    railway->environments["env-1"] = {{"s-1", "web", "d-1"}};
    railway->deployments["d-1"] = {};
  }

  ~logbook_fixture() {
    if (!env->logbook)
      return;
    caf::anon_send_exit(env->logbook(), caf::exit_reason::kill);
    env->logbook = nullptr;
    consume_messages();
  }

  void start() {
    env->logbook = sys.spawn(provider::logbook, environment_ptr{env}, options);
    consume_messages();
  }

  provider::logbook_state& aut() {
    using impl = logbook_actor::stateful_base<provider::logbook_state>;
    return deref<impl>(env->logbook()).state;
  }

  // -- what there is

  record put(phase at, const std::string& environment,
             const std::string& deployment, std::uint32_t attempt = 1) {
    auto row = make_record(id, at);
    if (const auto* known = db->find(id))
      row.state.revision = known->state.revision + 1;
    row.state.instance.environment_id = environment;
    row.state.instance.created_at = day_one;
    row.state.deployment.deployment_id = deployment;
    row.state.deployment.attempt = attempt;
    db->put(row);
    return row;
  }

  [[nodiscard]] record_ptr row() const {
    return std::make_shared<const record>(*db->find(id));
  }

  /// So many milliseconds after the first day's first moment.
  static nanos at(nanos after_ms) {
    return provider::to_nanos(day_one) + after_ms * ms;
  }

  railway_logs::deployment& deployment(const std::string& name = "d-1") {
    return railway->deployments[name];
  }

  void build(nanos after_ms, std::string text) {
    deployment().build.push_back({at(after_ms), std::move(text), "info"});
  }

  void deploy(nanos after_ms, std::string text) {
    deployment().deploy.push_back({at(after_ms), std::move(text), "info"});
  }

  void event(nanos after_ms, std::string text) {
    auto x = history_entry{};
    x.at = day_one + millis{after_ms};
    x.summary = std::move(text);
    db->history.push_back({id, 1, x});
  }

  void secret(const std::string& type, const std::string& credential) {
    const auto sealed = keys->seal(credential, to_text(id) + "/" + type);
    db->credentials[raw(id)].push_back(
      {type, sealed.key_id, sealed.nonce, sealed.ciphertext});
  }

  // -- queries

  static inline const auto all = wanted_logs{};
  static inline const auto builds = wanted_logs{true, false, false, 100};
  static inline const auto deploys = wanted_logs{false, true, false, 100};
  static inline const auto events = wanted_logs{false, false, true, 100};

  static wanted_logs at_most(std::size_t limit) {
    return {true, true, true, limit};
  }

  heard_ptr ask(const wanted_logs& w = all, std::string cursor = {}) {
    auto to = std::make_shared<heard>();
    auto x = std::make_shared<log_query>();
    x->subject = row();
    x->build = w.build;
    x->deploy = w.deploy;
    x->event = w.event;
    x->limit = w.limit;
    x->cursor = std::move(cursor);
    x->done = [to](tl::expected<log_page, errc> got) {
      ++to->times;
      if (got)
        to->page = std::move(*got);
      else
        to->error = got.error();
    };
    caf::anon_send(env->logbook(), x);
    consume_messages();
    return to;
  }

  /// One that has to be answered at once.
  log_page get(const wanted_logs& w = all, std::string cursor = {}) {
    const auto to = ask(w, std::move(cursor));
    CAF_REQUIRE_EQUAL(to->times, 1);
    CAF_REQUIRE_EQUAL(to->error, errc::none);
    CAF_REQUIRE(!to->page.tail_cursor.empty());
    CAF_REQUIRE(to->page.lines.size() <= w.limit);
    return to->page;
  }

  static texts messages(const log_page& from) {
    auto out = texts{};
    for (const auto& x : from.lines)
      out.push_back(x.message);
    return out;
  }

  texts get_messages(const wanted_logs& w = all, std::string cursor = {}) {
    return messages(get(w, std::move(cursor)));
  }

  // -- followers

  watching_ptr follow(const wanted_logs& w = all, std::string cursor = {}) {
    auto to = std::make_shared<watching>();
    // Tells when the last reference goes.
    const auto life = std::shared_ptr<int>(new int{0}, [to](int* x) {
      to->dropped = true;
      delete x;
    });
    auto x = std::make_shared<log_follower>();
    x->from.subject = row();
    x->from.build = w.build;
    x->from.deploy = w.deploy;
    x->from.event = w.event;
    x->from.cursor = std::move(cursor);
    x->from.done = [to](tl::expected<log_page, errc> got) {
      to->refused = got.error();
    };
    x->state = [to, life] {
      if (to->room && *to->room == 0)
        return follower_state::busy;
      return to->state;
    };
    x->take = [to](const log_line& line) {
      to->lines.push_back(line);
      if (to->room)
        --*to->room;
      return to->state != follower_state::gone;
    };
    x->beat = [to] {
      ++to->beats;
      return to->state != follower_state::gone;
    };
    caf::anon_send(env->logbook(), std::move(x));
    consume_messages();
    return to;
  }

  // -- the provider's sockets

  using line_ptr = std::shared_ptr<fake_websockets::line>;

  /// The living connection for `buildLogs` or `deploymentLogs` of a deployment.
  line_ptr line(std::string_view field, std::string_view of = "d-1") {
    for (const auto& x : sockets->living())
      for (const auto& text : x->sent)
        if (text.find(field) != std::string::npos
            && text.find('"' + std::string{of} + '"') != std::string::npos)
          return x;
    return nullptr;
  }

  /// Lets all connections that wait come to be.
  void accept_all() {
    for (const auto& x : sockets->living())
      if (!x->open)
        accept(*x);
    consume_messages();
  }

  static void accept(fake_websockets::line& x) {
    x.accept();
    x.say(R"({"type":"connection_ack"})");
  }

  void say(const line_ptr& to, std::string_view field,
           const std::vector<railway_logs::line>& lines) {
    CAF_REQUIRE(to != nullptr);
    to->say(json::serialize(json::object{
      {"id", "1"},
      {"type", "next"},
      {"payload",
       json::object{
         {"data", json::object{{field, railway_logs::render(lines)}}}}}}));
    consume_messages();
  }

  void say_deploy(nanos after_ms, const std::string& text) {
    say(line("deploymentLogs"), "deploymentLogs",
        {{at(after_ms), text, "info"}});
  }
};

/// For messages of failed checks.
inline std::string join(const texts& from) {
  auto out = std::string{};
  for (const auto& x : from)
    out += (out.empty() ? "" : " / ") + x;
  return out;
}

} // namespace slipway::test

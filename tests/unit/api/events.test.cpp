#define CAF_SUITE api.events

#include "http/api/events.hpp"

#include "actors/broadcaster.hpp"
#include "http/api/auth.hpp"
#include "http/api/context.hpp"
#include "http/server/server.hpp"
#include "tests/support/lifecycle_states.hpp"
#include "tests/support/memory_store.hpp"
#include "tests/unit/http_server/loopback.hpp"

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/send.hpp>
#include <caf/test/unit_test.hpp>
#include <spdlog/spdlog.h>

using namespace slipway;
using namespace slipway::test;
using namespace std::literals;
using loopback::eventually;
using loopback::fetch;

namespace {

constexpr auto id = subscription_id{77};

class fixed_clock final : public clock {
public:
  [[nodiscard]] timestamp now() const noexcept override {
    return day_one;
  }
};

class fixed_entropy final : public entropy {
public:
  [[nodiscard]] std::uint64_t next() noexcept override {
    return 7;
  }
};

/// The routes behind a real listener, with the database in memory.
struct house {
  fixed_clock time;
  fixed_entropy chance;
  slipway::metrics meters;
  std::shared_ptr<memory_database> db = std::make_shared<memory_database>();
  caf::actor_system_config config;
  std::unique_ptr<caf::actor_system> sys;
  std::shared_ptr<environment> env = std::make_shared<environment>();
  std::shared_ptr<api::context> ctx;
  std::unique_ptr<http::server> aut;
  record row;

  explicit house(http::server_options limits = {},
                 broadcaster_options options = {}) {
    spdlog::set_level(spdlog::level::off);
    sys = std::make_unique<caf::actor_system>(config);
    row.id = id;
    row.user_id = "user-1";
    row.plan = "PRO";
    row.state = paid_at(phase::deploying).now;
    row.state.revision = 5;
    db->put(row);
    env->clock = &time;
    env->entropy = &chance;
    env->metrics = &meters;
    env->stores.push_back(spawn_memory_store(*sys, db));
    options.render = api::render_status_event;
    env->broadcaster
      = sys->spawn(broadcaster, environment_ptr{env}, std::move(options));
    caf::anon_send(env->broadcaster(), tick{});
    ctx = std::make_shared<api::context>();
    ctx->env = env;
    ctx->settings.auth.hs256_secret
      = config::secret{"a secret of at least thirty-two bytes"};
    ctx->tokens = api::make_hs256_verifier(ctx->settings.auth);
    auto routes = http::router{};
    api::add_deployment_routes(routes, ctx);
    api::add_event_routes(routes, ctx);
    aut = std::make_unique<http::server>(limits, std::move(routes));
    if (const auto done = aut->start(); !done)
      CAF_FAIL(done.error());
  }

  ~house() {
    aut->stop(1s);
    for (const auto& x : {caf::actor_cast<caf::actor>(env->broadcaster()),
                          caf::actor_cast<caf::actor>(env->stores.front()())})
      caf::anon_send_exit(x, caf::exit_reason::kill);
    ctx.reset();
    env->broadcaster = nullptr;
    env->stores.clear();
    sys->await_all_actors_done();
  }

  std::string token(const std::string& user = "user-1") {
    auto who = api::principal{};
    who.user_id = user;
    return api::make_hs256_token(ctx->settings.auth.hs256_secret, who,
                                 day_one + 1h);
  }

  loopback::headers as(const std::string& user, loopback::headers more = {}) {
    more.emplace_back("Authorization", "Bearer " + token(user));
    return more;
  }

  loopback::answer get(const std::string& path, loopback::headers extra = {}) {
    return fetch(aut->port(), "GET", path, "", extra);
  }

  /// A change as a SUPERVISOR tells it.
  void change() {
    ++row.state.revision;
    ++row.state.deployment.progress;
    caf::anon_send(env->broadcaster(),
                   status_changed{std::make_shared<const record>(row)});
  }

  static std::string events_of(subscription_id which) {
    return "/api/deployment/events/" + to_text(which);
  }

  static std::string status_of(subscription_id which) {
    return "/api/deployment/status/" + to_text(which);
  }
};

/// A browser that listens.
struct listener {
  loopback::client wire;
  std::string head;

  explicit listener(house& at, const std::string& last = "",
                    const std::string& user = "user-1")
    : wire{at.aut->port()} {
    auto text = "GET " + house::events_of(id)
                + " HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer "
                + at.token(user) + "\r\n";
    if (!last.empty())
      text += "Last-Event-ID: " + last + "\r\n";
    wire.send(text + "\r\n");
    head = wire.until("\r\n\r\n");
  }
};

} // namespace

CAF_TEST(a stream begins with the state and goes on with each change) {
  house h;
  auto a = listener{h};
  CAF_CHECK(a.head.find(" 200 ") != std::string::npos);
  CAF_CHECK(a.head.find("Content-Type: text/event-stream")
            != std::string::npos);
  const auto first = a.wire.until("}\n\n");
  CAF_CHECK(first.find("retry: 2007\n\nid: 5\nevent: status\ndata: {")
            != std::string::npos);
  // The same as status has it.
  const auto status = h.get(house::status_of(id), h.as("user-1"));
  const auto data = first.substr(first.find('{'));
  CAF_CHECK_EQUAL(status.body, "{\"success\":true,\"data\":"
                                 + data.substr(0, data.find('\n')) + "}");
  h.change();
  CAF_CHECK(a.wire.until("}\n\n").find("\r\nid: 6\nevent: status\ndata: {")
            != std::string::npos);
  h.change();
  CAF_CHECK(a.wire.until("}\n\n").find("\r\nid: 7\nevent: status\ndata: {")
            != std::string::npos);
  // The permit went back with the head.
  CAF_CHECK_EQUAL(h.aut->gate().in_use(), 0u);
}

CAF_TEST(whoever comes back is told what is new to it) {
  house h;
  for (const auto* old :
       {"4", "0", "", "x", "5x", "-1", "5.0", "1e9", "99999999999999999999"}) {
    auto a = listener{h, old};
    CAF_CHECK(a.wire.until("}\n\n").find("id: 5\n") != std::string::npos);
  }
  for (const auto* now : {"5", "6", "18446744073709551615"}) {
    auto a = listener{h, now};
    const auto first = a.wire.until(": \n\n");
    CAF_CHECK(first.find("retry: 2007") != std::string::npos);
    CAF_CHECK(first.find("id:") == std::string::npos);
  }
  auto a = listener{h, "5"};
  CAF_CHECK(!a.wire.until(": \n\n").empty());
  h.change();
  CAF_CHECK(a.wire.until("}\n\n").find("id: 6\n") != std::string::npos);
}

CAF_TEST(only the owner may watch) {
  house h;
  CAF_CHECK_EQUAL(h.get(house::events_of(id)).status, 401);
  for (const auto& path :
       {house::events_of(id), house::events_of(subscription_id{78}),
        "/api/deployment/events/nonsense"s}) {
    const auto sorry = h.get(path, h.as("user-2"));
    CAF_CHECK_EQUAL(sorry.status, 404);
    CAF_CHECK(sorry.has("\"message\":\"Subscription not found\""));
    CAF_CHECK(sorry.has("\"error\":\"not_found\""));
  }
}

CAF_TEST(beyond the bounds there is 503 and a hint when to come again) {
  auto options = broadcaster_options{};
  options.watchers_each_max = 1;
  house h{{}, options};
  auto a = listener{h};
  CAF_CHECK(!a.wire.until("}\n\n").empty());
  const auto sorry = h.get(house::events_of(id), h.as("user-1"));
  CAF_CHECK_EQUAL(sorry.status, 503);
  CAF_CHECK_EQUAL(sorry.header("Retry-After"), "1");
  CAF_CHECK(sorry.has("\"error\":\"overloaded\""));
  a.wire.end_sending();
}

CAF_TEST(a reader that stops reading is dropped) {
  auto options = broadcaster_options{};
  // Two of the events below: who reads may be told the next one before the
  // server has heard that the last one is gone. A stream itself holds three.
  options.slow_bytes = 50'000;
  house h{{}, options};
  // Large events: the system takes some for both sides.
  h.row.state.deployment.error = std::string(20'000, 'x');
  auto slow = loopback::client{h.aut->port(), 4'096};
  slow.send("GET " + house::events_of(id)
            + " HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + h.token()
            + "\r\n\r\n");
  CAF_REQUIRE(!slow.until("}\n\n").empty());
  auto good = listener{h};
  CAF_REQUIRE(!good.wire.until("}\n\n").empty());
  const auto is_dropped = [&] {
    return h.meters.expose().find("reason=\"slow_watcher\"} 1")
           != std::string::npos;
  };
  auto told = 0;
  while (!is_dropped() && told < 200) {
    h.change();
    ++told;
    CAF_REQUIRE(!good.wire.until("}\n\n").empty());
  }
  CAF_CHECK(is_dropped());
  h.change();
  CAF_CHECK(!good.wire.until("}\n\n").empty());
}

CAF_TEST(a part that goes down ends the streams) {
  house h;
  auto a = listener{h};
  CAF_CHECK(!a.wire.until("}\n\n").empty());
  caf::anon_send_exit(h.env->broadcaster(), caf::exit_reason::kill);
  CAF_CHECK(!a.wire.until("0\r\n\r\n").empty());
  CAF_CHECK(a.wire.closes());
  CAF_CHECK(eventually([&] {
    return !h.env->audience->watches(id);
  }));
  // Until it is there again nobody waits for nothing.
  const auto sorry = h.get(house::events_of(id), h.as("user-1"));
  CAF_CHECK_EQUAL(sorry.status, 503);
  CAF_CHECK_EQUAL(sorry.header("Retry-After"), "1");
}

CAF_TEST(a server that stops ends the streams) {
  house h;
  auto a = listener{h};
  CAF_CHECK(!a.wire.until("}\n\n").empty());
  h.aut->stop(3s);
  CAF_CHECK(!a.wire.until("0\r\n\r\n").empty());
  CAF_CHECK(a.wire.closes());
}

CAF_TEST(the head of a stream can be asked for) {
  house h;
  const auto head
    = fetch(h.aut->port(), "HEAD", house::events_of(id), "", h.as("user-1"));
  CAF_CHECK_EQUAL(head.status, 200);
  CAF_CHECK_EQUAL(head.header("Content-Type"), "text/event-stream");
}

CAF_TEST(who asks again and again is told when nothing has changed) {
  house h;
  const auto progress = "/api/deployment-monitor/progress/"
                        + to_text(instance_ref{id, h.row.state.instance.seq});
  for (const auto& path : {house::status_of(id), progress}) {
    const auto first = h.get(path, h.as("user-1"));
    CAF_REQUIRE_EQUAL(first.status, 200);
    const auto tag = first.header("ETag");
    CAF_CHECK(tag.size() > 2 && tag.front() == '"');
    CAF_CHECK_EQUAL(first.header("Cache-Control"), "private, no-cache");
    for (const auto& given : {tag, "W/" + tag, "\"x\", " + tag, "*"s}) {
      const auto same = h.get(path, h.as("user-1", {{"If-None-Match", given}}));
      CAF_CHECK_EQUAL(same.status, 304);
      CAF_CHECK(same.body.empty());
      CAF_CHECK_EQUAL(same.header("ETag"), tag);
      CAF_CHECK_EQUAL(same.header("Cache-Control"), "private, no-cache");
      CAF_CHECK_EQUAL(same.header("Content-Length"), "");
    }
    const auto else_where
      = h.get(path, h.as("user-1", {{"If-None-Match", "\"x\""}}));
    CAF_CHECK_EQUAL(else_where.status, 200);
    CAF_CHECK_EQUAL(else_where.body, first.body);
    // A tag is no key.
    CAF_CHECK_EQUAL(
      h.get(path, h.as("user-2", {{"If-None-Match", tag}})).status, 404);
    CAF_CHECK_EQUAL(h.get(path, {{"If-None-Match", "*"}}).status, 401);
  }
}

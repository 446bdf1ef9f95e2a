#define CAF_SUITE api.access

#include "http/api/access.hpp"

#include "http/api/context.hpp"

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/send.hpp>
#include <caf/test/unit_test.hpp>
#include <spdlog/spdlog.h>

#include <array>
#include <future>
#include <map>
#include <mutex>
#include <set>
#include <stdexcept>

using namespace slipway;
using namespace slipway::api;

namespace {

const timestamp day_one = *parse_rfc3339("2026-11-23T08:00:00.000Z");

constexpr auto patience = std::chrono::seconds{30};

class fixed_clock final : public slipway::clock {
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

/// What the audit trail was told, in order, and what acts were done between.
struct trail {
  std::mutex mutex;
  std::vector<std::string> lines;
  query::announce_act last;
  errc announcing = errc::none;
  errc closing = errc::none;

  void add(std::string line) {
    const auto guard = std::lock_guard{mutex};
    lines.push_back(std::move(line));
  }

  std::vector<std::string> take() {
    const auto guard = std::lock_guard{mutex};
    return std::exchange(lines, {});
  }

  query::announce_act announced() {
    const auto guard = std::lock_guard{mutex};
    return last;
  }
};

/// Knows of nothing but acts.
store_actor::behavior_type
audit_store(store_actor::pointer, std::shared_ptr<trail> to) {
  return {
    [to](const store_job_ptr& what) {
      std::visit(
        [&]<class Query>(job<Query>& x) {
          if constexpr (std::is_same_v<Query, query::announce_act>) {
            {
              const auto guard = std::lock_guard{to->mutex};
              to->last = x.what;
            }
            if (to->announcing != errc::none) {
              x.done(tl::unexpected{to->announcing});
              return;
            }
            to->add("announce " + x.what.act);
            x.done(std::int64_t{7});
          } else if constexpr (std::is_same_v<Query, query::close_act>) {
            to->add("close " + std::to_string(x.what.id) + " " + x.what.outcome
                    + " " + std::to_string(x.what.status));
            if (to->closing != errc::none)
              x.done(tl::unexpected{to->closing});
            else
              x.done(std::monostate{});
          } else {
            x.done(tl::unexpected{errc::internal});
          }
        },
        *what);
    },
    [](const tick&) {
      // Nobody is claimed here.
    },
  };
}

std::shared_ptr<trail> current;

/// An act that does as the request's header says.
void act(const context_ptr&, exchange_ptr x, const principal&) {
  current->add("act");
  const auto wanted = x->in().headers.find("X-Do").value_or("200");
  if (wanted == "drop")
    return;
  if (wanted == "409") {
    x->fail(409, "not_paid", "The subscription is not active: pay first");
    return;
  }
  auto response = http::response{};
  response.status = wanted == "202" ? 202 : 200;
  response.body = R"({"success":true,"data":{}})";
  x->answer(std::move(response));
}

struct house {
  house() {
    spdlog::set_level(spdlog::level::off);
    sys = std::make_unique<caf::actor_system>(config);
    current = told;
    env->clock = &time;
    env->entropy = &chance;
    env->metrics = &meters;
    env->stores.push_back(sys->spawn(audit_store, told));
    ctx = std::make_shared<context>();
    ctx->env = env;
    ctx->faults = true;
    ctx->settings.auth.hs256_secret
      = config::secret{"a secret of at least thirty-two bytes"};
    auto secrets = config::secrets_settings{};
    secrets.credential_keys.push_back({"k1", {}});
    ctx->keys = std::make_shared<const config::keyring>(secrets);
    ctx->tokens = make_hs256_verifier(ctx->settings.auth);
  }

  ~house() {
    caf::anon_send_exit(env->stores.front()(), caf::exit_reason::user_shutdown);
    env->stores.clear();
    ctx.reset();
    env.reset();
    sys->await_all_actors_done();
  }

  [[nodiscard]] std::string token(role as, const std::string& user = "u-1") {
    auto who = principal{};
    who.user_id = user;
    who.role = as;
    return make_hs256_token(ctx->settings.auth.hs256_secret, who,
                            day_one + std::chrono::hours{1});
  }

  http::response
  call(const http::route& to, std::optional<role> as, http::request in = {}) {
    in.verb = to.verb;
    in.id = "request-1";
    if (as)
      in.headers.add("Authorization", "Bearer " + token(*as));
    for (std::size_t at = to.pattern.find('{');
         at != std::string::npos && in.params.empty();
         at = to.pattern.find('{', at + 1))
      in.params.emplace_back("x");
    auto done = std::make_shared<std::promise<http::response>>();
    auto answered = done->get_future();
    to.run(http::make_exchange(std::move(in), [done](http::response x) {
      done->set_value(std::move(x));
    }));
    if (answered.wait_for(patience) != std::future_status::ready)
      CAF_FAIL("no answer from " << to.name);
    return answered.get();
  }

  /// The route of an act of our own, behind the line of this name.
  const http::route& route_of(const std::string& name) {
    auto& made = routers[name];
    if (made.routes().empty())
      add_route(made, ctx, http::method::post, "/x/{id}", name, act);
    return *made.routes().front();
  }

  fixed_clock time;
  fixed_entropy chance;
  slipway::metrics meters;
  caf::actor_system_config config;
  std::unique_ptr<caf::actor_system> sys;
  std::shared_ptr<environment> env = std::make_shared<environment>();
  std::shared_ptr<context> ctx;
  std::shared_ptr<trail> told = std::make_shared<trail>();
  std::map<std::string, http::router> routers;
};

bool is_role_refusal(const http::response& x) {
  return x.status == 403 && x.body.find("\"forbidden\"") != std::string::npos
         && x.body.find("This needs an ") != std::string::npos;
}

constexpr auto all_roles
  = std::array{role::user, role::viewer, role::operator_, role::admin};

using lines = std::vector<std::string>;

} // namespace

CAF_TEST(the table has one line for each route and no other) {
  auto h = house{};
  const auto router = make_public_router(h.ctx);
  auto served = std::multiset<std::string>{};
  for (const auto* x : router.routes())
    served.insert(x->name);
  auto ruled = std::multiset<std::string>{};
  for (const auto& x : access_rules())
    ruled.insert(std::string{x.route});
  CAF_CHECK_EQUAL(served, ruled);
}

CAF_TEST(each route lets in whom the table says and nobody else) {
  auto h = house{};
  const auto router = make_public_router(h.ctx);
  auto guarded = 0;
  for (const auto* route : router.routes()) {
    const auto& rule = access_rule_of(route->name);
    if (rule.needs == api::access::anyone)
      continue;
    ++guarded;
    CAF_MESSAGE(route->name);
    CAF_CHECK_EQUAL(h.call(*route, std::nullopt).status, 401);
    for (const auto who : all_roles) {
      const auto answer = h.call(*route, who);
      CAF_CHECK(answer.status != 401);
      CAF_CHECK_EQUAL(is_role_refusal(answer), !may(who, rule.needs));
    }
  }
  CAF_CHECK(guarded > 30);
}

CAF_TEST(what is open to whom is written down once more) {
  const auto routes_for = [](api::access needs) {
    auto out = std::set<std::string>{};
    for (const auto& x : access_rules())
      if (x.needs == needs)
        out.insert(std::string{x.route});
    return out;
  };
  using names = std::set<std::string>;
  CAF_CHECK_EQUAL(
    routes_for(api::access::anyone),
    (names{"plans", "alipay_notify", "alipay_refund_notify", "wechat_notify",
           "wechat_refund_notify", "railway_webhook", "openapi", "ops_page",
           "ops_page_file"}));
  CAF_CHECK_EQUAL(
    routes_for(api::access::operator_),
    (names{"ops_retry", "ops_cancel", "ops_refund", "ops_terminate",
           "callback_replay", "callback_settle", "bounce_note", "bounce_lift",
           "ops_automation_put", "ops_actor_restart", "ops_actor_kill"}));
  CAF_CHECK_EQUAL(routes_for(api::access::admin),
                  (names{"ops_audit", "ops_rotate_credentials"}));
  // Whatever operators do is an act, and nobody else does any.
  for (const auto& x : access_rules()) {
    const auto acts = x.needs == api::access::operator_
                      || x.route == "ops_rotate_credentials";
    CAF_CHECK_EQUAL(!x.act.empty(), acts);
    CAF_CHECK_EQUAL(!x.subject.empty(), acts);
    CAF_CHECK_EQUAL(x.may_rehearse, x.route == "callback_replay");
    CAF_CHECK_EQUAL(x.even_unwritten, x.route == "ops_actor_kill");
  }
}

CAF_TEST(every role may what the one below it may) {
  const auto levels
    = std::array{api::access::anyone, api::access::user, api::access::viewer,
                 api::access::operator_, api::access::admin};
  for (std::size_t who = 0; who < all_roles.size(); ++who)
    for (std::size_t needs = 0; needs < levels.size(); ++needs)
      CAF_CHECK_EQUAL(may(all_roles[who], levels[needs]), needs <= who + 1);
}

CAF_TEST(the refusal names the role that is needed) {
  auto h = house{};
  const auto viewer = h.call(h.route_of("ops_retry"), role::viewer);
  CAF_CHECK(viewer.body.find("the role operator or admin")
            != std::string::npos);
  const auto staff
    = h.call(h.route_of("ops_rotate_credentials"), role::operator_);
  CAF_CHECK(staff.body.find("the role admin") != std::string::npos);
  CAF_CHECK(h.told->take().empty());
}

CAF_TEST(a route without a line cannot be served) {
  auto h = house{};
  const auto refused = [&h](const char* name) {
    auto router = http::router{};
    try {
      add_route(router, h.ctx, http::method::get, "/x", name, act);
    } catch (const std::logic_error&) {
      return router.routes().empty();
    }
    return false;
  };
  CAF_CHECK(refused("nobody_knows"));
  CAF_CHECK(refused("plans"));
  CAF_CHECK(!refused("ops_audit"));
}

// -- the audit trail
// ------------------------------------------------------------------------

CAF_TEST(an act stands between two lines of the trail) {
  auto h = house{};
  const auto with = [](const char* wanted) {
    auto in = http::request{};
    in.headers.add("X-Do", wanted);
    return in;
  };
  const auto& route = h.route_of("ops_retry");
  CAF_CHECK_EQUAL(h.call(route, role::operator_, with("200")).status, 200);
  CAF_CHECK_EQUAL(h.told->take(),
                  (lines{"announce retry", "act", "close 7 done 200"}));
  CAF_CHECK_EQUAL(h.call(route, role::operator_, with("202")).status, 202);
  CAF_CHECK_EQUAL(h.told->take(),
                  (lines{"announce retry", "act", "close 7 under_way 202"}));
  CAF_CHECK_EQUAL(h.call(route, role::admin, with("409")).status, 409);
  CAF_CHECK_EQUAL(h.told->take(),
                  (lines{"announce retry", "act", "close 7 not_paid 409"}));
  // Whoever forgets to answer has an outcome as well.
  CAF_CHECK_EQUAL(h.call(route, role::admin, with("drop")).status, 503);
  CAF_CHECK_EQUAL(h.told->take(),
                  (lines{"announce retry", "act", "close 7 unavailable 503"}));
}

CAF_TEST(what cannot be announced is not done) {
  auto h = house{};
  h.told->announcing = errc::database_down;
  CAF_CHECK_EQUAL(h.call(h.route_of("ops_refund"), role::operator_).status,
                  503);
  CAF_CHECK(h.told->take().empty());
  // A fault on demand is.
  CAF_CHECK_EQUAL(h.call(h.route_of("ops_actor_kill"), role::operator_).status,
                  200);
  CAF_CHECK_EQUAL(h.told->take(), (lines{"act"}));
}

CAF_TEST(what was done is answered although its outcome cannot be written) {
  auto h = house{};
  h.told->closing = errc::database_down;
  CAF_CHECK_EQUAL(h.call(h.route_of("ops_refund"), role::operator_).status,
                  200);
}

CAF_TEST(only what may be rehearsed is not written down when it is) {
  auto h = house{};
  auto in = http::request{};
  in.target = "/x/1?dryRun=true";
  h.call(h.route_of("callback_replay"), role::operator_, in);
  CAF_CHECK_EQUAL(h.told->take(), (lines{"act"}));
  h.call(h.route_of("ops_refund"), role::operator_, in);
  CAF_CHECK_EQUAL(h.told->take(),
                  (lines{"announce refund", "act", "close 7 done 200"}));
  in.target = "/x/1?dryRun=false";
  h.call(h.route_of("callback_replay"), role::operator_, in);
  CAF_CHECK_EQUAL(h.told->take(),
                  (lines{"announce replay", "act", "close 7 done 200"}));
}

CAF_TEST(the trail says who what and why) {
  auto h = house{};
  auto in = http::request{};
  in.body = R"({"reason":"asked\nfor","orderId":"o1","n":3,"deep":{"a":1}})";
  h.call(h.route_of("ops_refund"), role::admin, in);
  auto what = h.told->announced();
  CAF_CHECK(what.at == day_one);
  CAF_CHECK_EQUAL(what.actor, "u-1");
  CAF_CHECK_EQUAL(what.role, "admin");
  CAF_CHECK_EQUAL(what.act, "refund");
  CAF_CHECK_EQUAL(what.subject_kind, "subscription");
  CAF_CHECK_EQUAL(what.subject, "x");
  CAF_CHECK_EQUAL(what.reason, "asked?for");
  CAF_CHECK_EQUAL(what.detail, "orderId: o1, n: 3");
  CAF_CHECK_EQUAL(what.request_id, "request-1");
  // Ids of ours are written as everywhere.
  in.body = "not json";
  in.params = {"0000ABCD-0000-0000-0000-000000000001"};
  h.call(h.route_of("ops_refund"), role::operator_, in);
  what = h.told->announced();
  CAF_CHECK_EQUAL(what.reason, "");
  if (const auto id = parse_subscription_id(in.params[0]))
    CAF_CHECK_EQUAL(what.subject, to_text(*id));
  in.params = {std::string(4'000, 'y')};
  in.body = R"({"reason":")" + std::string(3'000, 'z') + R"("})";
  h.call(h.route_of("ops_refund"), role::operator_, in);
  what = h.told->announced();
  // What is cut off shows that it is.
  CAF_CHECK_EQUAL(what.subject, std::string(255, 'y') + "…");
  CAF_CHECK_EQUAL(what.reason, std::string(500, 'z') + "…");
}

// -- rates
// ------------------------------------------------------------------------

CAF_TEST(whoever comes too often gets 429 and is counted) {
  auto h = house{};
  h.ctx->rates = std::make_unique<rate_limiter>(2, 3);
  const auto router = make_public_router(h.ctx);
  const http::route* mine = nullptr;
  for (const auto* x : router.routes())
    if (x->name == "subscription_list")
      mine = x;
  CAF_REQUIRE(mine != nullptr);
  for (auto i = 0; i < 3; ++i)
    CAF_CHECK(h.call(*mine, role::user).status != 429);
  const auto refused = h.call(*mine, role::user);
  CAF_CHECK_EQUAL(refused.status, 429);
  CAF_CHECK(refused.body.find("\"rate_limited\"") != std::string::npos);
  auto retry = std::string{};
  for (const auto& [name, value] : refused.headers)
    if (name == "Retry-After")
      retry = value;
  CAF_CHECK_EQUAL(retry, "1");
  CAF_CHECK(
    h.meters.expose().find(R"(slipway_shed_total{reason="user_rate"} 1)")
    != std::string::npos);
  // No token, no bucket.
  for (auto i = 0; i < 10; ++i)
    CAF_CHECK_EQUAL(h.call(*mine, std::nullopt).status, 401);
}

CAF_TEST(operators have ten times as much) {
  auto h = house{};
  h.ctx->rates = std::make_unique<rate_limiter>(1, 2);
  const auto& route = h.route_of("ops_retry");
  for (const auto who : {role::viewer, role::operator_, role::admin}) {
    h.ctx->rates = std::make_unique<rate_limiter>(1, 2);
    for (auto i = 0; i < 20; ++i)
      CAF_REQUIRE(h.call(route, who).status != 429);
    CAF_CHECK_EQUAL(h.call(route, who).status, 429);
  }
}

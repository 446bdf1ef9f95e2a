#include "http/sandbox/railway_simulator.hpp"

#include "http/crypto/digest.hpp"
#include "http/crypto/form.hpp"
#include "http/sandbox/railway_graph.hpp"
#include "http/sandbox/railway_schema.hpp"
#include "http/sandbox/timer.hpp"

#include <algorithm>
#include <array>
#include <mutex>

namespace slipway::sandbox {

namespace {

namespace json_ns = boost::json;

constexpr auto slow_max = std::int64_t{120'000};

/// What can be done to a deployment by hand, and to which it makes sense.
struct deed {
  std::string_view name;
  std::string_view label;
  tl::expected<bool, railway::field_error> (railway::world::*run)(
    const std::string&);
  bool (*fits)(const railway::deployment&);
};

bool is_running(const railway::deployment& x) {
  return x.status == "SUCCESS" && !x.stopped;
}

constexpr auto deeds = std::array<deed, 7>{{
  {"crash", "崩溃 Crash", &railway::world::crash, is_running},
  {"degrade", "降级 Degrade", &railway::world::degrade, is_running},
  {"sleep", "休眠 Sleep", &railway::world::sleep, is_running},
  {"wake", "唤醒 Wake", &railway::world::wake,
   [](const railway::deployment& x) {
     return x.status == "SLEEPING";
   }},
  {"stop", "停止 Stop", &railway::world::stop, is_running},
  {"release", "放行 Release", &railway::world::release,
   [](const railway::deployment& x) {
     return x.hang_in == x.status;
   }},
  {"remove", "移除 Remove", &railway::world::remove,
   [](const railway::deployment& x) {
     return x.status != "REMOVING" && x.status != "REMOVED"
            && x.status != "SKIPPED";
   }},
}};

std::string mask(std::string_view value) {
  if (value.empty())
    return "";
  return value.size() < 8 ? "•••" : std::string{value.substr(0, 2)} + "•••";
}

std::string_view tone(std::string_view status) {
  if (status == "SUCCESS")
    return "good";
  return status == "FAILED" || status == "CRASHED" ? "bad" : "dim";
}

} // namespace

struct railway_simulator::impl : std::enable_shared_from_this<impl> {
  impl(railway_simulator_options given, const clock& clock_in)
    : options{std::move(given)}, time{clock_in}, world{options, clock_in} {
    window_start = time.now();
    initial = world.knobs;
  }

  // -- life -------------------------------------------------------------------

  tl::expected<void, std::string> start() {
    if (options.token.empty() || options.workspace_id.empty())
      return tl::unexpected{
        std::string{"sandbox: railway needs a token and a workspace id"}};
    auto read = railway_schema();
    if (!read)
      return tl::unexpected{"sandbox: railway schema: " + read.error()};
    schema = std::move(*read);
    http::router routes;
    add_style(routes);
    const auto to = [this](void (impl::*run)(http::exchange&)) {
      return [this, run](std::shared_ptr<http::exchange> x) {
        (this->*run)(*x);
      };
    };
    using http::method;
    routes.add(method::get, "/", "home", to(&impl::home))
      .add(method::post, "/graphql/v2", "graphql",
           [this](std::shared_ptr<http::exchange> x) {
             admit(std::move(x));
           })
      .add(method::get, "/sandbox/railway", "switches", to(&impl::show))
      .add(method::put, "/sandbox/railway", "switches", to(&impl::put))
      .add(method::post, "/sandbox/railway", "switches", to(&impl::post))
      .add(method::post, "/sandbox/railway/deployments/{id}/{deed}", "deed",
           to(&impl::act))
      .add(method::post, "/sandbox/railway/projects/{id}/delete", "delete",
           to(&impl::remove_project));
    auto limits = server_for(options.listen);
    limits.request_timeout = millis{slow_max + 10'000};
    server.emplace(limits, std::move(routes));
    return server->start();
  }

  void stop() {
    if (server)
      server->stop(millis{500});
    clockwork.stop();
  }

  // -- the API ----------------------------------------------------------------

  std::string trace_id() {
    auto result = world.uuid();
    result.erase(std::remove(result.begin(), result.end(), '-'), result.end());
    return result;
  }

  /// The budget of this hour. Called under the lock.
  void renew_window() {
    const auto now = time.now();
    if (now < window_start + std::chrono::hours{1})
      return;
    window_start = now;
    used = 0;
  }

  [[nodiscard]] std::int64_t left() const {
    return std::max<std::int64_t>(0, world.knobs.requests_per_hour
                                       - static_cast<std::int64_t>(used));
  }

  [[nodiscard]] timestamp window_end() const {
    return window_start + std::chrono::hours{1};
  }

  http::response with_budget(http::response answer) const {
    const auto reset = std::chrono::duration_cast<std::chrono::seconds>(
      window_end().time_since_epoch());
    answer.headers.emplace_back("X-RateLimit-Limit",
                                std::to_string(world.knobs.requests_per_hour));
    answer.headers.emplace_back("X-RateLimit-Remaining",
                                std::to_string(left()));
    answer.headers.emplace_back("X-RateLimit-Reset",
                                std::to_string(reset.count()));
    return answer;
  }

  static http::response gateway_page(int status, std::string_view text) {
    return {status,
            "text/html",
            "<html><body>" + std::string{text} + "</body></html>",
            {}};
  }

  http::response
  error(int status, std::string_view message, std::string_view code) {
    json_ns::object entry;
    entry["message"] = message;
    entry["extensions"]
      = json_ns::object{{"code", code}, {"traceId", trace_id()}};
    json_ns::object body;
    body["errors"] = json_ns::array{std::move(entry)};
    return json(status, json_ns::serialize(body));
  }

  http::response throttled(std::int64_t seconds) {
    auto answer = error(429, "Rate limit exceeded", "RATE_LIMITED");
    answer.headers.emplace_back("Retry-After", std::to_string(seconds));
    return with_budget(std::move(answer));
  }

  void admit(std::shared_ptr<http::exchange> x) {
    auto pause = millis{0};
    {
      const auto lock = std::lock_guard{mutex};
      pause = millis{world.knobs.slow_ms};
    }
    if (pause.count() == 0) {
      graphql(*x);
      return;
    }
    const auto armed = clockwork.after(pause, [weak = weak_from_this(), x] {
      if (auto self = weak.lock())
        self->graphql(*x);
    });
    if (!armed)
      x->answer(gateway_page(503, "overloaded"));
  }

  void graphql(http::exchange& x) {
    const auto lock = std::lock_guard{mutex};
    auto& knobs = world.knobs;
    if (knobs.down) {
      x.answer(gateway_page(502, "Application failed to respond"));
      return;
    }
    renew_window();
    if (knobs.rate_limited > 0) {
      --knobs.rate_limited;
      x.answer(throttled(1));
      return;
    }
    if (left() == 0) {
      const auto wait
        = std::chrono::ceil<std::chrono::seconds>(window_end() - time.now());
      x.answer(throttled(wait.count()));
      return;
    }
    ++used;
    auto ec = json_ns::error_code{};
    const auto body = json_ns::parse(x.in().body, ec);
    const auto* asked = ec ? nullptr : body.if_object();
    const auto* query
      = asked == nullptr ? nullptr : asked->if_contains("query");
    if (query == nullptr || !query->is_string()) {
      x.answer(with_budget(
        error(400, "The body must be JSON with a query.", "BAD_REQUEST")));
      return;
    }
    if (knobs.opaque_errors > 0) {
      --knobs.opaque_errors;
      json_ns::object entry;
      entry["message"] = "Problem processing request";
      entry["traceId"] = trace_id();
      json_ns::object sorry;
      sorry["data"] = nullptr;
      sorry["errors"] = json_ns::array{std::move(entry)};
      x.answer(with_budget(json(200, json_ns::serialize(sorry))));
      return;
    }
    const auto header = x.in().headers.find("Authorization").value_or("");
    if (!header.empty() && header.substr(0, 7) != "Bearer ") {
      x.answer(with_budget(error(200, "Not Authorized", "UNAUTHENTICATED")));
      return;
    }
    x.answer(run(*asked, header));
  }

  http::response run(const json_ns::object& asked, std::string_view header) {
    graphql::request what;
    what.query = asked.at("query").get_string();
    if (const auto* name = asked.if_contains("operationName");
        name != nullptr && name->is_string())
      what.operation_name = name->get_string();
    if (const auto* variables = asked.if_contains("variables");
        variables != nullptr && !variables->is_null()) {
      if (!variables->is_object())
        return with_budget(
          error(400, "variables must be an object.", "BAD_USER_INPUT"));
      what.variables = variables->get_object();
    }
    const auto known
      = crypto::constant_time_equal(header, "Bearer " + options.token);
    world.catch_up();
    auto graph = railway::graph{world,
                                {options.workspace_id, options.account_token,
                                 left(), to_rfc3339(window_end())}};
    const auto done = graphql::execute(
      schema, what,
      [&](bool is_mutation, std::string_view field,
          const json_ns::object& arguments) -> graphql::resolved {
        // Published templates can be read by everybody.
        const auto is_public = !is_mutation && field == "template";
        if (!known && !(is_public && header.empty()))
          return graphql::field_error{
            "Not Authorized",
            header == "Bearer " ? "UNAUTHENTICATED" : "INTERNAL_SERVER_ERROR"};
        return graph.root(is_mutation, field, arguments);
      },
      trace_id());
    if (done.is_mutation && world.knobs.lost_answers > 0) {
      --world.knobs.lost_answers;
      return gateway_page(504, "upstream request timeout");
    }
    return with_budget(json(done.status, json_ns::serialize(done.body)));
  }

  // -- for people and scripts -------------------------------------------------

  void show(http::exchange& x) {
    const auto lock = std::lock_guard{mutex};
    x.answer(json(200, json_ns::serialize(railway::to_json(world.knobs))));
  }

  void put(http::exchange& x) {
    auto ec = json_ns::error_code{};
    const auto body = json_ns::parse(x.in().body, ec);
    if (ec || !body.is_object()) {
      x.fail(400, "bad_request", "The body must be a JSON object.");
      return;
    }
    const auto lock = std::lock_guard{mutex};
    if (const auto wrong = railway::update(world.knobs, body.get_object());
        !wrong.empty())
      x.fail(400, "bad_request", wrong);
    else
      x.answer(json(200, json_ns::serialize(railway::to_json(world.knobs))));
  }

  /// The form of the page.
  void post(http::exchange& x) {
    const auto form = crypto::decode_form(x.in().body);
    if (!form) {
      x.fail(400, "bad_request", to_string(form.error()));
      return;
    }
    const auto lock = std::lock_guard{mutex};
    if (const auto wrong = railway::update(world.knobs, *form); !wrong.empty())
      x.fail(400, "bad_request", wrong);
    else
      x.answer(see_other("/"));
  }

  template <class T>
  static void
  finish(http::exchange& x, const tl::expected<T, railway::field_error>& done) {
    if (!done)
      x.fail(409, "conflict", done.error().message);
    else
      x.answer(see_other("/"));
  }

  /// What people do to a deployment behind everybody's back.
  void act(http::exchange& x) {
    const auto& id = x.in().param(0);
    const auto& deed = x.in().param(1);
    const auto lock = std::lock_guard{mutex};
    world.catch_up();
    for (const auto& each : deeds)
      if (each.name == deed) {
        finish(x, (world.*each.run)(id));
        return;
      }
    if (deed == "redeploy")
      finish(x, world.redeploy(id));
    else if (deed == "log")
      say(x, id);
    else
      x.fail(404, "not_found", "There is no such deed.");
  }

  /// `{"message", "severity", "build"}`: a line for the log.
  void say(http::exchange& x, const std::string& id) {
    auto ec = json_ns::error_code{};
    const auto body = json_ns::parse(x.in().body, ec);
    const auto* given = ec ? nullptr : body.if_object();
    const auto text = [&](std::string_view name, std::string_view otherwise) {
      const auto* value = given->if_contains(name);
      return value != nullptr && value->is_string()
               ? std::string{value->get_string()}
               : std::string{otherwise};
    };
    if (given == nullptr) {
      x.fail(400, "bad_request", "The body must be a JSON object.");
      return;
    }
    const auto* in_build = given->if_contains("build");
    finish(x, world.say(id, in_build != nullptr && *in_build == true,
                        text("severity", "info"), text("message", "")));
  }

  void remove_project(http::exchange& x) {
    const auto lock = std::lock_guard{mutex};
    world.catch_up();
    finish(x, world.delete_project(x.in().param(0), false));
  }

  void home(http::exchange& x) {
    const auto lock = std::lock_guard{mutex};
    world.catch_up();
    auto body = std::string{"<div class=\"card\"><h1>Railway <small>simulated "
                            "provider · 模拟部署平台</small></h1>"};
    body += switches_form() + "</div>";
    auto all = world.projects();
    auto shown = 0;
    for (auto i = all.rbegin(); i != all.rend() && shown < 100; ++i, ++shown)
      body += project_card(**i);
    if (all.empty())
      body += "<p class=\"dim\">还没有项目 No projects yet</p>";
    x.answer(page(200, "Railway", body));
  }

  std::string switches_form() const {
    return "<form method=\"post\" action=\"/sandbox/railway\">"
           + railway::to_html(world.knobs, initial)
           + "<p><button>保存 Save</button></p></form>";
  }

  std::string project_card(const railway::project& x) const {
    auto text = "<div class=\"card\"><h2>" + escape(x.name);
    if (x.deleted)
      text += " <small class=\"bad\">已删除 deleted " + to_rfc3339(*x.deleted)
              + "</small>";
    text += "</h2><p class=\"dim\">" + escape(x.description) + " <code>" + x.id
            + "</code></p>";
    if (!x.deleted)
      text += "<form method=\"post\" action=\"/sandbox/railway/projects/" + x.id
              + "/delete\"><button class=\"small\">删除 Delete</button></form>";
    for (const auto* each : world.services_of(x))
      text += service_part(*each);
    return text + "</div>";
  }

  std::string service_part(const railway::service& x) const {
    auto text = "<h2>" + escape(x.name) + " <small>" + escape(x.source())
                + "</small></h2><dl>";
    for (const auto& each : x.domains)
      text += "<dt>域名 domain</dt><dd>" + escape(each.domain) + "</dd>";
    for (const auto& [name, value] : x.variables())
      text += "<dt><code>" + escape(name) + "</code></dt><dd><code>"
              + escape(mask(value)) + "</code></dd>";
    text += "</dl><div class=\"scroll\"><table><tr><th>部署 deployment<th>状态 "
            "status<th>起 since<th></tr>";
    auto shown = 0;
    for (auto i = x.deployments.rbegin();
         i != x.deployments.rend() && shown < 10; ++i, ++shown) {
      const auto& each = *world.find_deployment(*i);
      text += "<tr><td><code>" + each.id.substr(0, 8) + "</code><td class=\"";
      text += tone(each.status);
      text += "\">";
      text += each.status;
      text += each.stopped ? " (stopped)" : "";
      text += "<td>" + to_rfc3339(each.since) + "<td>";
      const auto button = [&](std::string_view name, std::string_view label) {
        text += "<form class=\"inline\" method=\"post\" "
                "action=\"/sandbox/railway/deployments/"
                + each.id + "/" + std::string{name}
                + "\"><button class=\"small\">" + std::string{label}
                + "</button></form> ";
      };
      for (const auto& one : deeds)
        if (one.fits(each))
          button(one.name, one.label);
      if (!railway::is_in_progress(each))
        button("redeploy", "重新部署 Redeploy");
      text += "</tr>";
    }
    return text + "</table></div>";
  }

  railway_simulator_options options;
  const clock& time;
  std::mutex mutex;
  railway::world world;
  railway::switches initial;
  graphql::schema schema;
  timestamp window_start;
  std::uint64_t used = 0;
  timer clockwork{1'000};
  std::optional<http::server> server;
};

railway_simulator::railway_simulator(railway_simulator_options options,
                                     const clock& time)
  : impl_{std::make_shared<impl>(std::move(options), time)} {
}

railway_simulator::~railway_simulator() {
  impl_->stop();
}

tl::expected<void, std::string> railway_simulator::start() {
  return impl_->start();
}

void railway_simulator::stop() {
  impl_->stop();
}

std::uint16_t railway_simulator::port() const noexcept {
  return impl_->server ? impl_->server->port() : std::uint16_t{0};
}

std::string railway_simulator::endpoint() const {
  return impl_->server ? impl_->server->url() + "/graphql/v2" : std::string{};
}

} // namespace slipway::sandbox

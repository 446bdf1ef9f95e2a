#include "http/sandbox/railway_simulator.hpp"

#include "http/crypto/form.hpp"
#include "http/sandbox/railway_desk.hpp"
#include "http/sandbox/railway_hooks.hpp"
#include "http/sandbox/railway_json.hpp"
#include "http/sandbox/railway_page.hpp"
#include "http/sandbox/railway_schema.hpp"
#include "http/sandbox/railway_sockets.hpp"
#include "http/sandbox/timer.hpp"

#include <mutex>

namespace slipway::sandbox {

namespace {

namespace json_ns = boost::json;

/// The longest `slowMs`, and some.
constexpr auto request_timeout = millis{130'000};

constexpr auto sockets_max = std::size_t{64};

/// How often somebody looks who has to be told.
constexpr auto pulse = millis{20};

} // namespace

struct railway_simulator::impl : std::enable_shared_from_this<impl> {
  impl(railway_simulator_options given, const clock& time)
    : options{std::move(given)}, world{options, time}, initial{world.knobs},
      hooks{world, options.workspace_id, time, options.seed} {
    world.on_change
      = [this](const railway::project& of, const railway::service& in,
               const railway::deployment& x, railway::change what) {
          hooks.told(of, in, x, what);
        };
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
    desk.emplace(options, schema, world);
    sockets
      = std::make_shared<railway::sockets>(mutex, world, *desk, schema, [this] {
          keep_looking();
        });
    http::router routes;
    add_style(routes);
    // Everything happens under the lock, at one moment.
    const auto to = [this](void (impl::*run)(http::exchange&)) {
      return [this, run](const std::shared_ptr<http::exchange>& x) {
        const auto lock = std::lock_guard{mutex};
        world.catch_up();
        (this->*run)(*x);
      };
    };
    using http::method;
    routes.add(method::get, "/", "home", to(&impl::home))
      .add(method::post, "/graphql/v2", "graphql",
           [this](std::shared_ptr<http::exchange> x) {
             admit(std::move(x));
           })
      .add(method::get, "/graphql/v2", "socket",
           [this](const std::shared_ptr<http::exchange>& x) {
             const auto lock = std::lock_guard{mutex};
             world.catch_up();
             sockets->open(x);
           })
      .add(method::get, "/sandbox/railway", "switches", to(&impl::show))
      .add(method::put, "/sandbox/railway", "switches", to(&impl::put))
      .add(method::post, "/sandbox/railway", "switches", to(&impl::post))
      .add(method::get, "/sandbox/railway/state", "state", to(&impl::state))
      .add(method::post, "/sandbox/railway/deployments/{id}/{deed}", "deed",
           to(&impl::act))
      .add(method::post, "/sandbox/railway/projects/{id}/delete", "delete",
           to(&impl::delete_project))
      .add(method::post, "/sandbox/railway/services/{id}/delete", "delete",
           to(&impl::delete_service));
    auto limits = server_for(options.listen);
    limits.request_timeout = request_timeout;
    limits.max_streams = sockets_max;
    server.emplace(limits, std::move(routes));
    return server->start();
  }

  void stop() {
    clockwork.stop();
    if (server)
      server->stop(millis{500});
    hooks.stop();
  }

  /// Things happen when somebody looks. Whoever is to be told of them needs
  /// somebody who does.
  void keep_looking() {
    if (is_looking || (!hooks.needed() && sockets->size() == 0))
      return;
    is_looking = clockwork.after(pulse, [weak = weak_from_this()] {
      if (auto self = weak.lock()) {
        const auto lock = std::lock_guard{self->mutex};
        self->is_looking = false;
        self->world.catch_up();
        self->sockets->pump();
        self->keep_looking();
      }
    });
  }

  // -- the API ----------------------------------------------------------------

  void admit(std::shared_ptr<http::exchange> x) {
    auto pause = millis{0};
    {
      const auto lock = std::lock_guard{mutex};
      pause = millis{world.knobs.slow_ms};
    }
    if (pause.count() == 0) {
      answer(*x);
      return;
    }
    const auto armed = clockwork.after(pause, [weak = weak_from_this(), x] {
      if (auto self = weak.lock())
        self->answer(*x);
    });
    if (!armed)
      x->answer(railway::desk::gateway_page(503, "overloaded"));
  }

  void answer(http::exchange& x) {
    const auto lock = std::lock_guard{mutex};
    world.catch_up();
    x.answer(desk->answer(x.in()));
    keep_looking();
  }

  // -- for people and scripts -------------------------------------------------

  void show(http::exchange& x) {
    x.answer(json(200, json_ns::serialize(railway::to_json(world.knobs))));
  }

  void put(http::exchange& x) {
    auto ec = json_ns::error_code{};
    const auto body = json_ns::parse(x.in().body, ec);
    if (ec || !body.is_object()) {
      x.fail(400, "bad_request", "The body must be a JSON object.");
      return;
    }
    if (const auto wrong = railway::update(world.knobs, body.get_object());
        !wrong.empty())
      x.fail(400, "bad_request", wrong);
    else
      show(x);
  }

  /// The form of the page.
  void post(http::exchange& x) {
    const auto form = crypto::decode_form(x.in().body);
    if (!form) {
      x.fail(400, "bad_request", to_string(form.error()));
      return;
    }
    if (const auto wrong = railway::update(world.knobs, *form); !wrong.empty())
      x.fail(400, "bad_request", wrong);
    else
      x.answer(see_other("/"));
  }

  static void
  finish(http::exchange& x, const railway::world::outcome<bool>& done) {
    if (!done)
      x.fail(409, "conflict", done.error().message);
    else
      x.answer(see_other("/"));
  }

  /// What people do to a deployment behind everybody's back.
  void act(http::exchange& x) {
    const auto& id = x.in().param(0);
    const auto& deed = x.in().param(1);
    if (deed == "log")
      say(x, id);
    else if (const auto done = railway::perform(world, deed, id))
      finish(x, *done);
    else
      x.fail(404, "not_found", "There is no such deed.");
  }

  /// `{"message", "severity", "build"}`: a line for the log.
  void say(http::exchange& x, const std::string& id) {
    auto ec = json_ns::error_code{};
    const auto body = json_ns::parse(x.in().body, ec);
    if (ec || !body.is_object()) {
      x.fail(400, "bad_request", "The body must be a JSON object.");
      return;
    }
    const auto& line = body.get_object();
    auto severity = railway::text_of(line, "severity");
    if (severity.empty())
      severity = "info";
    finish(x,
           world.say(id, railway::flag_of(line, "build"), std::move(severity),
                     railway::text_of(line, "message")));
  }

  void delete_project(http::exchange& x) {
    finish(x, world.delete_project(x.in().param(0), false));
  }

  void delete_service(http::exchange& x) {
    finish(x, world.delete_service(x.in().param(0), ""));
  }

  [[nodiscard]] railway::surroundings around() const {
    return {initial,      options.workspace_id, desk->used(),
            desk->left(), desk->window_end(),   sockets->size(),
            hooks.sent()};
  }

  void home(http::exchange& x) {
    x.answer(page(200, "Railway", railway::to_html(world, around())));
  }

  void state(http::exchange& x) {
    x.answer(json(200, json_ns::serialize(railway::to_json(world, around()))));
  }

  railway_simulator_options options;
  std::mutex mutex;
  railway::world world;
  railway::switches initial;
  railway::hooks hooks;
  graphql::schema schema;
  std::optional<railway::desk> desk;
  std::shared_ptr<railway::sockets> sockets;
  bool is_looking = false;
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

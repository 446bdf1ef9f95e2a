#include "http/sandbox/railway_sockets.hpp"

#include "http/sandbox/railway_json.hpp"

#include <utility>

namespace slipway::sandbox::railway {

namespace json = boost::json;

namespace {

constexpr auto protocol = "graphql-transport-ws";

/// A client that does not introduce itself is thrown out.
constexpr auto introduction = millis{10'000};

/// Of one socket.
constexpr auto subscriptions_max = std::size_t{16};

/// Close codes of the protocol, and one of RFC 6455.
constexpr auto service_restart = std::uint16_t{1012};
constexpr auto bad_message = std::uint16_t{4400};
constexpr auto unauthorized = std::uint16_t{4401};
constexpr auto bad_protocol = std::uint16_t{4406};
constexpr auto no_introduction = std::uint16_t{4408};
constexpr auto taken_id = std::uint16_t{4409};
constexpr auto introduced_twice = std::uint16_t{4429};

std::string message(std::string_view type, const std::string& id,
                    json::value payload = nullptr) {
  json::object x;
  if (!id.empty())
    x["id"] = id;
  x["type"] = type;
  if (!payload.is_null())
    x["payload"] = std::move(payload);
  return json::serialize(x);
}

} // namespace

/// Somebody who follows a log.
struct sockets::subscription {
  graphql::prepared what;
  bool is_build;
  std::string deployment_id;
  /// The last line that was sent.
  std::optional<log_line::place> seen = {};
};

struct sockets::session {
  std::shared_ptr<websocket> wire;
  std::string authorization;
  timestamp opened;
  bool is_introduced = false;
  std::map<std::string, subscription> all = {};
};

sockets::sockets(std::mutex& lock, world& all, desk& answers,
                 const graphql::schema& types, std::function<void()> on_change)
  : lock_{lock}, all_{all}, answers_{answers}, types_{types},
    on_change_{std::move(on_change)} {
}

sockets::~sockets() = default;

// -- coming and going ---------------------------------------------------------

void sockets::open(const std::shared_ptr<http::exchange>& x) {
  if (!websocket::is_wanted(x->in())) {
    x->fail(400, "bad_request", "Send a POST, or open a WebSocket.");
    return;
  }
  if (all_.knobs.down || all_.knobs.sockets_down) {
    x->answer(desk::gateway_page(502, "Application failed to respond"));
    return;
  }
  const auto header = x->in().headers.find("Authorization").value_or("");
  websocket::handlers react;
  react.on_open = [weak = weak_from_this(), who = std::string{header}](
                    const std::shared_ptr<websocket>& wire) {
    if (auto self = weak.lock()) {
      const auto lock = std::lock_guard{self->lock_};
      self->all_.catch_up();
      self->on_open(wire, who);
    }
  };
  react.on_text
    = [weak = weak_from_this()](const std::shared_ptr<websocket>& wire,
                                std::string_view text) {
        if (auto self = weak.lock()) {
          const auto lock = std::lock_guard{self->lock_};
          self->all_.catch_up();
          self->on_text(wire, text);
        }
      };
  react.on_closed = [weak = weak_from_this()](const websocket* wire) {
    if (auto self = weak.lock()) {
      const auto lock = std::lock_guard{self->lock_};
      self->all_sessions_.erase(wire);
    }
  };
  websocket_options options;
  options.subprotocol = protocol;
  x->upgrade(
    std::make_shared<websocket>(x->in(), std::move(options), std::move(react)));
}

void sockets::on_open(const std::shared_ptr<websocket>& wire,
                      const std::string& authorization) {
  if (!wire->is_agreed()) {
    wire->end(bad_protocol, "Subprotocol not acceptable");
    return;
  }
  all_sessions_.emplace(wire.get(),
                        session{wire, authorization, all_.now(), false, {}});
  on_change_();
}

// -- what they say ------------------------------------------------------------

void sockets::on_text(const std::shared_ptr<websocket>& wire,
                      std::string_view text) {
  const auto found = all_sessions_.find(wire.get());
  if (found == all_sessions_.end())
    return;
  auto& by = found->second;
  auto ec = json::error_code{};
  const auto parsed = json::parse(text, ec);
  const auto* said = ec ? nullptr : parsed.if_object();
  const auto type = said == nullptr ? std::string{} : text_of(*said, "type");
  if (type == "connection_init") {
    if (std::exchange(by.is_introduced, true))
      wire->end(introduced_twice, "Too many initialisation requests");
    else
      wire->send(message("connection_ack", ""));
  } else if (type == "ping") {
    const auto* payload = said->if_contains("payload");
    wire->send(message("pong", "",
                       payload == nullptr ? json::value(nullptr) : *payload));
  } else if (type == "pong") {
    // nop
  } else if (type == "complete") {
    by.all.erase(text_of(*said, "id"));
  } else if (type != "subscribe" || text_of(*said, "id").empty()) {
    wire->end(bad_message, "Invalid message received");
  } else if (!by.is_introduced) {
    wire->end(unauthorized, "Unauthorized");
  } else {
    subscribe(by, text_of(*said, "id"), object_of(*said, "payload"));
  }
}

void sockets::subscribe(session& by, const std::string& id,
                        const json::object& payload) {
  if (by.all.count(id) != 0) {
    by.wire->end(taken_id, "Subscriber for " + id + " already exists");
    return;
  }
  const auto refuse = [&](std::string_view why) {
    by.wire->send(
      message("error", id,
              json::array{json::object{
                {"message", why},
                {"extensions", json::object{{"code", "BAD_REQUEST"}}}}}));
  };
  if (by.all.size() >= subscriptions_max) {
    refuse("There are too many subscriptions.");
    return;
  }
  const auto query = text_of(payload, "query");
  const auto name = text_of(payload, "operationName");
  auto ready
    = graphql::prepare(types_, {query, name, object_of(payload, "variables")});
  if (!ready) {
    by.wire->send(message("error", id, ready.error().body.at("errors")));
    return;
  }
  if (ready->kind() != graphql::operation_kind::subscription) {
    refuse("Only subscriptions are served over WebSocket.");
    return;
  }
  const auto& root = ready->roots().front();
  auto made = subscription{std::move(*ready), root.name == "buildLogs",
                           text_of(root.arguments, "deploymentId")};
  if (serve(by, id, made))
    by.all.emplace(id, std::move(made));
}

// -- what they hear -----------------------------------------------------------

bool sockets::serve(session& to, const std::string& id, subscription& x) {
  const auto* about = all_.find_deployment(x.deployment_id);
  if (about != nullptr && !all_.is_found(about->created))
    about = nullptr;
  auto lines = std::vector<log_line>{};
  if (about != nullptr)
    lines = all_.log_of(*about, x.is_build, x.seen);
  const auto is_first = !x.seen;
  const auto is_over
    = about == nullptr
      || (x.is_build ? !is_in_progress(*about) || about->status == "DEPLOYING"
                     : about->status == "FAILED" || about->status == "REMOVED"
                         || about->status == "SKIPPED");
  if (is_first || !lines.empty()) {
    x.seen = lines.empty() ? log_line::place{} : lines.back().position();
    const auto said
      = answers_.run(x.what, to.authorization,
                     [&](const graph& from) -> std::optional<resolved> {
                       if (about == nullptr)
                         return not_found("Deployment");
                       return from.show().logs(
                         *about, lines, x.what.roots().front().arguments);
                     });
    if (const auto* errors = said.if_contains("errors")) {
      to.wire->send(message("error", id, *errors));
      return false;
    }
    // An answer without lines would say nothing.
    if (!lines.empty())
      to.wire->send(message("next", id, json::value(said)));
  }
  if (is_over)
    to.wire->send(message("complete", id));
  return !is_over;
}

void sockets::pump() {
  const auto is_closed = all_.knobs.down || all_.knobs.sockets_down;
  for (auto& [wire, each] : all_sessions_) {
    if (is_closed) {
      each.wire->end(service_restart, "Service Restart");
      each.all.clear();
      continue;
    }
    if (!each.is_introduced && all_.now() >= each.opened + introduction)
      each.wire->end(no_introduction, "Connection initialisation timeout");
    for (auto i = each.all.begin(); i != each.all.end();)
      i = serve(each, i->first, i->second) ? std::next(i) : each.all.erase(i);
  }
}

} // namespace slipway::sandbox::railway

#include "http/sandbox/railway_hooks.hpp"

#include "http/sandbox/railway_json.hpp"

#include <algorithm>

namespace slipway::sandbox::railway {

namespace json = boost::json;

namespace {

constexpr auto timeout = millis{5'000};

std::string_view severity_of(std::string_view type) {
  if (type == "Deployment.failed" || type == "Deployment.crashed")
    return "CRITICAL";
  return type == "Deployment.removed" ? "NOTICE" : "INFO";
}

bool wants(const notification_rule& x, const project& of,
           std::string_view type) {
  const auto has = [](const std::vector<std::string>& all, std::string_view y) {
    return std::find(all.begin(), all.end(), y) != all.end();
  };
  return (x.project_id.empty() || x.project_id == of.id)
         && has(x.event_types, type)
         && (x.severities.empty() || has(x.severities, severity_of(type)));
}

bool is_webhook(const notification_rule::channel& x) {
  return text_of(x.config, "type") == "webhook"
         && is_web(text_of(x.config, "url"));
}

} // namespace

hooks::hooks(const world& all, std::string workspace_id, const clock& time,
             std::uint64_t seed)
  : all_{all}, workspace_id_{std::move(workspace_id)}, time_{time},
    record_{std::make_shared<record>()} {
  // Not the world's own numbers: ids do not depend on who listens.
  random_.seed(seed == 0 ? std::random_device{}() : seed + 1);
}

hooks::~hooks() {
  stop();
}

void hooks::open() {
  if (courier_)
    return;
  client::curl_client_options options;
  options.in_flight_max = 16;
  options.queue_max = 1'000;
  options.user_agent = "RailwayWebhooks/sandbox";
  network_.emplace(options);
  courier_.emplace(std::vector<millis>{}, timeout, time_, *network_,
                   [to = record_](const std::string&, delivery what) {
                     const auto lock = std::lock_guard{to->mutex};
                     remember(to->all, std::move(what));
                   });
}

void hooks::stop() {
  if (courier_)
    courier_->stop();
  if (network_)
    network_->stop();
}

bool hooks::needed() const {
  return std::any_of(all_.rules().begin(), all_.rules().end(),
                     [](const auto& x) {
                       return std::any_of(x.second.channels.begin(),
                                          x.second.channels.end(), is_webhook);
                     });
}

std::deque<delivery> hooks::sent() const {
  const auto lock = std::lock_guard{record_->mutex};
  return record_->all;
}

std::string hooks::write(const project& of, const service& in,
                         const deployment& x, change what) const {
  auto type = what.type;
  auto status = x.status;
  if (all_.knobs.webhook_lies) {
    type = "Deployment.failed";
    status = "SUCCESS";
  }
  const auto named = [](const std::string& id, std::string_view name) {
    return json::object{{"id", id}, {"name", name}};
  };
  auto environment = named(of.environment_id, of.environment_name);
  environment["isEphemeral"] = false;
  const auto* source
    = object_of(in.config, "source").contains("image") ? "image" : "github";
  return json::serialize(json::object{
    {"type", type},
    {"details", json::object{{"id", x.id},
                             {"source", source},
                             {"status", status},
                             {"branch", nullptr},
                             {"commitHash", nullptr},
                             {"commitAuthor", nullptr},
                             {"commitMessage", nullptr}}},
    {"resource",
     json::object{{"workspace", named(workspace_id_, "Slipway sandbox")},
                  {"project", named(of.id, of.name)},
                  {"environment", std::move(environment)},
                  {"service", named(in.id, in.name)},
                  {"deployment", json::object{{"id", x.id}}}}},
    {"severity", severity_of(type)},
    {"timestamp", to_rfc3339(what.at)}});
}

void hooks::told(const project& of, const service& in, const deployment& x,
                 change what) {
  const auto& knobs = all_.knobs;
  if (!knobs.webhooks)
    return;
  for (const auto& [id, rule] : all_.rules()) {
    if (!wants(rule, of, what.type))
      continue;
    for (const auto& channel : rule.channels) {
      if (!is_webhook(channel))
        continue;
      open();
      delivery_plan plan;
      plan.lose
        = static_cast<std::int64_t>(random_() % 100) < knobs.webhook_loss;
      plan.delay = millis{knobs.webhook_late_ms};
      plan.copies = knobs.webhook_doubled ? 2 : 1;
      callback message;
      message.order_no = x.id;
      message.id = x.id;
      message.event = what.type;
      message.url = text_of(channel.config, "url");
      message.write = [body = write(of, in, x, what)](timestamp, bool) {
        return callback::message{{{"Content-Type", "application/json"}}, body};
      };
      message.is_understood = [](int status, std::string_view) {
        return status >= 200 && status < 300;
      };
      courier_->post(std::move(message), plan);
    }
  }
}

} // namespace slipway::sandbox::railway

#include "http/sandbox/railway_world.hpp"

#include <algorithm>

namespace slipway::sandbox::railway {

namespace json = boost::json;

namespace {

std::string text_of(const json::object& from, std::string_view name) {
  const auto* value = from.if_contains(name);
  if (value == nullptr || !value->is_string())
    return "";
  return {value->get_string().data(), value->get_string().size()};
}

bool flag(const json::object& from, std::string_view name) {
  const auto* value = from.if_contains(name);
  return value != nullptr && value->is_bool() && value->get_bool();
}

const json::object& object_of(const json::object& from, std::string_view name) {
  static const json::object none;
  const auto* value = from.if_contains(name);
  return value != nullptr && value->is_object() ? value->get_object() : none;
}

/// The first label of a domain: letters, digits and dashes.
std::string label(std::string_view name) {
  std::string result;
  for (const auto c : name) {
    if (c >= 'A' && c <= 'Z')
      result += static_cast<char>(c - 'A' + 'a');
    else if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
      result += c;
    else if (!result.empty() && result.back() != '-')
      result += '-';
  }
  result.resize(std::min<std::size_t>(result.size(), 40));
  while (!result.empty() && result.back() == '-')
    result.pop_back();
  return result.empty() ? "service" : result;
}

field_error not_found(std::string_view what) {
  return {std::string{what} + " not found"};
}

} // namespace

world::world(const railway_simulator_options& options, const clock& time)
  : options_{options}, time_{time} {
  random_.seed(options.seed == 0 ? std::random_device{}() : options.seed);
  knobs.cooldown_ms = options_.create_cooldown.count();
  knobs.requests_per_hour = options_.requests_per_hour;
  born_ = now();
  template_id_ = uuid();
  const auto variable = [](std::string_view value, std::string_view about) {
    return json::object{
      {"defaultValue", value}, {"isOptional", true}, {"description", about}};
  };
  json::object app;
  app["name"] = "app";
  app["icon"] = nullptr;
  app["source"] = json::object{{"image", "ghcr.io/slipway-demo/app:1.4.2"}};
  app["deploy"] = json::object{{"startCommand", "/app/serve"},
                               {"healthcheckPath", "/health"}};
  app["networking"] = json::object{
    {"serviceDomains",
     json::object{{"<hasDomain>", json::object{{"port", 8080}}}}},
    {"tcpProxies", json::object{}}};
  app["variables"] = json::object{
    {"PORT", variable("8080", "Where the app listens")},
    {"TIER", variable("basic", "The plan that was bought")},
    {"SUBSCRIPTION_ID", variable("", "Whose instance this is")},
    {"APP_SECRET", variable("${{secret(32)}}", "Signs cookies")}};
  app["volumeMounts"] = json::object{};
  template_config_["services"] = json::object{{uuid(), std::move(app)}};
}

// -- making things up ---------------------------------------------------------

std::string world::uuid() {
  static constexpr auto hex = std::string_view{"0123456789abcdef"};
  auto result = std::string{"xxxxxxxx-xxxx-4xxx-yxxx-xxxxxxxxxxxx"};
  for (auto& c : result) {
    if (c == 'x')
      c = hex[random_() % 16];
    else if (c == 'y')
      c = hex[8 + random_() % 4];
  }
  return result;
}

std::string world::secret(std::size_t length) {
  static constexpr auto signs
    = std::string_view{"abcdefghijklmnopqrstuvwxyz0123456789"};
  std::string result;
  while (result.size() < length)
    result += signs[random_() % signs.size()];
  return result;
}

/// Puts secrets where `${{secret(n)}}` stands.
std::string world::expand(std::string value) {
  constexpr auto open = std::string_view{"${{secret("};
  constexpr auto end = std::string_view{")}}"};
  for (auto at = value.find(open); at != std::string::npos;
       at = value.find(open)) {
    const auto close = value.find(end, at);
    if (close == std::string::npos)
      break;
    auto length = std::size_t{0};
    for (auto i = at + open.size(); i < close; ++i)
      if (value[i] >= '0' && value[i] <= '9' && length < 1'000)
        length = length * 10 + static_cast<std::size_t>(value[i] - '0');
    value.replace(at, close + end.size() - at,
                  secret(std::clamp<std::size_t>(length, 1, 256)));
  }
  return value;
}

bool world::takes_failure(std::string_view kind) {
  if (knobs.fail_count <= 0 || knobs.fail_next != kind)
    return false;
  if (--knobs.fail_count == 0)
    knobs.fail_next.clear();
  return true;
}

// -- looking ------------------------------------------------------------------

const project* world::find_project(const std::string& id) const {
  const auto i = projects_.find(id);
  return i == projects_.end() || i->second.gone ? nullptr : &i->second;
}

const project* world::find_environment(const std::string& id) const {
  const auto i = environments_.find(id);
  return i == environments_.end() ? nullptr : find_project(i->second);
}

const service* world::find_service(const std::string& id) const {
  const auto i = services_.find(id);
  return i == services_.end() || find_project(i->second.project_id) == nullptr
           ? nullptr
           : &i->second;
}

const deployment* world::find_deployment(const std::string& id) const {
  const auto i = deployments_.find(id);
  return i == deployments_.end()
             || find_service(i->second.service_id) == nullptr
           ? nullptr
           : &i->second;
}

const workflow* world::find_workflow(const std::string& id) const {
  const auto i = workflows_.find(id);
  return i == workflows_.end() ? nullptr : &i->second;
}

std::vector<const project*> world::projects() const {
  std::vector<const project*> result;
  for (const auto& id : project_order_)
    result.push_back(&projects_.at(id));
  return result;
}

std::size_t world::live_projects() const {
  return static_cast<std::size_t>(
    std::count_if(projects_.begin(), projects_.end(), [](const auto& x) {
      return !x.second.deleted;
    }));
}

json::object world::variables_of(const project& of, const service* in) const {
  json::object result;
  for (const auto& [name, value] : of.shared)
    result[name] = value;
  if (in == nullptr)
    return result;
  for (const auto& [name, value] : in->variables)
    result[name] = value;
  result["RAILWAY_PROJECT_ID"] = of.id;
  result["RAILWAY_PROJECT_NAME"] = of.name;
  result["RAILWAY_ENVIRONMENT_ID"] = of.environment_id;
  result["RAILWAY_ENVIRONMENT_NAME"] = of.environment_name;
  result["RAILWAY_SERVICE_ID"] = in->id;
  result["RAILWAY_SERVICE_NAME"] = in->name;
  if (!in->domains.empty())
    result["RAILWAY_PUBLIC_DOMAIN"] = in->domains.front().domain;
  return result;
}

// -- doing --------------------------------------------------------------------

void world::catch_up() {
  const auto at = now();
  while (!agenda_.empty() && agenda_.begin()->first <= at) {
    const auto [when, what] = *agenda_.begin();
    agenda_.erase(agenda_.begin());
    if (what.is_workflow) {
      const auto i = workflows_.find(what.id);
      if (i != workflows_.end())
        apply(i->second, when);
    } else {
      const auto i = deployments_.find(what.id);
      if (i != deployments_.end() && i->second.turn == what.turn)
        go_on(i->second, when);
    }
  }
}

project* world::live_project(const std::string& id) {
  const auto i = projects_.find(id);
  return i == projects_.end() || i->second.deleted ? nullptr : &i->second;
}

service*
world::live_service(const std::string& id, const std::string& environment) {
  const auto i = services_.find(id);
  if (i == services_.end() || i->second.environment_id != environment
      || live_project(i->second.project_id) == nullptr)
    return nullptr;
  return &i->second;
}

service_domain&
world::new_domain(service& in, std::optional<std::int64_t> port, timestamp at) {
  static constexpr auto hex = std::string_view{"0123456789abcdef"};
  const auto& of = projects_.at(in.project_id);
  service_domain made;
  made.id = uuid();
  made.port = port;
  made.created = at;
  made.domain = label(in.name) + "-" + label(of.environment_name) + "-";
  for (auto i = 0; i < 4; ++i)
    made.domain += hex[random_() % 16];
  made.domain += ".up.railway.app.localhost";
  in.domains.push_back(std::move(made));
  return in.domains.back();
}

world::outcome<const project*>
world::create_project(const json::object& input) {
  const auto workspace = text_of(input, "workspaceId");
  if (!workspace.empty() && workspace != options_.workspace_id)
    return tl::unexpected{field_error{"Not Authorized"}};
  const auto at = now();
  if (knobs.cooldown && last_create_
      && at < *last_create_ + millis{knobs.cooldown_ms})
    return tl::unexpected{
      field_error{"You are creating projects too quickly. Please wait before "
                  "creating another one (1 project per 30 seconds)."}};
  if (live_projects() >= options_.projects_max)
    return tl::unexpected{
      field_error{"Project limit reached for this plan.", "PLAN_LIMIT"}};
  project made;
  made.id = uuid();
  made.name = text_of(input, "name");
  if (made.name.empty())
    made.name = "quiet-harbour-" + secret(4);
  made.description = text_of(input, "description");
  made.environment_id = uuid();
  made.environment_name = text_of(input, "defaultEnvironmentName");
  if (made.environment_name.empty())
    made.environment_name = "production";
  made.created = at;
  last_create_ = at;
  forget_oldest();
  project_order_.push_back(made.id);
  environments_[made.environment_id] = made.id;
  return &projects_.emplace(made.id, std::move(made)).first->second;
}

void world::forget_oldest() {
  if (project_order_.size() < 2 * options_.projects_max)
    return;
  const auto oldest = std::find_if(
    project_order_.begin(), project_order_.end(), [&](const std::string& id) {
      return projects_.at(id).deleted.has_value();
    });
  if (oldest == project_order_.end())
    return;
  const auto& x = projects_.at(*oldest);
  for (const auto& id : x.services) {
    for (const auto& each : services_.at(id).deployments)
      deployments_.erase(each);
    services_.erase(id);
  }
  for (auto i = workflows_.begin(); i != workflows_.end();)
    i = i->second.project_id == x.id && i->second.done ? workflows_.erase(i)
                                                       : std::next(i);
  environments_.erase(x.environment_id);
  projects_.erase(x.id);
  project_order_.erase(oldest);
}

world::outcome<bool>
world::delete_project(const std::string& id, bool scheduled) {
  auto* x = live_project(id);
  // The real one says this of what has been deleted before, too.
  if (x == nullptr)
    return tl::unexpected{field_error{"Not Authorized"}};
  x->deleted = now();
  x->gone = !scheduled;
  for (const auto& each : x->services)
    for (const auto& own : services_.at(each).deployments)
      begin_removal(deployments_.at(own), *x->deleted);
  catch_up();
  return true;
}

world::outcome<const workflow*>
world::deploy_template(const json::object& input) {
  const auto template_id = text_of(input, "templateId");
  if (template_id != template_id_)
    return tl::unexpected{not_found("Template")};
  const auto* config = input.if_contains("serializedConfig");
  if (config == nullptr || !config->is_object()
      || object_of(config->get_object(), "services").empty())
    return tl::unexpected{field_error{
      "serializedConfig must be an object with services.", "BAD_USER_INPUT"}};
  auto project_id = text_of(input, "projectId");
  const auto environment_id = text_of(input, "environmentId");
  if (project_id.empty()) {
    json::object fresh;
    fresh["workspaceId"] = text_of(input, "workspaceId");
    const auto made = create_project(fresh);
    if (!made)
      return tl::unexpected{made.error()};
    project_id = (*made)->id;
  }
  const auto* into = live_project(project_id);
  if (into == nullptr)
    return tl::unexpected{not_found("Project")};
  if (!environment_id.empty() && environment_id != into->environment_id)
    return tl::unexpected{not_found("Environment")};
  workflow made;
  made.id = uuid();
  made.project_id = project_id;
  made.template_id = template_id;
  made.started = now();
  made.fails = takes_failure("workflow");
  made.config = config->get_object();
  agenda_.emplace(made.started + options_.stages.workflow,
                  due{true, made.id, 0});
  return &workflows_.emplace(made.id, std::move(made)).first->second;
}

void world::apply(workflow& what, timestamp at) {
  what.done = true;
  auto* into = live_project(what.project_id);
  if (what.fails || into == nullptr) {
    what.error = into == nullptr
                   ? "The project has been deleted."
                   : "Failed to create a service of the template.";
    return;
  }
  for (const auto& each : object_of(what.config, "services"))
    if (each.value().is_object())
      add_service(*into, what.template_id, each.key(),
                  each.value().get_object(), at);
  what.config.clear();
}

void world::add_service(project& to, const std::string& template_id,
                        std::string_view key, const json::object& config,
                        timestamp at) {
  service made;
  made.id = uuid();
  made.instance_id = uuid();
  made.project_id = to.id;
  made.environment_id = to.environment_id;
  made.name = text_of(config, "name");
  if (made.name.empty())
    made.name = "service-" + secret(4);
  made.icon = text_of(config, "icon");
  made.image = text_of(object_of(config, "source"), "image");
  const auto& deploy = object_of(config, "deploy");
  made.start_command = text_of(deploy, "startCommand");
  made.healthcheck_path = text_of(deploy, "healthcheckPath");
  made.template_id = template_id;
  made.template_service_id = key;
  made.created = at;
  for (const auto& each : object_of(config, "variables")) {
    if (!each.value().is_object())
      continue;
    const auto& x = each.value().get_object();
    const auto* given = x.if_contains("value");
    auto value = given != nullptr && given->is_string()
                   ? text_of(x, "value")
                   : text_of(x, "defaultValue");
    made.variables[std::string{each.key()}] = expand(std::move(value));
  }
  to.services.push_back(made.id);
  auto& in = services_.emplace(made.id, std::move(made)).first->second;
  for (const auto& each :
       object_of(object_of(config, "networking"), "serviceDomains")) {
    const auto* port = each.value().is_object()
                         ? each.value().get_object().if_contains("port")
                         : nullptr;
    new_domain(in,
               port != nullptr && port->is_int64()
                 ? std::optional{port->get_int64()}
                 : std::nullopt,
               at);
  }
  new_deployment(in, at);
}

world::outcome<bool> world::upsert_variables(const json::object& input) {
  auto* of = live_project(text_of(input, "projectId"));
  if (of == nullptr)
    return tl::unexpected{not_found("Project")};
  if (of->environment_id != text_of(input, "environmentId"))
    return tl::unexpected{not_found("Environment")};
  const auto* given = input.if_contains("variables");
  if (given == nullptr || !given->is_object())
    return tl::unexpected{
      field_error{"variables must be an object.", "BAD_USER_INPUT"}};
  const auto service_id = text_of(input, "serviceId");
  auto* in = service_id.empty() ? nullptr
                                : live_service(service_id, of->environment_id);
  if (!service_id.empty() && in == nullptr)
    return tl::unexpected{not_found("Service")};
  auto& target = in == nullptr ? of->shared : in->variables;
  if (flag(input, "replace"))
    target.clear();
  for (const auto& each : given->get_object())
    target[std::string{each.key()}]
      = each.value().is_string()
          ? expand(std::string{each.value().get_string()})
          : json::serialize(each.value());
  if (flag(input, "skipDeploys"))
    return true;
  for (const auto& id : of->services) {
    auto& each = services_.at(id);
    if ((in == nullptr || in == &each) && !each.deployments.empty())
      new_deployment(each, now());
  }
  return true;
}

world::outcome<const service_domain*>
world::create_domain(const json::object& input) {
  auto* in = live_service(text_of(input, "serviceId"),
                          text_of(input, "environmentId"));
  if (in == nullptr)
    return tl::unexpected{not_found("ServiceInstance")};
  const auto* port = input.if_contains("targetPort");
  return &new_domain(*in,
                     port != nullptr && port->is_int64()
                       ? std::optional{port->get_int64()}
                       : std::nullopt,
                     now());
}

} // namespace slipway::sandbox::railway

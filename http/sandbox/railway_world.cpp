#include "http/sandbox/railway_world.hpp"

#include <algorithm>
#include <array>

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

/// Of one service.
constexpr auto deployments_kept = std::size_t{100};

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

bool is_secret_name(std::string_view name) {
  return name.find("SECRET") != std::string_view::npos
         || name.find("TOKEN") != std::string_view::npos
         || name.find("PASSWORD") != std::string_view::npos
         || name.find("KEY") != std::string_view::npos;
}

} // namespace

world::world(const railway_simulator_options& options, const clock& time)
  : options_{options}, time_{time} {
  random_.seed(options.seed == 0 ? std::random_device{}() : options.seed);
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

standing world::standing_of(const deployment& x) const {
  const auto at = now();
  const auto& stages = options_.stages;
  const auto& in = services_.at(x.service_id);
  const auto& of = projects_.at(in.project_id);
  auto removed = x.removed;
  if (of.deleted && (!removed || *of.deleted < *removed))
    removed = of.deleted;
  if (removed && *removed <= at)
    return at < *removed + stages.removing
             ? standing{"REMOVING", *removed}
             : standing{"REMOVED", *removed + stages.removing};
  if (x.crashed && *x.crashed <= at)
    return {"CRASHED", *x.crashed};
  auto live = x.created;
  if (x.restarted) {
    if (at < *x.restarted + stages.deploying)
      return {"DEPLOYING", *x.restarted};
    live = *x.restarted + stages.deploying;
  } else {
    if (at < live + stages.queued)
      return {"QUEUED", live};
    live += stages.queued;
    if (at < live + stages.initializing)
      return {"INITIALIZING", live};
    live += stages.initializing;
    if (at < live + stages.building)
      return {"BUILDING", live};
    live += stages.building;
    if (x.ending == fate::build_fails)
      return {"FAILED", live};
    if (at < live + stages.deploying)
      return {"DEPLOYING", live};
    live += stages.deploying;
    if (x.ending == fate::deploy_fails)
      return {"FAILED", live};
    if (x.ending == fate::crashes)
      return {"CRASHED", live};
  }
  // A newer one that has come up takes its place.
  auto is_newer = false;
  for (const auto& id : in.deployments) {
    if (id == x.id) {
      is_newer = true;
    } else if (is_newer) {
      const auto& other = deployments_.at(id);
      const auto up = other.created + stages.queued + stages.initializing
                      + stages.building + stages.deploying;
      if (other.ending == fate::good && !other.removed && up <= at)
        return {"REMOVED", up};
    }
  }
  return {"SUCCESS", live};
}

bool world::is_in_progress(const deployment& x) const {
  constexpr auto under_way = std::array<std::string_view, 4>{
    "QUEUED", "INITIALIZING", "BUILDING", "DEPLOYING"};
  return std::find(under_way.begin(), under_way.end(), standing_of(x).status)
         != under_way.end();
}

std::vector<event> world::events_of(const deployment& x) const {
  struct step {
    std::string_view name;
    millis length;
    fate fails;
    std::string_view why;
  };
  const auto& t = options_.stages;
  const auto steps = std::array<step, 6>{{
    {"SNAPSHOT_CODE", t.initializing, fate::good, ""},
    {"BUILD_IMAGE", t.building * 7 / 10, fate::build_fails,
     "failed to pull the image: manifest unknown"},
    {"PUBLISH_IMAGE", t.building - t.building * 7 / 10, fate::good, ""},
    {"CREATE_CONTAINER", t.deploying * 3 / 10, fate::good, ""},
    {"CONFIGURE_NETWORK", t.deploying * 2 / 10, fate::good, ""},
    {"HEALTHCHECK", t.deploying - t.deploying * 3 / 10 - t.deploying * 2 / 10,
     fate::deploy_fails, "1/1 replicas never became healthy"},
  }};
  std::vector<event> result;
  auto at = x.created + t.queued;
  const auto until = x.removed ? std::min(now(), *x.removed) : now();
  for (const auto& each : steps) {
    if (at > until)
      break;
    event made{each.name, at, std::nullopt, ""};
    const auto fails = x.ending == each.fails && !each.why.empty();
    // A build that fails does so at the end of its stage, as the status does.
    const auto end
      = at
        + (fails && x.ending == fate::build_fails ? t.building : each.length);
    if (end <= until) {
      made.completed = end;
      if (fails)
        made.error = each.why;
    }
    result.push_back(std::move(made));
    if (fails)
      break;
    at = end;
  }
  return result;
}

std::vector<log_line> world::build_log(const deployment& x) const {
  const auto& t = options_.stages;
  const auto start = x.created + t.queued + t.initializing;
  const auto end = start + t.building;
  auto all = std::vector<log_line>{
    {x.created + t.queued, "info", "scheduling build on Metal builder"},
    {start, "info", "\x1b[35mpulling\x1b[0m " + x.image},
    {start + t.building / 3, "info", "\x1b[32m#1\x1b[0m extracting layers"},
  };
  if (x.ending == fate::build_fails)
    all.push_back({end, "error", "failed to pull the image: manifest unknown"});
  else
    all.push_back({end, "info", "=== Successfully Built! ==="});
  const auto until = x.removed ? std::min(now(), *x.removed) : now();
  all.erase(std::remove_if(all.begin(), all.end(),
                           [&](const log_line& y) {
                             return y.at > until;
                           }),
            all.end());
  return all;
}

std::vector<log_line> world::deploy_log(const deployment& x) const {
  if (x.ending == fate::build_fails)
    return {};
  const auto& t = options_.stages;
  const auto& in = services_.at(x.service_id);
  const auto start = x.created + t.queued + t.initializing + t.building;
  const auto end = start + t.deploying;
  auto all = std::vector<log_line>{
    {start, "info", "Starting Container"},
    {start + t.deploying / 4, "info", in.name + ": reading configuration"},
  };
  // Careless programs do this, so whoever shows logs has to cope.
  for (const auto& [name, value] : in.variables)
    if (is_secret_name(name) && !value.empty())
      all.push_back({start + t.deploying / 4, "warn",
                     "using " + name + "=" + value + " from the environment"});
  switch (x.ending) {
    case fate::good:
      all.push_back({end, "info", in.name + ": listening on 0.0.0.0:8080"});
      break;
    case fate::deploy_fails:
      all.push_back({end, "error", "1/1 replicas never became healthy!"});
      break;
    case fate::crashes:
      all.push_back({end, "error", "fatal: cannot open the database"});
      all.push_back({end, "error", "container exited with code 1"});
      break;
    case fate::build_fails:
      break;
  }
  if (x.restarted)
    all.push_back({*x.restarted, "info", "Restarting Container"});
  if (x.crashed)
    all.push_back({*x.crashed, "error", "container exited with code 137"});
  if (x.removed)
    all.push_back({*x.removed, "info", "Stopping Container"});
  std::stable_sort(all.begin(), all.end(),
                   [](const log_line& a, const log_line& b) {
                     return a.at < b.at;
                   });
  const auto until = x.removed ? std::min(now(), *x.removed) : now();
  all.erase(std::remove_if(all.begin(), all.end(),
                           [&](const log_line& y) {
                             return y.at > until;
                           }),
            all.end());
  return all;
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
  auto& all = running_workflows_;
  for (const auto& id : all) {
    auto& x = workflows_.at(id);
    if (at >= x.started + options_.stages.workflow)
      apply(x, x.started + options_.stages.workflow);
  }
  all.erase(std::remove_if(all.begin(), all.end(),
                           [&](const std::string& id) {
                             return workflows_.at(id).done;
                           }),
            all.end());
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

deployment* world::live_deployment(const std::string& id) {
  const auto i = deployments_.find(id);
  if (i == deployments_.end())
    return nullptr;
  const auto& in = services_.at(i->second.service_id);
  return live_project(in.project_id) == nullptr ? nullptr : &i->second;
}

deployment& world::new_deployment(service& in, timestamp at) {
  deployment made;
  made.id = uuid();
  made.service_id = in.id;
  made.image = in.image;
  made.created = at;
  if (takes_failure("build"))
    made.ending = fate::build_fails;
  else if (takes_failure("deploy"))
    made.ending = fate::deploy_fails;
  else if (takes_failure("crash"))
    made.ending = fate::crashes;
  if (in.deployments.size() >= deployments_kept) {
    deployments_.erase(in.deployments.front());
    in.deployments.erase(in.deployments.begin());
  }
  in.deployments.push_back(made.id);
  return deployments_.emplace(made.id, std::move(made)).first->second;
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
  if (last_create_ && at < *last_create_ + options_.create_cooldown)
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
  running_workflows_.push_back(made.id);
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

world::outcome<const deployment*>
world::deploy_service(const std::string& service_id,
                      const std::string& environment_id) {
  auto* in = live_service(service_id, environment_id);
  if (in == nullptr)
    return tl::unexpected{not_found("ServiceInstance")};
  return &new_deployment(*in, now());
}

world::outcome<const deployment*>
world::redeploy_service(const std::string& service_id,
                        const std::string& environment_id) {
  const auto* in = live_service(service_id, environment_id);
  if (in == nullptr)
    return tl::unexpected{not_found("ServiceInstance")};
  if (in->deployments.empty())
    return tl::unexpected{field_error{"Cannot redeploy without a snapshot"}};
  return redeploy(in->deployments.back());
}

world::outcome<const deployment*>
world::redeploy(const std::string& deployment_id) {
  const auto* x = live_deployment(deployment_id);
  if (x == nullptr)
    return tl::unexpected{not_found("Deployment")};
  if (is_in_progress(*x))
    return tl::unexpected{
      field_error{"Cannot redeploy yet, please wait for the original "
                  "deployment to finish building"}};
  return &new_deployment(services_.at(x->service_id), now());
}

world::outcome<bool> world::cancel(const std::string& deployment_id) {
  return remove(deployment_id);
}

world::outcome<bool> world::remove(const std::string& deployment_id) {
  auto* x = live_deployment(deployment_id);
  if (x == nullptr)
    return tl::unexpected{not_found("Deployment")};
  if (!x->removed)
    x->removed = now();
  return true;
}

world::outcome<bool> world::stop(const std::string& deployment_id) {
  auto* x = live_deployment(deployment_id);
  if (x == nullptr)
    return tl::unexpected{not_found("Deployment")};
  if (standing_of(*x).status == "SUCCESS")
    x->stopped = now();
  return true;
}

world::outcome<bool> world::restart(const std::string& deployment_id) {
  auto* x = live_deployment(deployment_id);
  if (x == nullptr)
    return tl::unexpected{not_found("Deployment")};
  const auto status = standing_of(*x).status;
  if (status != "SUCCESS" && status != "CRASHED")
    return tl::unexpected{
      field_error{"Only a running or crashed deployment can be restarted."}};
  x->restarted = now();
  x->crashed.reset();
  x->stopped.reset();
  return true;
}

world::outcome<bool> world::crash(const std::string& deployment_id) {
  auto* x = live_deployment(deployment_id);
  if (x == nullptr)
    return tl::unexpected{not_found("Deployment")};
  if (standing_of(*x).status != "SUCCESS")
    return tl::unexpected{field_error{"Only what runs can crash."}};
  x->crashed = now();
  return true;
}

} // namespace slipway::sandbox::railway

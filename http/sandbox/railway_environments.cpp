#include "http/sandbox/railway_json.hpp"
#include "http/sandbox/railway_world.hpp"

#include <algorithm>

// What projects hold: services, volumes, domains and the configuration of their
// one environment, which is kept as it comes.

namespace slipway::sandbox::railway {

namespace json = boost::json;

namespace {

constexpr auto services_max = std::size_t{200};

constexpr auto volumes_max = std::size_t{100};

constexpr auto domains_max = std::size_t{20};

constexpr auto templates_max = std::size_t{100};

constexpr auto rules_max = std::size_t{50};

constexpr auto channels_max = std::size_t{10};

/// Of one service, as text.
constexpr auto configuration_bytes_max = std::size_t{256 * 1024};

/// Stands for a domain that is still to be made.
constexpr auto any_domain = std::string_view{"<hasDomain>"};

constexpr auto domain_suffix = std::string_view{".up.railway.app.localhost"};

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

field_error wrong(std::string_view what) {
  return {std::string{what}, "BAD_USER_INPUT"};
}

std::optional<std::int64_t> port_of(const json::value& domain) {
  return domain.is_object() ? number_of(domain.get_object(), "port")
                            : std::nullopt;
}

std::vector<std::string>
texts(const json::object& from, std::string_view name) {
  std::vector<std::string> result;
  const auto* list = from.if_contains(name);
  if (list != nullptr && list->is_array())
    for (const auto& each : list->get_array())
      if (each.is_string())
        result.emplace_back(each.get_string());
  return result;
}

/// The values of variables are nobody's business.
void close(json::object& variables) {
  for (auto& each : variables)
    if (each.value().is_object() && each.value().get_object().contains("value"))
      each.value().get_object()["value"] = "*****";
}

} // namespace

// -- looking ------------------------------------------------------------------

std::string service::source() const {
  const auto& from = object_of(config, "source");
  const auto image = text_of(from, "image");
  return image.empty() ? text_of(from, "repo") : image;
}

std::map<std::string, std::string> service::variables() const {
  std::map<std::string, std::string> result;
  for (const auto& each : object_of(config, "variables"))
    if (each.value().is_object())
      result[std::string{each.key()}]
        = text_of(each.value().get_object(), "value");
  return result;
}

json::object world::variables_of(const project& of, const service* in) const {
  json::object result;
  for (const auto& each : of.shared)
    if (each.value().is_object())
      result[each.key()] = text_of(each.value().get_object(), "value");
  if (in == nullptr)
    return result;
  for (const auto& [name, value] : in->variables())
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

json::object world::configuration_of(const service& x, bool open) const {
  auto result = x.config;
  auto& domains = object_in(object_in(result, "networking"), "serviceDomains");
  for (const auto& each : x.domains) {
    auto& domain = object_in(domains, each.domain);
    if (each.port)
      domain["port"] = *each.port;
  }
  auto mounts = json::object{};
  for (const auto& id : projects_.at(x.project_id).volumes)
    if (const auto& each = volumes_.at(id); each.service_id == x.id)
      mounts[id] = each.mount;
  result["volumeMounts"] = std::move(mounts);
  if (!open)
    close(object_in(result, "variables"));
  return result;
}

json::object world::configuration_of(const project& x, bool open) const {
  auto result = x.rest;
  auto& services = object_in(result, "services");
  for (const auto* each : services_of(x))
    if (is_listed(each->created))
      services[each->id] = configuration_of(*each, open);
  auto& shared = object_in(result, "sharedVariables");
  shared = x.shared;
  if (!open)
    close(shared);
  auto& volumes = object_in(result, "volumes");
  for (const auto* each : volumes_of(x)) {
    auto& one = object_in(volumes, each->id);
    one["region"] = each->region;
    if (!one.contains("sizeMB"))
      one["sizeMB"] = 5'000;
  }
  return result;
}

const blueprint*
world::find_template(const std::string& id, const std::string& code) const {
  if (id.empty() && code.empty())
    return nullptr;
  const auto i = std::find_if(
    templates_.begin(), templates_.end(), [&](const blueprint& x) {
      return (id.empty() || x.id == id) && (code.empty() || x.code == code);
    });
  return i == templates_.end() ? nullptr : &*i;
}

std::vector<const blueprint*> world::templates() const {
  std::vector<const blueprint*> result;
  for (const auto& each : templates_)
    result.push_back(&each);
  return result;
}

// -- what is there from the start ---------------------------------------------

void world::add_published_template() {
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
  app["networking"]
    = json::object{{"serviceDomains",
                    json::object{{any_domain, json::object{{"port", 8080}}}}},
                   {"tcpProxies", json::object{}}};
  app["variables"] = json::object{
    {"PORT", variable("8080", "Where the app listens")},
    {"TIER", variable("basic", "The plan that was bought")},
    {"SUBSCRIPTION_ID", variable("", "Whose instance this is")},
    {"APP_SECRET", variable("${{secret(32)}}", "Signs cookies")}};
  app["volumeMounts"] = json::object{};
  // Nobody knows this one, so everybody has to leave it alone.
  app["quota"] = json::object{{"ratio", 0.5}, {"tiers", json::array{1, 2}}};
  blueprint made;
  made.id = uuid();
  made.code = options_.template_code;
  made.name = "Slipway demo";
  made.published = true;
  made.created = born_;
  made.config["services"] = json::object{{uuid(), std::move(app)}};
  templates_.push_back(std::move(made));
}

void world::add_template_project() {
  project of;
  of.id = options_.template_project_id;
  of.name = "slipway-template";
  of.description = "What instances are cloned from";
  of.environment_id = uuid();
  of.environment_name = "production";
  of.created = born_;
  of.shared = json::object{{"REGION_NAME", json::object{{"value", "eu"}}}};
  of.rest = json::object{{"privateNetworkDisabled", false},
                         {"retentionPolicy", json::object{{"days", 7}}}};
  project_order_.push_back(of.id);
  environments_[of.environment_id] = of.id;
  auto& to = projects_.emplace(of.id, std::move(of)).first->second;
  service made;
  made.id = options_.template_service_id.empty() ? uuid()
                                                 : options_.template_service_id;
  made.instance_id = uuid();
  made.project_id = to.id;
  made.environment_id = to.environment_id;
  made.name = "gateway";
  made.created = born_;
  to.services.push_back(made.id);
  auto& in = services_.emplace(made.id, std::move(made)).first->second;
  const auto variable = [](std::string_view value) {
    return json::object{{"value", value}};
  };
  json::object config;
  config["source"]
    = json::object{{"image", "ghcr.io/slipway-demo/gateway:2.1.0"},
                   {"autoUpdates", json::object{{"type", "disabled"}}}};
  config["build"] = json::object{{"builder", "RAILPACK"}};
  config["deploy"] = json::object{
    {"startCommand", "/gateway/serve"},
    {"healthcheckPath", "/healthz"},
    {"healthcheckTimeout", 300},
    {"restartPolicyType", "ON_FAILURE"},
    {"multiRegionConfig",
     json::object{{"europe-west4-drams3a", json::object{{"numReplicas", 1}}}}}};
  config["networking"]
    = json::object{{"serviceDomains",
                    json::object{{any_domain, json::object{{"port", 8080}}}}},
                   {"tcpProxies", json::object{}},
                   {"privateNetworkEndpoint", "gateway"}};
  config["variables"] = json::object{
    {"PORT", variable("8080")},
    {"TIER", variable("basic")},
    {"SUBSCRIPTION_ID", variable("")},
    {"GREETING", variable("hello")},
    {"PUBLIC_URL", variable("https://${{RAILWAY_PUBLIC_DOMAIN}}")},
    {"APP_SECRET", variable("${{secret(32)}}")}};
  config["variables"].get_object()["GREETING"].get_object()["audience"]
    = json::array{"everybody"};
  // Nobody knows this one, so everybody has to leave it alone.
  config["quota"]
    = json::object{{"ratio", 0.5},
                   {"burst", 1'000},
                   {"tiers", json::array{json::array{1, 2}, json::object{}}}};
  const auto& data = new_volume(
    to, in.id, json::object{{"mountPath", "/data"}, {"backup", "daily"}},
    born_);
  config["volumeMounts"] = json::object{{data.id, data.mount}};
  configure(in, std::move(config), born_);
}

// -- services -----------------------------------------------------------------

service& world::new_service(project& in, std::string name, timestamp at) {
  service made;
  made.id = uuid();
  made.instance_id = uuid();
  made.project_id = in.id;
  made.environment_id = in.environment_id;
  made.name = name.empty() ? "service-" + secret(4) : std::move(name);
  made.created = at;
  in.services.push_back(made.id);
  return services_.emplace(made.id, std::move(made)).first->second;
}

void world::take_down(service& x, timestamp at) {
  for (const auto& id : x.deployments)
    begin_removal(deployments_.at(id), at);
}

world::outcome<const service*>
world::create_service(const json::object& input) {
  auto* of = live_project(text_of(input, "projectId"));
  if (of == nullptr)
    return tl::unexpected{not_found("Project")};
  const auto environment_id = text_of(input, "environmentId");
  if (!environment_id.empty() && environment_id != of->environment_id)
    return tl::unexpected{not_found("Environment")};
  const auto name = text_of(input, "name");
  const auto all = services_of(*of);
  if (knobs.unique_names
      && std::any_of(all.begin(), all.end(), [&](const service* x) {
           return x->name == name;
         }))
    return tl::unexpected{
      field_error{"A service named \"" + name + "\" already exists"}};
  if (of->services.size() >= services_max)
    return tl::unexpected{
      field_error{"Service limit reached for this plan.", "PLAN_LIMIT"}};
  auto& made = new_service(*of, name, now());
  made.icon = text_of(input, "icon");
  made.template_id = text_of(input, "templateId");
  made.template_service_id = text_of(input, "templateServiceId");
  json::object config;
  for (const auto& each : object_of(input, "source"))
    if (!each.value().is_null())
      object_in(config, "source")[each.key()] = each.value();
  for (const auto& each : object_of(input, "variables"))
    object_in(config, "variables")[each.key()]
      = json::object{{"value", each.value()}};
  configure(made, std::move(config), now());
  return &made;
}

world::outcome<bool> world::delete_service(const std::string& id,
                                           const std::string& environment_id) {
  const auto i = services_.find(id);
  if (i == services_.end() || i->second.deleted
      || live_project(i->second.project_id) == nullptr
      || (!environment_id.empty()
          && i->second.environment_id != environment_id))
    return tl::unexpected{not_found("Service")};
  auto& x = i->second;
  take_down(x, now());
  x.deleted = now();
  x.domains.clear();
  // Volumes outlive their services, detached.
  for (const auto& each : projects_.at(x.project_id).volumes)
    if (auto& one = volumes_.at(each); one.service_id == id)
      one.service_id.clear();
  run_due();
  return true;
}

// -- volumes ------------------------------------------------------------------

volume& world::new_volume(project& in, std::string service_id,
                          json::object mount, timestamp at) {
  volume made;
  made.id = uuid();
  made.instance_id = uuid();
  made.project_id = in.id;
  made.environment_id = in.environment_id;
  made.name = (service_id.empty() ? in.name : services_.at(service_id).name)
              + "-volume";
  made.service_id = std::move(service_id);
  made.region = "europe-west4-drams3a";
  made.created = at;
  made.mount = std::move(mount);
  in.volumes.push_back(made.id);
  return volumes_.emplace(made.id, std::move(made)).first->second;
}

world::outcome<const volume*> world::create_volume(const json::object& input) {
  auto* of = live_project(text_of(input, "projectId"));
  if (of == nullptr)
    return tl::unexpected{not_found("Project")};
  const auto environment_id = text_of(input, "environmentId");
  if (!environment_id.empty() && environment_id != of->environment_id)
    return tl::unexpected{not_found("Environment")};
  const auto service_id = text_of(input, "serviceId");
  if (!service_id.empty()) {
    const auto* in = live_service(service_id, of->environment_id);
    if (in == nullptr || in->project_id != of->id)
      return tl::unexpected{not_found("Service")};
  }
  const auto path = text_of(input, "mountPath");
  if (path.empty() || path.front() != '/')
    return tl::unexpected{wrong("mountPath must start with a slash.")};
  if (last_volume_ && now() < *last_volume_ + millis{knobs.volume_cooldown_ms})
    return tl::unexpected{
      field_error{"Whoa there pal! You are creating volumes too quickly"}};
  if (of->volumes.size() >= volumes_max)
    return tl::unexpected{
      field_error{"Volume limit reached for this plan.", "PLAN_LIMIT"}};
  last_volume_ = now();
  auto& made
    = new_volume(*of, service_id, json::object{{"mountPath", path}}, now());
  if (const auto region = text_of(input, "region"); !region.empty())
    made.region = region;
  return &made;
}

world::outcome<bool> world::delete_volume(const std::string& id) {
  const auto i = volumes_.find(id);
  auto* of = i == volumes_.end() ? nullptr : live_project(i->second.project_id);
  if (of == nullptr)
    return tl::unexpected{not_found("Volume")};
  of->volumes.erase(std::find(of->volumes.begin(), of->volumes.end(), id));
  object_in(of->rest, "volumes").erase(id);
  volumes_.erase(i);
  return true;
}

// -- domains ------------------------------------------------------------------

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
  made.domain += domain_suffix;
  in.domains.push_back(std::move(made));
  return in.domains.back();
}

world::outcome<const service_domain*>
world::create_domain(const json::object& input) {
  auto* in = live_service(text_of(input, "serviceId"),
                          text_of(input, "environmentId"));
  if (in == nullptr)
    return tl::unexpected{not_found("ServiceInstance")};
  if (knobs.busy > 0) {
    --knobs.busy;
    return tl::unexpected{
      field_error{"Failed to create service domain, please try again"}};
  }
  if (in->domains.size() >= domains_max)
    return tl::unexpected{
      field_error{"Domain limit reached for this plan.", "PLAN_LIMIT"}};
  return &new_domain(*in, number_of(input, "targetPort"), now());
}

// -- configurations -----------------------------------------------------------

std::optional<field_error>
world::check(const service& of, const json::object& config) const {
  if (json::serialize(config).size() > configuration_bytes_max)
    return wrong("The configuration of a service is too large.");
  const auto& domains
    = object_of(object_of(config, "networking"), "serviceDomains");
  if (domains.size() > domains_max)
    return wrong("A service cannot have so many domains.");
  for (const auto& each : domains)
    for (const auto& [id, other] : services_)
      if (id != of.id && !other.deleted
          && !projects_.at(other.project_id).deleted
          && std::any_of(other.domains.begin(), other.domains.end(),
                         [&](const service_domain& x) {
                           return each.key() == x.domain;
                         }))
        return field_error{"Domain " + std::string{each.key()}
                           + " is already in use"};
  for (const auto& each : object_of(config, "volumeMounts")) {
    const auto i = volumes_.find(std::string{each.key()});
    if (i == volumes_.end() || i->second.project_id != of.project_id)
      return not_found("Volume");
    if (!each.value().is_object()
        || text_of(each.value().get_object(), "mountPath").empty())
      return wrong("A volume needs a mountPath.");
  }
  return std::nullopt;
}

void world::configure_domains(service& x, json::object& config, timestamp at) {
  if (!config.contains("networking"))
    return;
  auto& networking = object_in(config, "networking");
  auto& wanted = object_in(networking, "serviceDomains");
  auto& all = x.domains;
  all.erase(std::remove_if(all.begin(), all.end(),
                           [&](const service_domain& each) {
                             return !wanted.contains(each.domain);
                           }),
            all.end());
  for (const auto& each : wanted) {
    const auto port = port_of(each.value());
    const auto i
      = std::find_if(all.begin(), all.end(), [&](const service_domain& y) {
          return each.key() == y.domain;
        });
    if (i != all.end())
      i->port = port;
    else if (each.key() != any_domain)
      all.push_back({uuid(), std::string{each.key()}, port, at});
    else if (all.empty())
      new_domain(x, port, at);
  }
  networking.erase("serviceDomains");
}

void world::configure_volumes(service& x, json::object& config) {
  const auto& wanted = object_of(config, "volumeMounts");
  for (const auto& id : projects_.at(x.project_id).volumes) {
    auto& each = volumes_.at(id);
    const auto* mount = wanted.if_contains(id);
    if (mount != nullptr) {
      each.service_id = x.id;
      each.mount = mount->get_object();
    } else if (each.service_id == x.id) {
      each.service_id.clear();
    }
  }
  config.erase("volumeMounts");
}

void world::configure(service& x, json::object config, timestamp at) {
  const auto before = json::serialize(configuration_of(x, true));
  for (auto& each : object_in(config, "variables")) {
    if (!each.value().is_object())
      each.value() = json::object{
        {"value", each.value().is_string()
                    ? json::value(each.value())
                    : json::value(json::serialize(each.value()))}};
    auto& variable = each.value().get_object();
    if (!variable["value"].is_string())
      variable["value"] = text_of(variable, "defaultValue");
    variable["value"] = expand(text_of(variable, "value"));
    for (const auto* only_in_templates :
         {"defaultValue", "isOptional", "description"})
      variable.erase(only_in_templates);
  }
  configure_domains(x, config, at);
  configure_volumes(x, config);
  x.config = std::move(config);
  if (!x.source().empty()
      && before != json::serialize(configuration_of(x, true)))
    new_deployment(x, at);
}

world::outcome<std::string>
world::commit_patch(const std::string& environment_id,
                    const json::object& patch) {
  const auto i = environments_.find(environment_id);
  auto* of = i == environments_.end() ? nullptr : live_project(i->second);
  if (of == nullptr)
    return tl::unexpected{not_found("Environment")};
  // All of it is looked at before any of it is done.
  std::vector<std::pair<service*, json::object>> changed;
  std::vector<std::string> unwanted;
  for (const auto& each : object_of(patch, "services")) {
    auto* in = live_service(std::string{each.key()}, environment_id);
    if (in == nullptr)
      return tl::unexpected{not_found("Service")};
    if (!each.value().is_object())
      return tl::unexpected{wrong("A service must be an object.")};
    if (flag_of(each.value().get_object(), "isDeleted")) {
      unwanted.push_back(in->id);
      continue;
    }
    auto next = merged(json::value(configuration_of(*in, true)), each.value());
    if (auto error = check(*in, next.get_object()))
      return tl::unexpected{std::move(*error)};
    changed.emplace_back(in, std::move(next.get_object()));
  }
  const auto* shared = patch.if_contains("sharedVariables");
  if (shared != nullptr && !shared->is_object())
    return tl::unexpected{wrong("sharedVariables must be an object.")};
  auto rest = merged(json::value(of->rest), json::value(patch));
  rest.get_object().erase("services");
  rest.get_object().erase("sharedVariables");
  if (json::serialize(rest).size() > configuration_bytes_max)
    return tl::unexpected{wrong("The configuration is too large.")};
  of->rest = std::move(rest.get_object());
  if (shared != nullptr)
    of->shared = merged(json::value(of->shared), *shared).as_object();
  for (auto& [in, config] : changed)
    configure(*in, std::move(config), now());
  for (const auto& id : unwanted)
    static_cast<void>(delete_service(id, environment_id));
  run_due();
  return uuid();
}

world::outcome<bool> world::upsert_variables(const json::object& input) {
  auto* of = live_project(text_of(input, "projectId"));
  if (of == nullptr)
    return tl::unexpected{not_found("Project")};
  if (of->environment_id != text_of(input, "environmentId"))
    return tl::unexpected{not_found("Environment")};
  const auto* given = input.if_contains("variables");
  if (given == nullptr || !given->is_object())
    return tl::unexpected{wrong("variables must be an object.")};
  const auto service_id = text_of(input, "serviceId");
  auto* in = service_id.empty() ? nullptr
                                : live_service(service_id, of->environment_id);
  if (!service_id.empty() && in == nullptr)
    return tl::unexpected{not_found("Service")};
  auto& target
    = in == nullptr ? of->shared : object_in(in->config, "variables");
  if (json::serialize(target).size() + json::serialize(*given).size()
      > configuration_bytes_max)
    return tl::unexpected{wrong("Those are too many variables.")};
  if (flag_of(input, "replace"))
    target.clear();
  for (const auto& each : given->get_object())
    object_in(target, each.key())["value"]
      = each.value().is_string()
          ? expand(std::string{each.value().get_string()})
          : json::serialize(each.value());
  if (flag_of(input, "skipDeploys"))
    return true;
  for (const auto& id : of->services) {
    auto& each = services_.at(id);
    if ((in == nullptr || in == &each) && !each.deleted
        && !each.deployments.empty())
      new_deployment(each, now());
  }
  return true;
}

// -- templates ----------------------------------------------------------------

world::outcome<const workflow*>
world::deploy_template(const json::object& input) {
  const auto template_id = text_of(input, "templateId");
  if (find_template(template_id, "") == nullptr)
    return tl::unexpected{not_found("Template")};
  const auto* config = input.if_contains("serializedConfig");
  if (config == nullptr || !config->is_object()
      || object_of(config->get_object(), "services").empty())
    return tl::unexpected{
      wrong("serializedConfig must be an object with services.")};
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
  const auto begin = [&]() -> const workflow* {
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
  };
  if (knobs.duplicate_services > 0) {
    --knobs.duplicate_services;
    begin();
  }
  return begin();
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
    if (each.value().is_object() && into->services.size() < services_max)
      add_service(*into, what.template_id, each.key(),
                  each.value().get_object(), at);
  what.config.clear();
}

void world::add_service(project& to, const std::string& template_id,
                        std::string_view key, json::object config,
                        timestamp at) {
  auto& made = new_service(to, text_of(config, "name"), at);
  made.icon = text_of(config, "icon");
  made.template_id = template_id;
  made.template_service_id = key;
  config.erase("name");
  config.erase("icon");
  auto mounts = json::object{};
  for (const auto& each : object_of(config, "volumeMounts"))
    if (each.value().is_object() && to.volumes.size() < volumes_max) {
      const auto& one = new_volume(to, made.id, each.value().get_object(), at);
      mounts[one.id] = one.mount;
    }
  config["volumeMounts"] = std::move(mounts);
  configure(made, std::move(config), at);
}

world::outcome<const blueprint*>
world::generate_template(const json::object& input) {
  const auto* of = live_project(text_of(input, "projectId"));
  if (of == nullptr)
    return tl::unexpected{not_found("Project")};
  if (templates_.size() >= templates_max)
    return tl::unexpected{
      field_error{"Template limit reached for this plan.", "PLAN_LIMIT"}};
  json::object services;
  for (const auto* each : services_of(*of)) {
    auto config = configuration_of(*each, true);
    config["name"] = each->name;
    config["icon"]
      = each->icon.empty() ? json::value(nullptr) : json::value(each->icon);
    auto& domains
      = object_in(object_in(config, "networking"), "serviceDomains");
    if (!domains.empty())
      domains = json::object{{any_domain, domains.begin()->value()}};
    services[uuid()] = std::move(config);
  }
  if (services.empty())
    return tl::unexpected{wrong("The project has no services.")};
  blueprint made;
  made.id = uuid();
  made.code = secret(6);
  made.name = of->name;
  made.created = now();
  made.config["services"] = std::move(services);
  templates_.push_back(std::move(made));
  return &templates_.back();
}

// -- rules --------------------------------------------------------------------

world::outcome<const notification_rule*>
world::create_rule(const json::object& input) {
  if (text_of(input, "workspaceId") != options_.workspace_id)
    return tl::unexpected{field_error{"Not Authorized"}};
  const auto project_id = text_of(input, "projectId");
  if (!project_id.empty() && live_project(project_id) == nullptr)
    return tl::unexpected{not_found("Project")};
  notification_rule made;
  made.id = uuid();
  made.project_id = project_id;
  made.event_types = texts(input, "eventTypes");
  made.severities = texts(input, "severities");
  made.ephemeral = flag_of(input, "ephemeralEnvironments");
  made.created = now();
  for (const auto& each : input.at("channelConfigs").get_array()) {
    if (!each.is_object() || text_of(each.get_object(), "type").empty())
      return tl::unexpected{wrong("A channel needs a type.")};
    made.channels.push_back({uuid(), each.get_object()});
  }
  if (made.channels.size() > channels_max || rules_.size() >= rules_max)
    return tl::unexpected{
      field_error{"Notification limit reached for this plan.", "PLAN_LIMIT"}};
  return &rules_.emplace(made.id, std::move(made)).first->second;
}

world::outcome<bool> world::delete_rule(const std::string& id) {
  if (rules_.erase(id) == 0)
    return tl::unexpected{not_found("NotificationRule")};
  return true;
}

} // namespace slipway::sandbox::railway

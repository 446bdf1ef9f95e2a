#include "http/sandbox/railway_view.hpp"

#include "http/sandbox/railway_json.hpp"

#include <algorithm>
#include <cstdlib>

namespace slipway::sandbox::railway {

namespace json = boost::json;

namespace {

std::vector<object_ptr> replicas_of(const deployment& x) {
  auto status = std::string_view{"INITIALIZING"};
  if (x.status == "SUCCESS")
    status = x.stopped ? "EXITED" : "RUNNING";
  else if (x.status == "CRASHED")
    status = "RUNNING";
  else if (x.status == "REMOVING")
    status = "REMOVING";
  else if (x.status != "DEPLOYING")
    return {};
  std::vector<object_ptr> result;
  for (auto i = std::int64_t{0}; i < x.replicas; ++i) {
    const auto is_down = x.status == "CRASHED" && i < x.replicas_down;
    result.push_back(
      record("DeploymentDeploymentInstance",
             {{"id", "replica-" + x.id.substr(0, 8) + "-" + std::to_string(i)},
              {"status", is_down ? "CRASHED" : status}}));
  }
  return result;
}

json::array to_array(const std::vector<std::string>& all) {
  json::array result;
  for (const auto& each : all)
    result.emplace_back(each);
  return result;
}

/// One end of a span of lines; no text means that there is none.
/// @returns nothing at all when the text is no date.
std::optional<std::optional<log_line::place>> bound(const std::string& given) {
  if (given.empty())
    return std::optional<log_line::place>{};
  const auto at = parse_rfc3339(given);
  if (!at)
    return std::nullopt;
  // Lines are told apart by what lies below a millisecond.
  const auto dot = given.find('.');
  auto digits = dot == std::string::npos ? "" : given.substr(dot + 1);
  digits.resize(
    std::min(digits.find_first_not_of("0123456789"), digits.size()));
  digits.resize(9, '0');
  const auto nanos = std::strtoul(digits.c_str() + 3, nullptr, 10);
  return std::optional{log_line::place{*at, static_cast<std::uint32_t>(nanos)}};
}

} // namespace

// -- objects ------------------------------------------------------------------

object_ptr view::of(const project& x) const {
  return make("Project",
              [this, &x](std::string_view field, const json::object& args) {
                return project_field(x, field, args);
              });
}

object_ptr view::environment(const project& x) const {
  return make("Environment",
              [this, &x](std::string_view field, const json::object& args) {
                return environment_field(x, field, args);
              });
}

object_ptr view::of(const service& x) const {
  return make("Service",
              [this, &x](std::string_view field, const json::object& args) {
                return service_field(x, field, args);
              });
}

object_ptr view::instance(const service& x) const {
  return make("ServiceInstance",
              [this, &x](std::string_view field, const json::object&) {
                return instance_field(x, field);
              });
}

object_ptr view::of(const deployment& x) const {
  return make("Deployment",
              [this, &x](std::string_view field, const json::object&) {
                return deployment_field(x, field);
              });
}

object_ptr view::of(const service_domain& x, const service& in) const {
  return record(
    "ServiceDomain",
    {{"id", x.id},
     {"domain", x.domain},
     {"createdAt", moment(x.created)},
     {"updatedAt", moment(x.created)},
     {"environmentId", in.environment_id},
     {"projectId", in.project_id},
     {"serviceId", in.id},
     {"suffix", "up.railway.app.localhost"},
     {"syncStatus", "ACTIVE"},
     {"targetPort", x.port ? json::value(*x.port) : json::value(nullptr)}});
}

object_ptr view::domains(const service& in) const {
  return make("AllDomains",
              [this, &in](std::string_view field, const json::object&) {
                std::vector<object_ptr> result;
                if (field == "serviceDomains")
                  for (const auto& x : in.domains)
                    if (all_.is_listed(x.created))
                      result.push_back(of(x, in));
                return resolved{result};
              });
}

object_ptr view::of(const volume& x) const {
  return make(
    "Volume",
    [this, &x](std::string_view field, const json::object& args) -> resolved {
      if (field == "id")
        return json::value(x.id);
      if (field == "name")
        return json::value(x.name);
      if (field == "createdAt")
        return moment(x.created);
      if (field == "projectId")
        return json::value(x.project_id);
      if (field == "project")
        return of(*all_.find_project(x.project_id));
      return connection("VolumeVolumeInstancesConnection",
                        {{x.instance_id, volume_instance(x)}}, args);
    });
}

object_ptr view::volume_instance(const volume& x) const {
  return make(
    "VolumeInstance",
    [this, &x](std::string_view field, const json::object&) -> resolved {
      if (field == "id")
        return json::value(x.instance_id);
      if (field == "volumeId")
        return json::value(x.id);
      if (field == "volume")
        return of(x);
      if (field == "createdAt")
        return moment(x.created);
      if (field == "environmentId")
        return json::value(x.environment_id);
      if (field == "environment")
        return environment(*all_.find_project(x.project_id));
      if (field == "serviceId")
        return known(x.service_id);
      if (field == "service") {
        const auto* in = all_.find_service(x.service_id);
        return in == nullptr ? object_ptr{} : of(*in);
      }
      if (field == "mountPath")
        return json::value(text_of(x.mount, "mountPath"));
      if (field == "region")
        return json::value(x.region);
      if (field == "state")
        return json::value("READY");
      if (field == "sizeMB")
        return json::value(5'000);
      if (field == "currentSizeMB")
        return json::value(1.5);
      if (field == "isPendingDeletion")
        return json::value(false);
      return json::value(nullptr);
    });
}

object_ptr view::of(const notification_rule& x) const {
  return make(
    "NotificationRule",
    [this, &x](std::string_view field, const json::object&) -> resolved {
      if (field == "id")
        return json::value(x.id);
      if (field == "createdAt" || field == "updatedAt")
        return moment(x.created);
      if (field == "workspaceId")
        return json::value(who_.workspace_id);
      if (field == "projectId")
        return known(x.project_id);
      if (field == "eventTypes")
        return json::value(to_array(x.event_types));
      if (field == "severities")
        return json::value(to_array(x.severities));
      if (field == "ephemeralEnvironments")
        return json::value(x.ephemeral);
      if (field != "channels")
        return json::value(nullptr);
      std::vector<object_ptr> result;
      for (const auto& each : x.channels)
        result.push_back(
          record("NotificationChannel", {{"id", each.id},
                                         {"config", each.config},
                                         {"createdAt", moment(x.created)},
                                         {"updatedAt", moment(x.created)},
                                         {"workspaceId", who_.workspace_id}}));
      return result;
    });
}

object_ptr view::of(const blueprint& x) const {
  return record("Template",
                {{"id", x.id},
                 {"code", x.code},
                 {"name", x.name},
                 {"description", "One web service with a domain."},
                 {"createdAt", moment(x.created)},
                 {"updatedAt", moment(x.created)},
                 {"status", x.published ? "PUBLISHED" : "UNPUBLISHED"},
                 {"serializedConfig", x.config},
                 {"activeProjects", all_.live_projects()},
                 {"projects", all_.projects().size()},
                 {"recentProjects", all_.projects().size()},
                 {"isApproved", x.published},
                 {"isV2Template", true},
                 {"isVerified", false},
                 {"languages", json::array{}},
                 {"tags", json::array{}},
                 {"workspaceId", who_.workspace_id}});
}

object_ptr view::workspace() const {
  return make(
    "Workspace",
    [this](std::string_view field, const json::object& args) -> resolved {
      if (field == "id")
        return json::value(who_.workspace_id);
      if (field == "name")
        return json::value("Slipway sandbox");
      if (field == "plan")
        return json::value("PRO");
      if (field == "createdAt" || field == "updatedAt")
        return moment(all_.born());
      if (field == "apiTokenRateLimit")
        return rate_limit();
      if (field == "projectCount")
        return json::value(flag_of(args, "includeDeleted")
                             ? all_.projects().size()
                             : all_.live_projects());
      if (field == "projects")
        return projects("WorkspaceProjectsConnection", args);
      return json::value(nullptr);
    });
}

object_ptr view::user() const {
  return make("User",
              [this](std::string_view field, const json::object&) -> resolved {
                if (field == "id")
                  return json::value("00000000-0000-4000-8000-000000000001");
                if (field == "email")
                  return json::value("sandbox@slipway.localhost");
                if (field == "name" || field == "username")
                  return json::value("sandbox");
                if (field == "createdAt")
                  return moment(all_.born());
                if (field == "apiTokenRateLimit")
                  return rate_limit();
                if (field == "workspaces")
                  return std::vector<object_ptr>{workspace()};
                return json::value(nullptr);
              });
}

object_ptr view::rate_limit() const {
  return record("ApiTokenRateLimit", {{"remainingPoints", who_.points_left},
                                      {"resetsAt", who_.resets_at}});
}

// -- lists --------------------------------------------------------------------

resolved
view::projects(const std::string& type, const json::object& args) const {
  const auto with_deleted = flag_of(args, "includeDeleted");
  const auto wanted = text_of(args, "workspaceId");
  if (!wanted.empty() && wanted != who_.workspace_id)
    return field_error{"Not Authorized"};
  auto chosen = all_.projects();
  chosen.erase(std::remove_if(chosen.begin(), chosen.end(),
                              [&](const project* x) {
                                const auto is_deleted
                                  = x->deleted && all_.is_listed(*x->deleted);
                                return !all_.is_listed(x->created)
                                       || (is_deleted && !with_deleted);
                              }),
               chosen.end());
  if (text_of(args, "orderBy") == "NAME_ASC")
    std::stable_sort(chosen.begin(), chosen.end(),
                     [](const project* a, const project* b) {
                       return a->name < b->name;
                     });
  else
    std::reverse(chosen.begin(), chosen.end());
  std::vector<entry> entries;
  for (const auto* x : chosen)
    entries.emplace_back(x->id, of(*x));
  return connection(type, entries, args);
}

resolved view::environments(const std::string& type, const project& x,
                            const json::object& args) const {
  return connection(type, {{x.environment_id, environment(x)}}, args);
}

resolved view::deployments(const json::object& args) const {
  const auto& in = object_of(args, "input");
  const auto project_id = text_of(in, "projectId");
  const auto service_id = text_of(in, "serviceId");
  const auto environment_id = text_of(in, "environmentId");
  if (project_id.empty() && service_id.empty() && environment_id.empty())
    return field_error{"A projectId, serviceId or environmentId is needed.",
                       "BAD_USER_INPUT"};
  const auto listed = [&](std::string_view list, std::string_view status) {
    const auto* names = object_of(in, "status").if_contains(list);
    if (names == nullptr || !names->is_array())
      return list == "in";
    return std::any_of(names->get_array().begin(), names->get_array().end(),
                       [&](const json::value& x) {
                         return x.get_string() == status;
                       });
  };
  std::vector<const deployment*> chosen;
  for (const auto* of : all_.projects()) {
    if ((!project_id.empty() && of->id != project_id)
        || (!environment_id.empty() && of->environment_id != environment_id))
      continue;
    for (const auto* x : all_.services_of(*of)) {
      if (!service_id.empty() && x->id != service_id)
        continue;
      for (const auto* made : deployments_of(*x))
        if (listed("in", made->status) && !listed("notIn", made->status))
          chosen.push_back(made);
    }
  }
  return deployment_pages("QueryDeploymentsConnection", std::move(chosen),
                          args);
}

resolved view::events(const deployment& x, const json::object& args) const {
  std::vector<entry> entries;
  for (const auto& each : all_.events_of(x)) {
    const auto id = x.id + ":" + std::string{each.step};
    auto payload = record(
      "DeploymentEventPayload",
      {{"error", known(each.error)},
       {"durationMs", each.completed
                        ? json::value((*each.completed - each.created).count())
                        : json::value(nullptr)}});
    entries.emplace_back(
      id, make("DeploymentEvent",
               [id, each, payload](std::string_view field,
                                   const json::object&) -> resolved {
                 if (field == "id")
                   return json::value(id);
                 if (field == "step")
                   return json::value(each.step);
                 if (field == "createdAt")
                   return moment(each.created);
                 if (field == "completedAt")
                   return moment(each.completed);
                 return payload;
               }));
  }
  return connection("QueryDeploymentEventsConnection", entries, args);
}

resolved view::templates(const json::object& args) const {
  if (text_of(args, "workspaceId") != who_.workspace_id)
    return field_error{"Not Authorized"};
  std::vector<entry> entries;
  for (const auto* each : all_.templates())
    entries.emplace_back(each->id, of(*each));
  return connection("QueryWorkspaceTemplatesConnection", entries, args);
}

object_ptr view::line(const deployment& x, const log_line& y) const {
  const auto& in = *all_.find_service(x.service_id);
  auto tags = record("LogTags", {{"deploymentId", x.id},
                                 {"environmentId", in.environment_id},
                                 {"projectId", in.project_id},
                                 {"serviceId", in.id}});
  auto level = record("LogAttribute",
                      {{"key", "level"}, {"value", "\"" + y.severity + "\""}});
  return make(
    "Log",
    [y, tags, level](std::string_view field, const json::object&) -> resolved {
      if (field == "message")
        return json::value(y.message);
      if (field == "severity")
        return json::value(y.severity);
      if (field == "timestamp")
        return json::value(y.when());
      if (field == "tags")
        return tags;
      return std::vector<object_ptr>{level};
    });
}

resolved view::logs(const deployment& x, std::vector<log_line> lines,
                    const json::object& args) const {
  const auto limit = number_of(args, "limit").value_or(100);
  if (limit < 1 || limit > 5'000)
    return field_error{"limit must be between 1 and 5000", "BAD_USER_INPUT"};
  const auto from = bound(text_of(args, "startDate"));
  const auto until = bound(text_of(args, "endDate"));
  if (!from || !until)
    return field_error{"A date must be RFC 3339.", "BAD_USER_INPUT"};
  const auto filter = text_of(args, "filter");
  lines.erase(std::remove_if(lines.begin(), lines.end(),
                             [&](const log_line& y) {
                               const auto at = y.position();
                               return (*from && at < **from)
                                      || (*until && at > **until)
                                      || y.message.find(filter)
                                           == std::string::npos;
                             }),
              lines.end());
  // The real one returns one line more than asked for.
  if (const auto kept = static_cast<std::size_t>(limit) + 1;
      lines.size() > kept)
    lines.erase(lines.begin(), lines.end() - static_cast<long>(kept));
  std::vector<object_ptr> result;
  for (const auto& each : lines)
    result.push_back(line(x, each));
  return result;
}

resolved view::deployment_pages(const std::string& type,
                                std::vector<const deployment*> chosen,
                                const json::object& args) const {
  std::stable_sort(chosen.begin(), chosen.end(),
                   [](const deployment* a, const deployment* b) {
                     return a->created < b->created;
                   });
  // The newest comes first, also among those of one moment.
  std::reverse(chosen.begin(), chosen.end());
  std::vector<entry> entries;
  for (const auto* x : chosen)
    entries.emplace_back(x->id, of(*x));
  return connection(type, entries, args);
}

std::vector<const deployment*> view::deployments_of(const service& x) const {
  std::vector<const deployment*> result;
  for (const auto& each : x.deployments) {
    const auto* made = all_.find_deployment(each);
    if (made != nullptr && all_.is_listed(made->created))
      result.push_back(made);
  }
  return result;
}

resolved view::services_of(const std::string& type, const project& x,
                           bool instances, const json::object& args) const {
  std::vector<entry> entries;
  for (const auto* each : all_.services_of(x)) {
    if (!all_.is_listed(each->created))
      continue;
    if (instances)
      entries.emplace_back(each->instance_id, instance(*each));
    else
      entries.emplace_back(each->id, of(*each));
  }
  return connection(type, entries, args);
}

resolved view::volumes_of(const std::string& type, const project& x,
                          bool instances, const json::object& args) const {
  std::vector<entry> entries;
  for (const auto* each : all_.volumes_of(x)) {
    if (!all_.is_listed(each->created))
      continue;
    if (instances)
      entries.emplace_back(each->instance_id, volume_instance(*each));
    else
      entries.emplace_back(each->id, of(*each));
  }
  return connection(type, entries, args);
}

// -- fields -------------------------------------------------------------------

resolved view::project_field(const project& x, std::string_view field,
                             const json::object& args) const {
  if (field == "id")
    return json::value(x.id);
  if (field == "name")
    return json::value(x.name);
  if (field == "description")
    return known(x.description);
  if (field == "createdAt")
    return moment(x.created);
  if (field == "updatedAt")
    return moment(x.deleted.value_or(x.created));
  if (field == "deletedAt")
    return x.deleted && all_.is_found(*x.deleted) ? moment(x.deleted)
                                                  : json::value(nullptr);
  if (field == "workspaceId")
    return json::value(who_.workspace_id);
  if (field == "workspace")
    return workspace();
  if (field == "subscriptionType")
    return json::value("pro");
  if (field == "baseEnvironmentId" || field == "primaryEnvironmentId")
    return json::value(x.environment_id);
  if (field == "baseEnvironment")
    return environment(x);
  // What is deleted for good has no parts left to look at.
  if (field == "environments")
    return all_.is_gone(x)
             ? connection("ProjectEnvironmentsConnection", {}, args)
             : environments("ProjectEnvironmentsConnection", x, args);
  if (field == "services")
    return services_of("ProjectServicesConnection", x, false, args);
  if (field == "volumes")
    return volumes_of("ProjectVolumesConnection", x, false, args);
  if (field == "expiredAt")
    return json::value(nullptr);
  return json::value(false); // The remaining ones are flags.
}

resolved view::environment_field(const project& x, std::string_view field,
                                 const json::object& args) const {
  if (field == "id")
    return json::value(x.environment_id);
  if (field == "name")
    return json::value(x.environment_name);
  if (field == "projectId")
    return json::value(x.id);
  if (field == "createdAt" || field == "updatedAt")
    return moment(x.created);
  if (field == "deletedAt")
    return moment(x.deleted);
  if (field == "canAccess")
    return json::value(true);
  if (field == "isEphemeral")
    return json::value(false);
  if (field == "unmergedChangesCount")
    return json::value(0);
  if (field == "config")
    return json::value(
      all_.configuration_of(x, flag_of(args, "decryptVariables")));
  if (field == "volumeInstances")
    return volumes_of("EnvironmentVolumeInstancesConnection", x, true, args);
  if (field == "serviceInstances")
    return services_of("EnvironmentServiceInstancesConnection", x, true, args);
  std::vector<const deployment*> all;
  for (const auto* in : all_.services_of(x))
    for (const auto* each : deployments_of(*in))
      all.push_back(each);
  return deployment_pages("EnvironmentDeploymentsConnection", std::move(all),
                          args);
}

resolved view::service_field(const service& x, std::string_view field,
                             const json::object& args) const {
  const auto& parent = *all_.find_project(x.project_id);
  if (field == "id")
    return json::value(x.id);
  if (field == "name")
    return json::value(x.name);
  if (field == "icon")
    return known(x.icon);
  if (field == "projectId")
    return json::value(x.project_id);
  if (field == "project")
    return of(parent);
  if (field == "templateId")
    return known(x.template_id);
  if (field == "templateServiceId")
    return known(x.template_service_id);
  if (field == "createdAt" || field == "updatedAt")
    return moment(x.created);
  if (field == "deletedAt")
    return moment(parent.deleted);
  if (field == "isRestricted")
    return json::value(false);
  if (field == "serviceInstances")
    return connection("ServiceServiceInstancesConnection",
                      {{x.instance_id, instance(x)}}, args);
  return deployment_pages("ServiceDeploymentsConnection", deployments_of(x),
                          args);
}

resolved view::instance_field(const service& x, std::string_view field) const {
  if (field == "id")
    return json::value(x.instance_id);
  if (field == "serviceId")
    return json::value(x.id);
  if (field == "serviceName")
    return json::value(x.name);
  if (field == "service")
    return of(x);
  if (field == "environmentId")
    return json::value(x.environment_id);
  if (field == "createdAt" || field == "updatedAt")
    return moment(x.created);
  if (field == "domains")
    return domains(x);
  if (field == "latestDeployment") {
    const auto all = deployments_of(x);
    return all.empty() ? object_ptr{} : of(*all.back());
  }
  if (field == "activeDeployments") {
    std::vector<object_ptr> result;
    for (const auto* each : deployments_of(x))
      if ((each->status == "SUCCESS" || each->status == "SLEEPING")
          && !each->stopped)
        result.push_back(of(*each));
    return result;
  }
  const auto& source = object_of(x.config, "source");
  const auto& deploy = object_of(x.config, "deploy");
  if (field == "source")
    return source.empty() ? object_ptr{}
                          : record("ServiceSource",
                                   {{"image", known(text_of(source, "image"))},
                                    {"repo", known(text_of(source, "repo"))}});
  if (field == "startCommand" || field == "healthcheckPath"
      || field == "cronSchedule")
    return known(text_of(deploy, field));
  if (field == "builder")
    return json::value("RAILPACK");
  if (field == "isUpdatable")
    return json::value(false);
  if (field == "numReplicas")
    return json::value(number_of(deploy, "numReplicas").value_or(1));
  if (field == "restartPolicyMaxRetries")
    return json::value(10);
  if (field == "restartPolicyType")
    return json::value("ON_FAILURE");
  return json::value(nullptr);
}

resolved
view::deployment_field(const deployment& x, std::string_view field) const {
  const auto& in = *all_.find_service(x.service_id);
  const auto& parent = *all_.find_project(in.project_id);
  if (field == "id")
    return json::value(x.id);
  if (field == "status")
    return json::value(x.status);
  if (field == "statusUpdatedAt" || field == "updatedAt")
    return moment(x.since);
  if (field == "createdAt")
    return moment(x.created);
  if (field == "deploymentStopped")
    return json::value(x.stopped);
  if (field == "environmentId")
    return json::value(in.environment_id);
  if (field == "environment")
    return environment(parent);
  if (field == "projectId")
    return json::value(in.project_id);
  if (field == "serviceId")
    return json::value(in.id);
  if (field == "service")
    return of(in);
  if (field == "staticUrl" || field == "url")
    return in.domains.empty() ? json::value(nullptr)
                              : json::value(in.domains.front().domain);
  if (field == "meta")
    return json::value(json::object{{"image", x.image}});
  if (field == "instances")
    return replicas_of(x);
  if (field == "canRedeploy")
    return json::value(x.status == "SUCCESS" || x.status == "CRASHED"
                       || x.status == "FAILED" || x.status == "REMOVED");
  if (field == "suggestAddServiceDomain")
    return json::value(in.domains.empty());
  if (field == "canRollback")
    return json::value(false);
  return json::value(nullptr);
}

} // namespace slipway::sandbox::railway

#include "http/sandbox/railway_graph.hpp"

#include "http/crypto/encoding.hpp"

#include <algorithm>
#include <cstdlib>

namespace slipway::sandbox::railway {

namespace json = boost::json;

using graphql::object_ptr;
using graphql::resolved;

namespace {

// -- small parts --------------------------------------------------------------

/// An object whose fields a function knows.
class node final : public graphql::object {
public:
  using getter = std::function<resolved(std::string_view, const json::object&)>;

  node(std::string type, getter get)
    : type_{std::move(type)}, get_{std::move(get)} {
  }

  [[nodiscard]] std::string_view type() const override {
    return type_;
  }

  [[nodiscard]] resolved
  get(std::string_view field, const json::object& arguments) const override {
    return get_(field, arguments);
  }

private:
  std::string type_;
  getter get_;
};

object_ptr make(std::string type, node::getter get) {
  return std::make_shared<node>(std::move(type), std::move(get));
}

/// An object whose fields are all known beforehand; the rest is null.
object_ptr record(std::string type, json::object values) {
  return make(std::move(type),
              [values = std::move(values)](std::string_view field,
                                           const json::object&) -> resolved {
                const auto* value = values.if_contains(field);
                return value == nullptr ? json::value(nullptr) : *value;
              });
}

std::string text(const json::object& from, std::string_view name) {
  const auto* value = from.if_contains(name);
  if (value == nullptr || !value->is_string())
    return "";
  return {value->get_string().data(), value->get_string().size()};
}

std::optional<std::int64_t>
number(const json::object& from, std::string_view name) {
  const auto* value = from.if_contains(name);
  if (value == nullptr || !value->is_int64())
    return std::nullopt;
  return value->get_int64();
}

const json::object& input(const json::object& arguments) {
  return arguments.at("input").get_object();
}

json::value moment(timestamp at) {
  return json::value(to_rfc3339(at));
}

json::value moment(const std::optional<timestamp>& at) {
  return at ? moment(*at) : json::value(nullptr);
}

/// Empty text is null.
json::value known(const std::string& value) {
  return value.empty() ? json::value(nullptr) : json::value(value);
}

field_error not_found(std::string_view what) {
  return {std::string{what} + " not found"};
}

/// Turns the outcome of a deed into a field.
template <class T, class Show>
resolved show(const tl::expected<T, field_error>& what, Show as) {
  if (!what)
    return what.error();
  return as(*what);
}

resolved show(const tl::expected<bool, field_error>& what) {
  return show(what, [](bool done) {
    return resolved{json::value(done)};
  });
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

// -- lists with pages ---------------------------------------------------------

constexpr auto page_max = std::int64_t{500};

using entry = std::pair<std::string, object_ptr>;

std::string cursor_of(const std::string& id) {
  return crypto::base64_encode("cursor:" + id);
}

/// One page of `all` by Relay's rules.
resolved connection(const std::string& type, std::vector<entry> all,
                    const json::object& arguments) {
  const auto after = text(arguments, "after");
  const auto before = text(arguments, "before");
  const auto find = [&](const std::string& cursor) {
    return std::find_if(all.begin(), all.end(), [&](const entry& x) {
      return cursor_of(x.first) == cursor;
    });
  };
  auto from = all.begin();
  auto to = all.end();
  if (!after.empty()) {
    from = find(after);
    if (from == all.end())
      return field_error{"Invalid cursor", "BAD_USER_INPUT"};
    ++from;
  }
  if (!before.empty()) {
    to = find(before);
    if (to == all.end() || to < from)
      return field_error{"Invalid cursor", "BAD_USER_INPUT"};
  }
  const auto first = number(arguments, "first");
  const auto last = number(arguments, "last");
  if (first.value_or(0) < 0 || last.value_or(0) < 0)
    return field_error{"A page cannot be negative.", "BAD_USER_INPUT"};
  auto more_behind = to != all.end();
  auto more_before = from != all.begin();
  if (const auto n = std::min(first.value_or(page_max), page_max);
      to - from > n) {
    to = from + n;
    more_behind = true;
  }
  if (last && to - from > *last) {
    from = to - *last;
    more_before = true;
  }
  json::object info;
  info["hasNextPage"] = more_behind;
  info["hasPreviousPage"] = more_before;
  info["startCursor"]
    = from == to ? json::value(nullptr) : json::value(cursor_of(from->first));
  info["endCursor"] = from == to ? json::value(nullptr)
                                 : json::value(cursor_of(std::prev(to)->first));
  std::vector<object_ptr> edges;
  for (auto i = from; i != to; ++i)
    edges.push_back(make(
      type + "Edge", [x = *i](std::string_view field, const json::object&) {
        return field == "cursor" ? resolved{json::value(cursor_of(x.first))}
                                 : resolved{x.second};
      }));
  return make(type,
              [edges = std::move(edges), info = std::move(info)](
                std::string_view field, const json::object&) -> resolved {
                if (field == "edges")
                  return edges;
                return record("PageInfo", info);
              });
}

} // namespace

// -- objects ------------------------------------------------------------------

/// Turns what exists into objects.
class graph::view {
public:
  view(const world& all, const caller& who) : all_{all}, who_{who} {
  }

  object_ptr of(const project& x) const {
    return make("Project",
                [this, &x](std::string_view field, const json::object& args) {
                  return project_field(x, field, args);
                });
  }

  object_ptr environment(const project& x) const {
    return make("Environment",
                [this, &x](std::string_view field, const json::object& args) {
                  return environment_field(x, field, args);
                });
  }

  object_ptr of(const service& x) const {
    return make("Service",
                [this, &x](std::string_view field, const json::object& args) {
                  return service_field(x, field, args);
                });
  }

  object_ptr instance(const service& x) const {
    return make("ServiceInstance",
                [this, &x](std::string_view field, const json::object&) {
                  return instance_field(x, field);
                });
  }

  object_ptr of(const deployment& x) const {
    return make("Deployment",
                [this, &x](std::string_view field, const json::object&) {
                  return deployment_field(x, field);
                });
  }

  static object_ptr of(const service_domain& x, const service& in) {
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

  static object_ptr domains(const service& in) {
    return make("AllDomains",
                [&in](std::string_view field, const json::object&) -> resolved {
                  std::vector<object_ptr> result;
                  if (field == "serviceDomains")
                    for (const auto& x : in.domains)
                      result.push_back(of(x, in));
                  return result;
                });
  }

  object_ptr workspace() const {
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
        if (field == "projectCount") {
          const auto* deleted = args.if_contains("includeDeleted");
          const auto with
            = deleted != nullptr && deleted->is_bool() && deleted->get_bool();
          return json::value(with ? all_.projects().size()
                                  : all_.live_projects());
        }
        if (field == "projects")
          return projects("WorkspaceProjectsConnection", args);
        return json::value(nullptr);
      });
  }

  object_ptr user() const {
    return make(
      "User", [this](std::string_view field, const json::object&) -> resolved {
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

  resolved projects(const std::string& type, const json::object& args) const {
    const auto* deleted = args.if_contains("includeDeleted");
    const auto with_deleted
      = deleted != nullptr && deleted->is_bool() && deleted->get_bool();
    const auto wanted = text(args, "workspaceId");
    if (!wanted.empty() && wanted != who_.workspace_id)
      return field_error{"Not Authorized"};
    auto chosen = all_.projects();
    chosen.erase(std::remove_if(chosen.begin(), chosen.end(),
                                [&](const project* x) {
                                  return x->deleted && !with_deleted;
                                }),
                 chosen.end());
    if (text(args, "orderBy") == "NAME_ASC")
      std::stable_sort(chosen.begin(), chosen.end(),
                       [](const project* a, const project* b) {
                         return a->name < b->name;
                       });
    else
      std::reverse(chosen.begin(), chosen.end());
    std::vector<entry> entries;
    for (const auto* x : chosen)
      entries.emplace_back(x->id, of(*x));
    return connection(type, std::move(entries), args);
  }

  resolved deployments(const json::object& args) const {
    const auto& in = input(args);
    const auto project_id = text(in, "projectId");
    const auto service_id = text(in, "serviceId");
    const auto environment_id = text(in, "environmentId");
    if (project_id.empty() && service_id.empty() && environment_id.empty())
      return field_error{"A projectId, serviceId or environmentId is needed.",
                         "BAD_USER_INPUT"};
    const auto listed = [&](std::string_view list, std::string_view status) {
      const auto* filter = in.if_contains("status");
      const auto* names = filter != nullptr && filter->is_object()
                            ? filter->get_object().if_contains(list)
                            : nullptr;
      if (names == nullptr || !names->is_array())
        return list == "in";
      return std::any_of(names->get_array().begin(), names->get_array().end(),
                         [&](const json::value& x) {
                           return x.get_string() == status;
                         });
    };
    std::vector<const deployment*> chosen;
    for (const auto* of : all_.projects()) {
      if (of->gone || (!project_id.empty() && of->id != project_id)
          || (!environment_id.empty() && of->environment_id != environment_id))
        continue;
      for (const auto& id : of->services) {
        const auto& x = *all_.find_service(id);
        if (!service_id.empty() && x.id != service_id)
          continue;
        for (const auto& each : x.deployments) {
          const auto* made = all_.find_deployment(each);
          const auto status = made->status;
          if (listed("in", status) && !listed("notIn", status))
            chosen.push_back(made);
        }
      }
    }
    return deployment_pages("QueryDeploymentsConnection", std::move(chosen),
                            args);
  }

  resolved events(const deployment& x, const json::object& args) const {
    std::vector<entry> entries;
    for (const auto& each : all_.events_of(x)) {
      const auto id = x.id + ":" + std::string{each.step};
      auto payload = record(
        "DeploymentEventPayload",
        {{"error", known(each.error)},
         {"durationMs",
          each.completed ? json::value((*each.completed - each.created).count())
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
    return connection("QueryDeploymentEventsConnection", std::move(entries),
                      args);
  }

  resolved logs(const deployment& x, std::vector<log_line> lines,
                const json::object& args) const {
    const auto limit = number(args, "limit").value_or(100);
    if (limit < 1 || limit > 5'000)
      return field_error{"limit must be between 1 and 5000", "BAD_USER_INPUT"};
    const auto from = bound(text(args, "startDate"));
    const auto until = bound(text(args, "endDate"));
    if (!from || !until)
      return field_error{"A date must be RFC 3339.", "BAD_USER_INPUT"};
    const auto filter = text(args, "filter");
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
    const auto& in = *all_.find_service(x.service_id);
    std::vector<object_ptr> result;
    for (const auto& y : lines) {
      auto tags = record("LogTags", {{"deploymentId", x.id},
                                     {"environmentId", in.environment_id},
                                     {"projectId", in.project_id},
                                     {"serviceId", in.id}});
      auto level
        = record("LogAttribute",
                 {{"key", "level"}, {"value", "\"" + y.severity + "\""}});
      result.push_back(make("Log",
                            [y, tags, level](std::string_view field,
                                             const json::object&) -> resolved {
                              if (field == "message")
                                return json::value(y.message);
                              if (field == "severity")
                                return json::value(y.severity);
                              if (field == "timestamp") {
                                return json::value(y.when());
                              }
                              if (field == "tags")
                                return tags;
                              return std::vector<object_ptr>{level};
                            }));
    }
    return result;
  }

  resolved environments(const std::string& type, const project& x,
                        const json::object& args) const {
    return connection(type, {{x.environment_id, environment(x)}}, args);
  }

  object_ptr template_object(const std::string& code) const {
    return record("Template",
                  {{"id", all_.template_id()},
                   {"code", code},
                   {"name", "Slipway demo"},
                   {"description", "One web service with a domain."},
                   {"createdAt", moment(all_.born())},
                   {"updatedAt", moment(all_.born())},
                   {"status", "PUBLISHED"},
                   {"serializedConfig", all_.template_config()},
                   {"activeProjects", all_.live_projects()},
                   {"projects", all_.projects().size()},
                   {"recentProjects", all_.projects().size()},
                   {"isApproved", true},
                   {"isV2Template", true},
                   {"isVerified", false},
                   {"languages", json::array{}},
                   {"tags", json::array{}},
                   {"workspaceId", who_.workspace_id}});
  }

  resolved query(std::string_view field, const json::object& args) const {
    const auto& code = who_.template_code;
    const auto of_deployment = [&](auto then) -> resolved {
      const auto* x = all_.find_deployment(
        text(args, args.contains("deploymentId") ? "deploymentId" : "id"));
      if (x == nullptr)
        return not_found("Deployment");
      return then(*x);
    };
    const auto of_project = [&](std::string_view name, auto then) -> resolved {
      const auto* x = all_.find_project(text(args, name));
      if (x == nullptr)
        return not_found("Project");
      return then(*x);
    };
    const auto of_instance = [&](auto then) -> resolved {
      const auto* x = all_.find_service(text(args, "serviceId"));
      if (x == nullptr || x->environment_id != text(args, "environmentId"))
        return not_found("ServiceInstance");
      return then(*x);
    };
    if (field == "projects")
      return projects("QueryProjectsConnection", args);
    if (field == "project")
      return of_project("id", [&](const project& x) {
        return of(x);
      });
    if (field == "environments")
      return of_project("projectId", [&](const project& x) {
        return environments("QueryEnvironmentsConnection", x, args);
      });
    if (field == "environment") {
      const auto* x = all_.find_environment(text(args, "id"));
      const auto wanted = text(args, "projectId");
      if (x == nullptr || (!wanted.empty() && x->id != wanted))
        return not_found("Environment");
      return environment(*x);
    }
    if (field == "service") {
      const auto* x = all_.find_service(text(args, "id"));
      if (x == nullptr)
        return not_found("Service");
      return of(*x);
    }
    if (field == "serviceInstance")
      return of_instance([&](const service& x) {
        return instance(x);
      });
    if (field == "domains")
      return of_instance([&](const service& x) {
        return domains(x);
      });
    if (field == "variables")
      return of_project("projectId", [&](const project& x) -> resolved {
        const auto wanted = text(args, "serviceId");
        const auto* in = wanted.empty() ? nullptr : all_.find_service(wanted);
        if (x.environment_id != text(args, "environmentId"))
          return not_found("Environment");
        if (!wanted.empty() && (in == nullptr || in->project_id != x.id))
          return not_found("Service");
        return json::value(all_.variables_of(x, in));
      });
    if (field == "deployments")
      return deployments(args);
    if (field == "deployment")
      return of_deployment([&](const deployment& x) {
        return of(x);
      });
    if (field == "deploymentEvents")
      return of_deployment([&](const deployment& x) {
        return events(x, args);
      });
    if (field == "buildLogs")
      return of_deployment([&](const deployment& x) {
        return logs(x, all_.build_log(x), args);
      });
    if (field == "deploymentLogs")
      return of_deployment([&](const deployment& x) {
        return logs(x, all_.deploy_log(x), args);
      });
    if (field == "template") {
      const auto wanted_code = text(args, "code");
      const auto wanted_id = text(args, "id");
      if ((wanted_code.empty() && wanted_id.empty())
          || (!wanted_code.empty() && wanted_code != code)
          || (!wanted_id.empty() && wanted_id != all_.template_id()))
        return not_found("Template");
      return template_object(code);
    }
    if (field == "workflowStatus") {
      const auto* x = all_.find_workflow(text(args, "workflowId"));
      if (x == nullptr)
        return record("WorkflowResult", {{"status", "NotFound"}});
      if (!x->done)
        return record("WorkflowResult", {{"status", "Running"}});
      return record("WorkflowResult",
                    {{"status", x->error.empty() ? "Complete" : "Error"},
                     {"error", known(x->error)}});
    }
    if (field == "workspace") {
      if (text(args, "workspaceId") != who_.workspace_id)
        return field_error{"Not Authorized"};
      return workspace();
    }
    if (field == "apiToken")
      return make(
        "ApiTokenContext", [&](std::string_view, const json::object&) {
          return resolved{std::vector<object_ptr>{
            record("ApiTokenWorkspace",
                   {{"id", who_.workspace_id}, {"name", "Slipway sandbox"}})}};
        });
    if (field == "me" && who_.account)
      return user();
    return field_error{"Not Authorized"};
  }

  resolved
  mutate(world& all, std::string_view field, const json::object& args) const {
    const auto id = text(args, "id");
    const auto as_deployment = [&](const deployment* x) {
      return resolved{of(*x)};
    };
    const auto as_true = [](const deployment*) {
      return resolved{json::value(true)};
    };
    if (field == "projectCreate")
      return show(all.create_project(input(args)), [&](const project* x) {
        return resolved{of(*x)};
      });
    if (field == "projectDelete")
      return show(all.delete_project(id, false));
    if (field == "projectScheduleDelete")
      return show(all.delete_project(id, true));
    if (field == "templateDeployV2")
      return show(all.deploy_template(input(args)), [&](const workflow* x) {
        return resolved{
          record("TemplateDeployPayload",
                 {{"projectId", x->project_id}, {"workflowId", x->id}})};
      });
    if (field == "variableCollectionUpsert")
      return show(all.upsert_variables(input(args)));
    if (field == "serviceDomainCreate")
      return show(all.create_domain(input(args)), [&](const service_domain* x) {
        return resolved{
          of(*x, *all.find_service(text(input(args), "serviceId")))};
      });
    if (field == "serviceInstanceDeployV2")
      return show(all.deploy_service(text(args, "serviceId"),
                                     text(args, "environmentId")),
                  [&](const deployment* x) {
                    return resolved{json::value(x->id)};
                  });
    if (field == "serviceInstanceDeploy")
      return show(all.deploy_service(text(args, "serviceId"),
                                     text(args, "environmentId")),
                  as_true);
    if (field == "serviceInstanceRedeploy")
      return show(all.redeploy_service(text(args, "serviceId"),
                                       text(args, "environmentId")),
                  as_true);
    if (field == "deploymentRedeploy")
      return show(all.redeploy(id), as_deployment);
    if (field == "deploymentCancel")
      return show(all.cancel(id));
    if (field == "deploymentRemove")
      return show(all.remove(id));
    if (field == "deploymentStop")
      return show(all.stop(id));
    if (field == "deploymentRestart")
      return show(all.restart(id));
    return field_error{"Not Authorized"};
  }

private:
  object_ptr rate_limit() const {
    return record("ApiTokenRateLimit", {{"remainingPoints", who_.points_left},
                                        {"resetsAt", who_.resets_at}});
  }

  resolved deployment_pages(const std::string& type,
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
    return connection(type, std::move(entries), args);
  }

  std::vector<const deployment*> deployments_of(const project& x) const {
    std::vector<const deployment*> result;
    for (const auto& id : x.services)
      for (const auto& each : all_.find_service(id)->deployments)
        result.push_back(all_.find_deployment(each));
    return result;
  }

  resolved services_of(const std::string& type, const project& x,
                       bool instances, const json::object& args) const {
    std::vector<entry> entries;
    for (const auto& id : x.services) {
      const auto& each = *all_.find_service(id);
      if (instances)
        entries.emplace_back(each.instance_id, instance(each));
      else
        entries.emplace_back(each.id, of(each));
    }
    return connection(type, std::move(entries), args);
  }

  resolved project_field(const project& x, std::string_view field,
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
      return moment(x.deleted);
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
      return x.gone ? connection("ProjectEnvironmentsConnection", {}, args)
                    : environments("ProjectEnvironmentsConnection", x, args);
    if (field == "services")
      return x.gone ? connection("ProjectServicesConnection", {}, args)
                    : services_of("ProjectServicesConnection", x, false, args);
    if (field == "expiredAt")
      return json::value(nullptr);
    return json::value(false); // The remaining ones are flags.
  }

  resolved environment_field(const project& x, std::string_view field,
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
    if (field == "deployments")
      return deployment_pages(
        "EnvironmentDeploymentsConnection",
        x.gone ? std::vector<const deployment*>{} : deployments_of(x), args);
    return x.gone
             ? connection("EnvironmentServiceInstancesConnection", {}, args)
             : services_of("EnvironmentServiceInstancesConnection", x, true,
                           args);
  }

  resolved service_field(const service& x, std::string_view field,
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
    std::vector<const deployment*> own;
    for (const auto& each : x.deployments)
      own.push_back(all_.find_deployment(each));
    return deployment_pages("ServiceDeploymentsConnection", std::move(own),
                            args);
  }

  resolved instance_field(const service& x, std::string_view field) const {
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
    if (field == "latestDeployment")
      return x.deployments.empty()
               ? object_ptr{}
               : of(*all_.find_deployment(x.deployments.back()));
    if (field == "activeDeployments") {
      std::vector<object_ptr> result;
      for (const auto& each : x.deployments) {
        const auto* made = all_.find_deployment(each);
        if (made->status == "SUCCESS" && !made->stopped)
          result.push_back(of(*made));
      }
      return result;
    }
    if (field == "source")
      return record("ServiceSource", {{"image", known(x.image)}});
    if (field == "startCommand")
      return known(x.start_command);
    if (field == "healthcheckPath")
      return known(x.healthcheck_path);
    if (field == "builder")
      return json::value("RAILPACK");
    if (field == "isUpdatable")
      return json::value(false);
    if (field == "numReplicas")
      return json::value(1);
    if (field == "restartPolicyMaxRetries")
      return json::value(10);
    if (field == "restartPolicyType")
      return json::value("ON_FAILURE");
    return json::value(nullptr);
  }

  static std::vector<object_ptr> replicas_of(const deployment& x) {
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
      result.push_back(record(
        "DeploymentDeploymentInstance",
        {{"id", "replica-" + x.id.substr(0, 8) + "-" + std::to_string(i)},
         {"status", is_down ? "CRASHED" : status}}));
    }
    return result;
  }

  resolved deployment_field(const deployment& x, std::string_view field) const {
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

  const world& all_;
  const caller& who_;
};

graph::graph(world& all, caller who)
  : all_{all}, who_{std::move(who)}, view_{std::make_unique<view>(all_, who_)} {
}

graph::~graph() = default;

resolved graph::root(bool is_mutation, std::string_view field,
                     const json::object& arguments) {
  return is_mutation ? view_->mutate(all_, field, arguments)
                     : view_->query(field, arguments);
}

} // namespace slipway::sandbox::railway

#include "http/sandbox/railway_graph.hpp"

#include "http/sandbox/railway_json.hpp"

#include <algorithm>

namespace slipway::sandbox::railway {

namespace json = boost::json;

namespace {

const json::object& input(const json::object& arguments) {
  return arguments.at("input").get_object();
}

/// Turns the outcome of a deed into a field.
template <class T, class Show>
resolved show_as(const tl::expected<T, field_error>& what, Show as) {
  if (!what)
    return what.error();
  return as(*what);
}

template <class T>
resolved plain(const tl::expected<T, field_error>& what) {
  return show_as(what, [](const T& done) {
    return resolved{json::value(done)};
  });
}

} // namespace

resolved graph::root(bool is_mutation, std::string_view field,
                     const json::object& arguments) {
  // Who may do what spreads slowly.
  const auto* about = all_.subject_of(arguments);
  if (about != nullptr
      && all_.now() < about->created + millis{all_.knobs.auth_lag_ms})
    return field_error{"Not Authorized"};
  return is_mutation ? mutate(field, arguments) : query(field, arguments);
}

resolved graph::query(std::string_view field, const json::object& args) const {
  const auto of_deployment = [&](auto then) -> resolved {
    const auto* x = all_.find_deployment(
      text_of(args, args.contains("deploymentId") ? "deploymentId" : "id"));
    if (x == nullptr || !all_.is_found(x->created))
      return not_found("Deployment");
    return then(*x);
  };
  const auto of_project = [&](std::string_view name, auto then) -> resolved {
    const auto* x = all_.find_project(text_of(args, name));
    if (x == nullptr || !all_.is_found(x->created))
      return not_found("Project");
    return then(*x);
  };
  const auto find_service = [&](std::string_view name) -> const service* {
    const auto* x = all_.find_service(text_of(args, name));
    return x != nullptr && all_.is_found(x->created) ? x : nullptr;
  };
  const auto of_instance = [&](auto then) -> resolved {
    const auto* x = find_service("serviceId");
    if (x == nullptr || x->environment_id != text_of(args, "environmentId"))
      return not_found("ServiceInstance");
    return then(*x);
  };
  if (field == "projects")
    return show_.projects("QueryProjectsConnection", args);
  if (field == "project")
    return of_project("id", [&](const project& x) {
      return show_.of(x);
    });
  if (field == "environments")
    return of_project("projectId", [&](const project& x) {
      return show_.environments("QueryEnvironmentsConnection", x, args);
    });
  if (field == "environment") {
    const auto* x = all_.find_environment(text_of(args, "id"));
    const auto wanted = text_of(args, "projectId");
    if (x == nullptr || !all_.is_found(x->created)
        || (!wanted.empty() && x->id != wanted))
      return not_found("Environment");
    return show_.environment(*x);
  }
  if (field == "service") {
    const auto* x = find_service("id");
    if (x == nullptr)
      return not_found("Service");
    return show_.of(*x);
  }
  if (field == "serviceInstance")
    return of_instance([&](const service& x) {
      return show_.instance(x);
    });
  if (field == "domains")
    return of_instance([&](const service& x) {
      return show_.domains(x);
    });
  if (field == "variables")
    return of_project("projectId", [&](const project& x) -> resolved {
      const auto wanted = text_of(args, "serviceId");
      const auto* in = wanted.empty() ? nullptr : find_service("serviceId");
      if (x.environment_id != text_of(args, "environmentId"))
        return not_found("Environment");
      if (!wanted.empty() && (in == nullptr || in->project_id != x.id))
        return not_found("Service");
      return json::value(all_.variables_of(x, in));
    });
  if (field == "deployments")
    return show_.deployments(args);
  if (field == "deployment")
    return of_deployment([&](const deployment& x) {
      return show_.of(x);
    });
  if (field == "deploymentEvents")
    return of_deployment([&](const deployment& x) {
      return show_.events(x, args);
    });
  if (field == "buildLogs")
    return of_deployment([&](const deployment& x) {
      return show_.logs(x, all_.log_of(x, true), args);
    });
  if (field == "deploymentLogs")
    return of_deployment([&](const deployment& x) {
      return show_.logs(x, all_.log_of(x, false), args);
    });
  if (field == "template") {
    const auto* x
      = all_.find_template(text_of(args, "id"), text_of(args, "code"));
    if (x == nullptr)
      return not_found("Template");
    return show_.of(*x);
  }
  if (field == "workspaceTemplates")
    return show_.templates(args);
  if (field == "workflowStatus") {
    const auto* x = all_.find_workflow(text_of(args, "workflowId"));
    if (x == nullptr || !all_.is_found(x->started))
      return record("WorkflowResult", {{"status", "NotFound"}});
    if (!x->done)
      return record("WorkflowResult", {{"status", "Running"}});
    return record("WorkflowResult",
                  {{"status", x->error.empty() ? "Complete" : "Error"},
                   {"error", known(x->error)}});
  }
  if (field == "notificationRules") {
    if (text_of(args, "workspaceId") != who_.workspace_id)
      return field_error{"Not Authorized"};
    const auto wanted = text_of(args, "projectId");
    std::vector<object_ptr> result;
    for (const auto& [id, x] : all_.rules())
      if (wanted.empty() || x.project_id == wanted)
        result.push_back(show_.of(x));
    return result;
  }
  if (field == "workspace") {
    if (text_of(args, "workspaceId") != who_.workspace_id)
      return field_error{"Not Authorized"};
    return show_.workspace();
  }
  if (field == "apiToken")
    return make("ApiTokenContext", [&](std::string_view, const json::object&) {
      return resolved{std::vector<object_ptr>{
        record("ApiTokenWorkspace",
               {{"id", who_.workspace_id}, {"name", "Slipway sandbox"}})}};
    });
  if (field == "me" && who_.account)
    return show_.user();
  return field_error{"Not Authorized"};
}

resolved graph::mutate(std::string_view field, const json::object& args) {
  const auto id = text_of(args, "id");
  const auto as_object = [&](const auto* x) {
    return resolved{show_.of(*x)};
  };
  const auto as_true = [](const deployment*) {
    return resolved{json::value(true)};
  };
  const auto service_id = text_of(args, "serviceId");
  const auto environment_id = text_of(args, "environmentId");
  if (field == "projectCreate")
    return show_as(all_.create_project(input(args)), as_object);
  if (field == "projectDelete")
    return plain(all_.delete_project(id, false));
  if (field == "projectScheduleDelete")
    return plain(all_.delete_project(id, true));
  if (field == "templateDeployV2")
    return show_as(all_.deploy_template(input(args)), [](const workflow* x) {
      return resolved{
        record("TemplateDeployPayload",
               {{"projectId", x->project_id}, {"workflowId", x->id}})};
    });
  if (field == "templateGenerate")
    return show_as(all_.generate_template(input(args)), as_object);
  if (field == "serviceCreate")
    return show_as(all_.create_service(input(args)), as_object);
  if (field == "serviceDelete")
    return plain(all_.delete_service(id, environment_id));
  if (field == "volumeCreate")
    return show_as(all_.create_volume(input(args)), as_object);
  if (field == "volumeDelete")
    return plain(all_.delete_volume(text_of(args, "volumeId")));
  if (field == "environmentPatchCommit")
    return plain(all_.commit_patch(environment_id, object_of(args, "patch")));
  if (field == "variableCollectionUpsert")
    return plain(all_.upsert_variables(input(args)));
  if (field == "serviceDomainCreate")
    return show_as(
      all_.create_domain(input(args)), [&](const service_domain* x) {
        const auto* in = all_.find_service(text_of(input(args), "serviceId"));
        return resolved{show_.of(*x, *in)};
      });
  if (field == "serviceInstanceDeployV2")
    return show_as(all_.deploy_service(service_id, environment_id),
                   [](const deployment* x) {
                     return resolved{json::value(x->id)};
                   });
  if (field == "serviceInstanceDeploy")
    return show_as(all_.deploy_service(service_id, environment_id), as_true);
  if (field == "serviceInstanceRedeploy")
    return show_as(all_.redeploy_service(service_id, environment_id), as_true);
  if (field == "deploymentRedeploy")
    return show_as(all_.redeploy(id), as_object);
  if (field == "deploymentCancel")
    return plain(all_.cancel(id));
  if (field == "deploymentRemove")
    return plain(all_.remove(id));
  if (field == "deploymentStop")
    return plain(all_.stop(id));
  if (field == "deploymentRestart")
    return plain(all_.restart(id));
  if (field == "notificationRuleCreate")
    return show_as(all_.create_rule(input(args)), as_object);
  if (field == "notificationRuleDelete")
    return plain(all_.delete_rule(id));
  return field_error{"Not Authorized"};
}

} // namespace slipway::sandbox::railway

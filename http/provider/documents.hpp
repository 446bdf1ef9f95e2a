#pragma once

#include <algorithm>
#include <array>
#include <iterator>

/// The GraphQL documents that are sent to Railway. Selections are as small as
/// they can be: the API is unversioned, and fields do vanish. Each document
/// begins with the name of the field it is about.
namespace slipway::provider {

/// A document with the field that stands for it in histories and metrics.
struct operation {
  const char* field;
  const char* document;
  bool mutates;
};

/// A document out of its parts, put together by the compiler.
template <const auto&... Parts>
inline constexpr auto joined = [] {
  // One end instead of one for each part.
  auto text = std::array<char, (sizeof(Parts) + ...) - sizeof...(Parts) + 1>{};
  auto to = text.begin();
  ((to = std::copy(std::begin(Parts), std::end(Parts) - 1, to)), ...);
  return text;
}();

inline constexpr auto find_projects = operation{"projects",
                                                R"graphql(
query FindProjects($workspaceId: String, $after: String) {
  projects(workspaceId: $workspaceId, first: 100, after: $after, orderBy: CREATED_AT_DESC) {
    edges { node { id name createdAt deletedAt } }
    pageInfo { hasNextPage endCursor }
  }
}
)graphql",
                                                false};

inline constexpr auto read_project = operation{"project",
                                               R"graphql(
query ReadProject($id: String!) {
  project(id: $id) {
    id
    deletedAt
    environments { edges { node { id name } } }
    services { edges { node { id name deletedAt } } }
  }
}
)graphql",
                                               false};

inline constexpr auto create_project = operation{"projectCreate",
                                                 R"graphql(
mutation CreateProject($input: ProjectCreateInput!) {
  projectCreate(input: $input) {
    id
    environments { edges { node { id name } } }
  }
}
)graphql",
                                                 true};

inline constexpr auto delete_project = operation{"projectDelete",
                                                 R"graphql(
mutation DeleteProject($id: String!) {
  projectDelete(id: $id)
}
)graphql",
                                                 true};

inline constexpr auto template_by_code = operation{"template",
                                                   R"graphql(
query TemplateByCode($code: String!) {
  template(code: $code) { id serializedConfig }
}
)graphql",
                                                   false};

inline constexpr auto template_by_id = operation{"template",
                                                 R"graphql(
query TemplateById($id: String!) {
  template(id: $id) { id serializedConfig }
}
)graphql",
                                                 false};

inline constexpr auto deploy_template = operation{"templateDeployV2",
                                                  R"graphql(
mutation DeployTemplate($input: TemplateDeployV2Input!) {
  templateDeployV2(input: $input) { projectId workflowId }
}
)graphql",
                                                  true};

inline constexpr auto read_workflow = operation{"workflowStatus",
                                                R"graphql(
query ReadWorkflow($workflowId: String!) {
  workflowStatus(workflowId: $workflowId) { status error }
}
)graphql",
                                                false};

/// What is told of an environment and its services; a part of documents, also
/// of those that `make_look_document` puts together for many environments.
inline constexpr char seen_fragment[] = R"graphql(
fragment Seen on Environment {
  id
  serviceInstances {
    edges {
      node {
        serviceId
        serviceName
        domains { serviceDomains { domain } customDomains { domain } }
        latestDeployment { id status deploymentStopped }
      }
    }
  }
}
)graphql";

inline constexpr char environment_query[] = R"graphql(
query ReadEnvironment($id: String!) {
  environment(id: $id) { ...Seen }
}
)graphql";

inline constexpr auto read_environment = operation{
  "environment", joined<environment_query, seen_fragment>.data(), false};

inline constexpr char workflow_and_environment_query[] = R"graphql(
query ReadWorkflowAndEnvironment($workflowId: String!, $environmentId: String!) {
  workflowStatus(workflowId: $workflowId) { status error }
  environment(id: $environmentId) { ...Seen }
}
)graphql";

/// `read_workflow` and `read_environment` in one request.
inline constexpr auto read_workflow_and_environment = operation{
  "workflowStatus",
  joined<workflow_and_environment_query, seen_fragment>.data(), false};

/// Which service is which one of the template, when there may be too many.
inline constexpr auto read_services = operation{"project",
                                                R"graphql(
query ReadServices($id: String!) {
  project(id: $id) {
    id
    services { edges { node { id name createdAt deletedAt templateServiceId } } }
  }
}
)graphql",
                                                false};

/// The template project: its services, and the environment that is cloned.
inline constexpr auto read_template_project = operation{"project",
                                                        R"graphql(
query ReadTemplateProject($id: String!) {
  project(id: $id) {
    id
    deletedAt
    baseEnvironmentId
    environments { edges { node { id name } } }
    services { edges { node { id name deletedAt } } }
  }
}
)graphql",
                                                        false};

inline constexpr auto read_config = operation{"environment",
                                              R"graphql(
query ReadConfig($id: String!) {
  environment(id: $id) { id config(decryptVariables: true) }
}
)graphql",
                                              false};

inline constexpr auto read_volumes = operation{"environment",
                                               R"graphql(
query ReadVolumes($id: String!) {
  environment(id: $id) {
    id
    volumeInstances { edges { node { volumeId serviceId mountPath deletedAt } } }
  }
}
)graphql",
                                               false};

inline constexpr auto create_service = operation{"serviceCreate",
                                                 R"graphql(
mutation CreateService($input: ServiceCreateInput!) {
  serviceCreate(input: $input) { id name }
}
)graphql",
                                                 true};

inline constexpr auto delete_service = operation{"serviceDelete",
                                                 R"graphql(
mutation DeleteService($id: String!, $environmentId: String) {
  serviceDelete(id: $id, environmentId: $environmentId)
}
)graphql",
                                                 true};

inline constexpr auto create_volume = operation{"volumeCreate",
                                                R"graphql(
mutation CreateVolume($input: VolumeCreateInput!) {
  volumeCreate(input: $input) { id }
}
)graphql",
                                                true};

inline constexpr auto commit_patch = operation{"environmentPatchCommit",
                                               R"graphql(
mutation CommitPatch($environmentId: String!, $patch: EnvironmentConfig!, $message: String) {
  environmentPatchCommit(environmentId: $environmentId, patch: $patch, commitMessage: $message)
}
)graphql",
                                               true};

/// The selection of `read_events`, for many of them in one document.
inline constexpr auto* steps_selection = R"selection({
  edges { node { step completedAt payload { error } } }
}
)selection";

/// Which deployments serve where the latest one does not.
inline constexpr auto read_serving = operation{"environment",
                                               R"graphql(
query ReadServing($id: String!) {
  environment(id: $id) {
    id
    serviceInstances {
      edges {
        node {
          serviceId
          activeDeployments { id status deploymentStopped }
        }
      }
    }
  }
}
)graphql",
                                               false};

inline constexpr auto create_domain = operation{"serviceDomainCreate",
                                                R"graphql(
mutation CreateDomain($input: ServiceDomainCreateInput!) {
  serviceDomainCreate(input: $input) { domain }
}
)graphql",
                                                true};

inline constexpr auto deploy_service = operation{"serviceInstanceDeployV2",
                                                 R"graphql(
mutation DeployService($environmentId: String!, $serviceId: String!) {
  serviceInstanceDeployV2(environmentId: $environmentId, serviceId: $serviceId)
}
)graphql",
                                                 true};

inline constexpr auto read_deployment = operation{"deployment",
                                                  R"graphql(
query ReadDeployment($id: String!) {
  deployment(id: $id) { id status deploymentStopped }
}
)graphql",
                                                  false};

/// Whether any replica of a crashed deployment still runs.
inline constexpr auto read_replicas = operation{"deployment",
                                                R"graphql(
query ReadReplicas($id: String!) {
  deployment(id: $id) { id status deploymentStopped instances { status } }
}
)graphql",
                                                false};

inline constexpr auto read_events = operation{"deploymentEvents",
                                              R"graphql(
query ReadEvents($id: String!) {
  deploymentEvents(id: $id, first: 50) {
    edges { node { step completedAt payload { error } } }
  }
}
)graphql",
                                              false};

inline constexpr auto read_rules = operation{"notificationRules",
                                             R"graphql(
query ReadRules($workspaceId: String!) {
  notificationRules(workspaceId: $workspaceId) { id eventTypes channels { id config } }
}
)graphql",
                                             false};

inline constexpr auto create_rule = operation{"notificationRuleCreate",
                                              R"graphql(
mutation CreateRule($input: CreateNotificationRuleInput!) {
  notificationRuleCreate(input: $input) { id }
}
)graphql",
                                              true};

inline constexpr auto cancel_deployment = operation{"deploymentCancel",
                                                    R"graphql(
mutation CancelDeployment($id: String!) {
  deploymentCancel(id: $id)
}
)graphql",
                                                    true};

} // namespace slipway::provider

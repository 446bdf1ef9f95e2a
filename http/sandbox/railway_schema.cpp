#include "http/sandbox/railway_schema.hpp"

#include <array>
#include <utility>

namespace slipway::sandbox {

namespace {

constexpr auto sdl = std::string_view{R"graphql(
scalar DateTime
scalar DeploymentMeta
scalar EnvironmentConfig
scalar EnvironmentVariables
scalar JSON
scalar NotificationChannelConfig
scalar SerializedTemplateConfig

interface Node { id: ID! }

interface Domain {
  createdAt: DateTime
  deletedAt: DateTime
  domain: String!
  environmentId: String!
  id: ID!
  projectId: String
  serviceId: String!
  targetPort: Int
  updatedAt: DateTime
}

enum ProjectsOrderBy { CREATED_AT_DESC NAME_ASC UPDATED_AT_DESC }
enum WorkflowStatus { Complete Error NotFound Running }
enum DeploymentStatus {
  BUILDING CRASHED DEPLOYING FAILED INITIALIZING NEEDS_APPROVAL QUEUED REMOVED
  REMOVING SKIPPED SLEEPING SUCCESS WAITING
}
enum DeploymentInstanceStatus {
  CRASHED CREATED EXITED INITIALIZING REMOVED REMOVING RESTARTING RUNNING
  SKIPPED STOPPED
}
enum DeploymentEventStep {
  BUILD_IMAGE CONFIGURE_NETWORK CREATE_CONTAINER DRAIN_INSTANCES HEALTHCHECK
  MIGRATE_VOLUMES PRE_DEPLOY_COMMAND PUBLISH_IMAGE SNAPSHOT_CODE
  WAIT_FOR_DEPENDENCIES
}
enum ServiceDomainSyncStatus {
  ACTIVE CREATING DELETED DELETING UNSPECIFIED UPDATING
}
enum Builder { HEROKU NIXPACKS PAKETO RAILPACK }
enum RestartPolicyType { ALWAYS NEVER ON_FAILURE }
enum Plan { FREE HOBBY PRO }
enum SortOrder { asc desc }
enum TemplateStatus { HIDDEN PUBLISHED UNPUBLISHED }
enum SubscriptionPlanType { free hobby pro trial }
enum NotificationSeverity { CRITICAL INFO NOTICE WARNING }
enum VolumeState {
  DELETED DELETING ERROR MIGRATING MIGRATION_PENDING READY RESTORING UPDATING
}
enum PublicRuntime { LEGACY UNSPECIFIED V2 }

input ProjectCreateRepo { branch: String! fullRepoName: String! }
input ProjectCreateInput {
  defaultEnvironmentName: String
  description: String
  isMonorepo: Boolean
  isPublic: Boolean
  name: String
  prDeploys: Boolean
  repo: ProjectCreateRepo
  runtime: PublicRuntime
  workspaceId: String
}
input TemplateDeployV2Input {
  environmentId: String
  existingRootServiceId: String
  projectId: String
  serializedConfig: SerializedTemplateConfig!
  stageOnly: Boolean
  templateId: String!
  workspaceId: String
}
input VariableCollectionUpsertInput {
  environmentId: String!
  projectId: String!
  replace: Boolean = false
  serviceId: String
  skipDeploys: Boolean = false
  variables: EnvironmentVariables!
}
input ServiceDomainCreateInput {
  environmentId: String!
  serviceId: String!
  targetPort: Int
}
input DeploymentStatusInput {
  in: [DeploymentStatus!]
  notIn: [DeploymentStatus!]
}
input DeploymentListInput {
  environmentId: String
  includeDeleted: Boolean
  projectId: String
  serviceId: String
  status: DeploymentStatusInput
}

input ServiceSourceInput { image: String repo: String }
input RegistryCredentialsInput { password: String! username: String! }
input ServiceCreateInput {
  branch: String
  environmentId: String
  icon: String
  name: String
  projectId: String!
  registryCredentials: RegistryCredentialsInput
  source: ServiceSourceInput
  templateId: String
  templateServiceId: String
  variables: EnvironmentVariables
}
input VolumeCreateInput {
  environmentId: String
  mountPath: String!
  projectId: String!
  region: String
  serviceId: String
}
input TemplateGenerateInput { environmentId: String projectId: String! }
input CreateNotificationRuleInput {
  channelConfigs: [NotificationChannelConfig!]!
  ephemeralEnvironments: Boolean
  eventTypes: [String!]!
  projectId: String
  severities: [NotificationSeverity!]
  workspaceId: String!
}

type PageInfo {
  endCursor: String
  hasNextPage: Boolean!
  hasPreviousPage: Boolean!
  startCursor: String
}

type Project implements Node {
  baseEnvironment: Environment
  baseEnvironmentId: String
  botPrEnvironments: Boolean!
  createdAt: DateTime!
  deletedAt: DateTime
  description: String
  environments(after: String, before: String, first: Int, isEphemeral: Boolean, last: Int, sort: SortOrder): ProjectEnvironmentsConnection!
  expiredAt: DateTime
  id: ID!
  isPublic: Boolean!
  isTempProject: Boolean!
  name: String!
  prDeploys: Boolean!
  primaryEnvironmentId: String
  services(after: String, before: String, first: Int, last: Int): ProjectServicesConnection!
  subscriptionType: SubscriptionPlanType!
  updatedAt: DateTime!
  volumes(after: String, before: String, first: Int, last: Int): ProjectVolumesConnection!
  workspace: Workspace
  workspaceId: String
}

type Environment implements Node {
  canAccess: Boolean!
  config(decryptVariables: Boolean): EnvironmentConfig!
  createdAt: DateTime!
  deletedAt: DateTime
  deployments(after: String, before: String, first: Int, last: Int): EnvironmentDeploymentsConnection!
  id: ID!
  isEphemeral: Boolean!
  name: String!
  projectId: String!
  serviceInstances(after: String, before: String, first: Int, last: Int): EnvironmentServiceInstancesConnection!
  unmergedChangesCount: Int
  updatedAt: DateTime!
  volumeInstances(after: String, before: String, first: Int, last: Int): EnvironmentVolumeInstancesConnection!
}

type Service implements Node {
  createdAt: DateTime!
  deletedAt: DateTime
  deployments(after: String, before: String, first: Int, last: Int): ServiceDeploymentsConnection!
  icon: String
  id: ID!
  isRestricted: Boolean!
  name: String!
  project: Project!
  projectId: String!
  serviceInstances(after: String, before: String, first: Int, last: Int): ServiceServiceInstancesConnection!
  templateId: String
  templateServiceId: String
  updatedAt: DateTime!
}

type ServiceSource { image: String repo: String }

type ServiceInstance implements Node {
  activeDeployments: [Deployment!]!
  buildCommand: String
  builder: Builder!
  createdAt: DateTime!
  cronSchedule: String
  deletedAt: DateTime
  domains: AllDomains!
  environmentId: String!
  healthcheckPath: String
  healthcheckTimeout: Int
  id: ID!
  isUpdatable: Boolean!
  latestDeployment: Deployment
  numReplicas: Int
  region: String
  restartPolicyMaxRetries: Int!
  restartPolicyType: RestartPolicyType!
  rootDirectory: String
  service: Service!
  serviceId: String!
  serviceName: String!
  sleepApplication: Boolean
  source: ServiceSource
  startCommand: String
  updatedAt: DateTime!
  upstreamUrl: String
}

type AllDomains {
  customDomains: [CustomDomain!]!
  serviceDomains: [ServiceDomain!]!
}

type CustomDomain implements Domain {
  createdAt: DateTime
  deletedAt: DateTime
  domain: String!
  environmentId: String!
  id: ID!
  isRailwayDomain: Boolean!
  projectId: String
  serviceId: String!
  targetPort: Int
  updatedAt: DateTime
}

type ServiceDomain implements Domain {
  createdAt: DateTime
  deletedAt: DateTime
  domain: String!
  environmentId: String!
  id: ID!
  projectId: String
  serviceId: String!
  suffix: String
  syncStatus: ServiceDomainSyncStatus!
  targetPort: Int
  updatedAt: DateTime
}

type DeploymentDeploymentInstance {
  id: String!
  status: DeploymentInstanceStatus!
}

type Deployment implements Node {
  canRedeploy: Boolean!
  canRollback: Boolean!
  createdAt: DateTime!
  deploymentStopped: Boolean!
  environment: Environment!
  environmentId: String!
  id: ID!
  instances: [DeploymentDeploymentInstance!]!
  meta: DeploymentMeta
  projectId: String!
  service: Service!
  serviceId: String
  snapshotId: String
  staticUrl: String
  status: DeploymentStatus!
  statusUpdatedAt: DateTime
  suggestAddServiceDomain: Boolean!
  updatedAt: DateTime!
  url: String
}

type DeploymentEventPayload {
  attempt: Int
  detail: String
  durationMs: Int
  error: String
  maxAttempts: Int
  reason: String
  skipped: Boolean
}

type DeploymentEvent implements Node {
  completedAt: DateTime
  createdAt: DateTime!
  id: ID!
  payload: DeploymentEventPayload
  step: DeploymentEventStep!
}

type LogAttribute { key: String! value: String! }

type LogTags {
  deploymentId: String
  deploymentInstanceId: String
  environmentId: String
  projectId: String
  serviceId: String
  snapshotId: String
}

type Log {
  attributes: [LogAttribute!]!
  message: String!
  severity: String
  tags: LogTags
  timestamp: String!
}

type Template implements Node {
  activeProjects: Int!
  category: String
  code: String!
  createdAt: DateTime!
  description: String
  id: ID!
  image: String
  isApproved: Boolean!
  isV2Template: Boolean!
  isVerified: Boolean!
  languages: [String!]
  name: String!
  projects: Int!
  readme: String
  recentProjects: Int!
  serializedConfig: SerializedTemplateConfig
  status: TemplateStatus!
  tags: [String!]
  updatedAt: DateTime!
  workspaceId: String
}

type Volume implements Node {
  createdAt: DateTime!
  id: ID!
  name: String!
  project: Project!
  projectId: String!
  volumeInstances(after: String, before: String, first: Int, last: Int): VolumeVolumeInstancesConnection!
}

type VolumeInstance implements Node {
  createdAt: DateTime!
  currentSizeMB: Float!
  deletedAt: DateTime
  environment: Environment!
  environmentId: String!
  externalId: String
  id: ID!
  isPendingDeletion: Boolean!
  mountPath: String!
  region: String
  service: Service!
  serviceId: String
  sizeMB: Int!
  state: VolumeState
  volume: Volume!
  volumeId: String!
}

type NotificationRule implements Node {
  channels: [NotificationChannel!]!
  createdAt: DateTime!
  environmentId: String
  ephemeralEnvironments: Boolean
  eventTypes: [String!]!
  id: ID!
  projectId: String
  serviceId: String
  severities: [NotificationSeverity!]!
  updatedAt: DateTime!
  workspaceId: String!
}

type NotificationChannel implements Node {
  config: NotificationChannelConfig!
  createdAt: DateTime!
  id: ID!
  updatedAt: DateTime!
  workspaceId: String!
}

type WorkflowResult { error: String status: WorkflowStatus! }

type TemplateDeployPayload { projectId: String! workflowId: String }

type ApiTokenRateLimit { remainingPoints: Int! resetsAt: String! }

type ApiTokenWorkspace { id: String! name: String! }

type ApiTokenContext { workspaces: [ApiTokenWorkspace!]! }

type Workspace implements Node {
  apiTokenRateLimit: ApiTokenRateLimit
  avatar: String
  createdAt: DateTime!
  id: ID!
  name: String!
  plan: Plan!
  preferredRegion: String
  projectCount(includeDeleted: Boolean): Int!
  projects(after: String, before: String, first: Int, last: Int): WorkspaceProjectsConnection!
  updatedAt: DateTime!
}

type User implements Node {
  apiTokenRateLimit: ApiTokenRateLimit
  avatar: String
  createdAt: DateTime!
  email: String!
  id: ID!
  name: String
  username: String
  workspaces: [Workspace!]!
}

type Query {
  apiToken: ApiTokenContext!
  buildLogs(deploymentId: String!, endDate: DateTime, filter: String, limit: Int, startDate: DateTime): [Log!]!
  deployment(id: String!): Deployment!
  deploymentEvents(after: String, before: String, first: Int, id: String!, last: Int): QueryDeploymentEventsConnection!
  deploymentLogs(deploymentId: String!, endDate: DateTime, filter: String, limit: Int, startDate: DateTime): [Log!]!
  deployments(after: String, before: String, first: Int, input: DeploymentListInput!, last: Int): QueryDeploymentsConnection!
  domains(environmentId: String!, projectId: String!, serviceId: String!): AllDomains!
  environment(id: String!, projectId: String): Environment!
  environments(after: String, before: String, first: Int, isEphemeral: Boolean, last: Int, projectId: String!): QueryEnvironmentsConnection!
  me: User!
  notificationRules(projectId: String, workspaceId: String!): [NotificationRule!]!
  project(id: String!): Project!
  projects(after: String, before: String, first: Int, includeDeleted: Boolean, last: Int, orderBy: ProjectsOrderBy, userId: String, workspaceId: String): QueryProjectsConnection!
  service(id: String!): Service!
  serviceInstance(environmentId: String!, serviceId: String!): ServiceInstance!
  template(code: String, id: String, owner: String, repo: String): Template!
  variables(environmentId: String!, projectId: String!, serviceId: String, unrendered: Boolean): EnvironmentVariables!
  workflowStatus(workflowId: String!): WorkflowResult!
  workspace(workspaceId: String!): Workspace!
  workspaceTemplates(after: String, before: String, first: Int, last: Int, workspaceId: String!): QueryWorkspaceTemplatesConnection!
}

type Mutation {
  deploymentCancel(id: String!): Boolean!
  deploymentRedeploy(id: String!, usePreviousImageTag: Boolean): Deployment!
  deploymentRemove(id: String!): Boolean!
  deploymentRestart(id: String!): Boolean!
  deploymentStop(id: String!): Boolean!
  environmentPatchCommit(commitMessage: String, environmentId: String!, patch: EnvironmentConfig): String!
  notificationRuleCreate(input: CreateNotificationRuleInput!): NotificationRule!
  notificationRuleDelete(id: String!): Boolean!
  projectCreate(input: ProjectCreateInput!): Project!
  projectDelete(id: String!): Boolean!
  projectScheduleDelete(id: String!): Boolean!
  serviceCreate(input: ServiceCreateInput!): Service!
  serviceDelete(environmentId: String, id: String!): Boolean!
  serviceDomainCreate(input: ServiceDomainCreateInput!): ServiceDomain!
  serviceInstanceDeploy(commitSha: String, environmentId: String!, latestCommit: Boolean, serviceId: String!): Boolean!
  serviceInstanceDeployV2(commitSha: String, environmentId: String!, serviceId: String!): String!
  serviceInstanceRedeploy(environmentId: String!, serviceId: String!): Boolean!
  templateDeployV2(input: TemplateDeployV2Input!): TemplateDeployPayload!
  templateGenerate(input: TemplateGenerateInput!): Template!
  variableCollectionUpsert(input: VariableCollectionUpsertInput!): Boolean!
  volumeCreate(input: VolumeCreateInput!): Volume!
  volumeDelete(volumeId: String!): Boolean!
}

type Subscription {
  buildLogs(deploymentId: String!, filter: String, limit: Int): [Log!]!
  deploymentLogs(deploymentId: String!, filter: String, limit: Int): [Log!]!
}
)graphql"};

/// Relay's pair of types for each list with pages.
constexpr auto connections
  = std::array<std::pair<std::string_view, std::string_view>, 14>{{
    {"EnvironmentDeploymentsConnection", "Deployment"},
    {"EnvironmentServiceInstancesConnection", "ServiceInstance"},
    {"EnvironmentVolumeInstancesConnection", "VolumeInstance"},
    {"ProjectEnvironmentsConnection", "Environment"},
    {"ProjectServicesConnection", "Service"},
    {"ProjectVolumesConnection", "Volume"},
    {"QueryDeploymentEventsConnection", "DeploymentEvent"},
    {"QueryDeploymentsConnection", "Deployment"},
    {"QueryEnvironmentsConnection", "Environment"},
    {"QueryProjectsConnection", "Project"},
    {"QueryWorkspaceTemplatesConnection", "Template"},
    {"ServiceDeploymentsConnection", "Deployment"},
    {"ServiceServiceInstancesConnection", "ServiceInstance"},
    {"VolumeVolumeInstancesConnection", "VolumeInstance"},
  }};

} // namespace

tl::expected<graphql::schema, std::string> railway_schema() {
  auto text = std::string{sdl};
  const auto add = [&](std::string_view name, std::string_view node) {
    text += "type ";
    text += name;
    text += " { edges: [";
    text += name;
    text += "Edge!]! pageInfo: PageInfo! } type ";
    text += name;
    text += "Edge { cursor: String! node: ";
    text += node;
    text += "! }\n";
  };
  for (const auto& [name, node] : connections)
    add(name, node);
  add("WorkspaceProjectsConnection", "Project");
  return graphql::schema::parse(text);
}

} // namespace slipway::sandbox

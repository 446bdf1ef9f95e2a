// The three calls to Railway that a deployment takes.

const CREATE = `mutation CreateProject($input: ProjectCreateInput!) {
  projectCreate(input: $input) {
    id
    environments { edges { node { id name } } }
  }
}`;
const DEPLOY = `mutation DeployTemplate($input: TemplateDeployV2Input!) {
  templateDeployV2(input: $input) { projectId workflowId }
}`;
const STATUS = `query ReadEnvironment($id: String!) {
  environment(id: $id) {
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
}`;

/**
 * @param Pool of undici: Node.js's fetch is built on the same, and slower
 */
export function makeRailway({ endpoint, token, workspaceId, templateId }, Pool,
                            connections) {
  const url = new URL(endpoint);
  const pool = new Pool(url.origin, { connections });
  const headers = { 'content-type': 'application/json',
    authorization: `Bearer ${token}` };

  async function call(query, variables) {
    const { statusCode, body } = await pool.request({ path: url.pathname,
      method: 'POST', headers, body: JSON.stringify({ query, variables }) });
    const answer = await body.json();
    if (statusCode !== 200 || answer.errors) {
      throw new Error(answer.errors?.[0]?.message ?? `status ${statusCode}`);
    }
    return answer.data;
  }

  return {
    async createProject(subscriptionId) {
      const { projectCreate: made } = await call(CREATE, { input: {
        name: `instance-${subscriptionId}`, workspaceId } });
      return { projectId: made.id,
        environmentId: made.environments.edges[0].node.id };
    },
    async deployTemplate({ projectId, environmentId }) {
      const { templateDeployV2: made } = await call(DEPLOY, { input: {
        projectId, environmentId, templateId, workspaceId,
        serializedConfig: {} } });
      return { workflowId: made.workflowId };
    },
    /** {status, publicUrl} */
    async status({ environmentId }) {
      const { environment } = await call(STATUS, { id: environmentId });
      const [{ node }] = environment.serviceInstances.edges;
      return { status: node.latestDeployment.status,
        publicUrl: `https://${node.domains.serviceDomains[0].domain}` };
    },
  };
}

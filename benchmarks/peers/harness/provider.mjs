// A Railway that answers at once, so that what is measured is the servers that
// ask it. Speaks just enough of HTTP/1.1 and of the public API for a deployment,
// and keeps no more than the names of the projects it was asked to make: every
// other id follows from the project's number.
//
//   node provider.mjs [PORT]      prints the port it listens on
//
// POST /control {"mode": "answer" | "hold" | "drop", "forget": true}
//   hold  takes effect and does not answer
//   answer  also answers what was held, unless its connection is gone
//   forget  names that were made so far do not count as doubled any more: other
//     contestants use the same
// GET /control  {calls, created, doubled, held}; doubled are the names that were
//   made more than once

import net from 'node:net';

const id = (prefix, n) => (
  `${prefix}-0000-4000-8000-${n.toString(16).padStart(12, '0')}`);
const PROJECT = '00000000';
const ENVIRONMENT = '0000000e';
const SERVICE = '0000005e';
const DEPLOYMENT = '000000d0';
const WORKFLOW = '0000000f';
const numberOf = (of) => Number.parseInt(String(of).slice(24), 16);

const TEMPLATE_SERVICE = '7a1c0e5e-0f0b-4c51-9d11-2f9f5f2c7a10';
const serializedConfig = { services: { [TEMPLATE_SERVICE]: {
  name: 'gateway', source: { repo: 'https://example.com/gateway' },
  deploy: { healthcheckPath: '/healthz' },
  networking: { serviceDomains: { '<hasDomain>': { port: 8080 } },
    tcpProxies: {} },
  variables: { PORT: { value: '8080' } },
} } };

const names = [];
const deleted = new Set();
/** Projects into which a template was deployed: before that they are empty. */
const deployed = new Set();
const timesMade = new Map();
const calls = {};
let doubled = 0;
let mode = 'answer';
let held = [];

// Railway makes one project in 30 s for a token. Here thousands are made in a
// minute, but they are dated as far apart as they would be there: who looks back
// over an hour finds what an hour can hold.
const APART = 31_000;
const dateOf = (n) => new Date(Date.now() - (names.length - 1 - n) * APART)
  .toISOString();

const edges = (nodes) => ({ edges: nodes.map((node) => ({ node })) });

const environmentOf = (n) => ({ id: id(ENVIRONMENT, n), name: 'production' });

const serviceOf = (n) => ({ id: id(SERVICE, n), name: 'gateway',
  createdAt: dateOf(n), deletedAt: null, templateServiceId: TEMPLATE_SERVICE });

function project(n) {
  if (!(n < names.length) || deleted.has(n)) return null;
  return { id: id(PROJECT, n), name: names[n], createdAt: dateOf(n),
    deletedAt: null, baseEnvironmentId: id(ENVIRONMENT, n), environments: edges([
      environmentOf(n)]),
    services: edges(deployed.has(n) ? [serviceOf(n)] : []) };
}

const deployment = (n) => ({ id: id(DEPLOYMENT, n), status: 'SUCCESS',
  deploymentStopped: false, instances: [{ status: 'RUNNING' }] });

const instance = (n) => ({
  serviceId: id(SERVICE, n), serviceName: 'gateway',
  domains: { serviceDomains: [{ domain: `p${n}.up.example.com` }],
    customDomains: [] },
  latestDeployment: deployment(n), activeDeployments: [deployment(n)],
});

const environment = (n) => ({ ...environmentOf(n),
  serviceInstances: edges(deployed.has(n) ? [instance(n)] : []) });

function listProjects({ after }) {
  const from = after == null ? names.length - 1 : Number(after) - 1;
  const page = [];
  let n = from;
  for (; n >= 0 && page.length < 100; --n) {
    if (!deleted.has(n)) page.push(project(n));
  }
  return { ...edges(page), pageInfo: { hasNextPage: n >= 0,
    endCursor: page.length ? String(n + 1) : null } };
}

function createProject({ input }) {
  const n = names.push(input.name) - 1;
  const times = (timesMade.get(input.name) ?? 0) + 1;
  timesMade.set(input.name, times);
  if (times === 2) doubled += 1;
  return project(n);
}

/** By the name of the operation, which every client gives. */
const operations = {
  FindProjects: (v) => ({ projects: listProjects(v) }),
  ReadProject: (v) => ({ project: project(numberOf(v.id)) }),
  ReadServices: (v) => ({ project: project(numberOf(v.id)) }),
  CreateProject: (v) => ({ projectCreate: createProject(v) }),
  DeleteProject: (v) => {
    deleted.add(numberOf(v.id));
    return { projectDelete: true };
  },
  TemplateByCode: () => ({ template: { id: TEMPLATE_SERVICE,
    serializedConfig } }),
  TemplateById: () => operations.TemplateByCode(),
  DeployTemplate: ({ input: { projectId } }) => {
    deployed.add(numberOf(projectId));
    return { templateDeployV2: { projectId,
      workflowId: id(WORKFLOW, numberOf(projectId)) } };
  },
  ReadWorkflow: () => ({ workflowStatus: { status: 'Complete', error: null } }),
  ReadWorkflowAndEnvironment: (v) => ({ ...operations.ReadWorkflow(),
    environment: environment(numberOf(v.environmentId)) }),
  ReadEnvironment: (v) => ({ environment: environment(numberOf(v.id)) }),
  ReadServing: (v) => ({ environment: environment(numberOf(v.id)) }),
  ReadDeployment: (v) => ({ deployment: deployment(numberOf(v.id)) }),
  ReadReplicas: (v) => ({ deployment: deployment(numberOf(v.id)) }),
  ReadEvents: () => ({ deploymentEvents: edges([]) }),
  ReadRules: () => ({ notificationRules: [] }),
  CreateRule: () => ({ notificationRuleCreate: { id: id('000000aa', 1) } }),
  // Several environments and lists of steps under aliases.
  Watch: (v) => Object.fromEntries(Object.entries(v).map(([alias, of]) => (
    [alias, alias[0] === 'e' ? environment(numberOf(of)) : edges([])]))),
};

function answerCall(body) {
  const { query, variables } = JSON.parse(body);
  const name = /^\s*(?:query|mutation)\s+(\w+)/.exec(query)?.[1];
  calls[name] = (calls[name] ?? 0) + 1;
  const operation = operations[name];
  if (!operation) {
    return { errors: [{ message: `not played: ${name}`,
      extensions: { code: 'GRAPHQL_VALIDATION_FAILED' } }] };
  }
  return { data: operation(variables ?? {}) };
}

function control(method, body) {
  if (method === 'POST') {
    const asked = JSON.parse(body);
    ({ mode } = asked);
    if (asked.forget) {
      timesMade.clear();
      doubled = 0;
    }
    if (mode !== 'hold') {
      for (const { socket, text } of held) {
        if (mode === 'answer' && !socket.destroyed) socket.write(text);
      }
      held = [];
    }
  }
  return { mode, calls, created: names.length, doubled, held: held.length };
}

function write(socket, value, mayHold) {
  const text = JSON.stringify(value);
  const whole = 'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n'
    + `Content-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`;
  if (mayHold && mode === 'hold') held.push({ socket, text: whole });
  else socket.write(whole);
}

const server = net.createServer({ noDelay: true }, (socket) => {
  let rest = Buffer.alloc(0);
  socket.on('error', () => socket.destroy());
  socket.on('data', (chunk) => {
    rest = rest.length ? Buffer.concat([rest, chunk]) : chunk;
    for (;;) {
      const end = rest.indexOf('\r\n\r\n');
      if (end < 0) return;
      const head = rest.toString('latin1', 0, end);
      const length = Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? 0);
      if (rest.length < end + 4 + length) return;
      const body = rest.toString('utf8', end + 4, end + 4 + length);
      rest = rest.subarray(end + 4 + length);
      const [method, target] = head.split(' ', 2);
      try {
        if (target === '/control') write(socket, control(method, body), false);
        else write(socket, answerCall(body), true);
      } catch {
        socket.end('HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n');
        return;
      }
    }
  });
});

server.listen(Number(process.argv[2] ?? 0), '127.0.0.1', () => {
  console.log(server.address().port);
});

// The rest of Railway's imposter: template projects, webhooks, sockets, lag,
// garbage, and what happens there by somebody else's hand.

import assert from 'node:assert/strict';
import http from 'node:http';
import { after, beforeEach, test } from 'node:test';
import { WebSocket } from 'ws';
import { request } from '../lib/http.mjs';
import { close, listen } from '../lib/ports.mjs';
import { eventually, never } from '../lib/wait.mjs';
import { INSTANT, Railway } from './railway.mjs';

let railway;
const restarted = async (options = {}) => {
  await railway?.stop();
  railway = await Railway.start({ times: INSTANT, ...options });
};
beforeEach(() => restarted());
after(() => railway?.stop());

async function call(query, variables = {}) {
  const answer = await request(railway.url, {
    method: 'POST', headers: { 'Content-Type': 'application/json',
      Authorization: `Bearer ${railway.token}` },
    body: JSON.stringify({ query, variables }),
  });
  return { status: answer.status, text: answer.text, headers: answer.headers,
    ...(answer.status === 200 && answer.text.endsWith('}') ? answer.json()
      : {}) };
}

async function create(name = 'sub-1') {
  const { data } = await call('mutation M($i: ProjectCreateInput!) { '
    + 'projectCreate(input: $i) { id baseEnvironmentId } }', { i: { name,
    workspaceId: railway.workspaceId } });
  return { id: data.projectCreate.id,
    environment: data.projectCreate.baseEnvironmentId };
}

const makeService = async ({ id, environment }, extra = {}) => (await call(
  'mutation S($i: ServiceCreateInput!) { serviceCreate(input: $i) { id name } }',
  { i: { projectId: id, environmentId: environment, name: 'gateway', ...extra } }))
  .data.serviceCreate.id;

const commit = (environment, patch) => call('mutation C($e: String!, '
  + '$p: EnvironmentConfig) { environmentPatchCommit(environmentId: $e, patch: '
  + '$p, commitMessage: "m") }', { e: environment, p: patch });

const config = async (environment, decrypt = true) => (await call(
  'query C($e: String!, $d: Boolean) { environment(id: $e) { config('
  + 'decryptVariables: $d) volumeInstances { edges { node { volumeId mountPath '
  + 'serviceId } } } } }', { e: environment, d: decrypt })).data.environment;

async function running(options) {
  const project = await create();
  await makeService(project, { source: { image: 'x' }, ...options });
  const [deployment] = railway.deploymentsOf(project.id);
  await eventually('it runs', () => deployment.status === 'SUCCESS');
  return { project, deployment };
}

/** The template's service cloned by hand, `change` applied to the patch. */
async function clone(change = () => {}) {
  const of = railway.templateProject;
  const { config: all } = await config(of.environment.id);
  const wanted = structuredClone(all.services[of.serviceId]);
  const project = await create();
  const id = await makeService(project);
  assert.equal(railway.deploymentsOf(project.id).length, 0);
  const { data } = await call('mutation V($i: VolumeCreateInput!) { '
    + 'volumeCreate(input: $i) { id } }', { i: { projectId: project.id,
    environmentId: project.environment, serviceId: id, mountPath: '/data' } });
  wanted.volumeMounts = { [data.volumeCreate.id]: { mountPath: '/data' } };
  delete wanted.networking.serviceDomains;
  delete wanted.networking.customDomains;
  change(wanted);
  await commit(project.environment, { services: { [id]: wanted } });
  return { project, id, wanted };
}

test('the template project has one service among others, and secrets', async () => {
  await restarted({ templateProject: true });
  const of = railway.templateProject;
  const { config: hidden, volumeInstances } = await config(of.environment.id,
    false);
  assert.match(hidden.services[of.serviceId].variables.PORT.value, /^encrypted/);
  const { config: open } = await config(of.environment.id);
  assert.deepEqual(open, of.config);
  assert.equal(Object.keys(open.services).length, 3);
  assert.deepEqual(volumeInstances.edges.map((e) => e.node), [{
    volumeId: of.volumeId, mountPath: '/data', serviceId: of.serviceId }]);
  assert.equal(railway.liveProjects().length, 0, 'it is not one of ours');
});

test('a patch makes a service of it, which then starts with its variables',
  async () => {
    await restarted({ templateProject: true });
    const { project, id, wanted } = await clone((c) => {
      c.variables.TIER.value = 'pro';
    });
    const { config: got } = await config(project.environment);
    assert.deepEqual(got.services[id], wanted);
    await eventually('it runs', () => railway.deploymentsOf(project.id)
      .some((d) => d.status === 'SUCCESS'));
    assert.equal(railway.deploymentsOf(project.id).length, 1);
    assert.equal(railway.currentOf(project.id).variables.TIER, 'pro');
    assert.deepEqual(railway.complaints, []);
  });

for (const [what, change] of [
  ['a field is lost', (c) => { delete c.quota; }],
  ['a field is changed', (c) => { c.deploy.multiRegionConfig = {}; }],
  ['null is lost', (c) => { delete c.none; }],
  ['a variable is lost', (c) => { delete c.variables.GREETING; }],
  ['a field of a variable is lost', (c) => {
    delete c.variables.SESSION_SECRET['x-rotate'];
  }],
  ['a domain is taken along', (c) => {
    c.networking.serviceDomains = { 'gateway.example.com': { port: 1 } };
  }],
  ["the template's volume is mounted", (c) => {
    c.volumeMounts[railway.templateProject.volumeId] = { mountPath: '/data' };
  }]]) {
  test(`cloning: a complaint when ${what}`, async () => {
    await restarted({ templateProject: true });
    await clone(change);
    assert.equal(railway.complaints.length > 0, true);
  });
}

test('aliases: every field keeps its name, one error spoils all of it',
  async () => {
    const a = await create('a');
    const b = await create('b');
    const look = (one, two) => call('query W($x: String!, $y: String!) { '
      + 'e0: environment(id: $x) { id } e1: environment(id: $y) { id } '
      + 'p: projects { edges { node { id } } } }', { x: one, y: two });
    const { data } = await look(a.environment, b.environment);
    assert.equal(data.e1.id, b.environment);
    assert.deepEqual(railway.requests.at(-1).fields,
      ['environment', 'projects']);
    assert.deepEqual(railway.projectsIn(railway.requests.at(-1).variables)
      .map((p) => p.name), ['a', 'b']);
    railway.deleteProjectByHand(railway.projects.get(b.id));
    const spoilt = await look(a.environment, b.environment);
    assert.equal(spoilt.data, null);
    assert.deepEqual(spoilt.errors[0].path, ['e1']);
  });

test('garbage comes with HTTP 200, and 1015 without headers', async () => {
  const strike = async (kind, when) => {
    railway.fault({ operation: 'projectCreate', kind, when });
    const had = railway.projects.size;
    const answer = await call('mutation { projectCreate(input: {name: "x"}) '
      + '{ id name } }');
    return [answer.status, railway.projects.size - had, answer];
  };
  for (const kind of ['html', 'empty', 'truncated']) {
    for (const [when, made] of [['before', 0], ['after', 1]]) {
      const [status, had, { text }] = await strike(kind, when);
      assert.deepEqual([status, had], [200, made], `${kind} ${when}`);
      assert.throws(() => JSON.parse(text));
    }
  }
  const [status, , { text, headers }] = await strike('1015', 'before');
  assert.equal(status, 429);
  assert.match(text, /1015/);
  assert.equal(headers['x-ratelimit-limit'], undefined);
  assert.equal(headers['retry-after'], undefined);
  assert.deepEqual((await strike('twice', 'before')).slice(0, 2), [200, 2]);
  railway.block(60_000);
  assert.equal((await call('{ projects { edges { node { id } } } }')).status, 429);
  assert.equal(railway.requests.at(-1).outcome, '1015');
  railway.rateHeaders = { 'X-RateLimit-Remaining': '0' };
  railway.block(0);
  assert.equal((await call('{ projects { edges { node { id } } } }'))
    .headers['x-ratelimit-remaining'], '0');
});

test('projects, services, deployments and rights show late', async () => {
  await restarted({ lag: { projects: 150, services: 250, deployments: 350,
    auth: 80 } });
  const project = await create();
  const of = () => call('query P($p: String!) { project(id: $p) { id } }',
    { p: project.id });
  assert.match((await of()).errors[0].message, /Not Authorized/);
  await eventually('rights', async () => (await of()).data?.project);
  const id = await makeService(project, { source: { image: 'x' } });
  const seen = {};
  await eventually('all of it', async () => {
    const { data } = await call('query S($p: String!) { projects { edges { node '
      + '{ id } } } project(id: $p) { services { edges { node { id } } } '
      + 'deployments { edges { node { id } } } } }', { p: project.id });
    seen.projects ??= data.projects.edges.length && Date.now();
    seen.services ??= data.project.services.edges.length && Date.now();
    seen.deployments ??= data.project.deployments.edges.length && Date.now();
    for (const key of Object.keys(seen)) seen[key] ||= undefined;
    return seen.deployments;
  }, { every: 10 });
  assert.ok(seen.projects < seen.services && seen.services < seen.deployments,
    JSON.stringify(seen));
  assert.equal(railway.servicesOf(project.id)[0].id, id);
});

test('a service goes away with its configuration', async () => {
  const { project, deployment } = await running();
  await call('mutation D($i: String!, $e: String) { serviceDelete(id: $i, '
    + 'environmentId: $e) }', { i: deployment.serviceId, e: project.environment });
  assert.equal(railway.servicesOf(project.id).length, 0);
  assert.deepEqual((await config(project.environment)).config.services, {});
});

test('what happens by itself or by hand shows in status and replicas',
  async () => {
    const { deployment } = await running();
    const look = async () => {
      const { data } = await call('query D($d: String!) { deployment(id: $d) { '
        + 'status deploymentStopped instances { status } } }',
      { d: deployment.id });
      const { status, deploymentStopped, instances } = data.deployment;
      return [status, deploymentStopped, instances.map((i) => i.status).join()];
    };
    assert.deepEqual(await look(), ['SUCCESS', false, 'RUNNING']);
    railway.crash(deployment, { left: 1 });
    assert.deepEqual(await look(), ['CRASHED', false, 'RUNNING,CRASHED']);
    railway.recover(deployment);
    assert.deepEqual(await look(), ['SUCCESS', false, 'RUNNING']);
    railway.exit(deployment);
    assert.deepEqual(await look(), ['SUCCESS', true, 'EXITED']);
    railway.recover(deployment);
    railway.sleep(deployment);
    assert.deepEqual(await look(), ['SLEEPING', false, 'STOPPED']);
    railway.wake(deployment);
    const second = railway.redeployOutside(deployment);
    await eventually('the second runs', () => second.status === 'SUCCESS');
    assert.deepEqual((await look())[0], 'REMOVED');
    railway.removeByHand(second);
    await eventually('removed', () => second.status === 'REMOVED');
  });

test('a rule posts webhooks: once, twice, late, lying, or not at all',
  async () => {
    const got = [];
    const server = http.createServer(async (req, res) => {
      const chunks = [];
      for await (const chunk of req) chunks.push(chunk);
      got.push({ path: req.url, ...JSON.parse(Buffer.concat(chunks)) });
      res.end();
    });
    const sockets = new Set();
    server.on('connection', (socket) => sockets.add(socket));
    const port = await listen(server);
    try {
      const rule = await call('mutation R($i: CreateNotificationRuleInput!) { '
        + 'notificationRuleCreate(input: $i) { id } }', { i: {
        workspaceId: railway.workspaceId,
        eventTypes: ['Deployment.deployed', 'Deployment.crashed'],
        channelConfigs: [{ type: 'webhook', url: `http://127.0.0.1:${port}/h` }],
      } });
      assert.ok(rule.data.notificationRuleCreate.id);
      const { data } = await call('query R($w: String!) { notificationRules('
        + 'workspaceId: $w) { id eventTypes channels { id config } } }',
      { w: railway.workspaceId });
      assert.equal(data.notificationRules[0].channels[0].config.type, 'webhook');

      const { deployment } = await running();
      await eventually('told', () => got.length === 1);
      assert.equal(got[0].type, 'Deployment.deployed');
      assert.equal(got[0].details.status, 'SUCCESS');
      assert.equal(got[0].resource.deployment.id, deployment.id);
      Object.assign(railway.webhooks, { doubled: true, lying: true, late: 100 });
      railway.crash(deployment);
      assert.equal(got.length, 1, 'late');
      await eventually('told twice', () => got.length === 3);
      assert.equal(got[2].type, 'Deployment.crashed');
      assert.equal(got[2].details.status, 'SUCCESS');
      await eventually('noted', () => railway.deliveries
        .every((d) => d.answer === 200));
      railway.webhooks.lost = true;
      railway.recover(deployment);
      await never('told', () => got.length > 3, { during: 200 });
      assert.deepEqual(railway.complaints, []);
    } finally {
      await close(server, sockets);
    }
  });

function watch(field, deploymentId, { headers, protocol } = {}) {
  const ws = new WebSocket(railway.url.replace('http', 'ws'),
    protocol ?? 'graphql-transport-ws', { headers: headers
      ?? { Authorization: `Bearer ${railway.token}` } });
  const seen = { ws, lines: [], messages: [] };
  ws.on('open', () => ws.send(JSON.stringify({ type: 'connection_init' })));
  ws.on('error', (error) => { seen.error = error.message; });
  ws.on('close', (code) => { seen.closed = code; });
  ws.on('message', (data) => {
    const message = JSON.parse(data);
    seen.messages.push(message);
    if (message.type === 'connection_ack') {
      ws.send(JSON.stringify({ id: '1', type: 'subscribe', payload: {
        query: `subscription L($d: String!) { ${field}(deploymentId: $d, `
          + 'filter: "", limit: 500) { timestamp severity message } }',
        variables: { d: deploymentId } } }));
    }
    if (message.type === 'next') {
      seen.lines.push(...message.payload.data[field].map((l) => l.message));
    }
  });
  return seen;
}

test('the socket streams the lines that are there, then each new one',
  async () => {
    const { deployment } = await running();
    const seen = watch('deploymentLogs', deployment.id);
    await eventually('what is there', () => seen.lines.length > 0);
    railway.say(deployment, 'deploy', 'one more');
    await eventually('one more', () => seen.lines.at(-1) === 'one more');
    assert.ok(!seen.lines.some((l) => l.includes('Railpack')), 'a build line');
    assert.equal(railway.watchers.size, 1);
    assert.deepEqual(railway.operations('deploymentLogs')
      .map((r) => r.transport), ['socket']);
    seen.ws.close();
    await eventually('nobody watches', () => railway.watchers.size === 0);
    assert.equal(deployment.listeners.size, 0);
    assert.deepEqual(railway.complaints, []);
  });

test('the socket is refused without a token or sub-protocol, or as told',
  async () => {
    const { deployment } = await running();
    const refused = async (options) => {
      const seen = watch('buildLogs', deployment.id, options);
      await eventually('refused', () => seen.error);
      return seen.error;
    };
    assert.match(await refused({ headers: {} }), /401/);
    assert.match(await refused({ protocol: 'graphql-ws' }), /400/);
    assert.equal(railway.complaints.length, 2);
    railway.socket = 'refuse';
    assert.match(await refused(), /503/);
    railway.socket = 'silent';
    const seen = watch('buildLogs', deployment.id);
    await eventually('it is open', () => seen.ws.readyState === WebSocket.OPEN);
    await never('an answer', () => seen.messages.length, { during: 150 });
    seen.ws.close();
  });

test('a document that the schema does not know is refused on the socket',
  async () => {
    const { deployment } = await running();
    const seen = watch('nonsense', deployment.id);
    await eventually('an error', () => seen.messages
      .some((m) => m.type === 'error'));
    assert.match(railway.complaints.join(), /nonsense/);
    seen.ws.close();
  });

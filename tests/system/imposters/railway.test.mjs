import assert from 'node:assert/strict';
import { after, beforeEach, test } from 'node:test';
import { request } from '../lib/http.mjs';
import { eventually } from '../lib/wait.mjs';
import { Railway, templateConfig } from './railway.mjs';

let railway;
beforeEach(async () => {
  await railway?.stop();
  railway = await Railway.start({ times: { workflow: 20, queued: 10,
    initializing: 10, building: 20, deploying: 10, removing: 5 } });
});
after(() => railway?.stop());

async function call(query, variables = {}, { token = railway.token,
                                             timeout } = {}) {
  const answer = await request(`${railway.url}?source=test`, {
    method: 'POST', timeout,
    headers: { 'Content-Type': 'application/json',
      ...(token === null ? {} : { Authorization: `Bearer ${token}` }) },
    body: JSON.stringify({ query, variables }),
  });
  return { status: answer.status, text: answer.text, headers: answer.headers,
    ...(answer.text.startsWith('{') ? answer.json() : {}) };
}

const create = (name = 'Sub-1') => call(
  'mutation M($i: ProjectCreateInput!) { projectCreate(input: $i) '
  + '{ id name environments { edges { node { id name } } } } }',
  { i: { name, workspaceId: railway.workspaceId, description: 'd' } });

async function deployTemplate(values = {}) {
  const { data: { projectCreate: project } } = await create();
  const { data: { template } } = await call(
    'query T($c: String!) { template(code: $c) { id serializedConfig } }',
    { c: railway.template.code });
  const config = template.serializedConfig;
  const [service] = Object.values(config.services);
  service.variables.SESSION_SECRET.value =
    service.variables.SESSION_SECRET.defaultValue;
  for (const [name, value] of Object.entries(values)) {
    service.variables[name] = { value };
  }
  const answer = await call(
    'mutation D($i: TemplateDeployV2Input!) { templateDeployV2(input: $i) '
    + '{ projectId workflowId } }', { i: {
      templateId: template.id, serializedConfig: config,
      projectId: project.id,
      environmentId: project.environments.edges[0].node.id,
      workspaceId: railway.workspaceId } });
  return { project, ...answer.data.templateDeployV2 };
}

const settled = (projectId) => eventually('the deployment ends', () => {
  const [d] = railway.deploymentsOf(projectId);
  return d && !['QUEUED', 'INITIALIZING', 'BUILDING', 'DEPLOYING', 'REMOVING']
    .includes(d.status) && d;
});

test('a document that the schema does not know is refused with 400', async () => {
  const bad = await call('{ projects { edges { node { nonsense } } } }');
  assert.equal(bad.status, 400);
  assert.equal(bad.errors[0].extensions.code, 'GRAPHQL_VALIDATION_FAILED');
  const wrongType = await call('query P($id: String!) { project(id: $id) '
    + '{ id } }', { id: 7 });
  assert.equal(wrongType.status, 400);
  assert.equal(wrongType.errors[0].extensions.code, 'BAD_USER_INPUT');
  assert.equal(railway.complaints.length, 2);
});

test('a wrong token gets HTTP 200 and Not Authorized', async () => {
  const answer = await call('{ apiToken { workspaces { id } } }', {},
    { token: 'nope' });
  assert.equal(answer.status, 200);
  assert.match(answer.errors[0].message, /Not Authorized/);
});

test('a template deployed into a project comes up with its variables', async () => {
  const { project, workflowId } = await deployTemplate({ TIER: 'pro' });
  assert.equal(project.name, 'sub-1');
  const status = () => call('query W($w: String!) { workflowStatus('
    + 'workflowId: $w) { status error } }', { w: workflowId });
  // A busy machine may ask when it is over.
  assert.ok(['Running', 'Complete']
    .includes((await status()).data.workflowStatus.status));
  const deployment = await settled(project.id);
  assert.equal((await status()).data.workflowStatus.status, 'Complete');
  assert.equal(deployment.status, 'SUCCESS');
  assert.deepEqual(deployment.history.map((h) => h.status), ['QUEUED',
    'INITIALIZING', 'BUILDING', 'DEPLOYING', 'SUCCESS']);
  assert.equal(deployment.variables.TIER, 'pro');
  assert.match(deployment.variables.SESSION_SECRET, /^[0-9a-f]{32}$/);
  assert.deepEqual(railway.complaints, []);
  assert.equal(railway.maxAtWork, 1);
  assert.equal(railway.atWork().length, 0);

  const { data } = await call('query S($p: String!) { project(id: $p) { '
    + 'services { edges { node { id templateServiceId } } } '
    + 'environments { edges { node { serviceInstances { edges { node { '
    + 'domains { serviceDomains { domain } } latestDeployment { id status '
    + 'deploymentStopped } } } } } } } } }', { p: project.id });
  assert.equal(data.project.services.edges.length, 1);
  const { node } = data.project.environments.edges[0].node
    .serviceInstances.edges[0];
  assert.equal(node.latestDeployment.status, 'SUCCESS');
  assert.match(node.domains.serviceDomains[0].domain, /^gateway-production-/);

  const logs = await call('query L($d: String!) { buildLogs(deploymentId: $d, '
    + 'limit: 1) { message timestamp } deploymentEvents(id: $d) { edges { node '
    + '{ step payload { error } } } } }', { d: deployment.id });
  assert.equal(logs.data.buildLogs.length, 2);
  assert.equal(logs.data.deploymentEvents.edges[0].node.step, 'SNAPSHOT_CODE');
  assert.deepEqual(railway.requests.at(-1).fields,
    ['buildLogs', 'deploymentEvents']);
  assert.equal(railway.requests.at(-1).source, 'test');
});

test('a config that lost a field is complained about', async () => {
  railway.template.serializedConfig = templateConfig();
  const sent = structuredClone(railway.template.serializedConfig);
  delete Object.values(sent.services)[0].quota;
  await call('mutation D($i: TemplateDeployV2Input!) { templateDeployV2('
    + 'input: $i) { projectId } }', { i: { templateId: railway.template.id,
    serializedConfig: sent } });
  assert.match(railway.complaints.join(), /lost or changed/);
});

test('two projects within the cooldown: the second is refused', async () => {
  railway.cooldown = 300;
  assert.ok((await create()).data.projectCreate.id);
  const second = await create('sub-2');
  assert.equal(second.status, 200);
  assert.match(second.errors[0].message, /too quickly/);
  assert.equal(railway.liveProjects().length, 1);
});

test('projects are paged newest first and go with projectDelete', async () => {
  const ids = [];
  for (const n of [1, 2, 3]) ids.push((await create(`s-${n}`)).data
    .projectCreate.id);
  const page = (after) => call('query P($a: String, $w: String) { projects('
    + 'first: 2, after: $a, workspaceId: $w, orderBy: CREATED_AT_DESC) { edges '
    + '{ node { id name deletedAt } } pageInfo { hasNextPage endCursor } } }',
  { a: after, w: railway.workspaceId });
  const one = (await page(null)).data.projects;
  assert.deepEqual(one.edges.map((e) => e.node.name), ['s-3', 's-2']);
  assert.equal(one.pageInfo.hasNextPage, true);
  const two = (await page(one.pageInfo.endCursor)).data.projects;
  assert.deepEqual(two.edges.map((e) => e.node.name), ['s-1']);
  assert.equal(two.pageInfo.hasNextPage, false);

  const del = () => call('mutation D($id: String!) { projectDelete(id: $id) }',
    { id: ids[0] });
  assert.equal((await del()).data.projectDelete, true);
  assert.match((await del()).errors[0].message, /Not Authorized/);
  assert.equal(railway.liveProjects().length, 2);
  const gone = await call('query P($id: String!) { project(id: $id) { id } }',
    { id: ids[0] });
  assert.match(gone.errors[0].message, /Project not found/);
});

test('faults strike before or after the effect, in every way', async () => {
  const strike = async (kind, when) => {
    railway.fault({ operation: 'projectCreate', kind, when });
    const had = railway.projects.size;
    let answer;
    try {
      answer = await create();
    } catch (error) {
      answer = { status: error.code };
    }
    return [answer.status, railway.projects.size - had, answer];
  };
  assert.deepEqual((await strike('504', 'before')).slice(0, 2), [504, 0]);
  assert.deepEqual((await strike('504', 'after')).slice(0, 2), [504, 1]);
  assert.deepEqual((await strike('reset', 'after')).slice(0, 2),
    ['ECONNRESET', 1]);
  assert.deepEqual((await strike('opaque', 'before')).slice(0, 2), [200, 0]);
  const [status, made, answer] = await strike('429', 'before');
  assert.deepEqual([status, made, answer.headers['retry-after']], [429, 0, '1']);
  railway.fault({ operation: 'projectCreate', kind: 'hang', when: 'after' });
  await assert.rejects(call('mutation M { projectCreate(input: {}) { id } }',
    {}, { timeout: 100 }), /no answer/);
  assert.ok((await create()).data.projectCreate.id, 'faults are used up');
});

test('builds fail as often as told and say why', async () => {
  railway.failBuilds(1, { error: 'boom' });
  const { project } = await deployTemplate();
  const deployment = await settled(project.id);
  assert.equal(deployment.status, 'FAILED');
  assert.equal(deployment.events.at(-1).payload.error, 'boom');
  const { data } = await call('mutation R($s: String!, $e: String!) { '
    + 'serviceInstanceDeployV2(serviceId: $s, environmentId: $e) }', {
    s: deployment.serviceId, e: deployment.environmentId });
  const second = railway.deployments.get(data.serviceInstanceDeployV2);
  await eventually('second try', () => second.status === 'SUCCESS');
});

test('a held deployment waits, and a cancelled one is removed', async () => {
  railway.hold('BUILDING');
  const { project } = await deployTemplate();
  const deployment = await eventually('building', () => railway
    .deploymentsOf(project.id).find((d) => d.status === 'BUILDING'));
  assert.equal(railway.atWork().length, 1);
  await call('mutation C($d: String!) { deploymentCancel(id: $d) }',
    { d: deployment.id });
  await eventually('removed', () => deployment.status === 'REMOVED');
  railway.release('BUILDING');
  assert.equal((await settled(project.id)).status, 'REMOVED');
  assert.equal(railway.atWork().length, 0);
});

test('an unplayed field is an error, and is noted', async () => {
  const answer = await call('{ regions { name } }');
  assert.match(answer.errors[0].message, /not played: regions/);
  assert.match(railway.complaints.join(), /does not play regions/);
});

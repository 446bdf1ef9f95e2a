// Cloning one service of a template project, as the seed guide's variables name
// it: with all of its configuration, also what nobody has heard of, with its own
// variables from the first start on, and without anything else of the project.

import assert from 'node:assert/strict';
import { after, before, test } from './lib/suite.mjs';
import { comparable, lost, TEMPLATE_DOMAIN }
  from './imposters/railway_template_project.mjs';
import { World } from './lib/world.mjs';

let world;
let template;
let untouched;
before(async () => {
  world = await World.start({ railway: { templateProject: true } });
  template = world.railway.templateProject;
  untouched = JSON.stringify(world.railway.configOf(template.project.id));
});
after(() => world?.stop());

/** What the provider holds of its one project. */
function clone(subscription) {
  const project = world.assertOneInstance(subscription);
  const [service] = world.railway.servicesOf(project.id);
  return { project, service, config: world.railway.configOf(project.id)
    .services[service.id], volumes: project.volumeList,
  domains: service.instanceList[0].domainList,
  deployments: world.railway.deploymentsOf(project.id) };
}

test('the clone has every field of the template, and only this service',
  async () => {
    const subscription = await world.running();
    const { project, service, config } = clone(subscription);
    assert.equal(service.name, 'gateway');
    const wanted = comparable(template.service);
    const got = comparable(config);
    assert.deepEqual(lost(wanted, got), [], 'lost or changed');
    // Nothing is made up, either, but for variables.
    delete got.variables;
    delete wanted.variables;
    assert.deepEqual(lost(got, wanted), [], 'made up');
    assert.deepEqual(Object.keys(world.railway.configOf(project.id).services),
      [service.id]);
    assert.deepEqual(world.railway.complaints, []);
  });

test("variables: the template's, the plan's over them, and the credentials",
  async () => {
    const subscription = await world.running();
    const { deployments, config } = clone(subscription);
    assert.equal(deployments.length, 1, 'deployed more than once');
    const { variables } = deployments[0];
    assert.equal(variables.PORT, '8080');
    assert.equal(variables.GREETING, 'hello from the template');
    assert.equal(variables.SESSION_SECRET, 'a-secret-of-the-template');
    assert.equal(variables.TIER, 'pro', 'the plan decides');
    assert.equal(variables.SUBSCRIPTION_ID, subscription.id);
    assert.ok(JSON.stringify(variables).includes(subscription.mark));
    assert.ok(!('QUEUE' in variables), 'of another service');
    // What is said about a variable stays with it.
    assert.deepEqual(config.variables.SESSION_SECRET['x-rotate'],
      { every: '30d' });
  });

test('no deployment ever starts without the credentials', async () => {
  const failing = await world.paid();
  world.railway.failBuilds(1, { match: world.builds(failing) });
  await world.notified(failing);
  await world.untilStatus(failing, 'running');
  const { deployments } = clone(failing);
  assert.ok(deployments.length >= 2);
  for (const { variables } of deployments) {
    assert.ok(JSON.stringify(variables).includes(failing.mark));
    assert.equal(variables.SUBSCRIPTION_ID, failing.id);
  }
});

test('a volume and a domain of its own', async () => {
  const subscription = await world.running();
  const { volumes, domains, config, service } = clone(subscription);
  assert.deepEqual(volumes.map((v) => [v.instance.mountPath,
    v.instance.serviceId]), [['/data', service.id]]);
  assert.notEqual(volumes[0].id, template.volumeId);
  assert.deepEqual(Object.keys(config.volumeMounts), [volumes[0].id]);
  assert.equal(domains.length, 1);
  assert.equal(domains[0].targetPort, 8080, 'the port it listens on');
  assert.notEqual(domains[0].domain, TEMPLATE_DOMAIN);
  assert.equal((await world.status(subscription)).publicUrl,
    `https://${domains[0].domain}`);
});

for (const operation of ['serviceCreate', 'volumeCreate',
  'environmentPatchCommit', 'serviceDomainCreate']) {
  for (const end of ['lost', 'killed']) {
    test(`${operation} took effect and its answer was lost: ${end}`, async () => {
      const subscription = await world.paid();
      const fault = world.railway.fault({ operation, when: 'after',
        kind: end === 'lost' ? '504' : 'hang',
        match: world.about(subscription) });
      await world.notified(subscription);
      await world.eventually(`${operation} was called`, () => fault.fired > 0);
      if (end === 'killed') {
        await world.server.kill();
        world.railway.endHanging();
        await world.server.start();
      }
      await world.untilStatus(subscription, 'running', { within: 60_000 });
      const { volumes, domains, deployments } = clone(subscription);
      assert.equal(volumes.length, 1, 'volumes');
      assert.equal(domains.length, 1, 'domains');
      assert.deepEqual(deployments.filter((d) => d.status !== 'REMOVED')
        .map((d) => d.status), ['SUCCESS']);
      for (const { variables } of deployments) {
        assert.ok(JSON.stringify(variables).includes(subscription.mark));
      }
    });
  }
}

test('a retry after a failure for good goes on with what is there', async () => {
  const subscription = await world.paid();
  const failure = world.railway.failBuilds(Infinity,
    { match: world.builds(subscription) });
  await world.notified(subscription);
  await world.untilStatus(subscription, 'failed');
  failure.stop();
  (await subscription.user.post('/api/deployment/retry',
    { subscriptionId: subscription.id })).ok();
  await world.untilStatus(subscription, 'running');
  const { volumes, domains } = clone(subscription);
  assert.equal(volumes.length, 1, 'volumes');
  assert.equal(domains.length, 1, 'domains');
});

test('the template is as it was, and nothing was done behind the API', () => {
  assert.equal(JSON.stringify(world.railway.configOf(template.project.id)),
    untouched);
  assert.equal(world.railway.servicesOf(template.project.id).length, 3);
  assert.equal(world.railway.deploymentsOf(template.project.id).length, 0);
  assert.deepEqual(world.railway.complaints, []);
});

test('a change of the template is in the next clone', async () => {
  const config = world.railway.configOf(template.project.id)
    .services[template.serviceId];
  config['x-new'] = { since: 'today' };
  template.service = config;
  const subscription = await world.running();
  assert.deepEqual(clone(subscription).config['x-new'], { since: 'today' });
  assert.deepEqual(world.railway.complaints, []);
});

test('a template without this service fails, and says so', async () => {
  const own = await World.start({ railway: { templateProject: true },
    config: { railway: { template_service_id:
      '00000000-0000-4000-8000-00000000dead' }, deployment: { attempts: 1 } } });
  try {
    const subscription = await own.activated();
    const { error } = await own.untilStatus(subscription, 'failed');
    assert.match(error, /template/i);
    await own.eventually('attention', async () => (
      (await own.attentionOf(subscription)).length === 1));
  } finally {
    await own.stop();
  }
});

test("the seed deployment's own variables name the template", async () => {
  const own = await World.start({ railway: { templateProject: true },
    config: { railway: { template_project_id: undefined,
      template_service_id: undefined } }, start: false });
  try {
    const of = own.railway.templateProject;
    own.server.env = { RAILWAY_TEMPLATE_PROJECT_ID: of.project.id,
      RAILWAY_TEMPLATE_SERVICE_ID: of.serviceId };
    await own.server.start();
    await own.running();
    assert.deepEqual(own.railway.complaints, []);
  } finally {
    await own.stop();
  }
});

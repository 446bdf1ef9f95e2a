// Railway's webhooks are hints: they bring a look forward, and are believed in
// nothing. They are not signed, so that only the secret in the path keeps
// strangers out.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from './lib/suite.mjs';
import { request } from './lib/http.mjs';
import { eventually, never } from './lib/wait.mjs';
import { World } from './lib/world.mjs';

let world;
let railway;
before(async () => {
  // So seldom that whatever is noticed sooner was noticed by a hint.
  world = await World.start({ config: {
    deployment: { poll_interval: '30s', max_concurrent: 10 },
    railway: { watch_interval: '1h' },
  } });
  railway = world.railway;
});
after(() => world?.stop());
afterEach(() => railway.release('BUILDING'));

const path = (secret = world.hook, of = world) => (
  `${of.url}/api/railway/webhook/${secret}`);
const post = (body, { secret, headers } = {}) => request(path(secret), {
  method: 'POST', headers: { 'Content-Type': 'application/json', ...headers },
  body: typeof body === 'string' || Buffer.isBuffer(body) ? body
    : JSON.stringify(body) });

/** One that builds until it is released, and has been looked at. */
async function building() {
  const subscription = await world.paid();
  railway.hold('BUILDING', world.builds(subscription));
  await world.notified(subscription);
  await world.untilStatus(subscription, 'deploying');
  await world.untilProviderStatus(subscription, 'BUILDING');
  return subscription;
}

test('a wrong secret is 404, and no hint', async () => {
  const subscription = await building();
  const deployment = world.deploymentOf(subscription);
  // The looks that belong to the deployment itself are over for half a minute.
  await eventually('it is quiet',
    () => Date.now() - railway.requests.at(-1).at > 1_500);
  const from = railway.requests.length;
  for (const secret of ['wrong', world.hook.slice(0, -1), `${world.hook}x`,
    world.hook.toUpperCase() === world.hook ? 'x' : world.hook.toUpperCase(),
    'x'.repeat(4_000), '%00', '..']) {
    const answer = await railway.postWebhook(path(secret), deployment);
    assert.ok([404, 414, 431, 400].includes(answer.status),
      `${secret.slice(0, 20)}: ${answer.status}`);
    if (secret.length < 100 && !/[%.]/.test(secret)) {
      assert.equal(answer.status, 404, secret);
    }
  }
  assert.equal((await request(path(), { method: 'GET' })).status, 405);
  await never('it is looked at', () => railway.requests.slice(from)
    .some((r) => world.about(subscription)(r.variables)), { during: 1_000 });
  railway.release('BUILDING');
});

test('the right one is answered fast, and brings the look forward', async () => {
  const subscription = await building();
  railway.release('BUILDING');
  const deployment = await world.untilProviderStatus(subscription, 'SUCCESS');
  const since = Date.now();
  const answer = await railway.postWebhook(path(), deployment);
  assert.ok(answer.status >= 200 && answer.status < 300, `${answer.status}`);
  assert.ok(Date.now() - since < 1_000, 'slow');
  await world.untilStatus(subscription, 'running', { within: 5_000 });
});

test('a lying webhook changes nothing', async () => {
  const subscription = await building();
  const deployment = world.deploymentOf(subscription);
  const status = await world.status(subscription);
  for (const [type, says] of [['Deployment.deployed', 'SUCCESS'],
    ['Deployment.failed', 'FAILED'], ['Deployment.crashed', 'CRASHED'],
    ['Deployment.removed', 'REMOVED'], ['Nonsense', '']]) {
    const answer = await railway.postWebhook(path(), deployment,
      { type, status: says });
    assert.ok(answer.status < 300);
  }
  await never('it is believed', async () => {
    const now = await world.status(subscription);
    return now.status !== 'deploying' || now.attempt !== status.attempt;
  }, { during: 2_000 });
  railway.release('BUILDING');
  await world.untilProviderStatus(subscription, 'SUCCESS');
  await railway.postWebhook(path(), deployment, { type: 'Deployment.failed',
    status: 'FAILED' });
  await world.untilStatus(subscription, 'running', { within: 5_000 });
});

test('a crash is noticed by its webhook, and a lie about one is not', async () => {
  const subscription = await building();
  railway.release('BUILDING');
  const deployment = await world.untilProviderStatus(subscription, 'SUCCESS');
  await railway.postWebhook(path(), deployment);
  await world.untilStatus(subscription, 'running', { within: 5_000 });
  await railway.postWebhook(path(), deployment, { type: 'Deployment.crashed',
    status: 'CRASHED' });
  await never('the lie is believed', async () => (
    (await world.status(subscription)).status !== 'running'),
  { during: 1_500 });
  railway.crash(deployment);
  await railway.postWebhook(path(), deployment, { type: 'Deployment.crashed',
    status: 'CRASHED' });
  await world.untilStatus(subscription, 'failed', { within: 5_000 });
});

test('garbage is never an error of ours', async () => {
  const subscription = await building();
  const id = world.deploymentOf(subscription).id;
  const bodies = ['', '{', 'null', '[]', '"text"', '42', '{}', 'a=b&c=d',
    Buffer.from([0xff, 0xfe, 0x00]), `{"type":"${'x'.repeat(100_000)}"}`,
    '['.repeat(10_000), { type: 7, details: 7, resource: 7 },
    { type: 'DEPLOY', status: 'SUCCESS', deployment: { id } },
    { type: 'Deployment.deployed', resource: { deployment: { id: [id] } } },
    { type: 'Deployment.deployed', resource: { deployment: { id: '' } } },
    { type: 'Deployment.deployed', resource: { project: null } },
    { resource: { deployment: { id: "'; DROP TABLE subscriptions; --" } } },
    { resource: { deployment: { id: 'é'.repeat(5_000) }, project: { id: {} } } }];
  for (const body of bodies) {
    const answer = await post(body);
    assert.ok(answer.status < 500 && answer.status !== 404, `${
      answer.status} for ${JSON.stringify(body).slice(0, 80)}`);
  }
  const large = await post('x'.repeat(2 << 20)).catch(() => ({ status: 413 }));
  assert.equal(large.status, 413);
  assert.equal(await world.admin('/healthz'), 200);
  assert.equal((await world.status(subscription)).status, 'deploying');
  railway.release('BUILDING');
});

test('a flood of them is no flood of calls', async () => {
  const subscription = await building();
  const deployment = world.deploymentOf(subscription);
  const stranger = { id: 'b3c1d1a0-0000-4000-8000-000000000000',
    projectId: 'b3c1d1a0-0000-4000-8000-000000000001',
    environmentId: 'b3c1d1a0-0000-4000-8000-000000000002',
    serviceId: 'b3c1d1a0-0000-4000-8000-000000000003', status: 'SUCCESS' };
  const from = railway.requests.length;
  for (let i = 0; i < 20; i += 1) {
    const answers = await Promise.all(Array.from({ length: 20 }, (_, n) => (
      railway.postWebhook(path(), n % 2 ? deployment
        : { ...stranger, projectId: `${stranger.projectId}-${i}-${n}` }))));
    // Shed, perhaps, but not broken.
    for (const { status } of answers) {
      assert.ok((status >= 200 && status < 300) || status === 503
        || status === 429, `${status}`);
    }
  }
  const calls = railway.requests.slice(from);
  assert.ok(calls.length <= 25, `${calls.length} calls for 400 webhooks: ${
    [...new Set(calls.flatMap((r) => r.fields))]}`);
  assert.equal(calls.filter((r) => r.type === 'mutation').length, 0);
  // And the one that mattered was heard.
  railway.release('BUILDING');
  await world.untilProviderStatus(subscription, 'SUCCESS');
  await railway.postWebhook(path(), deployment);
  await world.untilStatus(subscription, 'running', { within: 8_000 });
});

test('the secret is in no log', () => {
  assert.ok(!world.server.log.includes(world.hook));
});

test('without a secret there is no webhook', async () => {
  const own = await World.start({ config: { railway: {
    webhook_secret_file: undefined } } });
  try {
    for (const secret of ['', 'undefined', 'null', own.hook]) {
      const answer = await request(path(secret, own), { method: 'POST',
        body: '{}' });
      assert.equal(answer.status, 404, secret);
    }
  } finally {
    await own.stop();
  }
});

test('the rule is registered once, found again, and its webhooks are real',
  async () => {
    const own = await World.start({ config: {
      deployment: { poll_interval: '30s' },
      railway: { register_webhook: true, watch_interval: '1h' } } });
    const { railway: there } = own;
    try {
      const wanted = path(own.hook, own);
      const ours = () => there.rules.filter((r) => r.channels
        .some((c) => c.config.url === wanted));
      await own.eventually('the rule is there', () => ours().length === 1);
      const [rule] = ours();
      assert.equal(rule.projectId, null, 'it covers the whole workspace');
      for (const type of ['deployed', 'failed', 'crashed', 'removed']) {
        assert.ok(rule.eventTypes.includes(`Deployment.${type}`), type);
      }

      // Doubled and late, and yet sooner than any poll.
      Object.assign(there.webhooks, { doubled: true, late: 300 });
      const subscription = await own.activated();
      const project = await own.eventually('a deployment', () => own
        .projectsOf(subscription).find((p) => p.firstDeployment));
      await own.eventually('it runs there', () => (
        project.firstDeployment.status === 'SUCCESS'));
      await own.untilStatus(subscription, 'running', { within: 8_000 });
      assert.ok(there.deliveries.length > 0);
      assert.ok(there.deliveries.every((d) => d.url === wanted));

      const asked = () => there.operations('notificationRules').length;
      const before_ = asked();
      await own.server.terminate();
      await own.server.start();
      await own.eventually('it was looked for', () => asked() > before_);
      await never('it is made again', () => ours().length > 1
        || there.operations('notificationRuleCreate').length > 1,
      { during: 1_500 });
      assert.deepEqual(there.complaints, []);
      assert.ok(!own.server.log.includes(own.hook), 'the secret is in the log');
    } finally {
      await own.stop();
    }
  });

test('the rule whose creation was lost is not made twice, others stay',
  async () => {
    const own = await World.start({ start: false, config: {
      railway: { register_webhook: true, sweep_interval: '1s' } } });
    const { railway: there } = own;
    try {
      const other = there.addRule({ eventTypes: ['Deployment.failed'],
        channelConfigs: [{ type: 'webhook', url: 'https://example.com/hook' }] });
      const fault = there.fault({ operation: 'notificationRuleCreate',
        kind: '504', when: 'after' });
      await own.server.start();
      await own.eventually('it was made', () => fault.fired === 1,
        { within: 30_000 });
      const asked = there.operations('notificationRules').length;
      await own.eventually('it was looked for again', () => there
        .operations('notificationRules').length > asked, { within: 30_000 });
      await never('it is made again', () => there.rules.length > 2,
        { during: 1_500 });
      assert.equal(there.rules.length, 2);
      assert.ok(there.rules.includes(other));
      await own.running();
      assert.deepEqual(there.complaints, []);
    } finally {
      await own.stop();
    }
  });

test('registering needs to know where: a configuration without it is refused',
  async () => {
    const own = await World.start({ start: false, config: {
      http: { public_url: undefined },
      railway: { register_webhook: true } } });
    try {
      own.server.spawn();
      assert.equal((await own.server.exited).code, 2);
      assert.match(own.server.log, /public_url/);
    } finally {
      await own.stop();
    }
  });

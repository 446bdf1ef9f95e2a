// What becomes of an instance after it came to run: it crashes, falls asleep, is
// removed, redeployed or deleted by somebody else. It is noticed, shown, told,
// and comes back where that can be.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from './lib/suite.mjs';
import { never } from './lib/wait.mjs';
import { World } from './lib/world.mjs';

const WATCH = 1_000;
/** Noticed within two looks, and some time for a busy machine. */
const SOON = { within: 4 * WATCH + 3_000 };

let world;
let railway;
before(async () => {
  world = await World.start({ config: {
    railway: { watch_interval: `${WATCH}ms` },
    deployment: { max_concurrent: 10 },
  } });
  railway = world.railway;
});
after(() => world?.stop());
afterEach(() => railway.release('BUILDING'));

const told = async (subscription, type) => (
  (await world.notifications(subscription.user, type)).length);

/** Mails to the owner after the one of success. */
const mails = (subscription, publicUrl) => world.smtp
  .to(subscription.user.email).filter((m) => !world
    .successMails(subscription, publicUrl).includes(m)
    && !/支付|付款|收到/.test(m.subject));

/** Waits until it is shown as down, for a reason of this kind. */
async function untilDown(subscription, health) {
  const status = await world.untilStatus(subscription, 'failed', SOON);
  assert.equal(status.health, health);
  assert.ok(status.error, 'no reason given');
  const shown = await world.subscription(subscription);
  assert.equal(shown.deploymentStatus, 'failed');
  assert.equal(shown.status, 'ACTIVE', 'it is still paid for');
  await world.eventually('the notification', async () => (
    (await told(subscription, 'INSTANCE_DOWN')) > 0));
  const [entry, ...more] = await world.eventually('attention', async () => {
    const found = await world.attentionOf(subscription);
    return found.length > 0 && found;
  });
  assert.deepEqual(more, []);
  assert.equal(entry.kind, 'instance_down');
  assert.ok(entry.reason && entry.suggestedAction && entry.since);
  return status;
}

async function untilUp(subscription) {
  const status = await world.untilStatus(subscription, 'running', SOON);
  assert.equal(status.error, null);
  await world.eventually('no attention any more', async () => (
    (await world.attentionOf(subscription)).length === 0));
  return status;
}

const untilHealth = (subscription, health) => world.eventually(
  `${subscription.id} is ${health}`, async () => {
    const status = await world.status(subscription);
    if (status.health === health) return status;
    throw new Error(`it is ${JSON.stringify(status)}`);
  }, SOON);

test('a crash is noticed, shown, told once, and so is the recovery', async () => {
  const subscription = await world.running();
  const { publicUrl } = await world.status(subscription);
  const deployment = world.deploymentOf(subscription);
  railway.crash(deployment);
  const status = await untilDown(subscription, 'crashed');
  assert.equal(status.instanceStatus, 'FAILED');
  assert.match(status.error, /crash/i);
  const [mail] = await world.eventually('the mail', () => {
    const found = mails(subscription, publicUrl);
    return found.length > 0 && found;
  });
  assert.ok(mail.subject);
  await never('told again', async () => (
    (await told(subscription, 'INSTANCE_DOWN')) > 1), { during: 2.5 * WATCH,
    every: 200 });

  railway.recover(deployment);
  await untilUp(subscription);
  await world.eventually('the recovery is told', async () => (
    (await told(subscription, 'INSTANCE_RECOVERED')) === 1));
  assert.equal(await told(subscription, 'INSTANCE_DOWN'), 1);
  assert.equal(await told(subscription, 'DEPLOYMENT_SUCCESS'), 1);
  assert.equal(await told(subscription, 'DEPLOYMENT_FAILED'), 0);
  assert.equal(railway.deploymentsOf(world.assertOneInstance(subscription).id)
    .length, 1, 'nobody has deployed anything');
});

test('a crash with a replica left is no failure, but shown', async () => {
  const subscription = await world.running();
  const deployment = world.deploymentOf(subscription);
  railway.crash(deployment, { left: 1 });
  const status = await untilHealth(subscription, 'degraded');
  assert.equal(status.status, 'running');
  assert.equal(status.instanceStatus, 'RUNNING');
  assert.equal(await told(subscription, 'INSTANCE_DOWN'), 0);
  // Then the last one goes as well.
  railway.crash(deployment);
  await untilDown(subscription, 'crashed');
});

test('asleep it runs, and it is nobody\'s emergency', async () => {
  const subscription = await world.running();
  const deployment = world.deploymentOf(subscription);
  railway.sleep(deployment);
  assert.equal((await untilHealth(subscription, 'sleeping')).status, 'running');
  railway.wake(deployment);
  assert.equal((await untilHealth(subscription, 'healthy')).status, 'running');
  assert.deepEqual(await world.attentionOf(subscription), []);
  assert.equal(await told(subscription, 'INSTANCE_DOWN'), 0);
  assert.equal(await told(subscription, 'INSTANCE_RECOVERED'), 0);
});

test('a process that ends by itself is down', async () => {
  const subscription = await world.running();
  const deployment = world.deploymentOf(subscription);
  railway.exit(deployment);
  await untilDown(subscription, 'ended');
  railway.recover(deployment);
  await untilUp(subscription);
});

test('removed by hand: down, and a retry deploys it again', async () => {
  const subscription = await world.running();
  railway.removeByHand(world.deploymentOf(subscription));
  await untilDown(subscription, 'removed');
  (await subscription.user.post('/api/deployment/retry',
    { subscriptionId: subscription.id })).ok();
  await untilUp(subscription);
  assert.equal(world.allProjectsOf(subscription).length, 1, 'the same project');
  world.assertOneInstance(subscription);
});

test('a retry after a crash brings it back', async () => {
  const subscription = await world.running();
  const deployment = world.deploymentOf(subscription);
  railway.crash(deployment);
  await untilDown(subscription, 'crashed');
  (await subscription.user.post('/api/deployment/retry',
    { subscriptionId: subscription.id })).ok();
  await untilUp(subscription);
  world.assertOneInstance(subscription);
  assert.notEqual(world.deploymentOf(subscription), deployment);
  assert.equal(world.deploymentOf(subscription).status, 'SUCCESS');
  (await subscription.user.post('/api/deployment/retry',
    { subscriptionId: subscription.id })).fails(400,
    { message: 'Instance is already running' });
});

test('the project deleted by hand: gone, and a retry makes a new one',
  async () => {
    const subscription = await world.running();
    const [old] = world.projectsOf(subscription);
    const { instanceId } = await world.status(subscription);
    railway.deleteProjectByHand(old);
    const status = await untilDown(subscription, 'missing');
    assert.equal(status.instanceStatus, 'DELETED');
    (await subscription.user.post('/api/deployment/retry',
      { subscriptionId: subscription.id })).ok();
    await untilUp(subscription);
    const project = world.assertOneInstance(subscription);
    assert.notEqual(project.id, old.id);
    assert.notEqual((await world.status(subscription)).instanceId, instanceId);
  });

test('redeployed outside it runs all the time, and the new one counts',
  async () => {
    const subscription = await world.running();
    railway.hold('BUILDING', world.builds(subscription));
    const second = railway.redeployOutside(world.deploymentOf(subscription));
    await world.untilProviderStatus(subscription, 'BUILDING');
    await never('it is shown as anything but running', async () => (
      (await world.status(subscription)).status !== 'running'),
    { during: 2.5 * WATCH, every: 100 });
    railway.release('BUILDING');
    await world.untilProviderStatus(subscription, 'SUCCESS');
    await never('it is shown as anything but running', async () => (
      (await world.status(subscription)).status !== 'running'),
    { during: 2.5 * WATCH, every: 100 });
    // Only who follows the new one sees it crash.
    railway.crash(second);
    await untilDown(subscription, 'crashed');
  });

test('redeployed outside in vain: the old one still runs', async () => {
  const subscription = await world.running();
  const first = world.deploymentOf(subscription);
  const failure = railway.failBuilds(1, { match: world.builds(subscription) });
  const second = railway.redeployOutside(first);
  await world.eventually('it failed', () => second.status === 'FAILED');
  failure.stop();
  assert.equal(first.status, 'SUCCESS');
  await never('it is shown as anything but running', async () => (
    (await world.status(subscription)).status !== 'running'),
  { during: 2.5 * WATCH, every: 100 });
  assert.equal(await told(subscription, 'INSTANCE_DOWN'), 0);
});

test('what happens while the server is away is noticed afterwards', async () => {
  const subscription = await world.running();
  await world.server.kill();
  railway.crash(world.deploymentOf(subscription));
  await world.server.start();
  await untilDown(subscription, 'crashed');
});

test('an error of the provider is not the end of an instance', async () => {
  const subscription = await world.running();
  const faults = ['opaque', '504', 'html', 'truncated'].map((kind) => railway
    .fault({ operation: 'environment', kind, times: 1 }));
  await world.eventually('it has been looked at', () => faults
    .every((f) => f.fired === 1), { within: 30 * WATCH });
  assert.equal((await world.status(subscription)).status, 'running');
  assert.equal(await told(subscription, 'INSTANCE_DOWN'), 0);
});

test('a token that is refused does not look like deleted instances', async () => {
  const subscription = await world.running();
  const { token } = railway;
  const from = railway.requests.length;
  railway.token = 'another one by now';
  try {
    await world.eventually('it was refused a few times', () => railway.requests
      .slice(from).filter((r) => r.outcome === 'unauthorized').length > 3,
    { within: 30_000 });
    await never('it is shown as anything but running', async () => (
      (await world.status(subscription)).status !== 'running'),
    { during: 2 * WATCH, every: 100 });
  } finally {
    railway.token = token;
  }
  assert.equal(await told(subscription, 'INSTANCE_DOWN'), 0);
  // And what happens later is seen again.
  railway.crash(world.deploymentOf(subscription));
  await world.untilStatus(subscription, 'failed', { within: 60_000 });
});

test('many are looked at with few calls', async () => {
  const many = await Promise.all(Array.from({ length: 8 },
    () => world.running()));
  const from = railway.requests.length;
  const since = Date.now();
  await world.eventually('a few looks', () => Date.now() - since > 4 * WATCH);
  const calls = railway.requests.slice(from);
  const looks = calls.filter((r) => r.fields.includes('environment'));
  for (const subscription of many) {
    const [project] = world.projectsOf(subscription);
    assert.ok(looks.some((r) => railway.projectsIn(r.variables)
      .includes(project)), 'one was not looked at');
  }
  assert.ok(looks.length <= 12, `${looks.length} looks in four intervals`);
  assert.equal(calls.filter((r) => r.type === 'mutation').length, 0);
});

test('nothing of all that was done behind the API', () => {
  assert.deepEqual(railway.complaints, []);
});

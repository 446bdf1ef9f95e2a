// Builds that fail, once or for good, and what becomes of the money's worth.

import assert from 'node:assert/strict';
import { after, before, test } from './lib/suite.mjs';
import { World } from './lib/world.mjs';

let world;
before(async () => {
  world = await World.start({ config: { deployment: { attempts: 2 } } });
});
after(() => world?.stop());

const of = (subscription) => ({
  match: (deployment) => JSON.stringify(deployment.variables)
    .includes(subscription.mark) || world.railway.projects
    .get(deployment.projectId).description?.includes(subscription.id),
});

test('a build that fails once is tried again by itself', async () => {
  const subscription = await world.paid();
  world.railway.failBuilds(1, of(subscription));
  await world.alipay.notify(subscription.trade);
  const status = await world.untilStatus(subscription, 'running');
  assert.equal(status.attempt, 2);
  assert.equal(status.progress, 100);
  const project = world.assertOneInstance(subscription);
  await world.eventually('nothing is left over', () => world
    .allProjectsOf(subscription).every((p) => p === project || p.deletedAt
      || p.deletionScheduledAt));
  const last = world.railway.deploymentsOf(project.id).at(-1);
  assert.ok(JSON.stringify(last.variables).includes(subscription.mark));
  await world.eventually('the mail', () => world.successMails(subscription,
    status.publicUrl).length > 0);
  assert.equal((await world.notifications(subscription.user,
    'DEPLOYMENT_FAILED')).length, 0, 'a repeated attempt is no failure');
  assert.deepEqual(await world.attention(), []);
});

test('an error of the provider in the middle is got over', async () => {
  const subscription = await world.paid();
  for (const [operation, kind] of [['projectCreate', 'opaque'],
    ['template', '504'], ['templateDeployV2', '429'],
    ['workflowStatus', 'reset']]) {
    world.railway.fault({ operation, kind });
  }
  await world.alipay.notify(subscription.trade);
  await world.untilStatus(subscription, 'running');
  world.assertOneInstance(subscription);
});

test('failed for good: told to the user and the operator, still paid for',
  async () => {
    const subscription = await world.paid();
    const failure = world.railway.failBuilds(Infinity, { ...of(subscription),
      error: 'npm ERR! missing script: build' });
    await world.alipay.notify(subscription.trade);
    const status = await world.untilStatus(subscription, 'failed');
    assert.equal(status.attempt, 2);
    assert.equal(status.instanceStatus, 'FAILED');
    assert.ok(status.error, 'no reason given');
    assert.ok(status.progress < 100);
    assert.equal((await world.subscription(subscription)).status, 'ACTIVE');

    const [told] = await world.eventually('the notification', async () => {
      const all = await world.notifications(subscription.user,
        'DEPLOYMENT_FAILED');
      return all.length > 0 && all;
    });
    assert.equal(told.title, '实例部署失败');
    assert.equal((await world.notifications(subscription.user,
      'DEPLOYMENT_FAILED')).length, 1);
    assert.equal((await world.notifications(subscription.user,
      'DEPLOYMENT_SUCCESS')).length, 0);
    const mails = await world.eventually('the mail', () => {
      const found = world.smtp.to(subscription.user.email)
        .filter((m) => /部署失败/.test(m.subject));
      return found.length > 0 && found;
    });
    assert.equal(mails.length, 1);

    const entry = await world.eventually('attention', async () => (
      (await world.attention())
        .find((a) => a.subscriptionId === subscription.id)));
    assert.ok(entry.reason && entry.suggestedAction && entry.since);
    const stats = (await world.operator.get('/api/deployment-monitor/stats'))
      .ok();
    assert.equal(stats.failed, 1);
    assert.equal(stats.byStatus.failed, 1);
    await world.eventually('counted for alerts', async () => (
      (await world.metrics()).sum('slipway_attention') >= 1));
    const logs = await subscription.user.get(
      `/api/deployment/logs/${subscription.id}?type=all`);
    assert.match(logs.text, /missing script/);

    // The user tries again after it was mended.
    failure.stop();
    const retried = (await subscription.user.post('/api/deployment/retry',
      { subscriptionId: subscription.id })).ok();
    assert.equal(retried.subscriptionId, subscription.id);
    assert.ok(retried.status);
    assert.ok(Number.isInteger(retried.attempt));
    const running = await world.untilStatus(subscription, 'running');
    assert.ok(!running.error);
    world.assertOneInstance(subscription);
    await world.eventually('the mail of success', () => world.successMails(
      subscription, running.publicUrl).length > 0);
    await world.eventually('no attention any more', async () => (
      !(await world.attention())
        .some((a) => a.subscriptionId === subscription.id)));
    assert.equal((await world.notifications(subscription.user,
      'DEPLOYMENT_SUCCESS')).length, 1);
    (await subscription.user.post('/api/deployment/retry',
      { subscriptionId: subscription.id })).fails(400,
      { message: 'Instance is already running' });
  });

test('many retries at once start one attempt', async () => {
  const subscription = await world.paid();
  const failure = world.railway.failBuilds(Infinity, of(subscription));
  await world.alipay.notify(subscription.trade);
  await world.untilStatus(subscription, 'failed');
  failure.stop();
  const answers = await Promise.all(Array.from({ length: 8 }, () => (
    subscription.user.post('/api/deployment/retry',
      { subscriptionId: subscription.id }))));
  const accepted = answers.filter((a) => a.status === 200);
  assert.equal(accepted.length, 1, answers.map((a) => a.status).join());
  for (const answer of answers) {
    if (answer !== accepted[0]) answer.fails([409, 400]);
  }
  await world.untilStatus(subscription, 'running');
  world.assertOneInstance(subscription);
});

test('an operator retries with a reason that is kept', async () => {
  const subscription = await world.paid();
  const failure = world.railway.failBuilds(Infinity, of(subscription));
  await world.alipay.notify(subscription.trade);
  await world.untilStatus(subscription, 'failed');
  failure.stop();
  const path = `/api/ops/subscriptions/${subscription.id}`;
  (await world.operator.post(`${path}/retry`,
    { reason: 'template was mended' })).success();
  await world.untilStatus(subscription, 'running');
  const timeline = await world.operator.get(`${path}/timeline`);
  assert.ok(timeline.ok().some((e) => e.kind === 'operator'));
  assert.match(timeline.text, /template was mended/);
});

test('an attempt that hangs is given up at its deadline', async () => {
  const slow = await World.start({ railway: { domain: true },
    config: { deployment: { attempts: 1, deadline: '3s' } } });
  try {
    slow.railway.hold('BUILDING');
    const subscription = await slow.activated();
    const status = await slow.untilStatus(subscription, 'failed');
    assert.ok(status.error);
    await slow.eventually('attention', async () => (await slow.attention())
      .some((a) => a.subscriptionId === subscription.id));
  } finally {
    await slow.stop();
  }
});

test('mail that cannot be delivered keeps nothing up, and goes out later',
  async () => {
    await world.smtp.refuse();
    const subscription = await world.activated();
    const { publicUrl } = await world.untilStatus(subscription, 'running');
    await world.eventually('the in-app notification', async () => (
      (await world.notifications(subscription.user, 'DEPLOYMENT_SUCCESS'))
        .length === 1));
    await world.smtp.accept();
    await world.eventually('the mail after all', () => (
      world.successMails(subscription, publicUrl).length > 0),
    { within: 60_000 });
    assert.equal(world.successMails(subscription, publicUrl).length, 1);
  });

test('an address that is refused for good is a case for a person', async () => {
  world.smtp.mode = '550';
  try {
    const subscription = await world.running();
    await world.eventually('attention', async () => (await world.attention())
      .some((a) => a.subscriptionId === subscription.id), { within: 30_000 });
    assert.equal((await world.status(subscription)).status, 'running');
  } finally {
    world.smtp.mode = 'ok';
  }
});

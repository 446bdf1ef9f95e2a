// Cancelling: at the provider, confirmed there, and the slot goes on.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from './lib/suite.mjs';
import { World } from './lib/world.mjs';

let world;
before(async () => {
  world = await World.start({ config: { deployment: { max_concurrent: 1 } } });
});
after(() => world?.stop());
afterEach(() => world.railway.release('BUILDING'));

const cancel = ({ user, id }) => user.delete('/api/deployment/cancel',
  { subscriptionId: id });

/** Nothing of it runs or is being made at the provider. */
const goneAtProvider = (subscription) => world.allProjectsOf(subscription)
  .every((p) => p.deletedAt || p.deletionScheduledAt
    || world.railway.deploymentsOf(p.id).every((d) => d.status === 'REMOVED'));

async function building(subscription) {
  await world.eventually('it is being built', () => world
    .projectsOf(subscription).flatMap((p) => world.railway.deploymentsOf(p.id))
    .some((d) => d.status === 'BUILDING'));
}

test('cancel while building: gone, stopped, and the next one starts',
  async () => {
    world.railway.hold('BUILDING');
    const first = await world.activated();
    await building(first);
    const next = await world.activated();
    const waiting = await world.status(next);
    assert.equal(waiting.status, 'pending');
    assert.equal(waiting.queuePosition, 1);
    assert.equal(world.allProjectsOf(next).length, 0, 'the slot is taken');

    const body = (await cancel(first)).success();
    assert.equal(body.message, 'Deployment cancelled successfully');
    const status = await world.untilStatus(first, 'stopped');
    assert.equal(status.publicUrl ?? null, null);
    await world.eventually('gone at the provider', () => goneAtProvider(first));
    await building(next);
    world.railway.release('BUILDING');
    await world.untilStatus(next, 'running');
    assert.equal((await world.status(first)).status, 'stopped');
    assert.ok(goneAtProvider(first), 'it came back');
    assert.equal((await world.notifications(first.user, 'DEPLOYMENT_SUCCESS'))
      .length, 0);
    assert.equal((await world.notifications(first.user, 'DEPLOYMENT_FAILED'))
      .length, 0, 'cancelled is not failed');
    const stats = (await world.operator.get('/api/deployment-monitor/stats'))
      .ok();
    assert.equal(stats.active, 0);
    assert.equal(stats.byStatus.stopped, 1);
  });

test('cancel while it waits in the queue: never made', async () => {
  world.railway.hold('BUILDING');
  const first = await world.activated();
  await building(first);
  const waiting = await world.activated();
  (await cancel(waiting)).success();
  await world.untilStatus(waiting, 'stopped');
  world.railway.release('BUILDING');
  await world.untilStatus(first, 'running');
  assert.equal(world.allProjectsOf(waiting).length, 0);
  assert.equal((await world.status(waiting)).status, 'stopped');
});

test('cancel with nothing to cancel is 409', async () => {
  const unpaid = await world.subscribe();
  (await cancel(unpaid)).fails(409);
  const running = await world.running();
  (await cancel(running)).fails(409);
  assert.equal((await world.status(running)).status, 'running');
  world.assertOneInstance(running);
});

test('cancel twice, and many times at once', async () => {
  world.railway.hold('BUILDING');
  const subscription = await world.activated();
  await building(subscription);
  const answers = await Promise.all(Array.from({ length: 5 },
    () => cancel(subscription)));
  const accepted = answers.filter((a) => a.status === 200);
  assert.ok(accepted.length >= 1, answers.join('\n'));
  for (const answer of answers) {
    if (answer.status !== 200) answer.fails(409);
  }
  await world.untilStatus(subscription, 'stopped');
  (await cancel(subscription)).fails(409);
  await world.eventually('gone at the provider',
    () => goneAtProvider(subscription));
});

test('a cancelled one can be started again by its user', async () => {
  world.railway.hold('BUILDING');
  const subscription = await world.activated();
  await building(subscription);
  (await cancel(subscription)).success();
  await world.untilStatus(subscription, 'stopped');
  world.railway.release('BUILDING');
  (await subscription.user.post('/api/deployment/retry',
    { subscriptionId: subscription.id })).ok();
  await world.untilStatus(subscription, 'running');
  world.assertOneInstance(subscription);
});

test('cancel is honoured although the provider stumbles', async () => {
  world.railway.hold('BUILDING');
  const subscription = await world.activated();
  await building(subscription);
  for (const operation of ['deploymentCancel', 'deploymentRemove',
    'projectDelete', 'projectScheduleDelete']) {
    world.railway.fault({ operation, kind: '504', when: 'after' });
    world.railway.fault({ operation, kind: 'opaque', when: 'before' });
  }
  (await cancel(subscription)).success();
  await world.eventually('gone at the provider',
    () => goneAtProvider(subscription));
  await world.untilStatus(subscription, 'stopped');
});

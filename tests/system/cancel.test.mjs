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

// -- races --------------------------------------------------------------------

let races;
/** A world in which what was lost shows within four seconds or not at all. */
const racing = async () => {
  races ??= await World.start({ config: {
    railway: { visibility_lag: '4s', request_timeout: '3s' },
    deployment: { max_concurrent: 20 } } });
  return races;
};
after(() => races?.stop());
afterEach(() => {
  races?.railway.endHanging();
  races?.railway.release('BUILDING');
});

/** Cancelled and gone for good, told as what it is. */
async function assertCancelled(of, subscription) {
  await of.untilStatus(subscription, 'stopped', { within: 30_000 });
  assert.ok(of.isGone(subscription), 'a live project is left');
  assert.equal((await of.status(subscription)).publicUrl, null);
  for (const type of ['DEPLOYMENT_SUCCESS', 'DEPLOYMENT_FAILED']) {
    assert.equal((await of.notifications(subscription.user, type)).length, 0,
      type);
  }
}

test('cancel while projectCreate hangs, which takes effect later', async () => {
  const of = await racing();
  const subscription = await of.paid();
  const fault = of.railway.fault({ operation: 'projectCreate', kind: 'slow',
    match: of.about(subscription) });
  await of.notified(subscription);
  await of.eventually('it hangs', () => fault.fired === 1);
  const answer = cancel(subscription);
  // Nobody waits for its answer any more by then.
  const since = Date.now();
  await of.eventually('the call was given up', () => (
    Date.now() - since > 3_300));
  of.railway.endHanging();
  await of.eventually('it was made', () => (
    of.allProjectsOf(subscription).length === 1));
  assert.ok([200, 202].includes((await answer).status));
  await assertCancelled(of, subscription);
});

for (const when of ['before', 'after']) {
  test(`cancel in the middle of each call, ${when} it takes effect`,
    async () => {
      const of = await racing();
      // `slow` waits first, `hang` after the effect waits afterwards.
      const kind = when === 'before' ? 'slow' : 'hang';
      const all = await Promise.all(['projectCreate', 'templateDeployV2',
        'workflowStatus', 'environment'].map(async (operation) => {
        const subscription = await of.paid();
        const fault = of.railway.fault({ operation, kind, when,
          match: of.about(subscription) });
        return { subscription, fault, operation };
      }));
      await Promise.all(all.map(({ subscription }) => of.notified(subscription)));
      const answers = await Promise.all(all.map(async (
        { subscription, fault, operation }) => {
        await of.eventually(`${operation} hangs`, () => fault.fired === 1);
        const answer = cancel(subscription);
        await of.eventually('the cancellation has arrived', async () => (
          /cancel|stopped/i.test((await of.status(subscription)).message)));
        return { answer };
      }));
      of.railway.endHanging();
      for (const { answer } of answers) {
        assert.ok([200, 202].includes((await answer).status), String(answer));
      }
      await Promise.all(all.map(({ subscription }) => assertCancelled(of,
        subscription)));
      assert.equal(of.railway.atWork().length, 0);
      assert.deepEqual(of.railway.complaints, []);
    });
}

test('cancel against success: one of both wins, and all agree', async () => {
  const of = await racing();
  const ends = await Promise.all(Array.from({ length: 10 }, async (_, i) => {
    const subscription = await of.paid();
    of.railway.hold('BUILDING', of.builds(subscription));
    await of.notified(subscription);
    const deployment = await of.untilProviderStatus(subscription, 'BUILDING');
    return { subscription, deployment, delay: i * 60 };
  }));
  of.railway.release('BUILDING');
  await Promise.all(ends.map(async (end) => {
    // From well before the success until well after it was noticed.
    const since = Date.now();
    await of.eventually('its moment has come', () => (
      Date.now() - since >= end.delay), { every: 10 });
    end.answer = await cancel(end.subscription);
  }));
  for (const { subscription, answer } of ends) {
    if (answer.status === 409) {
      await of.untilStatus(subscription, 'running');
      of.assertOneInstance(subscription);
    } else {
      assert.ok([200, 202].includes(answer.status), String(answer));
      await assertCancelled(of, subscription);
    }
  }
  assert.ok(ends.some((e) => e.answer.status !== 409), 'none was early enough');
});

test('it comes up while the cancellation is on its way: gone all the same',
  async () => {
    const of = await racing();
    const subscription = await of.paid();
    of.railway.hold('BUILDING', of.builds(subscription));
    await of.notified(subscription);
    const deployment = await of.untilProviderStatus(subscription, 'BUILDING');
    const faults = ['deploymentCancel', 'deploymentRemove', 'projectDelete']
      .map((operation) => of.railway.fault({ operation, kind: 'slow',
        match: of.about(subscription) }));
    const answer = cancel(subscription);
    await of.eventually('it is on its way', () => faults
      .some((f) => f.fired > 0));
    of.railway.release('BUILDING');
    await of.eventually('it is up', () => deployment.status === 'SUCCESS');
    for (const fault of faults) fault.stop();
    of.railway.endHanging();
    assert.ok([200, 202].includes((await answer).status));
    await assertCancelled(of, subscription);
  });

test('while it is being cancelled, nobody can start it again', async () => {
  const of = await racing();
  const subscription = await of.paid();
  of.railway.hold('BUILDING', of.builds(subscription));
  await of.notified(subscription);
  await of.untilProviderStatus(subscription, 'BUILDING');
  const fault = of.railway.fault({ operation: 'projectDelete', kind: 'slow',
    match: of.about(subscription) });
  const answer = cancel(subscription);
  await of.eventually('it is on its way', () => fault.fired === 1);
  const retry = () => subscription.user.post('/api/deployment/retry',
    { subscriptionId: subscription.id });
  (await retry()).fails(409);
  assert.notEqual((await of.status(subscription)).instanceStatus, 'DELETED');
  of.railway.endHanging();
  await answer;
  await assertCancelled(of, subscription);
  of.railway.release('BUILDING');
  (await retry()).ok();
  await of.untilStatus(subscription, 'running');
  of.assertOneInstance(subscription);
});

test('the slot is free at once, not at some later look', async () => {
  const slow = await World.start({ config: { deployment: { max_concurrent: 1,
    poll_interval: '10s', backoff_initial: '10s', backoff_max: '10s' } } });
  try {
    slow.railway.hold('BUILDING');
    const first = await slow.activated();
    await slow.untilProviderStatus(first, 'BUILDING');
    const next = await slow.activated();
    assert.equal((await slow.status(next)).queuePosition, 1);
    (await cancel(first)).success();
    await slow.untilStatus(first, 'stopped');
    const since = Date.now();
    await slow.eventually('the next one begins', () => slow.railway
      .operations('projectCreate').length === 2, { every: 20 });
    assert.ok(Date.now() - since < 2_000, `${Date.now() - since} ms`);
  } finally {
    await slow.stop();
  }
});

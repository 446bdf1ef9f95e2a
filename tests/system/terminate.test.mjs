// An operator takes an instance away, for a reason that is kept. DELETED is said
// once the provider has proven it, not before.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from './lib/suite.mjs';
import { never } from './lib/wait.mjs';
import { World } from './lib/world.mjs';

let world;
let railway;
before(async () => {
  world = await World.start({ config: {
    railway: { watch_interval: '1s', visibility_lag: '1s' },
    deployment: { max_concurrent: 1, attempts: 1 } } });
  railway = world.railway;
});
after(() => world?.stop());
afterEach(() => {
  railway.release('BUILDING');
  railway.endHanging();
});

const terminate = (subscription, body, by) => world.act(subscription,
  'terminate', body, by);

async function accepted(subscription, reason = 'told by the test') {
  const answer = await terminate(subscription, { reason });
  assert.ok([200, 202].includes(answer.status), String(answer));
  return answer.success(answer.status);
}

/** Waits until it is gone, proven, and shown so. */
async function untilDeleted(subscription) {
  const status = await world.eventually(`${subscription.id} is deleted`,
    async () => {
      const now = await world.status(subscription);
      if (now.instanceStatus === 'DELETED') return now;
      throw new Error(`it is ${JSON.stringify(now)}`);
    }, { within: 30_000 });
  assert.equal(status.status, 'stopped');
  assert.equal(status.publicUrl, null);
  assert.ok(world.isGone(subscription), 'said to be deleted, and still there');
  return status;
}

async function failed() {
  const subscription = await world.paid();
  const failure = railway.failBuilds(Infinity,
    { match: world.builds(subscription) });
  await world.notified(subscription);
  await world.untilStatus(subscription, 'failed');
  failure.stop();
  return subscription;
}

test('a running one is deleted, proven, told, and kept in the history',
  async () => {
    const subscription = await world.running();
    await accepted(subscription, 'the customer has left the country');
    await untilDeleted(subscription);
    const shown = await world.subscription(subscription);
    assert.equal(shown.deploymentStatus, 'stopped');
    assert.equal(shown.status, 'ACTIVE', 'the money is another matter');
    await world.eventually('the notification', async () => (
      (await world.notifications(subscription.user, 'INSTANCE_TERMINATED'))
        .length === 1));
    for (const type of ['INSTANCE_DOWN', 'DEPLOYMENT_FAILED']) {
      assert.equal((await world.notifications(subscription.user, type)).length,
        0, type);
    }
    assert.deepEqual(await world.attentionOf(subscription), []);
    const history = await world.history(subscription);
    assert.match(history, /the customer has left the country/);
    assert.match(history, new RegExp(world.operator.sub), 'who it was');
  });

test('it is not called deleted while that is under way', async () => {
  const subscription = await world.running();
  const fault = railway.fault({ operation: 'projectDelete', kind: 'slow',
    match: world.about(subscription) });
  // Whether the answer waits for the proof is the server's business.
  const answer = terminate(subscription, { reason: 'told by the test' });
  await world.eventually('the deletion is on its way', () => fault.fired === 1);
  await never('it is called deleted', async () => (
    (await world.status(subscription)).instanceStatus === 'DELETED'));
  assert.equal((await world.status(subscription)).status, 'stopped');
  // And it needs no slot: another one is deployed meanwhile.
  await world.running();
  assert.equal(world.isGone(subscription), false);
  railway.endHanging();
  assert.ok([200, 202].includes((await answer).status));
  await untilDeleted(subscription);
});

for (const [what, faults] of Object.entries({
  'the answer is lost': [{ kind: '504', when: 'after' }],
  'the connection breaks after it': [{ kind: 'reset', when: 'after' }],
  'it fails, twice, before it takes effect': [
    { kind: 'opaque' }, { kind: '502' }],
  'it answers garbage': [{ kind: 'html' }, { kind: 'truncated', when: 'after' }],
  'it is throttled': [{ kind: '429', retryAfter: 1 }],
  'it says yes and does nothing': [{ kind: 'ignored' }],
})) {
  test(`proven although ${what}`, async () => {
    const subscription = await world.running();
    const struck = faults.map((f) => railway.fault({ ...f,
      operation: 'projectDelete', match: world.about(subscription) }));
    await accepted(subscription);
    await untilDeleted(subscription);
    assert.ok(struck.every((f) => f.fired === 1), 'it was never called');
  });
}

test('the proof itself is lost, and asked for again', async () => {
  const subscription = await world.running();
  const struck = ['504', 'opaque', 'html'].map((kind) => railway.fault({
    operation: 'project', kind, match: world.about(subscription) }));
  await accepted(subscription);
  await untilDeleted(subscription);
  assert.ok(struck.some((f) => f.fired > 0), 'nobody asked for a proof');
  for (const fault of struck) fault.stop();
});

test('a token that is refused proves nothing', async () => {
  const subscription = await world.running();
  const { token } = railway;
  const from = railway.requests.length;
  railway.token = 'another one by now';
  try {
    terminate(subscription, { reason: 'told by the test' }).catch(() => {});
    await world.eventually('it was refused a few times', () => railway.requests
      .slice(from).filter((r) => r.outcome === 'unauthorized').length > 3,
    { within: 30_000 });
    await never('it is called deleted', async () => (
      (await world.status(subscription)).instanceStatus === 'DELETED'),
    { during: 2_000, every: 100 });
    assert.equal(world.isGone(subscription), false);
  } finally {
    railway.token = token;
  }
  await untilDeleted(subscription);
});

test('killed in the middle, it is finished after the start', async () => {
  const subscription = await world.running();
  const fault = railway.fault({ operation: 'projectDelete', kind: 'hang',
    match: world.about(subscription) });
  terminate(subscription, { reason: 'told by the test' }).catch(() => {});
  await world.eventually('the deletion is on its way', () => fault.fired === 1);
  await world.server.kill();
  await world.server.start();
  assert.notEqual((await world.status(subscription)).instanceStatus, 'DELETED');
  await untilDeleted(subscription);
});

test('a failed one: what it left is deleted, and attention ends', async () => {
  const subscription = await failed();
  assert.equal(world.isGone(subscription), false);
  await accepted(subscription);
  await untilDeleted(subscription);
  await world.eventually('no attention any more', async () => (
    (await world.attentionOf(subscription)).length === 0));
});

test('one that has crashed', async () => {
  const subscription = await world.running();
  railway.crash(world.deploymentOf(subscription));
  await world.untilStatus(subscription, 'failed');
  await accepted(subscription);
  await untilDeleted(subscription);
  await world.eventually('no attention any more', async () => (
    (await world.attentionOf(subscription)).length === 0));
});

test('one that waits in the queue is never made', async () => {
  railway.hold('BUILDING');
  const busy = await world.activated();
  await world.untilProviderStatus(busy, 'BUILDING');
  const waiting = await world.activated();
  assert.equal((await world.status(waiting)).queuePosition, 1);
  await accepted(waiting);
  await world.untilStatus(waiting, 'stopped');
  railway.release('BUILDING');
  await world.untilStatus(busy, 'running');
  assert.equal(world.allProjectsOf(waiting).length, 0);
});

test('one that is being built is stopped and deleted', async () => {
  const subscription = await world.paid();
  railway.hold('BUILDING', world.builds(subscription));
  await world.notified(subscription);
  const deployment = await world.untilProviderStatus(subscription, 'BUILDING');
  await accepted(subscription);
  await untilDeleted(subscription);
  await world.eventually('nothing builds', () => (
    deployment.status === 'REMOVED'));
});

test('a retry afterwards makes a new one', async () => {
  const subscription = await world.running();
  const [old] = world.projectsOf(subscription);
  const { instanceId } = await world.status(subscription);
  await accepted(subscription);
  await untilDeleted(subscription);
  (await subscription.user.post('/api/deployment/retry',
    { subscriptionId: subscription.id })).ok();
  const status = await world.untilStatus(subscription, 'running');
  assert.notEqual(status.instanceId, instanceId);
  assert.notEqual(world.assertOneInstance(subscription).id, old.id);
  assert.ok(old.deletedAt ?? old.deletionScheduledAt);
});

test('twice, and many times at once, is once', async () => {
  const subscription = await world.running();
  const answers = await Promise.all(Array.from({ length: 6 },
    () => terminate(subscription, { reason: 'told by the test' })));
  assert.ok(answers.some((a) => [200, 202].includes(a.status)),
    answers.join('\n'));
  for (const answer of answers) {
    if (![200, 202].includes(answer.status)) answer.fails(409);
  }
  await untilDeleted(subscription);
  (await terminate(subscription, { reason: 'again' })).fails(409);
  await world.eventually('the notification', async () => (
    (await world.notifications(subscription.user, 'INSTANCE_TERMINATED'))
      .length > 0));
  assert.equal((await world.notifications(subscription.user,
    'INSTANCE_TERMINATED')).length, 1);
});

test('only an operator may, with a reason, and where there is something',
  async () => {
    const subscription = await world.running();
    const as = (by, body) => terminate(subscription, body, by);
    for (const what of ['terminate', 'retry', 'cancel']) {
      const ask = (body, by) => world.act(subscription, what, body, by);
      (await ask({ reason: 'mine' }, subscription.user)).fails(403,
        { error: 'forbidden' });
      (await ask({ reason: 'mine' }, world.anonymous)).fails(401);
      for (const body of [{}, { reason: '' }, { reason: '   ' }, { reason: 7 },
        { reason: null }, []]) (await ask(body)).fails(400);
      (await world.act({ id: 'sub_0000000000000' }, what)).fails(404);
      (await world.act({ id: 'nonsense' }, what)).fails(404);
    }
    assert.equal((await world.status(subscription)).status, 'running');
    assert.equal((await as(world.operator, { reason: 'at last' })).status < 300,
      true);
    await untilDeleted(subscription);
    const unpaid = await world.subscribe();
    (await terminate(unpaid, { reason: 'nothing there' })).fails(409);
  });

test('an operator cancels and retries, with reasons that are kept', async () => {
  const subscription = await world.paid();
  railway.hold('BUILDING', world.builds(subscription));
  await world.notified(subscription);
  await world.untilProviderStatus(subscription, 'BUILDING');
  const answer = await world.act(subscription, 'cancel',
    { reason: 'a wrong template' });
  assert.ok([200, 202].includes(answer.status), String(answer));
  await world.untilStatus(subscription, 'stopped');
  assert.ok(world.isGone(subscription));
  (await world.act(subscription, 'cancel', { reason: 'again' })).fails(409);
  railway.release('BUILDING');
  (await world.act(subscription, 'retry', { reason: 'it was mended' })).ok();
  await world.untilStatus(subscription, 'running');
  world.assertOneInstance(subscription);
  (await world.act(subscription, 'retry', { reason: 'for fun' })).fails(400,
    { message: 'Instance is already running' });
  const history = await world.history(subscription);
  assert.match(history, /a wrong template/);
  assert.match(history, /it was mended/);
  assert.match(history, new RegExp(world.operator.sub));
});

test('nothing of all that was done behind the API', () => {
  assert.deepEqual(railway.complaints, []);
});

// What shows up at the provider after everybody has stopped waiting for it: the
// surplus is removed, what runs stays, and what is not provably ours is reported
// or left alone.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from './lib/suite.mjs';
import { never } from './lib/wait.mjs';
import { World } from './lib/world.mjs';

const SWEEP = 1_000;
const LATE = 2 * 3_600_000;

let world;
let railway;
const foreign = [];
/** Projects of these subscriptions show in no list once they are made. */
const hidden = [];
before(async () => {
  world = await World.start({
    railway: {
      onProject: (project) => {
        project.hidden = hidden
          .some((id) => project.description?.includes(id));
      } },
    config: {
      railway: { sweep_interval: `${SWEEP}ms`, visibility_lag: '500ms',
        watch_interval: '1s' },
      deployment: { max_concurrent: 5 },
    } });
  railway = world.railway;
  foreign.push(
    railway.addProject({ name: 'gateway-template', service: 'gateway' }),
    railway.addProject({ name: 'shop', service: 'web', age: LATE,
      description: 'Somebody else\'s' }),
    railway.addProject({ name: 'sub-marine', service: 'web', age: LATE }),
    railway.addProject({ name: 'subscription-service', age: LATE,
      description: 'Slipway subscription manager of another team' }),
    // Our pattern, almost.
    railway.addProject({ name: 'sub-0anaja9y6h2n', age: LATE }),
    railway.addProject({ name: 'my-sub-0anaja9y6h2n9', age: LATE }));
});
after(() => world?.stop());
afterEach(() => {
  hidden.length = 0;
  railway.release('BUILDING');
});

/** Sweeps that have begun since. */
const sweeps = (from) => railway.requests.slice(from)
  .filter((r) => r.fields.includes('projects')).length;

/** Waits until the list of projects was read a few times more. */
async function swept(times = 3) {
  const from = railway.requests.length;
  await world.eventually('the projects were swept', () => sweeps(from) >= times,
    { within: 30_000 });
}

/**
 * A running subscription whose first projectCreate was answered by nobody and
 * shows in no list: {subscription, first, second}.
 */
async function madeTwice() {
  const subscription = await world.paid();
  hidden.push(subscription.id);
  const fault = railway.fault({ operation: 'projectCreate', kind: '504',
    when: 'after', match: world.about(subscription) });
  await world.notified(subscription);
  await world.eventually('the first one was made', () => fault.fired === 1);
  hidden.length = 0;
  await world.untilStatus(subscription, 'running', { within: 30_000 });
  const [first, second, ...more] = world.allProjectsOf(subscription);
  assert.deepEqual(more, []);
  assert.equal(first.hidden, true);
  return { subscription, first, second };
}

test('a creation that shows up after the second one: the surplus goes, what '
  + 'runs stays', async () => {
  const { subscription, first, second } = await madeTwice();
  assert.equal(world.projectsOf(subscription).length, 2);
  first.hidden = false;
  await world.eventually('the surplus is gone', () => (
    first.deletedAt ?? first.deletionScheduledAt), { within: 20_000 });
  await swept();
  assert.equal(world.assertOneInstance(subscription), second);
  assert.equal(railway.currentOf(second.id).status, 'SUCCESS');
  const { status, publicUrl } = await world.status(subscription);
  assert.equal(status, 'running');
  assert.ok(publicUrl);
  assert.deepEqual(await world.attentionOf(subscription), []);
  assert.match(await world.history(subscription), /surplus|orphan|projectDelete/i);
});

test('it shows up while the second one is being built', async () => {
  const subscription = await world.paid();
  hidden.push(subscription.id);
  const fault = railway.fault({ operation: 'projectCreate', kind: '504',
    when: 'after', match: world.about(subscription) });
  railway.hold('BUILDING', world.builds(subscription));
  await world.notified(subscription);
  await world.eventually('the first one was made', () => fault.fired === 1);
  hidden.length = 0;
  await world.untilProviderStatus(subscription, 'BUILDING');
  const [first] = world.allProjectsOf(subscription);
  first.hidden = false;
  await swept();
  railway.release('BUILDING');
  await world.untilStatus(subscription, 'running');
  await world.eventually('one is left', () => (
    world.projectsOf(subscription).length === 1), { within: 20_000 });
  world.assertOneInstance(subscription);
  const deployment = world.deploymentOf(subscription);
  assert.equal(deployment.status, 'SUCCESS');
  assert.ok((await world.status(subscription)).publicUrl
    .includes(deployment.url()), 'the address of the one that was removed');
});

test('the surplus whose deletion is lost is deleted all the same', async () => {
  const { subscription, first } = await madeTwice();
  for (const fault of [{ kind: 'opaque' }, { kind: 'ignored' },
    { kind: '504', when: 'after' }]) {
    railway.fault({ ...fault, operation: 'projectDelete',
      match: (variables) => JSON.stringify(variables).includes(first.id) });
  }
  first.hidden = false;
  await world.eventually('the surplus is gone', () => first.deletedAt,
    { within: 30_000 });
  world.assertOneInstance(subscription);
});

test('it shows up after the subscription was cancelled', async () => {
  const subscription = await world.paid();
  hidden.push(subscription.id);
  const fault = railway.fault({ operation: 'projectCreate', kind: '504',
    when: 'after', times: Infinity, match: world.about(subscription) });
  await world.notified(subscription);
  await world.eventually('one was made', () => fault.fired > 0);
  const answer = await subscription.user.delete('/api/deployment/cancel',
    { subscriptionId: subscription.id });
  assert.ok([200, 202].includes(answer.status), String(answer));
  await world.untilStatus(subscription, 'stopped', { within: 20_000 });
  fault.stop();
  const made = world.allProjectsOf(subscription);
  assert.ok(made.length > 0);
  for (const project of made) project.hidden = false;
  await world.eventually('it is gone', () => world.isGone(subscription),
    { within: 20_000 });
  assert.equal((await world.status(subscription)).status, 'stopped');
});

test('a project of our pattern that nobody knows is reported, not removed',
  async () => {
    const running = await world.running();
    const stranger = railway.addProject({ name: 'sub-0zzzzzzzzzzzz',
      description: 'Slipway subscription sub_0zzzzzzzzzzzz', service: 'gateway',
      age: LATE });
    const entry = await world.eventually('it is reported', async () => (
      (await world.attention()).find((a) => a.kind === 'orphan_project'
        && JSON.stringify(a).includes(stranger.name))), { within: 20_000 });
    assert.ok(entry.reason && entry.suggestedAction && entry.since);
    assert.ok(entry.reason.includes(stranger.id)
      || entry.suggestedAction.includes(stranger.id), 'which one it is');
    await world.eventually('counted for alerts', async () => {
      const counted = (await world.metrics()).sum('slipway_attention',
        { kind: 'orphan_project' });
      if (counted === 1) return true;
      throw new Error(`counted ${counted}`);
    }, { within: 30_000 });
    await swept();
    assert.equal(stranger.deletedAt, null, 'it was removed');
    assert.equal((await world.attention())
      .filter((a) => a.kind === 'orphan_project').length, 1, 'reported once');
    assert.equal((await world.status(running)).status, 'running');
    // Somebody looks after it.
    railway.deleteProjectByHand(stranger);
    await world.eventually('no attention any more', async () => (
      !(await world.attention()).some((a) => a.kind === 'orphan_project')),
    { within: 20_000 });
  });

test('a young one of our pattern is given the time to be known', async () => {
  const young = railway.addProject({ name: 'sub-0yyyyyyyyyyyy',
    description: 'Slipway subscription sub_0yyyyyyyyyyyy' });
  await swept();
  assert.equal(young.deletedAt, null);
  railway.deleteProjectByHand(young);
});

test("other people's projects are never touched, nor reported", async () => {
  await swept();
  for (const project of foreign) {
    assert.equal(project.deletedAt, null, project.name);
    assert.ok(!project.deletionScheduledAt, project.name);
  }
  const about = (project) => railway.requests.filter((r) => (
    r.type === 'mutation' && JSON.stringify(r.variables).includes(project.id)));
  for (const project of foreign) assert.deepEqual(about(project), []);
  const attention = JSON.stringify(await world.attention());
  for (const { name, id } of foreign) {
    assert.ok(!attention.includes(`"${name}"`) && !attention.includes(id), name);
  }
  assert.deepEqual(railway.complaints, []);
});

test('sweeping costs little', async () => {
  const from = railway.requests.length;
  const since = Date.now();
  await never('the list is read all the time', () => sweeps(from) > 12,
    { during: 4 * SWEEP });
  assert.ok(sweeps(from) >= 1, `none in ${Date.now() - since} ms`);
});

test('a workspace full of what nobody knows is gone through, and payments go on',
  async () => {
    const many = 1_200;
    for (let i = 0; i < many; ++i) {
      // Not so old that the list is read no further.
      railway.addProject({ name: `sub-0annqfztn${String(i).padStart(4, '0')}`,
        age: LATE - 1_800_000 });
    }
    const reported = async () => (await world.operator.get(
      '/api/ops/automation')).ok().pending.orphans;
    await world.eventually('the first are reported', async () =>
      await reported() > 0, { within: 30_000 });
    const subscription = await world.running();
    await world.eventually('all are reported', async () => {
      const count = await reported();
      if (count === many) return true;
      throw new Error(`${count} so far`);
    }, { within: 60_000 });
    await world.assertOnce(subscription);
  });

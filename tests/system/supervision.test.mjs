// Every actor is killed while subscriptions are on their way, and everything
// comes to its end all the same, in the same process.

import assert from 'node:assert/strict';
import { after, before, test } from './lib/suite.mjs';
import { assertWhole } from './lib/invariants.mjs';
import { Traffic } from './lib/traffic.mjs';
import { World } from './lib/world.mjs';

let world;

before(async () => {
  // A PROVIDER that follows another one waits until the calls of that one have
  // ended, before it makes again what had been announced.
  world = await World.start({ faults: true,
    config: { payment: { ask_interval: '2s' },
      railway: { request_timeout: '5s', visibility_lag: '1s' } } });
});
after(() => world?.stop());

const actors = (query = '') => world.operator.all(`/api/ops/actors${query}`);

const find = async (id) => (await actors()).find((a) => a.id === id);

const kill = (id) => world.operator.post(`/api/ops/actors/${id}/kill`);

/** Whom the GUARDIAN keeps alive. */
const children = (all) => all.filter((a) => a.kind !== 'group'
  && a.kind !== 'guardian' && a.kind !== 'supervisor').map((a) => a.id);

test('the tree shows every part and every supervisor once', async () => {
  const subscription = await world.running();
  const all = await actors();
  const ids = all.map((a) => a.id);
  assert.equal(new Set(ids).size, ids.length);
  for (const id of ['slipway', 'database', 'journal-0', 'store-0', 'registry',
    'dispatcher', 'railway', 'caller', 'watcher', 'provider', 'logbook',
    'janitor', 'reconciler', 'notifier', 'observer',
    `supervisor:${subscription.id}`]) {
    assert.ok(ids.includes(id), `${id} in ${ids}`);
  }
  for (const actor of all) {
    assert.ok(actor.parent === null ? actor.id === 'slipway'
      : ids.includes(actor.parent), `${actor.id} under ${actor.parent}`);
    assert.equal(actor.state, 'running', actor.id);
    assert.ok(actor.mailboxDepth >= 0);
  }
  // In pages of any size it is the same list.
  for (const limit of [1, 3, 7]) {
    assert.deepEqual((await world.operator.all('/api/ops/actors', { limit }))
      .map((a) => a.id), ids);
  }
  (await world.operator.get('/api/ops/actors?cursor=nobody')).fails(400,
    { error: 'invalid_cursor' });
  (await world.operator.get('/api/ops/actors?state=odd')).fails(400);
  (await world.user().get('/api/ops/actors')).fails(403);
  (await kill('nobody')).fails(404);
  (await kill('supervisor:nobody')).fails(404);
});

test('each actor is killed under traffic, and all of it ends well', async () => {
  const pid = world.server.pid;
  const known = [...(await actors())].filter((a) => a.kind === 'supervisor');
  const traffic = new Traffic(world, { seed: 7, people: 3 }).start();
  await world.eventually('traffic', () => traffic.acknowledged.length > 3);
  for (const id of children(await actors())) {
    const before = await find(id);
    (await kill(id)).success(202);
    const now = await world.eventually(`${id} is back`, async () => {
      const actor = await find(id);
      return actor.restarts === before.restarts + 1
        && actor.state === 'running' && actor;
    });
    assert.equal(now.lastFailure, 'killed');
    assert.ok(Date.parse(now.lastFailureAt) > 0);
  }
  for (const { id } of (await actors()).filter((a) => a.kind === 'supervisor')
    .slice(0, 5)) await kill(id);
  await traffic.stop();
  assert.deepEqual(traffic.wrong, []);
  // The subscription of the test before was paid as well.
  const stats = (await world.operator.get('/api/deployment-monitor/stats')).ok();
  const first = stats.total - traffic.paid.length;
  assert.equal(first, known.length);
  await world.eventually('all run', async () => {
    const counts = (await world.operator.get('/api/deployment-monitor/stats'))
      .ok();
    for (const subscription of traffic.paid) {
      const now = await world.status(subscription);
      if (now.status !== 'running') {
        throw new Error(`${JSON.stringify(now)}\n${
          await world.history(subscription)}`);
      }
    }
    return counts.running === counts.total && counts.active === 0;
  }, { within: 60_000 });
  for (const subscription of traffic.paid) world.assertOneInstance(subscription);
  assert.equal(world.server.pid, pid);
  assert.ok(world.server.running);
  const metrics = await world.metrics();
  for (const kind of ['journal', 'store', 'registry', 'dispatcher', 'provider',
    'watcher', 'caller', 'logbook', 'janitor', 'reconciler', 'notifier',
    'observer']) {
    assert.ok(metrics.sum('slipway_actor_restarts_total',
      { kind, reason: 'killed' }) >= 1, kind);
    assert.ok(metrics.sum('slipway_actors', { kind }) >= 1, `${kind} alive`);
  }
});

test('one that dies again and again takes its group along, not the server',
  async () => {
    const subscription = await world.running();
    const neighbour = await find('caller');
    for (let i = 0; i < 6; i += 1) {
      await world.eventually('it is there', async () => (
        (await find('watcher')).state === 'running'), { every: 20 });
      (await kill('watcher')).success(202);
      await world.eventually('it is not', async () => (
        (await find('watcher')).restarts > i || (await find('watcher')).state
          !== 'running'), { every: 20 });
    }
    await world.eventually('the whole group was started anew', async () => (
      (await find('railway')).restarts === 1
        && (await find('caller')).restarts > neighbour.restarts
        && (await find('watcher')).state === 'running'));
    assert.ok(world.server.running);
    await world.untilStatus(subscription, 'running');
    await world.running();
  });

test('a supervisor is restarted by an operator, with a reason in the history',
  async () => {
    const subscription = await world.running();
    const id = `supervisor:${subscription.id}`;
    const restart = (body) => world.operator.post(`/api/ops/actors/${id}/restart`,
      body);
    (await restart({})).fails(400);
    (await restart({ reason: 'it looked odd' })).success(202);
    await world.eventually('the act is in the history', async () => (
      (await world.history(subscription)).includes('it looked odd')));
    await world.untilStatus(subscription, 'running');
    (await world.operator.post('/api/ops/actors/registry/restart',
      { reason: 'x' })).fails(404);
  });

test('the ordinary server kills nobody', async () => {
  const ordinary = await World.start({ railway: false, mail: false });
  try {
    (await ordinary.operator.post('/api/ops/actors/registry/kill')).fails(404);
    const all = await ordinary.operator.all('/api/ops/actors');
    // Parts that are switched off are not there.
    assert.ok(!all.some((a) => ['provider', 'caller', 'notifier']
      .includes(a.kind)));
  } finally {
    await ordinary.stop();
  }
});

// Two servers on one database: by mistake, after a death, and on a change of
// shifts. Who owns a subscription works on it, and nobody else.

import assert from 'node:assert/strict';
import { after, before, test } from './lib/suite.mjs';
import { assertKept, assertWhole } from './lib/invariants.mjs';
import { LEASE, pairOf } from './lib/pair.mjs';
import { Traffic } from './lib/traffic.mjs';
import { never } from './lib/wait.mjs';
import { World } from './lib/world.mjs';

let world;
before(async () => {
  world = await World.start({ proxies: ['railway', 'postgres'], config: {
    railway: { visibility_lag: '1s' },
    deployment: { max_concurrent: 20, attempts: 10 },
  } });
});
after(() => world?.stop());
const { paid, second, at, notifyAt, pay, underWay, untilOwned, untilRunning }
  = pairOf(() => world);

test('a second one by mistake: takes over nothing, and both stay up', async () => {
  const [busy] = await underWay(1);
  const fresh = await pay();
  const ordered = await world.subscribe();
  const calls = world.railway.requests.length;
  const other = await second();

  // Reading needs no owner.
  assert.equal((await at(other, busy.user)
    .get(`/api/deployment/status/${busy.id}`)).ok().status, 'deploying');
  // What would change it is refused in words, and at once.
  for (const [method, path, body] of [
    ['POST', '/api/payment/create', { subscriptionId: ordered.id,
      gateway: 'ALIPAY', method: 'page' }],
    ['DELETE', '/api/deployment/cancel', { subscriptionId: busy.id }],
  ]) {
    const owner = path.includes('payment') ? ordered.user : busy.user;
    const answer = await at(other, owner).send(method, path, { body });
    answer.fails(503, { error: 'owned_elsewhere' });
    assert.ok(Number(answer.headers['retry-after']) >= 1, 'Retry-After');
  }
  // A gateway is not told that all is well.
  const answer = await notifyAt(other, fresh);
  assert.equal(`${answer.status} ${answer.text}`, '500 error');
  assert.equal((await world.subscription(fresh)).status, 'PENDING');

  await never('the second one calls the provider about our deployments', () => (
    world.railway.requests.slice(calls).some((r) => r.type === 'mutation')),
  { during: LEASE + 1_000, every: 200 });
  assert.match(other.server.log, /took over 0 subscriptions/);
  assert.equal(await other.admin('/readyz'), 200);
  assert.equal(await world.admin('/readyz'), 200);

  // Who begins at the second one is served there.
  const own = await at(other, world.user()).post('/api/subscriptions',
    { planType: 'PRO' });
  own.ok(201);

  world.railway.release('BUILDING');
  await world.notified(fresh);
  await assertWhole(world, paid);
  // Told to stop, it leaves nothing that the first would have to wait for.
  assert.deepEqual(await other.server.terminate(), { code: 0, signal: null });
});

test('kill -9 of one of two: the other has taken over within five seconds',
  async () => {
    const some = await underWay(3);
    const late = await pay();
    const other = await second();
    const since = Date.now();
    await world.server.kill();
    const took = await untilOwned(other, late, since, LEASE);
    assert.ok(took <= LEASE, `${took} ms`);
    world.railway.release('BUILDING');
    await untilRunning(other, some);
    await world.server.start();
    assert.deepEqual(await other.server.terminate(), { code: 0, signal: null });
    await assertWhole(world, paid);
  });

test('SIGTERM under load: who asked is answered, nothing acknowledged is lost, '
  + 'and the successor owns everything at once', async () => {
  const some = await underWay(3);
  const late = await pay();
  const other = await second();
  const traffic = new Traffic(world, { seed: 6, people: 3, pause: 50 }).start();
  await world.eventually('there is traffic', () => (
    traffic.acknowledged.length >= 5), { within: 30_000 });
  // In flight: the server has read them and waits for PostgreSQL.
  const asked = await Promise.all([1, 2, 3].map(pay));
  world.postgres.pause();
  const told = asked.map((s) => world.alipay.notify(s.trade, {},
    { timeout: 60_000 }));
  const reads = asked.map((s) => s.user.get('/api/subscriptions',
    { timeout: 60_000 }));
  // A request that came later has been read: so have those before.
  (await world.anonymous.get('/api/plans')).ok();
  const end = world.server.terminate();
  await world.eventually('it is stopping', () => (
    /signal 15, stopping/.test(world.server.log)));
  world.postgres.resume();
  for (const answer of await Promise.all(told)) {
    assert.equal(`${answer.status} ${answer.text}`, '200 success');
  }
  for (const read of await Promise.all(reads)) read.list();
  assert.deepEqual(await end, { code: 0, signal: null });
  const since = Date.now();
  const took = await untilOwned(other, late, since, LEASE);
  assert.ok(took < LEASE / 2, `${took} ms, as if it had waited for the lease`);

  world.railway.release('BUILDING');
  await world.server.start();
  assert.deepEqual(await other.server.terminate(), { code: 0, signal: null });
  await traffic.stop();
  traffic.assertSane();
  paid.push(...traffic.paid);
  await assertWhole(world, paid);
  await assertKept(world, traffic.acknowledged);
});

test('a second SIGTERM ends it at once, and nothing is lost', async () => {
  const [busy] = await underWay(1);
  const asked = await pay();
  world.postgres.pause();
  const told = world.alipay.notify(asked.trade, {}, { timeout: 60_000 })
    .catch((error) => error);
  (await world.anonymous.get('/api/plans')).ok();
  world.server.signal('SIGTERM');
  await world.eventually('it is stopping', () => (
    /signal 15, stopping[^]*$/.test(world.server.tail(5))));
  const since = Date.now();
  world.server.signal('SIGTERM');
  await world.server.exited;
  assert.ok(Date.now() - since < 2_000, `${Date.now() - since} ms`);
  assert.notEqual((await told).status, 200);
  world.postgres.resume();
  await world.server.start();
  world.railway.release('BUILDING');
  await world.eventually('acknowledged', async () => (
    (await world.alipay.notify(asked.trade)).text === 'success'));
  await assertWhole(world, paid);
});

// Two servers on one database: by mistake, after a death, after a pause, and on
// a change of shifts. Who owns a subscription works on it, and nobody else.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from './lib/suite.mjs';
import { Api } from './lib/client.mjs';
import { assertKept, assertWhole } from './lib/invariants.mjs';
import { Proxy } from './lib/proxy.mjs';
import { Traffic } from './lib/traffic.mjs';
import { never } from './lib/wait.mjs';
import { World } from './lib/world.mjs';

/** `database.lease`, which is five seconds by default. */
const LEASE = 5_000;

/** What a busy machine may add to it. */
const SLACK = 1_500;

let world;
/** Everything that is paid in this world. */
const paid = [];
before(async () => {
  world = await World.start({ proxies: ['railway', 'postgres'], config: {
    railway: { visibility_lag: '1s' },
    deployment: { max_concurrent: 20, attempts: 10 },
  } });
});
afterEach(async () => {
  // Whatever a test has left behind, the next one begins with one server.
  world.postgres.resume();
  world.railway.release('BUILDING');
  if (world.server.running) world.server.resume();
  else await world.server.start();
  for (const { server, wire } of world.others.splice(0)) {
    await server.kill();
    await wire?.stop();
  }
});
after(() => world?.stop());

/** One more server, with lines of its own to the provider and PostgreSQL. */
async function second(options) {
  const wire = await Proxy.start(world.railway.port);
  const other = await world.another({ ...options,
    config: { railway: { endpoint: wire.instead(world.railway.url) },
      database: { url: world.postgres.url } } });
  other.wire = wire;
  await other.server.start();
  return other;
}

/** The same person at another server. */
const at = (other, user) => new Api(other.url, user.token);

/** The gateway's notification, sent to that server. */
const notifyAt = (other, { trade }, options) => world.alipay.post(
  trade.notifyUrl.replace(world.url, other.url),
  world.alipay.sign(world.alipay.notification(trade)), options);

/** Paid at the gateway, which has told nobody yet. */
async function pay() {
  const subscription = await world.paid();
  paid.push(subscription);
  return subscription;
}

/** Deployments that are under way in the first server. */
async function underWay(count) {
  world.railway.hold('BUILDING');
  const some = [];
  for (let i = 0; i < count; i += 1) {
    some.push(await world.notified(await pay()));
  }
  for (const one of some) await world.untilStatus(one, 'deploying');
  return some;
}

/** Waits until `other` works on it, which only its owner does; ms since. */
async function untilOwned(other, subscription, since, within) {
  await world.eventually('the other has taken over', async () => (
    (await notifyAt(other, subscription)).status === 200),
  { within, every: 100 });
  return Date.now() - since;
}

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
    for (const one of some) {
      await world.eventually(`${one.id} runs`, async () => (
        (await at(other, one.user).get(`/api/deployment/status/${one.id}`)).ok()
          .status === 'running'), { within: 30_000 });
    }
    await world.server.start();
    assert.deepEqual(await other.server.terminate(), { code: 0, signal: null });
    await assertWhole(world, paid);
  });

test('paused for longer than its lease: the other takes over; awake again, it '
  + 'does nothing any more, says why, and ends with 3', async () => {
  const some = await underWay(3);
  const late = await pay();
  const later = await pay();
  const other = await second();
  const { server } = world;
  const logged = server.log.length;
  const since = Date.now();
  server.pause();
  // The gateway has sent it something that nobody has read yet.
  const unread = world.alipay.notify(later.trade, {}, { timeout: 60_000 })
    .catch((error) => error);
  const took = await untilOwned(other, late, since, LEASE + SLACK);
  assert.ok(took <= LEASE + SLACK, `${took} ms`);
  await untilOwned(other, later, since, LEASE + SLACK);
  // Provider calls that it had under way have been answered meanwhile.
  const called = world.proxies.railway.recorded = [];
  const { written } = world.proxies.postgres;

  server.resume();
  await world.eventually('it ends by itself', () => !server.running,
    { within: 15_000 });
  assert.deepEqual(await server.exited, { code: 3, signal: null },
    server.tail());
  assert.match(server.log.slice(logged), /lease.*lost|lost.*lease/i);
  assert.equal(world.proxies.postgres.written, written,
    `it has written:\n${server.log.slice(logged)}`);
  assert.ok(!called.join('').includes('"mutation'),
    `it has changed something at the provider:\n${called.join('')}`);
  // What was lying there is acknowledged by nobody who does not own it, unless
  // it is settled already.
  const answer = await unread;
  if (answer.status === 200) {
    assert.equal((await at(other, later.user)
      .get(`/api/payment/${later.order.orderId}`)).ok().status, 'PAID');
  }

  world.railway.release('BUILDING');
  for (const one of some) {
    await world.eventually(`${one.id} runs`, async () => (
      (await at(other, one.user).get(`/api/deployment/status/${one.id}`)).ok()
        .status === 'running'), { within: 30_000 });
  }
  assert.deepEqual(await other.server.terminate(), { code: 0, signal: null });
  await server.start();
  await assertWhole(world, paid);
});

test('paused while a creation waits for its turn at the provider: the other one '
  + 'makes it, and nobody makes it twice', async () => {
  const own = await World.start({ proxies: ['railway'], config: {
    // The second creation waits so long behind the first.
    railway: { create_interval: '4s', visibility_lag: '1s' },
  } });
  try {
    const wire = await Proxy.start(own.railway.port);
    const other = await own.another({ config: {
      railway: { endpoint: wire.instead(own.railway.url) } } });
    other.wire = wire;
    await other.server.start();
    const some = [];
    for (let i = 0; i < 2; i += 1) some.push(await own.activated());
    await own.eventually('one is made, the other waits', async () => (
      own.railway.projects.size === 1
      && (await own.status(some[1])).status === 'creating'));
    own.server.pause();
    const called = own.proxies.railway.recorded = [];
    await own.eventually('the other has made the second', () => (
      own.railway.projects.size === 2), { within: 4 * LEASE });
    own.server.resume();
    await own.eventually('it ends by itself', () => !own.server.running,
      { within: 15_000 });
    assert.ok(!called.join('').includes('"mutation'), called.join(''));
    await own.server.start();
    assert.deepEqual(await other.server.terminate(),
      { code: 0, signal: null });
    await assertWhole(own, some);
    assert.equal(own.railway.projects.size, 2, 'ever made');
    await wire.stop();
  } finally {
    await own.stop();
  }
});

test('`database.lease` says how long a paused one is waited for', async () => {
  const own = await World.start({ config: { database: { lease: '2s' } } });
  try {
    const some = await own.paid();
    const other = await own.another();
    await other.server.start();
    const since = Date.now();
    own.server.pause();
    await own.eventually('the other has taken over', async () => (
      (await own.alipay.post(some.trade.notifyUrl.replace(own.url, other.url),
        own.alipay.sign(own.alipay.notification(some.trade)))).status === 200),
    { within: 2_000 + SLACK, every: 100 });
    assert.ok(Date.now() - since <= 2_000 + SLACK, `${Date.now() - since} ms`);
    own.server.resume();
    await own.eventually('it ends by itself', () => !own.server.running,
      { within: 15_000 });
    assert.deepEqual(await other.server.terminate(), { code: 0, signal: null });
    await own.server.start();
    await assertWhole(own, [some]);
  } finally {
    await own.stop();
  }
});

test('paused for less than its lease: nobody notices', async () => {
  const some = await underWay(2);
  const other = await second();
  const logged = other.server.log.length;
  world.server.pause();
  await never('the other takes over', () => (
    /took over [1-9]/.test(other.server.log.slice(logged))),
  { during: LEASE * 0.4, every: 200 });
  world.server.resume();
  world.railway.release('BUILDING');
  await assertWhole(world, paid);
  assert.equal(world.server.running, true);
  assert.deepEqual(await other.server.terminate(), { code: 0, signal: null });
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

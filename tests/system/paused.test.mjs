// A server that stands still while another one on the same database goes on:
// its work is taken over, and when it wakes it does nothing any more.

import assert from 'node:assert/strict';
import { after, before, test } from './lib/suite.mjs';
import { assertWhole } from './lib/invariants.mjs';
import { LEASE, SLACK, pairOf } from './lib/pair.mjs';
import { Proxy } from './lib/proxy.mjs';
import { Traffic } from './lib/traffic.mjs';
import { never } from './lib/wait.mjs';
import { World } from './lib/world.mjs';

let world;
before(async () => {
  world = await World.start({ proxies: ['railway', 'postgres'], config: {
    // What a paused one had announced may be called for as long as that.
    railway: { visibility_lag: '1s', request_timeout: '5s' },
    deployment: { max_concurrent: 20, attempts: 10 },
  } });
});
after(() => world?.stop());
const { paid, second, at, pay, underWay, untilOwned, untilRunning }
  = pairOf(() => world);

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
  await untilRunning(other, some);
  assert.deepEqual(await other.server.terminate(), { code: 0, signal: null });
  await server.start();
  await assertWhole(world, paid);
});

test('paused while calls wait for their turn at the provider: the other one '
  + 'makes them, and nobody makes anything twice', async () => {
  const own = await World.start({ proxies: ['railway'], config: {
    // Announced calls wait here for as long as a pause takes.
    railway: { create_interval: '0s', requests_per_second: 1,
      visibility_lag: '1s', request_timeout: '5s' },
    deployment: { max_concurrent: 10, attempts: 10 },
  } });
  const wire = await Proxy.start(own.railway.port);
  try {
    const other = await own.another({ config: {
      railway: { endpoint: wire.instead(own.railway.url),
        requests_per_second: 1_000 } } });
    await other.server.start();
    const some = [];
    for (let i = 0; i < 6; i += 1) some.push(await own.activated());
    await own.eventually('some are made, others wait', () => (
      own.railway.projects.size >= 2), { within: 30_000 });
    own.server.pause();
    const called = own.proxies.railway.recorded = [];
    await own.eventually('the other has made them all', async () => (
      own.railway.projects.size >= some.length), { within: 8 * LEASE });
    own.server.resume();
    await own.eventually('it ends by itself', () => !own.server.running,
      { within: 15_000 });
    assert.ok(!called.join('').includes('"mutation'),
      `it has changed something at the provider:\n${called.join('')}`);
    await own.server.start();
    assert.deepEqual(await other.server.terminate(),
      { code: 0, signal: null });
    await assertWhole(own, some);
    assert.equal(own.railway.projects.size, some.length, 'ever made');
  } finally {
    await wire.stop();
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

test('cut off from PostgreSQL for longer than its lease: the other takes over; '
  + 'reconnected, it ends with 3', async () => {
  const some = await underWay(3);
  const late = await pay();
  const other = await second();
  const { server, proxies } = world;
  const since = Date.now();
  await proxies.postgres.set('refuse');
  await untilOwned(other, late, since, LEASE + SLACK);
  const called = proxies.railway.recorded = [];
  world.railway.release('BUILDING');
  await untilRunning(other, some);
  // It acknowledges nothing, says that it is not ready, and stays alive as long
  // as it cannot know better.
  if (server.running) {
    const answer = await world.alipay.notify(late.trade, {}, { timeout: 40_000 });
    assert.notEqual(answer.status, 200);
    assert.equal(await world.admin('/readyz'), 503);
  }
  const { written } = proxies.postgres;
  await proxies.postgres.set('open');
  await world.eventually('it ends by itself', () => !server.running,
    { within: 15_000 });
  assert.equal((await server.exited).code, 3, server.tail());
  assert.equal(proxies.postgres.written, written, 'it has written');
  assert.ok(!called.join('').includes('"mutation'),
    `it has changed something at the provider:\n${called.join('')}`);
  await server.start();
  assert.deepEqual(await other.server.terminate(), { code: 0, signal: null });
  await assertWhole(world, paid);
});

test('its connections break for a moment beside a second one: whoever goes on, '
  + 'nothing is lost or doubled', async () => {
  const other = await second();
  const traffic = new Traffic(world, { seed: 8, people: 2, pause: 100 }).start();
  for (let i = 1; i <= 3; i += 1) {
    await world.eventually('there is traffic', () => (
      traffic.acknowledged.length >= 3 * i), { within: 30_000 });
    world.proxies.postgres.cutAll();
    // It may have lost its lease by that; it says so then, and is started again.
    await world.eventually('the first is ready', async () => {
      if (!world.server.running) {
        assert.equal((await world.server.exited).code, 3);
        await world.server.start();
      }
      return await world.admin('/readyz') === 200;
    });
    assert.equal(other.server.running, true);
  }
  assert.deepEqual(await other.server.terminate(), { code: 0, signal: null });
  await traffic.stop();
  if (!world.server.running) await world.server.start();
  traffic.assertSane();
  paid.push(...traffic.paid);
  await assertWhole(world, paid);
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

// PostgreSQL hangs, restarts, runs out of disk, and its connections break in
// the middle of a commit: what was not acknowledged comes again, and everything
// that was paid is there once.

import assert from 'node:assert/strict';
import { after, before, test } from './lib/suite.mjs';
import { INSTANT } from './imposters/railway.mjs';
import { assertKept, assertWhole } from './lib/invariants.mjs';
import { cannotMount } from './lib/postgres.mjs';
import { Traffic } from './lib/traffic.mjs';
import { never } from './lib/wait.mjs';
import { World } from './lib/world.mjs';

const CONFIG = {
  // Longer than any of the faults: without its lease a server sends no mail.
  database: { statement_timeout: '2s', connect_timeout: '2s', lease: '2m' },
  deployment: { attempts: 10, max_concurrent: 8 },
  railway: { visibility_lag: '1s', requests_per_second: 1_000 },
  payment: { ask_interval: '10m' },
};

/** Long enough for a statement's time-out and the patience beyond it. */
const PATIENCE = 40_000;

let world;
/** Everything that is paid in this world. */
const paid = [];
before(async () => {
  world = await World.start({ proxies: ['postgres'],
    railway: { times: INSTANT }, config: CONFIG });
});
after(() => world?.stop());

const words = (answer) => `${answer.status} ${answer.text}`;

const timed = async (go) => {
  const since = Date.now();
  const answer = await go();
  return Object.assign(answer, { took: Date.now() - since });
};

/** The gateway repeats it until it is acknowledged. */
const repeated = (subscription, at = world) => at.eventually(
  `${subscription.order.orderId} is acknowledged`, async () => (
    words(await at.alipay.notify(subscription.trade, {},
      { timeout: PATIENCE })) === '200 success'),
  { within: PATIENCE, every: 200 });

for (const when of ['before', 'during', 'after']) {
  test(`the connection breaks ${when} the commit of a payment: never a success`
    + ' without the payment, and the repeated callback settles it', async () => {
    const subscription = await world.paid();
    const params = world.alipay.sign(world.alipay.notification(
      subscription.trade));
    const cut = world.proxies.postgres.cut(when);
    const answer = await world.alipay.post(subscription.trade.notifyUrl, params,
      { timeout: PATIENCE });
    assert.equal(cut.fired, 1);
    assert.equal(words(answer), '500 error');
    await repeated(subscription);
    paid.push(subscription);
    await assertWhole(world, paid);
  });

  test(`the connection breaks ${when} the commit of an order: the same `
    + 'Idempotency-Key finds the same order', async () => {
    const subscription = await world.subscribe();
    const cut = world.proxies.postgres.cut(when);
    const key = `key-${subscription.id}`;
    (await world.create(subscription, { key })).fails(503);
    assert.equal(cut.fired, 1);
    const order = await world.eventually('the order', async () => {
      const again = await world.create(subscription, { key });
      return again.status === 201 && again.ok(201);
    });
    const twice = (await world.create(subscription, { key })).ok(201);
    assert.equal(twice.orderId, order.orderId);
    assert.match(order.orderId, /001$/, 'its first order');
    world.opened(subscription, order);
    world.alipay.pay(subscription.trade);
    await repeated(subscription);
    paid.push(subscription);
  });

  test(`connections break ${when} every third commit under traffic`, async () => {
    const traffic = new Traffic(world, { seed: 3, people: 2, limit: 5,
      pause: 50 });
    let commits = 0;
    // The name of each statement of a commit is looked at once.
    const cut = world.proxies.postgres.cut(when, { times: Infinity,
      statement: { test: (name) => name.startsWith('journal_')
        && (commits += 1) % 3 === 0 } });
    try {
      traffic.start();
      await world.eventually('enough of it', () => cut.fired >= 8,
        { within: PATIENCE });
    } finally {
      cut.stop();
      await traffic.stop();
    }
    traffic.assertSane();
    paid.push(...traffic.paid);
    await assertWhole(world, paid);
    await assertKept(world, traffic.acknowledged);
  });
}

test('restarted under traffic', async () => {
  const traffic = new Traffic(world, { seed: 4, people: 2, pause: 100 }).start();
  for (let i = 1; i <= 2; i += 1) {
    await world.eventually('some are paid', () => traffic.acknowledged.length
      >= 3 * i, { within: PATIENCE });
    await world.postgres.stop('fast');
    await world.postgres.start();
  }
  await traffic.stop();
  traffic.assertSane();
  paid.push(...traffic.paid);
  await assertWhole(world, paid);
  await assertKept(world, traffic.acknowledged);
});

test('killed together with the server in the middle of callbacks', async () => {
  const some = await Promise.all([1, 2, 3, 4].map(() => world.paid()));
  const told = some.map((s) => world.alipay.notify(s.trade).catch(() => {}));
  await Promise.all([world.server.kill(), world.postgres.kill()]);
  const acknowledged = (await Promise.all(told)).map((a) => a?.status === 200);
  await world.postgres.start();
  await world.server.start();
  for (const [i, subscription] of some.entries()) {
    if (acknowledged[i]) {
      assert.equal((await world.payment(subscription)).status, 'PAID');
    } else {
      await repeated(subscription);
    }
  }
  paid.push(...some);
  await assertWhole(world, paid);
});

test('it hangs: answered in bounded time, nothing acknowledged; it comes back '
  + 'and everything goes on', async () => {
  world.railway.hold('BUILDING');
  const under_way = await world.activated();
  await world.untilStatus(under_way, 'deploying');
  const subscription = await world.paid();
  world.postgres.pause();
  try {
    const health = await timed(() => world.anonymous.get('/api/plans'));
    assert.ok(health.took < 2_000, `${health.took} ms for what needs nothing`);
    const answers = await Promise.all([1, 2, 3].map(() => timed(() => (
      world.alipay.notify(subscription.trade, {}, { timeout: PATIENCE })))));
    for (const answer of answers) {
      assert.ok(answer.status >= 500, `acknowledged: ${words(answer)}`);
      // Statement, patience, and once more for whoever waits behind it.
      assert.ok(answer.took < 15_000, `${answer.took} ms`);
    }
    for (const path of ['/healthz', '/metrics']) {
      const { took, status } = await timed(async () => ({
        status: await world.admin(path) }));
      assert.equal(status, 200, path);
      assert.ok(took < 2_000, `${path}: ${took} ms`);
    }
    await world.eventually('not ready', async () => (
      await world.admin('/readyz') === 503), { within: PATIENCE });
    (await world.operator.get('/api/subscriptions', { timeout: PATIENCE }))
      .fails(503);
    const forged = await world.alipay.post(subscription.trade.notifyUrl,
      world.alipay.sign(world.alipay.notification(subscription.trade),
        world.alipay.stranger.privateKey), { timeout: PATIENCE });
    assert.equal(forged.status, 400);
    assert.equal(world.server.running, true);
  } finally {
    world.postgres.resume();
    world.railway.release('BUILDING');
  }
  await repeated(subscription);
  paid.push(under_way, subscription);
  await assertWhole(world, paid);
});

test('it reads and does not write, as after a failover: refused in words, no '
  + 'mail goes out twice, and it goes on', async () => {
  // A mail that is owed when it happens.
  world.smtp.mode = '421';
  const owed = await world.running();
  paid.push(owed);
  await world.eventually('the mail was tried', () => world.smtp.attempts > 0);
  const subscription = await world.paid();
  paid.push(subscription);
  const { publicUrl } = await world.status(owed);
  world.postgres.query('ALTER SYSTEM SET default_transaction_read_only = on');
  world.postgres.query('SELECT pg_reload_conf()');
  try {
    await world.eventually('callbacks are refused', async () => (
      words(await world.alipay.notify(subscription.trade)) === '500 error'));
    (await subscription.user.post('/api/subscriptions', { planType: 'PRO' }))
      .fails(503, { error: 'database_unavailable' });
    assert.equal((await world.status(owed)).status, 'running');
    world.smtp.mode = 'ok';
    await world.eventually('the mail goes out', () => (
      world.successMails(owed, publicUrl).length > 0), { within: 30_000 });
    await never('it goes out again', () => (
      world.successMails(owed, publicUrl).length > 1), { during: 6_000 });
  } finally {
    world.smtp.mode = 'ok';
    world.postgres.query('ALTER SYSTEM RESET default_transaction_read_only');
    world.postgres.query('SELECT pg_reload_conf()');
  }
  await repeated(subscription);
  await assertWhole(world, paid);
  assert.match(await world.history(owed), /mail.* sent/i);
});

test('its disk is full: 500 to the gateway, a reason in the log, nothing '
  + 'acknowledged that is not kept; once there is room all of it is done',
{ skip: cannotMount() }, async () => {
  const own = await World.start({
    railway: { times: INSTANT }, config: CONFIG,
    postgres: { megabytes: 160, settings: { min_wal_size: '32MB',
      max_wal_size: '32MB', wal_recycle: 'off', wal_init_zero: 'on' } },
  });
  try {
    const first = await own.activated();
    await own.untilStatus(first, 'running');
    const traffic = new Traffic(own, { seed: 5, people: 3, pause: 50 }).start();
    await own.eventually('some are paid', () => traffic.acknowledged.length >= 3,
      { within: PATIENCE });

    own.postgres.fillDisk();
    await own.eventually('callbacks are refused', () => (
      traffic.answers.get('callback 500') >= 3), { within: PATIENCE });
    await own.eventually('the log says why', () => (
      /No space left on device|53100/.test(own.server.log)));
    assert.equal(await own.admin('/healthz'), 200);
    own.postgres.freeDisk();
    // Nobody restarts anything: what was refused is written now.
    const before_ = traffic.acknowledged.length;
    await own.eventually('callbacks are acknowledged again', () => (
      traffic.acknowledged.length >= before_ + 3), { within: PATIENCE });

    // When the write-ahead log has no room, PostgreSQL itself gives up.
    own.postgres.fillDisk();
    await own.eventually('PostgreSQL has given up', () => {
      try {
        own.postgres.query('SELECT pg_switch_wal()');
      } catch {
        // It is what this is for.
      }
      return /PANIC/.test(own.postgres.log);
    }, { within: PATIENCE });
    await own.eventually('not ready', async () => (
      await own.admin('/readyz') === 503), { within: PATIENCE });
    assert.equal(await own.admin('/healthz'), 200);
    own.postgres.freeDisk();
    await own.postgres.stop('immediate');
    await own.postgres.start();
    await traffic.stop();
    traffic.assertSane();
    await assertWhole(own, [first, ...traffic.paid]);
    await assertKept(own, traffic.acknowledged);
  } finally {
    await own.stop();
  }
});

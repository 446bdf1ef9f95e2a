// The provider, the mail server and the payment gateways are gone, slow, silent,
// break off in the middle or talk nonsense, on the wire: everything else goes
// on meanwhile, and once they are back all that waited is done, once.

import assert from 'node:assert/strict';
import { after, before, test } from './lib/suite.mjs';
import { INSTANT } from './imposters/railway.mjs';
import { assertWhole } from './lib/invariants.mjs';
import { DAMAGES } from './lib/proxy.mjs';
import { World } from './lib/world.mjs';

let world;
let till;
/** Everything that is paid in `world`. */
const paid = [];
before(async () => {
  [world, till] = await Promise.all([
    World.start({ wechat: true, proxies: ['railway', 'smtp'],
      railway: { times: INSTANT },
      config: {
        deployment: { attempts: 20, max_concurrent: 8 },
        railway: { request_timeout: '2s', visibility_lag: '1s',
          requests_per_second: 1_000, requests_per_hour: 1_000_000 },
        mail: { timeout: '2s' },
      } }),
    // About the money: nothing is deployed.
    World.start({ wechat: true, railway: false, mail: false,
      proxies: ['alipay', 'wechat'],
      config: { payment: { ask_interval: '1s' } } }),
  ]);
});
after(async () => { await world?.stop(); await till?.stop(); });

/** Metrics, health and what needs nobody else, at once. */
async function assertAlive(of) {
  for (const path of ['/healthz', '/readyz', '/metrics']) {
    const since = Date.now();
    assert.equal(await of.admin(path), 200, path);
    assert.ok(Date.now() - since < 2_000, `${path}: ${Date.now() - since} ms`);
  }
  assert.equal((await of.anonymous.get('/api/plans')).ok().length, 3);
}

/** How often calls have not ended well so far. */
const failures = async (of, family) => {
  const metrics = await of.metrics();
  return metrics.sum(family) - metrics.sum(family, { outcome: 'ok' })
    - metrics.sum(family, { outcome: 'sent' });
};

for (const damage of DAMAGES) {
  test(`the provider: ${damage}`, async () => {
    const wire = world.proxies.railway;
    const family = 'slipway_provider_requests_total';
    const failed = await failures(world, family);
    await wire.set(damage);
    const some = [];
    try {
      for (const gateway of ['ALIPAY', 'WECHAT', 'ALIPAY']) {
        some.push(await world.activated(undefined, { gateway }));
      }
      if (damage === 'slow') {
        await world.eventually('calls are slow', () => wire.damaged >= 5);
      } else {
        await world.eventually('calls fail', async () => (
          await failures(world, family) >= failed + 3), { within: 30_000 });
      }
      await assertAlive(world);
      // People see their payment, and that it is being worked on.
      for (const subscription of some) {
        assert.equal((await world.payment(subscription)).status, 'PAID');
        assert.notEqual((await world.status(subscription)).status, 'failed');
      }
    } finally {
      await wire.set('open');
    }
    paid.push(...some);
    await assertWhole(world, paid);
  });

  test(`the mail server: ${damage}`, async () => {
    const wire = world.proxies.smtp;
    wire.delay = 100;
    const failed = await failures(world, 'slipway_notifications_total');
    await wire.set(damage);
    const subscription = await world.paid();
    try {
      await world.notified(subscription);
      // It runs, whether anybody can be told by mail or not.
      await world.untilStatus(subscription, 'running');
      if (damage === 'slow') {
        await world.eventually('it is slow', () => wire.damaged >= 3);
      } else {
        await world.eventually('a mail fails', async () => (
          await failures(world, 'slipway_notifications_total') > failed),
        { within: 30_000 });
        assert.equal(world.smtp.to(subscription.user.email).length, 0);
      }
      await assertAlive(world);
    } finally {
      await wire.set('open');
    }
    paid.push(subscription);
    await assertWhole(world, paid);
  });
}

test('all of them at once', async () => {
  const { railway, smtp } = world.proxies;
  await railway.set('refuse');
  await smtp.set('refuse');
  const some = [];
  try {
    for (let i = 0; i < 3; i += 1) some.push(await world.activated());
    await assertAlive(world);
  } finally {
    await railway.set('open');
    await smtp.set('open');
  }
  paid.push(...some);
  await assertWhole(world, paid);
});

// -- the gateways -------------------------------------------------------------

const KINDS = [{ gateway: 'ALIPAY', method: 'qr' },
  { gateway: 'WECHAT', method: 'native' }];

for (const damage of DAMAGES) {
  test(`the payment gateways: ${damage}`, { timeout: 120_000 }, async () => {
    const wires = [till.proxies.alipay, till.proxies.wechat];
    const [unpaid, lost, told, back] = await Promise.all([0, 1, 2, 3].map(() => (
      Promise.all(KINDS.map((kind) => till.subscribe().then((s) => (
        till.order(s, kind))))))));
    for (const subscription of back) {
      subscription.gateway.pay(subscription.trade);
      await till.notified(subscription);
    }
    for (const wire of wires) await wire.set(damage);
    try {
      // Their callbacks do not need them.
      for (const subscription of told) {
        subscription.gateway.pay(subscription.trade);
        await till.notified(subscription);
        assert.equal((await till.payment(subscription)).status, 'PAID');
      }
      // Nor does a page that the payer's browser opens by itself.
      const page = await till.order(await till.subscribe(), { method: 'page' });
      assert.ok(page.trade);
      for (const { trade, gateway } of lost) gateway.pay(trade);
      for (const subscription of back) {
        const answer = await till.act(subscription, 'refund');
        answer.success(answer.status === 202 ? 202 : 200);
      }
      // Whoever needs them is told so, within the time of one call.
      await Promise.all(KINDS.map(async (kind) => {
        const since = Date.now();
        const answer = await till.create(await till.subscribe(), kind);
        if (damage === 'slow') answer.ok(201);
        else answer.fails([502, 503]);
        assert.ok(Date.now() - since < 15_000, `${Date.now() - since} ms`);
      }));
      await assertAlive(till);
    } finally {
      for (const wire of wires) await wire.set('open');
    }

    // What nobody told is found, what waits for payment is payable still, and
    // the money goes back once.
    await Promise.all(lost.map((s) => till.untilSubscription(s, 'ACTIVE',
      { within: 60_000 })));
    await Promise.all(unpaid.map(async (s) => {
      assert.equal((await till.payment(s)).status, 'PENDING');
      s.gateway.pay(s.trade);
      await till.notified(s);
      await till.untilSubscription(s, 'ACTIVE');
    }));
    await Promise.all(back.map(async (s) => {
      await till.untilPayment(s, 'REFUNDED', { within: 60_000 });
      assert.equal(s.trade.refunds.length, 1, 'refunded once');
    }));
    for (const subscription of [...unpaid, ...lost, ...told]) {
      assert.equal(subscription.trade.refunds.length, 0);
      assert.equal((await till.notifications(subscription.user,
        'PAYMENT_RECEIVED')).length, 1);
      const { startDate, endDate } = await till.subscription(subscription);
      assert.equal(Date.parse(endDate) - Date.parse(startDate),
        30 * 86_400_000);
    }
    assert.deepEqual(await till.attention(), []);
    await Promise.all(KINDS.map(async (kind) => (
      (await till.create(await till.subscribe(), kind)).ok(201))));
    assert.equal(await till.admin('/readyz'), 200);
    assert.deepEqual(till.alipay.complaints, []);
    // A query on a kept connection that had died leaves once more as it was.
    assert.deepEqual(till.wechat.complaints.filter((c) => (
      !/^query: the nonce_str was used before/.test(c))), []);
  });
}

// The payment gateways are gone, slow, silent, break off in the middle or talk
// nonsense, on the wire: their callbacks are taken meanwhile, and once they are
// back every payment is found and every refund made, once.

import assert from 'node:assert/strict';
import { after, before, test } from './lib/suite.mjs';
import { assertAlive } from './lib/invariants.mjs';
import { DAMAGES } from './lib/proxy.mjs';
import { World } from './lib/world.mjs';

let world;
before(async () => {
  // About the money: nothing is deployed.
  world = await World.start({ wechat: true, railway: false, mail: false,
    proxies: ['alipay', 'wechat'],
    config: { payment: { ask_interval: '1s' } } });
});
after(() => world?.stop());

const KINDS = [{ gateway: 'ALIPAY', method: 'qr' },
  { gateway: 'WECHAT', method: 'native' }];

for (const damage of DAMAGES) {
  test(`the payment gateways: ${damage}`, { timeout: 120_000 }, async () => {
    const wires = [world.proxies.alipay, world.proxies.wechat];
    const [unpaid, lost, told, back] = await Promise.all([0, 1, 2, 3].map(() => (
      Promise.all(KINDS.map((kind) => world.subscribe().then((s) => (
        world.order(s, kind))))))));
    for (const subscription of back) {
      subscription.gateway.pay(subscription.trade);
      await world.notified(subscription);
    }
    for (const wire of wires) await wire.set(damage);
    try {
      // Their callbacks do not need them.
      for (const subscription of told) {
        subscription.gateway.pay(subscription.trade);
        await world.notified(subscription);
        assert.equal((await world.payment(subscription)).status, 'PAID');
      }
      // Nor does a page that the payer's browser opens by itself.
      const page = await world.order(await world.subscribe(), { method: 'page' });
      assert.ok(page.trade);
      for (const { trade, gateway } of lost) gateway.pay(trade);
      for (const subscription of back) {
        const answer = await world.act(subscription, 'refund');
        answer.success(answer.status === 202 ? 202 : 200);
      }
      // Whoever needs them is told so, within the time of one call.
      await Promise.all(KINDS.map(async (kind) => {
        const since = Date.now();
        const answer = await world.create(await world.subscribe(), kind);
        if (damage === 'slow') answer.ok(201);
        else answer.fails([502, 503]);
        assert.ok(Date.now() - since < 15_000, `${Date.now() - since} ms`);
      }));
      await assertAlive(world);
    } finally {
      for (const wire of wires) await wire.set('open');
    }

    // What nobody told is found, what waits for payment is payable sworld, and
    // the money goes back once.
    await Promise.all(lost.map((s) => world.untilSubscription(s, 'ACTIVE',
      { within: 60_000 })));
    await Promise.all(unpaid.map(async (s) => {
      assert.equal((await world.payment(s)).status, 'PENDING');
      s.gateway.pay(s.trade);
      await world.notified(s);
      await world.untilSubscription(s, 'ACTIVE');
    }));
    await Promise.all(back.map(async (s) => {
      await world.untilPayment(s, 'REFUNDED', { within: 60_000 });
      assert.equal(s.trade.refunds.length, 1, 'refunded once');
    }));
    for (const subscription of [...unpaid, ...lost, ...told]) {
      assert.equal(subscription.trade.refunds.length, 0);
      assert.equal((await world.notifications(subscription.user,
        'PAYMENT_RECEIVED')).length, 1);
      const { startDate, endDate } = await world.subscription(subscription);
      assert.equal(Date.parse(endDate) - Date.parse(startDate),
        30 * 86_400_000);
    }
    assert.deepEqual(await world.attention(), []);
    await Promise.all(KINDS.map(async (kind) => (
      (await world.create(await world.subscribe(), kind)).ok(201))));
    assert.equal(await world.admin('/readyz'), 200);
    assert.deepEqual(world.alipay.complaints, []);
    // A query on a kept connection that had died leaves once more as it was.
    assert.deepEqual(world.wechat.complaints.filter((c) => (
      !/^query: the nonce_str was used before/.test(c))), []);
  });
}

// The same callback from all sides at once, while the order is being asked
// about and runs out of time: one payment, one activation, one instance.

import assert from 'node:assert/strict';
import { after, before, test } from './lib/suite.mjs';
import { World } from './lib/world.mjs';

const COPIES = 100;

let world;
before(async () => {
  world = await World.start({ wechat: true, config: {
    payment: { order_ttl: '2s', ask_interval: '1s', asks_per_second: 50 } } });
});
after(() => world?.stop());

/** Copies of the notification, each ready to be sent. */
function copies({ gateway, trade }) {
  if (gateway === world.alipay) {
    const params = gateway.sign(gateway.notification(trade));
    return Array.from({ length: COPIES }, () => (
      () => gateway.post(trade.notifyUrl, params)));
  }
  const body = gateway.event('TRANSACTION.SUCCESS', gateway.transaction(trade));
  return Array.from({ length: COPIES }, (_, i) => (
    // Every other one is another event about the same payment.
    () => (i % 2 ? gateway.post(trade.notifyUrl, body)
      : gateway.notify(trade))));
}

async function storm(subscription) {
  const reads = Array.from({ length: 10 }, () => () => world.payment(subscription));
  const sends = copies(subscription);
  const all = sends.flatMap((send, i) => (i % 10 === 0
    ? [send, reads[i / 10]] : [send]));
  const answers = await Promise.all(all.map((go) => go()));
  for (const answer of answers) {
    if (answer.orderId) continue; // a read
    world.assertAccepted(answer, subscription.gateway);
  }
}

async function assertPaidOnce(subscription) {
  const payment = await world.payment(subscription);
  assert.equal(payment.status, 'PAID');
  assert.equal(payment.transactionId, subscription.trade.tradeNo
    ?? subscription.trade.transactionId);
  await world.assertOnce(subscription);
  assert.equal(subscription.trade.refunds.length, 0);
  assert.deepEqual(await world.attentionOf(subscription), []);
  const rows = await world.callbacksOf(subscription.order.orderId);
  assert.ok(rows.length + rows.reduce((n, r) => n + r.repeats, 0) >= COPIES,
    `${rows.length} rows`);
}

for (const gateway of ['ALIPAY', 'WECHAT']) {
  test(`${gateway}: a hundred copies and reading at the same time`, async () => {
    const subscription = await world.paid(undefined, { gateway });
    await storm(subscription);
    await assertPaidOnce(subscription);
  });

  test(`${gateway}: a hundred copies in the moment in which it expires`,
    async () => {
      const subscription = await world.order(await world.subscribe(),
        { gateway });
      const at = subscription.gateway;
      // Paid at the last moment; what asks about it is slow.
      const slow = at.fault({ call: /query|close/, kind: 'slow',
        times: Infinity,
        match: (biz) => biz.out_trade_no === subscription.trade.outTradeNo });
      const end = Date.parse(subscription.order.expiresAt);
      await world.eventually('it is about to expire', () => (
        Date.now() >= end - 100), { every: 10 });
      at.pay(subscription.trade, { anyway: true });
      const storming = storm(subscription);
      await world.eventually('it has expired', () => Date.now() >= end,
        { every: 10 });
      slow.stop();
      at.faults.release();
      await storming;
      await assertPaidOnce(subscription);
    });
}

test('nobody complained', () => {
  assert.deepEqual(world.alipay.complaints, []);
  assert.deepEqual(world.wechat.complaints, []);
  assert.deepEqual(world.railway.complaints, []);
});

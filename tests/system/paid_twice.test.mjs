// More than one order for the same period: the older one is closed where it
// can be, and money that comes all the same goes back.

import assert from 'node:assert/strict';
import { after, before, test } from './lib/suite.mjs';
import { World } from './lib/world.mjs';

let world;
before(async () => {
  world = await World.start({ wechat: true,
    config: { payment: { ask_interval: '1s' } } });
});
after(() => world?.stop());

const pairs = [['ALIPAY', 'ALIPAY'], ['WECHAT', 'ALIPAY'], ['ALIPAY', 'WECHAT'],
  ['WECHAT', 'WECHAT']];

/** Two orders of one subscription, both opened by the payer. */
async function twice([one, two]) {
  const first = await world.order(await world.subscribe(), { gateway: one });
  const second = await world.order({ ...first }, { gateway: two });
  assert.notEqual(first.order.orderId, second.order.orderId);
  return [first, second];
}

for (const pair of pairs) {
  const name = pair.join(' then ');

  test(`${name}: the replaced order is closed at the gateway`, async () => {
    const [first, second] = await twice(pair);
    await world.untilPayment(first, 'CLOSED');
    assert.ok(first.gateway.closed(first.trade), first.trade.status);
    assert.ok(!second.gateway.closed(second.trade));
    assert.equal((await world.payment(second)).status, 'PENDING');
  });

  test(`${name}: both are paid: one counts, the other goes back`, async () => {
    const [first, second] = await twice(pair);
    const both = [first, second];
    for (const s of both) s.gateway.pay(s.trade, { anyway: true });
    // Being told about the one must not depend on the other.
    for (const s of both) {
      const answer = await s.gateway.notify(s.trade);
      world.assertAccepted(answer, s.gateway);
    }
    await world.eventually('one is REFUNDED and one PAID', async () => {
      const now = await Promise.all(both.map((s) => world.payment(s)));
      const text = now.map((p) => p.status).sort().join();
      if (text === 'PAID,REFUNDED') return true;
      throw new Error(text);
    }, { within: 30_000 });
    for (let i = 0; i < 2; i += 1) {
      for (const s of both) {
        world.assertAccepted(await s.gateway.notify(s.trade), s.gateway);
      }
    }
    await world.assertOnce(first);
    assert.equal(first.trade.refunds.length + second.trade.refunds.length, 1);
    assert.equal((await world.subscription(first)).status, 'ACTIVE');
  });
}

for (const gateway of ['ALIPAY', 'WECHAT']) {
  test(`${gateway}: the money that goes back has one number, whatever happens`,
    async () => {
      const at = world.gateway(gateway);
      const [first, second] = await twice([gateway, gateway]);
      const both = [first, second];
      const mine = (biz) => both.some((s) => [biz.out_trade_no, biz.trade_no,
        biz.transaction_id].filter(Boolean).some((no) => [s.trade.outTradeNo,
        s.trade.tradeNo, s.trade.transactionId].includes(no)));
      for (const fault of [{ kind: 'drop' }, { kind: '500' },
        { kind: 'drop', when: 'after' }]) {
        at.fault({ call: 'refund', match: mine, ...fault });
      }
      at.refundMode = 'later';
      try {
        for (const s of both) at.pay(s.trade, { anyway: true });
        for (let i = 0; i < 3; i += 1) {
          for (const s of both) {
            world.assertAccepted(await at.notify(s.trade), at);
          }
        }
        const refunded = await world.eventually('it was accepted in the end',
          () => both.find((s) => s.trade.refunds.length > 0),
          { within: 40_000 });
        const [refund] = refunded.trade.refunds;
        assert.equal((await world.payment(refunded)).status, 'REFUNDING');
        at.settle(refunded.trade, refund);
        await world.untilPayment(refunded, 'REFUNDED', { within: 40_000 });
        const calls = both.flatMap((s) => at.asked(s.trade, 'refund'));
        const numbers = new Set(calls.map((c) => c.biz.out_request_no
          ?? c.biz.out_refund_no));
        assert.equal(numbers.size, 1, `${[...numbers]}`);
        assert.equal(first.trade.refunds.length + second.trade.refunds.length, 1);
        assert.equal((await world.subscription(first)).status, 'ACTIVE');
      } finally {
        at.refundMode = 'done';
      }
    });
}

test('the second is found by asking, never told: it goes back as well',
  async () => {
    const [first, second] = await twice(['WECHAT', 'ALIPAY']);
    world.wechat.pay(first.trade, { anyway: true });
    world.alipay.pay(second.trade, { anyway: true });
    world.assertAccepted(await world.wechat.notify(first.trade), world.wechat);
    await world.eventually('one is REFUNDED', async () => {
      const now = await Promise.all([first, second].map((s) => world.payment(s)));
      return now.map((p) => p.status).sort().join() === 'PAID,REFUNDED';
    }, { within: 30_000 });
    await world.assertOnce(first);
  });

test('an order with another amount than ours never activates', async () => {
  for (const gateway of ['ALIPAY', 'WECHAT']) {
    const subscription = await world.order(await world.subscribe(), { gateway });
    const { trade } = subscription;
    if (gateway === 'ALIPAY') trade.totalAmount = '98.99';
    else trade.total = 9899;
    world.gateway(gateway).pay(trade);
    const answer = await world.gateway(gateway).notify(trade);
    assert.ok(answer.text !== 'success' && answer.status !== 204, answer.text);
    await world.eventually('attention', async () => (
      (await world.attentionOf(subscription)).length > 0));
    assert.equal((await world.subscription(subscription)).status, 'PENDING');
    assert.equal(world.allProjectsOf(subscription).length, 0);
  }
});

test('nobody complained', () => {
  assert.deepEqual(world.alipay.complaints, []);
  assert.deepEqual(world.wechat.complaints, []);
  assert.deepEqual(world.railway.complaints, []);
});

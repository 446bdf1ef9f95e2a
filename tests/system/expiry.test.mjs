// Orders nobody pays: closed at the gateway first, then here.

import assert from 'node:assert/strict';
import { after, before, test } from './lib/suite.mjs';
import { never } from './lib/wait.mjs';
import { World } from './lib/world.mjs';

const kinds = [{ gateway: 'ALIPAY', method: 'page' },
  { gateway: 'ALIPAY', method: 'qr' }, { gateway: 'WECHAT', method: 'native' }];

let world;
before(async () => {
  world = await World.start({ wechat: true, config: {
    payment: { order_ttl: '2s', ask_interval: '1s' } } });
});
after(() => world?.stop());

/** The same with every kind of order, at the same time. */
const each = (body) => Promise.all(kinds.map(async (kind) => {
  try {
    await body(kind);
  } catch (error) {
    error.message = `${kind.gateway} ${kind.method}: ${error.message}`;
    throw error;
  }
}));

test('unpaid, it is closed there and then here', () => each(async (kind) => {
  const subscription = await world.order(await world.subscribe(), kind);
  const { gateway, trade } = subscription;
  await world.untilPayment(subscription, 'CLOSED');
  assert.ok(gateway.closed(trade), `there it is ${trade.status}`);
  assert.ok(gateway.asked(trade, 'close').length >= 1);
  assert.ok(Date.now() >= Date.parse(subscription.order.expiresAt));
  assert.equal((await world.subscription(subscription)).status, 'PENDING');
  assert.deepEqual(await world.attentionOf(subscription), []);
}));

test('a payment that wins the race counts', () => each(async (kind) => {
  const subscription = await world.order(await world.subscribe(), kind);
  const { gateway, trade } = subscription;
  const race = gateway.fault({ call: 'close',
    match: (biz) => biz.out_trade_no === trade.outTradeNo,
    first: (t) => gateway.pay(t, { anyway: true }) });
  await world.untilSubscription(subscription, 'ACTIVE');
  assert.equal(race.fired, 1);
  assert.equal((await world.payment(subscription)).status, 'PAID');
  assert.equal(trade.refunds.length, 0);
  await world.assertOnce(subscription);
}));

test('closed, but the answer was lost: it is CLOSED all the same', () => each(
  async (kind) => {
    const subscription = await world.order(await world.subscribe(), kind);
    const { gateway, trade } = subscription;
    const lost = gateway.fault({ call: 'close', kind: 'drop', when: 'after',
      match: (biz) => biz.out_trade_no === trade.outTradeNo });
    await world.untilPayment(subscription, 'CLOSED');
    assert.equal(lost.fired, 1);
    assert.ok(gateway.closed(trade));
  }));

test('a page nobody opened and a code nobody scanned are CLOSED too',
  () => Promise.all(['page', 'qr'].map(async (method) => {
    const subscription = await world.subscribe();
    subscription.order = (await world.create(subscription, { method })).ok(201);
    await world.untilPayment(subscription, 'CLOSED');
  })));

test('a gateway that is down at expiry: it stays until the gateway answers',
  async () => {
    const all = [];
    for (const kind of kinds) {
      all.push(await world.order(await world.subscribe(), kind));
      all.push(Object.assign(await world.order(await world.subscribe(), kind),
        { pays: true }));
    }
    world.alipay.mode = 'down';
    world.wechat.mode = 'down';
    try {
      for (const subscription of all) {
        if (subscription.pays) {
          subscription.gateway.pay(subscription.trade, { anyway: true });
        }
      }
      await world.eventually('all are beyond their time', () => all.every((s) => (
        Date.now() > Date.parse(s.order.expiresAt))));
      await never('closed without the gateway', async () => {
        const now = await Promise.all(all.map((s) => world.payment(s)));
        return now.some((p) => p.status !== 'PENDING');
      }, { during: 2_000, every: 200 });
    } finally {
      world.alipay.mode = 'ok';
      world.wechat.mode = 'ok';
    }
    await Promise.all(all.map(async (subscription) => {
      await world.untilPayment(subscription, subscription.pays ? 'PAID'
        : 'CLOSED', { within: 60_000 });
      if (!subscription.pays) {
        assert.ok(subscription.gateway.closed(subscription.trade));
      }
    }));
  });

test('a new order after the old one was closed works', async () => {
  const subscription = await world.order(await world.subscribe());
  const { order } = subscription;
  await world.untilPayment(subscription, 'CLOSED');
  await world.order(subscription, { gateway: 'WECHAT' });
  assert.notEqual(subscription.order.orderId, order.orderId);
  world.wechat.pay(subscription.trade);
  await world.notified(subscription);
  await world.assertOnce(subscription);
});

test('nobody complained', () => {
  assert.deepEqual(world.alipay.complaints, []);
  assert.deepEqual(world.wechat.complaints, []);
});

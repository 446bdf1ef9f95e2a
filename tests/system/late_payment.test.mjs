// Money that arrives after its order was closed.

import assert from 'node:assert/strict';
import { after, before, test } from './lib/suite.mjs';
import { World } from './lib/world.mjs';

const worlds = {};
before(async () => {
  await Promise.all(['revive', 'refund'].map(async (policy) => {
    worlds[policy] = await World.start({ wechat: true, config: { payment: {
      order_ttl: '2s', ask_interval: '1s', late_payment: policy } } });
  }));
});
after(() => Promise.all(Object.values(worlds).map((world) => world.stop())));

/** An order that was closed, and paid in that very moment. */
async function late(world, gateway) {
  const subscription = await world.order(await world.subscribe(), { gateway });
  await world.untilPayment(subscription, 'CLOSED');
  assert.equal((await world.subscription(subscription)).status, 'PENDING');
  subscription.gateway.pay(subscription.trade, { anyway: true });
  return world.notified(subscription);
}

async function revived(gateway) {
  const world = worlds.revive;
  const subscription = await late(world, gateway);
  assert.equal((await world.payment(subscription)).status, 'PAID');
  await world.untilStatus(subscription, 'running');
  await world.assertOnce(subscription);
  assert.equal(subscription.trade.refunds.length, 0);
}

async function returned(gateway) {
  const world = worlds.refund;
  const subscription = await late(world, gateway);
  const { trade } = subscription;
  await world.untilPayment(subscription, 'REFUNDED');
  assert.equal(trade.refunds.length, 1);
  assert.equal(trade.refunds[0].amount, gateway === 'ALIPAY' ? '99.00' : 9900);
  assert.equal(world.allProjectsOf(subscription).length, 0);
  await world.notified(subscription);
  assert.equal(trade.refunds.length, 1);
  assert.notEqual((await world.subscription(subscription)).status, 'ACTIVE');
}

test('revive: the subscription runs after all', () => revived('ALIPAY'));
test('revive: the same with WeChat', () => revived('WECHAT'));
test('refund: the money goes back, once, and nothing is made',
  () => returned('ALIPAY'));
test('refund: the same with WeChat', () => returned('WECHAT'));

test('nobody complained', () => {
  for (const world of Object.values(worlds)) {
    assert.deepEqual(world.alipay.complaints, []);
    assert.deepEqual(world.wechat.complaints, []);
  }
});

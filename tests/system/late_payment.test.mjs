// Money that arrives after its order was closed.

import assert from 'node:assert/strict';
import { test } from './lib/suite.mjs';
import { World } from './lib/world.mjs';

async function late(policy, body) {
  const world = await World.start({ config: {
    payment: { order_ttl: '2s', late_payment: policy } } });
  try {
    const subscription = await world.order(await world.subscribe());
    const payment = async () => (await subscription.user.get(
      `/api/payment/${subscription.order.orderId}`)).ok();
    await world.eventually('the order is closed', async () => (
      (await payment()).status === 'CLOSED'), { within: 30_000 });
    assert.equal((await world.subscription(subscription)).status, 'PENDING');
    // Paid in the very moment it was closed.
    Object.assign(subscription.trade, { status: 'TRADE_SUCCESS',
      paidAt: Date.now() });
    const answer = await world.alipay.notify(subscription.trade);
    assert.equal(`${answer.status} ${answer.text}`, '200 success');
    await body(world, subscription, payment);
  } finally {
    await world.stop();
  }
}

test('revive: the subscription runs after all', () => late('revive',
  async (world, subscription, payment) => {
    assert.equal((await payment()).status, 'PAID');
    await world.untilStatus(subscription, 'running');
    world.assertOneInstance(subscription);
    assert.equal(subscription.trade.refunds.length, 0);
  }));

test('refund: the money goes back, once, and nothing is made', () => late(
  'refund', async (world, subscription, payment) => {
    await world.eventually('refunded', async () => (
      (await payment()).status === 'REFUNDED'), { within: 30_000 });
    assert.equal(subscription.trade.refunds.length, 1);
    assert.equal(subscription.trade.refunds[0].amount, '99.00');
    assert.equal(world.allProjectsOf(subscription).length, 0);
    const answer = await world.alipay.notify(subscription.trade);
    assert.equal(`${answer.status} ${answer.text}`, '200 success');
    assert.equal(subscription.trade.refunds.length, 1);
  }));

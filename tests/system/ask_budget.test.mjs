// Many open orders are asked about in turn, not all at once.

import assert from 'node:assert/strict';
import { after, before, test } from './lib/suite.mjs';
import { World } from './lib/world.mjs';

const ORDERS = 200;
const PER_SECOND = 40;

let world;
const subscriptions = [];
before(async () => {
  world = await World.start({ wechat: true, railway: false, mail: false,
    config: { payment: { ask_interval: '2s', asks_per_second: PER_SECOND } } });
});
after(() => world?.stop());

/** The most calls that lie within one second of each other. */
function busiest(times) {
  const sorted = [...times].sort((a, b) => a - b);
  let most = 0;
  for (let i = 0, j = 0; i < sorted.length; i += 1) {
    while (sorted[i] - sorted[j] >= 1000) j += 1;
    most = Math.max(most, i - j + 1);
  }
  return most;
}

test('two hundred open orders: each is asked about, within the budget',
  async () => {
    let left = ORDERS;
    await Promise.all(Array.from({ length: 8 }, async () => {
      while (left > 0) {
        left -= 1;
        subscriptions.push(await world.order(await world.subscribe()));
      }
    }));
    const asked = () => new Set(world.alipay.calls
      .filter((c) => c.method === 'alipay.trade.query')
      .map((c) => c.biz.out_trade_no));
    await world.eventually('each was asked about', () => (
      asked().size >= subscriptions.length), { within: 60_000, every: 200 });
    const times = world.alipay.calls
      .filter((c) => c.method.startsWith('alipay.trade.')).map((c) => c.at);
    assert.ok(busiest(times) <= 2 * PER_SECOND + 2,
      `${busiest(times)} calls within a second`);
  });

test('those who wait do not starve each other: each is asked about again',
  async () => {
    await world.eventually('each was asked about twice', () => {
      const counts = new Map();
      for (const { method, biz } of world.alipay.calls) {
        if (method !== 'alipay.trade.query') continue;
        counts.set(biz.out_trade_no, (counts.get(biz.out_trade_no) ?? 0) + 1);
      }
      return subscriptions.every((s) => counts.get(s.order.orderId) >= 2);
    }, { within: 60_000, every: 200 });
  });

test('the budget is one per gateway: WeChat does not wait for Alipay',
  async () => {
    const subscription = await world.paid(undefined, { gateway: 'WECHAT' });
    await world.untilSubscription(subscription, 'ACTIVE', { within: 10_000 });
  });

test('a notification does not wait for the budget', async () => {
  const [subscription] = subscriptions;
  world.alipay.pay(subscription.trade);
  const since = Date.now();
  await world.notified(subscription);
  assert.ok(Date.now() - since < 2_000, `${Date.now() - since} ms`);
});

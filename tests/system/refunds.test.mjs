// Refunds: asked for by an operator or by rule, proven before they count,
// never made twice.

import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import { after, before, test } from './lib/suite.mjs';
import { never } from './lib/wait.mjs';
import { World } from './lib/world.mjs';

let world;
before(async () => {
  // Nothing is deployed: this is about the money.
  world = await World.start({ wechat: true, railway: false, mail: false,
    config: { payment: { ask_interval: '1s' } } });
});
after(() => world?.stop());

const GATEWAYS = ['ALIPAY', 'WECHAT'];

const path = (id) => `/api/ops/subscriptions/${id}/refund`;

async function refund(subscription, api = world.operator) {
  const answer = await api.post(path(subscription.id), { reason: 'asked for' });
  answer.success(answer.status === 202 ? 202 : 200);
}

const active = (gateway) => world.activated(undefined, { gateway });

/** Numbers of the refunds that the gateway was asked to make. */
const numbers = (s) => new Set(s.gateway.asked(s.trade, 'refund')
  .map((c) => c.biz.out_request_no ?? c.biz.out_refund_no));

async function assertRefunded(subscription) {
  await world.untilPayment(subscription, 'REFUNDED', { within: 40_000 });
  await world.untilSubscription(subscription, 'REFUNDED');
  assert.equal(subscription.trade.refunds.length, 1, 'refunded once');
  assert.equal(Number(subscription.trade.refunds[0].amount),
    subscription.gateway === world.alipay ? 99 : 9900);
  assert.equal(numbers(subscription).size, 1, 'under one number');
}

test('a user may not, a reason is needed, and there must be something',
  async () => {
    const subscription = await active('ALIPAY');
    (await subscription.user.post(path(subscription.id), { reason: 'mine' }))
      .fails(403, { error: 'forbidden' });
    (await world.anonymous.post(path(subscription.id), { reason: 'x' }))
      .fails(401);
    for (const body of [{}, { reason: '' }, { reason: 7 }]) {
      (await world.operator.post(path(subscription.id), body)).fails(400);
    }
    (await world.operator.post(path(crypto.randomUUID()), { reason: 'x' }))
      .fails(404);
    const nothing = await world.subscribe();
    (await world.operator.post(path(nothing.id), { reason: 'x' })).fails(409);
    const unpaid = await world.order(await world.subscribe());
    (await world.operator.post(path(unpaid.id), { reason: 'x' })).fails(409);
    assert.equal(subscription.trade.refunds.length, 0);
    assert.equal((await world.subscription(subscription)).status, 'ACTIVE');
  });

for (const gateway of GATEWAYS) {
  test(`${gateway}: done at once`, async () => {
    const subscription = await active(gateway);
    await refund(subscription);
    await assertRefunded(subscription);
    (await world.operator.post(path(subscription.id), { reason: 'again' }))
      .fails(409);
    assert.equal(subscription.trade.refunds.length, 1);
  });

  test(`${gateway}: accepted is not refunded: REFUNDING until it is proven`,
    async () => {
      const at = world.gateway(gateway);
      at.refundMode = 'later';
      try {
        const subscription = await active(gateway);
        await refund(subscription);
        const made = await world.eventually('the gateway was asked', () => (
          subscription.trade.refunds[0]));
        await world.untilPayment(subscription, 'REFUNDING');
        await never('believed without proof', async () => (
          (await world.payment(subscription)).status !== 'REFUNDING'
          || (await world.subscription(subscription)).status === 'REFUNDED'),
        { during: 2_000, every: 200 });
        at.settle(subscription.trade, made);
        // Nobody tells: the server asks.
        await assertRefunded(subscription);
        assert.ok(at.asked(subscription.trade, 'refund query').length >= 1);
      } finally {
        at.refundMode = 'done';
      }
    });

  test(`${gateway}: asked for many times at once, it is made once`, async () => {
    const subscription = await active(gateway);
    const answers = await Promise.all(Array.from({ length: 8 }, () => (
      world.operator.post(path(subscription.id), { reason: 'at once' }))));
    assert.ok(answers.some((a) => a.status < 300), answers.join('\n'));
    for (const answer of answers) {
      if (answer.status >= 300) answer.fails(409);
    }
    await assertRefunded(subscription);
  });

  test(`${gateway}: made, but the answer was lost: asked for, not made again`,
    async () => {
      const subscription = await active(gateway);
      const { trade } = subscription;
      const fault = subscription.gateway.fault({ call: 'refund', kind: 'drop',
        when: 'after' });
      await refund(subscription);
      await assertRefunded(subscription);
      assert.equal(fault.fired, 1);
      assert.equal(subscription.gateway.asked(trade, 'refund').length, 1,
        'sent twice although the gateway had it');
      assert.ok(subscription.gateway.asked(trade, 'refund query').length >= 1);
    });

  test(`${gateway}: lost before it was made: asked for first, then made`,
    async () => {
      const subscription = await active(gateway);
      const { trade } = subscription;
      const fault = subscription.gateway.fault({ call: 'refund', kind: 'drop' });
      await refund(subscription);
      await assertRefunded(subscription);
      assert.equal(fault.fired, 1);
      const [lost, again, ...more] = subscription.gateway.asked(trade, 'refund');
      assert.equal(more.length, 0);
      const between = subscription.gateway.asked(trade, 'refund query')
        .filter((c) => c.at >= lost.at && c.at <= again.at);
      assert.ok(between.length >= 1, 'sent again without asking');
    });

  test(`${gateway}: an answer that is not the gateway's proves nothing`,
    async () => {
      for (const kind of ['forged', 'unsigned', '500']) {
        const subscription = await active(gateway);
        // It boasts that the money went back, and nothing happened.
        const fault = subscription.gateway.fault({ call: 'refund', kind });
        const asked = subscription.gateway.fault({ kind,
          call: gateway === 'ALIPAY' ? 'fastpay.refund.query' : 'refund query' });
        await refund(subscription);
        await assertRefunded(subscription);
        assert.equal(fault.fired, 1);
        asked.stop();
      }
    });

  test(`${gateway}: killed in the middle of it, before and after it was made`,
    async () => {
      for (const when of ['after', 'before']) {
        const subscription = await active(gateway);
        const { trade } = subscription;
        const at = subscription.gateway;
        const fault = at.fault({ call: 'refund', kind: 'slow', when });
        // The answer may come before or after the gateway's.
        const asking = world.operator.post(path(subscription.id),
          { reason: 'asked for' }).catch(() => {});
        await world.eventually('the call is under way', () => (
          fault.fired === 1));
        await world.server.kill();
        await asking;
        await world.server.start();
        if (when === 'after') at.faults.release();
        await assertRefunded(subscription);
        if (when === 'after') {
          assert.equal(at.asked(trade, 'refund').length, 1,
            'sent twice although it was made');
        }
        assert.ok(at.asked(trade, 'refund query').length >= 1,
          'nobody asked what had become of it');
        // What was under way gets there after all: it is the same refund.
        at.faults.release();
        await never('a second refund', () => trade.refunds.length !== 1,
          { during: 300 });
      }
    });

  test(`${gateway}: down when it is asked for, made when it is back`,
    async () => {
      const subscription = await active(gateway);
      subscription.gateway.mode = 'down';
      try {
        await refund(subscription);
        await world.untilPayment(subscription, 'REFUNDING');
        await never('refunded by nobody', async () => (
          (await world.payment(subscription)).status === 'REFUNDED'),
        { during: 600 });
      } finally {
        subscription.gateway.mode = 'ok';
      }
      await assertRefunded(subscription);
    });
}

test('nobody complained', () => {
  assert.deepEqual(world.alipay.complaints, []);
  assert.deepEqual(world.wechat.complaints, []);
});

test('a deployment that failed for good is refunded by itself', async () => {
  const own = await World.start({ wechat: true, config: {
    payment: { ask_interval: '1s', refund_failed_after: '1s' },
    deployment: { attempts: 1 } } });
  try {
    const running = await own.running();
    own.railway.failBuilds(Infinity);
    for (const gateway of GATEWAYS) {
      const subscription = await own.activated(undefined, { gateway });
      await own.untilPayment(subscription, 'REFUNDED', { within: 40_000 });
      await own.untilSubscription(subscription, 'REFUNDED');
      assert.equal(subscription.trade.refunds.length, 1);
      assert.equal(subscription.gateway.asked(subscription.trade, 'refund')
        .length, 1);
    }
    assert.equal((await own.payment(running)).status, 'PAID');
    assert.equal(running.trade.refunds.length, 0);
  } finally {
    await own.stop();
  }
});

test('a refund while it is being deployed, and while it runs', async () => {
  const own = await World.start({ wechat: true,
    config: { payment: { ask_interval: '1s' } } });
  try {
    own.railway.hold('BUILDING');
    const deploying = await own.activated();
    await own.untilStatus(deploying, 'deploying');
    const running = await own.activated(undefined, { gateway: 'WECHAT' });
    for (const subscription of [deploying, running]) {
      if (subscription === running) {
        own.railway.release('BUILDING');
        await own.untilStatus(running, 'running');
      }
      await refund(subscription, own.operator);
      await own.untilPayment(subscription, 'REFUNDED');
      await own.untilSubscription(subscription, 'REFUNDED');
      assert.equal(subscription.trade.refunds.length, 1);
    }
  } finally {
    await own.stop();
  }
});

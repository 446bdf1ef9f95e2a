// No callback ever arrives: the server asks, in time and not too often.

import assert from 'node:assert/strict';
import { after, before, test } from './lib/suite.mjs';
import { never } from './lib/wait.mjs';
import { World } from './lib/world.mjs';

const kinds = [{ gateway: 'ALIPAY', method: 'page' },
  { gateway: 'ALIPAY', method: 'qr' }, { gateway: 'WECHAT', method: 'native' }];

let eager;
let patient;
before(async () => {
  [eager, patient] = await Promise.all([
    World.start({ wechat: true,
      config: { payment: { ask_interval: '1s' } } }),
    // The first look by itself comes after fifteen seconds.
    World.start({ wechat: true, railway: false, mail: false,
      config: { payment: { ask_interval: '45s' } } }),
  ]);
});
after(async () => { await eager?.stop(); await patient?.stop(); });

for (const kind of kinds) {
  test(`${kind.gateway} ${kind.method}: paid, never told, and it runs`,
    async () => {
      const subscription = await eager.paid(undefined, kind);
      // Nobody reads the order meanwhile: the server asks by itself.
      await eager.untilSubscription(subscription, 'ACTIVE');
      const payment = await eager.payment(subscription);
      assert.equal(payment.status, 'PAID');
      assert.equal(payment.transactionId, subscription.trade.tradeNo
        ?? subscription.trade.transactionId);
      await eager.assertOnce(subscription);
      // The notification that comes after all is an old story.
      await eager.notified(subscription);
      await eager.assertOnce(subscription);
    });

  test(`${kind.gateway} ${kind.method}: paid after a while, found all the same`,
    async () => {
      const subscription = await eager.order(await eager.subscribe(), kind);
      const { gateway, trade } = subscription;
      await eager.eventually('it was asked about twice while unpaid', () => (
        gateway.asked(trade, 'query').length >= 2), { within: 30_000 });
      assert.equal((await eager.subscription(subscription)).status, 'PENDING');
      gateway.pay(trade);
      await eager.untilSubscription(subscription, 'ACTIVE');
    });

  test(`${kind.gateway} ${kind.method}: reading a pending order asks at once`,
    async () => {
      const subscription = await patient.paid(undefined, kind);
      await patient.untilPayment(subscription, 'PAID', { within: 12_000 });
      assert.ok(subscription.gateway.asked(subscription.trade, 'query')
        .length >= 1);
      await patient.untilSubscription(subscription, 'ACTIVE');
    });

  test(`${kind.gateway} ${kind.method}: reading again and again asks now and then`,
    async () => {
      const subscription = await patient.order(await patient.subscribe(), kind);
      const { gateway, trade } = subscription;
      const read = () => patient.payment(subscription);
      await read();
      await patient.eventually('asked', () => (
        gateway.asked(trade, 'query').length >= 1), { within: 10_000 });
      for (let i = 0; i < 10; i += 1) await read();
      await Promise.all(Array.from({ length: 30 }, read));
      assert.ok(gateway.asked(trade, 'query').length <= 4,
        `${gateway.asked(trade, 'query').length} times`);
      assert.equal((await read()).status, 'PENDING');
    });
}

test('what somebody else answers is not believed, and it is asked again',
  async () => {
    const cases = kinds.flatMap((kind) => ['forged', 'unsigned']
      .map((fault) => ({ kind, fault })));
    await Promise.all(cases.map(async ({ kind, fault }) => {
      const subscription = await eager.order(await eager.subscribe(), kind);
      const { gateway, trade } = subscription;
      // Boasts that it is paid.
      const told = gateway.fault({ call: 'query', kind: fault, times: Infinity,
        match: (biz) => biz.out_trade_no === trade.outTradeNo });
      await eager.eventually('the answer was given', () => told.fired >= 2);
      assert.equal((await eager.subscription(subscription)).status, 'PENDING');
      told.stop();
      gateway.pay(trade);
      await eager.untilSubscription(subscription, 'ACTIVE');
    }));
  });

test('errors, broken connections and no answers are got over', async () => {
  await Promise.all(kinds.map(async (kind) => {
    const subscription = await eager.order(await eager.subscribe(), kind);
    const { gateway, trade } = subscription;
    const faults = ['500', 'drop', 'refuse'].map((fault) => gateway.fault({
      call: 'query', kind: fault, status: 500,
      code: gateway === eager.alipay ? 'ACQ.SYSTEM_ERROR' : 'SYSTEM_ERROR',
      match: (biz) => biz.out_trade_no === trade.outTradeNo }));
    gateway.pay(trade);
    await eager.untilSubscription(subscription, 'ACTIVE');
    assert.deepEqual(faults.map((f) => f.fired), [1, 1, 1]);
  }));
});

test('another amount than ours never activates, and a person sees it',
  async () => {
    await Promise.all(kinds.map(async (kind) => {
      const subscription = await eager.order(await eager.subscribe(), kind);
      const { gateway, trade } = subscription;
      if (gateway === eager.alipay) trade.totalAmount = '0.01';
      else trade.total = 1;
      gateway.pay(trade);
      await eager.eventually('attention', async () => (
        (await eager.attentionOf(subscription)).length > 0));
      // Asked about again and again.
      const asked = gateway.asked(trade, 'query').length;
      await never('activated', async () => (
        (await eager.subscription(subscription)).status !== 'PENDING'),
      { during: 2_500, every: 200 });
      assert.ok(asked >= 1);
      assert.equal(eager.allProjectsOf(subscription).length, 0);
      assert.notEqual((await eager.payment(subscription)).status, 'PAID');
      assert.equal((await eager.attentionOf(subscription)).length, 1,
        'one case, however often it is asked');
    }));
  });

test('a server that was killed asks when it is back', async () => {
  const subscription = await eager.order(await eager.subscribe(),
    { gateway: 'WECHAT' });
  await eager.server.kill();
  eager.wechat.pay(subscription.trade);
  await eager.server.start();
  await eager.untilSubscription(subscription, 'ACTIVE');
});

test('nobody complained', () => {
  for (const world of [eager, patient]) {
    assert.deepEqual(world.alipay.complaints, []);
    assert.deepEqual(world.wechat.complaints, []);
  }
});

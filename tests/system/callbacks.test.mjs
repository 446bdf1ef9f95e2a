// Notifications of Alipay: forged, contradicting, repeated, about refunds.

import assert from 'node:assert/strict';
import { after, before, test } from './lib/suite.mjs';
import { form } from './imposters/alipay.mjs';
import { request } from './lib/http.mjs';
import { World } from './lib/world.mjs';

let world;
before(async () => { world = await World.start(); });
after(() => world?.stop());

const answerOf = ({ status, text }) => `${status} ${text}`;

async function assertUntouched(subscription) {
  const payment = (await subscription.user.get(
    `/api/payment/${subscription.order.orderId}`)).ok();
  assert.equal(payment.status, 'PENDING');
  assert.equal((await world.subscription(subscription)).status, 'PENDING');
  assert.equal(world.allProjectsOf(subscription).length, 0);
  assert.deepEqual(await world.notifications(subscription.user), []);
}

/** An order the payer has opened but not paid: nothing can be asked back. */
const pending = async () => world.order(await world.subscribe());

/** What a notification of success would say about it. */
const claim = (trade, fields) => world.alipay.notification(
  { ...trade, status: 'TRADE_SUCCESS', paidAt: Date.now() }, fields);

test('a bad signature is 400 Invalid signature, and nothing changes',
  async () => {
    const subscription = await pending();
    const { alipay } = world;
    const { trade } = subscription;
    const params = claim(trade);
    const signed = alipay.sign(params);
    const without = (name) => Object.fromEntries(Object.entries(signed)
      .filter(([key]) => key !== name));
    const forged = {
      'no sign': params,
      'empty sign': { ...params, sign: '' },
      'sign is no base64': { ...params, sign: '!!!!' },
      'sign cut off': { ...params, sign: signed.sign.slice(0, -8) },
      'a stranger\'s key': alipay.sign(params, alipay.stranger.privateKey),
      'the merchant\'s own key': alipay.sign(params, alipay.app.privateKey),
      'amount raised after signing': { ...signed, total_amount: '9.90' },
      'status changed after signing': { ...alipay.sign(claim(trade,
        { trade_status: 'WAIT_BUYER_PAY' })), trade_status: 'TRADE_SUCCESS' },
      'a field added': { ...signed, extra: 'x' },
      'a field removed': without('buyer_id'),
      'no fields but sign': { sign: signed.sign },
      'sign_type changed to RSA does not weaken it': { ...alipay.sign(params,
        alipay.stranger.privateKey), sign_type: 'RSA' },
    };
    for (const [what, body] of Object.entries(forged)) {
      assert.equal(answerOf(await alipay.post(trade.notifyUrl, body)),
        '400 Invalid signature', what);
    }
    await assertUntouched(subscription);
  });

test('a name that occurs twice is refused', async () => {
  const subscription = await pending();
  const signed = world.alipay.sign(claim(subscription.trade));
  for (const body of [`${form(signed)}&total_amount=0.01`,
    `out_trade_no=other&${form(signed)}`]) {
    const answer = await request(subscription.trade.notifyUrl, {
      method: 'POST', body,
      headers: { 'Content-Type': 'application/x-www-form-urlencoded' } });
    assert.equal(answer.status, 400, answer.text);
  }
  await assertUntouched(subscription);
});

test('parameters of the query string count for nothing', async () => {
  const subscription = await pending();
  const signed = world.alipay.sign(claim(subscription.trade));
  const answer = await request(`${subscription.trade.notifyUrl}?${
    form(signed)}`, { method: 'POST', body: '',
    headers: { 'Content-Type': 'application/x-www-form-urlencoded' } });
  assert.equal(answer.status, 400);
  await assertUntouched(subscription);
});

const contradictions = {
  'an unknown order': { out_trade_no: 'UNKNOWN20260101000001' },
  'another amount': { total_amount: '0.01' },
  'another app': { app_id: '2021000000009999' },
  'another seller': { seller_id: '2088000000009999' },
};

for (const [what, fields] of Object.entries(contradictions)) {
  test(`an authentic one with ${what} is failure and a case for a person`,
    async () => {
      const subscription = await pending();
      const before = (await world.attention()).length;
      const params = world.alipay.sign(claim(subscription.trade, fields));
      const post = () => world.alipay.post(subscription.trade.notifyUrl, params);
      for (let i = 0; i < 3; i += 1) {
        assert.equal(answerOf(await post()), '200 failure');
      }
      await assertUntouched(subscription);
      const entries = await world.eventually('attention', async () => {
        const now = await world.attention();
        return now.length > before && now;
      });
      assert.equal(entries.length, before + 1, 'repeats are one case');
      for (const entry of entries) {
        for (const key of ['subscriptionId', 'instanceId', 'kind', 'reason',
          'since', 'suggestedAction']) assert.ok(key in entry, key);
        assert.ok(entry.kind && entry.reason);
      }
      const orderId = fields.out_trade_no ?? subscription.order.orderId;
      const rows = (await world.operator.all('/api/ops/callbacks'))
        .filter((r) => r.orderId === orderId);
      assert.equal(rows.length, 1, 'repeats are one row');
      assert.ok(rows[0].repeats >= 2, `repeats: ${rows[0].repeats}`);
      assert.ok(rows[0].reason);
    });
}

test('after a contradiction the true notification still works', async () => {
  const subscription = await pending();
  const { alipay } = world;
  await alipay.post(subscription.trade.notifyUrl,
    alipay.sign(claim(subscription.trade, { total_amount: '0.01' })));
  alipay.pay(subscription.trade);
  assert.equal(answerOf(await alipay.notify(subscription.trade)), '200 success');
  await world.untilStatus(subscription, 'running');
});

test('WAIT_BUYER_PAY is acknowledged and changes nothing', async () => {
  const subscription = await pending();
  assert.equal(answerOf(await world.alipay.notify(subscription.trade)),
    '200 success');
  await assertUntouched(subscription);
});

test('TRADE_CLOSED of an unpaid order closes it', async () => {
  const subscription = await pending();
  subscription.trade.status = 'TRADE_CLOSED';
  assert.equal(answerOf(await world.alipay.notify(subscription.trade)),
    '200 success');
  const payment = (await subscription.user.get(
    `/api/payment/${subscription.order.orderId}`)).ok();
  assert.equal(payment.status, 'CLOSED');
  assert.equal((await world.subscription(subscription)).status, 'PENDING');
});

test('TRADE_FINISHED credits as well, and a coupon is not a shortfall',
  async () => {
    const subscription = await world.paid();
    const answer = await world.alipay.notify(subscription.trade, {
      trade_status: 'TRADE_FINISHED', buyer_pay_amount: '9.00',
      receipt_amount: '9.00', refund_fee: '0.00', future_field: '新字段 +&=' });
    assert.equal(answerOf(answer), '200 success');
    assert.equal((await world.subscription(subscription)).status, 'ACTIVE');
  });

test('a hundred duplicates at once: one activation, project, mail, message',
  async () => {
    const subscription = await world.paid();
    const params = world.alipay.sign(world.alipay.notification(
      subscription.trade));
    const answers = await Promise.all(Array.from({ length: 100 }, () => (
      world.alipay.post(subscription.trade.notifyUrl, params))));
    for (const answer of answers) {
      assert.equal(answerOf(answer), '200 success');
    }
    const first = await world.subscription(subscription);
    assert.equal(first.status, 'ACTIVE');
    const { publicUrl } = await world.untilStatus(subscription, 'running');
    await world.eventually('the mail', () => world.successMails(subscription,
      publicUrl).length > 0);

    // Replays after it runs, with the same and with a new notify_id.
    assert.equal(answerOf(await world.alipay.post(subscription.trade.notifyUrl,
      params)), '200 success');
    assert.equal(answerOf(await world.alipay.notify(subscription.trade)),
      '200 success');

    const now = await world.subscription(subscription);
    assert.equal(now.startDate, first.startDate);
    assert.equal(now.endDate, first.endDate, 'paid once, so thirty days');
    world.assertOneInstance(subscription);
    assert.equal(world.allProjectsOf(subscription).length, 1);
    assert.equal(world.successMails(subscription, publicUrl).length, 1);
    for (const type of ['PAYMENT_RECEIVED', 'DEPLOYMENT_SUCCESS']) {
      assert.equal((await world.notifications(subscription.user, type)).length,
        1, type);
    }
    const rows = (await world.operator.all('/api/ops/callbacks'))
      .filter((r) => r.orderId === subscription.order.orderId);
    // One row with a count, or a row for each: none was lost.
    assert.ok(rows.length + rows.reduce((n, r) => n + r.repeats, 0) >= 101,
      `${rows.length} rows`);
    assert.deepEqual((await world.attention())
      .filter((a) => a.subscriptionId === subscription.id), []);
  });

test('money for an older order of the same subscription is not lost',
  async () => {
    const subscription = await world.subscribe();
    await world.order(subscription);
    const { order: first, trade: old } = subscription;
    await world.order(subscription);
    // In the very moment in which it was closed for the new one.
    world.alipay.pay(old, { anyway: true });
    assert.equal(answerOf(await world.alipay.notify(old)), '200 success');
    assert.equal((await subscription.user.get(`/api/payment/${first.orderId}`))
      .ok().status, 'PAID');
    await world.untilStatus(subscription, 'running');
    world.assertOneInstance(subscription);
  });

test('money that comes twice for one subscription goes back or to a person',
  async () => {
    const subscription = await world.paid();
    const [first, paidFirst] = [subscription.order, subscription.trade];
    const second = await subscription.user.post('/api/payment/create', {
      subscriptionId: subscription.id, gateway: 'ALIPAY', method: 'page' });
    const { orderId, payUrl } = second.ok(201);
    if (orderId === first.orderId) return; // the same order: paid only once
    const other = world.alipay.pay(world.alipay.open(payUrl));
    assert.equal(answerOf(await world.alipay.notify(paidFirst)), '200 success');
    assert.equal(answerOf(await world.alipay.notify(other)), '200 success');
    await world.untilStatus(subscription, 'running');
    world.assertOneInstance(subscription);
    await world.eventually('the second payment is refunded, counted as a '
      + 'renewal, or shown', async () => {
      if (paidFirst.refunds.length + other.refunds.length > 0) return true;
      const { startDate, endDate } = await world.subscription(subscription);
      if (Date.parse(endDate) - Date.parse(startDate) > 31 * 86_400_000) {
        return true;
      }
      return (await world.attention())
        .some((a) => a.subscriptionId === subscription.id);
    });
  });

test('a full refund at the gateway is recorded', async () => {
  const subscription = await world.running();
  const { trade } = subscription;
  trade.refunds.push({ no: 'REFUND1', amount: trade.totalAmount,
    at: Date.now() });
  trade.status = 'TRADE_CLOSED';
  const params = world.alipay.sign(world.alipay.refundNotification(
    trade, trade.totalAmount, 'REFUND1'));
  const post = () => world.alipay.post(trade.notifyUrl, params);
  assert.equal(answerOf(await post()), '200 success');
  assert.equal(answerOf(await post()), '200 success');
  await world.eventually('REFUNDED', async () => (await subscription.user.get(
    `/api/payment/${subscription.order.orderId}`)).ok().status === 'REFUNDED');
});

test('a partial refund is acknowledged and does not credit again', async () => {
  const subscription = await world.running();
  const before = await world.subscription(subscription);
  const params = world.alipay.sign(world.alipay.refundNotification(
    subscription.trade, '10.00', 'PART1'));
  assert.equal(answerOf(await world.alipay.post(subscription.trade.notifyUrl,
    params)), '200 success');
  const now = await world.subscription(subscription);
  assert.equal(now.endDate, before.endDate);
  assert.equal(now.status, 'ACTIVE');
  assert.equal((await world.notifications(subscription.user,
    'PAYMENT_RECEIVED')).length, 1);
});

test('an operator refunds: the gateway is asked once, the order is REFUNDED',
  async () => {
    const subscription = await world.running();
    const refund = () => world.operator.post(
      `/api/ops/subscriptions/${subscription.id}/refund`,
      { reason: 'customer asked' });
    (await refund()).success();
    await world.eventually('refunded at Alipay', () => (
      subscription.trade.refunds.length > 0));
    await world.eventually('REFUNDED', async () => (await subscription.user.get(
      `/api/payment/${subscription.order.orderId}`)).ok().status
      === 'REFUNDED');
    await refund();
    assert.equal(subscription.trade.refunds.length, 1);
    assert.equal(subscription.trade.refunds[0].amount, '99.00');
  });

test('everything was counted', async () => {
  const metrics = await world.metrics();
  const outcomes = new Set(metrics.samples
    .filter((s) => s.name === 'slipway_callbacks_total')
    .map((s) => s.labels.outcome));
  assert.ok(outcomes.size >= 3, `outcomes: ${[...outcomes]}`);
  assert.deepEqual(world.alipay.complaints, []);
  assert.deepEqual(world.railway.complaints, []);
});

// Callbacks of WeChat Pay's APIv3: true, forged, contradicting, about refunds.

import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import { after, before, test } from './lib/suite.mjs';
import { World } from './lib/world.mjs';

let world;
let wechat;
before(async () => {
  world = await World.start({ wechat: true });
  ({ wechat } = world);
});
after(() => world?.stop());

const WECHAT = { gateway: 'WECHAT' };

/** An order at WeChat, not paid: nothing can be asked back. */
const pending = async () => world.order(await world.subscribe(), WECHAT);

/** What a callback of success would say about it. */
const claim = (trade, fields) => wechat.transaction({ ...trade,
  transactionId: '4200001234202601010000000001', paidAt: Date.now() }, fields);
const event = (trade, fields, how) => wechat.event('TRANSACTION.SUCCESS',
  claim(trade, fields), how);

function assertFail(answer, status, what) {
  assert.equal(answer.status, status, `${what}: ${answer.text}`);
  const body = answer.json();
  assert.equal(body.code, 'FAIL', what);
  assert.ok(typeof body.message === 'string' && body.message, what);
}

const forgedCount = async () => (await world.metrics())
  .sum('slipway_callbacks_total', { outcome: 'forged' });

test('a callback of success is 204, and the instance comes up', async () => {
  const subscription = await world.activated(undefined, WECHAT);
  const payment = await world.payment(subscription);
  assert.equal(payment.status, 'PAID');
  assert.equal(payment.gateway, 'WECHAT');
  assert.equal(payment.transactionId, subscription.trade.transactionId);
  assert.equal((await world.subscription(subscription)).status, 'ACTIVE');
  await world.assertOnce(subscription);
  const [row, ...others] = await world.callbacksOf(subscription.order.orderId);
  assert.equal(others.length, 0);
  const whole = (await world.operator.get(`/api/ops/callbacks/${row.id}`));
  whole.ok();
  assert.match(whole.text, /wechatpay-serial/i, 'the headers are kept');
  assert.match(whole.text, /TRANSACTION\.SUCCESS/, 'the body is kept');
});

test('every key that was handed out is accepted: both modes, leading zero',
  async () => {
    for (const { serial } of wechat.handedOut) {
      const subscription = await world.paid(undefined, WECHAT);
      const answer = await wechat.notify(subscription.trade, {}, { serial });
      assert.equal(`${answer.status}${answer.text}`, '204', serial);
      assert.equal((await world.subscription(subscription)).status, 'ACTIVE');
    }
  });

test('a coupon is no shortfall, and new fields are none of our business',
  async () => {
    const subscription = await world.paid(undefined, WECHAT);
    const { trade } = subscription;
    const answer = await wechat.notify(trade, { future_field: { a: [1] },
      amount: { total: 9900, payer_total: 900, currency: 'CNY',
        payer_currency: 'CNY' } });
    assert.equal(answer.status, 204, answer.text);
    assert.equal((await world.subscription(subscription)).status, 'ACTIVE');
  });

test('what is not signed by WeChat is 401, and nothing changes', async () => {
  const subscription = await pending();
  const { trade } = subscription;
  const body = event(trade);
  const now = Math.floor(Date.now() / 1000);
  // Right in all but what is replaced.
  const good = wechat.headers(body);
  const but = (name, value) => ({
    headers: { ...good, [`Wechatpay-${name}`]: value } });
  const sign = good['Wechatpay-Signature'];
  const cases = {
    'a stranger\'s key': { key: wechat.stranger.privateKey },
    'the merchant\'s own key': { key: wechat.merchant.privateKey },
    'the key of another serial': {
      key: wechat.platform.get(wechat.zero).privateKey },
    'another serial': but('Serial', wechat.zero),
    'an unknown serial': { serial: '7'.repeat(40) },
    'the merchant\'s serial': { serial: wechat.merchantSerial,
      key: wechat.merchant.privateKey },
    'an unknown public key id': { serial: `PUB_KEY_ID_${'9'.repeat(30)}` },
    'a serial without its leading zero': { serial: wechat.zero.slice(1),
      key: wechat.platform.get(wechat.zero).privateKey },
    'no signature': but('Signature', undefined),
    'no serial': but('Serial', undefined),
    'no timestamp': but('Timestamp', undefined),
    'no nonce': but('Nonce', undefined),
    'an empty signature': but('Signature', ''),
    'no base64': but('Signature', '!!!!'),
    'cut off': but('Signature', sign.slice(0, -8)),
    'another nonce': but('Nonce', 'x'.repeat(32)),
    'too old': { at: now - 310 },
    'from the future': { at: now + 310 },
    'a time beyond all numbers': { at: '-9223372036854775808' },
    'a time that is no number': { at: `${now}.0` },
    'another signature type': but('Signature-Type', 'WECHATPAY2-SM2-WITH-SM3'),
    'the signature twice': but('Signature', [sign, sign]),
    'two signatures, the second right': but('Signature', ['AAAA', sign]),
    'the serial twice': but('Serial', [wechat.current, wechat.current]),
    'the time twice': but('Timestamp', [good['Wechatpay-Timestamp'],
      good['Wechatpay-Timestamp']]),
  };
  for (const [what, how] of Object.entries(cases)) {
    assertFail(await wechat.post(trade.notifyUrl, body, how), 401, what);
  }
  const space = `${body} `;
  assertFail(await wechat.post(trade.notifyUrl, space,
    { headers: wechat.headers(body) }), 401, 'a blank after the body');
  assertFail(await wechat.post(trade.notifyUrl, body.replace('"id"', '"Id"'),
    { headers: wechat.headers(body) }), 401, 'the body changed');
  await world.assertUntouched(subscription);
});

test('a clock that is off a little is fine', async () => {
  const subscription = await world.paid(undefined, WECHAT);
  const answer = await wechat.notify(subscription.trade, {},
    { at: Math.floor(Date.now() / 1000) - 280 });
  assert.equal(answer.status, 204, answer.text);
});

test('signature probes are refused, and are no attack', async () => {
  const subscription = await world.paid(undefined, WECHAT);
  const { trade } = subscription;
  const body = wechat.event('TRANSACTION.SUCCESS', wechat.transaction(trade));
  const headers = wechat.headers(body);
  const good = headers['Wechatpay-Signature'];
  const before_ = await forgedCount();
  for (const tail of [good, good.slice(19), good.slice(20),
    crypto.randomBytes(200).toString('base64')]) {
    assertFail(await wechat.post(trade.notifyUrl, body, { headers: { ...headers,
      'Wechatpay-Signature': `WECHATPAY/SIGNTEST/${tail}` } }), 401,
    tail.slice(0, 30));
  }
  assert.equal((await world.subscription(subscription)).status, 'PENDING');
  assert.equal(await forgedCount(), before_, 'counted as attacks');
  // The real delivery follows.
  assert.equal((await wechat.post(trade.notifyUrl, body)).status, 204);
  assert.equal((await world.subscription(subscription)).status, 'ACTIVE');
});

test('well signed, yet not to be decrypted: 400, and nothing changes',
  async () => {
    const subscription = await pending();
    const { trade } = subscription;
    const other = event(trade, {}, { sealKey: 'x'.repeat(32) });
    const broken = JSON.parse(event(trade));
    broken.resource.associated_data = 'elsewhere';
    const bare = JSON.parse(event(trade));
    delete bare.resource;
    for (const body of [other, JSON.stringify(broken), JSON.stringify(bare)]) {
      assertFail(await wechat.post(trade.notifyUrl, body), 400, body);
    }
    await world.assertUntouched(subscription);
  });

const contradictions = {
  'another amount': { amount: { total: 1, payer_total: 1, currency: 'CNY',
    payer_currency: 'CNY' } },
  'another currency': { amount: { total: 9900, payer_total: 9900,
    currency: 'USD', payer_currency: 'USD' } },
  'an unknown order': { out_trade_no: 'UNKNOWN20260101000001' },
  'another merchant': { mchid: '1900009999' },
  'another app': { appid: 'wx0000000000000099' },
};

for (const [what, fields] of Object.entries(contradictions)) {
  test(`an authentic one with ${what} is 400 and a case for a person`,
    async () => {
      const subscription = await pending();
      const before_ = (await world.attention()).length;
      const body = event(subscription.trade, fields);
      for (let i = 0; i < 3; i += 1) {
        // The same event again, signed anew, as WeChat repeats itself.
        assertFail(await wechat.post(subscription.trade.notifyUrl, body), 400,
          what);
      }
      await world.assertUntouched(subscription);
      const entries = await world.eventually('attention', async () => {
        const now = await world.attention();
        return now.length > before_ && now;
      });
      assert.equal(entries.length, before_ + 1, 'repeats are one case');
      const rows = await world.callbacksOf(fields.out_trade_no
        ?? subscription.order.orderId);
      assert.equal(rows.length, 1, 'repeats are one row');
      assert.ok(rows[0].repeats >= 2, `repeats: ${rows[0].repeats}`);
      assert.ok(rows[0].reason);
    });
}

test('after a contradiction the true callback still works', async () => {
  const subscription = await pending();
  const { trade } = subscription;
  await wechat.post(trade.notifyUrl, event(trade,
    contradictions['another amount']));
  wechat.pay(trade);
  await world.notified(subscription);
  await world.untilStatus(subscription, 'running');
});

test('a type that is nothing to us is kept and acknowledged', async () => {
  const before_ = (await world.operator.all('/api/ops/callbacks')).length;
  const body = wechat.event('PAYSCORE.USER_CONFIRM', { mchid: wechat.mchId,
    state: 'DOING' });
  const answer = await wechat.post(
    `${world.url}/api/payment/wechat/notify`, body);
  assert.equal(`${answer.status}${answer.text}`, '204');
  assert.equal((await world.operator.all('/api/ops/callbacks')).length,
    before_ + 1);
});

test('repeats of a true one are 204 and change nothing', async () => {
  const subscription = await world.paid(undefined, WECHAT);
  const body = wechat.event('TRANSACTION.SUCCESS',
    wechat.transaction(subscription.trade));
  const { notifyUrl } = subscription.trade;
  assert.equal((await wechat.post(notifyUrl, body)).status, 204);
  const first = await world.subscription(subscription);
  for (let i = 0; i < 3; i += 1) {
    assert.equal((await wechat.post(notifyUrl, body)).status, 204);
    assert.equal((await wechat.notify(subscription.trade)).status, 204);
  }
  assert.equal((await world.subscription(subscription)).endDate, first.endDate);
  await world.assertOnce(subscription);
});

// -- certificates that come later ---------------------------------------------

test('a new certificate is fetched, and the repeated callback is accepted',
  async () => {
    const subscription = await world.paid(undefined, WECHAT);
    const body = wechat.event('TRANSACTION.SUCCESS',
      wechat.transaction(subscription.trade));
    await world.eventually('accepted with the new certificate', async () => (
      (await wechat.post(subscription.trade.notifyUrl, body,
        { serial: wechat.fresh })).status === 204), { every: 300 });
    assert.equal((await world.subscription(subscription)).status, 'ACTIVE');
  });

test('unknown serials do not make it fetch certificates without end',
  async () => {
    const fetched = () => wechat.calls
      .filter((c) => c.call === 'certificates').length;
    const before_ = fetched();
    const { trade } = await pending();
    const body = event(trade);
    await Promise.all(Array.from({ length: 30 }, (_, i) => wechat.post(
      trade.notifyUrl, body, { serial: i % 2
        ? crypto.randomBytes(20).toString('hex').toUpperCase()
        : `PUB_KEY_ID_${i}${'1'.repeat(20)}` })));
    assert.ok(fetched() - before_ <= 2, `${fetched() - before_} times`);
  });

// -- refunds ------------------------------------------------------------------

/** Running, and being refunded by an operator; WeChat has not done it yet. */
async function refunding() {
  wechat.refundMode = 'later';
  const subscription = await world.running(undefined, WECHAT);
  const answer = await world.operator.post(
    `/api/ops/subscriptions/${subscription.id}/refund`, { reason: 'asked for' });
  answer.success(answer.status === 202 ? 202 : 200);
  subscription.refund = await world.eventually('WeChat was asked', () => (
    subscription.trade.refunds[0]));
  return subscription;
}

const refundUrl = ({ refund }) => refund.notifyUrl
  ?? `${world.url}/api/payment/wechat/refund-notify`;

test('REFUND.SUCCESS: the order and the subscription are REFUNDED', async () => {
  const subscription = await refunding();
  const { trade, refund } = subscription;
  assert.equal((await world.payment(subscription)).status, 'REFUNDING');
  wechat.settle(trade, refund);
  for (let i = 0; i < 2; i += 1) {
    const answer = await wechat.refundNotify(refundUrl(subscription), trade,
      refund);
    assert.equal(`${answer.status}${answer.text}`, '204');
  }
  await world.untilPayment(subscription, 'REFUNDED');
  await world.untilSubscription(subscription, 'REFUNDED');
  assert.equal(trade.refunds.length, 1);
});

test('refund events are taken at both paths', async () => {
  const subscription = await refunding();
  const { trade, refund } = subscription;
  wechat.settle(trade, refund);
  for (const kind of ['notify', 'refund-notify']) {
    const answer = await wechat.refundNotify(
      `${world.url}/api/payment/wechat/${kind}`, trade, refund);
    assert.equal(answer.status, 204, kind);
  }
  await world.untilPayment(subscription, 'REFUNDED');
});

for (const status of ['ABNORMAL', 'CLOSED']) {
  test(`REFUND.${status}: not refunded, and a case for a person`, async () => {
    const subscription = await refunding();
    const { trade, refund } = subscription;
    wechat.settle(trade, refund, status);
    const answer = await wechat.refundNotify(refundUrl(subscription), trade,
      refund);
    assert.equal(`${answer.status}${answer.text}`, '204');
    await world.eventually('attention', async () => (
      (await world.attentionOf(subscription)).length > 0));
    assert.notEqual((await world.payment(subscription)).status, 'REFUNDED');
    assert.notEqual((await world.subscription(subscription)).status, 'REFUNDED');
  });
}

test('a refund event of another amount, or forged, refunds nothing', async () => {
  const subscription = await refunding();
  const { trade, refund } = subscription;
  const claimed = { ...refund, status: 'SUCCESS' };
  assertFail(await wechat.refundNotify(refundUrl(subscription), trade, claimed,
    { key: wechat.stranger.privateKey }), 401, 'forged');
  const wrong = await wechat.refundNotify(refundUrl(subscription), trade,
    claimed, { fields: { amount: { total: 9900, refund: 1, payer_total: 9900,
      payer_refund: 1 } } });
  assert.ok([204, 400].includes(wrong.status), wrong.text);
  assert.equal((await world.payment(subscription)).status, 'REFUNDING');
  assert.equal((await world.subscription(subscription)).status !== 'REFUNDED',
    true);
});

test('nobody at WeChat or at the provider complained', () => {
  assert.deepEqual(wechat.complaints, []);
  assert.deepEqual(world.railway.complaints, []);
});

// Callbacks of WeChat Pay's APIv2 (XML), and a merchant who has only that.

import assert from 'node:assert/strict';
import { after, before, test } from './lib/suite.mjs';
import { toXml } from './imposters/wechat.mjs';
import { World } from './lib/world.mjs';

const SUCCESS = '<xml><return_code><![CDATA[SUCCESS]]></return_code>'
  + '<return_msg><![CDATA[OK]]></return_msg></xml>';
const WECHAT = { gateway: 'WECHAT' };

let world;
let wechat;
before(async () => {
  world = await World.start({ wechat: true });
  ({ wechat } = world);
});
after(() => world?.stop());

const pending = async (where = world) => where.order(await where.subscribe(),
  WECHAT);

const claim = (trade, fields, how) => wechat.notificationV2({ ...trade,
  transactionId: '4200001234202601010000000001', paidAt: Date.now() }, fields,
how);

function assertFail(answer, status, what) {
  assert.ok([status].flat().includes(answer.status),
    `${what}: ${answer.status} ${answer.text}`);
  assert.match(answer.text, new RegExp('^<xml><return_code><!\\[CDATA\\[FAIL\\]\\]>'
    + '</return_code><return_msg><!\\[CDATA\\[[^\\]]+\\]\\]></return_msg></xml>$'),
  what);
}

function assertSuccess(answer) {
  assert.equal(`${answer.status} ${answer.text}`, `200 ${SUCCESS}`);
  assert.match(answer.headers['content-type'], /^(text|application)\/xml/);
}

test('a notification of payment is answered with the exact words', async () => {
  const subscription = await world.paid(undefined, WECHAT);
  assertSuccess(await wechat.notifyV2(subscription.trade));
  const payment = await world.payment(subscription);
  assert.equal(payment.status, 'PAID');
  assert.equal(payment.transactionId, subscription.trade.transactionId);
  assertSuccess(await wechat.notifyV2(subscription.trade));
  await world.assertOnce(subscription);
});

test('a sign_type that is missing is the configured one', async () => {
  const subscription = await world.paid(undefined, WECHAT);
  assertSuccess(await wechat.notifyV2(subscription.trade, {},
    { named: false }));
  assert.equal((await world.subscription(subscription)).status, 'ACTIVE');
});

test('new fields are signed, and empty ones are not', async () => {
  const subscription = await world.paid(undefined, WECHAT);
  assertSuccess(await wechat.notifyV2(subscription.trade, {
    future_field: 'a&b=c <d>', device_info: '', coupon_fee: '9000',
    cash_fee: '900' }));
  assert.equal((await world.subscription(subscription)).status, 'ACTIVE');
});

test('plain text instead of CDATA is the same', async () => {
  const subscription = await world.paid(undefined, WECHAT);
  const xml = toXml(wechat.notificationV2(subscription.trade, { attach: 'a&b' }))
    .replace(/<!\[CDATA\[(.*?)\]\]>/g, (_, text) => text
      .replaceAll('&', '&amp;').replaceAll('<', '&lt;'));
  assertSuccess(await wechat.postXml(subscription.trade.notifyUrl, xml));
});

test('one and the same order may be told in both versions', async () => {
  const subscription = await world.paid(undefined, WECHAT);
  assertSuccess(await wechat.notifyV2(subscription.trade));
  assert.equal((await wechat.notify(subscription.trade)).status, 204);
  await world.assertOnce(subscription);
});

test('a bad sign is FAIL and 400, and nothing changes', async () => {
  const subscription = await pending();
  const { trade } = subscription;
  const good = claim(trade);
  const without = ({ sign, ...rest }) => rest;
  const cases = {
    'another key': claim(trade, {}, { key: 'x'.repeat(32) }),
    'MD5 instead of HMAC, named': claim(trade, {}, { type: 'MD5' }),
    'MD5 instead of HMAC, not named': claim(trade, {}, { type: 'MD5',
      named: false }),
    'MD5, and the name lies': { ...claim(trade, { sign_type: 'HMAC-SHA256' },
      { type: 'MD5' }) },
    'an amount changed after signing': { ...good, total_fee: '1' },
    'a field added': { ...good, extra: '1' },
    'no sign': without(good),
    'an empty sign': { ...good, sign: '' },
    'a sign cut off': { ...good, sign: good.sign.slice(0, -2) },
    'no sign and no return_code': without({ ...good, return_code: undefined }),
    'only a sign': { sign: good.sign },
    'nothing': {},
  };
  for (const [what, fields] of Object.entries(cases)) {
    assertFail(await wechat.postXml(trade.notifyUrl, toXml(fields)), 400, what);
  }
  await world.assertUntouched(subscription);
});

test('XML that is more than flat is refused', async () => {
  const subscription = await pending();
  const { trade } = subscription;
  const xml = toXml(claim(trade));
  const cases = {
    'a harmless DOCTYPE': `<!DOCTYPE xml>${xml}`,
    'an entity of a file': '<!DOCTYPE xml [<!ENTITY x SYSTEM "file:///etc/passwd">'
      + `]>${xml.replace('<attach><![CDATA[]]>', '<attach>&x;')}`,
    'two roots': `${xml}${xml}`,
    'an element twice': xml.replace('</xml>',
      '<total_fee><![CDATA[1]]></total_fee></xml>'),
    'an element in an element': xml.replace('<is_subscribe><![CDATA[N]]>',
      '<is_subscribe><a>N</a>'),
    'not closed': xml.slice(0, -6),
  };
  for (const [what, body] of Object.entries(cases)) {
    assertFail(await wechat.postXml(trade.notifyUrl, body), 400, what);
  }
  await world.assertUntouched(subscription);
});

for (const [what, fields] of Object.entries({
  'another amount': { total_fee: '1' },
  'an amount that is no number of fen': { total_fee: '99.00' },
  'another currency': { fee_type: 'USD' },
  'an unknown order': { out_trade_no: 'UNKNOWN20260101000002' },
  'another merchant': { mch_id: '1900009999' },
  'another app': { appid: 'wx0000000000000099' },
})) {
  test(`an authentic one with ${what} is FAIL and a case for a person`,
    async () => {
      const subscription = await pending();
      const before_ = (await world.attention()).length;
      const xml = toXml(claim(subscription.trade, fields));
      for (let i = 0; i < 3; i += 1) {
        assertFail(await wechat.postXml(subscription.trade.notifyUrl, xml), 200,
          what);
      }
      await world.assertUntouched(subscription);
      await world.eventually('one case', async () => (
        (await world.attention()).length === before_ + 1));
      const rows = await world.callbacksOf(fields.out_trade_no
        ?? subscription.order.orderId);
      assert.equal(rows.length, 1, 'repeats are one row');
      assert.ok(rows[0].repeats >= 2, `repeats: ${rows[0].repeats}`);
    });
}

test('a payment that failed is acknowledged and changes nothing', async () => {
  const subscription = await pending();
  const answer = await wechat.postXml(subscription.trade.notifyUrl,
    toXml(claim(subscription.trade, { result_code: 'FAIL',
      err_code: 'SYSTEMERROR' })));
  assertSuccess(answer);
  await world.assertUntouched(subscription);
});

// -- refunds ------------------------------------------------------------------

const refundUrl = (where) => `${where.url}/api/payment/wechat/refund-notify`;

test('a refund notification counts when WeChat itself says so', async () => {
  wechat.refundMode = 'later';
  const subscription = await world.running(undefined, WECHAT);
  const { trade } = subscription;
  await world.operator.post(`/api/ops/subscriptions/${subscription.id}/refund`,
    { reason: 'asked for' });
  const refund = await world.eventually('WeChat was asked',
    () => trade.refunds[0]);
  const post = (fields, how) => wechat.postXml(refundUrl(world),
    wechat.refundNotificationV2(trade, refund, fields, how));

  // Not to be decrypted, or about something else.
  assertFail(await post({}, { key: 'x'.repeat(32) }), [200, 400], 'another key');
  assertFail(await wechat.postXml(refundUrl(world), toXml({
    return_code: 'SUCCESS', appid: wechat.appId, mch_id: wechat.mchId,
    nonce_str: 'n', req_info: 'AAAA' })), [200, 400], 'no req_info');
  assertFail(await wechat.postXml(refundUrl(world), `<!DOCTYPE xml>${
    wechat.refundNotificationV2(trade, refund)}`), [200, 400], 'a DOCTYPE');
  assert.equal((await world.payment(subscription)).status, 'REFUNDING');

  // It says SUCCESS while WeChat is still at it: ECB proves nothing.
  const asked = wechat.asked(trade, 'refund query').length;
  await post();
  await world.eventually('WeChat is asked about it', () => (
    wechat.asked(trade, 'refund query').length > asked));
  assert.equal((await world.payment(subscription)).status, 'REFUNDING');
  assert.notEqual((await world.subscription(subscription)).status, 'REFUNDED');

  wechat.settle(trade, refund);
  assertSuccess(await post());
  await world.untilPayment(subscription, 'REFUNDED');
  await world.untilSubscription(subscription, 'REFUNDED');
  assertSuccess(await post());
  assert.equal(trade.refunds.length, 1);
});

test('a refund notification for an order that nobody refunds changes nothing',
  async () => {
    const subscription = await world.activated(undefined, WECHAT);
    const { trade } = subscription;
    await wechat.postXml(refundUrl(world), wechat.refundNotificationV2(trade,
      { no: 'NEVERASKED1', id: '503', amount: 9900, status: 'SUCCESS' }));
    await world.untilStatus(subscription, 'running');
    assert.equal((await world.payment(subscription)).status, 'PAID');
    assert.equal((await world.subscription(subscription)).status, 'ACTIVE');
  });

test('nobody at WeChat complained', () => {
  assert.deepEqual(wechat.complaints, []);
});

// -- APIv2 alone, with MD5 ----------------------------------------------------

test('a merchant with APIv2 alone and MD5: orders, callbacks, asking, closing',
  async () => {
    const own = await World.start({
      wechat: { signType: 'MD5' }, railway: false, mail: false,
      config: {
        wechat: { api_v3_key_file: undefined, merchant_serial: undefined,
          merchant_private_key_file: undefined, platform_keys: undefined },
        payment: { order_ttl: '6s', ask_interval: '1s' },
      },
    });
    try {
      const told = await own.paid(undefined, WECHAT);
      assert.match(told.order.qrCode, /^weixin:\/\//);
      assertFail(await own.wechat.notifyV2(told.trade, {},
        { type: 'HMAC-SHA256', named: false }), 400, 'HMAC instead of MD5');
      assertSuccess(await own.wechat.notifyV2(told.trade, {},
        { named: false }));
      assert.equal((await own.payment(told)).status, 'PAID');
      const lost = await own.paid(undefined, WECHAT);
      await own.untilSubscription(lost, 'ACTIVE');
      const unpaid = await pending(own);
      await own.untilPayment(unpaid, 'CLOSED');
      assert.ok(own.wechat.closed(unpaid.trade), 'closed at WeChat first');
      assert.deepEqual(own.wechat.complaints, []);
      assert.ok(own.wechat.calls.every((c) => c.call.startsWith('v2.')),
        JSON.stringify(own.wechat.calls));
    } finally {
      await own.stop();
    }
  });

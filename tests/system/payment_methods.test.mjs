// Orders of every kind at both gateways, and a gateway that is not there.

import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import { after, before, test } from './lib/suite.mjs';
import { RFC3339_UTC } from './lib/client.mjs';
import { World } from './lib/world.mjs';

let world;
before(async () => {
  world = await World.start({ wechat: true, railway: false, mail: false });
});
after(() => world?.stop());

const create = async (options) => world.create(await world.subscribe(), options);

function assertOrder(order, gateway, method) {
  assert.match(order.orderId, /^[A-Za-z0-9_]{6,32}$/);
  assert.equal(order.gateway, gateway);
  assert.equal(order.method, method);
  assert.equal(order.amount, '99.00');
  assert.equal(order.currency, 'CNY');
  assert.equal(order.status, 'PENDING');
  assert.match(order.expiresAt, RFC3339_UTC);
}

test('Alipay qr: the code of a precreated trade', async () => {
  const order = (await create({ method: 'qr' })).ok(201);
  assertOrder(order, 'ALIPAY', 'qr');
  assert.match(order.qrCode, /^https:\/\/qr\.alipay\.com\//);
  const trade = world.alipay.trades.get(order.orderId);
  assert.equal(trade.totalAmount, '99.00');
  assert.equal(trade.notifyUrl, `${world.url}/api/payment/alipay/notify`);
  assert.deepEqual(world.alipay.complaints, []);
});

test('Alipay page and wap call nobody', async () => {
  const { length } = world.alipay.calls;
  for (const method of ['page', 'wap']) {
    const subscription = await world.order(await world.subscribe(), { method });
    assertOrder(subscription.order, 'ALIPAY', method);
  }
  assert.equal(world.alipay.calls.length, length);
});

test('WeChat native: the code_url as a QR code', async () => {
  const order = (await create({ gateway: 'WECHAT', method: 'native' })).ok(201);
  assertOrder(order, 'WECHAT', 'native');
  const trade = world.wechat.trades.get(order.orderId);
  assert.equal(order.qrCode, trade.codeUrl);
  assert.equal(trade.total, 9900);
  assert.equal(trade.notifyUrl, `${world.url}/api/payment/wechat/notify`);
});

test('WeChat native: time_expire tells when the order ends', async () => {
  const order = (await create({ gateway: 'WECHAT', method: 'native' })).ok(201);
  const { timeExpire } = world.wechat.trades.get(order.orderId);
  assert.ok(Math.abs(Date.parse(timeExpire) - Date.parse(order.expiresAt))
    < 61_000, `${timeExpire}, ${order.expiresAt}`);
});

test('WeChat h5: a URL for the payer', async () => {
  const order = (await create({ gateway: 'WECHAT', method: 'h5' })).ok(201);
  assertOrder(order, 'WECHAT', 'h5');
  assert.equal(order.payUrl, world.wechat.trades.get(order.orderId).h5Url);
});

test('WeChat jsapi: parameters that WeChat\'s browser accepts', async () => {
  const openid = 'oUpF8uMuAJO_M2pxb1Q9zNjWeS6o';
  const order = (await create({ gateway: 'WECHAT', method: 'jsapi', openid }))
    .ok(201);
  assertOrder(order, 'WECHAT', 'jsapi');
  const trade = world.wechat.trades.get(order.orderId);
  assert.equal(trade.openid, openid);
  assert.equal(order.prepayId, trade.prepayId);
  const { appId, timeStamp, nonceStr, package: pack, signType, paySign }
    = order.payParams;
  assert.equal(appId, world.wechat.appId);
  assert.match(timeStamp, /^\d{10}$/);
  assert.ok(Math.abs(Number(timeStamp) - Date.now() / 1000) < 60);
  assert.match(nonceStr, /^[0-9A-Za-z]{1,32}$/);
  assert.equal(pack, `prepay_id=${trade.prepayId}`);
  assert.equal(signType, 'RSA');
  assert.ok(crypto.verify('sha256',
    Buffer.from(`${appId}\n${timeStamp}\n${nonceStr}\n${pack}\n`),
    world.wechat.merchant.publicKey, Buffer.from(paySign, 'base64')), 'paySign');
});

test('jsapi without an openid, or with nonsense, is 400', async () => {
  for (const openid of [undefined, '', 7, { a: 1 }, 'x'.repeat(300)]) {
    const { user, id } = await world.subscribe();
    (await user.post('/api/payment/create', { subscriptionId: id,
      gateway: 'WECHAT', method: 'jsapi', openid })).fails(400);
  }
});

test('a method of the other gateway, or of nobody, is 400', async () => {
  for (const [gateway, methods] of [
    ['ALIPAY', ['native', 'h5', 'jsapi', 'app', '']],
    ['WECHAT', ['page', 'wap', 'qr', 'NATIVE', '']],
    ['PAYPAL', ['page']]]) {
    for (const method of methods) (await create({ gateway, method })).fails(400);
  }
});

test('nobody complained about all of these', () => {
  assert.deepEqual(world.alipay.complaints, []);
  assert.deepEqual(world.wechat.complaints, []);
});

const remote = { ALIPAY: 'qr', WECHAT: 'native' };
const open = { ALIPAY: (t) => t.status === 'WAIT_BUYER_PAY',
  WECHAT: (t) => t.status === 'NOTPAY' };
const precreate = { ALIPAY: 'precreate', WECHAT: 'native' };

/** The trades that are open at the gateway and were not there `before`. */
const newlyOpen = (gateway, before) => [...world.gateway(gateway).trades.values()]
  .filter((t) => !before.has(t.outTradeNo) && open[gateway](t))
  .map((t) => t.outTradeNo);

for (const [gateway, method] of Object.entries(remote)) {
  test(`${gateway} is down: an error in words, and the same key works later`,
    async () => {
      const at = world.gateway(gateway);
      const subscription = await world.subscribe();
      const known = new Set(at.trades.keys());
      const key = crypto.randomUUID();
      const attempt = () => world.create(subscription, { gateway, method, key });
      at.mode = 'down';
      try {
        const first = (await attempt()).fails([502, 503]);
        const second = (await attempt()).fails([502, 503]);
        assert.equal(first.error, second.error, 'a stable code');
      } finally {
        at.mode = 'ok';
      }
      const order = (await attempt()).ok(201);
      assertOrder(order, gateway, method);
      assert.ok(order.qrCode);
      const again = await attempt();
      assert.equal(again.ok(again.status).orderId, order.orderId);
      assert.deepEqual(newlyOpen(gateway, known), [order.orderId]);
      assert.equal((await world.payment({ ...subscription, order })).status,
        'PENDING');
    });

  test(`${gateway}: made, but the answer was lost: no second order is left open`,
    async () => {
      const at = world.gateway(gateway);
      const subscription = await world.subscribe();
      const known = new Set(at.trades.keys());
      const key = crypto.randomUUID();
      const attempt = () => world.create(subscription, { gateway, method, key });
      const fault = at.fault({ call: precreate[gateway], kind: 'drop',
        when: 'after', times: Infinity });
      (await attempt()).fails([502, 503]);
      fault.stop();
      const order = (await attempt()).ok(201);
      await world.eventually('one is open', () => {
        const now = newlyOpen(gateway, known);
        // What Alipay does not know for a trade yet cannot be closed there.
        return gateway === 'ALIPAY' ? now.includes(order.orderId)
          : now.length === 1 && now[0] === order.orderId;
      });
      const calls = at.calls.filter((c) => (c.call ?? c.method).endsWith(
        precreate[gateway]) && c.fault === 'drop');
      assert.ok(calls.length >= 1);
    });

  test(`${gateway}: an answer that is not the gateway's is not used`,
    async () => {
      for (const kind of ['forged', 'unsigned', '500']) {
        const at = world.gateway(gateway);
        const fault = at.fault({ call: precreate[gateway], kind,
          times: Infinity });
        const answer = await create({ gateway, method });
        fault.stop();
        assert.ok(fault.fired >= 1);
        answer.fails([502, 503]);
        assert.ok(!/(pr=|\.com\/)forged/.test(answer.text), String(answer));
      }
    });
}

test('one gateway that is down leaves the other alone', async () => {
  world.wechat.mode = 'down';
  try {
    (await create({ method: 'qr' })).ok(201);
    (await create({ method: 'page' })).ok(201);
  } finally {
    world.wechat.mode = 'ok';
  }
});

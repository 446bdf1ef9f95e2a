// The callback inbox: forged ones are bounded, the others kept, found,
// replayed and settled.

import assert from 'node:assert/strict';
import { after, before, test } from './lib/suite.mjs';
import { World } from './lib/world.mjs';

const KEPT = 200;

let world;
before(async () => {
  world = await World.start({ wechat: true, railway: false, mail: false });
});
after(() => world?.stop());

const rowsOf = (filter) => world.operator.all(`/api/ops/callbacks${filter}`);
const counted = async (labels) => (await world.metrics())
  .sum('slipway_callbacks_total', labels);

const claim = (trade, fields) => world.alipay.notification(
  { ...trade, status: 'TRADE_SUCCESS', paidAt: Date.now() }, fields);

/** An order about which Alipay says something that we do not accept. */
async function contradicted(fields = { total_amount: '0.01' }) {
  const subscription = await world.order(await world.subscribe());
  const answer = await world.alipay.post(subscription.trade.notifyUrl,
    world.alipay.sign(claim(subscription.trade, fields)));
  assert.equal(`${answer.status} ${answer.text}`, '200 failure');
  await world.eventually('attention', async () => (
    (await world.attentionOf(subscription)).length > 0));
  [subscription.row] = await world.callbacksOf(subscription.order.orderId);
  return subscription;
}

/** Everything that a callback could have changed. */
async function picture(subscription) {
  const { status, transactionId, paidAt, amount }
    = await world.payment(subscription);
  return JSON.stringify([status, transactionId, paidAt, amount,
    await world.subscription(subscription),
    await world.notifications(subscription.user),
    await world.attentionOf(subscription)]);
}

const replay = (row, query = '') => world.operator.post(
  `/api/ops/callbacks/${row.id}/replay${query}`);

async function dryRun(row) {
  const data = (await replay(row, '?dryRun=true')).ok();
  assert.equal(data.dryRun, true);
  assert.ok(typeof data.verdict === 'string' && data.verdict,
    JSON.stringify(data));
  assert.ok(Array.isArray(data.changes));
  return data;
}

test('forged ones are counted, and a sample is kept', async () => {
  const before_ = await counted({ outcome: 'forged' });
  const subscription = await world.order(await world.subscribe());
  const { trade } = subscription;
  const forged = world.alipay.sign(claim(trade), world.alipay.stranger.privateKey);
  assert.equal((await world.alipay.post(trade.notifyUrl, forged)).status, 400);
  const body = world.wechat.event('TRANSACTION.SUCCESS', { a: 1 });
  assert.equal((await world.wechat.post(
    `${world.url}/api/payment/wechat/notify`, body,
    { key: world.wechat.stranger.privateKey })).status, 401);
  await world.eventually('counted', async () => (
    await counted({ outcome: 'forged' })) >= before_ + 2);
  const rows = await world.eventually('a sample', async () => {
    const found = await rowsOf('?outcome=forged');
    return found.length >= 2 && found;
  });
  assert.ok(rows.every((row) => row.outcome === 'forged'));
  await world.assertUntouched(subscription);
  assert.deepEqual(await world.attention(), [], 'a forgery is no case');
});

test('a flood of forged ones leaves a bounded sample, and all are counted',
  async () => {
    const before_ = await counted({ outcome: 'forged' });
    const subscription = await world.order(await world.subscribe());
    const { trade } = subscription;
    let left = 500;
    await Promise.all(Array.from({ length: 10 }, async () => {
      while (left > 0) {
        const i = left -= 1;
        const answer = await world.alipay.post(trade.notifyUrl, { ...claim(trade),
          notify_id: `forged-${i}`, out_trade_no: `NONE${i}`, sign: 'Zm9yZ2Vk' });
        assert.equal(`${answer.status} ${answer.text}`, '400 Invalid signature');
      }
    }));
    await world.eventually('all are counted', async () => (
      await counted({ outcome: 'forged' })) >= before_ + 500);
    assert.ok((await rowsOf('?outcome=forged')).length <= KEPT);
    // In between them a true one is found and counts.
    world.alipay.pay(trade);
    await world.notified(subscription);
    assert.equal((await world.callbacksOf(subscription.order.orderId)).length, 1);
    assert.equal((await world.payment(subscription)).status, 'PAID');
  });

test('the inbox is filtered by gateway and by outcome', async () => {
  const ali = await world.activated();
  const wx = await world.activated(undefined, { gateway: 'WECHAT' });
  const odd = await contradicted();
  const [a] = await world.callbacksOf(ali.order.orderId);
  const [w] = await world.callbacksOf(wx.order.orderId);
  assert.notEqual(a.gateway, w.gateway);
  assert.notEqual(a.outcome, odd.row.outcome);
  for (const row of [a, w]) {
    const found = await rowsOf(`?gateway=${row.gateway}`);
    assert.ok(found.some((r) => r.id === row.id));
    assert.ok(found.every((r) => r.gateway === row.gateway));
  }
  for (const row of [a, odd.row]) {
    const found = await rowsOf(`?outcome=${row.outcome}`);
    assert.ok(found.some((r) => r.id === row.id));
    assert.ok(found.every((r) => r.outcome === row.outcome));
  }
  const both = await rowsOf(`?gateway=${a.gateway}&outcome=${a.outcome}`);
  assert.ok(both.some((r) => r.id === a.id));
  assert.ok(both.every((r) => r.gateway === a.gateway
    && r.outcome === a.outcome));
  for (const bad of ['?outcome=nonsense', '?gateway=nonsense']) {
    const answer = await world.operator.get(`/api/ops/callbacks${bad}`);
    if (answer.status === 200) assert.deepEqual(answer.list().data, []);
    else answer.fails(400);
  }
});

test('a list in pages has every row once', async () => {
  const rows = await world.operator.all('/api/ops/callbacks', { limit: 7 });
  assert.ok(rows.length >= 4, `${rows.length} rows`);
  assert.equal(new Set(rows.map((r) => r.id)).size, rows.length);
});

test('a dry run of what was applied tells and changes nothing', async () => {
  const subscription = await world.activated();
  const [row] = await world.callbacksOf(subscription.order.orderId);
  const before_ = await picture(subscription);
  await dryRun(row);
  assert.equal(await picture(subscription), before_);
  const [now] = await world.callbacksOf(subscription.order.orderId);
  assert.deepEqual(now, row, 'the row itself stays as it was');
});

test('a replay of what was applied changes nothing', async () => {
  const subscription = await world.activated();
  const [row] = await world.callbacksOf(subscription.order.orderId);
  const before_ = await picture(subscription);
  (await replay(row)).success();
  assert.equal(await picture(subscription), before_);
});

test('a contradiction stays one, dry or not', async () => {
  const subscription = await contradicted();
  const before_ = await picture(subscription);
  const dry = await dryRun(subscription.row);
  assert.equal(await picture(subscription), before_);
  const answer = await replay(subscription.row);
  assert.ok(answer.status < 500, String(answer));
  assert.equal(await picture(subscription), before_);
  const [row] = await world.callbacksOf(subscription.order.orderId);
  assert.equal(row.outcome, subscription.row.outcome);
  assert.ok(dry.verdict);
});

test('a replay works on the callback as it was kept, when it was kept',
  async () => {
    // APIv3 has a clock check: a callback that was authentic stays so.
    const subscription = await world.activated(undefined, { gateway: 'WECHAT' });
    const [row] = await world.callbacksOf(subscription.order.orderId);
    await dryRun(row);
    (await replay(row)).success();
    assert.equal((await world.payment(subscription)).status, 'PAID');
  });

test('a contradicted one is settled with a reason and needs nobody any more',
  async () => {
    const subscription = await contradicted({ seller_id: '2088000000009999' });
    const other = await contradicted();
    const settle = (body, api = world.operator) => api.post(
      `/api/ops/callbacks/${subscription.row.id}/settle`, body);
    (await settle({ reason: 'x' }, subscription.user)).fails(403,
      { error: 'forbidden' });
    (await settle({})).fails(400);
    assert.equal((await world.attentionOf(subscription)).length, 1);
    (await settle({ reason: 'the merchant moved; refunded by hand' })).success();
    await world.eventually('no attention any more', async () => (
      (await world.attentionOf(subscription)).length === 0));
    assert.equal((await world.attentionOf(other)).length, 1);
    assert.equal((await world.payment(subscription)).status, 'PENDING');
    assert.equal((await world.callbacksOf(subscription.order.orderId)).length, 1,
      'it is kept');
  });

test('what is not there, and who may not', async () => {
  const [row] = await rowsOf('');
  const user = world.user();
  for (const [method, path] of [['GET', '/api/ops/callbacks'],
    ['GET', `/api/ops/callbacks/${row.id}`],
    ['POST', `/api/ops/callbacks/${row.id}/replay?dryRun=true`],
    ['POST', `/api/ops/callbacks/${row.id}/replay`]]) {
    (await user.send(method, path)).fails(403, { error: 'forbidden' });
    (await world.anonymous.send(method, path)).fails(401);
  }
  for (const id of ['00000000-0000-4000-8000-000000000000', '999999999',
    'nonsense']) {
    (await world.operator.get(`/api/ops/callbacks/${id}`)).fails([400, 404]);
    (await world.operator.post(`/api/ops/callbacks/${id}/replay`))
      .fails([400, 404]);
    (await world.operator.post(`/api/ops/callbacks/${id}/settle`,
      { reason: 'x' })).fails([400, 404]);
  }
});

test('no secret of a gateway is in the inbox or in the log', async () => {
  const rows = await rowsOf('');
  const texts = [world.server.log];
  for (const row of rows.slice(0, 20)) {
    texts.push((await world.operator.get(`/api/ops/callbacks/${row.id}`)).text);
  }
  for (const secret of [world.wechat.v2Key, world.wechat.v3Key,
    world.wechat.merchant.privateKey.split('\n')[1],
    world.alipay.app.privateKey.split('\n')[1]]) {
    assert.ok(texts.every((text) => !text.includes(secret)));
  }
});

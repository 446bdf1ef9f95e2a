// An absent section turns its part off, and the rest goes on.

import assert from 'node:assert/strict';
import { test } from './lib/suite.mjs';
import { Postgres } from './lib/postgres.mjs';
import { World } from './lib/world.mjs';

async function inWorld(options, body) {
  const world = await World.start(options);
  try {
    await body(world);
  } finally {
    await world.stop();
  }
}

test('no [railway]: paid is ACTIVE, the deployment is skipped and says so',
  () => inWorld({ railway: false }, async (world) => {
    const subscription = await world.activated();
    assert.equal((await world.subscription(subscription)).status, 'ACTIVE');
    const told = /skip|not configured|switched off|disabled|跳过|未配置|未启用/i;
    const status = await world.eventually('it says so', async () => {
      const now = await world.status(subscription);
      return told.test(`${now.message} ${now.error}`) && now;
    });
    assert.notEqual(status.status, 'running');
    assert.notEqual(status.status, 'failed', 'nobody failed');
    assert.ok(world.server.log.length > 0);
    assert.equal((await world.notifications(subscription.user,
      'PAYMENT_RECEIVED')).length, 1);
    assert.equal((await world.notifications(subscription.user,
      'DEPLOYMENT_FAILED')).length, 0);
    // Ready all the same: it is meant to be so.
    assert.equal(await world.admin('/readyz'), 200);
  }));

test('no [railway] first, then one: a retry deploys', () => inWorld({},
  async (world) => {
    const { railway } = world.settings;
    await world.server.terminate();
    world.settings.railway = undefined;
    world.writeConfig();
    await world.server.start();
    const subscription = await world.activated();
    await world.server.terminate();
    world.settings.railway = railway;
    world.writeConfig();
    await world.server.start();
    // It may start by itself; otherwise the user asks for it.
    const retry = await subscription.user.post('/api/deployment/retry',
      { subscriptionId: subscription.id });
    if (retry.status !== 200) retry.fails([400, 409]);
    await world.untilStatus(subscription, 'running');
    world.assertOneInstance(subscription);
  }));

test('no [alipay]: an order is refused in words, a notification too',
  () => inWorld({ alipay: false }, async (world) => {
    const { user, id } = await world.subscribe();
    const body = (await user.post('/api/payment/create', { subscriptionId: id,
      gateway: 'ALIPAY', method: 'page' })).fails([400, 404, 409, 422, 501, 503]);
    assert.match(`${body.message} ${body.error}`,
      /alipay|支付宝|gateway|configured|available/i);
    const notify = await world.anonymous.send('POST',
      '/api/payment/alipay/notify', { bytes: 'a=b&sign=x',
        headers: { 'Content-Type': 'application/x-www-form-urlencoded' } });
    assert.ok(notify.status >= 400, String(notify));
    assert.notEqual(notify.text, 'success');
    (await user.get('/api/subscriptions')).list();
  }));

test('no [mail]: everything runs, and the app still tells', () => inWorld(
  { mail: false }, async (world) => {
    const subscription = await world.running();
    await world.eventually('the notification', async () => (
      (await world.notifications(subscription.user, 'DEPLOYMENT_SUCCESS'))
        .length === 1));
    assert.deepEqual(await world.attention(), []);
  }));

test('the DATABASE_URL of the seed deployment is honoured', async () => {
  const postgres = await Postgres.start();
  try {
    await inWorld({ database: postgres.url, railway: false, mail: false,
      config: { database: { url: undefined } },
      env: { DATABASE_URL: postgres.url } }, async (world) => {
      await world.subscribe();
    });
  } finally {
    await postgres.remove();
  }
});

// The provider and the mail server are gone, slow, silent, break off in the
// middle or talk nonsense, on the wire: everything else goes on meanwhile, and
// once they are back all that waited is done, once.

import assert from 'node:assert/strict';
import { after, before, test } from './lib/suite.mjs';
import { INSTANT } from './imposters/railway.mjs';
import { assertAlive, assertWhole } from './lib/invariants.mjs';
import { DAMAGES } from './lib/proxy.mjs';
import { World } from './lib/world.mjs';

let world;
/** Everything that is paid in `world`. */
const paid = [];
before(async () => {
  world = await World.start({ wechat: true, proxies: ['railway', 'smtp'],
    railway: { times: INSTANT },
    config: {
      deployment: { attempts: 20, max_concurrent: 8 },
      railway: { request_timeout: '2s', visibility_lag: '1s',
        requests_per_second: 1_000, requests_per_hour: 1_000_000 },
      mail: { timeout: '2s' },
    } });
});
after(() => world?.stop());

/** How often calls have not ended well so far. */
const failures = async (of, family) => {
  const metrics = await of.metrics();
  return metrics.sum(family) - metrics.sum(family, { outcome: 'ok' })
    - metrics.sum(family, { outcome: 'sent' });
};

for (const damage of DAMAGES) {
  test(`the provider: ${damage}`, async () => {
    const wire = world.proxies.railway;
    const family = 'slipway_provider_requests_total';
    const failed = await failures(world, family);
    await wire.set(damage);
    const some = [];
    try {
      for (const gateway of ['ALIPAY', 'WECHAT', 'ALIPAY']) {
        some.push(await world.activated(undefined, { gateway }));
      }
      if (damage === 'slow') {
        await world.eventually('calls are slow', () => wire.damaged >= 5);
      } else {
        await world.eventually('calls fail', async () => (
          await failures(world, family) >= failed + 3), { within: 30_000 });
      }
      await assertAlive(world);
      // People see their payment, and that it is being worked on.
      for (const subscription of some) {
        assert.equal((await world.payment(subscription)).status, 'PAID');
        assert.notEqual((await world.status(subscription)).status, 'failed');
      }
    } finally {
      await wire.set('open');
    }
    paid.push(...some);
    await assertWhole(world, paid);
  });

  test(`the mail server: ${damage}`, async () => {
    const wire = world.proxies.smtp;
    wire.delay = 100;
    const failed = await failures(world, 'slipway_notifications_total');
    await wire.set(damage);
    const subscription = await world.paid();
    try {
      await world.notified(subscription);
      // It runs, whether anybody can be told by mail or not.
      await world.untilStatus(subscription, 'running');
      if (damage === 'slow') {
        await world.eventually('it is slow', () => wire.damaged >= 3);
      } else {
        await world.eventually('a mail fails', async () => (
          await failures(world, 'slipway_notifications_total') > failed),
        { within: 30_000 });
        assert.equal(world.smtp.to(subscription.user.email).length, 0);
      }
      await assertAlive(world);
    } finally {
      await wire.set('open');
    }
    paid.push(subscription);
    await assertWhole(world, paid);
  });
}

test('all of them at once', async () => {
  const { railway, smtp } = world.proxies;
  await railway.set('refuse');
  await smtp.set('refuse');
  const some = [];
  try {
    for (let i = 0; i < 3; i += 1) some.push(await world.activated());
    await assertAlive(world);
  } finally {
    await railway.set('open');
    await smtp.set('open');
  }
  paid.push(...some);
  await assertWhole(world, paid);
});

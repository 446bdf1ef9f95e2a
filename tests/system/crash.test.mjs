// kill -9 at any moment, and answers that never arrive: one instance, one mail.

import assert from 'node:assert/strict';
import { after, before, test } from './lib/suite.mjs';
import { sleep } from './lib/wait.mjs';
import { World } from './lib/world.mjs';

let world;
before(async () => {
  world = await World.start({ railway: { times: { workflow: 200, queued: 100,
    initializing: 100, building: 400, deploying: 300 } } });
});
after(() => world?.stop());

/** One live project, one service, one mail, one notification of each type. */
async function assertOnce(subscription) {
  const { publicUrl } = await world.untilStatus(subscription, 'running',
    { within: 60_000 });
  const project = world.assertOneInstance(subscription);
  await world.eventually('the mail', () => (
    world.successMails(subscription, publicUrl).length > 0), { within: 30_000 });
  for (const type of ['PAYMENT_RECEIVED', 'DEPLOYMENT_SUCCESS']) {
    assert.equal((await world.notifications(subscription.user, type)).length,
      1, type);
  }
  assert.equal(world.successMails(subscription, publicUrl).length, 1);
  const variables = JSON.stringify(project.firstDeployment.variables);
  assert.ok(variables.includes(subscription.mark));
  assert.equal((await world.subscription(subscription)).status, 'ACTIVE');
}

for (const offset of [0, 50, 200, 500, 1500]) {
  test(`killed ${offset} ms after success, then started again`, async () => {
    const subscription = await world.activated();
    await sleep(offset);
    await world.server.kill();
    await world.server.start();
    await assertOnce(subscription);
  });
}

test('killed again and again while one deployment is under way', async () => {
  const subscription = await world.activated();
  for (let i = 0; i < 4; i += 1) {
    await sleep(150 * (i + 1));
    await world.server.kill();
    await world.server.start();
  }
  await assertOnce(subscription);
});

for (const operation of ['projectCreate', 'templateDeployV2']) {
  for (const kind of ['504', 'reset', 'opaque']) {
    test(`${operation} took effect, but its answer was lost (${kind})`,
      async () => {
        const subscription = await world.paid();
        const fault = world.railway.fault({ operation, kind, when: 'after' });
        await world.alipay.notify(subscription.trade);
        await assertOnce(subscription);
        assert.equal(fault.fired, 1);
      });
  }

  test(`killed while ${operation} had taken effect and not answered`,
    async () => {
      const subscription = await world.paid();
      const fault = world.railway.fault({ operation, kind: 'hang',
        when: 'after' });
      await world.alipay.notify(subscription.trade);
      await world.eventually('the call hangs', () => fault.fired === 1);
      await world.server.kill();
      world.railway.endHanging();
      await world.server.start();
      await assertOnce(subscription);
    });
}

test('a mail whose receipt was lost is the same mail again, if at all',
  async () => {
    world.smtp.mode = 'lost';
    const subscription = await world.activated();
    const { publicUrl } = await world.untilStatus(subscription, 'running');
    await world.eventually('taken, yet not confirmed', () => (
      world.successMails(subscription, publicUrl).length > 0));
    world.smtp.mode = 'ok';
    await world.server.kill();
    await world.server.start();
    await world.eventually('the notification', async () => (
      (await world.notifications(subscription.user, 'DEPLOYMENT_SUCCESS'))
        .length === 1));
    const ids = new Set(world.successMails(subscription, publicUrl)
      .map((m) => m.messageId));
    assert.equal(ids.size, 1, `${[...ids]}`);
  });

test('SIGTERM in the middle: exit 0, and it goes on after the start',
  async () => {
    world.railway.hold('BUILDING');
    const subscription = await world.activated();
    await world.untilStatus(subscription, 'deploying');
    assert.deepEqual(await world.server.terminate(), { code: 0, signal: null });
    world.railway.release('BUILDING');
    await world.server.start();
    await assertOnce(subscription);
  });

test('after all of that nothing is left over at the provider', async () => {
  const stats = (await world.operator.get('/api/deployment-monitor/stats'))
    .ok();
  assert.equal(world.railway.liveProjects().length, stats.running);
  assert.equal(stats.total, stats.running);
  assert.equal(stats.active, 0);
  assert.deepEqual(world.railway.complaints, []);
});

test('an embedded PostgreSQL outlives kill -9 of the server, with its data',
  async () => {
    const own = await World.start({ database: 'embedded' });
    try {
      const subscription = await own.activated();
      await own.server.kill();
      await own.server.start();
      await own.untilStatus(subscription, 'running', { within: 60_000 });
      own.assertOneInstance(subscription);
      assert.deepEqual(await own.server.terminate(), { code: 0, signal: null });
    } finally {
      await own.stop();
    }
  });

// PostgreSQL goes away and comes back; nobody restarts the server.

import assert from 'node:assert/strict';
import { after, before, test } from './lib/suite.mjs';
import { World } from './lib/world.mjs';

let world;
let before_;
let subscription;
before(async () => {
  world = await World.start();
  before_ = await world.running();
  subscription = await world.paid();
});
after(() => world?.stop());

test('without its database the server is live but not ready', async () => {
  await world.postgres.stop('immediate');
  await world.eventually('not ready', async () => (
    await world.admin('/readyz') === 503));
  assert.equal(await world.admin('/healthz'), 200);
});

test('a notification is answered with 500 error, so that it comes again',
  async () => {
    const answer = await world.alipay.notify(subscription.trade, {},
      { timeout: 30_000 });
    assert.equal(`${answer.status} ${answer.text}`, '500 error');
  });

test('a forged one is still told apart', async () => {
  const params = world.alipay.sign(world.alipay.notification(
    subscription.trade), world.alipay.stranger.privateKey);
  const answer = await world.alipay.post(subscription.trade.notifyUrl, params,
    { timeout: 30_000 });
  assert.equal(answer.status, 400);
});

test('reads and writes are 503 with a stable code', async () => {
  const { user, id } = before_;
  const codes = new Set();
  for (const [method, path, body] of [
    ['GET', '/api/subscriptions'],
    ['GET', `/api/subscriptions/${id}`],
    ['GET', `/api/deployment/status/${id}`],
    ['GET', '/api/notifications'],
    ['POST', '/api/subscriptions', { planType: 'PRO' }],
  ]) {
    const answer = await user.send(method, path, { body, timeout: 30_000 });
    codes.add(answer.fails(503).error);
  }
  assert.equal(codes.size, 1, `${[...codes]}`);
});

test('what needs no database still works', async () => {
  assert.equal((await world.anonymous.get('/api/plans')).ok().length, 3);
  (await world.anonymous.get('/api/subscriptions')).fails(401);
});

test('when it is back the server recovers by itself', async () => {
  await world.postgres.start();
  await world.eventually('ready', async () => (
    await world.admin('/readyz') === 200), { within: 60_000 });
  // Each of its connections comes back on its own.
  await world.eventually('all of it reads again', async () => (
    (await world.status(before_)).status === 'running'), { within: 30_000 });
});

test('the repeated notification is a success, and it runs', async () => {
  const answer = await world.alipay.notify(subscription.trade);
  assert.equal(`${answer.status} ${answer.text}`, '200 success');
  await world.untilStatus(subscription, 'running', { within: 60_000 });
  world.assertOneInstance(subscription);
});

test('an outage in the middle of a deployment makes no second one',
  async () => {
    world.railway.hold('BUILDING');
    const other = await world.activated();
    await world.untilStatus(other, 'deploying');
    await world.postgres.stop('immediate');
    await world.eventually('not ready', async () => (
      await world.admin('/readyz') === 503));
    world.railway.release('BUILDING');
    await world.postgres.start();
    const { publicUrl } = await world.eventually('running', async () => {
      const status = await world.status(other);
      return status.status === 'running' && status;
    }, { within: 60_000 });
    world.assertOneInstance(other);
    await world.eventually('the mail', () => (
      world.successMails(other, publicUrl).length > 0), { within: 30_000 });
    assert.equal(world.successMails(other, publicUrl).length, 1);
  });

test('the password of the database is not in the log', () => {
  assert.ok(!world.server.log.includes(world.postgres.password));
});

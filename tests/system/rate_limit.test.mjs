// A user who asks too often is told so, and nobody else feels it.

import assert from 'node:assert/strict';
import { after, before, test } from './lib/suite.mjs';
import { World } from './lib/world.mjs';

const RATE = 2;
const BURST = 10;

let world;
before(async () => {
  world = await World.start({ config: { limits: {
    user_requests_per_second: RATE, user_request_burst: BURST } } });
});
after(() => world?.stop());

/** So many requests at the same time; their answers. */
const flood = (api, count, path = '/api/subscriptions') => Promise.all(
  Array.from({ length: count }, () => api.get(path)));

const refused = (answers) => answers.filter((x) => x.status === 429);

test('what is over is 429 with Retry-After, and counted', async () => {
  const user = world.user();
  const answers = await flood(user, 60);
  const over = refused(answers);
  // Some seconds may pass meanwhile on a busy machine.
  assert.ok(over.length >= 60 - BURST - 20 * RATE && over.length <= 60 - BURST,
    `${over.length} of 60 were refused`);
  for (const answer of over) {
    answer.fails(429, { error: 'rate_limited' });
    const wait = Number(answer.headers['retry-after']);
    assert.ok(Number.isInteger(wait) && wait >= 1 && wait <= 10, String(wait));
  }
  for (const answer of answers.filter((x) => !over.includes(x))) answer.list();
  const metrics = await world.metrics();
  assert.ok(metrics.sum('slipway_shed_total', { reason: 'user_rate' })
    >= over.length);
});

test('others are served meanwhile, and so is he a little later', async () => {
  const noisy = world.user();
  assert.ok(refused(await flood(noisy, 60)).length > 0);
  (await world.user().get('/api/subscriptions')).list();
  (await world.anonymous.get('/api/plans')).ok();
  await world.eventually('he is served again', async () =>
    (await noisy.get('/api/subscriptions')).status === 200);
});

test('two tokens of one user are one user', async () => {
  const one = world.user();
  const other = world.user({ sub: one.sub, locale: 'en' });
  await flood(one, 60);
  assert.ok(refused(await flood(other, 30)).length > 0);
});

test('operators have ten times as much', async () => {
  const staff = world.user({ role: 'operator' });
  assert.equal(refused(await flood(staff, 10 * BURST,
    '/api/deployment-monitor/stats')).length, 0);
  assert.ok(refused(await flood(staff, 30 * BURST,
    '/api/deployment-monitor/stats')).length > 0);
});

test('a bad token spends nobody\'s requests', async () => {
  const user = world.user();
  const forged = world.anonymous.as(`${user.token.slice(0, -4)}AAAA`);
  for (const answer of await flood(forged, 60)) answer.fails(401);
  assert.equal(refused(await flood(user, BURST)).length, 0);
});

test('the gateways are never refused for coming often', async () => {
  const subscription = await world.paid();
  const answers = await Promise.all(Array.from({ length: 60 }, () =>
    world.alipay.notify(subscription.trade)));
  for (const answer of answers) world.assertAccepted(answer, world.alipay);
});

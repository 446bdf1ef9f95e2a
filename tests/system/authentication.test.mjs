// Who may do what: tokens that are no tokens, and other people's things.

import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import { after, before, served, test } from './lib/suite.mjs';
import { request } from './lib/http.mjs';
import { now, token } from './lib/jwt.mjs';
import { World } from './lib/world.mjs';

let world;
let mine; // a running subscription of somebody
before(async () => {
  world = await World.start();
  mine = await world.running();
});
after(() => world?.stop());

const unknown = crypto.randomUUID();

/** [method, path, body] of everything a user's token opens. */
const forUsers = served([
  ['POST', '/api/subscriptions', { planType: 'PRO' }],
  ['GET', '/api/subscriptions'],
  ['GET', `/api/subscriptions/${unknown}`],
  ['POST', '/api/payment/create', { subscriptionId: unknown,
    gateway: 'ALIPAY', method: 'page' }],
  ['GET', '/api/payment/unknown_order'],
  ['GET', `/api/deployment/status/${unknown}`],
  ['GET', `/api/deployment/events/${unknown}`],
  ['GET', `/api/deployment-monitor/progress/${unknown}`],
  ['POST', '/api/deployment/retry', { subscriptionId: unknown }],
  ['DELETE', '/api/deployment/cancel', { subscriptionId: unknown }],
  ['GET', `/api/deployment/logs/${unknown}`],
  ['GET', `/api/deployment/logs/${unknown}/stream`],
  ['GET', '/api/notifications'],
  ['GET', '/api/notifications/unread-count'],
  ['POST', '/api/notifications/read-all'],
  ['GET', '/api/notifications/preferences'],
  ['PUT', '/api/notifications/preferences', { mail: { progress: true } }],
  ['POST', `/api/notifications/${unknown}/read`],
]);

const forOperators = served([
  ['GET', '/api/deployment-monitor/stats'],
  ['GET', '/api/deployment/attention'],
  ['GET', '/api/ops/subscriptions'],
  ['GET', `/api/ops/subscriptions/${unknown}/timeline`],
  ['POST', `/api/ops/subscriptions/${unknown}/retry`, { reason: 'x' }],
  ['POST', `/api/ops/subscriptions/${unknown}/cancel`, { reason: 'x' }],
  ['POST', `/api/ops/subscriptions/${unknown}/refund`, { reason: 'x' }],
  ['POST', `/api/ops/subscriptions/${unknown}/terminate`, { reason: 'x' }],
  ['GET', '/api/ops/callbacks'],
  ['GET', `/api/ops/callbacks/${unknown}`],
  ['POST', `/api/ops/callbacks/${unknown}/replay?dryRun=true`],
  ['GET', '/api/ops/templates'],
  ['GET', '/api/ops/templates/deployment_success'],
  ['GET', '/api/ops/mail/bounces'],
  ['POST', '/api/ops/mail/bounces', { recipient: 'a@example.com',
    reason: 'x' }],
  ['DELETE', '/api/ops/mail/bounces?address=a@example.com'],
  ['GET', '/api/ops/actors'],
  ['GET', '/api/ops/automation'],
  ['PUT', '/api/ops/automation', { enabled: true }],
  ['GET', '/api/ops/audit'],
  ['POST', '/api/ops/credentials/rotate'],
]);

test('without a token everything is 401', async () => {
  const codes = new Set();
  for (const [method, path, body] of [...forUsers, ...forOperators]) {
    const answer = await world.anonymous.send(method, path, { body });
    codes.add(answer.fails(401).error);
  }
  assert.equal(codes.size, 1, `one code for one thing: ${[...codes]}`);
});

test('a token of a user opens nothing of the operator: 403 forbidden',
  async () => {
    const user = world.user();
    for (const [method, path, body] of forOperators) {
      (await user.send(method, path, { body })).fails(403,
        { error: 'forbidden' });
    }
    for (const role of ['Admin', 'Operator', '', ['operator'], true]) {
      const other = world.anonymous.as(token(world.secret,
        { sub: 'u', role }));
      const answer = await other.get('/api/deployment-monitor/stats');
      answer.fails([401, 403]);
    }
  });

const b64 = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

function badTokens() {
  const { secret } = world;
  const good = token(secret, { sub: 'u' });
  const [head, body, signature] = good.split('.');
  const { publicKey } = crypto.generateKeyPairSync('rsa', {
    modulusLength: 2048, publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' } });
  return {
    empty: '',
    garbage: 'garbage',
    'three dots of garbage': 'a.b.c',
    'only two parts': `${head}.${body}`,
    'four parts': `${good}.x`,
    expired: token(secret, { sub: 'u', exp: now() - 3600 }),
    'expired long ago': token(secret, { sub: 'u', exp: 1 }),
    'exp below zero': token(secret, { sub: 'u', exp: -1 }),
    'no exp': token(secret, { sub: 'u', exp: undefined }),
    'exp is a string': token(secret, { sub: 'u', exp: 'never' }),
    'exp is null': token(secret, { sub: 'u', exp: null }),
    'not yet valid': token(secret, { sub: 'u', nbf: now() + 3600 }),
    'wrong secret': token('another secret', { sub: 'u' }),
    'no sub': token(secret, {}),
    'empty sub': token(secret, { sub: '' }),
    'sub is a number': token(secret, { sub: 7 }),
    'alg none': `${b64({ alg: 'none', typ: 'JWT' })}.${body}.`,
    'alg None': `${b64({ alg: 'None', typ: 'JWT' })}.${body}.`,
    'alg none with a signature': `${b64({ alg: 'none' })}.${body}.${signature}`,
    'no alg': token(secret, { sub: 'u' }, { header: { typ: 'JWT' } }),
    'alg RS256, signed with the secret': token(secret, { sub: 'u' },
      { header: { alg: 'RS256', typ: 'JWT' } }),
    'HMAC with a public key': token(publicKey, { sub: 'u' }),
    'alg HS512 that is none': token(secret, { sub: 'u' },
      { header: { alg: 'HS512' } }),
    'no signature': `${head}.${body}.`,
    'cut signature': good.slice(0, -2),
    'other claims under the signature': `${head}.${b64({ sub: 'other',
      exp: now() + 3600 })}.${signature}`,
    'claims are no object': token(secret, {}, {}).replace(/\.[^.]+\./,
      `.${b64([1])}.`),
    'not base64': `${head}.${body}.!!!!`,
  };
}

test('a bad token is 401, whatever is bad about it', async () => {
  for (const [what, bad] of Object.entries(badTokens())) {
    for (const path of ['/api/subscriptions', '/api/deployment-monitor/stats']) {
      const answer = await world.anonymous.as(bad).get(path);
      assert.equal(answer.status, 401, `${what}: ${answer}`);
      answer.fails(401);
    }
  }
});

test('a token anywhere but in a Bearer header is none', async () => {
  const good = world.user().token;
  const tries = [
    { headers: { Authorization: good } },
    { headers: { Authorization: `Basic ${good}` } },
    { headers: { Authorization: `Bearer${good}` } },
    { headers: { Cookie: `token=${good}` } },
  ];
  for (const { headers } of tries) {
    (await world.anonymous.get('/api/subscriptions', { headers })).fails(401);
  }
  (await world.anonymous.get(`/api/subscriptions?token=${good}`)).fails(401);
});

test('the word Bearer may be written in any case', async () => {
  const good = world.user().token;
  (await world.anonymous.get('/api/subscriptions',
    { headers: { Authorization: `bearer ${good}` } })).list();
});

test('a stranger gets 404 where there is nothing to see', async () => {
  const stranger = world.user();
  const { instanceId } = await world.status(mine);
  (await stranger.get(`/api/deployment/status/${mine.id}`)).fails(404,
    { message: 'Subscription not found' });
  (await stranger.get(`/api/deployment-monitor/progress/${instanceId}`))
    .fails(404);
  (await stranger.get(`/api/subscriptions/${mine.id}`)).fails(404);
  (await stranger.get(`/api/payment/${mine.order.orderId}`)).fails([403, 404]);
  (await stranger.get(`/api/deployment/events/${mine.id}`)).fails([403, 404]);
  assert.deepEqual((await stranger.get('/api/subscriptions')).list().data, []);
  assert.deepEqual((await stranger.get('/api/notifications')).list().data, []);
});

test('a stranger gets 403 where he tries to act', async () => {
  const stranger = world.user();
  const body = { subscriptionId: mine.id };
  (await stranger.post('/api/deployment/retry', body)).fails(403,
    { message: 'Unauthorized to access this subscription' });
  (await stranger.delete('/api/deployment/cancel', body)).fails(403);
  (await stranger.get(`/api/deployment/logs/${mine.id}`)).fails(403);
  (await stranger.post('/api/payment/create', { ...body, gateway: 'ALIPAY',
    method: 'page' })).fails([403, 404]);
  const [notification] = await world.notifications(mine.user);
  (await stranger.post(`/api/notifications/${notification.id}/read`))
    .fails([403, 404]);
  assert.equal((await world.notifications(mine.user))
    .find((n) => n.id === notification.id).readAt, null);
  assert.equal((await world.status(mine)).status, 'running');
  world.assertOneInstance(mine);
});

test('a refused token does not show in the log', async () => {
  const bad = token('another secret', { sub: 'somebody-in-the-log' });
  await world.anonymous.as(bad).get('/api/subscriptions');
  assert.ok(!world.server.log.includes(bad));
});

test('the admin listener needs no token, and is not the public one', async () => {
  assert.equal(await world.admin('/healthz'), 200);
  for (const path of ['/metrics', '/readyz']) {
    assert.equal((await request(`${world.url}${path}`)).status, 404, path);
  }
});

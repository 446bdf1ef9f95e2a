// `slipway serve --sandbox`: everything on one machine, nothing to configure.

import assert from 'node:assert/strict';
import { after, before, test } from './lib/suite.mjs';
import { killPostgresIn, temporaryDirectory } from './lib/cleanup.mjs';
import { Api } from './lib/client.mjs';
import { request } from './lib/http.mjs';
import { claimsOf } from './lib/jwt.mjs';
import { freePort } from './lib/ports.mjs';
import { Slipway } from './lib/slipway.mjs';
import { eventually, fatal } from './lib/wait.mjs';

let home;
let server;
let url;
let user;
let operator;

before(async () => {
  home = temporaryDirectory();
  const port = await freePort();
  url = `http://127.0.0.1:${port}`;
  server = new Slipway({ dir: home.dir, args: ['serve', '--sandbox',
    '--data-dir', `${home.dir}/sandbox`, '--port', String(port)] });
  server.spawn();
});

after(async () => {
  try {
    await server?.terminate();
  } finally {
    await server?.kill();
    if (home) killPostgresIn(home.dir);
    home?.remove();
  }
});

test('it prints a user token, an operator token and where it listens',
  async () => {
    const tokens = await eventually('both tokens', () => {
      if (!server.running) throw fatal(`it ended:\n${server.tail()}`);
      const found = [...new Set(server.log.match(
        /eyJ[\w-]+\.[\w-]+\.[\w-]+(?=\s|"|$)/g) ?? [])];
      return found.length >= 2 && found;
    }, { within: 60_000 });
    const ofOperator = tokens.find((t) => claimsOf(t).role === 'operator');
    const ofUser = tokens.find((t) => claimsOf(t).role !== 'operator');
    assert.ok(ofOperator && ofUser);
    assert.ok(claimsOf(ofUser).exp > Date.now() / 1000 + 600);
    assert.ok(server.log.includes(url), `${url} is not printed`);
    user = new Api(url, ofUser);
    operator = new Api(url, ofOperator);
    await eventually('it answers', async () => (
      (await user.get('/api/plans')).status === 200), { within: 30_000 });
  });

/** Clicks through the simulated payment page: follows it, submits its form. */
async function payLikeAPerson(payUrl) {
  const page = await request(payUrl);
  assert.ok(page.status >= 200 && page.status < 400, page.text);
  const form = /<form\b([^>]*)>([\s\S]*?)<\/form>/i.exec(page.text);
  if (!form) return;
  const attribute = (text, name) => (new RegExp(`\\b${name}\\s*=\\s*"([^"]*)"`,
    'i').exec(text)?.[1] ?? '').replaceAll('&amp;', '&').replaceAll('&quot;', '"');
  const fields = new URLSearchParams();
  const button = /<button\b[^>]*\bname="[^>]*>/i.exec(form[2])?.[0];
  for (const tag of [...form[2].matchAll(/<input\b[^>]*>/gi)].map((m) => m[0])
    .concat(button ?? [])) {
    if (attribute(tag, 'name')) {
      fields.append(attribute(tag, 'name'), attribute(tag, 'value'));
    }
  }
  const action = new URL(attribute(form[1], 'action') || payUrl, payUrl);
  const answer = await request(action, attribute(form[1], 'method')
    .toLowerCase() === 'post' ? { method: 'POST', body: fields.toString(),
      headers: { 'Content-Type': 'application/x-www-form-urlencoded' } }
    : {});
  assert.ok(answer.status < 400, `${answer.status} ${answer.text}`);
}

test('one subscription goes from order to running', async () => {
  const plans = (await new Api(url).get('/api/plans')).ok();
  assert.ok(plans.length >= 3);
  const { subscriptionId } = (await user.post('/api/subscriptions',
    { planType: 'PRO', channelCredentials: { TELEGRAM: { botToken: 't' } } }))
    .ok(201);
  const order = (await user.post('/api/payment/create', { subscriptionId,
    gateway: 'ALIPAY', method: 'page' })).ok(201);
  assert.match(order.payUrl, /^http:\/\/(127\.0\.0\.1|localhost)[:/]/,
    'the sandbox stays on this machine');
  await payLikeAPerson(order.payUrl);
  await eventually('PAID', async () => (await user.get(
    `/api/payment/${order.orderId}`)).ok().status === 'PAID',
  { within: 20_000, every: 200 });
  const status = await eventually('running', async () => {
    const now = (await user.get(`/api/deployment/status/${subscriptionId}`))
      .ok();
    return now.status === 'running' && now;
  }, { within: 60_000, every: 200 });
  assert.ok(status.publicUrl);
  assert.equal((await user.get(`/api/subscriptions/${subscriptionId}`)).ok()
    .status, 'ACTIVE');
  const types = (await user.all('/api/notifications')).map((n) => n.type);
  assert.ok(types.includes('DEPLOYMENT_SUCCESS'), `${types}`);
});

test('the operator sees it, the user may not', async () => {
  const stats = (await operator.get('/api/deployment-monitor/stats')).ok();
  assert.equal(stats.running, 1);
  (await user.get('/api/deployment-monitor/stats')).fails(403,
    { error: 'forbidden' });
});

test("the operators' page is served", async () => {
  const page = await request(`${url}/ops`);
  assert.ok(page.status < 400, String(page.status));
});

test('SIGTERM ends it with 0 and leaves no PostgreSQL behind', async () => {
  assert.deepEqual(await server.terminate(), { code: 0, signal: null });
  assert.equal(killPostgresIn(home.dir), 0);
});

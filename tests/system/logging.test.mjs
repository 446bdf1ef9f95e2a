// The log: one object per line with fields, nothing secret in it, and nobody
// waits for whoever reads it.

import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from './lib/suite.mjs';
import { spawnTied } from './lib/cleanup.mjs';
import { request } from './lib/http.mjs';
import { BINARY, cleanEnvironment } from './lib/slipway.mjs';
import { World } from './lib/world.mjs';

const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
const LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'critical'];

let world;
let subscription;
const password = `smtp-${crypto.randomBytes(12).toString('hex')}`;

before(async () => {
  world = await World.start({ wechat: true, config: {
    log: { level: 'trace', format: 'json' } } });
});
after(() => world?.stop());

/** All whole lines so far, as objects. */
const lines = () => world.server.stderr.split('\n').slice(0, -1)
  .map((line) => JSON.parse(line));

test('every line is one object with time, level and message', async () => {
  subscription = await world.order(await world.subscribe());
  subscription.gateway.pay(subscription.trade);
  assert.equal((await world.alipay.notify(subscription.trade, {},
    { headers: { 'X-Request-Id': 'the-callback' } })).text, 'success');
  const { publicUrl } = await world.untilStatus(subscription, 'running');
  await world.eventually('the mail',
    () => world.successMails(subscription, publicUrl).length > 0);
  const all = lines();
  assert.ok(all.length > 50, `${all.length} lines`);
  for (const line of all) {
    assert.match(line.time, TIME);
    assert.ok(LEVELS.includes(line.level), line.level);
    assert.equal(typeof line.message, 'string');
  }
  assert.equal(world.server.stdout, '');
});

test('ids are fields: request, subscription, order, actor', async () => {
  const applied = await world.eventually('the transition', () => lines()
    .find((l) => l.request_id === 'the-callback'
      && l.subscription_id === subscription.id && l.actor === 'supervisor'));
  assert.match(applied.message, /payment_settled/);
  assert.equal(applied.level, 'debug');
  await world.payment(subscription);
  const read = await world.eventually('the access line', () => lines()
    .find((l) => l.route === 'payment_read'
      && l.order_id === subscription.order.orderId));
  assert.equal(read.status, 200);
  assert.equal(read.subscription_id, subscription.id);
  assert.equal(typeof read.duration_ms, 'number');
  assert.match(read.message, /^GET \/api\/payment\/\S+ -> 200 in /);
  assert.ok(lines().some((l) => l.actor === 'notifier'
    && l.subscription_id === subscription.id && /sent/.test(l.message)));
});

test('what strangers send stays within its line', async () => {
  const wild = '/api/%E2%80%A8%22%7Dfoo/bar';
  await world.anonymous.get(wild, { headers: { 'X-Request-Id': 'wild' } });
  // A forged callback whose order has a line break and a terminal's orders.
  await world.alipay.post(`${world.url}/api/payment/alipay/notify`,
    { out_trade_no: 'x\n{"level":"info"}\u001b[31m', sign: 'AA==',
      sign_type: 'RSA2' });
  await world.eventually('both lines', () => lines().some(
    (l) => l.request_id === 'wild') && lines().some(
    (l) => /callback from .* refused/.test(l.message)));
  assert.ok(!/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028\u2029]/
    .test(world.server.stderr));
});

test('a whole purchase leaves no secret in the log, at level trace',
  async () => {
    // Both gateways, a refund, an operator, a failure: what there is to log.
    const other = await world.order(await world.subscribe(),
      { gateway: 'WECHAT' });
    other.gateway.pay(other.trade);
    world.assertAccepted(await world.wechat.notify(other.trade), world.wechat);
    await world.untilStatus(other, 'running');
    (await world.act(other, 'refund')).ok();
    await world.anonymous.as('eyJhbGciOiJub25lIn0.e30.').get(
      '/api/subscriptions');
    await request(`${world.url}/api/railway/webhook/${world.hook}`,
      { method: 'POST', body: '{}',
        headers: { 'Content-Type': 'application/json' } });
    await world.operator.get(`/api/deployment/logs/${other.id}`);
    await world.operator.get('/api/ops/callbacks');
    const pem = (key) => key.split('\n')
      .filter((l) => l && !l.startsWith('-----'));
    const key = fs.readFileSync(path.join(world.dir, 'keys/2026-11.key'));
    const secrets = {
      'database password': [world.postgres.password],
      'JWT secret': [world.secret],
      'user token': [subscription.user.token, other.user.token],
      'operator token': [world.operator.token],
      'a token that was refused': ['eyJhbGciOiJub25lIn0'],
      'any JWT': ['eyJ'],
      'channel credential': [subscription.mark, other.mark, 'mark-'],
      'credential key': [key.toString('base64'), key.toString('hex'),
        key.toString('latin1')],
      'provider token': [world.railway.token],
      'webhook secret': [world.hook],
      "Alipay's app key": pem(world.alipay.app.privateKey),
      'WeChat v2 key': [world.wechat.v2Key],
      'WeChat v3 key': [world.wechat.v3Key],
      'WeChat merchant key': pem(world.wechat.merchant.privateKey),
      'any private key': ['PRIVATE KEY'],
      'mail address': [subscription.user.email, other.user.email],
    };
    await world.eventually('the last line', () => lines()
      .some((l) => l.route === 'ops_callbacks'));
    for (const [what, texts] of Object.entries(secrets)) {
      assert.ok(texts.length > 0, what);
      for (const text of texts) {
        assert.ok(text.length >= 3, what);
        assert.ok(!world.server.log.includes(text),
          `${what} in the log: ${world.server.log.split('\n')
            .find((l) => l.includes(text))}`);
      }
    }
  });

test('a mailbox that refuses us does not have its password logged',
  async () => {
    const own = await World.start({ start: false });
    try {
      fs.writeFileSync(path.join(own.dir, 'smtp.password'), password);
      Object.assign(own.settings.mail, { username: 'slipway',
        password_file: path.join(own.dir, 'smtp.password') });
      own.settings.log = { level: 'trace', format: 'text' };
      own.writeConfig();
      await own.server.start();
      const mine = await own.activated();
      await own.untilStatus(mine, 'running');
      await own.eventually('the mail is sent or deferred',
        () => /mail DEPLOYMENT_SUCCESS (sent|deferred|undeliverable)/
          .test(own.server.log));
      assert.ok(!own.server.log.includes(password));
      assert.ok(!own.server.log.includes(
        Buffer.from(password).toString('base64')));
      // Text has the same fields, at the end of the line.
      assert.match(own.server.log, new RegExp('^\\S+Z debug payment_settled -> '
        + `\\S+ request=\\S+ subscription=${mine.id} actor=supervisor$`, 'm'));
    } finally {
      await own.stop();
    }
  });

test('nobody waits for a reader who does not read', async () => {
  const own = await World.start({ start: false,
    config: { log: { level: 'trace', format: 'json' } } });
  let child;
  try {
    // Nobody reads the pipe until the end.
    child = spawnTied(BINARY, ['serve', '--config', own.config], {
      cwd: own.dir, env: cleanEnvironment({}),
      stdio: ['ignore', 'ignore', 'pipe'] });
    const exited = new Promise((resolve) => {
      child.once('exit', (code, signal) => resolve({ code, signal }));
    });
    await own.eventually('the server is ready', async () => (
      await request(`${own.adminUrl}/readyz`, { timeout: 2000 })).status === 200,
    { within: 60_000 });
    // Far more than a pipe and the queue hold.
    const long = `/${'x'.repeat(12_000)}`;
    for (let round = 0; round < 60; round += 1) {
      await Promise.all(Array.from({ length: 10 }, () => request(
        `${own.url}${long}`, { timeout: 10_000 })));
    }
    await own.eventually('lines are counted as dropped', async () => (
      await own.metrics()).sum('slipway_log_lines_dropped_total') > 0);
    const mine = await own.activated();
    await own.untilStatus(mine, 'running');
    let text = '';
    child.stderr.setEncoding('utf8').on('data', (part) => { text += part; });
    await own.eventually('the gap is told',
      () => /line\(s\) left out here/.test(text));
    for (const line of text.split('\n').slice(0, -1)) JSON.parse(line);
    // And the end does not wait, either.
    child.stderr.pause();
    for (let round = 0; round < 60; round += 1) {
      await Promise.all(Array.from({ length: 10 }, () => request(
        `${own.url}${long}`, { timeout: 10_000 })));
    }
    child.kill('SIGTERM');
    assert.deepEqual(await Promise.race([exited, new Promise((resolve) => {
      setTimeout(resolve, 25_000, 'late').unref();
    })]), { code: 0, signal: null });
  } finally {
    child?.kill('SIGKILL');
    await own.stop();
  }
});

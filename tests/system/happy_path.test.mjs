// One subscription from the list of plans to a running instance, on an
// embedded PostgreSQL, seen from every side.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from './lib/suite.mjs';
import { cents } from './imposters/alipay.mjs';
import { MONEY, RFC3339_UTC } from './lib/client.mjs';
import { killPostgresIn } from './lib/cleanup.mjs';
import { RANK, World } from './lib/world.mjs';

let world;
let subscription;
let stream;
const samples = [];
let running;

before(async () => {
  world = await World.start({ database: 'embedded', railway: {
    // Slow enough that every state can be seen.
    times: { workflow: 700, queued: 300, initializing: 300, building: 700,
      deploying: 700, domain: 600 },
    cooldown: 25,
  } });
});
after(async () => {
  stream?.close();
  await world?.stop();
});

test('plans are public', async () => {
  const plans = (await world.anonymous.get('/api/plans')).ok();
  assert.deepEqual(plans.map((p) => p.planType).sort(),
    ['BASIC', 'ENTERPRISE', 'PRO']);
  assert.deepEqual(plans.find((p) => p.planType === 'PRO'), {
    planType: 'PRO', title: '专业版', amount: '99.00', currency: 'CNY',
    periodDays: 30 });
});

test('a subscription begins as PENDING and keeps its credentials to itself',
  async () => {
    subscription = await world.subscribe();
    const seen = await subscription.user.get(
      `/api/subscriptions/${subscription.id}`);
    const data = seen.ok();
    assert.equal(data.subscriptionId, subscription.id);
    assert.equal(data.planType, 'PRO');
    assert.equal(data.status, 'PENDING');
    assert.ok(!seen.text.includes(subscription.mark), 'credentials returned');
  });

test('an order leads to a page that Alipay accepts', async () => {
  await world.order(subscription);
  const { order, trade } = subscription;
  assert.equal(order.gateway, 'ALIPAY');
  assert.equal(order.method.toLowerCase(), 'page');
  assert.equal(order.status, 'PENDING');
  assert.equal(order.amount, '99.00');
  assert.equal(order.currency, 'CNY');
  assert.match(order.expiresAt, RFC3339_UTC);
  const minutes = (Date.parse(order.expiresAt) - Date.now()) / 60_000;
  assert.ok(minutes > 28 && minutes < 31, `expires in ${minutes} min`);
  assert.equal(trade.outTradeNo, order.orderId);
  assert.equal(cents(trade.totalAmount), 9900);
  assert.equal(trade.notifyUrl, `${world.url}/api/payment/alipay/notify`);
});

test('nothing is made before the money is there', async () => {
  assert.equal(world.railway.operations('projectCreate').length, 0);
  assert.equal((await world.subscription(subscription)).status, 'PENDING');
});

test('the notification is answered with success, and the instance comes up',
  async () => {
    stream = await subscription.user.events(
      `/api/deployment/events/${subscription.id}`);
    world.alipay.pay(subscription.trade);
    const answer = await world.alipay.notify(subscription.trade);
    assert.equal(answer.status, 200);
    assert.equal(answer.text, 'success');
    assert.equal((await world.subscription(subscription)).status, 'ACTIVE',
      'success is said only after it is durable');
    running = await world.eventually('running', async () => {
      const now = await world.status(subscription);
      samples.push(now);
      return now.status === 'running' && now;
    }, { within: 40_000, every: 25 });
    assert.equal(running.progress, 100);
    assert.equal(running.instanceStatus, 'RUNNING');
    assert.equal(running.attempt, 1);
    assert.equal(running.subscriptionId, subscription.id);
    assert.ok(running.instanceId);
    assert.match(running.startedAt, RFC3339_UTC);
    assert.match(running.completedAt, RFC3339_UTC);
    assert.ok(running.startedAt <= running.completedAt);
    assert.ok(!running.error, running.error);
  });

test('states come in order and progress never falls', () => {
  for (const { status } of samples) assert.ok(status in RANK, status);
  for (let i = 1; i < samples.length; i += 1) {
    const [a, b] = [samples[i - 1], samples[i]];
    assert.ok(RANK[a.status] <= RANK[b.status], `${a.status} → ${b.status}`);
    assert.ok(a.progress <= b.progress, `${a.progress} → ${b.progress}`);
  }
  for (const { progress } of samples) {
    assert.ok(Number.isInteger(progress) && progress >= 0 && progress <= 100);
  }
  const seen = new Set(samples.map((s) => s.status));
  for (const status of ['creating', 'deploying', 'running']) {
    assert.ok(seen.has(status), `${status} was never seen`);
  }
});

test('the event stream tells every state once the change happens', async () => {
  assert.equal(stream.status, 200);
  assert.match(stream.headers['content-type'], /^text\/event-stream/);
  await world.eventually('the stream tells running', () => stream.events
    .some((e) => e.data.status === 'running'), { within: 5000 });
  assert.ok(stream.events.every((e) => e.event === 'status'));
  const states = stream.events.map((e) => e.data.status);
  for (const status of Object.keys(RANK)) {
    assert.ok(states.includes(status), `${status} not among ${states}`);
  }
  const ids = stream.events.map((e) => Number(e.id));
  assert.ok(ids.every((n, i) => Number.isFinite(n)
    && (i === 0 || n > ids[i - 1])), `ids: ${ids}`);
});

test('the event stream goes on after Last-Event-ID', async () => {
  const middle = stream.events.findIndex((e) => e.data.status === 'deploying');
  const again = await subscription.user.events(
    `/api/deployment/events/${subscription.id}`,
    { 'Last-Event-ID': stream.events[middle].id });
  try {
    await world.eventually('the end is told', () => again.events
      .some((e) => e.data.status === 'running'), { within: 5000 });
    assert.ok(again.events.every((e) => Number(e.id)
      > Number(stream.events[middle].id)), 'old events were repeated');
  } finally {
    again.close();
  }
});

test('the subscription is active for thirty days', async () => {
  const data = await world.subscription(subscription);
  assert.equal(data.status, 'ACTIVE');
  assert.match(data.startDate, RFC3339_UTC);
  assert.match(data.endDate, RFC3339_UTC);
  assert.equal(Date.parse(data.endDate) - Date.parse(data.startDate),
    30 * 24 * 3_600_000);
  assert.ok(Math.abs(Date.parse(data.startDate) - Date.now()) < 60_000);
  assert.equal(data.instanceId, running.instanceId);
  assert.equal(data.deploymentStatus, 'running');
  assert.equal(data.publicUrl, running.publicUrl);
});

test('the payment is PAID with the gateway\'s own number', async () => {
  const data = (await subscription.user.get(
    `/api/payment/${subscription.order.orderId}`)).ok();
  assert.equal(data.status, 'PAID');
  assert.equal(data.transactionId, subscription.trade.tradeNo);
  assert.match(data.paidAt, RFC3339_UTC);
  assert.match(data.amount, MONEY);
  assert.ok(Math.abs(Date.parse(data.paidAt) - subscription.trade.paidAt)
    < 2000, `${data.paidAt}: Beijing time taken for UTC?`);
});

test('there is exactly one project with one service, and the address is its',
  () => {
    const project = world.assertOneInstance(subscription);
    const [service] = world.railway.servicesOf(project.id);
    const domains = service.instanceList[0].domainList;
    assert.equal(domains.length, 1);
    assert.equal(running.publicUrl.replace(/\/$/, ''),
      `https://${domains[0].domain}`);
    assert.equal(project.templateDeploys, 1);
  });

test('the first deployment already had the variables and the credentials',
  () => {
    const project = world.assertOneInstance(subscription);
    const { variables } = project.firstDeployment;
    assert.equal(variables.TIER, 'pro');
    assert.equal(variables.PORT, '8080');
    assert.ok(variables.SESSION_SECRET?.length >= 32, 'template default');
    assert.ok(JSON.stringify(Object.values(variables))
      .includes(subscription.mark), 'channel credentials');
    assert.equal(world.railway.deploymentsOf(project.id).length, 1,
      'deployed once');
  });

test('the provider has nothing to complain about', () => {
  assert.deepEqual(world.railway.complaints, []);
  const deprecated = world.railway.requests.flatMap((r) => r.deprecated);
  assert.deepEqual(deprecated, []);
  const nameless = world.railway.requests.filter((r) => !r.source);
  assert.equal(nameless.length, 0, 'requests without ?source=');
  assert.deepEqual(world.alipay.complaints, []);
});

test('one mail in the language of the reader tells the address', async () => {
  const { publicUrl } = running;
  const [mail] = await world.eventually('the mail', () => {
    const mails = world.successMails(subscription, publicUrl);
    return mails.length > 0 && mails;
  });
  assert.match(mail.subject, /部署成功/);
  assert.match(mail.body, /实例/);
  assert.match(mail.from, /no-reply@example\.com/);
  assert.match(mail.messageId, /^<.+@.+>$/);
  assert.ok(!mail.raw.includes(subscription.mark));
});

test('an English reader gets English', async () => {
  const user = world.user({ locale: 'en' });
  const other = await world.running(user, { plan: 'BASIC' });
  const { publicUrl } = await world.status(other);
  const [mail] = await world.eventually('the mail', () => {
    const mails = world.successMails(other, publicUrl);
    return mails.length > 0 && mails;
  });
  assert.doesNotMatch(mail.subject, /\p{Script=Han}/u);
  assert.match(mail.subject, /deploy|instance|ready|running/i);
  assert.doesNotMatch(mail.text ?? mail.body, /\p{Script=Han}/u);
  assert.equal(world.successMails(other, publicUrl).length, 1);
  assert.equal(world.successMails(subscription, running.publicUrl).length, 1);
});

test('the user finds both notifications in the app', async () => {
  const all = await world.notifications(subscription.user);
  const received = all.filter((n) => n.type === 'PAYMENT_RECEIVED');
  const success = all.filter((n) => n.type === 'DEPLOYMENT_SUCCESS');
  assert.equal(received.length, 1);
  assert.equal(success.length, 1);
  const [n] = success;
  assert.equal(n.title, '实例部署成功');
  assert.ok(n.message.length > 0);
  assert.match(n.createdAt, RFC3339_UTC);
  assert.equal(n.readAt, null);
  assert.equal(n.data.instanceId, running.instanceId);
  assert.equal(n.data.publicUrl, running.publicUrl);
});

test('logs hold build, deploy and events, clean and without secrets',
  async () => {
    const path_ = `/api/deployment/logs/${subscription.id}`;
    const of = async (type) => {
      const answer = await subscription.user.get(
        `${path_}?type=${type}&limit=200`);
      const { logs, count } = answer.ok();
      assert.equal(count, logs.length);
      for (const line of logs) {
        assert.ok(!Number.isNaN(Date.parse(line.timestamp)), line.timestamp);
        assert.equal(typeof line.source, 'string');
        assert.equal(typeof line.level, 'string');
        assert.doesNotMatch(line.message,
          // eslint-disable-next-line no-control-regex
          /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/);
      }
      assert.ok(!answer.text.includes(subscription.mark), 'a secret leaked');
      return logs.map((l) => l.message).join('\n');
    };
    assert.match(await of('build'), /安装依赖 ✓/);
    assert.match(await of('deploy'), /Listening on :8080/);
    assert.ok((await of('event')).length > 0, 'no events');
    const all = await of('all');
    assert.match(all, /安装依赖/);
    assert.match(all, /Listening on/);
  });

test('logs come page by page', async () => {
  const seen = [];
  let cursor = null;
  for (let page = 0; page < 100; page += 1) {
    const { logs, nextCursor } = (await subscription.user.get(
      `/api/deployment/logs/${subscription.id}?type=all&limit=2`
      + (cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''))).ok();
    assert.ok(logs.length <= 2);
    seen.push(...logs.map((l) => JSON.stringify(l)));
    cursor = nextCursor;
    if (cursor === null) break;
  }
  assert.equal(cursor, null, 'the pages have no end');
  assert.ok(seen.length > 4);
  assert.equal(new Set(seen).size, seen.length, 'a line came twice');
});

test('progress has its shape', async () => {
  const data = (await subscription.user.get(
    `/api/deployment-monitor/progress/${running.instanceId}`)).ok();
  assert.deepEqual(data, { instanceId: running.instanceId, progress: 100,
    percentage: '100%' });
});

test('stats count it', async () => {
  const stats = (await world.operator.get('/api/deployment-monitor/stats'))
    .ok();
  for (const key of ['total', 'running', 'failed', 'active', 'queued',
    'successRate', 'averageDeploymentMs', 'p95DeploymentMs']) {
    assert.equal(typeof stats[key], 'number', key);
  }
  assert.equal(stats.total, 2);
  assert.equal(stats.running, 2);
  assert.equal(stats.failed, 0);
  assert.equal(stats.active, 0);
  assert.equal(stats.queued, 0);
  assert.equal(stats.byStatus.running, 2);
  assert.ok(stats.averageDeploymentMs > 1000, 'imposter needs 2.7 s');
  assert.ok(stats.p95DeploymentMs >= stats.averageDeploymentMs / 2);
});

test('the operator sees the whole history in order', async () => {
  const entries = (await world.operator.get(
    `/api/ops/subscriptions/${subscription.id}/timeline`)).ok();
  for (const entry of entries) {
    assert.match(entry.at, RFC3339_UTC);
    assert.ok(entry.summary);
  }
  const times = entries.map((e) => Date.parse(e.at));
  const rising = times.every((t, i) => i === 0 || t >= times[i - 1]);
  const falling = times.every((t, i) => i === 0 || t <= times[i - 1]);
  assert.ok(rising || falling, 'not in order');
  const kinds = new Set(entries.map((e) => e.kind));
  for (const kind of ['callback', 'state', 'provider', 'mail',
    'notification']) {
    assert.ok(kinds.has(kind), `no ${kind} in ${[...kinds]}`);
  }
  const creates = entries.filter((e) => e.kind === 'provider'
    && e.operation === 'projectCreate');
  assert.equal(creates.length, 1);
  assert.ok(creates[0].outcome);
});

test('nothing needs attention', async () => {
  assert.deepEqual(await world.attention(), []);
});

test('metrics tell the same story', async () => {
  const metrics = await world.metrics();
  assert.ok(metrics.sum('slipway_callbacks_total', { gateway: 'alipay' })
    + metrics.sum('slipway_callbacks_total', { gateway: 'ALIPAY' }) >= 2);
  assert.ok(metrics.sum('slipway_provider_requests_total',
    { operation: 'projectCreate' }) >= 2);
  assert.ok(metrics.sum('slipway_callback_seconds_count') >= 2);
  assert.ok(metrics.sum('slipway_time_to_running_seconds_count') >= 2);
  assert.ok(metrics.sum('slipway_notifications_total') >= 4);
  assert.ok(metrics.sum('slipway_http_requests_total') > 20);
});

test('no secret is in the log or in the answers of the operator', async () => {
  const secrets = {
    'channel credential': subscription.mark,
    'JWT secret': world.secret,
    'provider token': world.railway.token,
    'user token': subscription.user.token,
    'private key': world.alipay.app.privateKey.split('\n')[3],
  };
  const timeline = await world.operator.get(
    `/api/ops/subscriptions/${subscription.id}/timeline`);
  const onDisk = fs.readFileSync(path.join(world.dir, 'server.log'), 'utf8');
  for (const [what, text] of Object.entries(secrets)) {
    assert.ok(!world.server.log.includes(text), `${what} in the log`);
    assert.ok(!onDisk.includes(text), `${what} in the log`);
    assert.ok(!timeline.text.includes(text), `${what} in the timeline`);
  }
});

test('SIGTERM ends the server with 0, and its PostgreSQL', async () => {
  assert.deepEqual(await world.server.terminate(), { code: 0, signal: null });
  assert.equal(killPostgresIn(world.dir), 0, 'PostgreSQL was left behind');
});

// Every route that frontends, gateways and operators rely on: shapes, statuses
// and words.

import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import { after, before, test } from './lib/suite.mjs';
import { request } from './lib/http.mjs';
import { MONEY, RFC3339_UTC } from './lib/client.mjs';
import { never } from './lib/wait.mjs';
import { World } from './lib/world.mjs';

let world;
before(async () => { world = await World.start(); });
after(() => world?.stop());

test('plans: one entry per plan, no token needed', async () => {
  const plans = (await world.anonymous.get('/api/plans')).ok();
  for (const plan of plans) {
    assert.deepEqual(Object.keys(plan).sort(), ['amount', 'currency',
      'periodDays', 'planType', 'title']);
    assert.match(plan.amount, MONEY);
    assert.equal(typeof plan.periodDays, 'number');
  }
});

test('subscriptions: created, listed, read', async () => {
  const user = world.user();
  const made = (await user.post('/api/subscriptions', { planType: 'BASIC' }))
    .ok(201);
  assert.ok(made.subscriptionId);
  assert.equal(made.planType, 'BASIC');
  assert.equal(made.status, 'PENDING');
  const { data } = (await user.get('/api/subscriptions')).list();
  assert.deepEqual(data.map((s) => s.subscriptionId), [made.subscriptionId]);
  const one = (await user.get(`/api/subscriptions/${made.subscriptionId}`)).ok();
  assert.equal(one.subscriptionId, made.subscriptionId);
  for (const key of ['startDate', 'endDate', 'publicUrl']) {
    assert.ok(key in one, `${key} is missing`);
    assert.equal(one[key], null, key);
  }
  assert.ok('instanceId' in one && 'deploymentStatus' in one);
});

test('subscriptions: credentials may be any JSON', async () => {
  const user = world.user();
  const answer = await user.post('/api/subscriptions', { planType: 'PRO',
    channelCredentials: { WECHAT: { a: [1, null, true, { 深: '层' }] },
      FEISHU: 'token', SLACK: 7, TELEGRAM: null } });
  answer.ok(201);
  assert.ok(!answer.text.includes('深'), 'credentials came back');
});

test('lists come in pages without gaps or repeats', async () => {
  const user = world.user();
  const made = new Set();
  for (let i = 0; i < 5; i += 1) made.add((await world.subscribe(user)).id);
  const first = (await user.get('/api/subscriptions?limit=2')).list();
  assert.equal(first.data.length, 2);
  assert.equal(typeof first.nextCursor, 'string');
  const all = await user.all('/api/subscriptions', { limit: 2 });
  assert.equal(all.length, 5);
  assert.deepEqual(new Set(all.map((s) => s.subscriptionId)), made);
});

test('payment create: page, wap and qr', async () => {
  for (const [method, product] of [['page', 'alipay.trade.page.pay'],
    ['wap', 'alipay.trade.wap.pay']]) {
    const subscription = await world.order(await world.subscribe(), { method });
    const { order } = subscription;
    assert.equal(world.alipay.readPayUrl(order.payUrl).method, product);
    assert.match(order.orderId, /^[A-Za-z0-9_]{1,64}$/);
  }
  const { user, id } = await world.subscribe();
  const qr = (await user.post('/api/payment/create', { subscriptionId: id,
    gateway: 'ALIPAY', method: 'qr' })).ok(201);
  assert.match(qr.qrCode, /^https:\/\/qr\.alipay\.com\//);
  assert.ok(world.alipay.trades.has(qr.orderId));
});

test('payment create: time_expire tells Alipay when the order ends', async () => {
  const { order } = await world.order(await world.subscribe());
  const { biz } = world.alipay.readPayUrl(order.payUrl);
  assert.match(biz.time_expire ?? '', /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/);
  const expire = Date.parse(`${biz.time_expire.replace(' ', 'T')}Z`)
    - 8 * 3_600_000;
  assert.ok(Math.abs(expire - Date.parse(order.expiresAt)) < 61_000,
    `${biz.time_expire} Beijing, ${order.expiresAt}`);
});

test('payment create: an Idempotency-Key gives the same order again',
  async () => {
    const { user, id } = await world.subscribe();
    const headers = { 'Idempotency-Key': crypto.randomUUID() };
    const body = { subscriptionId: id, gateway: 'ALIPAY', method: 'page' };
    const create = () => user.post('/api/payment/create', body, { headers });
    const first = (await create()).ok(201);
    const again = await create();
    assert.ok([200, 201].includes(again.status), String(again));
    assert.equal(again.ok(again.status).orderId, first.orderId);
    const atOnce = await Promise.all([create(), create(), create()]);
    for (const answer of atOnce) {
      assert.equal(answer.ok(answer.status).orderId, first.orderId);
    }
  });

test('payment create: the first use of a key many times at once is one order',
  async () => {
    const { user, id } = await world.subscribe();
    const headers = { 'Idempotency-Key': crypto.randomUUID() };
    const answers = await Promise.all(Array.from({ length: 8 }, () => user.post(
      '/api/payment/create',
      { subscriptionId: id, gateway: 'ALIPAY', method: 'page' }, { headers })));
    // A repeat may be told to wait while the first is under way.
    const orders = answers.filter((a) => a.status !== 409)
      .map((a) => a.ok(a.status).orderId);
    assert.ok(orders.length >= 1);
    assert.equal(new Set(orders).size, 1);
  });

test('payment create: another body under the same key is refused', async () => {
  const user = world.user();
  const [one, two] = [await world.subscribe(user), await world.subscribe(user)];
  const headers = { 'Idempotency-Key': crypto.randomUUID() };
  const create = (subscriptionId, method) => user.post('/api/payment/create',
    { subscriptionId, gateway: 'ALIPAY', method }, { headers });
  (await create(one.id, 'page')).ok(201);
  (await create(two.id, 'page')).fails([400, 409, 422]);
  (await create(one.id, 'wap')).fails([400, 409, 422]);
});

test('payment create: keys of different users do not meet', async () => {
  const headers = { 'Idempotency-Key': 'the-same-key' };
  const create = async () => {
    const { user, id } = await world.subscribe();
    return (await user.post('/api/payment/create', { subscriptionId: id,
      gateway: 'ALIPAY', method: 'page' }, { headers })).ok(201).orderId;
  };
  assert.notEqual(await create(), await create());
});

test('payment create: an active subscription is not sold again silently',
  async () => {
    const subscription = await world.running();
    const answer = await subscription.user.post('/api/payment/create', {
      subscriptionId: subscription.id, gateway: 'ALIPAY', method: 'page' });
    // Either it is a renewal, or it is refused; never a server error.
    if (answer.status !== 201) answer.fails([400, 409, 422]);
  });

test('payment read: shape while pending', async () => {
  const { user, order } = await world.order(await world.subscribe());
  const data = (await user.get(`/api/payment/${order.orderId}`)).ok();
  assert.equal(data.orderId, order.orderId);
  assert.equal(data.status, 'PENDING');
  assert.equal(data.amount, '99.00');
  assert.equal(data.currency, 'CNY');
  assert.equal(data.gateway, 'ALIPAY');
  assert.equal(data.transactionId ?? null, null);
  assert.equal(data.paidAt ?? null, null);
});

test('payment read: a lost notification is made up for by asking', async () => {
  const subscription = await world.paid();
  await world.eventually('PAID without a notification', async () => (
    (await subscription.user.get(`/api/payment/${subscription.order.orderId}`))
      .ok().status === 'PAID'), { within: 30_000, every: 300 });
  await world.untilStatus(subscription, 'running');
  world.assertOneInstance(subscription);
});

test('deployment status: all fields are there', async () => {
  const subscription = await world.running();
  const status = await world.status(subscription);
  for (const key of ['subscriptionId', 'instanceId', 'status',
    'instanceStatus', 'progress', 'attempt', 'queuePosition', 'publicUrl',
    'message', 'startedAt', 'completedAt', 'error']) {
    assert.ok(key in status, `${key} is missing`);
  }
});

test('deployment status: an unknown one is 404 Subscription not found',
  async () => {
    for (const unknown of [crypto.randomUUID(), 'nonsense']) {
      (await world.user().get(`/api/deployment/status/${unknown}`)).fails(404,
        { message: 'Subscription not found' });
    }
  });

test('retry: every refusal in its own words', async () => {
  const user = world.user();
  const retry = (subscriptionId) => user.post('/api/deployment/retry',
    { subscriptionId });
  (await user.post('/api/deployment/retry', {})).fails(400,
    { message: 'Subscription ID is required' });
  const unpaid = await world.subscribe(user);
  (await retry(unpaid.id)).fails(409);
  const other = await world.subscribe();
  (await retry(other.id)).fails(403,
    { message: 'Unauthorized to access this subscription' });
  world.railway.hold('BUILDING');
  try {
    const busy = await world.activated(user);
    (await retry(busy.id)).fails(409);
  } finally {
    world.railway.release('BUILDING');
  }
  const running = await world.running(user);
  (await retry(running.id)).fails(400,
    { message: 'Instance is already running' });
});

test('cancel: every refusal', async () => {
  const user = world.user();
  const cancel = (body) => user.delete('/api/deployment/cancel', body);
  (await cancel({})).fails(400);
  (await cancel({ subscriptionId: (await world.subscribe(user)).id }))
    .fails(409);
  (await cancel({ subscriptionId: (await world.subscribe()).id })).fails(403);
  (await cancel({ subscriptionId: (await world.running(user)).id })).fails(409);
});

test('logs: types, and nothing yet', async () => {
  const subscription = await world.subscribe();
  for (const type of ['all', 'build', 'deploy', 'event']) {
    const data = (await subscription.user.get(
      `/api/deployment/logs/${subscription.id}?type=${type}`)).ok();
    assert.ok(Array.isArray(data.logs));
    assert.equal(data.count, data.logs.length);
    assert.equal(data.nextCursor, null);
  }
  (await subscription.user.get(
    `/api/deployment/logs/${subscription.id}?type=nonsense`)).fails(400);
});

test('notifications: read once, and stay read', async () => {
  const subscription = await world.running();
  const { user } = subscription;
  await world.eventually('both notifications', async () => (
    (await world.notifications(user)).length >= 2));
  const [first, ...others] = await world.notifications(user);
  assert.deepEqual(['createdAt', 'data', 'id', 'message', 'readAt', 'title',
    'type'].filter((key) => !(key in first)), []);
  const read = () => user.post(`/api/notifications/${first.id}/read`);
  (await read()).success();
  const at = async () => (await world.notifications(user))
    .find((n) => n.id === first.id).readAt;
  const when = await at();
  assert.match(when, RFC3339_UTC);
  (await read()).success();
  assert.equal(await at(), when, 'a second read moved the time');
  const still = await world.notifications(user);
  assert.ok(still.filter((n) => n.id !== first.id)
    .every((n) => n.readAt === null));
  assert.equal(still.length, others.length + 1);
});

test('operators: stats and attention are closed to users', async () => {
  const user = world.user();
  for (const path of ['/api/deployment-monitor/stats',
    '/api/deployment/attention', '/api/ops/subscriptions',
    '/api/ops/callbacks', '/api/ops/actors', '/api/ops/automation']) {
    (await user.get(path)).fails(403, { error: 'forbidden' });
    (await world.operator.get(path)).ok();
  }
});

test('operators: subscriptions are found by id and by status', async () => {
  const subscription = await world.running();
  await world.subscribe(subscription.user);
  const found = (await world.operator.get(
    `/api/ops/subscriptions?q=${subscription.id}`)).list().data;
  assert.deepEqual(found.map((s) => s.subscriptionId), [subscription.id]);
  const active = await world.operator.all('/api/ops/subscriptions?status=ACTIVE');
  assert.ok(active.some((s) => s.subscriptionId === subscription.id));
  assert.ok(active.every((s) => s.status === 'ACTIVE'));
});

test('operators: the inbox holds the callback whole', async () => {
  const subscription = await world.activated();
  const rows = await world.operator.all('/api/ops/callbacks');
  const row = rows.find((r) => r.orderId === subscription.order.orderId);
  assert.ok(row, 'the callback is not in the inbox');
  for (const key of ['id', 'gateway', 'receivedAt', 'outcome', 'reason',
    'repeats']) assert.ok(key in row, key);
  const one = await world.operator.get(`/api/ops/callbacks/${row.id}`);
  one.ok();
  assert.ok(one.text.includes(subscription.trade.tradeNo), 'no body');
  const dry = await world.operator.post(
    `/api/ops/callbacks/${row.id}/replay?dryRun=true`);
  dry.ok();
  assert.equal((await world.notifications(subscription.user,
    'PAYMENT_RECEIVED')).length, 1);
});

test('operators: the supervision tree names its parts', async () => {
  const actors = (await world.operator.get('/api/ops/actors')).ok();
  assert.ok(actors.length > 0);
  for (const actor of actors) {
    for (const key of ['id', 'kind', 'parent', 'state', 'mailboxDepth',
      'restarts', 'lastFailure']) assert.ok(key in actor, key);
  }
});

test('operators: with automation off nothing goes out, with it on it does',
  async () => {
    const put = (enabled) => world.operator.put('/api/ops/automation',
      { enabled });
    assert.equal((await world.operator.get('/api/ops/automation')).ok().enabled,
      true);
    (await put(false)).success();
    try {
      const subscription = await world.activated();
      assert.equal((await world.subscription(subscription)).status, 'ACTIVE');
      await never('a project in spite of the switch', () => (
        world.allProjectsOf(subscription).length));
      (await put(true)).success();
      await world.untilStatus(subscription, 'running');
    } finally {
      (await put(true)).success();
    }
  });

test('the webhook of the provider: a wrong secret is 404, a right one a hint',
  async () => {
    world.railway.hold('BUILDING');
    try {
      const subscription = await world.activated();
      const deployment = await world.eventually('a deployment', () => world
        .projectsOf(subscription).map((p) => p.firstDeployment)[0]);
      const post = (secret) => world.railway.postWebhook(
        `${world.url}/api/railway/webhook/${secret}`, deployment,
        { status: 'SUCCESS' });
      assert.equal((await post('wrong')).status, 404);
      const right = await post(world.hook);
      assert.ok(right.status >= 200 && right.status < 300, right.text);
      // It says SUCCESS, which is not so: nobody may believe it.
      await never('the word of a webhook is believed', async () => (
        (await world.status(subscription)).status === 'running'));
      world.railway.release('BUILDING');
      await world.untilStatus(subscription, 'running');
    } finally {
      world.railway.release('BUILDING');
    }
  });

test('admin: live, ready, and Prometheus text', async () => {
  assert.equal(await world.admin('/healthz'), 200);
  assert.equal(await world.admin('/readyz'), 200);
  const answer = await request(`${world.adminUrl}/metrics`);
  assert.match(answer.headers['content-type'], /^text\/plain/);
  await world.metrics();
});

const alerts = {
  slipway_actors: ['kind'],
  slipway_mailbox_depth: ['kind'],
  slipway_subscriptions: ['state'],
  slipway_callbacks_total: ['gateway', 'outcome'],
  slipway_callback_seconds: [],
  slipway_journal_commit_seconds: [],
  slipway_journal_batch_size: [],
  slipway_deploy_queue_depth: [],
  slipway_deploy_slots: ['state'],
  slipway_time_to_running_seconds: [],
  slipway_provider_requests_total: ['operation', 'outcome'],
  slipway_provider_budget_remaining: [],
  slipway_notifications_total: ['channel', 'outcome'],
  slipway_http_requests_total: ['route', 'status'],
};

test('metrics: the names that alerts rely on, with their labels', async () => {
  const metrics = await world.metrics();
  const present = (name) => metrics.samples.filter((s) => (
    s.name === name || s.name === `${name}_count`));
  for (const [name, labels] of Object.entries(alerts)) {
    const samples = present(name);
    assert.ok(samples.length > 0, `${name} is missing`);
    for (const label of labels) {
      assert.ok(samples.every((s) => label in s.labels), `${name}{${label}}`);
    }
  }
  assert.equal(metrics.families.get('slipway_callback_seconds'), 'histogram');
});

test('metrics: what counts troubles is there before there are any', async () => {
  const { families } = await world.metrics();
  for (const name of ['slipway_actor_restarts_total', 'slipway_attention',
    'slipway_shed_total']) {
    assert.ok(families.has(name), `${name} is missing`);
  }
});

test('the API describes itself', async () => {
  const answer = await request(`${world.url}/api/openapi.json`);
  assert.equal(answer.status, 200);
  const { openapi, paths } = answer.json();
  assert.match(openapi, /^3\.1/);
  for (const path of ['/api/plans', '/api/subscriptions',
    '/api/payment/create', '/api/payment/alipay/notify',
    '/api/deployment/retry', '/api/deployment/cancel',
    '/api/deployment-monitor/stats', '/api/notifications']) {
    assert.ok(paths[path], `${path} is not described`);
  }
});

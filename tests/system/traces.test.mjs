// Spans: one trace from a callback to the mail, taken over from and passed on to
// others, and a collector that is gone changes nothing.

import assert from 'node:assert/strict';
import { after, before, test } from './lib/suite.mjs';
import { Collector } from './imposters/collector.mjs';
import { freePort } from './lib/ports.mjs';
import { World } from './lib/world.mjs';

const CALLER = '0af7651916cd43dd8448eb211c80319c';
const SPAN = 'b7ad6b7169203331';
const parent = (flags = '01', trace = CALLER) => `00-${trace}-${SPAN}-${flags}`;

let collector;
let world;

before(async () => {
  collector = await Collector.start();
  world = await World.start({ railway: { times: { workflow: 100, queued: 50,
    initializing: 50, building: 100, deploying: 100, domain: 100 } },
  config: { traces: { endpoint: collector.url, service_name: 'slipway-test' } },
  });
});
after(async () => {
  await world?.stop();
  await collector?.stop();
});

/** The span of a request, by its route. */
const requests = (route) => collector.spans.filter((s) => s.kind === 2
  && s.attributes['http.route'] === route);

/** Waits until it is exported. */
const exported = (what, find) => world.eventually(`a span: ${what}`, find);

test('one trace leads from the callback to the running instance and the mail',
  async () => {
    const subscription = await world.activated();
    const { publicUrl } = await world.untilStatus(subscription, 'running');
    await world.eventually('the mail',
      () => world.successMails(subscription, publicUrl).length > 0);
    const [paid] = await exported('payment_settled', () => {
      const found = collector.about(subscription, 'payment_settled');
      return found.length > 0 && found;
    });
    const names = () => collector.trace(paid.traceId).map((s) => s.name);
    const wanted = ['POST alipay_notify', 'payment_settled', 'slot_granted',
      'projectCreate', 'project_ready', 'templateDeployV2',
      'deployment_observed', 'mail'];
    await exported('all of the story', () => {
      const missing = wanted.filter((name) => !names().includes(name));
      if (missing.length === 0) return true;
      throw new Error(`missing: ${missing}; there: ${names()}`);
    });
    const story = collector.trace(paid.traceId);
    const ids = new Map(story.map((s) => [s.spanId, s]));
    assert.equal(ids.size, story.length, 'a span was sent twice');
    const roots = story.filter((s) => !s.parentSpanId);
    assert.deepEqual(roots.map((s) => s.name), ['POST alipay_notify']);
    for (const span of story) {
      if (span.parentSpanId) assert.ok(ids.has(span.parentSpanId), span.name);
      assert.equal(span.service['service.name'], 'slipway-test');
      if (span.kind !== 3) {
        assert.equal(span.status.code, undefined, JSON.stringify(span));
      }
    }
    const mail = story.find((s) => s.name === 'mail');
    assert.equal(mail.attributes['slipway.outcome'], 'sent');
    const create = story.find((s) => s.name === 'projectCreate');
    assert.equal(create.kind, 3);
    assert.equal(create.attributes['http.response.status_code'], 200);
    // What leads there without the id of the trace follows from the
    // subscription alone.
    const anchors = await exported('the anchor', () => {
      const found = collector.about(subscription, 'subscription');
      return found.length > 0 && found;
    });
    assert.equal(anchors.length, 1);
    assert.equal(anchors[0].links[0].traceId, paid.traceId);
    assert.deepEqual(paid.links.map((l) => l.traceId), [anchors[0].traceId]);
    // The provider was told: each call by a span of its own.
    const calls = world.railway.requests.filter((r) => r.traceparent);
    assert.ok(calls.length >= 3);
    for (const { traceparent } of calls) {
      const [version, trace, span, flags] = traceparent.split('-');
      assert.deepEqual([version, flags], ['00', '01']);
      assert.ok(collector.trace(trace).some((s) => s.spanId === span));
    }
    assert.ok(calls.some((r) => r.traceparent.includes(paid.traceId)));
  });

test("a caller's trace is gone on with and passed on to the gateway",
  async () => {
    const subscription = await world.subscribe();
    const answer = await subscription.user.post('/api/payment/create',
      { subscriptionId: subscription.id, gateway: 'ALIPAY', method: 'qr' },
      { headers: { traceparent: parent(), tracestate: 'rojo=1,congo=t61',
        'X-Request-Id': 'mine-1' } });
    assert.equal(answer.status, 201);
    assert.equal(answer.headers['x-request-id'], 'mine-1');
    const { orderId } = answer.ok(201);
    const call = world.alipay.calls.find((c) => c.biz.out_trade_no === orderId);
    assert.ok(call.traceparent?.startsWith(`00-${CALLER}-`), call.traceparent);
    assert.ok(call.traceparent.endsWith('-01'));
    assert.ok(!call.traceparent.includes(SPAN), 'a span of our own');
    assert.equal(call.tracestate, 'rojo=1,congo=t61');
    const [request] = await exported('the request', () => {
      const found = requests('payment_create')
        .filter((s) => s.traceId === CALLER);
      return found.length > 0 && found;
    });
    assert.equal(request.parentSpanId, SPAN);
    assert.equal(request.traceState, 'rojo=1,congo=t61');
    assert.equal(request.attributes['slipway.request_id'], 'mine-1');
    const asked = await exported('the call', () => collector.trace(CALLER)
      .find((s) => s.name === 'alipay create'));
    assert.equal(asked.spanId, call.traceparent.split('-')[2]);
  });

test('what is malformed, doubled or not sampled is treated as W3C says',
  async () => {
    const get = (headers) => world.anonymous.get('/api/plans', { headers });
    const unsampled = '1'.repeat(32);
    const odd = '2'.repeat(32);
    await get({ traceparent: parent('00', unsampled) });
    await get({ traceparent: `01-${odd}-${SPAN}-01-more`,
      'X-Request-Id': 'later-version' });
    await get({ traceparent: parent('01', '0'.repeat(32)),
      tracestate: 'a=1', 'X-Request-Id': 'no-parent' });
    await get({ traceparent: parent('01', odd.toUpperCase().replace(/2/g, 'A')),
      'X-Request-Id': 'upper-case' });
    await get({ traceparent: parent('01', '3'.repeat(32)), tracestate: 'A=,',
      'X-Request-Id': 'bad-state' });
    await get({ traceparent: [parent('01', '5'.repeat(32)),
      parent('01', '6'.repeat(32))], 'X-Request-Id': 'twice' });
    const of = (id) => exported(id, () => requests('plans')
      .find((s) => s.attributes['slipway.request_id'] === id));
    assert.equal((await of('later-version')).traceId, odd);
    const alone = await of('no-parent');
    assert.equal(alone.parentSpanId, undefined);
    assert.equal(alone.traceState, undefined);
    assert.equal((await of('upper-case')).parentSpanId, undefined);
    assert.equal((await of('twice')).parentSpanId, undefined);
    const state = await of('bad-state');
    assert.equal(state.traceId, '3'.repeat(32));
    assert.equal(state.traceState, undefined);
    assert.deepEqual(collector.trace(unsampled), []);
  });

test('a purchase whose callback is not sampled stays without spans',
  async () => {
    const subscription = await world.paid();
    const answer = await world.alipay.notify(subscription.trade, {},
      { headers: { traceparent: parent('00', '4'.repeat(32)) } });
    assert.equal(answer.text, 'success');
    const { publicUrl } = await world.untilStatus(subscription, 'running');
    await world.eventually('the mail',
      () => world.successMails(subscription, publicUrl).length > 0);
    // Whatever had been recorded would be ahead of this.
    await world.anonymous.get('/api/plans',
      { headers: { 'X-Request-Id': 'after-unsampled' } });
    await exported('a later request', () => requests('plans')
      .some((s) => s.attributes['slipway.request_id'] === 'after-unsampled'));
    assert.deepEqual(['payment_settled', 'slot_granted', 'project_ready']
      .flatMap((name) => collector.about(subscription, name)), []);
    assert.deepEqual(collector.trace('4'.repeat(32)), []);
  });

test('a retry is linked with the trace that it follows on', async () => {
  const subscription = await world.order(await world.subscribe());
  const failure = world.railway.failBuilds(Infinity,
    { match: world.builds(subscription) });
  subscription.gateway.pay(subscription.trade);
  await world.notified(subscription);
  await world.untilStatus(subscription, 'failed', { within: 60_000 });
  failure.stop();
  const again = 'c'.repeat(32);
  (await subscription.user.post('/api/deployment/retry',
    { subscriptionId: subscription.id },
    { headers: { traceparent: parent('01', again) } })).ok();
  await world.untilStatus(subscription, 'running', { within: 60_000 });
  const retried = await exported('retry_requested', () => collector
    .about(subscription, 'retry_requested')[0]);
  const [paid] = collector.about(subscription, 'payment_settled');
  assert.equal(retried.traceId, again);
  assert.ok(retried.links.some((l) => l.traceId === paid.traceId));
  await exported('the second deployment', () => collector.trace(again)
    .some((s) => s.name === 'deployment_observed'));
});

test('a restart cuts the trace, and the next one is linked to the same anchor',
  async () => {
    const subscription = await world.order(await world.subscribe());
    world.railway.hold('BUILDING', world.builds(subscription));
    subscription.gateway.pay(subscription.trade);
    await world.notified(subscription);
    await world.untilStatus(subscription, 'deploying', { within: 60_000 });
    const [paid] = await exported('payment_settled', () => {
      const found = collector.about(subscription, 'payment_settled');
      return found.length > 0 && found;
    });
    await world.server.kill();
    await world.server.start();
    const resumed = await exported('resumed', () => collector
      .about(subscription, 'resumed')[0]);
    world.railway.release('BUILDING');
    await world.untilStatus(subscription, 'running', { within: 60_000 });
    assert.notEqual(resumed.traceId, paid.traceId);
    assert.equal(resumed.links[0].traceId, paid.links[0].traceId);
    await exported('the end', () => collector.trace(resumed.traceId)
      .some((s) => s.name === 'deployment_observed'));
  });

test('nothing secret and nothing of a person is in a span', () => {
  const all = collector.bodies.join('\n');
  for (const text of [world.secret, world.railway.token, world.hook, 'mark-',
    'user-', '@example.com', 'eyJ']) {
    assert.ok(!all.includes(text), `${text} in a span`);
  }
});

test('the collector has nothing to complain of', async () => {
  assert.deepEqual(collector.complaints, []);
  const metrics = await world.metrics();
  // Of the server that was started last.
  assert.ok(metrics.sum('slipway_spans_exported_total') > 5);
  assert.equal(metrics.sum('slipway_spans_dropped_total'), 0);
});

for (const [what, prepare] of [
  ['is gone', async () => ({ url: `http://127.0.0.1:${await freePort()}/v1/traces`,
    stop: () => {} })],
  ['hangs', async () => Object.assign(await Collector.start(),
    { mode: 'hang' })],
  ['refuses', async () => Object.assign(await Collector.start(),
    { mode: 503 })],
]) {
  test(`a collector that ${what} changes nothing`, async () => {
    const bad = await prepare();
    const own = await World.start({ config: { traces: { endpoint: bad.url,
      timeout: '500ms' } } });
    try {
      const subscription = await own.running();
      await own.assertOnce(subscription);
      await own.eventually('spans are counted as dropped', async () => (
        await own.metrics()).sum('slipway_spans_dropped_total',
        { reason: 'failed' }) > 0);
      const began = Date.now();
      assert.deepEqual(await own.server.terminate(), { code: 0, signal: null });
      assert.ok(Date.now() - began < 15_000, 'the end waits for the collector');
      assert.match(own.server.log, /spans cannot be exported/);
    } finally {
      await own.stop();
      await bad.stop();
    }
  });
}

test('without [traces] nobody is told anything', async () => {
  const own = await World.start();
  try {
    const subscription = await own.subscribe();
    (await subscription.user.post('/api/payment/create',
      { subscriptionId: subscription.id, gateway: 'ALIPAY', method: 'qr' },
      { headers: { traceparent: parent() } })).ok(201);
    await own.running();
    for (const call of [...own.alipay.calls, ...own.railway.requests]) {
      assert.equal(call.traceparent, undefined);
    }
  } finally {
    await own.stop();
  }
});

// Live progress: every change as it happens, at whichever server somebody
// watches, for thousands at once; and nothing but 304 for those who poll.

import assert from 'node:assert/strict';
import net from 'node:net';
import { after, afterEach, before, test } from './lib/suite.mjs';
import { Api } from './lib/client.mjs';
import { never } from './lib/wait.mjs';
import { RANK, World } from './lib/world.mjs';

let world;
let other;
const streams = [];

before(async () => {
  world = await World.start({ faults: true, config: {
    deployment: { max_concurrent: 20 },
    limits: { max_connections: 5_000, max_watchers: 4_000,
      max_watchers_per_user: 3_000 },
  } });
});
after(() => world?.stop());
afterEach(async () => {
  for (const stream of streams.splice(0)) stream.close();
  world.railway.release('BUILDING');
});

/** One more server on the same database: `other`. */
async function elsewhere() {
  if (other?.server.running) return;
  other = await world.another();
  await other.server.start();
}

const path = ({ id }) => `/api/deployment/events/${id}`;
const statusPath = ({ id }) => `/api/deployment/status/${id}`;

async function watch(subscription, { last, user = subscription.user } = {}) {
  const stream = await user.events(path(subscription),
    last === undefined ? {} : { 'Last-Event-ID': String(last) });
  streams.push(stream);
  assert.equal(stream.status, 200);
  assert.match(stream.headers['content-type'], /^text\/event-stream/);
  return stream;
}

const states = (stream) => stream.events.map((e) => e.data.status);
const ids = (stream) => stream.events.map((e) => Number(e.id));

function assertOrder(stream) {
  for (const event of stream.events) assert.equal(event.event, 'status');
  assert.ok(ids(stream).every((n, i) => Number.isSafeInteger(n)
    && (i === 0 || n > ids(stream)[i - 1])), `ids: ${ids(stream)}`);
  const data = stream.events.map((e) => e.data);
  for (let i = 1; i < data.length; i += 1) {
    assert.ok(RANK[data[i - 1].status] <= RANK[data[i].status],
      String(states(stream)));
    assert.ok(data[i - 1].progress <= data[i].progress);
  }
}

const tells = (stream, status, within = 15_000) => world.eventually(
  `the stream tells ${status}`, () => stream.events.some((e) => (
    e.data.status === status)), { within });

/** Paid, and being built until it is released. */
async function building() {
  const subscription = await world.paid();
  world.railway.hold('BUILDING', world.builds(subscription));
  await world.notified(subscription);
  await world.untilStatus(subscription, 'deploying');
  return subscription;
}

const shed = async (reason) => (await world.metrics())
  .sum('slipway_shed_total', { reason });
const watchers = async () => (await world.metrics()).sum('slipway_watchers');

test('from the order to the running instance, each change once', async () => {
  const subscription = await world.paid();
  const stream = await watch(subscription);
  await world.eventually('the present state', () => stream.events.length > 0);
  assert.equal(stream.events[0].data.status, 'pending');
  world.railway.hold('BUILDING', world.builds(subscription));
  await world.notified(subscription);
  await tells(stream, 'deploying', 40_000);
  world.railway.release('BUILDING');
  await tells(stream, 'running', 40_000);
  assertOrder(stream);
  // Facts that follow at once share a commit: `configuring` may be no state.
  for (const status of ['pending', 'creating', 'deploying', 'running']) {
    assert.ok(states(stream).includes(status), `${status}: ${states(stream)}`);
  }
  // As the status has it, word for word.
  const now = await world.status(subscription);
  await world.eventually('the last event is the present state', () => {
    assert.deepEqual(stream.events.at(-1).data, now);
    return true;
  });
  // From the message of the commit, not from the next look of a scan.
  const revisions = ids(stream);
  assert.deepEqual(revisions, Array.from({ length: revisions.length },
    (_, i) => revisions[0] + i), 'a change was left out');
});

test('whoever comes back is told what is new and nothing else', async () => {
  const subscription = await building();
  const first = await watch(subscription);
  await tells(first, 'deploying');
  const last = ids(first).at(-1);
  first.close();

  const same = await watch(subscription, { last });
  const beyond = await watch(subscription, { last: last + 1_000 });
  await world.eventually('a comment', () => same.comments > 0
    && beyond.comments > 0);
  assert.deepEqual([same.events, beyond.events], [[], []]);
  for (const odd of ['x', '', `${last}x`, '-1', '9'.repeat(30), 0, last - 1]) {
    const stream = await watch(subscription, { last: odd });
    await world.eventually(`the present state after ${odd}`,
      () => ids(stream)[0] >= last);
    stream.close();
  }
  world.railway.release('BUILDING');
  for (const stream of [same, beyond]) {
    await tells(stream, 'running');
    assert.ok(ids(stream).every((n) => n > last), `old: ${ids(stream)}`);
    assertOrder(stream);
  }
});

test('only for the owner', async () => {
  const subscription = await world.paid();
  (await world.anonymous.get(path(subscription))).fails(401);
  for (const [user, of] of [[world.user(), subscription],
    [world.operator, subscription], [world.user(), { id: 'nonsense' }],
    [world.user(), { id: 'sub_0000000000000' }]]) {
    (await user.get(path(of))).fails(404,
      { message: 'Subscription not found' });
  }
});

test('watched at one server, changed by another', async () => {
  await elsewhere();
  const subscription = await building();
  const there = new Api(other.url, subscription.user.token);
  const stream = await watch(subscription, { user: there });
  await tells(stream, 'deploying');
  world.railway.release('BUILDING');
  await tells(stream, 'running');
  assertOrder(stream);
  const { publicUrl } = await world.untilStatus(subscription, 'running');
  assert.equal(stream.events.at(-1).data.publicUrl, publicUrl);
  // Each at its own: what began here is seen there, and the other way round.
  const mine = await there.post('/api/subscriptions', { planType: 'PRO' });
  const made = { id: mine.ok(201).subscriptionId, user: subscription.user };
  const here = await watch(made);
  await world.eventually('it is there', () => here.events.length === 1);
  (await there.post('/api/payment/create', { subscriptionId: made.id,
    gateway: 'ALIPAY', method: 'page' })).ok(201);
  await world.eventually('a change of the other', () => (
    here.events.length > 1), { within: 10_000 });
});

test('a stopped server ends its streams, and they go on elsewhere',
  async () => {
    await elsewhere();
    const subscription = await building();
    const there = new Api(other.url, subscription.user.token);
    const stream = await watch(subscription, { user: there });
    await tells(stream, 'deploying');
    const last = ids(stream).at(-1);
    assert.deepEqual(await other.server.terminate(), { code: 0, signal: null });
    await world.eventually('the stream has ended', () => stream.ended);
    const again = await watch(subscription, { last });
    world.railway.release('BUILDING');
    await tells(again, 'running');
    assert.ok(ids(again).every((n) => n > last));
  });

test('killed with its server, it goes on after the next start', async () => {
  const subscription = await building();
  const stream = await watch(subscription);
  await tells(stream, 'deploying');
  const last = ids(stream).at(-1);
  await world.server.kill();
  await world.eventually('the stream has ended', () => stream.ended);
  await world.server.start();
  const again = await watch(subscription, { last });
  world.railway.release('BUILDING');
  await tells(again, 'running');
  assert.ok(ids(again).every((n) => n > last));
  assertOrder(again);
});

test('a part that is killed ends the streams and lets them in again',
  async () => {
    const subscription = await building();
    const stream = await watch(subscription);
    await tells(stream, 'deploying');
    const last = ids(stream).at(-1);
    (await world.operator.post('/api/ops/actors/broadcaster/kill'))
      .success(202);
    await world.eventually('the stream has ended', () => stream.ended);
    const again = await world.eventually('it is let in again', async () => {
      const tried = await subscription.user.events(path(subscription),
        { 'Last-Event-ID': String(last) });
      streams.push(tried);
      return tried.status === 200 && tried;
    });
    world.railway.release('BUILDING');
    await tells(again, 'running');
    assert.ok(ids(again).every((n) => n > last));
  });

test('two thousand watch one, and all of them see it run', async () => {
  const subscription = await building();
  const many = [];
  const count = 2_000;
  for (let i = 0; i < count; i += 100) {
    many.push(...await Promise.all(Array.from({ length: 100 },
      () => watch(subscription))));
  }
  await world.eventually('each knows the present state', () => (
    many.every((s) => s.events.length > 0)), { within: 30_000 });
  await world.eventually('the gauge counts them', async () => (
    await watchers() >= count));
  world.railway.release('BUILDING');
  await world.eventually('all have seen it', () => many.every((s) => (
    s.events.at(-1).data.status === 'running')), { within: 30_000 });
  const [first] = many;
  for (const stream of many) {
    assert.deepEqual(ids(stream), ids(first).slice(-ids(stream).length));
    assert.deepEqual(stream.events.at(-1), first.events.at(-1));
  }
  for (const stream of many) stream.close();
  await world.eventually('they are forgotten', async () => (
    await watchers() < 100), { within: 15_000 });
  assert.equal(await shed('slow_watcher'), 0);
});

test('who does not read is dropped, and nobody else', async () => {
  // Nobody owns the row: what is written here is found by a scan.
  const subscription = await world.subscribe();
  const change = (what) => world.postgres.query(`UPDATE subscriptions SET ${
    what} WHERE user_id = '${subscription.user.sub}'`);
  change('owner = NULL');
  const good = await watch(subscription);
  await tells(good, 'pending');
  const socket = net.connect(world.port, '127.0.0.1');
  streams.push({ close: () => socket.destroy() });
  let gone = false;
  socket.on('close', () => { gone = true; });
  socket.on('error', () => {});
  socket.pause();
  socket.write(`GET ${path(subscription)} HTTP/1.1\r\nHost: a\r\n`
    + `Authorization: Bearer ${subscription.user.token}\r\n\r\n`);
  await world.eventually('both watch', async () => await watchers() >= 2);
  for (let n = 0; n < 40 && await shed('slow_watcher') === 0; n += 1) {
    const before = good.events.length;
    change("revision = revision + 1, error = repeat('x', 50000)");
    await world.eventually('the good one is told', () => (
      good.events.length > before), { within: 20_000, every: 20 });
  }
  assert.equal(await shed('slow_watcher'), 1);
  assert.ok(!good.ended);
  socket.resume();
  await world.eventually('its end', () => gone, { within: 40_000 });
});

test('polling costs a 304 until something changes', async () => {
  const subscription = await building();
  const { instanceId } = await world.status(subscription);
  const tags = new Map();
  for (const where of [statusPath(subscription),
    `/api/deployment-monitor/progress/${instanceId}`]) {
    // A step of the build that is seen only now is a change.
    await world.eventually('nothing changes meanwhile', async () => {
      const first = await subscription.user.get(where);
      const { etag } = first.headers;
      tags.set(where, etag);
      assert.match(etag, /^(W\/)?"[^"]+"$/);
      assert.equal(first.headers['cache-control'], 'private, no-cache');
      for (const given of [etag, `W/${etag}`, `"a", ${etag}`, '*']) {
        const same = await subscription.user.get(where,
          { headers: { 'If-None-Match': given } });
        if (same.status === 200 && same.headers.etag !== etag) return false;
        assert.equal(same.status, 304, given);
        assert.equal(same.text, '');
        assert.equal(same.headers.etag, etag);
      }
      return true;
    });
  }
  world.railway.release('BUILDING');
  await world.untilStatus(subscription, 'running');
  for (const [where, etag] of tags) {
    const next = await subscription.user.get(where,
      { headers: { 'If-None-Match': etag } });
    next.ok();
    assert.notEqual(next.headers.etag, etag);
  }
  (await world.user().get(statusPath(subscription),
    { headers: { 'If-None-Match': '*' } })).fails(404);
});

test('who watches nothing costs nothing', async () => {
  await world.eventually('nobody watches', async () => await watchers() === 0,
    { within: 10_000 });
  const subscription = await world.running();
  await never('somebody watches', async () => await watchers() > 0,
    { during: 500 });
  await world.assertOnce(subscription);
});

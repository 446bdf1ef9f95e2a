// The log page by page: every line once, in one order, without secrets; what is
// new for whoever comes back; and as much as there is when the provider fails.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from './lib/suite.mjs';
import { World } from './lib/world.mjs';

let world;
let railway;
before(async () => {
  world = await World.start({ config: { deployment: { max_concurrent: 20 } } });
  railway = world.railway;
});
after(() => world?.stop());
afterEach(() => railway.release('BUILDING'));

const path = (subscription, query = '') => (
  `/api/deployment/logs/${subscription.id}${query}`);

async function read(subscription, query = '') {
  const page = (await subscription.user.get(path(subscription, query))).ok();
  assert.equal(page.count, page.logs.length);
  return page;
}

const messages = ({ logs }) => logs.map((l) => l.message);

/** All pages of `limit` lines. */
async function readAll(subscription, { limit, type = 'all' }) {
  const found = [];
  let cursor = null;
  for (let page = 0; page < 1_000; page += 1) {
    const { logs, nextCursor } = await read(subscription, `?type=${type}&limit=${
      limit}${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`);
    assert.ok(logs.length <= limit);
    found.push(...logs);
    if (nextCursor === null) return found;
    assert.notEqual(nextCursor, cursor, 'the cursor stands still');
    cursor = nextCursor;
  }
  throw new Error('the pages have no end');
}

/** One that is being built until it is released. */
async function building() {
  const subscription = await world.paid();
  railway.hold('BUILDING', world.builds(subscription));
  await world.notified(subscription);
  await world.untilStatus(subscription, 'deploying');
  const deployment = await world.untilProviderStatus(subscription, 'BUILDING');
  return { subscription, deployment };
}

const steps = (lines) => lines.map((l) => /^step (\d+)$/.exec(l.message)?.[1])
  .filter(Boolean).map(Number);

const upTo = (count) => Array.from({ length: count }, (_, i) => i + 1);

test('pages of any size make the same log', async () => {
  const subscription = await world.running();
  const [deployment] = railway.deploymentsOf(
    world.projectsOf(subscription)[0].id);
  // Many in the same millisecond.
  for (const n of upTo(40)) railway.say(deployment, 'deploy', `step ${n}`);
  const whole = await world.eventually('all is there', async () => {
    const { logs } = await read(subscription, '?limit=1000');
    // The mail is the last thing that happens by itself.
    return steps(logs).length === 40 && logs.some((l) => (
      l.message === 'Mail DEPLOYMENT_SUCCESS sent')) && logs;
  });
  assert.deepEqual(steps(whole), upTo(40));
  const times = whole.map((l) => Date.parse(l.timestamp));
  assert.deepEqual(times, [...times].sort((a, b) => a - b));
  assert.deepEqual([...new Set(whole.map((l) => l.source))].sort(),
    ['build', 'deploy', 'event']);
  for (const limit of [1, 3, 7, 100]) {
    assert.deepEqual(await readAll(subscription, { limit }), whole);
  }
});

test('the tail cursor brings what is new, and only that', async () => {
  const { subscription, deployment } = await building();
  let { tailCursor } = await read(subscription, '?type=build');
  let seen = [];
  for (const n of upTo(6)) {
    railway.say(deployment, 'build', `step ${n}`);
    if (n % 2 === 0) {
      await world.eventually(`step ${n}`, async () => {
        const page = await read(subscription,
          `?type=build&cursor=${encodeURIComponent(tailCursor)}`);
        tailCursor = page.tailCursor;
        seen = seen.concat(page.logs);
        return steps(seen).includes(n);
      }, { every: 300 });
    }
  }
  assert.deepEqual(messages({ logs: seen }), upTo(6).map((n) => `step ${n}`));
  // A cursor is kept over a crash.
  await world.server.kill();
  await world.server.start();
  assert.deepEqual(messages(await read(subscription,
    `?type=build&cursor=${encodeURIComponent(tailCursor)}`)), []);
});

test('a log that is longer than an answer is read to its beginning',
  async () => {
    const { subscription, deployment } = await building();
    for (const n of upTo(7_000)) railway.say(deployment, 'build', `step ${n}`);
    const lines = await readAll(subscription, { limit: 1000, type: 'build' });
    assert.deepEqual(steps(lines), upTo(7_000));
  });

test('many who ask cost the provider little', async () => {
  const { subscription, deployment } = await building();
  railway.say(deployment, 'build', 'step 1');
  const asked = () => railway.requests.filter((r) => (
    r.fields.includes('buildLogs') || r.fields.includes('deploymentLogs'))).length;
  const before = asked();
  const since = Date.now();
  for (let round = 0; round < 10; round += 1) {
    const pages = await Promise.all(upTo(8).map(() => read(subscription)));
    for (const page of pages) assert.deepEqual(steps(page.logs), [1]);
  }
  // Both lanes once, and again for each two seconds that went by.
  const rounds = 1 + Math.ceil((Date.now() - since) / 2_000);
  assert.ok(asked() - before <= 2 * rounds,
    `${asked() - before} calls in ${Date.now() - since} ms`);
});

test('secrets are gone in whatever form', async () => {
  const { subscription, deployment } = await building();
  const secret = subscription.mark;
  for (const text of [secret, `"${secret}"`, `x\u001b[1m${secret}`,
    `${secret.slice(0, 9)}\u001b[0m${secret.slice(9)}`,
    `Basic ${Buffer.from(`user:${secret}`).toString('base64')}`,
    Buffer.from(secret).toString('base64url'),
    JSON.stringify({ TELEGRAM: { botToken: secret } }), railway.token]) {
    railway.say(deployment, 'build', text);
  }
  railway.say(deployment, 'build', 'the end');
  const page = await world.eventually('the end', async () => {
    const found = await read(subscription, '?type=build&limit=1000');
    return messages(found).includes('the end') && found;
  });
  const all = JSON.stringify(page);
  assert.ok(!all.includes(secret), 'as it is');
  assert.ok(!all.includes(railway.token), 'our own token');
  for (const before of ['', 'user:']) {
    const coded = Buffer.from(before + secret).toString('base64url');
    assert.ok(!all.includes(coded.slice(8, -8)), 'in base64');
  }
});

test('a provider that fails leaves the events, and says so', async () => {
  const { subscription, deployment } = await building();
  const faults = ['environment', 'buildLogs', 'deploymentLogs'].map(
    (operation) => railway.fault({ operation, kind: '502', times: Infinity }));
  const { logs, nextCursor, tailCursor } = await world.eventually('a warning',
    async () => {
      const page = await read(subscription);
      return page.logs.some((l) => l.level === 'warn') && page;
    });
  assert.equal(nextCursor, null);
  assert.ok(logs.some((l) => l.source === 'event' && l.level === 'info'));
  const warning = logs.at(-1);
  assert.equal(warning.source, 'event');
  assert.match(warning.message, /cannot be read now/);
  for (const fault of faults) fault.times = 0;
  railway.say(deployment, 'build', 'step 1');
  await world.eventually('it is read again', async () => (
    steps((await read(subscription,
      `?cursor=${encodeURIComponent(tailCursor)}`)).logs).includes(1)),
  { every: 500, within: 40_000 });
});

test('bad requests, and other people', async () => {
  const subscription = await world.running();
  const get = (query, user = subscription.user) => (
    user.get(path(subscription, query)));
  (await get('?type=nonsense')).fails(400);
  (await get('?limit=0')).fails(400);
  (await get('?limit=1001')).fails(400);
  for (const cursor of ['1', 'nonsense', 'AQAA', '9'.repeat(5_000)]) {
    (await get(`?cursor=${cursor}`)).fails(400, { error: 'invalid_cursor' });
  }
  // A cursor of one subscription is none of another.
  const { tailCursor } = await read(subscription);
  const other = await world.running();
  (await other.user.get(path(other, `?cursor=${tailCursor}`)))
    .fails(400, { error: 'invalid_cursor' });
  (await get('', world.user())).fails(403);
});

test('the plain path streams for whoever accepts a stream', async () => {
  const subscription = await world.running();
  const stream = await subscription.user.events(path(subscription));
  try {
    assert.equal(stream.status, 200);
    assert.match(stream.headers['content-type'], /^text\/event-stream/);
    assert.equal(stream.headers['cache-control'], 'no-store');
    assert.equal(stream.headers['x-accel-buffering'], 'no');
    await world.eventually('a line', () => stream.events.some((e) => (
      e.event === 'log' && e.data.message.includes('Listening'))));
  } finally {
    stream.close();
  }
});

test('a long log is streamed to a slow reader without a gap', async () => {
  const { subscription, deployment } = await building();
  const text = 'x'.repeat(2_000);
  for (const n of upTo(900)) railway.say(deployment, 'build', `${n} ${text}`);
  const stream = await subscription.user.events(
    path(subscription, '/stream?type=build'));
  try {
    await world.eventually('the last line', () => stream.events.some((e) => (
      e.data.message?.startsWith('900 '))));
    const numbers = stream.events.map((e) => parseInt(e.data.message, 10))
      .filter((n) => n > 0);
    assert.deepEqual(numbers, upTo(900));
  } finally {
    stream.close();
  }
});

test('nothing of all that was done behind the API', () => {
  assert.deepEqual(railway.complaints, []);
});

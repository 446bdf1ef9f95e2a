// More of everything than the limits allow: what is over is told so at once,
// operators see what goes on, memory stays where it is, and afterwards all is as
// before.

import assert from 'node:assert/strict';
import net from 'node:net';
import { after, before, test } from './lib/suite.mjs';
import { INSTANT } from './imposters/railway.mjs';
import { assertWhole } from './lib/invariants.mjs';
import { raw } from './lib/http.mjs';
import { memoryOf } from './lib/processes.mjs';
import { World } from './lib/world.mjs';

const IN_FLIGHT = 8;
const CONNECTIONS = 100;

/** MiB that the server may have resident at most, whatever is asked of it. */
const CEILING = 96;

let world;
const paid = [];
before(async () => {
  world = await World.start({ proxies: ['postgres'],
    railway: { times: INSTANT },
    config: {
      limits: { max_in_flight: IN_FLIGHT, max_connections: CONNECTIONS },
      http: { header_timeout: '2s', body_timeout: '2s', idle_timeout: '5s' },
      deployment: { max_concurrent: 8 },
      payment: { ask_interval: '10m' },
    } });
});
after(() => world?.stop());

/** The operators' side is not what is overloaded. */
async function assertWatched() {
  for (const path of ['/healthz', '/metrics']) {
    const since = Date.now();
    assert.equal(await world.admin(path), 200, path);
    assert.ok(Date.now() - since < 1_500, `${path}: ${Date.now() - since} ms`);
  }
}

const shed = async (reason) => (await world.metrics())
  .sum('slipway_shed_total', { reason });

/** Connections that stay open; each says `text` first. */
async function connections(count, text = '') {
  const sockets = [];
  await Promise.all(Array.from({ length: count }, () => new Promise((done) => {
    const socket = net.connect(world.port, '127.0.0.1', done);
    socket.answer = '';
    socket.on('data', (chunk) => { socket.answer += chunk; });
    socket.on('error', done);
    if (text) socket.write(text);
    sockets.push(socket);
  })));
  return sockets;
}

test('more callbacks at once than may be worked on: the others hear 503 and '
  + 'Retry-After at once, and come again', async () => {
  const some = [];
  for (let i = 0; i < 30; i += 1) some.push(await world.paid());
  const wire = world.proxies.postgres;
  wire.delay = 250;
  await wire.set('slow');
  const acknowledged = new Set();
  let refused = 0;
  try {
    const since = Date.now();
    const sends = some.flatMap((s) => [s, s, s]).map(async (subscription) => {
      const begin = Date.now();
      const answer = await world.alipay.notify(subscription.trade, {},
        { timeout: 60_000 });
      if (answer.status === 503) {
        refused += 1;
        assert.ok(Number(answer.headers['retry-after']) >= 1, 'Retry-After');
        assert.equal(answer.json().success, false);
        assert.ok(Date.now() - begin < 2_000, `${Date.now() - begin} ms`);
      } else if (answer.text === 'success') {
        acknowledged.add(subscription);
      } else {
        assert.equal(answer.status, 500, answer.text);
      }
    });
    await assertWatched();
    await Promise.all(sends);
    assert.ok(Date.now() - since < 40_000);
    assert.ok(refused >= 30, `${refused} were refused`);
    assert.ok(await shed('in_flight') >= refused, 'counted');
  } finally {
    await wire.set('open');
  }
  for (const subscription of acknowledged) {
    assert.equal((await world.payment(subscription)).status, 'PAID');
  }
  await Promise.all(some.map((s) => world.eventually(`${s.id} is told`,
    async () => (await world.alipay.notify(s.trade)).text === 'success',
    { within: 30_000 })));
  paid.push(...some);
  await assertWhole(world, paid);
});

test('more connections than there may be: refused at once, those that are '
  + 'there are served', async () => {
  const idle = await connections(CONNECTIONS);
  try {
    const answer = await raw(world.port,
      'GET /api/plans HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n',
      { timeout: 5_000 });
    assert.match(answer, /^HTTP\/1\.1 503 /);
    assert.match(answer, /\r\nRetry-After: \d/i);
    const many = await connections(600);
    await assertWatched();
    assert.ok(await shed('connections') >= 1);
    // One of those that came in time is a client like any other.
    idle[0].write('GET /api/plans HTTP/1.1\r\nHost: x\r\n\r\n');
    await world.eventually('it is served', () => (
      idle[0].answer.startsWith('HTTP/1.1 200 ')), { within: 4_000 });
    for (const socket of many) socket.destroy();
  } finally {
    for (const socket of idle) socket.destroy();
  }
  await world.eventually('people are served again', async () => (
    (await world.anonymous.get('/api/plans')).status === 200));
});

const HEAD = 'POST /api/payment/alipay/notify HTTP/1.1\r\nHost: x\r\n'
  + 'Content-Length: 262000';
for (const [what, text] of [['head', HEAD],
  ['body', `${HEAD}\r\n\r\n${'a=b&'.repeat(60_000)}`]]) {
  test(`who says half of a ${what} keeps his place for a while only`, async () => {
    const slow = await connections(CONNECTIONS, text);
    try {
      await assertWatched();
      // None of them ever goes on, and their places come back by themselves.
      await world.eventually('people are served again', async () => (
        (await world.anonymous.get('/api/plans')).status === 200),
      { within: 10_000 });
    } finally {
      for (const socket of slow) socket.destroy();
    }
  });
}

test('reading at full speed from everywhere does not keep a payment waiting',
  async () => {
    const subscription = await world.paid();
    let going = true;
    let answered = 0;
    const readers = Array.from({ length: 40 }, async () => {
      while (going) {
        const { status } = await subscription.user.get('/api/subscriptions')
          .catch(() => ({ status: 0 }));
        if ([200, 503].includes(status)) answered += 1;
      }
    });
    try {
      await world.eventually('they read', () => answered >= 100);
      await world.eventually('acknowledged all the same', async () => (
        (await world.alipay.notify(subscription.trade)).text === 'success'),
      { within: 15_000, every: 20 });
      await assertWatched();
      await world.untilStatus(subscription, 'running', { within: 30_000,
        every: 200 }).catch((error) => {
        // The status is read beside forty others, who may be faster.
        if (!/503/.test(error.message)) throw error;
      });
    } finally {
      going = false;
      await Promise.all(readers);
    }
    paid.push(subscription);
    await assertWhole(world, paid);
  });

test(`memory has stayed below ${CEILING} MiB all the time`, (t) => {
  const { now, peak } = memoryOf(world.server.pid);
  t.diagnostic(`now ${now.toFixed(0)} MiB, peak ${peak.toFixed(0)} MiB`);
  assert.ok(peak < CEILING, `${peak} MiB`);
});

// Logs while they come: builds, the program and our own events in one stream,
// each line once and in order, whatever happens to the sockets; and never a
// secret in it.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from './lib/suite.mjs';
import { RFC3339_UTC } from './lib/client.mjs';
import { never } from './lib/wait.mjs';
import { World } from './lib/world.mjs';

let world;
let railway;
const streams = [];
before(async () => {
  world = await World.start({ config: { deployment: { max_concurrent: 20 } } });
  railway = world.railway;
});
after(() => world?.stop());
afterEach(() => {
  for (const stream of streams.splice(0)) stream.close();
  railway.socket = 'open';
  railway.release('BUILDING');
});

const path = (subscription, query = '') => (
  `/api/deployment/logs/${subscription.id}/stream${query}`);

async function follow(subscription, { query, last } = {}) {
  const stream = await subscription.user.events(path(subscription, query),
    last === undefined ? {} : { 'Last-Event-ID': last });
  streams.push(stream);
  assert.equal(stream.status, 200);
  assert.match(stream.headers['content-type'], /^text\/event-stream/);
  return stream;
}

const lines = (stream) => stream.events.filter((e) => e.event === 'log');
const messages = (stream) => lines(stream).map((e) => e.data.message);
const arrives = (stream, text, within = 10_000) => world.eventually(
  `"${text}" arrives`, () => lines(stream).find((e) => (
    e.data.message.includes(text))), { within });

/** One that is being built until it is released. */
async function building() {
  const subscription = await world.paid();
  railway.hold('BUILDING', world.builds(subscription));
  await world.notified(subscription);
  await world.untilStatus(subscription, 'deploying');
  const deployment = await world.untilProviderStatus(subscription, 'BUILDING');
  return { subscription, deployment };
}

/** Of texts like `step 7`, those of the stream are 1…n, each once. */
function assertSteps(stream, count) {
  const seen = messages(stream).map((m) => /^step (\d+)$/.exec(m)?.[1])
    .filter(Boolean).map(Number);
  assert.deepEqual(seen, Array.from({ length: count }, (_, i) => i + 1));
}

test('a line arrives as it is printed, by the socket', async () => {
  const { subscription, deployment } = await building();
  const stream = await follow(subscription);
  await arrives(stream, 'Using Railpack');
  await world.eventually('a socket is open', () => railway.watchers.size > 0);
  const since = Date.now();
  railway.say(deployment, 'build', 'step 1');
  const { id, data } = await arrives(stream, 'step 1', 5_000);
  assert.ok(Date.now() - since < 5_000);
  assert.ok(id, 'no cursor');
  assert.equal(data.source, 'build');
  assert.equal(data.level, 'info');
  assert.match(data.timestamp, RFC3339_UTC);
  railway.say(deployment, 'build', 'it goes wrong', 'error');
  assert.equal((await arrives(stream, 'it goes wrong')).data.level, 'error');
  railway.release('BUILDING');
  const last = await arrives(stream, 'Listening on :8080', 15_000);
  assert.equal(last.data.source, 'deploy');
  railway.say(deployment, 'deploy', 'a request came in');
  await arrives(stream, 'a request came in');
  const ids = lines(stream).map((e) => e.id);
  assert.equal(new Set(ids).size, ids.length, 'a cursor twice');
  assert.ok(railway.requests.some((r) => r.transport === 'socket'
    && r.fields.includes('buildLogs')));
});

test('our own events are among them, and all of it is in order', async () => {
  const { subscription, deployment } = await building();
  const stream = await follow(subscription);
  await arrives(stream, 'Using Railpack');
  railway.release('BUILDING');
  await world.untilStatus(subscription, 'running');
  await arrives(stream, 'Listening on :8080', 15_000);
  const sources = new Set(lines(stream).map((e) => e.data.source));
  assert.deepEqual([...sources].sort(), ['build', 'deploy', 'event']);
  for (const source of sources) {
    const times = lines(stream).filter((e) => e.data.source === source)
      .map((e) => Date.parse(e.data.timestamp));
    assert.deepEqual(times, [...times].sort((a, b) => a - b), source);
  }
  assert.ok(deployment);
});

test('only what was asked for', async () => {
  const { subscription, deployment } = await building();
  const [build, deploy, event] = await Promise.all(['build', 'deploy', 'event']
    .map((type) => follow(subscription, { query: `?type=${type}` })));
  railway.say(deployment, 'build', 'of the build');
  railway.release('BUILDING');
  await arrives(deploy, 'Listening on :8080', 15_000);
  await arrives(build, 'of the build');
  await world.eventually('events', () => lines(event).length > 0);
  for (const [stream, source] of [[build, 'build'], [deploy, 'deploy'],
    [event, 'event']]) {
    assert.deepEqual([...new Set(lines(stream).map((e) => e.data.source))],
      [source]);
  }
  (await subscription.user.get(path(subscription, '?type=nonsense')))
    .fails(400);
});

test('it goes on after Last-Event-ID, without a gap or a repeat', async () => {
  const { subscription, deployment } = await building();
  const first = await follow(subscription, { query: '?type=build' });
  for (const n of [1, 2, 3]) railway.say(deployment, 'build', `step ${n}`);
  const { id } = await arrives(first, 'step 3');
  first.close();
  for (const n of [4, 5]) railway.say(deployment, 'build', `step ${n}`);
  const second = await follow(subscription, { query: '?type=build', last: id });
  railway.say(deployment, 'build', 'step 6');
  await arrives(second, 'step 6');
  assert.deepEqual(messages(second), ['step 4', 'step 5', 'step 6']);

  // The same after the server was killed.
  const at = lines(second).find((e) => e.data.message === 'step 5').id;
  await world.server.kill();
  await world.server.start();
  const third = await follow(subscription, { query: '?type=build', last: at });
  await arrives(third, 'step 6');
  assert.deepEqual(messages(third), ['step 6']);

  // And a cursor is a cursor: the pages know it, too.
  const { logs } = (await subscription.user.get(`/api/deployment/logs/${
    subscription.id}?type=build&cursor=${encodeURIComponent(at)}`)).ok();
  assert.deepEqual(logs.map((l) => l.message), ['step 6']);
  for (const last of ['nonsense', '-1', '9'.repeat(40), '%00', 'é']) {
    const answer = await subscription.user.get(path(subscription,
      `?type=build&cursor=${encodeURIComponent(last)}`),
    { timeout: 3_000 }).catch(() => ({ status: 200 }));
    assert.ok([200, 400].includes(answer.status), `${last}: ${answer.status}`);
  }
});

test('where the socket is refused, the lines come by polling', async () => {
  railway.socket = 'refuse';
  const { subscription, deployment } = await building();
  const stream = await follow(subscription, { query: '?type=build' });
  railway.say(deployment, 'build', 'step 1');
  await arrives(stream, 'step 1', 15_000);
  railway.say(deployment, 'build', 'step 2');
  railway.say(deployment, 'build', 'step 3');
  await arrives(stream, 'step 3', 15_000);
  assertSteps(stream, 3);
  assert.ok(railway.upgrades.length > 0, 'the socket was not even tried');
  assert.ok(railway.requests.some((r) => r.transport === 'http'
    && r.fields.includes('buildLogs')));
});

test('sockets that break leave no gap and repeat nothing', async () => {
  const { subscription, deployment } = await building();
  const stream = await follow(subscription, { query: '?type=build' });
  await world.eventually('a socket is open', () => railway.watchers.size > 0);
  for (let n = 1; n <= 9; n += 1) {
    railway.say(deployment, 'build', `step ${n}`);
    if (n % 3 === 0) {
      await arrives(stream, `step ${n}`, 20_000);
      for (const ws of railway.watchers) {
        if (n === 6) ws.close(1012, 'Service restart');
        else ws.terminate();
      }
    }
  }
  railway.say(deployment, 'build', 'step 10');
  await arrives(stream, 'step 10', 20_000);
  assertSteps(stream, 10);
});

test('lines that were printed in the same instant all arrive', async () => {
  const { subscription, deployment } = await building();
  const stream = await follow(subscription, { query: '?type=build' });
  await arrives(stream, 'Using Railpack');
  for (let n = 1; n <= 200; n += 1) {
    railway.say(deployment, 'build', `step ${n}`);
  }
  await arrives(stream, 'step 200', 20_000);
  assertSteps(stream, 200);
});

test('no secret and no control character gets through', async () => {
  const { subscription, deployment } = await building();
  const stream = await follow(subscription);
  await arrives(stream, 'Using Railpack');
  for (const text of [`token ${subscription.mark}`, `Bearer ${railway.token}`,
    `a${subscription.mark}b`, `{"botToken":"${subscription.mark}"}`,
    `x\u001b[31m${subscription.mark}\u001b[0m`]) {
    railway.say(deployment, 'build', text);
  }
  railway.say(deployment, 'build', 'a\u0000b\u0007c\u001b[1md\u202ee\r\n');
  railway.say(deployment, 'build', 'data: x\n\nevent: log\ndata: forged');
  railway.say(deployment, 'build', 'the end of the build');
  await arrives(stream, 'the end of the build');
  railway.release('BUILDING');
  await arrives(stream, 'Listening on :8080', 15_000);
  const all = JSON.stringify(stream.events);
  assert.ok(!all.includes(subscription.mark), 'a credential');
  assert.ok(!all.includes(railway.token), 'our own token');
  assert.ok(messages(stream).some((m) => /env TIER=pro/.test(m)),
    'what is no secret stays');
  for (const { data } of lines(stream)) {
    assert.doesNotMatch(data.message, /[\u0000-\u0008\u000b-\u001f\u007f]/,
      JSON.stringify(data.message));
  }
  assert.ok(!stream.events.some((e) => e.data === 'forged'));
});

test('only for the owner', async () => {
  const { subscription } = await building();
  (await world.user().get(path(subscription))).fails(403);
  (await world.anonymous.get(path(subscription))).fails(401);
  (await world.user().get(path({ id: 'sub_0000000000000' }))).fails(403);
});

test('many watchers are one to the provider, and none when they have left',
  async () => {
    await world.eventually('nobody watches', () => railway.watchers.size === 0,
      { within: 20_000 });
    const { subscription, deployment } = await building();
    const from = railway.requests.length;
    const many = await Promise.all(Array.from({ length: 8 },
      () => follow(subscription, { query: '?type=build' })));
    railway.say(deployment, 'build', 'step 1');
    await Promise.all(many.map((stream) => arrives(stream, 'step 1')));
    assert.ok(railway.watchers.size <= 2, `${railway.watchers.size} sockets`);
    assert.ok(railway.requests.slice(from).filter((r) => (
      r.transport === 'socket')).length <= 4);
    for (const stream of many) stream.close();
    await world.eventually('the socket is closed', () => (
      railway.watchers.size === 0), { within: 20_000 });
    await never('it is opened again', () => railway.watchers.size > 0,
      { during: 1_500 });
  });

test('nothing of all that was done behind the API', () => {
  assert.deepEqual(railway.complaints, []);
});

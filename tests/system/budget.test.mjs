// One budget for all calls to Railway: what its headers say, what it asks to
// wait, what the operator allows; and what is urgent goes first.

import assert from 'node:assert/strict';
import { after, test } from './lib/suite.mjs';
import { never } from './lib/wait.mjs';
import { World } from './lib/world.mjs';

let world;
let railway;
const start = async (config = {}) => {
  await world?.stop();
  world = await World.start({ config: { ...config, deployment: {
    max_concurrent: 20, poll_interval: '100ms', ...config.deployment } } });
  railway = world.railway;
};
after(() => world?.stop());

/** Several that are being built, thus looked at all the time. */
async function building(count) {
  railway.hold('BUILDING');
  const all = await Promise.all(Array.from({ length: count },
    () => world.activated()));
  for (const s of all) await world.untilStatus(s, 'deploying');
  return all;
}

const between = (from, to) => railway.requests.filter((r) => (
  r.at >= from && r.at < to));

/** The time at which `fault` struck. */
const struckAt = (fault) => world.eventually('it was told to wait', () => (
  fault.fired > 0 && railway.requests.find((r) => r.fault)?.at));

test('Retry-After stops all calls, not only the one that was refused',
  async () => {
    await start();
    const all = await building(3);
    const fault = railway.fault({ operation: '*', kind: '429', retryAfter: 3 });
    const at = await struckAt(fault);
    await world.eventually('it is over', () => Date.now() > at + 3_200);
    // What had left already when the answer came is nobody's fault.
    const calls = between(at + 300, at + 2_900);
    assert.equal(calls.length, 0, `${calls.map((r) => r.fields)}`);
    railway.release('BUILDING');
    for (const s of all) await world.untilStatus(s, 'running');
  });

test('a budget that is used up, as the headers say, is waited for', async () => {
  await start();
  const all = await building(2);
  const reset = Date.now() + 4_000;
  railway.rateHeaders = { 'X-RateLimit-Remaining': '0',
    'X-RateLimit-Reset': new Date(reset).toISOString() };
  await world.eventually('it was told', () => railway.requests
    .some((r) => r.at > reset - 3_950));
  railway.rateHeaders = {};
  await world.eventually('it is over', () => Date.now() > reset);
  const calls = between(reset - 3_000, reset - 300);
  assert.equal(calls.length, 0, `${calls.map((r) => r.fields)}`);
  railway.release('BUILDING');
  for (const s of all) await world.untilStatus(s, 'running');
});

test('never more in a second than allowed', async () => {
  await start({ railway: { requests_per_second: 8 } });
  const all = await Promise.all(Array.from({ length: 8 },
    () => world.activated()));
  for (const s of all) await world.untilStatus(s, 'running');
  const times = railway.requests.map((r) => r.at);
  for (const at of times) {
    const within = times.filter((t) => t >= at && t < at + 900).length;
    // Two windows may touch, and the way to us takes its time.
    assert.ok(within <= 16, `${within} within 900 ms`);
  }
  const took = times.at(-1) - times[0];
  assert.ok(times.length <= (took / 1_000 + 2) * 8,
    `${times.length} in ${took} ms`);
});

test('looks do not eat up what a cancellation needs', async () => {
  await start({ railway: { requests_per_hour: 100 } });
  const [subscription, other] = await building(2);
  // The looks go on until nothing is left for looks.
  let last = Date.now();
  let seen = 0;
  await world.eventually('the looks become rare', () => {
    if (railway.requests.length !== seen) {
      seen = railway.requests.length;
      last = Date.now();
    }
    return Date.now() - last > 2_000;
  }, { within: 40_000 });
  assert.ok(seen <= 100, `${seen} calls in an hour of 100`);
  const answer = await subscription.user.delete('/api/deployment/cancel',
    { subscriptionId: subscription.id }, { timeout: 45_000 });
  assert.ok([200, 202].includes(answer.status), String(answer));
  await world.eventually('it is gone', () => world.isGone(subscription));
  assert.equal((await world.status(other)).status, 'deploying');
  await never('more calls than allowed', () => railway.requests.length > 100,
    { during: 1_000 });
});

test('many deployments are looked at in few calls', async () => {
  await start({ deployment: { poll_interval: '1s' } });
  await building(16);
  const from = railway.requests.length;
  const since = Date.now();
  await world.eventually('a few rounds', () => Date.now() - since > 4_000);
  const calls = railway.requests.slice(from);
  assert.ok(calls.length > 0, 'nobody looks');
  assert.ok(calls.length <= 16, `${calls.length} calls in four rounds of 16`);
  assert.deepEqual(railway.complaints, []);
});

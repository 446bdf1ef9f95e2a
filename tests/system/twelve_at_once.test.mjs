// Twelve are paid at once and three may be at work, whatever happens to them:
// failures, hangs, cancellations, a server that is killed. Who paid first goes
// first, plans may go before others, and nobody waits for ever.

import assert from 'node:assert/strict';
import { after, test } from './lib/suite.mjs';
import { PLANS, World } from './lib/world.mjs';

const COUNT = 12;
const SLOTS = 3;

let world;
const start = async (options) => {
  await world?.stop();
  world = await World.start(options);
};
after(() => world?.stop());

const cancel = ({ user, id }) => user.delete('/api/deployment/cancel',
  { subscriptionId: id });

/** Paid `seconds` ago as the gateway says; nobody has told the server. */
async function paidAgo(seconds, options) {
  const subscription = await world.order(await world.subscribe(undefined,
    options));
  world.alipay.pay(subscription.trade, { at: Date.now() - seconds * 1_000 });
  return subscription;
}

/** The first of them, in the order in which their projects were made. */
const began = (subscriptions) => [...world.railway.projects.values()]
  .map((project) => subscriptions.findIndex((s) => world.allProjectsOf(s)
    .includes(project))).filter((i) => i >= 0);

test('never more than three at work: failures, hangs, cancels, kill -9',
  async () => {
    await start({
      railway: { times: { building: 300, deploying: 200 } },
      // A creation that the kill leaves in doubt must be settled well before
      // the deadline that the hangs wait for.
      config: { railway: { visibility_lag: '500ms' },
        deployment: { max_concurrent: SLOTS, attempts: 2, deadline: '5s' } },
    });
    const { railway } = world;
    const all = [];
    for (let i = 0; i < COUNT; i += 1) all.push(await world.paid());
    const [failsOnce, failsAlways, hangsOnce, hangsAlways, cancelled,
      cancelledWaiting] = [0, 1, 2, 4, 5, 11].map((i) => all[i]);
    railway.failBuilds(1, { match: world.builds(failsOnce) });
    railway.failBuilds(Infinity, { match: world.builds(failsAlways) });
    const first = (d) => railway.deploymentsOf(d.projectId)[0] === d;
    railway.hold('BUILDING', (d) => world.builds(hangsOnce)(d) && first(d));
    railway.hold('BUILDING', world.builds(hangsAlways));
    railway.hold('BUILDING', world.builds(cancelled));
    // At once, so that all of them compete.
    await Promise.all(all.map((s) => world.notified(s)));
    assert.equal((await cancel(cancelledWaiting)).status, 200);
    await world.untilProviderStatus(cancelled, 'BUILDING');
    assert.ok([200, 202].includes((await cancel(cancelled)).status));

    await world.eventually('half of them run', async () => (
      (await Promise.all(all.map((s) => world.status(s))))
        .filter((s) => s.status === 'running').length >= COUNT / 2),
    { within: 40_000, every: 100 });
    await world.server.kill();
    await world.server.start();

    const expected = new Map([[failsAlways, 'failed'], [hangsAlways, 'failed'],
      [cancelled, 'stopped'], [cancelledWaiting, 'stopped']]);
    await Promise.all(all.map((s) => world.untilStatus(s,
      expected.get(s) ?? 'running', { within: 50_000 })));
    assert.equal(railway.maxAtWork, SLOTS, 'at work at once');
    for (const subscription of all) {
      if (!expected.has(subscription)) world.assertOneInstance(subscription);
    }
    assert.equal((await world.status(failsOnce)).attempt, 2);
    assert.equal((await world.status(hangsOnce)).attempt, 2);
    assert.ok(world.isGone(cancelled), 'the cancelled one is gone');
    assert.equal(world.allProjectsOf(cancelledWaiting).length, 0);
    // What was given up does not go on building.
    await world.eventually('nothing builds', () => railway.atWork().length === 0);
    const stats = (await world.operator.get('/api/deployment-monitor/stats'))
      .ok();
    assert.deepEqual([stats.active, stats.queued, stats.running, stats.failed],
      [0, 0, COUNT - 4, 2]);
    assert.deepEqual(railway.complaints, []);
  });

test('a hung build is stopped before its slot is given away', async () => {
  await start({ config: { deployment: { max_concurrent: 1, attempts: 1,
    deadline: '2s' } } });
  const { railway } = world;
  const hanging = await world.paid();
  const next = await world.paid();
  railway.hold('BUILDING', world.builds(hanging));
  await world.notified(hanging);
  await world.untilProviderStatus(hanging, 'BUILDING');
  const stuck = world.deploymentOf(hanging);
  await world.notified(next);
  await world.untilStatus(next, 'running');
  assert.equal((await world.status(hanging)).status, 'failed');
  assert.equal(stuck.status, 'REMOVED');
  assert.equal(railway.maxAtWork, 1);
});

test('the queue goes by the time of payment, not of the news', async () => {
  await start({ config: { deployment: { max_concurrent: 1 } } });
  const { railway } = world;
  railway.hold('BUILDING');
  const busy = await world.activated();
  await world.untilProviderStatus(busy, 'BUILDING');
  const waiting = [];
  for (const ago of [50, 40, 30, 20, 10]) waiting.push(await paidAgo(ago));
  for (const subscription of [...waiting].reverse()) {
    await world.notified(subscription);
  }
  const positions = async () => Promise.all(waiting.map(async (s) => (
    (await world.status(s)).queuePosition)));
  assert.deepEqual(await positions(), [1, 2, 3, 4, 5]);

  // The position falls as it goes on, and is gone at work.
  const last = waiting.at(-1);
  const seen = [];
  railway.release('BUILDING');
  await world.eventually('the last one runs', async () => {
    const { status, queuePosition, message } = await world.status(last);
    if (queuePosition !== seen.at(-1)) seen.push(queuePosition);
    if (queuePosition) assert.match(message, new RegExp(`\\b${queuePosition}\\b`));
    return status === 'running';
  }, { within: 40_000, every: 30 });
  assert.equal(seen[0], 5);
  assert.equal(seen.at(-1), null);
  const numbers = seen.filter((n) => n !== null);
  assert.deepEqual(numbers, [...numbers].sort((a, b) => b - a),
    `it rose: ${seen}`);
  assert.ok(numbers.length >= 3, `${seen}`);
  assert.deepEqual(began([busy, ...waiting]), [0, 1, 2, 3, 4, 5]);
  assert.equal(railway.maxAtWork, 1);
});

test('plans go before others, but nobody waits for ever', async () => {
  await start({ config: {
    plans: { ...PLANS, ENTERPRISE: { ...PLANS.ENTERPRISE, priority: 2 },
      PRO: { ...PLANS.PRO, priority: 1 } },
    deployment: { max_concurrent: 1, priority_head_start: '1m' },
  } });
  const { railway } = world;
  railway.hold('BUILDING');
  const busy = await world.activated(undefined, { plan: 'BASIC' });
  await world.untilProviderStatus(busy, 'BUILDING');
  const basic = await paidAgo(30, { plan: 'BASIC' });
  const pro = await paidAgo(20, { plan: 'PRO' });
  const enterprise = await paidAgo(10, { plan: 'ENTERPRISE' });
  // Longer ago than the head start of two steps: it is its turn.
  const patient = await paidAgo(180, { plan: 'BASIC' });
  for (const s of [basic, pro, enterprise, patient]) await world.notified(s);
  const order = [patient, enterprise, pro, basic];
  assert.deepEqual(await Promise.all(order.map(async (s) => (
    (await world.status(s)).queuePosition))), [1, 2, 3, 4]);
  railway.release('BUILDING');
  await Promise.all(order.map((s) => world.untilStatus(s, 'running',
    { within: 40_000 })));
  assert.deepEqual(began(order), [0, 1, 2, 3]);
});

test('a cancellation lets those behind move up at once', async () => {
  await start({ config: { deployment: { max_concurrent: 1 } } });
  const { railway } = world;
  railway.hold('BUILDING');
  const busy = await world.activated();
  await world.untilProviderStatus(busy, 'BUILDING');
  const waiting = [];
  for (const ago of [30, 20, 10]) waiting.push(await paidAgo(ago));
  for (const s of waiting) await world.notified(s);
  assert.equal((await world.status(waiting[2])).queuePosition, 3);
  assert.equal((await cancel(waiting[0])).status, 200);
  assert.equal((await world.status(waiting[2])).queuePosition, 2);
  assert.equal((await world.status(waiting[0])).queuePosition, null);
});

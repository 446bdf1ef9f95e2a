// Eight are paid at once, three may be at work: first paid, first served.

import assert from 'node:assert/strict';
import { after, before, test } from './lib/suite.mjs';
import { World } from './lib/world.mjs';

const COUNT = 8;
const SLOTS = 3;

let world;
const subscriptions = [];
before(async () => {
  world = await World.start({
    railway: { times: { building: 400, deploying: 300 }, cooldown: 25 },
    config: { deployment: { max_concurrent: SLOTS } },
  });
});
after(() => world?.stop());

test('all are paid, three begin, five wait in the order of payment',
  async () => {
    world.railway.hold('BUILDING');
    for (let i = 0; i < COUNT; i += 1) subscriptions.push(await world.paid());
    // One after the other: the order of payment is the order of the answers.
    for (const subscription of subscriptions) {
      const answer = await world.alipay.notify(subscription.trade);
      assert.equal(answer.text, 'success');
    }
    await world.eventually('three are at work', () => (
      world.railway.atWork().length === SLOTS));
    const all = await Promise.all(subscriptions.map((s) => world.status(s)));
    const waiting = all.slice(SLOTS);
    for (const [i, status] of waiting.entries()) {
      assert.equal(status.status, 'pending', `number ${i + SLOTS + 1}`);
      assert.equal(status.queuePosition, i + 1);
    }
    for (const status of all.slice(0, SLOTS)) {
      assert.ok(!status.queuePosition, `at work, yet ${status.queuePosition}`);
    }
    const stats = (await world.operator.get('/api/deployment-monitor/stats'))
      .ok();
    assert.equal(stats.active, SLOTS);
    assert.equal(stats.queued, COUNT - SLOTS);
    assert.equal((await world.metrics()).sum('slipway_deploy_queue_depth'),
      COUNT - SLOTS);
  });

test('all run in the end, and never were more than three at work', async () => {
  world.railway.release('BUILDING');
  for (const subscription of subscriptions) {
    await world.untilStatus(subscription, 'running', { within: 60_000 });
  }
  assert.equal(world.railway.maxAtWork, SLOTS, 'at work at the provider');
  for (const subscription of subscriptions) {
    world.assertOneInstance(subscription);
  }
  assert.equal(world.railway.projects.size, COUNT);
});

test('they began in the order of payment', () => {
  const began = [...world.railway.projects.values()]
    .map((p) => subscriptions.findIndex((s) => world.allProjectsOf(s)
      .includes(p)));
  // The first three start together: among them the order is nobody's business.
  assert.deepEqual(began.slice(0, SLOTS).sort(), [0, 1, 2]);
  // Slots that come free together are taken together, too.
  assert.deepEqual([...began].sort(), [0, 1, 2, 3, 4, 5, 6, 7]);
  for (const [place, i] of began.entries()) {
    assert.ok(Math.abs(place - i) < SLOTS, `${began}`);
  }
});

test('the provider was never asked for projects too quickly', () => {
  assert.equal(world.railway.operations('projectCreate').length, COUNT);
  assert.deepEqual(world.railway.complaints, []);
});

test('each has its own credentials and no one else\'s', () => {
  for (const subscription of subscriptions) {
    const [project] = world.projectsOf(subscription);
    const text = JSON.stringify(project.firstDeployment.variables);
    for (const other of subscriptions) {
      assert.equal(text.includes(other.mark), other === subscription);
    }
  }
});

test('a slot that a failed one held is free again', async () => {
  world.railway.failBuilds(Infinity, { match: (d) => world.railway.projects
    .get(d.projectId).seq >= COUNT });
  const failing = [];
  for (let i = 0; i < SLOTS; i += 1) failing.push(await world.activated());
  for (const subscription of failing) {
    await world.untilStatus(subscription, 'failed');
  }
  const stats = (await world.operator.get('/api/deployment-monitor/stats'))
    .ok();
  assert.equal(stats.active, 0);
  assert.equal(stats.failed, SLOTS);
});

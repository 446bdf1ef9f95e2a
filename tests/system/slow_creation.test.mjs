// A creation that takes longer than anybody wants to wait: whatever comes in
// between, what it made in the end is found.

import assert from 'node:assert/strict';
import { after, before, test } from './lib/suite.mjs';
import { World } from './lib/world.mjs';

const VISIBILITY_LAG = 2_000;

let world;
before(async () => {
  world = await World.start({
    // What was made shows in lists only after a while.
    railway: { readLag: 1_200 },
    config: {
      railway: { visibility_lag: `${VISIBILITY_LAG}ms`, request_timeout: '60s' },
      deployment: { deadline: '4s', attempts: 3 },
    },
  });
});
after(() => world?.stop());

/** A subscription whose projectCreate has arrived, and takes effect late. */
async function hanging() {
  const before_ = world.railway.operations('projectCreate').length;
  world.railway.fault({ operation: 'projectCreate', kind: 'slow' });
  const subscription = await world.activated();
  await world.eventually('projectCreate is under way', () => (
    world.railway.operations('projectCreate').length > before_));
  // Longer than the announcement is believed.
  const since = Date.now();
  await world.eventually('the announcement is old', () => (
    Date.now() - since > VISIBILITY_LAG + 300));
  return subscription;
}

test('a cancellation in between leaves nothing behind', async () => {
  const subscription = await hanging();
  const answer = subscription.user.delete('/api/deployment/cancel',
    { subscriptionId: subscription.id });
  await world.eventually('the cancellation has arrived', async () => (
    (await world.status(subscription)).message === 'Cancelling'));
  world.railway.endHanging();
  assert.equal((await answer).success().message,
    'Deployment cancelled successfully');
  assert.equal(world.projectsOf(subscription).length, 0, 'a live project is left');
  assert.equal((await world.status(subscription)).instanceStatus, 'DELETED');
});

test('a deadline in between makes no second project', async () => {
  const subscription = await hanging();
  // The project may come to be at any moment, and its template with it: nothing
  // goes on before that is known, and the slot is kept.
  await world.eventually('the attempt has failed', async () => (
    (await world.status(subscription)).message
      === 'The attempt failed, stopping what still builds'), { within: 20_000 });
  world.railway.endHanging();
  await world.untilStatus(subscription, 'running', { within: 60_000 });
  assert.ok((await world.status(subscription)).attempt > 1, 'another attempt');
  assert.equal(world.projectsOf(subscription).length, 1);
  assert.equal(world.allProjectsOf(subscription).length, 1, 'made once');
});

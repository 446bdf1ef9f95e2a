// One life of a subscription, again and again: each time the server dies at
// another commit, right before it or right after it, and whatever was
// acknowledged comes to its end once.

import assert from 'node:assert/strict';
import { after, before, test } from './lib/suite.mjs';
import { eventually } from './lib/wait.mjs';
import { World } from './lib/world.mjs';

let world;

before(async () => {
  world = await World.start({ faults: true, start: false,
    config: { payment: { ask_interval: '2s' } } });
});
after(() => world?.stop());

/** Does it until it is done, whoever has to be started again in between. */
async function insist(what, go) {
  return eventually(what, async () => {
    if (!world.server.running) {
      await world.server.exited;
      world.server.env = {};
      await world.server.start();
    }
    try {
      return await go();
    } catch (error) {
      // Cut off in the middle: once more, as anybody would.
      if (/ECONNRE|socket hang up|EPIPE|no answer/.test(error.message)) {
        return undefined;
      }
      throw error;
    }
  }, { within: 40_000, every: 20 });
}

/** Buys, pays, waits until it runs and the mail is there. */
async function live() {
  const user = world.user();
  const subscription = await insist('subscribed', () => world.subscribe(user));
  await insist('ordered', () => world.order(subscription, { key: 'the-one' }));
  world.alipay.pay(subscription.trade);
  await insist('acknowledged', async () => {
    const answer = await world.alipay.notify(subscription.trade);
    return answer.status === 200 && answer.text === 'success';
  });
  await insist('running', async () => (
    (await world.status(subscription)).status === 'running'));
  await insist('mailed', async () => {
    const { publicUrl } = await world.status(subscription);
    return world.successMails(subscription, publicUrl).length > 0;
  });
  await insist('once', async () => {
    await world.assertOnce(subscription);
    return true;
  });
}

/** Runs one life with a crash somewhere; whether it came to the crash. */
async function crashAt(where) {
  world.server.env = { SLIPWAY_CRASH_AT: where };
  await world.server.start();
  const { pid } = world.server;
  await live();
  const crashed = world.server.pid !== pid;
  await world.server.kill();
  return crashed;
}

for (const point of ['before', 'after']) {
  test(`killed ${point} every commit of a life`, async (t) => {
    let step = 1;
    while (await crashAt(`${point}:${step}`)) step += 1;
    // The last one came to its end without a crash.
    t.diagnostic(`${step - 1} commits`);
    assert.ok(step > 8, `only ${step - 1} commits in a life`);
    assert.deepEqual(world.railway.complaints, []);
  });
}

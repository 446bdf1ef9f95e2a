// A call that fails every time, whatever is tried: the deployment ends with a
// reason and at most one project and one service. Once the fault is gone, a
// retry makes one of it, from what the failed attempts have left.

import assert from 'node:assert/strict';
import { after, test } from './lib/suite.mjs';
import { FAULTS, assertClean, cellsOf, learn, matrixWorld, report, runCells,
  settled } from './lib/matrix.mjs';

// Those that stop all calls for a while would fail the other cells, too.
const LOCAL = FAULTS.filter(([name]) => ['lost before', 'lost after',
  'opaque before', 'garbage', 'invisible'].includes(name));

for (const [mode, railway] of Object.entries({
  'from a template': {},
  'from a template project': { templateProject: true },
})) {
  let world;
  let operations = [];
  after(() => world?.stop());

  test(`${mode}: a clean run tells the operations`, async () => {
    world = await matrixWorld({ railway, deployment: { attempts: 2,
      deadline: '3s', max_concurrent: 100 } });
    operations = (await learn(world)).filter((o) => (
      o.journey === 'to running'));
    assert.ok(operations.length >= 5, `${operations.map((o) => o.operation)}`);
  });

  test(`${mode}: a fault for good ends with a reason, and a retry afterwards `
    + 'with one instance', async () => {
    // Without a look at the environment nothing can be halted, either: that
    // takes longer than a test may.
    const cells = cellsOf(operations.filter((o) => o.own
      && o.operation !== 'environment'), LOCAL)
      .filter((cell) => cell.fault.skip === 0);
    assert.ok(cells.length > 10, `${cells.length} cells`);
    const outcomes = await runCells(world, cells, { times: Infinity });
    report(world, outcomes, { mayFail: true });
    const failed = outcomes.filter((o) => o.status.status === 'failed');
    assert.ok(failed.length > 0, 'nothing of it did any harm');
    for (const { subscription } of failed) {
      const entries = await world.eventually('attention', async () => {
        const found = await world.attentionOf(subscription);
        return found.length > 0 && found;
      });
      assert.equal(entries.length, 1, JSON.stringify(entries));
    }

    for (const { fault } of outcomes) fault.stop();
    await Promise.all(failed.map(async (outcome) => {
      const { subscription } = outcome;
      (await subscription.user.post('/api/deployment/retry',
        { subscriptionId: subscription.id })).ok();
      outcome.status = await world.untilStatus(subscription,
        ['running', 'failed'], { within: 30_000 });
    }));
    await settled(world, outcomes);
    report(world, outcomes);
    assertClean(world);
  });

  test(`${mode}: what all of them need fails for good: the same`, async () => {
    // Lists of projects are for what was made before: rounds ask for them, and no
    // first deployment needs one.
    const cells = cellsOf(operations.filter((o) => !o.own
      && o.operation !== 'projects'), [FAULTS[0]])
      .filter((cell) => cell.fault.skip === 0);
    assert.ok(cells.length > 0);
    for (const cell of cells) {
      // A template that was read is good for a minute.
      await world.server.terminate();
      await world.server.start();
      const [outcome] = await runCells(world, [cell], { times: Infinity });
      report(world, [outcome], { mayFail: true });
      assert.equal(outcome.status.status, 'failed', cell.name);
      outcome.fault.stop();
      (await outcome.subscription.user.post('/api/deployment/retry',
        { subscriptionId: outcome.subscription.id })).ok();
      outcome.status = await world.untilStatus(outcome.subscription, 'running');
      report(world, [outcome]);
    }
    assertClean(world);
  });
}

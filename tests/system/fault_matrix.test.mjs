// Every call of the server to Railway fails once in every way: lost before and
// after it took effect, throttled, refused without a reason, answered with
// garbage, carried out twice, not visible yet. Each subscription ends with one
// live project and one service that runs, whichever way it was cloned.

import assert from 'node:assert/strict';
import { after, test } from './lib/suite.mjs';
import { FAULTS, assertClean, cellsOf, learn, matrixWorld, report, runCells,
  settled } from './lib/matrix.mjs';

const MODES = {
  'from a template': {},
  'from a template project': { templateProject: true },
};
const NEEDED = {
  'from a template': ['projects', 'projectCreate', 'project', 'template',
    'templateDeployV2', 'workflowStatus', 'environment'],
  'from a template project': ['projects', 'projectCreate', 'project',
    'environment', 'serviceCreate', 'volumeCreate', 'environmentPatchCommit',
    'serviceDomainCreate'],
};

for (const [mode, railway] of Object.entries(MODES)) {
  let world;
  let operations = [];
  after(() => world?.stop());

  test(`${mode}: a clean run tells the operations`, async () => {
    world = await matrixWorld({ railway });
    operations = await learn(world);
    const names = operations.map((o) => o.operation);
    for (const needed of [...NEEDED[mode], 'deploymentCancel',
      'projectDelete']) {
      assert.ok(names.includes(needed), `${needed} is not among ${names}`);
    }
    assertClean(world);
  });

  for (const fault of FAULTS) {
    test(`${mode}: every call ${fault[0]}`, async () => {
      assert.ok(operations.length, 'nothing is known about a clean run');
      const outcomes = await runCells(world, cellsOf(operations, [fault]));
      await settled(world, outcomes);
      report(world, outcomes);
      // A template that was read is good for a minute: only after a deployment
      // that failed it is read anew.
      const unstruck = () => outcomes.filter((o) => o.fault.fired === 0
        && o.fault.skip === 0 && o.cell.fault.skip === 0
        && o.cell.operation !== 'template').map((o) => o.cell.name);
      // What all share is asked for in rounds: the next one may be still ahead.
      await world.eventually('all are struck', () => unstruck().length === 0,
        { within: 10_000 }).catch(() => {});
      assert.deepEqual(unstruck(), [], 'these were never called');
      assertClean(world);
    });
  }

  test(`${mode}: what was made shows late, and rights come late`, async () => {
    Object.assign(world.railway.lag, { projects: 300, services: 300,
      deployments: 300, auth: 200 });
    try {
      const outcomes = await runCells(world, Array.from({ length: 6 }, (_, i) => ({
        name: `lag ${i}`, journey: 'to running', operation: 'projectCreate',
        own: true, fault: { kind: i % 2 ? '504' : 'reset', when: 'after',
          skip: i < 4 ? 0 : 1_000 } })));
      await settled(world, outcomes);
      report(world, outcomes);
      assertClean(world);
    } finally {
      Object.assign(world.railway.lag, { projects: 0, services: 0,
        deployments: 0, auth: 0 });
    }
  });
}

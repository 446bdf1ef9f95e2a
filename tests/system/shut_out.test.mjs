// A 1015 page instead of an answer: the whole token is shut out, for longer with
// each further call. Every kind of call meets it at the same moment; all calls
// stop for a while, and afterwards everything goes on where it was.

import assert from 'node:assert/strict';
import { test } from './lib/suite.mjs';
import { SHUT_OUT, assertClean, cellsOf, learn, matrixWorld, report, runCells,
  settled } from './lib/matrix.mjs';

/** The least time without a call, well below what the server waits. */
const QUIET = 20_000;

const MODES = {
  'from a template': {},
  'from a template project': { templateProject: true },
};

/**
 * Waits until no more of the faults strike; returns how many did. What all need
 * holds up somebody else's call, too: not everybody gets as far as his own.
 */
async function plateau(world, faults) {
  let struck = 0;
  let grown = Date.now();
  await world.eventually('they are on their way', () => {
    const now = faults.filter((f) => f.fired).length;
    if (now > struck) [struck, grown] = [now, Date.now()];
    return struck > 0 && Date.now() - grown > 2_000;
  });
  return struck;
}

async function shutOut(railway) {
  const world = await matrixWorld({ railway,
    deployment: { deadline: '5m', max_concurrent: 50 },
    // Nobody gives up before all of them are on their way.
    config: { request_timeout: '1m' } });
  try {
    const operations = await learn(world);
    const cells = cellsOf(operations, [SHUT_OUT])
      .filter((cell) => cell.fault.skip === 0);
    // While one is being created, no other can be: that comes last.
    const creates = (cell) => ['projects', 'projectCreate']
      .includes(cell.operation);
    const faults = [];
    const running = [runCells(world, cells.filter((c) => !creates(c)),
      { faults })];
    await plateau(world, faults);
    running.push(runCells(world, cells.filter(creates), { faults }));
    const struck = await plateau(world, faults);
    assert.ok(struck > cells.length / 2, `${struck} of ${cells.length} cells`);
    world.railway.block(1_000);
    world.railway.endHanging();
    const from = Date.now() + 500;
    await world.eventually('it is quiet for a while', () => (
      Date.now() > from + QUIET), { within: 2 * QUIET, every: 200 });
    const calls = world.railway.requests.filter((r) => (
      r.at > from && r.at < from + QUIET));
    assert.equal(calls.length, 0, `${calls.map((r) => r.fields)}`);
    // Whoever meets it later meets it alone.
    for (const fault of faults) fault.stop();
    const outcomes = (await Promise.all(running)).flat();
    await settled(world, outcomes);
    report(world, outcomes);
    assertClean(world);
  } finally {
    await world.stop();
  }
}

test('shut out in the middle of every call', { concurrency: 2 }, (t) => (
  Promise.all(Object.entries(MODES).map(([mode, railway]) => t.test(mode,
    () => shutOut(railway))))));

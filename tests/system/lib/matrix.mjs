// Every operation that the server uses on its way, and everything that can go
// wrong with it: one subscription per cell, many of them at once.

import assert from 'node:assert/strict';
import { INSTANT } from '../imposters/railway.mjs';
import { World } from './world.mjs';

/** [name, fault, which operations it makes sense for] */
export const FAULTS = [
  ['lost before', { kind: '502', when: 'before' }, 'any'],
  ['lost after', { kind: '504', when: 'after' }, 'mutation'],
  ['reset after', { kind: 'reset', when: 'after' }, 'any'],
  ['429', { kind: '429', when: 'before', retryAfter: 1 }, 'any'],
  ['opaque before', { kind: 'opaque', when: 'before' }, 'any'],
  ['opaque after', { kind: 'opaque', when: 'after' }, 'mutation'],
  ['garbage', { kind: 'html', when: 'after' }, 'any'],
  ['truncated', { kind: 'truncated', when: 'after' }, 'any'],
  ['invisible', { kind: 'invisible', when: 'before' }, 'query'],
  ['twice', { kind: 'twice' }, 'mutation'],
];

/** All at once: a token that is shut out is so for all calls. */
export const SHUT_OUT = ['1015', { kind: '1015', held: true }, 'any'];

/** Of the calls of an operation, so many are each made to fail once. */
const NTH_MAX = 2;

export function matrixWorld({ railway = {}, deployment = {},
                              config = {} } = {}) {
  return World.start({
    railway: { times: INSTANT, budget: 1_000_000, ...railway },
    config: {
      railway: { create_interval: '50ms', visibility_lag: '400ms',
        request_timeout: '5s', requests_per_hour: 1_000_000,
        requests_per_second: 1_000, sweep_interval: '1s', ...config },
      deployment: { max_concurrent: 24, attempts: 3, backoff_initial: '50ms',
        backoff_max: '400ms', deadline: '40s', poll_interval: '100ms',
        ...deployment },
    },
  });
}

const LONG = { within: 100_000, every: 100 };

/** The ways through a deployment: each ends when its outcome is there. */
export const JOURNEYS = {
  'to running': {
    end: (world, s) => world.untilStatus(s, ['running', 'failed'], LONG),
  },
  'a build that fails once': {
    arrange: (world, s) => world.railway.failBuilds(1,
      { match: world.builds(s) }),
    end: (world, s) => world.untilStatus(s, ['running', 'failed'], LONG),
  },
  'cancelled while it builds': {
    arrange: (world, s) => world.railway.hold('BUILDING', world.builds(s)),
    end: async (world, s) => {
      await world.untilStatus(s, ['deploying', 'failed'], LONG);
      const answer = await s.user.delete('/api/deployment/cancel',
        { subscriptionId: s.id }, { timeout: 60_000 });
      assert.ok([200, 202].includes(answer.status), String(answer));
      return world.untilStatus(s, 'stopped', LONG);
    },
  },
};

/**
 * What a clean run of each journey asks for: [{journey, operation, mutation,
 * own, calls}]. `own` are calls about the subscription, the others are about
 * what all share. An operation counts for the first journey that has it.
 */
export async function learn(world) {
  const known = new Map();
  for (const [journey, { arrange, end }] of Object.entries(JOURNEYS)) {
    const subscription = await world.paid();
    arrange?.(world, subscription);
    const from = world.railway.requests.length;
    await world.notified(subscription);
    await end(world, subscription);
    const about = world.about(subscription);
    const counts = new Map();
    for (const request of world.railway.requests.slice(from)) {
      const own = about(request.variables);
      for (const operation of request.fields) {
        const key = `${operation} ${own}`;
        if (known.has(key)) continue;
        const entry = counts.get(key) ?? { journey, operation, own, calls: 0,
          mutation: request.type === 'mutation' };
        entry.calls += 1;
        counts.set(key, entry);
      }
    }
    for (const [key, entry] of counts) known.set(key, entry);
  }
  return [...known.values()];
}

/** Cells of the matrix: [{name, journey, operation, own, fault}]. */
export function cellsOf(operations, faults = FAULTS) {
  return operations.flatMap(({ journey, operation, own, mutation, calls }) => (
    faults.filter(([, , of]) => of === 'any'
      || (of === 'mutation') === mutation).flatMap(([name, fault]) => (
      Array.from({ length: Math.min(calls, NTH_MAX) }, (_, skip) => ({
        name: `${operation}${own ? '' : ' (of all)'}${skip ? ` #${skip + 1}`
          : ''}, ${name}, ${journey}`,
        journey, operation, own, fault: { ...fault, skip },
      }))))));
}

/**
 * Runs cells at once, one subscription each.
 *
 * @param times how often each fault strikes
 * @param faults takes them as they are made
 * @returns [{cell, subscription, fault, status, problem}]
 */
export async function runCells(world, cells, { times = 1, faults = [] } = {}) {
  const { railway } = world;
  return Promise.all(cells.map(async (cell) => {
    const { arrange, end } = JOURNEYS[cell.journey];
    const out = { cell };
    try {
      out.subscription = await world.paid();
      arrange?.(world, out.subscription);
      const about = world.about(out.subscription);
      out.fault = railway.fault({ ...cell.fault, operation: cell.operation,
        times, match: cell.own ? about
          : (variables) => !railway.projectsIn(variables)
            .some((p) => !p.foreign) });
      faults.push(out.fault);
      await world.notified(out.subscription);
      out.status = await end(world, out.subscription);
    } catch (error) {
      // Without the server's log: it is the same for all of them.
      out.problem = error.message.split('\n')[0];
    }
    return out;
  }));
}

/** What is not as it must be with one outcome; undefined where all is well. */
export function judge(world, { cell, subscription, status, problem },
                      { mayFail = false } = {}) {
  if (problem) return problem;
  const projects = world.projectsOf(subscription);
  if (cell.journey === 'cancelled while it builds') {
    return projects.length === 0 ? undefined : 'cancelled, and still there';
  }
  if (projects.length > 1) return `${projects.length} live projects`;
  const services = projects.flatMap((p) => world.railway.servicesOf(p.id));
  if (status.status === 'failed' && mayFail) {
    if (services.length > 1) return `failed with ${services.length} services`;
    return status.error ? undefined : 'failed without a reason';
  }
  if (status.status !== 'running') return `${status.status}: ${status.error}`;
  if (projects.length !== 1) return 'running without a project';
  if (services.length !== 1) return `${services.length} services`;
  if (!status.publicUrl) return 'running without an address';
  const deployment = world.railway.currentOf(projects[0].id);
  return deployment.status === 'SUCCESS' ? undefined
    : `running, but ${deployment.status} at the provider`;
}

/** Fails with a list of all that went wrong, and the end of the log. */
export function report(world, outcomes, options) {
  const wrong = outcomes.map((o) => [o.cell.name, judge(world, o, options)])
    .filter(([, what]) => what);
  assert.equal(wrong.length, 0, `${wrong.length} of ${outcomes.length} cells:\n${
    wrong.map((w) => w.join(': ')).join('\n')}\n${world.server.tail()}`);
}

/** Surplus may be found late: waits until every subscription has one of all. */
export async function settled(world, outcomes) {
  await world.eventually('surplus is gone', () => outcomes.every((o) => (
    !o.subscription || o.problem
    || (world.projectsOf(o.subscription).length <= 1
      && world.projectsOf(o.subscription).every((p) => (
        world.railway.servicesOf(p.id).length <= 1))))),
  { within: 10_000 }).catch(() => {});
}

/** No document was refused, and nothing was done behind the API's back. */
export function assertClean(world) {
  const { railway } = world;
  assert.deepEqual(railway.complaints, []);
  assert.deepEqual(railway.requests.filter((r) => r.status === 400), []);
  assert.deepEqual([...new Set(railway.requests.flatMap((r) => r.deprecated))],
    [], 'fields on their way out');
}

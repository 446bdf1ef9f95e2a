// node:test, except that tests of what the server cannot do yet are skipped: by
// name, each with the capability it waits for. Building that capability means
// taking its lines out here.
import * as node from 'node:test';

export const { after, afterEach, before, beforeEach } = node;

const waiting = new Map(Object.entries({
  'operators: stats and attention are closed to users': 'operator routes',
}));

/** Paths that the server does not serve yet. */
const unserved = [];

/** Of routes as [method, path, …], those that are served. */
export const served = (routes) => routes.filter(
  ([, path]) => !unserved.some((pattern) => pattern.test(path)));

export function test(name, ...rest) {
  const capability = waiting.get(name);
  if (capability === undefined) return node.test(name, ...rest);
  return node.test(name, { skip: `waits for: ${capability}` }, () => {});
}

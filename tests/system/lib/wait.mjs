// Waiting for a condition, never for a time.

import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Calls `probe` until it returns something other than undefined, null or
 * false without throwing, and returns that.
 *
 * @param what said in the error when the deadline passes
 * @param within deadline in ms
 * @param every pause between two calls in ms
 */
export async function eventually(what, probe,
                                 { within = 20_000, every = 50 } = {}) {
  const deadline = Date.now() + within;
  let last = 'the condition never held';
  for (;;) {
    try {
      const value = await probe();
      if (value !== undefined && value !== null && value !== false) return value;
    } catch (error) {
      if (error.fatal) throw error;
      last = error.message;
    }
    if (Date.now() >= deadline) {
      throw new Error(`not within ${within} ms: ${what} (${last})`);
    }
    await sleep(every);
  }
}

/**
 * The opposite: calls `probe` for `during` ms and fails as soon as it returns
 * something truthy. For "and nothing more happens".
 */
export async function never(what, probe, { during = 800, every = 50 } = {}) {
  const end = Date.now() + during;
  while (Date.now() < end) {
    const value = await probe();
    if (value) throw new Error(`must not happen: ${what} (${value})`);
    await sleep(every);
  }
}

/** An error that `eventually` does not wait out. */
export function fatal(message) {
  return Object.assign(new Error(message), { fatal: true });
}

export { sleep };

// What every view may want to know, asked for once: the numbers with their
// recent history, the main switch, and what waits for a person.

import { get, repeat } from './api.js';

/** Half an hour at one reading in five seconds. */
const HISTORY_MAX = 360;
const EVERY_MS = 5_000;

const listeners = new Set();

export const state = {
  stats: null,
  automation: null,
  /** The rows; or null, with why in `attentionError`, before the first. */
  attention: null,
  attentionError: null,
  /** [{at, callbacksPerS, active, queued, successRate, averageMs, p95Ms}] */
  history: [],
};

/** Calls `then` after each reading, until `signal`. */
export function listen(then, signal) {
  listeners.add(then);
  signal.addEventListener('abort', () => listeners.delete(then),
    { once: true });
  then();
}

const tell = () => { for (const then of [...listeners]) then(); };

let last = null;

function take(stats) {
  const at = performance.now();
  // Another server behind the same address, or the same one started again: the
  // count says nothing then.
  const rate = last !== null && typeof stats.callbacks === 'number'
    && stats.callbacks >= last.callbacks
    ? (stats.callbacks - last.callbacks) / ((at - last.at) / 1000) : null;
  last = { at, callbacks: stats.callbacks ?? Infinity };
  state.stats = stats;
  state.history.push({ at: Date.now(), callbacksPerS: rate,
    active: stats.active, queued: stats.queued,
    successRate: stats.successRate, averageMs: stats.averageDeploymentMs || null,
    p95Ms: stats.p95DeploymentMs || null });
  if (state.history.length > HISTORY_MAX) state.history.shift();
}

let now = [];

/** Brings the next reading forward, after an act. */
export const readSoon = () => { for (const wake of now) wake(); };

export function startReading(signal) {
  Object.assign(state, { stats: null, automation: null, attention: null,
    attentionError: null, history: [] });
  last = null;
  now = [
    repeat(EVERY_MS, signal, async () => {
      take((await get('/api/deployment-monitor/stats', signal)).data);
      tell();
    }),
    repeat(EVERY_MS, signal, async () => {
      state.automation = (await get('/api/ops/automation', signal)).data;
      tell();
    }),
    repeat(EVERY_MS, signal, async () => {
      state.attention = (await get('/api/deployment/attention?limit=500',
        signal)).data;
      state.attentionError = null;
      tell();
    }, (error) => {
      state.attentionError = error;
      tell();
    }),
  ];
}

// Processes that belong to a contestant: none outlives us, and what they cost.

import fs from 'node:fs';
import { execFileSync, spawn } from 'node:child_process';
import { atExit } from '../../../tests/system/lib/cleanup.mjs';
import { childrenOf, isGone, signal } from '../../../tests/system/lib/processes.mjs';
import { eventually } from '../../../tests/system/lib/wait.mjs';

const TICKS = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));

/** A process and everything that it has started, itself first. */
export function treeOf(pid) {
  return [pid, ...childrenOf(pid).flatMap(treeOf)];
}

/**
 * CPU seconds of these processes and all below them so far, those that have
 * ended there included.
 */
export function cpuSeconds(roots) {
  let ticks = 0;
  for (const pid of roots.flatMap(treeOf)) {
    try {
      const stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
      // utime, stime, cutime, cstime
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      for (const field of fields.slice(11, 15)) ticks += Number(field);
    } catch {
      // Gone meanwhile: in the sum of its parent.
    }
  }
  return ticks / TICKS;
}

/**
 * Memory in MiB: {resident, shared}. What several processes have in common is in
 * `resident` once for each of them, and in `shared` once.
 */
export function memory(roots) {
  const out = { resident: 0, shared: 0 };
  for (const pid of roots.flatMap(treeOf)) {
    try {
      const text = fs.readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
      const mib = (name) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm')
        .exec(text)[1]) / 1024;
      out.resident += mib('Rss');
      out.shared += mib('Pss');
    } catch {
      // Gone meanwhile.
    }
  }
  return out;
}

export class Program {
  /** The last of what it printed. */
  log = '';
  #child;

  /**
   * The kernel kills it when we die, whatever we die of.
   *
   * @param options of child_process.spawn
   */
  constructor(command, args, { env = {}, cwd = '/', ...options } = {}) {
    this.name = command;
    this.#child = spawn('setpriv', ['--pdeathsig', 'KILL', command, ...args],
      { cwd, env: { ...plainEnvironment(), ...env },
        stdio: ['ignore', 'pipe', 'pipe'], ...options });
    this.pid = this.#child.pid;
    this.stdin = this.#child.stdin;
    this.stdout = this.#child.stdout;
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => {
        this.log = (this.log + text).slice(-20_000);
      });
    }
    const cancel = atExit(() => this.#killTree());
    this.exited = new Promise((resolve) => {
      this.#child.once('error', (error) => {
        this.log += error.message;
        resolve();
      });
      this.#child.once('close', resolve);
    }).finally(cancel);
  }

  get running() {
    return this.pid !== undefined && this.#child.exitCode === null
      && this.#child.signalCode === null;
  }

  #killTree() {
    if (!this.running) return [];
    const pids = treeOf(this.pid);
    for (const pid of pids) signal(pid, 'SIGKILL');
    return pids;
  }

  /** kill -9 of it and of everything below it. */
  async kill() {
    const pids = this.#killTree();
    await this.exited;
    await eventually(`${this.name} is gone`, () => pids.every(isGone));
  }

  async stop({ within = 10_000 } = {}) {
    if (!this.running) return;
    signal(this.pid, 'SIGTERM');
    const late = setTimeout(() => this.#killTree(), within);
    await this.exited;
    clearTimeout(late);
  }

  /** Waits for `probe` to hold; fails with its log when it ends before. */
  async until(what, probe, options = { within: 180_000 }) {
    try {
      await eventually(what, async () => {
        if (!this.running) {
          throw Object.assign(new Error('it has ended'), { fatal: true });
        }
        return probe();
      }, options);
    } catch (error) {
      throw new Error(`${this.name}: ${what}: ${error.message}\n${
        this.log.slice(-4000)}`);
    }
  }
}

// What the shell of the person who measures must not decide. Nothing leaves the
// machine through a proxy either.
function plainEnvironment() {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => (
    !/^(SLIPWAY_|PG|DATABASE_URL$|RAILWAY_|RESTATE_|DBOS|REDIS_|NODE_OPTIONS$)/
      .test(name) && !/_proxy$/i.test(name))));
}

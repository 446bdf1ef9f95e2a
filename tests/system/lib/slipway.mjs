// The server as a process.

import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { spawnTied } from './cleanup.mjs';
import { request } from './http.mjs';
import { eventually, fatal } from './wait.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));

/** The same with faults on demand; see tests/CMakeLists.txt. */
export const FAULTS_BINARY = path.resolve(process.env.SLIPWAY_FAULTS_BIN
  ?? path.join(here, '../../../build/release/tests/slipway_faults'));

export const BINARY = path.resolve(process.env.SLIPWAY_BIN
  ?? path.join(here, '../../../build/release/slipway'));

// What the shell of the person who runs the tests must not decide.
export function cleanEnvironment(extra = {}) {
  const kept = Object.fromEntries(Object.entries(process.env)
    .filter(([name]) => !/^(SLIPWAY_|PG|DATABASE_URL$|RAILWAY_)/.test(name)));
  // Nothing may leave the machine through a proxy either.
  for (const name of Object.keys(kept)) {
    if (/_proxy$/i.test(name)) delete kept[name];
  }
  return { ...kept, ...extra };
}

export class Slipway {
  /** Standard output and error of all runs, as they came. */
  log = '';
  stdout = '';
  stderr = '';
  #child;

  constructor({ args, dir, env = {}, adminPort, binary = BINARY }) {
    this.binary = binary;
    if (!fs.existsSync(binary)) {
      throw new Error(`no server at ${binary}: build it (./run build) or set `
        + 'SLIPWAY_BIN');
    }
    this.args = args;
    this.dir = dir;
    this.env = env;
    this.adminPort = adminPort;
  }

  get pid() {
    return this.#child.pid;
  }

  get running() {
    return Boolean(this.#child) && this.#child.exitCode === null
      && this.#child.signalCode === null;
  }

  /** Starts the process and returns at once. */
  spawn() {
    this.#child = spawnTied(this.binary, this.args, {
      cwd: this.dir, env: cleanEnvironment(this.env),
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const file = path.join(this.dir, 'server.log');
    for (const name of ['stdout', 'stderr']) {
      this.#child[name].setEncoding('utf8');
      this.#child[name].on('data', (text) => {
        this[name] += text;
        this.log += text;
        fs.appendFile(file, text, () => {});
      });
    }
    this.exited = new Promise((resolve) => {
      this.#child.once('error', (error) => {
        this.log += `\n${error.message}\n`;
        resolve({ code: null, signal: null });
      });
      // `close`, not `exit`: all output has been read by then.
      this.#child.once('close', (code, signal) => resolve({ code, signal }));
    });
    return this;
  }

  /** Starts and waits for /readyz. */
  async start({ within = 60_000 } = {}) {
    this.spawn();
    await eventually('the server is ready', async () => {
      if (!this.running) {
        throw fatal(`the server ended before it was ready:\n${this.tail()}`);
      }
      return (await request(`http://127.0.0.1:${this.adminPort}/readyz`,
        { timeout: 2000 })).status === 200;
    }, { within });
    return this;
  }

  signal(name) {
    this.#child.kill(name);
  }

  /** Stopped by the scheduler: alive, and doing nothing. */
  pause() {
    this.#child.kill('SIGSTOP');
  }

  resume() {
    this.#child.kill('SIGCONT');
  }

  /** kill -9. */
  async kill() {
    if (!this.running) return;
    this.#child.kill('SIGKILL');
    await this.exited;
  }

  /** SIGTERM; resolves to {code, signal}, kills when it takes too long. */
  async terminate({ within = 30_000 } = {}) {
    if (!this.running) return this.exited;
    this.#child.kill('SIGTERM');
    let timer;
    const late = new Promise((resolve) => {
      timer = setTimeout(() => resolve('late'), within);
    });
    const end = await Promise.race([this.exited, late]);
    clearTimeout(timer);
    if (end !== 'late') return end;
    await this.kill();
    throw new Error(`SIGTERM did not end the server within ${within} ms\n${
      this.tail()}`);
  }

  tail(lines = 40) {
    return this.log.split('\n').slice(-lines).join('\n');
  }
}

/** Runs a command to its end: {code, stdout, stderr, output}. */
export async function run(args, { dir = '/', env, within = 60_000 } = {}) {
  if (!fs.existsSync(BINARY)) {
    throw new Error(`no server at ${BINARY}: build it or set SLIPWAY_BIN`);
  }
  const child = spawnTied(BINARY, args, { cwd: dir,
    env: cleanEnvironment(env), stdio: ['ignore', 'pipe', 'pipe'] });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (t) => { stdout += t; });
  child.stderr.setEncoding('utf8').on('data', (t) => { stderr += t; });
  const timer = setTimeout(() => child.kill('SIGKILL'), within);
  const code = await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (status, signal) => resolve(status ?? signal));
  });
  clearTimeout(timer);
  return { code, stdout, stderr, output: stdout + stderr };
}

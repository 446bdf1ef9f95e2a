// A PostgreSQL of the test's own, which can be stopped and started.

import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { execFileSync, spawnSync } from 'node:child_process';
import { atExit, spawnTied, temporaryDirectory } from './cleanup.mjs';
import { childrenOf, isGone, signal } from './processes.mjs';
import { freePort } from './ports.mjs';
import { eventually, fatal } from './wait.mjs';

function binaries() {
  const root = '/usr/lib/postgresql';
  const versions = fs.existsSync(root) ? fs.readdirSync(root) : [];
  const found = versions.sort((a, b) => Number(b) - Number(a))
    .map((v) => path.join(root, v, 'bin'))
    .find((dir) => fs.existsSync(path.join(dir, 'initdb')));
  if (found) return found;
  return execFileSync('pg_config', ['--bindir'], { encoding: 'utf8' }).trim();
}

/** PostgreSQL refuses to run as root. */
function unprivileged() {
  if (process.getuid() !== 0) return {};
  for (const name of ['postgres', 'nobody']) {
    const ids = spawnSync('id', ['-u', name], { encoding: 'utf8' });
    if (ids.status !== 0) continue;
    const group = spawnSync('id', ['-g', name], { encoding: 'utf8' });
    return { uid: Number(ids.stdout), gid: Number(group.stdout) };
  }
  throw new Error('root needs a user `postgres` or `nobody` for PostgreSQL');
}

/** Why there can be no small disk for a test; undefined when there can. */
export function cannotMount() {
  if (process.getuid() !== 0) return 'mounting a small disk needs root';
  const { dir, remove } = temporaryDirectory('slipway-mount-');
  const { status, stderr } = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m',
    'slipway-test', dir], { encoding: 'utf8' });
  if (status === 0) spawnSync('umount', [dir]);
  remove();
  return status === 0 ? undefined : `no disk can be mounted: ${stderr?.trim()}`;
}

export class Postgres {
  /** Shows in a log only if somebody leaks it. */
  password = `pw-${crypto.randomBytes(9).toString('hex')}`;
  user = 'slipway';
  database = 'slipway';
  log = '';
  #bin = binaries();
  #who = unprivileged();
  #home = temporaryDirectory('slipway-pg-');
  #child;
  #settings = {};
  #mounted = false;

  /**
   * @param options.megabytes of a disk of its own, see `cannotMount`
   * @param options.settings more of postgresql.conf: {name: value}
   */
  static async start({ megabytes, settings = {} } = {}) {
    const server = new Postgres();
    server.#settings = settings;
    try {
      if (megabytes) server.#mount(megabytes);
      await server.#init();
      await server.start();
      server.#run('createdb', ['-h', '127.0.0.1', '-p', String(server.port),
        '-U', server.user, '-E', 'UTF8', '-T', 'template0', server.database],
      { env: { ...process.env, PGPASSWORD: server.password } });
    } catch (error) {
      await server.remove();
      throw error;
    }
    return server;
  }

  get url() {
    return `postgresql://${this.user}:${this.password}`
      + `@127.0.0.1:${this.port}/${this.database}`;
  }

  get data() {
    return path.join(this.#home.dir, 'data');
  }

  #run(program, args, options = {}) {
    const result = spawnSync(path.join(this.#bin, program), args, {
      encoding: 'utf8', cwd: '/', timeout: 60_000, ...options,
    });
    if (result.status !== 0) {
      throw new Error(`${program}: ${result.error ?? result.stderr}`);
    }
    return result.stdout;
  }

  async #init() {
    this.port = await freePort();
    if (this.#who.uid !== undefined) {
      fs.chownSync(this.#home.dir, this.#who.uid, this.#who.gid);
    }
    const secret = path.join(this.#home.dir, 'pw');
    fs.writeFileSync(secret, this.password, { mode: 0o644 });
    this.#run('initdb', ['-D', this.data, '-U', this.user, '-E', 'UTF8',
      '--locale=C.UTF-8', '--no-sync', '--auth=scram-sha-256',
      `--pwfile=${secret}`], this.#who);
    fs.rmSync(secret);
  }

  get running() {
    return this.#child && this.#child.exitCode === null
      && this.#child.signalCode === null;
  }

  async start() {
    // SIGQUIT at exit: the postmaster takes its children along.
    this.#child = spawnTied(path.join(this.#bin, 'postgres'), [
      '-D', this.data, '-p', String(this.port),
      '-c', 'listen_addresses=127.0.0.1', '-c', 'unix_socket_directories=',
      '-c', 'fsync=off', '-c', 'shared_buffers=32MB',
      '-c', 'max_connections=60',
      ...Object.entries(this.#settings).flatMap(([k, v]) => ['-c', `${k}=${v}`]),
    ], { ...this.#who, cwd: '/', stdio: ['ignore', 'pipe', 'pipe'] },
    'SIGQUIT');
    const child = this.#child;
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk) => { this.log += chunk; });
    }
    await eventually('PostgreSQL accepts connections', () => {
      if (!this.running) throw fatal(`PostgreSQL ended: ${this.log}`);
      return spawnSync(path.join(this.#bin, 'pg_isready'),
        ['-q', '-h', '127.0.0.1', '-p', String(this.port)]).status === 0;
    }, { within: 30_000 });
  }

  /** `immediate` is a crash, `fast` throws the clients out. */
  async stop(mode = 'fast') {
    if (!this.running) return;
    const child = this.#child;
    const gone = new Promise((resolve) => { child.once('exit', resolve); });
    child.kill(mode === 'immediate' ? 'SIGQUIT' : 'SIGINT');
    await gone;
  }

  #dumps = 0;

  /** The database as a file in pg_dump's own format; its path. */
  dump() {
    const file = path.join(this.#home.dir, `${++this.#dumps}.dump`);
    this.#run('pg_dump', ['-Fc', '-d', this.url, '-f', file]);
    return file;
  }

  /** A fresh database with what was dumped. From now on `url` leads there. */
  restore(file) {
    this.database = `restored_${++this.#dumps}`;
    this.#run('createdb', ['-h', '127.0.0.1', '-p', String(this.port),
      '-U', this.user, '-E', 'UTF8', '-T', 'template0', this.database],
    { env: { ...process.env, PGPASSWORD: this.password } });
    this.#run('pg_restore', ['--no-owner', '--exit-on-error', '-d', this.url,
      file]);
  }

  /** Runs SQL; the rows as text, unaligned. */
  sql(text) {
    return this.#run('psql', ['-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', this.url,
      '-c', text]).trim();
  }

  /** kill -9 of the postmaster and of every backend. */
  async kill() {
    if (!this.running) return;
    const child = this.#child;
    const gone = new Promise((resolve) => { child.once('exit', resolve); });
    const pids = this.pids();
    for (const pid of pids) signal(pid, 'SIGKILL');
    await gone;
    // A new one refuses to start beside a backend of the old one.
    await eventually('all of PostgreSQL is gone', () => pids.every(isGone),
      { every: 10 });
  }

  /** The postmaster and its children. */
  pids() {
    return [this.#child.pid, ...childrenOf(this.#child.pid)];
  }

  /** It hangs: everybody is connected, nobody is answered. */
  pause() {
    for (const pid of this.pids()) signal(pid, 'SIGSTOP');
  }

  resume() {
    for (const pid of this.pids().reverse()) signal(pid, 'SIGCONT');
  }

  /** One statement, as somebody beside the server; rows as lines of text. */
  query(sql) {
    return this.#run('psql', ['-h', '127.0.0.1', '-p', String(this.port),
      '-U', this.user, '-d', this.database, '-AtX', '-v', 'ON_ERROR_STOP=1',
      '-c', sql], { env: { ...process.env, PGPASSWORD: this.password,
      // Also while everybody else may only read.
      PGOPTIONS: '-c default_transaction_read_only=off' } }).trim();
  }

  // -- a disk of its own ------------------------------------------------------

  #mount(megabytes) {
    const result = spawnSync('mount', ['-t', 'tmpfs', '-o',
      `size=${megabytes}m,mode=0777`, 'slipway-test', this.#home.dir],
    { encoding: 'utf8' });
    if (result.status !== 0) throw new Error(`mount: ${result.stderr}`);
    this.#mounted = true;
    atExit(() => this.#unmount());
  }

  #unmount() {
    if (!this.#mounted) return;
    this.#mounted = false;
    // Lazily: at the end of the process the backends may not be gone yet.
    spawnSync('umount', ['-l', this.#home.dir]);
  }

  /** Takes every byte that is left, but for `spare`. */
  fillDisk(spare = 0) {
    const file = path.join(this.#home.dir, 'ballast');
    const { bavail, bsize } = fs.statfsSync(this.#home.dir);
    const block = Buffer.alloc(64 * 1024);
    const fd = fs.openSync(file, 'a');
    try {
      for (let left = bavail * bsize - spare; left > 0; left -= block.length) {
        fs.writeSync(fd, block, 0, Math.min(block.length, left));
      }
    } catch (error) {
      if (error.code !== 'ENOSPC') throw error;
    } finally {
      fs.closeSync(fd);
    }
  }

  freeDisk() {
    fs.rmSync(path.join(this.#home.dir, 'ballast'), { force: true });
  }

  async remove() {
    if (this.running) this.resume();
    await this.stop('immediate');
    this.#unmount();
    this.#home.remove();
  }
}

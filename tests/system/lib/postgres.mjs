// A PostgreSQL of the test's own, which can be stopped and started.

import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { execFileSync, spawnSync } from 'node:child_process';
import { spawnTied, temporaryDirectory } from './cleanup.mjs';
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

  static async start() {
    const server = new Postgres();
    try {
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

  async remove() {
    await this.stop('immediate');
    this.#home.remove();
  }
}

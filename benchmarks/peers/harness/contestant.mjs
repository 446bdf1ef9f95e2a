// What all contestants have in common: name, prepare(), seed(ids, orders),
// start(), stop(), kill(), port, server (pids of what answers and works), stores
// (pids of what it needs besides PostgreSQL) and count(first, last):
// {active, running} of these subscriptions.

import { freePort } from '../../../tests/system/lib/ports.mjs';

export const answers = async (url) => (await fetch(url,
  { signal: AbortSignal.timeout(5000) })).status === 200;

export class Contestant {
  stores = [];
  /** What of it printed something last. */
  get log() {
    return this.program?.log ?? '';
  }

  /**
   * @param suffix makes it another one of its kind, with tables of its own
   */
  constructor(world, options, suffix = '') {
    this.world = world;
    this.options = options;
    this.suffix = suffix;
  }

  get label() {
    return this.name + this.suffix;
  }

  async prepare() {
    this.databaseName = `bench_${this.label}`;
    this.databaseUrl = await this.world.database(this.databaseName);
    this.db = await this.world.connect(this.databaseUrl);
    this.port = await freePort();
  }

  /** Stops everything and leaves nothing on the disk. */
  async close() {
    await this.stop();
    await this.db?.end();
    this.db = undefined;
    if (this.databaseName) await this.world.drop(this.databaseName);
    this.databaseName = undefined;
  }

  get server() {
    return [this.program.pid];
  }

  async stop() {
    await this.program?.stop();
  }

  async kill() {
    await this.program.kill();
  }
}

// What all contestants have in common: name, prepare(), seed(batch), start(),
// stop(), kill(), port, server (pids of what answers and works), stores (pids of
// what it needs besides PostgreSQL), and two conditions in SQL on a row of
// `subscriptions`: isActive, paid for, and runs, deployed.

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

  /** Whether all of these run: asked often, so the last one is looked at first. */
  async allRun(first, last) {
    const { rowCount } = await this.db.query({ name: 'all run', text: `
      SELECT FROM subscriptions WHERE id BETWEEN $1 AND $2 AND NOT (${
      this.runs}) ORDER BY id DESC LIMIT 1`, values: [first, last] });
    return rowCount === 0;
  }

  /** {active, running}: how many of these are. */
  async count(first, last) {
    const { rows } = await this.db.query({ name: 'count', text: `
      SELECT count(*) FILTER (WHERE ${this.isActive})::int AS active,
             count(*) FILTER (WHERE ${this.runs})::int AS running
      FROM subscriptions WHERE id BETWEEN $1 AND $2`,
    values: [String(first), String(last)] });
    return rows[0];
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

// What nobody can be faster than: contestants that only have a rate.

import fs from 'node:fs';
import path from 'node:path';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { Contestant, answers } from './contestant.mjs';
import { Program } from './processes.mjs';
import { APP_ID, SELLER_ID } from './world.mjs';

const run = promisify(execFile);

/** Reads the notification, checks its signature and says `success`. */
export class Bare extends Contestant {
  name = 'bare';
  isLimit = true;

  async prepare() {
    await super.prepare();
    this.appKeyFile = this.world.file('bare/app.pem', this.world.app.privateKey);
  }

  async seed() {
    // It has no tables.
  }

  async start() {
    this.program = new Program(path.join(this.options.programs, 'slipway_bare'), [
      '--port', String(this.port), '--app-id', APP_ID, '--seller-id', SELLER_ID,
      '--app-key', this.appKeyFile,
      '--alipay-key', this.world.alipayPublicFile]);
    await this.program.until('is ready',
      () => answers(`http://127.0.0.1:${this.port}/`));
  }
}

/** Signature checks of one core. */
export class Rsa extends Contestant {
  name = 'rsa';
  isLimit = true;

  async prepare() {
    // Nothing to prepare.
  }

  async seed() {
    // It has no tables.
  }

  async start() {
    // It is no server.
  }

  async turn() {
    const { stdout } = await run(path.join(this.options.programs,
      'slipway_micro'), ['--benchmark_filter=^rsa/verify_2048$',
      '--benchmark_format=json']);
    const [{ cpu_time: ns }] = JSON.parse(stdout).benchmarks;
    return { perSecond: 1e9 / ns };
  }
}

// Tables of the shape that Slipway's have, without the columns that a payment
// leaves alone.
const SCHEMA = `
CREATE TABLE subscriptions (
  id bigint PRIMARY KEY,
  user_id text NOT NULL,
  status smallint NOT NULL,
  start_at timestamptz,
  end_at timestamptz,
  phase smallint NOT NULL,
  phase_at timestamptz NOT NULL,
  queued_at timestamptz,
  queue_rank timestamptz,
  revision bigint NOT NULL,
  owner bigint,
  settled boolean NOT NULL,
  wake_at timestamptz,
  error text NOT NULL DEFAULT '',
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX ON subscriptions (id) WHERE NOT settled;
CREATE INDEX ON subscriptions (wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX ON subscriptions (queue_rank, id) WHERE phase = 2;

CREATE TABLE payments (
  subscription_id bigint NOT NULL REFERENCES subscriptions (id),
  seq integer NOT NULL,
  status smallint NOT NULL,
  applied boolean NOT NULL DEFAULT false,
  amount_minor bigint NOT NULL,
  paid_at timestamptz,
  transaction_id text,
  created_at timestamptz NOT NULL,
  ask_at timestamptz,
  PRIMARY KEY (subscription_id, seq)
);
CREATE UNIQUE INDEX ON payments (transaction_id)
  WHERE transaction_id IS NOT NULL;
CREATE INDEX ON payments (ask_at) WHERE ask_at IS NOT NULL;

CREATE TABLE callbacks (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  dedupe_key text NOT NULL UNIQUE,
  received_at timestamptz NOT NULL,
  order_id text NOT NULL,
  subscription_id bigint,
  headers text NOT NULL,
  body bytea NOT NULL
);
CREATE INDEX ON callbacks (subscription_id, id);

CREATE TABLE events (
  id bigint GENERATED ALWAYS AS IDENTITY,
  subscription_id bigint NOT NULL,
  revision bigint NOT NULL,
  at timestamptz NOT NULL,
  operation text NOT NULL,
  summary text NOT NULL,
  PRIMARY KEY (subscription_id, id)
);

CREATE TABLE notifications (
  id bigint GENERATED ALWAYS AS IDENTITY,
  user_id text NOT NULL,
  subscription_id bigint NOT NULL,
  revision bigint NOT NULL,
  kind smallint NOT NULL,
  amount_minor bigint NOT NULL,
  created_at timestamptz NOT NULL,
  PRIMARY KEY (subscription_id, id)
);

CREATE SEQUENCE batches MINVALUE 0;
`;

/** The writes of `size` payments, in one statement. */
const script = (size) => `
WITH batch AS MATERIALIZED (
  SELECT nextval('batches') AS b
), changed AS (
  UPDATE subscriptions s SET status = 1, phase = 2, start_at = now(),
    end_at = now() + interval '30 days', phase_at = now(), queued_at = now(),
    queue_rank = now(), settled = false, revision = s.revision + 1,
    updated_at = now()
  FROM (SELECT b * ${size} + n AS id
        FROM batch, generate_series(1, ${size}) n) g
  WHERE s.id = g.id AND s.revision = 2
  RETURNING s.id, s.revision, s.user_id
), paid AS (
  UPDATE payments p SET status = 1, applied = true, paid_at = now(),
    ask_at = NULL, transaction_id = '20261123220014' || lpad(c.id::text, 14, '0')
  FROM changed c WHERE p.subscription_id = c.id AND p.seq = 1
), told AS (
  INSERT INTO events (subscription_id, revision, at, operation, summary)
  SELECT id, revision, now(), 'payment_settled',
         'paid by order 1; the deployment is queued' FROM changed
), noted AS (
  INSERT INTO notifications (user_id, subscription_id, revision, kind,
                             amount_minor, created_at)
  SELECT user_id, id, revision, 0, 9900, now() FROM changed
), kept AS (
  INSERT INTO callbacks (dedupe_key, received_at, order_id, subscription_id,
                         headers, body)
  SELECT 'order-' || id || '|TRADE_SUCCESS|2026112300222080001' || id, now(),
         'order-' || id, id, repeat('x', 110), repeat('x', 1300)::bytea
  FROM changed
)
SELECT count(*) FROM changed;
`;

/** As many payments committed as PostgreSQL commits, `size` at a time. */
class PgBench extends Contestant {
  isLimit = true;

  async prepare() {
    await super.prepare();
    await this.db.query(SCHEMA);
    this.file = this.world.file(`${this.name}.sql`, script(this.size));
  }

  async seed({ orders }) {
    this.batch = Math.floor(orders.length / this.size / this.clients);
    if (!this.batch) throw new Error(`${this.name}: needs more of a round`);
    const count = this.batch * this.clients * this.size;
    const { rows: [{ last }] } = await this.db.query(
      'SELECT coalesce(max(id), 0)::int AS last FROM subscriptions');
    const range = [last + 1, last + count];
    await this.db.query(`
      INSERT INTO subscriptions (id, user_id, status, phase, phase_at, revision,
                                 settled, wake_at, created_at, updated_at)
      SELECT n, 'user-' || n, 0, 0, now(), 2, true, NULL, now(), now()
      FROM generate_series($1::bigint, $2::bigint) n`, range);
    await this.db.query(`
      INSERT INTO payments (subscription_id, seq, status, amount_minor,
                            created_at, ask_at)
      SELECT n, 1, 0, 9900, now(), now() + interval '1 day'
      FROM generate_series($1::bigint, $2::bigint) n`, range);
    await this.db.query('VACUUM ANALYZE');
  }

  async start() {
    // It is no server.
  }

  async turn() {
    const { postgres } = this.world;
    const cpu = this.world.postgresCpu();
    const { stdout } = await run(pgbench(), ['-n', '-M', 'prepared',
      '-f', this.file, '-c', String(this.clients), '-j',
      String(Math.min(this.clients, 2)), '-t', String(this.batch),
      '-h', '127.0.0.1', '-p', String(postgres.port), '-U', postgres.user,
      this.databaseName], { env: { PATH: process.env.PATH, HOME: '/',
      PGPASSWORD: postgres.password,
      // The limit has the best plan.
      PGOPTIONS: '-c enable_hashjoin=off -c enable_mergejoin=off '
        + '-c enable_seqscan=off' } });
    const tps = Number(/tps = ([\d.]+)/.exec(stdout)?.[1]);
    if (!tps) throw new Error(`pgbench: ${stdout}`);
    const { rows: [{ left }] } = await this.db.query(
      'SELECT count(*)::int AS left FROM subscriptions WHERE revision = 2');
    if (left) throw new Error(`pgbench: ${left} were not paid`);
    const n = this.batch * this.clients * this.size;
    return { perSecond: tps * this.size,
      p50: Number(/latency average = ([\d.]+)/.exec(stdout)?.[1]),
      cpu: ((this.world.postgresCpu() - cpu) * 1000) / n };
  }
}

/** As Slipway does it: two connections, up to 64 callbacks in a commit. */
export class PgBatched extends PgBench {
  name = 'pgbench_64';
  size = 64;
  clients = 2;
}

/** A commit for each callback, on as many connections as there are clients. */
export class PgSingle extends PgBench {
  name = 'pgbench_1';
  size = 1;
  clients = 64;
}

function pgbench() {
  const root = '/usr/lib/postgresql';
  const versions = fs.existsSync(root) ? fs.readdirSync(root) : [];
  return versions.sort((a, b) => Number(b) - Number(a))
    .map((v) => path.join(root, v, 'bin/pgbench'))
    .find((file) => fs.existsSync(file)) ?? 'pgbench';
}

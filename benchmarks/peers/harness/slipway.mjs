// Slipway: how it is configured, started and asked, and how its tables are
// filled.

import crypto from 'node:crypto';
import path from 'node:path';
import { token } from '../../../tests/system/lib/jwt.mjs';
import { freePort } from '../../../tests/system/lib/ports.mjs';
import { toToml } from '../../../tests/system/lib/toml.mjs';
import { eventually } from '../../../tests/system/lib/wait.mjs';
import { Contestant, answers } from './contestant.mjs';
import { Program } from './processes.mjs';
import { APP_ID, SELLER_ID, WORKSPACE_ID } from './world.mjs';

/** Users among whom the subscriptions are spread. */
const USERS = 100_000;

/** The id behind `sub_`, Crockford's base 32 in lower case. */
const idOf = (text) => [...text.slice(4)].reduce((id, c) => (
  id * 32n + BigInt('0123456789abcdefghjkmnpqrstvwxyz'.indexOf(c))), 0n);

export class Slipway extends Contestant {
  name = 'slipway';
  isActive = 'status = 1';
  runs = 'phase = 8';

  async prepare() {
    await super.prepare();
    this.adminPort = await freePort();
    this.secret = crypto.randomBytes(32).toString('hex');
    const { world, options } = this;
    const file = (name, content) => world.file(`${this.label}/${name}`, content);
    this.config = file('slipway.toml', toToml({
      http: { listen: `127.0.0.1:${this.port}`,
        admin_listen: `127.0.0.1:${this.adminPort}` },
      database: { url: this.databaseUrl },
      auth: { hs256_secret_file: file('jwt.key', this.secret) },
      secrets: { credential_keys: [
        `bench:${file('credentials.key', crypto.randomBytes(32))}`] },
      plans: { PRO: { title: '专业版', amount: '99.00', currency: 'CNY',
        period_days: 30 } },
      alipay: { app_id: APP_ID, seller_id: SELLER_ID,
        // Nobody there plays the gateway: unpaid orders cannot be asked about.
        gateway_url: `${world.providerUrl}/gateway.do`,
        app_private_key_file: file('app.pem', world.app.privateKey),
        alipay_public_key_file: world.alipayPublicFile },
      railway: { endpoint: `${world.providerUrl}/graphql/v2`,
        token_file: file('railway.token', 'none'), workspace_id: WORKSPACE_ID,
        template_code: 'gateway',
        // The provider of this benchmark has no limits and hides nothing; the
        // peers know of neither.
        create_interval: '0s', requests_per_hour: 10_000_000,
        requests_per_second: 10_000, visibility_lag: '0s',
        // No look at what runs already while something else is measured.
        watch_interval: '1d' },
      // The peers ask at once and then every second; this is the least there is.
      deployment: { max_concurrent: options.deployments,
        poll_interval: '100ms' },
      payment: { order_ttl: '1d', ask_interval: '10m', asks_per_second: 1 },
      limits: options.limits,
    }));
    await this.#takeModels();
  }

  bearer(user) {
    return token(this.secret, { sub: user, exp: Math.floor(Date.now() / 1000)
      + 86_400 });
  }

  // -- filling the tables -----------------------------------------------------

  /**
   * Orders one subscription over HTTP, as the frontend does, and takes another
   * one all the way to a running instance: what is seeded are copies of their
   * rows, history and messages included.
   */
  async #takeModels() {
    await this.start();
    try {
      await this.world.control('answer');
      const ordered = await this.#order();
      this.ordered = ordered.id;
      this.watched = ordered.subscriptionId;
      const { id, order } = await this.#order();
      await this.#pay(order);
      await eventually('the first one runs',
        async () => (await this.count(id, id)).running === 1);
      this.finished = id;
    } finally {
      await this.stop();
    }
  }

  async #post(target, body, headers) {
    const answer = await fetch(`http://127.0.0.1:${this.port}${target}`,
      { method: 'POST', body, headers });
    const text = await answer.text();
    if (answer.status >= 300) {
      throw new Error(`${target}: status ${answer.status}: ${text}`);
    }
    return text;
  }

  async #order() {
    const headers = { 'content-type': 'application/json',
      authorization: `Bearer ${this.bearer('model')}` };
    const post = async (target, body) => JSON.parse(await this.#post(target,
      JSON.stringify(body), headers)).data;
    const { subscriptionId } = await post('/api/subscriptions',
      { planType: 'PRO' });
    const { orderId } = await post('/api/payment/create',
      { subscriptionId, gateway: 'ALIPAY', method: 'page' });
    return { id: idOf(subscriptionId), subscriptionId, order: orderId };
  }

  async #pay(order) {
    const text = await this.#post('/api/payment/alipay/notify',
      await this.world.notification(order, 0),
      { 'content-type': 'application/x-www-form-urlencoded' });
    if (text !== 'success') throw new Error(`the first payment: ${text}`);
  }

  /** Sets the rows of `table` that belong to the model `id` aside. */
  static async #setAside(db, table, key, id) {
    await db.query(`CREATE TEMP TABLE model_${table} AS
      SELECT * FROM ${table} WHERE ${key} = ${id}`);
  }

  /** Copies what was set aside once for each n, `changed` replaces values. */
  static async #copy(db, table, from, to, changed) {
    const { rows } = await db.query(`
      SELECT column_name AS name FROM information_schema.columns
      WHERE table_schema = 'public' AND table_name = $1
        AND is_identity = 'NO' AND is_generated = 'NEVER'`, [table]);
    const names = rows.map((r) => r.name);
    await db.query(`
      INSERT INTO ${table} (${names.join(', ')})
      SELECT ${names.map((x) => changed[x] ?? `x.${x}`).join(', ')}
      FROM model_${table} x, generate_series(${from}::bigint, ${to}::bigint) n`);
  }

  /** Rows that are copies of good ones need no checks one by one. */
  static async #unchecked(db, act) {
    await db.query('SET session_replication_role = replica');
    await db.query('SET synchronous_commit = off');
    try {
      await act();
    } finally {
      await db.query('RESET session_replication_role');
      await db.query('RESET synchronous_commit');
      await db.query('DISCARD TEMP');
    }
  }

  /** What a trigger does where they are not held back; older schemas have none. */
  async #list(id, from, to) {
    const { rows: [{ there }] } = await this.db.query(
      "SELECT to_regclass('user_subscriptions') IS NOT NULL AS there");
    if (!there) return;
    await this.db.query(`
      INSERT INTO user_subscriptions (user_id, subscription_id)
      SELECT 'user-' || n % ${USERS}, ${id}
      FROM generate_series($1::bigint, $2::bigint) n ORDER BY 1, 2`, [from, to]);
  }

  async #addUsers() {
    await this.db.query(`
      INSERT INTO users (id, created_at, updated_at)
      SELECT 'user-' || n, now(), now() FROM generate_series(0, $1::int - 1) n
      ON CONFLICT DO NOTHING`, [USERS]);
  }

  userOf(n) {
    return `user-${n % USERS}`;
  }

  /**
   * Subscriptions with an order that can be paid. They belong to the server that
   * runs, as if it had taken the orders a while ago and they had left its memory
   * since; to one that is gone where none runs.
   */
  async seed({ first, step, orders }) {
    const last = orders.length - 1;
    const id = `(${first} + n * ${step})`;
    await this.#addUsers();
    const copy = async (table, key, changed) => {
      await Slipway.#setAside(this.db, table, key, this.ordered);
      await Slipway.#copy(this.db, table, 0, last, changed);
    };
    await Slipway.#unchecked(this.db, async () => {
      await copy('subscriptions', 'id', { id,
        owner: `coalesce((SELECT id FROM servers WHERE ended_at IS NULL
          ORDER BY id DESC LIMIT 1), x.owner)`,
        user_id: `'user-' || n % ${USERS}` });
      await this.#list(id, 0, last);
      await copy('payments', 'subscription_id', { subscription_id: id,
        // Nobody asks the gateway about them meanwhile.
        expires_at: "now() + interval '1 day'",
        ask_at: "now() + interval '1 day'" });
      await copy('events', 'subscription_id', { subscription_id: id });
    });
    await this.db.query('VACUUM ANALYZE');
  }

  /** Bytes of disk that one finished subscription takes, indexes included. */
  async bytesEach() {
    const size = async () => Number((await this.db.query(
      'SELECT pg_database_size(current_database()) AS x')).rows[0].x);
    await this.finish(20);
    const before = await size();
    await this.finish(2000);
    return (await size() - before) / 2000;
  }

  #below = 0;

  /** Subscriptions that have been running for long, while it is stopped. */
  async finish(count) {
    const model = this.finished;
    await this.#addUsers();
    const begin = this.#below + 1;
    const end = this.#below += count;
    const id = `(${this.world.firstId} - n * ${this.world.step})`;
    const user = `'user-' || n % ${USERS}`;
    const own = { subscription_id: id };
    const tables = [
      ['subscriptions', 'id', { id, user_id: user }],
      ['payments', 'subscription_id', { ...own,
        transaction_id: "'finished-' || n" }],
      ['instances', 'subscription_id', { ...own,
        project_id: "'finished-' || n" }],
      ['callbacks', 'subscription_id', { ...own,
        dedupe_key: "'finished-' || n", order_id: "'finished-' || n" }],
      ['events', 'subscription_id', own],
      ['notifications', 'subscription_id', { ...own, user_id: user }],
      ['outbox', 'subscription_id', { ...own, user_id: user }],
    ];
    const large = count >= 100_000;
    const dropped = large ? await this.#dropIndexes(tables) : [];
    const fill = (db, some) => Slipway.#unchecked(db, async () => {
      for (const [table, key] of some) {
        await Slipway.#setAside(db, table, key, model);
      }
      const portion = 500_000;
      for (let from = begin; from <= end; from += portion) {
        const to = Math.min(from + portion - 1, end);
        for (const [table, , changed] of some) {
          await Slipway.#copy(db, table, from, to, changed);
        }
        if (large) {
          this.options.say(`  ${some.at(0)[0]}: ${to} of ${end} are there`);
        }
      }
    });
    if (large) {
      // The history is more than half of all rows.
      const isHistory = ([table]) => table === 'events';
      const other = await this.world.connect(this.databaseUrl);
      await Promise.all([fill(other, tables.filter(isHistory)),
        fill(this.db, tables.filter((x) => !isHistory(x)))]);
      await other.end();
    } else {
      await fill(this.db, tables);
    }
    await Slipway.#unchecked(this.db, async () => {
      await this.#list(id, begin, end);
      await this.db.query("SET maintenance_work_mem = '1GB'");
      for (const sql of dropped) await this.db.query(sql);
      await this.db.query('RESET maintenance_work_mem');
    });
    if (large) await this.db.query('VACUUM (FREEZE, ANALYZE)');
    else await this.db.query('VACUUM ANALYZE');
  }

  /** Everything but what others refer to; how to make them again. */
  async #dropIndexes(tables) {
    const { rows } = await this.db.query(`
      SELECT i.indexrelid::regclass::text AS name, c.conname,
             i.indrelid::regclass::text AS of,
             CASE WHEN c.oid IS NULL THEN pg_get_indexdef(i.indexrelid)
                  ELSE format('ALTER TABLE %s ADD CONSTRAINT %I %s',
                              i.indrelid::regclass, c.conname,
                              pg_get_constraintdef(c.oid)) END AS make
      FROM pg_index i LEFT JOIN pg_constraint c
        ON c.conindid = i.indexrelid AND c.contype IN ('p', 'u', 'x')
      WHERE i.indrelid::regclass::text = ANY ($1)
        AND NOT EXISTS (SELECT FROM pg_constraint f
                        WHERE f.conindid = i.indexrelid AND f.contype = 'f')`,
    [tables.map(([table]) => table)]);
    for (const x of rows) {
      await this.db.query(x.conname
        ? `ALTER TABLE ${x.of} DROP CONSTRAINT "${x.conname}"`
        : `DROP INDEX ${x.name}`);
    }
    return rows.map((x) => x.make);
  }

  // -- running ----------------------------------------------------------------

  async start() {
    this.program = new Program(this.options.slipway,
      ['serve', '--config', this.config], { cwd: path.dirname(this.config) });
    await this.program.until('is ready',
      () => answers(`http://127.0.0.1:${this.adminPort}/readyz`));
  }

  /** What it answers somebody who wants to watch a subscription. */
  async watchStatus() {
    const stop = new AbortController();
    const { status } = await fetch(`http://127.0.0.1:${this.port}${
      ''}/api/deployment/events/${this.watched}`, { signal: stop.signal,
      headers: { authorization: `Bearer ${this.bearer('model')}` } });
    stop.abort();
    return status;
  }

  /** A sample of /metrics, undefined where there is none. */
  async metric(name) {
    const answer = await fetch(`http://127.0.0.1:${this.adminPort}/metrics`);
    const line = (await answer.text()).split('\n')
      .find((x) => x.startsWith(`${name} `));
    return line && Number(line.slice(name.length + 1));
  }
}

// How each contestant is installed, started, killed and asked.
//
// All of them have: name, prepare(), seed(orders), start(), stop(), kill(), port,
// server (pids of what answers and works), stores (pids of what it needs besides
// PostgreSQL) and count(first, last): {active, running} of these subscriptions.

import crypto from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { token } from '../../../tests/system/lib/jwt.mjs';
import { freePort } from '../../../tests/system/lib/ports.mjs';
import { toToml } from '../../../tests/system/lib/toml.mjs';
import { eventually } from '../../../tests/system/lib/wait.mjs';
import { SCHEMA } from '../common/store.mjs';
import { post, runLoad } from './load.mjs';
import { Program } from './processes.mjs';
import { APP_ID, SELLER_ID, WORKSPACE_ID } from './world.mjs';

const peers = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');

const run = promisify(execFile);

const answers = async (url) => (await fetch(url,
  { signal: AbortSignal.timeout(5000) })).status === 200;

class Contestant {
  stores = [];

  constructor(world, options) {
    this.world = world;
    this.options = options;
  }

  async prepare() {
    this.databaseUrl = await this.world.database(`bench_${this.name}`);
    this.db = await this.world.connect(this.databaseUrl);
    this.port = await freePort();
  }

  async close() {
    await this.stop();
    await this.db?.end();
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

// -- Slipway -------------------------------------------------------------------

export class Slipway extends Contestant {
  name = 'slipway';

  async prepare() {
    await super.prepare();
    this.adminPort = await freePort();
    this.secret = crypto.randomBytes(32).toString('hex');
    const { world, options } = this;
    const file = (name, content) => world.file(`slipway/${name}`, content);
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
    }));
  }

  /**
   * Orders over HTTP, as the frontend does.
   * @returns {orders, first, last}, the ids in the table
   */
  async order(count) {
    const bearers = Array.from({ length: 1000 },
      (_, i) => token(this.secret, { sub: `user-${i}` }));
    const all = async (target, key, bodies) => {
      const out = [];
      const report = await runLoad({ port: this.port,
        requests: bodies.map((body, i) => post(target, JSON.stringify(body),
          { bearer: bearers[i % bearers.length] })),
        judge: (i, status, text) => {
          if (status !== 201) return false;
          out[i] = JSON.parse(text).data[key];
          return true;
        } });
      if (report.failed) throw new Error(`${target}: ${report.firstFailure}`);
      return out;
    };
    const range = async (after) => (await this.db.query(
      'SELECT min(id) AS first, max(id) AS last, count(*)::int '
      + 'FROM subscriptions WHERE id > $1', [after])).rows[0];
    const before = (await range(0)).last ?? 0;
    const ids = await all('/api/subscriptions', 'subscriptionId',
      Array.from({ length: count }, () => ({ planType: 'PRO' })));
    const orders = await all('/api/payment/create', 'orderId',
      ids.map((subscriptionId) => ({ subscriptionId, gateway: 'ALIPAY',
        method: 'page' })));
    const made = await range(before);
    if (made.count !== count) throw new Error('ids do not grow with time');
    return { orders, first: made.first, last: made.last };
  }

  /**
   * Subscriptions that have been running for long: one is taken there, and its
   * rows are copied. Started before, and started again.
   */
  async finish(count) {
    const { orders: [order], first: id } = await this.order(1);
    const body = await this.world.notification(order, 0);
    await this.world.control('answer');
    const { failed, firstFailure } = await runLoad({ port: this.port,
      requests: [post('/api/payment/alipay/notify', body,
        { type: 'application/x-www-form-urlencoded' })],
      judge: (_, status, text) => status === 200 && text === 'success' });
    if (failed) throw new Error(firstFailure);
    await eventually('the first one runs',
      async () => (await this.count(id, id)).running === 1);
    await this.stop();
    const copy = async (table, key, changed) => {
      const { rows } = await this.db.query(`
        SELECT column_name AS name FROM information_schema.columns
        WHERE table_schema = 'public' AND table_name = $1
          AND is_identity = 'NO' AND is_generated = 'NEVER'`, [table]);
      const names = rows.map((r) => r.name);
      await this.db.query(`
        INSERT INTO ${table} (${names.join(', ')})
        SELECT ${names.map((x) => changed[x] ?? `x.${x}`).join(', ')}
        FROM ${table} x, generate_series(1, ${Number(count)}) n
        WHERE x.${key} = ${BigInt(id)}`);
    };
    const user = "'finished-' || n % 100000";
    await this.db.query(`
      INSERT INTO users (id, created_at, updated_at)
      SELECT 'finished-' || n, now(), now() FROM generate_series(0, 99999) n`);
    // Ids grow with time: theirs are the ones before.
    const subscription = { subscription_id: `${BigInt(id)} - n` };
    await copy('subscriptions', 'id', { id: `${BigInt(id)} - n`, user_id: user });
    await copy('payments', 'subscription_id', { ...subscription,
      transaction_id: "'finished-' || n" });
    await copy('instances', 'subscription_id', { ...subscription,
      project_id: "'finished-' || n" });
    await copy('callbacks', 'subscription_id', { ...subscription,
      dedupe_key: "'finished-' || n", order_id: "'finished-' || n" });
    await copy('events', 'subscription_id', subscription);
    for (const table of ['notifications', 'outbox']) {
      await copy(table, 'subscription_id', { ...subscription, user_id: user });
    }
    await this.db.query('VACUUM ANALYZE');
    await this.start();
  }

  async start() {
    this.program = new Program(this.options.slipway,
      ['serve', '--config', this.config], { cwd: path.dirname(this.config) });
    await this.program.until('is ready',
      () => answers(`http://127.0.0.1:${this.adminPort}/readyz`));
  }

  async count(first, last) {
    const { rows } = await this.db.query({ name: 'count',
      text: 'SELECT count(*) FILTER (WHERE status = 1)::int AS active, '
        + 'count(*) FILTER (WHERE phase = 8)::int AS running '
        + 'FROM subscriptions WHERE id BETWEEN $1 AND $2',
      values: [first, last] });
    return rows[0];
  }
}

// -- peers ---------------------------------------------------------------------

class Peer extends Contestant {
  async prepare() {
    await super.prepare();
    if (!fs.existsSync(path.join(peers, this.name, 'node_modules'))) {
      throw new Error(`peers/${this.name} is not installed: ./run bench peers`);
    }
    await this.db.query(SCHEMA);
  }

  #last = 0;

  /** Subscriptions that can be paid for: {orders, first, last}. */
  async seed(orders) {
    const first = this.#last + 1;
    this.#last += orders.length;
    await this.db.query(`
      INSERT INTO subscriptions (id, user_id, plan_type)
      SELECT n, 'user-' || n % 1000, 'PRO'
      FROM generate_series($1::bigint, $2::bigint) n`, [first, this.#last]);
    await this.db.query(`
      INSERT INTO payments (order_id, subscription_id, amount)
      SELECT x.o, $2::bigint + x.n - 1, 99.00
      FROM unnest($1::text[]) WITH ORDINALITY AS x (o, n)`, [orders, first]);
    return { orders, first, last: this.#last };
  }

  /** Subscriptions that have been running for long. */
  async finish(count) {
    await this.db.query(`
      INSERT INTO subscriptions (id, user_id, plan_type, status, start_date,
                                 end_date, deployment_status)
      SELECT -n, 'user-' || n % 100000, 'PRO', 'ACTIVE', now(),
             now() + interval '30 days', 'running'
      FROM generate_series(1, $1::int) n`, [count]);
    await this.db.query(`
      INSERT INTO payments (order_id, subscription_id, amount, status,
                            transaction_id, paid_at)
      SELECT 'finished' || n, -n, 99.00, 'PAID', 't' || n, now()
      FROM generate_series(1, $1::int) n`, [count]);
    await this.db.query(`
      INSERT INTO railway_instances (subscription_id, project_id,
        environment_id, workflow_id, deployment_status, public_url, completed_at)
      SELECT -n, 'p' || n, 'e' || n, 'w' || n, 'running',
             'https://p' || n || '.example.com', now()
      FROM generate_series(1, $1::int) n`, [count]);
    await this.db.query(`
      INSERT INTO notifications (user_id, subscription_id, type, data)
      SELECT 'user-' || n % 100000, -n, t, '{}'
      FROM generate_series(1, $1::int) n,
           unnest(ARRAY['PAYMENT_RECEIVED', 'DEPLOYMENT_SUCCESS']) t`, [count]);
    await this.db.query('VACUUM ANALYZE');
  }

  environment() {
    return {};
  }

  async start() {
    const { world, options } = this;
    this.program = new Program(process.execPath, ['server.mjs'], {
      cwd: path.join(peers, this.name),
      env: { NODE_ENV: 'production', PORT: String(this.port),
        DATABASE_URL: this.databaseUrl, ALIPAY_APP_ID: APP_ID,
        ALIPAY_SELLER_ID: SELLER_ID,
        ALIPAY_PUBLIC_KEY_FILE: world.alipayPublicFile,
        RAILWAY_ENDPOINT: `${world.providerUrl}/graphql/v2`,
        RAILWAY_TOKEN: 'none', RAILWAY_WORKSPACE_ID: WORKSPACE_ID,
        RAILWAY_TEMPLATE_ID: '7a1c0e5e-0f0b-4c51-9d11-2f9f5f2c7a10',
        WEB_CONCURRENCY: String(options.processes),
        DEPLOY_CONCURRENCY: String(options.deployments),
        ...this.environment() },
    });
    await this.program.until('is ready',
      () => answers(`http://127.0.0.1:${this.port}/readyz`));
  }

  async count(first, last) {
    const { rows } = await this.db.query({ name: 'count',
      text: "SELECT count(*) FILTER (WHERE status = 'ACTIVE')::int AS active, "
        + "count(*) FILTER (WHERE deployment_status = 'running')::int "
        + 'AS running FROM subscriptions WHERE id BETWEEN $1 AND $2',
      values: [first, last] });
    return rows[0];
  }
}

export class Express extends Peer {
  name = 'express';

  async prepare() {
    await super.prepare();
    const port = await freePort();
    this.redisUrl = `redis://127.0.0.1:${port}`;
    const dir = path.join(this.world.dir, 'redis');
    fs.mkdirSync(dir, { mode: 0o700 });
    // As BullMQ's guide for production asks: an append-only file, and no
    // eviction.
    this.redis = new Program('redis-server', ['--bind', '127.0.0.1',
      '--port', String(port), '--dir', dir, '--appendonly', 'yes',
      '--appendfsync', this.options.redisFsync, '--save', '',
      '--maxmemory-policy', 'noeviction', '--daemonize', 'no']);
    await this.redis.until('accepts connections',
      () => this.redis.log.includes('Ready to accept connections'));
    this.stores = [this.redis.pid];
  }

  environment() {
    return { REDIS_URL: this.redisUrl };
  }

  async close() {
    await super.close();
    await this.redis?.stop();
  }
}

export class Dbos extends Peer {
  name = 'dbos';

  async prepare() {
    await super.prepare();
    // Ahead of the start: two processes that make the tables at once fail.
    await run(process.execPath, ['node_modules/.bin/dbos', 'schema',
      this.databaseUrl], { cwd: path.join(peers, this.name) });
  }
}

export class Restate extends Peer {
  name = 'restate';

  async prepare() {
    await super.prepare();
    const platform = `restate-server-${os.platform()}-${os.arch()}`;
    this.binary = path.join(peers, 'restate/node_modules/@restatedev', platform,
      'bin/restate-server');
    for (const port of ['ingress', 'admin', 'node', 'service']) {
      this[`${port}Port`] = await freePort();
    }
    const dir = path.join(this.world.dir, 'restate');
    fs.mkdirSync(dir, { mode: 0o700 });
    const listen = (port) => ({ 'bind-address': `127.0.0.1:${port}` });
    const top = { 'node-name': 'bench', 'base-dir': dir,
      'disable-telemetry': true, 'listen-mode': 'tcp',
      ...listen(this.nodePort),
      'advertised-address': `http://127.0.0.1:${this.nodePort}` };
    this.config = this.world.file('restate.toml', [
      ...Object.entries(top).map(([k, v]) => `${k} = ${JSON.stringify(v)}`),
      toToml({ ingress: listen(this.ingressPort),
        admin: listen(this.adminPort),
        // Restate has no queues: this is how deployments are limited.
        'worker.invoker': {
          'concurrent-invocations-limit': this.options.deployments } }),
    ].join('\n'));
  }

  get server() {
    return [this.program.pid, this.engine.pid];
  }

  environment() {
    return { RESTATE_INGRESS_URL: `http://127.0.0.1:${this.ingressPort}`,
      RESTATE_SERVICE_PORT: String(this.servicePort) };
  }

  async start() {
    this.engine = new Program(this.binary, ['--config-file', this.config],
      { cwd: this.world.dir });
    await this.engine.until('is healthy',
      () => answers(`http://127.0.0.1:${this.adminPort}/health`));
    await super.start();
    if (this.registered) return;
    const answer = await fetch(`http://127.0.0.1:${this.adminPort}/deployments`, {
      method: 'POST', headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ uri: `http://127.0.0.1:${this.servicePort}` }) });
    if (answer.status >= 300) {
      throw new Error(`restate: registering: ${await answer.text()}`);
    }
    this.registered = true;
  }

  async stop() {
    await super.stop();
    await this.engine?.stop();
  }

  async kill() {
    await Promise.all([this.program.kill(), this.engine.kill()]);
  }
}

// The peers: how each of them is installed, started, killed and asked.

import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { freePort } from '../../../tests/system/lib/ports.mjs';
import { toToml } from '../../../tests/system/lib/toml.mjs';
import { SCHEMA } from '../common/store.mjs';
import { Contestant, answers } from './contestant.mjs';
import { Program } from './processes.mjs';
import { APP_ID, SELLER_ID, WORKSPACE_ID } from './world.mjs';

const peers = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');

const run = promisify(execFile);

class Peer extends Contestant {
  isActive = "status = 'ACTIVE'";
  runs = "deployment_status = 'running'";

  async prepare() {
    await super.prepare();
    if (!fs.existsSync(path.join(peers, this.name, 'node_modules'))) {
      throw new Error(`peers/${this.name} is not installed: ./run bench`);
    }
    await this.db.query(SCHEMA);
  }

  /** Subscriptions that can be paid for. */
  async seed({ first, step, orders }) {
    await this.db.query(`
      INSERT INTO subscriptions (id, user_id, plan_type)
      SELECT $1::bigint + (n - 1) * $2::bigint, 'user-' || n, 'PRO'
      FROM generate_series(1, $3::int) n`, [first, step, orders.length]);
    await this.db.query(`
      INSERT INTO payments (order_id, subscription_id, amount)
      SELECT x.o, $2::bigint + (x.n - 1) * $3::bigint, 99.00
      FROM unnest($1::text[]) WITH ORDINALITY AS x (o, n)`,
    [orders, first, step]);
    await this.db.query('VACUUM ANALYZE');
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
}

export class Express extends Peer {
  name = 'express';

  async prepare() {
    await super.prepare();
    const port = await freePort();
    this.redisUrl = `redis://127.0.0.1:${port}`;
    const dir = path.join(this.world.dir, `redis${this.suffix}`);
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
    const dir = path.join(this.world.dir, `restate${this.suffix}`);
    fs.mkdirSync(dir, { mode: 0o700 });
    const listen = (port) => ({ 'bind-address': `127.0.0.1:${port}` });
    const top = { 'node-name': 'bench', 'base-dir': dir,
      'disable-telemetry': true, 'listen-mode': 'tcp',
      ...listen(this.nodePort),
      'advertised-address': `http://127.0.0.1:${this.nodePort}` };
    this.config = this.world.file(`restate${this.suffix}.toml`, [
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

  get log() {
    return `${this.program?.log ?? ''}\n${this.engine?.log ?? ''}`;
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

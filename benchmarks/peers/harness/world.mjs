// What all contestants share: one PostgreSQL, one provider, Alipay's keys, and
// the notifications that are paid with.

import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { spawn } from 'node:child_process';
import { promisify } from 'node:util';
import pg from 'pg';
import { temporaryDirectory } from '../../../tests/system/lib/cleanup.mjs';
import { freePort } from '../../../tests/system/lib/ports.mjs';
import { Postgres } from '../../../tests/system/lib/postgres.mjs';
import { Program, cpuSeconds } from './processes.mjs';

const sign = promisify(crypto.sign);
const makePair = promisify(crypto.generateKeyPair);

export const APP_ID = '2021000000000000';
export const SELLER_ID = '2088000000000000';
export const WORKSPACE_ID = '00000000-0000-4000-8000-000000000000';

/** As Slipway writes numbers: Crockford's base 32 in lower case. */
function digits(value, count) {
  let out = '';
  for (let rest = value; out.length < count; rest >>= 5n) {
    out = '0123456789abcdefghjkmnpqrstvwxyz'[Number(rest & 31n)] + out;
  }
  return out;
}

/** `yyyy-MM-dd HH:mm:ss` in Beijing. */
const beijing = () => new Date(Date.now() + 8 * 3_600_000).toISOString()
  .slice(0, 19).replace('T', ' ');

const pair = () => makePair('rsa', { modulusLength: 2048,
  publicKeyEncoding: { type: 'spki', format: 'pem' },
  privateKeyEncoding: { type: 'pkcs8', format: 'pem' } });

export class World {
  /**
   * Ids of Slipway's are milliseconds since 2024 and 22 more bits. Those that we
   * make up are of yesterday, so that none of today's is among them.
   */
  firstId = BigInt(Date.now() - Date.UTC(2024, 0) - 86_400_000) << 22n;
  /** Odd, so that they spread over whatever is chosen by their last bits. */
  step = (1n << 16n) + 1n;
  #taken = 0n;

  /** @param provider the program that plays the provider, and its arguments */
  static async start(provider) {
    const world = new World();
    try {
      await world.#build(provider);
    } catch (error) {
      await world.stop();
      throw error;
    }
    return world;
  }

  async #build([command, ...args]) {
    this.home = temporaryDirectory('slipway-peers-');
    this.dir = this.home.dir;
    this.app = await pair();
    this.alipay = await pair();
    this.alipayKey = crypto.createPrivateKey(this.alipay.privateKey);
    this.alipayPublicFile = this.file('alipay_pub.pem', this.alipay.publicKey);
    // The tests' PostgreSQL does without the disk; here its default durability
    // is half of what is measured.
    this.postgres = await Postgres.start({ settings: { fsync: 'on',
      synchronous_commit: 'on', full_page_writes: 'on',
      shared_buffers: process.env.BENCH_SHARED_BUFFERS || '128MB',
      max_connections: '200' } });
    this.#watch();
    this.admin = await this.connect(this.postgres.url);
    const port = await freePort();
    this.provider = new Program(command, [...args, '--port', String(port)],
      { cwd: process.cwd() });
    this.providerUrl = `http://127.0.0.1:${port}`;
    await this.provider.until('answers', () => this.control());
  }

  /**
   * PostgreSQL runs as another user, so the kernel does not kill it with us as it
   * does the others: somebody waits for our end.
   */
  #watch() {
    this.watcher = spawn('sh', ['-c', 'cat; kill -QUIT "$1"; sleep 2; shift; '
      + 'rm -rf "$@"', 'sh', String(this.postgres.pids()[0]), this.dir,
    path.dirname(this.postgres.data)],
    { stdio: ['pipe', 'ignore', 'ignore'], detached: true });
    this.watcher.unref();
    this.watcher.stdin.unref();
  }

  async stop() {
    await this.provider?.stop();
    await this.admin?.end();
    this.watcher?.kill('SIGKILL');
    await this.postgres?.remove();
    this.home?.remove();
  }

  /** Writes a file for our eyes only; its path. */
  file(name, content) {
    const at = path.join(this.dir, name);
    fs.mkdirSync(path.dirname(at), { recursive: true });
    fs.writeFileSync(at, content, { mode: 0o600 });
    return at;
  }

  /** Makes a database; how to connect to it. */
  async database(name) {
    await this.admin.query(`CREATE DATABASE ${name}`);
    return this.postgres.url.replace(/[^/]*$/, name);
  }

  async drop(name) {
    await this.admin.query(`DROP DATABASE ${name} WITH (FORCE)`);
  }

  /** What one has left behind must not be written out on another's time. */
  async checkpoint() {
    await this.admin.query('CHECKPOINT');
  }

  /** Bytes that are free where PostgreSQL keeps its data. */
  freeBytes() {
    const { bavail, bsize } = fs.statfsSync(path.dirname(this.postgres.data));
    return bavail * bsize;
  }

  /**
   * Numbers of subscriptions and of their orders, the same for everybody.
   * @returns {first, last, step, orders}, the ids as text
   */
  take(count) {
    const first = this.firstId + this.#taken * this.step;
    this.#taken += BigInt(count);
    const id = (n) => first + BigInt(n) * this.step;
    return { first: String(first), last: String(id(count - 1)),
      step: String(this.step), orders: Array.from({ length: count },
        (_, n) => `sw${digits(id(n), 13)}001`),
      ids: (n) => `sub_${digits(id(n), 13)}` };
  }

  async connect(url) {
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    return client;
  }

  postgresCpu() {
    return cpuSeconds([this.postgres.pids()[0]]);
  }

  /** What the provider has seen; `mode` changes what it does, see there. */
  async control(mode, more = {}) {
    const answer = await fetch(`${this.providerUrl}/control`, mode
      ? { method: 'POST', body: JSON.stringify({ mode, ...more }) } : {});
    return answer.json();
  }

  /** A signed TRADE_SUCCESS for each order, one form body on each line. */
  async notifications(name, orders) {
    const file = this.file(name, '');
    const chunk = 500;
    for (let i = 0; i < orders.length; i += chunk) {
      const bodies = await Promise.all(orders.slice(i, i + chunk)
        .map((order, n) => this.notification(order, i + n)));
      fs.appendFileSync(file, `${bodies.join('\n')}\n`);
    }
    return file;
  }

  /** @param number makes it another than those before */
  async notification(order, number) {
    const at = beijing();
    const digits = `${crypto.randomInt(1e9)}${String(number).padStart(8, '0')}`
      .padStart(18, '0');
    const fields = {
      gmt_create: at, charset: 'utf-8', seller_email: 'merchant@example.com',
      subject: '专业版', body: '', buyer_id: '2088102122458832',
      buyer_logon_id: 'bob***@example.com', invoice_amount: '99.00',
      notify_id: `2026112300222080001${digits}`,
      fund_bill_list: '[{"amount":"99.00","fundChannel":"ALIPAYACCOUNT"}]',
      notify_type: 'trade_status_sync', trade_status: 'TRADE_SUCCESS',
      receipt_amount: '99.00', buyer_pay_amount: '99.00', point_amount: '0.00',
      app_id: APP_ID, auth_app_id: APP_ID, seller_id: SELLER_ID,
      gmt_payment: at, notify_time: at, version: '1.0', out_trade_no: order,
      total_amount: '99.00', trade_no: `20261123220014${digits}`,
    };
    const text = Object.keys(fields).sort()
      .map((name) => `${name}=${fields[name]}`).join('&');
    const signature = await sign('sha256', Buffer.from(text), this.alipayKey);
    return new URLSearchParams({ ...fields, sign_type: 'RSA2',
      sign: signature.toString('base64') }).toString();
  }
}

// Slipway with everything around it: PostgreSQL, Alipay, WeChat Pay, Railway,
// mail, users.

import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { Alipay } from '../imposters/alipay.mjs';
import { Railway } from '../imposters/railway.mjs';
import { Smtp } from '../imposters/smtp.mjs';
import { WeChat } from '../imposters/wechat.mjs';
import { killPostgresIn, temporaryDirectory } from './cleanup.mjs';
import { Api } from './client.mjs';
import { request } from './http.mjs';
import { token } from './jwt.mjs';
import { parseMetrics } from './metrics.mjs';
import { freePort } from './ports.mjs';
import { Postgres } from './postgres.mjs';
import { PostgresProxy, Proxy } from './proxy.mjs';
import { FAULTS_BINARY, Slipway } from './slipway.mjs';
import { toToml } from './toml.mjs';
import { eventually } from './wait.mjs';

const id = () => crypto.randomBytes(5).toString('hex');

export const PLANS = {
  BASIC: { title: '基础版', amount: '29.90', currency: 'CNY', period_days: 30 },
  PRO: { title: '专业版', amount: '99.00', currency: 'CNY', period_days: 30,
    variables: { TIER: 'pro' } },
  ENTERPRISE: { title: '企业版', amount: '499.00', currency: 'CNY',
    period_days: 30, variables: { TIER: 'enterprise' } },
};

/** Order in which a deployment passes its states. */
export const RANK = { pending: 0, creating: 1, configuring: 2, deploying: 3,
  running: 4 };

export class World {
  /** Servers beside the first, see `another`. */
  others = [];

  /**
   * @param options.database `outside` (default), `embedded`, or a URL
   * @param options.railway options of the imposter, or false for none
   * @param options.alipay false for none
   * @param options.wechat true or options of the imposter; none by default
   * @param options.mail false for none
   * @param options.config {section: {key: value}} on top of the usual
   * @param options.env environment of the server
   * @param options.faults the server with faults on demand
   * @param options.start false: only write the files
   * @param options.proxies names of `postgres`, `railway`, `alipay`, `wechat`,
   *   `smtp`: the server reaches them through `world.proxies[name]`
   * @param options.postgres options of PostgreSQL
   */
  static async start(options = {}) {
    const world = new World();
    try {
      await world.#build(options);
      if (options.start !== false) await world.server.start();
    } catch (error) {
      await world.stop();
      throw error;
    }
    return world;
  }

  async #build({ database = 'outside', railway = {}, alipay = true, mail = true,
                 wechat = false, config = {}, env = {}, proxies = [],
                 postgres = {}, faults = false }) {
    this.home = temporaryDirectory();
    this.dir = this.home.dir;
    this.database = database;
    if (database === 'outside') this.postgres = await Postgres.start(postgres);
    if (railway) this.railway = await Railway.start(railway);
    if (alipay) this.alipay = await Alipay.start();
    if (wechat) this.wechat = await WeChat.start(wechat === true ? {} : wechat);
    if (mail) this.smtp = await Smtp.start();
    this.proxies = {};
    for (const name of proxies) {
      this.proxies[name] = await (name === 'postgres' ? PostgresProxy : Proxy)
        .start(this[name].port);
    }
    const reached = (name) => (this.proxies[name]
      ? this.proxies[name].instead(this[name].url) : this[name].url);
    this.port = await freePort();
    this.adminPort = await freePort();
    this.url = `http://127.0.0.1:${this.port}`;
    this.adminUrl = `http://127.0.0.1:${this.adminPort}`;
    this.secret = crypto.randomBytes(32).toString('hex');
    const file = (name, content) => {
      const at = path.join(this.dir, name);
      fs.mkdirSync(path.dirname(at), { recursive: true });
      fs.writeFileSync(at, content, { mode: 0o600 });
      return at;
    };
    this.settings = {
      http: { listen: `127.0.0.1:${this.port}`,
        admin_listen: `127.0.0.1:${this.adminPort}`, public_url: this.url },
      database: { url: database === 'outside' ? reached('postgres')
        : database === 'embedded' ? 'embedded:./data' : database },
      auth: { hs256_secret_file: file('jwt.key', this.secret) },
      secrets: { credential_keys: [
        `2026-11:${file('keys/2026-11.key', crypto.randomBytes(32))}`] },
      plans: PLANS,
      alipay: this.alipay && {
        app_id: this.alipay.appId, seller_id: this.alipay.sellerId,
        gateway_url: reached('alipay'),
        app_private_key_file: file('alipay/app.pem', this.alipay.app.privateKey),
        alipay_public_key_file: file('alipay/alipay_pub.pem',
          this.alipay.alipay.publicKey),
      },
      wechat: this.wechat && {
        app_id: this.wechat.appId, mch_id: this.wechat.mchId,
        gateway_url: reached('wechat'),
        api_v2_key_file: file('wechat/v2.key', `${this.wechat.v2Key}\n`),
        api_v3_key_file: file('wechat/v3.key', `${this.wechat.v3Key}\n`),
        merchant_serial: this.wechat.merchantSerial,
        merchant_private_key_file: file('wechat/merchant.pem',
          this.wechat.merchant.privateKey),
        platform_keys: this.wechat.handedOut.map(({ serial, pem }) => (
          `${serial}:${file(`wechat/${serial}.pem`, pem)}`)),
        ...(this.wechat.v2SignType === 'MD5' ? { v2_sign_type: 'MD5' } : {}),
      },
      railway: this.railway && {
        endpoint: reached('railway'),
        token_file: file('railway.token', `${this.railway.token}\n`),
        workspace_id: this.railway.workspaceId,
        ...(this.railway.templateProject ? {
          template_project_id: this.railway.templateProject.project.id,
          template_service_id: this.railway.templateProject.serviceId,
        } : { template_code: this.railway.template.code }),
        webhook_secret_file: file('railway.hook', this.hook = id() + id()),
        create_interval: '50ms', requests_per_hour: 100_000,
      },
      deployment: { max_concurrent: 3, attempts: 3, backoff_initial: '200ms',
        backoff_max: '1s', deadline: '60s', poll_interval: '200ms' },
      payment: { order_ttl: '30m' },
      // Tests ask more often than people do.
      limits: { user_requests_per_second: 0 },
      mail: this.smtp && { url: reached('smtp'),
        from: 'Slipway <no-reply@example.com>' },
    };
    for (const [section, values] of Object.entries(config)) {
      this.settings[section] = values === null ? undefined
        : { ...this.settings[section], ...values };
    }
    this.config = path.join(this.dir, 'slipway.toml');
    this.writeConfig();
    this.server = new Slipway({ args: ['serve', '--config', this.config],
      dir: this.dir, env, adminPort: this.adminPort,
      ...(faults ? { binary: FAULTS_BINARY } : {}) });
    this.anonymous = new Api(this.url);
    this.operator = this.user({ role: 'operator', sub: `op-${id()}` });
  }

  writeConfig() {
    fs.writeFileSync(this.config, toToml(this.settings), { mode: 0o600 });
  }

  /**
   * One more server with the same settings on ports of its own, not started:
   * {server, url, adminUrl, metrics(), admin(path)}.
   */
  async another({ config = {}, env = {} } = {}) {
    const port = await freePort();
    const adminPort = await freePort();
    const settings = structuredClone(this.settings);
    Object.assign(settings.http, { listen: `127.0.0.1:${port}`,
      admin_listen: `127.0.0.1:${adminPort}` });
    for (const [section, values] of Object.entries(config)) {
      settings[section] = { ...settings[section], ...values };
    }
    const dir = path.join(this.dir, `server-${port}`);
    fs.mkdirSync(dir);
    const file = path.join(dir, 'slipway.toml');
    fs.writeFileSync(file, toToml(settings), { mode: 0o600 });
    const adminUrl = `http://127.0.0.1:${adminPort}`;
    const other = { url: `http://127.0.0.1:${port}`, adminUrl,
      server: new Slipway({ args: ['serve', '--config', file], dir, env,
        adminPort }),
      metrics: async () => parseMetrics(
        (await request(`${adminUrl}/metrics`)).text),
      admin: async (what) => (await request(`${adminUrl}${what}`)).status };
    this.others.push(other);
    return other;
  }

  async stop() {
    try {
      if (this.server?.running) await this.server.terminate();
    } finally {
      await this.server?.kill();
      for (const { server } of this.others) await server.kill();
      killPostgresIn(this.dir);
      for (const proxy of Object.values(this.proxies ?? {})) await proxy.stop();
      await this.railway?.stop();
      await this.alipay?.stop();
      await this.wechat?.stop();
      await this.smtp?.stop();
      await this.postgres?.remove();
      this.home?.remove();
    }
  }

  // -- people -----------------------------------------------------------------

  /** A person with a token: an Api with `sub` and `email`. */
  user({ sub = `user-${id()}`, locale = 'zh-CN', role } = {}) {
    const email = `${sub}@example.com`;
    const api = new Api(this.url, token(this.secret, { sub, email, locale,
      ...(role ? { role } : {}) }));
    return Object.assign(api, { sub, email, locale });
  }

  // -- the steps of a subscription --------------------------------------------

  /**
   * A new subscription with credentials that carry a unique mark.
   * {user, id, mark, plan}
   */
  async subscribe(user = this.user(), { plan = 'PRO' } = {}) {
    const mark = `mark-${crypto.randomBytes(8).toString('hex')}`;
    const made = (await user.post('/api/subscriptions', { planType: plan,
      channelCredentials: { TELEGRAM: { botToken: mark } } })).ok(201);
    return { user, id: made.subscriptionId, mark, plan };
  }

  /** The imposter of a gateway, by its name in the API. */
  gateway(name) {
    return { ALIPAY: this.alipay, WECHAT: this.wechat }[name];
  }

  /** The answer to payment/create. */
  create({ user, id }, { gateway = 'ALIPAY', method, openid,
    key } = {}) {
    return user.post('/api/payment/create', { subscriptionId: id, gateway,
      method: method ?? { ALIPAY: 'page', WECHAT: 'native' }[gateway],
      ...(openid ? { openid } : {}) },
    key ? { headers: { 'Idempotency-Key': key } } : {});
  }

  /**
   * An order for it, opened in the payer's browser or scanned: adds order,
   * trade and gateway.
   */
  async order(subscription, options = {}) {
    const order = (await this.create(subscription, options)).ok(201);
    return this.opened(subscription, order);
  }

  /** The payer opens this order. */
  opened(subscription, order) {
    subscription.order = order;
    subscription.gateway = this.gateway(order.gateway);
    if (order.gateway === 'ALIPAY' && order.method !== 'qr') {
      subscription.trade = this.alipay.open(order.payUrl);
    } else {
      subscription.trade = subscription.gateway.trades.get(order.orderId);
      assert.ok(subscription.trade, `${order.orderId} is not at the gateway`);
      if (order.gateway === 'ALIPAY') this.alipay.scan(subscription.trade);
    }
    return subscription;
  }

  /** Subscribed, ordered, and paid at the gateway; nobody told the server. */
  async paid(user, options) {
    const subscription = await this.order(await this.subscribe(user, options),
      options);
    subscription.gateway.pay(subscription.trade);
    return subscription;
  }

  /** The gateway's notification of payment, which must be accepted. */
  async notified(subscription) {
    const { gateway, trade } = subscription;
    this.assertAccepted(await gateway.notify(trade), gateway);
    return subscription;
  }

  assertAccepted(answer, gateway) {
    assert.equal(`${answer.status} ${answer.text}`.trim(),
      gateway === this.wechat ? '204' : '200 success');
  }

  /** All of that and the notification, which must be accepted. */
  async activated(user, options) {
    return this.notified(await this.paid(user, options));
  }

  async running(user, options) {
    const subscription = await this.activated(user, options);
    await this.untilStatus(subscription, 'running');
    return subscription;
  }

  // -- looking ----------------------------------------------------------------

  async status(subscription) {
    return (await subscription.user.get(
      `/api/deployment/status/${subscription.id}`)).ok();
  }

  /** The order as its owner sees it. Reading a pending one may ask about it. */
  async payment({ user, order }) {
    return (await user.get(`/api/payment/${order.orderId}`)).ok();
  }

  /** Waits until the order's status is one of `wanted`, by reading it. */
  async untilPayment(subscription, wanted, options = {}) {
    return this.eventually(`${subscription.order.orderId} is ${wanted}`,
      async () => {
        const now = await this.payment(subscription);
        if ([wanted].flat().includes(now.status)) return now;
        throw new Error(`it is ${JSON.stringify(now)}`);
      }, { within: 30_000, every: 100, ...options });
  }

  /**
   * Waits for a status of the subscription without reading the order, thus
   * without giving the server a reason to ask.
   */
  async untilSubscription(subscription, wanted, options = {}) {
    return this.eventually(`${subscription.id} is ${wanted}`, async () => {
      const now = await this.subscription(subscription);
      if ([wanted].flat().includes(now.status)) return now;
      throw new Error(`it is ${JSON.stringify(now)}`);
    }, { within: 30_000, every: 100, ...options });
  }

  async subscription(subscription) {
    return (await subscription.user.get(
      `/api/subscriptions/${subscription.id}`)).ok();
  }

  /** Waits until the deployment's status is one of `wanted`. */
  async untilStatus(subscription, wanted, options = {}) {
    let last;
    return this.eventually(`${subscription.id} is ${wanted}`, async () => {
      last = await this.status(subscription);
      if ([wanted].flat().includes(last.status)) return last;
      throw new Error(`it is ${JSON.stringify(last)}`);
    }, { within: 40_000, ...options });
  }

  /** `eventually`, with the end of the server's log in the error. */
  async eventually(what, probe, options) {
    try {
      return await eventually(what, probe, options);
    } catch (error) {
      error.message += `\n--- server log ---\n${this.server.tail()}`;
      throw error;
    }
  }

  /** Projects at the provider that belong to it, the deleted ones too. */
  allProjectsOf(subscription) {
    const marked = new Set(this.railway.projectsWith(subscription.mark,
      { live: false }));
    return [...this.railway.projects.values()].filter((p) => marked.has(p)
      || p.description?.includes(subscription.id));
  }

  projectsOf(subscription) {
    return this.allProjectsOf(subscription)
      .filter((p) => !p.deletedAt && !p.deletionScheduledAt);
  }

  /** For `match` of a fault: whether a call's variables are about it. */
  about(subscription) {
    const ours = (project) => project.description?.includes(subscription.id);
    return (variables) => this.railway.projectsIn(variables).some(ours)
      || JSON.stringify(variables).includes(subscription.id);
  }

  /** For `match` of builds that fail or are held: whether it is one of its. */
  builds(subscription) {
    return (deployment) => Boolean(this.railway.projects
      .get(deployment.projectId).description?.includes(subscription.id));
  }

  /** Its newest deployment at the provider, of a project that is alive. */
  deploymentOf(subscription) {
    return this.projectsOf(subscription)
      .map((project) => this.railway.currentOf(project.id)).find(Boolean);
  }

  /** Waits until its deployment at the provider is in `status`. */
  async untilProviderStatus(subscription, status) {
    return this.eventually(`${subscription.id} is ${status} at the provider`,
      () => {
        const deployment = this.deploymentOf(subscription);
        if (deployment?.status === status) return deployment;
        throw new Error(`it is ${deployment?.status}`);
      });
  }

  /** Nothing of it is left at the provider. */
  isGone(subscription) {
    return this.projectsOf(subscription).length === 0;
  }

  /** An operator's act: POST /api/ops/subscriptions/{id}/{what}. */
  act(subscription, what, body = { reason: 'told by the test' },
      by = this.operator) {
    return by.post(`/api/ops/subscriptions/${subscription.id}/${what}`, body);
  }

  /** Its whole history as operators see it, an entry on each line. */
  async history({ id }) {
    const all = await this.operator.all(`/api/ops/subscriptions/${id}/timeline`);
    return all.map((entry) => `${entry.kind} ${entry.summary}`).join('\n');
  }

  /** Asserts that it has exactly one live project with one service. */
  assertOneInstance(subscription) {
    const projects = this.projectsOf(subscription);
    assert.equal(projects.length, 1,
      `live projects: ${projects.map((p) => p.name).join(', ')}`);
    assert.equal(this.railway.servicesOf(projects[0].id).length, 1, 'services');
    return projects[0];
  }

  /** Mails to the owner that tell the address of the instance. */
  successMails({ user }, publicUrl) {
    return this.smtp.to(user.email).filter((m) => m.body.includes(publicUrl));
  }

  notifications(user, type) {
    return user.all('/api/notifications')
      .then((all) => (type ? all.filter((n) => n.type === type) : all));
  }

  attentionOf(subscription) {
    return this.attention()
      .then((all) => all.filter((a) => a.subscriptionId === subscription.id));
  }

  /** Rows of the inbox about an order; `filter` is a query string. */
  callbacksOf(orderId, filter = '') {
    return this.operator.all(`/api/ops/callbacks${filter}`)
      .then((all) => all.filter((row) => row.orderId === orderId));
  }

  /** One payment, one activation, one instance, one message of each kind. */
  async assertOnce(subscription) {
    const { publicUrl } = await this.untilStatus(subscription, 'running');
    await this.eventually('the mail', () => this.successMails(subscription,
      publicUrl).length > 0);
    this.assertOneInstance(subscription);
    assert.equal(this.allProjectsOf(subscription).length, 1, 'projects made');
    assert.equal(this.successMails(subscription, publicUrl).length, 1, 'mails');
    for (const type of ['PAYMENT_RECEIVED', 'DEPLOYMENT_SUCCESS']) {
      assert.equal((await this.notifications(subscription.user, type)).length,
        1, type);
    }
    const { status, startDate, endDate } = await this.subscription(subscription);
    assert.equal(status, 'ACTIVE');
    assert.equal(Date.parse(endDate) - Date.parse(startDate), 30 * 86_400_000,
      'paid once, so thirty days');
  }

  /** Nothing has come of it, whatever was said. */
  async assertUntouched(subscription) {
    assert.equal((await this.payment(subscription)).status, 'PENDING');
    assert.equal((await this.subscription(subscription)).status, 'PENDING');
    if (this.railway) {
      assert.equal(this.allProjectsOf(subscription).length, 0);
    }
    assert.deepEqual(await this.notifications(subscription.user), []);
  }

  attention() {
    return this.operator.get('/api/deployment/attention')
      .then((answer) => answer.ok());
  }

  async metrics() {
    const answer = await request(`${this.adminUrl}/metrics`);
    assert.equal(answer.status, 200);
    return parseMetrics(answer.text);
  }

  async admin(what) {
    return (await request(`${this.adminUrl}${what}`)).status;
  }
}

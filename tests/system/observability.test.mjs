// What operators watch: every metric that their alerts rely on, and the alerts
// themselves, by Prometheus' own tool.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { after, before, test } from './lib/suite.mjs';
import { temporaryDirectory } from './lib/cleanup.mjs';
import { request } from './lib/http.mjs';
import { parseMetrics } from './lib/metrics.mjs';
import { World } from './lib/world.mjs';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
const file = (name) => path.join(root, name);
const read = (name) => fs.readFileSync(file(name), 'utf8');

/** The metrics of the contract: their type, and their labels. */
const PROMISED = {
  slipway_actors: ['gauge', 'kind'],
  slipway_actor_restarts_total: ['counter', 'kind', 'reason'],
  slipway_mailbox_depth: ['gauge', 'kind'],
  slipway_subscriptions: ['gauge', 'state'],
  slipway_attention: ['gauge', 'kind'],
  slipway_callbacks_total: ['counter', 'gateway', 'outcome'],
  slipway_callback_seconds: ['histogram'],
  slipway_journal_commit_seconds: ['histogram'],
  slipway_journal_batch_size: ['histogram'],
  slipway_deploy_queue_depth: ['gauge'],
  slipway_deploy_slots: ['gauge', 'state'],
  slipway_time_to_running_seconds: ['histogram'],
  slipway_provider_requests_total: ['counter', 'operation', 'outcome'],
  slipway_provider_budget_remaining: ['gauge'],
  slipway_notifications_total: ['counter', 'channel', 'outcome'],
  slipway_http_requests_total: ['counter', 'route', 'status'],
  slipway_shed_total: ['counter', 'reason'],
};

/** What is there beside them. */
const OURS = {
  slipway_ready: ['gauge'],
  slipway_lease_held: ['gauge'],
  slipway_start_time_seconds: ['gauge'],
  slipway_automation_enabled: ['gauge'],
  slipway_gateway_requests_total: ['counter', 'gateway', 'operation', 'outcome'],
  slipway_watchers: ['gauge'],
  slipway_pruned_rows_total: ['counter', 'table'],
  slipway_spans_exported_total: ['counter'],
  slipway_spans_dropped_total: ['counter', 'reason'],
  slipway_log_lines_dropped_total: ['counter'],
};

const ALL = { ...PROMISED, ...OURS };

let world;
let exposition;

const promtool = (args, options = {}) => {
  const end = spawnSync('promtool', args, { encoding: 'utf8', timeout: 240_000,
    ...options });
  assert.ifError(end.error);
  return end;
};

const succeeds = (args, options) => {
  const end = promtool(args, options);
  assert.equal(end.status, 0, `${end.stdout}${end.stderr}`);
  return end.stdout;
};

before(async () => {
  world = await World.start();
});
after(() => world?.stop());

test('after real traffic every metric is there, with its type and its labels',
  async () => {
    const subscription = await world.running();
    await world.assertOnce(subscription);
    // Something forged, something of the gateway's calls, something unknown.
    await world.alipay.post(`${world.url}/api/payment/alipay/notify`,
      { out_trade_no: subscription.order.orderId, sign: 'AA==',
        sign_type: 'RSA2' });
    const asked = await world.subscribe();
    await world.order(asked, { method: 'qr' });
    await world.anonymous.get('/nowhere');
    await world.eventually('the counts of the database', async () => (
      await world.metrics()).sum('slipway_subscriptions',
      { state: 'ACTIVE' }) === 1);
    exposition = (await request(`${world.adminUrl}/metrics`)).text;
    const metrics = parseMetrics(exposition);
    for (const [name, [type, ...labels]] of Object.entries(ALL)) {
      assert.equal(metrics.families.get(name), type, name);
      const samples = metrics.samples.filter((s) => s.name === name
        || (type === 'histogram' && s.name.startsWith(`${name}_`)));
      assert.ok(samples.length > 0, `${name} has no sample`);
      for (const sample of samples) {
        const seen = Object.keys(sample.labels).filter((l) => l !== 'le');
        assert.deepEqual(seen.sort(), [...labels].sort(), sample.name);
      }
      if (type === 'histogram') {
        for (const end of ['bucket', 'sum', 'count']) {
          assert.ok(samples.some((s) => s.name === `${name}_${end}`),
            `${name}_${end}`);
        }
        assert.ok(samples.some((s) => s.labels.le === '+Inf'), name);
        assert.ok(metrics.sum(`${name}_count`) > 0, `${name} counts nothing`);
      }
    }
    for (const name of metrics.families.keys()) {
      assert.ok(name in ALL || !name.startsWith('slipway_'),
        `${name} is described nowhere`);
    }
    assert.ok(metrics.sum('slipway_actors', { kind: 'supervisor' }) >= 1);
    assert.ok(metrics.sum('slipway_callbacks_total',
      { gateway: 'alipay', outcome: 'applied' }) >= 1);
    assert.ok(metrics.sum('slipway_callbacks_total',
      { gateway: 'alipay', outcome: 'forged' }) >= 1);
    assert.ok(metrics.sum('slipway_provider_requests_total',
      { operation: 'projectCreate', outcome: 'ok' }) === 1);
    assert.ok(metrics.sum('slipway_notifications_total',
      { channel: 'mail', outcome: 'sent' }) >= 1);
    assert.ok(metrics.sum('slipway_http_requests_total',
      { route: 'payment_create', status: '201' }) >= 2);
    assert.ok(metrics.sum('slipway_gateway_requests_total',
      { gateway: 'alipay', operation: 'create', outcome: 'ok' }) >= 1);
    assert.equal(metrics.sum('slipway_ready'), 1);
    assert.equal(metrics.sum('slipway_lease_held'), 1);
    const age = Date.now() / 1000 - metrics.sum('slipway_start_time_seconds');
    assert.ok(age > 0 && age < 600, `started ${age} s ago`);
  });

test('promtool has nothing to say against the exposition', () => {
  assert.equal(succeeds(['check', 'metrics'], { input: exposition }), '');
});

test('the server is not ready while its database is away', async () => {
  await world.postgres.stop('immediate');
  await world.eventually('slipway_ready is 0',
    async () => (await world.metrics()).sum('slipway_ready') === 0,
    { within: 40_000 });
  await world.postgres.start();
  await world.eventually('slipway_ready is 1',
    async () => (await world.metrics()).sum('slipway_ready') === 1,
    { within: 40_000 });
});

test('the rules are well formed, and each does what it is for', () => {
  succeeds(['check', 'rules', file('config/prometheus/slipway.rules.yml')]);
  const dir = file('config/prometheus');
  succeeds(['test', 'rules', 'tests.yml'], { cwd: dir });
});

/** {alert, expr, summary, description, runbook} of each alert. */
function alerts() {
  return read('config/prometheus/slipway.rules.yml').split(/^ +- alert: /m)
    .slice(1).map((text) => ({
      alert: /^\w+/.exec(text)[0],
      ...Object.fromEntries(['summary', 'description', 'runbook', 'severity']
        .map((key) => [key, new RegExp(`\\b${key}: *"?([^"}\\n]+)`)
          .exec(text)?.[1]])),
    }));
}

test('each alert says what is wrong and where to read what to do', () => {
  const all = alerts();
  assert.ok(all.length > 20);
  const sections = new Set([...read('docs/OPERATING.md')
    .matchAll(/^#+ (.+)$/gm)].map(([, title]) => title.toLowerCase()
    .replace(/[^\w -]/g, '').replaceAll(' ', '-')));
  const tested = read('config/prometheus/tests.yml');
  for (const x of all) {
    for (const key of ['summary', 'description', 'runbook', 'severity']) {
      assert.ok(x[key], `${x.alert} has no ${key}`);
    }
    assert.match(x.severity, /^(page|ticket)$/);
    const [where, anchor] = x.runbook.split('#');
    assert.equal(where, 'docs/OPERATING.md');
    assert.ok(sections.has(anchor), `${x.runbook} leads nowhere`);
    assert.match(tested, new RegExp(`alertname: ${x.alert}\\b`), x.alert);
  }
});

/** Names of metrics in an expression. */
const named = (expr) => [...expr.replace(/\{[^}]*\}/g, '')
  .matchAll(/\b(slipway_\w+|slipway:\w[\w:]*)/g)].map(([name]) => name);

const known = (name) => name in ALL
  || ALL[name.replace(/_(bucket|sum|count)$/, '')]?.[0] === 'histogram';

test('rules and alerts name only what there is', () => {
  const rules = read('config/prometheus/slipway.rules.yml')
    .replace(/^ *(annotations|summary|description|runbook):.*$/gm, '')
    .replace(/^#.*$/gm, '').replace(/^ *- name: .*$/gm, '');
  const recorded = new Set([...rules.matchAll(/record: (\S+)/g)]
    .map(([, name]) => name));
  for (const name of named(rules)) {
    assert.ok(recorded.has(name) || known(name), `${name} does not exist`);
  }
  // And by their labels: what is matched on has to be a label of it.
  for (const [, name, labels] of rules.matchAll(
    /\b(slipway_\w+)\{([^}]*)\}/g)) {
    const own = ALL[name] ?? ALL[name.replace(/_(bucket|sum|count)$/, '')];
    for (const [, label] of labels.matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g)) {
      assert.ok(own.includes(label), `${name} has no label ${label}`);
    }
  }
});

test('the dashboard is valid, and names only what there is', () => {
  const board = JSON.parse(read('config/grafana/slipway.json'));
  assert.equal(board.title, 'Slipway');
  assert.equal(new Set(board.panels.map((p) => p.id)).size,
    board.panels.length, 'ids of panels');
  const expressions = [...board.panels.flatMap((p) => p.targets ?? []),
    ...board.annotations.list].map((t) => t.expr);
  assert.ok(expressions.length > 30);
  const shown = new Set();
  for (const expr of expressions) {
    for (const name of named(expr)) {
      assert.ok(known(name), `${name} does not exist`);
      shown.add(name.replace(/_(bucket|sum|count)$/, ''));
    }
  }
  for (const name of Object.keys(ALL)) {
    assert.ok(shown.has(name), `${name} is shown nowhere`);
  }
  // promtool parses every expression, as a rule with the variables filled in.
  const home = temporaryDirectory();
  const rules = path.join(home.dir, 'board.yml');
  fs.writeFileSync(rules, JSON.stringify({ groups: [{ name: 'board',
    rules: expressions.map((expr, i) => ({ record: `board:${i}`,
      expr: expr.replaceAll('$__rate_interval', '5m')
        .replaceAll('$job', '.*').replaceAll('$instance', '.*') })) }] }));
  succeeds(['check', 'rules', rules]);
  home.remove();
});

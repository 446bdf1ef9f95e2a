// Three roles of operators, and the audit trail of what they do.

import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import { after, before, test } from './lib/suite.mjs';
import { World } from './lib/world.mjs';

let world;
let viewer;
let staff; // role operator
let admin;
let mine; // a running subscription of somebody
before(async () => {
  world = await World.start();
  viewer = world.user({ role: 'viewer' });
  staff = world.operator;
  admin = world.user({ role: 'admin' });
  mine = await world.running();
});
after(() => world?.stop());

const unknown = crypto.randomUUID();

const reads = [
  ['GET', '/api/deployment-monitor/stats'],
  ['GET', '/api/deployment/attention'],
  ['GET', '/api/ops/subscriptions'],
  ['GET', '/api/ops/callbacks'],
  ['GET', '/api/ops/actors'],
  ['GET', '/api/ops/automation'],
];

const acts = [
  ['POST', `/api/ops/subscriptions/${unknown}/retry`, { reason: 'x' }],
  ['POST', `/api/ops/subscriptions/${unknown}/cancel`, { reason: 'x' }],
  ['POST', `/api/ops/subscriptions/${unknown}/refund`, { reason: 'x' }],
  ['POST', `/api/ops/subscriptions/${unknown}/terminate`, { reason: 'x' }],
  ['POST', '/api/ops/callbacks/999/replay?dryRun=true'],
  ['POST', '/api/ops/callbacks/999/replay'],
  ['POST', '/api/ops/callbacks/999/settle', { reason: 'x' }],
  ['POST', `/api/ops/actors/supervisor:${unknown}/restart`, { reason: 'x' }],
  ['PUT', '/api/ops/automation', { enabled: true }],
];

const administrative = [
  ['GET', '/api/ops/audit'],
  ['POST', '/api/ops/credentials/rotate'],
];

test('each role opens what it is for, and says which one is missing',
  async () => {
    const user = world.user();
    const open = { viewer: reads, operator: [...reads, ...acts],
      admin: [...reads, ...acts, ...administrative] };
    const all = [...reads, ...acts, ...administrative];
    for (const [role, api] of Object.entries({ viewer, operator: staff, admin,
      user })) {
      for (const route of all) {
        const [method, path, body] = route;
        const answer = await api.send(method, path, { body });
        if ((open[role] ?? []).includes(route)) {
          assert.ok(![401, 403].includes(answer.status), `${role}: ${answer}`);
          continue;
        }
        const { message } = answer.fails(403, { error: 'forbidden' });
        const needed = reads.includes(route) ? 'viewer'
          : acts.includes(route) ? 'operator' : 'admin';
        assert.match(message, new RegExp(`\\b${needed}\\b`), `${role}: ${answer}`);
      }
    }
    assert.equal((await world.status(mine)).status, 'running');
  });

test('words that are no role are none', async () => {
  for (const role of ['Admin', 'ADMIN', 'root', 'superadmin', 'admin ', '',
    'operator,admin']) {
    (await world.user({ role }).get('/api/ops/audit')).fails(403);
  }
});

/** The entries about a subject, newest first. */
const trail = (query) => admin.all(`/api/ops/audit?${query}`);

test('what an operator does is in the trail, with what became of it',
  async () => {
    const reason = `because "${unknown}" <b>O'Neil</b> 请求 %s`;
    const sent = { 'X-Request-Id': 'the-one-in-the-trail' };
    const retried = await staff.post(`/api/ops/subscriptions/${mine.id}/retry`,
      { reason }, { headers: sent });
    retried.fails(400, { error: 'already_running' });
    (await world.act(mine, 'terminate', { reason: 'out of order' }, admin));
    const entries = await trail(`subject=${mine.id}`);
    assert.equal(entries.length, 2);
    const [terminated, refused] = entries;
    assert.deepEqual({ ...refused, id: null, at: null, completedAt: null }, {
      id: null, at: null, completedAt: null, actor: staff.sub, role: 'operator',
      act: 'retry', subjectKind: 'subscription', subject: mine.id,
      detail: null, reason, requestId: 'the-one-in-the-trail',
      outcome: 'already_running', status: 400 });
    assert.ok(Date.parse(refused.at) <= Date.parse(refused.completedAt));
    assert.equal(terminated.actor, admin.sub);
    assert.equal(terminated.role, 'admin');
    assert.equal(terminated.act, 'terminate');
    assert.equal(terminated.reason, 'out of order');
    assert.ok(['done', 'under_way'].includes(terminated.outcome));
  });

test('everything that operators can do is in it, and what they read is not',
  async () => {
    const other = world.user({ role: 'operator', sub: `op-${unknown}` });
    const before = (await trail('')).length;
    for (const [method, path, body] of reads) {
      await other.send(method, path, { body });
    }
    assert.equal((await trail('')).length, before);
    for (const [method, path, body] of acts) {
      await other.send(method, path, { body });
    }
    const mine = await trail(`actor=${other.sub}`);
    assert.deepEqual(mine.map((x) => x.act).sort(), ['automation', 'cancel',
      'refund', 'replay', 'restart_actor', 'retry', 'settle', 'terminate']);
    for (const entry of mine) {
      assert.ok(entry.outcome, JSON.stringify(entry));
      assert.ok(entry.requestId);
    }
    const [automation] = mine.filter((x) => x.act === 'automation');
    assert.equal(automation.detail, 'enabled: true');
    assert.equal(automation.outcome, 'done');
    assert.equal(mine.find((x) => x.act === 'restart_actor').subject,
      `supervisor:${unknown}`);
    // Whoever may not act leaves no trace of an act.
    for (const [method, path, body] of acts) {
      await viewer.send(method, path, { body });
    }
    assert.deepEqual(await trail(`actor=${viewer.sub}`), []);
  });

test('the trail is paged, newest first, and bad pages are refused', async () => {
  const all = await trail('');
  const paged = await admin.all('/api/ops/audit', { limit: 3 });
  assert.deepEqual(paged.map((x) => x.id), all.map((x) => x.id));
  const ids = all.map((x) => Number(x.id));
  assert.deepEqual(ids, [...ids].sort((a, b) => b - a));
  (await admin.get('/api/ops/audit?limit=0')).fails(400);
  (await admin.get('/api/ops/audit?cursor=x')).fails(400);
  (await admin.get('/api/ops/audit?cursor=-1')).fails(400);
  assert.deepEqual(await trail("actor=' OR true --"), []);
});

test('without a database nothing is done that could not be written down',
  async () => {
    const other = await world.activated();
    await world.untilStatus(other, 'running');
    await world.postgres.stop();
    try {
      (await world.act(other, 'terminate')).fails(503);
    } finally {
      await world.postgres.start();
    }
    await world.eventually('the database is back',
      async () => (await world.admin('/readyz')) === 200);
    assert.equal((await world.status(other)).status, 'running');
    assert.deepEqual(await trail(`subject=${other.id}`), []);
  });

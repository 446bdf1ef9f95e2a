// A backup is restored: nothing leaves before an operator has seen what would,
// and then everything becomes right, as far as anybody still knows of it.

import assert from 'node:assert/strict';
import { after, before, test } from './lib/suite.mjs';
import { never } from './lib/wait.mjs';
import { World } from './lib/world.mjs';

let world;
/** By the state in which the backup has it, and what happened since. */
const s = {};
/** What had left before the restore. */
let left;

const path = '/api/ops/automation';

const automation = async () => (await world.operator.get(path)).ok();

const put = (enabled, reason = 'told by the test') => world.operator.put(path,
  { enabled, reason });

/** Everything that has changed anything outside, counted. */
const outward = () => ({
  provider: world.railway.requests.filter((r) => r.type === 'mutation').length,
  gateway: world.alipay.calls
    .filter((c) => /close|refund$|cancel/.test(c.method)).length,
  mails: world.smtp.attempts,
});

const startOver = async () => {
  await world.server.kill();
  world.postgres.restore(s.dump);
  world.settings.database = { url: world.postgres.url };
  world.writeConfig();
  left = outward();
  await world.server.start();
};

before(async () => {
  world = await World.start({
    config: {
      payment: { ask_interval: '1s', order_ttl: '30m' },
      railway: { watch_interval: '1s', sweep_interval: '1s',
        visibility_lag: '500ms' },
      deployment: { max_concurrent: 6, poll_interval: '200ms' },
    } });
  const { railway } = world;
  s.runs = await world.running();
  s.terminated = await world.running();
  s.refunded = await world.running();
  s.unpaid = await world.order(await world.subscribe());
  s.unasked = await world.subscribe();
  railway.hold('BUILDING');
  s.building = await world.activated();
  await world.untilProviderStatus(s.building, 'BUILDING');
  s.cancelled = await world.activated();
  await world.untilProviderStatus(s.cancelled, 'BUILDING');

  s.dump = world.postgres.dump();

  // What the backup does not know.
  railway.release('BUILDING');
  await world.untilStatus(s.building, 'running');
  await world.untilStatus(s.cancelled, 'running');
  await world.eventually('it was taken away', async () => (
    (await world.act(s.terminated, 'terminate')).status === 200
      || world.isGone(s.terminated)));
  (await world.act(s.refunded, 'refund')).success();
  await world.untilSubscription(s.refunded, 'REFUNDED');
  world.alipay.pay(s.unpaid.trade);
  await world.notified(s.unpaid);
  await world.untilStatus(s.unpaid, 'running');
  await world.order(s.unasked);
  world.alipay.pay(s.unasked.trade);
  await world.notified(s.unasked);
  await world.untilStatus(s.unasked, 'running');
  s.unknown = await world.running();
  await world.eventually('all mails are out', async () => (
    Number(world.postgres.sql('SELECT count(*) FROM outbox WHERE status = 0'))
      === 0));
  s.projects = new Map(Object.entries(s).filter(([, x]) => x?.user)
    .map(([name, x]) => [name, world.projectsOf(x).map((p) => p.id)]));
  await startOver();
});
after(() => world?.stop());

test('it is noticed: off, ready, and said everywhere', async () => {
  const is = await automation();
  assert.equal(is.enabled, false);
  assert.equal(is.by, 'slipway');
  assert.match(is.reason, /restored/);
  assert.match(is.reason, /another database/);
  assert.match(is.reason, /loaded from a dump/);
  assert.ok(is.restoredAt);
  assert.equal(await world.admin('/readyz'), 200);
  const row = (await world.attention()).find((a) => a.kind === 'automation_off');
  assert.match(row.reason, /restored/);
  assert.equal(row.subscriptionId, null);
  const { samples } = await world.metrics();
  assert.equal(samples.find((x) => x.name === 'slipway_automation_enabled')
    .value, 0);
  assert.ok(samples.some((x) => x.name === 'slipway_attention'
    && x.labels.kind === 'automation_off'));
});

test('nothing leaves, and what would is shown', async () => {
  await world.untilSubscription(s.unpaid, 'ACTIVE');
  await world.eventually('lists and gateway were read', async () => {
    const { pending } = await automation();
    return pending.queued >= 1 && pending.orphans >= 1;
  }, { within: 30_000 });
  await never('something left', () => {
    const now = outward();
    return JSON.stringify(now) !== JSON.stringify(left)
      && `${JSON.stringify(left)} → ${JSON.stringify(now)}`;
  }, { during: 3_000 });
  const { pending } = await automation();
  const about = (x) => pending.items.filter((i) => i.subscriptionId === x.id)
    .map((i) => i.kind);
  assert.ok(about(s.unpaid).includes('deploy'), JSON.stringify(pending));
  assert.ok(pending.items.every((i) => i.summary && i.since));
  // A project of a subscription that nobody here knows.
  assert.ok(pending.items.some((i) => i.kind === 'remove'
    && i.subscriptionId === null
    && i.summary.includes(s.projects.get('unknown')[0])));
});

test('people are answered meanwhile', async () => {
  // Cancelled before anything was allowed to go on.
  const fresh = await world.activated();
  const answer = await fresh.user.delete('/api/deployment/cancel',
    { subscriptionId: fresh.id });
  assert.ok([200, 202].includes(answer.status), String(answer));
  assert.equal(world.allProjectsOf(fresh).length, 0);
  // What runs is seen: to look changes nothing.
  await world.untilStatus(s.building, 'running');
  await world.untilStatus(s.terminated, 'failed');
});

test('who looks at it may not be a user', async () => {
  (await s.runs.user.get(path)).fails(403);
  (await s.runs.user.put(path, { enabled: true })).fails(403);
  for (const body of [{}, { enabled: 'yes' }, { enabled: 1 },
    { enabled: true, reason: 7 }]) {
    (await world.operator.put(path, body)).fails(400);
  }
  assert.equal((await automation()).enabled, false);
});

test('switched on everything becomes right', async () => {
  const is = (await put(true, 'seen')).ok();
  assert.equal(is.enabled, true);
  assert.equal(is.by, world.operator.sub);
  assert.equal(is.reason, 'seen');
  assert.deepEqual(is.changes.map((c) => [c.enabled, c.by]),
    [[true, world.operator.sub], [false, 'slipway']]);
  // Paid after the backup: found by asking, and its project is taken over.
  const { publicUrl } = await world.untilStatus(s.unpaid, 'running');
  assert.deepEqual(world.projectsOf(s.unpaid).map((p) => p.id),
    s.projects.get('unpaid'));
  assert.equal(world.allProjectsOf(s.unpaid).length, 1);
  assert.ok(publicUrl);
  world.assertOneInstance(s.unpaid);
  for (const name of ['runs', 'building', 'cancelled']) {
    await world.untilStatus(s[name], 'running');
    assert.deepEqual(world.projectsOf(s[name]).map((p) => p.id),
      s.projects.get(name), name);
    assert.equal(world.allProjectsOf(s[name]).length, 1, name);
  }
});

test('a payment of an order that the backup does not know', async () => {
  // The gateway repeats it: a contradiction, for a person to see.
  const repeated = await world.alipay.notify(s.unasked.trade);
  assert.equal(repeated.text, 'failure');
  assert.equal((await world.subscription(s.unasked)).status, 'PENDING');
  // Its user orders again, and the order has the same number: paid already.
  const order = (await world.create(s.unasked)).ok(201);
  assert.equal(order.orderId, s.unasked.trade.outTradeNo);
  s.unasked.order = order;
  await world.untilPayment(s.unasked, 'PAID');
  await world.untilStatus(s.unasked, 'running');
  assert.deepEqual(world.projectsOf(s.unasked).map((p) => p.id),
    s.projects.get('unasked'));
  assert.equal(world.allProjectsOf(s.unasked).length, 1);
});

test('a refund that the backup does not know is not paid out twice',
  async () => {
    assert.equal((await world.subscription(s.refunded)).status, 'ACTIVE');
    (await world.act(s.refunded, 'refund')).success();
    await world.untilSubscription(s.refunded, 'REFUNDED');
    assert.equal(s.refunded.trade.refunds.length, 1);
  });

test('what nobody here knows is reported and stays', async () => {
  const [project] = world.projectsOf(s.unknown);
  await world.eventually('it is reported', async () => (
    (await world.attention()).some((a) => a.kind === 'orphan_project'
      && a.reason.includes(project.id))));
  await never('it was removed', () => world.isGone(s.unknown),
    { during: 3_000 });
  assert.equal((await world.alipay.notify(s.unknown.trade)).text, 'failure');
  await world.eventually('its payment is reported', async () => (
    (await world.attention()).some((a) => a.kind === 'unknown_payment'
      && a.reason.includes(s.unknown.trade.outTradeNo))));
});

test('a later project than the backup knows is not taken for surplus',
  async () => {
    // Taken away and deployed again after the backup: the row names the first.
    const subscription = await world.running();
    const dump = world.postgres.dump();
    (await world.act(subscription, 'terminate')).success();
    await world.eventually('it is gone', () => world.isGone(subscription));
    await world.untilStatus(subscription, 'stopped');
    (await subscription.user.post('/api/deployment/retry',
      { subscriptionId: subscription.id })).success();
    await world.untilStatus(subscription, 'running');
    const [second] = world.projectsOf(subscription);
    s.dump = dump;
    await startOver();
    (await put(true)).success();
    await world.untilStatus(subscription, 'failed');
    await world.eventually('it is reported', async () => (
      (await world.attentionOf(subscription)).some((a) => (
        a.kind === 'orphan_project' && a.reason.includes(second.id)))));
    await never('it was removed', () => world.isGone(subscription),
      { during: 3_000 });
    // A person says so: what is there is taken over.
    (await world.act(subscription, 'retry')).success();
    await world.untilStatus(subscription, 'running');
    assert.deepEqual(world.projectsOf(subscription).map((p) => p.id),
      [second.id]);
  });

test('an ordinary restart is none of that', async () => {
  await world.server.terminate();
  await world.server.start();
  assert.equal((await automation()).enabled, true);
  await world.server.kill();
  await world.postgres.stop('immediate');
  await world.postgres.start();
  await world.server.start();
  assert.equal((await automation()).enabled, true);
});

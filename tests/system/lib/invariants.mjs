// What must be true of a whole world once everything has calmed down, looked at
// from the outside: the API, the provider, the mailbox, the metrics.

import assert from 'node:assert/strict';

/** Runs `go` for all of `list`, a few at a time. */
async function each(list, go, { at_once = 6 } = {}) {
  const rest = [...list];
  await Promise.all(Array.from({ length: at_once }, async () => {
    for (let one = rest.shift(); one; one = rest.shift()) await go(one);
  }));
}

/** What is wrong with one paid subscription; undefined when all is well. */
async function faultOf(world, subscription, { resent }) {
  const { user, trade } = subscription;
  const { publicUrl, status } = await world.status(subscription);
  if (status !== 'running') return `it is ${status}`;
  const payment = await world.payment(subscription);
  if (payment.status !== 'PAID') return `the payment is ${payment.status}`;
  if (payment.transactionId !== (trade.tradeNo ?? trade.transactionId)) {
    return `paid by ${payment.transactionId}`;
  }
  if (trade.refunds.length) return `${trade.refunds.length} refunds`;
  const { status: now, startDate, endDate } = await world.subscription(
    subscription);
  if (now !== 'ACTIVE') return `the subscription is ${now}`;
  const days = (Date.parse(endDate) - Date.parse(startDate)) / 86_400_000;
  if (days !== 30) return `activated for ${days} days`;
  const projects = world.projectsOf(subscription);
  if (projects.length !== 1) return `${projects.length} live projects`;
  const services = world.railway.servicesOf(projects[0].id);
  if (services.length !== 1) return `${services.length} services`;
  if (!JSON.stringify(projects[0].firstDeployment?.variables ?? '')
    .includes(subscription.mark)) return 'not its own credentials';
  if (world.smtp) {
    const mails = world.successMails(subscription, publicUrl);
    if (mails.length === 0) return 'no mail';
    const ids = new Set(mails.map((m) => m.messageId));
    if (ids.size !== 1) return `${ids.size} different mails`;
    if (!resent && mails.length !== 1) return `${mails.length} mails`;
  }
  const told = await world.notifications(user);
  for (const type of ['PAYMENT_RECEIVED', 'DEPLOYMENT_SUCCESS']) {
    const count = told.filter((n) => n.type === type).length;
    if (count !== 1) return `${count} notifications ${type}`;
  }
  if (told.length !== 2) return `told ${told.map((n) => n.type)}`;
  return undefined;
}

/**
 * Waits until all is quiet, then checks everything about `paid` subscriptions,
 * which are all that were ever paid in this world.
 *
 * @param options.resent a mail may have arrived twice under the same
 *   Message-ID: somebody died between its receipt and the note of it
 * @param options.quarrels false: the provider's complaints are the test's doing
 */
export async function assertWhole(world, paid, { within = 60_000,
  resent = false, quarrels = true } = {}) {
  await world.eventually('ready', async () => (
    await world.admin('/readyz') === 200), { within });
  const deadline = Date.now() + within;
  const left = () => Math.max(2_000, deadline - Date.now());
  await each(paid, (one) => world.eventually(`${one.id} is whole`, async () => {
    const fault = await faultOf(world, one, { resent });
    if (fault) throw new Error(fault);
    return true;
  }, { within: left(), every: 200 }));

  // Nothing is under way, queued or stuck.
  await world.eventually('all slots are back', async () => {
    const stats = (await world.operator.get('/api/deployment-monitor/stats'))
      .ok();
    assert.equal(stats.active, 0, 'active');
    assert.equal(stats.queued, 0, 'queued');
    assert.equal(stats.failed, 0, 'failed');
    assert.equal(stats.running, paid.length, 'running');
    const metrics = await world.metrics();
    assert.equal(metrics.sum('slipway_deploy_queue_depth'), 0, 'queue');
    assert.equal(metrics.sum('slipway_deploy_slots', { state: 'used' }), 0,
      'slots in use');
    assert.equal(metrics.sum('slipway_deploy_slots', { state: 'free' }),
      world.settings.deployment.max_concurrent, 'free slots');
    return true;
  }, { within: left(), every: 200 });
  assert.deepEqual(await world.attention(), []);
  assert.equal(world.railway.liveProjects().length, paid.length,
    'live projects at the provider');

  // And it stays so: nothing late makes a second one of anything.
  await each(paid, async (one) => {
    assert.equal(await faultOf(world, one, { resent }), undefined, one.id);
  });
  assert.equal(await world.admin('/readyz'), 200);
  assert.equal(await world.admin('/healthz'), 200);
  if (quarrels) assert.deepEqual(world.railway.complaints, []);
  assert.deepEqual(world.alipay.complaints, []);
  if (world.wechat) assert.deepEqual(world.wechat.complaints, []);
}

/** Health, metrics and what needs nobody else answer, and at once. */
export async function assertAlive(world, { within = 2_000 } = {}) {
  for (const path of ['/healthz', '/readyz', '/metrics']) {
    const since = Date.now();
    assert.equal(await world.admin(path), 200, path);
    const took = Date.now() - since;
    assert.ok(took < within, `${path}: ${took} ms`);
  }
  assert.equal((await world.anonymous.get('/api/plans')).ok().length, 3);
}

/** Every acknowledged callback is in the inbox, and one was the payment. */
export async function assertKept(world, acknowledged) {
  const rows = new Map();
  for (const row of await world.operator.all('/api/ops/callbacks')) {
    rows.set(row.orderId, [...(rows.get(row.orderId) ?? []), row]);
  }
  const counts = new Map();
  for (const { customer, payment } of acknowledged) {
    const { orderId } = customer.order;
    const count = counts.get(orderId) ?? { all: 0, payment: false };
    count.all += 1;
    count.payment ||= payment;
    counts.set(orderId, count);
  }
  for (const [orderId, { all, payment }] of counts) {
    const kept = rows.get(orderId) ?? [];
    const deliveries = kept.reduce((n, row) => n + 1 + row.repeats, 0);
    assert.ok(deliveries >= all, `${orderId}: ${all} acknowledged, ${
      deliveries} kept`);
    const applied = kept.filter((row) => row.outcome === 'applied');
    if (payment) assert.equal(applied.length, 1, `${orderId} was applied by ${
      applied.length} callbacks: ${JSON.stringify(kept)}`);
  }
}

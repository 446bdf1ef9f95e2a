// Tests with two servers on one database share these.

import { afterEach } from './suite.mjs';
import { Api } from './client.mjs';
import { Proxy } from './proxy.mjs';

/** `database.lease`, which is five seconds by default. */
export const LEASE = 5_000;

/** What a busy machine may add to it. */
export const SLACK = 1_500;

/**
 * What a test does with the world that `get` returns and one more server:
 * everything that is paid is in `paid`. After each test there is one server.
 */
export function pairOf(get) {
  const paid = [];

  afterEach(async () => {
    const world = get();
    world.postgres.resume();
    world.railway.release('BUILDING');
    if (world.server.running) world.server.resume();
    else await world.server.start();
    for (const { server, wire } of world.others.splice(0)) {
      await server.kill();
      await wire?.stop();
    }
  });

  /** One more server, with lines of its own to the provider and PostgreSQL. */
  async function second() {
    const world = get();
    const wire = await Proxy.start(world.railway.port);
    const other = await world.another({ config: {
      railway: { endpoint: wire.instead(world.railway.url) },
      database: { url: world.postgres.url } } });
    other.wire = wire;
    await other.server.start();
    return other;
  }

  /** The same person at another server. */
  const at = (other, user) => new Api(other.url, user.token);

  /** The gateway's notification, sent to that server. */
  function notifyAt(other, { trade }, options) {
    const { alipay, url } = get();
    return alipay.post(trade.notifyUrl.replace(url, other.url),
      alipay.sign(alipay.notification(trade)), options);
  }

  /** Paid at the gateway, which has told nobody yet. */
  async function pay() {
    const subscription = await get().paid();
    paid.push(subscription);
    return subscription;
  }

  /** Deployments that are under way in the first server. */
  async function underWay(count) {
    const world = get();
    world.railway.hold('BUILDING');
    const some = [];
    for (let i = 0; i < count; i += 1) {
      some.push(await world.notified(await pay()));
    }
    for (const one of some) await world.untilStatus(one, 'deploying');
    return some;
  }

  /** Waits until `other` works on it, which only its owner does; ms since. */
  async function untilOwned(other, subscription, since, within) {
    await get().eventually('the other has taken over', async () => (
      (await notifyAt(other, subscription)).status === 200),
    { within, every: 100 });
    return Date.now() - since;
  }

  /** Waits until they run, as the other server sees them. */
  async function untilRunning(other, some) {
    for (const { id, user } of some) {
      await get().eventually(`${id} runs`, async () => ((await at(other, user)
        .get(`/api/deployment/status/${id}`)).ok().status === 'running'),
      { within: 30_000 });
    }
  }

  return { paid, second, at, notifyAt, pay, underWay, untilOwned,
    untilRunning };
}

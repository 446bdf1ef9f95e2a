// kill -9 at random: of the server, of PostgreSQL, of both, under constant
// traffic and with a provider that fails now and then. Whatever was acknowledged
// is activated once and runs once.
//
//   SLIPWAY_TORTURE_SEED     the seed of a run, to make the same choices again
//   SLIPWAY_TORTURE_SECONDS  how long it lasts

import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import { after, test } from './lib/suite.mjs';
import { INSTANT } from './imposters/railway.mjs';
import { assertKept, assertWhole } from './lib/invariants.mjs';
import { Random } from './lib/random.mjs';
import { Traffic } from './lib/traffic.mjs';
import { sleep } from './lib/wait.mjs';
import { World } from './lib/world.mjs';

const SEED = Number(process.env.SLIPWAY_TORTURE_SEED
  ?? crypto.randomInt(2 ** 31));
const SECONDS = Number(process.env.SLIPWAY_TORTURE_SECONDS ?? 30);

const PROVIDER_FAULTS = [
  { kind: '502', when: 'before' }, { kind: '504', when: 'after' },
  { kind: 'reset', when: 'before' }, { kind: 'reset', when: 'after' },
  { kind: 'opaque', when: 'after' }, { kind: 'html', when: 'after' },
  { kind: 'truncated', when: 'after' },
  { kind: '429', when: 'before', retryAfter: 1 },
];

let world;
after(() => world?.stop());

/** What can happen: each returns when everything is up again or going on. */
function disasters(random) {
  const { server, postgres, railway, smtp } = world;
  const up = async () => {
    if (!postgres.running) await postgres.start();
    if (!server.running) await server.start();
  };
  const crash = () => (random.chance(0.5) ? postgres.kill()
    : postgres.stop('immediate'));
  return [
    [5, 'server killed', async () => {
      await server.kill();
      await sleep(random.between(0, 300));
      await up();
    }],
    [2, 'server killed again while it starts', async () => {
      await server.kill();
      server.spawn();
      await sleep(random.between(20, 400));
      await server.kill();
      await up();
    }],
    [3, 'PostgreSQL killed', async () => {
      await crash();
      await sleep(random.between(0, 800));
      await up();
    }],
    [3, 'both killed', async () => {
      await Promise.all(random.chance(0.5) ? [server.kill(), crash()]
        : [crash(), server.kill()]);
      await up();
    }],
    [1, 'server told to stop', async () => {
      assert.deepEqual(await server.terminate(), { code: 0, signal: null });
      await up();
    }],
    [4, 'the provider fails', async () => {
      railway.fault({ operation: '*', times: random.between(1, 6),
        ...random.pick(PROVIDER_FAULTS) });
    }],
    [1, 'the mailbox fails', async () => {
      smtp.mode = random.pick(['421', '451', 'lost']);
      await sleep(random.between(100, 600));
      smtp.mode = 'ok';
    }],
  ];
}

test(`${SECONDS} s of disasters (SLIPWAY_TORTURE_SEED=${SEED})`, async (t) => {
  t.diagnostic(`seed ${SEED}`);
  world = await World.start({ wechat: true,
    railway: { times: INSTANT, budget: 1_000_000 },
    config: {
      // Two lost answers are two retries: nothing may fail for good here.
      deployment: { attempts: 20, max_concurrent: 8, poll_interval: '200ms' },
      railway: { visibility_lag: '1s', request_timeout: '5s',
        sweep_interval: '2s', requests_per_second: 1_000,
        requests_per_hour: 1_000_000 },
      // A gateway that is asked would find what callbacks have lost.
      payment: { ask_interval: '10m' },
    } });
  const random = new Random(SEED);
  const traffic = new Traffic(world, { seed: random.next() * 2 ** 31,
    people: 3, pause: 500, gateways: ['ALIPAY', 'ALIPAY', 'WECHAT'] }).start();
  const happened = new Map();
  const began = Date.now();
  try {
    while (Date.now() - began < SECONDS * 1000) {
      await sleep(random.between(100, 2_500));
      const choices = disasters(random);
      const [, name, strike] = random.weighted(choices.map((c) => [c[0], c]));
      happened.set(name, (happened.get(name) ?? 0) + 1);
      await strike();
    }
    await traffic.stop();
  } finally {
    traffic.abandoned = true;
    for (const [name, times] of happened) t.diagnostic(`${times} × ${name}`);
    t.diagnostic(String(traffic));
  }
  traffic.assertSane();
  assert.ok(traffic.paid.length > SECONDS / 4, `too quiet: ${traffic}`);
  assert.ok(traffic.paid.every((c) => c.acknowledged));
  await assertWhole(world, traffic.paid, { within: 90_000, resent: true });
  await assertKept(world, traffic.acknowledged);
});

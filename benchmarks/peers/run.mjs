// Runs Slipway and its peers in one run, interleaved, on the same PostgreSQL, the
// same provider and the same signed notifications, and prints medians and ratios.
// See README.md in the folder above.

import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { fatal, eventually, sleep } from '../../tests/system/lib/wait.mjs';
import { Dbos, Express, Restate, Slipway } from './harness/contestants.mjs';
import { cpuSeconds, memory } from './harness/processes.mjs';
import { World } from './harness/world.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const run = promisify(execFile);

const KINDS = { slipway: Slipway, express: Express, dbos: Dbos,
  restate: Restate };

const USAGE = `usage: run.mjs [OPTION…]
  --only NAME[,NAME…]   contestants (${Object.keys(KINDS).join(',')})
  --phases NAME[,NAME…] of callbacks,rate,crash (all)
  --rounds N            of each phase (3)
  --count N             notifications of a round (10000)
  --connections N       (64)
  --rate N              per second of phase rate (half of the fastest peer's)
  --crash N             in flight when the server is killed (5000)
  --limit SECONDS       until all of them have to run (300)
  --deployments N       under way at once (64)
  --processes N         of Node.js for each peer (2)
  --redis-fsync WHEN    everysec, or always: as durable as PostgreSQL (everysec)
  --finished N          subscriptions that run already, in everybody's tables (0)
  --json FILE           every round's figures`;

function options() {
  const number = (value) => ({ type: 'string', default: String(value) });
  const { values } = parseArgs({ options: {
    only: { type: 'string', default: Object.keys(KINDS).join() },
    phases: { type: 'string', default: 'callbacks,rate,crash' },
    rounds: number(3), count: number(10_000), connections: number(64),
    rate: number(0), crash: number(5000), limit: number(300),
    deployments: number(64), processes: number(2),
    'redis-fsync': { type: 'string', default: 'everysec' },
    finished: number(0), json: { type: 'string' },
    help: { type: 'boolean', short: 'h' },
  } });
  if (values.help) {
    console.log(USAGE);
    process.exit(0);
  }
  const of = (name) => Number(values[name]);
  const names = values.only.split(',');
  for (const name of names) {
    if (!KINDS[name]) throw new Error(`no contestant ${name}\n${USAGE}`);
  }
  const slipway = path.resolve(process.env.SLIPWAY_BIN
    ?? path.join(here, '../../build/release/slipway'));
  if (names.includes('slipway') && !fs.existsSync(slipway)) {
    throw new Error(`no server at ${slipway}: build it (./run build) or set `
      + 'SLIPWAY_BIN');
  }
  return { names, phases: values.phases.split(','), json: values.json,
    rounds: of('rounds'), count: of('count'), connections: of('connections'),
    rate: of('rate'), crash: of('crash'), limit: of('limit'),
    deployments: of('deployments'), processes: of('processes'),
    finished: of('finished'), redisFsync: values['redis-fsync'],
    slipway,
    load: process.env.BENCH_LOAD?.split(' ')
      ?? [process.execPath, path.join(here, 'harness/load.mjs')] };
}

const how = options();
const say = (text) => process.stderr.write(`${text}\n`);

// -- one turn of one contestant ------------------------------------------------

/** Posts the notifications of a batch from a process of its own. */
async function notify(contestant, { file, orders }, rate = 0) {
  const [command, ...args] = how.load;
  const { stdout } = await run(command, [...args,
    '--port', String(contestant.port), '--bodies', file,
    '--connections', String(how.connections), '--rate', String(rate),
    '--limit', String(how.limit)]);
  const report = JSON.parse(stdout);
  if (report.failed) {
    throw new Error(`${contestant.name}: ${report.failed} of ${orders.length} `
      + `not acknowledged: ${report.firstFailure}\n${contestant.program.log}`);
  }
  return report;
}

/** Waits until all of a batch run; how many seconds after `since`. */
async function allRunning(contestant, { orders, first, last }, since) {
  let running = 0;
  try {
    await eventually('all run', async () => {
      ({ running } = await contestant.count(first, last));
      return running >= orders.length;
    }, { within: how.limit * 1000, every: 100 });
  } catch {
    // What does not run by then is lost.
    say(`${contestant.name}: ${running} of ${orders.length} run\n${
      contestant.program.log.slice(-4000)}`);
  }
  return { seconds: (performance.now() - since) / 1000,
    lost: orders.length - running };
}

/** What was acknowledged has to be in the database. */
async function assertActive(contestant, { orders, first, last }) {
  const { active } = await contestant.count(first, last);
  if (active !== orders.length) {
    throw fatal(`${contestant.name}: ${orders.length} acknowledged, ${active} `
      + 'active');
  }
}

/** CPU of the contestant, its stores, and PostgreSQL. */
function cpuOf(world, contestant) {
  return cpuSeconds([...contestant.server, ...contestant.stores])
    + world.postgresCpu();
}

const everythingOf = (contestant) => memory([...contestant.server,
  ...contestant.stores]);

/**
 * Nobody deploys while the notifications come in, because the provider keeps
 * its answers to itself; then it answers.
 */
async function callbacksTurn(world, contestant, batch) {
  const { calls } = await world.control('hold', { forget: true });
  const idle = memory(contestant.server);
  const idleAll = everythingOf(contestant);
  const cpu = cpuOf(world, contestant);
  const report = await notify(contestant, batch);
  await assertActive(contestant, batch);
  const flight = memory(contestant.server);
  const flightAll = everythingOf(contestant);
  const released = performance.now();
  await world.control('answer');
  const drained = await allRunning(contestant, batch, released);
  const n = batch.orders.length;
  const after = await world.control();
  const total = (of) => Object.values(of).reduce((sum, x) => sum + x, 0);
  return { perSecond: report.perSecond, p50: report.p50, p99: report.p99,
    p999: report.p999, idle, idleAll,
    flight: ((flight - idle) * 1024) / n,
    flightAll: ((flightAll - idleAll) * 1024) / n,
    running: (n - drained.lost) / drained.seconds,
    cpu: ((cpuOf(world, contestant) - cpu) * 1000) / n,
    calls: (total(after.calls) - total(calls)) / n,
    lost: drained.lost, doubled: after.doubled };
}

async function rateTurn(world, contestant, batch, rate) {
  await world.control('answer', { forget: true });
  const cpu = cpuOf(world, contestant);
  const begun = performance.now();
  const report = await notify(contestant, batch, rate);
  await assertActive(contestant, batch);
  const drained = await allRunning(contestant, batch, begun);
  return { p50: report.p50, p99: report.p99, p999: report.p999,
    cpu: ((cpuOf(world, contestant) - cpu) * 1000) / batch.orders.length,
    lost: drained.lost, doubled: (await world.control()).doubled };
}

/** kill -9 while all are paid for and none runs. */
async function crashTurn(world, contestant, batch) {
  await world.control('hold', { forget: true });
  await notify(contestant, batch);
  // So that the provider's answers to the first of them are lost with certainty.
  await sleep(500);
  await contestant.kill();
  // Whoever asked is gone, and what they asked for has happened.
  await world.control('drop');
  await world.control('answer');
  const begun = performance.now();
  await contestant.start();
  const ready = (performance.now() - begun) / 1000;
  const recovered = await allRunning(contestant, batch, begun);
  const after = await world.control();
  return { ready, seconds: recovered.seconds, lost: recovered.lost,
    doubled: after.doubled };
}

// -- the run -------------------------------------------------------------------

const median = (values) => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle]
    : (sorted[middle - 1] + sorted[middle]) / 2;
};

/** The orders that each turn pays: the same numbers for everybody. */
async function makeBatches(world, contestants) {
  const slipway = contestants.find((c) => c.name === 'slipway');
  const batches = [];
  await slipway?.start();
  if (how.finished) {
    for (const contestant of contestants) {
      say(`${contestant.name}: ${how.finished} that run already`);
      await contestant.finish(how.finished);
    }
  }
  for (const phase of how.phases) {
    const count = phase === 'crash' ? how.crash : how.count;
    for (let round = 0; round < how.rounds; ++round) {
      say(`preparing ${phase}, round ${round + 1}: ${count} orders`);
      const of = {};
      if (slipway) of.slipway = await slipway.order(count);
      const orders = of.slipway?.orders ?? Array.from({ length: count },
        (_, i) => `bench-${phase}-${round}-${i}`);
      for (const peer of contestants) {
        if (peer !== slipway) of[peer.name] = await peer.seed(orders);
      }
      const file = await world.notifications(`${phase}-${round}.txt`, orders);
      batches.push({ phase, round, of, file });
    }
  }
  await slipway?.stop();
  return batches;
}

async function play(world, contestants, batches) {
  const results = Object.fromEntries(how.phases.map((phase) => [phase,
    Object.fromEntries(contestants.map((c) => [c.name, []]))]));
  let rate = how.rate;
  for (const { phase, round, of, file } of batches) {
    if (phase === 'rate' && !rate) {
      const peers = contestants.filter((c) => c.name !== 'slipway'
        && results.callbacks?.[c.name].length);
      if (!peers.length) throw new Error('phase rate needs --rate N');
      rate = Math.round(Math.max(...peers.map((c) => median(
        results.callbacks[c.name].map((r) => r.perSecond)))) / 2);
    }
    // Nobody is always the first or always after the same one.
    const turn = round % contestants.length;
    for (const contestant of [...contestants.slice(turn),
      ...contestants.slice(0, turn)]) {
      const batch = { ...of[contestant.name], file };
      // What one has left behind must not be written out on another's time.
      world.postgres.sql('CHECKPOINT');
      await contestant.start();
      const begun = performance.now();
      const result = await { callbacks: callbacksTurn, rate: rateTurn,
        crash: crashTurn }[phase](world, contestant, batch, rate);
      results[phase][contestant.name].push(result);
      await contestant.stop();
      say(`${phase}, round ${round + 1}, ${contestant.name}: ${
        Object.entries(result).map(([k, v]) => `${k} ${printed(v)}`)
          .join(', ')} (${printed((performance.now() - begun) / 1000)} s)`);
    }
  }
  return { results, rate };
}

// -- tables --------------------------------------------------------------------

const printed = (x) => (Math.abs(x) >= 100 ? x.toFixed(0)
  : Math.abs(x) >= 10 ? x.toFixed(1) : x.toFixed(2));

const COLUMNS = {
  callbacks: [['callbacks/s', 'perSecond'], ['p50 ms', 'p50'],
    ['p99 ms', 'p99'], ['p99.9 ms', 'p999'],
    ['workflows to running/s', 'running'],
    ['provider calls each', 'calls'],
    ['CPU s per 1000, PostgreSQL\'s included', 'cpu'],
    ['idle MiB', 'idle'], ['KiB each in flight', 'flight'],
    ['idle MiB with stores', 'idleAll'],
    ['KiB each with stores', 'flightAll'],
    ['lost', 'lost'], ['doubled', 'doubled']],
  rate: [['p50 ms', 'p50'], ['p99 ms', 'p99'], ['p99.9 ms', 'p999'],
    ['CPU s per 1000, PostgreSQL\'s included', 'cpu'], ['lost', 'lost'],
    ['doubled', 'doubled']],
  crash: [['seconds until it answers', 'ready'],
    ['seconds until all run', 'seconds'], ['lost', 'lost'],
    ['doubled', 'doubled']],
};

/** `14000 (7.1)`: the figure, and Slipway's as a multiple of this one. */
function cell(key, values, slipway) {
  // One lost among three rounds is one lost.
  const of = ['lost', 'doubled'].includes(key) ? (v) => Math.max(...v) : median;
  const own = of(values.map((r) => r[key]));
  if (!slipway?.length || slipway === values || ['lost', 'doubled', 'calls']
    .includes(key)) return printed(own);
  const ratio = of(slipway.map((r) => r[key])) / own;
  return `${printed(own)} (× ${printed(ratio)})`;
}

function table(phase, results) {
  const columns = COLUMNS[phase];
  const names = Object.keys(results);
  return [`| | ${names.join(' | ')} |`, `|---|${'---|'.repeat(names.length)}`,
    ...columns.map(([title, key]) => `| ${title} | ${names.map((name) => cell(
      key, results[name], results.slipway)).join(' | ')} |`)].join('\n');
}

function print({ results, rate }, busy) {
  console.log(`${os.cpus().length} cores, ${(os.totalmem() / 2 ** 30).toFixed(0)
  } GiB, Node.js ${process.version}, load average before the start ${
    busy.toFixed(1)}. Medians over ${how.rounds} rounds of ${how.count}; ${
    how.connections} connections, ${how.deployments} deployments at once, ${
    how.processes} processes of each peer, appendfsync ${how.redisFsync}, ${
    how.finished} finished.\nIn parentheses: Slipway's figure divided by this `
    + 'one.');
  const titles = { callbacks: 'Closed loop, then all of them deployed',
    rate: `At ${rate} notifications a second, deployed meanwhile`,
    crash: `kill -9 with ${how.crash} in flight` };
  for (const [phase, of] of Object.entries(results)) {
    console.log(`\n### ${titles[phase]}\n\n${table(phase, of)}`);
  }
}

async function main() {
  const [busy] = os.loadavg();
  const world = await World.start();
  const contestants = how.names.map((name) => new KINDS[name](world, how));
  try {
    for (const contestant of contestants) {
      say(`setting up ${contestant.name}`);
      await contestant.prepare();
    }
    const batches = await makeBatches(world, contestants);
    const played = await play(world, contestants, batches);
    print(played, busy);
    if (how.json) fs.writeFileSync(how.json, JSON.stringify(played, null, 1));
  } finally {
    for (const contestant of contestants) await contestant.close();
    await world.stop();
  }
}

await main();

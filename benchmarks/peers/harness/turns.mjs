// One turn of one contestant in each phase, and what it is told by.

import fs from 'node:fs';
import path from 'node:path';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { eventually, fatal } from '../../../tests/system/lib/wait.mjs';
import { Program, cpuSeconds, memory } from './processes.mjs';

const run = promisify(execFile);

/** Posts the notifications of a batch from a process of its own. */
async function notify(how, contestant, { file, orders }, { rate = 0,
  again = 0 } = {}) {
  const [command, ...args] = how.load;
  const { stdout } = await run(command, [...args,
    '--port', String(contestant.port), '--bodies', file,
    '--connections', String(how.connections), '--rate', String(rate),
    '--limit', String(Math.max(how.limit, orders.length / 100)),
    ...(again ? ['--again', String(again)] : [])], { maxBuffer: 2 ** 24 });
  const report = JSON.parse(stdout);
  if (report.failed) {
    throw fatal(`${report.failed} of ${orders.length} not acknowledged: ${
      report.firstFailure}`);
  }
  return { ...report,
    generator: ((report.cpuSeconds ?? NaN) * 1000) / orders.length };
}

/** Waits until all of a batch run; how many seconds after `since`. */
async function allRunning(how, contestant, { orders, first, last }, since) {
  try {
    await eventually('all run', () => contestant.allRun(first, last),
      { within: how.limit * 1000, every: 50 });
  } catch {
    // What does not run by then is lost.
  }
  const seconds = (performance.now() - since) / 1000;
  const { running } = await contestant.count(first, last);
  if (running < orders.length) {
    how.say(`${contestant.label}: ${running} of ${orders.length} run\n${
      contestant.log.slice(-4000)}`);
  }
  return { seconds, lost: orders.length - running };
}

/** How many projects were made twice; shows what led to it. */
async function doubledBy(how, world, contestant) {
  const { doubled } = await world.control();
  if (doubled > 0) {
    how.say(`${contestant.label}: ${doubled} doubled\n${
      contestant.log.slice(-4000)}`);
  }
  return doubled;
}

/** What was acknowledged has to be in the database. */
async function assertActive(contestant, { orders, first, last }) {
  const { active } = await contestant.count(first, last);
  if (active !== orders.length) {
    throw fatal(`${orders.length} acknowledged, ${active} active`);
  }
}

/** CPU of the contestant, its stores, and PostgreSQL. */
const cpuOf = (world, contestant) => cpuSeconds([...contestant.server,
  ...contestant.stores]) + world.postgresCpu();

const everythingOf = (contestant) => memory([...contestant.server,
  ...contestant.stores]);

const total = (of) => Object.values(of).reduce((sum, x) => sum + x, 0);

/** KiB for each of `n`. */
const kibEach = (after, before, n) => ((after - before) * 1024) / n;

/** Memory before and right after a batch is acknowledged, none of it deployed. */
async function fly(how, world, contestant, batch, load) {
  const idle = memory(contestant.server);
  const idleAll = everythingOf(contestant);
  const report = await notify(how, contestant, batch, load);
  const flight = memory(contestant.server);
  const flightAll = everythingOf(contestant);
  await assertActive(contestant, batch);
  const n = batch.orders.length;
  return { report, idle: idle.shared, idleResident: idle.resident,
    idleAll: idleAll.shared,
    flight: kibEach(flight.shared, idle.shared, n),
    flightAll: kibEach(flightAll.shared, idleAll.shared, n) };
}

/**
 * Nobody deploys while the notifications come in, because the provider keeps
 * its answers to itself; then it answers.
 */
export async function callbacksTurn(how, world, contestant, batch) {
  const before = await world.control('hold', { forget: true });
  if (contestant.isLimit) {
    const { perSecond, p50, p99, p999, generator } = await notify(how,
      contestant, batch);
    return { perSecond, p50, p99, p999, generator };
  }
  const cpu = cpuOf(world, contestant);
  const { report, ...sizes } = await fly(how, world, contestant, batch);
  const paid = cpuOf(world, contestant);
  const released = performance.now();
  await world.control('answer');
  const drained = await allRunning(how, contestant, batch, released);
  const n = batch.orders.length;
  const after = await world.control();
  const { perSecond, p50, p99, p999, generator } = report;
  return { perSecond, p50, p99, p999, ...sizes, generator,
    running: (n - drained.lost) / drained.seconds,
    paidCpu: ((paid - cpu) * 1000) / n,
    cpu: ((cpuOf(world, contestant) - cpu) * 1000) / n,
    provider: ((after.cpuSeconds - before.cpuSeconds) * 1000) / n,
    calls: (total(after.calls) - total(before.calls)) / n,
    lost: drained.lost,
    doubled: await doubledBy(how, world, contestant) };
}

/** Open loop, deployed meanwhile. */
export async function rateTurn(how, world, contestant, batch, rate) {
  await world.control('answer', { forget: true });
  const cpu = cpuOf(world, contestant);
  const begun = performance.now();
  const { p50, p99, p999, max, generator } = await notify(how, contestant,
    batch, { rate });
  await assertActive(contestant, batch);
  const drained = await allRunning(how, contestant, batch, begun);
  return { p50, p99, p999, max, generator,
    cpu: ((cpuOf(world, contestant) - cpu) * 1000) / batch.orders.length,
    lost: drained.lost,
    doubled: await doubledBy(how, world, contestant) };
}

/** The provider has been asked and keeps the answer to itself. */
const isAsked = (world) => eventually('the provider is asked',
  async () => (await world.control()).held > 0, { within: 60_000 });

/**
 * kill -9 while all are paid for and none runs. Before it, as many without the
 * kill: what the provider and the deployments themselves take.
 */
export async function crashTurn(how, world, contestant, batch) {
  await world.control('hold', { forget: true });
  await notify(how, contestant, batch.undisturbed);
  await isAsked(world);
  const released = performance.now();
  await world.control('answer');
  const undisturbed = await allRunning(how, contestant, batch.undisturbed,
    released);

  await world.control('hold', { forget: true });
  await notify(how, contestant, batch);
  // So that an answer of the provider's is lost with certainty.
  await isAsked(world);
  await contestant.kill();
  // Whoever asked is gone, and what they asked for has happened.
  await world.control('drop');
  await world.control('answer');
  const begun = performance.now();
  await contestant.start();
  const ready = (performance.now() - begun) / 1000;
  const recovered = await allRunning(how, contestant, batch, begun);
  const after = await world.control();
  return { ready, seconds: recovered.seconds, undisturbed: undisturbed.seconds,
    beyond: recovered.seconds - undisturbed.seconds,
    lost: recovered.lost + undisturbed.lost, doubled: after.doubled };
}

/** How much memory so many take; they are never deployed. */
export async function memoryTurn(how, world, contestant, batch) {
  await world.control('hold', { forget: true });
  // Who is told that there is no room comes again, as gateways do.
  const { report, ...sizes } = await fly(how, world, contestant, batch,
    { again: 1 });
  const live = await contestant.metric?.('slipway_actors{kind="supervisor"}');
  await contestant.kill();
  await world.control('drop');
  return { perSecond: report.perSecond, repeats: report.repeats, ...sizes,
    ...(live === undefined ? {} : { live }) };
}

/**
 * Streams of events are open while the notifications come in, some of which are
 * about what is watched.
 * @param batch.watchers how many
 */
export async function watchTurn(how, world, contestant, batch) {
  await world.control('hold', { forget: true });
  const before = memory(contestant.server).shared;
  const { watchers } = batch;
  const out = { };
  let watching;
  let seen;
  if (watchers) {
    const streams = world.file(`${contestant.label}/streams.txt`, Array.from(
      { length: watchers }, (_, n) => `/api/deployment/events/${
        batch.ids(n)} ${contestant.bearer(contestant.userOf(n))}`)
      .join('\n'));
    seen = world.file(`${contestant.label}/seen.txt`, '');
    watching = new Program(path.join(how.programs, 'slipway_watch'), [
      '--port', String(contestant.port), '--streams', streams, '--out', seen,
      '--limit', String(how.limit)], { stdio: ['pipe', 'pipe', 'pipe'] });
    try {
      await watching.until('every stream is open',
        () => watching.log.includes(`open ${watchers}`));
    } catch (error) {
      const refused = /refused (\d+)/.exec(watching.log)?.[1];
      if (!refused) throw error;
      return { refused: Number(refused) };
    }
    out.watcher = kibEach(memory(contestant.server).shared, before, watchers);
  }
  const report = await notify(how, contestant, batch);
  Object.assign(out, { perSecond: report.perSecond, p50: report.p50,
    p99: report.p99 });
  await assertActive(contestant, batch);
  if (watching) {
    // It ends by itself once every stream has told of the payment.
    try {
      await eventually('every stream has told', () => !watching.running,
        { within: 30_000 });
    } catch {
      watching.stdin.end('stop\n');
    }
    await watching.exited;
    Object.assign(out, await delays(contestant, batch, seen));
  }
  const released = performance.now();
  await world.control('answer');
  const { lost } = await allRunning(how, contestant, batch, released);
  return { ...out, lost };
}

/** From when the server has learnt of a payment to when its stream said so. */
async function delays(contestant, { first, step, watchers }, seen) {
  const { rows } = await contestant.db.query(`
    SELECT (extract(epoch FROM queued_at) * 1000)::float8 AS at
    FROM subscriptions
    WHERE id BETWEEN $1 AND $1::bigint + $2::bigint * $3::bigint
    ORDER BY id`, [first, step, watchers - 1]);
  const told = fs.readFileSync(seen, 'utf8').trim().split('\n')
    .map((line) => Number(line.split(' ')[0]));
  const all = told.flatMap((at, n) => (at ? [at - rows[n].at] : []))
    .sort((a, b) => a - b);
  const at = (share) => all[Math.max(Math.ceil(share * all.length) - 1, 0)];
  return { untold: watchers - all.length, delay50: at(0.5), delay99: at(0.99),
    delayMax: all.at(-1) };
}

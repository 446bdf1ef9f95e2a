// Runs Slipway, its peers and the limits in one run, interleaved, on the same
// PostgreSQL, the same provider and the same signed notifications, and prints
// medians and ratios. See README.md in the folder above.

import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Bare, PgBatched, PgSingle, Rsa } from './harness/limits.mjs';
import { Dbos, Express, Restate } from './harness/peers.mjs';
import { fastest, machineNow, median, printed, replaceBetween, report }
  from './harness/report.mjs';
import { Slipway } from './harness/slipway.mjs';
import { callbacksTurn, crashTurn, memoryTurn, rateTurn, watchTurn }
  from './harness/turns.mjs';
import { World } from './harness/world.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));

const KINDS = { slipway: Slipway, express: Express, dbos: Dbos,
  restate: Restate, bare: Bare, pgbench_64: PgBatched, pgbench_1: PgSingle,
  rsa: Rsa };

const PHASES = ['callbacks', 'rate', 'crash', 'memory', 'growth', 'watch'];

const FULL = { rounds: '5', count: '20000', crash: '5000',
  'in-flight': '10000,100000,1000000', growth: '1000,1000000,10000000',
  watchers: '0,1000,10000' };

const QUICK = { rounds: '1', count: '4000', crash: '1000',
  'in-flight': '10000', growth: '1000,100000', watchers: '0,500' };

const USAGE = `usage: ./run bench [OPTION…]      (./run bench micro: single steps)
  --quick               few minutes, small numbers: in parentheses below
  --only NAME[,NAME…]   of ${Object.keys(KINDS).join(',')}
  --phases NAME[,NAME…] of ${PHASES.join(',')}
  --rounds N            of each phase (${FULL.rounds}; ${QUICK.rounds})
  --count N             notifications of a round (${FULL.count}; ${QUICK.count})
  --connections N       (64)
  --rate N              per second of phase rate (half of the fastest peer's)
  --crash N             in flight when the server is killed (${FULL.crash}; ${
  QUICK.crash})
  --in-flight N[,N…]    of phase memory (${FULL['in-flight']}; ${
  QUICK['in-flight']})
  --peers-in-flight N   peers take part up to so many (100000)
  --growth N[,N…]       finished subscriptions of phase growth (${
  FULL.growth}; ${QUICK.growth})
  --grow NAME[,NAME…]   who takes part in phase growth (slipway)
  --watchers N[,N…]     open streams of phase watch (${FULL.watchers}; ${
  QUICK.watchers})
  --limit SECONDS       until all of them have to run (300)
  --deployments N       under way at once (64)
  --processes N         of Node.js for each peer (2)
  --redis-fsync WHEN    everysec, or always: as durable as PostgreSQL (everysec)
  --finished N          subscriptions that run already, in everybody's tables, in
                        the phases callbacks, rate and crash (0)
  --restarted           the server starts after the orders were taken, by one that
                        has ended since
  --programs DIR        of slipway_load and the others
  --json FILE           every round's figures
  --update-readme       writes the result into benchmarks/README.md`;

function options() {
  const text = (value) => ({ type: 'string', default: value });
  const flag = { type: 'boolean', default: false };
  const { values } = parseArgs({ options: {
    quick: flag, restarted: flag, only: text(Object.keys(KINDS).join()),
    phases: text(PHASES.join()), connections: text('64'), rate: text('0'),
    'peers-in-flight': text('100000'), grow: text('slipway'),
    limit: text('300'), deployments: text('64'), processes: text('2'),
    'redis-fsync': text('everysec'), finished: text('0'),
    programs: text(path.join(here, '../../build/release/benchmarks')),
    json: { type: 'string' }, 'update-readme': flag,
    ...Object.fromEntries(Object.keys(FULL).map((name) => [name,
      { type: 'string' }])),
    help: { type: 'boolean', short: 'h' },
  } });
  if (values.help) {
    console.log(USAGE);
    process.exit(0);
  }
  const of = (name) => values[name] ?? (values.quick ? QUICK : FULL)[name];
  const number = (name) => {
    const x = Number(of(name));
    if (!Number.isFinite(x) || x < 0) throw new Error(`--${name} ${of(name)}?`);
    return x;
  };
  const list = (name) => of(name).split(',');
  const numbers = (name) => list(name).map(Number).sort((a, b) => a - b);
  const known = (name, names) => list(name).map((x) => {
    if (!names.includes(x)) throw new Error(`--${name}: no ${x}\n${USAGE}`);
    return x;
  });
  const programs = path.resolve(values.programs);
  const slipway = path.resolve(process.env.SLIPWAY_BIN
    ?? path.join(here, '../../build/release/slipway'));
  const names = known('only', Object.keys(KINDS));
  for (const file of [path.join(programs, 'slipway_load'),
    path.join(programs, 'slipway_provider'),
    ...(names.includes('slipway') ? [slipway] : [])]) {
    if (!fs.existsSync(file)) throw new Error(`${file} is not built: ./run bench`);
  }
  const out = { names, slipway, programs, quick: values.quick,
    restarted: values.restarted,
    phases: known('phases', PHASES), json: values.json,
    updateReadme: values['update-readme'], rounds: number('rounds'),
    count: number('count'), connections: number('connections'),
    rate: number('rate'), crash: number('crash'),
    inFlight: numbers('in-flight'), peersInFlight: number('peers-in-flight'),
    growth: numbers('growth'), grow: known('grow', Object.keys(KINDS)),
    watchers: numbers('watchers'), limit: number('limit'),
    deployments: number('deployments'), processes: number('processes'),
    finished: number('finished'), redisFsync: values['redis-fsync'],
    load: process.env.BENCH_LOAD?.split(' ')
      ?? [path.join(programs, 'slipway_load')],
    provider: process.env.BENCH_PROVIDER?.split(' ')
      ?? [path.join(programs, 'slipway_provider')],
    say: (line) => process.stderr.write(`${line}\n`) };
  if (out.phases.includes('watch') && Math.max(...out.watchers) > out.count) {
    throw new Error(`--watchers: up to ${out.count}, the --count, are expected`);
  }
  return out;
}

const how = options();
const { say } = how;

/** Whoever has been started and is to be stopped whatever happens. */
const open = new Set();

async function add(Kind, world, suffix = '', more = {}) {
  const contestant = new Kind(world, { ...how, ...more }, suffix);
  open.add(contestant);
  say(`setting up ${contestant.label}`);
  try {
    await contestant.prepare();
  } catch (error) {
    throw blame(contestant, 'setting up', error);
  }
  return contestant;
}

async function remove(contestant) {
  open.delete(contestant);
  await contestant.close();
}

const blame = (contestant, when, error) => new Error(`${contestant.label}, ${
  when}: ${error.message}\n${contestant.log.slice(-4000)}`);

// -- rounds --------------------------------------------------------------------

/** Numbers and signed notifications. */
async function makeBatch(world, count, name) {
  say(`preparing ${name}: ${count} notifications`);
  const batch = world.take(count);
  return { ...batch, file: await world.notifications(`${name}.txt`,
    batch.orders) };
}

/**
 * Everybody takes a turn in every round, and nobody is always the first or
 * always after the same one.
 * @param players [{contestant, into, batches, turn}]: `into` takes the figures
 */
async function play(world, phase, round, players) {
  const first = round % players.length;
  for (const { contestant, title, into, batches, turn } of [...players.slice(first),
    ...players.slice(0, first)]) {
    const name = title ?? contestant.label;
    try {
      // Whoever took the orders is there when they are paid, as a rule.
      if (!how.restarted) await contestant.start();
      for (const batch of batches) await contestant.seed(batch);
      if (how.restarted) await contestant.start();
      await world.checkpoint();
      const begun = performance.now();
      const result = await turn();
      await contestant.stop();
      into.push(result);
      say(`${phase}, round ${round + 1}, ${name}: ${Object.entries(result)
        .map(([k, v]) => `${k} ${printed(v)}`).join(', ')} (${
        printed((performance.now() - begun) / 1000)} s)`);
    } catch (error) {
      throw blame(contestant, `${phase}, round ${round + 1}`, error);
    }
  }
}

const TURNS = { callbacks: callbacksTurn, rate: rateTurn, crash: crashTurn };

/** The phases in which all play in tables that they have from the beginning. */
async function playTogether(world, contestants, phase, results) {
  const servers = contestants.filter((c) => phase === 'callbacks' || !c.isLimit);
  if (!servers.length) return;
  if (phase === 'rate') {
    const peer = fastest(results);
    results.rateAt = how.rate || (peer && Math.round(median(
      results.callbacks[peer].map((r) => r.perSecond)) / 2));
    if (!results.rateAt) {
      results.notes.push('phase rate needs a peer\'s callbacks or --rate');
      return;
    }
  }
  const out = results[phase] = Object.fromEntries(servers.map((c) => [c.name,
    []]));
  const count = phase === 'crash' ? how.crash : how.count;
  for (let round = 0; round < how.rounds; ++round) {
    const batch = await makeBatch(world, count, phase);
    const batches = [batch];
    if (phase === 'crash') {
      batch.undisturbed = await makeBatch(world, count, 'undisturbed');
      batches.push(batch.undisturbed);
    }
    await play(world, phase, round, servers.map((contestant) => ({ contestant,
      into: out[contestant.name], batches,
      turn: () => (contestant.turn ? contestant.turn()
        : TURNS[phase](how, world, contestant, batch, results.rateAt)) })));
  }
}

/** Each level in tables of its own, because nothing of it is ever deployed. */
async function playMemory(world, results) {
  results.memory = {};
  for (const level of how.inFlight) {
    const kinds = how.names.map((name) => KINDS[name]).filter((Kind) => (
      Kind === Slipway || (!new Kind(world, how).isLimit
        && level <= how.peersInFlight)));
    const contestants = [];
    for (const Kind of kinds) {
      contestants.push(await add(Kind, world, `_m${level}`));
    }
    const out = results.memory[level] = Object.fromEntries(contestants.map((c) => [
      c.name, []]));
    const batch = await makeBatch(world, level, 'memory');
    await play(world, `memory ${level}`, 0, contestants.map((contestant) => ({
      contestant, batches: [batch], into: out[contestant.name],
      turn: () => memoryTurn(how, world, contestant, batch) })));
    for (const contestant of contestants) await remove(contestant);
    fs.rmSync(batch.file);
  }
}

/** A database for each level, and turns between them. */
async function playGrowth(world, results) {
  results.growth = {};
  const players = [];
  for (const name of how.grow) {
    results.growth[name] = {};
    for (const level of how.growth) {
      const contestant = await add(KINDS[name], world, `_g${level}`);
      if (contestant.bytesEach && level >= 1_000_000) {
        const each = await contestant.bytesEach();
        // Some more for what sorting and the log take meanwhile: indexes are made
        // one after the other, and the largest is a twentieth of it all.
        const need = (each * level * 1.1 + 4e9) / 1e9;
        const free = world.freeBytes() / 1e9;
        say(`${contestant.label}: ${printed(each)} bytes each, needs ${
          printed(need)} GB of ${printed(free)}`);
        if (need > free) {
          results.notes.push(`${level} finished subscriptions take ${
            printed(need)} GB of disk, and ${printed(free)} are free`);
          await remove(contestant);
          continue;
        }
      }
      say(`${contestant.label}: ${level} that run already`);
      const begun = performance.now();
      await contestant.finish(level);
      say(`  took ${printed((performance.now() - begun) / 1000)} s`);
      players.push({ contestant, into: results.growth[name][level] = [] });
    }
  }
  for (let round = 0; players.length && round < how.rounds; ++round) {
    const batch = await makeBatch(world, how.count, 'growth');
    await play(world, 'growth', round, players.map((x) => ({ ...x,
      batches: [batch], turn: () => callbacksTurn(how, world, x.contestant, batch) })));
  }
  for (const { contestant } of players) await remove(contestant);
}

/** One server; what takes turns is how many watch. */
async function playWatch(world, results) {
  const most = Math.max(...how.watchers);
  // A server of before there were streams does not know their limits, either.
  const probe = await add(Slipway, world, '_probe');
  await probe.start();
  const status = await probe.watchStatus();
  await remove(probe);
  if (status !== 200) {
    results.notes.push('watchers, because GET /api/deployment/events/… '
      + `answers ${status}`);
    return;
  }
  const contestant = await add(Slipway, world, '_watch', { limits: {
    max_connections: 2 * most + 1000, max_watchers: most + 100 } });
  results.watch = Object.fromEntries(how.watchers.map((n) => [n, []]));
  for (let round = 0; round < how.rounds; ++round) {
    const players = [];
    for (const watchers of how.watchers.filter((n) => results.watch[n])) {
      const batch = await makeBatch(world, how.count, `watch-${watchers}`);
      const into = [];
      players.push({ contestant, title: `${watchers} watchers`, into, watchers,
        batches: [batch], turn: () => watchTurn(how, world, contestant, { ...batch, watchers }) });
    }
    await play(world, 'watch', round, players);
    for (const { into: [result], watchers } of players) {
      if (result.refused) {
        results.notes.push(`${watchers} watchers, because a stream was answered ${
          result.refused}`);
        delete results.watch[watchers];
      } else {
        results.watch[watchers].push(result);
      }
    }
  }
  if (!Object.keys(results.watch).some((n) => n > 0)) delete results.watch;
  await remove(contestant);
}

async function playAll(world, results) {
  const together = how.phases.filter((phase) => TURNS[phase]);
  if (together.length) {
    const contestants = [];
    for (const name of how.names) {
      const contestant = await add(KINDS[name], world);
      contestants.push(contestant);
      if (how.finished && contestant.finish) {
        say(`${name}: ${how.finished} that run already`);
        await contestant.finish(how.finished);
      }
    }
    for (const phase of together) {
      await playTogether(world, contestants, phase, results);
    }
    for (const contestant of contestants) await remove(contestant);
  }
  if (how.phases.includes('memory')) await playMemory(world, results);
  const slipway = how.names.includes('slipway');
  if (how.phases.includes('growth') && slipway) await playGrowth(world, results);
  if (how.phases.includes('watch') && slipway) await playWatch(world, results);
}

async function main() {
  const machine = machineNow();
  const results = { notes: [] };
  const world = await World.start(how.provider);
  let failure;
  try {
    await playAll(world, results);
  } catch (error) {
    failure = error;
  } finally {
    for (const contestant of open) {
      await contestant.close().catch((error) => say(error.message));
    }
    await world.stop();
  }
  // What was measured before a failure counts all the same.
  const text = report(results, how, machine);
  console.log(text);
  if (how.json) {
    fs.writeFileSync(how.json, JSON.stringify({ machine, options: how, results },
      null, 1));
  }
  if (failure) {
    say(`\nFAILED: ${failure.message}`);
    process.exitCode = 1;
  } else if (how.updateReadme) {
    replaceBetween(path.join(here, '../README.md'), 'last run', text);
  }
}

await main();

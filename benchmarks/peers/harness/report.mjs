// From every round's figures to tables.

import fs from 'node:fs';
import os from 'node:os';

export const median = (values) => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle]
    : (sorted[middle - 1] + sorted[middle]) / 2;
};

export const printed = (x) => {
  if (x === undefined || Number.isNaN(x)) return '–';
  const size = Math.abs(x);
  if (Number.isInteger(x) && size < 1e4) return String(x);
  return size >= 100 ? x.toFixed(0) : size >= 10 ? x.toFixed(1) : x.toFixed(2);
};

const counted = (n) => String(n).replace(/\B(?=(\d{3})+$)/g, ' ');

/** One lost among three rounds is one lost. */
const WORST = ['lost', 'doubled', 'untold'];

const figure = (rounds, key) => {
  const values = (rounds ?? []).map((r) => r[key])
    .filter((x) => x !== undefined);
  if (!values.length) return undefined;
  return WORST.includes(key) ? Math.max(...values) : median(values);
};

/** The median of what `one` is of `other`, round by round. */
const paired = (one, other, key) => {
  const ratios = (one ?? []).flatMap((r, i) => (
    r[key] === undefined || other?.[i]?.[key] === undefined ? []
      : [r[key] / other[i][key]]));
  return ratios.length ? median(ratios) : undefined;
};

const CPU = "CPU s per 1000, PostgreSQL's included";

const COLUMNS = {
  callbacks: [['callbacks/s', 'perSecond'], ['p50 ms', 'p50'],
    ['p99 ms', 'p99'], ['p99.9 ms', 'p999'],
    ['workflows to running/s', 'running'],
    ['provider calls each', 'calls'],
    [CPU, 'cpu'], ['of it until acknowledged', 'paidCpu'],
    ["load generator's CPU s per 1000", 'generator'],
    ["provider's CPU s per 1000", 'provider'],
    ['idle MiB', 'idle'], ['KiB each in flight', 'flight'],
    ['idle MiB with stores', 'idleAll'],
    ['KiB each with stores', 'flightAll'],
    ['lost', 'lost'], ['doubled', 'doubled']],
  rate: [['p50 ms', 'p50'], ['p99 ms', 'p99'], ['p99.9 ms', 'p999'],
    ['max ms', 'max'], [CPU, 'cpu'],
    ["load generator's CPU s per 1000", 'generator'], ['lost', 'lost'],
    ['doubled', 'doubled']],
  crash: [['seconds until it answers', 'ready'],
    ['seconds until all run', 'seconds'],
    ['seconds undisturbed', 'undisturbed'],
    ['seconds beyond those', 'beyond'], ['lost', 'lost'],
    ['doubled', 'doubled']],
  memory: [['idle MiB', 'idle'], ['KiB each in flight', 'flight'],
    ['KiB each with stores', 'flightAll'],
    ['subscriptions still in memory', 'live'],
    ['notifications that had to come again', 'repeats'],
    ['callbacks/s', 'perSecond']],
  growth: [['callbacks/s', 'perSecond'], ['p50 ms', 'p50'],
    ['p99 ms', 'p99'], ['p99.9 ms', 'p999'],
    ['workflows to running/s', 'running'], [CPU, 'cpu'],
    ['idle MiB', 'idle'], ['lost', 'lost'], ['doubled', 'doubled']],
  watch: [['callbacks/s', 'perSecond'], ['p50 ms', 'p50'],
    ['p99 ms', 'p99'], ['KiB for each watcher', 'watcher'],
    ['event after p50 ms', 'delay50'], ['event after p99 ms', 'delay99'],
    ['event after max ms', 'delayMax'], ['streams that told nothing', 'untold'],
    ['lost', 'lost']],
};

const NO_RATIO = [...WORST, 'calls', 'generator', 'provider', 'live', 'repeats',
  'beyond'];

/**
 * A column for each of `rounds`, {title: rounds}.
 * @param base the title that all others are compared with: `14000 (× 7.1)` is
 *   the figure, and that of the base as a multiple of it
 */
function table(columns, rounds, base) {
  const names = Object.keys(rounds);
  const cell = (key, name) => {
    const own = figure(rounds[name], key);
    if (name === base || NO_RATIO.includes(key)) return printed(own);
    const ratio = paired(rounds[base], rounds[name], key);
    return ratio === undefined ? printed(own)
      : `${printed(own)} (× ${printed(ratio)})`;
  };
  return [`| | ${names.join(' | ')} |`, `|---|${'---|'.repeat(names.length)}`,
    ...columns.filter(([, key]) => names.some((name) => (
      figure(rounds[name], key) !== undefined)))
      .map(([title, key]) => `| ${title} | ${names.map((name) => cell(key,
        name)).join(' | ')} |`)].join('\n');
}

// -- the table that decides ----------------------------------------------------

const PEERS = ['express', 'dbos', 'restate'];

/** The peer with the largest figure. */
export function fastest(results, key = 'perSecond') {
  return PEERS.filter((name) => figure(results.callbacks?.[name], key))
    .sort((a, b) => figure(results.callbacks[b], key)
      - figure(results.callbacks[a], key))[0];
}

const largest = (of) => Object.keys(of ?? {}).map(Number)
  .sort((a, b) => b - a);

function rows(results, how) {
  const own = results.callbacks?.slipway;
  const peer = fastest(results);
  const deployer = fastest(results, 'running');
  const out = [];
  const add = (title, floor, aim, value, { less, unit = '', ok = true } = {}) => {
    const fine = (bound) => ok && (less ? value <= bound : value >= bound);
    out.push({ title, floor: `${printed(floor)}${unit}`,
      aim: `${printed(aim)}${unit}`,
      measured: value === undefined ? 'not measured'
        : `${printed(value)}${unit}`,
      reached: value === undefined ? '–' : fine(aim) ? 'aim'
        : fine(floor) ? 'floor' : 'no' });
  };
  add(`durable callbacks/s against the fastest peer${peer ? ` (${peer})` : ''}`,
    5, 8, paired(own, results.callbacks?.[peer], 'perSecond'), { unit: ' ×' });
  add('callbacks/s against a bare Beast server', 40, 60,
    percent(paired(own, results.callbacks?.bare, 'perSecond')), { unit: ' %' });
  add(`p99 at ${results.rateAt ? counted(results.rateAt) : 'half the peer\'s'}/s${
    peer ? ` against ${peer}` : ''}`, 50, 10,
  percent(paired(results.rate?.slipway, results.rate?.[peer], 'p99')),
  { less: true, unit: ' %' });
  add(`workflows to running/s against the fastest peer${
    deployer ? ` (${deployer})` : ''}`, 3, 5,
  paired(own, results.callbacks?.[deployer], 'running'), { unit: ' ×' });
  const levels = largest(results.memory).filter((n) => n <= 100_000
    && results.memory[n].slipway?.length);
  add(`memory per subscription in flight, ${
    levels.length ? counted(levels[0]) : '100 000'} of them`, 3, 1.5,
  levels.length ? figure(results.memory[levels[0]].slipway, 'flight')
    : undefined, { less: true, unit: ' KiB' });
  add('memory idle', 40, 25, figure(own, 'idleResident')
    ?? (levels.length ? figure(results.memory[levels[0]].slipway, 'idleResident')
      : undefined), { less: true, unit: ' MiB' });
  const crash = results.crash?.slipway;
  const lost = figure(crash, 'lost');
  const doubled = figure(crash, 'doubled');
  add(`after kill -9 with ${counted(how.crash)} in flight, beyond the provider's ${
    'own time'}${crash?.length ? ` (lost ${lost}, doubled ${doubled})` : ''}`,
  5, 2, figure(crash, 'beyond'), { less: true, unit: ' s',
    ok: !lost && !doubled });
  const grown = results.growth?.slipway;
  const sizes = largest(grown).filter((n) => grown[n].length);
  add(`callbacks/s with ${counted(sizes[0] ?? 10_000_000)} finished against ${
    counted(sizes.at(-1) ?? 1000)}`, 85, 95, sizes.length > 1
    ? percent(paired(grown[sizes[0]], grown[sizes.at(-1)], 'perSecond'))
    : undefined, { unit: ' %' });
  return out;
}

function percent(x) {
  return x === undefined ? undefined : x * 100;
}

export function summary(results, how) {
  return ['| figure | floor | aim | measured | reached |', '|---|---|---|---|---|',
    ...rows(results, how).map((r) => `| ${r.title} | ${r.floor} | ${r.aim} | ${
      r.measured} | ${r.reached} |`)].join('\n');
}

// -- all of it -----------------------------------------------------------------

const titled = (of, title) => Object.fromEntries(Object.entries(of)
  .map(([key, value]) => [title(key), value]));

export function report(results, how, machine) {
  const out = [];
  const say = (...lines) => out.push(...lines, '');
  say(`${machine.cores} cores (${machine.model}), ${machine.memory} GiB of memory, `
    + `Node.js ${process.version}, load average before the start ${
      machine.busy.toFixed(1)}. Medians over ${how.rounds} rounds of ${
      counted(how.count)}; ${how.connections} connections, ${
      how.deployments} deployments at once, ${how.processes} processes of each `
    + `peer, appendfsync ${how.redisFsync}.${how.quick
      ? ' A short run: for a look, not for a verdict.' : ''}`);
  say(summary(results, how));
  say('Below, in parentheses: Slipway\'s figure divided by this one, or that of the '
    + 'last column where all are Slipway\'s; the median of the rounds.');
  if (results.callbacks) {
    const { rsa, ...others } = results.callbacks;
    say('**Closed loop, then all of them deployed**');
    say(table(COLUMNS.callbacks, others, 'slipway'));
    const checks = figure(rsa, 'perSecond');
    if (checks) {
      say(`RSA-2048 signature checks of one core: ${printed(checks)}/s.`);
    }
  }
  if (results.rate) {
    say(`**At ${counted(results.rateAt)} notifications a second, deployed ${
      'meanwhile'}**`);
    say(table(COLUMNS.rate, results.rate, 'slipway'));
  }
  if (results.crash) {
    say(`**kill -9 with ${counted(how.crash)} in flight**`);
    say(table(COLUMNS.crash, results.crash, 'slipway'));
  }
  for (const [level, of] of Object.entries(results.memory ?? {})) {
    say(`**Memory with ${counted(level)} in flight**`);
    say(table(COLUMNS.memory, of, 'slipway'));
  }
  for (const [name, of] of Object.entries(results.growth ?? {})) {
    say(`**${name}, with finished subscriptions in the tables**`);
    say(table(COLUMNS.growth, titled(of, counted),
      counted(Object.keys(of).at(-1))));
  }
  if (results.watch) {
    say('**Watchers with an open stream**');
    say(table(COLUMNS.watch, titled(results.watch, counted),
      counted(Object.keys(results.watch).at(-1))));
  }
  for (const note of results.notes) say(`Not measured: ${note}.`);
  return out.join('\n').trimEnd();
}

export const machineNow = () => ({ cores: os.cpus().length,
  model: os.cpus()[0].model.trim(),
  memory: (os.totalmem() / 2 ** 30).toFixed(0), busy: os.loadavg()[0] });

/** Replaces what stands between two marks of a file. */
export function replaceBetween(file, name, text) {
  const whole = fs.readFileSync(file, 'utf8');
  const open = `<!-- ${name} -->`;
  const close = `<!-- /${name} -->`;
  const begin = whole.indexOf(open);
  const end = whole.indexOf(close);
  if (begin < 0 || end < begin) throw new Error(`${file}: no marks ${open}`);
  fs.writeFileSync(file, `${whole.slice(0, begin + open.length)}\n\n${text}\n\n${
    whole.slice(end)}`);
}

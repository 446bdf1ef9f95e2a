// Time and allocations of single steps, and their instructions where valgrind is
// installed: `./run bench micro [FILTER]`.
//
// The counters of the processor are often out of reach, so instructions are
// counted by valgrind: N iterations and twice as many, of which the difference
// counts. Its processor knows fewer instruction sets than a new one, so OpenSSL
// takes another way there than it does natively.

import { spawnSync } from 'node:child_process';
import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { temporaryDirectory } from '../tests/system/lib/cleanup.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const program = process.env.SLIPWAY_MICRO
  ?? path.join(here, '../build/release/benchmarks/slipway_micro');
const filter = process.argv[2] ?? '.';
const ITERATIONS = 500;

const { dir } = temporaryDirectory('slipway-micro-');
const key = path.join(dir, 'key.pem');
fs.writeFileSync(key, crypto.generateKeyPairSync('rsa', { modulusLength: 2048,
  publicKeyEncoding: { type: 'spki', format: 'pem' },
  privateKeyEncoding: { type: 'pkcs8', format: 'pem' } }).privateKey,
{ mode: 0o600 });

function run(command, args) {
  const done = spawnSync(command, args, { encoding: 'utf8',
    maxBuffer: 2 ** 26 });
  if (done.status !== 0) {
    throw new Error(`${command}: ${done.error?.message ?? done.stderr}`);
  }
  return done;
}

function instructions(name, iterations) {
  // Google Benchmark adds the number to the name.
  const { stderr } = run('valgrind', ['--tool=callgrind',
    '--callgrind-out-file=/dev/null', program, `--key=${key}`, `--iterations=${iterations}`,
    `--benchmark_filter=^${name}/iterations:`]);
  const [, collected] = /Collected : (\d+)/.exec(stderr);
  return Number(collected);
}

const hasValgrind = spawnSync('valgrind', ['--version']).status === 0;
const { stdout } = run(program, ['--benchmark_format=json',
  `--benchmark_filter=${filter}`]);
const lines = JSON.parse(stdout).benchmarks.map((x) => {
  const counted = hasValgrind ? Math.round((instructions(x.name, 2 * ITERATIONS)
    - instructions(x.name, ITERATIONS)) / ITERATIONS) : '–';
  return `| ${x.name} | ${x.cpu_time.toFixed(0)} | ${counted} | ${
    x.allocations.toFixed(1)} |`;
});
console.log(['| step | ns | instructions | allocations |', '|---|---|---|---|',
  ...lines].join('\n'));
if (!hasValgrind) console.log('\nNo instructions: valgrind is not installed.');

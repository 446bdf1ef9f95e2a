// The command line: bad configurations, migrate, check, and the environment.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from './lib/suite.mjs';
import { run } from './lib/slipway.mjs';
import { World } from './lib/world.mjs';

let world;
before(async () => { world = await World.start({ start: false }); });
after(() => world?.stop());

let count = 0;

/** The usual configuration as text, changed by `edit`, in a file of its own. */
function config(edit) {
  const file = path.join(world.dir, `config-${count += 1}.toml`);
  fs.writeFileSync(file, edit(fs.readFileSync(world.config, 'utf8')));
  return file;
}

const serve = (file, options) => run(['serve', '--config', file],
  { dir: world.dir, within: 20_000, ...options });

/** The one line that complains about `key`. */
function complaint(result, file, key) {
  const lines = result.output.split('\n').filter((l) => l.includes(key));
  assert.ok(lines.length >= 1, `no line about ${key}:\n${result.output}`);
  const name = path.basename(file);
  assert.ok(lines.some((l) => l.includes(name)),
    `the file is not named:\n${lines.join('\n')}`);
  return lines.find((l) => l.includes(name));
}

test('every mistake is told on its own line, with file, key and expectation',
  async () => {
    const file = config((text) => text
      .replace(/^max_concurrent = .*$/m, 'max_concurrent = "three"')
      .replace(/^poll_interval = .*$/m, 'poll_interval = "5 parsecs"')
      .replace(/^listen = .*$/m, 'listen = "nowhere"')
      .replace(/^app_private_key_file = .*$/m,
        'app_private_key_file = "/does/not/exist.pem"')
      .replace(/^attempts = .*$/m, 'attempts = -1')
      .replace('[payment]', '[payment]\norder_tll = "30m"')
      .replace(/^amount = "99.00"$/m, 'amount = "99.005"')
      + '\n[railwya]\ntoken_file = "x"\n');
    const result = await serve(file);
    assert.equal(result.code, 2, result.output);
    const lines = ['max_concurrent', 'poll_interval', 'listen', 'attempts',
      'app_private_key_file', 'order_tll', 'amount', 'railwya']
      .map((key) => complaint(result, file, key));
    assert.equal(new Set(lines).size, lines.length, 'mistakes share lines');
    assert.match(complaint(result, file, 'order_tll'), /order_ttl/,
      'the nearest known key is named');
    assert.match(complaint(result, file, 'railwya'), /railway\b/);
  });

test('a file that is no TOML: exit 2, with the place', async () => {
  const file = config((text) => `${text}\n[unfinished\nx = \n`);
  const result = await serve(file);
  assert.equal(result.code, 2, result.output);
  assert.ok(result.output.includes(path.basename(file)));
  assert.match(result.output, /\d+/);
});

test('a file that is not there, and one that is a directory: exit 2',
  async () => {
    for (const file of [path.join(world.dir, 'missing.toml'), world.dir]) {
      const result = await serve(file);
      assert.equal(result.code, 2, result.output);
      assert.ok(result.output.includes(path.basename(file)));
    }
  });

test('a key that is too short for its purpose is refused', async () => {
  const short = path.join(world.dir, 'short.key');
  fs.writeFileSync(short, Buffer.alloc(16, 7));
  const file = config((text) => text.replace(/^credential_keys = .*$/m,
    `credential_keys = ["k1:${short}"]`));
  const result = await serve(file);
  assert.equal(result.code, 2, result.output);
  complaint(result, file, 'credential_keys');
});

test('a private key that is none is refused and not shown', async () => {
  const bad = path.join(world.dir, 'bad.pem');
  fs.writeFileSync(bad, 'SECRET-IN-THE-KEY-FILE');
  const file = config((text) => text.replace(/^app_private_key_file = .*$/m,
    `app_private_key_file = ${JSON.stringify(bad)}`));
  const result = await serve(file);
  assert.equal(result.code, 2, result.output);
  complaint(result, file, 'app_private_key_file');
  assert.ok(!result.output.includes('SECRET-IN-THE-KEY-FILE'));
});

test('the environment overrides the file, mistakes included', async () => {
  const result = await serve(world.config, { env: {
    SLIPWAY_DEPLOYMENT_MAX_CONCURRENT: 'many' } });
  assert.equal(result.code, 2, result.output);
  assert.match(result.output,
    /SLIPWAY_DEPLOYMENT_MAX_CONCURRENT|max_concurrent/);
});

/** One JSON text, or one on each line. */
function readJson(text) {
  try {
    return [JSON.parse(text)];
  } catch {
    return text.trim().split('\n').map((line) => JSON.parse(line));
  }
}

test('no command and an unknown command fail with usage', async () => {
  for (const args of [[], ['frobnicate'], ['serve', '--frobnicate']]) {
    const result = await run(args, { dir: world.dir, within: 10_000 });
    assert.notEqual(result.code, 0);
    assert.equal(typeof result.code, 'number', 'it hung');
    assert.match(result.output, /serve|usage|--help|frobnicate/i);
  }
});

test('migrate works, twice, and check finds everything in order', async () => {
  for (let i = 0; i < 2; i += 1) {
    const result = await run(['migrate', '--config', world.config],
      { dir: world.dir });
    assert.equal(result.code, 0, result.output);
  }
  const result = await run(['check', '--config', world.config],
    { dir: world.dir });
  assert.equal(result.code, 0, result.output);
  assert.ok(!result.output.includes(world.postgres.password));
  assert.ok(!result.output.includes(world.railway.token));
});

test('two servers that migrate at once do not trip over each other',
  async () => {
    const results = await Promise.all([1, 2, 3].map(() => run(['migrate',
      '--config', world.config], { dir: world.dir })));
    for (const result of results) assert.equal(result.code, 0, result.output);
  });

test('the server runs, ops answers from the shell, SIGTERM is 0', async () => {
  await world.server.start();
  const subscription = await world.running();
  const list = await run(['ops', 'list', '--json', '--config', world.config],
    { dir: world.dir });
  assert.equal(list.code, 0, list.output);
  readJson(list.stdout);
  assert.ok(list.stdout.includes(subscription.id));
  const show = await run(['ops', 'show', subscription.id, '--json', '--config',
    world.config], { dir: world.dir });
  assert.equal(show.code, 0, show.output);
  readJson(show.stdout);
  const { code, signal } = await world.server.terminate();
  assert.deepEqual({ code, signal }, { code: 0, signal: null });
});

test('check tells when the database is away, and does not hang', async () => {
  await world.postgres.stop();
  const result = await run(['check', '--config', world.config],
    { dir: world.dir, within: 40_000 });
  assert.equal(typeof result.code, 'number', 'it hung');
  assert.notEqual(result.code, 0);
  assert.ok(!result.output.includes(world.postgres.password));
  await world.postgres.start();
});

// docs/API.md: its commands work as they stand there, against the sandbox.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from './lib/suite.mjs';
import { killPostgresIn, spawnTied, temporaryDirectory } from './lib/cleanup.mjs';
import { freePort } from './lib/ports.mjs';
import { Slipway, cleanEnvironment } from './lib/slipway.mjs';
import { eventually, fatal } from './lib/wait.mjs';

const page = fs.readFileSync(new URL('../../docs/API.md', import.meta.url),
  'utf8');

/** The shell blocks in order, under the headings they stand under. */
const blocks = [...page.matchAll(/^## (.*)$|^```sh\n([\s\S]*?)^```$/gm)]
  .reduce(({ found, under }, [, heading, text]) => (heading
    ? { found, under: heading }
    : { found: [...found, { under, text }], under }),
  { found: [], under: '' }).found;

let home;
let server;
let banner;

before(async () => {
  home = temporaryDirectory();
  server = new Slipway({ dir: home.dir, args: ['serve', '--sandbox',
    '--data-dir', `${home.dir}/sandbox`, '--port', String(await freePort())] });
  server.spawn();
  banner = await eventually('the banner', () => {
    if (!server.running) throw fatal(`it ended:\n${server.tail()}`);
    const of = (name) => new RegExp(`^  ${name} +(\\S+)$`, 'm')
      .exec(server.stdout)?.[1];
    return of('operator token') && { API: of('API'), ALIPAY: of('Alipay'),
      TOKEN: of('user token'), OPERATOR: of('operator token') };
  }, { within: 60_000 });
});

after(async () => {
  try {
    await server?.terminate();
  } finally {
    await server?.kill();
    if (home) killPostgresIn(home.dir);
    home?.remove();
  }
});

async function shell(text) {
  const child = spawnTied('bash', ['-euo', 'pipefail', '-c', text], {
    cwd: home.dir, env: cleanEnvironment(), stdio: ['ignore', 'pipe', 'pipe'] });
  let out = '';
  let err = '';
  child.stdout.setEncoding('utf8').on('data', (t) => { out += t; });
  child.stderr.setEncoding('utf8').on('data', (t) => { err += t; });
  const timer = setTimeout(() => child.kill('SIGKILL'), 60_000);
  const code = await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (status, signal) => resolve(status ?? signal));
  });
  clearTimeout(timer);
  assert.equal(code, 0, `${text}\n${out}\n${err}`);
  return out;
}

test('a purchase by the page', async () => {
  const under = (heading) => blocks.filter((b) => b.under === heading)
    .map((b) => b.text);
  const [settings] = under('A token');
  const script = [
    // What the page leaves to fill in.
    settings.replace(/^(\w+)=\S+/gm, (line, name) => (
      banner[name] ? `${name}=${banner[name]}` : line)),
    ...under('From a plan to a running instance'),
    // A person looks again until it runs.
    'for _ in $(seq 200); do',
    '  status=$(call "$API/api/deployment/status/$ID" | jq -r .data.status)',
    '  [[ $status == running ]] && break; sleep 0.2; done',
    'echo "status: $status"',
    // A person leaves a stream when they have seen enough.
    ...under('Live').map((text) => text.replace(/^(call -N \S+).*$/gm,
      '$1 --max-time 2 || true')),
    ...under('Pages'), ...under('Errors'), ...under('What is posted to Slipway'),
    'echo "order: $ORDER"',
  ].join('\n');
  const out = await shell(script);
  assert.match(out, /^status: running$/m);
  assert.match(out, /^event: status$/m);
  assert.match(out, /^event: log$/m);
  assert.match(out, /"error": "unknown_plan"/);
  const order = /^order: (\w+)$/m.exec(out)[1];
  assert.match(out, new RegExp(`"orderId": "${order}"`));
  assert.match(out, / callback Alipay notifies of order /);
  assert.doesNotMatch(out, /"success": false(?![^}]*unknown_plan)/);
});

test('a token made by the page is one', async () => {
  const text = blocks.find((b) => b.text.includes('openssl dgst')).text;
  fs.writeFileSync(path.join(home.dir, 'jwt.key'),
    fs.readFileSync(path.join(home.dir, 'sandbox/keys/jwt.key')));
  await shell(`${text}\n[[ $(curl -sS -o /dev/null -w '%{http_code}' ${
    banner.API}/api/subscriptions -H "Authorization: Bearer $TOKEN") == 200 ]]`);
});

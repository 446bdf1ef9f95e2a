// `slipway ops`: the operators' calls from a shell, as people and as scripts
// make them.

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import path from 'node:path';
import { spawnTied } from './lib/cleanup.mjs';
import { claimsOf, token } from './lib/jwt.mjs';
import { freePort } from './lib/ports.mjs';
import { BINARY, cleanEnvironment, run } from './lib/slipway.mjs';
import { after, before, test } from './lib/suite.mjs';
import { eventually } from './lib/wait.mjs';
import { World } from './lib/world.mjs';

let world;
before(async () => {
  world = await World.start({ config: { deployment: { attempts: 1 } } });
});
after(() => world?.stop());

/** Runs `slipway ops …` against the world's server. */
function ops(args, { env, code = 0, config = world.config } = {}) {
  return run(['ops', ...args, ...(config ? ['--config', config] : [])],
    { dir: world.dir, env, within: 30_000 }).then((result) => {
    assert.equal(result.code, code, result.output);
    assert.ok(!result.output.includes(world.secret), 'the secret is shown');
    return result;
  });
}

const json = async (args, options) => JSON.parse(
  (await ops([...args, '--json'], options)).stdout);

const jsonLines = (text) => text.trim().split('\n').map((l) => JSON.parse(l));

/** A subscription whose only attempt has failed, and which may work now. */
async function failed() {
  const subscription = await world.paid();
  const failure = world.railway.failBuilds(Infinity, {
    match: world.builds(subscription), error: 'npm ERR! missing script' });
  await world.alipay.notify(subscription.trade);
  await world.untilStatus(subscription, 'failed');
  failure.stop();
  return subscription;
}

test('a failed one is found, read, started again and seen running', async () => {
  const subscription = await failed();
  const list = await ops(['list', '--status', 'failed']);
  assert.ok(list.stdout.includes(subscription.id), list.output);
  assert.match(list.stdout.split('\n')[0], /^SUBSCRIPTION +PLAN +STATUS/);
  assert.ok((await ops(['list', '-q', subscription.user.email])).stdout
    .includes(subscription.id));

  const attention = await ops(['attention']);
  assert.ok(attention.stdout.includes(subscription.id));

  const story = await ops(['timeline', subscription.id]);
  assert.match(story.stdout, /provider .*projectCreate/);
  assert.match(story.stdout, /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d/m);

  const retry = await ops(['retry', subscription.id, '--reason', 'fixed it',
    '--as', 'alice']);
  assert.match(retry.stdout, /starts over/);
  const watched = await ops(['watch', subscription.id]);
  assert.match(watched.stdout.trim().split('\n').at(-1), /100% +running/);

  const shown = await ops(['show', subscription.id]);
  assert.match(shown.stdout, /^Deployment +running/m);
  assert.ok(shown.stdout.includes(subscription.user.sub));
  const entries = await json(['timeline', subscription.id]);
  assert.ok(entries.some((entry) => entry.kind === 'operator'
    && entry.summary.includes('alice') && entry.summary.includes('fixed it')));
});

test('JSON is the data of the server, a list of any length is one', async () => {
  const made = [];
  for (let i = 0; i < 3; i += 1) made.push((await world.subscribe()).id);
  // Others may still move: until nothing did in between.
  const all = await world.eventually('the same list', async () => {
    const listed = await json(['list', '--all']);
    assert.deepEqual(listed,
      await world.operator.all('/api/ops/subscriptions'));
    return listed;
  });
  for (const id of made) assert.ok(all.some((x) => x.subscriptionId === id));

  const some = await ops(['list', '--limit', '2', '--json']);
  assert.equal(JSON.parse(some.stdout).length, 2);
  const cursor = /--cursor (\S+)/.exec(some.stderr)?.[1];
  assert.ok(cursor, some.output);
  const next = await json(['list', '--limit', '1', '--cursor', cursor]);
  assert.deepEqual(next, all.slice(2, 3));

  const lines = await ops(['list', '--all', '--jsonl']);
  assert.deepEqual(jsonLines(lines.stdout), all);

  const one = await json(['show', made[0]]);
  assert.deepEqual(one, (await world.operator.get(
    `/api/ops/subscriptions/${made[0]}`)).ok());
  assert.deepEqual(Object.keys(await json(['stats'])).sort(),
    Object.keys((await world.operator.get('/api/deployment-monitor/stats'))
      .ok()).sort());
});

test('callbacks are listed, shown, rehearsed and replayed', async () => {
  const subscription = await world.running();
  const rows = await json(['callbacks', '--order', subscription.order.orderId]);
  assert.equal(rows.length, 1);
  const [{ id }] = rows;
  const shown = await ops(['callback', id]);
  assert.ok(shown.stdout.includes('Headers'));
  assert.ok(shown.stdout.includes(subscription.order.orderId));
  const body = await ops(['callback', id, '--body']);
  assert.equal(body.stdout, (await world.operator.get(
    `/api/ops/callbacks/${id}`)).ok().body);
  const dry = await json(['replay', id, '--dry-run']);
  assert.equal(dry.dryRun, true);
  const real = await json(['replay', id]);
  assert.equal(real.dryRun, false);
  assert.match((await ops(['settle', id, '--reason', 'seen'], { code: 1 }))
    .stderr, /no contradicting callback/);
});

test('logs are shown, and followed until nobody reads them', async () => {
  const subscription = await world.running();
  const logs = await ops(['logs', subscription.id]);
  assert.match(logs.stdout, /event/);
  const lines = jsonLines((await ops(['logs', subscription.id, '--json']))
    .stdout);
  assert.ok(lines.length > 0 && lines.every((l) => l.timestamp && l.source));
  const events = jsonLines((await ops(['logs', subscription.id, '--type',
    'event', '--json'])).stdout);
  assert.ok(events.every((l) => l.source === 'event'));

  const child = spawnTied(BINARY, ['ops', 'logs', subscription.id, '--follow',
    '--type', 'event', '--config', world.config], { cwd: world.dir,
    env: cleanEnvironment(), stdio: ['ignore', 'pipe', 'pipe'] });
  let seen = '';
  child.stdout.setEncoding('utf8').on('data', (text) => { seen += text; });
  const ended = new Promise((resolve) => { child.once('close', resolve); });
  await ops(['terminate', subscription.id, '--reason', 'seen while followed']);
  await eventually('the new line comes live',
    () => seen.includes('seen while followed'), { within: 20_000 });
  child.stdout.destroy();
  assert.ok([0, 1].includes(await ended), 'it goes on without a reader');
});

test('a refund, a cancellation, and what is refused', async () => {
  const subscription = await world.running();
  const refused = await ops(['cancel', subscription.id, '--reason', 'x'],
    { code: 1 });
  assert.match(refused.stderr, /\(409 nothing_to_cancel\)\n +request: \S+/);
  assert.equal(refused.stdout, '');
  const refund = await json(['refund', subscription.id, '--reason', 'asked']);
  assert.equal(refund.order.orderId, subscription.order.orderId);
  await ops(['refund', subscription.id, '--order', 'nonsense', '--reason', 'x'],
    { code: 1 });
});

test('the main switch and the parts of the server', async () => {
  assert.match((await ops(['automation'])).stdout, /^Automation +on/m);
  assert.equal((await json(['automation', 'off', '--reason', 'a test']))
    .enabled, false);
  assert.match((await ops(['automation'])).stdout, /a test/);
  await ops(['automation', 'on', '--reason', 'over', '--yes']);

  const tree = await ops(['actors']);
  assert.match(tree.stdout, /^slipway/m);
  assert.match(tree.stdout, /├─ /);
  const subscription = await world.running();
  await world.subscription(subscription);
  await ops(['restart', subscription.id, '--reason', 'to see']);
  assert.match((await ops(['restart', 'journal:0', '--reason', 'x'],
    { code: 1 })).stderr, /Only supervisors/);
});

test('who has done what, for admins', async () => {
  const { id } = await world.subscribe();
  await ops(['cancel', id, '--reason', 'for the trail', '--as', 'carol'],
    { code: 1 });
  const [act] = await json(['audit', '--limit', '1', '--role', 'admin']);
  assert.equal(act.actor, 'carol');
  assert.equal(act.act, 'cancel');
  assert.equal(act.outcome, 'nothing_to_cancel');
  const shown = await ops(['audit', '--role', 'admin']);
  assert.match(shown.stdout, /carol +operator +cancel +\S+ +nothing_to_cancel/);
  assert.match((await ops(['audit'], { code: 1 })).stderr,
    /403 forbidden[^]*--role/);
  const rotated = await ops(['rotate-keys', '--role', 'admin']);
  assert.match(rotated.stdout, /credentials are now under the key /);
});

test('a token is signed for whom it is, with the role, for as long', async () => {
  const made = (await ops(['token', '--for', 'bob', '--role', 'operator',
    '--expires', '2h'])).stdout.trim();
  const claims = claimsOf(made);
  assert.equal(claims.sub, 'bob');
  assert.equal(claims.role, 'operator');
  assert.equal(claims.exp - claims.iat, 7200);
  const file = path.join(world.dir, 'bob.token');
  fs.writeFileSync(file, `${made}\n`);
  for (const [args, env] of [[['--token-file', file], {}],
    [[], { SLIPWAY_OPS_TOKEN: made }]]) {
    await ops(['stats', '--url', world.url, ...args], { env, config: null });
  }
  await ops(['stats'], { config: null,
    env: { SLIPWAY_OPS_URL: world.url, SLIPWAY_OPS_TOKEN: made } });
});

test('a bad token, one of a user, and a wrong id', async () => {
  const bad = { SLIPWAY_OPS_TOKEN: token('another secret of enough length',
    { sub: 'x', role: 'operator' }) };
  assert.match((await ops(['list'], { env: bad, code: 1 })).stderr,
    /\(401 unauthorized\)[^]*request: [^]*hint: .*token/);
  const user = { SLIPWAY_OPS_TOKEN: token(world.secret, { sub: 'x' }) };
  assert.match((await ops(['list'], { env: user, code: 1 })).stderr,
    /\(403 forbidden\)/);
  for (const args of [['show', 'nonsense'], ['timeline', '../callbacks'],
    ['retry', 'nonsense', '--reason', 'x'], ['watch', 'nonsense'],
    ['logs', 'nonsense'], ['logs', 'nonsense', '--follow']]) {
    const result = await ops(args, { code: 1 });
    assert.match(result.stderr, /Subscription not found \(404 not_found\)/);
    assert.equal(result.stdout, '');
  }
  assert.match((await ops(['callback', '999999'], { code: 1 })).stderr,
    /Callback not found/);
});

test('a wrong command line or configuration is told and ends with 2',
  async () => {
    const id = ['nonsense'];
    for (const [args, what] of [
      [['frobnicate'], /expected a command, found frobnicate/],
      [['timelin', 'x'], /the nearest one is timeline/],
      [[], /subcommand is required/],
      [['list', '--status', 'sleepy'], /sleepy/],
      [['list', '--limit', '0'], /limit/],
      [['list', '--json', '--jsonl'], /jsonl/],
      [['list', '--timeout', 'soon'], /timeout[^]*duration/],
      [['list', '--all', '--limit', '3'], /limit/],
      [['show'], /ID/],
      [['retry', ...id], /--reason/],
      [['token'], /--for/],
      [['list', '--token-file', '/does/not/exist'], /token-file/],
    ]) assert.match((await ops(args, { code: 2 })).stderr, what);
    assert.match((await ops(['list'], { config: null, code: 2 })).stderr,
      /--config/);
    assert.match((await ops(['list', '--url', world.url], { config: null,
      code: 2 })).stderr, /--token-file/);
    await ops(['list'], { config: '/does/not/exist.toml', code: 2 });
  });

test('a server that is away, one that says nothing, and one that is none',
  async () => {
    const url = `http://127.0.0.1:${await freePort()}`;
    for (const args of [['list'], ['retry', 'x', '--reason', 'y']]) {
      assert.match((await ops([...args, '--url', url], { code: 3 })).stderr,
        /is not reachable/);
    }
    const silent = http.createServer((request, response) => {
      if (request.url.startsWith('/api/ops/subscriptions/odd')) {
        response.end('<html>hello</html>');
      }
    });
    await new Promise((resolve) => { silent.listen(0, '127.0.0.1', resolve); });
    try {
      const there = `http://127.0.0.1:${silent.address().port}`;
      const late = await ops(['retry', 'x', '--reason', 'y', '--url', there,
        '--timeout', '500ms'], { code: 3 });
      assert.match(late.stderr, /has not answered[^]*may have been done/);
      assert.match((await ops(['show', 'odd', '--url', there], { code: 1 }))
        .stderr, /expected an answer of Slipway/);
    } finally {
      silent.closeAllConnections?.();
      silent.close();
    }
  });

test('what was too much is asked again, and then told', async () => {
  let left = 2;
  const busy = http.createServer((request, response) => {
    response.setHeader('Content-Type', 'application/json');
    if (left > 0) {
      left -= 1;
      response.writeHead(429, { 'Retry-After': '0' });
      response.end(JSON.stringify({ success: false, message: 'Too fast',
        error: 'rate_limited', requestId: 'r1' }));
    } else {
      response.end(JSON.stringify({ success: true, data: { total: 7 } }));
    }
  });
  await new Promise((resolve) => { busy.listen(0, '127.0.0.1', resolve); });
  try {
    const url = `http://127.0.0.1:${busy.address().port}`;
    assert.deepEqual(await json(['stats', '--url', url]), { total: 7 });
    left = Infinity;
    assert.match((await ops(['stats', '--url', url], { code: 1 })).stderr,
      /Too fast \(429 rate_limited\)[^]*request: r1/);
  } finally {
    busy.closeAllConnections?.();
    busy.close();
  }
});

test('keys are rotated until none is left, and no longer than it helps',
  async () => {
    let answers = [];
    const rotating = http.createServer((request, response) => {
      assert.equal(`${request.method} ${request.url}`,
        'POST /api/ops/credentials/rotate');
      response.setHeader('Content-Type', 'application/json');
      request.resume().on('end', () => response.end(JSON.stringify(
        { success: true, data: answers.shift() })));
    });
    await new Promise((resolve) => {
      rotating.listen(0, '127.0.0.1', resolve);
    });
    try {
      const url = `http://127.0.0.1:${rotating.address().port}`;
      answers = [{ rotated: 5, remaining: 3, keyId: 'k2' },
        { rotated: 3, remaining: 0, keyId: 'k2' }];
      const done = await ops(['rotate-keys', '--url', url]);
      assert.match(done.stdout, /^8 credentials are now under the key k2/);
      assert.match(done.stderr, /5 rotated, 3 to go/);
      answers = [{ rotated: 5, remaining: 3, keyId: 'k2' },
        { rotated: 0, remaining: 3, keyId: 'k2', failed: 3 }];
      assert.match((await ops(['rotate-keys', '--url', url], { code: 1 }))
        .stderr, /3 credentials cannot be rotated/);
      // A step of nothing but failures is one nevertheless.
      const failures = [{ subscriptionId: 'sub_1', channelType: 'TELEGRAM',
        reason: 'no key k0' }];
      answers = [{ rotated: 0, remaining: 3, keyId: 'k2', failed: 1, failures },
        { rotated: 3, remaining: 0, keyId: 'k2', failed: 1, failures: [] }];
      assert.match((await ops(['rotate-keys', '--url', url], { code: 1 }))
        .stderr, /1 credentials cannot[^]*sub_1 TELEGRAM: no key k0/);
    } finally {
      rotating.close();
    }
  });

test('nothing of what the server says reaches the terminal as an order',
  async () => {
    const evil = '\u001b]0;owned\u0007\u009b5n\u202e\r\n';
    const hostile = http.createServer((request, response) => {
      response.setHeader('Content-Type', 'application/json');
      response.end(JSON.stringify({ success: true, nextCursor: null, data:
        [{ subscriptionId: evil, status: evil, planType: evil,
          publicUrl: evil }] }));
    });
    await new Promise((resolve) => { hostile.listen(0, '127.0.0.1', resolve); });
    try {
      const url = `http://127.0.0.1:${hostile.address().port}`;
      for (const form of [[], ['--json'], ['--jsonl']]) {
        const { stdout } = await ops(['list', '--url', url, ...form]);
        assert.doesNotMatch(stdout, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/);
      }
      assert.equal((await json(['list', '--url', url]))[0].status, evil);
    } finally {
      hostile.close();
    }
  });

test('https: the configured certificate is trusted, and asked for by name',
  async () => {
    const key = path.join(world.dir, 'tls.key');
    const cert = path.join(world.dir, 'tls.pem');
    execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt',
      'ec_paramgen_curve:P-256', '-nodes', '-keyout', key, '-out', cert,
      '-days', '2', '-subj', '/CN=Slipway', '-addext',
      'subjectAltName=DNS:pay.example.com'], { stdio: 'ignore' });
    const names = [];
    const front = https.createServer({ key: fs.readFileSync(key),
      cert: fs.readFileSync(cert) }, (request, response) => {
      names.push(request.headers.host);
      request.pipe(http.request(world.url + request.url,
        { method: request.method, headers: request.headers }, (answer) => {
          response.writeHead(answer.statusCode, answer.headers);
          answer.pipe(response);
        }));
    });
    await new Promise((resolve) => { front.listen(0, '127.0.0.1', resolve); });
    try {
      const { port } = front.address();
      const config = path.join(world.dir, 'tls.toml');
      fs.writeFileSync(config, fs.readFileSync(world.config, 'utf8').replace(
        /^listen = .*$/m, `listen = "127.0.0.1:${port}"\n`
          + `tls_cert_file = "${cert}"\ntls_key_file = "${key}"`));
      const { id } = await world.subscribe();
      assert.ok((await ops(['list'], { config })).stdout.includes(id));
      assert.equal(names[0], `pay.example.com:${port}`);
      const watched = spawnTied(BINARY, ['ops', 'watch', id, '--json',
        '--config', config], { cwd: world.dir, env: cleanEnvironment(),
        stdio: ['ignore', 'pipe', 'pipe'] });
      let seen = '';
      watched.stdout.setEncoding('utf8').on('data', (t) => { seen += t; });
      await eventually('the state comes over the stream',
        () => seen.includes('pending'), { within: 20_000 });
      watched.kill();
      // Another name, and a certificate that nobody vouches for.
      for (const args of [['--url', `https://127.0.0.1:${port}`, '--ca', cert],
        ['--url', `https://127.0.0.1:${port}`]]) {
        assert.match((await ops(['list', ...args], { code: 3 })).stderr,
          /not reachable: .*(certificate|SSL)/);
      }
    } finally {
      front.closeAllConnections?.();
      front.close();
    }
  });

/** Runs it at a terminal of so many columns, and answers what is asked. */
async function atTerminal(args, { answer, columns = 60, env = {} } = {}) {
  const command = [BINARY, 'ops', ...args, '--config', world.config]
    .map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ');
  const child = spawnTied('script', ['-qec', command, '/dev/null'], {
    cwd: world.dir, stdio: ['pipe', 'pipe', 'pipe'],
    env: cleanEnvironment({ COLUMNS: String(columns), LANG: 'C.UTF-8',
      TERM: 'xterm', ...env }) });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text) => {
    output += text;
    if (answer && output.includes('[y/N]')) {
      child.stdin.write(`${answer}\n`);
      answer = undefined;
    }
  });
  const timer = setTimeout(() => child.kill('SIGKILL'), 60_000);
  const code = await new Promise((resolve) => { child.once('close', resolve); });
  clearTimeout(timer);
  return { code, output };
}

test('a terminal gets colours and its width, and is asked before harm is done',
  async (t) => {
    if (spawnSync('script', ['--version']).status !== 0) {
      t.skip('no script(1)');
      return;
    }
    const subscription = await world.running();
    const list = await atTerminal(['list', '-q', subscription.id]);
    assert.equal(list.code, 0, list.output);
    assert.match(list.output, /\u001b\[32mrunning\u001b\[0m/);
    for (const line of list.output.replace(/\u001b\[\d*m/g, '').split('\r\n')) {
      assert.ok(line.length <= 60, line);
    }
    const plain = await atTerminal(['list', '-q', subscription.id],
      { env: { NO_COLOR: '1' } });
    assert.doesNotMatch(plain.output, /\u001b/);

    const args = ['terminate', subscription.id, '--reason', 'asked first'];
    const no = await atTerminal(args, { answer: 'n' });
    assert.equal(no.code, 1, no.output);
    assert.match(no.output, /Delete its instance[^]*\[y\/N\][^]*nothing was done/);
    assert.ok(no.output.includes(subscription.user.sub.slice(0, 8)),
      'it is not shown what it is about');
    assert.equal((await world.status(subscription)).status, 'running');
    const yes = await atTerminal(args, { answer: 'y' });
    assert.equal(yes.code, 0, yes.output);
    await world.untilStatus(subscription, 'stopped');
  });

test('every command helps', async () => {
  const help = await ops(['--help'], { config: null });
  const commands = [...help.stdout.matchAll(/^ {2}([a-z][a-z-]*) {2,}\S/gm)]
    .map(([, name]) => name);
  assert.ok(commands.includes('retry') && commands.length > 20, help.stdout);
  for (const name of commands) {
    const { stdout } = await ops([name, '--help'], { config: null });
    assert.match(stdout, /Examples:\n +slipway ops /, name);
    assert.match(stdout, /--config/, name);
  }
});

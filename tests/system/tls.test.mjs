// TLS on the listeners: what is spoken, certificates that change under load, and
// strangers who speak something else.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import https from 'node:https';
import net from 'node:net';
import path from 'node:path';
import tls from 'node:tls';
import { after, before, test } from './lib/suite.mjs';
import { raw } from './lib/http.mjs';
import { parseMetrics } from './lib/metrics.mjs';
import { run, Slipway } from './lib/slipway.mjs';
import { eventually, sleep } from './lib/wait.mjs';
import { freePort } from './lib/ports.mjs';
import { toToml } from './lib/toml.mjs';
import { World } from './lib/world.mjs';

let world;
let made = 0;

/** A certificate for 127.0.0.1 that signs itself: {cert, key}. */
function certificate(name, days = 90) {
  const at = path.join(world.dir, `made-${made += 1}`);
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt',
    'ec_paramgen_curve:P-256', '-nodes', '-subj', `/CN=${name}`, '-days',
    String(days), '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout',
    `${at}.key`, '-out', `${at}.crt`], { stdio: 'pipe' });
  return { cert: fs.readFileSync(`${at}.crt`, 'utf8'),
    key: fs.readFileSync(`${at}.key`, 'utf8') };
}

/** Puts a file in the place of another at once, as certificate tools do. */
function put(name, content) {
  const at = path.join(world.dir, name);
  fs.writeFileSync(`${at}.new`, content, { mode: 0o600 });
  fs.renameSync(`${at}.new`, at);
  return at;
}

let first;
before(async () => {
  world = await World.start({ start: false, railway: false, mail: false });
  first = certificate('first');
  Object.assign(world.settings.http, {
    tls_cert_file: put('tls.crt', first.cert),
    tls_key_file: put('tls.key', first.key),
    header_timeout: '2s',
  });
  world.writeConfig();
  await world.server.start();
});
after(() => world?.stop());

/** One request: {status, body}. */
function get(where, { agent = false, port = world.port, method = 'GET',
                      body, headers = {}, ...options } = {}) {
  return new Promise((resolve, reject) => {
    const call = https.request({ host: '127.0.0.1', port, path: where, method,
      headers, agent, rejectUnauthorized: false, timeout: 10_000, ...options });
    call.on('timeout', () => call.destroy(new Error('no answer')));
    call.on('error', reject);
    call.on('response', (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (t) => { text += t; });
      response.on('end', () => resolve({ status: response.statusCode,
        body: text }));
      response.on('error', reject);
    });
    call.end(body);
  });
}

/** A handshake: {name, version, protocol}, or the error's code. */
function greet(options = {}) {
  return new Promise((resolve) => {
    const socket = tls.connect({ host: '127.0.0.1', port: world.port,
      rejectUnauthorized: false, ...options }, () => {
      resolve({ name: socket.getPeerCertificate().subject.CN,
        version: socket.getProtocol(), protocol: socket.alpnProtocol });
      socket.destroy();
    });
    socket.on('error', (error) => resolve(error.code ?? error.message));
  });
}

const shown = async () => (await greet()).name;

const turnedAway = async (status) => (await world.metrics()).sum(
  'slipway_http_requests_total', { route: '-', status: String(status) });

test('the API is served over TLS, and the admin listener without', async () => {
  assert.match(world.server.log, /serving on https:\/\/127\.0\.0\.1:\d+, admin on http:\/\//);
  const answer = await get('/api/plans', { rejectUnauthorized: true,
    ca: first.cert });
  assert.equal(answer.status, 200);
  assert.equal(JSON.parse(answer.body).success, true);
});

test('TLS 1.2 and 1.3 with HTTP/1.1, and nothing older', async () => {
  for (const version of ['TLSv1.2', 'TLSv1.3']) {
    assert.deepEqual(await greet({ minVersion: version, maxVersion: version,
      ALPNProtocols: ['h2', 'http/1.1'] }),
    { name: 'first', version, protocol: 'http/1.1' });
  }
  for (const version of ['TLSv1', 'TLSv1.1']) {
    // Node.js itself would not offer them otherwise.
    assert.equal(await greet({ minVersion: version, maxVersion: version,
      ciphers: 'DEFAULT@SECLEVEL=0' }),
    'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION');
  }
  assert.match(String(await greet({ ALPNProtocols: ['h2'] })),
    /NO_APPLICATION_PROTOCOL/);
});

test('events come over TLS', async () => {
  const user = world.user();
  const headers = { Authorization: `Bearer ${user.token}` };
  const bytes = JSON.stringify({ planType: 'PRO' });
  const subscribed = JSON.parse((await get('/api/subscriptions', {
    method: 'POST', body: bytes, headers: { ...headers,
      'Content-Type': 'application/json',
      'Content-Length': Buffer.byteLength(bytes) } })).body);
  const id = subscribed.data.subscriptionId;
  const text = await new Promise((resolve, reject) => {
    const call = https.get({ host: '127.0.0.1', port: world.port, agent: false,
      path: `/api/deployment/events/${id}`, rejectUnauthorized: false, headers });
    call.on('error', reject);
    call.on('response', (response) => {
      let got = '';
      response.setEncoding('utf8');
      response.on('data', (t) => {
        got += t;
        if (got.includes('\n\n')) {
          resolve(got);
          call.destroy();
        }
      });
    });
  });
  assert.match(text, /event: status/);
  assert.ok(text.includes(id));
});

test('whoever speaks HTTP is told, garbage is closed, nothing is logged',
  async () => {
    const lines = world.server.log.split('\n').length;
    const before = await turnedAway(400);
    const answer = await raw(world.port,
      'GET /api/plans HTTP/1.1\r\nHost: x\r\n\r\n');
    assert.match(answer, /^HTTP\/1\.1 400 /);
    assert.match(answer, /"error":"https_expected"/);
    const strangers = [Buffer.from('\x16\x03\x01\x00\x04junk', 'latin1'),
      Buffer.from([0x80, 0x2e, 1]), Buffer.alloc(4096, 0xff),
      Buffer.from('SSH-2.0-OpenSSH_9.2\r\n')];
    // Closed with bytes unread, which the system may tell as a reset.
    for (const bytes of strangers) {
      await raw(world.port, bytes).catch((error) => (
        assert.equal(error.code, 'ECONNRESET')));
    }
    await eventually('all are counted', async () => (
      await turnedAway(400) === before + 1 + strangers.length));
    assert.equal((await get('/api/plans')).status, 200);
    assert.equal(world.server.log.split('\n').length, lines,
      world.server.tail());
  });

test('a handshake that takes too long is closed', async () => {
  const before = await turnedAway(408);
  const socket = net.connect(world.port, '127.0.0.1');
  const closed = new Promise((resolve) => { socket.on('close', resolve); });
  socket.on('error', () => {});
  socket.write(Buffer.from('\x16\x03\x01', 'latin1'));
  socket.resume();
  await closed;
  await eventually('it is counted', async () => (
    await turnedAway(408) === before + 1));
});

test('the certificate changes under load without a failed request', async () => {
  const agent = new https.Agent({ keepAlive: true, maxSockets: 4 });
  let going = true;
  const failures = [];
  const names = new Set();
  let served = 0;
  const load = async (options) => {
    while (going) {
      try {
        const answer = await get('/api/plans', options);
        if (answer.status !== 200) failures.push(answer.body);
        served += 1;
      } catch (error) {
        failures.push(error.message);
      }
    }
  };
  const watch = async () => {
    while (going) {
      const name = await shown();
      names.add(name ?? 'failed');
    }
  };
  const all = [load({ agent }), load({ agent }), load({}), load({}), watch()];
  try {
    for (const name of ['second', 'third']) {
      const next = certificate(name);
      put('tls.crt', next.cert);
      await sleep(50); // Both are never there at one moment.
      put('tls.key', next.key);
      await eventually(`${name} is shown`, () => names.has(name));
    }
  } finally {
    going = false;
    await Promise.all(all);
    agent.destroy();
  }
  assert.deepEqual(failures, []);
  assert.deepEqual([...names], ['first', 'second', 'third']);
  assert.ok(served > 20, `only ${served} requests`);
  assert.doesNotMatch(world.server.log, /tls: .*expected/);
  assert.match(world.server.log, /tls: the certificate of CN = third, valid until/);
});

test('a pair that does not fit is kept out and complained about once',
  async () => {
    const other = certificate('other');
    put('tls.crt', other.cert);
    await eventually('it is complained about', () => (
      /tls: .*tls\.key: expected the private key of the first certificate/
        .test(world.server.log)));
    put('tls.crt', other.cert.slice(0, 200));
    await eventually('so is a broken one', () => (
      /tls: .*tls\.crt: expected certificates in PEM/.test(world.server.log)));
    assert.equal(await shown(), 'third');
    assert.equal((await get('/api/plans')).status, 200);
    const fine = certificate('fourth');
    put('tls.crt', fine.cert);
    put('tls.key', fine.key);
    await eventually('the next good one is taken', async () => (
      await shown() === 'fourth'));
    assert.equal(world.server.log.match(/ tls: .*expected/g).length, 2,
      world.server.tail());
    assert.doesNotMatch(world.server.log, /PRIVATE KEY-/);
  });

/** The configuration with another pair, in files of its own. */
function config(name, pair, http = {}) {
  const file = path.join(world.dir, `${name}.toml`);
  const settings = structuredClone(world.settings);
  Object.assign(settings.http, { tls_cert_file: put(`${name}.crt`, pair.cert),
    tls_key_file: put(`${name}.key`, pair.key), ...http });
  fs.writeFileSync(file, toToml(settings), { mode: 0o600 });
  return file;
}

test('a start with what cannot be used: exit 2, with file, key and expectation',
  async () => {
    const one = certificate('one');
    const two = certificate('two');
    const cases = [
      [{ cert: one.cert, key: two.key }, 'http.tls_key_file',
        'the private key of the first certificate'],
      [{ cert: 'nonsense', key: one.key }, 'http.tls_cert_file',
        'certificates in PEM'],
      [{ cert: one.cert, key: one.key.slice(0, 60) }, 'http.tls_key_file',
        'a private key in PEM'],
    ];
    for (const [pair, key, expected] of cases) {
      const file = config('bad', pair);
      for (const command of ['serve', 'check']) {
        const result = await run([command, '--config', file],
          { dir: world.dir });
        assert.equal(result.code, 2, result.output);
        const line = result.stderr.split('\n').find((l) => l.includes(key));
        assert.ok(line?.includes(path.basename(file)), result.output);
        assert.ok(line.includes(`expected ${expected}`), line);
        assert.doesNotMatch(result.output, /BEGIN/);
      }
    }
  });

test('check tells whether the certificate lasts', async () => {
  const check = (file) => run(['check', '--config', file], { dir: world.dir });
  const good = await check(config('good', certificate('good')));
  assert.match(good.stdout, /^tls +ok +the certificate of CN = good$/m);
  const ending = await check(config('ending', certificate('ending', 13)));
  assert.match(ending.stdout,
    /^tls +WARNING +the certificate of CN = ending expires on \S+, in 1[23] day/m);
  assert.equal(ending.code, good.code, 'a warning is no failure');
  const without = structuredClone(world.settings);
  delete without.http.tls_cert_file;
  delete without.http.tls_key_file;
  const file = path.join(world.dir, 'without.toml');
  fs.writeFileSync(file, toToml(without), { mode: 0o600 });
  assert.match((await check(file)).stdout, /^tls +off /m);
});

test('the admin listener speaks TLS when it is told to', async () => {
  const port = await freePort();
  const adminPort = await freePort();
  const file = config('admin', certificate('admin'), { admin_tls: true,
    listen: `127.0.0.1:${port}`, admin_listen: `127.0.0.1:${adminPort}` });
  const server = new Slipway({ args: ['serve', '--config', file],
    dir: world.dir, adminPort });
  server.spawn();
  try {
    await eventually('it is ready', async () => (
      await get('/readyz', { port: adminPort })).status === 200,
    { within: 60_000 });
    const { body } = await get('/metrics', { port: adminPort });
    assert.ok(parseMetrics(body));
    assert.match(await raw(adminPort, 'GET /healthz HTTP/1.1\r\n\r\n'),
      /https_expected/);
  } finally {
    await server.terminate();
  }
});

test('SIGTERM lets what is under way end, and is 0', async () => {
  const agent = new https.Agent({ keepAlive: true });
  const failures = [];
  let stopped = false;
  const load = (async () => {
    while (!stopped) {
      try {
        const answer = await get('/api/plans', { agent });
        if (answer.status !== 200 && answer.status !== 503) {
          failures.push(answer.body);
        }
      } catch (error) {
        // Nobody listens any more, or an idle connection was closed at the very
        // moment it was used.
        if (!['ECONNREFUSED', 'ECONNRESET', 'EPIPE'].includes(error.code)) {
          failures.push(error.message);
        }
        if (error.code === 'ECONNREFUSED') return;
      }
    }
  })();
  assert.deepEqual(await world.server.terminate(), { code: 0, signal: null });
  stopped = true;
  await load;
  agent.destroy();
  assert.deepEqual(failures, []);
});

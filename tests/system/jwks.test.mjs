// Public keys in a file: which tokens they open the door to, and what happens
// when the file changes under a server at work.

import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from './lib/suite.mjs';
import { now, token } from './lib/jwt.mjs';
import { run } from './lib/slipway.mjs';
import { World } from './lib/world.mjs';

/** Somebody who issues tokens: {alg, kid, jwk, token(claims, header)}. */
function issuer(alg, kid) {
  const { publicKey, privateKey } = {
    RS256: () => crypto.generateKeyPairSync('rsa', { modulusLength: 2048 }),
    ES256: () => crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' }),
    EdDSA: () => crypto.generateKeyPairSync('ed25519'),
  }[alg]();
  const sign = (text) => crypto.sign(alg === 'EdDSA' ? null : 'sha256',
    Buffer.from(text), { key: privateKey, dsaEncoding: 'ieee-p1363' });
  return { alg, kid, publicKey,
    jwk: { ...publicKey.export({ format: 'jwk' }), ...(kid ? { kid } : {}) },
    token: (claims = {}, header = {}) => token(null, { sub: 'u', ...claims },
      { header: { alg, ...(kid ? { kid } : {}), ...header }, sign }) };
}

const rsa = issuer('RS256', 'rsa-1');
const ec = issuer('ES256', 'ec-1');
const ed = issuer('EdDSA', 'ed-1');
const known = [rsa, ec, ed];

const keySet = (...issuers) => JSON.stringify(
  { keys: issuers.map((x) => x.jwk) });

let world;
let file;
before(async () => {
  world = await World.start({ start: false });
  file = path.join(world.dir, 'jwks.json');
  fs.writeFileSync(file, keySet(...known));
  world.settings.auth.jwks_file = file;
  world.writeConfig();
  await world.server.start();
});
after(() => world?.stop());

/** Another file in its place, at once. */
function replace(text) {
  fs.writeFileSync(`${file}.new`, text);
  fs.renameSync(`${file}.new`, file);
}

const ask = (text) => world.anonymous.as(text).get('/api/subscriptions');

const untilStatus = (what, text, status) => world.eventually(what,
  async () => (await ask(text)).status === status);

test('every kind of key lets in, and so does the secret beside them',
  async () => {
    for (const by of known) (await ask(by.token())).list();
    for (const by of known) (await ask(by.token({}, { kid: undefined }))).list();
    (await ask(token(world.secret, { sub: 'u' }))).list();
    const admin = world.anonymous.as(ed.token({ sub: 'a', role: 'admin' }));
    (await admin.get('/api/ops/audit')).list();
    (await world.anonymous.as(ed.token({ role: 'viewer' }))
      .get('/api/ops/audit')).fails(403);
  });

test('whatever does not fit its key is refused', async () => {
  const good = ed.token();
  const [head, body, signature] = good.split('.');
  const encoded = (x) => Buffer.from(JSON.stringify(x)).toString('base64url');
  const bad = {
    'another key under the name': issuer('EdDSA', 'ed-1').token(),
    'a name that nobody has': issuer('EdDSA', 'ed-9').token(),
    "another key's name": ed.token({}, { kid: 'ec-1' }),
    'another algorithm': ed.token({}, { alg: 'ES256' }),
    'RS256 under a name of ES256': rsa.token({}, { kid: 'ec-1' }),
    'expired': ed.token({ exp: now() - 1 }),
    'not yet valid': ed.token({ nbf: now() + 3600 }),
    'without an end': ed.token({ exp: undefined }),
    'without a sub': ed.token({ sub: undefined }),
    'cut': good.slice(0, -3),
    'two parts': `${head}.${body}`,
    'no signature': `${head}.${body}.`,
    'none': `${encoded({ alg: 'none', kid: 'ed-1' })}.${body}.`,
    'none with a signature':
      `${encoded({ alg: 'none', kid: 'ed-1' })}.${body}.${signature}`,
    'other claims': `${head}.${encoded({ sub: 'x', exp: now() + 60 })}.${
      signature}`,
    'with crit': ed.token({}, { crit: ['exp'] }),
    'with a key of its own': issuer('EdDSA', undefined).token({},
      { jwk: ed.jwk }),
    'DER instead of r and s': token(null, { sub: 'u' }, { header: {
      alg: 'ES256', kid: 'ec-1' }, sign: () => Buffer.alloc(70, 0x30) }),
    'too long': ed.token({ padding: 'x'.repeat(9_000) }),
  };
  for (const by of known) {
    for (const format of [{ type: 'spki', format: 'pem' },
      { type: 'spki', format: 'der' }]) {
      const secret = by.publicKey.export(format);
      bad[`HS256 with ${by.alg}'s public key (${format.format})`]
        = token(secret, { sub: 'u' });
      bad[`the same under its name (${by.alg}, ${format.format})`]
        = token(secret, { sub: 'u' }, { header: { alg: 'HS256', kid: by.kid } });
    }
    bad[`the secret under the name of ${by.alg}`] = token(world.secret,
      { sub: 'u' }, { header: { alg: 'HS256', kid: by.kid } });
  }
  for (const [what, text] of Object.entries(bad)) {
    const answer = await ask(text);
    assert.equal(answer.status, 401, `${what}: ${answer}`);
    answer.fails(401);
    assert.ok(!world.server.log.includes(text), `${what} is in the log`);
  }
});

test('keys come and go without a restart', async () => {
  const next = issuer('ES256', 'ec-2');
  const { pid } = world.server;
  replace(keySet(...known, next));
  await untilStatus('the new key is known', next.token(), 200);
  for (const by of known) (await ask(by.token())).list();
  replace(keySet(rsa, ed, next));
  await untilStatus('the old key is gone', ec.token(), 401);
  (await ask(next.token())).list();
  // Written over instead of replaced.
  fs.writeFileSync(file, keySet(...known));
  await untilStatus('the old key is back', ec.token(), 200);
  await untilStatus('the new one is gone', next.token(), 401);
  assert.equal(world.server.pid, pid);
});

test('a broken file keeps the keys as they were, and is told', async () => {
  const broken = { 'no JSON': '{"keys":[', 'no keys': '{"keys":[]}',
    'a private key': JSON.stringify({ keys: [{ ...ed.jwk, d: 'AAAA' }] }),
    'too short': JSON.stringify({ keys: [{ ...ed.jwk, x: 'AAAA' }] }) };
  for (const [what, text] of Object.entries(broken)) {
    const { length } = world.server.log;
    replace(text);
    await world.eventually(`${what} is told`, async () => {
      // Somebody has to come for the file to be looked at.
      for (const by of known) (await ask(by.token())).list();
      return world.server.log.slice(length).includes('stay in use');
    });
    assert.match(world.server.log.slice(length), /auth\.jwks_file: .*jwks\.json: expected/);
  }
  fs.rmSync(file);
  const { length } = world.server.log;
  await world.eventually('that it is not there', async () => {
    (await ask(ed.token())).list();
    return world.server.log.slice(length).includes('stay in use');
  });
  replace(keySet(ed));
  await untilStatus('a good one counts again', ec.token(), 401);
  (await ask(ed.token())).list();
});

test('a bad file at the start is a wrong configuration', async () => {
  const bad = path.join(world.dir, 'bad.json');
  const config = path.join(world.dir, 'bad.toml');
  fs.writeFileSync(config, fs.readFileSync(world.config, 'utf8')
    .replace(JSON.stringify(file), JSON.stringify(bad)));
  const tries = { '': /no JSON object/, '{"keys":[]}': /at least one key/,
    [JSON.stringify({ keys: [ed.jwk, { ...rsa.jwk, e: 'AA' }] })]:
      /key 2 \(kid "rsa-1"\): expected/ };
  for (const [text, words] of Object.entries(tries)) {
    fs.writeFileSync(bad, text);
    for (const command of ['serve', 'check']) {
      const result = await run([command, '--config', config],
        { dir: world.dir, within: 20_000 });
      assert.equal(result.code, 2, result.output);
      const line = result.output.split('\n')
        .find((x) => x.includes('auth.jwks_file'));
      assert.ok(line?.includes('bad.toml'), result.output);
      assert.ok(line.includes('bad.json'), line);
      assert.match(line, words);
    }
  }
  fs.rmSync(bad);
  const missing = await run(['serve', '--config', config],
    { dir: world.dir, within: 20_000 });
  assert.equal(missing.code, 2, missing.output);
  assert.match(missing.output, /jwks_file/);
});

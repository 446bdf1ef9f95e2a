// Credentials get another key while the server is at work, step by step, and
// one that cannot be read is told and kept.

import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from './lib/suite.mjs';
import { World } from './lib/world.mjs';

let world;
let admin;
const keys = {};

/** A key file, once for each name. */
function keyFile(name) {
  keys[name] ??= path.join(world.dir, `keys/${name}.key`);
  if (!fs.existsSync(keys[name])) {
    fs.mkdirSync(path.dirname(keys[name]), { recursive: true });
    fs.writeFileSync(keys[name], crypto.randomBytes(32), { mode: 0o600 });
  }
  return `${name}:${keys[name]}`;
}

/** The server once more, with these keys, the first one first. */
async function restartWith(...names) {
  if (world.server.running) await world.server.terminate();
  world.settings.secrets.credential_keys = names.map(keyFile);
  world.writeConfig();
  await world.server.start();
}

before(async () => {
  world = await World.start({ start: false });
  await restartWith('2026-10');
  admin = world.user({ role: 'admin' });
});
after(() => world?.stop());

const rotate = (api = admin) => api.post('/api/ops/credentials/rotate');

/** Steps until nothing is left; all answers. */
async function rotateAll() {
  const answers = [];
  for (;;) {
    const answer = (await rotate()).ok();
    answers.push(answer);
    assert.ok(answers.length < 100, 'it does not end');
    if (answer.remaining === 0) return answers;
  }
}

/** Rows by the key that they are sealed with: {id: count}. */
function rowsByKey() {
  const text = world.postgres.query('SELECT key_id, count(*) '
    + 'FROM channel_credentials GROUP BY key_id ORDER BY key_id');
  return Object.fromEntries(text.split('\n').filter(Boolean).map((line) => {
    const [key, count] = line.split('|');
    return [key, Number(count)];
  }));
}

/** What is stored under a key, as text. */
const sealedWith = (key) => world.postgres.query('SELECT subscription_id, '
  + 'channel_type, ciphertext FROM channel_credentials '
  + `WHERE key_id = '${key}' ORDER BY 1, 2`);

test('it is for administrators', async () => {
  (await rotate(world.operator)).fails(403, { error: 'forbidden' });
  (await rotate(world.user({ role: 'viewer' }))).fails(403);
  (await rotate(world.user())).fails(403);
  (await rotate(world.anonymous)).fails(401);
});

test('nothing to do is nothing done', async () => {
  const subscription = await world.subscribe();
  assert.ok(subscription.id);
  assert.deepEqual((await rotate()).ok(), { rotated: 0, remaining: 0,
    keyId: '2026-10', failed: 0, failures: [] });
});

test('everything gets the first key in steps, and is still what it was',
  async () => {
    const user = world.user();
    const paid = await world.paid(user);
    for (let i = 0; i < 120; i += 1) {
      (await user.post('/api/subscriptions', { planType: 'PRO',
        channelCredentials: { TELEGRAM: { botToken: `t-${i}` },
          DISCORD: { botToken: `d-${i}` } } })).ok(201);
    }
    const before = rowsByKey();
    assert.deepEqual(Object.keys(before), ['2026-10']);
    await restartWith('2026-11', '2026-10');
    const answers = await rotateAll();
    assert.ok(answers.length > 1, 'steps are small');
    assert.equal(answers.reduce((sum, x) => sum + x.rotated, 0),
      before['2026-10']);
    for (let i = 1; i < answers.length; i += 1) {
      assert.ok(answers[i].remaining < answers[i - 1].remaining);
    }
    for (const x of answers) {
      assert.equal(x.keyId, '2026-11');
      assert.equal(x.failed, 0);
    }
    assert.deepEqual(rowsByKey(), { '2026-11': before['2026-10'] });
    assert.deepEqual((await rotateAll()).map((x) => x.rotated), [0]);
    // Without the old key, what it had sealed is deployed as it was given.
    await restartWith('2026-11');
    await world.notified(paid);
    await world.untilStatus(paid, 'running');
    assert.equal(world.projectsOf(paid).length, 1);
    assert.ok(world.railway.projectsWith(paid.mark).length === 1,
      'the credentials have reached the instance');
  });

test('a killed server goes on where it stopped', async () => {
  await restartWith('2026-12', '2026-11');
  const total = rowsByKey()['2026-11'];
  const { rotated, remaining } = (await rotate()).ok();
  assert.equal(rotated + remaining, total);
  assert.ok(remaining > 0);
  await world.server.kill();
  await world.server.start();
  assert.equal((await rotateAll()).reduce((sum, x) => sum + x.rotated, 0),
    remaining);
  assert.deepEqual(rowsByKey(), { '2026-12': total });
});

test('what cannot be read is told, kept, and read again once it can be',
  async () => {
    const total = rowsByKey()['2026-12'];
    // Three rows under a key that is not configured, and one that is damaged.
    world.postgres.query('UPDATE channel_credentials SET key_id = '
      + "'2025-01' WHERE ctid IN (SELECT ctid FROM channel_credentials LIMIT 3)");
    await restartWith('2027-01', '2026-12');
    world.postgres.query('UPDATE channel_credentials SET ciphertext = '
      + "set_byte(ciphertext, 0, get_byte(ciphertext, 0) # 1) WHERE ctid IN "
      + "(SELECT ctid FROM channel_credentials WHERE key_id = '2026-12' LIMIT 1)");
    const before = sealedWith('2025-01');
    const answers = await rotateAll();
    const failures = answers.flatMap((x) => x.failures);
    assert.equal(failures.length, 4);
    assert.equal(answers.at(-1).failed, 4);
    assert.equal(answers.reduce((sum, x) => sum + x.rotated, 0), total - 4);
    for (const x of failures) {
      assert.match(x.subscriptionId, /^sub_[0-9a-z]+$/);
      assert.ok(['TELEGRAM', 'DISCORD'].includes(x.channelType));
      assert.match(x.reason, x.keyId === '2025-01' ? /no credential key/
        : /changed|not sealed/);
    }
    assert.deepEqual(rowsByKey(), { '2025-01': 3, '2026-12': 1,
      '2027-01': total - 4 });
    assert.equal(sealedWith('2025-01'), before);
    // It was that key after all.
    world.postgres.query('UPDATE channel_credentials SET key_id = '
      + "'2026-12' WHERE key_id = '2025-01'");
    const again = await rotateAll();
    assert.equal(again.reduce((sum, x) => sum + x.rotated, 0), 3);
    assert.equal(again.at(-1).failed, 1);
    assert.deepEqual(rowsByKey(), { '2026-12': 1,
      '2027-01': total - 1 });
    for (const secret of ['t-0', 'd-0']) {
      assert.ok(!world.server.log.includes(`"${secret}"`));
    }
  });

test('each step is in the audit trail', async () => {
  const acts = await admin.all('/api/ops/audit');
  const steps = acts.filter((x) => x.act === 'rotate_keys');
  assert.ok(steps.length >= 6);
  for (const x of steps) {
    assert.equal(x.actor, admin.sub);
    assert.equal(x.subjectKind, 'credentials');
  }
});

// `slipway verify`: the codecs of the gateways, offline, over the vectors.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { before, test } from './lib/suite.mjs';
import { run } from './lib/slipway.mjs';

const dir = fileURLToPath(new URL('../data/vectors', import.meta.url));
const files = fs.readdirSync(dir).filter((name) => name.endsWith('.json')
  && name !== 'index.json').sort();
const vectors = files.map((name) => JSON.parse(
  fs.readFileSync(path.join(dir, name), 'utf8')));

const XML_FAIL = new RegExp('^<xml><return_code><!\\[CDATA\\[FAIL\\]\\]>'
  + '</return_code><return_msg><!\\[CDATA\\[.+\\]\\]></return_msg></xml>$');
const JSON_FAIL = /^\{"code":"FAIL","message":".+"\}$/;

const verdicts = new Map();
let result;
before(async () => {
  result = await run(['verify', ...files.map((name) => path.join(dir, name))]);
  for (const line of result.stdout.split('\n').filter(Boolean)) {
    const verdict = JSON.parse(line);
    verdicts.set(verdict.id, verdict);
  }
});

/** What the outside contract makes of the reply that the gateway expects. */
function replyOf({ gateway, kind, expect }) {
  const { status, body } = expect.reply;
  const refused = expect.signature !== 'valid';
  if (expect.decision !== 'reject') return { statuses: [status], body };
  if (gateway === 'alipay') {
    return refused ? { statuses: [400], body: 'Invalid signature' }
      : { statuses: [200], body: 'failure' };
  }
  if (gateway === 'wechat-v2') {
    // Without a sign to be bad (refunds, and what is no message at all) both
    // would be right.
    return { statuses: kind === 'refund-notify'
      || expect.signature === 'not_evaluated' ? [200, 400]
      : refused ? [400] : [200], body: XML_FAIL };
  }
  return { statuses: [refused ? 401 : 400], body: JSON_FAIL };
}

test('one line for each file, and exit 0 whatever the verdicts', () => {
  assert.equal(result.code, 0, result.output);
  assert.ok(files.length > 0);
  for (const { id } of vectors) assert.ok(verdicts.has(id), `${id} is missing`);
  assert.equal(result.stdout.split('\n').filter(Boolean).length, files.length);
});

for (const vector of vectors) {
  const { id, expect } = vector;
  if (!['notify', 'refund-notify', 'response'].includes(vector.kind)) continue;
  test(`vector ${id}`, () => {
    const got = verdicts.get(id);
    assert.ok(got, 'no verdict');
    const told = JSON.stringify(got);
    assert.equal(got.signature, expect.signature, told);
    if (expect.optional) return;
    assert.equal(got.decision, expect.decision, told);
    if (expect.decision === 'reject') assert.ok(got.reason, told);
    if (!expect.reply) return;
    const reply = replyOf(vector);
    assert.ok(reply.statuses.includes(got.reply?.status), told);
    if (reply.body instanceof RegExp) assert.match(got.reply.body, reply.body);
    else assert.equal(got.reply.body ?? '', reply.body, told);
  });
}

test('a file that is missing, or no vector, is told without a crash',
  async () => {
    for (const name of ['/does/not/exist.json', fileURLToPath(import.meta.url)]) {
      const bad = await run(['verify', name, path.join(dir, files[0])]);
      assert.equal(typeof bad.code, 'number', `ended by ${bad.code}`);
      assert.match(bad.output, new RegExp(path.basename(name)
        .replaceAll('.', '\\.')));
    }
  });

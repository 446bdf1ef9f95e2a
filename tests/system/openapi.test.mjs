// The API's description as the server gives it out. That it is true is seen by
// all the other tests: lib/description.mjs holds every answer to it.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import { after, before, test } from './lib/suite.mjs';
import { FILE, description } from './lib/description.mjs';
import { request } from './lib/http.mjs';
import { run } from './lib/slipway.mjs';
import { World } from './lib/world.mjs';

let world;

before(async () => { world = await World.start(); });

after(() => world?.stop());

const get = (headers) => world.anonymous.get('/api/openapi.json', { headers });

test('it is the file, about this program and this place', async () => {
  const answer = await get();
  assert.equal(answer.status, 200);
  assert.match(answer.headers['content-type'], /^application\/json/);
  const { info: { version, ...info }, servers, ...rest } = answer.json();
  const file = JSON.parse(fs.readFileSync(FILE, 'utf8'));
  delete file.info.version;
  delete file.servers;
  assert.deepEqual({ info, ...rest }, file);
  assert.equal(version, (await run(['--version'])).stdout.trim());
  assert.deepEqual(servers, [{ url: world.url }]);
});

test('whoever has it is not sent it again', async () => {
  const { headers: { etag } } = await get();
  const again = await get({ 'If-None-Match': etag });
  assert.equal(again.status, 304);
  assert.equal(again.text, '');
  assert.equal(again.headers.etag, etag);
  assert.equal((await get({ 'If-None-Match': '"another"' })).status, 200);
  const head = await world.anonymous.send('HEAD', '/api/openapi.json');
  assert.equal(head.status, 200);
  assert.equal(head.headers.etag, etag);
});

// The client holds each of these answers to the description; here is what the
// other tests do not come by.

test('whoever sends a body of another type is told so, wherever one is taken',
  async () => {
    const { id, user } = await world.subscribe();
    const admin = world.user({ role: 'admin' });
    let asked = 0;
    for (const [path, item] of Object.entries(description.document.paths)) {
      for (const [method, operation] of Object.entries(item)) {
        if (!operation.responses?.[415]) continue;
        const answer = await (operation.security ? admin : user).send(
          method.toUpperCase(), path.replace(/\{\w+\}/, id),
          { bytes: 'reason', headers: { 'Content-Type': 'text/plain' } });
        answer.fails(415, { error: 'unsupported_media_type' });
        asked += 1;
      }
    }
    assert.ok(asked >= 10, `${asked} operations take a body`);
  });

test('what operators seldom ask for is described as well', async () => {
  const { id } = await world.subscribe();
  assert.equal((await world.operator.get(`/api/ops/subscriptions/${id}`)).ok()
    .subscriptionId, id);
  (await world.operator.get('/api/ops/subscriptions/sub_0000000000000'))
    .fails(404);
  (await world.operator.get('/api/ops/subscriptions?status=lost')).fails(400,
    { error: 'invalid_filter' });
  (await world.operator.get('/api/deployment/attention?limit=0')).fails(400,
    { error: 'invalid_limit' });
  (await world.operator.post('/api/ops/callbacks/1/replay?dryRun=maybe'))
    .fails(400, { error: 'invalid_request' });
  (await world.operator.post(`/api/ops/subscriptions/${id}/retry`,
    { reason: 'a try' })).fails(409, { error: 'not_paid' });
});

test('refund results that prove nothing are refused in words that are described',
  async () => {
    for (const gateway of ['alipay', 'wechat']) {
      for (const body of ['sign=x', '{}', '<xml></xml>']) {
        const answer = await request(
          `${world.url}/api/payment/${gateway}/refund-notify`,
          { method: 'POST', body });
        assert.ok(answer.status >= 400 && answer.status < 500
          || /FAIL/.test(answer.text), `${gateway} ${body}: ${answer.text}`);
      }
    }
  });

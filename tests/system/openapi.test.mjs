// The API's description as the server gives it out. That it is true is seen by
// all the other tests: lib/description.mjs holds every answer to it.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import { after, before, test } from './lib/suite.mjs';
import { FILE } from './lib/description.mjs';
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

// The description for itself: that it is good OpenAPI, and that what is held to
// it can fail.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import redocly from '@redocly/openapi-core';
import { Description, FILE, description } from './description.mjs';

const text = fs.readFileSync(FILE, 'utf8');
const clone = () => JSON.parse(text);

/** What the linter has to say, all of it; it asks nobody and nothing. */
async function lint(source) {
  const config = await redocly.createConfig({ extends: ['recommended-strict'] });
  const problems = await redocly.lintFromString({ source, config,
    absoluteRef: fileURLToPath(FILE) });
  return problems.map((p) => `${p.ruleId}: ${p.message} (${
    p.location[0]?.pointer})`);
}

test('the linter has nothing against it', async () => {
  assert.deepEqual(await lint(text), []);
});

test('the linter finds what is wrong', async () => {
  const broken = async (change) => {
    const document = clone();
    change(document);
    return (await lint(JSON.stringify(document))).join('\n');
  };
  assert.match(await broken((d) => { delete d.info.title; }),
    /struct/);
  assert.match(await broken((d) => { delete d.components.schemas.Plan; }),
    /no-unresolved-refs/);
  assert.match(await broken((d) => {
    d.paths['/api/plans'].get.responses[200].content['application/json']
      .example.data[0].amount = 99;
  }), /no-invalid-media-type-examples/);
});

test('every schema says what it means', () => {
  assert.ok(new Description(clone()).compile() > 100);
  const slip = clone();
  slip.components.schemas.Plan.properties.amount.minimun = 1;
  assert.throws(() => new Description(slip).compile(), /minimun/);
});

test('what is sent is described to the last member', () => {
  const open = [];
  const looked = new Set();
  const look = (schema, where) => {
    if (typeof schema !== 'object' || schema === null) return;
    if (schema.$ref) {
      if (looked.has(schema.$ref)) return;
      looked.add(schema.$ref);
      look(schema.$ref.slice(2).split('/').reduce((x, key) => x[key],
        description.document), schema.$ref);
      return;
    }
    if (schema.type === 'object' && schema.additionalProperties === undefined
      && schema.maxProperties !== 0) open.push(where);
    // Of `allOf`, the first part is the whole, and the others say more of it.
    for (const part of [...schema.allOf?.slice(0, 1) ?? [],
      ...schema.oneOf ?? [], ...schema.anyOf ?? [], schema.items,
      schema.additionalProperties,
      ...Object.values(schema.properties ?? {})]) look(part, where);
  };
  for (const [path, item] of Object.entries(description.document.paths)) {
    for (const [method, operation] of Object.entries(item)) {
      if (method === 'servers') continue;
      for (const response of [...Object.values(operation.responses),
        ...Object.values(description.document.components.responses)]) {
        for (const body of Object.values(response.content ?? {})) {
          look(body.schema, `${method} ${path}`);
          for (const event of Object.values(body['x-events'] ?? {})) {
            look(event.schema, `${method} ${path}`);
          }
        }
      }
    }
  }
  // That is OpenAPI's.
  assert.deepEqual([...new Set(open)], ['get /api/openapi.json']);
});

test('every error has one meaning, and an example that says so', () => {
  const { examples, responses, schemas } = description.document.components;
  assert.ok(Object.keys(examples).length > 30);
  for (const [code, { value }] of Object.entries(examples)) {
    assert.equal(value.error, code);
    assert.match(code, new RegExp(schemas.Failure.properties.error.pattern));
  }
  assert.ok(responses.Unavailable.headers['Retry-After']);
});

// -- what is held to it

const url = 'http://127.0.0.1:1/api/plans';
const plan = { planType: 'PRO', title: 'Pro', amount: '99.00', currency: 'CNY',
  periodDays: 30 };
const failure = { success: false, message: 'm', error: 'internal',
  requestId: 'r' };

function exchange({ body = { success: true, data: [plan] }, headers = {},
                    ...more } = {}) {
  return { method: 'GET', url, status: 200, text: JSON.stringify(body),
    headers: { 'x-request-id': 'r', 'content-type': 'application/json',
      ...headers }, sent: { headers: {} }, ...more };
}

const offences = (what) => new Description(clone()).offences(exchange(what));

test('what is described passes', () => {
  assert.deepEqual(offences(), []);
  assert.deepEqual(offences({ method: 'HEAD', text: '' }), []);
  assert.deepEqual(offences({ status: 500, body: failure }), []);
  assert.deepEqual(offences({ status: 503, headers: { 'retry-after': '1' },
    body: { ...failure, error: 'overloaded' } }), []);
  assert.deepEqual(offences({ status: 431,
    body: { ...failure, error: 'headers_too_large' } }), []);
  assert.deepEqual(offences({ url: 'http://127.0.0.1:1/gateway.do' }), []);
  assert.deepEqual(offences({ url: `${url}/nothing`, status: 404,
    body: { ...failure, error: 'not_found' } }), []);
  assert.deepEqual(offences({ method: 'POST', status: 405,
    headers: { allow: 'GET' }, body: { ...failure,
      error: 'method_not_allowed' } }), []);
});

test('what is not described does not', () => {
  const wrong = {
    'a member': { body: { success: true, data: [{ ...plan, colour: 'red' }] } },
    'a member beside data': { body: { success: true, data: [], more: 1 } },
    'a missing member': { body: { success: true, data: [{}] } },
    'another type': { body: { success: true, data: [{ ...plan, amount: 99 }] } },
    'a status': { status: 201 },
    'a code': { status: 500, body: { ...failure, error: 'out_of_luck' } },
    'a code of another status': { status: 503, body: failure,
      headers: { 'retry-after': '1' } },
    'a missing header': { headers: { 'x-request-id': undefined } },
    'no Retry-After': { status: 503,
      body: { ...failure, error: 'overloaded' } },
    'a header': { headers: { location: '/elsewhere' } },
    'a type of content': { headers: { 'content-type': 'text/html' } },
    'no JSON': { text: '<html>' },
    'an unknown path': { url: `${url}/nothing` },
    'another method': { method: 'POST' },
    'a known path that is not there': { status: 404,
      body: { ...failure, error: 'not_found' } },
    '405 without Allow': { method: 'POST', status: 405,
      body: { ...failure, error: 'method_not_allowed' } },
  };
  for (const [what, change] of Object.entries(wrong)) {
    assert.notDeepEqual(offences(change), [], what);
  }
});

test('a request that is taken has to be described as well', () => {
  const order = { subscriptionId: 's', gateway: 'ALIPAY', method: 'page' };
  const subscription = { ...exchange(), method: 'POST',
    url: 'http://127.0.0.1:1/api/subscriptions' };
  const taken = (body) => new Description(clone()).offences({ ...subscription,
    status: 201, sent: { headers: {}, text: body } })
    .filter((why) => why.startsWith('taken'));
  assert.deepEqual(taken(JSON.stringify({ planType: 'PRO', more: order })), []);
  assert.equal(taken(JSON.stringify({ planType: 7 })).length, 1);
  assert.equal(taken(undefined).length, 1);
  const listed = (query) => new Description(clone()).offences({ ...exchange({
    body: { success: true, data: [], nextCursor: null } }),
  url: `http://127.0.0.1:1/api/subscriptions?${query}` });
  assert.deepEqual(listed('limit=200'), []);
  assert.equal(listed('limit=201').length, 1);
  assert.equal(listed('limit=many').length, 1);
});

test('events are held to it, too', () => {
  const at = 'http://127.0.0.1:1/api/deployment/logs/sub_2kq1v0xe7m3ca/stream';
  const line = { timestamp: '2026-11-26T08:00:00.000Z', source: 'event',
    level: 'info', message: 'Services created' };
  const event = (change) => description.eventOffences(at,
    { event: 'log', data: line, ...change });
  assert.deepEqual(event(), []);
  assert.equal(event({ event: 'status' }).length, 1);
  assert.equal(event({ data: { ...line, more: 1 } }).length, 1);
  assert.equal(event({ data: 'text' }).length, 1);
});

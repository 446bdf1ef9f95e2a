// Whatever arrives: a 4xx with a stable code, never a 5xx, and the next
// request is served as if nothing had been.

import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import { after, afterEach, before, test } from './lib/suite.mjs';
import { raw, request } from './lib/http.mjs';
import { World } from './lib/world.mjs';

let world;
let user;
before(async () => {
  world = await World.start({ railway: false, mail: false });
  user = world.user();
});
after(() => world?.stop());

// The same process still serves after every test.
let pid;
afterEach(async () => {
  pid ??= world.server.pid;
  assert.ok(world.server.running, 'the server died');
  assert.equal(world.server.pid, pid);
  (await world.anonymous.get('/api/plans')).ok();
});

const someClientError = [400, 403, 404, 405, 409, 411, 413, 414, 415, 422, 431];

/** Asserts a 4xx, and that the same request gets the same code again. */
async function refused(what, send, statuses = someClientError) {
  const first = await send();
  let body;
  try {
    body = first.fails(statuses);
  } catch (error) {
    error.message = `${what}: ${error.message}`;
    throw error;
  }
  const second = (await send()).fails(first.status);
  assert.equal(second.error, body.error, `${what}: the code is not stable`);
  return body;
}

const posts = ['/api/subscriptions', '/api/payment/create',
  '/api/deployment/retry'];

test('malformed JSON', async () => {
  const texts = ['{', '{"planType":', '{"planType":"PRO",}', "{'a':1}",
    'planType=PRO', '{"a":1} {"b":2}', '{"planType":"PRO"', '\u0000',
    '{"planType": PRO}', '<xml/>', '{"planType":"\n"}', '{"a":"\\x"}',
    '{"planType":"\\ud800"}', 'NaN', ' ', '{"a":01}', '{"a":+1}', '\ufeff'];
  for (const path of posts) {
    for (const bytes of texts) {
      await refused(`${path} ${JSON.stringify(bytes)}`,
        () => user.send('POST', path, { bytes }), [400, 404, 422]);
    }
  }
});

test('no body, and JSON that is no object', async () => {
  for (const path of posts) {
    await refused(`${path} without a body`, () => user.send('POST', path));
    for (const bytes of ['', 'null', '[]', '"PRO"', '7', 'true',
      '[{"planType":"PRO"}]']) {
      await refused(`${path} ${bytes}`,
        () => user.send('POST', path, { bytes }), [400, 415, 422]);
    }
  }
});

test('wrong types and missing members', async () => {
  const { id } = await world.subscribe(user);
  const subscriptions = [{}, { planType: null }, { planType: 5 },
    { planType: ['PRO'] }, { planType: { a: 1 } }, { planType: true },
    { planType: '' }, { planType: 'PRO', channelCredentials: 'x' },
    { planType: 'PRO', channelCredentials: [] },
    { planType: 'PRO', channelCredentials: 7 }];
  for (const body of subscriptions) {
    await refused(`subscriptions ${JSON.stringify(body)}`,
      () => user.post('/api/subscriptions', body), [400, 404, 422]);
  }
  const good = { subscriptionId: id, gateway: 'ALIPAY', method: 'page' };
  for (const body of [{}, { ...good, subscriptionId: undefined },
    { ...good, subscriptionId: 5 }, { ...good, subscriptionId: null },
    { ...good, subscriptionId: {} }, { ...good, gateway: undefined },
    { ...good, gateway: 'PAYPAL' }, { ...good, gateway: 5 },
    { ...good, gateway: 'alipay ' }, { ...good, method: undefined },
    { ...good, method: 'jsapi' }, { ...good, method: '' },
    { ...good, method: [] }]) {
    await refused(`payment ${JSON.stringify(body)}`,
      () => user.post('/api/payment/create', body), [400, 404, 422]);
  }
  for (const subscriptionId of [5, {}, [], true, 1.5]) {
    await refused(`retry ${JSON.stringify(subscriptionId)}`,
      () => user.post('/api/deployment/retry', { subscriptionId }));
    await refused(`cancel ${JSON.stringify(subscriptionId)}`,
      () => user.delete('/api/deployment/cancel', { subscriptionId }));
  }
});

test('a plan that does not exist', async () => {
  for (const planType of ['GOLD', 'pro', 'PRO ', '__proto__', "PRO'--",
    'PRO\u0000', '专业版', 'P'.repeat(10_000)]) {
    await refused(`plan ${planType.slice(0, 20)}`,
      () => user.post('/api/subscriptions', { planType }), [400, 404, 422]);
  }
});

test('the amount is never taken from the client', async () => {
  const { id } = await world.subscribe(user);
  const answer = await user.post('/api/payment/create', { subscriptionId: id,
    gateway: 'ALIPAY', method: 'page', amount: '0.01', total_amount: '0.01' });
  if (answer.status === 201) assert.equal(answer.ok(201).amount, '99.00');
  else answer.fails([400, 422]);
});

test('ids that are none', async () => {
  const ids = [crypto.randomUUID(), '0', '-1', 'null', 'undefined', '%00',
    'a%00b', '%ff%fe', '%', '%zz', "'%20OR%20'1'='1", '..%2f..%2fetc', '%0d%0a',
    '99999999999999999999999999', 'x'.repeat(3000), '%E4%B8%AD', '{}', '*'];
  const paths = ['/api/subscriptions/', '/api/payment/',
    '/api/deployment/status/', '/api/deployment/logs/',
    '/api/deployment/events/', '/api/deployment-monitor/progress/'];
  for (const id of ids) {
    for (const path of paths) {
      await refused(`GET ${path}${id.slice(0, 30)}`,
        () => user.get(path + id));
    }
    await refused(`read ${id.slice(0, 30)}`,
      () => user.post(`/api/notifications/${id}/read`));
    await refused(`timeline ${id.slice(0, 30)}`,
      () => world.operator.get(`/api/ops/subscriptions/${id}/timeline`));
    await refused(`callback ${id.slice(0, 30)}`,
      () => world.operator.get(`/api/ops/callbacks/${id}`));
  }
  for (const subscriptionId of [crypto.randomUUID(), 'x', 'a\u0000b', '',
    'x'.repeat(10_000), "'; DROP TABLE subscriptions; --", '中'.repeat(500)]) {
    const body = { subscriptionId };
    await refused('retry', () => user.post('/api/deployment/retry', body));
    await refused('cancel', () => user.delete('/api/deployment/cancel', body));
    await refused('payment', () => user.post('/api/payment/create',
      { ...body, gateway: 'ALIPAY', method: 'page' }));
  }
});

test('a body beyond the limit', async () => {
  const body = { planType: 'PRO', channelCredentials: {
    A: 'x'.repeat(300 * 1024) } };
  const answer = await user.post('/api/subscriptions', body);
  answer.fails(413);
  const notify = await request(`${world.url}/api/payment/alipay/notify`, {
    method: 'POST', body: `a=${'x'.repeat(300 * 1024)}`,
    headers: { 'Content-Type': 'application/x-www-form-urlencoded' } });
  assert.ok(notify.status >= 400 && notify.status < 500, notify.text);
});

test('a body that says it is huge, and one that never says', async () => {
  const head = (more) => 'POST /api/subscriptions HTTP/1.1\r\n'
    + `Host: 127.0.0.1\r\nAuthorization: Bearer ${user.token}\r\n`
    + `Content-Type: application/json\r\n${more}\r\n`;
  const huge = await raw(world.port, head('Content-Length: 99999999999\r\n')
    + '{', { until: /\r\n\r\n/ });
  assert.match(huge, /^HTTP\/1\.1 4\d\d/);
  const chunk = `${(1 << 16).toString(16)}\r\n${'x'.repeat(1 << 16)}\r\n`;
  const endless = await raw(world.port, head('Transfer-Encoding: chunked\r\n')
    + chunk.repeat(6), { until: /\r\n\r\n/ });
  assert.match(endless, /^HTTP\/1\.1 4\d\d/);
});

test('the wrong method', async () => {
  for (const [method, path] of [['PUT', '/api/plans'], ['DELETE', '/api/plans'],
    ['POST', '/api/plans'], ['PATCH', '/api/subscriptions'],
    ['DELETE', '/api/subscriptions'], ['GET', '/api/payment/alipay/notify'],
    ['GET', '/api/deployment/retry'], ['POST', '/api/deployment/cancel'],
    ['PUT', '/api/notifications']]) {
    await refused(`${method} ${path}`, () => user.send(method, path),
      [400, 404, 405]);
  }
  // A method nobody has heard of may be refused before there is a request.
  const { status } = await user.send('FROB', '/api/plans');
  assert.ok(status >= 400 && status < 500 || status === 501, `FROB: ${status}`);
});

test('a path that leads nowhere', async () => {
  for (const path of ['/api', '/api/', '/api/nothing', '/api/plans/extra',
    '/API/PLANS', '/nothing']) {
    await refused(path, () => user.get(path), [400, 404, 405]);
  }
});

test('the wrong content type', async () => {
  const bytes = JSON.stringify({ planType: 'PRO' });
  for (const type of ['text/plain', 'application/xml',
    'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x',
    'image/png']) {
    await refused(type, () => user.send('POST', '/api/subscriptions',
      { bytes, headers: { 'Content-Type': type } }), [400, 415]);
  }
  (await user.send('POST', '/api/subscriptions', { bytes,
    headers: { 'Content-Type': 'application/json; charset=utf-8' } })).ok(201);
});

test('bytes that are no UTF-8', async () => {
  const bad = [[0xff, 0xfe], [0xc0, 0xaf], [0xed, 0xa0, 0x80], [0xe4, 0xb8],
    [0xf5, 0x80, 0x80, 0x80]];
  for (const bytes of bad) {
    const wrap = (before, after) => Buffer.concat([Buffer.from(before),
      Buffer.from(bytes), Buffer.from(after)]);
    const name = Buffer.from(bytes).toString('hex');
    await refused(`plan ${name}`, () => user.send('POST', '/api/subscriptions',
      { bytes: wrap('{"planType":"', '"}') }), [400, 404, 422]);
    await refused(`credentials ${name}`, () => user.send('POST',
      '/api/subscriptions', { bytes: wrap(
        '{"planType":"PRO","channelCredentials":{"A":"', '"}}') }), [400, 422]);
  }
});

test('JSON nested without end', async () => {
  const nested = (depth) => `{"planType":"PRO","channelCredentials":{"A":${
    '['.repeat(depth)}${']'.repeat(depth)}}}`;
  const deep = await user.send('POST', '/api/subscriptions',
    { bytes: nested(1500) });
  if (deep.status !== 201) deep.fails([400, 413, 422]);
  for (const depth of [20_000, 100_000]) {
    const bytes = nested(depth);
    await refused(`${depth} arrays`, () => user.send('POST',
      '/api/subscriptions', { bytes }), [400, 413, 422]);
  }
  const open = `{"planType":${'{"a":'.repeat(40_000)}`;
  await refused('objects that never close', () => user.send('POST',
    '/api/subscriptions', { bytes: open }), [400, 413, 422]);
});

test('giant numbers', async () => {
  for (const number of ['1e999999', '-1e400', '9'.repeat(5000),
    `0.${'0'.repeat(5000)}1`, '18446744073709551616']) {
    await refused(`plan ${number.slice(0, 20)}`, () => user.send('POST',
      '/api/subscriptions', { bytes: `{"planType":${number}}` }),
    [400, 404, 422]);
    const inside = await user.send('POST', '/api/subscriptions', {
      bytes: `{"planType":"PRO","channelCredentials":{"A":${number}}}` });
    // It is JSON: taken whole or refused, but no accident.
    if (inside.status !== 201) inside.fails([400, 422]);
  }
});

test('NUL characters', async () => {
  for (const body of [
    { planType: 'PRO', channelCredentials: { A: 'x\u0000y' } },
    { planType: 'PRO', channelCredentials: { 'A\u0000': 'x' } },
    { planType: 'PRO', 'extra\u0000': 1 }]) {
    const answer = await user.post('/api/subscriptions', body);
    if (answer.status !== 201) answer.fails([400, 422]);
  }
  await refused('retry', () => user.post('/api/deployment/retry',
    { subscriptionId: '\u0000' }));
  const order = await world.order(await world.subscribe(user));
  const params = world.alipay.sign(world.alipay.notification(order.trade,
    { out_trade_no: `${order.order.orderId}\u0000`, body: 'a\u0000b' }));
  const answer = await world.alipay.post(order.trade.notifyUrl, params);
  assert.ok(answer.status < 500, `${answer.status} ${answer.text}`);
  assert.notEqual(answer.text, 'success');
});

test('list parameters that are none', async () => {
  for (const path of ['/api/subscriptions', '/api/notifications']) {
    for (const query of ['limit=abc', 'limit=-1', 'limit=1.5',
      'cursor=nonsense', 'cursor=%00', `cursor=${'x'.repeat(2000)}`]) {
      await refused(`${path}?${query}`, () => user.get(`${path}?${query}`),
        [400, 414, 422]);
    }
    // Too many may be refused or cut to what is allowed.
    for (const limit of ['0', '1000000', '99999999999999999999']) {
      const answer = await user.get(`${path}?limit=${limit}`);
      if (answer.status !== 200) answer.fails([400, 422]);
      else assert.ok(answer.list().data.length <= 1000);
    }
  }
});

test('an Idempotency-Key that is none', async () => {
  const { id } = await world.subscribe(user);
  for (const key of ['', ' ', 'x'.repeat(5000)]) {
    const answer = await user.post('/api/payment/create', { subscriptionId: id,
      gateway: 'ALIPAY', method: 'page' }, { headers: { 'Idempotency-Key': key } });
    if (answer.status !== 201) answer.fails([400, 422, 431]);
  }
});

test('notifications of Alipay that are no forms', async () => {
  const post = (body, type = 'application/x-www-form-urlencoded') => request(
    `${world.url}/api/payment/alipay/notify`, { method: 'POST', body,
      headers: { 'Content-Type': type } });
  for (const body of ['', '&&&', '=', 'sign=', 'a', '%', '%zz=1', 'a=%ff',
    'sign=x&sign=y', '{"sign":"x"}', '\u0000', '&'.repeat(100_000),
    'a=1&'.repeat(50_000)]) {
    const answer = await post(body);
    assert.ok(answer.status >= 400 && answer.status < 500,
      `${JSON.stringify(body.slice(0, 30))}: ${answer.status} ${answer.text}`);
  }
  const json = await post('{}', 'application/json');
  assert.ok(json.status >= 400 && json.status < 500, json.text);
});

test('HTTP that is none', async () => {
  const host = 'Host: 127.0.0.1\r\n';
  for (const text of ['\r\n\r\n\r\n', 'nonsense\r\n\r\n', 'GET\r\n\r\n',
    `GET /api/plans HTTP/9.9\r\n${host}\r\n`,
    `GET /api/plans HTTP/1.1\r\n${host}X: ${'y'.repeat(200_000)}\r\n\r\n`,
    `GET /${'z'.repeat(100_000)} HTTP/1.1\r\n${host}\r\n`,
    `GET /api/plans HTTP/1.1\r\n${host}${'A: b\r\n'.repeat(20_000)}\r\n`,
    `POST /api/subscriptions HTTP/1.1\r\n${host}Content-Length: -5\r\n\r\n`,
    `POST /api/subscriptions HTTP/1.1\r\n${host}Content-Length: 5\r\n`
      + 'Content-Length: 6\r\n\r\n123456',
    `POST /api/subscriptions HTTP/1.1\r\n${host}Transfer-Encoding: chunked\r\n`
      + '\r\nZZZ\r\n', '\u0016\u0003\u0001\u0002\u0000\u0001']) {
    const answer = await raw(world.port, Buffer.from(text, 'latin1'),
      { timeout: 1500, until: /\r\n\r\n/ }).catch((error) => error.code);
    assert.doesNotMatch(answer, /^HTTP\/1\.\d 5(?!05)/,
      `${JSON.stringify(text.slice(0, 40))}: ${answer.slice(0, 100)}`);
  }
});

test('a client that goes away in the middle', async () => {
  for (const text of ['POST /api/subscriptions HTTP/1.1\r\nHost: a\r\n'
    + `Authorization: Bearer ${user.token}\r\nContent-Type: application/json`
    + '\r\nContent-Length: 500\r\n\r\n{"planType"', 'GET /api/pla']) {
    await raw(world.port, text, { timeout: 100 });
  }
});

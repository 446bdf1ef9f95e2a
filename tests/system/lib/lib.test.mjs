import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import http from 'node:http';
import { test } from 'node:test';
import { Api } from './client.mjs';
import { EventStream, raw, request } from './http.mjs';
import { claimsOf, token } from './jwt.mjs';
import { parseMetrics } from './metrics.mjs';
import { close, listen } from './ports.mjs';
import { toToml } from './toml.mjs';
import { eventually, fatal, never } from './wait.mjs';

async function serving(handler, body) {
  const sockets = new Set();
  const server = http.createServer(handler);
  server.on('connection', (socket) => sockets.add(socket));
  const port = await listen(server);
  try {
    await body(`http://127.0.0.1:${port}`, port);
  } finally {
    await close(server, sockets);
  }
}

test('waiting ends with the condition, the deadline, or a fatal error',
  async () => {
    let n = 0;
    assert.equal(await eventually('three', () => (n += 1) === 3 && 'there',
      { every: 1 }), 'there');
    await assert.rejects(eventually('never', () => { throw new Error('why'); },
      { within: 20, every: 1 }), /not within 20 ms: never \(why\)/);
    n = 0;
    await assert.rejects(eventually('once', () => {
      n += 1;
      throw fatal('at once');
    }), /at once/);
    assert.equal(n, 1);
    await assert.rejects(never('seen', () => (n += 1) > 3, { every: 1 }),
      /must not happen: seen/);
    await never('nothing', () => false, { during: 5, every: 1 });
  });

test('a token is three parts, and its signature is HMAC-SHA256', () => {
  const text = token('secret', { sub: 'u', exp: undefined });
  const [head, body, signature] = text.split('.');
  assert.equal(signature, crypto.createHmac('sha256', 'secret')
    .update(`${head}.${body}`).digest('base64url'));
  assert.equal(claimsOf(text).sub, 'u');
  assert.ok(!('exp' in claimsOf(text)));
  assert.ok(claimsOf(token('secret', {})).exp > Date.now() / 1000);
});

test('metrics: types, labels and sums', () => {
  const metrics = parseMetrics('# HELP a_total x\n# TYPE a_total counter\n'
    + 'a_total{k="x",l="q\\"}"} 2\na_total{k="y"} 3\nb 1.5 1700000000\n'
    + 'c_bucket{le="+Inf"} 4\n');
  assert.equal(metrics.families.get('a_total'), 'counter');
  assert.equal(metrics.sum('a_total'), 5);
  assert.equal(metrics.sum('a_total', { k: 'x' }), 2);
  assert.equal(metrics.samples[0].labels.l, 'q"}');
  assert.equal(metrics.sum('b'), 1.5);
  assert.throws(() => parseMetrics('<html>'), /not Prometheus text/);
});

test('a configuration is written as TOML', () => {
  assert.equal(toToml({ http: { listen: 'a:1', none: undefined },
    plans: { PRO: { title: '专业', variables: { TIER: 'pro' } } },
    off: undefined, keys: { list: ['a', 'b'], n: 3, on: true } }),
  '[http]\nlisten = "a:1"\n\n[plans.PRO]\ntitle = "专业"\n'
    + 'variables = { TIER = "pro" }\n\n[keys]\nlist = ["a", "b"]\nn = 3\n'
    + 'on = true\n');
});

test('the client holds every answer to the envelope', () => serving(
  (req, res) => {
    const { status, body, id } = JSON.parse(decodeURIComponent(req.url.slice(2)));
    res.writeHead(status, { 'Content-Type': 'application/json',
      ...(id ? { 'X-Request-Id': id } : {}) });
    res.end(JSON.stringify(body));
  }, async (url) => {
    const api = new Api(url);
    const get = (answer) => api.get(`/?${encodeURIComponent(
      JSON.stringify(answer))}`);
    const good = { success: true, data: { a: 1 } };
    assert.deepEqual((await get({ status: 200, id: 'r', body: good })).ok(),
      { a: 1 });
    const answer = async (value) => get(value);
    await assert.rejects(async () => (await answer({ status: 200, body: good }))
      .ok(), /X-Request-Id/);
    await assert.rejects(async () => (await answer({ status: 201, id: 'r',
      body: good })).ok(), /201/);
    const bad = { success: false, message: 'm', error: 'not_found',
      requestId: 'r' };
    (await answer({ status: 404, id: 'r', body: bad })).fails(404,
      { message: 'm', error: 'not_found' });
    for (const body of [{ ...bad, error: 'Not Found' }, { ...bad, message: '' },
      { ...bad, requestId: 'other' }, { ...bad, success: true }]) {
      await assert.rejects(async () => (await answer({ status: 404, id: 'r',
        body })).fails(404));
    }
    await assert.rejects(async () => (await answer({ status: 500, id: 'r',
      body: bad })).fails([400, 404]), /expected 400 or 404/);
  }));

test('requests have a deadline, events are read, bytes go as they are',
  () => serving((req, res) => {
    if (req.url === '/hang') return;
    if (req.url === '/events') {
      res.writeHead(200, { 'Content-Type': 'text/event-stream' });
      res.write(': hello\n\nid: 1\nevent: status\ndata: {"status"');
      setTimeout(() => res.write(':"pending"}\n\nid: 2\ndata: plain\n\n'), 10);
      return;
    }
    res.end(req.method);
  }, async (url, port) => {
    await assert.rejects(request(`${url}/hang`, { timeout: 30 }), /no answer/);
    const stream = await new EventStream(`${url}/events`).opened();
    await eventually('two events', () => stream.events.length === 2);
    assert.deepEqual(stream.events[0], { event: 'status', id: '1',
      data: { status: 'pending' } });
    assert.equal(stream.events[1].data, 'plain');
    assert.equal(stream.comments, 1);
    stream.close();
    assert.match(await raw(port, 'FROB\r\n\r\n'), /^HTTP\/1\.1 400/);
    assert.match(await raw(port, 'GET / HTTP/1.0\r\n\r\n'), /GET$/);
  }));

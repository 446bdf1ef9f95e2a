// An OpenTelemetry collector: OTLP over HTTP, in JSON. Takes spans apart as
// strictly as the specification allows, and misbehaves on demand.

import assert from 'node:assert/strict';
import http from 'node:http';

const TRACE_ID = /^(?!0{32})[0-9a-f]{32}$/;
const SPAN_ID = /^(?!0{16})[0-9a-f]{16}$/;

/** {key: text or number} of OTLP's attributes. */
function attributesOf(list = []) {
  return Object.fromEntries(list.map(({ key, value }) => {
    assert.equal(typeof key, 'string');
    const [[type, content]] = Object.entries(value);
    if (type === 'intValue') {
      assert.match(content, /^-?\d+$/, 'int64 is text in JSON');
      return [key, Number(content)];
    }
    assert.equal(type, 'stringValue');
    return [key, content];
  }));
}

export class Collector {
  /** Spans as they came: OTLP's fields, `attributes` as an object. */
  spans = [];
  /** What the server did wrong. */
  complaints = [];
  /** Bodies as they came. */
  bodies = [];
  exports = 0;
  /** The status of the next answers, or `hang`. */
  mode = 200;
  #server;
  #held = new Set();

  static async start() {
    const collector = new Collector();
    await collector.#listen();
    return collector;
  }

  async #listen() {
    this.#server = http.createServer((req, res) => {
      this.#serve(req, res).catch((error) => {
        this.complaints.push(error.message);
        res.writeHead(400).end();
      });
    });
    await new Promise((resolve) => {
      this.#server.listen(0, '127.0.0.1', resolve);
    });
    this.port = this.#server.address().port;
    this.url = `http://127.0.0.1:${this.port}/v1/traces`;
  }

  async stop() {
    for (const res of this.#held) res.destroy();
    this.#server.closeAllConnections();
    await new Promise((resolve) => { this.#server.close(resolve); });
  }

  async #serve(req, res) {
    const chunks = [];
    for await (const chunk of req) chunks.push(chunk);
    this.exports += 1;
    if (this.mode === 'hang') {
      this.#held.add(res);
      return;
    }
    if (this.mode === 200) {
      const text = Buffer.concat(chunks).toString('utf8');
      this.bodies.push(text);
      assert.equal(req.method, 'POST');
      assert.equal(req.url, '/v1/traces');
      assert.match(req.headers['content-type'], /^application\/json/);
      this.#take(JSON.parse(text));
    }
    res.writeHead(this.mode, { 'Content-Type': 'application/json' }).end('{}');
  }

  #take({ resourceSpans }) {
    for (const { resource, scopeSpans } of resourceSpans) {
      const service = attributesOf(resource.attributes);
      assert.ok(service['service.name']);
      for (const { spans } of scopeSpans) {
        for (const span of spans) this.spans.push(this.#check(span, service));
      }
    }
  }

  #check(span, service) {
    assert.match(span.traceId, TRACE_ID);
    assert.match(span.spanId, SPAN_ID);
    if (span.parentSpanId) assert.match(span.parentSpanId, SPAN_ID);
    assert.ok(span.name);
    assert.ok([1, 2, 3].includes(span.kind), `kind ${span.kind}`);
    assert.match(span.startTimeUnixNano, /^\d{19}$/);
    assert.match(span.endTimeUnixNano, /^\d{19}$/);
    assert.ok(BigInt(span.startTimeUnixNano) <= BigInt(span.endTimeUnixNano));
    for (const link of span.links ?? []) {
      assert.match(link.traceId, TRACE_ID);
      assert.match(link.spanId, SPAN_ID);
    }
    return { ...span, service, attributes: attributesOf(span.attributes) };
  }

  /** The spans of one trace, the earliest first. */
  trace(id) {
    return this.spans.filter((s) => s.traceId === id)
      .sort((a, b) => (BigInt(a.startTimeUnixNano) < BigInt(b.startTimeUnixNano)
        ? -1 : 1));
  }

  /** Spans of a name that are about a subscription. */
  about(subscription, name) {
    return this.spans.filter((s) => s.name === name
      && s.attributes['slipway.subscription_id'] === subscription.id);
  }
}

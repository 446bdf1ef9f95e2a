// The API as a frontend sees it, with the promises about every answer checked
// on every answer.

import assert from 'node:assert/strict';
import { EventStream, request } from './http.mjs';

export const RFC3339_UTC = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/;
export const MONEY = /^\d+\.\d{2}$/;
export const STABLE_CODE = /^[a-z][a-z0-9_]*$/;

export class Answer {
  constructor(what, answer) {
    this.what = what;
    this.status = answer.status;
    this.headers = answer.headers;
    this.text = answer.text;
    this.json = answer.json;
  }

  toString() {
    return `${this.what}: ${this.status} ${this.text.slice(0, 300)}`;
  }

  #envelope() {
    assert.match(this.headers['content-type'] ?? '', /^application\/json/,
      String(this));
    assert.ok(this.headers['x-request-id'], `no X-Request-Id: ${this}`);
    return this.json();
  }

  /** Success: the envelope; `data` is its main part. */
  success(status = 200) {
    assert.equal(this.status, status, String(this));
    const body = this.#envelope();
    assert.equal(body.success, true, String(this));
    return body;
  }

  ok(status = 200) {
    const body = this.success(status);
    assert.ok('data' in body, `no data: ${this}`);
    return body.data;
  }

  /** A list, with `nextCursor` beside it. */
  list() {
    const body = this.success();
    assert.ok(Array.isArray(body.data), `not a list: ${this}`);
    assert.ok('nextCursor' in body, `no nextCursor: ${this}`);
    assert.ok(body.nextCursor === null || typeof body.nextCursor === 'string',
      String(this));
    return body;
  }

  /**
   * Failure: the envelope.
   *
   * @param status a number, or several that would all be right
   */
  fails(status, { message, error } = {}) {
    const allowed = [status].flat();
    assert.ok(allowed.includes(this.status),
      `expected ${allowed.join(' or ')}, got ${this}`);
    const body = this.#envelope();
    assert.equal(body.success, false, String(this));
    assert.ok(typeof body.message === 'string' && body.message.length > 0,
      `no message for people: ${this}`);
    assert.match(body.error ?? '', STABLE_CODE, `no stable code: ${this}`);
    assert.equal(body.requestId, this.headers['x-request-id'], String(this));
    if (message !== undefined) assert.equal(body.message, message, String(this));
    if (error !== undefined) assert.equal(body.error, error, String(this));
    return body;
  }
}

export class Api {
  constructor(base, token) {
    this.base = base;
    this.token = token;
  }

  /** The same server under another token. */
  as(token) {
    return new Api(this.base, token);
  }

  async send(method, path, { body, headers = {}, bytes, timeout,
                             described } = {}) {
    const sent = {
      ...(this.token === undefined ? {}
        : { Authorization: `Bearer ${this.token}` }),
      ...(body === undefined && bytes === undefined ? {}
        : { 'Content-Type': 'application/json' }),
      ...headers,
    };
    const answer = await request(`${this.base}${path}`, {
      method, timeout, described, headers: sent,
      body: bytes ?? (body === undefined ? undefined : JSON.stringify(body)),
    });
    return new Answer(`${method} ${path}`, answer);
  }

  get(path, options) {
    return this.send('GET', path, options);
  }

  post(path, body, options = {}) {
    return this.send('POST', path, { body, ...options });
  }

  put(path, body, options = {}) {
    return this.send('PUT', path, { body, ...options });
  }

  delete(path, body, options = {}) {
    return this.send('DELETE', path, { body, ...options });
  }

  /** Server-Sent Events; resolves when the head of the answer is there. */
  events(path, headers = {}) {
    return new EventStream(`${this.base}${path}`, {
      ...(this.token === undefined ? {}
        : { Authorization: `Bearer ${this.token}` }),
      ...headers,
    }).opened();
  }

  /** All entries of a list, page by page. */
  async all(path, { limit = 100 } = {}) {
    const found = [];
    let cursor = null;
    for (let page = 0; page < 100; page += 1) {
      const query = `${path.includes('?') ? '&' : '?'}limit=${limit}`
        + (cursor ? `&cursor=${encodeURIComponent(cursor)}` : '');
      const { data, nextCursor } = (await this.get(path + query)).list();
      found.push(...data);
      if (nextCursor === null) return found;
      assert.notEqual(nextCursor, cursor, `${path}: the cursor stands still`);
      cursor = nextCursor;
    }
    throw new Error(`${path}: the list has no end`);
  }
}

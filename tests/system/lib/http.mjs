// A small HTTP client: one connection per request (a server that was killed
// leaves no dead keep-alive behind), exact bytes, a deadline on everything.

import http from 'node:http';
import net from 'node:net';
import { hold, holdEvent } from './description.mjs';

/**
 * @param options.described false for a request that is none of the API's, so
 *   that its answer need not be as described
 * @returns {{status, headers, raw: Buffer, text: string, json: function}}
 */
export function request(url, { method = 'GET', headers = {}, body,
                               timeout = 20_000, described = true } = {}) {
  const bytes = body === undefined ? undefined
    : Buffer.isBuffer(body) ? body : Buffer.from(body);
  return new Promise((resolve, reject) => {
    let answered = false;
    const call = http.request(url, {
      method,
      agent: false,
      headers: {
        ...headers,
        ...(bytes ? { 'Content-Length': bytes.length } : {}),
      },
    });
    const timer = setTimeout(() => {
      call.destroy(new Error(`${method} ${url}: no answer in ${timeout} ms`));
    }, timeout);
    call.on('response', (response) => {
      answered = true;
      const chunks = [];
      response.on('data', (chunk) => chunks.push(chunk));
      response.on('error', (error) => { clearTimeout(timer); reject(error); });
      response.on('end', () => {
        clearTimeout(timer);
        const raw = Buffer.concat(chunks);
        const text = raw.toString('utf8');
        try {
          if (described) {
            hold({ method, url, status: response.statusCode,
              headers: response.headers, text,
              sent: { headers, text: bytes?.toString('utf8') } });
          }
        } catch (error) {
          reject(error);
          return;
        }
        resolve({
          status: response.statusCode,
          headers: response.headers,
          raw,
          text,
          json: () => {
            try {
              return JSON.parse(text);
            } catch {
              throw new Error(`${method} ${url}: ${response.statusCode}, `
                + `not JSON: ${text.slice(0, 200)}`);
            }
          },
        });
      });
    });
    call.on('error', (error) => {
      // A server may refuse a large body before it has read it.
      if (answered) return;
      clearTimeout(timer);
      reject(error);
    });
    call.end(bytes);
  });
}

/** Sends bytes as they are and resolves to everything that came back. */
export function raw(port, bytes, { timeout = 10_000, until } = {}) {
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, '127.0.0.1');
    let got = Buffer.alloc(0);
    const done = () => {
      clearTimeout(timer);
      socket.destroy();
      resolve(got.toString('latin1'));
    };
    const timer = setTimeout(done, timeout);
    socket.on('connect', () => socket.write(bytes));
    socket.on('data', (chunk) => {
      got = Buffer.concat([got, chunk]);
      if (until && until.test(got.toString('latin1'))) done();
    });
    socket.on('end', done);
    socket.on('error', (error) => {
      if (got.length) return done();
      clearTimeout(timer);
      reject(error);
    });
  });
}

/**
 * Server-Sent Events. `events` grows as they arrive: {id, event, data}, data
 * parsed as JSON where it is. `comments` counts heartbeats.
 */
export class EventStream {
  events = [];
  comments = 0;
  status;
  headers;
  #call;
  #opened;

  constructor(url, headers = {}) {
    this.#opened = new Promise((resolve, reject) => {
      this.#call = http.get(url, {
        agent: false,
        headers: { Accept: 'text/event-stream', ...headers },
      });
      this.#call.on('error', reject);
      this.#call.on('response', (response) => {
        this.status = response.statusCode;
        this.headers = response.headers;
        try {
          hold({ method: 'GET', url, status: this.status,
            headers: this.headers, sent: { headers } });
        } catch (error) {
          reject(error);
          return;
        }
        let rest = '';
        response.setEncoding('utf8');
        response.on('data', (text) => {
          rest += text;
          const blocks = rest.split(/\r?\n\r?\n/);
          rest = blocks.pop();
          for (const block of blocks) this.#take(url, block);
        });
        response.on('error', () => { this.ended = true; });
        response.on('close', () => { this.ended = true; });
        resolve(this);
      });
    });
    this.#opened.catch(() => {});
  }

  opened() {
    return this.#opened;
  }

  #take(url, block) {
    const event = { event: 'message', id: undefined, data: [] };
    for (const line of block.split(/\r?\n/)) {
      if (line.startsWith(':')) {
        this.comments += 1;
        continue;
      }
      const colon = line.indexOf(':');
      if (colon < 0) continue;
      const name = line.slice(0, colon);
      const value = line.slice(colon + 1).replace(/^ /, '');
      if (name === 'data') event.data.push(value);
      else if (name in event) event[name] = value;
    }
    if (!event.data.length) return;
    const text = event.data.join('\n');
    try {
      event.data = JSON.parse(text);
    } catch {
      event.data = text;
    }
    holdEvent(url, event);
    this.events.push(event);
  }

  close() {
    this.#call.destroy();
  }
}

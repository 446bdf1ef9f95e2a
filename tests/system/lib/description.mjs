// The server's own description (http/api/openapi/openapi.json), and whether what
// it answers is what it says there: every answer that comes through lib/http.mjs
// is held to it. What the description does not know is wrong, too: a status, an
// error's code, a member, a header that tells something.

import fs from 'node:fs';
import Ajv from 'ajv/dist/2020.js';
import { fatal } from './wait.mjs';

export const FILE = new URL('../../../http/api/openapi/openapi.json',
  import.meta.url);

/** Operations of slipway_faults alone. */
const FOR_TESTS = /^POST \/api\/ops\/actors\/[^/]+\/kill$/;

/** Headers that mean something to a client. */
const TELLING = ['allow', 'etag', 'link', 'location', 'retry-after',
  'set-cookie', 'www-authenticate'];

const METHODS = ['get', 'post', 'put', 'delete', 'patch'];

const escaped = (key) => key.replace(/~/g, '~0').replace(/\//g, '~1');
const unescaped = (key) => key.replace(/~1/g, '/').replace(/~0/g, '~');

/** A description, ready to be asked about exchanges. */
export class Description {
  #ajv = new Ajv({ strict: true, allowUnionTypes: true, allErrors: false,
    formats: { 'date-time':
      /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/ } });
  #validators = new Map();
  #templates;
  /** `GET /api/plans 200`, … that have been looked at. */
  seen = new Set();

  constructor(document) {
    this.document = document;
    // What is at the top of a description is no schema; those are further down.
    this.#ajv.addVocabulary(Object.keys(document));
    this.#ajv.addSchema(document, 'description');
    this.#templates = Object.keys(document.paths).map((path) => ({ path,
      names: [...path.matchAll(/\{(\w+)\}/g)].map((m) => m[1]),
      pattern: new RegExp(`^${path.replace(/[.]/g, '\\.')
        .replace(/\{\w+\}/g, '([^/]+)')}$`) }))
      .sort((a, b) => a.names.length - b.names.length);
  }

  /** `METHOD /path` of everything that is described. */
  operations() {
    return Object.entries(this.document.paths).flatMap(([path, item]) => METHODS
      .filter((method) => item[method])
      .map((method) => `${method.toUpperCase()} ${path}`));
  }

  /** What a JSON pointer as a list of keys leads to, references followed. */
  #find(keys) {
    let at = keys;
    let value = keys.reduce((x, key) => x?.[key], this.document);
    while (value?.$ref) {
      at = value.$ref.slice(2).split('/').map(unescaped);
      value = at.reduce((x, key) => x?.[key], this.document);
    }
    return { at, value };
  }

  #validator(keys) {
    const pointer = keys.map((key) => encodeURIComponent(escaped(key)))
      .join('/');
    if (!this.#validators.has(pointer)) {
      this.#validators.set(pointer,
        this.#ajv.compile({ $ref: `description#/${pointer}` }));
    }
    return this.#validators.get(pointer);
  }

  /** Reads every schema, which is otherwise done when one is needed. */
  compile(keys = [], value = this.document) {
    if (typeof value !== 'object' || value === null) return 0;
    return Object.entries(value).reduce((sum, [key, x]) => {
      const at = [...keys, key];
      if (key === 'schema' || /^components,schemas,[^,]+$/.test(String(at))) {
        this.#validator(at);
        return sum + 1;
      }
      return sum + this.compile(at, x);
    }, 0);
  }

  /** What is wrong with a value by the schema there; nothing when it is right. */
  #wrong(keys, value) {
    const validate = this.#validator(keys);
    if (validate(value)) return [];
    return validate.errors.map((e) => `${e.instancePath || 'it'} ${e.message}`
      + (e.params.additionalProperty ? `: ${e.params.additionalProperty}` : '')
      + (e.params.allowedValues ? `: ${e.params.allowedValues.join(', ')}` : '')
      + ` (${JSON.stringify(e.instancePath.split('/').slice(1).map(unescaped)
        .reduce((x, key) => x?.[key], value))?.slice(0, 120)})`);
  }

  /** {path, item, params} of a request's path; nothing when it is unknown. */
  #match(pathname) {
    const path = pathname.replace(/\/+/g, '/').replace(/(.)\/$/, '$1');
    for (const { path: template, names, pattern } of this.#templates) {
      const hit = pattern.exec(path);
      if (!hit) continue;
      return { path: template, item: this.document.paths[template],
        params: Object.fromEntries(names.map((name, i) => {
          try {
            return [name, decodeURIComponent(hit[i + 1])];
          } catch {
            return [name, hit[i + 1]];
          }
        })) };
    }
    return undefined;
  }

  /**
   * What the description does not allow of an exchange.
   *
   * @param exchange {method, url, status, headers} of the answer, its `text`
   *   unless that goes on, and `sent`: {headers, text} of the request
   * @returns sentences; none when everything is described, or not ours
   */
  offences(exchange) {
    const { method, url, status } = exchange;
    const { pathname, searchParams } = new URL(url);
    const found = this.#match(pathname);
    if (!found && !pathname.startsWith('/api/')) return [];
    if (FOR_TESTS.test(`${method} ${pathname}`)) return [];
    const name = method === 'HEAD' ? 'get' : method.toLowerCase();
    const operation = METHODS.includes(name) ? found?.item[name] : undefined;
    if (!operation) return this.#unserved(exchange, found);
    // Of the other listener.
    if (found.item.servers && status === 404) {
      return this.#unserved(exchange, undefined);
    }
    const which = operation.responses[status] ? String(status)
      : `${String(status)[0]}XX`;
    if (!operation.responses[which]) {
      return [`${status} is no status of ${operation.operationId}`];
    }
    this.seen.add(`${method} ${found.path} ${status}`);
    const wrong = this.#answered(
      ['paths', found.path, name, 'responses', which], exchange);
    if (status >= 200 && status < 300) {
      wrong.push(...this.#asked(['paths', found.path, name], operation,
        { path: found.params, query: Object.fromEntries(searchParams),
          ...exchange.sent }));
    }
    return wrong;
  }

  /** An answer to what no operation is for. */
  #unserved(exchange, found) {
    const { method, status, headers } = exchange;
    if (status === 204 && method === 'OPTIONS' && found) {
      return headers.allow ? [] : ['204 to OPTIONS without Allow'];
    }
    if (status === 503) {
      return this.#answered(['components', 'responses', 'Unavailable'],
        exchange);
    }
    const code = { 404: 'not_found', 405: 'method_not_allowed' }[status];
    if (!code || (code === 'not_found') === Boolean(found)) {
      return this.#answered(['components', 'responses', 'Refused'], exchange);
    }
    if (status === 405 && !headers.allow) return ['405 without Allow'];
    if (method === 'HEAD' || exchange.text === undefined) return [];
    const body = parsed(exchange.text);
    const wrong = this.#wrong(['components', 'schemas', 'Failure'], body);
    if (!wrong.length && body.error !== code) wrong.push(`no ${code}`);
    return wrong;
  }

  #answered(keys, { method, status, headers, text }) {
    const { at, value: response } = this.#find(keys);
    const wrong = [];
    const described = new Set();
    for (const name of Object.keys(response.headers ?? {})) {
      const header = this.#find([...at, 'headers', name]);
      const key = name.toLowerCase();
      described.add(key);
      if (headers[key] === undefined) {
        if (header.value.required) wrong.push(`no header ${name}`);
        continue;
      }
      wrong.push(...this.#wrong([...header.at, 'schema'], headers[key])
        .map((why) => `header ${name}: ${why}`));
    }
    for (const name of TELLING) {
      if (name in headers && !described.has(name)) {
        wrong.push(`a header ${name} with ${status}`);
      }
    }
    if (method === 'HEAD' || text === undefined) return wrong;
    const types = Object.keys(response.content ?? {});
    const type = (headers['content-type'] ?? '').split(';')[0].trim();
    if (!types.length) {
      if (text !== '') wrong.push(`a body with ${status}`);
    } else if (!types.includes(type)) {
      wrong.push(`${type || 'no type'} instead of ${types.join(' or ')}`);
    } else if (type !== 'text/event-stream') {
      wrong.push(...this.#wrong([...at, 'content', type, 'schema'],
        type === 'application/json' ? parsed(text) : text));
    }
    return wrong;
  }

  /** A request that was taken has to be one that is described. */
  #asked(keys, operation, { path, query, headers = {}, text }) {
    const wrong = [];
    const given = { path, query, header: Object.fromEntries(Object
      .entries(headers).map(([name, value]) => [name.toLowerCase(), value])) };
    (operation.parameters ?? []).forEach((_, i) => {
      const { at, value } = this.#find([...keys, 'parameters', i]);
      const it = given[value.in][value.in === 'header'
        ? value.name.toLowerCase() : value.name];
      if (it === undefined || it === '') return;
      const { type } = this.#find([...at, 'schema']).value;
      const read = type === 'integer' || type === 'boolean' ? parsed(it) : it;
      wrong.push(...this.#wrong([...at.map(String), 'schema'], read)
        .map((why) => `taken with ${value.name}: ${why}`));
    });
    const body = operation.requestBody?.content['application/json'];
    // What is not ours to define is in the words of those who post it.
    if (!body || operation.tags.includes('Callbacks')) return wrong;
    const type = String(given.header['content-type'] ?? 'application/json')
      .split(';')[0].trim().toLowerCase();
    if (text === undefined || text === '') {
      if (operation.requestBody.required) wrong.push('taken without a body');
    } else if (type !== 'application/json') {
      if (!operation.requestBody.content[type]) {
        wrong.push(`taken with a body of type ${type}`);
      }
    } else {
      wrong.push(...this.#wrong([...keys, 'requestBody', 'content',
        'application/json', 'schema'], parsed(text))
        .map((why) => `taken with the body: ${why}`));
    }
    return wrong;
  }

  /** The same for one server-sent event. */
  eventOffences(url, { event, data }) {
    const { pathname } = new URL(url);
    const found = this.#match(pathname);
    if (!found) return [];
    const keys = ['paths', found.path, 'get', 'responses', '200', 'content',
      'text/event-stream', 'x-events'];
    const { value } = this.#find(keys);
    if (!value?.[event]) return [`an event of type ${event}`];
    return this.#wrong([...keys, event, 'schema'], data);
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

export const description = new Description(JSON.parse(
  fs.readFileSync(FILE, 'utf8')));

// Some callers go on after a request that fails, since servers are killed under
// them; the file fails all the same.
const found = [];
process.on('exit', () => {
  const log = process.env.SLIPWAY_TEST_DESCRIBED;
  if (log) {
    fs.appendFileSync(log, [...description.seen].map((x) => `${x}\n`).join(''));
  }
  if (!found.length) return;
  process.exitCode = 1;
  process.stderr.write(`not as described:\n${found.join('\n')}\n`);
});

function complain(what, wrong) {
  if (!wrong.length) return;
  const message = `${what} is not as described: ${wrong.join('; ')}`;
  found.push(message);
  throw fatal(message);
}

/** Throws when an answer of the server is not as described. */
export function hold(exchange) {
  complain(`${exchange.method} ${exchange.url}: ${exchange.status} ${
    exchange.text?.slice(0, 300) ?? ''}`, description.offences(exchange));
}

/** Throws when a server-sent event is not as described. */
export function holdEvent(url, event) {
  complain(`an event of ${url}: ${JSON.stringify(event).slice(0, 300)}`,
    description.eventOffences(url, event));
}

// The public API, as an operator's token opens it. The token lives in
// sessionStorage: it leaves with the tab, and is never part of an address.

import { t } from './words.js';

const PLACE = 'slipway.ops.token';

/** An answer that was no success, or none at all (status 0). */
export class ApiError extends Error {
  constructor({ status, message, code, requestId, retryAfter }) {
    super(message);
    this.status = status;
    this.code = code;
    this.requestId = requestId;
    this.retryAfter = retryAfter;
    this.title = { 0: t('noAnswer'), 403: t('forbidden'), 404: t('notFound'),
      429: t('tooMany') }[status];
  }
}

// -- the session --------------------------------------------------------------

let token = null;
let leave = () => {};

/** What the token says of itself, for display: the server alone decides. */
export function claims(text = token) {
  try {
    const part = text.split('.')[1].replace(/-/g, '+').replace(/_/g, '/');
    const bytes = Uint8Array.from(atob(part), (c) => c.charCodeAt(0));
    const all = JSON.parse(new TextDecoder().decode(bytes));
    return all !== null && typeof all === 'object' ? all : {};
  } catch {
    return {}; // Not readable here; the server may know better.
  }
}

export const signedIn = () => token !== null;

/** `viewer`, `operator` or `admin`; whoever brings another one may as much as
    the server lets him. */
export function role() {
  const said = claims().role;
  return typeof said === 'string' ? said : 'operator';
}

export const mayAct = () => role() !== 'viewer';

/** Called with a reason when the server does not know the token any more. */
export function onLeave(then) {
  leave = then;
}

export function restore() {
  token = sessionStorage.getItem(PLACE);
  return token !== null;
}

/** Asks the server whether the token opens this page. Throws ApiError. */
export async function signIn(text) {
  const given = text.trim().replace(/^bearer\s+/i, '');
  if (!/^[\x21-\x7e]+$/.test(given)) {
    throw new ApiError({ status: 401, message: t('noToken') });
  }
  await send('GET', '/api/deployment-monitor/stats', { as: given });
  token = given;
  sessionStorage.setItem(PLACE, given);
}

export function signOut(reason = null) {
  token = null;
  known.clear();
  sessionStorage.removeItem(PLACE);
  leave(reason);
}

// -- asking -------------------------------------------------------------------

const DEADLINE_MS = 30_000;

async function send(method, path, { body, signal, headers = {}, as = token,
  stream = false } = {}) {
  const limit = new AbortController();
  const timer = setTimeout(() => limit.abort(), DEADLINE_MS);
  const stop = () => limit.abort(signal.reason);
  if (signal?.aborted) stop();
  signal?.addEventListener('abort', stop, { once: true });
  const done = () => {
    clearTimeout(timer);
    signal?.removeEventListener('abort', stop);
  };
  let answer;
  let text;
  try {
    answer = await fetch(path, { method, signal: limit.signal,
      cache: 'no-store', credentials: 'omit', referrerPolicy: 'no-referrer',
      headers: { Accept: stream ? 'text/event-stream' : 'application/json',
        Authorization: `Bearer ${as}`,
        ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
        ...headers },
      body: body === undefined ? undefined : JSON.stringify(body) });
    if (stream && answer.ok) {
      // The deadline was for the head; from here on the reader has its own.
      clearTimeout(timer);
      return { answer, limit, done };
    }
    text = await answer.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError({ status: 0, message: limit.signal.aborted
      ? t('tooLate') : t('unreachable') });
  } finally {
    if (!stream || !answer?.ok) done();
  }
  if (answer.status === 304) return { status: 304 };
  let json = null;
  try {
    json = JSON.parse(text);
  } catch {
    json = null; // Said below: a proxy's page, for example.
  }
  if (answer.ok && json?.success === true) {
    return { ...json, status: answer.status,
      etag: answer.headers.get('ETag') };
  }
  const error = new ApiError({ status: answer.status,
    message: json?.message ?? t('oddAnswer', { status: answer.status }),
    code: json?.error,
    requestId: json?.requestId ?? answer.headers.get('X-Request-Id'),
    retryAfter: Number(answer.headers.get('Retry-After')) || undefined });
  // Only the token that is in use: one that is tried leads nowhere yet.
  if (answer.status === 401 && as === token && token !== null) {
    signOut(t('refused', { why: error.message }));
  }
  throw error;
}

/** Answers with a tag, by path: bounded, and gone with the token. */
const known = new Map();
const KNOWN_MAX = 32;

/** @returns {data, nextCursor, message, unchanged}. Throws ApiError. */
export async function get(path, signal) {
  const last = known.get(path);
  const answer = await send('GET', path, { signal,
    headers: last ? { 'If-None-Match': last.etag } : {} });
  if (answer.status === 304) return { ...last, unchanged: true };
  known.delete(path);
  if (answer.etag && token !== null) {
    if (known.size >= KNOWN_MAX) known.delete(known.keys().next().value);
    known.set(path, answer);
  }
  return answer;
}

export const post = (path, body) => send('POST', path, { body });

export const put = (path, body) => send('PUT', path, { body });

/** A path with a query of those that are not empty. */
export function withQuery(path, all) {
  const query = new URLSearchParams(Object.entries(all)
    .filter(([, value]) => value !== '' && value !== null
      && value !== undefined));
  return `${path}${query.size > 0 ? `?${query}` : ''}`;
}

export const id = encodeURIComponent;

// -- asking again and again ---------------------------------------------------

/** Told whether the server answers: (ApiError or null). */
let troubled = () => {};
export const onTrouble = (then) => { troubled = then; };

function pause(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener('abort', () => { clearTimeout(timer); resolve(); },
      { once: true });
  });
}

/** Until somebody looks at this tab. */
function visible(signal) {
  if (!document.hidden) return Promise.resolve();
  return new Promise((resolve) => {
    const look = () => {
      if (document.hidden && !signal.aborted) return;
      document.removeEventListener('visibilitychange', look);
      resolve();
    };
    document.addEventListener('visibilitychange', look);
    signal.addEventListener('abort', look, { once: true });
  });
}

/**
 * Runs `look(signal)` every `ms` until `signal`; not while nobody looks, and less
 * and less often while it fails.
 *
 * @param failed told of what is thrown; what it returns true for ends it
 * @returns now(), which brings the next look forward
 */
export function repeat(ms, signal, look, failed = () => false) {
  let wake = () => {};
  (async () => {
    for (let wrong = 0; !signal.aborted;) {
      await visible(signal);
      if (signal.aborted) return;
      let rest = ms;
      const woken = new Promise((resolve) => { wake = resolve; });
      try {
        await look(signal);
        wrong = 0;
        troubled(null);
      } catch (error) {
        if (signal.aborted) return;
        if (!(error instanceof ApiError)) throw error;
        wrong += 1;
        if (error.status === 0 || error.status >= 500) troubled(error);
        if (failed(error)) return;
        rest = Math.max(Math.min(ms * 2 ** wrong, 30_000),
          (error.retryAfter ?? 0) * 1000);
      }
      await Promise.race([pause(rest, signal), woken]);
    }
  })();
  return () => wake();
}

// -- streams ------------------------------------------------------------------

/** Nothing for so long, not even a heartbeat: the line is dead. */
const SILENCE_MS = 60_000;

/**
 * Server-sent events, with a token: EventSource cannot bring one. Returns when
 * the server ends it; throws ApiError, or what aborted it.
 *
 * @param take called with {id, event, data}
 */
export async function follow(path, { signal, last, opened, take }) {
  const { answer, limit, done } = await send('GET', path, { signal,
    stream: true, headers: last ? { 'Last-Event-ID': last } : {} });
  opened?.();
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  let silence;
  try {
    for (;;) {
      clearTimeout(silence);
      silence = setTimeout(() => limit.abort(), SILENCE_MS);
      const { value, done: ended } = await reader.read();
      if (ended) return;
      rest += value;
      for (let end; (end = rest.indexOf('\n\n')) >= 0;) {
        const event = { id: undefined, event: 'message', data: '' };
        for (const line of rest.slice(0, end).split('\n')) {
          const [, name, text] = /^([^:]*): ?(.*)$/.exec(line) ?? [];
          if (name === 'data') event.data += text;
          else if (name === 'id' || name === 'event') event[name] = text;
        }
        rest = rest.slice(end + 2);
        if (event.data) take(event);
      }
    }
  } catch (error) {
    if (signal.aborted) throw error;
    throw new ApiError({ status: 0, message: t('unreachable') });
  } finally {
    clearTimeout(silence);
    done();
  }
}

// Slipway's API from a browser.

/** No answer in so many ms is an answer, too. */
const PATIENCE = 15_000;

/** What went wrong. Without a status: nothing came back at all. */
export class ApiError extends Error {
  constructor(message, { status = 0, code = 'unreachable', requestId, retryAfter } = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.requestId = requestId;
    /** In seconds, when the server has said so. */
    this.retryAfter = retryAfter;
  }

  /** Whether the same may go well a little later. */
  get passing() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

async function envelopeOf(answer) {
  let body;
  try {
    body = await answer.json();
  } catch (error) {
    if (error.name === 'AbortError' || error.name === 'TimeoutError') throw error;
    // A page of some proxy.
  }
  if (answer.ok && body?.success === true) return body;
  throw new ApiError(body?.message ?? `HTTP ${answer.status}`, {
    status: answer.status,
    code: body?.error ?? 'no_envelope',
    requestId: body?.requestId ?? answer.headers.get('X-Request-Id') ?? undefined,
    retryAfter: Number(answer.headers.get('Retry-After')) || undefined,
  });
}

export class Api {
  #token;
  #seen;

  /**
   * @param token gives the bearer token, or undefined
   * @param seen called with whether the server could be reached
   */
  constructor({ token, seen = () => {} }) {
    this.#token = token;
    this.#seen = seen;
  }

  /** The bare answer; throws ApiError when there is none. */
  async fetch(path, { method = 'GET', body, headers = {}, signal } = {}) {
    const token = this.#token();
    try {
      const answer = await fetch(path, {
        method,
        signal,
        cache: 'no-store',
        credentials: 'omit',
        redirect: 'error',
        headers: {
          ...(token ? { Authorization: `Bearer ${token}` } : {}),
          ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
          ...headers,
        },
        body: body === undefined ? undefined : JSON.stringify(body),
      });
      this.#seen(true);
      return answer;
    } catch (error) {
      if (error.name === 'AbortError') throw error; // Whoever asked has left.
      this.#seen(false);
      throw new ApiError(error.message);
    }
  }

  /** The envelope: `data`, and what stands beside it. */
  async call(path, { signal, ...rest } = {}) {
    const late = AbortSignal.timeout(PATIENCE);
    try {
      return await envelopeOf(await this.fetch(path, { ...rest,
        signal: signal ? AbortSignal.any([signal, late]) : late }));
    } catch (error) {
      if (error instanceof ApiError || signal?.aborted) throw error;
      this.#seen(false);
      throw new ApiError(error.message);
    }
  }

  async get(path, options) {
    return (await this.call(path, options)).data;
  }

  async post(path, body, options = {}) {
    return (await this.call(path, { method: 'POST', body, ...options })).data;
  }

  async delete(path, body, options = {}) {
    return (await this.call(path, { method: 'DELETE', body, ...options })).data;
  }

  /**
   * What is asked for again and again: with the ETag of the last answer the
   * server says 304 when nothing has changed, and sends nothing.
   *
   * @returns a function that gives the data, or undefined when it is as before
   */
  poller(path) {
    let tag;
    return async ({ signal } = {}) => {
      const late = AbortSignal.timeout(PATIENCE);
      const answer = await this.fetch(path, {
        headers: tag ? { 'If-None-Match': tag } : {},
        signal: signal ? AbortSignal.any([signal, late]) : late });
      if (answer.status === 304) return undefined;
      const { data } = await envelopeOf(answer);
      tag = answer.headers.get('ETag') ?? undefined;
      return data;
    };
  }

  /** An open stream of server-sent events; throws what `call` throws. */
  async open(path, { lastEventId, signal } = {}) {
    const answer = await this.fetch(path, { signal, headers: {
      Accept: 'text/event-stream',
      ...(lastEventId ? { 'Last-Event-ID': lastEventId } : {}),
    } });
    if (!answer.ok) await envelopeOf(answer);
    if (!answer.headers.get('Content-Type')?.startsWith('text/event-stream')) {
      throw new ApiError('no event stream', { status: answer.status, code: 'no_stream' });
    }
    return answer.body;
  }
}

/** A key under which a request may be repeated without being done twice. */
export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((x) => x.toString(16).padStart(2, '0')).join('');
}

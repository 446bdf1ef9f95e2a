// What happens to a subscription, while it happens.
//
// EventSource would read the streams and come back by itself, but it cannot send
// an Authorization header, and a token in an address ends up in logs. So the
// streams are read with fetch(), and what EventSource does is done here: the last
// event's id goes out as Last-Event-ID, the server's `retry` is the pause. Where no
// stream comes through (a proxy that keeps everything until the end, or a server
// that has no room for one more), the same is asked for from time to time, with
// the ETag of the last answer.

import { ApiError } from './api.js';
import { eventParser } from './sse.js';

/** Nothing for so long, not even a heartbeat: the stream is dead, in ms. */
const SILENCE = 45_000;

/** A queue's position is no event; so often it is asked for, in ms. */
const QUEUE_PAUSE = 4_000;

const PAUSE = 2_000;

const PAUSE_MAX = 15_000;

/** Waits, or until the network is back or somebody looks again. */
export function pause(ms, signal) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      window.removeEventListener('online', done);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    window.addEventListener('online', done);
    signal?.addEventListener('abort', done);
    if (signal?.aborted) done();
  });
}

/** Reads one stream to its end, which is an error when nobody has wanted it. */
async function readStream(api, path, { lastEventId, signal, onOpen, onRetry, take }) {
  const watch = new AbortController();
  const both = AbortSignal.any([signal, watch.signal]);
  let timer;
  const alive = () => {
    clearTimeout(timer);
    timer = setTimeout(() => watch.abort(), SILENCE);
  };
  alive();
  try {
    const body = await api.open(path, { lastEventId, signal: both });
    onOpen();
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    const feed = eventParser(take, { onRetry, onBytes: alive });
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      feed(value);
    }
  } catch (error) {
    if (signal.aborted || error instanceof ApiError) throw error;
    throw new ApiError(error.message);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Reads a stream again and again, until `signal` says that it is enough or the
 * server that there is nothing to see (throws that).
 *
 * @param take called with each event
 * @param catchUp asks once without a stream, whenever there is none; may fail
 * @param mode called with `live`, `polling` or `lost`
 */
async function keepReading(api, path, { signal, take, catchUp, mode }) {
  let lastEventId = '';
  let wanted = PAUSE;
  let failures = 0;
  while (!signal.aborted) {
    let failed;
    try {
      await readStream(api, path, {
        lastEventId,
        signal,
        onRetry: (ms) => { wanted = Math.min(ms, PAUSE_MAX); },
        onOpen: () => { failures = 0; mode('live'); },
        take: (event) => {
          lastEventId = event.id;
          take(event);
        },
      });
    } catch (error) {
      if (signal.aborted) return;
      if (!error.passing) throw error;
      failed = error;
    }
    if (failed) failures += 1;
    // Until the next stream, and instead of it.
    try {
      const seen = await catchUp({ signal });
      if (seen?.lastEventId) lastEventId = seen.lastEventId;
      if (failures > 0) mode('polling');
    } catch (error) {
      if (signal.aborted) return;
      if (!error.passing) throw error;
      mode('lost');
    }
    const longer = Math.min(wanted * 2 ** Math.max(0, failures - 1), PAUSE_MAX);
    await pause(failed?.retryAfter ? failed.retryAfter * 1000
      : longer * (0.5 + Math.random() / 2), signal);
  }
}

/**
 * The deployment of a subscription, as GET /api/deployment/status tells it.
 *
 * @param onStatus called with each state that differs from the one before
 * @param onMode called with `live`, `polling` or `lost`
 */
export async function followDeployment(api, id, { signal, onStatus, onMode }) {
  const ask = api.poller(`/api/deployment/status/${encodeURIComponent(id)}`);
  let last;
  let turn = 0;
  const take = (status) => {
    turn += 1;
    last = status;
    onStatus(status);
  };
  // What was asked for before an event came may be older than that.
  const catchUp = async ({ signal: until }) => {
    const before = turn;
    const status = await ask({ signal: until });
    if (status && turn === before) take(status);
  };
  const moveOn = async () => {
    while (!signal.aborted) {
      await pause(QUEUE_PAUSE, signal);
      if (signal.aborted || typeof last?.queuePosition !== 'number') continue;
      try {
        await catchUp({ signal });
      } catch (error) {
        // The stream says what is the matter.
        if (!(error instanceof ApiError) && !signal.aborted) throw error;
      }
    }
  };
  await Promise.all([
    keepReading(api, `/api/deployment/events/${encodeURIComponent(id)}`, {
      signal,
      mode: onMode,
      catchUp,
      take: ({ event, data }) => {
        if (event === 'status') take(JSON.parse(data));
      },
    }),
    moveOn(),
  ]);
}

/** Lines of one page of the log. */
const LINES = 200;

/**
 * Everything that is said on the way, from the beginning.
 *
 * @param onLine called with each {timestamp, source, level, message}, once
 */
export async function followLogs(api, id, { signal, onLine, onMode = () => {} }) {
  const path = `/api/deployment/logs/${encodeURIComponent(id)}`;
  let cursor = '';
  const catchUp = async ({ signal: until }) => {
    for (;;) {
      const page = await api.get(`${path}?limit=${LINES}${
        cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`, { signal: until });
      for (const line of page.logs) onLine(line);
      if (page.tailCursor) cursor = page.tailCursor;
      if (!page.nextCursor) return { lastEventId: cursor };
    }
  };
  try {
    await keepReading(api, `${path}/stream`, {
      signal,
      mode: onMode,
      catchUp,
      take: ({ event, data, id: at }) => {
        cursor = at;
        if (event === 'log') onLine(JSON.parse(data));
      },
    });
  } catch (error) {
    // Without a provider there is no stream, but a history.
    if (error.code !== 'provider_not_configured') throw error;
    while (!signal.aborted) {
      try {
        await catchUp({ signal });
      } catch (failed) {
        if (!signal.aborted && !failed.passing) throw failed;
      }
      await pause(PAUSE * 2, signal);
    }
  }
}

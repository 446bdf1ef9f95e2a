// Posts signed notifications, one after the other on each of many kept-alive
// connections, and says how long each took.
//
//   node load.mjs --port N --bodies FILE [--connections 64]
//                 [--rate PER_SECOND] [--limit SECONDS]
//
// FILE holds one form body on each line. With a rate the requests are due at
// fixed times whatever the server does, and the latency counts from the moment a
// request was due. Prints one line of JSON.

import fs from 'node:fs';
import net from 'node:net';
import readline from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

export function post(target, body, { type, bearer } = {}) {
  return Buffer.from(`POST ${target} HTTP/1.1\r\nHost: 127.0.0.1\r\n`
    + `Content-Type: ${type ?? 'application/json'}\r\n`
    + `${bearer ? `Authorization: Bearer ${bearer}\r\n` : ''}`
    + `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
}

/** Length of the first whole answer in `text`, 0 when it is not whole yet. */
function takeAnswer(text) {
  const end = text.indexOf('\r\n\r\n');
  if (end < 0) return undefined;
  const head = text.slice(0, end);
  const status = Number(head.slice(9, 12));
  const length = /\r\ncontent-length: *(\d+)/i.exec(head);
  if (length) {
    const size = end + 4 + Number(length[1]);
    return text.length < size ? undefined
      : { status, body: text.slice(end + 4, size), size };
  }
  if (!/\r\ntransfer-encoding: *chunked/i.test(head)) {
    return { status, body: '', size: end + 4 };
  }
  let at = end + 4;
  let body = '';
  for (;;) {
    const line = text.indexOf('\r\n', at);
    if (line < 0) return undefined;
    const size = Number.parseInt(text.slice(at, line), 16);
    if (text.length < line + 4 + size) return undefined;
    if (size === 0) return { status, body, size: line + 4 };
    body += text.slice(line + 2, line + 2 + size);
    at = line + 4 + size;
  }
}

/**
 * Sends every request once.
 * @param judge (index, status, body) => boolean, whether the answer is right
 * @returns {seconds, answered, failed, firstFailure, latencies} with latencies
 *   in ms, ascending
 */
export async function runLoad({ port, requests, connections = 64, rate = 0,
                                judge, limit = 120 }) {
  const latencies = [];
  let next = 0;
  let failed = 0;
  let firstFailure;
  let last = 0;
  const sockets = await Promise.all(Array.from({ length: Math.min(connections,
    requests.length) }, () => new Promise((resolve, reject) => {
    const socket = net.connect({ port, host: '127.0.0.1', noDelay: true });
    socket.setEncoding('latin1');
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.removeListener('error', reject);
      resolve(socket);
    });
  })));
  const begin = performance.now();
  await new Promise((resolve) => {
    let open = sockets.length;
    const late = setTimeout(resolve, limit * 1000);
    const fail = (why) => {
      failed += 1;
      firstFailure ??= why;
    };
    for (const socket of sockets) {
      let current = -1;
      let since = 0;
      let rest = '';
      const finish = () => {
        if (current === -2) return;
        current = -2;
        socket.destroy();
        if (--open === 0) {
          clearTimeout(late);
          resolve();
        }
      };
      const send = () => { socket.write(requests[current]); };
      const take = () => {
        if (next === requests.length) return finish();
        current = next++;
        const now = performance.now();
        since = rate > 0 ? begin + (current / rate) * 1000 : now;
        if (since <= now) return send();
        // Timers count whole milliseconds: late by half of one on average,
        // which is the same for all.
        return setTimeout(send, since - now);
      };
      socket.on('data', (chunk) => {
        rest += chunk;
        const answer = takeAnswer(rest);
        if (!answer || current < 0) return;
        rest = rest.slice(answer.size);
        last = performance.now();
        latencies.push(last - since);
        if (!judge(current, answer.status, answer.body)) {
          fail(`status ${answer.status}: ${answer.body.slice(0, 200)}`);
        }
        take();
      });
      const broke = (why) => {
        if (current >= 0) fail(why);
        finish();
      };
      socket.on('error', (error) => broke(error.message));
      socket.on('close', () => broke('the connection was closed'));
      take();
    }
  });
  for (const socket of sockets) socket.destroy();
  const missing = requests.length - latencies.length - failed;
  if (missing > 0) {
    failed += missing;
    firstFailure ??= 'not answered within the limit';
  }
  latencies.sort((a, b) => a - b);
  return { seconds: (last - begin) / 1000, answered: latencies.length, failed,
    firstFailure, latencies };
}

/** @param share 0…1 */
export function percentile(ascending, share) {
  const rank = Math.ceil(share * ascending.length) - 1;
  return ascending[Math.min(Math.max(rank, 0), ascending.length - 1)];
}

async function main() {
  const { values } = parseArgs({ options: {
    port: { type: 'string' }, bodies: { type: 'string' },
    connections: { type: 'string', default: '64' },
    rate: { type: 'string', default: '0' },
    limit: { type: 'string', default: '120' },
  } });
  const type = 'application/x-www-form-urlencoded; charset=utf-8';
  const requests = [];
  // Line by line: a million bodies are more than one string can hold.
  for await (const body of readline.createInterface({
    input: fs.createReadStream(values.bodies, 'latin1') })) {
    if (body) requests.push(post('/api/payment/alipay/notify', body, { type }));
  }
  const { latencies, ...report } = await runLoad({
    port: Number(values.port), connections: Number(values.connections),
    rate: Number(values.rate), limit: Number(values.limit), requests,
    judge: (_, status, body) => status === 200 && body === 'success',
  });
  console.log(JSON.stringify({ ...report,
    perSecond: report.answered / report.seconds,
    p50: percentile(latencies, 0.5), p99: percentile(latencies, 0.99),
    p999: percentile(latencies, 0.999) }));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();

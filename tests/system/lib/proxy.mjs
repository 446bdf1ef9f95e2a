// A wire that can be damaged: a TCP proxy on 127.0.0.1 in front of anything.

import net from 'node:net';
import { close, listen } from './ports.mjs';

/**
 * What a proxy can be told to do, for new connections and those it has:
 * `open`, `refuse` (nobody listens), `hang` (takes everything, answers
 * nothing), `slow` (every piece of an answer takes `delay` ms), `half` (FIN
 * after `bytes` of an answer), `garbage` (answers with noise, asks nobody).
 */
export const DAMAGES = ['refuse', 'hang', 'slow', 'half', 'garbage'];

const NOISE = Buffer.from('\x00\xff\x16\x03\x01\x7f)]}\',\r\n<?php\r\n\r\n'
  .repeat(8), 'latin1');

export class Proxy {
  mode = 'open';
  delay = 300;
  bytes = 12;
  /** Answers that were damaged. */
  damaged = 0;
  /** An array to record what comes from clients, piece by piece. */
  recorded = undefined;
  links = new Set();
  #server;
  #sockets = new Set();

  /** In front of a port of 127.0.0.1. */
  static async start(target) {
    const proxy = new this();
    proxy.target = target;
    await proxy.#open(0);
    return proxy;
  }

  async #open(port) {
    this.#server = net.createServer({ allowHalfOpen: true },
      (client) => this.#accept(client));
    this.port = await listen(this.#server, port);
  }

  /** Puts the proxy in the place of the port in `url`. */
  instead(url) {
    return url.replace(`127.0.0.1:${this.target}`, `127.0.0.1:${this.port}`);
  }

  async set(mode) {
    const before = this.mode;
    this.mode = mode;
    if (mode === 'refuse') await close(this.#server, this.#sockets);
    else if (before === 'refuse') await this.#open(this.port);
    // Whoever was left without an answer must not wait for it any more.
    if (before === 'hang' || before === 'half') this.cutAll();
  }

  cutAll() {
    for (const socket of this.#sockets) socket.destroy();
  }

  async stop() {
    if (this.mode !== 'refuse') await close(this.#server, this.#sockets);
  }

  #accept(client) {
    const server = net.connect({ port: this.target, host: '127.0.0.1',
      allowHalfOpen: true });
    const link = { client, server, answered: 0, late: Promise.resolve() };
    link.destroy = () => { client.destroy(); server.destroy(); };
    this.links.add(link);
    for (const [one, other] of [[client, server], [server, client]]) {
      this.#sockets.add(one);
      one.setNoDelay(true);
      one.on('error', () => {});
      one.on('close', () => {
        this.#sockets.delete(one);
        this.links.delete(link);
        other.destroy();
      });
    }
    client.on('data', (chunk) => this.fromClient(link, chunk));
    client.on('end', () => server.end());
    server.on('data', (chunk) => this.fromServer(link, chunk));
    server.on('end', () => link.late.then(() => {
      if (this.mode !== 'hang') client.end();
    }));
  }

  fromClient(link, chunk) {
    link.answered = 0;
    this.recorded?.push(chunk);
    if (this.mode === 'hang') {
      this.damaged += 1;
    } else if (this.mode === 'garbage') {
      this.damaged += 1;
      link.client.write(NOISE);
    } else {
      link.server.write(chunk);
    }
  }

  fromServer(link, chunk) {
    const { client, server } = link;
    switch (this.mode) {
      case 'hang':
        return;
      case 'garbage': // A server that speaks first.
        this.damaged += 1;
        client.write(NOISE);
        return;
      case 'slow':
        this.damaged += 1;
        link.late = link.late.then(() => new Promise((go) => {
          setTimeout(() => { client.write(chunk); go(); }, this.delay);
        }));
        return;
      case 'half': {
        const left = Math.max(0, this.bytes - link.answered);
        link.answered += chunk.length;
        client.write(chunk.subarray(0, left));
        if (link.answered < this.bytes || client.writableEnded) return;
        this.damaged += 1;
        client.end();
        server.pause();
        return;
      }
      default:
        link.late.then(() => client.write(chunk));
    }
  }
}

/**
 * In front of PostgreSQL, reading the requests along. `cut` breaks a connection
 * at a commit of the journal: a pipeline of its statements up to its Sync.
 */
export class PostgresProxy extends Proxy {
  /** Rows that commits of the journal have changed, see `#tally`. */
  written = 0;
  #cuts = [];

  /**
   * The next `times` commits that hold a statement whose name matches:
   * `before` they were forwarded, `during` (forwarded, not waited for) or
   * `after` PostgreSQL has answered them.
   */
  cut(when, { times = 1, statement = /^journal_/ } = {}) {
    const entry = { when, times, statement, fired: 0,
      stop: () => { entry.times = entry.fired; } };
    this.#cuts.push(entry);
    return entry;
  }

  fromClient(link, chunk) {
    link.rest = Buffer.concat([link.rest ?? Buffer.alloc(0), chunk]);
    let end = 0;
    const size = (at) => link.rest.readUInt32BE(at);
    for (;;) {
      const typed = link.started ? 1 : 0;
      if (link.rest.length < end + typed + 4) break;
      const whole = typed + size(end + typed);
      if (link.rest.length < end + whole) break;
      const message = link.rest.subarray(end, end + whole);
      end += whole;
      if (!link.started) {
        // SSLRequest and GSSENCRequest come before the startup packet.
        link.started = message.readUInt16BE(4) === 3;
      } else if (message[0] === 0x42) { // Bind: portal, statement
        const from = message.indexOf(0, 5) + 1;
        const name = message.toString('latin1', from, message.indexOf(0, from));
        link.commit ||= name.startsWith('journal_');
        link.cut ??= this.#cuts.find((c) => c.fired < c.times
          && c.statement.test(name));
      } else if (message[0] === 0x53) { // Sync: commit
        if (link.commit) link.answer = Buffer.alloc(0);
        link.commit = false;
        const { cut } = link;
        link.cut = undefined;
        // Another connection may have been faster.
        if (!cut || cut.fired >= cut.times) continue;
        cut.fired += 1;
        if (cut.when === 'before') return void link.destroy();
        if (cut.when === 'during') {
          const bytes = link.rest.subarray(0, end);
          return void link.server.write(bytes, () => link.destroy());
        }
        link.silent = true;
      }
    }
    // Parts of a commit that is cut off later may pass: without its Sync
    // PostgreSQL forgets them.
    const ready = link.rest.subarray(0, end);
    link.rest = link.rest.subarray(end);
    if (ready.length) super.fromClient(link, ready);
  }

  /** Counts what the answer to a commit says it has changed. */
  #tally(link, chunk) {
    link.answer = Buffer.concat([link.answer, chunk]);
    while (link.answer?.length >= 5) {
      const whole = 1 + link.answer.readUInt32BE(1);
      if (link.answer.length < whole) return;
      const [type] = link.answer;
      if (type === 0x43) { // CommandComplete
        const tag = link.answer.toString('latin1', 5, whole - 1);
        this.written += Number(/\d+$/.exec(tag)?.[0] ?? 0);
      }
      link.answer = type === 0x5a ? undefined : link.answer.subarray(whole);
    }
  }

  fromServer(link, chunk) {
    if (link.answer) this.#tally(link, chunk);
    // ReadyForQuery ends the answer: it is durable now, and nobody hears of it.
    if (link.silent) {
      link.tail = Buffer.concat([link.tail ?? Buffer.alloc(0), chunk]).subarray(-6);
      if (link.tail[0] === 0x5a && link.tail.readUInt32BE(1) === 5) link.destroy();
      return;
    }
    super.fromServer(link, chunk);
  }
}

// A mail server that keeps what it is given, and fails on demand.

import net from 'node:net';
import { close, listen } from '../lib/ports.mjs';

export class Smtp {
  /** Accepted mails in order, see `readMail`. */
  mails = [];
  /** Attempts to deliver, the failed ones included. */
  attempts = 0;
  /**
   * `ok` · `421` (service not available, at the greeting) · `550` (recipient
   * refused for good) · `451` (try again, after DATA) · `hang` (never answers)
   * · `lost` (accepts the mail, then drops the connection unanswered)
   */
  mode = 'ok';
  #server;
  #sockets = new Set();

  static async start() {
    const self = new Smtp();
    await self.#open(0);
    return self;
  }

  async #open(port) {
    this.#server = net.createServer((socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
      socket.on('error', () => {});
      this.#talk(socket);
    });
    this.port = await listen(this.#server, port);
  }

  get url() {
    return `smtp://127.0.0.1:${this.port}`;
  }

  stop() {
    return close(this.#server, this.#sockets);
  }

  /** Connections are refused until `accept`. */
  refuse() {
    return close(this.#server, this.#sockets);
  }

  accept() {
    return this.#open(this.port);
  }

  /** Mails to that address, whatever its case. */
  to(address) {
    return this.mails.filter((m) => m.recipients
      .some((r) => r.toLowerCase() === address.toLowerCase()));
  }

  #talk(socket) {
    let rest = Buffer.alloc(0);
    let inData = false;
    let sender;
    let recipients = [];
    let login = 0;
    const say = (line) => {
      if (this.mode !== 'hang') socket.write(`${line}\r\n`);
    };
    this.attempts += 1;
    if (this.mode === '421') {
      socket.end('421 4.3.2 try again later\r\n');
      return;
    }
    say('220 imposter ESMTP');

    const command = (line) => {
      const verb = line.slice(0, 4).toUpperCase();
      if (login > 0) {
        login -= 1;
        return login ? say('334 UGFzc3dvcmQ6') : say('235 2.7.0 ok');
      }
      switch (verb) {
        case 'EHLO':
          say('250-imposter');
          say('250-8BITMIME');
          say('250-SMTPUTF8');
          return say('250 AUTH PLAIN LOGIN');
        case 'HELO':
          return say('250 imposter');
        case 'AUTH':
          if (/^AUTH LOGIN/i.test(line)) {
            login = 2;
            return say('334 VXNlcm5hbWU6');
          }
          return say('235 2.7.0 ok');
        case 'MAIL':
          sender = /<(.*?)>/.exec(line)?.[1];
          return say('250 2.1.0 ok');
        case 'RCPT':
          if (this.mode === '550') return say('550 5.1.1 no such user');
          recipients.push(/<(.*?)>/.exec(line)?.[1]);
          return say('250 2.1.5 ok');
        case 'DATA':
          if (!recipients.length) return say('503 5.5.1 no recipient');
          inData = true;
          return say('354 go on');
        case 'RSET':
          sender = undefined;
          recipients = [];
          return say('250 2.0.0 ok');
        case 'NOOP':
        case 'VRFY':
          return say('250 2.0.0 ok');
        case 'QUIT':
          say('221 2.0.0 bye');
          return socket.end();
        default:
          return say('500 5.5.2 what?');
      }
    };

    socket.on('data', (chunk) => {
      rest = Buffer.concat([rest, chunk]);
      for (;;) {
        if (inData) {
          const end = rest.indexOf('\r\n.\r\n');
          if (end < 0) return;
          const raw = rest.subarray(0, end).toString('latin1')
            .replace(/^\.\./gm, '.');
          rest = rest.subarray(end + 5);
          inData = false;
          if (this.mode === '451') {
            say('451 4.3.0 try again later');
          } else {
            this.mails.push({ sender, recipients, at: Date.now(),
              ...readMail(Buffer.from(raw, 'latin1')) });
            if (this.mode === 'lost') return void socket.destroy();
            say('250 2.0.0 queued');
          }
          recipients = [];
        } else {
          const end = rest.indexOf('\r\n');
          if (end < 0) return;
          const line = rest.subarray(0, end).toString('utf8');
          rest = rest.subarray(end + 2);
          command(line);
        }
      }
    });
  }
}

// -- reading a message --------------------------------------------------------

const decodeBytes = (bytes, charset = 'utf-8') => (
  new TextDecoder(charset).decode(bytes));

function quotedPrintable(text, underscore = false) {
  const joined = text.replace(/[ \t]*\r?\n/g, '\r\n').replace(/=\r\n/g, '');
  const source = underscore ? joined.replace(/_/g, ' ') : joined;
  const out = [];
  for (let i = 0; i < source.length; i += 1) {
    const hex = /^=([0-9A-Fa-f]{2})/.exec(source.slice(i, i + 3));
    if (hex) {
      out.push(parseInt(hex[1], 16));
      i += 2;
    } else {
      out.push(source.charCodeAt(i) & 0xff);
    }
  }
  return Buffer.from(out);
}

/** RFC 2047: encoded words of one charset are joined as bytes first. */
export function decodeWords(text) {
  const tidy = text.replace(/(\?=)\s+(=\?)/g, '$1$2');
  return tidy.replace(/(?:=\?[^?]+\?[bBqQ]\?[^?]*\?=)+/g, (run) => {
    const parts = [];
    for (const [, charset, how, body] of
      run.matchAll(/=\?([^?]+)\?([bBqQ])\?([^?]*)\?=/g)) {
      const bytes = how.toUpperCase() === 'B' ? Buffer.from(body, 'base64')
        : quotedPrintable(body, true);
      const name = charset.toLowerCase().split('*')[0];
      if (parts.at(-1)?.charset === name) {
        parts.at(-1).bytes = Buffer.concat([parts.at(-1).bytes, bytes]);
      } else {
        parts.push({ charset: name, bytes });
      }
    }
    return parts.map((p) => decodeBytes(p.bytes, p.charset)).join('');
  });
}

function split(raw) {
  const text = raw.toString('latin1');
  const gap = /\r?\n\r?\n/.exec(text);
  const head = gap ? text.slice(0, gap.index) : text;
  const body = gap ? raw.subarray(gap.index + gap[0].length) : Buffer.alloc(0);
  const headers = {};
  for (const line of head.replace(/\r?\n[ \t]+/g, ' ').split(/\r?\n/)) {
    const colon = line.indexOf(':');
    if (colon < 0) continue;
    const value = Buffer.from(line.slice(colon + 1).trim(), 'latin1')
      .toString('utf8');
    headers[line.slice(0, colon).toLowerCase()] = decodeWords(value);
  }
  return { headers, body };
}

function parts(raw) {
  const { headers, body } = split(raw);
  const type = headers['content-type'] ?? 'text/plain';
  const boundary = /boundary="?([^";]+)"?/i.exec(type)?.[1];
  if (/^multipart\//i.test(type) && boundary) {
    return body.toString('latin1').split(new RegExp(
      `(?:^|\\r?\\n)--${boundary.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}`
      + '(?:--)?[ \\t]*(?:\\r?\\n|$)')).slice(1, -1)
      .flatMap((p) => parts(Buffer.from(p, 'latin1')));
  }
  const how = (headers['content-transfer-encoding'] ?? '7bit').toLowerCase();
  const bytes = how === 'base64' ? Buffer.from(body.toString('latin1'), 'base64')
    : how === 'quoted-printable' ? quotedPrintable(body.toString('latin1'))
      : body;
  const charset = /charset="?([^";\s]+)"?/i.exec(type)?.[1];
  return [{ type: type.split(';')[0].trim().toLowerCase(),
    content: decodeBytes(bytes, charset) }];
}

/** {headers, subject, from, messageId, text, html, body (all text), raw}. */
export function readMail(raw) {
  const { headers } = split(raw);
  const all = parts(raw);
  const one = (type) => all.find((p) => p.type === type)?.content;
  return {
    headers,
    subject: headers.subject,
    from: headers.from,
    messageId: headers['message-id'],
    text: one('text/plain'),
    html: one('text/html'),
    body: all.map((p) => p.content).join('\n'),
    raw: raw.toString('latin1'),
  };
}

import assert from 'node:assert/strict';
import net from 'node:net';
import { after, before, test } from 'node:test';
import { eventually } from '../lib/wait.mjs';
import { Smtp, decodeWords, readMail } from './smtp.mjs';

let smtp;
before(async () => { smtp = await Smtp.start(); });
after(() => smtp?.stop());

/** Says the lines one by one, each after an answer; resolves to the answers. */
function talk(lines, { timeout = 2000 } = {}) {
  return new Promise((resolve, reject) => {
    const socket = net.connect(smtp.port, '127.0.0.1');
    let text = '';
    const answers = [];
    const waiting = [...lines];
    const timer = setTimeout(() => { socket.destroy(); resolve(answers); },
      timeout);
    socket.on('error', (e) => { clearTimeout(timer); reject(e); });
    socket.on('close', () => { clearTimeout(timer); resolve(answers); });
    socket.on('data', (chunk) => {
      text += chunk;
      let end;
      while ((end = text.indexOf('\r\n')) >= 0) {
        const line = text.slice(0, end);
        text = text.slice(end + 2);
        if (/^\d{3}-/.test(line)) continue;
        answers.push(line.slice(0, 3));
        if (waiting.length) socket.write(`${waiting.shift()}\r\n`);
        else socket.end();
      }
    });
  });
}

const mail = (to, ...content) => ['EHLO x', 'MAIL FROM:<a@example.com>',
  `RCPT TO:<${to}>`, 'DATA', [...content, '.'].join('\r\n'), 'QUIT'];

test('a mail is taken, unstuffed and decoded', async () => {
  const answers = await talk(mail('u1@example.com',
    'From: Slipway <no-reply@example.com>',
    'Subject: =?UTF-8?B?5a6e5L6L6YOo?=',
    ' =?UTF-8?B?572y5oiQ5Yqf?=',
    'Message-ID: <1@slipway>',
    'Content-Type: text/plain; charset=utf-8',
    'Content-Transfer-Encoding: quoted-printable', '',
    '=E6=82=A8=E7=9A=84 soft=', ' break', '..dot'));
  assert.deepEqual(answers, ['220', '250', '250', '250', '354', '250', '221']);
  const [got] = smtp.to('U1@example.com');
  assert.equal(got.subject, '实例部署成功');
  assert.equal(got.text.trim(), '您的 soft break\r\n.dot');
  assert.equal(got.messageId, '<1@slipway>');
  assert.equal(got.sender, 'a@example.com');
});

test('words split inside a character, Q encoding, mixed text', () => {
  const bytes = Buffer.from('部署');
  const cut = (a, b) => `=?utf-8?B?${bytes.subarray(a, b).toString('base64')}?=`;
  assert.equal(decodeWords(`${cut(0, 2)} ${cut(2, 6)}`), '部署');
  assert.equal(decodeWords('=?UTF-8?Q?a_b=21?= tail'), 'a b! tail');
});

test('multipart with base64', () => {
  const read = readMail(Buffer.from([
    'Content-Type: multipart/alternative; boundary="b1"', '', 'preamble',
    '--b1', 'Content-Type: text/plain; charset=utf-8',
    'Content-Transfer-Encoding: base64', '',
    Buffer.from('已部署').toString('base64'),
    '--b1', 'Content-Type: text/html; charset=utf-8', '', '<p>ok</p>',
    '--b1--', ''].join('\r\n')));
  assert.equal(read.text, '已部署');
  assert.equal(read.html.trim(), '<p>ok</p>');
});

test('it fails as told', async () => {
  smtp.mode = '421';
  assert.deepEqual(await talk(mail('x@example.com', '')), ['421']);
  smtp.mode = '550';
  assert.equal((await talk(mail('x@example.com', '')))[3], '550');
  smtp.mode = '451';
  assert.equal((await talk(mail('x@example.com', 'Subject: a', '', 'b')))[5],
    '451');
  smtp.mode = 'hang';
  assert.deepEqual(await talk([], { timeout: 100 }), []);
  assert.equal(smtp.to('x@example.com').length, 0);
  smtp.mode = 'ok';
  await smtp.refuse();
  await assert.rejects(talk([]), /ECONNREFUSED/);
  await smtp.accept();
  await eventually('accepts again', async () => (await talk(['QUIT']))
    .includes('221'));
});

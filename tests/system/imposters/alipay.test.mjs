import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';
import { after, before, test } from 'node:test';
import { request } from '../lib/http.mjs';
import { close, listen } from '../lib/ports.mjs';
import { eventually } from '../lib/wait.mjs';
import { Alipay, beijing, cents, form, rsa2, signString } from './alipay.mjs';

let alipay;
before(async () => { alipay = await Alipay.start(); });
after(() => alipay?.stop());

/** What a merchant's server would send. */
function call(method, biz, extra = {}) {
  const params = { app_id: alipay.appId, method, format: 'JSON',
    charset: 'utf-8', sign_type: 'RSA2', timestamp: beijing(), version: '1.0',
    biz_content: JSON.stringify(biz), ...extra };
  return { ...params, sign: rsa2(signString(params, ['sign']),
    alipay.app.privateKey) };
}

const payUrl = (no, extra = {}) => `${alipay.url}?${form(call(
  'alipay.trade.page.pay', { out_trade_no: no, total_amount: '99.00',
    subject: '专业版', product_code: 'FAST_INSTANT_TRADE_PAY', ...extra },
  { notify_url: 'http://127.0.0.1:1/n' }))}`;

async function ask(method, biz) {
  const answer = await request(alipay.url, { method: 'POST',
    headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
    body: form(call(method, biz)) });
  const text = answer.text;
  const node = `${method.replaceAll('.', '_')}_response`;
  const inner = text.slice(text.indexOf(':') + 1, text.lastIndexOf(',"sign"'));
  assert.ok(crypto.verify('sha256', Buffer.from(inner), alipay.alipay.publicKey,
    Buffer.from(answer.json().sign, 'base64')), 'the answer is signed');
  return answer.json()[node];
}

test('sign string: byte order, empty values stay, sign and sign_type go', () => {
  assert.equal(signString({ b: '2', a: '', Z: ' x ', sign: 's',
    sign_type: 'RSA2' }, ['sign', 'sign_type']), 'Z= x &a=&b=2');
});

test('known answers: sign strings and signatures of the test vectors', () => {
  const read = (id) => JSON.parse(fs.readFileSync(new URL(
    `../../data/vectors/${id}.json`, import.meta.url), 'utf8'));
  for (const id of ['alipay-rsa2-valid', 'alipay-rsa2-valid-empty-value',
    'alipay-refund-full', 'alipay-biz-discount']) {
    const vector = read(id);
    const params = Object.fromEntries(new URLSearchParams(vector.body_utf8));
    const text = signString(params, ['sign', 'sign_type']);
    assert.equal(text, vector.intermediate.sign_string_utf8, id);
    assert.ok(crypto.verify('sha256', Buffer.from(text),
      vector.config.alipay_public_key_pem, Buffer.from(params.sign, 'base64')),
    id);
    assert.deepEqual(Object.fromEntries(new URLSearchParams(form(params))),
      params, id);
  }
  // In a request sign_type is signed.
  const { url } = read('alipay-request-page-pay').request;
  const params = Object.fromEntries(new URL(url).searchParams);
  assert.ok(crypto.verify('sha256', Buffer.from(signString(params, ['sign'])),
    read('alipay-request-page-pay').config.app_public_key_pem,
    Buffer.from(params.sign, 'base64')));
});

test('cents and Beijing time', () => {
  assert.deepEqual(['99.00', '0.01', '7', '7.5'].map(cents), [9900, 1, 700, 750]);
  assert.throws(() => cents('1e2'));
  assert.equal(beijing(Date.UTC(2026, 0, 1, 17, 0, 5)), '2026-01-02 01:00:05');
});

test('a payUrl opens a trade; a changed or foreign one does not', () => {
  const trade = alipay.open(payUrl('A1'));
  assert.equal(trade.totalAmount, '99.00');
  assert.equal(trade.status, 'WAIT_BUYER_PAY');
  assert.throws(() => alipay.open(payUrl('A2').replace('99.00', '9.00')),
    /invalid-signature/);
  assert.throws(() => alipay.open(payUrl('A2', { product_code: 'OTHER' })),
    /product_code/);
  assert.throws(() => alipay.open(payUrl('A2', { total_amount: 99 })),
    /string/);
});

test('query, close and refund follow the trade', async () => {
  const trade = alipay.open(payUrl('B1'));
  const query = () => ask('alipay.trade.query', { out_trade_no: 'B1' });
  assert.equal((await query()).trade_status, 'WAIT_BUYER_PAY');
  alipay.pay(trade);
  assert.equal((await query()).trade_status, 'TRADE_SUCCESS');
  assert.equal((await ask('alipay.trade.close', { out_trade_no: 'B1' }))
    .sub_code, 'ACQ.TRADE_STATUS_ERROR');
  const refund = () => ask('alipay.trade.refund', { out_trade_no: 'B1',
    refund_amount: '99.00', out_request_no: 'R1' });
  assert.equal((await refund()).fund_change, 'Y');
  assert.equal((await refund()).fund_change, 'N');
  assert.equal(trade.refunds.length, 1);
  assert.equal((await query()).trade_status, 'TRADE_CLOSED');
  assert.equal((await ask('alipay.trade.fastpay.refund.query',
    { out_trade_no: 'B1', out_request_no: 'R1' })).refund_status,
  'REFUND_SUCCESS');
  assert.equal((await ask('alipay.trade.query', { out_trade_no: 'none' }))
    .sub_code, 'ACQ.TRADE_NOT_EXIST');
});

test('a QR order is no trade before it is scanned', async () => {
  const made = await ask('alipay.trade.precreate', { out_trade_no: 'Q1',
    total_amount: '1.00', subject: 's' });
  assert.match(made.qr_code, /^https:\/\/qr\.alipay\.com\//);
  assert.equal((await ask('alipay.trade.query', { out_trade_no: 'Q1' }))
    .sub_code, 'ACQ.TRADE_NOT_EXIST');
});

test('a notification arrives as a form that verifies', async () => {
  const got = [];
  const sockets = new Set();
  const server = http.createServer(async (req, res) => {
    const chunks = [];
    for await (const chunk of req) chunks.push(chunk);
    got.push(Buffer.concat(chunks).toString());
    res.end('success');
  });
  server.on('connection', (s) => sockets.add(s));
  const port = await listen(server);
  try {
    const trade = alipay.pay(alipay.open(payUrl('C1')));
    trade.notifyUrl = `http://127.0.0.1:${port}/n`;
    const answer = await alipay.notify(trade, { body: 'a b+c&d=e(é)' });
    assert.equal(answer.text, 'success');
    const params = Object.fromEntries(new URLSearchParams(got[0]));
    assert.equal(params.body, 'a b+c&d=e(é)');
    assert.equal(params.trade_status, 'TRADE_SUCCESS');
    const verifies = (key) => crypto.verify('sha256',
      Buffer.from(signString(params, ['sign', 'sign_type'])), key,
      Buffer.from(params.sign, 'base64'));
    assert.ok(verifies(alipay.alipay.publicKey));
    assert.ok(!verifies(alipay.app.publicKey));
    const refund = alipay.refundNotification(trade, '99.00', 'R9');
    assert.equal(refund.trade_status, 'TRADE_CLOSED');
    assert.equal(refund.out_biz_no, 'R9');
  } finally {
    await close(server, sockets);
  }
});

test('faults: before and after the effect, and answers of a stranger',
  async () => {
    const trade = alipay.pay(alipay.open(payUrl('F1')));
    const refund = () => ask('alipay.trade.refund', { out_trade_no: 'F1',
      refund_amount: '99.00', out_request_no: 'R1' });
    alipay.fault({ call: 'refund', kind: 'drop' });
    await assert.rejects(refund());
    assert.equal(trade.refunds.length, 0);
    alipay.fault({ call: 'refund', kind: 'forged' });
    await assert.rejects(refund(), /the answer is signed/);
    assert.equal(trade.refunds.length, 0);
    alipay.refundMode = 'later';
    alipay.fault({ call: 'refund', kind: 'drop', when: 'after' });
    await assert.rejects(refund());
    assert.equal(trade.refunds.length, 1);
    const asked = () => ask('alipay.trade.fastpay.refund.query',
      { out_trade_no: 'F1', out_request_no: 'R1' });
    assert.equal((await asked()).refund_status, undefined);
    assert.equal((await refund()).fund_change, 'N');
    alipay.settle(trade, trade.refunds[0]);
    assert.equal((await asked()).refund_status, 'REFUND_SUCCESS');
    alipay.refundMode = 'done';
    assert.equal(alipay.asked(trade, 'refund').length, 4);
    alipay.fault({ call: 'query', kind: 'refuse', code: 'ACQ.SYSTEM_ERROR' });
    assert.equal((await ask('alipay.trade.query', { out_trade_no: 'F1' }))
      .sub_code, 'ACQ.SYSTEM_ERROR');
    alipay.fault({ call: 'query', kind: 'slow', when: 'after' });
    const slow = ask('alipay.trade.query', { out_trade_no: 'F1' });
    await eventually('it is held', () => alipay.faults.held === 1);
    alipay.faults.release();
    assert.equal((await slow).trade_status, 'TRADE_CLOSED');
    alipay.open(payUrl('F2'));
    alipay.fault({ call: 'close', first: (t) => alipay.pay(t) });
    assert.equal((await ask('alipay.trade.close', { out_trade_no: 'F2' }))
      .sub_code, 'ACQ.TRADE_STATUS_ERROR');
    for (const [kind, is] of [['500', 500], ['unsigned', 200]]) {
      alipay.fault({ call: 'query', kind });
      const answer = await request(alipay.url, { method: 'POST',
        headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
        body: form(call('alipay.trade.query', { out_trade_no: 'F2' })) });
      assert.equal(answer.status, is);
      assert.ok(!answer.text.includes('"sign"'));
    }
  });

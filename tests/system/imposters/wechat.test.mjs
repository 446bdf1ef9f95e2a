import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';
import { after, before, test } from 'node:test';
import { request } from '../lib/http.mjs';
import { close, listen } from '../lib/ports.mjs';
import { eventually } from '../lib/wait.mjs';
import {
  WeChat, beijingCompact, beijingRfc3339, fromXml, seal, signV2, toXml, unseal,
  unsealRefund,
} from './wechat.mjs';

let wechat;
before(async () => { wechat = await WeChat.start(); });
after(() => wechat?.stop());

const vector = (id) => JSON.parse(fs.readFileSync(new URL(
  `../../data/vectors/${id}.json`, import.meta.url), 'utf8'));

/** What a merchant's server would send; throws when the answer is forged. */
async function ask(method, path, json, { headers = {}, serial, tamper = '' } = {}) {
  const body = json === undefined ? '' : JSON.stringify(json);
  const at = Math.floor(Date.now() / 1000);
  const nonce = crypto.randomBytes(16).toString('hex');
  const signature = crypto.sign('sha256',
    Buffer.from(`${method}\n${path}\n${at}\n${nonce}\n${body}${tamper}\n`),
    wechat.merchant.privateKey).toString('base64');
  const answer = await request(`${wechat.url}${path}`, { method,
    body: body || undefined, headers: {
      Accept: 'application/json', 'User-Agent': 'test',
      ...(body ? { 'Content-Type': 'application/json' } : {}),
      ...(serial ? { 'Wechatpay-Serial': serial } : {}),
      Authorization: `WECHATPAY2-SHA256-RSA2048 mchid="${wechat.mchId}",`
        + `nonce_str="${nonce}",timestamp="${at}",`
        + `serial_no="${wechat.merchantSerial}",signature="${signature}"`,
      ...headers } });
  const h = answer.headers;
  const signer = wechat.platform.get(h['wechatpay-serial']);
  answer.signer = signer?.serial;
  answer.verified = Boolean(signer) && crypto.verify('sha256',
    Buffer.from(`${h['wechatpay-timestamp']}\n${h['wechatpay-nonce']}\n${
      answer.text}\n`), signer.pem,
    Buffer.from(h['wechatpay-signature'], 'base64'));
  return answer;
}

const native = (no, extra = {}) => ask('POST', '/v3/pay/transactions/native', {
  appid: wechat.appId, mchid: wechat.mchId, description: '专业版',
  out_trade_no: no, notify_url: 'http://127.0.0.1:1/n',
  amount: { total: 9900, currency: 'CNY' }, ...extra });
const query = (no) => ask('GET',
  `/v3/pay/transactions/out-trade-no/${no}?mchid=${wechat.mchId}`);

test('known answers: APIv2 signs, both kinds', () => {
  const { config, intermediate, expect } = vector('wxv2-kat-official');
  for (const type of ['MD5', 'HMAC-SHA256']) {
    assert.equal(signV2(intermediate.fields, config.api_v2_key, type),
      expect[type]);
  }
  for (const id of ['wxv2-hmac-valid', 'wxv2-md5-valid', 'wxv2-md5-valid-pretty',
    'wxv2-hmac-valid-no-sign-type', 'wxv2-md5-valid-unknown-field']) {
    const v = vector(id);
    const fields = fromXml(v.body_utf8);
    assert.equal(signV2(fields, v.config.api_v2_key, v.config.sign_type),
      fields.sign, id);
  }
});

test('known answers: req_info of a refund', () => {
  for (const id of ['wxv2-refund-valid', 'wxv2-refund-valid-block-aligned']) {
    const v = vector(id);
    assert.equal(unsealRefund(v.config.api_v2_key,
      fromXml(v.body_utf8).req_info), v.intermediate.plaintext_utf8);
  }
});

test('known answers: what an APIv3 callback holds', () => {
  const v = vector('wxv3-valid-platform-cert');
  const { resource } = JSON.parse(v.body_utf8);
  const clear = JSON.parse(unseal(v.config.api_v3_key, resource.nonce,
    resource.associated_data, resource.ciphertext));
  assert.equal(clear.amount.total, v.order.amount.total);
  const made = wechat.transaction({ outTradeNo: 'x', total: 1,
    transactionId: 'y', tradeType: 'NATIVE', paidAt: Date.now() });
  for (const key of Object.keys(clear)) {
    assert.ok(key in made, `${key} is missing`);
  }
  assert.equal(unseal('k'.repeat(32), 'n'.repeat(12), '',
    seal('k'.repeat(32), 'n'.repeat(12), '', '文')), '文');
});

test('known answers: signatures of APIv3', () => {
  for (const id of ['wxv3-valid-platform-cert', 'wxv3-valid-pubkey-mode']) {
    const v = vector(id);
    const headers = Object.fromEntries(v.request.headers);
    const serial = headers['Wechatpay-Serial'];
    assert.ok(crypto.verify('sha256', Buffer.from(
      `${headers['Wechatpay-Timestamp']}\n${headers['Wechatpay-Nonce']}\n${
        v.body_utf8}\n`), v.config.platform_certificates[serial]
        ?? v.config.wechatpay_public_keys[serial],
    Buffer.from(headers['Wechatpay-Signature'], 'base64')));
  }
});

test('certificates have the serial they are named by', () => {
  for (const { serial, pem, certificate } of wechat.platform.values()) {
    if (!certificate) continue;
    const { serialNumber } = new crypto.X509Certificate(pem);
    assert.equal(serialNumber.padStart(40, '0'), serial);
  }
  assert.ok(wechat.zero.startsWith('0A'));
  assert.match(wechat.publicKeyId, /^PUB_KEY_ID_\d+$/);
});

test('XML: flat only, text and CDATA, nothing twice', () => {
  assert.deepEqual(fromXml('<xml><a><![CDATA[1<&]]></a>\n<b>x&amp;y</b></xml>'),
    { a: '1<&', b: 'x&y' });
  for (const bad of ['<xml><a>1</a><a>2</a></xml>', '<xml><a><b>1</b></a></xml>',
    '<xml/><xml/>', 'x', '<!DOCTYPE xml><xml><a>1</a></xml>']) {
    assert.throws(() => fromXml(bad), undefined, bad);
  }
  assert.equal(beijingRfc3339(Date.UTC(2026, 0, 1, 17, 0, 5)),
    '2026-01-02T01:00:05+08:00');
  assert.equal(beijingCompact(Date.UTC(2026, 0, 1, 17, 0, 5)), '20260102010005');
});

test('v3: create, query, close, each answer signed as asked for', async () => {
  const made = await native('ORDER001');
  assert.equal(made.status, 200, made.text);
  assert.ok(made.verified);
  assert.equal(made.signer, wechat.current);
  assert.match(made.json().code_url, /^weixin:\/\//);
  assert.equal((await native('ORDER001')).json().code_url, made.json().code_url);
  const state = await query('ORDER001');
  assert.equal(state.json().trade_state, 'NOTPAY');
  const shut = await ask('POST',
    '/v3/pay/transactions/out-trade-no/ORDER001/close', { mchid: wechat.mchId },
    { serial: wechat.publicKeyId });
  assert.equal(`${shut.status}${shut.text}`, '204');
  assert.ok(shut.verified);
  assert.equal(shut.signer, wechat.publicKeyId);
  assert.equal((await query('ORDER001')).json().trade_state, 'CLOSED');
  const none = await query('NOTHING1');
  assert.equal(none.status, 404);
  assert.equal(none.json().code, 'ORDER_NOT_EXIST');
  assert.ok(none.verified);
  const trade = wechat.trades.get('ORDER001');
  assert.equal(wechat.asked(trade, 'query').length, 2);
  assert.equal(wechat.asked(trade, 'close').length, 1);
});

test('v3: a paid one is not closed, and its refund follows it', async () => {
  await native('ORDER002');
  const trade = wechat.pay(wechat.trades.get('ORDER002'));
  assert.equal((await query('ORDER002')).json().amount.total, 9900);
  assert.equal((await ask('POST',
    '/v3/pay/transactions/out-trade-no/ORDER002/close',
    { mchid: wechat.mchId })).json().code, 'ORDERPAID');
  wechat.refundMode = 'later';
  const refund = (no) => ask('POST', '/v3/refund/domestic/refunds', {
    transaction_id: trade.transactionId, out_refund_no: no,
    amount: { refund: 9900, total: 9900, currency: 'CNY' } });
  const state = () => ask('GET', '/v3/refund/domestic/refunds/R1');
  assert.equal((await state()).status, 404);
  assert.equal((await refund('R1')).json().status, 'PROCESSING');
  assert.equal((await refund('R1')).json().status, 'PROCESSING');
  assert.equal((await refund('R2')).json().code, 'INVALID_REQUEST');
  assert.equal(trade.refunds.length, 1);
  wechat.settle(trade, trade.refunds[0]);
  assert.equal((await state()).json().status, 'SUCCESS');
  assert.equal((await query('ORDER002')).json().trade_state, 'REFUND');
  wechat.refundMode = 'done';
});

test('v3: what is not signed by the merchant is refused', async () => {
  for (const how of [{ tamper: ' ' }, { headers: { Authorization: 'x' } },
    { headers: { Accept: '*/*' } }]) {
    const answer = await ask('GET', '/v3/certificates', undefined, how);
    assert.equal(answer.status, 401);
    assert.equal(answer.json().code, 'SIGN_ERROR');
    assert.ok(wechat.complaints.pop());
  }
});

test('v3: certificates can be unsealed, the one nobody was handed too',
  async () => {
    const { data } = (await ask('GET', '/v3/certificates')).json();
    const found = data.find((c) => c.serial_no === wechat.fresh);
    const { nonce, associated_data: aad, ciphertext } = found.encrypt_certificate;
    assert.equal(unseal(wechat.v3Key, nonce, aad, ciphertext),
      wechat.platform.get(wechat.fresh).pem);
    assert.ok(!wechat.handedOut.some((p) => p.serial === wechat.fresh));
    assert.ok(!data.some((c) => c.serial_no === wechat.publicKeyId));
  });

test('v3: bad orders are refused with what is wrong', async () => {
  for (const extra of [{ amount: { total: 99.5, currency: 'CNY' } },
    { out_trade_no: 'x' }, { appid: 'wx' }, { notify_url: 'http://a/?b=c' },
    { time_expire: '2020-01-01T00:00:00+08:00' }]) {
    assert.equal((await native('ORDER003', extra)).json().code, 'PARAM_ERROR');
    assert.ok(wechat.complaints.pop());
  }
  assert.equal((await ask('POST', '/v3/pay/transactions/jsapi', {
    appid: wechat.appId, mchid: wechat.mchId, description: 'd',
    out_trade_no: 'ORDER003', notify_url: 'http://a/n',
    amount: { total: 1 } })).status, 400);
  assert.ok(wechat.complaints.pop());
});

test('faults: before and after the effect, and answers of a stranger',
  async () => {
    for (const [kind, when, known] of [['drop', 'before', false],
      ['drop', 'after', true]]) {
      const no = `FAULT${kind}${when}`;
      const fault = wechat.fault({ call: 'native', kind, when });
      await assert.rejects(native(no));
      assert.equal(fault.fired, 1);
      assert.equal(wechat.trades.has(no), known);
    }
    for (const when of ['before', 'after']) {
      wechat.fault({ call: 'native', kind: 'forged', when });
      assert.equal((await native(`FORGED${when}`)).verified, false);
      assert.equal(wechat.trades.has(`FORGED${when}`), when === 'after');
      wechat.fault({ call: 'native', kind: 'unsigned', when });
      const bare = await native(`UNSIGNED${when}`);
      assert.equal(bare.status, 200);
      assert.equal(bare.headers['wechatpay-signature'], undefined);
    }
    wechat.fault({ call: 'native', kind: '500' });
    assert.equal((await native('FAULT500')).status, 500);
    wechat.fault({ call: 'native', kind: 'refuse', status: 429,
      code: 'FREQUENCY_LIMITED' });
    assert.equal((await native('FAULT429')).status, 429);
    wechat.fault({ call: 'native', kind: 'slow', when: 'after' });
    const slow = native('SLOW0001');
    await eventually('it is held', () => wechat.faults.held === 1);
    assert.ok(wechat.trades.has('SLOW0001'));
    wechat.faults.release();
    assert.equal((await slow).status, 200);
    const paying = wechat.fault({ call: 'close', first: (t) => wechat.pay(t) });
    assert.equal((await ask('POST',
      '/v3/pay/transactions/out-trade-no/SLOW0001/close',
      { mchid: wechat.mchId })).json().code, 'ORDERPAID');
    assert.equal(paying.fired, 1);
    wechat.mode = 'down';
    await assert.rejects(query('SLOW0001'));
    wechat.mode = 'busy';
    assert.equal((await query('SLOW0001')).json().code, 'SYSTEM_ERROR');
    wechat.mode = 'ok';
    assert.equal((await query('SLOW0001')).status, 200);
  });

async function askV2(path, fields, { type = 'HMAC-SHA256', sign } = {}) {
  const all = { appid: wechat.appId, mch_id: wechat.mchId, nonce_str: 'n',
    sign_type: type, ...fields };
  const answer = await request(`${wechat.url}${path}`, { method: 'POST',
    headers: { 'Content-Type': 'text/xml' },
    body: toXml({ ...all, sign: sign ?? signV2(all, wechat.v2Key, type) }) });
  const got = fromXml(answer.text);
  if (got.return_code === 'SUCCESS') {
    assert.equal(got.sign, signV2(got, wechat.v2Key, type), 'it is signed');
  }
  return got;
}

test('v2: create, query, close, refund query', async () => {
  const made = await askV2('/pay/unifiedorder', { out_trade_no: 'V2A',
    body: '专业版', total_fee: 9900, spbill_create_ip: '127.0.0.1',
    notify_url: 'http://127.0.0.1:1/n', trade_type: 'NATIVE' });
  assert.match(made.code_url, /^weixin:/);
  const state = () => askV2('/pay/orderquery', { out_trade_no: 'V2A' });
  assert.equal((await state()).trade_state, 'NOTPAY');
  const trade = wechat.pay(wechat.trades.get('V2A'));
  assert.equal((await state()).transaction_id, trade.transactionId);
  assert.equal((await askV2('/pay/closeorder', { out_trade_no: 'V2A' }))
    .err_code, 'ORDERPAID');
  const refunds = () => askV2('/pay/refundquery', { out_trade_no: 'V2A' });
  assert.equal((await refunds()).err_code, 'REFUNDNOTEXIST');
  trade.refunds.push({ no: 'R', id: '5', amount: 9900, status: 'SUCCESS' });
  assert.equal((await refunds()).refund_status_0, 'SUCCESS');
  assert.equal((await askV2('/pay/orderquery', { out_trade_no: 'none' }))
    .err_code, 'ORDERNOTEXIST');
  assert.equal((await askV2('/pay/orderquery', { out_trade_no: 'V2A' },
    { sign: 'F'.repeat(64) })).return_code, 'FAIL');
  assert.ok(wechat.complaints.pop());
  assert.equal((await askV2('/pay/orderquery', { out_trade_no: 'V2A' },
    { type: 'MD5' })).return_code, 'FAIL');
  assert.ok(wechat.complaints.pop());
  assert.equal(wechat.asked(trade, 'query').length, 4);
});

test('callbacks arrive as they were signed', async () => {
  const got = [];
  const sockets = new Set();
  const server = http.createServer(async (req, res) => {
    const chunks = [];
    for await (const chunk of req) chunks.push(chunk);
    got.push({ raw: req.rawHeaders, headers: req.headers,
      body: Buffer.concat(chunks).toString() });
    res.statusCode = 204;
    res.end();
  });
  server.on('connection', (s) => sockets.add(s));
  const port = await listen(server);
  try {
    await native('CALL0001');
    const trade = wechat.pay(wechat.trades.get('CALL0001'));
    trade.notifyUrl = `http://127.0.0.1:${port}/n`;
    for (const serial of [wechat.current, wechat.zero, wechat.publicKeyId]) {
      await wechat.notify(trade, {}, { serial });
      const { headers, body } = got.pop();
      assert.equal(headers['wechatpay-serial'], serial);
      assert.ok(crypto.verify('sha256', Buffer.from(
        `${headers['wechatpay-timestamp']}\n${headers['wechatpay-nonce']}\n${
          body}\n`), wechat.platform.get(serial).pem,
      Buffer.from(headers['wechatpay-signature'], 'base64')));
      const { resource } = JSON.parse(body);
      assert.equal(JSON.parse(unseal(wechat.v3Key, resource.nonce,
        resource.associated_data, resource.ciphertext)).out_trade_no, 'CALL0001');
    }
    await wechat.notify(trade, {}, { headers: {
      'Wechatpay-Signature': ['a', 'b'], 'Wechatpay-Nonce': undefined } });
    const twice = got.pop();
    assert.equal(twice.raw.filter((h) => h === 'Wechatpay-Signature').length, 2);
    assert.equal(twice.headers['wechatpay-nonce'], undefined);

    await wechat.notifyV2(trade);
    const fields = fromXml(got.pop().body);
    assert.equal(fields.sign, signV2(fields, wechat.v2Key, 'HMAC-SHA256'));
    await wechat.notifyV2(trade, {}, { type: 'MD5', named: false });
    const md5 = fromXml(got.pop().body);
    assert.equal(md5.sign_type, undefined);
    assert.equal(md5.sign, signV2(md5, wechat.v2Key, 'MD5'));

    const refund = { no: 'R7', id: '503', amount: 9900, status: 'SUCCESS' };
    await wechat.postXml(trade.notifyUrl,
      wechat.refundNotificationV2(trade, refund));
    const sealed = fromXml(got.pop().body);
    assert.equal(sealed.sign, undefined);
    assert.equal(fromXml(unsealRefund(wechat.v2Key, sealed.req_info))
      .out_refund_no, 'R7');
    await wechat.refundNotify(trade.notifyUrl, trade, refund);
    assert.equal(JSON.parse(got.pop().body).event_type, 'REFUND.SUCCESS');
  } finally {
    await close(server, sockets);
  }
});

test('nobody complained without a reason', () => {
  assert.deepEqual(wechat.complaints, []);
});

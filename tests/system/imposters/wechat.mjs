// WeChat Pay: APIv3 and APIv2 over the same trades, the payer, and the sender
// of callbacks. Holds all keys: the merchant's, the platform's, a stranger's.

import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import path from 'node:path';
import { execFileSync } from 'node:child_process';
import { temporaryDirectory } from '../lib/cleanup.mjs';
import { request } from '../lib/http.mjs';
import { close, listen } from '../lib/ports.mjs';
import { Faults } from './faults.mjs';
import { pair } from './keys.mjs';

const SCHEMA = 'WECHATPAY2-SHA256-RSA2048';

const letters = (n) => Array.from({ length: n }, () => (
  'ABCDEFGHJKMNPQRSTUVWXYZabcdefghjkmnpqrstuvwxyz23456789'[
    crypto.randomInt(54)])).join('');
const digits = (n) => Array.from({ length: n }, () => crypto.randomInt(10))
  .join('');
const hex = (n) => crypto.randomBytes(n).toString('hex').toUpperCase();
const seconds = () => Math.floor(Date.now() / 1000);

/** RFC 3339 in Beijing, as APIv3 writes all times. */
export function beijingRfc3339(ms = Date.now()) {
  return `${new Date(ms + 8 * 3_600_000).toISOString().slice(0, 19)}+08:00`;
}

/** `yyyyMMddHHmmss` in Beijing, as APIv2 writes them. */
export function beijingCompact(ms = Date.now()) {
  return beijingRfc3339(ms).slice(0, 19).replace(/[-T:]/g, '');
}

/** A self-signed certificate of `keys` with this serial number (hex). */
function certificate(dir, keys, serial, subject) {
  const file = path.join(dir, `${serial}.key`);
  fs.writeFileSync(file, keys.privateKey, { mode: 0o600 });
  return execFileSync('openssl', ['req', '-x509', '-new', '-key', file,
    '-sha256', '-days', '1825', '-set_serial', `0x${serial}`, '-subj', subject],
  { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

// -- APIv3 --------------------------------------------------------------------

/** `timestamp LF nonce LF body LF`, signed. */
export function signV3(at, nonce, body, privateKey) {
  return crypto.sign('sha256', Buffer.concat([Buffer.from(`${at}\n${nonce}\n`),
    Buffer.from(body), Buffer.from('\n')]), privateKey).toString('base64');
}

/** AEAD_AES_256_GCM with the tag at the end, base64. */
export function seal(key, nonce, aad, text) {
  const cipher = crypto.createCipheriv('aes-256-gcm', key, nonce);
  cipher.setAAD(Buffer.from(aad ?? ''));
  return Buffer.concat([cipher.update(text, 'utf8'), cipher.final(),
    cipher.getAuthTag()]).toString('base64');
}

export function unseal(key, nonce, aad, ciphertext) {
  const bytes = Buffer.from(ciphertext, 'base64');
  const decipher = crypto.createDecipheriv('aes-256-gcm', key, nonce);
  decipher.setAAD(Buffer.from(aad ?? ''));
  decipher.setAuthTag(bytes.subarray(-16));
  return Buffer.concat([decipher.update(bytes.subarray(0, -16)),
    decipher.final()]).toString('utf8');
}

// -- APIv2 --------------------------------------------------------------------

/** The sign of APIv2: upper-case hex over all but `sign` and empty values. */
export function signV2(fields, key, type) {
  const text = `${Object.keys(fields)
    .filter((name) => name !== 'sign' && fields[name] !== ''
      && fields[name] !== undefined)
    .sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    .map((name) => `${name}=${fields[name]}`).join('&')}&key=${key}`;
  const hash = type === 'MD5' ? crypto.createHash('md5')
    : crypto.createHmac('sha256', key);
  return hash.update(text).digest('hex').toUpperCase();
}

export function toXml(fields, root = 'xml') {
  const inner = Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `<${name}><![CDATA[${value}]]></${name}>`).join('');
  return `<${root}>${inner}</${root}>`;
}

/** Flat XML; throws on anything else. */
export function fromXml(text) {
  const whole = /^\s*(?:<\?xml[^>]*\?>\s*)?<(xml|root)>([\s\S]*)<\/\1>\s*$/
    .exec(text);
  assert.ok(whole, `not <xml>: ${text.slice(0, 100)}`);
  const fields = {};
  const rest = whole[2].replace(
    /<(\w+)>(?:<!\[CDATA\[([\s\S]*?)\]\]>|([^<]*))<\/\1>|<(\w+)\s*\/>/g,
    (_, named, cdata, plain = '', empty) => {
      const name = named ?? empty;
      assert.ok(!(name in fields), `${name} is given twice`);
      fields[name] = cdata ?? plain.replace(/&(lt|gt|quot|apos|amp);/g,
        (all, e) => ({ lt: '<', gt: '>', quot: '"', apos: '\'', amp: '&' }[e]));
      return '';
    });
  assert.equal(rest.trim(), '', `not flat: ${rest.slice(0, 100)}`);
  return fields;
}

/** The key of req_info: 32 hex characters of MD5(APIv2 key), as text. */
const refundKey = (key) => Buffer.from(
  crypto.createHash('md5').update(key).digest('hex'));

export function sealRefund(key, text) {
  const cipher = crypto.createCipheriv('aes-256-ecb', refundKey(key), null);
  return Buffer.concat([cipher.update(text, 'utf8'), cipher.final()])
    .toString('base64');
}

export function unsealRefund(key, sealed) {
  const decipher = crypto.createDecipheriv('aes-256-ecb', refundKey(key), null);
  return Buffer.concat([decipher.update(Buffer.from(sealed, 'base64')),
    decipher.final()]).toString('utf8');
}

/** Error answers: {status, code}. */
class Refused extends Error {
  constructor(status, code, message = code) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export class WeChat {
  appId = 'wx8397f8696b538317';
  mchId = '1900009191';
  v2Key = letters(32);
  v3Key = letters(32);
  /** `HMAC-SHA256` or `MD5`: what the merchant has chosen. */
  v2SignType = 'HMAC-SHA256';
  merchant = pair('merchant of WeChat');
  merchantSerial = `3${hex(20).slice(1)}`;
  stranger = pair('stranger');
  /** Serial → {serial, privateKey, pem, certificate: boolean}. */
  platform = new Map();
  /** Serial that signs callbacks, and answers to who does not ask for one. */
  signer;
  /** By out_trade_no. */
  trades = new Map();
  /** Calls in order: {call, biz, at, fault, path}. */
  calls = [];
  /** What a caller did wrong. */
  complaints = [];
  /** `ok`, `down` (connection closed), `busy` (SYSTEM_ERROR). */
  mode = 'ok';
  /** `done`: a refund is SUCCESS at once; `later`: PROCESSING until settle(). */
  refundMode = 'done';
  faults = new Faults();
  #nonces = new Set();
  #server;
  #sockets = new Set();

  static async start({ signType = 'HMAC-SHA256' } = {}) {
    const self = new WeChat();
    self.v2SignType = signType;
    const { dir, remove } = temporaryDirectory('slipway-wechat-');
    try {
      const subject = '/C=CN/O=Tenpay.com test/CN=Tenpay.com sign';
      const add = (name, serial) => {
        const keys = pair(name);
        self.platform.set(serial, { serial, privateKey: keys.privateKey,
          pem: certificate(dir, keys, serial, subject), certificate: true });
        return serial;
      };
      self.current = add('current', `5${hex(20).slice(1)}`);
      self.zero = add('zero', `0A${hex(19)}`);
      // Not handed to the merchant: GET /v3/certificates alone has it.
      self.fresh = add('fresh', `6${hex(20).slice(1)}`);
      const keys = pair('public key');
      self.publicKeyId = `PUB_KEY_ID_01${self.mchId}${digits(24)}`;
      self.platform.set(self.publicKeyId, { serial: self.publicKeyId,
        privateKey: keys.privateKey, pem: keys.publicKey, certificate: false });
      self.signer = self.current;
    } finally {
      remove();
    }
    self.#server = http.createServer((req, res) => {
      self.#serve(req, res).catch((error) => {
        self.complaints.push(`imposter broke: ${error.stack}`);
        res.statusCode = 500;
        res.end();
      });
    });
    self.#server.on('connection', (socket) => {
      self.#sockets.add(socket);
      socket.on('close', () => self.#sockets.delete(socket));
    });
    self.port = await listen(self.#server);
    return self;
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  stop() {
    this.faults.clear();
    return close(this.#server, this.#sockets);
  }

  /** What the merchant is given: serial → PEM. */
  get handedOut() {
    return [this.current, this.zero, this.publicKeyId]
      .map((serial) => this.platform.get(serial));
  }

  fault(fault) {
    return this.faults.add(fault);
  }

  /** Calls about `trade`; `what` is `query`, `close`, `refund`, `refund query`. */
  asked(trade, what) {
    const names = { query: ['query', 'v2.orderquery'],
      close: ['close', 'v2.closeorder'], refund: ['refund', 'v2.refund'],
      'refund query': ['refund query', 'v2.refundquery'] }[what];
    assert.ok(names, what);
    const numbers = [trade.outTradeNo, trade.transactionId,
      ...trade.refunds.map((r) => r.no)];
    return this.calls.filter((c) => names.includes(c.call)
      && [c.biz.out_trade_no, c.biz.transaction_id, c.biz.out_refund_no]
        .some((no) => no !== undefined && numbers.includes(no)));
  }

  // -- the payer --------------------------------------------------------------

  /** The payer pays; nothing is posted yet. */
  pay(trade, { anyway = false } = {}) {
    assert.ok(anyway || trade.status === 'NOTPAY', `cannot pay: ${trade.status}`);
    trade.status = 'SUCCESS';
    trade.paidAt = Date.now();
    trade.transactionId ??= `42000${digits(23)}`;
    return trade;
  }

  /** Closed without having been paid? */
  closed(trade) {
    return trade.status === 'CLOSED' && !trade.paidAt;
  }

  /** A refund that was accepted is carried out, or ends in another way. */
  settle(trade, refund, status = 'SUCCESS') {
    refund.status = status;
    refund.done = status === 'SUCCESS';
    if (refund.done) trade.status = 'REFUND';
  }

  // -- callbacks, APIv3 -------------------------------------------------------

  #amount(trade) {
    return { total: trade.total, payer_total: trade.total, currency: 'CNY',
      payer_currency: 'CNY' };
  }

  /** What TRANSACTION.SUCCESS tells about `trade`, in the clear. */
  transaction(trade, fields = {}) {
    return {
      mchid: this.mchId, appid: this.appId, out_trade_no: trade.outTradeNo,
      transaction_id: trade.transactionId, trade_type: trade.tradeType,
      trade_state: 'SUCCESS', trade_state_desc: '支付成功', bank_type: 'OTHERS',
      attach: '', success_time: beijingRfc3339(trade.paidAt),
      payer: { openid: trade.openid ?? 'oUpF8uMuAJO_M2pxb1Q9zNjWeS6o' },
      amount: this.#amount(trade), ...fields,
    };
  }

  /** What REFUND.* tells. */
  refundResource(trade, refund, fields = {}) {
    return {
      mchid: this.mchId, out_trade_no: trade.outTradeNo,
      transaction_id: trade.transactionId, out_refund_no: refund.no,
      refund_id: refund.id, refund_status: refund.status,
      ...(refund.status === 'SUCCESS'
        ? { success_time: beijingRfc3339() } : {}),
      user_received_account: '招商银行信用卡0403',
      amount: { total: trade.total, refund: refund.amount,
        payer_total: trade.total, payer_refund: refund.amount }, ...fields,
    };
  }

  /** The body of a callback: text, sealed. */
  event(type, resource, { id, aad, sealKey = this.v3Key } = {}) {
    const nonce = letters(12);
    const original = type.startsWith('REFUND') ? 'refund' : 'transaction';
    const data = aad ?? original;
    return JSON.stringify({
      id: id ?? crypto.randomUUID(), create_time: beijingRfc3339(),
      resource_type: 'encrypt-resource', event_type: type, summary: '通知 ✓',
      resource: { original_type: original, algorithm: 'AEAD_AES_256_GCM',
        ciphertext: seal(sealKey, nonce, data, JSON.stringify(resource)),
        associated_data: data, nonce },
    });
  }

  /**
   * The headers of a callback.
   *
   * @param options.serial named in the header, and its key signs
   * @param options.key signs instead
   * @param options.at timestamp in seconds
   */
  headers(body, { serial = this.signer, key, at = seconds(), nonce = letters(32),
                  signature } = {}) {
    const signer = key ?? this.platform.get(serial)?.privateKey
      ?? this.stranger.privateKey;
    return {
      'Content-Type': 'application/json; charset=utf-8',
      'User-Agent': 'Mozilla/4.0',
      'Request-ID': `${hex(20)}-0`,
      'Wechatpay-Nonce': nonce,
      'Wechatpay-Serial': serial,
      'Wechatpay-Signature': signature ?? signV3(at, nonce, body, signer),
      'Wechatpay-Signature-Type': SCHEMA,
      'Wechatpay-Timestamp': String(at),
    };
  }

  /** Posts a body; `headers` replaces, adds, and undefined leaves out. */
  post(url, body, { headers = {}, timeout, ...how } = {}) {
    const all = Object.fromEntries(Object.entries({
      ...this.headers(body, how), ...headers })
      .filter(([, value]) => value !== undefined));
    return request(url, { method: 'POST', headers: all, body, timeout });
  }

  /** TRANSACTION.SUCCESS about `trade`, to its own notify_url. */
  notify(trade, fields = {}, how = {}) {
    return this.post(trade.notifyUrl, this.event('TRANSACTION.SUCCESS',
      this.transaction(trade, fields), how), how);
  }

  /** REFUND.* about a refund, by its status. */
  refundNotify(url, trade, refund, how = {}) {
    return this.post(url, this.event(`REFUND.${refund.status}`,
      this.refundResource(trade, refund, how.fields), how), how);
  }

  // -- callbacks, APIv2 -------------------------------------------------------

  /** All fields of a v2 notification about `trade`, signed. */
  notificationV2(trade, fields = {}, { type = this.v2SignType, named = true,
    key = this.v2Key } = {}) {
    const all = {
      return_code: 'SUCCESS', return_msg: 'OK', appid: this.appId,
      mch_id: this.mchId, nonce_str: letters(32),
      ...(named ? { sign_type: type } : {}),
      result_code: 'SUCCESS', openid: 'oUpF8uMuAJO_M2pxb1Q9zNjWeS6o',
      is_subscribe: 'N', trade_type: trade.tradeType, bank_type: 'OTHERS',
      total_fee: String(trade.total), fee_type: 'CNY',
      cash_fee: String(trade.total),
      transaction_id: trade.transactionId, out_trade_no: trade.outTradeNo,
      attach: '', time_end: beijingCompact(trade.paidAt), ...fields,
    };
    const kept = Object.fromEntries(Object.entries(all)
      .filter(([, value]) => value !== undefined));
    return { ...kept, sign: signV2(kept, key, type) };
  }

  postXml(url, body) {
    return request(url, { method: 'POST', body,
      headers: { 'Content-Type': 'text/xml', 'User-Agent': 'Mozilla/4.0' } });
  }

  notifyV2(trade, fields = {}, how = {}) {
    return this.postXml(trade.notifyUrl,
      toXml(this.notificationV2(trade, fields, how)));
  }

  /** The v2 refund notification: no sign, the content is encrypted. */
  refundNotificationV2(trade, refund, fields = {}, { key = this.v2Key } = {}) {
    const status = { SUCCESS: 'SUCCESS', PROCESSING: 'SUCCESS',
      ABNORMAL: 'CHANGE', CLOSED: 'REFUNDCLOSE' }[refund.status];
    return toXml({
      return_code: 'SUCCESS', appid: this.appId, mch_id: this.mchId,
      nonce_str: letters(32), req_info: sealRefund(key, toXml({
        transaction_id: trade.transactionId, out_trade_no: trade.outTradeNo,
        refund_id: refund.id, out_refund_no: refund.no,
        total_fee: trade.total, settlement_total_fee: trade.total,
        refund_fee: refund.amount, settlement_refund_fee: refund.amount,
        refund_status: status, success_time: '2026-01-01 10:00:00',
        refund_recv_accout: '支付用户零钱',
        refund_account: 'REFUND_SOURCE_RECHARGE_FUNDS',
        refund_request_source: 'API', ...fields,
      }, 'root')),
    });
  }

  // -- the gateway ------------------------------------------------------------

  async #serve(req, res) {
    const chunks = [];
    for await (const chunk of req) chunks.push(chunk);
    const body = Buffer.concat(chunks);
    if (req.url.startsWith('/v3/')) return this.#serveV3(req, res, body);
    return this.#serveV2(req, res, body);
  }

  /** What both versions go through: logs, faults, and the effect in between. */
  async #through(call, biz, req, { perform, send, stumble, boast }) {
    const down = this.mode === 'down';
    const fault = down ? undefined : this.faults.take(call, biz);
    this.calls.push({ call, biz, at: Date.now(), path: req.url,
      fault: down ? 'drop' : fault?.kind });
    if (down || (fault?.kind === 'drop' && fault.when === 'before')) {
      return req.socket.destroy();
    }
    fault?.first?.(this.trades.get(biz.out_trade_no));
    const before = fault?.when === 'before';
    if (before && fault.kind === 'slow') await this.faults.hold();
    let answer;
    if (this.mode === 'busy') {
      answer = new Refused(500, 'SYSTEM_ERROR');
    } else if (fault?.kind === 'refuse') {
      answer = new Refused(fault.status ?? 400, fault.code);
    } else if (before && ['500', 'forged', 'unsigned'].includes(fault.kind)) {
      answer = boast();
    } else {
      try {
        answer = perform();
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        answer = error;
      }
    }
    if (fault?.when === 'after') {
      if (fault.kind === 'slow') await this.faults.hold();
      if (fault.kind === 'drop') return req.socket.destroy();
    }
    if (req.socket.destroyed) return undefined;
    return fault?.kind === '500' ? stumble() : send(answer, fault?.kind);
  }

  #find(no) {
    const trade = this.trades.get(no);
    if (!trade) throw new Refused(404, 'ORDER_NOT_EXIST', '订单不存在');
    return trade;
  }

  #complain(text, status = 400, code = 'PARAM_ERROR') {
    this.complaints.push(text);
    throw new Refused(status, code, text);
  }

  /** A new order, or the same one again. */
  #know(tradeType, { no, total, description, notifyUrl, openid }) {
    const known = this.trades.get(no);
    if (known) {
      if (known.paidAt) throw new Refused(400, 'ORDERPAID', '该订单已支付');
      if (known.status === 'CLOSED') throw new Refused(400, 'ORDER_CLOSED');
      if (known.total !== total || known.tradeType !== tradeType) {
        throw new Refused(403, 'OUT_TRADE_NO_USED');
      }
      return known;
    }
    const trade = { outTradeNo: no, total, description, notifyUrl, openid,
      tradeType, status: 'NOTPAY', createdAt: Date.now(), paidAt: undefined,
      transactionId: undefined, refunds: [],
      codeUrl: `weixin://wxpay/bizpayurl?pr=${letters(9)}`,
      h5Url: `https://wx.tenpay.com/cgi-bin/mmpayweb-bin/checkmweb?prepay_id=wx${
        digits(28)}&package=${digits(10)}`,
      prepayId: `wx${digits(32)}` };
    this.trades.set(no, trade);
    return trade;
  }

  #close(trade) {
    if (trade.paidAt) throw new Refused(400, 'ORDERPAID', '该订单已支付');
    if (trade.status === 'CLOSED') throw new Refused(400, 'ORDER_CLOSED');
    trade.status = 'CLOSED';
  }

  #refund(trade, { no, amount, notifyUrl }) {
    if (!trade.paidAt) throw new Refused(403, 'TRADE_ERROR', '订单未支付');
    const known = trade.refunds.find((r) => r.no === no);
    if (known) {
      if (known.amount !== amount) {
        this.#complain(`refund ${no}: another amount`, 400, 'INVALID_REQUEST');
      }
      return known;
    }
    const before = trade.refunds
      .filter((r) => !['CLOSED', 'ABNORMAL'].includes(r.status))
      .reduce((n, r) => n + r.amount, 0);
    if (before + amount > trade.total) {
      throw new Refused(400, 'INVALID_REQUEST', '订单金额或退款金额有误');
    }
    const refund = { no, amount, notifyUrl, id: `503${digits(26)}`,
      status: 'PROCESSING', done: false, at: Date.now() };
    trade.refunds.push(refund);
    if (this.refundMode === 'done') this.settle(trade, refund);
    return refund;
  }

  #findRefund(no) {
    for (const trade of this.trades.values()) {
      const refund = trade.refunds.find((r) => r.no === no);
      if (refund) return { trade, refund };
    }
    throw new Refused(404, 'RESOURCE_NOT_EXISTS', '退款单不存在');
  }

  // -- APIv3 ------------------------------------------------------------------

  /** Checks the Authorization header; returns what is wrong. */
  #unauthorized(req, body) {
    const header = req.headers.authorization ?? '';
    if (!header.startsWith(`${SCHEMA} `)) return `schema: ${header.slice(0, 30)}`;
    const items = Object.fromEntries([...header.slice(SCHEMA.length + 1)
      .matchAll(/(\w+)="([^"]*)"/g)].map(([, name, value]) => [name, value]));
    if (items.mchid !== this.mchId) return `mchid ${items.mchid}`;
    if (items.serial_no !== this.merchantSerial) return 'serial_no';
    if (!/^\d{1,12}$/.test(items.timestamp ?? '')
        || Math.abs(Number(items.timestamp) - seconds()) >= 300) {
      return `timestamp ${items.timestamp}`;
    }
    if (!/^[0-9A-Za-z]{1,32}$/.test(items.nonce_str ?? '')) return 'nonce_str';
    if (this.#nonces.has(items.nonce_str)) return 'the nonce_str was used before';
    this.#nonces.add(items.nonce_str);
    const signed = Buffer.concat([Buffer.from(`${req.method}\n${req.url}\n${
      items.timestamp}\n${items.nonce_str}\n`), body, Buffer.from('\n')]);
    if (!crypto.verify('sha256', signed, this.merchant.publicKey,
      Buffer.from(items.signature ?? '', 'base64'))) return 'signature';
    if (!/application\/json/.test(req.headers.accept ?? '')) return 'Accept';
    if (!req.headers['user-agent']) return 'User-Agent';
    if (req.method === 'POST'
        && !/^application\/json/.test(req.headers['content-type'] ?? '')) {
      return 'Content-Type';
    }
    return undefined;
  }

  #sendV3(req, res, status, value, kind) {
    const text = value === undefined ? '' : JSON.stringify(value);
    const asked = req.headers['wechatpay-serial'];
    const serial = this.platform.has(asked) ? asked : this.signer;
    const nonce = letters(32);
    const at = seconds();
    const key = kind === 'forged' ? this.stranger.privateKey
      : this.platform.get(serial).privateKey;
    res.statusCode = status;
    res.setHeader('Request-ID', `${hex(20)}-0`);
    if (kind !== 'unsigned') {
      res.setHeader('Wechatpay-Nonce', nonce);
      res.setHeader('Wechatpay-Serial', serial);
      res.setHeader('Wechatpay-Signature', signV3(at, nonce, text, key));
      res.setHeader('Wechatpay-Signature-Type', SCHEMA);
      res.setHeader('Wechatpay-Timestamp', String(at));
    }
    if (text) res.setHeader('Content-Type', 'application/json; charset=utf-8');
    res.end(text);
  }

  #serveV3(req, res, body) {
    const url = new URL(req.url, this.url);
    const parts = url.pathname.split('/').slice(2).map(decodeURIComponent);
    const biz = {};
    let call = `${req.method} ${url.pathname}`;
    let json = {};
    let broken;
    if (body.length) {
      try {
        json = JSON.parse(body.toString('utf8'));
      } catch {
        broken = 'the body is no JSON';
      }
    }
    Object.assign(biz, json);
    const is = (method, ...shape) => req.method === method
      && parts.length === shape.length
      && shape.every((s, i) => s === '*' || s === parts[i]);
    if (is('POST', 'pay', 'transactions', '*')
        && ['native', 'h5', 'jsapi'].includes(parts[2])) {
      [, , call] = parts;
    } else if (is('GET', 'pay', 'transactions', 'out-trade-no', '*')) {
      call = 'query';
      biz.out_trade_no = parts[3];
    } else if (is('GET', 'pay', 'transactions', 'id', '*')) {
      call = 'query';
      biz.transaction_id = parts[3];
    } else if (is('POST', 'pay', 'transactions', 'out-trade-no', '*', 'close')) {
      call = 'close';
      biz.out_trade_no = parts[3];
    } else if (is('POST', 'refund', 'domestic', 'refunds')) {
      call = 'refund';
    } else if (is('GET', 'refund', 'domestic', 'refunds', '*')) {
      call = 'refund query';
      biz.out_refund_no = parts[3];
    } else if (is('GET', 'certificates')) {
      call = 'certificates';
    }
    const perform = () => {
      const wrong = broken ?? this.#unauthorized(req, body);
      if (wrong) this.#complain(`${call}: ${wrong}`, 401, 'SIGN_ERROR');
      switch (call) {
        case 'native': case 'h5': case 'jsapi':
          return this.#createV3(call, json);
        case 'query': {
          const trade = biz.out_trade_no === undefined
            ? [...this.trades.values()].find((t) => t.transactionId
              === biz.transaction_id) ?? this.#find(undefined)
            : this.#find(biz.out_trade_no);
          if (url.searchParams.get('mchid') !== this.mchId) {
            this.#complain('query: mchid');
          }
          return this.#stateV3(trade);
        }
        case 'close':
          if (json.mchid !== this.mchId) this.#complain('close: mchid');
          this.#close(this.#find(biz.out_trade_no));
          return undefined;
        case 'refund': return this.#refundV3(json);
        case 'refund query': {
          const { trade, refund } = this.#findRefund(biz.out_refund_no);
          return this.#refundStateV3(trade, refund);
        }
        case 'certificates': return this.#certificates();
        default:
          return this.#complain(`not played: ${call}`, 404, 'RESOURCE_NOT_EXISTS');
      }
    };
    return this.#through(call, biz, req, {
      perform,
      send: (answer, kind) => (answer instanceof Refused
        ? this.#sendV3(req, res, answer.status,
          { code: answer.code, message: answer.message }, kind)
        : this.#sendV3(req, res, answer === undefined ? 204 : 200, answer, kind)),
      stumble: () => {
        res.statusCode = 500;
        res.end('<html>busy</html>');
      },
      boast: () => this.#boastV3(call, biz),
    });
  }

  /** What somebody who is not WeChat would like the caller to believe. */
  #boastV3(call, biz) {
    const trade = this.trades.get(biz.out_trade_no);
    switch (call) {
      case 'native': return { code_url: 'weixin://wxpay/bizpayurl?pr=forged' };
      case 'h5': return { h5_url: 'https://wx.tenpay.com/forged' };
      case 'jsapi': return { prepay_id: 'wxforged' };
      case 'query':
        return trade ? this.transaction({ ...trade, transactionId:
          trade.transactionId ?? '4200009', paidAt: Date.now() }) : {};
      case 'refund': case 'refund query':
        return { refund_id: '503', out_refund_no: biz.out_refund_no,
          out_trade_no: trade?.outTradeNo, transaction_id: trade?.transactionId,
          status: 'SUCCESS', amount: { total: trade?.total,
            refund: trade?.total, currency: 'CNY' } };
      default: return undefined;
    }
  }

  #createV3(kind, json) {
    const wrong = (what) => this.#complain(`${kind}: ${what}: ${
      JSON.stringify(json)}`);
    if (json.appid !== this.appId) wrong('appid');
    if (json.mchid !== this.mchId) wrong('mchid');
    if (!json.description || [...json.description].length > 127) {
      wrong('description');
    }
    if (!/^[0-9A-Za-z_\-|*]{6,32}$/.test(json.out_trade_no ?? '')) {
      wrong('out_trade_no');
    }
    if (!/^https?:\/\/[^?#]+$/.test(json.notify_url ?? '')) wrong('notify_url');
    if (!Number.isInteger(json.amount?.total) || json.amount.total < 1) {
      wrong('amount.total');
    }
    if ((json.amount.currency ?? 'CNY') !== 'CNY') wrong('amount.currency');
    if (json.time_expire !== undefined) {
      const end = Date.parse(json.time_expire);
      if (!/(\+\d\d:\d\d|Z)$/.test(json.time_expire) || !(end > Date.now())) {
        wrong('time_expire');
      }
    }
    if (kind === 'jsapi' && !json.payer?.openid) wrong('payer.openid');
    if (kind === 'h5' && (!net.isIP(json.scene_info?.payer_client_ip ?? '')
        || !json.scene_info.h5_info?.type)) wrong('scene_info');
    const trade = this.#know({ native: 'NATIVE', h5: 'MWEB', jsapi: 'JSAPI' }[kind],
      { no: json.out_trade_no, total: json.amount.total,
        description: json.description, notifyUrl: json.notify_url,
        openid: json.payer?.openid });
    trade.timeExpire = json.time_expire;
    return { native: { code_url: trade.codeUrl }, h5: { h5_url: trade.h5Url },
      jsapi: { prepay_id: trade.prepayId } }[kind];
  }

  #stateV3(trade) {
    if (trade.paidAt) {
      return this.transaction(trade, { trade_state: trade.status });
    }
    return { appid: this.appId, mchid: this.mchId,
      out_trade_no: trade.outTradeNo, trade_state: trade.status,
      trade_state_desc: trade.status === 'CLOSED' ? '订单已关闭' : '订单未支付',
      attach: '', payer: {}, amount: { total: trade.total,
        payer_currency: 'CNY' } };
  }

  #refundV3(json) {
    if (!Number.isInteger(json.amount?.refund)
        || !Number.isInteger(json.amount?.total)
        || json.amount.currency !== 'CNY') {
      this.#complain(`refund: amount ${JSON.stringify(json.amount)}`);
    }
    if (!/^[0-9A-Za-z_\-|*@]{1,64}$/.test(json.out_refund_no ?? '')) {
      this.#complain('refund: out_refund_no');
    }
    const trade = json.out_trade_no ? this.trades.get(json.out_trade_no)
      : [...this.trades.values()].find((t) => t.transactionId
        === json.transaction_id);
    if (!trade) throw new Refused(404, 'RESOURCE_NOT_EXISTS', '订单不存在');
    if (json.amount.total !== trade.total) {
      this.#complain('refund: amount.total', 400, 'INVALID_REQUEST');
    }
    return this.#refundStateV3(trade, this.#refund(trade, {
      no: json.out_refund_no, amount: json.amount.refund,
      notifyUrl: json.notify_url }));
  }

  #refundStateV3(trade, refund) {
    return { refund_id: refund.id, out_refund_no: refund.no,
      transaction_id: trade.transactionId, out_trade_no: trade.outTradeNo,
      channel: 'ORIGINAL', user_received_account: '招商银行信用卡0403',
      create_time: beijingRfc3339(refund.at), status: refund.status,
      ...(refund.done ? { success_time: beijingRfc3339() } : {}),
      funds_account: 'UNSETTLED',
      amount: { total: trade.total, refund: refund.amount,
        payer_total: trade.total, payer_refund: refund.amount,
        settlement_refund: refund.amount, settlement_total: trade.total,
        discount_refund: 0, currency: 'CNY' } };
  }

  #certificates() {
    return { data: [...this.platform.values()].filter((p) => p.certificate)
      .map((p) => {
        const nonce = letters(12);
        return { serial_no: p.serial,
          effective_time: beijingRfc3339(Date.now() - 86_400_000),
          expire_time: beijingRfc3339(Date.now() + 1800 * 86_400_000),
          encrypt_certificate: { algorithm: 'AEAD_AES_256_GCM', nonce,
            associated_data: 'certificate',
            ciphertext: seal(this.v3Key, nonce, 'certificate', p.pem) } };
      }) };
  }

  // -- APIv2 ------------------------------------------------------------------

  #serveV2(req, res, body) {
    const call = { '/pay/unifiedorder': 'v2.unifiedorder',
      '/pay/orderquery': 'v2.orderquery', '/pay/closeorder': 'v2.closeorder',
      '/secapi/pay/refund': 'v2.refund',
      '/pay/refundquery': 'v2.refundquery' }[req.url] ?? `${req.method} ${req.url}`;
    let biz = {};
    let broken;
    try {
      biz = fromXml(body.toString('utf8'));
    } catch (error) {
      broken = error.message;
    }
    const type = biz.sign_type || 'MD5';
    const sendXml = (fields) => {
      res.setHeader('Content-Type', 'text/xml; charset=utf-8');
      res.end(toXml(fields));
    };
    const perform = () => {
      const wrong = broken
        ?? (req.method !== 'POST' ? 'method'
          : type !== this.v2SignType ? `sign_type ${type}`
            : biz.sign !== signV2(biz, this.v2Key, type) ? 'sign'
              : biz.appid !== this.appId ? 'appid'
                : biz.mch_id !== this.mchId ? 'mch_id'
                  : !biz.nonce_str ? 'nonce_str' : undefined);
      if (wrong) this.#complain(`${call}: ${wrong}`, 200, 'RETURN_FAIL');
      switch (call) {
        case 'v2.unifiedorder': return this.#createV2(biz);
        case 'v2.orderquery': return this.#stateV2(this.#find(biz.out_trade_no));
        case 'v2.closeorder':
          this.#close(this.#find(biz.out_trade_no));
          return { };
        case 'v2.refundquery': return this.#refundsV2(biz);
        default:
          return this.#complain(call === 'v2.refund'
            ? 'v2.refund: no client certificate' : `not played: ${call}`,
          200, 'RETURN_FAIL');
      }
    };
    const codes = { ORDER_NOT_EXIST: 'ORDERNOTEXIST', ORDER_CLOSED: 'ORDERCLOSED',
      RESOURCE_NOT_EXISTS: 'REFUNDNOTEXIST', SYSTEM_ERROR: 'SYSTEMERROR' };
    return this.#through(call, biz, req, {
      perform,
      send: (answer, kind) => {
        if (answer instanceof Refused && answer.code === 'RETURN_FAIL') {
          return sendXml({ return_code: 'FAIL', return_msg: answer.message });
        }
        const fields = { return_code: 'SUCCESS', return_msg: 'OK',
          appid: this.appId, mch_id: this.mchId, nonce_str: letters(32),
          ...(answer instanceof Refused ? { result_code: 'FAIL',
            err_code: codes[answer.code] ?? answer.code,
            err_code_des: answer.message }
            : { result_code: 'SUCCESS', ...answer }) };
        if (kind === 'unsigned') return sendXml(fields);
        return sendXml({ ...fields, sign: signV2(fields,
          kind === 'forged' ? letters(32) : this.v2Key, type) });
      },
      stumble: () => {
        res.statusCode = 500;
        res.end('<html>busy</html>');
      },
      boast: () => {
        const trade = this.trades.get(biz.out_trade_no);
        return { trade_type: 'NATIVE', prepay_id: 'wxforged',
          code_url: 'weixin://wxpay/bizpayurl?pr=forged',
          trade_state: 'SUCCESS', out_trade_no: biz.out_trade_no,
          transaction_id: '4200009', total_fee: String(trade?.total ?? 9900),
          refund_status_0: 'SUCCESS', out_refund_no_0: biz.out_refund_no };
      },
    });
  }

  #createV2(biz) {
    const wrong = (what) => this.#complain(`unifiedorder: ${what}: ${
      JSON.stringify(biz)}`);
    if (!biz.body) wrong('body');
    if (!/^[0-9A-Za-z_\-|*]{1,32}$/.test(biz.out_trade_no ?? '')) {
      wrong('out_trade_no');
    }
    if (!/^[1-9]\d*$/.test(biz.total_fee ?? '')) wrong('total_fee');
    if (!net.isIP(biz.spbill_create_ip ?? '')) wrong('spbill_create_ip');
    if (!/^https?:\/\/[^?#]+$/.test(biz.notify_url ?? '')) wrong('notify_url');
    if (!['NATIVE', 'MWEB', 'JSAPI'].includes(biz.trade_type)) wrong('trade_type');
    if (biz.trade_type === 'JSAPI' && !biz.openid) wrong('openid');
    const trade = this.#know(biz.trade_type, { no: biz.out_trade_no,
      total: Number(biz.total_fee), description: biz.body,
      notifyUrl: biz.notify_url, openid: biz.openid });
    return { trade_type: biz.trade_type, prepay_id: trade.prepayId,
      ...(biz.trade_type === 'NATIVE' ? { code_url: trade.codeUrl } : {}),
      ...(biz.trade_type === 'MWEB' ? { mweb_url: trade.h5Url } : {}) };
  }

  #stateV2(trade) {
    return { out_trade_no: trade.outTradeNo, trade_state: trade.status,
      trade_state_desc: trade.status, total_fee: String(trade.total),
      ...(trade.paidAt ? { openid: 'oUpF8uMuAJO_M2pxb1Q9zNjWeS6o',
        is_subscribe: 'N', trade_type: trade.tradeType, bank_type: 'OTHERS',
        fee_type: 'CNY', cash_fee: String(trade.total),
        transaction_id: trade.transactionId,
        time_end: beijingCompact(trade.paidAt) } : {}) };
  }

  #refundsV2(biz) {
    const trade = biz.out_refund_no ? this.#findRefund(biz.out_refund_no).trade
      : this.#find(biz.out_trade_no);
    const found = trade.refunds.filter((r) => !biz.out_refund_no
      || r.no === biz.out_refund_no);
    if (!found.length) throw new Refused(404, 'RESOURCE_NOT_EXISTS');
    return { transaction_id: trade.transactionId,
      out_trade_no: trade.outTradeNo, total_fee: String(trade.total),
      cash_fee: String(trade.total), refund_count: String(found.length),
      ...Object.assign({}, ...found.map((r, i) => ({
        [`out_refund_no_${i}`]: r.no, [`refund_id_${i}`]: r.id,
        [`refund_fee_${i}`]: String(r.amount),
        [`refund_status_${i}`]: { SUCCESS: 'SUCCESS', PROCESSING: 'PROCESSING',
          ABNORMAL: 'CHANGE', CLOSED: 'REFUNDCLOSE' }[r.status],
        [`refund_channel_${i}`]: 'ORIGINAL',
        [`refund_recv_accout_${i}`]: '支付用户零钱' }))) };
  }
}

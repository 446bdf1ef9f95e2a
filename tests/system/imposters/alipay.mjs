// Alipay: the gateway a server asks, the page a payer opens, and the sender
// of asynchronous notifications. Holds both key pairs.

import crypto from 'node:crypto';
import http from 'node:http';
import assert from 'node:assert/strict';
import { close, listen } from '../lib/ports.mjs';
import { request } from '../lib/http.mjs';
import { Faults } from './faults.mjs';
import { pair } from './keys.mjs';

/** `yyyy-MM-dd HH:mm:ss` in Beijing, as Alipay writes all times. */
export function beijing(ms = Date.now()) {
  return new Date(ms + 8 * 3_600_000).toISOString().slice(0, 19)
    .replace('T', ' ');
}

/** Sign string: sorted by name in byte order, `without` left out, raw values. */
export function signString(params, without) {
  return Object.keys(params).filter((name) => !without.includes(name))
    .sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    .map((name) => `${name}=${params[name]}`).join('&');
}

export function rsa2(text, privateKey) {
  return crypto.sign('sha256', Buffer.from(text), privateKey)
    .toString('base64');
}

/** application/x-www-form-urlencoded as Java's URLEncoder writes it. */
export function form(params) {
  return Object.entries(params).map(([name, value]) => (
    [name, value].map((text) => encodeURIComponent(text)
      .replace(/%20/g, '+').replace(/[!'()~]/g, (c) => (
        `%${c.charCodeAt(0).toString(16).toUpperCase()}`))).join('='))).join('&');
}

/** '99.00' → 9900; throws on anything but yuan with at most two decimals. */
export function cents(amount) {
  const match = /^(\d+)(?:\.(\d{1,2}))?$/.exec(amount);
  assert.ok(match, `not an amount: ${amount}`);
  return Number(match[1]) * 100 + Number((match[2] ?? '').padEnd(2, '0'));
}

/** The business parameters of a call, signed or not. */
function bizOf(params) {
  try {
    return JSON.parse(params.biz_content ?? '{}');
  } catch {
    return {};
  }
}

export class Alipay {
  appId = '2021000123456789';
  sellerId = '2088000123456789';
  app = pair('merchant of Alipay');
  alipay = pair('Alipay');
  stranger = pair('stranger');
  /** By out_trade_no: what Alipay knows of. */
  trades = new Map();
  /** Calls of the gateway in order: {method, biz, at, fault}. */
  calls = [];
  faults = new Faults();
  /** `done`: a refund is proven at once; `later`: not before settle(). */
  refundMode = 'done';
  /** What a caller did wrong. */
  complaints = [];
  /** `ok`, `down` (connection closed), `busy` (ACQ.SYSTEM_ERROR). */
  mode = 'ok';
  #server;
  #sockets = new Set();
  #serial = 0;

  static async start() {
    const self = new Alipay();
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
    return `http://127.0.0.1:${this.port}/gateway.do`;
  }

  stop() {
    this.faults.clear();
    return close(this.#server, this.#sockets);
  }

  /** Calls about `trade`; `what` is `query`, `close`, `refund`, `refund query`. */
  asked(trade, what) {
    const method = { query: 'alipay.trade.query', close: 'alipay.trade.close',
      refund: 'alipay.trade.refund',
      'refund query': 'alipay.trade.fastpay.refund.query' }[what];
    assert.ok(method, what);
    return this.calls.filter((c) => c.method === method
      && [trade.outTradeNo, trade.tradeNo].includes(
        c.biz.out_trade_no ?? c.biz.trade_no));
  }

  /** A fault of the gateway's calls; see faults.mjs. */
  fault(fault) {
    return this.faults.add({ ...fault,
      call: typeof fault.call === 'string' && !fault.call.startsWith('alipay.')
        ? `alipay.trade.${fault.call}` : fault.call });
  }

  // -- the page a payer opens -------------------------------------------------

  /**
   * Takes a page or wap payUrl apart and checks it as Alipay would; throws
   * with what is wrong. Returns {method, params, biz}.
   */
  readPayUrl(payUrl) {
    const url = new URL(payUrl);
    const params = {};
    for (const [name, value] of url.searchParams) {
      assert.ok(!(name in params), `${name} is given twice`);
      params[name] = value;
    }
    return this.#check(params);
  }

  #check(params) {
    assert.equal(params.app_id, this.appId, 'app_id');
    assert.equal(params.sign_type, 'RSA2', 'sign_type');
    assert.equal(params.version, '1.0', 'version');
    assert.equal(params.charset?.toLowerCase(), 'utf-8', 'charset');
    assert.match(params.timestamp ?? '', /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/);
    const skew = Math.abs(Date.parse(`${params.timestamp.replace(' ', 'T')}Z`)
      - 8 * 3_600_000 - Date.now());
    assert.ok(skew < 60_000, `timestamp is not Beijing time: ${params.timestamp}`);
    const filled = Object.fromEntries(Object.entries(params)
      .filter(([, value]) => value !== ''));
    assert.ok(crypto.verify('sha256',
      Buffer.from(signString(filled, ['sign'])), this.app.publicKey,
      Buffer.from(params.sign ?? '', 'base64')), 'isv.invalid-signature');
    return { method: params.method, params,
      biz: JSON.parse(params.biz_content ?? '{}') };
  }

  /** The payer opens the page: from now on Alipay knows the trade. */
  open(payUrl) {
    const { method, params, biz } = this.readPayUrl(payUrl);
    const products = { 'alipay.trade.page.pay': 'FAST_INSTANT_TRADE_PAY',
      'alipay.trade.wap.pay': 'QUICK_WAP_WAY' };
    assert.ok(products[method], `not a page: ${method}`);
    assert.equal(biz.product_code, products[method], 'product_code');
    assert.match(biz.out_trade_no ?? '', /^[A-Za-z0-9_]{1,64}$/);
    assert.equal(typeof biz.total_amount, 'string', 'total_amount is a string');
    assert.match(biz.total_amount, /^\d+\.\d\d$/);
    assert.ok(biz.subject, 'subject');
    return this.#know(biz, params.notify_url);
  }

  #know(biz, notifyUrl) {
    const known = this.trades.get(biz.out_trade_no);
    if (known) {
      assert.equal(biz.total_amount, known.totalAmount, 'same order, new amount');
      return known;
    }
    const trade = {
      outTradeNo: biz.out_trade_no, subject: biz.subject,
      totalAmount: biz.total_amount, notifyUrl,
      tradeNo: `${beijing().slice(0, 10).replaceAll('-', '')}22001400001400`
        + String(++this.#serial).padStart(6, '0'),
      status: 'WAIT_BUYER_PAY', createdAt: Date.now(), paidAt: undefined,
      refunds: [],
    };
    this.trades.set(trade.outTradeNo, trade);
    return trade;
  }

  /** The payer scans a QR code: from now on Alipay knows the trade. */
  scan(trade) {
    trade.scanned = true;
    return trade;
  }

  /**
   * The payer pays; nothing is posted yet.
   *
   * @param options.anyway in the moment in which it was closed
   */
  pay(trade, { anyway = false, at = Date.now() } = {}) {
    assert.ok(anyway || trade.status === 'WAIT_BUYER_PAY',
      `cannot pay: ${trade.status}`);
    trade.status = 'TRADE_SUCCESS';
    trade.paidAt = at;
    if (trade.scanned === false) trade.scanned = true;
    return trade;
  }

  /** Closed without having been paid? */
  closed(trade) {
    return trade.status === 'TRADE_CLOSED' && !trade.paidAt;
  }

  /** A refund that was accepted is carried out. */
  settle(trade, refund) {
    refund.done = true;
    const total = trade.refunds.filter((r) => r.done !== false)
      .reduce((n, r) => n + cents(r.amount), 0);
    if (total === cents(trade.totalAmount)) trade.status = 'TRADE_CLOSED';
    return total;
  }

  // -- notifications ----------------------------------------------------------

  /**
   * All fields of a notification about `trade`, not signed yet.
   *
   * @param fields replaces or adds; undefined leaves out
   */
  notification(trade, fields = {}) {
    const id = `${beijing().slice(0, 10).replaceAll('-', '')}00222`
      + `${crypto.randomInt(1e9)}`.padStart(21, '0');
    const params = {
      gmt_create: beijing(trade.createdAt),
      charset: 'utf-8',
      seller_email: 'shop+pay@example.com',
      subject: trade.subject,
      body: '',
      buyer_id: '2088000000000777',
      invoice_amount: trade.totalAmount,
      notify_id: id,
      fund_bill_list: `[{"amount":"${trade.totalAmount}",`
        + '"fundChannel":"ALIPAYACCOUNT"}]',
      notify_type: 'trade_status_sync',
      trade_status: trade.status,
      receipt_amount: trade.totalAmount,
      app_id: this.appId,
      buyer_pay_amount: trade.totalAmount,
      sign_type: 'RSA2',
      seller_id: this.sellerId,
      gmt_payment: trade.paidAt ? beijing(trade.paidAt) : undefined,
      notify_time: beijing(),
      version: '1.0',
      out_trade_no: trade.outTradeNo,
      total_amount: trade.totalAmount,
      trade_no: trade.tradeNo,
      auth_app_id: this.appId,
      buyer_logon_id: '159****5620',
      point_amount: '0.00',
      ...fields,
    };
    return Object.fromEntries(Object.entries(params)
      .filter(([, value]) => value !== undefined));
  }

  /** A notification about a refund of `fee` yuan, total or partial. */
  refundNotification(trade, fee, outRequestNo) {
    const full = cents(fee) === cents(trade.totalAmount);
    return this.notification({ ...trade,
      status: full ? 'TRADE_CLOSED' : 'TRADE_SUCCESS' }, {
      refund_fee: fee, out_biz_no: outRequestNo,
      gmt_refund: `${beijing()}.123`, gmt_close: full ? beijing() : undefined,
    });
  }

  /** Adds `sign`; `key` defaults to Alipay's own. */
  sign(params, key = this.alipay.privateKey) {
    return { ...params,
      sign: rsa2(signString(params, ['sign', 'sign_type']), key) };
  }

  /** Posts parameters as they are; returns the answer. */
  post(url, params, { timeout, headers = {} } = {}) {
    return request(url, {
      method: 'POST',
      timeout,
      headers: {
        'Content-Type': 'application/x-www-form-urlencoded; charset=UTF-8',
        'User-Agent': 'Mozilla/4.0',
        ...headers,
      },
      body: form(params),
    });
  }

  /** Signed and posted to the trade's own notify_url. */
  notify(trade, fields = {}, options = {}) {
    return this.post(trade.notifyUrl,
      this.sign(this.notification(trade, fields)), options);
  }

  // -- the gateway ------------------------------------------------------------

  /** What somebody who is not Alipay would like the caller to believe. */
  #boast(method, biz, trade) {
    switch (method) {
      case 'alipay.trade.precreate':
        return { qr_code: 'https://qr.alipay.com/forged' };
      case 'alipay.trade.query':
        return { trade_no: trade?.tradeNo ?? '2026', trade_status:
          'TRADE_SUCCESS', total_amount: trade?.totalAmount ?? '99.00' };
      case 'alipay.trade.refund':
        return { fund_change: 'Y', refund_fee: biz.refund_amount };
      case 'alipay.trade.fastpay.refund.query':
        return { refund_status: 'REFUND_SUCCESS',
          refund_amount: trade?.totalAmount, total_amount: trade?.totalAmount };
      default:
        return {};
    }
  }

  async #serve(req, res) {
    const chunks = [];
    for await (const chunk of req) chunks.push(chunk);
    const params = {};
    const url = new URL(req.url, this.url);
    for (const [name, value] of [...url.searchParams,
      ...new URLSearchParams(Buffer.concat(chunks).toString('utf8'))]) {
      params[name] = value;
    }
    const down = this.mode === 'down';
    const fault = down ? undefined
      : this.faults.take(params.method, bizOf(params));
    if (down || (fault?.kind === 'drop' && fault.when === 'before')) {
      this.calls.push({ method: params.method, biz: bizOf(params),
        at: Date.now(), fault: 'drop' });
      return req.socket.destroy();
    }
    const node = `${String(params.method).replaceAll('.', '_')}_response`;
    const key = fault?.kind === 'forged' ? this.stranger.privateKey
      : this.alipay.privateKey;
    const send = (value) => {
      const text = JSON.stringify(value);
      if (req.socket.destroyed || fault?.kind === 'drop') {
        return req.socket.destroy();
      }
      if (fault?.kind === '500') {
        res.statusCode = 500;
        return res.end('<html>busy</html>');
      }
      res.setHeader('Content-Type', 'text/html;charset=utf-8');
      return res.end(fault?.kind === 'unsigned' ? `{"${node}":${text}}`
        : `{"${node}":${text},"sign":"${rsa2(text, key)}"}`);
    };
    const reply = async (value) => {
      if (fault?.kind === 'slow' && fault.when === 'after') {
        await this.faults.hold();
      }
      return send(value);
    };
    const fail = (code, sub, msg = 'Business Failed') => reply({ code, msg,
      sub_code: sub, sub_msg: sub });
    let call;
    try {
      call = this.#check(params);
    } catch (error) {
      this.complaints.push(`${params.method}: ${error.message}`);
      return fail('40002', 'isv.invalid-signature', 'Invalid Arguments');
    }
    this.calls.push({ method: call.method, biz: call.biz, at: Date.now(),
      fault: fault?.kind, traceparent: req.headers.traceparent,
      tracestate: req.headers.tracestate });
    const { biz } = call;
    const trade = this.trades.get(biz.out_trade_no)
      ?? [...this.trades.values()].find((t) => t.tradeNo === biz.trade_no);
    fault?.first?.(trade);
    if (this.mode === 'busy') return fail('20000', 'ACQ.SYSTEM_ERROR');
    if (fault?.kind === 'refuse') return fail('40004', fault.code);
    if (fault?.when === 'before') {
      if (fault.kind === 'slow') await this.faults.hold();
      // No effect: these may be answered with anything.
      if (['500', 'forged', 'unsigned'].includes(fault.kind)) {
        return send({ code: '10000', msg: 'Success', ...biz,
          ...this.#boast(call.method, biz, trade) });
      }
    }
    const ok = { code: '10000', msg: 'Success' };

    if (call.method === 'alipay.trade.page.pay'
        || call.method === 'alipay.trade.wap.pay') {
      this.open(req.url.startsWith('http') ? req.url
        : new URL(req.url, this.url).href);
      res.setHeader('Content-Type', 'text/html;charset=utf-8');
      return res.end('<!doctype html><title>支付宝</title>');
    }
    if (call.method === 'alipay.trade.precreate') {
      if (!biz.subject || !/^\d+\.\d\d$/.test(biz.total_amount)
          || !/^[A-Za-z0-9_]{1,64}$/.test(biz.out_trade_no ?? '')) {
        this.complaints.push(`precreate: ${JSON.stringify(biz)}`);
        return fail('40004', 'ACQ.INVALID_PARAMETER');
      }
      if (trade?.paidAt) return fail('40004', 'ACQ.TRADE_HAS_SUCCESS');
      if (trade?.status === 'TRADE_CLOSED') {
        return fail('40004', 'ACQ.TRADE_HAS_CLOSE');
      }
      const made = this.#know(biz, params.notify_url);
      made.scanned ??= false;
      return reply({ ...ok, out_trade_no: made.outTradeNo,
        qr_code: `https://qr.alipay.com/bax${made.tradeNo.slice(-6)}` });
    }
    // A QR order is no trade before somebody scans it.
    if (!trade || (trade.scanned === false && !trade.paidAt)) {
      return fail('40004', 'ACQ.TRADE_NOT_EXIST');
    }
    switch (call.method) {
      case 'alipay.trade.query':
        return reply({ ...ok, out_trade_no: trade.outTradeNo,
          trade_no: trade.tradeNo, trade_status: trade.status,
          total_amount: trade.totalAmount, buyer_logon_id: '159****5620',
          buyer_pay_amount: trade.totalAmount,
          ...(trade.paidAt ? { send_pay_date: beijing(trade.paidAt) } : {}) });
      case 'alipay.trade.close':
        if (trade.status !== 'WAIT_BUYER_PAY') {
          return fail('40004', trade.status === 'TRADE_CLOSED'
            ? 'ACQ.TRADE_HAS_CLOSE' : 'ACQ.TRADE_STATUS_ERROR');
        }
        trade.status = 'TRADE_CLOSED';
        return reply({ ...ok, out_trade_no: trade.outTradeNo,
          trade_no: trade.tradeNo });
      case 'alipay.trade.refund': {
        if (!trade.paidAt) return fail('40004', 'ACQ.TRADE_STATUS_ERROR');
        const no = biz.out_request_no ?? trade.outTradeNo;
        let refund = trade.refunds.find((r) => r.no === no);
        const fresh = !refund;
        if (fresh) {
          const before = trade.refunds.reduce((n, r) => n + cents(r.amount), 0);
          if (before + cents(biz.refund_amount) > cents(trade.totalAmount)) {
            return fail('40004', 'ACQ.REFUND_AMT_NOT_EQUAL_TOTAL');
          }
          refund = { no, amount: biz.refund_amount, at: Date.now(),
            done: false };
          trade.refunds.push(refund);
          if (this.refundMode === 'done') this.settle(trade, refund);
        } else if (cents(biz.refund_amount) !== cents(refund.amount)) {
          this.complaints.push(`refund ${no}: another amount`);
        }
        const total = trade.refunds.filter((r) => r.done !== false)
          .reduce((n, r) => n + cents(r.amount), 0);
        return reply({ ...ok, out_trade_no: trade.outTradeNo,
          trade_no: trade.tradeNo,
          fund_change: fresh && refund.done ? 'Y' : 'N',
          refund_fee: (total / 100).toFixed(2) });
      }
      case 'alipay.trade.fastpay.refund.query': {
        const refund = trade.refunds.find((r) => r.no === biz.out_request_no);
        return reply({ ...ok, out_trade_no: trade.outTradeNo,
          trade_no: trade.tradeNo, ...(refund && refund.done !== false ? {
            out_request_no: refund.no, refund_amount: refund.amount,
            total_amount: trade.totalAmount, refund_status: 'REFUND_SUCCESS',
          } : {}) });
      }
      default:
        this.complaints.push(`not played: ${call.method}`);
        return fail('40002', 'isv.invalid-method', 'Invalid Arguments');
    }
  }
}

// The payment order: which way, where to pay, and whether it has arrived.

import { ApiError, newKey } from '../api.js';
import { el, newId, outside, setText, show, webAddress } from '../dom.js';
import { money, t, time } from '../i18n.js';
import { pause } from '../live.js';
import { badge, busy, button, heading } from '../parts.js';
import { picture } from '../qr.js';

/** Those that a browser can do; jsapi is for pages within the WeChat app. */
const WAYS = [['ALIPAY', 'page'], ['ALIPAY', 'qr'], ['ALIPAY', 'wap'],
  ['WECHAT', 'native'], ['WECHAT', 'h5']];

const POLL = 2_000;

// An order is asked for under a key that this tab remembers: after a reload, or when
// the answer was lost, the same request gives the same order with its link, and not
// a second one.
const keptAs = (id) => `shop.order.${id}`;

function kept(id) {
  try {
    return JSON.parse(sessionStorage.getItem(keptAs(id)) ?? 'null');
  } catch {
    return null;
  }
}

/** What a phone would open after it has scanned the code, in the sandbox. */
function simulatedScan(app, code) {
  if (!app.session.sandbox) return undefined;
  const wechat = /^weixin:\/\/wxpay\/bizpayurl\?(.+)$/.exec(code);
  if (wechat) return `${app.session.sandbox.links.wechat}bizpayurl?${wechat[1]}`;
  return webAddress(code);
}

export async function pay(app, { root, signal, params: [id] }) {
  if (!app.session.token) {
    app.signInFirst();
    return;
  }
  const subscription = await app.api.get(`/api/subscriptions/${encodeURIComponent(id)}`,
    { signal });
  const price = money(subscription.amount, subscription.currency);
  const follow = `#/subscription/${encodeURIComponent(id)}`;
  const body = el('div', {});
  const plans = await app.api.get('/api/plans', { signal });
  const title = plans.find((x) => x.planType === subscription.planType)?.title
    ?? subscription.planType;
  show(root, heading(t('pay.title'), t('pay.lead', { plan: title, id })), body);
  if (subscription.status !== 'PENDING') {
    show(body, el('div', { class: 'card' },
      el('p', {}, badge('subscription', subscription.status), ' ', t('pay.done')),
      el('p', {}, el('a', { class: 'button main', href: follow }, t('pay.show')))));
    return;
  }

  const order = async (gateway, method, key) => {
    sessionStorage.setItem(keptAs(id), JSON.stringify({ gateway, method, key }));
    return app.api.post('/api/payment/create', { subscriptionId: id, gateway, method },
      { signal, headers: { 'Idempotency-Key': key } });
  };

  /** Asks for one until it is decided. */
  const wait = async (made, state, until) => {
    while (!until.aborted) {
      await pause(POLL, until);
      if (until.aborted) return;
      try {
        const now = await app.api.get(`/api/payment/${encodeURIComponent(made.orderId)}`,
          { signal: until });
        setText(state, t('pay.waiting'));
        if (now.status === 'PAID') {
          sessionStorage.removeItem(keptAs(id));
          app.speak(t('pay.paid'));
          app.go(follow);
          return;
        }
        if (now.status !== 'PENDING') {
          closed(made);
          return;
        }
      } catch (error) {
        if (until.aborted) return;
        if (!(error instanceof ApiError) || !error.passing) throw error;
        setText(state, t('live.mode.lost'));
        await pause((error.retryAfter ?? 0) * 1000, until);
      }
    }
  };

  let waiting = new AbortController();
  signal.addEventListener('abort', () => waiting.abort());

  const closed = (made) => {
    sessionStorage.removeItem(keptAs(id));
    app.speak(t('pay.closed'));
    show(body, el('div', { class: 'card', role: 'alert' }, el('p', {}, t('pay.closed')),
      button(t('pay.again'), () => choose(made), { class: 'main' })));
  };

  const showOrder = (made) => {
    if (made.status === 'PAID') {
      sessionStorage.removeItem(keptAs(id));
      app.go(follow);
      return;
    }
    if (made.status !== 'PENDING') {
      closed(made);
      return;
    }
    const state = el('p', { class: 'waiting', role: 'status' }, t('pay.waiting'));
    const scan = made.qrCode && simulatedScan(app, made.qrCode);
    show(body, el('div', { class: 'card order' },
      el('p', { class: 'price' }, money(made.amount, made.currency)),
      made.payUrl && el('p', {}, outside(made.payUrl, t('pay.open'),
        { class: 'button main', id: 'pay-link' })),
      made.qrCode && [
        el('p', {}, t('pay.scan', { app: t(`pay.app.${made.gateway}`) })),
        picture(made.qrCode, t('pay.qr', { amount: money(made.amount, made.currency) })),
        scan && el('p', {}, outside(scan, t('pay.simulate'),
          { class: 'button', id: 'pay-link' }))],
      state,
      el('p', { class: 'dim small' }, t('pay.until', { time: time(made.expiresAt) }),
        ' ', t('pay.order', { id: made.orderId })),
      button(t('pay.other'), () => choose(made), { class: 'quiet' })));
    waiting = new AbortController();
    wait(made, state, waiting.signal).catch((error) => app.fail(error));
  };

  const choose = (before) => {
    waiting.abort();
    const group = newId('way');
    let chosen = before ? WAYS.find(([gateway, method]) => gateway === before.gateway
      && method === before.method) : undefined;
    chosen ??= WAYS[0];
    const trouble = el('div', {});
    const go = el('button', { type: 'submit', class: 'main' }, t('pay.go', { amount: price }));
    const place = busy(go, trouble, async () => {
      const [gateway, method] = chosen;
      const last = kept(id);
      // The same wish as before is the same order.
      const key = last?.gateway === gateway && last.method === method ? last.key : newKey();
      showOrder(await order(gateway, method, key));
    });
    show(body, el('form', { class: 'card', on: { submit: (event) => {
      event.preventDefault();
      place();
    } } },
    el('fieldset', { class: 'ways' }, el('legend', {}, t('pay.how')),
      WAYS.map((way) => {
        const name = `pay.${way.join('.')}`;
        return el('label', { class: 'way' },
          el('input', { type: 'radio', name: group, value: way.join('.'),
            checked: way === chosen, on: { change: () => { chosen = way; } } }),
          el('span', {}, el('b', {}, t(name)),
            el('span', { class: 'dim small' }, t(`${name}.hint`))));
      })),
    trouble, el('p', { class: 'actions' }, go)));
  };

  const last = kept(id);
  if (!last) {
    choose();
    return;
  }
  try {
    showOrder(await order(last.gateway, last.method, last.key));
  } catch (error) {
    if (!(error instanceof ApiError) || error.passing) throw error;
    sessionStorage.removeItem(keptAs(id));
    choose(last);
  }
}

// The shop: which page is to be seen, and what is around it.

import { Api, ApiError } from './api.js';
import { el, outside, setText, show, webAddress } from './dom.js';
import { currentLocale, dictionaries, setLocale, t } from './i18n.js';
import { pause } from './live.js';
import { button, failure, loading } from './parts.js';
import { Session } from './session.js';
import { buy } from './views/buy.js';
import { live } from './views/live.js';
import { mine } from './views/mine.js';
import { notices } from './views/notices.js';
import { pay } from './views/pay.js';
import { plans } from './views/plans.js';
import { signIn } from './views/sign_in.js';

const view = document.getElementById('view');
const nav = document.getElementById('nav');
const footer = document.getElementById('footer');
const spoken = document.getElementById('spoken');
const offline = document.getElementById('offline');

/** Unread ones are counted so often, in ms. */
const COUNT_PAUSE = 15_000;

const routes = { '': plans, buy, pay, order, subscription: live, subscriptions: mine,
  notifications: notices, 'sign-in': signIn };

let current = new AbortController();
let after; // Where a sign-in was asked for.
let expired = false;
let unread = 0;
let unreadLink;
let reachable = true;

function drawOffline() {
  const away = !navigator.onLine || !reachable;
  offline.hidden = !away;
  setText(offline, away ? t('offline') : '');
}

const session = new Session(() => drawFrame());

const app = {
  session,
  api: new Api({
    token: () => session.token,
    seen: (now) => {
      reachable = now;
      drawOffline();
    },
  }),
  go(hash) {
    if (location.hash === hash) route();
    else location.hash = hash;
  },
  speak(text) {
    setText(spoken, text);
  },
  title(text) {
    document.title = `${text} · Slipway`;
  },
  signInFirst() {
    after = location.hash;
    app.go('#/sign-in');
  },
  /** Something went wrong while a page was open. */
  fail(error) {
    if (error instanceof ApiError && error.status === 401 && session.token) {
      expired = true;
      session.signOut();
      app.signInFirst();
      return;
    }
    current.abort(); // Nobody sees any more what the page would go on with.
    show(view, failure(error, route));
    if (!(error instanceof ApiError)) throw error;
  },
  async refreshUnread() {
    const token = session.token;
    if (!token) return;
    try {
      const page = await app.api.call('/api/notifications?limit=100');
      if (session.token !== token) return;
      const count = typeof page.unread === 'number' ? page.unread
        : page.data.filter((x) => !x.readAt).length;
      if (count === unread) return;
      unread = count;
      drawUnread();
    } catch (error) {
      // The next time is soon. That the token has expired is said by the page.
      if (!(error instanceof ApiError)) throw error;
    }
  },
};

/** Within the link, which may have the focus. */
function drawUnread() {
  if (!unreadLink) return;
  show(unreadLink, t('nav.notices'), unread > 0 && [
    ' ', el('span', { class: 'count', id: 'unread' }, unread > 99 ? '99+' : String(unread)),
    el('span', { class: 'spoken' }, ` ${t('notices.unread')}`)]);
}

function drawFrame() {
  document.documentElement.lang = currentLocale();
  setText(document.getElementById('skip'), t('skip'));
  const here = location.hash.split('/')[1] ?? '';
  const link = (path, text) => el('a', { href: `#/${path}`,
    'aria-current': here === path ? 'page' : undefined }, text);
  const language = el('select', { id: 'language', 'aria-label': t('nav.language'),
    on: { change: async () => {
      setLocale(language.value);
      drawFrame();
      try {
        await session.changeLanguage();
      } catch (error) {
        app.fail(error);
        return;
      }
      route();
      document.getElementById('language').focus();
    } } }, Object.keys(dictionaries).map((x) => el('option', { value: x,
    lang: x, selected: x === currentLocale() }, dictionaries[x]['language.name'])));
  unreadLink = session.token ? link('notifications') : undefined;
  drawUnread();
  const focused = document.activeElement?.id;
  nav.setAttribute('aria-label', 'Slipway');
  show(nav,
    link('', t('nav.plans')),
    link('subscriptions', t('nav.mine')),
    unreadLink,
    language,
    session.token
      ? button(t('sign.out'), () => {
        unread = 0;
        session.signOut();
        app.go('#/');
      }, { class: 'quiet', id: 'sign-out', title: t('sign.as', { user: session.user }) })
      : link('sign-in', t('nav.signIn')));
  if (focused === 'language') language.focus();
  const links = session.sandbox?.links;
  show(footer, links && [
    el('p', {}, t('sandbox.title'), session.token
      && ` ${t('sign.as', { user: session.user })}.`),
    el('nav', { 'aria-label': t('sandbox.links') },
      ['alipay', 'wechat', 'railway', 'mailbox'].filter((x) => webAddress(links[x]))
        .map((x) => outside(links[x], t(`sandbox.${x}`))))]);
  drawOffline();
}

async function route() {
  current.abort();
  current = new AbortController();
  const { signal } = current;
  const [, name = '', ...params] = location.hash.split('/');
  if (name !== 'sign-in') after = undefined;
  drawFrame();
  const root = el('div', {});
  show(root, loading());
  show(view, root);
  let isNew = true;
  // Whoever uses a keyboard or a screen reader is brought to the new page.
  const arrived = () => {
    if (!isNew || signal.aborted) return;
    const head = root.querySelector('h1');
    if (!head) return;
    isNew = false;
    watch.disconnect();
    app.title(head.textContent);
    if (shown) head.focus({ preventScroll: true });
    shown = true;
    window.scrollTo(0, 0);
  };
  const watch = new MutationObserver(arrived);
  watch.observe(root, { childList: true });
  try {
    const run = Object.hasOwn(routes, name) ? routes[name] : undefined;
    const read = params.map(decoded);
    if (!run || read.includes(undefined)) {
      throw new ApiError(t('error.missing'), { status: 404, code: 'missing' });
    }
    const options = { root, signal, params: read };
    if (run === signIn) {
      Object.assign(options, { after, expired });
      expired = false;
    }
    await run(app, options);
  } catch (error) {
    if (signal.aborted) return;
    if (error.status === 404 && ['subscription', 'pay', 'order'].includes(name)) {
      show(view, failure({ code: 'no_subscription', message: t('live.missing') },
        () => app.go('#/subscriptions')));
      return;
    }
    app.fail(error);
  } finally {
    if (signal.aborted) watch.disconnect();
  }
}

let shown = false; // The first page takes no focus.

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined; // No address of ours.
  }
}

/** From an order to what it pays for. */
async function order(_, { signal, params: [id] }) {
  if (!session.token) {
    app.signInFirst();
    return;
  }
  const { subscriptionId } = await app.api.get(`/api/payment/${encodeURIComponent(id)}`,
    { signal });
  location.replace(`#/subscription/${encodeURIComponent(subscriptionId)}`);
}

/** Alipay leads back with the order in the address, not behind the hash. */
function comeBack() {
  const id = new URLSearchParams(location.search).get('out_trade_no');
  if (!id) return;
  history.replaceState(null, '', `${location.pathname}#/order/${encodeURIComponent(id)}`);
}

async function countUnread() {
  for (;;) {
    if (!document.hidden) await app.refreshUnread();
    await pause(COUNT_PAUSE);
  }
}

async function start() {
  comeBack();
  drawFrame();
  show(view, loading());
  try {
    await session.look();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    show(view, failure(error, start));
    return;
  }
  window.addEventListener('hashchange', route);
  route();
  countUnread();
}

document.getElementById('skip').addEventListener('click', (event) => {
  event.preventDefault(); // The hash is the page's address.
  view.focus();
});
window.addEventListener('online', drawOffline);
window.addEventListener('offline', drawOffline);
start();

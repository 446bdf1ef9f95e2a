// The operators' page: who is here, where they are, and the keys.

import { ApiError, claims, onLeave, onTrouble, restore, role, signIn, signOut,
  signedIn } from './api.js';
import { turnAutomation } from './acts.js';
import { attention } from './attention.js';
import { audit, hasAudit } from './audit.js';
import { callback, callbacks } from './callbacks.js';
import { show } from './dialog.js';
import { announce, fill, fillWith, h, icon, mountAnnouncer, problem, tick }
  from './dom.js';
import { overview } from './overview.js';
import { listen, readSoon, startReading, state } from './state.js';
import { subscription } from './subscription.js';
import { subscriptions } from './subscriptions.js';
import { tree } from './tree.js';
import { language, setLanguage, t } from './words.js';

const app = document.getElementById('app');
const root = document.documentElement;

/** Views by the first part of the address; `one` where a second part follows. */
const VIEWS = [
  { name: 'overview', key: 'o', all: overview },
  { name: 'attention', key: 'a', all: attention },
  { name: 'subscriptions', key: 's', all: subscriptions, one: subscription },
  { name: 'callbacks', key: 'c', all: callbacks, one: callback },
  { name: 'tree', key: 't', all: tree },
  { name: 'audit', key: 'u', all: audit },
];

let hasTrail = false;
const open = () => VIEWS.filter(({ name }) => name !== 'audit' || hasTrail);

// -- what this browser remembers ----------------------------------------------

function keep(name, value) {
  try {
    localStorage.setItem(`slipway.ops.${name}`, value);
  } catch {
    announce(t('notKept')); // Storage is switched off: it counts until the end.
  }
}

function turnTheme() {
  const dark = root.dataset.theme ? root.dataset.theme === 'dark'
    : matchMedia('(prefers-color-scheme: dark)').matches;
  root.dataset.theme = dark ? 'light' : 'dark';
  keep('theme', root.dataset.theme);
  announce(t(dark ? 'lightNow' : 'darkNow'));
}

function turnLanguage() {
  setLanguage(language() === 'en' ? 'zh-CN' : 'en');
  root.lang = language();
  keep('language', language());
  if (signedIn()) mount();
  else showSignIn();
  document.querySelector('[data-key="language"]')?.focus();
}

const tools = () => [
  h('button', { type: 'button', class: 'ghost', 'data-key': 'language',
    lang: language() === 'en' ? 'zh-CN' : 'en',
    onclick: turnLanguage }, language() === 'en' ? '中文' : 'English'),
  h('button', { type: 'button', class: 'ghost', 'data-key': 'theme',
    'aria-label': t('turnTheme'), title: t('turnTheme'), onclick: turnTheme },
  icon('theme')),
];

// -- signing in ---------------------------------------------------------------

let session = null;

function showSignIn(reason = null) {
  session?.abort();
  session = null;
  document.querySelector('dialog')?.close();
  document.title = t('title');
  const wrong = h('div');
  const input = h('input', { id: 'token', type: 'password', required: true,
    autocomplete: 'off', autocapitalize: 'off', spellcheck: 'false',
    'aria-describedby': 'token-hint' });
  const button = h('button', { type: 'submit', class: 'primary' }, t('signIn'));
  fill(app, h('div', { class: 'sign-in' },
    h('header', null, h('img', { src: '/ops/icon.svg', alt: '', width: 28,
      height: 28 }), h('span', { class: 'brand' }, 'Slipway'),
    h('span', { class: 'grow' }), tools()),
    h('main', null,
      h('form', { class: 'panel', novalidate: true, onsubmit: async (event) => {
        event.preventDefault();
        if (button.getAttribute('aria-disabled') === 'true') return;
        button.setAttribute('aria-disabled', 'true');
        button.textContent = t('working');
        try {
          await signIn(input.value);
          input.value = '';
          mount();
        } catch (error) {
          if (!(error instanceof ApiError)) throw error;
          const words = error.status === 403 ? Object.assign(error, {
            title: t('notOperator') }) : error.status === 401
            ? Object.assign(error, { title: t('tokenRefused') }) : error;
          fill(wrong, problem(words));
          input.setAttribute('aria-invalid', 'true');
          input.focus();
          input.select();
        } finally {
          button.setAttribute('aria-disabled', 'false');
          button.textContent = t('signIn');
        }
      } },
      h('h1', null, t('title')),
      reason !== null && h('p', { class: 'problem', role: 'alert' }, reason),
      h('label', { for: 'token' }, t('token')), input,
      h('p', { class: 'dim', id: 'token-hint' }, t('tokenHint')),
      wrong, button))));
  input.focus();
}

// -- the shell ----------------------------------------------------------------

function navigation(here) {
  return open().map(({ name, key }) => {
    const count = name === 'attention' && h('span', { class: 'badge',
      'data-count': true });
    return h('a', { href: `#/${name}`, 'data-key': `nav ${name}`,
      'aria-current': name === here ? 'page' : undefined,
      'aria-keyshortcuts': `g ${key}` }, icon(name),
    h('span', null, t(name)), count, h('kbd', { 'aria-hidden': 'true' },
      `g ${key}`));
  });
}

function mount() {
  session?.abort();
  session = new AbortController();
  const { signal } = session;
  const who = claims();
  const nav = h('nav', { class: 'views', 'aria-label': t('views') });
  const main = h('main', { id: 'main', tabindex: '-1' });
  const trouble = h('div', { class: 'trouble', role: 'alert', hidden: true });
  const pill = h('div', { class: 'pill' });
  const search = h('form', { class: 'find', role: 'search',
    'aria-label': t('searchAll'), onsubmit: (event) => {
      event.preventDefault();
      const q = field.value.trim();
      location.hash = `#/subscriptions${q ? `?${new URLSearchParams({ q })}`
        : ''}`;
      main.focus();
    } });
  const field = h('input', { type: 'search', 'data-key': 'search everywhere',
    placeholder: t('searchAll'), 'aria-label': t('searchAll'),
    'aria-keyshortcuts': '/', autocomplete: 'off', spellcheck: 'false' });
  search.append(icon('search'), field, h('kbd', { 'aria-hidden': 'true' }, '/'));
  fill(app, h('div', { class: 'shell' },
    h('a', { class: 'skip', href: '#main', onclick: (event) => {
      event.preventDefault();
      main.focus();
    } }, t('skip')),
    h('header', { class: 'top' },
      h('a', { class: 'brand', href: '#/overview' }, h('img',
        { src: '/ops/icon.svg', alt: 'Slipway', width: 24, height: 24 }),
      h('span', { class: 'brand-name', 'aria-hidden': 'true' }, 'Slipway')),
      search, pill,
      h('div', { class: 'tools' }, tools(),
        h('button', { type: 'button', class: 'ghost', 'data-key': 'help',
          'aria-label': t('help'), 'aria-keyshortcuts': '?', title: t('help'),
          onclick: showHelp }, '?'),
        h('span', { class: 'who', title: t('whoTitle') },
          h('span', { class: 'break' }, typeof who.sub === 'string' ? who.sub
            : '–'), ' ', h('span', { class: 'dim' }, role())),
        h('button', { type: 'button', 'data-key': 'sign out',
          onclick: () => signOut() }, t('signOut')))),
    trouble, nav, main));

  onTrouble((error) => {
    if (trouble.hidden === (error === null)) return;
    trouble.hidden = error === null;
    fill(trouble, error && `${error.message} ${t('triesAgain')}`);
  });

  let here = '';
  const drawNav = () => {
    fillWith(nav, [here, hasTrail], () => navigation(here));
    drawCounts();
  };
  const drawCounts = () => {
    const badge = nav.querySelector('[data-count]');
    if (badge === null) return;
    const count = state.attention?.length ?? 0;
    badge.textContent = count > 0 ? String(count) : '';
  };
  listen(() => {
    const { automation } = state;
    fillWith(pill, automation?.enabled ?? null, () => {
      if (automation === null) return [];
      return h('button', { type: 'button', 'data-key': 'automation pill',
        class: `pill ${automation.enabled ? 'good' : 'warn'}`,
        title: t('mainSwitch'), onclick: async () => {
          if (here !== 'overview') location.hash = '#/overview';
          document.getElementById('main-switch')?.scrollIntoView();
          if (!automation.enabled && await turnAutomation(true)) readSoon();
        } }, h('span', { class: 'dot', 'aria-hidden': 'true' }),
      t(automation.enabled ? 'automationOn' : 'automationOff'));
    });
    drawCounts();
  }, signal);

  // One view at a time; what it was doing ends when it is left.
  let view = new AbortController();
  const route = (first = false) => {
    view.abort();
    view = new AbortController();
    signal.addEventListener('abort', () => view.abort(), { once: true });
    const [path, query = ''] = location.hash.replace(/^#\/?/, '').split('?');
    let parts;
    try {
      parts = path.split('/').filter(Boolean).map(decodeURIComponent);
    } catch {
      parts = []; // No address of ours.
    }
    const found = open().find(({ name }) => name === (parts[0] ?? 'overview'))
      ?? VIEWS[0];
    const draw = parts.length > 1 && found.one ? found.one : found.all;
    here = found.name;
    drawNav();
    main.shownMark = undefined;
    const title = draw(main, { path: parts.slice(1),
      query: new URLSearchParams(query) }, view.signal);
    document.title = `${title} · Slipway`;
    window.scrollTo(0, 0);
    if (!first) main.focus({ preventScroll: true });
  };
  addEventListener('hashchange', () => route(), { signal });
  addEventListener('keydown', keys(), { signal });
  const ticking = setInterval(tick, 5_000);
  signal.addEventListener('abort', () => clearInterval(ticking), { once: true });
  startReading(signal);
  route(true);
  main.focus({ preventScroll: true });

  hasAudit(signal).then((has) => {
    if (has === hasTrail) return;
    hasTrail = has;
    drawNav();
    if (has && location.hash.startsWith('#/audit')) route();
  }).catch((error) => {
    // It does not answer now: without the trail until the next start.
    if (!signal.aborted && !(error instanceof ApiError)) throw error;
  });
}

// -- keys ---------------------------------------------------------------------

function showHelp() {
  const row = (key, text) => h('div', null, h('dt', null, h('kbd', null, key)),
    h('dd', null, text));
  return show(t('keys'), () => h('dl', { class: 'keys' },
    row('/', t('keySearch')),
    open().map(({ name, key }) => row(`g ${key}`, t('keyGo',
      { view: t(name) }))),
    row('?', t('keyHelp')), row('Esc', t('keyEscape')),
    row('↑ ↓ ← →', t('keyTree'))));
}

function keys() {
  let waiting = null; // After `g`: until when the second key counts.
  return (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) {
      return;
    }
    const { target } = event;
    const typing = target instanceof Element && target.matches(
      'input:not([type=checkbox]), select, textarea');
    if (event.key === 'Escape' && typing && !target.closest('dialog')) {
      target.blur();
      document.getElementById('main')?.focus();
      return;
    }
    if (typing || document.querySelector('dialog[open]')) return;
    if (waiting !== null) {
      const intime = performance.now() < waiting;
      waiting = null;
      const view = open().find(({ key }) => key === event.key);
      if (intime && view) {
        event.preventDefault();
        location.hash = `#/${view.name}`;
        return;
      }
    }
    if (event.key === 'g') {
      waiting = performance.now() + 1_500;
    } else if (event.key === '/') {
      event.preventDefault();
      (document.querySelector('#main [data-search]')
        ?? document.querySelector('.find input'))?.focus();
    } else if (event.key === '?') {
      event.preventDefault();
      showHelp();
    }
  };
}

// -- the start ----------------------------------------------------------------

mountAnnouncer(document.body);
onLeave(showSignIn);
if (restore()) mount();
else showSignIn();

// Elements, numbers and times. Text only ever becomes text: nothing here parses
// markup, and addresses are links only when they are http or https.

import { language, t } from './words.js';

const SVG = 'http://www.w3.org/2000/svg';

function build(element, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, '');
    else element.setAttribute(name, String(value));
  }
  add(element, children);
  return element;
}

function add(element, children) {
  for (const child of children.flat(4)) {
    if (child === undefined || child === null || child === false) continue;
    element.append(child instanceof Node ? child
      : document.createTextNode(String(child)));
  }
}

/** h('p', {class: 'dim', onclick: …}, 'text', element, …) */
export const h = (name, props, ...children) => build(
  document.createElement(name), props, children);

export const svg = (name, props, ...children) => build(
  document.createElementNS(SVG, name), props, children);

/**
 * Puts `children` in the place of what was in `where`. Whoever had the focus in
 * there has it again when there still is an element with the same data-key.
 */
export function fill(where, ...children) {
  const active = document.activeElement;
  const key = where.contains(active) ? active.dataset.key : undefined;
  const next = document.createDocumentFragment();
  add(next, children);
  where.replaceChildren(next);
  if (key !== undefined) {
    where.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus();
  }
}

/** Like fill, but leaves everything alone while `value` stays the same. */
export function fillWith(where, value, children) {
  const mark = `${language()} ${JSON.stringify(value)}`;
  if (where.shownMark === mark) return;
  where.shownMark = mark;
  fill(where, ...[children()].flat());
}

// -- icons --------------------------------------------------------------------

const PATHS = {
  overview: 'M3 13h5V3H3zm9 4h5V3h-5zM3 17h5v-2H3z',
  attention: 'M10 3l8 14H2zM10 8v4m0 2.5v.1',
  subscriptions: 'M3 5h14M3 10h14M3 15h9',
  callbacks: 'M3 11l3-7h8l3 7v5H3zm0 0h4l1 2h4l1-2h4',
  tree: 'M10 3v5m0 0H5v4m5-4h5v4M3 12h4v4H3zm10 0h4v4h-4zM8 3h4',
  audit: 'M5 3h10v14H5zm3 4h4m-4 3h4m-4 3h2',
  search: 'M9 3a6 6 0 100 12A6 6 0 009 3zm4.5 10.5L17 17',
  theme: 'M10 3a7 7 0 100 14zM10 3a7 7 0 010 14',
  close: 'M5 5l10 10M15 5L5 15',
  copy: 'M7 7h9v9H7zM4 13V4h9',
  open: 'M11 4h5v5m0-5l-7 7M8 5H4v11h11v-4',
  down: 'M5 8l5 5 5-5',
};

export const icon = (name) => svg('svg', { viewBox: '0 0 20 20', class: 'icon',
  'aria-hidden': 'true' }, svg('path', { d: PATHS[name] }));

// -- numbers and times --------------------------------------------------------

const formats = new Map();

function format(make, name) {
  const key = `${language()} ${name}`;
  if (!formats.has(key)) formats.set(key, make(language()));
  return formats.get(key);
}

export const number = (x, digits = 0) => (x === null || x === undefined ? '–'
  : format((lang) => new Intl.NumberFormat(lang, {
    maximumFractionDigits: digits, minimumFractionDigits: digits }),
  `number ${digits}`).format(x));

export const percent = (x) => (x === null || x === undefined ? '–'
  : format((lang) => new Intl.NumberFormat(lang, { style: 'percent',
    maximumFractionDigits: 1 }), 'percent').format(x));

/** 4200 → `4.2 s`, 95000 → `1 min 35 s` */
export function duration(ms) {
  if (ms === null || ms === undefined || ms <= 0) return '–';
  if (ms < 1000) return t('ms', { n: number(ms) });
  if (ms < 60_000) return t('s', { n: number(ms / 1000, 1) });
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 60) {
    return t('minS', { m: minutes, s: Math.floor((ms % 60_000) / 1000) });
  }
  return t('hMin', { h: Math.floor(minutes / 60), m: minutes % 60 });
}

function ago(at) {
  const past = Date.now() - at;
  if (past < 5_000) return t('justNow');
  const [n, unit] = past < 60_000 ? [past / 1000, 'second']
    : past < 3_600_000 ? [past / 60_000, 'minute']
      : past < 86_400_000 ? [past / 3_600_000, 'hour']
        : [past / 86_400_000, 'day'];
  return format((lang) => new Intl.RelativeTimeFormat(lang,
    { style: 'narrow' }), 'ago').format(-Math.floor(n), unit);
}

const exact = (at) => format((lang) => new Intl.DateTimeFormat(lang, {
  year: 'numeric', month: '2-digit', day: '2-digit', hour: '2-digit',
  minute: '2-digit', second: '2-digit', hourCycle: 'h23' }), 'exact').format(at);

/** A moment as people read it, in local time; UTC is in its title. */
export function when(text) {
  if (!text) return '–';
  const at = Date.parse(text);
  if (Number.isNaN(at)) return text;
  return h('time', { datetime: text, title: text }, exact(at));
}

/** How long ago it was; ticks on by itself (`tick`). */
export function since(text) {
  if (!text) return '–';
  const at = Date.parse(text);
  if (Number.isNaN(at)) return text;
  return h('time', { datetime: text, title: `${exact(at)} · ${text}`,
    'data-since': at }, ago(at));
}

/** 14:03:22.015, and the day where it is not today's. */
export function clock(text) {
  const at = Date.parse(text);
  if (Number.isNaN(at)) return text;
  const day = new Date(at).toDateString() === new Date().toDateString();
  return h('time', { datetime: text, title: text }, format(
    (lang) => new Intl.DateTimeFormat(lang, {
      ...(day ? {} : { month: '2-digit', day: '2-digit' }), hour: '2-digit',
      minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3,
      hourCycle: 'h23' }), `clock ${day}`).format(at));
}

export function tick() {
  for (const at of document.querySelectorAll('time[data-since]')) {
    const text = ago(Number(at.dataset.since));
    if (at.textContent !== text) at.textContent = text;
  }
}

// -- pieces -------------------------------------------------------------------

const TONES = {
  good: ['running', 'ACTIVE', 'RUNNING', 'PAID', 'applied', 'ok', 'done',
    'success', 'sent', 'read', 'healthy'],
  busy: ['creating', 'configuring', 'deploying', 'INITIALIZING', 'DEPLOYING',
    'REFUNDING', 'repeated', 'acknowledged', 'requested', 'under_way',
    'retry'],
  warn: ['pending', 'PENDING', 'SUSPENDED', 'silent', 'restarting', 'sleeping',
    'degraded', 'stuck', 'refund_stuck', 'orphan_project', 'surplus_payment',
    'order_unsettled', 'undeliverable_mail', 'refunded_running',
    'automation_off', 'loading', 'unread'],
  bad: ['failed', 'FAILED', 'contradicted', 'forged', 'quarantined', 'down',
    'deployment_failed', 'instance_down', 'refund_failed', 'payment_mismatch',
    'unknown_payment', 'error', 'crashed'],
};
const tones = new Map(Object.entries(TONES)
  .flatMap(([tone, all]) => all.map((name) => [name, tone])));

export const toneOf = (state) => tones.get(state) ?? 'calm';

/** A state with its colour; the word says the same as the colour. */
export const chip = (state, label) => (state === null || state === undefined
  || state === '' ? '–' : h('span', { class: `chip ${toneOf(state)}` },
    h('span', { class: 'dot', 'aria-hidden': 'true' }), label ?? t.of(state)));

export const code = (text) => (text === null || text === undefined
  || text === '' ? '–' : h('code', null, text));

/** A link to somewhere else on this page. */
export const link = (to, text, props = {}) => h('a', { href: `#/${to}`,
  ...props }, text);

/** Text from outside that may be an address. */
export function outside(text) {
  if (!text) return '–';
  let url;
  try {
    url = new URL(text);
  } catch {
    return text; // No address: it stays the text that it is.
  }
  if (url.protocol !== 'https:' && url.protocol !== 'http:') return text;
  return h('a', { href: url.href, target: '_blank',
    rel: 'noopener noreferrer' }, text, icon('open'));
}

export function copyButton(text, key) {
  const button = h('button', { type: 'button', class: 'ghost small',
    'data-key': key, 'aria-label': t('copy', { what: text }),
    onclick: async () => {
      try {
        await navigator.clipboard.writeText(text);
        announce(t('copied'));
      } catch {
        announce(t('notCopied')); // Not allowed here, as without TLS.
      }
    } }, icon('copy'));
  return button;
}

/** <dl> of [name, value] */
export const facts = (rows) => h('dl', { class: 'facts' }, rows
  .filter(Boolean).map(([name, value]) => h('div', null, h('dt', null, name),
    h('dd', null, value === null || value === undefined || value === ''
      ? '–' : value))));

/**
 * A table that becomes a list of cards where it is narrow. Roles are said
 * aloud, since such a display takes them away.
 *
 * @param columns [{name, cell(row), class}]
 */
export function table(label, columns, rows, { key } = {}) {
  return h('table', { role: 'table', 'aria-label': label, class: 'rows' },
    h('thead', { role: 'rowgroup' }, h('tr', { role: 'row' },
      columns.map((c) => h('th', { role: 'columnheader', scope: 'col',
        class: c.class }, c.name)))),
    h('tbody', { role: 'rowgroup' }, rows.map((row) => h('tr', { role: 'row',
      'data-row': key?.(row) },
    columns.map((c) => h('td', { role: 'cell', class: c.class },
      h('span', { class: 'label', 'aria-hidden': 'true' }, c.name),
      h('div', { class: 'value' }, c.cell(row))))))));
}

export const empty = (title, text) => h('div', { class: 'empty' },
  h('p', { class: 'strong' }, title), text && h('p', null, text));

export const skeleton = (lines = 4) => h('div', { class: 'skeleton',
  role: 'status', 'aria-label': t('loading') },
Array.from({ length: lines }, () => h('span')));

/** What went wrong, with the request's id for whoever looks into the logs. */
export const problem = (error, again) => h('div', { class: 'problem',
  role: 'alert' },
h('p', { class: 'strong' }, error.title ?? t('wentWrong')),
h('p', null, error.message),
(error.code || error.requestId) && h('p', { class: 'dim' },
  [error.code, error.requestId && t('requestId', { id: error.requestId })]
    .filter(Boolean).join(' · ')),
again && h('button', { type: 'button', onclick: again }, t('again')));

export const panel = (title, { aside, id, class: extra = '' } = {},
  ...children) => h('section', { class: `panel ${extra}`,
  'aria-label': title, id },
h('header', null, h('h2', null, title), aside), ...children);

// -- what is said aloud -------------------------------------------------------

let live;
let shown;

export function mountAnnouncer(body) {
  live = h('div', { class: 'visually-hidden', role: 'status',
    'aria-live': 'polite' });
  shown = h('div', { class: 'toasts' });
  body.append(live, shown);
}

export function announce(text) {
  live.textContent = '';
  live.textContent = text;
}

/** What came of an act: said aloud, and shown for a while. */
export function toast(text, tone = 'good') {
  announce(text);
  const one = h('div', { class: `toast ${tone}` }, h('span', null, text),
    h('button', { type: 'button', class: 'ghost small',
      'aria-label': t('close'), onclick: () => one.remove() }, icon('close')));
  while (shown.childElementCount >= 3) shown.firstElementChild.remove();
  shown.append(one);
  if (tone !== 'bad') setTimeout(() => one.remove(), 8_000);
}

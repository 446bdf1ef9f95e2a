// One subscription: its data, its whole story, its logs, and what can be done.

import { ApiError, follow, get, id as part, repeat, withQuery } from './api.js';
import { actOn } from './acts.js';
import { actButton, viewerNote } from './dialog.js';
import { announce, chip, clock, code, copyButton, duration, empty, facts, fill,
  fillWith, h, link, number, outside, panel, problem, skeleton, table, toneOf,
  when } from './dom.js';
import { readSoon } from './state.js';
import { t } from './words.js';

const LOOK_MS = 2_000;
/** The timeline is read again with each change, and once in so long anyway. */
const STORY_MS = 10_000;
const STORY_PAGE = 1_000;
const STORY_PAGES_MAX = 5;
const LINES_MAX = 2_000;

const KINDS = ['callback', 'state', 'provider', 'mail', 'notification',
  'operator'];

// -- the head -----------------------------------------------------------------

function head(now) {
  const { deployment } = now;
  return [
    h('div', { class: 'chips' }, chip(now.status), chip(deployment.status),
      deployment.health && chip(deployment.health),
      deployment.queuePosition !== null && h('span', { class: 'chip calm' },
        t('position', { n: number(deployment.queuePosition) }))),
    h('p', null, deployment.message),
    h('progress', { max: 100, value: deployment.progress,
      'aria-label': t('progress') }),
    h('p', { class: 'dim' }, t('progressOf', { n: number(deployment.progress),
      attempt: number(deployment.attempt) })),
    deployment.error && h('p', { class: 'problem reason' }, deployment.error)];
}

function data(now) {
  const { deployment } = now;
  const took = deployment.startedAt && deployment.completedAt
    ? Date.parse(deployment.completedAt) - Date.parse(deployment.startedAt) : null;
  return facts([
    [t('user'), h('span', { class: 'break' }, now.userId, ' ',
      link(`subscriptions?${new URLSearchParams({ q: now.userId })}`,
        t('allOfUser'), { 'data-key': 'all of user' }))],
    [t('plan'), now.planType],
    [t('amount'), `${now.amount} ${now.currency} · ${
      t('days', { n: number(now.periodDays) })}`],
    [t('period'), now.startDate ? [when(now.startDate), ' – ',
      when(now.endDate)] : null],
    [t('publicUrl'), outside(now.publicUrl)],
    [t('instance'), now.instanceId && [code(now.instanceId), ' ',
      deployment.instanceStatus && chip(deployment.instanceStatus)]],
    [t('project'), code(now.projectId)],
    [t('phase'), code(now.phase)],
    [t('started'), deployment.startedAt && when(deployment.startedAt)],
    [t('completed'), deployment.completedAt && [when(deployment.completedAt),
      took > 0 && ` (${duration(took)})`]],
    [t('created'), when(now.createdAt)],
    [t('changed'), when(now.updatedAt)]]);
}

const orderColumns = () => [
  { name: t('order'), cell: (o) => link(
    `callbacks?${new URLSearchParams({ orderId: o.orderId })}`, code(o.orderId),
    { 'data-key': `order ${o.orderId}`, title: t('itsCallbacks') }) },
  { name: t('gateway'), cell: (o) => `${t.of(o.gateway)} · ${o.method}` },
  { name: t('status'), cell: (o) => chip(o.status) },
  { name: t('amount'), class: 'number', cell: (o) => [`${o.amount} ${o.currency}`,
    Number(o.refundedAmount) > 0 && h('div', { class: 'dim' },
      t('refunded', { x: o.refundedAmount }))] },
  { name: t('transaction'), cell: (o) => code(o.transactionId) },
  { name: t('paid'), cell: (o) => (o.paidAt ? when(o.paidAt) : '–') },
];

// -- the timeline -------------------------------------------------------------

function timeline(subscription, signal) {
  const shown = new Set(KINDS);
  let entries = [];
  let whole = true;
  let newest = true;
  const list = h('div', null, skeleton(6));
  const chips = h('div', { class: 'chips', role: 'group',
    'aria-label': t('filterByKind') });

  const draw = () => {
    fillWith(chips, [entries.length, [...shown], newest], () => [
      KINDS.map((kind) => h('button', { type: 'button', class: 'toggle',
        'data-key': `kind ${kind}`, 'aria-pressed': String(shown.has(kind)),
        onclick: () => {
          if (shown.has(kind)) shown.delete(kind);
          else shown.add(kind);
          draw();
        } }, t(`kind_${kind}`), ' ', h('span', { class: 'count' },
        number(entries.filter((x) => x.kind === kind).length)))),
      h('button', { type: 'button', class: 'ghost small', 'data-key': 'turn',
        onclick: () => {
          newest = !newest;
          draw();
        } }, t(newest ? 'newestFirst' : 'oldestFirst'))]);
    const rows = entries.filter((x) => shown.has(x.kind) || !KINDS.includes(
      x.kind));
    if (newest) rows.reverse();
    fillWith(list, [rows, whole], () => [
      !whole && h('p', { class: 'note' }, t('storyCut',
        { n: number(entries.length) })),
      rows.length === 0 ? empty(t('noEntries')) : h('ol', { class: 'story' },
        rows.map((x) => h('li', { class: `kind-${KINDS.includes(x.kind)
          ? x.kind : 'other'}` },
        clock(x.at), h('span', { class: 'kind' }, t(`kind_${x.kind}`)),
        h('div', { class: 'grow' }, h('p', null, x.summary),
          (x.operation || x.outcome) && h('p', { class: 'dim' },
            x.operation && code(x.operation), ' ',
            x.outcome && h('span', { class: `word ${toneOf(x.outcome)}` },
              x.outcome))))))]);
  };

  const load = async () => {
    const found = [];
    let cursor = '';
    for (let page = 0; page < STORY_PAGES_MAX && cursor !== null; page += 1) {
      const answer = await get(withQuery(
        `/api/ops/subscriptions/${part(subscription)}/timeline`,
        { limit: STORY_PAGE, cursor }), signal);
      found.push(...answer.data);
      cursor = answer.nextCursor;
    }
    entries = found;
    whole = cursor === null;
    draw();
  };
  const again = repeat(STORY_MS, signal, load, (error) => {
    list.shownMark = undefined;
    fill(list, problem(error, () => again()));
    return error.status === 404;
  });
  return { element: [chips, list], again: () => again() };
}

// -- logs ---------------------------------------------------------------------

/** For operators; and the owner's own, for servers that have only those. */
const logPaths = (subscription) => [
  `/api/ops/subscriptions/${part(subscription)}/logs`,
  `/api/deployment/logs/${part(subscription)}`];

function logs(subscription, signal) {
  const lines = h('ol', { class: 'log', role: 'log', 'aria-live': 'off',
    tabindex: '0', 'aria-label': t('logs') });
  const stateAt = h('span', { class: 'dim', role: 'status' });
  const wrong = h('div');
  const type = h('select', { id: 'log-type' }, ['all', 'build', 'deploy',
    'event'].map((x) => h('option', { value: x }, t(`log_${x}`))));
  const live = h('button', { type: 'button', class: 'toggle',
    'aria-pressed': 'true' }, t('live'));
  let now = new AbortController();
  signal.addEventListener('abort', () => now.abort(), { once: true });

  const put = (rows) => {
    // Whoever reads further up is left there.
    const atEnd = lines.scrollTop + lines.clientHeight
      >= lines.scrollHeight - 24;
    lines.querySelector('.none')?.remove();
    lines.append(...rows.map((x) => h('li', { class: `level-${
      ['error', 'warn'].includes(x.level) ? x.level : 'info'}` },
    clock(x.timestamp), h('span', { class: 'source' }, x.source),
    h('span', { class: 'text' }, x.message))));
    while (lines.childElementCount > LINES_MAX) lines.firstElementChild.remove();
    if (atEnd) lines.scrollTop = lines.scrollHeight;
  };

  /** The first path that is served and open to us. */
  async function allowed(use) {
    const paths = logPaths(subscription);
    for (const [i, path] of paths.entries()) {
      try {
        return await use(path);
      } catch (error) {
        if (error.status !== 404 || i === paths.length - 1) throw error;
      }
    }
    return undefined;
  }

  async function run(mine) {
    const query = type.value === 'all' ? '' : `?type=${type.value}`;
    let last;
    for (let tries = 0; !mine.aborted; tries += 1) {
      try {
        if (live.getAttribute('aria-pressed') !== 'true') {
          stateAt.textContent = t('loading');
          const { data: found } = await allowed((path) => get(withQuery(path,
            { type: type.value, limit: 1_000 }), mine));
          put(found.logs);
          stateAt.textContent = t('lines', { n: number(found.count) });
          return;
        }
        stateAt.textContent = t('connecting');
        await allowed((path) => follow(`${path}/stream${query}`, {
          signal: mine, last,
          opened: () => { stateAt.textContent = t('liveNow'); },
          take: (event) => {
            if (event.id !== undefined) last = event.id;
            if (event.event !== 'log') return;
            tries = 0;
            put([JSON.parse(event.data)]);
          } }));
      } catch (error) {
        if (mine.aborted) return;
        if (!(error instanceof ApiError)) throw error;
        if (error.status === 403) {
          stateAt.textContent = '';
          fill(wrong, h('p', { class: 'note' }, t('logsOfOwner')));
          return;
        }
        if (error.status >= 400 && error.status < 500) {
          stateAt.textContent = '';
          fill(wrong, problem(error, start));
          return;
        }
        stateAt.textContent = t('comesBack');
      }
      await new Promise((resolve) => {
        setTimeout(resolve, Math.min(1_000 * 2 ** tries, 30_000));
      });
    }
  }

  function start() {
    now.abort();
    now = new AbortController();
    fill(wrong);
    fill(lines, h('li', { class: 'none dim' }, t('noLines')));
    run(now.signal);
  }
  type.addEventListener('change', start);
  live.addEventListener('click', () => {
    live.setAttribute('aria-pressed', String(
      live.getAttribute('aria-pressed') !== 'true'));
    start();
  });
  return { element: [h('div', { class: 'filters inline' },
    h('label', { for: 'log-type' }, t('source')), type, live, stateAt),
  wrong, lines], start, stop: () => now.abort() };
}

// -- together -----------------------------------------------------------------

function tabs(all) {
  const buttons = all.map(({ name, key }, i) => h('button', { type: 'button',
    role: 'tab', id: `tab-${key}`, 'aria-controls': `panel-${key}`,
    'aria-selected': 'false', tabindex: '-1',
    onclick: () => choose(i), onkeydown: (event) => {
      const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0,
        End: all.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      const next = (to + all.length) % all.length;
      choose(next);
      buttons[next].focus();
    } }, name));
  const panels = all.map(({ key, element }) => h('div', { role: 'tabpanel',
    id: `panel-${key}`, 'aria-labelledby': `tab-${key}`, hidden: true },
  element));
  function choose(chosen) {
    all.forEach(({ shown, hidden }, i) => {
      const on = i === chosen;
      if (panels[i].hidden === !on) return;
      panels[i].hidden = !on;
      buttons[i].setAttribute('aria-selected', String(on));
      buttons[i].tabIndex = on ? 0 : -1;
      (on ? shown : hidden)?.();
    });
  }
  choose(0);
  return h('section', { class: 'panel' }, h('div', { role: 'tablist',
    'aria-label': t('history') }, buttons), panels);
}

export function subscription(main, { path: [id] }, signal) {
  const headAt = h('div', null, skeleton(3));
  const dataAt = h('div', null, skeleton());
  const ordersAt = h('div', null, skeleton(2));
  const outcome = h('div', { class: 'outcome', hidden: true });
  const story = timeline(id, signal);
  const lines = logs(id, signal);
  let orders = [];
  let seen = '';
  const look = repeat(LOOK_MS, signal, async () => {
    const { data: now } = await get(`/api/ops/subscriptions/${part(id)}`, signal);
    orders = now.orders;
    retry.classList.toggle('primary', now.deployment.status === 'failed');
    fillWith(headAt, [now.status, now.deployment], () => head(now));
    fillWith(dataAt, now, () => data(now));
    fillWith(ordersAt, now.orders, () => (now.orders.length === 0
      ? empty(t('noOrders')) : table(t('orders'), orderColumns(), now.orders)));
    const mark = JSON.stringify(now);
    if (seen !== '' && mark !== seen) {
      story.again();
      announce(t('nowIs', { status: t.of(now.deployment.status),
        message: now.deployment.message }));
    }
    seen = mark;
  }, (error) => {
    if (error.status === 404) {
      fill(main, h('h1', null, t('subscription')), problem(error),
        h('p', null, link('subscriptions', t('backToSearch'))));
      return true;
    }
    if (seen === '') fill(headAt, problem(error, () => look()));
    return false;
  });
  const button = (name, kind) => actButton(t(name), async () => {
    const came = await actOn(name, id, { orders });
    if (came === null) return;
    // It stays where the act was, for as long as the view does.
    outcome.hidden = false;
    fill(outcome, h('p', null, h('b', null, t(name)), ' · ', came, ' · ',
      clock(new Date().toISOString())));
    look();
    story.again();
    readSoon();
  }, { class: kind, key: `act ${name}` });
  const retry = button('retry');
  fill(main,
    h('nav', { class: 'crumbs', 'aria-label': t('where') },
      link('subscriptions', t('subscriptions'))),
    h('div', { class: 'title' }, h('h1', { class: 'mono' }, id),
      copyButton(id, 'copy id')),
    viewerNote(),
    h('div', { class: 'columns uneven' },
      panel(t('state'), {}, headAt, h('div', { class: 'buttons', role: 'group',
        'aria-label': t('acts') }, retry, button('cancel'),
      button('refund'), button('terminate', 'danger outline')),
      outcome),
      panel(t('data'), {}, dataAt)),
    panel(t('orders'), {}, ordersAt),
    tabs([{ key: 'timeline', name: t('timeline'), element: story.element },
      { key: 'logs', name: t('logs'), element: lines.element,
        shown: lines.start, hidden: lines.stop }]));
  return id;
}

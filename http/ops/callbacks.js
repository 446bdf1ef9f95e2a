// The callback inbox: what the gateways said, as it came, and what a replay of
// it would change.

import { get, id as part, post } from './api.js';
import { settle } from './acts.js';
import { act, actButton, viewerNote } from './dialog.js';
import { announce, chip, code, copyButton, empty, facts, fill, h, link, number,
  panel, problem, since, skeleton, table, when } from './dom.js';
import { paged } from './pages.js';
import { readSoon } from './state.js';
import { t } from './words.js';

const GATEWAYS = ['ALIPAY', 'WECHAT'];
const OUTCOMES = ['applied', 'repeated', 'acknowledged', 'contradicted',
  'forged'];

const columns = () => [
  { name: t('number'), cell: (x) => link(`callbacks/${part(x.id)}`,
    code(`#${x.id}`), { 'data-key': `row ${x.id}` }) },
  { name: t('gateway'), cell: (x) => t.of(x.gateway) },
  { name: t('outcome'), cell: (x) => [chip(x.outcome), x.settledAt
    && h('div', { class: 'dim' }, t('settledWord'))] },
  { name: t('order'), cell: (x) => code(x.orderId) },
  { name: t('why'), class: 'wide', cell: (x) => h('span', { class: 'reason' },
    x.reason || '–') },
  { name: t('repeats'), class: 'number', cell: (x) => number(x.repeats) },
  { name: t('received'), class: 'nowrap', cell: (x) => since(x.receivedAt) },
];

export function callbacks(main, { query }, signal) {
  const filters = ['gateway', 'outcome', 'orderId'];
  const wanted = Object.fromEntries(filters.map(
    (name) => [name, query.get(name) ?? '']));
  const list = h('div', { class: 'panel' });
  const pages = paged(list, '/api/ops/callbacks', (rows) => (rows.length === 0
    ? empty(t('noCallbacks'), t('noCallbacksText'))
    : table(t('callbacks'), columns(), rows)), { signal });
  const choice = (name, values) => h('select', { id: `find-${name}`, name },
    h('option', { value: '' }, t('any')), values.map((x) => h('option',
      { value: x, selected: x === wanted[name] }, t.of(x))));
  const gateway = choice('gateway', GATEWAYS);
  const outcome = choice('outcome', OUTCOMES);
  const order = h('input', { type: 'search', id: 'find-order', name: 'orderId',
    value: wanted.orderId, autocomplete: 'off', spellcheck: 'false',
    'data-search': true });
  const go = () => {
    const said = new URLSearchParams(Object.entries({ gateway: gateway.value,
      outcome: outcome.value, orderId: order.value.trim() })
      .filter(([, value]) => value));
    const to = `#/callbacks${said.size > 0 ? `?${said}` : ''}`;
    if (location.hash === to) pages.load(wanted);
    else location.hash = to;
  };
  gateway.addEventListener('change', go);
  outcome.addEventListener('change', go);
  fill(main, h('h1', null, t('callbacks')),
    h('p', { class: 'lead' }, t('callbacksLead')),
    h('form', { class: 'filters', role: 'search', onsubmit: (event) => {
      event.preventDefault();
      go();
    } },
    h('div', { class: 'grow' }, h('label', { for: 'find-order' }, t('order')),
      order),
    h('div', null, h('label', { for: 'find-gateway' }, t('gateway')), gateway),
    h('div', null, h('label', { for: 'find-outcome' }, t('outcome')), outcome),
    h('button', { type: 'submit', class: 'primary' }, t('search'))), list);
  pages.load(wanted);
  return t('callbacks');
}

// -- one of them --------------------------------------------------------------

/** The body in a form that people read: fields, or indented JSON; else null. */
function readable(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    // No JSON: perhaps a form, perhaps XML.
  }
  if (!/^[\w.-]+=[^<>\n]*$/.test(text)) return null;
  return [...new URLSearchParams(text)].map(([name, value]) => `${name} = ${
    value}`).join('\n');
}

const raw = (text, label) => h('pre', { class: 'raw', tabindex: '0',
  role: 'region', 'aria-label': label }, text);

/** What a replay changed or would change. */
function verdict(result) {
  const said = t(result.dryRun ? 'wouldBe' : 'was', { verdict:
    t.of(result.verdict) });
  return h('div', { class: 'outcome', 'data-verdict': result.verdict },
    h('p', { class: 'strong' }, said, ' ', code(result.verdict)),
    result.changes.length === 0 ? h('p', null, t(result.dryRun
      ? 'nothingWouldChange' : 'nothingChanged'))
      : table(t('changes'), [
        { name: t('what'), cell: (x) => code(x.what) },
        { name: t('from'), cell: (x) => String(x.from ?? '–') },
        { name: t('to'), cell: (x) => h('b', null, String(x.to ?? '–')) },
      ], result.changes));
}

export function callback(main, { path: [id] }, signal) {
  const body = h('div', { class: 'stack' }, skeleton(6));
  const result = h('div');
  const at = `/api/ops/callbacks/${part(id)}`;

  const rehearse = async () => (await post(`${at}/replay?dryRun=true`)).data;

  async function dryRun() {
    fill(result, skeleton(2));
    try {
      const data = await rehearse();
      fill(result, verdict(data));
      announce(t('wouldBe', { verdict: t.of(data.verdict) }));
    } catch (error) {
      if (!('status' in error)) throw error;
      fill(result, problem(error));
    }
  }

  async function replay() {
    let expected;
    try {
      expected = verdict(await rehearse());
    } catch (error) {
      if (!('status' in error)) throw error;
      fill(result, problem(error));
      return;
    }
    let came = null;
    const done = await act({ title: t('replayTitle'), text: t('replayText'),
      confirm: t('replay'), danger: true, more: expected,
      run: async ({ reason }) => {
        came = (await post(`${at}/replay`, reason ? { reason } : {})).data;
        return t('was', { verdict: t.of(came.verdict) });
      } });
    if (!done) return;
    fill(result, verdict(came));
    load();
    readSoon();
  }

  async function load() {
    try {
      const { data: x } = await get(at, signal);
      const settles = x.outcome === 'contradicted' && !x.settledAt;
      const pretty = x.body === undefined ? null : readable(x.body);
      fill(body,
        h('div', { class: 'columns uneven' },
          panel(t('outcome'), {},
            h('div', { class: 'chips' }, chip(x.outcome), x.settledAt
              && h('span', { class: 'chip calm' }, t('settledWord'))),
            x.reason && h('p', { class: 'reason' }, x.reason),
            h('div', { class: 'buttons' },
              actButton(t('dryRun'), dryRun, { class: 'primary',
                key: 'dry run' }),
              actButton(t('replay'), replay, { class: 'danger outline',
                key: 'replay' }),
              settles && actButton(t('settle'), async () => {
                if (!await settle(id)) return;
                load();
                readSoon();
              }, { key: 'settle' })),
            result),
          panel(t('data'), {}, facts([
            [t('gateway'), `${t.of(x.gateway)} · ${x.source}`],
            [t('order'), code(x.orderId)],
            [t('subscription'), x.subscriptionId && link(
              `subscriptions/${part(x.subscriptionId)}`, code(x.subscriptionId),
              { 'data-key': 'subscription' })],
            [t('received'), when(x.receivedAt)],
            x.repeats > 0 && [t('repeats'), [number(x.repeats), ' · ',
              t('lastAt'), ' ', when(x.lastReceivedAt)]],
            x.settledAt && [t('settledWord'), [when(x.settledAt), ` · ${
              x.settledBy} · ${x.settledReason}`]]]))),
        pretty !== null && panel(t('readableBody'), {}, raw(pretty,
          t('readableBody'))),
        panel(t('body'), { aside: x.body && copyButton(x.body, 'copy body') },
          x.body === undefined
            ? [h('p', { class: 'note' }, t('noUtf8')), raw(x.bodyBase64,
              t('body'))]
            : x.body === '' ? empty(t('emptyBody')) : raw(x.body, t('body'))),
        panel(t('headers'), {}, x.headers ? raw(x.headers, t('headers'))
          : empty(t('noHeaders'))));
    } catch (error) {
      if (signal.aborted) return;
      if (!('status' in error)) throw error;
      fill(body, problem(error, load));
    }
  }

  fill(main, h('nav', { class: 'crumbs', 'aria-label': t('where') },
    link('callbacks', t('callbacks'))),
  h('h1', null, t('callbackNo', { id })), viewerNote(), body);
  load();
  return t('callbackNo', { id });
}

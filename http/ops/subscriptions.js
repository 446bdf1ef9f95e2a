// Finding subscriptions.

import { id as part } from './api.js';
import { chip, code, empty, fill, h, link, number, since, table } from './dom.js';
import { paged } from './pages.js';
import { t } from './words.js';

const STATUSES = ['PENDING', 'ACTIVE', 'EXPIRED', 'SUSPENDED', 'CANCELLED',
  'REFUNDED'];
const DEPLOYMENTS = ['pending', 'creating', 'configuring', 'deploying',
  'running', 'failed', 'stopped'];

const columns = () => [
  { name: t('subscription'), cell: (x) => link(
    `subscriptions/${part(x.subscriptionId)}`, code(x.subscriptionId),
    { 'data-key': `row ${x.subscriptionId}` }) },
  { name: t('user'), cell: (x) => h('span', { class: 'break' }, x.userId) },
  { name: t('plan'), cell: (x) => x.planType },
  { name: t('status'), cell: (x) => chip(x.status) },
  { name: t('deployment'), cell: (x) => [chip(x.deploymentStatus),
    x.deployment?.progress > 0 && x.deployment.progress < 100
      && h('span', { class: 'dim' }, ` ${number(x.deployment.progress)}%`)] },
  { name: t('amount'), class: 'number', cell: (x) => `${x.amount} ${x.currency}` },
  { name: t('changed'), class: 'nowrap', cell: (x) => since(x.updatedAt) },
];

const option = (value, label, chosen) => h('option', { value,
  selected: value === chosen }, label);

export function subscriptions(main, { query }, signal) {
  const wanted = { q: query.get('q') ?? '', status: query.get('status') ?? '' };
  const list = h('div', { class: 'panel' });
  const pages = paged(list, '/api/ops/subscriptions', (rows) => (
    rows.length === 0 ? empty(t('noneFound'), t('noneFoundText'))
      : table(t('subscriptions'), columns(), rows)), { signal });
  const text = h('input', { type: 'search', id: 'find-q', name: 'q',
    value: wanted.q, autocomplete: 'off', spellcheck: 'false',
    'data-search': true, placeholder: t('searchHint') });
  const status = h('select', { id: 'find-status', name: 'status' },
    option('', t('any'), wanted.status),
    h('optgroup', { label: t('subscription') },
      STATUSES.map((x) => option(x, t.of(x), wanted.status))),
    h('optgroup', { label: t('deployment') },
      DEPLOYMENTS.map((x) => option(x, t.of(x), wanted.status))));
  const go = () => {
    // The address says what is looked for, so that it can be come back to.
    const said = new URLSearchParams(Object.entries({ q: text.value.trim(),
      status: status.value }).filter(([, value]) => value));
    const to = `#/subscriptions${said.size > 0 ? `?${said}` : ''}`;
    if (location.hash === to) pages.load({ q: text.value.trim(),
      status: status.value });
    else location.hash = to;
  };
  status.addEventListener('change', go);
  fill(main, h('h1', null, t('subscriptions')),
    h('form', { class: 'filters', role: 'search', onsubmit: (event) => {
      event.preventDefault();
      go();
    } },
    h('div', { class: 'grow' }, h('label', { for: 'find-q' }, t('search')), text),
    h('div', null, h('label', { for: 'find-status' }, t('status')), status),
    h('button', { type: 'submit', class: 'primary' }, t('search'))), list);
  pages.load(wanted);
  return t('subscriptions');
}

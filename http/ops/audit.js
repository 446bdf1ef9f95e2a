// Who of the operators has done what, why, and what came of it.

import { get, id as part } from './api.js';
import { chip, code, empty, fill, h, link, table, when } from './dom.js';
import { paged } from './pages.js';
import { t } from './words.js';

const PATH = '/api/ops/audit';

/** Whether there is an audit trail that we may read: admins may. Throws ApiError
    for all but 403 and 404. */
export async function hasAudit(signal) {
  try {
    await get(`${PATH}?limit=1`, signal);
    return true;
  } catch (error) {
    if (error.status === 404 || error.status === 403) return false;
    throw error;
  }
}

/** What it was done to, as a link where this page can show it. */
function subjectOf({ subject, subjectKind, detail }) {
  const place = { subscription: 'subscriptions', callback: 'callbacks' }[
    subjectKind];
  return [!subject ? '–' : place
    ? link(`${place}/${part(subject)}`, code(subject)) : code(subject),
  h('span', { class: 'dim' }, ` ${subjectKind ?? ''}`),
  detail && h('div', { class: 'dim break' }, detail)];
}

const columns = () => [
  { name: t('at'), class: 'nowrap', cell: (x) => when(x.at) },
  { name: t('who'), cell: (x) => [h('span', { class: 'break' }, x.actor),
    x.role && h('span', { class: 'dim' }, ` ${x.role}`)] },
  { name: t('act'), cell: (x) => code(x.act) },
  { name: t('subject'), cell: subjectOf },
  { name: t('reason'), class: 'wide', cell: (x) => h('span',
    { class: 'reason' }, x.reason || '–') },
  { name: t('outcome'), cell: (x) => (x.outcome ? chip(x.outcome)
    : t('notKnown')) },
  { name: t('request'), cell: (x) => code(x.requestId) },
];

export function audit(main, _, signal) {
  const list = h('div', { class: 'panel' });
  const pages = paged(list, PATH, (rows) => (rows.length === 0
    ? empty(t('noActs')) : table(t('audit'), columns(), rows)), { signal });
  fill(main, h('h1', null, t('audit')),
    h('p', { class: 'lead' }, t('auditLead')), list);
  pages.load({});
  return t('audit');
}

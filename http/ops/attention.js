// What waits for a person, with what to do about it beside each row.

import { id as part } from './api.js';
import { actOn, restartActor, settle, turnAutomation } from './acts.js';
import { actButton, viewerNote } from './dialog.js';
import { chip, code, empty, fill, fillWith, h, link, number, panel, problem,
  since, skeleton, table } from './dom.js';
import { listen, readSoon, state } from './state.js';
import { t } from './words.js';

const ACTS = new Set(['retry', 'cancel', 'refund', 'terminate']);

/** Where a row leads to. */
const placeOf = (row) => (row.callbackId
  ? `callbacks/${part(row.callbackId)}` : row.subscriptionId
    ? `subscriptions/${part(row.subscriptionId)}` : null);

/** The suggested act of a row as a button; null where a look is all there is. */
function suggested(row, done) {
  const { suggestedAction: wanted, subscriptionId, callbackId } = row;
  const key = `do ${row.kind} ${subscriptionId} ${callbackId}`;
  const run = async (what) => {
    if (await what()) done();
  };
  const aria = (name) => t('doFor', { what: name,
    id: subscriptionId ?? callbackId ?? t.of(row.kind) });
  const button = (name, what) => actButton(name, () => run(what),
    { class: 'primary small', key, label: aria(name) });
  if (ACTS.has(wanted) && subscriptionId) {
    return button(t(wanted), () => actOn(wanted, subscriptionId));
  }
  if (wanted === 'settle' && callbackId) {
    return button(t('settle'), () => settle(callbackId));
  }
  if (wanted === 'restart_actor' && subscriptionId) {
    return button(t('restart'),
      () => restartActor(`supervisor:${subscriptionId}`));
  }
  if (wanted === 'switch_on') {
    return button(t('switchOn'), () => turnAutomation(true));
  }
  return null;
}

function columns(done) {
  return [
    { name: t('kind'), cell: (row) => chip(row.kind) },
    { name: t('what'), class: 'wide', cell: (row) => [
      h('div', { class: 'reason' }, row.reason || '–'),
      row.suggestedAction === 'contact_user' && h('div', { class: 'dim' },
        t('contactUser')),
      row.suggestedAction === 'wait' && h('div', { class: 'dim' },
        t('nothingToDo'))] },
    { name: t('subscription'), cell: (row) => (row.subscriptionId
      ? link(`subscriptions/${part(row.subscriptionId)}`,
        code(row.subscriptionId), { 'data-key': `see ${row.kind} ${
          row.subscriptionId} ${row.callbackId}` }) : '–') },
    { name: t('since'), class: 'nowrap', cell: (row) => since(row.since) },
    { name: t('action'), class: 'acts', cell: (row) => h('div',
      { class: 'buttons' }, suggested(row, done), placeOf(row) && h('a', {
        href: `#/${placeOf(row)}`, class: 'button small',
        'data-key': `open ${row.kind} ${row.subscriptionId} ${row.callbackId}`,
        'aria-label': t('doFor', { what: t('openIt'),
          id: row.subscriptionId ?? row.callbackId }) }, t('openIt'))) },
  ];
}

/**
 * The list, kept up to date until `signal`.
 *
 * @param most so many rows; beyond it there is a link to all of them
 */
export function attentionList({ signal, most = Infinity, heading = true }) {
  const count = h('span', { class: 'badge' });
  const body = h('div', null, skeleton());
  listen(() => {
    const { attention: rows, attentionError: error } = state;
    if (rows === null) {
      if (error) fillWith(body, String(error), () => problem(error, readSoon));
      return;
    }
    fillWith(count, rows.length, () => number(rows.length));
    count.classList.toggle('bad', rows.length > 0);
    fillWith(body, rows, () => (rows.length === 0
      ? empty(t('allQuiet'), t('allQuietText'))
      : [table(t('attention'), columns(readSoon), rows.slice(0, most),
        { key: (row) => row.subscriptionId ?? row.kind }),
      rows.length > most && h('p', { class: 'more' }, link('attention',
        t('allOfThem', { n: number(rows.length) })))]));
  }, signal);
  return heading ? panel(t('attention'), { aside: count }, body)
    : h('section', { class: 'panel', 'aria-label': t('attention') }, body);
}

export function attention(main, _, signal) {
  fill(main, h('h1', null, t('attention')),
    h('p', { class: 'lead' }, t('attentionLead')), viewerNote(),
    attentionList({ signal, heading: false }));
  return t('attention');
}

// How it goes: numbers and their course, the queue, the main switch, and what
// waits for a person.

import { id as part } from './api.js';
import { turnAutomation } from './acts.js';
import { attentionList } from './attention.js';
import { bars, slots, sparkline } from './charts.js';
import { actButton, viewerNote } from './dialog.js';
import { chip, code, duration, empty, fill, fillWith, h, link, number, panel,
  percent, since, skeleton, table } from './dom.js';
import { listen, readSoon, state } from './state.js';
import { t } from './words.js';

const DEPLOYMENTS = ['pending', 'creating', 'configuring', 'deploying',
  'running', 'failed', 'stopped'];
const SUBSCRIPTIONS = ['PENDING', 'ACTIVE', 'SUSPENDED', 'EXPIRED', 'CANCELLED',
  'REFUNDED'];
const WAITING_SHOWN = 8;

const perSecond = (x) => (x === null || x === undefined ? '–'
  : `${number(x, x !== 0 && x < 10 ? 1 : 0)}/s`);

function tile(name, value, hint, chart) {
  return h('div', { class: 'tile' }, h('h3', null, name),
    h('p', { class: 'figure' }, value), h('p', { class: 'dim' }, hint), chart);
}

function tiles() {
  const { stats, history } = state;
  const course = (name) => history.map((x) => x[name]);
  const latest = history.at(-1);
  return [
    tile(t('callbacksRate'), perSecond(latest.callbacksPerS),
      t('thisServer', { n: number(stats.callbacks ?? 0) }),
      sparkline(course('callbacksPerS'), { label: t('callbacksRate'),
        show: perSecond })),
    tile(t('deploymentsAtWork'), number(stats.active),
      t('ofAll', { n: number(stats.total), running: number(stats.running) }),
      sparkline(course('active'), { label: t('deploymentsAtWork') })),
    tile(t('successRate'), percent(stats.successRate),
      t('failedNow', { n: number(stats.failed) }),
      sparkline(course('successRate'), { label: t('successRate'),
        show: percent, max: 1 })),
    tile(t('timeToRunning'), duration(stats.averageDeploymentMs),
      t('p95', { x: duration(stats.p95DeploymentMs) }),
      sparkline(course('averageMs'), { label: t('timeToRunning'),
        show: duration })),
  ];
}

const counted = (names, counts) => names.map((x) => [x, counts?.[x] ?? 0]);

function states() {
  const { stats } = state;
  const line = (status) => link(`subscriptions?status=${status}`,
    chip(status), { 'data-key': `count ${status}` });
  return [h('h3', null, t('deployments')),
    bars(counted(DEPLOYMENTS, stats.byStatus), t('deployments'), line),
    h('h3', null, t('subscriptions')),
    bars(counted(SUBSCRIPTIONS, stats.subscriptions), t('subscriptions'), line)];
}

function queue() {
  const { stats, automation } = state;
  const all = stats.slots ?? 0;
  const waiting = (automation?.pending?.items ?? []).filter(
    (x) => x.kind === 'deploy' && x.summary.startsWith('queued'));
  return [
    h('div', { class: 'depth' },
      h('div', null, h('p', { class: 'figure' }, number(stats.queued)),
        h('p', { class: 'dim' }, t('waiting'))),
      h('div', { class: 'grow' }, h('p', null, all === 0 ? t('noSlots')
        : t('slotsTaken', { taken: number(stats.active), all: number(all) })),
      all > 0 && slots(stats.active, all))),
    sparkline(state.history.map((x) => x.queued), { label: t('waiting') }),
    waiting.length === 0 ? empty(t('nobodyWaits'))
      : table(t('waiting'), [
        { name: t('subscription'), cell: (x) => link(
          `subscriptions/${part(x.subscriptionId)}`, code(x.subscriptionId),
          { 'data-key': `waits ${x.subscriptionId}` }) },
        { name: t('since'), class: 'nowrap', cell: (x) => since(x.since) },
      ], waiting.slice(0, WAITING_SHOWN)),
    stats.queued > WAITING_SHOWN && h('p', { class: 'more' },
      link('subscriptions?status=pending', t('allOfThem',
        { n: number(stats.queued) })))];
}

function mainSwitch() {
  const { automation } = state;
  const on = automation.enabled;
  const turn = async () => {
    if (await turnAutomation(!on)) readSoon();
  };
  return [
    h('div', { class: 'switch' },
      h('div', { class: 'grow' },
        h('p', { class: 'strong' }, chip(on ? 'ok' : 'automation_off',
          t(on ? 'automationOn' : 'automationOff'))),
        h('p', { class: 'dim' }, t(on ? 'onMeans' : 'offMeans')),
        h('p', { class: 'dim' }, since(automation.since),
          automation.by && ` · ${automation.by}`,
          automation.reason && ` · ${automation.reason}`)),
      actButton(t(on ? 'switchOff' : 'switchOn'), turn, {
        class: on ? 'danger outline' : 'primary', key: 'main switch' })),
    automation.changes?.length > 0 && h('details', null,
      h('summary', { 'data-key': 'changes' }, t('earlierChanges')),
      h('ul', { class: 'plain' }, automation.changes.slice(0, 10).map(
        (x) => h('li', null, since(x.at), ' · ', t(x.enabled ? 'on' : 'off'),
          ` · ${x.by}`, x.reason && ` · ${x.reason}`))))];
}

export function overview(main, _, signal) {
  const tilesAt = h('div', { class: 'tiles' }, skeleton(3));
  const statesAt = h('div', null, skeleton());
  const queueAt = h('div', null, skeleton());
  const switchAt = h('div', null, skeleton(2));
  fill(main, h('h1', null, t('overview')), viewerNote(),
    h('section', { 'aria-label': t('numbers') }, tilesAt),
    attentionList({ signal, most: 8 }),
    h('div', { class: 'columns' },
      panel(t('states'), {}, statesAt), h('div', null,
        panel(t('queue'), {}, queueAt),
        panel(t('mainSwitch'), { id: 'main-switch' }, switchAt))));
  listen(() => {
    if (state.stats !== null) {
      fillWith(tilesAt, state.history.at(-1).at, tiles);
      fillWith(statesAt, [state.stats.byStatus, state.stats.subscriptions],
        states);
      fillWith(queueAt, [state.history.at(-1).at, state.automation], queue);
    }
    if (state.automation !== null) {
      const open = switchAt.querySelector('details')?.open ?? false;
      fillWith(switchAt, { ...state.automation, pending: null }, mainSwitch);
      const details = switchAt.querySelector('details');
      if (details) details.open = open;
    }
  }, signal);
  return t('overview');
}

// What an operator can do, each with a reason for the history.

import { get, id as part, post, put } from './api.js';
import { act } from './dialog.js';
import { code, h, number, toast } from './dom.js';
import { t } from './words.js';

const NAMES = ['retry', 'cancel', 'refund', 'terminate'];
const DANGER = new Set(['cancel', 'refund', 'terminate']);

/**
 * retry, cancel, refund or terminate. @returns what came of it, in words, or
 * null.
 *
 * @param orders of the subscription; those that are paid can be chosen from for
 *   a refund
 */
export async function actOn(name, subscription, { orders } = {}) {
  if (!NAMES.includes(name)) throw new Error(`no act: ${name}`);
  const paid = name === 'refund' ? (orders ?? []).filter(
    (o) => o.status === 'PAID') : [];
  const choice = paid.length > 0 && h('select', { id: 'which-order' },
    h('option', { value: '' }, t('refundBest')),
    paid.map((o) => h('option', { value: o.orderId },
      `${o.orderId} · ${o.amount} ${o.currency}`)));
  let outcome = null;
  await act({ title: t(`${name}Title`), confirm: t(`${name}Confirm`),
    text: t(`${name}Text`), danger: DANGER.has(name),
    more: [h('p', null, code(subscription)), choice && [
      h('label', { for: 'which-order' }, t('whichOrder')), choice]],
    run: async ({ reason }) => {
      const orderId = choice ? choice.value : '';
      const answer = await post(
        `/api/ops/subscriptions/${part(subscription)}/${name}`,
        { reason, ...(orderId ? { orderId } : {}) });
      const { order, status, message } = answer.data ?? {};
      outcome = order ? t('refundUnderWay', { order: order.orderId,
        amount: `${order.amount} ${order.currency}`, status: t.of(order.status) })
        : [answer.message ?? t('done'), status && t('nowIs',
          { status: t.of(status), message: message ?? '' })].filter(Boolean)
          .join(' · ');
      return outcome;
    } });
  return outcome;
}

export const settle = (callback) => act({ title: t('settleTitle'),
  text: t('settleText', { id: callback }), confirm: t('settle'),
  run: async ({ reason }) => {
    await post(`/api/ops/callbacks/${part(callback)}/settle`, { reason });
    return t('settled', { id: callback });
  } });

export const restartActor = (actor) => act({ title: t('restartTitle'),
  text: t('restartText'), confirm: t('restart'),
  more: h('p', null, code(actor)),
  run: async ({ reason }) => (await post(
    `/api/ops/actors/${part(actor)}/restart`, { reason })).message ?? t('done') });

/** The main switch. Before it goes on, what would leave is shown. */
export async function turnAutomation(enabled) {
  let pending = null;
  if (enabled) {
    try {
      ({ data: { pending } } = await get('/api/ops/automation'));
    } catch (error) {
      if (!('status' in error)) throw error;
      toast(error.message, 'bad');
      return false;
    }
  }
  const counts = pending === null ? [] : ['deployments', 'removals', 'orphans',
    'mails', 'refunds', 'closes', 'timers'].filter((name) => pending[name] > 0);
  return act({ title: t(enabled ? 'onTitle' : 'offTitle'),
    text: t(enabled ? 'onText' : 'offText'), danger: true,
    confirm: t(enabled ? 'onConfirm' : 'offConfirm'),
    more: enabled && (counts.length === 0 ? h('p', { class: 'dim' },
      t('nothingPending')) : h('ul', { class: 'pending' }, counts.map(
      (name) => h('li', null, h('b', null, number(pending[name])), ' ',
        t(`pending_${name}`))))),
    run: async ({ reason }) => {
      await put('/api/ops/automation', { enabled, reason });
      return t(enabled ? 'isOn' : 'isOff');
    } });
}

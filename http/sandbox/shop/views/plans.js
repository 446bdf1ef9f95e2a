import { el, show } from '../dom.js';
import { money, t } from '../i18n.js';
import { heading } from '../parts.js';

export async function plans(app, { root, signal }) {
  const all = await app.api.get('/api/plans', { signal });
  show(root,
    heading(t('plans.title'), t('plans.lead')),
    all.length === 0 && el('p', { class: 'card empty' }, t('plans.empty')),
    el('ul', { class: 'plans' }, all.map((plan) => el('li', { class: 'card plan' },
      el('h2', {}, plan.title),
      el('p', { class: 'price' }, money(plan.amount, plan.currency)),
      el('p', { class: 'dim' }, t('plans.days', { days: plan.periodDays })),
      el('a', { class: 'button main', href: `#/buy/${encodeURIComponent(plan.planType)}` },
        t('plans.choose', { title: plan.title }))))));
}

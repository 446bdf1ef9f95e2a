import { el, show } from '../dom.js';
import { money, t, time } from '../i18n.js';
import { badge, busy, heading } from '../parts.js';

function card(one) {
  const id = encodeURIComponent(one.subscriptionId);
  const unpaid = one.status === 'PENDING';
  return el('li', { class: 'card row' },
    el('div', {},
      el('h2', {}, one.planType, ' ', el('span', { class: 'dim' },
        money(one.amount, one.currency))),
      el('p', {}, badge('subscription', one.status), ' ',
        one.status === 'ACTIVE' && badge('status', one.deploymentStatus)),
      el('p', { class: 'dim small' }, one.endDate
        ? t('mine.until', { time: time(one.endDate) })
        : t('mine.created', { time: time(one.createdAt) })),
      el('p', { class: 'dim small' }, el('code', {}, one.subscriptionId))),
    el('a', { class: unpaid ? 'button main' : 'button',
      href: unpaid ? `#/pay/${id}` : `#/subscription/${id}` },
    t(unpaid ? 'mine.pay' : 'mine.open'),
    el('span', { class: 'spoken' }, ` ${one.planType} ${one.subscriptionId}`)));
}

export async function mine(app, { root, signal }) {
  if (!app.session.token) {
    app.signInFirst();
    return;
  }
  const list = el('ul', { class: 'list' });
  const end = el('div', {});
  const trouble = el('div', {});
  let cursor = null;
  const load = async () => {
    const page = await app.api.call(`/api/subscriptions?limit=20${
      cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`, { signal });
    cursor = page.nextCursor;
    list.append(...page.data.map(card));
    if (cursor) {
      const more = el('button', { type: 'button' }, t('more'));
      more.addEventListener('click', busy(more, trouble, load));
      show(end, more);
    } else {
      show(end);
    }
  };
  await load();
  show(root, heading(t('mine.title')),
    list.childElementCount === 0 ? el('div', { class: 'card empty' },
      el('p', {}, t('mine.empty')),
      el('a', { class: 'button main', href: '#/' }, t('mine.first'))) : list,
    trouble, end);
}

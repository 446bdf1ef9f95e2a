import { el, outside, show } from '../dom.js';
import { t, time } from '../i18n.js';
import { busy, heading } from '../parts.js';

export async function notices(app, { root, signal }) {
  if (!app.session.token) {
    app.signInFirst();
    return;
  }
  const list = el('ul', { class: 'list' });
  const trouble = el('div', {});
  const end = el('div', {});
  const unread = new Map();
  let cursor = null;

  const read = async (id) => {
    await app.api.post(`/api/notifications/${encodeURIComponent(id)}/read`, {});
    const { item, button } = unread.get(id);
    unread.delete(id);
    item.classList.remove('unread');
    item.querySelector('.badge').remove();
    button.remove();
    all.hidden = unread.size === 0;
  };
  const card = (one) => {
    const item = el('li', { class: one.readAt ? 'card' : 'card unread' },
      el('h2', {}, one.title, ' ', !one.readAt && el('span', { class: 'badge' },
        t('notices.unread'))),
      el('p', {}, one.message),
      one.data?.publicUrl && el('p', {}, outside(one.data.publicUrl, one.data.publicUrl)),
      el('p', { class: 'dim small' }, el('time', { datetime: one.createdAt },
        time(one.createdAt))));
    const actions = el('p', { class: 'actions' });
    if (one.data?.subscriptionId) {
      actions.append(el('a', { class: 'button',
        href: `#/subscription/${encodeURIComponent(one.data.subscriptionId)}` },
      t('notices.show')));
    }
    if (!one.readAt) {
      const button = el('button', { type: 'button', class: 'quiet' }, t('notices.read'));
      button.addEventListener('click', busy(button, trouble, async () => {
        await read(one.id);
        await app.refreshUnread();
      }));
      actions.append(button);
      unread.set(one.id, { item, button });
    }
    item.append(actions);
    return item;
  };
  const load = async () => {
    const page = await app.api.call(`/api/notifications?limit=20${
      cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`, { signal });
    cursor = page.nextCursor;
    list.append(...page.data.map(card));
    all.hidden = unread.size === 0;
    if (cursor) {
      const more = el('button', { type: 'button' }, t('more'));
      more.addEventListener('click', busy(more, trouble, load));
      show(end, more);
    } else {
      show(end);
    }
  };
  const all = el('button', { type: 'button', class: 'quiet', id: 'read-all' },
    t('notices.readAll'));
  all.addEventListener('click', busy(all, trouble, async () => {
    for (const id of [...unread.keys()]) await read(id);
    await app.refreshUnread();
  }));
  await load();
  show(root, heading(t('notices.title')), all,
    list.childElementCount === 0
      ? el('p', { class: 'card empty' }, t('notices.empty')) : list,
    trouble, end);
}

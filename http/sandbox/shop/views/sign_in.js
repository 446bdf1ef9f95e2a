import { el, outside, show } from '../dom.js';
import { t } from '../i18n.js';
import { busy, field, heading } from '../parts.js';

export async function signIn(app, { root, after, expired }) {
  const { sandbox } = app.session;
  const trouble = el('div', {});
  const done = () => app.go(after ?? '#/');
  const user = field(t('sign.user'), el('input', { value: sandbox?.visitor.userId ?? '',
    autocomplete: 'username', maxlength: 64, required: true }));
  const email = field(t('sign.email'), el('input', { type: 'email',
    value: sandbox?.visitor.email ?? '', autocomplete: 'email', maxlength: 254 }),
  { hint: t('sign.email.hint') });
  const go = el('button', { type: 'submit', class: 'main', id: 'sign-in' }, t('sign.go'));
  const enter = busy(go, trouble, async () => {
    await app.session.signIn({ userId: user.input.value.trim(),
      email: email.input.value.trim() });
    done();
  });
  const token = field(t('sign.token.label'), el('textarea', { rows: 4, spellcheck: 'false',
    autocomplete: 'off', value: sandbox?.token ?? '' }));
  const byToken = el('form', { on: { submit: (event) => {
    event.preventDefault();
    token.complain();
    if (app.session.useToken(token.input.value.trim())) done();
    else token.complain(t('sign.token.bad'));
  } } }, token.box, el('button', { type: 'submit' }, t('sign.token.go')));
  show(root, heading(t('sign.title'), sandbox ? t('sign.lead') : t('sign.token.none')),
    expired && el('p', { class: 'card failure', role: 'alert' }, t('sign.expired')),
    sandbox && el('form', { class: 'card', on: { submit: (event) => {
      event.preventDefault();
      enter();
    } } }, user.box, email.box, trouble,
    el('p', { class: 'actions' }, go, outside(sandbox.links.mailbox, t('sandbox.mailbox')))),
    el('details', { class: 'card', open: !sandbox }, el('summary', {}, t('sign.token')),
      byToken));
}

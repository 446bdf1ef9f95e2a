// The channel credentials, and the subscription made of them.

import { el, newId, show } from '../dom.js';
import { money, t } from '../i18n.js';
import { busy, button, failure, field, heading } from '../parts.js';

const TYPE = /^[A-Za-z0-9_.-]{1,64}$/;

/** The name that the best-known channels give their secret. */
const NAMES = { TELEGRAM: 'botToken', DISCORD: 'botToken', SLACK: 'botToken',
  WHATSAPP: 'accessToken', FEISHU: 'appSecret', WECOM: 'secret' };

function secret(attributes) {
  return el('input', { autocomplete: 'off', spellcheck: 'false', autocapitalize: 'off',
    ...attributes });
}

/** One name and one value. */
function pair(number, remove, suggested = '') {
  const name = field(t('buy.field.name'), secret({ value: suggested, maxlength: 128 }));
  const value = field(t('buy.field.value'), secret({ maxlength: 8192 }));
  const box = el('div', { class: 'pair' }, name.box, value.box,
    button('×', () => remove(), { class: 'remove',
      'aria-label': t('buy.field.remove', { number }) }));
  return { name, value, box };
}

/** One channel: its type, and fields or JSON. */
function channel(number, removed, type = '') {
  const list = newId('types');
  const pairs = [];
  const fields = el('div', { class: 'pairs' });
  const add = (suggested) => {
    const one = pair(pairs.length + 1, () => {
      pairs.splice(pairs.indexOf(one), 1);
      one.box.remove();
    }, suggested);
    pairs.push(one);
    fields.append(one.box);
    return one;
  };
  const kind = field(t('buy.type'), secret({ list, value: type, maxlength: 64,
    on: { change: () => {
      const suggested = NAMES[kind.input.value.trim().toUpperCase()];
      const [first] = pairs;
      if (suggested && first && !first.value.input.value) first.name.input.value = suggested;
    } } }), { hint: t('buy.type.hint') });
  const json = field(t('buy.json'), el('textarea', { rows: 4, spellcheck: 'false',
    autocomplete: 'off', autocapitalize: 'off', placeholder: '{"botToken": "123456:ABC"}' }));
  add(NAMES[type]);
  const asFields = el('div', {}, fields,
    button(t('buy.field.add'), () => add().name.input.focus(), { class: 'quiet' }));
  const asJson = el('div', { hidden: true }, json.box);
  const group = newId('form');
  let isJson = false;
  const choose = (to) => () => {
    isJson = to;
    asFields.hidden = to;
    asJson.hidden = !to;
  };
  const radio = (text, to) => el('label', { class: 'segment' },
    el('input', { type: 'radio', name: group, checked: to === isJson,
      on: { change: choose(to) } }), el('span', {}, text));
  const box = el('fieldset', { class: 'card channel' },
    el('legend', {}, t('buy.channel', { number })),
    el('datalist', { id: list }, Object.keys(NAMES).map((x) => el('option', { value: x }))),
    kind.box,
    el('div', { class: 'segments', role: 'radiogroup', 'aria-label': t('buy.form') },
      radio(t('buy.as.fields'), false), radio(t('buy.as.json'), true)),
    asFields, asJson,
    button(t('buy.remove', { number }), () => { box.remove(); removed(); }, { class: 'quiet' }));

  /** [type, value]; undefined when nothing was filled in; throws an input to see to. */
  const read = (taken) => {
    const filled = pairs.filter((x) => x.value.input.value !== '');
    for (const x of pairs) x.name.complain();
    kind.complain();
    json.complain();
    const name = kind.input.value.trim();
    const text = json.input.value.trim();
    if (isJson ? text === '' && name === '' : filled.length === 0) return undefined;
    const refuse = (where, words) => {
      where.complain(words);
      throw where;
    };
    if (!TYPE.test(name)) refuse(kind, t('buy.bad.type'));
    if (taken.has(name)) refuse(kind, t('buy.bad.twice'));
    if (isJson) {
      if (text === '') refuse(json, t('buy.bad.empty'));
      try {
        return [name, JSON.parse(text)];
      } catch (error) {
        return refuse(json, t('buy.bad.json', { why: error.message }));
      }
    }
    for (const x of filled) {
      if (x.name.input.value.trim() === '') refuse(x.name, t('buy.bad.name'));
    }
    return [name, Object.fromEntries(filled.map(
      (x) => [x.name.input.value.trim(), x.value.input.value]))];
  };
  return { box, read };
}

export async function buy(app, { root, signal, params: [planType] }) {
  const all = await app.api.get('/api/plans', { signal });
  const plan = all.find((x) => x.planType === planType);
  if (!plan) {
    show(root, heading(t('buy.title')), failure({ code: 'unknown_plan' },
      () => app.go('#/')));
    return;
  }
  if (!app.session.token) {
    app.signInFirst();
    return;
  }
  const channels = [];
  const list = el('div', {});
  let made = 0;
  const add = (type) => {
    const one = channel(made += 1, () => channels.splice(channels.indexOf(one), 1), type);
    channels.push(one);
    list.append(one.box);
    return one;
  };
  add('TELEGRAM');
  const trouble = el('div', {});
  const submit = el('button', { type: 'submit', class: 'main' }, t('buy.go'));
  const order = busy(submit, trouble, async () => {
    const credentials = new Map();
    try {
      for (const one of channels) {
        const entry = one.read(credentials);
        if (entry) credentials.set(...entry);
      }
    } catch (where) {
      if (where instanceof Error) throw where;
      where.input.focus();
      return;
    }
    const { subscriptionId } = await app.api.post('/api/subscriptions', { planType,
      ...(credentials.size ? { channelCredentials: Object.fromEntries(credentials) } : {}) });
    app.go(`#/pay/${subscriptionId}`);
  });
  show(root,
    heading(t('buy.title'), t('buy.plan', { title: plan.title,
      amount: money(plan.amount, plan.currency), days: plan.periodDays })),
    el('p', {}, t('buy.lead')),
    el('form', { novalidate: true, on: { submit: (event) => {
      event.preventDefault();
      order();
    } } },
    list,
    button(t('buy.add'), () => add().box.querySelector('input').focus(), { class: 'quiet' }),
    trouble,
    el('p', { class: 'actions' }, submit,
      el('a', { class: 'button', href: '#/' }, t('back')))));
}

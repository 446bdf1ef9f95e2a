// What several pages are made of.

import { el, newId } from './dom.js';
import { named, reason, t } from './i18n.js';

export function heading(text, lead) {
  return [el('h1', { tabindex: '-1' }, text), lead && el('p', { class: 'lead' }, lead)];
}

export function button(text, run, attributes = {}) {
  return el('button', { type: 'button', ...attributes,
    on: run ? { click: run } : {} }, text);
}

/** Stands where something is about to be. */
export function loading() {
  return el('p', { class: 'loading', role: 'status' }, t('loading'));
}

/** What went wrong, with a way to try again. */
export function failure(error, again) {
  return el('div', { class: 'card failure', role: 'alert' },
    el('h2', {}, t('error.title')),
    el('p', {}, reason(error)),
    error.requestId && el('p', { class: 'dim small' }, t('error.request', { id: error.requestId })),
    again && el('p', {}, button(t('again'), again)));
}

export function badge(group, name) {
  return el('span', { class: `badge ${group}-${name}` }, named(group, name));
}

/**
 * A labelled input with room for what is wrong with it.
 *
 * @returns {{box, input, complain}}; `complain()` without words takes them back
 */
export function field(label, input, { hint } = {}) {
  const id = newId('field');
  input.id = id;
  const wrong = el('p', { class: 'wrong', id: `${id}-wrong`, role: 'alert' });
  const help = hint && el('p', { class: 'dim small', id: `${id}-hint` }, hint);
  const describe = () => {
    const by = [help && `${id}-hint`, wrong.textContent && `${id}-wrong`].filter(Boolean);
    if (by.length) input.setAttribute('aria-describedby', by.join(' '));
    else input.removeAttribute('aria-describedby');
  };
  describe();
  return {
    input,
    box: el('div', { class: 'field' }, el('label', { for: id }, label), input, help, wrong),
    complain(text = '') {
      wrong.textContent = text;
      input.setAttribute('aria-invalid', String(text !== ''));
      describe();
    },
  };
}

/** Runs what a button stands for, once at a time, and says what went wrong. */
export function busy(element, where, run) {
  return async () => {
    if (element.getAttribute('aria-disabled') === 'true') return;
    element.setAttribute('aria-disabled', 'true');
    where.replaceChildren();
    try {
      await run();
    } catch (error) {
      if (error.name !== 'AbortError') where.replaceChildren(failure(error));
    } finally {
      element.removeAttribute('aria-disabled');
    }
  };
}

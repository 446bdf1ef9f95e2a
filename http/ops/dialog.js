// Dialogs. The browser keeps the focus inside, closes them on Escape and gives
// the focus back.

import { mayAct, role } from './api.js';
import { h, icon, problem, toast } from './dom.js';
import { t } from './words.js';

const REASON_BYTES_MAX = 500;

let serial = 0;

/** Shows a dialog; resolves when it is closed. */
export function show(title, content, { wide = false } = {}) {
  serial += 1;
  const opener = document.activeElement;
  const key = opener?.dataset?.key;
  const name = `dialog-${serial}`;
  const dialog = h('dialog', { 'aria-labelledby': name,
    class: wide ? 'wide' : undefined },
  h('header', null, h('h2', { id: name }, title),
    h('button', { type: 'button', class: 'ghost small',
      'aria-label': t('close'), onclick: () => dialog.close() },
    icon('close'))));
  dialog.append(content(dialog));
  document.body.append(dialog);
  dialog.showModal();
  dialog.querySelector('[autofocus]')?.focus();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => {
      dialog.remove();
      // The list behind it may have been drawn anew meanwhile.
      if (!opener?.isConnected && key !== undefined) {
        document.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus();
      }
      resolve();
    }, { once: true });
  });
}

/**
 * Asks for a reason, and does it; what goes wrong is shown in the dialog, which
 * stays.
 *
 * @param what.title, what.text, what.confirm words
 * @param what.danger whether it cannot be undone
 * @param what.reason whether one is needed (true), or may be given ('optional')
 * @param what.more elements between text and reason
 * @param what.run ({reason}) => message, or throws ApiError
 * @returns whether it was done
 */
export async function act({ title, text, confirm, danger = false, reason = true,
                            more, run }) {
  if (!mayAct()) {
    toast(t('viewerMayNot'), 'bad');
    return false;
  }
  let done = false;
  await show(title, (dialog) => {
    const input = h('input', { id: 'reason', name: 'reason', type: 'text',
      autocomplete: 'off', autofocus: true, required: reason === true,
      'aria-describedby': 'reason-hint' });
    const hint = h('p', { id: 'reason-hint', class: 'dim' }, t('reasonHint'));
    const wrong = h('div');
    const button = h('button', { type: 'submit',
      class: danger ? 'danger' : 'primary',
      autofocus: reason ? undefined : true }, confirm);
    const cancel = h('button', { type: 'button',
      onclick: () => dialog.close() }, t('back'));
    return h('form', { novalidate: true, onsubmit: async (event) => {
      event.preventDefault();
      if (button.getAttribute('aria-disabled') === 'true') return;
      const said = input.value.trim();
      const bytes = new TextEncoder().encode(said).length;
      const complaint = reason === true && bytes === 0 ? t('reasonNeeded')
        : bytes > REASON_BYTES_MAX ? t('reasonTooLong') : null;
      if (complaint !== null) {
        wrong.replaceChildren(h('p', { class: 'complaint', role: 'alert' },
          complaint));
        input.setAttribute('aria-invalid', 'true');
        input.focus();
        return;
      }
      button.setAttribute('aria-disabled', 'true');
      button.textContent = t('working');
      wrong.replaceChildren();
      try {
        const message = await run({ reason: said });
        done = true;
        dialog.close();
        toast(message);
      } catch (error) {
        if (error.name !== 'ApiError' && !('status' in error)) throw error;
        if (!dialog.isConnected) toast(error.message, 'bad');
        else wrong.replaceChildren(problem(error));
      } finally {
        button.setAttribute('aria-disabled', 'false');
        button.textContent = confirm;
      }
    } },
    h('p', null, text), more,
    reason && [h('label', { for: 'reason' }, reason === true ? t('reason')
      : t('reasonOptional')), input, hint],
    wrong,
    h('footer', null, cancel, button));
  });
  return done;
}

/** A button for something that a viewer may not do: it says so. */
export function actButton(label, onclick, { class: kind, key, label: aria } = {}) {
  const off = !mayAct();
  return h('button', { type: 'button', class: kind, 'data-key': key,
    'aria-label': aria, 'aria-disabled': off ? 'true' : undefined,
    title: off ? t('viewerMayNot') : undefined,
    onclick: off ? () => toast(t('viewerMayNot'), 'bad') : onclick }, label);
}

export const viewerNote = () => !mayAct() && h('p', { class: 'note' },
  t('viewerNote', { role: role() }));

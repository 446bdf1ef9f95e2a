// Elements. Whatever comes from outside is text here and stays text: there is no
// way to hand in markup, and the page's policy would refuse it (Trusted Types).

import { t } from './i18n.js';

const SVG = 'http://www.w3.org/2000/svg';

/** What may be an attribute's value without being one that acts. */
const forbidden = /^on|^style$|^srcdoc$/i;

function build(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === 'on') {
      for (const [event, run] of Object.entries(value)) {
        element.addEventListener(event, run);
      }
    } else if (name === 'value' && 'value' in element) {
      element.value = value;
    } else if (forbidden.test(name)) {
      throw new Error(`${name} is not for el()`);
    } else {
      element.setAttribute(name, value === true ? '' : String(value));
    }
  }
  element.append(...children.flat(Infinity).filter(
    (x) => x !== undefined && x !== null && x !== false));
  return element;
}

/**
 * @param attributes by name; `on` holds listeners by event
 * @param children elements and texts; undefined, null and false are left out
 */
export function el(tag, attributes = {}, ...children) {
  return build(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return build(document.createElementNS(SVG, tag), attributes, children);
}

/** Shows these instead of what is there. */
export function show(into, ...children) {
  into.replaceChildren(...children.flat(Infinity).filter(
    (x) => x !== undefined && x !== null && x !== false));
}

/** Changes a text without touching it when it is the same: screen readers. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** The address when a browser may go there from a link, else undefined. */
export function webAddress(text) {
  try {
    const url = new URL(text);
    return ['http:', 'https:'].includes(url.protocol) ? url.href : undefined;
  } catch {
    return undefined;
  }
}

/** A link to somebody else's page, or the bare text when it is no address. */
export function outside(address, text, attributes = {}) {
  const href = webAddress(address);
  if (!href) return el('span', {}, text);
  return el('a', { ...attributes, href, target: '_blank',
    rel: 'noopener noreferrer' }, text,
  el('span', { class: 'spoken' }, ` ${t('new.tab')}`));
}

let ids = 0;

export const newId = (stem) => `${stem}-${ids += 1}`;

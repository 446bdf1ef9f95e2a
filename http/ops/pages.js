// Lists in pages: forwards by the server's cursor, backwards by memory.

import { get, withQuery } from './api.js';
import { fill, h, problem, skeleton } from './dom.js';
import { t } from './words.js';

/**
 * @param where element to draw into
 * @param path of the list
 * @param draw (rows) => elements
 * @returns load(filters): starts over with these
 */
export function paged(where, path, draw, { signal, limit = 50 } = {}) {
  let filters = {};
  let cursors = [''];
  let turn = 0;

  async function load({ quiet = false } = {}) {
    turn += 1;
    const mine = turn;
    if (!quiet) fill(where, skeleton());
    try {
      const { data, nextCursor } = await get(withQuery(path, { ...filters,
        limit, cursor: cursors.at(-1) }), signal);
      if (mine !== turn) return;
      const go = (to) => {
        cursors = to;
        return load();
      };
      fill(where, draw(data), (cursors.length > 1 || nextCursor !== null)
        && h('nav', { class: 'pager', 'aria-label': t('pages') },
          h('button', { type: 'button', 'data-key': 'previous',
            disabled: cursors.length === 1,
            onclick: () => go(cursors.slice(0, -1)) }, t('previous')),
          h('span', { class: 'dim' }, t('page', { n: cursors.length })),
          h('button', { type: 'button', 'data-key': 'next',
            disabled: nextCursor === null,
            onclick: () => go([...cursors, nextCursor]) }, t('next'))));
      where.dispatchEvent(new CustomEvent('loaded'));
    } catch (error) {
      if (signal.aborted || mine !== turn) return;
      if (!('status' in error)) throw error;
      fill(where, problem(error, () => load()));
    }
  }

  return {
    load: (wanted) => {
      filters = wanted;
      cursors = [''];
      return load();
    },
    again: () => load({ quiet: true }),
  };
}

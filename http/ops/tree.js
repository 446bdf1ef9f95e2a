// The supervision tree, live: who runs, who was started again, and why.

import { get, repeat, withQuery } from './api.js';
import { restartActor } from './acts.js';
import { actButton, viewerNote } from './dialog.js';
import { chip, clock, code, empty, facts, fill, fillWith, h, icon, link, number,
  panel, problem, skeleton, when } from './dom.js';
import { t } from './words.js';

const EVERY_MS = 2_000;
const PAGE = 500;
/** Supervisors beyond so many are counted, not drawn. */
const PAGES_MAX = 2;
const SUPERVISOR = 'supervisor:';

export function tree(main, _, signal) {
  const list = h('ul', { role: 'tree', 'aria-label': t('tree'), class: 'tree' });
  const holder = h('div', null, skeleton(8));
  const detail = h('div');
  const note = h('p', { class: 'dim', role: 'status' });
  const troubled = h('input', { type: 'checkbox', id: 'troubled' });
  const closed = new Set();
  const opened = new Set();
  let rows = [];
  let chosen = null;
  let more = false;

  /** Groups of parts are open, the many supervisors are not. */
  const isOpen = (row, children) => opened.has(row.id)
    || (!closed.has(row.id) && !(children.length > 12
      && children[0].id.startsWith(SUPERVISOR)));

  /** The line of an actor, and those of what is open below it: a flat list,
      in which each line says how deep it is. */
  function lines(row, below, level) {
    const children = below.get(row.id) ?? [];
    const open = children.length > 0 && isOpen(row, children);
    return [h('li', { role: 'treeitem', 'data-id': row.id,
      'data-key': `actor ${row.id}`, 'aria-level': level,
      'aria-expanded': children.length > 0 ? String(open) : undefined,
      'aria-selected': String(row.id === chosen),
      tabindex: row.id === chosen ? '0' : '-1' },
    h('div', { class: 'node' },
      h('span', { class: 'twist', 'aria-hidden': 'true' },
        children.length > 0 && icon('down')),
      h('span', { class: 'name' }, h('code', null, row.id),
        children.length > 0 && !open && h('span', { class: 'dim' },
          ` ${number(children.length)}`)),
      h('span', { class: 'condition' }, chip(row.state)),
      h('span', { class: `measure${row.mailboxDepth > 100 ? ' warn' : ''}`,
        title: t('mailboxDepth') }, number(row.mailboxDepth),
      h('span', { class: 'visually-hidden' }, ` ${t('mailboxDepth')}`)),
      h('span', { class: `measure${row.restarts > 0 ? ' warn' : ''}`,
        title: t('restarts') }, number(row.restarts),
      h('span', { class: 'visually-hidden' }, ` ${t('restarts')}`)),
      h('span', { class: 'last dim' }, row.lastFailure ?? ''))),
    ...(open ? children.flatMap((child) => lines(child, below, level + 1)) : [])];
  }

  function draw() {
    const ids = new Set(rows.map((x) => x.id));
    const below = new Map();
    const roots = [];
    for (const row of rows) {
      // Where only those in trouble are shown, their parents may be missing.
      if (row.parent !== null && ids.has(row.parent)) {
        if (!below.has(row.parent)) below.set(row.parent, []);
        below.get(row.parent).push(row);
      } else {
        roots.push(row);
      }
    }
    if (!ids.has(chosen)) chosen = roots[0]?.id ?? null;
    const mark = [rows, chosen, [...closed], [...opened]];
    if (rows.length === 0) {
      fillWith(holder, mark, () => empty(t('noTrouble'), t('noTroubleText')));
    } else {
      if (!list.isConnected) {
        holder.shownMark = undefined;
        fill(holder, h('div', { class: 'tree-head dim', 'aria-hidden': 'true' },
          h('span', { class: 'twist' }), h('span', { class: 'name' }, t('actor')),
          h('span', { class: 'condition' }, t('state')),
          h('span', { class: 'measure' }, t('mailbox')),
          h('span', { class: 'measure' }, t('restarts')),
          h('span', { class: 'last' }, t('lastFailure'))), list);
      }
      fillWith(list, mark, () => roots.flatMap((row) => lines(row, below, 1)));
    }
    const row = rows.find((x) => x.id === chosen);
    fillWith(detail, row ?? null, () => (row ? about(row) : empty(t('nothing'))));
    note.textContent = more ? t('treeCut', { n: number(rows.length) })
      : t('actorsCount', { n: number(rows.length) });
  }

  function about(row) {
    const supervised = row.id.startsWith(SUPERVISOR)
      ? row.id.slice(SUPERVISOR.length) : null;
    return [
      h('p', { class: 'strong' }, code(row.id)),
      facts([
        [t('kind'), row.kind], [t('parent'), row.parent && code(row.parent)],
        [t('state'), chip(row.state)],
        [t('mailboxDepth'), number(row.mailboxDepth)],
        [t('restarts'), number(row.restarts)],
        [t('lastFailure'), row.lastFailure && h('span', { class: 'reason' },
          row.lastFailure)],
        [t('at'), row.lastFailureAt && [when(row.lastFailureAt)]],
        supervised && [t('subscription'), link(`subscriptions/${
          encodeURIComponent(supervised)}`, code(supervised),
        { 'data-key': 'its subscription' })]]),
      supervised ? h('div', { class: 'buttons' }, actButton(t('restart'),
        async () => {
          if (await restartActor(row.id)) look();
        }, { class: 'primary', key: 'restart actor' }))
        : h('p', { class: 'note' }, t('onlySupervisors'))];
  }

  function choose(id, { focus = false } = {}) {
    chosen = id;
    draw();
    if (focus) {
      list.querySelector(`[data-id="${CSS.escape(id)}"]`)?.focus();
    }
  }

  const fold = (id, open) => {
    (open ? opened : closed).add(id);
    (open ? closed : opened).delete(id);
    draw();
  };

  list.addEventListener('click', (event) => {
    const item = event.target.closest('[role=treeitem]');
    if (item === null) return;
    const { id } = item.dataset;
    if (event.target.closest('.twist') && item.hasAttribute('aria-expanded')) {
      fold(id, item.getAttribute('aria-expanded') !== 'true');
    }
    choose(id, { focus: true });
  });

  list.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const item = event.target.closest('[role=treeitem]');
    if (item === null) return;
    const all = [...list.querySelectorAll('[role=treeitem]')];
    const at = all.indexOf(item);
    const expanded = item.getAttribute('aria-expanded');
    const depth = (x) => Number(x.getAttribute('aria-level'));
    const to = (x) => x && choose(x.dataset.id, { focus: true });
    const does = {
      ArrowDown: () => to(all[at + 1]),
      ArrowUp: () => to(all[at - 1]),
      Home: () => to(all[0]),
      End: () => to(all.at(-1)),
      ArrowRight: () => (expanded === 'false' ? fold(item.dataset.id, true)
        : expanded === 'true' && to(all[at + 1])),
      ArrowLeft: () => (expanded === 'true' ? fold(item.dataset.id, false)
        : to(all.slice(0, at).reverse().find((x) => depth(x) < depth(item)))),
      Enter: () => (expanded === null
        ? detail.querySelector('button, a')?.focus()
        : fold(item.dataset.id, expanded !== 'true')),
      ' ': () => choose(item.dataset.id, { focus: true }),
    }[event.key];
    if (does === undefined) return;
    event.preventDefault();
    does();
  });

  const look = repeat(EVERY_MS, signal, async () => {
    const found = [];
    let cursor = '';
    for (let page = 0; page < PAGES_MAX && cursor !== null; page += 1) {
      const answer = await get(withQuery('/api/ops/actors', { limit: PAGE,
        cursor, state: troubled.checked ? 'troubled' : '' }), signal);
      found.push(...answer.data);
      cursor = answer.nextCursor;
    }
    rows = found;
    more = cursor !== null;
    draw();
  }, (error) => {
    holder.shownMark = undefined;
    fill(holder, problem(error, () => look()));
    return false;
  });
  troubled.addEventListener('change', () => look());

  fill(main, h('h1', null, t('tree')), h('p', { class: 'lead' }, t('treeLead')),
    viewerNote(),
    h('div', { class: 'filters inline' }, h('label', { class: 'check' }, troubled,
      ' ', t('onlyTroubled')), note),
    h('div', { class: 'columns tree-view' },
      h('section', { class: 'panel', 'aria-label': t('tree') }, holder),
      panel(t('chosenActor'), { class: 'sticky' }, detail)));
  return t('tree');
}

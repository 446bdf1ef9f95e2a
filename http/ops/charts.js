// Small charts, drawn by hand: they tell a course, the number beside them the
// value.

import { h, number, svg, toneOf } from './dom.js';
import { t } from './words.js';

const WIDTH = 200;
const HEIGHT = 44;

/**
 * A line over time. Gaps (null) stay gaps.
 *
 * @param points numbers or null, oldest first
 * @param options.label what it shows, for those who do not see it
 * @param options.show how a value is written
 * @param options.max the top of the scale where it is known
 */
export function sparkline(points, { label, show = number, max } = {}) {
  const seen = points.filter((x) => x !== null && x !== undefined);
  if (seen.length < 2) {
    return h('p', { class: 'spark none' }, t('collecting'));
  }
  const top = max ?? (Math.max(...seen) || 1);
  const step = WIDTH / (points.length - 1);
  const y = (x) => HEIGHT - 2 - (x / top) * (HEIGHT - 6);
  const runs = [];
  let run = [];
  points.forEach((x, i) => {
    if (x === null || x === undefined) {
      if (run.length > 1) runs.push(run);
      run = [];
    } else {
      run.push(`${(i * step).toFixed(1)} ${y(x).toFixed(1)}`);
    }
  });
  if (run.length > 1) runs.push(run);
  const text = t('chart', { label, from: show(Math.min(...seen)),
    to: show(Math.max(...seen)), now: show(seen.at(-1)) });
  return svg('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: 'spark',
    preserveAspectRatio: 'none', role: 'img', 'aria-label': text },
  svg('title', null, text),
  runs.map((one) => {
    const left = one[0].split(' ')[0];
    const right = one.at(-1).split(' ')[0];
    return [svg('path', { class: 'area',
      d: `M${left} ${HEIGHT} L${one.join(' L')} L${right} ${HEIGHT}Z` }),
    svg('path', { class: 'line', d: `M${one.join(' L')}` })];
  }));
}

/** How many of how many, as one bar per state: [[state, count, to], …] */
export function bars(rows, label, line) {
  const most = Math.max(1, ...rows.map(([, count]) => count));
  return h('ul', { class: 'bars', 'aria-label': label }, rows.map(
    ([state, count]) => h('li', null, line(state, count),
      svg('svg', { class: `bar ${toneOf(state)}`, viewBox: '0 0 100 6',
        preserveAspectRatio: 'none', 'aria-hidden': 'true' },
      svg('rect', { class: 'track', width: 100, height: 6 }),
      svg('rect', { width: (count / most) * 100, height: 6 })),
      h('span', { class: 'count' }, number(count)))));
}

/** Slots: so many taken of so many. */
export function slots(taken, all) {
  const cells = Math.min(all, 40);
  const filled = all === 0 ? 0 : Math.round((Math.min(taken, all) / all) * cells);
  return svg('svg', { class: 'slots', viewBox: `0 0 ${Math.max(cells, 1) * 10} 10`,
    preserveAspectRatio: 'none', role: 'img',
    'aria-label': t('slotsTaken', { taken: number(taken), all: number(all) }) },
  Array.from({ length: cells }, (_, i) => svg('rect', { x: i * 10 + 0.75,
    width: 8.5, height: 10, class: i < filled ? 'taken' : 'free' })));
}

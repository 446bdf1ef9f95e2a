// A subscription's instance: how far it is, what is said on the way, where it is.

import { ApiError } from '../api.js';
import { el, outside, setText, show } from '../dom.js';
import { has, named, t, time } from '../i18n.js';
import { followDeployment, followLogs } from '../live.js';
import { badge, busy, button, failure, heading } from '../parts.js';

const STEPS = ['paid', 'queued', 'creating', 'configuring', 'deploying', 'running'];

const SOURCES = ['all', 'build', 'deploy', 'event'];

/** So many lines stay on the page. */
const LINES_MAX = 1_000;

const under = new Set(['creating', 'configuring', 'deploying']);

/** Whether the deployment waits, works or is being taken away. */
const isUnderWay = (x) => under.has(x.status) || (x.status === 'pending' && x.attempt > 0);

function stepOf(status) {
  if (status.status === 'pending') return 1;
  return Math.max(0, STEPS.indexOf(status.status));
}

/** The state in one word, for the heading. */
function titleOf(subscription, status) {
  if (subscription.status === 'PENDING') return 'live.title.unpaid';
  if (status.status === 'stopped' && !status.completedAt) return 'live.title.stopping';
  if (has(`live.title.${status.status}`)) return `live.title.${status.status}`;
  return 'live.title.waiting';
}

function steps() {
  const marks = STEPS.map(() => el('span', { class: 'spoken' }));
  const items = STEPS.map((name, i) => el('li', {}, el('span', {}, t(`live.step.${name}`)),
    marks[i]));
  const update = (status) => {
    const now = stepOf(status);
    const over = status.status === 'running';
    const broken = status.status === 'failed' || status.status === 'stopped';
    items.forEach((item, i) => {
      const done = over ? i <= now : !broken && i < now;
      const current = !over && !broken && i === now;
      item.className = done || (broken && i === 0) ? 'done' : current ? 'current' : '';
      if (current) item.setAttribute('aria-current', 'step');
      else item.removeAttribute('aria-current');
      setText(marks[i], done ? t('live.done') : current ? t('live.current') : '');
    });
  };
  return { box: el('ol', { class: 'steps' }, items), update };
}

/** The log, the newest line at the end and in sight unless somebody reads above. */
function logBox() {
  const list = el('ol', { class: 'lines' });
  const empty = el('p', { class: 'dim empty' }, t('live.logs.empty'));
  const cut = el('p', { class: 'dim small', hidden: true }, t('live.logs.cut', { count: LINES_MAX }));
  const scroll = el('div', { class: 'log', tabindex: '0', role: 'log', 'aria-live': 'off',
    'aria-label': t('live.logs') }, empty, list);
  const choice = el('select', { id: 'log-source', on: { change: () => {
    list.dataset.only = choice.value;
    scroll.scrollTop = scroll.scrollHeight;
  } } }, SOURCES.map((x) => el('option', { value: x }, t(`live.logs.${x}`))));
  list.dataset.only = 'all';
  const add = (line) => {
    empty.hidden = true;
    const atEnd = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 40;
    const level = String(line.level).toLowerCase();
    const source = SOURCES.includes(line.source) ? line.source : 'event';
    const item = el('li', { class: `from-${source} level-${/^[a-z]+$/.test(level) ? level : 'info'}` },
      el('time', { datetime: line.timestamp }, String(line.timestamp).slice(11, 19)),
      ' ', el('span', { class: 'source' }, named('live.logs', source)),
      ' ', el('span', { class: 'said' }, line.message));
    list.append(item);
    if (list.childElementCount > LINES_MAX) {
      list.firstElementChild.remove();
      cut.hidden = false;
    }
    if (atEnd) scroll.scrollTop = scroll.scrollHeight;
  };
  return { add, box: el('section', { class: 'card' },
    el('div', { class: 'log-head' }, el('h2', {}, t('live.logs')),
      el('label', { for: 'log-source' }, t('live.logs.which')), choice), cut, scroll) };
}

export async function live(app, { root, signal, params: [id] }) {
  if (!app.session.token) {
    app.signInFirst();
    return;
  }
  const path = `/api/subscriptions/${encodeURIComponent(id)}`;
  let subscription = await app.api.get(path, { signal });

  const title = heading(t('live.title'));
  const mode = el('span', { class: 'mode' }, t('live.mode.connecting'));
  const percent = el('span', { class: 'percent' });
  const bar = el('progress', { max: 100, value: 0, 'aria-label': t('live.progress') });
  const facts = el('p', { class: 'dim small facts' });
  const way = steps();
  const outcome = el('div', { class: 'outcome' });
  const trouble = el('div', {});
  const actions = el('div', { class: 'actions' });
  const log = logBox();
  show(root, title,
    el('p', { class: 'lead' }, el('code', {}, id), ' ', badge('subscription', subscription.status)),
    el('section', { class: 'card progress', id: 'progress' },
      el('p', { class: 'progress-head' }, percent, mode),
      bar, facts, way.box, outcome, trouble, actions),
    log.box);

  const act = (text, send, attributes) => {
    const one = button(text, undefined, attributes);
    one.addEventListener('click', busy(one, trouble, async () => {
      await send();
    }));
    return one;
  };
  const retry = () => act(t('live.retry'), async () => {
    await app.api.post('/api/deployment/retry', { subscriptionId: id });
  }, { class: 'main', id: 'retry' });
  const cancel = () => button(t('live.cancel'), () => {
    const yes = act(t('live.cancel.yes'), async () => {
      await app.api.delete('/api/deployment/cancel', { subscriptionId: id });
    }, { class: 'danger', id: 'cancel-yes' });
    const no = button(t('live.cancel.no'), () => {
      actionsOf = undefined;
      draw();
      actions.querySelector('button')?.focus();
    });
    show(actions, el('div', { class: 'sure', role: 'group', 'aria-label': t('live.cancel.sure') },
      el('p', {}, t('live.cancel.sure')), yes, ' ', no));
    no.focus();
  }, { id: 'cancel' });

  let last;
  // What the outcome and the buttons are about: made anew when that changes, so that
  // nobody loses a question that is open, or the focus.
  let outcomeOf;
  let actionsOf;
  let said;
  const draw = () => {
    const status = last;
    const unpaid = subscription.status === 'PENDING';
    const heads = titleOf(subscription, status);
    setText(title[0], t(heads));
    app.title(t(heads));
    setText(percent, t('live.percent', { percent: status.progress }));
    bar.value = status.progress;
    const parts = [];
    if (typeof status.queuePosition === 'number') {
      parts.push(t('live.queue', { position: status.queuePosition }));
    }
    if (status.attempt > 0) parts.push(t('live.attempt', { attempt: status.attempt }));
    if (status.startedAt) parts.push(t('live.started', { time: time(status.startedAt) }));
    if (status.completedAt) parts.push(t('live.completed', { time: time(status.completedAt) }));
    if (status.health && status.health !== 'healthy') {
      parts.push(t('live.health', { health: named('health', status.health) }));
    }
    setText(facts, parts.join(' · '));
    way.update(unpaid ? { status: 'unpaid' } : status);

    const over = status.status === 'failed'
      || (status.status === 'stopped' && status.completedAt);
    let able = isUnderWay(status) ? 'cancel' : 'nothing';
    if (unpaid) able = 'pay';
    else if (over && subscription.status === 'ACTIVE') able = 'retry';
    if (able !== actionsOf) {
      actionsOf = able;
      show(trouble);
      show(actions, able === 'retry' && retry(), able === 'cancel' && cancel(),
        able === 'pay' && el('a', { class: 'button main', id: 'pay',
          href: `#/pay/${encodeURIComponent(id)}` }, t('live.pay')));
    }
    const now = [able, status.status, status.completedAt, status.error, status.publicUrl]
      .join('|');
    if (now === outcomeOf) return;
    outcomeOf = now;
    const because = status.error && el('p', { class: 'because' },
      el('b', {}, t('live.reason')), ' ', el('span', { id: 'reason' }, status.error));
    const links = app.session.sandbox?.links;
    const hint = (name) => links && el('p', { class: 'dim small' },
      outside(links[name], t(`sandbox.${name}.hint`)));
    if (unpaid) {
      show(outcome, el('p', {}, t('live.unpaid')));
    } else if (status.status === 'running') {
      show(outcome, el('p', { class: 'address' }, el('b', {}, t('live.address')), ' ',
        outside(status.publicUrl, status.publicUrl ?? '', { id: 'address' })),
      links && el('p', { class: 'dim small' }, t('live.made.up')), hint('mailbox'));
    } else if (status.status === 'failed') {
      show(outcome, el('div', { role: 'alert' }, because));
    } else if (status.status === 'stopped') {
      show(outcome, el('p', {}, t(status.completedAt ? 'live.cancelled' : 'live.cancelling')),
        because);
    } else {
      show(outcome, status.error && [el('p', {}, t('live.retrying')), because],
        // What this page has no words for, such as a deployment that was skipped.
        !isUnderWay(status) && el('p', {}, status.message), hint('railway'));
    }
  };

  const onStatus = (status) => {
    const before = last;
    last = status;
    draw();
    // The heading and what was reached are spoken, not each percent.
    const words = status.status === 'running' || status.status === 'failed'
      ? t(titleOf(subscription, status))
      : t('live.said.status', { status: named('status', status.status),
        percent: status.progress });
    const moved = `${status.status} ${Math.floor(status.progress / 25)}`;
    if (before && moved !== said) app.speak(words);
    said = moved;
    if (before && before.status !== status.status) app.refreshUnread();
    if (subscription.status === 'PENDING' || (before && before.status !== status.status)) {
      // The subscription itself has moved on as well.
      app.api.get(path, { signal }).then((fresh) => {
        subscription = fresh;
        root.querySelector('.badge').replaceWith(badge('subscription', fresh.status));
        draw();
      }).catch((error) => {
        if (!signal.aborted && !error.passing) app.fail(error);
      });
    }
  };
  const onMode = (now) => {
    mode.dataset.mode = now;
    setText(mode, t(`live.mode.${now}`));
  };
  onMode('connecting');

  await Promise.all([
    followDeployment(app.api, id, { signal, onStatus, onMode }),
    followLogs(app.api, id, { signal, onLine: log.add }).catch((error) => {
      if (signal.aborted) return;
      if (!(error instanceof ApiError)) throw error;
      show(log.box, failure(error));
    }),
  ]);
}


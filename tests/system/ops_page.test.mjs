// The operators' page in a real browser: what people see and do there, against
// the server and imposters of everything around it.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { createRequire } from 'node:module';
import { after, afterEach, before, test } from './lib/suite.mjs';
import { openBrowser } from './lib/browser.mjs';
import { request } from './lib/http.mjs';
import { now, token } from './lib/jwt.mjs';
import { World } from './lib/world.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const axe = fs.readFileSync(createRequire(import.meta.url)
  .resolve('axe-core/axe.min.js'), 'utf8');

/** SLIPWAY_SCREENSHOTS=1 draws the pictures of docs/OPS_PAGE.md anew. */
const PICTURES = process.env.SLIPWAY_SCREENSHOTS
  ? path.join(here, '../../docs/images') : null;

const EVIL = '<img src=x onerror="window.taken=1"><script>window.taken=2</script>';

let world;
let base;
/** Browsers by their options; pages share nothing but them. */
const browsers = new Map();
let pages = [];
before(async () => {
  world = await World.start({ config: { deployment: { attempts: 1 } } });
  base = world.url;
});
after(async () => {
  for (const browser of browsers.values()) await browser.close();
  await world?.stop();
});
afterEach(async () => {
  world.railway.release('BUILDING');
  // What went wrong in the browser, policies that were violated included.
  const problems = pages.flatMap((page) => page.unexpected());
  for (const page of pages) {
    page.expectProblem(/./); // It has been told.
    await page.browserContext().close();
  }
  pages = [];
  assert.deepEqual(problems, []);
});

// -- hands and eyes -----------------------------------------------------------

const operatorToken = (claims = {}) => token(world.secret,
  { sub: 'olivia', role: 'operator', ...claims });

async function browse(options = {}) {
  const name = JSON.stringify(options);
  if (!browsers.has(name)) browsers.set(name, await openBrowser(options));
  const page = await browsers.get(name).newPage();
  pages.push(page);
  // How it finds out that there is no audit trail, or none for this role.
  page.expectProblem(/status of 40[34].*\/api\/ops\/audit/);
  return page;
}

/** The page with a session, at `#/view`. */
async function open(view = 'overview', { as = operatorToken(), prepare,
  ...options } = {}) {
  const page = await browse(options);
  await prepare?.(page);
  await page.goto(`${base}/ops`);
  await page.waitForSelector('#token');
  await page.type('#token', as);
  await page.keyboard.press('Enter');
  await page.waitForSelector('.shell');
  await go(page, view);
  return page;
}

async function go(page, view) {
  await page.evaluate((to) => { location.hash = `#/${to}`; }, view);
  await settled(page);
}

/** Nothing of the view is still being loaded. */
const settled = (page) => page.waitForFunction(
  () => document.querySelector('#main h1') !== null
    && document.querySelector('#main .skeleton') === null);

const textOf = (page, selector = 'body') => page.$eval(selector,
  (element) => element.innerText);

/** Waits until the text is on the page, or in one that `selector` finds. */
async function sees(page, text, selector = 'body') {
  try {
    await page.waitForFunction((wanted, where) => [...document
      .querySelectorAll(where)].some((x) => x.innerText.includes(wanted)),
    {}, text, selector);
  } catch (error) {
    const there = await page.evaluate((where) => [...document
      .querySelectorAll(where)].map((x) => x.innerText).join('\n--\n')
      .slice(0, 2_000), selector);
    throw new Error(`"${text}" does not show in ${selector}, which is:\n${
      there}\n${error.message}`);
  }
}

/** The button, tab or link whose name is this one, where it can be seen. */
const find = (page, name, within = 'body') => page.waitForFunction(
  (wanted, where) => [...document.querySelectorAll(where)].flatMap((root) => [
    ...root.querySelectorAll('button, a, [role=tab], summary')])
    .find((element) => element.checkVisibility()
      && (element.getAttribute('aria-label') ?? element.innerText).trim()
        .startsWith(wanted)), {}, name, within);

async function click(page, name, within) {
  const element = await find(page, name, within);
  await element.click();
}

/**
 * Clicks until the dialog is there: what is loaded anew meanwhile may move the
 * button away under the mouse.
 */
async function openDialog(page, name, within) {
  await world.eventually(`a dialog for "${name}"`, async () => {
    if (!await page.$('dialog[open]')) await click(page, name, within);
    return page.waitForSelector('dialog[open]', { timeout: 2_000 })
      .catch(() => null);
  });
}

/** Fills the open dialog's reason in and confirms. */
async function confirm(page, name, reason = 'told by the test') {
  await page.waitForSelector('dialog[open]');
  if (reason !== null) await page.type('#reason', reason);
  await click(page, name, 'dialog[open] footer');
  await page.waitForFunction(() => !document.querySelector('dialog[open]'));
}

const focused = (page) => page.evaluate(() => {
  const at = document.activeElement;
  return `${at.tagName} ${at.dataset.key ?? at.id ?? ''}`.trim();
});

/** Presses Tab until the element with this data-key has the focus. */
async function tabTo(page, key, most = 120) {
  for (let i = 0; i < most; i += 1) {
    if ((await focused(page)).endsWith(` ${key}`)) return;
    await page.keyboard.press('Tab');
  }
  assert.fail(`"${key}" is not reached by Tab; at ${await focused(page)}`);
}

async function picture(page, name) {
  if (PICTURES === null) return;
  fs.mkdirSync(PICTURES, { recursive: true });
  await page.screenshot({ path: path.join(PICTURES, `ops-${name}.png`) });
}

/** One whose deployment has failed for good, and the way to let it succeed. */
async function failed({ user, error = 'npm ERR! missing script: build' } = {}) {
  const subscription = await world.paid(user);
  const failure = world.railway.failBuilds(Infinity,
    { match: world.builds(subscription), error });
  await world.notified(subscription);
  await world.untilStatus(subscription, 'failed');
  return Object.assign(subscription, { heal: () => failure.stop() });
}

/** An order about which Alipay says something that we do not accept. */
async function contradicted() {
  const subscription = await world.order(await world.subscribe());
  await world.alipay.post(subscription.trade.notifyUrl, world.alipay.sign(
    world.alipay.notification({ ...subscription.trade,
      status: 'TRADE_SUCCESS', paidAt: Date.now() }, { total_amount: '0.01' })));
  subscription.callback = await world.eventually('the inbox', async () => (
    (await world.callbacksOf(subscription.order.orderId))[0]));
  return subscription;
}

// -- the files ----------------------------------------------------------------

test("the operators' page is served with a strict policy", async () => {
  const page = await request(`${base}/ops`);
  assert.equal(page.status, 200);
  assert.match(page.headers['content-type'], /^text\/html; charset=utf-8/);
  assert.equal(page.headers['content-security-policy'],
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    + "img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    + "frame-ancestors 'none'");
  assert.equal(page.headers['x-content-type-options'], 'nosniff');
  assert.equal(page.headers['referrer-policy'], 'no-referrer');
  assert.equal(page.headers['cache-control'], 'no-cache');
  const tag = page.headers.etag;
  assert.match(tag, /^"[0-9a-f]{16}"$/);
  const again = await request(`${base}/ops`, { headers: { 'If-None-Match': tag } });
  assert.equal(again.status, 304);
  assert.equal(again.text, '');
  // Nothing in it but the files, and each has its type.
  for (const [name, type] of [['ops.js', 'text/javascript'],
    ['ops.css', 'text/css'], ['icon.svg', 'image/svg+xml']]) {
    const file = await request(`${base}/ops/${name}`);
    assert.equal(file.status, 200, name);
    assert.ok(file.headers['content-type'].startsWith(type), name);
    assert.ok(file.headers.etag && file.headers['content-security-policy'], name);
  }
  assert.ok(!/<script>|\sstyle=|\son\w+=/.test(page.text), 'nothing inline');
  for (const name of ['none.js', '..%2fslipway.toml', 'OPS.JS']) {
    assert.equal((await request(`${base}/ops/${name}`)).status, 404, name);
  }
  assert.equal((await request(`${base}/ops`, { method: 'POST' })).status, 405);
  assert.equal((await request(`${base}/ops`, { method: 'HEAD' })).status, 200);
});

// -- who comes in -------------------------------------------------------------

test('whoever brings no good token stays outside, and reads why', async () => {
  const page = await browse();
  page.expectProblem(/status of 40[13]/);
  await page.goto(`${base}/ops`);
  const attempt = async (text, words) => {
    await page.waitForSelector('#token');
    await page.$eval('#token', (input) => { input.value = ''; });
    await page.type('#token', text);
    await page.keyboard.press('Enter');
    await sees(page, words, '[role=alert]');
    assert.equal(await page.$('.shell'), null);
    assert.equal(await focused(page), 'INPUT token');
  };
  await attempt('no good', 'Expected a token');
  await attempt('aaaa.bbbb.cccc', 'The token is refused');
  await attempt(operatorToken({ exp: now() - 60 }), 'the token has expired');
  await attempt(token(world.secret, { sub: 'someone' }),
    'This token does not open');
  await attempt(token('another secret', { sub: 'olivia', role: 'operator' }),
    'signature is not valid');
});

test('an operator comes in, stays over a reload, and leaves', async () => {
  const page = await browse();
  const mine = operatorToken();
  await page.goto(`${base}/ops#/callbacks`);
  await page.waitForSelector('#token');
  await page.type('#token', `  Bearer ${mine}`);
  await click(page, 'Sign in', 'form');
  await sees(page, 'Callbacks', 'h1');
  assert.ok((await textOf(page, '.who')).includes('olivia'));
  // The token is in this tab only, and in no address.
  assert.ok(!page.requests.some((url) => url.includes(mine.split('.')[2])));
  assert.ok(!page.url().includes('eyJ'));
  assert.deepEqual(await page.evaluate(() => [Object.values(sessionStorage)
    .length, Object.values(localStorage).join(), document.cookie]), [1, '', '']);
  await page.reload();
  await sees(page, 'Callbacks', 'h1');
  await click(page, 'Sign out');
  await page.waitForSelector('#token');
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
  assert.equal(await page.$('.shell'), null);
});

/** Sends everything in another operator's name: for roles in the token that the
    page shows and the server need not know. */
const inTheNameOf = (other) => async (page) => {
  await page.setRequestInterception(true);
  page.on('request', (sent) => sent.continue({ headers: { ...sent.headers(),
    ...(sent.headers().authorization
      ? { authorization: `Bearer ${other()}` } : {}) } }));
};

test('a token that ends leads back to signing in, with the reason', async () => {
  let as = operatorToken();
  const page = await open('overview', { prepare: inTheNameOf(() => as) });
  page.expectProblem(/status of 401/);
  as = operatorToken({ exp: now() - 1 });
  await page.waitForSelector('#token');
  assert.match(await textOf(page, '[role=alert]'),
    /does not accept your token any more: the token has expired/);
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
  // So does one from before that the server does not know.
  as = token('another secret', { sub: 'olivia', role: 'operator' });
  await page.evaluate((it) => sessionStorage.setItem('slipway.ops.token', it), as);
  await page.reload();
  await page.waitForSelector('#token');
  assert.match(await textOf(page, '[role=alert]'), /signature is not valid/);
});

test('a viewer looks at everything, and every act says why not', async () => {
  const subscription = await failed();
  const page = await open('attention', { as: operatorToken({ sub: 'vera',
    role: 'viewer' }), prepare: inTheNameOf(() => operatorToken()) });
  await sees(page, subscription.id);
  assert.match(await textOf(page, '#main'), /signed in as viewer/);
  const button = await find(page, `Retry: ${subscription.id}`);
  assert.equal(await button.evaluate((x) => x.getAttribute('aria-disabled')),
    'true');
  await button.click();
  await sees(page, 'Your role may look only', '.toasts');
  await go(page, `subscriptions/${subscription.id}`);
  for (const name of ['Retry', 'Cancel', 'Refund', 'Terminate']) {
    const act = await find(page, name, '#main .buttons');
    assert.equal(await act.evaluate((x) => x.getAttribute('aria-disabled')),
      'true', name);
  }
  assert.equal(await page.$('dialog'), null);
  assert.equal((await world.status(subscription)).status, 'failed');
});

test('what the server forbids is said', async () => {
  const subscription = await failed();
  const page = await open('attention', { prepare: async (it) => {
    await it.setRequestInterception(true);
    it.on('request', (sent) => (sent.method() !== 'POST' ? sent.continue()
      : sent.respond({ status: 403, contentType: 'application/json',
        body: JSON.stringify({ success: false, error: 'forbidden',
          message: 'A viewer may not do this', requestId: 'r-1' }) })));
  } });
  page.expectProblem(/status of 403/);
  await click(page, `Retry: ${subscription.id}`);
  await page.type('#reason', 'anyway');
  await click(page, 'Retry', 'dialog footer');
  await sees(page, 'A viewer may not do this', 'dialog [role=alert]');
  assert.match(await textOf(page, 'dialog'), /Not allowed[^]*forbidden · request r-1/);
});

// -- the work -----------------------------------------------------------------

test('a failure is found, understood, retried, and seen running', async () => {
  const subscription = await failed({ error: 'npm ERR! missing script: build' });
  const page = await open();
  await sees(page, subscription.id, '#main');
  await click(page, `Open: ${subscription.id}`);
  await sees(page, 'Failed', '.chips');
  await sees(page, 'projectCreate', '.story');
  const story = await textOf(page, '.story');
  assert.match(story, /Alipay notifies of order/);
  const { error } = await world.status(subscription);
  await sees(page, error.slice(0, 60), '#main .problem');
  // No reason, no act; then with one.
  subscription.heal();
  world.railway.hold('BUILDING', world.builds(subscription));
  await click(page, 'Retry', '#main .buttons');
  await page.waitForSelector('dialog[open]');
  await click(page, 'Retry', 'dialog footer');
  await sees(page, 'Expected a reason', 'dialog');
  await confirm(page, 'Retry', 'the build is mended');
  await sees(page, 'The deployment starts over', '.outcome');
  await sees(page, 'Building and starting', '#main');
  world.railway.release('BUILDING');
  // Live: nobody has loaded anything anew.
  await sees(page, 'Running', '#main .chips');
  const [{ publicUrl }] = [await world.untilStatus(subscription, 'running')];
  await sees(page, publicUrl, '.facts');
  await sees(page, 'Retry requested by olivia: the build is mended', '.story');
  await picture(page, 'subscription');
  assert.deepEqual(await world.attentionOf(subscription), []);
});

test('the timeline is filtered by kind, and turned around', async () => {
  const subscription = await world.running();
  const page = await open(`subscriptions/${subscription.id}`);
  await page.waitForSelector('.story .kind-provider');
  const kinds = () => page.$$eval('.story li', (all) => [...new Set(all.map(
    (x) => x.className.slice('kind-'.length)))].sort());
  for (const kind of ['callback', 'state', 'provider', 'notification']) {
    assert.ok((await kinds()).includes(kind), `${kind} in ${await kinds()}`);
  }
  for (const name of ['State', 'Provider', 'Mail', 'Notification']) {
    await click(page, name, '.chips[role=group]');
  }
  assert.deepEqual(await kinds(), ['callback']);
  await click(page, 'Callback', '.chips[role=group]');
  await sees(page, 'No entries of these kinds');
  await click(page, 'Provider', '.chips[role=group]');
  const times = () => page.$$eval('.story time', (all) => all.map(
    (x) => Date.parse(x.dateTime)));
  const newest = await times();
  assert.ok(newest.length > 1, `${newest}`);
  assert.deepEqual(newest, [...newest].sort((a, b) => b - a));
  await click(page, 'Newest first');
  assert.deepEqual(await times(), [...newest].sort((a, b) => a - b));
});

test('refunding and terminating say what came of it', async () => {
  const subscription = await world.running();
  const page = await open(`subscriptions/${subscription.id}`);
  await click(page, 'Refund', '#main .buttons');
  await page.waitForSelector('dialog #which-order');
  await page.select('#which-order', subscription.order.orderId);
  await confirm(page, 'Refund', 'asked for it');
  await sees(page, 'Refund of 99.00 CNY', '.outcome');
  await world.untilPayment(subscription, 'REFUNDED');
  await sees(page, 'Refunded', '.rows');
  await click(page, 'Terminate', '#main .buttons');
  await confirm(page, 'Terminate', 'refunded');
  await sees(page, 'Now Stopped', '.outcome');
  await world.eventually('gone at the provider', () => world.isGone(subscription));
  // What is not possible is said in the dialog, which stays.
  page.expectProblem(/status of 409/);
  await click(page, 'Cancel', '#main .buttons');
  await page.type('#reason', 'again');
  await click(page, 'Cancel the deployment', 'dialog footer');
  await sees(page, 'There is no deployment to cancel', 'dialog [role=alert]');
  await page.keyboard.press('Escape');
  await page.waitForFunction(() => document.querySelector('dialog') === null);
  assert.equal(await focused(page), 'BUTTON act cancel');
});

test('subscriptions are found, filtered, and paged through', async () => {
  const user = world.user({ sub: `pages-${Date.now()}` });
  const all = [];
  for (let i = 0; i < 53; i += 1) all.push((await world.subscribe(user)).id);
  const page = await open(`subscriptions?q=${user.sub}`);
  const rows = () => page.$$eval('.rows tbody tr td:first-child code',
    (cells) => cells.map((x) => x.textContent));
  const seen = await rows();
  assert.equal(seen.length, 50);
  await click(page, 'Next', '.pager');
  await sees(page, 'Page 2', '.pager');
  await settled(page);
  seen.push(...await rows());
  assert.deepEqual([...seen].sort(), [...all].sort());
  assert.equal(await page.$eval('[data-key=next]', (x) => x.disabled), true);
  await click(page, 'Previous', '.pager');
  await sees(page, 'Page 1', '.pager');
  await page.select('#find-status', 'ACTIVE');
  await sees(page, 'Nothing found');
  assert.match(page.url(), /q=pages-\d+&status=ACTIVE$/);
  await page.goBack();
  await page.waitForSelector('.rows');
  await page.type('.find input', all[7]);
  await page.keyboard.press('Enter');
  await page.waitForFunction(() => document.querySelectorAll('.rows tbody tr')
    .length === 1);
  assert.deepEqual(await rows(), [all[7]]);
});

test('the queue is shown: its depth, the slots, and who waits', async () => {
  const all = [];
  world.railway.hold('BUILDING');
  for (let i = 0; i < 5; i += 1) all.push(await world.activated());
  await world.eventually('two wait', async () => (await world.operator.get(
    '/api/deployment-monitor/stats')).ok().queued === 2);
  const page = await open();
  await sees(page, '3 of 3 slots taken', '[aria-label=Queue]');
  await page.waitForFunction(() => document.querySelectorAll(
    '[aria-label=Queue] tbody tr').length === 2);
  const text = await textOf(page, '[aria-label=Queue]');
  const waiting = await Promise.all(all.map(async (x) => (
    await world.status(x)).queuePosition));
  all.forEach((x, i) => assert.equal(text.includes(x.id), waiting[i] !== null,
    `${x.id} at ${waiting[i]}`));
  // Readings become lines.
  await page.waitForFunction(() => document.querySelectorAll(
    '.tiles svg.spark').length >= 2);
  await picture(page, 'overview');
  world.railway.release('BUILDING');
  for (const x of all) await world.untilStatus(x, 'running');
  await sees(page, 'Nobody waits', '[aria-label=Queue]');
});

test('readings come with a tag, and count callbacks', async () => {
  const stats = await world.operator.get('/api/deployment-monitor/stats');
  const { callbacks, slots } = stats.ok();
  assert.equal(slots, 3);
  assert.ok(stats.headers.etag);
  await world.activated();
  const later = (await world.operator.get('/api/deployment-monitor/stats', {
    headers: { 'If-None-Match': stats.headers.etag } })).ok();
  assert.equal(later.callbacks, callbacks + 1);
});

// -- callbacks ----------------------------------------------------------------

test('a dry run tells what a replay would change, and changes nothing',
  async () => {
    const subscription = await contradicted();
    const page = await open(`callbacks?orderId=${subscription.order.orderId}`);
    await click(page, `#${subscription.callback.id}`, '.rows');
    await sees(page, 'total_amount = 0.01', 'pre');
    await sees(page, 'Content-Type', '[aria-label=Headers]');
    await click(page, 'Dry run');
    await sees(page, 'A replay would be: Another amount', '.outcome');
    await sees(page, 'Nothing would change.', '.outcome');
    assert.equal((await world.payment(subscription)).status, 'PENDING');
    await world.assertUntouched(subscription);
    // Of one that was applied.
    const paid = await world.activated();
    const [row] = await world.callbacksOf(paid.order.orderId);
    await go(page, `callbacks/${row.id}`);
    await click(page, 'Dry run');
    await sees(page, 'A replay would be: Applied before', '.outcome');
    await click(page, 'Replay');
    await sees(page, 'Nothing would change.', 'dialog');
    await confirm(page, 'Replay', 'to be sure');
    await sees(page, 'The replay was: Applied before', '.outcome');
    await world.untilStatus(paid, 'running');
  });

test('a dry run shows each change, and the replay makes it', async () => {
  // Alipay speaks of an order that there is not yet.
  const subscription = await world.order(await world.subscribe());
  const second = subscription.order.orderId.replace(/1$/, '2');
  await world.alipay.post(subscription.trade.notifyUrl, world.alipay.sign(
    world.alipay.notification({ ...subscription.trade, outTradeNo: second,
      status: 'TRADE_SUCCESS', paidAt: Date.now() })));
  const [row] = await world.eventually('the inbox', async () => {
    const rows = await world.callbacksOf(second);
    return rows.length > 0 && rows;
  });
  const { orderId } = (await world.create(subscription, { method: 'wap' })).ok(201);
  assert.equal(orderId, second);
  const page = await open(`callbacks/${row.id}`);
  await click(page, 'Dry run');
  await sees(page, 'A replay would be: Applied', '.outcome');
  const rows = () => page.$$eval('.outcome tbody tr', (all) => all.map(
    (tr) => [...tr.querySelectorAll('.value')].map((x) => x.textContent)));
  const expected = await rows();
  for (const change of [['subscription.status', 'PENDING', 'ACTIVE'],
    ['order.status', 'PENDING', 'PAID']]) {
    assert.ok(expected.some((x) => `${x}` === `${change}`), `${expected}`);
  }
  assert.equal((await world.subscription(subscription)).status, 'PENDING');
  await picture(page, 'callback');
  await click(page, 'Replay');
  await sees(page, 'order.status', 'dialog');
  await confirm(page, 'Replay', 'the order is there now');
  await sees(page, 'The replay was: Applied', '.outcome');
  await sees(page, 'Applied', '.chips');
  assert.equal((await world.subscription(subscription)).status, 'ACTIVE');
  await world.untilStatus(subscription, 'running');
});

test('a contradiction is settled from attention', async () => {
  const subscription = await contradicted();
  const page = await open('attention');
  await click(page, `Settle: ${subscription.id}`);
  await confirm(page, 'Settle', 'the payer was called');
  await page.waitForFunction((id) => !document.querySelector('#main')
    .innerText.includes(id), {}, subscription.id);
  const row = (await world.operator.get(
    `/api/ops/callbacks/${subscription.callback.id}`)).ok();
  assert.equal(row.settledReason, 'the payer was called');
  assert.equal(row.settledBy, 'olivia');
  await go(page, `callbacks/${subscription.callback.id}`);
  await sees(page, 'olivia · the payer was called', '.facts');
});

// -- the main switch ----------------------------------------------------------

test('automation goes off and on, with reasons, and everybody sees it',
  async () => {
    const page = await open();
    await sees(page, 'Automation on', '.top');
    await click(page, 'Switch off', '#main-switch');
    await confirm(page, 'Switch off', 'looking at the provider');
    await sees(page, 'Automation off', '.top');
    await sees(page, 'looking at the provider', '#main-switch');
    const off = (await world.operator.get('/api/ops/automation')).ok();
    assert.equal(off.enabled, false);
    assert.equal(off.by, 'olivia');
    // It waits for a person, and is switched on from there.
    const subscription = await world.activated();
    await sees(page, 'Automation off', '[aria-label=Attention]');
    await openDialog(page, 'Switch on: Automation off', '[aria-label=Attention]');
    await sees(page, 'deployments begin or go on', 'dialog');
    await picture(page, 'main-switch');
    await confirm(page, 'Switch on', 'the provider is well');
    await sees(page, 'Automation on', '.top');
    await world.untilStatus(subscription, 'running');
  });

// -- logs ---------------------------------------------------------------------

test('logs come live, and stay text', async () => {
  const subscription = await world.paid(world.user({ sub: 'olivia' }));
  world.railway.hold('BUILDING', world.builds(subscription));
  await world.notified(subscription);
  const deployment = await world.untilProviderStatus(subscription, 'BUILDING');
  const page = await open(`subscriptions/${subscription.id}`);
  // Servers that keep logs for owners only answer 404 to operators.
  page.expectProblem(/status of 404.*\/api\/ops\/subscriptions\/.*\/logs/);
  await click(page, 'Logs', '[role=tablist]');
  await sees(page, 'Using Railpack', '.log');
  world.railway.say(deployment, 'build', `step one ${EVIL}`);
  await sees(page, `step one ${EVIL}`, '.log');
  world.railway.say(deployment, 'build', 'it goes wrong', 'error');
  await page.waitForSelector('.log .level-error');
  await page.select('#log-type', 'event');
  await page.waitForFunction(() => {
    const sources = [...document.querySelectorAll('.log .source')];
    return sources.length > 0 && sources.every((x) => x.textContent === 'event');
  });
  await click(page, 'Live', '#main .inline');
  await sees(page, 'lines', '#main .inline');
  assert.equal(await page.evaluate(() => window.taken), undefined);
});

// -- supervision --------------------------------------------------------------

test('the tree is walked by keys, and a supervisor restarted', async () => {
  const subscription = await world.running();
  const page = await open('tree');
  await page.waitForSelector('[role=treeitem]');
  const chosen = () => page.$eval('[role=treeitem][tabindex="0"]',
    (x) => x.dataset.id);
  assert.equal(await chosen(), 'slipway');
  await tabTo(page, 'actor slipway');
  await page.keyboard.press('ArrowDown');
  assert.equal(await chosen(), 'database');
  await page.keyboard.press('ArrowLeft'); // Folds it.
  assert.equal(await page.$eval('[data-id=database]',
    (x) => x.getAttribute('aria-expanded')), 'false');
  assert.equal(await page.$('[data-id=journal-0]'), null);
  await page.keyboard.press('ArrowRight');
  await page.keyboard.press('ArrowRight');
  assert.match(await chosen(), /^(journal|store)-0$/);
  await page.keyboard.press('ArrowLeft');
  assert.equal(await chosen(), 'database');
  await page.keyboard.press('Home');
  assert.equal(await chosen(), 'slipway');
  await sees(page, 'Only supervisors are restarted by hand', '#main');
  // Down to the REGISTRY, whose children may be many.
  for (let i = 0; i < 60 && await chosen() !== 'registry'; i += 1) {
    await page.keyboard.press('ArrowDown');
  }
  if (await page.$eval('[data-id=registry]', (x) => x.getAttribute(
    'aria-expanded')) === 'false') await page.keyboard.press('ArrowRight');
  const id = `supervisor:${subscription.id}`;
  await page.waitForSelector(`[data-id="${id}"]`);
  for (let i = 0; i < 400 && await chosen() !== id; i += 1) {
    await page.keyboard.press('ArrowDown');
  }
  assert.equal(await chosen(), id);
  await picture(page, 'supervision');
  await page.keyboard.press('Enter');
  await tabTo(page, 'restart actor', 5);
  await page.keyboard.press('Enter');
  await page.waitForSelector('dialog[open]');
  await page.keyboard.type('looks odd');
  await page.keyboard.press('Enter');
  await sees(page, 'The actor is loaded anew', '.toasts');
  assert.match(await world.history(subscription),
    /operator Actor restarted by olivia: looks odd/);
});

// -- the audit trail ----------------------------------------------------------

const answering = (trail) => async (page) => {
  await page.setRequestInterception(true);
  page.on('request', (sent) => {
    if (!sent.url().includes('/api/ops/audit')) sent.continue();
    else sent.respond({ contentType: 'application/json', ...trail });
  });
};

test('the audit trail is shown where there is one, and no tab where not',
  async () => {
    const page = await open('overview', { prepare: answering({ status: 200,
      body: JSON.stringify({ success: true, nextCursor: null, data: [
        { at: '2026-11-26T10:00:00Z', actor: 'olivia', role: 'admin',
          act: 'refund', subject: 'sub-1', subjectKind: 'subscription',
          reason: EVIL, detail: null, outcome: 'done', requestId: 'r-17' }] }) }) });
    await click(page, 'Audit trail', '.views');
    await sees(page, 'r-17', '.rows');
    await sees(page, EVIL, '.rows');
    assert.equal(await page.evaluate(() => window.taken), undefined);
    const without = await open('overview', { prepare: answering({ status: 404,
      body: '{"success":false,"message":"no","error":"not_found"}' }) });
    without.expectProblem(/status of 404/);
    await sees(without, 'Callbacks', '.views');
    assert.ok(!(await textOf(without, '.views')).includes('Audit'));
  });

// -- keys ---------------------------------------------------------------------

test('everything is done with the keyboard alone', async () => {
  const subscription = await failed();
  subscription.heal();
  const page = await browse();
  await page.goto(`${base}/ops`);
  await page.waitForSelector('#token');
  await page.keyboard.type(operatorToken());
  await page.keyboard.press('Enter');
  await page.waitForSelector('.shell');
  const press = async (...keys) => {
    for (const key of keys) await page.keyboard.press(key);
  };
  const arrives = (hash) => page.waitForFunction(
    (wanted) => location.hash.startsWith(wanted), {}, hash);
  for (const [key, hash] of [['s', '#/subscriptions'], ['c', '#/callbacks'],
    ['t', '#/tree'], ['o', '#/overview'], ['a', '#/attention']]) {
    await press('g', key);
    await arrives(hash);
    assert.equal(await focused(page), 'MAIN main');
  }
  await press('?');
  await sees(page, 'Keyboard', 'dialog[open]');
  await press('Escape');
  await page.waitForFunction(() => document.querySelector('dialog') === null);
  await press('/');
  assert.equal(await focused(page), 'INPUT search everywhere');
  await page.keyboard.type('g a?'); // Letters in a field are letters.
  assert.equal(await page.$('dialog'), null);
  await press('Escape');
  assert.equal(await focused(page), 'MAIN main');
  await press('/');
  await page.$eval('.find input', (input) => input.select());
  await page.keyboard.type(subscription.id);
  await press('Enter');
  await page.waitForSelector(`[data-key="row ${subscription.id}"]`);
  await tabTo(page, `row ${subscription.id}`);
  await press('Enter');
  await arrives(`#/subscriptions/${subscription.id}`);
  await settled(page);
  await tabTo(page, 'act retry');
  await press('Enter');
  await page.waitForSelector('dialog[open]');
  assert.equal(await focused(page), 'INPUT reason');
  // The focus stays in the dialog, and comes back to where it was.
  await press('Escape');
  await page.waitForFunction(() => document.querySelector('dialog') === null);
  assert.equal(await focused(page), 'BUTTON act retry');
  await press('Enter');
  await page.waitForSelector('dialog[open]');
  await page.keyboard.type('by keys');
  await press('Enter');
  await sees(page, 'Running', '#main .chips');
  await tabTo(page, 'copy id', 200).catch(() => {}); // It has left it already.
  // The tabs by arrows.
  await page.focus('#tab-timeline');
  await press('ArrowRight');
  assert.equal(await focused(page), 'BUTTON tab-logs');
  page.expectProblem(/status of 40[34].*logs/);
  await press('ArrowLeft');
  // What had the focus keeps it while the list is drawn anew.
  await press('g', 'a');
  await arrives('#/attention');
});

// -- how it looks -------------------------------------------------------------

/** All views that there are, with something in them. */
async function allViews() {
  const subscription = await failed();
  const odd = await contradicted();
  return ['overview', 'attention', 'subscriptions',
    `subscriptions/${subscription.id}`, 'callbacks',
    `callbacks/${odd.callback.id}`, 'tree'];
}

test('a phone shows every view without moving sideways', async () => {
  const views = await allViews();
  const page = await open('overview', { width: 360, height: 740 });
  for (const view of views) {
    await go(page, view);
    if (view === 'tree') await page.waitForSelector('[role=treeitem]');
    const { inner, outer, widest } = await page.evaluate(() => ({
      inner: document.documentElement.scrollWidth, outer: innerWidth,
      widest: [...document.querySelectorAll('#main *')].filter((x) => x
        .getBoundingClientRect().right > innerWidth + 1 && x.checkVisibility()
        && !x.closest('svg, .log, pre, .views, .visually-hidden, thead'))
        .map((x) => `${x.tagName}.${x.className}`).slice(0, 5) }));
    assert.equal(inner, outer, `${view}: ${widest}`);
    assert.deepEqual(widest, [], view);
    if (view === 'attention') await picture(page, 'phone');
  }
  await click(page, 'Sign out');
  await page.waitForSelector('#token');
  assert.equal(await page.evaluate(
    () => document.documentElement.scrollWidth), 360);
});

const brightness = (page) => page.evaluate(() => {
  const [r, g, b] = getComputedStyle(document.body).backgroundColor
    .match(/[\d.]+/g).map(Number);
  return (r + g + b) / 3;
});

test('it is dark for whoever likes it dark, and for whoever says so',
  async () => {
    const page = await open('overview', { dark: true });
    assert.ok(await brightness(page) < 60);
    await picture(page, 'dark');
    await click(page, 'Light or dark', '.tools');
    assert.ok(await brightness(page) > 200);
    await page.reload();
    await page.waitForSelector('.shell');
    assert.ok(await brightness(page) > 200, 'remembered');
    const light = await open('overview', { dark: false });
    assert.ok(await brightness(light) > 200);
    await click(light, 'Light or dark', '.tools');
    assert.ok(await brightness(light) < 60);
  });

test('it speaks Chinese where the browser does, and where it is told to',
  async () => {
    const page = await open('overview', { locale: 'zh-CN' });
    await sees(page, '总览', 'h1');
    await sees(page, '总开关', '#main');
    assert.equal(await page.$eval('html', (x) => x.lang), 'zh-CN');
    await go(page, 'attention');
    await sees(page, '待处理', 'h1');
    await click(page, 'English', '.tools');
    await sees(page, 'Attention', 'h1');
    assert.equal(await page.$eval('html', (x) => x.lang), 'en');
    await page.reload();
    await sees(page, 'Attention', 'h1');
    // Both languages have all words.
    const { en, zh } = await page.evaluate(
      async () => (await import('/ops/words.js')).names());
    assert.deepEqual(zh, en);
  });

/** Serious and critical violations, with their elements. */
async function violations(page) {
  await page.evaluate(axe);
  const { violations: all } = await page.evaluate(() => globalThis.axe.run(
    document, { resultTypes: ['violations'] }));
  return all.filter((x) => ['serious', 'critical'].includes(x.impact)).map(
    (x) => `${x.id}: ${x.nodes.slice(0, 3).map((n) => `${n.target} ${
      n.failureSummary}`).join(' | ')}`);
}

for (const [name, options] of [['light', {}], ['dark', { dark: true }],
  ['narrow', { width: 360, height: 740 }]]) {
  test(`no view has a serious or critical fault for axe: ${name}`, async () => {
    const views = await allViews();
    const page = await browse(options);
    await page.goto(`${base}/ops`);
    await page.waitForSelector('#token');
    assert.deepEqual(await violations(page), [], 'sign in');
    await page.type('#token', operatorToken());
    await page.keyboard.press('Enter');
    await page.waitForSelector('.shell');
    for (const view of views) {
      await go(page, view);
      if (view === 'tree') await page.waitForSelector('[role=treeitem]');
      assert.deepEqual(await violations(page), [], view);
    }
    await go(page, views[3]);
    await click(page, 'Refund', '#main .buttons');
    await page.waitForSelector('dialog[open]');
    assert.deepEqual(await violations(page), [], 'a dialog');
  });
}

// -- what must not happen -----------------------------------------------------

test('text from outside stays text, wherever it shows', async () => {
  const user = world.user({ sub: EVIL.slice(0, 60) });
  const subscription = await failed({ user, error: EVIL });
  await world.act(subscription, 'retry', { reason: EVIL });
  await world.untilStatus(subscription, 'failed');
  const marked = await contradicted();
  const evil = world.alipay.sign({ ...world.alipay.notification({
    ...marked.trade, status: 'TRADE_SUCCESS', paidAt: Date.now() },
  { total_amount: '0.02', subject: EVIL, body: EVIL }) });
  await world.alipay.post(marked.trade.notifyUrl, evil);
  const page = await open('overview');
  const quiet = async (view) => {
    assert.equal(await page.evaluate(() => window.taken), undefined, view);
    assert.equal(await page.$('#app img[src="x"], #app script'), null, view);
  };
  for (const view of ['overview', 'attention', 'subscriptions', 'tree',
    'callbacks', `subscriptions?q=${encodeURIComponent(EVIL)}`,
    `subscriptions/${encodeURIComponent(EVIL)}`,
    `callbacks/${encodeURIComponent(EVIL)}`]) {
    page.expectProblem(/status of 404/); // Ids that nothing has.
    await go(page, view);
    await quiet(view);
  }
  await go(page, `subscriptions/${subscription.id}`);
  await sees(page, user.sub, '.facts');
  await sees(page, `Retry requested by ${world.operator.sub}: ${EVIL}`, '.story');
  await quiet('subscription');
  for (const row of await world.callbacksOf(marked.order.orderId)) {
    await go(page, `callbacks/${row.id}`);
    await page.waitForSelector('pre');
    await quiet('callback');
  }
  await sees(page, marked.order.orderId, '#main');
  // An address that is none does not become a link.
  await page.evaluate(async () => {
    const { outside } = await import('/ops/dom.js');
    const shown = outside('javascript:window.taken=3');
    if (shown instanceof Node) window.taken = 3;
  });
  await quiet('links');
});

test('no request leaves for anywhere else', async () => {
  const page = await open('overview');
  for (const view of ['attention', 'subscriptions', 'callbacks', 'tree']) {
    await go(page, view);
  }
  assert.ok(page.requests.length > 10);
  for (const url of page.requests) {
    assert.ok(url.startsWith(`${base}/`), url);
  }
});

test('a server that is away is said, and everything goes on when it is back',
  async () => {
    const page = await open('overview');
    page.expectProblem(/ERR_CONNECTION|ERR_EMPTY_RESPONSE|status of 50/);
    await sees(page, 'Automation on', '.top');
    await world.server.kill();
    await sees(page, 'The server cannot be reached', '.trouble');
    // What was there stays there to be read.
    await sees(page, 'Automation on', '#main-switch');
    await world.server.start();
    await page.waitForFunction(() => document.querySelector('.trouble').hidden,
      { timeout: 40_000 });
  });

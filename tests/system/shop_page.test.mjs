// The sandbox's shop in a real browser: from a plan to a running instance, live, and
// everything that may come between.

import assert from 'node:assert/strict';
import jsQR from 'jsqr';
import { openBrowser } from './lib/browser.mjs';
import { Proxy } from './lib/proxy.mjs';
import { bought, choose, fill, heading, idOn, order, payAtCashier, payOutside, press,
         record, recorded, running, Sandbox, screenshot, signIn, textOf, WITHIN }
  from './lib/shop.mjs';
import { after, before, test } from './lib/suite.mjs';
import { eventually } from './lib/wait.mjs';

const NETWORK = /Failed to load resource|net::ERR_/;

let sandbox;
let browser;

before(async () => {
  sandbox = await Sandbox.start();
  browser = await openBrowser({ width: 1100, height: 900 });
});

after(async () => {
  try {
    await browser?.close();
  } finally {
    await sandbox?.stop();
  }
});

/** A page of its own that is closed at the end. */
async function onPage(run) {
  const page = await browser.newPage();
  try {
    await run(page);
    assert.deepEqual(page.unexpected(), []);
  } catch (error) {
    error.message += `\nat ${page.url()}\n${await page.evaluate(
      () => document.body.innerText).catch(() => '')}\n${page.problems.join('\n')}`;
    throw error;
  } finally {
    await sandbox.switches({ slowBuilds: 1, slowMs: 0, failNext: null, hangIn: null });
    await page.close();
  }
}

const percents = (seen) => seen.percent.map((x) => Number.parseInt(x, 10));

test('the shop is printed first, and / leads there', () => onPage(async (page) => {
  const [first] = sandbox.server.stdout.match(/https?:\/\/\S+/g);
  assert.equal(first, sandbox.shop);
  await page.goto(sandbox.url);
  assert.equal(page.url().split('#')[0], sandbox.shop);
  await heading(page, /choose a plan/);
}));

test('Alipay: from the plans to a running instance, live', () => onPage(async (page) => {
  // Slow enough for each step to be seen.
  await sandbox.switches({ slowBuilds: 2, slowMs: 400 });
  await page.goto(sandbox.shop);
  await heading(page, /choose a plan/);
  // The prices are the API's own words.
  const plans = (await sandbox.api().get('/api/plans')).ok();
  const shown = await page.$$eval('.plan', (all) => all.map((x) => [
    x.querySelector('h2').innerText, x.querySelector('.price').innerText]));
  assert.deepEqual(shown, plans.map((x) => [x.title, `¥${x.amount}`]));
  await screenshot(page, 'plans');
  // Whoever is not signed in is asked, and then goes on.
  await press(page, 'a[href="#/buy/PRO"]');
  await heading(page, /sign in/);
  assert.equal(await page.$eval('details textarea', (x) => x.value.split('.').length), 3);
  await fill(page, 'input[autocomplete=username]', 'ada');
  await press(page, '#sign-in');
  await heading(page, /channels/);
  await fill(page, '.pair .field:nth-of-type(2) input', '123456:secret');
  await press(page, 'form button[type=submit]');
  await page.waitForSelector('.ways');
  const id = idOn(page);
  const made = await choose(page, 'ALIPAY.page');
  assert.equal(await textOf(page, '.order .price'), `¥${made.amount}`);
  await record(page);
  const cashier = await payAtCashier(page);
  assert.equal(cashier, new URL(sandbox.alipay).host);
  await page.waitForSelector('#progress', { timeout: WITHIN });
  assert.ok(page.url().endsWith(`#/subscription/${id}`));
  await running(page);
  const api = await sandbox.apiOf(page);
  const status = (await api.get(`/api/deployment/status/${id}`)).ok();
  assert.equal(await page.$eval('#address', (x) => x.getAttribute('href')),
    `${new URL(status.publicUrl)}`);
  assert.match(await textOf(page, 'h1'), /is running/);
  assert.equal(await page.$eval('progress', (x) => x.value), 100);
  // What was seen on the way.
  const seen = await recorded(page);
  assert.ok(seen.mode.includes('live'), seen.mode);
  assert.ok(!seen.mode.includes('polling'), seen.mode);
  assert.deepEqual(percents(seen), percents(seen).toSorted((a, b) => a - b), 'never back');
  assert.ok(percents(seen).length > 3, `${seen.percent}`);
  assert.ok(seen.step.length > 1, `${seen.step}`);
  assert.match(seen.spoken.at(-1), /is running/);
  // Everything that was said is in the log, once.
  const logs = (await api.get(`/api/deployment/logs/${id}?limit=1000`)).ok().logs;
  assert.ok(logs.some((x) => x.source === 'build'));
  await eventually('all lines', async () => {
    const lines = await page.$$eval('.lines .said', (all) => all.map((x) => x.textContent));
    return logs.every((x) => lines.includes(x.message));
  });
  await page.select('#log-source', 'build');
  assert.ok(await page.$$eval('.lines li', (all) => all.filter((x) => x.checkVisibility())
    .every((x) => x.classList.contains('from-build'))));
  // The notifications, read one by one.
  const unread = await page.waitForFunction(() => Number(
    document.getElementById('unread')?.innerText) || false, { timeout: WITHIN });
  const count = await unread.jsonValue();
  assert.ok(count >= 2, `${count}`);
  await press(page, 'header nav a', /notifications/);
  await page.waitForSelector('li.unread', { timeout: WITHIN });
  await press(page, 'li.unread button', /mark as read/);
  await page.waitForFunction((n) => Number(
    document.getElementById('unread')?.innerText) === n, { timeout: WITHIN }, count - 1);
  await press(page, '#read-all');
  await page.waitForFunction(() => !document.getElementById('unread')
    && !document.querySelector('li.unread'), { timeout: WITHIN });
  assert.ok((await api.all('/api/notifications')).every((x) => x.readAt));
  // And the subscription is in the list, with the way back to it.
  await press(page, 'header nav a', /my subscriptions/);
  await heading(page, /my subscriptions/);
  assert.match(await textOf(page, 'main li'), /Active[\s\S]*Running/);
  await press(page, 'main li a', /open/);
  await running(page);
  assert.deepEqual(page.requests.filter((x) => new URL(x).origin !== sandbox.url), []);
}));

test('WeChat Pay: the code is the order’s, and scanning it pays', () => onPage(
  async (page) => {
    await signIn(page, sandbox, 'bob');
    const id = await order(page, sandbox, 'BASIC');
    const made = await choose(page, 'WECHAT.native');
    assert.match(made.qrCode, /^weixin:/);
    // Read as a phone's camera would.
    const dark = await page.$eval('.qr path:last-child', (x) => x.getAttribute('d'));
    const size = await page.$eval('.qr', (x) => x.viewBox.baseVal.width);
    const side = size * 4;
    const pixels = new Uint8ClampedArray(side * side * 4).fill(255);
    for (const [, x, y] of dark.matchAll(/M(\d+) (\d+)h1v1h-1z/g)) {
      for (let dy = 0; dy < 4; dy += 1) {
        for (let dx = 0; dx < 4; dx += 1) {
          pixels.fill(0, ((y * 4 + dy) * side + x * 4 + dx) * 4,
            ((y * 4 + dy) * side + x * 4 + dx) * 4 + 3);
        }
      }
    }
    assert.equal(jsQR(pixels, side, side)?.data, made.qrCode);
    await screenshot(page, 'scan');
    assert.equal(await payAtCashier(page), new URL(sandbox.wechat).host);
    await running(page);
    assert.ok(page.url().endsWith(`#/subscription/${id}`));
    const api = await sandbox.apiOf(page);
    assert.equal((await api.get(`/api/payment/${made.orderId}`)).ok().status, 'PAID');
  }));

test('a build that fails for good: the reason, and a retry that works', () => onPage(
  async (page) => {
    await sandbox.switches({ failNext: 'build', failCount: 3 });
    const id = await bought(page, sandbox, 'carol');
    await page.waitForSelector('#retry', { timeout: WITHIN });
    assert.match(await textOf(page, 'h1'), /failed/);
    const api = await sandbox.apiOf(page);
    const { error } = (await api.get(`/api/deployment/status/${id}`)).ok();
    assert.ok(error);
    assert.equal(await textOf(page, '#reason'), error);
    await screenshot(page, 'failed');
    await press(page, '#retry');
    await running(page);
    assert.equal(await page.$('#reason'), null);
  }));

test('cancel while it builds: asked first, then confirmed at the provider', () => onPage(
  async (page) => {
    await sandbox.switches({ hangIn: 'BUILDING', hangCount: 1 });
    const id = await bought(page, sandbox, 'dave');
    await eventually('it builds', async () => (
      await sandbox.deploymentOf(id))?.status === 'BUILDING', { within: WITHIN });
    await page.waitForSelector('.from-build', { timeout: WITHIN });
    await screenshot(page, 'progress');
    await press(page, '#cancel');
    await press(page, '.sure button', /no, go on/);
    assert.equal((await (await sandbox.apiOf(page)).get(`/api/deployment/status/${id}`))
      .ok().status, 'deploying');
    await press(page, '#cancel');
    await press(page, '#cancel-yes');
    await page.waitForFunction(() => /^stopped/i.test(
      document.querySelector('h1').innerText), { timeout: WITHIN });
    const { projects } = await sandbox.state();
    assert.ok(projects.filter((x) => x.description.includes(id)).every((x) => x.deletedAt));
    // Thought better of it.
    await press(page, '#retry');
    await running(page);
  }));

test('a reload goes on where it was: at the payment and at the deployment', () => onPage(
  async (page) => {
    await sandbox.switches({ hangIn: 'BUILDING', hangCount: 1 });
    await signIn(page, sandbox, 'erin');
    const id = await order(page, sandbox);
    const made = await choose(page, 'ALIPAY.qr');
    const again = page.waitForResponse((x) => x.url().endsWith('/api/payment/create'));
    await page.reload();
    const { data } = await (await again).json();
    assert.equal(data.orderId, made.orderId, 'the same order');
    assert.equal(data.qrCode, made.qrCode);
    await page.waitForSelector('#pay-link');
    await payOutside(sandbox, made);
    await page.waitForFunction(() => document.querySelectorAll('.from-build').length > 1,
      { timeout: WITHIN });
    await page.reload();
    await page.waitForSelector('.mode[data-mode=live]', { timeout: WITHIN });
    assert.match(await textOf(page, '.steps .current'), /building/i);
    await sandbox.release(id);
    await running(page);
    const api = await sandbox.apiOf(page);
    const { logs } = (await api.get(`/api/deployment/logs/${id}?limit=1000`)).ok();
    await eventually('the log from its beginning, each line once', async () => {
      const lines = await page.$$eval('.lines li', (all) => all.map((x) => [
        x.querySelector('time').dateTime, x.querySelector('.said').textContent].join(' ')));
      return logs.every((x) => lines.filter((y) => y === `${x.timestamp} ${x.message}`).length
        === logs.filter((y) => y.timestamp === x.timestamp && y.message === x.message).length);
    });
  }));

test('connection lost and back: it says so, and goes on', () => onPage(async (page) => {
  const wire = await Proxy.start(sandbox.port);
  page.expectProblem(NETWORK);
  try {
    await sandbox.switches({ hangIn: 'BUILDING', hangCount: 1 });
    const behind = { __proto__: sandbox, shop: wire.instead(sandbox.shop),
      url: wire.instead(sandbox.url) };
    const id = await bought(page, behind, 'frank');
    await page.waitForSelector('.mode[data-mode=live]', { timeout: WITHIN });
    await eventually('it builds', async () => (
      await sandbox.deploymentOf(id))?.status === 'BUILDING', { within: WITHIN });
    await wire.set('refuse');
    await page.waitForSelector('.mode[data-mode=lost]', { timeout: WITHIN });
    await page.waitForFunction(() => document.getElementById('offline').checkVisibility(),
      { timeout: WITHIN });
    // What happens meanwhile is not missed.
    await sandbox.release(id);
    await eventually('it runs', async () => (await (await sandbox.apiOf(page))
      .get(`/api/deployment/status/${id}`)).ok().status === 'running', { within: WITHIN });
    assert.equal(await page.$('#address'), null);
    await wire.set('open');
    await running(page);
    await page.waitForSelector('.mode[data-mode=live]', { timeout: WITHIN });
    await page.waitForFunction(() => !document.getElementById('offline').checkVisibility(),
      { timeout: WITHIN });
    // The browser knows as well when there is no network at all.
    await page.setOfflineMode(true);
    await page.waitForFunction(() => document.getElementById('offline').checkVisibility(),
      { timeout: WITHIN });
    await page.setOfflineMode(false);
    await page.waitForFunction(() => !document.getElementById('offline').checkVisibility(),
      { timeout: WITHIN });
  } finally {
    await wire.stop();
  }
}));

test('where no stream comes through it asks, with the ETag of the last answer', () => onPage(
  async (page) => {
    await sandbox.switches({ slowBuilds: 4 });
    page.expectProblem(NETWORK);
    await page.setRequestInterception(true);
    page.on('request', (x) => {
      if (/\/api\/deployment\/(events\/|logs\/.+\/stream)/.test(x.url())) x.abort();
      else x.continue();
    });
    const answers = [];
    page.on('response', (x) => {
      if (x.url().includes('/api/deployment/status/')) answers.push(x.status());
    });
    await bought(page, sandbox, 'grace');
    await record(page);
    await running(page);
    assert.ok((await recorded(page)).mode.includes('polling'));
    assert.ok(answers.includes(200), `${answers}`);
    await eventually('nothing new is no body', () => answers.includes(304),
      { within: WITHIN });
    await page.waitForFunction(() => document.querySelectorAll('.from-build').length > 1,
      { timeout: WITHIN });
  }));

test('an order that has been paid elsewhere, and a token that is no good', () => onPage(
  async (page) => {
    page.expectProblem(/status of 40[14]/);
    await signIn(page, sandbox, 'heidi');
    const id = await order(page, sandbox);
    const made = await choose(page, 'ALIPAY.qr');
    await payOutside(sandbox, made);
    await running(page);
    // Its payment is done; whoever comes again is led on.
    await page.goto(`${sandbox.shop}#/pay/${id}`);
    await page.waitForFunction(() => /paid for already/.test(document.body.innerText),
      { timeout: WITHIN });
    // Alipay leads back with the order in the address.
    await page.goto(`${sandbox.shop}?out_trade_no=${made.orderId}`);
    await running(page);
    assert.ok(page.url().endsWith(`#/subscription/${id}`));
    // Somebody else's.
    await page.goto(`${sandbox.shop}#/sign-in`);
    await fill(page, 'input[autocomplete=username]', 'ivan');
    await press(page, '#sign-in');
    await heading(page, /choose a plan/);
    await page.evaluate((to) => { location.hash = to; }, `#/subscription/${id}`);
    await page.waitForSelector('.failure', { timeout: WITHIN });
    assert.match(await textOf(page, '.failure'), /no such subscription/);
    // A token that does not hold.
    await page.goto(`${sandbox.shop}#/sign-in`);
    await press(page, 'summary');
    await fill(page, 'details textarea', 'no token');
    await press(page, 'details button');
    assert.match(await textOf(page, 'details .wrong'), /three parts/);
    await fill(page, 'details textarea', 'eyJh.eyJz.c2ln');
    await press(page, 'details button');
    await page.waitForSelector('#sign-out');
    await press(page, 'header nav a', /my subscriptions/);
    await heading(page, /sign in/);
    assert.match(await textOf(page, '.failure'), /sign in again/);
  }));

// A sandbox with its shop, and somebody who buys there.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { killPostgresIn, temporaryDirectory } from './cleanup.mjs';
import { Api } from './client.mjs';
import { request } from './http.mjs';
import { claimsOf } from './jwt.mjs';
import { freePort } from './ports.mjs';
import { Slipway } from './slipway.mjs';
import { eventually, fatal } from './wait.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));

/** Browsers are slow on a busy machine. */
export const WITHIN = 60_000;

export class Sandbox {
  static async start() {
    const sandbox = new this();
    sandbox.home = temporaryDirectory();
    sandbox.port = await freePort();
    sandbox.url = `http://127.0.0.1:${sandbox.port}`;
    sandbox.server = new Slipway({ dir: sandbox.home.dir, args: ['serve',
      '--sandbox', '--data-dir', `${sandbox.home.dir}/sandbox`, '--port',
      String(sandbox.port)] });
    sandbox.server.spawn();
    await eventually('the banner', () => {
      if (!sandbox.server.running) {
        throw fatal(`it ended:\n${sandbox.server.tail()}`);
      }
      return /operator token +\S+\s/.test(sandbox.server.stdout);
    }, { within: 150_000 });
    const printed = (name) => new RegExp(`^  ${name} +(\\S+)`, 'm')
      .exec(sandbox.server.stdout)?.[1];
    sandbox.shop = printed('try it');
    sandbox.userToken = printed('user token');
    for (const name of ['Alipay', 'WeChat Pay', 'Railway', 'mailbox']) {
      sandbox[name.split(' ')[0].toLowerCase()] = printed(name);
    }
    return sandbox;
  }

  async stop() {
    try {
      await this.server.terminate();
    } finally {
      await this.server.kill();
      killPostgresIn(this.home.dir);
      this.home.remove();
    }
  }

  /** Sets switches of the simulated Railway. */
  async switches(values) {
    const answer = await request(`${this.railway}sandbox/railway`, {
      method: 'PUT', body: JSON.stringify(values),
      headers: { 'Content-Type': 'application/json' } });
    assert.equal(answer.status, 200, answer.text);
  }

  async state() {
    return (await request(`${this.railway}sandbox/railway/state`)).json();
  }

  /** The newest deployment at the simulated Railway. */
  async deploymentOf(subscriptionId) {
    const { projects } = await this.state();
    const own = projects.filter((x) => x.description.includes(subscriptionId));
    return own.at(-1)?.services.flatMap((x) => x.deployments).at(-1);
  }

  api(token = this.userToken) {
    return new Api(this.url, token);
  }

  /** What hangs there goes on. */
  async release(subscriptionId) {
    const { id } = await this.deploymentOf(subscriptionId);
    const answer = await request(`${this.railway}sandbox/railway/deployments/${
      id}/release`, { method: 'POST' });
    assert.ok(answer.status < 400, answer.text);
  }

  /** The API for whoever is signed in on a page. */
  async apiOf(page) {
    const token = await page.evaluate(() => JSON.parse(
      sessionStorage.getItem('shop.session')).token);
    assert.ok(claimsOf(token).sub);
    return this.api(token);
  }
}

/** The text of the first element, as a person sees it. */
export const textOf = (page, selector) => page.$eval(selector, (x) => x.innerText.trim());

export async function heading(page, pattern) {
  await page.waitForFunction((source) => new RegExp(source, 'i').test(
    document.querySelector('main h1')?.innerText ?? ''), { timeout: WITHIN },
  pattern.source);
}

/** Waits for an element with that text, and clicks it as a person would. */
export async function press(page, selector, pattern = /./) {
  const found = await page.waitForFunction((where, source) => [
    ...document.querySelectorAll(where)].find((x) => x.checkVisibility()
    && new RegExp(source, 'i').test(x.innerText || x.getAttribute('aria-label'))),
  { timeout: WITHIN }, selector, pattern.source);
  await found.click();
}

export async function fill(page, selector, text) {
  const input = await page.waitForSelector(selector, { timeout: WITHIN });
  await input.evaluate((x) => { x.value = ''; });
  await input.type(text);
}

/** From anywhere to the sign-in, and through it. */
export async function signIn(page, sandbox, user) {
  await page.goto(`${sandbox.shop}#/sign-in`);
  await fill(page, 'input[autocomplete=username]', user);
  await press(page, '#sign-in');
  await page.waitForSelector('#sign-out', { timeout: WITHIN });
}

/** Picks a plan, leaves the channels empty, and is at the payment. */
export async function order(page, sandbox, plan = 'PRO') {
  await page.goto(`${sandbox.shop}#/`);
  await press(page, `a[href="#/buy/${plan}"]`);
  await press(page, 'form button[type=submit]');
  await page.waitForSelector('.ways', { timeout: WITHIN });
  return idOn(page);
}

/** The subscription that a page is about. */
export function idOn(page) {
  const id = page.url().split('/').at(-1);
  assert.match(id, /^[\w-]{8,}$/, page.url());
  return id;
}

/** Chooses a way to pay; resolves to the order as the API has told it. */
export async function choose(page, way) {
  const answer = page.waitForResponse((x) => x.url().endsWith('/api/payment/create'),
    { timeout: WITHIN });
  await press(page, `.way:has(input[value="${way}"])`);
  await press(page, 'form button[type=submit]');
  const { data } = await (await answer).json();
  await page.waitForSelector('#pay-link', { timeout: WITHIN });
  return data;
}

/** Opens the simulated cashier in its own tab, pays, and closes it. */
export async function payAtCashier(page) {
  const opened = new Promise((resolve) => {
    page.browserContext().once('targetcreated', resolve);
  });
  await press(page, '#pay-link');
  const tab = await (await opened).page();
  await tab.waitForSelector('button.main', { timeout: WITHIN });
  const hosts = new URL(tab.url()).host;
  await Promise.all([tab.waitForNavigation({ timeout: WITHIN }),
    tab.click('button.main')]);
  await tab.waitForSelector('h1.good', { timeout: WITHIN });
  await tab.close();
  await page.bringToFront();
  return hosts;
}

/** Remembers every percent, step and mode that the page shows from here on. */
export async function record(page) {
  await page.evaluate(() => {
    const seen = { percent: [], step: [], mode: [], spoken: [] };
    window.seen = seen;
    const note = (list, value) => {
      if (value && list.at(-1) !== value) list.push(value);
    };
    const look = () => {
      note(seen.percent, document.querySelector('.percent')?.innerText);
      note(seen.step, document.querySelector('.steps .current span')?.innerText);
      note(seen.mode, document.querySelector('.mode')?.dataset.mode);
      note(seen.spoken, document.getElementById('spoken').textContent);
    };
    new MutationObserver(look).observe(document.body, { subtree: true,
      childList: true, characterData: true, attributes: true });
    look();
  });
}

export const recorded = (page) => page.evaluate(() => window.seen);

/** What an order costs here and now is paid without a browser. */
export async function payOutside(sandbox, made) {
  const at = made.gateway === 'ALIPAY' ? sandbox.alipay : sandbox.wechat;
  if (made.payUrl) await request(made.payUrl);
  const answer = await request(`${at}sandbox/trades/${made.orderId}/pay`,
    { method: 'POST' });
  assert.equal(answer.status, 200, answer.text);
}

/** Signed in, ordered and paid for: at the progress page. */
export async function bought(page, sandbox, user, way = 'ALIPAY.qr') {
  await signIn(page, sandbox, user);
  const id = await order(page, sandbox);
  await payOutside(sandbox, await choose(page, way));
  await page.waitForSelector('#progress', { timeout: WITHIN });
  return id;
}

export const running = (page) => page.waitForSelector('#address', { timeout: WITHIN });

/** A picture for the documentation, when SLIPWAY_SCREENSHOTS is set. */
export async function screenshot(page, name) {
  if (!process.env.SLIPWAY_SCREENSHOTS) return;
  const file = path.resolve(here, `../../../docs/images/shop-${name}.png`);
  fs.mkdirSync(path.dirname(file), { recursive: true });
  // Where animations would be is left to chance otherwise.
  const dark = await page.evaluate(() => matchMedia('(prefers-color-scheme: dark)').matches);
  const scheme = { name: 'prefers-color-scheme', value: dark ? 'dark' : 'light' };
  await page.emulateMediaFeatures([scheme, { name: 'prefers-reduced-motion',
    value: 'reduce' }]);
  await page.screenshot({ path: file });
  await page.emulateMediaFeatures([scheme]);
  assert.ok(fs.statSync(file).size < 150 * 1024, `${file} is too large`);
}

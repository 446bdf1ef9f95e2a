// The shop for everybody: two languages, a small screen, the dark, a keyboard, a
// screen reader; and nothing from outside that becomes more than text.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import jsQR from 'jsqr';
import { openBrowser } from './lib/browser.mjs';
import { request } from './lib/http.mjs';
import { claimsOf } from './lib/jwt.mjs';
import { bought, choose, fill, heading, order, payOutside, press, running, Sandbox,
         screenshot, signIn, textOf, WITHIN } from './lib/shop.mjs';
import { after, before, test } from './lib/suite.mjs';
import { World } from './lib/world.mjs';

const axe = fs.readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'),
  'utf8');

let sandbox;

before(async () => {
  sandbox = await Sandbox.start();
});

after(async () => {
  await sandbox?.stop();
});

/** A browser of these looks with one page, which must not print an error. */
async function inBrowser(looks, run) {
  const browser = await openBrowser(looks);
  const page = await browser.newPage();
  try {
    await run(page);
  } catch (error) {
    error.message += `\nat ${page.url()}\n${page.problems.join('\n')}`;
    await browser.browser.close();
    throw error;
  } finally {
    await sandbox.switches({ slowBuilds: 1, slowMs: 0, failNext: null, hangIn: null });
  }
  await browser.close();
}

/** Goes through all pages and calls `look` on each, with its name. */
async function everyPage(page, user, look) {
  const go = async (hash, selector) => {
    await page.goto(`${sandbox.shop}${hash}`);
    await page.waitForSelector(selector, { timeout: WITHIN });
  };
  await go('#/', '.plan');
  await look('plans');
  await go('#/sign-in', '#sign-in');
  await press(page, 'summary');
  await look('sign-in');
  await signIn(page, sandbox, user);
  await go('#/subscriptions', '.empty');
  await look('no subscriptions');
  await go('#/notifications', '.empty');
  await look('no notifications');
  await go('#/buy/PRO', '.channel');
  await press(page, '.segment:last-child');
  await fill(page, 'textarea', '{"broken');
  await press(page, 'form button[type=submit]');
  await page.waitForFunction(() => document.querySelector('[aria-invalid=true]'));
  await look('channels with a mistake');
  await order(page, sandbox);
  await look('ways to pay');
  const made = await choose(page, 'WECHAT.native');
  await look('code');
  // The first build hangs until everything has been seen of it.
  await sandbox.switches({ hangIn: 'BUILDING', hangCount: 1, failNext: 'build',
    failCount: 3 });
  await payOutside(sandbox, made);
  await page.waitForFunction(() => document.querySelectorAll('.from-build').length > 0,
    { timeout: WITHIN });
  await look('progress');
  await press(page, '#cancel');
  await page.waitForSelector('.sure');
  await look('a question');
  const id = page.url().split('/').at(-1);
  await sandbox.release(id);
  await page.waitForSelector('#retry', { timeout: WITHIN });
  await look('failed');
  await press(page, '#retry');
  await running(page);
  await look('running');
  await go('#/subscriptions', 'li.card');
  await look('subscriptions');
  await go('#/notifications', 'li.unread');
  await look('notifications');
  await go('#/nowhere', '.failure');
  await look('no such page');
}

/** What keeps people out, by axe's judgement: serious and critical ones. */
async function violations(page) {
  await page.evaluate(axe);
  const found = await page.evaluate(() => window.axe.run(document, {
    runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
    resultTypes: ['violations'] }));
  return found.violations.filter((x) => ['serious', 'critical'].includes(x.impact))
    .map((x) => `${x.id}: ${x.help}\n  ${x.nodes.map((n) => `${n.html.slice(0, 200)} ${
      n.failureSummary.replaceAll('\n', ' ')}`).join('\n  ')}`);
}

async function checkEveryPage(page, user) {
  // axe writes into the page, which the page's own policy forbids.
  await page.setBypassCSP(true);
  const found = [];
  let seen = 0;
  await everyPage(page, user, async (name) => {
    seen += 1;
    for (const x of await violations(page)) found.push(`${name}: ${x}`);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth
      - window.innerWidth);
    if (wide > 0) found.push(`${name}: ${wide} px too wide`);
  });
  assert.ok(seen >= 13, `${seen}`);
  assert.deepEqual(found, []);
}

test('zh-CN on a phone of 360 px, light: no barriers, nothing too wide', () => inBrowser(
  { width: 360, height: 740, locale: 'zh-CN' }, async (page) => {
    await page.goto(sandbox.shop);
    await heading(page, /选择套餐/);
    assert.equal(await page.$eval('html', (x) => x.lang), 'zh-CN');
    await screenshot(page, 'phone');
    await checkEveryPage(page, '小明');
    // Nothing is left in English but what comes from outside.
    await page.goto(`${sandbox.shop}#/subscriptions`);
    await press(page, 'main li a');
    await running(page);
    await screenshot(page, 'phone-running');
    const words = await page.$eval('main', (x) => {
      x.querySelectorAll('.said, code, #address, .address').forEach((y) => y.remove());
      return x.innerText;
    });
    assert.deepEqual(words.match(/[A-Za-z]{3,}/g)?.filter((x) => x !== 'Railway'
      && !/^(PRO|ALIPAY|WECHAT)$/.test(x)) ?? [], []);
  }));

test('English on a desk, in the dark: no barriers', () => inBrowser(
  { width: 1100, height: 900, dark: true }, async (page) => {
    const [r] = await page.goto(sandbox.shop).then(() => page.$eval('body',
      (x) => getComputedStyle(x).backgroundColor.match(/\d+/g).map(Number)));
    assert.ok(r < 64, 'it is dark');
    await screenshot(page, 'dark');
    await checkEveryPage(page, 'night-owl');
  }));

test('another language: the page, and what the server says', () => inBrowser({},
  async (page) => {
    const id = await bought(page, sandbox, 'linguist');
    await running(page);
    await page.select('#language', 'zh-CN');
    await heading(page, /您的实例已运行/);
    assert.ok(page.url().endsWith(id));
    const token = await page.evaluate(() => JSON.parse(
      sessionStorage.getItem('shop.session')).token);
    assert.equal(claimsOf(token).locale, 'zh-CN');
    await page.goto(`${sandbox.shop}#/notifications`);
    await page.waitForSelector('main li h2', { timeout: WITHIN });
    assert.match(await textOf(page, 'main li h2'), /[\u4e00-\u9fff]/);
    await page.reload();
    await heading(page, /通知/);
    // Neither language has words that the other one lacks.
    const [en, zh] = await page.evaluate(async () => {
      const { dictionaries } = await import('/shop/i18n.js');
      return ['en', 'zh-CN'].map((x) => Object.entries(dictionaries[x]).map(
        ([key, text]) => [key, (text.match(/\{\w+\}/g) ?? []).toSorted().join()]));
    });
    assert.deepEqual(en.toSorted(), zh.toSorted());
  }));

test('with the keyboard alone, from the first link to the payment', () => inBrowser({},
  async (page) => {
    await signIn(page, sandbox, 'typist');
    await page.goto(`${sandbox.shop}#/`);
    await page.reload();
    await heading(page, /choose a plan/);
    const focus = () => page.evaluate(() => {
      const x = document.activeElement;
      return `${x.tagName} ${x.innerText ?? ''} ${x.getAttribute('href') ?? ''}`;
    });
    const tabTo = async (pattern) => {
      for (let i = 0; i < 40; i += 1) {
        if (pattern.test(await focus())) {
          // Whoever goes by keys sees where they are.
          assert.notEqual(await page.evaluate(() => getComputedStyle(
            document.activeElement).outlineStyle), 'none', await focus());
          return;
        }
        await page.keyboard.press('Tab');
      }
      throw new Error(`no way to ${pattern}, the focus is on ${await focus()}`);
    };
    await page.keyboard.press('Tab');
    assert.match(await focus(), /skip to content/i);
    await page.keyboard.press('Enter');
    assert.match(await focus(), /^MAIN/);
    await tabTo(/#\/buy\/BASIC/);
    await page.keyboard.press('Enter');
    await heading(page, /channels/);
    assert.match(await focus(), /^H1/, 'the new page has the focus');
    await tabTo(/^BUTTON Continue/);
    await page.keyboard.press('Enter');
    await page.waitForSelector('.ways', { timeout: WITHIN });
    await tabTo(/^INPUT/);
    await page.keyboard.press('ArrowDown');
    await tabTo(/^BUTTON Pay/);
    await page.keyboard.press('Enter');
    await page.waitForSelector('.qr', { timeout: WITHIN });
  }));

test('nothing moves for those who do not like it', () => inBrowser({}, async (page) => {
  await page.emulateMediaFeatures([{ name: 'prefers-reduced-motion', value: 'reduce' }]);
  await signIn(page, sandbox, 'calm');
  await order(page, sandbox);
  await choose(page, 'ALIPAY.qr');
  assert.equal(await page.evaluate(() => document.getAnimations().length), 0);
  await page.emulateMediaFeatures([]);
  assert.notEqual(await page.evaluate(() => document.getAnimations().length), 0);
}));

const MARKUP = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>';

/** Another one, since secrets are taken out of logs. */
const SECRET = '<svg onload="window.hacked=1"><a href="javascript:window.hacked=1">';

test('markup in credentials, names, logs and addresses stays text', () => inBrowser({},
  async (page) => {
    await sandbox.switches({ hangIn: 'BUILDING', hangCount: 1 });
    await signIn(page, sandbox, MARKUP.slice(0, 64));
    await page.goto(`${sandbox.shop}#/buy/PRO`);
    await fill(page, '.channel > .field input', MARKUP);
    await fill(page, '.pair .field:nth-of-type(2) input', SECRET);
    await press(page, 'form button[type=submit]');
    await page.waitForFunction(() => document.querySelector('.wrong').innerText);
    await fill(page, '.channel > .field input', 'SLACK');
    await fill(page, '.pair .field input', MARKUP);
    await press(page, '.segment:last-child');
    await fill(page, 'textarea', MARKUP);
    await press(page, 'form button[type=submit]');
    await page.waitForFunction(() => /JSON/.test(
      document.querySelector('[aria-invalid=true] ~ .wrong')?.innerText));
    await press(page, '.segment:first-child');
    await press(page, 'form button[type=submit]');
    await page.waitForSelector('.ways', { timeout: WITHIN });
    const id = page.url().split('/').at(-1);
    await payOutside(sandbox, await choose(page, 'ALIPAY.qr'));
    await page.waitForFunction(() => document.querySelectorAll('.from-build').length > 0,
      { timeout: WITHIN });
    const { id: deployment } = await sandbox.deploymentOf(id);
    const said = await request(`${sandbox.railway}sandbox/railway/deployments/${
      deployment}/log`, { method: 'POST', headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ message: MARKUP, severity: 'error', build: true }) });
    assert.ok(said.status < 400, said.text);
    await page.waitForFunction((text) => [...document.querySelectorAll('.said')]
      .some((x) => x.textContent === text), { timeout: WITHIN }, MARKUP);
    await sandbox.release(id);
    await running(page);
    assert.equal(await page.evaluate(() => window.hacked), undefined);
    assert.equal(await page.$('img, main script'), null);
    // An address that would act is no link.
    assert.deepEqual(await page.evaluate(async () => {
      const { el, outside } = await import('/shop/dom.js');
      const refused = [];
      for (const name of ['onclick', 'ONCLICK', 'style', 'srcdoc']) {
        try {
          el('a', { [name]: 'window.hacked=1' });
        } catch {
          refused.push(name);
        }
      }
      return [refused, ['javascript:window.hacked=1', ' javascript:alert(1)',
        'data:text/html,x', 'x', undefined].map((x) => outside(x, 'x').tagName),
      outside('https://example.com/', 'x').rel];
    }), [['onclick', 'ONCLICK', 'style', 'srcdoc'], Array(5).fill('SPAN'),
      'noopener noreferrer']);
    // Nor would the page's policy let it.
    assert.match(await page.evaluate(() => {
      try {
        document.createElement('div').innerHTML = '<b>';
        return 'written';
      } catch (error) {
        return error.name;
      }
    }), /TypeError/);
    page.expectProblem(/TrustedHTML|trusted-types|policy violated/i);
    assert.deepEqual(page.requests.filter((x) => new URL(x).origin !== sandbox.url), []);
  }));

test('codes of every length can be read', () => inBrowser({}, async (page) => {
  await page.goto(sandbox.shop);
  for (const length of [1, 14, 15, 62, 122, 180, 181, 213, 500, 1000, 2331]) {
    const text = Array.from({ length }, (_, i) => String.fromCharCode(
      33 + ((i * 7 + length) % 90))).join('');
    const rows = await page.evaluate(async (x) => (await import('/shop/qr.js')).encode(x),
      text);
    const side = (rows.length + 8) * 4;
    const pixels = new Uint8ClampedArray(side * side * 4).fill(255);
    rows.forEach((row, y) => row.forEach((dark, x) => {
      for (let dy = 0; dark && dy < 4; dy += 1) {
        const at = ((y * 4 + 16 + dy) * side + x * 4 + 16) * 4;
        pixels.fill(0, at, at + 16);
      }
    }));
    for (let i = 3; i < pixels.length; i += 4) pixels[i] = 255;
    assert.equal(jsQR(pixels, side, side)?.data, text, `${length}`);
  }
  assert.equal(await page.evaluate(async () => {
    const { encode } = await import('/shop/qr.js');
    try {
      encode('x'.repeat(2332));
      return 'made';
    } catch (error) {
      return error.name;
    }
  }), 'RangeError');
}));

test('events are read as the standard has it, in whatever pieces they come', () => inBrowser(
  {}, async (page) => {
    await page.goto(sandbox.shop);
    const text = '\ufeff'.slice(1) + ': hello\n\nid: 1\nevent: status\ndata: {"a":\ndata: 1}\n\n'
      + 'data:no blank\r\n\r\nretry: 250\nid: 2\rdata: cr\r\r'
      + 'event: empty\n\nid: bad\0id\ndata: kept\n\ndata: unfinished';
    const read = (size) => page.evaluate(async (all, n) => {
      const { eventParser } = await import('/shop/sse.js');
      const got = [];
      const feed = eventParser((x) => got.push([x.id, x.event, x.data]),
        { onRetry: (ms) => got.push(ms) });
      for (let i = 0; i < all.length; i += n) feed(all.slice(i, i + n));
      return got;
    }, text, size);
    const whole = [['1', 'status', '{"a":\n1}'], ['1', 'message', 'no blank'], 250,
      ['2', 'message', 'cr'], ['2', 'message', 'kept']];
    for (const size of [1, 2, 3, 7, 1000]) assert.deepEqual(await read(size), whole);
  }));

test('what is served: policy, types, 304, and tokens on this machine only', async () => {
  const index = await request(sandbox.shop);
  assert.equal(index.status, 200);
  assert.match(index.headers['content-type'], /^text\/html; charset=utf-8/);
  for (const part of ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'",
    "require-trusted-types-for 'script'"]) {
    assert.ok(index.headers['content-security-policy'].includes(part), part);
  }
  assert.equal(index.headers['x-content-type-options'], 'nosniff');
  assert.equal(index.headers['referrer-policy'], 'no-referrer');
  assert.doesNotMatch(index.text, /<style|style=|<script(?![^>]* src=)/, 'nothing inline');
  const again = await request(sandbox.shop, { headers: {
    'If-None-Match': index.headers.etag } });
  assert.equal(again.status, 304);
  const script = await request(`${sandbox.shop}/shop.js`);
  assert.match(script.headers['content-type'], /^text\/javascript/);
  const style = await request(`${sandbox.shop}/shop.css`);
  assert.match(style.headers['content-type'], /^text\/css/);
  assert.equal((await request(`${sandbox.shop}/views/none.js`)).status, 404);

  const told = (await sandbox.api(undefined).get('/sandbox/shop')).ok();
  assert.equal(claimsOf(told.token).sub, claimsOf(sandbox.userToken).sub);
  for (const name of ['alipay', 'wechat', 'railway', 'mailbox']) {
    assert.equal(told.links[name], sandbox[name]);
  }
  const visitors = (body) => sandbox.api(undefined).post('/sandbox/shop/visitors', body);
  const made = (await visitors({ userId: 'eve', email: 'eve@example.com', locale: 'en',
    role: 'operator' })).ok(201);
  const { sub, email, locale, role } = claimsOf(made.token);
  assert.deepEqual({ sub, email, locale, role }, { sub: 'eve', email: 'eve@example.com',
    locale: 'en', role: undefined });
  (await sandbox.api(made.token).get('/api/subscriptions')).list();
  (await sandbox.api(made.token).get('/api/deployment-monitor/stats')).fails(403);
  for (const [wrong, message] of [[{ userId: '' }, /userId/], [{ userId: 'a\nb' }, /userId/],
    [{ userId: 'x'.repeat(65) }, /userId/], [{ userId: 7 }, /userId/],
    [{ locale: 'fr' }, /locale/], [{ email: 'x'.repeat(255) }, /email/]]) {
    assert.match((await visitors(wrong)).fails(400).message, message);
  }
  for (const bytes of ['[]', '{', '"x"']) {
    (await sandbox.api(undefined).send('POST', '/sandbox/shop/visitors', { bytes,
      headers: { 'Content-Type': 'application/json' } })).fails(400);
  }
  for (const host of ['evil.example', '127.0.0.1.evil.example', 'localhost.evil.example:80',
    'evil.example:8080']) {
    const answer = await request(`${sandbox.url}/sandbox/shop`, { headers: { Host: host } });
    assert.equal(answer.status, 403, host);
    assert.doesNotMatch(answer.text, /eyJ/);
  }
  assert.equal((await request(`${sandbox.url}/sandbox/shop`, { headers: {
    Host: `localhost:${sandbox.port}` } })).status, 200);
});

test('a real server has neither the shop nor its tokens', async () => {
  const world = await World.start({});
  try {
    for (const path of ['/', '/shop', '/shop/shop.js', '/sandbox/shop']) {
      assert.equal((await request(`${world.url}${path}`)).status, 404, path);
    }
    assert.equal((await request(`${world.url}/sandbox/shop/visitors`,
      { method: 'POST', body: '{}' })).status, 404);
  } finally {
    await world.stop();
  }
});


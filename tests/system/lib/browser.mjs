// A real browser, headless. What goes wrong in a page goes wrong in the test.

import fs from 'node:fs';
import puppeteer from 'puppeteer-core';

const PROGRAMS = ['/usr/bin/chromium', '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome'];

/** The browser's program; SLIPWAY_CHROMIUM names another one. */
function program() {
  const found = process.env.SLIPWAY_CHROMIUM
    ?? PROGRAMS.find((path) => fs.existsSync(path));
  if (!found) {
    throw new Error('no Chromium: apt-get install chromium, or set '
      + 'SLIPWAY_CHROMIUM');
  }
  return found;
}

/**
 * @param width of the window in CSS pixels
 * @param height likewise
 * @param locale what the browser prefers, `zh-CN`
 * @param dark whether its owner likes it dark
 * @returns {browser, newPage(), close()}. Every page collects in `page.problems`
 *   what was printed as an error, thrown and not caught, or refused by a content
 *   security policy, and `close()` throws when there is any, except for what
 *   `page.expectProblem(/pattern/)` has announced. `page.requests` holds the
 *   addresses of all requests.
 */
export async function openBrowser({ width = 1280, height = 800, locale = 'en',
                                    dark = false } = {}) {
  const browser = await puppeteer.launch({
    executablePath: program(), headless: true, pipe: true,
    args: [
      // Chromium's own sandbox does not start as root, or in containers.
      '--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu',
      '--disable-extensions', '--disable-background-networking',
      '--disable-component-update', '--no-first-run', '--mute-audio',
      // The same letters on every machine.
      '--font-render-hinting=none', `--lang=${locale}`,
    ],
  });
  const pages = [];

  async function newPage() {
    // Pages share nothing: neither cookies nor storage.
    const context = await browser.createBrowserContext();
    const page = await context.newPage();
    page.setDefaultTimeout(20_000);
    page.problems = [];
    page.requests = [];
    const expected = [];
    page.expectProblem = (pattern) => expected.push(pattern);
    page.unexpected = () => page.problems.filter(
      (text) => !expected.some((pattern) => pattern.test(text)));
    page.on('console', (message) => {
      if (message.type() !== 'error') return;
      const { url } = message.location();
      page.problems.push(message.text() + (url ? ` (${url})` : ''));
    });
    page.on('pageerror', (error) => {
      page.problems.push(`not caught: ${error?.stack ?? error}`);
    });
    page.on('request', (request) => page.requests.push(request.url()));
    await page.evaluateOnNewDocument(() => {
      document.addEventListener('securitypolicyviolation', (event) => {
        console.error(`policy violated: ${event.violatedDirective} by ${
          event.blockedURI} at ${event.sourceFile}:${event.lineNumber}`);
      });
    });
    await page.setViewport({ width, height });
    await page.emulateMediaFeatures([
      { name: 'prefers-color-scheme', value: dark ? 'dark' : 'light' }]);
    const session = await page.createCDPSession();
    await session.send('Emulation.setLocaleOverride',
      { locale: locale.replace('-', '_') });
    await session.send('Network.setUserAgentOverride',
      { userAgent: await browser.userAgent(), acceptLanguage: locale });
    pages.push(page);
    return page;
  }

  async function close() {
    await browser.close();
    const problems = pages.flatMap((page) => page.unexpected());
    if (problems.length > 0) {
      throw new Error(`in the browser:\n${problems.join('\n')}`);
    }
  }

  return { browser, newPage, close };
}

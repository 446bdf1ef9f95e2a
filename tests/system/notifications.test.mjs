// What people are told, in whose words, and what becomes of mails that come back.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from './lib/suite.mjs';
import { run } from './lib/slipway.mjs';
import { World } from './lib/world.mjs';

let world;
let templates;
const write = (name, text) => fs.writeFileSync(path.join(templates, name), text);
const receipt = (title) => `title: ${title}\nmessage: {{price}} came\n`
  + 'subject: s\n\nbody\n';

before(async () => {
  world = await World.start({ start: false });
  templates = path.join(world.dir, 'templates');
  fs.mkdirSync(templates);
  write('deployment_success.en.txt', 'title: It runs\n'
    + 'message: {{instance_name}} runs\nsubject: {{instance_name}} is ready\n\n'
    + 'Have a look at {{link}}.\n');
  world.settings.mail.templates_dir = templates;
  world.settings.mail.unsubscribe_url
    = 'https://example.com/unsubscribe?user={user}';
  world.writeConfig();
  await world.server.start();
});
after(() => world?.stop());

/** A subscription that runs, and the one mail about it. */
async function mailed(user) {
  const subscription = await world.running(user);
  const mail = await world.eventually('the mail', () => (
    world.smtp.to(subscription.user.email)[0]));
  return { subscription, mail };
}

/** The outcomes of its mails in the order they came. */
async function outcomes({ id }) {
  return (await world.operator.all(`/api/ops/subscriptions/${id}/timeline`))
    .filter((entry) => entry.kind === 'mail').map((entry) => entry.outcome);
}

const undeliverable = async ({ id }) => (await world.operator
  .get('/api/deployment/attention')).ok()
  .filter((x) => x.subscriptionId === id && x.kind === 'undeliverable_mail');

test('files take the places of templates, in the app and in mails', async () => {
  const user = world.user({ locale: 'en' });
  const { mail } = await mailed(user);
  assert.match(mail.subject, /^\S+ is ready$/);
  assert.match(mail.text, /^It runs\s+Have a look at https:\/\/\S+\.\s/);
  // Its HTML is another file, and still the built-in one.
  assert.match(mail.html, /Your instance \S+ has been deployed/);
  const [notice] = (await user.get('/api/notifications')).list().data;
  assert.equal(notice.type, 'DEPLOYMENT_SUCCESS');
  assert.equal(notice.title, 'It runs');
  assert.match(notice.message, /^\S+ runs$/);
});

test('a template that changes is read again, and a broken one is told',
  async () => {
    const title = async () => {
      const shown = (await world.operator.get(
        '/api/ops/templates/payment_received?locale=en&format=json')).ok();
      return shown.title;
    };
    assert.equal(await title(), 'Payment received');
    write('payment_received.en.txt', receipt('Thanks'));
    await world.eventually('the new words', async () => (
      await title() === 'Thanks'));
    write('payment_received.en.txt', receipt('Thank you, {{nmae}}'));
    const { faults } = await world.eventually('the mistake', async () => {
      const all = (await world.operator.get('/api/ops/templates')).list();
      return all.faults.length > 0 && all;
    });
    assert.match(faults[0], /payment_received\.en\.txt:1: unknown name "nmae"/);
    assert.match(faults[0], /expected one of .*price/);
    assert.equal(await title(), 'Thanks');
    fs.unlinkSync(path.join(templates, 'payment_received.en.txt'));
    await world.eventually('the built-in words', async () => (
      await title() === 'Payment received'));
  });

test('a broken template at the start: exit 2, with file, line and names',
  async () => {
    const dir = path.join(world.dir, 'broken');
    fs.mkdirSync(dir);
    fs.writeFileSync(path.join(dir, 'instance_down.en.txt'),
      'title: x\nmessage: y\nsubject: z\n\n{{#error}}\n');
    fs.writeFileSync(path.join(dir, 'instance_dwon.en.txt'), '');
    const config = path.join(world.dir, 'broken.toml');
    fs.writeFileSync(config, fs.readFileSync(world.config, 'utf8')
      .replace(/^templates_dir = .*$/m, `templates_dir = "${dir}"`)
      .replace(/^unsubscribe_url = .*$/m, 'unsubscribe_url = "example.com"'));
    const result = await run(['serve', '--config', config],
      { dir: world.dir, within: 20_000 });
    assert.equal(result.code, 2, result.output);
    assert.match(result.output,
      /instance_down\.en\.txt:5: the section of error does not end/);
    assert.match(result.output,
      /instance_dwon\.en\.txt:1: .*such as instance_down\.en\.txt/);
    assert.match(result.output, /mail\.unsubscribe_url: expected an http/);
  });

test('operators look at every template with made-up facts', async () => {
  const all = (await world.operator.get('/api/ops/templates')).list();
  const kinds = all.data.map((x) => x.kind);
  for (const kind of ['payment_received', 'deployment_started',
    'deployment_success', 'deployment_failed', 'deployment_cancelled',
    'refund_completed']) {
    assert.ok(kinds.includes(kind), kind);
  }
  const success = all.data.find((x) => x.kind === 'deployment_success');
  assert.equal(success.locales.en.text.source, 'replaced');
  assert.equal(success.locales.en.html.source, 'built-in');
  assert.equal(success.locales['zh-CN'].text.source, 'built-in');
  for (const kind of kinds) {
    for (const locale of ['zh-CN', 'en']) {
      const at = `/api/ops/templates/${kind}?locale=${locale}`;
      const html = await world.operator.get(at);
      assert.equal(html.status, 200, String(html));
      assert.match(html.headers['content-type'], /^text\/html/);
      const policy = html.headers['content-security-policy'];
      assert.match(policy, /default-src 'none'/);
      assert.match(policy, /sandbox/);
      assert.ok(html.text.includes(`lang="${locale}"`), kind);
      const text = await world.operator.get(`${at}&format=text`);
      assert.match(text.headers['content-type'], /^text\/plain/);
      const json = (await world.operator.get(`${at}&format=json`)).ok();
      assert.equal(json.text, text.text);
      assert.equal(json.html, html.text);
      for (const part of Object.values(json)) assert.doesNotMatch(part, /\{\{/);
    }
  }
  const get = (what) => world.operator.get(`/api/ops/templates/${what}`);
  (await get('layout')).fails(404, { error: 'not_found' });
  (await get('deployment_success?locale=fr')).fails(400,
    { error: 'invalid_locale' });
  (await get('deployment_success?format=pdf')).fails(400,
    { error: 'invalid_format' });
  for (const at of ['/api/ops/templates',
    '/api/ops/templates/deployment_success', '/api/ops/mail/bounces']) {
    (await world.user().get(at)).fails(403, { error: 'forbidden' });
    (await world.anonymous.get(at)).fails(401);
  }
});

test('mails about progress can be turned off, those about failures cannot',
  async () => {
    const user = world.user({ locale: 'en' });
    assert.deepEqual((await user.get('/api/notifications/preferences')).ok(),
      { mail: { progress: true } });
    const { mail } = await mailed(user);
    const sub = /user=([^>]+)>/.exec(mail.headers['list-unsubscribe']);
    assert.ok(sub, mail.headers['list-unsubscribe']);
    assert.match(mail.headers['list-unsubscribe'],
      /^<https:\/\/example\.com\/unsubscribe\?user=user-[0-9a-f]+>$/);
    assert.equal(mail.headers['list-unsubscribe-post'],
      'List-Unsubscribe=One-Click');
    for (const wrong of [{}, { mail: true }, { mail: {} },
      { mail: { progress: 'no' } }, { mail: { progress: false, money: false } },
      { mail: { progres: false } }]) {
      (await user.put('/api/notifications/preferences', wrong)).fails(400);
    }
    assert.deepEqual((await user.put('/api/notifications/preferences',
      { mail: { progress: false } })).ok(), { mail: { progress: false } });
    assert.deepEqual((await user.get('/api/notifications/preferences')).ok(),
      { mail: { progress: false } });
    const second = await world.running(user);
    await world.eventually('the mail is left out', async () => (
      (await outcomes(second)).includes('unwanted')));
    assert.equal(world.smtp.to(user.email).length, 1);
    assert.equal((await world.notifications(user, 'DEPLOYMENT_SUCCESS')).length,
      2, 'in the app everything is told');
    const third = await world.paid(user);
    world.railway.failBuilds(Infinity, { match: world.builds(third) });
    await world.alipay.notify(third.trade);
    await world.untilStatus(third, 'failed');
    const failure = await world.eventually('the mail about the failure', () => (
      world.smtp.to(third.user.email)[1]));
    assert.equal(failure.headers['list-unsubscribe'], undefined);
    assert.deepEqual(await undeliverable(second), []);
  });

test('a mail that comes back is undeliverable, and nothing more is sent there',
  async () => {
    const { subscription, mail } = await mailed(world.user({ locale: 'en' }));
    const { user } = subscription;
    assert.deepEqual(await undeliverable(subscription), []);
    const report = ['Content-Type: text/plain', '', 'It came back.',
      '--b1', 'Content-Type: message/delivery-status', '',
      'Reporting-MTA: dns; relay.example.com', '',
      `Final-Recipient: rfc822; ${user.email}`, 'Action: failed',
      'Status: 5.1.1', 'Diagnostic-Code: smtp; 550 5.1.1 no such user', '',
      '--b1', 'Content-Type: message/rfc822', '',
      `Message-ID: ${mail.messageId}`, 'Subject: x', '', 'text', '--b1--', '']
      .join('\r\n');
    const [told] = (await world.operator.send('POST', '/api/ops/mail/bounces', {
      bytes: `--b1\r\n${report}`,
      headers: { 'Content-Type':
        'multipart/report; report-type=delivery-status; boundary="b1"' },
    })).ok();
    assert.equal(told.outcome, 'recorded');
    assert.equal(told.blockedAddress, user.email.toLowerCase());
    assert.equal(told.subscriptionId, subscription.id);
    assert.equal(told.marked, true);
    const [attention] = await undeliverable(subscription);
    assert.match(attention.reason, /5\.1\.1.*no such user/);
    assert.equal((await outcomes(subscription)).at(-1), 'undeliverable');
    const bounces = await world.operator.all('/api/ops/mail/bounces');
    const mine = bounces.find((b) => b.address === user.email.toLowerCase());
    assert.ok(mine, JSON.stringify(bounces));
    // The next one is not even tried.
    const attempts = world.smtp.to(user.email).length;
    const next = await world.running(user);
    await world.eventually('the next mail is given up', async () => (
      (await undeliverable(next)).length > 0));
    assert.equal(world.smtp.to(user.email).length, attempts);
    // Until somebody says that the address works again.
    (await world.operator.delete('/api/ops/mail/bounces?address='
      + encodeURIComponent(user.email))).ok();
    const last = await world.running(user);
    await world.eventually('the mail after that', () => (
      world.smtp.to(user.email).length > attempts));
    assert.deepEqual(await undeliverable(last), []);
    (await world.operator.delete('/api/ops/mail/bounces?address='
      + encodeURIComponent(user.email))).fails(404);
  });

test('bounces by JSON, and what is no bounce', async () => {
  const { subscription, mail } = await mailed(world.user());
  const post = (body, type) => (type === undefined
    ? world.operator.post('/api/ops/mail/bounces', body)
    : world.operator.send('POST', '/api/ops/mail/bounces',
      { bytes: body, headers: { 'Content-Type': type } }));
  // Late is not lost.
  const [late] = (await post('Reporting-MTA: dns; x\n\n'
    + `Final-Recipient: rfc822; ${subscription.user.email}\n`
    + 'Action: delayed\nStatus: 4.4.1\n', 'message/delivery-status')).ok();
  assert.equal(late.outcome, 'not_a_failure');
  assert.deepEqual(await undeliverable(subscription), []);
  const [full] = (await post({ messageId: mail.messageId,
    reason: 'the mailbox is full', permanent: false })).ok();
  assert.equal(full.marked, true);
  assert.equal(full.blockedAddress, null);
  assert.match((await undeliverable(subscription))[0].reason, /is full/);
  const [gone] = (await post({ recipient: subscription.user.email,
    reason: 'no such user' })).ok();
  assert.equal(gone.blockedAddress, subscription.user.email.toLowerCase());
  for (const wrong of [{}, { reason: 'x' }, { messageId: mail.messageId },
    { messageId: 'x@y', reason: 'x' }, { recipient: 'no address', reason: 'x' },
    { recipient: 7, reason: 'x' }]) {
    (await post(wrong)).fails(400);
  }
  (await post({ recipient: 'nobody@example.com', reason: 'x' }))
    .fails(404, { error: 'not_found' });
  (await post('x', 'text/plain')).fails(415);
  (await post('x', 'message/delivery-status')).fails(400,
    { error: 'invalid_report' });
  (await post('x', 'multipart/report')).fails(400, { error: 'invalid_report' });
});

test('unread ones are counted, listed and marked', async () => {
  const user = world.user();
  const count = async () => (await user.get('/api/notifications/unread-count'))
    .ok();
  assert.deepEqual(await count(), { unread: 0, atLeast: false });
  await world.running(user);
  await world.eventually('both notifications', async () => (
    (await count()).unread === 2));
  const all = (await user.get('/api/notifications')).list();
  assert.equal(all.unread, 2);
  assert.equal(all.unreadAtLeast, false);
  (await user.post(`/api/notifications/${all.data[0].id}/read`)).ok();
  const unread = (await user.get('/api/notifications?unread=true')).list();
  assert.deepEqual(unread.data.map((x) => x.id), [all.data[1].id]);
  assert.equal(unread.unread, 1);
  assert.equal((await user.all('/api/notifications?unread=true',
    { limit: 1 })).length, 1);
  (await user.get('/api/notifications?unread=maybe')).fails(400,
    { error: 'invalid_filter' });
  const marked = (await user.post('/api/notifications/read-all')).success();
  assert.deepEqual(marked.data, { marked: 1 });
  assert.equal(marked.nextCursor, null);
  assert.deepEqual(await count(), { unread: 0, atLeast: false });
  assert.equal((await user.get('/api/notifications?unread=true')).list()
    .data.length, 0);
  assert.equal((await user.get('/api/notifications')).list().data.length, 2);
  (await user.post('/api/notifications/read-all?cursor=x')).fails(400);
  // Somebody else's are somebody else's.
  const other = world.user();
  await world.activated(other);
  await world.eventually('a notification', async () => (
    (await other.get('/api/notifications/unread-count')).ok().unread >= 1));
  (await user.post('/api/notifications/read-all')).ok();
  assert.ok((await other.get('/api/notifications/unread-count')).ok().unread
    >= 1);
});

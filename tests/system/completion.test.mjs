// The shells' completion and the manual page, which come from the command line
// itself.

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from './lib/suite.mjs';
import { temporaryDirectory } from './lib/cleanup.mjs';
import { BINARY, run } from './lib/slipway.mjs';

let home;
before(() => { home = temporaryDirectory(); });
after(() => home?.remove());

/** What bash offers for these words, the last of which is being written. */
function offered(...words) {
  const script = 'source <("$0" completion bash)\n'
    + 'COMP_WORDS=("$@")\nCOMP_CWORD=$((${#COMP_WORDS[@]} - 1))\n_slipway\n'
    + 'printf "%s\\n" "${COMPREPLY[@]}"';
  return execFileSync('bash', ['--norc', '-c', script, BINARY, 'slipway',
    ...words], { encoding: 'utf8', cwd: home.dir }).split('\n')
    .filter((word) => word !== '');
}

test('bash completes commands', () => {
  const first = offered('');
  for (const word of ['serve', 'migrate', 'check', 'verify', 'ops']) {
    assert.ok(first.includes(word), word);
  }
  assert.deepEqual(offered('ops', 'ti'), ['timeline']);
  assert.ok(offered('ops', '').includes('retry'));
  // Past options with values, and not misled by values that are commands.
  assert.deepEqual(offered('ops', '--as', 'list', 'ti'), ['timeline']);
  assert.deepEqual(offered('ops', '--as', '=', 'list', 'ti'), ['timeline']);
  assert.deepEqual(offered('ops', 'show', 'ti'), []);
});

test('bash completes options, those of the command', () => {
  assert.deepEqual(offered('ops', 'replay', '--dr'), ['--dry-run']);
  assert.ok(offered('ops', 'list', '--').includes('--status'));
  assert.ok(!offered('ops', 'show', '--').includes('--status'));
  assert.deepEqual(offered('serve', '--sand'), ['--sandbox']);
});

test('bash completes choices and files', () => {
  assert.deepEqual(offered('ops', 'list', '--status', 'run'), ['running']);
  assert.deepEqual(offered('ops', 'list', '--status', '=', 'run'), ['running']);
  assert.deepEqual(offered('ops', 'automation', 'o'), ['on', 'off']);
  assert.deepEqual(offered('completion', ''), ['bash', 'zsh', 'fish']);
  fs.writeFileSync(path.join(home.dir, 'a file.toml'), '');
  fs.writeFileSync(path.join(home.dir, 'b.toml'), '');
  assert.deepEqual(offered('ops', 'list', '--config', 'a'), ['a file.toml']);
  assert.deepEqual(offered('verify', 'b'), ['b.toml']);
  assert.deepEqual(offered('ops', 'retry', 'x', '--reason', ''), []);
});

for (const shell of ['zsh', 'fish']) {
  test(`${shell} takes its script, where there is one`, async (t) => {
    if (spawnSync(shell, ['--version']).status !== 0) {
      t.skip(`no ${shell}`);
      return;
    }
    const { stdout } = await run(['completion', shell]);
    const file = path.join(home.dir, `script.${shell}`);
    fs.writeFileSync(file, stdout);
    const checked = spawnSync(shell, ['-n', file], { encoding: 'utf8' });
    assert.equal(checked.status, 0, checked.stderr);
    if (shell !== 'fish') return;
    const completed = execFileSync('fish', ['--no-config', '-c',
      `source ${file}; complete -C 'slipway ops list --status run'`],
    { encoding: 'utf8' });
    assert.match(completed, /^running/m);
  });
}

test('an unknown shell is refused', async () => {
  const { code, output } = await run(['completion', 'tcsh']);
  assert.equal(code, 2);
  assert.match(output, /tcsh/);
});

test('the manual page is one, without a warning', async (t) => {
  const { stdout, code } = await run(['manual']);
  assert.equal(code, 0);
  assert.match(stdout, /^\.TH SLIPWAY 1/m);
  if (spawnSync('mandoc', ['-T', 'lint', '/dev/null']).error) {
    t.skip('no mandoc');
    return;
  }
  const linted = spawnSync('mandoc', ['-T', 'lint', '-W', 'warning'],
    { input: stdout, encoding: 'utf8' });
  assert.equal(linted.stdout + linted.stderr, '');
  const read = spawnSync('mandoc', ['-T', 'utf8'], { input: stdout,
    encoding: 'utf8' });
  assert.match(read.stdout.replace(/.\u0008/g, ''), /slipway ops rotate-keys/);
});

// What must not outlive the test process, however that ends.

import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { spawn } from 'node:child_process';

const last = new Set();

/** Runs `fn` (synchronous) when the process ends; returns a way to cancel. */
export function atExit(fn) {
  last.add(fn);
  return () => last.delete(fn);
}

process.on('exit', () => {
  for (const fn of [...last].reverse()) {
    try {
      fn();
    } catch {
      // The process is on its way out: the others must still get their turn.
    }
  }
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => process.exit(1));
}

/** A child that is killed with the test process. */
export function spawnTied(command, args, options = {}, signal = 'SIGKILL') {
  const child = spawn(command, args, options);
  const cancel = atExit(() => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill(signal);
    }
  });
  child.once('exit', cancel);
  child.once('error', cancel);
  return child;
}

/**
 * A directory that goes away with the process. Others may enter it: an
 * embedded PostgreSQL runs as another user. SLIPWAY_TEST_KEEP=1 keeps it.
 */
export function temporaryDirectory(prefix = 'slipway-test-') {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), prefix));
  fs.chmodSync(dir, 0o755);
  const remove = () => {
    if (process.env.SLIPWAY_TEST_KEEP) return;
    fs.rmSync(dir, { recursive: true, force: true, maxRetries: 3 });
  };
  // Registered first, thus run last (reverse order).
  const cancel = atExit(remove);
  return { dir, remove: () => { cancel(); remove(); } };
}

/**
 * Stops every PostgreSQL whose data directory lies in `dir`: what a server
 * that was killed with -9 may have left behind.
 */
export function killPostgresIn(dir) {
  const find = (at, depth) => {
    let entries;
    try {
      entries = fs.readdirSync(at, { withFileTypes: true });
    } catch {
      return [];
    }
    if (entries.some((e) => e.name === 'postmaster.pid')) {
      return [path.join(at, 'postmaster.pid')];
    }
    if (depth === 0) return [];
    return entries.filter((e) => e.isDirectory())
      .flatMap((e) => find(path.join(at, e.name), depth - 1));
  };
  let killed = 0;
  for (const file of find(dir, 3)) {
    const pid = Number(fs.readFileSync(file, 'utf8').split('\n')[0]);
    if (!(pid > 1)) continue;
    // The pid may have been reused since: only a postgres is ours.
    let name = '';
    try {
      name = fs.readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
    } catch {
      continue;
    }
    if (!name.startsWith('postgres')) continue;
    try {
      process.kill(pid, 'SIGQUIT');
      killed += 1;
    } catch {
      // Gone between the look and the kill.
    }
  }
  return killed;
}

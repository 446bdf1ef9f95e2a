// Processes as the kernel shows them.

import fs from 'node:fs';

/** Direct children of a process. */
export function childrenOf(parent) {
  return fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        // The name in parentheses may hold anything: the fields come after it.
        const stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
        return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])
          === parent;
      } catch {
        return false; // Gone meanwhile.
      }
    }).map(Number);
}

/** Sends a signal to a process that may be gone. */
export function signal(pid, name) {
  try {
    process.kill(pid, name);
  } catch (error) {
    if (error.code !== 'ESRCH') throw error;
  }
}

/** Whether it has ended; who has not been reaped has. */
export function isGone(pid) {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat[stat.lastIndexOf(')') + 2] === 'Z';
  } catch {
    return true;
  }
}

/** Resident memory in MiB: {now, peak}. */
export function memoryOf(pid) {
  const status = fs.readFileSync(`/proc/${pid}/status`, 'utf8');
  const mib = (name) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm')
    .exec(status)[1]) / 1024;
  return { now: mib('VmRSS'), peak: mib('VmHWM') };
}

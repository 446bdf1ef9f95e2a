// One process for each core, as Express's guide for production has it. The
// first one only watches over the others.

import cluster from 'node:cluster';
import { config } from './config.mjs';

/** @param serve (number) => Promise: becomes the process of that number */
export async function inProcesses(serve) {
  if (cluster.isWorker) return serve(Number(process.env.PROCESS_NUMBER));
  if (config.processes === 1) return serve(1);
  const start = (number) => {
    const worker = cluster.fork({ PROCESS_NUMBER: String(number) });
    worker.once('exit', () => {
      if (!stopping) setTimeout(() => start(number), 1000);
    });
  };
  let stopping = false;
  for (const signal of ['SIGTERM', 'SIGINT']) {
    process.on(signal, () => {
      stopping = true;
      for (const worker of Object.values(cluster.workers)) worker.kill(signal);
    });
  }
  for (let number = 1; number <= config.processes; ++number) start(number);
  return undefined;
}

// The guide's own stack: Express, PostgreSQL, and a BullMQ queue on Redis whose
// workers deploy.

import express from 'express';
import pg from 'pg';
import { Redis } from 'ioredis';
import { Queue, Worker } from 'bullmq';
import { Pool } from 'undici';
import { makeAlipay } from '../common/alipay.mjs';
import { inProcesses } from '../common/cluster.mjs';
import { config, share } from '../common/config.mjs';
import { notifyHandler } from '../common/notify.mjs';
import { makeRailway } from '../common/railway.mjs';
import { makeStore } from '../common/store.mjs';

const QUEUE = 'deployment';
const sleep = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

await inProcesses(async () => {
  const concurrency = share(config.deployments);
  const store = makeStore(new pg.Pool({ connectionString: config.databaseUrl,
    max: share(40) }));
  const railway = makeRailway(config.railway, Pool, concurrency);
  const redis = (options) => new Redis(process.env.REDIS_URL, options);

  const queue = new Queue(QUEUE, {
    // A request must fail at once when Redis is away: the gateway comes again.
    connection: redis({ enableOfflineQueue: false, maxRetriesPerRequest: 1 }),
    defaultJobOptions: { attempts: 10,
      backoff: { type: 'exponential', delay: 1000 },
      removeOnComplete: { count: 1000 }, removeOnFail: { age: 7 * 86_400 } },
  });
  await queue.waitUntilReady();

  // Every step is left out when its outcome is stored: a job may run again.
  const worker = new Worker(QUEUE, async ({ data: { subscriptionId } }) => {
    let instance = await store.instance(subscriptionId);
    if (instance?.status === 'running') return;
    if (!instance) {
      instance = await railway.createProject(subscriptionId);
      await store.created(subscriptionId, instance);
    }
    if (!instance.workflowId) {
      await store.deploying(subscriptionId,
        await railway.deployTemplate(instance));
    }
    for (;;) {
      const { status, publicUrl } = await railway.status(instance);
      if (status === 'SUCCESS') {
        await store.running(subscriptionId, publicUrl);
        return;
      }
      if (['FAILED', 'CRASHED'].includes(status)) throw new Error(status);
      await sleep(config.pollInterval);
    }
  }, { concurrency, connection: redis({ maxRetriesPerRequest: null }) });
  worker.on('error', (error) => console.error('worker:', error.message));
  worker.on('failed', (job, error) => console.error('job:', error.message));

  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  app.get('/readyz', (req, res) => res.send('ready'));
  app.post('/api/payment/alipay/notify', express.urlencoded({ extended: false }),
    notifyHandler({ alipay: makeAlipay(config.alipay), store,
      // The job's id makes a repeat the same job.
      enqueue: (subscriptionId) => queue.add('deploy', { subscriptionId },
        { jobId: `deploy-${subscriptionId}` }) }));
  app.listen(config.port, '127.0.0.1');
});

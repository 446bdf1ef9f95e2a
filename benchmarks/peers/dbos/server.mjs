// DBOS Transact: the deployment is a durable workflow on a queue, and all of its
// state is in the same PostgreSQL.

import express from 'express';
import pg from 'pg';
import { DBOS } from '@dbos-inc/dbos-sdk';
import { Pool } from 'undici';
import { makeAlipay } from '../common/alipay.mjs';
import { inProcesses } from '../common/cluster.mjs';
import { config, share } from '../common/config.mjs';
import { notifyHandler } from '../common/notify.mjs';
import { makeRailway } from '../common/railway.mjs';
import { makeStore } from '../common/store.mjs';

const QUEUE = 'deployment';

await inProcesses(async (number) => {
  const concurrency = share(config.deployments);
  const store = makeStore(new pg.Pool({ connectionString: config.databaseUrl,
    max: share(20) }));
  const railway = makeRailway(config.railway, Pool, concurrency);

  const retries = { retriesAllowed: true, maxAttempts: 10, intervalSeconds: 1 };
  const step = (name, act) => DBOS.runStep(act, { name, ...retries });
  const deploy = DBOS.registerWorkflow(async (subscriptionId) => {
    // What a step returns is stored, so the row is written within the step
    // that it is about, and writing it again changes nothing.
    const instance = await step('projectCreate', async () => {
      const made = await railway.createProject(subscriptionId);
      await store.created(subscriptionId, made);
      return made;
    });
    await step('templateDeployV2', async () => store.deploying(subscriptionId,
      await railway.deployTemplate(instance)).then(() => null));
    for (;;) {
      const status = await step('status', async () => {
        const seen = await railway.status(instance);
        if (seen.status === 'SUCCESS') {
          await store.running(subscriptionId, seen.publicUrl);
        }
        return seen.status;
      });
      if (status === 'SUCCESS') return;
      if (['FAILED', 'CRASHED'].includes(status)) throw new Error(status);
      await DBOS.sleep(config.pollInterval);
    }
  }, { name: 'deploy' });

  DBOS.setConfig({ name: 'peer', applicationVersion: '1', logLevel: 'warn',
    // Of its own and always the same: after a crash each process takes up what
    // was its own.
    executorID: `process-${number}`,
    systemDatabaseUrl: config.databaseUrl, systemDatabasePoolSize: share(40)
  });
  await DBOS.launch();
  await DBOS.registerQueue(QUEUE, { workerConcurrency: concurrency,
    minPollingIntervalMs: 50 });

  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  app.get('/readyz', (req, res) => res.send('ready'));
  app.post('/api/payment/alipay/notify', express.urlencoded({ extended: false }),
    notifyHandler({ alipay: makeAlipay(config.alipay), store,
      enqueue: (subscriptionId) => DBOS.startWorkflow(deploy, {
        workflowID: `deploy-${subscriptionId}`, queueName: QUEUE,
      })(subscriptionId) }));
  app.listen(config.port, '127.0.0.1');
});

// Restate: the deployment is a workflow keyed by the subscription. The server of
// npm's @restatedev/restate-server keeps its journal and calls us back for every
// invocation; what the frontend reads is in PostgreSQL.

import express from 'express';
import pg from 'pg';
import * as restate from '@restatedev/restate-sdk';
import { Pool } from 'undici';
import { makeAlipay } from '../common/alipay.mjs';
import { inProcesses } from '../common/cluster.mjs';
import { config, share } from '../common/config.mjs';
import { notifyHandler } from '../common/notify.mjs';
import { makeRailway } from '../common/railway.mjs';
import { makeStore } from '../common/store.mjs';

const SERVICE_PORT = Number(process.env.RESTATE_SERVICE_PORT);

await inProcesses(async () => {
  const store = makeStore(new pg.Pool({ connectionString: config.databaseUrl,
    max: share(40) }));
  const railway = makeRailway(config.railway, Pool, share(config.deployments));

  const deployment = restate.workflow({
    name: 'Deployment',
    handlers: {
      run: async (ctx) => {
        const subscriptionId = ctx.key;
        const instance = await ctx.run('projectCreate', async () => {
          const made = await railway.createProject(subscriptionId);
          await store.created(subscriptionId, made);
          return made;
        });
        await ctx.run('templateDeployV2', async () => {
          await store.deploying(subscriptionId,
            await railway.deployTemplate(instance));
        });
        for (;;) {
          const status = await ctx.run('status', async () => {
            const seen = await railway.status(instance);
            if (seen.status === 'SUCCESS') {
              await store.running(subscriptionId, seen.publicUrl);
            }
            return seen.status;
          });
          if (status === 'SUCCESS') return;
          if (['FAILED', 'CRASHED'].includes(status)) {
            throw new restate.TerminalError(status);
          }
          await ctx.sleep(config.pollInterval);
        }
      },
    },
  });
  await restate.serve({ services: [deployment], port: SERVICE_PORT });

  const ingress = new Pool(process.env.RESTATE_INGRESS_URL, { connections: 64 });
  const enqueue = async (subscriptionId) => {
    const { statusCode, body } = await ingress.request({ method: 'POST',
      path: `/Deployment/${subscriptionId}/run/send` });
    await body.dump();
    // 409: this workflow was started before.
    if (statusCode >= 300 && statusCode !== 409) {
      throw new Error(`Restate answers ${statusCode}`);
    }
  };

  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  app.get('/readyz', (req, res) => res.send('ready'));
  app.post('/api/payment/alipay/notify', express.urlencoded({ extended: false }),
    notifyHandler({ alipay: makeAlipay(config.alipay), store, enqueue }));
  app.listen(config.port, '127.0.0.1');
});

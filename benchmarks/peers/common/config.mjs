// What every peer is told, in its environment.

import fs from 'node:fs';

const need = (name) => {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set`);
  return value;
};

export const config = {
  port: Number(need('PORT')),
  databaseUrl: need('DATABASE_URL'),
  alipay: {
    appId: need('ALIPAY_APP_ID'),
    sellerId: need('ALIPAY_SELLER_ID'),
    publicKey: fs.readFileSync(need('ALIPAY_PUBLIC_KEY_FILE'), 'utf8'),
  },
  railway: {
    endpoint: need('RAILWAY_ENDPOINT'),
    token: need('RAILWAY_TOKEN'),
    workspaceId: need('RAILWAY_WORKSPACE_ID'),
    templateId: need('RAILWAY_TEMPLATE_ID'),
  },
  /** Node.js processes: the cores unless told otherwise. */
  processes: Number(process.env.WEB_CONCURRENCY || 2),
  /** Deployments under way at once, over all processes. */
  deployments: Number(process.env.DEPLOY_CONCURRENCY || 64),
  pollInterval: Number(process.env.POLL_INTERVAL_MS || 1000),
};

/** The share of one process of a number for all. */
export const share = (whole) => Math.max(1, Math.ceil(whole / config.processes));

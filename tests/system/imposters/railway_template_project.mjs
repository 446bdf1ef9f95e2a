// A project that others are cloned from: the service that is meant, services
// that are not, a volume, domains of its own, and fields nobody has heard of.

import crypto from 'node:crypto';

/** Values that must not get into a clone under the template's own names. */
export const TEMPLATE_DOMAIN = 'gateway-production-tmpl.up.railway.localhost';
export const TEMPLATE_CUSTOM_DOMAIN = 'gateway.template.example.com';

/** The environment's config: {services: {<id>: {…}}, …}, as `config` reads. */
export function templateProjectConfig({ gateway, worker, scratch, volume }) {
  return {
    services: {
      [gateway]: {
        source: { image: 'ghcr.io/example/gateway:1.4', autoUpdates: {
          type: 'disabled' } },
        build: { builder: 'RAILPACK', watchPatterns: [], nixpacksPlan: {} },
        deploy: { startCommand: 'node gateway.js', healthcheckPath: '/healthz',
          healthcheckTimeout: 300, restartPolicyType: 'ON_FAILURE',
          restartPolicyMaxRetries: 7, multiRegionConfig: {
            'europe-west4-drams3a': { numReplicas: 2 },
          }, limitOverride: { containers: { cpu: 2, memoryBytes: 4e9 } } },
        networking: {
          serviceDomains: { [TEMPLATE_DOMAIN]: { port: 8080, edge: null } },
          customDomains: { [TEMPLATE_CUSTOM_DOMAIN]: { port: 8080 } },
          tcpProxies: { 7000: {} },
        },
        variables: {
          PORT: { value: '8080' },
          GREETING: { value: 'hello from the template', isOptional: true },
          SESSION_SECRET: { value: 'a-secret-of-the-template', isSealed: false,
            'x-rotate': { every: '30d' } },
          TIER: { value: 'template' },
        },
        volumeMounts: { [volume]: { mountPath: '/data' } },
        configFile: 'railway.gateway.json',
        quota: { ratio: 0.5, burst: 1e3, tiers: [[1, 2], [], [{}]] },
        '备注': { '未知字段': ['必须原样保留', null, -0.25, false] },
        none: null,
      },
      [worker]: {
        source: { repo: 'https://example.com/worker' },
        variables: { QUEUE: { value: 'of the template' } },
        deploy: { cronSchedule: '0 3 * * *' },
      },
      [scratch]: { source: { image: 'busybox' }, variables: {} },
    },
    volumes: { [volume]: { sizeMB: 5120, region: 'europe-west4-drams3a' } },
    sharedVariables: { SHARED: { value: 'of the template' } },
    privateNetworkDisabled: false,
    buckets: {},
  };
}

/** `b` over `a`, member by member; null is a value like any other. */
export function merged(a, b) {
  if (!isObject(a) || !isObject(b)) return structuredClone(b);
  const out = { ...a };
  for (const [key, value] of Object.entries(b)) {
    out[key] = key in a ? merged(a[key], value) : structuredClone(value);
  }
  return out;
}

/**
 * What of `wanted` is missing or different in `got`, as paths. Further members
 * of objects are no difference; arrays are compared as a whole.
 */
export function lost(wanted, got, at = '') {
  if (isObject(wanted)) {
    if (!isObject(got)) return [at || '(all)'];
    return Object.entries(wanted).flatMap(([key, value]) => (
      key in got ? lost(value, got[key], `${at}.${key}`) : [`${at}.${key}`]));
  }
  return JSON.stringify(wanted) === JSON.stringify(got) ? [] : [at];
}

/**
 * A service's config without what belongs to one service alone: the values of
 * its variables, the ids of its volumes, its domains.
 */
export function comparable(config) {
  const copy = structuredClone(config ?? {});
  for (const of of Object.values(copy.variables ?? {})) delete of?.value;
  if (copy.volumeMounts) {
    copy.volumeMounts = Object.values(copy.volumeMounts)
      .sort((a, b) => (a.mountPath < b.mountPath ? -1 : 1));
  }
  if (copy.networking) {
    delete copy.networking.serviceDomains;
    delete copy.networking.customDomains;
  }
  return copy;
}

/** The ids of such a project's parts. */
export const newParts = () => ({ gateway: crypto.randomUUID(),
  worker: crypto.randomUUID(), scratch: crypto.randomUUID(),
  volume: crypto.randomUUID() });

function isObject(value) {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

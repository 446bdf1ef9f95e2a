// Railway's public GraphQL API, played over an in-memory model.
//
// Documents are validated against the real schema; what is invalid gets HTTP
// 400 and GRAPHQL_VALIDATION_FAILED, business errors get HTTP 200 with
// errors[], as the original does. Every request is remembered in order.
// Subscriptions are served on a WebSocket, see railway_socket.mjs.

import crypto from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';
import { isDeepStrictEqual } from 'node:util';
import {
  GraphQLError, NoDeprecatedCustomRule, buildSchema, execute, getOperationAST,
  getVariableValues, parse, specifiedRules, validate,
} from 'graphql';
import { close, listen } from '../lib/ports.mjs';
import { request } from '../lib/http.mjs';
import { serveSockets } from './railway_socket.mjs';
import { TEMPLATE_CUSTOM_DOMAIN, TEMPLATE_DOMAIN, comparable, lost, merged,
  newParts, templateProjectConfig } from './railway_template_project.mjs';

const schema = buildSchema(
  fs.readFileSync(new URL('../data/railway-schema.graphql', import.meta.url),
    'utf8'),
  { assumeValid: true },
);

const FINAL = new Set(['SUCCESS', 'FAILED', 'CRASHED', 'REMOVED', 'SKIPPED',
  'SLEEPING']);

/** Statuses of what a service counts as its active deployments. */
const ACTIVE = new Set(['SUCCESS', 'CRASHED', 'SLEEPING']);

/** What the replicas of a deployment are doing, by its status. */
const REPLICA = { SUCCESS: 'RUNNING', CRASHED: 'CRASHED', REMOVED: 'REMOVED',
  REMOVING: 'REMOVING', FAILED: 'EXITED', SLEEPING: 'STOPPED',
  SKIPPED: 'SKIPPED' };

/** Types of webhooks; nobody has an official list. */
const EVENT_TYPES = { QUEUED: 'redeployed', BUILDING: 'building',
  DEPLOYING: 'deploying', SUCCESS: 'deployed', FAILED: 'failed',
  CRASHED: 'crashed', SLEEPING: 'slept', REMOVED: 'removed' };
const KNOWN_EVENTS = new Set([...Object.values(EVENT_TYPES), 'resumed',
  'oom_killed'].map((type) => `Deployment.${type}`));

/** Milliseconds a deployment spends in each status. */
export const QUICK = {
  workflow: 150, queued: 60, initializing: 60, building: 200, deploying: 150,
  removing: 60, domain: 0, patch: 50,
};

/** The same for tests of many at once. */
export const INSTANT = {
  workflow: 30, queued: 10, initializing: 10, building: 30, deploying: 20,
  removing: 10, domain: 0, patch: 10,
};

/** A template as clients see it: opaque, with fields nobody has heard of. */
export function templateConfig({ domain = true } = {}) {
  return {
    services: {
      '7a1c0e5e-0f0b-4c51-9d11-2f9f5f2c7a10': {
        name: 'gateway',
        icon: 'https://example.com/icon.svg',
        source: { repo: 'https://example.com/gateway', branch: null,
          rootDirectory: '/' },
        build: { builder: 'RAILPACK', watchPatterns: [], nixpacksPlan: {} },
        deploy: { startCommand: null, healthcheckPath: '/healthz',
          healthcheckTimeout: 300, numReplicas: 2, multiRegionConfig: {
            'europe-west4-drams3a': { numReplicas: 2 },
          } },
        networking: {
          serviceDomains: domain ? { '<hasDomain>': { port: 8080 } } : {},
          tcpProxies: {},
        },
        variables: {
          PORT: { value: '8080' },
          SESSION_SECRET: { defaultValue: '${{secret(32)}}',
            description: '会话密钥', isOptional: false },
          GREETING: { defaultValue: 'hello', isOptional: true },
        },
        volumeMounts: { 'b0b0b0b0-0000-4000-8000-000000000001': {
          mountPath: '/data', sizeMB: 512 } },
        quota: { ratio: 0.5, burst: 1e3, tiers: [[1, 2], [], [{}]] },
      },
    },
    buckets: {},
    layout: { 'x-y': [0.25, -3], '备注': '未知字段必须原样保留', none: null },
  };
}

class BusinessError extends GraphQLError {
  constructor(message, code = 'INTERNAL_SERVER_ERROR') {
    super(message, { extensions: { code, traceId: traceId() } });
  }
}

const traceId = () => crypto.randomBytes(8).toString('hex');
const notAuthorized = () => new BusinessError('Not Authorized');

/** A Relay connection over `nodes`, newest or oldest first as given. */
function connection(nodes, { first, last, after, before } = {}) {
  let from = 0;
  let to = nodes.length;
  const at = (cursor) => nodes.findIndex((n) => cursorOf(n) === cursor);
  if (after != null) from = at(after) + 1;
  if (before != null && at(before) >= 0) to = at(before);
  if (first != null) to = Math.min(to, from + first);
  if (last != null) from = Math.max(from, to - last);
  const page = nodes.slice(from, to);
  return {
    edges: page.map((node) => ({ cursor: cursorOf(node), node })),
    pageInfo: {
      hasNextPage: to < nodes.length,
      hasPreviousPage: from > 0,
      startCursor: page.length ? cursorOf(page[0]) : null,
      endCursor: page.length ? cursorOf(page[page.length - 1]) : null,
    },
  };
}

const cursorOf = (node) => Buffer.from(`cursor:${node.id}`).toString('base64');

/** An environment's config as it reads unless `decryptVariables` is given. */
function withoutSecrets(config) {
  const copy = structuredClone(config);
  for (const service of Object.values(copy.services ?? {})) {
    for (const of of Object.values(service.variables ?? {})) {
      of.value = `encrypted:${traceId()}`;
    }
  }
  return copy;
}

/** `config` without what a client may fill in: values of variables. */
function withoutValues(config) {
  const copy = structuredClone(config);
  for (const service of Object.values(copy.services ?? {})) {
    delete service.variables;
  }
  return copy;
}

export class Railway {
  token = `rw_${crypto.randomBytes(18).toString('hex')}`;
  workspaceId = crypto.randomUUID();
  /** Everything that was asked, in order of arrival. */
  requests = [];
  projects = new Map();
  services = new Map();
  deployments = new Map();
  workflows = new Map();
  templates = new Map();
  /** What a client did wrong without an error of the API telling it. */
  complaints = [];
  /** How many projects were at work at most at any one time. */
  maxAtWork = 0;
  /** Webhooks that were sent: {url, type, deploymentId, status, answer}. */
  deliveries = [];
  /**
   * How webhooks go wrong: `lost` all of them, `doubled` all of them, `late`
   * by so many ms, `lying` about the status.
   */
  webhooks = { lost: false, doubled: false, late: 0, lying: false };
  rules = [];
  /** `open`, `refuse`, `silent` or `mute`; see railway_socket.mjs. */
  socket = 'open';
  upgrades = [];
  /** Sockets that are open now. */
  watchers = new Set();
  /** Headers about the rate limit on top of the usual ones. */
  rateHeaders = {};
  #blockedUntil = 0;
  #faults = [];
  #failures = [];
  #held = [];
  #waiting = [];
  #timers = new Set();
  #sockets = new Set();
  #hanging = new Set();
  #slow = [];
  #server;
  #lastCreate = -Infinity;
  #seq = 0;

  /**
   * @param options.times see QUICK
   * @param options.cooldown ms between two projects, 0 for none
   * @param options.readLag ms until a new project shows in lists
   * @param options.lag ms until new `projects` show in lists, new `services`
   *   and `deployments` anywhere, and until a new project may be used: `auth`
   * @param options.config serializedConfig of the template
   * @param options.budget requests until everything is 429
   * @param options.templateProject true: there is a project to clone from
   * @param options.onProject called with each new project, before anybody can
   *   see it
   */
  static async start(options = {}) {
    const railway = new Railway();
    railway.times = { ...QUICK, ...options.times };
    railway.cooldown = options.cooldown ?? 0;
    railway.lag = { projects: options.readLag ?? 0, services: 0, deployments: 0,
      auth: 0, ...options.lag };
    railway.onProject = options.onProject;
    railway.limit = options.budget ?? 10_000;
    railway.budget = railway.limit;
    railway.template = railway.addTemplate(options.config
      ?? templateConfig({ domain: options.domain ?? true }));
    if (options.templateProject) railway.#newTemplateProject();
    railway.#server = http.createServer((req, res) => {
      railway.#serve(req, res).catch((error) => {
        railway.complaints.push(`imposter broke: ${error.stack}`);
        res.statusCode = 500;
        res.end();
      });
    });
    railway.#server.on('connection', (socket) => {
      railway.#sockets.add(socket);
      socket.on('close', () => railway.#sockets.delete(socket));
    });
    serveSockets(railway.#server, railway, schema);
    railway.port = await listen(railway.#server, options.port ?? 0);
    return railway;
  }

  get url() {
    return `http://127.0.0.1:${this.port}/graphql/v2`;
  }

  async stop() {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    await close(this.#server, this.#sockets);
  }

  // -- what a test arranges ---------------------------------------------------

  addTemplate(serializedConfig, { code = `tpl-${traceId().slice(0, 6)}` } = {}) {
    const template = {
      id: crypto.randomUUID(), code, name: 'gateway', serializedConfig,
      status: 'PUBLISHED', createdAt: new Date().toISOString(),
    };
    this.templates.set(template.id, template);
    return template;
  }

  /**
   * The next `times` requests with root field `operation` fail.
   *
   * @param fault.operation name of the root field, `*` for any
   * @param fault.when `before` or `after` it took effect
   * @param fault.kind one of
   *   `504` `502` `reset`: no answer;
   *   `opaque` `message` `invisible`: an error of the API;
   *   `429` with Retry-After, `1015` without;
   *   `html` `empty` `truncated`: HTTP 200 with garbage;
   *   `hang`: no answer before endHanging();
   *   `slow`: takes effect and is answered at endHanging();
   *   `twice`: takes effect twice, answered once;
   *   `ignored`: says true and does nothing
   * @param fault.match (variables) => boolean
   * @param fault.held it strikes only at endHanging()
   * @param fault.skip so many that match are let through first
   * @param fault.message for kind `message`: the text of the error
   * @param fault.retryAfter seconds, for kind 429
   * @returns the fault; `fired` counts, `stop()` ends it
   */
  fault(fault) {
    const entry = { when: 'before', times: 1, fired: 0, skip: 0, ...fault,
      stop() { this.times = this.fired; } };
    this.#faults.push(entry);
    return entry;
  }

  /** Everything is shut out for so long, as Cloudflare does it. */
  block(ms) {
    this.#blockedUntil = Date.now() + ms;
  }

  /** The next `times` deployments fail to build; Infinity: for good. */
  failBuilds(times, { status = 'FAILED', match = () => true,
                      error = 'npm ERR! missing script: build' } = {}) {
    const entry = { left: times, status, match, error };
    this.#failures.push(entry);
    return { stop: () => { entry.left = 0; } };
  }

  /**
   * Deployments that match stop advancing in `status` (any of Railway's) until
   * release.
   */
  hold(status, match = () => true) {
    this.#held.push({ status, match });
  }

  release(status) {
    this.#held = this.#held.filter((h) => h.status !== status);
    const again = this.#waiting.filter((w) => w.status === status);
    this.#waiting = this.#waiting.filter((w) => w.status !== status);
    for (const { go } of again) go();
  }

  /** Answers the requests that a fault left hanging with a 504. */
  endHanging() {
    for (const res of this.#hanging) {
      res.statusCode = 504;
      res.end();
    }
    this.#hanging.clear();
    for (const go of this.#slow.splice(0)) go();
  }

  // -- what happens there without us ------------------------------------------

  /** The processes end badly; `left` replicas go on running. */
  crash(deployment, { left = 0, replicas = 2 } = {}) {
    this.#line(deployment, 'deploy', 'panic: out of luck', 'error');
    deployment.replicas = Array.from({ length: replicas },
      (_, i) => (i < left ? 'RUNNING' : 'CRASHED'));
    this.#turn(deployment, 'CRASHED');
  }

  /** The main process ends well, which a server should not. */
  exit(deployment) {
    deployment.deploymentStopped = true;
    deployment.replicas = ['EXITED'];
  }

  /** It runs again, after crash() or exit(). */
  recover(deployment) {
    deployment.deploymentStopped = false;
    deployment.replicas = undefined;
    this.#turn(deployment, 'SUCCESS');
  }

  /** Scaled to zero. */
  sleep(deployment) {
    this.#turn(deployment, 'SLEEPING');
  }

  wake(deployment) {
    this.#turn(deployment, 'SUCCESS', 'resumed');
  }

  /** Somebody removes the deployment in Railway's own pages. */
  removeByHand(deployment) {
    this.#halt(deployment);
  }

  /** Somebody deploys the same service once more in Railway's own pages. */
  redeployOutside(deployment) {
    return this.#newDeployment(deployment.instance);
  }

  deleteProjectByHand(project) {
    project.deletedAt = new Date().toISOString();
    for (const d of this.deploymentsOf(project.id)) this.#halt(d);
  }

  /** A project that somebody else made, `age` ms ago. */
  addProject({ name, description, age = 0, service } = {}) {
    const project = this.#newProject({ name, description });
    project.foreign = true;
    project.bornAt -= age;
    project.createdAt = new Date(project.bornAt).toISOString();
    if (service) {
      this.#newDeployment(this.#newService(project,
        project.environmentList[0].id, { name: service, variables: {},
          source: { image: 'busybox' } }));
    }
    return project;
  }

  /** A program or a build prints something. */
  say(deployment, kind, message, severity) {
    this.#line(deployment, kind, message, severity);
  }

  // -- what a test asks -------------------------------------------------------

  /** Projects of ours that exist: not deleted, not marked for deletion. */
  liveProjects() {
    return [...this.projects.values()]
      .filter((p) => !p.deletedAt && !p.deletionScheduledAt && !p.foreign);
  }

  /** The projects that a call is about, by any id in its variables. */
  projectsIn(variables) {
    const found = new Set();
    const owner = (id) => {
      const it = this.services.get(id) ?? this.deployments.get(id)
        ?? this.workflows.get(id);
      if (it) return this.projects.get(it.projectId);
      return this.projects.get(id) ?? [...this.projects.values()]
        .find((p) => p.environmentList.some((e) => e.id === id));
    };
    const walk = (value) => {
      if (typeof value === 'string') {
        const project = owner(value);
        if (project) found.add(project);
      } else if (value && typeof value === 'object') {
        for (const of of Object.values(value)) walk(of);
      }
    };
    walk(variables);
    return [...found];
  }

  /** The one deployment that counts in this project: its newest, of those of
   * services that are still there. */
  currentOf(projectId) {
    return newestFirst(this.deploymentsOf(projectId)
      .filter((d) => !this.services.get(d.serviceId).deletedAt))[0];
  }

  /** The environment's configuration as `config` reads, in the clear. */
  configOf(projectId) {
    return this.projects.get(projectId).environmentList[0].configuration;
  }

  deploymentsOf(projectId) {
    return [...this.deployments.values()]
      .filter((d) => d.projectId === projectId);
  }

  servicesOf(projectId) {
    return [...this.services.values()]
      .filter((s) => s.projectId === projectId && !s.deletedAt);
  }

  /** Live projects one of whose first deployments saw `text` in a variable. */
  projectsWith(text, { live = true } = {}) {
    const from = live ? this.liveProjects() : [...this.projects.values()];
    return from.filter((p) => this.deploymentsOf(p.id)
      .some((d) => JSON.stringify(d.variables).includes(text)
        || Object.values(d.variables).some((v) => v.includes(text))));
  }

  operations(name) {
    return this.requests.filter((r) => r.fields.includes(name));
  }

  /** Is anything still being made or running in this project? */
  isAtWork(project) {
    if (project.deletedAt || project.deletionScheduledAt || project.foreign) {
      return false;
    }
    const deployments = this.deploymentsOf(project.id);
    return !deployments.length || deployments.some((d) => !FINAL.has(d.status));
  }

  atWork() {
    return [...this.projects.values()].filter((p) => this.isAtWork(p));
  }

  /** Sends Railway's webhook about a deployment; believed or not. */
  postWebhook(url, deployment, { type, status } = {}) {
    return request(url, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({
        type: type ?? 'Deployment.deployed',
        details: { id: deployment.id, source: 'image',
          status: status ?? deployment.status },
        resource: {
          workspace: { id: this.workspaceId },
          project: { id: deployment.projectId },
          environment: { id: deployment.environmentId, name: 'production',
            isEphemeral: false },
          service: { id: deployment.serviceId },
          deployment: { id: deployment.id },
        },
        severity: 'INFO',
        timestamp: new Date().toISOString(),
      }),
    });
  }

  // -- HTTP -------------------------------------------------------------------

  /** Remembers a request; returns what is remembered. */
  note(what) {
    const entry = {
      seq: ++this.#seq, at: Date.now(), transport: 'http', fields: [],
      type: undefined, variables: {}, query: undefined, source: null,
      status: undefined, outcome: undefined, deprecated: [], ...what,
    };
    this.requests.push(entry);
    return entry;
  }

  async #serve(req, res) {
    const chunks = [];
    for await (const chunk of req) chunks.push(chunk);
    const url = new URL(req.url, this.url);
    const entry = this.note({ source: url.searchParams.get('source'),
      traceparent: req.headers.traceparent,
      tracestate: req.headers.tracestate });
    if (Date.now() < this.#blockedUntil) return this.#shutOut(entry, res);
    this.budget -= 1;
    const reply = (status, body, headers = {}) => {
      entry.status = status;
      res.writeHead(status, {
        'Content-Type': 'application/json',
        'X-RateLimit-Limit': String(this.limit),
        'X-RateLimit-Remaining': String(Math.max(0, this.budget)),
        'X-RateLimit-Reset': new Date(Date.now() + 3_600_000).toISOString(),
        ...this.rateHeaders,
        ...headers,
      });
      res.end(typeof body === 'string' ? body : JSON.stringify(body));
    };
    const refuse = (code, message) => {
      entry.outcome = code;
      this.complaints.push(`${code}: ${message}`);
      reply(400, { errors: [{ message, extensions: { code } }] });
    };

    if (req.method !== 'POST') return reply(405, {});
    let call;
    try {
      call = JSON.parse(Buffer.concat(chunks).toString('utf8'));
    } catch {
      return refuse('BAD_REQUEST', 'body is not JSON');
    }
    entry.query = call.query;
    entry.variables = call.variables ?? {};

    let document;
    try {
      document = parse(String(call.query));
    } catch (error) {
      return refuse('GRAPHQL_PARSE_FAILED', error.message);
    }
    const wrong = validate(schema, document, specifiedRules);
    if (wrong.length) {
      return refuse('GRAPHQL_VALIDATION_FAILED',
        wrong.map((e) => e.message).join('; '));
    }
    entry.deprecated = validate(schema, document, [NoDeprecatedCustomRule])
      .map((e) => e.message);
    const operation = getOperationAST(document, call.operationName);
    if (!operation) return refuse('BAD_REQUEST', 'no such operation');
    entry.type = operation.operation;
    if (entry.type === 'subscription') {
      return refuse('BAD_REQUEST', 'subscriptions are served on the socket');
    }
    entry.fields = rootFields(document, operation);
    const { errors: badValues } = getVariableValues(schema,
      operation.variableDefinitions ?? [], entry.variables);
    if (badValues?.length) {
      return refuse('BAD_USER_INPUT', badValues.map((e) => e.message).join('; '));
    }

    // template(code) of a published template needs no token.
    const open = entry.fields.every((f) => f === 'template');
    const given = req.headers.authorization;
    if (given !== `Bearer ${this.token}` && !(open && given === undefined)) {
      entry.outcome = 'unauthorized';
      return reply(200, { data: null, errors: [{ message: 'Not Authorized',
        path: [entry.fields[0]],
        extensions: { code: 'INTERNAL_SERVER_ERROR', traceId: traceId() } }] });
    }
    if (this.budget < 0) {
      entry.outcome = '429';
      return reply(429, { errors: [{ message: 'Rate limit exceeded' }] },
        { 'Retry-After': '1' });
    }

    let fault = this.#faults.find((f) => f.fired < f.times
      && (f.operation === '*' || entry.fields.includes(f.operation))
      && (!f.match || f.match(entry.variables))
      && (f.skip === 0 || (f.skip -= 1, false)));
    if (fault) {
      fault.fired += 1;
      entry.fault = `${fault.when} ${fault.kind}`;
      if (fault.held) await new Promise((go) => { this.#slow.push(go); });
      if (fault.kind === 'slow') {
        await new Promise((go) => { this.#slow.push(go); });
        fault = undefined;
      } else if (fault.kind !== 'twice' && fault.when === 'before') {
        entry.outcome = 'fault';
        return this.#misbehave(fault, entry, req, res, reply);
      }
    }
    const carryOut = () => execute({
      schema, document, operationName: call.operationName,
      rootValue: this.#root(), variableValues: entry.variables,
    });
    const result = await carryOut();
    entry.outcome = result.errors ? result.errors[0].message : 'ok';
    if (fault?.kind === 'twice') {
      // Somebody in between has sent it again; that is no new call of ours.
      this.#lastCreate = -Infinity;
      await carryOut();
      return reply(200, result);
    }
    if (fault) {
      return this.#misbehave(fault, entry, req, res, reply,
        JSON.stringify(result));
    }
    return reply(200, result);
  }

  /** No JSON, no headers about limits, no Retry-After. */
  #shutOut(entry, res) {
    entry.outcome = '1015';
    entry.status = 429;
    res.writeHead(429, { 'Content-Type': 'text/html; charset=UTF-8' });
    res.end('<!doctype html><title>Access denied</title>error code: 1015');
  }

  #misbehave(fault, entry, req, res, reply,
             text = `{"data":{"${entry.fields[0]}":{"id":"`) {
    switch (fault.kind) {
      case 'html':
        return reply(200, '<!doctype html><title>Railway</title>Be right back',
          { 'Content-Type': 'text/html' });
      case 'empty':
        return reply(200, '');
      case 'truncated':
        return reply(200, text.slice(0, Math.max(1, text.length >> 1)));
      case '1015':
        return this.#shutOut(entry, res);
      case 'invisible':
        return reply(200, { data: null, errors: [{ message: {
          project: 'Project not found', environment: 'Environment not found',
          deployment: 'Deployment not found',
          deploymentEvents: 'Deployment not found',
          service: 'Service not found',
          serviceInstance: 'ServiceInstance not found',
        }[entry.fields[0]] ?? 'Not Authorized', path: [entry.fields[0]],
        extensions: { code: 'INTERNAL_SERVER_ERROR', traceId: traceId() } }] });
      case 'ignored':
        return reply(200, { data: Object.fromEntries(entry.fields
          .map((field) => [field, true])) });
      case '502':
      case '504':
        return reply(Number(fault.kind), '<html>upstream timeout</html>',
          { 'Content-Type': 'text/html' });
      case 'reset':
        return req.socket.resetAndDestroy?.() ?? req.socket.destroy();
      case 'opaque':
        return reply(200, { data: null, errors: [
          { message: 'Problem processing request', traceId: traceId() }] });
      case '429':
        return reply(429, { errors: [{ message: 'Too many requests',
          extensions: { code: 'RATE_LIMITED' } }] },
        { 'Retry-After': String(fault.retryAfter ?? 1) });
      case 'hang':
        this.#hanging.add(res);
        return undefined;
      case 'message':
        return reply(200, { data: null, errors: [{ message: fault.message,
          path: [entry.fields[0]], extensions: {
            code: fault.code ?? 'INTERNAL_SERVER_ERROR', traceId: traceId() },
        }] });
      default:
        throw new Error(`unknown fault ${fault.kind}`);
    }
  }

  // -- the model --------------------------------------------------------------

  #after(ms, fn) {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      fn();
    }, ms);
    this.#timers.add(timer);
  }

  #count() {
    this.maxAtWork = Math.max(this.maxAtWork, this.atWork().length);
  }

  /** Whether something made at `bornAt` shows already. */
  #shows(kind, bornAt) {
    return Date.now() - bornAt >= this.lag[kind];
  }

  #project(id) {
    const project = this.projects.get(id);
    if (!project || project.deletedAt) {
      throw new BusinessError('Project not found');
    }
    // Rights lag behind the creation.
    if (!project.foreign && !this.#shows('auth', project.bornAt)) {
      throw notAuthorized();
    }
    return project;
  }

  #environment(id) {
    for (const project of this.projects.values()) {
      if (project.deletedAt) continue;
      const found = project.environmentList.find((e) => e.id === id);
      if (found) {
        this.#project(project.id);
        return found;
      }
    }
    throw new BusinessError('Environment not found');
  }

  #service(id) {
    const service = this.services.get(id);
    if (!service || service.deletedAt
        || !this.#shows('services', service.bornAt)
        || this.projects.get(service.projectId).deletedAt) {
      throw new BusinessError('Service not found');
    }
    return service;
  }

  #deployment(id) {
    const deployment = this.deployments.get(id);
    if (!deployment || !this.#shows('deployments', deployment.bornAt)
        || this.projects.get(deployment.projectId).deletedAt) {
      throw new BusinessError('Deployment not found');
    }
    return deployment;
  }

  #instance(service, environmentId) {
    const instance = service.instanceList
      .find((i) => i.environmentId === environmentId);
    if (!instance) throw new BusinessError('ServiceInstance not found');
    return instance;
  }

  #newProject({ name, description, workspaceId, isPublic,
                defaultEnvironmentName }) {
    const id = crypto.randomUUID();
    const createdAt = new Date().toISOString();
    const project = {
      id,
      // Railway may lower-case names.
      name: (name ?? `quiet-${traceId().slice(0, 5)}`).toLowerCase(),
      description: description ?? null,
      workspaceId: workspaceId ?? this.workspaceId,
      isPublic: isPublic ?? false, isTempProject: false, prDeploys: false,
      createdAt, updatedAt: createdAt, deletedAt: null, expiredAt: null,
      baseEnvironmentId: null, seq: this.projects.size, bornAt: Date.now(),
      environmentList: [], volumeList: [],
      environments: (args) => connection(project.environmentList, args),
      services: (args) => connection(this.#shownServices(id), args),
      deployments: (args) => connection(newestFirst(
        this.#shownDeployments((d) => d.projectId === id)), args),
      volumes: (args) => connection(project.volumeList, args),
      workspace: () => this.#workspace(),
    };
    const environment = {
      id: crypto.randomUUID(), projectId: id,
      name: defaultEnvironmentName ?? 'production', isEphemeral: false,
      canAccess: true, createdAt, updatedAt: createdAt, deletedAt: null,
      configEtag: 'e1', unmergedChangesCount: 0,
      serviceInstances: (args) => connection(this.#shownServices(id)
        .flatMap((s) => s.instanceList)
        .filter((i) => i.environmentId === environment.id), args),
      volumeInstances: (args) => connection(project.volumeList
        .map((v) => v.instance), args),
      deployments: (args) => connection(newestFirst(this.#shownDeployments(
        (d) => d.environmentId === environment.id)), args),
      configuration: { services: {} },
      config: ({ decryptVariables }) => (decryptVariables
        ? structuredClone(environment.configuration)
        : withoutSecrets(environment.configuration)),
    };
    project.environmentList.push(environment);
    project.primaryEnvironmentId = environment.id;
    project.baseEnvironmentId = environment.id;
    this.onProject?.(project);
    this.projects.set(id, project);
    this.#count();
    return project;
  }

  #shownServices(projectId) {
    return this.servicesOf(projectId)
      .filter((s) => this.#shows('services', s.bornAt));
  }

  #shownDeployments(filter) {
    return [...this.deployments.values()]
      .filter((d) => filter(d) && this.#shows('deployments', d.bornAt));
  }

  #newService(project, environmentId, { name, variables, source, templateId,
                                        templateServiceId, config,
                                        id = crypto.randomUUID() }) {
    const createdAt = new Date().toISOString();
    const service = {
      id, projectId: project.id, name, icon: null, createdAt,
      updatedAt: createdAt, deletedAt: null, featureFlags: [],
      templateId: templateId ?? null,
      templateServiceId: templateServiceId ?? null,
      bornAt: Date.now(),
      project: () => project,
      instanceList: [],
      serviceInstances: (args) => connection(service.instanceList, args),
      deployments: (args) => connection(newestFirst(this.#shownDeployments(
        (d) => d.serviceId === id)), args),
    };
    const instance = {
      id: crypto.randomUUID(), serviceId: id, serviceName: name, environmentId,
      service: () => service, createdAt, updatedAt: createdAt, deletedAt: null,
      builder: 'RAILPACK', isUpdatable: false, restartPolicyType: 'ON_FAILURE',
      restartPolicyMaxRetries: 10, watchPatterns: [], numReplicas: 1,
      source: source ?? null, values: { ...variables }, domainList: [],
      customDomainList: [],
      domains: () => ({ customDomains: instance.customDomainList,
        serviceDomains: instance.domainList }),
      latestDeployment: () => newestFirst(this.#shownDeployments(
        (d) => d.instance === instance))[0] ?? null,
      activeDeployments: () => this.#shownDeployments(
        (d) => d.instance === instance && ACTIVE.has(d.status)),
    };
    service.instanceList.push(instance);
    this.services.set(id, service);
    project.environmentList.find((e) => e.id === environmentId)
      .configuration.services[id] = structuredClone(config ?? {
        ...(source ? { source } : {}), variables: Object.fromEntries(
          Object.entries(variables ?? {})
            .map(([key, value]) => [key, { value }])) });
    return instance;
  }

  #newVolume(project, { serviceId, mountPath, region, sizeMB = 5120,
                        id = crypto.randomUUID() }) {
    const [environment] = project.environmentList;
    const createdAt = new Date().toISOString();
    const volume = {
      id, name: `volume-${id.slice(0, 4)}`, projectId: project.id, createdAt,
      project: () => project,
      volumeInstances: (args) => connection([volume.instance], args),
    };
    volume.instance = {
      id: crypto.randomUUID(), volumeId: id, environmentId: environment.id,
      serviceId: serviceId ?? null, mountPath, region: region ?? null, sizeMB,
      currentSizeMB: 0, createdAt, deletedAt: null, isPendingDeletion: false,
      state: 'READY', externalId: null, volume: () => volume,
      environment: () => environment,
      service: () => this.services.get(volume.instance.serviceId) ?? null,
    };
    project.volumeList.push(volume);
    return volume;
  }

  /** Attached to a service, as its configuration shows. */
  #mount(project, volume) {
    const { serviceId, mountPath, sizeMB, region } = volume.instance;
    const { configuration } = project.environmentList[0];
    configuration.volumes = { ...configuration.volumes,
      [volume.id]: { sizeMB, ...(region ? { region } : {}) } };
    const service = configuration.services[serviceId];
    if (service) {
      service.volumeMounts = { ...service.volumeMounts,
        [volume.id]: { mountPath } };
    }
  }

  /** A project with three services, of which one is to be cloned. */
  #newTemplateProject() {
    const parts = newParts();
    const project = this.#newProject({ name: 'gateway-template',
      description: 'What customers get' });
    project.foreign = true;
    const [environment] = project.environmentList;
    const config = templateProjectConfig(parts);
    const add = (id, name) => this.#newService(project, environment.id, { id,
      name, config: config.services[id], source: config.services[id].source,
      variables: Object.fromEntries(Object.entries(config.services[id].variables)
        .map(([key, { value }]) => [key, value])) });
    // The one that is meant is neither the first nor the last.
    const instances = [add(parts.worker, 'worker'),
      add(parts.gateway, 'gateway'), add(parts.scratch, 'scratch')];
    this.#newVolume(project, { id: parts.volume, serviceId: parts.gateway,
      mountPath: '/data', region: 'europe-west4-drams3a' });
    Object.assign(environment.configuration, config);
    for (const [domain, custom] of [[TEMPLATE_DOMAIN, false],
      [TEMPLATE_CUSTOM_DOMAIN, true]]) {
      this.#newDomain(instances[1], 8080, { domain, custom });
    }
    this.templateProject = { project, environment, config,
      serviceId: parts.gateway, volumeId: parts.volume,
      service: config.services[parts.gateway] };
  }

  #newDomain(instance, targetPort, { domain: name, custom = false } = {}) {
    const service = instance.service();
    const project = service.project();
    const environment = project.environmentList
      .find((e) => e.id === instance.environmentId);
    const domain = {
      id: crypto.randomUUID(), serviceId: service.id, projectId: project.id,
      environmentId: instance.environmentId, targetPort: targetPort ?? null,
      domain: name ?? `${service.name}-${environment.name}-${
        traceId().slice(0, 4)}.up.railway.localhost`,
      suffix: 'up.railway.localhost', syncStatus: 'ACTIVE',
      createdAt: new Date().toISOString(), deletedAt: null,
    };
    (custom ? instance.customDomainList : instance.domainList).push(domain);
    const config = environment.configuration.services[service.id];
    const shown = config?.networking?.serviceDomains;
    if (config && !custom && !(domain.domain in (shown ?? {}))) {
      config.networking = { ...config.networking, serviceDomains: { ...shown,
        [domain.domain]: targetPort ? { port: targetPort } : {} } };
    }
    return domain;
  }

  #newDeployment(instance, extra = {}) {
    const service = instance.service();
    const project = service.project();
    const createdAt = new Date().toISOString();
    const id = crypto.randomUUID();
    const deployment = {
      id, instance, projectId: project.id, serviceId: service.id,
      environmentId: instance.environmentId, seq: this.deployments.size,
      bornAt: Date.now(), listeners: new Set(), replicas: undefined,
      status: 'QUEUED', createdAt, updatedAt: createdAt,
      statusUpdatedAt: createdAt, deploymentStopped: false,
      canRedeploy: false, canRollback: false, sockets: [], meta: {},
      snapshotId: null, suggestAddServiceDomain: false,
      // What the process sees: as the variables were at this moment.
      variables: { ...instance.values },
      history: [{ status: 'QUEUED', at: Date.now() }],
      events: [], lines: [],
      url: () => (instance.domainList[0]?.domain ?? null),
      staticUrl: () => (instance.domainList[0]?.domain ?? null),
      service: () => service,
      environment: () => project.environmentList
        .find((e) => e.id === instance.environmentId),
      instances: () => (deployment.replicas
        ?? [REPLICA[deployment.status] ?? 'CREATED'])
        .map((status, i) => ({ id: `${id}-${i}`, status })),
      ...extra,
    };
    this.deployments.set(id, deployment);
    project.firstDeployment ??= deployment;
    this.#count();
    this.#tell(deployment);
    this.#walk(deployment);
    return deployment;
  }

  #turn(deployment, status, type) {
    deployment.status = status;
    deployment.statusUpdatedAt = new Date().toISOString();
    deployment.updatedAt = deployment.statusUpdatedAt;
    deployment.history.push({ status, at: Date.now() });
    this.#count();
    this.#tell(deployment, type);
  }

  /** Posts to everybody whose rule covers this change. */
  #tell(deployment, type = EVENT_TYPES[deployment.status]) {
    if (!type || this.webhooks.lost) return;
    const event = `Deployment.${type}`;
    const status = this.webhooks.lying
      ? { SUCCESS: 'FAILED', FAILED: 'SUCCESS' }[deployment.status] ?? 'SUCCESS'
      : deployment.status;
    for (const rule of this.rules) {
      if (!rule.eventTypes.includes(event)
          || (rule.projectId && rule.projectId !== deployment.projectId)) {
        continue;
      }
      for (const { config } of rule.channels) {
        for (let i = 0; i < (this.webhooks.doubled ? 2 : 1); i += 1) {
          this.#after(this.webhooks.late, () => this.#deliver(config.url,
            deployment, { type: event, status }));
        }
      }
    }
  }

  async #deliver(url, deployment, { type, status }) {
    const delivery = { at: Date.now(), url, type, status,
      deploymentId: deployment.id, answer: undefined };
    this.deliveries.push(delivery);
    try {
      delivery.answer = (await this.postWebhook(url, deployment,
        { type, status })).status;
    } catch (error) {
      delivery.answer = error.message;
    }
  }

  #event(deployment, step, payload = {}) {
    const open = deployment.events.at(-1);
    if (open) open.completedAt ??= new Date().toISOString();
    deployment.events.push({ id: crypto.randomUUID(), step, payload,
      createdAt: new Date().toISOString(), completedAt: null });
  }

  #line(deployment, kind, message, severity = 'info') {
    const ns = String(deployment.lines.length).padStart(6, '0');
    const line = {
      kind, message, severity,
      timestamp: new Date().toISOString().replace('Z', `${ns}Z`),
      attributes: [{ key: 'level', value: severity }],
      tags: { deploymentId: deployment.id, projectId: deployment.projectId,
        environmentId: deployment.environmentId,
        serviceId: deployment.serviceId },
    };
    deployment.lines.push(line);
    for (const listener of deployment.listeners) listener(line);
  }

  /** Leads a deployment from QUEUED to its end, unless it is stopped. */
  async #walk(deployment) {
    const stage = async (status, ms) => {
      if (deployment.halted) return false;
      if (status !== deployment.status) this.#turn(deployment, status);
      await new Promise((resolve) => { this.#after(ms, resolve); });
      while (!deployment.halted && this.#held
        .some((h) => h.status === status && h.match(deployment))) {
        await new Promise((go) => { this.#waiting.push({ status, go }); });
      }
      return !deployment.halted;
    };
    if (!await stage('QUEUED', this.times.queued)) return;
    this.#event(deployment, 'SNAPSHOT_CODE');
    if (!await stage('INITIALIZING', this.times.initializing)) return;
    this.#event(deployment, 'BUILD_IMAGE');
    this.#line(deployment, 'build', '\u001b[32mUsing Railpack\u001b[0m\u0007');
    this.#line(deployment, 'build', '安装依赖 ✓');
    if (!await stage('BUILDING', this.times.building)) return;
    const failure = this.#failures.find((f) => f.left > 0 && f.match(deployment));
    if (failure) {
      failure.left -= 1;
      this.#line(deployment, 'build', failure.error, 'error');
      const open = deployment.events.at(-1);
      open.payload = { error: failure.error };
      open.completedAt = new Date().toISOString();
      this.#turn(deployment, failure.status);
      return;
    }
    this.#event(deployment, 'PUBLISH_IMAGE');
    this.#event(deployment, 'CREATE_CONTAINER');
    // Programs do print their environment.
    for (const [key, value] of Object.entries(deployment.variables)) {
      this.#line(deployment, 'deploy', `env ${key}=${value}`);
    }
    if (!await stage('DEPLOYING', this.times.deploying)) return;
    this.#event(deployment, 'HEALTHCHECK');
    this.#line(deployment, 'deploy', '\u001b]0;title\u0007Listening on :8080');
    this.#turn(deployment, 'SUCCESS');
    for (const other of this.deployments.values()) {
      if (other !== deployment && other.instance === deployment.instance
          && ACTIVE.has(other.status)) this.#turn(other, 'REMOVED');
    }
  }

  #halt(deployment) {
    if (deployment.status === 'REMOVED' || deployment.status === 'REMOVING') {
      return;
    }
    deployment.halted = true;
    this.#turn(deployment, 'REMOVING');
    for (const w of this.#waiting.splice(0)) w.go();
    this.#after(this.times.removing, () => {
      if (deployment.status === 'REMOVING') this.#turn(deployment, 'REMOVED');
    });
  }

  #workspace() {
    return {
      id: this.workspaceId, name: 'Slipway tests', plan: 'PRO',
      createdAt: new Date(0).toISOString(), members: [],
      apiTokenRateLimit: { remainingPoints: Math.max(0, this.budget),
        resetsAt: new Date(Date.now() + 3_600_000).toISOString() },
      projectCount: () => this.liveProjects().length,
      projects: (args) => this.#listProjects(args),
    };
  }

  #listProjects(args = {}) {
    const { workspaceId, includeDeleted, orderBy } = args;
    const visible = [...this.projects.values()].filter((p) => (
      (includeDeleted || !p.deletedAt)
      && (workspaceId == null || p.workspaceId === workspaceId)
      && !p.hidden && this.#shows('projects', p.bornAt)));
    if (orderBy === 'NAME_ASC') {
      visible.sort((a, b) => (a.name < b.name ? -1 : 1));
    } else {
      visible.sort((a, b) => b.seq - a.seq);
    }
    return connection(visible, { ...args, first: args.first
      ?? (args.last == null ? 50 : undefined) });
  }

  #deployTemplate(input) {
    const template = this.templates.get(input.templateId);
    if (!template) throw new BusinessError('Template not found');
    const config = input.serializedConfig;
    if (!config || typeof config !== 'object' || Array.isArray(config)) {
      throw new BusinessError('serializedConfig must be an object',
        'BAD_USER_INPUT');
    }
    if (!isDeepStrictEqual(withoutValues(config),
      withoutValues(template.serializedConfig))) {
      this.complaints.push('serializedConfig lost or changed fields: '
        + JSON.stringify(withoutValues(config)));
    }
    const project = input.projectId ? this.#project(input.projectId)
      : this.#newProject({ workspaceId: input.workspaceId });
    const environmentId = input.environmentId
      ?? project.environmentList[0].id;
    if (!project.environmentList.some((e) => e.id === environmentId)) {
      throw new BusinessError('Environment not found');
    }
    const workflowId = crypto.randomUUID();
    const workflow = { status: 'Running', error: null, projectId: project.id };
    this.workflows.set(workflowId, workflow);
    project.templateDeploys = (project.templateDeploys ?? 0) + 1;
    const make = () => {
      if (project.deletedAt) {
        workflow.status = 'Error';
        workflow.error = 'Project was deleted';
        return;
      }
      for (const [key, spec] of Object.entries(config.services ?? {})) {
        const variables = {};
        for (const [name, of] of Object.entries(spec.variables ?? {})) {
          const value = of.value ?? undefined;
          if (value === undefined) {
            if (of.defaultValue !== undefined && !of.isOptional) {
              this.complaints.push(`variable ${name} was left without a value `
                + 'although the template has a default');
            }
            continue;
          }
          if (typeof value !== 'string') {
            this.complaints.push(`variable ${name} is not a string`);
          }
          variables[name] = String(value).replace(/\$\{\{secret\((\d+)\)\}\}/g,
            (_, n) => crypto.randomBytes(Number(n)).toString('hex').slice(0, n));
        }
        const instance = this.#newService(project, environmentId, {
          name: spec.name, variables, source: { repo: spec.source?.repo,
            image: spec.source?.image },
          templateId: template.id, templateServiceId: key,
          config: { ...structuredClone(spec), networking: {}, volumeMounts: {} },
        });
        for (const { mountPath, sizeMB } of Object.values(spec.volumeMounts
          ?? {})) {
          this.#mount(project, this.#newVolume(project, { mountPath, sizeMB,
            serviceId: instance.serviceId }));
        }
        const domains = Object.values(spec.networking?.serviceDomains ?? {});
        this.#after(this.times.domain, () => {
          for (const { port } of domains) this.#newDomain(instance, port);
        });
        if (!input.stageOnly) this.#newDeployment(instance);
      }
      workflow.status = 'Complete';
    };
    this.#after(this.times.workflow, make);
    return { projectId: project.id, workflowId };
  }

  /** Puts a patch into an environment; what has a source is deployed. */
  #commitPatch(environment, patch) {
    const project = this.projects.get(environment.projectId);
    if (!patch || typeof patch !== 'object' || Array.isArray(patch)) {
      throw new BusinessError('Invalid patch', 'BAD_USER_INPUT');
    }
    const touched = Object.keys(patch.services ?? {});
    for (const id of touched) {
      const service = this.services.get(id);
      if (!service || service.deletedAt || service.projectId !== project.id) {
        throw new BusinessError(`Service not found: ${id}`);
      }
    }
    const { configuration } = Object.assign(environment,
      { configuration: merged(environment.configuration, patch) });
    for (const id of touched) {
      const config = configuration.services[id];
      const instance = this.#instance(this.services.get(id), environment.id);
      for (const [key, of] of Object.entries(config.variables ?? {})) {
        if (of === null) {
          delete config.variables[key];
          delete instance.values[key];
          continue;
        }
        if (typeof of?.value !== 'string') {
          this.complaints.push(`variable ${key} is not a string`);
        }
        instance.values[key] = String(of?.value);
      }
      for (const volume of Object.keys(config.volumeMounts ?? {})) {
        if (!project.volumeList.some((v) => v.id === volume)) {
          this.complaints.push('a volume of another project is mounted');
        }
      }
      for (const domain of [
        ...Object.keys(config.networking?.serviceDomains ?? {}),
        ...Object.keys(config.networking?.customDomains ?? {})]) {
        if (!instance.domainList.some((d) => d.domain === domain)) {
          this.complaints.push(`the domain ${domain} is not this service's`);
        }
      }
      if (this.templateProject && !project.foreign) {
        const missing = lost(comparable(this.templateProject.service),
          comparable(config));
        if (missing.length) {
          this.complaints.push(`the patch lost or changed ${missing.join()}`);
        }
      }
      if (config.source) {
        instance.source = config.source;
        this.#after(this.times.patch, () => {
          if (!instance.service().deletedAt && !project.deletedAt) {
            this.#newDeployment(instance);
          }
        });
      }
    }
    for (const volume of Object.keys(configuration.volumes ?? {})) {
      if (!project.volumeList.some((v) => v.id === volume)) {
        this.complaints.push('the configuration names a volume of another '
          + 'project');
      }
    }
    return crypto.randomUUID();
  }

  /** Resolvers: graphql-js calls functions it finds on the root value. */
  #root() {
    const root = {
      // -- queries
      apiToken: () => ({ workspaces: [
        { id: this.workspaceId, name: 'Slipway tests' }] }),
      me: () => { throw notAuthorized(); },
      workspace: ({ workspaceId }) => {
        if (workspaceId !== this.workspaceId) throw notAuthorized();
        return this.#workspace();
      },
      projects: (args) => this.#listProjects(args),
      projectsByIds: ({ ids }) => ids.map((id) => this.projects.get(id))
        .filter((p) => p && !p.deletedAt),
      project: ({ id }) => this.#project(id),
      environment: ({ id }) => this.#environment(id),
      environments: ({ projectId, ...args }) => connection(
        this.#project(projectId).environmentList, args),
      service: ({ id }) => this.#service(id),
      serviceInstance: ({ serviceId, environmentId }) => this.#instance(
        this.#service(serviceId), environmentId),
      notificationRules: ({ workspaceId, projectId }) => {
        if (workspaceId !== this.workspaceId) throw notAuthorized();
        return this.rules.filter((r) => !projectId || r.projectId === projectId);
      },
      domains: ({ serviceId, environmentId }) => this.#instance(
        this.#service(serviceId), environmentId).domains(),
      template: ({ id, code }) => {
        const found = [...this.templates.values()]
          .find((t) => (id ? t.id === id : t.code === code));
        if (!found) throw new BusinessError('Template not found');
        return found;
      },
      templateSourceForProject: ({ projectId }) => [...this.templates.values()]
        .find((t) => t.sourceProjectId === projectId) ?? null,
      workspaceTemplates: (args) => connection([...this.templates.values()],
        args),
      workflowStatus: ({ workflowId }) => this.workflows.get(workflowId)
        ?? { status: 'NotFound', error: null },
      deployment: ({ id }) => this.#deployment(id),
      deployments: ({ input, ...args }) => connection(newestFirst(
        [...this.deployments.values()].filter((d) => (
          this.#shows('deployments', d.bornAt)
          && (!input.projectId || d.projectId === input.projectId)
          && (!input.environmentId || d.environmentId === input.environmentId)
          && (!input.serviceId || d.serviceId === input.serviceId)
          && (!input.status?.in || input.status.in.includes(d.status))
          && !input.status?.notIn?.includes(d.status)
          && !this.projects.get(d.projectId).deletedAt))), args),
      deploymentEvents: ({ id, ...args }) => connection(
        this.#deployment(id).events, args),
      buildLogs: (args) => this.#logs(args, 'build'),
      deploymentLogs: (args) => this.#logs(args, 'deploy'),
      environmentLogs: ({ environmentId }) => [...this.deployments.values()]
        .filter((d) => d.environmentId === environmentId)
        .flatMap((d) => d.lines.filter((l) => l.kind === 'deploy')),
      httpLogs: () => [],
      variables: ({ serviceId, environmentId }) => (serviceId
        ? this.#instance(this.#service(serviceId), environmentId).values : {}),
      variablesForServiceDeployment: ({ serviceId, environmentId }) => this
        .#instance(this.#service(serviceId), environmentId).values,

      // -- mutations
      projectCreate: ({ input }) => {
        const wait = this.#lastCreate + this.cooldown - Date.now();
        if (wait > 0) {
          throw new BusinessError('You are creating projects too quickly. '
            + 'Please wait: 1 project per 30 seconds.');
        }
        if (input.workspaceId && input.workspaceId !== this.workspaceId) {
          throw notAuthorized();
        }
        this.#lastCreate = Date.now();
        return this.#newProject(input);
      },
      projectUpdate: ({ id, input }) => Object.assign(this.#project(id), input),
      projectDelete: ({ id }) => {
        const project = this.projects.get(id);
        // A second delete does not say "not found" but this.
        if (!project || project.deletedAt) throw notAuthorized();
        if (project.foreign) {
          this.complaints.push(`deleted ${project.name}, which is not ours`);
        }
        project.deletedAt = new Date().toISOString();
        for (const d of this.deploymentsOf(id)) this.#halt(d);
        return true;
      },
      projectScheduleDelete: ({ id }) => {
        const project = this.#project(id);
        project.deletionScheduledAt = new Date().toISOString();
        for (const d of this.deploymentsOf(id)) this.#halt(d);
        return true;
      },
      templateDeployV2: ({ input }) => this.#deployTemplate(input),
      templateGenerate: ({ input }) => {
        this.#project(input.projectId);
        return Object.assign(
          this.addTemplate(structuredClone(this.template.serializedConfig)),
          { sourceProjectId: input.projectId });
      },
      serviceCreate: ({ input }) => {
        const project = this.#project(input.projectId);
        const instance = this.#newService(project, input.environmentId
          ?? project.environmentList[0].id, { ...input,
          name: input.name ?? `service-${traceId().slice(0, 4)}` });
        // Without a source there is nothing to deploy.
        if (input.source) this.#newDeployment(instance);
        return instance.service();
      },
      volumeCreate: ({ input }) => {
        const project = this.#project(input.projectId);
        if (input.serviceId) {
          const service = this.#service(input.serviceId);
          if (project.volumeList.some((v) => v.instance.serviceId === service.id
              && v.instance.mountPath === input.mountPath)) {
            throw new BusinessError('A volume already exists at this mount path');
          }
          if (this.deploymentsOf(project.id).length) {
            this.complaints.push('a volume was made after a deployment');
          }
        }
        const volume = this.#newVolume(project, input);
        this.#mount(project, volume);
        return volume;
      },
      environmentPatchCommit: ({ environmentId, patch }) => this.#commitPatch(
        this.#environment(environmentId), patch),
      notificationRuleCreate: ({ input }) => {
        if (input.workspaceId !== this.workspaceId) throw notAuthorized();
        for (const type of input.eventTypes) {
          if (!KNOWN_EVENTS.has(type)) {
            this.complaints.push(`nobody has heard of the event ${type}`);
          }
        }
        for (const channel of input.channelConfigs) {
          if (channel?.type !== 'webhook' || !/^https?:/.test(channel.url)) {
            this.complaints.push('not the config of a webhook channel: '
              + JSON.stringify(channel));
          }
        }
        return this.addRule(input);
      },
      serviceDelete: ({ id }) => {
        const service = this.#service(id);
        const project = this.projects.get(service.projectId);
        if (project.foreign) {
          this.complaints.push(`deleted a service of ${project.name}`);
        }
        delete project.environmentList[0].configuration.services[id];
        service.deletedAt = new Date().toISOString();
        for (const d of this.deployments.values()) {
          if (d.serviceId === id) this.#halt(d);
        }
        return true;
      },
      serviceDomainCreate: ({ input }) => this.#newDomain(this.#instance(
        this.#service(input.serviceId), input.environmentId), input.targetPort),
      serviceInstanceUpdate: ({ serviceId, environmentId, input }) => {
        const service = this.#service(serviceId);
        for (const instance of service.instanceList) {
          if (environmentId && instance.environmentId !== environmentId) continue;
          // Leaving out numReplicas resets it.
          instance.numReplicas = input.numReplicas ?? 1;
          if (input.source) {
            instance.source = input.source;
            const { configuration } = service.project().environmentList[0];
            Object.assign(configuration.services[serviceId],
              { source: input.source });
          }
        }
        return true;
      },
      serviceInstanceDeployV2: ({ serviceId, environmentId }) => this
        .#newDeployment(this.#instance(this.#service(serviceId),
          environmentId)).id,
      serviceInstanceDeploy: ({ serviceId, environmentId }) => {
        this.#newDeployment(this.#instance(this.#service(serviceId),
          environmentId));
        return true;
      },
      serviceInstanceRedeploy: ({ serviceId, environmentId }) => {
        const instance = this.#instance(this.#service(serviceId), environmentId);
        const latest = instance.latestDeployment();
        if (latest && !FINAL.has(latest.status)) {
          throw new BusinessError('Cannot redeploy yet, please wait for the '
            + 'original deployment to finish building');
        }
        this.#newDeployment(instance);
        return true;
      },
      variableCollectionUpsert: ({ input }) => {
        const service = this.#service(input.serviceId);
        const instance = this.#instance(service, input.environmentId);
        instance.values = { ...(input.replace ? {} : instance.values),
          ...input.variables };
        if (!input.skipDeploys) this.#newDeployment(instance);
        return true;
      },
      variableUpsert: ({ input }) => {
        const instance = this.#instance(this.#service(input.serviceId),
          input.environmentId);
        instance.values[input.name] = input.value;
        if (!input.skipDeploys) this.#newDeployment(instance);
        return true;
      },
      deploymentCancel: ({ id }) => {
        this.#halt(this.#deployment(id));
        return true;
      },
      deploymentRemove: ({ id }) => {
        this.#halt(this.#deployment(id));
        return true;
      },
      deploymentStop: ({ id }) => {
        const deployment = this.#deployment(id);
        deployment.deploymentStopped = true;
        return true;
      },
      deploymentRestart: ({ id }) => Boolean(this.#deployment(id)),
      deploymentRedeploy: ({ id }) => {
        const old = this.#deployment(id);
        if (!FINAL.has(old.status)) {
          throw new BusinessError('Cannot redeploy yet, please wait for the '
            + 'original deployment to finish building');
        }
        return this.#newDeployment(old.instance);
      },
    };
    const { complaints } = this;
    return new Proxy(root, {
      get(target, name) {
        if (name in target || typeof name !== 'string') return target[name];
        return () => {
          complaints.push(`the imposter does not play ${name}`);
          throw new BusinessError(`not played: ${name}`);
        };
      },
    });
  }

  /** A rule as if somebody had made it in Railway's own pages. */
  addRule({ eventTypes, channelConfigs, projectId, severities }) {
    const now = new Date().toISOString();
    const about = { createdAt: now, updatedAt: now,
      workspaceId: this.workspaceId };
    const rule = {
      id: crypto.randomUUID(), ...about, eventTypes, severities: severities ?? [],
      projectId: projectId ?? null, serviceId: null, environmentId: null,
      ephemeralEnvironments: true,
      channels: channelConfigs.map((config) => ({ id: crypto.randomUUID(),
        ...about, config })),
    };
    this.rules.push(rule);
    return rule;
  }

  /** The root of subscriptions: lines that are there, then each new one. */
  streams() {
    return {
      buildLogs: (args) => this.#follow(args, 'build', 'buildLogs'),
      deploymentLogs: (args) => this.#follow(args, 'deploy', 'deploymentLogs'),
    };
  }

  #follow(args, kind, field) {
    const queue = this.#logs(args, kind);
    const deployment = this.deployments.get(args.deploymentId);
    let wake = () => {};
    let over = false;
    const listener = (line) => {
      if (line.kind === kind) queue.push(line);
      wake();
    };
    deployment.listeners.add(listener);
    const end = async () => {
      over = true;
      deployment.listeners.delete(listener);
      wake();
      return { value: undefined, done: true };
    };
    return {
      [Symbol.asyncIterator]() {
        return this;
      },
      next: async () => {
        while (!queue.length && !over) {
          await new Promise((resolve) => { wake = resolve; });
        }
        if (over) return { value: undefined, done: true };
        return { value: { [field]: queue.splice(0) }, done: false };
      },
      return: end,
      throw: end,
    };
  }

  #logs({ deploymentId, limit, filter, startDate, endDate }, kind) {
    const from = startDate ? Date.parse(startDate) : -Infinity;
    const to = endDate ? Date.parse(endDate) : Infinity;
    const lines = this.#deployment(deploymentId).lines.filter((l) => (
      l.kind === kind && (!filter || l.message.includes(filter))
      && Date.parse(l.timestamp) >= from && Date.parse(l.timestamp) <= to));
    // One more than asked for, as the original does.
    return lines.slice(-((limit ?? 100) + 1));
  }
}

function newestFirst(list) {
  return [...list].sort((a, b) => b.seq - a.seq);
}

function rootFields(document, operation) {
  const fragments = new Map(document.definitions
    .filter((d) => d.kind === 'FragmentDefinition')
    .map((d) => [d.name.value, d]));
  const walk = (set) => set.selections.flatMap((s) => {
    if (s.kind === 'Field') return [s.name.value];
    return walk(s.kind === 'InlineFragment' ? s.selectionSet
      : fragments.get(s.name.value).selectionSet);
  });
  return [...new Set(walk(operation.selectionSet))];
}

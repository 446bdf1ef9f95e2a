// People who subscribe, order and pay all the time, and gateways that notify
// the way real ones do: several copies at once, out of order, once more after
// they were acknowledged, and again and again until they are.

import assert from 'node:assert/strict';
import { Random } from './random.mjs';
import { sleep } from './wait.mjs';

export class Traffic {
  /** Everybody whose order was opened at a gateway. */
  customers = [];
  /** Callbacks that were answered with success: {customer, at, payment}. */
  acknowledged = [];
  /** Answers to callbacks and to people, by status or error code. */
  answers = new Map();
  /** What no server may answer, whatever is broken. */
  wrong = [];
  #stopping = false;
  #loops = [];

  /**
   * @param options.people how many at the same time
   * @param options.pause ms between the steps of one, at most
   * @param options.gateways names of the API
   */
  constructor(world, { seed = 1, people = 4, pause = 150, repeat = 250,
                       gateways = ['ALIPAY'], limit = Infinity } = {}) {
    Object.assign(this, { world, people, pause, repeat, gateways, limit });
    this.random = new Random(seed);
  }

  start() {
    for (let i = 0; i < this.people; i += 1) {
      const random = this.random.fork();
      this.#loops.push(this.#person(random));
    }
    return this;
  }

  /** Nobody new comes; resolves when all payments are acknowledged. */
  async stop({ within = 60_000 } = {}) {
    this.#stopping = true;
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => {
        this.abandoned = true;
        reject(new Error(`gateways still repeat callbacks after ${within} ms\n${
          this}\n${this.world.server.tail()}`));
      }, within);
    });
    await Promise.race([Promise.all(this.#loops), late]);
    clearTimeout(timer);
  }

  get paid() {
    return this.customers.filter((c) => c.paid);
  }

  toString() {
    const counts = [...this.answers].sort().map(([k, n]) => `${k}: ${n}`);
    return `${this.customers.length} orders, ${this.paid.length} paid, ${
      this.acknowledged.length} callbacks acknowledged; ${counts.join(', ')}`;
  }

  #count(what) {
    this.answers.set(what, (this.answers.get(what) ?? 0) + 1);
  }

  async #person(random) {
    while (!this.#stopping && this.customers.length < this.limit) {
      await this.#customer(random);
      await sleep(random.between(0, this.pause));
    }
  }

  /** A person goes on trying; undefined when the traffic ends first. */
  async #persist(what, random, go) {
    while (!this.abandoned) {
      try {
        const answer = await go();
        if (answer.status === 201) return answer.ok(201);
        this.#count(`${what} ${answer.status}`);
        if (![500, 502, 503].includes(answer.status)) {
          this.wrong.push(String(answer));
          return undefined;
        }
      } catch (error) {
        this.#count(`${what} ${error.code ?? 'no answer'}`);
      }
      if (this.#stopping) return undefined;
      await sleep(random.between(50, 200));
    }
    return undefined;
  }

  async #customer(random) {
    const { world } = this;
    const user = world.user();
    const gateway = random.pick(this.gateways);
    const mark = `mark-${user.sub}`;
    const made = await this.#persist('subscribe', random, () => user.post(
      '/api/subscriptions', { planType: 'PRO',
        channelCredentials: { TELEGRAM: { botToken: mark } } }));
    if (!made) return;
    const customer = { user, id: made.subscriptionId, mark, plan: 'PRO' };
    const key = `key-${user.sub}`;
    const order = await this.#persist('order', random, () => world.create(
      customer, { gateway, key }));
    if (!order) return;
    world.opened(customer, order);
    this.customers.push(customer);
    // Alipay tells, too, that it waits for the payer: before, beside or after
    // the payment is told.
    if (customer.gateway === world.alipay && random.chance(0.3)) {
      this.#deliver(customer, random);
    }
    await sleep(random.between(0, this.pause));
    customer.gateway.pay(customer.trade);
    customer.paid = Date.now();
    await this.#notify(customer, random);
  }

  /** Until one of them was acknowledged, and some more afterwards. */
  async #notify(customer, random) {
    for (let round = 0; !this.abandoned; round += 1) {
      const copies = Array.from({ length: random.between(1, 3) },
        () => this.#deliver(customer, random));
      const done = await Promise.all(copies);
      if (done.some(Boolean)) break;
      await sleep(random.between(this.repeat / 2, this.repeat));
    }
    if (random.chance(0.5)) await this.#deliver(customer, random);
  }

  /** One delivery; whether it was acknowledged with the payment in it. */
  async #deliver(customer, random) {
    const { gateway, trade, paid } = customer;
    const alipay = gateway === this.world.alipay;
    try {
      // Signed as often as it is sent or once for all copies: both happen.
      const params = alipay && (random.chance(0.5) && customer.signed && paid
        ? customer.signed : gateway.sign(gateway.notification(trade)));
      if (alipay && paid) customer.signed = params;
      const answer = alipay
        ? await gateway.post(trade.notifyUrl, params, { timeout: 40_000 })
        : await gateway.notify(trade, {}, { timeout: 40_000 });
      this.#count(`callback ${answer.status}`);
      const good = alipay
        ? answer.status === 200 && answer.text === 'success'
        : answer.status === 204;
      if (good) {
        this.acknowledged.push({ customer, at: Date.now(),
          payment: Boolean(paid) });
        if (paid) customer.acknowledged ??= Date.now();
      } else if (answer.status < 500) {
        this.wrong.push(`${trade.outTradeNo}: ${answer.status} ${answer.text}`);
      }
      return good && Boolean(paid);
    } catch (error) {
      this.#count(`callback ${error.code ?? 'no answer'}`);
      return false;
    }
  }

  assertSane() {
    assert.deepEqual(this.wrong, [], String(this));
  }
}

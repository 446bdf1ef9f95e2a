// What a gateway does wrong when it is told to.

/**
 * kind `drop` closes the connection, `500` answers with a page, `forged` signs
 * with a stranger's key, `unsigned` does not sign, `slow` waits for release(),
 * `refuse` answers with the error in `code`. Anything else is the imposter's
 * own business.
 */
export class Faults {
  #list = [];
  #held = new Set();

  /**
   * @param fault.call name of the call, or a RegExp, or undefined for any
   * @param fault.kind see above; undefined for a `first` alone
   * @param fault.times how many calls; Infinity until stop()
   * @param fault.when `before` or `after` the call took effect
   * @param fault.match (biz) => boolean
   * @param fault.first called before anything else, with the trade if known
   */
  add(fault) {
    const entry = { when: 'before', times: 1, fired: 0, ...fault,
      stop: () => { entry.times = entry.fired; } };
    this.#list.push(entry);
    return entry;
  }

  /** The fault that this call runs into, counted as fired. */
  take(call, biz) {
    const found = this.#list.find((f) => f.fired < f.times
      && (f.call === undefined || (f.call instanceof RegExp
        ? f.call.test(call) : f.call === call))
      && (!f.match || f.match(biz)));
    if (found) found.fired += 1;
    return found;
  }

  /** Resolves at release(). */
  hold() {
    return new Promise((resolve) => { this.#held.add(resolve); });
  }

  get held() {
    return this.#held.size;
  }

  /** Lets the slow calls go on. */
  release() {
    for (const go of this.#held) go();
    this.#held.clear();
  }

  /** No faults any more, and nothing waits. */
  clear() {
    this.#list = [];
    this.release();
  }
}

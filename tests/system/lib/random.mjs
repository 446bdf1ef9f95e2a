// Random choices that can be made again: mulberry32 of a seed.

export class Random {
  constructor(seed) {
    this.seed = seed >>> 0;
    this.state = this.seed;
  }

  /** 0 ≤ x < 1 */
  next() {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let t = this.state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  }

  /** A whole number from `from` to `to`, both included. */
  between(from, to) {
    return from + Math.floor(this.next() * (to - from + 1));
  }

  chance(p) {
    return this.next() < p;
  }

  pick(list) {
    return list[this.between(0, list.length - 1)];
  }

  /** One of [[weight, value], …]. */
  weighted(choices) {
    let left = this.next() * choices.reduce((n, [weight]) => n + weight, 0);
    for (const [weight, value] of choices) {
      left -= weight;
      if (left < 0) return value;
    }
    return choices.at(-1)[1];
  }

  /** A stream of its own, for somebody who runs beside others. */
  fork() {
    return new Random(Math.floor(this.next() * 4294967296));
  }
}

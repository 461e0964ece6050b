/** Random values from a seed, so that a failure can be repeated. */

export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** From 0 up to, not including, 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  below(count: number): number {
    return Math.floor(this.next() * count);
  }

  chance(share: number): boolean {
    return this.next() < share;
  }

  of<T>(items: readonly T[]): T {
    return items[this.below(items.length)] as T;
  }

  /** What programs have stumbled over: ends of ranges, odd text, deep and wide values. */
  value(depth = 3): unknown {
    const kind = this.below(depth > 0 ? 9 : 7);
    if (kind < 3) return this.of(NUMBERS);
    if (kind < 6) return this.of(TEXTS);
    if (kind === 6) return this.of([null, true, false]);
    if (kind === 7) return Array.from({ length: this.below(4) }, () => this.value(depth - 1));
    return Object.fromEntries(
      Array.from({ length: this.below(4) }, () => [this.of(TEXTS).slice(0, 40), this.value(depth - 1)]),
    );
  }

  /** The same value, with one part of it taken out, put in, or made another. */
  mutated(value: unknown): unknown {
    if (Array.isArray(value) && value.length > 0 && this.chance(0.8)) {
      const at = this.below(value.length);
      return value.with(at, this.mutated(value[at]));
    }
    if (typeof value === "object" && value !== null && this.chance(0.9)) return this.#mutatedObject(value);
    return this.value();
  }

  /** The same bytes, with some of them changed, taken out or put in. */
  mutatedBytes(bytes: Buffer): Buffer {
    let mutated = Buffer.from(bytes);
    for (let times = 1 + this.below(4); times > 0 && mutated.length > 0; times--) {
      const at = this.below(mutated.length);
      const kind = this.below(4);
      if (kind === 0) mutated[at] = this.below(256);
      else if (kind === 1) mutated[at] = (mutated[at] ?? 0) ^ (1 << this.below(8));
      else if (kind === 2)
        mutated = Buffer.concat([mutated.subarray(0, at), mutated.subarray(at + 1 + this.below(16))]);
      else
        mutated = Buffer.concat([
          mutated.subarray(0, at),
          Buffer.from(this.of(TEXTS).slice(0, 40)),
          mutated.subarray(at),
        ]);
    }
    return mutated;
  }

  #mutatedObject(value: object): object {
    const entries = Object.entries(value);
    const kind = this.below(4);
    if (entries.length === 0 || kind === 0)
      return Object.fromEntries([...entries, [this.of(TEXTS).slice(0, 40), this.value()]]);
    const at = this.below(entries.length);
    const [name, item] = entries[at] as [string, unknown];
    if (kind === 1) return Object.fromEntries(entries.toSpliced(at, 1));
    return Object.fromEntries(entries.with(at, [name, this.mutated(item)]));
  }
}

const NUMBERS = [
  ...[
    0,
    -0,
    1,
    -1,
    0.5,
    -0.5,
    2,
    7,
    100,
    255,
    256,
    65_535,
    65_536,
    1e6,
    2 ** 31 - 1,
    2 ** 31,
    2 ** 32,
    2 ** 53,
  ],
  ...[Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER, 1e21, 1e308, -1e308, 5e-324],
];
const TEXTS = [
  ...[
    "",
    " ",
    "0",
    "-1",
    "null",
    "true",
    "x",
    "x".repeat(300),
    "x".repeat(5_000),
    "é",
    "\u0000",
    "\ud800",
    "💩",
  ],
  ...[
    "__proto__",
    "constructor",
    "toString",
    "hasOwnProperty",
    "length",
    "..",
    "../../etc/passwd",
    "/",
    "\\",
    "%00",
  ],
  ...[
    "a\nb",
    "a\r\nb: c",
    "{{7*7}}",
    "$(id)",
    "`id`",
    "';--",
    "<script>",
    "\u202e",
    "\ufeff",
    "run_1",
    "python",
    "node",
  ],
];

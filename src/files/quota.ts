/** What a tree may still take in, shared by all who write into it at the same time. */
import { AppError } from "../protocol/errors.ts";
import { diskUse } from "./usage.ts";

const MEASURE_MS = 20_000;

type Limits = { bytes: number; files: number };

export class Quota {
  readonly #measure: () => Promise<Limits>;
  #left: Limits;
  /** Taken for files that are being written, and not in the tree yet. */
  readonly #pending: Limits = { bytes: 0, files: 0 };

  /** `measure` answers what the tree leaves of the limits now. */
  private constructor(left: Limits, measure: () => Promise<Limits>) {
    this.#left = left;
    this.#measure = measure;
  }

  static async of(measure: () => Promise<Limits>): Promise<Quota> {
    return new Quota(await measure(), measure);
  }

  /** Rejects with `disk_full` when there is no room for it, also not what was freed meanwhile. */
  async take({ bytes = 0, files = 0 }: Partial<Limits>): Promise<void> {
    const isShort = () => bytes > this.#left.bytes || files > this.#left.files;
    if (isShort()) {
      const left = await this.#measure();
      this.#left = { bytes: left.bytes - this.#pending.bytes, files: left.files - this.#pending.files };
    }
    if (isShort()) {
      const what =
        bytes > this.#left.bytes
          ? `${Math.max(0, this.#left.bytes)} bytes`
          : `${Math.max(0, this.#left.files)} files`;
      throw new AppError("disk_full", `Cannot write the file: over the ${what} that are left`);
    }
    this.#left = { bytes: this.#left.bytes - bytes, files: this.#left.files - files };
    this.#pending.bytes += bytes;
    this.#pending.files += files;
  }

  /** What was taken is in the tree now. */
  arrived({ bytes, files }: Limits): void {
    this.#pending.bytes -= bytes;
    this.#pending.files -= files;
  }

  /** What was taken, and is not there after all. */
  giveBack(taken: Limits): void {
    this.arrived(taken);
    this.#left = { bytes: this.#left.bytes + taken.bytes, files: this.#left.files + taken.files };
  }
}

export class Quotas {
  readonly #open = new Map<string, { quota: Promise<Quota>; users: number }>();

  /** The quota of a tree, which counts with others `beside` it, for as long as somebody writes into it. */
  async use<T>(
    root: string,
    { beside, limits }: { beside: readonly string[]; limits: () => Limits },
    write: (quota: Quota) => Promise<T>,
  ): Promise<T> {
    const measure = () => this.#left([root, ...beside], limits());
    const entry = this.#open.get(root) ?? { quota: Quota.of(measure), users: 0 };
    this.#open.set(root, entry);
    entry.users += 1;
    try {
      return await write(await entry.quota);
    } finally {
      entry.users -= 1;
      if (entry.users === 0) this.#open.delete(root);
    }
  }

  async #left(paths: readonly string[], limits: Limits): Promise<Limits> {
    const uses = await diskUse(paths, MEASURE_MS);
    if (uses === null)
      throw new AppError("disk_full", "Cannot write: what is stored cannot be counted in time");
    let { bytes, files } = limits;
    for (const use of uses.values()) {
      bytes -= use.bytes || 0;
      files -= use.files || 0;
    }
    return { bytes: Math.max(0, bytes), files: Math.max(0, files) };
  }
}

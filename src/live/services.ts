/**
 * What serves a sandbox from outside while it lives: the way to the internet, the watch over its disk. Whoever holds a
 * sandbox attaches a list of them, and disposes of one thing. A new service is a file beside this one and a line in
 * that list.
 */
import type { LiveSandbox } from "./live-sandbox.ts";

/** A service at work for one sandbox. Disposing of it may be repeated. */
export type AttachedService = AsyncDisposable & {
  /**
   * Lets go of all that must not be there while the sandbox stands still; `thaw` takes it up again, for the same
   * sandbox.
   */
  freeze(): Promise<void>;
  thaw(live: LiveSandbox): Promise<void>;
};

/** Rejects, leaving nothing of it, when it cannot serve this sandbox. */
export type Service = (live: LiveSandbox) => Promise<AttachedService>;

export class AttachedServices implements AttachedService {
  readonly #attached: AttachedService[] = [];

  /** All of them, in their order, or none. */
  static async attach(live: LiveSandbox, services: readonly Service[]): Promise<AttachedServices> {
    const all = new AttachedServices();
    try {
      for (const service of services) all.#attached.push(await service(live));
      return all;
    } catch (error) {
      await all[Symbol.asyncDispose]();
      throw error;
    }
  }

  async freeze(): Promise<void> {
    for (const service of this.#attached.toReversed()) await service.freeze();
  }

  async thaw(live: LiveSandbox): Promise<void> {
    for (const service of this.#attached) await service.thaw(live);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (let last = this.#attached.pop(); last !== undefined; last = this.#attached.pop())
      await last[Symbol.asyncDispose]();
  }
}

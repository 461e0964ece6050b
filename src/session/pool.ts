/**
 * Warm sandboxes, and the one gate through which every sandbox is started. It counts live sandboxes against the host's
 * slots, starts few at a time (a burst waits in line: many at once would only slow each other), and never hands out a
 * sandbox that has run code. Pristine sandboxes are all alike: whichever is ready first serves who has waited longest,
 * and only what nobody waits for fills the pool, one start at a time.
 */
import { availableParallelism } from "node:os";
import { Gate } from "../lib/gate.ts";
import { AppError, shuttingDown } from "../protocol/errors.ts";
import type { Cgroup } from "../sandbox/cgroup.ts";
import type { Limits } from "../sandbox/policy.ts";
import type { Folder } from "./folder.ts";
import {
  adoptSandbox,
  defaultLimits,
  destroy,
  type LiveSandbox,
  removeFolder,
  type SandboxHost,
  startPristine,
  startSandbox,
} from "./live-sandbox.ts";

/** A live sandbox that counts as one slot until it is given back by end() or destroy(). */
export type Lease = {
  live: LiveSandbox;
  /** Ends the sandbox; its folder stays. */
  end(reason: Error): Promise<void>;
  /** Ends the sandbox and removes its folder. */
  destroy(reason: Error): Promise<void>;
};

const PAUSE_AFTER_FAILURE_MS = 2_000;
const WIDTH = Math.max(2, availableParallelism());

type Waiter = PromiseWithResolvers<LiveSandbox>;

export class SandboxPool {
  readonly #host: SandboxHost;
  readonly #target: number;
  readonly #ready = new Set<LiveSandbox>();
  readonly #waiters: Waiter[] = [];
  readonly #gate = new Gate(WIDTH);
  readonly #background = new Set<Promise<void>>();
  /** Taken: by sandboxes that live or are being ended, and by starts in progress or those who wait, whichever are more. */
  #slots = 0;
  /** Starts of pristine sandboxes in progress. */
  #launching = 0;
  #paused = false;
  #closed = false;
  /** Frees a slot by putting a session to sleep; false when none can be spared. */
  reclaim: () => Promise<boolean> = async () => false;

  constructor(host: SandboxHost) {
    this.#host = host;
    this.#target = host.config.pool.get("python") ?? 0;
  }

  get counts(): { live: number; warm: number; max: number } {
    return { live: this.#slots, warm: this.#ready.size, max: this.#host.config.maxLive };
  }

  /** Begins to fill the pool, and waits until that is done or has failed. */
  async fill(): Promise<void> {
    this.#launchMore();
    while (this.#background.size > 0 && !this.#paused) await Promise.race(this.#background);
  }

  /** A sandbox that has run nothing, with a folder of its own: warm if there is one. */
  async take(limits: Limits | null): Promise<Lease> {
    this.#refuseIfClosed();
    const lease = this.#lease(this.#takeWarm() ?? (await this.#startOne()));
    try {
      if (limits !== null) lease.live.sandbox.cgroup?.setLimits(limits);
      return lease;
    } catch (error) {
      await lease.destroy(new Error("its limits could not be set"));
      throw error;
    }
  }

  /** A sandbox on the folder of a session that has none running. */
  async wake(folder: Folder, limits: Limits | null): Promise<Lease> {
    this.#refuseIfClosed();
    await this.#takeSlot();
    try {
      const start = () => startSandbox(this.#host, folder, limits ?? defaultLimits(this.#host.config));
      return this.#lease(await this.#gate.run(start));
    } catch (error) {
      this.#slots -= 1;
      throw error;
    }
  }

  /** Removes the folder of a session that has no sandbox. */
  async removeFolder(folder: Folder): Promise<void> {
    await removeFolder(this.#host, folder);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    while (this.#background.size > 0) await Promise.all(this.#background);
    const reason = new Error("the server is stopping");
    await Promise.all([...this.#ready].map((live) => destroy(this.#host, live, reason)));
    this.#ready.clear();
  }

  #refuseIfClosed(): void {
    if (this.#closed) throw shuttingDown();
  }

  #takeWarm(): LiveSandbox | null {
    const warm = this.#ready.values().next().value;
    if (warm === undefined) return null;
    this.#ready.delete(warm);
    this.#launchMore();
    return warm;
  }

  /** Takes over the sandbox of a session that an earlier server started. */
  async adopt(folder: Folder, cgroup: Cgroup): Promise<Lease> {
    this.#slots += 1;
    try {
      return this.#lease(await adoptSandbox(this.#host, folder, cgroup));
    } catch (error) {
      this.#slots -= 1;
      throw error;
    }
  }

  /** Each who waits has a slot: of a start in progress that nobody else waits for, or one of its own. */
  async #startOne(): Promise<LiveSandbox> {
    if (!this.#hasSpareLaunch) {
      await this.#takeSlot();
      if (this.#hasSpareLaunch || this.#closed) this.#slots -= 1; // one was begun in the meantime
      this.#refuseIfClosed();
    }
    const waiter = Promise.withResolvers<LiveSandbox>();
    this.#waiters.push(waiter);
    this.#launchMore();
    return waiter.promise;
  }

  get #hasSpareLaunch(): boolean {
    return this.#launching > this.#waiters.length;
  }

  /** Of the free ones, else that of a warm sandbox, else that of a session which can be put to sleep. */
  async #takeSlot(): Promise<void> {
    while (this.#slots >= this.#host.config.maxLive) {
      const warm = this.#ready.values().next().value;
      if (warm !== undefined) {
        this.#ready.delete(warm);
        // Its slot is the caller's from now on; if it cannot be ended, it goes on to count.
        return destroy(this.#host, warm, new Error("its slot was needed"));
      }
      if (await this.reclaim()) continue;
      if (!this.#hasSpareLaunch) throw this.#noSlot();
      await Promise.race(this.#background);
    }
    this.#slots += 1;
  }

  #noSlot(): AppError {
    return new AppError(
      "no_slot",
      `Cannot start a sandbox: all ${this.#host.config.maxLive} slots are in use`,
    );
  }

  #lease(live: LiveSandbox): Lease {
    let given = false;
    const giveBack = async (work: () => Promise<void>) => {
      try {
        await work();
      } finally {
        if (!given) this.#slots -= 1;
        given = true;
        this.#launchMore();
      }
    };
    return {
      live,
      end: (reason) => giveBack(() => live.end(reason)),
      destroy: (reason) => giveBack(() => destroy(this.#host, live, reason)),
    };
  }

  /** While somebody waits, as many starts as are of use; else one at a time until the pool is full. */
  #launchMore(): void {
    if (this.#closed) {
      this.#slots -= Math.max(0, this.#waiters.length - this.#launching);
      for (const waiter of this.#waiters.splice(0)) waiter.reject(shuttingDown());
      return;
    }
    while (this.#launching < this.#wantedLaunches()) {
      if (this.#launching >= this.#waiters.length) {
        if (this.#slots >= this.#host.config.maxLive) return;
        this.#slots += 1;
      }
      this.#launching += 1;
      this.#track(this.#launchOne());
    }
  }

  #wantedLaunches(): number {
    const missing = this.#paused ? 0 : Math.max(0, this.#target - this.#ready.size);
    const waiting = this.#waiters.length;
    return waiting > 0 ? Math.min(waiting + missing, WIDTH) : Math.min(missing, 1);
  }

  /** Its slot goes to who has waited longest, else to the pool. */
  async #launchOne(): Promise<void> {
    try {
      const live = await this.#gate.run(() => startPristine(this.#host, defaultLimits(this.#host.config)));
      this.#launching -= 1;
      const waiter = this.#waiters.shift();
      if (waiter === undefined) this.#keepWarm(live);
      else waiter.resolve(live);
    } catch (error) {
      this.#launching -= 1;
      this.#slots -= 1;
      this.#host.log.error({ err: error }, "cannot start a sandbox");
      const waiter = this.#waiters.shift();
      if (waiter === undefined) this.#pause();
      else waiter.reject(error);
    }
    this.#launchMore();
  }

  #keepWarm(live: LiveSandbox): void {
    this.#ready.add(live);
    const onLost = () => {
      if (this.#ready.delete(live)) this.#track(this.#lease(live).destroy(new Error("it ended by itself")));
    };
    live.channel.events = { ...live.channel.events, onLost };
  }

  /** A host that cannot start sandboxes now is not asked again and again. */
  #pause(): void {
    this.#paused = true;
    setTimeout(() => {
      this.#paused = false;
      this.#launchMore();
    }, PAUSE_AFTER_FAILURE_MS).unref();
  }

  #track(work: Promise<void>): void {
    const tracked = work
      .catch((error: unknown) => this.#host.log.error({ err: error }, "the pool failed"))
      .finally(() => this.#background.delete(tracked));
    this.#background.add(tracked);
  }
}

/**
 * Warm sandboxes, and the one gate through which every sandbox is started. It counts live sandboxes against the host's
 * slots, starts few at a time (a burst waits in line: many at once would only slow each other), and never hands out a
 * sandbox that has run code. Pristine sandboxes of a language are all alike: whichever is ready first serves who has
 * waited longest, and only what nobody waits for fills the pool, one start at a time.
 */
import { availableParallelism } from "node:os";
import { Gate } from "../lib/gate.ts";
import { AppError, BugError, shuttingDown } from "../protocol/errors.ts";
import { LANGUAGES, type Language } from "../protocol/language.ts";
import type { Cgroup } from "../sandbox/cgroup.ts";
import type { Limits } from "../sandbox/policy.ts";
import type { Folder } from "./folder.ts";
import { Shelf } from "./language-pool.ts";
import {
  adoptSandbox,
  defaultLimits,
  destroy,
  type ImageSource,
  type LiveSandbox,
  restoreSandbox,
  type SandboxHost,
  type Start,
  startPristine,
  startSandbox,
} from "./live-sandbox.ts";

/** A live sandbox that counts as one slot until it is given back by end() or destroy(). */
export type Lease = {
  /** Another object when its line was ended and opened again. */
  live: LiveSandbox;
  /** Ends the sandbox; its folder stays. */
  end(reason: Error): Promise<void>;
  /** Ends the sandbox and removes its folder. */
  destroy(reason: Error): Promise<void>;
};

/** JavaScript engines take the size of their heap when they start: a warm one has another. */
const SIZED_AT_START: ReadonlySet<Language> = new Set(["node", "typescript", "deno"]);
const PAUSE_AFTER_FAILURE_MS = 2_000;
/** Whoever has taken a warm sandbox has its first result first: a start takes all of a core, and a moment of the server. */
const REFILL_AFTER_MS = 50;
const WIDTH = Math.max(2, availableParallelism());

export class SandboxPool {
  readonly #host: SandboxHost;
  readonly #shelves: ReadonlyMap<Language, Shelf>;
  readonly #gate = new Gate(WIDTH);
  readonly #background = new Set<Promise<void>>();
  /** Taken: by sandboxes that live or are being ended, and by starts in progress or those who wait, whichever are more. */
  #slots = 0;
  #closed = false;
  /** Frees a slot by putting a session to sleep; false when none can be spared. */
  reclaim: () => Promise<boolean> = async () => false;

  constructor(host: SandboxHost) {
    this.#host = host;
    this.#shelves = new Map(
      LANGUAGES.map((language) => [language, new Shelf(language, host.config.pool.get(language) ?? 0)]),
    );
  }

  get counts(): { live: number; warm: number; max: number } {
    const warm = this.#all.reduce((sum, shelf) => sum + shelf.ready.size, 0);
    return { live: this.#slots, warm, max: this.#host.config.maxLive };
  }

  get #all(): Shelf[] {
    return [...this.#shelves.values()];
  }

  #shelf(language: Language): Shelf {
    const shelf = this.#shelves.get(language);
    if (shelf === undefined) throw new BugError(`no shelf for the language '${language}'`);
    return shelf;
  }

  /** Begins to fill the pool, and waits until that is done or has failed. */
  async fill(): Promise<void> {
    this.#launchAll();
    while (this.#background.size > 0 && !this.#all.some((shelf) => shelf.paused))
      await Promise.race(this.#background);
  }

  /** A sandbox that has run nothing, with a folder of its own: warm if there is one. */
  async take(language: Language, limits: Limits | null): Promise<Lease> {
    const warm = await this.takeWarm(language, limits);
    if (warm !== null) return warm;
    if (limits !== null && SIZED_AT_START.has(language)) return this.#startSized({ language, limits });
    return this.#limited(this.#lease(await this.#startOne(this.#shelf(language))), limits);
  }

  /** One of those that are warm; null when there is none. */
  async takeWarm(language: Language, limits: Limits | null): Promise<Lease | null> {
    this.#refuseIfClosed();
    if (limits !== null && SIZED_AT_START.has(language)) return null;
    const shelf = this.#shelf(language);
    const warm = shelf.takeReady();
    if (warm === null) return null;
    setTimeout(() => this.#launchMore(shelf), REFILL_AFTER_MS).unref();
    return this.#limited(this.#lease(warm), limits);
  }

  async #limited(lease: Lease, limits: Limits | null): Promise<Lease> {
    try {
      if (limits !== null) lease.live.sandbox.cgroup?.setLimits(limits);
      return lease;
    } catch (error) {
      await lease.destroy(new Error("its limits could not be set"));
      throw error;
    }
  }

  /** One that is started for its limits. */
  async #startSized(start: Start): Promise<Lease> {
    await this.#takeSlot();
    try {
      return this.#lease(await this.#gate.run(() => startPristine(this.#host, start)));
    } catch (error) {
      this.#slots -= 1;
      throw error;
    }
  }

  /** A sandbox on the folder of a session that has none running. */
  async wake(folder: Folder, language: Language, limits: Limits | null): Promise<Lease> {
    this.#refuseIfClosed();
    await this.#takeSlot();
    const start = { language, limits: limits ?? defaultLimits(this.#host.config) };
    try {
      return this.#lease(await this.#gate.run(() => startSandbox(this.#host, folder, start)));
    } catch (error) {
      this.#slots -= 1;
      throw error;
    }
  }

  /** A sandbox that goes on where an image of it was made. */
  async restore(
    folder: Folder,
    limits: Limits | null,
    image: ImageSource,
    admit: () => Promise<void>,
  ): Promise<Lease> {
    this.#refuseIfClosed();
    await this.#takeSlot();
    try {
      const wanted = limits ?? defaultLimits(this.#host.config);
      // Not at the gate of starts, which are shorter: the imager has one of its own.
      return this.#lease(await restoreSandbox(this.#host, folder, wanted, image, admit));
    } catch (error) {
      this.#slots -= 1;
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    while (this.#background.size > 0) await Promise.all(this.#background);
    const reason = new Error("the server is stopping");
    const ready = this.#all.flatMap((shelf) => [...shelf.ready]);
    for (const shelf of this.#all) shelf.ready.clear();
    await Promise.all(ready.map((live) => destroy(this.#host, live, reason)));
  }

  #refuseIfClosed(): void {
    if (this.#closed) throw shuttingDown();
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
  async #startOne(shelf: Shelf): Promise<LiveSandbox> {
    if (!shelf.hasSpareLaunch) {
      await this.#takeSlot();
      if (shelf.hasSpareLaunch || this.#closed) this.#slots -= 1; // one was begun in the meantime
      this.#refuseIfClosed();
    }
    const waiter = Promise.withResolvers<LiveSandbox>();
    shelf.waiters.push(waiter);
    this.#launchMore(shelf);
    return waiter.promise;
  }

  /** Of the free ones, else that of a warm sandbox, else that of a session which can be put to sleep. */
  async #takeSlot(): Promise<void> {
    while (this.#slots >= this.#host.config.maxLive) {
      const warm = this.#all.find((shelf) => shelf.ready.size > 0)?.takeReady() ?? null;
      // Its slot is the caller's from now on; if it cannot be ended, it goes on to count.
      if (warm !== null) return destroy(this.#host, warm, new Error("its slot was needed"));
      if (await this.reclaim()) continue;
      if (!this.#all.some((shelf) => shelf.hasSpareLaunch)) throw this.#noSlot();
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
        this.#launchAll();
      }
    };
    const lease: Lease = {
      live,
      end: (reason) => giveBack(() => lease.live.end(reason)),
      destroy: (reason) => giveBack(() => destroy(this.#host, lease.live, reason)),
    };
    return lease;
  }

  #launchAll(): void {
    for (const shelf of this.#all) this.#launchMore(shelf);
  }

  #launchMore(shelf: Shelf): void {
    if (this.#closed) {
      this.#slots -= Math.max(0, shelf.waiters.length - shelf.launching);
      for (const waiter of shelf.waiters.splice(0)) waiter.reject(shuttingDown());
      return;
    }
    while (shelf.launching < shelf.wantedLaunches(WIDTH)) {
      if (shelf.launching >= shelf.waiters.length) {
        if (this.#slots >= this.#host.config.maxLive) return;
        this.#slots += 1;
      }
      shelf.launching += 1;
      this.#track(this.#launchOne(shelf));
    }
  }

  /** Its slot goes to who has waited longest, else to the pool. */
  async #launchOne(shelf: Shelf): Promise<void> {
    const start = { language: shelf.language, limits: defaultLimits(this.#host.config) };
    try {
      const live = await this.#gate.run(() => startPristine(this.#host, start));
      shelf.launching -= 1;
      const waiter = shelf.waiters.shift();
      if (waiter === undefined) this.#keepWarm(shelf, live);
      else waiter.resolve(live);
    } catch (error) {
      shelf.launching -= 1;
      this.#slots -= 1;
      this.#host.log.error({ err: error }, "cannot start a sandbox");
      const waiter = shelf.waiters.shift();
      if (waiter === undefined) this.#pause(shelf);
      else waiter.reject(error);
    }
    this.#launchMore(shelf);
  }

  #keepWarm(shelf: Shelf, live: LiveSandbox): void {
    shelf.ready.add(live);
    const onLost = () => {
      if (shelf.ready.delete(live)) this.#track(this.#lease(live).destroy(new Error("it ended by itself")));
    };
    live.channel.events = { ...live.channel.events, onLost };
  }

  /** A host that cannot start sandboxes now is not asked again and again. */
  #pause(shelf: Shelf): void {
    shelf.paused = true;
    setTimeout(() => {
      shelf.paused = false;
      this.#launchMore(shelf);
    }, PAUSE_AFTER_FAILURE_MS).unref();
  }

  #track(work: Promise<void>): void {
    const tracked = work
      .catch((error: unknown) => this.#host.log.error({ err: error }, "the pool failed"))
      .finally(() => this.#background.delete(tracked));
    this.#background.add(tracked);
  }
}

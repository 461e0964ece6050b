/**
 * Warm sandboxes, and the one gate through which every sandbox is started. It counts live sandboxes against the host's
 * slots, starts few at a time (a burst waits in line: many at once would only slow each other), and never hands out a
 * sandbox that has run code. Pristine sandboxes of a language are all alike: whichever is ready first serves who has
 * waited longest, and only what nobody waits for fills the pool, one start at a time.
 */
import { availableParallelism } from "node:os";
import { Gate } from "../lib/gate.ts";
import type { Logger } from "../log.ts";
import { AppError, BugError, shuttingDown } from "../protocol/errors.ts";
import { LANGUAGES, type Language, languageEntry } from "../protocol/languages.ts";
import type { Cgroup } from "../sandbox/cgroup.ts";
import type { Limits } from "../sandbox/policy.ts";
import type { Folder } from "./folder.ts";
import { LanguagePool } from "./language-pool.ts";
import type { Launcher } from "./launcher.ts";
import type { LiveSandbox } from "./live-sandbox.ts";
import type { Resume } from "./resume.ts";
import type { Start } from "./start.ts";

/** What the pool does with a sandbox. */
type Pooled = {
  setLimits(limits: Limits): void;
  onLost(listener: (reason: Error) => void): void;
  end(reason: Error): Promise<void>;
};

type PoolOptions<S> = {
  launcher: Launcher<S>;
  /** Warm sandboxes of each language; none of those that are not named. */
  sizes: ReadonlyMap<Language, number>;
  /** Live sandboxes at once. */
  maxLive: number;
  /** Limits of a sandbox that nobody has asked for. */
  limits: Limits;
  /** How long a request may wait for a slot. */
  patienceMs: number;
  log: Logger;
};

/** A live sandbox that counts as one slot until it is given back by end() or destroy(). */
export type Lease<S = LiveSandbox> = {
  /** Another object when its line was ended and opened again. */
  live: S;
  /** Ends the sandbox; its folder stays. */
  end(reason: Error): Promise<void>;
  /** Ends the sandbox and removes its folder. */
  destroy(reason: Error): Promise<void>;
};

/** How often a start is tried again on a host that is short of something. */
const MAKING_ROOM_TIMES = 3;
const PAUSE_AFTER_FAILURE_MS = 2_000;
/**
 * Whoever has taken a warm sandbox has its first result first: a start takes all of a core, and a moment of the server.
 */
const REFILL_AFTER_MS = 50;
/** Requests that wait for a slot; more are refused at once. */
const MAX_WAITING = 256;
const LOOK_AGAIN_MS = 200;
const WIDTH = Math.max(2, availableParallelism());

export class SandboxPool<S extends Pooled = LiveSandbox> {
  readonly #options: PoolOptions<S>;
  readonly #launcher: Launcher<S>;
  readonly #languages: ReadonlyMap<Language, LanguagePool<S>>;
  readonly #gate = new Gate(WIDTH);
  readonly #background = new Set<Promise<void>>();
  /** In use: one for each live or ending sandbox, plus the larger of starts in progress and callers waiting. */
  #slots = 0;
  #closed = false;
  /** Those who wait for a slot, in the order in which they came. */
  readonly #waiting = new Set<() => void>();
  /** Frees a slot by putting a session to sleep; false when none can be spared. */
  reclaim: () => Promise<boolean> = async () => false;
  /** Called for each sandbox that is asked for, and whether a warm one was there. */
  onClaim: (language: Language, isWarm: boolean) => void = () => undefined;

  constructor(options: PoolOptions<S>) {
    this.#options = options;
    this.#launcher = options.launcher;
    this.#languages = new Map(
      LANGUAGES.map((language) => [language, new LanguagePool(language, options.sizes.get(language) ?? 0)]),
    );
  }

  get counts(): { live: number; warm: number; max: number } {
    const warm = this.#all.reduce((sum, pool) => sum + pool.ready.size, 0);
    return { live: this.#slots, warm, max: this.#options.maxLive };
  }

  get #all(): LanguagePool<S>[] {
    return [...this.#languages.values()];
  }

  #of(language: Language): LanguagePool<S> {
    const pool = this.#languages.get(language);
    if (pool === undefined) throw new BugError(`no pool for the language '${language}'`);
    return pool;
  }

  /** Begins to fill the pool, and waits until that is done or has failed. */
  async fill(): Promise<void> {
    this.#launchAll();
    while (this.#background.size > 0 && !this.#all.some((pool) => pool.paused))
      await Promise.race(this.#background);
  }

  /** A sandbox that has run nothing, with a folder of its own: warm if there is one. */
  async take(language: Language, limits: Limits | null): Promise<Lease<S>> {
    const warm = await this.takeWarm(language, limits);
    if (warm !== null) return warm;
    this.onClaim(language, false);
    if (limits !== null && languageEntry(language).isSizedAtStart)
      return this.#makingRoom(() => this.#startSized({ language, limits }));
    const started = await this.#makingRoom(() => this.#startOne(this.#of(language)));
    return this.#limited(this.#lease(started), limits);
  }

  /** One of those that are warm; null when there is none. */
  async takeWarm(language: Language, limits: Limits | null): Promise<Lease<S> | null> {
    this.#refuseIfClosed();
    if (limits !== null && languageEntry(language).isSizedAtStart) return null;
    const pool = this.#of(language);
    const warm = pool.takeReady();
    if (warm === null) return null;
    setTimeout(() => this.#launchMore(pool), REFILL_AFTER_MS).unref();
    this.onClaim(language, true);
    return this.#limited(this.#lease(warm), limits);
  }

  async #limited(lease: Lease<S>, limits: Limits | null): Promise<Lease<S>> {
    try {
      if (limits !== null) lease.live.setLimits(limits);
      return lease;
    } catch (error) {
      await lease.destroy(new Error("its limits could not be set"));
      throw error;
    }
  }

  /** One that is started for its limits. */
  #startSized(start: Start): Promise<Lease<S>> {
    return this.#leased(() => this.#gate.run(() => this.#launcher.startPristine(start)));
  }

  /** A sandbox on the folder of a session that has none running. */
  async wake(folder: Folder, language: Language, limits: Limits | null): Promise<Lease<S>> {
    this.#refuseIfClosed();
    const start = { language, limits: limits ?? this.#options.limits };
    return this.#makingRoom(() =>
      this.#leased(() => this.#gate.run(() => this.#launcher.start(folder, start))),
    );
  }

  /** A sandbox that goes on where its snapshot was taken. */
  async resume(resume: Resume): Promise<Lease<S>> {
    this.#refuseIfClosed();
    // Not at the gate of starts, which are shorter: whoever takes and resumes snapshots has one of its own.
    return this.#leased(() => this.#launcher.resume(resume));
  }

  async #leased(start: () => Promise<S>): Promise<Lease<S>> {
    await this.#takeSlot();
    try {
      return this.#lease(await start());
    } catch (error) {
      this.#slots -= 1;
      throw error;
    }
  }

  /** A host that is short of processes or memory has more of them when a warm sandbox ends, or a session sleeps. */
  async #makingRoom<T>(start: () => Promise<T>): Promise<T> {
    for (let left = MAKING_ROOM_TIMES; ; left--) {
      try {
        return await start();
      } catch (error) {
        const isShort = error instanceof AppError && error.code === "host_exhausted";
        if (!isShort || left === 0 || !(await this.#spareOne())) throw error;
        this.#refuseIfClosed();
      }
    }
  }

  async #spareOne(): Promise<boolean> {
    const warm = this.#takeWarm();
    if (warm === null) return this.reclaim();
    await this.#launcher.destroy(warm, new Error("the host is short of processes or memory"));
    this.#slots -= 1;
    return true;
  }

  #takeWarm(): S | null {
    return this.#all.find((pool) => pool.ready.size > 0)?.takeReady() ?? null;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    while (this.#background.size > 0) await Promise.all(this.#background);
    const reason = new Error("the server is stopping");
    const ready = this.#all.flatMap((pool) => [...pool.ready]);
    for (const pool of this.#all) pool.ready.clear();
    await Promise.all(ready.map((live) => this.#launcher.destroy(live, reason)));
  }

  #refuseIfClosed(): void {
    if (this.#closed) throw shuttingDown();
  }

  /** Takes over the sandbox of a session that an earlier server started. */
  async adopt(folder: Folder, cgroup: Cgroup): Promise<Lease<S>> {
    this.#slots += 1;
    try {
      return this.#lease(await this.#launcher.adopt(folder, cgroup));
    } catch (error) {
      this.#slots -= 1;
      throw error;
    }
  }

  /** Each who waits has a slot: of a start in progress that nobody else waits for, or one of its own. */
  async #startOne(pool: LanguagePool<S>): Promise<S> {
    if (!pool.hasSpareLaunch) {
      await this.#takeSlot();
      if (pool.hasSpareLaunch || this.#closed) this.#slots -= 1; // one was begun in the meantime
      this.#refuseIfClosed();
    }
    const waiter = Promise.withResolvers<S>();
    pool.waiters.push(waiter);
    this.#launchMore(pool);
    return waiter.promise;
  }

  /** A free slot, else that of a warm sandbox, else that of a session which can be put to sleep. */
  async #takeSlot(): Promise<void> {
    const deadline = performance.now() + this.#options.patienceMs;
    while (this.#slots >= this.#options.maxLive) {
      const warm = this.#takeWarm();
      // Its slot is the caller's from now on; if it cannot be ended, it goes on to count.
      if (warm !== null) return this.#launcher.destroy(warm, new Error("its slot was needed"));
      if (await this.reclaim()) continue;
      if (this.#all.some((pool) => pool.hasSpareLaunch)) await Promise.race(this.#background);
      else await this.#slotSoon(deadline);
      this.#refuseIfClosed();
    }
    this.#slots += 1;
  }

  /** Waits for a slot, or for a moment, since a session may be idle by then. Rejects at the deadline. */
  async #slotSoon(deadline: number): Promise<void> {
    const leftMs = deadline - performance.now();
    if (leftMs <= 0 || this.#waiting.size >= MAX_WAITING) throw this.#noSlot();
    const { promise, resolve } = Promise.withResolvers<void>();
    const moment = setTimeout(resolve, Math.min(LOOK_AGAIN_MS, leftMs));
    this.#waiting.add(resolve);
    try {
      await promise;
    } finally {
      clearTimeout(moment);
      this.#waiting.delete(resolve);
    }
  }

  #noSlot(): AppError {
    return new AppError("no_slot", `Cannot start a sandbox: all ${this.#options.maxLive} slots are in use`);
  }

  #lease(live: S): Lease<S> {
    let given = false;
    const giveBack = async (work: () => Promise<void>) => {
      try {
        await work();
      } finally {
        if (!given) this.#slots -= 1;
        given = true;
        if (!this.#wakeFirst()) this.#launchAll();
      }
    };
    const lease: Lease<S> = {
      live,
      end: (reason) => giveBack(() => lease.live.end(reason)),
      destroy: (reason) => giveBack(() => this.#launcher.destroy(lease.live, reason)),
    };
    return lease;
  }

  /** Tells who has waited longest that a slot is free; the next one is for the next. False when nobody waits. */
  #wakeFirst(): boolean {
    const [first] = this.#waiting;
    if (first === undefined) return false;
    this.#waiting.delete(first);
    first();
    return true;
  }

  #launchAll(): void {
    for (const pool of this.#all) this.#launchMore(pool);
  }

  #launchMore(pool: LanguagePool<S>): void {
    if (this.#closed) {
      this.#slots -= Math.max(0, pool.waiters.length - pool.launching);
      for (const waiter of pool.waiters.splice(0)) waiter.reject(shuttingDown());
      return;
    }
    while (pool.launching < pool.wantedLaunches(WIDTH)) {
      if (pool.launching >= pool.waiters.length) {
        if (this.#slots >= this.#options.maxLive) return;
        this.#slots += 1;
      }
      pool.launching += 1;
      this.#track(this.#launchOne(pool));
    }
  }

  /** Its slot goes to who has waited longest, else to the pool. */
  async #launchOne(pool: LanguagePool<S>): Promise<void> {
    const start = { language: pool.language, limits: this.#options.limits };
    try {
      const live = await this.#gate.run(() => this.#launcher.startPristine(start));
      pool.launching -= 1;
      const waiter = pool.waiters.shift();
      if (waiter === undefined) this.#keepWarm(pool, live);
      else waiter.resolve(live);
    } catch (error) {
      pool.launching -= 1;
      this.#slots -= 1;
      this.#options.log.error({ err: error }, "cannot start a sandbox");
      const waiter = pool.waiters.shift();
      if (waiter === undefined) this.#pause(pool);
      else waiter.reject(error);
    }
    this.#launchMore(pool);
  }

  #keepWarm(pool: LanguagePool<S>, live: S): void {
    pool.ready.add(live);
    const onLost = () => {
      if (pool.ready.delete(live)) this.#track(this.#lease(live).destroy(new Error("it ended by itself")));
    };
    live.onLost(onLost);
  }

  /** A host that cannot start sandboxes now is not asked again and again. */
  #pause(pool: LanguagePool<S>): void {
    pool.paused = true;
    setTimeout(() => {
      pool.paused = false;
      this.#launchMore(pool);
    }, PAUSE_AFTER_FAILURE_MS).unref();
  }

  #track(work: Promise<void>): void {
    const tracked = work
      .catch((error: unknown) => this.#options.log.error({ err: error }, "the pool failed"))
      .finally(() => this.#background.delete(tracked));
    this.#background.add(tracked);
  }
}

/**
 * Which sessions go to sleep, and when: those without a run for long enough, and the least recently used ones when
 * slots or the host's memory run short. What still works in the background keeps its session awake.
 */
import { readFileSync } from "node:fs";
import type { Logger } from "../log.ts";

/** What is asked of a session here. */
type Sleeper = {
  id: string;
  /** Milliseconds without a run or a request for one; null while something goes on. */
  idleMs: number | null;
  /** The same, of one whose programs go on between runs and can be kept; null when it cannot be spared. */
  spareableMs: number | null;
  isDeleted: boolean;
  isSaved: boolean;
  /** With `keepsPrograms` rejects when those cannot be kept. */
  hibernate(how: { keepsPrograms: boolean }): Promise<void>;
};

const LOOK_EVERY_MS = 500;
/** Sessions put to sleep at once by their idle time. */
const WIDTH = 2;
const LOW_MEMORY = 0.05;
/** A session whose programs go on is not spared at once: whoever has begun them is about to use them. */
const SPARED_AFTER_MS = 2_000;
/** One whose save failed is not tried again at once. */
const RETRY_MS = 60_000;

export class Hibernation {
  readonly #sessions: () => Iterable<Sleeper>;
  readonly #idleMs: number;
  readonly #log: Logger;
  readonly #timer: NodeJS.Timeout;
  readonly #inProgress = new Map<Sleeper, Promise<boolean>>();
  readonly #failedAt = new WeakMap<Sleeper, number>();

  constructor(sessions: () => Iterable<Sleeper>, idleMs: number, log: Logger) {
    this.#sessions = sessions;
    this.#idleMs = idleMs;
    this.#log = log;
    this.#timer = setInterval(() => this.#tryLook(), Math.min(LOOK_EVERY_MS, idleMs));
    this.#timer.unref();
  }

  /**
   * Puts the least recently used session that is idle to sleep, else one whose programs go on between runs, with those.
   * False when there is none to be spared.
   */
  async reclaim(): Promise<boolean> {
    // One whose variables could not be saved goes on with them.
    const longest =
      this.#byAge(({ idleMs }) => idleMs).find((session) => session.isSaved) ??
      this.#byAge(spareableLongEnough).find((session) => session.isSaved);
    if (longest !== undefined) return (await this.#sleep(longest)) || this.reclaim();
    // All that could be spared is on its way already: the next that has gone leaves its slot.
    if (this.#inProgress.size > 0) return Promise.race(this.#inProgress.values());
    return false;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    await Promise.all(this.#inProgress.values());
  }

  /** Those that have an age, the least recently used first. */
  #byAge(ageOf: (session: Sleeper) => number | null): Sleeper[] {
    const found: { session: Sleeper; idleMs: number }[] = [];
    for (const session of this.#sessions()) {
      const idleMs = ageOf(session);
      const failedAt = this.#failedAt.get(session);
      const tried = failedAt !== undefined && performance.now() - failedAt < RETRY_MS;
      if (idleMs !== null && !tried && !this.#inProgress.has(session)) found.push({ session, idleMs });
    }
    return found.sort((a, b) => b.idleMs - a.idleMs).map(({ session }) => session);
  }

  /** Descriptors may be short for a moment: that must not end the server. */
  #tryLook(): void {
    try {
      this.#look();
    } catch (error) {
      this.#log.error({ err: error }, "cannot look for idle sessions");
    }
  }

  #look(): void {
    const room = WIDTH - this.#inProgress.size;
    if (room <= 0) return;
    const short = isMemoryLow();
    const due = this.#byAge(({ idleMs }) => idleMs).filter(
      (session) => short || (session.idleMs ?? 0) >= this.#idleMs,
    );
    for (const session of due.slice(0, room)) void this.#sleep(session);
  }

  #sleep(session: Sleeper): Promise<boolean> {
    const sleeping = session
      .hibernate({ keepsPrograms: true })
      .then(() => true)
      .catch((error: unknown) => {
        if (session.isDeleted) return true;
        this.#failedAt.set(session, performance.now());
        this.#log.info({ err: error, session: session.id }, "a session could not be put to sleep");
        return false;
      })
      .finally(() => this.#inProgress.delete(session));
    this.#inProgress.set(session, sleeping);
    return sleeping;
  }
}

function spareableLongEnough({ spareableMs }: Sleeper): number | null {
  return spareableMs !== null && spareableMs >= SPARED_AFTER_MS ? spareableMs : null;
}

function isMemoryLow(): boolean {
  const text = readFileSync("/proc/meminfo", "utf8");
  const kib = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(text)?.[1] ?? Number.NaN);
  return kib("MemAvailable") < kib("MemTotal") * LOW_MEMORY;
}

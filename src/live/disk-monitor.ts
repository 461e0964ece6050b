/**
 * Keeps sessions within their disk quota without file system quotas. A cheap question to the file system (how much is
 * used in all) says whether anything grew; only then are the live sessions measured, in one `du` that follows no link.
 * A single large file never gets that far: it is bounded by RLIMIT_FSIZE.
 */
import { stat, statfs } from "node:fs/promises";
import { type DiskUse, diskUse } from "../files/usage.ts";
import type { Logger } from "../log.ts";
import { unlinkedBytes } from "./unlinked-files.ts";

/** Bytes and names of a session's files, and bytes of its saved state; each is held to a limit of its own. */
type DiskUsage = { bytes: number; files: number; stateBytes: number };

/** A session that the monitor looks at while its sandbox lives. */
export type Watched = {
  /** Folders that count against the quota of its files. */
  paths: readonly string[];
  /** That quota, as it is now. */
  quota: () => { bytes: number; files: number };
  /** Where its variables are saved, and how much that may take: see state-budget.ts. */
  state: { path: string; bytes: number };
  /** Host pids of what runs in its sandbox. */
  pids: () => readonly number[];
  /** What it used when it was last found over its quota: it may shrink or stay, but not grow from there. */
  excess: DiskUsage | null;
  /** Called when the session is over its quota and growing: stops what it is doing. */
  onExceeded: (message: string, reading: Reading) => void;
};

export type Reading = {
  /** It was not over before. */
  isNew: boolean;
  /** It is not much over its quota: a run that has begun since the count may be the one that deletes files. */
  isNear: boolean;
  /** When its files began to be counted, by the monotonic clock: what has begun since then has no part in it. */
  begunAtMs: number;
};

const INTERVAL_MS = 200;
/** However little the file system as a whole grew: one session may have freed what another took. */
const MEASURE_AT_LEAST_EVERY = 50;
const GROWTH_BYTES = 4 << 20;
const GROWTH_FILES = 1_000;
const SLACK_BYTES = 1 << 20;
const SLACK_FILES = 100;
/** How far over its quota a session may be, or half of that, when who is at it has just begun. */
const NEAR_BYTES = 64 << 20;
const NEAR_FILES = 1_000;
const MEASURE_TIMEOUT_MS = 20_000;
const MEASURE_ONE_TIMEOUT_MS = 5_000;
const MIB = 1 << 20;
/** For what one session has deleted and still holds to be found: another one is not to wait for long. */
const UNLINKED_MS = 300;
/**
 * Kernels keep to what they may save. While a version is written the one before it is there, too, and a little of both.
 */
const STATE_TRANSIENT = 2;
const STATE_SLACK_BYTES = 64 << 20;

export class DiskMonitor {
  readonly #path: string;
  readonly #log: Logger;
  readonly #watched = new Set<Watched>();
  readonly #timer: NodeJS.Timeout;
  /** Those that could not be counted in time when they were last looked at: that may have been the disk. */
  readonly #uncounted = new WeakSet<Watched>();
  #seen: DiskUsage | null = null;
  /** Looks at the file system since the sessions were last measured. */
  #skipped = 0;
  #busy: Promise<void> | null = null;

  constructor(path: string, log: Logger) {
    this.#path = path;
    this.#log = log;
    this.#timer = setInterval(() => this.#tick(), INTERVAL_MS);
    this.#timer.unref();
  }

  watch(session: Watched): void {
    this.#watched.add(session);
  }

  unwatch(session: Watched): void {
    this.#watched.delete(session);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    await this.#busy;
  }

  #tick(): void {
    if (this.#busy !== null || this.#watched.size === 0) return;
    this.#busy = this.#check()
      .catch((error: unknown) => this.#log.error({ err: error }, "cannot measure disk use"))
      .finally(() => {
        this.#busy = null;
      });
  }

  async #check(): Promise<void> {
    const total = await usageOfFileSystem(this.#path);
    this.#skipped += 1;
    const grown =
      this.#skipped >= MEASURE_AT_LEAST_EVERY ||
      this.#seen === null ||
      total.bytes - this.#seen.bytes > GROWTH_BYTES ||
      total.files - this.#seen.files > GROWTH_FILES;
    if (!grown) {
      // Space that was freed must be used again before it counts as growth.
      if (this.#seen !== null) this.#seen = smaller(this.#seen, total);
      return;
    }
    this.#seen = total;
    this.#skipped = 0;
    const sessions = [...this.#watched];
    const begunAtMs = performance.now();
    const usages = await this.#measure(sessions);
    const { dev } = await stat(this.#path, { bigint: true });
    // First by what lies in folders, then with what is deleted and still held, which takes long to find where it is
    // much.
    for (const [at, session] of sessions.entries())
      this.#judge(session, usages[at], begunAtMs, isOver(limitsOf(session)));
    for (const [at, session] of sessions.entries()) {
      const usage = usages[at];
      if (usage === undefined || !this.#watched.has(session)) continue;
      const held = await unlinkedBytes(session.pids(), dev, performance.now() + UNLINKED_MS);
      this.#judge(session, { ...usage, bytes: usage.bytes + held }, begunAtMs);
    }
  }

  /** Together; one by one when that takes too long, so that one session does not hide what the others use. */
  async #measure(sessions: readonly Watched[]): Promise<DiskUsage[]> {
    const usages = await measure(sessions);
    if (usages !== null) return usages;
    const found: DiskUsage[] = [];
    for (const session of sessions) {
      const [usage] = (await measure([session], MEASURE_ONE_TIMEOUT_MS)) ?? [];
      const isTooMuch = usage === undefined && this.#uncounted.has(session);
      if (usage === undefined) this.#uncounted.add(session);
      else this.#uncounted.delete(session);
      found.push(
        usage ?? { bytes: 0, stateBytes: 0, files: isTooMuch ? Number.POSITIVE_INFINITY : Number.NaN },
      );
    }
    return found;
  }

  /** Only a reading that `counts` is taken for what the session uses. */
  #judge(
    session: Watched,
    usage: DiskUsage | undefined,
    begunAtMs: number,
    counts: (usage: DiskUsage) => boolean = always,
  ): void {
    // A session that was not measured, since it has ended, is neither over its quota nor within it.
    if (usage === undefined || Number.isNaN(usage.bytes + usage.files + usage.stateBytes)) return;
    if (!this.#watched.has(session) || !counts(usage)) return;
    const limits = limitsOf(session);
    const before = session.excess;
    const over = isOver(limits)(usage);
    session.excess = over ? smaller(usage, before ?? usage) : null;
    if (!over) return;
    const grew =
      before === null ||
      !Number.isFinite(usage.files) ||
      usage.bytes > before.bytes + SLACK_BYTES ||
      usage.stateBytes > before.stateBytes + SLACK_BYTES ||
      usage.files > before.files + SLACK_FILES;
    if (grew)
      session.onExceeded(describeExcess(usage, limits), {
        isNew: before === null,
        isNear: isNear(usage, limits),
        begunAtMs,
      });
  }
}

function limitsOf({ quota, state }: Watched): DiskUsage {
  return { ...quota(), stateBytes: STATE_TRANSIENT * state.bytes + STATE_SLACK_BYTES };
}

const always = () => true;
/** Runs that each end before they are counted must not take more and more. */
const isNear = (usage: DiskUsage, { bytes, files, stateBytes }: DiskUsage) =>
  usage.bytes <= bytes + Math.max(bytes / 2, NEAR_BYTES) &&
  usage.files <= files + Math.max(files / 2, NEAR_FILES) &&
  usage.stateBytes <= stateBytes;
const isOver = (limits: DiskUsage) => (usage: DiskUsage) =>
  usage.bytes > limits.bytes || usage.files > limits.files || usage.stateBytes > limits.stateBytes;

function smaller(a: DiskUsage, b: DiskUsage): DiskUsage {
  return {
    bytes: Math.min(a.bytes, b.bytes),
    files: Math.min(a.files, b.files),
    stateBytes: Math.min(a.stateBytes, b.stateBytes),
  };
}

function describeExcess(usage: DiskUsage, limits: DiskUsage): string {
  if (usage.stateBytes > limits.stateBytes)
    return `The session's saved state takes ${Math.ceil(usage.stateBytes / MIB)} MiB, more than it may`;
  if (usage.bytes > limits.bytes) {
    return `The session stores ${Math.ceil(usage.bytes / MIB)} MiB, more than its quota of ${limits.bytes / MIB} MiB: delete files`;
  }
  const count = Number.isFinite(usage.files) ? `${usage.files} files` : "more files than can be counted";
  return `The session stores ${count}, more than its quota of ${limits.files}: delete some`;
}

async function usageOfFileSystem(path: string): Promise<DiskUsage> {
  const { blocks, bfree, bsize, files, ffree } = await statfs(path);
  return { bytes: (blocks - bfree) * bsize, files: files - ffree, stateBytes: 0 };
}

/** Disk use of each session's folders, in the order given; null when that takes too long. */
async function measure(
  sessions: readonly Pick<Watched, "paths" | "state">[],
  timeoutMs = MEASURE_TIMEOUT_MS,
): Promise<DiskUsage[] | null> {
  const uses = await diskUse(
    sessions.flatMap((session) => [...session.paths, session.state.path]),
    timeoutMs,
  );
  if (uses === null) return null;
  const sum = (paths: readonly string[], of: keyof DiskUse) =>
    paths.reduce((total, path) => total + (uses.get(path)?.[of] ?? Number.NaN), 0);
  return sessions.map(({ paths, state }) => ({
    bytes: sum(paths, "bytes"),
    files: sum([...paths, state.path], "files"),
    stateBytes: sum([state.path], "bytes"),
  }));
}

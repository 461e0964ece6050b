/** How far a session has come: the one writer of that record. Each method is something that was heard or done. */
import type { GuestEnd } from "../../guest/channel.ts";
import type { EndFrame, RestoredState, SavedFrame } from "../../protocol/guest.ts";
import { NO_USAGE, type Outcome, type RunUsage } from "../../protocol/outcome.ts";
import type { RunState, RunTotals, SavedState, SessionProgress } from "../../store/store.ts";
import { type Known, NOTHING_SAVED, noteEnd, noteLost, noteRestored, noteSaved } from "./saved-state.ts";

export const NO_PROGRESS: SessionProgress = {
  lastRunAt: "",
  version: 0,
  fileCounts: { files: 0, bytes: 0 },
  saved: NOTHING_SAVED,
  leftOut: [],
  snapshotLost: null,
  hibernatedAt: null,
};

export const NO_RUNS: RunTotals = { runs: 0, elapsedUs: 0, cpuTimeUs: 0, peakBytes: null };
const MAX_UNDONE = 100;

export class Progress {
  #now: SessionProgress;

  constructor(begin: SessionProgress) {
    this.#now = begin;
  }

  /** As it is now; another object after each change. */
  get now(): Readonly<SessionProgress> {
    return this.#now;
  }

  /** What a run's answer tells of the variables. */
  get report(): RunState {
    const { version, saved, snapshotLost } = this.#now;
    return {
      version,
      saved_version: saved.savedVersion,
      rolled_back: saved.rolledBack,
      not_kept: saved.notKept,
      ...(saved.failure === null ? {} : { save_failure: saved.failure }),
      ...(snapshotLost === null ? {} : { image_lost: snapshotLost }),
    };
  }

  /** A save was reported. */
  saved(report: SavedFrame): void {
    this.#changeSaved((saved) => noteSaved(saved, report));
  }

  /** A new kernel holds what was saved. */
  restored(state: RestoredState | null, reason: string | null): void {
    this.#changeSaved((saved) => noteRestored(saved, state, reason));
  }

  /** A run's sandbox disappeared under it. */
  lost(outcome: Outcome): void {
    this.#changeSaved((saved) => noteLost(saved, outcome));
  }

  /** A run's end was heard. */
  heard(end: EndFrame, outcome: Outcome, known: Known): void {
    this.#changeSaved((saved) => noteEnd(saved, end, outcome, known));
  }

  /** A run is over; `end` is null when its sandbox was lost. A session that keeps no files has none. */
  runEnded(end: GuestEnd | null, usage: RunUsage | null, keepsFiles: boolean): void {
    const counted = end?.frame.files ?? null;
    const left = counted === null ? null : { files: counted.files, bytes: counted.bytes };
    this.#change({
      lastRunAt: new Date().toISOString(),
      version: end?.frame.version ?? this.#now.version + 1,
      fileCounts: keepsFiles ? left : { files: 0, bytes: 0 },
      totals: withRun(this.#now.totals ?? NO_RUNS, usage ?? NO_USAGE),
    });
  }

  /** A run's answer has told what was lost. */
  told(): void {
    this.#change({ snapshotLost: null });
    this.#changeSaved((saved) => {
      saved.rolledBack = null;
    });
  }

  /** The variables are those of an earlier version, under a new number. */
  wentBack(to: number, state: RestoredState | null): void {
    this.#change({ version: to });
    this.restored(state, null);
  }

  /** The version that the variables were made in, and those that were undone since the last run, in that order. */
  get history(): { base: number; undone: readonly number[] } {
    const { version, saved } = this.#now;
    const { copies = [], undone = [] } = saved;
    const base = copies.find(([number]) => number === version)?.[1];
    return base === undefined ? { base: version, undone: [] } : { base, undone };
  }

  /** The variables, under the number of now, are those of an earlier version. */
  undid(base: number, undone: readonly number[]): void {
    const { version } = this.#now;
    this.#changeSaved((saved) => {
      const { copies = [] } = saved;
      const origin = copies.find(([number]) => number === base)?.[1] ?? base;
      saved.copies = [...copies, [version, origin] as const].slice(-MAX_UNDONE);
      saved.undone = undone.slice(-MAX_UNDONE);
    });
  }

  /** The agent knows of runs up to this one. */
  reached(version: number): void {
    this.#change({ version: Math.max(this.#now.version, version) });
  }

  /** Its files were changed by somebody else than a run. */
  filesChanged(): void {
    this.#change({ fileCounts: null, touchedAt: new Date().toISOString() });
  }

  woke(): void {
    const { sleptWithBytes: _past, ...saved } = this.#now.saved;
    this.#change({ hibernatedAt: null, saved });
  }

  /** Whatever was left out when it slept last is of no more interest. */
  fallsAsleep(): void {
    this.#change({ leftOut: [] });
  }

  leftOut(paths: readonly string[]): void {
    this.#change({ leftOut: [...this.#now.leftOut, ...paths] });
  }

  /** `memoryBytes`: what it might use until now. */
  sleeps(memoryBytes: number): void {
    const saved = { ...this.#now.saved, sleptWithBytes: memoryBytes };
    this.#change({ hibernatedAt: new Date().toISOString(), saved });
  }

  /** Null when it was used. */
  snapshotLost(reason: string | null): void {
    this.#change({ snapshotLost: reason });
  }

  #change(change: Partial<SessionProgress>): void {
    this.#now = { ...this.#now, ...change };
  }

  #changeSaved(work: (saved: SavedState) => void): void {
    const saved = { ...this.#now.saved };
    work(saved);
    this.#change({ saved });
  }
}

function withRun(totals: RunTotals, { elapsedUs, cpuTimeUs, memoryPeakBytes }: RunUsage): RunTotals {
  const { peakBytes } = totals;
  return {
    runs: totals.runs + 1,
    elapsedUs: totals.elapsedUs + elapsedUs,
    cpuTimeUs: totals.cpuTimeUs + (cpuTimeUs ?? 0),
    peakBytes: memoryPeakBytes === null ? peakBytes : Math.max(peakBytes ?? 0, memoryPeakBytes),
  };
}

/** The record of a run: as it is queued, and as it ends. Pure, but for the clock and the run's id. */
import type { GuestEnd } from "../guest/channel.ts";
import { randomBase36 } from "../lib/random-id.ts";
import type { Outcome } from "../protocol/outcome.ts";
import type { RunRow, SessionRow } from "../store/store.ts";
import { parseResults } from "./results.ts";

export function queuedRun(sessionId: string, number: number): RunRow {
  return {
    runId: `run_${randomBase36(16)}`,
    sessionId,
    number,
    state: "queued",
    createdAt: new Date().toISOString(),
    endedAt: null,
    summary: null,
    output: [],
    lateOutput: "",
  };
}

export type RunEnd = {
  outcome: Outcome;
  elapsedUs: number;
  /** What the agent said; null when its line was lost. */
  end: GuestEnd | null;
  output: RunRow["output"];
};

/** The record of a run that has ended, of a session whose row says already what the run did to it. */
export function endedRun(
  run: RunRow,
  session: SessionRow,
  { outcome, elapsedUs, end, output }: RunEnd,
): RunRow {
  return {
    ...run,
    state: "done",
    endedAt: session.lastRunAt,
    output,
    summary: {
      outcome,
      elapsedUs,
      truncated: end?.frame.dropped ?? {},
      filesModified: end?.frame.files?.modified ?? null,
      results: end === null ? [] : parseResults(end.results),
      state: { version: session.version, variables_lost: session.lostReason },
    },
  };
}

/** A run that never began has no outcome. */
export function lostRun(run: RunRow): RunRow {
  return { ...run, state: "lost", endedAt: new Date().toISOString() };
}

/** What a session knows of its files after a run; null when there are too many to count with every run. */
export function countsAfter(session: SessionRow, end: GuestEnd | null): SessionRow["fileCounts"] {
  if (!session.persistent) return { files: 0, bytes: 0 };
  const counts = end?.frame.files ?? null;
  return counts === null ? null : { files: counts.files, bytes: counts.bytes };
}

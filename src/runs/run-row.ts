/** The record of a run: as it is queued, and as it ends. Pure, but for the clock and the run's id. */
import type { GuestEnd } from "../guest/channel.ts";
import { randomBase36 } from "../lib/random-id.ts";
import type { RestoredState } from "../protocol/guest.ts";
import type { Outcome } from "../protocol/outcome.ts";
import type { RunRow, RunState, SessionRow } from "../store/store.ts";
import type { OutputLog } from "./output-log.ts";
import type { RunResult } from "./request.ts";
import { parseResults } from "./rich-values.ts";

const ID_PREFIX = "run_";

export const isRunId = (text: string) => text.startsWith(ID_PREFIX);

export function queuedRun(sessionId: string, number: number, updateData: RunRow["updateData"]): RunRow {
  return {
    runId: `${ID_PREFIX}${randomBase36(16)}`,
    sessionId,
    number,
    state: "queued",
    createdAt: new Date().toISOString(),
    endedAt: null,
    summary: null,
    output: [],
    lateOutput: "",
    updateData,
  };
}

/** Ends a run: its session's row says afterwards what the run did to it. */
export function concludeRun(
  run: RunRow,
  session: SessionRow,
  log: OutputLog,
  ended: Omit<RunEnd, "output">,
): RunResult {
  log.close();
  mergeData(run, session);
  session.lastRunAt = new Date().toISOString();
  session.version = ended.end?.frame.version ?? session.version + 1;
  session.fileCounts = countsAfter(session, ended.end);
  const row = endedRun(run, session, { ...ended, output: log.events });
  session.saved = { ...session.saved, rolledBack: null };
  session.imageLost = null;
  return { row, log, data: session.data };
}

/** What a run was asked to add to its session's data. */
function mergeData({ updateData }: RunRow, session: SessionRow): void {
  if (updateData !== null) session.data = { ...session.data, ...updateData };
}

type RunEnd = {
  outcome: Outcome;
  elapsedUs: number;
  /** What the agent said; null when its line was lost. */
  end: GuestEnd | null;
  output: RunRow["output"];
};

/** The record of a run that has ended, of a session whose row says already what the run did to it. */
function endedRun(run: RunRow, session: SessionRow, { outcome, elapsedUs, end, output }: RunEnd): RunRow {
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
      state: stateAfter(session),
    },
  };
}

function stateAfter({ version, saved, imageLost }: SessionRow): RunState {
  return {
    version,
    saved_version: saved.savedVersion,
    rolled_back: saved.rolledBack,
    not_kept: saved.notKept,
    ...(saved.failure === null ? {} : { save_failure: saved.failure }),
    ...(imageLost === null ? {} : { image_lost: imageLost }),
  };
}

/** A run whose state was saved, but whose output nobody has any more; what it was to add to its session's data is added. */
export function savedRun(run: RunRow, session: SessionRow, result: RestoredState["result"]): RunRow {
  if (result === null) return lostRun(run);
  mergeData(run, session);
  return {
    ...run,
    state: "done",
    endedAt: new Date().toISOString(),
    summary: {
      outcome: { kind: result.outcome, exitCode: result.exit_code, error: result.error },
      elapsedUs: 0,
      truncated: {},
      filesModified: null,
      results: [],
      state: stateAfter(session),
      output_lost: true,
    },
  };
}

/** A run that never began has no outcome. */
export function lostRun(run: RunRow): RunRow {
  return { ...run, state: "lost", endedAt: new Date().toISOString() };
}

/** What a session knows of its files after a run; null when there are too many to count with every run. */
function countsAfter(session: SessionRow, end: GuestEnd | null): SessionRow["fileCounts"] {
  if (!session.persistent) return { files: 0, bytes: 0 };
  const counts = end?.frame.files ?? null;
  return counts === null ? null : { files: counts.files, bytes: counts.bytes };
}

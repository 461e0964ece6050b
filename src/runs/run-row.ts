/** The record of a run: as it is queued, and as it ends. Pure, but for the clock and the run's id. */
import type { GuestEnd } from "../guest/channel.ts";
import { randomBase36 } from "../lib/random-id.ts";
import type { RestoredState } from "../protocol/guest.ts";
import { NO_USAGE, type Outcome, type RunUsage } from "../protocol/outcome.ts";
import type { RunAsked, RunRow, RunState } from "../store/store.ts";
import type { RunRequest } from "./request.ts";
import { parseResults } from "./rich-values.ts";

const ID_PREFIX = "run_";

export const newRunId = () => `${ID_PREFIX}${randomBase36(16)}`;

export const isRunId = (text: string) => text.startsWith(ID_PREFIX);

export function queuedRun(sessionId: string, number: number, updateData: RunRow["updateData"]): RunRow {
  return {
    runId: newRunId(),
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

type RunEnd = {
  outcome: Outcome;
  usage: RunUsage;
  /** What the agent said; null when its line was lost. */
  end: GuestEnd | null;
  output: RunRow["output"];
  /** The session's state after it. */
  state: RunState;
  endedAt: string;
  /** Null of a run that an earlier server began. */
  asked: RunAsked | null;
};

const MAX_CODE_CHARS = 64 << 10;

/** What is kept of a request with its record: no value of its environment, nothing of its input. */
export function askedOf({ code, shell, env, stdin, keyId }: RunRequest, waitedMs: number): RunAsked {
  return {
    code: code.slice(0, MAX_CODE_CHARS).toWellFormed(),
    codeChars: code.length,
    shell,
    env: Object.keys(env).slice(0, 100),
    stdinChars: stdin?.length ?? null,
    keyId,
    waitedMs: Math.max(0, waitedMs),
  };
}

/** The record of a run that has ended. */
export function endedRun(run: RunRow, ended: RunEnd): RunRow {
  const { outcome, usage, end, output, state, endedAt, asked } = ended;
  return {
    ...run,
    state: "done",
    endedAt,
    output,
    summary: {
      ...usage,
      outcome,
      truncated: end?.frame.dropped ?? {},
      filesModified: end?.frame.files?.modified ?? null,
      ...(end?.frame.files?.changed.length ? { filesChanged: end.frame.files.changed } : {}),
      ...(asked === null ? {} : { asked }),
      results: end === null ? [] : parseResults(end.results),
      state,
    },
  };
}

/** A run whose state was saved, but whose output nobody has any more. */
export function savedRun(run: RunRow, result: NonNullable<RestoredState["result"]>, state: RunState): RunRow {
  return {
    ...run,
    state: "done",
    endedAt: new Date().toISOString(),
    summary: {
      ...NO_USAGE,
      outcome: { kind: result.outcome, exitCode: result.exit_code, error: result.error },
      truncated: {},
      filesModified: null,
      results: [],
      state,
      output_lost: true,
    },
  };
}

/** A run that never began has no outcome. */
export function lostRun(run: RunRow): RunRow {
  return { ...run, state: "lost", endedAt: new Date().toISOString() };
}

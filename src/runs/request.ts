/** One run of a session: what was asked, its output as it comes, its result when it has ended. */
import { AppError } from "../protocol/errors.ts";
import type { Durability, JsonObject, RunRow } from "../store/store.ts";
import type { OutputLog } from "./output-log.ts";

/** What is asked of a run; a new option is a line here, and one in RUN_DEFAULTS. */
export type RunRequest = {
  code: string;
  /** The code is a command for a shell in the workspace, beside the kernel and its variables. */
  shell: boolean;
  /** Milliseconds; null means the session's own limit. */
  timeoutMs: number | null;
  env: Readonly<Record<string, string>>;
  /** What it reads from its standard input; null for nothing. */
  stdin: string | null;
  /** It may ask for more input while it runs. */
  isInteractive: boolean;
  /** Merged into the session's data after the run. */
  updateData: JsonObject | null;
  /** TypeScript: it is run only when it has no type errors. */
  check: boolean;
  /** False refuses it while the session is being set up. */
  waitForSetup: boolean;
  /** Null means as the session has it. */
  durability: Durability | null;
  /** Fires when nobody waits for it any more, and it is not wanted then. */
  gone: AbortSignal | null;
  /** Whose key; null for the operator's. */
  keyId: string | null;
  /** Under which a retry finds this run. */
  idempotency: { key: string; requestHash: string } | null;
  /** Scheme and host under which the client reached the server. */
  baseUrl: string;
};

/** What a run is when nothing else is asked. */
export const RUN_DEFAULTS: Omit<RunRequest, "code" | "baseUrl"> = {
  shell: false,
  timeoutMs: null,
  env: {},
  stdin: null,
  isInteractive: false,
  updateData: null,
  check: false,
  waitForSetup: true,
  durability: null,
  gone: null,
  keyId: null,
  idempotency: null,
};

export type RunResult = {
  row: RunRow;
  log: OutputLog;
  /** The session's data after the run. */
  data: JsonObject;
};

export type Run = {
  runId: string;
  log: OutputLog;
  /** It may be given input while it runs. */
  isInteractive: boolean;
  /** Rejects with an AppError when the run could not begin. */
  result: Promise<RunResult>;
};

/** Throws when a run is not wanted any more before it has begun. */
export function refuseIfGone({ gone }: RunRequest): void {
  if (gone?.aborted) throw new AppError("run_cancelled", "Cannot run: nobody waits for it any more");
}

export const DEFAULT_TIMEOUT_MS = 30_000;
/** What a run can have been given at most. */
export const MAX_TIMEOUT_MS = 24 * 3_600_000;

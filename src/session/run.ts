/** One run of a session: what was asked, its output as it comes, its result when it has ended. */
import type { JsonObject, RunRow } from "../store/store.ts";
import type { OutputLog } from "./output-log.ts";

export type RunRequest = {
  code: string;
  /** Milliseconds; null means the session's own limit. */
  timeoutMs: number | null;
  env: Readonly<Record<string, string>>;
  /** Merged into the session's data after the run. */
  updateData: JsonObject | null;
  /** Scheme and host under which the client reached the server. */
  baseUrl: string;
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
  /** Rejects with an AppError when the run could not begin. */
  result: Promise<RunResult>;
};

export const MAX_LATE_CHARS = 65_536;
export const DEFAULT_TIMEOUT_MS = 30_000;
